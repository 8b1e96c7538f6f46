/* gpt_oss.c - gpt-oss (arXiv:2508.10925): biases everywhere, gates that are softmax over the chosen experts, a clamped gated
 * unit, every second layer local, and in each head a score (sink) that takes part of the attention and gives nothing.
 * Its YaRN ramp runs between fractional dimensions ("truncate": false in its configuration).
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/model.h"

const moa_arch moa_arch_gpt_oss = {.name = "gpt-oss",
                                   .help = "gpt-oss",
                                   .rope_pairs = MOA_ROPE_NEOX,
                                   .gate_norm = MOA_GATE_SOFTMAX_SELECTED,
                                   .act = MOA_FFN_CLAMPED,
                                   .ffn_norm = "post_attention_norm",
                                   .qkv_bias = true,
                                   .all_bias = true,
                                   .sinks = true,
                                   .exact_ramp = true,
                                   .window_period = 2,
                                   .n_window = 128};
