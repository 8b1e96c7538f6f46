/* replay.c - see replay.h.
 *
 * A call is found again by its seed and the bytes of its messages. Calls that started together end in the order in which they ended then; one that
 * was cut off ends when it is canceled, as then. SPDX-License-Identifier: Apache-2.0 */
#include "agent/replay.h"

#include "agent/trace.h"
#include "base/clock.h"
#include "base/json.h"
#include "format/grammar.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_MESSAGES = 4096, MAX_NODES = 1 << 16, MAX_ACTORS = 32, MAX_TOKENS = 1 << 30, PATIENCE_S = 2 };

typedef struct rehearsal rehearsal;
typedef struct cue { moa_call *call; int line; double at; } cue; /* a call, and what it will say */
typedef struct line { const json_t *v; int node; bool used; } line; /* a call of the trace: a node, or a step of one */
typedef struct actor { moa_backend base; rehearsal *all; } actor;
struct rehearsal {
    const json_t *trace, *nodes, *measured;
    json_t *recalled;      /* what the store said */
    const char *where;
    actor actor[MAX_ACTORS]; int n_actor;
    moa_backend *proposer[MAX_ACTORS];
    moa_mix_cfg cfg;
    moa_grammar *any;
    moa_message *msg; int n_msg;
    double heard;          /* when something happened last */
    line *said; int n_said;
    moa_call_extra told;   /* what the aggregator's calls had */
    moa_then *then;        /* [nodes] */
    cue *late; int n_late; /* that end when they are canceled */
};

/* ---- what was said ---- */

static bool same_messages(const json_t *list, const moa_call *c) {
    const json_t *m;
    size_t i;
    if (json_array_size(list) != (size_t)c->n_msg) return false;
    json_array_foreach(list, i, m) {
        const json_t *text = json_object_get(m, "content");
        const char *role = json_string_value(json_object_get(m, "role"));
        json_t *own = moa_json_str(c->msg[i].content, strlen(c->msg[i].content)); /* as the trace spells it */
        const bool same = role && !strcmp(role, c->msg[i].role) && json_equal(text, own);
        json_decref(own);
        if (!same) return false;
    }
    return true;
}

static bool same_prefix(const json_t *had, const char *prefix) {
    if (!had || !prefix) return !had && !prefix;
    json_t *own = moa_json_str(prefix, strlen(prefix));
    const bool same = json_equal(had, own);
    json_decref(own);
    return same;
}

/* The line that this call is; -1: none asked the like. near: one with its seed, which read something else. */
static int line_of(const rehearsal *h, const moa_call *c, int *near) {
    char seed[24];
    *near = -1;
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)c->sampling.seed);
    for (int i = 0; i < h->n_said; i++) {
        const line *l = &h->said[i];
        const char *had = json_string_value(json_object_get(l->v, "seed"));
        if (l->used || !had || strcmp(had, seed)) continue;
        *near = l->node;
        if (same_prefix(json_object_get(l->v, "prefix"), c->prefix) && same_messages(json_object_get(l->v, "messages"), c)) return i;
    }
    return -1;
}

static json_int_t whole(const json_t *n, const char *key) { return json_integer_value(json_object_get(n, key)); }
/* Numbers of tokens are added up: no more than what the sum of all nodes can hold. */
static int64_t tokens_in(const json_t *v, int64_t most) {
    const json_int_t n = json_integer_value(v);
    return n < 0 ? 0 : n > most ? most : n;
}

/* What one that did not end well had said, for those that read it while it was at work. */
static void say_heard(const rehearsal *h, moa_call *c, int at) {
    const json_t *text = json_object_get(h->said[at].v, "heard");
    if (json_string_length(text)) c->on_text(c, json_string_value(text), json_string_length(text));
}

