/* test_live.c - frames of the terminal view: never wider or higher than the terminal, nothing that steers it.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/rng.h"
#include "base/utf8.h"
#include "cli/live.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static int columns(const char *s, size_t n) {
    int w = 0;
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        i += (size_t)moa_utf8_next(&cp, s + i, n - i);
        assert_true(cp >= 0x20); /* no control character came through */
        w += utf8proc_charwidth((utf8proc_int32_t)cp);
    }
    return w;
}

/* Random rows at random sizes: height and width hold for every line, and `used` tells the truth. */
static void test_bounds(void **state) {
    (void)state;
    static const char *const bits[] = {"word ", "\n", "\xE6\xBC\xA2\xE5\xAD\x97", "\x1b[2J", "e\xCC\x81", "\xF0\x9F\x98\x80", "\xFF\xFE", "\t", "Answer: 42", "\r"};
    moa_rng r;
    moa_rng_seed(&r, 4);
    for (int round = 0; round < 3000; round++) {
        moa_live_row row[30];
        char text[30][400];
        int n = moa_rng_range(&r, 0, 30), width = moa_rng_range(&r, 1, 100), height = moa_rng_range(&r, 1, 40), used[64];
        for (int i = 0; i < n; i++) {
            text[i][0] = 0;
            for (int k = moa_rng_range(&r, 0, 20); k > 0; k--) strncat(text[i], bits[moa_rng_below(&r, 10)], 20);
            row[i] = (moa_live_row){i % 3 ? "p1" : "p12.345678901234567890", moa_rng_range(&r, 0, 3), text[i], strlen(text[i]),
                                    moa_rng_range(&r, -1, 100000), moa_rng_f64(&r) * 1e4};
        }
        moa_buf b;
        moa_buf_init(&b, 1 << 20);
        int lines = moa_live_frame(&b, used, row, n, width, height, (moa_live_style){false, round % 2, round});
        assert_true(lines <= height && lines <= n + 1);
        assert_true(lines == (n <= height ? n : height));
        const char *p = moa_buf_str(&b);
        for (int i = 0; i < lines; i++) {
            size_t len = strcspn(p, "\n");
            int w = columns(p, len);
            assert_true(w <= width);
            assert_int_equal(w, used[i]);
            p += len + (p[len] == '\n');
        }
        assert_true(*p == 0);
        moa_buf_deinit(&b);
    }
}

static void test_picture(void **state) {
    (void)state;
    moa_live_row row[3] = {{"p1", 2, "It is 17 + 25.\nAnswer: 42", 25, 12, 0.4},
                           {"p2", 1, "a long text whose beginning does not fit into the row any more, the end does", 76, 0, 0},
                           {"vote", 2, "took p1: 2 of 2 answers agree", 29, -1, 0}};
    moa_buf b;
    moa_buf_init(&b, 1 << 20);
    moa_live_frame(&b, NULL, row, 3, 50, 10, (moa_live_style){false, false, 0});
    assert_string_equal(moa_buf_str(&b), "+ p1     12 tok   0.4 s  It is 17 + 25. Answer: 42\n"
                                         "| p2    <t fit into the row any more, the end does\n"
                                         "+ vote  took p1: 2 of 2 answers agree");
    moa_buf_clear(&b);
    /* Three rows in two lines: the running one stays. */
    moa_live_frame(&b, NULL, row, 3, 30, 2, (moa_live_style){false, false, 1});
    assert_string_equal(moa_buf_str(&b), "/ p2    <ny more, the end does\n  and 2 more");
    moa_buf_clear(&b);
    moa_live_frame(&b, NULL, row, 1, 60, 2, (moa_live_style){true, true, 1});
    assert_non_null(strstr(moa_buf_str(&b), "\x1b[32m\xE2\x9C\x93"));
    moa_buf_deinit(&b);
}

static void test_terminal_text(void **state) {
    (void)state;
    char *out;
    size_t n;
    FILE *f = open_memstream(&out, &n);
    static const char in[] = "a\x1b]0;title\x07\tb\n\xC2\x9B" "2J\xE6\xBC\xA2\r";
    moa_term_write(f, in, sizeof in - 1);
    fclose(f);
    assert_string_equal(out, "a]0;title\tb\n2J\xE6\xBC\xA2");
    free(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bounds), cmocka_unit_test(test_picture), cmocka_unit_test(test_terminal_text)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
