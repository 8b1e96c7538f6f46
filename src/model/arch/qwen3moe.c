/* qwen3moe.c - Qwen3 with experts: softmax over all, the chosen divided by their sum; d_expert has its own key.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/model.h"

const moa_arch moa_arch_qwen3moe = {.name = "qwen3moe",
                                    .help = "Qwen3 with experts",
                                    .rope_pairs = MOA_ROPE_NEOX,
                                    .gate_norm = MOA_GATE_SOFTMAX_RENORM,
                                    .qk_norm = MOA_QK_HEAD};
