/* attn.h - attention over one block of 32 cached positions (tensor/attn.h) for the vectors of avx2/simd.h or avx512/simd.h.
 *
 * Scores and mixes are small products: a tile of columns times 32 positions, or times a strip of the head, stays in registers, so
 * that a cached number is loaded (and widened) once for up to 12 columns. A tile's shape does not reach the sums: each is one
 * chain of fused multiply-adds in the order of the head's numbers, or of positions.
 *
 * The including file includes simd.h of its ISA first, defines how columns are split into tiles, vf_above, vf_from_i8 and
 * vf_from_half32, and adds score_q8_0, whose instructions differ.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/attn.h"
#include "tensor/kernel.h"
#include "tensor/kernels/vmath.h"

#include <math.h>
#include <string.h>

enum { BLOCK = MOA_ATTN_BLOCK, LANES = MOA_ATTN_LANES, NV = BLOCK / VN };

/* ---- softmax ---- */

MOA_INLINE void scale_by(float *x, float c, int n) {
    const VF v = vf_set1(c);
    int i = 0;
    for (; i + VN <= n; i += VN) vf_store(x + i, vf_mul(vf_load(x + i), v));
    if (i < n) vf_store_first(x + i, vf_mul(vf_load_first(x + i, n - i), v), n - i);
}

static void soft(float *s, float *max, float *sum, float *o, int n, int t0, int t1, int hd) {
    for (int j = 0; j < n; j++, s += BLOCK, sum += LANES, o += hd) {
        for (int t = 0; t < t0; t++) s[t] = -INFINITY;
        for (int t = t1; t < BLOCK; t++) s[t] = -INFINITY;
        VF top = vf_load(s);
        for (int h = 1; h < NV; h++) top = vf_max(vf_load(s + h * VN), top);
        if (vf_above(top, max[j])) { /* seldom, after the first blocks */
            float new = max[j];
            for (int t = t0; t < t1; t++) new = s[t] > new ? s[t] : new; /* a NaN is never the largest */
            const float c = moa_vexpf(max[j] - new);
            max[j] = new;
            scale_by(sum, c, LANES);
            scale_by(o, c, hd);
        }
        const float m = max[j];
#pragma omp simd
        for (int t = 0; t < BLOCK; t++) s[t] = moa_vexpf(s[t] - m);
#pragma omp simd
        for (int l = 0; l < LANES; l++) sum[l] += s[l] + s[l + LANES];
    }
}

/* x = a x + b y */
MOA_INLINE void join(float *x, const float *y, float a, float b, int n) {
    const VF va = vf_set1(a), vb = vf_set1(b);
    int i = 0;
    for (; i + VN <= n; i += VN) vf_store(x + i, vf_fma(vf_load(x + i), va, vf_mul(vf_load(y + i), vb)));
    if (i < n) vf_store_first(x + i, vf_fma(vf_load_first(x + i, n - i), va, vf_mul(vf_load_first(y + i, n - i), vb)), n - i);
}

static void merge(float *max, float *sum, float *o, const float *max_b, const float *sum_b, const float *o_b, int n, int hd) {
    for (int j = 0; j < n; j++) {
        const float top = max_b[j] > max[j] ? max_b[j] : max[j], a = moa_vexpf(max[j] - top), b = moa_vexpf(max_b[j] - top);
        max[j] = top;
        join(sum + j * LANES, sum_b + j * LANES, a, b, LANES);
        join(o + j * hd, o_b + j * hd, a, b, hd);
    }
}

/* ---- plain types ---- */

static void query(void *dst, const float *q, int n, int hd, float scale) {
    memcpy(dst, q, (size_t)n * (size_t)hd * sizeof(float));
    scale_by(dst, scale, n * hd);
}

