/* product.h - the pieces that inference's products are made of, for ops that do many of them as one region of work.
 * The functions are in linear.c. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_OP_PRODUCT_H
#define MOA_TENSOR_OP_PRODUCT_H

#include "tensor/exec.h"

/* One weight and how it is multiplied. */
typedef struct moa_product {
    const moa_tensor *w;  /* [n_out, n_in] */
    const float *bias;    /* [n_out] or NULL */
    moa_kernel_fn fn;     /* of f32 activations, */
    const moa_kernels *int8; /* unless not NULL: int8 activations, by the kernel for their number of rows */
    const uint8_t *packed;   /* of w, whole groups of rows; NULL: none */
} moa_product;

/* Kernel of w for this session; -1 with a sticky error where its type has none. */
int moa_product_pick(moa_exec *x, moa_product *p, const moa_tensor *w, const moa_tensor *bias);

/* The rows of a product's input, in the forms that its kernels want. */
typedef struct moa_act_rows {
    const float *x;      /* [n, n_in] */
    moa_q8_act q;        /* the same as int8, q.q NULL where no kernel takes it */
    int64_t n_in;
} moa_act_rows;

/* o0 is a multiple of 16. y[i * ldy + (o - o0)] for rows [r0, r0 + n) of a and outputs [o0, o1): what linear gives, bit for bit. */
void moa_product_tile(const moa_product *p, float *y, int64_t ldy, const moa_act_rows *a, int64_t r0, int64_t n, int64_t o0, int64_t o1);
/* Nanoseconds of one output for n rows, about. */
static inline double moa_product_cost(const moa_product *p, double n) {
    return (double)moa_cols(p->w) * (0.05 + (p->int8 ? 0.008 : 0.02) * n);
}

/* Room for n rows as int8, in the arena; q NULL with a sticky error without memory. */
moa_q8_act moa_act_new(moa_exec *x, int64_t n, int64_t cols);
/* The int8 form of all of in: kept on tensors of the arena, whose content does not change. NULL with a sticky error. */
const moa_q8_act *moa_act_of(moa_exec *x, moa_tensor *in);
void moa_act_copy_row(moa_q8_act *dst, int64_t i, const moa_q8_act *src, int64_t j);

#endif
