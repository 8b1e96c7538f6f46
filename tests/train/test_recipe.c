/* test_recipe.c - recipes: good ones with their defaults, bad ones with message and line, the hash.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "train/recipe.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STAGE "stages:\n - name: a\n   steps: 10\n   data: [{family: all}]\n"

static void test_defaults(void **state) {
    (void)state;
    static const char text[] = "name: x\nmodel: {d_model: 64, n_head: 4}\n" STAGE;
    moa_err err = {0};
    moa_recipe *r;
    assert_int_equal(moa_recipe_parse(&r, text, sizeof text - 1, "x.yaml", &err), 0);
    assert_int_equal(r->seed, 1);
    assert_string_equal(r->model.arch, "llama");
    assert_int_equal(r->model.n_layer, 6);
    assert_int_equal(r->model.n_kv, 4);
    assert_int_equal(r->model.head_dim, 16);
    assert_int_equal(r->model.d_ff, 192);
    assert_true(r->model.tied);
    assert_string_equal(r->output.type, "Q8_0");
    assert_int_equal(r->stages_count, 1);
    assert_string_equal(r->stages[0].optimizer, "adamw");
    assert_int_equal(r->stages[0].batch_tokens, 8192);
    assert_int_equal(r->stages[0].line, 4);
    assert_int_equal(r->stages[0].data[0].line, 6);
    assert_int_equal(moa_recipe_total_tokens(r), 81920);
    moa_recipe_free(r);
}

static void test_bundled(void **state) {
    (void)state;
    glob_t found;
    assert_int_equal(glob("recipes/*.yaml", 0, NULL, &found), 0);
    assert_true(found.gl_pathc >= 2);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        moa_err err = {0};
        moa_recipe *r;
        if (moa_recipe_load(&r, found.gl_pathv[i], &err) < 0) fail_msg("%s", err.text);
        moa_recipe_free(r);
    }
    globfree(&found);
}

static const struct { const char *text, *want; } bad[] = {
    {"", "x.yaml:1: the recipe is empty"},
    {"- a\n", "x.yaml:1: Expecting MAPPING"},
    {"name: x\nmodel:\n  d_modell: 3\n" STAGE, "x.yaml:3: unknown key 'd_modell' in model (known: arch, n_layer"},
    {"name: x\nstages:\n - name: a\n   steps: 3\n   lrr: 1\n", "x.yaml:5: unknown key 'lrr' in stage (known: name, kind, loss"},
    {"name: x\nstages: [{name: a, steps: 3,\n  lrr: 1}]\n", "x.yaml:3: unknown key 'lrr' in stage"},
    {"name: x\nname: y\n" STAGE, "x.yaml:2: key 'name' stands twice in recipe, first on line 1"},
    {"name: x\nseed: -3\n" STAGE, "x.yaml:2: seed is -3, expected 0 to"},
    {"name: &n x\nabout: *n\n" STAGE, "x.yaml:2: aliases"},
    {"name: [x\n", "x.yaml:2: "},
    {"name: x\nname\n", "x.yaml:3: "},
    {"stages: []\n", "x.yaml:1: the recipe needs a name"},
    {"name: a/b\n" STAGE, "x.yaml:1: the recipe needs a name of letters"},
    {"name: x\n", "x.yaml:1: no stages"},
    {"name: x\nmodel: {n_head: 6, n_kv: 4}\n" STAGE, "x.yaml:2: n_head 6 is no multiple of n_kv 4"},
    {"name: x\nmodel:\n  n_layer: 0\n" STAGE, "x.yaml:3: n_layer is 0, expected 1 to 256"},
    {"name: x\nmodel:\n  arch: elman\n" STAGE, "x.yaml:3: unknown arch 'elman'"},
    {"name: x\nmodel:\n  d_model: many\n" STAGE, "x.yaml:3: Invalid INT value: 'many', as d_model"},
    {"name: x\nstages:\n - name: a\n   steps: 3\n   lr: nan\n   data: [{family: all}]\n", "x.yaml:5: lr is nan, expected 0 to 10"},
    {"name: x\nstages:\n - name: a\n   steps: 3\n   tokens: 1M\n   data: [{family: all}]\n", "x.yaml:3: stage 'a' needs either tokens or steps"},
    {"name: x\nstages:\n - name: a\n   data: [{family: all}]\n", "x.yaml:3: stage 'a' needs either tokens or steps"},
    {"name: x\nstages:\n - name: a\n   tokens: 4Q\n   data: [{family: all}]\n", "x.yaml:4: tokens: '4Q' is no count"},
    {"name: x\nstages:\n - name: a\n   steps: 3\n   batch_tokens: 100\n   data: [{family: all}]\n", "x.yaml:5: batch_tokens 100, expected 512"},
    {"name: x\nstages:\n - name: a\n   steps: 3\n   seq_len: 2048\n   data: [{family: all}]\n", "seq_len 2048 is beyond the model's n_ctx 1024"},
    {"name: x\nstages:\n - name: a\n   steps: 3\n   optimizer: sgd\n   data: [{family: all}]\n", "x.yaml:5: unknown optimizer 'sgd'"},
    {"name: x\nstages:\n - name: a\n   steps: 3\n   schedule: up\n   data: [{family: all}]\n", "x.yaml:5: unknown schedule 'up'"},
    {"name: x\nstages:\n - name: a\n   steps: 3\n   dtype: f8\n   data: [{family: all}]\n", "x.yaml:5: dtype 'f8', expected bf16 or f32"},
    {"name: x\nstages:\n - name: a\n   kind: dream\n   data: [{family: all}]\n", "x.yaml:4: Invalid ENUM value: dream, as kind (known: train, sample)"},
    {"name: x\nstages:\n - name: a\n   steps: 3\n   snapshots: [0.5, 2]\n   data: [{family: all}]\n", "x.yaml:5: snapshot 2"},
    {"name: x\nstages:\n - name: a\n   steps: 3\n", "x.yaml:3: stage 'a' has no data"},
    {"name: x\nstages:\n - name: a\n   steps: 3\n   data:\n    - weight: 3\n", "x.yaml:6: a data source has one of family, file, aggregate; this has 0"},
    {"name: x\nstages:\n - name: a\n   steps: 3\n   data:\n    - {family: all, file: f}\n", "this has 2"},
    {"name: x\nstages:\n - name: a\n   steps: 3\n   data:\n    - {family: nosuch}\n", "x.yaml:6: unknown family 'nosuch'"},
    {"name: x\nstages:\n - name: a\n   steps: 3\n   data:\n    - {family: all, weight: -1}\n", "x.yaml:6: weight is -1"},
    {"name: x\nstages:\n - name: a\n   steps: 3\n   data:\n    - {family: all, weight: 0}\n", "all weights of stage 'a' are zero"},
    {"name: x\nstages:\n - name: a\n   steps: 3\n   data:\n    - {family: all, levels: [0]}\n", "x.yaml:6: level 0"},
    {"name: x\nstages:\n - name: a\n   steps: 3\n   data:\n    - {family: all, target: best}\n", "x.yaml:6: Invalid ENUM value: best, as target (known: copy, list, answer, solution, rate, choose, compare, consistent, critique, revise)"},
    {"name: x\nlora: {rank: 4}\n" STAGE, "x.yaml:2: lora needs init.gguf, the model that it adapts"},
    {"name: x\ninit: {gguf: a}\nlora: {rank: 0}\n" STAGE, "x.yaml:3: rank is 0, expected 1 to 1024"},
    {"name: x\ninit: {gguf: a}\nlora: {rank: 4}\noutput: {type: Q8_0}\n" STAGE, "x.yaml:4: output type 'Q8_0': an adapter is written as F16, BF16 or F32"},
    {"name: x\nstages:\n - name: a\n   steps: 3\n   data:\n    - {aggregate: b}\n", "x.yaml:6: no sample stage 'b' before this one"},
    {"name: x\nstages:\n - name: a\n   kind: sample\n   lr: 1\n   data: [{family: all}]\n", "x.yaml:5: lr has no meaning in a sample stage"},
    {"name: x\nstages:\n - name: a\n   kind: sample\n   data: [{file: f}]\n", "a sample stage draws from families only"},
    {"name: x\nstages:\n - {name: a, steps: 1, data: [{family: all}]}\n - {name: a, steps: 1, data: [{family: all}]}\n", "x.yaml:4: a second stage named 'a'"},
    {"name: x\nstages:\n - name: a\n   steps: 3\n   lr: 1e-3\n   min_lr: 1e-2\n   data: [{family: all}]\n", "x.yaml:6: min_lr 0.01 is above lr 0.001"},
    {"name: x\nstages:\n - name: a\n   steps: 3\n   min_lr: 0.5\n   data: [{family: all}]\n", "x.yaml:5: min_lr 0.5 is above lr 0.001"},
    {"name: x\nstages:\n - name: a\n   steps: 30\n   warmup: 31\n   data: [{family: all}]\n", "x.yaml:5: warmup of 31 steps is longer than stage 'a' of 30"},
    {"name: x\nstages:\n - name: a\n   tokens: 16k\n   batch_tokens: 8k\n   warmup: 4\n   data: [{family: all}]\n", "x.yaml:6: warmup of 4 steps is longer than stage 'a' of 3"},
    {"name: x\nstages:\n - name: a\n   steps: 30\n   warmup: 1.5\n   data: [{family: all}]\n", "x.yaml:5: warmup 1.5, expected whole steps, or a share"},
    {"name: x\nstages:\n - name: a\n   steps: 3\n   data:\n    - {file: f, turns: 2}\n", "x.yaml:6: turns is for family sources; this one is 'file'"},
    {"name: x\nstages:\n - name: a\n   steps: 3\n   data:\n    - {aggregate: ./f.jsonl,\n       turns: 2}\n", "x.yaml:7: turns is for family sources; this one is 'aggregate'"},
    {"name: x\nstages:\n - name: a\n   kind: sample\n   data:\n    - {family: all, turns: 2}\n", "x.yaml:6: turns has no meaning in a sample stage"},
    {"name: x\nstages:\n - name: a\n   steps: 3\n   data:\n    - {family: all, turns: 0}\n", "x.yaml:6: turns is 0, expected 1 to 16"},
    {"name: x\nstages:\n - name: a\n   steps: 3\n   data:\n    - {family: all, turns: 17}\n", "x.yaml:6: turns is 17, expected 1 to 16"},
    {"name: x\nstages:\n - name: a\n   steps: 3\n   data:\n    - {family: all, k_max: 4}\n", "x.yaml:6: k_max is for aggregate sources; this one is 'family'"},
    {"name: x\nstages:\n - name: a\n   steps: 3\n   data:\n    - {file: f, levels: [1]}\n", "x.yaml:6: levels is for family sources; this one is 'file'"},
    {"name: x\nstages:\n - name: a\n   kind: sample\n   snapshots: [0.5]\n   data: [{family: all}]\n", "x.yaml:5: snapshots has no meaning in a sample stage"},
    {"name: x\ninit: {gguf: a, run: b}\n" STAGE, "init has gguf and run"},
    {"name: x\ninit: {gguf: a.gguf}\nmodel: {d_model: 64}\n" STAGE, "x.yaml:3: model has no meaning beside init.gguf: the shape is that of a.gguf"},
    {"name: x\ninit: {gguf: a.gguf}\ntokenizer:\n  items: 64\n" STAGE, "x.yaml:4: items has no meaning beside init.gguf, which gives the tokenizer"},
    {"name: x\ninit: {run: a}\ntokenizer: {n_vocab: 640}\n" STAGE, "x.yaml:3: n_vocab has no meaning beside init.run"},
    {"name: x\ntokenizer: {gguf: a.gguf, special: [<a>]}\n" STAGE, "x.yaml:2: special has no meaning beside tokenizer.gguf"},
    {"name: x\nstages:\n - name: a\n   steps: 3\n   momentum: 0.9\n   data: [{family: all}]\n", "x.yaml:5: momentum has no meaning for adamw"},
    {"name: x\nstages:\n - name: a\n   kind: sample\n   data: [{family: all, learn: all}]\n", "x.yaml:5: learn has no meaning in a sample stage"},
    {"name: x\nstages:\n - name: a\n   steps: 3\n   data: [{file: a.txt, learn: reply}]\n", "x.yaml:5: learn has no meaning for a.txt: all of a plain text is learned"},
    {"name: x\noutput: {type: Q9_9}\n" STAGE, "x.yaml:2: output type 'Q9_9' cannot be written"},
    {"name: x\na: [[[[[[[[[[[1]]]]]]]]]]]\n", "x.yaml:2: unknown key 'a'"},
    {"name: [[[[[[[[[[[1]]]]]]]]]]]\n", "x.yaml:1: nested too deeply"},
};

static void test_bad(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        moa_err err = {0};
        moa_recipe *r = NULL;
        int rc = moa_recipe_parse(&r, bad[i].text, strlen(bad[i].text), "x.yaml", &err);
        if (rc >= 0 || r || !strstr(err.text, bad[i].want)) fail_msg("case %zu: got '%s' (%d), expected '%s'", i, err.text, rc, bad[i].want);
    }
}

/* At the edge of what is refused: a rate that stays, a stage that is all warm-up, a share. */
static void test_edges(void **state) {
    (void)state;
    static const char *const good[] = {"lr: 0.5, min_lr: 0.5", "warmup: 30", "warmup: 1", "warmup: 0.999", "warmup: 0"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char text[256];
        snprintf(text, sizeof text, "name: x\nstages: [{name: a, steps: 30, %s, data: [{family: all, turns: 16}]}]\n", good[i]);
        moa_err err = {0};
        moa_recipe *r;
        if (moa_recipe_parse(&r, text, strlen(text), "x.yaml", &err) < 0) fail_msg("%s: %s", good[i], err.text);
        assert_int_equal(r->stages[0].data[0].turns, 16);
        moa_recipe_free(r);
    }
}

