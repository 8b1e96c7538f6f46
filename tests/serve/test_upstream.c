/* test_upstream.c - models behind URLs, against a scripted server: what is asked and read, every fault, limits and turns, cancel, hedges, the
 * breaker, a thousand calls at a time; and against another moa. SPDX-License-Identifier: Apache-2.0 */
#include "agent/replay.h"
#include "agent/trace.h"
#include "base/clock.h"
#include "serve/upstream.h"
#include "support/client.h"
#include "support/mock.h"
#include "support/serving.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- a backend before a scripted server, and calls of it ---- */

typedef struct far_side { mock *m; moa_backend *b; char url[64]; } far_side;

static void far_start(far_side *f, const char *script, moa_upstream_cfg cfg) {
    moa_err err = {0};
    if (mock_start(&f->m, script, 1, 0, &err) < 0) fail_msg("%s", err.text);
    snprintf(f->url, sizeof f->url, "http://127.0.0.1:%d/v1/", mock_port(f->m));
    cfg.id = "far", cfg.url = f->url, cfg.model = "theirs";
    if (moa_upstream_open(&f->b, &cfg, &err) < 0) fail_msg("%s", err.text);
}

static void far_stop(far_side *f) {
    moa_backend_close(f->b);
    mock_stop(f->m);
}

static moa_upstream_stats stats_of(const far_side *f) {
    moa_upstream_stats s;
    assert_true(moa_upstream_stats_of(&s, f->b));
    return s;
}

typedef struct talk talk;
struct talk {
    moa_call call;
    moa_message msg[2];
    char question[32];
    moa_buf text, thoughts; /* as they were told */
    double thought;        /* when it was told the first */
    atomic_int ends;
    double ended;
    talk *follow; moa_backend *to; /* started at its end, in the backend's own thread */
    double nap;                    /* slept there: all of the thread stands still */
};

static void on_text(moa_call *c, const char *s, size_t n) {
    talk *t = (talk *)c;
    assert_int_equal(atomic_load(&t->ends), 0);
    moa_buf_add(&t->text, s, n);
}

static void on_thought(moa_call *c, const char *s, size_t n) {
    talk *t = (talk *)c;
    assert_int_equal(atomic_load(&t->ends) + (int)t->text.len, 0); /* before its text */
    if (!t->thoughts.len) t->thought = moa_now();
    moa_buf_add(&t->thoughts, s, n);
}

static void on_end(moa_call *c) {
    talk *t = (talk *)c;
    moa_call *next = t->follow ? &t->follow->call : NULL;
    t->ended = moa_now();
    if (next) t->to->ops->start(t->to, &next, 1);
    if (t->nap > 0) usleep((useconds_t)(t->nap * 1e6));
    atomic_fetch_add(&t->ends, 1);
}

static void talk_init(talk *t, int i) {
    *t = (talk){.msg = {{"system", "S"}}};
    snprintf(t->question, sizeof t->question, "question %d", i);
    t->msg[1] = (moa_message){"user", t->question};
    t->call = (moa_call){.msg = t->msg, .n_msg = 2, .sampling = moa_sampling_defaults(), .max_tokens = 9, .on_text = on_text, .on_thought = on_thought, .on_end = on_end};
    moa_buf_init(&t->text, 1 << 24);
    moa_buf_init(&t->thoughts, 1 << 24);
}

static talk *talks_new(int n) {
    talk *t = calloc((size_t)n, sizeof *t);
    assert_non_null(t);
    for (int i = 0; i < n; i++) talk_init(&t[i], i);
    return t;
}

static void talks_start(far_side *f, talk *t, int n) {
    moa_call **list = calloc((size_t)n, sizeof(moa_call *));
    for (int i = 0; i < n; i++) list[i] = &t[i].call;
    f->b->ops->start(f->b, list, n);
    free(list);
}

static void talks_wait(talk *t, int n) {
    const double end = moa_now() + 60;
    for (int i = 0; i < n; i++)
        while (!atomic_load(&t[i].ends)) {
            if (moa_now() > end) fail_msg("call %d of %d has no end", i, n);
            usleep(200);
        }
    for (int i = 0; i < n; i++) assert_int_equal(atomic_load(&t[i].ends), 1);
}

static void talks_free(talk *t, int n) {
    for (int i = 0; i < n; i++) {
        moa_gen_res_deinit(&t[i].call.res);
        moa_buf_deinit(&t[i].text);
        moa_buf_deinit(&t[i].thoughts);
    }
    free(t);
}

static void talks_cancel(far_side *f, talk *t, int n) {
    for (int i = 0; i < n; i++) atomic_store(&t[i].call.cancel, true);
    moa_backend_stir(f->b);
}

static void check_whole(const talk *t, int n) {
    for (int i = 0; i < n; i++) {
        if (t[i].call.rc < 0) fail_msg("call %d: %s", i, t[i].call.err.text);
        if (!mock_check(t[i].call.res.text, t[i].call.res.text_len)) fail_msg("call %d: %s", i, t[i].call.res.text);
        assert_string_equal(moa_buf_str(&t[i].text), t[i].call.res.text); /* what was told is what it is */
    }
}

/* Waits until the server sees so many requests under way. */
static void sees(far_side *f, long running) {
    for (const double end = moa_now() + 20; mock_count(f->m).running != running && moa_now() < end;) usleep(200);
    assert_int_equal(mock_count(f->m).running, running);
}

/* ---- what is asked ---- */

static json_t *asked(far_side *f, long i) {
    const char *request = mock_request(f->m, i), *body = request ? strstr(request, "\r\n\r\n") : NULL;
    assert_non_null(body);
    json_t *v = json_loads(body + 4, 0, NULL);
    assert_non_null(v);
    return v;
}

