/* net.c - the thread of all models behind URLs: epoll, libcurl's multi handle driven by events, and one time at which something is to be looked
 * at. It sleeps while nothing happens. SPDX-License-Identifier: Apache-2.0 */
#include "serve/upstream/upstream.h"

#include "base/clock.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { EVENTS = 256, KEPT_CONNECTIONS = 1024 };

struct moa_net {
    pthread_t thread;
    int epoll, wake;
    CURLM *multi;
    double now, curl_due, look;   /* infinity: never */
    attempt *lost;
    upstream *all;
    pthread_mutex_t lock;         /* over what follows */
    pthread_cond_t left;
    job *first, **last;           /* calls that come */
    upstream *coming, *leaving;
    bool quit;
};

static pthread_mutex_t global = PTHREAD_MUTEX_INITIALIZER;
static moa_net *the_net;
static int n_member;

double moa_net_time(const moa_net *n) { return n->now; }
CURLM *moa_net_multi(moa_net *n) { return n->multi; }

void moa_net_look(moa_net *n, double at) {
    if (at < n->look) n->look = at;
}

void moa_net_lose(moa_net *n, attempt *a) {
    a->lost = true;
    a->next_lost = n->lost;
    n->lost = a;
}

void moa_net_wake(moa_net *n) {
    const uint64_t one = 1;
    while (write(n->wake, &one, sizeof one) < 0 && errno == EINTR) {}
}

void moa_net_send(moa_net *n, job *list) {
    pthread_mutex_lock(&n->lock);
    const bool sleeps = !n->first;
    *n->last = list;
    while (*n->last) n->last = &(*n->last)->next;
    pthread_mutex_unlock(&n->lock);
    if (sleeps) moa_net_wake(n);
}

/* ---- what libcurl wants ---- */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *known) {
    moa_net *n = ctx;
    struct epoll_event e = {.events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u), .data.fd = fd};
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(n->epoll, EPOLL_CTL_DEL, fd, NULL);
        curl_multi_assign(n->multi, fd, NULL);
    } else if (epoll_ctl(n->epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &e) < 0) {
        epoll_ctl(n->epoll, errno == EEXIST ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &e);
    }
    if (what != CURL_POLL_REMOVE) curl_multi_assign(n->multi, fd, n);
    return 0;
}

static int on_timer(CURLM *multi, long ms, void *ctx) {
    moa_net *n = ctx;
    (void)multi;
    n->curl_due = ms < 0 ? INFINITY : moa_now() + (double)ms / 1000;
    return 0;
}

/* ---- a turn ---- */

static void lose(moa_net *n) {
    for (attempt *a; (a = n->lost);) {
        n->lost = a->next_lost;
        moa_upstream_job_drop(a->j, a);
    }
}

static void act(moa_net *n, curl_socket_t fd, int what) {
    int running;
    curl_multi_socket_action(n->multi, fd, what, &running);
    lose(n);
}

static void read_ends(moa_net *n) {
    int queued;
    for (CURLMsg *m; (m = curl_multi_info_read(n->multi, &queued));) {
        attempt *a = NULL;
        const CURLcode code = m->data.result;
        if (m->msg == CURLMSG_DONE && curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&a) == CURLE_OK) moa_upstream_job_ended(a->j, a, code, NULL);
    }
}

static void take_mail(moa_net *n) {
    pthread_mutex_lock(&n->lock);
    job *j = n->first;
    upstream *u = n->coming;
    n->first = NULL, n->last = &n->first, n->coming = NULL;
    pthread_mutex_unlock(&n->lock);
    for (upstream *next; u; u = next) {
        next = u->next;
        u->next = n->all;
        n->all = u;
    }
    for (job *next; j; j = next) {
        next = j->next;
        moa_upstream_job_take(j);
    }
}

static void let_go(moa_net *n) {
    pthread_mutex_lock(&n->lock);
    for (upstream *u; (u = n->leaving);) {
        upstream **at = &n->all;
        n->leaving = u->next_leaving;
        while (*at && *at != u) at = &(*at)->next;
        if (*at) *at = u->next;
        u->gone = true;
    }
    pthread_cond_broadcast(&n->left);
    pthread_mutex_unlock(&n->lock);
}

static int wait_ms(const moa_net *n) {
    const double due = fmin(n->curl_due, n->look), left = (due - moa_now()) * 1000;
    return due == INFINITY ? -1 : left <= 0 ? 0 : left > 3600000 ? 3600000 : (int)ceil(left);
}

