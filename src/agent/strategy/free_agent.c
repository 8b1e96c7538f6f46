/* free_agent.c - RLFA, free agents (Liu, arXiv 2501.17903): a roster of models that answer, each with a record; who stays under the mark for long
 * enough may lose his place to a candidate, which first works in the shadow: it is asked and scored, and its replies are not used.
 *
 * The paper leaves numbers and weights open; here, with settings' names:
 *     reward of a reply   R = score - efficiency * tokens / max-tokens, within 0 and 1; a call that failed: 0
 *     on notice           served >= service, and the mean of the last `window` rewards < threshold: the first of the bench goes into the shadow
 *     after `probation`   shadowed questions: mean R of the candidate > mean R of the one on notice over the same questions + margin: it takes the
 *                         place, and the other goes to the end of the bench; else the candidate does
 * The answer is the vote of the roster (roster=1, the default: its only reply); where all of it fails, the shadow's. Changes are made when a question's
 * score is known (moa eval, feedback), stand in the store (free-agent/roster: who, and free-agent/change: when and why) and in the trace.
 * strategies.def: STRATEGY(free_agent)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/mix.h"
#include "agent/strategy.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROSTER, WINDOW, THRESHOLD, SERVICE, PROBATION, MARGIN, EFFICIENCY, N_SETTING };
static const moa_setting settings[N_SETTING] = {
    [ROSTER] = {"roster", "models that answer; the further proposers are the bench", 1, MOA_MAX_PROPOSERS, 1, true, NULL, false},
    [WINDOW] = {"window", "latest rewards that a model is judged by", 1, 200, 20, true, NULL, false},
    [THRESHOLD] = {"threshold", "mean reward under which a model is on notice", 0, 1, 0.6, false, NULL, false},
    [SERVICE] = {"service", "questions that a model answers before it can be on notice", 0, 1e6, 20, true, NULL, false},
    [PROBATION] = {"probation", "questions that a candidate answers in the shadow", 1, 200, 20, true, NULL, false},
    [MARGIN] = {"margin", "by which a candidate must be better", 0, 1, 0.05, false, NULL, false},
    [EFFICIENCY] = {"efficiency", "reward that a reply of max-tokens costs", 0, 1, 0, false, NULL, false}};

/* ---- the roster, as it stands in the store: lines "PART SERVED REWARDS MODEL", rewards as digits, 9 the best, the latest last ---- */

typedef enum part { ACTIVE, WATCHED /* active, on notice */, SHADOW, BENCH, N_PART } part;
static const char *const part_name[N_PART] = {"active", "watched", "shadow", "bench"};
enum { HISTORY = 200 };
typedef struct agent { part part; int served, n; char reward[HISTORY + 1]; int model; /* of the proposers */ } agent;
typedef struct roster { agent a[MOA_MAX_PROPOSERS]; int n; } roster; /* in order: the bench's first comes next */

static const char KIND[] = "free-agent/roster", CHANGE[] = "free-agent/change";

static int part_of(const char *s, size_t n) {
    for (int i = 0; i < N_PART; i++)
        if (strlen(part_name[i]) == n && !memcmp(s, part_name[i], n)) return i;
    return -1;
}

static int model_of(const moa_mix_cfg *c, const char *name, size_t n) {
    for (int i = 0; i < c->n_proposer; i++)
        if (strlen(c->proposer[i]->id) == n && !memcmp(c->proposer[i]->id, name, n)) return i;
    return -1;
}

static bool has_model(const roster *t, int model) {
    for (int i = 0; i < t->n; i++)
        if (t->a[i].model == model) return true;
    return false;
}

