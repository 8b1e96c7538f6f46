/* upstream.c - see upstream.h. Each batch runs its own libcurl multi handle in the thread that asked; handles are kept for the next batch, with
 * their connections. SPDX-License-Identifier: Apache-2.0 */
#include "serve/upstream.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/rng.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_REPLY = 64 << 20, MAX_LINE = 16 << 20, MAX_SPARE = 64, POLL_MS = 20, CONNECT_S = 10 };

typedef struct upstream {
    moa_backend base;
    char *id, *url, *model, *key;
    int max_concurrent, timeout_s, retries;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    int n_thread;
    int n_running;
    CURLM *spare[MAX_SPARE]; int n_spare;
} upstream;

/* One call under way. */
typedef struct transfer {
    upstream *u;
    moa_call *call;
    int index;                 /* in the batch */
    CURL *easy;
    struct curl_slist *header;
    moa_buf body;              /* of the request */
    moa_buf line, text, plain; /* of the reply: a line that is not whole; its text; what is no stream */
    long status;
    double began, not_before;  /* when it may be tried again */
    double retry_after;        /* seconds; negative: not told */
    int tries;
    bool slot, over, done;     /* has one of max_concurrent; the stream has ended; the call has its result */
    const char *finish;
    int64_t prompt_tokens, completion_tokens, cached_tokens;
    moa_err err;               /* what the reply itself says went wrong */
} transfer;

/* ---- the request ---- */

static json_t *messages_of(const moa_call *c) {
    json_t *list = json_array();
    for (int i = 0; i < c->n_msg; i++)
        json_array_append_new(list, json_pack("{s:s, s:o}", "role", c->msg[i].role, "content", moa_json_str(c->msg[i].content, strlen(c->msg[i].content))));
    return list;
}

/* Only fields that all such servers know. */
static int write_body(transfer *t, moa_err *err) {
    const moa_call *c = t->call;
    const moa_sampling *s = &c->sampling;
    json_t *o = json_pack("{s:s, s:o, s:b, s:{s:b}, s:f, s:I}", "model", t->u->model, "messages", messages_of(c), "stream", 1, "stream_options", "include_usage", 1, "temperature",
                          (double)s->temperature, "seed", (json_int_t)(s->seed & INT32_MAX));
    if (s->top_p < 1) json_object_set_new(o, "top_p", json_real((double)s->top_p));
    if (s->presence_penalty != 0) json_object_set_new(o, "presence_penalty", json_real((double)s->presence_penalty));
    if (s->frequency_penalty != 0) json_object_set_new(o, "frequency_penalty", json_real((double)s->frequency_penalty));
    if (c->max_tokens < 1 << 28) json_object_set_new(o, "max_tokens", json_integer(c->max_tokens));
    const moa_call_extra *x = c->extra;
    if (x && x->n_stop) {
        json_t *list = json_array();
        for (int i = 0; i < x->n_stop; i++) json_array_append_new(list, json_string(x->stop[i]));
        json_object_set_new(o, "stop", list);
    }
    if (x && x->schema)
        json_object_set_new(o, "response_format", json_pack("{s:s, s:{s:s, s:O}}", "type", "json_schema", "json_schema", "name", "reply", "schema", x->schema));
    const int rc = o ? moa_json_add(&t->body, o) : MOA_ENOMEM;
    json_decref(o);
    if (c->grammar && !(x && x->schema)) return moa_fail(err, MOA_EUNSUPPORTED, "%s takes no grammar, only a JSON schema", t->u->id);
    return rc < 0 ? moa_fail(err, rc, "%s: the request is too long", t->u->id) : 0;
}

/* ---- the reply ---- */

static void add_text(transfer *t, const char *s, size_t n) {
    if (!n || moa_buf_add(&t->text, s, n) < 0) return;
    t->call->on_text(t->call, s, n);
}

