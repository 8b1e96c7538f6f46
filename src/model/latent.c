/* latent.c - latent attention: keys and values of all heads come from one short vector c of a position (kv_rank numbers), and one
 * rotated key r (n_rot numbers) is shared by all heads. With a head's up-projections K_h and V_h,
 *     score = (q_h . K_h c + p_h . r) scale,     o_h = sum over positions of a (V_h c)
 * where p_h is the rotated part of the head's query and q_h the rest. The same two ways as in the paper:
 *     expanded    K_h c and V_h c are made once a position and cached: n_head keys and values. Ordinary products: this is what
 *                 trains, and what a file with attn_kv_b gets.
 *     absorbed    q_h . K_h c = (K_h^T q_h) . c and o_h = V_h (sum of a c): the cache holds c and r alone, once for all heads: c is
 *                 both the first part of the key and the value. Files with attn_k_b (K_h^T) and attn_v_b (V_h).
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/latent.h"

/* Rows of all heads as rows of one head, and back. */
static moa_tensor *split_heads(moa_exec *x, moa_tensor *in, int64_t n_head) {
    return in ? moa_reshape(x, in, 2, (int64_t[]){moa_rows(in) * n_head, moa_cols(in) / n_head}) : NULL;
}
static moa_tensor *join_heads(moa_exec *x, moa_tensor *in, int64_t n_head) {
    return in ? moa_reshape(x, in, 2, (int64_t[]){moa_rows(in) / n_head, moa_cols(in) * n_head}) : NULL;
}

static moa_tensor *rotate(moa_exec *x, const moa_model *m, moa_tensor *in, const moa_rows_in *rows, int head_dim) {
    return moa_rope_heads(x, m, &m->rope[MOA_ROPE_GLOBAL], in, head_dim, head_dim - m->h.n_rot, rows->pos, rows->rope_list);
}

/* Each row n times. */
static moa_tensor *repeat(moa_exec *x, moa_tensor *in, int64_t n) {
    if (!in) return NULL;
    const int64_t rows = moa_rows(in) * n;
    moa_tensor *ids = moa_new_tensor(x, MOA_I32, 1, &rows);
    if (!ids) return NULL;
    for (int64_t i = 0; i < rows; i++) ((int32_t *)ids->data)[i] = (int32_t)(i / n);
    return moa_gather_rows(x, in, ids);
}

static moa_tensor *queries(moa_exec *x, const moa_model *m, const moa_layer *l, moa_tensor *in, const moa_rows_in *rows) {
    if (m->h.q_rank) in = moa_rms_norm(x, moa_linear_apply(x, &l->q_a, in), moa_weight_at(x, &l->q_a_norm), m->h.norm_eps);
    return rotate(x, m, moa_linear_apply(x, &l->q, in), rows, m->h.head_dim);
}

void moa_latent_heads(moa_tensor *qkv[3], moa_exec *x, const moa_model *m, const moa_layer *l, moa_tensor *in, const moa_rows_in *rows) {
    const moa_hparams *h = &m->h;
    const int64_t plain = h->head_dim - h->n_rot;
    moa_tensor *q = queries(x, m, l, in, rows);
    moa_tensor *kv = moa_linear_apply(x, &l->kv_a, in); /* [n, kv_rank + n_rot] */
    moa_tensor *c = moa_rms_norm(x, moa_slice_cols(x, kv, 0, h->kv_rank), moa_weight_at(x, &l->kv_a_norm), h->norm_eps);
    moa_tensor *r = rotate(x, m, moa_slice_cols(x, kv, h->kv_rank, h->kv_rank + h->n_rot), rows, h->n_rot);
    if (h->absorbed) {
        moa_tensor *heads = split_heads(x, q, h->n_head);
        moa_tensor *low = moa_head_linear(x, join_heads(x, moa_slice_cols(x, heads, 0, plain), h->n_head), l->k_b); /* [n, n_head * kv_rank] */
        qkv[0] = join_heads(x, moa_concat_cols(x, split_heads(x, low, h->n_head), moa_slice_cols(x, heads, plain, h->head_dim)), h->n_head);
        qkv[1] = moa_concat_cols(x, c, r);
        qkv[2] = c;
        return;
    }
    moa_tensor *up = split_heads(x, moa_linear_apply(x, &l->kv_b, c), h->n_head); /* [n * n_head, plain + d_value] */
    qkv[0] = q;
    qkv[1] = join_heads(x, moa_concat_cols(x, moa_slice_cols(x, up, 0, plain), repeat(x, r, h->n_head)), h->n_head);
    qkv[2] = join_heads(x, moa_slice_cols(x, up, plain, plain + h->d_value), h->n_head);
}

moa_tensor *moa_latent_values(moa_exec *x, const moa_model *m, const moa_layer *l, moa_tensor *attended) {
    return m->h.absorbed ? moa_head_linear(x, attended, l->v_b) : attended;
}
