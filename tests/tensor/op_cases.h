/* op_cases.h - inputs, calls and naive double-precision definitions of every op, for test_ops.c (forward) and test_grad.c
 * (backward). A case is one function of three phases: SETUP makes the inputs, CALL runs the op, NAIVE computes
 * the same with plain loops in double.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_TENSOR_OP_CASES_H
#define TESTS_TENSOR_OP_CASES_H

#include "base/rng.h"
#include "tensor/exec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SETUP, CALL, NAIVE };

typedef struct tcase {
    int phase, n_in;
    moa_exec x;
    moa_rng rng;
    moa_tensor in[8];
    double *ref; /* NAIVE: the expected output */
} tcase;

#define F(c, i) ((const float *)(c)->in[i].data)
#define I(c, i) ((const int32_t *)(c)->in[i].data)

static void add_floats(tcase *c, int64_t rows, int64_t cols, bool grad) {
    float *p = malloc(sizeof *p * (size_t)(rows * cols + 1));
    for (int64_t i = 0; i < rows * cols; i++) p[i] = (float)moa_rng_normal(&c->rng);
    moa_tensor *t = &c->in[c->n_in++];
    *t = rows == 1 ? moa_view1(MOA_F32, p, cols) : moa_view2(MOA_F32, p, rows, cols);
    t->needs_grad = grad;
}
static void add_matrix(tcase *c, int64_t rows, int64_t cols) { add_floats(c, rows, cols, true); }
static void add_vector(tcase *c, int64_t n) { add_floats(c, 1, n, true); }
static void add_ints(tcase *c, int n, const int *v) {
    int32_t *p = malloc(sizeof *p * (size_t)(n + 1));
    for (int i = 0; i < n; i++) p[i] = v[i];
    c->in[c->n_in++] = moa_view1(MOA_I32, p, n);
}
static void add_ints2(tcase *c, int rows, int cols, const int *v) {
    add_ints(c, rows * cols, v);
    c->in[c->n_in - 1] = moa_view2(MOA_I32, c->in[c->n_in - 1].data, rows, cols);
}
#define INTS(c, ...) add_ints(c, (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)), (int[]){__VA_ARGS__})

/* ---- linear ---- */
static moa_tensor *linear_case(tcase *c, int64_t n, int64_t k, int64_t m, bool bias) {
    if (c->phase == SETUP) {
        add_matrix(c, n, k), add_matrix(c, m, k);
        if (bias) add_vector(c, m);
    } else if (c->phase == CALL) return moa_linear(&c->x, &c->in[0], &c->in[1], bias ? &c->in[2] : NULL);
    else
        for (int64_t i = 0; i < n; i++)
            for (int64_t o = 0; o < m; o++) {
                double s = bias ? (double)F(c, 2)[o] : 0;
                for (int64_t j = 0; j < k; j++) s += (double)F(c, 0)[i * k + j] * (double)F(c, 1)[o * k + j];
                c->ref[i * m + o] = s;
            }
    return NULL;
}
static moa_tensor *linear_odd(tcase *c) { return linear_case(c, 5, 7, 3, false); }
static moa_tensor *linear_bias(tcase *c) { return linear_case(c, 70, 6, 5, true); }
static moa_tensor *linear_row(tcase *c) { return linear_case(c, 1, 33, 17, true); }

/* ---- head_linear: each head its own matrix ---- */
static moa_tensor *head_linear(tcase *c) {
    enum { N = 5, H = 3, A = 7, O = 19 };
    if (c->phase == SETUP) {
        add_floats(c, N, H * A, false), add_floats(c, H * O, A, false);
        c->in[1] = moa_view3(MOA_F32, c->in[1].data, H, O, A);
    } else if (c->phase == CALL) return moa_head_linear(&c->x, &c->in[0], &c->in[1]);
    else
        for (int i = 0; i < N; i++)
            for (int o = 0; o < H * O; o++) {
                double s = 0;
                for (int j = 0; j < A; j++) s += (double)F(c, 0)[i * H * A + o / O * A + j] * (double)F(c, 1)[o * A + j];
                c->ref[i * H * O + o] = s;
            }
    return NULL;
}

