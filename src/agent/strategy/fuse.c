/* fuse.c - rank, then fuse (LLM-Blender, Jiang et al., arXiv 2306.02561): a judge ranks n samples, the top k are merged by the aggregator. The
 * ranking is by comparisons of all pairs in both orders, n (n - 1) calls, or by one rating of each sample, n calls. LLM-Blender's ranker and fuser are
 * models trained for it; here they are whoever plays the judge and the aggregator. Where the aggregator fails, the vote over the k stands in.
 * strategies.def: STRATEGY(fuse)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/strategy.h"

#include <stdio.h>

enum { TOP, RANK, N_SETTING };
enum { PAIRS, RATE, MOST = 64 };
static const moa_setting settings[N_SETTING] = {
    [TOP] = {"top", "samples that are merged", 1, 64, 3, true, NULL, false},
    [RANK] = {"rank", "pairs: comparisons in both orders; rate: one score each", 0, 1, PAIRS, true, "pairs|rate", false}};

static int fuse(moa_run *r, moa_agent_node *n, const moa_panel *p, const int *order, moa_err *err) {
    const int k = (int)r->cfg->arg[TOP] < p->n ? (int)r->cfg->arg[TOP] : p->n;
    int *top = moa_arena_alloc(r->arena, (size_t)k * sizeof *top);
    if (!top) return moa_fail(err, MOA_ENOMEM, "the top %d", k);
    for (int i = 0; i < k; i++) {
        top[i] = p->id[order[i]];
        moa_node_note(r, n, i ? "then %s" : "merges %s", r->node[top[i]].name);
    }
    moa_take_text(r, n, top[0]);
    const int id = moa_add_aggregator(r, r->cfg, "agg", top, k, err);
    if (id >= 0) r->answer = id;
    return id < 0 ? id : 0;
}

static int by_pairs(moa_run *r, moa_agent_node *n, moa_err *err) {
    moa_panel p;
    double *points;
    int *order;
    MOA_TRY(moa_pairs_rank(&p, &points, &order, r, n, err));
    return fuse(r, n, &p, order, err);
}

/* Inputs: sample, rating, sample, rating, ... */
static int by_rating(moa_run *r, moa_agent_node *n, moa_err *err) {
    moa_panel p;
    MOA_TRY(moa_panel_again(&p, r, n, err));
    double *points = moa_arena_alloc(r->arena, (size_t)(p.n + 1) * sizeof *points);
    int *order = moa_arena_alloc(r->arena, (size_t)(p.n + 1) * sizeof *order);
    if (!points || !order) return moa_fail(err, MOA_ENOMEM, "%d ratings", p.n);
    for (int i = 0; i < p.n; i++) points[i] = moa_rating(r, &r->node[n->in[2 * i + 1]], false);
    moa_rank(order, r, &p, points);
    return fuse(r, n, &p, order, err);
}

static int add_ratings(moa_run *r, const moa_panel *p, moa_err *err) {
    int *in = moa_arena_alloc(r->arena, 2 * (size_t)p->n * sizeof *in);
    if (!in) return moa_fail(err, MOA_ENOMEM, "%d ratings", p->n);
    for (int i = 0; i < p->n; i++) {
        char name[80];
        snprintf(name, sizeof name, "rate %.60s", r->node[p->id[i]].name);
        in[2 * i] = p->id[i];
        in[2 * i + 1] = moa_add_rating(r, r->cfg, name, p->id[i], err);
        if (in[2 * i + 1] < 0) return in[2 * i + 1];
    }
    const moa_agent_node node = {.name = "rank", .role = "rank", .in = in, .n_in = 2 * p->n, .reduce = by_rating};
    const int id = moa_run_add(r, &node, err);
    if (id >= 0) r->answer = id;
    return id < 0 ? id : 0;
}

static int draw_up(moa_run *r, moa_agent_node *n, moa_err *err) {
    moa_panel p;
    MOA_TRY(moa_reduce_vote(r, n, err));
    MOA_TRY(moa_panel_of(&p, r, n, err));
    if (p.n < 2) return 0;
    return (int)r->cfg->arg[RANK] == RATE ? add_ratings(r, &p, err) : moa_add_pairs(r, &p, "rank", by_pairs, err);
}

static int check(const moa_mix_cfg *c, moa_err *err) {
    if (c->n <= MOST || (int)c->arg[RANK] == RATE) return 0;
    const int rc = moa_fail(err, MOA_EUSAGE, "mix fuse: all pairs of %d samples are %d calls, at most %d samples are compared so", c->n, c->n * (c->n - 1), (int)MOST);
    return moa_hint(err, rc, "rank=rate takes %d", c->n);
}

static int build(moa_run *r, const moa_mix_cfg *c, moa_err *err) { return moa_add_drawn(r, c, draw_up, err); }

const moa_strategy moa_strategy_fuse = {
    .name = "fuse", .help = "5 samples, a judge ranks them, the aggregator merges the top 3", .n = 5, .temperature = 0.7f, .judge_max_tokens = 256,
    .has = MOA_HAS_N | MOA_JUDGES | MOA_GATHERS | MOA_AGGREGATES | MOA_SEVERAL, .setting = settings, .n_setting = N_SETTING, .check = check, .build = build};