static void say(const rehearsal *h, moa_call *c, int at) {
    const json_t *n = h->said[at].v, *said = json_object_get(n, "said"), *error = json_object_get(n, "error");
    const json_t *text = said ? said : json_object_get(n, "text");
    const json_int_t why = whole(n, "why");
    c->res = (moa_gen_res){.n_prompt = tokens_in(json_object_get(n, "prompt_tokens"), MAX_TOKENS), .n_ids = (int)tokens_in(json_object_get(n, "completion_tokens"), MAX_TOKENS), .sum_logprob = json_number_value(json_object_get(n, "sum_logprob")),
                           .why = why >= MOA_STOP_EOS && why <= MOA_STOP_FAILED ? (moa_stop)why : MOA_STOP_EOS};
    c->res.text = strdup(json_is_string(text) ? json_string_value(text) : "");
    c->res.text_len = c->res.text ? strlen(c->res.text) : 0;
    if (whole(n, "rc") < 0) c->rc = moa_fail(&c->err, (int)whole(n, "rc"), "%s", json_is_string(error) ? json_string_value(error) : "it failed");
    else if (c->res.text_len) c->on_text(c, c->res.text, c->res.text_len);
    c->on_end(c);
}

static void refuse(const rehearsal *h, moa_call *c, int near) {
    moa_err err;
    moa_fail(&err, MOA_EFORMAT, "a call that the trace does not know%s%s", near >= 0 ? ": other messages than those of " : "",
             near >= 0 ? json_string_value(json_object_get(json_array_get(h->nodes, (size_t)near), "node")) : "");
    moa_call_fail(c, &err);
}

static int by_end(const void *a, const void *b) {
    const double x = ((const cue *)a)->at, y = ((const cue *)b)->at;
    return x < y ? -1 : x > y;
}

static void start(moa_backend *b, moa_call *const *call, int n) {
    rehearsal *h = ((actor *)b)->all;
    cue *q = calloc((size_t)n + 1, sizeof *q);
    moa_err err;
    int m = 0;
    moa_fail(&err, MOA_ENOMEM, "%d calls", n);
    for (int i = 0; i < n; i++) {
        int near;
        if (!q) {
            moa_call_fail(call[i], &err);
            continue;
        }
        const int at = line_of(h, call[i], &near);
        if (at < 0) {
            refuse(h, call[i], near);
            continue;
        }
        const json_t *d = h->said[at].v;
        h->said[at].used = true;
        say_heard(h, call[i], at);
        if (whole(d, "rc") == MOA_ECANCELED) h->late[h->n_late++] = (cue){call[i], at, 0};
        else q[m++] = (cue){call[i], at, json_number_value(json_object_get(d, "ended"))};
    }
    if (m) qsort(q, (size_t)m, sizeof *q, by_end);
    for (int i = 0; i < m; i++) say(h, q[i].call, q[i].line);
    free(q);
}

static void stir(moa_backend *b) {
    rehearsal *h = ((actor *)b)->all;
    for (int i = 0; i < h->n_late; i++) {
        moa_call *c = h->late[i].call;
        if (!c || !atomic_load(&c->cancel)) continue;
        h->late[i].call = NULL;
        say(h, c, h->late[i].line);
    }
}

static int64_t measure(moa_backend *b, const moa_message *msg, int n_msg, const moa_call_extra *x, moa_err *err) {
    const rehearsal *h = ((const actor *)b)->all;
    char key[24];
    (void)x; /* a run measures no conversation twice with different extras */
    snprintf(key, sizeof key, "%016llx", (unsigned long long)moa_measured_key(b, msg, n_msg));
    const json_t *n = json_object_get(h->measured, key);
    return json_is_integer(n) ? tokens_in(n, MAX_TOKENS) : moa_fail(err, MOA_EFORMAT, "the trace does not say how many tokens this prompt has");
}

static void close_it(moa_backend *b) { (void)b; }
static const moa_backend_ops measures = {.name = "replay", .help = "what models said", .start = start, .stir = stir, .close = close_it, .measure = measure};
static const moa_backend_ops blind = {.name = "replay", .help = "what models said", .start = start, .stir = stir, .close = close_it};

/* ---- the mix ---- */

