/* test_judging.c - strategies that judge: who is asked what in which order, what their replies decide, and what is left where they say nothing of use.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/kit.h"

#include "agent/strategy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define Q "What is 2 + 2?"

/* Samples: D0, D1, ... with answers 4 5 4 6 4 ... */
static const char *drafts(player *p, int i, const moa_call *c) {
    static const int answer[] = {4, 5, 4, 6};
    (void)c;
    snprintf(p->said, sizeof p->said, "D%d.\nAnswer: %d", i, answer[i % 4]);
    return p->said;
}
static const char *merges(player *p, int i, const moa_call *c) { (void)p, (void)i, (void)c; return "M.\nAnswer: 7"; }
static const char *fails(player *p, int i, const moa_call *c) { (void)p, (void)i, (void)c; return NULL; }
static const char *babbles(player *p, int i, const moa_call *c) { (void)p, (void)i, (void)c; return "Well, hard to say."; }

static const char *last_turn(const moa_agent_node *n) { return n->msg[n->n_msg - 1].content; }

/* The node asked `ask` of these texts, behind the conversation as it is. */
static void check_asked(const moa_agent_node *n, moa_judging ask, const char *const *text, int n_text, int k) {
    moa_buf b;
    moa_buf_init(&b, 1 << 20);
    assert_int_equal(moa_judge_prompt(&b, ask, Q, text, n_text, k, SIZE_MAX), 0);
    assert_int_equal(n->n_msg, 1);
    assert_string_equal(n->msg[0].role, "user");
    assert_string_equal(last_turn(n), moa_buf_str(&b));
    moa_buf_deinit(&b);
}

static void check_merged(const moa_agent_node *n, const char *const *text, int n_text) {
    moa_buf b;
    moa_buf_init(&b, 1 << 20);
    assert_int_equal(moa_aggregate_prompt(&b, Q, text, n_text), 0);
    assert_string_equal(last_turn(n), moa_buf_str(&b));
    moa_buf_deinit(&b);
}

static moa_run *play(kit *k, const char *strategy, const char *settings, player_fn judge) {
    kit_init(k, strategy, settings, 1, drafts);
    kit_aggregator(k, "agg", merges);
    kit_judge(k, "judge", judge);
    moa_run *r = kit_run(k, Q, 1);
    if (r->rc < 0) fail_msg("%s", r->err.text);
    return r;
}

static void done(kit *k, moa_run *r) {
    moa_run_free(r);
    kit_deinit(k);
}

/* ---- smoa ---- */

static const char *two_and_on(player *p, int i, const moa_call *c) { (void)p, (void)c; return i ? "Choice: 3\nEnd: no" : "Choice: 4, 2\nEnd: no"; }
static const char *two_and_end(player *p, int i, const moa_call *c) { (void)p, (void)i, (void)c; return "Both.\n**Choice:** 4, 2\nEnd: yes"; }
static const char *chooses_all(player *p, int i, const moa_call *c) { (void)p, (void)i, (void)c; return "Choice: 1, 2, 3, 4\nEnd: yes"; }
static const char *out_of_range(player *p, int i, const moa_call *c) { (void)p, (void)i, (void)c; return "Choice: 1, 7"; }

