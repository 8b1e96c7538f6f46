/* gsm8k.c - GSM8K (Cobbe et al., arXiv 2110.14168): {"question", "answer"}, where the answer is a worked solution whose last line is "#### N". A reply
 * is right when the number it names as its answer is N; where it names none, its last number counts (what others call flexible extraction).
 * formats.def: FORMAT(gsm8k)
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "task/format.h"

#include <string.h>

static const char *gold_of(const json_t *o) {
    const char *a = moa_member(o, "answer"), *last = NULL;
    for (const char *p = a; p && (p = strstr(p, "#### ")); p += 5) last = p + 5;
    return last;
}

static bool knows(const json_t *o) { return moa_member(o, "question") && gold_of(o); }

static int read_gsm8k(moa_item *it, const char **group, const json_t *o, const char *where, moa_err *err) {
    const char *question = moa_member(o, "question"), *gold = gold_of(o);
    *group = NULL;
    if (!question || !*question || !gold) return moa_fail(err, MOA_EFORMAT, "%s: expected the strings \"question\" and \"answer\", whose last line is \"#### N\"", where);
    MOA_TRY(moa_put_question(it, question, "Think step by step. End with a line \"Answer: \" and the number.", where, err));
    return moa_put_gold(it, "number", gold, where, err);
}

const moa_task_format moa_task_format_gsm8k = {.name = "gsm8k", .help = "GSM8K: {\"question\", \"answer\": \"... #### N\"}", .knows = knows, .read = read_gsm8k};
