/* job.c - a call's life: it waits for its turn, runs as one request or two, rests before another try, ends. All in the thread of net.c.
 *
 * Turns: calls that came together (the proposals of one request) have turns one behind the other, so a request with a hundred calls lets those of
 * others in between. The queue is ordered by priority, turn, arrival; a call's turn is the queue's own when it came, plus its place among those
 * that came with it (start-time fair queueing with equal costs: Goyal, Vin, Cheng 1997). SPDX-License-Identifier: Apache-2.0 */
#include "serve/upstream/upstream.h"

#include "base/clock.h"
#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double back_off_s = 0.25, longest_wait_s = 120;

static void count(upstream *u, int64_t *of_stats) {
    pthread_mutex_lock(&u->lock);
    ++*of_stats;
    pthread_mutex_unlock(&u->lock);
}

/* ---- ends ---- */

void moa_upstream_job_free(job *j) {
    moa_buf_deinit(&j->body);
    free(j);
}

/* What others see of the load. */
static void show_load(upstream *u) {
    pthread_mutex_lock(&u->lock);
    u->stats.running = u->n_running;
    u->stats.waiting = u->n_jobs - u->n_active;
    u->stats.breaker = (int)u->breaker.state;
    pthread_mutex_unlock(&u->lock);
}

void moa_upstream_job_drop(job *j, attempt *a) {
    upstream *u = j->u;
    for (int i = 0; i < 2; i++)
        if (j->try[i] == a) j->try[i] = NULL;
    if (j->speaker == a) j->speaker = NULL;
    if (a->probe) moa_breaker_withdraw(&u->breaker, moa_net_time(u->net));
    u->n_running--;
    show_load(u);
    moa_attempt_free(a);
}

static void unqueue(job *j) {
    for (job **at = &j->u->queue; *at; at = &(*at)->next)
        if (*at == j) {
            *at = j->next;
            return;
        }
}

/* a: the request whose reply it is, or NULL; err: of a call that failed, or NULL. */
static void finish(job *j, attempt *a, const moa_err *err) {
    upstream *u = j->u;
    moa_call *c = j->call;
    moa_gen_res *r = &c->res;
    const double now = moa_net_time(u->net);
    *r = (moa_gen_res){.seconds = now - j->came, .first_s = j->first > 0 ? j->first - j->came : 0, .why = MOA_STOP_EOS};
    if (a) {
        moa_reply *reply = &a->reply;
        r->n_prompt = reply->prompt_tokens, r->n_reused = reply->cached_tokens;
        r->n_ids = (int)(reply->completion_tokens ? reply->completion_tokens : reply->events);
        r->n_thought = (int)reply->thought_tokens;
        if (reply->cut) r->why = MOA_STOP_LENGTH;
        r->text_len = reply->text.len;
        r->text = moa_buf_take(&reply->text);
    }
    if (err) c->rc = err->code, c->err = *err;
    else if (!r->text) c->rc = moa_fail(&c->err, MOA_ENOMEM, "%s: a reply", u->id);
    if (c->rc == MOA_ECANCELED) r->why = MOA_STOP_CANCELED;
    c->share_s = r->seconds;
    if (j->state == JOB_WAITS) unqueue(j);
    for (int i = 0; i < 2; i++)
        if (j->try[i]) moa_upstream_job_drop(j, j->try[i]);
    *(j->newer ? &j->newer->older : &u->jobs) = j->older;
    if (j->older) j->older->newer = j->newer;
    u->n_jobs--;
    u->n_active -= j->state == JOB_RUNS;
    show_load(u);
    pthread_mutex_lock(&u->lock);
    u->stats.calls++;
    u->stats.canceled += c->rc == MOA_ECANCELED;
    pthread_mutex_unlock(&u->lock);
    moa_upstream_job_free(j);
    c->on_end(c);
}

static void cancel(job *j) {
    moa_err err = {0};
    moa_fail(&err, MOA_ECANCELED, "%s: canceled", j->u->id);
    finish(j, j->speaker, &err); /* a deadline makes do with what was said */
}

static bool is_canceled(const job *j) { return atomic_load_explicit(&j->call->cancel, memory_order_acquire); }

static void refuse(job *j, double wait) {
    const upstream *u = j->u;
    moa_err err = {0};
    moa_fail(&err, MOA_EIO, "%s: not asked, its last %d requests failed (%s); it is tried again in %.0f s", u->id, u->breaker.failures, u->last_failure, ceil(wait));
    count(j->u, &j->u->stats.refused);
    finish(j, NULL, &err);
}

/* ---- turns ---- */

static bool goes_before(const job *a, const job *b) {
    if (a->call->priority != b->call->priority) return a->call->priority > b->call->priority;
    return a->round < b->round;
}

static void enqueue(job *j) {
    job **at = &j->u->queue;
    j->round = j->u->round + (uint64_t)j->rank;
    while (*at && !goes_before(j, *at)) at = &(*at)->next;
    j->state = JOB_WAITS;
    j->next = *at;
    *at = j;
}

