/* metrics.c - see metrics.h. SPDX-License-Identifier: Apache-2.0 */
#include "serve/metrics.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const struct family { const char *name, *help; bool histogram; } families[] = {
    {"moa_requests_total", "requests that have ended, by endpoint and status", false},
    {"moa_request_seconds", "from the last byte of a request to the last of its reply", true},
    {"moa_ttft_seconds", "from the last byte of a request to the first text of its reply", true},
    {"moa_call_seconds", "one call of a model", true},
    {"moa_tokens_total", "tokens, by model and kind: prompt, completion, reused", false},
    {"moa_calls_total", "calls of models, by model and role", false},
    {"moa_cancelled_total", "requests whose client left, by phase: waiting, running", false},
    {"moa_refused_total", "requests that were refused at once, by reason", false},
};
static const char overflow[] = "overflow=\"true\"";
static const double bounds[MOA_METRIC_BUCKETS] = {0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 10, 30, 120};

void moa_metrics_init(moa_metrics *m) {
    *m = (moa_metrics){0};
    pthread_mutex_init(&m->lock, NULL);
}

void moa_metrics_deinit(moa_metrics *m) { pthread_mutex_destroy(&m->lock); }

static const struct family *family_of(const char *name) {
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (!strcmp(families[i].name, name)) return &families[i];
    return NULL;
}

/* Backslash, quote and line end are escaped; what is too long is cut. */
static size_t add_label(char *out, size_t n, size_t at, const char *k, const char *v) {
    if (!k || !v) return at;
    int used = snprintf(out + at, n - at, "%s%s=\"", at ? "," : "", k);
    if (used < 0 || at + (size_t)used + 4 > n) return out[at] = 0, at;
    at += (size_t)used;
    for (; *v && at + 4 < n; v++) {
        if (*v == '\\' || *v == '"' || *v == '\n') out[at++] = '\\';
        out[at++] = *v == '\n' ? 'n' : *v;
    }
    out[at++] = '"';
    out[at] = 0;
    return at;
}

static moa_metric *row_of(moa_metrics *m, const char *name, const char *label) {
    for (int i = 0; i < m->n; i++)
        if (m->row[i].name == name && !strcmp(m->row[i].label, label)) return &m->row[i];
    const int room = strcmp(label, overflow) ? MOA_METRIC_ROWS - (int)(sizeof families / sizeof *families) : MOA_METRIC_ROWS;
    if (m->n >= room) return NULL;
    moa_metric *r = &m->row[m->n++];
    r->name = name;
    snprintf(r->label, sizeof r->label, "%s", label);
    return r;
}

void moa_metric_add(moa_metrics *m, const char *family, const char *k1, const char *v1, const char *k2, const char *v2, double value) {
    const struct family *f = family_of(family);
    char label[160] = "";
    size_t at = add_label(label, sizeof label / 2, 0, k1, v1);
    add_label(label, sizeof label, at, k2, v2);
    if (!f) return;
    pthread_mutex_lock(&m->lock);
    moa_metric *r = row_of(m, f->name, label);
    if (!r) r = row_of(m, f->name, overflow);
    if (r) {
        r->value += value;
        r->count++;
        for (int b = 0; f->histogram && b < MOA_METRIC_BUCKETS; b++) r->bucket[b] += value <= bounds[b];
    }
    pthread_mutex_unlock(&m->lock);
}

static void write_row(moa_buf *out, const struct family *f, const moa_metric *r) {
    const char *comma = r->label[0] ? "," : "", *open = r->label[0] ? "{" : "", *close = r->label[0] ? "}" : "";
    if (!f->histogram) {
        moa_buf_addf(out, "%s%s%s%s %.17g\n", f->name, open, r->label, close, r->value);
        return;
    }
    for (int b = 0; b < MOA_METRIC_BUCKETS; b++)
        moa_buf_addf(out, "%s_bucket{%s%sle=\"%g\"} %llu\n", f->name, r->label, comma, bounds[b], (unsigned long long)r->bucket[b]);
    moa_buf_addf(out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", f->name, r->label, comma, (unsigned long long)r->count);
    moa_buf_addf(out, "%s_sum%s%s%s %.17g\n", f->name, open, r->label, close, r->value);
    moa_buf_addf(out, "%s_count%s%s%s %llu\n", f->name, open, r->label, close, (unsigned long long)r->count);
}

void moa_metrics_write(moa_buf *out, moa_metrics *m) {
    pthread_mutex_lock(&m->lock);
    for (size_t k = 0; k < sizeof families / sizeof *families; k++) {
        const struct family *f = &families[k];
        moa_buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", f->name, f->help, f->name, f->histogram ? "histogram" : "counter");
        for (int i = 0; i < m->n; i++)
            if (m->row[i].name == f->name) write_row(out, f, &m->row[i]);
    }
    pthread_mutex_unlock(&m->lock);
}
