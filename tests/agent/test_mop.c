/* test_mop.c - regions made of what was right, the instruction that works in each, and what a question is asked with. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/kit.h"

#include "agent/skills.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDINGS "instructions=Spell it out|Count"
static bool sums(const char *q) { return strstr(q, "plus") != NULL; }
/* Is right when asked plainly; with an instruction only about what it is for. */
static const char *obeys(player *p, int i, const moa_call *c) {
    (void)p, (void)i;
    const char *system = strcmp(c->msg[0].role, "system") ? "" : c->msg[0].content;
    if (*system) return !strcmp(system, "Count") == sums(c->msg[c->n_msg - 1].content) ? "Answer: right" : "Answer: wrong";
    return c->n_msg > 1 ? "Answer: wrong" : "Answer: right"; /* demonstrations without an instruction lead it astray */
}
static double right(void *ctx, const char *s, size_t n) { (void)ctx, (void)n; return strstr(s, "right") != NULL; }

static void question_of(char q[100], int i) {
    if (i % 2) snprintf(q, 100, "What is %d plus %d?", i, i + 3);
    else snprintf(q, 100, "Sort the letters %c %c", 'a' + i % 26, 'a' + i / 2 % 26);
}

static void pass(kit *k, const char *mode, int n) {
    char q[100];
    assert_int_equal(moa_mix_set(&k->cfg, "mop", mode, NULL), 0);
    for (int i = 0; i < n; i++) {
        moa_err err = {0};
        question_of(q, i);
        moa_run *r = kit_run(k, q, (uint64_t)i);
        assert_int_equal(r->rc, 0);
        if (moa_run_learn(r, right, NULL, &err) < 0) fail_msg("%s", err.text);
        moa_run_free(r);
    }
}

static void test_regions(void **state) {
    (void)state;
    kit k;
    char *v, q[100];
    kit_init(&k, "mop", WORDINGS, 1, obeys);
    pass(&k, "demos", 50);
    assert_int_equal(k.p[0].calls, 50);
    assert_int_equal(moa_store_get(&v, k.cfg.store, "mop/demo", "count", NULL), 0);
    assert_string_equal(v, "50");
    free(v);
    assert_int_equal(moa_store_get(&v, k.cfg.store, "mop/region", "count", NULL), 0);
    assert_in_range(strtol(v, NULL, 10), 2, 10);
    free(v);
    k.p[0].calls = 0;
    pass(&k, "instructions", 20);
    assert_int_equal(k.p[0].calls, 60); /* none, and two */
    assert_int_equal(moa_mix_set(&k.cfg, "mop", "read", NULL), 0);
    for (int i = 61; i < 65; i++) {
        question_of(q, i);
        moa_run *r = kit_run(&k, q, 1);
        const moa_agent_node *n = &r->node[1];
        assert_int_equal(r->usage.calls, 1);
        assert_string_equal(moa_run_answer(r), "Answer: right");
        assert_int_equal(n->n_msg, 6); /* instruction, two demonstrations, the question */
        assert_string_equal(n->msg[0].content, i % 2 ? "Count" : "Spell it out");
        for (int d = 0; d < 2; d++) { /* of its kind */
            assert_string_equal(n->msg[1 + 2 * d].role, "user");
            assert_int_equal(sums(n->msg[1 + 2 * d].content), i % 2);
            assert_string_equal(n->msg[2 + 2 * d].role, "assistant");
            assert_string_equal(n->msg[2 + 2 * d].content, "Answer: right");
        }
        assert_string_equal(n->msg[5].content, q);
        moa_run_free(r);
    }
    kit_deinit(&k);
}

/* What a model writes: the first line of it, without what would end an instruction or a line of the store. */
static int written;
static const char *writes(player *p, int i, const moa_call *c) {
    static const char *const says[] = {"Count\nThat is what they were told.", " Spell\x01it|out ", "", "Count"};
    if (strstr(c->msg[c->n_msg - 1].content, "Write that instruction")) return says[written++ / 2 % 4];
    return obeys(p, i, c);
}

static void test_written(void **state) {
    (void)state;
    kit k;
    char *v, q[100];
    kit_init(&k, "mop", "", 1, writes);
    pass(&k, "demos", 50);
    written = k.p[0].calls = 0;
    pass(&k, "write", 20);
    assert_int_equal(written, 20); /* only two different ones are said: each region wants four, and goes on asking */
    assert_int_equal(k.p[0].calls, 40);
    assert_int_equal(moa_store_get(&v, k.cfg.store, "mop/region", "0/written/0", NULL), 0);
    assert_non_null(v);
    assert_true(!strcmp(v, "Count") || !strcmp(v, "Spell it out"));
    free(v);
    assert_int_equal(moa_store_get(&v, k.cfg.store, "mop/region", "0/written/2", NULL), 0);
    assert_string_equal(v, "");
    free(v);
    pass(&k, "instructions", 20);
    assert_int_equal(moa_mix_set(&k.cfg, "mop", "read", NULL), 0);
    for (int i = 61; i < 65; i++) {
        question_of(q, i);
        moa_run *r = kit_run(&k, q, 1);
        assert_string_equal(moa_run_answer(r), "Answer: right"); /* each region has found which of both is its own */
        moa_run_free(r);
    }
    /* What the writer is shown is of other regions, five replies at most. */
    assert_int_equal(moa_mix_set(&k.cfg, "mop", "write", NULL), 0);
    question_of(q, 63);
    moa_run *r = kit_run(&k, q, 7);
    const moa_agent_node *w = NULL;
    for (int i = 0; i < r->n_node; i++)
        if (!strcmp(r->node[i].role, "writer")) w = &r->node[i];
    assert_non_null(w);
    assert_int_equal(w->max_tokens, 50);
    assert_null(strstr(w->msg[0].content, " plus "));
    int shown = 0;
    for (const char *at = w->msg[0].content; (at = strstr(at, "\nReply: ")); at++) shown++;
    assert_int_equal(shown, 5);
    moa_run_free(r);
    kit_deinit(&k);
}

