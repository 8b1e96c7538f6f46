/* phi3.c - Phi-3, Phi-3.5 and Phi-4: q, k and v are one tensor, gate and up another; contexts beyond the original one
 * rotate by a second list of factors, and all rotated vectors are longer by attn_factor (LongRoPE, arXiv:2402.13753).
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/model.h"

/* Files before the key had a name: Phi-3-mini-4k and Phi-3-medium-4k. */
static int hparams(moa_hparams *h, const moa_gguf *g, moa_err *err) {
    (void)err;
    if (!moa_gguf_find(g, "phi3.attention.sliding_window") && h->n_ctx == 4096 && (h->n_layer == 32 || h->n_layer == 40)) h->n_window = 2047;
    return 0;
}

const moa_arch moa_arch_phi3 = {.name = "phi3",
                                .help = "Phi-3, Phi-3.5, Phi-4",
                                .rope_pairs = MOA_ROPE_NEOX,
                                .gate_norm = MOA_GATE_SOFTMAX_RENORM,
                                .fused = true,
                                .window_period = -1,
                                .hparams = hparams};
