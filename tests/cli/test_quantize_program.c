/* test_quantize_program.c - quantize, imatrix and perplexity as scripts use them: exit codes, notes, JSON keys, a collection
 * that is continued. The program is $MOA; a small model is made for it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/tinymodel.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char model[256], base[64], out[1 << 16], said[1 << 16];

static void slurp(char *d, size_t n, const char *end) {
    char path[128];
    snprintf(path, sizeof path, "%s.%s", base, end);
    FILE *f = fopen(path, "r");
    const size_t k = f ? fread(d, 1, n - 1, f) : 0;
    d[k] = 0;
    if (f) fclose(f);
}

/* Runs $MOA with arguments in which %M is the model and %B the beginning of names of files. */
static int moa(const char *args) {
    char cmd[2048];
    size_t n = (size_t)snprintf(cmd, sizeof cmd, "MOA_MODELS= OMP_NUM_THREADS=1 '%s' ", getenv("MOA"));
    for (const char *p = args; *p; p++) {
        const char *put = p[0] == '%' && p[1] == 'M' ? model : p[0] == '%' && p[1] == 'B' ? base : NULL;
        n += put ? (size_t)snprintf(cmd + n, sizeof cmd - n, "%s", put) : (size_t)snprintf(cmd + n, sizeof cmd - n, "%c", *p);
        if (put) p++;
        assert_true(n < sizeof cmd - 200);
    }
    snprintf(cmd + n, sizeof cmd - n, " >%s.out 2>%s.err </dev/null", base, base);
    const int rc = system(cmd);
    slurp(out, sizeof out, "out"), slurp(said, sizeof said, "err");
    return WIFEXITED(rc) ? WEXITSTATUS(rc) : -1;
}

static void run(const char *args, int want) {
    if (moa(args) != want) fail_msg("moa %s: expected exit code %d\n%s%s", args, want, out, said);
}

static int setup(void **state) {
    (void)state;
    moa_err err = {0};
    char path[128];
    snprintf(base, sizeof base, "/tmp/moa-test-%d", (int)getpid());
    snprintf(path, sizeof path, "%s.txt", base);
    FILE *f = fopen(path, "w");
    for (int i = 0; f && i < 40; i++) fprintf(f, "Tom has %d apples and buys %d more, so that he has %d apples. Anna has %d pens.\n", i, 2 * i, 3 * i, i + 7);
    if (!f || fclose(f)) return -1;
    if (tinymodel_write(model, sizeof model, 3, &err) >= 0) return 0;
    fprintf(stderr, "%s\n", err.text);
    return -1;
}

static int teardown(void **state) {
    (void)state;
    static const char *const ends[] = {"txt", "out", "err", "q.gguf", "im.gguf", "im.dat"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s.%s", base, ends[i]);
        unlink(path);
    }
    unlink(model);
    return 0;
}

static void need_program(void) {
    if (getenv("MOA") && access(getenv("MOA"), X_OK) == 0) return;
    printf("skip: $MOA does not name the built program\n");
    skip();
}

static double number(const json_t *j, const char *a, const char *b) {
    const json_t *v = json_object_get(b ? json_object_get(j, a) : j, b ? b : a);
    if (!json_is_number(v)) fail_msg("no number %s%s%s in %s", a, b ? "." : "", b ? b : "", out);
    return json_number_value(v);
}

