/* drafter.c - see drafter.h. SPDX-License-Identifier: Apache-2.0 */
#include "model/drafter.h"
#include "base/clock.h"
#include "base/err.h"
#include "model/prefix.h"

#include <stdlib.h>
#include <string.h>

enum {
    WORTH_WAITING = 8, /* tokens of shared beginning for which a mirror waits */
    LEAST_CHUNK = 16,  /* rows that read, whatever they take */
    REST = 256,        /* turns without guesses after the KV was full */
};

static int same_tokens(const moa_model *a, const moa_model *b, moa_err *err) {
    if (!a->tok) return moa_fail(err, MOA_EINVAL, "draft model: it has no tokenizer");
    const int n = moa_tokenizer_n_vocab(b->tok);
    if (moa_tokenizer_n_vocab(a->tok) != n)
        return moa_fail(err, MOA_EINVAL, "draft model: a vocabulary of %d tokens, the model's has %d", moa_tokenizer_n_vocab(a->tok), n);
    for (int32_t i = 0; i < n; i++) {
        const moa_str x = moa_token_bytes(a->tok, i, true), y = moa_token_bytes(b->tok, i, true);
        if (x.n == y.n && (!x.n || !memcmp(x.p, y.p, x.n)) && moa_tokenizer_is_eog(a->tok, i) == moa_tokenizer_is_eog(b->tok, i) &&
            moa_tokenizer_is_control(a->tok, i) == moa_tokenizer_is_control(b->tok, i))
            continue;
        moa_fail(err, MOA_EINVAL, "draft model: token %d is '%.*s', the model's is '%.*s'", i, (int)(x.n < 40 ? x.n : 40), x.p,
                 (int)(y.n < 40 ? y.n : 40), y.p);
        return moa_hint(err, MOA_EINVAL, "a draft model must have the same vocabulary: take a smaller one of the same family");
    }
    return 0;
}

int moa_drafter_new(moa_drafter **out, const moa_model *small, const moa_model *m, const moa_session_cfg *cfg, int n_live, moa_err *err) {
    MOA_TRY(same_tokens(small, m, err));
    moa_session_cfg c = *cfg;
    c.n_seq = n_live;
    c.max_len = c.max_len > small->h.n_ctx ? 0 : c.max_len;
    moa_drafter *d = calloc(1, sizeof *d);
    if (!d) return moa_fail(err, MOA_ENOMEM, "draft model: no memory");
    *d = (moa_drafter){.n_batch = c.n_batch ? c.n_batch : 256, .pace = {.keep = 0.97}, .reading = {.keep = 0.9}, .hit = 0.6, .since = 1 << 20};
    int rc = moa_session_new(&d->s, small, &c, err);
    d->row = calloc((size_t)d->n_batch, sizeof *d->row);
    d->active = calloc((size_t)n_live, sizeof(moa_job *));
    if (rc >= 0 && (!d->row || !d->active)) rc = moa_fail(err, MOA_ENOMEM, "draft model: no memory");
    if (rc < 0) {
        moa_drafter_free(d);
        return rc;
    }
    *out = d;
    return 0;
}

void moa_drafter_free(moa_drafter *d) {
    if (!d) return;
    moa_session_free(d->s);
    free(d->row);
    free(d->active);
    free(d);
}

void moa_drafter_leave(moa_drafter *d, moa_job *j) {
    if (d && j->mirror >= 0) moa_seq_free(d->s, j->mirror);
    j->mirror = -1;
    moa_sampler_free(j->shadow);
    j->shadow = NULL;
}

void moa_drafter_keep(moa_drafter *d, moa_job *j, int64_t len) {
    if (d && j->mirror >= 0) moa_seq_truncate(d->s, j->mirror, len);
}

/* A mirror begins with what another one has read. While that one still reads what both begin with, j waits (false): a prompt of many
 * samples is read once. */