static int read_actor(moa_backend **out, rehearsal *h, const json_t *v, moa_err *err) {
    const char *id;
    uint64_t print = 0;
    bool can, goes_on;
    long long n_ctx, most;
    if (!json_is_object(v)) return moa_fail(err, MOA_EFORMAT, "%s: a model of the mix is no object", h->where);
    MOA_TRY(moa_json_get_str(&id, v, "model", NULL, h->where, err));
    MOA_TRY(moa_json_get_int(&n_ctx, v, "n_ctx", 0, h->where, err));
    MOA_TRY(moa_json_get_int(&most, v, "n_ctx_most", 0, h->where, err));
    MOA_TRY(moa_json_get_bool(&can, v, "measures", false, h->where, err));
    MOA_TRY(moa_json_get_bool(&goes_on, v, "goes_on", false, h->where, err));
    const char *text = json_string_value(json_object_get(v, "fingerprint"));
    if (text) print = strtoull(text, NULL, 10);
    if (!id) return moa_fail(err, MOA_EFORMAT, "%s: a model without a name", h->where);
    if (n_ctx < 0 || n_ctx > 1 << 30 || most < 0 || most > 1 << 30) return moa_fail(err, MOA_EFORMAT, "%s: n_ctx out of range", h->where);
    for (int i = 0; i < h->n_actor; i++)
        if (!strcmp(h->actor[i].base.id, id)) return *out = &h->actor[i].base, 0;
    if (h->n_actor == MAX_ACTORS) return moa_fail(err, MOA_ELIMIT, "%s: more than %d models", h->where, MAX_ACTORS);
    actor *a = &h->actor[h->n_actor++];
    *a = (actor){.base = {.ops = can ? &measures : &blind, .id = id, .fingerprint = print, .n_ctx = (int)n_ctx, .n_ctx_most = (int)most, .goes_on = goes_on}, .all = h};
    const json_t *prices = json_object_get(v, "prices"); /* a budget in dollars goes by them */
    a->base.price_prompt = json_number_value(json_array_get(prices, 0));
    a->base.price_completion = json_number_value(json_array_get(prices, 1));
    *out = &a->base;
    return 0;
}

static int read_whole(int *out, const json_t *v, const char *key, int lo, int hi, const rehearsal *h, moa_err *err) {
    long long n;
    MOA_TRY(moa_json_get_int(&n, v, key, 0, h->where, err));
    if (n < lo || n > hi) return moa_fail(err, MOA_EFORMAT, "%s: %s is %lld, expected %d to %d", h->where, key, n, lo, hi);
    *out = (int)n;
    return 0;
}

static int read_sampling(moa_sampling *s, const json_t *v, const rehearsal *h, moa_err *err) {
    static const struct { const char *key; size_t at; } real[] = {
        {"temperature", offsetof(moa_sampling, temperature)}, {"top_p", offsetof(moa_sampling, top_p)}, {"min_p", offsetof(moa_sampling, min_p)},
        {"repeat_penalty", offsetof(moa_sampling, repeat_penalty)}, {"presence_penalty", offsetof(moa_sampling, presence_penalty)},
        {"frequency_penalty", offsetof(moa_sampling, frequency_penalty)}};
    *s = moa_sampling_defaults();
    if (!json_is_object(v)) return moa_fail(err, MOA_EFORMAT, "%s: the sampling of a role is no object", h->where);
    for (size_t i = 0; i < sizeof real / sizeof *real; i++) {
        float *to = (float *)(void *)((char *)s + real[i].at);
        double d;
        MOA_TRY(moa_json_get_num(&d, v, real[i].key, (double)*to, h->where, err));
        *to = (float)d;
    }
    MOA_TRY(read_whole(&s->top_k, v, "top_k", 0, 1 << 30, h, err));
    return read_whole(&s->repeat_last, v, "repeat_last", -1, 1 << 30, h, err);
}

/* Numbers may be what no command line gives (a server's request bounds a reply by its context alone): they are bounded here by what a number can be. */
static int read_settings(moa_mix_cfg *c, const json_t *v, const rehearsal *h, moa_err *err) {
    const moa_strategy *s = moa_strategy_find(c->strategy);
    const moa_setting *p;
    if (!s) return moa_fail(err, MOA_ENOTFOUND, "%s: there is no strategy '%s'", h->where, c->strategy);
    if (!json_is_object(v)) return moa_fail(err, MOA_EFORMAT, "%s: a mix without settings", h->where);
    for (int i = 0; (p = moa_strategy_setting(s, i)); i++) {
        const json_t *one = json_object_get(v, p->key);
        const double most = p->words ? 15 : p->hi < 1 << 30 && strcmp(p->key, "max-tokens") && strcmp(p->key, "aggregate-max-tokens") ? p->hi : 1 << 30;
        if (p->text ? !one || json_is_null(one) || json_is_string(one) : json_is_number(one) && json_number_value(one) >= 0 && json_number_value(one) <= most)
            moa_mix_put(c, p, json_number_value(one), json_string_value(one));
        else return moa_fail(err, MOA_EFORMAT, "%s: setting %s of mix %s: expected %s", h->where, p->key, s->name, p->text ? "a text" : "a number in its range");
    }
    return s->check ? s->check(c, err) : 0;
}

