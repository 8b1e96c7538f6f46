/* simd.h - vectors of 8 floats for the shared kernel bodies (gemm_f32.h, vector.h).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_KERNELS_SIMD_H
#define MOA_TENSOR_KERNELS_SIMD_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define VN 8
#define ISA_LEVEL MOA_ISA_AVX2
#define MOA_ROW(name) moa_kernel_##name##_avx2
#define MOA_NAME(name) #name "_avx2"
typedef __m256 VF;
#define MOA_INLINE static inline __attribute__((always_inline))

#define vf_zero _mm256_setzero_ps
#define vf_set1 _mm256_set1_ps
#define vf_add _mm256_add_ps
#define vf_mul _mm256_mul_ps
#define vf_max _mm256_max_ps
#define vf_fma _mm256_fmadd_ps
#define vf_load _mm256_loadu_ps
#define vf_store _mm256_storeu_ps
MOA_INLINE __m256i first(int n) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)); }
MOA_INLINE VF vf_load_first(const float *p, int n) { return _mm256_maskload_ps(p, first(n)); } /* the rest is 0 */
MOA_INLINE void vf_store_first(float *p, VF v, int n) { _mm256_maskstore_ps(p, first(n), v); }

/* 16-bit floats at any address. */
MOA_INLINE VF bf16_widen(__m128i h) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16)); }
MOA_INLINE __m128i load_words_first(const void *p, int n) { /* n < 8 */
    uint16_t w[8] = {0};
    memcpy(w, p, (size_t)n * 2);
    return _mm_loadu_si128((const __m128i *)(const void *)w);
}
MOA_INLINE VF vf_load_bf16(const void *p) { return bf16_widen(_mm_loadu_si128(p)); }
MOA_INLINE VF vf_load_f16(const void *p) { return _mm256_cvtph_ps(_mm_loadu_si128(p)); }
MOA_INLINE VF vf_load_bf16_first(const void *p, int n) { return bf16_widen(load_words_first(p, n)); }
MOA_INLINE VF vf_load_f16_first(const void *p, int n) { return _mm256_cvtph_ps(load_words_first(p, n)); }

/* The one order in which lanes are added: halves onto each other, 8 to 1. */
MOA_INLINE __m128 vf_fold4(VF v) { return _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1)); }

#endif
