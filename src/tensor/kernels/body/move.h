/* move.h - conversion, sums of rows, column sums. SPDX-License-Identifier: Apache-2.0 */
static void to_bf16(const void *args, int64_t i0, int64_t i1, int thread) {
    const moa_cast_args *a = args;
    const float *restrict src = a->src;
    uint16_t *restrict dst = a->dst;
    (void)thread;
#pragma omp simd
    for (int64_t i = i0; i < i1; i++) dst[i] = moa_vbf16(src[i]);
}

static void from_bf16(const void *args, int64_t i0, int64_t i1, int thread) {
    const moa_uncast_args *a = args;
    const uint16_t *restrict src = a->src;
    float *restrict dst = a->dst;
    (void)thread;
#pragma omp simd
    for (int64_t i = i0; i < i1; i++) dst[i] = moa_vbits((uint32_t)src[i] << 16);
}

static void add(const void *args, int64_t i0, int64_t i1, int thread) {
    const moa_add_args *p = args;
    const int64_t d = p->d;
    (void)thread;
    for (int64_t i = i0; i < i1; i++) {
        const float *a = p->a + i * d, *b = p->row ? p->b : p->b + i * d;
        float *y = p->y + i * d; /* may be a */
#pragma omp simd
        for (int64_t j = 0; j < d; j++) y[j] = a[j] + b[j];
    }
}

static void colsum(const void *args, int64_t c0, int64_t c1, int thread) {
    const moa_colsum_args *p = args;
    const int64_t d = p->d;
    (void)thread;
    for (int64_t c = c0; c < c1; c++) {
        float *restrict s = p->part + c * d;
        const int64_t r1 = (c + 1) * MOA_CHUNK < p->n ? (c + 1) * MOA_CHUNK : p->n;
        memset(s, 0, (size_t)d * sizeof *s);
        for (int64_t r = c * MOA_CHUNK; r < r1; r++) {
            const float *restrict x = p->x + r * d;
#pragma omp simd
            for (int64_t j = 0; j < d; j++) s[j] += x[j];
        }
    }
}
