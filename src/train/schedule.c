/* schedule.c - registry of schedules, and the warm-up that all of them share.
 * SPDX-License-Identifier: Apache-2.0 */
#include "train/schedule.h"

#include <string.h>

#define SCHEDULE(x) extern const moa_schedule moa_schedule_##x;
#include "train/schedules.def"
#undef SCHEDULE

static const moa_schedule *const table[] = {
#define SCHEDULE(x) &moa_schedule_##x,
#include "train/schedules.def"
#undef SCHEDULE
};

const moa_schedule *const *moa_schedules(int *n) {
    *n = (int)(sizeof table / sizeof *table);
    return table;
}

const moa_schedule *moa_schedule_find(const char *name) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!strcmp(table[i]->name, name)) return table[i];
    return NULL;
}

double moa_schedule_lr(const moa_schedule *s, int64_t step, int64_t n_steps, int64_t warmup, double lr, double min_lr) {
    if (step < warmup) return lr * (double)(step + 1) / (double)warmup;
    int64_t left = n_steps - 1 - warmup;
    double t = left > 0 ? (double)(step - warmup) / (double)left : 1.0;
    if (t > 1) t = 1;
    return min_lr + (lr - min_lr) * s->shape(t);
}
