/* engine.c - the turns of a generator. The design is in generate.h; the details that matter:
 *
 * Long-rope: a job whose tokens have passed the model's original context is taken up again from its first token with the other
 * list of rope factors, in the way of a job that had lost its KV; the samples of a prompt share that too.
 *
 * Grammar: a job with one has a state in its matcher from its first token to its end; forks and suspensions concern the KV
 * alone, so the state is simply the job's. A text that can only end here is ended without asking the model once more.
 *
 * A turn makes no heap call while nothing begins or ends.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/engine.h"
#include "base/clock.h"
#include "base/err.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MARGIN 1.25 /* both sides of the comparison are estimates */
enum {
    WORTH_WAITING = 8, /* tokens of shared beginning for which a job waits */
    LEAST_CHUNK = 8,   /* rows of a prompt in a step, whatever it takes */
    TRY_EVERY = 32,    /* steps after which a draft is tried to see what its row costs */
    DRAFT_JOBS = 64,   /* that the small model guesses for in one turn */
    FIRST_CHUNK = 32,  /* while nothing is known of their cost */
};

/* ---- waiting ---- */

static bool before(const moa_job *a, const moa_job *b) { return a->order < b->order; }

int moa_engine_add(moa_generator *g, moa_job *j, moa_err *err) {
    /* Room for the running ones too: who loses its KV must be able to wait. */
    if (g->n_wait + g->n_run + 1 > g->cap_wait) {
        const int cap = 2 * (g->n_wait + g->n_run + 1) + 16;
        moa_job **p = realloc(g->wait, (size_t)cap * sizeof *p);
        if (!p) return moa_fail(err, MOA_ENOMEM, "request %lld: no memory for a queue of %d", j->number, cap);
        g->wait = p, g->cap_wait = cap;
    }
    j->order = j->came - j->req.priority * g->cfg.age_s;
    int i = g->n_wait++;
    for (; i > 0 && before(j, g->wait[i - 1]); i--) g->wait[i] = g->wait[i - 1];
    g->wait[i] = j;
    j->state = MOA_JOB_WAITING;
    return 0;
}

static void wait_again(moa_generator *g, moa_job *j) {
    int i = g->n_wait++;
    for (; i > 0 && before(j, g->wait[i - 1]); i--) g->wait[i] = g->wait[i - 1];
    g->wait[i] = j;
}

static void forget_waiting(moa_generator *g, int i) {
    memmove(g->wait + i, g->wait + i + 1, (size_t)(--g->n_wait - i) * sizeof(moa_job *));
}

/* It has begun, or will never: it counts no longer among those that were submitted and wait. */
static void close_open(moa_generator *g, const moa_job *j) {
    if (j->started) return;
    pthread_mutex_lock(&g->lock);
    g->n_open--;
    pthread_mutex_unlock(&g->lock);
}

/* ---- ends ---- */

static void finish(moa_generator *g, moa_job *j, moa_stop why) {
    if (j->state == MOA_JOB_RUNNING) {
        if (why == MOA_STOP_FAILED) moa_seq_free(g->s, j->seq); /* nobody should build on this KV */
        else moa_prefix_put(&g->cache, j->seq, j->tok, moa_seq_len(g->s, j->seq));
        j->seq = -1;
    }
    close_open(g, j);
    moa_drafter_leave(g->drafter, j);
    moa_ngrams_close(&g->ngrams, j->ngrams);
    j->ngrams = NULL;
    if (j->sampler) {
        if (g->n_spare < g->n_live) g->spare[g->n_spare++] = j->sampler;
        else moa_sampler_free(j->sampler);
        j->sampler = NULL;
    }
    pthread_mutex_lock(&g->lock);
    g->n_alive--; /* before anybody hears of it */
    pthread_mutex_unlock(&g->lock);
    moa_job_end(j, why, &g->grammars);
}

/* What this request read, or its grammar, led to it; the others need not. */
static void fail_alone(moa_generator *g, moa_job *j) {
    j->res.rc = moa_wrap(&j->res.err, j->res.err.code, "request %lld", j->number);
    finish(g, j, MOA_STOP_FAILED);
}

