/* setting.c - the settings of mixes by name: those that many strategies share, and each strategy's own.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/run.h"

#include "base/nearest.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Shared by all strategies that have what `has` says (run.h); `at` is the place in moa_mix_cfg. */
typedef struct shared { moa_setting p; unsigned has; enum { INT, FLOAT, DOUBLE } type; size_t at; } shared;
#define WHOLE(key, help, lo, hi, has, field) {{key, help, lo, hi, 0, true, NULL, false}, has, INT, offsetof(moa_mix_cfg, field)}
#define REAL(key, help, lo, hi, has, type, field) {{key, help, lo, hi, 0, false, NULL, false}, has, type, offsetof(moa_mix_cfg, field)}
#define WORDS(key, help, words, has, field) {{key, help, 0, 0, 0, true, words, false}, has, INT, offsetof(moa_mix_cfg, field)}
static const shared table[] = {
    WHOLE("n", "proposals", 1, 256, MOA_HAS_N, n),
    WHOLE("quorum", "proposals that must have worked (default 1)", 1, 256, MOA_GATHERS, need),
    REAL("grace", "seconds that late proposals get when the quorum is there", 0, 3600, MOA_GATHERS, DOUBLE, grace_s),
    REAL("deadline", "seconds after which the answer is made of what is there", 0, 86400, 0, DOUBLE, deadline_s),
    REAL("temperature", "of proposals", 0, 5, 0, FLOAT, propose.temperature),
    WHOLE("top-k", "of proposals", 0, 1e6, 0, propose.top_k),
    REAL("top-p", "of proposals", 0, 1, 0, FLOAT, propose.top_p),
    REAL("min-p", "of proposals", 0, 1, 0, FLOAT, propose.min_p),
    REAL("repeat-penalty", "of proposals", 0.1, 10, 0, FLOAT, propose.repeat_penalty),
    WHOLE("max-tokens", "of a proposal", 1, 1e6, 0, max_tokens),
    REAL("aggregate-temperature", "of the aggregator (default 0)", 0, 5, MOA_AGGREGATES, FLOAT, aggregate.temperature),
    WHOLE("aggregate-max-tokens", "of the aggregator (default: as max-tokens)", 1, 1e6, MOA_AGGREGATES, aggregate_max_tokens),
    WORDS("until", "ask for proposals until all are there, or until they agree", "all|agree", MOA_GATHERS, until),
    REAL("error", "until=agree: probability that another answer is the most frequent one", 0, 0.5, MOA_GATHERS, DOUBLE, error),
    WHOLE("wave", "proposals asked at a time (default: all)", 1, 256, MOA_GATHERS | MOA_HAS_N, wave),
    WORDS("same", "what makes two replies say the same", "answer|text|embedding", MOA_GATHERS, same),
    REAL("alike", "same=embedding: cosine of two replies that do", 0, 1, MOA_GATHERS, DOUBLE, alike),
    WORDS("checker", "replies that it proves wrong are left out before they are merged or counted, unless all are: the calculator works out their equations", "none|calculator", MOA_GATHERS, checker),
    WORDS("screen", "replies that are left out before they are merged or counted", "none|threshold|cluster|dropout-vote|dropout-cluster", MOA_GATHERS, screen),
    REAL("screen-at", "outlier score (default 0.3), or distance of clusters (default 0.5), from which on", 0, 2, MOA_GATHERS, DOUBLE, screen_at),
    WHOLE("subsets", "screen=dropout-*: merges of subsets", 1, 255, MOA_GATHERS | MOA_AGGREGATES, subsets),
    WHOLE("most-of-one", "replies of one model that are read (default: all)", 1, 256, MOA_GATHERS, most_of_one),
    WORDS("duplicates", "equal replies", "keep|merge", MOA_GATHERS, duplicates),
    WHOLE("staircase", "tokens of each proposal with which the aggregator begins (0: it waits for whole ones)", 0, 1e6, MOA_CLIMBS, staircase),
    WORDS("steps", "staircase: each step waits for twice as much as the one before, or for as much again", "double|even", MOA_CLIMBS, stair_steps),
    WORDS("layout", "references behind the question, or in the system message", "after|system", MOA_AGGREGATES, layout),
    WORDS("fence", "borders of references: plain, or with a word that none of them can know", "plain|nonce", MOA_AGGREGATES, fence),
    WORDS("fit", "references that the answer's context does not hold: shortened evenly, or read in windows, one after the other", "shorten|window", MOA_AGGREGATES, fit),
    WORDS("tool-turns", "a turn that ends with a tool's result goes to the aggregator alone, or through all", "skip|all", MOA_AGGREGATES, tool_turns),
    WHOLE("budget-tokens", "generated tokens of all calls together", 1, 1e9, 0, budget_tokens),
    REAL("budget-cost", "dollars of all calls together, by the prices of their models", 1e-9, 1e6, 0, DOUBLE, budget_cost),
    WHOLE("judge-max-tokens", "of each call of the judge", 1, 1e6, MOA_JUDGES, judge_max_tokens),
};
enum { N_SHARED = (int)(sizeof table / sizeof *table) };