static void turn(moa_net *n) {
    struct epoll_event e[EVENTS];
    uint64_t ignored;
    const int k = epoll_wait(n->epoll, e, EVENTS, wait_ms(n));
    n->now = moa_now();
    for (int i = 0; i < k; i++) {
        if (e[i].data.fd == n->wake) {
            if (read(n->wake, &ignored, sizeof ignored) < 0) continue;
        } else {
            act(n, e[i].data.fd, (e[i].events & EPOLLIN ? CURL_CSELECT_IN : 0) | (e[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                                     (e[i].events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0));
        }
    }
    take_mail(n);
    for (upstream *u = n->all; u; u = u->next)
        if (atomic_exchange(&u->stirred, false)) moa_upstream_look(u, true);
    if (n->now >= n->look) {
        n->look = INFINITY;
        for (upstream *u = n->all; u; u = u->next) moa_upstream_look(u, false);
    }
    for (upstream *u = n->all; u; u = u->next) moa_upstream_admit(u);
    if (n->now >= n->curl_due) n->curl_due = INFINITY, act(n, CURL_SOCKET_TIMEOUT, 0);
    read_ends(n);
    for (upstream *u = n->all; u; u = u->next) moa_upstream_admit(u);
    let_go(n);
}

static void net_free(moa_net *n) {
    curl_multi_cleanup(n->multi);
    if (n->epoll >= 0) close(n->epoll);
    if (n->wake >= 0) close(n->wake);
    pthread_cond_destroy(&n->left);
    pthread_mutex_destroy(&n->lock);
    free(n);
}

static void *live(void *arg) {
    moa_net *n = arg;
    bool go = true;
    while (go) {
        turn(n);
        pthread_mutex_lock(&n->lock);
        go = !n->quit || n->leaving;
        pthread_mutex_unlock(&n->lock);
    }
    return NULL;
}

/* ---- members ---- */

static int begin(moa_net **out, moa_err *err) {
    moa_net *n = calloc(1, sizeof *n);
    if (!n) return moa_fail(err, MOA_ENOMEM, "the thread of models behind URLs");
    curl_global_init(CURL_GLOBAL_DEFAULT); /* counts its callers; thread-safe in libcurl 7.84 and later */
    n->last = &n->first;
    n->now = moa_now(), n->curl_due = n->look = INFINITY;
    n->epoll = epoll_create1(EPOLL_CLOEXEC);
    n->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    n->multi = curl_multi_init();
    pthread_mutex_init(&n->lock, NULL);
    pthread_cond_init(&n->left, NULL);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = n->wake};
    if (n->multi) {
        curl_multi_setopt(n->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
        curl_multi_setopt(n->multi, CURLMOPT_SOCKETDATA, n);
        curl_multi_setopt(n->multi, CURLMOPT_TIMERFUNCTION, on_timer);
        curl_multi_setopt(n->multi, CURLMOPT_TIMERDATA, n);
        curl_multi_setopt(n->multi, CURLMOPT_MAXCONNECTS, (long)KEPT_CONNECTIONS);
    }
    if (!n->multi || n->epoll < 0 || n->wake < 0 || epoll_ctl(n->epoll, EPOLL_CTL_ADD, n->wake, &e) < 0 || pthread_create(&n->thread, NULL, live, n)) {
        net_free(n);
        return moa_fail(err, MOA_EIO, "the thread of models behind URLs: %s", strerror(errno));
    }
    *out = n;
    return 0;
}

int moa_net_join(upstream *u, moa_err *err) {
    int rc = 0;
    pthread_mutex_lock(&global);
    if (!the_net) rc = begin(&the_net, err);
    if (rc >= 0) {
        moa_net *n = u->net = the_net;
        n_member++;
        pthread_mutex_lock(&n->lock);
        u->next = n->coming;
        n->coming = u;
        pthread_mutex_unlock(&n->lock);
        moa_net_wake(n);
    }
    pthread_mutex_unlock(&global);
    return rc;
}

void moa_net_leave(upstream *u) {
    moa_net *n = u->net;
    pthread_mutex_lock(&global);
    const bool last = --n_member == 0;
    if (last) the_net = NULL;
    pthread_mutex_lock(&n->lock);
    u->next_leaving = n->leaving;
    n->leaving = u;
    n->quit |= last;
    pthread_mutex_unlock(&n->lock);
    pthread_mutex_unlock(&global);
    moa_net_wake(n);
    pthread_mutex_lock(&n->lock);
    while (!u->gone) pthread_cond_wait(&n->left, &n->lock);
    pthread_mutex_unlock(&n->lock);
    if (last) {
        pthread_join(n->thread, NULL);
        net_free(n);
    }
    moa_upstream_free(u);
}
