/* fault.h - what a client hears when its request cannot be done: a status of HTTP and OpenAI's error object,
 * {"error": {"message", "type", "param", "code"}}. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_SERVE_FAULT_H
#define MOA_SERVE_FAULT_H

#include "base/buf.h"
#include "base/err.h"

typedef struct moa_fault {
    int status;          /* of HTTP; 0: nothing failed */
    const char *code;    /* machine-readable, such as "model_not_found"; NULL: null */
    char param[128];     /* path of the field that is wrong, such as "messages[2].content"; "": null */
    char text[800];      /* what, where, got and expected, what to do */
    int retry_after;     /* seconds; 0: the client is not asked to try again */
} moa_fault;

/* Fills f and returns -1, so that a failing path is one line. */
int moa_fault_set(moa_fault *f, int status, const char *code, const char *param, const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* From an error of the library: the status that its code means, its hint behind its text. */
int moa_fault_from(moa_fault *f, const char *param, const moa_err *err);
const char *moa_fault_type(int status); /* "invalid_request_error" ... */
/* Appends the error object as one line of JSON. */
void moa_fault_json(moa_buf *out, const moa_fault *f);

#endif
