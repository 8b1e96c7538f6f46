/* execute.c - the executor: a run moves on when a call of it says something, when an alarm rings, when it is canceled.
 *
 * A step: read what calls said, end those nodes that came to their end, look at the nodes that read them, and start all that became ready, the
 * calls of a backend together. A node is looked at when one of its inputs ends, so a step costs what has changed, not what the graph holds.
 * A run ends when none of its calls runs; as soon as its answers are there, the others are canceled.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/execute.h"

#include "agent/inbox.h"
#include "agent/stair.h"
#include "agent/strategy.h"
#include "base/clock.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef struct ints { int *v, n, cap; } ints;

struct moa_execution {
    moa_task task;       /* first */
    moa_run *r;
    moa_loop *loop;
    _Atomic bool cancel; /* asked for, from any thread */
    moa_event_cb cb; moa_ended_fn ended; void *ctx;
    moa_inbox box;
    bool canceled, over; /* followed; the answers are there */
    bool late_now;       /* the deadline has passed */
    int n_running;       /* calls */
    ints look, ready, late; /* nodes to look at; composed; that wait for who is late */
    ints later;          /* composed, but the budget has no room for them while others run */
    int64_t held_tokens; double held_cost; /* what the calls that run could still cost */
    double spent_cost;   /* by prices, of calls that a journal knew too: a run that goes on after a kill decides as it would have */
    moa_buf text;
    size_t n_line; bool answers; /* of the answer's text: bytes that may be its line of what the replies say; there is more */
    double t0;
};

static int push(ints *a, int v) {
    if (a->n == a->cap) {
        const int cap = a->cap ? 2 * a->cap : 32;
        int *w = realloc(a->v, (size_t)cap * sizeof *w);
        if (!w) return -1;
        a->v = w, a->cap = cap;
    }
    a->v[a->n++] = v;
    return 0;
}

/* ---- what is told ---- */

static void call_off(moa_execution *x) {
    enum { SOME = 16 };
    moa_backend *told[SOME];
    int n_told = 0;
    for (int i = 0; i < x->r->n_node; i++) {
        const moa_agent_node *n = &x->r->node[i];
        if (!n->call || atomic_exchange(&n->call->call.cancel, true)) continue;
        bool known = false;
        for (int k = 0; k < n_told; k++) known = known || told[k] == n->backend;
        if (known) continue;
        if (n_told < SOME) told[n_told++] = n->backend;
        else moa_backend_stir(n->backend);
    }
    for (int k = 0; k < n_told; k++) moa_backend_stir(told[k]);
}

static void cancel_all(moa_execution *x) {
    if (x->canceled) return;
    x->canceled = true;
    call_off(x);
}

/* When the answer's first text came: what is no part of it (MOA_REPLIES_SAY) does not count. */
static void note_first(moa_execution *x, int node, const char *text, size_t n) {
    static const char mark[] = MOA_REPLIES_SAY;
    const moa_agent_node *a = &x->r->node[node];
    if (x->answers || !moa_run_is_answer(x->r, node) || (a->call && a->call->thinking)) return;
    bool in_line = a->n_in && x->n_line >= sizeof mark - 1;
    for (size_t i = 0; i < n && !x->answers; i++) {
        if (in_line) {
            in_line = text[i] != '\n';
            if (!in_line) x->n_line = 0, x->answers = i + 1 < n;
        } else if (!a->n_in || text[i] != mark[x->n_line]) {
            x->answers = true;
        } else {
            in_line = ++x->n_line == sizeof mark - 1;
        }
    }
    if (x->answers) x->r->first_s = moa_now() - x->t0;
}

static bool emit(moa_execution *x, int node, int kind, const char *text, size_t n) {
    moa_event e = {.node = node, .text = text, .n = n};
    if (kind == MOA_EV_START) e.kind = MOA_EV_START;
    else if (kind == MOA_EV_TEXT) e.kind = MOA_EV_TEXT;
    else e.kind = MOA_EV_DONE;
    if (x->canceled) return false;
    if (kind == MOA_EV_TEXT) note_first(x, node, text, n);
    if (x->cb && !x->cb(x->ctx, x->r, &e)) cancel_all(x);
    return !x->canceled;
}

void moa_execution_look(moa_execution *x, int node) {
    if (push(&x->look, node) < 0) cancel_all(x); /* no memory for a number: there is no way on */
}

/* ---- a node comes to its end ---- */

static void node_ends(moa_execution *x, int i, int state) {
    moa_run *r = x->r;
    r->node[i].state = state;
    r->node[i].ended = moa_now() - x->t0;
    emit(x, i, MOA_EV_DONE, NULL, 0);
    for (const moa_edge *e = r->node[i].out; e; e = e->next) {
        moa_agent_node *to = &r->node[e->to];
        to->n_wait--;
        if (!to->n_wait || to->grace_s > 0 || to->enough || to->stair) moa_execution_look(x, e->to);
    }
    if (!moa_run_is_answer(r, i)) return;
    bool all = true;
    for (int k = r->answer; k < r->answer + r->n_answer; k++) all = all && r->node[k].state >= MOA_NODE_DONE;
    if (all && !x->over) {
        x->over = true;
        call_off(x);
    }
}

static bool fall_back(moa_run *r, moa_agent_node *n) {
    moa_err err = {0};
    if (!n->fallback || n->fallback(r, n, &err) < 0) return false;
    return n->replaced = true;
}

