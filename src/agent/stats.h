/* stats.h - how sure a measured number is. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_STATS_H
#define MOA_AGENT_STATS_H

#include <stdbool.h>
#include <stdint.h>

double moa_mean(const double *x, int n); /* 0 for n = 0 */
double moa_median(double *x, int n);     /* sorts x */
/* Percentile bootstrap (Efron 1979): 95 % interval of the mean of x, whose n entries are independent (items; repeated
 * seeds of one item are averaged before, so that they do not count as new evidence). Seeded: repeats bit for bit. */
void moa_bootstrap_ci(double ci[2], const double *x, int n, uint64_t seed);

/* McNemar's exact test (McNemar 1947): of the items on which two differ, a was right on one side and b on the other. Probability of a split at least as
 * uneven where both are equally good: two-sided, binomial(a + b, 1/2). */
double moa_mcnemar(int a, int b);

/* Least squares t = a q + b d + c over n points; *r2 is the share of variance explained. False when the points do not
 * determine it (fewer than 3, or on one line). */
bool moa_fit_plane(double *a, double *b, double *c, double *r2, const double *q, const double *d, const double *t, int n);

#endif
