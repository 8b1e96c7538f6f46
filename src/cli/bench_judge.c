/* bench_judge.c - moa bench judge [JUDGE]: how often a judge is right about replies of the model of -m to held-out questions of microworld, where the
 * checker knows. --runs: questions of each family (20); 6 replies each, temperature 0.7.
 *
 *   rate        replies: 5 and more for a right one, less for a wrong one; mean of both shares, so that guessing is 50 %
 *   compare     pairs of a right and a wrong reply, both orders: the right one is called better
 *   choose      the first choice out of 6 is right; beside it, the share of right ones
 *   consistent  the choice is one of the most frequent answer; beside it, the share of that answer
 *   end         "enough of them are right" where half and more are, "not enough" where fewer are; beside it, the share of the more frequent case
 *
 * rate, compare and choose count questions with right and wrong replies, consistent those with different answers. A reply of the judge that cannot
 * be read is wrong. Each question gives one number, of which the mean is shown with its 95 % bootstrap interval. The judge is asked by
 * the strategies that ask judges, so these are their prompts. JUDGE: a model, such as moa-tiny@critic; without one it is the model itself.
 * benches.def: BENCH(judge)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/stats.h"
#include "agent/strategy.h"
#include "base/err.h"
#include "cli/bench.h"
#include "cli/mixopt.h"
#include "task/taskset.h"

#include <stdlib.h>
#include <string.h>

enum { REPLIES = 6, QUESTIONS = 20 };
enum { RATE, COMPARE, CHOOSE, CONSISTENT, END, N_ASK };
static const char *const asks[N_ASK] = {"rate", "compare", "choose", "consistent", "end"};

typedef struct tally { double *x; int n; double chance; } tally; /* a number a question; chance: sum of what guessing would give */
typedef struct trial {
    moa_backend *model, *judge;
    const moa_item *item;
    bool right[REPLIES];
    int n_right;
    tally t[N_ASK];
} trial;

static void add(trial *t, int ask, double x, double chance) {
    t->t[ask].x[t->t[ask].n++] = x;
    t->t[ask].chance += chance;
}

static int play(moa_run **r, moa_mix_cfg *c, trial *t, const moa_message *m, uint64_t seed, moa_err *err) {
    c->proposer = &t->model, c->n_proposer = 1, c->judge = t->judge, c->n = REPLIES;
    MOA_TRY(moa_run_new(r, c, m, 1, seed, err));
    const int rc = moa_run_execute(*r, NULL, NULL, err);
    if (rc < 0) moa_run_free(*r);
    return rc;
}

static const moa_agent_node *named(const moa_run *r, const char *name) {
    for (int i = 0; i < r->n_node; i++)
        if (!strcmp(r->node[i].name, name)) return &r->node[i];
    return NULL;
}

static void look_at_replies(trial *t, const moa_run *r) {
    t->n_right = 0;
    for (int i = 0; i < REPLIES; i++) {
        const moa_agent_node *n = &r->node[i];
        t->right[i] = n->state == MOA_NODE_DONE && moa_item_check(t->item, n->text, n->text_len);
        t->n_right += t->right[i];
    }
}

static bool mixed(const trial *t) { return t->n_right > 0 && t->n_right < REPLIES; }

static void rate(trial *t, const moa_run *r) {
    int hit[2] = {0, 0};
    if (!mixed(t)) return;
    for (int i = 0; i < REPLIES; i++) {
        char name[24];
        snprintf(name, sizeof name, "rate%d", i + 1);
        const double s = moa_rating(r, named(r, name), false);
        hit[t->right[i]] += s >= 0 && (s >= 5) == t->right[i];
    }
    add(t, RATE, 0.5 * hit[1] / t->n_right + 0.5 * hit[0] / (REPLIES - t->n_right), 0.5);
}

static void compare(trial *t, const moa_run *r) {
    int n = 0, hit = 0;
    for (int i = 0; i < r->n_node; i++) {
        const moa_agent_node *j = &r->node[i];
        if (strcmp(j->role, "judge") != 0 || j->n_in != 2 || t->right[j->in[0]] == t->right[j->in[1]]) continue;
        const int first = moa_preferred(r, j);
        n++;
        hit += first >= 0 && t->right[j->in[first]];
    }
    if (n) add(t, COMPARE, (double)hit / n, 0.5);
}

/* The replies, which all worked. */
static moa_panel panel(const char *text[REPLIES], const moa_run *r) {
    for (int i = 0; i < REPLIES; i++) text[i] = r->node[i].text ? r->node[i].text : "";
    return (moa_panel){.text = text, .n = REPLIES};
}

static void choose(trial *t, const moa_run *r) {
    const char *text[REPLIES];
    int choice[REPLIES];
    bool end, answered;
    const bool enough = 2 * t->n_right >= REPLIES;
    const moa_panel p = panel(text, r);
    const int n = moa_choice(choice, &end, &answered, named(r, "judge1"), &p);
    if (mixed(t)) add(t, CHOOSE, n > 0 && t->right[choice[0]], (double)t->n_right / REPLIES);
    add(t, END, n > 0 && end == enough, enough);
}

