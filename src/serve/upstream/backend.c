/* backend.c - models behind URLs, seen from those who call them: opening, starting, closing. SPDX-License-Identifier: Apache-2.0 */
#include "serve/upstream/upstream.h"

#include "base/clock.h"
#include "base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int new_job(job **out, upstream *u, moa_call *c, int rank, moa_err *err) {
    job *j = calloc(1, sizeof *j);
    if (!j) return moa_fail(err, MOA_ENOMEM, "%s: no memory for a call", u->id);
    *j = (job){.u = u, .call = c, .rank = rank};
    moa_buf_init(&j->body, MOA_UPSTREAM_BODY_MAX);
    const int rc = moa_upstream_body(&j->body, u, c, err);
    if (rc < 0) return moa_upstream_job_free(j), rc;
    j->cost = moa_upstream_cost(u, c, j->body.len);
    *out = j;
    return 0;
}

static void start(moa_backend *b, moa_call *const *call, int n) {
    upstream *u = (upstream *)b;
    job *list = NULL, **last = &list;
    for (int i = 0; i < n; i++) {
        moa_err err = {0};
        if (new_job(last, u, call[i], i, &err) < 0) moa_call_fail(call[i], &err);
        else last = &(*last)->next;
    }
    if (list) moa_net_send(u->net, list);
}

static void stir(moa_backend *b) {
    upstream *u = (upstream *)b;
    if (!atomic_exchange(&u->stirred, true)) moa_net_wake(u->net); /* a thousand cancels at once are one wake */
}

void moa_upstream_free(upstream *u) {
    curl_slist_free_all(u->header);
    pthread_mutex_destroy(&u->lock);
    free(u->id);
    free(u->url);
    free(u->model);
    free(u);
}

static void leave(moa_backend *b) { moa_net_leave((upstream *)b); }

static const moa_backend_ops ops = {.name = "openai", .help = "a model behind a URL", .start = start, .stir = stir, .close = leave};

bool moa_upstream_takes_tools(const moa_backend *b) {
    b = moa_backend_plain(b);
    return b->ops == &ops && !((const upstream *)b)->cfg.tools_in_words;
}

bool moa_upstream_takes_images(const moa_backend *b) {
    b = moa_backend_plain(b);
    return b->ops == &ops && ((const upstream *)b)->cfg.images;
}

bool moa_upstream_stats_of(moa_upstream_stats *out, const moa_backend *b) {
    if (b->ops != &ops) return false;
    upstream *u = (upstream *)(uintptr_t)b;
    pthread_mutex_lock(&u->lock);
    *out = u->stats;
    out->p50 = moa_latency_quantile(&u->first, 0.5);
    out->p95 = moa_latency_quantile(&u->first, 0.95);
    pthread_mutex_unlock(&u->lock);
    return true;
}

/* ---- opening ---- */

static void set_numbers(upstream *u, const moa_upstream_cfg *from) {
    moa_upstream_cfg *c = &u->cfg;
    const double now = moa_now();
    *c = *from;
    c->id = c->url = c->model = c->key = NULL;
    if (c->max_concurrent <= 0) c->max_concurrent = 8;
    c->retries = c->retries < 0 ? 0 : c->retries ? c->retries : 2;
    if (c->connect_s <= 0) c->connect_s = 10;
    if (c->timeout_s <= 0) c->timeout_s = 120;
    if (c->first_s <= 0) c->first_s = c->timeout_s;
    if (c->breaker == 0) c->breaker = 10;
    if (c->cooldown_s <= 0) c->cooldown_s = 15;
    moa_bucket_init(&u->requests, c->requests_per_minute, now);
    moa_bucket_init(&u->tokens, c->tokens_per_minute, now);
    u->breaker = (moa_breaker){.most = c->breaker, .cool_s = c->cooldown_s};
    u->mean_tokens = 512;
}

static int set_texts(upstream *u, const moa_upstream_cfg *c, moa_err *err) {
    static const char *const lines[] = {"Content-Type: application/json", "Accept: text/event-stream", "Expect:"};
    char key[4200];
    moa_buf url;
    size_t n = strlen(c->url);
    while (n && c->url[n - 1] == '/') n--;
    moa_buf_init(&url, 8192);
    moa_buf_addf(&url, "%.*s/chat/completions", (int)n, c->url);
    u->id = strdup(c->id), u->url = moa_buf_take(&url), u->model = strdup(c->model ? c->model : c->id);
    bool ok = u->id && u->url && u->model;
    snprintf(key, sizeof key, "Authorization: Bearer %s", c->key ? c->key : "");
    for (size_t i = 0; ok && i < sizeof lines / sizeof *lines + (c->key != NULL); i++) {
        struct curl_slist *more = curl_slist_append(u->header, i < sizeof lines / sizeof *lines ? lines[i] : key);
        ok = more != NULL;
        if (more) u->header = more;
    }
    return ok ? 0 : moa_fail(err, MOA_ENOMEM, "%s", c->id);
}

int moa_upstream_open(moa_backend **out, const moa_upstream_cfg *cfg, moa_err *err) {
    *out = NULL;
    if (strncmp(cfg->url, "http://", 7) && strncmp(cfg->url, "https://", 8)) return moa_fail(err, MOA_EUSAGE, "%s: url '%.200s', expected http:// or https://", cfg->id, cfg->url);
    if (strlen(cfg->url) > 4000 || (cfg->key && (strlen(cfg->key) > 4000 || strpbrk(cfg->key, "\r\n")))) return moa_fail(err, MOA_EUSAGE, "%s: url or key is too long, or no line of text", cfg->id);
    upstream *u = calloc(1, sizeof *u);
    if (!u) return moa_fail(err, MOA_ENOMEM, "%s", cfg->id);
    pthread_mutex_init(&u->lock, NULL);
    set_numbers(u, cfg);
    int rc = set_texts(u, cfg, err);
    if (rc >= 0) rc = moa_net_join(u, err);
    if (rc < 0) {
        moa_upstream_free(u);
        return rc;
    }
    /* A journal must not take another model's reply for this one's, which the same id may have named yesterday. */
    const uint64_t print = moa_hash64(u->model, strlen(u->model) + 1, moa_hash64(u->url, strlen(u->url) + 1, 0));
    u->base = (moa_backend){.ops = &ops, .id = u->id, .fingerprint = print ? print : 1, .n_ctx = cfg->n_ctx, .n_ctx_most = cfg->n_ctx};
    *out = &u->base;
    return 0;
}