/* ---- embedding: repeated ids ---- */
static moa_tensor *embedding(tcase *c) {
    if (c->phase == SETUP) add_matrix(c, 5, 19), INTS(c, 3, 0, 3, 4, 3, 0);
    else if (c->phase == CALL) return moa_embedding(&c->x, &c->in[0], &c->in[1]);
    else
        for (int i = 0; i < 6 * 19; i++) c->ref[i] = (double)F(c, 0)[I(c, 1)[i / 19] * 19 + i % 19];
    return NULL;
}

/* ---- norms ---- */
static moa_tensor *rms_case(tcase *c, int n, int d, bool weight) {
    if (c->phase == SETUP) {
        add_matrix(c, n, d);
        if (weight) add_vector(c, d);
    } else if (c->phase == CALL) return moa_rms_norm(&c->x, &c->in[0], weight ? &c->in[1] : NULL, 1e-3f);
    else
        for (int i = 0; i < n; i++) {
            double s = 0;
            for (int j = 0; j < d; j++) s += (double)F(c, 0)[i * d + j] * (double)F(c, 0)[i * d + j];
            for (int j = 0; j < d; j++)
                c->ref[i * d + j] = (double)F(c, 0)[i * d + j] / sqrt(s / d + (double)1e-3f) * (weight ? (double)F(c, 1)[j] : 1);
        }
    return NULL;
}
static moa_tensor *rms_weight(tcase *c) { return rms_case(c, 67, 5, true); } /* more rows than a chunk */
static moa_tensor *rms_plain(tcase *c) { return rms_case(c, 3, 33, false); }
static moa_tensor *layer_case(tcase *c, int n, int d, bool bias) {
    if (c->phase == SETUP) {
        add_matrix(c, n, d), add_vector(c, d);
        if (bias) add_vector(c, d);
    } else if (c->phase == CALL) return moa_layer_norm(&c->x, &c->in[0], &c->in[1], bias ? &c->in[2] : NULL, 1e-3f);
    else
        for (int i = 0; i < n; i++) {
            double m = 0, v = 0;
            for (int j = 0; j < d; j++) m += (double)F(c, 0)[i * d + j] / d;
            for (int j = 0; j < d; j++) v += pow((double)F(c, 0)[i * d + j] - m, 2) / d;
            for (int j = 0; j < d; j++)
                c->ref[i * d + j] = ((double)F(c, 0)[i * d + j] - m) / sqrt(v + (double)1e-3f) * (double)F(c, 1)[j] + (bias ? (double)F(c, 2)[j] : 0);
        }
    return NULL;
}
static moa_tensor *layer_bias(tcase *c) { return layer_case(c, 66, 6, true); }
static moa_tensor *layer_plain(tcase *c) { return layer_case(c, 3, 35, false); }

/* ---- rope ---- */
static moa_tensor *rope_case(tcase *c, int hd, int rot, moa_rope_pairs pairs, bool factors) {
    enum { N = 4, HEADS = 3 };
    if (c->phase == SETUP) {
        add_matrix(c, N, HEADS * hd), INTS(c, 0, 7, 1000, 131071);
        if (factors) {
            add_floats(c, 1, rot / 2, false);
            for (int i = 0; i < rot / 2; i++) ((float *)c->in[2].data)[i] = 1.0f + 0.5f * (float)i;
        }
    } else if (c->phase == CALL)
        return moa_rope(&c->x, &c->in[0], &c->in[1], hd, rot, 10000.0f, 0.5f, factors ? &c->in[2] : NULL, pairs);
    else
        for (int i = 0; i < N; i++)
            for (int h = 0; h < HEADS; h++) {
                const float *x = F(c, 0) + (i * HEADS + h) * hd;
                double *y = c->ref + (i * HEADS + h) * hd;
                for (int j = 0; j < hd; j++) y[j] = (double)x[j];
                for (int j = 0; j < rot / 2; j++) {
                    const int a = pairs == MOA_ROPE_NEOX ? j : 2 * j, b = pairs == MOA_ROPE_NEOX ? j + rot / 2 : 2 * j + 1;
                    const double t = I(c, 1)[i] * pow(10000.0, -2.0 * j / rot) * 0.5 / (factors ? (double)F(c, 2)[j] : 1);
                    y[a] = (double)x[a] * cos(t) - (double)x[b] * sin(t);
                    y[b] = (double)x[a] * sin(t) + (double)x[b] * cos(t);
                }
            }
    return NULL;
}
static moa_tensor *rope_norm(tcase *c) { return rope_case(c, 6, 6, MOA_ROPE_NORM, false); }
static moa_tensor *rope_neox(tcase *c) { return rope_case(c, 32, 32, MOA_ROPE_NEOX, true); }
static moa_tensor *rope_part(tcase *c) { return rope_case(c, 7, 4, MOA_ROPE_NEOX, false); }
static moa_tensor *rope_part_norm(tcase *c) { return rope_case(c, 7, 4, MOA_ROPE_NORM, true); }

