/* screen.c - see screen.h. SPDX-License-Identifier: Apache-2.0 */
#include "agent/screen.h"

#include "agent/alike.h"
#include "agent/calc.h"
#include "agent/strategy.h"
#include "base/buf.h"
#include "base/rng.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* ---- scores ---- */

void moa_screen_scores(double *score, const double *alike, int m) {
    for (int i = 0; i < m; i++) {
        double others = 0, own = 0;
        for (int j = 0; j < m; j++) {
            if (j == i) continue;
            own += alike[i * m + j];
            for (int k = 0; k < j; k++)
                if (k != i) others += alike[j * m + k];
        }
        score[i] = m < 3 ? 0 : others / (0.5 * (m - 1) * (m - 2)) - own / (m - 1);
    }
}

/* How alike the members of clusters a and b are, on average; inside one: without themselves. */
static double between(const int *side, const double *alike, int m, int a, int b) {
    double sum = 0;
    int n = 0;
    for (int i = 0; i < m; i++)
        for (int j = 0; j < m; j++)
            if (i != j && side[i] == a && side[j] == b) sum += alike[i * m + j], n++;
    return n ? sum / n : 1; /* a single one is like itself */
}

double moa_screen_split(int *side, const double *alike, int m) {
    for (int i = 0; i < m; i++) side[i] = i;
    for (int left = m; left > 2; left--) { /* average linkage: join the two that are most alike */
        int to = -1, from = -1;
        double best = 0;
        for (int a = 0; a < m; a++)
            for (int b = a + 1; b < m; b++) {
                bool has_a = false, has_b = false;
                for (int i = 0; i < m; i++) has_a |= side[i] == a, has_b |= side[i] == b;
                if (!has_a || !has_b) continue;
                const double s = between(side, alike, m, a, b);
                if (to < 0 || s > best) to = a, from = b, best = s;
            }
        for (int i = 0; i < m; i++)
            if (side[i] == from) side[i] = to;
    }
    const int first = m ? side[0] : 0;
    int n_first = 0;
    for (int i = 0; i < m; i++) n_first += side[i] == first;
    const int small = 2 * n_first < m ? first : -1; /* of equal ones the first stays */
    for (int i = 0; i < m; i++) side[i] = small == first ? side[i] == first : side[i] != first;
    return 0.5 * (between(side, alike, m, 0, 0) + between(side, alike, m, 1, 1)) - between(side, alike, m, 0, 1);
}

/* ---- screens ---- */

typedef struct room { int m; int *at; double *alike, *score; int *cluster, *side; } room; /* of the m inputs that worked */

static int measure(room *w, moa_run *r, const moa_agent_node *n, const bool *drop, moa_err *err) {
    const size_t m = (size_t)n->n_in;
    moa_vote v;
    *w = (room){.at = moa_arena_alloc(r->arena, (m + 1) * sizeof *w->at), .alike = moa_arena_alloc(r->arena, (m * m + 1) * sizeof *w->alike),
                .score = moa_arena_alloc(r->arena, (m + 1) * sizeof *w->score), .cluster = moa_arena_alloc(r->arena, (m + 1) * sizeof *w->cluster),
                .side = moa_arena_alloc(r->arena, (m + 1) * sizeof *w->side)};
    int *in = moa_arena_alloc(r->arena, (m + 1) * sizeof *in);
    if (!w->at || !w->alike || !w->score || !w->cluster || !w->side || !in) return moa_fail(err, MOA_ENOMEM, "%zu replies compared", m);
    for (int i = 0; i < n->n_in; i++)
        if (r->node[n->in[i]].state == MOA_NODE_DONE && !(drop && drop[i])) w->at[w->m] = i, in[w->m++] = n->in[i];
    MOA_TRY(moa_alike(w->alike, r, in, w->m, err));
    MOA_TRY(moa_cluster(&v, w->cluster, r, in, w->m, err));
    for (int i = 0; i < w->m && !v.by_text; i++)
        for (int j = 0; j < w->m; j++) {
            const bool same = i == j || (w->cluster[i] >= 0 && w->cluster[i] == w->cluster[j]);
            w->alike[i * w->m + j] = 0.5 * same + 0.5 * w->alike[i * w->m + j];
        }
    return 0;
}