static void read_usage(transfer *t, const json_t *u) {
    if (!json_is_object(u)) return;
    t->prompt_tokens = json_integer_value(json_object_get(u, "prompt_tokens"));
    t->completion_tokens = json_integer_value(json_object_get(u, "completion_tokens"));
    t->cached_tokens = json_integer_value(json_object_get(json_object_get(u, "prompt_tokens_details"), "cached_tokens"));
}

static void read_object(transfer *t, const json_t *v) {
    const json_t *choice = json_array_get(json_object_get(v, "choices"), 0), *e = json_object_get(v, "error");
    const json_t *d = json_object_get(choice, "delta"), *content = json_object_get(d ? d : json_object_get(choice, "message"), "content");
    const char *end = json_string_value(json_object_get(choice, "finish_reason")), *why = json_string_value(json_object_get(e, "message"));
    if (e && !json_is_null(e)) moa_fail(&t->err, MOA_EIO, "%s: %.300s", t->u->id, why ? why : json_is_string(e) ? json_string_value(e) : "an error without words");
    if (json_is_string(content)) add_text(t, json_string_value(content), json_string_length(content));
    if (end) t->finish = !strcmp(end, "length") ? "length" : "stop";
    read_usage(t, json_object_get(v, "usage"));
}

static void read_event(transfer *t, const char *s, size_t n) {
    json_t *v;
    moa_err err;
    while (n && (s[n - 1] == '\r' || s[n - 1] == ' ')) n--;
    if (n < 5 || memcmp(s, "data:", 5)) return; /* comments, names of events, empty lines */
    s += 5, n -= 5;
    while (n && *s == ' ') s++, n--;
    if (n == 6 && !memcmp(s, "[DONE]", 6)) {
        if (!t->finish) t->finish = "stop";
        return;
    }
    if (moa_json_parse(&v, s, n, MAX_LINE, t->u->id, &err) < 0) {
        t->err = err;
        return;
    }
    read_object(t, v);
    json_decref(v);
}

static size_t on_data(char *p, size_t one, size_t n, void *ctx) {
    transfer *t = ctx;
    (void)one;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &t->status);
    const char *type = NULL;
    curl_easy_getinfo(t->easy, CURLINFO_CONTENT_TYPE, &type);
    if (t->status != 200 || !type || strncasecmp(type, "text/event-stream", 17) != 0) return moa_buf_add(&t->plain, p, n) < 0 ? 0 : n;
    for (size_t i = 0; i < n;) {
        const char *end = memchr(p + i, '\n', n - i);
        const size_t k = end ? (size_t)(end - (p + i)) : n - i;
        if (moa_buf_add(&t->line, p + i, k) < 0) return 0;
        if (end) {
            read_event(t, moa_buf_str(&t->line), t->line.len);
            moa_buf_clear(&t->line);
        }
        i += k + (end != NULL);
        if (t->over || t->err.code) return 0;
    }
    return n;
}

static size_t on_header(char *p, size_t one, size_t n, void *ctx) {
    static const char name[] = "retry-after:";
    transfer *t = ctx;
    char number[32];
    (void)one;
    if (n > sizeof name && strncasecmp(p, name, sizeof name - 1) == 0) {
        snprintf(number, sizeof number, "%.*s", (int)(n - sizeof name + 1 < 31 ? n - sizeof name + 1 : 31), p + sizeof name - 1);
        t->retry_after = strtod(number, NULL);
    }
    return n;
}

/* ---- a transfer's life ---- */

