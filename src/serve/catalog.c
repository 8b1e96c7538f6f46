/* catalog.c - see catalog.h. SPDX-License-Identifier: Apache-2.0 */
#include "serve/catalog.h"

#include "base/nearest.h"
#include "serve/upstream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- models ---- */

static char *id_of(const char *path) {
    const char *base = strrchr(path, '/');
    base = base ? base + 1 : path;
    const size_t n = strlen(base), gguf = n > 5 && strcmp(base + n - 5, ".gguf") == 0 ? 5 : 0;
    return strndup(base, n - gguf);
}

static void model_unref(moa_catalog_model *m) {
    if (!m || atomic_fetch_sub(&m->refs, 1) > 1) return;
    moa_embedder_free(m->embedder);
    if (m->kept != m->backend) moa_backend_close(m->kept);
    moa_backend_close(m->backend);
    moa_model_close(m->encoder);
    pthread_mutex_destroy(&m->lock);
    free(m->id);
    free(m->key);
    free(m);
}

/* What makes two models the same: the file as it is now, and how it is opened. */
static int make_key(moa_buf *b, const char *path, const moa_mix_options *o) {
    struct stat st;
    const bool is = stat(path, &st) == 0;
    moa_buf_addf(b, "%s|%lld|%lld|%d|%d|%s|%s|%s|%s", path, is ? (long long)st.st_mtime : 0, is ? (long long)st.st_size : 0, o->n_threads, o->n_ctx, o->kv_type ? o->kv_type : "",
                 o->repack ? o->repack : "", o->draft ? o->draft : "", o->template_vars ? o->template_vars : "");
    for (int i = 0; i < o->n_adapter; i++) moa_buf_addf(b, "|%s", o->adapter[i]);
    return b->failed;
}

static int open_file(moa_catalog_model *m, const char *path, const moa_catalog_cfg *cfg, moa_mix_options *o, moa_err *err) {
    moa_model *file;
    m->n_threads = o->n_threads;
    MOA_TRY(moa_model_open(&file, path, err));
    if (file->arch->encoder) {
        m->encoder = file;
        return 0;
    }
    moa_model_close(file);
    return cfg->open(o, &m->backend, path, err);
}

static int model_open(moa_catalog_model **out, const moa_catalog_cfg *cfg, const moa_catalog *was, const char *id, const char *name, moa_mix_options *o, moa_err *err) {
    char path[4096];
    moa_buf key;
    MOA_TRY(cfg->path(path, sizeof path, name, err));
    char *own = id ? strdup(id) : id_of(path);
    moa_buf_init(&key, 1 << 20);
    int rc = own ? make_key(&key, path, o) : MOA_ENOMEM;
    for (int i = 0; rc >= 0 && was && i < was->n_model; i++)
        if (!strcmp(was->model[i]->key, moa_buf_str(&key)) && !strcmp(was->model[i]->id, own)) {
            atomic_fetch_add(&was->model[i]->refs, 1);
            *out = was->model[i];
            free(own);
            moa_buf_deinit(&key);
            return 0;
        }
    moa_catalog_model *m = *out = calloc(1, sizeof *m);
    if (!m || rc < 0) {
        free(own);
        free(m);
        *out = NULL;
        moa_buf_deinit(&key);
        return moa_fail(err, MOA_ENOMEM, "model %s", path);
    }
    atomic_init(&m->refs, 1);
    pthread_mutex_init(&m->lock, NULL);
    m->id = own;
    m->key = moa_buf_take(&key);
    moa_buf_deinit(&key);
    rc = m->key ? open_file(m, path, cfg, o, err) : moa_fail(err, MOA_ENOMEM, "model %s", path);
    if (rc >= 0) return 0;
    model_unref(m);
    *out = NULL;
    return rc;
}

