/* test_window.c - sliding windows over the paged KV: blocks that no later position sees go back, shared prefixes keep theirs, and
 * forks, truncation and the generator's prefix cache give the same bits as a sequence alone, or say that they cannot.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/support.h"
#include "model/kv.h"
#include "model/prefix.h"

enum { LEN = 300, WINDOW = 40 };

static int32_t tok[LEN];
static const moa_session_cfg alone_cfg = {.n_threads = 1, .isa = MOA_ISA_COUNT, .exact = true, .kv_type = MOA_F32};

static moa_model *model_of(const char *arch) {
    for (int i = 0; i < LEN; i++) tok[i] = (i * 37 + i * i % 11) % 320;
    return arch_model(moa_arch_find(arch, strlen(arch)), 11);
}

static moa_session *open_session(const moa_model *m, int n_ctx) {
    moa_session *s = NULL;
    moa_err err = {0};
    const moa_session_cfg cfg = {.n_ctx = n_ctx, .n_batch = 64, .n_seq = 4, .n_threads = 2, .isa = MOA_ISA_COUNT, .exact = true, .kv_type = MOA_F32};
    OK(moa_session_new(&s, m, &cfg, &err));
    return s;
}

/* Feed seq tokens [from, to) in steps of n; wanted rows are compared as bits. */
static void feed(moa_session *s, int seq, int from, int to, int n, const float *want) {
    moa_err err = {0};
    for (int at = from; at < to; at += n) {
        moa_row row[64];
        const int k = to - at < n ? to - at : n;
        for (int i = 0; i < k; i++) row[i] = (moa_row){seq, tok[at + i], true};
        OK(moa_session_step(s, row, k, &err));
        for (int i = 0; i < k; i++)
            if (memcmp(moa_session_logits(s, i), want + (size_t)(at + i) * 320, 320 * sizeof *want) != 0) fail_msg("position %d differs", at + i);
    }
}

/* Two sequences of 300 positions in a store of 352: each holds its window and little more. */
static void test_eviction(void **state) {
    (void)state;
    moa_model *m = model_of("phi3");
    float *want = logits_of(m, tok, LEN, LEN, alone_cfg);
    moa_session *s = open_session(m, 11 * MOA_KV_BLOCK);
    moa_err err = {0};
    const int a = moa_seq_new(s, &err), b = moa_seq_new(s, &err);
    for (int at = 0; at < LEN; at += 20) {
        feed(s, a, at, at + 20, 20, want);
        feed(s, b, at, at + 20, 1, want);
    }
    /* 40 positions lie in at most 3 blocks; 2 are kept for forks; 1 is left by the next step. */
    assert_true(moa_session_free_positions(s) >= (11 - 2 * 6) * MOA_KV_BLOCK && moa_session_free_positions(s) >= MOA_KV_BLOCK);
    moa_seq_free(s, a);
    moa_seq_free(s, b);
    assert_int_equal(moa_session_free_positions(s), 11 * MOA_KV_BLOCK); /* none is lost */
    free(want);
    moa_session_free(s);
    moa_model_close(m);
}

/* Local and global layers have stores of their own: the local one stays small, and no block of either is lost. */
static void test_two_stores(void **state) {
    (void)state;
    static const char *const names[] = {"gemma2", "gemma3", "gpt-oss"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        moa_model *m = model_of(names[i]);
        float *want = logits_of(m, tok, LEN, LEN, alone_cfg);
        moa_session *s = open_session(m, 20 * MOA_KV_BLOCK);
        moa_err err = {0};
        const int a = moa_seq_new(s, &err);
        feed(s, a, 0, LEN, 30, want);
        int global = 0;
        for (int l = 0; l < m->h.n_layer; l++) global += !m->layer[l].window;
        assert_true(global > 0 && global < m->h.n_layer);
        const size_t layer = (size_t)MOA_KV_BLOCK * (size_t)(m->h.n_kv * 2 * m->h.head_dim) * sizeof(float);
        const size_t most = layer * (size_t)(10 * global + 6 * (m->h.n_layer - global));
        assert_true(moa_session_kv_bytes(s) <= most && moa_session_kv_bytes(s) > layer * (size_t)(10 * global));
        moa_seq_free(s, a);
        assert_int_equal(moa_session_free_positions(s), 20 * MOA_KV_BLOCK);
        free(want);
        moa_session_free(s);
        moa_model_close(m);
    }
}