static void by_threshold(bool *drop, moa_run *r, moa_agent_node *n, const room *w) {
    const double from = r->cfg->screen_at > 0 ? r->cfg->screen_at : 0.3; /* chosen on the training split: docs/agents/deception.md */
    moa_screen_scores(w->score, w->alike, w->m);
    for (int gone = 0; 2 * (gone + 1) < w->m; gone++) {
        int worst = -1;
        for (int i = 0; i < w->m; i++)
            if (!drop[w->at[i]] && w->score[i] >= from && (worst < 0 || w->score[i] > w->score[worst])) worst = i;
        if (worst < 0) return;
        drop[w->at[worst]] = true;
        moa_node_note(r, n, "left out %s: outlier by %.2f", r->node[n->in[w->at[worst]]].name, w->score[worst]);
    }
}

static void by_cluster(bool *drop, moa_run *r, moa_agent_node *n, const room *w) {
    if (w->m < 3) return;
    const double apart = moa_screen_split(w->side, w->alike, w->m);
    if (apart < (r->cfg->screen_at > 0 ? r->cfg->screen_at : 0.5)) return; /* as above */
    for (int i = 0; i < w->m; i++) {
        if (!w->side[i]) continue;
        drop[w->at[i]] = true;
        moa_node_note(r, n, "left out %s: of the smaller of two clusters, apart by %.2f", r->node[n->in[w->at[i]]].name, apart);
    }
}

/* Later replies of a model of which there are enough. */
static void cap_models(bool *drop, moa_run *r, moa_agent_node *n) {
    for (int i = 0; r->cfg->most_of_one && i < n->n_in; i++) {
        int before = 0;
        if (r->node[n->in[i]].state != MOA_NODE_DONE || drop[i]) continue;
        for (int j = 0; j < i; j++) before += !drop[j] && r->node[n->in[j]].state == MOA_NODE_DONE && r->node[n->in[j]].backend == r->node[n->in[i]].backend;
        if (before < r->cfg->most_of_one) continue;
        drop[i] = true;
        moa_node_note(r, n, "left out %s: %d of its model are enough", r->node[n->in[i]].name, before);
    }
}

static bool same_words(const char *a, const char *b) {
    while (true) {
        while (isspace((unsigned char)*a)) a++;
        while (isspace((unsigned char)*b)) b++;
        if (!*a || !*b) return !*a && !*b;
        if (tolower((unsigned char)*a++) != tolower((unsigned char)*b++)) return false;
    }
}

static void merge_duplicates(bool *drop, moa_run *r, moa_agent_node *n) {
    for (int i = 0; i < n->n_in; i++)
        for (int j = 0; j < i && !drop[i] && r->node[n->in[i]].state == MOA_NODE_DONE; j++) {
            if (drop[j] || r->node[n->in[j]].state != MOA_NODE_DONE || !same_words(moa_node_reply(&r->node[n->in[i]]), moa_node_reply(&r->node[n->in[j]]))) continue;
            drop[i] = true;
            moa_node_note(r, n, "%s says what %s says", r->node[n->in[i]].name, r->node[n->in[j]].name);
        }
}

bool moa_proved_wrong(const moa_run *r, const moa_agent_node *s) {
    moa_equation e;
    return r->cfg->checker == MOA_CHECKER_CALCULATOR && s->state == MOA_NODE_DONE && moa_calc_wrong(&e, s->text, s->text_len);
}

/* Of the replies those that are proved wrong; none where all are. */
static void by_checker(bool *drop, moa_run *r, moa_agent_node *n) {
    int done = 0, wrong = 0;
    for (int i = 0; i < n->n_in; i++) {
        done += r->node[n->in[i]].state == MOA_NODE_DONE;
        wrong += drop[i] = moa_proved_wrong(r, &r->node[n->in[i]]);
    }
    if (wrong && wrong == done) moa_node_note(r, n, "all %d replies have a wrong equation: none is left out for that", done);
    for (int i = 0; i < n->n_in; i++) {
        const moa_agent_node *s = &r->node[n->in[i]];
        moa_equation e;
        if (!drop[i]) continue;
        if (wrong == done) drop[i] = false;
        else if (moa_calc_wrong(&e, s->text, s->text_len))
            moa_node_note(r, n, "left out %s: %.*s is %.12g, not %.*s", s->name, (int)e.n_expr, e.expr, e.value, (int)(e.n_result < 40 ? e.n_result : 40), e.result);
    }
}

