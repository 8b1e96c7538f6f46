/* load.c - many clients of a chat server at once, in one thread: how many requests a second, how long to the first text and to the end, what is lost.
 *
 *     load PORT MODEL STREAMS REQUESTS [whole] [any] [spread] [least=SECONDS] [key=value ...]
 *     load cancel PORT MODEL STREAMS MOCK-PORT
 *
 * STREAMS connections each ask, read the whole reply, and ask again, until REQUESTS have ended. A reply counts as whole when it ended as HTTP and
 * as an event stream, and every byte of its text is the scripted server's (mock_check): anything else is lost. least: what a request must take for
 * the script's times alone; it is taken off, what is left is the servers'. spread: the streams begin evenly over that time, not at once.
 * any: the texts are a model's, no byte is checked. Other pairs join the body.
 * Every request asks something else: its question ends with its number.
 * cancel: opens STREAMS streams, leaves all at once when each has had text, and asks the scripted server when it saw the last of its own end.
 * Prints one line of JSON. SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/clock.h"
#include "support/mock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { NUMBER = 6 };

typedef struct client {
    int fd;
    bool busy, headed, chunked, streamed, over; /* over: the reply has said that it ends */
    bool sized, leaves;       /* it tells its length; the connection ends with it */
    char number[NUMBER + 1];
    size_t sent, length;      /* length: of a body that is not chunked */
    int status;
    moa_buf in, body, text;
    size_t read;              /* bytes of body that were looked at */
    double asked, first;
} client;

static struct {
    int epoll, port;
    bool stream, any;
    char request[1 << 16];
    size_t n_request;
    char *number;             /* in the request: NUMBER digits */
    long to_ask, ended, lost;
    double *first, *total; long n_time;
    char why[300];            /* the first loss */
    long with_text;
} g;

static void lose(client *c, const char *why) {
    if (!g.lost++) snprintf(g.why, sizeof g.why, "%s; status %d, %.200s", why, c->status, c->body.len ? moa_buf_str(&c->body) : moa_buf_str(&c->in));
}

static void watch(client *c, uint32_t events, int how) {
    struct epoll_event e = {.events = events, .data.ptr = c};
    epoll_ctl(g.epoll, how, c->fd, &e);
}

static void connect_to(client *c) {
    const struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)g.port)};
    const int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (c->fd < 0 || (connect(c->fd, (const struct sockaddr *)&a, sizeof a) && errno != EINPROGRESS)) perror("connect"), exit(1);
    watch(c, EPOLLOUT, EPOLL_CTL_ADD);
}

static void ask(client *c) {
    c->sent = c->read = c->length = 0;
    c->headed = c->chunked = c->streamed = c->over = false;
    c->status = 0, c->first = 0;
    moa_buf_clear(&c->in);
    moa_buf_clear(&c->body);
    moa_buf_clear(&c->text);
    if (g.to_ask <= 0) {
        c->busy = false;
        return;
    }
    snprintf(c->number, sizeof c->number, "%06ld", g.to_ask-- % 1000000);
    c->busy = true;
    c->asked = moa_now();
    if (c->fd < 0) connect_to(c);
    else watch(c, EPOLLOUT, EPOLL_CTL_MOD);
}

/* ---- replies ---- */

/* The made-up texts have no character that JSON escapes. Python writes a space behind the colon. */
static void take_content(client *c, const char *s) {
    const char *at = strstr(s, "\"content\":");
    at = at ? at + 10 + (at[10] == ' ') : NULL;
    const char *end = at && *at == '"' ? strchr(at + 1, '"') : NULL;
    if (!end || end == at + 1) return;
    if (c->first <= 0) c->first = moa_now(), g.with_text++;
    moa_buf_add(&c->text, at + 1, (size_t)(end - at - 1));
}

static void read_stream(client *c) {
    for (char *end; (end = memchr(c->body.data + c->read, '\n', c->body.len - c->read)); c->read = (size_t)(end - c->body.data) + 1) {
        const char *line = c->body.data + c->read;
        *end = 0;
        if (strncmp(line, "data:", 5)) continue;
        if (strstr(line, "[DONE]")) c->over = true;
        else if (strstr(line, "\"error\":{")) lose(c, "an error in the stream");
        else take_content(c, line);
    }
}

/* Chunks, or the rest of a body, join c->body. True: the reply is whole as HTTP. */
static bool unpack(client *c) {
    while (true) {
        if (!c->chunked) {
            moa_buf_add(&c->body, moa_buf_str(&c->in), c->in.len);
            moa_buf_clear(&c->in);
            return c->sized && c->body.len >= c->length;
        }
        char *line = memchr(moa_buf_str(&c->in), '\n', c->in.len), *end;
        if (!line) return false;
        const size_t n = strtoul(c->in.data, &end, 16), head = (size_t)(line + 1 - c->in.data);
        if (end == c->in.data) return lose(c, "no chunk"), true;
        if (c->in.len < head + n + 2) return false;
        moa_buf_add(&c->body, c->in.data + head, n);
        memmove(c->in.data, c->in.data + head + n + 2, c->in.len - head - n - 2);
        c->in.len -= head + n + 2;
        c->in.data[c->in.len] = 0;
        if (!n) return true;
    }
}

