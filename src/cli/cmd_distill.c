/* cmd_distill.c - moa distill: training data from mixtures. SPDX-License-Identifier: Apache-2.0 */
#include "agent/distill.h"
#include "base/clock.h"
#include "cli/live.h"
#include "cli/mixopt.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_MIX = 16, JOURNAL_BYTES = 256 << 20 };
enum { O_OUT, O_KIND, O_MODEL, O_MIX, O_SAMPLES, O_JUDGE, O_AGREE, O_CRITERIA, O_ROUGE, O_FORMAT, O_N, O_SEED, O_MAX, O_SERVER, O_CTX, O_THREADS, O_ADAPTER, O_TEMPLATE, O_BATCH, O_FRESH, O_JSON, O_QUIET };
static const moa_opt opts[] = {
    {"--out", "-o", MOA_OPT_STR, "FILE", "JSONL of what was made; until it is whole, FILE.work and FILE.journal hold what is there", 0, 0},
    {"--kind", NULL, MOA_OPT_STR, "KIND", "answers (default), consensus or preferences", 0, 0},
    MOA_ROW_MODEL,
    {"--mix", NULL, MOA_OPT_STRS, "NAME", "who answers: one mix (default self-moa), for a consensus several; preferences: whose samples are compared (default single)", 0, 0},
    {"--samples", NULL, MOA_OPT_INT, "N", "preferences: of each prompt (default 5)", 2, 16},
    {"--judge", NULL, MOA_OPT_STR, "MIX", "preferences: compares every pair in both orders (greedy:proposer=MODEL, or a mixture)", 0, 0},
    {"--agree", NULL, MOA_OPT_STR, "MIX", "preferences without a judge: samples with this mix's answer are better than others", 0, 0},
    {"--criteria", NULL, MOA_OPT_INT, "K", "the judge first chooses what counts for the prompt (default 3; 0: all of it)", 0, 9},
    {"--min-rouge", NULL, MOA_OPT_FLOAT, "F", "consensus without equal answers: least ROUGE-L of any two (default 0.01; 1: equal answers alone)", 0, 1},
    {"--format", NULL, MOA_OPT_STR, "NAME", "format of the prompts (moa list formats; default: found by their content)", 0, 0},
    {"-n", NULL, MOA_OPT_INT, "N", "the first N prompts of each group (default: all)", 1, 1e6},
    MOA_ROW_SEED("of samples (default 1)"),
    MOA_ROW_MAX_TOKENS,
    {"--server", NULL, MOA_OPT_STR, "URL", "models are those of a server that runs (http://127.0.0.1:8080/v1); its key: $MOA_API_KEY", 0, 0},
    MOA_ROW_CTX,
    MOA_ROW_THREADS,
    MOA_ROW_ADAPTER,
    MOA_ROW_TEMPLATE,
    {"--batch", NULL, MOA_OPT_INT, "N", "prompts that run together (default 16)", 1, 4096},
    {"--fresh", NULL, MOA_OPT_FLAG, NULL, "begin anew, even where a work on FILE lies", 0, 0},
    MOA_ROW_JSON(": what came of it"),
    MOA_ROW_QUIET,
    MOA_ROWS_END,
};

static int run(int argc, char **argv);
const moa_command moa_command_distill = {
    .name = "distill",
    .usage = "PROMPTS -o FILE [--kind KIND] [--mix NAME ...] [-m MODEL]",
    .help = "training data from mixtures: answers, consensus, preferences",
    .more = "PROMPTS: a file of a format of `moa list formats`; of a question with a known answer only the question is used, and how many outputs were right is told.\n"
            "answers: {\"messages\"} of every prompt. consensus: of those on which mixes agree. preferences: {\"prompt\", \"chosen\", \"rejected\"} where one sample is better.\n"
            "All of it is what moa train reads. A prompt that was there already is passed over. Stopped or killed, the same command goes on and pays for nothing twice.\n"
            "example: moa distill prompts.jsonl -o pairs.jsonl --kind preferences --mix single --agree vote:n=6",
    .opts = opts,
    .run = run,
};

typedef struct progress { double t0, last; bool tty, quiet; moa_journal *journal; } progress;

static bool on_progress(void *ctx, const moa_distill *d) {
    progress *p = ctx;
    const double t = moa_now();
    if (!p->quiet && t - p->last > (p->tty ? 0.5 : 30)) {
        const moa_distill_sum *s = &d->sum;
        char line[200];
        snprintf(line, sizeof line, "%lld/%d prompts  %lld kept, %lld dropped, %lld repeated  %lld calls  %.0f s", (long long)d->done, moa_taskset_count(d->prompts), (long long)s->kept,
                 (long long)s->dropped, (long long)s->repeated, (long long)s->calls, t - p->t0);
        if (p->tty) moa_term_status(line);
        else fprintf(stderr, "%s\n", line);
        p->last = t;
    }
    return !moa_interrupted() && moa_journal_failure(p->journal, NULL) >= 0;
}

