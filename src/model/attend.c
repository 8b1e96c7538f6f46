/* attend.c - attention of a step's rows over the paged KV.
 *
 * Order of the sums. A row walks its own block list from the first position that it sees, 32 positions at a time, with a running
 * maximum and sum (online softmax: Milakov and Gimelshein 2018, as in FlashAttention). Positions are cut into spans of 512: each span
 * begins anew, and its state is taken into the row's in order of spans. Borders lie at fixed positions, so the chain is a function of
 * the row's position alone: not of the batch, the chunks of a prefill, or the threads. A head's sink is a score before all
 * others that has no value: the row's maximum and sum begin with it.
 *
 * Work. Rows are sorted by block list. An item is (key head) x (up to 32 query heads that share it) x (neighbouring rows, about 48
 * columns in all); its queries are gathered once. In each block, the rows that hold the same block and see all of it are the columns
 * of one product: samples of one prompt, rows of one prefill. They read a shared block from memory once. Where a block is seen
 * in part (the last of a row, the first of a window), rows go one by one, as far as the block reaches for them.
 * Where items are fewer than the threads can use (one long sequence), spans are items too, and their states are merged afterwards:
 * the same sums, in the same order.
 *
 * Values that lie inside the keys (absorbed latent attention) are turned into f32 values block by block, in scratch.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/attend.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { B = MOA_KV_BLOCK, SPAN = 16 /* blocks */, COLUMNS = 48, HEADS = 32, TILE = 12, LANES = MOA_ATTN_LANES };

/* Columns of an item, from heads * rows. */
static int heads_of(int n_q) { return n_q <= HEADS ? n_q : (n_q + (n_q + HEADS - 1) / HEADS - 1) / ((n_q + HEADS - 1) / HEADS); }
static int rows_of(int heads) { return heads < COLUMNS ? COLUMNS / heads : 1; }

/* Running states of columns: maxima [n], sums [n, 16], outputs [n, value]. */
typedef struct state { float *max, *sum, *o; } state;
static size_t state_floats(size_t columns, int value) { return columns * (size_t)(1 + LANES + value); }
static state state_at(float *p, size_t columns) { return (state){p, p + columns, p + columns * (1 + LANES)}; }
static state column(state s, int64_t c, int value) { return (state){s.max + c, s.sum + c * LANES, s.o + c * value}; }

static void begin(state s, int n, int value) {
    for (int c = 0; c < n; c++) s.max[c] = -INFINITY;
    memset(s.sum, 0, (size_t)n * LANES * sizeof(float));
    memset(s.o, 0, (size_t)n * (size_t)value * sizeof(float));
}

/* A thread's scratch: queries, scores, two states, turned values; each on lines of its own. */
static size_t lines(size_t floats) { return (floats + 15) / 16 * 16; }
typedef struct scratch { void *q; float *s; state span, all; float *turned; } scratch;

static size_t carve(scratch *w, float *p, const moa_kv_shape *s, int columns) {
    const size_t n = (size_t)columns, q = lines(n * (size_t)(moa_attn_padded(s->key) + 64)), score = lines(n * B), one = lines(state_floats(n, s->value));
    if (w) *w = (scratch){p, p + q, state_at(p + q + score, n), state_at(p + q + score + one, n), p + q + score + 2 * one};
    return q + score + 2 * one + (s->inside ? lines((size_t)s->value * B) : 0);
}

static int columns_of(const moa_hparams *h, const moa_kv_shape *s) {
    const int heads = heads_of(h->n_head / s->n_kv);
    return heads * rows_of(heads);
}

size_t moa_attend_scratch(const moa_hparams *h) {
    const moa_kv_shape s = moa_kv_shape_of(h);
    return carve(NULL, NULL, &s, columns_of(h, &s));
}

/* States of the spans of a few rows: 64 columns of 64 spans, or one row's of 8192 positions. A step that would need more does not cut. */
size_t moa_attend_parts(const moa_hparams *h) {
    const moa_kv_shape s = moa_kv_shape_of(h);
    return state_floats(64 * (size_t)(h->n_head > 64 ? h->n_head : 64), s.value);
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
    const moa_attn_kernels *attn; /* of the cache's type */
    const moa_attn_kernels *mixer; /* of the values' type: f32 where they are turned */
    const float *q;      /* [n, n_head * key] */
    const float *k, *v;  /* [n, n_kv * key], [n, n_kv * value] */
    float *out;          /* [n, n_head * value] */
    const float *sink;   /* [n_head] or NULL */
    int n, layer, store; /* rows; the store of the layer's blocks */
    int n_head, n_q, window; /* n_q: query heads a key head; window 0: everything */
    float scale, cap;    /* cap 0: none */
    int heads, n_part, rows, n_group; /* of an item: heads, of n_part parts of a key head; rows, of n_group groups */
    int n_span;          /* spans that are items; 0: an item walks all of its own */
    state parts;         /* of all columns and spans, [n, n_span, n_head] */
} job;

