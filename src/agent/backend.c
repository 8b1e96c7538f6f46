/* backend.c - the registry of backends, and what is the same for all of them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/run.h"

#include "base/clock.h"

#include <string.h>

#define BACKEND(x) extern const moa_backend_ops moa_backend_ops_##x;
#include "agent/backends.def"
#undef BACKEND

static const moa_backend_ops *const table[] = {
#define BACKEND(x) &moa_backend_ops_##x,
#include "agent/backends.def"
#undef BACKEND
};

const moa_backend_ops *const *moa_backends(int *n) {
    *n = (int)(sizeof table / sizeof *table);
    return table;
}

void moa_backend_close(moa_backend *b) {
    if (b) b->ops->close(b);
}

int moa_backend_ctx_hint(moa_err *err, int rc, const moa_backend *b, int64_t n, const char *first) {
    if (n < b->n_ctx_most && b->n_ctx < b->n_ctx_most)
        return moa_hint(err, rc, "%s, or allow a longer context: --ctx N, the model reads up to %d tokens", first, b->n_ctx_most);
    return moa_hint(err, rc, "%s; %s reads no more than %d tokens", first, b->id, b->n_ctx_most ? b->n_ctx_most : b->n_ctx);
}

/* Calls of a batch run side by side, so their own times overlap. Each gets a share of the wall time by the tokens
 * that were computed for it: shares add up to what was really spent. */
static void share_time(moa_call *call, int n, double wall) {
    double sum = 0, known = 0;
    for (int i = 0; i < n; i++) {
        sum += (double)(call[i].res.n_prompt - call[i].res.n_reused + call[i].res.n_ids);
        known += call[i].share_s;
    }
    if (sum <= 0 || known > 0) return; /* a backend that passes calls on brings the shares with it */
    for (int i = 0; i < n; i++)
        call[i].share_s = wall * (double)(call[i].res.n_prompt - call[i].res.n_reused + call[i].res.n_ids) / sum;
}

int moa_backend_complete(moa_backend *b, moa_call *call, int n, moa_gen_cb cb, void *ctx, moa_err *err) {
    double t0 = moa_now();
    moa_err e = {0};
    int rc = b->ops->complete(b, call, n, cb, ctx, &e);
    for (int i = 0; rc < 0 && i < n; i++)
        if (call[i].rc >= 0 && !call[i].res.text) call[i].rc = rc, call[i].err = e;
    share_time(call, n, moa_now() - t0);
    if (rc < 0 && err) *err = e;
    return rc;
}
