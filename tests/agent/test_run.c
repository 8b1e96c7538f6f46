/* test_run.c - the executor with a scripted backend: order, batches, seeds, usage, failures, cancel.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/scripted.h"

#include "agent/mix.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static const moa_message question[] = {{"user", "What is 2 + 2?"}};

static int by_index(scripted *s, int i, const moa_call *c, char *out, size_t n) {
    (void)s, (void)c;
    snprintf(out, n, "Reply %d. Answer: %d", i, i % 2);
    return 0;
}

static moa_run *new_run(moa_mix_cfg *cfg, const char *strategy, moa_backend *const *b, int n_b, uint64_t seed) {
    static moa_run *r;
    moa_err err = {0};
    if (!cfg->strategy) *cfg = moa_mix_defaults(strategy);
    cfg->proposer = b;
    cfg->n_proposer = n_b;
    int rc = moa_run_new(&r, cfg, question, 1, seed, &err);
    if (rc < 0) fail_msg("%s", err.text);
    return r;
}

typedef struct trace { moa_buf b; int stop_at, seen; } trace;
static bool on_event(void *ctx, moa_run *r, const moa_event *e) {
    trace *t = ctx;
    static const char kind[] = "STD";
    moa_buf_addf(&t->b, "%c%s ", kind[e->kind], r->node[e->node].name);
    return !t->stop_at || ++t->seen < t->stop_at;
}

static void test_order(void **state) {
    (void)state;
    scripted s;
    scripted_init(&s, "m", by_index);
    moa_backend *b = &s.base;
    moa_mix_cfg cfg = {0};
    cfg = moa_mix_defaults("self-moa");
    cfg.n = 3;
    moa_run *r = new_run(&cfg, "self-moa", &b, 1, 1);
    trace t = {0};
    moa_buf_init(&t.b, 10000);
    assert_int_equal(moa_run_execute(r, on_event, &t, NULL), 0);
    assert_string_equal(moa_buf_str(&t.b), "Sp1 Sp2 Sp3 Tp1 Dp1 Tp2 Dp2 Tp3 Dp3 Sagg Tagg Dagg ");
    assert_string_equal(moa_run_answer(r), "Reply 3. Answer: 1");
    assert_int_equal(s.batches, 2);
    assert_int_equal(s.largest, 3);
    assert_int_equal(r->usage.calls, 4);
    int64_t prompt = 0, done = 0, reused = 0;
    for (int i = 0; i < r->n_node; i++) {
        prompt += scripted_words(r->node[i].msg, r->node[i].n_msg);
        reused += scripted_words(r->node[i].msg, r->node[i].n_msg) / 2;
        done += 4;
    }
    assert_int_equal(r->usage.prompt_tokens, prompt);
    assert_int_equal(r->usage.completion_tokens, done);
    assert_int_equal(r->usage.total_tokens, prompt + done);
    assert_int_equal(r->usage.reused_prefix_tokens, reused);
    moa_buf_deinit(&t.b);
    moa_run_free(r);
    scripted_deinit(&s);
}

/* Sample i has the same seed whatever n and strategy; other run seeds give other ones; no two samples share one. */
static void test_seeds(void **state) {
    (void)state;
    scripted s;
    scripted_init(&s, "m", by_index);
    moa_backend *b = &s.base;
    uint64_t want[6];
    moa_mix_cfg cfg = moa_mix_defaults("self-moa");
    cfg.n = 6;
    moa_run *r = new_run(&cfg, NULL, &b, 1, 42);
    for (int i = 0; i < 6; i++) want[i] = r->node[i].sampling.seed;
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < i; j++) assert_true(want[i] != want[j]);
    moa_run_free(r);
    static const char *const names[] = {"self-moa", "vote", "self-moa-seq", "moa", "single"};
    static const int n[] = {2, 4, 6, 3, 1};
    for (int k = 0; k < 5; k++) {
        cfg = moa_mix_defaults(names[k]);
        cfg.n = n[k];
        r = new_run(&cfg, NULL, &b, 1, 42);
        for (int i = 0; i < n[k]; i++) assert_true(r->node[i].sampling.seed == want[i]);
        moa_run_free(r);
        r = new_run(&cfg, NULL, &b, 1, 43);
        assert_true(r->node[0].sampling.seed != want[0]);
        moa_run_free(r);
    }
    scripted_deinit(&s);
}

