/* self_moa_seq.c - Self-MoA-Seq (arXiv 2502.00674, section 5): any number of samples through a window of W references. The
 * first window is merged; each later one holds copies of the current best (repeated, so that the aggregator leans
 * to it) and fresh samples, until none is left. Context need is O(W).
 * How many fresh samples a window takes is decided when it is composed, since only then the lengths are known: as
 * many as W and the model's context allow, at least one. The graph therefore grows while it runs: a fold that leaves
 * samples over adds the next fold.
 * strategies.def: STRATEGY(self_moa_seq)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/strategy.h"

#include <stdio.h>
#include <string.h>

enum { WINDOW, REPEAT, N_SETTING };
static const moa_setting settings[N_SETTING] = {[WINDOW] = {"window", "references that the aggregator reads at a time", 2, 64, 6, true, NULL, false},
                                          [REPEAT] = {"repeat", "copies of the best so far in a window; 0: two if there is room", 0, 63, 0, true, NULL, false}};

static int fold(moa_run *r, moa_agent_node *n, moa_err *err);

/* A fold's inputs: from the second on the fold before it, then the samples that no fold has read yet. The best so far
 * comes first, so that the vote which stands in for a failed aggregator prefers it among equals. */
static int add_fold(moa_run *r, const int *in, int n_in, moa_err *err) {
    int k = 1;
    for (int i = 0; i < r->n_node; i++) k += !strcmp(r->node[i].role, "aggregator");
    char name[32];
    snprintf(name, sizeof name, "agg%d", k);
    int id = moa_add_merge(r, r->cfg, name, in, n_in, err);
    if (id < 0) return id;
    r->node[id].compose = fold;
    r->answer = id;
    return id;
}

/* Fill ref[window] with copies of the best (-1: none) and samples from in[0 .. n_in) as far as they fit; *n_ref references.
 * Returns how many of in[] are used up. */
static int fill(const char **ref, int *n_ref, moa_run *r, moa_agent_node *n, int best, const int *in, int n_in, int window, moa_err *err) {
    const int given = (int)r->cfg->arg[REPEAT], copies = given ? given : window > 2 ? 2 : 1;
    int fresh = 0, i = 0;
    *n_ref = 0;
    for (int k = 0; best >= 0 && k < copies; k++) ref[(*n_ref)++] = moa_node_reply(&r->node[best]);
    for (; i < n_in && *n_ref < window; i++) {
        if (r->node[in[i]].state != MOA_NODE_DONE) continue;
        ref[(*n_ref)++] = moa_node_reply(&r->node[in[i]]);
        bool fits = true;
        if (fresh) MOA_TRY(moa_references_fit(&fits, r, n, ref, *n_ref, err));
        if (!fits) {
            (*n_ref)--;
            moa_node_note(r, n, "the context holds %d references, the window could be %d", *n_ref, window);
            break;
        }
        fresh++;
    }
    return i;
}

static int fold(moa_run *r, moa_agent_node *n, moa_err *err) {
    const int self = (int)(n - r->node), *in = n->in;
    int n_in = n->n_in, best = -1, n_ref, window = (int)r->cfg->arg[WINDOW];
    if (n_in && !strcmp(r->node[in[0]].role, "aggregator")) {
        if (r->node[in[0]].state == MOA_NODE_DONE) best = in[0];
        in++, n_in--;
    }
    const char **ref = moa_arena_alloc(r->arena, (size_t)window * sizeof *ref);
    if (!ref) return moa_fail(err, MOA_ENOMEM, "a window of %d references", window);
    int used = fill(ref, &n_ref, r, n, best, in, n_in, window, err);
    if (used < 0) return used;
    MOA_TRY(moa_compose_references(r, n, ref, n_ref, err));
    bool more = false;
    for (int i = used; i < n_in; i++) more |= r->node[in[i]].state == MOA_NODE_DONE;
    if (!more) return 0;
    int *next = moa_arena_alloc(r->arena, (size_t)(n_in - used + 1) * sizeof *next);
    if (!next) return moa_fail(err, MOA_ENOMEM, "the next window");
    next[0] = self;
    memcpy(next + 1, in + used, (size_t)(n_in - used) * sizeof *next);
    n->n_in -= n_in - used; /* it reads what is in its window; the rest is the next fold's */
    int id = add_fold(r, next, n_in - used + 1, err);
    return id < 0 ? id : 0;
}

static int check(const moa_mix_cfg *c, moa_err *err) {
    const int window = (int)c->arg[WINDOW], repeat = (int)c->arg[REPEAT];
    if (repeat < window) return 0;
    return moa_fail(err, MOA_EUSAGE, "mix self-moa-seq: repeat %d does not leave a fresh draft its place in a window of %d", repeat, window);
}

static int build(moa_run *r, const moa_mix_cfg *c, moa_err *err) {
    const int n = c->n;
    int *id = moa_arena_alloc(r->arena, (size_t)n * sizeof *id);
    if (!id) return moa_fail(err, MOA_ENOMEM, "%d samples", n);
    MOA_TRY(moa_add_proposers(id, r, c, "p", n, NULL, 0, err));
    return add_fold(r, id, n, err);
}

const moa_strategy moa_strategy_self_moa_seq = {
    .name = "self-moa-seq", .help = "12 drafts, merged in windows of 6 into a current best", .has = MOA_HAS_N | MOA_AGGREGATES, .n = 12, .temperature = 0.7f,
    .setting = settings, .n_setting = N_SETTING, .check = check, .build = build};
