/* loss.h - cross entropy of a softmax, and the backward of softmax.
 *   loss_i = w_i (log sum_j e^x_ij - x_it),  dx_ij = c w_i (e^(x_ij - lse_i) - [j = t])
 * Probabilities are never stored: backward makes them from the logits and the saved log-sum-exp.
 * SPDX-License-Identifier: Apache-2.0 */
static void cross_entropy(const void *args, int64_t r0, int64_t r1, int thread) {
    const moa_loss_args *p = args;
    const int64_t d = p->d;
    (void)thread;
    for (int64_t i = r0; i < r1; i++) {
        p->loss[i] = p->lse[i] = 0;
        if (!(p->weight[i] > 0)) continue;
        const float *restrict x = p->x + i * d;
        const float m = moa_row_max(x, d);
        float s = 0;
#pragma omp simd reduction(+ : s)
        for (int64_t j = 0; j < d; j++) s += moa_vexpf(x[j] - m);
        const float ls = moa_vlogf(s);
        p->lse[i] = m + ls;
        p->loss[i] = p->weight[i] * (ls - (x[p->target[i]] - m));
    }
}

static void loss_row(float *restrict dx, const float *restrict x, float lse, float c, int64_t d, bool to) {
    if (to) {
#pragma omp simd
        for (int64_t j = 0; j < d; j++) dx[j] = MOA_FMA(c, moa_vexpf(x[j] - lse), dx[j]);
    } else {
#pragma omp simd
        for (int64_t j = 0; j < d; j++) dx[j] = c * moa_vexpf(x[j] - lse);
    }
}

static void loss_row_half(uint16_t *restrict dx, const float *restrict x, float lse, float c, int64_t d) {
#pragma omp simd
    for (int64_t j = 0; j < d; j++) dx[j] = moa_vbf16(c * moa_vexpf(x[j] - lse));
}

static void cross_entropy_back(const void *args, int64_t r0, int64_t r1, int thread) {
    const moa_loss_args *p = args;
    const int64_t d = p->d;
    (void)thread;
    for (int64_t i = r0; i < r1; i++) {
        const float *x = p->x + i * d;
        const float c = p->scale * p->weight[i], lse = p->lse[i];
        const bool counts = p->weight[i] > 0;
        if (p->dx_half) {
            uint16_t *dx = p->dx_half + i * d;
            if (!counts) {
                memset(dx, 0, (size_t)d * sizeof *dx);
                continue;
            }
            const int32_t t = p->target[i];
            loss_row_half(dx, x, lse, c, d);
            dx[t] = moa_vbf16(c * (moa_vexpf(x[t] - lse) - 1.0f));
        } else {
            float *dx = p->dx + i * d;
            if (!counts) {
                if (!p->add) memset(dx, 0, (size_t)d * sizeof *dx);
                continue;
            }
            loss_row(dx, x, lse, c, d, p->add);
            dx[p->target[i]] -= c;
        }
    }
}

static void softmax_back(const void *args, int64_t r0, int64_t r1, int thread) {
    const moa_softmax_args *p = args;
    const int64_t d = p->d;
    (void)thread;
    for (int64_t i = r0; i < r1; i++) {
        const float *restrict y = p->y + i * d, *restrict dy = p->dy + i * d;
        float *restrict dx = p->dx + i * d;
        float dot = 0;
#pragma omp simd reduction(+ : dot)
        for (int64_t j = 0; j < d; j++) dot += y[j] * dy[j];
        if (!p->add) memset(dx, 0, (size_t)d * sizeof *dx);
#pragma omp simd
        for (int64_t j = 0; j < d; j++) dx[j] += y[j] * (dy[j] - dot);
    }
}
