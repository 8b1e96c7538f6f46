/* moe_lm.c - MoE-LM (Chow et al., arXiv 2206.00059): experts with an attribute each write candidates, and a learnt manager picks one.
 *
 * An expert is a model (proposers), an instruction put behind the system message (attributes=A|B|C), or both in turn. The paper trains experts and a manager
 * over a whole dialogue by reinforcement learning; here experts are given and the manager is a linear policy that is learnt from the score of what it
 * picked. With x the vector of the question's words, y_i that of candidate i's (skills.h), pi = softmax over experts of
 *     z_i = u_i . x + b_i + v . y_i
 * policy=use picks the greatest z; policy=learn draws from pi by the run's seed, and REINFORCE (Williams 1992) moves the weights when the reward R is known:
 *     w += rate (R - mean R so far) (d z_chosen / d w - sum over i: pi_i d z_i / d w)
 * strategies.def: STRATEGY(moe_lm)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/mix.h"
#include "agent/screen.h"
#include "agent/skills.h"
#include "agent/strategy.h"
#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POLICY, RATE, ATTRIBUTES, N_SETTING };
static const moa_setting settings[N_SETTING] = {
    [POLICY] = {"policy", "use: the manager's best; learn: drawn from its policy, which then learns from the score", 0, 1, 0, true, "use|learn", false},
    [RATE] = {"rate", "step of learning", 0, 10, 1, false, NULL, false},
    [ATTRIBUTES] = {"attributes", "instructions of experts, A|B|C", 0, 0, 0, false, NULL, true}};
enum { D = MOA_SKILL_DIM, N_WEIGHT = D + 1, MAX_EXPERT = MOA_MAX_PROPOSERS };
static const char KIND[] = "moe-lm/policy";

/* ---- weights in the store: N_WEIGHT numbers; what cannot be read is 0 ---- */

static int read_weights(double *w, moa_run *r, const char *key, moa_err *err) {
    const char *p;
    MOA_TRY(moa_run_recall(&p, r, KIND, key, err));
    for (int i = 0; i < N_WEIGHT; i++) {
        char *end = NULL;
        w[i] = p ? strtod(p, &end) : 0;
        if (!(w[i] > -1e6 && w[i] < 1e6)) w[i] = 0;
        p = end && end != p ? end : NULL;
    }
    return 0;
}

static int write_weights(moa_run *r, const char *key, const double *w, moa_err *err) {
    char text[N_WEIGHT * 16], *at = text;
    for (int i = 0; i < N_WEIGHT; i++) at += snprintf(at, 16, "%.6g ", w[i]);
    return moa_run_keep(r, KIND, key, text, err);
}

static void expert_key(char key[24], int i) { snprintf(key, 24, "expert/%d", i + 1); }

/* ---- picking ---- */

typedef struct choice { moa_skill question, reply[MAX_EXPERT]; double pi[MAX_EXPERT]; bool there[MAX_EXPERT]; int n, chosen; } choice; /* r->own */

static double dot(const double *w, const moa_skill *s) {
    double sum = 0;
    for (int i = 0; i < D; i++) sum += w[i] * (double)s->v[i];
    return sum;
}

static int score_experts(choice *c, moa_run *r, moa_agent_node *n, moa_err *err) {
    bool drop[MAX_EXPERT];
    double u[N_WEIGHT], v[N_WEIGHT], most = -HUGE_VAL, sum = 0;
    MOA_TRY(moa_screen(drop, r, n, false, err));
    MOA_TRY(moa_skill_of(&c->question, r->arena, moa_question(r), err));
    MOA_TRY(read_weights(v, r, "reply", err));
    for (int i = 0; i < c->n; i++) {
        const moa_agent_node *e = &r->node[n->in[i]];
        char key[24];
        c->there[i] = e->state == MOA_NODE_DONE && !drop[i];
        if (!c->there[i]) continue;
        expert_key(key, i);
        MOA_TRY(read_weights(u, r, key, err));
        MOA_TRY(moa_skill_of(&c->reply[i], r->arena, e->text, err));
        c->pi[i] = dot(u, &c->question) + u[D] + dot(v, &c->reply[i]);
        if (c->pi[i] > most) most = c->pi[i], c->chosen = i;
    }
    for (int i = 0; i < c->n; i++) sum += c->pi[i] = c->there[i] ? exp(c->pi[i] - most) : 0;
    for (int i = 0; i < c->n; i++) c->pi[i] /= sum;
    return 0;
}

