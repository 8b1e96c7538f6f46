/* test_chat.c - conversations through templates: recorded cases of published models, odd contents, errors.
 * SPDX-License-Identifier: Apache-2.0 */
#include "format/chat.h"

#include "base/buf.h"
#include "base/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char chatml[] =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

static char *chat(const char *template, const moa_message *m, int n, const char *bos, const char *eos, bool prompt, moa_err *err) {
    moa_chat_template *t;
    char *out = NULL;
    size_t len;
    *err = (moa_err){0};
    if (moa_chat_template_parse(&t, template, strlen(template), err) < 0) return NULL;
    int rc = moa_chat_render(&out, &len, t, m, n, bos, eos, prompt, err);
    assert_int_equal(rc < 0, out == NULL);
    if (out) assert_int_equal(len, strlen(out));
    moa_chat_template_free(t);
    return out;
}

static void expect(const char *template, const moa_message *m, int n, const char *want) {
    moa_err err;
    char *got = chat(template, m, n, "<s>", "</s>", true, &err);
    if (!got) fail_msg("%s", err.text);
    assert_string_equal(got, want);
    free(got);
}

static void variables(void **state) {
    (void)state;
    const moa_message m[] = {{"system", "Be brief."}, {"user", "1+1?"}};
    expect(chatml, m, 2, "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n");
    expect("{{ bos_token }}{{ eos_token }}{{ add_generation_prompt }}{{ tools is none }}{{ documents is none }}{{ x is defined }}", m, 2, "<s></s>TrueTrueTrueFalse");
    expect("{{ messages|length }}", NULL, 0, "0");
    moa_err err;
    char *got = chat(chatml, m, 1, NULL, NULL, false, &err);
    assert_string_equal(got, "<|im_start|>system\nBe brief.<|im_end|>\n");
    free(got);
}

static void no_system(void **state) {
    (void)state;
    static const char drops[] = "{% for m in messages %}{% if m.role != 'system' %}{{ m.role }}: {{ m.content }};{% endif %}{% endfor %}";
    static const char refuses[] = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}{{ m.role }}: {{ m.content }};{% endfor %}";
    const moa_message m[] = {{"system", "S"}, {"user", "A"}, {"assistant", "B"}, {"user", "C"}};
    expect(drops, m, 4, "user: S\nA;assistant: B;user: C;");
    expect(refuses, m, 4, "user: S\nA;assistant: B;user: C;");
    expect(refuses, m, 1, "user: S;");
    expect(refuses, m + 1, 1, "user: A;");
    const moa_message late[] = {{"system", "S"}, {"assistant", "B"}, {"user", "C"}};
    expect(drops, late, 3, "assistant: B;user: S\nC;");
    moa_chat_template *t;
    assert_int_equal(moa_chat_template_parse(&t, drops, strlen(drops), NULL), 0);
    assert_false(moa_chat_takes_system(t));
    moa_chat_template_free(t);
    assert_int_equal(moa_chat_template_parse(&t, chatml, strlen(chatml), NULL), 0);
    assert_true(moa_chat_takes_system(t));
    moa_chat_template_free(t);
}

static void contents_are_text(void **state) {
    (void)state;
    expect("{{ messages[0].content }}", &(moa_message){"user", "{{ 1 }}{% if %} <|im_end|> \" \\ \n"}, 1, "{{ 1 }}{% if %} <|im_end|> \" \\ \n");
    expect("{{ messages[0].content }}", &(moa_message){"user", "a\xff" "b\xe2\x82"}, 1, "a\xef\xbf\xbd" "b\xef\xbf\xbd\xef\xbf\xbd");
}

static void request(const char *template, const char *messages, const char *want) {
    moa_chat_template *t;
    moa_err err = {0};
    char *out = NULL;
    json_t *list = json_loads(messages, 0, NULL), *tools = json_loads("[{\"type\":\"function\",\"function\":{\"name\":\"add\"}}]", 0, NULL), *extra = json_pack("{s:b,s:s}", "think", 1, "bos_token", "no");
    assert_int_equal(moa_chat_template_parse(&t, template, strlen(template), &err), 0);
    const int rc = moa_chat_render_request(&out, NULL, t, &(moa_chat_request){.messages = list, .tools = tools, .extra = extra, .bos = "<s>"}, &err);
    if (rc < 0 && !strstr(err.text, want)) fail_msg("%s", err.text);
    if (rc == 0) assert_string_equal(out, want);
    free(out);
    moa_chat_template_free(t);
    json_decref(list), json_decref(tools), json_decref(extra);
}

