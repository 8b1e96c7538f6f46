/* normal.h - what changes a text before it is cut into tokens: a list of steps that a file names, done in their order.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FORMAT_TOKENIZER_NORMAL_H
#define MOA_FORMAT_TOKENIZER_NORMAL_H

#include "base/buf.h"
#include "format/gguf.h"
#include "format/tokenizer/charsmap.h"

typedef struct moa_normal {
    struct moa_normal_step *step; /* [n] */
    int n;
    moa_charsmap map;
} moa_normal;

/* Steps of MOA_TOK_KEY_NORMAL; without that key the file's map of characters, if it has one. */
int moa_normal_open(moa_normal *m, const moa_gguf *g, moa_err *err);
void moa_normal_close(moa_normal *m);
/* Appends the normal form of p[0 .. n) to out: MOA_ENOMEM, or MOA_ELIMIT where out ends before it. Bytes that are no UTF-8 stay, but
 * in a map of characters, which makes U+FFFD of them. Time grows with the length, whatever stands in it. */
int moa_normal_run(moa_buf *out, const moa_normal *m, const char *p, size_t n);

/* Bytes of the white space (as Unicode has it) that p begins with, or that ends at p + n; 0: there is none. n > 0 */
size_t moa_space_at(const char *p, size_t n);
size_t moa_space_before(const char *p, size_t n);

#endif