static bool begin(moa_drafter *d, moa_job *j, moa_job *const *job, int n) {
    int64_t have = 0, soon = 0;
    int from = -1;
    for (int i = 0; i < n; i++) {
        const moa_job *o = job[i];
        if (o->mirror < 0) continue;
        const int64_t len = moa_seq_len(d->s, o->mirror), same = moa_common(o->tok, j->tok, o->n_tok < j->n_tok ? o->n_tok : j->n_tok - 1);
        const int64_t now = same < len ? same : len;
        if (len < same && same > soon) soon = same;
        if (now > have && moa_seq_reaches(d->s, o->mirror, now)) have = now, from = o->mirror;
    }
    if (soon - have >= WORTH_WAITING) return false;
    j->mirror = from >= 0 ? moa_seq_fork(d->s, from, have, NULL) : moa_seq_new(d->s, NULL);
    return j->mirror >= 0;
}

static bool follow(moa_drafter *d, moa_job *j, moa_job *const *job, int n) {
    if (j->mirror < 0 && !begin(d, j, job, n)) return false;
    return j->shadow || moa_sampler_new(&j->shadow, &j->req.sampling, moa_tokenizer_n_vocab(moa_session_model(d->s)->tok), NULL) >= 0;
}

/* Rows that bring the mirrors up to their jobs; those that are complete become active. */
static int catch_up(moa_drafter *d, moa_job *const *job, int n, int k, double bound, int *n_active) {
    const int paced = moa_pace_rows(&d->reading, bound, 0, d->n_batch), least = 2 * n + LEAST_CHUNK; /* who keeps up has two at most */
    const int most = paced > least ? paced : least < d->n_batch ? least : d->n_batch;
    int rows = 0;
    *n_active = 0;
    for (int i = 0; i < n; i++) {
        moa_job *j = job[i];
        if (j->n_tok + k > moa_session_max_len(d->s) || !follow(d, j, job, n)) continue;
        const int64_t len = moa_seq_len(d->s, j->mirror), left = j->n_tok - len, room = rows < most ? most - rows : 0;
        const int64_t take = left < room ? left : room;
        for (int64_t t = 0; t < take; t++) d->row[rows + t] = (moa_row){j->mirror, j->tok[len + t], t + 1 == left};
        rows += (int)take;
        if (take < left) continue;
        j->mirror_row = rows - 1;
        moa_sampler_copy(j->shadow, j->sampler);
        d->active[(*n_active)++] = j;
    }
    return rows;
}

/* Draws for the active jobs; those that would end are active no more. */
static int draw(moa_drafter *d, int n) {
    const moa_tokenizer *tok = moa_session_model(d->s)->tok;
    int left = 0;
    for (int i = 0; i < n; i++) {
        moa_job *j = d->active[i];
        const int32_t t = moa_sampler_pick(j->shadow, moa_session_logits(d->s, j->mirror_row), NULL, NULL);
        if (t < 0 || moa_tokenizer_is_eog(tok, t)) continue;
        moa_sampler_accept(j->shadow, t);
        j->draft[j->n_model++] = t;
        d->active[left++] = j;
    }
    return left;
}

void moa_drafter_run(moa_drafter *d, moa_job *const *job, int n, int k, double bound) {
    if (k > MOA_DRAFT_MAX) k = MOA_DRAFT_MAX;
    int active, rows = catch_up(d, job, n, k, bound, &active);
    if (active) d->since = 0; /* who is still behind goes on in the next turn */
    for (int i = 0; i < k && rows > 0; i++) {
        const double start = moa_now();
        if (moa_session_step(d->s, d->row, rows, NULL) < 0) { /* its KV is full: all begin anew, but not at once */
            for (int q = 0; q < n; q++) moa_drafter_leave(d, job[q]), job[q]->n_model = 0;
            d->rest = REST;
            return;
        }
        const int had = active;
        active = draw(d, active);
        moa_pace_note(rows == had ? &d->pace : &d->reading, rows, moa_now() - start);
        for (rows = 0; rows < active && i + 1 < k; rows++) {
            moa_job *j = d->active[rows];
            j->mirror_row = rows;
            d->row[rows] = (moa_row){j->mirror, j->draft[j->n_model - 1], true};
        }
    }
}
