/* perplexity.c - see perplexity.h. Sums are double; what a row gives does not depend on the threads, and rows are added in
 * their order, so a result is the same for any number of threads.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/perplexity.h"

#include "base/err.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 64, CTX = 512, LEAST = 8 }; /* rows whose logits are kept at a time; tokens of a chunk; fewest tokens of a text */

/* ---- chunks ---- */

int moa_chunks_make(moa_chunks *c, const moa_model *m, const char *text, size_t n, int n_ctx, int max_chunks, moa_err *err) {
    *c = (moa_chunks){.bos = -1};
    if (!m->tok) return moa_fail(err, MOA_EUNSUPPORTED, "%s has no tokenizer", m->path ? m->path : "model");
    c->n_ctx = n_ctx ? n_ctx : CTX;
    if (c->n_ctx > m->h.n_ctx) {
        if (n_ctx) return moa_fail(err, MOA_EINVAL, "chunks of %d tokens, the model reads %d", n_ctx, m->h.n_ctx);
        c->n_ctx = m->h.n_ctx;
    }
    const int rc = moa_tokenize(&c->ids, m->tok, text, n, MOA_TOK_BOS, err);
    if (rc < 0) return rc;
    const int32_t bos = moa_tokenizer_bos(m->tok);
    if (c->ids.n && bos >= 0 && c->ids.v[0] == bos) c->bos = bos;
    if (c->ids.n < LEAST) return moa_fail(err, MOA_EINVAL, "the text has %lld tokens, at least %d are needed", (long long)c->ids.n, LEAST);
    const int64_t whole = c->ids.n / c->n_ctx;
    c->n_chunk = whole > INT32_MAX ? INT32_MAX : whole ? (int)whole : 1;
    if (max_chunks && c->n_chunk > max_chunks) c->n_chunk = max_chunks;
    return 0;
}

int moa_chunk_tokens(int32_t *out, const moa_chunks *c, int i) {
    const int64_t at = (int64_t)i * c->n_ctx;
    const int n = c->ids.n - at < c->n_ctx ? (int)(c->ids.n - at) : c->n_ctx;
    memcpy(out, c->ids.v + at, (size_t)n * sizeof *out);
    if (c->bos >= 0) out[0] = c->bos;
    return n;
}

/* ---- rows ---- */

typedef struct score { double nll, ref_nll, kl; bool same; } score;

/* log(sum exp(l)) and the index of the largest. */
static double log_sum(const float *l, int n, int *top) {
    double sum = 0;
    *top = 0;
    for (int i = 1; i < n; i++)
        if (l[i] > l[*top]) *top = i;
    const double big = l[*top];
    for (int i = 0; i < n; i++) sum += exp((double)l[i] - big);
    return big + log(sum);
}

/* q: logits of the model; p: of the reference, or NULL. */
static score score_row(const float *q, const float *p, int n, int32_t target) {
    int top_q, top_p;
    const double zq = log_sum(q, n, &top_q);
    score s = {.nll = zq - (double)q[target]};
    if (!p) return s;
    const double zp = log_sum(p, n, &top_p);
    for (int i = 0; i < n; i++) {
        const double lp = (double)p[i] - zp;
        s.kl += exp(lp) * (lp - ((double)q[i] - zq));
    }
    s.ref_nll = zp - (double)p[target];
    s.same = top_p == top_q;
    return s;
}

typedef struct run {
    moa_chunks c;
    moa_session *s, *ref;        /* ref NULL: alone */
    int n_vocab;
    int32_t *token;              /* [n_ctx] */
    moa_row *row;                /* [ROWS] */
    double *kl;                  /* [all scored rows]; NULL without reference */
    int64_t n;
    double nll, nll2, ref_nll, diff2, sum_kl, kl2;
    int64_t same;
} run;

static int step(moa_session *s, int seq, run *r, int n, moa_err *err) {
    for (int i = 0; i < n; i++) r->row[i].seq = seq;
    return moa_session_step(s, r->row, n, err);
}

typedef struct rows_job { const run *r; score *s; int at, first, n_tok; } rows_job; /* range: rows */
static void score_rows(const void *args, int64_t i0, int64_t i1, int thread) {
    const rows_job *j = args;
    const run *r = j->r;
    (void)thread;
    for (int i = (int)i0; i < i1; i++)
        if (j->at + i >= j->first && j->at + i + 1 < j->n_tok)
            j->s[i] = score_row(moa_session_logits(r->s, i), r->ref ? moa_session_logits(r->ref, i) : NULL, r->n_vocab, r->token[j->at + i + 1]);
}

/* Rows [at, at + n) of the chunk have been computed; those that predict a token of the second half count. */
static int add_rows(run *r, int at, int n, int n_tok, moa_err *err) {
    score s[ROWS];
    const int first = n_tok / 2;
    const rows_job j = {.r = r, .s = s, .at = at, .first = first, .n_tok = n_tok};
    moa_session_parallel(r->s, n, 10.0 * r->n_vocab, score_rows, &j);
    for (int i = 0; i < n; i++) {
        if (at + i < first || at + i + 1 >= n_tok) continue;
        if (!isfinite(s[i].nll) || !isfinite(s[i].ref_nll) || !isfinite(s[i].kl))
            return moa_fail(err, MOA_EFORMAT, "logits of token %d of a chunk are not finite", at + i);
        const double d = s[i].nll - s[i].ref_nll;
        r->nll += s[i].nll, r->nll2 += s[i].nll * s[i].nll, r->ref_nll += s[i].ref_nll, r->diff2 += d * d;
        r->sum_kl += s[i].kl, r->kl2 += s[i].kl * s[i].kl, r->same += s[i].same;
        if (r->kl) r->kl[r->n] = s[i].kl;
        r->n++;
    }
    return 0;
}

