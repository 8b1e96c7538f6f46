/* attend.c - attention of a step's rows over the paged KV.
 *
 * A row walks its own block list from the first position that it sees, 32 positions at a time, with a running maximum and
 * sum (online softmax: Milakov and Gimelshein 2018, as in FlashAttention). Block borders lie at fixed positions, so the
 * order of every sum depends on the row's position alone: not on the batch, the chunks of a prefill, or the threads.
 * A head's sink is a score before all others that has no value: the running maximum and sum begin with it.
 * Values that lie inside the keys (absorbed latent attention) are turned into the layout of values block by block, in scratch: half of
 * the cache for a tenth more time where one row decodes 2,000 positions from the cores' caches, and for nothing to speak of in batches.
 *
 * Work is cut into (key head) x (up to 16 query heads that share it) x (up to 8 neighbouring rows) after rows have been sorted by
 * block list. Within an item the loop over blocks is outside and the loop over rows inside: rows that share a prefix (samples of
 * one prompt, rows of one prefill) read each block from memory once, and from the nearest cache after that.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/attend.h"

#include <math.h>
#include <string.h>

enum { GROUP = 8, HEADS = 16, B = MOA_KV_BLOCK };

/* Query heads of an item. */
static int heads_of(const moa_hparams *h) {
    const int n_q = h->n_head / moa_kv_shape_of(h).n_kv;
    return n_q < HEADS ? n_q : HEADS;
}

/* Maximum and sum a row and head; one block of scores; values that are turned, on a line of their own. */
static size_t small_floats(int heads) { return ((size_t)heads * (2 * GROUP + B) + 15) / 16 * 16; }

size_t moa_attend_scratch(const moa_hparams *h) {
    const moa_kv_shape s = moa_kv_shape_of(h);
    return small_floats(heads_of(h)) + (s.inside ? ((size_t)s.value * B + 15) / 16 * 16 : 0);
}

/* < 0: row a goes before row b. */
static int compare(const moa_attend_rows *r, int a, int b) {
    if (r->seq[a] == r->seq[b]) return r->pos[a] - r->pos[b];
    const moa_kv_list *p = r->kv->seq[r->seq[a]].list, *q = r->kv->seq[r->seq[b]].list; /* of the first store */
    for (int i = 0; i < p->n && i < q->n; i++)
        if (p->block[i] != q->block[i]) return p->block[i] - q->block[i];
    return p->n != q->n ? p->n - q->n : a - b;
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
    const float *q;      /* [n, n_head * key] */
    const float *k, *v;  /* [n, n_kv * key], [n, n_kv * value] */
    float *out;          /* [n, n_head * value] */
    const float *sink;   /* [n_head] or NULL */
    int n, layer, store; /* rows; the store of the layer's blocks */
    int n_head, n_q, window; /* n_q: query heads a key head; window 0: everything */
    float scale, cap;    /* cap 0: none */
} job;

static void put(void *dst, moa_dtype type, int64_t i, float v) {
    if (type == MOA_F16) ((uint16_t *)dst)[i] = moa_f32_to_f16(v);
    else ((float *)dst)[i] = v;
}

static int block_of(const job *j, int row, int64_t b) { return j->r->kv->seq[j->r->seq[row]].list[j->store].block[b]; }

/* Key heads g0..g1: their keys and values of all rows. */
static void store(const void *args, int64_t g0, int64_t g1, int thread) {
    (void)thread;
    const job *j = args;
    const moa_kv *kv = j->r->kv;
    const int64_t key = kv->shape.key, value = kv->shape.value, n_kv = kv->shape.n_kv;
    for (int i = 0; i < j->n; i++) {
        const int64_t pos = j->r->pos[i], t = pos % B;
        char *kb = moa_kv_at(kv, j->layer, block_of(j, i, pos / B)), *vb = kb + kv->key_bytes;
        for (int64_t c = g0 * key; c < g1 * key; c++) put(kb, kv->type, c * B + t, j->k[i * n_kv * key + c]); /* [head][key][32] */
        for (int64_t g = g0; g < g1 && !kv->shape.inside; g++) /* [head][32][value] */
            for (int64_t d = 0; d < value; d++) put(vb, kv->type, (g * B + t) * value + d, j->v[(i * n_kv + g) * value + d]);
    }
}

/* dst [32][value] of the first numbers of keys [key][32]. In strips, so that both sides stay in cache. */
#define TURN(NAME, type)                                                                                                         \
    static void NAME(type *restrict dst, const type *restrict keys, int value) {                                                 \
        for (int d0 = 0; d0 < value; d0 += 16) {                                                                                 \
            const int n = value - d0 < 16 ? value - d0 : 16;                                                                     \
            for (int t = 0; t < B; t++)                                                                                          \
                for (int d = 0; d < n; d++) dst[t * value + d0 + d] = keys[(d0 + d) * B + t];                                    \
        }                                                                                                                        \
    }
