/* test_json.c - limits, places of errors, escapes, lines. SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void refuses(const char *text, size_t max, int code, const char *words) {
    json_t *v;
    moa_err e;
    assert_int_equal(moa_json_parse(&v, text, strlen(text), max, "f.json", &e), code);
    assert_null(v);
    if (!strstr(e.text, words)) fail_msg("'%s' lacks '%s'", e.text, words);
}

static void parses_with_limits(void **state) {
    (void)state;
    json_t *v;
    moa_err e;
    assert_int_equal(moa_json_parse(&v, "{\"a\": [1, 2.5, \"x\", null]}", 26, 100, "f", &e), 0);
    assert_int_equal(json_array_size(json_object_get(v, "a")), 4);
    json_decref(v);
    assert_int_equal(moa_json_parse(&v, "7", 1, 1, "f", &e), 0);
    json_decref(v);
    refuses("[1, 2", 100, MOA_EFORMAT, "f.json:1:");
    refuses("{\n  \"a\": 1,\n  \"a\": 2}", 100, MOA_EFORMAT, "f.json:3:");
    refuses("[1] x", 100, MOA_EFORMAT, "f.json:1:");
    refuses("\"\\u0000\"", 100, MOA_EFORMAT, "f.json:1:");
    refuses("\"\xff\"", 100, MOA_EFORMAT, "f.json:1:");
    refuses("", 100, MOA_EFORMAT, "f.json:1:");
    refuses("[1, 2]", 5, MOA_ELIMIT, "6 bytes of JSON, at most 5");
}

static void depth_is_limited(void **state) {
    (void)state;
    char text[2 * MOA_JSON_DEPTH + 8];
    json_t *v;
    moa_err e;
    for (int d = MOA_JSON_DEPTH; d <= MOA_JSON_DEPTH + 1; d++) {
        memset(text, '[', (size_t)d);
        memset(text + d, ']', (size_t)d);
        int rc = moa_json_parse(&v, text, 2 * (size_t)d, sizeof text, "f", &e);
        assert_int_equal(rc, d > MOA_JSON_DEPTH ? MOA_ELIMIT : 0);
        if (rc == 0) json_decref(v);
    }
    assert_non_null(strstr(e.text, "f:1:257: more than 256 nested brackets"));
    moa_buf b;
    moa_buf_init(&b, 10000);
    moa_buf_adds(&b, "\"");
    for (int i = 0; i < 1000; i++) moa_buf_adds(&b, "[{\\\"");
    moa_buf_adds(&b, "\""); /* brackets in a string are no depth */
    assert_int_equal(moa_json_parse(&v, b.data, b.len, 10000, "f", &e), 0);
    json_decref(v);
    moa_buf_deinit(&b);
}

static void strings_come_back(void **state) {
    (void)state;
    char in[256], *text;
    moa_buf b;
    json_t *v;
    moa_err e;
    for (int i = 0; i < 127; i++) in[i] = (char)(i + 1);
    memcpy(in + 127, "é\u2028😀", 10);
    moa_buf_init(&b, 10000);
    assert_int_equal(moa_json_add_str(&b, in, 136), 0);
    assert_int_equal(moa_json_parse(&v, b.data, b.len, 10000, "f", &e), 0);
    assert_int_equal(json_string_length(v), 136);
    assert_memory_equal(json_string_value(v), in, 136);
    json_decref(v);
    moa_buf_clear(&b);
    assert_int_equal(moa_json_add_str(&b, "a\xff\0\n\"\\\b\xe2\x82", 9), 0);
    text = moa_buf_take(&b);
    assert_string_equal(text, "\"a\xef\xbf\xbd\xef\xbf\xbd\\n\\\"\\\\\\b\xef\xbf\xbd\xef\xbf\xbd\"");
    free(text);
    v = moa_json_str("\0a\0\0b\xff\0", 7);
    assert_string_equal(json_string_value(v), "\xef\xbf\xbd" "a\xef\xbf\xbd\xef\xbf\xbd" "b\xef\xbf\xbd\xef\xbf\xbd");
    json_decref(v);
    v = json_pack("{s:i, s:[b,n,f]}", "z", 1, "a", 1, 0.5);
    moa_buf_init(&b, 100);
    assert_int_equal(moa_json_add(&b, v), 0);
    assert_string_equal(b.data, "{\"z\":1,\"a\":[true,null,0.5]}");
    moa_buf_deinit(&b);
    moa_buf_init(&b, 5);
    assert_int_equal(moa_json_add(&b, v), MOA_ELIMIT);
    moa_buf_deinit(&b);
    json_decref(v);
}

