/* format.h - files of questions that people have: one reader a format (format/NAME.c, formats.def).
 *
 * A file is JSONL, one object a line, or a JSON array of objects. A reader turns one object into an item: the question as it is put to a model,
 * the answer that a checker compares (check.h), or none, where only a judge can tell good replies from bad ones. A format whose files also hold what
 * models replied gives those out, so that they can be played back as if the models were asked (agent/backend/recorded.c).
 * Code in questions or answers is never run.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TASK_FORMAT_H
#define MOA_TASK_FORMAT_H

#include "task/check.h"

#include <jansson.h>

/* What a model replied to the object's question. Texts are borrowed. */
typedef int (*moa_replied_fn)(void *ctx, const char *model, const char *text, moa_err *err);

typedef struct moa_task_format {
    const char *name, *help;
    const char *note;                 /* what a score over it does not mean; NULL: nothing */
    bool (*knows)(const json_t *o);   /* is the object one of this format? */
    /* The item; *group borrows from o: what to group by, NULL: nothing. where: "FILE:LINE", for errors. */
    int (*read)(moa_item *it, const char **group, const json_t *o, const char *where, moa_err *err);
    int (*replies)(const json_t *o, moa_replied_fn fn, void *ctx, moa_err *err); /* NULL: there are none */
} moa_task_format;
const moa_task_format *const *moa_task_formats(int *n);
const moa_task_format *moa_task_format_find(const char *name, moa_err *err);
const moa_task_format *moa_task_format_of(const json_t *o); /* that knows it; the own one where none does */

/* Every object of a file, in order: fn's negative ends it. where: "FILE:LINE", in an array "FILE: item N". */
typedef int (*moa_task_object_fn)(void *ctx, const json_t *o, const char *where, moa_err *err);
int moa_task_objects(const char *path, moa_task_object_fn fn, void *ctx, moa_err *err);
int moa_task_objects_text(const char *text, size_t n, const char *name, moa_task_object_fn fn, void *ctx, moa_err *err);

/* ---- for readers ---- */
static inline const char *moa_member(const json_t *o, const char *key) { return json_string_value(json_object_get(o, key)); }
/* it->question = text and then how to end the reply (NULL: nothing). */
int moa_put_question(moa_item *it, const char *text, const char *ending, const char *where, moa_err *err);
/* The gold answer, or an error that says it. */
int moa_put_gold(moa_item *it, const char *checker, const char *answer, const char *where, moa_err *err);
/* A question with choices and the index of the right one. */
int moa_put_choices(moa_item *it, const char *question, const char *const *choice, int n, int right, const char *where, moa_err *err);
enum { MOA_CHOICES_MAX = 26 };

#endif