/* A job gives its sequence to the cache, from where room is made as far as it is needed, and waits. */
static void suspend(moa_generator *g, moa_job *j) {
    moa_prefix_put(&g->cache, j->seq, j->tok, moa_seq_len(g->s, j->seq));
    moa_drafter_leave(g->drafter, j);
    j->seq = -1;
    j->state = MOA_JOB_WAITING;
}

/* Running jobs that run no more leave. */
static void sweep(moa_generator *g) {
    int n = 0;
    for (int i = 0; i < g->n_run; i++) {
        moa_job *j = g->run[i];
        if (j->state == MOA_JOB_RUNNING) g->run[n++] = j;
        else if (j->state == MOA_JOB_WAITING) wait_again(g, j);
        else moa_job_free(j);
    }
    g->n_run = n;
}

static void drop_canceled(moa_generator *g) {
    for (int i = 0; i < g->n_wait;) {
        moa_job *j = g->wait[i];
        if (!moa_job_canceled(j)) {
            i++;
            continue;
        }
        forget_waiting(g, i);
        finish(g, j, MOA_STOP_CANCELED);
        moa_job_free(j);
    }
    for (int i = 0; i < g->n_run; i++)
        if (moa_job_canceled(g->run[i])) finish(g, g->run[i], MOA_STOP_CANCELED);
    sweep(g);
}

void moa_engine_refuse(moa_generator *g, moa_job *j) {
    fail_alone(g, j);
    moa_job_free(j);
}

void moa_engine_cancel_all(moa_generator *g) {
    for (int i = 0; i < g->n_wait; i++) g->wait[i]->dropped = true;
    for (int i = 0; i < g->n_run; i++) g->run[i]->dropped = true;
    drop_canceled(g);
}

/* ---- admission ---- */

static int64_t free_blocks(const moa_generator *g) { return moa_session_free_positions(g->s) / MOA_KV_BLOCK; }

/* Blocks that running jobs will still take for what they already have to compute, and one each to go on. */
static int64_t owed(const moa_generator *g) {
    int64_t n = 0;
    for (int i = 0; i < g->n_run; i++)
        if (g->run[i]->state == MOA_JOB_RUNNING)
            n += moa_kv_blocks(g->run[i]->n_tok) - moa_kv_blocks(moa_seq_len(g->s, g->run[i]->seq)) + 1;
    return n;
}

/* Where to fork from: *seq (-1: the cache) and how many tokens. Negative: a running job will soon hold more, so wait. */
static int64_t find_source(moa_generator *g, const moa_job *j, int *seq) {
    const int64_t limit = j->n_tok - 1; /* the last token must be computed: its logits are wanted */
    const uint64_t kind = moa_session_kind(g->s, j->n_tok);
    int64_t have = moa_prefix_find(&g->cache, kind, j->tok, limit), soon = have;
    moa_job *holds = NULL;
    *seq = -1;
    for (int i = 0; i < g->n_run; i++) {
        moa_job *o = g->run[i];
        if (o->state != MOA_JOB_RUNNING || moa_seq_kind(g->s, o->seq) != kind) continue;
        const int64_t same = moa_common(o->tok, j->tok, o->n_tok < limit ? o->n_tok : limit);
        const int64_t len = moa_seq_len(g->s, o->seq), now = same < len ? same : len;
        if (!moa_seq_reaches(g->s, o->seq, now)) continue; /* a sliding window has left it */
        if (same > soon) soon = same, holds = o;
        if (now > have) have = now, *seq = o->seq;
    }
    if (soon - have < WORTH_WAITING) return have;
    if (holds->req.priority < j->req.priority) holds->req.priority = j->req.priority; /* it works for both now */
    return -1;
}

/* The last running job in order: for a waiting one only where its priority is lower, else (NULL) only where it is not the first too. */
static moa_job *last_running(const moa_generator *g, const moa_job *j) {
    moa_job *last = g->n_run ? g->run[0] : NULL;
    for (int i = 1; i < g->n_run; i++)
        if (before(last, g->run[i])) last = g->run[i];
    if (!last || (!j && g->n_run == 1)) return NULL;
    return !j || (j->req.priority > last->req.priority && before(j, last)) ? last : NULL;
}

