/* test_strategy.c - what each strategy asks: message structure, windows, votes, references that do not fit.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/scripted.h"

#include "agent/strategy.h"
#include "task/task.h"

#include <stdlib.h>
#include <string.h>

static const moa_message talk[] = {
    {"system", "Be brief."}, {"user", "Hello"}, {"assistant", "Hi."}, {"user", "What is 2 + 2?"}};

static int numbered(scripted *s, int i, const moa_call *c, char *out, size_t n) {
    (void)s, (void)c;
    snprintf(out, n, "R%d.", i);
    return 0;
}

static moa_run *go(scripted *s, moa_mix_cfg *cfg, moa_backend **b) {
    moa_run *r;
    moa_err err = {0};
    *b = &s->base;
    cfg->proposer = b;
    cfg->n_proposer = 1;
    if (moa_run_new(&r, cfg, talk, 4, 1, &err) < 0 || moa_run_execute(r, NULL, NULL, &err) < 0) fail_msg("%s", err.text);
    return r;
}

/* What every aggregator call must be: history and question byte for byte first, then moa_aggregate_prompt's text. */
static void check_aggregate(const moa_agent_node *n, const char *const *ref, int n_ref) {
    moa_buf want;
    moa_buf_init(&want, 1 << 20);
    assert_true(moa_aggregate_prompt(&want, talk[3].content, ref, n_ref) >= 0);
    assert_int_equal(n->n_msg, 4);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(n->msg[i].role, talk[i].role);
        assert_string_equal(n->msg[i].content, talk[i].content);
    }
    assert_string_equal(n->msg[3].role, "user");
    assert_string_equal(n->msg[3].content, moa_buf_str(&want));
    assert_memory_equal(n->msg[3].content, talk[3].content, strlen(talk[3].content));
    moa_buf_deinit(&want);
}

static void check_plain(const moa_agent_node *n) {
    assert_int_equal(n->n_msg, 4);
    for (int i = 0; i < 4; i++) assert_string_equal(n->msg[i].content, talk[i].content);
}

static void test_self_moa(void **state) {
    (void)state;
    scripted s;
    scripted_init(&s, "m", numbered);
    moa_backend *b;
    moa_mix_cfg cfg = moa_mix_defaults("self-moa");
    moa_run *r = go(&s, &cfg, &b);
    assert_int_equal(r->n_node, 7);
    for (int i = 0; i < 6; i++) {
        check_plain(&r->node[i]);
        assert_string_equal(r->node[i].role, "proposer");
        assert_true(r->node[i].sampling.temperature == 0.7f);
    }
    static const char *const ref[] = {"R0.", "R1.", "R2.", "R3.", "R4.", "R5."};
    check_aggregate(&r->node[6], ref, 6);
    assert_true(r->node[6].sampling.temperature == 0);
    assert_string_equal(r->node[6].role, "aggregator");
    assert_null(r->node[6].note);
    moa_run_free(r);
    scripted_deinit(&s);
}

static void test_moa_layers(void **state) {
    (void)state;
    scripted s;
    scripted_init(&s, "m", numbered);
    moa_backend *b;
    moa_mix_cfg cfg = moa_mix_defaults("moa");
    assert_int_equal(moa_mix_set(&cfg, "layers", "1", NULL), 0);
    assert_int_equal(moa_mix_set(&cfg, "layers", "3", NULL), 0);
    cfg.n = 2;
    moa_run *r = go(&s, &cfg, &b);
    assert_int_equal(r->n_node, 7);
    assert_int_equal(s.batches, 4);
    check_plain(&r->node[0]);
    check_plain(&r->node[1]);
    static const char *const l1[] = {"R0.", "R1."}, *const l2[] = {"R2.", "R3."}, *const l3[] = {"R4.", "R5."};
    check_aggregate(&r->node[2], l1, 2);
    check_aggregate(&r->node[3], l1, 2);
    check_aggregate(&r->node[5], l2, 2);
    check_aggregate(&r->node[6], l3, 2);
    assert_string_equal(r->node[5].name, "p3.2");
    moa_run_free(r);
    scripted_deinit(&s);
}

