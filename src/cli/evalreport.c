/* evalreport.c - see evalreport.h. Every figure comes from `row_of`: table, JSON and charts cannot differ.
 *
 * Intervals are percentile bootstraps over items; seeds of one item are averaged first. Differences between mixes are
 * paired by item: both have seen the same question and the same samples, so most of the noise cancels.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/evalreport.h"

#include "agent/stats.h"
#include "base/json.h"
#include "base/plot.h"

#include <stdlib.h>
#include <string.h>

enum { BOOT_SEED = 20240602 };

typedef struct row {
    moa_eval_cell c;
    int n_item;
    double acc, ci[2];
    double quality, distinct, disagreement, oracle; /* of proposals; has_proposals */
    bool has_proposals;
    double p50, p95, first;
} row;

static int row_of(row *r, double *score, const moa_eval *e, int mix, int group) {
    *r = (row){0};
    r->n_item = moa_eval_sum(&r->c, score, e, mix, group);
    r->acc = moa_mean(score, r->n_item);
    moa_bootstrap_ci(r->ci, score, r->n_item, BOOT_SEED);
    r->has_proposals = r->c.proposal_runs > 0 && r->n_item;
    double k = r->has_proposals ? r->c.proposal_runs : 1;
    r->quality = r->c.quality / k, r->distinct = r->c.distinct / k;
    r->disagreement = r->c.disagreement / k, r->oracle = r->c.any_right / k;
    r->p50 = moa_eval_latency(e, mix, 0.5), r->p95 = moa_eval_latency(e, mix, 0.95), r->first = moa_eval_first(e, mix, 0.5);
    return r->n_item;
}

typedef struct diff { double mean, ci[2]; int won, lost; } diff; /* items that only one of the two has right: a's, b's */
/* score[n] of two mixes, paired; a is overwritten. */
static diff difference(double *a, const double *b, int n) {
    diff d;
    d.won = d.lost = 0;
    for (int i = 0; i < n; i++) {
        d.won += a[i] > b[i], d.lost += a[i] < b[i];
        a[i] -= b[i];
    }
    d.mean = moa_mean(a, n);
    moa_bootstrap_ci(d.ci, a, n, BOOT_SEED);
    return d;
}

static double *scratch(const moa_eval *e, moa_err *err) {
    double *s = malloc(2 * ((size_t)moa_taskset_count(e->tasks) + 1) * sizeof *s);
    if (!s) moa_fail(err, MOA_ENOMEM, "the evaluation's report");
    return s;
}

static int finish(const moa_buf *b, moa_err *err) { return b->failed ? moa_fail(err, b->failed, "the evaluation's report") : 0; }

typedef struct plane { double a, b, c, r2; int n; bool ok; } plane;
static plane fit(double *s, const moa_eval *e) {
    double q[64], d[64], t[64];
    plane p = {0};
    for (int m = 0; m < e->n_mix && p.n < 64; m++) {
        row r;
        row_of(&r, s, e, m, -1);
        if (!r.has_proposals) continue;
        q[p.n] = r.quality, d[p.n] = r.disagreement, t[p.n++] = r.acc;
    }
    p.ok = moa_fit_plane(&p.a, &p.b, &p.c, &p.r2, q, d, t, p.n);
    return p;
}

static void str(moa_buf *b, const char *key, const char *v) {
    moa_buf_addf(b, "\"%s\":", key);
    moa_json_add_str(b, v, strlen(v));
}

/* ---- text and Markdown ---- */

static int label_width(const moa_eval *e) {
    int w = 3;
    for (int m = 0; m < e->n_mix; m++) w = (int)strlen(e->mix[m].label) > w ? (int)strlen(e->mix[m].label) : w;
    return w < 48 ? w : 48;
}

static bool any_cost(const moa_eval *e) {
    bool any = false;
    for (int m = 0; m < e->n_mix; m++) {
        moa_eval_cell c;
        moa_eval_sum(&c, NULL, e, m, -1);
        any |= c.cost > 0;
    }
    return any;
}

