/* test_adapted.c - adapters behind mixtures: a local backend changes them between calls, a mix has them from its options or takes others
 * while it is open; what is refused changes nothing; a context that is asked for holds.
 * SPDX-License-Identifier: Apache-2.0 */
#include "adapt/adapt.h"
#include "agent/mix.h"
#include "base/buf.h"
#include "support/scripted.h"
#include "support/tinymodel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define OK(expr)                                                                                                       \
    do {                                                                                                               \
        const int ok_rc_ = (expr);                                                                                     \
        if (ok_rc_ < 0) fail_msg("%s: %d %s (%s)", #expr, ok_rc_, err.text, err.hint);                                 \
    } while (0)

static char dir[] = "/tmp/moa-adapted-XXXXXX", model[256], other[300], lora[64], second[64];
static const char *const one[] = {lora}, *const two[] = {lora, second}, *const none[] = {"/nowhere/lora"};
static const moa_message question[] = {{"user", "Tom has 12 apples. How many has he?"}};

/* Matrices of other shapes: what fits the small model does not fit this one. */
static int write_other(moa_err *err) {
    const moa_hparams h = {.n_vocab = 384, .n_ctx = 512, .d_model = 32, .n_layer = 2, .n_head = 2, .n_kv = 2, .head_dim = 16, .d_ff = 48};
    moa_gguf *meta = NULL;
    moa_model *m = NULL;
    int rc = moa_gguf_open(&meta, model, err);
    if (rc >= 0) rc = moa_model_make(&m, "llama", &h, meta, 1, err);
    if (rc >= 0) rc = moa_model_save(m, other, MOA_F32, NULL, err);
    moa_model_close(m);
    moa_gguf_close(meta);
    return rc;
}

static int setup(void **state) {
    (void)state;
    moa_err err = {0};
    if (!mkdtemp(dir)) return -1;
    snprintf(lora, sizeof lora, "%s/lora", dir);
    snprintf(second, sizeof second, "%s/second", dir);
    snprintf(other, sizeof other, "%s/other.gguf", dir);
    if (tinymodel_write(model, sizeof model, 3, &err) >= 0 && tinymodel_write_lora(lora, 1, &err) >= 0 && tinymodel_write_lora(second, 2, &err) >= 0 && write_other(&err) >= 0)
        return 0;
    fprintf(stderr, "%s\n", err.text);
    return -1;
}

static int teardown(void **state) {
    (void)state;
    char cmd[128];
    unlink(model);
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", dir);
    return system(cmd);
}

/* ---- a backend ---- */

static moa_backend *open_model(void) {
    moa_backend *b;
    moa_err err = {0};
    moa_session_cfg cfg = moa_session_defaults();
    cfg.n_threads = 1;
    OK(moa_backend_local_open(&b, model, &cfg, &err));
    return b;
}

static int adapt(moa_backend *b, const char *const *spec, int n, moa_err *err) {
    moa_adapters *a;
    MOA_TRY(moa_backend_local_adapters(&a, b, spec, n, 1, err));
    const int rc = moa_backend_local_adapt(b, a, err);
    if (rc < 0) moa_adapters_close(a);
    return rc;
}

static char *reply(moa_backend *b, int64_t *reused) {
    moa_err err = {0};
    moa_call c = {.msg = question, .n_msg = 1, .sampling = moa_sampling_defaults(), .max_tokens = 24};
    OK(moa_backend_complete(b, &c, 1, NULL, NULL, &err));
    char *text = strdup(c.res.text);
    if (reused) *reused = c.res.n_reused;
    moa_gen_res_deinit(&c.res);
    return text;
}

static void assert_says(moa_backend *b, const char *text) {
    char *got = reply(b, NULL);
    assert_string_equal(got, text);
    free(got);
}

static void test_backend(void **state) {
    (void)state;
    moa_err err = {0};
    moa_backend *b = open_model();
    int64_t reused;
    const uint64_t bare = b->fingerprint;
    char *plain = reply(b, NULL);
    OK(adapt(b, one, 1, &err));
    const uint64_t with_one = b->fingerprint;
    char *tuned = reply(b, &reused);
    assert_string_not_equal(tuned, plain);
    assert_int_equal(reused, 0); /* what was computed without it is of no use */
    OK(adapt(b, two, 2, &err));
    char *both = reply(b, NULL);
    assert_string_not_equal(both, tuned);
    assert_true(bare != with_one && with_one != b->fingerprint && b->fingerprint != bare); /* a journal keeps them apart */
    OK(adapt(b, one, 1, &err));
    assert_true(b->fingerprint == with_one);
    char *again = reply(b, &reused);
    assert_string_equal(again, tuned);
    assert_true(reused > 0); /* opened anew, it is the same adapter */
    /* What cannot be had changes nothing. */
    assert_int_equal(adapt(b, none, 1, &err), MOA_ENOTFOUND);
    assert_non_null(strstr(err.text, "/nowhere/lora"));
    assert_says(b, tuned);
    OK(adapt(b, NULL, 0, &err));
    assert_true(b->fingerprint == bare);
    assert_says(b, plain);
    free(plain), free(tuned), free(both), free(again);
    moa_backend_close(b);
}

static void test_wrong_place(void **state) {
    (void)state;
    moa_err err = {0};
    moa_backend *a = open_model(), *b = open_model();
    scripted s;
    moa_adapters *of_a;
    OK(moa_backend_local_adapters(&of_a, a, one, 1, 1, &err));
    char *plain = reply(b, NULL);
    assert_int_equal(moa_backend_local_adapt(b, of_a, &err), MOA_EINVAL); /* the same file, but another model: factors and places are not b's */
    assert_non_null(strstr(err.text, "another model"));
    assert_says(b, plain);
    OK(moa_backend_local_adapt(a, of_a, &err));
    scripted_init(&s, "elsewhere", NULL);
    assert_int_equal(moa_backend_local_adapters(&of_a, &s.base, one, 1, 1, &err), MOA_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "elsewhere"));
    assert_int_equal(moa_backend_local_adapt(&s.base, NULL, &err), MOA_EUNSUPPORTED);
    scripted_deinit(&s);
    free(plain);
    moa_backend_close(a);
    moa_backend_close(b);
}

