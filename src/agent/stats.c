/* stats.c - see stats.h. SPDX-License-Identifier: Apache-2.0 */
#include "agent/stats.h"

#include "base/rng.h"

#include <math.h>
#include <stdlib.h>

enum { RESAMPLES = 2000 };

double moa_mean(const double *x, int n) {
    double s = 0;
    for (int i = 0; i < n; i++) s += x[i];
    return n ? s / n : 0;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double moa_median(double *x, int n) {
    if (n == 0) return 0;
    qsort(x, (size_t)n, sizeof *x, ascending);
    return n % 2 ? x[n / 2] : 0.5 * (x[n / 2 - 1] + x[n / 2]);
}

void moa_bootstrap_ci(double ci[2], const double *x, int n, uint64_t seed) {
    double means[RESAMPLES];
    ci[0] = ci[1] = moa_mean(x, n);
    if (n < 2) return;
    moa_rng r;
    moa_rng_seed(&r, seed);
    for (int k = 0; k < RESAMPLES; k++) {
        double s = 0;
        for (int i = 0; i < n; i++) s += x[moa_rng_below(&r, (uint32_t)n)];
        means[k] = s / n;
    }
    qsort(means, RESAMPLES, sizeof *means, ascending);
    ci[0] = means[(int)(0.025 * RESAMPLES)];
    ci[1] = means[(int)(0.975 * RESAMPLES) - 1];
}

double moa_mcnemar(int a, int b) {
    const int n = a + b, k = a < b ? a : b;
    double p = 0;
    for (int i = 0; i <= k; i++) p += exp(lgamma(n + 1) - lgamma(i + 1) - lgamma(n - i + 1) - n * log(2));
    return p < 0.5 ? 2 * p : 1;
}

bool moa_fit_plane(double *a, double *b, double *c, double *r2, const double *q, const double *d, const double *t, int n) {
    if (n < 3) return false;
    double mq = moa_mean(q, n), md = moa_mean(d, n), mt = moa_mean(t, n), qq = 0, dd = 0, qd = 0, qt = 0, dt = 0, tt = 0;
    for (int i = 0; i < n; i++) {
        double x = q[i] - mq, y = d[i] - md, z = t[i] - mt;
        qq += x * x, dd += y * y, qd += x * y, qt += x * z, dt += y * z, tt += z * z;
    }
    double det = qq * dd - qd * qd;
    if (!(det > 1e-12 * (qq * dd + 1e-300)) || det < 1e-18) return false;
    *a = (qt * dd - dt * qd) / det;
    *b = (dt * qq - qt * qd) / det;
    *c = mt - *a * mq - *b * md;
    *r2 = tt > 0 ? (*a * qt + *b * dt) / tt : 1;
    return true;
}