static moa_tensor *rope_spec(tcase *c) {
    enum { N = 4, HEADS = 3, HD = 9, FIRST = 3, ROT = 4 };
    const moa_rope_spec spec = {.head_dim = HD, .first = FIRST, .n_rot = ROT, .base = 10000, .freq_scale = 1, .magnitude = 1.25f, .pairs = MOA_ROPE_NORM};
    if (c->phase == SETUP) {
        add_matrix(c, N, HEADS * HD), INTS(c, 0, 7, 1000, 131071);
        add_floats(c, 2, ROT / 2, false), INTS(c, 1, 0, 0, 1);
        for (int i = 0; i < ROT; i++) ((float *)c->in[2].data)[i] = 1.0f + 0.5f * (float)i;
    } else if (c->phase == CALL) return moa_rope_as(&c->x, &c->in[0], &c->in[1], &spec, &c->in[2], &c->in[3]);
    else
        for (int i = 0; i < N * HEADS; i++)
            for (int j = 0; j < HD; j++) {
                const float *x = F(c, 0) + i * HD;
                const int even = FIRST + (j - FIRST) / 2 * 2, odd = (j - FIRST) % 2;
                const int list = I(c, 3)[i / HEADS], pair = (even - FIRST) / 2;
                const double factor = j < FIRST || j >= FIRST + ROT ? 1 : (double)F(c, 2)[list * (ROT / 2) + pair];
                const double a = (double)I(c, 1)[i / HEADS] * pow(10000, -2.0 * pair / ROT) / factor;
                const double turned = 1.25 * (odd ? (double)x[even] * sin(a) + (double)x[even + 1] * cos(a) : (double)x[even] * cos(a) - (double)x[even + 1] * sin(a));
                c->ref[i * HD + j] = j < FIRST || j >= FIRST + ROT ? (double)x[j] : turned;
            }
    return NULL;
}

/* ---- softmax ---- */
static moa_tensor *softmax(tcase *c) {
    if (c->phase == SETUP) add_matrix(c, 5, 21);
    else if (c->phase == CALL) return moa_softmax(&c->x, &c->in[0]);
    else
        for (int i = 0; i < 5; i++) {
            double s = 0;
            for (int j = 0; j < 21; j++) s += exp((double)F(c, 0)[i * 21 + j]);
            for (int j = 0; j < 21; j++) c->ref[i * 21 + j] = exp((double)F(c, 0)[i * 21 + j]) / s;
        }
    return NULL;
}

