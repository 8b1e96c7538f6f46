/* mix.c - the table of mixes, the text form of a mix, the pool of models.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/mix.h"

#include "base/buf.h"
#include "base/nearest.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_PARAM = 32 };

static const moa_mix_row rows[] = {
    {"single", "one reply, sampled", "single", 0, 0, 0.7f, "", false},
    {"greedy", "one reply, the most probable token at each step", "single", 0, 0, 0, "", false},
    {"self-moa", "one model drafts 6 replies, then merges them", "self-moa", 6, 0, 0.7f, " n quorum grace ", true},
    {"moa", "2 layers of proposers (several models, or 3 samples of one), then an aggregator", "moa", 0, 2, 0.7f, " n layers quorum grace ", true},
    {"self-moa-seq", "12 drafts, merged in windows of 6", "self-moa-seq", 12, 0, 0.7f, " n window repeat ", true},
    {"vote", "6 samples, the most frequent answer wins", "vote", 6, 0, 0.7f, " n quorum grace ", false},
};

const moa_mix_row *moa_mixes(int *n) {
    *n = (int)(sizeof rows / sizeof *rows);
    return rows;
}

static int find_row(const moa_mix_row **out, const char *name, moa_err *err) {
    const char *names[sizeof rows / sizeof *rows];
    int n = (int)(sizeof rows / sizeof *rows);
    moa_buf list;
    moa_buf_init(&list, 200);
    for (int i = 0; i < n; i++) {
        names[i] = rows[i].name;
        moa_buf_addf(&list, "%s%s", i ? ", " : "", names[i]);
        if (!strcmp(names[i], name)) return moa_buf_deinit(&list), *out = &rows[i], 0;
    }
    const char *near = moa_nearest(name, names, n);
    int rc = moa_fail(err, MOA_EUSAGE, "unknown mix '%s'; there are %s", name, moa_buf_str(&list));
    moa_buf_deinit(&list);
    return near ? moa_hint(err, rc, "did you mean '%s'?", near) : rc;
}

/* ---- parameters ---- */

static int set_names(moa_mix_spec *s, const char *value, moa_err *err) {
    for (const char *p = value;; p++) {
        size_t n = strcspn(p, "+");
        if (!n) return moa_fail(err, MOA_EUSAGE, "proposers '%s': an empty name", value);
        if (s->n_proposer_name == MOA_MAX_PROPOSERS) return moa_fail(err, MOA_EUSAGE, "more than %d proposers", MOA_MAX_PROPOSERS);
        char *name = strndup(p, n);
        if (!name) return moa_fail(err, MOA_ENOMEM, "proposers");
        s->proposer_name[s->n_proposer_name++] = name;
        p += n;
        if (!*p) return 0;
    }
}

static int set_text(char **d, const char *value, moa_err *err) {
    char *t = strdup(value);
    if (!t) return moa_fail(err, MOA_ENOMEM, "a parameter");
    free(*d);
    *d = t;
    return 0;
}

typedef struct param { const char *key; double lo, hi; bool whole; int role; /* 0 structure, 1 sampling, 2 aggregator */ } param;
enum { P_N, P_LAYERS, P_WINDOW, P_REPEAT, P_QUORUM, P_GRACE, P_DEADLINE, P_TEMP, P_TOP_K, P_TOP_P, P_MIN_P, P_PENALTY, P_MAX, P_A_TEMP, P_A_MAX, P_COUNT };
static const param params[P_COUNT] = {
    [P_N] = {"n", 1, 256, true, 0},         [P_LAYERS] = {"layers", 1, 16, true, 0},
    [P_WINDOW] = {"window", 2, 64, true, 0}, [P_REPEAT] = {"repeat", 1, 63, true, 0},
    [P_QUORUM] = {"quorum", 1, 256, true, 0}, [P_GRACE] = {"grace", 0, 3600, false, 0}, [P_DEADLINE] = {"deadline", 0, 86400, false, 1},
    [P_TEMP] = {"temperature", 0, 5, false, 1}, [P_TOP_K] = {"top-k", 0, 1e6, true, 1},
    [P_TOP_P] = {"top-p", 0, 1, false, 1},   [P_MIN_P] = {"min-p", 0, 1, false, 1},
    [P_PENALTY] = {"repeat-penalty", 0.1, 10, false, 1}, [P_MAX] = {"max-tokens", 1, 1e6, true, 1},
    [P_A_TEMP] = {"aggregate-temperature", 0, 5, false, 2}, [P_A_MAX] = {"aggregate-max-tokens", 1, 1e6, true, 2},
};