static int prepare(transfer *t, moa_err *err) {
    upstream *u = t->u;
    char line[4200], url[4200];
    t->easy = curl_easy_init();
    t->header = curl_slist_append(NULL, "Content-Type: application/json");
    if (t->header) curl_slist_append(t->header, "Accept: text/event-stream");
    if (u->key && t->header && snprintf(line, sizeof line, "Authorization: Bearer %s", u->key) < (int)sizeof line) curl_slist_append(t->header, line);
    snprintf(url, sizeof url, "%s/chat/completions", u->url);
    if (!t->easy || !t->header) return moa_fail(err, MOA_ENOMEM, "%s: no memory for a call", u->id);
    MOA_TRY(write_body(t, err));
    curl_easy_setopt(t->easy, CURLOPT_URL, url);
    curl_easy_setopt(t->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->header);
    curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, moa_buf_str(&t->body));
    curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)t->body.len);
    curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(t->easy, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);
    curl_easy_setopt(t->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(t->easy, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    curl_easy_setopt(t->easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(t->easy, CURLOPT_LOW_SPEED_TIME, (long)u->timeout_s);
    curl_easy_setopt(t->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(t->easy, CURLOPT_NOPROXY, "127.0.0.1,localhost,::1");
    return 0;
}

static bool take_slot(upstream *u) {
    pthread_mutex_lock(&u->lock);
    const bool free_one = u->n_running < u->max_concurrent;
    u->n_running += free_one;
    pthread_mutex_unlock(&u->lock);
    return free_one;
}

static void give_slot(transfer *t) {
    if (!t->slot) return;
    pthread_mutex_lock(&t->u->lock);
    t->u->n_running--;
    pthread_mutex_unlock(&t->u->lock);
    t->slot = false;
}

static void finish(transfer *t) {
    moa_call *c = t->call;
    give_slot(t);
    t->done = true;
    c->res = (moa_gen_res){.text_len = t->text.len, .n_prompt = t->prompt_tokens, .n_reused = t->cached_tokens, .n_ids = (int)t->completion_tokens,
                           .seconds = moa_now() - t->began, .why = t->finish && !strcmp(t->finish, "length") ? MOA_STOP_LENGTH : MOA_STOP_EOS};
    c->share_s = c->res.seconds;
    c->res.text = moa_buf_take(&t->text);
    c->on_end(c);
}

static void fail(transfer *t, const moa_err *err) {
    t->call->rc = err->code;
    t->call->err = *err;
    finish(t);
}

static bool canceled(const transfer *t) { return t->over || atomic_load(&t->call->cancel); }

/* What came of one try: a reply, another try later, or a failure. */
static void conclude(transfer *t, CURLcode code) {
    moa_err err = t->err;
    char url[200];
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &t->status);
    snprintf(url, sizeof url, "%.180s", t->u->url);
    const bool cut = code != CURLE_OK || (t->status == 200 && !t->finish && !t->plain.len);
    if (canceled(t)) {
        moa_fail(&err, MOA_ECANCELED, "%s: canceled", t->u->id);
    } else if (t->status == 200 && !err.code && code == CURLE_OK && t->plain.len) { /* a server that does not stream */
        json_t *v;
        if (moa_json_parse(&v, moa_buf_str(&t->plain), t->plain.len, MAX_REPLY, t->u->id, &err) >= 0) {
            read_object(t, v);
            err = t->err;
            json_decref(v);
        }
    } else if (!err.code && t->status && t->status != 200) {
        json_t *v = json_loadb(moa_buf_str(&t->plain), t->plain.len, 0, NULL);
        const char *why = json_string_value(json_object_get(json_object_get(v, "error"), "message"));
        moa_fail(&err, MOA_EIO, "%s (%s): status %ld: %.300s", t->u->id, url, t->status, why ? why : t->plain.len ? moa_buf_str(&t->plain) : "no words");
        json_decref(v);
    } else if (!err.code && cut) {
        moa_fail(&err, MOA_EIO, "%s (%s): %s", t->u->id, url, code != CURLE_OK ? curl_easy_strerror(code) : "the stream ended before its end");
    }
    const bool passing = err.code == MOA_EIO && !t->text.len && (!t->status || t->status == 200 || t->status == 408 || t->status == 429 || t->status >= 500);
    if (!err.code) {
        finish(t);
    } else if (passing && t->tries <= t->u->retries && t->retry_after < 120) {
        uint64_t noise = moa_mix64((uint64_t)(moa_now() * 1e9) ^ (uint64_t)(uintptr_t)t);
        const double wait = t->retry_after >= 0 ? t->retry_after : 0.25 * (double)(1 << t->tries) * (0.5 + (double)(noise & 1023) / 1024);
        t->not_before = moa_now() + wait;
        t->err = (moa_err){0};
        t->status = 0, t->finish = NULL, t->retry_after = -1;
        moa_buf_clear(&t->line);
        moa_buf_clear(&t->plain);
        give_slot(t);
    } else {
        fail(t, &err);
    }
}

/* ---- a batch ---- */

static CURLM *take_multi(upstream *u) {
    pthread_mutex_lock(&u->lock);
    CURLM *m = u->n_spare ? u->spare[--u->n_spare] : NULL;
    pthread_mutex_unlock(&u->lock);
    return m ? m : curl_multi_init();
}

static void give_multi(upstream *u, CURLM *m) {
    pthread_mutex_lock(&u->lock);
    const bool kept = m && u->n_spare < MAX_SPARE;
    if (kept) u->spare[u->n_spare++] = m;
    pthread_mutex_unlock(&u->lock);
    if (!kept && m) curl_multi_cleanup(m);
}

/* Starts what may start; ends what nobody wants. Returns how many are not done. */
static int advance(CURLM *m, transfer *t, int n) {
    int left = 0;
    for (int i = 0; i < n; i++) {
        if (t[i].done) continue;
        if (canceled(&t[i])) {
            moa_err err;
            moa_fail(&err, MOA_ECANCELED, "%s: canceled", t[i].u->id);
            if (t[i].slot) curl_multi_remove_handle(m, t[i].easy);
            fail(&t[i], &err);
            continue;
        }
        left++;
        if (t[i].slot || moa_now() < t[i].not_before || !(t[i].slot = take_slot(t[i].u))) continue;
        if (!t[i].tries++) t[i].began = moa_now();
        curl_multi_add_handle(m, t[i].easy);
    }
    return left;
}

static void run_all(CURLM *m, transfer *t, int n) {
    while (advance(m, t, n)) {
        int running, queued;
        curl_multi_perform(m, &running);
        for (CURLMsg *msg; (msg = curl_multi_info_read(m, &queued));) {
            transfer *one = NULL;
            if (msg->msg != CURLMSG_DONE) continue;
            const CURLcode code = msg->data.result;
            curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&one);
            curl_multi_remove_handle(m, msg->easy_handle);
            if (one) conclude(one, code);
        }
        curl_multi_poll(m, NULL, 0, POLL_MS, NULL);
    }
}

typedef struct batch { upstream *u; moa_call **call; int n; } batch;

static void work(upstream *u, moa_call **call, int n) {
    transfer *t = calloc((size_t)n, sizeof *t);
    CURLM *m = take_multi(u);
    for (int i = 0; i < n; i++) {
        moa_err e = {0};
        if (!t || !m) {
            moa_fail(&e, MOA_ENOMEM, "%s: %d calls", u->id, n);
            moa_call_fail(call[i], &e);
            continue;
        }
        t[i] = (transfer){.u = u, .call = call[i], .began = moa_now(), .retry_after = -1};
        moa_buf_init(&t[i].body, MAX_REPLY);
        moa_buf_init(&t[i].line, MAX_LINE);
        moa_buf_init(&t[i].text, MAX_REPLY);
        moa_buf_init(&t[i].plain, 1 << 20);
        if (prepare(&t[i], &e) < 0) fail(&t[i], &e);
    }
    if (t && m) run_all(m, t, n);
    for (int i = 0; t && i < n; i++) {
        curl_easy_cleanup(t[i].easy);
        curl_slist_free_all(t[i].header);
        moa_buf_deinit(&t[i].body);
        moa_buf_deinit(&t[i].line);
        moa_buf_deinit(&t[i].text);
        moa_buf_deinit(&t[i].plain);
    }
    free(t);
    give_multi(u, m);
}

static void *live(void *arg) {
    batch *b = arg;
    upstream *u = b->u;
    work(u, b->call, b->n);
    free(b->call);
    free(b);
    pthread_mutex_lock(&u->lock);
    u->n_thread--;
    pthread_cond_signal(&u->ended);
    pthread_mutex_unlock(&u->lock);
    return NULL;
}

static void start(moa_backend *base, moa_call *const *call, int n) {
    upstream *u = (upstream *)base;
    batch *b = malloc(sizeof *b);
    moa_call **own = malloc((size_t)n * sizeof(moa_call *));
    pthread_attr_t a;
    pthread_t thread;
    bool ok = b && own;
    if (ok) {
        memcpy(own, call, (size_t)n * sizeof(moa_call *));
        *b = (batch){u, own, n};
        pthread_mutex_lock(&u->lock);
        u->n_thread++;
        pthread_mutex_unlock(&u->lock);
        pthread_attr_init(&a);
        pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED);
        ok = pthread_create(&thread, &a, live, b) == 0;
        pthread_attr_destroy(&a);
        if (ok) return;
        pthread_mutex_lock(&u->lock);
        u->n_thread--;
        pthread_mutex_unlock(&u->lock);
    }
    free(b);
    free(own);
    moa_err err;
    moa_fail(&err, MOA_ENOMEM, "%s: %d calls", u->id, n);
    for (int i = 0; i < n; i++) moa_call_fail(call[i], &err);
}

