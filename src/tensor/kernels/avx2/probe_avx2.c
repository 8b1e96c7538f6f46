/* probe_avx2.c - limits of 256-bit vectors: reading, fused multiply-adds, products of bytes by vpmaddubsw (pairs, into sums of 16 bits).
 * SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>
#include <stdint.h>

typedef __m256i V;
static inline V v_load(const char *p) { return _mm256_load_si256((const __m256i *)(const void *)p); }
#define v_or _mm256_or_si256
static inline uint64_t v_any(V v) { return (uint64_t)_mm256_testz_si256(v, v); }
#define READ_ROW moa_probe_read_avx2
#define READ_NAME "read_avx2"
#define READ_ISA MOA_ISA_AVX2
#include "tensor/kernels/probe_read.h"
#include "tensor/kernels/probe_sums.h"

/* Sums tend to 2: no overflow, no denormal numbers. */
static uint64_t f32(const void *p, int64_t n) {
    (void)p;
    const __m256 half = _mm256_set1_ps(0.5f), one = _mm256_set1_ps(1);
#define START(i) __m256 s##i = one;
#define TURN(i) s##i = _mm256_fmadd_ps(s##i, half, one);
#define TOTAL(i) all = _mm256_add_ps(all, s##i);
    TURNS(__m256, one)
    return (uint64_t)_mm256_movemask_ps(all);
}
#undef START
#undef TURN
#undef TOTAL

static uint64_t int8(const void *p, int64_t n) {
    (void)p;
    const __m256i x = _mm256_set1_epi8((char)n), w = _mm256_set1_epi8(3);
#define START(i) __m256i s##i = w;
#define TURN(i) s##i = _mm256_add_epi16(_mm256_maddubs_epi16(x, s##i), w);
#define TOTAL(i) all = _mm256_xor_si256(all, s##i);
    TURNS(__m256i, w)
    return (uint64_t)_mm256_movemask_epi8(all);
}

const moa_probe moa_probe_f32_avx2 = {.name = "f32_avx2", .help = "fused multiply-adds of 8 floats", .kind = MOA_LIMIT_F32, .isa = MOA_ISA_AVX2, .per_turn = N_SUMS * 8 * 2, .run = f32};
const moa_probe moa_probe_int8_avx2 = {.name = "int8_avx2", .help = "products of 32 bytes (vpmaddubsw, sums of 16 bits)", .kind = MOA_LIMIT_INT8, .isa = MOA_ISA_AVX2, .per_turn = N_SUMS * 32 * 2, .run = int8};