static int start_sampler(moa_generator *g, moa_job *j) {
    if (g->n_spare) {
        j->sampler = g->spare[--g->n_spare];
        moa_sampler_reset(j->sampler, &j->req.sampling);
    } else {
        MOA_TRY(moa_sampler_new(&j->sampler, &j->req.sampling, g->n_vocab, &j->res.err));
    }
    for (int64_t i = 0; i < j->n_tok; i++) {
        if (i == j->n_tok - j->req.n_given) moa_sampler_begin(j->sampler);
        moa_sampler_accept(j->sampler, j->tok[i]);
    }
    if (!j->req.n_given) moa_sampler_begin(j->sampler);
    moa_sampler_bias(j->sampler, j->req.bias, j->req.n_bias);
    return j->req.grammar ? moa_constraints_open(&j->matcher, &j->place, &g->grammars, g->m->tok, j->req.grammar, &j->res.err) : 0;
}

static int start(moa_generator *g, moa_job *j, int64_t reused) {
    close_open(g, j);
    j->started = true;
    j->res.n_reused = reused;
    j->ngrams = g->cfg.drafts > 0 ? moa_ngrams_open(&g->ngrams, j->tok, j->n_tok) : NULL;
    if (!j->ngrams || !moa_ngrams_guess(j->ngrams, &j->guess, 1, j->tok, j->n_tok)) j->guess = -1;
    memcpy(j->hit, g->hit, sizeof j->hit);
    return start_sampler(g, j);
}

typedef enum verdict { RUNS, SHARES /* waits for a beginning */, FULL, FAILED } verdict;

static verdict admit(moa_generator *g, moa_job *j) {
    int from;
    moa_job *last;
    const int64_t have = find_source(g, j, &from);
    if (have < 0) return SHARES;
    const int seq = from >= 0 ? moa_seq_fork(g->s, from, have, &j->res.err) : moa_prefix_fork(&g->cache, have, j->n_tok, &j->res.err);
    if (seq < 0) return FAILED;
    /* The fork holds what it shares, so the cache may drop it. */
    const int64_t need = moa_kv_blocks(j->n_tok + 1) - have / MOA_KV_BLOCK;
    while (free_blocks(g) < need + owed(g)) {
        if (moa_prefix_evict(&g->cache)) continue;
        if (!(last = last_running(g, j))) break;
        suspend(g, last);
        sweep(g); /* it waits behind j */
    }
    if (free_blocks(g) < need + owed(g) && g->n_run) {
        moa_seq_free(g->s, seq);
        return FULL;
    }
    j->seq = seq;
    j->state = MOA_JOB_RUNNING;
    j->pass = g->pass;
    if (!j->started && start(g, j, have) < 0) return FAILED;
    return RUNS;
}

static void admit_all(moa_generator *g) {
    for (int i = 0; i < g->n_wait && i < g->n_live;) {
        moa_job *j = g->wait[i], *last;
        if (g->n_run == g->n_live) {
            if (!(last = last_running(g, j))) return;
            suspend(g, last);
            sweep(g);
        }
        const verdict v = admit(g, j);
        if (v == FULL) return;
        if (v == SHARES) {
            i++;
            continue;
        }
        forget_waiting(g, i);
        if (v == RUNS) {
            g->run[g->n_run++] = j;
        } else {
            fail_alone(g, j);
            moa_job_free(j);
        }
    }
}

/* ---- steps ---- */

static int64_t missing(const moa_generator *g, const moa_job *j) { return j->n_tok - moa_seq_len(g->s, j->seq); }

static int feed(moa_generator *g, moa_job *j, int n, int64_t most) {
    const int64_t len = moa_seq_len(g->s, j->seq), left = j->n_tok - len, take = left < most ? left : most;
    for (int64_t i = 0; i < take; i++)
        g->row[n + i] = (moa_row){.seq = j->seq, .token = j->tok[len + i], .want_logits = len + i + 1 == j->n_tok};
    n += (int)take;
    j->n_row = (int)take;
    if (take < left) return n;
    j->row = n - 1;
    for (int i = 0; i < j->n_draft; i++) g->row[n++] = (moa_row){.seq = j->seq, .token = j->draft[i], .want_logits = true};
    j->n_row += j->n_draft;
    return n;
}