/* 7 samples, window 4, the best twice: [0 1 2 3] [s s 4 5] [s s 6]. */
static void test_seq(void **state) {
    (void)state;
    scripted s;
    scripted_init(&s, "m", numbered);
    moa_backend *b;
    moa_mix_cfg cfg = moa_mix_defaults("self-moa-seq");
    cfg.n = 7;
    assert_int_equal(moa_mix_set(&cfg, "window", "4", NULL), 0);
    assert_int_equal(moa_mix_set(&cfg, "repeat", "2", NULL), 0);
    moa_run *r = go(&s, &cfg, &b);
    assert_int_equal(r->n_node, 10);
    static const char *const w1[] = {"R0.", "R1.", "R2.", "R3."}, *const w2[] = {"R7.", "R7.", "R4.", "R5."},
                      *const w3[] = {"R8.", "R8.", "R6."};
    check_aggregate(&r->node[7], w1, 4);
    check_aggregate(&r->node[8], w2, 4);
    check_aggregate(&r->node[9], w3, 3);
    assert_int_equal(r->answer, 9);
    assert_string_equal(moa_run_answer(r), "R9.");
    moa_run_free(r);
    scripted_deinit(&s);
}

/* A context that holds only two references makes the windows smaller, and the nodes say so. */
static void test_seq_bounded_by_context(void **state) {
    (void)state;
    scripted s;
    scripted_init(&s, "m", numbered);
    moa_backend *b;
    moa_mix_cfg cfg = moa_mix_defaults("self-moa-seq");
    cfg.n = 4;
    assert_int_equal(moa_mix_set(&cfg, "repeat", "1", NULL), 0);
    cfg.max_tokens = 1;
    static const char *const two[] = {"R0.", "R1."};
    moa_buf p;
    moa_buf_init(&p, 1 << 20);
    assert_true(moa_aggregate_prompt(&p, talk[3].content, two, 2) >= 0);
    moa_message m[4] = {talk[0], talk[1], talk[2], {"user", moa_buf_str(&p)}};
    s.base.n_ctx = (int)scripted_words(m, 4) + 1;
    moa_buf_deinit(&p);
    moa_run *r = go(&s, &cfg, &b);
    assert_int_equal(r->n_node, 7); /* 2, then one fresh a fold beside the best: 2 + 1 + 1 */
    check_aggregate(&r->node[4], two, 2);
    assert_non_null(strstr(r->node[4].note, "window could be 6"));
    static const char *const last[] = {"R5.", "R3."};
    check_aggregate(&r->node[6], last, 2);
    moa_run_free(r);
    scripted_deinit(&s);
}

static int long_reply(scripted *s, int i, const moa_call *c, char *out, size_t n) {
    (void)s, (void)c;
    size_t at = (size_t)snprintf(out, n, "begin%d ", i);
    for (int k = 0; k < (i == 1 ? 2 : 100); k++) at += (size_t)snprintf(out + at, n - at, "w\xC3\xA4 ");
    snprintf(out + at, n - at, "Answer: %d", i);
    return 0;
}

/* Too long for the context: evenly shortened with heads and tails kept, whole characters, short ones untouched, noted. */
static void test_shortened(void **state) {
    (void)state;
    scripted s;
    scripted_init(&s, "m", long_reply);
    moa_backend *b;
    moa_mix_cfg cfg = moa_mix_defaults("self-moa");
    cfg.n = 3;
    cfg.max_tokens = 10;
    s.base.n_ctx = 180;
    moa_run *r = go(&s, &cfg, &b);
    const moa_agent_node *a = &r->node[3];
    assert_true(scripted_words(a->msg, a->n_msg) <= 170);
    assert_true(scripted_words(a->msg, a->n_msg) >= 155); /* the room is used */
    for (int i = 0; i < 3; i++) {
        char head[32], tail[32];
        snprintf(head, sizeof head, "begin%d", i);
        snprintf(tail, sizeof tail, "Answer: %d", i);
        assert_non_null(strstr(a->msg[3].content, head));
        assert_non_null(strstr(a->msg[3].content, tail));
    }
    assert_non_null(strstr(a->msg[3].content, "begin1 w\xC3\xA4 w\xC3\xA4 Answer: 1"));
    assert_non_null(strstr(a->note, "shortened"));
    for (const char *p = a->msg[3].content; *p; p++)
        if ((unsigned char)*p == 0xC3) assert_int_equal((unsigned char)p[1], 0xA4);
        else if ((unsigned char)*p == 0xA4) assert_int_equal((unsigned char)p[-1], 0xC3);
    moa_run_free(r);
    scripted_deinit(&s);
}

