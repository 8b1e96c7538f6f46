/* test_experts.c - experts as grouped products against combiner "sum" over one expert after the other, as bits: types of weights,
 * also mixed within an expert and among experts, biases, gated units, one row to several blocks of rows, numbers of threads.
 * SPDX-License-Identifier: Apache-2.0 */
#include "mix/experts.h"

#include "base/guard.h"
#include "base/rng.h"
#include "mix/groups.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { E = 7, D = 288, F = 160 /* neither is whole tiles */ };

typedef struct layer {
    moa_tensor w[E][3], b[E][3]; /* gate, up, down */
    bool bias;
    moa_tensor *(*act)(moa_exec *x, moa_tensor *gate, moa_tensor *up);
} layer;

static void fill(float *v, int64_t n, float by, uint64_t seed) {
    moa_rng r;
    moa_rng_seed(&r, seed);
    for (int64_t i = 0; i < n; i++) v[i] = (float)moa_rng_normal(&r) * by;
}

static moa_tensor make_weight(moa_dtype type, int64_t rows, int64_t cols, uint64_t seed) {
    float *v = malloc((size_t)(rows * cols) * sizeof *v);
    void *p = malloc(moa_row_bytes(type, cols) * (size_t)rows);
    fill(v, rows * cols, 0.05f, seed);
    if (type == MOA_MXFP4) { /* moa only reads it: an exponent and 16 bytes of nibbles a block */
        moa_rng r;
        moa_rng_seed(&r, seed);
        for (int64_t i = 0; i < rows * cols / 32 * 17; i++) ((uint8_t *)p)[i] = (uint8_t)(i % 17 ? moa_rng_below(&r, 256) : 118 + moa_rng_below(&r, 5));
    } else {
        moa_type_get(type)->quantize(p, v, NULL, rows * cols);
    }
    free(v);
    return moa_view2(type, p, rows, cols);
}

/* type[(3 e + i) % n]: one after the other, so that gate and up differ where n does not divide. */
static void make_layer(layer *l, const moa_dtype *type, int n) {
    for (int e = 0; e < E; e++)
        for (int i = 0; i < 3; i++) {
            const int64_t rows = i == 2 ? D : F, cols = i == 2 ? F : D;
            l->w[e][i] = make_weight(type[(3 * e + i) % n], rows, cols, (uint64_t)(3 * e + i) + 1);
            l->b[e][i] = moa_view1(MOA_F32, malloc((size_t)rows * sizeof(float)), rows);
            fill(l->b[e][i].data, rows, 0.5f, 100 + (uint64_t)(3 * e + i));
        }
}

static void free_layer(layer *l) {
    for (int e = 0; e < E; e++)
        for (int i = 0; i < 3; i++) free(l->w[e][i].data), free(l->b[e][i].data);
}

static moa_tensor *one_expert(moa_exec *x, void *ctx, int e, moa_tensor *rows) {
    layer *l = ctx;
    moa_tensor *b = l->b[e];
    moa_tensor *g = moa_linear(x, rows, &l->w[e][0], l->bias ? &b[0] : NULL), *u = moa_linear(x, rows, &l->w[e][1], l->bias ? &b[1] : NULL);
    return moa_linear(x, l->act(x, g, u), &l->w[e][2], l->bias ? &b[2] : NULL);
}

static moa_expert_w weights(const void *ctx, int e) {
    const layer *l = ctx;
    const moa_tensor *b = l->b[e];
    return (moa_expert_w){&l->w[e][0], l->bias ? &b[0] : NULL, &l->w[e][1], l->bias ? &b[1] : NULL, &l->w[e][2], l->bias ? &b[2] : NULL};
}

static moa_exec new_exec(int threads, bool exact) {
    moa_exec x = {.arena = moa_arena_new(0, 0), .n_threads = threads, .compute = MOA_F32, .exact = exact};
    moa_err err = {0};
    if (moa_kernels_default(&x.k, &err) < 0 || moa_team_new(&x.team, threads, &err) < 0) fail_msg("%s", err.text);
    return x;
}

static void free_exec(moa_exec *x) {
    moa_team_free(x->team);
    moa_arena_free(x->arena);
}

/* Distinct experts of each row in any order, most rows on few of them. */
static moa_route random_route(int32_t *id, float *w, int64_t n, int k, uint64_t seed, moa_tensor t[2]) {
    moa_rng r;
    moa_rng_seed(&r, seed);
    for (int64_t i = 0; i < n; i++)
        for (int j = 0; j < k; j++) {
            bool again = true;
            while (again) {
                id[i * k + j] = (int32_t)(moa_rng_below(&r, 3) ? moa_rng_below(&r, 4) : moa_rng_below(&r, E));
                again = false;
                for (int q = 0; q < j; q++) again |= id[i * k + q] == id[i * k + j];
            }
            w[i * k + j] = moa_rng_f32(&r);
        }
    t[0] = moa_view2(MOA_I32, id, n, k), t[1] = moa_view2(MOA_F32, w, n, k);
    return (moa_route){.ids = &t[0], .weight = &t[1]};
}

