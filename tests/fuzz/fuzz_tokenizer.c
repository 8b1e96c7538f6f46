/* fuzz_tokenizer.c - any bytes as a GGUF file with a tokenizer: it is refused, or every text can be tokenized, ids are
 * in range, and byte-level BPE gives the text back.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "format/tokenizer.h"

#include <stdlib.h>
#include <string.h>

/* True where what goes in must come out: byte-level, nothing unknown, no token that eats white space, no normal form, no space put in. */
static bool exact(const moa_gguf *g) {
    static const char *const NOT[] = {"tokenizer.ggml.unknown_token_id", "tokenizer.ggml.precompiled_charsmap", "general.name", MOA_TOK_KEY_NORMAL,
                                      MOA_TOK_KEY_LSTRIP, MOA_TOK_KEY_RSTRIP, MOA_TOK_KEY_PREFIX_MISSING};
    moa_str model;
    moa_err err;
    for (size_t i = 0; i < sizeof NOT / sizeof *NOT; i++)
        if (moa_gguf_find(g, NOT[i])) return false;
    return moa_gguf_str(&model, g, "tokenizer.ggml.model", "", &err) == 0 && model.n == 4 && memcmp(model.p, "gpt2", 4) == 0;
}

static void try_text(const moa_tokenizer *t, const char *text, size_t n, int flags, bool must_match) {
    moa_ids ids = {0};
    moa_err err = {0};
    int rc = moa_tokenize(&ids, t, text, n, flags, &err);
    if (rc < 0) moa_assert(err.text[0] != 0);
    for (int64_t i = 0; i < ids.n; i++) moa_assert(ids.v[i] >= 0 && ids.v[i] < moa_tokenizer_n_vocab(t));
    char *back;
    size_t len;
    moa_assert_eq(moa_detokenize(&back, &len, t, ids.v, ids.n, flags & MOA_TOK_SPECIAL, &err), 0);
    if (rc == 0 && must_match) {
        moa_assert_eq(len, n);
        moa_assert(memcmp(back, text, n) == 0);
    }
    free(back);
    moa_ids_deinit(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const TEXT[] = {"Hello world, 12 + 30 = 42!\n\n  <|im_start|>user\n<s>it's <|im_end|></s>", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                                       "na\xc3\xafve \xe6\xbc\xa2\xe5\xad\x97 \xf0\x9f\xa6\x99 \xff\xc3", ""};
    moa_gguf *g;
    moa_tokenizer *t;
    moa_err err = {0};
    if (moa_gguf_open_memory(&g, data, size, "input", &err) < 0) return 0;
    if (moa_tokenizer_open(&t, g, &err) == 0) {
        bool must = exact(g);
        for (size_t i = 0; i < sizeof TEXT / sizeof *TEXT; i++) {
            try_text(t, TEXT[i], strlen(TEXT[i]), 0, must);
            try_text(t, TEXT[i], strlen(TEXT[i]), MOA_TOK_BOS | MOA_TOK_SPECIAL, false);
        }
        size_t tail = size < 200 ? size : 200;
        try_text(t, (const char *)data + size - tail, tail, 0, must);
        for (int32_t id = -1; id <= moa_tokenizer_n_vocab(t); id++) {
            (void)moa_tokenizer_is_eog(t, id);
            (void)moa_token_bytes(t, id, false);
        }
        moa_tokenizer_close(t);
    } else {
        moa_assert(err.text[0] != 0);
    }
    moa_gguf_close(g);
    return 0;
}