/* ---- a mix, as a program that uses the library has it ---- */

static moa_mix *open_mix(const char *spec, const moa_mix_options *opt) {
    moa_mix *m = NULL;
    moa_err err = {0};
    OK(moa_mix_open(&m, spec, opt, &err));
    return m;
}

static char *answer(moa_mix *m) {
    char *a = NULL;
    moa_err err = {0};
    OK(moa_mix_reply(&a, m, question, 1, 7, NULL, NULL, NULL, &err));
    return a;
}

static void assert_answers(moa_mix *m, const char *text) {
    char *got = answer(m);
    assert_string_equal(got, text);
    free(got);
}

static void test_mix(void **state) {
    (void)state;
    static const char spec[] = "self-moa:n=2,max-tokens=20";
    char half[80];
    const char *const weak[] = {half};
    moa_err err = {0};
    snprintf(half, sizeof half, "%s:0.5", lora);
    moa_mix *bare = open_mix(spec, &(moa_mix_options){.model = model, .n_threads = 1});
    moa_mix *with = open_mix(spec, &(moa_mix_options){.model = model, .n_threads = 1, .adapter = one, .n_adapter = 1});
    char *plain = answer(bare), *tuned = answer(with);
    assert_string_not_equal(plain, tuned);
    OK(moa_mix_adapt(bare, one, 1, &err));
    assert_answers(bare, tuned);
    OK(moa_mix_adapt(bare, weak, 1, &err));
    char *less = answer(bare);
    assert_string_not_equal(less, tuned);
    assert_string_not_equal(less, plain);
    OK(moa_mix_adapt(bare, NULL, 0, &err));
    assert_answers(bare, plain);
    assert_int_equal(moa_mix_adapt(with, none, 1, &err), MOA_ENOTFOUND);
    assert_int_equal(moa_mix_adapt(with, NULL, -1, &err), MOA_EINVAL);
    assert_answers(with, tuned);
    free(plain), free(tuned), free(less);
    moa_mix_close(bare);
    moa_mix_close(with);
}

