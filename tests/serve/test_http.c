/* test_http.c - what every endpoint shares: paths, keys, origins, limits, connections that break, the end of the server.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/rng.h"
#include "support/client.h"
#include "support/serving.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define CHAT "/v1/chat/completions"
/* Seconds of work: many samples that seldom end by themselves. */
#define LONG(stream) "{\"model\":\"vote:n=256\",\"stream\":" stream ",\"temperature\":2,\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}"
#define JSON_TYPE "Content-Type: application/json\r\n"

static int status_of(serving *s, const char *method, const char *path, const char *headers, const char *body) {
    reply r = client_ask(s->port, method, path, headers, body);
    const int status = r.status;
    reply_deinit(&r);
    return status;
}

static void test_paths(void **state) {
    serving s;
    (void)state;
    serving_start(&s, NULL);
    assert_int_equal(status_of(&s, "GET", "/health", NULL, NULL), 200);
    assert_int_equal(status_of(&s, "GET", "/v1/health", NULL, NULL), 200);
    assert_int_equal(status_of(&s, "HEAD", "/health", NULL, NULL), 200);
    assert_int_equal(status_of(&s, "GET", "/v1/models", NULL, NULL), 200);
    assert_int_equal(status_of(&s, "GET", "/models/self-moa", NULL, NULL), 200);
    assert_int_equal(status_of(&s, "GET", "/models/none", NULL, NULL), 404);
    assert_int_equal(status_of(&s, "GET", "/v1/chat", NULL, NULL), 404);
    assert_int_equal(status_of(&s, "POST", CHAT, "Content-Type: text/plain\r\n", "{}"), 415);
    assert_int_equal(status_of(&s, "POST", CHAT, NULL, "{}"), 415);
    reply r = client_ask(s.port, "DELETE", CHAT, NULL, NULL);
    assert_int_equal(r.status, 405);
    assert_string_equal(reply_header(&r, "Allow"), "POST");
    reply_deinit(&r);
    serving_stop(&s);
}

static void test_keys(void **state) {
    static const char *const key[] = {"first-key", "second"};
    const moa_server_cfg cfg = {.key = key, .n_key = 2};
    serving s;
    (void)state;
    serving_start(&s, &cfg);
    assert_int_equal(status_of(&s, "GET", "/v1/models", NULL, NULL), 401);
    assert_int_equal(status_of(&s, "GET", "/v1/models", "Authorization: Bearer first-ke\r\n", NULL), 401);
    assert_int_equal(status_of(&s, "GET", "/v1/models", "Authorization: Bearer first-key2\r\n", NULL), 401);
    assert_int_equal(status_of(&s, "GET", "/v1/models", "Authorization: Basic first-key\r\n", NULL), 401);
    assert_int_equal(status_of(&s, "GET", "/v1/models", "Authorization: Bearer first-key\r\n", NULL), 200);
    assert_int_equal(status_of(&s, "GET", "/v1/models", "authorization: bearer second\r\n", NULL), 200);
    assert_int_equal(status_of(&s, "GET", "/health", NULL, NULL), 200);
    assert_int_equal(status_of(&s, "POST", CHAT, JSON_TYPE, "{}"), 401);
    serving_stop(&s);
}

static int status_as(serving *s, const char *host) {
    char head[300];
    const int n = snprintf(head, sizeof head, "GET /v1/models HTTP/1.1\r\nHost: %s\r\n\r\n", host);
    const int fd = client_connect(s->port);
    reply r;
    client_send(fd, head, (size_t)n);
    client_read(fd, &r);
    const int status = r.status;
    reply_deinit(&r);
    close(fd);
    return status;
}

