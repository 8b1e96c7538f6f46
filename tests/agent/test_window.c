/* test_window.c - references that do not fit: windows and what each of them reads, the weight and place of the best so far, what fails, what is hostile; judges.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/scripted.h"

#include "agent/replay.h"
#include "agent/strategy.h"
#include "agent/trace.h"

#include <stdlib.h>
#include <string.h>

#define Q "What is 2 + 2?"
static const moa_message talk[] = {{"user", Q}};
static int fail_at = -1;      /* the call that fails */
static bool long_merges;
static const char *blank_at;  /* an aggregator whose prompt holds this says nothing */

/* Drafts D0., D1., ... of 20 words; merges M<call>. */
static int says(scripted *s, int i, const moa_call *c, char *out, size_t n) {
    (void)s;
    const bool merges = c->sampling.temperature == 0;
    if (i == fail_at) return MOA_EIO;
    if (merges && blank_at && strstr(c->msg[c->n_msg - 1].content, blank_at)) return *out = 0, 0;
    size_t at = (size_t)snprintf(out, n, merges ? "M%d." : "D%d.", i);
    for (int k = 0; k < 19 && (long_merges || !merges); k++) at += (size_t)snprintf(out + at, n - at, " w");
    return 0;
}

/* Likelihoods: drafts 0, 1, 2, ... have -1, -4, -2, -3, then as drawn. */
static int likely(scripted *s, int i, const moa_call *c, char *out, size_t n) {
    static const double at[] = {-1, -4, -2, -3};
    s->logprob = i < 4 ? at[i] : -5;
    snprintf(out, n, c->sampling.temperature > 0 ? "D%d." : "M%d.", i);
    return 0;
}

static void set(moa_mix_cfg *c, const char *list) {
    char all[200];
    moa_err err = {0};
    snprintf(all, sizeof all, "%s", list);
    for (char *at = all, *next; *at; at = next) {
        next = at + strcspn(at, ",");
        if (*next) *next++ = 0;
        char *eq = strchr(at, '=');
        *eq = 0;
        if (moa_mix_set(c, at, eq + 1, &err) < 0) fail_msg("%s", err.text);
    }
}

typedef struct play { scripted s; moa_backend *b; moa_mix_cfg cfg; moa_run *r; } play;

/* A run and its replay, which must be the same to the byte. */
static void go(play *p, const char *strategy, const char *settings, int n_ctx, scripted_fn fn) {
    char place[200], a[300], b[300];
    moa_err err = {0};
    json_t *is = NULL;
    scripted_init(&p->s, "m", fn);
    p->s.base.n_ctx = n_ctx;
    p->b = &p->s.base;
    p->cfg = moa_mix_defaults(strategy);
    p->cfg.proposer = &p->b, p->cfg.n_proposer = 1, p->cfg.max_tokens = 10;
    set(&p->cfg, settings);
    if (moa_run_new(&p->r, &p->cfg, talk, 1, 7, &err) < 0) fail_msg("%s", err.text);
    moa_run_execute(p->r, NULL, NULL, &err);
    json_t *was = moa_trace_run(p->r, false);
    if (moa_replay(&is, was, "the run", &err) < 0) fail_msg("replay: %s", err.text);
    moa_trace_canonical(was);
    if (moa_replay_compare(place, sizeof place, a, b, sizeof a, was, is)) fail_msg("the replay differs at %s: %s, not %s", place, b, a);
    json_decref(was);
    json_decref(is);
}

static void over(play *p) {
    moa_run_free(p->r);
    scripted_deinit(&p->s);
    fail_at = -1, blank_at = NULL, long_merges = false;
}

static const char *prompt(const moa_agent_node *n) { return n->msg[n->n_msg - 1].content; }

/* What node i reads: the first words of its candidates, in order, "D0. D1.". */
static void reads(const play *p, int i, const char *want) {
    char got[400] = "", border[24];
    const char *at = prompt(&p->r->node[i]);
    for (int k = 1; k < 60; k++) {
        snprintf(border, sizeof border, "\n== %d ==\n", k);
        if (!(at = strstr(at, border))) break;
        at += strlen(border);
        const size_t have = strlen(got);
        snprintf(got + have, sizeof got - have, "%s%.*s", have ? " " : "", (int)strcspn(at, " \n"), at);
        at--;
    }
    assert_string_equal(got, want);
}

