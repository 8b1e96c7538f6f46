/* test_mora.c - the calculator, what agents are asked and understood to say, and the loop of finding and repairing. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/kit.h"

#include "agent/calc.h"
#include "agent/repair.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void test_calculator(void **state) {
    (void)state;
    static const struct { const char *s; double v; } good[] = {
        {"1+2*3", 7}, {"(1+2)*3", 9}, {" 10 - 4 - 3 ", 3}, {"2^3^2", 512}, {"-2^2", -4}, {"(-2)^2", 4}, {"2^-1", 0.5}, {"2*-3", -6}, {"7 % 3", 1}, {"-7%3", 2}, {"1,234+1", 1235}, {"1.5*4", 6}, {"6 \xC3\x97 7", 42}, {"8\xC3\xB7" "2", 4},
        {"9\xE2\x88\x92" "4", 5}, {"((((((1))))))", 1}, {"5", 5}, {"0.1+0.2", 0.3}, {"2--3", 5}};
    static const char *const bad[] = {"", "+", "1+", "(1", "1)", "1 2", "1/0", "1%0", "a", "1+a", "10^400", "9999999999999999", "0^-1", "(-8)^(1/3)", "1,23+1", "()", "1..2",
                                      "((((((((((((((((((((1))))))))))))))))))))", "2^2^2^2^2^2^2^2^2^2^2^2^2^2^2^2^2^2^2"};
    double v;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (!moa_calc(&v, good[i].s, strlen(good[i].s))) fail_msg("%s", good[i].s);
        if (!(fabs(v - good[i].v) < 1e-12)) fail_msg("%s: %g", good[i].s, v);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (moa_calc(&v, bad[i], strlen(bad[i]))) fail_msg("%s: %g", bad[i], v);
}

static void test_equations(void **state) {
    (void)state;
    static const struct { const char *text; int n, wrong; const char *first; } t[] = {
        {"First, 15*2=30. Then 15+30=45.\nAnswer: 45", 2, 0, "15*2"},
        {"Units: 12-5=7, borrow 1. Tens: 13-1-8=4.", 2, 0, "12-5"},
        {"1. 5*9=46 (the price).\n2. 117-46=71", 2, 1, "5*9"},
        {"so 2 + 3 * 4 = 20", 1, 1, "2 + 3 * 4"},
        {"10/3=3.33 and 10/3=3.34 and 10/4=3", 3, 2, "10/3"},
        {"1,000+500=1,500", 1, 0, "1,000+500"},
        {"-4+1=-3", 1, 0, "-4+1"},
        {"4-3=1. b=1. x=4-3=1", 2, 0, "4-3"},
        {"12+30=42=21*2", 1, 0, "12+30"},
        {"14:00+15=14:15. 8:50+20=9:10", 0, 0, NULL},
        {"if (a == 3) x += 1; y <= 4-1", 0, 0, NULL},
        {"a1+2=3 b_1+2=4 \xC3\xA4" "1+2=5", 0, 0, NULL},
        {"5=5 =7 1+=3 =", 0, 0, NULL},
        {"2+2=5x 2+2=4", 1, 0, "2+2"},
        /* the mark of a list and of bold text is no sign */
        {"- 3 + 4 = 7\n  * 5*9 = 45", 2, 0, "3 + 4"},
        {"**3 + 4 = 7** \xE2\x80\x93 or so", 1, 0, "3 + 4"},
        {"so 3+4=7 - and 3+4=7, remaining", 2, 0, "3+4"},
        {"-2^2 = -4", 1, 0, "-2^2"},
        /* a left side that cannot be read whole */
        {"x - 3 + 5 = 10", 0, 0, NULL},
        {"x*2 + 3 = 7, 2x + 3*4 = 20, 2**3 + 4 = 12", 0, 0, NULL},
        {"x -3 + 5 = 10, y \xC3\x97 2 + 1 = 9", 0, 0, NULL},
        {"(x+2)(3+4) = 14", 0, 0, NULL},
        /* a right side that is more than its first number */
        {"2/4 = 1/2, 7/2 = 3 1/2", 0, 0, NULL},
        {"30/200 = 15%, 1/4 = 25 percent", 0, 0, NULL},
        {"3*4 = 3 + 9", 0, 0, NULL},
        {"5 + 2 = 10 - x, 5+2 = 2(3) + 1", 0, 0, NULL},
        {"7/2 = 3 remainder 1, 7/2 = 3 R1, 7/2 = 3 with a remainder of 1", 0, 0, NULL},
        {"2000*3000 = 6 million", 0, 0, NULL},
        {"", 0, 0, NULL}};
    moa_equation e[8];
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        const int n = moa_calc_find(e, 8, t[i].text, strlen(t[i].text));
        int wrong = 0;
        for (int k = 0; k < n; k++) wrong += !e[k].right;
        if (n != t[i].n || wrong != t[i].wrong) fail_msg("%s: %d equations, %d wrong", t[i].text, n, wrong);
        if (n && (e[0].n_expr != strlen(t[i].first) || memcmp(e[0].expr, t[i].first, e[0].n_expr))) fail_msg("%s: %.*s", t[i].text, (int)e[0].n_expr, e[0].expr);
    }
    assert_int_equal(moa_calc_find(e, 2, "1+1=2 1+1=2 1+1=2", 17), 2);
}

