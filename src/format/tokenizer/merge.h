/* merge.h - the loop that byte-pair tokenizers share: join the best pair of neighbours until none is left.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FORMAT_TOKENIZER_MERGE_H
#define MOA_FORMAT_TOKENIZER_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct moa_sym {
    int32_t prev, next; /* -1: none */
    int32_t id;         /* token, -1: none */
    uint32_t at, n;     /* bytes of the text; n 0: joined into the one before */
} moa_sym;

/* May a and its right neighbour b be joined? Smaller rank first; id: the token they make. */
typedef bool (*moa_pair_fn)(uint32_t *rank, int32_t *id, const void *ctx, const char *text, const moa_sym *a, const moa_sym *b);

typedef struct moa_join { uint64_t key; int32_t id; uint32_t n; } moa_join; /* key: rank << 32 | left; n: bytes of both */

/* Scratch, used again from word to word. Zero-initialise. */
typedef struct moa_merger {
    moa_sym *sym;
    size_t cap_sym;
    moa_join *heap;
    size_t n_heap, cap_heap;
    bool failed; /* out of memory */
} moa_merger;

void moa_merger_deinit(moa_merger *m);
int moa_merger_reserve(moa_merger *m, size_t n_sym);
/* sym[0 .. n_sym) hold id, at, n; links are set here. Afterwards follow next from sym[0]. Of equal ranks the
 * leftmost goes first. O(n log n). 0 or MOA_ENOMEM. */
int moa_merger_run(moa_merger *m, size_t n_sym, const char *text, moa_pair_fn pair, const void *ctx);

#endif
