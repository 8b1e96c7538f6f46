/* gate.c - gate values and their gradient.
 *
 * With l the logits of a row, S the chosen experts, s = scale and g = dLoss/dw:
 *   softmax            w_j = s p_j,  p = softmax(l)               dl_i = p_i (s g_i [i in S] - sum_S s g_j p_j)
 *   softmax of chosen  w = s q,      q = softmax(l_S)             dl_j = q_j (s g_j - sum_S s g q)
 *   sigmoid            w_j = s a_j,  a = 1 / (1 + exp(-l))        dl_j = s g_j a_j (1 - a_j)
 *   sigmoid / sum      w = s q,      q = a_S / sum a_S            dl_j = q_j (s g_j - sum_S s g q) (1 - a_j)
 * softmax divided by the sum of the chosen is softmax of the chosen, and is computed as such: no division by a
 * sum that may round to zero. For the same reason the last is the softmax of log a over S, which stays exact
 * when every a underflows. A row reads its own logits only and sums in slot order.
 *
 * It lives here and not among the tensor ops since only routers need it and it speaks of their enum.
 * SPDX-License-Identifier: Apache-2.0 */
#include "mix/gate.h"
#include "base/err.h"

#include <math.h>
#include <string.h>

typedef struct gate_param {
    moa_gate_norm norm;
    float scale;
} gate_param;

static float sigmoid(float v) { return v >= 0 ? 1.0f / (1.0f + expf(-v)) : expf(v) / (1.0f + expf(v)); }

/* log(sigmoid(v)) = -log(1 + exp(-v)), without overflow on either side. */
static float log_sigmoid(float v) { return v >= 0 ? -log1pf(expf(-v)) : v - log1pf(expf(v)); }

static int shape(const moa_node *n, moa_tensor *out, moa_err *err) {
    const moa_tensor *l = n->in[0], *ids = n->in[1];
    if (l->dtype != MOA_F32 || l->n_dim != 2)
        return moa_fail(err, MOA_EINVAL, "gate: logits: expected F32 [n, n_expert]");
    if (ids->dtype != MOA_I32 || ids->n_dim != 2 || ids->shape[0] != l->shape[0])
        return moa_fail(err, MOA_EINVAL, "gate: ids: expected I32 with %lld rows", (long long)l->shape[0]);
    out->dtype = MOA_F32;
    out->n_dim = 2;
    out->shape[0] = ids->shape[0];
    out->shape[1] = ids->shape[1];
    return 0;
}

/* q[j] over the chosen: softmax of l[id[j]] or of its log-sigmoid; in two passes over w. */
static void softmax_chosen(float *w, const float *l, const int32_t *id, int64_t k, bool sig) {
    float max = -INFINITY, sum = 0;
    for (int64_t j = 0; j < k; j++) {
        w[j] = sig ? log_sigmoid(l[id[j]]) : l[id[j]];
        if (w[j] > max) max = w[j];
    }
    for (int64_t j = 0; j < k; j++) sum += w[j] = expf(w[j] - max);
    for (int64_t j = 0; j < k; j++) w[j] /= sum;
}

/* 1 / sum exp(l - max), and max: one row's softmax denominator. */
static float softmax_scale(float *max, const float *l, int64_t n) {
    float m = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        if (l[i] > m) m = l[i];
    for (int64_t i = 0; i < n; i++) sum += expf(l[i] - m);
    *max = m;
    return 1.0f / sum;
}

static void gate_row(float *w, const float *l, const int32_t *id, int64_t n_expert, int64_t k, const gate_param *p) {
    float max;
    switch (p->norm) {
    case MOA_GATE_SOFTMAX: {
        const float r = softmax_scale(&max, l, n_expert);
        for (int64_t j = 0; j < k; j++) w[j] = expf(l[id[j]] - max) * r;
        break;
    }
    case MOA_GATE_SIGMOID:
        for (int64_t j = 0; j < k; j++) w[j] = sigmoid(l[id[j]]);
        break;
    case MOA_GATE_SIGMOID_RENORM: softmax_chosen(w, l, id, k, true); break;
    default: softmax_chosen(w, l, id, k, false); break;
    }
    for (int64_t j = 0; j < k; j++) w[j] *= p->scale;
}