/* s [n, 32]; n, here and below, is a constant at each call, so that loops unroll into registers. */
#define SCORE(NAME, TYPE, LOAD)                                                                                                  \
    MOA_INLINE void score_##NAME##_n(float *s, const float *q, const TYPE *k, int n, int hd) {                                   \
        VF a[SCORE_COLS][NV];                                                                                                    \
        for (int j = 0; j < n; j++)                                                                                              \
            for (int h = 0; h < NV; h++) a[j][h] = vf_zero();                                                                    \
        for (int d = 0; d < hd; d++) TILE_STEP(a, n, q[j * hd + d], LOAD(k + d * BLOCK + h * VN))                                \
        for (int j = 0; j < n; j++)                                                                                              \
            for (int h = 0; h < NV; h++) vf_store(s + j * BLOCK + h * VN, a[j][h]);                                              \
    }                                                                                                                            \
    static void score_##NAME(float *s, const void *q, const void *k, int n, int hd) {                                            \
        int j = 0;                                                                                                               \
        SPLIT_SCORE(j, n, score_##NAME##_n(s + j * BLOCK, (const float *)q + (int64_t)j * hd, k, C, hd))                         \
    }

/* Columns [0, n) of o and nv vectors from d on; rest: floats of the one vector that is not whole, or 0. */
#define MIX(NAME, TYPE, LOAD, LOAD_FIRST)                                                                                        \
    MOA_INLINE void mix_##NAME##_n(float *o, const float *p, const TYPE *v, int n, int nv, int rest, int t0, int t1, int hd) {   \
        VF a[MIX_COLS][4];                                                                                                       \
        for (int j = 0; j < n; j++)                                                                                              \
            for (int h = 0; h < nv; h++) a[j][h] = rest ? vf_load_first(o + j * hd, rest) : vf_load(o + j * hd + h * VN);        \
        for (int t = t0; t < t1; t++) {                                                                                          \
            VF vt[4];                                                                                                            \
            for (int h = 0; h < nv; h++) vt[h] = rest ? LOAD_FIRST(v + t * hd, rest) : LOAD(v + t * hd + h * VN);                \
            for (int j = 0; j < n; j++) {                                                                                        \
                const VF pt = vf_set1(p[j * BLOCK + t]);                                                                         \
                for (int h = 0; h < nv; h++) a[j][h] = vf_fma(pt, vt[h], a[j][h]);                                               \
            }                                                                                                                    \
        }                                                                                                                        \
        for (int j = 0; j < n; j++)                                                                                              \
            for (int h = 0; h < nv; h++)                                                                                         \
                if (rest) vf_store_first(o + j * hd, a[j][h], rest);                                                             \
                else vf_store(o + j * hd + h * VN, a[j][h]);                                                                     \
    }                                                                                                                            \
    MOA_INLINE void mix_##NAME##_cols(float *o, const float *p, const TYPE *v, int n, int nv, int t0, int t1, int hd) {          \
        int d = 0;                                                                                                               \
        for (; d + nv * VN <= hd; d += nv * VN) mix_##NAME##_n(o + d, p, v + d, n, nv, 0, t0, t1, hd);                           \
        for (; d + VN <= hd; d += VN) mix_##NAME##_n(o + d, p, v + d, n, 1, 0, t0, t1, hd);                                      \
        if (d < hd) mix_##NAME##_n(o + d, p, v + d, n, 1, hd - d, t0, t1, hd);                                                   \
    }                                                                                                                            \
    static void mix_##NAME(float *o, const float *p, const void *v, int n, int t0, int t1, int hd) {                             \
        int j = 0;                                                                                                               \
        SPLIT_MIX(j, n, mix_##NAME##_cols(o + (int64_t)j * hd, p + j * BLOCK, v, C, V, t0, t1, hd))                              \
    }

/* ---- keys and values into the block: transposed by 4 x 4 corners ---- */

enum { STRIP = 16 };

MOA_INLINE void turn4(float *dst, int64_t ld_dst, const float *src, int64_t ld_src) {
    __m128 a = _mm_loadu_ps(src), b = _mm_loadu_ps(src + ld_src), c = _mm_loadu_ps(src + 2 * ld_src), d = _mm_loadu_ps(src + 3 * ld_src);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(dst, a), _mm_storeu_ps(dst + ld_dst, b), _mm_storeu_ps(dst + 2 * ld_dst, c), _mm_storeu_ps(dst + 3 * ld_dst, d);
}

