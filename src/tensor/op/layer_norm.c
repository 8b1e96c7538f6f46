/* layer_norm.c - layer norm with weight and optional bias (kernels/body/norm.h has the formulas).
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/op/op.h"

typedef struct param { float eps; } param;

static int shape(const moa_node *n, moa_tensor *out, moa_err *err) {
    MOA_TRY(moa_op_need(n, 0, "input", MOA_F32, err));
    MOA_TRY(moa_op_vector(n, 1, "weight", MOA_F32, moa_cols(n->in[0]), false, err));
    MOA_TRY(moa_op_vector(n, 2, "bias", MOA_F32, moa_cols(n->in[0]), true, err));
    moa_op_like(out, n->in[0]);
    return MOA_OK;
}

static moa_norm_args args_of(const moa_node *n) {
    const int64_t rows = moa_rows(n->out);
    return (moa_norm_args){.x = n->in[0]->data, .w = n->in[1]->data, .b = n->in[2] ? n->in[2]->data : NULL, .inv = n->saved,
                           .mean = n->saved ? (float *)n->saved + rows : NULL, .n = rows, .d = moa_cols(n->out),
                           .eps = PARAM(param, n)->eps};
}

static void forward(moa_exec *x, moa_node *n) {
    if (n->out->needs_grad && !(n->saved = moa_op_alloc(x, n, 2 * moa_rows(n->out), sizeof(float)))) return;
    moa_norm_args a = args_of(n);
    a.y = n->out->data;
    a.half = moa_op_half_out(x, n);
    moa_parallel(x, a.n, 1, 0.5 * (double)a.d, moa_train_of(x)->layer_norm, &a);
}

static void backward(moa_exec *x, moa_node *n) {
    moa_norm_args a = args_of(n);
    const int64_t chunks = moa_n_chunk(a.n);
    float *dw = moa_grad_wanted(n, 1) ? moa_grad_in_zeroed(x, n, 1) : NULL;
    float *db = moa_grad_wanted(n, 2) ? moa_grad_in_zeroed(x, n, 2) : NULL;
    if (moa_grad_wanted(n, 0)) a.dx = moa_grad_in(x, n, 0, &a.add);
    a.dy = moa_grad_out(x, n);
    const moa_arena_mark mark = moa_arena_save(x->arena);
    if (dw) a.dw_part = moa_op_alloc(x, n, chunks * a.d, sizeof(float));
    if (db) a.db_part = moa_op_alloc(x, n, chunks * a.d, sizeof(float));
    if (!x->err.code) {
        moa_parallel(x, chunks, 1, 0.7 * MOA_CHUNK * (double)a.d, moa_train_of(x)->layer_norm_back, &a);
        if (dw) moa_op_sum_parts(dw, a.dw_part, chunks, a.d);
        if (db) moa_op_sum_parts(db, a.db_part, chunks, a.d);
    }
    moa_arena_restore(x->arena, mark);
}

const moa_op moa_op_layer_norm = {.name = "layer_norm", .help = "(x - mean) / sqrt(var + eps) * w + b", .shape = shape, .forward = forward, .backward = backward};

moa_tensor *moa_layer_norm(moa_exec *x, moa_tensor *in, moa_tensor *w, moa_tensor *b, float eps) {
    return moa_apply(x, &moa_op_layer_norm, (moa_tensor *[]){in, w, b}, 3, &(param){eps}, sizeof(param));
}
