/* test_upstream.c - models behind URLs: another moa as upstream, a scripted server with faults, mixtures where one of them is dead.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "serve/upstream.h"
#include "support/client.h"
#include "support/serving.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- a server that says what it is told, one reply a connection ---- */
typedef struct script { int fd, port; const char *const *reply; int n, asked; pthread_t thread; char request[8192]; } script;

static void *play(void *arg) {
    script *s = arg;
    for (; s->asked < s->n; s->asked++) {
        const int fd = accept(s->fd, NULL, NULL);
        size_t have = 0;
        const char *end = NULL;
        for (ssize_t k; fd >= 0 && have < sizeof s->request - 1 && (k = recv(fd, s->request + have, sizeof s->request - 1 - have, 0)) > 0;) {
            s->request[have += (size_t)k] = 0;
            const char *length = strcasestr(s->request, "Content-Length: ");
            if ((end = strstr(s->request, "\r\n\r\n")) && length && strlen(end + 4) >= strtoul(length + 16, NULL, 10)) break;
        }
        client_send(fd, s->reply[s->asked], strlen(s->reply[s->asked]));
        close(fd);
    }
    return NULL;
}

static void script_start(script *s, const char *const *replies, int n) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    *s = (script){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), .reply = replies, .n = n};
    assert_true(s->fd >= 0 && bind(s->fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(s->fd, 10) == 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&a, &len), 0);
    s->port = ntohs(a.sin_port);
    assert_int_equal(pthread_create(&s->thread, NULL, play, s), 0);
}

static void script_stop(script *s) {
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->fd);
}

#define HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
#define TEXT(t) "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" t "\"}}]}\n\n"
#define END "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\ndata: [DONE]\n\n"

typedef struct got { moa_buf text; int ends; } got;
static bool on_text(void *ctx, int call, const char *text, size_t n) {
    got *g = ctx;
    (void)call;
    if (text) moa_buf_add(&g->text, text, n);
    else g->ends++;
    return true;
}

static int ask_script(const char *const *replies, int n, moa_call *c, got *g, script *s) {
    static const moa_message msg[] = {{"system", "S"}, {"user", "Q"}};
    static const char *const stop[] = {"END"};
    static const moa_call_extra extra = {.stop = stop, .n_stop = 1};
    char url[64];
    moa_backend *b;
    moa_err err = {0};
    script_start(s, replies, n);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/v1/", s->port);
    const moa_upstream_cfg cfg = {.id = "far", .url = url, .model = "theirs", .key = "SECRET", .retries = 2, .timeout_s = 5};
    assert_int_equal(moa_upstream_open(&b, &cfg, &err), 0);
    *c = (moa_call){.msg = msg, .n_msg = 2, .sampling = moa_sampling_defaults(), .max_tokens = 9, .extra = &extra};
    *g = (got){0};
    moa_buf_init(&g->text, 10000);
    moa_backend_complete(b, c, 1, on_text, g, &err);
    moa_backend_close(b);
    script_stop(s);
    return c->rc;
}

static void test_request_and_reply(void **state) {
    static const char *const replies[] = {HEAD ": ping\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\r\n\r\nevent: x\n" TEXT("Gr\xc3\xbc\xc3\x9f") TEXT(" Gott") END};
    script s;
    moa_call c;
    got g;
    (void)state;
    assert_int_equal(ask_script(replies, 1, &c, &g, &s), 0);
    assert_string_equal(c.res.text, "Gr\xc3\xbc\xc3\x9f Gott");
    assert_string_equal(moa_buf_str(&g.text), c.res.text);
    assert_int_equal(g.ends, 1);
    assert_int_equal(c.res.n_prompt, 7);
    assert_int_equal(c.res.n_ids, 3);
    assert_non_null(strstr(s.request, "POST /v1/chat/completions HTTP/1.1\r\n"));
    assert_non_null(strstr(s.request, "Authorization: Bearer SECRET\r\n"));
    json_t *body = json_loads(strstr(s.request, "\r\n\r\n") + 4, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(body, "model")), "theirs");
    assert_int_equal(json_array_size(json_object_get(body, "messages")), 2);
    assert_int_equal(json_integer_value(json_object_get(body, "max_tokens")), 9);
    assert_string_equal(json_string_value(json_array_get(json_object_get(body, "stop"), 0)), "END");
    json_decref(body);
    moa_gen_res_deinit(&c.res);
    moa_buf_deinit(&g.text);
}