static void test_roles(void **state) {
    (void)state;
    scripted s;
    scripted_init(&s, "m", numbered);
    moa_backend *b;
    moa_mix_cfg cfg = moa_mix_defaults("self-moa");
    cfg.n = 1;
    cfg.propose_system = "Be bold.";
    cfg.aggregate_text = "Choose well.";
    cfg.aggregate_max_tokens = 99;
    moa_run *r = go(&s, &cfg, &b);
    assert_int_equal(r->node[0].n_msg, 4);
    assert_string_equal(r->node[0].msg[0].content, "Be brief.\n\nBe bold.");
    assert_string_equal(r->node[1].msg[0].content, "Be brief.");
    assert_string_equal(r->node[1].msg[3].content, "What is 2 + 2?\n\n[1]\nR0.\n\nChoose well.");
    assert_int_equal(r->node[0].max_tokens, 256);
    assert_int_equal(r->node[1].max_tokens, 99);
    moa_run_free(r);
    scripted_deinit(&s);
}

static moa_vote vote_of(int *cluster, const char *const *text, const double *lp, int n) {
    moa_ballot b[16] = {0};
    for (int i = 0; i < n; i++)
        b[i] = (moa_ballot){text[i] ? text[i] : "", text[i] ? strlen(text[i]) : 0, lp ? lp[i] : 0, text[i] == NULL};
    moa_vote v;
    moa_err err = {0};
    if (moa_vote_count(&v, cluster, b, n, &err) < 0) fail_msg("%s", err.text);
    return v;
}

static void test_vote(void **state) {
    (void)state;
    int c[8];
    /* Largest cluster, canonical answers, its most probable member; replies without an answer abstain. */
    moa_vote v = vote_of(c, (const char *const[]){"Answer: 5", "so\nAnswer: 1,000", "no idea", "Answer:  1000 "}, (const double[]){-1, -9, 0, -3}, 4);
    assert_int_equal(v.winner, 3);
    assert_int_equal(v.size, 2);
    assert_int_equal(v.n_vote, 3);
    assert_int_equal(v.n_cluster, 2);
    assert_int_equal(c[1], c[3]);
    assert_int_equal(c[2], -1);
    assert_false(v.by_text);
    /* Ties go to the cluster that came first, however probable the other is. */
    v = vote_of(c, (const char *const[]){"Answer: 7", "Answer: 8", "Answer: 8", "Answer: 7"}, (const double[]){-9, -1, -1, -9}, 4);
    assert_int_equal(v.winner, 0);
    /* Equal probabilities inside a cluster: the earliest. */
    v = vote_of(c, (const char *const[]){"Answer: 3", "Answer: 7", "Answer: 7"}, NULL, 3);
    assert_int_equal(v.winner, 1);
    /* No answers at all: equal texts, spaces and case folded. Failed ones take no part. */
    v = vote_of(c, (const char *const[]){NULL, "maybe", "Good  day", " good day\n"}, NULL, 4);
    assert_int_equal(v.winner, 2);
    assert_true(v.by_text);
    assert_int_equal(v.n_vote, 3);
    v = vote_of(c, (const char *const[]){NULL, NULL}, NULL, 2);
    assert_int_equal(v.winner, -1);
}

