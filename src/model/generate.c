/* generate.c - many completions as one batch, with continuous batching over a paged KV.
 *
 * A job is a list of tokens, of which the KV holds the first len. What is missing is fed: one token when it is
 * decoding, a chunk when it is (re)computing its beginning; so prefill and decode are the same thing, and one step mixes
 * both. When the last token is in, its logits give the next.
 *
 * Sharing: a job starts as a fork of whatever running or cached sequence has the longest common beginning. If a
 * running one will soon hold more of it than is there now, the job waits: six samples of a prompt pay one prefill.
 *
 * Full KV: cached beginnings go first; then the job that came last gives its blocks back and waits, with its tokens and
 * its sampler. Since logits are bit-equal for any batch and chunking, taking it up again gives the same text as if it
 * had never stopped, so no job's result depends on the others. The oldest job is never stopped, so work always ends.
 *
 * Long-rope: a job whose tokens have passed the model's original context is taken up again from its first token with the other
 * list of rope factors, by the same way; the samples of a prompt share that too.
 *
 * Grammar: a job with one has a state in its matcher from its first token to its end; forks and suspensions concern the KV
 * alone, so the state is simply the job's. A text that can only end here is ended without asking the model once more.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/generate.h"
#include "base/clock.h"
#include "base/err.h"
#include "model/constrain.h"
#include "model/prefix.h"
#include "model/stream.h"

#include <stdlib.h>
#include <string.h>

enum { WORTH_WAITING = 8 }; /* tokens of shared beginning for which a job waits */

typedef enum job_state { WAITING, RUNNING, DONE } job_state;

typedef struct job {
    const moa_gen_req *req;
    moa_gen_res *res;
    job_state state;
    int32_t *tok;         /* prompt, then what was generated */
    int64_t n_tok, most;  /* most: n_tok at which it ends */
    int seq;              /* while RUNNING */
    uint64_t since;       /* order of admission */
    int row;              /* row of this step whose logits it wants, or -1 */
    int n_row;            /* rows that it feeds to this step */
    bool started;
    moa_sampler *sampler; /* from its first admission to its end */
    moa_matcher *matcher; /* NULL: no grammar, or no token yet */
    int place;            /* state in it */
    moa_stream out;
} job;

struct moa_generator {
    const moa_model *m;
    moa_session *s;
    int n_live, n_batch, n_vocab;
    moa_prefix_cache cache;
    moa_sampler **spare; /* samplers not in use */
    int n_spare, cap_spare;
    moa_constraints grammars;
    moa_row *row;        /* [n_batch] */
    uint64_t clock;
};

/* One call. */
typedef struct run {
    moa_generator *g;
    job *job;
    int n, n_running, n_done;
    moa_gen_cb cb;
    void *ctx;
    bool canceled;
    double start;
    moa_err *err;
} run;

/* ---- generator ---- */

int moa_generator_new(moa_generator **out, const moa_model *m, const moa_session_cfg *cfg, moa_err *err) {
    moa_session_cfg c = cfg ? *cfg : moa_session_defaults();
    if (!m->tok) {
        moa_fail(err, MOA_EUNSUPPORTED, "%s: the model has no tokenizer, so it cannot generate text", m->path ? m->path : "model");
        return moa_hint(err, MOA_EUNSUPPORTED, "use a file with tokenizer.ggml.* keys");
    }
    if (!c.n_seq) c.n_seq = 32;
    if (!c.n_batch) c.n_batch = 256;
    if (c.n_seq < 0 || c.n_seq > 1 << 15) return moa_fail(err, MOA_EINVAL, "generator: n_seq = %d, expected 0 to %d", c.n_seq, 1 << 15);
    moa_generator *g = calloc(1, sizeof *g);
    if (!g) return moa_fail(err, MOA_ENOMEM, "generator: no memory");
    g->m = m;
    g->n_vocab = moa_tokenizer_n_vocab(m->tok); /* rows that pad the embedding are no tokens */
    g->n_batch = c.n_batch;
    g->n_live = c.n_seq < c.n_batch ? c.n_seq : c.n_batch;
    c.n_seq = g->n_live;
    int rc = moa_session_new(&g->s, m, &c, err);
    if (rc >= 0) rc = moa_prefix_init(&g->cache, g->s, c.cache_bytes, err);
    if (rc >= 0 && !(g->row = calloc((size_t)g->n_batch, sizeof *g->row))) rc = moa_fail(err, MOA_ENOMEM, "generator: no memory");
    if (rc < 0) {
        moa_generator_free(g);
        return rc;
    }
    *out = g;
    return 0;
}

