/* moa.h - the one public header: run mixtures of language models.
 *
 * Graded from easy to hard:
 *   1. errors            moa_err, moa_strerror
 *   2. one answer        moa_answer
 *   3. models, sessions  moa_model_open, moa_tokenize, moa_session_*
 *   4. mixtures          moa_mix_* (events while they run)
 *
 * Every fallible function returns 0 or a negative MOA_E* code and, when err is not NULL, fills it with
 * what failed, where, what was got and expected, and a hint what to do. The library never prints and
 * never exits. Who makes an object frees it; every free/close function takes NULL.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_H
#define MOA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default) /* everything else in the library is hidden */

#define MOA_VERSION "0.1.0"

/* ---- 1. errors ---------------------------------------------------------------------------------- */

/* One list of codes for the whole library: X(name, value, text). */
#define MOA_ERR_LIST(X)                                                                            \
    X(OK, 0, "ok")                                                                                 \
    X(EINVAL, -1, "invalid argument")                                                              \
    X(ENOMEM, -2, "out of memory")                                                                 \
    X(EIO, -3, "input/output error")                                                               \
    X(EFORMAT, -4, "malformed input")                                                              \
    X(EUNSUPPORTED, -5, "not supported")                                                           \
    X(ENOTFOUND, -6, "not found")                                                                  \
    X(ELIMIT, -7, "limit exceeded")                                                                \
    X(ECANCELED, -8, "canceled")                                                                   \
    X(EUSAGE, -9, "wrong use")

enum {
#define MOA_ERR_ENUM(name, value, text) MOA_##name = value,
    MOA_ERR_LIST(MOA_ERR_ENUM)
#undef MOA_ERR_ENUM
};

typedef struct moa_err {
    int code;       /* MOA_E*, 0 when nothing failed */
    char text[512]; /* what, where, got and expected */
    char hint[256]; /* what to do about it; may be empty */
} moa_err;

const char *moa_strerror(int code); /* static text; "unknown error" for a foreign code */

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
