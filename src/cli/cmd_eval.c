/* cmd_eval.c - moa eval: accuracy, tokens and time of mixes on a set of tasks.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/backend/recorded.h"
#include "agent/backend/shelf.h"
#include "base/clock.h"
#include "base/file.h"
#include "cli/evalreport.h"
#include "cli/live.h"
#include "cli/mixopt.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_MIX = 64 };
enum {
    O_MODEL, O_MIX, O_N, O_SEEDS, O_SEED, O_MAX, O_CTX, O_THREADS, O_ADAPTER, O_TEMPLATE, O_KV, O_REPACK, O_DRAFT, O_FORMAT, O_RECORDED, O_SERVER, O_JUDGE, O_JUDGE_SERVER, O_AGAINST, O_JOURNAL, O_RESIDENT,
    O_BATCH, O_JSON, O_PLOT, O_TABLE, O_QUIET
};
static const moa_opt opts[] = {
    MOA_ROW_MODEL,
    {"--mix", NULL, MOA_OPT_STRS, "NAME", "NAME or NAME:KEY=VALUE,...; the first is compared with (default: single, self-moa)", 0, 0},
    {"-n", NULL, MOA_OPT_INT, "ITEMS", "items of each family (default: 20; of a file: all)", 1, MOA_TASKSET_MOST},
    {"--seeds", NULL, MOA_OPT_INT, "K", "runs of every item with other seeds (default 1)", 1, 1000},
    MOA_ROW_SEED("of items and samples (default 1)"),
    MOA_ROW_MAX_TOKENS,
    MOA_ROW_CTX,
    MOA_ROW_THREADS,
    MOA_ROW_ADAPTER,
    MOA_ROW_TEMPLATE,
    MOA_ROW_KV,
    MOA_ROW_REPACK,
    MOA_ROW_DRAFT,
    {"--format", NULL, MOA_OPT_STR, "NAME", "format of the file of tasks (moa list formats; default: found by its content)", 0, 0},
    {"--recorded", NULL, MOA_OPT_STRS, "[MODEL=]FILE", "models are those whose replies the file holds (default where TASKS holds some and no model is named: these)", 0, 0},
    {"--server", NULL, MOA_OPT_STR, "URL", "models are those of a server that runs (http://127.0.0.1:8080/v1); its key: $MOA_API_KEY", 0, 0},
    {"--judge", NULL, MOA_OPT_STR, "MODEL", "a model compares the mixes' answers with those of --against, each pair in both orders", 0, 0},
    {"--judge-server", NULL, MOA_OPT_STR, "URL", "the judge is a model of this server (the key as for --server)", 0, 0},
    {"--against", NULL, MOA_OPT_STR, "MIX", "a mix of --mix (default: the first), or `reference`: the replies in the file", 0, 0},
    {"--journal", NULL, MOA_OPT_STR, "FILE", "remember finished calls: a killed evaluation resumes", 0, 0},
    {"--resident", NULL, MOA_OPT_INT, "K", "at most K models in memory: each is opened when its calls come, serves all that wait, and makes room", 1, 1000},
    {"--batch", NULL, MOA_OPT_INT, "ITEMS", "items whose calls run together (default: 16, with --resident all; always 1 where a mix learns online)", 1, MOA_TASKSET_MOST * 64},
    MOA_ROW_JSON(""),
    {"--plot", NULL, MOA_OPT_STR, "FILE.svg", "chart of accuracy against n; FILE.tokens.svg: against tokens; FILE.diversity.svg: of proposals", 0, 0},
    {"--table", NULL, MOA_OPT_STR, "FILE.md", "results as a Markdown table", 0, 0},
    MOA_ROW_QUIET,
    MOA_ROWS_END,
};

static int run(int argc, char **argv);
const moa_command moa_command_eval = {
    .name = "eval",
    .usage = "TASKS [-m MODEL] [--mix NAME ...] [-n ITEMS] [--seeds K] [--json]",
    .help = "measure mixes on tasks with known answers",
    .more = "TASKS: microworld, microworld/FAMILY[/LEVEL] (moa list tasks), or a file of a format of `moa list formats`: JSONL of {\"question\", \"answer\"},\n"
            "GSM8K, MMLU, HumanEval (code is never run), AlpacaEval, MT-bench and others.\n"
            "Every mix sees the same items and the same samples: differences are paired, equal calls are computed once.\n"
            "Seconds are each mix's share of the batches' time; p50 and p95 are over runs, each the longest chain of its calls.\n"
            "A judge is asked about each pair in both orders; a pair is won where it is won in both, and wins are told at equal length too.\n"
            "example: moa eval microworld -n 50 --mix single --mix vote:n=6 --mix self-moa:n=6 --journal run.jsonl",
    .opts = opts,
    .run = run,
};

/* ---- progress ---- */

