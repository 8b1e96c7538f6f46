/* test_ledger.c - requests that come again: after an SDK's retry, after their client left; who may find what; the journal's file and its replay.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/replay.h"
#include "agent/trace.h"
#include "base/clock.h"
#include "base/json.h"
#include "serve/ledger.h"
#include "serve/server.h"
#include "support/client.h"
#include "support/mock.h"
#include "support/serving.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define CHAT "/v1/chat/completions"
#define JSON "Content-Type: application/json\r\n"
#define RETRY JSON "x-stainless-retry-count: 1\r\n"
enum { N = 4 };

static mock *up;
static serving s;
static int last_port, port; /* of the scripted server; 0: one that is free */

static void begin(const char *script, const moa_server_cfg *cfg) {
    moa_err err = {0};
    if (mock_start(&up, script, 7, port, &err) < 0) fail_msg("%s", err.text);
    last_port = mock_port(up);
    serving_yaml("backends:\n  - {id: far, url: \"http://127.0.0.1:%d/v1\", hedge: 0}\nmixes:\n  - {id: council, mix: \"vote:n=%d\", proposers: [far]}\n", mock_port(up), N);
    serving_start(&s, cfg);
}

static void end(void) {
    serving_stop(&s);
    serving_config(NULL);
    mock_stop(up);
}

static char *answer_of(const reply *r) {
    json_t *v = reply_json(r);
    char *own = strdup(reply_content(v, 0));
    json_decref(v);
    assert_non_null(own);
    return own;
}

static char *ask(const char *headers, const char *question) {
    char body[300];
    snprintf(body, sizeof body, "{\"model\":\"council\",\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}]}", question);
    reply r = client_ask(s.port, "POST", CHAT, headers, body);
    if (r.status != 200) fail_msg("%d: %s", r.status, moa_buf_str(&r.body));
    char *a = answer_of(&r);
    reply_deinit(&r);
    return a;
}

/* Half a request's life: it is sent, nothing is read. */
static int send_only(const char *headers, const char *question) {
    char body[300], head[400];
    snprintf(body, sizeof body, "{\"model\":\"council\",\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}]}", question);
    const int n = snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n%s\r\n", CHAT, strlen(body), headers);
    const int fd = client_connect(s.port);
    client_send(fd, head, (size_t)n);
    client_send(fd, body, strlen(body));
    return fd;
}

static void await_requests(long n) {
    for (const double until = moa_now() + 10; mock_count(up).requests < n && moa_now() < until;) usleep(1000);
    assert_true(mock_count(up).requests >= n);
}

/* The same again is new work, unless an SDK says that it asks again. */
static void test_retry(void **state) {
    (void)state;
    begin("{\"chunks\":3,\"bytes\":40}\n", NULL);
    char *a = ask(JSON, "one"), *b = ask(RETRY, "one");
    assert_string_equal(a, b);
    assert_int_equal(mock_count(up).requests, N);
    free(b);
    b = ask(JSON, "one");
    assert_int_equal(mock_count(up).requests, 2 * N);
    free(b);
    b = ask(RETRY, "two"); /* a retry of what nobody asked */
    assert_int_equal(mock_count(up).requests, 3 * N);
    free(a);
    free(b);
    end();
}

/* A retry while the first still runs: one mixture, two replies. */
static void test_join(void **state) {
    (void)state;
    begin("{\"ttft\":0.3,\"chunks\":4,\"bytes\":40,\"gap\":0.05}\n", NULL);
    const int fd = send_only(JSON, "slow");
    await_requests(N);
    char *b = ask(RETRY, "slow");
    reply r = {0};
    assert_true(client_read(fd, &r));
    char *a = answer_of(&r);
    assert_string_equal(a, b);
    assert_int_equal(mock_count(up).requests, N);
    reply_deinit(&r);
    close(fd);
    free(a);
    free(b);
    end();
}

/* A client that names its request says by itself that it is the same: it joins the one that runs, and later finds what that said. Another name, or
 * another body under the same name, is another request. */