static void test_texts(void **state) {
    (void)state;
    static const struct { const char *s; int fault; } said[] = {
        {"Error: misread", MOA_FAULT_MISREAD}, {"so\nERROR:  Computation.\nbye", MOA_FAULT_COMPUTATION}, {"Error: none", MOA_FAULT_NONE}, {"Error: concept, computation", MOA_FAULT_CONCEPT},
        {"Error: none\nError: concept", MOA_FAULT_CONCEPT}, {"error: problem miscomprehension", MOA_FAULT_MISREAD}, {"Error: no error", MOA_FAULT_NONE}, {"Error: the calculation", MOA_FAULT_COMPUTATION},
        {"", -1}, {"misread", -1}, {"Error:", -1}, {"Error: maybe", -1}, {"Error:\nmisread", -1}, {"Error", -1}};
    moa_fault f;
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        const bool ok = moa_fault_parse(&f, said[i].s, strlen(said[i].s));
        if (ok != (said[i].fault >= 0) || (ok && (int)f != said[i].fault)) fail_msg("%s", said[i].s);
    }
    moa_buf b;
    moa_buf_init(&b, 1 << 16);
    assert_int_equal(moa_repair_facts(&b, "1+1=3. 2+2=4. 3*3=6"), 2);
    assert_string_equal(moa_buf_str(&b), "1+1 is 2, not 3.\n3*3 is 9, not 6.");
    moa_buf_clear(&b);
    /* A solution cannot end itself. */
    moa_repair_identify(&b, "Q?", "a\x01\n== end ==\n  == solution ==\nb");
    assert_non_null(strstr(moa_buf_str(&b), "Q?\n\n== solution ==\na \n> == end ==\n  > == solution ==\nb\n== end ==\n\nCheck"));
    moa_buf_deinit(&b);
}

/* The judge plays: what the identifier says in each round, and what the repairer writes. */
static const char *const *says; /* identifier and repairer in turn */
static const char *plays(player *p, int i, const moa_call *c) { (void)p, (void)c; return says[i]; }
static const char *first_try; 
static const char *solves(player *p, int i, const moa_call *c) { (void)p, (void)i, (void)c; return first_try; }

static moa_run *loop(kit *k, const char *settings, const char *solution, const char *const *script) {
    first_try = solution, says = script;
    kit_init(k, "mora", settings, 1, solves);
    kit_judge(k, "judge", plays);
    return kit_run(k, "What is 2 + 3?", 1);
}

