/* test_structured.c - moa run --json-schema and --grammar as a user runs them: whatever the mix, the model and the seed, what comes
 * out is JSON of the schema; wrong grammars are told before a model is opened.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/program.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char schema[] = "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"age\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":120},"
                             "\"tags\":{\"type\":\"array\",\"items\":{\"enum\":[\"red\",\"green\"]}}},\"required\":[\"name\",\"age\"]}";

static void assert_valid(void) {
    json_t *v = parsed(), *e;
    size_t i;
    const json_t *age = json_object_get(v, "age");
    assert_true(json_is_string(json_object_get(v, "name")));
    assert_true(json_is_integer(age) && json_integer_value(age) >= 0 && json_integer_value(age) <= 120);
    json_array_foreach(json_object_get(v, "tags"), i, e) assert_true(!strcmp(json_string_value(e), "red") || !strcmp(json_string_value(e), "green"));
    assert_true(json_object_size(v) == 2 + (json_object_get(v, "tags") != NULL));
    json_decref(v);
}

static void test_always_valid(void **state) {
    (void)state;
    need_program();
    static const char *const mix[] = {"single", "greedy", "self-moa:n=2", "vote:n=3", "moa:n=2,layers=1", "self-moa-seq:n=3,window=2"};
    static const char *const model[] = {"%M", "models/moa-tiny.gguf"};
    for (int k = 0; k < 2; k++) {
        if (k && access(model[k], R_OK) != 0) {
            printf("skip: %s is not here\n", model[k]);
            continue;
        }
        for (size_t i = 0; i < sizeof mix / sizeof *mix; i++)
            for (int tokens = 40; tokens <= 120; tokens += 80) {
                char args[2048];
                snprintf(args, sizeof args, "run -q -m %s --mix %s --seed %zu --temperature 1.3 --max-tokens %d --json-schema '%s' 'Tom is 12.'", model[k], mix[i], i, tokens, schema);
                if (i == 1) snprintf(args, sizeof args, "run -q -m %s --mix greedy --max-tokens %d --json-schema '%s' 'Tom is 12.'", model[k], tokens, schema);
                assert_int_equal(moa(args), 0);
                assert_valid();
            }
    }
}

static void test_files_and_errors(void **state) {
    (void)state;
    need_program();
    put_file("a.gbnf", "root ::= \"yes\" |\n  \"no\"\n");
    assert_int_equal(moa("run -q -m %M --mix single --max-tokens 2 --chat-template-kwargs '{\"thinkng\":1}' Really?"), 0);
    assert_non_null(strstr(err_text, "does not read 'thinkng'"));
    assert_int_equal(moa("run -q -m %M --mix single --grammar %D/a.gbnf Really?"), 0);
    assert_true(!strcmp(out, "yes\n") || !strcmp(out, "no\n"));
    static const program_case bad[] = {
        {"run -q -m %M --mix single --chat-template-kwargs '{' y", 1, "variables of the chat template:1:1: not valid JSON"},
        {"run -q -m %M --mix single --chat-template-kwargs '{\"eos_token\":1}' y", 1, "'eos_token' is what moa itself gives"},
        {"run -q --grammar 'root ::= x' y", 1, "--grammar:1:10: rule 'x' is not defined"},
        {"run -q --grammar no-such-file y", 1, "no such file"},
        {"run -q --json-schema '{\"not\":{}}' y", 1, "--json-schema: #/not"},
        {"run -q --json-schema true --grammar 'root ::= \"a\"' y", 2, "follows one of them"},
        {"run -q -m %M --mix single --max-tokens 5 --grammar 'root ::= [a-c]{3000}' y", 1, "before its grammar was complete"},
    };
    moa_expect_errors(bad, sizeof bad / sizeof *bad);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_always_valid), cmocka_unit_test(test_files_and_errors)};
    return cmocka_run_group_tests(tests, program_setup, program_teardown);
}
