/* norm.h - what layer_norm and rms_norm share, which is all but the kernel: in [n, d], weight [d], for layer_norm bias [d] or
 * none (kernels/body/norm.h has the formulas). An op with a third input is layer_norm; it needs its weight and keeps the mean.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_OP_NORM_H
#define MOA_TENSOR_OP_NORM_H

#include "tensor/op/op.h"

typedef struct moa_norm_param { float eps; } moa_norm_param;

static inline bool moa_norm_is_layer(const moa_node *n) { return n->n_in > 2; }

static inline int moa_norm_shape(const moa_node *n, moa_tensor *out, moa_err *err) {
    MOA_TRY(moa_op_need(n, 0, "input", MOA_F32, err));
    MOA_TRY(moa_op_vector(n, 1, "weight", MOA_F32, moa_cols(n->in[0]), !moa_norm_is_layer(n), err));
    MOA_TRY(moa_op_vector(n, 2, "bias", MOA_F32, moa_cols(n->in[0]), true, err));
    moa_op_like(out, n->in[0]);
    return MOA_OK;
}

/* saved: 1 / rms or 1 / std of each row, then for layer_norm their means. */
static inline moa_norm_args moa_norm_args_of(const moa_node *n) {
    const int64_t rows = moa_rows(n->out);
    return (moa_norm_args){.x = n->in[0]->data, .w = n->in[1] ? n->in[1]->data : NULL, .b = n->in[2] ? n->in[2]->data : NULL,
                           .inv = n->saved, .mean = n->saved && moa_norm_is_layer(n) ? (float *)n->saved + rows : NULL, .n = rows,
                           .d = moa_cols(n->out), .eps = PARAM(moa_norm_param, n)->eps};
}

static inline void moa_norm_forward(moa_exec *x, moa_node *n) {
    const bool layer = moa_norm_is_layer(n);
    if (n->out->needs_grad && !(n->saved = moa_op_alloc(x, n, (layer ? 2 : 1) * moa_rows(n->out), sizeof(float)))) return;
    moa_norm_args a = moa_norm_args_of(n);
    a.y = n->out->data;
    a.half = moa_op_half_out(x, n);
    moa_parallel(x, a.n, 1, (layer ? 0.5 : 0.3) * (double)a.d, layer ? moa_train_of(x)->layer_norm : moa_train_of(x)->rms_norm, &a);
}

static inline void moa_norm_backward(moa_exec *x, moa_node *n) {
    const bool layer = moa_norm_is_layer(n);
    moa_norm_args a = moa_norm_args_of(n);
    const int64_t chunks = moa_n_chunk(a.n);
    float *dw = moa_grad_wanted(n, 1) ? moa_grad_in_zeroed(x, n, 1) : NULL;
    float *db = moa_grad_wanted(n, 2) ? moa_grad_in_zeroed(x, n, 2) : NULL;
    if (moa_grad_wanted(n, 0)) a.dx = moa_grad_in(x, n, 0, &a.add);
    a.dy = moa_grad_out(x, n);
    const moa_arena_mark mark = moa_arena_save(x->arena);
    if (dw) a.dw_part = moa_op_alloc(x, n, chunks * a.d, sizeof(float));
    if (db) a.db_part = moa_op_alloc(x, n, chunks * a.d, sizeof(float));
    if (!x->err.code) {
        moa_parallel(x, chunks, 1, (layer ? 0.7 : 0.5) * MOA_CHUNK * (double)a.d,
                     layer ? moa_train_of(x)->layer_norm_back : moa_train_of(x)->rms_norm_back, &a);
        if (dw) moa_op_sum_parts(dw, a.dw_part, chunks, a.d);
        if (db) moa_op_sum_parts(db, a.db_part, chunks, a.d);
    }
    moa_arena_restore(x->arena, mark);
}

#endif
