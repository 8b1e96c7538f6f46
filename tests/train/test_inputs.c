/* test_inputs.c - a run goes on only with the files that it began with, whatever they are named: one that has changed is refused
 * by its name, put back it is taken; one that nobody needs any more may be gone.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "support/tinymodel.h"
#include "support/training.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STAGE(data) "stages: [{name: a, steps: 4, batch_tokens: 512, seq_len: 128, data: [{" data "}]}]\n"
#define OWN "family: arithmetic, levels: [1]"

static void write_file(const char *name, const char *mode, const char *line, int n) {
    FILE *f = fopen(train_path(name, ""), mode);
    assert_non_null(f);
    for (int i = 0; i < n; i++) fprintf(f, line, i, i + 1);
    assert_int_equal(fclose(f), 0);
}

/* A byte of a file turned over: in the chat template, where it has one, else near the end; twice: as it was. */
static void spoil(const char *name) {
    char *s;
    size_t n;
    moa_err err = {0};
    if (moa_read_file(&s, &n, train_path(name, ""), 1 << 24, &err) < 0) fail_msg("%s", err.text);
    char *at = memmem(s, n, "_generation_prompt", 18);
    if (!at) at = s + n - 1;
    at[-1] ^= 1;
    FILE *f = fopen(train_path(name, ""), "wb");
    assert_true(f && fwrite(s, 1, n, f) == n && fclose(f) == 0);
    free(s);
}

static void expect(const char *run, const char *recipe, bool resume, int rc, const char *says) {
    train_probe p = {0};
    moa_err err;
    assert_int_equal(train_in(run, recipe, &p, resume, 1, &err), rc);
    if (!strstr(err.text, says)) fail_msg("no '%s' in: %s", says, err.text);
    assert_non_null(strstr(err.hint, "--fresh"));
    assert_int_equal(p.steps, 0);
}

static int setup(void **state) {
    static train_probe p;
    if (train_setup(state) < 0) return -1;
    write_file("a.txt", "w", "Line number %d of a plain text, before line %d.\n", 300);
    write_file("b.jsonl", "w", "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi %d\"},{\"role\":\"assistant\",\"content\":\"Hello %d.\"}]}\n", 40);
    write_file("c.jsonl", "w", "{\"question\":\"%d?\",\"solution\":\"Answer: %d\",\"candidates\":[\"Answer: 7\",\"Answer: 8\"],\"correct\":[true,false]}\n", 20);
    train_ok("base", TRAIN_HEAD STAGE(OWN), false, &p);
    char model[256];
    moa_err err = {0};
    if (tinymodel_write(model, sizeof model, 3, &err) < 0 || tinymodel_write_folder(train_path("hf", ""), model, &err) < 0) fail_msg("%s", err.text);
    return unlink(model);
}

