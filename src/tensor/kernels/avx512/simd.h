/* simd.h - vectors of 16 floats for the shared kernel bodies (gemm_f32.h, vector.h).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_KERNELS_SIMD_H
#define MOA_TENSOR_KERNELS_SIMD_H

#include <immintrin.h>
#include <stdint.h>

#define VN 16
#define ISA_LEVEL MOA_ISA_AVX512
#define MOA_ROW(name) moa_kernel_##name##_avx512
#define MOA_NAME(name) #name "_avx512"
typedef __m512 VF;
#define MOA_INLINE static inline __attribute__((always_inline))

#define vf_zero _mm512_setzero_ps
#define vf_set1 _mm512_set1_ps
#define vf_add _mm512_add_ps
#define vf_mul _mm512_mul_ps
#define vf_max _mm512_max_ps
#define vf_fma _mm512_fmadd_ps
#define vf_load _mm512_loadu_ps
#define vf_store _mm512_storeu_ps
MOA_INLINE __mmask16 first(int n) { return (__mmask16)((1u << n) - 1); }
MOA_INLINE VF vf_load_first(const float *p, int n) { return _mm512_maskz_loadu_ps(first(n), p); } /* the rest is 0 */
MOA_INLINE void vf_store_first(float *p, VF v, int n) { _mm512_mask_storeu_ps(p, first(n), v); }

/* 16-bit floats at any address. */
MOA_INLINE VF bf16_widen(__m256i h) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16)); }
MOA_INLINE VF vf_load_bf16(const void *p) { return bf16_widen(_mm256_loadu_si256(p)); }
MOA_INLINE VF vf_load_f16(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256(p)); }
MOA_INLINE VF vf_load_bf16_first(const void *p, int n) { return bf16_widen(_mm256_maskz_loadu_epi16(first(n), p)); }
MOA_INLINE VF vf_load_f16_first(const void *p, int n) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first(n), p)); }

/* The one order in which lanes are added: halves onto each other, 16 to 1. */
MOA_INLINE __m128 vf_fold4(VF v) {
    const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    return _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
}

#endif
