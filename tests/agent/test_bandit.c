/* test_bandit.c - which model is asked: unknown ones first, then the better one, cheaper ones where costs count; clusters; what is kept; the words
 * that questions are told apart by. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/kit.h"

#include "agent/skills.h"
#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* a is right about sums, b about letters. */
static const char *knows(player *p, int i, const moa_call *c) {
    (void)i;
    const bool sums = strstr(c->msg[c->n_msg - 1].content, "+") != NULL;
    return sums == (p->base.id[0] == 'a') ? "Answer: right" : "Answer: wrong";
}
static const char *fails(player *p, int i, const moa_call *c) { (void)p, (void)i, (void)c; return NULL; }
static double right(void *ctx, const char *s, size_t n) { (void)ctx, (void)n; return strstr(s, "right") != NULL; }

static bool once(kit *k, const char *question, uint64_t seed, bool learn) {
    moa_err err = {0};
    moa_run *r = kit_run(k, question, seed);
    assert_int_equal(r->rc, 0);
    const bool ok = right(NULL, moa_run_answer(r), 0) > 0;
    if (learn && moa_run_learn(r, right, NULL, &err) < 0) fail_msg("%s", err.text);
    moa_run_free(r);
    return ok;
}

static void question_of(char q[100], int i) {
    if (i % 2) snprintf(q, 100, "What is %d + %d?", 10 + 7 * i, 3 + i);
    else snprintf(q, 100, "Sort these letters: %c %c %c", 'a' + i % 26, 'c' + i % 20, 'b' + i % 22);
}

static void test_learns_by_cluster(void **state) {
    (void)state;
    kit k;
    char q[100], *center = NULL;
    kit_init(&k, "bandit", "", 2, knows);
    for (int i = 0; i < 60; i++) {
        question_of(q, i);
        once(&k, q, (uint64_t)i, true);
    }
    int ok = 0;
    for (int i = 100; i < 120; i++) {
        question_of(q, i);
        ok += once(&k, q, (uint64_t)i, false);
    }
    assert_int_equal(ok, 20);
    assert_int_equal(moa_store_get(&center, k.cfg.store, "bandit/center", "1", NULL), 0);
    assert_non_null(center); /* two kinds */
    free(center);
    assert_int_equal(moa_store_get(&center, k.cfg.store, "bandit/center", "2", NULL), 0);
    assert_null(center);
    assert_string_equal(k.p[0].log.len ? "user: " : "", "user: "); /* one call a question, of the question as it is */
    assert_int_equal(k.p[0].calls + k.p[1].calls, 80);
    kit_deinit(&k);
}

/* Nobody knows how good the replies are: nothing is learnt. */
static void test_without_score(void **state) {
    (void)state;
    kit k;
    char *v;
    kit_init(&k, "bandit", "", 2, knows);
    moa_run *r = kit_run(&k, "What is 1 + 1?", 1);
    assert_int_equal(moa_run_learn(r, NULL, NULL, NULL), 0);
    moa_run_free(r);
    assert_int_equal(moa_store_get(&v, k.cfg.store, "bandit/center", "0", NULL), 0);
    assert_null(v);
    kit_deinit(&k);
}

static void put(kit *k, const char *key, const char *value) { assert_int_equal(moa_store_put(k->cfg.store, "bandit/arm", key, value, NULL), 0); }
static void put_center(kit *k, const char *question) {
    char text[MOA_SKILL_TEXT];
    moa_skill s;
    moa_arena *a = moa_arena_new(0, 1 << 20);
    assert_int_equal(moa_skill_of(&s, a, question, NULL), 0);
    moa_skill_write(text, &s);
    assert_int_equal(moa_store_put(k->cfg.store, "bandit/center", "0", text, NULL), 0);
    moa_arena_free(a);
}