static void test_request(void **state) {
    static const char *const stop[] = {"END"};
    far_side f;
    (void)state;
    json_t *schema = json_pack("{s:s, s:{s:{}}}", "type", "object", "properties", "a"), *any = json_pack("{s:s}", "type", "object");
    json_t *messages = json_pack("[{s:s, s:s}, {s:s, s:s, s:[{s:s, s:s, s:{s:s, s:s}}]}, {s:s, s:s, s:s}]", "role", "user", "content", "Q", "role", "assistant", "content", "", "tool_calls", "id", "c1",
                                 "type", "function", "function", "name", "f", "arguments", "{}", "role", "tool", "tool_call_id", "c1", "content", "42");
    json_t *tools = json_pack("[{s:s, s:{s:s}}]", "type", "function", "function", "name", "f");
    const moa_bias bias[] = {{5, -100}, {7, 1.5f}};
    const moa_call_extra extra[] = {{.stop = stop, .n_stop = 1, .schema = schema, .bias = bias, .n_bias = 2}, {.schema = any}, {.messages = messages, .tools = tools}};
    far_start(&f, "{}", (moa_upstream_cfg){.key = "SECRET"});
    talk *t = talks_new(3);
    for (int i = 0; i < 3; i++) {
        t[i].call.extra = &extra[i];
        talks_start(&f, &t[i], 1);
        talks_wait(&t[i], 1);
    }
    check_whole(t, 3);
    const char *head = mock_request(f.m, 0);
    assert_non_null(strstr(head, "POST /v1/chat/completions HTTP/1.1\r\n"));
    assert_non_null(strstr(head, "Authorization: Bearer SECRET\r\n"));
    json_t *v = asked(&f, 0);
    assert_string_equal(json_string_value(json_object_get(v, "model")), "theirs");
    assert_int_equal(json_array_size(json_object_get(v, "messages")), 2);
    assert_int_equal(json_integer_value(json_object_get(v, "max_tokens")), 9);
    assert_string_equal(json_string_value(json_array_get(json_object_get(v, "stop"), 0)), "END");
    assert_int_equal(json_object_size(json_object_get(v, "logit_bias")), 2);
    assert_float_equal(json_number_value(json_object_get(json_object_get(v, "logit_bias"), "5")), -100, 0);
    assert_float_equal(json_number_value(json_object_get(json_object_get(v, "logit_bias"), "7")), 1.5, 0);
    const json_t *format = json_object_get(v, "response_format");
    assert_string_equal(json_string_value(json_object_get(format, "type")), "json_schema");
    assert_true(json_equal(json_object_get(json_object_get(format, "json_schema"), "schema"), schema));
    json_decref(v);
    v = asked(&f, 1);
    assert_string_equal(json_string_value(json_object_get(json_object_get(v, "response_format"), "type")), "json_object");
    json_decref(v);
    v = asked(&f, 2);
    assert_true(json_equal(json_object_get(v, "tools"), tools));
    const json_t *list = json_object_get(v, "messages");
    assert_int_equal(json_array_size(list), 4); /* the role's system message, and the talk as it is */
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "role")), "system");
    assert_true(json_equal(json_array_get(list, 2), json_array_get(messages, 1)));
    assert_true(json_equal(json_array_get(list, 3), json_array_get(messages, 2)));
    json_decref(v);
    talks_free(t, 3);
    far_stop(&f);
    json_decref(schema);
    json_decref(any);
    json_decref(messages);
    json_decref(tools);
}

static void test_usage(void **state) {
    far_side f;
    (void)state;
    far_start(&f, "{\"times\":1,\"chunks\":7}\n{\"times\":1,\"chunks\":7,\"usage\":false}\n{\"stream\":false,\"chunks\":7}", (moa_upstream_cfg){0});
    talk *t = talks_new(3);
    for (int i = 0; i < 3; i++) {
        talks_start(&f, &t[i], 1);
        talks_wait(&t[i], 1);
        assert_int_equal(t[i].call.res.n_ids, 7); /* without a count: pieces of text */
        assert_int_equal(t[i].call.res.why, MOA_STOP_EOS);
    }
    check_whole(t, 3);
    assert_int_equal(t[0].call.res.n_prompt, 10);
    talks_free(t, 3);
    far_stop(&f);
}

/* Thoughts are told while it thinks, also by a journal that stands before it, and also to who comes later; they are no part of what is said, and not
 * remembered. */
static void test_thoughts(void **state) {
    far_side f;
    moa_journal *j;
    moa_backend *kept;
    (void)state;
    far_start(&f, "{\"thought\":\"Let me see: \\u00fc.\",\"gap\":0.2,\"chunks\":2}", (moa_upstream_cfg){0});
    assert_int_equal(moa_journal_open(&j, NULL, NULL), 0);
    assert_int_equal(moa_backend_journal_open(&kept, j, f.b, NULL), 0);
    talk *t = talks_new(4);
    moa_call *list[] = {&t[1].call, &t[2].call};
    t[2].msg[1] = t[1].msg[1], t[3].msg[1] = t[1].msg[1];
    talks_start(&f, t, 1);
    kept->ops->start(kept, &list[0], 1);
    for (const double end = moa_now() + 20; mock_count(f.m).running < 2 && moa_now() < end;) usleep(200);
    usleep(50000);
    kept->ops->start(kept, &list[1], 1); /* joins the one that thinks */
    talks_wait(t, 3);
    check_whole(t, 3);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(moa_buf_str(&t[i].thoughts), "Let me see: \xc3\xbc.");
        assert_true(t[i].ended - t[i].thought >= 0.2); /* two gaps later */
    }
    assert_int_equal(mock_count(f.m).requests, 2);
    list[0] = &t[3].call;
    kept->ops->start(kept, list, 1); /* it is remembered */
    talks_wait(t + 3, 1);
    assert_string_equal(t[3].call.res.text, t[1].call.res.text);
    assert_int_equal(t[3].thoughts.len, 0);
    talks_free(t, 4);
    moa_backend_close(kept);
    moa_journal_close(j);
    far_stop(&f);
}

/* ---- faults ---- */

