/* mora.c - MoRA, refinement agents (Jaiswal et al., arXiv 2412.00821): a model solves, an identifier names the kind of fault in the solution, the
 * repairer of that kind writes it anew, and so on until none is found or the rounds are over.
 *
 * Kinds in the order in which they are repaired: the question was misread; a step is of the wrong kind (concept); a step is miscalculated
 * (computation). The judge's model identifies and repairs, each with a prompt of its own (repair.h). The paper's computation agent writes code and runs it;
 * here a calculator of ours (calc.h) works out the equations that stand in the solution, so nothing of a model's is ever run. What it finds wrong is
 * wrong, whatever the identifier says of computations; what it finds right and the identifier calls miscalculated is repaired without facts.
 * first=proof repairs those first: what the identifier says is an opinion, and it is asked again in the next round.
 * repair=again: for models that do not follow such a prompt, a new draw takes the place of the repair; where the last one is faulty too, the first
 * solution stands, which is the most probable.
 * A repair that fails or has no answer leaves the solution as it was; an identifier that fails or says nothing of the kind leaves the word to the
 * calculator.
 * strategies.def: STRATEGY(mora)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/repair.h"
#include "agent/strategy.h"

#include <stdio.h>
#include <string.h>

enum { ROUNDS, IDENTIFY, CALCULATOR, FIRST, REPAIR, REPAIR_TEMPERATURE, N_SETTING };
static const moa_setting settings[N_SETTING] = {[ROUNDS] = {"rounds", "repairs at most", 1, 16, 3, true, NULL, false},
                                                [IDENTIFY] = {"identify", "who names faults: the judge's model and the calculator, or the calculator alone", 0, 1, 0, true, "model|calculator", false},
                                                [CALCULATOR] = {"calculator", "work out the equations of solutions", 0, 1, 1, true, "off|on", false},
                                                [FIRST] = {"first", "what is repaired where several kinds are named: misread, concept, computation in this order, or what the calculator proves", 0, 1, 0, true,
                                                           "order|proof", false},
                                                [REPAIR] = {"repair", "ask: the judge's model repairs it; again: the model solves it anew", 0, 1, 0, true, "ask|again", false},
                                                [REPAIR_TEMPERATURE] = {"repair-temperature", "repair=again: of new solutions", 0, 5, 0.5, false, NULL, false}};
enum { PROMPT_MAX = 1 << 22, SOLVE = 0 /* the node that is built first */ };

/* Nodes of a round: in[0] of all three is the solution as it is by then. */
typedef struct fault_told { moa_fault fault; const char *facts; } fault_told; /* own of a repair's node */

static const char *solution_of(const moa_run *r, const moa_agent_node *n) { return moa_node_reply(&r->node[n->in[0]]); }

static int compose_text(moa_run *r, moa_agent_node *n, moa_buf *b, int rc, moa_err *err) {
    if (rc >= 0) rc = b->failed ? moa_fail(err, b->failed, "the prompt of %s is larger than %d MiB", n->name, PROMPT_MAX >> 20) : moa_compose_ask(r, n, NULL, moa_buf_str(b), err);
    moa_buf_deinit(b);
    return rc;
}

static int compose_identify(moa_run *r, moa_agent_node *n, moa_err *err) {
    moa_buf b;
    moa_buf_init(&b, PROMPT_MAX);
    return compose_text(r, n, &b, (moa_repair_identify(&b, moa_question(r), solution_of(r, n)), 0), err);
}

static int compose_repair(moa_run *r, moa_agent_node *n, moa_err *err) {
    const fault_told *t = n->own;
    moa_buf b;
    moa_buf_init(&b, PROMPT_MAX);
    return compose_text(r, n, &b, (moa_repair_ask(&b, moa_question(r), solution_of(r, n), t->fault, t->facts), 0), err);
}

static int route(moa_run *r, moa_agent_node *n, moa_err *err);

/* Identify the fault of node `solution`, then decide. */
static int add_round(moa_run *r, int solution, int round, moa_err *err) {
    char name[24];
    int in[2] = {solution}, n_in = 1;
    if (!(int)r->cfg->arg[IDENTIFY]) {
        snprintf(name, sizeof name, "identify%d", round);
        in[n_in++] = moa_add_judge(r, r->cfg, name, "identifier", &solution, 1, compose_identify, err);
        if (in[1] < 0) return in[1];
    }
    snprintf(name, sizeof name, "route%d", round);
    const moa_agent_node node = {.name = name, .role = "router", .in = in, .n_in = n_in, .reduce = route};
    const int id = moa_run_add(r, &node, err);
    if (id < 0) return id;
    r->node[id].own = (void *)(uintptr_t)(unsigned)round;
    return r->answer = id;
}

