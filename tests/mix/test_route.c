/* test_route.c - conformance of every router and combiner in the registries: shapes, determinism, independence of rows,
 * ties, gate values against their definition, gradients by finite differences.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "mix/gate.h"
#include "mix/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 9, E = 6, K = 3, D = 5 };

static moa_exec new_exec(bool tape) {
    moa_exec x = {.arena = moa_arena_new(0, 0), .tape = tape ? moa_tape_new() : NULL, .n_threads = 1, .compute = MOA_F32};
    assert_int_equal(moa_kernels_default(&x.k, NULL), 0);
    return x;
}

static void free_exec(moa_exec *x) {
    if (x->tape) moa_tape_reset(x->tape);
    moa_tape_free(x->tape);
    moa_arena_free(x->arena);
}

static void fill(float *v, int n, uint64_t seed) {
    moa_rng r;
    moa_rng_seed(&r, seed);
    for (int i = 0; i < n; i++) v[i] = (float)moa_rng_normal(&r) * 2;
}

static moa_router_cfg config(int norm) { return (moa_router_cfg){.n_expert = E, .top_k = K, .norm = (moa_gate_norm)norm, .scale = 1.5f}; }

static moa_route route(moa_exec *x, const moa_router *r, const moa_router_cfg *c, moa_tensor *logits) {
    moa_route out = {0};
    if (r->route(x, &out, c, logits) < 0) fail_msg("%s: %s", r->name, x->err.text);
    return out;
}

/* Gate values straight from the table in route.h, in double. */
static void define_gate(double *w, const float *l, const int32_t *id, int norm) {
    double all = 0, chosen = 0;
    const bool sig = norm == MOA_GATE_SIGMOID || norm == MOA_GATE_SIGMOID_RENORM;
    for (int e = 0; e < E; e++) all += exp((double)l[e]);
    for (int j = 0; j < K; j++) chosen += w[j] = sig ? 1 / (1 + exp(-(double)l[id[j]])) : exp((double)l[id[j]]) / all;
    for (int j = 0; j < K; j++) w[j] *= norm == MOA_GATE_SOFTMAX || norm == MOA_GATE_SIGMOID ? 1.5 : 1.5 / chosen;
}

static void test_routers(void **state) {
    (void)state;
    int n;
    const moa_router *const *all = moa_routers(&n);
    for (int i = 0; i < n; i++)
        for (int norm = 0; norm < MOA_GATE_COUNT; norm++) {
            float l[N * E];
            moa_exec x = new_exec(false);
            const moa_router_cfg c = config(norm);
            fill(l, N * E, 3);
            l[0] = l[1] = l[2] = l[3] = l[4] = l[5] = 0.25f; /* ties: 0, 1, 2 */
            moa_tensor t = moa_view2(MOA_F32, l, N, E);
            const moa_route r = route(&x, all[i], &c, &t), again = route(&x, all[i], &c, &t);
            assert_int_equal(r.ids->dtype, MOA_I32);
            assert_int_equal(moa_rows(r.ids), N);
            assert_int_equal(moa_cols(r.weight), K);
            assert_int_equal(moa_cols(r.score), E);
            const int32_t *id = r.ids->data;
            const float *w = r.weight->data;
            assert_memory_equal(id, again.ids->data, N * K * sizeof *id);
            assert_memory_equal(w, again.weight->data, N * K * sizeof *w);
            assert_memory_equal(id, ((const int32_t[]){0, 1, 2}), 3 * sizeof *id);
            for (int row = 0; row < N; row++) {
                double want[K];
                define_gate(want, l + row * E, id + row * K, norm);
                for (int j = 0; j < K; j++) assert_true(fabs(want[j] - (double)w[row * K + j]) < 1e-5);
                /* Alone, the row gives the same bits. */
                moa_tensor one = moa_view2(MOA_F32, l + row * E, 1, E);
                const moa_route alone = route(&x, all[i], &c, &one);
                assert_memory_equal(alone.ids->data, id + row * K, K * sizeof *id);
                assert_memory_equal(alone.weight->data, w + row * K, K * sizeof *w);
            }
            free_exec(&x);
        }
}