/* Replies in turn, how many of them are used up, the code, and what the error says; text where there is none. */
static void test_faults(void **state) {
    static const struct { const char *reply[4]; int n, asked, rc; const char *says; } cases[] = {
        {{"HTTP/1.1 429 Too Many\r\nRetry-After: 0\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", HEAD TEXT("ok") END}, 2, 2, 0, "ok"},
        {{"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "", HEAD TEXT("ok") END}, 3, 3, 0, "ok"}, /* busy, then no reply at all */
        {{"HTTP/1.1 401 No\r\nContent-Length: 43\r\nConnection: close\r\n\r\n{\"error\":{\"message\":\"wrong key\",\"code\":null}}"}, 1, 1, MOA_EIO, "status 401"},
        {{HEAD TEXT("half")}, 1, 1, MOA_EIO, "ended before its end"},      /* text was shown: no other try */
        {{HEAD "data: {\"error\":{\"message\":\"overloaded\"}}\n\n", HEAD TEXT("ok") END}, 2, 2, 0, "ok"},
        {{HEAD "data: {nonsense\n\n"}, 1, 1, MOA_EFORMAT, "far"},
        {{"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 79\r\nConnection: close\r\n\r\n"
          "{\"choices\":[{\"message\":{\"content\":\"whole\"},\"finish_reason\":\"stop\"}],\"usage\":{}}  "}, 1, 1, 0, "whole"}, /* does not stream */
        {{"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>"}, 1, 1, MOA_EFORMAT, "far"},
        {{"nonsense", "nonsense", "nonsense"}, 3, 3, MOA_EIO, "far"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        script s;
        moa_call c;
        got g;
        ask_script(cases[i].reply, cases[i].n, &c, &g, &s);
        const char *said = c.rc < 0 ? c.err.text : c.res.text;
        if (c.rc != cases[i].rc || s.asked != cases[i].asked || !said || !strstr(said, cases[i].says)) fail_msg("case %zu: rc %d, %d asked: %s", i, c.rc, s.asked, said ? said : "");
        assert_int_equal(g.ends, 1);
        moa_gen_res_deinit(&c.res);
        moa_buf_deinit(&g.text);
    }
}

/* ---- moa behind moa ---- */

static char path[] = "/tmp/moa-test-upstream-XXXXXX";

static json_t *ask(serving *s, const char *body, int status) {
    reply r = client_post(s->port, "/v1/chat/completions", body);
    if (r.status != status) fail_msg("%d: %s", r.status, moa_buf_str(&r.body));
    json_t *v = reply_json(&r);
    reply_deinit(&r);
    return v;
}

static const char *content(const json_t *v) {
    return json_string_value(json_object_get(json_object_get(json_array_get(json_object_get(v, "choices"), 0), "message"), "content"));
}

#define HELLO "\"temperature\":0,\"max_tokens\":30,\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}"

static void test_chain(void **state) {
    serving far, near;
    char text[1000];
    (void)state;
    assert_true(mkstemp(path) >= 0);
    serving_start(&far, NULL);
    FILE *f = fopen(path, "w");
    fprintf(f, "backends:\n  - {id: far, url: 'http://127.0.0.1:%d/v1', model: single}\n  - {id: slow, url: 'http://127.0.0.1:%d', model: 'vote:n=256'}\n"
               "  - {id: dead, url: 'http://127.0.0.1:1/v1', retries: -1}\n"
               "mixes:\n  - {id: council, mix: 'moa:layers=1,max-tokens=20', proposers: [far, dead, far], aggregator: far}\n  - {id: none, mix: vote, proposers: [dead]}\n",
            far.port, far.port);
    fclose(f);
    serving_config(path);
    serving_start(&near, NULL);
    json_t *a = ask(&near, "{\"model\":\"far\"," HELLO, 200), *b = ask(&far, "{\"model\":\"single\"," HELLO, 200);
    assert_string_equal(content(a), content(b));
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
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_request_and_reply), cmocka_unit_test(test_faults), cmocka_unit_test(test_chain)};
    return cmocka_run_group_tests(tests, NULL, serving_teardown);
}
