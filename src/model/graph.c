/* graph.c - the one graph of a decoder, for training and inference alike.
 *
 * Per layer, with the residual stream h [n, d]:
 *     h += O attend(rope(Q norm(h)), rope(K norm(h)), V norm(h))
 *     h += FFN(norm(h)),   FFN(x) = Down(silu(Gate x) * Up x), or the sum over routed experts of the same
 * What attends is the caller's: packed documents in training, paged KV in a session. Only rows that want logits go through
 * the last feed-forward part and the output matrix.
 *
 * Without a tape a layer's intermediates are dropped when the layer is done, so a step needs the memory of one layer.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "model/model.h"

#include <string.h>

moa_tensor *moa_linear_apply(moa_exec *x, const moa_linear_w *l, moa_tensor *in) { return moa_linear(x, in, l->w, l->b); }

moa_tensor *moa_attend_packed(moa_exec *x, void *ctx, const moa_model *m, int layer, moa_tensor *q, moa_tensor *k, moa_tensor *v) {
    (void)layer;
    return moa_attention(x, q, k, v, ctx, m->h.n_head, m->h.n_kv, moa_attention_scale(&m->h));
}

/* RMS norm of each head on its own: rows of one head each. */
static moa_tensor *head_norm(moa_exec *x, const moa_model *m, moa_tensor *in, moa_tensor *w) {
    if (!w || !in) return in;
    const int64_t n = moa_rows(in), cols = moa_cols(in), hd = m->h.head_dim;
    moa_tensor *heads = moa_reshape(x, in, 2, (int64_t[]){n * (cols / hd), hd});
    return moa_reshape(x, moa_rms_norm(x, heads, w, m->h.norm_eps), 2, (int64_t[]){n, cols});
}

static moa_tensor *rope(moa_exec *x, const moa_model *m, moa_tensor *in, moa_tensor *pos) {
    const moa_hparams *h = &m->h;
    return moa_rope(x, in, pos, h->head_dim, h->n_rot, h->rope_base, h->rope_freq_scale, m->rope_factors, h->rope_pairs);
}

static moa_tensor *attention(moa_exec *x, const moa_model *m, int i, moa_tensor *h, const moa_rows_in *in) {
    const moa_layer *l = &m->layer[i];
    moa_tensor *a = moa_rms_norm(x, h, l->attn_norm, m->h.norm_eps);
    moa_tensor *q = rope(x, m, head_norm(x, m, moa_linear_apply(x, &l->q, a), l->q_norm), in->pos);
    moa_tensor *k = rope(x, m, head_norm(x, m, moa_linear_apply(x, &l->k, a), l->k_norm), in->pos);
    moa_tensor *v = moa_linear_apply(x, &l->v, a);
    return q && k && v ? in->attend(x, in->attend_ctx, m, i, q, k, v) : NULL;
}

static moa_tensor *swiglu(moa_exec *x, const moa_linear_w *gate, const moa_linear_w *up, const moa_linear_w *down, moa_tensor *in) {
    moa_tensor *g = moa_linear_apply(x, gate, in), *u = moa_linear_apply(x, up, in);
    return moa_linear_apply(x, down, moa_silu_mul(x, g, u));
}

static moa_tensor *one_expert(moa_exec *x, void *ctx, int e, moa_tensor *rows) {
    const moa_layer *l = ctx;
    return swiglu(x, &l->e_gate[e], &l->e_up[e], &l->e_down[e], rows);
}

static moa_tensor *feed_forward(moa_exec *x, const moa_model *m, moa_layer *l, moa_tensor *in, moa_route *trace) {
    if (!l->router.w) return swiglu(x, &l->gate, &l->up, &l->down, in);
    const moa_router_cfg cfg = {.n_expert = m->h.n_expert, .top_k = m->h.n_expert_used, .norm = m->h.gate_norm, .scale = m->h.gate_scale};
    moa_route r = {0};
    if (moa_router_topk.route(x, &r, &cfg, moa_linear_apply(x, &l->router, in)) < 0) return NULL;
    if (trace) *trace = r;
    return moa_combiner_sum.combine(x, &r, in, one_expert, l, m->h.n_expert);
}

static moa_tensor *rows_of(moa_exec *x, moa_tensor *in, moa_tensor *rows) { return rows ? moa_gather_rows(x, in, rows) : in; }

static moa_tensor *layer(moa_exec *x, const moa_model *m, int i, moa_tensor *h, const moa_rows_in *in) {
    moa_layer *l = &m->layer[i];
    moa_tensor *a = attention(x, m, i, h, in);
    /* After the last attention no row reads another: the rest is for rows that want logits. A trace wants all rows. */
    if (i == m->h.n_layer - 1 && !in->trace) {
        a = rows_of(x, a, in->out_rows);
        h = rows_of(x, h, in->out_rows);
    }
    h = moa_add(x, h, moa_linear_apply(x, &l->o, a));
    moa_tensor *f = feed_forward(x, m, l, moa_rms_norm(x, h, l->ffn_norm, m->h.norm_eps), in->trace ? &in->trace[i] : NULL);
    return moa_add(x, h, f);
}

/* One layer at inference: its result goes to buf, which lies below the mark, and all else is forgotten. */
static moa_tensor *layer_in(moa_exec *x, const moa_model *m, int i, moa_tensor *h, const moa_rows_in *in, float *buf) {
    moa_tensor *out = moa_arena_alloc(x->arena, sizeof *out);
    const moa_arena_mark mark = moa_arena_save(x->arena);
    moa_tensor *y = layer(x, m, i, h, in);
    if (!y) return NULL;
    if (!out) return moa_fail(&x->err, MOA_ENOMEM, "forward: no memory for layer %d", i), NULL;
    memcpy(buf, y->data, moa_tensor_bytes(y));
    const int64_t n = moa_rows(y);
    moa_arena_restore(x->arena, mark);
    *out = moa_view2(MOA_F32, buf, n, m->h.d_model);
    out->arena = x->arena;
    return out;
}

moa_tensor *moa_model_forward(moa_exec *x, const moa_model *m, const moa_rows_in *in) {
    const bool keep = x->tape || in->trace; /* intermediates must outlive their layer */
    moa_tensor *h = moa_embedding(x, m->tok_embd, in->ids);
    if (!h) return NULL;
    float *buf = keep ? NULL : moa_arena_alloc(x->arena, moa_tensor_bytes(h));
    if (!keep && !buf) return moa_fail(&x->err, MOA_ENOMEM, "forward: no memory for %lld rows", (long long)moa_rows(h)), NULL;
    for (int i = 0; i < m->h.n_layer && h; i++) h = keep ? layer(x, m, i, h, in) : layer_in(x, m, i, h, in, buf);
    if (in->trace) h = rows_of(x, h, in->out_rows);
    return moa_linear_apply(x, &m->out, moa_rms_norm(x, h, m->out_norm, m->h.norm_eps));
}
