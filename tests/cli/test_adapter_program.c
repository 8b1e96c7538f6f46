/* test_adapter_program.c - adapters as a user has them: run, eval, chat and logits with --adapter, info, export to both forms and back;
 * every form gives the same bytes; what does not fit is named.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void logits(const char *name, const char *adapter) {
    if (moaf("logits %s --tokens '5 6 7 40' -o %s %s", program_model(), path_of(name), adapter) != 0) fail_msg("%s", err_text);
}
static bool same_logits(const char *a, const char *b) { return same_bytes(path_of(a), path_of(b)); }

/* Alpha over rank is 2: folded into B the product has the same bits, whatever the form. */
static void test_export(void **state) {
    (void)state;
    need_program();
    char with[256], text[4096];
    moa_expect(0, "adapter export %A %D/l.gguf -m %M");
    assert_non_null(strstr(out, "l.gguf: GGUF, 4 matrices"));
    assert_string_equal(err_text, "");
    moa_expect(0, "adapter export %D/l.gguf %D/back -m %M");
    assert_non_null(strstr(out, "back: PEFT, 4 matrices"));
    moa_expect(0, "adapter export %D/back %D/again.gguf -m %F"); /* the base as a folder */
    snprintf(with, sizeof with, "--adapter %s", program_lora());
    logits("bare", "");
    logits("peft", with);
    static const char *const form[] = {"l.gguf", "back", "again.gguf", "back/adapter_model.safetensors"};
    assert_false(same_logits("bare", "peft"));
    for (size_t i = 0; i < sizeof form / sizeof *form; i++) {
        snprintf(with, sizeof with, "--adapter %s", path_of(form[i]));
        logits("other", with);
        if (!same_logits("peft", "other")) fail_msg("%s gives other logits", form[i]);
    }
    moa_expect(0, "run -q -m %M --mix self-moa:n=2 --max-tokens 20 --adapter %A 'What is 2 + 2?'");
    snprintf(text, sizeof text, "%.4000s", out);
    moa_expect(0, "run -q -m %M --mix self-moa:n=2 --max-tokens 20 --adapter %D/l.gguf 'What is 2 + 2?'");
    assert_string_equal(out, text);
    moa_expect(0, "run -q -m %M --mix self-moa:n=2 --max-tokens 20 'What is 2 + 2?'");
    assert_string_not_equal(out, text);
}

static void test_scales(void **state) {
    (void)state;
    need_program();
    char with[512];
    snprintf(with, sizeof with, "--adapter %s:0", program_lora());
    logits("bare", "");
    logits("zero", with);
    assert_true(same_logits("bare", "zero"));
    snprintf(with, sizeof with, "--adapter %s:0.5", program_lora());
    logits("half", with);
    snprintf(with, sizeof with, "--adapter %s", program_lora());
    logits("one", with);
    assert_false(same_logits("half", "one"));
    assert_false(same_logits("half", "bare"));
    snprintf(with, sizeof with, "--adapter %s:0.5 --adapter %s:0.5", program_lora(), program_lora());
    logits("two", with);
    assert_false(same_logits("half", "two")); /* both count */
}

static void test_info(void **state) {
    (void)state;
    need_program();
    moa_expect(0, "info %A --json");
    json_t *j = parsed(), *list = json_object_get(j, "matrices"), *m = json_array_get(list, 0);
    assert_string_equal(string(j, "adapter"), "PEFT");
    assert_string_equal(string(j, "base"), "tiny");
    assert_int_equal(json_array_size(list), 4);
    assert_int_equal(integer(j, "weights"), 2 * 4 * (64 + 64 + 96 + 64));
    assert_string_equal(string(m, "name"), "base_model.model.model.layers.0.mlp.down_proj");
    assert_int_equal(integer(m, "rank"), 4);
    assert_true(number(m, "scale") == 2);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(m, "shape"), 1)), 96);
    assert_true(json_is_false(json_object_get(m, "dora")) && json_is_false(json_object_get(m, "bias")));
    json_decref(j);
    moa_expect(0, "info %A");
    assert_non_null(strstr(out, "LoRA adapter (PEFT), 4 matrices"));
}

/* Every command that works with models takes adapters; a journal keeps apart what was said with and without. */
static void test_commands(void **state) {
    (void)state;
    need_program();
    put_file("tasks.jsonl", "{\"question\":\"What is 1 + 1?\",\"answer\":\"2\"}\n");
    moa_expect(0, "eval %D/tasks.jsonl -m %M --mix single --max-tokens 4 --journal %D/j");
    moa_expect(0, "eval %D/tasks.jsonl -m %M --mix single --max-tokens 4 --journal %D/j --adapter %A");
    assert_non_null(strstr(err_text, "1 call computed, 0 found again"));
    moa_expect(0, "eval %D/tasks.jsonl -m %M --mix single --max-tokens 4 --journal %D/j --adapter %A");
    assert_non_null(strstr(err_text, "0 calls computed, 1 found again"));
}