/* What one more row in a step of n jobs that decode costs, in tokens as they come without drafts; 1: unknown. */
static double row_cost(const moa_generator *g, int n) {
    const double step = moa_pace_at(&g->plain, n);
    return step > 0 ? moa_pace_row(&g->plain) * n / step : 1;
}

/* Drafts for a job that decodes, of n_decode that do, at most `most`. The i-th row of a draft is worth its cost where the chance
 * that all guesses up to i come true is greater than that cost, counted in tokens: the time that a row adds over the time
 * that a token takes without drafts. Guesses are compared with what comes whether they are fed or not, so chances are known
 * beforehand; what a row adds is seen only when rows vary, so where all looks well a row is tried now and then. */
static void draft(moa_generator *g, moa_job *j, int n_decode, int most) {
    const double cost = row_cost(g, n_decode);
    double chance = (double)j->hit[j->came_true];
    int k = 0;
    if (most > g->cfg.drafts) most = g->cfg.drafts;
    if (most > j->most - j->n_tok - 1) most = (int)(j->most - j->n_tok - 1);
    while (most > 0 && moa_session_kind(g->s, j->n_tok + most) != moa_seq_kind(g->s, j->seq)) most--;
    if (j->n_model) {
        j->n_draft = j->n_model < most ? j->n_model : most > 0 ? most : 0;
        return;
    }
    if (j->guess < 0) return;
    for (; k < most && (chance > MARGIN * cost || g->cfg.draft_always); k++) chance *= (double)j->hit[1];
    if (!k && most > 0 && chance > 0.4 && g->since_draft >= TRY_EVERY) k = 1;
    if (!k) return;
    j->n_draft = moa_ngrams_guess(j->ngrams, j->draft, k, j->tok, j->n_tok);
    g->since_draft = 0;
}

/* How many rows of prompts join n rows that decode. Steps vary, so the aim is below the bound. Where decoding alone takes most of the
 * bound, a chunk may take half of it more: nothing is gained by reading for ever. */
static int chunk(const moa_generator *g, int n) {
    const int room = g->n_batch - n;
    if (!n) return room;
    const double half_more = 1.5 * moa_pace_at(&g->plain, n), aim = 0.8 * g->cfg.stall_s, bound = aim > half_more ? aim : half_more;
    const int rows = moa_pace_rows(&g->reading, bound, n + FIRST_CHUNK, g->n_batch) - n;
    return rows < LEAST_CHUNK ? (LEAST_CHUNK < room ? LEAST_CHUNK : room) : rows;
}

/* Of the jobs that read and have no rows in this step yet, the one that has read least for its weight. */
static moa_job *next_reader(const moa_generator *g) {
    moa_job *next = NULL;
    for (int i = 0; i < g->n_run; i++) {
        moa_job *j = g->run[i];
        if (!j->n_row && (!next || j->pass < next->pass || (j->pass == next->pass && before(j, next)))) next = j;
    }
    return next;
}

static int64_t unread(const moa_drafter *d, const moa_job *j) { return j->n_tok - moa_seq_len(d->s, j->mirror); }

/* Jobs for which the small model may guess: they decode and do not know better themselves. */
static int guessable(moa_generator *g, moa_job **job, int *n_decode) {
    int n = 0;
    *n_decode = 0;
    for (int i = 0; i < g->n_run; i++) {
        moa_job *j = g->run[i];
        j->n_model = 0;
        if (missing(g, j) != 1) continue;
        ++*n_decode;
        if (n < DRAFT_JOBS && (g->cfg.draft_always || j->guess < 0 || (double)j->hit[j->came_true] < g->drafter->hit)) job[n++] = j;
    }
    return n;
}

/* Guesses of the small model: as many for each job as still pay for their rows and for the small model's steps, whose time they share,
 * and only where the tokens that may still come pay for reading what the small model has not read. Where they do not, one job tries
 * anew now and then. */
