/* stair.c - see stair.h. SPDX-License-Identifier: Apache-2.0 */
#include "agent/stair.h"

#include "agent/strategy.h"
#include "base/rng.h"
#include "base/utf8.h"

#include <string.h>

enum {
    BYTES = 4,         /* of a token, about */
    MOST_STEPS = 64,
    MAX_TEXT = 1 << 28,
    SLACK = 8,         /* tokens by which a text read again may be longer than it was written */
};

int moa_stair_check(const moa_mix_cfg *c, moa_err *err) {
    if (!c->staircase) return 0;
    const char *with = c->screen != MOA_SCREEN_NONE ? "screen" : c->most_of_one ? "most-of-one" : c->duplicates != MOA_DUPLICATES_KEEP ? "duplicates" : c->checker ? "checker" : NULL;
    if (!with && c->fit != MOA_FIT_WINDOW) return 0;
    const int rc = with ? moa_fail(err, MOA_EUSAGE, "mix %s: staircase and %s exclude each other: one reads proposals while they are written, the other chooses among whole ones", c->name, with)
                        : moa_fail(err, MOA_EUSAGE, "mix %s: staircase and fit=window exclude each other: one goes on from a reply, the other writes it anew for each window", c->name);
    return moa_hint(err, rc, "leave out one of the two");
}

const char *moa_stair_off(const moa_mix_cfg *c, const moa_backend *b) {
    if (!b->goes_on) return "its model cannot go on from the beginning of a reply";
    if (c->aggregate_grammar) return "a grammar is followed from the first byte to the last";
    if (c->aggregate_acts) return "it may call tools";
    if (c->aggregate_extra && c->aggregate_extra->logprobs) return "probabilities are told of one call";
    return NULL;
}

moa_stair *moa_stair_new(moa_arena *a, const moa_mix_cfg *c) {
    moa_stair *s = moa_arena_calloc(a, sizeof *s);
    if (!s) return NULL;
    s->waits_for = (int64_t)BYTES * c->staircase;
    moa_buf_init(&s->said, MAX_TEXT);
    moa_buf_init(&s->raw, MAX_TEXT);
    return s;
}

void moa_stair_deinit(moa_stair *s) {
    if (!s) return;
    moa_buf_deinit(&s->said);
    moa_buf_deinit(&s->raw);
}

/* ---- parts of proposals ---- */

const char *moa_stair_heard(const moa_agent_node *from) {
    if (from->state == MOA_NODE_DONE && !(from->replaced && from->heard)) return moa_node_reply(from);
    const char *s = from->heard ? moa_buf_str(from->heard) : "";
    return from->backend && from->n_in ? s + moa_aggregate_preface(s, strlen(s)) : s;
}

/* Bytes of s that lie within its first `most` as JSON spells them (a byte that is no text has three there): whole characters. */
static size_t within(const char *s, int64_t most) {
    const size_t n = strlen(s);
    size_t at = 0;
    while (at < n) {
        uint32_t cp;
        const int k = moa_utf8_next(&cp, s + at, n - at);
        most -= cp == MOA_UTF8_BAD ? 3 : k;
        if (most < 0) break;
        at += (size_t)k;
    }
    return at;
}

static bool longer(const char *s, int64_t most) {
    return s[within(s, most)] != 0;
}

/* The part that a step reads which waits for `most` bytes: to the last blank in them, so that no word or number is half; all where there is no more. */
static size_t part_of(const char *s, int64_t most) {
    const size_t all = within(s, most);
    size_t at = all;
    if (!s[all]) return all;
    while (at && !strchr(" \t\r\n", s[at])) at--;
    return at ? at : all;
}

static int64_t spelled(const char *s, size_t n) {
    int64_t sum = 0;
    for (size_t at = 0; at < n;) {
        uint32_t cp;
        const int k = moa_utf8_next(&cp, s + at, n - at);
        at += (size_t)k, sum += cp == MOA_UTF8_BAD ? 3 : k;
    }
    return sum;
}

/* ---- what comes next ---- */

static const json_t *steps_then(const moa_run *r, const moa_agent_node *n) {
    const int i = (int)(n - r->node);
    return r->then && i < r->n_then ? r->then[i].steps : NULL;
}

int moa_stair_n_then(const moa_run *r, const moa_agent_node *n) {
    const int i = (int)(n - r->node);
    return r->then && i < r->n_then ? (int)json_array_size(r->then[i].steps) : -1;
}

static int64_t read_then(const json_t *step, int k) { return json_integer_value(json_array_get(json_object_get(step, "read"), (size_t)k)); }

