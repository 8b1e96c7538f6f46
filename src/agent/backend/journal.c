/* journal.c - a backend in front of another that remembers finished calls.
 *
 * Key: 128 bits over model fingerprint, messages, sampling, max_tokens and the grammar, if there is one. Greedy calls leave the seed out, since it
 * changes nothing. Sample i of a question is the same call in every mix, so an evaluation of n = 2, 4, 6 computes
 * six samples, not twelve; and a killed evaluation starts again where it was. Equal calls that run at the same time are
 * computed once too.
 * File: one JSON object a line. A text that is not UTF-8 (a model may write any bytes) stands there in hexadecimal too: the
 * aggregator's messages hold it, and their key must come out the same after a resume.
 * A last line without its newline (the process died) is cut off at open, once all before it has been found to be a journal. A call is written down when it ends, so a kill
 * loses only what was under way. A line that cannot be written ends what runs, and the reason is kept.
 * backends.def: BACKEND(journal)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/backend.h"

#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "format/grammar.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { MAX_LINE = 256 << 20 };
static const char hex_digits[] = "0123456789abcdef";

typedef struct key { uint64_t a, b; } key;
typedef struct relay relay;
typedef struct record {
    key k;             /* a == 0 && b == 0: free slot */
    char *text;
    size_t len;
    int64_t prompt, completion, reused;
    double seconds, share_s, sum_logprob;
    int why;
} record;

/* Open addressing, at most half full. */
typedef struct table { record *slot; size_t n, cap, bytes; } table;

struct moa_journal {
    pthread_mutex_t lock; /* over all below */
    relay *running;    /* calls that are asked now */
    int fd;            /* -1: in memory only */
    char *path;
    table now, old;    /* with a limit: what came lately, and before that */
    size_t limit;
    bool silent;
    moa_journal_line_fn line; void *ctx;
    int64_t computed, found;
    moa_err failure;   /* of the first line that could not be written; code 0: none */
};

static record *find(const table *t, key k) {
    for (size_t i = k.a & (t->cap - 1);; i = (i + 1) & (t->cap - 1)) {
        record *r = &t->slot[i];
        if ((r->k.a == k.a && r->k.b == k.b) || !(r->k.a | r->k.b)) return r;
    }
}

/* NULL: it is not known. */
static const record *lookup(const moa_journal *j, key k) {
    const record *r = j->now.cap ? find(&j->now, k) : NULL;
    if (r && (r->k.a | r->k.b)) return r;
    r = j->old.cap ? find(&j->old, k) : NULL;
    return r && (r->k.a | r->k.b) ? r : NULL;
}

static void table_free(table *t) {
    for (size_t i = 0; t->slot && i < t->cap; i++) free(t->slot[i].text);
    free(t->slot);
    *t = (table){0};
}

static int make_room(table *t, moa_err *err) {
    if (2 * (t->n + 1) <= t->cap) return 0;
    table big = {.cap = t->cap ? 2 * t->cap : 1024, .n = t->n, .bytes = t->bytes};
    if (!(big.slot = calloc(big.cap, sizeof *big.slot))) return moa_fail(err, MOA_ENOMEM, "no memory for a journal of %zu calls", t->n);
    for (size_t i = 0; i < t->cap; i++)
        if (t->slot[i].k.a | t->slot[i].k.b) *find(&big, t->slot[i].k) = t->slot[i];
    free(t->slot);
    *t = big;
    return 0;
}

/* Takes over the record's text when it succeeds. Two generations: the older one is forgotten when the newer holds half of the limit. */
static int insert(moa_journal *j, const record *r, moa_err *err) {
    if (j->limit && 2 * (j->now.bytes + r->len) > j->limit && j->now.n) {
        table_free(&j->old);
        j->old = j->now;
        j->now = (table){0};
    }
    MOA_TRY(make_room(&j->now, err));
    record *d = find(&j->now, r->k);
    if (d->k.a | d->k.b) j->now.bytes -= d->len, free(d->text);
    else j->now.n++;
    j->now.bytes += r->len + sizeof *r;
    *d = *r;
    return 0;
}

