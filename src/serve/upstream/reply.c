/* reply.c - see reply.h. SPDX-License-Identifier: Apache-2.0 */
#include "serve/upstream/reply.h"

#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char think_open[] = "<think>", think_close[] = "</think>";
enum { OPEN_LEN = sizeof think_open - 1, CLOSE_LEN = sizeof think_close - 1, CALL_MAX = 1 << 20 };

void moa_reply_init(moa_reply *r, const char *id) {
    *r = (moa_reply){.id = id};
    moa_buf_init(&r->line, MOA_REPLY_LINE_MAX);
    moa_buf_init(&r->text, MOA_REPLY_TEXT_MAX);
    moa_buf_init(&r->held, MOA_REPLY_TEXT_MAX);
    moa_buf_init(&r->thought, MOA_REPLY_TEXT_MAX);
}

void moa_reply_want_probs(moa_reply *r) {
    if (!r->probs) r->probs = json_array();
}

static void free_calls(moa_reply *r) {
    for (int i = 0; i < r->n_call; i++) {
        moa_buf_deinit(&r->call[i].name);
        moa_buf_deinit(&r->call[i].arguments);
    }
    free(r->call);
    r->call = NULL, r->n_call = 0;
}

void moa_reply_deinit(moa_reply *r) {
    free_calls(r);
    moa_buf_deinit(&r->line);
    moa_buf_deinit(&r->text);
    moa_buf_deinit(&r->held);
    moa_buf_deinit(&r->thought);
    json_decref(r->probs);
}

static int too_long(moa_reply *r, int rc, const char *what, size_t max) {
    return moa_fail(&r->err, rc, "%s: %s of the reply is longer than %zu MiB", r->id, what, max >> 20);
}

/* ---- text, without what the model thought first ---- */

static size_t blank(const char *s, size_t n) {
    size_t i = 0;
    while (i < n && (s[i] == ' ' || s[i] == '\t' || s[i] == '\r' || s[i] == '\n')) i++;
    return i;
}

static int add_answer(moa_reply *r, const char *s, size_t n) {
    const int rc = moa_buf_add(&r->text, s, n);
    return rc < 0 ? too_long(r, rc, "the text", MOA_REPLY_TEXT_MAX) : 0;
}

/* Thoughts are no part of the reply: where there is no room for more of them, it goes on without. */
static void add_thought(moa_reply *r, const char *s, size_t n) { moa_buf_add(&r->thought, s, n); }

static void drop_held(moa_reply *r, size_t n) {
    memmove(r->held.data, r->held.data + n, r->held.len - n);
    r->held.len -= n;
    r->held.data[r->held.len] = 0;
}

/* Of n bytes of s, those up to the last border between characters. */
static size_t whole_chars(const char *s, size_t n) {
    while (n && ((unsigned char)s[n] & 0xc0) == 0x80) n--;
    return n;
}

static void think_held(moa_reply *r, size_t n, size_t mark) {
    add_thought(r, r->held.data, n);
    drop_held(r, n + mark);
}

static int add_text(moa_reply *r, const char *s, size_t n) {
    if (r->part == MOA_REPLY_ANSWERS) return add_answer(r, s, n);
    const int rc = moa_buf_add(&r->held, s, n);
    if (rc < 0) return too_long(r, rc, "the text", MOA_REPLY_TEXT_MAX);
    if (r->part == MOA_REPLY_BEGINS && r->held.len) {
        const size_t at = blank(r->held.data, r->held.len), left = r->held.len - at;
        if (memcmp(r->held.data + at, think_open, left < OPEN_LEN ? left : OPEN_LEN)) r->part = MOA_REPLY_ANSWERS;
        else if (left >= OPEN_LEN) drop_held(r, at + OPEN_LEN), r->part = MOA_REPLY_THINKS;
    }
    if (r->part == MOA_REPLY_THINKS && r->held.len) {
        char *end = strstr(r->held.data, think_close);
        if (end) think_held(r, (size_t)(end - r->held.data), CLOSE_LEN), r->part = MOA_REPLY_THOUGHT;
        else if (r->held.len >= CLOSE_LEN) think_held(r, whole_chars(r->held.data, r->held.len - CLOSE_LEN + 1), 0); /* its end may hold the beginning of the mark */
    }
    if (r->part == MOA_REPLY_THOUGHT && r->held.len) {
        drop_held(r, blank(r->held.data, r->held.len));
        if (r->held.len) r->part = MOA_REPLY_ANSWERS;
    }
    if (r->part != MOA_REPLY_ANSWERS) return 0;
    const int added = add_answer(r, moa_buf_str(&r->held), r->held.len);
    moa_buf_clear(&r->held);
    return added;
}

/* ---- calls of tools ---- */

static moa_reply_call *call_at(moa_reply *r, json_int_t i) {
    if (i < 0 || i >= MOA_REPLY_CALLS_MAX) return NULL;
    if (i >= r->n_call) {
        moa_reply_call *v = realloc(r->call, (size_t)(i + 1) * sizeof *v);
        if (!v) return NULL;
        for (r->call = v; r->n_call <= i; r->n_call++) {
            moa_buf_init(&v[r->n_call].name, 1024);
            moa_buf_init(&v[r->n_call].arguments, CALL_MAX);
        }
    }
    return &r->call[i];
}

