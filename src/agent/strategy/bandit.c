/* bandit.c - which of several models is asked is learnt from how good their replies were, apart for every kind of question.
 *
 * The rule is the asymmetric UCB of ShinkaEvolve (arXiv 2509.19349; SakanaAI/ShinkaEvolve), an upper confidence bound (Auer et al. 2002) in which a
 * reply that is worse than a baseline counts as nothing, not as a loss. For model i, asked n_i times in this cluster, t = sum n_i:
 *     score_i = (1 - l) (m_i + c sqrt(2 ln t / n_i)) + l / (1 + cost_i / cost_med)
 * m_i: mean of max(reward - baseline, 0); cost_i: mean dollars of a reply, or its tokens where nobody has a price; cost_med: the median over the
 * models; l, c: settings. Rewards are 0 to 1, so that theirs, which divides by the range seen, is not needed; the form of the cost's part is ours. A model that was never asked goes first, in the order of the proposers. With
 * probability epsilon any model is asked. What was counted before a reply fades by the factor `decay`, for models that change.
 * A cluster that is young borrows: a model's record over all clusters, (rewards + 1) / (replies + 2), counts there like `prior` replies, so that what is worse
 * everywhere need not be found out anew for every kind of question.
 * Clusters: the question's vector of words (skills.h) belongs to the nearest center; one farther than `similar` founds a new one (leader clustering).
 * A model that cannot be reached is one that was wrong: the next best is asked.
 * strategies.def: STRATEGY(bandit)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/arms.h"
#include "agent/mix.h"
#include "agent/skills.h"
#include "agent/strategy.h"
#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXPLORE, EPSILON, COST, DECAY, BASELINE, CLUSTERS, SIMILAR, PRIOR, N_SETTING };
static const moa_setting settings[N_SETTING] = {
    [EXPLORE] = {"explore", "c, weight of what is not known yet", 0, 10, 0.3, false, NULL, false},
    [EPSILON] = {"epsilon", "share of questions for which any model is drawn", 0, 1, 0, false, NULL, false},
    [COST] = {"cost", "weight of costs against replies' quality", 0, 1, 0, false, NULL, false},
    [DECAY] = {"decay", "by which earlier replies count less at each new one; 1: all count alike", 0.5, 1, 1, false, NULL, false},
    [BASELINE] = {"baseline", "reward up to which a reply is worth nothing", 0, 0.99, 0, false, NULL, false},
    [CLUSTERS] = {"clusters", "kinds of questions that are told apart at most", 1, 64, 16, true, NULL, false},
    [SIMILAR] = {"similar", "cosine to a cluster's center from which a question belongs to it", 0, 1, 0.35, false, NULL, false},
    [PRIOR] = {"prior", "replies in a cluster that a model's record in all clusters counts for", 0, 1000, 4, false, NULL, false}};

typedef moa_arm arm;
typedef struct choice {
    int cluster, n_cluster;
    moa_skill skill;
    arm *arm;              /* of each proposer */
    int drawn;             /* by epsilon: asked first; -1: nobody */
    int n;                 /* calls so far */
} choice;

/* ---- the store ---- */

static const char CENTER[] = "bandit/center", ARM[] = "bandit/arm";

static int find_cluster(choice *c, moa_run *r, moa_err *err) {
    const int most = (int)r->cfg->arg[CLUSTERS];
    double best = -2;
    c->cluster = 0;
    for (c->n_cluster = 0; c->n_cluster < most; c->n_cluster++) {
        char key[16];
        const char *value;
        moa_skill center;
        snprintf(key, sizeof key, "%d", c->n_cluster);
        MOA_TRY(moa_run_recall(&value, r, CENTER, key, err));
        if (!moa_skill_read(&center, value)) break;
        const double cosine = moa_skill_cosine(&c->skill, &center);
        if (cosine > best) best = cosine, c->cluster = c->n_cluster;
    }
    if (c->n_cluster < most && best < r->cfg->arg[SIMILAR]) c->cluster = c->n_cluster;
    return 0;
}

enum { ALL = -1 }; /* in place of a cluster: over all of them */
static void arm_key(char key[300], int cluster, const moa_backend *b) {
    if (cluster == ALL) snprintf(key, 300, "all/%.250s", b->id);
    else snprintf(key, 300, "%d/%.250s", cluster, b->id);
}