/* Shares it with the catalog before where nothing about it has changed. */
static int upstream_open(moa_catalog_model **out, const moa_config_backend *b, const moa_catalog *was, moa_err *err) {
    const char *key = b->key_env ? getenv(b->key_env) : NULL;
    const moa_upstream_cfg cfg = {.id = b->id, .url = b->url, .model = b->model, .key = key, .max_concurrent = b->max_concurrent, .retries = b->retries, .n_ctx = b->ctx,
                                  .connect_s = b->timeout_connect, .first_s = b->timeout_first, .timeout_s = b->timeout, .whole_s = b->timeout_whole,
                                  .requests_per_minute = b->requests_per_minute, .tokens_per_minute = b->tokens_per_minute, .hedge = b->hedge, .breaker = b->breaker,
                                  .cooldown_s = b->cooldown, .tools_in_words = b->tools && !strcmp(b->tools, "words"), .images = b->images};
    moa_buf k;
    moa_buf_init(&k, 1 << 16);
    moa_buf_addf(&k, "url|%s|%s|%s|%s|%d|%d|%d|%d|%d|%d|%g|%g|%g|%g|%g|%g|%g|%g|%d|%d", b->id, b->url, b->model ? b->model : "", key ? key : "", b->max_concurrent, b->retries, b->ctx,
                 b->requests_per_minute, b->tokens_per_minute, b->breaker, b->timeout, b->timeout_connect, b->timeout_first, b->timeout_whole, b->hedge, b->cooldown, b->price_prompt, b->price_completion, cfg.tools_in_words, cfg.images);
    for (int i = 0; was && i < was->n_model; i++)
        if (!strcmp(was->model[i]->key, moa_buf_str(&k))) {
            atomic_fetch_add(&was->model[i]->refs, 1);
            *out = was->model[i];
            moa_buf_deinit(&k);
            return 0;
        }
    moa_catalog_model *m = *out = calloc(1, sizeof *m);
    int rc = m ? 0 : moa_fail(err, MOA_ENOMEM, "backend %s", b->id);
    if (m) {
        atomic_init(&m->refs, 1);
        pthread_mutex_init(&m->lock, NULL);
        m->id = strdup(b->id);
        m->key = moa_buf_take(&k);
        rc = m->id && m->key ? moa_upstream_open(&m->backend, &cfg, err) : moa_fail(err, MOA_ENOMEM, "backend %s", b->id);
    }
    moa_buf_deinit(&k);
    if (rc < 0) model_unref(m);
    else m->backend->price_prompt = b->price_prompt, m->backend->price_completion = b->price_completion;
    return rc;
}

/* ---- catalogs ---- */

/* The pool's way from an id to a model: those that are open, and nothing else. */
static int find_backend(void *ctx, moa_backend **out, const char *id, moa_err *err) {
    const moa_catalog_model *m = id ? moa_catalog_model_of(ctx, id) : NULL;
    *out = m ? m->kept : NULL;
    if (*out) return 0;
    return moa_fail(err, m ? MOA_EUSAGE : MOA_ENOTFOUND, m ? "%.200s gives vectors and writes nothing" : "no model '%.200s'", id ? id : "");
}

static int add_row(moa_catalog *c, const char *id, const char *help, const char *spec, const char *model, moa_err *err) {
    moa_catalog_row *v = realloc(c->row, (size_t)(c->n_row + 1) * sizeof *v);
    if (!v) return moa_fail(err, MOA_ENOMEM, "a catalog of %d models", c->n_row);
    c->row = v;
    moa_catalog_row *r = &v[c->n_row++];
    *r = (moa_catalog_row){strdup(id), strdup(help), spec ? strdup(spec) : NULL, strdup(model), NULL, NULL};
    return r->id && r->help && r->model && (r->spec || !spec) ? 0 : moa_fail(err, MOA_ENOMEM, "model %s", id);
}

/* A model of the catalog before has it already. */
static int keep_calls(moa_catalog_model *m, moa_journal *journal, moa_err *err) {
    if (m->kept || !m->backend) return 0;
    if (journal) return moa_backend_journal_open(&m->kept, journal, m->backend, err);
    m->kept = m->backend;
    return 0;
}

/* The catalog's from now on, also where it cannot be used. */
static int take_model(moa_catalog *c, moa_catalog_model *m, moa_journal *journal, moa_err *err) {
    moa_catalog_model **v = realloc(c->model, (size_t)(c->n_model + 1) * sizeof *v);
    if (!v) {
        model_unref(m);
        return moa_fail(err, MOA_ENOMEM, "a catalog of %d models", c->n_model);
    }
    c->model = v;
    const bool twice = moa_catalog_model_of(c, m->id) != NULL;
    c->model[c->n_model++] = m;
    MOA_TRY(keep_calls(m, journal, err));
    if (twice) return moa_hint(err, moa_fail(err, MOA_EUSAGE, "two models have the name '%s'", m->id), "give them ids in a configuration (moa serve --config)");
    return add_row(c, m->id, m->encoder ? "gives vectors" : moa_backend_local_model(m->backend) ? "one reply" : "one reply, from another server", m->encoder ? NULL : "single", m->id, err);
}

static int add_model(moa_catalog *c, const moa_catalog_cfg *cfg, const moa_catalog *was, const char *id, const char *name, moa_mix_options *o, moa_err *err) {
    moa_catalog_model *m;
    MOA_TRY(model_open(&m, cfg, was, id, name, o, err));
    return take_model(c, m, cfg->journal, err);
}

