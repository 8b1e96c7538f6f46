/* graph.c - the one graph of a decoder, for training and inference alike.
 *
 * Per layer, with the residual stream h [n, d]:
 *     h += O attend(rope(Q norm(h)), rope(K norm(h)), V norm(h))
 *     h += FFN(norm(h)),   FFN(x) = Down(silu(Gate x) * Up x), or the sum over routed experts of the same
 * Architectures differ in named steps: a norm that is there or not (before, after, of queries and keys), a scale that is 1 or
 * not, the activation, latent attention instead of the ordinary one. What a model lacks costs nothing.
 *
 * What attends is the caller's: packed documents in training, paged KV in a session. Only rows that want logits go through
 * the last feed-forward part and the output matrix.
 *
 * Without a tape a layer's intermediates are dropped when the layer is done, so a step needs the memory of one layer.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "mix/experts.h"
#include "mix/gate.h"
#include "model/latent.h"

#include <math.h>
#include <string.h>

/* What adapters add at a place; y where there is none. */
static moa_tensor *adapted(moa_exec *x, const moa_linear_w *l, int site, moa_tensor *in, moa_tensor *y) {
    const moa_site_delta *d = x->sites ? x->sites->at[site] : NULL;
    return d && y ? x->sites->add(x, d, in, l, y) : y;
}

moa_tensor *moa_linear_apply(moa_exec *x, const moa_linear_w *l, moa_tensor *in) {
    return adapted(x, l, l->site, in, moa_linear(x, in, moa_weight_at(x, &l->w), moa_weight_at(x, &l->b)));
}

moa_tensor *moa_attend_packed(moa_exec *x, void *ctx, const moa_model *m, int layer, moa_tensor *q, moa_tensor *k, moa_tensor *v) {
    const moa_layer *l = &m->layer[layer];
    const moa_kv_shape kv = moa_kv_shape_of(&m->h);
    if (l->window || l->sinks || m->h.attn_cap > 0 || kv.key != kv.value)
        return moa_fail(&x->err, MOA_EUNSUPPORTED, "%s: packed attention has no sliding windows, sinks, soft caps or values of another size",
                        m->arch->name), NULL;
    return moa_attention(x, q, k, v, ctx, m->h.n_head, m->h.n_kv, moa_attention_scale(&m->h));
}

static moa_tensor *norm(moa_exec *x, const moa_model *m, moa_tensor *in, moa_tensor *const *w) {
    return *w ? moa_rms_norm(x, in, moa_weight_at(x, w), m->h.norm_eps) : in;
}

/* By a factor of the file; 0 means that it has none. */
static moa_tensor *scaled(moa_exec *x, moa_tensor *in, float s) { return s == 0 || s == 1 ? in : moa_scale(x, in, s); }

/* ---- attention ---- */

/* RMS norm of pieces as long as the weight: each head on its own, or all as one vector. */
static moa_tensor *head_norm(moa_exec *x, const moa_model *m, moa_tensor *in, moa_tensor *const *w) {
    if (!*w || !in) return in;
    const int64_t n = moa_rows(in), cols = moa_cols(in), len = moa_cols(*w);
    return moa_reshape(x, norm(x, m, moa_reshape(x, in, 2, (int64_t[]){n * (cols / len), len}), w), 2, (int64_t[]){n, cols});
}

static moa_tensor *rope(moa_exec *x, const moa_model *m, const moa_layer *l, moa_tensor *in, const moa_rows_in *rows) {
    const bool local = l->window && m->h.rope_local_base > 0;
    return moa_rope_heads(x, m, &m->rope[local ? MOA_ROPE_LOCAL : MOA_ROPE_GLOBAL], in, m->h.head_dim, 0, rows->pos, rows->rope_list);
}

/* Queries, keys and values of a. */
static void project(moa_exec *x, moa_tensor *qkv[3], const moa_layer *l, moa_tensor *a) {
    const moa_linear_w *p[3] = {&l->q, &l->k, &l->v};
    moa_tensor *w[3], *b[3];
    for (int i = 0; i < 3; i++) w[i] = moa_weight_at(x, &p[i]->w), b[i] = moa_weight_at(x, &p[i]->b);
    moa_linear_many(x, qkv, a, w, b, 3);
    for (int i = 0; i < 3; i++) qkv[i] = adapted(x, p[i], p[i]->site, a, qkv[i]);
}

