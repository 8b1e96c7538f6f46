/* grouped.c - token-choice routing limited to groups of experts (group g has the experts [g m, (g + 1) m), m = n_expert /
 * n_group): each row first takes its n_group_used best groups, then its k best experts among theirs. A group is as good
 * as its best score (DeepSeek-V2, arXiv:2405.04434, section 2.2.2), or with a selection bias as the sum of its two best biased
 * scores (DeepSeek-V3, arXiv:2412.19437, and its published code). Ties go to the lower id, of groups as of experts.
 * Without groups it is topk.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "mix/gate.h"

#include <math.h>
#include <string.h>

static float group_score(const float *s, int m, bool pair) {
    float best = -INFINITY, next = -INFINITY;
    for (int i = 0; i < m; i++) {
        if (s[i] > best) next = best, best = s[i];
        else if (s[i] > next) next = s[i];
    }
    return pair && m > 1 ? best + next : best;
}

/* One row: s [n_expert] -> y, with -inf where the group is not among the best. rank [n_group]: scratch. */
static void keep_groups(float *y, const float *s, float *rank, const moa_router_cfg *c) {
    const int m = c->n_expert / c->n_group;
    for (int g = 0; g < c->n_group; g++) rank[g] = group_score(s + g * m, m, c->select_bias != NULL);
    for (int g = 0; g < c->n_group; g++) {
        int ahead = 0;
        for (int o = 0; o < c->n_group; o++) ahead += rank[o] > rank[g] || (rank[o] == rank[g] && o < g);
        for (int i = g * m; i < (g + 1) * m; i++) y[i] = ahead < c->n_group_used ? s[i] : -INFINITY;
    }
}

typedef struct keep { float *y; const float *s; float *rank /* [n_threads, n_group] */; const moa_router_cfg *c; } keep; /* range: rows */
static void keep_rows(const void *args, int64_t i0, int64_t i1, int thread) {
    const keep *p = args;
    for (int64_t i = i0; i < i1; i++)
        keep_groups(p->y + i * p->c->n_expert, p->s + i * p->c->n_expert, p->rank + thread * p->c->n_group, p->c);
}

static moa_tensor *choice(moa_exec *x, moa_tensor *score, const moa_router_cfg *c) {
    moa_tensor *s = moa_route_biased(x, score, c), *y = s ? moa_new_tensor(x, MOA_F32, 2, s->shape) : NULL;
    const size_t threads = (size_t)(x->n_threads > 1 ? x->n_threads : 1);
    float *rank = y ? moa_arena_alloc(x->arena, threads * (size_t)c->n_group * sizeof *rank) : NULL;
    if (!rank) return x->err.code ? NULL : (moa_fail(&x->err, MOA_ENOMEM, "grouped router: no memory"), NULL);
    const keep p = {y->data, s->data, rank, c};
    moa_parallel(x, moa_rows(s), 1, 2.0 * c->n_expert + c->n_group * c->n_group, keep_rows, &p);
    return y;
}

static int route(moa_exec *x, moa_route *out, const moa_router_cfg *c, moa_tensor *logits) {
    if (c->n_group < 2) return moa_router_topk.route(x, out, c, logits);
    const int rc = moa_route_check(x, c, logits, "grouped");
    if (rc < 0) return rc;
    if (c->n_expert % c->n_group || c->n_group_used < 1 || c->n_group_used > c->n_group)
        return moa_fail(&x->err, MOA_EINVAL, "grouped router: %d of %d groups of %d experts, expected equal groups and 1 to all of them",
                        c->n_group_used, c->n_group, c->n_expert);
    if (c->top_k > c->n_group_used * (c->n_expert / c->n_group))
        return moa_fail(&x->err, MOA_EINVAL, "grouped router: top_k = %d, expected at most the %d experts of %d groups", c->top_k,
                        c->n_group_used * (c->n_expert / c->n_group), c->n_group_used);
    out->score = moa_gate_scores(x, logits, c->norm);
    out->ids = moa_topk(x, choice(x, out->score, c), c->top_k);
    out->weight = moa_gate(x, logits, out->ids, c->norm, c->scale);
    return x->err.code;
}

const moa_router moa_router_grouped = {
    .name = "grouped", .help = "top-k among the best groups of experts", .causal = true, .route = route};
