/* granite.c - Granite 3: Llama with four scales in the file: of embeddings, of what each part adds to the
 * residual stream, of attention scores (instead of 1 / sqrt(head_dim)), and a divisor of logits.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/model.h"

const moa_arch moa_arch_granite = {
    .name = "granite", .help = "Granite 3", .rope_pairs = MOA_ROPE_NORM, .gate_norm = MOA_GATE_SOFTMAX_RENORM, .scales = true};
