/* pace.h - what the rows of a step cost, from the steps themselves.
 *
 * A step of n rows takes about a + b n: a for reading the weights, b for computing a row. Both drift (longer contexts, a busy machine),
 * so they come from exponentially weighted sums over the last dozens of steps: least squares around the mean, pulled towards
 * b = t / n where all steps had about the same number of rows and nothing can be told apart. A step that lost its core for a
 * while counts as no more than twice what was expected of it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_PACE_H
#define MOA_MODEL_PACE_H

typedef struct moa_pace {
    double keep;            /* weight of a step against the next one: 0.9 remembers ten steps, 0.97 thirty */
    double w, n, t, nn, nt; /* weighted sums of 1, n, t, n n, n t */
} moa_pace;

void moa_pace_note(moa_pace *p, int rows, double seconds);
double moa_pace_row(const moa_pace *p);          /* seconds that one more row adds; 0: nothing is known */
double moa_pace_at(const moa_pace *p, int rows); /* seconds of a step; 0: nothing is known */
/* How many rows a step may have to end within `bound` seconds, 1 to most; `first` while nothing is known. */
int moa_pace_rows(const moa_pace *p, double bound, int first, int most);

#endif
