/* symbolic_moe.c - Symbolic-MoE (Chen et al., arXiv 2503.05641): the skills that a question asks for say which models are asked, by what these were
 * right and wrong about before; a fixed aggregator merges their replies.
 *
 * Skills of a question: keywords that a model names (tags=model: the judge is asked five times at 0.7; those of at most 20 bytes that it names more
 * than once count), or the question's own words (tags=words, the default: costs nothing, needs no model that follows instructions).
 * Profile (profile=write, on questions with known answers): all models answer, and each skill of the question counts one right or wrong for each.
 * Recruiting (profile=read): with r, w of model m and skill s, n_s questions that had it, N in all,
 *     local(m)    = sum over skills s of the question: ln(N / n_s) (r - w) / (r + w + 2)
 *     global(m)   = softmax over models of accuracy(m) / 0.5
 *     weight(m)   = local(m) global(m), less the smallest where none is positive; not positive: 0
 * and k models are drawn by weight, with replacement (recruit=sample; one under a twentieth of the sum is not drawn), or all k are the best
 * (recruit=best). The paper sums right minus wrong; dividing keeps words that stand in every question from drowning those that tell, as ln does.
 * Without a profile every model is asked once.
 * strategies.def: STRATEGY(symbolic_moe)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/mix.h"
#include "agent/skills.h"
#include "agent/strategy.h"
#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROFILE, TAGS, RECRUIT, N_SETTING };
static const moa_setting settings[N_SETTING] = {
    [PROFILE] = {"profile", "read: recruit by the profile in the store; write: ask all models and make it", 0, 1, 0, true, "read|write", false},
    [TAGS] = {"tags", "skills are the question's words, or what the judge's model names", 0, 1, 0, true, "words|model", false},
    [RECRUIT] = {"recruit", "models are drawn by their weight, or the best is taken", 0, 1, 0, true, "sample|best", false}};
enum { ASK_TAGS = 5, MAX_TAGS = 64, MAX_MODELS = MOA_MAX_PROPOSERS };

static const char SKILL[] = "symbolic-moe/skill", MODEL[] = "symbolic-moe/model";

/* ---- skills of a question ---- */

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* Sorted, each once; seen: those that come so often at least. */
static int distinct(const char **w, int n, int seen) {
    int m = 0;
    if (n > 0) qsort(w, (size_t)n, sizeof *w, by_text);
    for (int i = 0, k; i < n; i += k) {
        for (k = 1; i + k < n && !strcmp(w[i], w[i + k]);) k++;
        if (k >= seen && m < MAX_TAGS) w[m++] = w[i];
    }
    return m;
}

/* "sorting, string handling" or a line each -> lower case, blanks and marks around them gone. */
static int add_keywords(const char **tag, int n, int most, moa_run *r, const char *reply, moa_err *err) {
    for (const char *p = reply; *p && n < most;) {
        const char *end = p + strcspn(p, ",;\n|");
        const char *from = p, *to = end;
        p = *end ? end + 1 : end;
        while (from < to && strchr(" \t\r-*#.\"'`0123456789:", *from)) from++;
        while (to > from && strchr(" \t\r.\"'`:", to[-1])) to--;
        if (to == from || to - from > MOA_WORD_MAX) continue;
        char *t = moa_arena_strndup(r->arena, from, (size_t)(to - from));
        if (!t) return moa_fail(err, MOA_ENOMEM, "a keyword");
        for (char *c = t; *c; c++) {
            if (*c >= 'A' && *c <= 'Z') *c = (char)(*c | 32);
            if ((unsigned char)*c < ' ') *c = ' ';
        }
        tag[n++] = t;
    }
    return n;
}

