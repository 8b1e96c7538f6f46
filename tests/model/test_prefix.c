/* test_prefix.c - the tree of prefixes against a plain list of texts: what is found, that a sequence which begins there goes on to
 * the bits of one that was computed whole, that no block is lost or held twice, under random keeping, evicting and forking.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/kv_check.h"

enum { LEN = 200, N_TEXT = 24, N_BLOCK = 60 };

typedef struct book { /* texts that grow out of each other */
    int32_t tok[N_TEXT][LEN];
    int len[N_TEXT];
    float *want[N_TEXT]; /* logits of the text alone */
} book;

static book *write_book(const moa_model *m, moa_rng *r) {
    static const moa_session_cfg alone = {.n_threads = 1, .isa = MOA_ISA_COUNT, .exact = true, .kv_type = MOA_F32};
    book *b = calloc(1, sizeof *b);
    for (int i = 0; i < N_TEXT; i++) {
        int same = 0;
        if (i && moa_rng_below(r, 5)) {
            const int from = (int)moa_rng_below(r, (uint32_t)i);
            same = (int)moa_rng_below(r, (uint32_t)b->len[from] + 1);
            memcpy(b->tok[i], b->tok[from], (size_t)same * sizeof(int32_t));
        }
        b->len[i] = same + 1 + (int)moa_rng_below(r, (uint32_t)(LEN - same));
        if (b->len[i] > LEN) b->len[i] = LEN;
        for (int t = same; t < b->len[i]; t++) b->tok[i][t] = (int32_t)moa_rng_below(r, 3); /* few letters: much in common by chance too */
        b->want[i] = logits_of(m, b->tok[i], b->len[i], b->len[i], alone);
    }
    return b;
}

static void feed(moa_session *s, int seq, const book *b, int i, int from, int to) {
    moa_err err = {0};
    moa_row row[LEN];
    for (int t = from; t < to; t++) row[t - from] = (moa_row){seq, b->tok[i][t], true};
    if (to == from) return;
    OK(moa_session_step(s, row, to - from, &err));
    for (int t = from; t < to; t++)
        if (memcmp(moa_session_logits(s, t - from), b->want[i] + (size_t)t * 320, 320 * sizeof(float))) fail_msg("text %d, position %d differs", i, t);
}

static void walk(const char *arch, uint64_t seed, size_t budget) {
    moa_model *m = arch_model(moa_arch_find(arch, strlen(arch)), 11);
    moa_session *s = NULL;
    moa_err err = {0};
    moa_rng r;
    moa_prefix_cache c;
    const moa_session_cfg cfg = {.n_ctx = N_BLOCK * MOA_KV_BLOCK, .n_batch = LEN, .n_seq = 4, .n_threads = 1, .isa = MOA_ISA_COUNT, .exact = true};
    OK(moa_session_new(&s, m, &cfg, &err));
    OK(moa_prefix_init(&c, s, budget, &err));
    moa_rng_seed(&r, seed);
    book *b = write_book(m, &r);
    int kept[N_TEXT] = {0}, n_evicted = 0, live = -1;
    int64_t found = 0;
    for (int step = 0; step < 120; step++) {
        const int i = (int)moa_rng_below(&r, N_TEXT), most = 1 + (int)moa_rng_below(&r, (uint32_t)b->len[i]);
        const uint64_t kind = moa_session_kind(s, LEN);
        int plain = 0;
        for (int k = 0; k < N_TEXT; k++) {
            const int same = (int)moa_common(b->tok[k], b->tok[i], kept[k] < most ? kept[k] : most);
            if (same > plain) plain = same;
        }
        while (moa_session_free_positions(s) < LEN + 2 * MOA_KV_BLOCK) n_evicted += moa_prefix_evict(&c);
        const int len = (int)moa_prefix_find(&c, kind, b->tok[i], most);
        assert_true(len <= plain);
        if (!n_evicted && !budget && !moa_session_slides(s)) assert_int_equal(len, plain);
        found += len;
        const int seq = moa_prefix_fork(&c, len, LEN, &err);
        if (seq < 0) fail_msg("%s", err.text);
        const int mid = len + (int)moa_rng_below(&r, (uint32_t)(b->len[i] - len) + 1), end = mid + (int)moa_rng_below(&r, (uint32_t)(b->len[i] - mid) + 1);
        feed(s, seq, b, i, len, mid);
        if (moa_rng_below(&r, 2)) {
            moa_prefix_keep(&c, seq, b->tok[i], mid);
            if (mid > kept[i]) kept[i] = mid;
            check_kv(s, &c);
        }
        feed(s, seq, b, i, mid, end);
        switch (moa_rng_below(&r, 3)) {
        case 0: moa_seq_free(s, seq); break;
        case 1: /* it lives on while others come and go */
            moa_seq_free(s, live);
            live = seq;
            break;
        default:
            moa_prefix_put(&c, seq, b->tok[i], end);
            if (end > kept[i]) kept[i] = end;
        }
        for (uint32_t k = moa_rng_below(&r, 12) ? 0 : moa_rng_below(&r, 20); k; k--) n_evicted += moa_prefix_evict(&c);
        check_kv(s, &c);
    }
    assert_true(found > 0 && n_evicted > 0);
    moa_seq_free(s, live);
    while (moa_prefix_evict(&c)) check_kv(s, &c);
    assert_int_equal(moa_session_free_positions(s), N_BLOCK * MOA_KV_BLOCK); /* none is lost */
    moa_prefix_deinit(&c);
    for (int i = 0; i < N_TEXT; i++) free(b->want[i]);
    free(b);
    moa_session_free(s);
    moa_model_close(m);
}