/* A failed node takes its fallback's text where it has one. A canceled one has no use for it. */
static void node_fails(moa_execution *x, int i, int rc, const moa_err *err) {
    moa_run *r = x->r;
    moa_agent_node *n = &r->node[i];
    n->rc = rc;
    n->state = MOA_NODE_FAILED;
    if (!r->cause.code || i < r->cause_node) r->cause = *err, r->cause_node = i;
    n->error = moa_arena_strndup(r->arena, err->text, strlen(err->text));
    moa_node_note(r, n, "failed: %s", err->text[0] ? err->text : moa_strerror(rc));
    const bool replaced = rc != MOA_ECANCELED && fall_back(r, n);
    if (!replaced && moa_run_is_answer(r, i)) r->rc = rc, r->err = *err;
    node_ends(x, i, replaced ? MOA_NODE_DONE : MOA_NODE_FAILED);
}

static double cost_of(const moa_backend *b, double prompt, double completion) { return 1e-6 * (prompt * b->price_prompt + completion * b->price_completion); }

/* A node is one call, or several, one after the other (stair.h). */
static void account(moa_run *r, moa_agent_node *n, const moa_call *c) {
    const double cost = c->found ? 0 : cost_of(n->backend, (double)c->res.n_prompt, (double)c->res.n_ids);
    if (!n->stair || n->stair->n_step == 1) n->first_s = c->res.first_s;
    n->prompt_tokens += c->res.n_prompt;
    n->completion_tokens += c->res.n_ids;
    n->reused_tokens += c->res.n_reused;
    n->drafted_tokens += c->res.n_drafted;
    n->accepted_tokens += c->res.n_accepted;
    n->thought_tokens += c->res.n_thought;
    n->seconds += c->res.seconds;
    n->share_s += c->share_s;
    n->why = c->res.why;
    n->sum_logprob += c->res.sum_logprob;
    n->found = c->found;
    n->cost += cost;
    r->usage.cost += cost;
    if (c->found) r->usage.found_tokens += c->res.n_ids;
    r->usage.calls++;
    r->usage.prompt_tokens += c->res.n_prompt;
    r->usage.completion_tokens += c->res.n_ids;
    r->usage.reused_prefix_tokens += c->res.n_reused;
    r->usage.drafted_tokens += c->res.n_drafted;
    r->usage.accepted_tokens += c->res.n_accepted;
    r->usage.total_tokens = r->usage.prompt_tokens + r->usage.completion_tokens;
}

/* A reply that its model had not ended. Drafts may be cut at max-tokens without a word, an answer may not. */
static void note_cut(moa_run *r, moa_agent_node *n, bool is_answer) {
    if (n->why == MOA_STOP_CONTEXT) moa_node_note(r, n, "cut off where the context of %d tokens ends", n->backend->n_ctx);
    if (n->why == MOA_STOP_LENGTH && is_answer) moa_node_note(r, n, "cut off after %d tokens (max-tokens)", n->max_tokens);
}

static moa_late late_then(const moa_run *r, int i) { return r->then && i < r->n_then ? r->then[i].late : MOA_LATE_NOT; }

/* Time is over: in place of a call that read others, the vote over those. */
static void stand_in(moa_agent_node *n) {
    if (!n->fallback && n->n_in && !n->grammar) n->fallback = moa_reduce_vote;
}

/* Cut off by the deadline: what an answer that nothing can stand in for has said until then is the answer. */
static void end_late(moa_execution *x, int i, moa_call *c) {
    moa_run *r = x->r;
    moa_agent_node *n = &r->node[i];
    n->late = MOA_LATE_CUT;
    stand_in(n);
    const bool keeps = moa_run_is_answer(r, i) && !n->fallback && n->text_len;
    moa_err err = {0};
    if (keeps) {
        moa_node_note(r, n, "cut off by the deadline of %g s", r->cfg->deadline_s);
        n->why = MOA_STOP_LENGTH;
        node_ends(x, i, MOA_NODE_DONE);
        return;
    }
    c->rc = moa_fail(&err, MOA_ETIME, "cut off by the deadline of %g s", r->cfg->deadline_s);
    node_fails(x, i, c->rc, &err);
}

/* ---- budgets ---- */

/* What a call can cost at most. Its prompt is measured where its backend can, else taken as a token for two bytes: more than text has. */
static double cost_at_most(moa_run *r, const moa_agent_node *n, int64_t most) {
    double prompt = 0;
    moa_err err;
    if (!(n->backend->price_prompt > 0)) return cost_of(n->backend, 0, (double)most);
    const int64_t measured = moa_run_measure(r, n->backend, n->msg, n->n_msg, n->extra, &err);
    const double begun = n->stair && n->stair->now && n->stair->now->prefix ? 8 + 0.5 * (double)strlen(n->stair->now->prefix) : 0;
    for (int i = 0; i < n->n_msg && measured <= 0; i++) prompt += 8 + 0.5 * (double)strlen(n->msg[i].content);
    return cost_of(n->backend, begun + (measured > 0 ? (double)measured : prompt), (double)most);
}