static int named_tags(const char ***tag, moa_run *r, const moa_agent_node *n, moa_err *err) {
    enum { OF_A_REPLY = 16 };
    int m = 0;
    *tag = moa_arena_alloc(r->arena, (size_t)(n->n_in * OF_A_REPLY + 1) * sizeof **tag);
    if (!*tag) return moa_fail(err, MOA_ENOMEM, "keywords");
    for (int i = 0; i < n->n_in && m >= 0; i++)
        if (r->node[n->in[i]].state == MOA_NODE_DONE) m = add_keywords(*tag, m, m + OF_A_REPLY, r, r->node[n->in[i]].text, err);
    return m < 0 ? m : distinct(*tag, m, 2);
}

static int find_tags(const char ***tag, moa_run *r, const moa_agent_node *n, moa_err *err) {
    const int named = n->n_in ? named_tags(tag, r, n, err) : 0;
    if (named) return named;
    const int words = moa_skill_words(tag, r->arena, moa_question(r), MOA_WORDS_MAX, err);
    return words < 0 ? words : distinct(*tag, words, 1);
}

static int compose_tagger(moa_run *r, moa_agent_node *n, moa_err *err) {
    return moa_compose_ask(r, n, "Name 2 to 5 skills that the user's question asks for: keywords of one or two words, with commas between. Do not answer the question.", NULL, err);
}

/* ---- the profile ---- */

typedef struct tally { double right, wrong; } tally;

static bool parse_tally(tally *t, const char *s, const char **end) {
    char *stop;
    t->right = strtod(s, &stop);
    if (stop == s || *stop != ' ') return false;
    t->wrong = strtod(s = stop + 1, &stop);
    *end = stop;
    return stop != s && t->right >= 0 && t->right < 1e12 && t->wrong >= 0 && t->wrong < 1e12;
}

/* Lines "right wrong MODEL"; what is no such line counts nothing. */
static tally tally_of(const char *value, const char *model) {
    const size_t n = strlen(model);
    for (const char *p = value; p && *p;) {
        const char *end = p + strcspn(p, "\n"), *name;
        tally t;
        if (parse_tally(&t, p, &name) && *name == ' ' && (size_t)(end - name - 1) == n && !memcmp(name + 1, model, n)) return t;
        p = *end ? end + 1 : end;
    }
    return (tally){0, 0};
}

static int keep_tallies(moa_run *r, const char *kind, const char *key, const tally *t, moa_err *err) {
    moa_buf b;
    moa_buf_init(&b, 64 << 10);
    for (int i = 0; i < r->cfg->n_proposer; i++) moa_buf_addf(&b, "%.0f %.0f %s\n", t[i].right, t[i].wrong, r->cfg->proposer[i]->id);
    const int rc = b.failed ? moa_fail(err, b.failed, "a profile of %d models", r->cfg->n_proposer) : moa_run_keep(r, kind, key, moa_buf_str(&b), err);
    moa_buf_deinit(&b);
    return rc;
}

static int recall_tallies(tally *t, moa_run *r, const char *kind, const char *key, moa_err *err) {
    const char *value;
    MOA_TRY(moa_run_recall(&value, r, kind, key, err));
    for (int i = 0; i < r->cfg->n_proposer; i++) t[i] = tally_of(value, r->cfg->proposer[i]->id);
    return 0;
}

static double seen(const tally *t, int n) {
    double most = 0;
    for (int i = 0; i < n; i++) most = t[i].right + t[i].wrong > most ? t[i].right + t[i].wrong : most;
    return most;
}

typedef struct plan { const char **tag; int n_tag; } plan; /* r->own */

