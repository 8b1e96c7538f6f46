/* turn.c - see turn.h. SPDX-License-Identifier: Apache-2.0 */
#include "serve/turn.h"

#include "agent/inbox.h"
#include "agent/trace.h"
#include "base/clock.h"
#include "base/json.h"
#include "serve/server.h"
#include "serve/traces.h"
#include "task/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT = 64 << 20 };

int moa_turn_check(const moa_ask *a, moa_fault *f) {
    moa_backend *b = a->spec.cfg.proposer[0];
    moa_err err = {0};
    if (!b->ops->measure || !b->n_ctx) return 0;
    const int64_t n = b->ops->measure(b, a->msg, a->n_msg, &a->extra, &err);
    if (n < 0) return moa_fault_from(f, "messages", &err);
    if (n < b->n_ctx) return 0;
    return moa_fault_set(f, 400, "context_length_exceeded", "messages", "the prompt has %lld tokens, the context of %s holds %d with the reply", (long long)n, b->id, b->n_ctx);
}

/* ---- what is shown ---- */

static void note_first(moa_turn *t) {
    pthread_mutex_lock(&t->x->lock);
    const bool first = t->x->first_text == 0;
    if (first) t->x->first_text = moa_now();
    pthread_mutex_unlock(&t->x->lock);
    if (first) moa_metric_add(&t->x->server->metrics, "moa_ttft_seconds", "model", t->ask->row->id, NULL, NULL, moa_now() - t->x->came);
}

/* Shows the text up to byte `to`. */
static int show_to(moa_turn *t, int k, size_t to) {
    moa_choice *c = &t->choice[k];
    const size_t from = c->shown;
    if (to <= from) return 0;
    c->shown = to;
    note_first(t);
    return t->sink ? t->sink->text(t->ctx, t, k, moa_buf_str(&c->text) + from, to - from) : 0;
}

static int show(moa_turn *t, int k, const char *s, size_t n) {
    moa_choice *c = &t->choice[k];
    if (moa_buf_add(&c->text, s, n) < 0) return -1;
    if (!moa_tools_any(&t->ask->tools)) return show_to(t, k, c->text.len);
    return show_to(t, k, c->shown + moa_tools_ready(moa_buf_str(&c->text) + c->shown, c->text.len - c->shown, c->shown == 0));
}

/* Text of a call that read references may begin with the line of what they say: nothing is shown until that is clear. */
static int show_merged(moa_turn *t, int k, const char *s, size_t n) {
    static const char mark[] = MOA_REPLIES_SAY;
    const size_t len = sizeof mark - 1;
    moa_choice *c = &t->choice[k];
    if (c->open) return show(t, k, s, n);
    if (moa_buf_add(&c->held, s, n) < 0) return -1;
    const size_t have = c->held.len, same = have < len ? have : len;
    const char *text = moa_buf_str(&c->held), *end = memchr(text, '\n', have);
    if (memcmp(text, mark, same) == 0 && !end) return 0;
    const size_t skip = memcmp(text, mark, same) == 0 && have >= len ? (size_t)(end - text) + 1 : 0;
    c->open = true;
    return show(t, k, text + skip, have - skip);
}

static const char *finish_reason(const moa_agent_node *n) {
    const bool cut = n->backend && !n->replaced && (n->why == MOA_STOP_LENGTH || n->why == MOA_STOP_CONTEXT);
    return cut ? "length" : "stop";
}

/* The whole text is there: is it a call? */
static int find_calls(moa_turn *t, int k) {
    moa_choice *c = &t->choice[k];
    char id[64];
    size_t before;
    if (!moa_tools_any(&t->ask->tools)) return 0;
    snprintf(id, sizeof id, "%s%02d", t->x->id + 4, k);
    if (!(c->calls = moa_tools_calls(&before, &t->ask->tools, moa_buf_str(&c->text), c->text.len, id))) return 0;
    c->finish = "tool_calls";
    c->text.len = before > c->shown ? before : c->shown;
    if (c->text.data) c->text.data[c->text.len] = 0;
    return 0;
}

