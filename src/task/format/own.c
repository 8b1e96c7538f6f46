/* own.c - moa's own task files: {"question", "answer"} or {"prompt", "reference"}, with a "checker" where the answer is held against replies in
 * another way, and a "family" to group by. A prompt without an answer is for judges, and for `moa distill`.
 * formats.def: FORMAT(own)
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "task/format.h"

static bool knows(const json_t *o) { return json_is_object(o); }

static int read_own(moa_item *it, const char **group, const json_t *o, const char *where, moa_err *err) {
    const char *question = moa_member(o, "question"), *prompt = moa_member(o, "prompt"), *answer = moa_member(o, "answer"), *checker = moa_member(o, "checker");
    const char *reference = moa_member(o, "reference"), *id = moa_member(o, "id");
    *group = moa_member(o, "family");
    if (!answer && checker) answer = reference;
    if ((!question && !prompt) || (question && !answer && !checker) || !*(question ? question : prompt) || (json_object_get(o, "answer") && !answer))
        return moa_fail(err, MOA_EFORMAT, "%s: expected an object with the strings \"question\" and \"answer\", or \"prompt\"", where);
    if (checker && !moa_checker_find(checker)) {
        moa_fail(err, MOA_EFORMAT, "%s: unknown checker '%.40s'", where, checker);
        return moa_hint(err, MOA_EFORMAT, "checkers are answer, number, choice, literal, text and contains; a prompt without an answer needs none");
    }
    if (checker && !answer) return moa_fail(err, MOA_EFORMAT, "%s: checker '%.40s' has no \"answer\" or \"reference\" to compare with", where, checker);
    MOA_TRY(moa_put_question(it, question ? question : prompt, NULL, where, err));
    if (id) moa_buf_adds(&it->name, id);
    if (reference && moa_buf_adds(&it->reference, reference) < 0) return moa_fail(err, MOA_ELIMIT, "%s: the reference is too long", where);
    if (it->name.failed) return moa_fail(err, MOA_ELIMIT, "%s: the id is too long", where);
    return answer ? moa_put_gold(it, checker ? checker : "answer", answer, where, err) : 0;
}

const moa_task_format moa_task_format_own = {
    .name = "own", .help = "{\"question\", \"answer\"[, \"checker\", \"family\"]} or {\"prompt\"[, \"reference\"]}", .knows = knows, .read = read_own};