/* weight[models]; false: no profile. */
static int weigh(bool *known, double *weight, moa_run *r, const plan *p, moa_err *err) {
    const int n = r->cfg->n_proposer;
    tally all[MAX_MODELS], t[MAX_MODELS];
    double sum = 0, least = 0, most = -1;
    MOA_TRY(recall_tallies(all, r, MODEL, "all", err));
    const double total = seen(all, n);
    *known = total > 0;
    for (int i = 0; i < n; i++) weight[i] = 0;
    for (int k = 0; *known && k < p->n_tag; k++) {
        MOA_TRY(recall_tallies(t, r, SKILL, p->tag[k], err));
        const double n_s = seen(t, n);
        if (!(n_s > 0) || n_s >= total) continue;
        for (int i = 0; i < n; i++) weight[i] += log(total / n_s) * (t[i].right - t[i].wrong) / (t[i].right + t[i].wrong + 2);
    }
    for (int i = 0; i < n; i++) sum += exp(all[i].right / (all[i].right + all[i].wrong + 1e-9) / 0.5);
    for (int i = 0; i < n; i++) most = weight[i] > most ? weight[i] : most, least = weight[i] < least ? weight[i] : least;
    for (int i = 0; i < n; i++) {
        if (!(most > 0)) weight[i] -= least;
        weight[i] = weight[i] > 0 ? weight[i] * exp(all[i].right / (all[i].right + all[i].wrong + 1e-9) / 0.5) / sum : 0;
    }
    return 0;
}

static int best_of(const double *w, int n) {
    int best = 0;
    for (int i = 1; i < n; i++) best = w[i] > w[best] ? i : best;
    return best;
}

/* times[models]: how often each is asked, k in all. Nobody has a weight: the strongest, which is what weight would be by chance. */
static void draw(int *times, const double *weight, moa_run *r, int k) {
    const int n = r->cfg->n_proposer;
    double w[MAX_MODELS], sum = 0, kept = 0;
    moa_rng g;
    moa_rng_seed2(&g, r->seed, 0x5E);
    for (int i = 0; i < n; i++) times[i] = 0, sum += weight[i];
    for (int i = 0; i < n; i++) w[i] = weight[i] >= sum / 20 ? weight[i] : 0, kept += w[i];
    if ((int)r->cfg->arg[RECRUIT] || !(kept > 0)) {
        times[best_of(weight, n)] = k;
        return;
    }
    for (int j = 0; j < k; j++) {
        double at = moa_rng_f64(&g) * kept;
        int i = 0, last = best_of(w, n);
        for (; i < n; i++) {
            if (!(w[i] > 0)) continue;
            if ((at -= w[i]) < 0) break;
        }
        times[i < n ? i : last]++;
    }
}

/* ---- the graph ---- */

static int ask(moa_run *r, const int *times, bool merge, moa_err *err) {
    const int n = r->cfg->n_proposer;
    int *id, m = 0;
    for (int i = 0; i < n; i++) m += times[i];
    if (!(id = moa_arena_alloc(r->arena, (size_t)m * sizeof *id))) return moa_fail(err, MOA_ENOMEM, "%d recruits", m);
    m = 0;
    for (int i = 0; i < n; i++) {
        moa_mix_cfg one = *r->cfg;
        char prefix[24];
        one.proposer = r->cfg->proposer + i, one.n_proposer = 1;
        snprintf(prefix, sizeof prefix, "m%d.", i + 1);
        MOA_TRY(moa_add_proposers(id + m, r, &one, prefix, times[i], NULL, 0, err));
        m += times[i];
    }
    const int last = m == 1 ? id[0] : merge ? moa_add_aggregator(r, r->cfg, "agg", id, m, err) : moa_add_vote(r, r->cfg, "vote", id, m, err);
    if (last < 0) return last;
    r->answer = last;
    return 0;
}

static void tell(moa_run *r, moa_agent_node *n, const plan *p, const double *weight, const int *times) {
    char who[400] = "";
    size_t at = 0;
    for (int i = 0; i < r->cfg->n_proposer && at < sizeof who; i++) {
        const int k = snprintf(who + at, sizeof who - at, "%s%d of %.60s (%.2f)", at ? ", " : "", times[i], r->cfg->proposer[i]->id, weight[i]);
        at += k > 0 ? (size_t)k : 0;
    }
    moa_node_note(r, n, "%d skills: %s", p->n_tag, who);
}

