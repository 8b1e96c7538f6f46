/* softmax.c - over the last axis. dx = y (dy - sum(y dy)). SPDX-License-Identifier: Apache-2.0 */
#include "tensor/op/op.h"

static int shape(const moa_node *n, moa_tensor *out, moa_err *err) {
    MOA_TRY(moa_op_need(n, 0, "input", MOA_F32, err));
    moa_op_like(out, n->in[0]);
    return MOA_OK;
}

typedef struct rows { float *y; const float *x; int64_t d; moa_kernel_fn fn; } rows; /* range: rows */
static void rows_range(const void *args, int64_t i0, int64_t i1, int thread) {
    const rows *p = args;
    (void)thread;
    for (int64_t i = i0; i < i1; i++) {
        memcpy(p->y + i * p->d, p->x + i * p->d, (size_t)p->d * sizeof *p->y);
        p->fn.softmax(p->y + i * p->d, p->d);
    }
}

static void forward(moa_exec *x, moa_node *n) {
    const rows p = {n->out->data, n->in[0]->data, moa_cols(n->out), x->k->slot[MOA_K_SOFTMAX][MOA_F32]->fn};
    moa_parallel(x, moa_rows(n->out), 1, (double)p.d, rows_range, &p);
}

static void backward(moa_exec *x, moa_node *n) {
    moa_softmax_args a = {.y = n->out->data, .d = moa_cols(n->out)};
    a.dx = moa_grad_in(x, n, 0, &a.add);
    a.dy = moa_grad_out(x, n);
    if (a.dx && a.dy) moa_parallel(x, moa_rows(n->out), 1, 0.3 * (double)a.d, moa_train_of(x)->softmax_back, &a);
}

const moa_op moa_op_softmax = {.name = "softmax", .help = "over the last axis", .shape = shape, .forward = forward, .backward = backward};

moa_tensor *moa_softmax(moa_exec *x, moa_tensor *in) { return moa_apply(x, &moa_op_softmax, &in, 1, NULL, 0); }
