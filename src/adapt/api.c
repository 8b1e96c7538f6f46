/* api.c - adapters behind one handle (moa.h, section 3): files by name, opened and made a set for one model.
 * SPDX-License-Identifier: Apache-2.0 */
#include "adapt/adapt.h"

#include "base/err.h"
#include "model/session.h"

#include <stdlib.h>

struct moa_adapters {
    const moa_model *model;
    moa_adapter **adapter;
    int n;
    moa_adapter_set *set;
};

static int open_all(moa_adapters *a, const char *const *spec, int n, int n_threads, moa_err *err) {
    char path[4096];
    moa_adapter_use *use = calloc((size_t)n, sizeof *use);
    int rc = use && (a->adapter = calloc((size_t)n, sizeof *a->adapter)) ? 0 : moa_fail(err, MOA_ENOMEM, "no memory for %d adapters", n);
    for (int i = 0; rc >= 0 && i < n; i++) {
        rc = moa_adapter_spec(path, sizeof path, &use[i].scale, spec[i], err);
        if (rc >= 0) rc = moa_adapter_open(&a->adapter[i], path, err);
        if (rc >= 0) use[a->n++].adapter = a->adapter[i];
    }
    if (rc >= 0) rc = moa_adapter_set_new(&a->set, a->model, use, n, n_threads, err);
    free(use);
    return rc;
}

int moa_adapters_open(moa_adapters **out, const moa_model *m, const char *const *spec, int n, int n_threads, moa_err *err) {
    *out = NULL;
    if (n < 1) return moa_fail(err, MOA_EINVAL, "%d adapters: expected one or more", n);
    if (n_threads < 0 || n_threads > 1024) return moa_fail(err, MOA_EINVAL, "n_threads %d: expected 0 to 1024", n_threads);
    moa_adapters *a = calloc(1, sizeof *a);
    if (!a) return moa_fail(err, MOA_ENOMEM, "no memory for adapters");
    a->model = m;
    const int rc = open_all(a, spec, n, n_threads, err);
    if (rc < 0) {
        moa_adapters_close(a);
        return rc;
    }
    *out = a;
    return 0;
}

void moa_adapters_close(moa_adapters *a) {
    if (!a) return;
    moa_adapter_set_free(a->set);
    for (int i = 0; i < a->n; i++) moa_adapter_close(a->adapter[i]);
    free(a->adapter);
    free(a);
}

/* The places of another model may be as many, and of other shapes. */
int moa_session_use(moa_session *s, const moa_adapters *a, moa_err *err) {
    if (a && a->model != moa_session_model(s))
        return moa_fail(err, MOA_EINVAL, "session: the adapters were opened for another model than the session's");
    return moa_session_adapt(s, a ? moa_adapter_set_sites(a->set) : NULL, err);
}
