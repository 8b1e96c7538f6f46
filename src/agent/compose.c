/* compose.c - what a node says to its model.
 *
 * References (reference.h) that are too long for the model's context are shortened evenly: one limit for all (shorter ones stay
 * whole), found by bisection on the real token count; head and tail are kept, since the answer stands at the end.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/strategy.h"

#include "agent/reference.h"
#include "agent/screen.h"
#include "base/buf.h"

#include <string.h>

enum {
    MAX_PROMPT = 64 << 20,
    MIN_REF = 16,
    UNMEASURED = 32 << 10, /* bytes of a reference where nobody knows what the context holds */
    TOKEN_BYTES = 16,      /* no context of n tokens is looked at for more than so many bytes each: a reply of 10 MB is cut before it is tokenized */
};

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

/* Room for the prompt: the context less the reply's tokens, of which a quarter of the context is kept at most. */
static int64_t prompt_limit(const moa_agent_node *n) {
    if (!n->backend || !n->backend->ops->measure || n->backend->n_ctx <= 0) return INT64_MAX;
    int reply = n->max_tokens < n->backend->n_ctx / 4 ? n->max_tokens : n->backend->n_ctx / 4;
    return n->backend->n_ctx - reply;
}

static int measure_fits(bool *fits, moa_run *r, moa_agent_node *n, moa_err *err) {
    *fits = true;
    int64_t limit = prompt_limit(n);
    if (limit == INT64_MAX) return 0;
    int64_t tokens = moa_run_measure(r, n->backend, n->msg, n->n_msg, err);
    if (tokens < 0) return (int)tokens;
    *fits = tokens <= limit;
    return 0;
}

int moa_references_fit(bool *fits, moa_run *r, moa_agent_node *n, const char *const *ref, int n_ref, moa_err *err) {
    if (prompt_limit(n) == INT64_MAX) return *fits = true, 0;
    moa_arena_mark mark = moa_arena_save(r->arena);
    int rc = set_references(r, n, system_of(r, n), ref, n_ref, err);
    if (rc >= 0) rc = measure_fits(fits, r, n, err);
    n->msg = NULL, n->n_msg = 0;
    moa_arena_restore(r->arena, mark);
    return rc;
}

const char *moa_shorten(moa_arena *a, const char *s, size_t limit) {
    size_t n = strlen(s), half = limit / 2;
    if (n <= limit) return s;
    size_t head = half, tail = n - half;
    while (head > 0 && ((unsigned char)s[head] & 0xC0) == 0x80) head--;
    while (tail < n && ((unsigned char)s[tail] & 0xC0) == 0x80) tail++;
    static const char mark[] = " ... ";
    char *out = moa_arena_alloc(a, head + sizeof mark + (n - tail));
    if (!out) return NULL;
    memcpy(out, s, head);
    memcpy(out + head, mark, sizeof mark - 1);
    memcpy(out + head + sizeof mark - 1, s + tail, n - tail + 1);
    return out;
}

static int set_shortened(moa_run *r, moa_agent_node *n, const char *system, const char **cut, const char *const *ref, int n_ref, size_t limit, moa_err *err) {
    for (int i = 0; i < n_ref; i++)
        if (!(cut[i] = moa_shorten(r->arena, ref[i], limit))) return moa_fail(err, MOA_ENOMEM, "a shortened reference of %s", n->name);
    return set_references(r, n, system, cut, n_ref, err);
}

