/* calc.h - a calculator that reads replies: equations in a text, worked out again. Arithmetic alone; nothing is ever run.
 *
 * An equation is EXPRESSION = NUMBER. Expressions: numbers (thousands commas, decimals), + - * / (also the signs for times, divided and minus), % for the
 * rest of a division, ^ for powers, parentheses. Times of day, variables and anything else are no numbers, so what has them is no equation; nor is what
 * is known in part: "x - 3 + 5 = 10", "2/4 = 1/2", "30/200 = 15%", "7/2 = 3 remainder 1". Units are not known: "2*30 = 1 hour" is wrong.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_CALC_H
#define MOA_AGENT_CALC_H

#include <stdbool.h>
#include <stddef.h>

enum { MOA_CALC_EXPR_MAX = 200, MOA_CALC_DEPTH_MAX = 16 };
/* The value of all of s[0 .. n). false: no expression, one with a number beyond 1e15, or a division by 0. */
bool moa_calc(double *value, const char *s, size_t n);

typedef struct moa_equation {
    const char *expr; size_t n_expr;    /* in the text */
    const char *result; size_t n_result; /* as it stands there */
    double said, value;                 /* what it says, and what it is */
    bool right;                         /* equal, or equal when rounded to as many decimals as it says */
} moa_equation;
/* The equations of a text with at least one operation, in order; at most `most` go to out. Returns how many. Any bytes will do. */
int moa_calc_find(moa_equation *out, int most, const char *text, size_t n);
/* The first of a text's equations that is wrong, to *out. false: it has none that is (or none at all). */
bool moa_calc_wrong(moa_equation *out, const char *text, size_t n);

#endif
