/* test_evolve.c - fitness and similarity against plain definitions, searches that find and that repeat, rejection, islands, a bandit that finds out who is good;
 * models as mutators, whatever they say.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/scripted.h"

#include "agent/arms.h"
#include "agent/evolve.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static moa_example line[8], curve[8];
static void fill(void) {
    for (int i = 0; i < 8; i++) line[i] = (moa_example){i - 3, 2 * (i - 3) + 1}, curve[i] = (moa_example){i - 3, (long long)(i - 3) * (i - 3) - 2 * (i - 3) + 7};
}

static void test_fitness(void **state) {
    (void)state;
    fill();
    assert_true(moa_evolve_fitness("print(2 * x + 1)", line, 8) == 1);
    assert_true(fabs(moa_evolve_fitness("print(2 * x + 5)", line, 8) - 1.0 / 3) < 1e-12);
    static const char *const bad[] = {"", "print(", "while 1 > 0:\n    x = x + 1", "print(\"a\")", "print(x // 0)", "print(1, 2)", "y = 1", "print(x)\nprint(x)"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_true(moa_evolve_fitness(bad[i], line, 8) == 0);
    assert_true(moa_edit_similarity("kitten", "sitting") == 1 - 3.0 / 7);
    assert_true(moa_edit_similarity("", "") == 1 && moa_edit_similarity("abc", "") == 0 && moa_edit_similarity("abc", "abc") == 1);
}

static moa_evolve search(const moa_example *v, uint64_t seed) {
    int n;
    const moa_mutator *m = moa_mutators(&n);
    return (moa_evolve){.example = v, .n_example = 8, .mutator = m, .n_mutator = n, .evaluations = 3000, .archive = 30, .islands = 1, .migrate = 50, .novelty = 0.98, .explore = 0.3, .epsilon = 0.2, .seed = seed};
}

static void test_search(void **state) {
    (void)state;
    moa_err err = {0};
    fill();
    moa_evolve a = search(line, 3), b = search(line, 3), c = search(curve, 5);
    assert_int_equal(moa_evolve_run(&a, NULL, NULL, &err), 0);
    assert_int_equal(moa_evolve_run(&b, NULL, NULL, &err), 0);
    assert_true(a.found && a.fitness == 1 && moa_evolve_fitness(a.best, line, 8) == 1);
    assert_true(a.run == b.run && !strcmp(a.best, b.best) && a.rejected == b.rejected && a.calls[0] == b.calls[0]);
    c.islands = 3, c.evaluations = 12000;
    assert_int_equal(moa_evolve_run(&c, NULL, NULL, &err), 0);
    assert_true(c.found && moa_evolve_fitness(c.best, curve, 8) == 1);
    a.archive = 0;
    assert_int_equal(moa_evolve_run(&a, NULL, NULL, &err), MOA_EINVAL);
}

/* Eight seeds of the experiment in docs/agents/evolve.md. */
static void test_bandit(void **state) {
    (void)state;
    moa_err err = {0};
    int with = 0, without = 0, rejected = 0;
    double share = 0;
    fill();
    for (uint64_t i = 0; i < 8; i++) {
        moa_evolve e = search(curve, 300 + i), u = search(curve, 300 + i);
        u.uniform = true, u.novelty = 1, u.evaluations = e.evaluations = 1500;
        assert_int_equal(moa_evolve_run(&e, NULL, NULL, &err), 0);
        assert_int_equal(moa_evolve_run(&u, NULL, NULL, &err), 0);
        with += e.run, without += u.run, rejected += e.rejected;
        share += (double)e.calls[0] / (e.calls[0] + e.calls[1]) / 8;
    }
    assert_true(share >= 0.7);
    assert_true(with < without);
    assert_true(rejected > 0);
}

static void test_arms(void **state) {
    (void)state;
    moa_arm a[3] = {{.n = 10, .reward = 8, .cost = 10}, {.n = 10, .reward = 2, .cost = 1}, {.n = 0}};
    moa_arms_score(a, 3, 0, 0, true);
    assert_true(a[2].score > 1e300 && a[0].score == 1 && fabs(a[1].score - 0.25) < 1e-12);
    moa_arms_score(a, 2, 0, 1, true);
    assert_true(a[1].score > a[0].score); /* costs alone */
    moa_arms_score(a, 2, 1, 0, false);
    assert_true(fabs(a[0].score - (0.8 + sqrt(2 * log(20) / 10))) < 1e-12);
}

static const char *says;
static int model_says(scripted *s, int i, const moa_call *c, char *out, size_t n) {
    (void)s, (void)i;
    assert_non_null(strstr(c->msg[0].content, "print(x)"));
    assert_non_null(strstr(c->msg[0].content, "x = -3: -5"));
    return says ? snprintf(out, n, "%s", says), 0 : MOA_EIO;
}

static void test_models(void **state) {
    (void)state;
    static const struct { const char *says; bool found; } t[] = {{"Here:\n```python\nprint(2 * x + 1)\n```\nDone.", true}, {"print(2 * x + 1)", true}, {"```\nprint(0)\n```\nor\n```\nprint(x + x + 1)\n```", true},
        {"```", false}, {"``````", false}, {"", false}, {"no idea", false}, {NULL, false}};
    fill();
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        scripted s;
        moa_err err = {0};
        scripted_init(&s, "m", model_says);
        says = t[i].says;
        moa_model_mutator m = {.backend = &s.base, .example = line, .n_example = 8, .max_tokens = 64};
        const moa_mutator of = moa_mutator_model(&m);
        moa_evolve e = search(line, 1);
        e.mutator = &of, e.n_mutator = 1, e.evaluations = 1;
        assert_int_equal(moa_evolve_run(&e, NULL, NULL, &err), 0);
        if (e.found != t[i].found) fail_msg("'%s'", t[i].says ? t[i].says : "(fails)");
        scripted_deinit(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fitness), cmocka_unit_test(test_search), cmocka_unit_test(test_bandit), cmocka_unit_test(test_arms), cmocka_unit_test(test_models)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
