/* encoder.c - the graph of encoders: BERT (Devlin et al. 2018, arXiv:1810.04805) and nomic-bert (Nussbaum et al. 2024,
 * arXiv:2402.01613). With the residual stream h [n, d]:
 *     h  = LN(token + type 0 [+ position])
 *     h  = LN(h + O attend(Q h, K h, V h))       each token sees its whole text
 *     h  = LN(h + FFN(h)),   FFN(x) = Down(gelu(Up x)), or Down(silu(Gate x) * Up x)
 * BERT has learned positions, nomic-bert rotates q and k.
 *
 * Texts of one call lie one after another. Products go row by row and attention text by text, in groups of rows that begin
 * with the text, so a text's numbers do not depend on who shares the call.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/encoder.h"
#include "base/err.h"
#include "tensor/attn.h"

#include <math.h>
#include <string.h>

/* ---- attention without a mask ---- */

enum { B = 32 /* keys of a kernel call */, GROUP = 8 /* rows that share the loads of keys and values */ };

typedef struct attn_job {
    const moa_texts *t;
    const moa_kernels *k;
    const float *q, *key, *value; /* [n, n_head * hd] */
    float *out;                   /* [n, n_head * hd] */
    float *scratch;
    size_t scratch_floats;        /* of one thread */
    int n_head, hd;
    float scale;
} attn_job;

typedef struct attn_buf {
    float *k, *v; /* [blocks][hd][32], [blocks][32][hd] */
    float *q, *o; /* [GROUP][hd] */
    float *s;     /* [blocks][rows][32] */
} attn_buf;

static int64_t n_blocks(int64_t len) { return (len + B - 1) / B; }
static size_t buf_floats(int64_t longest, int hd) {
    return (size_t)(n_blocks(longest) * (2 * (int64_t)hd * B + GROUP * B) + 2 * GROUP * (int64_t)hd + 64);
}

/* Keys and values of one head as the kernels want them; beyond the text zeros. */
static void pack(const attn_job *j, const attn_buf *b, int64_t row0, int64_t len, int head) {
    const int64_t hd = j->hd, width = j->n_head * hd, nb = n_blocks(len);
    memset(b->k, 0, (size_t)(nb * hd * B) * sizeof(float));
    memset(b->v, 0, (size_t)(nb * hd * B) * sizeof(float));
    for (int64_t i = 0; i < len; i++) {
        const int64_t from = (row0 + i) * width + head * hd;
        for (int64_t d = 0; d < hd; d++) b->k[(i / B * hd + d) * B + i % B] = j->key[from + d];
        memcpy(b->v + i * hd, j->value + from, (size_t)hd * sizeof(float));
    }
}

/* s [nb][n][32] -> numerators of the softmax over the first len columns of each row; sum [n]. */
static void softmax_rows(const attn_job *j, float *s, float *sum, int n, int64_t len) {
    const int64_t nb = n_blocks(len);
    for (int r = 0; r < n; r++) {
        float top = -INFINITY;
        for (int64_t t = 0; t < len; t++) top = fmaxf(top, s[(t / B * n + r) * B + t % B]);
        for (int64_t t = 0; t < nb * B; t++) {
            float *at = &s[(t / B * n + r) * B + t % B];
            *at = t < len ? *at - top : -INFINITY;
        }
    }
    j->k->slot[MOA_K_EXP][MOA_F32]->fn.expv(s, s, nb * n * B);
    for (int r = 0; r < n; r++) {
        sum[r] = 0;
        for (int64_t t = 0; t < len; t++) sum[r] += s[(t / B * n + r) * B + t % B];
    }
}