static int fails_at(scripted *s, int i, const moa_call *c, char *out, size_t n) {
    const char *mask = s->base.id; /* 'x' at index i: call i fails */
    if (i < (int)strlen(mask) && mask[i] == 'x') return MOA_EIO;
    return by_index(s, i, c, out, n);
}

static moa_run *run_with(scripted *s, const char *mask, const char *strategy, int *rc) {
    scripted_init(s, mask, fails_at);
    static moa_backend *b;
    static moa_mix_cfg cfg;
    b = &s->base;
    cfg = moa_mix_defaults(strategy);
    cfg.n = 3;
    moa_run *r = new_run(&cfg, NULL, &b, 1, 1);
    *rc = moa_run_execute(r, NULL, NULL, NULL);
    return r;
}

static void test_failures(void **state) {
    (void)state;
    scripted s;
    int rc;
    /* One proposer fails: left out, and the aggregator says so. */
    moa_run *r = run_with(&s, "-x-", "self-moa", &rc);
    assert_int_equal(rc, 0);
    assert_int_equal(r->node[1].state, MOA_NODE_FAILED);
    assert_int_equal(r->node[1].rc, MOA_EIO);
    assert_non_null(strstr(r->node[3].note, "p2"));
    assert_null(strstr(r->node[3].msg[0].content, "Reply 1"));
    assert_non_null(strstr(r->node[3].msg[0].content, "Reply 2"));
    assert_int_equal(r->usage.calls, 4);
    moa_run_free(r);
    scripted_deinit(&s);
    /* The aggregator fails: the largest cluster answers (replies 0 and 2 agree), and the note tells. */
    r = run_with(&s, "---x", "self-moa", &rc);
    assert_int_equal(rc, 0);
    assert_string_equal(moa_run_answer(r), "Reply 0. Answer: 0");
    assert_int_equal(r->node[3].state, MOA_NODE_DONE);
    assert_int_equal(r->node[3].rc, MOA_EIO);
    assert_non_null(strstr(r->node[3].note, "failed"));
    assert_non_null(strstr(r->node[3].note, "2 of 3"));
    moa_run_free(r);
    scripted_deinit(&s);
    /* All proposers fail: so does the run, with their cause. */
    r = run_with(&s, "xxx", "self-moa", &rc);
    assert_int_equal(rc, MOA_EIO);
    assert_non_null(strstr(r->err.text, "the script says no"));
    assert_string_equal(moa_run_answer(r), "");
    assert_int_equal(s.calls, 3);
    moa_run_free(r);
    scripted_deinit(&s);
    r = run_with(&s, "x", "single", &rc);
    assert_int_equal(rc, MOA_EIO);
    moa_run_free(r);
    scripted_deinit(&s);
}

/* Several backends in one layer; one is dead as a whole. */
static void test_dead_backend(void **state) {
    (void)state;
    scripted s[2];
    scripted_init(&s[0], "alive", by_index);
    scripted_init(&s[1], "dead", by_index);
    s[1].dead = MOA_EIO;
    moa_backend *b[2] = {&s[0].base, &s[1].base};
    moa_mix_cfg cfg = moa_mix_defaults("moa");
    assert_int_equal(moa_mix_set(&cfg, "layers", "1", NULL), 0);
    assert_int_equal(moa_mix_set(&cfg, "layers", "2", NULL), 0);
    moa_run *r = new_run(&cfg, NULL, b, 2, 1);
    assert_int_equal(r->n_node, 5);
    assert_int_equal(moa_run_execute(r, NULL, NULL, NULL), 0);
    assert_int_equal(r->node[1].state, MOA_NODE_FAILED);
    assert_int_equal(r->node[3].state, MOA_NODE_FAILED);
    assert_int_equal(s[0].calls, 3);
    moa_run_free(r);
    scripted_deinit(&s[0]);
    scripted_deinit(&s[1]);
}

