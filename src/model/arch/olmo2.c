/* olmo2.c - OLMo 2 (arXiv:2501.00656): what attention and the feed-forward part give is normed, not what they get; one RMS
 * norm over the whole vector of queries, and one of keys.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/model.h"

const moa_arch moa_arch_olmo2 = {.name = "olmo2",
                                 .help = "OLMo 2",
                                 .rope_pairs = MOA_ROPE_NEOX,
                                 .gate_norm = MOA_GATE_SOFTMAX,
                                 .qk_norm = MOA_QK_WHOLE,
                                 .norms = MOA_NORMS_POST};