static void test_smoa(void **state) {
    (void)state;
    kit k;
    moa_run *r = play(&k, "smoa", "", two_and_on);
    static const char *const first[] = {"D0.\nAnswer: 4", "D1.\nAnswer: 5", "D2.\nAnswer: 4", "D3.\nAnswer: 6"};
    static const char *const second[] = {"D4.\nAnswer: 4", "D5.\nAnswer: 5", "D6.\nAnswer: 4", "D7.\nAnswer: 6"};
    static const char *const chosen[] = {"D3.\nAnswer: 6", "D1.\nAnswer: 5"};
    for (int i = 1; i <= 4; i++) {
        char name[16];
        snprintf(name, sizeof name, "p1.%d", i);
        assert_string_equal(last_turn(kit_node(r, name)), Q);
        assert_int_equal(kit_node(r, name)->n_msg, 1);
        snprintf(name, sizeof name, "p2.%d", i);
        check_merged(kit_node(r, name), chosen, 2); /* agents of the second round read what was chosen, best first */
    }
    check_asked(kit_node(r, "judge1"), MOA_JUDGE_CHOOSE, first, 4, 2);
    check_asked(kit_node(r, "judge2"), MOA_JUDGE_CHOOSE, second, 4, 2);
    assert_true(kit_node(r, "judge1")->sampling.temperature == 0);
    check_merged(kit_node(r, "agg"), &second[2], 1);
    assert_string_equal(moa_run_answer(r), "M.\nAnswer: 7");
    assert_int_equal(r->usage.calls, 11);
    assert_non_null(strstr(kit_node(r, "select1")->note, "passes on p1.4; and p1.2"));
    done(&k, r);
    /* The judge ends it: no second round. Where it may not, it goes on. */
    r = play(&k, "smoa", "", two_and_end);
    assert_int_equal(r->usage.calls, 6);
    check_merged(kit_node(r, "agg"), chosen, 2);
    done(&k, r);
    r = play(&k, "smoa", "end=no", two_and_end);
    assert_int_equal(r->usage.calls, 11);
    done(&k, r);
    r = play(&k, "smoa", "rounds=1,select=1", two_and_on);
    assert_int_equal(r->usage.calls, 6);
    done(&k, r);
}

/* by=agreement asks no judge: two of four say 4, which is half. */
static void test_smoa_agreement(void **state) {
    (void)state;
    kit k;
    kit_init(&k, "smoa", "by=agreement", 1, drafts);
    kit_aggregator(&k, "agg", merges);
    player *judge = kit_judge(&k, "judge", fails);
    moa_run *r = kit_run(&k, Q, 1);
    static const char *const agreed[] = {"D0.\nAnswer: 4", "D2.\nAnswer: 4"};
    check_merged(kit_node(r, "agg"), agreed, 2);
    assert_int_equal(r->usage.calls, 5);
    assert_int_equal(judge->calls, 0);
    assert_non_null(strstr(kit_node(r, "select1")->note, "2 of 4 agree; passes on p1.1; and p1.3; and ends"));
    moa_run_free(r);
    kit_deinit(&k);
    kit_init(&k, "smoa", "by=agreement,n=5,end=no", 1, drafts); /* D0 .. D4 say 4 5 4 6 4: three of five; it may not end */
    r = kit_run(&k, Q, 1);
    assert_int_equal(r->usage.calls, 11);
    static const char *const most[] = {"D0.\nAnswer: 4", "D2.\nAnswer: 4"};
    check_merged(kit_node(r, "p2.1"), most, 2);
    moa_run_free(r);
    kit_deinit(&k);
}

static int n_refs(const moa_agent_node *n) {
    int k = 0;
    for (const char *p = last_turn(n); (p = strstr(p, "\n== ")); p++) k++;
    return k - 1;
}

/* What cannot be read, or names nobody: k drawn by the seed, another seed draws others. Too many: a part of these. Nothing is lost. */
static void test_smoa_draws(void **state) {
    (void)state;
    static const player_fn judge[] = {babbles, out_of_range, fails, chooses_all};
    for (size_t i = 0; i < sizeof judge / sizeof *judge; i++) {
        kit k;
        moa_run *r = play(&k, "smoa", "", judge[i]);
        assert_string_equal(moa_run_answer(r), "M.\nAnswer: 7");
        assert_int_equal(n_refs(kit_node(r, "agg")), 2);
        assert_non_null(strstr(kit_node(r, "select1")->note, judge[i] == chooses_all ? "the judge chose 4, of which 2 were drawn" : "no choice could be read (4 candidates): 2 were drawn"));
        assert_int_equal(r->usage.calls, judge[i] == chooses_all ? 6 : 11);
        done(&k, r);
    }
    bool seen[4] = {false};
    for (uint64_t seed = 0; seed < 40; seed++) {
        kit k;
        kit_init(&k, "smoa", "rounds=1,select=1", 1, drafts);
        kit_judge(&k, "judge", babbles);
        moa_run *r = kit_run(&k, Q, seed);
        for (int i = 0; i < 4; i++) {
            char name[16];
            snprintf(name, sizeof name, "passes on p1.%d", i + 1);
            seen[i] = seen[i] || strstr(kit_node(r, "select1")->note, name);
        }
        done(&k, r);
    }
    for (int i = 0; i < 4; i++) assert_true(seen[i]);
}

