/* retry.h - waiting before something is tried again: doubling pauses with jitter, so that many clients do not come back
 * at the same moment; what the server asks for (Retry-After) goes first.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FETCH_RETRY_H
#define MOA_FETCH_RETRY_H

#include "base/rng.h"
#include "fetch/event.h"
#include "fetch/http.h"

enum { MOA_RETRY_WAIT_MAX = 300 }; /* seconds that a server may make us wait; more is told to the user instead */

typedef struct moa_retry {
    int max;          /* attempts that may fail in a row */
    double base;      /* seconds of the first pause */
    int failed;       /* so far, in a row */
    bool heard;       /* the server has answered once: from then on failures count as passing ones */
    moa_rng rng;
} moa_retry;

void moa_retry_init(moa_retry *r, int max, double base);
/* After a failed request (its error in err): waits and returns 0 where it should be tried again, else the error's code
 * with a hint. Canceled while waiting: MOA_ECANCELED. */
int moa_retry_wait(moa_retry *r, const moa_http_reply *reply, const moa_fetch_watch *w, moa_err *err);

#endif
