/* eval.c - see eval.h. The run's seed is a hash of the evaluation's seed, the item and the repeat, not of the mix:
 * sample i of an item is the same draw in every mix.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/eval.h"

#include "agent/stair.h"
#include "agent/strategy.h"
#include "base/buf.h"
#include "base/rng.h"

#include <stdlib.h>
#include <string.h>

typedef struct job { moa_run *r; moa_message msg[3]; int mix, item, rep; double seconds; bool last; } job; /* last: no turn follows */
typedef struct state { moa_eval *e; moa_eval_cb cb; void *ctx; } state;

static bool on_event(void *ctx, moa_run *r, const moa_event *ev) {
    state *s = ctx;
    (void)r, (void)ev;
    return !s->cb || s->cb(s->ctx, s->e, false);
}

/* The first proposals: what the mix had to choose from before anybody had read anything. */
static int score_proposals(moa_eval_cell *c, const moa_run *r, const moa_item *item, moa_err *err) {
    int n = 0, right = 0, same = 0, cluster[512];
    moa_ballot b[512];
    for (int i = 0; i < r->n_node && n < 512; i++) {
        const moa_agent_node *d = &r->node[i];
        if (strcmp(d->role, "proposer") || d->n_in || d->state != MOA_NODE_DONE) continue;
        right += moa_item_check(item, d->text, d->text_len);
        b[n++] = (moa_ballot){.text = d->text, .n = d->text_len, .sum_logprob = d->sum_logprob};
    }
    if (n < 2) return 0;
    moa_vote v;
    MOA_TRY(moa_vote_count(&v, cluster, b, n, err));
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++) same += cluster[i] >= 0 && cluster[i] == cluster[j];
    c->proposal_runs++;
    c->quality += (double)right / n;
    c->distinct += (double)(v.n_cluster + n - v.n_vote) / n;
    c->disagreement += 1 - same / (0.5 * n * (n - 1));
    c->any_right += right > 0;
    if (v.winner < 0 || !moa_item_scored(item)) return 0;
    const int k = v.size < MOA_EVAL_AGREE ? v.size : MOA_EVAL_AGREE;
    c->agree[k]++;
    c->agree_right[k] += moa_item_check(item, b[v.winner].text, b[v.winner].n);
    return 0;
}

static double right(void *item, const char *reply, size_t n) { return moa_item_check(item, reply, n); }

/* When an aggregator that goes by steps is done: each begins when the one before has ended and its proposals have said what it reads, at an even pace. */
static double climb(const moa_run *r, const moa_agent_node *n, const double *at) {
    double now = 0;
    for (const moa_step *t = n->stair->first; t; t = t->next) {
        for (int k = 0; k < n->n_in; k++) {
            const moa_agent_node *from = &r->node[n->in[k]];
            const double all = from->text_len > 0 ? (double)from->text_len : 1, part = t->last || (double)t->read[k] > all ? 1 : t->read[k] > 0 ? (double)t->read[k] / all : 0;
            const double said = at[n->in[k]] - (1 - part) * (from->backend ? from->seconds - from->first_s : 0);
            if (t->read[k] >= 0 && said > now) now = said;
        }
        now += t->seconds;
    }
    return now;
}

/* Seconds of the longest chain of calls that the answer waited for: what the run takes where its calls have the machine for themselves, and the
 * same whether a journal knew them or not. */
static int chain(double *seconds, const moa_run *r, moa_err *err) {
    double *at = calloc((size_t)r->n_node + 1, sizeof *at);
    *seconds = 0;
    if (!at) return moa_fail(err, MOA_ENOMEM, "a run of %d calls", r->n_node);
    for (int i = 0; i < r->n_node; i++) {
        const moa_agent_node *n = &r->node[i];
        for (int k = 0; k < n->n_in; k++) at[i] = at[n->in[k]] > at[i] ? at[n->in[k]] : at[i];
        if (n->stair && n->stair->first) at[i] = climb(r, n, at);
        else at[i] += n->backend ? n->seconds : 0;
        if (i == r->answer) *seconds = at[i];
    }
    free(at);
    return 0;
}

static void count(moa_eval_cell *c, const moa_run *r) {
    c->calls += r->usage.calls;
    c->prompt_tokens += r->usage.prompt_tokens;
    c->completion_tokens += r->usage.completion_tokens;
    c->reused_tokens += r->usage.reused_prefix_tokens;
    c->spared_tokens += r->usage.spared_tokens;
    for (int i = 0; i < r->n_node; i++) c->read += r->node[i].n_read, c->dropped += r->node[i].n_dropped;
    c->cost += r->usage.cost;
    for (int i = 0; i < r->n_node; i++) c->seconds += r->node[i].share_s;
    c->replaced += r->rc >= 0 && r->answer >= 0 && r->node[r->answer].replaced;
}