static void test_named(void **state) {
    (void)state;
    begin("{\"ttft\":0.3,\"chunks\":4,\"bytes\":40}\n", NULL);
    const int fd = send_only(JSON "Idempotency-Key: k1\r\n", "slow");
    await_requests(N);
    char *b = ask(JSON "Idempotency-Key: k1\r\n", "slow"), *c = ask(JSON "Idempotency-Key: k1\r\n", "slow");
    reply r = {0};
    assert_true(client_read(fd, &r));
    char *a = answer_of(&r);
    assert_string_equal(a, b);
    assert_string_equal(a, c);
    assert_int_equal(mock_count(up).requests, N);
    free(ask(JSON "Idempotency-Key: k2\r\n", "slow"));
    assert_int_equal(mock_count(up).requests, 2 * N);
    free(ask(JSON "Idempotency-Key: k1\r\n", "other"));
    assert_int_equal(mock_count(up).requests, 3 * N);
    free(ask(JSON, "slow"));
    assert_int_equal(mock_count(up).requests, 4 * N);
    reply_deinit(&r);
    close(fd);
    free(a);
    free(b);
    free(c);
#define NAMED(id) "{\"model\":\"council\",\"moa\":{\"request_id\":" id "},\"messages\":[{\"role\":\"user\",\"content\":\"named\"}]}"
    json_t *v = client_json(s.port, CHAT, NAMED("\"r1\""), 200), *w = client_json(s.port, CHAT, NAMED("\"r1\""), 200);
    assert_string_equal(reply_content(v, 0), reply_content(w, 0));
    assert_int_equal(mock_count(up).requests, 5 * N);
    json_decref(client_json(s.port, CHAT, NAMED("\"r2\""), 200));
    assert_int_equal(mock_count(up).requests, 6 * N);
    json_decref(client_json(s.port, CHAT, NAMED("7"), 400));
    json_decref(client_json(s.port, CHAT, NAMED("\"\""), 400));
    json_decref(v);
    json_decref(w);
    end();
}

/* Two that ask the same at the same time want two replies. */
static void test_twins(void **state) {
    (void)state;
    begin("{\"ttft\":0.1,\"chunks\":4,\"bytes\":40}\n", NULL);
    const int fd = send_only(JSON, "twins");
    await_requests(N);
    char *b = ask(JSON, "twins");
    assert_int_equal(mock_count(up).requests, 2 * N);
    close(fd);
    free(b);
    end();
}

/* The client leaves when some calls have ended: they are canceled, and when it comes again only what was missing is asked. */
static void test_left(void **state) {
    (void)state;
    begin("{\"times\":3,\"chunks\":2,\"bytes\":40}\n{\"times\":1,\"ttft\":5,\"chunks\":2,\"bytes\":40}\n{\"chunks\":2,\"bytes\":40}\n", NULL);
    const int fd = send_only(JSON, "left");
    for (const double until = moa_now() + 10; mock_count(up).done < 3 && moa_now() < until;) usleep(1000);
    usleep(20000);
    close(fd);
    assert_true(serving_idle_within(&s, 2));
    assert_int_equal(mock_count(up).requests, N);
    char *b = ask(JSON, "left"); /* no header: it did not end, so it goes on */
    assert_int_equal(mock_count(up).requests, N + 1);
    free(b);
    end();
}