static void test_random(void **state) {
    (void)state;
    static const char *const arch[] = {"llama", "phi3", "gemma2"}; /* everything is seen; a window in all layers; two stores */
    for (size_t i = 0; i < sizeof arch / sizeof *arch; i++)
        for (uint64_t seed = 1; seed <= 3; seed++) walk(arch[i], seed, seed == 3 ? 400000 : 0);
}

/* Hundreds of texts after one beginning: the tree stays right as it grows, and what goes first is what was used least. */
static void test_many(void **state) {
    (void)state;
    enum { N = 600 };
    moa_model *m = arch_model(moa_arch_find("llama", 5), 11);
    moa_session *s = NULL;
    moa_err err = {0};
    moa_prefix_cache c;
    const moa_session_cfg cfg = {.n_ctx = (2 * N + 8) * MOA_KV_BLOCK, .n_batch = 80, .n_seq = 2, .n_threads = 1, .isa = MOA_ISA_COUNT};
    int32_t tok[80];
    moa_row row[80];
    OK(moa_session_new(&s, m, &cfg, &err));
    OK(moa_prefix_init(&c, s, 0, &err));
    for (int i = 0; i < 64; i++) tok[i] = 7 + i;
    for (int i = 0; i < N; i++) {
        tok[64] = i % 300, tok[65] = 1 + i / 300;
        const int64_t len = moa_prefix_find(&c, moa_session_kind(s, 80), tok, 66);
        assert_int_equal(len, i == 0 ? 0 : i < 300 ? 64 : 65);
        const int seq = moa_prefix_fork(&c, len, 80, &err);
        for (int t = (int)len; t < 66; t++) row[t - len] = (moa_row){seq, tok[t], false};
        OK(moa_session_step(s, row, 66 - (int)len, &err));
        moa_prefix_put(&c, seq, tok, 66);
    }
    check_kv(s, &c);
    /* The first text is used again, then room is made: both texts of the second letter go, the common beginning stays. */
    tok[64] = 0, tok[65] = 1;
    assert_int_equal(moa_prefix_find(&c, moa_session_kind(s, 80), tok, 66), 66);
    moa_seq_free(s, moa_prefix_fork(&c, 66, 80, &err));
    for (int i = 0; i < 10; i++) assert_true(moa_prefix_evict(&c));
    assert_int_equal(moa_prefix_find(&c, moa_session_kind(s, 80), tok, 66), 66);
    tok[64] = 1;
    assert_int_equal(moa_prefix_find(&c, moa_session_kind(s, 80), tok, 66), 64);
    tok[64] = 299;
    assert_int_equal(moa_prefix_find(&c, moa_session_kind(s, 80), tok, 66), 66);
    check_kv(s, &c);
    moa_prefix_deinit(&c);
    moa_session_free(s);
    moa_model_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random), cmocka_unit_test(test_many)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