/* In a stream a call comes in pieces with its index; in a whole reply the place in the list is the index. */
static int read_calls(moa_reply *r, const json_t *list) {
    const json_t *c;
    size_t i;
    json_array_foreach(list, i, c) {
        const json_t *index = json_object_get(c, "index"), *f = json_object_get(c, "function"), *name = json_object_get(f, "name"), *args = json_object_get(f, "arguments");
        moa_reply_call *to = call_at(r, json_is_integer(index) ? json_integer_value(index) : (json_int_t)i);
        if (!to) return moa_fail(&r->err, MOA_ELIMIT, "%s: the reply has more than %d calls of tools", r->id, MOA_REPLY_CALLS_MAX);
        r->spoke = true;
        if (json_is_string(name)) moa_buf_add(&to->name, json_string_value(name), json_string_length(name));
        if (json_is_string(args)) moa_buf_add(&to->arguments, json_string_value(args), json_string_length(args));
        else if (json_is_object(args)) moa_json_add(&to->arguments, args);
        if (to->name.failed || to->arguments.failed) return too_long(r, MOA_ELIMIT, "a call of a tool", CALL_MAX);
    }
    return 0;
}

/* Arguments that are no JSON object are passed on as the text that they are. */
static int write_calls(moa_reply *r) {
    for (int i = 0; i < r->n_call; i++) {
        const moa_reply_call *c = &r->call[i];
        json_t *args = json_loadb(moa_buf_str(&c->arguments), c->arguments.len, JSON_REJECT_DUPLICATES, NULL);
        if (!c->name.len) {
            json_decref(args);
            continue; /* an index that was left out */
        }
        moa_buf_adds(&r->text, r->text.len ? "\n<tool_call>{\"name\":" : "<tool_call>{\"name\":");
        moa_json_add_str(&r->text, moa_buf_str(&c->name), c->name.len);
        moa_buf_adds(&r->text, ",\"arguments\":");
        if (json_is_object(args)) moa_json_add(&r->text, args);
        else if (c->arguments.len) moa_json_add_str(&r->text, moa_buf_str(&c->arguments), c->arguments.len);
        else moa_buf_adds(&r->text, "{}");
        moa_buf_adds(&r->text, "}</tool_call>");
        json_decref(args);
    }
    return r->text.failed ? too_long(r, r->text.failed, "the text", MOA_REPLY_TEXT_MAX) : 0;
}

/* ---- objects ---- */

static int64_t count_in(const json_t *v, const char *key) {
    const json_int_t n = json_integer_value(json_object_get(v, key));
    return n < 0 || n > INT32_MAX ? 0 : n;
}

static void read_usage(moa_reply *r, const json_t *u) {
    if (!json_is_object(u)) return;
    r->prompt_tokens = count_in(u, "prompt_tokens");
    r->completion_tokens = count_in(u, "completion_tokens");
    r->cached_tokens = count_in(json_object_get(u, "prompt_tokens_details"), "cached_tokens");
    if (r->cached_tokens > r->prompt_tokens) r->cached_tokens = r->prompt_tokens;
    r->thought_tokens = count_in(json_object_get(u, "completion_tokens_details"), "reasoning_tokens");
    if (r->thought_tokens > r->completion_tokens) r->thought_tokens = r->completion_tokens;
}

static const char *message_of(const json_t *v) {
    const json_t *e = json_object_get(v, "error"), *m = json_is_object(e) ? json_object_get(e, "message") : e;
    if (!json_is_string(m)) m = json_object_get(v, "message");
    if (!json_is_string(m)) m = json_object_get(v, "detail");
    return json_string_value(m);
}

/* The same thoughts under one of two names, or under both. */
static const json_t *reasoning_of(const json_t *delta) {
    const json_t *a = json_object_get(delta, "reasoning_content"), *b = json_object_get(delta, "reasoning");
    return json_string_length(a) > 0 ? a : json_string_length(b) > 0 ? b : NULL;
}

/* Rows of tokens behind those that wait. Where not all of the tokens became text (others were thoughts, which come first), those at the end that
 * make `bytes` bytes are the text's. */
static void add_probs(moa_reply *r, const json_t *rows, bool mixed, size_t bytes) {
    const json_t *row;
    size_t i, first;
    if (!r->probs) return;
    json_array_foreach(rows, i, row) json_array_append(r->probs, (json_t *)(uintptr_t)row);
    if (!mixed) return;
    if (r->part == MOA_REPLY_BEGINS) bytes = r->held.len;
    for (first = json_array_size(r->probs); first > 0 && bytes > 0; first--) {
        const size_t n = json_string_length(json_object_get(json_array_get(r->probs, first - 1), "token"));
        if (n > bytes) break;
        bytes -= n;
    }
    json_t *own = json_array();
    for (i = first; i < json_array_size(r->probs); i++) json_array_append(own, json_array_get(r->probs, i));
    json_decref(r->probs);
    r->probs = own;
}

