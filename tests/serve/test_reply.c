/* test_reply.c - what servers say, in pieces of every size: streams, whole replies, reasoning, calls of tools, errors, and what is none of these.
 * SPDX-License-Identifier: Apache-2.0 */
#include "serve/upstream/reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define T(t) "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" t "\"}}]}\n\n"
#define R(t) "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"" t "\"}}]}\n\n"
#define CALL(i, id, name, args) "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":" i "," id "\"function\":{" name "\"arguments\":\"" args "\"}}]}}]}\n\n"
#define STOP "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
#define DONE "data: [DONE]\n\n"

typedef struct sample { const char *in, *text; int rc; const char *says; int64_t completion; bool cut; } sample;

static const sample streams[] = {
    {T("Hello") T(", w") T("orld") STOP "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":3}}\n\n" DONE, "Hello, world", 0, NULL, 3, false},
    {": ping\r\n\r\nevent: x\r\nid: 3\r\n" T("a") "data:{\"choices\":[{\"delta\":{\"content\":\"b\"},\"finish_reason\":\"length\"}]}\r\n\r\n" DONE, "ab", 0, NULL, 0, true},
    {T("only done") DONE, "only done", 0, NULL, 0, false},
    {T("no done") STOP, "no done", 0, NULL, 0, false},
    {T("last line without its end") "data: [DONE]", "last line without its end", 0, NULL, 0, false},
    {T("Gr\\u00fc\\u00df \\ud83d\\ude00 \xc3\xbc") DONE, "Gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80 \xc3\xbc", 0, NULL, 0, false},
    {"data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":null}}]}\n\n" T("x") DONE, "x", 0, NULL, 0, false},
    {R("I think") R(" hard") T("42") DONE, "42", 0, NULL, 0, false},
    {"data: {\"choices\":[{\"delta\":{\"reasoning\":\"so\"}}]}\n" T("43") DONE, "43", 0, NULL, 0, false},
    {T("<think>a < b </thin") T("g") T("></thi") T("nk>\\n\\n") T("  yes") DONE, "yes", 0, NULL, 0, false},
    {T("\\n<th") T("ink></think>yes</think>") DONE, "yes</think>", 0, NULL, 0, false},
    {T("<thin air>") DONE, "<thin air>", 0, NULL, 0, false},
    {T("<thi") DONE, "<thi", 0, NULL, 0, false},
    {T("  ") DONE, "  ", 0, NULL, 0, false},
    {T("a <think>b</think>") DONE, "a <think>b</think>", 0, NULL, 0, false},
    {T("<think>never ends") "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\n" DONE, "", 0, NULL, 0, true},
    {T("I look. ") CALL("0", "\"id\":\"c1\",", "\"name\":\"find\",", "") CALL("0", "", "", "{\\\"q\\\":") CALL("0", "", "", " \\\"x\\\"}") CALL("2", "", "\"name\":\"two\",", "") STOP DONE,
     "I look. \n<tool_call>{\"name\":\"find\",\"arguments\":{\"q\":\"x\"}}</tool_call>\n<tool_call>{\"name\":\"two\",\"arguments\":{}}</tool_call>", 0, NULL, 0, false},
    {CALL("0", "", "\"name\":\"f\",", "no json") STOP DONE, "<tool_call>{\"name\":\"f\",\"arguments\":\"no json\"}</tool_call>", 0, NULL, 0, false},
    {CALL("128", "", "\"name\":\"f\",", "") STOP DONE, NULL, MOA_ELIMIT, "more than 128 calls", 0, false},
    {CALL("-1", "", "\"name\":\"f\",", "") STOP DONE, NULL, MOA_ELIMIT, "more than 128 calls", 0, false},
    {T("half"), NULL, MOA_EIO, "ended before its end", 0, false},
    {"", NULL, MOA_EIO, "ended before its end", 0, false},
    {T("x") "data: {\"error\":{\"message\":\"overloaded\",\"code\":503}}\n\n" DONE, NULL, MOA_EIO, "overloaded", 0, false},
    {"data: {\"error\":\"plain words\"}\n\n" DONE, NULL, MOA_EIO, "plain words", 0, false},
    {"data: {\"error\":{}}\n\n", NULL, MOA_EIO, "without words", 0, false},
    {"data: {\"error\":null,\"choices\":[{\"delta\":{\"content\":\"fine\"}}]}\n\n" DONE, "fine", 0, NULL, 0, false},
    {"data: {nonsense\n\n" DONE, NULL, MOA_EFORMAT, "far", 0, false},
    {"data: [1]\n\n" DONE, NULL, MOA_EFORMAT, "no object", 0, false},
    {"data: {\"choices\":{\"0\":1},\"usage\":[]}\n\ndata: {\"choices\":[7]}\n\ndata: {\"choices\":[{\"delta\":[]}]}\n\n" DONE, "", 0, NULL, 0, false},
    {T("x") STOP "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":-5,\"completion_tokens\":99999999999}}\n\n" DONE, "x", 0, NULL, 0, false},
};

