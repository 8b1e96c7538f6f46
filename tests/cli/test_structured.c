/* test_structured.c - moa run --json-schema and --grammar as a user runs them: whatever the mix, the model and the seed, what comes
 * out is JSON of the schema; wrong grammars are told before a model is opened.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/tinymodel.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char tiny[256], out_path[64], err_path[64], out[1 << 16], err_text[1 << 12];

static void slurp(char *d, size_t n, const char *path) {
    FILE *f = fopen(path, "r");
    const size_t k = f ? fread(d, 1, n - 1, f) : 0;
    d[k] = 0;
    if (f) fclose(f);
}

static int moa(const char *args) {
    char cmd[4096];
    snprintf(cmd, sizeof cmd, "OMP_NUM_THREADS=1 '%s' run -q %s >%s 2>%s </dev/null", getenv("MOA"), args, out_path, err_path);
    const int rc = system(cmd);
    slurp(out, sizeof out, out_path);
    slurp(err_text, sizeof err_text, err_path);
    return WIFEXITED(rc) ? WEXITSTATUS(rc) : -1;
}

static int setup(void **state) {
    (void)state;
    moa_err err = {0};
    snprintf(out_path, sizeof out_path, "/tmp/moa-test-%d.out", (int)getpid());
    snprintf(err_path, sizeof err_path, "/tmp/moa-test-%d.err", (int)getpid());
    if (tinymodel_write(tiny, sizeof tiny, 3, &err) >= 0) return 0;
    fprintf(stderr, "%s\n", err.text);
    return -1;
}

static int teardown(void **state) {
    (void)state;
    unlink(tiny);
    unlink(out_path);
    unlink(err_path);
    return 0;
}

static void need_program(void) {
    if (getenv("MOA") && access(getenv("MOA"), X_OK) == 0) return;
    printf("skip: $MOA does not name the built program\n");
    skip();
}

static const char schema[] = "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"age\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":120},"
                             "\"tags\":{\"type\":\"array\",\"items\":{\"enum\":[\"red\",\"green\"]}}},\"required\":[\"name\",\"age\"]}";

static void assert_valid(void) {
    json_t *v = json_loads(out, 0, NULL), *e;
    size_t i;
    if (!v) fail_msg("not JSON: %s\n%s", out, err_text);
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
    const char *model[] = {tiny, "models/moa-tiny.gguf"};
    for (int k = 0; k < 2; k++) {
        if (access(model[k], R_OK) != 0) {
            printf("skip: %s is not here\n", model[k]);
            continue;
        }
        for (size_t i = 0; i < sizeof mix / sizeof *mix; i++)
            for (int tokens = 40; tokens <= 120; tokens += 80) {
                char args[2048];
                snprintf(args, sizeof args, "-m '%s' --mix %s --seed %zu --temperature 1.3 --max-tokens %d --json-schema '%s' 'Tom is 12.'", model[k], mix[i], i, tokens, schema);
                if (i == 1) snprintf(args, sizeof args, "-m '%s' --mix greedy --max-tokens %d --json-schema '%s' 'Tom is 12.'", model[k], tokens, schema);
                assert_int_equal(moa(args), 0);
                assert_valid();
            }
    }
}

static void test_files_and_errors(void **state) {
    (void)state;
    need_program();
    char path[80], args[512];
    snprintf(path, sizeof path, "/tmp/moa-test-%d.gbnf", (int)getpid());
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs("root ::= \"yes\" |\n  \"no\"\n", f);
    fclose(f);
    snprintf(args, sizeof args, "-m '%s' --mix single --grammar %s Really?", tiny, path);
    assert_int_equal(moa(args), 0);
    assert_true(!strcmp(out, "yes\n") || !strcmp(out, "no\n"));
    unlink(path);
    static const struct { const char *args, *want; int rc; } bad[] = {
        {"--grammar 'root ::= x' y", "--grammar:1:10: rule 'x' is not defined", 1}, {"--grammar no-such-file y", "no such file", 1}, {"--json-schema '{\"not\":{}}' y", "--json-schema: #/not", 1},
        {"--json-schema true --grammar 'root ::= \"a\"' y", "follows one of them", 2},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(moa(bad[i].args), bad[i].rc);
        if (!strstr(err_text, bad[i].want)) fail_msg("%s\n%s", bad[i].args, err_text);
        assert_string_equal(out, "");
    }
    snprintf(args, sizeof args, "-m '%s' --mix single --max-tokens 5 --grammar 'root ::= [a-c]{3000}' y", tiny);
    assert_int_equal(moa(args), 1); /* cannot be complete within its tokens */
    assert_non_null(strstr(err_text, "before its grammar was complete"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_always_valid), cmocka_unit_test(test_files_and_errors)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
