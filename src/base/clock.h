/* clock.h - monotonic seconds. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_BASE_CLOCK_H
#define MOA_BASE_CLOCK_H

#include <stddef.h>
#include <time.h>

/* NULL: the machine's clock. A test sets its own, in which hours pass at once; who sleeps still sleeps by the machine's. */
extern double (*moa_clock)(void);

static inline double moa_now(void) {
    struct timespec t;
    if (moa_clock) return moa_clock();
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
