/* gemma2.c - Gemma 2 (arXiv:2408.00118): norms before and after each part, GELU, embeddings times sqrt(d_model), soft caps on
 * scores and logits, every second layer local. (The converter has added 1 to the norms' weights.)
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/model.h"

#include <math.h>

static int hparams(moa_hparams *h, const moa_gguf *g, moa_err *err) {
    (void)err;
    if (!moa_gguf_find(g, "gemma2.attn_logit_softcapping")) h->attn_cap = 50;
    if (!moa_gguf_find(g, "gemma2.final_logit_softcapping")) h->logit_cap = 30;
    /* 27B alone scales by the model's width over its heads, not by the head's size. */
    if (h->n_layer == 46 && h->n_head > 0 && h->attn_scale == 0) h->attn_scale = (float)(1 / sqrt(h->d_model / h->n_head));
    return 0;
}

const moa_arch moa_arch_gemma2 = {.name = "gemma2",
                                  .help = "Gemma 2",
                                  .rope_pairs = MOA_ROPE_NEOX,
                                  .gate_norm = MOA_GATE_SOFTMAX_RENORM,
                                  .act = MOA_FFN_GELU,
                                  .norms = MOA_NORMS_SANDWICH,
                                  .embd_sqrt = true,
                                  .window_period = 2,
                                  .n_window = 4096,
                                  .hparams = hparams};
