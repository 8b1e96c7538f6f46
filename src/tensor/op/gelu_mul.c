/* gelu_mul.c - gelu(gate) * up. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/op/act.h"

static void forward(moa_exec *x, moa_node *n) { moa_act_forward(x, n, MOA_ACT_GELU); }
static void backward(moa_exec *x, moa_node *n) { moa_act_backward(x, n, MOA_ACT_GELU); }

const moa_op moa_op_gelu_mul = {.name = "gelu_mul", .help = "gelu(gate) * up", .shape = moa_act_shape, .forward = forward, .backward = backward};

moa_tensor *moa_gelu_mul(moa_exec *x, moa_tensor *gate, moa_tensor *up) {
    return moa_apply(x, &moa_op_gelu_mul, (moa_tensor *[]){gate, up}, 2, NULL, 0);
}

void moa_gelu_mul_row(const moa_exec *x, float *y, const float *gate, const float *up, int64_t n) {
    moa_train_of(x)->act(&(moa_act_args){.y = y, .a = gate, .b = up, .act = MOA_ACT_GELU}, 0, n, 0);
}
