/* rms_norm.c - root mean square norm with optional weight. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/op/norm.h"

const moa_op moa_op_rms_norm = {.name = "rms_norm", .help = "x / sqrt(mean(x^2) + eps) * w", .shape = moa_norm_shape,
                                .forward = moa_norm_forward, .backward = moa_norm_backward};

moa_tensor *moa_rms_norm(moa_exec *x, moa_tensor *in, moa_tensor *w, float eps) {
    return moa_apply(x, &moa_op_rms_norm, (moa_tensor *[]){in, w}, 2, &(moa_norm_param){eps}, sizeof(moa_norm_param));
}