static void text_group(moa_buf *b, double *s, const moa_eval *e, int group, const char *name) {
    const int w = label_width(e);
    const bool cost = any_cost(e);
    moa_buf_addf(b, "\n%s\n  %-*s  accuracy   95 %% interval      right/runs   calls   tokens  seconds%s%s\n", name, w, "mix", group < 0 ? "   p50 s   p95 s" : "", cost ? "        $" : "");
    for (int m = 0; m < e->n_mix; m++) {
        row r;
        row_of(&r, s, e, m, group);
        if (r.n_item) moa_buf_addf(b, "  %-*s   %5.1f %%   %5.1f .. %5.1f   %10d/%-6d", w, e->mix[m].label, 100 * r.acc, 100 * r.ci[0], 100 * r.ci[1], r.c.correct, r.c.scored);
        else moa_buf_addf(b, "  %-*s   no known answers            %10s/%-6d", w, e->mix[m].label, "-", r.c.runs);
        moa_buf_addf(b, " %5lld %8lld %8.2f", (long long)r.c.calls, (long long)r.c.completion_tokens, r.c.seconds);
        if (group < 0) moa_buf_addf(b, " %7.2f %7.2f", r.p50, r.p95); /* over all items: of a group there are too few */
        if (cost) moa_buf_addf(b, " %8.4f", r.c.cost);
        moa_buf_adds(b, "\n");
    }
}

/* How much is it worth that proposals agree? Of the runs in which at least k of them do: their share, and how many of them are right. */
static void text_agreement(moa_buf *b, const moa_eval *e) {
    const int w = label_width(e);
    bool any = false;
    for (int m = 0; m < e->n_mix; m++) {
        moa_eval_cell c;
        int n = 0, right = 0;
        moa_eval_sum(&c, NULL, e, m, -1);
        for (int k = 0; k <= MOA_EVAL_AGREE; k++) n += c.agree[k];
        for (int k = MOA_EVAL_AGREE, at_least = 0; n && k >= 2; k--) {
            at_least += c.agree[k], right += c.agree_right[k];
            if (!c.agree[k]) continue;
            if (!any) moa_buf_addf(b, "\nagreement: the most frequent answer where at least so many proposals give it\n  %-*s  proposals   of all items   right there\n", w, "mix");
            any = true;
            moa_buf_addf(b, "  %-*s  %6d%s    %10.1f %%   %9.1f %% (%d/%d)\n", w, e->mix[m].label, k, k == MOA_EVAL_AGREE ? "+" : " ", 100.0 * at_least / n, 100.0 * right / at_least, right, at_least);
        }
    }
}

static void text_proposals(moa_buf *b, double *s, const moa_eval *e) {
    int w = label_width(e);
    bool any = false;
    for (int m = 0; m < e->n_mix; m++) {
        row r;
        row_of(&r, s, e, m, -1);
        if (!r.has_proposals) continue;
        if (!any) moa_buf_addf(b, "\nproposals\n  %-*s  quality   any right   distinct/n   disagreement   prefix reused\n", w, "mix");
        any = true;
        moa_buf_addf(b, "  %-*s  %5.1f %%   %7.1f %%   %10.2f   %12.2f   %11.1f %%\n", w, e->mix[m].label, 100 * r.quality, 100 * r.oracle, r.distinct,
                     r.disagreement, r.c.prompt_tokens ? 100.0 * (double)r.c.reused_tokens / (double)r.c.prompt_tokens : 0);
    }
    plane p = fit(s, e);
    if (p.ok) moa_buf_addf(b, "  accuracy = %.3f quality + %.3f disagreement %+.3f   (R2 %.3f over %d mixes)\n", p.a, p.b, p.c, p.r2, p.n);
}

static const char *other_side(const moa_eval *e, const moa_eval_judged *j) { return j->against == MOA_AGAINST_REFERENCE ? "reference" : e->mix[j->against].label; }

