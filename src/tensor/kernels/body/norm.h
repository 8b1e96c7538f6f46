/* norm.h - RMS norm and layer norm.
 *   rms:    y = w x r,            r = 1 / sqrt(mean(x^2) + eps)
 *           dx = r (w dy) - x r^3 mean(w dy x)
 *   layer:  h = (x - m) r,  y = w h + b,   r = 1 / sqrt(var(x) + eps)
 *           dx = r (g - mean(g) - h mean(g h)),  g = w dy
 * Zhang and Sennrich 2019 (arXiv:1910.07467); Ba, Kiros, Hinton 2016 (arXiv:1607.06450).
 * SPDX-License-Identifier: Apache-2.0 */
static void half_row(uint16_t *restrict h, const float *restrict y, int64_t d) {
#pragma omp simd
    for (int64_t j = 0; j < d; j++) h[j] = moa_vbf16(y[j]);
}

/* Sum of x - m, or of its squares, in the order of sum.h but without fused adds: inference rounds what a norm gives to integers, and
 * where its last bit differed between instruction sets, so would some of those. */
static inline __attribute__((always_inline)) float sum_from(const float *x, int64_t d, float m, const bool squares) {
    enum { PARTS = SUM_LANES / MOA_VL };
    moa_vf acc[PARTS];
    const moa_vf from = moa_vset(m);
    for (int v = 0; v < PARTS; v++) acc[v] = (moa_vf){0};
    int64_t j = 0;
    for (; j + SUM_LANES <= d; j += SUM_LANES)
        for (int v = 0; v < PARTS; v++) {
            moa_vf a = *(const moa_vf *)(const void *)(x + j + v * MOA_VL) - from;
            if (squares) a = a * a;
            acc[v] += a;
        }
    float lane[SUM_LANES];
    memcpy(lane, acc, sizeof lane);
    for (int l = 0; j < d; j++, l++) lane[l] += squares ? (x[j] - m) * (x[j] - m) : x[j] - m;
    return sum_fold(lane);
}

static void rms_norm(const void *args, int64_t r0, int64_t r1, int thread) {
    const moa_norm_args *p = args;
    const int64_t d = p->d;
    const float *restrict w = p->w;
    (void)thread;
    for (int64_t i = r0; i < r1; i++) {
        const float *restrict x = p->x + i * d;
        float *restrict y = p->y + i * d;
        const float r = 1.0f / __builtin_sqrtf(sum_from(x, d, 0, true) / (float)d + p->eps);
        if (p->inv) p->inv[i] = r;
        if (w) {
#pragma omp simd
            for (int64_t j = 0; j < d; j++) y[j] = x[j] * r * w[j];
        } else {
#pragma omp simd
            for (int64_t j = 0; j < d; j++) y[j] = x[j] * r;
        }
        if (p->half) half_row(p->half + i * d, y, d);
    }
}

static void rms_norm_back_row(const moa_norm_args *p, int64_t i, float *restrict dw) {
    const int64_t d = p->d;
    const float *restrict x = p->x + i * d, *restrict dy = p->dy + i * d, *restrict w = p->w;
    const float r = p->inv[i];
    float dot = 0;
    if (w) {
#pragma omp simd reduction(+ : dot)
        for (int64_t j = 0; j < d; j++) dot += w[j] * dy[j] * x[j];
    } else {
#pragma omp simd reduction(+ : dot)
        for (int64_t j = 0; j < d; j++) dot += dy[j] * x[j];
    }
    if (dw) {
#pragma omp simd
        for (int64_t j = 0; j < d; j++) dw[j] += dy[j] * (x[j] * r);
    }
    if (!p->dx) return;
    const float c = dot * r * r * r / (float)d;
    float *restrict dx = p->dx + i * d;
    if (!p->add) memset(dx, 0, (size_t)d * sizeof *dx); /* in the L1 cache; spares a second pair of loops */
    if (w) {
#pragma omp simd
        for (int64_t j = 0; j < d; j++) dx[j] = dx[j] + (dy[j] * w[j] * r - x[j] * c);
    } else {
#pragma omp simd
        for (int64_t j = 0; j < d; j++) dx[j] = dx[j] + (dy[j] * r - x[j] * c);
    }
}

static void layer_norm(const void *args, int64_t r0, int64_t r1, int thread) {
    const moa_norm_args *p = args;
    const int64_t d = p->d;
    (void)thread;
    for (int64_t i = r0; i < r1; i++) {
        const float *restrict x = p->x + i * d;
        float *restrict y = p->y + i * d;
        const float m = sum_from(x, d, 0, false) / (float)d;
        const float r = 1.0f / __builtin_sqrtf(sum_from(x, d, m, true) / (float)d + p->eps);
        if (p->inv) p->inv[i] = r, p->mean[i] = m;
#pragma omp simd
        for (int64_t j = 0; j < d; j++) y[j] = (x[j] - m) * r * p->w[j];
        if (p->b) {
#pragma omp simd
            for (int64_t j = 0; j < d; j++) y[j] += p->b[j];
        }
        if (p->half) half_row(p->half + i * d, y, d);
    }
}

static void layer_norm_back_row(const moa_norm_args *p, int64_t i, float *restrict dw, float *restrict db) {
    const int64_t d = p->d;
    const float *restrict x = p->x + i * d, *restrict dy = p->dy + i * d, *restrict w = p->w;
    const float r = p->inv[i], m = p->mean[i];
    float sg = 0, sgh = 0;
#pragma omp simd reduction(+ : sg, sgh)
    for (int64_t j = 0; j < d; j++) {
        sg += w[j] * dy[j];
        sgh += w[j] * dy[j] * ((x[j] - m) * r);
    }
    if (dw) {
#pragma omp simd
        for (int64_t j = 0; j < d; j++) dw[j] += dy[j] * ((x[j] - m) * r);
    }
    if (db) {
#pragma omp simd
        for (int64_t j = 0; j < d; j++) db[j] += dy[j];
    }
    if (!p->dx) return;
    float *restrict dx = p->dx + i * d;
    if (!p->add) memset(dx, 0, (size_t)d * sizeof *dx);
    const float a = sg / (float)d, b = sgh / (float)d;
#pragma omp simd
    for (int64_t j = 0; j < d; j++) dx[j] += r * (w[j] * dy[j] - a - (x[j] - m) * r * b);
}

static void norm_back(const moa_norm_args *p, int64_t c0, int64_t c1, bool layer) {
    const int64_t d = p->d;
    for (int64_t c = c0; c < c1; c++) {
        float *dw = p->dw_part ? p->dw_part + c * d : NULL, *db = p->db_part ? p->db_part + c * d : NULL;
        const int64_t r1 = (c + 1) * MOA_CHUNK < p->n ? (c + 1) * MOA_CHUNK : p->n;
        if (dw) memset(dw, 0, (size_t)d * sizeof *dw);
        if (db) memset(db, 0, (size_t)d * sizeof *db);
        for (int64_t i = c * MOA_CHUNK; i < r1; i++) {
            if (layer) layer_norm_back_row(p, i, dw, db);
            else rms_norm_back_row(p, i, dw);
        }
    }
}
static void rms_norm_back(const void *args, int64_t c0, int64_t c1, int thread) {
    (void)thread;
    norm_back(args, c0, c1, false);
}
static void layer_norm_back(const void *args, int64_t c0, int64_t c1, int thread) {
    (void)thread;
    norm_back(args, c0, c1, true);
}