/* Another key's request is another request, word for word the same or not. */
static void test_keys(void **state) {
    (void)state;
    static const char *const keys[] = {"alpha", "beta"};
    const moa_server_cfg cfg = {.key = keys, .n_key = 2};
    begin("{\"chunks\":3,\"bytes\":40}\n", &cfg);
    char *a = ask(JSON "Authorization: Bearer alpha\r\n", "mine"), *b = ask(RETRY "Authorization: Bearer beta\r\n", "mine");
    assert_int_equal(mock_count(up).requests, 2 * N);
    reply r = client_ask(s.port, "GET", "/v1/traces", "Authorization: Bearer beta\r\n", NULL);
    json_t *list = reply_json(&r), *data = json_object_get(list, "data");
    assert_int_equal(json_array_size(data), 1);
    char path[100];
    snprintf(path, sizeof path, "/v1/traces/%s", json_string_value(json_object_get(json_array_get(data, 0), "id")));
    reply_deinit(&r);
    json_decref(list);
    r = client_ask(s.port, "GET", path, "Authorization: Bearer alpha\r\n", NULL);
    assert_int_equal(r.status, 404);
    reply_deinit(&r);
    free(a);
    free(b);
    end();
}

/* Without keys, a server that others reach tells nobody what was asked of it; nor does one whose proxy passes others' requests on. */
static void test_shared_traces(void **state) {
    (void)state;
    static const char *const keys[] = {"alpha"};
    static const struct { const char *host, *headers; int n_key, status; } cases[] = {
        {"0.0.0.0", NULL, 0, 403},
        {"0.0.0.0", "Authorization: Bearer alpha\r\n", 1, 200},
        {"127.0.0.1", NULL, 0, 200},
        {"127.0.0.1", "X-Forwarded-For: 192.0.2.7\r\n", 0, 403},
        {"127.0.0.1", "Forwarded: for=192.0.2.7\r\n", 0, 403},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char head[200], path[100];
        const moa_server_cfg cfg = {.host = cases[i].host, .key = keys, .n_key = cases[i].n_key};
        begin("{\"chunks\":1}\n", &cfg);
        snprintf(head, sizeof head, JSON "%s", cases[i].headers ? cases[i].headers : "");
        reply r = client_ask(s.port, "POST", CHAT, head, "{\"model\":\"far\",\"messages\":[{\"role\":\"user\",\"content\":\"my secret\"}]}");
        assert_int_equal(r.status, 200);
        snprintf(path, sizeof path, "/v1/traces/%s", reply_header(&r, "x-request-id"));
        reply_deinit(&r);
        const char *const asked[] = {"/v1/traces", path};
        for (int k = 0; k < 2; k++) {
            r = client_ask(s.port, "GET", asked[k], cases[i].headers, NULL);
            if (r.status != cases[i].status || !strstr(moa_buf_str(&r.body), "my secret") != (r.status == 403)) fail_msg("case %zu, %s: %d %s", i, asked[k], r.status, moa_buf_str(&r.body));
            reply_deinit(&r);
        }
        end();
    }
}

/* ---- the file ---- */

static int count_lines(const char *path, const char *with) {
    char *line = NULL;
    size_t cap = 0;
    int n = 0;
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (getline(&line, &cap, f) > 0) n += strstr(line, with) != NULL;
    free(line);
    fclose(f);
    return n;
}

static void with_journal(const char *path, bool redact, const char *script, int asks) {
    moa_err err = {0};
    moa_ledger *l;
    if (moa_ledger_open(&l, path, redact, &err) < 0) fail_msg("%s", err.text);
    const moa_server_cfg cfg = {.ledger = l};
    begin(script, &cfg);
    for (int i = 0; i < asks; i++) free(ask(RETRY, "a secret question"));
    end();
    moa_ledger_close(l);
}

static void test_redacted(void **state) {
    (void)state;
    char path[] = "/tmp/moa-ledger-journal-XXXXXX";
    close(mkstemp(path));
    with_journal(path, true, "{\"text\":\"a secret answer\"}\n", 1);
    assert_int_equal(count_lines(path, "secret"), 0);
    assert_int_equal(count_lines(path, "{\"moa\":\"request\""), 1);
    assert_int_equal(count_lines(path, "{\"moa\":\"end\""), 1);
    assert_int_equal(count_lines(path, "{\"key\""), 0);
    unlink(path);
}

