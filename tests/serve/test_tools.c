/* test_tools.c - calls of functions: ways to write them, what is held back, demanded calls, schemas of replies.
 * SPDX-License-Identifier: Apache-2.0 */
#include "serve/tools.h"
#include "support/client.h"
#include "support/serving.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TOOLS "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"add\",\"parameters\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":99}}," \
              "\"required\":[\"a\"],\"additionalProperties\":false}}},{\"type\":\"function\",\"function\":{\"name\":\"stop\"}}]"
#define HELLO "\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]"

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

static void read_tools(moa_tools *t, const char *text) {
    json_t *body = json_loads(text, 0, NULL);
    moa_fault f = {0};
    assert_non_null(body);
    if (moa_tools_read(t, body, false, &f) < 0) fail_msg("%s", f.text);
    json_decref(body);
}

/* want: "name args|name args", "" for none; before: what stands before it. */
static void test_ways_to_call(void **state) {
    static const struct { const char *text, *want, *before; } cases[] = {
        {"<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1}}\n</tool_call>", "add {\"a\":1}|", ""},
        {"I will add.\n<tool_call>{\"name\":\"add\",\"arguments\":{\"a\":1}}</tool_call><tool_call>{\"name\":\"stop\",\"arguments\":{}}</tool_call>", "add {\"a\":1}|stop {}|", "I will add."},
        {"[TOOL_CALLS][{\"name\":\"add\",\"arguments\":{\"a\":2}},{\"name\":\"stop\"}]", "add {\"a\":2}|stop {}|", ""},
        {"[{\"name\":\"add\",\"arguments\":\"{\\\"a\\\": 3}\"}]", "add {\"a\": 3}|", ""},
        {"<|python_tag|>{\"name\":\"add\",\"parameters\":{\"a\":4}}", "add {\"a\":4}|", ""},
        {" {\"name\":\"add\",\"parameters\":{\"a\":5}}\n", "add {\"a\":5}|", ""},
        {"{\"name\":\"rm\",\"arguments\":{}}", "", NULL},           /* not offered */
        {"{\"answer\":42}", "", NULL},
        {"<tool_call>{\"name\":\"add\",\"arg", "", NULL},           /* cut */
        {"<tool_call>{\"name\":\"add\"}</tool_call> and then some", "add {}|", ""},
        {"{\"name\":\"add\"} and then some", "", NULL},
        {"The set {1, 2}", "", NULL},
        {"", "", NULL},
    };
    moa_tools t = {0};
    (void)state;
    read_tools(&t, "{" TOOLS "}");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t before = 0, k;
        json_t *calls = moa_tools_calls(&before, &t, cases[i].text, strlen(cases[i].text), "x"), *c;
        moa_buf b;
        moa_buf_init(&b, 1000);
        json_array_foreach(calls, k, c) {
            const json_t *fn = json_object_get(c, "function");
            moa_buf_addf(&b, "%s %s|", json_string_value(json_object_get(fn, "name")), json_string_value(json_object_get(fn, "arguments")));
        }
        if (strcmp(moa_buf_str(&b), cases[i].want)) fail_msg("%s: %s", cases[i].text, moa_buf_str(&b));
        if (cases[i].before) assert_int_equal(before, strlen(cases[i].before));
        moa_buf_deinit(&b);
        json_decref(calls);
    }
    moa_tools_deinit(&t);
}

static void test_held_back(void **state) {
    (void)state;
    assert_int_equal(moa_tools_ready("Hello <to", 9, true), 6);
    assert_int_equal(moa_tools_ready("Hello <tx", 9, true), 9);
    assert_int_equal(moa_tools_ready(" {\"na", 5, true), 0);
    assert_int_equal(moa_tools_ready(" {\"na", 5, false), 5);
    assert_int_equal(moa_tools_ready("x", 1, true), 1);
    assert_int_equal(moa_tools_ready(" \n", 2, true), 0);
}

static json_t *ask(const char *body, int status) { return client_json(s.port, "/v1/chat/completions", body, status); }

/* A model that babbles calls what it must, with arguments of the schema. */
static void test_demanded(void **state) {
    static const char *const models[] = {"single", "vote:n=2"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char body[1000];
        snprintf(body, sizeof body, "{\"model\":\"%s\",\"max_tokens\":200," HELLO "," TOOLS ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"add\"}}}", models[i]);
        json_t *v = ask(body, 200);
        const json_t *calls = json_object_get(reply_message(v, 0), "tool_calls"), *fn = json_object_get(json_array_get(calls, 0), "function");
        if (json_array_size(calls) != 1) fail_msg("%s", json_dumps(v, 0));
        assert_string_equal(json_string_value(json_object_get(fn, "name")), "add");
        json_t *args = json_loads(json_string_value(json_object_get(fn, "arguments")), 0, NULL);
        assert_true(json_is_integer(json_object_get(args, "a")));
        assert_true(json_is_null(json_object_get(reply_message(v, 0), "content")));
        assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(v, "choices"), 0), "finish_reason")), "tool_calls");
        json_decref(args);
        json_decref(v);
    }
}