/* A conversation changes adapters as it goes: without, with, without. */
static void test_chat(void **state) {
    (void)state;
    need_program();
    char with[256], lines[512], plain[512], tuned[512], want[1600];
    snprintf(with, sizeof with, "%s:0.5 %s", program_lora(), program_lora());
    put_file("lines", "hello\n");
    moa_expect(0, "chat -q -m %M --mix greedy --max-tokens 8 <%D/lines");
    snprintf(plain, sizeof plain, "%.500s", out);
    moa_expect(0, "chat -q -m %M --mix greedy --max-tokens 8 --adapter %A:0.5 --adapter %A <%D/lines");
    snprintf(tuned, sizeof tuned, "%.500s", out);
    assert_string_not_equal(plain, tuned);
    snprintf(want, sizeof want, "%s%s%s", plain, tuned, plain);
    snprintf(lines, sizeof lines, "hello\n/reset\n/adapter\n/adapter %s\n/adapter /nowhere\nhello\n/reset\n/adapter\n/adapter none\nhello\n", with);
    put_file("lines", lines);
    moa_expect(0, "chat -q -m %M --mix greedy --max-tokens 8 <%D/lines");
    assert_string_equal(out, want);
    assert_non_null(strstr(err_text, "no adapters\n"));
    assert_non_null(strstr(err_text, "/nowhere"));
    assert_non_null(strstr(err_text, with));
}

/* In the models folder an adapter is listed as what it is. */
static void test_listed(void **state) {
    (void)state;
    need_program();
    moa_expect(0, "adapter export %A %D/l.gguf -m %M");
    setenv("MOA_MODELS", program_dir, 1);
    moa_expect(0, "models --json");
    setenv("MOA_MODELS", "", 1);
    json_t *j = parsed(), *list = json_object_get(j, "models"), *m;
    size_t i, found = 0;
    json_array_foreach(list, i, m) {
        if (strcmp(string(m, "name"), "l")) continue;
        assert_string_equal(string(m, "type"), "adapter");
        assert_string_equal(string(m, "arch"), "llama");
        found++;
    }
    assert_int_equal(found, 1);
    json_decref(j);
}

static void test_wrong_use(void **state) {
    (void)state;
    need_program();
    put_file("wide.txt", "");
    moa_expect(0, "adapter export %A %D/l.gguf -m %M");
    static const program_case cases[] = {
        {"adapter", 2, "expected: export"},
        {"adapter import %A x", 2, "expected: export"},
        {"adapter export", 2, "ADAPTER and OUT"},
        {"adapter export %A", 2, "ADAPTER and OUT"},
        {"adapter export /nowhere %D/x.gguf -m %M", 1, "/nowhere"},
        {"adapter export %M %D/x.gguf -m %M", 1, "adapter"},
        {"adapter export %A %D/x.gguf -m /nowhere.gguf", 1, "/nowhere.gguf"},
        {"adapter export %A /nowhere/x.gguf -m %M", 1, "/nowhere/x.gguf"},
        {"adapter export %A %D/wide.txt -m %M", 1, "wide.txt"},
        {"adapter export %A %A -m %M", 2, "same file"},
        {"adapter export %D/l.gguf %D/l.gguf -m %M", 2, "same file"},
        {"run -q -m %M --adapter %A:much x", 2, "'much' is no scale"},
        {"run -q -m %M --adapter :2 x", 2, "FILE:SCALE"},
        {"run -q -m %M --adapter /nowhere x", 1, "/nowhere"},
        {"run -q -m %M --adapter %M x", 1, "adapter"},
        {"run -q -m %A x", 2, "is an adapter, not a model"},
        {"run -q -m %D/l.gguf x", 1, "adapter"},
        {"embed %D/l.gguf x", 1, "adapter"},
        {"logits %M --tokens 1 --adapter %D/wide.txt", 1, "wide.txt"},
    };
    moa_expect_errors(cases, sizeof cases / sizeof *cases);
    assert_int_equal(files_like("x.gguf*"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_export), cmocka_unit_test(test_scales), cmocka_unit_test(test_info),
                                       cmocka_unit_test(test_commands), cmocka_unit_test(test_chat), cmocka_unit_test(test_listed), cmocka_unit_test(test_wrong_use)};
    return cmocka_run_group_tests(tests, program_setup, program_teardown);
}