/* The server's script, how many requests it sees, the code, and what the error says; text where there is none. */
static void test_faults(void **state) {
    static const struct { const char *script; long asked; int rc; const char *says; } cases[] = {
        {"{\"status\":429,\"retry_after\":\"0\",\"times\":1}\n{\"text\":\"ok\"}", 2, 0, "ok"},
        {"{\"status\":500,\"retry_after_ms\":1,\"times\":1}\n{\"status\":503,\"retry_after_ms\":1,\"times\":1}\n{\"text\":\"ok\"}", 3, 0, "ok"},
        {"{\"status\":500,\"retry_after_ms\":1}", 3, MOA_EIO, "status 500: told to fail"},
        {"{\"status\":429,\"retry_after\":\"3000\"}", 1, MOA_EIO, "status 429"}, /* nobody waits that long */
        {"{\"status\":401,\"body\":\"{\\\"error\\\":{\\\"message\\\":\\\"wrong key\\\"}}\"}", 1, MOA_EIO, "status 401: wrong key"},
        {"{\"status\":404,\"body\":\"<html>\"}", 1, MOA_EIO, "status 404: <html>"},
        {"{\"status\":307,\"body\":\"\"}", 1, MOA_EIO, "status 307"},
        {"{\"fault\":\"reset\",\"after\":-1,\"times\":1}\n{\"text\":\"ok\"}", 2, 0, "ok"},
        {"{\"fault\":\"close\",\"after\":-1,\"times\":2}\n{\"text\":\"ok\"}", 3, 0, "ok"},
        {"{\"fault\":\"garbage\",\"after\":-1,\"times\":1}\n{\"text\":\"ok\"}", 2, 0, "ok"},
        {"{\"fault\":\"garbage\",\"after\":-1}", 3, MOA_EIO, "far"},
        {"{\"fault\":\"stall\",\"after\":-1,\"times\":1}\n{\"text\":\"ok\"}", 2, 0, "ok"},
        {"{\"fault\":\"stall\",\"after\":-1}", 3, MOA_EIO, "silence before the first byte"},
        {"{\"fault\":\"reset\",\"after\":2}", 1, MOA_EIO, "far"},                       /* text was shown: no other try */
        {"{\"fault\":\"close\",\"after\":2}", 1, MOA_EIO, "far"},
        {"{\"fault\":\"stall\",\"after\":2}", 1, MOA_EIO, "silence between two bytes"},
        {"{\"fault\":\"malformed\",\"after\":2}", 1, MOA_EFORMAT, "far"},
        {"{\"fault\":\"oversize\",\"after\":0}", 1, MOA_ELIMIT, "a line of the reply is longer than 4 MiB"},
        {"{\"raw\":\"data: {\\\"error\\\":{\\\"message\\\":\\\"overloaded\\\"}}\\n\\n\",\"times\":1}\n{\"text\":\"ok\"}", 2, 0, "ok"},
        {"{\"raw\":\"data: {\\\"choices\\\":[{\\\"delta\\\":{\\\"reasoning_content\\\":\\\"hm\\\"}}]}\\n\\n\",\"times\":1}\n{\"text\":\"ok\"}", 2, 0, "ok"}, /* cut before its text */
        {"{\"raw\":\"\"}", 3, MOA_EIO, "ended before its end"},
        {"{\"stream\":false,\"text\":\"whole\"}", 1, 0, "whole"},
        {"{\"gap\":0.05,\"chunks\":100,\"bytes\":1}", 1, MOA_EIO, "not whole after 1 s"},
        {"{\"status\":503}", 2, MOA_EIO, "status 503"}, /* rests a time of its own */
    };
    (void)state;
    enum { N = sizeof cases / sizeof *cases };
    static far_side f[N];
    static talk t[N];
    for (int i = 0; i < N; i++) { /* all at once: most of it is rest */
        const bool patient = !strstr(cases[i].says, "not whole");
        far_start(&f[i], cases[i].script, (moa_upstream_cfg){.timeout_s = 0.4, .whole_s = patient ? 30 : 1, .retries = strcmp(cases[i].says, "status 503") ? 2 : 1});
        talk_init(&t[i], i);
        talks_start(&f[i], &t[i], 1);
    }
    talks_wait(t, N);
    for (int i = 0; i < N; i++) {
        const moa_call *c = &t[i].call;
        const char *said = c->rc < 0 ? c->err.text : c->res.text;
        if (c->rc != cases[i].rc || mock_count(f[i].m).requests != cases[i].asked || !said || !strstr(said, cases[i].says))
            fail_msg("%s: rc %d, %ld asked: %s", cases[i].script, c->rc, mock_count(f[i].m).requests, said ? said : "");
        assert_int_equal(stats_of(&f[i]).calls, 1);
        assert_int_equal(stats_of(&f[i]).running + stats_of(&f[i]).waiting, 0);
        moa_gen_res_deinit(&t[i].call.res);
        moa_buf_deinit(&t[i].text);
        moa_buf_deinit(&t[i].thoughts);
        far_stop(&f[i]);
    }
}

static void test_no_server(void **state) {
    moa_backend *b;
    moa_err err = {0};
    const moa_upstream_cfg cfg = {.id = "dead", .url = "http://127.0.0.1:1", .retries = -1}, bad = {.id = "bad", .url = "ftp://x"};
    far_side f = {0};
    (void)state;
    assert_int_equal(moa_upstream_open(&b, &bad, &err), MOA_EUSAGE);
    assert_int_equal(moa_upstream_open(&f.b, &cfg, &err), 0);
    talk *t = talks_new(1);
    talks_start(&f, t, 1);
    talks_wait(t, 1);
    assert_int_equal(t->call.rc, MOA_EIO);
    assert_non_null(strstr(t->call.err.text, "dead (http://127.0.0.1:1/chat/completions): "));
    talks_free(t, 1);
    moa_backend_close(f.b);
}

/* The server ends connections that were kept: nobody notices. */
static void test_kept_connections(void **state) {
    far_side f;
    (void)state;
    far_start(&f, "{\"fault\":\"hang_up\",\"times\":20}\n{}", (moa_upstream_cfg){.retries = -1});
    talk *t = talks_new(40);
    for (int i = 0; i < 40; i++) {
        talks_start(&f, &t[i], 1);
        talks_wait(&t[i], 1);
    }
    check_whole(t, 40);
    assert_true(mock_count(f.m).connections <= 21); /* the last twenty share one */
    talks_free(t, 40);
    far_stop(&f);
}

/* ---- limits ---- */

static void test_at_a_time(void **state) {
    far_side f;
    (void)state;
    far_start(&f, "{\"ttft\":0.005,\"chunks\":2}", (moa_upstream_cfg){.max_concurrent = 5});
    talk *t = talks_new(50);
    talks_start(&f, t, 50);
    talks_wait(t, 50);
    check_whole(t, 50);
    assert_int_equal(mock_count(f.m).most, 5);
    assert_int_equal(mock_count(f.m).connections, 5);
    talks_free(t, 50);
    far_stop(&f);
}

/* A request with many calls lets those of others in between; what is urgent goes first. */
static void test_turns(void **state) {
    far_side f;
    (void)state;
    far_start(&f, "{\"ttft\":0.004,\"chunks\":1}", (moa_upstream_cfg){.max_concurrent = 1});
    talk *t = talks_new(45);
    t[44].call.priority = 1;
    talks_start(&f, t, 40);      /* one request with forty */
    talks_start(&f, t + 40, 4);  /* and one with four */
    talks_start(&f, t + 44, 1);
    talks_wait(t, 45);
    check_whole(t, 45);
    int before = 0, urgent = 0;
    for (int i = 0; i < 40; i++) before += t[i].ended < t[43].ended, urgent += t[i].ended < t[44].ended;
    if (before > 8 || urgent > 3) fail_msg("%d of 40 before the last of 4, %d before the urgent one", before, urgent);
    talks_free(t, 45);
    far_stop(&f);
}

static void test_requests_a_minute(void **state) {
    far_side f;
    (void)state;
    far_start(&f, "{\"chunks\":1}", (moa_upstream_cfg){.max_concurrent = 100, .requests_per_minute = 600}); /* 100 at once, then 8.35 a second */
    talk *t = talks_new(104);
    const double began = moa_now();
    talks_start(&f, t, 104);
    talks_wait(t, 104);
    check_whole(t, 104);
    assert_true(mock_came(f.m, 99) - began < 5); /* one after the other they would take 12 s */
    assert_true(mock_came(f.m, 103) - began > 4 / 8.35 - 0.02);
    talks_free(t, 104);
    far_stop(&f);
}

