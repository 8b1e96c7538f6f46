/* server.c - see server.h. SPDX-License-Identifier: Apache-2.0 */
#include "serve/server.h"

#include "base/clock.h"
#include "base/cpu.h"
#include "serve/catalog.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 1024, EVENTS = 64, LETTERS = 1024 };

/* ---- mail ---- */

void moa_server_mail(moa_server *s, moa_exchange *x) {
    pthread_mutex_lock(&s->lock);
    const bool first = !s->mail, in = x->mailed;
    if (!in) {
        moa_exchange_ref(x);
        x->mailed = true;
        x->next_mail = s->mail;
        s->mail = x;
    }
    pthread_mutex_unlock(&s->lock);
    const uint64_t one = 1;
    if (first && !in) (void)!write(s->wake, &one, sizeof one);
}

static moa_exchange *next_mail(moa_server *s) {
    pthread_mutex_lock(&s->lock);
    moa_exchange *x = s->mail;
    if (x) {
        s->mail = x->next_mail;
        x->mailed = false; /* from here on others may mail it again: its link is no longer ours */
    }
    pthread_mutex_unlock(&s->lock);
    return x;
}

/* As much as there is, but for threads that mail faster than this reads: sockets get their turn. */
static void read_mail(moa_server *s) {
    uint64_t n;
    (void)!read(s->wake, &n, sizeof n);
    for (int i = 0; i < LETTERS; i++) {
        moa_exchange *x = next_mail(s);
        if (!x) return;
        moa_http_wake(x);
        moa_exchange_unref(x);
    }
    n = 1;
    (void)!write(s->wake, &n, sizeof n);
}

/* ---- the socket ---- */

static bool is_loopback(const struct sockaddr *a) {
    if (a->sa_family == AF_INET) return ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24 == 127;
    return a->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
}

static int listen_on(moa_server *s, const struct addrinfo *a) {
    const int on = 1, fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) {
        s->local = is_loopback(a->ai_addr);
        return fd;
    }
    const int e = errno;
    close(fd);
    errno = e;
    return -1;
}

static int open_socket(moa_server *s, moa_err *err) {
    char port[16];
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *list = NULL;
    snprintf(port, sizeof port, "%d", s->cfg.port);
    const int e = getaddrinfo(s->cfg.host, port, &hints, &list);
    if (e) return moa_fail(err, MOA_EUSAGE, "serve: host '%s': %s", s->cfg.host, gai_strerror(e));
    for (const struct addrinfo *a = list; a && s->listener < 0; a = a->ai_next) s->listener = listen_on(s, a);
    const int why = errno;
    freeaddrinfo(list);
    if (s->listener < 0) {
        const int rc = moa_fail(err, MOA_EIO, "serve: %s port %d: %s", s->cfg.host, s->cfg.port, strerror(why));
        return why == EADDRINUSE ? moa_hint(err, rc, "another program has it: choose another with --port") : rc;
    }
    struct sockaddr_storage at;
    socklen_t n = sizeof at;
    if (getsockname(s->listener, (struct sockaddr *)&at, &n) == 0)
        s->port = ntohs(at.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&at)->sin6_port : ((struct sockaddr_in *)&at)->sin_port);
    return 0;
}

/* ---- life ---- */

static int hash_keys(moa_server *s, moa_err *err) {
    s->key_hash = calloc((size_t)s->cfg.n_key + 1, sizeof *s->key_hash);
    if (!s->key_hash) return moa_fail(err, MOA_ENOMEM, "serve: %d keys", s->cfg.n_key);
    for (int i = 0; i < s->cfg.n_key; i++) {
        moa_sha256 h;
        if (!*s->cfg.key[i]) return moa_fail(err, MOA_EUSAGE, "serve: key %d is empty", i + 1);
        moa_sha256_init(&h);
        moa_sha256_add(&h, s->cfg.key[i], strlen(s->cfg.key[i]));
        moa_sha256_hex(s->key_hash[i], &h);
    }
    return 0;
}

static int watch_fd(moa_server *s, int fd, const void *tag, moa_err *err) {
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = (void *)(uintptr_t)tag};
    return epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &e) == 0 ? 0 : moa_fail(err, MOA_EIO, "serve: epoll: %s", strerror(errno));
}

