/* fuzz_hf_tokenizer.c - any text as tokenizer.json, after a zero byte as tokenizer_config.json, of a model with 64 tokens; where a second
 * zero byte follows, the first part is vocab.json and what is behind it merges.txt: refused with a reason, or the keys make a tokenizer
 * that reads a text or is refused in its turn.
 * SPDX-License-Identifier: Apache-2.0 */
#include "fuzz/folder_keys.h"

#include <stdlib.h>
#include <string.h>

static const char CONFIG[] = "{\"model_type\":\"llama\",\"hidden_size\":4,\"num_hidden_layers\":1,\"intermediate_size\":4,\"max_position_embeddings\":16,"
                             "\"rms_norm_eps\":1e-5,\"num_attention_heads\":2,\"vocab_size\":64}";

static int as_pair(hf_model *m, const char *vocab, size_t n, const char *merges, size_t n_merges, moa_err *err) {
    m->pieces = (const uint8_t *)vocab;
    m->n_pieces = n;
    m->pieces_name = "vocab.json";
    m->merges = calloc(1, n_merges + 1);
    if (!m->merges) return moa_fail(err, MOA_ENOMEM, "no memory for merges.txt");
    memcpy(m->merges, merges, m->n_merges = n_merges);
    return 0;
}

static int load(hf_model *m, const uint8_t *data, size_t size, moa_err *err) {
    const char *p = (const char *)data, *end = p + size;
    const char *zero = memchr(p, 0, size), *second = zero ? memchr(zero + 1, 0, (size_t)(end - zero - 1)) : NULL;
    const char *stop = second ? second : end;
    const size_t n = zero ? (size_t)(zero - p) : size;
    MOA_TRY(moa_json_parse(&m->config, CONFIG, sizeof CONFIG - 1, HF_MAX_CONFIG, "config.json", err));
    if (second) MOA_TRY(as_pair(m, p, n, second + 1, (size_t)(end - second - 1), err));
    else MOA_TRY(moa_json_parse(&m->tokenizer, p, n, HF_MAX_TOKENIZER, "tokenizer.json", err));
    if (zero) MOA_TRY(moa_json_parse(&m->tokenizer_config, zero + 1, (size_t)(stop - zero - 1), HF_MAX_CONFIG, "tokenizer_config.json", err));
    return folder_keys(m, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char TEXT[] = "Hello  w\xc3\xb6rld 123\n\xf0\x9f\x98\x80<s>";
    try_folder(load, data, size, TEXT, sizeof TEXT - 1);
    return 0;
}