/* ---- the file ---- */

static char *from_hex(const char *hex) {
    size_t n = strlen(hex);
    char *out = n % 2 == 0 && strspn(hex, hex_digits) == n ? malloc(n / 2 + 1) : NULL;
    for (size_t i = 0; out && i < n / 2; i++) {
        const char two[3] = {hex[2 * i], hex[2 * i + 1], 0};
        out[i] = (char)strtoul(two, NULL, 16);
        if (!out[i]) return free(out), NULL;
    }
    if (out) out[n / 2] = 0;
    return out;
}

static int record_read(record *r, const json_t *v, const char *where, moa_err *err) {
    const char *k, *text, *hex;
    long long p, c, u, w;
    MOA_TRY(moa_json_get_str(&k, v, "key", "", where, err));
    MOA_TRY(moa_json_get_str(&text, v, "text", "", where, err));
    MOA_TRY(moa_json_get_int(&p, v, "prompt_tokens", 0, where, err));
    MOA_TRY(moa_json_get_int(&c, v, "completion_tokens", 0, where, err));
    MOA_TRY(moa_json_get_int(&u, v, "reused_prefix_tokens", 0, where, err));
    MOA_TRY(moa_json_get_int(&w, v, "why", 0, where, err));
    *r = (record){.len = strlen(text), .prompt = p, .completion = c, .reused = u, .why = (int)w};
    MOA_TRY(moa_json_get_num(&r->seconds, v, "seconds", 0, where, err));
    MOA_TRY(moa_json_get_num(&r->share_s, v, "share_seconds", 0, where, err));
    MOA_TRY(moa_json_get_num(&r->sum_logprob, v, "sum_logprob", 0, where, err));
    MOA_TRY(moa_json_get_str(&hex, v, "hex", "", where, err));
    char half[17] = {0};
    if (strlen(k) != 32 || strspn(k, hex_digits) != 32 || strspn(k, "0") == 32)
        return moa_fail(err, MOA_EFORMAT, "%s: key '%.40s': expected 32 hexadecimal digits, not all 0", where, k);
    memcpy(half, k, 16);
    r->k.a = strtoull(half, NULL, 16);
    r->k.b = strtoull(k + 16, NULL, 16);
    if (w < MOA_STOP_EOS || w > MOA_STOP_CONTEXT || p < 0 || p > INT_MAX || u < 0 || c < 0 || c > INT_MAX)
        return moa_fail(err, MOA_EFORMAT, "%s: a number is out of range: prompt_tokens %lld, completion_tokens %lld, reused_prefix_tokens %lld, "
                        "why %lld", where, p, c, u, w);
    r->text = *hex ? from_hex(hex) : strdup(text);
    if (!r->text && !*hex) return moa_fail(err, MOA_ENOMEM, "%s: no memory for a reply", where);
    if (!r->text) return moa_fail(err, MOA_EFORMAT, "%s: hex is not hexadecimal bytes", where);
    r->len = strlen(r->text);
    return 0;
}

static int take_line(moa_journal *j, const char *line, size_t n, const char *where, moa_err *err) {
    json_t *v;
    record r;
    MOA_TRY(moa_json_parse(&v, line, n, MAX_LINE, where, err));
    int rc;
    if (j->line && json_object_get(v, "moa")) {
        rc = j->line(j->ctx, v, where, err);
    } else {
        rc = record_read(&r, v, where, err);
        if (rc >= 0 && (rc = insert(j, &r, err)) < 0) free(r.text);
    }
    json_decref(v);
    return rc;
}

/* Is it the beginning of a line that was not finished? */
static bool begins(const moa_journal *j, const char *line, size_t n) {
    static const char head[] = "{\"key\":\"", other[] = "{\"moa\":\"";
    const size_t seen = n < sizeof head - 1 ? n : sizeof head - 1;
    return memcmp(line, head, seen) == 0 || (j->line && memcmp(line, other, seen) == 0);
}