/* The bias decides who is chosen and is not in the gate values. */
static void test_select_bias(void **state) {
    (void)state;
    moa_exec x = new_exec(false);
    float l[E] = {3, 2, 1, 0, -1, -2}, b[E] = {0, 0, 0, 0, 0, 2};
    moa_tensor logits = moa_view2(MOA_F32, l, 1, E), bias = moa_view1(MOA_F32, b, E);
    moa_router_cfg c = config(MOA_GATE_SIGMOID);
    c.select_bias = &bias;
    c.scale = 1;
    const moa_route r = route(&x, &moa_router_topk, &c, &logits);
    assert_int_equal(((int32_t *)r.ids->data)[0], 5);
    assert_true(fabs((double)((float *)r.weight->data)[0] - 1 / (1 + exp(2))) < 1e-6);
    free_exec(&x);
}

/* Logits far out on either side must not give 0/0. */
static void test_extremes(void **state) {
    (void)state;
    for (int norm = 0; norm < MOA_GATE_COUNT; norm++)
        for (int side = -1; side <= 1; side += 2) {
            moa_exec x = new_exec(false);
            float l[E];
            for (int e = 0; e < E; e++) l[e] = (float)side * 3e4f + (float)e;
            moa_tensor t = moa_view2(MOA_F32, l, 1, E);
            const moa_router_cfg c = config(norm);
            const moa_route r = route(&x, &moa_router_topk, &c, &t);
            for (int j = 0; j < K; j++) assert_true(isfinite(((float *)r.weight->data)[j]));
            free_exec(&x);
        }
}

