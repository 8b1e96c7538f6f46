/* granitemoe.c - Granite 3 with experts: Mixtral, in later models with a shared expert, and with four scales in the file: of
 * embeddings, of what each part adds to the residual stream, of attention scores (instead of 1 / sqrt(head_dim)), and a
 * divisor of logits.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/model.h"

const moa_arch moa_arch_granitemoe = {
    .name = "granitemoe", .help = "Granite 3 with experts", .rope_pairs = MOA_ROPE_NORM, .gate_norm = MOA_GATE_SOFTMAX_RENORM, .scales = true};
