/* mmlu.c - multiple choice: MMLU (Hendrycks et al., arXiv 2009.03300) {"question", "choices": [...], "answer": index or letter, "subject"}, and ARC's form of
 * the same, {"question", "choices": {"text": [...], "label": [...]}, "answerKey"}.
 * formats.def: FORMAT(mmlu)
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "task/format.h"

#include <ctype.h>
#include <string.h>

static bool knows(const json_t *o) { return moa_member(o, "question") && json_object_get(o, "choices"); }

/* -1: it is none of the labels. */
static int by_label(const json_t *labels, const char *key) {
    for (size_t i = 0; i < json_array_size(labels); i++) {
        const char *s = json_string_value(json_array_get(labels, i));
        if (s && strcmp(s, key) == 0) return (int)i;
    }
    return -1;
}

static int right_of(int *right, const json_t *o, const json_t *labels, const char *where, moa_err *err) {
    const json_t *a = json_object_get(o, labels ? "answerKey" : "answer");
    const char *s = json_string_value(a);
    *right = -1;
    if (s && labels) *right = by_label(labels, s);
    else if (json_is_integer(a) && json_integer_value(a) >= 0 && json_integer_value(a) < MOA_CHOICES_MAX) *right = (int)json_integer_value(a);
    else if (s && strlen(s) == 1 && isalpha((unsigned char)*s)) *right = toupper((unsigned char)*s) - 'A';
    else if (s && strlen(s) == 1 && isdigit((unsigned char)*s)) *right = *s - '0';
    if (*right >= 0) return 0;
    return moa_fail(err, MOA_EFORMAT, "%s: %s is %s%.40s%s, expected %s", where, labels ? "\"answerKey\"" : "\"answer\"", s ? "'" : a ? "a value of another kind" : "missing", s ? s : "",
                    s ? "'" : "", labels ? "one of the labels" : "the index or the letter of a choice");
}

static int read_mmlu(moa_item *it, const char **group, const json_t *o, const char *where, moa_err *err) {
    const json_t *c = json_object_get(o, "choices"), *labels = json_object_get(c, "label"), *texts = labels ? json_object_get(c, "text") : c;
    const char *question = moa_member(o, "question"), *choice[MOA_CHOICES_MAX];
    const size_t n = json_array_size(texts);
    int right;
    *group = moa_member(o, "subject");
    if (!question || !*question || n < 2 || n > MOA_CHOICES_MAX)
        return moa_fail(err, MOA_EFORMAT, "%s: expected the string \"question\" and 2 to %d \"choices\", got %zu", where, MOA_CHOICES_MAX, n);
    for (size_t i = 0; i < n; i++)
        if (!(choice[i] = json_string_value(json_array_get(texts, i)))) return moa_fail(err, MOA_EFORMAT, "%s: choice %zu is no string", where, i);
    MOA_TRY(right_of(&right, o, labels, where, err));
    return moa_put_choices(it, question, choice, (int)n, right, where, err);
}

const moa_task_format moa_task_format_mmlu = {.name = "mmlu", .help = "MMLU, ARC: {\"question\", \"choices\", \"answer\"}, by subject", .knows = knows, .read = read_mmlu};
