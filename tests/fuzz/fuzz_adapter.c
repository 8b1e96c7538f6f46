/* fuzz_adapter.c - a GGUF file as an adapter; any other text as adapter_config.json, then a zero byte, then any bytes as its weights:
 * refused with a reason, or every number of every matrix can be read.
 * SPDX-License-Identifier: Apache-2.0 */
#include "adapt/adapt.h"
#include "base/err.h"

#include <stdlib.h>
#include <string.h>

static double sum; /* keeps the reads */

static void read_tensor(const moa_tensor *w) {
    const int64_t cols = moa_cols(w), rows = w->n_dim > 1 ? w->shape[0] : 1;
    float *row = malloc((size_t)cols * sizeof *row);
    for (int64_t r = 0; row && r < rows; r++) {
        moa_type_get(w->dtype)->dequantize(row, (const char *)w->data + (size_t)r * moa_row_bytes(w->dtype, cols), cols);
        for (int64_t i = 0; i < cols; i++) sum += row[i] > 0;
    }
    free(row);
}

static void read_all(const moa_adapter *a) {
    for (int i = 0; i < a->n_whole; i++) read_tensor(&a->whole[i].w);
    for (int i = 0; i < a->n; i++) {
        const moa_lora *l = &a->lora[i];
        moa_assert(l->rank > 0 && l->n_in > 0 && l->n_out > 0);
        moa_assert_eq(moa_tensor_count(&l->a), l->rank * l->n_in);
        moa_assert_eq(moa_tensor_count(&l->b), l->rank * l->n_out);
        read_tensor(&l->a);
        read_tensor(&l->b);
        for (int64_t k = 0; k < l->n_out; k++) sum += (l->bias && l->bias[k] > 0) + (l->magnitude && l->magnitude[k] > 0);
    }
}

static int open_any(moa_adapter **a, const uint8_t *data, size_t size, moa_err *err) {
    moa_gguf *g;
    if (size >= 4 && memcmp(data, "GGUF", 4) == 0) {
        MOA_TRY(moa_gguf_open_memory(&g, data, size, "input", err));
        const int rc = moa_adapter_open_gguf(a, g, err);
        moa_gguf_close(g);
        return rc;
    }
    const uint8_t *zero = memchr(data, 0, size);
    const size_t n = zero ? (size_t)(zero - data) : size;
    return moa_adapter_open_peft(a, (const char *)data, n, zero ? zero + 1 : data, zero ? size - n - 1 : 0, "input", err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    moa_adapter *a = NULL;
    moa_err err = {0};
    if (open_any(&a, data, size, &err) < 0) {
        moa_assert(err.code < 0 && err.text[0] && !a);
        return 0;
    }
    read_all(a);
    moa_adapter_close(a);
    return 0;
}