static void compare(layer *l, moa_gated_fn act, int64_t n, int k, int threads, bool exact) {
    moa_exec x = new_exec(1, exact), y = new_exec(threads, exact);
    const int64_t rows = n ? n : 1;
    float *in = malloc((size_t)(rows * D) * sizeof *in), *w = malloc((size_t)(rows * k) * sizeof *w);
    int32_t *id = malloc((size_t)(rows * k) * sizeof *id);
    moa_tensor t[2], rt[2];
    t[0] = t[1] = moa_view2(MOA_F32, in, n, D);
    fill(in, rows * D, 1, 7 + (uint64_t)n);
    const moa_route r = random_route(id, w, n, k, 8 + (uint64_t)n, rt);
    moa_tensor *want = moa_combiner_sum.combine(&x, &r, &t[0], one_expert, l, E);
    moa_tensor *got = moa_experts_sum(&y, &r, &t[1], weights, l, E, act);
    if (!want || !got) fail_msg("%s %s", x.err.text, y.err.text);
    assert_int_equal(moa_rows(got), n);
    assert_memory_equal(want->data, got->data, (size_t)(n * D) * sizeof(float));
    if (n > 1) { /* a row alone: the same bits as in company */
        moa_tensor last = moa_view2(MOA_F32, in + (n - 1) * D, 1, D), one[2] = {moa_view2(MOA_I32, id + (n - 1) * k, 1, k), moa_view2(MOA_F32, w + (n - 1) * k, 1, k)};
        const moa_route alone = {.ids = &one[0], .weight = &one[1]};
        moa_tensor *single = moa_experts_sum(&y, &alone, &last, weights, l, E, act);
        assert_memory_equal(single->data, (const float *)want->data + (n - 1) * D, D * sizeof(float));
    }
    free(in), free(w), free(id);
    free_exec(&x), free_exec(&y);
}

static void test_bits(void **state) {
    (void)state;
    static const struct { moa_dtype type[3]; int n; } mixes[] = {
        {{MOA_F32}, 1}, {{MOA_Q8_0}, 1}, {{MOA_Q4_0}, 1}, {{MOA_MXFP4}, 1}, {{MOA_F16}, 1}, {{MOA_Q4_0, MOA_F32}, 2}, {{MOA_Q8_0, MOA_MXFP4, MOA_Q5_1}, 3}};
    static const struct { moa_tensor *(*op)(moa_exec *, moa_tensor *, moa_tensor *); moa_gated_fn row; } acts[] = {
        {moa_silu_mul, moa_silu_mul_row}, {moa_gelu_mul, moa_gelu_mul_row}, {moa_clamped_mul, moa_clamped_mul_row}};
    static const int64_t rows[] = {0, 1, 2, 31, 700};
    for (size_t i = 0; i < sizeof mixes / sizeof *mixes; i++) {
        layer l;
        make_layer(&l, mixes[i].type, mixes[i].n);
        for (size_t a = 0; a < 3; a++)
            for (size_t n = 0; n < sizeof rows / sizeof *rows; n++) {
                l.bias = (a + n) & 1, l.act = acts[a].op;
                if (rows[n] < 100 || a == 0) compare(&l, acts[a].row, rows[n], n & 1 ? 2 : 3, 1 + (int)(n + a) % 4, a == 1 && n < 3);
            }
        free_layer(&l);
    }
}

/* The sort: every slot once, its expert's, ascending; also in parts. */
static void test_groups(void **state) {
    (void)state;
    enum { N = 9000, K = 3 };
    static int32_t id[N * K];
    static float w[N * K];
    moa_tensor t[2];
    const moa_route r = random_route(id, w, N, K, 1, t);
    for (int threads = 1; threads <= 3; threads++) {
        moa_exec x = new_exec(threads, false);
        moa_groups g;
        assert_int_equal(moa_groups_make(&x, &g, &r, E), 0);
        assert_int_equal(g.first[0], 0);
        assert_int_equal(g.first[E], N * K);
        for (int e = 0; e < E; e++)
            for (int64_t i = g.first[e]; i < g.first[e + 1]; i++) {
                assert_int_equal(id[g.slot[i]], e);
                assert_true(i == g.first[e] || g.slot[i] > g.slot[i - 1]);
            }
        free_exec(&x);
    }
}

static void test_refusals(void **state) {
    (void)state;
    layer l;
    const moa_dtype type = MOA_F32;
    float in[2 * D] = {0}, w[4] = {1, 1, 1, 1};
    int32_t id[4] = {0, 1, E, 2};
    make_layer(&l, &type, 1);
    l.bias = false;
    moa_tensor t = moa_view2(MOA_F32, in, 2, D), ids = moa_view2(MOA_I32, id, 2, 2), wt = moa_view2(MOA_F32, w, 2, 2);
    const moa_route r = {.ids = &ids, .weight = &wt};
    moa_exec x = new_exec(2, false);
    assert_null(moa_experts_sum(&x, &r, &t, weights, &l, E, moa_silu_mul_row));
    assert_non_null(strstr(x.err.text, "expert 7 chosen"));
    free_exec(&x);
    x = new_exec(2, false);
    id[2] = 3;
    moa_tensor was = l.w[3][1];
    l.w[3][1] = moa_view2(MOA_F32, was.data, F - 32, D);
    assert_null(moa_experts_sum(&x, &r, &t, weights, &l, E, moa_silu_mul_row));
    assert_non_null(strstr(x.err.text, "up of expert 3"));
    l.w[3][1] = was;
    free_exec(&x);
    free_layer(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bits), cmocka_unit_test(test_groups), cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