static const char *wrong(player *p, int i, const moa_call *c) { (void)p, (void)i, (void)c; return "Answer: wrong"; }
static void test_without_regions(void **state) {
    (void)state;
    kit k;
    char *v;
    kit_init(&k, "mop", WORDINGS, 1, wrong);
    moa_run *r = kit_run(&k, "Sort the letters b a", 1);
    assert_int_equal(r->node[1].n_msg, 1);
    assert_non_null(strstr(r->node[0].note, "no regions"));
    moa_run_free(r);
    pass(&k, "demos", 30); /* what is wrong is no demonstration */
    assert_int_equal(moa_store_get(&v, k.cfg.store, "mop/demo", "count", NULL), 0);
    assert_null(v);
    kit_deinit(&k);
}

static void fill(kit *k, const char *count, const char *demos) {
    char text[MOA_SKILL_TEXT];
    moa_skill s;
    moa_arena *a = moa_arena_new(0, 1 << 20);
    assert_int_equal(moa_skill_of(&s, a, "Sort the letters", NULL), 0);
    moa_skill_write(text, &s);
    moa_arena_free(a);
    assert_int_equal(moa_store_put(k->cfg.store, "mop/region", "count", count, NULL), 0);
    assert_int_equal(moa_store_put(k->cfg.store, "mop/region", "0/center", text, NULL), 0);
    assert_int_equal(moa_store_put(k->cfg.store, "mop/region", "0/demos", demos, NULL), 0);
    assert_int_equal(moa_store_put(k->cfg.store, "mop/region", "0/instruction/1", "9 1", NULL), 0);
}

/* The store is input like any other. */
static void test_bad_store(void **state) {
    (void)state;
    static const char *const count[] = {"1", "-1", "99999999", "x", ""}, *const demos[] = {"", "[", "[1,2]", "[[1,2]]", "[[\"q\"]]", "[[\"q\",\"a\"],7,[\"r\",\"b\"]]", "{}", "null"};
    for (size_t i = 0; i < sizeof count / sizeof *count; i++)
        for (size_t d = 0; d < sizeof demos / sizeof *demos; d++) {
            kit k;
            kit_init(&k, "mop", WORDINGS, 1, obeys);
            fill(&k, count[i], demos[d]);
            moa_run *r = kit_run(&k, "Sort the letters b a", 1);
            assert_int_equal(r->rc, 0);
            if (i == 0 && d == 5) assert_int_equal(r->node[1].n_msg, 6);
            moa_run_free(r);
            kit_deinit(&k);
        }
}

/* What is not used is said: an eighth instruction, demonstrations that the context does not hold. */
static void test_too_much(void **state) {
    (void)state;
    kit k;
    moa_run *r;
    moa_err err = {0};
    const moa_message q = {"user", "Sort the letters b a"};
    kit_init(&k, "mop", "instructions=a|b|c|d|e|f|g|h", 1, obeys);
    assert_int_equal(moa_run_new(&r, &k.cfg, &q, 1, 1, &err), MOA_EUSAGE);
    assert_non_null(strstr(err.text, "8 instructions"));
    assert_int_equal(moa_mix_set(&k.cfg, "instructions", "a|b|c|d|e|f|g", NULL), 0);
    fill(&k, "1", "[[\"q\",\"a\"],[\"r\",\"b\"]]");
    k.p[0].base.n_ctx = 1;
    r = kit_run(&k, q.content, 1);
    assert_int_equal(r->node[1].n_msg, 2); /* instruction, question */
    assert_non_null(strstr(r->node[1].note, "none of 2 demonstrations"));
    moa_run_free(r);
    kit_deinit(&k);
}

static void with_region(kit *k) { fill(k, "1", "[[\"q\",\"a\"]]"); }
static void test_torture(void **state) {
    (void)state;
    kit_torture("mop", WORDINGS, 1, obeys, with_region, "Sort the letters b a");
    kit_torture("mop", WORDINGS ",mop=instructions", 1, obeys, with_region, "Sort the letters b a");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_regions), cmocka_unit_test(test_without_regions), cmocka_unit_test(test_written), cmocka_unit_test(test_bad_store), cmocka_unit_test(test_too_much), cmocka_unit_test(test_torture)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
