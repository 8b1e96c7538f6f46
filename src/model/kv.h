/* kv.h - the paged store of keys and values behind a session: blocks with reference counts, and per sequence a list of
 * blocks. Who writes into a block that others hold gets a copy first, so a fork costs nothing until it writes.
 *
 * Layers that see everything and layers with a sliding window keep their blocks in stores of their own: a block of the
 * second goes back as soon as the window has left it behind.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_KV_H
#define MOA_MODEL_KV_H

#include "model/session.h"
#include "tensor/attn.h"

enum { MOA_KV_STORES = 2 };

/* Layers of one kind. */
typedef struct moa_kv_store {
    int window;               /* positions that its layers see, at most; 0: all */
    int n_layer;
    size_t block_bytes;       /* of one block: keys and values of its layers */
    size_t bytes;             /* of the whole store: address space, not yet memory */
    char *data;               /* [n_block][n_layer]: keys of all heads, then values unless inside (layout: tensor/attn.h) */
    int32_t *ref;             /* [n_block] holders */
    int32_t *spare;           /* [n_block] stack of free blocks */
    int n_spare, least_spare; /* least_spare: ever; blocks beyond it have never been touched */
    int32_t *writers;         /* [n_block] scratch of the plan, all 0 between calls */
    int32_t *tables;          /* memory of the block lists */
} moa_kv_store;

typedef struct moa_kv_list {
    int first, n;             /* blocks [first, n) are held: n is ceil(len / MOA_KV_BLOCK), more only during a step */
    int32_t *block;           /* [max_block]; -1 before first */
} moa_kv_list;

typedef struct moa_kv_seq {
    bool live;
    int64_t len;              /* positions written */
    moa_kv_list list[MOA_KV_STORES];
} moa_kv_seq;

typedef struct moa_kv {
    moa_kv_shape shape;
    int n_block, n_seq, max_block; /* n_block: of each store */
    moa_dtype type;
    size_t key_head, value_head; /* bytes of one head's keys, values in a block (tensor/attn.h); 0: values are inside keys */
    size_t key_bytes, layer_bytes; /* of one block of one layer: its keys; keys and values */
    int n_store;
    moa_kv_store store[MOA_KV_STORES];
    struct { int store, index; } *layer; /* [n_layer] where a layer's blocks are */
    moa_kv_seq *seq;          /* [n_seq] */
} moa_kv;

int moa_kv_init(moa_kv *kv, const moa_model *m, moa_dtype type, int n_block, int n_seq, int max_block, moa_err *err);
void moa_kv_deinit(moa_kv *kv);

/* Give back what no later position of the sequence can see, but for a few blocks (kv.c). */
void moa_kv_evict(moa_kv *kv, int seq);
/* Blocks of a store that appending add[s] positions to each sequence s of touched takes, copies of shared blocks included. */
int moa_kv_plan(moa_kv *kv, int store, const int32_t *touched, int n_touched, const int32_t *add);
/* Take them (the plan's numbers are free). Lengths do not change yet. */
void moa_kv_reserve(moa_kv *kv, int seq, int64_t n_add);
/* Is everything still there that a sequence of the first len positions needs to go on? */
bool moa_kv_reaches(const moa_kv *kv, int seq, int64_t len);
void moa_kv_fork(moa_kv *kv, int to, int from, int64_t len);     /* reaches(from, len) */
void moa_kv_truncate(moa_kv *kv, int seq, int64_t len);          /* reaches(seq, len), or len 0: releases blocks beyond len */

/* Blocks that are held beside sequences (prefix.h). Tables of blocks are one list a store, -1 where a block is not there. */
void moa_kv_hold(moa_kv *kv, int store, int block);
void moa_kv_release(moa_kv *kv, int store, int block);
/* The most of the first len positions that a sequence made of these blocks could go on from. */
int64_t moa_kv_reach(const moa_kv *kv, int32_t *const table[MOA_KV_STORES], int64_t len);
/* Sequence `to`, which is empty, shares them: len as reach gave it. */
void moa_kv_adopt(moa_kv *kv, int to, int32_t *const table[MOA_KV_STORES], int64_t len);
static inline int moa_kv_blocks(int64_t len) { return (int)((len + MOA_KV_BLOCK - 1) / MOA_KV_BLOCK); }

/* Keys of all heads of a block in a layer; values that are not inside them follow after key_bytes. */
static inline char *moa_kv_at(const moa_kv *kv, int layer, int block) {
    const moa_kv_store *s = &kv->store[kv->layer[layer].store];
    return s->data + (size_t)block * s->block_bytes + (size_t)kv->layer[layer].index * kv->layer_bytes;
}

#endif
