/* gguf_impl.h - the inside of an open GGUF file, for gguf.c and gguf_split.c.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FORMAT_GGUF_IMPL_H
#define MOA_FORMAT_GGUF_IMPL_H

#include "base/arena.h"
#include "base/file.h"
#include "format/gguf.h"

/* Open addressing over row numbers; slot 0 means free, else row + 1. */
typedef struct moa_gguf_table { uint32_t *slot; uint64_t mask; } moa_gguf_table;

struct moa_gguf {
    char *path;
    moa_map map;        /* data NULL when the memory is the caller's */
    void *owner;        /* of what moa_gguf_open_parts was given; of a split file: the other parts */
    void (*owner_free)(void *);
    int n_part;         /* files: 0 means 1 */
    const uint8_t *base;
    size_t size;
    uint32_t version, align;
    uint64_t seed;      /* of the hashes: the address, so that a file cannot aim at collisions */
    int n_kv, n_tensor;
    moa_gguf_kv *kv;
    moa_tensor *tensor;
    moa_arena *names;   /* 0-terminated tensor names */
    moa_gguf_table by_key, by_name;
};

int moa_gguf_open_one(moa_gguf **out, const char *path, moa_err *err); /* this file only, whatever split.count says */
/* The table becomes these views; names are copied. On failure it stays what it was. */
int moa_gguf_set_tensors(moa_gguf *g, const moa_tensor *t, int n, moa_err *err);
int moa_gguf_open_rest(moa_gguf *first, moa_err *err); /* the other parts, when there are any */

#endif
