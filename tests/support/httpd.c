/* httpd.c - see httpd.h. SPDX-License-Identifier: Apache-2.0 */
#include "support/httpd.h"

#include "base/rng.h"
#include "base/sha256.h"

#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

void httpd_content(uint8_t *out, uint64_t seed, int64_t from, int64_t n) {
    for (int64_t i = from; i < from + n; i++)
        *out++ = (uint8_t)(i < 4 ? (uint64_t)"GGUF"[i] : moa_mix64(seed + (uint64_t)i / 8) >> 8 * (i % 8));
}

void httpd_sha256(char out[65], uint64_t seed, int64_t size) {
    uint8_t part[4096];
    moa_sha256 s;
    moa_sha256_init(&s);
    for (int64_t at = 0; at < size;) {
        const int64_t n = size - at < (int64_t)sizeof part ? size - at : (int64_t)sizeof part;
        httpd_content(part, seed, at, n);
        moa_sha256_add(&s, part, (size_t)n);
        at += n;
    }
    moa_sha256_hex(out, &s);
}

/* ---- one connection ---- */

static bool put(int fd, const void *p, size_t n) {
    for (const char *s = p; n;) {
        const ssize_t k = send(fd, s, n, MSG_NOSIGNAL);
        if (k <= 0) return false;
        s += k, n -= (size_t)k;
    }
    return true;
}

