/* test_chat.c - /v1/chat/completions: whole and streamed replies are the same, the order of a stream, what fields do, what is refused.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/client.h"
#include "support/serving.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define CHAT "/v1/chat/completions"
#define HELLO "\"messages\":[{\"role\":\"user\",\"content\":\"Hello, how are you?\"}]"

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

static json_t *ask(const char *body) { return client_json(s.port, CHAT, body, 200); }

static json_int_t usage(const json_t *v, const char *key) { return json_integer_value(json_object_get(json_object_get(v, "usage"), key)); }

static void test_whole(void **state) {
    (void)state;
    json_t *v = ask("{\"seed\":1,\"max_tokens\":12," HELLO "}");
    const json_t *c = json_array_get(json_object_get(v, "choices"), 0);
    assert_string_equal(json_string_value(json_object_get(v, "object")), "chat.completion");
    assert_int_equal(strncmp(json_string_value(json_object_get(v, "id")), "chatcmpl-", 9), 0);
    assert_string_equal(json_string_value(json_object_get(c, "finish_reason")), "length");
    assert_true(json_is_null(json_object_get(c, "logprobs")));
    assert_int_equal(usage(v, "completion_tokens"), 12);
    assert_int_equal(usage(v, "total_tokens"), usage(v, "prompt_tokens") + 12);
    json_decref(v);
}

/* What a stream said, chunk by chunk, checked against the order that SDKs rely on. */
typedef struct heard {
    moa_buf text[4];
    int n, n_choice, roles, ends;
    bool usage_asked, usage, done;
    char id[80];
    json_int_t completion;
} heard;

static void hear(void *ctx, const char *name, const char *data, size_t n) {
    heard *h = ctx;
    assert_string_equal(name, "");
    assert_false(h->done);
    if (n == 6 && memcmp(data, "[DONE]", 6) == 0) {
        h->done = true;
        return;
    }
    json_t *v = json_loadb(data, n, 0, NULL); /* refuses a split character */
    assert_non_null(v);
    const char *id = json_string_value(json_object_get(v, "id"));
    if (!h->n++) snprintf(h->id, sizeof h->id, "%s", id);
    assert_string_equal(h->id, id);
    const json_t *list = json_object_get(v, "choices"), *u = json_object_get(v, "usage");
    if (json_array_size(list) == 0) { /* the usage, once, behind all choices */
        assert_true(h->usage_asked && !h->usage && json_is_object(u) && h->ends == h->n_choice);
        h->usage = true;
        h->completion = json_integer_value(json_object_get(u, "completion_tokens"));
    } else {
        const json_t *c = json_array_get(list, 0), *d = json_object_get(c, "delta"), *end = json_object_get(c, "finish_reason");
        const json_int_t k = json_integer_value(json_object_get(c, "index"));
        assert_true(k >= 0 && k < h->n_choice && !h->usage);
        assert_true(h->usage_asked ? json_is_null(u) && u : !u);
        if (json_object_get(d, "role")) {
            assert_int_equal(h->roles++, k); /* all roles before all text */
            assert_int_equal(h->text[k].len, 0);
        }
        const char *t = json_string_value(json_object_get(d, "content"));
        if (t) moa_buf_adds(&h->text[k], t);
        if (!json_is_null(end)) assert_int_equal(json_object_size(d), 0), h->ends++;
    }
    json_decref(v);
}

static void listen_to(heard *h, const char *body, int n_choice, bool usage_asked) {
    *h = (heard){.n_choice = n_choice, .usage_asked = usage_asked};
    for (int i = 0; i < 4; i++) moa_buf_init(&h->text[i], 1 << 20);
    reply r = client_post(s.port, CHAT, body);
    if (r.status != 200) fail_msg("%d: %s", r.status, moa_buf_str(&r.body));
    assert_true(r.whole);
    assert_string_equal(reply_header(&r, "Content-Type"), "text/event-stream");
    assert_string_equal(reply_header(&r, "Cache-Control"), "no-cache");
    assert_string_equal(reply_header(&r, "X-Accel-Buffering"), "no");
    assert_null(reply_header(&r, "Content-Length"));
    reply_events(&r, hear, h);
    assert_true(h->done);
    assert_int_equal(h->roles, n_choice);
    assert_int_equal(h->ends, n_choice);
    assert_int_equal(h->usage, usage_asked);
    reply_deinit(&r);
}