int moa_screen(bool *drop, moa_run *r, moa_agent_node *n, bool merges, moa_err *err) {
    const int how = r->cfg->screen;
    memset(drop, 0, (size_t)n->n_in * sizeof *drop);
    if (r->cfg->checker) by_checker(drop, r, n);
    if (how == MOA_SCREEN_THRESHOLD || how == MOA_SCREEN_CLUSTER) {
        room w;
        MOA_TRY(measure(&w, r, n, drop, err));
        if (how == MOA_SCREEN_THRESHOLD) by_threshold(drop, r, n, &w);
        else by_cluster(drop, r, n, &w);
    }
    cap_models(drop, r, n);
    n->n_read = n->n_dropped = 0;
    for (int i = 0; i < n->n_in; i++) n->n_read += r->node[n->in[i]].state == MOA_NODE_DONE, n->n_dropped += drop[i];
    if (merges && r->cfg->duplicates == MOA_DUPLICATES_MERGE) merge_duplicates(drop, r, n);
    return 0;
}

/* ---- dropout ---- */

/* The middle one of the largest cluster of merges: that which is most like the others of it. */
static int reduce_middle(moa_run *r, moa_agent_node *n, moa_err *err) {
    room w;
    moa_vote v;
    int best = -1, size = 0;
    double most = 0;
    MOA_TRY(measure(&w, r, n, NULL, err));
    int *in = moa_arena_alloc(r->arena, (size_t)(w.m + 1) * sizeof *in);
    if (!in || !w.m) return moa_fail(err, in ? MOA_EINVAL : MOA_ENOMEM, "%s: no merge to choose from", n->name);
    for (int i = 0; i < w.m; i++) in[i] = n->in[w.at[i]];
    MOA_TRY(moa_cluster(&v, w.cluster, r, in, w.m, err));
    if (v.winner < 0) return moa_fail(err, MOA_EINVAL, "%s: no merge to choose from", n->name);
    for (int i = 0; i < w.m; i++) {
        double sum = 0;
        if (w.cluster[i] != w.cluster[v.winner]) continue;
        size++;
        for (int j = 0; j < w.m; j++)
            if (w.cluster[j] == w.cluster[i]) sum += w.alike[i * w.m + j];
        if (best < 0 || sum > most) best = i, most = sum;
    }
    const moa_agent_node *s = &r->node[in[best]];
    moa_node_note(r, n, "took %s: the middle one of %d of %d merges", s->name, size, w.m);
    n->said = n->text;
    moa_take_text(r, n, in[best]);
    return 0;
}

/* Subset number i of n: all of them where they are few enough; else all without one, then halves drawn by the run's seed. */
static int subset_of(int *out, const int *in, int n, int i, bool all, moa_rng *g) {
    int k = 0;
    if (all) {
        for (int b = 0; b < n; b++)
            if ((i + 1) >> b & 1) out[k++] = in[b];
        return k;
    }
    for (int b = 0; b < n; b++)
        if (i < n ? b != i : moa_rng_below(g, 2) == 0) out[k++] = in[b];
    if (!k) out[k++] = in[moa_rng_below(g, (uint32_t)n)];
    return k;
}

int moa_no_dropout(const moa_mix_cfg *c, moa_err *err) {
    if (c->screen != MOA_SCREEN_DROPOUT_VOTE && c->screen != MOA_SCREEN_DROPOUT_CLUSTER) return 0;
    return moa_fail(err, MOA_EUSAGE, "mix %s: screen=dropout-* chooses among an aggregator's merges of subsets, and here is none; take threshold or cluster", c->strategy);
}

int moa_add_dropout(moa_run *r, const moa_mix_cfg *c, const char *name, const int *in, int n_in, moa_err *err) {
    const bool all = n_in < 16 && (1 << n_in) - 1 <= c->subsets;
    const int n = all ? (1 << n_in) - 1 : c->subsets;
    int *id = moa_arena_alloc(r->arena, ((size_t)n + (size_t)n_in + 1) * sizeof *id), *some = id + n;
    moa_rng g;
    if (!id) return moa_fail(err, MOA_ENOMEM, "%d subsets of replies", n);
    moa_rng_seed2(&g, r->seed, 0x646f6765);
    for (int i = 0; i < n; i++) {
        char each[64];
        const int k = subset_of(some, in, n_in, i, all, &g);
        snprintf(each, sizeof each, "%.40s.s%d", name, i + 1);
        id[i] = moa_add_merge(r, c, each, some, k, err);
        if (id[i] < 0) return id[i];
    }
    if (c->screen == MOA_SCREEN_DROPOUT_VOTE) return moa_add_vote(r, c, name, id, n, err);
    const moa_agent_node node = {.name = name, .role = "vote", .in = id, .n_in = n, .reduce = reduce_middle};
    return moa_run_add(r, &node, err);
}
