/* evolve.c - see evolve.h.
 *
 * A parent is drawn from its island with weight s h: s = sigmoid(10 (f - median) / spread) for fitness f, h = 1 / (1 + children) so that one that has been tried often
 * makes room. A child that is nearly a program of its island is not run. A mutator is chosen by the bandit of arms.h; its reward is what the child
 * is better than its parent, not below 0, as a share of what was missing.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/evolve.h"

#include "agent/arms.h"
#include "task/minipy.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ARCHIVE = 256, MAX_ISLANDS = 8, TRIES = 8, OUT_MAX = 256 };
typedef struct member { char text[MOA_EVOLVE_PROGRAM]; double fitness; int children; } member;
typedef struct island { member *m; int n; } island;

/* ---- fitness ---- */

static bool output_of(long long *y, const char *program, long long x) {
    moa_buf text, out;
    bool ok = false;
    moa_buf_init(&text, 2 * MOA_EVOLVE_PROGRAM);
    moa_buf_init(&out, OUT_MAX);
    moa_buf_addf(&text, x < 0 ? "x = 0 - %lld\n%s\n" : "x = %lld\n%s\n", x < 0 ? -x : x, program);
    if (!text.failed && moa_py_run(&out, moa_buf_str(&text), NULL, NULL, NULL) == 0) {
        char *end;
        const char *s = moa_buf_str(&out);
        *y = strtoll(s, &end, 10);
        ok = end != s && !end[strspn(end, " \n")];
    }
    moa_buf_deinit(&text);
    moa_buf_deinit(&out);
    return ok;
}

double moa_evolve_fitness(const char *program, const moa_example *v, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) {
        long long y;
        if (!output_of(&y, program, v[i].x)) continue;
        sum += 1 / (1 + sqrt(fabs((double)y - (double)v[i].y)));
    }
    return n ? sum / n : 0;
}

double moa_edit_similarity(const char *a, const char *b) {
    const size_t n = strnlen(a, MOA_EVOLVE_PROGRAM), m = strnlen(b, MOA_EVOLVE_PROGRAM);
    int row[MOA_EVOLVE_PROGRAM + 1];
    if (!n && !m) return 1;
    for (size_t j = 0; j <= m; j++) row[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int left_above = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            const int above = row[j], change = left_above + (a[i - 1] != b[j - 1]), put = row[j - 1] + 1, gone = above + 1;
            row[j] = change < put ? change : put;
            if (gone < row[j]) row[j] = gone;
            left_above = above;
        }
    }
    return 1 - (double)row[m] / (double)(n > m ? n : m);
}

/* ---- own operators ---- */

static bool operand_at(const char *s, size_t i, size_t *len) {
    if (i && (isalnum((unsigned char)s[i - 1]) || s[i - 1] == '_')) return false;
    size_t n = 0;
    if (s[i] == 'x' && !isalnum((unsigned char)s[i + 1]) && s[i + 1] != '_') n = 1;
    while (isdigit((unsigned char)s[i + n]) && (n == 0 || s[i] != 'x')) n++;
    *len = n;
    return n > 0;
}

/* The place of a drawn operand, or of a drawn operator. false: there is none. */
static bool draw_place(size_t *at, size_t *len, const char *s, bool operand, moa_rng *r) {
    int seen = 0;
    size_t n;
    for (size_t i = 0; s[i]; i++) {
        const bool is = operand ? operand_at(s, i, &n) : strchr("+-*", s[i]) != NULL;
        if (is && moa_rng_below(r, (uint32_t)++seen) == 0) *at = i, *len = operand ? n : 1;
    }
    return seen > 0;
}

static void put_operand(moa_buf *out, moa_rng *r) {
    if (moa_rng_below(r, 2)) moa_buf_adds(out, "x");
    else moa_buf_addf(out, "%u", moa_rng_below(r, 10));
}

/* A number a little different, another operand, an operand grown to (a op b), another operator. */
static int edit(moa_buf *child, const moa_mutator *m, const char *parent, double fitness, moa_rng *r, moa_err *err) {
    static const char op[] = "+-*";
    const uint32_t kind = moa_rng_below(r, 4);
    size_t at = 0, len = 0;
    (void)m, (void)fitness, (void)err;
    if (!draw_place(&at, &len, parent, kind != 3, r)) return 0;
    moa_buf_add(child, parent, at);
    if (kind == 0 && isdigit((unsigned char)parent[at])) {
        const long v = strtol(parent + at, NULL, 10);
        moa_buf_addf(child, "%ld", v > 0 && moa_rng_below(r, 2) ? v - 1 : v + 1);
    } else if (kind <= 1) {
        put_operand(child, r);
    } else if (kind == 2) {
        moa_buf_addf(child, "(%.*s %c ", (int)len, parent + at, op[moa_rng_below(r, 3)]);
        put_operand(child, r);
        moa_buf_adds(child, ")");
    } else {
        moa_buf_add(child, &op[moa_rng_below(r, 3)], 1);
    }
    moa_buf_adds(child, parent + at + len);
    return 0;
}