static int block_of(const job *j, int row, int64_t b) { return j->r->kv->seq[j->r->seq[row]].list[j->store].block[b]; }

/* ---- keys and values of the step go into their blocks ---- */

/* Rows order[i .. end) of one sequence and block, one after the other; -> the row after them. */
static int run_of(const job *j, int i, int end) {
    const moa_attend_rows *r = j->r;
    const int row = r->order[i], seq = r->seq[row], block = r->pos[row] / B;
    for (i++; i < end; i++) {
        const int next = r->order[i];
        if (r->seq[next] != seq || r->pos[next] / B != block || next != r->order[i - 1] + 1) break;
    }
    return i;
}

/* Item: a key head and 32 rows. */
static void store(const void *args, int64_t i0, int64_t i1, int thread) {
    (void)thread;
    const job *j = args;
    const moa_kv *kv = j->r->kv;
    const moa_kv_shape *s = &kv->shape;
    for (int64_t item = i0; item < i1; item++) {
        const int g = (int)(item % s->n_kv), first = (int)(item / s->n_kv) * 32, end = j->n - first < 32 ? j->n : first + 32;
        for (int i = first; i < end;) {
            const int next = run_of(j, i, end), row = j->r->order[i], pos = j->r->pos[row];
            char *keys = moa_kv_at(kv, j->layer, block_of(j, row, pos / B));
            j->attn->put_key(keys + (size_t)g * kv->key_head, j->k + ((int64_t)row * s->n_kv + g) * s->key, (int64_t)s->n_kv * s->key, pos % B,
                             next - i, s->key);
            if (!s->inside)
                j->attn->put_value(keys + kv->key_bytes + (size_t)g * kv->value_head, j->v + ((int64_t)row * s->n_kv + g) * s->value,
                                   (int64_t)s->n_kv * s->value, pos % B, next - i, s->value);
            i = next;
        }
    }
}

/* ---- one item ---- */

/* Query heads [head, head + n) of key head g; rows order[first .. first + rows). */
typedef struct item { int g, head, n, first, rows; } item;

static int row_at(const job *j, const item *it, int i) { return j->r->order[it->first + i]; }
/* The first position that a row at pos sees. */
static int start_of(const job *j, int pos) { return j->window && pos >= j->window ? pos - j->window + 1 : 0; }

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

/* The values of the item's head; *turned is the block whose they are in scratch. */
static const void *values_of(const job *j, const item *it, const scratch *w, const char *keys, const char **turned) {
    const moa_kv *kv = j->r->kv;
    if (!kv->shape.inside) return keys + kv->key_bytes + (size_t)it->g * kv->value_head;
    if (*turned != keys) j->attn->turn(w->turned, keys + (size_t)it->g * kv->key_head, kv->shape.value, kv->shape.key);
    *turned = keys;
    return w->turned;
}

/* What a row at pos sees of block b: positions [t0, t1). */
typedef struct range { int t0, t1; } range;
static range seen_of(const job *j, const item *it, int i, int b) {
    const int pos = j->r->pos[row_at(j, it, i)], t0 = start_of(j, pos) - b * B, t1 = pos + 1 - b * B;
    return (range){t0 > 0 ? t0 : 0, t1 < B ? t1 : B};
}

/* Rows [i0, i1) of the item with what is theirs of scores s [rows, heads, 32]. Rows that see the same go as one; of neighbours in a
 * prefill, what all see goes as one, and the rest row by row: no row may multiply by values that it does not see. */
static void mix_rows(const job *j, const item *it, const scratch *w, const float *s, const void *v, int i0, int i1, int b) {
    const int value = j->r->kv->shape.value, n = it->n;
    const range first = seen_of(j, it, i0, b);
    int t1 = first.t1;
    for (int i = i0; i < i1; i++) t1 = seen_of(j, it, i, b).t1 < t1 ? seen_of(j, it, i, b).t1 : t1;
    j->mixer->mix(column(w->span, i0 * n, value).o, s, v, (i1 - i0) * n, first.t0, t1, value);
    for (int i = i0; i < i1; i++)
        if (seen_of(j, it, i, b).t1 > t1)
            j->mixer->mix(column(w->span, i * n, value).o, s + (i - i0) * n * B, v, n, t1, seen_of(j, it, i, b).t1, value);
}

