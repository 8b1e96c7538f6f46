/* retry.c - see retry.h. SPDX-License-Identifier: Apache-2.0 */
#include "fetch/retry.h"

#include "base/clock.h"
#include "base/err.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PAUSE_MAX = 30, UNHEARD_MAX = 3 }; /* a host that never answered is more likely misspelt than busy */

void moa_retry_init(moa_retry *r, int max, double base) {
    *r = (moa_retry){.max = max, .base = base};
    moa_rng_seed2(&r->rng, (uint64_t)(moa_now() * 1e9), (uint64_t)getpid());
}

static double pause_of(moa_retry *r, const moa_http_reply *reply) {
    double s = r->base;
    if (reply->retry_after >= 0) return reply->retry_after + r->base * moa_rng_f64(&r->rng);
    for (int i = 1; i < r->failed && s < PAUSE_MAX; i++) s *= 2;
    if (s > PAUSE_MAX) s = PAUSE_MAX;
    return s * (0.5 + 0.5 * moa_rng_f64(&r->rng));
}

int moa_retry_wait(moa_retry *r, const moa_http_reply *reply, const moa_fetch_watch *w, moa_err *err) {
    const int code = err->code;
    r->heard = r->heard || reply->status > 0;
    if (!reply->transient) return code;
    const int max = r->heard || r->max < UNHEARD_MAX ? r->max : UNHEARD_MAX;
    if (++r->failed > max) {
        const size_t n = strlen(err->text);
        if (r->failed > 1) snprintf(err->text + n, sizeof err->text - n, " (%d attempts failed)", r->failed);
        return code;
    }
    const double s = pause_of(r, reply);
    if (s > MOA_RETRY_WAIT_MAX + r->base) return moa_hint(err, code, "the server asks to come back in %.0f minutes", s / 60);
    moa_fetch_event e = {.kind = MOA_FETCH_WAIT, .total = -1, .text = err->text};
    for (const double end = moa_now() + s; (e.seconds = end - moa_now()) > 0;) {
        if (!moa_fetch_tell(w, &e)) return moa_fail(err, MOA_ECANCELED, "stopped");
        const double nap = e.seconds < 0.1 ? e.seconds : 0.1;
        usleep((useconds_t)(nap * 1e6) + 1);
    }
    *err = (moa_err){0};
    return 0;
}