/* Tokens that are kept for the answer while proposals are asked: half of the budget at most. */
static int64_t kept_for_answer(const moa_run *r, const moa_agent_node *n) {
    const moa_mix_cfg *c = r->cfg;
    const moa_strategy *s = moa_strategy_find(c->strategy);
    if (strcmp(n->role, "proposer") != 0 || !s || !(s->has & MOA_AGGREGATES)) return 0;
    const int want = c->aggregate_max_tokens ? c->aggregate_max_tokens : c->max_tokens;
    return want < c->budget_tokens / 2 ? want : c->budget_tokens / 2;
}

/* May this call begin? YES: what it could cost is set aside. LATER: not while others run whose share may come back. A call that does not fit as it is,
 * and will not later, gets fewer tokens, if they are worth a call. */
typedef enum leave { YES, LATER, NO } leave;

static void trim(moa_run *r, moa_agent_node *n, int left) {
    moa_node_note(r, n, "%d of %d tokens, which the budget leaves", left, n->max_tokens);
    n->max_tokens = n->trimmed = left;
}

/* Replay: calls end in another order there, so that the budget would have another state. */
static leave afford_as_then(moa_run *r, int i) {
    const moa_then *then = &r->then[i];
    const moa_stair *s = r->node[i].stair;
    if (s && s->n_step == moa_stair_n_then(r, &r->node[i])) return then->late == MOA_LATE_BUDGET ? NO : LATER;
    if (s && s->n_step) return YES;
    if (!then->asked) return then->late == MOA_LATE_BUDGET ? NO : LATER;
    if (then->trimmed) trim(r, &r->node[i], then->trimmed);
    return YES;
}

static leave afford_now(moa_execution *x, int i) {
    enum { LEAST = 16 };
    moa_run *r = x->r;
    moa_agent_node *n = &r->node[i];
    const moa_mix_cfg *c = r->cfg;
    if (r->then && i < r->n_then) return afford_as_then(r, i);
    const bool goes_on = n->stair && n->stair->n_step; /* its tokens were set aside when it began */
    int64_t most = goes_on ? n->held_tokens : n->max_tokens;
    x->held_cost -= n->held_cost;
    n->held_cost = 0;
    if (c->budget_tokens && !goes_on) {
        const int64_t left = c->budget_tokens - r->usage.completion_tokens - x->held_tokens - kept_for_answer(r, n);
        if (most > left && x->n_running) return LATER;
        if (most > left) most = left;
        if (most < n->max_tokens && most < LEAST) return NO;
    }
    const double cost = c->budget_cost > 0 ? cost_at_most(r, n, most) : 0;
    if (c->budget_cost > 0 && cost > c->budget_cost - x->spent_cost - x->held_cost) return x->n_running ? LATER : NO;
    if (most < n->max_tokens && !goes_on) trim(r, n, (int)most);
    x->held_tokens += most - n->held_tokens;
    n->held_tokens = most;
    n->held_cost = cost;
    x->held_cost += n->held_cost;
    return YES;
}

/* What begins before its inputs have ended is refused after them, when nothing of them can come back. */
static leave afford(moa_execution *x, int i) {
    const leave may = afford_now(x, i);
    return may == NO && x->r->node[i].stair && x->r->node[i].n_wait ? LATER : may;
}

static void give_back(moa_execution *x, moa_agent_node *n) {
    x->held_tokens -= n->held_tokens;
    x->held_cost -= n->held_cost;
    n->held_tokens = 0, n->held_cost = 0;
}

static void not_afforded(moa_execution *x, int i) {
    const moa_mix_cfg *c = x->r->cfg;
    moa_stair *s = x->r->node[i].stair;
    moa_err err = {0};
    if (s) s->queued = false;
    if (s && s->n_step) {
        x->r->node[i].late = MOA_LATE_BUDGET;
        s->over = MOA_STAIR_SPENT;
        moa_execution_look(x, i);
        return;
    }
    x->r->node[i].late = MOA_LATE_BUDGET;
    stand_in(&x->r->node[i]);
    const int rc = c->budget_tokens ? moa_fail(&err, MOA_ELIMIT, "not asked: the budget of %d tokens is spent", c->budget_tokens)
                                    : moa_fail(&err, MOA_ELIMIT, "not asked: a budget of $%g has no room for it", c->budget_cost);
    node_fails(x, i, rc, &err);
}

/* Those that the budget had no room for are asked about again. */
static void ask_later_ones(moa_execution *x) {
    for (int k = 0; k < x->later.n; k++)
        if (push(&x->ready, x->later.v[k]) < 0) cancel_all(x);
    x->later.n = 0;
}

/* ---- calls end ---- */

