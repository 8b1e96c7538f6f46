/* alpacaeval.c - outputs in the form of AlpacaEval (Dubois et al., arXiv 2404.04475): {"instruction"[, "input"], "output", "generator", "dataset"}. There is no
 * gold answer; the output is what a model replied, so it can be compared with, and played back.
 * formats.def: FORMAT(alpacaeval)
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "task/format.h"

static bool knows(const json_t *o) { return moa_member(o, "instruction") != NULL; }

static int read_alpacaeval(moa_item *it, const char **group, const json_t *o, const char *where, moa_err *err) {
    const char *instruction = moa_member(o, "instruction"), *input = moa_member(o, "input"), *output = moa_member(o, "output");
    *group = moa_member(o, "dataset");
    if (!instruction || !*instruction) return moa_fail(err, MOA_EFORMAT, "%s: expected the string \"instruction\"", where);
    MOA_TRY(moa_put_question(it, instruction, input && *input ? input : NULL, where, err));
    return output && moa_buf_adds(&it->reference, output) < 0 ? moa_fail(err, MOA_ELIMIT, "%s: the output is too long", where) : 0;
}

static int replies(const json_t *o, moa_replied_fn fn, void *ctx, moa_err *err) {
    const char *output = moa_member(o, "output"), *generator = moa_member(o, "generator");
    return output ? fn(ctx, generator ? generator : "recorded", output, err) : 0;
}

const moa_task_format moa_task_format_alpacaeval = {.name = "alpacaeval", .help = "AlpacaEval: {\"instruction\", \"output\", \"generator\", \"dataset\"}", .knows = knows,
                                                    .read = read_alpacaeval, .replies = replies, .note = "there is no gold answer: compare with --judge"};
