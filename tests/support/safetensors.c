/* safetensors.c - see safetensors.h. The format: 8 bytes of length, that much JSON, the data behind it
 * (huggingface/safetensors, README). SPDX-License-Identifier: Apache-2.0 */
#include "support/safetensors.h"

#include <stdint.h>

static int count(const test_tensor *t) { return t->rows * (t->cols ? t->cols : 1); }

void test_safetensors(moa_buf *out, const test_tensor *t, int n) {
    moa_buf head;
    moa_buf_init(&head, 1 << 20);
    moa_buf_adds(&head, "{");
    for (int i = 0, at = 0; i < n; i++) {
        const int end = at + 4 * count(&t[i]);
        moa_buf_addf(&head, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%d", i ? "," : "", t[i].name, t[i].rows);
        if (t[i].cols) moa_buf_addf(&head, ",%d", t[i].cols);
        moa_buf_addf(&head, "],\"data_offsets\":[%d,%d]}", at, end);
        at = end;
    }
    moa_buf_adds(&head, "}");
    const uint64_t len = head.len;
    moa_buf_add(out, &len, 8);
    moa_buf_add(out, head.data, head.len);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < count(&t[i]); k++) moa_buf_add(out, t[i].data ? &t[i].data[k] : &t[i].fill, 4);
    moa_buf_deinit(&head);
}
