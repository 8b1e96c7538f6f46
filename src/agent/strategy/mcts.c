/* mcts.c - Monte Carlo tree search over a dialogue (Kocsis and Szepesvari, UCT, ECML 2006; in the form of optillm's mcts: actions are replies, the
 * model plays the user too, and rates what came of it).
 *
 * A state is a reply to the user: the replies and the users' turns from the question down to it. A simulation goes down from the root, to the child
 * with the highest  Q / N + c sqrt(ln N_parent / N), those never visited first; a state that has been visited before is expanded by n samples,
 * if it may go deeper. The new state is rated: `depth` times a judge writes what the user says next and the model replies, then the judge
 * scores the whole, 0 to 1 (0.5 where no score can be read); all states above get the value. At the end the first reply that was visited most
 * is the answer; equal visits: the higher value, then the more probable. With depth 0 the reply itself is rated, as best-of-n does.
 *
 * The graph grows by what a simulation needs: behind each group of calls stands a node "step" that looks at them and decides what is next; its
 * text is the best reply so far, so that a deadline finds one. Simulations go one after the other, since each follows from those before.
 * strategies.def: STRATEGY(mcts)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/strategy.h"

#include "base/buf.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SIMULATIONS, EXPLORATION, DEPTH, LEVELS, N_SETTING };
static const moa_setting settings[N_SETTING] = {
    [SIMULATIONS] = {"simulations", "states that are rated", 1, 256, 4, true, NULL, false},
    [EXPLORATION] = {"exploration", "weight of what was visited little", 0, 100, 0.2, false, NULL, false},
    [DEPTH] = {"depth", "further turns of the user, and replies, before a state is rated; 0: it is rated as it is", 0, 8, 1, true, NULL, false},
    [LEVELS] = {"levels", "replies of a path in the tree, at most", 1, 8, 2, true, NULL, false}};
enum { MAX_TEXT = 16 << 20, TURN_MAX = 4000 };

typedef struct state {
    int reply, user;             /* nodes; user: what is said to the reply, -1: nobody has yet */
    int parent, first, n_child;  /* states; children lie side by side */
    int level, visits;
    double value;                /* sum */
} state;
/* What the calls before a step were for: samples; the user's turn of a state that is to be expanded; the user and the model in a rollout; a score. */
typedef enum phase { EXPAND, TURN, USER, REPLY, RATE } phase;
typedef struct search {
    state *s; int n, cap;
    int at, turns, done;         /* the state in work, turns of its rollout so far, simulations that ended */
    int path[32]; int n_path;    /* of the rollout: nodes that said what comes after s[at].reply, the user first */
    phase phase;
    int call;                    /* the last single call */
} search;

static search *own(const moa_run *r) { return r->own; }

/* ---- what is said ---- */

/* Nodes from the first reply down to state i, i's user turn included where there is one. Returns how many went to v. */
static int line_of(int *v, const search *t, int i) {
    int n = 0, at[64], k = 0;
    for (; i > 0 && k < 64; i = t->s[i].parent) at[k++] = i;
    while (k--) {
        v[n++] = t->s[at[k]].reply;
        if (t->s[at[k]].user >= 0) v[n++] = t->s[at[k]].user;
    }
    return n;
}

/* The conversation, then nodes' texts as turns of assistant and user. */
static int compose_reply(moa_run *r, moa_agent_node *n, moa_err *err) {
    MOA_TRY(moa_compose_proposer(r, n, err));
    moa_message *m = moa_arena_alloc(r->arena, (size_t)(n->n_msg + n->n_in) * sizeof *m);
    if (!m) return moa_fail(err, MOA_ENOMEM, "the prompt of %s", n->name);
    memcpy(m, n->msg, (size_t)n->n_msg * sizeof *m);
    for (int i = 0; i < n->n_in; i++) m[n->n_msg + i] = (moa_message){i % 2 ? "user" : "assistant", moa_node_reply(&r->node[n->in[i]])};
    n->msg = m, n->n_msg += n->n_in;
    return 0;
}

/* The dialogue behind the question as one text. */
static void tell(moa_buf *b, const moa_run *r, const int *in, int n) {
    for (int i = 0; i < n; i++) {
        const char *text = moa_node_reply(&r->node[in[i]]);
        if (n > 1) moa_buf_addf(b, "%s: ", i % 2 ? "User" : "Reply");
        moa_buf_addf(b, "%.*s%s", TURN_MAX, text, i + 1 < n ? "\n" : "");
    }
}

static int compose_rating(moa_run *r, moa_agent_node *n, moa_err *err) {
    moa_buf b;
    moa_buf_init(&b, MAX_TEXT);
    tell(&b, r, n->in, n->n_in);
    const char *text = moa_arena_strndup(r->arena, moa_buf_str(&b), b.len);
    moa_buf_deinit(&b);
    if (!text) return moa_fail(err, MOA_ENOMEM, "the prompt of %s", n->name);
    return moa_compose_judge(r, n, MOA_JUDGE_RATE, &text, 1, 0, err);
}