/* What was not shown yet. A merge that was refused after it was shown cannot be taken back: what replaced it follows. */
static int end_choice(moa_turn *t, int k, const moa_agent_node *n) {
    moa_choice *c = &t->choice[k];
    const char *reply = n->state == MOA_NODE_DONE && n->text ? moa_node_reply(n) : "";
    if (c->ended) return 0;
    if (!t->sink) moa_buf_clear(&c->text), c->shown = 0; /* nobody has seen it */
    const size_t len = strlen(reply), had = c->text.len;
    c->ended = c->open = true;
    c->finish = finish_reason(n);
    const bool goes_on = had <= len && memcmp(moa_buf_str(&c->text), reply, had) == 0;
    if (!goes_on) moa_buf_adds(&c->text, "\n\n");
    moa_buf_add(&c->text, goes_on ? reply + had : reply, goes_on ? len - had : len);
    if (c->text.failed) return -1;
    find_calls(t, k);
    int rc = show_to(t, k, c->text.len);
    if (rc >= 0 && c->calls && t->sink && t->sink->calls) rc = t->sink->calls(t->ctx, t, k, c->calls);
    return rc < 0 || !t->sink ? rc : t->sink->end(t->ctx, t, k);
}

/* ---- what is said beside the reply: texts of proposals, thoughts of models ---- */

static moa_aside *aside_of(moa_turn *t, int node) {
    if (node < t->n_aside) return &t->aside[node];
    const int n = node + 16;
    moa_aside *v = realloc(t->aside, (size_t)n * sizeof *v);
    if (!v) return NULL;
    t->aside = v;
    for (; t->n_aside < n; t->n_aside++) {
        v[t->n_aside].writes = false;
        moa_buf_init(&v[t->n_aside].waits, MAX_TEXT);
        moa_buf_init(&v[t->n_aside].thoughts, MAX_TEXT);
    }
    return &v[node];
}

const moa_buf *moa_turn_thoughts(const moa_turn *t, int node) { return node < t->n_aside && t->aside[node].thoughts.len ? &t->aside[node].thoughts : NULL; }

static bool shows_asides(const moa_turn *t) { return t->ask->show != MOA_SHOW_ANSWER && t->sink && t->sink->thought; }

/* One after the other, so that who puts them together reads whole texts: the first that began is shown as it comes, others wait. */
static int show_aside(moa_turn *t, int node, const char *s, size_t n, bool thinks) {
    const moa_agent_node *a = &t->run->node[node];
    if (t->ask->show == MOA_SHOW_ALL || moa_run_is_answer(t->run, node)) return t->sink->thought(t->ctx, t, a, s, n, thinks);
    moa_aside *own = aside_of(t, node);
    if (!own) return -1;
    if (t->thinking < 0) t->thinking = node;
    const bool now = t->thinking == node, apart = !thinks && !own->writes && own->thoughts.len;
    int rc = 0;
    own->writes |= !thinks;
    if (apart) rc = now ? t->sink->thought(t->ctx, t, a, "\n\n", 2, false) : moa_buf_adds(&own->waits, "\n\n");
    if (rc < 0) return rc;
    return now ? t->sink->thought(t->ctx, t, a, s, n, thinks) : moa_buf_add(&own->waits, s, n);
}

static int end_aside(moa_turn *t, int node) {
    const moa_agent_node *a = &t->run->node[node];
    if (t->ask->show == MOA_SHOW_ALL) return t->sink->thought(t->ctx, t, a, NULL, 0, false);
    if (t->thinking != node) return 0;
    int rc = t->sink->thought(t->ctx, t, a, NULL, 0, false);
    t->thinking = -1;
    for (int i = 0; i < t->n_aside && rc >= 0 && t->thinking < 0; i++) {
        moa_buf *b = &t->aside[i].waits;
        if (!b->len) continue;
        const bool over = t->run->node[i].state >= MOA_NODE_DONE;
        rc = t->sink->thought(t->ctx, t, &t->run->node[i], moa_buf_str(b), b->len, false);
        moa_buf_clear(b);
        if (over && rc >= 0) rc = t->sink->thought(t->ctx, t, &t->run->node[i], NULL, 0, false);
        else t->thinking = i;
    }
    return rc;
}