/* Of an aggregator that goes by steps (stair.h). */
static void end_step(moa_execution *x, int i, moa_call *c) {
    moa_run *r = x->r;
    moa_agent_node *n = &r->node[i];
    moa_stair *s = n->stair;
    moa_step *t = s->last;
    const char *text;
    const bool cut = late_then(r, i) == MOA_LATE_CUT ? c->rc == MOA_ETIME : x->late_now && !x->canceled && (c->rc == MOA_ECANCELED || c->res.why == MOA_STOP_CANCELED);
    const size_t k = moa_stair_end_step(&text, r, n, c, moa_now() - x->t0);
    if (k) emit(x, i, MOA_EV_TEXT, text, k);
    if (cut) c->rc = moa_fail(&c->err, MOA_ETIME, "cut off by the deadline of %g s", r->cfg->deadline_s);
    else if (c->rc >= 0 && c->res.why == MOA_STOP_CANCELED) c->rc = moa_fail(&c->err, MOA_ECANCELED, "%s was canceled", n->name);
    else if (c->rc >= 0 && s->said.failed) c->rc = moa_fail(&c->err, MOA_ENOMEM, "text of %s", n->name);
    t->rc = c->rc;
    if (c->rc < 0) t->error = moa_arena_strndup(r->arena, c->err.text, strlen(c->err.text));
    s->err = c->err;
    if (cut) s->over = MOA_STAIR_LATE;
    else if (c->rc < 0) s->over = MOA_STAIR_FAILED;
    else if (t->last || c->res.why == MOA_STOP_STRING) s->over = MOA_STAIR_ENDED;
    else if (c->res.why == MOA_STOP_CONTEXT || s->written >= n->max_tokens) s->over = MOA_STAIR_FULL;
    else if (c->res.why == MOA_STOP_EOS) s->ended = true;
    const int64_t rest = s->over || n->held_tokens < c->res.n_ids ? 0 : n->held_tokens - c->res.n_ids;
    x->held_tokens += rest - n->held_tokens;
    x->held_cost -= n->held_cost;
    n->held_tokens = rest;
    n->held_cost = cost_of(n->backend, 0, r->cfg->budget_cost > 0 ? (double)rest : 0);
    x->held_cost += n->held_cost;
    if (c->rc == MOA_ECANCELED) node_fails(x, i, c->rc, &c->err);
    else moa_execution_look(x, i);
}

/* A text is there: may it stand? */
static void judge_reply(moa_execution *x, int i) {
    moa_run *r = x->r;
    moa_agent_node *n = &r->node[i];
    const char *refused = n->refuse ? n->refuse(r, n) : NULL;
    if (refused) {
        moa_node_note(r, n, "%s", refused);
        fall_back(r, n);
    }
    node_ends(x, i, MOA_NODE_DONE);
}

static void end_call(moa_execution *x, moa_letter *l) {
    moa_run *r = x->r;
    moa_call *c = &l->call;
    const int i = l->about;
    moa_agent_node *n = &r->node[i];
    x->n_running--;
    n->call = NULL;
    account(r, n, c);
    if (!n->stair) give_back(x, n);
    x->spent_cost += cost_of(n->backend, (double)c->res.n_prompt, (double)c->res.n_ids);
    ask_later_ones(x);
    if (n->stair) {
        end_step(x, i, c);
        return;
    }
    if (n->state != MOA_NODE_RUNNING) return; /* it was cut off: what it cost counts, what it said does not */
    n->text = moa_arena_strndup(r->arena, c->res.text ? c->res.text : "", c->res.text ? c->res.text_len : 0);
    n->text_len = n->text ? strlen(n->text) : 0;
    if (c->rc >= 0 && !n->text) c->rc = moa_fail(&c->err, MOA_ENOMEM, "text of %s", n->name);
    if (late_then(r, i) == MOA_LATE_CUT || (x->late_now && !x->canceled && (c->rc == MOA_ECANCELED || c->res.why == MOA_STOP_CANCELED))) {
        end_late(x, i, c);
        return;
    }
    if (c->rc >= 0 && c->res.why == MOA_STOP_CANCELED) c->rc = moa_fail(&c->err, MOA_ECANCELED, "%s was canceled", n->name);
    if (c->rc < 0) {
        node_fails(x, i, c->rc, &c->err);
        return;
    }
    note_cut(r, n, moa_run_is_answer(r, i));
    judge_reply(x, i);
}

/* Its text is kept for those that read it while it grows; who has waited for so much is looked at. */
static void hear(moa_execution *x, int i, const char *text, size_t k) {
    const moa_agent_node *n = &x->r->node[i];
    const size_t had = strlen(moa_stair_heard(n));
    if (moa_buf_add(n->heard, text, k) < 0) return; /* it is read when it is done */
    const size_t has = strlen(moa_stair_heard(n));
    for (const moa_edge *e = n->out; e; e = e->next) {
        const moa_stair *s = x->r->node[e->to].stair;
        if (s && (x->r->then || ((int64_t)had <= s->waits_for && (int64_t)has > s->waits_for))) moa_execution_look(x, e->to);
    }
}

static void hear_text(moa_execution *x, const moa_letter *l) {
    moa_agent_node *n = &x->r->node[l->about];
    const char *text = moa_buf_str(&x->text);
    size_t k = x->text.len;
    if (n->heard && !l->thinking) hear(x, l->about, text, k);
    if (n->state != MOA_NODE_RUNNING) return;
    if (n->stair && !l->thinking) k = moa_stair_hear(&text, n->stair, text, k);
    if (k) emit(x, l->about, MOA_EV_TEXT, text, k);
}

static void read_inbox(moa_execution *x) {
    bool ended;
    for (moa_letter *l; (l = moa_inbox_read(&x->box, &x->text, &ended));) {
        if (x->text.len && (x->r->node[l->about].state == MOA_NODE_RUNNING || x->r->then)) hear_text(x, l);
        if (!ended) continue;
        end_call(x, l);
        moa_gen_res_deinit(&l->call.res);
    }
}

/* ---- a node becomes ready ---- */

static int n_worked(const moa_run *r, const moa_agent_node *n) {
    int k = 0;
    for (int i = 0; i < n->n_in; i++) k += r->node[n->in[i]].state == MOA_NODE_DONE;
    return k;
}

