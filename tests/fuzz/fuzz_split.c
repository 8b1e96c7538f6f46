/* fuzz_split.c - any bytes as the parts of a split model (u32 length, bytes, and so on): they are refused, or every tensor of
 * every part can be found and read. SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "format/gguf.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_PART = 8 };
static uint64_t sum; /* keeps the reads */

static void read_all(const moa_gguf *g) {
    for (int i = 0; i < moa_gguf_n_tensor(g); i++) {
        const moa_tensor *t = moa_gguf_tensor_at(g, i);
        moa_assert(moa_gguf_tensor(g, t->name) == t);
        const uint8_t *b = t->data;
        for (size_t k = 0; k < moa_tensor_bytes(t); k++) sum += b[k];
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    moa_gguf *part[MAX_PART] = {0};
    uint8_t *copy[MAX_PART] = {0};
    moa_err err = {0};
    int n = 0, rc = 0;
    while (rc >= 0 && size >= 4 && n < MAX_PART) {
        uint32_t len;
        memcpy(&len, data, 4);
        data += 4, size -= 4;
        if (len > size) len = (uint32_t)size;
        copy[n] = malloc(len ? len : 1); /* exact and aligned */
        moa_assert(copy[n] != NULL);
        memcpy(copy[n], data, len);
        rc = moa_gguf_open_memory(&part[n], copy[n], len, "part", &err);
        data += len, size -= len, n++;
    }
    bool joined = false;
    if (rc >= 0 && n) {
        rc = moa_gguf_join(part[0], part + 1, n - 1, &err);
        joined = rc >= 0;
        if (!joined) moa_assert(err.code < 0 && err.text[0]);
        read_all(part[0]); /* joined or not, what is in the table can be read */
        moa_assert(!joined || moa_gguf_n_part(part[0]) == n);
    }
    for (int i = 0; i < n; i++) {
        if (i == 0 || !joined) moa_gguf_close(part[i]);
    }
    for (int i = 0; i < n; i++) free(copy[i]);
    return 0;
}