typedef struct progress { double t0, last; int shown; bool tty, quiet; moa_journal *journal; } progress;

static void show(progress *p, const moa_eval *e) {
    int total = moa_taskset_count(e->tasks);
    double t = moa_now() - p->t0, eta = e->done ? t / e->done * (total - e->done) : 0;
    moa_buf line;
    moa_buf_init(&line, 1 << 10);
    moa_buf_addf(&line, "%d/%d items  %.0f s", e->done, total, t);
    if (e->done && e->done < total) moa_buf_addf(&line, ", %d:%02d left", (int)eta / 60, (int)eta % 60);
    for (int m = 0; m < e->n_mix && m < 4 && e->done; m++) {
        moa_eval_cell c;
        moa_eval_sum(&c, NULL, e, m, -1);
        if (c.scored) moa_buf_addf(&line, "  %.20s %.1f %%", e->mix[m].label, 100.0 * c.correct / c.scored);
    }
    if (p->tty) moa_term_status(moa_buf_str(&line));
    else fprintf(stderr, "%s\n", moa_buf_str(&line));
    moa_buf_deinit(&line);
    p->last = moa_now();
}

static bool on_progress(void *ctx, const moa_eval *e, bool chunk_done) {
    progress *p = ctx;
    if (!p->quiet && ((chunk_done && (p->tty || e->done * 10 / moa_taskset_count(e->tasks) > p->shown)) || (p->tty && moa_now() - p->last > 0.5))) {
        p->shown = e->done * 10 / moa_taskset_count(e->tasks);
        show(p, e);
    }
    return !moa_interrupted() && moa_journal_failure(p->journal, NULL) >= 0;
}

/* ---- models behind the journal ---- */

typedef struct opener {
    moa_model_source from;
    moa_recorded *recorded;    /* NULL: models are asked */
    moa_shelf *shelf;          /* NULL: all models stay */
    moa_remembering kept;
} opener;

/* Who only reads what others say comes when all others have said it. */
static void aggregators_last(const moa_eval *e) {
    for (int i = 0; i < e->n_mix; i++)
        if (e->mix[i].cfg.aggregator) moa_shelf_last(e->mix[i].cfg.aggregator);
}

static int open_real(void *ctx, moa_backend **out, const char *name, moa_err *err) {
    opener *o = ctx;
    if (o->recorded) return moa_backend_recorded_open(out, o->recorded, name, err);
    if (o->shelf) return moa_shelf_get(out, o->shelf, name, err);
    return moa_cli_open_from(&o->from, out, name, err);
}

/* Whose replies: recorded ones where files are named, or where the tasks hold some and no model is. */
static int open_recorded(opener *o, const moa_optval *v, const char *set, const moa_taskset *tasks, moa_err *err) {
    const moa_task_format *f = moa_taskset_format(tasks);
    const bool own = f && f->replies && !v[O_RECORDED].set && !v[O_MODEL].set && !v[O_SERVER].set;
    if (!own && !v[O_RECORDED].set) return 0;
    MOA_TRY(moa_recorded_new(&o->recorded, tasks, err));
    if (own) MOA_TRY(moa_recorded_add(o->recorded, set, err));
    for (int i = 0; i < v[O_RECORDED].n_list; i++) MOA_TRY(moa_recorded_add(o->recorded, v[O_RECORDED].list[i], err));
    if (v[O_QUIET].set) return 0;
    fprintf(stderr, "%d recorded replies; nobody is asked. Models:", moa_recorded_count(o->recorded));
    for (int i = 0; moa_recorded_model(o->recorded, i); i++) fprintf(stderr, " %s", moa_recorded_model(o->recorded, i));
    fputs("\n", stderr);
    return 0;
}