static void test_tokens_a_minute(void **state) {
    far_side f;
    (void)state;
    /* 2000 at once, then 166.7 a second. A call is guessed at about 1050 (its maximum) and turns out to take 11. */
    far_start(&f, "{\"chunks\":1,\"ttft\":0.05}", (moa_upstream_cfg){.max_concurrent = 100, .tokens_per_minute = 12000});
    talk *t = talks_new(6);
    for (int i = 0; i < 6; i++) t[i].call.max_tokens = 1000;
    talks_start(&f, t, 6);
    talks_wait(t, 6);
    check_whole(t, 6);
    assert_int_equal(mock_count(f.m).most, 1); /* never two: 2100 are more than 2000 */
    assert_true(mock_came(f.m, 5) - mock_came(f.m, 0) < 3); /* what was not used came back */
    talks_free(t, 6);
    far_stop(&f);
}

/* Who is told to wait waits, and so do the others. */
static void test_retry_after(void **state) {
    far_side f;
    (void)state;
    far_start(&f, "{\"status\":429,\"retry_after_ms\":300,\"times\":1}\n{}", (moa_upstream_cfg){.max_concurrent = 1});
    talk *t = talks_new(3);
    talks_start(&f, t, 3);
    talks_wait(t, 3);
    check_whole(t, 3);
    assert_int_equal(mock_count(f.m).requests, 4);
    assert_true(mock_came(f.m, 1) - mock_came(f.m, 0) >= 0.299);
    assert_int_equal(stats_of(&f).retries, 1);
    assert_int_equal(stats_of(&f).breaker, 0);
    talks_free(t, 3);
    far_stop(&f);
}

/* ---- cancel ---- */

static void test_cancel(void **state) {
    far_side f;
    (void)state;
    far_start(&f, "{\"fault\":\"stall\",\"after\":1}", (moa_upstream_cfg){.max_concurrent = 100});
    talk *t = talks_new(150); /* 100 run, 50 wait for their turn */
    talks_start(&f, t, 150);
    sees(&f, 100);
    const double began = moa_now();
    talks_cancel(&f, t, 150);
    talks_wait(t, 150);
    const double told = moa_now() - began;
    for (const double end = moa_now() + 5; mock_count(f.m).canceled < 100 && moa_now() < end;) usleep(200);
    const mock_counts c = mock_count(f.m);
    assert_int_equal(c.canceled, 100);
    assert_int_equal(c.requests, 100); /* nobody else was asked */
    for (int i = 0; i < 150; i++) assert_int_equal(t[i].call.rc, MOA_ECANCELED);
    if (told > 1 || c.last_cancel - began > 1) fail_msg("canceled after %g s, seen there after %g s", told, c.last_cancel - began); /* aim: 0.05, measured by bench/serve */
    assert_int_equal(stats_of(&f).canceled, 150);
    talks_free(t, 150);
    t = talks_new(2); /* one is canceled before it is started; one while it rests */
    atomic_store(&t[0].call.cancel, true);
    talks_start(&f, t, 1);
    talks_wait(t, 1);
    assert_int_equal(t[0].call.rc, MOA_ECANCELED);
    talks_free(t, 2);
    far_stop(&f);
    far_start(&f, "{\"status\":429,\"retry_after\":\"100\"}", (moa_upstream_cfg){0});
    t = talks_new(1);
    talks_start(&f, t, 1);
    for (const double end = moa_now() + 20; stats_of(&f).failures == 0 && moa_now() < end;) usleep(200);
    talks_cancel(&f, t, 1);
    talks_wait(t, 1);
    assert_int_equal(t[0].call.rc, MOA_ECANCELED);
    talks_free(t, 1);
    far_stop(&f);
}

/* ---- hedges ---- */

/* Quick calls teach how long a first word takes; then one hangs, and another request speaks for it. */
static void test_hedge(void **state) {
    far_side f;
    (void)state;
    far_start(&f, "{\"times\":30,\"ttft\":0.01,\"chunks\":2}\n{\"times\":1,\"fault\":\"stall\",\"after\":-1}\n{\"ttft\":0.01,\"chunks\":2}", (moa_upstream_cfg){.hedge = 0.1, .retries = -1});
    talk *t = talks_new(31);
    for (int i = 0; i < 31; i++) {
        if (i == 30) assert_true(stats_of(&f).p95 >= 0.009);
        talks_start(&f, &t[i], 1);
        talks_wait(&t[i], 1);
    }
    check_whole(t, 31);
    const moa_upstream_stats s = stats_of(&f);
    assert_true(s.hedges >= 1 && s.hedges_won >= 1 && s.hedges <= 3);
    assert_int_equal(s.running, 0);
    for (const double end = moa_now() + 5; mock_count(f.m).canceled < 1 && moa_now() < end;) usleep(200);
    assert_true(mock_count(f.m).canceled >= 1); /* the loser */
    assert_true(t[30].call.res.seconds < 5);
    talks_free(t, 31);
    far_stop(&f);
}

/* When all are slow, no more than the share of them is asked twice; and without a share none. */
static void test_hedge_budget(void **state) {
    (void)state;
    for (int on = 0; on < 2; on++) {
        far_side f;
        far_start(&f, "{\"times\":20,\"chunks\":1}\n{\"ttft\":0.15,\"chunks\":1}", (moa_upstream_cfg){.max_concurrent = 200, .hedge = on ? 0.1 : 0});
        talk *t = talks_new(120);
        for (int i = 0; i < 20; i++) {
            talks_start(&f, &t[i], 1);
            talks_wait(&t[i], 1);
        }
        talks_start(&f, t + 20, 100);
        talks_wait(t, 120);
        check_whole(t, 120);
        const moa_upstream_stats s = stats_of(&f);
        assert_int_equal(s.requests, mock_count(f.m).requests);
        if (on ? s.hedges < 8 || (double)s.hedges > 0.1 * (double)s.requests : s.hedges != 0) fail_msg("share %g: %ld of %ld", on ? 0.1 : 0.0, (long)s.hedges, (long)s.requests);
        talks_free(t, 120);
        far_stop(&f);
    }
}

/* The first request fails while the second is under way: the second one's reply is the call's. */
static void test_hedge_saves(void **state) {
    far_side f;
    (void)state;
    far_start(&f, "{\"times\":20,\"chunks\":1}\n{\"times\":1,\"status\":500,\"ttft\":0.1}\n{\"ttft\":0.2,\"chunks\":3}", (moa_upstream_cfg){.hedge = 1, .retries = -1});
    talk *t = talks_new(21);
    for (int i = 0; i < 21; i++) {
        talks_start(&f, &t[i], 1);
        talks_wait(&t[i], 1);
    }
    check_whole(t, 21);
    assert_int_equal(stats_of(&f).failures, 1);
    talks_free(t, 21);
    far_stop(&f);
}