/* ---- attention: packed documents of the given lengths ---- */
static moa_tensor *attention_case(tcase *c, int n_head, int n_kv, int hd, const int *len, int n_doc, bool same) {
    int n = 0, start[512];
    for (int d = 0; d < n_doc; d++)
        for (int i = 0, s = n; i < len[d]; i++) start[n++] = s;
    const int k = same ? 0 : 1, v = same ? 0 : 2, doc = same ? 1 : 3;
    if (c->phase == SETUP) {
        add_matrix(c, n, n_head * hd);
        if (!same) add_matrix(c, n, n_kv * hd), add_matrix(c, n, n_kv * hd);
        add_ints(c, n, start);
    } else if (c->phase == CALL) return moa_attention(&c->x, &c->in[0], &c->in[k], &c->in[v], &c->in[doc], n_head, n_kv, 0.4f);
    else
        for (int i = 0; i < n; i++)
            for (int h = 0; h < n_head; h++) {
                const int g = h / (n_head / n_kv);
                double sum = 0, *y = c->ref + (i * n_head + h) * hd;
                memset(y, 0, sizeof *y * (size_t)hd);
                for (int j = start[i]; j <= i; j++) {
                    double s = 0;
                    for (int e = 0; e < hd; e++) s += (double)F(c, 0)[(i * n_head + h) * hd + e] * (double)F(c, k)[(j * n_kv + g) * hd + e];
                    s = exp((double)0.4f * s);
                    sum += s;
                    for (int e = 0; e < hd; e++) y[e] += s * (double)F(c, v)[(j * n_kv + g) * hd + e];
                }
                for (int e = 0; e < hd; e++) y[e] /= sum;
            }
    return NULL;
}
static moa_tensor *attention_gqa(tcase *c) { return attention_case(c, 6, 2, 5, (int[]){1, 9, 3}, 3, false); }
static moa_tensor *attention_mqa(tcase *c) { return attention_case(c, 3, 1, 16, (int[]){18}, 1, false); }
static moa_tensor *attention_mha(tcase *c) { return attention_case(c, 2, 2, 4, (int[]){2, 1, 1, 8}, 4, false); }
static moa_tensor *attention_self(tcase *c) { return attention_case(c, 2, 2, 3, (int[]){4, 3}, 2, true); }
static moa_tensor *attention_long(tcase *c) { return attention_case(c, 2, 1, 32, (int[]){37, 75}, 2, false); }

/* ---- activations ---- */
static double silu_of(double a) { return a / (1 + exp(-a)); }
static double gelu_of(double a) { return 0.5 * a * (1 + tanh(sqrt(2 / M_PI) * (a + 0.044715 * a * a * a))); }
static moa_tensor *act_case(tcase *c, moa_tensor *(*one)(moa_exec *, moa_tensor *), moa_tensor *(*two)(moa_exec *, moa_tensor *, moa_tensor *),
                            double (*f)(double), bool same) {
    const int b = same ? 0 : 1;
    if (c->phase == SETUP) {
        add_matrix(c, 5, 67);
        if (two && !same) add_matrix(c, 5, 67);
    } else if (c->phase == CALL) return two ? two(&c->x, &c->in[0], &c->in[b]) : one(&c->x, &c->in[0]);
    else
        for (int i = 0; i < 5 * 67; i++) c->ref[i] = f((double)F(c, 0)[i]) * (two ? (double)F(c, b)[i] : 1);
    return NULL;
}
static moa_tensor *silu(tcase *c) { return act_case(c, moa_silu, NULL, silu_of, false); }
static moa_tensor *gelu(tcase *c) { return act_case(c, moa_gelu, NULL, gelu_of, false); }
static moa_tensor *silu_mul(tcase *c) { return act_case(c, NULL, moa_silu_mul, silu_of, false); }
static moa_tensor *silu_mul_same(tcase *c) { return act_case(c, NULL, moa_silu_mul, silu_of, true); }
static moa_tensor *gelu_mul(tcase *c) { return act_case(c, NULL, moa_gelu_mul, gelu_of, false); }
static double cut_at_7(double v) { return v > 7 ? 7 : v < -7 ? -7 : v; }
static moa_tensor *clamped_mul(tcase *c) {
    enum { N = 37 };
    if (c->phase == SETUP) {
        add_vector(c, N), add_vector(c, N);
        for (int i = 0; i < N; i += 5) ((float *)c->in[i % 2].data)[i] *= 20; /* some are cut */
    } else if (c->phase == CALL) return moa_clamped_mul(&c->x, &c->in[0], &c->in[1]);
    else
        for (int i = 0; i < N; i++) {
            const double g = (double)F(c, 0)[i] > 7 ? 7 : (double)F(c, 0)[i];
            c->ref[i] = g / (1 + exp(-(double)1.702f * g)) * (cut_at_7((double)F(c, 1)[i]) + 1);
        }
    return NULL;
}
static moa_tensor *softcap(tcase *c) {
    if (c->phase == SETUP) add_matrix(c, 5, 33);
    else if (c->phase == CALL) return moa_softcap(&c->x, &c->in[0], 1.5f);
    else
        for (int i = 0; i < 5 * 33; i++) c->ref[i] = 1.5 * tanh((double)F(c, 0)[i] / 1.5);
    return NULL;
}

