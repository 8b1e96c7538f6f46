/* kv.c - see kv.h. A store is one anonymous mapping: pages that no sequence has touched cost nothing, and the stack
 * of free blocks gives the last freed first, so a small load stays on few pages. A block's layers lie together: memory
 * is touched from the beginning on, whatever the size of the kernel's pages.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/kv.h"
#include "base/err.h"
#include "base/pages.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Layers go to the store of their kind; a model of one kind has one store. */
static void assign_layers(moa_kv *kv, const moa_model *m) {
    for (int i = 0; i < m->h.n_layer; i++) {
        const int window = m->layer[i].window;
        int s = 0;
        while (s < kv->n_store && (kv->store[s].window > 0) != (window > 0)) s++;
        if (s == kv->n_store) kv->n_store++;
        moa_kv_store *to = &kv->store[s];
        if (window > to->window) to->window = window;
        kv->layer[i].store = s;
        kv->layer[i].index = to->n_layer++;
    }
}

static int init_store(moa_kv *kv, moa_kv_store *s, moa_err *err) {
    s->block_bytes = kv->layer_bytes * (size_t)s->n_layer;
    if (__builtin_mul_overflow(s->block_bytes, (size_t)kv->n_block, &s->bytes))
        return moa_fail(err, MOA_ELIMIT, "KV cache: %d blocks of %zu bytes are too many", kv->n_block, s->block_bytes);
    void *p = mmap(NULL, s->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        moa_fail(err, MOA_ENOMEM, "KV cache: no memory for %zu bytes (%d positions)", s->bytes, kv->n_block * MOA_KV_BLOCK);
        return moa_hint(err, MOA_ENOMEM, "use a smaller context, or KV in f16");
    }
    moa_pages_huge(p, s->bytes);
    s->data = p;
    s->ref = calloc((size_t)kv->n_block, sizeof *s->ref);
    s->spare = calloc((size_t)kv->n_block, sizeof *s->spare);
    s->writers = calloc((size_t)kv->n_block, sizeof *s->writers);
    s->tables = calloc((size_t)kv->n_seq * (size_t)kv->max_block, sizeof *s->tables);
    if (!s->ref || !s->spare || !s->writers || !s->tables)
        return moa_fail(err, MOA_ENOMEM, "KV cache: no memory for the tables of %d sequences", kv->n_seq);
    for (int i = 0; i < kv->n_block; i++) s->spare[i] = kv->n_block - 1 - i;
    s->n_spare = s->least_spare = kv->n_block;
    return 0;
}

int moa_kv_init(moa_kv *kv, const moa_model *m, moa_dtype type, int n_block, int n_seq, int max_block, moa_err *err) {
    *kv = (moa_kv){.shape = moa_kv_shape_of(&m->h), .n_block = n_block, .n_seq = n_seq, .max_block = max_block, .type = type};
    kv->key_head = moa_attn_head_bytes(type, kv->shape.key);
    kv->value_head = kv->shape.inside ? 0 : moa_attn_head_bytes(type, kv->shape.value);
    kv->key_bytes = (size_t)kv->shape.n_kv * kv->key_head;
    kv->layer_bytes = kv->key_bytes + (size_t)kv->shape.n_kv * kv->value_head;
    kv->layer = calloc((size_t)m->h.n_layer, sizeof *kv->layer);
    kv->seq = calloc((size_t)n_seq, sizeof *kv->seq);
    if (!kv->layer || !kv->seq) return moa_fail(err, MOA_ENOMEM, "KV cache: no memory for the tables of %d sequences", n_seq);
    assign_layers(kv, m);
    for (int s = 0; s < kv->n_store; s++) {
        MOA_TRY(init_store(kv, &kv->store[s], err));
        for (int i = 0; i < n_seq; i++) kv->seq[i].list[s].block = kv->store[s].tables + (size_t)i * (size_t)max_block;
    }
    return 0;
}

void moa_kv_deinit(moa_kv *kv) {
    for (int i = 0; i < kv->n_store; i++) {
        moa_kv_store *s = &kv->store[i];
        if (s->data) munmap(s->data, s->bytes);
        free(s->ref);
        free(s->spare);
        free(s->writers);
        free(s->tables);
    }
    free(kv->layer);
    free(kv->seq);
    *kv = (moa_kv){0};
}

/* The first block that position len, and with it every later one, can see. */
static int first_seen(const moa_kv_store *s, int64_t len) {
    return s->window && len >= s->window ? (int)((len - s->window + 1) / MOA_KV_BLOCK) : 0;
}

/* The first block that is kept: some more than are seen, so that a conversation can be taken up a little before its end (two
 * prompts that differ in their last tokens). */
enum { SLACK = 2 };
static int first_kept(const moa_kv_store *s, int64_t len) {
    const int first = first_seen(s, len);
    return first > SLACK ? first - SLACK : 0;
}

/* The half-filled last block of a sequence, or -1. */
static int open_block(const moa_kv_seq *q, int store) { return q->len % MOA_KV_BLOCK ? q->list[store].block[q->len / MOA_KV_BLOCK] : -1; }