static bool named_in(const char *list, const char *name) {
    const size_t n = strlen(name);
    for (const char *p = list; (p = strstr(p, name)); p += n)
        if ((p == list || p[-1] == ' ') && (!p[n] || p[n] == ',')) return true;
    return false;
}

/* Traces once did not say which calls were asked: all that have messages, for those that were not have none; nor which were left behind: their error says so. */
static void complete_nodes(json_t *nodes) {
    static const char left[] = "cut off: enough others were there";
    json_t *n;
    size_t i;
    json_array_foreach(nodes, i, n)
        if (json_object_get(n, "asked")) return;
    json_array_foreach(nodes, i, n) {
        const char *error = json_string_value(json_object_get(n, "error"));
        if (json_array_size(json_object_get(n, "messages"))) json_object_set_new(n, "asked", json_true());
        if (error && whole(n, "rc") == MOA_ECANCELED && !strncmp(error, left, sizeof left - 1)) json_object_set_new(n, "late", json_string(moa_late_name(MOA_LATE_LEFT)));
    }
}

int moa_replay_complete(moa_buf *added, json_t *trace) {
    json_t *mix = json_object_get(trace, "mix"), *settings = json_object_get(mix, "settings"), *all, *v;
    const char *strategy = json_string_value(json_object_get(mix, "strategy")), *key;
    int n = 0;
    if (!moa_strategy_find(strategy) || !json_is_object(settings)) return 0; /* what is wrong with it the replay says */
    complete_nodes(json_object_get(trace, "nodes"));
    const moa_mix_cfg now = moa_mix_defaults(strategy);
    all = moa_trace_settings(&now);
    json_object_foreach(all, key, v) {
        if (json_object_get(settings, key)) continue;
        json_object_set(settings, key, v);
        if (!named_in(moa_buf_str(added), key)) moa_buf_addf(added, "%s%s", added->len ? ", " : "", key);
        n++;
    }
    json_decref(all);
    return n;
}

static int read_mix(rehearsal *h, moa_err *err) {
    const json_t *m = json_object_get(h->trace, "mix"), *list = json_object_get(m, "proposers"), *one;
    moa_mix_cfg *c = &h->cfg;
    size_t i;
    bool flag;
    if (!json_is_object(m) || !json_is_array(list)) return moa_fail(err, MOA_EFORMAT, "%s: no trace of a run: it has no mix", h->where);
    MOA_TRY(moa_json_get_str(&c->name, m, "name", NULL, h->where, err));
    MOA_TRY(moa_json_get_str(&c->strategy, m, "strategy", NULL, h->where, err));
    if (!c->name || !c->strategy) return moa_fail(err, MOA_EFORMAT, "%s: a mix without a name", h->where);
    json_array_foreach(list, i, one) {
        if (i == MAX_ACTORS) return moa_fail(err, MOA_ELIMIT, "%s: more than %d models", h->where, MAX_ACTORS);
        MOA_TRY(read_actor(&h->proposer[c->n_proposer++], h, one, err));
    }
    c->proposer = h->proposer;
    if ((one = json_object_get(m, "aggregator"))) MOA_TRY(read_actor(&c->aggregator, h, one, err));
    if ((one = json_object_get(m, "judge"))) MOA_TRY(read_actor(&c->judge, h, one, err));
    MOA_TRY(read_settings(c, json_object_get(m, "settings"), h, err));
    MOA_TRY(read_whole(&c->n_answer, m, "n_answer", 0, 256, h, err));
    MOA_TRY(read_sampling(&c->propose, json_object_get(m, "propose"), h, err));
    MOA_TRY(read_sampling(&c->aggregate, json_object_get(m, "aggregate"), h, err));
    MOA_TRY(moa_json_get_str(&c->propose_system, m, "propose_system", NULL, h->where, err));
    MOA_TRY(moa_json_get_str(&c->aggregate_system, m, "aggregate_system", NULL, h->where, err));
    MOA_TRY(moa_json_get_str(&c->aggregate_text, m, "aggregate_text", NULL, h->where, err));
    /* Nobody draws by a grammar here; that there was one decides what may stand in for a reply that fails. */
    MOA_TRY(moa_json_get_bool(&flag, m, "propose_grammar", false, h->where, err));
    if (flag) c->propose_grammar = h->any;
    MOA_TRY(moa_json_get_bool(&flag, m, "aggregate_grammar", false, h->where, err));
    if (flag) c->aggregate_grammar = h->any;
    MOA_TRY(moa_json_get_bool(&h->told.logprobs, m, "aggregate_logprobs", false, h->where, err));
    if (h->told.logprobs) c->aggregate_extra = &h->told;
    MOA_TRY(moa_json_get_bool(&c->aggregate_acts, m, "aggregate_acts", false, h->where, err));
    return 0;
}

