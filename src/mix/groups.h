/* groups.h - slots of a route sorted by expert. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MIX_GROUPS_H
#define MOA_MIX_GROUPS_H

#include "mix/route.h"

/* Slots (row * k + j) grouped by expert: those of e are slot[first[e]] .. slot[first[e + 1] - 1], ascending. */
typedef struct moa_groups {
    int32_t *slot;  /* [n * k] */
    int64_t *first; /* [n_expert + 1] */
} moa_groups;

/* In the arena; a code with a sticky error without memory or where an id is no expert's. */
int moa_groups_make(moa_exec *x, moa_groups *g, const moa_route *r, int n_expert);

#endif