/* With init.gguf the context is that of the file, which is not known yet. */
static void test_init(void **state) {
    (void)state;
    static const char *const good[] = {"init: {gguf: a.gguf}\nstages: [{name: a, steps: 1, seq_len: 4096, batch_tokens: 8k, data: [{family: all}]}]\n",
                                       "init: {gguf: a.gguf}\ntokenizer: {gguf: b.gguf}\n" STAGE, "init: {run: a}\nmodel: {d_model: 64}\n" STAGE,
                                       "stages: [{name: a, steps: 1, momentum: 0.9, optimizer: muon, data: [{file: a.jsonl, learn: all}]}]\n"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char text[256];
        moa_err err = {0};
        moa_recipe *r;
        snprintf(text, sizeof text, "name: x\n%s", good[i]);
        if (moa_recipe_parse(&r, text, strlen(text), "x.yaml", &err) < 0) fail_msg("%s: %s", good[i], err.text);
        moa_recipe_free(r);
    }
}

static uint64_t hash_of(const char *text) {
    moa_err err = {0};
    moa_recipe *r;
    if (moa_recipe_parse(&r, text, strlen(text), "x.yaml", &err) < 0) fail_msg("%s", err.text);
    uint64_t h = r->hash;
    moa_recipe_free(r);
    return h;
}

