/* catalog.c - see catalog.h. SPDX-License-Identifier: Apache-2.0 */
#include "serve/catalog.h"

#include "base/nearest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- opening ---- */

static char *id_of(const char *path) {
    const char *base = strrchr(path, '/');
    base = base ? base + 1 : path;
    const size_t n = strlen(base), gguf = n > 5 && strcmp(base + n - 5, ".gguf") == 0 ? 5 : 0;
    return strndup(base, n - gguf);
}

/* The pool's way from an id to a model: those of the configuration, and nothing else. */
static int open_by_id(void *ctx, moa_backend **out, const char *id, moa_err *err) {
    const moa_catalog *c = ctx;
    for (int i = 0; c->cfg && i < c->n_model; i++) {
        char path[4096];
        if (strcmp(c->model[i].id, id) != 0) continue;
        MOA_TRY(c->cfg->path(path, sizeof path, c->cfg->n_model ? c->cfg->model[i] : NULL, err));
        return c->cfg->open(c->cfg->options, out, path, err);
    }
    return moa_fail(err, MOA_ENOTFOUND, "no model '%.200s'", id);
}

static int add_row(moa_catalog *c, const char *id, const char *help, const char *spec, const char *model, moa_err *err) {
    moa_catalog_row *v = realloc(c->row, (size_t)(c->n_row + 1) * sizeof *v);
    if (!v) return moa_fail(err, MOA_ENOMEM, "a catalog of %d models", c->n_row);
    c->row = v;
    moa_catalog_row *r = &v[c->n_row++];
    *r = (moa_catalog_row){strdup(id), strdup(help), spec ? strdup(spec) : NULL, strdup(model)};
    return r->id && r->help && r->model && (r->spec || !spec) ? 0 : moa_fail(err, MOA_ENOMEM, "model %s", id);
}

static int open_model(moa_catalog *c, int i, moa_err *err) {
    moa_catalog_model *m = &c->model[i];
    char path[4096];
    const char *name = c->cfg->n_model ? c->cfg->model[i] : NULL;
    moa_model *file;
    MOA_TRY(c->cfg->path(path, sizeof path, name, err));
    m->n_threads = c->cfg->n_threads;
    if (!(m->id = id_of(path))) return moa_fail(err, MOA_ENOMEM, "model %s", path);
    for (int k = 0; k < i; k++)
        if (!strcmp(c->model[k].id, m->id)) return moa_fail(err, MOA_EUSAGE, "two models have the name '%s'", m->id);
    MOA_TRY(moa_model_open(&file, path, err));
    if (file->arch->encoder) {
        m->encoder = file;
        return add_row(c, m->id, "gives vectors", NULL, m->id, err);
    }
    moa_model_close(file);
    MOA_TRY(moa_pool_get(&m->backend, c->pool, m->id, err));
    MOA_TRY(moa_backend_local_start(m->backend, err));
    return add_row(c, m->id, "one reply", "single", m->id, err);
}

static int add_mixes(moa_catalog *c, moa_err *err) {
    int n;
    const moa_mix_row *mix = moa_mixes(&n);
    const moa_catalog_model *first = NULL;
    for (int i = 0; i < c->n_model && !first; i++)
        if (c->model[i].backend) first = &c->model[i];
    for (int i = 0; first && i < n; i++)
        if (!moa_catalog_row_of(c, mix[i].name)) MOA_TRY(add_row(c, mix[i].name, mix[i].help, mix[i].name, first->id, err));
    return 0;
}

int moa_catalog_open(moa_catalog **out, const moa_catalog_cfg *cfg, moa_err *err) {
    *out = NULL;
    moa_catalog *c = calloc(1, sizeof *c);
    const int n = cfg->n_model ? cfg->n_model : 1;
    if (c) c->model = calloc((size_t)n, sizeof *c->model);
    int rc = c && c->model ? moa_pool_new(&c->pool, NULL, open_by_id, c, err) : moa_fail(err, MOA_ENOMEM, "a catalog of %d models", n);
    if (rc >= 0) c->cfg = cfg, c->made = time(NULL);
    for (int i = 0; rc >= 0 && i < n; i++) {
        pthread_mutex_init(&c->model[c->n_model++].lock, NULL);
        rc = open_model(c, i, err);
    }
    if (rc >= 0) rc = add_mixes(c, err);
    if (c) c->cfg = NULL; /* from now on what is not open is not there */
    if (rc < 0) {
        moa_catalog_close(c);
        return rc;
    }
    *out = c;
    return 0;
}