/* Words of a prompt with k drafts, m merges. */
static int words_of(int k, int m) {
    char draft[] = "D0. w w w w w w w w w w w w w w w w w w w";
    const char *ref[16];
    moa_buf b;
    moa_buf_init(&b, 1 << 16);
    for (int i = 0; i < k + m; i++) ref[i] = i < k ? draft : "M0.";
    assert_int_equal(moa_aggregate_prompt(&b, Q, ref, k + m), 0);
    const moa_message msg = {"user", moa_buf_str(&b)};
    const int n = (int)scripted_words(&msg, 1);
    moa_buf_deinit(&b);
    return n;
}

/* A context for exactly three drafts: 3, then two copies of the best and 2, then the last. */
static void test_windows(void **state) {
    (void)state;
    play p;
    go(&p, "self-moa", "n=6,fit=window", words_of(3, 0) + 10, says);
    assert_int_equal(p.r->n_node, 9);
    reads(&p, 6, "D0. D1. D2.");
    reads(&p, 7, "M6. M6. D3. D4.");
    reads(&p, 8, "M7. M7. D5.");
    assert_string_equal(p.r->node[7].name, "agg.w2");
    assert_int_equal(p.r->answer, 8);
    assert_string_equal(moa_run_answer(p.r), "M8.");
    assert_non_null(strstr(p.r->node[6].note, "holds 3 of 6 references: the others follow in windows"));
    assert_string_equal(p.r->node[7].note, "window 2: references 4 to 5 of 6");
    assert_string_equal(p.r->node[8].note, "window 3, the last: references 6 to 6 of 6");
    assert_int_equal(p.r->node[6].n_in, 3); /* the trace says who read what */
    assert_int_equal(p.r->node[7].n_in, 3);
    assert_int_equal(p.r->node[7].in[0], 6);
    for (int i = 6; i < 9; i++) assert_true(scripted_words(p.r->node[i].msg, 1) <= words_of(3, 0));
    over(&p);
    /* The same with room for all: one call, no word about windows; and shortened where that was asked for. */
    go(&p, "self-moa", "n=6,fit=window", words_of(6, 0) + 10, says);
    assert_int_equal(p.r->n_node, 7);
    assert_null(p.r->node[6].note);
    over(&p);
    go(&p, "self-moa", "n=6", words_of(3, 0) + 10, says);
    assert_int_equal(p.r->n_node, 7);
    assert_non_null(strstr(p.r->node[6].note, "references shortened to"));
    over(&p);
}

/* Only the run's answer grows: a layer inside shortens. In waves, and with the screens of the first window. */
static void test_where(void **state) {
    (void)state;
    play p;
    go(&p, "moa", "n=6,layers=2,fit=window", words_of(3, 0) + 10, says);
    assert_int_equal(p.r->n_node, 6 + 6 + 3);
    for (int i = 6; i < 12; i++) assert_non_null(strstr(p.r->node[i].note, "shortened"));
    reads(&p, 13, "M12. M12. D9. D10.");
    over(&p);
    go(&p, "self-moa", "n=6,wave=3,fit=window", words_of(3, 0) + 10, says);
    assert_string_equal(p.r->node[p.r->answer].name, "agg.w3");
    over(&p);
    go(&p, "self-moa", "n=6,most-of-one=5,fit=window", words_of(3, 0) + 10, says);
    assert_non_null(strstr(p.r->node[6].note, "left out p6: 5 of its model are enough"));
    reads(&p, 7, "M6. M6. D3. D4.");
    assert_int_equal(p.r->answer, 7);
    over(&p);
    go(&p, "self-moa-seq", "n=8,window=4,most-of-one=5", 0, says);
    reads(&p, 8, "D0. D1. D2. D3.");
    reads(&p, 9, "M8. M8. D4.");
    over(&p);
}

