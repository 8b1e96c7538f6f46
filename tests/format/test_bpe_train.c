/* test_bpe_train.c - training: the textbook example, ties, special tokens, same bytes each time, text back exactly,
 * fewer tokens than bytes, inputs that break counting, and wrong requests.
 * SPDX-License-Identifier: Apache-2.0 */
#include "format/tokenizer.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct trained { moa_gguf *g; moa_tokenizer *t; } trained;

static const char *const SPECIAL[] = {"<|end|>", "<|im_start|>", "<|im_end|>"};

static char *temp_file(char *out, size_t n, const char *name) {
    const char *dir = getenv("TMPDIR");
    snprintf(out, n, "%s/moa-test-%d-%s", dir ? dir : "/tmp", (int)getpid(), name);
    return out;
}

static void train_to(const char *path, int n_vocab, const char *pre, const char *const *text, const size_t *len, int64_t n) {
    const moa_bpe_train cfg = {.n_vocab = n_vocab, .pre = pre, .special = SPECIAL, .n_special = 3, .bos = 1, .eos = 2, .pad = 0};
    moa_gguf_out *o = moa_gguf_out_new();
    moa_err err = {0};
    if (moa_bpe_train_run(o, &cfg, text, len, n, &err) < 0) fail_msg("%s", err.text);
    if (moa_gguf_write(o, path, &err) < 0) fail_msg("%s", err.text);
    moa_gguf_out_free(o);
}

static trained train(int n_vocab, const char *pre, const char *text, size_t n) {
    char path[256];
    trained r;
    moa_err err = {0};
    train_to(temp_file(path, sizeof path, "bpe.gguf"), n_vocab, pre, &text, &n, 1);
    if (moa_gguf_open(&r.g, path, &err) < 0 || moa_tokenizer_open(&r.t, r.g, &err) < 0) fail_msg("%s", err.text);
    unlink(path);
    return r;
}

static void done(trained r) {
    moa_tokenizer_close(r.t);
    moa_gguf_close(r.g);
}

static moa_str merge_at(trained r, uint64_t i) { return moa_gguf_arr_str(moa_gguf_find(r.g, "tokenizer.ggml.merges"), i); }

static void expect_merges(trained r, const char *const *want, uint64_t n) {
    assert_int_equal(moa_gguf_find(r.g, "tokenizer.ggml.merges")->count, n);
    for (uint64_t i = 0; i < n; i++) {
        moa_str m = merge_at(r, i);
        if (m.n != strlen(want[i]) || memcmp(m.p, want[i], m.n) != 0) fail_msg("merge %d is '%.*s', expected '%s'", (int)i, (int)m.n, m.p, want[i]);
    }
}

/* Counts by hand. "aaab" twice, "ab" three times, digits never joined: pairs aa 4, ab 5 -> ab; then words a a ab (2), ab (3):
 * a+a 2, a+ab 2 -> the lower ids, a+a; then aa+ab 2; then nothing occurs twice but the spaces' pairs " "+... */
static void by_hand(void **state) {
    (void)state;
    const char *text = "aaab\naaab\nab\nab\nab\n12\n12\n";
    trained r = train(3 + 256 + 10, NULL, text, strlen(text));
    static const char *const WANT[] = {"a b", "a a", "aa ab"};
    expect_merges(r, WANT, 3);
    assert_int_equal(moa_tokenizer_n_vocab(r.t), 3 + 256 + 3); /* no pair left: fewer than asked for */
    assert_int_equal(moa_tokenizer_find(r.t, "ab"), 259);
    assert_int_equal(moa_tokenizer_bos(r.t), 1);
    assert_int_equal(moa_tokenizer_eos(r.t), 2);
    assert_true(moa_tokenizer_is_eog(r.t, 2));
    moa_ids ids = {0};
    assert_int_equal(moa_tokenize(&ids, r.t, "aaab12", 6, MOA_TOK_BOS, NULL), 0);
    assert_int_equal(ids.n, 4);
    assert_int_equal(ids.v[0], 1), assert_int_equal(ids.v[1], 261), assert_int_equal(ids.v[2], 3 + '1');
    moa_ids_deinit(&ids);
    done(r);
}