static void test_bad_config(void **state) {
    (void)state;
    float l[E] = {0};
    moa_tensor t = moa_view2(MOA_F32, l, 1, E);
    const struct { int n_expert, k, norm; const char *says; } bad[] = {{E + 1, 2, 0, "n_expert = 7"}, {E, 0, 0, "top_k = 0"}, {E, 7, 0, "top_k = 7"}, {E, 2, 9, "normalisation 9"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        moa_exec x = new_exec(false);
        moa_route r = {0};
        const moa_router_cfg c = {.n_expert = bad[i].n_expert, .top_k = bad[i].k, .norm = (moa_gate_norm)bad[i].norm, .scale = 1};
        assert_int_equal(moa_router_topk.route(&x, &r, &c, &t), MOA_EINVAL);
        assert_non_null(strstr(x.err.text, bad[i].says));
        free_exec(&x);
    }
}

/* An expert is a matrix of its own: y = x W_e^T. */
static moa_tensor *matrix_expert(moa_exec *x, void *ctx, int e, moa_tensor *rows) { return moa_linear(x, rows, &((moa_tensor *)ctx)[e], NULL); }

typedef struct problem { float l[N * E], in[N * D], w[E * D * D], c[N * D]; moa_tensor wt[E]; } problem;

static void make_problem(problem *p) {
    fill(p->l, N * E, 1);
    fill(p->in, N * D, 2);
    fill(p->w, E * D * D, 3);
    fill(p->c, N * D, 4);
    for (int e = 0; e < E; e++) p->wt[e] = moa_view2(MOA_F32, p->w + e * D * D, D, D);
}

static moa_tensor *mixture(moa_exec *x, problem *p, const moa_combiner *comb, int norm, moa_tensor *logits, moa_tensor *in) {
    const moa_router_cfg c = config(norm);
    const moa_route r = route(x, &moa_router_topk, &c, logits);
    return comb->combine(x, &r, in, matrix_expert, p->wt, E);
}

/* Every combiner on one problem, without a tape and with one. */
static void for_combiners(void (*check)(const moa_combiner *comb, problem *p, moa_exec *x)) {
    int n;
    const moa_combiner *const *all = moa_combiners(&n);
    static problem p;
    make_problem(&p);
    for (int i = 0; i < n; i++)
        for (int tape = 0; tape < 2; tape++) {
            moa_exec x = new_exec(tape);
            check(all[i], &p, &x);
            free_exec(&x);
        }
}

static void check_sum(const moa_combiner *comb, problem *p, moa_exec *x) {
    moa_tensor l = moa_view2(MOA_F32, p->l, N, E), in = moa_view2(MOA_F32, p->in, N, D);
    const moa_tensor *y = mixture(x, p, comb, 1, &l, &in);
    assert_non_null(y);
    const moa_router_cfg c = config(1);
    const moa_route r = route(x, &moa_router_topk, &c, &l);
    for (int row = 0; row < N; row++) {
        moa_tensor l1 = moa_view2(MOA_F32, p->l + row * E, 1, E), in1 = moa_view2(MOA_F32, p->in + row * D, 1, D);
        const float *alone = mixture(x, p, comb, 1, &l1, &in1)->data, *got = (const float *)y->data + row * D;
        if (!x->tape) assert_memory_equal(alone, got, D * sizeof *got); /* whatever the other rows are */
        for (int d = 0; d < D; d++) {
            double want = 0;
            for (int j = 0; j < K; j++)
                for (int k = 0; k < D; k++)
                    want += (double)((float *)r.weight->data)[row * K + j] * (double)p->in[row * D + k] *
                            (double)p->w[((int32_t *)r.ids->data)[row * K + j] * D * D + d * D + k];
            assert_true(fabs(want - (double)got[d]) < 1e-4 * (1 + fabs(want)));
        }
    }
}

static void test_combiners(void **state) {
    (void)state;
    for_combiners(check_sum);
}

/* loss = sum of c * y, through mul and two products with ones, in double outside. */
static double loss_of(problem *p, const moa_combiner *comb, int norm) {
    moa_exec x = new_exec(false);
    moa_tensor l = moa_view2(MOA_F32, p->l, N, E), in = moa_view2(MOA_F32, p->in, N, D);
    const float *y = mixture(&x, p, comb, norm, &l, &in)->data;
    double sum = 0;
    for (int i = 0; i < N * D; i++) sum += (double)y[i] * (double)p->c[i];
    free_exec(&x);
    return sum;
}

static void check_gradient(problem *p, const moa_combiner *comb, int norm, float *v, const float *grad, int n, const char *what) {
    for (int i = 0; i < n; i++) {
        const float keep = v[i], h = 2e-3f;
        v[i] = keep + h;
        const double up = loss_of(p, comb, norm);
        v[i] = keep - h;
        const double slope = (up - loss_of(p, comb, norm)) / (2.0 * (double)h);
        v[i] = keep;
        if (fabs(slope - (double)grad[i]) > 2e-2 * (1 + fabs(slope)))
            fail_msg("%s, gate %s, d %s[%d]: %g, by differences %g", comb->name, moa_gate_name((moa_gate_norm)norm), what, i, (double)grad[i], slope);
    }
}

/* Groups of 3 of 12 experts, of which 2 are taken; the definition by sorting everything. */
static void define_groups(int32_t *id, const float *score, const float *bias, int k) {
    enum { ALL = 12, EACH = 3, GROUPS = 4 };
    double s[ALL], group[GROUPS];
    bool open[GROUPS] = {false};
    for (int e = 0; e < ALL; e++) s[e] = (double)score[e] + (bias ? (double)bias[e] : 0);
    for (int g = 0; g < GROUPS; g++) {
        double best = -1e30, next = -1e30;
        for (int e = g * EACH; e < (g + 1) * EACH; e++) {
            if (s[e] > best) next = best, best = s[e];
            else if (s[e] > next) next = s[e];
        }
        group[g] = bias ? best + next : best;
    }
    for (int n = 0; n < 2; n++) {
        int top = -1;
        for (int g = 0; g < GROUPS; g++)
            if (!open[g] && (top < 0 || group[g] > group[top])) top = g;
        open[top] = true;
    }
    for (int j = 0; j < k; j++) {
        int top = -1;
        for (int e = 0; e < ALL; e++) {
            bool taken = !open[e / EACH];
            for (int i = 0; i < j; i++) taken |= id[i] == e;
            if (!taken && (top < 0 || s[e] > s[top])) top = e;
        }
        id[j] = top;
    }
}

static void test_groups(void **state) {
    (void)state;
    for (int biased = 0; biased < 2; biased++)
        for (int norm = 0; norm < MOA_GATE_COUNT; norm++) {
            float l[N * 12], bias[12];
            moa_exec x = new_exec(false);
            fill(l, N * 12, 50 + (uint64_t)norm);
            fill(bias, 12, 51);
            for (int e = 0; e < 12; e++) bias[e] *= 0.05f; /* moves choices, but does not make them */
            moa_tensor t = moa_view2(MOA_F32, l, N, 12), b = moa_view1(MOA_F32, bias, 12);
            moa_router_cfg c = {.n_expert = 12, .top_k = 4, .norm = (moa_gate_norm)norm, .scale = 1, .n_group = 4, .n_group_used = 2,
                                .select_bias = biased ? &b : NULL};
            const moa_route r = route(&x, &moa_router_grouped, &c, &t);
            int elsewhere = 0;
            for (int i = 0; i < N; i++) {
                int32_t want[4];
                define_groups(want, (const float *)r.score->data + i * 12, c.select_bias ? bias : NULL, 4);
                assert_memory_equal((const int32_t *)r.ids->data + i * 4, want, sizeof want);
            }
            /* The limit is felt: without it some rows choose others. */
            const moa_route all = route(&x, &moa_router_topk, &c, &t);
            for (int i = 0; i < N * 4; i++) elsewhere += ((const int32_t *)all.ids->data)[i] != ((const int32_t *)r.ids->data)[i];
            assert_true(elsewhere > 0);
            free_exec(&x);
        }
    const struct { int n_group, used, k; const char *says; } bad[] = {{5, 2, 4, "5 groups of 12"}, {4, 0, 4, "0 of 4 groups"}, {4, 5, 4, "5 of 4 groups"}, {4, 1, 4, "at most the 3 experts"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        float l[N * 12] = {0};
        moa_exec x = new_exec(false);
        moa_tensor t = moa_view2(MOA_F32, l, N, 12);
        const moa_router_cfg c = {.n_expert = 12, .top_k = bad[i].k, .scale = 1, .n_group = bad[i].n_group, .n_group_used = bad[i].used};
        moa_route r = {0};
        assert_int_equal(moa_router_grouped.route(&x, &r, &c, &t), MOA_EINVAL);
        if (!strstr(x.err.text, bad[i].says)) fail_msg("'%s' does not say '%s'", x.err.text, bad[i].says);
        free_exec(&x);
    }
}

static void test_gradients(void **state) {
    (void)state;
    int n;
    const moa_combiner *const *all = moa_combiners(&n);
    static problem p;
    make_problem(&p);
    for (int i = 0; i < n; i++)
        for (int norm = 0; norm < MOA_GATE_COUNT; norm++) {
            moa_exec x = new_exec(true);
            float gl[N * E] = {0}, gin[N * D] = {0}, ones[N] = {0};
            moa_tensor l = moa_view2(MOA_F32, p.l, N, E), in = moa_view2(MOA_F32, p.in, N, D), c = moa_view2(MOA_F32, p.c, N, D);
            moa_tensor dl = moa_view2(MOA_F32, gl, N, E), din = moa_view2(MOA_F32, gin, N, D);
            for (int k = 0; k < N; k++) ones[k] = 1;
            l.needs_grad = in.needs_grad = true;
            l.grad = &dl;
            in.grad = &din;
            moa_tensor *y = moa_mul(&x, mixture(&x, &p, all[i], norm, &l, &in), &c);
            moa_tensor one = moa_view2(MOA_F32, ones, 1, D), onen = moa_view2(MOA_F32, ones, 1, N);
            moa_tensor *rows = moa_linear(&x, y, &one, NULL);                                   /* [N, 1] */
            moa_tensor *sum = moa_linear(&x, moa_reshape(&x, rows, 2, (int64_t[]){1, N}), &onen, NULL); /* [1, 1] */
            moa_err err = {0};
            if (!sum || moa_tape_backward(&x, moa_reshape(&x, sum, 1, (int64_t[]){1}), 1.0f, &err) < 0) fail_msg("%s %s", x.err.text, err.text);
            check_gradient(&p, all[i], norm, p.l, gl, N * E, "logits");
            check_gradient(&p, all[i], norm, p.in, gin, N * D, "input");
            free_exec(&x);
        }
}

/* A sum of no experts is zero, whatever the memory held before; without rows there is nothing, and that is no error. */
static void check_none(const moa_combiner *comb, problem *p, moa_exec *x) {
    memset(moa_arena_alloc(x->arena, 1 << 16), 0xff, 1 << 16); /* NaN */
    moa_arena_reset(x->arena);
    moa_tensor in = moa_view2(MOA_F32, p->in, N, D), none = moa_view2(MOA_F32, p->in, 0, D), l = moa_view2(MOA_F32, p->l, 0, E);
    moa_tensor id = moa_view2(MOA_I32, p->l, N, 0), w = moa_view2(MOA_F32, p->l, N, 0);
    in.needs_grad = none.needs_grad = true;
    const moa_route empty = {.ids = &id, .weight = &w};
    const moa_tensor *y = comb->combine(x, &empty, &in, matrix_expert, p->wt, E);
    if (!y) fail_msg("%s: %s", comb->name, x->err.text);
    assert_true(moa_rows(y) == N && moa_cols(y) == D);
    for (int k = 0; k < N * D; k++) assert_true(((float *)y->data)[k] == 0);
    y = mixture(x, p, comb, 1, &l, &none);
    if (!y) fail_msg("%s: %s", comb->name, x->err.text);
    assert_true(moa_tensor_count(y) == 0 && moa_cols(y) == D);
}

static void test_no_expert(void **state) {
    (void)state;
    for_combiners(check_none);
}

/* An expert that gives rows of another width would be added beyond the end. */
static moa_tensor *narrow_expert(moa_exec *x, void *ctx, int e, moa_tensor *rows) {
    (void)ctx;
    return e == E - 1 ? moa_slice_cols(x, rows, 0, D - 1) : rows;
}

static void check_narrow(const moa_combiner *comb, problem *p, moa_exec *x) {
    moa_tensor l = moa_view2(MOA_F32, p->l, N, E), in = moa_view2(MOA_F32, p->in, N, D);
    const moa_router_cfg c = config(1);
    const moa_route r = route(x, &moa_router_topk, &c, &l);
    in.needs_grad = true;
    assert_null(comb->combine(x, &r, &in, narrow_expert, NULL, E));
    assert_int_equal(x->err.code, MOA_EINVAL);
    assert_non_null(strstr(x->err.text, "expert 5 made ["));
}

static void test_wrong_expert(void **state) {
    (void)state;
    for_combiners(check_narrow);
}

static void test_names(void **state) {
    (void)state;
    int n;
    const moa_router *const *r = moa_routers(&n);
    for (int i = 0; i < n; i++) assert_ptr_equal(moa_router_find(r[i]->name), r[i]);
    const moa_combiner *const *c = moa_combiners(&n);
    for (int i = 0; i < n; i++) assert_ptr_equal(moa_combiner_find(c[i]->name), c[i]);
    assert_null(moa_router_find("no such"));
    assert_null(moa_combiner_find("no such"));
    assert_string_equal(moa_gate_name(MOA_GATE_SOFTMAX_RENORM), "softmax-renorm");
    assert_string_equal(moa_gate_name((moa_gate_norm)77), "unknown");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_routers),   cmocka_unit_test(test_select_bias), cmocka_unit_test(test_groups), cmocka_unit_test(test_extremes), cmocka_unit_test(test_bad_config),
        cmocka_unit_test(test_combiners), cmocka_unit_test(test_gradients),   cmocka_unit_test(test_names),
        cmocka_unit_test(test_no_expert), cmocka_unit_test(test_wrong_expert),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