static int add_repair(moa_run *r, int solution, int round, const fault_told *t, moa_err *err) {
    char name[24];
    snprintf(name, sizeof name, "repair%d", round);
    const int id = moa_add_judge(r, r->cfg, name, "repairer", &solution, 1, compose_repair, err);
    if (id < 0) return id;
    moa_agent_node *n = &r->node[id];
    n->own = moa_arena_alloc(r->arena, sizeof *t);
    if (!n->own) return moa_fail(err, MOA_ENOMEM, "a fault");
    *(fault_told *)n->own = *t;
    n->max_tokens = r->cfg->max_tokens;
    n->refuse = moa_refuse_merge, n->fallback = moa_reduce_vote; /* the only one it votes over is the solution */
    return id;
}

/* repair=again: another draw, which knows nothing of the fault; where it fails the solution before it stands. */
static int add_again(moa_run *r, int solution, int round, moa_err *err) {
    char name[24];
    snprintf(name, sizeof name, "again%d", round);
    moa_agent_node node = moa_proposer(r->cfg, 0);
    node.name = name, node.in = &solution, node.n_in = 1;
    node.sampling.temperature = (float)r->cfg->arg[REPAIR_TEMPERATURE];
    node.refuse = moa_refuse_merge, node.fallback = moa_reduce_vote;
    return moa_run_add(r, &node, err);
}

/* How many equations are wrong, with what is. */
static int find_facts(const char **facts, moa_run *r, const char *solution, moa_err *err) {
    moa_buf b;
    *facts = "";
    if (!(int)r->cfg->arg[CALCULATOR]) return 0;
    moa_buf_init(&b, 64 << 10);
    const int wrong = moa_repair_facts(&b, solution);
    *facts = moa_arena_strndup(r->arena, moa_buf_str(&b), b.len);
    moa_buf_deinit(&b);
    return *facts ? wrong : moa_fail(err, MOA_ENOMEM, "facts");
}

static int route(moa_run *r, moa_agent_node *n, moa_err *err) {
    const int solution = n->in[0], round = (int)(uintptr_t)n->own;
    const moa_agent_node *look = n->n_in > 1 ? &r->node[n->in[1]] : NULL; /* NULL: the calculator alone has the word */
    fault_told t = {MOA_FAULT_NONE, ""};
    if (r->node[solution].state != MOA_NODE_DONE) return moa_fail(err, MOA_EINVAL, "there is no solution");
    const bool said = !look || (look->state == MOA_NODE_DONE && moa_fault_parse(&t.fault, look->text, look->text_len));
    const int wrong = find_facts(&t.facts, r, moa_node_reply(&r->node[solution]), err);
    if (wrong < 0) return wrong;
    if (wrong && (!said || t.fault == MOA_FAULT_NONE || (int)r->cfg->arg[FIRST])) t.fault = MOA_FAULT_COMPUTATION;
    if (said || wrong) moa_node_note(r, n, "error: %s%s", moa_fault_name(t.fault), t.fault == MOA_FAULT_COMPUTATION && wrong ? " (found by the calculator)" : "");
    else moa_node_note(r, n, "error: unclear, so nothing is repaired");
    moa_take_text(r, n, solution);
    if (t.fault == MOA_FAULT_NONE) return 0;
    const bool again = (int)r->cfg->arg[REPAIR];
    if (round > (int)r->cfg->arg[ROUNDS]) {
        moa_node_note(r, n, "the rounds are over%s", again ? ": the first solution stands" : "");
        if (again) moa_take_text(r, n, SOLVE);
        return 0;
    }
    const int repaired = again ? add_again(r, solution, round, err) : add_repair(r, solution, round, &t, err);
    if (repaired < 0) return repaired;
    const int next = add_round(r, repaired, round + 1, err);
    return next < 0 ? next : 0;
}

static int build(moa_run *r, const moa_mix_cfg *c, moa_err *err) {
    int id;
    MOA_TRY(moa_add_proposers(&id, r, c, "solve", 1, NULL, 0, err));
    const int rc = add_round(r, id, 1, err);
    return rc < 0 ? rc : 0;
}

static int check(const moa_mix_cfg *c, moa_err *err) {
    return (int)c->arg[IDENTIFY] && !(int)c->arg[CALCULATOR] ? moa_fail(err, MOA_EUSAGE, "mix mora: identify=calculator with calculator=off: nobody looks for faults") : 0;
}

const moa_strategy moa_strategy_mora = {
    .name = "mora", .help = "one reply, whose faults the judge's model names and repairs, with a calculator", .has = MOA_JUDGES, .temperature = 0, .setting = settings, .n_setting = N_SETTING,
    .check = check, .build = build};