void moa_generator_free(moa_generator *g) {
    if (!g) return;
    moa_constraints_deinit(&g->grammars);
    moa_prefix_deinit(&g->cache);
    moa_session_free(g->s);
    for (int i = 0; i < g->n_spare; i++) moa_sampler_free(g->spare[i]);
    free(g->spare);
    free(g->row);
    free(g);
}

moa_session *moa_generator_session(moa_generator *g) { return g->s; }

void moa_gen_res_deinit(moa_gen_res *r) {
    if (!r) return;
    free(r->text);
    free(r->ids);
    *r = (moa_gen_res){0};
}

/* ---- jobs ---- */

static int check_request(const moa_generator *g, const moa_gen_req *q, int i, moa_err *err) {
    const int64_t room = moa_session_max_len(g->s);
    if (q->n_prompt < 1) return moa_fail(err, MOA_EINVAL, "request %d: empty prompt", i);
    if (q->n_prompt >= room) {
        moa_fail(err, MOA_ELIMIT, "request %d: the prompt has %lld tokens, the context holds %lld and one must be left for the answer", i,
                 (long long)q->n_prompt, (long long)room);
        return moa_hint(err, MOA_ELIMIT, "shorten the prompt, or raise n_ctx (the model allows %d)", g->m->h.n_ctx);
    }
    if (q->max_tokens < 1) return moa_fail(err, MOA_EINVAL, "request %d: max_tokens = %d, expected at least 1", i, q->max_tokens);
    for (int64_t t = 0; t < q->n_prompt; t++)
        if (q->prompt[t] < 0 || q->prompt[t] >= g->m->h.n_vocab)
            return moa_fail(err, MOA_EINVAL, "request %d: token %d at %lld, expected 0 to %d", i, q->prompt[t], (long long)t,
                            g->m->h.n_vocab - 1);
    for (int s = 0; s < q->n_stop; s++)
        if (!q->stop[s] || !*q->stop[s]) return moa_fail(err, MOA_EINVAL, "request %d: stop string %d is empty", i, s);
    const int rc = moa_sampling_check(&q->sampling, err);
    return rc < 0 ? moa_wrap(err, rc, "request %d", i) : 0;
}

static int open_job(const moa_generator *g, job *j, moa_gen_res *res, const moa_gen_req *q, moa_err *err) {
    const int64_t room = moa_session_max_len(g->s);
    *j = (job){.req = q, .res = res, .seq = -1, .row = -1, .n_tok = q->n_prompt};
    j->most = q->max_tokens < room - q->n_prompt ? q->n_prompt + q->max_tokens : room;
    j->tok = malloc((size_t)j->most * sizeof *j->tok);
    if (!j->tok) return moa_fail(err, MOA_ENOMEM, "generate: no memory for %lld tokens", (long long)j->most);
    memcpy(j->tok, q->prompt, (size_t)q->n_prompt * sizeof *j->tok);
    return moa_stream_init(&j->out, q->stop, q->n_stop, err);
}

static void return_sampler(moa_generator *g, moa_sampler *s) {
    if (s && g->n_spare == g->cap_spare) {
        const int cap = g->cap_spare ? g->cap_spare * 2 : 16;
        moa_sampler **p = realloc(g->spare, (size_t)cap * sizeof *p);
        if (p) g->spare = p, g->cap_spare = cap;
    }
    if (s && g->n_spare < g->cap_spare) g->spare[g->n_spare++] = s;
    else moa_sampler_free(s);
}

static int start_sampler(moa_generator *g, job *j, moa_err *err) {
    if (g->n_spare) {
        j->sampler = g->spare[--g->n_spare];
        moa_sampler_reset(j->sampler, &j->req->sampling);
    } else {
        MOA_TRY(moa_sampler_new(&j->sampler, &j->req->sampling, g->n_vocab, err));
    }
    for (int64_t i = 0; i < j->n_tok; i++) moa_sampler_accept(j->sampler, j->tok[i]);
    return 0;
}

/* Hand over what may be shown. */
static void show(run *r, job *j) {
    const size_t ready = moa_stream_ready(&j->out);
    if (ready <= j->out.sent) return;
    if (r->cb && !r->canceled && !r->cb(r->ctx, (int)(j - r->job), j->out.text + j->out.sent, ready - j->out.sent)) r->canceled = true;
    j->out.sent = ready;
}