static void check(const sample *s, const moa_reply *r, int rc, size_t cut) {
    if (rc != s->rc) fail_msg("%s\ncut at %zu: rc %d (%s), expected %d", s->in, cut, rc, r->err.text, s->rc);
    if (rc < 0 && !strstr(r->err.text, s->says)) fail_msg("%s\ncut at %zu: says %s", s->in, cut, r->err.text);
    if (rc < 0) return;
    if (strcmp(moa_buf_str(&r->text), s->text)) fail_msg("%s\ncut at %zu: %s", s->in, cut, moa_buf_str(&r->text));
    assert_int_equal(r->completion_tokens, s->completion);
    assert_int_equal(r->cut, s->cut);
}

static void test_streams(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        const sample *s = &streams[i];
        const size_t n = strlen(s->in);
        for (size_t cut = 0; cut <= n; cut++) { /* every place to cut it, and all bytes alone */
            moa_reply r;
            size_t shown = 0;
            moa_reply_init(&r, "far");
            int rc = moa_reply_feed(&r, s->in, cut);
            for (size_t k = cut; rc >= 0 && k < n; k += cut ? n - cut : 1) {
                rc = moa_reply_feed(&r, s->in + k, cut ? n - cut : 1);
                assert_true(r.text.len >= shown); /* what was shown stays */
                shown = r.text.len;
            }
            if (rc >= 0) rc = moa_reply_end(&r, true);
            check(s, &r, rc, cut);
            moa_reply_deinit(&r);
        }
    }
}