static void text_judged(moa_buf *b, const moa_eval *e, const moa_eval_judged *j) {
    const int w = label_width(e);
    if (!j->judge) return;
    moa_buf_addf(b, "\njudged by %s against %s, every pair in both orders (a tie counts a half)\n  %-*s     wins   95 %% interval   at equal length   95 %% interval   won/tied/lost   by order   first   longer   calls\n",
                 j->judge, other_side(e, j), w, "mix");
    for (int m = 0; m < e->n_mix; m++) {
        const moa_compare *c = &j->of[m];
        if (m == j->against) continue;
        if (!c->p.n) {
            moa_buf_addf(b, "  %-*s  no pair of answers\n", w, e->mix[m].label);
            continue;
        }
        const double said = c->said ? c->said : 1;
        moa_buf_addf(b, "  %-*s  %5.1f %%   %5.1f .. %5.1f           %5.1f %%   %5.1f .. %5.1f   %5d/%d/%-5d %8d   %4.0f %%   %4.0f %%   %5lld\n", w, e->mix[m].label, 100 * c->p.win,
                     100 * c->p.win_ci[0], 100 * c->p.win_ci[1], 100 * c->p.even, 100 * c->p.even_ci[0], 100 * c->p.even_ci[1], c->won, c->tied, c->lost, c->by_order, 100 * c->first / said,
                     100 * c->longer / said, (long long)c->calls);
        if (c->none) moa_buf_addf(b, "  %-*s  %d of %lld verdicts name neither reply, and count as ties\n", w, "", c->none, (long long)c->calls);
        if (c->skipped) moa_buf_addf(b, "  %-*s  %d items without an answer on one side are left out\n", w, "", c->skipped);
    }
}

static void json_judged(moa_buf *b, const moa_eval *e, const moa_eval_judged *j) {
    bool any = false;
    moa_buf_adds(b, ",\"judged\":[");
    for (int m = 0; j->judge && m < e->n_mix; m++) {
        const moa_compare *c = &j->of[m];
        if (m == j->against) continue;
        moa_buf_adds(b, any ? ",{" : "{");
        any = true;
        str(b, "mix", e->mix[m].label), moa_buf_adds(b, ",");
        str(b, "against", other_side(e, j)), moa_buf_adds(b, ",");
        str(b, "judge", j->judge);
        moa_buf_addf(b, ",\"items\":%d,\"won\":%d,\"tied\":%d,\"lost\":%d,\"by_order\":%d,\"first\":%d,\"longer\":%d,\"said\":%d,\"none\":%d,\"skipped\":%d,\"calls\":%lld,"
                     "\"win\":%.6f,\"win_ci95\":[%.6f,%.6f],\"equal_length\":%.6f,\"equal_length_ci95\":[%.6f,%.6f],\"length_weight\":%.6f}", c->p.n, c->won, c->tied, c->lost, c->by_order,
                     c->first, c->longer, c->said, c->none, c->skipped, (long long)c->calls, c->p.win, c->p.win_ci[0], c->p.win_ci[1], c->p.even, c->p.even_ci[0], c->p.even_ci[1], c->p.length);
    }
    moa_buf_adds(b, "]");
}

int moa_eval_text(moa_buf *b, const moa_eval *e, const moa_eval_judged *j, const char *set, moa_err *err) {
    double *s = scratch(e, err), *s2 = s ? s + moa_taskset_count(e->tasks) + 1 : NULL;
    if (!s) return MOA_ENOMEM;
    int n_group = moa_taskset_group_count(e->tasks);
    for (int g = 0; n_group > 1 && g < n_group; g++) text_group(b, s, e, g, moa_taskset_group_name(e->tasks, g));
    text_group(b, s, e, -1, set);
    for (int m = 1; m < e->n_mix; m++) {
        row r;
        int n = row_of(&r, s2, e, 0, -1);
        row_of(&r, s, e, m, -1);
        diff d = difference(s, s2, n);
        if (!n) break;
        moa_buf_addf(b, "%s  %s - %s: %+.1f points, 95 %% interval %+.1f .. %+.1f (paired over %d items", m == 1 ? "\n" : "", e->mix[m].label,
                     e->mix[0].label, 100 * d.mean, 100 * d.ci[0], 100 * d.ci[1], n);
        if (e->n_seed == 1) moa_buf_addf(b, "; %d won, %d lost, McNemar p = %.2g", d.won, d.lost, moa_mcnemar(d.won, d.lost));
        moa_buf_adds(b, ")\n");
    }
    text_proposals(b, s, e);
    text_judged(b, e, j);
    text_agreement(b, e);
    for (int m = 0; m < e->n_mix; m++) {
        moa_eval_cell c;
        moa_eval_sum(&c, NULL, e, m, -1);
        if (c.replaced) moa_buf_addf(b, "\n  %s: %d of %d answers are its fallback's (the aggregator failed, or lost the answer)\n", e->mix[m].label, c.replaced, c.runs);
    }
    free(s);
    return finish(b, err);
}

