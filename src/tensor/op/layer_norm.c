/* layer_norm.c - layer norm with weight and optional bias. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/op/norm.h"

const moa_op moa_op_layer_norm = {.name = "layer_norm", .help = "(x - mean) / sqrt(var + eps) * w + b", .shape = moa_norm_shape,
                                  .forward = moa_norm_forward, .backward = moa_norm_backward};

moa_tensor *moa_layer_norm(moa_exec *x, moa_tensor *in, moa_tensor *w, moa_tensor *b, float eps) {
    return moa_apply(x, &moa_op_layer_norm, (moa_tensor *[]){in, w, b}, 3, &(moa_norm_param){eps}, sizeof(moa_norm_param));
}
