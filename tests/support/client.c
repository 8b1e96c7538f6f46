/* client.c - see client.h. SPDX-License-Identifier: Apache-2.0 */
#include "support/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

enum { MAX = 64 << 20, PATIENCE_S = 60 };

int client_connect(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const struct timeval t = {.tv_sec = PATIENCE_S};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t) == 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

void client_send(int fd, const char *bytes, size_t n) {
    while (n) {
        const ssize_t k = send(fd, bytes, n, MSG_NOSIGNAL);
        if (k <= 0) return;
        bytes += k, n -= (size_t)k;
    }
}

void reply_deinit(reply *r) {
    moa_buf_deinit(&r->head);
    moa_buf_deinit(&r->body);
}

/* A byte at a time would do for tests, a line at a time is quicker: no more than the reply is read. */
static bool read_line(int fd, moa_buf *b) {
    char c;
    do {
        if (recv(fd, &c, 1, 0) != 1) return false;
        moa_buf_add(b, &c, 1);
    } while (c != '\n');
    return true;
}

static bool read_bytes(int fd, moa_buf *b, size_t n) {
    char part[4096];
    while (n) {
        const ssize_t k = recv(fd, part, n < sizeof part ? n : sizeof part, 0);
        if (k <= 0) return false;
        moa_buf_add(b, part, (size_t)k);
        n -= (size_t)k;
    }
    return true;
}

static bool read_chunks(int fd, moa_buf *body) {
    while (true) {
        moa_buf line;
        moa_buf_init(&line, 100);
        const bool got = read_line(fd, &line);
        const size_t n = got ? strtoul(moa_buf_str(&line), NULL, 16) : 0;
        moa_buf_clear(&line);
        const bool ok = got && read_bytes(fd, body, n) && read_line(fd, &line);
        moa_buf_deinit(&line);
        if (!ok || n == 0) return ok;
    }
}

const char *reply_header(const reply *r, const char *name) {
    static char value[2048];
    const size_t n = strlen(name);
    for (const char *p = moa_buf_str(&r->head); p && *p; p = strchr(p, '\n'), p = p ? p + 1 : NULL) {
        if (strncasecmp(p, name, n) != 0 || p[n] != ':') continue;
        const size_t len = strcspn(p + n + 2, "\r\n");
        snprintf(value, sizeof value, "%.*s", (int)len, p + n + 2);
        return value;
    }
    return NULL;
}

static bool read_head(int fd, reply *r) {
    *r = (reply){0};
    moa_buf_init(&r->head, 1 << 16);
    moa_buf_init(&r->body, MAX);
    for (size_t at = 0; at != 2; ) { /* an empty line ends it */
        const size_t was = r->head.len;
        if (!read_line(fd, &r->head)) return false;
        at = r->head.len - was;
    }
    r->status = (int)strtol(moa_buf_str(&r->head) + 9, NULL, 10);
    return true;
}

bool client_read(int fd, reply *r) {
    if (!read_head(fd, r)) return false;
    const char *n = reply_header(r, "Content-Length");
    if (r->status == 204 || r->status == 100) return r->whole = true;
    return r->whole = n ? read_bytes(fd, &r->body, strtoul(n, NULL, 10)) : read_chunks(fd, &r->body);
}

reply client_ask(int port, const char *method, const char *path, const char *headers, const char *body) {
    moa_buf b;
    reply r;
    moa_buf_init(&b, MAX);
    moa_buf_addf(&b, "%s %s HTTP/1.1\r\nHost: localhost\r\n%s", method, path, headers ? headers : "");
    if (body) moa_buf_addf(&b, "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
    else moa_buf_adds(&b, "\r\n");
    const int fd = client_connect(port);
    client_send(fd, moa_buf_str(&b), b.len);
    (strcmp(method, "HEAD") ? client_read : read_head)(fd, &r);
    close(fd);
    moa_buf_deinit(&b);
    return r;
}

reply client_post(int port, const char *path, const char *body) { return client_ask(port, "POST", path, "Content-Type: application/json\r\n", body); }

json_t *reply_json(const reply *r) {
    json_error_t e;
    json_t *v = json_loadb(moa_buf_str(&r->body), r->body.len, 0, &e);
    if (!v) fail_msg("no JSON: %s: %.300s", e.text, moa_buf_str(&r->body));
    return v;
}

json_t *client_json(int port, const char *path, const char *body, int status) {
    reply r = client_post(port, path, body);
    if (r.status != status) fail_msg("%s: %d, expected %d: %s", path, r.status, status, moa_buf_str(&r.body));
    json_t *v = reply_json(&r);
    reply_deinit(&r);
    return v;
}

const json_t *reply_message(const json_t *v, size_t choice) { return json_object_get(json_array_get(json_object_get(v, "choices"), choice), "message"); }

const char *reply_content(const json_t *v, size_t choice) {
    const char *s = json_string_value(json_object_get(reply_message(v, choice), "content"));
    if (!s) fail_msg("choice %zu has no text", choice);
    return s;
}

int reply_events(const reply *r, event_fn fn, void *ctx) {
    int n = 0;
    char name[100] = "";
    for (const char *p = moa_buf_str(&r->body); *p; ) {
        const size_t len = strcspn(p, "\n");
        if (strncmp(p, "event: ", 7) == 0) snprintf(name, sizeof name, "%.*s", (int)(len - 7), p + 7);
        if (strncmp(p, "data: ", 6) == 0) fn(ctx, name, p + 6, len - 6), n++, name[0] = 0;
        p += len + (p[len] == '\n');
    }
    return n;
}
