/* tokfolder.c - see tokfolder.h. SPDX-License-Identifier: Apache-2.0 */
#include "support/tokfolder.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "format/hf.h"
#include "support/safetensors.h"
#include "support/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

void tokfolder_put(const char *name, const void *p, size_t n) {
    moa_writer *w = NULL;
    moa_err err = {0};
    if (moa_writer_open(&w, scratch_path(name, ""), &err) < 0) fail_msg("%s", err.text);
    moa_writer_add(w, p, n);
    if (moa_writer_commit(w, &err) < 0) fail_msg("%s", err.text);
}

void tokfolder_text(const char *name, const char *text) {
    if (text) tokfolder_put(name, text, strlen(text));
    else unlink(scratch_path(name, ""));
}

static void put_model(int n_vocab) {
    moa_buf b;
    char config[400];
    const test_tensor embedding = {.name = "model.embed_tokens.weight", .rows = n_vocab, .cols = 2};
    moa_buf_init(&b, 1 << 22);
    test_safetensors(&b, &embedding, 1);
    tokfolder_put("model.safetensors", b.data, b.len);
    moa_buf_deinit(&b);
    snprintf(config, sizeof config, "{\"model_type\":\"llama\",\"hidden_size\":2,\"num_hidden_layers\":1,\"intermediate_size\":4,\"max_position_embeddings\":16,"
             "\"rms_norm_eps\":1e-5,\"num_attention_heads\":1,\"vocab_size\":%d,\"bos_token_id\":7,\"eos_token_id\":8}", n_vocab);
    tokfolder_text("config.json", config);
}

void tokfolder_clean(int n_vocab) {
    static const char *const NAMES[] = {"tokenizer.model", "spiece.model", "tokenizer.json", "tokenizer_config.json", "added_tokens.json", "special_tokens_map.json",
                                       "vocab.json", "merges.txt", "sentence_bert_config.json", "generation_config.json"};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) tokfolder_text(NAMES[i], NULL);
    put_model(n_vocab);
}

int tokfolder_try(tok_loaded *l, moa_err *err) {
    *l = (tok_loaded){NULL, NULL};
    MOA_TRY(moa_hf_open(&l->g, scratch_dir(), 0, err));
    return moa_tokenizer_open(&l->t, l->g, err);
}

tok_loaded tokfolder_open(void) {
    tok_loaded l;
    moa_err err = {0};
    if (tokfolder_try(&l, &err) < 0) fail_msg("%s (%s)", err.text, err.hint);
    return l;
}

tok_loaded tokfolder_converted(void) {
    tok_loaded l = {NULL, NULL};
    moa_err err = {0};
    const moa_hf_convert how = {0};
    const char *out = scratch_path("out", ".gguf");
    if (moa_hf_write(scratch_dir(), out, &how, &err) < 0 || moa_gguf_open(&l.g, out, &err) < 0 || moa_tokenizer_open(&l.t, l.g, &err) < 0) fail_msg("%s", err.text);
    return l;
}

void tokfolder_refused(int code, const char *says) {
    tok_loaded l;
    moa_err err = {0};
    const int rc = tokfolder_try(&l, &err);
    if (rc != code || !strstr(err.text, says)) fail_msg("%d '%s', expected %d '%s'", rc, err.text, code, says);
    if (!strstr(err.text, scratch_dir())) fail_msg("'%s' names no file", err.text);
    moa_tokenizer_close(l.t);
    moa_gguf_close(l.g);
}
