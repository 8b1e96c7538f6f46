/* fuzz_sentencepiece.c - any text as tokenizer_config.json (its member "added" as added_tokens.json), then a zero byte, then any bytes as
 * the SentencePiece model of a folder with 700 tokens, or with "words": true as the vocab.txt of an encoder: refused with a reason, or the
 * keys make a tokenizer that reads a text or is refused in its turn.
 * SPDX-License-Identifier: Apache-2.0 */
#include "fuzz/folder_keys.h"

#include <string.h>

#define REST "\"hidden_size\":4,\"rms_norm_eps\":1e-5,\"num_hidden_layers\":1,\"intermediate_size\":4,\"max_position_embeddings\":16,\"num_attention_heads\":2,\"vocab_size\":700}"
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
    return folder_keys(m, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char TEXT[] = " Anna  sees\ttwo\xc2\xa0\xef\xac\x81 clocks.\xf0\x9f\x98\x80<sep>\xff";
    try_folder(load, data, size, TEXT, sizeof TEXT - 1);
    return 0;
}