static void unheard(heard *h) {
    for (int i = 0; i < 4; i++) moa_buf_deinit(&h->text[i]);
}

static void test_stream_is_the_whole(void **state) {
    static const char *const models[] = {"single", "self-moa:n=2", "vote:n=3", "moa:n=2,layers=1", "greedy"};
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char body[400];
        heard h;
        snprintf(body, sizeof body, "{\"model\":\"%s\",\"seed\":7,\"max_tokens\":40," HELLO "}", models[i]);
        json_t *v = ask(body);
        snprintf(body, sizeof body, "{\"model\":\"%s\",\"seed\":7,\"max_tokens\":40,\"stream\":true,\"stream_options\":{\"include_usage\":true}," HELLO "}", models[i]);
        listen_to(&h, body, 1, true);
        /* A merge that was refused after it was shown is followed by what replaced it. */
        const size_t want = strlen(reply_content(v, 0));
        assert_true(h.text[0].len >= want);
        assert_string_equal(moa_buf_str(&h.text[0]) + h.text[0].len - want, reply_content(v, 0));
        if (!strncmp(models[i], "single", 6)) assert_int_equal(h.text[0].len, want);
        assert_int_equal(h.completion, usage(v, "completion_tokens"));
        unheard(&h);
        json_decref(v);
    }
}

static void test_n(void **state) {
    heard h;
    (void)state;
    json_t *v = ask("{\"model\":\"single\",\"n\":3,\"seed\":2,\"max_tokens\":16," HELLO "}");
    assert_int_equal(json_array_size(json_object_get(v, "choices")), 3);
    assert_string_not_equal(reply_content(v, 0), reply_content(v, 1));
    listen_to(&h, "{\"model\":\"single\",\"n\":3,\"seed\":2,\"max_tokens\":16,\"stream\":true," HELLO "}", 3, false);
    for (int i = 0; i < 3; i++) assert_string_equal(moa_buf_str(&h.text[i]), reply_content(v, i));
    unheard(&h);
    json_decref(v);
    v = ask("{\"model\":\"self-moa:n=3\",\"n\":2,\"seed\":2,\"max_tokens\":16," HELLO "}"); /* proposals are shared */
    assert_int_equal(json_integer_value(json_object_get(json_object_get(json_object_get(v, "usage"), "moa"), "calls")), 5);
    json_decref(v);
}

static void test_seed_and_stop(void **state) {
    (void)state;
    json_t *a = ask("{\"seed\":5,\"max_tokens\":60," HELLO "}"), *b = ask("{\"seed\":5,\"max_tokens\":60," HELLO "}"), *c = ask("{\"seed\":6,\"max_tokens\":60," HELLO "}");
    assert_string_equal(reply_content(a, 0), reply_content(b, 0));
    assert_string_not_equal(reply_content(a, 0), reply_content(c, 0));
    /* A stop string out of the middle of the text ends it there, wherever tokens end. */
    const char *text = reply_content(a, 0), *at = text + strlen(text) / 2;
    while (((unsigned char)*at & 0xC0) == 0x80) at++;
    char stop[32] = "", body[400];
    for (size_t n = 0; n < 6 && at[n] > ' ' && at[n] < 127 && at[n] != '"' && at[n] != '\\'; n++) stop[n] = at[n];
    if (stop[0]) {
        heard h;
        snprintf(body, sizeof body, "{\"seed\":5,\"max_tokens\":60,\"stop\":[\"%s\"]," HELLO "}", stop);
        json_t *d = ask(body);
        const char *first = strstr(text, stop);
        assert_int_equal(strlen(reply_content(d, 0)), first - text);
        assert_int_equal(strncmp(reply_content(d, 0), text, (size_t)(first - text)), 0);
        snprintf(body, sizeof body, "{\"seed\":5,\"max_tokens\":60,\"stream\":true,\"stop\":\"%s\"," HELLO "}", stop);
        listen_to(&h, body, 1, false);
        assert_string_equal(moa_buf_str(&h.text[0]), reply_content(d, 0));
        unheard(&h);
        json_decref(d);
    }
    json_decref(a);
    json_decref(b);
    json_decref(c);
}