TURN(turn_f32, float)
TURN(turn_f16, uint16_t)

/* The values of a head in the layout of values; *turned is whose they are in buf. */
static const char *values_of(const job *j, const char *keys, int64_t g, float *buf, const char **turned) {
    const moa_kv *kv = j->r->kv;
    const int value = kv->shape.value;
    if (!kv->shape.inside) return keys + kv->key_bytes + (size_t)(g * value * B) * kv->elem;
    const char *head = keys + (size_t)(g * kv->shape.key * B) * kv->elem;
    if (*turned == head) return (const char *)buf; /* rows that share blocks are neighbours */
    *turned = head;
    if (kv->type == MOA_F16) turn_f16((uint16_t *)buf, (const uint16_t *)(const void *)head, value);
    else turn_f32(buf, (const float *)(const void *)head, value);
    return (const char *)buf;
}

/* n_block blocks of scores: cap tanh(x), x = s / cap. tanh x = 1 - 2 / (e^2x + 1) cancels where x is small, as nearly all scores are: it is
 * off by 2^-24 there, which the cap multiplies, so that a score of 1 under Gemma 2's cap of 50 kept five digits. Below 0.625 the
 * polynomial of vmath.h instead, to 3e-7 of the value. */
static void soften(const job *j, float *s, int n_block) {
    for (float *end = s + (int64_t)n_block * B; s < end; s += B) {
        float e[B];
        for (int t = 0; t < B; t++) s[t] /= j->cap, e[t] = 2 * s[t];
        j->kern->slot[MOA_K_EXP][MOA_F32]->fn.expv(e, e, B);
        for (int t = 0; t < B; t++) {
            const float x = s[t], z = x * x, big = 1 - 2 / (e[t] + 1);
            const float p = (((-0x1.75e1a8p-8f * z + 0x1.522692p-6f) * z - 0x1.b83c58p-5f) * z + 0x1.110726p-3f) * z - 0x1.555532p-2f;
            s[t] = j->cap * (fabsf(x) < 0.625f ? x + x * (z * p) : big);
        }
    }
}

/* One row, n query heads of one key head, one block of which it sees positions [t0, t1): maxima, sums and outputs move on. */
static void attend_block(const job *j, int n, float *max, float *sum, float *s, float *o, const float *q, const char *k, const char *v, int t0,
                         int t1) {
    const moa_kv *kv = j->r->kv;
    const int value = kv->shape.value;
    j->kern->slot[MOA_K_ATTN_SCORE][kv->type]->fn.attn_score(s, q, k, n, kv->shape.key, j->scale);
    if (j->cap > 0) soften(j, s, n);
    for (int h = 0; h < n; h++) {
        float *sh = s + h * B, top = max[h];
        for (int t = t0; t < t1; t++) top = sh[t] > top ? sh[t] : top;
        if (top > max[h]) {
            const float c = expf(max[h] - top); /* 0 at the first block */
            max[h] = top;
            sum[h] *= c;
            for (int d = 0; d < value; d++) o[h * value + d] *= c;
        }
        for (int t = t0; t < t1; t++) sh[t] -= top;
        for (int t = 0; t < t0; t++) sh[t] = -INFINITY;
        for (int t = t1; t < B; t++) sh[t] = -INFINITY;
    }
    j->kern->slot[MOA_K_EXP][MOA_F32]->fn.expv(s, s, (int64_t)n * B);
    for (int h = 0; h < n; h++)
        for (int t = t0; t < t1; t++) sum[h] += s[h * B + t];
    j->kern->slot[MOA_K_ATTN_MIX][kv->type]->fn.attn_mix(o, s, v, n, t1, value);
}

/* The first position that a row at pos sees. */
static int start_of(const job *j, int pos) { return j->window && pos >= j->window ? pos - j->window + 1 : 0; }

/* What a range of query heads of one key head needs to find its data. */
typedef struct item { int g, head, n; } item; /* key head; first query head, how many */

static void begin_rows(const job *j, const item *it, const int32_t *row, int n, float *max, float *sum) {
    const int64_t value = j->r->kv->shape.value;
    for (int i = 0; i < n; i++) {
        for (int h = 0; h < it->n; h++) {
            max[i * it->n + h] = j->sink ? j->sink[it->head + h] : -INFINITY;
            sum[i * it->n + h] = j->sink ? 1 : 0;
        }
        memset(j->out + (row[i] * (int64_t)j->n_head + it->head) * value, 0, (size_t)(it->n * value) * sizeof(float));
    }
}