/* Each call fails in turn, and each window says nothing in turn: what was merged before stands, the rest is read beside it. */
static void test_failures(void **state) {
    (void)state;
    play p;
    for (int at = 6; at < 9; at++) {
        fail_at = at;
        go(&p, "self-moa", "n=6,fit=window", words_of(3, 0) + 10, says);
        assert_true(p.r->rc >= 0);
        assert_int_equal(p.r->n_node, 9);
        assert_true(p.r->node[at].replaced);
        if (at == 6) assert_string_equal(moa_run_answer(p.r), "M8."); /* its vote took D0 */
        if (at == 6) reads(&p, 7, "D0. D0. D3.");
        if (at == 7) assert_non_null(strstr(p.r->node[7].note, "the best so far stands, of agg; 2 references are not in it"));
        if (at == 7) reads(&p, 8, "M6. M6. D5.");
        if (at == 8) assert_string_equal(moa_run_answer(p.r), "M7.");
        over(&p);
    }
    blank_at = "D5."; /* the last window says nothing */
    go(&p, "self-moa-seq", "n=6,window=4", 0, says);
    assert_string_equal(moa_run_answer(p.r), "M6.");
    assert_non_null(strstr(p.r->node[p.r->answer].note, "its reply has no answer; the best so far stands"));
    over(&p);
}

/* The budget ends between windows: what is merged is the answer, and the node says what it does not hold. */
static void test_budget(void **state) {
    (void)state;
    play p;
    long_merges = true;
    go(&p, "self-moa", "n=6,max-tokens=20,budget-tokens=150,fit=window", words_of(3, 0) + 20, says);
    const moa_agent_node *a = &p.r->node[p.r->answer];
    assert_true(p.r->rc >= 0);
    assert_int_equal(p.r->usage.completion_tokens, 140);
    assert_int_equal(a->late, MOA_LATE_BUDGET);
    assert_non_null(strstr(a->note, "the best so far stands, of agg"));
    assert_int_equal(memcmp(moa_run_answer(p.r), "M6.", 3), 0);
    over(&p);
}

/* ---- what is hostile ---- */

static const char *huge;
static int says_huge(scripted *s, int i, const moa_call *c, char *out, size_t n) {
    (void)s;
    snprintf(out, n, c->sampling.temperature > 0 ? "D%d." : "M%d.", i);
    return 0;
}
/* The backend of scripted.h has small replies: one that hands out `huge` for the second draft. */
static void start_huge(moa_backend *b, moa_call *const *call, int n) {
    scripted *s = (scripted *)b;
    for (int i = 0; i < n; i++) {
        moa_call *c = call[i];
        char text[64];
        const int at = s->calls++;
        says_huge(s, at, c, text, sizeof text);
        const char *said = at == 1 ? huge : text;
        c->res.text = strdup(said), c->res.text_len = strlen(said), c->res.n_ids = 3;
        c->on_text(c, said, c->res.text_len);
        c->on_end(c);
    }
}
static int64_t bytes_of(moa_backend *b, const moa_message *msg, int n, const moa_call_extra *x, moa_err *err) {
    (void)b, (void)x, (void)err;
    int64_t sum = 0;
    for (int i = 0; i < n; i++) sum += (int64_t)strlen(msg[i].content);
    assert_true(sum < 1 << 20); /* 10 MB are not tokenized */
    return sum;
}
static void close_it(moa_backend *b) { (void)b; }

static moa_run *run_huge(scripted *s, moa_mix_cfg *cfg, moa_backend **b, const char *settings, int n_ctx, bool counts) {
    static const moa_backend_ops counted = {.name = "huge", .help = "", .start = start_huge, .close = close_it, .measure = bytes_of};
    static const moa_backend_ops blind = {.name = "huge", .help = "", .start = start_huge, .close = close_it};
    moa_run *r;
    moa_err err = {0};
    scripted_init(s, "m", says_huge);
    s->base.ops = counts ? &counted : &blind, s->base.n_ctx = n_ctx;
    *b = &s->base;
    *cfg = moa_mix_defaults(strchr(settings, '|') ? "self-moa-seq" : "self-moa");
    cfg->proposer = b, cfg->n_proposer = 1;
    set(cfg, settings + strspn(settings, "|"));
    if (moa_run_new(&r, cfg, talk, 1, 7, &err) < 0) fail_msg("%s", err.text);
    moa_run_execute(r, NULL, NULL, &err);
    return r;
}