/* Special tokens in the text join with nothing, and no merge may spell one. */
static void special(void **state) {
    (void)state;
    const char *text = "x<|im_end|>x<|im_end|>x<|im_end|>x<|im_end|> <|im_ <|im_ <|im_";
    trained r = train(400, "bloom", text, strlen(text));
    assert_int_equal(moa_tokenizer_find(r.t, "<|im_end|>"), 2);
    assert_int_equal(moa_tokenizer_find(r.t, "x<"), -1);
    moa_ids ids = {0};
    assert_int_equal(moa_tokenize(&ids, r.t, "<|im_end|>", 10, 0, NULL), 0);
    assert_true(ids.n > 1);
    for (int64_t i = 0; i < ids.n; i++) assert_false(moa_tokenizer_is_control(r.t, ids.v[i]));
    ids.n = 0;
    assert_int_equal(moa_tokenize(&ids, r.t, "<|im_end|>", 10, MOA_TOK_SPECIAL, NULL), 0);
    assert_int_equal(ids.n, 1);
    moa_ids_deinit(&ids);
    done(r);
}

/* Text with structure: words from a small vocabulary with uneven frequencies, numbers, punctuation. */
static size_t story(char *out, size_t max, uint64_t seed) {
    static const char *const WORD[] = {"the", "of", "and", "mixture", "agent", "answer", "question", "model", "small", "tree", "because", "counting",
                                       "na\xc3\xafve", "\xe6\xbc\xa2\xe5\xad\x97", "it's", "Then", "\n"};
    moa_rng r;
    moa_rng_seed(&r, seed);
    size_t n = 0;
    while (n + 40 < max) {
        uint32_t a = moa_rng_below(&r, 17), b = moa_rng_below(&r, 17);
        n += (size_t)snprintf(out + n, max - n, "%s%s", WORD[a < b ? a : b], moa_rng_below(&r, 6) ? " " : ". ");
        if (moa_rng_below(&r, 9) == 0) n += (size_t)snprintf(out + n, max - n, "%u + %u = ", moa_rng_below(&r, 1000), moa_rng_below(&r, 99));
    }
    return n;
}

static void trains_well(void **state) {
    (void)state;
    enum { N = 200000 };
    static char text[N], other[N];
    size_t n = story(text, N, 1), k = story(other, N / 4, 2);
    trained r = train(600, NULL, text, n);
    moa_ids ids = {0};
    assert_int_equal(moa_tokenize(&ids, r.t, other, k, 0, NULL), 0);
    printf("%.2f bytes a token\n", (double)k / (double)ids.n);
    assert_true((double)k / (double)ids.n > 2.5);
    char *back;
    size_t len;
    assert_int_equal(moa_detokenize(&back, &len, r.t, ids.v, ids.n, false, NULL), 0);
    assert_int_equal(len, k);
    assert_memory_equal(back, other, k);
    free(back);
    for (int i = 0; i < moa_tokenizer_n_vocab(r.t); i++) { /* digits stay single */
        moa_str s = moa_token_bytes(r.t, i, false);
        for (size_t c = 0; s.n > 1 && c < s.n; c++) assert_false(s.p[c] >= '0' && s.p[c] <= '9');
    }
    moa_ids_deinit(&ids);
    done(r);
}

static void same_bytes(void **state) {
    (void)state;
    enum { N = 60000 };
    static char text[N];
    size_t n = story(text, N, 3), half = n / 2;
    while (text[half] != '\n') half++;
    char a[256], b[256];
    train_to(temp_file(a, sizeof a, "a.gguf"), 500, NULL, (const char *const[]){text}, &n, 1);
    train_to(temp_file(b, sizeof b, "b.gguf"), 500, NULL, (const char *const[]){text}, &n, 1);
    moa_map x, y;
    assert_int_equal(moa_map_open(&x, a, NULL), 0);
    assert_int_equal(moa_map_open(&y, b, NULL), 0);
    assert_int_equal(x.size, y.size);
    assert_memory_equal(x.data, y.data, x.size);
    moa_map_close(&y);
    /* Texts are texts, not one long one: order does not matter, since ties go by ids. */
    train_to(b, 500, NULL, (const char *const[]){text + half, text}, (const size_t[]){n - half, half}, 2);
    assert_int_equal(moa_map_open(&y, b, NULL), 0);
    assert_int_equal(x.size, y.size);
    assert_memory_equal(x.data, y.data, x.size);
    moa_map_close(&x);
    moa_map_close(&y);
    unlink(a), unlink(b);
}

