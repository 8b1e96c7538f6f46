/* self_moa_seq.c - Self-MoA-Seq (Li et al., arXiv 2502.00674, section 5): any number of samples through a window of references (window.h), so that what the
 * aggregator must read at a time does not grow with them. The paper leans the aggregator to the current best by repeating it; how often, where it
 * stands, and in which order samples come are settings.
 * strategies.def: STRATEGY(self_moa_seq)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/strategy.h"

#include "agent/fit.h"
#include "agent/screen.h"
#include "agent/window.h"
#include "base/rng.h"

enum { WINDOW, REPEAT, WEIGHT, BEST, ORDER, N_SETTING };
enum { BY_COPIES, BY_WORDS };
enum { FIRST, LAST };
enum { DRAWN, LIKELY_FIRST, LIKELY_LAST, SHUFFLED };
enum { USUAL = 6 };
static const moa_setting settings[N_SETTING] = {
    [WINDOW] = {"window", "references that the aggregator reads at a time, fewer where its context holds fewer; 0: as many as it holds", 0, 64, USUAL, true, NULL, false},
    [REPEAT] = {"repeat", "copies of the best so far in a window; 0: two if there is room", 0, 63, 0, true, NULL, false},
    [WEIGHT] = {"weight", "what the best so far weighs: its copies, or one copy and words that say of how many replies it was made", 0, 1, BY_COPIES, true, "copies|words", false},
    [BEST] = {"best", "the best so far stands before the fresh samples, or behind them", 0, 1, FIRST, true, "first|last", false},
    [ORDER] = {"order", "in which samples are read: as drawn, by their likelihood under their own model, or shuffled by the run's seed", 0, 3, DRAWN, true,
               "drawn|likely-first|likely-last|shuffled", false}};

static void swap(moa_panel *p, int i, int j) {
    const int id = p->id[i];
    const char *text = p->text[i];
    p->id[i] = p->id[j], p->text[i] = p->text[j];
    p->id[j] = id, p->text[j] = text;
}

/* Stable: equal ones stay as they were drawn. */
static void sort_by_likelihood(moa_panel *p, const moa_run *r, bool best_first) {
    for (int i = 1; i < p->n; i++)
        for (int j = i; j > 0; j--) {
            const double a = moa_likelihood(&r->node[p->id[j - 1]]), b = moa_likelihood(&r->node[p->id[j]]);
            if (best_first ? a >= b : a <= b) break;
            swap(p, j - 1, j);
        }
}

static void arrange(moa_panel *p, moa_run *r, moa_agent_node *n) {
    const int order = (int)r->cfg->arg[ORDER];
    bool told = false;
    moa_rng g;
    moa_rng_seed2(&g, r->seed, 0x6f72646572);
    for (int i = 0; i < p->n; i++) told |= r->node[p->id[i]].sum_logprob < 0;
    if (order == SHUFFLED)
        for (int i = p->n - 1; i > 0; i--) swap(p, i, (int)moa_rng_below(&g, (uint32_t)i + 1));
    else if (order != DRAWN && told) sort_by_likelihood(p, r, order == LIKELY_FIRST);
    else if (order != DRAWN) moa_node_note(r, n, "nobody tells how likely samples are: in the order drawn");
}

static int first_window(moa_run *r, moa_agent_node *n, moa_err *err) {
    const double *arg = r->cfg->arg;
    moa_window_how how = {.most = (int)arg[WINDOW], .copies = (int)arg[REPEAT], .last = (int)arg[BEST] == LAST, .told = (int)arg[WEIGHT] == BY_WORDS};
    moa_panel p;
    if (!how.most && moa_prompt_room(n) == INT64_MAX) {
        how.most = USUAL;
        moa_node_note(r, n, "nobody knows what the context of %s holds: windows of %d", n->backend->id, (int)USUAL);
    }
    MOA_TRY(moa_read_references(&p, r, n, err));
    arrange(&p, r, n);
    return moa_compose_windows(r, n, &p, &how, err);
}

static int check(const moa_mix_cfg *c, moa_err *err) {
    const int window = (int)c->arg[WINDOW], repeat = (int)c->arg[REPEAT];
    if (window == 1) return moa_fail(err, MOA_EUSAGE, "mix self-moa-seq: a window of 1 has no room for the best so far and a fresh draft");
    if (window && repeat >= window) return moa_fail(err, MOA_EUSAGE, "mix self-moa-seq: repeat %d does not leave a fresh draft its place in a window of %d", repeat, window);
    if (repeat > 1 && (int)c->arg[WEIGHT] == BY_WORDS) return moa_fail(err, MOA_EUSAGE, "mix self-moa-seq: weight=words is one copy of the best so far, repeat says %d", repeat);
    return moa_no_dropout(c, err);
}

static int finish(moa_run *r, const int *in, int n_in, moa_err *err) {
    const int id = moa_add_merge(r, r->cfg, "agg", in, n_in, err);
    if (id >= 0) r->node[id].compose = first_window, r->answer = id;
    return id;
}

static int build(moa_run *r, const moa_mix_cfg *c, moa_err *err) { return moa_add_sampled(r, c, "p", c->n, finish, err); }

const moa_strategy moa_strategy_self_moa_seq = {
    .name = "self-moa-seq", .help = "12 drafts, merged in windows of 6 into a current best", .has = MOA_HAS_N | MOA_GATHERS | MOA_AGGREGATES, .n = 12, .temperature = 0.7f,
    .setting = settings, .n_setting = N_SETTING, .check = check, .build = build};