static int consistent(trial *t, const moa_run *r, moa_err *err) {
    const char *text[REPLIES];
    const moa_panel p = panel(text, r);
    moa_ballot b[REPLIES];
    int cluster[REPLIES], size[REPLIES] = {0}, choice[REPLIES];
    bool end, answered;
    moa_vote v;
    for (int i = 0; i < REPLIES; i++) b[i] = (moa_ballot){.text = r->node[i].text, .n = r->node[i].text_len, .sum_logprob = r->node[i].sum_logprob};
    MOA_TRY(moa_vote_count(&v, cluster, b, REPLIES, err));
    if (v.n_cluster < 2) return 0;
    for (int i = 0; i < REPLIES; i++)
        if (cluster[i] >= 0) size[cluster[i]]++;
    const bool chose = moa_choice(choice, &end, &answered, named(r, "choose"), &p) > 0;
    add(t, CONSISTENT, chose && cluster[choice[0]] >= 0 && size[cluster[choice[0]]] == v.size, (double)v.size / REPLIES);
    return 0;
}

static int question(trial *t, uint64_t seed, moa_err *err) {
    static const char *const strategy[] = {"best-of-n", "ranker", "smoa", "universal-self-consistency"};
    const moa_message m = {"user", moa_buf_str(&t->item->question)};
    for (int i = 0; i < 4; i++) {
        moa_mix_cfg c = moa_mix_defaults(strategy[i]);
        moa_run *r;
        if (i == 2) MOA_TRY(moa_mix_set(&c, "rounds", "1", err));
        if (i == 2) MOA_TRY(moa_mix_set(&c, "select", "1", err));
        MOA_TRY(play(&r, &c, t, &m, seed, err));
        look_at_replies(t, r);
        int rc = 0;
        if (i == 0) rate(t, r);
        else if (i == 1) compare(t, r);
        else if (i == 2) choose(t, r);
        else rc = consistent(t, r, err);
        moa_run_free(r);
        MOA_TRY(rc);
    }
    return 0;
}

static void report(const trial *t, bool json, const char *model, const char *judge) {
    if (!json) printf("replies of %s, judged by %s\n%-12s %10s  %-18s %8s  questions\n", model, judge, "", "right", "95 % interval", "guessing");
    for (int i = 0; i < N_ASK; i++) {
        const tally *a = &t->t[i];
        double ci[2], chance = a->n ? a->chance / a->n : 0;
        if (i == END && chance < 0.5) chance = 1 - chance;
        moa_bootstrap_ci(ci, a->x, a->n, 1);
        if (json) printf("{\"ask\":\"%s\",\"right\":%.4f,\"low\":%.4f,\"high\":%.4f,\"guessing\":%.4f,\"questions\":%d}\n", asks[i], moa_mean(a->x, a->n), ci[0], ci[1], chance, a->n);
        else printf("%-12s %8.1f %%  %5.1f .. %5.1f     %6.1f %%  %d\n", asks[i], 100 * moa_mean(a->x, a->n), 100 * ci[0], 100 * ci[1], 100 * chance, a->n);
    }
}

static int measure(trial *t, const moa_bench_opt *o, moa_err *err) {
    moa_taskset *set;
    MOA_TRY(moa_taskset_open(&set, "microworld", 1, o->runs ? o->runs : QUESTIONS, err));
    const int n = moa_taskset_count(set);
    int rc = 0;
    for (int i = 0; i < N_ASK && rc >= 0; i++)
        if (!(t->t[i].x = calloc((size_t)n, sizeof(double)))) rc = moa_fail(err, MOA_ENOMEM, "%d questions", n);
    for (int i = 0; i < n && rc >= 0; i++) {
        t->item = moa_taskset_item(set, i);
        rc = question(t, (uint64_t)i + 1, err);
    }
    moa_taskset_free(set);
    return rc;
}

static int run(const moa_bench_opt *o, moa_err *err) {
    moa_mix_options models = {.n_threads = o->threads, .kv_type = o->kv, .repack = o->repack, .draft = o->draft};
    trial t = {0};
    moa_backend *model, *judge;
    moa_journal *j = NULL; /* the replies are computed once for all asks */
    moa_pool *pool;
    MOA_TRY(moa_pool_new(&pool, moa_cli_model_path, moa_cli_open_model, &models, err));
    int rc = moa_pool_get(&model, pool, o->model, err);
    if (rc >= 0) rc = moa_pool_get(&judge, pool, o->arg ? o->arg : o->model, err);
    if (rc >= 0) rc = moa_journal_open(&j, NULL, err);
    if (rc >= 0) rc = moa_backend_journal_open(&t.model, j, model, err);
    if (rc >= 0) rc = moa_backend_journal_open(&t.judge, j, judge, err);
    if (rc >= 0) rc = measure(&t, o, err);
    if (rc >= 0) report(&t, o->json, model->id, judge->id);
    for (int i = 0; i < N_ASK; i++) free(t.t[i].x);
    moa_backend_close(t.model);
    moa_backend_close(t.judge);
    moa_journal_close(j);
    moa_pool_free(pool);
    return rc;
}

const moa_bench moa_bench_judge = {.name = "judge", .help = "how often a judge (ARG) is right about replies of the model to held-out questions", .run = run};
