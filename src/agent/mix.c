/* mix.c - the text form of a mix: "self-moa:n=4,temperature=0.9". SPDX-License-Identifier: Apache-2.0 */
#include "agent/mix.h"

#include "agent/stair.h"
#include "base/buf.h"
#include "base/nearest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PARAM = 48 };

static int find_strategy(const moa_strategy **out, const char *name, moa_err *err) {
    enum { MOST = 128 };
    const char *names[MOST];
    int n;
    const moa_strategy *const *all = moa_strategies(&n);
    moa_buf list;
    if ((*out = moa_strategy_find(name))) return 0;
    moa_buf_init(&list, 1000);
    for (int i = 0; i < n && i < MOST; i++) {
        names[i] = all[i]->name;
        moa_buf_addf(&list, "%s%s", i ? ", " : "", names[i]);
    }
    const char *near = moa_nearest(name, names, n < MOST ? n : MOST);
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

/* '_' and '-' are the same. */
static void spell(char k[40], const char *key) {
    snprintf(k, 40, "%s", key);
    for (char *c = k; *c; c++)
        if (*c == '_') *c = '-';
}

/* Roles and files, which are names. NULL: k is none of these. */
static char **name_of(moa_mix_spec *s, const char *k, unsigned *has) {
    if (!strcmp(k, "aggregator")) return *has = MOA_AGGREGATES, &s->aggregator_name;
    if (!strcmp(k, "judge")) return *has = MOA_JUDGES, &s->judge_name;
    if (!strcmp(k, "store")) return *has = MOA_LEARNS, &s->store_name;
    return NULL;
}

/* A text of the strategy's own is kept here: cfg only borrows. */
static int keep_word(moa_mix_spec *s, const char *k, const char **value, moa_err *err) {
    for (int i = 0; i < s->strategy->n_setting; i++) {
        if (!s->strategy->setting[i].text || strcmp(s->strategy->setting[i].key, k) != 0) continue;
        MOA_TRY(set_text(&s->word[i], *value, err));
        *value = s->word[i];
    }
    return 0;
}

int moa_mix_spec_set(moa_mix_spec *s, const char *key, const char *value, moa_err *err) {
    char k[40];
    unsigned has;
    spell(k, key);
    if (!strcmp(k, "proposers") || !strcmp(k, "proposer")) return set_names(s, value, err);
    char **name = name_of(s, k, &has);
    if (name && !(s->strategy->has & has)) return moa_fail(err, MOA_EUSAGE, "mix %s has no %s", s->strategy->name, k);
    if (name && !*value) return moa_fail(err, MOA_EUSAGE, "mix %s: %s is empty", s->strategy->name, k);
    if (name) return set_text(name, value, err);
    MOA_TRY(keep_word(s, k, &value, err));
    return moa_mix_set(&s->cfg, key, value, err);
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
    int rc = name && s->label && (rest || !text[n]) ? find_strategy(&s->strategy, name, err) : moa_fail(err, MOA_ENOMEM, "a mix");
    if (rc >= 0) {
        s->cfg = moa_mix_defaults(s->strategy->name);
        rc = parse_params(s, rest, err);
    }
    free(name);
    free(rest);
    if (rc < 0) moa_mix_spec_deinit(s);
    return rc;
}

int moa_mix_spec_bind(moa_mix_spec *s, moa_pool *p, const char *dflt, moa_err *err) {
    const int n = s->n_proposer_name ? s->n_proposer_name : 1;
    if (n > 1 && !(s->strategy->has & MOA_SEVERAL)) return moa_fail(err, MOA_EUSAGE, "mix %s takes one proposer, got %d", s->strategy->name, n);
    s->cfg.n_proposer = n;
    MOA_TRY(moa_stair_check(&s->cfg, err));
    if (s->strategy->check) MOA_TRY(s->strategy->check(&s->cfg, err)); /* before models are read, which may take a while */
    for (int i = 0; i < n; i++) MOA_TRY(moa_pool_get(&s->bound[i], p, s->n_proposer_name ? s->proposer_name[i] : dflt, err));
    s->cfg.proposer = s->bound;
    if (s->aggregator_name) MOA_TRY(moa_pool_get(&s->cfg.aggregator, p, s->aggregator_name, err));
    if (s->judge_name) MOA_TRY(moa_pool_get(&s->cfg.judge, p, s->judge_name, err));
    if (s->strategy->has & MOA_LEARNS) MOA_TRY(moa_pool_store(&s->cfg.store, p, s->store_name, err));
    return 0;
}

void moa_mix_spec_deinit(moa_mix_spec *s) {
    for (int i = 0; i < s->n_proposer_name; i++) free(s->proposer_name[i]);
    for (int i = 0; i < MOA_MAX_ARG; i++) free(s->word[i]);
    free(s->aggregator_name);
    free(s->judge_name);
    free(s->store_name);
    free(s->label);
    *s = (moa_mix_spec){0};
}