static int noise(moa_buf *child, const moa_mutator *m, const char *parent, double fitness, moa_rng *r, moa_err *err) {
    static const char sign[] = "x0123456789+-*() ";
    const size_t n = strlen(parent), at = n ? moa_rng_below(r, (uint32_t)n) : 0;
    (void)m, (void)fitness, (void)err;
    moa_buf_add(child, parent, at);
    moa_buf_add(child, &sign[moa_rng_below(r, sizeof sign - 1)], 1);
    moa_buf_adds(child, parent + at + (n && moa_rng_below(r, 2)));
    return 0;
}

static const moa_mutator own[] = {{"edit", "changes a number, an operand or an operator, or grows an operand", edit, NULL}, {"noise", "puts a drawn character somewhere", noise, NULL}};
const moa_mutator *moa_mutators(int *n) {
    *n = (int)(sizeof own / sizeof *own);
    return own;
}

/* ---- islands ---- */

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int draw_parent(const island *l, moa_rng *r) {
    double f[MAX_ARCHIVE], w[MAX_ARCHIVE], sum = 0, spread = 0;
    for (int i = 0; i < l->n; i++) f[i] = l->m[i].fitness;
    qsort(f, (size_t)l->n, sizeof *f, by_value);
    const double median = f[l->n / 2];
    for (int i = 0; i < l->n; i++) spread += fabs(f[i] - median) / l->n;
    for (int i = 0; i < l->n; i++) {
        const double s = spread > 0 ? 1 / (1 + exp(-10 * (l->m[i].fitness - median) / (10 * spread))) : 1;
        sum += w[i] = s / (1 + l->m[i].children);
    }
    double at = moa_rng_f64(r) * sum;
    for (int i = 0; i < l->n; i++)
        if ((at -= w[i]) < 0) return i;
    return l->n - 1;
}

/* In place of the worst, where the archive is full and that is no better. Of programs that are equally fit, which mostly say the same, the shortest
 * stays: an archive of one idea in many words goes nowhere. */
static void keep(island *l, int most, const char *text, double fitness) {
    int at = l->n;
    for (int i = 0; i < l->n; i++) {
        if (fabs(l->m[i].fitness - fitness) > 1e-12) continue;
        if (strlen(text) < strlen(l->m[i].text)) snprintf(l->m[i].text, sizeof l->m[i].text, "%s", text);
        return;
    }
    if (l->n == most)
        for (int i = at = 0; i < l->n; i++)
            if (l->m[i].fitness < l->m[at].fitness) at = i;
    if (at < l->n && l->m[at].fitness >= fitness) return;
    if (at == l->n) l->n++;
    l->m[at] = (member){.fitness = fitness};
    snprintf(l->m[at].text, sizeof l->m[at].text, "%s", text);
}

static bool known(const island *l, const char *text, double novelty) {
    for (int i = 0; novelty < 1 && i < l->n; i++)
        if (moa_edit_similarity(l->m[i].text, text) > novelty) return true;
    return false;
}

/* The best of each island comes to the next one. */
static void migrate(island *l, int n, int most) {
    member best[MAX_ISLANDS];
    for (int i = 0; i < n; i++) {
        int at = 0;
        for (int k = 1; k < l[i].n; k++)
            if (l[i].m[k].fitness > l[i].m[at].fitness) at = k;
        best[i] = l[i].m[at];
    }
    for (int i = 0; i < n; i++)
        if (!known(&l[(i + 1) % n], best[i].text, 0.999)) keep(&l[(i + 1) % n], most, best[i].text, best[i].fitness);
}

/* ---- the search ---- */

static void look(moa_evolve *e, const char *text, double fitness) {
    if (e->run && fitness <= e->fitness) return;
    e->fitness = fitness;
    e->found = fitness >= 1;
    snprintf(e->best, sizeof e->best, "%s", text);
}

static int choose(const moa_evolve *e, moa_arm *arm, moa_rng *r) {
    int best = 0;
    if (e->uniform || moa_rng_f64(r) < e->epsilon) return (int)moa_rng_below(r, (uint32_t)e->n_mutator);
    moa_arms_score(arm, e->n_mutator, e->explore, 0, true);
    for (int i = 1; i < e->n_mutator; i++)
        if (arm[i].score > arm[best].score) best = i;
    return best;
}

