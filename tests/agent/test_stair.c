/* test_stair.c - staircase aggregation: which parts each step reads, how its reply goes on, what the user sees of it, and what it comes to when something fails.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "agent/mix.h"
#include "agent/replay.h"
#include "agent/stair.h"
#include "agent/trace.h"
#include "base/buf.h"
#include "task/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- a backend whose calls say what the test says, when it says it ---- */

enum { MOST = 64 };
typedef struct by_hand { moa_backend base; moa_call *call[MOST]; int n; } by_hand;

static void start(moa_backend *b, moa_call *const *call, int n) {
    by_hand *h = (by_hand *)b;
    for (int i = 0; i < n; i++) assert_true(h->n < MOST), h->call[h->n++] = call[i];
}

static void close_it(moa_backend *b) { (void)b; }
static void stir(moa_backend *b) { (void)b; }

static const moa_backend_ops ops = {.name = "by hand", .help = "", .start = start, .stir = stir, .close = close_it};

static void say(by_hand *h, int i, const char *text) { h->call[i]->on_text(h->call[i], text, strlen(text)); }

static void end(by_hand *h, int i, const char *whole, moa_stop why) {
    moa_call *c = h->call[i];
    c->res = (moa_gen_res){.text = strdup(whole), .text_len = strlen(whole), .n_ids = 3, .n_prompt = 10, .why = why};
    h->call[i] = NULL;
    c->on_end(c);
}

static void die(by_hand *h, int i) {
    moa_err err = {0};
    moa_call *c = h->call[i];
    moa_fail(&err, MOA_EIO, "the line is dead");
    h->call[i] = NULL;
    moa_call_fail(c, &err);
}

/* ---- a run that the test drives ---- */

typedef struct stage { by_hand h; moa_backend *b; moa_mix_cfg cfg; moa_run *r; moa_loop *loop; bool over; moa_buf shown; } stage;
static const moa_message question = {"user", "What is 1 + 1?"};

static bool on_event(void *ctx, moa_run *r, const moa_event *e) {
    stage *s = ctx;
    if (e->kind == MOA_EV_TEXT && moa_run_is_answer(r, e->node)) moa_buf_add(&s->shown, e->text, e->n);
    return true;
}

static void on_ended(void *ctx, moa_run *r) { (void)r, ((stage *)ctx)->over = true; }

static void set(moa_mix_cfg *c, const char *key, const char *value) {
    moa_err err = {0};
    if (moa_mix_set(c, key, value, &err) < 0) fail_msg("%s", err.text);
}

static void turn(stage *s) {
    for (int i = 0; i < 4; i++) moa_loop_turn(s->loop, 0.01);
}

static void begin(stage *s, const char *n, const char *staircase) {
    *s = (stage){.h = {.base = {.ops = &ops, .id = "m", .fingerprint = 7, .goes_on = true}}, .cfg = moa_mix_defaults("self-moa")};
    s->b = &s->h.base;
    s->cfg.proposer = &s->b, s->cfg.n_proposer = 1;
    set(&s->cfg, "n", n);
    set(&s->cfg, "staircase", staircase);
    moa_buf_init(&s->shown, 1 << 20);
}

static void go(stage *s) {
    moa_err err = {0};
    if (moa_run_new(&s->r, &s->cfg, &question, 1, 5, &err) < 0) fail_msg("%s", err.text);
    assert_int_equal(moa_loop_new(&s->loop, 0, NULL), 0);
    assert_int_equal(moa_run_start(s->r, s->loop, on_event, on_ended, s, NULL), 0);
    turn(s);
}

static void check_replay(const moa_run *r) {
    json_t *was = moa_trace_run(r, false), *again = NULL;
    moa_err err = {0};
    if (moa_replay(&again, was, "trace", &err) < 0) fail_msg("%s", err.text);
    char place[200], a[400], b[400];
    if (moa_replay_compare(place, sizeof place, a, b, sizeof a, moa_trace_canonical(was), again)) fail_msg("%s: %s, and again: %s", place, a, b);
    json_decref(was);
    json_decref(again);
}

