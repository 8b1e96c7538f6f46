/* run.c - the executor: advances the graphs of many runs together, batch by batch.
 *
 * A round: settle every run (reduce nodes whose inputs are there, fail what can no longer work), compose the messages
 * of all nodes that became ready, and hand all of them that share a backend to it in one call. Rounds end when no
 * node is ready. Backends of this machine take turns rather than run at once: they share the same cores, so two
 * at a time would only halve each other's batches. Those that compute elsewhere run beside them, each in a thread; events come one at a time.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/run.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/rng.h"
#include "task/task.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NODES = 4096, RUN_BYTES = 256 << 20 };

/* Copies of the answer's node: they read the same inputs and draw by seeds of their own. */
static int add_answers(moa_run *r, int n, moa_err *err) {
    if (n > 1 && r->answer >= 0)
        return moa_fail(err, MOA_EUSAGE, "mix %s grows while it works, so that it gives one answer, not %d", r->cfg->name, n);
    if (r->answer < 0) r->answer = r->n_node - 1;
    r->n_answer = 1;
    for (; r->n_answer < n; r->n_answer++) {
        const moa_agent_node first = r->node[r->answer];
        char name[64];
        snprintf(name, sizeof name, "%s.%d", first.name, r->n_answer + 1);
        moa_agent_node copy = first;
        copy.name = name;
        MOA_TRY(moa_run_add(r, &copy, err));
    }
    return 0;
}

int moa_run_new(moa_run **out, const moa_mix_cfg *cfg, const moa_message *conv, int n_conv, uint64_t seed, moa_err *err) {
    *out = NULL;
    const moa_strategy *s = moa_strategy_find(cfg->strategy ? cfg->strategy : cfg->name);
    if (!s) return moa_fail(err, MOA_ENOTFOUND, "no strategy '%s'", cfg->strategy ? cfg->strategy : cfg->name);
    if (cfg->n_proposer < 1 || !cfg->proposer || !cfg->proposer[0]) return moa_fail(err, MOA_EINVAL, "mix %s: no model", s->name);
    if (n_conv < 1 || strcmp(conv[n_conv - 1].role, "user"))
        return moa_fail(err, MOA_EINVAL, "a conversation must end with the user's turn");
    if (s->check) MOA_TRY(s->check(cfg, err));
    MOA_TRY(moa_sampling_check(&cfg->propose, err));
    MOA_TRY(moa_sampling_check(&cfg->aggregate, err));
    moa_run *r = calloc(1, sizeof *r);
    if (r) r->arena = moa_arena_new(0, RUN_BYTES);
    if (!r || !r->arena) {
        moa_run_free(r);
        return moa_fail(err, MOA_ENOMEM, "a run of mix %s", s->name);
    }
    r->conv = conv, r->n_conv = n_conv, r->cfg = cfg, r->seed = seed, r->answer = -1;
    int rc = s->build(r, cfg, err);
    if (rc >= 0 && r->n_node == 0) rc = moa_fail(err, MOA_EINVAL, "strategy %s built an empty graph", s->name);
    if (rc >= 0) rc = add_answers(r, cfg->n_answer, err);
    if (rc < 0) {
        moa_run_free(r);
        return rc;
    }
    *out = r;
    return 0;
}

void moa_run_free(moa_run *r) {
    if (!r) return;
    for (int i = 0; i < r->n_node; i++) moa_token_log_free(r->node[i].log);
    moa_arena_free(r->arena);
    free(r);
}

const char *moa_node_reply(const moa_agent_node *n) {
    return n->backend && n->n_in ? n->text + moa_aggregate_preface(n->text, n->text_len) : n->text;
}

const char *moa_run_answer(const moa_run *r) {
    const moa_agent_node *n = r->answer >= 0 && r->answer < r->n_node ? &r->node[r->answer] : NULL;
    if (!n || !n->text) return "";
    return moa_node_reply(n);
}