static void assign(moa_mix_cfg *c, int p, double v) {
    switch (p) {
    case P_N: c->n = (int)v; break;
    case P_LAYERS: c->layers = (int)v; break;
    case P_WINDOW: c->window = (int)v; break;
    case P_REPEAT: c->repeat_best = (int)v; break;
    case P_QUORUM: c->need = (int)v; break;
    case P_GRACE: c->grace_s = v; break;
    case P_DEADLINE: c->deadline_s = v; break;
    case P_TEMP: c->propose.temperature = (float)v; break;
    case P_TOP_K: c->propose.top_k = (int)v; break;
    case P_TOP_P: c->propose.top_p = (float)v; break;
    case P_MIN_P: c->propose.min_p = (float)v; break;
    case P_PENALTY: c->propose.repeat_penalty = (float)v; break;
    case P_MAX: c->max_tokens = (int)v; break;
    case P_A_TEMP: c->aggregate.temperature = (float)v; break;
    case P_A_MAX: c->aggregate_max_tokens = (int)v; break;
    }
}

static bool allowed(const moa_mix_row *row, const param *p) {
    char key[40];
    snprintf(key, sizeof key, " %s ", p->key);
    return p->role == 1 || (p->role == 2 ? row->aggregates : strstr(row->keys, key) != NULL);
}

static int set_number(moa_mix_spec *s, int i, const char *value, moa_err *err) {
    const param *p = &params[i];
    char *end;
    double v = strtod(value, &end);
    if (end == value || *end || !isfinite(v) || (p->whole && v != floor(v)) || v < p->lo || v > p->hi)
        return moa_fail(err, MOA_EUSAGE, "%s '%s': expected a %snumber from %g to %g", p->key, value, p->whole ? "whole " : "", p->lo, p->hi);
    if (!allowed(s->row, p)) return moa_fail(err, MOA_EUSAGE, "mix %s has no parameter %s", s->row->name, p->key);
    assign(&s->cfg, i, v);
    return 0;
}

/* '_' and '-' are the same. */
static void spell(char k[40], const char *key) {
    snprintf(k, 40, "%s", key);
    for (char *c = k; *c; c++)
        if (*c == '_') *c = '-';
}

int moa_mix_spec_set(moa_mix_spec *s, const char *key, const char *value, moa_err *err) {
    char k[40];
    spell(k, key);
    if (!strcmp(k, "proposers") || !strcmp(k, "proposer")) return set_names(s, value, err);
    if (!strcmp(k, "aggregator")) {
        if (!s->row->aggregates) return moa_fail(err, MOA_EUSAGE, "mix %s has no aggregator", s->row->name);
        return set_text(&s->aggregator_name, value, err);
    }
    const char *names[P_COUNT + 2] = {[P_COUNT] = "proposers", [P_COUNT + 1] = "aggregator"};
    for (int i = 0; i < P_COUNT; i++) {
        names[i] = params[i].key;
        if (!strcmp(k, names[i])) return set_number(s, i, value, err);
    }
    const char *near = moa_nearest(k, names, P_COUNT + 2);
    int rc = moa_fail(err, MOA_EUSAGE, "mix %s: unknown parameter '%s'", s->row->name, key);
    return near ? moa_hint(err, rc, "did you mean '%s'?", near) : rc;
}