/* Line by line: the file of a server grows, what is kept of it in memory has a limit. */
static int load_lines(moa_journal *j, FILE *f, moa_err *err) {
    char *line = NULL, where[4200];
    size_t cap = 0, number = 0;
    off_t whole = 0;
    ssize_t n;
    int rc = 0;
    while (rc >= 0 && (n = getline(&line, &cap, f)) > 0) {
        const bool ends = line[n - 1] == '\n';
        snprintf(where, sizeof where, "%s:%zu", j->path, ++number);
        if (ends && n > 1) rc = take_line(j, line, (size_t)n - 1, where, err);
        if (ends) {
            whole += n;
            continue;
        }
        if (!begins(j, line, (size_t)n)) rc = moa_fail(err, MOA_EFORMAT, "%s: its last line is not the beginning of a call", j->path);
        else if (ftruncate(j->fd, whole) < 0) rc = moa_fail(err, MOA_EIO, "%s: %s", j->path, strerror(errno));
    }
    if (rc >= 0 && ferror(f)) rc = moa_fail(err, MOA_EIO, "%s: %s", j->path, strerror(errno));
    free(line);
    return rc;
}

static int load(moa_journal *j, moa_err *err) {
    const int fd = dup(j->fd);
    FILE *f = fd >= 0 ? fdopen(fd, "r") : NULL;
    if (!f) {
        if (fd >= 0) close(fd);
        return moa_fail(err, MOA_EIO, "%s: %s", j->path, strerror(errno));
    }
    const int rc = load_lines(j, f, err);
    fclose(f);
    return rc < 0 ? moa_hint(err, rc, "not a journal of moa? Name another file") : 0;
}

int moa_journal_open_with(moa_journal **out, const moa_journal_cfg *cfg, moa_err *err) {
    *out = NULL;
    const char *path = cfg->path;
    moa_journal *j = calloc(1, sizeof *j);
    if (!j) return moa_fail(err, MOA_ENOMEM, "no memory for a journal");
    pthread_mutex_init(&j->lock, NULL);
    j->fd = -1, j->limit = cfg->limit, j->silent = cfg->silent, j->line = cfg->line, j->ctx = cfg->ctx;
    int rc = !path || (j->path = strdup(path)) ? 0 : moa_fail(err, MOA_ENOMEM, "no memory for a journal");
    if (rc >= 0 && path) {
        j->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600); /* what people said */
        if (j->fd < 0) rc = moa_fail(err, MOA_EIO, "%s: %s", path, strerror(errno));
        else if (flock(j->fd, LOCK_EX | LOCK_NB) < 0)
            rc = moa_fail(err, MOA_EIO, "%s: another process writes this journal", path);
        else rc = load(j, err);
    }
    if (rc < 0) {
        moa_journal_close(j);
        return rc;
    }
    *out = j;
    return 0;
}

int moa_journal_open(moa_journal **out, const char *path, moa_err *err) {
    const moa_journal_cfg cfg = {.path = path};
    return moa_journal_open_with(out, &cfg, err);
}

void moa_journal_close(moa_journal *j) {
    if (!j) return;
    table_free(&j->now);
    table_free(&j->old);
    if (j->fd >= 0) close(j->fd);
    pthread_mutex_destroy(&j->lock);
    free(j->path);
    free(j);
}

int moa_journal_failure(moa_journal *j, moa_err *err) {
    pthread_mutex_lock(&j->lock);
    if (j->failure.code && err) *err = j->failure;
    const int rc = j->failure.code;
    pthread_mutex_unlock(&j->lock);
    return rc;
}

void moa_journal_stats(moa_journal *j, int64_t *computed, int64_t *found) {
    pthread_mutex_lock(&j->lock);
    *computed = j->computed;
    *found = j->found;
    pthread_mutex_unlock(&j->lock);
}