/* ---- add, mul, scale ---- */
static moa_tensor *pair_case(tcase *c, bool mul, int rows_b, int cols_b, bool same) {
    enum { N = 66, D = 5 };
    const int b = same ? 0 : 1;
    if (c->phase == SETUP) {
        add_matrix(c, N, D);
        if (!same) add_matrix(c, rows_b, cols_b);
        if (!same && cols_b == 1) c->in[1] = moa_view2(MOA_F32, c->in[1].data, rows_b, 1), c->in[1].needs_grad = true;
    } else if (c->phase == CALL) return (mul ? moa_mul : moa_add)(&c->x, &c->in[0], &c->in[b]);
    else
        for (int i = 0; i < N; i++)
            for (int j = 0; j < D; j++) {
                const double p = (double)F(c, 0)[i * D + j], q = (double)F(c, b)[(rows_b == 1 ? 0 : i) * cols_b + (cols_b == 1 ? 0 : j)];
                c->ref[i * D + j] = mul ? p * q : p + q;
            }
    return NULL;
}
static moa_tensor *add(tcase *c) { return pair_case(c, false, 66, 5, false); }
static moa_tensor *add_row(tcase *c) { return pair_case(c, false, 1, 5, false); }
static moa_tensor *add_self(tcase *c) { return pair_case(c, false, 66, 5, true); }
static moa_tensor *mul(tcase *c) { return pair_case(c, true, 66, 5, false); }
static moa_tensor *mul_row(tcase *c) { return pair_case(c, true, 1, 5, false); }
static moa_tensor *mul_column(tcase *c) { return pair_case(c, true, 66, 1, false); }
static moa_tensor *mul_self(tcase *c) { return pair_case(c, true, 66, 5, true); }
static moa_tensor *scale(tcase *c) {
    if (c->phase == SETUP) add_matrix(c, 3, 11);
    else if (c->phase == CALL) return moa_scale(&c->x, &c->in[0], -1.5f);
    else
        for (int i = 0; i < 33; i++) c->ref[i] = -1.5 * (double)F(c, 0)[i];
    return NULL;
}

/* ---- cross entropy: rows without weight, given divisor ---- */
static moa_tensor *loss_case(tcase *c, int d, float norm) {
    if (c->phase == SETUP) {
        add_matrix(c, 6, d), INTS(c, 0, d - 1, 2, -1, 1, 2), add_floats(c, 1, 6, false);
        const float w[6] = {1, 0.5f, 2, 0, 1, 0.25f};
        memcpy(c->in[2].data, w, sizeof w);
    } else if (c->phase == CALL) return moa_cross_entropy(&c->x, &c->in[0], &c->in[1], &c->in[2], norm);
    else {
        double sum = 0, ws = 0;
        for (int i = 0; i < 6; i++) {
            if (!(F(c, 2)[i] > 0)) continue;
            double s = 0;
            for (int j = 0; j < d; j++) s += exp((double)F(c, 0)[i * d + j]);
            sum += (double)F(c, 2)[i] * (log(s) - (double)F(c, 0)[i * d + I(c, 1)[i]]);
            ws += (double)F(c, 2)[i];
        }
        c->ref[0] = sum / (norm > 0 ? (double)norm : ws);
    }
    return NULL;
}
static moa_tensor *loss_mean(tcase *c) { return loss_case(c, 35, 0); }
static moa_tensor *loss_norm(tcase *c) { return loss_case(c, 5, 10); }

