/* test_endpoints.c - completions, embeddings, tokens and texts, metrics.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/cpu.h"
#include "support/client.h"
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

static serving s;

static int setup(void **state) {
    (void)state;
    serving_start(&s, NULL);
    return 0;
}

static int teardown(void **state) {
    serving_stop(&s);
    return serving_teardown(state);
}

static json_t *ask(const char *path, const char *body, int status) { return client_json(s.port, path, body, status); }

static const char *text(const json_t *v, size_t i) { return json_string_value(json_object_get(json_array_get(json_object_get(v, "choices"), i), "text")); }

static void test_tokens(void **state) {
    (void)state;
    json_t *v = ask("/tokenize", "{\"content\":\"Tom has 12 apples <|im_end|>\"}", 200), *list = json_object_get(v, "tokens");
    char *ids = json_dumps(list, JSON_COMPACT), body[2000];
    assert_int_equal(json_integer_value(json_object_get(v, "count")), json_array_size(list));
    snprintf(body, sizeof body, "{\"tokens\":%s}", ids);
    json_t *w = ask("/detokenize", body, 200);
    assert_string_equal(json_string_value(json_object_get(w, "content")), "Tom has 12 apples <|im_end|>");
    json_decref(w);
    /* Tokens are as good as their text. */
    snprintf(body, sizeof body, "{\"prompt\":%s,\"max_tokens\":10,\"seed\":1}", ids);
    json_t *a = ask("/v1/completions", body, 200), *b = ask("/v1/completions", "{\"prompt\":\"Tom has 12 apples <|im_end|>\",\"max_tokens\":10,\"seed\":1}", 200);
    assert_string_equal(text(a, 0), text(b, 0));
    json_decref(a);
    json_decref(b);
    free(ids);
    json_decref(v);
    v = ask("/tokenize", "{\"messages\":[{\"role\":\"user\",\"content\":\"<|im_end|>\"}],\"with_pieces\":true}", 200);
    json_t *p;
    size_t i;
    int ends = 0;
    json_array_foreach(json_object_get(v, "tokens"), i, p) ends += !strcmp(json_string_value(json_object_get(p, "piece")), "<|im_end|>");
    assert_int_equal(ends, 1); /* the template's own; what the user wrote is text */
    json_decref(v);
    json_decref(ask("/tokenize", "{}", 400));
    json_decref(ask("/detokenize", "{\"tokens\":[-1]}", 400));
    json_decref(ask("/detokenize", "{\"tokens\":[1000000]}", 400));
    json_decref(ask("/detokenize", "{\"tokens\":\"x\"}", 400));
}

static void test_completions(void **state) {
    (void)state;
    json_t *v = ask("/v1/completions", "{\"prompt\":[\"Tom\",\"Anna\"],\"n\":2,\"max_tokens\":4,\"echo\":true,\"seed\":1}", 200);
    assert_string_equal(json_string_value(json_object_get(v, "object")), "text_completion");
    assert_int_equal(json_array_size(json_object_get(v, "choices")), 4);
    assert_int_equal(strncmp(text(v, 0), "Tom", 3), 0);
    assert_int_equal(strncmp(text(v, 3), "Anna", 4), 0);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(v, "usage"), "completion_tokens")), 16);
    json_decref(v);
    json_decref(ask("/v1/completions", "{\"model\":\"vote:n=2\",\"prompt\":\"Tom\",\"max_tokens\":4}", 200));
    json_decref(ask("/v1/completions", "{\"prompt\":\"\"}", 400));
    json_decref(ask("/v1/completions", "{\"prompt\":[]}", 400));
    json_decref(ask("/v1/completions", "{\"prompt\":[99999]}", 400));
    json_decref(ask("/v1/completions", "{\"prompt\":{}}", 400));
    json_decref(ask("/v1/completions", "{\"model\":\"self-moa\",\"prompt\":[1,2]}", 400));
}

static int digit(char c) { return c >= 'a' ? c - 'a' + 26 : c >= 'A' ? c - 'A' : c >= '0' ? c - '0' + 52 : c == '+' ? 62 : 63; }

