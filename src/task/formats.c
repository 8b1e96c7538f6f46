/* formats.c - the registry of task formats, and what several readers share. SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/nearest.h"
#include "task/format.h"

#include <string.h>

#define FORMAT(x) extern const moa_task_format moa_task_format_##x;
#include "task/formats.def"
#undef FORMAT

static const moa_task_format *const table[] = {
#define FORMAT(x) &moa_task_format_##x,
#include "task/formats.def"
#undef FORMAT
};
enum { N_FORMAT = sizeof table / sizeof *table };

const moa_task_format *const *moa_task_formats(int *n) {
    *n = N_FORMAT;
    return table;
}

const moa_task_format *moa_task_format_find(const char *name, moa_err *err) {
    const char *names[N_FORMAT];
    for (int i = 0; i < N_FORMAT; i++) {
        if (!strcmp(table[i]->name, name)) return table[i];
        names[i] = table[i]->name;
    }
    const char *near = moa_nearest(name, names, N_FORMAT);
    moa_fail(err, MOA_EUSAGE, "no task format '%s'", name);
    if (near) moa_hint(err, MOA_EUSAGE, "did you mean %s?", near);
    else moa_hint(err, MOA_EUSAGE, "`moa list formats` names them");
    return NULL;
}

const moa_task_format *moa_task_format_of(const json_t *o) {
    for (int i = 0; i + 1 < N_FORMAT; i++)
        if (table[i]->knows(o)) return table[i];
    return table[N_FORMAT - 1];
}

int moa_put_question(moa_item *it, const char *text, const char *ending, const char *where, moa_err *err) {
    moa_buf_adds(&it->question, text);
    if (ending) moa_buf_addf(&it->question, "\n\n%s", ending);
    if (it->question.failed) return moa_fail(err, it->question.failed, "%s: the question is too long", where);
    it->id = moa_hash64(moa_buf_str(&it->question), it->question.len, 0);
    return 0;
}

int moa_put_gold(moa_item *it, const char *checker, const char *answer, const char *where, moa_err *err) {
    const moa_checker *c = moa_checker_find(checker);
    if (moa_item_gold(it, c, answer, strlen(answer))) return 0;
    return moa_fail(err, MOA_EFORMAT, "%s: the answer '%.40s' is empty, longer than %d bytes or none that a reply could end with (checker %s)", where, answer, MOA_ANSWER_MAX, checker);
}

int moa_put_choices(moa_item *it, const char *question, const char *const *choice, int n, int right, const char *where, moa_err *err) {
    const char letter[2] = {(char)('A' + right), 0};
    if (n < 2 || n > MOA_CHOICES_MAX) return moa_fail(err, MOA_EFORMAT, "%s: %d choices, expected 2 to %d", where, n, MOA_CHOICES_MAX);
    if (right < 0 || right >= n) return moa_fail(err, MOA_EFORMAT, "%s: the answer is choice %d, expected 0 to %d", where, right, n - 1);
    moa_buf_addf(&it->question, "%s\n", question);
    for (int i = 0; i < n; i++) moa_buf_addf(&it->question, "%c) %s\n", 'A' + i, choice[i]);
    MOA_TRY(moa_put_question(it, "", "End with a line \"Answer: \" and the letter of the right choice.", where, err));
    return moa_put_gold(it, "choice", letter, where, err);
}