/* dst [cols, ld_dst] = src [rows, ld_src] transposed */
static void transpose(float *dst, int64_t ld_dst, const float *src, int64_t ld_src, int rows, int cols) {
    int i = 0;
    for (; i + 4 <= rows; i += 4) {
        int d = 0;
        for (; d + 4 <= cols; d += 4) turn4(dst + d * ld_dst + i, ld_dst, src + i * ld_src + d, ld_src);
        for (; d < cols; d++)
            for (int r = i; r < i + 4; r++) dst[d * ld_dst + r] = src[r * ld_src + d];
    }
    for (; i < rows; i++)
        for (int d = 0; d < cols; d++) dst[d * ld_dst + i] = src[i * ld_src + d];
}

static void narrow_f32(float *dst, const float *x, int n) { memcpy(dst, x, (size_t)n * sizeof *x); }
static void narrow_f16(uint16_t *dst, const float *x, int n) {
    int i = 0;
    for (; i + 8 <= n; i += 8) _mm_storeu_si128((__m128i *)(void *)(dst + i), _mm256_cvtps_ph(_mm256_loadu_ps(x + i), 0));
    for (; i < n; i++) dst[i] = _cvtss_sh(x[i], 0);
}
static void narrow_bf16(uint16_t *dst, const float *x, int n) {
    for (int i = 0; i < n; i++) dst[i] = moa_f32_to_bf16(x[i]);
}

#define PUT(NAME, TYPE, LOAD)                                                                                                    \
    static void put_key_##NAME(void *k, const float *src, int64_t ld, int t0, int n, int hd) {                                   \
        TYPE *key = (TYPE *)k + t0, row[BLOCK];                                                                                  \
        float wide[STRIP * BLOCK];                                                                                               \
        for (int d0 = 0; d0 < hd; d0 += STRIP) {                                                                                 \
            const int m = hd - d0 < STRIP ? hd - d0 : STRIP;                                                                     \
            if (n == 1) {                                                                                                        \
                narrow_##NAME(row, src + d0, m);                                                                                 \
                for (int d = 0; d < m; d++) key[(d0 + d) * BLOCK] = row[d];                                                      \
                continue;                                                                                                        \
            }                                                                                                                    \
            transpose(wide, BLOCK, src + d0, ld, n, m);                                                                          \
            for (int d = 0; d < m; d++) narrow_##NAME(key + (d0 + d) * BLOCK, wide + d * BLOCK, n);                              \
        }                                                                                                                        \
    }                                                                                                                            \
    static void put_value_##NAME(void *v, const float *src, int64_t ld, int t0, int n, int hd) {                                 \
        for (int i = 0; i < n; i++) narrow_##NAME((TYPE *)v + (t0 + i) * hd, src + i * ld, hd);                                  \
    }                                                                                                                            \
    static void turn_##NAME(float *v, const void *k, int n, int hd) {                                                            \
        (void)hd;                                                                                                                \
        float wide[STRIP * BLOCK];                                                                                               \
        for (int d0 = 0; d0 < n; d0 += STRIP) {                                                                                  \
            const int m = n - d0 < STRIP ? n - d0 : STRIP;                                                                       \
            for (int i = 0; i < m * BLOCK; i += VN) vf_store(wide + i, LOAD((const TYPE *)k + d0 * BLOCK + i));                  \
            transpose(v + d0, n, wide, BLOCK, m, BLOCK);                                                                         \
        }                                                                                                                        \
    }

SCORE(f32, float, vf_load)
SCORE(f16, uint16_t, vf_load_f16)
SCORE(bf16, uint16_t, vf_load_bf16)
MIX(f32, float, vf_load, vf_load_first)
MIX(f16, uint16_t, vf_load_f16, vf_load_f16_first)
MIX(bf16, uint16_t, vf_load_bf16, vf_load_bf16_first)
PUT(f32, float, vf_load)
PUT(f16, uint16_t, vf_load_f16)
PUT(bf16, uint16_t, vf_load_bf16)

/* ---- q8_0 ---- */