static moa_tensor *attention(moa_exec *x, const moa_model *m, int i, moa_tensor *h, const moa_rows_in *in) {
    const moa_layer *l = &m->layer[i];
    moa_tensor *a = norm(x, m, h, &l->attn_norm), *qkv[3];
    if (m->h.kv_rank) {
        moa_latent_heads(qkv, x, m, l, a, in);
    } else {
        project(x, qkv, l, a);
        qkv[0] = rope(x, m, l, head_norm(x, m, qkv[0], &l->q_norm), in);
        qkv[1] = rope(x, m, l, head_norm(x, m, qkv[1], &l->k_norm), in);
    }
    return qkv[0] && qkv[1] && qkv[2] ? in->attend(x, in->attend_ctx, m, i, qkv[0], qkv[1], qkv[2]) : NULL;
}

/* ---- feed-forward ---- */

static const moa_gated_unit *unit_of(const moa_model *m) {
    static const int unit[] = {[MOA_FFN_SILU] = MOA_GATED_SILU, [MOA_FFN_GELU] = MOA_GATED_GELU, [MOA_FFN_CLAMPED] = MOA_GATED_CLAMPED};
    return &moa_gated_units[unit[m->arch->act]];
}

static moa_tensor *gated(moa_exec *x, const moa_model *m, const moa_linear_w *gate, const moa_linear_w *up, const moa_linear_w *down,
                         moa_tensor *in) {
    const moa_gated_unit *unit = unit_of(m);
    if (x->sites && (x->sites->at[gate->site] || x->sites->at[up->site])) { /* what is added comes before the unit */
        moa_tensor *g = moa_linear_apply(x, gate, in), *u = moa_linear_apply(x, up, in);
        return moa_linear_apply(x, down, unit->op(x, g, u));
    }
    return moa_linear_apply(x, down, moa_gated_linear(x, in, moa_weight_at(x, &gate->w), moa_weight_at(x, &gate->b), moa_weight_at(x, &up->w),
                                                      moa_weight_at(x, &up->b), unit));
}

typedef struct expert_ctx { const moa_model *m; const moa_layer *l; } expert_ctx;

static moa_tensor *one_expert(moa_exec *x, void *ctx, int e, moa_tensor *rows) {
    const expert_ctx *c = ctx;
    return gated(x, c->m, &c->l->e_gate[e], &c->l->e_up[e], &c->l->e_down[e], rows);
}

static moa_expert_w expert_weights(const void *ctx, int e) {
    const moa_layer *l = ((const expert_ctx *)ctx)->l;
    return (moa_expert_w){l->e_gate[e].w, l->e_gate[e].b, l->e_up[e].w, l->e_up[e].b, l->e_down[e].w, l->e_down[e].b};
}

/* Do adapters add to an expert of this layer, or stand in for its weights? */
static bool experts_adapted(const moa_exec *x, const moa_layer *l, int n_expert) {
    if (!x->sites) return false;
    for (int e = 0; e < n_expert; e++)
        if (x->sites->at[l->e_gate[e].site] || x->sites->at[l->e_up[e].site] || x->sites->at[l->e_down[e].site]) return true;
    return x->sites->n_swap > 0;
}

/* Experts one by one, where each product is recorded, watched or added to; else all of them together, with the same bits. */
static moa_tensor *experts(moa_exec *x, const moa_model *m, const moa_layer *l, const moa_route *r, moa_tensor *in) {
    expert_ctx ctx = {m, l};
    if (x->tape || x->watch || experts_adapted(x, l, m->h.n_expert))
        return moa_combiner_sum.combine(x, r, in, one_expert, &ctx, m->h.n_expert);
    return moa_experts_sum(x, r, in, expert_weights, &ctx, m->h.n_expert, unit_of(m)->row);
}

/* The expert that every row goes through, times its gate where it has one. */
static moa_tensor *add_shared(moa_exec *x, const moa_model *m, const moa_layer *l, moa_tensor *y, moa_tensor *in) {
    if (!l->s_gate.w) return y;
    moa_tensor *s = gated(x, m, &l->s_gate, &l->s_up, &l->s_down, in);
    if (l->s_router) {
        const moa_linear_w router = {.w = moa_reshape(x, moa_weight_at(x, &l->s_router), 2, (int64_t[]){1, m->h.d_model}), .site = l->s_router_site};
        s = moa_mul(x, s, moa_gate_sigmoid(x, moa_linear_apply(x, &router, in)));
    }
    return moa_add(x, y, s);
}

static moa_tensor *feed_forward(moa_exec *x, const moa_model *m, const moa_layer *l, moa_tensor *in, moa_route *trace) {
    if (!l->router.w) return gated(x, m, &l->gate, &l->up, &l->down, in);
    const moa_hparams *h = &m->h;
    const moa_router_cfg cfg = {.n_expert = h->n_expert, .top_k = h->n_expert_used, .norm = h->gate_norm, .scale = h->gate_scale,
                                .select_bias = moa_weight_at(x, &l->select_bias), .n_group = h->n_group, .n_group_used = h->n_group_used};
    moa_route r = {0};
    if (moa_router_grouped.route(x, &r, &cfg, moa_linear_apply(x, &l->router, in)) < 0) return NULL;
    if (trace) *trace = r;
    return add_shared(x, m, l, experts(x, m, l, &r, in), in);
}