void moa_catalog_close(moa_catalog *c) {
    if (!c) return;
    for (int i = 0; i < c->n_model; i++) moa_embedder_free(c->model[i].embedder);
    moa_pool_free(c->pool);
    for (int i = 0; i < c->n_model; i++) {
        moa_model_close(c->model[i].encoder);
        pthread_mutex_destroy(&c->model[i].lock);
        free(c->model[i].id);
    }
    for (int i = 0; i < c->n_row; i++) {
        free(c->row[i].id);
        free(c->row[i].help);
        free(c->row[i].spec);
        free(c->row[i].model);
    }
    free(c->model);
    free(c->row);
    free(c);
}

/* ---- finding ---- */

const moa_catalog_row *moa_catalog_row_of(const moa_catalog *c, const char *id) {
    for (int i = 0; i < c->n_row; i++)
        if (!strcmp(c->row[i].id, id)) return &c->row[i];
    return NULL;
}

moa_catalog_model *moa_catalog_model_of(const moa_catalog *c, const char *id) {
    for (int i = 0; i < c->n_model; i++)
        if (!strcmp(c->model[i].id, id)) return &c->model[i];
    return NULL;
}

static int unknown(const moa_catalog *c, const char *id, moa_fault *f) {
    const char *names[64];
    char list[400] = "";
    int n = 0;
    for (; n < c->n_row && n < 64; n++) {
        names[n] = c->row[n].id;
        const size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", n ? ", " : "", names[n]);
    }
    const char *near = moa_nearest(id, names, n);
    return moa_fault_set(f, 404, "model_not_found", "model", "no model '%.100s'%s%s%s; there are %s", id, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "", list);
}

/* "self-moa:n=4": the row of the name before the colon, with its own numbers first and the request's behind. */
static const moa_catalog_row *row_with_params(const moa_catalog *c, const char *id, const char **params) {
    const char *colon = strchr(id, ':');
    char name[256];
    *params = NULL;
    const moa_catalog_row *r = moa_catalog_row_of(c, id);
    if (r || !colon || (size_t)(colon - id) >= sizeof name) return r;
    snprintf(name, sizeof name, "%.*s", (int)(colon - id), id);
    *params = colon + 1;
    return moa_catalog_row_of(c, name);
}

int moa_catalog_spec(moa_mix_spec *s, const moa_catalog_row **row, const moa_catalog *c, const char *id, moa_fault *f) {
    const char *params;
    moa_err err = {0};
    const moa_catalog_row *r = id && *id ? row_with_params(c, id, &params) : (params = NULL, &c->row[0]);
    if (!r) return unknown(c, id, f);
    if (!r->spec) return moa_fault_set(f, 400, "invalid_model", "model", "%s gives vectors and writes nothing: ask it at /v1/embeddings", r->id);
    char text[1024];
    const int n = snprintf(text, sizeof text, "%s%s%s", r->spec, params ? (strchr(r->spec, ':') ? "," : ":") : "", params ? params : "");
    if (n < 0 || (size_t)n >= sizeof text) return moa_fault_set(f, 400, "invalid_value", "model", "a model id of over %zu bytes", sizeof text);
    *row = r;
    if (moa_mix_spec_parse(s, text, &err) < 0) return moa_fault_from(f, "model", &err);
    char *asked = strdup(id && *id ? id : r->id); /* replies say the name that the client knows */
    if (!asked) return moa_fault_set(f, 500, "internal_error", NULL, "no memory");
    free(s->label);
    s->label = asked;
    return 0;
}

moa_catalog_model *moa_catalog_one(const moa_catalog *c, const char *id, moa_fault *f) {
    const char *params;
    const moa_catalog_row *r = id && *id ? row_with_params(c, id, &params) : &c->row[0];
    if (!r) return unknown(c, id, f), NULL;
    return moa_catalog_model_of(c, r->model);
}