void moa_upstream_job_take(job *j) {
    upstream *u = j->u;
    j->came = moa_net_time(u->net);
    if ((j->older = u->jobs)) u->jobs->newer = j;
    u->jobs = j;
    u->n_jobs++;
    enqueue(j);
    show_load(u);
    if (is_canceled(j)) cancel(j);
    else if (u->cfg.whole_s > 0) moa_net_look(u->net, j->came + u->cfg.whole_s);
}

/* ---- requests ---- */

/* When a second request beside the first may go; infinity: none may. */
static double hedge_time(const job *j) {
    const upstream *u = j->u;
    const attempt *a = j->try[0];
    if (u->cfg.hedge <= 0 || !u->p95_known || j->state != JOB_RUNS || !a || j->try[1] || a->hedge || a->reply.spoke) return INFINITY;
    return a->began + u->p95;
}

static int send_one(job *j, bool hedge, moa_err *err) {
    upstream *u = j->u;
    attempt *a;
    MOA_TRY(moa_attempt_new(&a, j, hedge, err));
    const char *silence;
    a->probe = moa_breaker_go(&u->breaker);
    j->try[hedge] = a;
    moa_bucket_take(&u->requests, 1);
    moa_bucket_take(&u->tokens, j->cost);
    u->n_running++;
    pthread_mutex_lock(&u->lock);
    u->stats.requests++;
    u->stats.hedges += hedge;
    u->stats.retries += !hedge && j->tries > 0;
    pthread_mutex_unlock(&u->lock);
    show_load(u);
    moa_net_look(u->net, moa_attempt_due(a, &silence));
    if (hedge_time(j) < INFINITY) moa_net_look(u->net, hedge_time(j));
    return 0;
}

static double limit_wait(upstream *u, const job *j, double now) {
    return fmax(fmax(moa_bucket_wait(&u->requests, 1, now), moa_bucket_wait(&u->tokens, j->cost, now)), u->pause - now);
}

void moa_upstream_admit(upstream *u) {
    const double now = moa_net_time(u->net);
    for (job *j; (j = u->queue);) {
        const double closed = moa_breaker_wait(&u->breaker, now);
        moa_err err = {0};
        if (closed > 0) {
            refuse(j, closed);
            continue;
        }
        if (u->n_running >= u->cfg.max_concurrent) return;
        const double wait = limit_wait(u, j, now);
        if (wait > 0) {
            moa_net_look(u->net, now + wait);
            return;
        }
        u->queue = j->next, j->next = NULL;
        u->round = j->round;
        j->state = JOB_RUNS;
        u->n_active++;
        if (send_one(j, false, &err) < 0) finish(j, NULL, &err);
        else j->tries++;
    }
}

static void hedge(job *j, double now) {
    upstream *u = j->u;
    moa_err err = {0};
    pthread_mutex_lock(&u->lock);
    const bool room = (double)(u->stats.hedges + 1) <= u->cfg.hedge * (double)u->stats.requests;
    pthread_mutex_unlock(&u->lock);
    if (room && !u->queue && u->n_running < u->cfg.max_concurrent && limit_wait(u, j, now) <= 0 && u->breaker.state == MOA_BREAKER_CLOSED) send_one(j, true, &err);
}

void moa_upstream_look(upstream *u, bool stirred) {
    const double now = moa_net_time(u->net);
    for (job *j = u->jobs, *older; j; j = older) {
        older = j->older;
        moa_err err = {0};
        if (stirred && is_canceled(j)) {
            cancel(j);
            continue;
        }
        if (u->cfg.whole_s > 0 && now >= j->came + u->cfg.whole_s) {
            moa_fail(&err, MOA_EIO, "%s: not whole after %.3g s", u->id, u->cfg.whole_s);
            finish(j, NULL, &err);
            continue;
        }
        if (u->cfg.whole_s > 0) moa_net_look(u->net, j->came + u->cfg.whole_s);
        if (j->state == JOB_RESTS && now >= j->again) enqueue(j);
        else if (j->state == JOB_RESTS) moa_net_look(u->net, j->again);
        if (now >= hedge_time(j)) hedge(j, now);
        else if (hedge_time(j) < INFINITY) moa_net_look(u->net, hedge_time(j));
        for (int i = 1; i >= 0; i--) { /* the end of the first may be that of the job */
            const char *silence;
            attempt *a = j->try[i];
            const double due = a ? moa_attempt_due(a, &silence) : INFINITY;
            if (!a) continue;
            if (now < due) {
                moa_net_look(u->net, due);
                continue;
            }
            if (!moa_upstream_job_ended(j, a, CURLE_OK, silence)) break; /* j is gone */
        }
    }
    moa_upstream_admit(u);
}

/* ---- what comes back ---- */