/* One letter without end, random bytes, nothing at all: counts stay right and time is bounded. */
static void strange_texts(void **state) {
    (void)state;
    enum { N = 1 << 19 };
    static char text[N];
    for (int kind = 0; kind < 4; kind++) {
        moa_rng r;
        moa_rng_seed(&r, 5);
        size_t n = kind == 3 ? 0 : N;
        for (size_t i = 0; i < n; i++) text[i] = kind == 0 ? 'a' : kind == 1 ? (char)moa_rng_below(&r, 256) : (char)('a' + moa_rng_below(&r, 3));
        double t0 = moa_now();
        trained t = train(700, NULL, text, n);
        if (moa_now() - t0 > 30) fail_msg("kind %d took %.1f s", kind, moa_now() - t0);
        moa_ids ids = {0};
        char *back;
        size_t len;
        assert_int_equal(moa_tokenize(&ids, t.t, text, n, 0, NULL), 0);
        assert_int_equal(moa_detokenize(&back, &len, t.t, ids.v, ids.n, false, NULL), 0);
        assert_int_equal(len, n);
        assert_memory_equal(back, text, n);
        if (kind == 0) assert_true((size_t)ids.n * 100 < n);
        free(back);
        moa_ids_deinit(&ids);
        done(t);
    }
}

static void wrong_requests(void **state) {
    (void)state;
    static const char *const TWICE[] = {"<a>", "<a>"}, *const BYTE[] = {"!"}, *const EMPTY[] = {""};
    static const struct { moa_bpe_train cfg; int code; const char *says; } CASE[] = {
        {{.n_vocab = 255, .bos = -1, .eos = -1, .pad = -1}, MOA_EINVAL, "vocabulary of 255 tokens, expected 256"},
        {{.n_vocab = 257, .special = TWICE, .n_special = 2, .bos = -1, .eos = -1, .pad = -1}, MOA_EINVAL, "expected 258 (256 bytes and 2 special)"},
        {{.n_vocab = 300, .special = TWICE, .n_special = 2, .bos = -1, .eos = -1, .pad = -1}, MOA_EINVAL, "'<a>' is given twice"},
        {{.n_vocab = 300, .special = BYTE, .n_special = 1, .bos = -1, .eos = -1, .pad = -1}, MOA_EINVAL, "'!' is given twice or is the text of a byte"},
        {{.n_vocab = 300, .special = EMPTY, .n_special = 1, .bos = -1, .eos = -1, .pad = -1}, MOA_EINVAL, "is empty"},
        {{.n_vocab = 300, .special = TWICE, .n_special = 1, .bos = 1, .eos = -1, .pad = -1}, MOA_EINVAL, "special token 1, expected -1 to 0"},
        {{.n_vocab = 300, .pre = "gpt-9", .bos = -1, .eos = -1, .pad = -1}, MOA_EUNSUPPORTED, "'gpt-9' is not known"},
    };
    for (size_t i = 0; i < sizeof CASE / sizeof *CASE; i++) {
        moa_gguf_out *o = moa_gguf_out_new();
        moa_err err = {0};
        int rc = moa_bpe_train_run(o, &CASE[i].cfg, (const char *const[]){"aa"}, (const size_t[]){2}, 1, &err);
        if (rc != CASE[i].code || !strstr(err.text, CASE[i].says)) fail_msg("%d '%s', expected '%s'", rc, err.text, CASE[i].says);
        moa_gguf_out_free(o);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_hand), cmocka_unit_test(special), cmocka_unit_test(trains_well), cmocka_unit_test(same_bytes),
        cmocka_unit_test(strange_texts), cmocka_unit_test(wrong_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
