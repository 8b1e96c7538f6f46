/* tensor.c - views and counts, and the half-precision conversions in integer arithmetic: the definition on
 * every CPU (IEEE 754 binary16, round to nearest, ties to even). Kernels use F16C, which agrees bit for bit.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/tensor.h"
#include "base/err.h"

#include <string.h>

moa_tensor moa_view(moa_dtype dtype, void *data, int n_dim, const int64_t *shape) {
    const moa_type *type = moa_type_get(dtype);
    moa_assert(type != NULL);
    moa_assert(n_dim >= 1 && n_dim <= MOA_MAX_DIM);
    moa_tensor t = {.dtype = dtype, .n_dim = n_dim, .data = data};
    for (int i = 0; i < MOA_MAX_DIM; i++) t.shape[i] = i < n_dim ? shape[i] : 1;
    const int last = n_dim - 1;
    moa_assert_eq(t.shape[last] % type->block, 0);
    /* Axes beyond n_dim have size 1; their stride is never used to move. */
    for (int i = n_dim; i < MOA_MAX_DIM; i++) t.stride[i] = type->bytes;
    t.stride[last] = type->bytes;
    if (last > 0) t.stride[last - 1] = (int64_t)moa_row_bytes(dtype, t.shape[last]);
    for (int i = last - 2; i >= 0; i--) t.stride[i] = t.stride[i + 1] * t.shape[i + 1];
    return t;
}

int64_t moa_tensor_count(const moa_tensor *t) {
    int64_t n = 1;
    for (int i = 0; i < t->n_dim; i++) n *= t->shape[i];
    return n;
}

size_t moa_tensor_bytes(const moa_tensor *t) { return moa_row_bytes(t->dtype, moa_tensor_count(t)); }

bool moa_tensor_contiguous(const moa_tensor *t) {
    const moa_type *type = moa_type_get(t->dtype);
    const int last = t->n_dim - 1;
    if (!type || t->stride[last] != type->bytes) return false;
    int64_t want = (int64_t)moa_row_bytes(t->dtype, t->shape[last]);
    for (int i = last - 1; i >= 0; i--) {
        if (t->shape[i] != 1 && t->stride[i] != want) return false;
        want *= t->shape[i];
    }
    return true;
}

/* Normal halves: move the exponent from bias 15 to bias 127. Denormals: m * 2^-24 is exact in f32. */
float moa_f16_to_f32(uint16_t h) {
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16, e = (h >> 10) & 31u, m = h & 0x3ffu;
    union {
        uint32_t u;
        float f;
    } v;
    if (e == 0) {
        v.f = (float)m * 0x1p-24f;
        v.u |= sign;
    } else if (e == 31) {
        v.u = sign | 0x7f800000u | (m << 13) | (m ? 0x400000u : 0); /* a NaN comes out quiet, as F16C does */
    } else {
        v.u = sign | ((e + 112u) << 23) | (m << 13);
    }
    return v.f;
}

uint16_t moa_f32_to_f16(float f) {
    union {
        float f;
        uint32_t u;
    } v = {f};
    const uint32_t sign = (v.u >> 16) & 0x8000u, a = v.u & 0x7fffffffu;
    if (a > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | ((a >> 13) & 0x1ffu)); /* NaN, quiet */
    if (a >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);                       /* 65520 and up round to infinity */
    if (a >= 0x38800000u) {                                                        /* normal, from 2^-14 */
        const uint32_t r = a - (112u << 23);
        return (uint16_t)(sign | ((r + 0xfffu + ((r >> 13) & 1u)) >> 13));
    }
    /* Denormal or 0. The ulp of 0.5 is 2^-24, one unit of a denormal half, so this addition rounds to
     * nearest even in the right place and leaves the result in the low bits. */
    v.u = a;
    v.f += 0.5f;
    return (uint16_t)(sign | (v.u - 0x3f000000u));
}