static const shared *find_shared(const char *key) {
    for (int i = 0; i < N_SHARED; i++)
        if (!strcmp(key, table[i].p.key)) return &table[i];
    return NULL;
}

static bool has(const moa_strategy *s, const shared *row) { return (row->has & s->has) == row->has; }

const moa_setting *moa_strategy_setting(const moa_strategy *s, int i) {
    if (i < 0) return NULL;
    if (i < s->n_setting) return &s->setting[i];
    for (int k = 0, at = s->n_setting; k < N_SHARED; k++)
        if (has(s, &table[k]) && at++ == i) return &table[k].p;
    return NULL;
}

/* '_' and '-' are the same. */
static void spell(char k[40], const char *key) {
    snprintf(k, 40, "%s", key);
    for (char *c = k; *c; c++)
        if (*c == '_') *c = '-';
}

static int word_of(double *v, const moa_setting *p, const char *value, moa_err *err) {
    enum { MOST = 16 };
    char text[MOST][32];
    const char *names[MOST];
    int i = 0;
    for (const char *w = p->words; *w; i++) {
        const size_t n = strcspn(w, "|");
        if (strlen(value) == n && !strncmp(w, value, n)) return *v = i, 0;
        if (i < MOST) snprintf(text[i], sizeof text[i], "%.*s", (int)n, w), names[i] = text[i];
        w += n + (w[n] == '|');
    }
    const int rc = moa_fail(err, MOA_EUSAGE, "%s '%s': expected one of %s", p->key, value, p->words);
    const char *near = moa_nearest(value, names, i < MOST ? i : MOST);
    return near ? moa_hint(err, rc, "did you mean '%s'?", near) : rc;
}

static int number_of(double *v, const moa_setting *p, const char *value, moa_err *err) {
    char *end;
    if (p->words) return word_of(v, p, value, err);
    *v = strtod(value, &end);
    if (end == value || *end || !isfinite(*v) || (p->whole && *v != floor(*v)) || *v < p->lo || *v > p->hi)
        return moa_fail(err, MOA_EUSAGE, "%s '%s': expected a %snumber from %g to %g", p->key, value, p->whole ? "whole " : "", p->lo, p->hi);
    return 0;
}

