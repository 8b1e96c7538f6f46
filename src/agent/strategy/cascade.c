/* cascade.c - cheap first: n samples of cheap models, and the strong one only where they disagree. That answers of a weak model which agree are
 * mostly right is what Yue et al. build on (arXiv 2310.03094); models in order of their price are FrugalGPT's (arXiv 2305.05176).
 * The proposers are the cheap ones, the aggregator is the strong one: it answers the question itself, greedily, and reads none of the samples.
 * The gate is a vote. It stands when size / n >= agree, where size is that of the largest group of equal answers and n all samples, also those
 * that failed or gave no answer: neither is a sign of agreement. Else the gate adds the strong call, whose fallback is that vote.
 * strategies.def: STRATEGY(cascade)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/screen.h"
#include "agent/strategy.h"

enum { AGREE, N_SETTING };
static const moa_setting settings[N_SETTING] = {
    [AGREE] = {"agree", "share of the cheap samples that must agree for the strong model not to be asked", 0, 1, 1, false, NULL, false}};

/* Adds the strong call behind node `gate`, with the samples that worked as what stands in for it. */
static int escalate(moa_run *r, int gate, moa_err *err) {
    const int n_in = r->node[gate].n_in, *in = r->node[gate].in;
    int *worked = moa_arena_alloc(r->arena, (size_t)(n_in + 1) * sizeof *worked), n = 0;
    if (!worked) return moa_fail(err, MOA_ENOMEM, "%d samples", n_in);
    for (int i = 0; i < n_in; i++)
        if (r->node[in[i]].state == MOA_NODE_DONE) worked[n++] = in[i];
    const int id = moa_add_merge(r, r->cfg, "strong", worked, n, err);
    if (id < 0) return id;
    moa_agent_node *strong = &r->node[id];
    strong->compose = moa_compose_proposer;
    strong->need = 0;
    if (!n) strong->fallback = NULL, strong->refuse = NULL;
    r->answer = id;
    moa_node_note(r, &r->node[gate], "asks %s", strong->backend->id);
    return 0;
}

static int gate(moa_run *r, moa_agent_node *n, moa_err *err) {
    const int self = (int)(n - r->node);
    MOA_TRY(moa_reduce_vote(r, n, err));
    if (n->vote->vote.size >= r->cfg->arg[AGREE] * n->n_in - 1e-9) return moa_node_note(r, n, "%s is not asked", moa_aggregator_of(r->cfg)->id), 0;
    return escalate(r, self, err);
}

/* No sample, or too few for the quorum: the gate has failed, and the answer is the strong model's. */
static int gate_failed(moa_run *r, moa_agent_node *n, moa_err *err) {
    const int self = (int)(n - r->node), rc = r->answer == self ? escalate(r, self, err) : 0;
    return rc < 0 ? rc : moa_fail(err, MOA_ENOTFOUND, "nothing to vote over");
}

static int build(moa_run *r, const moa_mix_cfg *c, moa_err *err) {
    int *id = moa_arena_alloc(r->arena, (size_t)c->n * sizeof *id);
    if (!id) return moa_fail(err, MOA_ENOMEM, "%d samples", c->n);
    MOA_TRY(moa_add_proposers(id, r, c, "p", c->n, NULL, 0, err));
    const int g = moa_add_vote(r, c, "gate", id, c->n, err);
    if (g < 0) return g;
    r->node[g].reduce = gate;
    r->node[g].fallback = gate_failed;
    r->answer = g;
    return 0;
}

const moa_strategy moa_strategy_cascade = {
    .name = "cascade", .help = "3 samples of a cheap model; where they disagree the aggregator's, which is strong, answers", .n = 3, .temperature = 0.7f,
    .has = MOA_HAS_N | MOA_GATHERS | MOA_AGGREGATES | MOA_SEVERAL, .setting = settings, .n_setting = N_SETTING, .check = moa_no_dropout, .build = build};