int moa_eval_markdown(moa_buf *b, const moa_eval *e, const char *set, moa_err *err) {
    double *s = scratch(e, err);
    if (!s) return MOA_ENOMEM;
    int n_group = moa_taskset_group_count(e->tasks);
    moa_buf_adds(b, "| task | mix | accuracy | 95 % interval | runs | calls | tokens | seconds | p50 s | p95 s | $ |\n|---|---|---|---|---|---|---|---|---|---|---|\n");
    for (int g = n_group > 1 ? 0 : n_group; g <= n_group; g++)
        for (int m = 0; m < e->n_mix; m++) {
            row r;
            row_of(&r, s, e, m, g < n_group ? g : -1);
            moa_buf_addf(b, "| %s | %s |", g < n_group ? moa_taskset_group_name(e->tasks, g) : set, e->mix[m].label);
            if (r.n_item) moa_buf_addf(b, " %.1f %% | %.1f to %.1f |", 100 * r.acc, 100 * r.ci[0], 100 * r.ci[1]);
            else moa_buf_adds(b, " no known answers | |");
            moa_buf_addf(b, " %d | %lld | %lld | %.2f |", r.c.runs, (long long)r.c.calls, (long long)r.c.completion_tokens, r.c.seconds);
            if (g == n_group) moa_buf_addf(b, " %.2f | %.2f | %.4f |\n", r.p50, r.p95, r.c.cost);
            else moa_buf_addf(b, " | | %.4f |\n", r.c.cost);
        }
    free(s);
    return finish(b, err);
}

/* ---- JSON ---- */

static void json_row(moa_buf *b, const row *r, const char *mix, const char *task, bool whole) {
    moa_buf_adds(b, "{");
    str(b, "mix", mix);
    moa_buf_adds(b, ",");
    str(b, "task", task);
    moa_buf_addf(b, ",\"items\":%d,\"n\":%d,\"correct\":%d,\"failed\":%d,\"accuracy\":%.6f,\"ci95\":[%.6f,%.6f],\"calls\":%lld,\"prompt_tokens\":%lld,"
                 "\"completion_tokens\":%lld,\"reused_prefix_tokens\":%lld,\"seconds\":%.6f", r->n_item, r->c.runs, r->c.correct, r->c.failed, r->acc,
                 r->ci[0], r->ci[1], (long long)r->c.calls, (long long)r->c.prompt_tokens, (long long)r->c.completion_tokens,
                 (long long)r->c.reused_tokens, r->c.seconds);
    moa_buf_addf(b, ",\"spared_tokens\":%lld,\"replies_read\":%lld,\"replies_left_out\":%lld", (long long)r->c.spared_tokens, (long long)r->c.read, (long long)r->c.dropped);
    moa_buf_addf(b, ",\"scored\":%d,\"replaced\":%d,\"cost\":%.6f", r->c.scored, r->c.replaced, r->c.cost);
    if (r->has_proposals)
        moa_buf_addf(b, ",\"proposals\":{\"quality\":%.6f,\"any_right\":%.6f,\"distinct\":%.6f,\"disagreement\":%.6f}", r->quality, r->oracle,
                     r->distinct, r->disagreement);
    if (whole) {
        moa_buf_addf(b, ",\"latency_p50\":%.6f,\"latency_p95\":%.6f,\"first_text_p50\":%.6f,\"agreement\":[", r->p50, r->p95, r->first);
        for (int k = 0; k <= MOA_EVAL_AGREE; k++) moa_buf_addf(b, "%s[%d,%d]", k ? "," : "", r->c.agree[k], r->c.agree_right[k]);
        moa_buf_adds(b, "]");
    }
    moa_buf_adds(b, "}");
}

static void json_differences(moa_buf *b, double *s, const moa_eval *e, const char *set) {
    double *s2 = s + moa_taskset_count(e->tasks) + 1;
    for (int m = 1; m < e->n_mix; m++) {
        row r;
        int n = row_of(&r, s2, e, 0, -1);
        row_of(&r, s, e, m, -1);
        diff d = difference(s, s2, n);
        moa_buf_adds(b, m > 1 ? ",{" : "{");
        str(b, "mix", e->mix[m].label);
        moa_buf_adds(b, ",");
        str(b, "against", e->mix[0].label);
        moa_buf_adds(b, ",");
        str(b, "task", set);
        moa_buf_addf(b, ",\"difference\":%.6f,\"ci95\":[%.6f,%.6f]", d.mean, d.ci[0], d.ci[1]);
        if (e->n_seed == 1) moa_buf_addf(b, ",\"won\":%d,\"lost\":%d,\"mcnemar_p\":%.6g", d.won, d.lost, moa_mcnemar(d.won, d.lost));
        moa_buf_adds(b, "}");
    }
}

