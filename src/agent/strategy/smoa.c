/* smoa.c - Sparse Mixture-of-Agents (Li et al., arXiv 2411.03284): rounds of agents, and after each round a judge that passes only the k best
 * replies on and says whether another round is of use. Agents may have roles, which the judge's model thinks out once for each type of task;
 * they are kept in the store. From the second round on an agent reads the k chosen replies of the round before. The aggregator merges what
 * was chosen last.
 *
 * Dense layers cost n + n + 1 calls for two, each later one reading n replies. Here a round that the judge ends saves the next one, and k replies are
 * read in place of n. What the judge says decides nothing that is paid for away: where its choice cannot be read, names candidates that are not
 * there, or its call fails, k replies are drawn by the run's seed; where it chooses too many, k of these are drawn; of too few, those are taken. A
 * round whose agents all fail leaves the choice of the round before, which is merged.
 *
 * by=agreement is a judge without calls, where answers can be compared: it passes on the replies that most others agree with, the most probable
 * first, and ends the rounds where at least half of all agree.
 * strategies.def: STRATEGY(smoa)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/strategy.h"

#include "agent/parse.h"
#include "base/buf.h"
#include "base/rng.h"

#include <stdio.h>
#include <string.h>

enum { ROUNDS, SELECT, END, BY, ROLES, TASK, N_SETTING };
enum { NO, YES };
enum { MODEL, AGREEMENT };
enum { ROLE_MAX = 400, MAX_PROMPT = 1 << 20 };
static const moa_setting settings[N_SETTING] = {
    [ROUNDS] = {"rounds", "rounds of agents, at most", 1, 16, 2, true, NULL, false},
    [SELECT] = {"select", "replies that the judge passes on", 1, 64, 2, true, NULL, false},
    [END] = {"end", "may the judge end the rounds?", 0, 1, YES, true, "no|yes", false},
    [BY] = {"by", "who chooses and ends: the judge's model, or agreement of the replies, which takes no call", 0, 1, MODEL, true, "model|agreement", false},
    [ROLES] = {"roles", "make: a role for each agent, made once for a type of task and kept in the store", 0, 1, NO, true, "none|make", false},
    [TASK] = {"task", "the type of task that roles are for, in words (default: that of the first question)", .text = true}};

typedef struct debate { const char **role; const int *chosen; int n_chosen, round; } debate; /* r->own; chosen: of the last round that was judged */

static int add_round(moa_run *r, const int *in, int n_in, moa_err *err);

/* The round is over: the aggregator reads what was chosen. */
static int add_end(moa_run *r, const int *chosen, int n, moa_err *err) {
    const int id = moa_add_aggregator(r, r->cfg, "agg", chosen, n, err);
    if (id >= 0) r->answer = id;
    return id < 0 ? id : 0;
}

/* ---- a round ---- */

/* The role of agent "2.3" is the third: node->own. */
static int compose_agent(moa_run *r, moa_agent_node *n, moa_err *err) {
    const char *role = n->own;
    if (!n->n_in) return role ? moa_compose_ask(r, n, role, NULL, err) : moa_compose_proposer(r, n, err);
    return role ? moa_compose_aggregate_as(r, n, role, err) : moa_compose_aggregate(r, n, err);
}

static int compose_judge(moa_run *r, moa_agent_node *n, moa_err *err) {
    moa_panel p;
    const int k = (int)r->cfg->arg[SELECT];
    MOA_TRY(moa_panel_of(&p, r, n, err));
    return moa_compose_judge(r, n, MOA_JUDGE_CHOOSE, p.text, p.n, k < p.n ? k : p.n, err);
}

/* k of v[n], drawn by the run's seed and the round, stay in front, in their order. */
static void draw(const moa_run *r, int round, int *v, int n, int k) {
    moa_rng g;
    moa_rng_seed2(&g, moa_mix64(r->seed ^ 0x736d6f61u), (uint64_t)round);
    for (int i = 0, kept = 0; i < n && kept < k; i++)
        if ((int)moa_rng_below(&g, (uint32_t)(n - i)) < k - kept) v[kept++] = v[i];
}

/* What the judge chose, as places in the panel; *end: it says that it is enough. Returns how many. */
static int choose(int *out, bool *end, moa_run *r, moa_agent_node *n, const moa_panel *p, int round) {
    const int k = (int)r->cfg->arg[SELECT] < p->n ? (int)r->cfg->arg[SELECT] : p->n;
    bool answered;
    int got = moa_choice(out, end, &answered, &r->node[n->in[0]], p);
    if (r->cfg->arg[END] == NO) *end = false;
    if (answered && got > k) got = k; /* equal answers: the first will do */
    if (got > 0 && got <= k) return got;
    const bool many = got > k;
    if (!many)
        for (got = 0; got < p->n; got++) out[got] = got;
    moa_node_note(r, n, many ? "the judge chose %d, of which %d were drawn" : "no choice could be read (%d candidates): %d were drawn", got, k);
    draw(r, round, out, got, k);
    return k;
}