static void line_of(moa_buf *b, const record *r, const char *model) {
    moa_buf_addf(b, "{\"key\":\"%016llx%016llx\",\"model\":", (unsigned long long)r->k.a, (unsigned long long)r->k.b);
    moa_json_add_str(b, model, strlen(model));
    moa_buf_addf(b, ",\"prompt_tokens\":%lld,\"completion_tokens\":%lld,\"reused_prefix_tokens\":%lld,\"why\":%d,\"seconds\":%.17g,"
                 "\"share_seconds\":%.17g,\"sum_logprob\":%.17g,\"text\":", (long long)r->prompt, (long long)r->completion,
                 (long long)r->reused, r->why, r->seconds, r->share_s, r->sum_logprob);
    moa_json_add_str(b, r->text, r->len);
    bool valid = true;
    for (size_t i = 0; i < r->len && valid;) {
        uint32_t cp;
        int n = moa_utf8_next(&cp, r->text + i, r->len - i);
        valid = cp != MOA_UTF8_BAD || n == 3;
        i += (size_t)n;
    }
    if (!valid) moa_buf_adds(b, ",\"hex\":\"");
    for (size_t i = 0; !valid && i < r->len; i++) moa_buf_addf(b, "%02x", (unsigned char)r->text[i]);
    moa_buf_adds(b, valid ? "}\n" : "\"}\n");
}

/* All of it, or nothing: half a line in the middle would make the file unreadable. */
static int write_all(moa_journal *j, const char *p, size_t n, moa_err *err) {
    const off_t at = lseek(j->fd, 0, SEEK_END);
    while (n > 0) {
        ssize_t w = write(j->fd, p, n);
        if (w < 0 && errno == EINTR) continue;
        if (w < 0) {
            const int e = errno;
            if (at >= 0) (void)!ftruncate(j->fd, at);
            return moa_fail(err, MOA_EIO, "%s: %s", j->path, strerror(e));
        }
        p += w, n -= (size_t)w;
    }
    return 0;
}

int moa_journal_write(moa_journal *j, const json_t *line, moa_err *err) {
    moa_buf b;
    if (j->fd < 0) return 0;
    moa_buf_init(&b, MAX_LINE);
    int rc = moa_json_add(&b, line);
    if (rc >= 0) rc = moa_buf_adds(&b, "\n");
    if (rc < 0) moa_fail(err, rc, "a line of %s", j->path);
    pthread_mutex_lock(&j->lock);
    if (rc >= 0) rc = write_all(j, moa_buf_str(&b), b.len, err);
    if (rc >= 0) j->failure = (moa_err){0}; /* there is room again: who serves goes on */
    pthread_mutex_unlock(&j->lock);
    moa_buf_deinit(&b);
    return rc;
}

/* ---- the backend ---- */

typedef struct remembering { moa_backend base; moa_journal *j; moa_backend *inner; } remembering;

static void add_bytes(key *k, const void *p, size_t n) {
    k->a = moa_hash64(p, n, k->a);
    k->b = moa_hash64(p, n, k->b);
}

static void add_json(key *k, const json_t *v) {
    char *text = v ? json_dumps(v, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY) : NULL;
    if (text) add_bytes(k, text, strlen(text) + 1);
    free(text);
}

static void add_extra(key *k, const moa_call_extra *x) {
    for (int i = 0; i < x->n_stop; i++) add_bytes(k, x->stop[i], strlen(x->stop[i]) + 1);
    if (x->n_ids) add_bytes(k, x->ids, (size_t)x->n_ids * sizeof *x->ids);
    add_json(k, x->messages);
    add_json(k, x->tools);
    for (int i = 0; i < x->n_bias; i++) add_bytes(k, &x->bias[i].token, sizeof x->bias[i].token), add_bytes(k, &x->bias[i].bias, sizeof x->bias[i].bias);
    if (x->partial) add_bytes(k, "p", 1);
}