/* Is all there that the step had read then? */
static bool there_as_then(const moa_run *r, const moa_agent_node *n, const json_t *step) {
    for (int k = 0; k < n->n_in; k++) {
        const moa_agent_node *from = &r->node[n->in[k]];
        const int64_t had = read_then(step, k);
        if ((from->state < MOA_NODE_DONE || from->call) && had > 0 && !longer(moa_stair_heard(from), had - 1)) return false;
    }
    return true;
}

/* Tokens that parts may be read for: the rest is the last step's, whose prompt leaves a quarter of the context to the reply (compose.c). */
static int64_t tokens_on_parts(const moa_agent_node *n) {
    const int64_t ctx = n->backend->n_ctx > 0 ? n->backend->n_ctx / 4 - SLACK : INT32_MAX;
    return ctx < n->max_tokens ? ctx : n->max_tokens;
}

moa_stair_next moa_stair_look(const moa_run *r, const moa_agent_node *n) {
    const moa_stair *s = n->stair;
    const int n_then = moa_stair_n_then(r, n), need = n->need ? n->need : 1;
    if (n_then >= 0) {
        const json_t *step = json_array_get(steps_then(r, n), (size_t)s->n_step);
        if (!step || json_is_true(json_object_get(step, "last"))) return MOA_STAIR_LAST;
        return there_as_then(r, n, step) ? MOA_STAIR_PART : MOA_STAIR_WAITS;
    }
    bool more = false;
    int have = 0;
    if (s->ended || s->n_step >= MOST_STEPS || s->written >= tokens_on_parts(n)) return MOA_STAIR_LAST;
    for (int k = 0; k < n->n_in; k++) {
        const moa_agent_node *from = &r->node[n->in[k]];
        if (from->state == MOA_NODE_FAILED) continue;
        const bool enough = longer(moa_stair_heard(from), s->waits_for);
        if (!enough && from->state != MOA_NODE_DONE) return MOA_STAIR_WAITS;
        more = more || enough;
        have++;
    }
    return more && have >= need ? MOA_STAIR_PART : MOA_STAIR_LAST;
}

/* ---- a step ---- */

/* What proposal k is to this step: its text as it is read, copied; NULL: left out, or no memory. */
static const char *reference(moa_run *r, moa_agent_node *n, moa_step *t, int k, bool *lost) {
    const moa_agent_node *from = &r->node[n->in[k]];
    const json_t *then = json_array_get(steps_then(r, n), (size_t)n->stair->n_step);
    t->read[k] = -1;
    if (then && !t->last ? read_then(then, k) < 0 : from->state == MOA_NODE_FAILED || (t->last && from->state != MOA_NODE_DONE)) return NULL;
    const char *s = t->last ? moa_node_reply(from) : moa_stair_heard(from);
    const size_t all = t->last ? strlen(s) : then ? within(s, read_then(then, k)) : part_of(s, n->stair->waits_for);
    t->read[k] = spelled(s, all);
    moa_agent_node part = *from;
    part.text = moa_arena_strndup(r->arena, s, all);
    part.text_len = all;
    part.n_in = 0; /* moa_stair_heard has taken its line off */
    *lost = *lost || !part.text;
    return part.text ? moa_reply_as_read(r, n, &part) : NULL;
}

/* The reply so far. */
static int set_prefix(moa_run *r, moa_agent_node *n, moa_step *t, const char *const *ref, int n_ref, moa_err *err) {
    const moa_stair *s = n->stair;
    moa_buf b;
    if (!s->n_step) return 0;
    moa_buf_init(&b, MAX_TEXT);
    if (s->lists) moa_replies_say(&b, ref, n_ref);
    moa_buf_add(&b, moa_buf_str(&s->said), s->said.len);
    t->prefix = b.failed ? NULL : moa_arena_strndup(r->arena, moa_buf_str(&b), b.len);
    moa_buf_deinit(&b);
    return t->prefix ? 0 : moa_fail(err, MOA_ENOMEM, "the reply of %s so far", n->name);
}

int moa_stair_compose(moa_run *r, moa_agent_node *n, bool last, moa_err *err) {
    moa_stair *s = n->stair;
    const size_t room = (size_t)n->n_in + 1;
    const char *note = n->note, **ref = moa_arena_alloc(r->arena, room * sizeof *ref);
    moa_step *t = moa_arena_calloc(r->arena, sizeof *t);
    bool lost = false;
    int n_ref = 0;
    if (t) t->read = moa_arena_calloc(r->arena, room * sizeof *t->read);
    if (!ref || !t || !t->read) return moa_fail(err, MOA_ENOMEM, "a step of %s", n->name);
    t->last = last;
    for (int k = 0; k < n->n_in; k++) {
        const char *text = reference(r, n, t, k, &lost);
        if (text) ref[n_ref++] = text;
    }
    if (lost) return moa_fail(err, MOA_ENOMEM, "a step of %s", n->name);
    MOA_TRY(set_prefix(r, n, t, ref, n_ref, err));
    n->note = note;
    if (last) MOA_TRY(n->compose(r, n, err));
    else MOA_TRY(moa_compose_references(r, n, ref, n_ref, err));
    if (!last) n->note = note; /* what is said of parts is said again of the whole */
    t->msg = n->msg, t->n_msg = n->n_msg;
    const uint64_t key[2] = {n->sampling.seed, (uint64_t)s->n_step};
    t->seed = s->n_step ? moa_hash64(key, sizeof key, 0) : n->sampling.seed;
    s->now = t;
    return 0;
}