static void test_parts_and_roles(void **state) {
    (void)state;
    json_t *a = ask("{\"seed\":5,\"max_tokens\":20,\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":\"Hello\"}]}");
    json_t *b = ask("{\"seed\":5,\"max_tokens\":20,\"metadata\":{\"x\":1},\"unknown\":[],\"messages\":[{\"role\":\"developer\",\"content\":[{\"type\":\"text\",\"text\":\"Be \"},"
                    "{\"type\":\"text\",\"text\":\"brief.\"}]},{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"Hello\"}]}]}");
    assert_string_equal(reply_content(a, 0), reply_content(b, 0));
    json_decref(a);
    json_decref(b);
}

/* Each token of the text has its probability, the greedy one the largest; streamed, each comes once and in order. */
typedef struct probs { moa_buf text; int n; } probs;
static void hear_probs(void *ctx, const char *name, const char *data, size_t n) {
    probs *p = ctx;
    size_t i;
    json_t *v = json_loadb(data, n, 0, NULL), *t;
    (void)name;
    json_array_foreach(json_object_get(json_object_get(json_array_get(json_object_get(v, "choices"), 0), "logprobs"), "content"), i, t) {
        moa_buf_adds(&p->text, json_string_value(json_object_get(t, "token")));
        p->n++;
    }
    json_decref(v);
}

static void test_logprobs(void **state) {
    (void)state;
    json_t *v = ask("{\"temperature\":0,\"max_tokens\":10,\"logprobs\":true,\"top_logprobs\":3," HELLO "}"), *t;
    const json_t *list = json_object_get(json_object_get(json_array_get(json_object_get(v, "choices"), 0), "logprobs"), "content");
    size_t i;
    moa_buf b;
    moa_buf_init(&b, 1000);
    assert_int_equal(json_array_size(list), usage(v, "completion_tokens"));
    json_array_foreach(list, i, t) {
        const json_t *top = json_object_get(t, "top_logprobs");
        assert_int_equal(json_array_size(top), 3);
        for (size_t k = 1; k < 3; k++)
            assert_true(json_number_value(json_object_get(json_array_get(top, k), "logprob")) <= json_number_value(json_object_get(json_array_get(top, k - 1), "logprob")));
        assert_float_equal(json_number_value(json_object_get(json_array_get(top, 0), "logprob")), json_number_value(json_object_get(t, "logprob")), 1e-4);
        moa_buf_adds(&b, json_string_value(json_object_get(t, "token")));
    }
    probs p = {0};
    moa_buf_init(&p.text, 1000);
    reply r = client_post(s.port, CHAT, "{\"temperature\":0,\"max_tokens\":10,\"logprobs\":true,\"stream\":true," HELLO "}");
    reply_events(&r, hear_probs, &p);
    assert_int_equal(p.n, json_array_size(list));
    assert_string_equal(moa_buf_str(&p.text), moa_buf_str(&b));
    moa_buf_deinit(&p.text);
    moa_buf_deinit(&b);
    reply_deinit(&r);
    json_decref(v);
}

/* A biased token comes and a banned one does not; a penalty leaves no token twice where it is larger than any difference. */
static void test_bias_and_penalties(void **state) {
    (void)state;
    json_t *v = ask("{\"temperature\":0,\"max_tokens\":6,\"logprobs\":true,\"logit_bias\":{\"40\":100}," HELLO "}"), *t;
    const char *first = json_string_value(json_object_get(json_array_get(json_object_get(json_object_get(json_array_get(json_object_get(v, "choices"), 0), "logprobs"), "content"), 0), "token"));
    size_t i;
    json_array_foreach(json_object_get(json_object_get(json_array_get(json_object_get(v, "choices"), 0), "logprobs"), "content"), i, t)
        assert_string_equal(json_string_value(json_object_get(t, "token")), first);
    assert_int_equal(usage(v, "completion_tokens"), 6);
    json_t *w = ask("{\"temperature\":0,\"max_tokens\":40," HELLO "}"), *x = ask("{\"temperature\":0,\"max_tokens\":40,\"presence_penalty\":2,\"frequency_penalty\":2," HELLO "}");
    assert_string_not_equal(reply_content(w, 0), reply_content(x, 0));
    json_decref(v);
    json_decref(w);
    json_decref(x);
}

