/* eval.c - see eval.h. The run's seed is a hash of the evaluation's seed, the item and the repeat, not of the mix:
 * sample i of an item is the same draw in every mix.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/eval.h"

#include "agent/strategy.h"
#include "base/rng.h"

#include <stdlib.h>
#include <string.h>

typedef struct job { moa_run *r; moa_message msg; int mix, item; } job;
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
        b[n++] = (moa_ballot){.text = d->text, .n = d->text_len};
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
    return 0;
}

static double right(void *item, const char *reply, size_t n) { return moa_item_check(item, reply, n); }

static int score(moa_eval *e, const job *j, int n_item, moa_err *err) {
    moa_eval_cell *c = &e->cell[(size_t)j->mix * (size_t)n_item + (size_t)j->item];
    moa_run *r = j->r;
    const moa_item *item = moa_taskset_item(e->tasks, j->item);
    MOA_TRY(moa_run_learn(r, right, (void *)(uintptr_t)item, err));
    const char *answer = moa_run_answer(r);
    c->runs++;
    c->failed += r->rc < 0;
    if (r->rc < 0 && !e->first_error.code) e->first_error = r->err;
    c->correct += r->rc >= 0 && moa_item_check(item, answer, strlen(answer));
    c->calls += r->usage.calls;
    c->prompt_tokens += r->usage.prompt_tokens;
    c->completion_tokens += r->usage.completion_tokens;
    c->reused_tokens += r->usage.reused_prefix_tokens;
    for (int i = 0; i < r->n_node; i++) c->seconds += r->node[i].share_s;
    return score_proposals(c, r, item, err);
}

static int add_job(job *j, const moa_eval *e, int item, int rep, int mix, moa_err *err) {
    const moa_item *it = moa_taskset_item(e->tasks, item);
    uint64_t key[3] = {e->seed, it->id ? it->id : moa_hash64(it->question.data, it->question.len, 0), (uint64_t)rep};
    *j = (job){.msg = {"user", moa_buf_str(&it->question)}, .mix = mix, .item = item};
    return moa_run_new(&j->r, &e->mix[mix].cfg, &j->msg, 1, moa_hash64(key, sizeof key, 0), err);
}

static int run_chunk(state *s, job *jobs, moa_run **runs, int from, int to, moa_err *err) {
    moa_eval *e = s->e;
    int n = 0, rc = 0, n_item = moa_taskset_count(e->tasks);
    for (int i = from; rc >= 0 && i < to; i++)
        for (int k = 0; rc >= 0 && k < e->n_seed; k++)
            for (int m = 0; rc >= 0 && m < e->n_mix; m++) {
                rc = add_job(&jobs[n], e, i, k, m, err);
                if (rc >= 0) runs[n] = jobs[n].r, n++;
            }
    if (rc >= 0) rc = moa_run_execute_many(runs, n, on_event, s, err);
    for (int i = 0; rc >= 0 && i < n; i++) rc = score(e, &jobs[i], n_item, err);
    for (int i = 0; i < n; i++) moa_run_free(runs[i]);
    if (rc >= 0) e->done = to;
    return rc;
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
    e->cell = calloc((size_t)n_item * (size_t)e->n_mix + 1, sizeof *e->cell);
    job *jobs = malloc((most + 1) * sizeof *jobs);
    moa_run **runs = malloc((most + 1) * sizeof(moa_run *));
    int rc = e->cell && jobs && runs ? 0 : moa_fail(err, MOA_ENOMEM, "an evaluation of %d items", n_item);
    state s = {e, cb, ctx};
    for (int i = 0; rc >= 0 && i < n_item; i += chunk) {
        rc = run_chunk(&s, jobs, runs, i, i + chunk < n_item ? i + chunk : n_item, err);
        if (rc >= 0 && cb && !cb(ctx, e, true)) rc = moa_fail(err, MOA_ECANCELED, "the evaluation was canceled");
    }
    free(jobs);
    free(runs);
    return rc;
}

void moa_eval_deinit(moa_eval *e) {
    free(e->cell);
    e->cell = NULL;
}

int moa_eval_sum(moa_eval_cell *sum, double *score_of, const moa_eval *e, int mix, int group) {
    int n = 0, n_item = moa_taskset_count(e->tasks);
    *sum = (moa_eval_cell){0};
    for (int i = 0; i < e->done; i++) {
        if (group >= 0 && moa_taskset_group(e->tasks, i) != group) continue;
        const moa_eval_cell *c = &e->cell[(size_t)mix * (size_t)n_item + (size_t)i];
        sum->runs += c->runs, sum->correct += c->correct, sum->failed += c->failed;
        sum->calls += c->calls, sum->prompt_tokens += c->prompt_tokens;
        sum->completion_tokens += c->completion_tokens, sum->reused_tokens += c->reused_tokens;
        sum->seconds += c->seconds;
        sum->proposal_runs += c->proposal_runs, sum->any_right += c->any_right;
        sum->quality += c->quality, sum->distinct += c->distinct, sum->disagreement += c->disagreement;
        if (score_of) score_of[n] = c->runs ? (double)c->correct / c->runs : 0;
        n++;
    }
    return n;
}