static void end(client *c) {
    const double now = moa_now();
    const long lost = g.lost;
    if (!c->streamed) take_content(c, moa_buf_str(&c->body)), c->over = true;
    if (c->status != 200) lose(c, "refused");
    else if (!c->over) lose(c, "cut");
    else if (g.any ? !c->text.len : !mock_check(moa_buf_str(&c->text), c->text.len)) lose(c, "wrong bytes");
    if (c->leaves) close(c->fd), c->fd = -1;
    g.ended++;
    if (lost == g.lost) {
        g.first[g.n_time] = c->first - c->asked;
        g.total[g.n_time++] = now - c->asked;
    }
    ask(c);
}

static void broken(client *c) {
    if (c->busy && c->headed && !c->chunked && !c->sized) {
        end(c); /* the end of the connection is that of the reply */
        return;
    }
    close(c->fd);
    c->fd = -1;
    if (!c->busy) return;
    lose(c, "the connection ended");
    g.ended++;
    ask(c);
}

static bool read_head(client *c) {
    char *body = strstr(moa_buf_str(&c->in), "\r\n\r\n");
    if (!body) return false;
    *body = 0;
    const char *length = strcasestr(c->in.data, "\ncontent-length:");
    sscanf(c->in.data, "HTTP/1.%*d %d", &c->status);
    c->chunked = strcasestr(c->in.data, "\ntransfer-encoding: chunked") != NULL;
    c->streamed = strcasestr(c->in.data, "\ncontent-type: text/event-stream") != NULL;
    c->sized = length != NULL;
    c->leaves = !strncmp(c->in.data, "HTTP/1.0", 8) || strcasestr(c->in.data, "\nconnection: close");
    c->length = length ? strtoul(length + 16, NULL, 10) : 0;
    const size_t n = (size_t)(body + 4 - c->in.data);
    memmove(c->in.data, c->in.data + n, c->in.len - n);
    c->in.len -= n;
    c->in.data[c->in.len] = 0;
    return c->headed = true;
}

static void hear(client *c, uint32_t events) {
    char bytes[65536];
    if (events & EPOLLOUT) {
        memcpy(g.number, c->number, NUMBER);
        const ssize_t n = send(c->fd, g.request + c->sent, g.n_request - c->sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) {
            broken(c);
            return;
        }
        c->sent += n > 0 ? (size_t)n : 0;
        if (c->sent == g.n_request) watch(c, EPOLLIN, EPOLL_CTL_MOD);
        return;
    }
    const ssize_t n = recv(c->fd, bytes, sizeof bytes, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
        broken(c);
        return;
    }
    if (!c->busy) return;
    moa_buf_add(&c->in, bytes, (size_t)n);
    if (!c->headed && !read_head(c)) return;
    const bool whole = unpack(c);
    if (c->streamed && c->body.data) read_stream(c);
    if (whole) end(c);
}

static void turn(int ms) {
    struct epoll_event e[512];
    const int n = epoll_wait(g.epoll, e, 512, ms);
    for (int i = 0; i < n; i++) hear(e[i].data.ptr, e[i].events);
}

/* ---- what came of it ---- */

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double at(const double *v, long n, double q) { return n ? v[(long)(q * (double)(n - 1) + 0.5)] : 0; }

static void report(double seconds, double least) {
    qsort(g.first, (size_t)g.n_time, sizeof *g.first, by_size);
    qsort(g.total, (size_t)g.n_time, sizeof *g.total, by_size);
    printf("{\"requests\":%ld,\"whole\":%ld,\"lost\":%ld,\"seconds\":%.4f,\"per_second\":%.2f", g.ended, g.n_time, g.lost, seconds, (double)g.n_time / seconds);
    if (g.lost) fprintf(stderr, "first loss: %s\n", g.why);
    for (int k = 0; k < 2; k++) {
        const double *v = k ? g.total : g.first;
        printf(",\"%s_ms\":{\"p50\":%.3f,\"p95\":%.3f,\"p99\":%.3f,\"max\":%.3f}", k ? "total" : "first", at(v, g.n_time, 0.5) * 1e3, at(v, g.n_time, 0.95) * 1e3, at(v, g.n_time, 0.99) * 1e3,
               at(v, g.n_time, 1) * 1e3);
    }
    if (least >= 0)
        printf(",\"over_ms\":{\"p50\":%.3f,\"p95\":%.3f,\"p99\":%.3f}", (at(g.total, g.n_time, 0.5) - least) * 1e3, (at(g.total, g.n_time, 0.95) - least) * 1e3,
               (at(g.total, g.n_time, 0.99) - least) * 1e3);
    printf("}\n");
}