/* The same without a judge. */
static int agree(int *out, bool *end, moa_run *r, moa_agent_node *n, const moa_panel *p, moa_err *err) {
    const int k = (int)r->cfg->arg[SELECT] < p->n ? (int)r->cfg->arg[SELECT] : p->n;
    int *cluster = moa_arena_alloc(r->arena, (size_t)p->n * sizeof *cluster), *order = moa_arena_alloc(r->arena, (size_t)p->n * sizeof *order);
    double *points = moa_arena_calloc(r->arena, (size_t)p->n * sizeof *points);
    moa_vote v;
    if (!cluster || !order || !points) return moa_fail(err, MOA_ENOMEM, "%d replies", p->n);
    MOA_TRY(moa_cluster(&v, cluster, r, p->id, p->n, err));
    for (int i = 0; i < p->n; i++)
        for (int j = 0; j < p->n; j++) points[i] += cluster[i] >= 0 && cluster[i] == cluster[j];
    moa_rank(order, r, p, points);
    for (int i = 0; i < k; i++) out[i] = order[i];
    *end = r->cfg->arg[END] == YES && 2 * v.size >= p->n;
    moa_node_note(r, n, "%d of %d agree", v.size, p->n);
    return k;
}

/* Input 0 is the judge's, where there is one, the others are the agents of the round. */
static int select_some(moa_run *r, moa_agent_node *n, moa_err *err) {
    debate *d = r->own;
    moa_panel p;
    bool end;
    MOA_TRY(moa_panel_of(&p, r, n, err));
    int *choice = moa_arena_alloc(r->arena, 2 * (size_t)(p.n + 1) * sizeof *choice), *id = choice + p.n + 1;
    if (!choice) return moa_fail(err, MOA_ENOMEM, "%d replies", p.n);
    if (!p.n) return moa_fail(err, MOA_EINVAL, "%s: no reply to choose from", n->name);
    const int k = (int)r->cfg->arg[BY] == AGREEMENT ? agree(choice, &end, r, n, &p, err) : choose(choice, &end, r, n, &p, d->round);
    if (k < 0) return k;
    for (int i = 0; i < k; i++) id[i] = p.id[choice[i]];
    moa_take_text(r, n, id[0]); /* until there is a better one */
    d->chosen = id, d->n_chosen = k;
    for (int i = 0; i < k; i++) moa_node_note(r, n, i ? "and %s" : "passes on %s", r->node[id[i]].name);
    if (end) moa_node_note(r, n, "and ends");
    return end || d->round >= (int)r->cfg->arg[ROUNDS] ? add_end(r, id, k, err) : add_round(r, id, k, err);
}

/* No agent of this round has worked: what was chosen before is merged. */
static int round_failed(moa_run *r, moa_agent_node *n, moa_err *err) {
    const debate *d = r->own;
    if (d->n_chosen && r->answer == (int)(n - r->node)) MOA_TRY(add_end(r, d->chosen, d->n_chosen, err));
    return moa_fail(err, MOA_ENOTFOUND, "nothing to choose from");
}

/* in: the replies that its agents read. */
static int add_round(moa_run *r, const int *in, int n_in, moa_err *err) {
    const moa_mix_cfg *c = r->cfg;
    debate *d = r->own;
    char name[24];
    int *id = moa_arena_alloc(r->arena, (size_t)(c->n + 1) * sizeof *id);
    if (!id) return moa_fail(err, MOA_ENOMEM, "%d agents", c->n);
    d->round++;
    snprintf(name, sizeof name, "p%d.", d->round);
    MOA_TRY(moa_add_proposers(id + 1, r, c, name, c->n, in, n_in, err));
    for (int i = 0; i < c->n; i++) {
        r->node[id[i + 1]].compose = compose_agent;
        r->node[id[i + 1]].own = d->role ? (void *)(uintptr_t)d->role[i] : NULL;
    }
    const bool judged = (int)c->arg[BY] == MODEL;
    const int need = c->need < c->n ? c->need : c->n;
    if (judged) {
        snprintf(name, sizeof name, "judge%d", d->round);
        id[0] = moa_add_judge(r, c, name, "judge", id + 1, c->n, compose_judge, err);
        if (id[0] < 0) return id[0];
        r->node[id[0]].need = need;
        r->node[id[0]].grace_s = c->grace_s;
    }
    snprintf(name, sizeof name, "select%d", d->round);
    moa_agent_node node = {.name = name, .role = "select", .in = id + !judged, .n_in = c->n + judged, .reduce = select_some, .fallback = round_failed};
    if (!judged) node.need = need, node.grace_s = c->grace_s;
    const int s = moa_run_add(r, &node, err);
    if (s >= 0) r->answer = s;
    return s < 0 ? s : 0;
}

/* ---- roles ---- */

static const char *task_of(const moa_run *r) { return r->cfg->word[TASK] ? r->cfg->word[TASK] : "general"; }

/* Roles of another number or of another model are others. */
static void role_key(char out[200], const moa_run *r) {
    const moa_backend *b = moa_judge_of(r->cfg);
    snprintf(out, 200, "%.100s/%d/%016llx", task_of(r), r->cfg->n, (unsigned long long)moa_hash64(b->id, strlen(b->id), b->fingerprint));
}

