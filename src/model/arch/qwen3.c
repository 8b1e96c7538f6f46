/* qwen3.c - Qwen3: Llama with an RMS norm of each head of q and k before rope, and rope pairs (i, i + n_rot/2).
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/model.h"

const moa_arch moa_arch_qwen3 = {.name = "qwen3",
                                 .help = "Qwen3",
                                 .rope_pairs = MOA_ROPE_NEOX,
                                 .gate_norm = MOA_GATE_SOFTMAX_RENORM,
                                 .qk_norm = MOA_QK_HEAD};