static void usual(moa_server_cfg *c) {
    if (!c->host) c->host = "127.0.0.1";
    if (!c->max_body) c->max_body = 32 << 20;
    if (c->max_running <= 0) c->max_running = 1024;
    if (c->max_queue <= 0) c->max_queue = 512;
    if (c->beat_s <= 0) c->beat_s = 15;
    if (c->drain_s <= 0) c->drain_s = 30;
}

static int open_all(moa_server *s, moa_err *err) {
    if (getrandom(&s->nonce, sizeof s->nonce, 0) != sizeof s->nonce) return moa_fail(err, MOA_EIO, "serve: no random numbers: %s", strerror(errno));
    if (s->epoll < 0 || s->wake < 0) return moa_fail(err, MOA_EIO, "serve: %s", strerror(errno));
    MOA_TRY(hash_keys(s, err));
    MOA_TRY(moa_loop_new(&s->loop, moa_cpu_count() > 1 ? moa_cpu_count() : 2, err));
    MOA_TRY(moa_loop_new(&s->computing, 1, err));
    moa_queue_init(&s->queue, s->loop, s->computing, s->cfg.max_running, s->cfg.max_queue);
    MOA_TRY(open_socket(s, err));
    MOA_TRY(moa_http_start(s, err));
    MOA_TRY(watch_fd(s, s->wake, s, err));
    const union MHD_DaemonInfo *i = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    return i ? watch_fd(s, i->epoll_fd, s->daemon, err) : moa_fail(err, MOA_EUNSUPPORTED, "serve: libmicrohttpd was built without epoll");
}

int moa_server_open(moa_server **out, const moa_server_cfg *cfg, struct moa_catalog *catalog, moa_err *err) {
    *out = NULL;
    moa_server *s = calloc(1, sizeof *s);
    if (!s) return moa_fail(err, MOA_ENOMEM, "serve: no memory");
    s->cfg = *cfg;
    usual(&s->cfg);
    s->listener = -1;
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&s->lock, NULL);
    moa_metrics_init(&s->metrics);
    moa_traces_init(&s->traces);
    const int rc = open_all(s, err);
    if (rc < 0) {
        moa_server_close(s);
        return rc;
    }
    s->catalog = catalog;
    *out = s;
    return 0;
}

void moa_server_stop(moa_server *s) {
    const uint64_t one = 1;
    atomic_fetch_add(&s->stops, 1);
    (void)!write(s->wake, &one, sizeof one);
}

/* ---- a new configuration ---- */

struct moa_catalog *moa_server_catalog(moa_server *s) {
    pthread_mutex_lock(&s->lock);
    moa_catalog *c = moa_catalog_ref(s->catalog);
    pthread_mutex_unlock(&s->lock);
    return c;
}

void moa_server_reload(moa_server *s) {
    const uint64_t one = 1;
    atomic_fetch_add(&s->reloads, 1);
    (void)!write(s->wake, &one, sizeof one);
}

/* Models may take a while to open, so that this is a thread. One that cannot be read changes nothing. */
static void *reload(void *arg) {
    moa_server *s = arg;
    moa_err err = {0};
    char text[1000];
    moa_catalog *was = moa_server_catalog(s), *new = NULL;
    const int rc = s->cfg.reload(s->cfg.ctx, &new, was, &err);
    snprintf(text, sizeof text, rc < 0 ? "the configuration stays as it was: %s%s%s" : "a new configuration%s%s%s", rc < 0 ? err.text : "", rc < 0 && err.hint[0] ? "; " : "",
             rc < 0 ? err.hint : "");
    if (rc >= 0) {
        pthread_mutex_lock(&s->lock);
        moa_catalog *old = s->catalog;
        s->catalog = new;
        pthread_mutex_unlock(&s->lock);
        moa_catalog_unref(old);
    }
    moa_catalog_unref(was);
    if (s->cfg.say) s->cfg.say(s->cfg.ctx, text);
    atomic_store(&s->reloading, false);
    return NULL;
}

