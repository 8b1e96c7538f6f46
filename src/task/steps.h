/* steps.h - sums worked out on paper: the text between a question and its answer.
 *
 * A transformer of a few million weights does not add long numbers in its head, but it learns to add digits and to
 * carry. So steps go place by place or by partial results, without blanks inside ("7+5=12": fewer tokens), and each
 * operation has several methods, so that two samples of a model can be wrong in different ways.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TASK_STEPS_H
#define MOA_TASK_STEPS_H

#include "task/gen.h"

/* Add the steps of a op b ('+', '-', '*'), a, b >= 0, a >= b for '-', ending with a full stop. The method is drawn. */
void moa_steps_add(moa_buf *out, int a, int b, moa_rng *r);
void moa_steps_sub(moa_buf *out, int a, int b, moa_rng *r);
void moa_steps_mul(moa_buf *out, int a, int b, moa_rng *r);
/* "a+b=c" */
void moa_steps_equation(moa_buf *out, long long a, char op, long long b, long long c);

#endif