static void consult_drafter(moa_generator *g) {
    moa_drafter *d = g->drafter;
    moa_job *job[DRAFT_JOBS];
    int n_decode, k = 0, m = 0, n = guessable(g, job, &n_decode);
    d->since++;
    if (!n || (d->rest > 0 && d->rest--)) return;
    const double token = moa_pace_at(&g->plain, n_decode) / n_decode, guess = moa_pace_at(&d->pace, n) / n, h = d->hit;
    const double cost = token > 0 && guess > 0 ? row_cost(g, n_decode) + guess / token : 1;
    double tokens = 1; /* from a step */
    for (double chance = h; k < g->cfg.drafts && chance > MARGIN * cost; k++, chance *= h) tokens += chance;
    const double saved = token * (1 - (1 + k * cost) / tokens), row = moa_pace_row(&d->reading);
    for (int i = 0; i < n; i++)
        if (saved * (double)(job[i]->most - job[i]->n_tok) > row * (double)unread(d, job[i])) job[m++] = job[i];
    if (g->cfg.draft_always) k = g->cfg.drafts, m = n;
    if ((!k || !m) && d->since >= 2 * TRY_EVERY) {
        for (int i = 1; i < n; i++)
            if (unread(d, job[i]) < unread(d, job[0])) job[0] = job[i];
        k = 3, m = 1;
    }
    if (k && m) moa_drafter_run(d, job, m, k, 0.3 * g->cfg.stall_s);
}

static int fill_rows(moa_generator *g, int *n_plain, bool drafts) {
    int n = 0;
    for (int i = 0; i < g->n_run; i++) g->run[i]->row = -1, g->run[i]->n_row = g->run[i]->n_draft = 0;
    int n_decode = 0, spare = g->n_batch - g->n_run;
    for (int i = 0; i < g->n_run; i++) n_decode += missing(g, g->run[i]) == 1;
    for (int i = 0; i < g->n_run; i++) {
        moa_job *j = g->run[i];
        if (missing(g, j) != 1) continue;
        if (drafts) draft(g, j, n_decode, spare);
        spare -= j->n_draft;
        n = feed(g, j, n, 1);
    }
    *n_plain = n;
    moa_job *j;
    for (int left = chunk(g, n); left > 0 && (j = next_reader(g));) {
        const int from = n;
        n = feed(g, j, n, left);
        left -= n - from;
    }
    return n;
}

/* What was read counts, once it is in. */
static void account(moa_generator *g, int n, int n_plain, double seconds) {
    moa_pace_note(n > n_plain ? &g->reading : &g->plain, n, seconds);
    g->count.steps++;
    g->since_draft++;
    for (int i = 0; i < g->n_run; i++) {
        moa_job *j = g->run[i];
        j->res.share_s += seconds / n * j->n_row;
        if (j->n_row <= 1 + j->n_draft) continue;
        if (j->pass > g->pass) g->pass = j->pass;
        j->pass += ldexp(j->n_row, -j->req.priority);
    }
}

/* Nobody else can make room: all that were in this step fail with its error. */
static void fail_step(moa_generator *g, const moa_err *err) {
    for (int i = 0; i < g->n_run; i++) {
        moa_job *j = g->run[i];
        if (!j->n_row) continue;
        j->res.err = *err;
        fail_alone(g, j);
    }
    sweep(g);
}

bool moa_engine_useless(void *ctx) {
    const moa_generator *g = ctx;
    for (int i = 0; i < g->n_run; i++)
        if (g->run[i]->n_row && !moa_job_canceled(g->run[i])) return false;
    return true;
}

/* One step; true: its logits are there. */
static bool step(moa_generator *g, int *n, int *n_plain) {
    for (bool drafts = true; g->n_run;) {
        moa_err err = {0};
        *n = fill_rows(g, n_plain, drafts);
        const int rc = moa_session_step(g->s, g->row, *n, &err);
        if (rc >= 0) return true;
        if (rc == MOA_ECANCELED) return false;
        if (rc == MOA_ELIMIT && moa_prefix_evict(&g->cache)) continue;
        if (drafts && !(drafts = false)) continue; /* rather than stop a job */
        moa_job *last = rc == MOA_ELIMIT || rc == MOA_ENOMEM ? last_running(g, NULL) : NULL;
        if (!last) {
            fail_step(g, &err);
            return false;
        }
        suspend(g, last);
        sweep(g);
    }
    return false;
}

/* ---- tokens ---- */

