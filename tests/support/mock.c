/* mock.c - see mock.h. SPDX-License-Identifier: Apache-2.0 */
#include "support/mock.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/rng.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_RULE = 64, MAX_REQUEST = 8 << 20, MAX_CAME = 4096, MAX_LOG = 64, MAX_SEEN = 1 << 16, KEY_BYTES = 22 };

typedef struct rule {
    json_t *own;
    const char *model, *text, *raw, *retry_after, *body, *fault, *thought;
    uint64_t prompt;
    int sample, times, chunks, bytes, status, retry_ms, after, reasoning;
    double ttft, gap, jitter;
    bool usage, stream;
} rule;

typedef struct conn {
    int fd, place;          /* in the heap; -1: not there */
    moa_buf in, out;
    size_t sent;
    bool busy, stream, over, include_usage, thought; /* over: closed when out is empty; thought: it has told */
    int n;                  /* choices */
    const rule *r;
    uint64_t key;
    int next;               /* chunk that is sent at `due` */
    double due;
    moa_rng rng;
    char model[64];
    struct conn *newer, *older;
} conn;

struct mock {
    int port, listening, epoll, wake;
    pthread_t thread;
    atomic_bool stop;
    rule rule[MAX_RULE]; int n_rule;
    uint64_t seed;
    conn **heap; int n_heap, cap_heap;
    conn *all;
    struct { uint64_t key; int n; } seen[MAX_SEEN];
    pthread_mutex_t lock;   /* over what follows */
    mock_counts count;
    double came[MAX_CAME];
    char *log[MAX_LOG];
};

/* ---- the text that proves itself: key and number of chunks, then chunks that follow from both ---- */

uint64_t mock_prompt(const char *messages, uint64_t n) { return moa_hash64(messages, n, 0); }

static void chunk_of(char *out, int bytes, uint64_t key, int i) {
    for (int k = 0; k < bytes; k++) out[k] = (k + 1) % 6 ? (char)('a' + moa_mix64(key ^ ((uint64_t)i << 32) ^ (uint64_t)k) % 26) : ' ';
}

static void add_chunk(moa_buf *b, uint64_t key, int i, int chunks, int bytes) {
    char text[4096];
    if (i == 0) moa_buf_addf(b, "%016llx %02x %02x ", (unsigned long long)key, chunks, bytes);
    chunk_of(text, bytes, key, i);
    moa_buf_add(b, text, (size_t)bytes);
}

bool mock_check(const char *text, uint64_t n) {
    unsigned long long key;
    unsigned chunks, bytes;
    char want[4096];
    if (n < KEY_BYTES || sscanf(text, "%16llx %2x %2x ", &key, &chunks, &bytes) != 3 || n != KEY_BYTES + 1 + (uint64_t)chunks * bytes) return false;
    for (unsigned i = 0; i < chunks; i++) {
        chunk_of(want, (int)bytes, key, (int)i);
        if (memcmp(text + KEY_BYTES + 1 + (size_t)i * bytes, want, bytes)) return false;
    }
    return true;
}

/* ---- timers: a heap by due ---- */

static void put(mock *m, conn *c, int at) { m->heap[at] = c, c->place = at; }

static void sift(mock *m, conn *c, int at) {
    for (int up; at > 0 && m->heap[up = (at - 1) / 2]->due > c->due; at = up) put(m, m->heap[up], at);
    for (int down; (down = 2 * at + 1) < m->n_heap; at = down) {
        if (down + 1 < m->n_heap && m->heap[down + 1]->due < m->heap[down]->due) down++;
        if (m->heap[down]->due >= c->due) break;
        put(m, m->heap[down], at);
    }
    put(m, c, at);
}

static void set_due(mock *m, conn *c, double due) {
    c->due = due;
    if (c->place < 0) {
        if (m->n_heap == m->cap_heap && !(m->heap = realloc(m->heap, (size_t)(m->cap_heap = 2 * m->cap_heap + 64) * sizeof *m->heap))) abort();
        c->place = m->n_heap++;
    }
    sift(m, c, c->place);
}

static void no_due(mock *m, conn *c) {
    if (c->place < 0) return;
    conn *last = m->heap[--m->n_heap];
    if (last != c) sift(m, last, c->place);
    c->place = -1;
}

/* ---- connections ---- */