/* Asks for a head of a block ahead of its turn. Where few columns share a block, reading it takes longer than all else, and the processor's own
 * foresight ends with each page. */
static void ask_for(const char *p, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(p + i, 0, 3);
}

/* Rows [i0, i1) of the item attend to one block, which begins at position b * B. next: the keys after these, or NULL. */
static void attend_block(const job *j, const item *it, const scratch *w, int i0, int i1, int b, const char *keys, const char *next, const char **turned) {
    const moa_kv *kv = j->r->kv;
    const int n = it->n, value = kv->shape.value;
    const size_t each = moa_attn_query_bytes(kv->type, kv->shape.key);
    float *s = w->s;
    const bool few = (i1 - i0) * n < TILE;
    if (few) ask_for(keys + kv->key_bytes + (size_t)it->g * kv->value_head, kv->value_head);
    j->attn->score(s, (const char *)w->q + (size_t)(i0 * n) * each, keys + (size_t)it->g * kv->key_head, (i1 - i0) * n, kv->shape.key);
    if (few && next) ask_for(next + (size_t)it->g * kv->key_head, kv->key_head);
    if (j->cap > 0) soften(j, s, (i1 - i0) * n);
    const void *v = values_of(j, it, w, keys, turned);
    for (int i = i0; i < i1;) { /* rows that begin alike: all of those that see the whole block, or as many as fill a tile */
        const range r = seen_of(j, it, i, b);
        int end = i;
        for (range e = r; end < i1; end++) {
            e = seen_of(j, it, end, b);
            if (e.t0 != r.t0 || (e.t1 == B) != (r.t1 == B) || (r.t1 < B && (end - i + 1) * n > TILE && end > i)) break;
            const state z = column(w->span, end * n, value);
            if (e.t0 || e.t1 < B) j->attn->soft(s + (end - i0) * n * B, z.max, z.sum, z.o, n, e.t0, e.t1, value);
        }
        const state z = column(w->span, i * n, value);
        if (!r.t0 && r.t1 == B) j->attn->soft(s + (i - i0) * n * B, z.max, z.sum, z.o, (end - i) * n, 0, B, value);
        mix_rows(j, it, w, s + (i - i0) * n * B, v, i, end, b);
        i = end;
    }
}

/* Does a row at pos see something of span z? */
static bool sees(const job *j, int pos, int z) { return pos / (SPAN * B) >= z && start_of(j, pos) / (SPAN * B) <= z; }

/* Block b of row i of the item; -1: the row sees nothing of it. */
static int seen_block(const job *j, const item *it, int i, int b) {
    const int row = row_at(j, it, i), pos = j->r->pos[row];
    return pos / B < b || start_of(j, pos) / B > b ? -1 : block_of(j, row, b);
}

/* The item's rows over the blocks of span z: w->span is what came of it. */
static void attend_span(const job *j, const item *it, const scratch *w, int z) {
    const moa_kv *kv = j->r->kv;
    const char *turned = NULL;
    int from = INT32_MAX, last = -1;
    begin(w->span, it->n * it->rows, kv->shape.value);
    for (int i = 0; i < it->rows; i++) {
        const int pos = j->r->pos[row_at(j, it, i)], b0 = start_of(j, pos) / B;
        from = b0 < from ? b0 : from;
        last = pos / B > last ? pos / B : last;
    }
    from = from < z * SPAN ? z * SPAN : from;
    last = last >= (z + 1) * SPAN ? (z + 1) * SPAN - 1 : last;
    for (int b = from; b <= last; b++)
        for (int i = 0; i < it->rows;) { /* rows that see the same block */
            const int i0 = i, block = seen_block(j, it, i, b);
            for (i++; i < it->rows && seen_block(j, it, i, b) == block;) i++;
            const int next = i < it->rows ? seen_block(j, it, i, b) : b < last ? seen_block(j, it, 0, b + 1) : -1;
            if (block >= 0) attend_block(j, it, w, i0, i, b, moa_kv_at(kv, j->layer, block), next >= 0 ? moa_kv_at(kv, j->layer, next) : NULL, &turned);
        }
}

static void gather(const job *j, const item *it, const scratch *w) {
    const moa_kv *kv = j->r->kv;
    const size_t each = moa_attn_query_bytes(kv->type, kv->shape.key);
    for (int i = 0; i < it->rows; i++)
        j->attn->query((char *)w->q + (size_t)(i * it->n) * each, j->q + ((int64_t)row_at(j, it, i) * j->n_head + it->head) * kv->shape.key, it->n,
                       kv->shape.key, j->scale);
}

