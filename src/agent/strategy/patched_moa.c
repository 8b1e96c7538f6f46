/* patched_moa.c - draft, critique, rewrite (Sharma, "Patched MOA", arXiv 2407.18521): n candidates, one critique of all of them, then one call that
 * reads the candidates and the critique and writes the answer. n + 2 calls, three rounds.
 * A critique that its limit cut off is used as far as it goes, one that failed is left out; a final answer that was cut off is the answer, and
 * says so (finish_reason length): all three are paid for, and a candidate in place of a long answer would be another answer. A candidate that failed is
 * not replaced by a copy of another. Where the final call fails or says nothing, the vote over the candidates stands in.
 * strategies.def: STRATEGY(patched_moa)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/screen.h"
#include "agent/strategy.h"

#include <string.h>

static int criticise(moa_run *r, moa_agent_node *n, moa_err *err) {
    moa_panel p;
    MOA_TRY(moa_panel_of(&p, r, n, err));
    return moa_compose_judge(r, n, MOA_JUDGE_CRITIQUE, p.text, p.n, 0, err);
}

/* Input 0 is the critique. */
static int revise(moa_run *r, moa_agent_node *n, moa_err *err) {
    const moa_agent_node *critique = &r->node[n->in[0]];
    moa_panel p;
    MOA_TRY(moa_panel_of(&p, r, n, err));
    const char *said = critique->state == MOA_NODE_DONE ? moa_node_reply(critique) : "";
    if (!said[strspn(said, " \t\r\n")]) return moa_compose_references(r, n, p.text, p.n, err);
    p.text[p.n] = said;
    return moa_compose_judge(r, n, MOA_JUDGE_REVISE, p.text, p.n + 1, 0, err);
}

static const char *refuse_blank(const moa_run *r, const moa_agent_node *n) {
    const char *said = moa_node_reply(n);
    (void)r;
    return said[strspn(said, " \t\r\n")] ? NULL : "its reply is blank";
}

static int build(moa_run *r, const moa_mix_cfg *c, moa_err *err) {
    int *id = moa_arena_alloc(r->arena, (size_t)(c->n + 1) * sizeof *id);
    if (!id) return moa_fail(err, MOA_ENOMEM, "%d candidates", c->n);
    MOA_TRY(moa_add_proposers(id + 1, r, c, "p", c->n, NULL, 0, err));
    const int need = c->need < c->n ? c->need : c->n;
    id[0] = moa_add_judge(r, c, "critique", "critic", id + 1, c->n, criticise, err);
    if (id[0] < 0) return id[0];
    r->node[id[0]].need = need;
    r->node[id[0]].grace_s = c->grace_s;
    const int agg = moa_add_merge(r, c, "agg", id, c->n + 1, err);
    if (agg < 0) return agg;
    moa_agent_node *n = &r->node[agg];
    n->compose = revise;
    n->need = 1;
    n->grace_s = 0; /* the critique has waited for those that were late */
    if (n->fallback) n->fallback = moa_reduce_vote_rest, n->refuse = refuse_blank;
    return agg;
}

const moa_strategy moa_strategy_patched_moa = {
    .name = "patched-moa", .help = "3 candidates, a critique of them, then an answer out of both", .n = 3, .temperature = 1.0f, .judge_max_tokens = 512,
    .has = MOA_HAS_N | MOA_JUDGES | MOA_GATHERS | MOA_AGGREGATES | MOA_SEVERAL, .check = moa_no_dropout, .build = build};
