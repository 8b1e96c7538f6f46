/* silu.c - x / (1 + e^-x). SPDX-License-Identifier: Apache-2.0 */
#include "tensor/op/act.h"

static void forward(moa_exec *x, moa_node *n) { moa_act_forward(x, n, MOA_ACT_SILU); }
static void backward(moa_exec *x, moa_node *n) { moa_act_backward(x, n, MOA_ACT_SILU); }

const moa_op moa_op_silu = {.name = "silu", .help = "x sigmoid(x)", .shape = moa_act_shape, .forward = forward, .backward = backward};

moa_tensor *moa_silu(moa_exec *x, moa_tensor *in) { return moa_apply(x, &moa_op_silu, &in, 1, NULL, 0); }
