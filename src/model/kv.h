/* kv.h - the paged store of keys and values behind a session: blocks with reference counts, and per sequence a list of
 * blocks. Who writes into a block that others hold gets a copy first, so a fork costs nothing until it writes.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_KV_H
#define MOA_MODEL_KV_H

#include "model/session.h"

typedef struct moa_kv_seq {
    bool live;
    int64_t len;      /* positions written */
    int n_block;      /* ceil(len / MOA_KV_BLOCK), more only during a step */
    int32_t *block;   /* [max_block] */
} moa_kv_seq;

typedef struct moa_kv {
    int n_layer, n_kv, head_dim, n_block, n_seq, max_block;
    moa_dtype type;
    size_t elem;              /* bytes of one number */
    size_t block_bytes;       /* of the keys (or values) of one block of one layer */
    size_t bytes;             /* of the whole store: address space, not yet memory */
    char *data;               /* [n_block][n_layer][2][n_kv][head_dim * 32]: keys [hd][32], values [32][hd] */
    int32_t *ref;             /* [n_block] holders */
    int32_t *spare;           /* [n_block] stack of free blocks */
    int n_spare, least_spare; /* least_spare: ever; blocks beyond it have never been touched */
    int32_t *writers;         /* [n_block] scratch of the plan, all 0 between calls */
    moa_kv_seq *seq;          /* [n_seq] */
    int32_t *tables;          /* memory of the block lists */
} moa_kv;

int moa_kv_init(moa_kv *kv, const moa_hparams *h, moa_dtype type, int n_block, int n_seq, int max_block, moa_err *err);
void moa_kv_deinit(moa_kv *kv);

/* Blocks that appending add[s] positions to each sequence s of touched takes, copies of shared blocks included. */
int moa_kv_plan(moa_kv *kv, const int32_t *touched, int n_touched, const int32_t *add);
/* Take them (the plan's number is free). Lengths do not change yet. */
void moa_kv_reserve(moa_kv *kv, int seq, int64_t n_add);
void moa_kv_truncate(moa_kv *kv, int seq, int64_t len); /* releases blocks beyond len */

/* Keys (which 0) or values (which 1) of all heads of a block in a layer. */
static inline char *moa_kv_at(const moa_kv *kv, int layer, int which, int block) {
    return kv->data + (((size_t)block * (size_t)kv->n_layer + (size_t)layer) * 2 + (size_t)which) * kv->block_bytes;
}

#endif
