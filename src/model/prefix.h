/* prefix.h - finished sequences kept for their beginnings: the next turn, or an aggregator that reads the same
 * conversation, forks the longest match instead of computing it again. The budget is the KV store itself: entries go,
 * the least recently used first, when a running sequence needs their blocks or their place.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_PREFIX_H
#define MOA_MODEL_PREFIX_H

#include "model/session.h"

typedef struct moa_prefix_entry {
    int seq;
    int32_t *tok;  /* [n] what its KV holds */
    int64_t n;
    uint64_t kind; /* moa_seq_kind */
    uint64_t used; /* clock of the last use */
} moa_prefix_entry;

typedef struct moa_prefix_cache {
    moa_session *s;
    moa_prefix_entry *entry; /* [cap] */
    int n, cap;
    uint64_t clock;
} moa_prefix_cache;

int moa_prefix_init(moa_prefix_cache *c, moa_session *s, int cap, moa_err *err);
void moa_prefix_deinit(moa_prefix_cache *c); /* before the session is freed */
/* Takes over seq, whose KV holds tok [n]. Never fails: without memory the sequence is freed. */
void moa_prefix_put(moa_prefix_cache *c, int seq, const int32_t *tok, int64_t n);
/* Keeps a fork of seq, which goes on. */
void moa_prefix_keep(moa_prefix_cache *c, int seq, const int32_t *tok, int64_t n);
/* Longest common beginning with an entry of that kind (moa_session_kind) that a fork can start from, at most `most`; *seq its sequence
 * (valid until the next put or evict). */
int64_t moa_prefix_find(moa_prefix_cache *c, int *seq, uint64_t kind, const int32_t *tok, int64_t most);
bool moa_prefix_evict(moa_prefix_cache *c); /* the least recently used; false: nothing left */

static inline int64_t moa_common(const int32_t *a, const int32_t *b, int64_t n) {
    int64_t i = 0;
    while (i < n && a[i] == b[i]) i++;
    return i;
}

#endif
