/* solutions.c - recorded solutions of grade-school problems (example_model_solutions of GSM8K's repository): {"question", "ground_truth",
 * "MODEL": {"solution", "is_correct"}, ...}. Whether a recorded solution is right is decided here, by its number, as for any other reply; the
 * file's own is_correct is what tests hold that against.
 * formats.def: FORMAT(solutions)
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "task/format.h"

#include <string.h>

static const char *gold_of(const json_t *o) {
    const char *a = moa_member(o, "ground_truth"), *last = NULL;
    for (const char *p = a; p && (p = strstr(p, "A: ")); p += 3) last = p + 3;
    return last;
}

static bool knows(const json_t *o) { return moa_member(o, "question") && gold_of(o); }

static int read_solutions(moa_item *it, const char **group, const json_t *o, const char *where, moa_err *err) {
    const char *question = moa_member(o, "question"), *gold = gold_of(o);
    *group = NULL;
    if (!question || !*question || !gold) return moa_fail(err, MOA_EFORMAT, "%s: expected the strings \"question\" and \"ground_truth\", which ends with \"A: N\"", where);
    MOA_TRY(moa_put_question(it, question, NULL, where, err));
    return moa_put_gold(it, "number", gold, where, err);
}

static int replies(const json_t *o, moa_replied_fn fn, void *ctx, moa_err *err) {
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)o, key, v) {
        const char *text = moa_member(v, "solution");
        if (text) MOA_TRY(fn(ctx, key, text, err));
    }
    return 0;
}

const moa_task_format moa_task_format_solutions = {
    .name = "solutions", .help = "GSM8K with what models replied: {\"question\", \"ground_truth\", \"MODEL\": {\"solution\"}}", .knows = knows, .read = read_solutions, .replies = replies};
