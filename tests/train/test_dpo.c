/* test_dpo.c - preferences: the loss begins at log 2 and falls, what was preferred becomes more probable, stopped runs go on bit for bit with the same
 * reference; files and recipes that cannot be meant are refused.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/training.h"

#include "base/buf.h"
#include "train/data.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char pairs_path[128];

/* "How many?" - the chosen reply says yes, the rejected one no; now and then as lists of messages, one with an earlier turn. */
static void write_pairs(int n) {
    snprintf(pairs_path, sizeof pairs_path, "%s/pairs.jsonl", train_root);
    FILE *f = fopen(pairs_path, "wb");
    for (int i = 0; i < n; i++) {
        if (i % 3 == 0) fprintf(f, "{\"prompt\": \"Is %d fine?\", \"chosen\": \"yes, %d is\", \"rejected\": \"no, %d is not\"}\n", i, i, i);
        else if (i % 3 == 1)
            fprintf(f, "{\"prompt\": [{\"role\": \"user\", \"content\": \"Is %d fine?\"}], \"chosen\": [{\"role\": \"assistant\", \"content\": \"yes\"}], \"rejected\": [{\"role\": \"assistant\", \"content\": \"no\"}]}\n", i);
        else
            fprintf(f, "{\"prompt\": [{\"role\": \"user\", \"content\": \"Hello\"}, {\"role\": \"assistant\", \"content\": \"Hi\"}, {\"role\": \"user\", \"content\": \"Is it %d?\"}], \"chosen\": \"yes it is\", "
                       "\"rejected\": [{\"role\": \"assistant\", \"content\": \"no it is not\"}]}\n", i);
    }
    fclose(f);
}

#define BASE " - {name: base, steps: 3, batch_tokens: 512, seq_len: 128, lr: 3e-3, " TRAIN_DATA "}\n"
static char *recipe(const char *tail, const char *stage) {
    static char text[2048];
    snprintf(text, sizeof text, TRAIN_HEAD "%sstages:\n" BASE " - {name: prefer, loss: dpo, seq_len: 128, batch_tokens: 512, %s, data: [{file: %s}]}\n", tail, stage, pairs_path);
    return text;
}

static double loss_at(const char *run, int step) {
    size_t n;
    char *log = train_content(run, "log.jsonl", &n), key[64];
    snprintf(key, sizeof key, "\"stage\":\"prefer\",\"stage_step\":%d,\"loss\":", step);
    const char *at = strstr(log, key);
    const double v = at ? strtod(at + strlen(key), NULL) : NAN;
    free(log);
    return v;
}

static void test_falls(void **state) {
    (void)state;
    train_probe p = {0};
    write_pairs(40);
    train_ok("falls", recipe("", "steps: 25, lr: 3e-3, beta: 0.5"), false, &p);
    assert_true(fabs(loss_at("falls", 1) - log(2)) < 2e-3); /* the model is its own reference */
    assert_true(loss_at("falls", 25) < 0.35);
    train_ok("parts", recipe("", "steps: 2, lr: 3e-3, beta: 0.5, accumulate: 2, dtype: f32"), false, &p); /* the sum over parts is the mean over pairs */
    assert_true(fabs(loss_at("parts", 1) - log(2)) < 1e-5);
    train_ok("whole", recipe("", "steps: 2, lr: 3e-3, beta: 0.5, dtype: f32"), false, &p);
    assert_true(fabs(loss_at("parts", 2) - loss_at("whole", 2)) < 1e-4);
}

