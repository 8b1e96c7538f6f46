/* traces.c - see traces.h. SPDX-License-Identifier: Apache-2.0 */
#include "serve/traces.h"

#include "base/json.h"
#include "serve/exchange.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void moa_traces_init(moa_traces *t) {
    *t = (moa_traces){.n = 0};
    pthread_mutex_init(&t->lock, NULL);
}

static void drop(moa_traces *t, moa_trace *r) {
    t->bytes -= r->n;
    free(r->text);
    *r = (moa_trace){.n = 0};
}

void moa_traces_deinit(moa_traces *t) {
    for (int i = 0; i < MOA_TRACES; i++) drop(t, &t->row[i]);
    pthread_mutex_destroy(&t->lock);
}

/* The beginning of what the user said last, in one line, cut between characters. */
static void name_question(char out[160], const moa_run *r) {
    const char *s = r->conv[r->n_conv - 1].content;
    size_t n = strnlen(s, 150);
    while (n && ((unsigned char)s[n] & 0xc0) == 0x80) n--;
    snprintf(out, 160, "%.*s", (int)n, s);
    for (char *c = out; *c; c++)
        if ((unsigned char)*c < ' ') *c = ' ';
}

static void fill(moa_trace *row, const struct moa_exchange *x, const char *mix, time_t created, const moa_run *r, json_t *v) {
    moa_buf b;
    moa_buf_init(&b, MOA_TRACE_BYTES / 4);
    *row = (moa_trace){.caller = x->caller, .created = created, .seconds = r->seconds, .rc = r->rc};
    snprintf(row->id, sizeof row->id, "%s", x->id);
    snprintf(row->mix, sizeof row->mix, "%s", mix);
    name_question(row->question, r);
    if (v) {
        json_object_set_new(v, "id", json_string(x->id));
        json_object_set_new(v, "label", json_string(mix));
        json_object_set_new(v, "created", json_integer((json_int_t)created));
    }
    if (v && moa_json_add(&b, v) >= 0) row->n = b.len, row->text = moa_buf_take(&b);
    json_decref(v);
    moa_buf_deinit(&b);
}

void moa_traces_add(moa_traces *t, const struct moa_exchange *x, const char *mix, time_t created, const moa_run *r, json_t *trace) {
    moa_trace row;
    fill(&row, x, mix, created, r, trace);
    pthread_mutex_lock(&t->lock);
    drop(t, &t->row[t->n % MOA_TRACES]);
    t->row[t->n++ % MOA_TRACES] = row;
    t->bytes += row.n;
    for (size_t i = t->n < MOA_TRACES ? 0 : t->n - MOA_TRACES; t->bytes > MOA_TRACE_BYTES && i < t->n; i++) drop(t, &t->row[i % MOA_TRACES]); /* the oldest first */
    pthread_mutex_unlock(&t->lock);
}

json_t *moa_traces_list(moa_traces *t, uint64_t caller) {
    json_t *list = json_array();
    pthread_mutex_lock(&t->lock);
    for (size_t i = t->n; i-- > 0 && i + MOA_TRACES >= t->n;) {
        const moa_trace *r = &t->row[i % MOA_TRACES];
        if (!r->text || r->caller != caller) continue;
        json_array_append_new(list, json_pack("{s:s, s:o, s:I, s:f, s:s, s:o}", "id", r->id, "mix", moa_json_str(r->mix, strlen(r->mix)), "created", (json_int_t)r->created, "seconds",
                                              r->seconds, "status", r->rc >= 0 ? "done" : r->rc == MOA_ECANCELED ? "canceled" : "failed", "question",
                                              moa_json_str(r->question, strlen(r->question))));
    }
    pthread_mutex_unlock(&t->lock);
    return list;
}

char *moa_traces_get(moa_traces *t, uint64_t caller, const char *id, size_t *n) {
    char *text = NULL;
    pthread_mutex_lock(&t->lock);
    for (int i = 0; i < MOA_TRACES && !text; i++) {
        const moa_trace *r = &t->row[i];
        if (!r->text || r->caller != caller || strcmp(r->id, id)) continue;
        text = strndup(r->text, r->n);
        *n = r->n;
    }
    pthread_mutex_unlock(&t->lock);
    return text;
}
