/* judge.c - what a judge is asked about candidate replies, and the replies that a critic is trained on. See task.h.
 *
 * Each prompt is the question, the candidates in the aggregator's fence, then what is wanted and in which form: the form stands in the last
 * line, so that readers (agent/parse.c) look for one label and take the last line that has it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "task/task.h"

#include <stdio.h>
#include <string.h>

static const char rate[] = "Is this reply right? Check its steps, then score it from 0 (wrong) to 10 (right). Last line: Score: N";
static const char compare[] = "Which reply is better? What is right comes first, then what is clear. Last line: Better: A or Better: B";
static const char consistent[] = "Which reply agrees with most of the others in what it says? Last line: Choice: N";
static const char critique[] = "Say of each reply, in one line each, what is right in it and what is wrong.";
static const char revise[] =
    "These replies may be wrong, and so may the critique. Compare them, check the steps, and give the best final answer in the same form.";

int moa_judge_prompt(moa_buf *out, moa_judging ask, const char *question, const char *const *cand, int n, int k, size_t most) {
    char choose[240];
    switch (ask) {
    case MOA_JUDGE_COMPARE:
        moa_fence_begin(out, question);
        moa_fence_add(out, "A", cand[0], most);
        moa_fence_add(out, "B", cand[1], most);
        return moa_fence_end(out, compare);
    case MOA_JUDGE_REVISE:
        moa_fence_numbered(out, question, cand, n - 1, most);
        moa_fence_add(out, "critique", cand[n - 1], most);
        return moa_fence_end(out, revise);
    default:
        moa_fence_numbered(out, question, cand, n, most);
    }
    if (ask == MOA_JUDGE_CHOOSE)
        snprintf(choose, sizeof choose, "Choose the %d best of these %d replies, the best first: what is right, then what is clear. Are enough of them right to end "
                 "here? Last lines: Choice: numbers, then End: yes or End: no", k, n);
    return moa_fence_end(out, ask == MOA_JUDGE_RATE ? rate : ask == MOA_JUDGE_CHOOSE ? choose : ask == MOA_JUDGE_CONSISTENT ? consistent : critique);
}

/* The first candidate of those whose answer most candidates give. */
static int most_common(const char *const *cand, int n) {
    moa_buf a, b;
    int best = 0, most = 0;
    moa_buf_init(&a, MOA_ANSWER_MAX);
    moa_buf_init(&b, MOA_ANSWER_MAX);
    for (int i = 0; i < n; i++) {
        int same = 0;
        moa_buf_clear(&a);
        if (!moa_answer_extract(&a, cand[i], strlen(cand[i]))) continue;
        for (int j = 0; j < n; j++) {
            moa_buf_clear(&b);
            same += moa_answer_extract(&b, cand[j], strlen(cand[j])) && !strcmp(moa_buf_str(&a), moa_buf_str(&b));
        }
        if (same > most) most = same, best = i;
    }
    moa_buf_deinit(&a);
    moa_buf_deinit(&b);
    return best;
}

/* The answer of a reply, as a line of its own. */
static void answer_line(moa_buf *out, const char *reply) {
    const char *a;
    size_t n;
    if (moa_answer_find(&a, &n, reply, strlen(reply)) && n && n <= MOA_ANSWER_MAX) moa_buf_addf(out, "Answer: %.*s", (int)n, a);
    else moa_buf_adds(out, "Answer: none");
}

int moa_judge_reply(moa_buf *out, moa_judging ask, const char *const *cand, const unsigned char *correct, int n, const char *solution) {
    int right = 0;
    while (right < n && !correct[right]) right++;
    if (ask == MOA_JUDGE_RATE || ask == MOA_JUDGE_COMPARE) return moa_buf_adds(out, solution), out->failed;
    moa_replies_say(out, cand, n);
    answer_line(out, ask == MOA_JUDGE_CONSISTENT ? cand[most_common(cand, n)] : right < n ? cand[right] : solution);
    for (int i = 0; ask == MOA_JUDGE_CRITIQUE && i < n; i++) moa_buf_addf(out, "\n%d: %s.", i + 1, correct[i] ? "right" : "wrong");
    return out->failed;
}