/* Both requests of a call are silent for too long in one moment, and the call was canceled in that moment: it ends once, and the other request is not
 * asked of a call that its owner may have freed. (What AddressSanitizer sees; without it, a wrong look mostly goes well.) */
static void test_hedge_ends_once(void **state) {
    far_side f;
    (void)state;
    far_start(&f, "{\"times\":20,\"chunks\":1}\n{\"times\":2,\"fault\":\"stall\",\"after\":-1}\n{\"chunks\":1}", (moa_upstream_cfg){.hedge = 1, .retries = -1, .timeout_s = 0.4});
    talk *t = talks_new(20), *both = talks_new(1), *naps = talks_new(1);
    for (int i = 0; i < 20; i++) {
        talks_start(&f, &t[i], 1);
        talks_wait(&t[i], 1);
    }
    talks_start(&f, both, 1);
    sees(&f, 2);
    naps->nap = 0.8; /* when it wakes, the time of both is over */
    atomic_store(&both->call.cancel, true);
    talks_start(&f, naps, 1);
    talks_wait(both, 1);
    talks_wait(naps, 1);
    assert_int_equal(both->call.rc, MOA_ECANCELED);
    assert_int_equal(stats_of(&f).calls, 22);
    assert_int_equal(stats_of(&f).running + stats_of(&f).waiting, 0);
    talks_free(t, 20);
    talks_free(both, 1);
    talks_free(naps, 1);
    far_stop(&f);
}

/* ---- the breaker ---- */

static void test_breaker(void **state) {
    far_side f;
    (void)state;
    far_start(&f, "{\"times\":4,\"status\":500}\n{}", (moa_upstream_cfg){.breaker = 3, .cooldown_s = 0.3, .retries = -1});
    talk *t = talks_new(9);
    for (int i = 0; i < 5; i++) { /* three fail there, two here */
        talks_start(&f, &t[i], 1);
        talks_wait(&t[i], 1);
        assert_int_equal(t[i].call.rc, MOA_EIO);
    }
    assert_int_equal(mock_count(f.m).requests, 3);
    assert_int_equal(stats_of(&f).breaker, 1);
    assert_int_equal(stats_of(&f).refused, 2);
    assert_true(t[4].call.res.seconds < 0.1);
    /* without the server's words, which may quote what somebody else asked */
    if (!strstr(t[4].call.err.text, "far: not asked, its last 3 requests failed (status 500); it is tried again in 1 s"))
        fail_msg("%s", t[4].call.err.text);
    usleep(350000);
    talks_start(&f, &t[5], 2); /* of both, one probes; it fails */
    talks_wait(&t[5], 2);
    assert_int_equal(mock_count(f.m).requests, 4);
    assert_int_equal(stats_of(&f).breaker, 1);
    usleep(350000);
    for (int i = 7; i < 9; i++) {
        talks_start(&f, &t[i], 1);
        talks_wait(&t[i], 1);
    }
    check_whole(t + 7, 2);
    assert_int_equal(stats_of(&f).breaker, 0);
    talks_free(t, 9);
    far_stop(&f);
}

/* ---- many ---- */

static void test_thousand(void **state) {
    enum { N = 1000 };
    far_side f;
    (void)state;
    far_start(&f, "{\"ttft\":1,\"gap\":0.01,\"jitter\":0.5,\"chunks\":10}", (moa_upstream_cfg){.max_concurrent = N});
    for (int round = 0; round < 2; round++) {
        talk *t = talks_new(N);
        talks_start(&f, t, N);
        talks_wait(t, N);
        check_whole(t, N);
        talks_free(t, N);
    }
    const mock_counts c = mock_count(f.m);
    assert_int_equal(c.most, N);
    assert_int_equal(c.done, 2 * N);
    if (c.connections > N) fail_msg("%ld connections", c.connections); /* the second round came on the connections of the first */
    far_stop(&f);
}

/* Calls that begin in the thread that tells an end; several backends, several threads that start. */
typedef struct starter { far_side *f; talk *t; int n; pthread_t thread; } starter;
static void *start_many(void *arg) {
    starter *s = arg;
    for (int i = 0; i < s->n; i++) talks_start(s->f, &s->t[i], 1);
    return NULL;
}

static void test_threads(void **state) {
    far_side a, b;
    starter s[4];
    (void)state;
    far_start(&a, "{\"chunks\":2}", (moa_upstream_cfg){.max_concurrent = 20});
    far_start(&b, "{\"chunks\":3}", (moa_upstream_cfg){.max_concurrent = 20});
    talk *t = talks_new(400), *chain = talks_new(20);
    for (int i = 0; i < 4; i++) {
        s[i] = (starter){.f = i % 2 ? &b : &a, .t = t + 100 * i, .n = 100};
        assert_int_equal(pthread_create(&s[i].thread, NULL, start_many, &s[i]), 0);
    }
    for (int i = 0; i < 19; i++) chain[i].follow = &chain[i + 1], chain[i].to = i % 2 ? a.b : b.b;
    talks_start(&a, chain, 1);
    for (int i = 0; i < 4; i++) pthread_join(s[i].thread, NULL);
    talks_wait(t, 400);
    talks_wait(chain, 20);
    check_whole(t, 400);
    check_whole(chain, 20);
    talks_free(t, 400);
    talks_free(chain, 20);
    far_stop(&b);
    far_stop(&a);
}

/* Nothing to do takes no time. */
static void test_idle(void **state) {
    far_side f;
    struct timespec before, after;
    (void)state;
    far_start(&f, "{\"chunks\":2}", (moa_upstream_cfg){0});
    talk *t = talks_new(1);
    talks_start(&f, t, 1);
    talks_wait(t, 1);
    usleep(20000);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    usleep(500000);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    const double used = (double)(after.tv_sec - before.tv_sec) + 1e-9 * (double)(after.tv_nsec - before.tv_nsec);
    if (used > 0.005) fail_msg("%g s of CPU time in half a second of nothing", used);
    talks_free(t, 1);
    far_stop(&f);
}

/* ---- moa behind moa ---- */

static json_t *ask(serving *s, const char *body, int status) { return client_json(s->port, "/v1/chat/completions", body, status); }

#define HELLO "\"temperature\":0,\"max_tokens\":30,\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}"