static void note_missing(moa_run *r, int i) {
    moa_agent_node *n = &r->node[i];
    for (int k = 0; k < n->n_in; k++)
        if (r->node[n->in[k]].state == MOA_NODE_FAILED) /* whoever of its readers called it off: all of them say so */
            moa_node_note(r, n, r->node[n->in[k]].spared ? "%s was not needed: the others agree" : "left out %s, which failed", r->node[n->in[k]].name);
}

/* Those that node i still waits for are left behind; why: enough others agree, NULL: they are late. */
static void cut_off(moa_execution *x, int i, const char *why) {
    moa_run *r = x->r;
    const double grace = r->node[i].grace_s;
    for (int k = 0; k < r->node[i].n_in; k++) {
        const int from = r->node[i].in[k];
        moa_agent_node *n = &r->node[from];
        moa_err err = {0};
        if (n->state >= MOA_NODE_DONE) continue;
        if (n->call) {
            atomic_store(&n->call->call.cancel, true);
            moa_backend_stir(n->backend);
        }
        if (why) moa_fail(&err, MOA_ECANCELED, "cut off: enough others were there");
        else moa_fail(&err, MOA_ECANCELED, "cut off: enough others were there %g s ago", grace);
        r->node[from].spared = why != NULL;
        if (!why) r->node[from].late = MOA_LATE_LEFT;
        node_fails(x, from, MOA_ECANCELED, &err);
    }
}

/* Replay: may those that n waits for be left behind? They were then, and their calls, if they were asked, are in the trace too. */
static bool cut_as_then(const moa_execution *x, const moa_agent_node *n) {
    const moa_run *r = x->r;
    for (int k = 0; r->then && k < n->n_in; k++) {
        const moa_agent_node *from = &r->node[n->in[k]];
        if (from->state >= MOA_NODE_DONE || n->in[k] >= r->n_then) continue;
        const moa_then *then = &r->then[n->in[k]];
        if ((!then->spared && then->late != MOA_LATE_LEFT) || (then->asked && !from->asked)) return false;
    }
    return true;
}

/* False: others have to come first. */
static bool inputs_are_there(moa_execution *x, int i) {
    const moa_agent_node *n = &x->r->node[i];
    const int need = n->need ? n->need : 1;
    if (!n->n_wait) return true;
    if (n_worked(x->r, n) < need) return false;
    if (!cut_as_then(x, n)) return false;
    const char *why = n->enough ? n->enough(x->r, n) : NULL;
    if (why) return cut_off(x, i, why), true;
    if (!(n->grace_s > 0)) return false;
    if (x->r->then) return cut_off(x, i, NULL), true;
    const double now = moa_now();
    if (!(n->cut_at > 0)) {
        x->r->node[i].cut_at = now + n->grace_s;
        return push(&x->late, i) < 0;
    }
    if (now < n->cut_at) return false;
    cut_off(x, i, NULL);
    return true;
}

static void reduce(moa_execution *x, int i) {
    moa_run *r = x->r;
    moa_err err = {0};
    emit(x, i, MOA_EV_START, NULL, 0);
    const double t0 = moa_now();
    const int rc = r->node[i].reduce(r, &r->node[i], &err);
    r->node[i].seconds = moa_now() - t0;
    if (rc < 0) node_fails(x, i, rc, &err);
    else node_ends(x, i, MOA_NODE_DONE);
}

static int compose_plain(moa_run *r, moa_agent_node *n, moa_err *err) {
    n->msg = moa_arena_alloc(r->arena, (size_t)r->n_conv * sizeof *n->msg);
    if (!n->msg) return moa_fail(err, MOA_ENOMEM, "messages of %s", n->name);
    memcpy(n->msg, r->conv, (size_t)r->n_conv * sizeof *n->msg);
    n->n_msg = r->n_conv;
    return 0;
}

/* False: it has failed, for want of inputs. */
static bool enough_worked(moa_execution *x, int i) {
    moa_run *r = x->r;
    moa_err err = {0};
    const int need = r->node[i].need ? r->node[i].need : r->node[i].n_in > 0;
    if (n_worked(r, &r->node[i]) >= need) return true;
    /* The cause says more than the consequence: it is what the run fails with, the node's own note is short. */
    int rc = MOA_EINVAL; /* the code of its own first input that failed: whose turn it was elsewhere depends on the clock */
    for (int k = 0; k < r->node[i].n_in && rc == MOA_EINVAL; k++)
        if (r->node[r->node[i].in[k]].state == MOA_NODE_FAILED) rc = r->node[r->node[i].in[k]].rc;
    moa_fail(&err, rc, "too few of its %d inputs worked", r->node[i].n_in);
    node_fails(x, i, rc, &err);
    if (r->node[i].state == MOA_NODE_FAILED && moa_run_is_answer(r, i) && r->cause.code) r->err = r->cause;
    return false;
}

/* False: it has failed, since the deadline has passed. */
static bool in_time(moa_execution *x, int i) {
    moa_run *r = x->r;
    moa_err err = {0};
    if (!x->late_now && late_then(r, i) != MOA_LATE_UNASKED) return true;
    r->node[i].late = MOA_LATE_UNASKED;
    stand_in(&r->node[i]);
    const int rc = moa_fail(&err, MOA_ETIME, "not asked: the deadline of %g s has passed", r->cfg->deadline_s);
    node_fails(x, i, rc, &err);
    return false;
}

