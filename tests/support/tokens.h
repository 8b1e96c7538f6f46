/* tokens.h - for tests of tokenizers: keys to an open tokenizer, ids compared.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TEST_TOKENS_H
#define MOA_TEST_TOKENS_H

#include "format/tokenizer.h"

typedef struct tok_loaded { moa_gguf *g; moa_tokenizer *t; } tok_loaded;

/* Writes the keys to a file and opens it; frees o. Of a refused tokenizer l->g stays open. With MOA_CORPUS=FOLDER the file stays there
 * as `label`: a seed for fuzz_tokenizer. */
int tok_try_load(tok_loaded *l, moa_gguf_out *o, const char *label, moa_err *err);
tok_loaded tok_load(moa_gguf_out *o, const char *label); /* fails the test where it is refused */
void tok_unload(tok_loaded l);

void tok_expect(const moa_tokenizer *t, const char *text, int flags, const int32_t *want, int64_t n);
#define EXPECT(t, text, flags, ...) \
    tok_expect(t, text, flags, (const int32_t[]){__VA_ARGS__}, (int64_t)(sizeof(const int32_t[]){__VA_ARGS__} / sizeof(int32_t)))

#endif