/* Kept for the trace, of which they are no more than a part: where there is no room for more, it goes on without. */
static int hear_thoughts(moa_turn *t, int node, const char *s, size_t n) {
    moa_aside *own = aside_of(t, node);
    if (own) moa_buf_add(&own->thoughts, s, n);
    return shows_asides(t) ? show_aside(t, node, s, n, true) : 0;
}

static void count_call(moa_turn *t, const moa_agent_node *n) {
    moa_metrics *m = &t->x->server->metrics;
    if (!n->backend) return;
    moa_metric_add(m, "moa_calls_total", "model", n->backend->id, "role", n->role, 1);
    moa_metric_add(m, "moa_call_seconds", "model", n->backend->id, NULL, NULL, n->seconds);
    moa_metric_add(m, "moa_tokens_total", "model", n->backend->id, "kind", "prompt", (double)n->prompt_tokens);
    moa_metric_add(m, "moa_tokens_total", "model", n->backend->id, "kind", "completion", (double)n->completion_tokens);
    moa_metric_add(m, "moa_tokens_total", "model", n->backend->id, "kind", "reused", (double)n->reused_tokens);
}

/* ---- the graph as it works ---- */

static int tell(moa_turn *t, json_t *event) { return event ? t->sink->event(t->ctx, t, event) : MOA_ENOMEM; }

static int tell_graph(moa_turn *t) {
    json_t *nodes = json_array();
    for (int i = 0; i < t->run->n_node; i++) json_array_append_new(nodes, moa_trace_node(t->run, i));
    t->n_told = t->run->n_node;
    return tell(t, json_pack("{s:s, s:s, s:s, s:o}", "event", "graph", "id", t->x->id, "mix", t->ask->spec.label, "nodes", nodes));
}

static int tell_node(moa_turn *t, int node, const char *event, bool outcome) {
    json_t *o = outcome ? json_pack("{s:s}", "node", t->run->node[node].name) : moa_trace_node(t->run, node);
    if (!o) return MOA_ENOMEM;
    json_object_set_new(o, "event", json_string(event));
    if (outcome) moa_trace_outcome(o, t->run, node);
    return tell(t, o);
}

/* First the graph as it was built, then nodes that were added since, then what happened. */
static int tell_event(moa_turn *t, const moa_event *e) {
    int rc = 0;
    if (!t->ask->events || !t->sink || !t->sink->event || e->kind == MOA_EV_TEXT) return 0;
    if (!t->n_told) rc = tell_graph(t);
    for (; rc >= 0 && t->n_told < t->run->n_node; t->n_told++) rc = tell_node(t, t->n_told, "node", false);
    if (rc < 0) return rc;
    if (e->kind == MOA_EV_START) return tell_node(t, e->node, "start", false); /* what it reads is settled only now */
    return tell_node(t, e->node, "done", true);
}

static bool on_event(void *ctx, moa_run *r, const moa_event *e) {
    moa_turn *t = ctx;
    const moa_agent_node *n = &r->node[e->node];
    const bool answers = moa_run_is_answer(r, e->node);
    int rc = 0;
    if (e->kind == MOA_EV_TEXT && e->n) {
        atomic_fetch_add(&t->x->n_tokens, 1);
        if (n->call && n->call->thinking) rc = hear_thoughts(t, e->node, e->text, e->n);
        else if (answers) rc = (n->n_in ? show_merged : show)(t, e->node - r->answer, e->text, e->n);
        else if (shows_asides(t)) rc = show_aside(t, e->node, e->text, e->n, false);
    } else if (e->kind == MOA_EV_DONE) {
        count_call(t, n);
        if (answers && n->state == MOA_NODE_DONE) rc = end_choice(t, e->node - r->answer, n);
        else if (!answers && shows_asides(t)) rc = end_aside(t, e->node);
    } else if (e->kind == MOA_EV_START && n->call) {
        moa_letter_hear_thoughts(n->call);
        if (!answers && !shows_asides(t)) moa_letter_quiet(n->call);
    }
    if (rc >= 0) rc = tell_event(t, e);
    return rc >= 0 && !moa_exchange_gone(t->x);
}