/* What a server wrote the next one knows; damaged files are refused with their line. */
static void test_restart(void **state) {
    (void)state;
    char path[] = "/tmp/moa-ledger-journal-XXXXXX";
    moa_err err = {0};
    moa_ledger *l;
    close(mkstemp(path));
    with_journal(path, false, "{\"text\":\"a secret answer\"}\n", 1);
    assert_int_equal(count_lines(path, "{\"key\""), N);
    port = last_port; /* another URL would be another model */
    with_journal(path, false, "{\"text\":\"another answer\"}\n", 1); /* a retry: all calls are found */
    assert_int_equal(count_lines(path, "{\"key\""), N);
    port = 0;
    assert_int_equal(count_lines(path, "{\"moa\":\"end\""), 2);
    FILE *f = fopen(path, "a");
    fputs("{\"moa\":\"end\",\"sco", f); /* the process died in the middle of a line */
    fclose(f);
    assert_int_equal(moa_ledger_open(&l, path, false, &err), 0);
    moa_ledger_close(l);
    f = fopen(path, "a");
    fputs("{\"moa\":\"end\",\"scope\":\"7x\",\"seed\":\"1\"}\n", f);
    fclose(f);
    assert_int_equal(moa_ledger_open(&l, path, false, &err), MOA_EFORMAT);
    assert_non_null(strstr(err.text, "scope '7x'"));
    unlink(path);
}

/* ---- replay ---- */

static json_t *trace_of(const char *path) {
    char *line = NULL;
    size_t cap = 0;
    json_t *found = NULL;
    FILE *f = fopen(path, "r");
    while (getline(&line, &cap, f) > 0) {
        json_t *v = json_loads(line, 0, NULL);
        if (json_object_get(v, "trace")) {
            json_decref(found);
            found = json_incref(json_object_get(v, "trace"));
        }
        json_decref(v);
    }
    free(line);
    fclose(f);
    assert_non_null(found);
    return found;
}

static int differs(const json_t *trace, char place[100]) {
    json_t *again, *was = json_deep_copy(trace);
    char a[100], b[100];
    moa_err err = {0};
    if (moa_replay(&again, trace, "test", &err) < 0) fail_msg("%s", err.text);
    moa_trace_canonical(was);
    const int rc = moa_replay_compare(place, 100, a, b, 100, was, again);
    json_decref(was);
    json_decref(again);
    return rc;
}