/* ---- dpo: three pairs, one without chosen rows; rows that belong to none ---- */
static moa_tensor *dpo(tcase *c) {
    enum { ROWS = 8, D = 35, PAIRS = 3 };
    static const int pair[ROWS] = {1, 1, -1, 0, 2, -2, -2, -3};
    const float beta = 0.7f, norm = 4;
    if (c->phase == SETUP) {
        add_matrix(c, ROWS, D), INTS(c, 0, D - 1, 2, -1, 1, 2, 7, 3), add_ints(c, ROWS, pair), add_floats(c, PAIRS, 2, false);
    } else if (c->phase == CALL) return moa_dpo(&c->x, &c->in[0], &c->in[1], &c->in[2], &c->in[3], beta, norm);
    else {
        double z[PAIRS];
        for (int k = 0; k < PAIRS; k++) z[k] = (double)F(c, 3)[2 * k + 1] - (double)F(c, 3)[2 * k];
        for (int i = 0; i < ROWS; i++) {
            double s = 0;
            if (!pair[i]) continue;
            for (int j = 0; j < D; j++) s += exp((double)F(c, 0)[i * D + j]);
            z[abs(pair[i]) - 1] += (pair[i] > 0 ? 1 : -1) * ((double)F(c, 0)[i * D + I(c, 1)[i]] - log(s));
        }
        for (int k = 0; k < PAIRS; k++) c->ref[0] += log(1 + exp(-(double)beta * z[k])) / (double)norm;
    }
    return NULL;
}

/* ---- top-k: ties, NaN, k = n ---- */
static moa_tensor *topk_case(tcase *c, int k) {
    enum { D = 6 };
    static const float v[3][D] = {{1, 3, 2, 3, 0, 3}, {5, 5, 5, 5, 5, 5}, {-1, NAN, 4, -INFINITY, NAN, 4}};
    if (c->phase == SETUP) add_floats(c, 3, D, false), memcpy(c->in[0].data, v, sizeof v);
    else if (c->phase == CALL) return moa_topk(&c->x, &c->in[0], k);
    else
        for (int i = 0; i < 3; i++) { /* rank of j: how many are better, or as good with a lower id */
            for (int j = 0; j < D; j++) {
                int rank = 0;
                for (int l = 0; l < D; l++) {
                    const bool nan_j = isnan(v[i][j]), nan_l = isnan(v[i][l]);
                    const bool better = nan_l != nan_j ? nan_j : v[i][l] > v[i][j];
                    const bool equal = nan_l && nan_j ? true : v[i][l] == v[i][j];
                    rank += better || (equal && l < j);
                }
                if (rank < k) c->ref[i * k + rank] = j;
            }
        }
    return NULL;
}
static moa_tensor *topk_ties(tcase *c) { return topk_case(c, 2); }
static moa_tensor *topk_all(tcase *c) { return topk_case(c, 6); }

/* ---- moving rows and columns ---- */
static moa_tensor *gather_cols(tcase *c) {
    if (c->phase == SETUP) add_matrix(c, 3, 5), add_ints2(c, 3, 4, (int[]){0, 4, 4, 2, 1, 1, 1, 1, 3, 2, 1, 0});
    else if (c->phase == CALL) return moa_gather_cols(&c->x, &c->in[0], &c->in[1]);
    else
        for (int i = 0; i < 12; i++) c->ref[i] = (double)F(c, 0)[i / 4 * 5 + I(c, 1)[i]];
    return NULL;
}
static moa_tensor *gather_rows(tcase *c) {
    if (c->phase == SETUP) add_matrix(c, 4, 19), INTS(c, 2, 2, 0, 3, 2);
    else if (c->phase == CALL) return moa_gather_rows(&c->x, &c->in[0], &c->in[1]);
    else
        for (int i = 0; i < 5 * 19; i++) c->ref[i] = (double)F(c, 0)[I(c, 1)[i / 19] * 19 + i % 19];
    return NULL;
}
static moa_tensor *scatter_rows(tcase *c) {
    if (c->phase == SETUP) add_matrix(c, 5, 19), INTS(c, 2, 2, 0, 3, 2);
    else if (c->phase == CALL) return moa_scatter_rows(&c->x, &c->in[0], &c->in[1], 6);
    else
        for (int i = 0; i < 5 * 19; i++) c->ref[I(c, 1)[i / 19] * 19 + i % 19] += (double)F(c, 0)[i];
    return NULL;
}
static moa_tensor *reshape(tcase *c) {
    if (c->phase == SETUP) add_matrix(c, 4, 6);
    else if (c->phase == CALL) return moa_reshape(&c->x, &c->in[0], 3, (const int64_t[]){2, 3, 4});
    else
        for (int i = 0; i < 24; i++) c->ref[i] = (double)F(c, 0)[i];
    return NULL;
}
static moa_tensor *concat_cols(tcase *c) {
    if (c->phase == SETUP) add_matrix(c, 4, 3), add_matrix(c, 4, 5);
    else if (c->phase == CALL) return moa_concat_cols(&c->x, &c->in[0], &c->in[1]);
    else
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 8; j++) c->ref[i * 8 + j] = (double)(j < 3 ? F(c, 0)[i * 3 + j] : F(c, 1)[i * 5 + j - 3]);
    return NULL;
}
static moa_tensor *slice_cols(tcase *c) {
    if (c->phase == SETUP) add_matrix(c, 4, 9);
    else if (c->phase == CALL) return moa_slice_cols(&c->x, &c->in[0], 2, 7);
    else
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 5; j++) c->ref[i * 5 + j] = (double)F(c, 0)[i * 9 + j + 2];
    return NULL;
}

