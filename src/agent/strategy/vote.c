/* vote.c - self-consistency (Wang et al., arXiv 2203.11171): n samples, the answer most of them end with wins; the text
 * kept is that of the winner the model finds most probable. No aggregator call.
 * strategies.def: STRATEGY(vote)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/strategy.h"

static int check(const moa_mix_cfg *c, moa_err *err) {
    return c->n < c->n_proposer ? moa_fail(err, MOA_EUSAGE, "mix vote: n %d, but %d proposers: some would never be asked", c->n, c->n_proposer) : 0;
}

static int build(moa_run *r, const moa_mix_cfg *c, moa_err *err) {
    const int n = c->n;
    int *id = moa_arena_alloc(r->arena, (size_t)n * sizeof *id);
    if (!id) return moa_fail(err, MOA_ENOMEM, "%d samples", n);
    MOA_TRY(moa_add_proposers(id, r, c, "p", n, NULL, 0, err));
    return moa_add_vote(r, c, "vote", id, n, err);
}

const moa_strategy moa_strategy_vote = {
    .name = "vote", .help = "6 samples, the most frequent answer wins", .has = MOA_HAS_N | MOA_GATHERS | MOA_SEVERAL, .n = 6, .temperature = 0.7f, .check = check, .build = build};
