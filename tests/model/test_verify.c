/* test_verify.c - moa verify on a small model of each kind (dense, experts, windows, sinks, latent), and on products that are spoilt: a
 * difference in one bit of one row is found, with the row and the product named.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "model/verify.h"
#include "model/support.h"

typedef struct seen { int n, bad; int64_t rows; moa_verify_check last_bad; } seen;

static void note(void *ctx, const moa_verify_check *c) {
    seen *s = ctx;
    s->n++;
    s->rows += c->rows;
    if (c->exact) return;
    s->bad++;
    s->last_bad = *c;
}

static void test_holds(void **state) {
    (void)state;
    static const char *const names[] = {"llama", "qwen3moe", "gemma3", "gpt-oss", "deepseek2"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const moa_arch *a = moa_arch_find(names[i], strlen(names[i]));
        assert_non_null(a);
        moa_model *m = arch_model(a, 30 + i);
        const moa_verify_cfg cfg = {.n_threads = 2, .quick = true, .seed = 3 + i};
        seen s = {0};
        moa_err err = {0};
        const int rc = moa_verify(m, &cfg, note, &s, &err);
        if (rc) fail_msg("%s: %d %s; %s: %s", names[i], rc, err.text, s.last_bad.what, s.last_bad.first);
        assert_true(s.n >= 16 && s.bad == 0 && s.rows > 1000);
        moa_model_close(m);
    }
}

typedef struct spoiler { const moa_tensor *w; int from; } spoiler;

/* The last bit of one number of one row, in steps of at least `from` rows. */
static void spoil(void *ctx, const moa_tensor *w, const moa_tensor *in, moa_tensor *out) {
    const spoiler *s = ctx;
    (void)in;
    if (w != s->w || moa_rows(out) < s->from) return;
    float *x = (float *)out->data + (s->from - 1) * moa_cols(out) + 1;
    *x = nextafterf(*x, 1e30f);
}

static void test_finds(void **state) {
    (void)state;
    moa_model *m = arch_model(moa_arch_find("qwen3moe", 8), 8);
    const struct { moa_tensor *w; int from; const char *batch; } cases[] = {{m->layer[1].o.w, 3, "first product that differs: blk.1.attn_output.weight"},
                                                                           {m->out.w, 2, "first product that differs: "}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        spoiler sp = {cases[i].w, cases[i].from};
        const moa_verify_cfg cfg = {.n_threads = 1, .quick = true, .seed = 1, .spoil = spoil, .spoil_ctx = &sp};
        seen s = {0};
        moa_err err = {0};
        assert_int_equal(moa_verify(m, &cfg, note, &s, &err), 1);
        assert_true(s.bad > 0);
        if (!strstr(s.last_bad.first, cases[i].batch) || !strstr(s.last_bad.first, "position")) fail_msg("says: %s", s.last_bad.first);
    }
    moa_model_close(m);
}

/* Every second step of 12 rows: of the two instruction sets that are compared, the first. */
typedef struct one_isa { const moa_tensor *w; int n; } one_isa;
static void spoil_first(void *ctx, const moa_tensor *w, const moa_tensor *in, moa_tensor *out) {
    one_isa *s = ctx;
    (void)in;
    if (w != s->w || moa_rows(out) != 12 || s->n++ % 2) return;
    float *x = (float *)out->data + 4 * moa_cols(out) + 1;
    *x = nextafterf(*x, 1e30f);
}

typedef struct isas { int n; moa_verify_check bad; } isas;
static void note_isa(void *ctx, const moa_verify_check *c) {
    isas *s = ctx;
    s->n += c->isa < MOA_ISA_COUNT;
    if (c->isa < MOA_ISA_COUNT && !c->exact) s->bad = *c;
}

static void test_finds_isa(void **state) {
    (void)state;
    moa_model *m = arch_model(moa_arch_find("llama", 5), 8);
    one_isa sp = {.w = m->layer[1].o.w};
    const moa_verify_cfg cfg = {.n_threads = 1, .quick = true, .seed = 1, .spoil = spoil_first, .spoil_ctx = &sp};
    isas s = {0};
    moa_err err = {0};
    const moa_kernels *k;
    const int rc = moa_verify(m, &cfg, note_isa, &s, &err);
    OK(moa_kernels_default(&k, &err));
    if (k->isa > MOA_ISA_REF) {
        assert_int_equal(rc, 1);
        assert_int_equal(s.n, 2 * (int)k->isa); /* each lower one, in both modes */
        if (!strstr(s.bad.what, " against ") || !strstr(s.bad.first, "row 4 of 12") || !strstr(s.bad.first, "blk.1.attn_output.weight"))
            fail_msg("says: %s: %s", s.bad.what, s.bad.first);
    }
    moa_model_close(m);
}

/* Time is up after some checks, or before the first; who looks on is told how many there are. */
typedef struct looking { seen s; int planned, most; bool rows; } looking;
static void look_done(void *ctx, const moa_verify_check *c) { note(&((looking *)ctx)->s, c); }
static void look(void *ctx, const char *what, int64_t rows, int done, int planned) {
    looking *l = ctx;
    assert_true(what[0] && done == l->s.n && done < planned && (!l->planned || planned == l->planned));
    l->planned = planned, l->rows |= rows > 0;
}

static void test_time(void **state) {
    (void)state;
    moa_model *m = arch_model(moa_arch_find("llama", 5), 8);
    moa_verify_cfg cfg = {.n_threads = 1, .quick = true, .seed = 1, .progress = look};
    looking all = {0}, some = {0}, none = {0};
    moa_err err = {0};
    const double t0 = moa_now();
    assert_int_equal(moa_verify(m, &cfg, look_done, &all, &err), 0);
    const double took = moa_now() - t0;
    assert_true(all.s.n == all.planned && all.rows);
    cfg.seconds = took / 2;
    const int rc = moa_verify(m, &cfg, look_done, &some, &err);
    if (rc != MOA_ELIMIT) assert_true(rc == (some.s.n < all.planned ? MOA_VERIFY_STOPPED : 0) && some.s.n > 0 && some.planned == all.planned); /* the machine may stand still */
    cfg.seconds = 1e-9;
    assert_int_equal(moa_verify(m, &cfg, look_done, &none, &err), MOA_ELIMIT);
    assert_non_null(strstr(err.text, "no check was done"));
    assert_int_equal(none.s.n, 0);
    moa_model_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_time), cmocka_unit_test(test_holds), cmocka_unit_test(test_finds), cmocka_unit_test(test_finds_isa)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
