/* route.c - the two registries of this folder. What a router or a combiner must keep is said in route.h and
 * tested for every line of the tables by tests/mix.
 * SPDX-License-Identifier: Apache-2.0 */
#include "mix/route.h"

#include <string.h>

#define ROUTER(x) extern const moa_router moa_router_##x;
#include "mix/routers.def"
#undef ROUTER
#define COMBINER(x) extern const moa_combiner moa_combiner_##x;
#include "mix/combiners.def"
#undef COMBINER

static const moa_router *const routers[] = {
#define ROUTER(x) &moa_router_##x,
#include "mix/routers.def"
#undef ROUTER
};
static const moa_combiner *const combiners[] = {
#define COMBINER(x) &moa_combiner_##x,
#include "mix/combiners.def"
#undef COMBINER
};

const moa_router *const *moa_routers(int *n) {
    *n = (int)(sizeof routers / sizeof *routers);
    return routers;
}

const moa_combiner *const *moa_combiners(int *n) {
    *n = (int)(sizeof combiners / sizeof *combiners);
    return combiners;
}

const moa_router *moa_router_find(const char *name) {
    for (size_t i = 0; i < sizeof routers / sizeof *routers; i++)
        if (!strcmp(routers[i]->name, name)) return routers[i];
    return NULL;
}

const moa_combiner *moa_combiner_find(const char *name) {
    for (size_t i = 0; i < sizeof combiners / sizeof *combiners; i++)
        if (!strcmp(combiners[i]->name, name)) return combiners[i];
    return NULL;
}

static const char *const norm_names[MOA_GATE_COUNT] = {
    [MOA_GATE_SOFTMAX] = "softmax",
    [MOA_GATE_SOFTMAX_RENORM] = "softmax-renorm",
    [MOA_GATE_SOFTMAX_SELECTED] = "softmax-selected",
    [MOA_GATE_SIGMOID] = "sigmoid",
    [MOA_GATE_SIGMOID_RENORM] = "sigmoid-renorm",
};

const char *moa_gate_name(moa_gate_norm norm) {
    return norm >= 0 && norm < MOA_GATE_COUNT ? norm_names[norm] : "unknown";
}