static void test_chain(void **state) {
    serving far, near;
    char text[1000];
    (void)state;
    serving_start(&far, NULL);
    serving_yaml("backends:\n  - {id: far, url: 'http://127.0.0.1:%d/v1', model: single}\n  - {id: slow, url: 'http://127.0.0.1:%d', model: 'vote:n=256'}\n"
               "  - {id: dead, url: 'http://127.0.0.1:1/v1', retries: -1}\n"
               "mixes:\n  - {id: council, mix: 'moa:layers=1,max-tokens=20', proposers: [far, dead, far], aggregator: far}\n  - {id: none, mix: vote, proposers: [dead]}\n",
            far.port, far.port);
    serving_start(&near, NULL);
    json_t *a = ask(&near, "{\"model\":\"far\"," HELLO, 200), *b = ask(&far, "{\"model\":\"single\"," HELLO, 200);
    assert_string_equal(reply_content(a, 0), reply_content(b, 0));
    json_decref(a);
    json_decref(b);
    a = ask(&near, "{\"model\":\"council\",\"seed\":1," HELLO, 200); /* goes on without the dead one, and says so */
    const json_t *m = json_object_get(json_object_get(a, "usage"), "moa");
    assert_int_equal(json_integer_value(json_object_get(m, "failed")), 1);
    assert_true(json_array_size(json_object_get(m, "notes")) >= 1);
    json_decref(a);
    json_decref(ask(&near, "{\"model\":\"none\"," HELLO, 502));
    json_decref(ask(&near, "{\"model\":\"far\",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"type\":\"object\"}}}," HELLO, 200));
    reply r = client_post(near.port, "/tokenize", "{\"model\":\"far\",\"content\":\"x\"}");
    assert_int_equal(r.status, 400);
    reply_deinit(&r);
    /* A client that leaves cancels what runs at the other server too. */
    const int fd = client_connect(near.port);
    const int n = snprintf(text, sizeof text, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                           strlen("{\"model\":\"slow\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}"),
                           "{\"model\":\"slow\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}");
    client_send(fd, text, (size_t)n);
    for (const double end = moa_now() + 20; !serving_running(&far) && moa_now() < end;) usleep(200);
    assert_true(serving_running(&far) >= 1);
    close(fd);
    assert_true(serving_idle_within(&near, 2));
    assert_true(serving_idle_within(&far, 2));
    serving_stop(&near);
    serving_config(NULL);
    serving_stop(&far);
}

