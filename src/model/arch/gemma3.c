/* gemma3.c - Gemma 3 (arXiv:2503.19786): Gemma 2 with an RMS norm of each head of q and k instead of soft caps; five local
 * layers, which rotate by a base of their own and without scaling, then a global one.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "model/model.h"

#include <math.h>

static int hparams(moa_hparams *h, const moa_gguf *g, moa_err *err) {
    if (!h->n_window)
        return moa_fail(err, MOA_ENOTFOUND, "%s: key gemma3.attention.sliding_window is missing or 0", moa_gguf_path(g));
    if (h->n_layer == 62 && h->n_head > 0 && h->attn_scale == 0) h->attn_scale = (float)(1 / sqrt(h->d_model / h->n_head)); /* 27B */
    return 0;
}

const moa_arch moa_arch_gemma3 = {.name = "gemma3",
                                  .help = "Gemma 3 (text)",
                                  .rope_pairs = MOA_ROPE_NEOX,
                                  .gate_norm = MOA_GATE_SOFTMAX_RENORM,
                                  .act = MOA_FFN_GELU,
                                  .qk_norm = MOA_QK_HEAD,
                                  .norms = MOA_NORMS_SANDWICH,
                                  .embd_sqrt = true,
                                  .window_period = 6,
                                  .rope_local_base = 10000,
                                  .hparams = hparams};
