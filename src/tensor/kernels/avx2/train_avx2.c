/* train_avx2.c - the training kernels of kernels/body/ built for this folder's instruction set.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/kernel.h"
#include "tensor/kernels/body/all.h"

const moa_kernel moa_kernel_train_avx2 = {
    .name = "train_avx2", .help = "training: norms, rope, activations, loss, attention, with backward", .op = MOA_K_TRAIN,
    .dtype = MOA_F32, .isa = MOA_ISA_AVX2, .fn.train = &train_kernels};
