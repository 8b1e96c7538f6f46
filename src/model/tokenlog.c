/* tokenlog.c - see tokenlog.h. SPDX-License-Identifier: Apache-2.0 */
#include "model/tokenlog.h"
#include "base/err.h"

#include <stdlib.h>
#include <string.h>

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