static int recruit(moa_run *r, moa_agent_node *n, moa_err *err) {
    const int self = (int)(n - r->node), n_model = r->cfg->n_proposer, k = r->cfg->n;
    double weight[MAX_MODELS] = {0};
    int times[MAX_MODELS];
    bool known = false;
    plan *p = moa_arena_calloc(r->arena, sizeof *p);
    if (!p) return moa_fail(err, MOA_ENOMEM, "a plan");
    r->own = p;
    p->n_tag = find_tags(&p->tag, r, n, err);
    if (p->n_tag < 0) return p->n_tag;
    const bool writes = (int)r->cfg->arg[PROFILE];
    if (!writes) MOA_TRY(weigh(&known, weight, r, p, err));
    for (int i = 0; i < n_model; i++) times[i] = 1;
    if (known) draw(times, weight, r, k);
    MOA_TRY(ask(r, times, !writes, err));
    n = &r->node[self];
    n->text = moa_arena_strndup(r->arena, "", 0), n->text_len = 0;
    if (known) tell(r, n, p, weight, times);
    else moa_node_note(r, n, writes ? "writes the profile: every model is asked" : "no profile in the store: every model is asked");
    return n->text ? 0 : moa_fail(err, MOA_ENOMEM, "a plan");
}

static int build(moa_run *r, const moa_mix_cfg *c, moa_err *err) {
    int tag[ASK_TAGS], n = 0;
    if (c->n_proposer > MAX_MODELS) return moa_fail(err, MOA_ELIMIT, "more than %d models", MAX_MODELS);
    for (; (int)c->arg[TAGS] && n < ASK_TAGS; n++) {
        char name[24];
        snprintf(name, sizeof name, "tags%d", n + 1);
        tag[n] = moa_add_judge(r, c, name, "tagger", NULL, 0, compose_tagger, err);
        if (tag[n] < 0) return tag[n];
        r->node[tag[n]].sampling.temperature = 0.7f;
    }
    const moa_agent_node node = {.name = "recruit", .role = "router", .in = tag, .n_in = n, .reduce = recruit, .fallback = recruit};
    const int id = moa_run_add(r, &node, err);
    r->answer = id;
    return id < 0 ? id : 0;
}

static int learn(moa_run *r, moa_score_fn score, void *ctx, moa_err *err) {
    const plan *p = r->own;
    const int n = r->cfg->n_proposer;
    int verdict[MAX_MODELS] = {0}; /* 1 right, -1 wrong, 0 never asked */
    tally t[MAX_MODELS];
    if (!score || !p || !(int)r->cfg->arg[PROFILE]) return 0;
    for (int k = 0; k < r->n_node; k++)
        for (int i = 0; i < n && !strcmp(r->node[k].role, "proposer"); i++)
            if (r->node[k].backend == r->cfg->proposer[i] && r->node[k].state == MOA_NODE_DONE) verdict[i] = score(ctx, r->node[k].text, r->node[k].text_len) >= 0.5 ? 1 : -1;
    for (int k = -1; k < p->n_tag; k++) {
        const char *kind = k < 0 ? MODEL : SKILL, *key = k < 0 ? "all" : p->tag[k];
        MOA_TRY(recall_tallies(t, r, kind, key, err));
        for (int i = 0; i < n; i++) t[i].right += verdict[i] > 0, t[i].wrong += verdict[i] < 0;
        MOA_TRY(keep_tallies(r, kind, key, t, err));
    }
    return 0;
}

const moa_strategy moa_strategy_symbolic_moe = {
    .name = "symbolic-moe", .help = "3 models, recruited by the skills that the question asks for, and an aggregator", .n = 3, .temperature = 0.7f,
    .has = MOA_HAS_N | MOA_GATHERS | MOA_AGGREGATES | MOA_JUDGES | MOA_SEVERAL | MOA_LEARNS, .setting = settings, .n_setting = N_SETTING, .build = build, .learn = learn};
