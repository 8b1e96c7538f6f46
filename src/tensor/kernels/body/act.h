/* act.h - silu, gelu (tanh form, Hendrycks and Gimpel 2016, arXiv:1606.08415), alone and times a second input
 * (Shazeer 2020, arXiv:2002.05202), and their backward, which computes the function again instead of storing it.
 *   silu(a) = a s,  s = 1 / (1 + e^-a);             silu' = s (1 + a (1 - s))
 *   gelu(a) = a s,  s = 1 / (1 + e^-2u), u = c (a + 0.044715 a^3), c = sqrt(2/pi)   (since (1 + tanh u) / 2 = s)
 *             gelu' = s + 2 a s (1 - s) u',  u' = c (1 + 3 * 0.044715 a^2)
 * So both are a * sigmoid(v(a)) with derivative s + a s (1 - s) v'(a).
 * Blocks of 256 elements go through the L1 cache, so that each optional output costs one more short loop, not one more
 * variant of the long one.
 * SPDX-License-Identifier: Apache-2.0 */
enum { ACT_BLOCK = 256 };

static inline float gelu_v(float a) { return a * MOA_FMA(0.071354816f, a * a, 1.5957691f); }
static inline float gelu_dv(float a) { return MOA_FMA(0.21406445f, a * a, 1.5957691f); }


static void act_block(float *restrict y, const float *restrict a, const float *restrict b, int64_t n, moa_act act) {
    if (act == MOA_ACT_SILU) {
#pragma omp simd
        for (int64_t j = 0; j < n; j++) y[j] = a[j] * moa_vsigmoidf(a[j]);
    } else {
#pragma omp simd
        for (int64_t j = 0; j < n; j++) y[j] = a[j] * moa_vsigmoidf(gelu_v(a[j]));
    }
    if (b) {
#pragma omp simd
        for (int64_t j = 0; j < n; j++) y[j] *= b[j];
    }
}

static void act(const void *args, int64_t i0, int64_t i1, int thread) {
    const moa_act_args *p = args;
    (void)thread;
    for (int64_t i = i0; i < i1; i += ACT_BLOCK) {
        const int64_t n = i1 - i < ACT_BLOCK ? i1 - i : ACT_BLOCK;
        act_block(p->y + i, p->a + i, p->b ? p->b + i : NULL, n, p->act);
        if (p->half) half_row(p->half + i, p->y + i, n);
    }
}

/* f[j] = act(a), g[j] = act'(a) */
static void act_both(float *restrict f, float *restrict g, const float *restrict a, int64_t n, moa_act act) {
    if (act == MOA_ACT_SILU) {
#pragma omp simd
        for (int64_t j = 0; j < n; j++) {
            const float s = moa_vsigmoidf(a[j]);
            f[j] = a[j] * s;
            g[j] = s * MOA_FMA(a[j], 1.0f - s, 1.0f);
        }
    } else {
#pragma omp simd
        for (int64_t j = 0; j < n; j++) {
            const float s = moa_vsigmoidf(gelu_v(a[j]));
            f[j] = a[j] * s;
            g[j] = s * MOA_FMA(a[j] * (1.0f - s), gelu_dv(a[j]), 1.0f);
        }
    }
}

/* dst (+)= u v */
static void act_store(float *restrict dst, uint16_t *restrict half, bool add, const float *restrict u, const float *restrict v,
                      int64_t n) {
    if (half) {
#pragma omp simd
        for (int64_t j = 0; j < n; j++) half[j] = moa_vbf16(u[j] * v[j]);
    } else if (dst && add) {
#pragma omp simd
        for (int64_t j = 0; j < n; j++) dst[j] = MOA_FMA(u[j], v[j], dst[j]);
    } else if (dst) {
#pragma omp simd
        for (int64_t j = 0; j < n; j++) dst[j] = u[j] * v[j];
    }
}

static void act_back(const void *args, int64_t i0, int64_t i1, int thread) {
    const moa_act_args *p = args;
    float f[ACT_BLOCK], g[ACT_BLOCK];
    (void)thread;
    for (int64_t i = i0; i < i1; i += ACT_BLOCK) {
        const int64_t n = i1 - i < ACT_BLOCK ? i1 - i : ACT_BLOCK;
        const float *restrict dy = p->dy + i;
        act_both(f, g, p->a + i, n, p->act);
        if (p->b) {
            const float *restrict b = p->b + i;
#pragma omp simd
            for (int64_t j = 0; j < n; j++) g[j] *= b[j];
            act_store(p->db ? p->db + i : NULL, p->db_half ? p->db_half + i : NULL, p->add_b, f, dy, n);
        }
        act_store(p->da ? p->da + i : NULL, p->da_half ? p->da_half + i : NULL, p->add_a, g, dy, n);
    }
}
