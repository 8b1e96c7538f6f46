/* schedule.h - how the learning rate runs over a stage. One file a schedule in schedule/, registry schedules.def.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TRAIN_SCHEDULE_H
#define MOA_TRAIN_SCHEDULE_H

#include "moa.h"

typedef struct moa_schedule {
    const char *name, *help;
    double (*shape)(double t); /* 1 at t = 0 to 0 at t = 1; constant stays at 1 */
} moa_schedule;
const moa_schedule *const *moa_schedules(int *n);
const moa_schedule *moa_schedule_find(const char *name);

/* Rate of step (0-based) of n_steps: lr * (step + 1) / warmup while warming up, then from lr to min_lr along the shape;
 * the last step has min_lr. */
double moa_schedule_lr(const moa_schedule *s, int64_t step, int64_t n_steps, int64_t warmup, double lr, double min_lr);

#endif