static bool putf(int fd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool putf(int fd, const char *fmt, ...) {
    char b[8192];
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(b, sizeof b, fmt, ap);
    va_end(ap);
    return put(fd, b, (size_t)n);
}

static void field(char *out, size_t n, const char *head, const char *name) {
    for (const char *l = strstr(head, "\r\n"); l && l[2]; l = strstr(l + 2, "\r\n")) {
        const size_t k = strlen(name);
        if (strncasecmp(l + 2, name, k) || l[2 + k] != ':') continue;
        const char *v = l + 3 + k + strspn(l + 3 + k, " ");
        snprintf(out, n, "%.*s", (int)strcspn(v, "\r"), v);
        return;
    }
}

static httpd_request *note(httpd *h, const char *head) {
    httpd_request *q = &h->log[atomic_fetch_add(&h->n_log, 1) % HTTPD_LOG];
    memset(q, 0, sizeof *q);
    snprintf(q->line, sizeof q->line, "%.*s", (int)strcspn(head, "\r"), head);
    field(q->host, sizeof q->host, head, "host");
    field(q->range, sizeof q->range, head, "range");
    field(q->if_range, sizeof q->if_range, head, "if-range");
    field(q->auth, sizeof q->auth, head, "authorization");
    field(q->secret, sizeof q->secret, head, "x-secret");
    return q;
}

/* "GET /path?x HTTP/1.1", or with "http://host" before the path as a proxy gets it. */
static httpd_route *find(httpd *h, const char *line) {
    const char *s = strchr(line, ' ');
    if (!s) return NULL;
    if (!strncmp(++s, "http://", 7)) s = strchr(s + 7, '/');
    const size_t n = s ? strcspn(s, " ?") : 0;
    for (int i = 0; s && i < h->n_route; i++)
        if (strlen(h->route[i].path) == n && !strncmp(h->route[i].path, s, n)) return &h->route[i];
    return NULL;
}

typedef struct reply { httpd_fault fault; int64_t from, to, shift, cut; bool partial; } reply;

/* Bytes [from, to) of the file, with what the fault does to them. */
static void body(int fd, const httpd_route *r, const reply *p) {
    uint8_t b[4096];
    int64_t sent = 0, most = p->fault == HTTPD_SLOW ? r->at : (int64_t)sizeof b;
    if (most > (int64_t)sizeof b) most = sizeof b;
    const bool chunked = r->chunked || p->fault == HTTPD_MORE;
    for (int64_t at = p->from; at < p->to;) {
        int64_t n = p->to - at < most ? p->to - at : most;
        if (p->cut >= 0 && n > p->cut - sent) n = p->cut - sent;
        if (r->text[0]) memcpy(b, r->text + at, (size_t)n);
        else httpd_content(b, r->seed, at + p->shift, n);
        if (p->fault == HTTPD_CORRUPT && r->at >= at && r->at < at + n) b[r->at - at] ^= 1;
        if (n && ((chunked && !putf(fd, "%llx\r\n", (long long)n)) || !put(fd, b, (size_t)n) || (chunked && !put(fd, "\r\n", 2)))) return;
        at += n, sent += n;
        if (p->cut >= 0 && sent >= p->cut) {
            if (p->fault == HTTPD_STALL) sleep(60);
            return;
        }
        if (p->fault == HTTPD_SLOW) usleep(10000);
    }
    if (chunked) put(fd, "0\r\n\r\n", 5);
}

static int64_t length(const httpd_route *r) { return r->text[0] ? (int64_t)strlen(r->text) : r->size; }

static void choose_range(reply *p, const httpd_route *r, const httpd_request *q) {
    const int64_t size = length(r);
    p->to = size;
    if (p->fault == HTTPD_ALWAYS_206) p->partial = true, p->from = r->at;
    if (p->fault == HTTPD_NO_RANGE || strncmp(q->range, "bytes=", 6)) return;
    if (q->if_range[0] && strcmp(q->if_range, r->etag) && strcmp(q->if_range, r->last_modified)) return;
    p->partial = true;
    p->from = strtoll(q->range + 6, NULL, 10);
    if (p->fault == HTTPD_SHIFT) p->from += r->at;
    if (p->fault == HTTPD_LIE) p->shift = r->at;
    if ((p->fault == HTTPD_HALF || p->fault == HTTPD_STAR) && p->to - p->from > r->at) p->to = p->from + r->at;
}

static void serve(int fd, const httpd_route *r, const httpd_request *q, httpd_fault fault, int count) {
    reply p = {.fault = fault, .cut = -1};
    char where[256] = "", len[128] = "";
    if (fault == HTTPD_DROP) return;
    if (fault == HTTPD_MUTE) sleep(60);
    if (fault == HTTPD_HEADERS || fault == HTTPD_PAGE) {
        const bool page = fault == HTTPD_PAGE;
        for (bool ok = putf(fd, "HTTP/1.1 %d Answer\r\n%s", page ? r->status : 200, page ? "\r\n" : ""); ok; ok = putf(fd, "X: %01000d\r\n", 0))
            if (page) usleep(10000);
        return;
    }
    if (fault == HTTPD_STATUS || fault == HTTPD_REDIRECT) {
        const int status = r->status ? r->status : 302;
        if (r->retry_after[0]) snprintf(where, sizeof where, "Retry-After: %s\r\n", r->retry_after);
        putf(fd, "HTTP/1.1 %d Answer\r\n%s%s", status, where, r->extra);
        if (fault == HTTPD_REDIRECT) putf(fd, "Location: %s\r\n", r->to);
        putf(fd, "Content-Length: 6\r\nConnection: close\r\n\r\n<html>");
        return;
    }
    choose_range(&p, r, q);
    if (fault == HTTPD_CUT || fault == HTTPD_STALL || fault == HTTPD_OPEN) p.cut = r->at;
    if (fault == HTTPD_CUT_RANDOM) p.cut = 1 + (int64_t)(moa_mix64((uint64_t)count) % (uint64_t)r->at);
    if (p.partial && p.from >= length(r)) {
        putf(fd, "HTTP/1.1 416 No\r\nContent-Range: bytes */%lld\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", (long long)length(r));
        return;
    }
    if (p.partial && fault != HTTPD_NO_NUMBERS)
        snprintf(where, sizeof where, fault == HTTPD_STAR ? "Content-Range: bytes %lld-%lld/*\r\n" : "Content-Range: bytes %lld-%lld/%lld\r\n", (long long)p.from,
                 (long long)p.to - 1, (long long)length(r));
    if (r->chunked || fault == HTTPD_MORE) snprintf(len, sizeof len, "Transfer-Encoding: chunked\r\n");
    else if (fault != HTTPD_OPEN) snprintf(len, sizeof len, "Content-Length: %lld\r\n", (long long)(p.to - p.from));
    if (fault == HTTPD_MORE) p.to += r->at;
    putf(fd, "HTTP/1.1 %s\r\n%s%s%s", p.partial ? "206 Partial Content" : "200 OK", where, len, r->extra);
    if (r->etag[0]) putf(fd, "ETag: %s\r\n", r->etag);
    if (r->last_modified[0]) putf(fd, "Last-Modified: %s\r\n", r->last_modified);
    if (r->type[0]) putf(fd, "Content-Type: %s\r\n", r->type);
    if (putf(fd, "Connection: close\r\n\r\n")) body(fd, r, &p);
}

static void connection(httpd *h, int fd) {
    static char head[16384];
    size_t n = 0;
    while (n < sizeof head - 1) {
        const ssize_t k = recv(fd, head + n, sizeof head - 1 - n, 0);
        if (k <= 0) return;
        n += (size_t)k;
        head[n] = 0;
        if (strstr(head, "\r\n\r\n")) break;
    }
    const httpd_request *q = note(h, head);
    httpd_route *r = find(h, q->line);
    if (!r) {
        putf(fd, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
    }
    const int count = atomic_fetch_add(&r->n, 1);
    httpd_fault fault = r->fault;
    if (fault && r->times >= 0 && atomic_fetch_sub(&r->times, 1) <= 0) {
        atomic_store(&r->times, 0);
        fault = HTTPD_FINE;
    }
    serve(fd, r, q, fault, count);
}

/* ---- the server ---- */

static int listen_on(const char *ip, int *port) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)*port)};
    socklen_t n = sizeof a;
    if (fd < 0 || inet_pton(AF_INET, ip, &a.sin_addr) != 1 || bind(fd, (void *)&a, sizeof a) < 0 || listen(fd, 64) < 0 || getsockname(fd, (void *)&a, &n) < 0) {
        if (fd >= 0) close(fd);
        return -1;
    }
    *port = ntohs(a.sin_port);
    return fd;
}