static key key_of(const remembering *b, const moa_call *c) {
    /* The struct may have padding: hash named fields, not its bytes. */
    const moa_sampling *s = &c->sampling;
    double num[8] = {(double)s->temperature, s->top_k, (double)s->top_p, (double)s->min_p, (double)s->repeat_penalty, s->repeat_last, c->max_tokens, c->n_msg};
    uint64_t seed = s->temperature > 0 ? s->seed : 0;
    key k = {moa_hash64(num, sizeof num, b->inner->fingerprint), moa_hash64(num, sizeof num, ~b->inner->fingerprint)};
    k.a = moa_hash64(&seed, sizeof seed, k.a);
    k.b = moa_hash64(&seed, sizeof seed, k.b);
    for (int i = 0; i < c->n_msg; i++) { /* with their terminators, so that borders count */
        k.a = moa_hash64(c->msg[i].role, strlen(c->msg[i].role) + 1, k.a);
        k.a = moa_hash64(c->msg[i].content, strlen(c->msg[i].content) + 1, k.a);
        k.b = moa_hash64(c->msg[i].content, strlen(c->msg[i].content) + 1, k.b);
    }
    if (c->grammar) {
        const uint64_t g = moa_grammar_id(c->grammar);
        k.a = moa_hash64(&g, sizeof g, k.a);
        k.b = moa_hash64(&g, sizeof g, k.b);
    }
    const float reply[2] = {s->presence_penalty, s->frequency_penalty};
    if (reply[0] != 0 || reply[1] != 0) add_bytes(&k, reply, sizeof reply);
    if (c->extra) add_extra(&k, c->extra);
    if (c->prefix) add_bytes(&k, c->prefix, strlen(c->prefix) + 1);
    if (c->goes_on) add_bytes(&k, "g", 1);
    if (c->scope) add_bytes(&k, &c->scope, sizeof c->scope);
    if (!(k.a | k.b)) k.a = 1;
    return k;
}

/* What the journal knows of a call; NULL: nothing that holds. A reply that the end of the context cut off, or that a shorter context would
 * have cut, is another reply there. */
static const record *known(const remembering *b, key k) {
    const record *r = lookup(b->j, k);
    if (!r) return NULL;
    const int64_t used = r->prompt + r->completion, room = b->inner->n_ctx;
    return room && (r->why == MOA_STOP_CONTEXT ? used != room : used > room) ? NULL : r;
}

static int write_line(remembering *b, const record *r, moa_err *err) {
    moa_buf line;
    if (b->j->fd < 0 || b->j->silent) return 0;
    moa_buf_init(&line, MAX_LINE);
    line_of(&line, r, b->base.id);
    int rc = line.failed ? moa_fail(err, line.failed, "a line of the journal") : write_all(b->j, moa_buf_str(&line), line.len, err);
    moa_buf_deinit(&line);
    return rc;
}

/* Under the lock. */
static int remember(remembering *b, const moa_call *c, key k, moa_err *err) {
    if (c->rc < 0 || !c->res.text || c->res.why == MOA_STOP_CANCELED) return 0;
    record r = {.k = k, .text = strdup(c->res.text), .len = strlen(c->res.text), .prompt = c->res.n_prompt, .completion = c->res.n_ids,
                .reused = c->res.n_reused, .seconds = c->res.seconds, .share_s = c->share_s, .sum_logprob = c->res.sum_logprob,
                .why = (int)c->res.why};
    if (!r.text) return moa_fail(err, MOA_ENOMEM, "a reply to remember");
    int rc = write_line(b, &r, err);
    b->j->computed++;
    if (rc >= 0) rc = insert(b->j, &r, err);
    if (rc < 0) free(r.text);
    return rc;
}

/* A call that inner works on, and the equal ones that wait for what comes of it. */
struct relay {
    moa_call call;     /* inner's */
    remembering *b;
    moa_call *outer, *wait;
    moa_buf text, thought; /* so far: who comes to wait hears all of it */
    key k;
    relay *prev, *next;
};

/* Fills c with what is known. False: nothing is. Under the lock. */
static bool recall(remembering *b, moa_call *c, key k) {
    const record *r = known(b, k);
    if (!r) return false;
    c->res = (moa_gen_res){.text = strdup(r->text), .text_len = r->len, .n_ids = (int)r->completion, .n_prompt = r->prompt,
                           .n_reused = r->reused, .sum_logprob = r->sum_logprob, .seconds = r->seconds, .why = (moa_stop)r->why};
    c->share_s = r->share_s;
    c->found = true;
    if (!c->res.text) c->rc = moa_fail(&c->err, MOA_ENOMEM, "a remembered reply");
    b->j->found++;
    return true;
}