static int voting(scripted *s, int i, const moa_call *c, char *out, size_t n) {
    (void)s, (void)c;
    snprintf(out, n, "It is so.\nAnswer: %s", i == 1 || i == 3 || i == 4 ? "four" : i == 0 ? "5" : "6");
    return 0;
}

static void test_vote_strategy(void **state) {
    (void)state;
    scripted s;
    scripted_init(&s, "m", voting);
    moa_backend *b;
    moa_mix_cfg cfg = moa_mix_defaults("vote");
    cfg.n = 6;
    moa_run *r = go(&s, &cfg, &b);
    assert_int_equal(r->usage.calls, 6);
    assert_int_equal(s.batches, 1);
    assert_string_equal(moa_run_answer(r), "It is so.\nAnswer: four");
    assert_non_null(strstr(r->node[6].note, "p2: 3 of 6"));
    moa_run_free(r);
    scripted_deinit(&s);
}

/* Drafts with answers; the aggregator (greedy) loses it, or gives one behind its line of what the replies say. */
static int loses(scripted *s, int i, const moa_call *c, char *out, size_t n) {
    const bool agg = c->sampling.temperature == 0;
    if (agg && s->base.id[0] == 'x') snprintf(out, n, "Replies say: 6 | 4 | 4\nLet me see");
    else if (agg) snprintf(out, n, "Replies say: 6 | 4 | 4\nAgg%d.\nAnswer: 4", i);
    else snprintf(out, n, "D%d.\nAnswer: %s", i, i ? "4" : "6");
    return 0;
}

static int greets(scripted *s, int i, const moa_call *c, char *out, size_t n) {
    const bool agg = c->sampling.temperature == 0;
    if (!agg) snprintf(out, n, i == 1 ? "Hi." : "Hello there.");
    else if (s->base.id[0] == 'l') snprintf(out, n, "Replies say: none | none | none\nAnswer: none");
    else snprintf(out, n, "Answer: hello");
    return 0;
}

/* An aggregator that learned to list answers does so where there are none; one that comes to an answer by itself is believed. */
static void test_made_up_answer(void **state) {
    (void)state;
    scripted s;
    moa_backend *b;
    scripted_init(&s, "l", greets);
    moa_mix_cfg cfg = moa_mix_defaults("self-moa");
    cfg.n = 3;
    moa_run *r = go(&s, &cfg, &b);
    assert_string_equal(moa_run_answer(r), "Hello there.");
    assert_true(r->node[3].replaced && r->node[3].rc == 0);
    assert_non_null(strstr(r->node[3].note, "those it read have none; took p1: 2 of 3 replies are alike"));
    moa_run_free(r);
    scripted_deinit(&s);
    scripted_init(&s, "m", greets);
    r = go(&s, &cfg, &b);
    assert_string_equal(moa_run_answer(r), "Answer: hello");
    assert_false(r->node[3].replaced);
    moa_run_free(r);
    scripted_deinit(&s);
}

static void test_lost_answer(void **state) {
    (void)state;
    scripted s;
    moa_backend *b;
    scripted_init(&s, "x", loses);
    moa_mix_cfg cfg = moa_mix_defaults("self-moa");
    cfg.n = 3;
    moa_run *r = go(&s, &cfg, &b);
    assert_string_equal(moa_run_answer(r), "D1.\nAnswer: 4");
    assert_true(r->node[3].replaced && r->node[3].rc == 0);
    assert_non_null(strstr(r->node[3].note, "no answer; took p2: 2 of 3"));
    moa_run_free(r);
    scripted_deinit(&s);
    /* The line is kept in the call's text, and left out of the answer and where the next window reads it. */
    scripted_init(&s, "m", loses);
    cfg = moa_mix_defaults("self-moa-seq");
    cfg.n = 3;
    assert_int_equal(moa_mix_set(&cfg, "window", "2", NULL), 0);
    assert_int_equal(moa_mix_set(&cfg, "repeat", "1", NULL), 0);
    r = go(&s, &cfg, &b);
    assert_int_equal(r->n_node, 5);
    assert_false(r->node[3].replaced || r->node[4].replaced);
    static const char *const second[] = {"Agg3.\nAnswer: 4", "D2.\nAnswer: 4"};
    check_aggregate(&r->node[4], second, 2);
    assert_string_equal(r->node[4].text, "Replies say: 6 | 4 | 4\nAgg4.\nAnswer: 4");
    assert_string_equal(moa_run_answer(r), "Agg4.\nAnswer: 4");
    moa_run_free(r);
    scripted_deinit(&s);
}

