/* softcap.c - cap tanh(in / cap): scores and logits of Gemma 2 stay within (-cap, cap). Its gradient is 1 - (y / cap)^2, so
 * backward needs the output only. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/op/op.h"

#include <math.h>

typedef struct param { float cap; } param;

static int shape(const moa_node *n, moa_tensor *out, moa_err *err) {
    MOA_TRY(moa_op_need(n, 0, "input", MOA_F32, err));
    if (!(PARAM(param, n)->cap > 0)) return moa_fail(err, MOA_EINVAL, "softcap: cap is %g, expected more than 0", (double)PARAM(param, n)->cap);
    moa_op_like(out, n->in[0]);
    return MOA_OK;
}

typedef struct capped { float *y; const float *x, *dy; float cap; bool add; } capped; /* range: elements */

static void capped_range(const void *args, int64_t i0, int64_t i1, int thread) {
    const capped *p = args;
    (void)thread;
    for (int64_t i = i0; i < i1; i++) p->y[i] = p->cap * tanhf(p->x[i] / p->cap);
}

/* y: gradient of the input; x: what forward gave. */
static void capped_back(const void *args, int64_t i0, int64_t i1, int thread) {
    const capped *p = args;
    (void)thread;
    for (int64_t i = i0; i < i1; i++) {
        const float t = p->x[i] / p->cap, g = p->dy[i] * (1.0f - t * t);
        p->y[i] = p->add ? p->y[i] + g : g;
    }
}

static void forward(moa_exec *x, moa_node *n) {
    const capped p = {.y = n->out->data, .x = n->in[0]->data, .cap = PARAM(param, n)->cap};
    moa_parallel(x, moa_tensor_count(n->out), 64, 10, capped_range, &p);
}

static void backward(moa_exec *x, moa_node *n) {
    capped p = {.x = n->out->data, .cap = PARAM(param, n)->cap};
    p.y = moa_grad_in(x, n, 0, &p.add);
    p.dy = moa_grad_out(x, n);
    if (p.y && p.dy) moa_parallel(x, moa_tensor_count(n->out), 64, 0.3, capped_back, &p);
}

const moa_op moa_op_softcap = {.name = "softcap", .help = "cap tanh(x / cap)", .shape = shape, .forward = forward, .backward = backward};

moa_tensor *moa_softcap(moa_exec *x, moa_tensor *in, float cap) { return moa_apply(x, &moa_op_softcap, &in, 1, &(param){cap}, sizeof(param)); }
