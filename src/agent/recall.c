/* recall.c - what a run reads of its mix's store and writes there. All of it is told in the trace (trace.c): a replay decides by what was read
 * then. SPDX-License-Identifier: Apache-2.0 */
#include "agent/run.h"

#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int note(moa_recalled **list, moa_run *r, const char *kind, const char *key, const char *value, moa_err *err) {
    moa_recalled *m = moa_arena_alloc(r->arena, sizeof *m);
    if (!m) return moa_fail(err, MOA_ENOMEM, "%s %s", kind, key);
    *m = (moa_recalled){.next = *list};
    m->kind = moa_arena_strndup(r->arena, kind, strlen(kind));
    m->key = moa_arena_strndup(r->arena, key, strlen(key));
    m->value = value ? moa_arena_strndup(r->arena, value, strlen(value)) : NULL;
    if (!m->kind || !m->key || (value && !m->value)) return moa_fail(err, MOA_ENOMEM, "%s %s", kind, key);
    *list = m;
    return 0;
}

static const moa_recalled *find(const moa_recalled *m, const char *kind, const char *key) {
    while (m && (strcmp(m->kind, kind) != 0 || strcmp(m->key, key) != 0)) m = m->next;
    return m;
}

/* What a run that is replayed was told. */
static const char *told_then(const json_t *then, const char *kind, const char *key) { return json_string_value(json_object_get(json_object_get(then, kind), key)); }

int moa_run_recall(const char **value, moa_run *r, const char *kind, const char *key, moa_err *err) {
    const moa_recalled *m = find(r->recalled, kind, key); /* a run sees one state of what others write meanwhile */
    char *text = NULL;
    int rc = 0;
    *value = NULL;
    if (m) return *value = m->value, 0;
    if (r->recall_then) rc = note(&r->recalled, r, kind, key, told_then(r->recall_then, kind, key), err);
    else {
        if (r->cfg->store) MOA_TRY(moa_store_get(&text, r->cfg->store, kind, key, err));
        rc = note(&r->recalled, r, kind, key, text, err);
        free(text);
    }
    if (rc >= 0) *value = r->recalled->value;
    return rc;
}

int moa_run_observe(double *out, moa_run *r, const char *kind, const char *key, moa_observe_fn fn, void *ctx, moa_err *err) {
    const moa_recalled *m = find(r->recalled, kind, key);
    const char *told = m ? m->value : told_then(r->recall_then, kind, key);
    char text[40];
    if (told) *out = strtod(told, NULL);
    else if (r->recall_then) return moa_fail(err, MOA_EFORMAT, "the trace does not tell %s %s", kind, key);
    else MOA_TRY(fn(out, ctx, err));
    snprintf(text, sizeof text, "%.9g", *out);
    *out = strtod(text, NULL); /* as a replay will read it */
    return m ? 0 : note(&r->recalled, r, kind, key, text, err);
}

int moa_run_keep(moa_run *r, const char *kind, const char *key, const char *value, moa_err *err) {
    MOA_TRY(note(r->learning ? &r->learnt : &r->kept, r, kind, key, value, err));
    return r->recall_then || !r->cfg->store ? 0 : moa_store_put(r->cfg->store, kind, key, value, err);
}

typedef struct lesson { moa_run *r; moa_score_fn score; void *ctx; const moa_strategy *s; } lesson;
static int take(void *ctx, moa_err *err) {
    const lesson *l = ctx;
    return l->s->learn(l->r, l->score, l->ctx, err);
}

int moa_run_learn(moa_run *r, moa_score_fn score, void *ctx, moa_err *err) {
    lesson l = {r, score, ctx, moa_strategy_find(r->cfg->strategy)};
    if (!l.s || !l.s->learn) return 0;
    moa_recalled *const read = r->recalled; /* the run's; it now reads what is there by now, within one write */
    r->recalled = NULL;
    r->learning = true;
    const int rc = r->cfg->store && !r->recall_then ? moa_store_write(r->cfg->store, take, &l, err) : take(&l, err);
    r->recalled = read;
    r->learning = false;
    return rc;
}