/* One proposal fails, one is cut off; the replay decides the same. A trace that was changed is caught, wherever it was. */
static void test_replay(void **state) {
    (void)state;
    char path[] = "/tmp/moa-ledger-journal-XXXXXX", place[100];
    close(mkstemp(path));
    moa_err err = {0};
    moa_ledger *l;
    if (moa_ledger_open(&l, path, false, &err) < 0) fail_msg("%s", err.text);
    const moa_server_cfg cfg = {.ledger = l};
    begin("{\"times\":1,\"status\":400,\"body\":\"{}\"}\n{\"times\":1,\"ttft\":5}\n{\"times\":1,\"text\":\"Answer: 4\"}\n{\"text\":\"Answer: 5\"}\n", &cfg);
    reply r = client_post(s.port, CHAT, "{\"model\":\"council\",\"moa\":{\"quorum\":2,\"grace\":0.1},\"messages\":[{\"role\":\"user\",\"content\":\"2 + 2?\"}]}");
    if (r.status != 200) fail_msg("%s", moa_buf_str(&r.body));
    reply_deinit(&r);
    end();
    moa_ledger_close(l);
    json_t *t = trace_of(path), *nodes = json_object_get(t, "nodes"), *again;
    int failed = 0;
    for (size_t i = 0; i < N; i++) failed += !strcmp(json_string_value(json_object_get(json_array_get(nodes, i), "state")), "failed");
    assert_int_equal(failed, 2);
    if (differs(t, place)) fail_msg("%s", place);
    /* Another word in the answer's node: the vote is taken anew, and does not say so. */
    json_t *bad = json_deep_copy(t);
    json_object_set_new(json_array_get(json_object_get(bad, "nodes"), N), "text", json_string("Answer: 6"));
    assert_int_equal(differs(bad, place), 1);
    assert_string_equal(place, "nodes[4].text");
    json_decref(bad);
    /* Another question: the calls are others. */
    bad = json_deep_copy(t);
    json_object_set_new(json_array_get(json_object_get(bad, "messages"), 0), "content", json_string("2 + 3?"));
    assert_int_equal(differs(bad, place), 1);
    json_decref(bad);
    /* Settings that are newer than the trace get the default that they had before there was one: the same comes out. One that was not is noticed. */
    moa_buf added;
    moa_buf_init(&added, 1000);
    assert_int_equal(moa_replay_complete(&added, t), 0);
    bad = json_deep_copy(t);
    json_t *settings = json_object_get(json_object_get(bad, "mix"), "settings");
    for (int i = 0; i < 3; i++) assert_int_equal(json_object_del(settings, ((const char *const[]){"screen", "wave", "budget-cost"})[i]), 0);
    assert_int_equal(moa_replay(&again, bad, "test", &err), MOA_EFORMAT);
    assert_int_equal(moa_replay_complete(&added, bad), 3);
    assert_non_null(strstr(moa_buf_str(&added), "screen"));
    if (differs(bad, place)) fail_msg("%s", place);
    json_object_del(settings, "n");
    json_object_del(settings, "wave");
    assert_int_equal(moa_replay_complete(&added, bad), 2);
    assert_string_equal(strstr(moa_buf_str(&added), ", n"), ", n"); /* wave is there already */
    assert_int_equal(differs(bad, place), 1);
    moa_buf_deinit(&added);
    json_decref(bad);
    /* What is no trace is refused. */
    static const char *const broken[] = {"mix", "messages", "nodes"};
    for (int i = 0; i < 3; i++) {
        bad = json_deep_copy(t);
        json_object_del(bad, broken[i]);
        assert_int_equal(moa_replay(&again, bad, "test", &err), MOA_EFORMAT);
        json_decref(bad);
    }
    json_decref(t);
    unlink(path);
}

/* A deadline that cut drafts off and left the merge unasked comes out the same, at once. */
static void test_replay_deadline(void **state) {
    (void)state;
    char path[] = "/tmp/moa-ledger-journal-XXXXXX", place[100];
    close(mkstemp(path));
    moa_err err = {0};
    moa_ledger *l;
    if (moa_ledger_open(&l, path, false, &err) < 0) fail_msg("%s", err.text);
    const moa_server_cfg cfg = {.ledger = l};
    begin("{\"times\":1,\"text\":\"Answer: 4\"}\n{\"ttft\":5}\n", &cfg);
    reply r = client_post(s.port, CHAT, "{\"model\":\"moa:n=3,proposers=far\",\"moa\":{\"deadline\":0.3},\"messages\":[{\"role\":\"user\",\"content\":\"2 + 2?\"}]}");
    if (r.status != 200 || !strstr(moa_buf_str(&r.body), "Answer: 4")) fail_msg("%s", moa_buf_str(&r.body));
    reply_deinit(&r);
    end();
    moa_ledger_close(l);
    json_t *t = trace_of(path);
    const double t0 = moa_now();
    if (differs(t, place)) fail_msg("%s", place);
    assert_true(moa_now() - t0 < 0.25);
    json_decref(t);
    unlink(path);
}

/* A run whose client left in the middle replays as what it was: canceled, and it ends. */
static void test_replay_left(void **state) {
    (void)state;
    char path[] = "/tmp/moa-ledger-journal-XXXXXX", place[100];
    close(mkstemp(path));
    moa_err err = {0};
    moa_ledger *l;
    if (moa_ledger_open(&l, path, false, &err) < 0) fail_msg("%s", err.text);
    const moa_server_cfg cfg = {.ledger = l};
    begin("{\"times\":2,\"text\":\"Answer: 4\"}\n{\"ttft\":5}\n", &cfg);
    const int fd = send_only(JSON, "left");
    for (const double until = moa_now() + 10; mock_count(up).done < 2 && moa_now() < until;) usleep(1000);
    usleep(20000);
    close(fd);
    assert_true(serving_idle_within(&s, 2));
    end();
    moa_ledger_close(l);
    json_t *t = trace_of(path);
    assert_int_equal(json_integer_value(json_object_get(t, "rc")), MOA_ECANCELED);
    if (differs(t, place)) fail_msg("%s", place);
    json_decref(t);
    unlink(path);
}

