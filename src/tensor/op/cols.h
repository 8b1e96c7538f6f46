/* cols.h - moving a range of columns between two matrices, for concat_cols and slice_cols.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_OP_COLS_H
#define MOA_TENSOR_OP_COLS_H

#include "tensor/op/op.h"

typedef struct moa_cols_move { /* range: rows */
    float *dst;                /* dst[i][0..n) (+)= src[i][0..n) */
    const float *src;
    int64_t ld_dst, ld_src, n;
    bool add;
} moa_cols_move;

static inline void moa_cols_range(const void *args, int64_t i0, int64_t i1, int thread) {
    const moa_cols_move *p = args;
    (void)thread;
    for (int64_t i = i0; i < i1; i++) {
        float *y = p->dst + i * p->ld_dst;
        const float *s = p->src + i * p->ld_src;
        if (!p->add) memcpy(y, s, (size_t)p->n * sizeof *y);
        else
#pragma omp simd
            for (int64_t c = 0; c < p->n; c++) y[c] += s[c];
    }
}

static inline void moa_cols_move_all(const moa_exec *x, const moa_cols_move *p, int64_t rows) {
    moa_parallel(x, rows, 1, 0.15 * (double)p->n, moa_cols_range, p);
}

#endif
