/* strategy.c - the registry of strategies and the nodes they are made of.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/strategy.h"

#include "agent/agree.h"
#include "agent/screen.h"
#include "agent/stair.h"

#include <stdio.h>
#include <string.h>

#define STRATEGY(x) extern const moa_strategy moa_strategy_##x;
#include "agent/strategies.def"
#undef STRATEGY

static const moa_strategy *const table[] = {
#define STRATEGY(x) &moa_strategy_##x,
#include "agent/strategies.def"
#undef STRATEGY
};

const moa_strategy *const *moa_strategies(int *n) {
    *n = (int)(sizeof table / sizeof *table);
    return table;
}

const moa_strategy *moa_strategy_find(const char *name) {
    for (size_t i = 0; name && i < sizeof table / sizeof *table; i++)
        if (!strcmp(table[i]->name, name)) return table[i];
    return NULL;
}

moa_agent_node moa_proposer(const moa_mix_cfg *c, int i) {
    return (moa_agent_node){.role = "proposer", .backend = c->proposer[i % c->n_proposer], .sampling = c->propose, .max_tokens = c->max_tokens,
                            .grammar = c->propose_grammar, .extra = c->propose_extra, .compose = moa_compose_proposer};
}

moa_enough_fn moa_enough_of(const moa_mix_cfg *c) { return c->until == MOA_UNTIL_AGREE ? moa_enough_agree : NULL; }

int moa_add_proposers(int *out, moa_run *r, const moa_mix_cfg *c, const char *prefix, int n, const int *in, int n_in, moa_err *err) {
    for (int i = 0; i < n; i++) {
        char name[48];
        snprintf(name, sizeof name, "%s%d", prefix, i + 1);
        moa_agent_node node = moa_proposer(c, i);
        node.name = name;
        node.in = in, node.n_in = n_in;
        node.need = c->need < n_in ? c->need : n_in, node.grace_s = c->grace_s;
        if (n_in) node.compose = moa_compose_aggregate;
        int id = moa_run_add(r, &node, err);
        if (id < 0) return id;
        out[i] = id;
    }
    return 0;
}

int moa_add_merge(moa_run *r, const moa_mix_cfg *c, const char *name, const int *in, int n_in, moa_err *err) {
    const bool stands_in = !c->aggregate_grammar || c->propose_grammar; /* free drafts cannot stand in for what must follow a grammar */
    moa_agent_node node = {.name = name, .role = "aggregator", .backend = moa_aggregator_of(c),
                           .sampling = c->aggregate, .max_tokens = c->aggregate_max_tokens ? c->aggregate_max_tokens : c->max_tokens,
                           .grammar = c->aggregate_grammar, .extra = c->aggregate_extra,
                           .in = in, .n_in = n_in, .compose = moa_compose_aggregate, .need = c->need < n_in ? c->need : n_in, .grace_s = c->grace_s, .enough = moa_enough_of(c),
                           .fallback = stands_in ? moa_reduce_vote : NULL, .refuse = stands_in ? moa_refuse_merge : NULL};
    const char *off = c->staircase ? moa_stair_off(c, node.backend) : NULL;
    if (!off) node.staircase = c->staircase, node.even_steps = c->stair_steps == MOA_STEPS_EVEN;
    const int id = moa_run_add(r, &node, err);
    if (off && id >= 0) moa_node_note(r, &r->node[id], "waits for whole proposals: %s", off);
    return id;
}

int moa_add_aggregator(moa_run *r, const moa_mix_cfg *c, const char *name, const int *in, int n_in, moa_err *err) {
    const bool drops = c->screen == MOA_SCREEN_DROPOUT_VOTE || c->screen == MOA_SCREEN_DROPOUT_CLUSTER;
    return drops && n_in > 1 ? moa_add_dropout(r, c, name, in, n_in, err) : moa_add_merge(r, c, name, in, n_in, err);
}

int moa_add_judge(moa_run *r, const moa_mix_cfg *c, const char *name, const char *role, const int *in, int n_in, moa_compose_fn compose, moa_err *err) {
    moa_agent_node node = {.name = name, .role = role, .backend = moa_judge_of(c), .sampling = c->aggregate, .max_tokens = c->judge_max_tokens,
                           .in = in, .n_in = n_in, .compose = compose};
    node.sampling.temperature = 0;
    return moa_run_add(r, &node, err);
}

int moa_add_vote(moa_run *r, const moa_mix_cfg *c, const char *name, const int *in, int n_in, moa_err *err) {
    moa_agent_node node = {.name = name, .role = "vote", .in = in, .n_in = n_in, .reduce = moa_reduce_vote,
                            .need = c->need < n_in ? c->need : n_in, .grace_s = c->grace_s, .enough = moa_enough_of(c)};
    return moa_run_add(r, &node, err);
}
