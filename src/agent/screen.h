/* screen.h - which replies are not to be trusted, before anybody merges or counts them: defences against replies that deceive.
 *
 * What is compared is how alike two replies are: s_ij = 1/2 [same answer] + 1/2 cosine (alike.h); the cosine alone where no reply has an answer.
 *   threshold  outlier score of a reply: how alike the others are among themselves, on average, less how alike it is to them. From `screen-at` on it is left
 *              out, the highest first, as long as most stay. Honest replies that differ a little stay: nothing is dropped for its own sake.
 *   cluster    two clusters, by average linkage; the smaller is left out where the two are apart: inside less between from `screen-at` on.
 *   dropout-vote, dropout-cluster   the aggregator reads subsets of the replies, and its answers are voted for, or the middle one of their largest cluster
 *              is taken: a liar is absent from half of the subsets. (Clustering the replies instead, and throwing the merges away that were paid for, is a
 *              known fault of the published code.)
 * After "This Is Your Doge, If It Please You" (Wolf et al., arXiv 2503.05856), whose defences drop a cluster always; here dropping needs a reason.
 * Before them: what a checker proves wrong goes (`checker=calculator`: an equation that does not hold, calc.h), unless that is all there is.
 * Beside them: at most so many replies of one model (`most-of-one`), equal replies given once (`duplicates=merge`).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_SCREEN_H
#define MOA_AGENT_SCREEN_H

#include "agent/run.h"

/* The mix's checker proves s wrong; false where it has none. */
bool moa_proved_wrong(const moa_run *r, const moa_agent_node *s);
/* drop[n->n_in]: which of n's inputs that worked are left out; notes say so. merges: n merges them, so that equal ones may go too. */
int moa_screen(bool *drop, moa_run *r, moa_agent_node *n, bool merges, moa_err *err);
/* Outlier scores of m replies from their similarities [m][m]; and two clusters: side[m] is 0 or 1 (1: the smaller), the return how far they are apart. */
void moa_screen_scores(double *score, const double *alike, int m);
double moa_screen_split(int *side, const double *alike, int m);
/* MOA_EUSAGE where the mix asks for dropout-* although its strategy has no aggregator whose merges could be voted for. */
int moa_no_dropout(const moa_mix_cfg *c, moa_err *err);
/* dropout-*: aggregators over subsets of in[], and what takes one of their answers. Returns that node's index. */
int moa_add_dropout(moa_run *r, const moa_mix_cfg *c, const char *name, const int *in, int n_in, moa_err *err);

#endif
