/* nomic_bert.c - nomic-embed-text (arXiv:2402.01613): BERT without biases, with rope on q and k (pairs i, i + n_rot/2) instead of learned
 * positions, and a feed-forward part gated by SiLU.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/model.h"

const moa_arch moa_arch_nomic_bert = {.name = "nomic-bert",
                                      .help = "nomic-embed-text: embeddings",
                                      .encoder = true,
                                      .rope_pairs = MOA_ROPE_NEOX,
                                      .norms = MOA_NORMS_POST,
                                      .fused = true};
