/* adamw.c - Adam with decoupled weight decay (Kingma and Ba 2015; Loshchilov and Hutter 2019):
 *   m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,
 *   w -= lr * (m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + decay * w)
 * The bias corrections are folded into two factors: m / (1 - b1^t) * lr and sqrt(v) / sqrt(1 - b2^t).
 * SPDX-License-Identifier: Apache-2.0 */
#include "train/optim.h"

#include <math.h>

enum { BLOCK = 1024 }; /* stays in the first cache until its bf16 copy is made */

static int n_state(const moa_optim_param *p) {
    (void)p;
    return 2;
}

void moa_adamw_update(const moa_optim_param *p, const moa_optim_cfg *cfg) {
    const int64_t n = moa_tensor_count(p->w);
    const float b1 = (float)cfg->beta1, b2 = (float)cfg->beta2, eps = (float)cfg->eps, gs = (float)cfg->grad_scale;
    const float step = (float)(cfg->lr / (1.0 - pow(cfg->beta1, (double)cfg->step)));
    const float root = (float)(1.0 / sqrt(1.0 - pow(cfg->beta2, (double)cfg->step)));
    const float keep = p->w->n_dim > 1 ? (float)(1.0 - cfg->lr * cfg->weight_decay) : 1.0f;
    float *restrict w = p->w->data, *restrict m = p->state[0], *restrict v = p->state[1];
    const float *restrict g = p->w->grad->data;
    uint16_t *restrict h = p->w->half ? p->w->half->data : NULL;
#pragma omp parallel for schedule(static) num_threads(cfg->n_threads) if (n > 16384)
    for (int64_t from = 0; from < n; from += BLOCK) {
        const int64_t to = n - from < BLOCK ? n : from + BLOCK;
#pragma omp simd
        for (int64_t i = from; i < to; i++) {
            float gi = g[i] * gs;
            m[i] = b1 * m[i] + (1.0f - b1) * gi;
            v[i] = b2 * v[i] + (1.0f - b2) * gi * gi;
            w[i] = w[i] * keep - step * m[i] / (sqrtf(v[i]) * root + eps);
        }
        if (!h) continue;
#pragma omp simd
        for (int64_t i = from; i < to; i++) h[i] = moa_f32_to_bf16(w[i]);
    }
}

static int update(const moa_optim_param *p, const moa_optim_cfg *cfg, moa_exec *scratch, moa_err *err) {
    (void)scratch;
    (void)err;
    moa_adamw_update(p, cfg);
    return 0;
}

const moa_optimizer moa_optimizer_adamw = {
    .name = "adamw", .help = "Adam with decoupled weight decay", .n_state = n_state, .update = update};