static void tell(moa_call *c) {
    if (c->rc >= 0 && c->res.text_len) c->on_text(c, c->res.text, c->res.text_len);
    c->on_end(c);
}

/* Who waits hears it under the lock, since it may have come just now; owners of calls copy and return. */
static void on_text(moa_call *inner, const char *text, size_t n) {
    relay *t = (relay *)inner;
    t->outer->on_text(t->outer, text, n);
    pthread_mutex_lock(&t->b->j->lock);
    moa_buf_add(&t->text, text, n);
    for (moa_call *c = t->wait; c; c = c->next) c->on_text(c, text, n);
    pthread_mutex_unlock(&t->b->j->lock);
}

/* Thoughts are heard while they come. They are no part of what is remembered. */
static void on_thought(moa_call *inner, const char *text, size_t n) {
    relay *t = (relay *)inner;
    if (t->outer->on_thought) t->outer->on_thought(t->outer, text, n);
    pthread_mutex_lock(&t->b->j->lock);
    moa_buf_add(&t->thought, text, n);
    for (moa_call *c = t->wait; c; c = c->next)
        if (c->on_thought) c->on_thought(c, text, n);
    pthread_mutex_unlock(&t->b->j->lock);
}

static void unlink_relay(relay *t) {
    if (t->next) t->next->prev = t->prev;
    *(t->prev ? &t->prev->next : &t->b->j->running) = t->next;
}

/* A disk that is full is no reason to go on paying for replies: what runs is canceled. */
static void cancel_running(moa_journal *j) {
    for (relay *t = j->running; t; t = t->next) atomic_store(&t->call.cancel, true);
}

static void on_end(moa_call *inner) {
    relay *t = (relay *)inner;
    remembering *b = t->b;
    moa_journal *j = b->j;
    moa_call *outer = t->outer;
    pthread_mutex_lock(&j->lock);
    moa_call *wait = t->wait; /* nobody joins it any more once it is unlinked */
    unlink_relay(t);
    if (!j->failure.code && remember(b, inner, t->k, &j->failure) < 0) cancel_running(j);
    for (moa_call *c = wait; c; c = c->next)
        if (!recall(b, c, t->k)) c->rc = inner->rc < 0 ? inner->rc : MOA_EIO, c->err = inner->err;
    const moa_err failure = j->failure;
    pthread_mutex_unlock(&j->lock);
    if (failure.code) moa_backend_stir(b->inner);
    outer->res = inner->res, outer->rc = inner->rc, outer->err = inner->err, outer->share_s = inner->share_s;
    if (failure.code && outer->rc >= 0) outer->rc = failure.code, outer->err = failure;
    moa_buf_deinit(&t->text);
    moa_buf_deinit(&t->thought);
    free(t);
    outer->on_end(outer);
    for (moa_call *c = wait, *next; c; c = next) { /* they have heard all of it */
        next = c->next;
        c->on_end(c);
    }
}

static relay *running(remembering *b, const moa_call *c, key k) {
    for (relay *t = b->j->running; t; t = t->next)
        if (t->b == b && t->k.a == k.a && t->k.b == k.b && !c->log && !t->call.log && !atomic_load(&t->call.cancel)) return t;
    return NULL;
}

static relay *relay_new(remembering *b, moa_call *c, key k) {
    relay *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->call = moa_call_again(c);
    t->call.on_text = on_text, t->call.on_thought = on_thought, t->call.on_end = on_end;
    t->b = b, t->outer = c, t->k = k;
    moa_buf_init(&t->text, 1 << 28);
    moa_buf_init(&t->thought, 1 << 28);
    t->next = b->j->running;
    if (t->next) t->next->prev = t;
    b->j->running = t;
    return t;
}

