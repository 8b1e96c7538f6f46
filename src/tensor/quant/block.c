/* block.c - dequantisation of every block format, over the unpacked integers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/quant/block.h"

void moa_block_dequantize(const moa_type *type, float *dst, const void *src, int64_t n) {
    const uint8_t *p = src;
    moa_ints u;
    for (int64_t i = 0; i < n; i += MOA_QK) {
        const int len = n - i < MOA_QK ? (int)(n - i) : MOA_QK;
        type->unpack(&u, p, len);
        p += len / type->block * type->bytes;
        if (type->has_min)
            for (int k = 0; k < len; k++) dst[i + k] = u.d[k / 16] * u.q[k] + u.m[k / 16];
        else /* not "+ 0": that would turn -0 into 0 */
            for (int k = 0; k < len; k++) dst[i + k] = u.d[k / 16] * u.q[k];
    }
}
