/* kv.c - see kv.h. The store is one anonymous mapping: pages that no sequence has touched cost nothing, and the stack
 * of free blocks gives the last freed first, so a small load stays on few pages. A block's layers lie together: memory
 * is touched from the beginning on, whatever the size of the kernel's pages.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/kv.h"
#include "base/err.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

int moa_kv_init(moa_kv *kv, const moa_hparams *h, moa_dtype type, int n_block, int n_seq, int max_block, moa_err *err) {
    *kv = (moa_kv){.n_layer = h->n_layer, .n_kv = h->n_kv, .head_dim = h->head_dim, .n_block = n_block, .n_seq = n_seq,
                   .max_block = max_block, .type = type, .elem = type == MOA_F16 ? 2 : 4};
    size_t all;
    kv->block_bytes = (size_t)h->n_kv * (size_t)h->head_dim * MOA_KV_BLOCK * kv->elem;
    if (__builtin_mul_overflow(kv->block_bytes, 2 * (size_t)h->n_layer, &all) || __builtin_mul_overflow(all, (size_t)n_block, &kv->bytes))
        return moa_fail(err, MOA_ELIMIT, "KV cache: %d blocks of %zu bytes in %d layers are too many", n_block, kv->block_bytes, h->n_layer);
    void *p = mmap(NULL, kv->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        moa_fail(err, MOA_ENOMEM, "KV cache: no memory for %zu bytes (%d positions)", kv->bytes, n_block * MOA_KV_BLOCK);
        return moa_hint(err, MOA_ENOMEM, "use a smaller context, or KV in f16");
    }
    kv->data = p;
    kv->ref = calloc((size_t)n_block, sizeof *kv->ref);
    kv->spare = calloc((size_t)n_block, sizeof *kv->spare);
    kv->writers = calloc((size_t)n_block, sizeof *kv->writers);
    kv->seq = calloc((size_t)n_seq, sizeof *kv->seq);
    kv->tables = calloc((size_t)n_seq * (size_t)max_block, sizeof *kv->tables);
    if (!kv->ref || !kv->spare || !kv->writers || !kv->seq || !kv->tables)
        return moa_fail(err, MOA_ENOMEM, "KV cache: no memory for the tables of %d sequences", n_seq);
    for (int i = 0; i < n_seq; i++) kv->seq[i].block = kv->tables + (size_t)i * (size_t)max_block;
    for (int i = 0; i < n_block; i++) kv->spare[i] = n_block - 1 - i;
    kv->n_spare = kv->least_spare = n_block;
    return 0;
}

void moa_kv_deinit(moa_kv *kv) {
    if (kv->data) munmap(kv->data, kv->bytes);
    free(kv->ref);
    free(kv->spare);
    free(kv->writers);
    free(kv->seq);
    free(kv->tables);
    *kv = (moa_kv){0};
}

static int blocks_of(int64_t len) { return (int)((len + MOA_KV_BLOCK - 1) / MOA_KV_BLOCK); }

/* The half-filled last block of a sequence, or -1. */
static int open_block(const moa_kv_seq *q) { return q->len % MOA_KV_BLOCK ? q->block[q->len / MOA_KV_BLOCK] : -1; }

int moa_kv_plan(moa_kv *kv, const int32_t *touched, int n_touched, const int32_t *add) {
    int need = 0;
    for (int i = 0; i < n_touched; i++) {
        const moa_kv_seq *q = &kv->seq[touched[i]];
        need += blocks_of(q->len + add[touched[i]]) - blocks_of(q->len);
        const int b = open_block(q);
        /* Each writer but the last holder of a shared block copies it: min(writers, ref - 1) copies. */
        if (b >= 0 && ++kv->writers[b] < kv->ref[b]) need++;
    }
    for (int i = 0; i < n_touched; i++) {
        const int b = open_block(&kv->seq[touched[i]]);
        if (b >= 0) kv->writers[b] = 0;
    }
    return need;
}

static int take(moa_kv *kv) {
    moa_assert(kv->n_spare > 0);
    const int b = kv->spare[--kv->n_spare];
    if (kv->n_spare < kv->least_spare) kv->least_spare = kv->n_spare;
    moa_assert_eq(kv->ref[b], 0);
    kv->ref[b] = 1;
    return b;
}

static void release(moa_kv *kv, int b) {
    moa_assert(kv->ref[b] > 0);
    if (--kv->ref[b] == 0) kv->spare[kv->n_spare++] = b;
}

void moa_kv_reserve(moa_kv *kv, int seq, int64_t n_add) {
    moa_kv_seq *q = &kv->seq[seq];
    const int b = open_block(q);
    if (b >= 0 && kv->ref[b] > 1) { /* copy on write */
        const int own = take(kv);
        memcpy(moa_kv_at(kv, 0, 0, own), moa_kv_at(kv, 0, 0, b), 2 * (size_t)kv->n_layer * kv->block_bytes);
        release(kv, b);
        q->block[q->len / MOA_KV_BLOCK] = own;
    }
    while (q->n_block < blocks_of(q->len + n_add)) q->block[q->n_block++] = take(kv);
}

void moa_kv_truncate(moa_kv *kv, int seq, int64_t len) {
    moa_kv_seq *q = &kv->seq[seq];
    const int keep = blocks_of(len);
    while (q->n_block > keep) release(kv, q->block[--q->n_block]);
    q->len = len;
}
