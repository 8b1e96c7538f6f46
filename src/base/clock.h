/* clock.h - monotonic seconds. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_BASE_CLOCK_H
#define MOA_BASE_CLOCK_H

#include <time.h>

static inline double moa_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