typedef struct streamed { moa_buf args; char name[40], id[80], finish[20]; int text; } streamed;

static void hear(void *ctx, const char *event, const char *data, size_t n) {
    streamed *h = ctx;
    (void)event;
    json_t *v = json_loadb(data, n, 0, NULL); /* NULL: [DONE] */
    const json_t *c = json_array_get(json_object_get(v, "choices"), 0), *d = json_object_get(c, "delta"), *call = json_array_get(json_object_get(d, "tool_calls"), 0);
    const char *text = json_string_value(json_object_get(d, "content")), *end = json_string_value(json_object_get(c, "finish_reason"));
    if (text && *text) h->text++;
    if (end) snprintf(h->finish, sizeof h->finish, "%s", end);
    if (call) {
        const json_t *fn = json_object_get(call, "function");
        assert_int_equal(json_integer_value(json_object_get(call, "index")), 0);
        if (json_object_get(call, "id")) {
            snprintf(h->id, sizeof h->id, "%s", json_string_value(json_object_get(call, "id")));
            snprintf(h->name, sizeof h->name, "%s", json_string_value(json_object_get(fn, "name")));
        }
        assert_true(h->id[0] != 0);
        moa_buf_adds(&h->args, json_string_value(json_object_get(fn, "arguments")));
    }
    json_decref(v);
}

static void test_streamed_call(void **state) {
    streamed h = {0};
    (void)state;
    moa_buf_init(&h.args, 10000);
    reply r = client_post(s.port, "/v1/chat/completions", "{\"stream\":true,\"seed\":3,\"max_tokens\":200," HELLO "," TOOLS ",\"tool_choice\":\"required\"}");
    json_t *v = ask("{\"seed\":3,\"max_tokens\":200," HELLO "," TOOLS ",\"tool_choice\":\"required\"}", 200);
    assert_int_equal(r.status, 200);
    reply_events(&r, hear, &h);
    assert_int_equal(h.text, 0);
    assert_string_equal(h.finish, "tool_calls");
    const json_t *fn = json_object_get(json_array_get(json_object_get(reply_message(v, 0), "tool_calls"), 0), "function");
    assert_string_equal(h.name, json_string_value(json_object_get(fn, "name")));
    assert_string_equal(moa_buf_str(&h.args), json_string_value(json_object_get(fn, "arguments")));
    moa_buf_deinit(&h.args);
    json_decref(v);
    reply_deinit(&r);
}

/* A tool's result is answered by one call, also of a mix. */
static void test_result(void **state) {
    (void)state;
    json_t *v = ask("{\"model\":\"self-moa\",\"max_tokens\":5,\"messages\":[{\"role\":\"user\",\"content\":\"1?\"},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"c\","
                    "\"type\":\"function\",\"function\":{\"name\":\"add\",\"arguments\":\"{}\"}}]},{\"role\":\"tool\",\"tool_call_id\":\"c\",\"content\":\"2\"}]," TOOLS "}", 200);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(json_object_get(v, "usage"), "moa"), "calls")), 1);
    json_decref(v);
}

static void test_schema(void **state) {
    static const char *const models[] = {"single", "self-moa:n=2", "vote:n=2"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        char body[1000];
        snprintf(body, sizeof body, "{\"model\":\"%s\",\"max_tokens\":100," HELLO ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n\",\"schema\":{\"type\":\"object\","
                 "\"properties\":{\"yes\":{\"type\":\"boolean\"}},\"required\":[\"yes\"],\"additionalProperties\":false}}}}", models[i]);
        json_t *v = ask(body, 200), *o = json_loads(json_string_value(json_object_get(reply_message(v, 0), "content")), 0, NULL);
        assert_true(json_is_boolean(json_object_get(o, "yes")));
        json_decref(o);
        json_decref(v);
    }
    json_t *v = ask("{\"max_tokens\":3," HELLO ",\"response_format\":{\"type\":\"json_object\"}}", 200); /* cut, and says so */
    const char *end = json_string_value(json_object_get(json_array_get(json_object_get(v, "choices"), 0), "finish_reason"));
    json_t *o = json_loads(json_string_value(json_object_get(reply_message(v, 0), "content")), 0, NULL);
    assert_true(!strcmp(end, "length") || o);
    json_decref(o);
    json_decref(v);
    json_decref(ask("{" HELLO ",\"response_format\":{\"type\":\"xml\"}}", 400));
    json_decref(ask("{" HELLO ",\"response_format\":{\"type\":\"json_schema\"}}", 400));
    json_decref(ask("{" HELLO ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"type\":\"animal\"}}}}", 400));
    json_decref(ask("{" HELLO ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"a b\"}}]}", 400));
    json_decref(ask("{" HELLO ",\"tool_choice\":\"required\"}", 400));
    json_decref(ask("{" HELLO "," TOOLS ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"none\"}}}", 400));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ways_to_call), cmocka_unit_test(test_held_back), cmocka_unit_test(test_demanded), cmocka_unit_test(test_streamed_call),
        cmocka_unit_test(test_result), cmocka_unit_test(test_schema),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