/* What becomes of one call: it is known (true), it waits for an equal one, or it is asked. */
static bool take(remembering *b, moa_call *c, moa_call **ask, int *n_ask) {
    const key k = key_of(b, c);
    if (b->j->failure.code) {
        c->rc = b->j->failure.code, c->err = b->j->failure;
        return true;
    }
    if (!c->log && recall(b, c, k)) return true; /* it knows no probabilities of tokens */
    relay *t = running(b, c, k);
    if (t) {
        if (t->thought.len && c->on_thought) c->on_thought(c, moa_buf_str(&t->thought), t->thought.len);
        if (t->text.len) c->on_text(c, moa_buf_str(&t->text), t->text.len);
        c->next = t->wait;
        t->wait = c;
        return false;
    }
    if (!(t = relay_new(b, c, k))) {
        c->rc = moa_fail(&c->err, MOA_ENOMEM, "a call through a journal");
        return true;
    }
    ask[(*n_ask)++] = &t->call;
    return false;
}

static void start(moa_backend *base, moa_call *const *call, int n) {
    remembering *b = (remembering *)base;
    moa_call **ask = malloc(((size_t)n + 1) * sizeof(moa_call *)), *first = NULL, **last = &first;
    int m = 0;
    moa_err err;
    if (!ask) {
        moa_fail(&err, MOA_ENOMEM, "%d calls through a journal", n);
        for (int i = 0; i < n; i++) moa_call_fail(call[i], &err);
        return;
    }
    pthread_mutex_lock(&b->j->lock);
    for (int i = 0; i < n; i++) {
        if (!take(b, call[i], ask, &m)) continue;
        *last = call[i];
        last = &call[i]->next;
        *last = NULL;
    }
    pthread_mutex_unlock(&b->j->lock);
    for (moa_call *c = first, *next; c; c = next) {
        next = c->next;
        tell(c);
    }
    if (m) b->inner->ops->start(b->inner, ask, m);
    free(ask);
}

/* Who waits for another's call leaves at once. The call itself goes on as long as somebody wants it. */
static void stir(moa_backend *base) {
    remembering *b = (remembering *)base;
    moa_call *left = NULL;
    pthread_mutex_lock(&b->j->lock);
    for (relay *t = b->j->running; t; t = t->next) {
        if (t->b != b) continue;
        for (moa_call **at = &t->wait; *at;) {
            moa_call *c = *at;
            if (!atomic_load(&c->cancel)) {
                at = &c->next;
                continue;
            }
            *at = c->next;
            c->next = left;
            left = c;
        }
        if (!t->wait && atomic_load(&t->outer->cancel)) atomic_store(&t->call.cancel, true);
    }
    pthread_mutex_unlock(&b->j->lock);
    for (moa_call *c = left, *next; c; c = next) {
        moa_err err;
        next = c->next;
        moa_fail(&err, MOA_ECANCELED, "canceled");
        moa_call_fail(c, &err);
    }
    moa_backend_stir(b->inner);
}

static int64_t measure(moa_backend *base, const moa_message *msg, int n_msg, const moa_call_extra *x, moa_err *err) {
    moa_backend *inner = ((remembering *)base)->inner;
    return inner->ops->measure(inner, msg, n_msg, x, err);
}

static void close_it(moa_backend *b) { free(b); }

#define OPS .name = "journal", .help = "another backend, with finished calls remembered", .start = start, .stir = stir, .close = close_it
const moa_backend_ops moa_backend_ops_journal = {OPS, .measure = measure};
static const moa_backend_ops unmeasured = {OPS};

int moa_backend_journal_open(moa_backend **out, moa_journal *j, moa_backend *inner, moa_err *err) {
    remembering *b = calloc(1, sizeof *b);
    if (!b) return moa_fail(err, MOA_ENOMEM, "a journal's backend");
    *b = (remembering){.base = *inner, .j = j, .inner = inner};
    b->base.inner = inner;
    b->base.ops = inner->ops->measure ? &moa_backend_ops_journal : &unmeasured;
    *out = &b->base;
    return 0;
}