static int grow(moa_run *r, moa_err *err) {
    int cap = r->cap ? r->cap * 2 : 16;
    if (cap > MAX_NODES) return moa_fail(err, MOA_ELIMIT, "a run has at most %d calls", (int)MAX_NODES);
    moa_agent_node *v = moa_arena_calloc(r->arena, (size_t)cap * sizeof *v);
    if (!v) return moa_fail(err, MOA_ENOMEM, "%d calls of a run", cap);
    if (r->n_node) memcpy(v, r->node, (size_t)r->n_node * sizeof *v);
    r->node = v, r->cap = cap;
    return 0;
}

int moa_run_add(moa_run *r, const moa_agent_node *n, moa_err *err) {
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] < 0 || n->in[i] >= r->n_node)
            return moa_fail(err, MOA_EINVAL, "node %s: input %d is not an earlier node", n->name, n->in[i]);
    if (!n->backend && !n->reduce) return moa_fail(err, MOA_EINVAL, "node %s: neither backend nor reduce", n->name);
    if (r->n_node == r->cap) MOA_TRY(grow(r, err));
    moa_agent_node *d = &r->node[r->n_node];
    *d = *n;
    d->name = moa_arena_strndup(r->arena, n->name, strlen(n->name));
    int *in = moa_arena_alloc(r->arena, (size_t)(n->n_in + 1) * sizeof *in);
    if (!d->name || !in) return moa_fail(err, MOA_ENOMEM, "node %s", n->name);
    if (n->n_in) memcpy(in, n->in, (size_t)n->n_in * sizeof *in);
    d->in = in;
    uint64_t key[2] = {r->seed, (uint64_t)r->n_node};
    if (!n->seeded) d->sampling.seed = moa_hash64(key, sizeof key, 0);
    d->state = MOA_NODE_WAITING;
    return r->n_node++;
}

void moa_node_note(moa_run *r, moa_agent_node *n, const char *fmt, ...) {
    char line[640];
    int used = n->note ? snprintf(line, sizeof line, "%s; ", n->note) : 0;
    if (used < 0 || used >= (int)sizeof line) return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line + used, sizeof line - (size_t)used, fmt, ap);
    va_end(ap);
    const char *kept = moa_arena_strndup(r->arena, line, strlen(line));
    n->note = kept ? kept : "no memory for a note";
}

/* ---- one execution ---- */

typedef struct slot { moa_run *r; int node; bool done; } slot;
typedef struct exec_state {
    moa_run **run; int n_run;
    moa_event_cb cb; void *ctx;
    moa_call *call; slot *slot; int n, cap; /* the batch under way */
    bool canceled;
    double t0;
    pthread_mutex_t lock; /* over all of it while several backends work */
} exec_state;
/* Calls of one backend: x->call[from .. from + n). */
typedef struct group { exec_state *x; moa_backend *b; int from, n; pthread_t thread; bool threaded; } group;

static bool emit(exec_state *x, moa_run *r, int node, int kind, const char *text, size_t n) {
    moa_event e = {.node = node, .text = text, .n = n};
    if (kind == MOA_EV_START) e.kind = MOA_EV_START;
    else if (kind == MOA_EV_TEXT) e.kind = MOA_EV_TEXT;
    else e.kind = MOA_EV_DONE;
    if (x->cb && !x->cb(x->ctx, r, &e)) x->canceled = true;
    return !x->canceled;
}

static bool fall_back(moa_run *r, moa_agent_node *n) {
    moa_err err = {0};
    if (!n->fallback || n->fallback(r, n, &err) < 0) return false;
    return n->replaced = true;
}

/* A failed node takes its fallback's text where it has one. A canceled run has no use for it. */
static void node_fail(exec_state *x, moa_run *r, int i, int rc, const moa_err *err) {
    moa_agent_node *n = &r->node[i];
    n->rc = rc;
    n->state = MOA_NODE_FAILED;
    if (!r->cause.code) r->cause = *err;
    moa_node_note(r, n, "failed: %s", err->text[0] ? err->text : moa_strerror(rc));
    if (rc != MOA_ECANCELED && fall_back(r, n)) n->state = MOA_NODE_DONE;
    if (n->state == MOA_NODE_FAILED && moa_run_is_answer(r, i)) r->rc = rc, r->err = *err;
    emit(x, r, i, MOA_EV_DONE, NULL, 0);
}