/* The second round fails as a whole: what the first chose is merged. */
static const char *once(player *p, int i, const moa_call *c) { return i < 4 ? drafts(p, i, c) : NULL; }
static void test_smoa_lost_round(void **state) {
    (void)state;
    kit k;
    kit_init(&k, "smoa", "", 1, once);
    kit_aggregator(&k, "agg", merges);
    kit_judge(&k, "judge", two_and_on);
    moa_run *r = kit_run(&k, Q, 1);
    static const char *const chosen[] = {"D3.\nAnswer: 6", "D1.\nAnswer: 5"};
    assert_int_equal(r->rc, 0);
    check_merged(kit_node(r, "agg"), chosen, 2);
    assert_string_equal(moa_run_answer(r), "M.\nAnswer: 7");
    done(&k, r);
}

static const char *role_maker(player *p, int i, const moa_call *c) {
    (void)p, (void)i;
    return strstr(c->msg[c->n_msg - 1].content, "2 agents will") ? "Sure.\n1: You are a cook.\n2: You are a judge.\n" : "Choice: 1\nEnd: yes";
}

/* Roles are thought out once for a type of task; a second run of the same store asks nobody. */
static void test_smoa_roles(void **state) {
    (void)state;
    kit k;
    kit_init(&k, "smoa", "roles=make,n=2,select=1,task=sums", 1, drafts);
    kit_aggregator(&k, "agg", merges);
    player *judge = kit_judge(&k, "judge", role_maker);
    moa_run *r = kit_run(&k, Q, 1);
    assert_int_equal(r->rc, 0);
    assert_non_null(strstr(last_turn(kit_node(r, "roles")), "The type: sums\n"));
    const moa_agent_node *a = kit_node(r, "p1.2");
    assert_int_equal(a->n_msg, 2);
    assert_string_equal(a->msg[0].role, "system");
    assert_string_equal(a->msg[0].content, "You are a judge.");
    assert_string_equal(last_turn(a), Q);
    assert_int_equal(judge->calls, 2);
    moa_run_free(r);
    r = kit_run(&k, Q, 2);
    assert_int_equal(judge->calls, 3);
    assert_string_equal(kit_node(r, "p1.1")->msg[0].content, "You are a cook.");
    moa_run_free(r);
    kit_deinit(&k);
    /* Too few lines: who has none goes without, and nothing is kept. A role-maker that fails: all do. */
    static const player_fn bad[] = {babbles, fails};
    for (int i = 0; i < 2; i++) {
        r = play(&k, "smoa", "roles=make,n=2", bad[i]);
        assert_int_equal(kit_node(r, "p1.1")->n_msg, 1);
        assert_null(r->kept);
        done(&k, r);
    }
}

/* ---- best of n ---- */

static const char *likes_d2(player *p, int i, const moa_call *c) {
    (void)p, (void)i;
    return strstr(c->msg[0].content, "D2.") ? "Score: 9" : strstr(c->msg[0].content, "D1.") ? "Score: 11" : "Score: 3";
}

static void test_best_of_n(void **state) {
    (void)state;
    kit k;
    moa_run *r = play(&k, "best-of-n", "n=4", likes_d2);
    assert_string_equal(moa_run_answer(r), "D2.\nAnswer: 4");
    assert_int_equal(r->usage.calls, 8);
    static const char *const one[] = {"D1.\nAnswer: 5"};
    check_asked(kit_node(r, "rate2"), MOA_JUDGE_RATE, one, 1, 0);
    assert_string_equal(kit_node(r, "rate2")->role, "judge");
    done(&k, r);
    r = play(&k, "best-of-n", "n=3", babbles); /* no score: the most probable, here the first */
    assert_string_equal(moa_run_answer(r), "D0.\nAnswer: 4");
    assert_non_null(strstr(kit_node(r, "best")->note, "no rating could be read"));
    done(&k, r);
    r = play(&k, "best-of-n", "n=3", fails);
    assert_string_equal(moa_run_answer(r), "D0.\nAnswer: 4");
    done(&k, r);
    r = play(&k, "best-of-n", "n=3,rate=likelihood", fails);
    assert_int_equal(r->usage.calls, 3);
    done(&k, r);
}

