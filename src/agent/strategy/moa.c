/* moa.c - Mixture-of-Agents (Wang et al., arXiv 2406.04692): layers of proposers, then an aggregator. The first layer sees
 * the conversation alone, a later one also all replies of the layer before it. Proposers are several models in turn, or
 * samples of one. L layers of n are L n + 1 calls in L + 1 rounds.
 * strategies.def: STRATEGY(moa)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/strategy.h"

#include <stdio.h>

enum { LAYERS, N_SETTING };
static const moa_setting settings[N_SETTING] = {[LAYERS] = {"layers", "layers of proposers before the aggregator", 1, 16, 2, true, NULL, false}};

static int check(const moa_mix_cfg *c, moa_err *err) {
    return c->n && c->n < c->n_proposer ? moa_fail(err, MOA_EUSAGE, "mix moa: n %d, but %d proposers: some would never be asked", c->n, c->n_proposer) : 0;
}

static int build(moa_run *r, const moa_mix_cfg *c, moa_err *err) {
    int n = c->n ? c->n : c->n_proposer > 1 ? c->n_proposer : 3, layers = (int)c->arg[LAYERS];
    int *id = moa_arena_alloc(r->arena, 2 * (size_t)n * sizeof *id);
    if (!id) return moa_fail(err, MOA_ENOMEM, "%d proposers", n);
    int *cur = id, *prev = id + n;
    for (int l = 0; l < layers; l++) {
        char prefix[24];
        snprintf(prefix, sizeof prefix, "p%d.", l + 1);
        MOA_TRY(moa_add_proposers(cur, r, c, prefix, n, l ? prev : NULL, l ? n : 0, err));
        int *t = cur;
        cur = prev;
        prev = t;
    }
    return moa_add_aggregator(r, c, "agg", prev, n, err);
}

const moa_strategy moa_strategy_moa = {
    .name = "moa", .help = "2 layers of proposers (several models, or 3 samples of one), then an aggregator",
    .has = MOA_HAS_N | MOA_GATHERS | MOA_AGGREGATES | MOA_CLIMBS | MOA_SEVERAL, .temperature = 0.7f, .setting = settings, .n_setting = N_SETTING, .check = check, .build = build};
