/* attn_ref.c - attention over one block of cached positions in plain C: the definition (attn.h), bit for bit: sums are chains of fused
 * multiply-adds, exp is vmath.h's.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/attn.h"
#include "tensor/kernel.h"
#include "tensor/kernels/vmath.h"

#include <math.h>
#include <string.h>

enum { BLOCK = MOA_ATTN_BLOCK, LANES = MOA_ATTN_LANES };

static void soft(float *s, float *max, float *sum, float *o, int n, int t0, int t1, int hd) {
    for (int j = 0; j < n; j++, s += BLOCK, sum += LANES, o += hd) {
        float top = max[j];
        for (int t = t0; t < t1; t++) top = s[t] > top ? s[t] : top;
        if (top > max[j]) {
            const float c = moa_vexpf(max[j] - top);
            max[j] = top;
            for (int l = 0; l < LANES; l++) sum[l] *= c;
            for (int d = 0; d < hd; d++) o[d] *= c;
        }
        for (int t = 0; t < BLOCK; t++) s[t] = moa_vexpf((t >= t0 && t < t1 ? s[t] : -INFINITY) - top);
        for (int l = 0; l < LANES; l++) sum[l] += s[l] + s[l + LANES];
    }
}

static void merge(float *max, float *sum, float *o, const float *max_b, const float *sum_b, const float *o_b, int n, int hd) {
    for (int j = 0; j < n; j++, sum += LANES, sum_b += LANES, o += hd, o_b += hd) {
        const float top = max_b[j] > max[j] ? max_b[j] : max[j], a = moa_vexpf(max[j] - top), b = moa_vexpf(max_b[j] - top);
        max[j] = top;
        for (int l = 0; l < LANES; l++) sum[l] = fmaf(sum[l], a, sum_b[l] * b);
        for (int d = 0; d < hd; d++) o[d] = fmaf(o[d], a, o_b[d] * b);
    }
}

static void query(void *dst, const float *q, int n, int hd, float scale) {
    for (int64_t i = 0; i < (int64_t)n * hd; i++) ((float *)dst)[i] = q[i] * scale;
}

#define AS_IS(x) (x)
#define PLAIN(NAME, TYPE, LOAD, STORE)                                                                                           \
    static void score_##NAME(float *s, const void *q, const void *k, int n, int hd) {                                            \
        const TYPE *key = k;                                                                                                     \
        for (int j = 0; j < n; j++) {                                                                                            \
            float acc[BLOCK] = {0};                                                                                              \
            for (int d = 0; d < hd; d++)                                                                                         \
                for (int t = 0; t < BLOCK; t++) acc[t] = fmaf(((const float *)q)[j * hd + d], LOAD(key[d * BLOCK + t]), acc[t]); \
            memcpy(s + j * BLOCK, acc, sizeof acc);                                                                              \
        }                                                                                                                        \
    }                                                                                                                            \
    static void mix_##NAME(float *o, const float *p, const void *v, int n, int t0, int t1, int hd) {                             \
        const TYPE *val = v;                                                                                                     \
        for (int j = 0; j < n; j++)                                                                                              \
            for (int t = t0; t < t1; t++)                                                                                        \
                for (int d = 0; d < hd; d++) o[j * hd + d] = fmaf(p[j * BLOCK + t], LOAD(val[t * hd + d]), o[j * hd + d]);       \
    }                                                                                                                            \
    static void put_key_##NAME(void *k, const float *src, int64_t ld, int t0, int n, int hd) {                                   \
        for (int i = 0; i < n; i++)                                                                                              \
            for (int d = 0; d < hd; d++) ((TYPE *)k)[d * BLOCK + t0 + i] = STORE(src[i * ld + d]);                               \
    }                                                                                                                            \
    static void put_value_##NAME(void *v, const float *src, int64_t ld, int t0, int n, int hd) {                                 \
        for (int i = 0; i < n; i++)                                                                                              \
            for (int d = 0; d < hd; d++) ((TYPE *)v)[(t0 + i) * hd + d] = STORE(src[i * ld + d]);                                \
    }                                                                                                                            \
    static void turn_##NAME(float *v, const void *k, int n, int hd) {                                                            \
        (void)hd;                                                                                                                \
        for (int t = 0; t < BLOCK; t++)                                                                                          \
            for (int d = 0; d < n; d++) v[t * n + d] = LOAD(((const TYPE *)k)[d * BLOCK + t]);                                   \
    }
PLAIN(f32, float, AS_IS, AS_IS)
PLAIN(f16, uint16_t, moa_f16_to_f32, moa_f32_to_f16)
PLAIN(bf16, uint16_t, moa_bf16_to_f32, moa_f32_to_bf16)

/* ---- q8_0 ---- */

