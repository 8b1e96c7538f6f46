/* probe_avxvnni.c - limit of vpdpbusd on 256-bit vectors without AVX-512. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/kernels/probe_sums.h"
#include "tensor/probe.h"

#include <immintrin.h>

static uint64_t int8(const void *p, int64_t n) {
    (void)p;
    const __m256i x = _mm256_set1_epi8((char)n), w = _mm256_set1_epi8(3);
#define START(i) __m256i s##i = w;
#define TURN(i) s##i = _mm256_dpbusd_avx_epi32(s##i, w, x);
#define TOTAL(i) all = _mm256_xor_si256(all, s##i);
    TURNS(__m256i, w)
    return (uint64_t)_mm256_movemask_epi8(all);
}

const moa_probe moa_probe_int8_avxvnni = {.name = "int8_avxvnni", .help = "products of 32 bytes (vpdpbusd)", .kind = MOA_LIMIT_INT8, .isa = MOA_ISA_AVX2,
                                          .usable = moa_cpu_has_avx_vnni, .per_turn = N_SUMS * 32 * 2, .run = int8};
