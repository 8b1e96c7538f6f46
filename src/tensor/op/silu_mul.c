/* silu_mul.c - silu(gate) * up, the inside of a gated feed-forward network. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/op/act.h"

static void forward(moa_exec *x, moa_node *n) { moa_act_forward(x, n, MOA_ACT_SILU); }
static void backward(moa_exec *x, moa_node *n) { moa_act_backward(x, n, MOA_ACT_SILU); }

const moa_op moa_op_silu_mul = {.name = "silu_mul", .help = "silu(gate) * up", .shape = moa_act_shape, .forward = forward, .backward = backward};

moa_tensor *moa_silu_mul(moa_exec *x, moa_tensor *gate, moa_tensor *up) {
    return moa_apply(x, &moa_op_silu_mul, (moa_tensor *[]){gate, up}, 2, NULL, 0);
}

void moa_silu_mul_row(const moa_exec *x, float *y, const float *gate, const float *up, int64_t n) {
    moa_train_of(x)->act(&(moa_act_args){.y = y, .a = gate, .b = up, .act = MOA_ACT_SILU}, 0, n, 0);
}
