/* self_moa.c - Self-MoA (Li et al., "Rethinking Mixture-of-Agents", arXiv 2502.00674): one model drafts n times, then reads
 * its drafts and writes the answer. n + 1 calls, two rounds; the drafts are one batch over one shared prompt.
 * strategies.def: STRATEGY(self_moa)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/strategy.h"

static int finish(moa_run *r, const int *in, int n_in, moa_err *err) { return moa_add_aggregator(r, r->cfg, "agg", in, n_in, err); }
static int build(moa_run *r, const moa_mix_cfg *c, moa_err *err) { return moa_add_sampled(r, c, "p", c->n, finish, err); }

const moa_strategy moa_strategy_self_moa = {
    .name = "self-moa", .help = "one model drafts 6 replies, then merges them", .has = MOA_HAS_N | MOA_GATHERS | MOA_AGGREGATES | MOA_CLIMBS, .n = 6, .temperature = 0.7f, .build = build};
