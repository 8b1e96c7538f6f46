/* http.c - libmicrohttpd's side: requests in, replies out, all in the event thread.
 *
 * A request is refused as early as is polite: one whose head says too much (413) before its body is sent, others when the body has been
 * read, so that the connection can be used again. A connection whose request is at work is suspended; it goes on when somebody has
 * mailed bytes, or when its client is gone. SPDX-License-Identifier: Apache-2.0 */
#include "serve/guard.h"
#include "serve/server.h"

#include "base/clock.h"

#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { POOL = 24 << 10, BLOCK = 8 << 10, IDLE_S = 75, CONNECTIONS = 8192, SWALLOW = 8 << 20 };

const char *moa_request_header(moa_exchange *x, const char *name) { return MHD_lookup_connection_value(x->conn, MHD_HEADER_KIND, name); }

/* ---- sockets of requests that wait ---- */

static void watch(moa_exchange *x) {
    const union MHD_ConnectionInfo *i = MHD_get_connection_info(x->conn, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct epoll_event e = {.events = EPOLLRDHUP | EPOLLONESHOT, .data.ptr = x};
    if (i && epoll_ctl(x->server->epoll, EPOLL_CTL_ADD, i->connect_fd, &e) == 0) x->fd = i->connect_fd, x->watched = true;
}

static void unwatch(moa_exchange *x) {
    if (x->watched) epoll_ctl(x->server->epoll, EPOLL_CTL_DEL, x->fd, NULL);
    x->watched = false;
}

void moa_http_wake(moa_exchange *x) {
    if (!x->conn || !x->suspended) return;
    x->suspended = false;
    MHD_resume_connection(x->conn);
}

/* libmicrohttpd's edge-triggered epoll misses an end that comes together with the last bytes: half a request would stay until IDLE_S. With
 * the socket's reading side shut, what is left in it is read, and then its end is. */
void moa_http_left(moa_exchange *x) {
    if (!x->queued) {
        shutdown(x->fd, SHUT_RD);
        return;
    }
    moa_exchange_leave(x);
    moa_http_wake(x);
}

static void suspend(moa_exchange *x) {
    x->suspended = true;
    MHD_suspend_connection(x->conn);
}

/* ---- replies ---- */

static ssize_t read_more(void *ctx, uint64_t pos, char *to, size_t max) {
    moa_exchange *x = ctx;
    bool end;
    (void)pos;
    if (moa_exchange_gone(x)) return MHD_CONTENT_READER_END_WITH_ERROR;
    const size_t n = moa_exchange_take(x, to, max, &end);
    if (end) return MHD_CONTENT_READER_END_OF_STREAM;
    if (!n) suspend(x);
    return (ssize_t)n;
}

static void no_reader(void *ctx) { moa_exchange_unref(ctx); }

static struct MHD_Response *make_response(moa_exchange *x) {
    if (!x->streaming) {
        pthread_mutex_lock(&x->lock);
        struct MHD_Response *r = MHD_create_response_from_buffer(x->out.len, x->out.data, MHD_RESPMEM_MUST_COPY);
        moa_buf_deinit(&x->out);
        pthread_mutex_unlock(&x->lock);
        return r;
    }
    moa_exchange_ref(x);
    struct MHD_Response *r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, read_more, x, no_reader);
    if (!r) moa_exchange_unref(x);
    return r;
}

static enum MHD_Result answer(moa_exchange *x) {
    struct MHD_Response *r = make_response(x);
    char number[24];
    if (!r) return MHD_NO;
    if (x->type) MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, x->type);
    MHD_add_response_header(r, "x-request-id", x->id);
    for (const moa_head *h = x->head; h && h->name; h++) MHD_add_response_header(r, h->name, h->value);
    if (!x->head) MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, x->streaming ? "no-cache" : "no-store");
    if (x->streaming) MHD_add_response_header(r, "X-Accel-Buffering", "no");
    if (x->status == 401) MHD_add_response_header(r, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
    if (x->status == 405) MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, x->rest);
    if (x->no_retry) MHD_add_response_header(r, "x-should-retry", "false");
    if (x->server->draining) MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
    if (x->retry_after) {
        snprintf(number, sizeof number, "%d", x->retry_after);
        MHD_add_response_header(r, MHD_HTTP_HEADER_RETRY_AFTER, number);
    }
    moa_guard_cors(r, x->server, x->conn);
    const enum MHD_Result rc = MHD_queue_response(x->conn, (unsigned)x->status, r);
    MHD_destroy_response(r);
    return rc;
}