/* One line; what is none is left out. */
static void read_line(roster *t, const moa_mix_cfg *c, const char *p, const char *end) {
    agent a = {.model = -1};
    const char *word[4];
    size_t len[4];
    for (int i = 0; i < 4; i++) {
        const char *stop = i < 3 ? memchr(p, ' ', (size_t)(end - p)) : end;
        if (!stop) return;
        word[i] = p, len[i] = (size_t)(stop - p);
        p = stop < end ? stop + 1 : stop;
    }
    const int which = part_of(word[0], len[0]), model = model_of(c, word[3], len[3]);
    const long served = strtol(word[1], NULL, 10);
    if (which < 0 || model < 0 || has_model(t, model) || t->n == MOA_MAX_PROPOSERS || served < 0 || served > 1 << 30 || len[2] > HISTORY) return;
    a.part = (part)which, a.model = model, a.served = (int)served;
    for (size_t i = 0; i < len[2]; i++)
        if (word[2][i] >= '0' && word[2][i] <= '9') a.reward[a.n++] = word[2][i];
    t->a[t->n++] = a;
}

static int count(const roster *t, part which) {
    int n = 0;
    for (int i = 0; i < t->n; i++) n += t->a[i].part == which;
    return n;
}

static agent *first(roster *t, part which) {
    for (int i = 0; i < t->n; i++)
        if (t->a[i].part == which) return &t->a[i];
    return NULL;
}

/* Whatever the store says, there is a roster: as many as are wanted answer, at most one is watched, and then one is in the shadow. */
static void put_in_order(roster *t, const moa_mix_cfg *c) {
    for (int i = 0; i < c->n_proposer && t->n < MOA_MAX_PROPOSERS; i++)
        if (!has_model(t, i)) t->a[t->n++] = (agent){.part = BENCH, .model = i};
    if (count(t, WATCHED) != 1 || count(t, SHADOW) != 1)
        for (int i = 0; i < t->n; i++) t->a[i].part = t->a[i].part == WATCHED ? ACTIVE : t->a[i].part == SHADOW ? BENCH : t->a[i].part;
    const int wanted = (int)c->arg[ROSTER] < c->n_proposer ? (int)c->arg[ROSTER] : c->n_proposer;
    for (agent *a; count(t, ACTIVE) + count(t, WATCHED) < wanted && (a = first(t, BENCH) ? first(t, BENCH) : first(t, SHADOW));) a->part = ACTIVE;
    for (int i = t->n - 1; i >= 0 && count(t, ACTIVE) + count(t, WATCHED) > wanted; i--)
        if (t->a[i].part == ACTIVE) t->a[i].part = BENCH;
}

static int read_roster(roster *t, moa_run *r, moa_err *err) {
    const char *value;
    t->n = 0;
    MOA_TRY(moa_run_recall(&value, r, KIND, "now", err));
    for (const char *p = value; p && *p;) {
        const char *end = p + strcspn(p, "\n");
        read_line(t, r->cfg, p, end);
        p = *end ? end + 1 : end;
    }
    put_in_order(t, r->cfg);
    return 0;
}

static int write_roster(moa_run *r, const roster *t, moa_err *err) {
    moa_buf b;
    moa_buf_init(&b, 1 << 16);
    for (int i = 0; i < t->n; i++)
        moa_buf_addf(&b, "%s %d %s %s\n", part_name[t->a[i].part], t->a[i].served, t->a[i].n ? t->a[i].reward : "-", r->cfg->proposer[t->a[i].model]->id);
    const int rc = b.failed ? moa_fail(err, b.failed, "a roster of %d models", t->n) : moa_run_keep(r, KIND, "now", moa_buf_str(&b), err);
    moa_buf_deinit(&b);
    return rc;
}

/* ---- a question ---- */

/* The shadow is waited for, since a run ends with its answer; it has no voice. */
static int answer(moa_run *r, moa_agent_node *n, moa_err *err) {
    const int n_in = n->n_in;
    const bool shadowed = strcmp(r->node[n->in[n_in - 1]].role, "shadow") == 0;
    int worked = 0;
    for (int i = 0; i < n_in - shadowed; i++) worked += r->node[n->in[i]].state == MOA_NODE_DONE;
    if (worked) n->n_in = n_in - shadowed;
    else if (shadowed) n->in += n_in - 1, n->n_in = 1;
    return moa_reduce_vote(r, n, err);
}