/* 1: all inputs have ended and enough of them worked; 0: not yet; -1: can never run. */
static int inputs(const moa_run *r, const moa_agent_node *n) {
    int done = 0, need = n->need ? n->need : n->n_in > 0;
    for (int i = 0; i < n->n_in; i++) {
        int s = r->node[n->in[i]].state;
        if (s != MOA_NODE_DONE && s != MOA_NODE_FAILED) return 0;
        done += s == MOA_NODE_DONE;
    }
    return done >= need ? 1 : -1;
}

static void note_missing(moa_run *r, int i) {
    moa_agent_node *n = &r->node[i];
    for (int k = 0; k < n->n_in; k++)
        if (r->node[n->in[k]].state == MOA_NODE_FAILED) moa_node_note(r, n, "left out %s, which failed", r->node[n->in[k]].name);
}

static int batch_add(exec_state *x, moa_run *r, int i, moa_err *err) {
    if (x->n == x->cap) {
        int cap = x->cap ? 2 * x->cap : 64;
        moa_call *c = realloc(x->call, (size_t)cap * sizeof *c);
        if (c) x->call = c;
        slot *s = realloc(x->slot, (size_t)cap * sizeof *s);
        if (s) x->slot = s;
        if (!c || !s) return moa_fail(err, MOA_ENOMEM, "no memory for a batch of %d calls", cap);
        x->cap = cap;
    }
    moa_agent_node *n = &r->node[i];
    if (n->extra && n->extra->logprobs && !n->log) MOA_TRY(moa_token_log_new(&n->log, n->extra->top_logprobs, err));
    x->call[x->n] = (moa_call){.msg = n->msg, .n_msg = n->n_msg, .sampling = n->sampling, .max_tokens = n->max_tokens,
                                .grammar = n->grammar, .extra = n->extra, .cancel = r->cancel, .log = n->log};
    x->slot[x->n++] = (slot){r, i, false};
    return 0;
}

static int compose_plain(moa_run *r, moa_agent_node *n, moa_err *err) {
    n->msg = moa_arena_alloc(r->arena, (size_t)r->n_conv * sizeof *n->msg);
    if (!n->msg) return moa_fail(err, MOA_ENOMEM, "messages of %s", n->name);
    memcpy(n->msg, r->conv, (size_t)r->n_conv * sizeof *n->msg);
    n->n_msg = r->n_conv;
    return 0;
}

/* Take node i of r as far as it gets without a backend. True when its state changed. */
static bool settle_node(exec_state *x, moa_run *r, int i) {
    moa_agent_node *n = &r->node[i];
    if (n->state != MOA_NODE_WAITING) return false;
    int ready = inputs(r, n), rc = 0;
    if (ready == 0) return false;
    moa_err err = {0};
    if (r->cancel && atomic_load(r->cancel)) {
        rc = moa_fail(&err, MOA_ECANCELED, "%s was canceled", n->name);
        return node_fail(x, r, i, rc, &err), true;
    }
    if (ready < 0) {
        /* The cause says more than the consequence: it is what the run fails with, the node's own note is short. */
        rc = r->cause.code ? r->cause.code : MOA_EINVAL;
        moa_fail(&err, rc, "too few of its %d inputs worked", n->n_in);
        node_fail(x, r, i, rc, &err);
        if (n->state == MOA_NODE_FAILED && moa_run_is_answer(r, i) && r->cause.code) r->err = r->cause;
        return true;
    }
    note_missing(r, i);
    if (!n->backend) {
        emit(x, r, i, MOA_EV_START, NULL, 0);
        double t0 = moa_now();
        rc = n->reduce(r, n, &err);
        n = &r->node[i];
        n->seconds = moa_now() - t0;
        if (rc < 0) return node_fail(x, r, i, rc, &err), true;
        n->state = MOA_NODE_DONE;
        emit(x, r, i, MOA_EV_DONE, NULL, 0);
        return true;
    }
    rc = n->compose ? n->compose(r, n, &err) : compose_plain(r, n, &err);
    n = &r->node[i];
    if (rc < 0) return node_fail(x, r, i, rc, &err), true;
    n->state = MOA_NODE_RUNNING; /* composed, waits for its backend's turn */
    return true;
}