static void end_request(mock *m, conn *c, bool canceled) {
    if (!c->busy) return;
    c->busy = false;
    no_due(m, c);
    pthread_mutex_lock(&m->lock);
    m->count.running--;
    if (canceled) m->count.canceled++, m->count.last_cancel = moa_now();
    else m->count.done++;
    pthread_mutex_unlock(&m->lock);
}

static void drop(mock *m, conn *c, bool theirs) {
    end_request(m, c, theirs);
    pthread_mutex_lock(&m->lock);
    m->count.open--;
    pthread_mutex_unlock(&m->lock);
    epoll_ctl(m->epoll, EPOLL_CTL_DEL, c->fd, NULL); /* closing is not enough while a process that forks just now has it too */
    close(c->fd);
    *(c->newer ? &c->newer->older : &m->all) = c->older;
    if (c->older) c->older->newer = c->newer;
    moa_buf_deinit(&c->in);
    moa_buf_deinit(&c->out);
    free(c);
}

static void reset(mock *m, conn *c) {
    const struct linger now = {1, 0};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    drop(m, c, false);
}

/* False: the connection is gone. */
static bool flush(mock *m, conn *c) {
    while (c->sent < c->out.len) {
        const ssize_t k = send(c->fd, c->out.data + c->sent, c->out.len - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (k < 0 && (errno == EAGAIN || errno == EINTR)) {
            struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP | EPOLLOUT, .data.ptr = c};
            epoll_ctl(m->epoll, EPOLL_CTL_MOD, c->fd, &e);
            return true;
        }
        if (k < 0) return drop(m, c, true), false;
        c->sent += (size_t)k;
    }
    moa_buf_clear(&c->out);
    c->sent = 0;
    if (c->over && !c->busy) return drop(m, c, false), false;
    return true;
}

/* ---- replies ---- */

static double pause_of(conn *c, double mean) { return mean * (1 + c->r->jitter * (2 * moa_rng_f64(&c->rng) - 1)); }

static void add_piece(conn *c, const char *s, size_t n) {
    moa_buf_addf(&c->out, "%zx\r\n", n);
    moa_buf_add(&c->out, s, n);
    moa_buf_adds(&c->out, "\r\n");
}

static int n_chunk(const rule *r) { return r->raw || r->text ? 1 : r->chunks; }

static void text_of(moa_buf *b, const conn *c, int i) {
    if (c->r->text) moa_buf_adds(b, c->r->text);
    else add_chunk(b, c->key, i, c->r->chunks, c->r->bytes);
}

static void event(conn *c, int i) {
    moa_buf text, e;
    moa_buf_init(&text, 1 << 20);
    moa_buf_init(&e, 2 << 20);
    text_of(&text, c, i);
    moa_buf_addf(&e, "data: {\"id\":\"mock\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"%s\",\"choices\":[{\"index\":0,\"delta\":{%s\"content\":", c->model,
                 i ? "" : "\"role\":\"assistant\",");
    moa_json_add_str(&e, moa_buf_str(&text), text.len);
    moa_buf_adds(&e, "},\"finish_reason\":null}]}\n\n");
    add_piece(c, moa_buf_str(&e), e.len);
    moa_buf_deinit(&text);
    moa_buf_deinit(&e);
}

