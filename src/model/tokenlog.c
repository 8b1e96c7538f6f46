/* tokenlog.c - see tokenlog.h. SPDX-License-Identifier: Apache-2.0 */
#include "model/tokenlog.h"
#include "base/arena.h"
#include "base/err.h"

#include <stdlib.h>
#include <string.h>

enum { TOLD_MAX = 256 << 20 }; /* bytes of tokens of one reply */

int moa_token_log_new(moa_token_log **out, int top, moa_err *err) {
    if (top < 0 || top > MOA_TOP_MAX) return moa_fail(err, MOA_EINVAL, "%d most probable tokens, expected 0 to %d", top, MOA_TOP_MAX);
    moa_token_log *l = *out = calloc(1, sizeof *l);
    if (!l) return moa_fail(err, MOA_ENOMEM, "a list of tokens");
    l->top = top;
    pthread_mutex_init(&l->lock, NULL);
    return 0;
}

void moa_token_log_free(moa_token_log *l) {
    if (!l) return;
    pthread_mutex_destroy(&l->lock);
    moa_arena_free(l->arena);
    free(l->told);
    free(l->v);
    free(l);
}

int moa_token_log_reserve(moa_token_log *l, int64_t n, moa_err *err) {
    pthread_mutex_lock(&l->lock);
    moa_token_prob *v = n > l->cap ? realloc(l->v, (size_t)n * (size_t)(1 + l->top) * sizeof *v) : l->v;
    if (v) l->v = v, l->cap = n > l->cap ? n : l->cap;
    pthread_mutex_unlock(&l->lock);
    return v || !n ? 0 : moa_fail(err, MOA_ENOMEM, "probabilities of %lld tokens", (long long)n);
}

void moa_token_log_add(moa_token_log *l, const moa_token_prob *row) {
    const size_t w = (size_t)(1 + l->top);
    pthread_mutex_lock(&l->lock);
    if (l->n < l->cap) memcpy(l->v + (size_t)l->n++ * w, row, w * sizeof *row);
    pthread_mutex_unlock(&l->lock);
}

/* Readers hold the lock while they look into the list; the bytes themselves stay where they are. */
static int make_room(moa_token_log *l, int n, moa_err *err) {
    if (!l->arena && !(l->arena = moa_arena_new(0, TOLD_MAX))) return moa_fail(err, MOA_ENOMEM, "tokens of a reply");
    if (l->n == l->cap) MOA_TRY(moa_token_log_reserve(l, l->cap ? 2 * l->cap : 64, err));
    if (l->n_told + n <= l->cap_told) return 0;
    const int32_t cap = 2 * l->cap_told + 64 * (1 + MOA_TOP_MAX);
    pthread_mutex_lock(&l->lock);
    moa_str *v = realloc(l->told, (size_t)cap * sizeof *v);
    if (v) l->told = v, l->cap_told = cap;
    pthread_mutex_unlock(&l->lock);
    return v ? 0 : moa_fail(err, MOA_ENOMEM, "%d tokens of a reply", (int)cap);
}

int moa_token_log_tell(moa_token_log *l, const moa_token_told *row, int n, moa_err *err) {
    moa_token_prob v[1 + MOA_TOP_MAX];
    size_t bytes = 0;
    if (n > 1 + l->top) n = 1 + l->top;
    MOA_TRY(make_room(l, n, err));
    for (int i = 0; i < n; i++) bytes += row[i].bytes.n;
    char *p = moa_arena_alloc(l->arena, bytes + 1);
    if (!p) return moa_fail(err, MOA_ENOMEM, "tokens of a reply: over %d MiB", TOLD_MAX >> 20);
    for (int i = 0; i < n; i++) {
        const moa_str s = row[i].bytes;
        if (s.n) memcpy(p, s.p, s.n);
        v[i] = (moa_token_prob){l->n_told + i, row[i].logprob};
        l->told[l->n_told + i] = (moa_str){p, s.n}; /* nobody reads it yet */
        p += s.n;
    }
    for (int i = n; i <= l->top; i++) v[i] = (moa_token_prob){-1, 0};
    pthread_mutex_lock(&l->lock);
    l->n_told += n;
    pthread_mutex_unlock(&l->lock);
    moa_token_log_add(l, v);
    return 0;
}

bool moa_token_log_bytes(moa_str *out, moa_token_log *l, int32_t id) {
    pthread_mutex_lock(&l->lock);
    const bool told = id >= 0 && id < l->n_told;
    if (told) *out = l->told[id];
    pthread_mutex_unlock(&l->lock);
    return told;
}

int64_t moa_token_log_count(moa_token_log *l) {
    pthread_mutex_lock(&l->lock);
    const int64_t n = l->n;
    pthread_mutex_unlock(&l->lock);
    return n;
}

void moa_token_log_get(moa_token_log *l, int64_t i, moa_token_prob *row) {
    const size_t w = (size_t)(1 + l->top);
    pthread_mutex_lock(&l->lock);
    memcpy(row, l->v + (size_t)i * w, w * sizeof *row);
    pthread_mutex_unlock(&l->lock);
}