static double mock_says(int port, const char *key) {
    char text[1000] = "", want[64];
    const struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    static const char get[] = "GET /mock HTTP/1.1\r\nHost: x\r\n\r\n";
    if (connect(fd, (const struct sockaddr *)&a, sizeof a) || send(fd, get, sizeof get - 1, 0) < 0) perror("mock"), exit(1);
    for (size_t n = 0; n < sizeof text - 1 && !strchr(text, '}');) {
        const ssize_t k = recv(fd, text + n, sizeof text - 1 - n, 0);
        if (k <= 0) break;
        text[n += (size_t)k] = 0;
    }
    close(fd);
    snprintf(want, sizeof want, "\"%s\":", key);
    const char *found = strstr(text, want);
    return found ? strtod(found + strlen(want), NULL) : -1;
}

static int cancel(client *c, long streams, int mock_port) {
    const double before = mock_says(mock_port, "canceled"), patience = moa_now() + 60;
    while (g.with_text < streams && moa_now() < patience) turn(100);
    const double running = mock_says(mock_port, "running"), began = moa_now();
    for (long i = 0; i < streams; i++) close(c[i].fd);
    const double left = moa_now();
    while (mock_says(mock_port, "running") > 0 && moa_now() < patience) usleep(2000);
    const double seen = mock_says(mock_port, "canceled") - before;
    printf("{\"streams\":%ld,\"upstream\":%.0f,\"canceled\":%.0f,\"last_ms\":%.3f,\"leaving_ms\":%.3f}\n", streams, running, seen, (mock_says(mock_port, "last_cancel") - left) * 1e3,
           (left - began) * 1e3);
    return seen == running ? 0 : 1;
}

static void make_request(const char *model, int argc, char **argv) {
    moa_buf body;
    moa_buf_init(&body, 1 << 15);
    moa_buf_addf(&body, "{\"model\":\"%s\",\"stream\":%s,\"messages\":[{\"role\":\"system\",\"content\":\"You are helpful.\"},{\"role\":\"user\",\"content\":\"What is a mixture of agents? %0*d\"}]", model,
                 g.stream ? "true" : "false", NUMBER, 0);
    for (int i = 0; i < argc; i++) {
        const char *eq = strchr(argv[i], '=');
        if (eq && strncmp(argv[i], "least=", 6)) moa_buf_addf(&body, ",\"%.*s\":%s", (int)(eq - argv[i]), argv[i], eq + 1);
    }
    moa_buf_adds(&body, "}");
    g.n_request = (size_t)snprintf(g.request, sizeof g.request, "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer x\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                                   body.len, moa_buf_str(&body));
    g.number = strstr(g.request, "agents? ") + 8;
    moa_buf_deinit(&body);
}

int main(int argc, char **argv) {
    const bool cancels = argc > 1 && !strcmp(argv[1], "cancel");
    const int skip = cancels;
    if (argc < 5 + skip) {
        fprintf(stderr, "usage: %s PORT MODEL STREAMS REQUESTS [whole] [least=SECONDS] [key=value ...]\n       %s cancel PORT MODEL STREAMS MOCK-PORT\n", argv[0], argv[0]);
        return 2;
    }
    const long streams = strtol(argv[3 + skip], NULL, 10), requests = cancels ? streams : strtol(argv[4], NULL, 10);
    double least = -1, apart = 0;
    bool spread = false;
    g.port = (int)strtol(argv[1 + skip], NULL, 10);
    g.stream = true;
    for (int i = 5; i < argc; i++) {
        if (!strcmp(argv[i], "whole")) g.stream = false;
        if (!strcmp(argv[i], "any")) g.any = true;
        if (!strcmp(argv[i], "spread")) spread = true;
        if (!strncmp(argv[i], "least=", 6)) least = strtod(argv[i] + 6, NULL);
    }
    make_request(argv[2 + skip], argc - 5, argv + 5);
    g.epoll = epoll_create1(EPOLL_CLOEXEC);
    g.to_ask = requests;
    g.first = calloc((size_t)requests, sizeof *g.first), g.total = calloc((size_t)requests, sizeof *g.total);
    client *c = calloc((size_t)streams, sizeof *c);
    if (!c || !g.first || !g.total) return 1;
    if (spread && least > 0) apart = least / (double)streams;
    const double began = moa_now();
    for (long i = 0; i < streams; i++) {
        while (moa_now() < began + apart * (double)i) turn(1);
        moa_buf_init(&c[i].in, 16 << 20);
        moa_buf_init(&c[i].body, 16 << 20);
        moa_buf_init(&c[i].text, 16 << 20);
        c[i].fd = -1;
        ask(&c[i]);
    }
    if (cancels) return cancel(c, streams, (int)strtol(argv[5], NULL, 10));
    while (g.ended < requests) turn(1000);
    report(moa_now() - began, least);
    return g.lost ? 1 : 0;
}
