/* fit.c - see fit.h. SPDX-License-Identifier: Apache-2.0 */
#include "agent/fit.h"

#include <string.h>

enum {
    LEAST = 16,            /* bytes of a shortened text */
    UNMEASURED = 32 << 10, /* bytes of a text where nobody knows what the context holds */
    TOKEN_BYTES = 16,      /* no context of n tokens is looked at for more than so many bytes each */
};

int64_t moa_prompt_room(const moa_agent_node *n) {
    const moa_backend *b = n->backend;
    if (!b || !b->ops->measure || b->n_ctx <= 0) return INT64_MAX;
    return b->n_ctx - (n->max_tokens < b->n_ctx / 4 ? n->max_tokens : b->n_ctx / 4);
}

const char *moa_shorten(moa_arena *a, const char *s, size_t limit) {
    static const char mark[] = " ... ";
    const size_t n = strlen(s), half = limit / 2;
    if (n <= limit) return s;
    size_t head = half, tail = n - half;
    while (head > 0 && ((unsigned char)s[head] & 0xC0) == 0x80) head--;
    while (tail < n && ((unsigned char)s[tail] & 0xC0) == 0x80) tail++;
    char *out = moa_arena_alloc(a, head + sizeof mark + (n - tail));
    if (!out) return NULL;
    memcpy(out, s, head);
    memcpy(out + head, mark, sizeof mark - 1);
    memcpy(out + head + sizeof mark - 1, s + tail, n - tail + 1);
    return out;
}

/* Each to at most limit bytes. Returns how many were longer. */
static int shorten_all(const char **out, moa_run *r, const moa_agent_node *n, const moa_fitting *f, const char *const *text, int n_text, size_t limit, moa_err *err) {
    int longer = 0;
    for (int i = 0; i < n_text; i++) {
        if (!(out[i] = moa_shorten(r->arena, text[i], limit))) return moa_fail(err, MOA_ENOMEM, "%s of %s", f->what, n->name);
        longer += out[i] != text[i];
    }
    return longer;
}

/* Longer than this no context could hold, or none is thought to: nobody tokenizes a reply of 10 MB. */
static size_t most_bytes(const moa_agent_node *n) { return moa_prompt_room(n) == INT64_MAX ? UNMEASURED : (size_t)n->backend->n_ctx * TOKEN_BYTES; }

/* Sets the messages and counts them: *tokens, 0 where nobody can. Longer than any prompt may be: more than there is room for. */
static int count(int64_t *tokens, moa_run *r, moa_agent_node *n, const moa_fitting *f, const char *const *text, int n_text, moa_err *err) {
    const int64_t room = moa_prompt_room(n);
    *tokens = 0;
    const int rc = f->set(r, n, text, n_text, f->ctx, err);
    if (rc == MOA_ELIMIT && room < INT64_MAX) return *tokens = room + 1, 0;
    if (rc < 0 || room == INT64_MAX) return rc;
    *tokens = moa_run_measure(r, n->backend, n->msg, n->n_msg, n->extra, err);
    return *tokens < 0 ? (int)*tokens : 0;
}

/* The same without a trace of it: scratch of attempts goes. */
static int try_it(int64_t *tokens, moa_run *r, moa_agent_node *n, const moa_fitting *f, const char *const *text, int n_text, moa_err *err) {
    const moa_arena_mark mark = moa_arena_save(r->arena);
    const int rc = count(tokens, r, n, f, text, n_text, err);
    n->msg = NULL, n->n_msg = 0;
    moa_arena_restore(r->arena, mark);
    return rc;
}

int moa_fits(bool *fits, moa_run *r, moa_agent_node *n, const moa_fitting *f, const char *const *text, int n_text, moa_err *err) {
    const int64_t room = moa_prompt_room(n);
    int64_t tokens = 0;
    *fits = true;
    if (room == INT64_MAX) return 0;
    for (int i = 0; i < n_text && *fits; i++) *fits = strlen(text[i]) <= most_bytes(n);
    if (!*fits) return 0;
    MOA_TRY(try_it(&tokens, r, n, f, text, n_text, err));
    *fits = tokens <= room;
    return 0;
}

/* The largest limit whose prompt fits, LEAST when none leaves the reply its room. */
static int find_limit(size_t *limit, moa_run *r, moa_agent_node *n, const moa_fitting *f, const char **cut, const char *const *text, int n_text, size_t longest, moa_err *err) {
    size_t lo = LEAST, hi = longest;
    while (lo + 1 < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        const moa_arena_mark mark = moa_arena_save(r->arena);
        int64_t tokens = 0;
        int rc = shorten_all(cut, r, n, f, text, n_text, mid, err);
        if (rc >= 0) rc = try_it(&tokens, r, n, f, cut, n_text, err);
        moa_arena_restore(r->arena, mark);
        if (rc < 0) return rc;
        if (tokens <= moa_prompt_room(n)) lo = mid;
        else hi = mid;
    }
    *limit = lo;
    return 0;
}

int moa_fit(moa_run *r, moa_agent_node *n, const moa_fitting *f, const char *const *text, int n_text, moa_err *err) {
    const char **whole = moa_arena_alloc(r->arena, 2 * ((size_t)n_text + 1) * sizeof *whole), **cut = whole + n_text + 1;
    int64_t tokens = 0;
    size_t limit = 0, longest = 0;
    if (!whole) return moa_fail(err, MOA_ENOMEM, "%s of %s", f->what, n->name);
    int rc = shorten_all(whole, r, n, f, text, n_text, most_bytes(n), err);
    if (rc < 0) return rc;
    if (rc) moa_node_note(r, n, "%d of %d %s shortened to %zu bytes", rc, n_text, f->what, most_bytes(n));
    MOA_TRY(count(&tokens, r, n, f, whole, n_text, err));
    if (tokens <= moa_prompt_room(n) || !n_text) return 0;
    for (int i = 0; i < n_text; i++) longest = strlen(whole[i]) > longest ? strlen(whole[i]) : longest;
    MOA_TRY(find_limit(&limit, r, n, f, cut, whole, n_text, longest, err));
    moa_node_note(r, n, "%s shortened to %zu of up to %zu bytes each to fit the context of %d tokens", f->what, limit, longest, n->backend->n_ctx);
    rc = shorten_all(cut, r, n, f, whole, n_text, limit, err);
    if (rc < 0) return rc;
    MOA_TRY(count(&tokens, r, n, f, cut, n_text, err));
    if (tokens < n->backend->n_ctx) return 0;
    rc = moa_fail(err, MOA_ELIMIT, "%d %s of at most %zu bytes each make a prompt of %lld tokens, the context of %s holds %d with the reply",
                  n_text, f->what, limit, (long long)tokens, n->backend->id, n->backend->n_ctx);
    return moa_backend_ctx_hint(err, rc, n->backend, tokens, "use fewer samples");
}