/* MODEL@ADAPTER is a model of its own beside the bare one, and keeps its adapter when the mix takes others. */
static void test_own(void **state) {
    (void)state;
    char spec[1200], beside[400];
    moa_err err = {0};
    moa_adapter *a;
    moa_model *m;
    OK(moa_adapter_open(&a, lora, &err));
    OK(moa_model_open(&m, model, &err));
    snprintf(beside, sizeof beside, "%.*s.critic.gguf", (int)(strlen(model) - strlen(".gguf")), model);
    OK(moa_adapter_write_gguf(a, m, beside, &err)); /* the same by a word */
    moa_adapter_close(a);
    moa_model_close(m);
    moa_mix *with = open_mix("greedy:max-tokens=20", &(moa_mix_options){.model = model, .n_threads = 1, .adapter = one, .n_adapter = 1});
    moa_mix *bare = open_mix("greedy:max-tokens=20", &(moa_mix_options){.model = model, .n_threads = 1});
    char *tuned = answer(with), *plain = answer(bare);
    const char *const name[] = {lora, "critic"};
    for (int i = 0; i < 2; i++) {
        snprintf(spec, sizeof spec, "greedy:max-tokens=20,proposers=%s@%s", model, name[i]);
        moa_mix *own = open_mix(spec, &(moa_mix_options){.n_threads = 1});
        assert_answers(own, tuned);
        OK(moa_mix_adapt(own, (const char *const[]){second}, 1, &err));
        char *both = answer(own);
        OK(moa_mix_adapt(with, two, 2, &err));
        assert_answers(with, both);
        OK(moa_mix_adapt(own, NULL, 0, &err));
        assert_answers(own, tuned);
        free(both);
        moa_mix_close(own);
        OK(moa_mix_adapt(with, one, 1, &err));
    }
    snprintf(spec, sizeof spec, "moa:n=2,layers=1,max-tokens=20,proposers=%s@critic+%s", model, model); /* one file, two models */
    moa_mix *two_of = open_mix(spec, &(moa_mix_options){.n_threads = 1}), *out;
    moa_mix_close(two_of);
    snprintf(spec, sizeof spec, "greedy:proposers=%s@nobody", model);
    assert_int_equal(moa_mix_open(&out, spec, &(moa_mix_options){.n_threads = 1}, &err), MOA_ENOTFOUND);
    assert_non_null(strstr(err.text, ".nobody.gguf"));
    unlink(beside);
    free(tuned), free(plain);
    moa_mix_close(with);
    moa_mix_close(bare);
}

/* Of two models one has no place for the adapter: neither takes it, whichever comes first. */
static void test_all_or_none(void **state) {
    (void)state;
    moa_err err = {0};
    for (int turn = 0; turn < 2; turn++) {
        char spec[700];
        snprintf(spec, sizeof spec, "moa:layers=1,max-tokens=16,proposers=%s+%s", turn ? other : model, turn ? model : other);
        moa_mix *m = open_mix(spec, &(moa_mix_options){.n_threads = 1}), *out;
        char *plain = answer(m);
        assert_true(moa_mix_adapt(m, one, 1, &err) < 0);
        assert_non_null(strstr(err.text, "other.gguf"));
        assert_answers(m, plain);
        free(plain);
        moa_mix_close(m);
        assert_true(moa_mix_open(&out, spec, &(moa_mix_options){.n_threads = 1, .adapter = one, .n_adapter = 1}, &err) < 0);
        assert_null(out);
    }
}

