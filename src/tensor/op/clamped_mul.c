/* clamped_mul.c - the gated unit of gpt-oss: with g = min(gate, 7) and u = up cut to -7..7,
 *     y = g s (u + 1),  s = sigmoid(1.702 g);    dy/dg = (s + 1.702 g s (1 - s)) (u + 1),  dy/du = g s
 * and no gradient where an input was cut. Plain loops: it is a small part of the products around it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/op/act.h"

#include <math.h>

#define SLOPE 1.702f
#define LIMIT 7.0f

typedef struct clamped { /* range: elements */
    float *y, *dgate, *dup; /* forward: y; backward: each may be NULL */
    const float *gate, *up, *dy;
    bool add_gate, add_up;
} clamped;

static float cut(float v, float lo, float hi) { return v < lo ? lo : v > hi ? hi : v; }

static void clamped_range(const void *args, int64_t i0, int64_t i1, int thread) {
    const clamped *p = args;
    (void)thread;
    for (int64_t i = i0; i < i1; i++) {
        const float g = cut(p->gate[i], -INFINITY, LIMIT), u = cut(p->up[i], -LIMIT, LIMIT);
        p->y[i] = g / (1.0f + expf(-SLOPE * g)) * (u + 1.0f);
    }
}

static void clamped_back(const void *args, int64_t i0, int64_t i1, int thread) {
    const clamped *p = args;
    (void)thread;
    for (int64_t i = i0; i < i1; i++) {
        const float g = cut(p->gate[i], -INFINITY, LIMIT), u = cut(p->up[i], -LIMIT, LIMIT), s = 1.0f / (1.0f + expf(-SLOPE * g));
        const float dg = g == p->gate[i] ? p->dy[i] * (s + SLOPE * g * s * (1.0f - s)) * (u + 1.0f) : 0;
        const float du = u == p->up[i] ? p->dy[i] * g * s : 0;
        if (p->dgate) p->dgate[i] = p->add_gate ? p->dgate[i] + dg : dg;
        if (p->dup) p->dup[i] = p->add_up ? p->dup[i] + du : du;
    }
}

static void forward(moa_exec *x, moa_node *n) {
    const clamped p = {.y = n->out->data, .gate = n->in[0]->data, .up = n->in[1]->data};
    moa_parallel(x, moa_tensor_count(n->out), 64, 6, clamped_range, &p);
}

static void backward(moa_exec *x, moa_node *n) {
    clamped p = {.gate = n->in[0]->data, .up = n->in[1]->data};
    if (n->in[0] == n->in[1]) moa_grad_in_zeroed(x, n, 0); /* both parts are then added to it */
    if (moa_grad_wanted(n, 0)) p.dgate = moa_grad_in(x, n, 0, &p.add_gate);
    if (moa_grad_wanted(n, 1)) p.dup = moa_grad_in(x, n, 1, &p.add_up);
    p.dy = moa_grad_out(x, n);
    if (!x->err.code) moa_parallel(x, moa_tensor_count(n->out), 64, 8, clamped_back, &p);
}

const moa_op moa_op_clamped_mul = {.name = "clamped_mul", .help = "gated unit of gpt-oss, inputs cut at 7", .shape = moa_act_shape,
                                   .forward = forward, .backward = backward};

moa_tensor *moa_clamped_mul(moa_exec *x, moa_tensor *gate, moa_tensor *up) {
    return moa_apply(x, &moa_op_clamped_mul, (moa_tensor *[]){gate, up}, 2, NULL, 0);
}

void moa_clamped_mul_row(const moa_exec *x, float *y, const float *gate, const float *up, int64_t n) {
    (void)x;
    clamped_range(&(clamped){.y = y, .gate = gate, .up = up}, 0, n, 0);
}
