/* gen.h - small helpers of the task families: choosing, shuffling, filling sentence patterns.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TASK_GEN_H
#define MOA_TASK_GEN_H

#include "base/err.h"
#include "task/task.h"

/* At most one draw in an argument list or initializer: C does not order them, and items must be the same whatever
 * compiler built the program. */
#define MOA_COUNT(a) ((int)(sizeof(a) / sizeof *(a)))
#define MOA_PICK(r, a) ((a)[moa_rng_below((r), (uint32_t)MOA_COUNT(a))])

static inline bool moa_gen_chance(moa_rng *r, int percent) { return (int)moa_rng_below(r, 100) < percent; }

/* Fisher and Yates. */
void moa_gen_shuffle(moa_rng *r, int *v, int n);
/* k different numbers of 0..n-1, in random order; k <= 64. */
void moa_gen_sample(moa_rng *r, int *out, int k, int n);
/* Add pattern with "$0".."$9" replaced by arg[0..9] ("$$": a dollar sign). */
void moa_gen_fill(moa_buf *b, const char *pattern, const char *const *arg, int n_arg);
/* "a" or "an", by the first letter. */
const char *moa_gen_article(const char *noun);
/* Add n in decimal: several times faster than printf, and the families write many numbers. */
void moa_gen_int(moa_buf *b, long long n);
/* The same into t; returns where it begins inside t. */
const char *moa_gen_dec(char t[24], long long n);
/* Copy s with its first ASCII letter made a capital. */
void moa_gen_capital(moa_buf *b, const char *s);

/* Common English words of 3 to 9 letters, lower case, all different. */
extern const char *const moa_words[];
extern const int moa_n_words;
/* First names. */
extern const char *const moa_first_names[];
extern const int moa_n_first_names;

#endif