static void test_cancel(void **state) {
    (void)state;
    for (int stop = 1; stop <= 12; stop++) {
        scripted s;
        scripted_init(&s, "m", by_index);
        moa_backend *b = &s.base;
        moa_mix_cfg cfg = moa_mix_defaults("self-moa");
        cfg.n = 3;
        moa_run *r = new_run(&cfg, NULL, &b, 1, 1);
        trace t = {.stop_at = stop};
        moa_buf_init(&t.b, 10000);
        int rc = moa_run_execute(r, on_event, &t, NULL);
        /* The last two events are the aggregator's, whose call has ended by then: nothing is left to cancel, the answer stands. */
        assert_int_equal(rc, MOA_ECANCELED);
        assert_int_equal(r->rc, stop >= 11 ? 0 : MOA_ECANCELED);
        assert_true(s.calls == (stop <= 3 ? 0 : stop <= 10 ? 3 : 4));
        moa_buf_deinit(&t.b);
        moa_run_free(r);
        scripted_deinit(&s);
    }
}

/* Runs advance side by side, each with all of its calls that are ready; a failing run does not stop the others. */
static int fails_for_two(scripted *s, int i, const moa_call *c, char *out, size_t n) {
    if (strstr(c->msg[0].content, "bad")) return MOA_ELIMIT;
    return by_index(s, i, c, out, n);
}

static void test_many(void **state) {
    (void)state;
    scripted s;
    scripted_init(&s, "m", fails_for_two);
    moa_backend *b = &s.base;
    static const moa_message conv[3] = {{"user", "one"}, {"user", "bad"}, {"user", "three"}};
    moa_mix_cfg cfg = moa_mix_defaults("self-moa");
    cfg.n = 4;
    cfg.proposer = &b;
    cfg.n_proposer = 1;
    moa_run *r[3];
    for (int i = 0; i < 3; i++) assert_int_equal(moa_run_new(&r[i], &cfg, &conv[i], 1, 5, NULL), 0);
    assert_int_equal(moa_run_execute_many(r, 3, NULL, NULL, NULL), 0);
    assert_int_equal(s.batches, 3 + 2);
    assert_int_equal(s.largest, 4);
    assert_int_equal(r[0]->rc, 0);
    assert_int_equal(r[1]->rc, MOA_ELIMIT);
    assert_int_equal(r[2]->rc, 0);
    for (int i = 0; i < 3; i++) moa_run_free(r[i]);
    scripted_deinit(&s);
}

/* ---- calls that take their time: a backend that ends them when it is told to ---- */

typedef struct slow { moa_backend base; moa_call *call[64]; int n, stirred; const char *so_far; } slow;

static void slow_start(moa_backend *b, moa_call *const *call, int n) {
    slow *s = (slow *)b;
    for (int i = 0; i < n; i++) s->call[s->n++] = call[i];
}

static void slow_end(slow *s, int i, const char *text) {
    moa_call *c = s->call[i];
    s->call[i] = NULL;
    c->res.text = strdup(text);
    c->res.text_len = strlen(text);
    c->res.n_ids = 3;
    if (atomic_load(&c->cancel)) c->res.why = MOA_STOP_CANCELED;
    else c->on_text(c, text, strlen(text));
    c->on_end(c);
}

static void slow_stir(moa_backend *b) {
    slow *s = (slow *)b;
    s->stirred++;
    for (int i = 0; i < s->n; i++)
        if (s->call[i] && atomic_load(&s->call[i]->cancel)) slow_end(s, i, s->so_far ? s->so_far : "");
}

static void slow_close(moa_backend *b) { (void)b; }
static const moa_backend_ops slow_ops = {.name = "slow", .help = "", .start = slow_start, .stir = slow_stir, .close = slow_close};

static bool stop_in_silence(void *ctx, moa_run *r, const moa_event *e) {
    (void)r;
    if (e->kind != MOA_EV_TEXT) return true;
    assert_int_equal(e->n, 0);
    ++*(int *)ctx;
    return false;
}