/* Its proposals have ended, and so has it: what it said is judged as a whole. */
static void end_stair(moa_execution *x, int i) {
    moa_run *r = x->r;
    moa_agent_node *n = &r->node[i];
    const moa_stair *s = n->stair;
    moa_err err = s->err;
    give_back(x, n);
    if (moa_stair_join(r, n) < 0) {
        node_fails(x, i, moa_fail(&err, MOA_ENOMEM, "text of %s", n->name), &err);
        return;
    }
    if (s->over == MOA_STAIR_FAILED) {
        node_fails(x, i, err.code, &err);
        return;
    }
    if (s->over == MOA_STAIR_LATE) {
        n->late = MOA_LATE_CUT;
        stand_in(n);
        if (n_worked(r, n) || !s->said.len) {
            node_fails(x, i, moa_fail(&err, MOA_ETIME, "cut off by the deadline of %g s", r->cfg->deadline_s), &err);
            return;
        }
        moa_node_note(r, n, "cut off by the deadline of %g s", r->cfg->deadline_s);
    }
    if (s->over == MOA_STAIR_SPENT) moa_node_note(r, n, "cut off after %d tokens: the budget has no room for the rest", s->written);
    if (s->over == MOA_STAIR_LATE || s->over == MOA_STAIR_SPENT) n->why = MOA_STOP_LENGTH;
    else note_cut(r, n, moa_run_is_answer(r, i));
    judge_reply(x, i);
}

/* Replay: were no further steps asked then? They are not composed: what was is not known. */
static bool stopped_then(moa_execution *x, int i, bool there) {
    const moa_run *r = x->r;
    moa_stair *s = r->node[i].stair;
    if (s->n_step != moa_stair_n_then(r, &r->node[i])) return false;
    if (r->then[i].late == MOA_LATE_BUDGET) {
        if (there) not_afforded(x, i);
        return true;
    }
    if (r->then[i].ended) return false;
    if (there && push(&x->later, i) == 0) s->queued = true; /* the run was canceled before its turn came */
    return true;
}

/* Its next step, if it is time for it. */
static void climb(moa_execution *x, int i) {
    moa_run *r = x->r;
    moa_stair *s = r->node[i].stair;
    moa_err err = {0};
    const bool there = inputs_are_there(x, i); /* early stop while it writes, too */
    if (s->queued && there) ask_later_ones(x);
    if (r->node[i].call || s->queued) return;
    const bool late = x->late_now || (late_then(r, i) == MOA_LATE_CUT && s->n_step == moa_stair_n_then(r, &r->node[i])) || late_then(r, i) == MOA_LATE_UNASKED;
    if (late && s->n_step && !s->over) s->over = MOA_STAIR_LATE;
    if (s->over) {
        if (there) end_stair(x, i);
        return;
    }
    if (!late && stopped_then(x, i, there)) return;
    const moa_stair_next next = late ? MOA_STAIR_LAST : moa_stair_look(r, &r->node[i]);
    if (next == MOA_STAIR_WAITS || (next == MOA_STAIR_LAST && !there)) return;
    if (next == MOA_STAIR_LAST && (!enough_worked(x, i) || !in_time(x, i))) return;
    const char *note = r->node[i].note;
    if (!s->n_step) r->node[i].started = moa_now() - x->t0;
    if (next == MOA_STAIR_LAST) note_missing(r, i);
    const int rc = moa_stair_compose(r, &r->node[i], next == MOA_STAIR_LAST, &err); /* may add nodes: they move */
    s->note = next == MOA_STAIR_LAST ? r->node[i].note : NULL;
    r->node[i].note = note;
    if (rc < 0 && next == MOA_STAIR_PART) s->ended = true, moa_execution_look(x, i); /* the whole decides */
    else if (rc < 0) node_fails(x, i, rc, &err);
    else if (push(&x->ready, i) == 0) s->queued = true;
    else cancel_all(x);
}

static void look_at(moa_execution *x, int i) {
    moa_run *r = x->r;
    moa_err err = {0};
    if (r->node[i].state >= MOA_NODE_DONE || x->canceled || x->over) return;
    if (r->node[i].stair) {
        climb(x, i);
        return;
    }
    if (r->node[i].state != MOA_NODE_WAITING || !inputs_are_there(x, i) || !enough_worked(x, i)) return;
    r->node[i].started = moa_now() - x->t0;
    note_missing(r, i);
    if (!r->node[i].backend) {
        reduce(x, i);
        return;
    }
    if (!in_time(x, i)) return;
    const moa_compose_fn compose = r->node[i].compose ? r->node[i].compose : compose_plain;
    const int rc = compose(r, &r->node[i], &err); /* may add nodes: they move */
    if (rc < 0) node_fails(x, i, rc, &err);
    else if (push(&x->ready, i) == 0) r->node[i].state = MOA_NODE_RUNNING;
    else cancel_all(x);
}

/* ---- calls ---- */