static double share(int64_t a, int64_t b) { return b ? 100.0 * (double)a / (double)b : 0; }

static void tell(const moa_distill *d, bool json) {
    const moa_distill_sum *s = &d->sum;
    if (json) {
        printf("{\"prompts\":%lld,\"repeated\":%lld,\"kept\":%lld,\"dropped\":%lld,\"failed\":%lld,\"calls\":%lld,\"prompt_tokens\":%lld,\"completion_tokens\":%lld,\"cost\":%.6f,"
               "\"known\":%lld,\"right\":%lld,\"kept_known\":%lld,\"kept_right\":%lld,\"resumed\":%lld}\n",
               (long long)s->prompts, (long long)s->repeated, (long long)s->kept, (long long)s->dropped, (long long)s->failed, (long long)s->calls, (long long)s->prompt_tokens,
               (long long)s->completion_tokens, s->cost, (long long)s->known, (long long)s->right, (long long)s->kept_known, (long long)s->kept_right, (long long)d->resumed);
        return;
    }
    printf("%s: %lld of %lld prompts kept (%.1f %%), %lld dropped, %lld failed, %lld repeated\n", d->out, (long long)s->kept, (long long)s->prompts, share(s->kept, s->prompts),
           (long long)s->dropped, (long long)s->failed, (long long)s->repeated);
    printf("%lld calls, %lld tokens read, %lld generated, %.1f generated for each kept; $%.4f\n", (long long)s->calls, (long long)s->prompt_tokens, (long long)s->completion_tokens,
           s->kept ? (double)s->completion_tokens / (double)s->kept : 0, s->cost);
    if (s->known) printf("where the answer is known: right of all outputs %.1f %%, of those kept %.1f %% (%lld/%lld)\n", share(s->right, s->known), share(s->kept_right, s->kept_known),
                         (long long)s->kept_right, (long long)s->kept_known);
}

static int open_prompts(moa_taskset **out, const char *path, const moa_optval *v, moa_err *err) {
    const moa_task_format *f = v[O_FORMAT].set ? moa_task_format_find(v[O_FORMAT].s, err) : NULL;
    if (v[O_FORMAT].set && !f) return err->code;
    if (!strncmp(path, "microworld", 10) && access(path, F_OK) != 0) {
        const int rc = moa_fail(err, MOA_EUSAGE, "%s: the built-in sets are held out, so nothing learns from them", path);
        return moa_hint(err, rc, "make prompts of the other split: moa microworld --split train -n 4000 --json >prompts.jsonl");
    }
    return moa_taskset_open_as(out, path, f, 1, (int)v[O_N].i, err);
}

static int parse(moa_mix_spec *s, const char *text, const moa_optval *v, moa_err *err) {
    MOA_TRY(moa_mix_spec_parse(s, text, err));
    return v[O_MAX].set ? moa_mix_spec_set(s, "max-tokens", v[O_MAX].s, err) : 0;
}

static moa_mix_spec mix[MAX_MIX], judge, agree;

static int parse_all(moa_distill *d, const moa_optval *v, moa_err *err) {
    const char *const dflt = d->kind == MOA_DISTILL_PREFERENCES ? "single" : "self-moa";
    const int n = v[O_MIX].n_list ? v[O_MIX].n_list : 1;
    if (n > MAX_MIX) return moa_fail(err, MOA_EUSAGE, "%d mixes, at most %d", n, (int)MAX_MIX);
    for (; d->n_mix < n; d->n_mix++) MOA_TRY(parse(&mix[d->n_mix], v[O_MIX].n_list ? v[O_MIX].list[d->n_mix] : dflt, v, err));
    if (d->kind != MOA_DISTILL_PREFERENCES && (v[O_JUDGE].set || v[O_AGREE].set || v[O_SAMPLES].set || v[O_CRITERIA].set))
        return moa_fail(err, MOA_EUSAGE, "--judge, --agree, --samples and --criteria are for --kind preferences");
    if (d->kind != MOA_DISTILL_CONSENSUS && v[O_ROUGE].set) return moa_fail(err, MOA_EUSAGE, "--min-rouge is for --kind consensus");
    if (v[O_JUDGE].set) MOA_TRY(parse(d->judge = &judge, v[O_JUDGE].s, v, err));
    if (v[O_AGREE].set) MOA_TRY(parse(d->agree = &agree, v[O_AGREE].s, v, err));
    return 0;
}

