/* pool.c - models by name, each opened once, and what mixes keep.
 *
 * A name BASE@ADAPTER is the model BASE with an adapter of its own: a judge, a critic, a specialist beside the bare model. ADAPTER is a path, or a
 * word: then the adapter's file stands beside the base's, whose name it carries on (moa-tiny@critic: moa-tiny.gguf and moa-tiny.critic.gguf).
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/mix.h"

#include "adapt/adapt.h"
#include "agent/backend/deceiver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* Where ADAPTER of BASE@ADAPTER begins; NULL: a name like any other, such as that of a file with an '@' in it. */
static const char *adapter_in(const char *name) {
    const char *at = strrchr(name, '@');
    return at && at > name && at[1] && access(name, F_OK) != 0 ? at + 1 : NULL;
}

/* The adapter's path: as it is named, or beside the base. */
static int adapter_path(char *out, size_t n, const char *base, const char *adapter, moa_err *err) {
    const size_t len = strlen(base), stem = len > 5 && !strcmp(base + len - 5, ".gguf") ? len - 5 : len;
    int used = snprintf(out, n, "%s", adapter);
    if (used > 0 && (size_t)used < n && moa_adapter_is(out)) return 0;
    used = snprintf(out, n, "%.*s.%s.gguf", (int)stem, base, adapter);
    if (used > 0 && (size_t)used < n && moa_adapter_is(out)) return 0;
    return moa_fail(err, MOA_ENOTFOUND, "adapter '%.200s' of %s: there is no such adapter, and none at %.*s.%.200s.gguf", adapter, base, (int)stem, base, adapter);
}

/* A name to what is opened: a path, or paths joined by '@'. */
static int path_of(char *out, size_t n, const moa_pool *p, const char *name, moa_err *err) {
    const char *adapter = name ? adapter_in(name) : NULL;
    char base[4096], beside[4096];
    if (!adapter) return p->path(out, n, name, err);
    if ((size_t)snprintf(beside, sizeof beside, "%.*s", (int)(adapter - 1 - name), name) >= sizeof beside) return moa_fail(err, MOA_ELIMIT, "a model's name is too long");
    MOA_TRY(p->path(base, sizeof base, beside, err));
    MOA_TRY(adapter_path(beside, sizeof beside, base, adapter, err));
    return (size_t)snprintf(out, n, "%s@%s", base, beside) < n ? 0 : moa_fail(err, MOA_ELIMIT, "the paths of '%.200s' are too long", name);
}

static int add(moa_pool *p, const char *name, moa_backend *b, moa_err *err) {
    entry *e = calloc(1, sizeof *e);
    if (!e || !(e->name = strdup(name))) {
        free(e);
        moa_backend_close(b);
        return moa_fail(err, MOA_ENOMEM, "model %s", name);
    }
    e->b = b, e->next = p->first;
    p->first = e;
    return 0;
}

/* "deceiver:NAME": a model of the pool's that lies (agent/backend/deceiver.h). Not where names come from clients. */
static int get_liar(moa_backend **out, moa_pool *p, const char *name, moa_err *err) {
    const char *of = strchr(name, ':') + 1;
    moa_backend *inner;
    for (entry *e = p->first; e; e = e->next)
        if (!strcmp(e->name, name)) return *out = e->b, 0;
    MOA_TRY(moa_pool_get(&inner, p, *of ? of : NULL, err));
    MOA_TRY(moa_backend_deceiver_open(out, inner, name[0] == 'i', err));
    return add(p, name, *out, err);
}

int moa_pool_get(moa_backend **out, moa_pool *p, const char *name, moa_err *err) {
    if (name && !p->sealed && !p->borrows && (!strncmp(name, "deceiver:", 9) || !strncmp(name, "injector:", 9))) return get_liar(out, p, name, err);
    char path[8200];
    struct stat st;
    if (p->path) {
        MOA_TRY(path_of(path, sizeof path, p, name, err));
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
    const char **all = calloc((size_t)n + 1, sizeof *all);
    if (!all) return moa_fail(err, MOA_ENOMEM, "%d adapters", n);
    for (int i = 0; i < n; i++) all[i + 1] = spec[i];
    for (entry *e = p->first; rc >= 0 && e; e = e->next) {
        if (e->b->inner) continue; /* a liar lies with what its model has */
        all[0] = adapter_in(e->name); /* its own stays */
        rc = moa_backend_local_adapters(&e->ready, e->b, all + !all[0], n + (all[0] != NULL), n_threads, err);
    }
    free(all);
    for (entry *e = p->first; e; e = e->next) {
        if (e->b->inner) continue;
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

/* The adapters of the options, after the model's own. */
static int adapt(moa_backend *b, const moa_mix_options *o, const char *own, moa_err *err) {
    moa_adapters *a = NULL;
    const char **all = calloc((size_t)o->n_adapter + 1, sizeof *all);
    if (!all) return moa_fail(err, MOA_ENOMEM, "%d adapters", o->n_adapter);
    all[0] = own;
    for (int i = 0; i < o->n_adapter; i++) all[i + (own != NULL)] = o->adapter[i];
    int rc = moa_backend_local_adapters(&a, b, all, o->n_adapter + (own != NULL), o->n_threads, err);
    if (rc >= 0 && (rc = moa_backend_local_adapt(b, a, err)) < 0) moa_adapters_close(a);
    free(all);
    return rc;
}

int moa_open_local(void *options, moa_backend **out, const char *path, moa_err *err) {
    const moa_mix_options *o = options;
    const char *own = adapter_in(path);
    char base[4096];
    if (own && (size_t)snprintf(base, sizeof base, "%.*s", (int)(own - 1 - path), path) >= sizeof base) return moa_fail(err, MOA_ELIMIT, "a model's path is too long");
    moa_session_cfg cfg = moa_session_defaults();
    cfg.n_threads = o->n_threads;
    cfg.max_len = o->n_ctx;
    MOA_TRY(moa_session_kv_type(&cfg, o->kv_type, err));
    MOA_TRY(moa_repack_parse(&cfg.repack, o->repack, err));
    MOA_TRY(moa_backend_local_open(out, own ? base : path, &cfg, err));
    int rc = moa_backend_local_vars(*out, o->template_vars, err);
    if (rc >= 0 && o->draft) rc = moa_backend_local_draft(*out, o->draft, err);
    if (rc >= 0) rc = adapt(*out, o, own, err);
    if (rc >= 0 && own) rc = moa_backend_local_call(*out, own, err);
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
