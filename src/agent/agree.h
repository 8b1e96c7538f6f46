/* agree.h - have enough replies come? Early stop by agreement.
 *
 * Of k replies a say the most frequent thing and b the next. Only these two matter: with a uniform prior on the leader's share p of the two,
 * p is Beta(a + 1, b + 1), and the probability that the runner-up is in truth the more frequent one is
 *     P(p < 1/2) = sum over j = a + 1 .. m of C(m, j) / 2^m,  m = a + b + 1
 * (Adaptive-Consistency, Aggarwal et al., arXiv 2305.11860, where the test has this form). As a statement of Bayes it does not suffer from being asked
 * after each reply: over questions whose shares are as the prior says, at most a part `error` of the stops is wrong. What it is on real questions is
 * measured (docs/agents/early-stop.md).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_AGREE_H
#define MOA_AGENT_AGREE_H

#include "agent/run.h"

double moa_agree_error(int a, int b);
/* Asked for `n` replies in all, of which in[] have been asked: an enough function's words, or NULL. Failed ones do not count. */
const char *moa_agree(moa_run *r, const int *in, int n_in, int n);
/* As node->enough. */
const char *moa_enough_agree(moa_run *r, const moa_agent_node *n);

#endif
