/* head_linear.c - each head of a row times its own matrix: y[i][h] = W_h x[i][h]. It is what absorbs the up-projections of
 * latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1.2) into queries and outputs. Inference only: training uses
 * the expanded form, whose products are ordinary ones. Weights of any type, f32 activations.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/op/op.h"

enum { X, W };

static int shape(const moa_node *n, moa_tensor *out, moa_err *err) {
    MOA_TRY(moa_op_need(n, X, "input", MOA_F32, err));
    const moa_tensor *x = n->in[X], *w = n->in[W];
    if (!w || w->n_dim != 3 || moa_cols(x) != w->shape[0] * w->shape[2])
        return moa_fail(err, MOA_EINVAL, "head_linear: input %s and weight %s do not fit, expected weight [n_head, n_out, n_in / n_head]",
                        SHAPE(x), SHAPE(w));
    if (x->needs_grad || w->needs_grad) return moa_fail(err, MOA_EUNSUPPORTED, "head_linear: has no gradient");
    moa_op_like(out, x);
    out->shape[x->n_dim - 1] = w->shape[0] * w->shape[1];
    return MOA_OK;
}

typedef struct product { /* range: rows of all heads' matrices */
    float *y;            /* [n, n_head * n_out] */
    const float *x;      /* [n, n_head * n_in] */
    const moa_tensor *w; /* [n_head, n_out, n_in] */
    int64_t n;
    moa_kernel_fn fn;
} product;

static void product_range(const void *args, int64_t r0, int64_t r1, int thread) {
    const product *p = args;
    const int64_t n_head = p->w->shape[0], n_out = p->w->shape[1], n_in = p->w->shape[2];
    (void)thread;
    for (int64_t h = r0 / n_out; h * n_out < r1; h++) {
        const int64_t o0 = r0 > h * n_out ? r0 - h * n_out : 0, o1 = r1 < (h + 1) * n_out ? r1 - h * n_out : n_out;
        p->fn.gemm_f32(p->y + h * n_out, n_head * n_out, p->x + h * n_in, n_head * n_in, (const char *)p->w->data + h * p->w->stride[0],
                       (size_t)p->w->stride[1], p->n, o0, o1, n_in);
    }
}

static void forward(moa_exec *x, moa_node *n) {
    const moa_tensor *w = n->in[W];
    const moa_kernel *kernel = x->k->slot[MOA_K_GEMM][w->dtype];
    if (!kernel) {
        moa_fail(&x->err, MOA_EUNSUPPORTED, "head_linear: no product for weights of type %s", moa_type_get(w->dtype)->name);
        return;
    }
    const product p = {.y = n->out->data, .x = n->in[X]->data, .w = w, .n = moa_rows(n->in[X]), .fn = kernel->fn};
    if (p.n) moa_parallel(x, w->shape[0] * w->shape[1], 16, (double)w->shape[2] * (0.05 + 0.02 * (double)p.n), product_range, &p);
}

const moa_op moa_op_head_linear = {.name = "head_linear", .help = "each head times its own matrix", .shape = shape, .forward = forward};

moa_tensor *moa_head_linear(moa_exec *x, moa_tensor *in, moa_tensor *w) {
    return moa_apply(x, &moa_op_head_linear, (moa_tensor *[]){in, w}, 2, NULL, 0);
}