void moa_stair_begin(moa_call *c, moa_agent_node *n, double now) {
    moa_stair *s = n->stair;
    moa_step *t = s->now;
    const int left = n->max_tokens - s->written;
    const bool even = n->even_steps || !s->n_step;
    const int64_t add = even ? n->staircase : s->waits_for / BYTES / 2;
    t->max_tokens = t->last || add > left ? left : (int)add;
    t->started = now;
    c->prefix = t->prefix;
    c->sampling.seed = t->seed;
    c->max_tokens = t->max_tokens;
    c->goes_on = !t->last;
    if (s->note) n->note = s->note;
    *(s->last ? &s->last->next : &s->first) = t;
    s->last = t;
    s->n_step++;
    if (s->waits_for < MAX_TEXT) s->waits_for += n->even_steps ? (int64_t)BYTES * n->staircase : s->waits_for;
    s->queued = false;
    s->shown = s->said.len;
    moa_buf_clear(&s->raw);
}

/* Bytes of what a call says that are no part of the reply; all of it where that is not clear yet. */
static size_t line_of(const moa_stair *s, const char *raw, size_t n, bool ended) {
    static const char mark[] = MOA_REPLIES_SAY;
    const size_t len = sizeof mark - 1;
    if (s->said.len || s->lists) return 0; /* it goes on from the reply */
    if (n < len) return !ended && memcmp(raw, mark, n) == 0 ? n : 0;
    return moa_aggregate_preface(raw, n);
}

static size_t to_show(const char **text, moa_stair *s, bool ended) {
    const char *raw = moa_buf_str(&s->raw);
    const size_t skip = line_of(s, raw, s->raw.len, ended), done = skip + (s->shown - s->said.len);
    if (done >= s->raw.len) return 0;
    *text = raw + done;
    s->shown += s->raw.len - done;
    return s->raw.len - done;
}

size_t moa_stair_hear(const char **text, moa_stair *s, const char *more, size_t n) {
    if (s->over || moa_buf_add(&s->raw, more, n) < 0) return 0; /* without memory: shown when it ends */
    return to_show(text, s, false);
}

size_t moa_stair_end_step(const char **text, moa_run *r, moa_agent_node *n, const moa_call *c, double now) {
    moa_stair *s = n->stair;
    moa_step *t = s->last;
    const char *all = c->res.text ? c->res.text : "";
    t->text = moa_arena_strndup(r->arena, all, strlen(all));
    if (!t->text) t->text = "";
    t->prompt_tokens = c->res.n_prompt, t->completion_tokens = c->res.n_ids, t->reused_tokens = c->res.n_reused;
    t->seconds = c->res.seconds, t->first_s = c->res.first_s, t->ended = now, t->sum_logprob = c->res.sum_logprob;
    t->why = c->res.why;
    s->written += c->res.n_ids;
    moa_buf_clear(&s->raw);
    moa_buf_adds(&s->raw, t->text);
    const size_t k = to_show(text, s, true), skip = line_of(s, moa_buf_str(&s->raw), s->raw.len, true);
    s->lists = s->lists || skip;
    moa_buf_add(&s->said, moa_buf_str(&s->raw) + skip, s->raw.len - skip);
    s->shown = s->said.len;
    return k;
}

int moa_stair_join(moa_run *r, moa_agent_node *n) {
    const moa_stair *s = n->stair;
    const char *line = s->last && s->lists ? s->last->prefix ? s->last->prefix : s->last->text : "";
    const size_t skip = moa_aggregate_preface(line, strlen(line));
    moa_buf b;
    moa_buf_init(&b, MAX_TEXT);
    moa_buf_add(&b, line, skip);
    moa_buf_add(&b, moa_buf_str(&s->said), s->said.len);
    n->text = b.failed || s->said.failed ? NULL : moa_arena_strndup(r->arena, moa_buf_str(&b), b.len);
    n->text_len = n->text ? strlen(n->text) : 0;
    moa_buf_deinit(&b);
    return n->text ? 0 : MOA_ENOMEM;
}
