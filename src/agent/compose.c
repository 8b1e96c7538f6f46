/* compose.c - what a node says to its model.
 *
 * References (reference.h) that are too long for the model's context are shortened (fit.h) or, where the mix says so, read in windows (window.h).
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/strategy.h"

#include "agent/fit.h"
#include "agent/reference.h"
#include "agent/screen.h"
#include "agent/window.h"
#include "base/buf.h"

#include <string.h>

enum { MAX_PROMPT = 64 << 20 };

/* conv -> n->msg with room for a system message; the last message's content is left to the caller. */
static int base_messages(moa_run *r, moa_agent_node *n, const char *system, moa_err *err) {
    n->msg = moa_arena_alloc(r->arena, (size_t)(r->n_conv + 1) * sizeof *n->msg);
    if (!n->msg) return moa_fail(err, MOA_ENOMEM, "messages of %s", n->name);
    int k = 0, i = 0;
    if (system && *system) {
        n->msg[k++] = (moa_message){"system", system};
        if (!strcmp(r->conv[0].role, "system")) { /* one system message: the user's, then the role's */
            moa_buf b;
            moa_buf_init(&b, MAX_PROMPT);
            moa_buf_addf(&b, "%s\n\n%s", r->conv[0].content, system);
            char *both = b.failed ? NULL : moa_arena_strndup(r->arena, moa_buf_str(&b), b.len);
            moa_buf_deinit(&b);
            if (!both) return moa_fail(err, MOA_ENOMEM, "the system message of %s", n->name);
            n->msg[0].content = both;
            i = 1;
        }
    }
    for (; i < r->n_conv; i++) n->msg[k++] = r->conv[i];
    n->n_msg = k;
    return 0;
}

int moa_compose_ask(moa_run *r, moa_agent_node *n, const char *system, const char *user, moa_err *err) {
    const char *own = system && *system ? moa_arena_strndup(r->arena, system, strlen(system)) : "", *turn = user ? moa_arena_strndup(r->arena, user, strlen(user)) : NULL;
    if (!own || (user && !turn)) return moa_fail(err, MOA_ENOMEM, "the prompt of %s", n->name);
    MOA_TRY(base_messages(r, n, own, err));
    if (turn) n->msg[n->n_msg - 1].content = turn;
    return 0;
}

int moa_compose_proposer(moa_run *r, moa_agent_node *n, moa_err *err) { return base_messages(r, n, r->cfg->propose_system, err); }

/* The system message of n's role. */
static const char *system_of(const moa_run *r, const moa_agent_node *n) {
    return !strcmp(n->role, "proposer") ? r->cfg->propose_system : r->cfg->aggregate_system;
}

/* system and text in one. */
static const char *join(moa_run *r, const char *system, const char *text) {
    moa_buf b;
    moa_buf_init(&b, MAX_PROMPT);
    moa_buf_addf(&b, "%s\n\n%s", system, text);
    const char *both = b.failed ? NULL : moa_arena_strndup(r->arena, moa_buf_str(&b), b.len);
    moa_buf_deinit(&b);
    return both;
}

/* The conversation with references. Scratch of earlier attempts stays in the arena until the run ends. */
static int set_references(moa_run *r, moa_agent_node *n, const char *system, const char *const *ref, int n_ref, moa_err *err) {
    moa_buf b;
    moa_buf_init(&b, MAX_PROMPT);
    const int rc = moa_add_references(&b, r, ref, n_ref);
    const char *text = rc < 0 ? NULL : moa_arena_strndup(r->arena, moa_buf_str(&b), b.len);
    moa_buf_deinit(&b);
    if (rc < 0) return moa_fail(err, rc, "the references of %s do not fit %d MiB", n->name, MAX_PROMPT >> 20);
    if (text && r->cfg->layout == MOA_LAYOUT_SYSTEM) {
        if (system && *system) text = join(r, system, text);
        return text ? base_messages(r, n, text, err) : moa_fail(err, MOA_ENOMEM, "the prompt of %s", n->name);
    }
    if (!text) return moa_fail(err, MOA_ENOMEM, "the prompt of %s", n->name);
    MOA_TRY(base_messages(r, n, system, err));
    n->msg[n->n_msg - 1].content = text;
    return 0;
}

static int set_fitted(moa_run *r, moa_agent_node *n, const char *const *ref, int n_ref, const void *system, moa_err *err) { return set_references(r, n, system, ref, n_ref, err); }

static int compose_with(moa_run *r, moa_agent_node *n, const char *system, const char *const *ref, int n_ref, moa_err *err) {
    const moa_fitting f = {"references", set_fitted, system};
    return moa_fit(r, n, &f, ref, n_ref, err);
}

int moa_references_fit(bool *fits, moa_run *r, moa_agent_node *n, const char *const *ref, int n_ref, moa_err *err) {
    const moa_fitting f = {"references", set_fitted, system_of(r, n)};
    return moa_fits(fits, r, n, &f, ref, n_ref, err);
}

int moa_compose_references(moa_run *r, moa_agent_node *n, const char *const *ref, int n_ref, moa_err *err) {
    return compose_with(r, n, system_of(r, n), ref, n_ref, err);
}

int moa_read_references(moa_panel *p, moa_run *r, moa_agent_node *n, moa_err *err) {
    const size_t room = (size_t)n->n_in + 1;
    bool *drop = moa_arena_alloc(r->arena, room * sizeof *drop);
    *p = (moa_panel){.id = moa_arena_alloc(r->arena, room * sizeof *p->id), .text = moa_arena_alloc(r->arena, room * sizeof *p->text)};
    if (!drop || !p->id || !p->text) return moa_fail(err, MOA_ENOMEM, "references of %s", n->name);
    MOA_TRY(moa_screen(drop, r, n, true, err));
    for (int i = 0; i < n->n_in; i++) {
        if (r->node[n->in[i]].state != MOA_NODE_DONE || drop[i]) continue;
        p->id[p->n] = n->in[i];
        p->text[p->n++] = moa_reply_as_read(r, n, &r->node[n->in[i]]);
    }
    return 0;
}

int moa_compose_aggregate_as(moa_run *r, moa_agent_node *n, const char *system, moa_err *err) {
    moa_panel p;
    MOA_TRY(moa_read_references(&p, r, n, err));
    return compose_with(r, n, system, p.text, p.n, err);
}

int moa_compose_aggregate(moa_run *r, moa_agent_node *n, moa_err *err) {
    moa_panel p;
    MOA_TRY(moa_read_references(&p, r, n, err));
    if (r->cfg->fit == MOA_FIT_WINDOW && r->n_answer == 1 && moa_run_is_answer(r, (int)(n - r->node))) return moa_compose_windows(r, n, &p, &(moa_window_how){0}, err);
    return compose_with(r, n, system_of(r, n), p.text, p.n, err);
}
