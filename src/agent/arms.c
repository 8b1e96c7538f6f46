/* arms.c - see arms.h. SPDX-License-Identifier: Apache-2.0 */
#include "agent/arms.h"

#include <math.h>
#include <stdlib.h>

enum { MOST = 64 }; /* costs that the median is of */

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

void moa_arms_score(moa_arm *a, int n, double explore, double weight, bool relative) {
    double cost[MOST], t = 0, best = 0;
    int n_cost = 0;
    for (int i = 0; i < n; i++) {
        if (!(a[i].n > 0)) continue;
        t += a[i].n;
        if (a[i].reward / a[i].n > best) best = a[i].reward / a[i].n;
        if (n_cost < MOST) cost[n_cost++] = a[i].cost / a[i].n;
    }
    if (n_cost) qsort(cost, (size_t)n_cost, sizeof *cost, by_value);
    const double middle = n_cost ? cost[n_cost / 2] : 0;
    for (int i = 0; i < n; i++) {
        if (!(a[i].n > 0)) {
            a[i].score = HUGE_VAL;
            continue;
        }
        const double mean = a[i].reward / a[i].n / (relative && best > 0 ? best : 1), unknown = explore * sqrt(2 * log(t > 1 ? t : 1) / a[i].n);
        a[i].score = (1 - weight) * (mean + unknown) + weight / (1 + (middle > 0 ? a[i].cost / a[i].n / middle : 0));
    }
}