static void refuse(moa_exchange *x, const moa_fault *f, const char *reason) {
    moa_metric_add(&x->server->metrics, "moa_refused_total", "reason", reason, NULL, NULL, 1);
    moa_reply_fault(x, f);
}

/* ---- requests ---- */

/* What the head alone tells. Negative: f says why not. */
static int admit(moa_exchange *x, const char *method, const char *path, moa_fault *f) {
    bool known;
    char allow[64];
    const char *rest = "";
    if (x->server->draining) return moa_fault_set(f, 503, "shutting_down", NULL, "the server is shutting down");
    x->endpoint = moa_endpoint_find(method, path, &rest, &known, allow);
    if (!x->endpoint) {
        if (!known) return moa_fault_set(f, 404, "unknown_url", NULL, "no such path: %s %.200s; `moa list endpoints` shows what there is", method, path);
        snprintf(x->rest, sizeof x->rest, "%s", allow);
        return moa_fault_set(f, 405, "method_not_allowed", NULL, "%s %.200s: got %s, expected %s", method, path, method, allow);
    }
    if (strlen(rest) >= sizeof x->rest) return moa_fault_set(f, 404, "unknown_url", NULL, "a path of over %zu bytes", sizeof x->rest);
    snprintf(x->rest, sizeof x->rest, "%s", rest);
    if (moa_guard_origin(x->server, x->conn, f) < 0) return -1;
    if (!x->endpoint->open && moa_guard_key(&x->caller, x->server, moa_request_header(x, MHD_HTTP_HEADER_AUTHORIZATION), f) < 0) return -1;
    const char *type = moa_request_header(x, MHD_HTTP_HEADER_CONTENT_TYPE), *retries = moa_request_header(x, "x-stainless-retry-count");
    if (retries) x->retries = (int)strtol(retries, NULL, 10);
    x->named = moa_guard_named(moa_request_header(x, "Idempotency-Key"));
    x->shared = !x->server->cfg.n_key && (!x->server->local || moa_request_header(x, "X-Forwarded-For") || moa_request_header(x, "Forwarded"));
    if (strcmp(method, "POST") == 0 && !moa_guard_json_type(type))
        return moa_fault_set(f, 415, "unsupported_media_type", NULL, "Content-Type: got %.100s, expected application/json; with curl: -H 'Content-Type: application/json'",
                             type ? type : "none");
    return 0;
}