static int compose_user(moa_run *r, moa_agent_node *n, moa_err *err) {
    MOA_TRY(compose_reply(r, n, err));
    moa_message *m = moa_arena_alloc(r->arena, (size_t)(n->n_msg + 1) * sizeof *m);
    if (!m) return moa_fail(err, MOA_ENOMEM, "the prompt of %s", n->name);
    memcpy(m, n->msg, (size_t)n->n_msg * sizeof *m);
    m[n->n_msg] = (moa_message){"user", "Write what the user says next in this conversation. Their words alone."};
    n->msg = m, n->n_msg++;
    return 0;
}

/* ---- the tree ---- */

static int add_state(moa_run *r, int parent, int reply, moa_err *err) {
    search *t = own(r);
    if (t->n == t->cap) {
        const int cap = t->cap ? 2 * t->cap : 16;
        state *v = moa_arena_alloc(r->arena, (size_t)cap * sizeof *v);
        if (!v) return moa_fail(err, MOA_ENOMEM, "a tree of %d replies", cap);
        if (t->n) memcpy(v, t->s, (size_t)t->n * sizeof *v);
        t->s = v, t->cap = cap;
    }
    t->s[t->n] = (state){.reply = reply, .user = -1, .parent = parent, .first = -1, .level = parent < 0 ? 0 : t->s[parent].level + 1};
    return t->n++;
}

static double uct(const search *t, int i, double c) {
    const state *s = &t->s[i];
    if (!s->visits) return INFINITY;
    return s->value / s->visits + c * sqrt(log((double)t->s[s->parent].visits) / s->visits);
}

/* Down from the root to a state without children. */
static int descend(const moa_run *r) {
    const search *t = own(r);
    int i = 0;
    while (t->s[i].n_child) {
        int best = t->s[i].first;
        for (int k = best + 1; k < t->s[i].first + t->s[i].n_child; k++)
            if (uct(t, k, r->cfg->arg[EXPLORATION]) > uct(t, best, r->cfg->arg[EXPLORATION])) best = k;
        i = best;
    }
    return i;
}

/* The state of the answer as things are; -1: there is none. */
static int best_first(const moa_run *r) {
    const search *t = own(r);
    int best = -1;
    for (int i = t->s[0].first; t->s[0].n_child && i < t->s[0].first + t->s[0].n_child; i++) {
        const state *a = &t->s[i], *b = best < 0 ? NULL : &t->s[best];
        const double va = a->visits ? a->value / a->visits : -1, vb = b && b->visits ? b->value / b->visits : -1;
        if (!b || a->visits > b->visits || (a->visits == b->visits && (va > vb || (!(vb > va) && r->node[a->reply].sum_logprob > r->node[b->reply].sum_logprob)))) best = i;
    }
    return best;
}

/* ---- the steps ---- */

static int step(moa_run *r, moa_agent_node *n, moa_err *err);

/* A step behind these calls, the answer's node from now on. */
static int add_step(moa_run *r, const int *in, int n_in, phase p, moa_err *err);

/* One call behind what state `at` and its rollout have said so far. */
static int add_call(moa_run *r, phase p, moa_err *err) {
    search *t = own(r);
    int in[160], n_in = line_of(in, t, t->at);
    char name[40];
    static const char *const names[] = {"p", "turn", "user", "reply", "rate"};
    for (int i = 0; i < t->n_path; i++) in[n_in++] = t->path[i];
    snprintf(name, sizeof name, "%s%d.%d", names[p], t->done + 1, t->turns + 1);
    if (p == REPLY) {
        const moa_agent_node node = {.name = name, .role = "rollout", .backend = r->cfg->proposer[0], .sampling = r->cfg->propose, .max_tokens = r->cfg->max_tokens,
                                     .in = in, .n_in = n_in, .need = n_in, .compose = compose_reply};
        t->call = moa_run_add(r, &node, err);
    } else {
        t->call = moa_add_judge(r, r->cfg, name, p == RATE ? "judge" : "user", in, n_in, p == RATE ? compose_rating : compose_user, err);
        if (t->call < 0) return t->call;
        r->node[t->call].need = n_in;
        if (p != RATE) r->node[t->call].sampling.temperature = r->cfg->propose.temperature; /* users differ */
    }
    return t->call < 0 ? t->call : add_step(r, &t->call, 1, p, err);
}

/* n samples of what follows state `at`. */
static int add_samples(moa_run *r, moa_err *err) {
    search *t = own(r);
    const int n = r->cfg->n;
    int in[64], n_in = line_of(in, t, t->at), *id = moa_arena_alloc(r->arena, (size_t)n * sizeof *id);
    char prefix[32];
    if (!id) return moa_fail(err, MOA_ENOMEM, "%d samples", n);
    snprintf(prefix, sizeof prefix, "p%d.", t->done + 1);
    MOA_TRY(moa_add_proposers(id, r, r->cfg, prefix, n, in, n_in, err));
    for (int i = 0; i < n; i++) {
        r->node[id[i]].compose = compose_reply;
        r->node[id[i]].need = n_in;
        r->node[id[i]].grace_s = 0;
    }
    return add_step(r, id, n, EXPAND, err);
}