/* ---- the decoder ---- */

static moa_tensor *rows_of(moa_exec *x, moa_tensor *in, moa_tensor *rows) { return rows ? moa_gather_rows(x, in, rows) : in; }

static moa_tensor *layer(moa_exec *x, const moa_model *m, int i, moa_tensor *h, const moa_rows_in *in) {
    const moa_layer *l = &m->layer[i];
    moa_tensor *a = attention(x, m, i, h, in);
    /* After the last attention no row reads another: the rest is for rows that want logits. A trace wants all rows. */
    if (i == m->h.n_layer - 1 && !in->trace) {
        a = rows_of(x, a, in->out_rows);
        h = rows_of(x, h, in->out_rows);
    }
    if (m->h.kv_rank) a = moa_latent_values(x, m, l, a);
    a = norm(x, m, moa_linear_apply(x, &l->o, a), &l->attn_post_norm);
    h = moa_add(x, h, scaled(x, a, m->h.residual_scale));
    moa_tensor *f = feed_forward(x, m, l, norm(x, m, h, &l->ffn_norm), in->trace ? &in->trace[i] : NULL);
    return moa_add(x, h, scaled(x, norm(x, m, f, &l->ffn_post_norm), m->h.residual_scale));
}

typedef struct copy { char *to; const char *from; } copy; /* range: bytes */
static void copy_range(const void *args, int64_t i0, int64_t i1, int thread) {
    const copy *p = args;
    (void)thread;
    memcpy(p->to + i0, p->from + i0, (size_t)(i1 - i0));
}

/* One layer at inference: its result goes to buf, which lies below the mark, and all else is forgotten. */
static moa_tensor *layer_in(moa_exec *x, const moa_model *m, int i, moa_tensor *h, const moa_rows_in *in, float *buf) {
    moa_tensor *out = moa_arena_alloc(x->arena, sizeof *out);
    const moa_arena_mark mark = moa_arena_save(x->arena);
    moa_tensor *y = layer(x, m, i, h, in);
    if (!y) return NULL;
    if (!out) return moa_fail(&x->err, MOA_ENOMEM, "forward: no memory for layer %d", i), NULL;
    moa_parallel(x, (int64_t)moa_tensor_bytes(y), 4096, 0.1, copy_range, &(copy){(char *)buf, y->data});
    const int64_t n = moa_rows(y);
    moa_arena_restore(x->arena, mark);
    *out = moa_view2(MOA_F32, buf, n, m->h.d_model);
    out->arena = x->arena;
    return out;
}

static moa_tensor *embed(moa_exec *x, const moa_model *m, moa_tensor *ids) {
    moa_tensor *h = adapted(x, NULL, MOA_SITE_EMBEDDING, ids, moa_embedding(x, moa_weight_at(x, &m->tok_embd), ids));
    return scaled(x, h, m->arch->embd_sqrt ? sqrtf((float)m->h.d_model) : m->h.embd_scale);
}

static moa_tensor *logits(moa_exec *x, const moa_model *m, moa_tensor *h) {
    moa_tensor *y = moa_linear_apply(x, &m->out, norm(x, m, h, &m->out_norm));
    y = scaled(x, y, m->h.logit_div > 0 ? 1.0f / m->h.logit_div : 0);
    return m->h.logit_cap > 0 ? moa_softcap(x, y, m->h.logit_cap) : y;
}

moa_tensor *moa_model_forward(moa_exec *x, const moa_model *m, const moa_rows_in *in) {
    const bool keep = x->tape || in->trace; /* intermediates must outlive their layer */
    moa_tensor *h = embed(x, m, in->ids);
    if (!h) return NULL;
    float *buf = keep ? NULL : moa_arena_alloc(x->arena, moa_tensor_bytes(h));
    if (!keep && !buf) return moa_fail(&x->err, MOA_ENOMEM, "forward: no memory for %lld rows", (long long)moa_rows(h)), NULL;
    for (int i = 0; i < m->h.n_layer && h; i++) h = keep ? layer(x, m, i, h, in) : layer_in(x, m, i, h, in, buf);
    if (in->trace) h = rows_of(x, h, in->out_rows);
    return in->hidden ? norm(x, m, h, &m->out_norm) : logits(x, m, h);
}
