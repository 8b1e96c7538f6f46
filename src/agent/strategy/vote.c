/* vote.c - self-consistency (Wang et al., arXiv 2203.11171): n samples, the answer most of them end with wins; the text
 * kept is that of the winner the model finds most probable. No aggregator call.
 * strategies.def: STRATEGY(vote)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/strategy.h"

static int check(const moa_mix_cfg *c, moa_err *err) {
    return c->n < c->n_proposer ? moa_fail(err, MOA_EUSAGE, "mix vote: n %d, but %d proposers: some would never be asked", c->n, c->n_proposer) : 0;
}

static int finish(moa_run *r, const int *in, int n_in, moa_err *err) { return moa_add_vote(r, r->cfg, "vote", in, n_in, err); }
static int build(moa_run *r, const moa_mix_cfg *c, moa_err *err) { return moa_add_sampled(r, c, "p", c->n, finish, err); }

const moa_strategy moa_strategy_vote = {
    .name = "vote", .help = "6 samples, the most frequent answer wins", .has = MOA_HAS_N | MOA_GATHERS | MOA_SEVERAL, .n = 6, .temperature = 0.7f, .check = check, .build = build};