/* Rows i0 .. i0 + n of a text. */
static void attend_rows(const attn_job *j, const attn_buf *b, int64_t row0, int64_t len, int head, int64_t i0, int n) {
    const int64_t hd = j->hd, width = j->n_head * hd, nb = n_blocks(len);
    const moa_attn_kernels *attn = j->k->slot[MOA_K_ATTN][MOA_F32]->fn.attn;
    float sum[GROUP];
    for (int r = 0; r < n; r++) attn->query(b->q + r * hd, j->q + (row0 + i0 + r) * width + head * hd, 1, j->hd, j->scale);
    memset(b->o, 0, (size_t)(n * hd) * sizeof(float));
    for (int64_t c = 0; c < nb; c++)
        attn->score(b->s + c * n * B, b->q, b->k + c * hd * B, n, j->hd);
    softmax_rows(j, b->s, sum, n, len);
    for (int64_t c = 0; c < nb; c++) {
        const int64_t left = len - c * B;
        attn->mix(b->o, b->s + c * n * B, b->v + c * B * hd, n, 0, (int)(left < B ? left : B), j->hd);
    }
    for (int r = 0; r < n; r++)
        for (int64_t d = 0; d < hd; d++) j->out[(row0 + i0 + r) * width + head * hd + d] = b->o[r * hd + d] / sum[r];
}

/* Item i: text i / n_head, head i % n_head. */
static void attend_items(const void *args, int64_t i0, int64_t i1, int thread) {
    const attn_job *j = args;
    for (int64_t i = i0; i < i1; i++) {
        const int64_t text = i / j->n_head, row0 = j->t->start[text], len = j->t->start[text + 1] - row0, big = n_blocks(len) * j->hd * B;
        attn_buf b = {.k = j->scratch + (size_t)thread * j->scratch_floats};
        b.v = b.k + big, b.q = b.v + big, b.o = b.q + GROUP * j->hd, b.s = b.o + GROUP * j->hd;
        pack(j, &b, row0, len, (int)(i % j->n_head));
        for (int64_t r = 0; r < len; r += GROUP) attend_rows(j, &b, row0, len, (int)(i % j->n_head), r, (int)(len - r < GROUP ? len - r : GROUP));
    }
}

static moa_tensor *attend(moa_exec *x, const moa_model *m, const moa_texts *t, moa_tensor *q, moa_tensor *k, moa_tensor *v) {
    if (!q || !k || !v) return NULL;
    moa_tensor *out = moa_new_tensor(x, MOA_F32, 2, q->shape);
    if (!out) return NULL;
    int64_t longest = 0, pairs = 0;
    for (int i = 0; i < t->n_text; i++) {
        const int64_t len = t->start[i + 1] - t->start[i];
        longest = len > longest ? len : longest;
        pairs += len * len;
    }
    attn_job j = {.t = t, .k = x->k, .q = q->data, .key = k->data, .value = v->data, .out = out->data, .n_head = m->h.n_head,
                  .hd = m->h.head_dim, .scale = moa_attention_scale(&m->h), .scratch_floats = (buf_floats(longest, m->h.head_dim) + 15) / 16 * 16};
    j.scratch = moa_arena_alloc(x->arena, j.scratch_floats * (size_t)x->n_threads * sizeof(float));
    if (!j.scratch) return moa_fail(&x->err, MOA_ENOMEM, "encoder: no memory for the scores of %lld tokens", (long long)longest), NULL;
    /* About 2 multiply-adds a pair and number, 16 a nanosecond. */
    const int64_t n_item = (int64_t)t->n_text * m->h.n_head;
    moa_parallel_each(x, n_item, (double)pairs * m->h.n_head * m->h.head_dim / 8 / (double)n_item, attend_items, &j);
    return out;
}

/* ---- GELU in its exact form, which BERT was trained with ---- */

typedef struct gelu_job { const moa_kernels *k; float *y; const float *x; } gelu_job;

