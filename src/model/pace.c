/* pace.c - see pace.h. SPDX-License-Identifier: Apache-2.0 */
#include "model/pace.h"

#define SURE 5    /* steps after which there is an expectation */
#define PRIOR 0.05 /* the pull is as strong as a spread of rows of this share of their mean */

void moa_pace_note(moa_pace *p, int rows, double seconds) {
    const double n = rows, expected = moa_pace_at(p, rows);
    if (p->w > SURE && seconds > 2 * expected) seconds = 2 * expected;
    p->w = p->w * p->keep + 1;
    p->n = p->n * p->keep + n;
    p->t = p->t * p->keep + seconds;
    p->nn = p->nn * p->keep + n * n;
    p->nt = p->nt * p->keep + n * seconds;
}

double moa_pace_row(const moa_pace *p) {
    if (p->w <= 0) return 0;
    const double n = p->n / p->w, t = p->t / p->w, pull = PRIOR * n * PRIOR * n;
    const double b = (p->nt / p->w - n * t + pull * t / n) / (p->nn / p->w - n * n + pull);
    const double least = 0.02 * t / n, most = 1.5 * t / n; /* noise of few steps */
    return b < least ? least : b > most ? most : b;
}

double moa_pace_at(const moa_pace *p, int rows) {
    if (p->w <= 0) return 0;
    const double t = p->t / p->w + moa_pace_row(p) * (rows - p->n / p->w), least = 0.1 * p->t / p->w;
    return t > least ? t : least;
}

int moa_pace_rows(const moa_pace *p, double bound, int first, int most) {
    double n = first;
    if (p->w > 0) {
        const double mean = p->n / p->w;
        n = mean + (bound - p->t / p->w) / moa_pace_row(p);
        if (n > 2 * mean + 1) n = 2 * mean + 1; /* a line is a guess, far from where it was measured */
    }
    return n < 1 ? 1 : n > most ? most : (int)n;
}