/* Takes what was drawn into the text, token by token, until the job ends. */
static void take(moa_generator *g, moa_job *j) {
    const moa_tokenizer *tok = g->m->tok;
    const int64_t had = j->n_tok;
    if (had == j->req.n_prompt) j->res.first_s = moa_now() - j->came;
    j->res.n_drafted += j->n_draft;
    j->res.n_accepted += j->n_pick - 1;
    g->count.drafted += j->n_draft;
    g->count.accepted += j->n_pick - 1;
    g->count.written += j->n_pick;
    for (int i = 0; i < j->n_pick; i++) {
        const int32_t t = j->pick[i];
        const bool last = i + 1 == j->n_pick;
        if (last) { /* drafts that did not come true go */
            moa_seq_truncate(g->s, j->seq, had + i);
            moa_drafter_keep(g->drafter, j, had + i);
        }
        if (i < j->n_draft && j->n_model) g->drafter->hit += ((double)(t == j->draft[i]) - g->drafter->hit) / 100;
        if (moa_tokenizer_is_eog(tok, t)) return finish(g, j, MOA_STOP_EOS);
        if (j->guess >= 0) g->hit[j->came_true] += ((float)(j->guess == t) - g->hit[j->came_true]) / 300;
        moa_job_learn(j, t);
        j->res.sum_logprob += (double)j->logprob[i];
        moa_job_log(j, i);
        const moa_str s = moa_token_bytes(tok, t, false);
        if (moa_stream_add(&j->out, s.p, s.n, &j->res.err) < 0) return fail_alone(g, j);
        if (j->out.stopped) {
            moa_seq_truncate(g->s, j->seq, had + i);
            return finish(g, j, MOA_STOP_STRING);
        }
        moa_job_show(j);
        if (last && j->matcher && moa_matcher_finished(j->matcher, j->place)) return finish(g, j, MOA_STOP_EOS);
    }
    if (j->n_tok == j->most)
        finish(g, j, j->n_tok - j->req.n_prompt == j->req.max_tokens ? MOA_STOP_LENGTH : MOA_STOP_CONTEXT);
    else if (moa_seq_kind(g->s, j->seq) != moa_session_kind(g->s, j->n_tok))
        suspend(g, j);
}

static void draw_range(const void *args, int64_t i0, int64_t i1, int thread) { /* range: running jobs */
    const moa_generator *g = args;
    (void)thread;
    for (int64_t i = i0; i < i1; i++)
        if (g->run[i]->row >= 0 && !g->run[i]->matcher) g->run[i]->drawn = moa_job_draw(g->run[i], g->m->tok, g->s);
}

/* Jobs of a grammar share the states of its matcher, so they draw one after the other. */
static void draw_all(moa_generator *g) {
    moa_session_parallel(g->s, g->n_run, 4.0 * g->n_vocab, draw_range, g);
    for (int i = 0; i < g->n_run; i++)
        if (g->run[i]->row >= 0 && g->run[i]->matcher) g->run[i]->drawn = moa_job_draw(g->run[i], g->m->tok, g->s);
}

static void next_tokens(moa_generator *g, moa_job *j) {
    /* Where windows slide, a sequence forgets its beginning as it goes on: the prompt stays for who reads it next. */
    if (moa_session_slides(g->s) && j->n_tok == j->req.n_prompt) moa_prefix_keep(&g->cache, j->seq, j->tok, j->n_tok);
    if (j->drawn < 0) fail_alone(g, j);
    else take(g, j);
}

/* Who waits for a long prompt may give up between its chunks. */
static void tell_reading(moa_generator *g) {
    for (int i = 0; i < g->n_run; i++) {
        moa_job *j = g->run[i];
        if (j->n_row && j->row < 0 && !j->dropped) j->dropped = !j->sink.text(j->sink.ctx, "", 0);
    }
}

void moa_engine_turn(moa_generator *g) {
    int n, n_plain;
    drop_canceled(g);
    admit_all(g);
    if (g->drafter) consult_drafter(g);
    const double start = moa_now();
    if (!step(g, &n, &n_plain)) return;
    draw_all(g);
    account(g, n, n_plain, moa_now() - start);
    tell_reading(g);
    for (int i = 0; i < g->n_run; i++)
        if (g->run[i]->row >= 0) next_tokens(g, g->run[i]);
    sweep(g);
}