static void done(stage *s) {
    assert_true(s->over);
    check_replay(s->r);
    moa_run_free(s->r);
    moa_loop_free(s->loop);
    moa_buf_deinit(&s->shown);
}

static const char *asked(const stage *s, int i) { return s->h.call[i]->msg[s->h.call[i]->n_msg - 1].content; }
#define TASK "These replies may be wrong. Compare them, check the steps, and give the best final answer in the same form."
#define READS(a, b) "What is 1 + 1?\n\nCandidate replies:\n== 1 ==\n" a "\n== 2 ==\n" b "\n== end ==\n" TASK

static void test_steps(void **state) {
    (void)state;
    stage s;
    begin(&s, "2", "2"); /* two tokens are eight bytes */
    go(&s);
    assert_int_equal(s.h.n, 2);
    say(&s.h, 0, "one and one"), turn(&s);
    assert_int_equal(s.h.n, 2); /* the other has said nothing */
    say(&s.h, 1, "it is two"), turn(&s);
    assert_int_equal(s.h.n, 3);
    assert_string_equal(asked(&s, 2), READS("one and", "it is")); /* no word is half */
    assert_null(s.h.call[2]->prefix);
    assert_true(s.h.call[2]->goes_on);
    assert_int_equal(s.h.call[2]->max_tokens, 2);
    const uint64_t seed = s.h.call[2]->sampling.seed;
    assert_int_equal(seed, s.r->node[2].sampling.seed);
    say(&s.h, 2, "We "), turn(&s);
    assert_string_equal(moa_buf_str(&s.shown), "We ");
    assert_true(s.r->first_s > 0);
    say(&s.h, 2, "add"), end(&s.h, 2, "We add", MOA_STOP_LENGTH), turn(&s);
    assert_int_equal(s.h.n, 3); /* the second waits for 16 bytes */
    say(&s.h, 0, " make two, so 2"), turn(&s);
    assert_int_equal(s.h.n, 3);
    end(&s.h, 1, "it is two", MOA_STOP_EOS), turn(&s); /* it has ended: there is no more to wait for */
    assert_int_equal(s.h.n, 4);
    assert_string_equal(asked(&s, 3), READS("one and one make", "it is two"));
    assert_string_equal(s.h.call[3]->prefix, "We add");
    assert_int_equal(s.h.call[3]->max_tokens, 2);
    assert_true(s.h.call[3]->sampling.seed != seed);
    end(&s.h, 3, " both", MOA_STOP_LENGTH), turn(&s);
    assert_string_equal(moa_buf_str(&s.shown), "We add both"); /* what was not streamed comes with the end */
    assert_int_equal(s.h.n, 4);
    end(&s.h, 0, "one and one make two, so 2\nAnswer: 2", MOA_STOP_EOS), turn(&s);
    assert_int_equal(s.h.n, 5); /* longer than 32 bytes: one more part */
    assert_string_equal(asked(&s, 4), READS("one and one make two, so 2", "it is two"));
    assert_int_equal(s.h.call[4]->max_tokens, 4);
    end(&s.h, 4, ": 1 + 1", MOA_STOP_LENGTH), turn(&s);
    assert_int_equal(s.h.n, 6);
    assert_string_equal(asked(&s, 5), READS("one and one make two, so 2\nAnswer: 2", "it is two"));
    assert_string_equal(s.h.call[5]->prefix, "We add both: 1 + 1");
    assert_false(s.h.call[5]->goes_on);
    assert_int_equal(s.h.call[5]->max_tokens, 256 - 3 * 3); /* what three calls of three tokens have left */
    end(&s.h, 5, " = 2\nAnswer: 2", MOA_STOP_EOS), turn(&s);
    assert_string_equal(moa_run_answer(s.r), "We add both: 1 + 1 = 2\nAnswer: 2");
    assert_string_equal(moa_buf_str(&s.shown), "We add both: 1 + 1 = 2\nAnswer: 2");
    assert_int_equal(s.r->usage.calls, 6);
    assert_int_equal(s.r->node[2].prompt_tokens, 40);
    assert_int_equal(s.r->node[2].completion_tokens, 12);
    json_t *trace = moa_trace_run(s.r, false), *steps = json_object_get(json_array_get(json_object_get(trace, "nodes"), 2), "steps");
    static const int read[4][2] = {{7, 5}, {16, 9}, {26, 9}, {36, 9}};
    assert_int_equal(json_array_size(steps), 4);
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 2; k++) assert_int_equal(json_integer_value(json_array_get(json_object_get(json_array_get(steps, i), "read"), k)), read[i][k]);
    json_decref(trace);
    done(&s);
}