/* x Phi(x), Phi(x) = (1 + erf(x / sqrt 2)) / 2; erf by Abramowitz and Stegun 7.1.26, off by less than 2e-7. */
static void gelu_range(const void *args, int64_t i0, int64_t i1, int thread) {
    (void)thread;
    const gelu_job *j = args;
    enum { N = 256 };
    float e[N];
    for (int64_t at = i0; at < i1; at += N) {
        const int64_t n = i1 - at < N ? i1 - at : N;
        const float *in = j->x + at;
        for (int64_t i = 0; i < n; i++) e[i] = -0.5f * in[i] * in[i];
        j->k->slot[MOA_K_EXP][MOA_F32]->fn.expv(e, e, n);
        for (int64_t i = 0; i < n; i++) {
            const float z = fabsf(in[i]) * 0.70710678f, t = 1.0f / (1.0f + 0.3275911f * z);
            const float tail = 0.5f * e[i] * t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
            j->y[at + i] = in[i] * (in[i] < 0 ? tail : 1.0f - tail); /* tail = 1 - Phi(|x|) */
        }
    }
}

static moa_tensor *gelu(moa_exec *x, moa_tensor *in) {
    moa_tensor *out = in ? moa_new_tensor(x, MOA_F32, 2, in->shape) : NULL;
    if (out) moa_parallel(x, moa_tensor_count(in), 16, 1.0, gelu_range, &(gelu_job){x->k, out->data, in->data});
    return out;
}

/* ---- the graph ---- */

static moa_tensor *rope(moa_exec *x, const moa_model *m, moa_tensor *in, moa_tensor *pos) {
    return m->pos_embd ? in : moa_rope_heads(x, m, &m->rope[MOA_ROPE_GLOBAL], in, m->h.head_dim, 0, pos, NULL);
}

static moa_tensor *feed_forward(moa_exec *x, const moa_layer *l, moa_tensor *in) {
    moa_tensor *u = moa_linear_apply(x, &l->up, in);
    return moa_linear_apply(x, &l->down, l->gate.w ? moa_silu_mul(x, moa_linear_apply(x, &l->gate, in), u) : gelu(x, u));
}

static moa_tensor *layer(moa_exec *x, const moa_model *m, const moa_layer *l, moa_tensor *h, const moa_texts *t) {
    moa_tensor *q = rope(x, m, moa_linear_apply(x, &l->q, h), t->pos), *k = rope(x, m, moa_linear_apply(x, &l->k, h), t->pos);
    moa_tensor *a = moa_linear_apply(x, &l->o, attend(x, m, t, q, k, moa_linear_apply(x, &l->v, h)));
    h = moa_layer_norm(x, moa_add(x, h, a), l->attn_post_norm, l->attn_post_bias, m->h.norm_eps);
    return moa_layer_norm(x, moa_add(x, h, feed_forward(x, l, h)), l->ffn_post_norm, l->ffn_post_bias, m->h.norm_eps);
}

static moa_tensor *embed(moa_exec *x, const moa_model *m, const moa_texts *t) {
    moa_tensor first = moa_view1(MOA_I32, &(int32_t){0}, 1);
    moa_tensor *h = moa_add(x, moa_embedding(x, m->tok_embd, t->ids), moa_embedding(x, m->type_embd, &first) /* "sentence A" */);
    if (m->pos_embd) h = moa_add(x, h, moa_embedding(x, m->pos_embd, t->pos));
    return moa_layer_norm(x, h, m->embd_norm, m->embd_norm_bias, m->h.norm_eps);
}

moa_tensor *moa_encoder_forward(moa_exec *x, const moa_model *m, const moa_texts *t) {
    moa_tensor *h = embed(x, m, t);
    if (!h) return NULL;
    /* Of a layer only its result stays; what it needed in between is forgotten. */
    const moa_arena_mark mark = moa_arena_save(x->arena);
    float *keep = h->data;
    const int64_t n = moa_rows(h);
    moa_tensor *out = h;
    for (int i = 0; i < m->h.n_layer; i++) {
        moa_tensor *y = layer(x, m, &m->layer[i], out, t);
        if (!y) return NULL;
        memcpy(keep, y->data, moa_tensor_bytes(y));
        moa_arena_restore(x->arena, mark);
        *out = moa_view2(MOA_F32, keep, n, m->h.d_model);
        out->arena = x->arena;
    }
    return out;
}