static int read_messages(rehearsal *h, moa_err *err) {
    const json_t *list = json_object_get(h->trace, "messages"), *m;
    const size_t n = json_array_size(list);
    size_t i;
    if (!n || n > MAX_MESSAGES) return moa_fail(err, MOA_EFORMAT, "%s: %zu messages, expected 1 to %d", h->where, n, MAX_MESSAGES);
    if (!(h->msg = calloc(n, sizeof *h->msg))) return moa_fail(err, MOA_ENOMEM, "%zu messages", n);
    json_array_foreach(list, i, m) {
        const char *role = json_string_value(json_object_get(m, "role")), *content = json_string_value(json_object_get(m, "content"));
        if (!role || !content) return moa_fail(err, MOA_EFORMAT, "%s: message %zu has no role or no content", h->where, i);
        h->msg[h->n_msg++] = (moa_message){role, content};
    }
    return 0;
}

/* Calls of the trace that nobody has asked for yet. */
static bool more_to_ask(const rehearsal *h) {
    for (int i = 0; i < h->n_said; i++)
        if (!h->said[i].used && h->then[h->said[i].node].asked) return true;
    return false;
}

/* One line for each call. */
static int read_lines(rehearsal *h, moa_err *err) {
    const json_t *n, *step;
    size_t i, k, all = 0;
    json_array_foreach(h->nodes, i, n) all += 1 + json_array_size(json_object_get(n, "steps"));
    if (all > MAX_NODES) return moa_fail(err, MOA_EFORMAT, "%s: %zu calls, expected at most %d", h->where, all, (int)MAX_NODES);
    h->said = calloc(all + 1, sizeof *h->said);
    h->late = calloc(all + 1, sizeof *h->late);
    if (!h->said || !h->late) return moa_fail(err, MOA_ENOMEM, "%zu calls", all);
    json_array_foreach(h->nodes, i, n) {
        const json_t *steps = json_object_get(n, "steps");
        if (!json_array_size(steps)) h->said[h->n_said++] = (line){n, (int)i, false};
        json_array_foreach(steps, k, step) h->said[h->n_said++] = (line){step, (int)i, false};
    }
    return 0;
}

/* Asked when nothing happens. A run that was canceled is canceled again, where it was then; one that waits for what never comes is no run of ours. */
static bool go_on(void *ctx, moa_run *r, const moa_event *e) {
    rehearsal *h = ctx;
    (void)r;
    const double now = moa_now();
    if (e->kind != MOA_EV_TEXT || e->n) return h->heard = now, true;
    return (whole(h->trace, "rc") != MOA_ECANCELED || more_to_ask(h)) && now < h->heard + PATIENCE_S;
}