static void fill_result(run *r, job *j, moa_stop why) {
    moa_gen_res *res = j->res;
    res->n_ids = (int)(j->n_tok - j->req->n_prompt);
    res->ids = malloc(((size_t)res->n_ids + 1) * sizeof *res->ids);
    if (res->ids) memcpy(res->ids, j->tok + j->req->n_prompt, (size_t)res->n_ids * sizeof *res->ids);
    else res->n_ids = 0;
    res->text = j->out.text;
    res->text_len = j->out.len;
    j->out.text = NULL;
    res->n_prompt = j->req->n_prompt;
    res->why = why;
    res->seconds = moa_now() - r->start;
}

/* A text that its tokens ended before its grammar did is not what was asked for. */
static void leave_grammar(run *r, job *j, moa_stop why) {
    moa_gen_res *res = j->res;
    if (!j->matcher) return;
    if ((why == MOA_STOP_LENGTH || why == MOA_STOP_CONTEXT) && !moa_matcher_complete(j->matcher, j->place)) {
        res->rc = moa_fail(&res->err, MOA_ELIMIT, "request %d: the reply ended after %d tokens, before its grammar was complete", (int)(j - r->job),
                           (int)(j->n_tok - j->req->n_prompt));
        moa_hint(&res->err, res->rc, why == MOA_STOP_LENGTH ? "raise max_tokens" : "the context is full: shorten the prompt");
    }
    moa_constraints_close(&r->g->grammars, j->matcher, j->place);
    j->matcher = NULL;
}

static void finish(run *r, job *j, moa_stop why) {
    leave_grammar(r, j, why);
    const bool tell = j->out.text && why != MOA_STOP_CANCELED;
    if (j->out.text) {
        moa_stream_end(&j->out);
        show(r, j);
        fill_result(r, j, why);
    }
    if (j->state == RUNNING) {
        if (why == MOA_STOP_FAILED) moa_seq_free(r->g->s, j->seq); /* nobody should build on this KV */
        else moa_prefix_put(&r->g->cache, j->seq, j->tok, moa_seq_len(r->g->s, j->seq));
        r->n_running--;
    }
    return_sampler(r->g, j->sampler);
    j->sampler = NULL;
    j->seq = -1;
    j->state = DONE;
    r->n_done++;
    if (tell && r->cb && !r->canceled && !r->cb(r->ctx, (int)(j - r->job), NULL, 0)) r->canceled = true;
}

/* ---- admission ---- */

static int64_t blocks_of(int64_t n) { return (n + MOA_KV_BLOCK - 1) / MOA_KV_BLOCK; }

/* Blocks that running jobs will still take for what they already have to compute, and one each to go on. */
static int64_t owed(const run *r) {
    int64_t n = 0;
    for (int i = 0; i < r->n; i++)
        if (r->job[i].state == RUNNING) n += blocks_of(r->job[i].n_tok) - blocks_of(moa_seq_len(r->g->s, r->job[i].seq)) + 1;
    return n;
}

/* Where to fork from: *seq (-1: the cache) and how many tokens. Negative: a running job will soon hold more, so wait. */
static int64_t find_source(run *r, const job *j, int *seq) {
    const int64_t limit = j->n_tok - 1; /* the last token must be computed: its logits are wanted */
    const uint64_t kind = moa_session_kind(r->g->s, j->n_tok);
    int64_t have = moa_prefix_find(&r->g->cache, kind, j->tok, limit), soon = have;
    *seq = -1;
    for (int i = 0; i < r->n; i++) {
        const job *o = &r->job[i];
        if (o->state != RUNNING || moa_seq_kind(r->g->s, o->seq) != kind) continue;
        const int64_t same = moa_common(o->tok, j->tok, o->n_tok < limit ? o->n_tok : limit);
        const int64_t len = moa_seq_len(r->g->s, o->seq), now = same < len ? same : len;
        if (!moa_seq_reaches(r->g->s, o->seq, now)) continue; /* a sliding window has left it */
        if (same > soon) soon = same;
        if (now > have) have = now, *seq = o->seq;
    }
    return soon - have >= WORTH_WAITING ? -1 : have;
}