/* "n reward cost", sums; what cannot be read was never asked. */
static int read_arm(arm *a, moa_run *r, int cluster, const moa_backend *b, moa_err *err) {
    char key[300];
    const char *value;
    arm_key(key, cluster, b);
    *a = (arm){0};
    MOA_TRY(moa_run_recall(&value, r, ARM, key, err));
    if (!value || sscanf(value, "%lf %lf %lf", &a->n, &a->reward, &a->cost) != 3 || !(a->n > 0 && a->n < 1e15) || !(a->reward >= 0 && a->reward <= a->n) || !(a->cost >= 0 && a->cost < 1e15))
        *a = (arm){0};
    return 0;
}

static int write_arm(moa_run *r, int cluster, const moa_backend *b, const arm *a, moa_err *err) {
    char key[300], value[100];
    arm_key(key, cluster, b);
    snprintf(value, sizeof value, "%.17g %.17g %.17g", a->n, a->reward, a->cost);
    return moa_run_keep(r, ARM, key, value, err);
}

/* ---- choosing ---- */

static int read_with_prior(arm *a, moa_run *r, int cluster, const moa_backend *b, moa_err *err) {
    const double prior = r->cfg->arg[PRIOR];
    arm all;
    MOA_TRY(read_arm(a, r, cluster, b, err));
    MOA_TRY(read_arm(&all, r, ALL, b, err));
    if (all.n > 0) a->n += prior, a->reward += prior * (all.reward + 1) / (all.n + 2), a->cost += prior * all.cost / all.n;
    return 0;
}

static int fails_over(moa_run *r, moa_agent_node *n, moa_err *err);

/* The best of those not asked yet; -1: none is left. */
static int best_left(const choice *c, int n_arm) {
    int best = -1;
    for (int i = 0; i < n_arm; i++)
        if (!c->arm[i].asked && (best < 0 || c->arm[i].score > c->arm[best].score)) best = i;
    return best;
}

static int ask_next(moa_run *r, moa_err *err) {
    choice *c = r->own;
    const int best = c->n == 0 && c->drawn >= 0 ? c->drawn : best_left(c, r->cfg->n_proposer);
    int id;
    if (best < 0) return moa_fail(err, MOA_ENOTFOUND, "no model is left");
    c->arm[best].asked = true;
    moa_mix_cfg one = *r->cfg;
    one.proposer = r->cfg->proposer + best, one.n_proposer = 1;
    char prefix[24];
    snprintf(prefix, sizeof prefix, "p%d.", ++c->n);
    MOA_TRY(moa_add_proposers(&id, r, &one, prefix, 1, NULL, 0, err));
    r->node[id].fallback = fails_over;
    r->answer = id;
    return best;
}

/* No text stands in: another call does. */
static int fails_over(moa_run *r, moa_agent_node *n, moa_err *err) {
    const int self = (int)(n - r->node), rc = ask_next(r, err);
    if (rc < 0) return rc;
    moa_node_note(r, &r->node[self], "%s is asked in its place", r->cfg->proposer[rc]->id);
    return moa_fail(err, MOA_ENOTFOUND, "another is asked");
}

static int choose(moa_run *r, moa_agent_node *n, moa_err *err) {
    const int self = (int)(n - r->node), n_arm = r->cfg->n_proposer;
    choice *c = moa_arena_calloc(r->arena, sizeof *c);
    if (!c || !(c->arm = moa_arena_calloc(r->arena, (size_t)n_arm * sizeof *c->arm))) return moa_fail(err, MOA_ENOMEM, "a choice of %d models", n_arm);
    r->own = c;
    MOA_TRY(moa_skill_of(&c->skill, r->arena, moa_question(r), err));
    MOA_TRY(find_cluster(c, r, err));
    for (int i = 0; i < n_arm; i++) MOA_TRY(read_with_prior(&c->arm[i], r, c->cluster, r->cfg->proposer[i], err));
    moa_arms_score(c->arm, n_arm, r->cfg->arg[EXPLORE], r->cfg->arg[COST], false);
    moa_rng g;
    moa_rng_seed2(&g, r->seed, 0xBA);
    const bool any = moa_rng_f64(&g) < r->cfg->arg[EPSILON];
    c->drawn = any ? (int)moa_rng_below(&g, (uint32_t)n_arm) : -1;
    const int best = ask_next(r, err);
    if (best < 0) return best;
    n = &r->node[self];
    const char *id = r->cfg->proposer[best]->id;
    n->text = moa_arena_strndup(r->arena, id, strlen(id));
    n->text_len = n->text ? strlen(n->text) : 0;
    const arm *a = &c->arm[best];
    if (any) moa_node_note(r, n, "cluster %d: %s, drawn by epsilon", c->cluster, id);
    else if (a->n > 0) moa_node_note(r, n, "cluster %d: %s, score %.3f: reward %.3f in %.4g replies", c->cluster, id, a->score, a->reward / a->n, a->n);
    else moa_node_note(r, n, "cluster %d: %s, never asked yet", c->cluster, id);
    return n->text ? 0 : moa_fail(err, MOA_ENOMEM, "a name");
}