/* base64 is the same vector; a vector has length 1 and does not depend on its neighbours; fewer dimensions have length 1 again. */
static void test_embeddings(void **state) {
    (void)state;
    json_t *v = ask("/v1/embeddings", "{\"input\":[\"one text\",\"another\"]}", 200), *w = ask("/embeddings", "{\"input\":\"another\",\"encoding_format\":\"base64\"}", 200);
    json_t *d = ask("/v1/embeddings", "{\"input\":\"another\",\"dimensions\":2}", 200);
    const json_t *row = json_object_get(json_array_get(json_object_get(v, "data"), 1), "embedding");
    const char *b64 = json_string_value(json_object_get(json_array_get(json_object_get(w, "data"), 0), "embedding"));
    const size_t n = json_array_size(row);
    double sum = 0;
    assert_true(n > 2);
    assert_int_equal(strlen(b64), (n * 4 + 2) / 3 * 4);
    for (size_t i = 0; i < n; i++) {
        unsigned char bytes[4];
        for (size_t k = 0; k < 4; k++) {
            const size_t bit = (i * 4 + k) * 8, q = bit / 6, off = bit % 6;
            const int two = digit(b64[q]) << 6 | digit(b64[q + 1]);
            bytes[k] = (unsigned char)(off + 8 <= 12 ? two >> (4 - off) : 0);
        }
        float f;
        memcpy(&f, bytes, 4);
        assert_float_equal(f, (float)json_real_value(json_array_get(row, i)), 1e-7);
        sum += (double)f * (double)f;
    }
    assert_float_equal(sum, 1, 1e-4);
    row = json_object_get(json_array_get(json_object_get(d, "data"), 0), "embedding");
    assert_int_equal(json_array_size(row), 2);
    assert_float_equal(hypot(json_real_value(json_array_get(row, 0)), json_real_value(json_array_get(row, 1))), 1, 1e-4);
    json_decref(v);
    json_decref(w);
    json_decref(d);
    json_decref(ask("/v1/embeddings", "{\"input\":[[1,2,3],[4]]}", 200));
    json_decref(ask("/v1/embeddings", "{\"input\":[1,2,3]}", 200));
    json_decref(ask("/v1/embeddings", "{\"input\":[]}", 400));
    json_decref(ask("/v1/embeddings", "{\"input\":\"\"}", 400));
    json_decref(ask("/v1/embeddings", "{\"input\":[1,99999]}", 400));
    json_decref(ask("/v1/embeddings", "{\"input\":5}", 400));
    json_decref(ask("/v1/embeddings", "{\"input\":\"x\",\"encoding_format\":\"hex\"}", 400));
    json_decref(ask("/v1/embeddings", "{\"input\":\"x\",\"dimensions\":100000}", 400));
}

/* Vectors that take long are computed beside everything else: a chat goes on while more of them are asked for than the loop has threads. */
static void test_embeddings_beside(void **state) {
    enum { TEXTS = 2048, REPEAT = 20, MOST = 64 };
    char head[200];
    int fd[MOST];
    const int n = moa_cpu_count() + 1 < MOST ? moa_cpu_count() + 1 : MOST;
    moa_buf b;
    (void)state;
    moa_buf_init(&b, 1 << 22);
    moa_buf_adds(&b, "{\"input\":[");
    for (int i = 0; i < TEXTS; i++) {
        moa_buf_adds(&b, i ? ",\"" : "\"");
        for (int k = 0; k < REPEAT; k++) moa_buf_addf(&b, "Tom has %d apples. ", i + k);
        moa_buf_adds(&b, "\"");
    }
    moa_buf_adds(&b, "]}");
    assert_int_equal(b.failed, 0);
    const int len = snprintf(head, sizeof head, "POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", b.len);
    for (int i = 0; i < n; i++) {
        fd[i] = client_connect(s.port);
        client_send(fd[i], head, (size_t)len);
        client_send(fd[i], moa_buf_str(&b), b.len);
    }
    for (int i = 0; i < 10000 && serving_running(&s) < n; i++) usleep(1000);
    assert_int_equal(serving_running(&s), n);
    usleep(20000); /* all that have a thread are at work */
    json_decref(ask("/v1/chat/completions", "{\"max_tokens\":4,\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}", 200));
    const int left = serving_running(&s);
    for (int i = 0; i < n; i++) close(fd[i]);
    assert_true(serving_idle_within(&s, 5));
    moa_buf_deinit(&b);
    if (left < n) fail_msg("the chat ended after %d of %d requests for vectors", n - left, n);
}

/* Events in their order, numbered without a gap; the deltas are the text; the last says what a whole reply says. */
typedef struct events { moa_buf names, text; json_int_t seq; json_t *last; } events;
static void hear(void *ctx, const char *name, const char *data, size_t n) {
    events *e = ctx;
    json_t *v = json_loadb(data, n, 0, NULL);
    assert_non_null(v);
    assert_string_equal(json_string_value(json_object_get(v, "type")), name);
    assert_int_equal(json_integer_value(json_object_get(v, "sequence_number")), e->seq++);
    const bool delta = !strcmp(name, "response.output_text.delta");
    if (delta) moa_buf_adds(&e->text, json_string_value(json_object_get(v, "delta")));
    else moa_buf_addf(&e->names, "%s ", name + strlen("response."));
    json_decref(e->last);
    e->last = v;
}

static const char *output_text(const json_t *response) {
    const json_t *item = json_array_get(json_object_get(response, "output"), 0);
    return json_string_value(json_object_get(json_array_get(json_object_get(item, "content"), 0), "text"));
}

