/* gelu.c - Gaussian error linear unit in its tanh form, as GPT-2 has it. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/op/act.h"

static void forward(moa_exec *x, moa_node *n) { moa_act_forward(x, n, MOA_ACT_GELU); }
static void backward(moa_exec *x, moa_node *n) { moa_act_backward(x, n, MOA_ACT_GELU); }

const moa_op moa_op_gelu = {.name = "gelu", .help = "tanh form", .shape = moa_act_shape, .forward = forward, .backward = backward};

moa_tensor *moa_gelu(moa_exec *x, moa_tensor *in) { return moa_apply(x, &moa_op_gelu, &in, 1, NULL, 0); }