/* Chosen when the run begins, not when it is built: a replay knows what the store said only then. */
static int build(moa_run *r, const moa_mix_cfg *c, moa_err *err) {
    if (c->n_proposer > MOA_MAX_PROPOSERS) return moa_fail(err, MOA_ELIMIT, "more than %d models", MOA_MAX_PROPOSERS);
    const moa_agent_node node = {.name = "choose", .role = "router", .reduce = choose};
    const int id = moa_run_add(r, &node, err);
    r->answer = id;
    return id < 0 ? id : 0;
}

/* ---- learning ---- */

static double cost_of(const moa_run *r, const moa_agent_node *n) {
    for (int i = 0; i < r->cfg->n_proposer; i++)
        if (r->cfg->proposer[i]->price_prompt > 0 || r->cfg->proposer[i]->price_completion > 0) return n->cost;
    return (double)n->completion_tokens;
}

static int count(moa_run *r, int cluster, moa_score_fn score, void *ctx, moa_err *err) {
    const moa_mix_cfg *cfg = r->cfg;
    arm *a = moa_arena_calloc(r->arena, (size_t)cfg->n_proposer * sizeof *a);
    if (!a) return moa_fail(err, MOA_ENOMEM, "%d models", cfg->n_proposer);
    for (int k = 0; k < cfg->n_proposer; k++) MOA_TRY(read_arm(&a[k], r, cluster, cfg->proposer[k], err));
    for (int i = 0; i < r->n_node; i++) {
        const moa_agent_node *n = &r->node[i];
        if (!n->backend || n->state < MOA_NODE_DONE || n->rc == MOA_ECANCELED) continue;
        const double reward = n->state == MOA_NODE_DONE ? score(ctx, n->text, n->text_len) : 0, over = (reward - cfg->arg[BASELINE]) / (1 - cfg->arg[BASELINE]);
        for (int k = 0; k < cfg->n_proposer; k++) { /* all fade together, so that they stay comparable */
            a[k].n *= cfg->arg[DECAY], a[k].reward *= cfg->arg[DECAY], a[k].cost *= cfg->arg[DECAY];
            if (cfg->proposer[k] == n->backend) a[k].n += 1, a[k].reward += over > 0 ? over : 0, a[k].cost += cost_of(r, n);
        }
    }
    for (int k = 0; k < cfg->n_proposer; k++)
        if (a[k].n > 0) MOA_TRY(write_arm(r, cluster, cfg->proposer[k], &a[k], err));
    return 0;
}

/* The cluster is looked for anew: others may have founded it since this run began. */
static int learn(moa_run *r, moa_score_fn score, void *ctx, moa_err *err) {
    choice c = {0};
    if (!score || !r->own) return 0;
    c.skill = ((const choice *)r->own)->skill;
    MOA_TRY(find_cluster(&c, r, err));
    if (c.cluster == c.n_cluster) {
        char key[16], text[MOA_SKILL_TEXT];
        snprintf(key, sizeof key, "%d", c.cluster);
        moa_skill_write(text, &c.skill);
        MOA_TRY(moa_run_keep(r, CENTER, key, text, err));
    }
    MOA_TRY(count(r, c.cluster, score, ctx, err));
    return count(r, ALL, score, ctx, err);
}

const moa_strategy moa_strategy_bandit = {
    .name = "bandit", .help = "one of several models, which one is learnt for each kind of question", .temperature = 0.7f, .has = MOA_SEVERAL | MOA_LEARNS | MOA_ONLINE,
    .setting = settings, .n_setting = N_SETTING, .build = build, .learn = learn};