/* A child that is worth running, of a drawn parent, in *child; the place of its parent. -1: in so many tries there was none. */
static int make_child(moa_buf *child, int *who, moa_evolve *e, island *l, moa_arm *arm, moa_rng *r, moa_err *err) {
    for (int i = 0; i < TRIES; i++) {
        const int p = draw_parent(l, r), m = choose(e, arm, r);
        moa_buf_clear(child);
        *who = m;
        e->calls[m]++;
        l->m[p].children++;
        MOA_TRY(e->mutator[m].mutate(child, &e->mutator[m], l->m[p].text, l->m[p].fitness, r, err));
        if (child->len && child->len < MOA_EVOLVE_PROGRAM && !child->failed && !known(l, moa_buf_str(child), e->novelty)) return p;
        e->rejected++;
        arm[m].n++; /* asked, and worth nothing */
    }
    return MOA_ENOTFOUND;
}

static int search(moa_evolve *e, island *l, bool (*go_on)(void *ctx, const moa_evolve *e), void *ctx, moa_err *err) {
    moa_arm arm[MOA_EVOLVE_MUTATORS] = {{0}};
    moa_rng r;
    moa_buf child;
    int rc = 0, who, barren = 0;
    moa_rng_seed(&r, e->seed);
    moa_buf_init(&child, 4 * MOA_EVOLVE_PROGRAM);
    while (rc >= 0 && !e->found && e->run < e->evaluations) {
        island *on = &l[e->run % e->islands];
        const int p = make_child(&child, &who, e, on, arm, &r, err);
        if (p == MOA_ENOTFOUND && ++barren < 1000) continue; /* an island that is full of everything near: others, or luck */
        if (p < 0) {
            rc = p == MOA_ENOTFOUND ? 0 : p;
            break;
        }
        const double before = on->m[p].fitness, f = moa_evolve_fitness(moa_buf_str(&child), e->example, e->n_example);
        e->run++;
        arm[who].n++;
        arm[who].reward += f > before ? (f - before) / (1 - before) : 0;
        look(e, moa_buf_str(&child), f);
        keep(on, e->archive, moa_buf_str(&child), f);
        if (e->islands > 1 && e->migrate && e->run % e->migrate == 0) migrate(l, e->islands, e->archive);
        if (go_on && !go_on(ctx, e)) rc = moa_fail(err, MOA_ECANCELED, "stopped");
    }
    moa_buf_deinit(&child);
    return rc;
}

static int check(const moa_evolve *e, moa_err *err) {
    if (e->n_example < 1 || e->n_example > MOA_EVOLVE_EXAMPLES) return moa_fail(err, MOA_EINVAL, "%d examples, expected 1 to %d", e->n_example, (int)MOA_EVOLVE_EXAMPLES);
    if (e->n_mutator < 1 || e->n_mutator > MOA_EVOLVE_MUTATORS) return moa_fail(err, MOA_EINVAL, "%d mutators, expected 1 to %d", e->n_mutator, (int)MOA_EVOLVE_MUTATORS);
    if (e->archive < 1 || e->archive > MAX_ARCHIVE) return moa_fail(err, MOA_EINVAL, "an archive of %d programs, expected 1 to %d", e->archive, (int)MAX_ARCHIVE);
    if (e->islands < 1 || e->islands > MAX_ISLANDS) return moa_fail(err, MOA_EINVAL, "%d islands, expected 1 to %d", e->islands, (int)MAX_ISLANDS);
    if (e->start && strlen(e->start) >= MOA_EVOLVE_PROGRAM) return moa_fail(err, MOA_EINVAL, "the first program has %zu bytes, at most %d", strlen(e->start), MOA_EVOLVE_PROGRAM - 1);
    return 0;
}

int moa_evolve_run(moa_evolve *e, bool (*go_on)(void *ctx, const moa_evolve *e), void *ctx, moa_err *err) {
    island l[MAX_ISLANDS] = {{0}};
    const char *start = e->start ? e->start : "print(x)";
    MOA_TRY(check(e, err));
    e->run = e->rejected = 0, e->found = false, e->fitness = 0;
    memset(e->calls, 0, sizeof e->calls);
    int rc = 0;
    for (int i = 0; i < e->islands && rc >= 0; i++) {
        if (!(l[i].m = calloc((size_t)e->archive, sizeof *l[i].m))) rc = moa_fail(err, MOA_ENOMEM, "an archive");
        else keep(&l[i], e->archive, start, moa_evolve_fitness(start, e->example, e->n_example));
    }
    if (rc >= 0) look(e, start, l[0].m[0].fitness);
    if (rc >= 0) rc = search(e, l, go_on, ctx, err);
    for (int i = 0; i < e->islands; i++) free(l[i].m);
    return rc;
}