/* ---- the run ---- */

static json_t *trace_of(const moa_turn *t, bool redact) {
    json_t *v = moa_trace_run(t->run, redact);
    for (int i = 0; v && i < t->run->n_node; i++) {
        const moa_buf *b = moa_turn_thoughts(t, i);
        if (b) moa_trace_thoughts(v, i, moa_buf_str(b), b->len, redact);
    }
    return v;
}

static int conclude(moa_turn *t, moa_fault *f) {
    moa_run *r = t->run;
    moa_ledger *l = t->x->server->cfg.ledger;
    json_t *trace = trace_of(t, false);
    if (l) moa_ledger_end(l, t->x, r, l->redact ? trace_of(t, true) : json_incref(trace));
    moa_traces_add(&t->x->server->traces, t->x, t->ask->spec.label, t->ask->created, r, trace);
    if (moa_exchange_gone(t->x)) return MOA_ECANCELED;
    for (int i = 0; i < t->n_choice && r->rc >= 0; i++) end_choice(t, i, &r->node[r->answer + i]);
    if (r->rc >= 0) return 0;
    pthread_mutex_lock(&t->x->lock);
    t->x->no_retry = r->usage.completion_tokens > 0; /* a mixture is dear: SDKs repeat a 5xx twice by themselves */
    pthread_mutex_unlock(&t->x->lock);
    return moa_fault_from(f, NULL, &r->err);
}

static void on_ended(void *ctx, moa_run *r) {
    moa_turn *t = ctx;
    moa_fault f = {0};
    (void)r;
    moa_exchange_rest(t->x); /* from here on nobody cancels it */
    const int rc = conclude(t, &f);
    t->done(t->ctx, t, rc, &f);
}

int moa_turn_start(moa_turn *t, moa_exchange *x, moa_ask *a, const moa_turn_sink *sink, void (*done)(void *ctx, moa_turn *t, int rc, const moa_fault *f), void *ctx,
                   moa_fault *f) {
    moa_err err = {0};
    *t = (moa_turn){.x = x, .ask = a, .sink = sink, .ctx = ctx, .done = done, .part = t->part, .n_choice = moa_ask_n(a), .thinking = -1};
    for (int i = 0; i < t->n_choice; i++) {
        moa_buf_init(&t->choice[i].text, MAX_TEXT);
        moa_buf_init(&t->choice[i].held, MAX_TEXT);
        t->choice[i].finish = "stop";
    }
    pthread_mutex_lock(&x->lock);
    snprintf(x->what, sizeof x->what, "%s", a->spec.label);
    pthread_mutex_unlock(&x->lock);
    uint64_t scope = 0;
    if (x->server->cfg.ledger) moa_ledger_begin(x->server->cfg.ledger, x, t->part, a->spec.label, a->request_id != NULL, a->seed.set, &a->run_seed, &scope);
    if (moa_run_new(&t->run, &a->spec.cfg, a->msg, a->n_msg, a->run_seed, &err) < 0) return moa_fault_from(f, NULL, &err);
    t->run->scope = scope;
    pthread_mutex_lock(&x->lock); /* nobody cancels it, and it does not end, before it is known to run */
    const int rc = moa_run_start(t->run, x->server->loop, on_event, on_ended, t, &err);
    if (rc >= 0) x->run = t->run;
    if (rc >= 0 && moa_exchange_gone(x)) moa_run_cancel(t->run);
    pthread_mutex_unlock(&x->lock);
    return rc < 0 ? moa_fault_from(f, NULL, &err) : 0;
}

void moa_turn_deinit(moa_turn *t) {
    for (int i = 0; i < t->n_choice; i++) {
        moa_buf_deinit(&t->choice[i].text);
        moa_buf_deinit(&t->choice[i].held);
        json_decref(t->choice[i].calls);
    }
    for (int i = 0; i < t->n_aside; i++) moa_buf_deinit(&t->aside[i].waits), moa_buf_deinit(&t->aside[i].thoughts);
    free(t->aside);
    moa_run_free(t->run);
}

