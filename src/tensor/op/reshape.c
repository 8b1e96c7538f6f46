/* reshape.c - the same elements under another shape: a view, nothing moves. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/op/op.h"

typedef struct param { int n_dim; int64_t shape[MOA_MAX_DIM]; } param;

static int shape(const moa_node *n, moa_tensor *out, moa_err *err) {
    const param *p = PARAM(param, n);
    const moa_tensor *t = n->in[0];
    if (!t) return moa_fail(err, MOA_EINVAL, "reshape: input is missing");
    out->dtype = t->dtype;
    out->n_dim = p->n_dim;
    int64_t count = p->n_dim >= 1 && p->n_dim <= MOA_MAX_DIM ? 1 : -1;
    for (int i = 0; i < p->n_dim && count >= 0; i++) {
        out->shape[i] = p->shape[i];
        if (p->shape[i] < 0 || __builtin_mul_overflow(count, p->shape[i], &count)) count = -1;
    }
    if (count == moa_tensor_count(t)) return MOA_OK;
    return moa_fail(err, MOA_EINVAL, "reshape: %s does not have as many elements as [%lld, %lld, ...] with %d axes", SHAPE(t),
                    (long long)p->shape[0], (long long)p->shape[1], p->n_dim);
}

static void forward(moa_exec *x, moa_node *n) {
    (void)x;
    n->out->data = n->in[0]->data;
}
static void backward(moa_exec *x, moa_node *n) { moa_grad_pass(x, n, 0); }

const moa_op moa_op_reshape = {.name = "reshape", .help = "the same elements under another shape", .shape = shape, .forward = forward, .backward = backward, .view = true};

moa_tensor *moa_reshape(moa_exec *x, moa_tensor *in, int n_dim, const int64_t *to) {
    param p = {.n_dim = n_dim};
    for (int i = 0; i < n_dim && i < MOA_MAX_DIM; i++) p.shape[i] = to[i];
    return moa_apply(x, &moa_op_reshape, &in, 1, &p, sizeof p);
}
