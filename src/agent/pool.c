/* pool.c - models by name, each opened once, and what mixes keep. SPDX-License-Identifier: Apache-2.0 */
#include "agent/mix.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct entry {
    char *name;
    bool is_file; dev_t dev; ino_t ino; /* which file the name leads to */
    moa_backend *b;
    moa_adapters *ready; /* until those of all models are */
    struct entry *next;
} entry;
typedef struct kept {
    char *path; /* NULL: in memory */
    moa_store *store;
    struct kept *next;
} kept;
struct moa_pool { moa_path_fn path; moa_open_fn open; void *ctx; entry *first; bool borrows, sealed; kept *stores; };

int moa_pool_new(moa_pool **out, moa_path_fn path, moa_open_fn open, void *ctx, moa_err *err) {
    *out = calloc(1, sizeof **out);
    if (!*out) return moa_fail(err, MOA_ENOMEM, "a pool of models");
    **out = (moa_pool){.path = path, .open = open, .ctx = ctx};
    return 0;
}

static bool same(const entry *e, const char *name, const struct stat *file) {
    return file && e->is_file ? e->dev == file->st_dev && e->ino == file->st_ino : !strcmp(e->name, name);
}

int moa_pool_get(moa_backend **out, moa_pool *p, const char *name, moa_err *err) {
    char path[4096];
    struct stat st;
    if (p->path) {
        MOA_TRY(p->path(path, sizeof path, name, err));
        name = path;
    }
    const char *key = name ? name : "";
    const bool is_file = p->path && stat(key, &st) == 0;
    for (entry *e = p->first; e; e = e->next)
        if (same(e, key, is_file ? &st : NULL)) return *out = e->b, 0;
    entry *e = calloc(1, sizeof *e);
    if (!e || !(e->name = strdup(key))) {
        free(e);
        return moa_fail(err, MOA_ENOMEM, "model %s", key);
    }
    e->is_file = is_file;
    if (is_file) e->dev = st.st_dev, e->ino = st.st_ino;
    int rc = p->open(p->ctx, &e->b, name ? e->name : NULL, err); /* lives as long as the backend */
    if (rc < 0) {
        free(e->name);
        free(e);
        return rc;
    }
    e->next = p->first;
    p->first = e;
    *out = e->b;
    return 0;
}

int moa_pool_adapt(moa_pool *p, const char *const *spec, int n, int n_threads, moa_err *err) {
    int rc = 0;
    for (entry *e = p->first; rc >= 0 && e; e = e->next) rc = moa_backend_local_adapters(&e->ready, e->b, spec, n, n_threads, err);
    for (entry *e = p->first; e; e = e->next) {
        if (rc < 0) {
            moa_adapters_close(e->ready);
        } else {
            const int taken = moa_backend_local_adapt(e->b, e->ready, NULL);
            moa_assert_eq(taken, 0); /* they were opened for this model */
        }
        e->ready = NULL;
    }
    return rc;
}

int moa_open_local(void *options, moa_backend **out, const char *path, moa_err *err) {
    const moa_mix_options *o = options;
    moa_adapters *a = NULL;
    moa_session_cfg cfg = moa_session_defaults();
    cfg.n_threads = o->n_threads;
    cfg.max_len = o->n_ctx;
    MOA_TRY(moa_session_kv_type(&cfg, o->kv_type, err));
    MOA_TRY(moa_repack_parse(&cfg.repack, o->repack, err));
    MOA_TRY(moa_backend_local_open(out, path, &cfg, err));
    int rc = moa_backend_local_vars(*out, o->template_vars, err);
    if (rc >= 0 && o->draft) rc = moa_backend_local_draft(*out, o->draft, err);
    if (rc >= 0) rc = moa_backend_local_adapters(&a, *out, o->adapter, o->n_adapter, o->n_threads, err);
    if (rc >= 0 && (rc = moa_backend_local_adapt(*out, a, err)) < 0) moa_adapters_close(a);
    if (rc < 0) {
        moa_backend_close(*out);
        *out = NULL;
    }
    return rc;
}

int moa_pool_store(moa_store **out, moa_pool *p, const char *path, moa_err *err) {
    for (kept *k = p->stores; k; k = k->next)
        if (path && k->path ? !strcmp(path, k->path) : path == k->path) return *out = k->store, 0;
    if (p->sealed) return moa_fail(err, MOA_EUSAGE, "store %s: only stores that the configuration names are open", path ? path : "in memory");
    kept *k = calloc(1, sizeof *k);
    if (!k || (path && !(k->path = strdup(path)))) {
        free(k);
        return moa_fail(err, MOA_ENOMEM, "a store");
    }
    const int rc = moa_store_open(&k->store, path, err);
    if (rc < 0) {
        free(k->path);
        free(k);
        return rc;
    }
    k->next = p->stores;
    p->stores = k;
    *out = k->store;
    return 0;
}

int moa_pool_seal(moa_pool *p, moa_err *err) {
    moa_store *s;
    MOA_TRY(moa_pool_store(&s, p, NULL, err));
    p->sealed = true;
    return 0;
}

void moa_pool_borrow(moa_pool *p) { p->borrows = true; }

void moa_pool_free(moa_pool *p) {
    if (!p) return;
    for (entry *e = p->first, *next; e; e = next) {
        next = e->next;
        if (!p->borrows) moa_backend_close(e->b);
        free(e->name);
        free(e);
    }
    for (kept *k = p->stores, *next; k; k = next) {
        next = k->next;
        moa_store_close(k->store);
        free(k->path);
        free(k);
    }
    free(p);
}