/* The largest limit whose prompt fits, MIN_REF when none leaves the reply its room; an error when not even the prompt fits. */
static int fit_references(moa_run *r, moa_agent_node *n, const char *system, const char *const *ref, int n_ref, moa_err *err) {
    size_t lo = MIN_REF, hi = 0, longest;
    for (int i = 0; i < n_ref; i++) hi = strlen(ref[i]) > hi ? strlen(ref[i]) : hi;
    longest = hi;
    const char **cut = moa_arena_alloc(r->arena, (size_t)(n_ref + 1) * sizeof *cut);
    if (!cut) return moa_fail(err, MOA_ENOMEM, "references of %s", n->name);
    while (lo + 1 < hi) {
        size_t mid = lo + (hi - lo) / 2;
        bool fits;
        moa_arena_mark mark = moa_arena_save(r->arena);
        int rc = set_shortened(r, n, system, cut, ref, n_ref, mid, err);
        if (rc >= 0) rc = measure_fits(&fits, r, n, err);
        moa_arena_restore(r->arena, mark);
        if (rc < 0) return rc;
        if (fits) lo = mid;
        else hi = mid;
    }
    moa_node_note(r, n, "references shortened to %zu of up to %zu bytes each to fit the context of %d tokens", lo, longest,
                  n->backend->n_ctx);
    MOA_TRY(set_shortened(r, n, system, cut, ref, n_ref, lo, err));
    const int64_t tokens = moa_run_measure(r, n->backend, n->msg, n->n_msg, err);
    if (tokens < n->backend->n_ctx) return tokens < 0 ? (int)tokens : 0;
    const int rc = moa_fail(err, MOA_ELIMIT, "%d references of at most %zu bytes each make a prompt of %lld tokens, the context of %s holds %d with the reply",
                            n_ref, lo, (long long)tokens, n->backend->id, n->backend->n_ctx);
    return moa_backend_ctx_hint(err, rc, n->backend, tokens, "use fewer samples");
}

/* What no context could hold is cut at once. */
static int cut_endless(const char ***out, moa_run *r, moa_agent_node *n, const char *const *ref, int n_ref, moa_err *err) {
    const size_t most = prompt_limit(n) == INT64_MAX ? UNMEASURED : (size_t)n->backend->n_ctx * TOKEN_BYTES;
    int long_ones = 0;
    const char **cut = *out = moa_arena_alloc(r->arena, (size_t)(n_ref + 1) * sizeof *cut);
    if (!cut) return moa_fail(err, MOA_ENOMEM, "references of %s", n->name);
    for (int i = 0; i < n_ref; i++) {
        if (!(cut[i] = moa_shorten(r->arena, ref[i], most))) return moa_fail(err, MOA_ENOMEM, "a shortened reference of %s", n->name);
        long_ones += cut[i] != ref[i];
    }
    if (long_ones) moa_node_note(r, n, "%d of %d references shortened to %zu bytes", long_ones, n_ref, most);
    return 0;
}

static int compose_with(moa_run *r, moa_agent_node *n, const char *system, const char *const *ref, int n_ref, moa_err *err) {
    const char **whole;
    bool fits;
    MOA_TRY(cut_endless(&whole, r, n, ref, n_ref, err));
    MOA_TRY(set_references(r, n, system, whole, n_ref, err));
    MOA_TRY(measure_fits(&fits, r, n, err));
    return fits || n_ref == 0 ? 0 : fit_references(r, n, system, whole, n_ref, err);
}

int moa_compose_references(moa_run *r, moa_agent_node *n, const char *const *ref, int n_ref, moa_err *err) {
    return compose_with(r, n, system_of(r, n), ref, n_ref, err);
}

int moa_compose_aggregate_as(moa_run *r, moa_agent_node *n, const char *system, moa_err *err) {
    const char **ref = moa_arena_alloc(r->arena, (size_t)(n->n_in + 1) * sizeof *ref);
    if (!ref) return moa_fail(err, MOA_ENOMEM, "references of %s", n->name);
    int n_ref = 0;
    bool *drop = moa_arena_alloc(r->arena, (size_t)(n->n_in + 1) * sizeof *drop);
    if (!drop) return moa_fail(err, MOA_ENOMEM, "references of %s", n->name);
    MOA_TRY(moa_screen(drop, r, n, true, err));
    for (int i = 0; i < n->n_in; i++)
        if (r->node[n->in[i]].state == MOA_NODE_DONE && !drop[i]) ref[n_ref++] = moa_reply_as_read(r, n, &r->node[n->in[i]]);
    return compose_with(r, n, system, ref, n_ref, err);
}

int moa_compose_aggregate(moa_run *r, moa_agent_node *n, moa_err *err) { return moa_compose_aggregate_as(r, n, system_of(r, n), err); }
