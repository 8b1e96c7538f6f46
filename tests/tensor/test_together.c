/* test_together.c - products that are one region of work against the ops one by one, as bits: types of weights, also mixed, biases, rows,
 * widths that are no whole tiles, numbers of threads; what does not fit is refused with linear's words.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "tensor/exec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void fill(float *v, int64_t n, float by, uint64_t seed) {
    moa_rng r;
    moa_rng_seed(&r, seed);
    for (int64_t i = 0; i < n; i++) v[i] = (float)moa_rng_normal(&r) * by;
}

static moa_tensor make(moa_dtype type, int64_t rows, int64_t cols, uint64_t seed) {
    float *v = malloc((size_t)(rows * cols) * sizeof *v);
    void *p = malloc(moa_row_bytes(type, cols) * (size_t)rows);
    fill(v, rows * cols, 0.1f, seed);
    moa_type_get(type)->quantize(p, v, NULL, rows * cols);
    free(v);
    return moa_view2(type, p, rows, cols);
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

static void same(const moa_tensor *a, const moa_tensor *b) {
    assert_non_null(a), assert_non_null(b);
    assert_int_equal(moa_tensor_count(a), moa_tensor_count(b));
    assert_memory_equal(a->data, b->data, moa_tensor_bytes(a));
}

static void test_bits(void **state) {
    (void)state;
    enum { D = 256, MOST = 600 };
    static const moa_dtype types[][4] = {{MOA_F32, MOA_F32, MOA_F32, MOA_F32}, {MOA_Q8_0, MOA_Q8_0, MOA_Q8_0, MOA_Q8_0}, {MOA_Q4_K, MOA_Q4_K, MOA_Q6_K, MOA_Q4_0},
                                         {MOA_Q4_0, MOA_F16, MOA_Q8_0, MOA_F32}};
    static const int64_t outs[] = {100, 32, 257, 1}, rows[] = {1, 3, MOST};
    static float in[MOST * D], bias[300];
    fill(in, MOST * D, 1, 1), fill(bias, 300, 1, 2);
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (size_t r = 0; r < 3; r++)
            for (int threads = 1; threads <= 3; threads++) {
                moa_exec x = new_exec(threads, threads == 2), y = new_exec(1, threads == 2);
                moa_tensor a = moa_view2(MOA_F32, in, rows[r], D), w[4], b[4], *wp[4], *bp[4], *got[4];
                for (int i = 0; i < 4; i++) {
                    w[i] = make(types[t][i], outs[i], D, 10 + (uint64_t)i), b[i] = moa_view1(MOA_F32, bias, outs[i]);
                    wp[i] = &w[i], bp[i] = i & 1 ? &b[i] : NULL;
                }
                moa_linear_many(&x, got, &a, wp, bp, 4);
                for (int i = 0; i < 4; i++) same(moa_linear(&y, &a, wp[i], bp[i]), got[i]);
                moa_tensor gate = make(types[t][0], 200, D, 20), up = make(types[t][1], 200, D, 21), gb = moa_view1(MOA_F32, bias, 200);
                for (int u = MOA_GATED_SILU; u <= MOA_GATED_CLAMPED; u++) {
                    moa_tensor *g = moa_linear(&y, &a, &gate, &gb), *want = moa_gated_units[u].op(&y, g, moa_linear(&y, &a, &up, NULL));
                    same(want, moa_gated_linear(&x, &a, &gate, &gb, &up, NULL, &moa_gated_units[u]));
                }
                for (int i = 0; i < 4; i++) free(w[i].data);
                free(gate.data), free(up.data);
                free_exec(&x), free_exec(&y);
            }
}

static void test_refusals(void **state) {
    (void)state;
    float in[64] = {0}, w[64 * 3] = {0};
    moa_exec x = new_exec(2, false);
    moa_tensor a = moa_view2(MOA_F32, in, 2, 32), good = moa_view2(MOA_F32, w, 3, 32), bad = moa_view2(MOA_F32, w, 3, 64), *got[2];
    moa_linear_many(&x, got, &a, (moa_tensor *[]){&good, &bad}, (moa_tensor *[]){NULL, NULL}, 2);
    assert_null(got[1]);
    assert_non_null(strstr(x.err.text, "linear: input [2, 32] F32 and weight [3, 64] F32 do not fit"));
    moa_linear_many(&x, got, &a, (moa_tensor *[]){&good, &good}, (moa_tensor *[]){NULL, NULL}, 2); /* the error stays */
    assert_true(!got[0] && !got[1]);
    free_exec(&x);
    x = new_exec(2, false);
    moa_tensor shorter = moa_view2(MOA_F32, w, 2, 32);
    assert_null(moa_gated_linear(&x, &a, &good, NULL, &shorter, NULL, &moa_gated_units[0]));
    assert_int_equal(x.err.code, MOA_EINVAL);
    free_exec(&x);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bits), cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
