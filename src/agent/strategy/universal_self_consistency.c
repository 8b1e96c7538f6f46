/* universal_self_consistency.c - universal self-consistency (Chen et al., arXiv 2311.17311): n samples, then the model is shown all of them and
 * says which one agrees with most of the others. It works on free text, where a vote over answers cannot count. Where its choice cannot be read or
 * the call fails, the vote decides. n + 1 calls; of the last a few tokens.
 * strategies.def: STRATEGY(universal_self_consistency)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/strategy.h"

static int ask(moa_run *r, moa_agent_node *n, moa_err *err) {
    moa_panel p;
    MOA_TRY(moa_panel_of(&p, r, n, err));
    return moa_compose_judge(r, n, MOA_JUDGE_CONSISTENT, p.text, p.n, 0, err);
}

/* Input 0 is the judge's; the others are the samples that it was shown. */
static int pick(moa_run *r, moa_agent_node *n, moa_err *err) {
    const moa_agent_node *judge = &r->node[n->in[0]];
    moa_panel p;
    bool end, answered = false;
    MOA_TRY(moa_panel_of(&p, r, n, err));
    int *choice = moa_arena_alloc(r->arena, (size_t)(p.n + 1) * sizeof *choice);
    if (!choice) return moa_fail(err, MOA_ENOMEM, "%d samples", p.n);
    const int k = moa_choice(choice, &end, &answered, judge, &p);
    for (int i = 1; answered && i < k; i++) /* several say what it says: the most probable */
        if (r->node[p.id[choice[i]]].sum_logprob > r->node[p.id[choice[0]]].sum_logprob) choice[0] = choice[i];
    if (!(k == 1 || answered)) {
        if (judge->state == MOA_NODE_DONE) moa_node_note(r, n, "no choice could be read");
        return moa_reduce_vote_rest(r, n, err);
    }
    moa_take_text(r, n, p.id[choice[0]]);
    moa_node_note(r, n, "took %s", r->node[p.id[choice[0]]].name);
    return 0;
}

static int build(moa_run *r, const moa_mix_cfg *c, moa_err *err) {
    int *id = moa_arena_alloc(r->arena, (size_t)(c->n + 1) * sizeof *id);
    if (!id) return moa_fail(err, MOA_ENOMEM, "%d samples", c->n);
    MOA_TRY(moa_add_proposers(id + 1, r, c, "p", c->n, NULL, 0, err));
    id[0] = moa_add_judge(r, c, "choose", "judge", id + 1, c->n, ask, err);
    if (id[0] < 0) return id[0];
    moa_agent_node *judge = &r->node[id[0]];
    judge->need = c->need < c->n ? c->need : c->n;
    judge->grace_s = c->grace_s;
    const moa_agent_node node = {.name = "pick", .role = "pick", .in = id, .n_in = c->n + 1, .reduce = pick};
    return moa_run_add(r, &node, err);
}

const moa_strategy moa_strategy_universal_self_consistency = {
    .name = "universal-self-consistency", .help = "6 samples, a judge says which one agrees with most of the others", .n = 6, .temperature = 0.7f, .judge_max_tokens = 256,
    .has = MOA_HAS_N | MOA_JUDGES | MOA_GATHERS | MOA_SEVERAL, .build = build};
