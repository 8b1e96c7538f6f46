/* test_moe_lm.c - experts by attribute, what the manager learns by question and by candidate, and what it picks. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KINDS "attributes=Be warm|Be brief"
static const char *writes(player *p, int i, const moa_call *c) {
    (void)p, (void)i;
    return strstr(c->msg[0].content, "warm") ? "Oh, how kind of you. Answer: warm" : "Fine. Answer: brief";
}
/* Who greets wants warmth, who asks wants brevity. */
static bool greets;
static double pleased(void *ctx, const char *s, size_t n) { (void)ctx, (void)n; return (strstr(s, "warm") != NULL) == greets; }
static const char *say(int i) {
    static char q[80];
    greets = i % 2;
    snprintf(q, sizeof q, greets ? "Hello my dear friend %d" : "When does train number %d leave?", i);
    return q;
}

static int pass(kit *k, const char *policy, int from, int n) {
    int ok = 0;
    assert_int_equal(moa_mix_set(&k->cfg, "policy", policy, NULL), 0);
    for (int i = from; i < from + n; i++) {
        moa_err err = {0};
        moa_run *r = kit_run(k, say(i), (uint64_t)i);
        assert_int_equal(r->rc, 0);
        ok += pleased(NULL, moa_run_answer(r), 0) > 0;
        if (moa_run_learn(r, pleased, NULL, &err) < 0) fail_msg("%s", err.text);
        moa_run_free(r);
    }
    return ok;
}

static void test_learns(void **state) {
    (void)state;
    kit k;
    kit_init(&k, "moe-lm", KINDS, 1, writes);
    assert_int_equal(pass(&k, "use", 0, 20), 10); /* it knows nothing: always the first */
    pass(&k, "learn", 0, 200);
    assert_int_equal(pass(&k, "use", 500, 20), 20);
    char *v;
    assert_int_equal(moa_store_get(&v, k.cfg.store, "moe-lm/policy", "rewards", NULL), 0);
    assert_int_equal(strtol(v, NULL, 10), 200); /* using it teaches nothing */
    free(v);
    moa_run *r = kit_run(&k, "Hello my friend", 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(r->node[i].n_msg, 2);
        assert_string_equal(r->node[i].msg[0].role, "system");
        assert_string_equal(r->node[i].msg[0].content, i ? "Be brief" : "Be warm");
        assert_string_equal(r->node[i].msg[1].content, "Hello my friend");
    }
    assert_string_equal(r->node[2].name, "manager");
    moa_run_free(r);
    kit_deinit(&k);
}

/* Two models that change places at random: only what they write tells which is good. */
static const char *either(player *p, int i, const moa_call *c) {
    (void)i;
    return (c->sampling.seed ^ (strstr(c->msg[0].content, "1") != NULL)) % 2 == (p->base.id[0] == 'a') ? "Answer: good" : "I do not know";
}
static double good(void *ctx, const char *s, size_t n) { (void)ctx, (void)n; return strstr(s, "good") != NULL; }
static void test_reads_candidates(void **state) {
    (void)state;
    kit k;
    int ok = 0, could = 0;
    kit_init(&k, "moe-lm", "policy=learn", 2, either);
    for (int i = 0; i < 400; i++) {
        if (i == 300) assert_int_equal(moa_mix_set(&k.cfg, "policy", "use", NULL), 0);
        moa_run *r = kit_run(&k, "Which one?", (uint64_t)i);
        if (i >= 300) ok += good(NULL, moa_run_answer(r), 0) > 0, could += strstr(r->node[0].text, "good") || strstr(r->node[1].text, "good");
        assert_int_equal(moa_run_learn(r, good, NULL, NULL), 0);
        moa_run_free(r);
    }
    assert_int_equal(ok, could);
    assert_in_range(could, 50, 100);
    kit_deinit(&k);
}

static void test_bad_store(void **state) {
    (void)state;
    static const char *const bad[] = {"", "x", "nan nan", "1e999 1", "1", "-1e300 5", "1 2 3 x 4"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kit k;
        kit_init(&k, "moe-lm", KINDS ",policy=learn", 1, writes);
        static const char *const key[] = {"expert/1", "expert/2", "reply", "rewards"};
        for (int j = 0; j < 4; j++) assert_int_equal(moa_store_put(k.cfg.store, "moe-lm/policy", key[j], bad[i], NULL), 0);
        pass(&k, "learn", 0, 3);
        kit_deinit(&k);
    }
}

static void test_torture(void **state) {
    (void)state;
    kit_torture("moe-lm", KINDS, 1, writes, NULL, "Hello");
    kit_torture("moe-lm", "policy=learn", 3, writes, NULL, "Hello");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_learns), cmocka_unit_test(test_reads_candidates), cmocka_unit_test(test_bad_store), cmocka_unit_test(test_torture)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