static bool put_all; /* b was right 90 times of 100 over all clusters, a 50 times */
/* The rule, worked by hand: arms "n reward cost" -> who is asked. */
static void expect(const char *settings, const char *a, const char *b, const char *who) {
    kit k;
    kit_init(&k, "bandit", settings, 2, knows);
    put_center(&k, "What is 1 + 1?");
    if (a) put(&k, "0/a", a);
    if (b) put(&k, "0/b", b);
    if (put_all) put(&k, "all/b", "100 90 100"), put(&k, "all/a", "100 50 100");
    moa_run *r = kit_run(&k, "What is 1 + 1?", 1);
    if (strcmp(r->node[0].text, who)) fail_msg("%s, %s with %s: %s (%s)", a, b, settings, r->node[0].text, r->node[0].note);
    moa_run_free(r);
    kit_deinit(&k);
}

static void test_rule(void **state) {
    (void)state;
    expect("", NULL, NULL, "a");
    expect("", "5 5 10", NULL, "b"); /* never asked goes first */
    expect("", "100 60 100", "100 70 100", "b");
    /* 0.75 + 0.3 sqrt(2 ln 104 / 100) = 0.841, 0.5 + 0.3 sqrt(2 ln 104 / 4) = 0.957 */
    expect("", "100 75 100", "4 2 4", "b");
    expect("explore=0", "100 75 100", "4 2 4", "a");
    /* mean cost 100 and 1, median 100: 0.5 0.9 + 0.5/2 = 0.7, 0.5 0.81 + 0.5/1.01 = 0.9 */
    expect("explore=0,cost=0.5", "100 90 10000", "100 81 100", "b");
    expect("explore=0,cost=0", "100 90 10000", "100 81 100", "a");
    /* A young cluster borrows: b has 91/102 elsewhere, which counts for 4 here: (2 + 3.57) / (4 + 4) = 0.70 against (1 + 2) / (2 + 4) = 0.5. */
    put_all = true;
    expect("explore=0", "2 1 2", "4 2 4", "b");
    expect("explore=0,prior=0", "2 1.2 2", "4 2 4", "a");
    expect("explore=0", NULL, NULL, "b"); /* asked elsewhere: known well enough */
    put_all = false;
    /* What is kept is input like any other: it may be anything. */
    static const char *const bad[] = {"", "x", "1 2 3", "-1 0 0", "nan 1 1", "inf 1 1", "5 1e308 1", "5 1 -1", "5 1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) expect("", "5 5 5", bad[i], "b"); /* as if never asked */
}

static void test_epsilon(void **state) {
    (void)state;
    kit k;
    kit_init(&k, "bandit", "epsilon=1", 2, knows);
    put_center(&k, "What is 1 + 1?");
    put(&k, "0/a", "1000 1000 1000");
    put(&k, "0/b", "1000 0 1000");
    int b = 0;
    for (uint64_t i = 0; i < 200; i++) {
        moa_run *r = kit_run(&k, "What is 1 + 1?", i);
        b += r->node[0].text[0] == 'b';
        moa_run_free(r);
    }
    assert_in_range(b, 70, 130); /* half of 200: 4 standard deviations are 28 */
    kit_deinit(&k);
}

/* Earlier replies fade, and what is under the baseline is nothing. */
static void test_decay_and_baseline(void **state) {
    (void)state;
    kit k;
    char *v;
    double n, reward, cost;
    kit_init(&k, "bandit", "decay=0.5,baseline=0.5,clusters=1", 1, knows);
    put_center(&k, "What is 1 + 1?");
    put(&k, "0/a", "8 4 80");
    assert_true(once(&k, "What is 1 + 1?", 1, true));
    assert_int_equal(moa_store_get(&v, k.cfg.store, "bandit/arm", "0/a", NULL), 0);
    assert_int_equal(sscanf(v, "%lf %lf %lf", &n, &reward, &cost), 3);
    assert_true(n == 5 && reward == 3 && cost == 45);
    free(v);
    kit_deinit(&k);
}

static void test_next_best(void **state) {
    (void)state;
    kit k;
    char *v;
    kit_init(&k, "bandit", "", 3, knows);
    k.p[0].say = fails, k.p[1].say = fails;
    moa_run *r = kit_run(&k, "Sort a b", 1);
    assert_int_equal(r->rc, 0);
    assert_string_equal(moa_run_answer(r), "Answer: right");
    assert_non_null(strstr(kit_node(r, "p1.1")->note, "b is asked in its place"));
    assert_int_equal(moa_run_learn(r, right, NULL, NULL), 0);
    moa_run_free(r);
    assert_int_equal(moa_store_get(&v, k.cfg.store, "bandit/arm", "0/a", NULL), 0);
    assert_string_equal(v, "1 0 0"); /* not to be reached is not right */
    free(v);
    k.p[2].say = fails;
    r = kit_run(&k, "Sort a b", 1);
    assert_int_equal(r->rc, MOA_EIO);
    moa_run_free(r);
    kit_deinit(&k);
}

static void test_torture(void **state) {
    (void)state;
    kit_torture("bandit", "", 1, knows, NULL, "What is 1 + 1?");
    kit_torture("bandit", "epsilon=0.5", 3, knows, NULL, "What is 1 + 1?");
}

/* ---- skills.c ---- */

static void test_words(void **state) {
    (void)state;
    static const char *const want[] = {"what", "is", "#", "+", "#", "?", ("stra\xc3\x9f" "e")};
    const char **w;
    moa_arena *a = moa_arena_new(0, 1 << 20);
    assert_int_equal(moa_skill_words(&w, a, "What is 12+345?\n\x01\x7f Stra\xc3\x9f" "e abcdefghijklmnopqrstuvwxyz", 100, NULL), 7);
    for (int i = 0; i < 7; i++) assert_string_equal(w[i], want[i]);
    assert_int_equal(moa_skill_words(&w, a, "a b c d", 2, NULL), 2);
    assert_int_equal(moa_skill_words(&w, a, "", 2, NULL), 0);
    moa_arena_free(a);
}

static void test_vectors(void **state) {
    (void)state;
    moa_arena *a = moa_arena_new(0, 1 << 20);
    moa_skill s, t, back;
    char text[MOA_SKILL_TEXT];
    assert_int_equal(moa_skill_of(&s, a, "What is 12 + 30?", NULL), 0);
    assert_int_equal(moa_skill_of(&t, a, "what is 977 + 4?", NULL), 0);
    assert_true(fabs(moa_skill_cosine(&s, &t) - 1) < 1e-6); /* numbers are alike */
    moa_skill_write(text, &s);
    assert_true(moa_skill_read(&back, text));
    assert_true(moa_skill_cosine(&s, &back) > 0.9999);
    assert_int_equal(moa_skill_of(&t, a, "Sort these letters: b a c", NULL), 0);
    assert_true(moa_skill_cosine(&s, &t) < 0.4);
    assert_int_equal(moa_skill_of(&t, a, "", NULL), 0);
    assert_true(moa_skill_cosine(&t, &t) == 0);
    text[7] = 'x';
    assert_false(moa_skill_read(&back, text));
    assert_false(moa_skill_read(&back, ""));
    assert_false(moa_skill_read(&back, NULL));
    moa_arena_free(a);
}

static void test_groups(void **state) {
    (void)state;
    enum { N = 90, K = 3 };
    static moa_skill s[N], center[K];
    int group[N];
    moa_rng g;
    moa_rng_seed(&g, 1);
    for (int i = 0; i < N; i++) { /* three directions and noise */
        for (int d = 0; d < MOA_SKILL_DIM; d++) s[i].v[d] = (float)(0.02 * moa_rng_normal(&g));
        s[i].v[i % K] += 1;
        moa_skill_unit(&s[i]);
    }
    for (uint64_t seed = 0; seed < 5; seed++) {
        assert_true(moa_skill_groups(center, group, s, N, K, seed, NULL) > 0.9);
        for (int i = 0; i < N; i++) assert_int_equal(group[i], group[i % K]);
        assert_true(group[0] != group[1] && group[1] != group[2] && group[0] != group[2]);
    }
    assert_true(moa_skill_groups(center, group, s, 0, K, 1, NULL) < 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_learns_by_cluster), cmocka_unit_test(test_without_score), cmocka_unit_test(test_rule), cmocka_unit_test(test_epsilon),
        cmocka_unit_test(test_decay_and_baseline), cmocka_unit_test(test_next_best), cmocka_unit_test(test_torture), cmocka_unit_test(test_words),
        cmocka_unit_test(test_vectors), cmocka_unit_test(test_groups)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