static int open_models(opener *o, const moa_optval *v, moa_err *err) {
    const moa_path_fn path = o->recorded || o->from.server ? NULL : moa_cli_model_path;
    const moa_journal_cfg cfg = {.path = v[O_JOURNAL].s};
    if (o->recorded && o->from.server) return moa_fail(err, MOA_EUSAGE, "--recorded and --server: replies come from files or from a server");
    if (v[O_RESIDENT].set && !path) return moa_fail(err, MOA_EUSAGE, "--resident is for models of this machine");
    if (v[O_RESIDENT].set) MOA_TRY(moa_shelf_new(&o->shelf, (int)v[O_RESIDENT].i, moa_cli_open_model, &o->from.models, o->from.models.template_vars, err));
    return moa_remembering_open(&o->kept, &cfg, path, open_real, o, err);
}

/* ---- the judge ---- */

typedef struct judging { moa_backend *plain, *judge; int against; moa_compare *of; /* [n_mix]; its own row stays empty */ } judging;

static void judging_end(judging *g) {
    moa_backend_close(g->judge);
    moa_backend_close(g->plain);
    free(g->of);
}

static int find_against(judging *g, const moa_eval *e, const moa_optval *v, moa_err *err) {
    const char *name = v[O_AGAINST].set ? v[O_AGAINST].s : e->mix[0].label;
    bool any = false;
    g->against = MOA_AGAINST_REFERENCE;
    for (int i = 0; i < e->n_mix; i++)
        if (!strcmp(e->mix[i].label, name)) return g->against = i, 0;
    if (strcmp(name, "reference") != 0) return moa_fail(err, MOA_EUSAGE, "--against %s: expected a mix that --mix names, or reference", name);
    for (int i = 0; i < moa_taskset_count(e->tasks); i++) any |= moa_taskset_item(e->tasks, i)->reference.len > 0;
    return any ? 0 : moa_fail(err, MOA_EUSAGE, "--against reference: the tasks hold no replies to compare with");
}

/* The judge answers to no mix's name: it is opened by itself, behind the same journal. */
static int judging_begin(judging *g, moa_eval *e, opener *o, const moa_optval *v, moa_err *err) {
    char path[4096];
    if (!v[O_JUDGE].set && !v[O_JUDGE_SERVER].set) return v[O_AGAINST].set ? moa_fail(err, MOA_EUSAGE, "--against needs a --judge") : 0;
    const char *url = v[O_JUDGE_SERVER].set ? v[O_JUDGE_SERVER].s : o->from.server, *name = v[O_JUDGE].s;
    MOA_TRY(find_against(g, e, v, err));
    if (e->n_mix == 1 && g->against == 0) return moa_fail(err, MOA_EUSAGE, "a judge compares: name two mixes, or --against reference");
    if (!url) MOA_TRY(moa_cli_model_path(path, sizeof path, name, err));
    MOA_TRY(url ? moa_cli_open_server(&g->plain, url, name, err) : moa_cli_open_model(&o->from.models, &g->plain, path, err));
    MOA_TRY(moa_backend_journal_open(&g->judge, o->kept.journal, g->plain, err));
    g->of = calloc((size_t)e->n_mix, sizeof *g->of);
    e->keep = true;
    return g->of ? 0 : moa_fail(err, MOA_ENOMEM, "a judge");
}

static int judge_all(judging *g, const moa_eval *e, progress *p, moa_err *err) {
    enum { JUDGE_TOKENS = 512 };
    for (int m = 0; m < e->n_mix; m++) {
        if (m == g->against) continue;
        if (!p->quiet) fprintf(stderr, "judging %s\n", e->mix[m].label);
        const int rc = moa_compare_run(&g->of[m], e, m, g->against, g->judge, JUDGE_TOKENS, on_progress, p, err);
        if (rc < 0) return moa_wrap(err, rc, "the judge %s", g->judge->id);
    }
    return 0;
}

/* ---- output ---- */

static int save(const char *path, moa_buf *b, moa_err *err) {
    moa_writer *w;
    MOA_TRY(moa_writer_open(&w, path, err));
    moa_writer_add(w, moa_buf_str(b), b->len);
    return moa_writer_commit(w, err);
}