static void test_whole(void **state) {
    static const sample bodies[] = {
        {"{\"choices\":[{\"message\":{\"content\":\"whole\"},\"finish_reason\":\"stop\"}],\"usage\":{\"completion_tokens\":2}}", "whole", 0, NULL, 2, false},
        {"{\"choices\":[{\"message\":{\"content\":\"<think>x</think> y\"},\"finish_reason\":\"length\"}]}", "y", 0, NULL, 0, true},
        {"{\"choices\":[{\"message\":{\"content\":null,\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}},{\"function\":{\"name\":\"g\",\"arguments\":{\"x\":1}}}]},"
         "\"finish_reason\":\"tool_calls\"}]}",
         "<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>\n<tool_call>{\"name\":\"g\",\"arguments\":{\"x\":1}}</tool_call>", 0, NULL, 0, false},
        {"{\"choices\":[{\"message\":{\"content\":null,\"refusal\":\"No.\"},\"finish_reason\":\"stop\"}]}", "No.", 0, NULL, 0, false},
        {"{\"choices\":[]}", NULL, MOA_EIO, "no choice", 0, false},
        {"{}", NULL, MOA_EIO, "no choice", 0, false},
        {"", NULL, MOA_EFORMAT, "far", 0, false},
        {"<html>", NULL, MOA_EFORMAT, "far", 0, false},
        {"{\"error\":{\"message\":\"busy\"}}", NULL, MOA_EIO, "busy", 0, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        moa_reply r;
        moa_reply_init(&r, "far");
        for (const char *p = bodies[i].in; *p; p++) assert_int_equal(moa_reply_body(&r, p, 1), 0);
        check(&bodies[i], &r, moa_reply_end(&r, false), 0);
        moa_reply_deinit(&r);
    }
}

static void test_bounds(void **state) {
    moa_reply r;
    char *x = malloc(1 << 20);
    int rc = 0, n = 0;
    (void)state;
    memset(x, 'x', 1 << 20);
    moa_reply_init(&r, "far");
    for (; rc >= 0 && n < 100; n++) rc = moa_reply_feed(&r, x, 1 << 20); /* a line without end */
    assert_int_equal(rc, MOA_ELIMIT);
    assert_true(n <= (MOA_REPLY_LINE_MAX >> 20) + 1);
    assert_non_null(strstr(r.err.text, "a line of the reply is longer than 4 MiB"));
    moa_reply_deinit(&r);
    moa_reply_init(&r, "far");
    for (rc = 0, n = 0; rc >= 0 && n < 100; n++) rc = moa_reply_body(&r, x, 1 << 20);
    assert_int_equal(rc, MOA_ELIMIT);
    moa_reply_deinit(&r);
    moa_reply_init(&r, "far");
    for (rc = 0, n = 0; rc >= 0 && n < 300; n++) { /* thoughts without end are held back by no more than a mark */
        rc = moa_reply_feed(&r, n ? T("thinking about it") : T("<think>"), strlen(n ? T("thinking about it") : T("<think>")));
        assert_true(r.held.len < 64);
    }
    assert_int_equal(rc, 0);
    moa_reply_deinit(&r);
    free(x);
}

/* Thoughts and probabilities beside the text, wherever the bytes are cut. */
#define P(t, lp) "{\"token\":\"" t "\",\"logprob\":" lp ",\"bytes\":null,\"top_logprobs\":[]}"
#define TP(t, rows) "data: {\"choices\":[{\"delta\":{\"content\":\"" t "\"},\"logprobs\":{\"content\":[" rows "]}}]}\n\n"
#define RP(t, rows) "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"" t "\"},\"logprobs\":{\"content\":[" rows "]}}]}\n\n"

static void tokens_of(char *out, size_t n, const moa_reply *r) {
    const json_t *row;
    size_t i;
    *out = 0;
    json_array_foreach(r->probs, i, row) snprintf(out + strlen(out), n - strlen(out), "%s|", json_string_value(json_object_get(row, "token")));
}

static void test_beside(void **state) {
    static const struct { const char *in, *thought, *tokens; bool whole; } cases[] = {
        {R("I think") R(" hard") T("42") DONE, "I think hard", "", false},
        {"data: {\"choices\":[{\"delta\":{\"reasoning\":\"so\",\"reasoning_content\":\"so\"}}]}\n" T("43") DONE, "so", "", false}, /* under both names: once */
        {T("<think>a < b \\u00fc</thin") T("g") T("></thi") T("nk>\\n\\n") T("  yes") DONE, "a < b \xc3\xbc</thing>", "", false},
        {T("<think>\\u00fc\\u00fc\\u00fc\\u00fc\\u00fc\\u00fc\\u00fc\\u00fc") DONE, "\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc", "", false}, /* never ends */
        {T("<thin air>") DONE, "", "", false},
        {TP("Hel", P("Hel", "-0.5")) TP("lo you", P("lo", "-1") "," P(" you", "-2")) DONE, "", "Hel|lo| you|", false},
        {TP("<thi", P("<thi", "-1")) TP("n air>", P("n air>", "-1")) DONE, "", "<thi|n air>|", false}, /* held back, then text */
        {TP("<thi", P("<thi", "-1")) TP("nk>hm", P("nk>", "-1") "," P("hm", "-1")) TP("</think>\\n", P("</think>", "0") "," P("\\n", "0")) TP("yes", P("yes", "0")) DONE, "hm", "yes|", false},
        {TP("<think>hm</think> yes no", P("<think>", "0") "," P("hm", "0") "," P("</think>", "0") "," P(" ", "0") "," P("yes", "-3") "," P(" no", "-4")) DONE, "hm", "yes| no|", false},
        {RP("hm", P("hm", "-1")) TP("yes", P("yes", "-2")) DONE, "hm", "yes|", false},
        {"{\"choices\":[{\"message\":{\"reasoning_content\":\"hm\",\"content\":\"yes no\"},\"finish_reason\":\"stop\",\"logprobs\":{\"content\":["
         P("hm", "-1") "," P("yes", "-2") "," P(" no", "-3") "]}}]}", "hm", "yes| no|", true},
        {"{\"choices\":[{\"message\":{\"content\":\"yes\"},\"finish_reason\":\"stop\",\"logprobs\":{\"content\":[" P("yes", "-2") "," P("<end>", "-3") "]}}]}", "", "yes|<end>|", true},
        {"{\"choices\":[{\"message\":{\"content\":\"yes\"},\"finish_reason\":\"stop\",\"logprobs\":{\"content\":7}}]}", "", "", true},
        {TP("a", "5,null,{},[]") DONE, "", "(null)|(null)|(null)|(null)|", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t n = strlen(cases[i].in);
        for (size_t cut = 0; cut <= n; cut++) {
            char tokens[400];
            moa_reply r;
            int rc = 0;
            moa_reply_init(&r, "far");
            moa_reply_want_probs(&r);
            if (cases[i].whole) rc = moa_reply_body(&r, cases[i].in, n);
            else rc = moa_reply_feed(&r, cases[i].in, cut), rc = rc < 0 ? rc : moa_reply_feed(&r, cases[i].in + cut, n - cut);
            assert_int_equal(rc, 0);
            assert_int_equal(moa_reply_end(&r, !cases[i].whole), 0);
            tokens_of(tokens, sizeof tokens, &r);
            if (strcmp(moa_buf_str(&r.thought), cases[i].thought) || strcmp(tokens, cases[i].tokens))
                fail_msg("%s\ncut at %zu: thought %s, tokens %s", cases[i].in, cut, moa_buf_str(&r.thought), tokens);
            moa_reply_deinit(&r);
        }
    }
}

static void test_reasons(void **state) {
    static const struct { const char *body, *says; } cases[] = {
        {"{\"error\":{\"message\":\"wrong key\"}}", "wrong key"}, {"{\"error\":\"text\"}", "text"}, {"{\"message\":\"m\"}", "m"}, {"{\"detail\":\"d\"}", "d"},
        {"[{\"error\":{\"message\":\"in a list\"}}]", "in a list"}, {"<html>\nBad\r\nGateway", "<html> Bad  Gateway"}, {"", "no words"}, {"{\"error\":{\"message\":7}}", "{\"error\":{\"message\":7}}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char why[301];
        moa_reply r;
        moa_reply_init(&r, "far");
        moa_reply_body(&r, cases[i].body, strlen(cases[i].body));
        moa_reply_reason(&r, why, sizeof why);
        assert_string_equal(why, cases[i].says);
        moa_reply_deinit(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_streams), cmocka_unit_test(test_whole), cmocka_unit_test(test_bounds), cmocka_unit_test(test_beside), cmocka_unit_test(test_reasons)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
