/* olmoe.c - OLMoE (arXiv:2409.02060): experts whose gates are softmax over all, not divided by the sum of the chosen; one
 * RMS norm over the whole vector of queries, and one of keys.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/model.h"

const moa_arch moa_arch_olmoe = {.name = "olmoe",
                                 .help = "OLMoE",
                                 .rope_pairs = MOA_ROPE_NEOX,
                                 .gate_norm = MOA_GATE_SOFTMAX,
                                 .qk_norm = MOA_QK_WHOLE};
