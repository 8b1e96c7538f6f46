/* qwen2moe.c - Qwen1.5-MoE and Qwen2-57B-A14B: Qwen2 with experts whose gates are softmax over all, not divided by the sum
 * of the chosen, and an expert that every row goes through, times the sigmoid of a product of its own.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/model.h"

/* Early files lack both widths. */
static int hparams(moa_hparams *h, const moa_gguf *g, moa_err *err) {
    (void)err;
    if (!moa_gguf_find(g, "qwen2moe.expert_feed_forward_length") && h->n_expert_used > 0) h->d_expert = h->d_ff / h->n_expert_used;
    if (!h->d_shared) h->d_shared = h->d_ff;
    return 0;
}

const moa_arch moa_arch_qwen2moe = {.name = "qwen2moe",
                                    .help = "Qwen1.5-MoE, Qwen2 with experts",
                                    .rope_pairs = MOA_ROPE_NEOX,
                                    .gate_norm = MOA_GATE_SOFTMAX,
                                    .qkv_bias = true,
                                    .shared_router = true,
                                    .hparams = hparams};
