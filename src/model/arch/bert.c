/* bert.c - BERT (arXiv:1810.04805) and what GGUF calls "bert": MiniLM, BGE, E5, GTE, arctic-embed. Learned positions, layer norms behind
 * each part, GELU in its exact form (encoder.c).
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/model.h"

const moa_arch moa_arch_bert = {.name = "bert",
                                .help = "BERT and relatives: embeddings",
                                .encoder = true,
                                .positions = true,
                                .norms = MOA_NORMS_POST,
                                .qkv_bias = true,
                                .all_bias = true};
