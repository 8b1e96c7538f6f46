/* ledger.c - see ledger.h. SPDX-License-Identifier: Apache-2.0 */
#include "serve/ledger.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/rng.h"
#include "serve/endpoint.h"
#include "serve/exchange.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum { MEMORY = 64 << 20, RETRY_S = 600 /* SDKs wait no longer before they ask again */, NAMED_S = 24 * 3600 /* people and their scripts do */ };

static moa_ledger_row *add_row(moa_ledger *l, uint64_t scope, uint64_t seed, moa_ledger_state state) {
    moa_ledger_row *r = &l->row[l->n++ % MOA_LEDGER_ROWS];
    *r = (moa_ledger_row){scope, seed, moa_now(), state};
    return r;
}

/* ---- the file ---- */

static int read_number(uint64_t *out, const json_t *line, const char *key, const char *where, moa_err *err) {
    const char *s, *end;
    MOA_TRY(moa_json_get_str(&s, line, key, "", where, err));
    *out = strtoull(s, (char **)(uintptr_t)&end, 10);
    return *s && !*end ? 0 : moa_fail(err, MOA_EFORMAT, "%s: %s '%.40s': expected a number as text", where, key, s);
}

static int read_line(void *ctx, const json_t *line, const char *where, moa_err *err) {
    moa_ledger *l = ctx;
    const char *kind;
    uint64_t scope, seed;
    MOA_TRY(moa_json_get_str(&kind, line, "moa", "", where, err));
    MOA_TRY(read_number(&scope, line, "scope", where, err));
    MOA_TRY(read_number(&seed, line, "seed", where, err));
    if (!strcmp(kind, "request")) {
        add_row(l, scope, seed, MOA_LEDGER_BROKEN);
        return 0;
    }
    if (strcmp(kind, "end")) return moa_fail(err, MOA_EFORMAT, "%s: a line of the kind '%.40s', expected request or end", where, kind);
    for (size_t i = 0; i < MOA_LEDGER_ROWS; i++)
        if (l->row[i].scope == scope && l->row[i].seed == seed && json_integer_value(json_object_get(json_object_get(line, "trace"), "rc")) >= 0) l->row[i].state = MOA_LEDGER_ENDED;
    return 0;
}

static json_t *text_number(uint64_t v) {
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)v);
    return json_string(text);
}

static json_t *line_of(const char *kind, const moa_exchange *x, uint64_t scope, uint64_t seed) {
    return json_pack("{s:s, s:s, s:o, s:o, s:I}", "moa", kind, "id", x->id, "scope", text_number(scope), "seed", text_number(seed), "time", (json_int_t)time(NULL));
}

/* A journal that cannot be written ends the calls that it should remember (agent/backend/journal.c), and says why there. */
static void write_line(moa_ledger *l, json_t *line) {
    moa_err err;
    if (line) moa_journal_write(l->journal, line, &err);
    json_decref(line);
}

int moa_ledger_open(moa_ledger **out, const char *path, bool redact, moa_err *err) {
    moa_ledger *l = *out = calloc(1, sizeof *l);
    if (!l) return moa_fail(err, MOA_ENOMEM, "a ledger");
    pthread_mutex_init(&l->lock, NULL);
    l->redact = redact;
    const moa_journal_cfg cfg = {.path = path, .limit = MEMORY, .silent = redact, .line = read_line, .ctx = l};
    const int rc = moa_journal_open_with(&l->journal, &cfg, err);
    if (rc >= 0) return 0;
    moa_ledger_close(l);
    *out = NULL;
    return rc;
}

void moa_ledger_close(moa_ledger *l) {
    if (!l) return;
    moa_journal_close(l->journal);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

/* ---- requests ---- */

static uint64_t scope_of(const moa_exchange *x, int part) {
    const uint64_t who[3] = {x->caller, (uint64_t)part, x->named};
    const uint64_t h = moa_hash64(x->endpoint->name, strlen(x->endpoint->name), moa_hash64(who, x->named ? sizeof who : 2 * sizeof *who, 0));
    const uint64_t scope = moa_hash64(moa_buf_str(&x->body), x->body.len, h);
    return scope ? scope : 1;
}

/* The request as it came before, if this is the same one again: it did not end, or came within so many seconds and is said to be the same. Others that
 * ask the same at the same time want several replies. */
static moa_ledger_row *row_again(moa_ledger *l, uint64_t scope, double within) {
    moa_ledger_row *best = NULL;
    const double now = moa_now();
    for (size_t i = 0; i < MOA_LEDGER_ROWS; i++) {
        moa_ledger_row *r = &l->row[i];
        if (r->scope != scope || r->state == MOA_LEDGER_FREE) continue;
        if (r->state != MOA_LEDGER_BROKEN && now - r->at >= within) continue;
        if (!best || r->state < best->state || (r->state == best->state && r->at > best->at)) best = r;
    }
    return best;
}

void moa_ledger_begin(moa_ledger *l, const moa_exchange *x, int part, const char *mix, bool named, bool seeded, uint64_t *seed, uint64_t *scope) {
    *scope = scope_of(x, part);
    pthread_mutex_lock(&l->lock);
    moa_ledger_row *r = row_again(l, *scope, named || x->named ? NAMED_S : x->retries > 0 ? RETRY_S : 0);
    if (r && !seeded) *seed = r->seed;
    if (!r) r = add_row(l, *scope, *seed, MOA_LEDGER_RUNS);
    r->seed = *seed, r->at = moa_now(), r->state = MOA_LEDGER_RUNS;
    pthread_mutex_unlock(&l->lock);
    json_t *line = line_of("request", x, *scope, *seed);
    if (line) {
        json_object_set_new(line, "path", json_string(x->endpoint->path));
        json_object_set_new(line, "mix", moa_json_str(mix, strlen(mix)));
        if (!l->redact) json_object_set_new(line, "body", moa_json_str(moa_buf_str(&x->body), x->body.len));
    }
    write_line(l, line);
}

void moa_ledger_end(moa_ledger *l, const moa_exchange *x, const moa_run *r, json_t *trace) {
    pthread_mutex_lock(&l->lock);
    for (size_t i = 0; i < MOA_LEDGER_ROWS; i++) {
        moa_ledger_row *row = &l->row[i];
        if (row->scope != r->scope || row->seed != r->seed || row->state != MOA_LEDGER_RUNS) continue;
        row->state = r->rc >= 0 ? MOA_LEDGER_ENDED : MOA_LEDGER_BROKEN;
        row->at = moa_now();
    }
    pthread_mutex_unlock(&l->lock);
    json_t *line = line_of("end", x, r->scope, r->seed);
    if (line) json_object_set_new(line, "trace", trace);
    else json_decref(trace);
    write_line(l, line);
}