/* Proposals that have no more to say than the first step waits for: plain aggregation, byte for byte. */
static void test_whole(void **state) {
    (void)state;
    char *messages[2];
    for (int k = 0; k < 2; k++) {
        stage s;
        begin(&s, "2", k ? "1000000" : "0");
        go(&s);
        say(&s.h, 0, "long enough to be read in parts"), turn(&s);
        end(&s.h, 0, "long enough to be read in parts\nAnswer: 2", MOA_STOP_EOS), end(&s.h, 1, "2", MOA_STOP_EOS), turn(&s);
        assert_int_equal(s.h.n, 3);
        messages[k] = strdup(asked(&s, 2));
        assert_null(s.h.call[2]->prefix);
        assert_false(s.h.call[2]->goes_on);
        assert_int_equal(s.h.call[2]->max_tokens, 256);
        assert_int_equal(s.h.call[2]->sampling.seed, s.r->node[2].sampling.seed);
        end(&s.h, 2, "Answer: 2", MOA_STOP_EOS), turn(&s);
        assert_string_equal(moa_run_answer(s.r), "Answer: 2");
        done(&s);
    }
    assert_string_equal(messages[0], messages[1]);
    free(messages[0]);
    free(messages[1]);
}

/* The line of what the replies say is of each step anew, and nobody is shown it. */
static void test_line(void **state) {
    (void)state;
    stage s;
    begin(&s, "1", "2");
    go(&s);
    say(&s.h, 0, "let me think"), turn(&s);
    say(&s.h, 1, "Replies"), turn(&s);
    say(&s.h, 1, " say: n"), turn(&s);
    end(&s.h, 1, "Replies say: n", MOA_STOP_LENGTH), turn(&s);
    assert_int_equal(s.shown.len, 0);
    assert_true(s.r->first_s == 0);
    end(&s.h, 0, "let me think\nAnswer: 2", MOA_STOP_EOS), turn(&s);
    assert_string_equal(s.h.call[2]->prefix, "Replies say: none\n"); /* "let me think" */
    end(&s.h, 2, "1 + 1", MOA_STOP_LENGTH), turn(&s);
    assert_string_equal(moa_buf_str(&s.shown), "1 + 1");
    assert_string_equal(s.h.call[3]->prefix, "Replies say: 2\n1 + 1");
    end(&s.h, 3, " = 2\nAnswer: 2", MOA_STOP_EOS), turn(&s);
    assert_string_equal(moa_run_answer(s.r), "1 + 1 = 2\nAnswer: 2");
    assert_string_equal(s.r->node[1].text, "Replies say: 2\n1 + 1 = 2\nAnswer: 2");
    assert_string_equal(moa_buf_str(&s.shown), "1 + 1 = 2\nAnswer: 2");
    done(&s);
}

/* A step that fails ends the reply; what stands in for it is what all proposals say, not those that had ended by then. */
static void test_failed_step(void **state) {
    (void)state;
    stage s;
    begin(&s, "2", "2");
    go(&s);
    say(&s.h, 0, "one and one"), say(&s.h, 1, "it is two"), turn(&s);
    say(&s.h, 2, "We"), die(&s.h, 2), turn(&s);
    assert_false(s.over);
    end(&s.h, 0, "one and one\nAnswer: 3", MOA_STOP_EOS), turn(&s);
    assert_false(s.over);
    end(&s.h, 1, "it is two\nAnswer: 2", MOA_STOP_EOS), turn(&s);
    assert_true(s.r->node[2].replaced);
    assert_string_equal(moa_run_answer(s.r), "one and one\nAnswer: 3"); /* the first of equals */
    done(&s);
}