/* What a row begins with: nothing, or its sinks. */
static void begin_row(const job *j, state s, int head, int n) {
    begin(s, n, j->r->kv->shape.value);
    for (int h = 0; h < n && j->sink; h++) s.max[h] = j->sink[head + h], s.sum[h * LANES] = 1;
}

static void finish_row(const job *j, state s, int row, int head, int n) {
    const int value = j->r->kv->shape.value;
    float *out = j->out + ((int64_t)row * j->n_head + head) * value;
    for (int h = 0; h < n; h++) {
        float lane[LANES];
        memcpy(lane, s.sum + h * LANES, sizeof lane);
        for (int half = LANES / 2; half; half /= 2)
            for (int l = 0; l < half; l++) lane[l] += lane[l + half];
        const float inv = 1 / lane[0];
        for (int d = 0; d < value; d++) out[h * value + d] = s.o[h * value + d] * inv;
    }
}

static void merge(const job *j, state a, state b, int n) {
    j->attn->merge(a.max, a.sum, a.o, b.max, b.sum, b.o, n, j->r->kv->shape.value);
}

static item item_at(const job *j, int64_t i) {
    const int group = (int)(i % j->n_group), part = (int)(i / j->n_group) % j->n_part, g = (int)(i / j->n_group) / j->n_part;
    /* Groups of nearly the same size, the last ones first: in a prefill they have the most to do. */
    const int at = j->n_group - 1 - group, first = (int)((int64_t)j->n * at / j->n_group), end = (int)((int64_t)j->n * (at + 1) / j->n_group);
    const int head = part * j->heads, n = j->n_q - head < j->heads ? j->n_q - head : j->heads;
    return (item){g, g * j->n_q + head, n, first, end - first};
}

static scratch scratch_of(const job *j, int thread) {
    scratch w;
    carve(&w, j->r->scratch + (size_t)thread * j->r->scratch_floats, &j->r->kv->shape, j->heads * j->rows);
    return w;
}

static void spans_of(const job *j, const item *it, int *from, int *last) {
    *from = INT32_MAX, *last = -1;
    for (int i = 0; i < it->rows; i++) {
        const int pos = j->r->pos[row_at(j, it, i)], z0 = start_of(j, pos) / (SPAN * B), z1 = pos / (SPAN * B);
        *from = z0 < *from ? z0 : *from;
        *last = z1 > *last ? z1 : *last;
    }
}

static void attend_items(const void *args, int64_t i0, int64_t i1, int thread) {
    const job *j = args;
    const int value = j->r->kv->shape.value;
    const scratch w = scratch_of(j, thread);
    for (int64_t i = i0; i < i1; i++) {
        const item it = item_at(j, i);
        int from, last;
        gather(j, &it, &w);
        for (int k = 0; k < it.rows; k++) begin_row(j, column(w.all, k * it.n, value), it.head, it.n);
        spans_of(j, &it, &from, &last);
        for (int z = from; z <= last; z++) {
            attend_span(j, &it, &w, z);
            for (int k = 0; k < it.rows; k++)
                if (sees(j, j->r->pos[row_at(j, &it, k)], z)) merge(j, column(w.all, k * it.n, value), column(w.span, k * it.n, value), it.n);
        }
        for (int k = 0; k < it.rows; k++) finish_row(j, column(w.all, k * it.n, value), row_at(j, &it, k), it.head, it.n);
    }
}

/* ---- spans as items ---- */

static state part_of(const job *j, int row, int z, int head) {
    return column(j->parts, ((int64_t)row * j->n_span + z) * j->n_head + head, j->r->kv->shape.value);
}

static void attend_spans(const void *args, int64_t i0, int64_t i1, int thread) {
    const job *j = args;
    const int value = j->r->kv->shape.value;
    const scratch w = scratch_of(j, thread);
    for (int64_t i = i0; i < i1; i++) {
        const item it = item_at(j, i / j->n_span);
        const int z = j->n_span - 1 - (int)(i % j->n_span);
        int from, last;
        spans_of(j, &it, &from, &last);
        if (z < from || z > last) continue;
        gather(j, &it, &w);
        attend_span(j, &it, &w, z);
        for (int k = 0; k < it.rows; k++) {
            const int row = row_at(j, &it, k);
            const state a = part_of(j, row, z, it.head), b = column(w.span, k * it.n, value);
            memcpy(a.max, b.max, (size_t)it.n * sizeof(float));
            memcpy(a.sum, b.sum, (size_t)it.n * LANES * sizeof(float));
            memcpy(a.o, b.o, (size_t)it.n * (size_t)value * sizeof(float));
        }
    }
}

