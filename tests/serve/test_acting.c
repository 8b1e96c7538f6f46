/* test_acting.c - tools through a mixture: who is told of them and how, who acts, turns that end with a tool's result, what else of a request reaches
 * the call that replies. Against a scripted server that stands for all models. SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "support/client.h"
#include "support/mock.h"
#include "support/serving.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TOOLS "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"now\",\"parameters\":{\"type\":\"object\",\"properties\":{}}}}]"
#define ASKED "{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":\"What time is it?\"}"
#define ANSWERED ASKED ",{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"now\",\"arguments\":\"{}\"}}]}," \
                 "{\"role\":\"tool\",\"tool_call_id\":\"c1\",\"content\":\"12:00\"}"

typedef struct stage { serving s; mock *m; json_t *v; } stage;

/* Drafts have answers, the merge calls a tool. */
static const char script[] =
    "{\"model\":\"d\",\"text\":\"Hm.\\nAnswer: noon\"}\n"
    "{\"model\":\"w\",\"text\":\"<tool_call>{\\\"name\\\": \\\"now\\\", \\\"arguments\\\": {}}</tool_call>\"}\n"
    "{\"model\":\"n\",\"raw\":\"data: {\\\"choices\\\":[{\\\"delta\\\":{\\\"tool_calls\\\":[{\\\"index\\\":0,\\\"id\\\":\\\"c1\\\",\\\"function\\\":{\\\"name\\\":\\\"now\\\",\\\"arguments\\\":\\\"{}\\\"}}]},"
    "\\\"finish_reason\\\":\\\"tool_calls\\\"}]}\\n\\ndata: [DONE]\\n\\n\"}";

static void begin(stage *g, const char *id, const char *rest) {
    char body[2000];
    moa_err err = {0};
    if (mock_start(&g->m, script, 1, 0, &err) < 0) fail_msg("%s", err.text);
    const int p = mock_port(g->m);
    serving_yaml("backends:\n  - {id: d, url: 'http://127.0.0.1:%d/v1'}\n  - {id: n, url: 'http://127.0.0.1:%d/v1'}\n  - {id: w, url: 'http://127.0.0.1:%d/v1', tools: words}\n"
                 "mixes:\n  - {id: native, mix: 'moa:layers=1', proposers: [d, d], aggregator: n, propose_system: Be bold.}\n"
                 "  - {id: words, mix: 'moa:layers=1', proposers: [d, d], aggregator: w, aggregate_system: Be wise.}\n", p, p, p);
    serving_start(&g->s, NULL);
    snprintf(body, sizeof body, "{\"model\":\"%s\",%s}", id, rest);
    g->v = client_json(g->s.port, "/v1/chat/completions", body, 200);
}

static void end(stage *g) {
    json_decref(g->v);
    serving_stop(&g->s);
    serving_config(NULL);
    mock_stop(g->m);
}

/* Request i as its model got it: the messages and the rest; json_decref it. */
static json_t *request(stage *g, long i) {
    const char *head = mock_request(g->m, i), *at = head ? strstr(head, "\r\n\r\n") : NULL;
    assert_non_null(at);
    json_t *v = json_loads(at + 4, 0, NULL);
    assert_non_null(v);
    return v;
}

static const char *content(const json_t *request, size_t i, const char *role) {
    const json_t *m = json_array_get(json_object_get(request, "messages"), i);
    assert_string_equal(json_string_value(json_object_get(m, "role")), role);
    return json_string_value(json_object_get(m, "content"));
}

static void check_acts(const stage *g) {
    const json_t *call = json_array_get(json_object_get(reply_message(g->v, 0), "tool_calls"), 0);
    if (!call) fail_msg("%s", json_dumps(g->v, 0));
    assert_string_equal(json_string_value(json_object_get(json_object_get(call, "function"), "name")), "now");
}

#define NOW "{\"name\":\"now\",\"description\":\"\",\"parameters\":{\"type\":\"object\",\"properties\":{}}}"
#define MENTION "Who replies to the user in the end can call these functions, each given with the JSON schema of its arguments:\n" NOW "\n" \
                "You cannot call them yourself: write plain text, and where a call would help, say which one and with what arguments."

static void check_proposer(stage *g, long i, const char *system, size_t turns) {
    json_t *r = request(g, i);
    assert_string_equal(json_string_value(json_object_get(r, "model")), "d");
    assert_int_equal(json_array_size(json_object_get(r, "messages")), turns);
    assert_string_equal(content(r, 0, "system"), system);
    assert_string_equal(content(r, 1, "user"), "What time is it?");
    assert_null(json_object_get(r, "tools"));
    json_decref(r);
}

