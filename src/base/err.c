/* err.c - error text: truncated, never overflowing, never allocating (it must work out of memory).
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *moa_strerror(int code) {
    switch (code) {
#define MOA_ERR_CASE(name, value, text)                                                            \
    case value: return text;
        MOA_ERR_LIST(MOA_ERR_CASE)
#undef MOA_ERR_CASE
    default: return "unknown error";
    }
}

/* Errors quote names out of files and of servers, and end on terminals. */
int moa_fail(moa_err *err, int code, const char *fmt, ...) {
    if (!err) return code;
    va_list ap;
    va_start(ap, fmt);
    err->code = code;
    err->hint[0] = 0;
    vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    moa_utf8_tame(err->text, true);
    return code;
}

int moa_hint(moa_err *err, int code, const char *fmt, ...) {
    if (!err) return code;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->hint, sizeof err->hint, fmt, ap);
    va_end(ap);
    moa_utf8_tame(err->hint, true);
    return err->code ? err->code : code;
}

int moa_wrap(moa_err *err, int code, const char *fmt, ...) {
    if (!err) return code;
    char old[sizeof err->text];
    memcpy(old, err->text, sizeof old);
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    moa_utf8_tame(err->text, true);
    if (n < 0 || (size_t)n + 3 > sizeof err->text) return code;
    size_t room = sizeof err->text - (size_t)n - 3, k = strnlen(old, sizeof old);
    if (k > room) k = room;
    memcpy(err->text + n, ": ", 2);
    memcpy(err->text + n + 2, old, k);
    err->text[(size_t)n + 2 + k] = 0;
    return code;
}

void moa_assert_fail(const char *file, int line, const char *expr, long long a, long long b) {
    fprintf(stderr, "moa: internal error at %s:%d: %s (%lld, %lld)\n", file, line, expr, a, b);
    abort();
}
