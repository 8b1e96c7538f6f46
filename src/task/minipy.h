/* minipy.h - an interpreter of a small Python subset that explains what it does.
 *
 * Statements: name = expr, name += expr (and -= *=), name.append(expr), if/elif/else, while, for name in expr,
 * print(expr, ...), pass-free blocks by indentation of 4. Expressions: integers, strings in double quotes, lists,
 * names, + - * // %, comparisons, and/or/not, indexing (also from the end), len(), range(1 or 2 numbers), brackets.
 * Everything has a bound (steps, depth, sizes, numbers), so any text ends quickly with a result or an error.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TASK_MINIPY_H
#define MOA_TASK_MINIPY_H

#include "base/buf.h"
#include "moa.h"

/* y = x + 4 is traced as "3+4=7, y=7". */
typedef struct moa_py_trace {
    moa_buf *out;        /* NULL: none */
    const char *between; /* what stands between two entries: ". ", "; ", newline */
} moa_py_trace;

/* Run the program. Printed lines go to out, each ending with a newline; steps (may be NULL): statements executed.
 * MOA_EFORMAT with the line and what is wrong there; MOA_ELIMIT when a bound is met. */
int moa_py_run(moa_buf *out, const char *program, const moa_py_trace *trace, int *steps, moa_err *err);

#endif
