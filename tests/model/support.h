/* support.h - what the model tests share: where vectors are, tiny models by seed, comparisons.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TESTS_MODEL_SUPPORT_H
#define MOA_TESTS_MODEL_SUPPORT_H

#include "base/file.h"
#include "base/rng.h"
#include "model/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define OK(expr)                                                                                                       \
    do {                                                                                                               \
        const int ok_rc_ = (expr);                                                                                     \
        if (ok_rc_ < 0) fail_msg("%s: %d %s (%s)", #expr, ok_rc_, err.text, err.hint);                                 \
    } while (0)

/* Path of a shared vector, or the test is skipped. */
static inline void shared_path(char *out, size_t n, const char *rest) {
    const char *root = getenv("MOA_SHARED");
    snprintf(out, n, "%s/%s", root ? root : "../shared", rest);
    if (access(out, R_OK) == 0) return;
    printf("skip: %s is not here\n", out);
    skip();
}

static inline void temp_path(char *out, size_t n, const char *name) {
    const char *dir = getenv("TMPDIR");
    snprintf(out, n, "%s/moa-test-%d-%s", dir ? dir : "/tmp", (int)getpid(), name);
}

static inline moa_hparams tiny_hparams(void) {
    return (moa_hparams){.n_vocab = 320, .n_ctx = 512, .d_model = 64, .n_layer = 3, .n_head = 8, .n_kv = 2, .head_dim = 8, .d_ff = 96};
}

static inline moa_hparams tiny_moe_hparams(void) {
    moa_hparams h = tiny_hparams();
    h.n_expert = 6;
    h.n_expert_used = 2;
    h.d_expert = 32;
    h.gate_norm = MOA_GATE_SOFTMAX_RENORM;
    return h;
}

/* Numbers with which everything that an architecture has is in use: a window that slides within some blocks, experts, groups,
 * caps, scales, stretched rope. */
static inline moa_hparams arch_hparams(const moa_arch *a) {
    moa_hparams h = strstr(a->name, "moe") || a->latent || a->act == MOA_FFN_CLAMPED ? tiny_moe_hparams() : tiny_hparams();
    h.gate_norm = a->gate_norm;
    h.n_window = a->window_period ? 40 : 0;
    if (a->window_period > 2) h.window_period = 3; /* one global layer of three */
    if (a->shared_router) h.d_shared = 24;
    if (a->norms == MOA_NORMS_SANDWICH && !a->qk_norm) h.attn_cap = 5, h.logit_cap = 3;
    if (a->scales) h.embd_scale = 12, h.residual_scale = 0.22f, h.attn_scale = 0.15f, h.logit_div = 8;
    if (a->sinks) h.yarn = true, h.rope_freq_scale = 0.125f, h.n_ctx_orig = 64;
    if (a->latent) {
        h.n_kv = h.n_head;
        h.head_dim = 12, h.n_rot = 4, h.d_value = 8, h.kv_rank = 16, h.q_rank = 24;
        h.n_dense = 1, h.d_shared = 16, h.n_group = 3, h.n_group_used = 2;
        h.gate_norm = MOA_GATE_SIGMOID_RENORM, h.gate_scale = 2.5f;
    }
    return h;
}

/* Initial weights give nearly flat logits; larger ones make greedy choices and differences visible. */
static inline void grow_weights(moa_model *m, float by) {
    for (int i = 0; i < m->n_param; i++) {
        if (m->param[i]->n_dim < 2) continue;
        float *w = m->param[i]->data;
        for (int64_t j = 0, n = moa_tensor_count(m->param[i]); j < n; j++) w[j] *= by;
    }
}

/* A model of an architecture, with biases, sinks and norms that are not all alike. */
static inline moa_model *arch_model(const moa_arch *a, uint64_t seed) {
    moa_model *m = NULL;
    moa_err err = {0};
    const moa_hparams h = arch_hparams(a);
    OK(moa_model_make(&m, a->name, &h, NULL, seed, &err));
    grow_weights(m, 6.0f);
    for (int i = 0; i < m->n_param; i++) {
        float *w = m->param[i]->data;
        for (int64_t j = 0; m->param[i]->n_dim == 1 && j < moa_tensor_count(m->param[i]); j++) w[j] += 0.2f * sinf((float)(j + 7 * i));
    }
    return m;
}

static inline moa_model *tiny_model(moa_hparams h, const moa_gguf *meta, uint64_t seed) {
    moa_model *m = NULL;
    moa_err err = {0};
    OK(moa_model_make(&m, "llama", &h, meta, seed, &err));
    grow_weights(m, 6.0f);
    return m;
}

/* Logits [n][n_vocab] of tokens as one sequence, free() it. chunk: rows a step. */
static inline float *logits_of(const moa_model *m, const int32_t *tok, int n, int chunk, moa_session_cfg cfg) {
    moa_session *s = NULL;
    moa_err err = {0};
    const size_t nv = (size_t)m->h.n_vocab;
    float *out = malloc((size_t)n * nv * sizeof *out);
    moa_row *row = calloc((size_t)chunk, sizeof *row);
    cfg.n_seq = 1;
    cfg.n_batch = chunk;
    OK(moa_session_new(&s, m, &cfg, &err));
    const int seq = moa_seq_new(s, &err);
    for (int at = 0; at < n; at += chunk) {
        const int k = n - at < chunk ? n - at : chunk;
        for (int i = 0; i < k; i++) row[i] = (moa_row){seq, tok[at + i], true};
        OK(moa_session_step(s, row, k, &err));
        for (int i = 0; i < k; i++) memcpy(out + (size_t)(at + i) * nv, moa_session_logits(s, i), nv * sizeof *out);
    }
    free(row);
    moa_session_free(s);
    return out;
}

static inline double max_difference(const float *a, const float *b, size_t n) {
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        const double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= worst)) worst = isnan(d) ? INFINITY : d; /* NaN is a difference too, and none after it hides it */
    }
    return worst;
}

#endif