/* n <= 32 numbers to integers -> the scale; a scale that is not finite spoils what it multiplies, as it must. */
static float quantise(int8_t q[32], const float *x, int n, bool half) {
    float big = 0;
    bool broken = false;
    for (int i = 0; i < n; i++) {
        broken |= !isfinite(x[i]);
        big = fabsf(x[i]) > big ? fabsf(x[i]) : big;
    }
    memset(q, 0, 32);
    if (broken) return NAN;
    float d = big / 127.0f;
    if (half) d = moa_f16_to_f32(moa_f32_to_f16(d));
    if (d < 1e-30f || !isfinite(d)) return d < 1e-30f ? 0 : NAN;
    const float inv = 1.0f / d;
    for (int i = 0; i < n; i++) {
        const float r = nearbyintf(x[i] * inv);
        q[i] = (int8_t)(r > 127 ? 127 : r < -127 ? -127 : r); /* the rounded scale may be a little small */
    }
    return d;
}

static int part(int hd, int g) { return hd - g * 32 < 32 ? hd - g * 32 : 32; }

static void query_q8_0(void *dst, const float *q, int n, int hd, float scale) {
    const int wide = moa_attn_padded(hd), n_g = wide / 32;
    for (int j = 0; j < n; j++) {
        int8_t *i8 = (int8_t *)dst + (size_t)j * moa_attn_query_bytes(MOA_Q8_0, hd);
        float *d = (float *)(void *)(i8 + wide);
        int32_t *total = (int32_t *)(void *)(d + n_g);
        for (int g = 0; g < n_g; g++) {
            float x[32];
            for (int i = 0; i < part(hd, g); i++) x[i] = q[j * hd + g * 32 + i] * scale;
            d[g] = quantise(i8 + g * 32, x, part(hd, g), false);
            total[g] = 0;
            for (int i = 0; i < 32; i++) total[g] += i8[g * 32 + i];
        }
    }
}

static const uint16_t *scales_of(const void *block, int hd) {
    return (const uint16_t *)(const void *)((const char *)block + (size_t)moa_attn_padded(hd) * BLOCK);
}

static void score_q8_0(float *s, const void *q, const void *k, int n, int hd) {
    const int wide = moa_attn_padded(hd), n_g = wide / 32;
    const uint8_t *key = k;
    const uint16_t *kd = scales_of(k, hd);
    for (int j = 0; j < n; j++) {
        const int8_t *i8 = (const int8_t *)q + (size_t)j * moa_attn_query_bytes(MOA_Q8_0, hd);
        const float *d = (const float *)(const void *)(i8 + wide);
        for (int t = 0; t < BLOCK; t++) {
            float acc = 0;
            for (int g = 0; g < n_g; g++) {
                int32_t sum = 0;
                for (int i = g * 32; i < g * 32 + 32; i++) sum += i8[i] * (key[(i / 4 * BLOCK + t) * 4 + i % 4] - 128);
                acc = fmaf((float)sum, moa_f16_to_f32(kd[g * BLOCK + t]) * d[g], acc);
            }
            s[j * BLOCK + t] = acc;
        }
    }
}

static void mix_q8_0(float *o, const float *p, const void *v, int n, int t0, int t1, int hd) {
    const int wide = moa_attn_padded(hd);
    const uint16_t *vd = scales_of(v, hd);
    for (int j = 0; j < n; j++)
        for (int t = t0; t < t1; t++)
            for (int d = 0; d < hd; d++)
                o[j * hd + d] = fmaf(p[j * BLOCK + t] * moa_f16_to_f32(vd[d / 32 * BLOCK + t]), (float)((const int8_t *)v)[t * wide + d], o[j * hd + d]);
}

static void put_key_q8_0(void *k, const float *src, int64_t ld, int t0, int n, int hd) {
    uint16_t *kd = (uint16_t *)(void *)((char *)k + (size_t)moa_attn_padded(hd) * BLOCK);
    for (int i = 0; i < n; i++)
        for (int g = 0; g * 32 < hd; g++) {
            int8_t q[32];
            kd[g * BLOCK + t0 + i] = moa_f32_to_f16(quantise(q, src + i * ld + g * 32, part(hd, g), true));
            for (int c = 0; c < 32; c++) ((uint8_t *)k)[((g * 32 + c) / 4 * BLOCK + t0 + i) * 4 + c % 4] = (uint8_t)(q[c] + 128);
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
    const uint16_t *kd = scales_of(k, hd);
    for (int t = 0; t < BLOCK; t++)
        for (int d = 0; d < n; d++)
            v[t * n + d] = moa_f16_to_f32(kd[d / 32 * BLOCK + t]) * (float)(((const uint8_t *)k)[(d / 4 * BLOCK + t) * 4 + d % 4] - 128);
}

#define ROW(NAME, TYPE, QUERY)                                                                                                   \
    static const moa_attn_kernels table_##NAME = {QUERY, score_##NAME, soft, mix_##NAME, put_key_##NAME, put_value_##NAME,       \
                                                  turn_##NAME, merge};                                                           \
    const moa_kernel moa_kernel_attn_##NAME##_ref = {.name = "attn_" #NAME "_ref", .help = "attention over a " #NAME " cache, plain C", \
                                                     .op = MOA_K_ATTN, .dtype = TYPE, .isa = MOA_ISA_REF, .fn.attn = &table_##NAME};
ROW(f32, MOA_F32, query)
ROW(f16, MOA_F16, query)
ROW(bf16, MOA_BF16, query)
ROW(q8_0, MOA_Q8_0, query_q8_0)