/* Rows order[first .. first + n) for an item's heads. */
static void attend_group(const job *j, const item *it, int first, int n, float *scratch) {
    const moa_kv *kv = j->r->kv;
    const int64_t key = kv->shape.key, value = kv->shape.value;
    float *max = scratch, *sum = max + GROUP * it->n, *s = sum + GROUP * it->n, *buf = scratch + small_floats(j->n_q < HEADS ? j->n_q : HEADS);
    const char *turned = NULL;
    const int32_t *row = j->r->order + first;
    int from = INT32_MAX, last = 0;
    begin_rows(j, it, row, n, max, sum);
    for (int i = 0; i < n; i++) {
        const int pos = j->r->pos[row[i]];
        if (pos / B > last) last = pos / B;
        if (start_of(j, pos) / B < from) from = start_of(j, pos) / B;
    }
    for (int b = from; b <= last; b++)
        for (int i = 0; i < n; i++) {
            const int pos = j->r->pos[row[i]], start = start_of(j, pos);
            if (b > pos / B || b < start / B) continue;
            const char *keys = moa_kv_at(kv, j->layer, block_of(j, row[i], b)), *k = keys + (size_t)(it->g * key * B) * kv->elem;
            const char *v = values_of(j, keys, it->g, buf, &turned);
            const int64_t head = row[i] * (int64_t)j->n_head + it->head;
            attend_block(j, it->n, max + i * it->n, sum + i * it->n, s, j->out + head * value, j->q + head * key, k, v,
                         start > b * B ? start - b * B : 0, pos - b * B + 1 < B ? pos - b * B + 1 : B);
        }
    for (int i = 0; i < n; i++)
        for (int h = 0; h < it->n; h++) {
            float *o = j->out + (row[i] * (int64_t)j->n_head + it->head + h) * value;
            for (int64_t d = 0; d < value; d++) o[d] /= sum[i * it->n + h];
        }
}

static void attend_items(const void *args, int64_t i0, int64_t i1, int thread) {
    const job *j = args;
    const int n_group = (j->n + GROUP - 1) / GROUP, n_part = (j->n_q + HEADS - 1) / HEADS;
    for (int64_t i = i0; i < i1; i++) {
        const int first = (int)(i % n_group) * GROUP, g = (int)(i / n_group) / n_part, part = (int)(i / n_group) % n_part * HEADS;
        const item it = {g, g * j->n_q + part, j->n_q - part < HEADS ? j->n_q - part : HEADS};
        attend_group(j, &it, first, j->n - first < GROUP ? j->n - first : GROUP, j->r->scratch + (size_t)thread * j->r->scratch_floats);
    }
}

moa_tensor *moa_attend_paged(moa_exec *x, void *ctx, const moa_model *m, int layer, moa_tensor *q, moa_tensor *k, moa_tensor *v) {
    const moa_attend_rows *r = ctx;
    const moa_kv_shape *shape = &r->kv->shape;
    const moa_layer *l = &m->layer[layer];
    const moa_tensor *sinks = moa_weight_at(x, &l->sinks);
    const int n_head = m->h.n_head, n_q = n_head / shape->n_kv;
    moa_tensor *out = moa_new_tensor(x, MOA_F32, 2, (int64_t[]){moa_rows(q), (int64_t)n_head * shape->value});
    if (!out) return NULL;
    const job j = {.r = r, .kern = x->k, .q = q->data, .k = k->data, .v = v->data, .out = out->data, .sink = sinks ? sinks->data : NULL,
                   .n = (int)moa_rows(q), .layer = layer, .store = r->kv->layer[layer].store, .n_head = n_head, .n_q = n_q,
                   .window = l->window, .scale = moa_attention_scale(&m->h), .cap = m->h.attn_cap};
    const double wide = (double)(shape->key + shape->value);
    double positions = 0;
    for (int i = 0; i < j.n; i++) positions += r->pos[i] + 1 - start_of(&j, r->pos[i]);
    moa_parallel(x, shape->n_kv, 1, (double)j.n * wide, store, &j);
    const int64_t n_item = (int64_t)shape->n_kv * ((n_q + HEADS - 1) / HEADS) * ((j.n + GROUP - 1) / GROUP);
    /* About a multiply-add a position, head and number of keys and values, 16 a nanosecond. */
    moa_parallel_each(x, n_item, positions * n_head * wide / 16 / (double)n_item, attend_items, &j);
    return out;
}
