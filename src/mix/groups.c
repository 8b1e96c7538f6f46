/* groups.c - a counting sort in parts: each part of the slots counts its experts, the counts become first positions, each part puts
 * its slots. The parts follow the number of slots and not the threads, and what comes out is the same for any parts.
 * SPDX-License-Identifier: Apache-2.0 */
#include "mix/groups.h"
#include "base/err.h"

#include <stdatomic.h>

enum { PART = 2048, MAX_PARTS = 64 };

typedef struct sort { /* range: parts */
    const int32_t *id;
    int32_t *slot;
    int32_t *count;       /* [n_part, n_expert] counts, then next positions */
    int64_t n;
    int n_expert, n_part;
    _Atomic int32_t *bad; /* an id that is no expert's; -1: none */
    bool put;
} sort;

static void sort_parts(const void *args, int64_t p0, int64_t p1, int thread) {
    const sort *j = args;
    (void)thread;
    for (int64_t p = p0; p < p1; p++) {
        int32_t *count = j->count + p * j->n_expert;
        for (int64_t s = j->n * p / j->n_part, end = j->n * (p + 1) / j->n_part; s < end; s++) {
            const int32_t e = j->id[s];
            if (e < 0 || e >= j->n_expert) atomic_store(j->bad, (int32_t)s);
            else if (j->put) j->slot[count[e]++] = (int32_t)s;
            else count[e]++;
        }
    }
}

int moa_groups_make(moa_exec *x, moa_groups *g, const moa_route *r, int n_expert) {
    const int64_t n = moa_tensor_count(r->ids);
    const int n_part = n < 2 * PART ? 1 : n / PART < MAX_PARTS ? (int)(n / PART) : MAX_PARTS;
    _Atomic int32_t bad = -1;
    sort j = {.id = r->ids->data, .n = n, .n_expert = n_expert, .n_part = n_part, .bad = &bad};
    if (n > INT32_MAX) return moa_fail(&x->err, MOA_ELIMIT, "combine: %lld slots are too many", (long long)n);
    j.slot = g->slot = moa_arena_alloc(x->arena, (size_t)n * sizeof *g->slot);
    g->first = moa_arena_alloc(x->arena, (size_t)(n_expert + 1) * sizeof *g->first);
    j.count = moa_arena_calloc(x->arena, (size_t)n_part * (size_t)n_expert * sizeof *j.count);
    if (!g->slot || !g->first || !j.count) return moa_fail(&x->err, MOA_ENOMEM, "combine: no memory for %lld slots", (long long)n);
    moa_parallel_each(x, n_part, 1.5 * PART, sort_parts, &j);
    if (bad >= 0)
        return moa_fail(&x->err, MOA_EINVAL, "combine: expert %d chosen, expected 0 to %d", j.id[bad], n_expert - 1);
    int32_t at = 0;
    for (int e = 0; e < n_expert; e++) {
        g->first[e] = at;
        for (int p = 0; p < n_part; p++) {
            int32_t *c = &j.count[(int64_t)p * n_expert + e], have = *c;
            *c = at;
            at += have;
        }
    }
    g->first[n_expert] = at;
    j.put = true;
    moa_parallel_each(x, n_part, 1.5 * PART, sort_parts, &j);
    return 0;
}