static moa_letter *make_call(moa_execution *x, int i, moa_err *err) {
    moa_run *r = x->r;
    moa_agent_node *n = &r->node[i];
    moa_letter *l = moa_arena_calloc(r->arena, sizeof *l);
    if (!l) return moa_fail(err, MOA_ENOMEM, "a call of %s", n->name), NULL;
    if (n->extra && n->extra->logprobs && !n->log && moa_token_log_new(&n->log, n->extra->top_logprobs, err) < 0) return NULL;
    l->call = (moa_call){.msg = n->msg, .n_msg = n->n_msg, .sampling = n->sampling, .max_tokens = n->max_tokens, .grammar = n->grammar, .extra = n->extra, .log = n->log, .scope = r->scope,
                        .sample = (int)(r->seed >> 40) + i};
    if (n->stair) moa_stair_begin(&l->call, n, moa_now() - x->t0);
    moa_letter_init(l, &x->box, i);
    return l;
}

/* A later step is no beginning. Who is read while it writes is heard at once. */
static void tell_start(moa_execution *x, moa_letter *l) {
    const moa_agent_node *n = &x->r->node[l->about];
    if (!n->stair || n->stair->n_step == 1) emit(x, l->about, MOA_EV_START, NULL, 0);
    if (n->heard) l->quiet = false;
}

/* Starts all composed nodes of the backend of ready[0], and takes them off the list. */
static void start_group(moa_execution *x, moa_call **call) {
    moa_backend *b = x->r->node[x->ready.v[0]].backend;
    int n = 0, left = 0;
    for (int k = 0; k < x->ready.n; k++) {
        const int i = x->ready.v[k];
        moa_err err = {0};
        if (x->r->node[i].backend != b) {
            x->ready.v[left++] = i;
            continue;
        }
        const moa_stair *s = x->r->node[i].stair;
        if ((s ? !s->queued : x->r->node[i].state != MOA_NODE_RUNNING) || x->over) continue; /* it was cut off while it waited for the budget */
        const leave may = afford(x, i);
        if (may == LATER) {
            if (push(&x->later, i) < 0) cancel_all(x);
            continue;
        }
        if (may == NO) {
            not_afforded(x, i);
            continue;
        }
        moa_letter *l = make_call(x, i, &err);
        if (!l) {
            node_fails(x, i, err.code, &err);
            continue;
        }
        x->r->node[i].call = l;
        x->r->node[i].state = MOA_NODE_RUNNING;
        x->r->node[i].asked = true;
        x->n_running++;
        for (const moa_edge *e = x->r->node[i].out; x->r->then && e; e = e->next) moa_execution_look(x, e->to); /* cut_as_then */
        call[n++] = &l->call;
    }
    x->ready.n = left;
    for (int k = 0; k < n; k++) tell_start(x, (moa_letter *)call[k]);
    for (int k = 0; k < n && x->canceled; k++) x->r->node[((moa_letter *)call[k])->about].call = NULL, x->n_running--;
    if (x->canceled || !n) return;
    b->ops->start(b, call, n);
}

static void start_ready(moa_execution *x) {
    if (!x->ready.n) return;
    moa_call **call = malloc((size_t)x->ready.n * sizeof(moa_call *));
    if (!call) cancel_all(x);
    while (x->ready.n && !x->canceled) start_group(x, call);
    free(call);
}

static void settle(moa_execution *x) {
    for (int at = 0; at < x->look.n; at++) look_at(x, x->look.v[at]);
    x->look.n = 0;
}

/* Nodes whose time to wait is over are looked at again; the next of them sets the alarm. */
static void look_at_clock(moa_execution *x) {
    double next = 0;
    int left = 0;
    if (!x->late.n) return;
    const double now = moa_now();
    for (int k = 0; k < x->late.n; k++) {
        const int i = x->late.v[k];
        const moa_agent_node *n = &x->r->node[i];
        if (n->state != MOA_NODE_WAITING && !(n->stair && n->state == MOA_NODE_RUNNING)) continue;
        if (now >= n->cut_at) {
            moa_execution_look(x, i);
            continue;
        }
        x->late.v[left++] = i;
        if (!(next > 0) || n->cut_at < next) next = n->cut_at;
    }
    x->late.n = left;
    if (next > 0) moa_loop_wake_by(x->loop, &x->task, next);
}

/* What runs is canceled, and ends by end_late; nodes that ask nobody still work. */
static void look_at_deadline(moa_execution *x) {
    const double end = x->t0 + x->r->cfg->deadline_s;
    if (!(x->r->cfg->deadline_s > 0) || x->late_now || x->r->then) return;
    if (moa_now() < end) {
        moa_loop_wake_by(x->loop, &x->task, end);
        return;
    }
    x->late_now = true;
    call_off(x);
}

static void conclude(moa_execution *x) {
    moa_run *r = x->r;
    const moa_agent_node *a = &r->node[r->answer];
    for (int i = 1; i < r->n_answer && a->state == MOA_NODE_DONE; i++) a++;
    r->seconds = moa_now() - x->t0;
    if (a->state == MOA_NODE_DONE) r->rc = 0;
    else if (x->canceled || (r->then && x->later.n)) /* replay: their turn never came, since it was canceled */
        r->rc = moa_fail(&r->err, MOA_ECANCELED, "the run was canceled");
    else if (r->rc == 0) r->rc = moa_fail(&r->err, MOA_EINVAL, "the answer's node %s never became ready", a->name);
}

static void free_execution(moa_execution *x) {
    moa_inbox_deinit(&x->box);
    moa_buf_deinit(&x->text);
    free(x->look.v);
    free(x->ready.v);
    free(x->late.v);
    free(x->later.v);
    free(x);
}

