/* humaneval.c - HumanEval and what is written like it (Chen et al., arXiv 2107.03374): {"task_id", "prompt", "entry_point", "test", ...}, and MBPP
 * (Austin et al., arXiv 2108.07732), whose prompt is "text" beside "code". moa runs no code that a model wrote, so a program cannot be scored by its
 * tests: where a line has an "answer" (what a call prints, say), replies are held against that, else it is for a judge.
 * formats.def: FORMAT(humaneval)
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "task/format.h"

static const char *prompt_of(const json_t *o) { return moa_member(o, moa_member(o, "code") ? "text" : "prompt"); }

static bool knows(const json_t *o) { return prompt_of(o) && (json_object_get(o, "task_id") || json_object_get(o, "entry_point") || json_object_get(o, "code")); }

static int read_humaneval(moa_item *it, const char **group, const json_t *o, const char *where, moa_err *err) {
    const char *prompt = prompt_of(o), *answer = moa_member(o, "answer"), *id = moa_member(o, "task_id"), *solution = moa_member(o, "canonical_solution");
    *group = NULL;
    if (!prompt || !*prompt) return moa_fail(err, MOA_EFORMAT, "%s: expected the string \"prompt\", or \"text\" beside \"code\"", where);
    MOA_TRY(moa_put_question(it, prompt, NULL, where, err));
    if (id && moa_buf_adds(&it->name, id) < 0) return moa_fail(err, MOA_ELIMIT, "%s: the task_id is too long", where);
    if (solution && moa_buf_adds(&it->reference, solution) < 0) return moa_fail(err, MOA_ELIMIT, "%s: the canonical_solution is too long", where);
    return answer ? moa_put_gold(it, "answer", answer, where, err) : 0;
}

const moa_task_format moa_task_format_humaneval = {.name = "humaneval", .help = "HumanEval, MBPP: {\"task_id\", \"prompt\"[, \"answer\"]}; code is never run", .knows = knows, .read = read_humaneval,
                                                   .note = "code that models write is never run: only lines with an \"answer\" are scored, by that answer"};
