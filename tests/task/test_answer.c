/* test_answer.c - answers found and compared: forms that are equal, near misses, hostile replies.
 * SPDX-License-Identifier: Apache-2.0 */
#include "task/task.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void expect(const char *reply, const char *want) {
    moa_buf b;
    moa_buf_init(&b, 4096);
    bool got = moa_answer_extract(&b, reply, strlen(reply));
    if (!want) assert_false(got);
    else assert_true(got), assert_string_equal(moa_buf_str(&b), want);
    moa_buf_deinit(&b);
}

static void test_forms(void **state) {
    (void)state;
    static const struct { const char *reply, *want; } t[] = {
        {"Answer: 42", "42"}, {"7+5=12.\nAnswer: 12\n", "12"}, {"Answer: 1,000", "1000"}, {"answer: +5", "5"}, {"ANSWER: 5.0", "5"},
        {"Answer: -0", "0"}, {"Answer: -12,345.50", "-12345.5"}, {"Answer: 007", "7"}, {"Answer: 0", "0"}, {"Answer: 1,00", "1 00"},
        {"Answer: 0.25", "0.25"}, {"Answer: 5.", "5"}, {"Answer: .5", ".5"}, {"Answer: 0,123", "123"},
        {"Answer: B", "b"}, {"Answer: B)", "b"}, {"Answer: (b) the baker", "b"}, {"Answer: b. a baker", "b"}, {"Answer: C: blue", "c"},
        {"Answer: a cat", "a cat"}, {"Answer: \"Stone\"", "stone"}, {"Answer: `xs`.", "xs"}, {"Answer: **12**", "12"}, {"**Answer:** 12", "12"},
        {"Answer: \xe2\x80\x9cpear\xe2\x80\x9d", "pear"},
        {"Answer: [1,  2,3 ]", "[1 2 3]"}, {"Answer: 1, 2, 3", "1 2 3"}, {"Answer: 100, 200", "100 200"}, {"Answer:   the  red\thouse ", "the red house"},
        {"Answer: 1\nno\nAnswer: 2", "2"}, {"Answer:\n\n7\n", "7"}, {"Answer : 8", "8"}, {"Answer: 9\r\nbye", "9"}, {"Answer: \xc3\x89t\xc3\xa9", "\xc3\x89t\xc3\xa9"},
        {"", NULL}, {"42", NULL}, {"Answer", NULL}, {"Answer:", NULL}, {"Answer: 3\nAnswer:  ", NULL}, {"misanswer: 4", NULL}, {"Answer: \"\"", NULL}, {"answers: 3", NULL},
        {"Answer: .", "."}, {"Answer: 9:05", "9:05"}, {"Answer: 5-3", "5-3"}, {"Answer: True", "true"},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) expect(t[i].reply, t[i].want);
}

static bool right(const char *answer, const char *reply) {
    moa_item it;
    moa_item_init(&it);
    assert_true(moa_answer_canon(&it.answer, answer, strlen(answer)));
    bool ok = moa_item_check(&it, reply, strlen(reply));
    moa_item_deinit(&it);
    return ok;
}

static void test_near_misses(void **state) {
    (void)state;
    assert_true(right("1000", "Answer: 1,000"));
    assert_true(right("[1, 2]", "Answer: [1,2]"));
    assert_true(right("B", "So B.\nAnswer: B) Branton"));
    static const char *const wrong[][2] = {{"12", "Answer: 1 2"}, {"12", "Answer: 120"}, {"12", "Answer: -12"}, {"12", "Answer: 12.5"}, {"12", "Answer: 12 apples"}, {"12", "12"},
                                           {"b", "Answer: bc"}, {"b", "Answer: a b"}, {"1 2 3", "Answer: 123"}, {"1 2 3", "Answer: 1 3 2"}, {"[1 2]", "Answer: 1 2"},
                                           {"the red house", "Answer: the house red"}, {"pear", "Answer: pears"}, {"9:05", "Answer: 9:5"}, {"12", "Answer: 12\nAnswer: 13"}, {"5", "Answer: 5 or 6"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (right(wrong[i][0], wrong[i][1])) fail_msg("'%s' passed for '%s'", wrong[i][1], wrong[i][0]);
    moa_item unscored;
    moa_item_init(&unscored);
    assert_false(moa_item_check(&unscored, "Answer: ", 8));
    moa_item_deinit(&unscored);
}

/* A canonical answer is its own canonical form: votes compare what was stored with what is new. */
static void test_idempotent(void **state) {
    (void)state;
    moa_rng r;
    moa_rng_seed(&r, 3);
    moa_buf a, b;
    moa_buf_init(&a, 4096);
    moa_buf_init(&b, 4096);
    static const char sign[] = "ab10,. \"'*()[]:-+\n\xe2\x80\x9c B";
    for (int i = 0; i < 20000; i++) {
        char s[24];
        size_t n = moa_rng_below(&r, sizeof s);
        for (size_t k = 0; k < n; k++) s[k] = sign[moa_rng_below(&r, sizeof sign - 1)];
        if (!moa_answer_canon(&a, s, n)) continue;
        if (!moa_answer_canon(&b, a.data, a.len) || strcmp(a.data, b.data) != 0)
            fail_msg("'%.*s' -> '%s' -> '%s'", (int)n, s, a.data, moa_buf_str(&b));
    }
    moa_buf_deinit(&a);
    moa_buf_deinit(&b);
}

static void test_hostile(void **state) {
    (void)state;
    enum { N = 1 << 20 };
    char *s = malloc(N);
    assert_non_null(s);
    moa_buf b;
    moa_buf_init(&b, 4096);
    memset(s, 'a', N);
    assert_false(moa_answer_extract(&b, s, N));
    memcpy(s, "Answer: ", 8); /* one answer of a megabyte */
    assert_false(moa_answer_extract(&b, s, N));
    for (size_t i = 0; i + 10 <= N; i += 10) memcpy(s + i, "Answer: 7\n", 10);
    assert_true(moa_answer_extract(&b, s, N / 10 * 10));
    assert_string_equal(moa_buf_str(&b), "7");
    memset(s, 0, N);
    assert_false(moa_answer_extract(&b, s, N));
    memcpy(s, "Answer: 7", 9); /* zero bytes are blanks */
    assert_true(moa_answer_extract(&b, s, N));
    assert_string_equal(moa_buf_str(&b), "7");
    moa_rng r;
    moa_rng_seed(&r, 1);
    for (int i = 0; i < 3000; i++) {
        size_t n = moa_rng_below(&r, 200);
        for (size_t k = 0; k < n; k++) s[k] = (char)moa_rng_u64(&r);
        if (n > 12) memcpy(s + moa_rng_below(&r, (uint32_t)n - 11), "Answer: ", 8);
        moa_answer_extract(&b, s, n);
    }
    moa_buf_deinit(&b);
    free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms), cmocka_unit_test(test_near_misses), cmocka_unit_test(test_idempotent), cmocka_unit_test(test_hostile)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
