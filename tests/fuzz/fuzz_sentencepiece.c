/* fuzz_sentencepiece.c - any text as tokenizer_config.json (its member "added" as added_tokens.json), then a zero byte, then any bytes as
 * the SentencePiece model of a folder with 700 tokens, or with "words": true as the vocab.txt of an encoder: refused with a reason, or the
 * keys make a tokenizer that reads a text or is refused in its turn.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "format/hf_impl.h"
#include "format/tokenizer.h"

#include <string.h>

#define REST "\"hidden_size\":4,\"num_hidden_layers\":1,\"intermediate_size\":4,\"max_position_embeddings\":16,\"num_attention_heads\":2,\"vocab_size\":700}"
static const char *const CONFIG[] = {"{\"model_type\":\"llama\"," REST, "{\"model_type\":\"bert\"," REST};

static int load(hf_model *m, const uint8_t *p, size_t size, moa_err *err) {
    const uint8_t *zero = memchr(p, 0, size);
    const size_t n = zero ? (size_t)(zero - p) : 0;
    m->pieces = zero ? zero + 1 : p;
    m->n_pieces = zero ? size - n - 1 : size;
    if (n) MOA_TRY(moa_json_parse(&m->tokenizer_config, (const char *)p, n, HF_MAX_CONFIG, "tokenizer_config.json", err));
    m->added = json_incref(json_object_get(m->tokenizer_config, "added"));
    const bool words = json_is_true(json_object_get(m->tokenizer_config, "words"));
    m->pieces_name = words ? "vocab.txt" : "tokenizer.model";
    MOA_TRY(moa_json_parse(&m->config, CONFIG[words], strlen(CONFIG[words]), HF_MAX_CONFIG, "config.json", err));
    MOA_TRY(hf_config_read(m, err));
    MOA_TRY(hf_tokenizer_read(m, err));
    return moa_gguf_head(&m->head, m->keys, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char TEXT[] = " Anna  sees\ttwo\xc2\xa0\xef\xac\x81 clocks.\xf0\x9f\x98\x80<sep>\xff";
    hf_model *m = NULL;
    moa_gguf *g = NULL;
    moa_tokenizer *t = NULL;
    moa_ids ids = {0};
    moa_err err = {0};
    if (hf_model_new(&m, "no/such/folder", &err) < 0) return 0;
    int rc = load(m, data, size, &err);
    moa_assert(rc == 0 || (err.code == rc && err.text[0]));
    if (rc == 0) rc = moa_gguf_open_memory(&g, m->head.data, m->head.len, "keys", &err);
    if (rc == 0) rc = moa_tokenizer_open(&t, g, &err);
    if (rc == 0) (void)moa_tokenize(&ids, t, TEXT, sizeof TEXT - 1, MOA_TOK_BOS | MOA_TOK_SPECIAL, &err);
    moa_ids_deinit(&ids);
    moa_tokenizer_close(t);
    moa_gguf_close(g);
    hf_model_free(m);
    return 0;
}
