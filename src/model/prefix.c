/* prefix.c - see prefix.h. A linear search: entries are tens, and a compare stops at the first difference.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/prefix.h"
#include "base/err.h"

#include <stdlib.h>
#include <string.h>

int moa_prefix_init(moa_prefix_cache *c, moa_session *s, int cap, moa_err *err) {
    *c = (moa_prefix_cache){.s = s, .cap = cap, .entry = calloc((size_t)cap, sizeof(moa_prefix_entry))};
    return c->entry ? 0 : moa_fail(err, MOA_ENOMEM, "generator: no memory for a prefix cache of %d entries", cap);
}

static void drop(moa_prefix_cache *c, int i) {
    moa_seq_free(c->s, c->entry[i].seq);
    free(c->entry[i].tok);
    c->entry[i] = c->entry[--c->n];
}

void moa_prefix_deinit(moa_prefix_cache *c) {
    while (c->n) drop(c, c->n - 1);
    free(c->entry);
    *c = (moa_prefix_cache){0};
}

bool moa_prefix_evict(moa_prefix_cache *c) {
    int old = 0;
    if (!c->n) return false;
    for (int i = 1; i < c->n; i++)
        if (c->entry[i].used < c->entry[old].used) old = i;
    drop(c, old);
    return true;
}

void moa_prefix_put(moa_prefix_cache *c, int seq, const int32_t *tok, int64_t n) {
    const uint64_t kind = moa_seq_kind(c->s, seq);
    for (int i = 0; i < c->n; i++) {
        moa_prefix_entry *e = &c->entry[i];
        if (e->kind != kind) continue;
        const int64_t same = moa_common(e->tok, tok, e->n < n ? e->n : n);
        /* With sliding windows a sequence may have left its own beginning behind. */
        if (same == n && moa_seq_reaches(c->s, e->seq, n)) { /* nothing new */
            e->used = ++c->clock;
            moa_seq_free(c->s, seq);
            return;
        }
        if (same == e->n && moa_seq_reaches(c->s, seq, e->n)) drop(c, i--); /* the new one holds all of it */
    }
    if (c->n == c->cap) moa_prefix_evict(c);
    int32_t *own = n && c->cap ? malloc((size_t)n * sizeof *own) : NULL;
    if (!own) {
        moa_seq_free(c->s, seq);
        return;
    }
    memcpy(own, tok, (size_t)n * sizeof *own);
    c->entry[c->n++] = (moa_prefix_entry){.seq = seq, .tok = own, .n = n, .kind = kind, .used = ++c->clock};
}

void moa_prefix_keep(moa_prefix_cache *c, int seq, const int32_t *tok, int64_t n) {
    if (c->n == c->cap) moa_prefix_evict(c);
    const int copy = moa_seq_fork(c->s, seq, n, NULL);
    if (copy >= 0) moa_prefix_put(c, copy, tok, n);
}

int64_t moa_prefix_find(moa_prefix_cache *c, int *seq, uint64_t kind, const int32_t *tok, int64_t most) {
    int64_t best = 0;
    moa_prefix_entry *hit = NULL;
    for (int i = 0; i < c->n; i++) {
        if (c->entry[i].kind != kind) continue;
        const int64_t same = moa_common(c->entry[i].tok, tok, c->entry[i].n < most ? c->entry[i].n : most);
        if (same > best && moa_seq_reaches(c->s, c->entry[i].seq, same)) best = same, hit = &c->entry[i];
    }
    if (hit) {
        hit->used = ++c->clock;
        *seq = hit->seq;
    }
    return best;
}
