/* exchange.c - see exchange.h. SPDX-License-Identifier: Apache-2.0 */
#include "serve/exchange.h"

#include "base/clock.h"
#include "base/json.h"
#include "serve/catalog.h"
#include "serve/server.h"

#include <stdlib.h>
#include <string.h>

/* Bytes of a reply that its client has not read. A stream of a hundred thousand tokens fits; who reads nothing at all loses it. */
enum { MAX_OUT = 32 << 20 };

int moa_exchange_new(moa_exchange **out, moa_server *s, const moa_endpoint *e) {
    moa_exchange *x = *out = calloc(1, sizeof *x);
    if (!x) return -1;
    x->server = s, x->endpoint = e, x->refs = 1, x->fd = -1;
    x->came = x->touched = moa_now();
    pthread_mutex_init(&x->lock, NULL);
    moa_buf_init(&x->body, s->cfg.max_body);
    moa_buf_init(&x->out, MAX_OUT);
    return 0;
}

void moa_exchange_ref(moa_exchange *x) {
    pthread_mutex_lock(&x->lock);
    x->refs++;
    pthread_mutex_unlock(&x->lock);
}

void moa_exchange_unref(moa_exchange *x) {
    pthread_mutex_lock(&x->lock);
    const int left = --x->refs;
    pthread_mutex_unlock(&x->lock);
    if (left) return;
    moa_catalog_unref(x->catalog);
    pthread_mutex_destroy(&x->lock);
    moa_buf_deinit(&x->body);
    moa_buf_deinit(&x->out);
    free(x);
}

static void leave(moa_exchange *x) {
    atomic_store(&x->gone, true);
    if (x->run) moa_run_cancel(x->run);
}

void moa_exchange_leave(moa_exchange *x) {
    pthread_mutex_lock(&x->lock);
    leave(x);
    pthread_mutex_unlock(&x->lock);
}

void moa_exchange_rest(moa_exchange *x) {
    pthread_mutex_lock(&x->lock);
    x->run = NULL;
    pthread_mutex_unlock(&x->lock);
}

/* ---- replies ---- */

static void begin(moa_exchange *x, int status, const char *type) {
    x->status = status;
    x->type = type;
    x->touched = moa_now();
}

void moa_reply_text(moa_exchange *x, int status, const char *type, const char *text, size_t n) {
    pthread_mutex_lock(&x->lock);
    if (!x->status) {
        begin(x, status, type);
        if (moa_buf_add(&x->out, text, n) < 0) x->status = 500;
        x->done = true;
    }
    pthread_mutex_unlock(&x->lock);
    moa_server_mail(x->server, x);
}

void moa_reply_json(moa_exchange *x, int status, json_t *body) {
    moa_buf b;
    moa_buf_init(&b, MAX_OUT);
    if (!body || moa_json_add(&b, body) < 0 || moa_buf_adds(&b, "\n") < 0) {
        moa_fault f;
        moa_fault_set(&f, 500, "internal_error", NULL, "no memory for the reply");
        moa_reply_fault(x, &f);
    } else {
        moa_reply_text(x, status, "application/json", moa_buf_str(&b), b.len);
    }
    json_decref(body);
    moa_buf_deinit(&b);
}

void moa_reply_fault(moa_exchange *x, const moa_fault *f) {
    moa_buf b;
    moa_buf_init(&b, 1 << 16);
    moa_fault_json(&b, f);
    pthread_mutex_lock(&x->lock);
    const bool streaming = x->streaming;
    if (f->retry_after) x->retry_after = f->retry_after;
    pthread_mutex_unlock(&x->lock);
    if (streaming) {
        moa_sse_event(x, NULL, moa_buf_str(&b), b.len);
        moa_sse_end(x, false);
    } else {
        moa_buf_adds(&b, "\n");
        moa_reply_text(x, f->status, "application/json", moa_buf_str(&b), b.len);
    }
    moa_buf_deinit(&b);
}

/* ---- streams ---- */

void moa_sse_begin(moa_exchange *x) {
    pthread_mutex_lock(&x->lock);
    if (!x->status) begin(x, 200, "text/event-stream"), x->streaming = true;
    pthread_mutex_unlock(&x->lock);
    moa_server_mail(x->server, x);
}

int moa_sse_event(moa_exchange *x, const char *name, const char *text, size_t n) {
    if (moa_exchange_gone(x)) return MOA_ECANCELED;
    pthread_mutex_lock(&x->lock);
    moa_buf *b = &x->out;
    const size_t was = b->len;
    if (name) moa_buf_addf(b, "event: %s\n", name);
    moa_buf_adds(b, "data: ");
    moa_buf_add(b, text, n);
    moa_buf_adds(b, "\n\n");
    const int rc = b->failed;
    if (rc < 0) b->len = was, leave(x); /* half an event is worse than none */
    x->touched = moa_now();
    pthread_mutex_unlock(&x->lock);
    moa_server_mail(x->server, x);
    return rc;
}

int moa_sse_json(moa_exchange *x, const char *name, json_t *event) {
    moa_buf b;
    moa_buf_init(&b, MAX_OUT);
    int rc = event ? moa_json_add(&b, event) : MOA_ENOMEM;
    if (rc >= 0) rc = moa_sse_event(x, name, moa_buf_str(&b), b.len);
    moa_buf_deinit(&b);
    json_decref(event);
    return rc;
}

void moa_sse_end(moa_exchange *x, bool say_done) {
    if (say_done) moa_sse_event(x, NULL, "[DONE]", 6);
    pthread_mutex_lock(&x->lock);
    x->done = true;
    pthread_mutex_unlock(&x->lock);
    moa_server_mail(x->server, x);
}

void moa_sse_beat(moa_exchange *x) {
    pthread_mutex_lock(&x->lock);
    if (!x->done && x->streaming) {
        moa_buf_adds(&x->out, ": ping\n\n");
        x->touched = moa_now();
    }
    pthread_mutex_unlock(&x->lock);
    moa_server_mail(x->server, x);
}

size_t moa_exchange_take(moa_exchange *x, char *to, size_t max, bool *end) {
    pthread_mutex_lock(&x->lock);
    const size_t left = x->out.len - x->sent, n = left < max ? left : max;
    if (n) memcpy(to, x->out.data + x->sent, n);
    x->sent += n;
    if (x->sent == x->out.len) {
        moa_buf_clear(&x->out);
        x->sent = 0;
    } else if (x->sent > x->out.len / 2 && x->sent > 1 << 16) { /* what was read makes room */
        memmove(x->out.data, x->out.data + x->sent, x->out.len - x->sent);
        x->out.len -= x->sent;
        x->sent = 0;
    }
    *end = n == 0 && x->done;
    pthread_mutex_unlock(&x->lock);
    return n;
}