static int compose_roles(moa_run *r, moa_agent_node *n, moa_err *err) {
    moa_buf b;
    moa_buf_init(&b, MAX_PROMPT);
    moa_buf_addf(&b, "%d agents will each answer questions of one type, and their replies will then be compared. Think of %d persons whose views of such questions "
                     "differ: occupation, character, what each looks at first. One line each, in the form: 1: You are ...\n\n", r->cfg->n, r->cfg->n);
    if (r->cfg->word[TASK]) moa_buf_addf(&b, "The type: %s\n\n", r->cfg->word[TASK]);
    moa_buf_addf(&b, "A question of this type:\n%.8000s", moa_question(r));
    const moa_message one = {"user", moa_arena_strndup(r->arena, moa_buf_str(&b), b.len)};
    const int failed = b.failed;
    moa_buf_deinit(&b);
    n->msg = moa_arena_alloc(r->arena, sizeof *n->msg);
    if (failed || !one.content || !n->msg) return moa_fail(err, MOA_ENOMEM, "the prompt of %s", n->name);
    n->msg[0] = one, n->n_msg = 1;
    return 0;
}

/* A line for each agent; one that has none goes without. Returns how many have one. */
static int take_roles(moa_run *r, const char *text, moa_err *err) {
    debate *d = r->own;
    const int n = r->cfg->n;
    const char **line = moa_arena_calloc(r->arena, (size_t)n * sizeof *line);
    size_t *len = moa_arena_calloc(r->arena, (size_t)n * sizeof *len);
    d->role = moa_arena_calloc(r->arena, (size_t)n * sizeof *d->role);
    if (!line || !len || !d->role) return moa_fail(err, MOA_ENOMEM, "%d roles", n);
    const int found = moa_parse_lines(line, len, n, text, strlen(text));
    for (int i = 0; i < n; i++) {
        if (!line[i]) continue;
        d->role[i] = moa_arena_strndup(r->arena, line[i], len[i] < ROLE_MAX ? len[i] : ROLE_MAX);
        if (!d->role[i]) return moa_fail(err, MOA_ENOMEM, "%d roles", n);
    }
    return found;
}

/* Behind the call that thinks them out: they are kept where every agent has one. */
static int keep_roles(moa_run *r, moa_agent_node *n, moa_err *err) {
    const char *text = moa_node_reply(&r->node[n->in[0]]);
    char key[200];
    const int found = take_roles(r, text, err);
    if (found < 0) return found;
    role_key(key, r);
    if (found == r->cfg->n) MOA_TRY(moa_run_keep(r, "smoa.roles", key, text, err));
    moa_node_note(r, n, "%d of %d agents have a role", found, r->cfg->n);
    n->text = (char *)(uintptr_t)"", n->text_len = 0;
    return add_round(r, NULL, 0, err);
}

static int no_roles(moa_run *r, moa_agent_node *n, moa_err *err) {
    if (r->answer == (int)(n - r->node)) MOA_TRY(add_round(r, NULL, 0, err));
    return moa_fail(err, MOA_ENOTFOUND, "agents without roles");
}

static int recall_roles(moa_run *r, moa_agent_node *n, moa_err *err) {
    const char *text;
    char key[200];
    role_key(key, r);
    n->text = (char *)(uintptr_t)"", n->text_len = 0;
    MOA_TRY(moa_run_recall(&text, r, "smoa.roles", key, err));
    if (text) {
        const int found = take_roles(r, text, err);
        return found < 0 ? found : add_round(r, NULL, 0, err);
    }
    const int call = moa_add_judge(r, r->cfg, "roles", "role-maker", NULL, 0, compose_roles, err);
    if (call < 0) return call;
    r->node[call].max_tokens = r->cfg->n * ROLE_MAX / 4;
    const moa_agent_node node = {.name = "keep", .role = "roles", .in = &call, .n_in = 1, .reduce = keep_roles, .fallback = no_roles};
    const int id = moa_run_add(r, &node, err);
    if (id >= 0) r->answer = id;
    return id < 0 ? id : 0;
}

static int build(moa_run *r, const moa_mix_cfg *c, moa_err *err) {
    if (!(r->own = moa_arena_calloc(r->arena, sizeof(debate)))) return moa_fail(err, MOA_ENOMEM, "a debate");
    if (c->arg[ROLES] == NO) return add_round(r, NULL, 0, err);
    const moa_agent_node node = {.name = "recall", .role = "roles", .reduce = recall_roles};
    const int id = moa_run_add(r, &node, err);
    if (id >= 0) r->answer = id;
    return id < 0 ? id : 0;
}

const moa_strategy moa_strategy_smoa = {
    .name = "smoa", .help = "rounds of 4 agents; a judge passes the 2 best replies on and ends the rounds when more are of no use", .n = 4, .temperature = 0.7f, .judge_max_tokens = 256,
    .has = MOA_HAS_N | MOA_GATHERS | MOA_AGGREGATES | MOA_JUDGES | MOA_SEVERAL | MOA_LEARNS, .setting = settings, .n_setting = N_SETTING, .build = build};
