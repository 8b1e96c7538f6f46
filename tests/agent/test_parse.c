/* test_parse.c - what judges say, read out of free text: what is found, what is refused. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "agent/parse.h"

#include <stdlib.h>
#include <string.h>

static void test_score(void **state) {
    (void)state;
    static const struct { const char *text; double want; } good[] = {
        {"Score: 7", 7}, {"Score: 0", 0}, {"score : 10", 10}, {"**Score:** 7.5", 7.5}, {"It is fine.\n- Score: 3/10\n", 3}, {"Score: 4 / 5", 8}, {"Rating: 6", 6}, {"7", 7},
        {" 7.\n", 7}, {"7/10", 7}, {"Score: 2\nNo, wait.\nScore: 9", 9}, {"Score: 8 because it is right", 8}, {"Score: 8.", 8}, {"Score: 007", 7}, {"Score: __6__", 6}, {"Score: .5", 0.5}};
    static const char *const bad[] = {"", " ", "Score:", "Score: -1", "Score: 11", "Score: nan", "Score: inf", "Score: 1e1", "Score: 99999999999999999999", "Score: seven", "no 7 here", "7 or 8",
                                      "Score: 3/0", "Score: 3/", "12/10", "Underscore: 7", "Score 7", "Score: 5x", "Answer: 7", "\x01\x02", "Score: 1\nScore: eleven"};
    double v;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (!moa_parse_score(&v, good[i].text, strlen(good[i].text), 10)) fail_msg("'%s': no score", good[i].text);
        if (v < good[i].want - 1e-9 || v > good[i].want + 1e-9) fail_msg("'%s': %g", good[i].text, v);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (moa_parse_score(&v, bad[i], strlen(bad[i]), 10)) fail_msg("'%s': %g", bad[i], v);
    assert_true(moa_parse_score(&v, "Score: 71", 8, 10)); /* bytes, not a string */
    assert_true(v > 6.9 && v < 7.1);
}

static void test_choice(void **state) {
    (void)state;
    static const struct { const char *text; int n, want[5]; bool strange; } t[] = {
        {"Choice: 2, 5", 2, {1, 4}, false}, {"Choice: [3]", 1, {2}, false}, {"choices: 1 and 4\nEnd: yes", 2, {0, 3}, false}, {"2 5", 2, {1, 4}, false}, {"Choice: 2, 2, 1", 2, {1, 0}, false},
        {"Replies say: 1 | 2\nChoice: 3", 1, {2}, false}, {"Choice: 6", 0, {0}, true}, {"Choice: 2, 0", 1, {1}, true}, {"Choice: 2, -1", 1, {1}, true}, {"Choice: 1, 99999999999999", 1, {0}, true},
        {"Choice: none", 0, {0}, false}, {"I take 2", 0, {0}, false}, {"", 0, {0}, false}, {"Choice:", 0, {0}, false}, {"Choice: 1\nChoice: 2", 1, {1}, false},
        {"1,2,3,4,5,6,7", 5, {0, 1, 2, 3, 4}, true}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        int out[5];
        bool strange;
        const int n = moa_parse_choice(out, &strange, t[i].text, strlen(t[i].text), 5);
        if (n != t[i].n || strange != t[i].strange) fail_msg("'%s': %d%s", t[i].text, n, strange ? ", strange" : "");
        for (int k = 0; k < n; k++) assert_int_equal(out[k], t[i].want[k]);
    }
}

static void test_words(void **state) {
    (void)state;
    bool yes;
    int at;
    assert_true(moa_parse_yes(&yes, "Choice: 1\nEnd: yes", 18, "end") && yes);
    assert_true(moa_parse_yes(&yes, "end: **No**.", 12, "end") && !yes);
    assert_false(moa_parse_yes(&yes, "End: yesterday", 14, "end"));
    assert_false(moa_parse_yes(&yes, "End: maybe", 10, "end"));
    assert_false(moa_parse_yes(&yes, "yes", 3, "end"));
    static const struct { const char *text; int want; } t[] = {{"Better: B", 1}, {"better: A.", 0}, {"Better: (b)", 1}, {"B", 1}, {"a.", 0}, {"Better: Both", -1}, {"Better: C", -1}, {"A or B", -1},
                                                                {"Better: A1", -1}, {"", -1}, {"Better:", -1}, {"A is good\nBetter: B", 1}, {"As it is", -1}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        const bool found = moa_parse_letter(&at, t[i].text, strlen(t[i].text), "better", "AB");
        if (found != (t[i].want >= 0) || (found && at != t[i].want)) fail_msg("'%s': %d", t[i].text, found ? at : -1);
    }
}

static void test_lines(void **state) {
    (void)state;
    static const char text[] = "Here they are:\n1: You are a cook.\n - 2. You doubt.\n**3)** You count.\n3: again\n9: none\n4:\n2x\n";
    const char *line[4];
    size_t len[4];
    assert_int_equal(moa_parse_lines(line, len, 4, text, sizeof text - 1), 3);
    assert_true(len[0] == 15 && !memcmp(line[0], "You are a cook.", 15));
    assert_true(!memcmp(line[1], "You doubt.", len[1]));
    assert_true(!memcmp(line[2], "You count.", len[2]));
    assert_null(line[3]);
    assert_int_equal(moa_parse_lines(line, len, 4, "", 0), 0);
}

/* 10 MB of each, in a moment. */
static void test_endless(void **state) {
    (void)state;
    static const char *const piece[] = {"a", "\n", "Score: ", "1 ", "Choice: 9\n", "::::", "**", "7\n", "Better: \n"};
    enum { BIG = 10 << 20 };
    char *s = malloc(BIG);
    assert_non_null(s);
    for (size_t i = 0; i < sizeof piece / sizeof *piece; i++) {
        const size_t n = strlen(piece[i]);
        for (size_t k = 0; k < BIG; k++) s[k] = piece[i][k % n];
        double v;
        bool b;
        int c[4];
        const char *line[4];
        size_t len[4];
        moa_parse_score(&v, s, BIG, 10);
        assert_true(moa_parse_choice(c, &b, s, BIG, 4) <= 4);
        assert_false(moa_parse_yes(&b, s, BIG, "end"));
        assert_false(moa_parse_letter(c, s, BIG, "better", "AB"));
        assert_true(moa_parse_lines(line, len, 4, s, BIG) <= 4);
    }
    free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_score), cmocka_unit_test(test_choice), cmocka_unit_test(test_words), cmocka_unit_test(test_lines), cmocka_unit_test(test_endless)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