/* Numbers of the mix in the body, and what proposers write. */
static void hear_thoughts(void *ctx, const char *name, const char *data, size_t n) {
    moa_buf *b = ctx;
    json_t *v = json_loadb(data, n, 0, NULL);
    const json_t *d = json_object_get(json_array_get(json_object_get(v, "choices"), 0), "delta");
    (void)name;
    const char *t = json_string_value(json_object_get(d, "reasoning_content"));
    if (t) moa_buf_adds(b, t);
    json_decref(v);
}

static void test_moa(void **state) {
    moa_buf b;
    (void)state;
    json_t *v = ask("{\"model\":\"single\",\"max_tokens\":8,\"moa\":{\"mix\":\"self-moa\",\"n\":4,\"max_tokens\":8}," HELLO "}");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(json_object_get(v, "usage"), "moa"), "calls")), 5);
    json_decref(v);
    static const char *const names[] = {"[p1, ", "[p2, ", "[p3, "};
    moa_buf_init(&b, 1 << 20);
    reply r = client_post(s.port, CHAT, "{\"model\":\"self-moa\",\"seed\":1,\"stream\":true,\"max_tokens\":8,\"moa\":{\"n\":3,\"max-tokens\":20,\"show\":\"thoughts\"}," HELLO "}");
    assert_int_equal(r.status, 200);
    reply_events(&r, hear_thoughts, &b);
    for (int i = 0; i < 3; i++) { /* each of them once, whole */
        const char *at = strstr(moa_buf_str(&b), names[i]);
        assert_non_null(at);
        assert_null(strstr(at + 1, names[i]));
    }
    reply_deinit(&r);
    moa_buf_clear(&b);
    r = client_post(s.port, CHAT, "{\"model\":\"self-moa\",\"seed\":1,\"stream\":true,\"max_tokens\":8,\"moa\":{\"n\":3,\"max-tokens\":20}," HELLO "}");
    reply_events(&r, hear_thoughts, &b);
    assert_int_equal(b.len, 0); /* only who asks */
    reply_deinit(&r);
    moa_buf_deinit(&b);
}