static int add_backend(moa_catalog *c, const moa_catalog_cfg *cfg, const moa_config_backend *b, const moa_catalog *was, moa_err *err) {
    moa_catalog_model *m;
    MOA_TRY(upstream_open(&m, b, was, err));
    return take_model(c, m, cfg->journal, err);
}

static int add_models(moa_catalog *c, const moa_catalog_cfg *cfg, const moa_catalog *was, moa_err *err) {
    const moa_config *f = c->config;
    for (int i = 0; i < cfg->n_model; i++) {
        moa_mix_options o = *cfg->options;
        MOA_TRY(add_model(c, cfg, was, NULL, cfg->model[i], &o, err));
    }
    for (unsigned i = 0; f && i < f->models_count; i++) {
        const moa_config_model *m = &f->models[i];
        moa_mix_options o = *cfg->options;
        if (m->ctx) o.n_ctx = m->ctx;
        if (m->threads) o.n_threads = m->threads;
        if (m->kv) o.kv_type = m->kv;
        if (m->repack) o.repack = m->repack;
        if (m->draft) o.draft = m->draft;
        if (m->chat_template_kwargs) o.template_vars = m->chat_template_kwargs;
        if (m->adapters_count) o.adapter = (const char *const *)m->adapters, o.n_adapter = (int)m->adapters_count;
        MOA_TRY(add_model(c, cfg, was, m->id, m->file, &o, err));
    }
    for (unsigned i = 0; f && i < f->backends_count; i++) MOA_TRY(add_backend(c, cfg, &f->backends[i], was, err));
    moa_mix_options o = *cfg->options;
    return c->n_model ? 0 : add_model(c, cfg, was, NULL, NULL, &o, err);
}

/* "moa:layers=1" with its models, as text. */
static int spec_of(moa_buf *b, const moa_config_mix *m) {
    const char *between = strchr(m->mix, ':') ? "," : ":";
    moa_buf_adds(b, m->mix);
    for (unsigned i = 0; i < m->proposers_count; i++, between = ",") moa_buf_addf(b, "%s%s", i ? "+" : between[0] == ':' ? ":proposers=" : ",proposers=", m->proposers[i]);
    if (m->aggregator) moa_buf_addf(b, "%saggregator=%s", between, m->aggregator);
    return b->failed;
}

/* A mix must be able to answer: its models are there, its numbers fit. */
static int try_row(moa_catalog *c, const moa_catalog_row *r, moa_err *err) {
    moa_mix_spec s = {0};
    int rc = moa_mix_spec_parse(&s, r->spec, err);
    if (rc >= 0) rc = moa_mix_spec_bind(&s, c->pool, r->model, err);
    moa_mix_spec_deinit(&s);
    return rc < 0 ? moa_wrap(err, rc, "mix %s", r->id) : 0;
}

static int add_mixes(moa_catalog *c, moa_err *err) {
    int n;
    const moa_strategy *const *mix = moa_strategies(&n);
    const moa_catalog_model *first = NULL;
    for (int i = 0; i < c->n_model && !first; i++)
        if (c->model[i]->backend) first = c->model[i];
    for (unsigned i = 0; c->config && i < c->config->mixes_count; i++) {
        const moa_config_mix *m = &c->config->mixes[i];
        moa_buf b;
        if (!first) return moa_fail(err, MOA_EUSAGE, "mix %s: no model that writes", m->id);
        if (moa_catalog_row_of(c, m->id)) return moa_fail(err, MOA_EUSAGE, "mix %s: a model has this id", m->id);
        moa_buf_init(&b, 1 << 16);
        int rc = spec_of(&b, m) < 0 ? moa_fail(err, MOA_ELIMIT, "mix %s is too long", m->id) : add_row(c, m->id, m->about ? m->about : m->mix, moa_buf_str(&b), first->id, err);
        moa_buf_deinit(&b);
        MOA_TRY(rc);
        moa_catalog_row *r = &c->row[c->n_row - 1];
        r->propose_system = m->propose_system, r->aggregate_system = m->aggregate_system;
        MOA_TRY(try_row(c, r, err));
    }
    for (int i = 0; first && i < n; i++)
        if (!moa_catalog_row_of(c, mix[i]->name)) MOA_TRY(add_row(c, mix[i]->name, mix[i]->help, mix[i]->name, first->id, err));
    const char *keeper = c->config ? c->config->housekeeping : NULL;
    if (keeper && !moa_catalog_row_of(c, keeper)) return moa_fail(err, MOA_EUSAGE, "housekeeping: there is no '%s'", keeper);
    return 0;
}

