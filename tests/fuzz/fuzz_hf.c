/* fuzz_hf.c - any text as config.json, then a zero byte, then any bytes as its only .safetensors file: refused with a reason, or
 * every tensor of the GGUF form can be read to its last byte.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "format/hf_impl.h"

#include <stdlib.h>
#include <string.h>

static uint64_t sum; /* keeps the reads */

static int load(hf_model *m, const uint8_t *data, size_t size, moa_err *err) {
    const uint8_t *zero = memchr(data, 0, size);
    const size_t n = zero ? (size_t)(zero - data) : size;
    MOA_TRY(moa_json_parse(&m->config, (const char *)data, n, HF_MAX_CONFIG, "config.json", err));
    if (!json_is_object(m->config)) return moa_fail(err, MOA_EFORMAT, "no object");
    MOA_TRY(hf_config_read(m, err));
    if (!(m->shard = calloc(1, sizeof *m->shard))) return moa_fail(err, MOA_ENOMEM, "no memory");
    MOA_TRY(moa_safetensors_open_memory(m->shard, zero ? zero + 1 : data, zero ? size - n - 1 : 0, "input.safetensors", err));
    m->n_shard = 1;
    return hf_tensors_plan(m, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    hf_model *m = NULL;
    moa_gguf *g = NULL;
    moa_err err = {0};
    if (hf_model_new(&m, "no/such/folder", &err) < 0) return 0;
    if (load(m, data, size, &err) < 0) {
        moa_assert(err.code < 0 && err.text[0]);
        hf_model_free(m);
        return 0;
    }
    if (hf_model_gguf(&g, m, "input", 0, &err) < 0) return 0;
    for (int i = 0; i < moa_gguf_n_tensor(g); i++) {
        const moa_tensor *t = moa_gguf_tensor_at(g, i);
        const uint8_t *p = t->data;
        for (size_t k = 0; k < moa_tensor_bytes(t); k++) sum += p[k];
    }
    moa_gguf_close(g);
    return 0;
}
