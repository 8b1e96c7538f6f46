/* window.c - see window.h. SPDX-License-Identifier: Apache-2.0 */
#include "agent/window.h"

#include "agent/fit.h"

#include <stdio.h>
#include <string.h>

typedef struct windows {
    moa_window_how how;
    moa_panel p;             /* all references, in the order in which they are read */
    const char *name;        /* of the first window's node */
    moa_reduce_fn fallback;  /* of the first */
    int at, n_window;        /* the first that no window has read; windows so far */
    int merged;              /* references of which the best so far was made */
} windows;                   /* node->own of all windows but the first */

/* The best so far: its copies stand before or behind the fresh ones. */
typedef struct holder { int id, copies; const char *text; } holder; /* copies 0: there is none yet */

/* Returns how many references there are. */
static int line_up(const char **ref, const windows *w, const holder *best, int fresh) {
    int n = 0;
    for (int i = 0; i < best->copies && !w->how.last; i++) ref[n++] = best->text;
    for (int i = 0; i < fresh; i++) ref[n++] = w->p.text[w->at + i];
    for (int i = 0; i < best->copies && w->how.last; i++) ref[n++] = best->text;
    return n;
}

/* How many fresh ones fit, `most` at most; 0: not even one. By bisection: a prompt grows with each. */
static int find_fresh(const char **ref, moa_run *r, moa_agent_node *n, const windows *w, const holder *best, int most, moa_err *err) {
    int lo = 0, hi = most + 1;
    for (int k = most; lo + 1 < hi; k = lo + (hi - lo) / 2) {
        bool fits;
        MOA_TRY(moa_references_fit(&fits, r, n, ref, line_up(ref, w, best, k), err));
        if (fits) lo = k;
        else hi = k;
    }
    return lo;
}

static int least(int a, int b) { return a < b ? a : b; }

/* How many fresh ones this window reads, at least one; the copies of the best are those that there is room for. */
static int choose(const char **ref, moa_run *r, moa_agent_node *n, const windows *w, holder *best, moa_err *err) {
    const moa_window_how *how = &w->how;
    const int left = w->p.n - w->at, wanted = best->copies;
    int fresh = find_fresh(ref, r, n, w, best, how->most ? least(left, how->most - best->copies) : left, err);
    if (!fresh && wanted > 1) {
        best->copies = 1;
        fresh = find_fresh(ref, r, n, w, best, how->most ? least(left, how->most - 1) : left, err);
        if (how->copies) moa_node_note(r, n, "room for one copy of the best so far, not %d", wanted);
    }
    if (fresh < 0) return fresh;
    const int could = how->most ? least(left, how->most - best->copies) : left;
    if (!fresh) moa_node_note(r, n, "the context of %d tokens does not hold one reference%s", n->backend->n_ctx, best->copies ? " beside the best so far" : "");
    else if (fresh < could && how->most) moa_node_note(r, n, "the context holds %d references, the window could be %d", fresh + best->copies, how->most);
    else if (fresh < could && !w->n_window) moa_node_note(r, n, "the context of %d tokens holds %d of %d references: the others follow in windows", n->backend->n_ctx, fresh, left);
    return fresh ? fresh : 1;
}

static int next_window(moa_run *r, moa_agent_node *n, moa_err *err);

/* A window that came to nothing. */
static int best_stands(moa_run *r, moa_agent_node *n, moa_err *err) {
    const windows *w = n->own;
    const moa_agent_node *best = &r->node[n->in[0]];
    if (best->state != MOA_NODE_DONE) return w->fallback ? w->fallback(r, n, err) : moa_fail(err, MOA_EINVAL, "%s: no window was merged", n->name);
    moa_node_note(r, n, "the best so far stands, of %s; %d references are not in it", best->name, n->n_in - 1);
    n->said = n->text;
    n->text = best->text, n->text_len = best->text_len;
    return 0;
}

