/* attend.c - attention of a step's rows over the paged KV.
 *
 * A row walks its own block list from position 0, 32 positions at a time, with a running maximum and sum (online
 * softmax: Milakov and Gimelshein 2018, as in FlashAttention). Block borders lie at fixed positions, so the
 * order of every sum depends on the row's position alone: not on the batch, the chunks of a prefill, or the threads.
 *
 * Work is cut into (key head) x (up to 8 neighbouring rows) after rows have been sorted by block list. Within an item the
 * loop over blocks is outside and the loop over rows inside: rows that share a prefix (samples of one prompt, rows of one
 * prefill) read each block from memory once, and from the nearest cache after that.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/attend.h"

#include <math.h>
#include <string.h>

enum { GROUP = 8, B = MOA_KV_BLOCK };

size_t moa_attend_scratch(const moa_hparams *h) {
    const size_t n_q = (size_t)(h->n_head / h->n_kv);
    return (n_q * (2 * GROUP + B) + 15) / 16 * 16; /* maximum and sum a row and head; one block of scores */
}

/* < 0: row a goes before row b. */
static int compare(const moa_attend_rows *r, int a, int b) {
    if (r->seq[a] == r->seq[b]) return r->pos[a] - r->pos[b];
    const moa_kv_seq *p = &r->kv->seq[r->seq[a]], *q = &r->kv->seq[r->seq[b]];
    for (int i = 0; i < p->n_block && i < q->n_block; i++)
        if (p->block[i] != q->block[i]) return p->block[i] - q->block[i];
    return p->n_block != q->n_block ? p->n_block - q->n_block : a - b;
}

void moa_attend_order(int32_t *order, const moa_attend_rows *r, int n) {
    for (int i = 0; i < n; i++) order[i] = i;
    for (int gap = n / 2; gap > 0; gap = gap == 2 ? 1 : gap * 5 / 11) /* Shell's sort: qsort may call the heap */
        for (int i = gap; i < n; i++) {
            const int32_t row = order[i];
            int j = i;
            for (; j >= gap && compare(r, order[j - gap], row) > 0; j -= gap) order[j] = order[j - gap];
            order[j] = row;
        }
}

typedef struct job {
    const moa_attend_rows *r;
    const moa_kernels *kern;
    const float *q;      /* [n, n_head * hd] */
    const float *k, *v;  /* [n, n_kv * hd] */
    float *out;          /* [n, n_head * hd] */
    int n, layer, n_q;   /* rows; query heads a key head */
    float scale;
} job;

static void put(void *dst, moa_dtype type, int64_t i, float v) {
    if (type == MOA_F16) ((uint16_t *)dst)[i] = moa_f32_to_f16(v);
    else ((float *)dst)[i] = v;
}

/* Key heads g0..g1: their keys and values of all rows. */
static void store(const void *args, int64_t g0, int64_t g1, int thread) {
    (void)thread;
    const job *j = args;
    const moa_kv *kv = j->r->kv;
    const int64_t hd = kv->head_dim, width = (int64_t)kv->n_kv * hd;
    for (int i = 0; i < j->n; i++) {
        const int64_t pos = j->r->pos[i], t = pos % B;
        const int block = kv->seq[j->r->seq[i]].block[pos / B];
        char *kb = moa_kv_at(kv, j->layer, 0, block), *vb = moa_kv_at(kv, j->layer, 1, block);
        for (int64_t c = g0 * hd; c < g1 * hd; c++) { /* c = head * hd + d: keys [head][hd][32], values [head][32][hd] */
            put(kb, kv->type, c * B + t, j->k[i * width + c]);
            put(vb, kv->type, (c / hd * B + t) * hd + c % hd, j->v[i * width + c]);
        }
    }
}