static const struct op_case { const char *op, *label; moa_tensor *(*run)(tcase *); } op_cases[] = {
    {"linear", "odd sizes", linear_odd}, {"linear", "bias", linear_bias}, {"linear", "one row", linear_row},
    {"head_linear", "odd sizes", head_linear},
    {"embedding", "repeated ids", embedding},
    {"rms_norm", "weight", rms_weight}, {"rms_norm", "no weight", rms_plain},
    {"layer_norm", "bias", layer_bias}, {"layer_norm", "no bias", layer_plain},
    {"rope", "pairs side by side", rope_norm}, {"rope", "neox, factors", rope_neox}, {"rope", "part of the head", rope_part},
    {"rope", "part of the head, side by side", rope_part_norm},
    {"rope", "from the third on, longer, two lists of factors", rope_spec},
    {"softmax", "rows", softmax},
    {"attention", "grouped queries", attention_gqa}, {"attention", "one kv head", attention_mqa},
    {"attention", "one kv head each, documents of 1", attention_mha}, {"attention", "q is k is v", attention_self},
    {"attention", "longer than a block", attention_long},
    {"silu", "odd size", silu}, {"gelu", "odd size", gelu}, {"silu_mul", "odd size", silu_mul},
    {"silu_mul", "gate is up", silu_mul_same}, {"gelu_mul", "odd size", gelu_mul},
    {"clamped_mul", "some cut", clamped_mul}, {"softcap", "rows", softcap},
    {"add", "same shape", add}, {"add", "row", add_row}, {"add", "to itself", add_self},
    {"mul", "same shape", mul}, {"mul", "row", mul_row}, {"mul", "column", mul_column}, {"mul", "by itself", mul_self},
    {"scale", "negative", scale},
    {"cross_entropy", "mean", loss_mean}, {"cross_entropy", "given divisor", loss_norm}, {"dpo", "three pairs", dpo},
    {"topk", "ties and NaN", topk_ties}, {"topk", "k = n", topk_all},
    {"gather_cols", "repeated ids", gather_cols}, {"gather_rows", "repeated ids", gather_rows},
    {"scatter_rows", "repeated ids, empty rows", scatter_rows},
    {"reshape", "3 axes", reshape}, {"concat_cols", "3 + 5", concat_cols}, {"slice_cols", "middle", slice_cols},
};
enum { N_OP_CASES = sizeof op_cases / sizeof *op_cases };

static void case_open(tcase *c, int i, moa_isa isa, int n_threads) {
    moa_err err = {0};
    memset(c, 0, sizeof *c);
    moa_rng_seed(&c->rng, 17 + (uint64_t)i);
    c->x.arena = moa_arena_new(0, 0);
    c->x.n_threads = n_threads;
    c->x.compute = MOA_F32;
    c->x.exact = true;
    if (moa_kernels_get(&c->x.k, isa, &err) < 0) abort();
    c->phase = SETUP;
    op_cases[i].run(c);
}
static moa_tensor *case_call(tcase *c, int i) {
    c->phase = CALL;
    return op_cases[i].run(c);
}
static void case_close(tcase *c) {
    for (int i = 0; i < c->n_in; i++) free(c->in[i].data);
    moa_arena_free(c->x.arena);
}

#endif