static bool too_long(moa_exchange *x) {
    const char *n = moa_request_header(x, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return n && strtoull(n, NULL, 10) > x->server->cfg.max_body;
}

static void fault_length(moa_exchange *x) {
    moa_fault f;
    moa_fault_set(&f, 413, "body_too_large", NULL, "the body is over %zu bytes", x->server->cfg.max_body);
    refuse(x, &f, "body");
}

static void link_open(moa_exchange *x) {
    moa_server *s = x->server;
    x->next = s->open;
    if (s->open) s->open->prev = x;
    s->open = x;
    s->n_open++;
}

static void unlink_open(moa_exchange *x) {
    moa_server *s = x->server;
    if (x->next) x->next->prev = x->prev;
    if (x->prev) x->prev->next = x->next;
    else s->open = x->next;
    s->n_open--;
}

static moa_exchange *open_exchange(moa_server *s, struct MHD_Connection *conn) {
    moa_exchange *x;
    if (moa_exchange_new(&x, s, NULL) < 0) return NULL;
    x->conn = conn;
    snprintf(x->id, sizeof x->id, "req-%08llx%08llx", (unsigned long long)(s->nonce & 0xffffffff), (unsigned long long)++s->n_request);
    link_open(x);
    return x;
}

/* The head is there: *con_cls is the exchange from now on. */
static enum MHD_Result first_call(moa_server *s, struct MHD_Connection *conn, const char *path, const char *method, void **con_cls) {
    moa_fault f;
    moa_exchange *x = *con_cls = open_exchange(s, conn);
    if (!x) return MHD_NO;
    if (strcmp(method, "OPTIONS") == 0) {
        moa_reply_text(x, 204, NULL, "", 0);
    } else if (admit(x, method, path, &f) < 0) {
        refuse(x, &f, f.code);
    } else if (too_long(x)) {
        fault_length(x);
        return answer(x); /* before the client sends it */
    }
    watch(x);
    return MHD_YES;
}

static enum MHD_Result more_body(moa_exchange *x, const char *data, size_t n) {
    if (x->status) return (x->swallowed += n) < SWALLOW ? MHD_YES : MHD_NO; /* refused: the rest is read over */
    if (moa_buf_add(&x->body, data, n) == 0) return MHD_YES;
    moa_buf_deinit(&x->body);
    fault_length(x);
    return MHD_YES;
}

/* The whole request is there. */
static enum MHD_Result start(moa_exchange *x) {
    int retry_s = 1;
    moa_fault f;
    x->came = moa_now();
    x->catalog = moa_server_catalog(x->server);
    if (x->endpoint->quick) {
        x->endpoint->handle(x);
        return answer(x);
    }
    if (moa_queue_give(&x->server->queue, x, &retry_s) < 0) {
        moa_fault_set(&f, 429, "queue_full", NULL, "%d requests run and %d wait, no more are taken; try again in %d s", x->server->queue.max_running,
                      x->server->queue.max_waiting, retry_s);
        f.retry_after = retry_s;
        refuse(x, &f, "queue");
        return answer(x);
    }
    x->queued = true;
    unwatch(x);
    watch(x); /* anew: tells of an end that has been told already */
    suspend(x);
    return MHD_YES;
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *conn, const char *path, const char *method, const char *version, const char *data, size_t *n,
                                  void **con_cls) {
    moa_exchange *x = *con_cls;
    (void)version;
    if (!x) return first_call(ctx, conn, path, method, con_cls);
    if (*n) {
        const size_t got = *n;
        *n = 0;
        return more_body(x, data, got);
    }
    pthread_mutex_lock(&x->lock);
    const bool ready = x->status != 0;
    pthread_mutex_unlock(&x->lock);
    if (ready) return answer(x);
    if (moa_exchange_gone(x)) return MHD_NO;
    if (!x->queued) return start(x);
    suspend(x); /* woken for nothing */
    return MHD_YES;
}

static void on_completed(void *ctx, struct MHD_Connection *conn, void **con_cls, enum MHD_RequestTerminationCode why) {
    moa_exchange *x = *con_cls;
    (void)ctx, (void)conn;
    if (!x) return;
    *con_cls = NULL;
    unwatch(x);
    moa_server *s = x->server;
    pthread_mutex_lock(&x->lock);
    const bool finished = x->done;
    const double started = x->started;
    pthread_mutex_unlock(&x->lock);
    const int status = why == MHD_REQUEST_TERMINATED_COMPLETED_OK && finished ? x->status : 499;
    moa_exchange_leave(x);
    if (x->queued) moa_queue_forget(&s->queue, x);
    if (status == 499) moa_metric_add(&s->metrics, "moa_cancelled_total", "phase", started > 0 ? "running" : "waiting", NULL, NULL, 1);
    if (x->endpoint) {
        char code[8];
        snprintf(code, sizeof code, "%d", status);
        moa_metric_add(&s->metrics, "moa_requests_total", "endpoint", x->endpoint->name, "code", code, 1);
        moa_metric_add(&s->metrics, "moa_request_seconds", "endpoint", x->endpoint->name, NULL, NULL, moa_now() - x->came);
        if (s->cfg.log) s->cfg.log(s->cfg.ctx, x, status, moa_now() - x->came);
    }
    unlink_open(x);
    x->conn = NULL;
    moa_exchange_unref(x);
}

int moa_http_start(moa_server *s, moa_err *err) {
    s->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, s, MHD_OPTION_LISTEN_SOCKET, s->listener,
                                 MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)POOL, MHD_OPTION_CONNECTION_TIMEOUT,
                                 (unsigned)IDLE_S, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS, MHD_OPTION_END);
    return s->daemon ? 0 : moa_fail(err, MOA_EIO, "serve: libmicrohttpd does not start on port %d", s->port);
}