static void think(conn *c) {
    moa_buf e;
    moa_buf_init(&e, 2 << 20);
    moa_buf_adds(&e, "data: {\"id\":\"mock\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":");
    moa_json_add_str(&e, c->r->thought, strlen(c->r->thought));
    moa_buf_adds(&e, "}}]}\n\n");
    add_piece(c, moa_buf_str(&e), e.len);
    moa_buf_deinit(&e);
    c->thought = true;
}

/* The usage of n replies. */
static void add_usage(moa_buf *b, const rule *r, int n) {
    moa_buf_addf(b, "\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":%d,\"total_tokens\":%d", n * n_chunk(r), 10 + n * n_chunk(r));
    if (r->reasoning) moa_buf_addf(b, ",\"completion_tokens_details\":{\"reasoning_tokens\":%d}", r->reasoning);
    moa_buf_adds(b, "}");
}

static void last_events(conn *c) {
    moa_buf e;
    moa_buf_init(&e, 1 << 16);
    moa_buf_adds(&e, "data: {\"id\":\"mock\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
    if (c->r->usage && c->include_usage) {
        moa_buf_adds(&e, "data: {\"id\":\"mock\",\"object\":\"chat.completion.chunk\",\"choices\":[],");
        add_usage(&e, c->r, 1);
        moa_buf_adds(&e, "}\n\n");
    }
    moa_buf_adds(&e, "data: [DONE]\n\n");
    add_piece(c, moa_buf_str(&e), e.len);
    moa_buf_adds(&c->out, "0\r\n\r\n");
    moa_buf_deinit(&e);
}

static void head(conn *c, int status, const char *type, const char *more, long length) {
    moa_buf_addf(&c->out, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\n%s", status, status == 200 ? "OK" : "No", type, more);
    if (length < 0) moa_buf_adds(&c->out, "Transfer-Encoding: chunked\r\n\r\n");
    else moa_buf_addf(&c->out, "Content-Length: %ld\r\n\r\n", length);
}

static void whole(conn *c) {
    moa_buf b, text;
    moa_buf_init(&b, 16 << 20);
    moa_buf_init(&text, 8 << 20);
    for (int i = 0; i < n_chunk(c->r); i++) text_of(&text, c, i);
    moa_buf_addf(&b, "{\"id\":\"mock\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"%s\",\"choices\":[", c->model);
    for (int i = 0; i < c->n; i++) {
        moa_buf_addf(&b, "%s{\"index\":%d,\"message\":{\"role\":\"assistant\",\"content\":", i ? "," : "", i);
        moa_json_add_str(&b, moa_buf_str(&text), text.len);
        moa_buf_adds(&b, "},\"finish_reason\":\"stop\"}");
    }
    moa_buf_adds(&b, "],");
    add_usage(&b, c->r, c->n);
    moa_buf_adds(&b, "}");
    head(c, 200, "application/json", "", (long)b.len);
    moa_buf_add(&c->out, moa_buf_str(&b), b.len);
    moa_buf_deinit(&b);
    moa_buf_deinit(&text);
}

static void refuse(conn *c, const rule *r) {
    char more[200] = "";
    const char *body = r->body ? r->body : "{\"error\":{\"message\":\"told to fail\",\"type\":\"mock\",\"code\":null}}";
    const int n = r->retry_after ? snprintf(more, sizeof more, "Retry-After: %.60s\r\n", r->retry_after) : 0;
    if (r->retry_ms >= 0) snprintf(more + n, sizeof more - (size_t)n, "retry-after-ms: %d\r\n", r->retry_ms);
    head(c, r->status, "application/json", more, (long)strlen(body));
    moa_buf_adds(&c->out, body);
}

/* What a rule lets go wrong behind chunk number c->next - 1. True: that is all of this request. */
static bool fault(mock *m, conn *c) {
    const char *f = c->r->fault;
    if (!strcmp(f, "stall")) {
        no_due(m, c);
        flush(m, c);
    } else if (!strcmp(f, "reset")) {
        reset(m, c);
    } else if (!strcmp(f, "close") || !strcmp(f, "garbage")) {
        if (f[0] == 'g') moa_buf_adds(&c->out, "this is not what was expected\r\n\r\n");
        c->over = true;
        end_request(m, c, false);
        flush(m, c);
    } else if (!strcmp(f, "malformed")) {
        static const char bad[] = "data: {\"choices\":[{\"delta\":{\"content\":\n\n";
        add_piece(c, bad, sizeof bad - 1);
        return false;
    } else if (!strcmp(f, "oversize")) {
        char *long_one = malloc(1 << 20);
        if (!long_one) abort();
        memset(long_one, 'x', 1 << 20);
        for (int i = 0; i < 20; i++) add_piece(c, long_one, 1 << 20);
        free(long_one);
        return false;
    } else {
        return false;
    }
    return true;
}

/* The next thing that is due. */
static void play(mock *m, conn *c) {
    const rule *r = c->r;
    if (r->status != 200) {
        refuse(c, r);
    } else if (!c->stream) {
        whole(c);
    } else {
        if (c->next == 0 && !c->thought) head(c, 200, "text/event-stream", "Cache-Control: no-cache\r\n", -1);
        if (r->thought && !c->thought) {
            think(c);
            set_due(m, c, c->due + pause_of(c, r->gap));
            flush(m, c);
            return;
        }
        if (r->raw) {
            add_piece(c, r->raw, strlen(r->raw));
            moa_buf_adds(&c->out, "0\r\n\r\n");
            c->next = 1;
        } else {
            event(c, c->next++);
            if (r->fault && c->next == r->after + 1 && fault(m, c)) return;
            if (c->next < n_chunk(r)) {
                set_due(m, c, c->due + pause_of(c, r->gap));
                flush(m, c);
                return;
            }
            last_events(c);
        }
    }
    c->over |= r->fault && !strcmp(r->fault, "hang_up");
    end_request(m, c, false);
    flush(m, c);
}

/* ---- requests ---- */

static int sample_of(mock *m, uint64_t key) {
    for (uint64_t at = key;; at++) {
        const uint64_t i = at % MAX_SEEN;
        if (m->seen[i].key && m->seen[i].key != key) continue;
        m->seen[i].key = key;
        return m->seen[i].n++;
    }
}

static const rule *rule_of(mock *m, const char *model, uint64_t prompt, int sample) {
    static const rule other = {.times = -1, .status = 404, .body = "{\"error\":{\"message\":\"the script has no line for this request\"}}", .retry_ms = -1};
    for (int i = 0; i < m->n_rule; i++) {
        rule *r = &m->rule[i];
        if ((r->model && strcmp(r->model, model)) || (r->prompt && r->prompt != prompt) || (r->sample >= 0 && r->sample != sample) || r->times == 0) continue;
        if (r->times > 0) r->times--;
        return r;
    }
    return &other;
}

static void log_request(mock *m, const char *text, size_t n) {
    pthread_mutex_lock(&m->lock);
    const long i = m->count.requests++;
    m->came[i % MAX_CAME] = moa_now();
    free(m->log[i % MAX_LOG]);
    m->log[i % MAX_LOG] = strndup(text, n);
    m->count.running++;
    if (m->count.running > m->count.most) m->count.most = m->count.running;
    pthread_mutex_unlock(&m->lock);
}

static void stats(mock *m, conn *c) {
    char text[400];
    const mock_counts k = mock_count(m);
    const int n = snprintf(text, sizeof text, "{\"requests\":%ld,\"running\":%ld,\"most\":%ld,\"done\":%ld,\"canceled\":%ld,\"connections\":%ld,\"open\":%ld,\"last_cancel\":%.6f}", k.requests, k.running,
                           k.most, k.done, k.canceled, k.connections, k.open, k.last_cancel);
    head(c, 200, "application/json", "", n);
    moa_buf_add(&c->out, text, (size_t)n);
    flush(m, c);
}

static void answer(mock *m, conn *c, const char *body, size_t n) {
    json_t *v = json_loadb(body, n, 0, NULL);
    const char *model = json_string_value(json_object_get(v, "model"));
    char *messages = json_dumps(json_object_get(v, "messages"), JSON_COMPACT);
    const uint64_t prompt = messages ? mock_prompt(messages, strlen(messages)) : 0;
    snprintf(c->model, sizeof c->model, "%s", model ? model : "");
    const uint64_t pair = moa_hash64(c->model, strlen(c->model), prompt ^ m->seed) | 1;
    const int sample = sample_of(m, pair);
    c->r = rule_of(m, c->model, prompt, sample);
    c->n = (int)json_integer_value(json_object_get(v, "n"));
    if (c->n < 1 || c->n > 64) c->n = 1;
    c->stream = json_is_true(json_object_get(v, "stream")) && c->r->stream;
    c->include_usage = json_is_true(json_object_get(json_object_get(v, "stream_options"), "include_usage"));
    c->key = moa_mix64(pair ^ (uint64_t)sample);
    moa_rng_seed2(&c->rng, m->seed, c->key);
    c->next = 0;
    c->thought = false;
    c->busy = true;
    free(messages);
    json_decref(v);
    double wait = pause_of(c, c->r->ttft);
    for (int i = 1; !c->stream && c->r->status == 200 && i < n_chunk(c->r); i++) wait += pause_of(c, c->r->gap);
    if (c->r->fault && c->r->after < 0 && fault(m, c)) return;
    if (wait > 0) set_due(m, c, moa_now() + wait);
    else c->due = moa_now(), play(m, c);
}

/* Takes whole requests out of c->in. */
static void take(mock *m, conn *c) {
    const char *text = moa_buf_str(&c->in), *end = strstr(text, "\r\n\r\n");
    if (c->busy || !end) return;
    const char *length = strcasestr(text, "\ncontent-length:");
    const size_t body = length && length < end ? strtoul(length + 16, NULL, 10) : 0, before = (size_t)(end + 4 - text);
    if (c->in.len < before + body) return;
    char *own = strndup(text, before + body);
    const size_t rest = c->in.len - before - body;
    memmove(c->in.data, c->in.data + before + body, rest);
    c->in.len = rest, c->in.data[rest] = 0;
    if (!own) abort();
    if (!strncmp(own, "GET /mock", 9)) {
        stats(m, c);
    } else if (!strncmp(own, "GET ", 4)) {
        static const char list[] = "{\"object\":\"list\",\"data\":[{\"id\":\"mock\",\"object\":\"model\",\"created\":1,\"owned_by\":\"mock\"}]}";
        head(c, 200, "application/json", "", sizeof list - 1);
        moa_buf_adds(&c->out, list);
        flush(m, c);
    } else {
        log_request(m, own, before + body);
        answer(m, c, own + before, body);
    }
    free(own);
}

static void hear(mock *m, conn *c, uint32_t events) {
    char text[16384];
    if (events & EPOLLOUT) {
        struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = c};
        epoll_ctl(m->epoll, EPOLL_CTL_MOD, c->fd, &e);
        if (!flush(m, c)) return;
    }
    if (!(events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))) return;
    const ssize_t n = recv(c->fd, text, sizeof text, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0 || moa_buf_add(&c->in, text, (size_t)n) < 0) drop(m, c, true);
    else take(m, c);
}

static void welcome(mock *m) {
    for (int fd; (fd = accept4(m->listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        const int one = 1;
        conn *c = calloc(1, sizeof *c);
        if (!c) abort();
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        c->fd = fd, c->place = -1;
        moa_buf_init(&c->in, MAX_REQUEST);
        moa_buf_init(&c->out, 64 << 20);
        if ((c->older = m->all)) m->all->newer = c;
        m->all = c;
        struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = c};
        epoll_ctl(m->epoll, EPOLL_CTL_ADD, fd, &e);
        pthread_mutex_lock(&m->lock);
        m->count.connections++, m->count.open++;
        pthread_mutex_unlock(&m->lock);
    }
}

static void *live(void *arg) {
    mock *m = arg;
    while (!atomic_load(&m->stop)) {
        struct epoll_event e[256];
        const double wait = m->n_heap ? m->heap[0]->due - moa_now() : 3600;
        struct timespec t = {.tv_sec = wait > 0 ? (time_t)wait : 0};
        t.tv_nsec = wait > 0 ? (long)((wait - (double)t.tv_sec) * 1e9) : 0;
        const int n = epoll_pwait2(m->epoll, e, 256, &t, NULL);
        /* Connections that are dropped while a batch of events is read could be named again further back: one event a connection, so not. */
        for (int i = 0; i < n; i++) {
            if (e[i].data.ptr == &m->listening) welcome(m);
            else if (e[i].data.ptr != &m->wake) hear(m, e[i].data.ptr, e[i].events);
        }
        for (const double now = moa_now(); m->n_heap && m->heap[0]->due <= now;) {
            conn *c = m->heap[0];
            no_due(m, c);
            play(m, c);
        }
    }
    return NULL;
}

/* ---- the script ---- */

static const char *text_in(const json_t *v, const char *key) { return json_string_value(json_object_get(v, key)); }
static int int_in(const json_t *v, const char *key, int dflt) { return json_is_integer(json_object_get(v, key)) ? (int)json_integer_value(json_object_get(v, key)) : dflt; }

static int read_script(mock *m, const char *script, moa_err *err) {
    static const char *const faults[] = {"reset", "close", "stall", "malformed", "oversize", "hang_up", "garbage"};
    moa_jsonl in;
    json_t *v;
    int rc;
    moa_jsonl_text(&in, script, strlen(script), "script");
    while ((rc = moa_jsonl_next(&v, &in, err)) > 0) {
        if (m->n_rule == MAX_RULE) return json_decref(v), moa_fail(err, MOA_ELIMIT, "script:%zu: at most %d lines", in.line, MAX_RULE);
        rule *r = &m->rule[m->n_rule++];
        const char *prompt = text_in(v, "prompt");
        *r = (rule){.own = v, .model = text_in(v, "model"), .text = text_in(v, "text"), .raw = text_in(v, "raw"), .retry_after = text_in(v, "retry_after"), .body = text_in(v, "body"), .thought = text_in(v, "thought"),
                    .fault = text_in(v, "fault"), .prompt = prompt ? strtoull(prompt, NULL, 16) : 0, .sample = int_in(v, "sample", -1), .times = int_in(v, "times", -1),
                    .chunks = int_in(v, "chunks", 10), .bytes = int_in(v, "bytes", 6), .status = int_in(v, "status", 200), .retry_ms = int_in(v, "retry_after_ms", -1),
                    .after = int_in(v, "after", 0), .reasoning = int_in(v, "reasoning", 0), .ttft = json_number_value(json_object_get(v, "ttft")), .gap = json_number_value(json_object_get(v, "gap")),
                    .jitter = json_number_value(json_object_get(v, "jitter")), .usage = !json_is_false(json_object_get(v, "usage")), .stream = !json_is_false(json_object_get(v, "stream"))};
        bool known = !r->fault;
        for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) known |= r->fault && !strcmp(r->fault, faults[i]);
        if (!known || r->chunks < 1 || r->chunks > 255 || r->bytes < 1 || r->bytes > 255)
            return moa_fail(err, MOA_EFORMAT, "script:%zu: fault '%s', %d chunks of %d bytes, expected a fault of mock.h and 1 to 255", in.line, r->fault ? r->fault : "none", r->chunks, r->bytes);
    }
    return rc;
}

int mock_start(mock **out, const char *script, uint64_t seed, int port, moa_err *err) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
    socklen_t len = sizeof a;
    const int one = 1;
    mock *m = *out = calloc(1, sizeof *m);
    if (!m) return moa_fail(err, MOA_ENOMEM, "a mock");
    m->seed = seed;
    pthread_mutex_init(&m->lock, NULL);
    m->listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    m->epoll = epoll_create1(EPOLL_CLOEXEC);
    m->wake = eventfd(0, EFD_CLOEXEC);
    setsockopt(m->listening, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct epoll_event l = {.events = EPOLLIN, .data.ptr = &m->listening}, w = {.events = EPOLLIN, .data.ptr = &m->wake};
    int rc = read_script(m, script, err);
    if (rc >= 0 && (bind(m->listening, (struct sockaddr *)&a, sizeof a) || listen(m->listening, 4096) || getsockname(m->listening, (struct sockaddr *)&a, &len) ||
                    epoll_ctl(m->epoll, EPOLL_CTL_ADD, m->listening, &l) || epoll_ctl(m->epoll, EPOLL_CTL_ADD, m->wake, &w)))
        rc = moa_fail(err, MOA_EIO, "mock: port %d: %s", port, strerror(errno));
    m->port = ntohs(a.sin_port);
    if (rc >= 0 && pthread_create(&m->thread, NULL, live, m)) rc = moa_fail(err, MOA_EIO, "mock: no thread");
    if (rc < 0) m->port = 0, mock_stop(m), *out = NULL;
    return rc;
}

void mock_stop(mock *m) {
    const uint64_t one = 1;
    atomic_store(&m->stop, true);
    if (m->port && write(m->wake, &one, sizeof one) == sizeof one) pthread_join(m->thread, NULL);
    while (m->all) drop(m, m->all, false);
    for (int i = 0; i < MAX_LOG; i++) free(m->log[i]);
    for (int i = 0; i < m->n_rule; i++) json_decref(m->rule[i].own);
    close(m->listening);
    close(m->epoll);
    close(m->wake);
    free(m->heap);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

int mock_port(const mock *m) { return m->port; }

mock_counts mock_count(mock *m) {
    pthread_mutex_lock(&m->lock);
    const mock_counts c = m->count;
    pthread_mutex_unlock(&m->lock);
    return c;
}

double mock_came(mock *m, long i) {
    pthread_mutex_lock(&m->lock);
    const double t = i >= 0 && i < m->count.requests && i + MAX_CAME >= m->count.requests ? m->came[i % MAX_CAME] : -1;
    pthread_mutex_unlock(&m->lock);
    return t;
}

const char *mock_request(mock *m, long i) {
    pthread_mutex_lock(&m->lock);
    const char *s = i >= 0 && i < m->count.requests && i + MAX_LOG >= m->count.requests ? m->log[i % MAX_LOG] : NULL;
    pthread_mutex_unlock(&m->lock);
    return s;
}
