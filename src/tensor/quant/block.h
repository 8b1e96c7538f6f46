/* block.h - the block formats of GGUF as packed structs, and what they have in common.
 *
 * Every format is, for each run of 16 elements, integers q in int8 range and two numbers d, m:
 *     x[i] = d * q[i]            or, for formats with a minimum,            x[i] = d * q[i] + m.
 * A format therefore says only how its bits unpack (moa_type.unpack); dequantisation and the integer
 * products are written once over moa_ints. The byte table of each format is in its own file.
 * Layouts: GGUF specification and the block definitions of the ggml project (formats, not code).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_QUANT_BLOCK_H
#define MOA_TENSOR_QUANT_BLOCK_H

#include "tensor/tensor.h"

enum { MOA_QK = 256, MOA_QB = 32 }; /* elements of a super-block, of a small block */

#define MOA_PACKED __attribute__((packed))
typedef struct {
    uint16_t d;
    uint8_t q[16];
} MOA_PACKED moa_block_q4_0;
typedef struct {
    uint16_t d, m;
    uint8_t q[16];
} MOA_PACKED moa_block_q4_1;
typedef struct {
    uint16_t d;
    uint8_t h[4], q[16];
} MOA_PACKED moa_block_q5_0;
typedef struct {
    uint16_t d, m;
    uint8_t h[4], q[16];
} MOA_PACKED moa_block_q5_1;
typedef struct {
    uint16_t d;
    int8_t q[32];
} MOA_PACKED moa_block_q8_0;
typedef struct {
    uint8_t scale[16], q[64];
    uint16_t d, dmin;
} MOA_PACKED moa_block_q2_k;
typedef struct {
    uint8_t h[32], q[64], scale[12];
    uint16_t d;
} MOA_PACKED moa_block_q3_k;
typedef struct {
    uint16_t d, dmin;
    uint8_t scale[12], q[128];
} MOA_PACKED moa_block_q4_k;
typedef struct {
    uint16_t d, dmin;
    uint8_t scale[12], h[32], q[128];
} MOA_PACKED moa_block_q5_k;
typedef struct {
    uint8_t lo[128], hi[64];
    int8_t scale[16];
    uint16_t d;
} MOA_PACKED moa_block_q6_k;
typedef struct {
    uint16_t d;
    uint8_t q[16];
} MOA_PACKED moa_block_iq4_nl;
typedef struct {
    uint16_t d, scale_hi;
    uint8_t scale_lo[4], q[128];
} MOA_PACKED moa_block_iq4_xs;
typedef struct {
    uint16_t d;
    struct {
        uint8_t q[4];
        uint32_t sign_scale;
    } MOA_PACKED run[8];
} MOA_PACKED moa_block_iq2_xxs;
typedef struct {
    uint16_t d, q[32];
    uint8_t scale[8];
} MOA_PACKED moa_block_iq2_xs;
typedef struct {
    uint16_t d;
    uint8_t q[32], sign[32], h[8], scale[8];
} MOA_PACKED moa_block_iq2_s;
typedef struct {
    uint16_t d;
    uint8_t q[64];
    uint32_t sign_scale[8];
} MOA_PACKED moa_block_iq3_xxs;
typedef struct {
    uint16_t d;
    uint8_t q[64], h[8], sign[32], scale[4];
} MOA_PACKED moa_block_iq3_s;
typedef struct {
    uint16_t d;
    uint8_t q[32];
    uint16_t h[8];
} MOA_PACKED moa_block_iq1_s;
typedef struct {
    uint8_t q[32], h[16];
    uint16_t scale[4];
} MOA_PACKED moa_block_iq1_m;
typedef struct {
    uint8_t q[48], h[4];
    uint16_t d;
} MOA_PACKED moa_block_tq1_0;
typedef struct {
    uint8_t q[64];
    uint16_t d;
} MOA_PACKED moa_block_tq2_0;
typedef struct {
    uint8_t e, q[16];
} MOA_PACKED moa_block_mxfp4;
typedef struct {
    uint8_t d[4], q[32];
} MOA_PACKED moa_block_nvfp4;
typedef struct {
    uint16_t d;
    uint8_t q[16];
} MOA_PACKED moa_block_q1_0;
typedef struct {
    uint16_t d;
    uint8_t q[16];
} MOA_PACKED moa_block_q2_0;
_Static_assert(sizeof(moa_block_q4_0) == 18, "q4_0");
_Static_assert(sizeof(moa_block_q4_1) == 20, "q4_1");
_Static_assert(sizeof(moa_block_q5_0) == 22, "q5_0");
_Static_assert(sizeof(moa_block_q5_1) == 24, "q5_1");
_Static_assert(sizeof(moa_block_q8_0) == 34, "q8_0");
_Static_assert(sizeof(moa_block_q2_k) == 84, "q2_k");
_Static_assert(sizeof(moa_block_q3_k) == 110, "q3_k");
_Static_assert(sizeof(moa_block_q4_k) == 144, "q4_k");
_Static_assert(sizeof(moa_block_q5_k) == 176, "q5_k");
_Static_assert(sizeof(moa_block_q6_k) == 210, "q6_k");
_Static_assert(sizeof(moa_block_iq4_nl) == 18, "iq4_nl");
_Static_assert(sizeof(moa_block_iq4_xs) == 136, "iq4_xs");
_Static_assert(sizeof(moa_block_iq2_xxs) == 66, "iq2_xxs");
_Static_assert(sizeof(moa_block_iq2_xs) == 74, "iq2_xs");
_Static_assert(sizeof(moa_block_iq2_s) == 82, "iq2_s");
_Static_assert(sizeof(moa_block_iq3_xxs) == 98, "iq3_xxs");
_Static_assert(sizeof(moa_block_iq3_s) == 110, "iq3_s");
_Static_assert(sizeof(moa_block_iq1_s) == 50, "iq1_s");
_Static_assert(sizeof(moa_block_iq1_m) == 56, "iq1_m");
_Static_assert(sizeof(moa_block_tq1_0) == 54, "tq1_0");
_Static_assert(sizeof(moa_block_tq2_0) == 66, "tq2_0");
_Static_assert(sizeof(moa_block_mxfp4) == 17, "mxfp4");
_Static_assert(sizeof(moa_block_nvfp4) == 36, "nvfp4");
_Static_assert(sizeof(moa_block_q1_0) == 18, "q1_0");
_Static_assert(sizeof(moa_block_q2_0) == 18, "q2_0");