/* n <= 32 numbers to integers -> the scale, bit by bit that of attn_ref.c. */
static float quantise(int8_t q[32], const float *x, int n, bool half) {
    float some[32];
    if (n < 32) {
        memset(some, 0, sizeof some);
        memcpy(some, x, (size_t)n * sizeof *x);
        x = some;
    }
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256i m = _mm256_setzero_si256();
    for (int j = 0; j < 4; j++) m = _mm256_max_epu32(m, _mm256_and_si256(_mm256_castps_si256(_mm256_loadu_ps(x + 8 * j)), magnitude));
    __m128i t = _mm_max_epu32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
    t = _mm_max_epu32(t, _mm_shuffle_epi32(t, 0x4e));
    t = _mm_max_epu32(t, _mm_shuffle_epi32(t, 0xb1));
    memset(q, 0, 32);
    if ((uint32_t)_mm_cvtsi128_si32(t) >= 0x7f800000u) return NAN;
    float d = _mm_cvtss_f32(_mm_castsi128_ps(t)) / 127.0f;
    if (half) d = _cvtsh_ss(_cvtss_sh(d, 0));
    if (d < 1e-30f || !isfinite(d)) return d < 1e-30f ? 0 : NAN;
    const __m256 inv = _mm256_set1_ps(1.0f / d), hi = _mm256_set1_ps(127), lo = _mm256_set1_ps(-127);
    __m256i i[4];
    for (int j = 0; j < 4; j++)
        i[j] = _mm256_cvtps_epi32(_mm256_max_ps(_mm256_min_ps(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * j), inv), hi), lo));
    const __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(i[0], i[1]), _mm256_packs_epi32(i[2], i[3]));
    _mm256_storeu_si256((__m256i *)(void *)q, _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
    return d;
}

MOA_INLINE int part(int hd, int g) { return hd - g * 32 < 32 ? hd - g * 32 : 32; }

static void query_q8_0(void *dst, const float *q, int n, int hd, float scale) {
    const int wide = moa_attn_padded(hd), n_g = wide / 32;
    for (int j = 0; j < n; j++) {
        int8_t *i8 = (int8_t *)dst + (size_t)j * moa_attn_query_bytes(MOA_Q8_0, hd);
        float *d = (float *)(void *)(i8 + wide), x[32];
        int32_t *total = (int32_t *)(void *)(d + n_g);
        for (int g = 0; g < n_g; g++) {
            for (int i = 0; i < part(hd, g); i++) x[i] = q[(int64_t)j * hd + g * 32 + i] * scale;
            d[g] = quantise(i8 + g * 32, x, part(hd, g), false);
            total[g] = 0;
            for (int i = 0; i < 32; i++) total[g] += i8[g * 32 + i];
        }
    }
}

MOA_INLINE const uint16_t *scales_of(const void *block, int hd) {
    return (const uint16_t *)(const void *)((const char *)block + (size_t)moa_attn_padded(hd) * BLOCK);
}

/* One strip of nv vectors, all of one group of 32 numbers; n_o: floats of it that o has. pd [n, 32]: p times the group's scales. */
MOA_INLINE void mix_q8_0_n(float *o, const float *pd, const int8_t *v, int n, int nv, int n_o, int wide, int t0, int t1, int hd) {
    VF a[MIX_COLS][4];
    for (int j = 0; j < n; j++)
        for (int h = 0; h < nv; h++) a[j][h] = n_o < nv * VN ? vf_load_first(o + j * hd, n_o) : vf_load(o + j * hd + h * VN);
    for (int t = t0; t < t1; t++) {
        VF vt[4];
        for (int h = 0; h < nv; h++) vt[h] = vf_from_i8(v + t * wide + h * VN);
        for (int j = 0; j < n; j++) {
            const VF pt = vf_set1(pd[j * BLOCK + t]);
            for (int h = 0; h < nv; h++) a[j][h] = vf_fma(pt, vt[h], a[j][h]);
        }
    }
    for (int j = 0; j < n; j++)
        for (int h = 0; h < nv; h++)
            if (n_o < nv * VN) vf_store_first(o + j * hd, a[j][h], n_o);
            else vf_store(o + j * hd + h * VN, a[j][h]);
}