static void test_refused(void **state) {
    static const struct { const char *body; int status; const char *param, *says; } cases[] = {
        {"", 400, NULL, "the body"},
        {"[]", 400, NULL, "expected a JSON object"},
        {"{\"messages\":", 400, NULL, "the body"},
        {"{}", 400, "messages", "expected an array"},
        {"{\"messages\":[]}", 400, "messages", "got 0"},
        {"{\"messages\":[1]}", 400, "messages[0]", "expected an object"},
        {"{\"messages\":[{\"role\":\"cat\",\"content\":\"x\"}]}", 400, "messages[0].role", "cat"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":5}]}", 400, "messages[0].content", "got an integer"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:,\"}}]}]}", 400, "messages[0].content[0]", "image_url"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://x/y.png\"}}]}]}", 400, "messages[0].content[1]", "reads text alone"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"file:///etc/passwd\"}}]}]}", 400, "messages[0].content[0]", "https://"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":7}]}]}", 400, "messages[0].content[0]", "got none"},
        {"{\"messages\":[{\"role\":\"system\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://x\"}}]},{\"role\":\"user\",\"content\":\"x\"}]}", 400, "messages[0].content[0]", "image_url"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_audio\"}]}]}", 400, "messages[0].content[0]", "input_audio"},
        {"{\"temperature\":\"hot\"," HELLO "}", 400, "temperature", "got a string, expected a number"},
        {"{\"temperature\":3," HELLO "}", 400, "temperature", "expected 0 to 2"},
        {"{\"n\":1.5," HELLO "}", 400, "n", "expected an integer"},
        {"{\"n\":1000," HELLO "}", 400, "n", "got 1000"},
        {"{\"stream\":\"yes\"," HELLO "}", 400, "stream", "expected true or false"},
        {"{\"stop\":7," HELLO "}", 400, "stop", "expected a string"},
        {"{\"model\":\"self-moa\",\"moa\":{\"n\":\"many\"}," HELLO "}", 400, "moa.n", "many"},
        {"{\"moa\":{\"colour\":1}," HELLO "}", 400, "moa.colour", "colour"},
        {"{\"moa\":{\"show\":1}," HELLO "}", 400, "moa.show", "thoughts"},
        {"{\"moa\":5," HELLO "}", 400, "moa", "expected an object"},
        {"{\"logit_bias\":{\"x\":1}," HELLO "}", 400, "logit_bias.x", "no token"},
        {"{\"logit_bias\":{\"5\":101}," HELLO "}", 400, "logit_bias.5", "-100 to 100"},
        {"{\"top_logprobs\":2," HELLO "}", 400, "top_logprobs", "logprobs"},
        {"{\"logprobs\":true,\"top_logprobs\":21," HELLO "}", 400, "top_logprobs", "20"},
        {"{\"presence_penalty\":-3," HELLO "}", 400, "presence_penalty", "-2 to 2"},
        {"{\"model\":\"gpt-9\"," HELLO "}", 404, "model", "self-moa"},
        {"{\"model\":\"self-moa:n=0\"," HELLO "}", 400, "model", "n '0'"},
        {"{\"model\":\"moa:proposers=/etc/passwd\"," HELLO "}", 404, "model", "/etc/passwd"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        reply r = client_post(s.port, CHAT, cases[i].body);
        json_t *v = reply_json(&r), *e = json_object_get(v, "error");
        const char *param = json_string_value(json_object_get(e, "param")), *says = json_string_value(json_object_get(e, "message"));
        if (r.status != cases[i].status || !says || !strstr(says, cases[i].says) || !json_object_get(e, "code") || !json_is_string(json_object_get(e, "type")))
            fail_msg("%s: %d %s", cases[i].body, r.status, moa_buf_str(&r.body));
        if (cases[i].param) assert_string_equal(param ? param : "null", cases[i].param);
        json_decref(v);
        reply_deinit(&r);
    }
}

static void test_too_long(void **state) {
    moa_buf b;
    (void)state;
    moa_buf_init(&b, 1 << 20);
    moa_buf_adds(&b, "{\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"");
    for (int i = 0; i < 3000; i++) moa_buf_adds(&b, "seven apples ");
    moa_buf_adds(&b, "\"}]}");
    reply r = client_post(s.port, CHAT, moa_buf_str(&b));
    assert_int_equal(r.status, 400); /* before the stream begins */
    assert_non_null(strstr(moa_buf_str(&r.body), "context_length_exceeded"));
    reply_deinit(&r);
    moa_buf_deinit(&b);
}

/* ---- events of the graph, and its trace ---- */

typedef struct told { int graphs, starts, ends, texts; char order[400]; json_int_t n_node; } told;

static void hear_events(void *ctx, const char *name, const char *data, size_t n) {
    told *t = ctx;
    (void)name;
    json_t *v = json_loadb(data, n, 0, NULL);
    const json_t *m = json_object_get(v, "moa");
    const char *kind = json_string_value(json_object_get(m, "event")), *node = json_string_value(json_object_get(m, "node"));
    if (m) assert_int_equal(json_array_size(json_object_get(v, "choices")), 0);
    if (kind && !strcmp(kind, "graph")) {
        t->graphs++;
        t->n_node = (json_int_t)json_array_size(json_object_get(m, "nodes"));
        assert_int_equal(t->starts, 0);
    }
    if (kind && !strcmp(kind, "start")) t->starts++;
    if (kind && !strcmp(kind, "done")) {
        t->ends++;
        assert_string_equal(json_string_value(json_object_get(m, "state")), "done");
    }
    if (kind && node) {
        const size_t used = strlen(t->order);
        snprintf(t->order + used, sizeof t->order - used, "%c%s ", *kind, node);
    }
    if (json_object_get(json_object_get(json_array_get(json_object_get(v, "choices"), 0), "delta"), "reasoning_content")) t->texts++;
    json_decref(v);
}

static void test_events(void **state) {
    (void)state;
    told t = {0};
    reply r = client_post(s.port, CHAT, "{\"model\":\"vote:n=3\",\"seed\":1,\"stream\":true,\"max_tokens\":12,\"moa\":{\"events\":true}," HELLO "}");
    reply_events(&r, hear_events, &t);
    reply_deinit(&r);
    assert_int_equal(t.graphs, 1);
    assert_int_equal(t.n_node, 4);
    assert_int_equal(t.starts, 4);
    assert_int_equal(t.ends, 4);
    assert_true(t.texts >= 3);
    if (!strstr(t.order, "svote dvote ")) fail_msg("%s", t.order);
    told none = {0}; /* who does not ask gets no chunk that an SDK does not know */
    r = client_post(s.port, CHAT, "{\"model\":\"vote:n=3\",\"seed\":1,\"stream\":true,\"max_tokens\":12," HELLO "}");
    reply_events(&r, hear_events, &none);
    reply_deinit(&r);
    assert_int_equal(none.graphs + none.starts + none.ends, 0);
    r = client_post(s.port, CHAT, "{\"moa\":{\"events\":3}," HELLO "}");
    assert_int_equal(r.status, 400);
    reply_deinit(&r);
}

static void test_traces(void **state) {
    (void)state;
    json_t *v = ask("{\"model\":\"self-moa:n=2\",\"seed\":5,\"max_tokens\":12," HELLO "}");
    json_decref(v);
    reply r = client_ask(s.port, "GET", "/v1/traces", NULL, NULL);
    json_t *list = reply_json(&r);
    const json_t *first = json_array_get(json_object_get(list, "data"), 0);
    char path[80];
    snprintf(path, sizeof path, "/traces/%s", json_string_value(json_object_get(first, "id")));
    assert_string_equal(json_string_value(json_object_get(first, "mix")), "self-moa:n=2");
    assert_string_equal(json_string_value(json_object_get(first, "question")), "Hello, how are you?");
    assert_string_equal(json_string_value(json_object_get(first, "status")), "done");
    reply_deinit(&r);
    json_decref(list);
    r = client_ask(s.port, "GET", path, NULL, NULL);
    assert_int_equal(r.status, 200);
    v = reply_json(&r);
    const json_t *nodes = json_object_get(v, "nodes"), *agg = json_array_get(nodes, 2);
    assert_int_equal(json_array_size(nodes), 3);
    assert_string_equal(json_string_value(json_object_get(agg, "node")), "agg");
    assert_int_equal(json_array_size(json_object_get(agg, "in")), 2);
    assert_non_null(strstr(json_string_value(json_object_get(json_array_get(json_object_get(agg, "messages"), 0), "content")), "Hello, how are you?"));
    assert_string_equal(json_string_value(json_object_get(v, "seed")), "5");
    reply_deinit(&r);
    json_decref(v);
    r = client_ask(s.port, "GET", "/traces/req-none", NULL, NULL);
    assert_int_equal(r.status, 404);
    reply_deinit(&r);
}

/* Two of eight equal replies are enough: six are spared, and the usage says about how many tokens these were. */
static void test_spared(void **state) {
    (void)state;
    json_t *v = ask("{\"model\":\"vote:n=8,wave=2,until=agree,error=0.2,temperature=0\",\"max_tokens\":6," HELLO "}"), *usage = json_object_get(v, "usage"), *moa = json_object_get(usage, "moa");
    assert_int_equal(json_integer_value(json_object_get(moa, "calls")), 2);
    assert_true(json_integer_value(json_object_get(usage, "completion_tokens")) > 0);
    assert_int_equal(json_integer_value(json_object_get(moa, "spared_tokens")), 3 * json_integer_value(json_object_get(usage, "completion_tokens")));
    json_decref(v);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole), cmocka_unit_test(test_stream_is_the_whole), cmocka_unit_test(test_n), cmocka_unit_test(test_seed_and_stop),
        cmocka_unit_test(test_parts_and_roles), cmocka_unit_test(test_logprobs), cmocka_unit_test(test_bias_and_penalties),
        cmocka_unit_test(test_moa), cmocka_unit_test(test_refused), cmocka_unit_test(test_too_long),
        cmocka_unit_test(test_events), cmocka_unit_test(test_traces), cmocka_unit_test(test_spared),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