/* A piece of a stream (choices[0].delta) or a whole reply (choices[0].message). */
static int read_object(moa_reply *r, const json_t *v) {
    const json_t *e = json_object_get(v, "error");
    if (!json_is_object(v)) return moa_fail(&r->err, MOA_EFORMAT, "%s: the reply is JSON, but no object", r->id);
    if (e && !json_is_null(e)) return moa_fail(&r->err, MOA_EIO, "%s: %.300s", r->id, message_of(v) ? message_of(v) : "an error without words");
    const json_t *choice = json_array_get(json_object_get(v, "choices"), 0), *d = json_object_get(choice, "delta");
    if (!json_is_object(d)) d = json_object_get(choice, "message");
    const json_t *content = json_object_get(d, "content"), *refusal = json_object_get(d, "refusal");
    const char *end = json_string_value(json_object_get(choice, "finish_reason"));
    if (!json_string_length(content) && json_is_string(refusal)) content = refusal;
    const json_t *thought = reasoning_of(d);
    const size_t n = json_string_length(content), had = r->text.len + r->held.len, shown = r->text.len;
    if (n || thought) r->spoke = true, r->events++;
    if (thought) add_thought(r, json_string_value(thought), json_string_length(thought));
    if (json_is_string(content)) MOA_TRY(add_text(r, json_string_value(content), n));
    add_probs(r, json_object_get(json_object_get(choice, "logprobs"), "content"), thought || had + n != r->text.len + r->held.len, r->text.len - shown);
    MOA_TRY(read_calls(r, json_object_get(d, "tool_calls")));
    if (end) r->ended = true, r->cut = !strcmp(end, "length");
    read_usage(r, json_object_get(v, "usage"));
    return 0;
}

static int read_json(moa_reply *r, const char *s, size_t n, size_t max) {
    json_t *v;
    MOA_TRY(moa_json_parse(&v, s, n, max, r->id, &r->err));
    const int rc = read_object(r, v);
    json_decref(v);
    return rc;
}

/* One line of an event stream; comments, names of events and empty lines say nothing. */
static int read_line(moa_reply *r, const char *s, size_t n) {
    while (n && (s[n - 1] == '\r' || s[n - 1] == ' ')) n--;
    if (n < 5 || memcmp(s, "data:", 5)) return 0;
    const size_t at = 5 + blank(s + 5, n - 5);
    if (at == n) return 0;
    if (n - at == 6 && !memcmp(s + at, "[DONE]", 6)) return r->ended = r->over = true, 0;
    return read_json(r, s + at, n - at, MOA_REPLY_LINE_MAX);
}

int moa_reply_feed(moa_reply *r, const char *p, size_t n) {
    while (n && !r->err.code) {
        const char *end = memchr(p, '\n', n);
        const size_t k = end ? (size_t)(end - p) : n;
        if (end && !r->line.len) { /* mostly lines come whole */
            read_line(r, p, k);
        } else if (moa_buf_add(&r->line, p, k) < 0) {
            return too_long(r, MOA_ELIMIT, "a line", MOA_REPLY_LINE_MAX);
        } else if (end) {
            read_line(r, moa_buf_str(&r->line), r->line.len);
            moa_buf_clear(&r->line);
        }
        p += k + (end != NULL), n -= k + (end != NULL);
    }
    return r->err.code;
}

int moa_reply_body(moa_reply *r, const char *p, size_t n) {
    r->line.max = MOA_REPLY_TEXT_MAX;
    return moa_buf_add(&r->line, p, n) < 0 ? too_long(r, MOA_ELIMIT, "the body", MOA_REPLY_TEXT_MAX) : 0;
}

int moa_reply_end(moa_reply *r, bool streamed) {
    if (r->err.code) return r->err.code;
    if (streamed && r->line.len) read_line(r, moa_buf_str(&r->line), r->line.len);
    else if (!streamed) read_json(r, moa_buf_str(&r->line), r->line.len, MOA_REPLY_TEXT_MAX), r->ended |= r->n_call || r->text.len || r->held.len;
    if (r->err.code) return r->err.code;
    if (!r->ended) return moa_fail(&r->err, MOA_EIO, streamed ? "%s: the stream ended before its end" : "%s: the reply has no choice", r->id);
    if (r->part == MOA_REPLY_BEGINS) MOA_TRY(add_answer(r, moa_buf_str(&r->held), r->held.len));
    if (r->part == MOA_REPLY_THINKS) add_thought(r, moa_buf_str(&r->held), r->held.len);
    return write_calls(r);
}

void moa_reply_reason(const moa_reply *r, char *out, size_t n) {
    json_t *v = json_loadb(moa_buf_str(&r->line), r->line.len, 0, NULL), *first = json_is_array(v) ? json_array_get(v, 0) : v;
    const char *why = message_of(first);
    if (!why) why = r->line.len ? moa_buf_str(&r->line) : "no words";
    snprintf(out, n, "%.300s", why);
    for (char *c = out; *c; c++)
        if (*c == '\n' || *c == '\r') *c = ' ';
    json_decref(v);
}