/* Reads window `self` and all that no window has read. */
static int add_next(moa_run *r, int self, windows *w, moa_err *err) {
    const int left = w->p.n - w->at;
    char name[64];
    int *in = moa_arena_alloc(r->arena, ((size_t)left + 1) * sizeof *in);
    if (!in) return moa_fail(err, MOA_ENOMEM, "the next window");
    in[0] = self;
    memcpy(in + 1, w->p.id + w->at, (size_t)left * sizeof *in);
    snprintf(name, sizeof name, "%.40s.w%d", w->name, w->n_window + 1);
    const int id = moa_add_merge(r, r->cfg, name, in, left + 1, err);
    if (id < 0) return id;
    moa_agent_node *next = &r->node[id];
    next->own = w;
    next->compose = next_window;
    next->fallback = best_stands;
    next->need = 0, next->grace_s = 0, next->enough = NULL; /* the first window has waited for those that were late */
    r->answer = id;
    return 0;
}

/* Composes n as the next window of w and says what it read; what is left is the next one's. */
static int compose(moa_run *r, moa_agent_node *n, windows *w, holder *best, moa_err *err) {
    const int self = (int)(n - r->node), all = w->p.n;
    const char **ref = moa_arena_alloc(r->arena, (size_t)(all + best->copies + 1) * sizeof *ref);
    int *in = moa_arena_alloc(r->arena, ((size_t)all + 1) * sizeof *in), n_in = 0;
    if (!ref || !in) return moa_fail(err, MOA_ENOMEM, "a window of %s", n->name);
    const int fresh = all ? choose(ref, r, n, w, best, err) : 0;
    if (fresh < 0) return fresh;
    MOA_TRY(moa_compose_references(r, n, ref, line_up(ref, w, best, fresh), err));
    if (best->copies) in[n_in++] = best->id;
    for (int i = 0; i < fresh; i++) in[n_in++] = w->p.id[w->at + i];
    n->in = in, n->n_in = n_in; /* what it reads, for its vote and for the trace */
    w->at += fresh;
    w->n_window++;
    const bool more = w->at < all;
    if (!w->how.most && w->n_window > 1) moa_node_note(r, n, "window %d%s: references %d to %d of %d", w->n_window, more ? "" : ", the last", w->at - fresh + 1, w->at, all);
    return more ? add_next(r, self, w, err) : 0;
}

/* The best so far as it is read. */
static int hold(holder *best, moa_run *r, moa_agent_node *n, const windows *w, int id, moa_err *err) {
    char line[80];
    *best = (holder){.id = id, .copies = w->how.copies ? w->how.copies : w->how.most == 2 ? 1 : 2, .text = moa_reply_as_read(r, n, &r->node[id])};
    if (!w->how.told) return 0;
    const int at = snprintf(line, sizeof line, "(This reply was made of %d others.)\n", w->merged);
    const size_t len = strlen(best->text);
    char *text = moa_arena_alloc(r->arena, (size_t)at + len + 1);
    if (!text) return moa_fail(err, MOA_ENOMEM, "the best so far");
    memcpy(text, line, (size_t)at);
    memcpy(text + at, best->text, len + 1);
    best->text = text, best->copies = 1;
    return 0;
}

static int next_window(moa_run *r, moa_agent_node *n, moa_err *err) {
    windows *w = n->own;
    holder best = {0};
    const moa_agent_node *before = &r->node[n->in[0]];
    if (!before->replaced || w->n_window == 1) w->merged = w->at; /* the first stands for the vote over its references, a later one for what it had read before */
    if (before->state == MOA_NODE_DONE) MOA_TRY(hold(&best, r, n, w, n->in[0], err));
    return compose(r, n, w, &best, err);
}

int moa_compose_windows(moa_run *r, moa_agent_node *n, const moa_panel *p, const moa_window_how *how, moa_err *err) {
    windows *w = moa_arena_alloc(r->arena, sizeof *w);
    holder none = {0};
    if (!w) return moa_fail(err, MOA_ENOMEM, "windows of %s", n->name);
    *w = (windows){.how = *how, .p = *p, .name = n->name, .fallback = n->fallback};
    return compose(r, n, w, &none, err);
}