/* A proposal that fails after a step had read of it: the next leaves it out. Refused as a whole: the vote. */
static void test_failed_proposal(void **state) {
    (void)state;
    stage s;
    begin(&s, "2", "2");
    go(&s);
    say(&s.h, 0, "one and one"), say(&s.h, 1, "it is two"), turn(&s);
    assert_string_equal(asked(&s, 2), READS("one and", "it is"));
    die(&s.h, 0), end(&s.h, 1, "it is two\nAnswer: 2", MOA_STOP_EOS), turn(&s);
    end(&s.h, 2, "We", MOA_STOP_LENGTH), turn(&s);
    assert_string_equal(asked(&s, 3), "What is 1 + 1?\n\nCandidate replies:\n== 1 ==\nit is two\n== end ==\n" TASK);
    end(&s.h, 3, " do not", MOA_STOP_EOS), turn(&s); /* an end on parts: the whole is read before it counts */
    assert_string_equal(asked(&s, 4), "What is 1 + 1?\n\nCandidate replies:\n== 1 ==\nit is two\nAnswer: 2\n== end ==\n" TASK);
    end(&s.h, 4, " know", MOA_STOP_EOS), turn(&s);
    assert_true(s.r->node[2].replaced);
    assert_string_equal(s.r->node[2].said, "We do not know");
    assert_string_equal(moa_run_answer(s.r), "it is two\nAnswer: 2");
    assert_non_null(strstr(s.r->node[2].note, "left out p1, which failed"));
    done(&s);
}

/* A deadline before any proposal has ended: what was said is the answer. */
static void test_deadline(void **state) {
    (void)state;
    stage s;
    begin(&s, "1", "2");
    set(&s.cfg, "deadline", "0.2");
    go(&s);
    say(&s.h, 0, "one and one"), turn(&s);
    end(&s.h, 1, "It is 2", MOA_STOP_LENGTH), turn(&s);
    usleep(250000);
    turn(&s);
    assert_true(atomic_load(&s.h.call[0]->cancel));
    end(&s.h, 0, "one and one make", MOA_STOP_CANCELED), turn(&s);
    assert_string_equal(moa_run_answer(s.r), "It is 2");
    assert_int_equal(s.r->rc, 0);
    assert_non_null(strstr(s.r->node[1].note, "deadline"));
    done(&s);
}

static void test_where_not(void **state) {
    (void)state;
    moa_err err = {0};
    moa_mix_cfg c = moa_mix_defaults("vote");
    assert_int_equal(moa_mix_set(&c, "staircase", "8", &err), MOA_EUSAGE);
    assert_string_equal(err.text, "mix vote has no parameter staircase");
    stage s;
    begin(&s, "1", "2");
    set(&s.cfg, "screen", "cluster");
    assert_int_equal(moa_run_new(&s.r, &s.cfg, &question, 1, 5, &err), MOA_EUSAGE);
    assert_string_equal(err.text, "mix self-moa: staircase and screen exclude each other: one reads proposals while they are written, the other chooses among whole ones");
    set(&s.cfg, "screen", "none");
    s.h.base.goes_on = false; /* as a model behind a URL: plain aggregation, and it says so */
    go(&s);
    say(&s.h, 0, "one and one are"), turn(&s);
    assert_int_equal(s.h.n, 1);
    end(&s.h, 0, "one and one are", MOA_STOP_EOS), turn(&s);
    end(&s.h, 1, "two", MOA_STOP_EOS), turn(&s);
    assert_string_equal(s.r->node[1].note, "waits for whole proposals: its model cannot go on from the beginning of a reply");
    done(&s);
}