static int keep_answer(moa_eval *e, const job *j, size_t at, moa_err *err) {
    const char *said = moa_run_answer(j->r);
    char *before = e->answer[at];
    moa_buf b;
    if (j->rep || j->r->rc < 0) return 0;
    moa_buf_init(&b, 64 << 20);
    if (before) moa_buf_addf(&b, "%s\n\n", before);
    moa_buf_adds(&b, said);
    e->answer[at] = moa_buf_take(&b);
    moa_buf_deinit(&b);
    free(before);
    return e->answer[at] ? 0 : moa_fail(err, MOA_ENOMEM, "an answer");
}

static int score(moa_eval *e, job *j, int n_item, moa_err *err) {
    const size_t at = (size_t)j->mix * (size_t)n_item + (size_t)j->item;
    moa_eval_cell *c = &e->cell[at];
    moa_run *r = j->r;
    const moa_item *item = moa_taskset_item(e->tasks, j->item);
    const char *answer = moa_run_answer(r);
    double seconds;
    count(c, r);
    if (r->rc < 0 && !e->first_error.code) e->first_error = r->err;
    MOA_TRY(chain(&seconds, r, err));
    j->seconds += seconds;
    if (e->keep) MOA_TRY(keep_answer(e, j, at, err));
    if (!j->last && r->rc >= 0) return 0;
    j->last = true;
    c->runs++;
    c->scored += moa_item_scored(item);
    c->failed += r->rc < 0;
    c->correct += r->rc >= 0 && moa_item_check(item, answer, strlen(answer));
    e->latency[at * (size_t)e->n_seed + (size_t)j->rep] = (float)j->seconds;
    e->first[at * (size_t)e->n_seed + (size_t)j->rep] = (float)(r->first_s > 0 ? r->first_s : r->seconds);
    MOA_TRY(moa_run_learn(r, moa_item_scored(item) ? right : NULL, (void *)(uintptr_t)item, err));
    return score_proposals(c, r, item, err);
}

static int add_job(job *j, const moa_eval *e, int item, int rep, int mix, moa_err *err) {
    const moa_item *it = moa_taskset_item(e->tasks, item);
    uint64_t key[3] = {e->seed, it->id ? it->id : moa_hash64(it->question.data, it->question.len, 0), (uint64_t)rep};
    *j = (job){.msg = {{"user", moa_buf_str(&it->question)}}, .mix = mix, .item = item, .rep = rep, .last = !it->follow.len};
    return moa_run_new(&j->r, &e->mix[mix].cfg, j->msg, 1, moa_hash64(key, sizeof key, 0), err);
}

/* The second turn of those whose first has been answered: jobs that go on move to the front, the others' runs are freed. Returns how many. */
static int next_turns(job *jobs, moa_run **runs, const moa_eval *e, int n, char **said, moa_err *err) {
    int left = 0, rc = 0;
    for (int i = 0; i < n; i++) {
        job *j = &jobs[i];
        moa_run *before = j->r;
        j->r = NULL;
        if (rc >= 0 && !j->last) {
            const moa_item *it = moa_taskset_item(e->tasks, j->item);
            said[left] = strdup(moa_run_answer(before));
            if (left != i) jobs[left] = *j;
            j = &jobs[left];
            j->msg[1] = (moa_message){"assistant", said[left]};
            j->msg[2] = (moa_message){"user", moa_buf_str(&it->follow)};
            j->last = true;
            rc = said[left] ? moa_run_new(&j->r, &e->mix[j->mix].cfg, j->msg, 3, moa_mix64(before->seed), err) : moa_fail(err, MOA_ENOMEM, "a second turn");
            if (rc >= 0) runs[left] = j->r, left++;
            else free(said[left]);
        }
        moa_run_free(before);
    }
    return rc < 0 ? rc : left;
}

static int run_turn(state *s, job *jobs, moa_run **runs, int n, moa_err *err) {
    const int n_item = moa_taskset_count(s->e->tasks);
    int rc = moa_run_execute_many(runs, n, on_event, s, err);
    for (int i = 0; rc >= 0 && i < n; i++) rc = score(s->e, &jobs[i], n_item, err);
    return rc;
}

static int run_chunk(state *s, job *jobs, moa_run **runs, char **said, int from, int to, moa_err *err) {
    moa_eval *e = s->e;
    int n = 0, rc = 0, n_said = 0;
    for (int i = from; rc >= 0 && i < to; i++)
        for (int k = 0; rc >= 0 && k < e->n_seed; k++)
            for (int m = 0; rc >= 0 && m < e->n_mix; m++) {
                rc = add_job(&jobs[n], e, i, k, m, err);
                if (rc >= 0) runs[n] = jobs[n].r, n++;
            }
    if (rc >= 0) rc = run_turn(s, jobs, runs, n, err);
    if (rc >= 0) {
        const int left = next_turns(jobs, runs, e, n, said, err);
        rc = left, n = n_said = left > 0 ? left : 0;
        if (left > 0) rc = run_turn(s, jobs, runs, left, err);
    }
    for (int i = 0; i < n; i++) moa_run_free(jobs[i].r);
    for (int i = 0; i < n_said; i++) free(said[i]);
    if (rc >= 0) e->done = to;
    return rc < 0 ? rc : 0;
}