/* Up to 256 unpacked elements. m is 0 in formats without a minimum. */
typedef struct moa_ints {
    _Alignas(64) int8_t q[MOA_QK];
    float d[MOA_QK / 16], m[MOA_QK / 16];
} moa_ints;

#define TYPE(name) extern const moa_type moa_type_##name;
#include "tensor/quant/quants.def"
#undef TYPE

extern const int8_t moa_iq4_levels[16]; /* the non-uniform levels of IQ4_NL and IQ4_XS */

/* Twice the values of a 4-bit float (E2M1), and half the scales that go with them, so that elements are integers. */
extern const int8_t moa_fp4_levels[16];
/* 2^(e - 128). Its smallest values are denormal; e = 255, a NaN in the MX standard, is 2^127 here as in ggml. */
static inline float moa_e8m0_half(uint8_t e) {
    union { uint32_t u; float f; } v = {e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23};
    return v.f;
}
/* Half of an E4M3 number; the sign bit is not looked at. 0x7f, a NaN in E4M3, is 0 here as in ggml. */
static inline float moa_ue4m3_half(uint8_t x) {
    const int e = x >> 3 & 15, m = x & 7;
    union { uint32_t u; float f; } v = {(uint32_t)(e + 127 - 7 - 1) << 23};
    if (x == 0x7f) return 0;
    return e ? v.f * (1.0f + (float)m / 8.0f) : (float)m * 0x1p-10f;
}

/* Scale j and minimum j (6 bits each, 8 of both) of the 12 scale bytes of Q4_K and Q5_K. */
static inline void moa_k4_scale(const uint8_t s[12], int j, int *scale, int *min) {
    if (j < 4) {
        *scale = s[j] & 63;
        *min = s[j + 4] & 63;
    } else {
        *scale = (s[j + 4] & 15) | ((s[j - 4] >> 6) << 4);
        *min = (s[j + 4] >> 4) | ((s[j] >> 6) << 4);
    }
}

/* dequantize of every block type, and the row of one that is only read: x = d q, its scales for `per` elements. */
void moa_block_dequantize(const moa_type *type, float *dst, const void *src, int64_t n);
#define MOA_DEQUANTIZE(type)                                                                                                     \
    static void dequantize_##type(float *dst, const void *src, int64_t n) { moa_block_dequantize(&moa_type_##type, dst, src, n); }
#define MOA_READ_ONLY(NAME, type, n, per, text)                                                                                  \
    {.id = MOA_##NAME, .name = #NAME, .help = text " (read only)", .block = n, .bytes = sizeof(moa_block_##type),                \
     .dequantize = dequantize_##type, .unpack = unpack_##type, .run = per}

/* ---- for quantisation (fit.c) ---- */

/* Prepare one block: x without NaN (0) and without values beyond what any format reaches; w = importance,
 * or ones where it is NULL, useless or all zero. */
void moa_fit_clean(float *x, float *w, const float *src, const float *importance, int n);
/* Scale d so that sum w (x - d q)^2 is small over integers q in [lo, hi]. 0 for a zero block. May be negative. */
float moa_fit_scale(const float *x, const float *w, int n, int lo, int hi);
/* Scale d >= 0 and offset m for x ~ d q + m, q in [0, hi]; m <= 0 when below_zero. */
void moa_fit_affine(float *d, float *m, const float *x, const float *w, int n, int hi, bool below_zero);
/* Scale d so that sum w (x - d v)^2 is small over v in the 16 increasing levels. 0 for a zero block. May be negative. */
float moa_fit_levels(const float *x, const float *w, int n, const int8_t level[16]);
int moa_fit_level(float x, float d, const int8_t level[16]); /* index of the level nearest to x / d; when d is 0, to 0 */
/* Nearest integer to (x - m) / d in [lo, hi]; 0 clamped when d is 0. */
int moa_fit_round(float x, float d, float m, int lo, int hi);
/* sum w (x - d q - m)^2 with the best q. */
double moa_fit_error(const float *x, const float *w, int n, float d, float m, int lo, int hi);
uint16_t moa_f16_clamped(float f); /* finite stays finite; NaN becomes 0 */

#endif
