/* llama.c - Llama 1-3, Mistral, Mixtral, SmolLM, TinyLlama and all that GGUF calls "llama": RMS norm before each part,
 * grouped-query attention, adjacent rope pairs (the converter permutes q and k), SwiGLU; Llama 3.1 divides frequencies by the
 * tensor rope_freqs. With expert_count > 0 it is Mixtral: softmax over all experts, the chosen divided by their sum
 * (arXiv:2401.04088).
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/model.h"

const moa_arch moa_arch_llama = {.name = "llama",
                                 .help = "Llama, Mistral, Mixtral and relatives",
                                 .rope_pairs = MOA_ROPE_NORM,
                                 .gate_norm = MOA_GATE_SOFTMAX_RENORM};