static void score(moa_run *r, double v) {
    search *t = own(r);
    for (int i = t->at; i >= 0; i = t->s[i].parent) t->s[i].visits++, t->s[i].value += v;
    t->done++;
    t->turns = t->n_path = 0;
}

static int rate_state(moa_run *r, moa_err *err) {
    const search *t = own(r);
    const bool asked = !t->n_path && t->s[t->at].user >= 0; /* the user has spoken already */
    return add_call(r, t->turns >= (int)r->cfg->arg[DEPTH] ? RATE : asked ? REPLY : USER, err);
}

/* The next simulation, if there is one. */
static int simulate(moa_run *r, moa_err *err) {
    search *t = own(r);
    if (t->done >= (int)r->cfg->arg[SIMULATIONS]) return 0;
    t->at = descend(r);
    const state *s = &t->s[t->at];
    if (t->at && (!s->visits || s->level >= (int)r->cfg->arg[LEVELS])) return rate_state(r, err);
    if (t->at && s->user < 0) return add_call(r, TURN, err); /* before anything can follow it */
    return add_samples(r, err);
}

/* The samples that worked are children of the state, and the first is the one in work; with none of them that is the state itself. */
static int expanded(moa_run *r, const int *in, int n_in, moa_err *err) {
    search *t = own(r);
    const int at = t->at;
    for (int i = 0; i < n_in; i++) {
        if (r->node[in[i]].state != MOA_NODE_DONE || in[i] == t->s[at].reply) continue;
        const int s = add_state(r, at, in[i], err);
        if (s < 0) return s;
        if (!t->s[at].n_child++) t->s[at].first = s;
    }
    if (t->s[at].n_child) t->at = t->s[at].first;
    return 0;
}

/* What came of the calls; then on. n moves where nodes are added, so its text is set before. */
static int step(moa_run *r, moa_agent_node *n, moa_err *err) {
    search *t = own(r);
    const int call = n->in[0];
    const bool spoke = r->node[call].state == MOA_NODE_DONE;
    phase p = t->phase;
    if (p == EXPAND) {
        MOA_TRY(expanded(r, n->in, n->n_in, err));
    } else if (p == RATE) {
        const double v = moa_rating(r, &r->node[call], false);
        score(r, v < 0 ? 0.5 : v / 10);
    } else if (!spoke) {
        t->turns = (int)r->cfg->arg[DEPTH]; /* nothing can follow: it is rated as it is */
        p = REPLY;
    } else if (p == TURN) {
        t->s[t->at].user = call;
    } else {
        t->path[t->n_path++] = call;
        t->turns += p == REPLY;
    }
    const int best = best_first(r);
    if (best >= 0) {
        moa_take_text(r, n, t->s[best].reply);
        moa_node_note(r, n, "%s so far: %d visits, value %.2f", r->node[t->s[best].reply].name, t->s[best].visits,
                      t->s[best].visits ? t->s[best].value / t->s[best].visits : 0.0);
    }
    if (p == RATE) return simulate(r, err);
    if (p == TURN) return add_samples(r, err);
    return p == USER ? add_call(r, REPLY, err) : rate_state(r, err);
}

static int add_step(moa_run *r, const int *in, int n_in, phase p, moa_err *err) {
    search *t = own(r);
    int *all = moa_arena_alloc(r->arena, (size_t)(n_in + 1) * sizeof *all);
    if (!all) return moa_fail(err, MOA_ENOMEM, "a step");
    memcpy(all, in, (size_t)n_in * sizeof *in);
    if (t->at) all[n_in++] = t->s[t->at].reply; /* has worked: the step comes though its calls fail */
    t->phase = p;
    const moa_agent_node node = {.name = "step", .role = "step", .in = all, .n_in = n_in, .reduce = step};
    const int id = moa_run_add(r, &node, err);
    if (id >= 0) r->answer = id;
    return id < 0 ? id : 0;
}

static int build(moa_run *r, const moa_mix_cfg *c, moa_err *err) {
    (void)c;
    if (!(r->own = moa_arena_calloc(r->arena, sizeof(search)))) return moa_fail(err, MOA_ENOMEM, "a search");
    const int root = add_state(r, -1, -1, err);
    return root < 0 ? root : add_samples(r, err);
}

const moa_strategy moa_strategy_mcts = {
    .name = "mcts", .help = "tree search: 4 simulations over replies, the user's next turns and a judge's scores; the most visited reply is the answer", .n = 3,
    .temperature = 1.0f, .judge_max_tokens = 256, .has = MOA_HAS_N | MOA_JUDGES | MOA_SEVERAL, .setting = settings, .n_setting = N_SETTING, .build = build};
