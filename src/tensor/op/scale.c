/* scale.c - a times a constant. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/op/op.h"

typedef struct param { float s; } param;

static int shape(const moa_node *n, moa_tensor *out, moa_err *err) {
    MOA_TRY(moa_op_need(n, 0, "input", MOA_F32, err));
    moa_op_like(out, n->in[0]);
    return MOA_OK;
}

typedef struct scaled { float *y; const float *x; float s; bool add; } scaled; /* range: elements */
static void scaled_range(const void *args, int64_t i0, int64_t i1, int thread) {
    const scaled *p = args;
    float *y = p->y;
    const float *x = p->x;
    (void)thread;
    if (p->add) {
#pragma omp simd
        for (int64_t i = i0; i < i1; i++) y[i] += x[i] * p->s;
    } else {
#pragma omp simd
        for (int64_t i = i0; i < i1; i++) y[i] = x[i] * p->s;
    }
}

static void run(moa_exec *x, moa_node *n, float *y, const float *src, bool add) {
    const scaled p = {y, src, PARAM(param, n)->s, add};
    moa_parallel(x, moa_tensor_count(n->out), 64, 0.15, scaled_range, &p);
}

static void forward(moa_exec *x, moa_node *n) { run(x, n, n->out->data, n->in[0]->data, false); }

static void backward(moa_exec *x, moa_node *n) {
    bool add;
    float *dx = moa_grad_in(x, n, 0, &add);
    const float *dy = moa_grad_out(x, n);
    if (dx && dy) run(x, n, dx, dy, add);
}

const moa_op moa_op_scale = {.name = "scale", .help = "a times a constant", .shape = shape, .forward = forward, .backward = backward};

moa_tensor *moa_scale(moa_exec *x, moa_tensor *a, float s) { return moa_apply(x, &moa_op_scale, &a, 1, &(param){s}, sizeof(param)); }