MOA_INLINE void mix_q8_0_cols(float *o, const float *p, const void *v, int n, int t0, int t1, int hd) {
    const int wide = moa_attn_padded(hd);
    float pd[MIX_COLS * BLOCK], scale[BLOCK];
    for (int g = 0; g * 32 < hd; g++) {
        vf_from_half32(scale, scales_of(v, hd) + g * BLOCK);
        for (int j = 0; j < n; j++)
            for (int h = 0; h < NV; h++)
                vf_store(pd + j * BLOCK + h * VN, vf_mul(vf_load(p + j * BLOCK + h * VN), vf_load(scale + h * VN)));
        int d = g * 32;
        const int end = d + part(hd, g);
        const int8_t *values = v;
        for (; d + 2 * VN <= end; d += 2 * VN) mix_q8_0_n(o + d, pd, values + d, n, 2, 2 * VN, wide, t0, t1, hd);
        for (; d < end; d += VN) mix_q8_0_n(o + d, pd, values + d, n, 1, end - d < VN ? end - d : VN, wide, t0, t1, hd);
    }
}

static void mix_q8_0(float *o, const float *p, const void *v, int n, int t0, int t1, int hd) {
    int j = 0;
    SPLIT_MIX(j, n, mix_q8_0_cols(o + (int64_t)j * hd, p + j * BLOCK, v, C, t0, t1, hd))
}

static void put_key_q8_0(void *k, const float *src, int64_t ld, int t0, int n, int hd) {
    uint16_t *kd = (uint16_t *)(void *)((char *)k + (size_t)moa_attn_padded(hd) * BLOCK);
    for (int i = 0; i < n; i++)
        for (int g = 0; g * 32 < hd; g++) {
            int8_t q[32];
            uint32_t word[8];
            kd[g * BLOCK + t0 + i] = moa_f32_to_f16(quantise(q, src + i * ld + g * 32, part(hd, g), true));
            memcpy(word, q, sizeof word);
            for (int c = 0; c < 8; c++) ((uint32_t *)k)[(g * 8 + c) * BLOCK + t0 + i] = word[c] ^ 0x80808080u;
        }
}

static void put_value_q8_0(void *v, const float *src, int64_t ld, int t0, int n, int hd) {
    const int wide = moa_attn_padded(hd);
    uint16_t *vd = (uint16_t *)(void *)((char *)v + (size_t)wide * BLOCK);
    for (int i = 0; i < n; i++)
        for (int g = 0; g * 32 < hd; g++)
            vd[g * BLOCK + t0 + i] = moa_f32_to_f16(quantise((int8_t *)v + (t0 + i) * wide + g * 32, src + i * ld + g * 32, part(hd, g), true));
}

static void turn_q8_0(float *v, const void *k, int n, int hd) {
    float wide[STRIP * BLOCK], scale[BLOCK];
    for (int d0 = 0; d0 < n; d0 += STRIP) {
        const int m = n - d0 < STRIP ? n - d0 : STRIP;
        vf_from_half32(scale, scales_of(k, hd) + d0 / 32 * BLOCK);
        for (int d = 0; d < m; d++)
            for (int t = 0; t < BLOCK; t++)
                wide[d * BLOCK + t] = scale[t] * (float)(((const uint8_t *)k)[((d0 + d) / 4 * BLOCK + t) * 4 + (d0 + d) % 4] - 128);
        transpose(v + d0, n, wide, BLOCK, m, BLOCK);
    }
}

#define ATTN_ROW(NAME, TYPE, QUERY, TEXT)                                                                                        \
    static const moa_attn_kernels table_##NAME = {QUERY, score_##NAME, soft, mix_##NAME, put_key_##NAME, put_value_##NAME,       \
                                                  turn_##NAME, merge};                                                           \
    const moa_kernel MOA_ROW(attn_##NAME) = {.name = MOA_NAME(attn_##NAME), .help = TEXT, .op = MOA_K_ATTN, .dtype = TYPE,       \
                                             .isa = ISA_LEVEL, .fn.attn = &table_##NAME};
ATTN_ROW(f32, MOA_F32, query, "attention over an f32 cache")
ATTN_ROW(f16, MOA_F16, query, "attention over an f16 cache")
ATTN_ROW(bf16, MOA_BF16, query, "attention over a bf16 cache")