static void settle(exec_state *x) {
    for (int k = 0; k < x->n_run; k++) {
        moa_run *r = x->run[k];
        for (bool again = true; again;) {
            again = false;
            for (int i = 0; i < r->n_node; i++) again |= settle_node(x, r, i);
        }
    }
}

static int add_group(exec_state *x, group *g, moa_backend *b, moa_err *err) {
    *g = (group){.x = x, .b = b, .from = x->n};
    for (int k = 0; k < x->n_run; k++)
        for (int i = 0; i < x->run[k]->n_node; i++) {
            const moa_agent_node *n = &x->run[k]->node[i];
            if (n->state == MOA_NODE_RUNNING && n->backend == b) MOA_TRY(batch_add(x, x->run[k], i, err));
        }
    g->n = x->n - g->from;
    return 0;
}

/* All composed nodes: of the first backend of this machine, and of all others. Returns the number of groups. */
static int collect(exec_state *x, group *g, int max, moa_err *err) {
    int n = 0;
    bool here = false;
    x->n = 0;
    for (int k = 0; k < x->n_run; k++)
        for (int i = 0; i < x->run[k]->n_node; i++) {
            moa_backend *b = x->run[k]->node[i].backend;
            bool known = x->run[k]->node[i].state != MOA_NODE_RUNNING;
            for (int j = 0; j < n; j++) known |= g[j].b == b;
            if (known || n == max || (!b->ops->apart && here)) continue;
            here |= !b->ops->apart;
            MOA_TRY(add_group(x, &g[n++], b, err));
        }
    return n;
}

static void account(moa_run *r, moa_agent_node *n, const moa_call *c) {
    n->prompt_tokens = c->res.n_prompt;
    n->completion_tokens = c->res.n_ids;
    n->reused_tokens = c->res.n_reused;
    n->drafted_tokens = c->res.n_drafted;
    n->accepted_tokens = c->res.n_accepted;
    n->seconds = c->res.seconds;
    n->first_s = c->res.first_s;
    n->share_s = c->share_s;
    n->why = c->res.why;
    n->sum_logprob = c->res.sum_logprob;
    r->usage.calls++;
    r->usage.prompt_tokens += n->prompt_tokens;
    r->usage.completion_tokens += n->completion_tokens;
    r->usage.reused_prefix_tokens += n->reused_tokens;
    r->usage.drafted_tokens += n->drafted_tokens;
    r->usage.accepted_tokens += n->accepted_tokens;
    r->usage.total_tokens = r->usage.prompt_tokens + r->usage.completion_tokens;
}

/* A reply that its model had not ended. Drafts may be cut at max-tokens without a word, an answer may not. */
static void note_cut(moa_run *r, moa_agent_node *n, bool is_answer) {
    if (n->why == MOA_STOP_CONTEXT) moa_node_note(r, n, "cut off where the context of %d tokens ends", n->backend->n_ctx);
    if (n->why == MOA_STOP_LENGTH && is_answer) moa_node_note(r, n, "cut off after %d tokens (max-tokens)", n->max_tokens);
}

/* Once a call: when its backend tells its end, else when the whole batch is back. */
static void finish_call(exec_state *x, int k) {
    moa_call *c = &x->call[k];
    if (x->slot[k].done) return;
    x->slot[k].done = true;
    moa_run *r = x->slot[k].r;
    int i = x->slot[k].node;
    moa_agent_node *n = &r->node[i];
    account(r, n, c);
    n->text = moa_arena_strndup(r->arena, c->res.text ? c->res.text : "", c->res.text ? c->res.text_len : 0);
    n->text_len = n->text ? strlen(n->text) : 0;
    if (c->rc >= 0 && !n->text) c->rc = moa_fail(&c->err, MOA_ENOMEM, "text of %s", n->name);
    bool canceled = c->rc >= 0 && c->res.why == MOA_STOP_CANCELED;
    if (canceled) c->rc = moa_fail(&c->err, MOA_ECANCELED, "%s was canceled", n->name);
    if (c->rc < 0) {
        node_fail(x, r, i, c->rc, &c->err);
        return;
    }
    note_cut(r, n, moa_run_is_answer(r, i));
    const char *refused = n->refuse ? n->refuse(r, n) : NULL;
    if (refused) {
        moa_node_note(r, n, "%s", refused);
        fall_back(r, n);
    }
    n->state = MOA_NODE_DONE;
    emit(x, r, i, MOA_EV_DONE, NULL, 0);
}