/* Nothing is heard of any call: who listens is asked all the same, and can cancel. */
static void test_cancel_in_silence(void **state) {
    (void)state;
    slow s = {.base = {.ops = &slow_ops, .id = "slow"}};
    moa_backend *b = &s.base;
    moa_mix_cfg cfg = moa_mix_defaults("self-moa");
    cfg.n = 3;
    moa_run *r = new_run(&cfg, NULL, &b, 1, 1);
    int told = 0;
    assert_int_equal(moa_run_execute(r, stop_in_silence, &told, NULL), MOA_ECANCELED);
    assert_int_equal(told, 1);
    assert_int_equal(r->rc, MOA_ECANCELED);
    assert_true(s.stirred > 0);
    assert_int_equal(r->usage.calls, 3); /* what they cost is counted */
    moa_run_free(r);
}

/* Ends some of what runs each time that nothing happens. */
typedef struct script { slow *s; int step; } script;

static bool two_of_four(void *ctx, moa_run *r, const moa_event *e) {
    script *k = ctx;
    (void)r;
    if (e->kind != MOA_EV_TEXT || e->n) return true;
    const int step = k->step++;
    if (step == 0) slow_end(k->s, 1, "Answer: 4"), slow_end(k->s, 2, "Answer: 4");
    if (step > 0 && k->s->n > 4 && k->s->call[4]) slow_end(k->s, 4, "Answer: 4");
    return true;
}

/* With two replies of four the vote waits a moment, then leaves the other two behind, cancels them, and says so. */
static void test_late_ones_are_cut_off(void **state) {
    (void)state;
    slow s = {.base = {.ops = &slow_ops, .id = "slow"}};
    moa_backend *b = &s.base;
    moa_mix_cfg cfg = moa_mix_defaults("self-moa");
    cfg.n = 4;
    moa_run *r = new_run(&cfg, NULL, &b, 1, 1);
    r->node[4].need = 2;
    r->node[4].grace_s = 0.05;
    script k = {.s = &s};
    assert_int_equal(moa_run_execute(r, two_of_four, &k, NULL), 0);
    assert_int_equal(r->node[0].state, MOA_NODE_FAILED);
    assert_int_equal(r->node[1].state, MOA_NODE_DONE);
    assert_int_equal(r->node[3].state, MOA_NODE_FAILED);
    assert_int_equal(r->node[0].rc, MOA_ECANCELED);
    assert_non_null(strstr(r->node[0].note, "cut off"));
    assert_non_null(strstr(r->node[4].note, "p1"));
    assert_int_equal(r->node[4].state, MOA_NODE_DONE);
    assert_int_equal(r->usage.calls, 5);
    assert_true(r->node[4].started >= r->node[1].ended + 0.049);
    moa_run_free(r);
}

static bool one_of_three(void *ctx, moa_run *r, const moa_event *e) {
    script *k = ctx;
    (void)r;
    if (e->kind == MOA_EV_TEXT && !e->n && !k->step++) slow_end(k->s, 1, "Answer: 4");
    return true;
}

/* When time is over, what is there must do: a draft for the merge that is not asked any more; what a single reply has said so far. */
static void test_deadline(void **state) {
    (void)state;
    slow s = {.base = {.ops = &slow_ops, .id = "slow"}};
    moa_backend *b = &s.base;
    moa_mix_cfg cfg = moa_mix_defaults("self-moa");
    cfg.n = 3;
    cfg.deadline_s = 0.1;
    moa_run *r = new_run(&cfg, NULL, &b, 1, 1);
    script k = {.s = &s};
    assert_int_equal(moa_run_execute(r, one_of_three, &k, NULL), 0);
    assert_string_equal(moa_run_answer(r), "Answer: 4");
    assert_int_equal(s.n, 3);
    assert_int_equal(r->node[0].rc, MOA_ETIME);
    assert_non_null(strstr(r->node[0].note, "deadline of 0.1 s"));
    assert_non_null(strstr(r->node[3].note, "not asked"));
    assert_true(r->node[3].replaced);
    assert_true(r->seconds >= 0.1 && r->seconds < 5);
    moa_run_free(r);
    slow one = {.base = {.ops = &slow_ops, .id = "slow"}, .so_far = "half a reply"};
    b = &one.base;
    cfg = moa_mix_defaults("single");
    cfg.deadline_s = 0.05;
    r = new_run(&cfg, NULL, &b, 1, 1);
    assert_int_equal(moa_run_execute(r, NULL, NULL, NULL), 0);
    assert_string_equal(moa_run_answer(r), "half a reply");
    assert_non_null(strstr(r->node[0].note, "deadline"));
    moa_run_free(r);
    one = (slow){.base = {.ops = &slow_ops, .id = "slow"}}; /* nothing at all: that is a failure */
    r = new_run(&cfg, NULL, &b, 1, 1);
    assert_int_equal(moa_run_execute(r, NULL, NULL, NULL), MOA_ETIME);
    moa_run_free(r);
}

