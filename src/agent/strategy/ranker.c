/* ranker.c - pairwise ranking: n samples, a judge compares them two by two, each pair in both orders since judges favour a place (Zheng et al.,
 * arXiv 2306.05685), and the one with most wins is the answer (the counting of LLM-Blender's PairRanker, arXiv 2306.02561). All pairs take n (n - 1)
 * calls; a knock-out takes 2 (n - 1) and finds a winner, no order. Equal texts are a draw that nobody is asked about; a comparison that failed or
 * cannot be read is a draw too. Equal wins go to the most probable sample.
 * strategies.def: STRATEGY(ranker)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/strategy.h"

#include <string.h>

enum { TOURNAMENT, N_SETTING };
enum { ALL, KNOCK_OUT, MOST = 64 };
static const moa_setting settings[N_SETTING] = {[TOURNAMENT] = {"tournament", "all pairs, or a knock-out: fewer calls for many samples", 0, 1, ALL, true, "all|knock-out", false}};

/* ---- a knock-out: rounds of matches. The graph grows by one round when the one before is over ---- */

typedef struct match { int a, b, id[2]; } match; /* b -1: a goes on without a match; id[0] -1: equal texts */
typedef struct bracket { match *m; int n; } bracket; /* node->own of the node that judges the round */

static int end_round(moa_run *r, moa_agent_node *n, moa_err *err);

static int winner(const moa_run *r, const match *m) {
    double a = 0, b = 0;
    if (m->b < 0) return m->a;
    if (m->id[0] >= 0) moa_comparison(&a, &b, r, m->id);
    if (a > b || (!(b > a) && r->node[m->a].sum_logprob >= r->node[m->b].sum_logprob)) return m->a;
    return m->b;
}

/* Matches of neighbours among alive[n], n > 1, and the node that waits for them. */
static int add_matches(moa_run *r, const int *alive, int n, moa_err *err) {
    bracket *br = moa_arena_calloc(r->arena, sizeof *br);
    match *m = moa_arena_calloc(r->arena, (size_t)(n / 2 + 1) * sizeof *m);
    int *in = moa_arena_alloc(r->arena, 2 * (size_t)n * sizeof *in), n_in = 0;
    if (!br || !m || !in) return moa_fail(err, MOA_ENOMEM, "%d matches", n / 2);
    *br = (bracket){m, (n + 1) / 2};
    for (int i = 0; i < br->n; i++) {
        m[i] = (match){alive[2 * i], 2 * i + 1 < n ? alive[2 * i + 1] : -1, {-1, -1}};
        in[n_in++] = m[i].a;
        if (m[i].b < 0 || !strcmp(moa_node_reply(&r->node[m[i].a]), moa_node_reply(&r->node[m[i].b]))) continue;
        MOA_TRY(moa_add_comparison(m[i].id, r, r->cfg, m[i].a, m[i].b, err));
        in[n_in++] = m[i].id[0], in[n_in++] = m[i].id[1];
    }
    const moa_agent_node node = {.name = "round", .role = "pick", .in = in, .n_in = n_in, .reduce = end_round, .own = br};
    const int id = moa_run_add(r, &node, err);
    if (id >= 0) r->answer = id;
    return id < 0 ? id : 0;
}

static int end_round(moa_run *r, moa_agent_node *n, moa_err *err) {
    const bracket *br = n->own;
    int *alive = moa_arena_alloc(r->arena, (size_t)br->n * sizeof *alive);
    if (!alive) return moa_fail(err, MOA_ENOMEM, "%d winners", br->n);
    for (int i = 0; i < br->n; i++) alive[i] = winner(r, &br->m[i]);
    moa_take_text(r, n, alive[0]);
    moa_node_note(r, n, br->n > 1 ? "%d go on, %s first" : "%d is left: %s", br->n, r->node[alive[0]].name);
    return br->n > 1 ? add_matches(r, alive, br->n, err) : 0;
}

/* ---- all pairs ---- */

static int pick(moa_run *r, moa_agent_node *n, moa_err *err) {
    moa_panel p;
    double *points;
    int *order;
    MOA_TRY(moa_pairs_rank(&p, &points, &order, r, n, err));
    moa_take_text(r, n, p.id[order[0]]);
    moa_node_note(r, n, "took %s: %g of %d points", r->node[p.id[order[0]]].name, points[order[0]], 2 * (p.n - 1));
    return 0;
}

/* The samples are there: a vote, which stands if nothing better comes; then the comparisons. */
static int draw_up(moa_run *r, moa_agent_node *n, moa_err *err) {
    moa_panel p;
    MOA_TRY(moa_reduce_vote(r, n, err));
    MOA_TRY(moa_panel_of(&p, r, n, err));
    if (p.n < 2) return 0;
    return (int)r->cfg->arg[TOURNAMENT] == KNOCK_OUT ? add_matches(r, p.id, p.n, err) : moa_add_pairs(r, &p, "rank", pick, err);
}

static int check(const moa_mix_cfg *c, moa_err *err) {
    if (c->n <= MOST || (int)c->arg[TOURNAMENT] == KNOCK_OUT) return 0;
    const int rc = moa_fail(err, MOA_EUSAGE, "mix ranker: all pairs of %d samples are %d calls, at most %d samples are compared so", c->n, c->n * (c->n - 1), (int)MOST);
    return moa_hint(err, rc, "tournament=knock-out takes %d", 2 * (c->n - 1));
}

static int build(moa_run *r, const moa_mix_cfg *c, moa_err *err) { return moa_add_drawn(r, c, draw_up, err); }

const moa_strategy moa_strategy_ranker = {
    .name = "ranker", .help = "5 samples, a judge compares all pairs in both orders, most wins is the answer", .n = 5, .temperature = 0.7f, .judge_max_tokens = 256,
    .has = MOA_HAS_N | MOA_JUDGES | MOA_GATHERS | MOA_SEVERAL, .setting = settings, .n_setting = N_SETTING, .check = check, .build = build};