static void test_hostile(void **state) {
    (void)state;
    const size_t n = 10 << 20;
    char *big = malloc(n + 1);
    scripted s;
    moa_backend *b;
    moa_mix_cfg cfg;
    memset(big, 'x', n);
    memcpy(big, "begin ", 6);
    memcpy(big + n - 4, " end", 5);
    huge = big;
    /* 10 MB in one of four: it has a window of its own, shortened, and the notes say so; the others stand whole. */
    for (int seq = 0; seq < 2; seq++) {
        moa_run *r = run_huge(&s, &cfg, &b, seq ? "|n=4,window=0" : "n=4,fit=window", 2000, true);
        assert_true(r->rc >= 0);
        assert_int_equal(r->n_node, 7);
        assert_non_null(strstr(prompt(&r->node[4]), "D0."));
        assert_null(strstr(prompt(&r->node[4]), "begin"));
        assert_non_null(strstr(prompt(&r->node[5]), "begin x"));
        assert_non_null(strstr(prompt(&r->node[5]), " end\n"));
        assert_non_null(strstr(r->node[5].note, "does not hold one reference beside the best so far"));
        assert_non_null(strstr(r->node[5].note, "shortened to"));
        assert_non_null(strstr(prompt(&r->node[6]), "D3."));
        moa_run_free(r);
        scripted_deinit(&s);
    }
    /* Nobody knows the context (a URL): one call, cut where any would be, and the note says it. */
    moa_run *r = run_huge(&s, &cfg, &b, "n=4,fit=window", 0, false);
    assert_int_equal(r->n_node, 5);
    assert_string_equal(r->node[4].note, "1 of 4 references shortened to 32768 bytes");
    moa_run_free(r);
    scripted_deinit(&s);
    r = run_huge(&s, &cfg, &b, "|n=9,window=0", 0, false);
    assert_int_equal(r->n_node, 11);
    assert_non_null(strstr(r->node[9].note, "nobody knows what the context of m holds: windows of 6"));
    moa_run_free(r);
    scripted_deinit(&s);
    /* A context smaller than the prompt without references: an error that says so, and the drafts' vote stands in. */
    r = run_huge(&s, &cfg, &b, "n=3,fit=window", 100, true);
    assert_true(r->rc >= 0);
    assert_non_null(strstr(r->node[3].note, "the context of m holds 100"));
    assert_true(r->node[3].replaced);
    moa_run_free(r);
    scripted_deinit(&s);
    /* Nothing at all. */
    huge = "";
    r = run_huge(&s, &cfg, &b, "n=3,fit=window", 2000, true);
    assert_int_equal(r->n_node, 4);
    assert_non_null(strstr(prompt(&r->node[3]), "== 2 ==\n(no reply)\n"));
    moa_run_free(r);
    scripted_deinit(&s);
    free(big);
}

/* ---- self-moa-seq ---- */

static void test_options(void **state) {
    static const struct { const char *set, *first, *second; } all[] = {
        {"repeat=1", "D0. D1. D2. D3.", "M6. D4. D5."},
        {"repeat=3", "D0. D1. D2. D3.", "M6. M6. M6. D4."},
        {"best=last", "D0. D1. D2. D3.", "D4. D5. M6. M6."},
        {"best=last,repeat=1", "D0. D1. D2. D3.", "D4. D5. M6."},
        {"order=likely-first", "D0. D2. D3. D1.", "M6. M6. D4. D5."},
        {"order=likely-last", "D4. D5. D1. D3.", "M6. M6. D2. D0."},
        {"window=0", "D0. D1. D2. D3. D4. D5.", NULL},
        {"weight=words", "D0. D1. D2. D3.", "(This D4. D5."},
    };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        play p;
        char settings[100];
        snprintf(settings, sizeof settings, "n=6,window=4,%s", all[i].set);
        go(&p, "self-moa-seq", settings, 1000, likely);
        reads(&p, 6, all[i].first);
        assert_int_equal(p.r->n_node > 7, all[i].second != NULL);
        if (all[i].second) reads(&p, 7, all[i].second);
        if (strstr(all[i].set, "words")) assert_non_null(strstr(prompt(&p.r->node[7]), "== 1 ==\n(This reply was made of 4 others.)\nM6.\n== 2 =="));
        over(&p);
    }
    play p;
    char first[800];
    for (int again = 0; again < 2; again++) { /* by the run's seed */
        go(&p, "self-moa-seq", "n=6,window=6,order=shuffled", 1000, likely);
        if (again) assert_string_equal(prompt(&p.r->node[6]), first);
        snprintf(first, sizeof first, "%s", prompt(&p.r->node[6]));
        for (int k = 0; k < 6; k++) {
            char d[8];
            snprintf(d, sizeof d, "D%d.", k);
            assert_non_null(strstr(first, d));
        }
        assert_null(strstr(first, "== 1 ==\nD0.\n== 2 ==\nD1.\n== 3 ==\nD2."));
        over(&p);
    }
    go(&p, "self-moa-seq", "n=6,order=likely-first", 1000, says); /* nobody tells */
    reads(&p, 6, "D0. D1. D2. D3. D4. D5.");
    assert_non_null(strstr(p.r->node[6].note, "in the order drawn"));
    over(&p);
    go(&p, "self-moa-seq", "n=6,window=0,repeat=20", words_of(3, 0) + 10, says); /* no room for twenty copies */
    assert_non_null(strstr(p.r->node[7].note, "room for one copy of the best so far, not 20"));
    reads(&p, 7, "M6. D3. D4.");
    over(&p);
}

