/* qwen2.c - Qwen2 and Qwen2.5: Llama with biases on q, k and v and rope pairs (i, i + n_rot/2).
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/model.h"

const moa_arch moa_arch_qwen2 = {
    .name = "qwen2", .help = "Qwen2, Qwen2.5", .rope_pairs = MOA_ROPE_NEOX, .gate_norm = MOA_GATE_SOFTMAX, .qkv_bias = true};
