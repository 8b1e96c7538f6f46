/* ngram.c - see ngram.h. A slot is overwritten by whatever falls on it: the newest is the best guess anyway.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/ngram.h"
#include "base/rng.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { REPLIES = 2048 /* tokens of replies for which a table has room beside its prompt */, MOST_BITS = 20, CHAIN = 64 };

static uint64_t hash_of(const int32_t *tok, int n) {
    uint64_t h = (uint64_t)n;
    for (int i = 0; i < n; i++) h = moa_mix64(h ^ (uint32_t)tok[i]);
    return h | 1ull << 63; /* no slot in use is 0 */
}

moa_ngrams *moa_ngrams_open(moa_ngrams **list, const int32_t *prompt, int64_t n) {
    const uint64_t id = moa_hash64(prompt, (size_t)n * sizeof *prompt, 0);
    for (moa_ngrams *t = *list; t; t = t->next)
        if (t->id == id) return t->users++, t;
    int bits = 10;
    while (bits < MOST_BITS && (int64_t)1 << bits < 2 * 2 * (n + REPLIES)) bits++;
    const size_t slots = (size_t)1 << bits;
    moa_ngrams *t = calloc(1, sizeof *t + slots * sizeof t->slot[0]);
    if (!t) return NULL;
    *t = (moa_ngrams){.next = *list, .id = id, .users = 1, .mask = (uint32_t)slots - 1};
    *list = t;
    for (int64_t i = 1; i <= n; i++) moa_ngrams_learn(t, prompt, i);
    return t;
}

void moa_ngrams_close(moa_ngrams **list, moa_ngrams *t) {
    if (!t || --t->users) return;
    while (*list != t) list = &(*list)->next;
    *list = t->next;
    free(t);
}

void moa_ngrams_learn(moa_ngrams *t, const int32_t *tok, int64_t n) {
    static const int order[] = {MOA_NGRAM_LONG, MOA_NGRAM_SHORT};
    for (int i = 0; i < 2; i++) {
        if (n <= order[i]) continue;
        const uint64_t h = hash_of(tok + n - 1 - order[i], order[i]);
        t->slot[h & t->mask] = (h >> 32 << 32) | (uint32_t)tok[n - 1];
    }
}

/* What follows tok [n]; -1: nothing is known. */
static int32_t next(const moa_ngrams *t, const int32_t *tok, int64_t n) {
    static const int order[] = {MOA_NGRAM_LONG, MOA_NGRAM_SHORT};
    for (int i = 0; i < 2; i++) {
        if (n < order[i]) continue;
        const uint64_t h = hash_of(tok + n - order[i], order[i]), s = t->slot[h & t->mask];
        if (s >> 32 == h >> 32) return (int32_t)(uint32_t)s;
    }
    return -1;
}

int moa_ngrams_guess(const moa_ngrams *t, int32_t *out, int most, const int32_t *tok, int64_t n) {
    int32_t w[MOA_NGRAM_LONG + CHAIN];
    const int had = n < MOA_NGRAM_LONG ? (int)n : MOA_NGRAM_LONG;
    if (most > CHAIN) most = CHAIN;
    memcpy(w, tok + n - had, (size_t)had * sizeof *w);
    int k = 0;
    for (int32_t id; k < most && (id = next(t, w, had + k)) >= 0; k++) out[k] = w[had + k] = id;
    return k;
}