/* A graph of many nodes: each reads the three before it, and all of them come to their end in order. */
static int echo(scripted *s, int i, const moa_call *c, char *out, size_t n) {
    (void)s, (void)c;
    snprintf(out, n, "%d", i);
    return 0;
}

static int count_inputs(moa_run *r, moa_agent_node *n, moa_err *err) {
    (void)err;
    n->text = moa_arena_strndup(r->arena, "x", 1);
    n->text_len = 1;
    for (int i = 0; i < n->n_in; i++) assert_int_equal(r->node[n->in[i]].state, MOA_NODE_DONE);
    return 0;
}

static void test_large_graph(void **state) {
    (void)state;
    enum { N = 10000 };
    scripted s;
    scripted_init(&s, "m", echo);
    moa_backend *b = &s.base;
    moa_mix_cfg cfg = moa_mix_defaults("single");
    moa_run *r = new_run(&cfg, NULL, &b, 1, 1);
    for (int i = 1; i < N; i++) {
        const int in[3] = {i - 1, i > 1 ? i - 2 : 0, i > 2 ? i - 3 : 0};
        moa_agent_node n = {.name = "r", .role = "reduce", .reduce = count_inputs, .in = in, .n_in = 3};
        assert_int_equal(moa_run_add(r, &n, NULL), i);
    }
    r->answer = N - 1;
    assert_int_equal(moa_run_execute(r, NULL, NULL, NULL), 0);
    for (int i = 0; i < N; i++) assert_int_equal(r->node[i].state, MOA_NODE_DONE);
    moa_run_free(r);
    scripted_deinit(&s);
}

static void test_bad_graphs(void **state) {
    (void)state;
    scripted s;
    scripted_init(&s, "m", by_index);
    moa_backend *b = &s.base;
    moa_mix_cfg cfg = moa_mix_defaults("single");
    moa_err err = {0};
    moa_run *r;
    assert_int_equal(moa_run_new(&r, &cfg, question, 1, 1, &err), MOA_EINVAL); /* no model */
    cfg.proposer = &b;
    cfg.n_proposer = 1;
    static const moa_message half[] = {{"user", "a"}, {"assistant", "b"}};
    assert_int_equal(moa_run_new(&r, &cfg, half, 2, 1, &err), MOA_EINVAL);
    cfg.strategy = "selfmoa";
    assert_int_equal(moa_run_new(&r, &cfg, question, 1, 1, &err), MOA_ENOTFOUND);
    cfg.strategy = "single";
    cfg.propose.temperature = -1;
    assert_true(moa_run_new(&r, &cfg, question, 1, 1, &err) < 0);
    cfg.propose.temperature = 1;
    assert_int_equal(moa_run_new(&r, &cfg, question, 1, 1, &err), 0);
    int later = 1;
    moa_agent_node n = {.name = "x", .role = "x", .backend = b, .in = &later, .n_in = 1};
    assert_int_equal(moa_run_add(r, &n, &err), MOA_EINVAL);
    n = (moa_agent_node){.name = "x", .role = "x"};
    assert_int_equal(moa_run_add(r, &n, &err), MOA_EINVAL);
    moa_run_free(r);
    scripted_deinit(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),        cmocka_unit_test(test_seeds),  cmocka_unit_test(test_failures),
        cmocka_unit_test(test_dead_backend), cmocka_unit_test(test_cancel), cmocka_unit_test(test_many),
        cmocka_unit_test(test_cancel_in_silence), cmocka_unit_test(test_late_ones_are_cut_off), cmocka_unit_test(test_deadline), cmocka_unit_test(test_large_graph),
        cmocka_unit_test(test_bad_graphs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
