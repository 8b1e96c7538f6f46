/* taskset.h - named sets of items to measure with: the built-in set "microworld", or a file of one's own.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TASK_TASKSET_H
#define MOA_TASK_TASKSET_H

#include "task/format.h"

typedef struct moa_taskset moa_taskset;
enum { MOA_TASKSET_MOST = 15625, MOA_TASKSET_USUAL = 20 }; /* items of a family: 64 of the first make a million */

/* name: "microworld" (all scored families), "microworld/FAMILY" or "microworld/FAMILY/LEVEL", or the path of a file of any format of
 * `moa list formats`. Generated sets hold n_per_family (0: MOA_TASKSET_USUAL) held-out items of each family, levels in turn, no question twice; the same
 * (name, seed, n) is the same set. A file gives its items in order: the first n_per_family of each group, 0: all; seed is not used. */
int moa_taskset_open(moa_taskset **out, const char *name, uint64_t seed, int n_per_family, moa_err *err);
/* A file of this format; NULL: of the one that knows its first object. */
int moa_taskset_open_as(moa_taskset **out, const char *name, const moa_task_format *format, uint64_t seed, int n_per_family, moa_err *err);
int moa_taskset_text(moa_taskset **out, const char *text, size_t n, const char *name, const moa_task_format *format, moa_err *err); /* a file's text */
const moa_task_format *moa_taskset_format(const moa_taskset *t); /* of a file; NULL: generated */
void moa_taskset_free(moa_taskset *t);

int moa_taskset_count(const moa_taskset *t);
const moa_item *moa_taskset_item(const moa_taskset *t, int i); /* lives as long as t; family is NULL for a file's items */
int moa_taskset_group_count(const moa_taskset *t);             /* families, or the groups of a file */
const char *moa_taskset_group_name(const moa_taskset *t, int g);
int moa_taskset_group(const moa_taskset *t, int i);            /* of item i */

#endif
