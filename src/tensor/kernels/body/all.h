/* all.h - every training kernel and their table, static to the including file. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/kernels/body/train.h"
#include "tensor/kernels/body/vec.h"
#include "tensor/kernels/sum.h"

#include "tensor/kernels/body/move.h"
#include "tensor/kernels/body/norm.h"
#include "tensor/kernels/body/rope.h"
#include "tensor/kernels/body/act.h"
#include "tensor/kernels/body/loss.h"
#include "tensor/kernels/body/attention.h"

static const moa_train_kernels train_kernels = {
    .to_bf16 = to_bf16, .from_bf16 = from_bf16, .add = add, .colsum = colsum,
    .rms_norm = rms_norm, .rms_norm_back = rms_norm_back, .layer_norm = layer_norm, .layer_norm_back = layer_norm_back,
    .rope = rope, .act = act, .act_back = act_back, .softmax_back = softmax_back,
    .cross_entropy = cross_entropy, .cross_entropy_back = cross_entropy_back,
    .attention = attention, .attention_back = attention_back, .attention_scratch = attention_scratch,
};
