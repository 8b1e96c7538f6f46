/* greedy.c - one call that takes the most probable token at each step: the answer that a model gives without a mixture.
 * strategies.def: STRATEGY(greedy)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/strategy.h"

static int build(moa_run *r, const moa_mix_cfg *c, moa_err *err) {
    int id;
    return moa_add_proposers(&id, r, c, "p", 1, NULL, 0, err);
}

const moa_strategy moa_strategy_greedy = {
    .name = "greedy", .help = "one reply, the most probable token at each step", .has = MOA_PLAIN, .temperature = 0, .build = build};