static void end_reload(moa_server *s) {
    if (s->has_reloader) pthread_join(s->reloader, NULL);
    s->has_reloader = false;
}

static void begin_reload(moa_server *s) {
    if (!s->cfg.reload || atomic_load(&s->reloading) || !atomic_exchange(&s->reloads, 0)) return;
    end_reload(s);
    atomic_store(&s->reloading, true);
    s->has_reloader = pthread_create(&s->reloader, NULL, reload, s) == 0;
    if (!s->has_reloader) atomic_store(&s->reloading, false);
}

static void leave_all(moa_server *s) {
    for (moa_exchange *x = s->open; x; x = x->next) {
        moa_exchange_leave(x);
        moa_http_wake(x);
    }
}

/* All that is left is told to end; connections are closed when it has. */
void moa_server_close(moa_server *s) {
    if (!s) return;
    end_reload(s);
    leave_all(s);
    if (s->computing) moa_queue_close(&s->queue);
    moa_loop_free(s->loop);
    moa_loop_free(s->computing);
    while (s->mail) read_mail(s); /* nobody mails any more */
    if (s->daemon) {
        leave_all(s);
        MHD_run(s->daemon);
        MHD_stop_daemon(s->daemon); /* closes the listener too, unless it was closed */
        while (s->mail) read_mail(s); /* of requests that were refused at the very end */
    } else if (s->listener >= 0) {
        close(s->listener);
    }
    if (s->wake >= 0) close(s->wake);
    if (s->epoll >= 0) close(s->epoll);
    moa_catalog_unref(s->catalog);
    moa_metrics_deinit(&s->metrics);
    moa_traces_deinit(&s->traces);
    if (s->computing) moa_queue_deinit(&s->queue);
    pthread_mutex_destroy(&s->lock);
    free(s->key_hash);
    free(s);
}

/* ---- the event thread ---- */

/* Heartbeats of streams that say nothing; a request that asked for one and still waits has no stream yet, and needs none: its client
 * has sent all it has. */
static void beat(moa_server *s, double now) {
    for (moa_exchange *x = s->open; x; x = x->next) {
        pthread_mutex_lock(&x->lock);
        const bool silent = x->streaming && !x->done && now - x->touched >= s->cfg.beat_s;
        pthread_mutex_unlock(&x->lock);
        if (silent) moa_sse_beat(x);
    }
}

static void begin_drain(moa_server *s, double now) {
    s->draining = true;
    s->drain_end = now + s->cfg.drain_s;
    const MHD_socket fd = MHD_quiesce_daemon(s->daemon);
    if (fd != MHD_INVALID_SOCKET) close(fd);
    s->listener = -1;
}

static int timeout_ms(moa_server *s) {
    MHD_UNSIGNED_LONG_LONG http;
    int ms = -1;
    if (MHD_get_timeout(s->daemon, &http) == MHD_YES) ms = http > 60000 ? 60000 : (int)http;
    if (s->n_open && (ms < 0 || ms > 1000)) ms = 1000;
    if (s->draining && (ms < 0 || ms > 50)) ms = 50;
    if (atomic_load(&s->reloads) && (ms < 0 || ms > 200)) ms = 200; /* one more came while one runs */
    return ms;
}

int moa_server_run(moa_server *s, moa_err *err) {
    struct epoll_event e[EVENTS];
    double beaten = moa_now();
    while (true) {
        const int n = epoll_wait(s->epoll, e, EVENTS, timeout_ms(s));
        if (n < 0 && errno != EINTR) return moa_fail(err, MOA_EIO, "serve: epoll: %s", strerror(errno));
        for (int i = 0; i < n; i++) { /* clients that left, before anything can take their exchanges away */
            if (e[i].data.ptr == s || e[i].data.ptr == s->daemon) continue;
            moa_http_left(e[i].data.ptr);
        }
        read_mail(s);
        MHD_run(s->daemon);
        const double now = moa_now();
        const int stops = atomic_load(&s->stops);
        begin_reload(s);
        if (stops && !s->draining) begin_drain(s, now);
        if (s->draining && (!s->n_open || stops > 1 || now > s->drain_end)) return 0;
        if (now - beaten >= 1) beat(s, beaten = now);
    }
}