/* The merging model has the tools and calls one, though the drafts have answers; they have read of the tools, and no more. */
static void test_native(void **state) {
    stage g;
    (void)state;
    begin(&g, "native", "\"stop\":[\"END\"],\"logprobs\":true,\"top_logprobs\":2,\"messages\":[" ASKED "]," TOOLS);
    check_acts(&g);
    for (long i = 0; i < 2; i++) check_proposer(&g, i, "Be brief.\n\nBe bold.\n\n" MENTION, 2);
    json_t *r = request(&g, 2), *draft = request(&g, 0);
    assert_int_equal(json_array_size(json_object_get(r, "tools")), 1);
    assert_string_equal(content(r, 0, "system"), "Be brief.");
    assert_non_null(strstr(content(r, 1, "user"), "What time is it?\n\nCandidate replies:\n== 1 ==\nHm.\nAnswer: noon\n"));
    assert_string_equal(json_string_value(json_array_get(json_object_get(r, "stop"), 0)), "END");
    assert_int_equal(json_integer_value(json_object_get(r, "top_logprobs")), 2);
    assert_null(json_object_get(draft, "stop"));
    assert_null(json_object_get(draft, "logprobs"));
    json_decref(draft);
    json_decref(r);
    end(&g);
}

/* A model that knows no tools is told of them by its role's system message; the drafts still are not to call. */
static void test_words(void **state) {
    stage g;
    (void)state;
    begin(&g, "words", "\"messages\":[" ASKED "]," TOOLS);
    check_acts(&g);
    check_proposer(&g, 0, "Be brief.\n\n" MENTION, 2);
    json_t *r = request(&g, 2);
    const char *system = content(r, 0, "system");
    assert_ptr_equal(strstr(system, "Be brief.\n\nBe wise.\n\nYou can call these functions"), system);
    assert_null(json_object_get(r, "tools"));
    json_decref(r);
    end(&g);
}

/* A call that is demanded, and a schema, are of the merging call alone. */
static void test_demanded(void **state) {
    stage g;
    (void)state;
    begin(&g, "native", "\"tool_choice\":\"required\",\"messages\":[" ASKED "]," TOOLS);
    json_t *r = request(&g, 2), *draft = request(&g, 0);
    assert_non_null(json_object_get(r, "response_format"));
    assert_null(json_object_get(draft, "response_format"));
    json_decref(draft);
    json_decref(r);
    end(&g);
    begin(&g, "native", "\"tool_choice\":\"none\",\"messages\":[" ASKED "]," TOOLS);
    for (long i = 0; i < 3; i++) {
        r = request(&g, i);
        assert_null(json_object_get(r, "tools"));
        assert_null(strstr(content(r, 0, "system"), "now"));
        json_decref(r);
    }
    end(&g);
}

static void test_turns(void **state) {
    stage g;
    (void)state;
    begin(&g, "native", "\"messages\":[" ANSWERED "]," TOOLS);
    assert_int_equal(mock_count(g.m).requests, 1);
    check_acts(&g);
    end(&g);
    begin(&g, "native", "\"moa\":{\"tool-turns\":\"all\"},\"messages\":[" ANSWERED "]," TOOLS);
    assert_int_equal(mock_count(g.m).requests, 3);
    check_acts(&g);
    check_proposer(&g, 0, "Be brief.\n\nBe bold.\n\n" MENTION, 4);
    json_t *draft = request(&g, 0), *r = request(&g, 2);
    assert_string_equal(content(draft, 2, "assistant"), "Call c1: now({})");
    assert_string_equal(content(draft, 3, "user"), "Result of the call c1: 12:00");
    assert_int_equal(json_array_size(json_object_get(r, "messages")), 4);
    assert_non_null(strstr(content(r, 0, "system"), "== 2 ==\nHm.\nAnswer: noon\n== end ==\n"));
    assert_string_equal(content(r, 3, "tool"), "12:00"); /* the result is the tool's still */
    json_decref(draft);
    json_decref(r);
    end(&g);
    begin(&g, "words", "\"moa\":{\"tool-turns\":\"all\"},\"messages\":[" ANSWERED "]," TOOLS);
    assert_int_equal(mock_count(g.m).requests, 3);
    r = request(&g, 2);
    assert_non_null(strstr(content(r, 3, "user"), "Result of the call c1: 12:00\n\nCandidate replies:\n== 1 =="));
    json_decref(r);
    end(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_native), cmocka_unit_test(test_words), cmocka_unit_test(test_demanded), cmocka_unit_test(test_turns)};
    return cmocka_run_group_tests(tests, NULL, serving_teardown);
}
