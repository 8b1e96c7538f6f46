/* test_dtype.c - dtype: bf16 on a CPU without bf16 products: the run says so once and trains in f32, to the same bits as dtype:
 * f32. A program of its own, since oneDNN reads its limit from the environment once.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tensor/dense.h"
#include "train/train.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char root[64];

typedef struct seen { int notes; double loss; char note[512]; } seen;
static void watch(void *ctx, const moa_train_event *e) {
    seen *s = ctx;
    if (e->kind == MOA_TRAIN_STEP) s->loss = e->loss;
    if (e->kind != MOA_TRAIN_NOTE || !strstr(e->text, "bf16")) return;
    s->notes++;
    snprintf(s->note, sizeof s->note, "%s", e->text);
}

static seen train(const char *name, const char *optimizer, const char *dtype) {
    char text[1024], dir[128];
    moa_err err = {0};
    moa_recipe *r;
    moa_train_result res;
    seen s = {0};
    snprintf(dir, sizeof dir, "%s/%s", root, name);
    int n = snprintf(text, sizeof text,
                     "name: t\nmodel: {n_layer: 1, d_model: 32, n_head: 2, d_ff: 64, n_ctx: 256}\ntokenizer: {n_vocab: 300, items: 50}\n"
                     "stages:\n - {name: a, steps: 2, batch_tokens: 512, seq_len: 128, optimizer: %s, %s data: [{family: arithmetic}]}\n"
                     " - {name: b, steps: 2, batch_tokens: 512, seq_len: 128, optimizer: %s, %s data: [{family: arithmetic}]}\n",
                     optimizer, dtype, optimizer, dtype);
    if (moa_recipe_parse(&r, text, (size_t)n, "t.yaml", &err) < 0) fail_msg("%s", err.text);
    const moa_train_cfg cfg = {.dir = dir, .n_threads = 1, .report = watch, .ctx = &s};
    if (moa_train_run(&res, r, &cfg, &err) < 0) fail_msg("%s", err.text);
    moa_recipe_free(r);
    return s;
}

static void test_without_bf16(void **state) {
    (void)state;
    assert_false(moa_dense_has_bf16());
    static const char *const optimizers[] = {"adamw", "muon"};
    for (int i = 0; i < 2; i++) {
        char name[2][16];
        snprintf(name[0], sizeof name[0], "half%d", i);
        snprintf(name[1], sizeof name[1], "full%d", i);
        const seen half = train(name[0], optimizers[i], ""), full = train(name[1], optimizers[i], "dtype: f32,");
        assert_int_equal(half.notes, 1); /* not once a stage */
        assert_non_null(strstr(half.note, "this CPU has no bf16 products"));
        assert_non_null(strstr(half.note, "in f32"));
        assert_int_equal(full.notes, 0);
        assert_true(half.loss == full.loss);
    }
}

static int setup(void **state) {
    (void)state;
    snprintf(root, sizeof root, "/tmp/moa-test-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", root);
    return system(cmd);
}

int main(void) {
    setenv("ONEDNN_MAX_CPU_ISA", "AVX2", 1);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_without_bf16)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
