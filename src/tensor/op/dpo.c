/* dpo.c - direct preference optimisation (Rafailov et al., arXiv 2305.18290) over the rows of a batch.
 *   log p_i = x_it - log sum_j e^x_ij;   for pair k: c_k, r_k the sums of log p over its chosen and its rejected rows, less those of the reference model
 *   z_k = beta (c_k - r_k),   loss = sum_k log(1 + e^-z_k) / norm
 * With s_k = beta / (1 + e^z_k) the gradient of a row's logits is that of cross entropy, times s_k / norm for chosen rows and times -s_k / norm for
 * rejected ones: both passes are those of kernels/body/loss.h. Sums are taken in double and in the order of rows.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/op/op.h"

#include <math.h>

enum { X, TARGET, PAIR, REF };
typedef struct param { float beta, norm; } param;
typedef struct saved { float *lse, *chosen, *rejected; } saved; /* [rows]: weights of the two passes */

static int shape(const moa_node *n, moa_tensor *out, moa_err *err) {
    MOA_TRY(moa_op_need(n, X, "logits", MOA_F32, err));
    MOA_TRY(moa_op_vector(n, TARGET, "target", MOA_I32, moa_rows(n->in[X]), false, err));
    MOA_TRY(moa_op_vector(n, PAIR, "pair", MOA_I32, moa_rows(n->in[X]), false, err));
    MOA_TRY(moa_op_need(n, REF, "reference", MOA_F32, err));
    if (moa_cols(n->in[REF]) != 2) return moa_fail(err, MOA_EINVAL, "dpo: reference is %s, expected 2 columns", SHAPE(n->in[REF]));
    out->n_dim = 1;
    return MOA_OK;
}

static bool rows_ok(moa_exec *x, const moa_node *n) {
    const int32_t *t = n->in[TARGET]->data, *p = n->in[PAIR]->data;
    const int64_t n_pair = moa_rows(n->in[REF]), vocab = moa_cols(n->in[X]);
    for (int64_t i = 0; i < moa_rows(n->in[X]); i++) {
        if (!p[i]) continue;
        if (t[i] < 0 || t[i] >= vocab) return moa_fail(&x->err, MOA_EINVAL, "dpo: target[%lld] is %d, expected 0 to %lld", (long long)i, (int)t[i], (long long)vocab - 1), false;
        if (p[i] < -n_pair || p[i] > n_pair) return moa_fail(&x->err, MOA_EINVAL, "dpo: pair[%lld] is %d, expected at most %lld either way", (long long)i, (int)p[i], (long long)n_pair), false;
    }
    return true;
}

static void forward(moa_exec *x, moa_node *n) {
    const int64_t rows = moa_rows(n->in[X]), n_pair = moa_rows(n->in[REF]);
    const int32_t *pair = n->in[PAIR]->data;
    const float *ref = n->in[REF]->data, beta = PARAM(param, n)->beta, norm = PARAM(param, n)->norm;
    saved *s = moa_op_alloc(x, n, 1, sizeof *s);
    float *one = moa_op_alloc(x, n, rows, sizeof *one), *loss = moa_op_alloc(x, n, rows, sizeof *loss);
    float *w = moa_op_alloc(x, n, 2 * rows, sizeof *w);
    double *z = moa_op_alloc(x, n, n_pair, sizeof *z), sum = 0;
    moa_loss_args a = {.x = n->in[X]->data, .target = n->in[TARGET]->data, .weight = one, .d = moa_cols(n->in[X]), .loss = loss, .lse = moa_op_alloc(x, n, rows, sizeof *a.lse)};
    if (x->err.code || !rows_ok(x, n)) return;
    for (int64_t i = 0; i < rows; i++) one[i] = pair[i] ? 1.0f : 0.0f;
    moa_parallel(x, rows, 1, 0.6 * (double)a.d, moa_train_of(x)->cross_entropy, &a);
    for (int64_t k = 0; k < n_pair; k++) z[k] = (double)ref[2 * k + 1] - (double)ref[2 * k];
    for (int64_t i = 0; i < rows; i++) /* loss[i] is -log p_i */
        if (pair[i]) z[pair[i] > 0 ? pair[i] - 1 : -pair[i] - 1] -= pair[i] > 0 ? (double)loss[i] : -(double)loss[i];
    for (int64_t k = 0; k < n_pair; k++) {
        z[k] *= (double)beta;
        sum += z[k] > 0 ? log1p(exp(-z[k])) : log1p(exp(z[k])) - z[k];
    }
    *s = (saved){a.lse, w, w + rows};
    for (int64_t i = 0; i < rows; i++) {
        const double at = pair[i] ? z[pair[i] > 0 ? pair[i] - 1 : -pair[i] - 1] : 0;
        const float weight = pair[i] ? (float)((double)beta / (1 + exp(at)) / (double)norm) : 0.0f;
        s->chosen[i] = pair[i] > 0 ? weight : 0.0f;
        s->rejected[i] = pair[i] < 0 ? weight : 0.0f;
    }
    *(float *)n->out->data = (float)(sum / (double)norm);
    n->saved = s;
}

static void backward(moa_exec *x, moa_node *n) {
    const saved *s = n->saved;
    const float *dy = moa_grad_out(x, n), scale = dy ? *dy : 0.0f;
    moa_loss_args a = {.x = n->in[X]->data, .target = n->in[TARGET]->data, .weight = s->chosen, .lse = s->lse, .scale = scale, .d = moa_cols(n->in[X])};
    a.dx = moa_grad_in(x, n, X, &a.add);
    if (x->err.code) return;
    moa_parallel(x, moa_rows(n->in[X]), 1, 0.6 * (double)a.d, moa_train_of(x)->cross_entropy_back, &a);
    a.weight = s->rejected, a.scale = -scale, a.add = true;
    moa_parallel(x, moa_rows(n->in[X]), 1, 0.6 * (double)a.d, moa_train_of(x)->cross_entropy_back, &a);
}

const moa_op moa_op_dpo = {.name = "dpo", .help = "loss of preferences: chosen rows against rejected ones, relative to a reference", .shape = shape, .forward = forward, .backward = backward};

moa_tensor *moa_dpo(moa_exec *x, moa_tensor *logits, moa_tensor *target, moa_tensor *pair, moa_tensor *reference, float beta, float norm) {
    return moa_apply(x, &moa_op_dpo, (moa_tensor *[]){logits, target, pair, reference}, 4, &(param){beta, norm}, sizeof(param));
}
