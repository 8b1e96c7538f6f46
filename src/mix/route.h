/* route.h - the four words of every mixture: route, dispatch, apply, combine.
 *
 * A router turns router logits [n_tok, n_expert] into a moa_route: which experts work on each row, in which
 * order, with what weight. A combiner makes one result of the parts. Both are registries (routers.def,
 * combiners.def): one file and one line each.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MIX_ROUTE_H
#define MOA_MIX_ROUTE_H

#include "tensor/exec.h"

/* How selected scores become gate values. Stored in files, never inferred. */
typedef enum moa_gate_norm {
    MOA_GATE_SOFTMAX,          /* softmax over all, selected kept as they are */
    MOA_GATE_SOFTMAX_RENORM,   /* softmax over all, selected divided by their sum */
    MOA_GATE_SOFTMAX_SELECTED, /* softmax over the selected logits (equal to RENORM in exact arithmetic) */
    MOA_GATE_SIGMOID,          /* sigmoid of each selected logit */
    MOA_GATE_SIGMOID_RENORM,   /* sigmoid, divided by the sum of the selected */
    MOA_GATE_COUNT
} moa_gate_norm;
const char *moa_gate_name(moa_gate_norm norm); /* "softmax-renorm" */

typedef struct moa_router_cfg {
    int n_expert, top_k;
    moa_gate_norm norm;
    float scale;               /* multiplies gate values; 1 when unused */
    moa_tensor *select_bias;   /* f32 [n_expert] added for the choice only, no gradient; or NULL */
    int n_group, n_group_used; /* router "grouped": experts come from the best groups only; n_group 0 or 1: from all */
} moa_router_cfg;

/* For n_tok rows: who, with what weight. Ties go to the lower id. A row depends on its own logits only. */
typedef struct moa_route {
    moa_tensor *ids;           /* i32 [n_tok, top_k], best first */
    moa_tensor *weight;        /* f32 [n_tok, top_k]; carries the task gradient */
    moa_tensor *score;         /* f32 [n_tok, n_expert] full scores, for losses and traces */
} moa_route;

typedef struct moa_router {
    const char *name, *help;
    bool causal;               /* false: ranks rows against each other; generation needs a decode rule */
    int (*route)(moa_exec *x, moa_route *out, const moa_router_cfg *cfg, moa_tensor *logits /* [n_tok, n_expert] */);
} moa_router;

const moa_router *const *moa_routers(int *n);
const moa_router *moa_router_find(const char *name);

/* Apply expert e to its rows in [m, d] -> [m, d]; what a level calls an expert is behind ctx. */
typedef moa_tensor *(*moa_expert_fn)(moa_exec *x, void *ctx, int e, moa_tensor *rows);

typedef struct moa_combiner {
    const char *name, *help;
    /* Dispatch rows of in to their experts, apply, and combine. -> [n_tok, d] */
    moa_tensor *(*combine)(moa_exec *x, const moa_route *r, moa_tensor *in, moa_expert_fn expert, void *ctx, int n_expert);
} moa_combiner;

const moa_combiner *const *moa_combiners(int *n);
const moa_combiner *moa_combiner_find(const char *name);

/* The ones that a transformer's expert layers use. */
extern const moa_router moa_router_topk, moa_router_grouped;
extern const moa_combiner moa_combiner_sum;

#endif