/* Talk, where no draft has an answer line: a merge that says nothing, or only what the replies say, is no merge. */
static int says_nothing(scripted *s, int i, const moa_call *c, char *out, size_t n) {
    if (c->sampling.temperature == 0) snprintf(out, n, "%s", s->base.id);
    else snprintf(out, n, i ? "Good day." : "Hello.");
    return 0;
}

static void test_blank_merge(void **state) {
    (void)state;
    static const char *const merges[] = {"", " \n\t", "Replies say: none | none", "Replies say: none | none\n \n"};
    for (size_t i = 0; i < sizeof merges / sizeof *merges; i++) {
        scripted s;
        moa_backend *b;
        scripted_init(&s, merges[i], says_nothing);
        moa_mix_cfg cfg = moa_mix_defaults("self-moa");
        cfg.n = 3;
        moa_run *r = go(&s, &cfg, &b);
        assert_string_equal(moa_run_answer(r), "Good day.");
        assert_true(r->node[3].replaced);
        assert_non_null(strstr(r->node[3].note, "took p2: 2 of 3 replies are alike"));
        moa_run_free(r);
        scripted_deinit(&s);
    }
}

/* Two copies of the best, or one where two would leave no room. */
static void test_seq_copies(void **state) {
    (void)state;
    scripted s;
    moa_backend *b;
    moa_mix_cfg cfg = moa_mix_defaults("self-moa-seq");
    for (int window = 2; window <= 3; window++) {
        scripted_init(&s, "m", numbered);
        cfg.n = window + 1;
        assert_int_equal(moa_mix_set(&cfg, "window", window == 2 ? "2" : "3", NULL), 0);
        moa_run *r = go(&s, &cfg, &b);
        static const char *const two[] = {"R3.", "R2."}, *const three[] = {"R4.", "R4.", "R3."};
        check_aggregate(&r->node[window + 2], window == 2 ? two : three, window);
        moa_run_free(r);
        scripted_deinit(&s);
    }
}

/* Every registered strategy: builds for any n, needs no more than its samples, gives the same answer twice. */
static void test_conformance(void **state) {
    (void)state;
    int n_s;
    const moa_strategy *const *st = moa_strategies(&n_s);
    for (int k = 0; k < n_s; k++)
        for (int n = 1; n <= 20; n++) {
            char first[64] = "";
            for (int again = 0; again < 2; again++) {
                scripted s;
                scripted_init(&s, "m", numbered);
                moa_backend *b;
                moa_mix_cfg cfg = moa_mix_defaults(st[k]->name);
                cfg.n = n;
                moa_run *r = go(&s, &cfg, &b);
                assert_true(moa_run_answer(r)[0] == 'R');
                if (again) assert_string_equal(moa_run_answer(r), first);
                snprintf(first, sizeof first, "%s", moa_run_answer(r));
                for (int i = 0; i < r->n_node; i++) assert_int_equal(r->node[i].state, MOA_NODE_DONE);
                moa_run_free(r);
                scripted_deinit(&s);
            }
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_self_moa), cmocka_unit_test(test_moa_layers), cmocka_unit_test(test_seq),
        cmocka_unit_test(test_seq_bounded_by_context), cmocka_unit_test(test_shortened), cmocka_unit_test(test_roles),
        cmocka_unit_test(test_vote), cmocka_unit_test(test_vote_strategy), cmocka_unit_test(test_lost_answer), cmocka_unit_test(test_made_up_answer),
        cmocka_unit_test(test_conformance), cmocka_unit_test(test_blank_merge), cmocka_unit_test(test_seq_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
