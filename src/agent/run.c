/* run.c - graphs: nodes, their order, their answer. How a graph is executed: execute.c.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/execute.h"

#include "agent/screen.h"
#include "agent/stair.h"
#include "base/rng.h"
#include "task/task.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NODES = 1 << 16, RUN_BYTES = 256 << 20 };

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
    const moa_strategy *s = moa_strategy_find(cfg->strategy);
    if (!s) return moa_fail(err, MOA_ENOTFOUND, "no strategy '%s'", cfg->strategy ? cfg->strategy : "");
    if (cfg->n_proposer < 1 || !cfg->proposer || !cfg->proposer[0]) return moa_fail(err, MOA_EINVAL, "mix %s: no model", s->name);
    if (n_conv < 1 || strcmp(conv[n_conv - 1].role, "user"))
        return moa_fail(err, MOA_EINVAL, "a conversation must end with the user's turn");
    if (!(s->has & MOA_AGGREGATES)) MOA_TRY(moa_no_dropout(cfg, err));
    if (s->check) MOA_TRY(s->check(cfg, err));
    MOA_TRY(moa_stair_check(cfg, err));
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
    for (int i = 0; i < r->n_node; i++) {
        moa_token_log_free(r->node[i].log);
        moa_stair_deinit(r->node[i].stair);
        if (r->node[i].heard) moa_buf_deinit(r->node[i].heard);
    }
    for (moa_measured *m = r->measured, *next; m; m = next) {
        next = m->next;
        free(m);
    }
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

const char *moa_late_name(moa_late l) {
    static const char *const names[] = {NULL, "unasked", "cut", "budget", "left"};
    return names[l];
}

/* Where n reads what is still being written, that is kept as it comes. */
static int begin_on_parts(moa_run *r, moa_agent_node *n, moa_err *err) {
    enum { MOST = 1 << 28 };
    bool any = false, ok = true;
    for (int i = 0; i < n->n_in; i++) any = any || r->node[n->in[i]].state < MOA_NODE_DONE;
    if (!n->staircase || !any) return 0;
    ok = (n->stair = moa_stair_new(r->arena, r->cfg)) != NULL;
    for (int i = 0; ok && i < n->n_in; i++) {
        moa_agent_node *from = &r->node[n->in[i]];
        if (from->heard || from->state >= MOA_NODE_DONE) continue;
        from->heard = moa_arena_alloc(r->arena, sizeof *from->heard);
        if ((ok = from->heard != NULL)) moa_buf_init(from->heard, MOST);
    }
    return ok ? 0 : moa_fail(err, MOA_ENOMEM, "node %s", n->name);
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
    moa_edge *edge = moa_arena_calloc(r->arena, (size_t)(n->n_in + 1) * sizeof *edge);
    if (!d->name || !in || !edge) return moa_fail(err, MOA_ENOMEM, "node %s", n->name);
    if (n->n_in) memcpy(in, n->in, (size_t)n->n_in * sizeof *in);
    d->in = in;
    d->out = d->out_end = NULL;
    d->call = NULL;
    d->stair = NULL, d->heard = NULL;
    d->n_wait = 0;
    MOA_TRY(begin_on_parts(r, d, err));
    for (int i = 0; i < n->n_in; i++) {
        moa_agent_node *from = &r->node[in[i]];
        if (from->state >= MOA_NODE_DONE) continue;
        edge[i].to = r->n_node;
        *(from->out ? &from->out_end->next : &from->out) = &edge[i];
        from->out_end = &edge[i];
        d->n_wait++;
    }
    uint64_t key[2] = {r->seed, (uint64_t)r->n_node};
    if (!n->seeded) d->sampling.seed = moa_hash64(key, sizeof key, 0);
    d->state = MOA_NODE_WAITING;
    if (r->x) moa_execution_look(r->x, r->n_node);
    return r->n_node++;
}

uint64_t moa_measured_key(const moa_backend *b, const moa_message *msg, int n_msg) {
    uint64_t h = moa_hash64(b->id, strlen(b->id), 0);
    for (int i = 0; i < n_msg; i++) { /* with their terminators, so that borders count */
        h = moa_hash64(msg[i].role, strlen(msg[i].role) + 1, h);
        h = moa_hash64(msg[i].content, strlen(msg[i].content) + 1, h);
    }
    return h;
}

int64_t moa_run_measure(moa_run *r, moa_backend *b, const moa_message *msg, int n_msg, const moa_call_extra *extra, moa_err *err) {
    if (!b->ops->measure) return 0;
    const int64_t n = b->ops->measure(b, msg, n_msg, extra, err);
    moa_measured *m = n < 0 ? NULL : malloc(sizeof *m); /* not of the arena: composing takes back what it tried there */
    if (n >= 0 && !m) return moa_fail(err, MOA_ENOMEM, "a measured prompt");
    if (m) {
        *m = (moa_measured){moa_measured_key(b, msg, n_msg), n, r->measured};
        r->measured = m;
    }
    return n;
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

