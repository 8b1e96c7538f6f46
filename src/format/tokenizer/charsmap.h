/* charsmap.h - the map of characters that SentencePiece models carry (precompiled_charsmap): which bytes of a text are replaced by
 * which before it is tokenized.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FORMAT_TOKENIZER_CHARSMAP_H
#define MOA_FORMAT_TOKENIZER_CHARSMAP_H

#include "format/gguf.h"

typedef struct moa_charsmap {
    uint32_t *unit; /* [n] double array; NULL: no map */
    uint32_t n;
    const char *to; /* replacements, each ended by a zero byte; in the file */
    size_t n_to;
} moa_charsmap;

/* Leaves *m empty where the key is missing or its array is. MOA_EFORMAT when it is no map. */
int moa_charsmap_read(moa_charsmap *m, const moa_gguf *g, const char *key, moa_err *err);
void moa_charsmap_deinit(moa_charsmap *m);

/* What stands for the bytes at p (n > 0): the longest match of the map, else one character as it is, U+FFFD for a byte that is
 * none. Returns how many bytes of p it stands for, at least 1. */
size_t moa_charsmap_next(moa_str *to, const moa_charsmap *m, const char *p, size_t n);

#endif