/* A sample that fails has no rating, and the others keep theirs. */
static const char *no_first(player *p, int i, const moa_call *c) { return i ? drafts(p, i, c) : NULL; }
static void test_best_of_the_rest(void **state) {
    (void)state;
    kit k;
    kit_init(&k, "best-of-n", "n=4", 1, no_first);
    kit_judge(&k, "judge", likes_d2);
    moa_run *r = kit_run(&k, Q, 1);
    assert_int_equal(r->rc, 0);
    assert_string_equal(moa_run_answer(r), "D2.\nAnswer: 4");
    assert_non_null(strstr(kit_node(r, "best")->note, "took p3, rated 9"));
    done(&k, r);
}

/* p s + (1 - p) 5 */
static void test_doubt(void **state) {
    (void)state;
    moa_agent_node n = {.state = MOA_NODE_DONE, .text = (char *)(uintptr_t)"Score: 9", .text_len = 8, .sum_logprob = -0.6931471805599453};
    assert_true(moa_rating(NULL, &n, false) > 8.99 && moa_rating(NULL, &n, false) < 9.01);
    assert_true(moa_rating(NULL, &n, true) > 6.99 && moa_rating(NULL, &n, true) < 7.01);
    n.state = MOA_NODE_FAILED;
    assert_true(moa_rating(NULL, &n, true) < 0);
}

/* ---- universal self-consistency ---- */

static const char *second(player *p, int i, const moa_call *c) { (void)p, (void)i, (void)c; return "Replies say: 4 | 5 | 4\nChoice: 2"; }

static void test_consistency(void **state) {
    (void)state;
    kit k;
    moa_run *r = play(&k, "universal-self-consistency", "n=3", second);
    static const char *const all[] = {"D0.\nAnswer: 4", "D1.\nAnswer: 5", "D2.\nAnswer: 4"};
    check_asked(kit_node(r, "choose"), MOA_JUDGE_CONSISTENT, all, 3, 0);
    assert_string_equal(moa_run_answer(r), "D1.\nAnswer: 5");
    done(&k, r);
    static const player_fn bad[] = {babbles, fails, out_of_range, two_and_on};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        r = play(&k, "universal-self-consistency", "n=3", bad[i]);
        assert_string_equal(moa_run_answer(r), "D0.\nAnswer: 4");
        assert_non_null(strstr(kit_node(r, "pick")->note, "took p1: 2 of 3 answers agree"));
        done(&k, r);
    }
}

/* ---- patched moa ---- */

static const char *finds_fault(player *p, int i, const moa_call *c) { (void)p, (void)i, (void)c; return "1: right.\n2: wrong."; }

static void test_patched(void **state) {
    (void)state;
    kit k;
    moa_run *r = play(&k, "patched-moa", "", finds_fault);
    static const char *const all[] = {"D0.\nAnswer: 4", "D1.\nAnswer: 5", "D2.\nAnswer: 4", "1: right.\n2: wrong."};
    assert_int_equal(r->usage.calls, 5);
    check_asked(kit_node(r, "critique"), MOA_JUDGE_CRITIQUE, all, 3, 0);
    assert_string_equal(kit_node(r, "critique")->role, "critic");
    assert_int_equal(kit_node(r, "critique")->max_tokens, 512);
    check_asked(kit_node(r, "agg"), MOA_JUDGE_REVISE, all, 4, 0);
    assert_string_equal(moa_run_answer(r), "M.\nAnswer: 7");
    done(&k, r);
    r = play(&k, "patched-moa", "", fails); /* without a critique: an ordinary merge */
    check_merged(kit_node(r, "agg"), all, 3);
    done(&k, r);
    kit_init(&k, "patched-moa", "n=4", 1, no_first); /* three of four: shown as three */
    kit_aggregator(&k, "agg", merges);
    kit_judge(&k, "judge", finds_fault);
    r = kit_run(&k, Q, 1);
    static const char *const rest[] = {"D1.\nAnswer: 5", "D2.\nAnswer: 4", "D3.\nAnswer: 6"};
    check_asked(kit_node(r, "critique"), MOA_JUDGE_CRITIQUE, rest, 3, 0);
    done(&k, r);
}