/* A fork keeps what its parent leaves behind, and goes on to the same bits. */
static void test_shared_prefix(void **state) {
    (void)state;
    static const char *const names[] = {"phi3", "gemma2"};
    for (size_t i = 0; i < 2; i++) {
        moa_model *m = model_of(names[i]);
        float *want = logits_of(m, tok, LEN, LEN, alone_cfg);
        moa_session *s = open_session(m, 30 * MOA_KV_BLOCK);
        moa_err err = {0};
        const int a = moa_seq_new(s, &err);
        feed(s, a, 0, 110, 50, want);
        const int b = moa_seq_fork(s, a, 110, &err), c = moa_seq_fork(s, a, 105, &err);
        assert_true(b >= 0 && c >= 0);
        feed(s, a, 110, LEN, 45, want);
        feed(s, b, 110, LEN, 7, want);
        feed(s, c, 105, LEN, 64, want);
        /* The parent is far beyond: what a fork at 110 would see is gone, what one near the end sees is not. */
        assert_false(moa_seq_reaches(s, a, 110));
        const int none = moa_seq_fork(s, a, 110, &err);
        assert_int_equal(none, MOA_ELIMIT);
        assert_non_null(strstr(err.text, "sliding windows"));
        const int d = moa_seq_fork(s, a, LEN - 5, &err);
        feed(s, d, LEN - 5, LEN, 2, want);
        for (int k = 0; k < 4; k++) moa_seq_free(s, (int[]){a, b, c, d}[k]);
        assert_int_equal(moa_session_free_positions(s), 30 * MOA_KV_BLOCK);
        free(want);
        moa_session_free(s);
        moa_model_close(m);
    }
}

static void test_truncate(void **state) {
    (void)state;
    moa_model *m = model_of("gemma3");
    float *want = logits_of(m, tok, LEN, LEN, alone_cfg);
    moa_session *s = open_session(m, 20 * MOA_KV_BLOCK);
    moa_err err = {0};
    const int a = moa_seq_new(s, &err);
    feed(s, a, 0, 200, 40, want);
    moa_seq_truncate(s, a, 190);
    assert_int_equal(moa_seq_len(s, a), 190);
    feed(s, a, 190, 260, 33, want);
    moa_seq_truncate(s, a, 100); /* left behind: nothing stays */
    assert_int_equal(moa_seq_len(s, a), 0);
    assert_int_equal(moa_session_free_positions(s), 20 * MOA_KV_BLOCK);
    feed(s, a, 0, LEN, 64, want);
    free(want);
    moa_session_free(s);
    moa_model_close(m);
}

/* What the generator does with a conversation: the prompt is kept, the reply goes on, the next reader finds the prompt. */
static void test_prefix_cache(void **state) {
    (void)state;
    moa_model *m = model_of("gemma2");
    moa_session *s = open_session(m, 40 * MOA_KV_BLOCK);
    float *want = logits_of(m, tok, LEN, LEN, alone_cfg);
    moa_prefix_cache c;
    moa_err err = {0};
    OK(moa_prefix_init(&c, s, 0, &err));
    const int a = moa_seq_new(s, &err);
    const uint64_t kind = moa_seq_kind(s, a);
    feed(s, a, 0, 120, 40, want);
    moa_prefix_keep(&c, a, tok, 120);
    const size_t once = c.bytes;
    moa_prefix_keep(&c, a, tok, 120); /* nothing new */
    assert_true(c.n_node == 1 && c.bytes == once);
    feed(s, a, 120, LEN, 40, want);
    moa_prefix_put(&c, a, tok, LEN); /* goes on from the prompt, whose last blocks only the first node has */
    assert_int_equal(c.n_node, 2);
    assert_int_equal(moa_prefix_find(&c, kind, tok, 117), 117);
    const int b = moa_prefix_fork(&c, 117, LEN, &err);
    feed(s, b, 117, 160, 10, want);
    assert_int_equal(moa_prefix_find(&c, kind, tok, 160), 120); /* the windows of the long one left it */
    moa_prefix_put(&c, b, tok, 160); /* and this one brings it */
    assert_int_equal(c.n_node, 3);
    assert_int_equal(moa_prefix_find(&c, kind, tok, 160), 160);
    assert_int_equal(moa_prefix_find(&c, kind, tok, LEN), LEN);
    assert_int_equal(moa_prefix_find(&c, kind + 1, tok, LEN), 0);
    moa_prefix_deinit(&c);
    assert_int_equal(moa_session_free_positions(s), 40 * MOA_KV_BLOCK);
    free(want);
    moa_session_free(s);
    moa_model_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_eviction), cmocka_unit_test(test_two_stores), cmocka_unit_test(test_shared_prefix),
                                       cmocka_unit_test(test_truncate), cmocka_unit_test(test_prefix_cache)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
