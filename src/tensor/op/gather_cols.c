/* gather_cols.c - out[i][j] = in[i][ids[i][j]]: the scores of what topk chose. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/op/op.h"

static int shape(const moa_node *n, moa_tensor *out, moa_err *err) {
    MOA_TRY(moa_op_need(n, 0, "input", MOA_F32, err));
    MOA_TRY(moa_op_need(n, 1, "ids", MOA_I32, err));
    if (moa_rows(n->in[0]) != moa_rows(n->in[1]))
        return moa_fail(err, MOA_EINVAL, "gather_cols: rows differ: input %s, ids %s", SHAPE(n->in[0]), SHAPE(n->in[1]));
    moa_op_like(out, n->in[1]);
    return MOA_OK;
}

static void forward(moa_exec *x, moa_node *n) {
    const int64_t d = moa_cols(n->in[0]), k = moa_cols(n->in[1]), rows = moa_rows(n->out);
    const float *in = n->in[0]->data;
    const int32_t *id = n->in[1]->data;
    float *y = n->out->data;
    if (!moa_op_ids_ok(x, n, n->in[1], d)) return;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < k; j++) y[i * k + j] = in[i * d + id[i * k + j]];
}

static void backward(moa_exec *x, moa_node *n) {
    const int64_t d = moa_cols(n->in[0]), k = moa_cols(n->in[1]), rows = moa_rows(n->out);
    const int32_t *id = n->in[1]->data;
    float *dx = moa_grad_in_zeroed(x, n, 0);
    const float *dy = moa_grad_out(x, n);
    if (!dx || !dy) return;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < k; j++) dx[i * d + id[i * k + j]] += dy[i * k + j];
}

const moa_op moa_op_gather_cols = {.name = "gather_cols", .help = "out[i][j] = in[i][ids[i][j]]", .shape = shape, .forward = forward, .backward = backward};

moa_tensor *moa_gather_cols(moa_exec *x, moa_tensor *in, moa_tensor *ids) {
    return moa_apply(x, &moa_op_gather_cols, (moa_tensor *[]){in, ids}, 2, NULL, 0);
}