/* Cut off: a critique is used as far as it goes, an answer is the answer and says so, a blank one is not. */
static const char *blank(player *p, int i, const moa_call *c) { (void)p, (void)i, (void)c; return " \n"; }
static const char *no_answer(player *p, int i, const moa_call *c) { (void)p, (void)i, (void)c; return "Let me see, then"; }
static void test_patched_cut(void **state) {
    (void)state;
    kit k;
    moa_run *r;
    for (int i = 0; i < 2; i++) {
        kit_init(&k, "patched-moa", "", 1, drafts);
        kit_aggregator(&k, "agg", i ? blank : no_answer)->why = MOA_STOP_LENGTH;
        kit_judge(&k, "judge", finds_fault)->why = MOA_STOP_LENGTH;
        r = kit_run(&k, Q, 1);
        assert_non_null(strstr(last_turn(kit_node(r, "agg")), "2: wrong."));
        assert_int_equal(kit_node(r, "agg")->why, MOA_STOP_LENGTH);
        assert_string_equal(moa_run_answer(r), i ? "D0.\nAnswer: 4" : "Let me see, then");
        done(&k, r);
    }
    r = play(&k, "patched-moa", "", babbles);
    moa_run_free(r);
    kit_deinit(&k);
    kit_init(&k, "patched-moa", "", 1, drafts); /* the last call fails: the vote over the candidates, in which the critique has no part */
    kit_aggregator(&k, "agg", fails);
    kit_judge(&k, "judge", finds_fault);
    r = kit_run(&k, Q, 1);
    assert_string_equal(moa_run_answer(r), "D0.\nAnswer: 4");
    done(&k, r);
}

/* ---- ranker, fuse ---- */

/* Prefers the higher number behind D. */
static const char *likes_late(player *p, int i, const moa_call *c) {
    const char *a = strstr(c->msg[0].content, "== A ==\nD"), *b = strstr(c->msg[0].content, "== B ==\nD");
    (void)i;
    snprintf(p->said, sizeof p->said, "Better: %c", a && b && strtol(a + 9, NULL, 10) > strtol(b + 9, NULL, 10) ? 'A' : 'B');
    return p->said;
}
static const char *always_a(player *p, int i, const moa_call *c) { (void)p, (void)i, (void)c; return "Better: A"; }
static const char *same(player *p, int i, const moa_call *c) { (void)p, (void)i, (void)c; return "Answer: 4"; }