static int run_chunk(run *r, int chunk, moa_err *err) {
    const int n_tok = moa_chunk_tokens(r->token, &r->c, chunk);
    const int seq = moa_seq_begin(r->s, n_tok, err), ref = seq >= 0 && r->ref ? moa_seq_begin(r->ref, n_tok, err) : 0;
    int rc = seq < 0 ? seq : ref < 0 ? ref : 0;
    for (int at = 0; rc >= 0 && at < n_tok; at += ROWS) {
        const int n = n_tok - at < ROWS ? n_tok - at : ROWS;
        for (int i = 0; i < n; i++) r->row[i] = (moa_row){0, r->token[at + i], at + i >= n_tok / 2};
        rc = step(r->s, seq, r, n, err);
        if (rc >= 0 && r->ref) rc = step(r->ref, ref, r, n, err);
        if (rc >= 0) rc = add_rows(r, at, n, n_tok, err);
    }
    if (seq >= 0) moa_seq_free(r->s, seq);
    if (r->ref && ref >= 0) moa_seq_free(r->ref, ref);
    return rc;
}

/* Standard error of the mean of n values with these sums. */
static double error_of(double sum, double squares, int64_t n) {
    const double mean = sum / (double)n, var = squares / (double)n - mean * mean;
    return n > 1 && var > 0 ? sqrt(var / (double)(n - 1)) : 0;
}

static moa_ppl summary(const run *r, int chunk) {
    const double n = r->n ? (double)r->n : 1;
    return (moa_ppl){.n = r->n, .chunk = chunk, .n_chunk = r->c.n_chunk, .nll = r->nll / n, .nll_error = error_of(r->nll, r->nll2, r->n),
                     .against = r->ref != NULL, .ref_nll = r->ref_nll / n, .diff_error = error_of(r->nll - r->ref_nll, r->diff2, r->n),
                     .kl = r->sum_kl / n, .kl_error = error_of(r->sum_kl, r->kl2, r->n), .same_top = (double)r->same / n};
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void quantiles(moa_ppl *p, run *r) {
    if (!r->kl || !r->n) return;
    qsort(r->kl, (size_t)r->n, sizeof *r->kl, by_size);
    p->kl_median = r->n % 2 ? r->kl[r->n / 2] : 0.5 * (r->kl[r->n / 2 - 1] + r->kl[r->n / 2]);
    p->kl_99 = r->kl[(int64_t)ceil(0.99 * (double)r->n) - 1];
    p->kl_max = r->kl[r->n - 1];
}

/* ---- all ---- */

static int same_tokens(const run *r, const moa_model *m, const moa_model *ref, const char *text, size_t n, moa_err *err) {
    moa_chunks other = {0};
    if (m->h.n_vocab != ref->h.n_vocab)
        return moa_fail(err, MOA_EINVAL, "the models have %d and %d tokens: their distributions cannot be compared", m->h.n_vocab, ref->h.n_vocab);
    int rc = moa_chunks_make(&other, ref, text, n, r->c.n_ctx, 0, err);
    if (rc >= 0 && (other.ids.n != r->c.ids.n || memcmp(other.ids.v, r->c.ids.v, (size_t)other.ids.n * sizeof *other.ids.v)))
        rc = moa_fail(err, MOA_EINVAL, "the models split the text into different tokens: their distributions cannot be compared");
    moa_ids_deinit(&other.ids);
    return rc;
}

static int start(run *r, const moa_model *m, const moa_model *ref, const moa_ppl_cfg *cfg, moa_err *err) {
    moa_session_cfg sc = moa_session_defaults();
    sc.n_ctx = r->c.n_ctx, sc.n_batch = ROWS, sc.n_seq = 1, sc.n_threads = cfg->n_threads, sc.exact = cfg->exact;
    if (ref) MOA_TRY(moa_session_new(&r->ref, ref, &sc, err));
    if (cfg->kv_type) MOA_TRY(moa_session_kv_type(&sc, cfg->kv_type, err));
    MOA_TRY(moa_session_new(&r->s, m, &sc, err));
    r->n_vocab = m->h.n_vocab;
    r->token = malloc((size_t)r->c.n_ctx * sizeof *r->token);
    r->row = malloc(ROWS * sizeof *r->row);
    if (ref) r->kl = malloc((size_t)r->c.n_chunk * (size_t)r->c.n_ctx * sizeof *r->kl);
    return r->token && r->row && (r->kl || !ref) ? 0 : moa_fail(err, MOA_ENOMEM, "perplexity: no memory for %d chunks", r->c.n_chunk);
}

int moa_perplexity(moa_ppl *out, const moa_model *m, const moa_model *ref, const char *text, size_t n, const moa_ppl_cfg *cfg, moa_err *err) {
    run r = {0};
    *out = (moa_ppl){0};
    int rc = moa_chunks_make(&r.c, m, text, n, cfg->n_ctx, cfg->max_chunks, err);
    if (rc >= 0 && ref) rc = same_tokens(&r, m, ref, text, n, err);
    if (rc >= 0) rc = start(&r, m, ref, cfg, err);
    for (int i = 0; rc >= 0 && i < r.c.n_chunk; i++) {
        if ((rc = run_chunk(&r, i, err)) < 0) break;
        *out = summary(&r, i + 1);
        if (cfg->progress && !cfg->progress(cfg->ctx, out)) rc = moa_fail(err, MOA_ECANCELED, "stopped");
    }
    if (rc >= 0 || rc == MOA_ECANCELED) quantiles(out, &r);
    moa_session_free(r.s);
    moa_session_free(r.ref);
    moa_ids_deinit(&r.c.ids);
    free(r.token), free(r.row), free(r.kl);
    return rc;
}