static int write_files(const moa_eval *e, const moa_optval *v, const char *set, moa_err *err) {
    moa_buf b;
    moa_buf_init(&b, 64 << 20);
    int rc = 0;
    if (v[O_TABLE].set) {
        rc = moa_eval_markdown(&b, e, set, err);
        if (rc >= 0) rc = save(v[O_TABLE].s, &b, err);
    }
    static const struct { const char *suffix; int (*make)(moa_buf *, const moa_eval *, const char *, moa_err *); } plot[] = {
        {"", moa_eval_plot_n}, {".tokens", moa_eval_plot_tokens}, {".diversity", moa_eval_plot_diversity}};
    for (int i = 0; rc >= 0 && v[O_PLOT].set && i < 3; i++) {
        char name[4200];
        const char *path = v[O_PLOT].s, *dot = strrchr(path, '.');
        const int stem = dot && !strcmp(dot, ".svg") ? (int)(dot - path) : (int)strlen(path);
        snprintf(name, sizeof name, "%.*s%s.svg", stem, path, plot[i].suffix);
        moa_buf_clear(&b);
        rc = plot[i].make(&b, e, set, err);
        if (rc >= 0) rc = save(i ? name : path, &b, err);
    }
    moa_buf_deinit(&b);
    return rc;
}

static int report(const moa_eval *e, const judging *g, const moa_optval *v, const char *set, double wall, moa_err *err) {
    moa_buf b;
    moa_buf_init(&b, 64 << 20);
    moa_err e2 = {0};
    const int files = write_files(e, v, set, err); /* first: who reads stdout may leave early (| head) */
    const moa_eval_judged judged = {g->judge ? g->judge->id : NULL, g->against, g->of};
    const int rc = v[O_JSON].set ? moa_eval_json(&b, e, &judged, set, wall, &e2) : moa_eval_text(&b, e, &judged, set, &e2);
    if (rc >= 0) fwrite(moa_buf_str(&b), 1, b.len, stdout);
    else if (files >= 0) *err = e2;
    moa_buf_deinit(&b);
    return files < 0 ? files : rc;
}

static int all_failed(const moa_eval *e) {
    moa_eval_cell c;
    int runs = 0, failed = 0;
    for (int m = 0; m < e->n_mix; m++) {
        moa_eval_sum(&c, NULL, e, m, -1);
        runs += c.runs, failed += c.failed;
    }
    return runs > 0 && runs == failed;
}

static int measure(moa_eval *e, judging *g, const moa_optval *v, const char *set, moa_journal *j, moa_err *err) {
    progress p = {.t0 = moa_now(), .tty = isatty(STDERR_FILENO), .quiet = v[O_QUIET].set, .journal = j};
    moa_interrupt_catch();
    int rc = moa_eval_run(e, on_progress, &p, err);
    if (p.tty && !p.quiet) fputs("\n", stderr);
    if (moa_journal_failure(j, err) < 0) return moa_hint(err, err->code, "make room; the same command goes on from %s", v[O_JOURNAL].set ? v[O_JOURNAL].s : "memory");
    if (rc < 0) return rc == MOA_ECANCELED && v[O_JOURNAL].set ? moa_hint(err, rc, "the same command goes on from %s", v[O_JOURNAL].s) : rc;
    if (all_failed(e)) {
        *err = e->first_error;
        return e->first_error.code;
    }
    if (e->first_error.code) fprintf(stderr, "moa: some runs failed and count as wrong; the first: %s\n", e->first_error.text);
    if (g->judge) rc = judge_all(g, e, &p, err);
    if (moa_journal_failure(j, err) < 0) return moa_hint(err, err->code, "make room; the same command goes on");
    if (rc < 0) return rc == MOA_ECANCELED && v[O_JOURNAL].set ? moa_hint(err, rc, "the same command goes on from %s", v[O_JOURNAL].s) : rc;
    int64_t computed, found;
    moa_journal_stats(j, &computed, &found);
    if (!p.quiet) fprintf(stderr, "%lld call%s computed, %lld found again\n", (long long)computed, computed == 1 ? "" : "s", (long long)found);
    return report(e, g, v, set, moa_now() - p.t0, err);
}

static int specs(moa_eval *e, const moa_optval *v, moa_err *err) {
    static const char *const dflt[] = {"single", "self-moa"};
    int n = v[O_MIX].n_list ? v[O_MIX].n_list : 2;
    const char *const *name = v[O_MIX].n_list ? v[O_MIX].list : dflt;
    for (int i = 0; i < n && i < MAX_MIX; i++) {
        for (int k = 0; k < i; k++)
            if (!strcmp(name[k], name[i])) return moa_fail(err, MOA_EUSAGE, "--mix %s is given twice: its results would be equal", name[i]);
        MOA_TRY(moa_mix_spec_parse(&e->mix[i], name[i], err));
        e->n_mix++;
        if (v[O_MAX].set) MOA_TRY(moa_mix_spec_set(&e->mix[i], "max-tokens", v[O_MAX].s, err));
    }
    return 0;
}