/* What is asked, in one line: a work goes on only with the same. */
static void say_what(moa_buf *b, const moa_distill *d, const char *prompts, const moa_optval *v) {
    moa_buf_addf(b, "%s of %s (%d), seed %lld, model %s, max-tokens %lld", moa_distill_kinds[d->kind], prompts, moa_taskset_count(d->prompts), (long long)d->seed,
                 v[O_MODEL].set ? v[O_MODEL].s : "default", v[O_MAX].i);
    for (int i = 0; i < d->n_mix; i++) moa_buf_addf(b, ", mix %s", d->mix[i].label);
    if (d->kind == MOA_DISTILL_PREFERENCES) moa_buf_addf(b, ", %d samples, %s %s, %d criteria", d->samples, d->judge ? "judge" : "agree", d->judge ? judge.label : d->agree ? agree.label : "-", d->criteria);
    if (d->kind == MOA_DISTILL_CONSENSUS) moa_buf_addf(b, ", ROUGE-L above %g", d->min_rouge);
}

static int work(moa_distill *d, moa_model_source *from, moa_remembering *m, const moa_optval *v, moa_err *err) {
    char journal[4200];
    snprintf(journal, sizeof journal, "%s.journal", d->out);
    if (d->fresh) unlink(journal);
    const moa_journal_cfg cfg = {.path = journal, .limit = JOURNAL_BYTES};
    MOA_TRY(moa_remembering_open(m, &cfg, from->server ? NULL : moa_cli_model_path, moa_cli_open_from, from, err));
    for (int i = 0; i < d->n_mix; i++) MOA_TRY(moa_mix_spec_bind(&mix[i], m->pool, v[O_MODEL].s, err));
    if (d->judge) MOA_TRY(moa_mix_spec_bind(&judge, m->pool, v[O_MODEL].s, err));
    if (d->agree) MOA_TRY(moa_mix_spec_bind(&agree, m->pool, v[O_MODEL].s, err));
    progress p = {.t0 = moa_now(), .tty = isatty(STDERR_FILENO), .quiet = v[O_QUIET].set, .journal = m->journal};
    p.last = p.t0;
    moa_interrupt_catch();
    const int rc = moa_distill_run(d, on_progress, &p, err);
    if (p.tty && !p.quiet) fputs("\n", stderr);
    if (moa_journal_failure(m->journal, err) < 0) return moa_hint(err, err->code, "make room; the same command goes on");
    if (rc == MOA_ECANCELED) return moa_hint(err, rc, "the same command goes on after %lld prompts", (long long)d->done);
    if (rc < 0) return rc;
    if (d->first_error.code) fprintf(stderr, "moa: some runs failed; the first: %s\n", d->first_error.text);
    unlink(journal);
    tell(d, v[O_JSON].set);
    return 0;
}

static int run(int argc, char **argv) {
    moa_optval v[sizeof opts / sizeof *opts];
    const char *prompts = NULL;
    int n_pos, rc = moa_opt_parse(&moa_command_distill, argc, argv, v, &prompts, 1, &n_pos);
    if (rc) return rc < 0 ? 2 : 0;
    if (!n_pos) return moa_cli_usage(&moa_command_distill, "the prompts are missing (a JSONL file)");
    if (!v[O_OUT].set || !*v[O_OUT].s) return moa_cli_usage(&moa_command_distill, "where should the data go? -o FILE");
    moa_err err = {0};
    moa_taskset *tasks = NULL;
    moa_remembering m = {0};
    moa_buf what;
    static const moa_optval none = {0};
    moa_model_source from = {.models = moa_cli_models(&v[O_THREADS], &v[O_CTX], &v[O_ADAPTER], &v[O_TEMPLATE], &none, &none, &none), .server = v[O_SERVER].s};
    moa_distill d = {.mix = mix, .samples = v[O_SAMPLES].set ? (int)v[O_SAMPLES].i : 5, .criteria = v[O_CRITERIA].set ? (int)v[O_CRITERIA].i : 3,
                     .min_rouge = v[O_ROUGE].set ? v[O_ROUGE].f : 0.01, .seed = v[O_SEED].set ? (uint64_t)v[O_SEED].i : 1, .chunk = (int)v[O_BATCH].i, .out = v[O_OUT].s, .fresh = v[O_FRESH].set};
    moa_buf_init(&what, 1 << 16);
    if (v[O_KIND].set) rc = moa_distill_kind_find(&d.kind, v[O_KIND].s, &err);
    if (rc >= 0) rc = parse_all(&d, v, &err);
    if (rc >= 0) rc = moa_cli_two_files(prompts, d.out, &err);
    if (rc >= 0) rc = moa_cli_can_write(d.out, &err);
    if (rc >= 0) rc = open_prompts(&tasks, prompts, v, &err);
    d.prompts = tasks;
    if (rc >= 0) say_what(&what, &d, prompts, v);
    d.what = moa_buf_str(&what);
    if (rc >= 0) rc = work(&d, &from, &m, v, &err);
    for (int i = 0; i < d.n_mix; i++) moa_mix_spec_deinit(&mix[i]);
    moa_mix_spec_deinit(&judge);
    moa_mix_spec_deinit(&agree);
    moa_remembering_close(&m);
    moa_taskset_free(tasks);
    moa_buf_deinit(&what);
    return rc < 0 ? moa_cli_fail(&err) : 0;
}