static int add_agent(moa_run *r, int model, const char *prefix, const char *role, moa_err *err) {
    moa_mix_cfg one = *r->cfg;
    int id;
    one.proposer = r->cfg->proposer + model, one.n_proposer = 1;
    MOA_TRY(moa_add_proposers(&id, r, &one, prefix, 1, NULL, 0, err));
    r->node[id].role = role;
    return id;
}

static int play(moa_run *r, moa_agent_node *n, moa_err *err) {
    const int self = (int)(n - r->node);
    roster *t = moa_arena_calloc(r->arena, sizeof *t);
    int in[MOA_MAX_PROPOSERS + 1], n_in = 0;
    char prefix[24], who[400] = "";
    size_t at = 0;
    if (!t) return moa_fail(err, MOA_ENOMEM, "a roster");
    r->own = t;
    MOA_TRY(read_roster(t, r, err));
    for (int i = 0; i < t->n; i++) {
        if (t->a[i].part != ACTIVE && t->a[i].part != WATCHED) continue;
        snprintf(prefix, sizeof prefix, "p%d.", n_in + 1);
        if ((in[n_in++] = add_agent(r, t->a[i].model, prefix, "proposer", err)) < 0) return in[n_in - 1];
        if (at < sizeof who) at += (size_t)snprintf(who + at, sizeof who - at, "%s%.60s", at ? ", " : "", r->cfg->proposer[t->a[i].model]->id);
    }
    const agent *shadow = first(t, SHADOW), *watched = first(t, WATCHED);
    if (shadow && (in[n_in++] = add_agent(r, shadow->model, "shadow", "shadow", err)) < 0) return in[n_in - 1];
    const moa_agent_node last = {.name = "answer", .role = "vote", .in = in, .n_in = n_in, .reduce = answer, .grace_s = r->cfg->grace_s};
    const int id = moa_run_add(r, &last, err);
    if (id < 0) return id;
    r->answer = id;
    n = &r->node[self];
    moa_node_note(r, n, "roster: %s", who);
    if (shadow) moa_node_note(r, n, "%.60s is on notice, %.60s works in the shadow", r->cfg->proposer[watched->model]->id, r->cfg->proposer[shadow->model]->id);
    n->text = moa_arena_strndup(r->arena, "", 0), n->text_len = 0;
    return n->text ? 0 : moa_fail(err, MOA_ENOMEM, "a roster");
}

static int build(moa_run *r, const moa_mix_cfg *c, moa_err *err) {
    if (c->n_proposer > MOA_MAX_PROPOSERS) return moa_fail(err, MOA_ELIMIT, "more than %d models", MOA_MAX_PROPOSERS);
    const moa_agent_node node = {.name = "roster", .role = "router", .reduce = play};
    const int id = moa_run_add(r, &node, err);
    r->answer = id;
    return id < 0 ? id : 0;
}

static int check(const moa_mix_cfg *c, moa_err *err) {
    const int wanted = (int)c->arg[ROSTER];
    return wanted > 1 && wanted > c->n_proposer ? moa_fail(err, MOA_EUSAGE, "mix free-agent: a roster of %d, but %d proposers", wanted, c->n_proposer) : 0;
}

/* ---- after a question ---- */

static double mean_of_last(const agent *a, int n) {
    double sum = 0;
    const int m = n < a->n ? n : a->n;
    for (int i = a->n - m; i < a->n; i++) sum += (a->reward[i] - '0') / 9.0;
    return m ? sum / m : 0;
}

static void add_reward(agent *a, double reward) {
    if (a->n == HISTORY) memmove(a->reward, a->reward + 1, (size_t)--a->n);
    a->reward[a->n++] = (char)('0' + lrint(9 * (reward < 0 ? 0 : reward > 1 ? 1 : reward)));
    a->reward[a->n] = 0;
    a->served++;
}

static void to_the_end(roster *t, agent *a) {
    const agent was = *a;
    const int at = (int)(a - t->a);
    memmove(a, a + 1, (size_t)(t->n - at - 1) * sizeof *a);
    t->a[t->n - 1] = was;
}