static int unknown(const moa_strategy *s, const char *k, const char *as_given, moa_err *err) {
    enum { MOST = 64 };
    const char *names[MOST];
    int n = 0, n_all = 0, rc;
    const moa_strategy *const *all = moa_strategies(&n_all);
    for (int i = 0; n < MOST - 4 && moa_strategy_setting(s, i); i++) names[n++] = moa_strategy_setting(s, i)->key;
    names[n++] = "proposers";
    if (s->has & MOA_AGGREGATES) names[n++] = "aggregator";
    if (s->has & MOA_JUDGES) names[n++] = "judge";
    if (s->has & MOA_LEARNS) names[n++] = "store";
    bool of_others = find_shared(k) != NULL;
    for (int i = 0; i < n_all && !of_others; i++)
        for (int j = 0; j < all[i]->n_setting; j++) of_others = of_others || !strcmp(k, all[i]->setting[j].key);
    if (of_others) return moa_fail(err, MOA_EUSAGE, "mix %s has no parameter %s", s->name, k);
    rc = moa_fail(err, MOA_EUSAGE, "mix %s: unknown parameter '%s'", s->name, as_given);
    const char *near = moa_nearest(k, names, n);
    return near ? moa_hint(err, rc, "did you mean '%s'?", near) : rc;
}

int moa_mix_set(moa_mix_cfg *c, const char *key, const char *value, moa_err *err) {
    const moa_strategy *s = moa_strategy_find(c->strategy);
    char k[40];
    double v;
    spell(k, key);
    if (!s) return moa_fail(err, MOA_ENOTFOUND, "no strategy '%s'", c->strategy);
    for (int i = 0; i < s->n_setting; i++) {
        if (strcmp(k, s->setting[i].key) != 0) continue;
        if (s->setting[i].text) return c->word[i] = value, 0;
        MOA_TRY(number_of(&v, &s->setting[i], value, err));
        return c->arg[i] = v, 0;
    }
    const shared *row = find_shared(k);
    if (!row || !has(s, row)) return unknown(s, k, key, err);
    MOA_TRY(number_of(&v, &row->p, value, err));
    moa_mix_put(c, &row->p, v, NULL);
    return 0;
}

void moa_mix_put(moa_mix_cfg *c, const moa_setting *p, double v, const char *text) {
    const moa_strategy *s = moa_strategy_find(c->strategy);
    if (s && s->n_setting && p >= s->setting && p < s->setting + s->n_setting) {
        c->arg[p - s->setting] = v;
        c->word[p - s->setting] = text;
        return;
    }
    const shared *row = find_shared(p->key);
    if (!row) return;
    char *at = (char *)c + row->at;
    if (row->type == INT) *(int *)(void *)at = (int)v;
    else if (row->type == FLOAT) *(float *)(void *)at = (float)v;
    else *(double *)(void *)at = v;
}

double moa_mix_get(const moa_mix_cfg *c, const moa_setting *p, const char **text) {
    const moa_strategy *s = moa_strategy_find(c->strategy);
    *text = NULL;
    if (s && s->n_setting && p >= s->setting && p < s->setting + s->n_setting) {
        *text = c->word[p - s->setting];
        return c->arg[p - s->setting];
    }
    const shared *row = find_shared(p->key);
    const char *at = row ? (const char *)c + row->at : NULL;
    if (!row) return 0;
    if (row->type == INT) return *(const int *)(const void *)at;
    return row->type == FLOAT ? (double)*(const float *)(const void *)at : *(const double *)(const void *)at;
}

/* Self-MoA's numbers (arXiv 2502.00674): samples at 0.7. The aggregator is greedy: it should merge what is there
 * rather than draw once more, and its result then depends on the samples alone. So is a judge. */
moa_mix_cfg moa_mix_defaults(const char *strategy) {
    moa_mix_cfg c = {.name = strategy, .strategy = strategy, .max_tokens = 256, .judge_max_tokens = 128, .error = 0.05, .alike = 0.9, .subsets = 15};
    const moa_strategy *s = moa_strategy_find(strategy);
    c.propose = c.aggregate = moa_sampling_defaults();
    c.propose.temperature = s ? s->temperature : 0.7f;
    c.aggregate.temperature = 0;
    c.n = s ? s->n : 0;
    if (s && s->judge_max_tokens) c.judge_max_tokens = s->judge_max_tokens;
    for (int i = 0; s && i < s->n_setting; i++) c.arg[i] = s->setting[i].dflt;
    return c;
}
