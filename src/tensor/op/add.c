/* add.c - a + b; b may be one row, added to every row of a. The gradient of a is the output's, shared, not copied.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/op/op.h"

static bool is_row(const moa_node *n) {
    return moa_tensor_count(n->in[1]) == moa_cols(n->in[0]) && moa_tensor_count(n->in[0]) != moa_tensor_count(n->in[1]);
}

static int shape(const moa_node *n, moa_tensor *out, moa_err *err) {
    MOA_TRY(moa_op_need(n, 0, "a", MOA_F32, err));
    MOA_TRY(moa_op_need(n, 1, "b", MOA_F32, err));
    if (!(is_row(n) && moa_cols(n->in[1]) == moa_cols(n->in[0]))) MOA_TRY(moa_op_same_shape(n, 0, 1, err));
    moa_op_like(out, n->in[0]);
    return MOA_OK;
}

static void forward(moa_exec *x, moa_node *n) {
    const moa_add_args a = {n->out->data, n->in[0]->data, n->in[1]->data, moa_cols(n->out), is_row(n)};
    moa_parallel(x, moa_rows(n->out), 1, 0.15 * (double)a.d, moa_train_of(x)->add, &a);
}

static void back_row(moa_exec *x, moa_node *n) {
    const int64_t rows = moa_rows(n->out), d = moa_cols(n->out), chunks = moa_n_chunk(rows);
    float *db = moa_grad_in_zeroed(x, n, 1);
    const moa_arena_mark mark = moa_arena_save(x->arena);
    const moa_colsum_args a = {moa_op_alloc(x, n, chunks * d, sizeof(float)), moa_grad_out(x, n), rows, d};
    if (db && a.part && a.x) {
        moa_parallel(x, chunks, 1, 0.1 * MOA_CHUNK * (double)d, moa_train_of(x)->colsum, &a);
        moa_op_sum_parts(db, a.part, chunks, d);
    }
    moa_arena_restore(x->arena, mark);
}

static void backward(moa_exec *x, moa_node *n) {
    if (moa_grad_wanted(n, 1) && is_row(n)) back_row(x, n);
    else if (moa_grad_wanted(n, 1)) moa_grad_pass(x, n, 1);
    if (moa_grad_wanted(n, 0)) moa_grad_pass(x, n, 0);
}

const moa_op moa_op_add = {.name = "add", .help = "a + b, b may be one row", .shape = shape, .forward = forward, .backward = backward};

moa_tensor *moa_add(moa_exec *x, moa_tensor *a, moa_tensor *b) {
    return moa_apply(x, &moa_op_add, (moa_tensor *[]){a, b}, 2, NULL, 0);
}