static void note_first(upstream *u, double seconds) {
    pthread_mutex_lock(&u->lock);
    moa_latency_add(&u->first, seconds);
    if (u->cfg.hedge > 0) u->p95 = moa_latency_quantile(&u->first, 0.95);
    pthread_mutex_unlock(&u->lock);
    u->p95_known = u->cfg.hedge > 0 && u->p95 >= 0;
}

/* What comes beside the text, before it. */
static void tell_beside(job *j, moa_reply *r) {
    if (r->thought.len && j->call->on_thought) j->call->on_thought(j->call, moa_buf_str(&r->thought), r->thought.len);
    moa_buf_clear(&r->thought);
    moa_upstream_probs(j->call->log, r->probs);
}

void moa_upstream_job_heard(job *j, attempt *a) {
    upstream *u = j->u;
    const char *silence;
    const bool first = a->reply.spoke && !j->speaker;
    moa_net_look(u->net, moa_attempt_due(a, &silence));
    if (first) {
        note_first(u, a->heard - a->began);
        j->speaker = a;
        if (a->hedge) count(u, &u->stats.hedges_won);
        for (int i = 0; i < 2; i++)
            if (j->try[i] && j->try[i] != a) moa_net_lose(u->net, j->try[i]);
    }
    if (j->speaker != a) return;
    tell_beside(j, &a->reply);
    if (a->reply.text.len == j->told) return;
    if (!j->told) j->first = a->heard;
    const size_t from = j->told;
    j->told = a->reply.text.len;
    j->call->on_text(j->call, moa_buf_str(&a->reply.text) + from, j->told - from);
}

static void learn(upstream *u, const attempt *a) {
    const moa_reply *r = &a->reply;
    const double used = (double)(r->prompt_tokens + r->completion_tokens);
    if (r->completion_tokens) u->mean_tokens = 0.9 * u->mean_tokens + 0.1 * (double)r->completion_tokens;
    if (used > 0) moa_bucket_take(&u->tokens, used - a->j->cost); /* what was guessed becomes what was */
}

/* Another try later, or the end: then false. */
static bool rest(job *j, const attempt *a, const moa_err *err) {
    upstream *u = j->u;
    const double now = moa_net_time(u->net);
    const uint64_t noise = moa_mix64((uint64_t)(moa_now() * 1e9) ^ (uint64_t)(uintptr_t)j);
    const double wait = a->retry_after >= 0 ? a->retry_after : moa_backoff(back_off_s, j->tries, noise), end = u->cfg.whole_s > 0 ? j->came + u->cfg.whole_s : INFINITY;
    moa_err e = *err;
    if (wait > longest_wait_s || now + wait > end) {
        if (a->retry_after >= 0) moa_hint(&e, e.code, "it asks to wait %.0f s", wait);
        finish(j, NULL, &e);
        return false;
    }
    j->state = JOB_RESTS;
    j->rank = 0;
    u->n_active--;
    show_load(u);
    j->again = now + wait;
    moa_net_look(u->net, j->again);
    return true;
}

/* For whoever finds the breaker open: what the server said may quote what another one asked. */
static void name_failure(upstream *u, const attempt *a, CURLcode code, const char *silence) {
    if (a->status && a->status != 200) snprintf(u->last_failure, sizeof u->last_failure, "status %ld", (long)a->status);
    else snprintf(u->last_failure, sizeof u->last_failure, "%s", silence ? silence : code != CURLE_OK ? curl_easy_strerror(code) : "no valid reply");
}

bool moa_upstream_job_ended(job *j, attempt *a, CURLcode code, const char *silence) {
    upstream *u = j->u;
    const double now = moa_net_time(u->net);
    moa_err err = {0};
    bool passing, alive;
    if (is_canceled(j)) {
        cancel(j);
        return false;
    }
    const int rc = moa_attempt_result(a, code, silence, &passing, &alive, &err);
    attempt *other = j->try[0] == a ? j->try[1] : j->try[0];
    moa_breaker_tell(&u->breaker, alive, now);
    if (!alive) name_failure(u, a, code, silence);
    if (a->retry_after >= 0 && (a->status == 429 || a->status == 503)) u->pause = fmax(u->pause, now + fmin(a->retry_after, longest_wait_s));
    a->probe = false;
    if (rc >= 0) {
        learn(u, a);
        if (other) moa_upstream_job_drop(j, other);
        a->reply.spoke = true;
        moa_upstream_job_heard(j, a); /* what was held back: a whole reply, calls of tools */
        finish(j, a, NULL);
        return false;
    }
    count(u, &u->stats.failures);
    const attempt last = *a; /* what rest() asks of it is plain */
    const bool speaks = j->speaker == a;
    moa_upstream_job_drop(j, a);
    if (other && !other->lost && !speaks) return true; /* the other one goes on */
    if (passing && !j->told && j->tries <= u->cfg.retries) return rest(j, &last, &err);
    finish(j, NULL, &err);
    return false;
}
