/* test_shape.c - a model made in a published shape is read like any other, and texts of its tokens read back as these tokens.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "model/model.h"
#include "model/session.h"
#include "model/shape.h"
#include "support/scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_texts(void **state) {
    (void)state;
    enum { N = 400, FIRST_WORD = 259 + 26 + 1, VOCAB = 20000 };
    static const moa_shape s = {"small", "a small llama", "llama",
                                {.n_vocab = VOCAB, .n_ctx = 64, .d_model = 32, .n_layer = 1, .n_head = 2, .n_kv = 1, .head_dim = 16, .d_ff = 64}};
    char path[4096];
    moa_err err = {0};
    moa_model *m;
    moa_rng r;
    snprintf(path, sizeof path, "%s", scratch_path("shape", ".gguf"));
    if (moa_shape_write(&s, MOA_Q4_0, 1, path, &err) < 0 || moa_model_open(&m, path, &err) < 0) fail_msg("%s", err.text);
    int32_t ids[N];
    moa_ids got = {0};
    char text[N * 8];
    size_t len = 0;
    moa_rng_seed(&r, 3);
    for (int i = 0; i < N; i++) {
        ids[i] = FIRST_WORD + (int32_t)moa_rng_below(&r, VOCAB - FIRST_WORD);
        const moa_str t = moa_token_bytes(m->tok, ids[i], false);
        assert_true(t.n >= 2 && t.n <= 5 && t.p[0] == ' ');
        memcpy(text + len, t.p, t.n);
        len += t.n;
    }
    if (moa_tokenize(&got, m->tok, text + 1, len - 1, 0, &err) < 0) fail_msg("%s", err.text); /* the first space is the tokenizer's own */
    assert_int_equal(got.n, N);
    assert_memory_equal(got.v, ids, sizeof ids);
    moa_ids_deinit(&got);
    moa_model_close(m);
}

static size_t kv_bytes(const moa_model *m, bool usual, moa_dtype type, float logit[1]) {
    moa_session *s;
    moa_err err = {0};
    moa_session_cfg c = moa_session_defaults();
    c.n_ctx = 64, c.n_threads = 1, c.kv_usual = usual, c.kv_type = type;
    if (moa_session_new(&s, m, &c, &err) < 0) fail_msg("%s", err.text);
    const int seq = moa_seq_begin(s, 8, &err);
    for (int i = 0; i < 8; i++) assert_int_equal(moa_session_step(s, &(moa_row){seq, 300 + 31 * i, true}, 1, &err), 0);
    memcpy(logit, moa_session_logits(s, 0) + 400, sizeof *logit);
    const size_t n = moa_session_kv_bytes(s);
    moa_session_free(s);
    return n;
}

/* The usual type of the cache follows the model alone: f16 where its context is long, f32 where it is short. */
static void test_usual_cache(void **state) {
    (void)state;
    moa_err err = {0};
    for (int longer = 0; longer < 2; longer++) {
        char path[4096];
        moa_model *m = NULL;
        float usual, plain, half;
        const moa_shape s = {"small", "a small llama", "llama",
                             {.n_vocab = 1000, .n_ctx = longer ? 1 << 20 : 64, .d_model = 32, .n_layer = 1, .n_head = 2, .n_kv = 1, .head_dim = 16, .d_ff = 64}};
        snprintf(path, sizeof path, "%s", scratch_path("cache", ".gguf"));
        if (moa_shape_write(&s, MOA_Q4_0, 1, path, &err) < 0 || moa_model_open(&m, path, &err) < 0) fail_msg("%s", err.text);
        const size_t a = kv_bytes(m, true, MOA_F32, &usual), b = kv_bytes(m, false, MOA_F32, &plain), c = kv_bytes(m, false, MOA_F16, &half);
        assert_int_equal(b, 2 * c);
        assert_int_equal(a, longer ? c : b);
        assert_true(plain != half && usual == (longer ? half : plain));
        moa_model_close(m);
    }
    assert_int_equal(moa_kv_usual(&moa_shape_find("llama-336m")->h), MOA_F16);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_texts), cmocka_unit_test(test_usual_cache)};
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
