/* buf.c - see buf.h. SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include "base/err.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void moa_buf_init(moa_buf *b, size_t max) { *b = (moa_buf){.max = max}; }

void moa_buf_deinit(moa_buf *b) {
    free(b->data);
    *b = (moa_buf){.max = b->max};
}

static int reserve(moa_buf *b, size_t n) {
    if (b->failed) return b->failed;
    if (n > b->max - b->len) return b->failed = MOA_ELIMIT;
    if (n >= SIZE_MAX / 2 - b->len) return b->failed = MOA_ENOMEM;
    size_t need = b->len + n + 1;
    if (need <= b->cap) return 0;
    size_t cap = b->cap ? b->cap * 2 : 64;
    if (cap < need) cap = need;
    char *p = realloc(b->data, cap);
    if (!p) return b->failed = MOA_ENOMEM;
    b->data = p;
    b->cap = cap;
    return 0;
}

int moa_buf_add(moa_buf *b, const void *p, size_t n) {
    MOA_TRY(reserve(b, n));
    if (n) memcpy(b->data + b->len, p, n);
    b->len += n;
    b->data[b->len] = 0;
    return 0;
}

int moa_buf_adds(moa_buf *b, const char *s) { return moa_buf_add(b, s, strlen(s)); }

int moa_buf_addf(moa_buf *b, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) return b->failed = MOA_EINVAL;
    MOA_TRY(reserve(b, (size_t)n));
    va_start(ap, fmt);
    vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
    return 0;
}

void moa_buf_clear(moa_buf *b) {
    b->len = 0;
    b->failed = 0;
    if (b->data) b->data[0] = 0;
}

char *moa_buf_take(moa_buf *b) {
    char *p = NULL;
    if (!b->failed && reserve(b, 0) == 0) {
        p = b->data;
        p[b->len] = 0;
        b->data = NULL;
    }
    moa_buf_deinit(b);
    return p;
}
