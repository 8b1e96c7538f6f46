/* single.c - one call. The baseline that every mixture is compared with; its sample is the first sample of the others.
 * strategies.def: STRATEGY(single)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/strategy.h"

static int build(moa_run *r, const moa_mix_cfg *c, moa_err *err) {
    int id;
    return moa_add_proposers(&id, r, c, "p", 1, NULL, 0, err);
}

const moa_strategy moa_strategy_single = {.name = "single", .help = "one reply, sampled", .has = MOA_PLAIN, .temperature = 0.7f, .build = build};