static void loop(httpd *h, const int fd[2]) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        struct pollfd p[2] = {{.fd = fd[0], .events = POLLIN}, {.fd = fd[1], .events = POLLIN}};
        if (poll(p, 2, -1) < 0) continue;
        for (int i = 0; i < 2; i++) {
            const int c = p[i].revents ? accept(fd[i], NULL, NULL) : -1;
            if (c < 0) continue;
            if (fork() == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                connection(h, c);
                shutdown(c, SHUT_WR);
                close(c);
                _exit(0);
            }
            close(c);
        }
    }
}

httpd *httpd_start(void) {
    httpd *h = mmap(NULL, sizeof *h, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (h == MAP_FAILED) return NULL;
    int fd[2] = {-1, -1};
    for (int i = 0; i < 20 && fd[1] < 0; i++) { /* the port must be free on both addresses */
        int port = 0;
        if (fd[0] >= 0) close(fd[0]);
        fd[0] = listen_on("127.0.0.1", &port);
        fd[1] = fd[0] >= 0 ? listen_on("127.0.0.2", &port) : -1;
        h->port = port;
    }
    const pid_t pid = fd[1] >= 0 ? fork() : -1;
    if (pid == 0) loop(h, fd);
    h->pid = pid; /* shared: only this side may write it */
    for (int i = 0; i < 2; i++)
        if (fd[i] >= 0) close(fd[i]);
    if (pid > 0) return h;
    munmap(h, sizeof *h);
    return NULL;
}

void httpd_stop(httpd *h) {
    if (!h) return;
    kill(h->pid, SIGKILL);
    waitpid(h->pid, NULL, 0);
    munmap(h, sizeof *h);
}

void httpd_clear(httpd *h) {
    atomic_store(&h->n_route, 0);
    atomic_store(&h->n_log, 0);
}

httpd_route *httpd_add(httpd *h, const char *path, uint64_t seed, int64_t size) {
    httpd_route *r = &h->route[h->n_route];
    memset(r, 0, sizeof *r);
    snprintf(r->path, sizeof r->path, "%s", path);
    snprintf(r->etag, sizeof r->etag, "\"%llx-%lld\"", (long long)seed, (long long)size);
    r->seed = seed, r->size = size;
    atomic_fetch_add(&h->n_route, 1);
    return r;
}

void httpd_fail(httpd_route *r, httpd_fault fault, int64_t at, int times) {
    r->at = at;
    atomic_store(&r->times, times);
    r->fault = fault;
}

static const char *url(const httpd *h, const char *ip, const char *path) {
    static char out[2][512];
    static int i;
    i = !i;
    snprintf(out[i], sizeof out[i], "http://%s:%d%s", ip, h->port, path);
    return out[i];
}
const char *httpd_url(const httpd *h, const char *path) { return url(h, "127.0.0.1", path); }
const char *httpd_other_url(const httpd *h, const char *path) { return url(h, "127.0.0.2", path); }