static void test_resume(void **state) {
    (void)state;
    train_probe p = {0}, q = {.stop_at = 7}, r = {0};
    moa_err err = {0};
    write_pairs(12);
    char *text = recipe("checkpoint: {steps: 2}\n", "steps: 9, lr: 3e-3, beta: 0.2");
    train_ok("straight", text, false, &p);
    assert_int_equal(train_in("stopped", text, &q, false, 1, &err), MOA_ECANCELED);
    train_ok("stopped", text, true, &r);
    train_same_log("straight", "stopped");
    train_same_file("straight", "stopped", "t.gguf");
    /* Without its reference, or with a damaged one, a run does not go on. */
    train_probe s = {.stop_at = 7};
    assert_int_equal(train_in("lost", text, &s, false, 1, &err), MOA_ECANCELED);
    FILE *f = fopen(train_path("lost", "reference-prefer.bin"), "r+b");
    assert_non_null(f);
    fseek(f, 40, SEEK_SET), fputc('x', f), fclose(f);
    train_probe again = {0};
    assert_int_equal(train_in("lost", text, &again, true, 1, &err), MOA_EFORMAT);
    assert_non_null(strstr(err.text, "reference-prefer.bin"));
    unlink(train_path("lost", "reference-prefer.bin"));
    assert_true(train_in("lost", text, &again, true, 1, &err) < 0);
    assert_non_null(strstr(err.hint, "--fresh"));
}

static void refuse_line(const char *line, const char *want) {
    moa_err err = {0};
    train_probe p = {0};
    FILE *f = fopen(pairs_path, "wb");
    fputs(line, f);
    fclose(f);
    assert_true(train_in("refused", recipe("", "steps: 2"), &p, false, 1, &err) < 0);
    if (!strstr(err.text, want)) fail_msg("'%s' does not say '%s'", err.text, want);
    p.fresh = true;
}

static void test_bad(void **state) {
    (void)state;
    write_pairs(1);
    refuse_line("", "no preferences");
    static const struct { const char *stage, *want; } bad[] = {
        {"{name: a, steps: 2, seq_len: 128, beta: 0.1, " TRAIN_DATA "}", "beta is for loss dpo"}, {"{name: a, steps: 2, seq_len: 128, loss: dpo, " TRAIN_DATA "}", "learns from files of preferences"},
        {"{name: a, steps: 2, seq_len: 128, loss: dpo, data: [{file: a.txt}]}", "learns from files of preferences"}, {"{name: a, steps: 2, seq_len: 128, loss: dpo, data: [{file: a.jsonl, learn: all}]}", "learn has no meaning"},
        {"{name: a, kind: sample, loss: dpo, " TRAIN_DATA "}", "sample"}, {"{name: a, steps: 2, seq_len: 128, loss: kl, " TRAIN_DATA "}", "likelihood, dpo"},
        {"{name: a, steps: 2, seq_len: 128, loss: dpo, beta: 0, data: [{file: a.jsonl}]}", "beta is 0"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[1024];
        moa_recipe *r;
        moa_err err = {0};
        const int n = snprintf(text, sizeof text, TRAIN_HEAD "stages: [%s]\n", bad[i].stage);
        assert_true(moa_recipe_parse(&r, text, (size_t)n, "t.yaml", &err) < 0);
        if (!strstr(err.text, bad[i].want)) fail_msg("'%s' does not say '%s'", err.text, bad[i].want);
    }
}

static void test_bad_lines(void **state) {
    (void)state;
    static const struct { const char *line, *want; } bad[] = {
        {"{\"prompt\": \"a\", \"chosen\": \"b\"}\n", ":1: expected {\"prompt\", \"chosen\", \"rejected\"}"}, {"{\"chosen\": \"b\", \"rejected\": \"c\"}\n", ":1: expected"},
        {"{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n{\"prompt\": 4, \"chosen\": \"b\", \"rejected\": \"c\"}\n", ":2: expected"}, {"{\"prompt\": \"a\", \"chosen\": [], \"rejected\": \"c\"}\n", "an assistant's turn"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b\"}]}\n", "expected {\"prompt\""}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char command[256];
        refuse_line(bad[i].line, bad[i].want);
        snprintf(command, sizeof command, "rm -rf %s/refused", train_root);
        assert_int_equal(system(command), 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_falls), cmocka_unit_test(test_resume), cmocka_unit_test(test_bad_lines), cmocka_unit_test(test_bad)};
    return cmocka_run_group_tests(tests, train_setup, train_teardown);
}