static int open_tasks(moa_taskset **out, const char *set, const moa_optval *v, uint64_t seed, moa_err *err) {
    const moa_task_format *f = v[O_FORMAT].set ? moa_task_format_find(v[O_FORMAT].s, err) : NULL;
    if (v[O_FORMAT].set && !f) return err->code;
    const int rc = moa_taskset_open_as(out, set, f, seed, (int)v[O_N].i, err);
    if (rc < 0 && !err->hint[0]) return moa_hint(err, rc, "TASKS is a set of `moa list tasks`, or a file of a format of `moa list formats` (--format NAME says which)");
    f = rc < 0 ? NULL : moa_taskset_format(*out);
    if (f && f->note && !v[O_QUIET].set) fprintf(stderr, "%s: %s\n", f->name, f->note);
    return rc;
}

static int run(int argc, char **argv) {
    moa_optval v[sizeof opts / sizeof *opts];
    const char *set = NULL;
    int n_pos, rc = moa_opt_parse(&moa_command_eval, argc, argv, v, &set, 1, &n_pos);
    if (rc) return rc < 0 ? 2 : 0;
    if (!n_pos) return moa_cli_usage(&moa_command_eval, "the tasks are missing (microworld, a family, a file)");
    static moa_mix_spec mix[MAX_MIX];
    moa_err err = {0};
    moa_taskset *tasks = NULL;
    judging g = {0};
    opener o = {.from = {.models = moa_cli_models(&v[O_THREADS], &v[O_CTX], &v[O_ADAPTER], &v[O_TEMPLATE], &v[O_KV], &v[O_REPACK], &v[O_DRAFT]), .server = v[O_SERVER].s}};
    moa_eval e = {.mix = mix, .n_seed = v[O_SEEDS].set ? (int)v[O_SEEDS].i : 1, .seed = v[O_SEED].set ? (uint64_t)v[O_SEED].i : 1,
                   .chunk = v[O_BATCH].set ? (int)v[O_BATCH].i : v[O_RESIDENT].set ? MOA_TASKSET_MOST * 64 : 0};
    rc = specs(&e, v, &err);
    if (rc >= 0 && v[O_TABLE].set) rc = moa_cli_can_write(v[O_TABLE].s, &err);
    if (rc >= 0 && v[O_PLOT].set) rc = moa_cli_can_write(v[O_PLOT].s, &err);
    if (rc >= 0) rc = open_tasks(&tasks, set, v, e.seed, &err);
    e.tasks = tasks;
    if (rc >= 0 && v[O_JOURNAL].set && !*v[O_JOURNAL].s) rc = moa_fail(&err, MOA_EUSAGE, "--journal: the file's name is empty");
    if (rc >= 0) rc = open_recorded(&o, v, set, tasks, &err);
    if (rc >= 0) rc = open_models(&o, v, &err);
    for (int i = 0; rc >= 0 && i < e.n_mix; i++) rc = moa_mix_spec_bind(&mix[i], o.kept.pool, v[O_MODEL].s, &err);
    aggregators_last(&e);
    if (rc >= 0) rc = judging_begin(&g, &e, &o, v, &err);
    if (rc >= 0) rc = measure(&e, &g, v, set, o.kept.journal, &err);
    if (rc >= 0 && o.shelf && !v[O_QUIET].set) {
        const moa_shelf_stats st = moa_shelf_count(o.shelf);
        fprintf(stderr, "%d model%s opened %d time%s, %d at a time at most\n", st.models, st.models == 1 ? "" : "s", st.loads, st.loads == 1 ? "" : "s", st.most);
    }
    judging_end(&g);
    moa_eval_deinit(&e);
    for (int i = 0; i < e.n_mix; i++) moa_mix_spec_deinit(&mix[i]);
    moa_remembering_close(&o.kept);
    moa_shelf_free(o.shelf);
    moa_recorded_free(o.recorded);
    moa_taskset_free(tasks);
    return rc < 0 ? moa_cli_fail(&err) : 0;
}