/* 1: runs now; 0: not yet; < 0: error. */
static int admit(run *r, job *j) {
    moa_generator *g = r->g;
    int from = -1;
    const int64_t have = find_source(r, j, &from);
    if (have < 0) return 0;
    const int seq = from >= 0 ? moa_seq_fork(g->s, from, have, r->err) : moa_prefix_fork(&g->cache, have, j->n_tok, r->err);
    if (seq < 0) return seq;
    /* The fork holds what it shares, so the cache may drop its source. */
    const int64_t need = blocks_of(j->n_tok + 1) - have / MOA_KV_BLOCK + owed(r);
    while (moa_session_free_positions(g->s) / MOA_KV_BLOCK < need && moa_prefix_evict(&g->cache)) continue;
    if (moa_session_free_positions(g->s) / MOA_KV_BLOCK < need && r->n_running) {
        moa_seq_free(g->s, seq);
        return 0;
    }
    if (!j->started) {
        j->res->n_reused = have;
        j->started = true;
        const int rc = start_sampler(g, j, r->err);
        if (rc < 0) {
            moa_seq_free(g->s, seq);
            return rc;
        }
    }
    j->seq = seq;
    j->since = ++g->clock;
    j->state = RUNNING;
    r->n_running++;
    return 1;
}

static int admit_all(run *r) {
    for (int i = 0; i < r->n && r->n_running < r->g->n_live; i++)
        if (r->job[i].state == WAITING) MOA_TRY(admit(r, &r->job[i]));
    return 0;
}

/* A job gives its blocks back and waits. */
static void suspend(run *r, job *j) {
    moa_seq_free(r->g->s, j->seq);
    j->seq = -1;
    j->state = WAITING;
    r->n_running--;
}

/* The job that came last makes room. */
static bool suspend_last(run *r) {
    job *last = NULL;
    for (int i = 0; i < r->n; i++)
        if (r->job[i].state == RUNNING && (!last || r->job[i].since > last->since)) last = &r->job[i];
    if (!last || r->n_running < 2) return false;
    suspend(r, last);
    return true;
}

/* ---- steps ---- */

static int feed(run *r, job *j, int n, int64_t most) {
    const int64_t len = moa_seq_len(r->g->s, j->seq), left = j->n_tok - len, take = left < most ? left : most;
    for (int64_t i = 0; i < take; i++)
        r->g->row[n + i] = (moa_row){.seq = j->seq, .token = j->tok[len + i], .want_logits = len + i + 1 == j->n_tok};
    if (take == left) j->row = n + (int)take - 1;
    j->n_row = (int)take;
    return n + (int)take;
}

/* Decoding jobs first, so that a long prompt does not hold them up; then prompts in order of admission. */
static int fill_rows(run *r) {
    int n = 0;
    for (int i = 0; i < r->n; i++) r->job[i].row = -1, r->job[i].n_row = 0;
    for (int i = 0; i < r->n; i++)
        if (r->job[i].state == RUNNING && r->job[i].n_tok - moa_seq_len(r->g->s, r->job[i].seq) == 1) n = feed(r, &r->job[i], n, 1);
    for (uint64_t after = 0; n < r->g->n_batch;) {
        job *next = NULL;
        for (int i = 0; i < r->n; i++) {
            job *j = &r->job[i];
            if (j->state == RUNNING && j->row < 0 && j->since > after && (!next || j->since < next->since)) next = j;
        }
        if (!next) break;
        after = next->since;
        n = feed(r, next, n, r->g->n_batch - n);
    }
    return n;
}

static int step(run *r) {
    for (;;) {
        const int n = fill_rows(r);
        const double start = moa_now();
        const int rc = moa_session_step(r->g->s, r->g->row, n, r->err);
        if (rc != MOA_ELIMIT) {
            const double each = (moa_now() - start) / n;
            for (int i = 0; i < r->n; i++)
                if (r->job[i].n_row) r->job[i].res->share_s += each * r->job[i].n_row;
            return rc;
        }
        if (!moa_prefix_evict(&r->g->cache) && !suspend_last(r)) return rc;
        if (r->err) *r->err = (moa_err){0};
    }
}

/* What this request read, or its grammar, led to it; the others need not. */
static void fail_alone(run *r, job *j) {
    j->res->rc = moa_wrap(&j->res->err, j->res->err.code, "request %d", (int)(j - r->job));
    finish(r, j, MOA_STOP_FAILED);
}

/* The tokens that j's grammar allows; NULL without one. */
static int allowed(const uint64_t **mask, run *r, job *j) {
    moa_generator *g = r->g;
    *mask = NULL;
    if (!j->req->grammar) return 0;
    if (!j->matcher) MOA_TRY(moa_constraints_open(&j->matcher, &j->place, &g->grammars, g->m->tok, j->req->grammar, &j->res->err));
    return moa_matcher_mask(mask, j->matcher, j->place, j->most - j->n_tok, &j->res->err);
}

