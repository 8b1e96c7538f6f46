/* test_checkpoint.c - checkpoints as hostile files: counters that the recipe cannot have, another optimiser's states, a file that
 * ends anywhere. That whole runs go on from them bit for bit is the matter of test_train.c.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "train/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64], slot[2][96];
static moa_recipe *recipe;
static const moa_inputs none, three = {.n = 3, .hash = {0x1234567890abcdefull, 0, 5}};

static const char text[] = "name: t\nstages:\n - {name: a, steps: 10, data: [{family: all}]}\n"
                           " - {name: s, kind: sample, data: [{family: all}]}\n - {name: b, steps: 5, data: [{family: all}]}\n";

static int setup(void **state) {
    (void)state;
    moa_err err = {0};
    snprintf(dir, sizeof dir, "/tmp/moa-test-XXXXXX");
    if (!mkdtemp(dir)) return -1;
    for (int i = 0; i < 2; i++) snprintf(slot[i], sizeof slot[i], "%s/checkpoint-%d.moa", dir, i);
    return moa_recipe_parse(&recipe, text, sizeof text - 1, "t.yaml", &err);
}

static int teardown(void **state) {
    (void)state;
    moa_checkpoint_remove(dir);
    moa_recipe_free(recipe);
    return rmdir(dir);
}

static void test_counters(void **state) {
    (void)state;
    static const struct { moa_progress p; bool ok; } at[] = {
        {{.stage = 0, .step = 0}, true},  {{.stage = 0, .step = 10}, true}, {{.stage = 1}, true},         {{.stage = 3}, true},
        {{.stage = 0, .step = 11}, false}, {{.stage = 2, .step = 6}, false}, {{.stage = 1, .step = 1}, false}, /* no steps in a sample stage */
        {{.stage = 3, .step = 1}, false}, {{.stage = 4}, false},            {{.stage = -1}, false},       {{.step = -1}, false},
        {{.log_bytes = -1}, false},       {{.updates = -1}, false},         {{.total_step = -1}, false},  {{.pack.n_waiting = MOA_WAITING_MAX + 1}, false},
    };
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        moa_progress p;
        moa_err err = {0};
        moa_checkpoint_remove(dir);
        assert_int_equal(moa_checkpoint_save(dir, recipe, &at[i].p, &none, NULL, 0, &err), 0);
        const int rc = moa_checkpoint_peek(&p, NULL, dir, recipe, &err, NULL);
        if (rc != (at[i].ok ? 0 : MOA_EFORMAT)) fail_msg("case %zu: %d %s", i, rc, err.text);
    }
}

typedef struct weights { float w[12], s[2][12]; moa_tensor t; moa_optim_param p; } weights;
static void make(weights *m, int n_state, float value) {
    *m = (weights){.t = moa_view2(MOA_F32, NULL, 3, 4)};
    m->t.data = m->w;
    m->t.name = "w";
    m->p.w = &m->t;
    for (int i = 0; i < 12; i++) m->w[i] = value, m->s[0][i] = value + 1, m->s[1][i] = value + 2;
    for (int i = 0; i < n_state; i++) m->p.state[i] = m->s[i];
}

static void test_states(void **state) {
    (void)state;
    static weights from, to;
    moa_progress p = {.stage = 0, .step = 3, .total_step = 3};
    moa_err err = {0};
    moa_checkpoint_remove(dir);
    make(&from, 2, 5);
    assert_int_equal(moa_checkpoint_save(dir, recipe, &p, &none, &from.p, 1, &err), 0);
    make(&to, 2, 0);
    assert_int_equal(moa_checkpoint_load(&p, dir, recipe, &to.p, 1, &err), 0);
    assert_memory_equal(to.w, from.w, sizeof to.w);
    assert_memory_equal(to.s, from.s, sizeof to.s);
    make(&to, 1, 0); /* an optimiser that keeps something else must not go on from these */
    assert_int_equal(moa_checkpoint_load(&p, dir, recipe, &to.p, 1, &err), MOA_EINVAL);
    assert_non_null(strstr(err.text, "2 states of 'w', the optimiser keeps 1"));
    assert_int_equal(moa_checkpoint_weights(dir, &to.p, 1, &err), 0); /* init.run wants weights only */
    assert_memory_equal(to.w, from.w, sizeof to.w);
}

/* Cut anywhere: an error, and the other file is taken. */
static void test_cut(void **state) {
    (void)state;
    static weights m;
    moa_progress p = {.stage = 0, .step = 1, .total_step = 1}, q = {.stage = 0, .step = 2, .total_step = 2}, got;
    moa_inputs in;
    moa_err err = {0}, warn = {0};
    char *s;
    size_t n;
    moa_checkpoint_remove(dir);
    make(&m, 2, 5);
    assert_int_equal(moa_checkpoint_save(dir, recipe, &p, &none, &m.p, 1, &err), 0);
    assert_int_equal(moa_checkpoint_save(dir, recipe, &q, &three, &m.p, 1, &err), 0);
    assert_int_equal(moa_checkpoint_peek(&got, &in, dir, recipe, &err, &warn), 0);
    assert_int_equal(got.step, 2);
    assert_int_equal(in.n, 3);
    assert_memory_equal(in.hash, three.hash, 3 * sizeof *in.hash);
    assert_int_equal(warn.code, 0);
    assert_int_equal(moa_read_file(&s, &n, slot[1], 1 << 20, &err), 0);
    for (size_t len = 0; len < n; len++) {
        FILE *f = fopen(slot[1], "wb");
        assert_non_null(f);
        fwrite(s, 1, len, f);
        fclose(f);
        assert_int_equal(moa_checkpoint_peek(&got, &in, dir, recipe, &err, &warn), 0);
        assert_int_equal(got.step, 1);
        assert_int_equal(in.n, 0);
        assert_int_equal(warn.code, MOA_EFORMAT);
    }
    free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_counters), cmocka_unit_test(test_states), cmocka_unit_test(test_cut)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
