/* arms.h - the rule of a bandit: which of several models is asked next (strategy/bandit.c, evolve.c). SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_ARMS_H
#define MOA_AGENT_ARMS_H

#include <stdbool.h>

/* Sums over the times it was asked: n, rewards of 0 to 1, costs. */
typedef struct moa_arm { double n, reward, cost, score; bool asked; } moa_arm;
/* score_i = (1 - cost) (m_i + explore sqrt(2 ln t / n_i)) + cost / (1 + cost_i / cost_med): the asymmetric UCB of ShinkaEvolve (arXiv 2509.19349), where rewards below a
 * baseline were counted as 0. Means m_i and cost_i; the form of the cost's part is ours. relative: m_i is divided by the largest of them, for rewards whose
 * size nobody knows before. Infinite where it was never asked. */
void moa_arms_score(moa_arm *a, int n, double explore, double cost, bool relative);

#endif
