/* fuzz_safetensors.c - any bytes as a .safetensors file: it is refused with a reason, or every byte of every tensor can be read
 * and every float becomes one.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "format/safetensors.h"

#include <stdlib.h>

static uint64_t sum; /* keeps the reads */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    moa_safetensors *s;
    moa_err err = {0};
    if (moa_safetensors_open_memory(&s, data, size, "input", &err) < 0) {
        moa_assert(err.code < 0 && err.text[0] && s == NULL);
        return 0;
    }
    size_t all = 0;
    for (int i = 0; i < moa_safetensors_n(s); i++) {
        const moa_st_tensor *t = moa_safetensors_at(s, i);
        moa_assert(moa_safetensors_find(s, t->name) == t);
        for (size_t k = 0; k < t->size; k++) sum += t->data[k];
        all += t->size;
        float *v = malloc(t->size * 2 + 4);
        if (v && moa_st_floats(v, s, t, &err) == 0) sum += v[0] > 0;
        free(v);
    }
    moa_assert(all <= size);
    moa_safetensors_close(s);
    return 0;
}