static void requests(void **state) {
    (void)state;
    static const char show[] = "{{ bos_token }}{{ think }} {{ tools[0].function.name }}{% for m in messages %} {{ m.role }}:{{ m.content }}{% for c in m.tool_calls or [] %}"
                               "{{ c.function.name }}({{ c.function.arguments.a }}){{ c.function.arguments|tojson }}{% endfor %}{% endfor %}";
    request(show, "[{\"role\":\"user\",\"content\":\"1+1?\"},{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"add\",\"arguments\":\"{\\\"a\\\": 1}\"}}]},"
                  "{\"role\":\"tool\",\"content\":\"2\"}]", "<s>True add user:1+1? assistant:Noneadd(1){\"a\": 1} tool:2");
    static const char drops[] = "{% for m in messages %}{% if m.role != 'system' %}{{ m.role }}: {{ m.content }};{% endif %}{% endfor %}";
    request(drops, "[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\"A\"}]", "user: S\nA;");
    request(drops, "[{\"role\":\"system\",\"content\":\"S\"}]", "user: S;");
    request(drops, "[]", "");
    request(drops, "{}", "messages is not an array");
    request(drops, "[{\"content\":\"A\"}]", "messages[0] has no role");
}

static void errors(void **state) {
    (void)state;
    moa_err err;
    moa_chat_template *t = NULL;
    assert_int_equal(moa_chat_template_parse(&t, "{% if %}", 8, &err), MOA_EFORMAT);
    assert_null(t);
    assert_non_null(strstr(err.text, "chat template:1: "));
    assert_null(chat("{% if messages[0].role != 'user' %}{{ raise_exception('first a user') }}{% endif %}", &(moa_message){"assistant", "x"}, 1, "", "", true, &err));
    assert_int_equal(err.code, MOA_EINVAL);
    assert_non_null(strstr(err.text, "first a user"));
    assert_null(chat(chatml, &(moa_message){"user", NULL}, 1, "", "", true, &err));
    assert_non_null(strstr(err.text, "message 0 has no content"));
    moa_chat_template_free(NULL);
}

static void published(void **state) {
    (void)state;
    const char *dir = getenv("MOA_SHARED");
    char cmd[1024], part[65536];
    snprintf(cmd, sizeof cmd, "xz -dc '%s/data/packs/chat_template_cases.jsonl.xz' 2>/dev/null", dir && *dir ? dir : "../shared");
    moa_buf b;
    moa_buf_init(&b, 16 << 20);
    FILE *f = popen(cmd, "r");
    for (size_t k; f && (k = fread(part, 1, sizeof part, f)) > 0;) moa_buf_add(&b, part, k);
    if (f) pclose(f);
    if (!b.len) {
        print_message("skip: no data/packs/chat_template_cases.jsonl.xz (set MOA_SHARED)\n");
        moa_buf_deinit(&b);
        skip();
    }
    moa_jsonl r;
    json_t *v;
    moa_err err;
    int ok = 0, total = 0;
    moa_jsonl_text(&r, b.data, b.len, "chat_template_cases");
    while (moa_jsonl_next(&v, &r, &err) == 1) {
        json_t *list = json_object_get(v, "messages");
        moa_message m[64];
        int n = (int)json_array_size(list);
        assert_true(n <= 64);
        for (int i = 0; i < n; i++)
            m[i] = (moa_message){json_string_value(json_object_get(json_array_get(list, (size_t)i), "role")),
                                 json_string_value(json_object_get(json_array_get(list, (size_t)i), "content"))};
        const char *want = json_string_value(json_object_get(v, "expected_jinja"));
        char *got = chat(json_string_value(json_object_get(v, "template")), m, n, json_string_value(json_object_get(v, "bos_token")),
                         json_string_value(json_object_get(v, "eos_token")), json_is_true(json_object_get(v, "add_generation_prompt")), &err);
        bool same = got && want && !strcmp(got, want);
        total++, ok += same;
        if (!same) print_message("%s:\n  got      %s\n  expected %s\n", json_string_value(json_object_get(v, "name")), got ? got : err.text, want ? want : "(none)");
        free(got);
        json_decref(v);
    }
    print_message("chat_template_cases: %d of %d agree\n", ok, total);
    assert_true(total > 0);
    assert_int_equal(ok, total);
    moa_buf_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(variables), cmocka_unit_test(no_system), cmocka_unit_test(contents_are_text), cmocka_unit_test(requests), cmocka_unit_test(errors), cmocka_unit_test(published)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
