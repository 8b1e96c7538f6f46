/* fuzz_gguf.c - any bytes as a GGUF file: it is refused, or every key, string and tensor byte can be read.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "format/gguf.h"

#include <string.h>

static uint64_t sum; /* keeps the reads */

static void touch(const void *p, size_t n) {
    const uint8_t *b = p;
    for (size_t i = 0; i < n; i++) sum += b[i];
}

static void read_kv(const moa_gguf *g, const moa_gguf_kv *kv) {
    char key[256];
    touch(kv->data, kv->size);
    if (kv->key.n < sizeof key) {
        memcpy(key, kv->key.p, kv->key.n);
        key[kv->key.n] = 0;
        moa_assert(moa_gguf_find(g, key) == kv);
        uint32_t u;
        float f;
        bool b;
        moa_str s;
        moa_err err;
        moa_gguf_need_u32(&u, g, key, &err);
        moa_gguf_f32(&f, g, key, 1, &err);
        moa_gguf_bool(&b, g, key, false, &err);
        if (moa_gguf_str(&s, g, key, "", &err) == 0) touch(s.p, s.n);
    }
    for (uint64_t i = 0; i < kv->count && kv->elem != MOA_GGUF_ARR; i++) {
        if (kv->elem == MOA_GGUF_STR) {
            moa_str s = moa_gguf_arr_str(kv, i);
            touch(s.p, s.n);
        } else {
            sum += (uint64_t)moa_gguf_arr_int(kv, i) + (moa_gguf_arr_f32(kv, i) > 0);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    moa_gguf *g;
    moa_err err = {0};
    if (moa_gguf_open_memory(&g, data, size, "input", &err) < 0) {
        moa_assert(err.code < 0 && err.text[0] && g == NULL);
        return 0;
    }
    for (int i = 0; i < moa_gguf_n_kv(g); i++) read_kv(g, moa_gguf_kv_at(g, i));
    for (int i = 0; i < moa_gguf_n_tensor(g); i++) {
        const moa_tensor *t = moa_gguf_tensor_at(g, i);
        moa_assert(moa_gguf_tensor(g, t->name) == t);
        touch(t->data, moa_tensor_bytes(t));
    }
    moa_gguf_close(g);
    return 0;
}
