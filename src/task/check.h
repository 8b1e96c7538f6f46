/* check.h - how a reply is held against the answer that is known: one row a way.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TASK_CHECK_H
#define MOA_TASK_CHECK_H

#include "task/task.h"

typedef struct moa_checker {
    const char *name, *help;
    /* What is known, as a file writes it, into it->answer in the form that right() compares. false: no reply could ever be right. */
    bool (*gold)(moa_item *it, const char *s, size_t n);
    bool (*right)(const moa_item *it, const char *reply, size_t n);
} moa_checker;
/* "answer" is what an item has unless it says otherwise. */
const moa_checker *moa_checkers(int *n);
const moa_checker *moa_checker_find(const char *name);
/* Takes the checker for it (NULL: "answer") and the gold answer. false: as gold(). */
bool moa_item_gold(moa_item *it, const moa_checker *c, const char *s, size_t n);
static inline bool moa_item_scored(const moa_item *it) { return it->answer.len > 0; }

/* The last number in a text, in the form of moa_answer_canon. false: there is none. */
bool moa_number_last(moa_buf *out, const char *s, size_t n);
/* A Python literal (numbers, strings, None, True, False, lists, tuples, sets, dicts) written in one way: spaces gone, strings in double quotes
 * with few escapes. false: it is something else, or nested deeper than 64; nothing is ever evaluated. */
bool moa_literal_canon(moa_buf *out, const char *s, size_t n);

#endif
