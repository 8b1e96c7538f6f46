/* terms.h - panels, and what a row of x adds to each of their runs besides its products.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_KERNELS_TERMS_H
#define MOA_TENSOR_KERNELS_TERMS_H

enum { PANELS = 2 }; /* that a tile multiplies at once */

/* LANES rows of w, 256 elements of each, as a tile multiplies them. */
typedef struct panel {
    VI q[8][8];      /* [run of 32][quad]: lane r holds elements 4 quad .. 4 quad + 3 of row r */
    VF d[16], m[16]; /* of each run of 32, or of 16: lane r is row r */
} panel;

/* What a row of x adds to each run of 256 elements besides its products. */
typedef struct run_terms {
    int32_t start[16]; /* -offset * sum of q: the panel's bytes are too large by offset */
    float min[16];     /* scale * sum of q, the factor of the minimum */
    float scale[8];
} run_terms;

/* i of 32 elements (or 16, run16) from k on. Whole chunks of 256 go by vectors. */
MOA_INLINE void set_terms(run_terms *t, const float *scale, const int16_t *sum, int n_run, int offset, bool has_min, bool run16) {
    if (n_run < 8) {
        memcpy(t->scale, scale, (size_t)n_run * sizeof *scale);
        for (int b = 0; b < n_run * (run16 ? 2 : 1); b++) {
            const int total = run16 ? sum[b] : sum[2 * b] + sum[2 * b + 1];
            t->start[b] = -offset * total;
            if (has_min) t->min[b] = scale[run16 ? b / 2 : b] * (float)total;
        }
        return;
    }
    const __m256i s = _mm256_loadu_si256((const __m256i *)(const void *)sum), by = _mm256_set1_epi32(-offset);
    const __m256 e = _mm256_loadu_ps(scale);
    _mm256_storeu_ps(t->scale, e);
    if (run16) {
        const __m256i lo = _mm256_cvtepi16_epi32(_mm256_castsi256_si128(s)),
                      hi = _mm256_cvtepi16_epi32(_mm256_extracti128_si256(s, 1));
        _mm256_storeu_si256((__m256i *)(void *)t->start, _mm256_mullo_epi32(lo, by));
        _mm256_storeu_si256((__m256i *)(void *)(t->start + 8), _mm256_mullo_epi32(hi, by));
        if (!has_min) return;
        const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
        const __m256 e0 = _mm256_permutevar8x32_ps(e, twice),
                     e1 = _mm256_permutevar8x32_ps(e, _mm256_add_epi32(twice, _mm256_set1_epi32(4)));
        _mm256_storeu_ps(t->min, _mm256_mul_ps(e0, _mm256_cvtepi32_ps(lo)));
        _mm256_storeu_ps(t->min + 8, _mm256_mul_ps(e1, _mm256_cvtepi32_ps(hi)));
    } else {
        const __m256i total = _mm256_madd_epi16(s, _mm256_set1_epi16(1));
        _mm256_storeu_si256((__m256i *)(void *)t->start, _mm256_mullo_epi32(total, by));
        if (has_min) _mm256_storeu_ps(t->min, _mm256_mul_ps(e, _mm256_cvtepi32_ps(total)));
    }
}

#endif
