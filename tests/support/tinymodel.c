/* tinymodel.c - see tinymodel.h. SPDX-License-Identifier: Apache-2.0 */
#include "support/tinymodel.h"

#include "base/err.h"
#include "model/model.h"
#include "task/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N_TEXT = 300, N_VOCAB = 384 };
static const char template_text[] = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
                                    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/* Tokenizer of held-in microworld texts and the template, as a GGUF without tensors. */
static int write_meta(const char *path, moa_err *err) {
    static const char *const special[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    const moa_bpe_train cfg = {.n_vocab = N_VOCAB, .pre = "moa", .special = special, .n_special = 3, .bos = -1, .eos = 2, .pad = 0};
    char *text[N_TEXT];
    size_t len[N_TEXT];
    int n_family, n = 0, rc = 0;
    const moa_family *const *f = moa_families(&n_family);
    for (int i = 0; rc >= 0 && i < N_TEXT; i++) {
        moa_item it;
        moa_item_init(&it);
        rc = moa_item_make(&it, f[i % n_family], MOA_TRAIN, 1, (uint64_t)i, 0, err);
        text[n] = strdup(moa_buf_str(&it.solution));
        len[n] = strlen(text[n]);
        n++;
        moa_item_deinit(&it);
    }
    moa_gguf_out *o = moa_gguf_out_new();
    if (rc >= 0) rc = moa_bpe_train_run(o, &cfg, (const char *const *)text, len, n, err);
    moa_gguf_put_str(o, "tokenizer.chat_template", template_text, sizeof template_text - 1);
    if (rc >= 0) rc = moa_gguf_write(o, path, err);
    moa_gguf_out_free(o);
    for (int i = 0; i < n; i++) free(text[i]);
    return rc;
}

int tinymodel_write(char *out, size_t n, uint64_t seed, moa_err *err) {
    const char *dir = getenv("TMPDIR");
    char meta_path[256];
    moa_gguf *meta = NULL;
    moa_model *m = NULL;
    snprintf(meta_path, sizeof meta_path, "%s/moa-test-%d-meta.gguf", dir ? dir : "/tmp", (int)getpid());
    snprintf(out, n, "%s/moa-test-%d-%llu.gguf", dir ? dir : "/tmp", (int)getpid(), (unsigned long long)seed);
    const moa_hparams h = {.n_vocab = N_VOCAB, .n_ctx = 512, .d_model = 64, .n_layer = 2, .n_head = 4, .n_kv = 2, .head_dim = 16, .d_ff = 96};
    int rc = write_meta(meta_path, err);
    if (rc >= 0) rc = moa_gguf_open(&meta, meta_path, err);
    if (rc >= 0) rc = moa_model_make(&m, "llama", &h, meta, seed, err);
    for (int i = 0; rc >= 0 && i < m->n_param; i++) { /* initial weights give flat logits: make choices differ */
        float *w = m->param[i]->data;
        for (int64_t k = 0; m->param[i]->n_dim > 1 && k < moa_tensor_count(m->param[i]); k++) w[k] *= 6;
    }
    if (rc >= 0) rc = moa_model_save(m, out, MOA_F32, NULL, err);
    moa_model_close(m);
    moa_gguf_close(meta);
    unlink(meta_path);
    return rc;
}