static void test_options(void **state) {
    (void)state;
    static const struct { moa_mix_options o; int rc; const char *says; } bad[] = {
        {{.model = model, .n_threads = -1}, MOA_EINVAL, "n_threads -1"}, {{.model = model, .n_threads = 2000}, MOA_EINVAL, "n_threads 2000"},
        {{.model = model, .n_ctx = -1}, MOA_EINVAL, "n_ctx -1"},         {{.model = model, .n_adapter = -1}, MOA_EINVAL, "n_adapter -1"},
        {{.n_threads = 1}, MOA_EINVAL, "no model"},                      {{.model = "/nowhere.gguf"}, MOA_ENOTFOUND, "/nowhere.gguf"}};
    moa_err err = {0};
    moa_mix *m;
    char *a = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(moa_mix_open(&m, "single", &bad[i].o, &err), bad[i].rc);
        assert_null(m);
        if (!strstr(err.text, bad[i].says)) fail_msg("no '%s' in: %s", bad[i].says, err.text);
    }
    m = open_mix("single:max-tokens=200", &(moa_mix_options){.model = model, .n_threads = 1, .n_ctx = 96});
    moa_mix_usage u;
    OK(moa_mix_reply(&a, m, question, 1, 7, NULL, NULL, &u, &err));
    assert_int_equal(u.prompt_tokens + u.completion_tokens, 96);
    free(a);
    moa_buf b;
    moa_buf_init(&b, 1 << 16);
    for (int i = 0; i < 100; i++) moa_buf_adds(&b, "word ");
    assert_int_equal(moa_mix_reply(&a, m, &(moa_message){"user", moa_buf_str(&b)}, 1, 7, NULL, NULL, NULL, &err), MOA_ELIMIT);
    assert_non_null(strstr(err.text, "96"));
    moa_buf_deinit(&b);
    moa_mix_close(m);
}

/* ---- a session: moa.h, section 3 ---- */

static void test_session(void **state) {
    (void)state;
    moa_err err = {0};
    moa_model *m, *same;
    moa_session *s;
    moa_adapters *a;
    float kept[2];
    OK(moa_model_open(&m, model, &err));
    OK(moa_model_open(&same, model, &err));
    OK(moa_session_open(&s, m, 128, 4, 1, &err));
    assert_int_equal(moa_adapters_open(&a, m, one, 0, 1, &err), MOA_EINVAL);
    assert_int_equal(moa_adapters_open(&a, m, one, 1, -1, &err), MOA_EINVAL);
    OK(moa_adapters_open(&a, same, one, 1, 1, &err));
    assert_int_equal(moa_session_use(s, a, &err), MOA_EINVAL);
    moa_adapters_close(a);
    OK(moa_adapters_open(&a, m, one, 1, 1, &err));
    for (int i = 0; i < 3; i++) { /* without, with, without */
        OK(moa_session_use(s, i == 1 ? a : NULL, &err));
        const int q = moa_seq_new(s, &err);
        OK(moa_session_step(s, (moa_row[]){{q, 40, false}, {q, 41, true}}, 2, &err));
        const float *l = moa_session_logits(s, 1);
        if (i == 0) kept[0] = l[5], kept[1] = l[99];
        else assert_true((l[5] == kept[0] && l[99] == kept[1]) == (i == 2));
    }
    moa_session_free(s);
    moa_adapters_close(a);
    moa_adapters_close(NULL);
    moa_model_close(m);
    moa_model_close(same);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_backend), cmocka_unit_test(test_wrong_place), cmocka_unit_test(test_mix), cmocka_unit_test(test_own),
                                       cmocka_unit_test(test_all_or_none), cmocka_unit_test(test_options), cmocka_unit_test(test_session)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
