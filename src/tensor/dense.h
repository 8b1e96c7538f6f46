/* dense.h - products of big matrices while training, by oneDNN. Not for inference: its blocking follows the number of rows,
 * so a row's last bits would depend on its neighbours in the batch.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_DENSE_H
#define MOA_TENSOR_DENSE_H

#include "tensor/tensor.h"

typedef struct moa_dense {
    int64_t m, n, k;  /* c [m, n] = a [m, k] b [k, n] */
    moa_dtype dtype;  /* of a and b: MOA_F32 or MOA_BF16; sums are f32 */
    bool a_t, b_t;    /* a is stored as [k, m]; b is stored as [n, k] */
    bool add;         /* c += */
    bool bias;        /* + bias [n] */
    int n_threads;
} moa_dense;

int moa_dense_run(const moa_dense *d, float *c, const void *a, const void *b, const float *bias, moa_err *err);

/* Does this CPU multiply bf16 faster than f32? Without AVX-512 oneDNN has no bf16 product. */
bool moa_dense_has_bf16(void);

#endif
