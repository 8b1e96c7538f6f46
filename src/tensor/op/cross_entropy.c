/* cross_entropy.c - weighted mean of -log softmax(logits)[target] (kernels/body/loss.h). The sum over rows is taken in double
 * and in the order of rows, so the loss does not depend on the threads.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/op/op.h"

enum { X, TARGET, WEIGHT };
typedef struct param { float norm; } param;
typedef struct saved { float *lse; float norm; } saved; /* norm: 1 over the divisor */

static int shape(const moa_node *n, moa_tensor *out, moa_err *err) {
    MOA_TRY(moa_op_need(n, X, "logits", MOA_F32, err));
    MOA_TRY(moa_op_vector(n, TARGET, "target", MOA_I32, moa_rows(n->in[X]), false, err));
    MOA_TRY(moa_op_vector(n, WEIGHT, "weight", MOA_F32, moa_rows(n->in[X]), false, err));
    out->n_dim = 1;
    return MOA_OK;
}

static bool targets_ok(moa_exec *x, const moa_node *n) {
    const int32_t *t = n->in[TARGET]->data;
    const float *w = n->in[WEIGHT]->data;
    for (int64_t i = 0; i < moa_rows(n->in[X]); i++)
        if (w[i] > 0 && (t[i] < 0 || t[i] >= moa_cols(n->in[X]))) {
            moa_fail(&x->err, MOA_EINVAL, "cross_entropy: target[%lld] is %d, expected 0 to %lld", (long long)i, (int)t[i], (long long)moa_cols(n->in[X]) - 1);
            return false;
        }
    return true;
}

static void forward(moa_exec *x, moa_node *n) {
    const int64_t rows = moa_rows(n->in[X]);
    const float *w = n->in[WEIGHT]->data;
    saved *s = moa_op_alloc(x, n, 1, sizeof *s);
    float *loss = moa_op_alloc(x, n, rows, sizeof *loss);
    moa_loss_args a = {.x = n->in[X]->data, .target = n->in[TARGET]->data, .weight = w, .d = moa_cols(n->in[X]), .loss = loss,
                       .lse = moa_op_alloc(x, n, rows, sizeof *a.lse)};
    if (x->err.code || !targets_ok(x, n)) return;
    moa_parallel(x, rows, 1, 0.6 * (double)a.d, moa_train_of(x)->cross_entropy, &a);
    double sum = 0, norm = 0;
    for (int64_t i = 0; i < rows; i++) {
        sum += (double)loss[i];
        if (w[i] > 0) norm += (double)w[i];
    }
    if (PARAM(param, n)->norm > 0) norm = (double)PARAM(param, n)->norm;
    *s = (saved){a.lse, norm > 0 ? (float)(1.0 / norm) : 0.0f};
    *(float *)n->out->data = norm > 0 ? (float)(sum / norm) : 0.0f;
    n->saved = s;
}

static void backward(moa_exec *x, moa_node *n) {
    const saved *s = n->saved;
    const float *dy = moa_grad_out(x, n);
    moa_loss_args a = {.x = n->in[X]->data, .target = n->in[TARGET]->data, .weight = n->in[WEIGHT]->data, .lse = s->lse,
                       .scale = s->norm * (dy ? *dy : 0.0f), .d = moa_cols(n->in[X])};
    a.dx_half = moa_grad_in_half(x, n, X);
    if (!a.dx_half) a.dx = moa_grad_in(x, n, X, &a.add);
    if (!x->err.code) moa_parallel(x, moa_rows(n->in[X]), 1, 0.6 * (double)a.d, moa_train_of(x)->cross_entropy_back, &a);
}

const moa_op moa_op_cross_entropy = {.name = "cross_entropy", .help = "weighted mean of -log softmax(logits)[target]", .shape = shape, .forward = forward, .backward = backward};

moa_tensor *moa_cross_entropy(moa_exec *x, moa_tensor *logits, moa_tensor *target, moa_tensor *weight, float norm) {
    return moa_apply(x, &moa_op_cross_entropy, (moa_tensor *[]){logits, target, weight}, 3, &(param){norm}, sizeof(param));
}