/* A page whose name was bound to this machine after it was loaded reads with its own name as Host, and without Origin. */
static void test_hosts(void **state) {
    static const char *const good[] = {"localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "192.168.1.7:8080", "box", "chat.example"};
    static const char *const bad[] = {"evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "1.evil.example"};
    static const char *const origin[] = {"https://chat.example"};
    static const char *const key[] = {"SECRET"};
    serving s;
    (void)state;
    serving_start(&s, &(moa_server_cfg){.origin = origin, .n_origin = 1});
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (status_as(&s, good[i]) != 200) fail_msg("Host: %s is refused", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (status_as(&s, bad[i]) != 403) fail_msg("Host: %s is let in", bad[i]);
    serving_stop(&s);
    serving_start(&s, &(moa_server_cfg){.key = key, .n_key = 1});
    assert_int_equal(status_as(&s, "evil.example"), 401); /* which has no key */
    serving_stop(&s);
}

static void test_origins(void **state) {
    static const char *const origin[] = {"https://chat.example"};
    const moa_server_cfg cfg = {.origin = origin, .n_origin = 1};
    serving s;
    (void)state;
    serving_start(&s, &cfg);
    reply r = client_ask(s.port, "OPTIONS", CHAT,
                         "Origin: https://chat.example\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization,x-stainless-os\r\n", NULL);
    assert_int_equal(r.status, 204);
    assert_string_equal(reply_header(&r, "Access-Control-Allow-Origin"), "https://chat.example");
    assert_string_equal(reply_header(&r, "Access-Control-Allow-Headers"), "authorization,x-stainless-os");
    reply_deinit(&r);
    assert_int_equal(status_of(&s, "GET", "/v1/models", "Origin: http://localhost:3000\r\n", NULL), 200);
    assert_int_equal(status_of(&s, "GET", "/v1/models", "Origin: http://localhost.evil.example\r\n", NULL), 403);
    assert_int_equal(status_of(&s, "GET", "/v1/models", "Origin: http://localhost@evil.example\r\n", NULL), 403);
    assert_int_equal(status_of(&s, "GET", "/v1/models", "Host: evil.example\r\nOrigin: http://evil.example\r\n", NULL), 403); /* a name bound anew */
    r = client_ask(s.port, "OPTIONS", CHAT, "Origin: http://evil.example\r\n", NULL);
    assert_null(reply_header(&r, "Access-Control-Allow-Origin"));
    reply_deinit(&r);
    serving_stop(&s);
}

static void test_body_limit(void **state) {
    const moa_server_cfg cfg = {.max_body = 1000};
    char big[5000];
    serving s;
    (void)state;
    serving_start(&s, &cfg);
    memset(big, ' ', sizeof big - 1);
    big[sizeof big - 1] = 0;
    assert_int_equal(status_of(&s, "POST", CHAT, JSON_TYPE, big), 413);
    /* The same where the length is not told beforehand. */
    const int fd = client_connect(s.port);
    static const char head[] = "POST " CHAT " HTTP/1.1\r\nHost: x\r\n" JSON_TYPE "Transfer-Encoding: chunked\r\n\r\n";
    reply r;
    client_send(fd, head, sizeof head - 1);
    for (int i = 0; i < 3; i++) client_send(fd, "200\r\n", 5), client_send(fd, big, 0x200), client_send(fd, "\r\n", 2);
    client_send(fd, "0\r\n\r\n", 5);
    client_read(fd, &r);
    assert_int_equal(r.status, 413);
    reply_deinit(&r);
    close(fd);
    serving_stop(&s);
}

static void begin(int fd, const char *body) {
    char head[400];
    const int n = snprintf(head, sizeof head, "POST " CHAT " HTTP/1.1\r\nHost: localhost\r\n" JSON_TYPE "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
    client_send(fd, head, (size_t)n);
}

static void await_running(serving *s, int n) {
    const double end = moa_now() + 20;
    while (serving_running(s) < n) {
        if (moa_now() > end) fail_msg("no request at work after 20 s");
        usleep(100);
    }
}

/* A keep-alive connection serves several requests; two that came in one packet too. */
static void test_kept(void **state) {
    serving s;
    reply r;
    (void)state;
    serving_start(&s, NULL);
    const int fd = client_connect(s.port);
    static const char two[] = "GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n";
    client_send(fd, two, sizeof two - 1);
    for (int i = 0; i < 2; i++) {
        assert_true(client_read(fd, &r));
        assert_int_equal(r.status, 200);
        reply_deinit(&r);
    }
    begin(fd, "{\"max_tokens\":3,\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}");
    assert_true(client_read(fd, &r));
    reply_deinit(&r);
    begin(fd, "{\"max_tokens\":3,\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}");
    assert_true(client_read(fd, &r));
    assert_int_equal(r.status, 200);
    reply_deinit(&r);
    close(fd);
    serving_stop(&s);
}

/* The client leaves while its reply is made, in every way that it can, with and without a stream: the work ends within 50 ms, by the clock
 * of a test that shares its machine with others a few times that. */
static void test_cancel(void **state) {
    static const char *const body[] = {LONG("true"), LONG("false")};
    serving s;
    (void)state;
    serving_start(&s, NULL);
    for (int i = 0; i < 6; i++) {
        const int fd = client_connect(s.port);
        char c;
        begin(fd, body[i % 2]);
        await_running(&s, 1);
        if (i % 2 == 0) assert_int_equal(recv(fd, &c, 1, 0), 1);
        else usleep(3000);
        if (i / 2 == 0) {
            close(fd);
        } else if (i / 2 == 1) {
            const struct linger l = {1, 0};
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
            close(fd); /* with a reset */
        } else {
            shutdown(fd, SHUT_WR);
        }
        const double t0 = moa_now();
        assert_true(serving_idle_within(&s, 2));
        if (moa_now() - t0 > 0.25) fail_msg("work went on for %.0f ms", 1000 * (moa_now() - t0));
        if (i / 2 == 2) close(fd);
    }
    moa_gen_load load = moa_generator_load(moa_backend_local_generator(s.catalog->model[0]->backend));
    assert_int_equal(load.n_running + load.n_waiting, 0);
    assert_int_equal(status_of(&s, "GET", "/health", NULL, NULL), 200);
    serving_stop(&s);
}

/* One runs, one waits, the third is told when to come again. */
static void test_queue(void **state) {
    const moa_server_cfg cfg = {.max_running = 1, .max_queue = 1};
    serving s;
    (void)state;
    serving_start(&s, &cfg);
    int fd[2];
    for (int i = 0; i < 2; i++) {
        fd[i] = client_connect(s.port);
        begin(fd[i], LONG("false"));
        await_running(&s, i + 1);
    }
    reply r = client_post(s.port, CHAT, LONG("false"));
    assert_int_equal(r.status, 429);
    assert_non_null(reply_header(&r, "Retry-After"));
    reply_deinit(&r);
    int waiting = 1, running = 0;
    close(fd[1]); /* who waited leaves: its place is free at once, not when its turn would have come */
    for (const double end = moa_now() + 1; waiting && moa_now() < end; usleep(200)) moa_queue_load(&s.server->queue, &waiting, &running);
    assert_int_equal(waiting, 0);
    assert_int_equal(running, 1);
    close(fd[0]);
    assert_true(serving_idle_within(&s, 2));
    assert_int_equal(status_of(&s, "POST", CHAT, JSON_TYPE, "{\"max_tokens\":2,\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}"), 200);
    serving_stop(&s);
}

/* The first stop lets running replies end and takes no new requests. */
static void test_drain(void **state) {
    serving s;
    reply r;
    (void)state;
    serving_start(&s, NULL);
    const int fd = client_connect(s.port), kept = client_connect(s.port);
    static const char health[] = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    client_send(kept, health, sizeof health - 1);
    assert_true(client_read(kept, &r));
    reply_deinit(&r);
    begin(fd, "{\"model\":\"vote:n=32\",\"stream\":true,\"temperature\":2,\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}");
    await_running(&s, 1);
    moa_server_stop(s.server);
    usleep(2000);
    assert_true(client_read(fd, &r));
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(moa_buf_str(&r.body), "[DONE]"));
    reply_deinit(&r);
    pthread_join(s.thread, NULL);
    assert_int_equal(s.rc, 0);
    moa_server_close(s.server);
    moa_ledger_close(s.own);
    close(fd);
    close(kept);
}

/* A client that reads nothing for a while: its reply is made all the same, and is whole when it reads at last. */
static void test_slow_reader(void **state) {
    serving s;
    reply r;
    (void)state;
    serving_start(&s, NULL);
    const int fd = client_connect(s.port);
    begin(fd, "{\"stream\":true,\"n\":32,\"temperature\":2,\"logprobs\":true,\"top_logprobs\":20,\"max_tokens\":200,\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}");
    await_running(&s, 1);
    assert_true(serving_idle_within(&s, 30));
    assert_true(client_read(fd, &r));
    assert_true(r.body.len > 1 << 20); /* more than sockets hold */
    assert_string_equal(moa_buf_str(&r.body) + r.body.len - 14, "data: [DONE]\n\n");
    reply_deinit(&r);
    close(fd);
    serving_stop(&s);
}

/* Connections that say nothing, or half a request, take no worker, and keep nobody from stopping. */
static void test_half_open(void **state) {
    static const char half[] = "POST " CHAT " HTTP/1.1\r\nHost: x\r\n" JSON_TYPE "Content-Length: 500\r\n\r\n{\"messages\":[";
    const moa_server_cfg cfg = {.max_running = 2};
    serving s;
    int fd[60];
    (void)state;
    serving_start(&s, &cfg);
    for (int i = 0; i < 60; i++) {
        fd[i] = client_connect(s.port);
        client_send(fd[i], half, i % 3 == 0 ? 0 : i % 3 == 1 ? 30 : sizeof half - 1);
    }
    assert_int_equal(status_of(&s, "POST", CHAT, JSON_TYPE, "{\"max_tokens\":2,\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}"), 200);
    assert_true(serving_idle_within(&s, 1)); /* the reply is there before its worker has gone back */
    serving_stop(&s);
    for (int i = 0; i < 60; i++) close(fd[i]);
}

/* Bytes that are no request, and requests with a wrong byte, on many connections: the server lives, and nothing stays behind. */
static void test_hostile(void **state) {
    static const char good[] = "POST " CHAT " HTTP/1.1\r\nHost: localhost\r\n" JSON_TYPE "Content-Length: 85\r\n\r\n"
                               "{\"max_tokens\":2,\"temperature\":0.5,\"messages\":[{\"role\":\"user\",\"content\":\"Hi there\"}]}  ";
    serving s;
    moa_rng g;
    (void)state;
    moa_rng_seed(&g, 1);
    serving_start(&s, NULL);
    for (int i = 0; i < 400; i++) {
        char bytes[sizeof good];
        memcpy(bytes, good, sizeof good);
        const int n_flip = i % 4 == 0 ? 60 : 1 + i % 3, n = i % 5 == 0 ? moa_rng_range(&g, 1, sizeof good - 1) : (int)sizeof good - 1;
        for (int k = 0; k < n_flip; k++) bytes[moa_rng_below(&g, sizeof good - 1)] = (char)moa_rng_below(&g, 256);
        const int fd = client_connect(s.port);
        client_send(fd, bytes, (size_t)n);
        if (i % 3 == 0) shutdown(fd, SHUT_WR);
        close(fd);
    }
    assert_true(serving_idle_within(&s, 5));
    assert_int_equal(status_of(&s, "GET", "/health", NULL, NULL), 200);
    serving_stop(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths), cmocka_unit_test(test_keys), cmocka_unit_test(test_origins), cmocka_unit_test(test_hosts), cmocka_unit_test(test_body_limit), cmocka_unit_test(test_kept),
        cmocka_unit_test(test_cancel), cmocka_unit_test(test_queue), cmocka_unit_test(test_drain), cmocka_unit_test(test_slow_reader), cmocka_unit_test(test_half_open),
        cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, serving_teardown);
}