/* Images of a turn reach every call of a mix whose models read them, as they are; where one does not, nothing is asked. */
static void test_images(void **state) {
    serving near;
    mock *m;
    moa_err err = {0};
    far_side seen = {.b = NULL};
    (void)state;
    assert_int_equal(mock_start(&m, "{\"text\":\"A cat.\"}", 1, 0, &err), 0);
    serving_yaml("backends:\n  - {id: eyes, url: 'http://127.0.0.1:%d/v1', images: true}\n  - {id: blind, url: 'http://127.0.0.1:%d/v1'}\n"
               "mixes:\n  - {id: two, mix: 'moa:layers=1', proposers: [eyes, eyes], aggregator: eyes}\n  - {id: half, mix: 'moa:layers=1', proposers: [eyes, blind], aggregator: eyes}\n",
            mock_port(m), mock_port(m));
    serving_start(&near, NULL);
    seen.m = m;
#define IMAGE "{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:image/png;base64,iVBORw0KGgo=\",\"detail\":\"low\"}}"
#define PARTS "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"What is \"}," IMAGE ",{\"type\":\"text\",\"text\":\"this?\"}]}]}"
    json_t *v = ask(&near, "{\"model\":\"eyes\"," PARTS, 200), *sent = json_loads("{" PARTS, 0, NULL);
    assert_string_equal(reply_content(v, 0), "A cat.");
    json_decref(v);
    v = asked(&seen, 0);
    assert_true(json_equal(json_object_get(v, "messages"), json_object_get(sent, "messages"))); /* unchanged */
    json_decref(v);
    json_decref(ask(&near, "{\"model\":\"two\"," PARTS, 200));
    assert_int_equal(mock_count(m).requests, 4);
    for (int i = 1; i < 4; i++) {
        v = asked(&seen, i);
        const json_t *list = json_object_get(v, "messages"), *last = json_array_get(list, json_array_size(list) - 1), *parts = json_object_get(last, "content");
        const json_t *was = json_object_get(json_array_get(json_object_get(sent, "messages"), 0), "content");
        assert_true(json_equal(json_array_get(parts, 1), json_array_get(was, 1)));
        assert_int_equal(json_array_size(parts), i < 3 ? 3 : 2);
        if (i == 3) assert_non_null(strstr(json_string_value(json_object_get(json_array_get(parts, 0), "text")), "A cat.")); /* with the references */
        json_decref(v);
    }
    json_decref(ask(&near, "{\"model\":\"half\"," PARTS, 400));
    json_decref(ask(&near, "{\"model\":\"blind\"," PARTS, 400));
    assert_int_equal(mock_count(m).requests, 4);
    reply r = client_post(near.port, "/v1/responses", "{\"model\":\"eyes\",\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"What?\"},"
                                                     "{\"type\":\"input_image\",\"image_url\":\"https://example.org/a.png\",\"detail\":\"auto\"}]}]}");
    assert_int_equal(r.status, 200);
    reply_deinit(&r);
    v = asked(&seen, 4);
    json_decref(sent);
    sent = json_loads("[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"What?\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://example.org/a.png\",\"detail\":\"auto\"}}]}]", 0, NULL);
    assert_true(json_equal(json_object_get(v, "messages"), sent));
    json_decref(v);
    json_decref(sent);
    serving_stop(&near);
    serving_config(NULL);
    mock_stop(m);
}

typedef struct heard { moa_buf thoughts[3], content; int alone; } heard; /* thoughts: of p1, p2, agg; alone: chunks without the tag */

static void hear_asides(void *ctx, const char *name, const char *data, size_t n) {
    static const char *const nodes[] = {"p1.1", "p1.2", "agg"};
    heard *h = ctx;
    json_t *v = json_loadb(data, n, 0, NULL);
    const json_t *choice = json_array_get(json_object_get(v, "choices"), 0), *d = json_object_get(choice, "delta"), *m = json_object_get(choice, "moa");
    const char *node = json_string_value(json_object_get(m, "node")), *t = json_string_value(json_object_get(d, "reasoning_content")), *c = json_string_value(json_object_get(d, "content"));
    (void)name;
    for (int i = 0; node && t && i < 3; i++)
        if (!strcmp(node, nodes[i]) && json_is_true(json_object_get(m, "thinks"))) moa_buf_adds(&h->thoughts[i], t);
    if (t && !json_is_true(json_object_get(m, "thinks"))) h->alone++;
    if (c) moa_buf_adds(&h->content, c);
    json_decref(v);
}

/* What the answer's model thought counts as reasoning, beside all of the calls that nobody sees; no more than it generated, whatever a server says. */
static void test_thoughts_counted(void **state) {
    static const struct { const char *script, *mix; int completion, reasoning; } cases[] = {
        {"{\"chunks\":8,\"reasoning\":5}", "one", 8, 5}, {"{\"chunks\":8,\"reasoning\":5}", "two", 24, 16 + 5}, {"{\"chunks\":8}", "two", 24, 16}, {"{\"chunks\":8,\"reasoning\":900}", "one", 8, 8},
        {"{\"chunks\":8,\"reasoning\":-3}", "one", 8, 0}, {"{\"chunks\":8,\"reasoning\":5,\"stream\":false}", "one", 8, 5}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        serving near;
        mock *m;
        moa_err err = {0};
        char body[200];
        assert_int_equal(mock_start(&m, cases[i].script, 1, 0, &err), 0);
        serving_yaml("backends:\n  - {id: far, url: 'http://127.0.0.1:%d/v1'}\nmixes:\n  - {id: one, mix: single, proposers: [far]}\n  - {id: two, mix: 'moa:layers=1', proposers: [far, far], aggregator: far}\n",
                     mock_port(m));
        serving_start(&near, NULL);
        snprintf(body, sizeof body, "{\"model\":\"%s\",\"messages\":[{\"role\":\"user\",\"content\":\"How many?\"}]}", cases[i].mix);
        json_t *v = ask(&near, body, 200), *u = json_object_get(v, "usage");
        assert_int_equal(json_integer_value(json_object_get(u, "completion_tokens")), cases[i].completion);
        assert_int_equal(json_integer_value(json_object_get(json_object_get(u, "completion_tokens_details"), "reasoning_tokens")), cases[i].reasoning);
        json_decref(v);
        serving_stop(&near);
        serving_config(NULL);
        mock_stop(m);
    }
}

/* What models behind URLs think is shown to who asks, stands in the trace, and is no part of what others read or of the reply. */
static void test_thoughts_shown(void **state) {
    serving near;
    mock *m;
    moa_err err = {0};
    char where[80];
    heard h = {.alone = 0};
    (void)state;
    assert_int_equal(mock_start(&m, "{\"thought\":\"SECRET THOUGHT\",\"text\":\"Answer: 7\"}", 1, 0, &err), 0);
    serving_yaml("backends:\n  - {id: far, url: 'http://127.0.0.1:%d/v1'}\nmixes:\n  - {id: two, mix: 'moa:layers=1', proposers: [far, far], aggregator: far}\n", mock_port(m));
    serving_start(&near, NULL);
    for (int i = 0; i < 3; i++) moa_buf_init(&h.thoughts[i], 1 << 20);
    moa_buf_init(&h.content, 1 << 20);
#define QUESTION "\"messages\":[{\"role\":\"user\",\"content\":\"How many?\"}]}"
    reply r = client_post(near.port, "/v1/chat/completions", "{\"model\":\"two\",\"stream\":true,\"moa\":{\"show\":\"all\"}," QUESTION);
    reply_events(&r, hear_asides, &h);
    if (r.status != 200 || strcmp(moa_buf_str(&h.content), "Answer: 7")) fail_msg("%d %s", r.status, moa_buf_str(&r.body));
    for (int i = 0; i < 3; i++) assert_string_equal(moa_buf_str(&h.thoughts[i]), "SECRET THOUGHT");
    snprintf(where, sizeof where, "/v1/traces/%s", reply_header(&r, "x-request-id"));
    reply_deinit(&r);
    for (int i = 0; i < 3; i++) assert_null(strstr(mock_request(m, i), "SECRET")); /* the third reads the first two */
    assert_non_null(strstr(mock_request(m, 2), "Answer: 7"));
    r = client_ask(near.port, "GET", where, NULL, NULL);
    json_t *trace = reply_json(&r), *again;
    for (size_t i = 0; i < 3; i++) {
        const json_t *node = json_array_get(json_object_get(trace, "nodes"), i);
        assert_string_equal(json_string_value(json_object_get(node, "thoughts")), "SECRET THOUGHT");
        assert_string_equal(json_string_value(json_object_get(node, "text")), "Answer: 7");
    }
    assert_int_equal(moa_replay(&again, trace, "the trace", &err), 0);
    assert_true(json_equal(again, moa_trace_canonical(trace)));
    json_decref(again);
    json_decref(trace);
    reply_deinit(&r);
    r = client_post(near.port, "/v1/chat/completions", "{\"model\":\"two\",\"stream\":true," QUESTION); /* only who asks */
    assert_null(strstr(moa_buf_str(&r.body), "SECRET"));
    reply_deinit(&r);
    json_t *v = ask(&near, "{\"model\":\"far\",\"moa\":{\"show\":\"thoughts\"}," QUESTION, 200);
    assert_string_equal(json_string_value(json_object_get(reply_message(v, 0), "reasoning_content")), "SECRET THOUGHT");
    assert_string_equal(reply_content(v, 0), "Answer: 7");
    json_decref(v);
    r = client_post(near.port, "/v1/chat/completions", "{\"model\":\"two\",\"stream\":true,\"seed\":4,\"moa\":{\"show\":\"thoughts\"}," QUESTION); /* one after the other */
    for (int i = 0; i < 3; i++) moa_buf_clear(&h.thoughts[i]);
    h.alone = 0;
    reply_events(&r, hear_asides, &h);
    assert_non_null(strstr(moa_buf_str(&h.thoughts[0]), "[p1.1, far]\nSECRET THOUGHT"));
    assert_true(h.alone >= 2);
    reply_deinit(&r);
    for (int i = 0; i < 3; i++) moa_buf_deinit(&h.thoughts[i]);
    moa_buf_deinit(&h.content);
    serving_stop(&near);
    serving_config(NULL);
    mock_stop(m);
}

static json_t *probs_of(serving *s, const char *body) {
    json_t *v = ask(s, body, 200), *p = json_incref(json_object_get(json_array_get(json_object_get(v, "choices"), 0), "logprobs"));
    json_decref(v);
    return p;
}

/* Probabilities of tokens come from the other server as they are: whole and streamed, of a model and of a mix whose merging model is there, and of
 * completions in their own shape. */
static void test_logprobs(void **state) {
    serving far, near;
    static const char rows[] = "{\"token\":\"Answer:\",\"logprob\":-0.5,\"bytes\":[65,110,115,119,101,114,58],\"top_logprobs\":[{\"token\":\"No\",\"logprob\":-1.25,\"bytes\":[78,111]}]},"
                               "{\"token\":\" 7\",\"logprob\":-0.25,\"bytes\":[32,55],\"top_logprobs\":[]}";
    mock *m;
    moa_err err = {0};
    moa_buf script;
    (void)state;
    moa_buf_init(&script, 10000);
    moa_buf_adds(&script, "data: {\"choices\":[{\"delta\":{\"content\":\"Answer: 7\"},\"finish_reason\":\"stop\",\"logprobs\":{\"content\":[");
    moa_buf_addf(&script, "%s]}}]}\n\ndata: [DONE]\n\n", rows);
    json_t *rule = json_pack("{s:s}", "raw", moa_buf_str(&script));
    char *text = json_dumps(rule, 0);
    assert_int_equal(mock_start(&m, text, 1, 0, &err), 0);
    free(text);
    json_decref(rule);
    serving_start(&far, NULL);
    serving_yaml("backends:\n  - {id: far, url: 'http://127.0.0.1:%d/v1', model: single}\n  - {id: told, url: 'http://127.0.0.1:%d/v1'}\n"
               "mixes:\n  - {id: two, mix: 'moa:layers=1,max-tokens=20', proposers: [far, far], aggregator: told}\n", far.port, mock_port(m));
    serving_start(&near, NULL);
#define PROBS "\"logprobs\":true,\"top_logprobs\":3,"
    json_t *a = probs_of(&near, "{\"model\":\"far\"," PROBS HELLO), *b = probs_of(&far, "{\"model\":\"single\"," PROBS HELLO);
    assert_true(json_array_size(json_object_get(b, "content")) > 5);
    if (!json_equal(a, b)) fail_msg("%s\n%s", json_dumps(a, 0), json_dumps(b, 0));
    json_decref(a);
    a = probs_of(&near, "{\"model\":\"two\"," PROBS HELLO);
    moa_buf_clear(&script);
    moa_buf_addf(&script, "[%s]", rows);
    json_t *want = json_loads(moa_buf_str(&script), 0, NULL);
    assert_true(json_equal(json_object_get(a, "content"), want));
    assert_non_null(strstr(mock_request(m, 0), "\"logprobs\":true,\"top_logprobs\":3"));
    json_decref(want);
    json_decref(a);
    moa_buf_deinit(&script);
    a = probs_of(&near, "{\"model\":\"far\"," HELLO);
    assert_true(json_is_null(a)); /* nobody asked */
    json_decref(a);
    reply r = client_post(near.port, "/v1/completions", "{\"model\":\"far\",\"prompt\":\"Hello\",\"temperature\":0,\"max_tokens\":5,\"logprobs\":2}");
    json_t *v = reply_json(&r);
    const json_t *p = json_object_get(json_array_get(json_object_get(v, "choices"), 0), "logprobs");
    assert_int_equal(json_array_size(json_object_get(p, "tokens")), 5);
    assert_int_equal(json_array_size(json_object_get(p, "text_offset")), 5);
    assert_true(json_object_size(json_array_get(json_object_get(p, "top_logprobs"), 0)) >= 1);
    json_decref(v);
    reply_deinit(&r);
    r = client_post(near.port, "/v1/chat/completions", "{\"model\":\"far\",\"stream\":true," PROBS HELLO);
    const char *at = moa_buf_str(&r.body);
    size_t n = 0;
    while ((at = strstr(at, "\"top_logprobs\":["))) n++, at++;
    assert_int_equal(n, json_array_size(json_object_get(b, "content")));
    reply_deinit(&r);
    json_decref(b);
    serving_stop(&near);
    serving_config(NULL);
    serving_stop(&far);
    mock_stop(m);
}

/* Tools of a client reach a server that knows them, and its calls come back as calls. */
static void test_tools(void **state) {
    static const char script[] =
        "{\"times\":1,\"raw\":\"data: {\\\"choices\\\":[{\\\"delta\\\":{\\\"tool_calls\\\":[{\\\"index\\\":0,\\\"id\\\":\\\"c1\\\",\\\"function\\\":{\\\"name\\\":\\\"now\\\",\\\"arguments\\\":\\\"{}\\\"}}]},"
        "\\\"finish_reason\\\":\\\"tool_calls\\\"}]}\\n\\ndata: [DONE]\\n\\n\"}\n{\"text\":\"It is noon.\"}";
    serving near;
    mock *m;
    moa_err err = {0};
    (void)state;
    assert_int_equal(mock_start(&m, script, 1, 0, &err), 0);
    serving_yaml("backends:\n  - {id: far, url: 'http://127.0.0.1:%d/v1', requests_per_minute: 600, hedge: 0.1, timeout: 5.5}\n", mock_port(m));
    serving_start(&near, NULL);
#define TOOLS "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"now\",\"parameters\":{\"type\":\"object\",\"properties\":{}}}}]"
    json_t *v = ask(&near, "{\"model\":\"far\",\"messages\":[{\"role\":\"user\",\"content\":\"What time is it?\"}]," TOOLS "}", 200);
    const json_t *choice = json_array_get(json_object_get(v, "choices"), 0), *call = json_array_get(json_object_get(json_object_get(choice, "message"), "tool_calls"), 0);
    assert_string_equal(json_string_value(json_object_get(choice, "finish_reason")), "tool_calls");
    assert_string_equal(json_string_value(json_object_get(json_object_get(call, "function"), "name")), "now");
    json_decref(v);
    assert_non_null(strstr(mock_request(m, 0), "\"tools\":[{"));
    v = ask(&near, "{\"model\":\"far\",\"messages\":[{\"role\":\"user\",\"content\":\"What time is it?\"},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"c1\",\"type\":\"function\","
                   "\"function\":{\"name\":\"now\",\"arguments\":\"{}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":\"12:00\"}]," TOOLS "}", 200);
    assert_string_equal(reply_content(v, 0), "It is noon.");
    json_decref(v);
    assert_non_null(strstr(mock_request(m, 1), "\"role\":\"tool\""));
    reply r = client_ask(near.port, "GET", "/metrics", NULL, NULL);
    assert_non_null(strstr(moa_buf_str(&r.body), "moa_backend_requests_total{backend=\"far\"} 2\n"));
    reply_deinit(&r);
    serving_stop(&near);
    serving_config(NULL);
    mock_stop(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request), cmocka_unit_test(test_usage), cmocka_unit_test(test_thoughts), cmocka_unit_test(test_thoughts_counted), cmocka_unit_test(test_thoughts_shown), cmocka_unit_test(test_logprobs), cmocka_unit_test(test_images), cmocka_unit_test(test_faults), cmocka_unit_test(test_no_server), cmocka_unit_test(test_kept_connections),
        cmocka_unit_test(test_at_a_time), cmocka_unit_test(test_turns), cmocka_unit_test(test_requests_a_minute), cmocka_unit_test(test_tokens_a_minute), cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_cancel), cmocka_unit_test(test_hedge), cmocka_unit_test(test_hedge_budget), cmocka_unit_test(test_hedge_saves), cmocka_unit_test(test_hedge_ends_once), cmocka_unit_test(test_breaker),
        cmocka_unit_test(test_thousand), cmocka_unit_test(test_threads), cmocka_unit_test(test_idle), cmocka_unit_test(test_tools), cmocka_unit_test(test_chain),
    };
    return cmocka_run_group_tests(tests, NULL, serving_teardown);
}