static int tell_change(moa_run *r, const char *what, const agent *out, const agent *in, double old, double new, int over, moa_err *err) {
    const char *last;
    char key[24], text[400];
    long n = 0;
    MOA_TRY(moa_run_recall(&last, r, CHANGE, "count", err));
    if (last) n = strtol(last, NULL, 10);
    snprintf(key, sizeof key, "%ld", n < 0 || n > 1000000000 ? 1 : n + 1);
    snprintf(text, sizeof text, "%s: %.120s %.3f, %.120s %.3f, over %d questions", what, r->cfg->proposer[out->model]->id, old, r->cfg->proposer[in->model]->id, new, over);
    MOA_TRY(moa_run_keep(r, CHANGE, key, text, err));
    return moa_run_keep(r, CHANGE, "count", key, err);
}

/* The end of a probation. */
static int decide(moa_run *r, roster *t, moa_err *err) {
    agent *old = first(t, WATCHED), *new = first(t, SHADOW);
    const double had = mean_of_last(old, new->n), has = mean_of_last(new, new->n);
    const bool better = has > had + r->cfg->arg[MARGIN];
    MOA_TRY(tell_change(r, better ? "replaced" : "kept", old, new, had, has, new->n, err));
    old->part = better ? BENCH : ACTIVE, new->part = better ? ACTIVE : BENCH;
    agent *gone = better ? old : new;
    if (better) new->served = 0;
    else old->served = 0; /* it has earned another term */
    gone->n = 0, gone->served = 0, gone->reward[0] = 0;
    to_the_end(t, gone);
    return 0;
}

static int learn(moa_run *r, moa_score_fn score, void *ctx, moa_err *err) {
    const moa_mix_cfg *c = r->cfg;
    const roster *asked = r->own;
    roster t;
    if (!score || !asked) return 0;
    MOA_TRY(read_roster(&t, r, err));
    for (int i = 0; i < r->n_node; i++) {
        const moa_agent_node *n = &r->node[i];
        if (!n->backend || n->state < MOA_NODE_DONE || n->rc == MOA_ECANCELED) continue;
        const double cost = c->arg[EFFICIENCY] * (double)n->completion_tokens / (c->max_tokens > 0 ? c->max_tokens : 1);
        const double reward = n->state == MOA_NODE_DONE ? score(ctx, n->text, n->text_len) - cost : 0;
        for (int k = 0; k < t.n; k++) /* as what it answered then: another run may have ended a probation since */
            if (c->proposer[t.a[k].model] == n->backend && (t.a[k].part == SHADOW) == !strcmp(n->role, "shadow") && t.a[k].part != BENCH) add_reward(&t.a[k], reward);
    }
    const agent *shadow = first(&t, SHADOW);
    agent *bench = first(&t, BENCH);
    if (shadow && shadow->n >= (int)c->arg[PROBATION]) MOA_TRY(decide(r, &t, err));
    for (int k = 0; !shadow && bench && k < t.n; k++) {
        agent *a = &t.a[k];
        if (a->part != ACTIVE || a->served < (int)c->arg[SERVICE] || a->n < (int)c->arg[WINDOW] || !(mean_of_last(a, (int)c->arg[WINDOW]) < c->arg[THRESHOLD])) continue;
        a->part = WATCHED;
        *bench = (agent){.part = SHADOW, .model = bench->model};
        MOA_TRY(tell_change(r, "on notice", a, bench, mean_of_last(a, (int)c->arg[WINDOW]), 0, (int)c->arg[WINDOW], err));
        break;
    }
    return write_roster(r, &t, err);
}

const moa_strategy moa_strategy_free_agent = {
    .name = "free-agent", .help = "a roster of models that keep their places by their record; candidates work in the shadow first", .temperature = 0.7f,
    .has = MOA_SEVERAL | MOA_GATHERS | MOA_LEARNS | MOA_ONLINE, .setting = settings, .n_setting = N_SETTING, .check = check, .build = build, .learn = learn};
