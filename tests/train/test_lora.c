/* test_lora.c - low-rank matrices beside a model that stays: what is learned is what the adapter's file does, runs resume, the critic's documents.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "adapt/adapt.h"
#include "support/training.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *base(void) {
    static char path[512];
    train_probe p = {0};
    if (*path) return path;
    train_ok("base", TRAIN_HEAD "stages: [{name: a, steps: 200, batch_tokens: 1024, seq_len: 256, lr: 2e-2, " TRAIN_DATA "}]\n", false, &p);
    snprintf(path, sizeof path, "%s", train_path("base", "t.gguf"));
    return path;
}

static const char *recipe(const char *rest) {
    static char text[4][3000];
    static int turn;
    char *t = text[turn++ % 4];
    snprintf(t, sizeof *text, "name: t\ninit: {gguf: %s}\noutput: {type: F32}\ncheckpoint: {steps: 5}\n%s", base(), rest);
    return t;
}

static char *reply(const char *adapter) {
    moa_mix *m;
    moa_err err = {0};
    char *out = NULL;
    const moa_mix_options o = {.model = base(), .adapter = &adapter, .n_adapter = adapter != NULL, .n_threads = 1};
    if (moa_mix_open(&m, "greedy:max-tokens=24", &o, &err) < 0) fail_msg("%s", err.text);
    const moa_message msg = {"user", "What is 3 + 4?"};
    if (moa_mix_reply(&out, m, &msg, 1, 1, NULL, NULL, NULL, &err) < 0) fail_msg("%s", err.text);
    moa_mix_close(m);
    return out;
}

/* One conversation is learned by heart through the matrices alone; the file, read as any adapter, gives it back. */
static void test_by_heart(void **state) {
    (void)state;
    char text[2000], data[512];
    moa_err err = {0};
    train_probe p = {0};
    static const char line[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"What is 3 + 4?\"}, {\"role\": \"assistant\", \"content\": \"99 99\\nAnswer: 99\"}]}\n";
    snprintf(data, sizeof data, "%s.jsonl", base());
    FILE *f = fopen(data, "w");
    assert_non_null(f);
    assert_true(fputs(line, f) >= 0);
    assert_int_equal(fclose(f), 0);
    snprintf(text, sizeof text, "lora: {rank: 8, alpha: 16}\nstages: [{name: a, steps: 300, batch_tokens: 256, seq_len: 128, lr: 2e-2, dtype: f32, data: [{file: %s}]}]\n", data);
    train_ok("heart", recipe(text), false, &p);
    if (!(p.last < 0.2 * p.first)) fail_msg("loss %g, then %g", p.first, p.last);
    char *path = strdup(train_path("heart", "t.gguf")), *with = reply(path), *without = reply(NULL);
    assert_string_equal(with, "99 99\nAnswer: 99");
    assert_string_not_equal(without, with);
    moa_adapter *a;
    if (moa_adapter_open(&a, path, &err) < 0) fail_msg("%s", err.text);
    assert_int_equal(a->n, 7); /* a layer's linears: four of attention, three of the feed-forward */
    for (int i = 0; i < a->n; i++) {
        assert_int_equal(a->lora[i].rank, 8);
        assert_true(a->lora[i].scale == 2);
    }
    moa_adapter_close(a);
    free(path);
    free(with);
    free(without);
}

/* Sampling by the model with what it has learned so far, judgements of these samples; a stop changes nothing. */
static void test_judge(void **state) {
    (void)state;
    moa_err err;
    static const char rest[] =
        "lora: {rank: 4}\nstages:\n - {name: s, kind: sample, items: 12, samples: 4, max_tokens: 24, " TRAIN_DATA "}\n"
        " - name: j\n   steps: 9\n   batch_tokens: 512\n   seq_len: 256\n   lr: 1e-2\n   data:\n"
        "    - {aggregate: s, target: rate}\n    - {aggregate: s, target: compare}\n    - {aggregate: s, target: choose, k_min: 2, k_max: 3}\n"
        "    - {aggregate: s, target: consistent, k_max: 3}\n    - {aggregate: s, target: critique, k_max: 3}\n    - {aggregate: s, target: revise, k_max: 3}\n"
        " - {name: again, kind: sample, items: 3, samples: 2, max_tokens: 24, " TRAIN_DATA "}\n";
    train_probe p = {0}, q = {.stop_at = 7}, r = {0};
    train_ok("judge", recipe(rest), false, &p);
    assert_int_equal(p.steps, 9);
    assert_int_equal(train_in("judge2", recipe(rest), &q, false, 1, &err), MOA_ECANCELED);
    train_ok("judge2", recipe(rest), true, &r);
    train_same_file("judge", "judge2", "t.gguf");
    train_same_file("judge", "judge2", "samples-again.jsonl");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_by_heart), cmocka_unit_test(test_judge)};
    return cmocka_run_group_tests(tests, train_setup, train_teardown);
}