/* ---- usage ---- */

/* Tokens of calls whose text nobody sees are reasoning, and so is what the model of the answer thought before it, where its server says how much: what is
 * left of completion_tokens is the reply. */
static void sums(const moa_run *r, json_int_t *hidden, json_int_t *shown, json_int_t *thought, int *failed) {
    *hidden = *shown = *thought = *failed = 0;
    for (int i = 0; i < r->n_node; i++) {
        const moa_agent_node *n = &r->node[i];
        if (!n->backend) continue;
        *(moa_run_is_answer(r, i) ? shown : hidden) += n->completion_tokens;
        if (moa_run_is_answer(r, i)) *thought += n->thought_tokens;
        *failed += n->rc < 0;
    }
}

static json_t *notes_of(const moa_run *r) {
    json_t *list = json_array();
    for (int i = 0; i < r->n_node; i++)
        if (r->node[i].note) json_array_append_new(list, json_pack("{s:s, s:o}", "node", r->node[i].name, "note", moa_json_str(r->node[i].note, strlen(r->node[i].note))));
    return list;
}

/* A layer: calls that are as many calls deep. */
static int depth_of(const moa_run *r, int i, int *depth) {
    int d = 0;
    for (int k = 0; k < r->node[i].n_in; k++) {
        const int from = r->node[i].in[k], own = depth[from] + (r->node[from].backend != NULL);
        if (own > d) d = own;
    }
    return depth[i] = d;
}

static json_t *layers_of(const moa_run *r) {
    json_t *list = json_array();
    int *depth = calloc((size_t)r->n_node + 1, sizeof *depth), most = -1;
    for (int i = 0; depth && i < r->n_node; i++)
        if (depth_of(r, i, depth) > most && r->node[i].backend) most = depth[i];
    for (int d = 0; d <= most; d++) {
        json_int_t calls = 0, prompt = 0, completion = 0;
        double ended = 0, started = -1;
        for (int i = 0; i < r->n_node; i++) {
            const moa_agent_node *n = &r->node[i];
            if (!n->backend || depth[i] != d || n->state < MOA_NODE_DONE) continue;
            calls++, prompt += n->prompt_tokens, completion += n->completion_tokens;
            if (n->ended > ended) ended = n->ended;
            if (started < 0 || n->started < started) started = n->started;
        }
        json_array_append_new(list, json_pack("{s:i, s:I, s:I, s:I, s:f}", "layer", d + 1, "calls", calls, "prompt_tokens", prompt, "completion_tokens", completion, "seconds", started < 0 ? 0 : ended - started));
    }
    free(depth);
    return list;
}

json_t *moa_turn_usage(const moa_turn *t) {
    const moa_usage *u = &t->run->usage;
    json_int_t hidden, shown, thought;
    int failed;
    sums(t->run, &hidden, &shown, &thought, &failed);
    return json_pack("{s:I, s:I, s:I, s:{s:I}, s:{s:I}, s:{s:s, s:i, s:i, s:o, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:o}}", "prompt_tokens", (json_int_t)u->prompt_tokens, "completion_tokens",
                     (json_int_t)u->completion_tokens, "total_tokens", (json_int_t)u->total_tokens, "prompt_tokens_details", "cached_tokens",
                     (json_int_t)u->reused_prefix_tokens, "completion_tokens_details", "reasoning_tokens", hidden + thought, "moa", "mix", t->ask->spec.label, "calls", u->calls,
                     "failed", failed, "per_layer", layers_of(t->run), "proposer_tokens", hidden, "aggregator_tokens", shown, "cached_tokens", (json_int_t)u->reused_prefix_tokens,
                     "tokens_saved", (json_int_t)u->found_tokens, "spared_tokens", (json_int_t)u->spared_tokens, "cost", u->cost, "seconds", t->run->seconds, "notes", notes_of(t->run));
}

const char *moa_turn_fingerprint(char out[32], const moa_ask *a) {
    snprintf(out, 32, "fp_%016llx", (unsigned long long)a->spec.cfg.proposer[0]->fingerprint);
    return out;
}