static void test_ranker(void **state) {
    (void)state;
    kit k;
    moa_run *r = play(&k, "ranker", "n=4", likes_late);
    assert_int_equal(r->usage.calls, 4 + 12);
    assert_string_equal(moa_run_answer(r), "D3.\nAnswer: 6");
    assert_non_null(strstr(kit_node(r, "rank")->note, "took p4: 6 of 6 points"));
    static const char *const ab[] = {"D0.\nAnswer: 4", "D1.\nAnswer: 5"}, *const ba[] = {"D1.\nAnswer: 5", "D0.\nAnswer: 4"};
    check_asked(kit_node(r, "p1>p2"), MOA_JUDGE_COMPARE, ab, 2, 0);
    check_asked(kit_node(r, "p2>p1"), MOA_JUDGE_COMPARE, ba, 2, 0);
    done(&k, r);
    static const player_fn useless[] = {always_a, babbles, fails}; /* a judge of places says nothing: all are equal, the most probable (the first) is taken */
    for (size_t i = 0; i < 3; i++) {
        r = play(&k, "ranker", "n=4", useless[i]);
        assert_string_equal(moa_run_answer(r), "D0.\nAnswer: 4");
        assert_non_null(strstr(kit_node(r, "rank")->note, "3 of 6 points"));
        done(&k, r);
    }
    kit_init(&k, "ranker", "n=4", 1, same); /* nothing to compare */
    player *judge = kit_judge(&k, "judge", fails);
    r = kit_run(&k, Q, 1);
    assert_int_equal(judge->calls, 0);
    done(&k, r);
    for (int n = 2; n <= 9; n++) { /* a knock-out takes 2 (n - 1) calls, and the best wins it */
        char set[60], want[20];
        snprintf(set, sizeof set, "n=%d,tournament=knock-out", n);
        snprintf(want, sizeof want, "D%d.\n", n - 1);
        r = play(&k, "ranker", set, likes_late);
        assert_int_equal(r->usage.calls, n + 2 * (n - 1));
        assert_int_equal(strncmp(moa_run_answer(r), want, strlen(want)), 0);
        done(&k, r);
    }
    moa_mix_cfg c = moa_mix_defaults("ranker");
    c.n = 65;
    moa_err err = {0};
    moa_run *none;
    moa_backend *b = &k.p[0].base;
    c.proposer = &b, c.n_proposer = 1;
    const moa_message m = {"user", Q};
    assert_int_equal(moa_run_new(&none, &c, &m, 1, 1, &err), MOA_EUSAGE);
    assert_non_null(strstr(err.hint, "knock-out takes 128"));
}

/* Two of three strange ones are left out; the third, which is like the others in words, is left out only where a screen looks at what it has left. */
static const char *strange(player *p, int i, const moa_call *c) {
    static const char *const say[] = {"Two and two make five, as all of us know.\nAnswer: 5", "Green cheese moons\nAnswer: 9", "Lorem ipsum dolor\nAnswer: 11"};
    (void)c;
    if (i < 3) return say[i];
    snprintf(p->said, sizeof p->said, "Two and two make four, as all of us know%.*s\nAnswer: 4", i - 2, "......");
    return p->said;
}
static const char *likes_five(player *p, int i, const moa_call *c) {
    const char *last = c->msg[0].content, *b = strstr(last, "== B ==");
    (void)i;
    if (!b) snprintf(p->said, sizeof p->said, "Score: %d", strstr(last, "make five") ? 9 : 3);
    else snprintf(p->said, sizeof p->said, "Better: %c", strstr(last, "make five") && !strstr(b, "make five") ? 'A' : strstr(b, "make five") ? 'B' : 'A');
    return p->said;
}

/* Who stands in the panel when it is drawn up stands there to the end, with his own points. */
static void test_screened_once(void **state) {
    (void)state;
    static const char *const mix[][2] = {{"ranker", "n=6,screen=threshold,screen-at=0.2"}, {"fuse", "n=6,screen=threshold,screen-at=0.2,top=1"}, {"fuse", "n=6,screen=threshold,screen-at=0.2,top=1,rank=rate"}};
    for (size_t i = 0; i < sizeof mix / sizeof *mix; i++) {
        kit k;
        kit_init(&k, mix[i][0], mix[i][1], 1, strange);
        kit_aggregator(&k, "agg", merges);
        kit_judge(&k, "judge", likes_five);
        moa_run *r = kit_run(&k, Q, 1);
        if (r->rc < 0) fail_msg("%s", r->err.text);
        assert_null(strstr(kit_node(r, "vote")->note, "left out p1"));
        assert_non_null(strstr(kit_node(r, "vote")->note, "left out p2"));
        assert_non_null(strstr(kit_node(r, "vote")->note, "left out p3"));
        if (!strstr(kit_node(r, "rank")->note, i ? "merges p1" : "took p1: 6 of 6 points")) fail_msg("%s: %s", mix[i][0], kit_node(r, "rank")->note);
        done(&k, r);
    }
}