static bool on_text(void *ctx, int call, const char *text, size_t n) {
    group *g = ctx;
    exec_state *x = g->x;
    const int k = g->from + call;
    pthread_mutex_lock(&x->lock);
    if (text) emit(x, x->slot[k].r, x->slot[k].node, MOA_EV_TEXT, text, n);
    else finish_call(x, k);
    const bool goes_on = !x->canceled;
    pthread_mutex_unlock(&x->lock);
    return goes_on;
}

static void *run_group(void *arg) {
    group *g = arg;
    moa_err e = {0};
    moa_backend_complete(g->b, g->x->call + g->from, g->n, on_text, g, &e);
    return NULL;
}

/* The last group works in this thread. */
static void run_groups(group *g, int n) {
    for (int i = 0; i + 1 < n; i++) g[i].threaded = pthread_create(&g[i].thread, NULL, run_group, &g[i]) == 0;
    for (int i = 0; i < n; i++)
        if (!g[i].threaded) run_group(&g[i]);
    for (int i = 0; i < n; i++)
        if (g[i].threaded) pthread_join(g[i].thread, NULL);
}

static int round_of_calls(exec_state *x, moa_err *err) {
    enum { GROUPS = 32 };
    group g[GROUPS];
    settle(x);
    if (x->canceled) return 0;
    const int n_group = collect(x, g, GROUPS, err), n = x->n;
    if (n_group <= 0) return n_group;
    for (int k = 0; k < n; k++) emit(x, x->slot[k].r, x->slot[k].node, MOA_EV_START, NULL, 0);
    if (x->canceled) return 0;
    run_groups(g, n_group);
    for (int k = 0; k < n; k++) {
        finish_call(x, k);
        moa_gen_res_deinit(&x->call[k].res);
    }
    for (int k = 0; k < n; k++) x->slot[k].r->seconds = moa_now() - x->t0;
    return n;
}

static void conclude(exec_state *x, moa_run *r) {
    const moa_agent_node *a = &r->node[r->answer];
    for (int i = 1; i < r->n_answer && a->state == MOA_NODE_DONE; i++) a++;
    if (a->state == MOA_NODE_DONE) {
        r->rc = 0;
    } else if (x->canceled) {
        r->rc = moa_fail(&r->err, MOA_ECANCELED, "the run was canceled");
    } else if (r->rc == 0) {
        r->rc = moa_fail(&r->err, MOA_EINVAL, "the answer's node %s never became ready", a->name);
    }
}

int moa_run_execute_many(moa_run **r, int n, moa_event_cb cb, void *ctx, moa_err *err) {
    exec_state x = {.run = r, .n_run = n, .cb = cb, .ctx = ctx, .t0 = moa_now()};
    int rc;
    pthread_mutex_init(&x.lock, NULL);
    while ((rc = round_of_calls(&x, err)) > 0 && !x.canceled) {}
    pthread_mutex_destroy(&x.lock);
    for (int k = 0; k < n; k++) conclude(&x, r[k]);
    free(x.call);
    free(x.slot);
    if (rc < 0) return rc;
    return x.canceled ? moa_fail(err, MOA_ECANCELED, "canceled") : 0;
}

int moa_run_execute(moa_run *r, moa_event_cb cb, void *ctx, moa_err *err) {
    int rc = moa_run_execute_many(&r, 1, cb, ctx, err);
    if (rc >= 0 && r->rc < 0) {
        if (err) *err = r->err;
        rc = r->rc;
    }
    return rc;
}