/* Every kind of file that a recipe can name. */
static void test_changed(void **state) {
    (void)state;
    static const struct { const char *file, *recipe, *where; } cases[] = {
        {"a.txt", TRAIN_HEAD STAGE("file: %s"), "t.yaml:5: the file "},
        {"b.jsonl", TRAIN_HEAD STAGE("file: %s"), "t.yaml:5: the file "},
        {"c.jsonl", TRAIN_HEAD "stages: [{name: a, steps: 4, batch_tokens: 512, seq_len: 256,\n data: [{" OWN "},\n  {aggregate: %s, k_max: 2}]}]\n", "t.yaml:7: the file "},
        {"base/t.gguf", "name: t\noutput: {type: F32}\ninit: {gguf: %s}\n" STAGE(OWN), "t.yaml: the model "},
        {"base/tokenizer.gguf", "name: t\noutput: {type: F32}\n" TRAIN_MODEL "tokenizer: {gguf: %s}\n" STAGE(OWN), "t.yaml: the model "},
        {"hf", "name: t\noutput: {type: F32}\ninit: {gguf: %s}\n" STAGE(OWN), "t.yaml: the model "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char recipe[1024], cut[16], whole[16], says[256];
        train_probe w = {0}, p = {.stop_at = 2}, q = {0}, r = {0};
        moa_err err;
        const char *part = strcmp(cases[i].file, "hf") ? cases[i].file : "hf/model.safetensors";
        snprintf(cut, sizeof cut, "cut%zu", i);
        snprintf(whole, sizeof whole, "whole%zu", i);
        snprintf(says, sizeof says, "%s%s is not what it was when this run began", cases[i].where, train_path(cases[i].file, ""));
        snprintf(recipe, sizeof recipe, cases[i].recipe, train_path(cases[i].file, ""));
        train_ok(whole, recipe, false, &w);
        if (train_in(cut, recipe, &p, false, 1, &err) != MOA_ECANCELED) fail_msg("%s", err.text);
        spoil(part);
        expect(cut, recipe, true, MOA_EINVAL, says);
        expect(whole, recipe, false, MOA_EINVAL, says); /* "nothing to do" would not be true */
        spoil(part);
        train_ok(cut, recipe, true, &q);
        assert_int_equal(q.steps, 2);
        train_same_file(cut, whole, "t.gguf");
        train_ok(whole, recipe, false, &r);
        assert_int_equal(r.steps, 0);
    }
}

/* The run beside: trained anew it is another; gone it is needed no more. */
static void test_run_beside(void **state) {
    (void)state;
    static const char recipe[] = "name: t\noutput: {type: F32}\n" TRAIN_MODEL "init: {run: base}\n" STAGE(OWN);
    train_probe p = {.stop_at = 2}, q = {.stop_at = 1}, again = {.fresh = true}, r = {0};
    moa_err err;
    assert_int_equal(train_in("after", recipe, &p, false, 1, &err), MOA_ECANCELED);
    assert_int_equal(train_in("after", recipe, &q, true, 1, &err), MOA_ECANCELED);
    train_ok("base", "seed: 2\n" TRAIN_HEAD STAGE(OWN), false, &again);
    expect("after", recipe, true, MOA_EINVAL, "t.yaml: the run base is not what it was");
    for (int i = 0; i < 2; i++) unlink(train_path("base", i ? "checkpoint-1.moa" : "checkpoint-0.moa"));
    train_ok("after", recipe, true, &r);
    assert_int_equal(r.steps, 1);
}

#define TWO TRAIN_HEAD "stages:\n - {name: a, steps: 2, batch_tokens: 512, seq_len: 128, data: [{file: %s}]}\n" \
                       " - {name: b, steps: 2, batch_tokens: 512, seq_len: 128, data: [{file: %s}, {" OWN "}]}\n"

/* What only a finished stage has read may be gone, but not be another; what is still to be read must be there. */
static void test_gone(void **state) {
    (void)state;
    char recipe[1024], first[256], second[256];
    train_probe p = {.stop_at = 3}, q = {0}, r = {0};
    moa_err err;
    write_file("first.txt", "w", "Line number %d of a first text, before line %d.\n", 100);
    write_file("second.txt", "w", "Line number %d of a second text, before line %d.\n", 100);
    snprintf(first, sizeof first, "%s", train_path("first.txt", ""));
    snprintf(second, sizeof second, "%s", train_path("second.txt", ""));
    snprintf(recipe, sizeof recipe, TWO, first, second);
    assert_int_equal(train_in("gone", recipe, &p, false, 1, &err), MOA_ECANCELED);
    spoil("first.txt");
    expect("gone", recipe, true, MOA_EINVAL, "first.txt is not what it was");
    assert_int_equal(unlink(first), 0);
    assert_int_equal(rename(second, first), 0);
    assert_int_equal(train_in("gone", recipe, &q, true, 1, &err), MOA_EINVAL);
    assert_int_equal(rename(first, second), 0);
    train_ok("gone", recipe, true, &r);
    assert_int_equal(r.steps, 1);
}

static void change_second(void *ctx, int stage) {
    (void)ctx;
    if (stage == 1) write_file("second.txt", "a", "And %d more than %d.\n", 1);
}

/* Changed while the first stage was in work: the second does not begin with it. */
static void test_changed_under_way(void **state) {
    (void)state;
    char recipe[1024], second[256];
    train_probe p = {.at_stage = change_second};
    moa_err err;
    write_file("second.txt", "w", "Line number %d of a second text, before line %d.\n", 100);
    snprintf(second, sizeof second, "%s", train_path("second.txt", ""));
    snprintf(recipe, sizeof recipe, TWO, train_path("a.txt", ""), second);
    assert_int_equal(train_in("way", recipe, &p, false, 1, &err), MOA_EINVAL);
    assert_non_null(strstr(err.text, "t.yaml:7: the file "));
    assert_non_null(strstr(err.text, "second.txt is not what it was"));
    assert_int_equal(p.steps, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_changed), cmocka_unit_test(test_gone), cmocka_unit_test(test_changed_under_way),
                                       cmocka_unit_test(test_run_beside)};
    return cmocka_run_group_tests(tests, setup, train_teardown);
}