static void test_fuse(void **state) {
    (void)state;
    kit k;
    moa_run *r = play(&k, "fuse", "n=4,top=2", likes_late);
    static const char *const top[] = {"D3.\nAnswer: 6", "D2.\nAnswer: 4"};
    check_merged(kit_node(r, "agg"), top, 2);
    assert_int_equal(r->usage.calls, 4 + 12 + 1);
    assert_string_equal(moa_run_answer(r), "M.\nAnswer: 7");
    done(&k, r);
    r = play(&k, "fuse", "n=4,top=2,rank=rate", likes_d2);
    static const char *const rated[] = {"D2.\nAnswer: 4", "D0.\nAnswer: 4"}; /* 9, 3 and first; a score of 11 is none */
    check_merged(kit_node(r, "agg"), rated, 2);
    assert_int_equal(r->usage.calls, 4 + 4 + 1);
    done(&k, r);
}

/* ---- mcts ---- */

static const char *user_or_judge(player *p, int i, const moa_call *c) {
    const char *last = c->msg[c->n_msg - 1].content;
    (void)i;
    if (strstr(last, "user says next")) return "And 3 + 3?";
    return strstr(last, "D1.") ? "Score: 10" : (snprintf(p->said, sizeof p->said, "Score: 2"), p->said);
}

static void test_mcts(void **state) {
    (void)state;
    kit k;
    /* Without rollouts: three replies, each is rated once, the fourth simulation goes to the best, which is expanded. */
    moa_run *r = play(&k, "mcts", "depth=0,simulations=3", user_or_judge);
    assert_string_equal(moa_run_answer(r), "D1.\nAnswer: 5");
    assert_int_equal(r->usage.calls, 6);
    static const char *const one[] = {"D1.\nAnswer: 5"};
    check_asked(kit_node(r, "rate2.1"), MOA_JUDGE_RATE, one, 1, 0);
    done(&k, r);
    r = play(&k, "mcts", "depth=0,simulations=4", user_or_judge);
    assert_string_equal(moa_run_answer(r), "D1.\nAnswer: 5");
    const moa_agent_node *turn = kit_node(r, "turn4.1"), *deep = kit_node(r, "p4.1");
    assert_int_equal(turn->n_msg, 3);
    assert_string_equal(turn->msg[1].role, "assistant");
    assert_string_equal(turn->msg[1].content, "D1.\nAnswer: 5");
    assert_int_equal(deep->n_msg, 3);
    assert_string_equal(deep->msg[2].role, "user");
    assert_string_equal(deep->msg[2].content, "And 3 + 3?");
    assert_int_equal(r->usage.calls, 6 + 1 + 3 + 1);
    done(&k, r);
    /* A rollout: the user, a reply to that, and the score of all three. */
    r = play(&k, "mcts", "simulations=1", user_or_judge);
    assert_int_equal(r->usage.calls, 3 + 3);
    assert_non_null(strstr(last_turn(kit_node(r, "rate1.2")), "Reply: D0.\nAnswer: 4\nUser: And 3 + 3?\nReply: D3.\nAnswer: 6\n"));
    done(&k, r);
    static const player_fn useless[] = {babbles, fails}; /* all are worth 0.5: the most probable, here the first */
    for (size_t i = 0; i < 2; i++) {
        r = play(&k, "mcts", "depth=0,simulations=3", useless[i]);
        assert_string_equal(moa_run_answer(r), "D0.\nAnswer: 4");
        done(&k, r);
        r = play(&k, "mcts", "depth=2,simulations=9", useless[i]);
        assert_int_equal(strncmp(moa_run_answer(r), "D", 1), 0);
        done(&k, r);
    }
}

/* ---- a judge that answers the question in place of judging ---- */

static const char *says_5(player *p, int i, const moa_call *c) { (void)p, (void)i, (void)c; return "Replies say: 4 | 5 | 4 | 6\nAnswer: 5"; }
static const char *says_4(player *p, int i, const moa_call *c) { (void)p, (void)i, (void)c; return "2+2=4.\nAnswer: 4"; }
static const char *says_9(player *p, int i, const moa_call *c) { (void)p, (void)i, (void)c; return "Answer: 9"; }

