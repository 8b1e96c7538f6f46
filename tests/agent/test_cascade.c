/* test_cascade.c - cheap first: who is asked what, when the strong model is, and what happens where calls fail. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/kit.h"

#include <stdio.h>
#include <string.h>

static const char *agrees(player *p, int i, const moa_call *c) { (void)p, (void)i, (void)c; return "so.\nAnswer: 4"; }
static const char *differs(player *p, int i, const moa_call *c) {
    (void)c;
    snprintf(p->said, sizeof p->said, "so.\nAnswer: %d", i ? 5 : 4); /* 4 5 5 ... */
    return p->said;
}
static const char *is_strong(player *p, int i, const moa_call *c) { (void)p, (void)i, (void)c; return "I know.\nAnswer: 6"; }
static const char *fails(player *p, int i, const moa_call *c) { (void)p, (void)i, (void)c; return NULL; }
static const char *no_answer(player *p, int i, const moa_call *c) { (void)p, (void)i, (void)c; return "Well."; }

/* Cheap replies -> the answer, calls of both, and the gate's note. */
static void expect(const char *settings, player_fn cheap, player_fn strong, const char *answer, int n_cheap, int n_strong, const char *note) {
    kit k;
    kit_init(&k, "cascade", settings, 1, cheap);
    player *s = kit_aggregator(&k, "big", strong);
    moa_run *r = kit_run(&k, "What is 2 + 2?", 1);
    assert_int_equal(r->rc, 0);
    assert_string_equal(moa_run_answer(r), answer);
    assert_int_equal(k.p[0].calls, n_cheap);
    assert_int_equal(s->calls, n_strong);
    if (!strstr(kit_node(r, "gate")->note, note)) fail_msg("%s: not %s", kit_node(r, "gate")->note, note);
    for (int i = 0; i < n_cheap; i++) assert_true(r->node[i].sampling.temperature == 0.7f);
    if (n_strong) {
        assert_string_equal(moa_buf_str(&s->log), "user: What is 2 + 2?\n---\n"); /* it answers the question, and sees no sample */
        assert_true(kit_node(r, "strong")->sampling.temperature == 0);
    }
    moa_run_free(r);
    kit_deinit(&k);
}

static void test_gate(void **state) {
    (void)state;
    expect("", agrees, is_strong, "so.\nAnswer: 4", 3, 0, "3 of 3 answers agree; big is not asked");
    expect("", differs, is_strong, "I know.\nAnswer: 6", 3, 1, "2 of 3 answers agree; asks big");
    expect("agree=0.66", differs, is_strong, "so.\nAnswer: 5", 3, 0, "2 of 3 answers agree; big is not asked");
    expect("agree=0.67", differs, is_strong, "I know.\nAnswer: 6", 3, 1, "asks big");
    expect("agree=0,n=2", differs, is_strong, "so.\nAnswer: 4", 2, 0, "is not asked");
    expect("n=1", agrees, is_strong, "so.\nAnswer: 4", 1, 0, "is not asked");
}

static void test_failures(void **state) {
    (void)state;
    expect("", fails, is_strong, "I know.\nAnswer: 6", 3, 1, "asks big");
    expect("", differs, fails, "so.\nAnswer: 5", 3, 1, "asks big"); /* the vote stands in */
    expect("", differs, no_answer, "so.\nAnswer: 5", 3, 1, "asks big");
    kit k;
    kit_init(&k, "cascade", "", 1, fails);
    kit_aggregator(&k, "big", fails);
    moa_run *r = kit_run(&k, "?", 1);
    assert_int_equal(r->rc, MOA_EIO);
    moa_run_free(r);
    kit_deinit(&k);
}

/* A sample that fails is no sign of agreement. */
static const char *second_fails(player *p, int i, const moa_call *c) { return i == 1 ? NULL : agrees(p, i, c); }
static void test_lost_sample(void **state) {
    (void)state;
    expect("", second_fails, is_strong, "I know.\nAnswer: 6", 3, 1, "2 of 2 answers agree; asks big");
    expect("quorum=3", second_fails, is_strong, "I know.\nAnswer: 6", 3, 1, "asks big");
}

static void add_strong(kit *k) { kit_aggregator(k, "big", is_strong); }
static void test_torture(void **state) {
    (void)state;
    kit_torture("cascade", "", 2, differs, add_strong, "What is 2 + 2?");
    kit_torture("cascade", "n=2", 1, agrees, add_strong, "What is 2 + 2?");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gate), cmocka_unit_test(test_failures), cmocka_unit_test(test_lost_sample), cmocka_unit_test(test_torture)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