/* ---- opening ---- */

static void close_it(moa_backend *b) {
    upstream *u = (upstream *)b;
    pthread_mutex_lock(&u->lock);
    while (u->n_thread) pthread_cond_wait(&u->ended, &u->lock);
    pthread_mutex_unlock(&u->lock);
    pthread_cond_destroy(&u->ended);
    for (int i = 0; i < u->n_spare; i++) curl_multi_cleanup(u->spare[i]);
    pthread_mutex_destroy(&u->lock);
    free(u->id);
    free(u->url);
    free(u->model);
    free(u->key);
    free(u);
}

static const moa_backend_ops ops = {.name = "openai", .help = "a model behind a URL", .start = start, .close = close_it};

int moa_upstream_open(moa_backend **out, const moa_upstream_cfg *cfg, moa_err *err) {
    *out = NULL;
    if (strncmp(cfg->url, "http://", 7) && strncmp(cfg->url, "https://", 8)) return moa_fail(err, MOA_EUSAGE, "%s: url '%.200s', expected http:// or https://", cfg->id, cfg->url);
    if (strlen(cfg->url) > 4000 || (cfg->key && (strlen(cfg->key) > 4000 || strpbrk(cfg->key, "\r\n")))) return moa_fail(err, MOA_EUSAGE, "%s: url or key is too long, or no line of text", cfg->id);
    curl_global_init(CURL_GLOBAL_DEFAULT); /* counts its callers; thread-safe in libcurl 7.84 and later */
    upstream *u = calloc(1, sizeof *u);
    if (!u) return moa_fail(err, MOA_ENOMEM, "%s", cfg->id);
    pthread_mutex_init(&u->lock, NULL);
    pthread_cond_init(&u->ended, NULL);
    u->id = strdup(cfg->id), u->url = strdup(cfg->url), u->model = strdup(cfg->model ? cfg->model : cfg->id), u->key = cfg->key ? strdup(cfg->key) : NULL;
    u->max_concurrent = cfg->max_concurrent > 0 ? cfg->max_concurrent : 8;
    u->timeout_s = cfg->timeout_s > 0 ? cfg->timeout_s : 120;
    u->retries = cfg->retries < 0 ? 0 : cfg->retries ? cfg->retries : 2;
    if (!u->id || !u->url || !u->model || (cfg->key && !u->key)) {
        close_it(&u->base);
        return moa_fail(err, MOA_ENOMEM, "%s", cfg->id);
    }
    for (size_t n = strlen(u->url); n && u->url[n - 1] == '/'; n--) u->url[n - 1] = 0;
    u->base = (moa_backend){.ops = &ops, .id = u->id, .n_ctx = cfg->n_ctx, .n_ctx_most = cfg->n_ctx};
    *out = &u->base;
    return 0;
}