static void gate_rows(const void *args, int64_t i0, int64_t i1, int thread) { /* range: rows */
    const moa_node *n = args;
    gate_param p;
    memcpy(&p, n->param, sizeof p);
    const int64_t k = n->out->shape[1], n_expert = n->in[0]->shape[1];
    const float *l = n->in[0]->data;   /* [rows, n_expert] */
    const int32_t *id = n->in[1]->data; /* [rows, k] */
    float *w = n->out->data;           /* [rows, k] */
    (void)thread;
    for (int64_t i = i0; i < i1; i++) gate_row(w + i * k, l + i * n_expert, id + i * k, n_expert, k, &p);
}

static void forward(moa_exec *x, moa_node *n) {
    const bool all = ((const gate_param *)(const void *)n->param)->norm == MOA_GATE_SOFTMAX; /* sums over all experts, else over the chosen */
    moa_parallel(x, n->out->shape[0], 1, 10.0 * (double)(n->out->shape[1] + (all ? n->in[0]->shape[1] : 0)), gate_rows, n);
}

static void backward_row(float *dl, const float *g, const float *w, const float *l, const int32_t *id, int64_t n_expert,
                         int64_t k, const gate_param *p) {
    float dot = 0, max; /* sum over the chosen of dLoss/dw_j * w_j, scale included */
    for (int64_t j = 0; j < k; j++) dot += g[j] * w[j];
    const bool sig = p->norm == MOA_GATE_SIGMOID || p->norm == MOA_GATE_SIGMOID_RENORM;
    if (p->norm == MOA_GATE_SOFTMAX) {
        const float r = softmax_scale(&max, l, n_expert);
        for (int64_t i = 0; i < n_expert; i++) dl[i] -= expf(l[i] - max) * r * dot;
        for (int64_t j = 0; j < k; j++) dl[id[j]] += g[j] * w[j];
        return;
    }
    for (int64_t j = 0; j < k; j++) {
        const float a = sig ? sigmoid(l[id[j]]) : 0; /* 1 - a == 1 where there is no sigmoid */
        const float q = p->scale != 0 ? w[j] / p->scale : 0;
        dl[id[j]] += p->norm == MOA_GATE_SIGMOID ? g[j] * w[j] * (1 - a) : q * (p->scale * g[j] - dot) * (1 - a);
    }
}

static void backward(moa_exec *x, moa_node *n) {
    if (!moa_grad_wanted(n, 0)) return;
    const float *g = moa_grad_out(x, n);
    float *dl = moa_grad_in_zeroed(x, n, 0);
    if (!g || !dl) return;
    gate_param p;
    memcpy(&p, n->param, sizeof p);
    const int64_t rows = n->out->shape[0], k = n->out->shape[1], n_expert = n->in[0]->shape[1];
    const float *w = n->out->data, *l = n->in[0]->data;
    const int32_t *id = n->in[1]->data;
    for (int64_t i = 0; i < rows; i++)
        backward_row(dl + i * n_expert, g + i * k, w + i * k, l + i * n_expert, id + i * k, n_expert, k, &p);
}

static const moa_op op_gate = {
    .name = "gate", .help = "gate values of chosen experts", .shape = shape, .forward = forward, .backward = backward};

moa_tensor *moa_gate(moa_exec *x, moa_tensor *logits, moa_tensor *ids, moa_gate_norm norm, float scale) {
    const gate_param p = {.norm = norm, .scale = scale};
    return moa_apply(x, &op_gate, (moa_tensor *[]){logits, ids}, 2, &p, sizeof p);
}

static void count_rows(const void *args, int64_t i0, int64_t i1, int thread) { /* range: rows */
    const moa_tensor *t = args;
    const int64_t n = t->shape[1];
    (void)thread;
    for (int64_t i = i0; i < i1; i++)
        for (int64_t e = 0; e < n; e++) ((int32_t *)t->data)[i * n + e] = (int32_t)e;
}

moa_tensor *moa_gate_sigmoid(moa_exec *x, moa_tensor *in) {
    moa_tensor *all = in ? moa_new_tensor(x, MOA_I32, 2, in->shape) : NULL; /* every number of every row */
    if (!all) return NULL;
    moa_parallel(x, all->shape[0], 1, 0.3 * (double)all->shape[1], count_rows, all);
    return moa_gate(x, in, all, MOA_GATE_SIGMOID, 1.0f);
}

moa_tensor *moa_gate_scores(moa_exec *x, moa_tensor *logits, moa_gate_norm norm) {
    const bool sig = norm == MOA_GATE_SIGMOID || norm == MOA_GATE_SIGMOID_RENORM;
    return sig ? moa_gate_sigmoid(x, logits) : moa_softmax(x, logits);
}
