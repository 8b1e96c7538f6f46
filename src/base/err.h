/* err.h - filling a moa_err. Codes and struct are public (include/moa.h).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_BASE_ERR_H
#define MOA_BASE_ERR_H

#include "moa.h"

/* Fill err (may be NULL) and return code, so that a failing path reads
 * `return moa_fail(err, MOA_EFORMAT, "%s: tensor '%s': offset %llu, expected a multiple of %u", ...)`. */
int moa_fail(moa_err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Add what the user can do about it. Returns err->code (or code when err is NULL). */
int moa_hint(moa_err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Put "where: " before the text of an error that a callee filled. Returns code. */
int moa_wrap(moa_err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Run expr; on failure return its code (callee has filled err). */
#define MOA_TRY(expr)                                                                              \
    do {                                                                                           \
        int moa_try_rc_ = (expr);                                                                  \
        if (moa_try_rc_ < 0) return moa_try_rc_;                                                   \
    } while (0)

/* For broken invariants only, never for input. Always on; prints both sides where there are two. */
void moa_assert_fail(const char *file, int line, const char *expr, long long a, long long b)
    __attribute__((noreturn));
#define moa_assert(cond)                                                                           \
    ((cond) ? (void)0 : moa_assert_fail(__FILE__, __LINE__, #cond, 0, 0))
#define moa_assert_eq(a, b)                                                                        \
    ((long long)(a) == (long long)(b)                                                              \
         ? (void)0                                                                                 \
         : moa_assert_fail(__FILE__, __LINE__, #a " == " #b, (long long)(a), (long long)(b)))

#endif