/* A mix that learns online decides each item with what it knows by then: items one after the other. */
static int chunk_of(const moa_eval *e, int n_item) {
    for (int m = 0; m < e->n_mix; m++)
        if (moa_strategy_find(e->mix[m].cfg.strategy)->has & MOA_ONLINE) return 1;
    const int chunk = e->chunk > 0 ? e->chunk : 16;
    return chunk < n_item ? chunk : n_item > 0 ? n_item : 1;
}

int moa_eval_run(moa_eval *e, moa_eval_cb cb, void *ctx, moa_err *err) {
    const int n_item = moa_taskset_count(e->tasks), chunk = chunk_of(e, n_item);
    if (e->n_seed < 1) e->n_seed = 1;
    size_t most = (size_t)chunk * (size_t)e->n_seed * (size_t)e->n_mix;
    const size_t n_cell = (size_t)n_item * (size_t)e->n_mix + 1;
    e->cell = calloc(n_cell, sizeof *e->cell);
    e->latency = calloc(n_cell * (size_t)e->n_seed, sizeof *e->latency);
    e->first = calloc(n_cell * (size_t)e->n_seed, sizeof *e->first);
    e->answer = e->keep ? calloc(n_cell, sizeof(char *)) : NULL;
    job *jobs = malloc((most + 1) * sizeof *jobs);
    moa_run **runs = malloc((most + 1) * sizeof(moa_run *));
    char **said = calloc(most + 1, sizeof(char *));
    int rc = e->cell && e->latency && e->first && (e->answer || !e->keep) && jobs && runs && said ? 0 : moa_fail(err, MOA_ENOMEM, "an evaluation of %d items", n_item);
    state s = {e, cb, ctx};
    for (int i = 0; rc >= 0 && i < n_item; i += chunk) {
        rc = run_chunk(&s, jobs, runs, said, i, i + chunk < n_item ? i + chunk : n_item, err);
        if (rc >= 0 && cb && !cb(ctx, e, true)) rc = moa_fail(err, MOA_ECANCELED, "the evaluation was canceled");
    }
    free(jobs);
    free(runs);
    free(said);
    return rc;
}

void moa_eval_deinit(moa_eval *e) {
    const int n = e->answer ? e->n_mix * moa_taskset_count(e->tasks) : 0;
    for (int i = 0; i < n; i++) free(e->answer[i]);
    free(e->answer);
    free(e->latency);
    free(e->first);
    free(e->cell);
    e->cell = NULL, e->latency = e->first = NULL, e->answer = NULL;
}

static int ascending(const void *a, const void *b) {
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double quantile(const moa_eval *e, const float *of, int mix, double p) {
    const size_t n = (size_t)e->done * (size_t)e->n_seed, all = (size_t)moa_taskset_count(e->tasks) * (size_t)e->n_seed;
    float *v = n ? malloc(n * sizeof *v) : NULL;
    if (!v) return 0;
    memcpy(v, of + (size_t)mix * all, n * sizeof *v);
    qsort(v, n, sizeof *v, ascending);
    const double at = (double)v[(size_t)(p * (double)(n - 1) + 0.5)];
    free(v);
    return at;
}

double moa_eval_latency(const moa_eval *e, int mix, double p) { return quantile(e, e->latency, mix, p); }
double moa_eval_first(const moa_eval *e, int mix, double p) { return quantile(e, e->first, mix, p); }

int moa_eval_sum(moa_eval_cell *sum, double *score_of, const moa_eval *e, int mix, int group) {
    int n = 0, n_item = moa_taskset_count(e->tasks);
    *sum = (moa_eval_cell){0};
    for (int i = 0; i < e->done; i++) {
        if (group >= 0 && moa_taskset_group(e->tasks, i) != group) continue;
        const moa_eval_cell *c = &e->cell[(size_t)mix * (size_t)n_item + (size_t)i];
        sum->runs += c->runs, sum->scored += c->scored, sum->correct += c->correct, sum->failed += c->failed;
        sum->replaced += c->replaced, sum->cost += c->cost;
        for (int k = 0; k <= MOA_EVAL_AGREE; k++) sum->agree[k] += c->agree[k], sum->agree_right[k] += c->agree_right[k];
        sum->calls += c->calls, sum->prompt_tokens += c->prompt_tokens;
        sum->completion_tokens += c->completion_tokens, sum->reused_tokens += c->reused_tokens;
        sum->spared_tokens += c->spared_tokens, sum->read += c->read, sum->dropped += c->dropped;
        sum->seconds += c->seconds;
        sum->proposal_runs += c->proposal_runs, sum->any_right += c->any_right;
        sum->quality += c->quality, sum->distinct += c->distinct, sum->disagreement += c->disagreement;
        if (!c->scored) continue;
        if (score_of) score_of[n] = (double)c->correct / c->scored;
        n++;
    }
    return n;
}