int moa_kv_plan(moa_kv *kv, int store, const int32_t *touched, int n_touched, const int32_t *add) {
    moa_kv_store *s = &kv->store[store];
    int need = 0;
    for (int i = 0; i < n_touched; i++) {
        const moa_kv_seq *q = &kv->seq[touched[i]];
        need += moa_kv_blocks(q->len + add[touched[i]]) - moa_kv_blocks(q->len);
        const int b = open_block(q, store);
        /* Each writer but the last holder of a shared block copies it: min(writers, ref - 1) copies. */
        if (b >= 0 && ++s->writers[b] < s->ref[b]) need++;
    }
    for (int i = 0; i < n_touched; i++) {
        const int b = open_block(&kv->seq[touched[i]], store);
        if (b >= 0) s->writers[b] = 0;
    }
    return need;
}

static int take(moa_kv_store *s) {
    moa_assert(s->n_spare > 0);
    const int b = s->spare[--s->n_spare];
    if (s->n_spare < s->least_spare) s->least_spare = s->n_spare;
    moa_assert_eq(s->ref[b], 0);
    s->ref[b] = 1;
    return b;
}

static void release(moa_kv_store *s, int b) {
    moa_assert(s->ref[b] > 0);
    if (--s->ref[b] == 0) s->spare[s->n_spare++] = b;
}

void moa_kv_evict(moa_kv *kv, int seq) {
    for (int i = 0; i < kv->n_store; i++) {
        moa_kv_list *l = &kv->seq[seq].list[i];
        for (const int keep = first_kept(&kv->store[i], kv->seq[seq].len); l->first < keep && l->first < l->n; l->first++) {
            release(&kv->store[i], l->block[l->first]);
            l->block[l->first] = -1;
        }
    }
}

void moa_kv_reserve(moa_kv *kv, int seq, int64_t n_add) {
    moa_kv_seq *q = &kv->seq[seq];
    for (int i = 0; i < kv->n_store; i++) {
        moa_kv_store *s = &kv->store[i];
        moa_kv_list *l = &q->list[i];
        const int b = open_block(q, i);
        if (b >= 0 && s->ref[b] > 1) { /* copy on write */
            const int own = take(s);
            memcpy(s->data + (size_t)own * s->block_bytes, s->data + (size_t)b * s->block_bytes, s->block_bytes);
            release(s, b);
            l->block[q->len / MOA_KV_BLOCK] = own;
        }
        while (l->n < moa_kv_blocks(q->len + n_add)) l->block[l->n++] = take(s);
    }
}

bool moa_kv_reaches(const moa_kv *kv, int seq, int64_t len) {
    for (int i = 0; len > 0 && i < kv->n_store; i++)
        if (kv->seq[seq].list[i].first > first_seen(&kv->store[i], len)) return false;
    return true;
}

void moa_kv_fork(moa_kv *kv, int to, int from, int64_t len) {
    moa_assert(moa_kv_reaches(kv, from, len));
    kv->seq[to].len = len;
    for (int i = 0; i < kv->n_store; i++) {
        const moa_kv_list *a = &kv->seq[from].list[i];
        moa_kv_list *b = &kv->seq[to].list[i];
        b->n = moa_kv_blocks(len);
        b->first = first_kept(&kv->store[i], len);
        if (b->first < a->first) b->first = len ? a->first : 0;
        for (int k = 0; k < b->first; k++) b->block[k] = -1;
        for (int k = b->first; k < b->n; k++) kv->store[i].ref[b->block[k] = a->block[k]]++;
    }
}

void moa_kv_truncate(moa_kv *kv, int seq, int64_t len) {
    moa_kv_seq *q = &kv->seq[seq];
    const int keep = moa_kv_blocks(len);
    for (int i = 0; i < kv->n_store; i++) {
        moa_kv_list *l = &q->list[i];
        while (l->n > keep && l->n > l->first) release(&kv->store[i], l->block[--l->n]);
        if (!len) l->first = l->n = 0;
    }
    q->len = len;
}

/* ---- blocks beside sequences ---- */

void moa_kv_hold(moa_kv *kv, int store, int block) {
    moa_assert(kv->store[store].ref[block] > 0);
    kv->store[store].ref[block]++;
}

void moa_kv_release(moa_kv *kv, int store, int block) { release(&kv->store[store], block); }

int64_t moa_kv_reach(const moa_kv *kv, int32_t *const table[MOA_KV_STORES], int64_t len) {
    for (bool again = true; again;) {
        again = false;
        for (int i = 0; i < kv->n_store; i++)
            for (int b = moa_kv_blocks(len) - 1, seen = first_seen(&kv->store[i], len); b >= seen; b--) {
                if (table[i][b] >= 0) continue;
                len = (int64_t)b * MOA_KV_BLOCK; /* the missing block lies just beyond; what is seen from there begins earlier */
                seen = first_seen(&kv->store[i], len);
                again = true;
            }
    }
    return len;
}

void moa_kv_adopt(moa_kv *kv, int to, int32_t *const table[MOA_KV_STORES], int64_t len) {
    kv->seq[to].len = len;
    for (int i = 0; i < kv->n_store; i++) {
        moa_kv_list *l = &kv->seq[to].list[i];
        l->n = l->first = moa_kv_blocks(len);
        for (const int keep = first_kept(&kv->store[i], len); l->first > keep && table[i][l->first - 1] >= 0; l->first--) {
            l->block[l->first - 1] = table[i][l->first - 1];
            moa_kv_hold(kv, i, l->block[l->first - 1]);
        }
        for (int b = 0; b < l->first; b++) l->block[b] = -1;
    }
    moa_assert(moa_kv_reaches(kv, to, len));
}