static void test_answers(void **state) {
    (void)state;
    static const struct { const char *strategy, *settings; player_fn judge; const char *answer; } t[] = {
        {"best-of-n", "n=4", says_5, "D1.\nAnswer: 5"},           {"best-of-n", "n=4", says_9, "D0.\nAnswer: 4"},
        {"universal-self-consistency", "n=4", says_5, "D1.\nAnswer: 5"}, {"universal-self-consistency", "n=4", says_9, "D0.\nAnswer: 4"},
        {"ranker", "n=4", says_5, "D1.\nAnswer: 5"},              {"ranker", "n=4", says_9, "D0.\nAnswer: 4"},
        {"ranker", "n=4,tournament=knock-out", says_5, "D1.\nAnswer: 5"}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        kit k;
        moa_run *r = play(&k, t[i].strategy, t[i].settings, t[i].judge);
        if (strcmp(moa_run_answer(r), t[i].answer)) fail_msg("%s %s: %s", t[i].strategy, t[i].settings, moa_run_answer(r));
        done(&k, r);
    }
    kit k;
    moa_run *r = play(&k, "smoa", "", says_4); /* two of four say 4: they are passed on, and that is half */
    static const char *const fours[] = {"D0.\nAnswer: 4", "D2.\nAnswer: 4"};
    check_merged(kit_node(r, "agg"), fours, 2);
    assert_int_equal(r->usage.calls, 6);
    done(&k, r);
    r = play(&k, "smoa", "", says_5); /* one of four: it goes on */
    assert_int_equal(r->usage.calls, 11);
    done(&k, r);
    r = play(&k, "smoa", "", says_9); /* none */
    assert_non_null(strstr(kit_node(r, "select1")->note, "no choice could be read"));
    done(&k, r);
}

/* ---- all of them ---- */

static void add_judge(kit *k) {
    kit_aggregator(k, "agg", merges);
    kit_judge(k, "judge", likes_late);
}
static void add_role_maker(kit *k) {
    kit_aggregator(k, "agg", merges);
    kit_judge(k, "judge", role_maker);
}
static void add_rater(kit *k) {
    kit_aggregator(k, "agg", merges);
    kit_judge(k, "judge", user_or_judge);
}

static void test_torture(void **state) {
    (void)state;
    kit_torture("smoa", "n=3", 1, drafts, add_judge, Q);
    kit_torture("smoa", "n=3,by=agreement", 1, drafts, add_judge, Q);
    kit_torture("smoa", "n=2,roles=make", 2, drafts, add_role_maker, Q);
    kit_torture("best-of-n", "n=3", 1, drafts, add_rater, Q);
    kit_torture("universal-self-consistency", "n=3", 1, drafts, add_judge, Q);
    kit_torture("patched-moa", "", 1, drafts, add_judge, Q);
    kit_torture("ranker", "n=3", 1, drafts, add_judge, Q);
    kit_torture("ranker", "n=3,tournament=knock-out", 1, drafts, add_judge, Q);
    kit_torture("fuse", "n=3", 1, drafts, add_judge, Q);
    kit_torture("fuse", "n=3,rank=rate", 1, drafts, add_rater, Q);
    kit_torture("mcts", "", 1, drafts, add_rater, Q);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_smoa), cmocka_unit_test(test_smoa_agreement), cmocka_unit_test(test_smoa_draws), cmocka_unit_test(test_smoa_lost_round), cmocka_unit_test(test_smoa_roles), cmocka_unit_test(test_best_of_n),
        cmocka_unit_test(test_best_of_the_rest), cmocka_unit_test(test_doubt), cmocka_unit_test(test_consistency), cmocka_unit_test(test_patched), cmocka_unit_test(test_patched_cut),
        cmocka_unit_test(test_ranker), cmocka_unit_test(test_screened_once), cmocka_unit_test(test_fuse), cmocka_unit_test(test_mcts), cmocka_unit_test(test_answers), cmocka_unit_test(test_torture)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