static void quantize_and_measure(void **state) {
    (void)state;
    need_program();
    run("quantize %M %B.q.gguf Q4_K_M --text %B.txt --ctx 64 --chunks 3 --json", 0);
    assert_non_null(strstr(said, "Q5_0 instead of Q4_K")); /* its rows have 64 weights */
    json_t *j = json_loads(out, 0, NULL);
    assert_non_null(j);
    assert_string_equal(json_string_value(json_object_get(j, "type")), "Q4_K_M");
    assert_true(number(j, "bytes_out", NULL) < 0.3 * number(j, "bytes_in", NULL));
    assert_true(json_array_size(json_object_get(j, "fallbacks")) >= 1);
    const json_t *p = json_object_get(j, "against_source");
    assert_true(number(p, "chunks", NULL) == 3 && number(p, "tokens", NULL) == 3 * 31);
    assert_true(number(p, "kl", "mean") > 0 && number(p, "kl", "mean") < 1 && number(p, "kl", "p99") >= number(p, "kl", "median"));
    assert_true(number(p, "reference_perplexity", NULL) > 1);
    json_decref(j);
    /* The same by the command of its own, with the same numbers. */
    char first[64], *at = strstr(out, "\"mean\":");
    snprintf(first, sizeof first, "%.20s", at);
    run("perplexity %B.q.gguf %B.txt --against %M --ctx 64 --chunks 3 --json", 0);
    assert_non_null(strstr(out, first));
    run("perplexity %M %B.txt --against %M --ctx 64 --chunks 2 --json", 0);
    j = json_loads(out, 0, NULL);
    assert_true(number(json_object_get(j, "result"), "kl", "mean") == 0 && number(json_object_get(j, "result"), "same_top", NULL) == 1);
    json_decref(j);
    run("perplexity %M %B.txt --chunks 1 --ctx 64", 0);
    assert_non_null(strstr(out, "perplexity"));
    assert_null(strstr(out, "KL"));
}

static void importance(void **state) {
    (void)state;
    need_program();
    run("imatrix %M %B.txt -o %B.im.gguf --ctx 64 --chunks 2", 0);
    assert_non_null(strstr(out, "2 chunks of 64 tokens"));
    run("imatrix %M %B.txt -o %B.im.gguf --ctx 64 --chunks 4", 0); /* goes on */
    assert_non_null(strstr(said, "goes on after chunk 2"));
    assert_non_null(strstr(out, "4 chunks of 64 tokens"));
    run("imatrix %M %B.txt -o %B.im.gguf --ctx 32", 1);
    assert_non_null(strstr(said, "chunks of 64 tokens, not 32"));
    run("imatrix %M %B.txt -o %B.im.dat --ctx 64 --chunks 2", 0);
    run("quantize %M %B.q.gguf Q4_0 --imatrix %B.im.gguf", 0);
    run("quantize %M %B.q.gguf IQ4_NL --imatrix %B.im.dat", 0);
    run("info %B.q.gguf", 0);
    assert_non_null(strstr(out, "quantize.imatrix.chunks_count"));
    assert_non_null(strstr(out, "IQ4_NL"));
}

static void wrong_use(void **state) {
    (void)state;
    need_program();
    static const struct { const char *args; int rc; const char *says; } cases[] = {
        {"quantize %M %B.q.gguf", 2, "IN, OUT and TYPE"},
        {"quantize %M %B.q.gguf Q9_K", 2, "Q4_K_M"},
        {"quantize /nowhere.gguf %B.q.gguf Q8_0", 1, "/nowhere.gguf"},
        {"quantize %M /nowhere/x.gguf Q8_0", 1, "/nowhere/x.gguf"},
        {"quantize %M %B.q.gguf Q8_0 --imatrix %M", 1, "expected 'imatrix'"},
        {"imatrix %M %B.txt", 2, "-o FILE"},
        {"imatrix %M /nowhere.txt -o %B.im.gguf", 1, "/nowhere.txt"},
        {"perplexity %M", 2, "TEXT"},
        {"perplexity %M %B.txt --ctx 100000", 1, "the model reads 512"},
        {"perplexity %M %B.txt --against /nowhere.gguf", 1, "/nowhere.gguf"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run(cases[i].args, cases[i].rc);
        if (!strstr(said, cases[i].says)) fail_msg("moa %s: no '%s' in\n%s", cases[i].args, cases[i].says, said);
        if (out[0]) fail_msg("moa %s: wrote to stdout: %s", cases[i].args, out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(quantize_and_measure), cmocka_unit_test(importance), cmocka_unit_test(wrong_use)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
