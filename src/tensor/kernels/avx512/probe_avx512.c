/* probe_avx512.c - limits of 512-bit vectors: reading, fused multiply-adds, products of bytes (VNNI) and of bf16.
 * SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>
#include <stdint.h>

typedef __m512i V;
static inline V v_load(const char *p) { return _mm512_load_si512(p); }
#define v_or _mm512_or_si512
static inline uint64_t v_any(V v) { return _mm512_test_epi64_mask(v, v); }
#define READ_ROW moa_probe_read_avx512
#define READ_NAME "read_avx512"
#define READ_ISA MOA_ISA_AVX512
#include "tensor/kernels/probe_read.h"
#include "tensor/kernels/probe_sums.h"
#undef KEEP
#define KEEP(i) __asm__ volatile("" : "+v"(s##i));

/* Sums tend to 2: no overflow, no denormal numbers. */
static uint64_t f32(const void *p, int64_t n) {
    (void)p;
    const __m512 half = _mm512_set1_ps(0.5f), one = _mm512_set1_ps(1);
#define START(i) __m512 s##i = one;
#define TURN(i) s##i = _mm512_fmadd_ps(s##i, half, one);
#define TOTAL(i) all = _mm512_add_ps(all, s##i);
    TURNS(__m512, one)
    return _mm512_cmp_ps_mask(all, one, _CMP_GT_OQ);
}
#undef TURN

static uint64_t bf16(const void *p, int64_t n) {
    (void)p;
    const __m512 one = _mm512_set1_ps(1);
    const __m512bh x = (__m512bh)_mm512_set1_epi16(0x3f00), w = (__m512bh)_mm512_set1_epi16(0); /* 0.5, 0 */
#define TURN(i) s##i = _mm512_dpbf16_ps(s##i, x, w);
    TURNS(__m512, one)
    return _mm512_cmp_ps_mask(all, one, _CMP_GT_OQ);
}
#undef START
#undef TURN
#undef TOTAL

static uint64_t int8(const void *p, int64_t n) {
    (void)p;
    const __m512i x = _mm512_set1_epi8((char)n), w = _mm512_set1_epi8(3);
#define START(i) __m512i s##i = w;
#define TURN(i) s##i = _mm512_dpbusd_epi32(s##i, w, x);
#define TOTAL(i) all = _mm512_xor_si512(all, s##i);
    TURNS(__m512i, w)
    return _mm512_test_epi64_mask(all, all);
}

const moa_probe moa_probe_f32_avx512 = {.name = "f32_avx512", .help = "fused multiply-adds of 16 floats", .kind = MOA_LIMIT_F32, .isa = MOA_ISA_AVX512, .per_turn = N_SUMS * 16 * 2, .run = f32};
const moa_probe moa_probe_int8_avx512 = {.name = "int8_avx512", .help = "products of 64 bytes (vpdpbusd)", .kind = MOA_LIMIT_INT8, .isa = MOA_ISA_AVX512, .per_turn = N_SUMS * 64 * 2, .run = int8};
const moa_probe moa_probe_bf16_avx512 = {.name = "bf16_avx512", .help = "products of 32 bf16 (vdpbf16ps)", .kind = MOA_LIMIT_BF16, .isa = MOA_ISA_AVX512,
                                         .usable = moa_cpu_has_avx512_bf16, .per_turn = N_SUMS * 32 * 2, .run = bf16};