static void test_unfit(void **state) {
    static const struct { const char *set, *says; } all[] = {{"window=1", "window of 1"}, {"window=4,repeat=4", "repeat 4"}, {"weight=words,repeat=2", "weight=words is one copy"},
                                                             {"screen=dropout-vote", "merges of subsets"}};
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        moa_mix_cfg c = moa_mix_defaults("self-moa-seq");
        moa_err err = {0};
        set(&c, all[i].set);
        assert_int_equal(moa_strategy_find("self-moa-seq")->check(&c, &err), MOA_EUSAGE);
        assert_non_null(strstr(err.text, all[i].says));
    }
    moa_mix_cfg c = moa_mix_defaults("self-moa-seq");
    moa_err err = {0};
    assert_int_equal(moa_mix_set(&c, "window", "65", &err), MOA_EUSAGE);
    assert_int_equal(moa_mix_set(&c, "order", "best", &err), MOA_EUSAGE);
    assert_int_equal(moa_mix_set(&c, "fit", "drop", &err), MOA_EUSAGE);
    assert_non_null(strstr(err.text, "shorten|window"));
}

/* ---- judges ---- */

/* 3,000 bytes, all of which a judge with room for them reads; one with less says what it cut, for all alike. */
static int long_drafts(scripted *s, int i, const moa_call *c, char *out, size_t n) {
    (void)s;
    if (c->sampling.temperature == 0) return snprintf(out, n, "Choice: 1"), 0;
    size_t at = (size_t)snprintf(out, n, "begin%d", i);
    for (int k = 0; k < 600; k++) at += (size_t)snprintf(out + at, n - at, k == 300 ? " amid" : " word");
    snprintf(out + at, n - at, " end%d", i);
    return 0;
}

static void test_judge(void **state) {
    (void)state;
    play p;
    go(&p, "universal-self-consistency", "n=3", 4000, long_drafts);
    const moa_agent_node *j = &p.r->node[3];
    assert_string_equal(j->role, "judge");
    assert_non_null(strstr(prompt(j), "amid"));
    assert_null(j->note);
    over(&p);
    go(&p, "universal-self-consistency", "n=3", 700, long_drafts);
    j = &p.r->node[3];
    assert_null(strstr(prompt(j), "amid"));
    assert_true(scripted_words(j->msg, j->n_msg) <= 525 && scripted_words(j->msg, j->n_msg) > 500); /* the room is used */
    for (int i = 0; i < 3; i++) {
        char head[16], tail[16];
        snprintf(head, sizeof head, "begin%d ", i);
        snprintf(tail, sizeof tail, " end%d\n", i);
        assert_non_null(strstr(prompt(j), head));
        assert_non_null(strstr(prompt(j), tail));
    }
    assert_non_null(strstr(j->note, "candidates shortened to"));
    assert_non_null(strstr(j->note, "to fit the context of 700 tokens"));
    over(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_windows), cmocka_unit_test(test_where), cmocka_unit_test(test_failures), cmocka_unit_test(test_budget),
                                       cmocka_unit_test(test_hostile), cmocka_unit_test(test_options), cmocka_unit_test(test_unfit), cmocka_unit_test(test_judge)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
