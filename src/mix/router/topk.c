/* topk.c - token-choice routing: each row takes its k best experts (Shazeer et al. 2017; Mixtral, OLMoE, Qwen-MoE),
 * without capacity, so no row's experts depend on another row.
 *
 * Choice, gate and balance statistics are three things. The choice is by logit, which orders experts as every
 * normalisation does; with a selection bias (DeepSeek-V3, arXiv:2412.19437) it is by score plus bias, since the bias is
 * in units of the score. The gate never sees the bias. Ties go to the lower id (moa_topk).
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "mix/gate.h"

int moa_route_check(moa_exec *x, const moa_router_cfg *c, const moa_tensor *logits, const char *router) {
    if (x->err.code) return x->err.code;
    if (!logits) return moa_fail(&x->err, MOA_EINVAL, "%s router: no logits", router);
    if (logits->n_dim != 2 || logits->shape[1] != c->n_expert)
        return moa_fail(&x->err, MOA_EINVAL, "%s router: logits have %lld columns, expected n_expert = %d", router,
                        (long long)moa_cols(logits), c->n_expert);
    if (c->top_k < 1 || c->top_k > c->n_expert)
        return moa_fail(&x->err, MOA_EINVAL, "%s router: top_k = %d, expected 1 to n_expert = %d", router, c->top_k, c->n_expert);
    if (c->norm < 0 || c->norm >= MOA_GATE_COUNT)
        return moa_fail(&x->err, MOA_EINVAL, "%s router: gate normalisation %d, expected 0 to %d", router, (int)c->norm,
                        MOA_GATE_COUNT - 1);
    return 0;
}

moa_tensor *moa_route_biased(moa_exec *x, moa_tensor *score, const moa_router_cfg *c) {
    return c->select_bias ? moa_add(x, score, moa_reshape(x, c->select_bias, 2, (int64_t[]){1, c->n_expert})) : score;
}

static int route(moa_exec *x, moa_route *out, const moa_router_cfg *c, moa_tensor *logits) {
    const int rc = moa_route_check(x, c, logits, "topk");
    if (rc < 0) return rc;
    out->score = moa_gate_scores(x, logits, c->norm);
    out->ids = moa_topk(x, c->select_bias ? moa_route_biased(x, out->score, c) : logits, c->top_k);
    out->weight = moa_gate(x, logits, out->ids, c->norm, c->scale);
    return x->err.code;
}

const moa_router moa_router_topk = {
    .name = "topk", .help = "each row takes its k best experts, no capacity", .causal = true, .route = route};
