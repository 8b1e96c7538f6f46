/* rows.h - the two movements of rows by id, of which gather_rows and scatter_rows are each other's backward.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_OP_ROWS_H
#define MOA_TENSOR_OP_ROWS_H

#include "tensor/op/op.h"

typedef struct moa_rows_move {
    float *dst;
    const float *src;
    const int32_t *id;
    int64_t m, d;
    bool add;
} moa_rows_move;

/* Range: rows j of dst [m, d]: dst[j] (+)= src[id[j]]. */
static inline void moa_rows_take(const void *args, int64_t j0, int64_t j1, int thread) {
    const moa_rows_move *p = args;
    (void)thread;
    for (int64_t j = j0; j < j1; j++) {
        float *y = p->dst + j * p->d;
        const float *s = p->src + p->id[j] * p->d;
        if (!p->add) memcpy(y, s, (size_t)p->d * sizeof *y);
        else
#pragma omp simd
            for (int64_t c = 0; c < p->d; c++) y[c] += s[c];
    }
}

/* Range: columns. dst[id[j]] += src[j], src [m, d]; repeated ids are added in the order of j. */
static inline void moa_rows_put(const void *args, int64_t c0, int64_t c1, int thread) {
    const moa_rows_move *p = args;
    (void)thread;
    for (int64_t j = 0; j < p->m; j++) {
        float *y = p->dst + p->id[j] * p->d;
        const float *s = p->src + j * p->d;
#pragma omp simd
        for (int64_t c = c0; c < c1; c++) y[c] += s[c];
    }
}

static inline void moa_rows_take_all(const moa_exec *x, const moa_rows_move *p) {
    moa_parallel(x, p->m, 1, 0.15 * (double)p->d, moa_rows_take, p);
}
static inline void moa_rows_put_all(const moa_exec *x, const moa_rows_move *p) {
    moa_parallel(x, p->d, 16, 0.2 * (double)p->m, moa_rows_put, p);
}

#endif
