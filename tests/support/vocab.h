/* vocab.h - a large vocabulary made by seed: all bytes, words, pieces of JSON, halves of UTF-8 characters. For tests of masks, which
 * work out large sets of tokens otherwise than small ones.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TEST_VOCAB_H
#define MOA_TEST_VOCAB_H

#include "format/tokenizer.h"

typedef struct test_vocab { moa_gguf *file; moa_tokenizer *tok; } test_vocab;
/* n tokens (at least 300) beside <eos>, which is token 0; every byte has a token. */
int test_vocab_open(test_vocab *v, int n, uint64_t seed, moa_err *err);
void test_vocab_close(test_vocab *v);

#endif
