/* best_of_n.c - best of n: n samples, each rated alone, the best one is the answer. The rating is a judge's, 0 to 10 (as in Cobbe et al.,
 * arXiv 2110.14168, whose verifier is a model of its own), or needs no call: the mean log-probability of a sample's tokens under its own model, or
 * what a calculator finds wrong in it (calc.h; nothing that a model writes is run).
 * A rating that failed or cannot be read is the lowest; equal ratings go to the most probable sample. n + n calls, or n.
 * strategies.def: STRATEGY(best_of_n)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/strategy.h"

#include "agent/calc.h"

#include <stdio.h>

enum { RATE, N_SETTING };
enum { BY_MODEL, BY_DOUBT, BY_LIKELIHOOD, BY_CALCULATOR };
static const moa_setting settings[N_SETTING] = {
    [RATE] = {"rate", "model: the judge's score; doubt: moved to the middle where the judge is unsure of it; likelihood: of the sample under its own model, no calls; "
              "calculator: samples without a wrong equation first, no calls", 0, 3, BY_MODEL, true, "model|doubt|likelihood|calculator", false}};

static bool asks_judge(int by) { return by == BY_MODEL || by == BY_DOUBT; }

/* 0: no equation in it is wrong; -1: one is. */
static double calculated(const moa_agent_node *n) {
    moa_equation e;
    return moa_calc_wrong(&e, n->text, n->text_len) ? -1 : 0;
}

static double points_of(const moa_run *r, int by, int sample, int rating) {
    return by == BY_LIKELIHOOD ? moa_likelihood(&r->node[sample]) : by == BY_CALCULATOR ? calculated(&r->node[sample]) : moa_rating(r, &r->node[rating], by == BY_DOUBT);
}

/* Inputs: the samples, then their ratings in the same order, where there are any. */
static int best(moa_run *r, moa_agent_node *n, moa_err *err) {
    const int by = (int)r->cfg->arg[RATE];
    const bool asks = asks_judge(by);
    const int n_sample = asks ? n->n_in / 2 : n->n_in;
    moa_panel p;
    MOA_TRY(moa_panel_of(&p, r, n, err));
    double *points = moa_arena_alloc(r->arena, (size_t)(p.n + 1) * sizeof *points);
    int *order = moa_arena_alloc(r->arena, (size_t)(p.n + 1) * sizeof *order);
    if (!points || !order) return moa_fail(err, MOA_ENOMEM, "%d ratings", p.n);
    if (!p.n) return moa_fail(err, MOA_EINVAL, "%s: no sample to choose from", n->name);
    for (int i = 0, k = 0; k < n_sample; k++) {
        if (i == p.n || n->in[k] != p.id[i]) continue;
        points[i++] = points_of(r, by, n->in[k], asks ? n->in[n_sample + k] : -1);
    }
    moa_rank(order, r, &p, points);
    moa_take_text(r, n, p.id[order[0]]);
    if (by == BY_CALCULATOR) moa_node_note(r, n, "took %s, the most probable %s", r->node[p.id[order[0]]].name, points[order[0]] < 0 ? "of samples that all have a wrong equation" : "without a wrong equation");
    else if (asks && points[order[0]] < 0) moa_node_note(r, n, "no rating could be read; took %s, the most probable", r->node[p.id[order[0]]].name);
    else moa_node_note(r, n, "took %s, rated %.3g", r->node[p.id[order[0]]].name, points[order[0]]);
    return 0;
}

static int build(moa_run *r, const moa_mix_cfg *c, moa_err *err) {
    int *id = moa_arena_alloc(r->arena, 2 * (size_t)c->n * sizeof *id), n_in = c->n;
    if (!id) return moa_fail(err, MOA_ENOMEM, "%d samples", c->n);
    MOA_TRY(moa_add_proposers(id, r, c, "p", c->n, NULL, 0, err));
    for (int i = 0; i < c->n && asks_judge((int)c->arg[RATE]); i++, n_in++) {
        char name[24];
        snprintf(name, sizeof name, "rate%d", i + 1);
        id[n_in] = moa_add_rating(r, c, name, id[i], err);
        if (id[n_in] < 0) return id[n_in];
    }
    const moa_agent_node node = {.name = "best", .role = "pick", .in = id, .n_in = n_in, .reduce = best};
    return moa_run_add(r, &node, err);
}

const moa_strategy moa_strategy_best_of_n = {
    .name = "best-of-n", .help = "6 samples, a judge rates each, the best one is the answer", .n = 6, .temperature = 0.7f, .judge_max_tokens = 256,
    .has = MOA_HAS_N | MOA_JUDGES | MOA_SEVERAL, .setting = settings, .n_setting = N_SETTING, .build = build};
