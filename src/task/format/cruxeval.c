/* cruxeval.c - CRUXEval (Gu et al., arXiv 2401.03065), output prediction: {"code", "input", "output", "id"}. What does f(input) return? The output is
 * a Python literal and compared as one; nothing is run.
 * formats.def: FORMAT(cruxeval)
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "task/format.h"

static bool knows(const json_t *o) { return moa_member(o, "code") && moa_member(o, "input") && moa_member(o, "output"); }

static int read_cruxeval(moa_item *it, const char **group, const json_t *o, const char *where, moa_err *err) {
    const char *code = moa_member(o, "code"), *input = moa_member(o, "input"), *output = moa_member(o, "output"), *id = moa_member(o, "id");
    *group = NULL;
    if (!knows(o)) return moa_fail(err, MOA_EFORMAT, "%s: expected the strings \"code\", \"input\" and \"output\"", where);
    moa_buf_addf(&it->question, "%s\n\nWhat does f(%s) return? ", code, input);
    MOA_TRY(moa_put_question(it, "End with a line \"Answer: \" and the value as a Python literal.", NULL, where, err));
    if (id && moa_buf_adds(&it->name, id) < 0) return moa_fail(err, MOA_ELIMIT, "%s: the id is too long", where);
    return moa_put_gold(it, "literal", output, where, err);
}

const moa_task_format moa_task_format_cruxeval = {.name = "cruxeval", .help = "CRUXEval, what a function returns: {\"code\", \"input\", \"output\", \"id\"}", .knows = knows, .read = read_cruxeval};