static void test_hash(void **state) {
    (void)state;
    uint64_t a = hash_of("name: x\nseed: 1\n" STAGE);
    assert_true(a == hash_of("# a comment\nseed: 1\nname: y\n" STAGE));
    assert_true(a == hash_of("name: x\noutput: {type: F32}\n" STAGE));
    assert_true(a != hash_of("name: x\nseed: 2\n" STAGE));
    assert_true(a != hash_of("name: x\nmodel: {d_model: 128}\n" STAGE));
    assert_true(a != hash_of("name: x\nstages:\n - name: a\n   steps: 10\n   data: [{family: all, turns: 2}]\n"));
    assert_true(a != hash_of("name: x\nstages:\n - name: a\n   steps: 11\n   data: [{family: all}]\n"));
}

static void test_targets(void **state) {
    (void)state;
    static const struct { const char *name; moa_agg_target want; } t[] = {
        {"copy", MOA_AGG_COPY}, {"list", MOA_AGG_LIST}, {"answer", MOA_AGG_ANSWER}, {"solution", MOA_AGG_SOLUTION}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        char text[256];
        snprintf(text, sizeof text, "name: x\nstages:\n - name: a\n   steps: 3\n   data:\n    - {aggregate: ./f.jsonl, target: %s}\n", t[i].name);
        moa_err err = {0};
        moa_recipe *r;
        if (moa_recipe_parse(&r, text, strlen(text), "x.yaml", &err) < 0) fail_msg("%s", err.text);
        assert_int_equal(r->stages[0].data[0].target, t[i].want);
        moa_recipe_free(r);
    }
}

static void test_count(void **state) {
    (void)state;
    static const struct { const char *s; int64_t want; } good[] = {{"40M", 40000000}, {"16k", 16000}, {"1.5B", 1500000000}, {"4096", 4096}};
    static const char *const wrong[] = {"", "k", "-3", "0", "1e99", "12kk", "3 k", "nan", "inf", ".5"};
    int64_t v;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(moa_count_parse(&v, good[i].s, NULL), 0);
        assert_int_equal(v, good[i].want);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (moa_count_parse(&v, wrong[i], NULL) >= 0) fail_msg("'%s' was taken for a count", wrong[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults), cmocka_unit_test(test_bundled), cmocka_unit_test(test_bad),
        cmocka_unit_test(test_hash),     cmocka_unit_test(test_count),   cmocka_unit_test(test_targets),
        cmocka_unit_test(test_edges),    cmocka_unit_test(test_init),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