int moa_eval_json(moa_buf *b, const moa_eval *e, const moa_eval_judged *j, const char *set, double wall_s, moa_err *err) {
    double *s = scratch(e, err);
    if (!s) return MOA_ENOMEM;
    int n_group = moa_taskset_group_count(e->tasks), first = n_group > 1 ? 0 : n_group;
    moa_buf_adds(b, "{\"tasks\":[");
    moa_json_add_str(b, set, strlen(set));
    for (int g = first; g < n_group; g++) {
        const char *name = moa_taskset_group_name(e->tasks, g);
        moa_buf_adds(b, ",");
        moa_json_add_str(b, name, strlen(name));
    }
    moa_buf_adds(b, "],\"results\":[");
    for (int m = 0; m < e->n_mix; m++)
        for (int g = -1; g < n_group; g++) {
            if (g >= 0 && n_group < 2) continue;
            row r;
            row_of(&r, s, e, m, g);
            if (m || g >= 0) moa_buf_adds(b, ",");
            json_row(b, &r, e->mix[m].label, g < 0 ? set : moa_taskset_group_name(e->tasks, g), g < 0);
        }
    moa_buf_adds(b, "],\"differences\":[");
    json_differences(b, s, e, set);
    moa_buf_adds(b, "]");
    json_judged(b, e, j);
    plane p = fit(s, e);
    if (p.ok) moa_buf_addf(b, ",\"fit\":{\"quality\":%.6f,\"diversity\":%.6f,\"constant\":%.6f,\"r2\":%.6f,\"mixes\":%d}", p.a, p.b, p.c, p.r2, p.n);
    moa_buf_addf(b, ",\"seeds\":%d,\"wall_seconds\":%.3f}\n", e->n_seed, wall_s);
    free(s);
    return finish(b, err);
}

/* ---- charts ---- */

/* Drafts of one layer: as given, or one of each named model. */
static int samples_of(const moa_mix_spec *m) { return m->cfg.n > 1 ? m->cfg.n : m->n_proposer_name > 1 ? m->n_proposer_name : 1; }

int moa_eval_plot_n(moa_buf *b, const moa_eval *e, const char *set, moa_err *err) {
    double *s = scratch(e, err);
    moa_plot_series series[64] = {0};
    moa_plot_point *pt = calloc((size_t)e->n_mix + 1, sizeof *pt);
    int n_series = 0, used = 0, rc = s && pt ? 0 : moa_fail(err, MOA_ENOMEM, "a chart");
    for (int m = 0; rc >= 0 && m < e->n_mix; m++) {
        bool known = false; /* one series a mix name, its points by n */
        for (int k = 0; k < m; k++) known |= e->mix[k].strategy == e->mix[m].strategy;
        if (known || n_series == 64) continue;
        series[n_series] = (moa_plot_series){.name = e->mix[m].strategy->name, .point = pt + used};
        for (int want = 1; want <= 256; want++)
            for (int k = m; k < e->n_mix; k++) {
                if (e->mix[k].strategy != e->mix[m].strategy || samples_of(&e->mix[k]) != want) continue;
                row r;
                row_of(&r, s, e, k, -1);
                series[n_series].no_line |= series[n_series].n_point && pt[used - 1].x == want; /* they differ in more than n */
                pt[used++] = (moa_plot_point){.x = want, .y = 100 * r.acc, .lo = 100 * r.ci[0], .hi = 100 * r.ci[1]};
                series[n_series].n_point++;
            }
        n_series++;
    }
    char title[160];
    snprintf(title, sizeof title, "%.100s: accuracy and samples", set);
    moa_plot p = {.title = title, .x_label = "samples n", .y_label = "accuracy, % (bars: 95 % interval over items)", .series = series, .n_series = n_series};
    if (rc >= 0) rc = moa_plot_svg(b, &p);
    free(s);
    free(pt);
    return rc < 0 ? moa_fail(err, rc, "the chart of accuracies") : 0;
}