/* ---- a real model ---- */

static char *complete(moa_backend *b, const char *text, const char *prefix, int n, bool goes_on) {
    const moa_message m = {"user", text};
    moa_call c = {.msg = &m, .n_msg = 1, .prefix = prefix, .goes_on = goes_on, .sampling = moa_sampling_defaults(), .max_tokens = n};
    moa_err err = {0};
    c.sampling.temperature = 0;
    assert_int_equal(moa_backend_complete(b, &c, 1, NULL, NULL, &err), 0);
    if (c.rc < 0) fail_msg("%s", c.err.text);
    char *out = c.res.text;
    c.res.text = NULL;
    moa_gen_res_deinit(&c.res);
    return out;
}

/* The reply in pieces is the reply: text by text, whatever the KV holds. */
static void test_goes_on(void **state) {
    (void)state;
    static const char *const ask[] = {"Tom has 12 apples and buys 30 more. How many apples has he?", "What is 17 + 25?", "Sort these numbers: 31, 4, 15, 92.",
                                      ("What is 2 + 2?\n\nCandidate replies:\n== 1 ==\n2+2=4.\nAnswer: 4\n== 2 ==\n2+2=5\nAnswer: 5\n== end ==\n" TASK)};
    enum { N = (int)(sizeof ask / sizeof *ask) };
    moa_err err = {0};
    for (int again = 0; again < 2; again++)
        for (int i = 0; i < N; i++) {
            moa_backend *b;
            if (moa_backend_local_open(&b, "models/moa-tiny.gguf", NULL, &err) < 0) fail_msg("%s", err.text);
            char *whole = complete(b, ask[i], NULL, 64, false);
            for (int piece = 1; piece < 12; piece += 3) {
                if (!again) { /* nothing of it is in the cache */
                    moa_backend_close(b);
                    assert_int_equal(moa_backend_local_open(&b, "models/moa-tiny.gguf", NULL, &err), 0);
                }
                moa_buf all;
                moa_buf_init(&all, 1 << 20);
                for (int k = 0; k < 64; k += piece) {
                    char *more = complete(b, ask[i], k ? moa_buf_str(&all) : NULL, k + piece < 64 ? piece : 64 - k, k + piece < 64);
                    moa_buf_adds(&all, more);
                    free(more);
                }
                assert_string_equal(moa_buf_str(&all), whole);
                moa_buf_deinit(&all);
            }
            free(whole);
            moa_backend_close(b);
        }
}

/* With proposals that end before the first step reads anything, the whole mix says what it says without the setting. */
static void test_same_answer(void **state) {
    (void)state;
    moa_backend *b;
    moa_err err = {0};
    char *answer[2];
    if (moa_backend_local_open(&b, "models/moa-tiny.gguf", NULL, &err) < 0) fail_msg("%s", err.text);
    const moa_message m = {"user", "Tom has 12 apples and buys 30 more. How many apples has he?"};
    for (int k = 0; k < 2; k++) {
        moa_run *r;
        moa_mix_cfg cfg = moa_mix_defaults("self-moa");
        cfg.proposer = &b, cfg.n_proposer = 1;
        set(&cfg, "staircase", k ? "5000" : "0");
        assert_int_equal(moa_run_new(&r, &cfg, &m, 1, 3, NULL), 0);
        assert_int_equal(moa_run_execute(r, NULL, NULL, &err), 0);
        answer[k] = strdup(r->node[r->answer].text);
        moa_run_free(r);
    }
    assert_string_equal(answer[0], answer[1]);
    free(answer[0]);
    free(answer[1]);
    moa_backend_close(b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_steps), cmocka_unit_test(test_whole), cmocka_unit_test(test_line), cmocka_unit_test(test_failed_step),
                                       cmocka_unit_test(test_failed_proposal), cmocka_unit_test(test_deadline), cmocka_unit_test(test_where_not), cmocka_unit_test(test_goes_on),
                                       cmocka_unit_test(test_same_answer)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