/* Greedy calls of two models behind URLs, word for word the same: each is asked, and a retry gives each its own reply back. */
static void test_two_models(void **state) {
    (void)state;
    moa_err err = {0};
    if (mock_start(&up, "{\"model\":\"one\",\"text\":\"Answer: 1\"}\n{\"model\":\"two\",\"text\":\"Answer: 2\"}\n", 7, 0, &err) < 0) fail_msg("%s", err.text);
    serving_yaml("backends:\n  - {id: one, url: \"http://127.0.0.1:%d/v1\"}\n  - {id: two, url: \"http://127.0.0.1:%d/v1\"}\n", mock_port(up), mock_port(up));
    serving_start(&s, NULL);
    for (int k = 0; k < 2; k++) {
        reply r = client_ask(s.port, "POST", CHAT, RETRY, "{\"model\":\"moa:n=2,layers=1,temperature=0,proposers=one+two,aggregator=two\",\"messages\":[{\"role\":\"user\",\"content\":\"?\"}]}");
        assert_int_equal(r.status, 200);
        reply_deinit(&r);
        r = client_ask(s.port, "GET", "/v1/traces", NULL, NULL);
        json_t *list = reply_json(&r);
        char path[100];
        snprintf(path, sizeof path, "/v1/traces/%s", json_string_value(json_object_get(json_array_get(json_object_get(list, "data"), 0), "id")));
        json_decref(list);
        reply_deinit(&r);
        r = client_ask(s.port, "GET", path, NULL, NULL);
        json_t *t = reply_json(&r), *nodes = json_object_get(t, "nodes");
        assert_string_equal(json_string_value(json_object_get(json_array_get(nodes, 0), "text")), "Answer: 1");
        assert_string_equal(json_string_value(json_object_get(json_array_get(nodes, 1), "text")), "Answer: 2");
        assert_int_equal(json_is_true(json_object_get(json_array_get(nodes, 0), "found")), k);
        json_decref(t);
        reply_deinit(&r);
    }
    assert_int_equal(mock_count(up).requests, 3);
    end();
}

/* What a model behind a URL had said when its time was over is the answer. */
static void test_deadline_far(void **state) {
    (void)state;
    begin("{\"chunks\":200,\"bytes\":10,\"gap\":0.02}\n", NULL);
    reply r = client_post(s.port, CHAT, "{\"model\":\"far\",\"moa\":{\"deadline\":0.3},\"messages\":[{\"role\":\"user\",\"content\":\"?\"}]}");
    assert_int_equal(r.status, 200);
    char *a = answer_of(&r);
    assert_true(strlen(a) > 30 && strlen(a) < 1500);
    json_t *v = reply_json(&r);
    assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(v, "choices"), 0), "finish_reason")), "length");
    json_decref(v);
    free(a);
    reply_deinit(&r);
    end();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_retry), cmocka_unit_test(test_join), cmocka_unit_test(test_named), cmocka_unit_test(test_twins), cmocka_unit_test(test_left), cmocka_unit_test(test_keys), cmocka_unit_test(test_shared_traces),
        cmocka_unit_test(test_redacted), cmocka_unit_test(test_restart), cmocka_unit_test(test_replay), cmocka_unit_test(test_replay_deadline), cmocka_unit_test(test_replay_left),
        cmocka_unit_test(test_two_models), cmocka_unit_test(test_deadline_far),
    };
    return cmocka_run_group_tests(tests, NULL, serving_teardown);
}