/* Item: a row and a part of its heads. */
static void merge_spans(const void *args, int64_t i0, int64_t i1, int thread) {
    const job *j = args;
    const scratch w = scratch_of(j, thread);
    for (int64_t i = i0; i < i1; i++) {
        const int row = (int)(i / (j->n_head / j->n_q * j->n_part));
        const int part = (int)(i % (j->n_head / j->n_q * j->n_part)), in = part % j->n_part * j->heads, head = part / j->n_part * j->n_q + in;
        const int n = j->n_q - in < j->heads ? j->n_q - in : j->heads, pos = j->r->pos[row];
        begin_row(j, w.all, head, n);
        for (int z = start_of(j, pos) / (SPAN * B); z <= pos / (SPAN * B); z++) merge(j, w.all, part_of(j, row, z, head), n);
        finish_row(j, w.all, row, head, n);
    }
}

/* ---- the step ---- */

/* Spans are items where there are few other ones, some spans, and room for their states. */
static void plan(job *j, const moa_exec *x) {
    const int n_kv = j->r->kv->shape.n_kv;
    int longest = 0;
    for (int i = 0; i < j->n; i++) longest = j->r->pos[i] > longest ? j->r->pos[i] : longest;
    j->heads = heads_of(j->n_q), j->n_part = (j->n_q + j->heads - 1) / j->heads;
    j->rows = rows_of(j->heads), j->n_group = (j->n + j->rows - 1) / j->rows;
    const int n_span = longest / (SPAN * B) + 1, n_item = n_kv * j->n_part * j->n_group;
    const size_t columns = (size_t)j->n * (size_t)n_span * (size_t)j->n_head;
    if (x->n_threads < 2 || n_span < 2 || n_item >= 2 * x->n_threads || state_floats(columns, j->r->kv->shape.value) > j->r->part_floats) return;
    j->n_span = n_span;
    j->parts = state_at(j->r->parts, columns);
}

moa_tensor *moa_attend_paged(moa_exec *x, void *ctx, const moa_model *m, int layer, moa_tensor *q, moa_tensor *k, moa_tensor *v) {
    const moa_attend_rows *r = ctx;
    const moa_kv_shape *shape = &r->kv->shape;
    const moa_layer *l = &m->layer[layer];
    const moa_tensor *sinks = moa_weight_at(x, &l->sinks);
    const int n_head = m->h.n_head, n_q = n_head / shape->n_kv;
    moa_tensor *out = moa_new_tensor(x, MOA_F32, 2, (int64_t[]){moa_rows(q), (int64_t)n_head * shape->value});
    if (!out) return NULL;
    const moa_attn_kernels *attn = x->k->slot[MOA_K_ATTN][r->kv->type]->fn.attn;
    job j = {.r = r, .kern = x->k, .attn = attn, .mixer = shape->inside ? x->k->slot[MOA_K_ATTN][MOA_F32]->fn.attn : attn, .q = q->data,
             .k = k->data, .v = v->data, .out = out->data, .sink = sinks ? sinks->data : NULL, .n = (int)moa_rows(q), .layer = layer,
             .store = r->kv->layer[layer].store, .n_head = n_head, .n_q = n_q, .window = l->window, .scale = moa_attention_scale(&m->h),
             .cap = m->h.attn_cap};
    const double wide = (double)(shape->key + shape->value);
    double positions = 0;
    for (int i = 0; i < j.n; i++) positions += r->pos[i] + 1 - start_of(&j, r->pos[i]);
    plan(&j, x);
    moa_parallel(x, (int64_t)shape->n_kv * ((j.n + 31) / 32), 1, (j.n < 32 ? j.n : 32) * wide, store, &j);
    /* About a multiply-add a position, head and number of keys and values, 16 a nanosecond. */
    const int64_t n_item = (int64_t)shape->n_kv * j.n_part * j.n_group * (j.n_span ? j.n_span : 1);
    moa_parallel_each(x, n_item, positions * n_head * wide / 16 / (double)n_item, j.n_span ? attend_spans : attend_items, &j);
    if (j.n_span) moa_parallel(x, (int64_t)j.n * shape->n_kv * j.n_part, 1, 8.0 * j.n_span * j.heads * shape->value / 16, merge_spans, &j);
    return out;
}