static void test_loop(void **state) {
    (void)state;
    kit k;
    moa_buf want;
    moa_run *r = loop(&k, "", "2+3=6\nAnswer: 6", (const char *[]){"Error: none", "2+3=5\nAnswer: 5", "Error: none"});
    assert_string_equal(moa_run_answer(r), "2+3=5\nAnswer: 5"); /* the calculator sees what the identifier does not */
    assert_non_null(strstr(kit_node(r, "route1")->note, "error: computation (found by the calculator)"));
    assert_string_equal(kit_node(r, "route2")->note, "error: none");
    moa_buf_init(&want, 1 << 16);
    moa_repair_identify(&want, "What is 2 + 3?", "2+3=6\nAnswer: 6");
    assert_int_equal(kit_node(r, "identify1")->n_msg, 1);
    assert_string_equal(kit_node(r, "identify1")->msg[0].content, moa_buf_str(&want));
    moa_buf_clear(&want);
    moa_repair_ask(&want, "What is 2 + 3?", "2+3=6\nAnswer: 6", MOA_FAULT_COMPUTATION, "2+3 is 5, not 6.");
    assert_string_equal(kit_node(r, "repair1")->msg[0].content, moa_buf_str(&want));
    assert_true(kit_node(r, "repair1")->sampling.temperature == 0);
    assert_int_equal(kit_node(r, "repair1")->max_tokens, 256);
    moa_buf_clear(&want);
    moa_repair_identify(&want, "What is 2 + 3?", "2+3=5\nAnswer: 5"); /* the second round looks at the repaired one */
    assert_string_equal(kit_node(r, "identify2")->msg[0].content, moa_buf_str(&want));
    assert_int_equal(r->usage.calls, 4);
    moa_run_free(r);
    kit_deinit(&k);
    r = loop(&k, "", "2+4=6\nAnswer: 6", (const char *[]){"Error: misread", "Answer: 7", "Error: concept", "Answer: 5", "Error: none"});
    assert_string_equal(moa_run_answer(r), "Answer: 5");
    assert_non_null(strstr(kit_node(r, "repair1")->msg[0].content, "misunderstands the question"));
    assert_non_null(strstr(kit_node(r, "repair2")->msg[0].content, "of the wrong kind"));
    moa_run_free(r);
    kit_deinit(&k);
    /* First things first: a misread question is read again before its sums are looked at. */
    r = loop(&k, "", "2+4=7\nAnswer: 7", (const char *[]){"Error: computation, misread", "Answer: 5", "Error: none"});
    assert_string_equal(kit_node(r, "route1")->note, "error: misread");
    moa_run_free(r);
    kit_deinit(&k);
    r = loop(&k, "first=proof", "2+4=7\nAnswer: 7", (const char *[]){"Error: misread", "2+4=6\nAnswer: 6", "Error: misread", "Answer: 5", "Error: none"});
    assert_string_equal(kit_node(r, "route1")->note, "error: computation (found by the calculator)");
    assert_string_equal(kit_node(r, "route2")->note, "error: misread");
    assert_string_equal(moa_run_answer(r), "Answer: 5");
    moa_run_free(r);
    kit_deinit(&k);
    /* The calculator alone: one call where nothing is wrong, two where it can be put right at once. */
    r = loop(&k, "identify=calculator", "2+3=5\nAnswer: 5", (const char *[]){"Answer: 7"});
    assert_int_equal(r->usage.calls, 1);
    assert_string_equal(moa_run_answer(r), "2+3=5\nAnswer: 5");
    moa_run_free(r);
    kit_deinit(&k);
    r = loop(&k, "identify=calculator", "2+3=6\nAnswer: 6", (const char *[]){"2+3=5\nAnswer: 5"});
    assert_int_equal(r->usage.calls, 2);
    assert_string_equal(moa_run_answer(r), "2+3=5\nAnswer: 5");
    assert_non_null(strstr(kit_node(r, "repair1")->msg[0].content, "2+3 is 5, not 6."));
    moa_run_free(r);
    kit_deinit(&k);
    moa_buf_deinit(&want);
}

static void test_ends(void **state) {
    (void)state;
    kit k;
    static const char *const never[] = {"Error: concept", "Answer: 1", "Error: concept", "Answer: 2", "Error: concept", "Answer: 3", "Error: concept", "Answer: 4", "Error: concept"};
    moa_run *r = loop(&k, "rounds=2", "Answer: 0", never);
    assert_string_equal(moa_run_answer(r), "Answer: 2");
    assert_non_null(strstr(kit_node(r, "route3")->note, "the rounds are over"));
    moa_run_free(r);
    kit_deinit(&k);
    r = loop(&k, "", "Answer: 0", (const char *[]){"I like it."}); /* unclear: as it is */
    assert_string_equal(moa_run_answer(r), "Answer: 0");
    assert_int_equal(r->usage.calls, 2);
    moa_run_free(r);
    kit_deinit(&k);
    r = loop(&k, "calculator=off", "2+2=5\nAnswer: 5", (const char *[]){"Error: none"});
    assert_int_equal(r->usage.calls, 2);
    moa_run_free(r);
    kit_deinit(&k);
    /* A repair that loses the answer is none. */
    r = loop(&k, "rounds=1", "2+2=4\nAnswer: 4", (const char *[]){"Error: concept", "Hm.", "Error: none"});
    assert_string_equal(moa_run_answer(r), "2+2=4\nAnswer: 4");
    assert_true(kit_node(r, "repair1")->replaced);
    moa_run_free(r);
    kit_deinit(&k);
}

static const char *finds_fault(player *p, int i, const moa_call *c) { (void)p, (void)c; return i % 2 ? "2+3=5\nAnswer: 5" : i ? "Error: none" : "Error: concept"; }
static const char *solves_wrongly(player *p, int i, const moa_call *c) { (void)p, (void)i, (void)c; return "2+3=6\nAnswer: 6"; }
static void with_judge(kit *k) { kit_judge(k, "judge", finds_fault); }
static void test_torture(void **state) {
    (void)state;
    kit_essential = 1; /* without a solution there is nothing to repair */
    kit_torture("mora", "", 1, solves_wrongly, with_judge, "What is 2 + 3?");
    kit_torture("mora", "identify=calculator", 1, solves_wrongly, with_judge, "What is 2 + 3?");
    kit_essential = 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_calculator), cmocka_unit_test(test_equations), cmocka_unit_test(test_texts),
                                       cmocka_unit_test(test_loop), cmocka_unit_test(test_ends), cmocka_unit_test(test_torture)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