/* Two points a mix: tokens generated, and all that were read or written. */
int moa_eval_plot_tokens(moa_buf *b, const moa_eval *e, const char *set, moa_err *err) {
    double *s = scratch(e, err);
    moa_plot_point *pt = calloc(2 * (size_t)e->n_mix + 1, sizeof *pt);
    int rc = s && pt ? 0 : moa_fail(err, MOA_ENOMEM, "a chart");
    for (int m = 0; rc >= 0 && m < e->n_mix; m++) {
        row r;
        row_of(&r, s, e, m, -1);
        const double runs = r.c.runs ? r.c.runs : 1, made = (double)r.c.completion_tokens / runs;
        pt[m] = (moa_plot_point){.x = made, .y = 100 * r.acc, .lo = 100 * r.ci[0], .hi = 100 * r.ci[1], .label = e->mix[m].label};
        pt[e->n_mix + m] = (moa_plot_point){.x = made + (double)r.c.prompt_tokens / runs, .y = 100 * r.acc, .lo = 100 * r.ci[0], .hi = 100 * r.ci[1]};
    }
    char title[160];
    snprintf(title, sizeof title, "%.100s: accuracy and tokens", set);
    const moa_plot_series series[] = {{.name = "generated", .point = pt, .n_point = (size_t)e->n_mix, .no_line = true},
                                      {.name = "generated and read", .point = pt ? pt + e->n_mix : NULL, .n_point = (size_t)e->n_mix, .no_line = true}};
    const moa_plot p = {.title = title, .x_label = "tokens a question", .y_label = "accuracy, % (bars: 95 % interval over items)", .log_x = true, .series = series, .n_series = 2};
    if (rc >= 0) rc = moa_plot_svg(b, &p);
    free(s);
    free(pt);
    return rc < 0 ? moa_fail(err, rc, "the chart of tokens") : 0;
}

/* What a chart has room for: the proposers' models, like ones counted ("m24 + 3 moa-tiny"), or the mix and its n. */
static void short_label(char *out, size_t n, const moa_mix_spec *m) {
    if (m->n_proposer_name < 2) {
        snprintf(out, n, "%s n=%d", m->strategy->name, samples_of(m));
        return;
    }
    size_t at = 0;
    out[0] = 0;
    for (int i = 0; i < m->n_proposer_name && at < n; i++) {
        int count = 1;
        while (i + 1 < m->n_proposer_name && strcmp(m->proposer_name[i], m->proposer_name[i + 1]) == 0) i++, count++;
        at += (size_t)snprintf(out + at, n - at, at ? " + " : "");
        if (count > 1 && at < n) at += (size_t)snprintf(out + at, n - at, "%d ", count);
        if (at < n) at += (size_t)snprintf(out + at, n - at, "%.20s", m->proposer_name[i]);
    }
}

int moa_eval_plot_diversity(moa_buf *b, const moa_eval *e, const char *set, moa_err *err) {
    double *s = scratch(e, err);
    moa_plot_point *pt = calloc((size_t)e->n_mix + 1, sizeof *pt);
    char (*label)[64] = calloc((size_t)e->n_mix + 1, sizeof *label);
    int n = 0, rc = s && pt && label ? 0 : moa_fail(err, MOA_ENOMEM, "a chart");
    for (int m = 0; rc >= 0 && m < e->n_mix; m++) {
        row r;
        row_of(&r, s, e, m, -1);
        if (!r.has_proposals) continue;
        char mix[48];
        short_label(mix, sizeof mix, &e->mix[m]);
        snprintf(label[n], sizeof *label, "%s: %.1f %%", mix, 100 * r.acc);
        pt[n] = (moa_plot_point){.x = r.disagreement, .y = 100 * r.quality, .label = label[n]};
        n++;
    }
    char title[160];
    snprintf(title, sizeof title, "%.100s: proposals (labels: accuracy of the mix)", set);
    moa_plot_series series = {.point = pt, .n_point = (size_t)n, .no_line = true};
    moa_plot p = {.title = title, .x_label = "diversity: share of pairs that disagree", .y_label = "quality: right proposals, %", .series = &series, .n_series = 1};
    if (rc >= 0) rc = moa_plot_svg(b, &p);
    free(s);
    free(pt);
    free(label);
    return rc < 0 ? moa_fail(err, rc, "the chart of proposals") : 0;
}
