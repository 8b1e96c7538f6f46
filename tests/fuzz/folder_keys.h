/* folder_keys.h - what every fuzz target of tokenizers of folders does once the folder's files are in: its keys are made, and then
 * a tokenizer of them, which reads a text or is refused.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FUZZ_FOLDER_KEYS_H
#define MOA_FUZZ_FOLDER_KEYS_H

#include "base/err.h"
#include "format/hf_impl.h"
#include "format/tokenizer.h"

static inline int folder_keys(hf_model *m, moa_err *err) {
    MOA_TRY(hf_config_read(m, err));
    MOA_TRY(hf_tokenizer_read(m, err));
    return moa_gguf_head(&m->head, m->keys, err);
}

/* load: fills m from the input and calls folder_keys. */
static inline void try_folder(int (*load)(hf_model *m, const uint8_t *p, size_t n, moa_err *err), const uint8_t *data, size_t size,
                              const char *text, size_t n_text) {
    hf_model *m = NULL;
    moa_gguf *g = NULL;
    moa_tokenizer *t = NULL;
    moa_ids ids = {0};
    moa_err err = {0};
    if (hf_model_new(&m, "no/such/folder", &err) < 0) return;
    int rc = load(m, data, size, &err);
    moa_assert(rc == 0 || (err.code == rc && err.text[0]));
    if (rc == 0) rc = moa_gguf_open_memory(&g, m->head.data, m->head.len, "keys", &err);
    if (rc == 0) rc = moa_tokenizer_open(&t, g, &err);
    if (rc == 0) (void)moa_tokenize(&ids, t, text, n_text, MOA_TOK_BOS | MOA_TOK_SPECIAL, &err);
    moa_ids_deinit(&ids);
    moa_tokenizer_close(t);
    moa_gguf_close(g);
    hf_model_free(m);
}

#endif
