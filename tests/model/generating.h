/* generating.h - what tests of generation share: a vocabulary made on the spot, so that a fresh clone needs no file; generators.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TESTS_MODEL_GENERATING_H
#define MOA_TESTS_MODEL_GENERATING_H

#include "model/generate.h"
#include "model/support.h"

/* Keys as the file that they would be. Frees o. */
static inline moa_gguf *keys_of(moa_gguf_out *o, const char *name) {
    char path[4096];
    moa_gguf *g = NULL;
    moa_err err = {0};
    temp_path(path, sizeof path, name);
    OK(moa_gguf_write(o, path, &err));
    moa_gguf_out_free(o);
    OK(moa_gguf_open(&g, path, &err));
    unlink(path);
    return g;
}

/* A byte-level BPE learnt from some lines: <eos> is token 0, <bos> token 1, then the bytes. */
static inline moa_gguf *learn_words(const char *const *text, int n_text, int n_vocab) {
    static const char *const special[] = {"<eos>", "<bos>"};
    const moa_bpe_train cfg = {.n_vocab = n_vocab, .pre = "moa", .special = special, .n_special = 2, .bos = 1, .eos = 0, .pad = -1};
    size_t len[8];
    moa_err err = {0};
    moa_gguf_out *o = moa_gguf_out_new();
    assert_true(n_text <= 8);
    for (int i = 0; i < n_text; i++) len[i] = strlen(text[i]);
    OK(moa_bpe_train_run(o, &cfg, text, len, n_text, &err));
    return keys_of(o, "words.gguf");
}

static inline moa_generator *generator_of(const moa_model *m, int n_ctx, int n_seq, int n_batch) {
    moa_generator *g = NULL;
    moa_err err = {0};
    const moa_session_cfg cfg = {.n_ctx = n_ctx, .n_seq = n_seq, .n_batch = n_batch, .isa = MOA_ISA_COUNT, .kv_type = MOA_F32};
    OK(moa_generator_new(&g, m, &cfg, &err));
    return g;
}

#endif