/* What was not generated because enough was there. */
static void count_spared(moa_run *r) {
    for (int i = 0; i < r->n_node; i++) {
        const moa_agent_node *n = &r->node[i], *like = n->spared ? n : n->n_spared ? &r->node[n->spared_like] : NULL;
        int64_t sum = 0, k = 0;
        if (!like) continue;
        for (int j = 0; j < r->n_node; j++) {
            const moa_agent_node *m = &r->node[j];
            if (m->state != MOA_NODE_DONE || m->spared || !m->backend || strcmp(m->role, like->role) != 0) continue;
            sum += m->completion_tokens, k++;
        }
        if (!k) continue;
        const int64_t mean = sum / k;
        if (n->spared && mean > n->completion_tokens) r->usage.spared_tokens += mean - n->completion_tokens;
        r->usage.spared_tokens += mean * n->n_spared;
    }
}

static bool step(moa_task *t) {
    moa_execution *x = (moa_execution *)t;
    read_inbox(x);
    if (atomic_load(&x->cancel)) cancel_all(x);
    look_at_deadline(x);
    do {
        settle(x);
        start_ready(x);
        look_at_clock(x);
    } while (x->look.n && !x->canceled);
    if (x->n_running || (x->late.n && !x->canceled && !x->over)) return false;
    conclude(x);
    count_spared(x->r);
    moa_loop_calm(x->loop, t);
    moa_run *r = x->r;
    atomic_store(&r->x, NULL);
    x->ended(x->ctx, r); /* r may be gone; who cancels it may still hold x until here */
    free_execution(x);
    return true;
}

static void wake(void *ctx, double at) {
    moa_execution *x = ctx;
    if (at > 0) moa_loop_wake_by(x->loop, &x->task, at);
    else moa_loop_wake(x->loop, &x->task);
}

int moa_run_start(moa_run *r, moa_loop *loop, moa_event_cb cb, moa_ended_fn ended, void *ctx, moa_err *err) {
    moa_execution *x = calloc(1, sizeof *x);
    if (!x) return moa_fail(err, MOA_ENOMEM, "a run");
    *x = (moa_execution){.task.run = step, .r = r, .loop = loop, .cb = cb, .ended = ended, .ctx = ctx, .t0 = moa_now()};
    moa_buf_init(&x->text, 1 << 28);
    moa_inbox_init(&x->box, wake, x);
    for (int i = 0; i < r->n_node; i++) moa_execution_look(x, i);
    if (x->canceled) {
        free_execution(x);
        return moa_fail(err, MOA_ENOMEM, "a run of %d calls", r->n_node);
    }
    atomic_store(&r->x, x);
    moa_loop_wake(loop, &x->task);
    return 0;
}

void moa_run_cancel(moa_run *r) {
    moa_execution *x = atomic_load(&r->x);
    if (!x) return;
    atomic_store(&x->cancel, true);
    moa_loop_wake(x->loop, &x->task);
}

/* ---- runs that somebody waits for ---- */

typedef struct waiter {
    moa_run **r; int n, n_left;
    moa_event_cb cb; void *ctx;
    bool canceled;
    double heard;        /* when cb was asked last */
} waiter;

static bool pass_on(void *ctx, moa_run *r, const moa_event *e) {
    waiter *w = ctx;
    w->heard = moa_now();
    if (!w->canceled && w->cb && !w->cb(w->ctx, r, e)) {
        w->canceled = true;
        for (int i = 0; i < w->n; i++) moa_run_cancel(w->r[i]);
    }
    return !w->canceled;
}

static void count_down(void *ctx, moa_run *r) {
    (void)r;
    ((waiter *)ctx)->n_left--;
}

/* Nothing has happened for a while. */
static void ask_whether_to_go_on(waiter *w) {
    for (int k = 0; k < w->n; k++)
        for (int i = 0; i < w->r[k]->n_node; i++) {
            if (!w->r[k]->node[i].call) continue;
            const moa_event e = {.kind = MOA_EV_TEXT, .node = i, .text = ""};
            pass_on(w, w->r[k], &e);
            return;
        }
}

int moa_run_execute_many(moa_run **r, int n, moa_event_cb cb, void *ctx, moa_err *err) {
    enum { ASK_MS = 20 };
    waiter w = {.r = r, .n = n, .cb = cb, .ctx = ctx};
    moa_loop *loop;
    MOA_TRY(moa_loop_new(&loop, 0, err));
    for (int i = 0; i < n; i++) {
        const int rc = moa_run_start(r[i], loop, pass_on, count_down, &w, &r[i]->err);
        if (rc < 0) r[i]->rc = rc;
        else w.n_left++;
    }
    while (w.n_left) {
        moa_loop_turn(loop, 1e-3 * ASK_MS);
        if (w.n_left && cb && !w.canceled && moa_now() - w.heard >= 1e-3 * ASK_MS) ask_whether_to_go_on(&w);
    }
    moa_loop_free(loop);
    return w.canceled ? moa_fail(err, MOA_ECANCELED, "canceled") : 0;
}

int moa_run_execute(moa_run *r, moa_event_cb cb, void *ctx, moa_err *err) {
    int rc = moa_run_execute_many(&r, 1, cb, ctx, err);
    if (rc >= 0 && r->rc < 0) {
        if (err) *err = r->err;
        rc = r->rc;
    }
    return rc;
}
