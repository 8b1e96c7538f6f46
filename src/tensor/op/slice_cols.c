/* slice_cols.c - columns [c0, c1) as a matrix of their own (copied: every op may count on contiguous rows).
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/op/cols.h"

typedef struct param { int64_t c0, c1; } param;

static int shape(const moa_node *n, moa_tensor *out, moa_err *err) {
    const param *p = PARAM(param, n);
    MOA_TRY(moa_op_need(n, 0, "input", MOA_F32, err));
    if (p->c0 < 0 || p->c1 <= p->c0 || p->c1 > moa_cols(n->in[0]))
        return moa_fail(err, MOA_EINVAL, "slice_cols: columns %lld to %lld of %s", (long long)p->c0, (long long)p->c1, SHAPE(n->in[0]));
    moa_op_like(out, n->in[0]);
    out->shape[out->n_dim - 1] = p->c1 - p->c0;
    return MOA_OK;
}

static void forward(moa_exec *x, moa_node *n) {
    const float *src = n->in[0]->data;
    const moa_cols_move p = {n->out->data, src + PARAM(param, n)->c0, moa_cols(n->out), moa_cols(n->in[0]), moa_cols(n->out), false};
    moa_cols_move_all(x, &p, moa_rows(n->out));
}

static void backward(moa_exec *x, moa_node *n) {
    float *dx = moa_grad_in_zeroed(x, n, 0);
    const float *dy = moa_grad_out(x, n);
    if (!dx || !dy) return;
    const moa_cols_move p = {dx + PARAM(param, n)->c0, dy, moa_cols(n->in[0]), moa_cols(n->out), moa_cols(n->out), true};
    moa_cols_move_all(x, &p, moa_rows(n->out));
}

const moa_op moa_op_slice_cols = {.name = "slice_cols", .help = "columns c0 to c1", .shape = shape, .forward = forward, .backward = backward};

moa_tensor *moa_slice_cols(moa_exec *x, moa_tensor *in, int64_t c0, int64_t c1) {
    return moa_apply(x, &moa_op_slice_cols, &in, 1, &(param){c0, c1}, sizeof(param));
}
