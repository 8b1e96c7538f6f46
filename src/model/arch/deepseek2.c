/* deepseek2.c - DeepSeek-V2, V3, R1, the Lite models and relatives: latent attention (model/latent.c), leading dense layers, shared
 * experts; V3 (arXiv:2412.19437) takes sigmoid scores, chooses with a bias among the best groups, and scales the gates.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/model.h"

#include <math.h>

static int hparams(moa_hparams *h, const moa_gguf *g, moa_err *err) {
    (void)err;
    /* GLM-4.7-Flash (47 layers, 48 with the one that predicts ahead) is of this kind; its files lack the key. */
    if (!moa_gguf_find(g, "deepseek2.expert_gating_func") && (h->n_layer == 47 || h->n_layer == 48))
        h->gate_norm = h->gate_norm == MOA_GATE_SOFTMAX_RENORM ? MOA_GATE_SIGMOID_RENORM : MOA_GATE_SIGMOID;
    if (h->yarn && h->attn_scale == 0 && h->head_dim > 0) {
        const float m = h->rope_magnitude * (1 - h->yarn_log_mul * logf(h->rope_freq_scale)); /* of queries, and of keys */
        h->attn_scale = m * m / sqrtf((float)h->head_dim);
    }
    return 0;
}

const moa_arch moa_arch_deepseek2 = {.name = "deepseek2",
                                     .help = "DeepSeek-V2, V3, R1 and relatives",
                                     .rope_pairs = MOA_ROPE_NORM,
                                     .gate_norm = MOA_GATE_SOFTMAX,
                                     .latent = true,
                                     .hparams = hparams};