static int pick(moa_run *r, moa_agent_node *n, moa_err *err) {
    choice *c = moa_arena_calloc(r->arena, sizeof *c);
    if (!c) return moa_fail(err, MOA_ENOMEM, "a choice");
    c->n = n->n_in, c->chosen = -1;
    MOA_TRY(score_experts(c, r, n, err));
    if (c->chosen < 0) return moa_fail(err, MOA_EINVAL, "%s: no candidate", n->name);
    if ((int)r->cfg->arg[POLICY]) {
        moa_rng g;
        moa_rng_seed2(&g, r->seed, 0x3E);
        double at = moa_rng_f64(&g);
        for (int i = 0; i < c->n; i++)
            if (c->there[i] && (at -= c->pi[i]) < 0) {
                c->chosen = i;
                break;
            }
    }
    r->own = c;
    const moa_agent_node *e = &r->node[n->in[c->chosen]];
    n->text = e->text, n->text_len = e->text_len;
    moa_node_note(r, n, "picked %s: probability %.3f", e->name, c->pi[c->chosen]);
    return 0;
}

static int n_attributes(const moa_mix_cfg *c) {
    int n = 0;
    for (const char *p = c->word[ATTRIBUTES]; p && *p; p++) n += p == c->word[ATTRIBUTES] || *p == '|';
    return n;
}

static int compose(moa_run *r, moa_agent_node *n, moa_err *err) { return moa_compose_ask(r, n, n->own, NULL, err); }

static int build(moa_run *r, const moa_mix_cfg *c, moa_err *err) {
    const int n_text = n_attributes(c), n = n_text > c->n_proposer ? n_text : c->n_proposer;
    int id[MAX_EXPERT];
    const char *p = n_text ? c->word[ATTRIBUTES] : NULL;
    if (n > MAX_EXPERT) return moa_fail(err, MOA_ELIMIT, "more than %d experts", MAX_EXPERT);
    MOA_TRY(moa_add_proposers(id, r, c, "expert", n, NULL, 0, err));
    for (int i = 0; i < n && p; i++) {
        const size_t len = strcspn(p, "|");
        moa_agent_node *e = &r->node[id[i]];
        if (!(e->own = moa_arena_strndup(r->arena, p, len))) return moa_fail(err, MOA_ENOMEM, "an attribute");
        e->compose = compose;
        p = p[len] && i + 1 < n_text ? p + len + 1 : c->word[ATTRIBUTES];
    }
    const moa_agent_node node = {.name = "manager", .role = "router", .in = id, .n_in = n, .reduce = pick, .need = c->need < n ? c->need : n, .grace_s = c->grace_s};
    const int last = moa_run_add(r, &node, err);
    return last < 0 ? last : 0;
}

/* ---- learning ---- */

static int baseline(double *mean, moa_run *r, double reward, moa_err *err) {
    const char *value;
    double n = 0, sum = 0;
    char text[64];
    MOA_TRY(moa_run_recall(&value, r, KIND, "rewards", err));
    if (!value || sscanf(value, "%lf %lf", &n, &sum) != 2 || !(n > 0 && n < 1e12 && sum >= 0 && sum <= n)) n = sum = 0;
    *mean = n > 0 ? sum / n : 0;
    snprintf(text, sizeof text, "%.17g %.17g", n + 1, sum + reward);
    return moa_run_keep(r, KIND, "rewards", text, err);
}

static int learn(moa_run *r, moa_score_fn score, void *ctx, moa_err *err) {
    const choice *c = r->own;
    double mean, w[N_WEIGHT];
    if (!score || !c || !(int)r->cfg->arg[POLICY]) return 0;
    const moa_agent_node *said = &r->node[r->answer];
    const double reward = said->text ? score(ctx, said->text, said->text_len) : 0;
    MOA_TRY(baseline(&mean, r, reward < 0 ? 0 : reward > 1 ? 1 : reward, err));
    const double step = r->cfg->arg[RATE] * (reward - mean);
    for (int i = 0; i < c->n; i++) {
        char key[24];
        if (!c->there[i]) continue;
        const double g = step * ((i == c->chosen) - c->pi[i]);
        expert_key(key, i);
        MOA_TRY(read_weights(w, r, key, err));
        for (int d = 0; d < D; d++) w[d] += g * (double)c->question.v[d];
        w[D] += g;
        MOA_TRY(write_weights(r, key, w, err));
    }
    MOA_TRY(read_weights(w, r, "reply", err));
    for (int i = 0; i < c->n; i++)
        for (int d = 0; d < D && c->there[i]; d++) w[d] += step * ((i == c->chosen) - c->pi[i]) * (double)c->reply[i].v[d];
    return write_weights(r, "reply", w, err);
}

const moa_strategy moa_strategy_moe_lm = {
    .name = "moe-lm", .help = "experts write candidates, a learnt manager picks one", .temperature = 0.7f, .has = MOA_GATHERS | MOA_SEVERAL | MOA_LEARNS | MOA_ONLINE,
    .setting = settings, .n_setting = N_SETTING, .build = build, .learn = learn};
