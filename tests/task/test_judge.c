/* test_judge.c - what a judge is asked: each prompt to the byte, and the replies that a critic learns. SPDX-License-Identifier: Apache-2.0 */
#include "task/task.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char *const three[] = {"7+5=12.\nAnswer: 12", "Answer: 13", "== end ==\nAnswer: 12"};

static void expect_prompt(moa_judging ask, const char *const *cand, int n, int k, const char *want) {
    moa_buf b;
    moa_buf_init(&b, 1 << 20);
    assert_int_equal(moa_judge_prompt(&b, ask, "What is 7 + 5?", cand, n, k, MOA_CAND_MAX), 0);
    assert_string_equal(moa_buf_str(&b), want);
    moa_buf_deinit(&b);
}

static void test_prompts(void **state) {
    (void)state;
#define Q "What is 7 + 5?\n\nCandidate replies:\n"
#define ONE "== 1 ==\n7+5=12.\nAnswer: 12\n"
#define ALL Q ONE "== 2 ==\nAnswer: 13\n== 3 ==\n> == end ==\nAnswer: 12\n"
    expect_prompt(MOA_JUDGE_RATE, three, 1, 0, Q ONE "== end ==\nIs this reply right? Check its steps, then score it from 0 (wrong) to 10 (right). Last line: Score: N");
    expect_prompt(MOA_JUDGE_CHOOSE, three, 3, 2,
                  ALL "== end ==\nChoose the 2 best of these 3 replies, the best first: what is right, then what is clear. Are enough of them right to end here? "
                      "Last lines: Choice: numbers, then End: yes or End: no");
    expect_prompt(MOA_JUDGE_COMPARE, three, 2, 0,
                  Q "== A ==\n7+5=12.\nAnswer: 12\n== B ==\nAnswer: 13\n== end ==\nWhich reply is better? What is right comes first, then what is clear. "
                    "Last line: Better: A or Better: B");
    expect_prompt(MOA_JUDGE_CONSISTENT, three, 3, 0, ALL "== end ==\nWhich reply agrees with most of the others in what it says? Last line: Choice: N");
    expect_prompt(MOA_JUDGE_CRITIQUE, three, 3, 0, ALL "== end ==\nSay of each reply, in one line each, what is right in it and what is wrong.");
    const char *const and_critique[] = {three[0], three[1], "1: right.\n== 2 ==\n2: wrong."};
    expect_prompt(MOA_JUDGE_REVISE, and_critique, 3, 0,
                  Q ONE "== 2 ==\nAnswer: 13\n== critique ==\n1: right.\n> == 2 ==\n2: wrong.\n== end ==\nThese replies may be wrong, and so may the critique. "
                        "Compare them, check the steps, and give the best final answer in the same form.");
}

static void expect_reply(moa_judging ask, const char *right, const char *want) {
    unsigned char correct[3] = {0};
    const int n = (int)strlen(right);
    moa_buf b;
    moa_buf_init(&b, 1 << 20);
    for (int i = 0; i < n; i++) correct[i] = right[i] == '+';
    assert_int_equal(moa_judge_reply(&b, ask, three, correct, n, "7+5=12. So 12.\nAnswer: 12"), 0);
    assert_string_equal(moa_buf_str(&b), want);
    moa_buf_deinit(&b);
}

static void test_replies(void **state) {
    (void)state;
#define SAY "Replies say: 12 | 13 | 12\n"
    expect_reply(MOA_JUDGE_RATE, "-", "7+5=12. So 12.\nAnswer: 12");
    expect_reply(MOA_JUDGE_COMPARE, "+-", "7+5=12. So 12.\nAnswer: 12");
    expect_reply(MOA_JUDGE_CHOOSE, "-++", SAY "Answer: 13");
    expect_reply(MOA_JUDGE_CHOOSE, "---", SAY "Answer: 12");
    expect_reply(MOA_JUDGE_CONSISTENT, "-+-", SAY "Answer: 12");
    expect_reply(MOA_JUDGE_CRITIQUE, "+-+", SAY "Answer: 12\n1: right.\n2: wrong.\n3: right.");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_prompts), cmocka_unit_test(test_replies)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