static int parse_params(moa_mix_spec *s, char *text, moa_err *err) {
    char given[MAX_PARAM][40];
    int n = 0;
    for (char *next; text; text = next) {
        next = strchr(text, ',');
        if (next) *next++ = 0;
        char *eq = strchr(text, '=');
        if (!eq) return moa_fail(err, MOA_EUSAGE, "mix '%s': '%s' is not KEY=VALUE", s->label, text);
        *eq = 0;
        if (n == MAX_PARAM) return moa_fail(err, MOA_EUSAGE, "mix '%s': more than %d parameters", s->label, (int)MAX_PARAM);
        spell(given[n], text);
        for (int i = 0; i < n; i++)
            if (!strcmp(given[i], given[n])) return moa_fail(err, MOA_EUSAGE, "mix '%s': %s is given twice", s->label, text);
        n++;
        MOA_TRY(moa_mix_spec_set(s, text, eq + 1, err));
    }
    return 0;
}

int moa_mix_spec_parse(moa_mix_spec *s, const char *text, moa_err *err) {
    size_t n = strcspn(text, ":");
    char *name = strndup(text, n), *rest = text[n] ? strdup(text + n + 1) : NULL;
    s->label = strdup(text);
    int rc = name && s->label && (rest || !text[n]) ? find_row(&s->row, name, err) : moa_fail(err, MOA_ENOMEM, "a mix");
    if (rc >= 0) {
        s->cfg = moa_mix_defaults(s->row->strategy);
        s->cfg.name = s->row->name;
        s->cfg.n = s->row->n;
        if (s->row->layers) s->cfg.layers = s->row->layers;
        s->cfg.propose.temperature = s->row->temperature;
        rc = parse_params(s, rest, err);
    }
    free(name);
    free(rest);
    if (rc < 0) moa_mix_spec_deinit(s);
    return rc;
}

int moa_mix_spec_bind(moa_mix_spec *s, moa_pool *p, const char *dflt, moa_err *err) {
    int n = s->n_proposer_name ? s->n_proposer_name : 1;
    const moa_strategy *st = moa_strategy_find(s->row->strategy);
    if (n > 1 && strcmp(s->row->strategy, "moa")) return moa_fail(err, MOA_EUSAGE, "mix %s takes one proposer, got %d", s->row->name, n);
    s->cfg.n_proposer = n;
    if (st->check) MOA_TRY(st->check(&s->cfg, err)); /* before models are read, which may take a while */
    for (int i = 0; i < n; i++) MOA_TRY(moa_pool_get(&s->bound[i], p, s->n_proposer_name ? s->proposer_name[i] : dflt, err));
    s->cfg.proposer = s->bound;
    if (s->aggregator_name) MOA_TRY(moa_pool_get(&s->cfg.aggregator, p, s->aggregator_name, err));
    return 0;
}

void moa_mix_spec_deinit(moa_mix_spec *s) {
    for (int i = 0; i < s->n_proposer_name; i++) free(s->proposer_name[i]);
    free(s->aggregator_name);
    free(s->label);
    *s = (moa_mix_spec){0};
}

/* ---- the pool ---- */

typedef struct entry {
    char *name;
    bool is_file; dev_t dev; ino_t ino; /* which file the name leads to */
    moa_backend *b;
    moa_adapters *ready; /* until those of all models are */
    struct entry *next;
} entry;
struct moa_pool { moa_path_fn path; moa_open_fn open; void *ctx; entry *first; bool borrows; };

int moa_pool_new(moa_pool **out, moa_path_fn path, moa_open_fn open, void *ctx, moa_err *err) {
    *out = calloc(1, sizeof **out);
    if (!*out) return moa_fail(err, MOA_ENOMEM, "a pool of models");
    **out = (moa_pool){path, open, ctx, NULL, false};
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

void moa_pool_borrow(moa_pool *p) { p->borrows = true; }

void moa_pool_free(moa_pool *p) {
    if (!p) return;
    for (entry *e = p->first, *next; e; e = next) {
        next = e->next;
        if (!p->borrows) moa_backend_close(e->b);
        free(e->name);
        free(e);
    }
    free(p);
}