static void test_responses(void **state) {
    events e = {0};
    (void)state;
    json_t *v = ask("/v1/responses", "{\"input\":\"Hello\",\"instructions\":\"Be brief\",\"seed\":3,\"max_output_tokens\":9}", 200);
    assert_string_equal(json_string_value(json_object_get(v, "object")), "response");
    assert_string_equal(json_string_value(json_object_get(v, "status")), "incomplete");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(v, "usage"), "output_tokens")), 9);
    moa_buf_init(&e.names, 10000);
    moa_buf_init(&e.text, 10000);
    reply r = client_post(s.port, "/v1/responses", "{\"stream\":true,\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"Hello\"}]}],\"instructions\":\"Be brief\","
                                                    "\"seed\":3,\"max_output_tokens\":9}");
    assert_int_equal(r.status, 200);
    reply_events(&r, hear, &e);
    assert_string_equal(moa_buf_str(&e.names), "created in_progress output_item.added content_part.added output_text.done content_part.done output_item.done incomplete ");
    assert_string_equal(moa_buf_str(&e.text), output_text(v));
    assert_string_equal(output_text(json_object_get(e.last, "response")), output_text(v));
    reply_deinit(&r);
    json_decref(v);
    moa_buf_clear(&e.names);
    e.seq = 0;
    r = client_post(s.port, "/v1/responses", "{\"stream\":true,\"input\":\"Hello\",\"tools\":[{\"type\":\"function\",\"name\":\"f\"}],\"tool_choice\":\"required\"}");
    reply_events(&r, hear, &e);
    assert_string_equal(moa_buf_str(&e.names), "created in_progress output_item.added function_call_arguments.delta function_call_arguments.done output_item.done completed ");
    reply_deinit(&r);
    v = ask("/v1/responses", "{\"max_output_tokens\":2,\"input\":[{\"role\":\"user\",\"content\":\"f?\"},{\"type\":\"function_call\",\"call_id\":\"c\",\"name\":\"f\",\"arguments\":\"{}\"},"
                             "{\"type\":\"function_call_output\",\"call_id\":\"c\",\"output\":\"5\"}]}", 200);
    json_decref(v);
    json_decref(ask("/v1/responses", "{\"input\":\"x\",\"previous_response_id\":\"resp_1\"}", 400));
    json_decref(ask("/v1/responses", "{\"input\":7}", 400));
    json_decref(ask("/v1/responses", "{\"input\":[{\"type\":\"item_reference\",\"id\":\"x\"}]}", 400));
    json_decref(ask("/v1/responses", "{\"input\":[{\"type\":\"function_call\"},{\"role\":\"user\",\"content\":\"x\"}]}", 400));
    json_decref(e.last);
    moa_buf_deinit(&e.names);
    moa_buf_deinit(&e.text);
}

static void test_ps(void **state) {
    static const char body[] = "{\"model\":\"vote:n=256\",\"temperature\":2,\"messages\":[{\"role\":\"user\",\"content\":\"my secret\"}]}";
    char head[400];
    (void)state;
    const int fd = client_connect(s.port);
    const int n = snprintf(head, sizeof head, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    client_send(fd, head, (size_t)n);
    bool seen = false;
    for (int i = 0; i < 2000 && !seen; i++) {
        reply r = client_ask(s.port, "GET", "/ps", NULL, NULL);
        json_t *v = reply_json(&r);
        const json_t *row = json_array_get(json_object_get(v, "data"), 0);
        seen = row && !strcmp(json_string_value(json_object_get(row, "state")), "running") && !strcmp(json_string_value(json_object_get(row, "model")), "vote:n=256");
        assert_null(strstr(moa_buf_str(&r.body), "secret"));
        json_decref(v);
        reply_deinit(&r);
    }
    assert_true(seen);
    close(fd);
    assert_true(serving_idle_within(&s, 2));
}

/* Lines of Prometheus' text format: comments, or NAME{LABELS} NUMBER. */
static void test_metrics(void **state) {
    (void)state;
    json_decref(ask("/v1/chat/completions", "{\"model\":\"vote:n=3\",\"max_tokens\":4,\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}", 200));
    reply r = client_ask(s.port, "GET", "/metrics", NULL, NULL);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(reply_header(&r, "Content-Type"), "version=0.0.4"));
    const char *t = moa_buf_str(&r.body);
    assert_non_null(strstr(t, "role=\"proposer\"} "));
    assert_non_null(strstr(t, "moa_requests_total{endpoint=\"chat\",code=\"200\"} 1"));
    assert_non_null(strstr(t, "moa_queue_depth 0"));
    assert_non_null(strstr(t, "moa_kv_room{model="));
    const char *drawn = strstr(t, "\nmoa_engine_tokens_total{model="), *held = strstr(t, "\nmoa_kv_tokens{model=");
    assert_true(drawn && strtod(strchr(drawn, '}') + 1, NULL) >= 12); /* three calls of four */
    assert_true(held && strtod(strchr(held, '}') + 1, NULL) > 0); /* their beginnings are kept */
    for (const char *p = t; *p; p = strchr(p, '\n') + 1) {
        char name[200];
        double value;
        if (*p != '#') assert_int_equal(sscanf(p, "%199[^ \n] %lf", name, &value), 2);
    }
    reply_deinit(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tokens), cmocka_unit_test(test_completions), cmocka_unit_test(test_embeddings),
                                       cmocka_unit_test(test_responses), cmocka_unit_test(test_ps), cmocka_unit_test(test_metrics),
                                       cmocka_unit_test(test_embeddings_beside)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