/* One row, one key head, one block: the n_q heads' maxima, sums and outputs move on by n_pos positions. */
static void attend_block(const job *j, float *max, float *sum, float *s, float *o, const float *q, const void *k, const void *v,
                         int n_pos) {
    const moa_kv *kv = j->r->kv;
    const int hd = kv->head_dim;
    j->kern->slot[MOA_K_ATTN_SCORE][kv->type]->fn.attn_score(s, q, k, j->n_q, hd, j->scale);
    for (int h = 0; h < j->n_q; h++) {
        float *sh = s + h * B, top = max[h];
        for (int t = 0; t < n_pos; t++) top = sh[t] > top ? sh[t] : top;
        if (top > max[h]) {
            const float c = expf(max[h] - top); /* 0 at the first block */
            max[h] = top;
            sum[h] *= c;
            for (int d = 0; d < hd; d++) o[h * hd + d] *= c;
        }
        for (int t = 0; t < n_pos; t++) sh[t] -= top;
        for (int t = n_pos; t < B; t++) sh[t] = -INFINITY;
    }
    j->kern->slot[MOA_K_EXP][MOA_F32]->fn.expv(s, s, (int64_t)j->n_q * B);
    for (int h = 0; h < j->n_q; h++)
        for (int t = 0; t < n_pos; t++) sum[h] += s[h * B + t];
    j->kern->slot[MOA_K_ATTN_MIX][kv->type]->fn.attn_mix(o, s, v, j->n_q, n_pos, hd);
}

/* Rows order[first .. first + n) for key head g. */
static void attend_group(const job *j, int g, int first, int n, float *scratch) {
    const moa_kv *kv = j->r->kv;
    const int64_t hd = kv->head_dim, span = j->n_q * hd, width = kv->n_kv * span;
    const size_t head = (size_t)(hd * B) * kv->elem;
    float *max = scratch, *sum = max + GROUP * j->n_q, *s = sum + GROUP * j->n_q;
    const int32_t *row = j->r->order + first;
    int last = 0;
    for (int i = 0; i < n * j->n_q; i++) max[i] = -INFINITY, sum[i] = 0;
    for (int i = 0; i < n; i++) {
        memset(j->out + row[i] * width + g * span, 0, (size_t)span * sizeof(float));
        if (j->r->pos[row[i]] / B > last) last = j->r->pos[row[i]] / B;
    }
    for (int b = 0; b <= last; b++)
        for (int i = 0; i < n; i++) {
            const int pos = j->r->pos[row[i]], block = b <= pos / B ? kv->seq[j->r->seq[row[i]]].block[b] : -1;
            if (block < 0) continue;
            const int64_t at = row[i] * width + g * span;
            attend_block(j, max + i * j->n_q, sum + i * j->n_q, s, j->out + at, j->q + at,
                         moa_kv_at(kv, j->layer, 0, block) + (size_t)g * head, moa_kv_at(kv, j->layer, 1, block) + (size_t)g * head,
                         pos - b * B + 1 < B ? pos - b * B + 1 : B);
        }
    for (int i = 0; i < n; i++)
        for (int h = 0; h < j->n_q; h++) {
            float *o = j->out + row[i] * width + g * span + h * hd;
            for (int64_t d = 0; d < hd; d++) o[d] /= sum[i * j->n_q + h];
        }
}

static void attend_items(const void *args, int64_t i0, int64_t i1, int thread) {
    const job *j = args;
    const int n_group = (j->n + GROUP - 1) / GROUP;
    for (int64_t i = i0; i < i1; i++) {
        const int first = (int)(i % n_group) * GROUP;
        attend_group(j, (int)(i / n_group), first, j->n - first < GROUP ? j->n - first : GROUP,
                     j->r->scratch + (size_t)thread * j->r->scratch_floats);
    }
}

moa_tensor *moa_attend_paged(moa_exec *x, void *ctx, const moa_model *m, int layer, moa_tensor *q, moa_tensor *k, moa_tensor *v) {
    const moa_attend_rows *r = ctx;
    moa_tensor *out = moa_new_tensor(x, MOA_F32, 2, q->shape);
    if (!out) return NULL;
    const job j = {.r = r, .kern = x->k, .q = q->data, .k = k->data, .v = v->data, .out = out->data, .n = (int)moa_rows(q),
                   .layer = layer, .n_q = m->h.n_head / m->h.n_kv, .scale = moa_attention_scale(&m->h)};
    double positions = 0;
    for (int i = 0; i < j.n; i++) positions += r->pos[i] + 1;
    moa_parallel(x, m->h.n_kv, 1, (double)j.n * m->h.head_dim * 2, store, &j);
    const int64_t n_item = (int64_t)m->h.n_kv * ((j.n + GROUP - 1) / GROUP);
    /* About 2 multiply-adds a position, head and number, 16 a nanosecond. */
    moa_parallel_each(x, n_item, positions * m->h.n_head * m->h.head_dim / 8 / (double)n_item, attend_items, &j);
    return out;
}