static void lines(void **state) {
    (void)state;
    static const char text[] = "{\"a\":1}\r\n\n  \n[2]\n\"x\"";
    moa_jsonl r;
    json_t *v;
    moa_err e;
    static const size_t at[] = {1, 4, 5};
    moa_jsonl_text(&r, text, sizeof text - 1, "f.jsonl");
    for (int i = 0; i < 3; i++) {
        assert_int_equal(moa_jsonl_next(&v, &r, &e), 1);
        assert_int_equal(r.line, at[i]);
        json_decref(v);
    }
    assert_int_equal(moa_jsonl_next(&v, &r, &e), 0);
    assert_null(v);
    moa_jsonl_text(&r, "1\n\n{\"a\": }\n3", 12, "f.jsonl");
    assert_int_equal(moa_jsonl_next(&v, &r, &e), 1);
    json_decref(v);
    assert_int_equal(moa_jsonl_next(&v, &r, &e), MOA_EFORMAT);
    assert_non_null(strstr(e.text, "f.jsonl:3:"));
    assert_int_equal(moa_jsonl_next(&v, &r, &e), 1); /* the next line can still be read */
    json_decref(v);
    moa_jsonl_close(&r);
    assert_int_equal(moa_jsonl_open(&r, "/nonexistent/x", 10, &e), MOA_ENOTFOUND);
    moa_jsonl_close(&r);
}

static void members(void **state) {
    (void)state;
    json_t *o = json_pack("{s:s, s:i, s:f, s:b, s:n}", "s", "text", "i", 3, "f", 0.5, "b", 1, "n");
    const char *s;
    long long i;
    double f;
    bool b;
    moa_err e;
    assert_int_equal(moa_json_get_str(&s, o, "s", "d", "cfg", &e) + moa_json_get_int(&i, o, "i", 9, "cfg", &e) + moa_json_get_num(&f, o, "f", 9, "cfg", &e) + moa_json_get_bool(&b, o, "b", false, "cfg", &e), 0);
    assert_string_equal(s, "text");
    assert_true(i == 3 && f > 0.4 && f < 0.6 && b);
    assert_int_equal(moa_json_get_num(&f, o, "i", 9, "cfg", &e), 0);
    assert_true(f > 2.9 && f < 3.1);
    assert_int_equal(moa_json_get_str(&s, o, "none", "d", "cfg", &e), 0);
    assert_string_equal(s, "d");
    assert_int_equal(moa_json_get_int(&i, o, "none", 9, "cfg", &e), 0);
    assert_true(i == 9);
    assert_int_equal(moa_json_get_int(&i, o, "s", 9, "cfg", &e), MOA_EFORMAT);
    assert_string_equal(e.text, "cfg: \"s\" is a string, expected an integer");
    assert_int_equal(moa_json_get_str(&s, o, "n", "d", "cfg", &e), MOA_EFORMAT);
    assert_int_equal(moa_json_get_bool(&b, o, "i", 0, "cfg", &e), MOA_EFORMAT);
    assert_int_equal(moa_json_get_num(&f, o, "b", 0, "cfg", &e), MOA_EFORMAT);
    json_decref(o);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(parses_with_limits), cmocka_unit_test(depth_is_limited), cmocka_unit_test(strings_come_back), cmocka_unit_test(lines), cmocka_unit_test(members)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
