/* test_stats.c - intervals that cover, fits that recover, and a whole evaluation on scripted replies.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/scripted.h"

#include "agent/eval.h"
#include "agent/stats.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void test_bootstrap(void **state) {
    (void)state;
    /* Of 200 experiments of 100 coin flips (p = 0.3), about 95 % of the intervals must hold 0.3: between 88 % and 99 %. */
    int hit = 0;
    double width = 0;
    moa_rng r;
    moa_rng_seed(&r, 1);
    for (int e = 0; e < 200; e++) {
        double x[100], ci[2];
        for (int i = 0; i < 100; i++) x[i] = moa_rng_f64(&r) < 0.3;
        moa_bootstrap_ci(ci, x, 100, (uint64_t)e);
        hit += ci[0] <= 0.3 && 0.3 <= ci[1];
        width += (ci[1] - ci[0]) / 200;
    }
    assert_in_range(hit, 176, 198);
    double normal = 2 * 1.96 * sqrt(0.3 * 0.7 / 100);
    assert_true(fabs(width - normal) < 0.1 * normal);
    double one[1] = {0.5}, ci[2], again[2], x[5] = {0, 1, 1, 0, 1};
    moa_bootstrap_ci(ci, one, 1, 1);
    assert_true(ci[0] == 0.5 && ci[1] == 0.5);
    moa_bootstrap_ci(ci, x, 5, 9);
    moa_bootstrap_ci(again, x, 5, 9);
    assert_true(ci[0] == again[0] && ci[1] == again[1]);
    double even[4] = {4, 1, 3, 2};
    assert_true(moa_median(even, 4) == 2.5);
}

static void test_fit(void **state) {
    (void)state;
    double q[8], d[8], t[8], a, b, c, r2;
    moa_rng r;
    moa_rng_seed(&r, 3);
    for (int i = 0; i < 8; i++) {
        q[i] = moa_rng_f64(&r), d[i] = moa_rng_f64(&r);
        t[i] = 2.5 * q[i] + 1.5 * d[i] - 0.25;
    }
    assert_true(moa_fit_plane(&a, &b, &c, &r2, q, d, t, 8));
    assert_true(fabs(a - 2.5) < 1e-9 && fabs(b - 1.5) < 1e-9 && fabs(c + 0.25) < 1e-9 && fabs(r2 - 1) < 1e-9);
    for (int i = 0; i < 8; i++) d[i] = 2 * q[i] + 1; /* on one line: nothing to tell apart */
    assert_false(moa_fit_plane(&a, &b, &c, &r2, q, d, t, 8));
    assert_false(moa_fit_plane(&a, &b, &c, &r2, q, d, t, 2));
}

/* Samples are right when their seed is odd; an aggregation is always right. */
static int half_right(scripted *s, int i, const moa_call *c, char *out, size_t n) {
    (void)s, (void)i;
    bool agg = c->sampling.temperature == 0;
    if (strstr(c->msg[0].content, "broken")) return MOA_EIO;
    snprintf(out, n, "Answer: %s", agg || c->sampling.seed % 2 ? "4" : "5");
    return 0;
}

typedef struct opener { scripted s; } opener;
static int open_it(void *ctx, moa_backend **out, const char *name, moa_err *err) {
    (void)name, (void)err;
    *out = &((opener *)ctx)->s.base;
    return 0;
}

static bool stop_after_first(void *ctx, const moa_eval *e, bool chunk_done) { (void)ctx, (void)e; return !chunk_done; }

static void test_eval(void **state) {
    (void)state;
    char path[] = "/tmp/moa-test-XXXXXX";
    FILE *f = fdopen(mkstemp(path), "w");
    for (int i = 0; i < 40; i++)
        fprintf(f, "{\"question\":\"%s What is 2 + 2? (%d)\",\"answer\":\"4\",\"family\":\"%s\"}\n", i == 7 ? "broken" : "", i, i % 2 ? "odd" : "even");
    fclose(f);
    opener o;
    scripted_init(&o.s, "m", half_right);
    moa_pool *pool;
    moa_mix_spec mix[3] = {0};
    moa_err err = {0};
    moa_taskset *tasks;
    assert_int_equal(moa_pool_new(&pool, NULL, open_it, &o, &err), 0);
    static const char *const names[3] = {"single", "self-moa:n=4", "vote:n=4"};
    for (int i = 0; i < 3; i++)
        if (moa_mix_spec_parse(&mix[i], names[i], &err) < 0 || moa_mix_spec_bind(&mix[i], pool, NULL, &err) < 0) fail_msg("%s", err.text);
    if (moa_taskset_open(&tasks, path, 1, 0, &err) < 0) fail_msg("%s", err.text);
    moa_eval e = {.tasks = tasks, .mix = mix, .n_mix = 3, .n_seed = 2, .seed = 1, .chunk = 8};
    if (moa_eval_run(&e, NULL, NULL, &err) < 0) fail_msg("%s", err.text);
    assert_int_equal(e.done, 40);
    double score[40];
    moa_eval_cell c;
    assert_int_equal(moa_eval_sum(&c, score, &e, 1, -1), 40);
    assert_int_equal(c.runs, 80);
    assert_int_equal(c.correct, 78); /* all but the broken item's two runs */
    assert_int_equal(c.failed, 2);
    assert_int_equal(e.first_error.code, MOA_EIO);
    assert_int_equal(c.calls, 78 * 5 + 2 * 4);
    assert_true(score[7] == 0 && score[8] == 1);
    assert_int_equal(moa_eval_sum(&c, score, &e, 0, 1), 20);
    assert_int_equal(moa_eval_sum(&c, NULL, &e, 0, -1), 40);
    assert_true(c.correct > 20 && c.correct < 60); /* a fair coin, 78 times */
    assert_int_equal(c.proposal_runs, 0);
    moa_eval_sum(&c, NULL, &e, 2, -1);
    assert_int_equal(c.proposal_runs, 78);
    /* Of pairs of fair coins half disagree; two answers at most among four. */
    assert_true(fabs(c.quality / 78 - 0.5) < 0.12);
    assert_true(fabs(c.disagreement / 78 - 0.5) < 0.12);
    assert_true(c.distinct / 78 <= 0.5 && c.distinct / 78 > 0.4);
    moa_eval_deinit(&e);
    moa_eval part = {.tasks = tasks, .mix = mix, .n_mix = 3, .seed = 1, .chunk = 8};
    assert_int_equal(moa_eval_run(&part, stop_after_first, NULL, &err), MOA_ECANCELED);
    assert_int_equal(part.done, 8);
    moa_eval_deinit(&part);
    for (int i = 0; i < 3; i++) moa_mix_spec_deinit(&mix[i]);
    moa_taskset_free(tasks);
    moa_pool_free(pool);
    scripted_deinit(&o.s);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bootstrap), cmocka_unit_test(test_fit), cmocka_unit_test(test_eval)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