/* The pool finds every model once here, so that it is only read from now on. */
static int fill_pool(moa_catalog *c, moa_err *err) {
    MOA_TRY(moa_pool_new(&c->pool, NULL, find_backend, c, err));
    moa_pool_borrow(c->pool);
    moa_backend *b;
    for (int i = 0; i < c->n_model; i++)
        if (c->model[i]->backend) MOA_TRY(moa_pool_get(&b, c->pool, c->model[i]->id, err));
    return 0;
}

int moa_catalog_open(moa_catalog **out, const moa_catalog_cfg *cfg, const moa_catalog *was, moa_err *err) {
    *out = NULL;
    moa_catalog *c = calloc(1, sizeof *c);
    if (!c) return moa_fail(err, MOA_ENOMEM, "a catalog");
    atomic_init(&c->refs, 1);
    c->made = time(NULL);
    int rc = cfg->file ? moa_config_load(&c->config, cfg->file, err) : 0;
    if (rc >= 0) rc = add_models(c, cfg, was, err);
    if (rc >= 0) rc = fill_pool(c, err);
    if (rc >= 0) rc = add_mixes(c, err);
    if (rc >= 0) rc = moa_pool_seal(c->pool, err);
    if (rc < 0) {
        moa_catalog_unref(c);
        return rc;
    }
    *out = c;
    return 0;
}

moa_catalog *moa_catalog_ref(moa_catalog *c) {
    atomic_fetch_add(&c->refs, 1);
    return c;
}

void moa_catalog_unref(moa_catalog *c) {
    if (!c || atomic_fetch_sub(&c->refs, 1) > 1) return;
    moa_pool_free(c->pool);
    for (int i = 0; i < c->n_model; i++) model_unref(c->model[i]);
    for (int i = 0; i < c->n_row; i++) {
        free(c->row[i].id);
        free(c->row[i].help);
        free(c->row[i].spec);
        free(c->row[i].model);
    }
    free(c->model);
    free(c->row);
    moa_config_free(c->config);
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
        if (!strcmp(c->model[i]->id, id)) return c->model[i];
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

/* "n=4,temperature=0.9" over what the row says. */
static int set_params(moa_mix_spec *s, const char *params, moa_err *err) {
    char text[1024];
    if (!params) return 0;
    if (strlen(params) >= sizeof text) return moa_fail(err, MOA_EUSAGE, "a model id of over %zu bytes", sizeof text);
    snprintf(text, sizeof text, "%s", params);
    for (char *p = text, *next; p; p = next) {
        if ((next = strchr(p, ','))) *next++ = 0;
        char *eq = strchr(p, '=');
        if (!eq) return moa_fail(err, MOA_EUSAGE, "'%s' is not KEY=VALUE", p);
        *eq = 0;
        MOA_TRY(moa_mix_spec_set(s, p, eq + 1, err));
    }
    return 0;
}

int moa_catalog_spec(moa_mix_spec *s, const moa_catalog_row **row, const moa_catalog *c, const char *id, moa_fault *f) {
    const char *params;
    moa_err err = {0};
    const moa_catalog_row *r = id && *id ? row_with_params(c, id, &params) : (params = NULL, &c->row[0]);
    if (!r) return unknown(c, id, f);
    if (!r->spec) return moa_fault_set(f, 400, "invalid_model", "model", "%s gives vectors and writes nothing: ask it at /v1/embeddings", r->id);
    *row = r;
    if (moa_mix_spec_parse(s, r->spec, &err) < 0 || set_params(s, params, &err) < 0) return moa_fault_from(f, "model", &err);
    char *asked = strdup(id && *id ? id : r->id); /* replies say the name that the client knows */
    if (!asked) return moa_fault_set(f, 500, "internal_error", NULL, "no memory");
    free(s->label);
    s->label = asked;
    s->cfg.propose_system = r->propose_system;
    s->cfg.aggregate_system = r->aggregate_system;
    return 0;
}

moa_catalog_model *moa_catalog_one(const moa_catalog *c, const char *id, moa_fault *f) {
    const char *params;
    const moa_catalog_row *r = id && *id ? row_with_params(c, id, &params) : &c->row[0];
    if (!r) return unknown(c, id, f), NULL;
    moa_catalog_model *m = moa_catalog_model_of(c, r->model);
    if (m && (m->encoder || moa_backend_local_model(m->backend))) return m;
    moa_fault_set(f, 400, "unsupported_model", "model", "%s runs on another server: ask it there", r->model);
    return NULL;
}
