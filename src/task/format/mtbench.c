/* mtbench.c - MT-bench (Zheng et al., arXiv 2306.05685): {"question_id", "category", "turns": [first, second]}. The second turn is asked when the first has
 * been answered, by the same mix. There is no gold answer: a judge compares.
 * formats.def: FORMAT(mtbench)
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "task/format.h"

static bool knows(const json_t *o) { return json_is_array(json_object_get(o, "turns")); }

static int read_mtbench(moa_item *it, const char **group, const json_t *o, const char *where, moa_err *err) {
    const json_t *turns = json_object_get(o, "turns");
    const size_t n = json_array_size(turns);
    const char *first = json_string_value(json_array_get(turns, 0)), *second = json_string_value(json_array_get(turns, 1));
    *group = moa_member(o, "category");
    if (n < 1 || n > 2 || !first || !*first || (n == 2 && !second)) return moa_fail(err, MOA_EFORMAT, "%s: expected \"turns\" of one or two strings, got %zu entries", where, n);
    MOA_TRY(moa_put_question(it, first, NULL, where, err));
    return second && moa_buf_adds(&it->follow, second) < 0 ? moa_fail(err, MOA_ELIMIT, "%s: the second turn is too long", where) : 0;
}

const moa_task_format moa_task_format_mtbench = {
    .name = "mtbench", .help = "MT-bench: {\"turns\": [first, second], \"category\"}", .knows = knows, .read = read_mtbench, .note = "there is no gold answer: compare with --judge"};