static int rehearse(json_t **again, rehearsal *h, moa_err *err) {
    const char *seed;
    moa_run *r;
    const size_t n = json_array_size(h->nodes);
    static const char any[] = "root ::= [a-z]*";
    MOA_TRY(moa_grammar_parse(&h->any, any, sizeof any - 1, "replay", err));
    MOA_TRY(read_mix(h, err));
    MOA_TRY(read_messages(h, err));
    MOA_TRY(moa_json_get_str(&seed, h->trace, "seed", "", h->where, err));
    if (!n || n > MAX_NODES) return moa_fail(err, MOA_EFORMAT, "%s: %zu nodes, expected 1 to %d", h->where, n, (int)MAX_NODES);
    MOA_TRY(read_lines(h, err));
    if (!(h->then = calloc(n, sizeof *h->then))) return moa_fail(err, MOA_ENOMEM, "%zu nodes", n);
    MOA_TRY(moa_run_new(&r, &h->cfg, h->msg, h->n_msg, strtoull(seed, NULL, 10), err));
    for (size_t i = 0; i < n; i++) {
        const json_t *was = json_array_get(h->nodes, i);
        const char *late = json_string_value(json_object_get(was, "late"));
        const json_int_t trimmed = whole(was, "trimmed");
        const char *state = json_string_value(json_object_get(was, "state"));
        h->then[i] = (moa_then){.asked = json_is_true(json_object_get(was, "asked")), .spared = json_is_true(json_object_get(was, "spared")), .trimmed = trimmed > 0 && trimmed < 1 << 30 ? (int)trimmed : 0,
                                .ended = state && (!strcmp(state, "done") || !strcmp(state, "failed")), .steps = json_object_get(was, "steps")};
        for (moa_late l = MOA_LATE_LEFT; late && l > MOA_LATE_NOT; l--)
            if (!strcmp(late, moa_late_name(l))) h->then[i].late = l;
    }
    r->recall_then = h->recalled;
    r->then = h->then, r->n_then = (int)n;
    h->heard = moa_now();
    moa_run_execute(r, go_on, h, err); /* that it failed is part of its trace */
    *again = moa_trace_run(r, false);
    moa_run_free(r);
    return *again ? (moa_trace_canonical(*again), 0) : moa_fail(err, MOA_ENOMEM, "a trace");
}

int moa_replay(json_t **again, const json_t *trace, const char *where, moa_err *err) {
    rehearsal *h = calloc(1, sizeof *h);
    *again = NULL;
    if (!h) return moa_fail(err, MOA_ENOMEM, "a replay");
    h->trace = trace, h->where = where;
    h->nodes = json_object_get(trace, "nodes"), h->measured = json_object_get(trace, "measured");
    json_t *recalled = json_object_get(trace, "recalled");
    h->recalled = json_is_object(recalled) ? json_incref(recalled) : json_object();
    const int rc = h->recalled ? rehearse(again, h, err) : moa_fail(err, MOA_ENOMEM, "a replay");
    json_decref(h->recalled);
    moa_grammar_free(h->any);
    free(h->msg);
    free(h->said);
    free(h->late);
    free(h->then);
    free(h);
    return rc;
}

/* ---- comparing ---- */

static void show(char *out, size_t n, const json_t *v) {
    char *text = v ? json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS) : NULL;
    snprintf(out, n, "%s", text ? text : "(none)");
    free(text);
}

static int differ(char *place, size_t used, size_t n, char *was, char *is, size_t n_value, const json_t *a, const json_t *b) {
    const char *key;
    json_t *v;
    size_t i;
    if (a && b && json_equal(a, b)) return 0;
    if (json_is_object(a) && json_is_object(b)) {
        json_object_foreach((json_t *)(uintptr_t)a, key, v) {
            const json_t *w = json_object_get(b, key);
            if (w && json_equal(v, w)) continue;
            const int k = snprintf(place + used, n - used, "%s%s", used ? "." : "", key);
            return differ(place, k > 0 && (size_t)k < n - used ? used + (size_t)k : used, n, was, is, n_value, v, w);
        }
        json_object_foreach((json_t *)(uintptr_t)b, key, v)
            if (!json_object_get(a, key)) {
                snprintf(place + used, n - used, "%s%s", used ? "." : "", key);
                return differ(place, used, n, was, is, n_value, NULL, v);
            }
    }
    if (json_is_array(a) && json_is_array(b) && json_array_size(a) == json_array_size(b))
        json_array_foreach(a, i, v) {
            const json_t *w = json_array_get(b, i);
            if (json_equal(v, w)) continue;
            const int k = snprintf(place + used, n - used, "[%zu]", i);
            return differ(place, k > 0 && (size_t)k < n - used ? used + (size_t)k : used, n, was, is, n_value, v, w);
        }
    show(was, n_value, a);
    show(is, n_value, b);
    return 1;
}

int moa_replay_compare(char *place, size_t n_place, char *was, char *is, size_t n_value, const json_t *a, const json_t *b) {
    *place = 0;
    return differ(place, 0, n_place, was, is, n_value, a, b);
}
