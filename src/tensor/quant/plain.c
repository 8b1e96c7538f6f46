/* plain.c - element types without blocks. Quantisation of a finite value gives a finite value (the largest
 * the type has); infinities and NaN stay what they are. Integers and f64 are read only.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/quant/block.h"

#include <math.h>
#include <string.h>

static void copy_f32(float *dst, const void *src, int64_t n) {
    if (n > 0) memcpy(dst, src, (size_t)n * sizeof *dst);
}
static void store_f32(void *dst, const float *src, const float *importance, int64_t n) {
    (void)importance;
    if (n > 0) memcpy(dst, src, (size_t)n * sizeof *src);
}

/* src may lie at any address: read through memcpy. */
#define READER(name, ctype, expr)                                                                                                \
    static void name(float *dst, const void *src, int64_t n) {                                                                   \
        const unsigned char *p = src;                                                                                            \
        for (int64_t i = 0; i < n; i++) {                                                                                        \
            ctype v;                                                                                                             \
            memcpy(&v, p + (size_t)i * sizeof v, sizeof v);                                                                      \
            dst[i] = expr;                                                                                                       \
        }                                                                                                                        \
    }
READER(read_f16, uint16_t, moa_f16_to_f32(v))
READER(read_bf16, uint16_t, moa_bf16_to_f32(v))
READER(read_f64, double, (float)v)
READER(read_i8, int8_t, (float)v)
READER(read_i16, int16_t, (float)v)
READER(read_i32, int32_t, (float)v)
READER(read_i64, int64_t, (float)v)

static void store_f16(void *dst, const float *src, const float *importance, int64_t n) {
    (void)importance;
    unsigned char *p = dst;
    for (int64_t i = 0; i < n; i++) {
        const float v = src[i];
        const uint16_t h = moa_f32_to_f16(isinf(v) ? v : v > 65504.0f ? 65504.0f : v < -65504.0f ? -65504.0f : v);
        memcpy(p + i * 2, &h, 2);
    }
}

static void store_bf16(void *dst, const float *src, const float *importance, int64_t n) {
    (void)importance;
    unsigned char *p = dst;
    for (int64_t i = 0; i < n; i++) {
        uint16_t h = moa_f32_to_bf16(src[i]);
        if ((h & 0x7fffu) == 0x7f80u && !isinf(src[i])) h--; /* rounded up to infinity */
        memcpy(p + i * 2, &h, 2);
    }
}

const moa_type moa_type_f32 = {.id = MOA_F32,
                               .name = "F32",
                               .help = "single precision",
                               .block = 1,
                               .bytes = 4,
                               .dequantize = copy_f32,
                               .quantize = store_f32};
const moa_type moa_type_f16 = {.id = MOA_F16,
                               .name = "F16",
                               .help = "half precision, 11 bits of mantissa",
                               .block = 1,
                               .bytes = 2,
                               .dequantize = read_f16,
                               .quantize = store_f16};
const moa_type moa_type_bf16 = {.id = MOA_BF16,
                                .name = "BF16",
                                .help = "upper half of a single, 8 bits of mantissa",
                                .block = 1,
                                .bytes = 2,
                                .dequantize = read_bf16,
                                .quantize = store_bf16};
const moa_type moa_type_f64 = {
    .id = MOA_F64, .name = "F64", .help = "double precision (read only)", .block = 1, .bytes = 8, .dequantize = read_f64};
const moa_type moa_type_i8 = {
    .id = MOA_I8, .name = "I8", .help = "8-bit integer (read only)", .block = 1, .bytes = 1, .dequantize = read_i8};
const moa_type moa_type_i16 = {
    .id = MOA_I16, .name = "I16", .help = "16-bit integer (read only)", .block = 1, .bytes = 2, .dequantize = read_i16};
const moa_type moa_type_i32 = {
    .id = MOA_I32, .name = "I32", .help = "32-bit integer (read only)", .block = 1, .bytes = 4, .dequantize = read_i32};
const moa_type moa_type_i64 = {
    .id = MOA_I64, .name = "I64", .help = "64-bit integer (read only)", .block = 1, .bytes = 8, .dequantize = read_i64};