/* The next token, or negative with the request's err filled. */
static int32_t choose(run *r, job *j, float *logprob) {
    const uint64_t *mask;
    moa_err *err = &j->res->err;
    MOA_TRY(allowed(&mask, r, j));
    const int32_t t = moa_sampler_pick(j->sampler, moa_session_logits(r->g->s, j->row), mask, logprob);
    if (t < 0) { /* damaged weights, most often */
        moa_fail(err, MOA_EFORMAT, "the model gives no finite logits after %lld tokens", (long long)j->n_tok);
        return moa_hint(err, MOA_EFORMAT, "the model's file may be damaged");
    }
    if (j->matcher) MOA_TRY(moa_matcher_accept(j->matcher, j->place, t, err));
    return t;
}

static int next_token(run *r, job *j) {
    moa_generator *g = r->g;
    float lp;
    /* Where windows slide, a sequence forgets its beginning as it goes on: the prompt stays for who reads it next. */
    if (moa_session_slides(g->s) && j->n_tok == j->req->n_prompt) moa_prefix_keep(&g->cache, j->seq, j->tok, j->n_tok);
    const int32_t t = choose(r, j, &lp);
    if (t < 0) return fail_alone(r, j), 0;
    if (moa_tokenizer_is_eog(g->m->tok, t)) return finish(r, j, MOA_STOP_EOS), 0;
    j->tok[j->n_tok++] = t;
    j->res->sum_logprob += (double)lp;
    moa_sampler_accept(j->sampler, t);
    const moa_str s = moa_token_bytes(g->m->tok, t, false);
    MOA_TRY(moa_stream_add(&j->out, s.p, s.n, r->err));
    if (j->out.stopped) return finish(r, j, MOA_STOP_STRING), 0;
    show(r, j);
    if (j->matcher && moa_matcher_finished(j->matcher, j->place)) return finish(r, j, MOA_STOP_EOS), 0;
    if (j->n_tok < j->most) {
        if (moa_seq_kind(g->s, j->seq) != moa_session_kind(g->s, j->n_tok)) suspend(r, j);
        return 0;
    }
    finish(r, j, j->n_tok - j->req->n_prompt == j->req->max_tokens ? MOA_STOP_LENGTH : MOA_STOP_CONTEXT);
    return 0;
}

/* Who waits for a long prompt may give up between its chunks. */
static void tell_reading(run *r) {
    for (int i = 0; i < r->n && r->cb && !r->canceled; i++) {
        const job *j = &r->job[i];
        if (j->state == RUNNING && j->n_row && j->row < 0) r->canceled = !r->cb(r->ctx, i, "", 0);
    }
}

static int run_all(run *r) {
    while (r->n_done < r->n && !r->canceled) {
        MOA_TRY(admit_all(r));
        MOA_TRY(step(r));
        tell_reading(r);
        for (int i = 0; i < r->n && !r->canceled; i++)
            if (r->job[i].state == RUNNING && r->job[i].row >= 0) MOA_TRY(next_token(r, &r->job[i]));
    }
    return r->canceled ? moa_fail(r->err, MOA_ECANCELED, "generation was canceled") : 0;
}

int moa_generate(moa_generator *g, moa_gen_res *res, const moa_gen_req *req, int n, moa_gen_cb cb, void *ctx, moa_err *err) {
    run r = {.g = g, .n = n, .cb = cb, .ctx = ctx, .start = moa_now(), .err = err};
    for (int i = 0; i < n; i++) res[i] = (moa_gen_res){.n_prompt = req[i].n_prompt, .why = MOA_STOP_CANCELED};
    for (int i = 0; i < n; i++) MOA_TRY(check_request(g, &req[i], i, err));
    if (n < 1) return 0;
    if (!(r.job = calloc((size_t)n, sizeof *r.job))) return moa_fail(err, MOA_ENOMEM, "generate: no memory for %d requests", n);
    int rc = 0;
    for (int i = 0; i < n && rc >= 0; i++) rc = open_job(g, &r.job[i], &res[i], &req[i], err);
    if (rc >= 0) rc = run_all(&r);
    for (int i = 0; i < n; i++) {
        job *j = &r.job[i];
        if (j->state != DONE) finish(&r, j, MOA_STOP_CANCELED);
        moa_stream_deinit(&j->out);
        free(j->tok);
    }
    free(r.job);
    return rc;
}
