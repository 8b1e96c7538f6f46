/* test_free_agent.c - a roster: who answers, who is on notice when, who takes a place, and what is told of it. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int bad_from[KIT_MAX]; /* a player's replies are wrong from that call on */
static const char *plays(player *p, int i, const moa_call *c) { (void)c; return i >= bad_from[p->base.id[0] - 'a'] ? "Answer: wrong" : "Answer: right"; }
static double right(void *ctx, const char *s, size_t n) { (void)ctx, (void)n; return strstr(s, "right") != NULL; }

static void say_bad(int a, int b, int c) { bad_from[0] = a, bad_from[1] = b, bad_from[2] = c; }

/* Questions from..to; how many were answered rightly. */
static int questions(kit *k, int from, int to) {
    int ok = 0;
    for (int i = from; i < to; i++) {
        moa_err err = {0};
        moa_run *r = kit_run(k, "Which?", (uint64_t)i);
        assert_int_equal(r->rc, 0);
        ok += right(NULL, moa_run_answer(r), 0) > 0;
        if (moa_run_learn(r, right, NULL, &err) < 0) fail_msg("%s", err.text);
        moa_run_free(r);
    }
    return ok;
}

static void expect(kit *k, const char *kind, const char *key, const char *value) {
    char *v;
    assert_int_equal(moa_store_get(&v, k->cfg.store, kind, key, NULL), 0);
    if (value ? !v || strcmp(v, value) != 0 : v != NULL) fail_msg("%s %s: %s", kind, key, v ? v : "(none)");
    free(v);
}

#define NUMBERS "window=5,service=10,probation=4"

static void test_swap(void **state) {
    (void)state;
    kit k;
    say_bad(20, 0, 1000); /* a goes bad at the 20th question, b always was, c is good */
    kit_init(&k, "free-agent", NUMBERS, 3, plays);
    assert_int_equal(questions(&k, 0, 20), 20);
    assert_int_equal(k.p[0].calls, 20);
    assert_int_equal(k.p[1].calls + k.p[2].calls, 0); /* nobody works in the shadow of a good one */
    questions(&k, 20, 23); /* 2 of the last 5 were right: on notice */
    expect(&k, "free-agent/change", "1", "on notice: a 0.400, b 0.000, over 5 questions");
    moa_run *r = kit_run(&k, "Which?", 1);
    assert_string_equal(r->node[0].note, "roster: a; a is on notice, b works in the shadow");
    assert_string_equal(kit_node(r, "shadow1")->role, "shadow");
    assert_string_equal(kit_node(r, "shadow1")->msg[0].content, "Which?");
    assert_string_equal(kit_node(r, "p1.1")->msg[0].content, "Which?");
    moa_run_free(r);
    questions(&k, 23, 27);
    expect(&k, "free-agent/change", "2", "kept: a 0.000, b 0.000, over 4 questions"); /* no better: it is not adopted */
    expect(&k, "free-agent/roster", "now", "active 0 99999999999999999999" "0000000 a\nbench 0 - c\nbench 0 - b\n");
    questions(&k, 27, 37); /* another term of service, then c is the candidate */
    assert_int_equal(k.p[2].calls, 0);
    questions(&k, 37, 41);
    expect(&k, "free-agent/change", "4", "replaced: a 0.000, c 1.000, over 4 questions");
    expect(&k, "free-agent/roster", "now", "active 0 9999 c\nbench 0 - b\nbench 0 - a\n");
    assert_int_equal(questions(&k, 41, 60), 19); /* recovered, and quiet */
    expect(&k, "free-agent/change", "5", NULL);
    kit_deinit(&k);
}

/* A candidate's replies are not used, however good, until it has the place. */
static void test_shadow_is_not_used(void **state) {
    (void)state;
    kit k;
    say_bad(0, 1000, 1000);
    kit_init(&k, "free-agent", NUMBERS, 2, plays);
    assert_int_equal(questions(&k, 0, 14), 0);
    assert_int_equal(k.p[1].calls, 4);
    assert_int_equal(questions(&k, 14, 20), 6);
    kit_deinit(&k);
}

/* A roster of two votes; one of them is replaced. */
static void test_roster_of_two(void **state) {
    (void)state;
    kit k;
    say_bad(1000, 0, 1000);
    kit_init(&k, "free-agent", NUMBERS ",roster=2", 3, plays);
    questions(&k, 0, 14);
    expect(&k, "free-agent/change", "2", "replaced: b 0.000, c 1.000, over 4 questions");
    expect(&k, "free-agent/roster", "now", "active 14 99999999999999 a\nactive 0 9999 c\nbench 0 - b\n");
    kit_deinit(&k);
}

/* Where the whole roster fails the shadow's reply is better than none. */
static const char *fails(player *p, int i, const moa_call *c) { (void)p, (void)i, (void)c; return NULL; }
static void test_failures(void **state) {
    (void)state;
    kit k;
    say_bad(1000, 1000, 1000);
    kit_init(&k, "free-agent", NUMBERS, 2, plays);
    assert_int_equal(moa_store_put(k.cfg.store, "free-agent/roster", "now", "watched 50 00000 a\nshadow 1 9 b\n", NULL), 0);
    k.p[0].say = fails;
    moa_run *r = kit_run(&k, "Which?", 1);
    assert_int_equal(r->rc, 0);
    assert_string_equal(moa_run_answer(r), "Answer: right");
    assert_int_equal(moa_run_learn(r, right, NULL, NULL), 0);
    moa_run_free(r);
    expect(&k, "free-agent/roster", "now", "watched 51 000000 a\nshadow 2 99 b\n"); /* not to be reached: 0 */
    k.p[1].say = fails;
    r = kit_run(&k, "Which?", 1);
    assert_int_equal(r->rc, MOA_EIO);
    moa_run_free(r);
    kit_deinit(&k);
}

/* What the store says is input: there is always a roster. */
static void test_bad_store(void **state) {
    (void)state;
    static const char *const bad[] = {"", "x", "active", "active 1", "active 1 9", "active 1 9 z\n", "active -5 9 a\n", "active 99999999999999 9 a", "bench 1 9 a\nbench 1 9 b\n", "shadow 1 9 a\nshadow 1 9 b\nshadow 1 9 c\n",
                                      "watched 1 9 a\nwatched 1 9 b\n", "active 1 x9y a\nactive 1 9 a\nactive 1 9 b\nactive 1 9 c\n", "watched 9 99999 a\n", "\n\n\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (int two = 0; two < 2; two++) {
            kit k;
            say_bad(0, 1000, 1000);
            kit_init(&k, "free-agent", two ? NUMBERS ",roster=2" : NUMBERS, 3, plays);
            assert_int_equal(moa_store_put(k.cfg.store, "free-agent/roster", "now", bad[i], NULL), 0);
            questions(&k, 0, 3);
            kit_deinit(&k);
        }
}

static void in_probation(kit *k) { assert_int_equal(moa_store_put(k->cfg.store, "free-agent/roster", "now", "watched 50 00000 a\nshadow 1 9 b\n", NULL), 0); }
static void test_torture(void **state) {
    (void)state;
    say_bad(1000, 1000, 1000);
    kit_torture("free-agent", NUMBERS, 2, plays, in_probation, "Which?");
    kit_torture("free-agent", NUMBERS ",roster=3", 3, plays, NULL, "Which?");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_swap), cmocka_unit_test(test_shadow_is_not_used), cmocka_unit_test(test_roster_of_two),
                                       cmocka_unit_test(test_failures), cmocka_unit_test(test_bad_store), cmocka_unit_test(test_torture)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
