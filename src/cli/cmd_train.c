/* cmd_train.c - moa train RECIPE: shows a run as it goes. On a terminal one line that is redrawn; else a plain line now
 * and then. Ctrl-C finishes the step and writes the checkpoint.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/live.h"
#include "train/train.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

enum { O_RESUME, O_FRESH, O_THREADS, O_OUT, O_CHECK };
static const moa_opt opts[] = {
    {"--resume", NULL, MOA_OPT_FLAG, NULL, "go on from the newest checkpoint", 0, 0},
    {"--fresh", NULL, MOA_OPT_FLAG, NULL, "start over, even where a run lies", 0, 0},
    MOA_ROW_THREADS,
    {"--out", "-o", MOA_OPT_STR, "DIR", "run folder (default: runs/NAME of the recipe)", 0, 0},
    {"--check", NULL, MOA_OPT_FLAG, NULL, "only read the recipe and say what it would do", 0, 0},
    MOA_ROWS_END,
};

static int run(int argc, char **argv);
const moa_command moa_command_train = {
    .name = "train", .usage = "RECIPE.yaml [--resume] [--threads N] [--out DIR]", .help = "train a model by a recipe",
    .more = "The run folder gets checkpoints, log.jsonl, loss.svg and models. Ctrl-C (or a terminal or a pipe that closes) stops\n"
            "after the step in work; --resume goes on and gives the same bits as a run that never stopped. On a machine with other work,\n"
            "OMP_WAIT_POLICY=passive in the environment keeps threads from spinning while they wait for each other.",
    .opts = opts, .run = run,
};

static volatile sig_atomic_t stop_flag;
static void on_signal(int sig) {
    (void)sig;
    stop_flag = 1;
}

/* One Ctrl-C asks, a second one kills; a terminal that closes asks too, unless nohup said that it does not matter, and so does a reader of
 * the progress that goes away (every further line meets the closed pipe, so that one is asked and no more). */
static void catch_signals(void) {
    struct sigaction ask = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND}, again = {.sa_handler = on_signal}, hup;
    sigaction(SIGINT, &ask, NULL);
    sigaction(SIGTERM, &ask, NULL);
    sigaction(SIGPIPE, &again, NULL);
    if (sigaction(SIGHUP, NULL, &hup) == 0 && hup.sa_handler != SIG_IGN) sigaction(SIGHUP, &ask, NULL);
}

typedef struct view {
    bool tty, bar;     /* bar: a redrawn line is on the screen */
    double last;
} view;

static void clear_bar(view *v) {
    if (v->bar) fputs("\r\033[K", stderr);
    v->bar = false;
}

static void duration(char *out, size_t n, double s) {
    if (s < 0) snprintf(out, n, "?");
    else if (s < 3600) snprintf(out, n, "%d:%02d", (int)s / 60, (int)s % 60);
    else snprintf(out, n, "%d:%02d:%02d", (int)s / 3600, (int)s / 60 % 60, (int)s % 60);
}

/* In a narrow terminal a short one or none: the numbers behind it matter more. */
static void draw_bar(char *out /* [24] */, double done, int width) {
    const int n = width >= 80 ? 20 : width >= 60 ? 10 : 0, k = (int)(done * n + 0.5);
    out[0] = 0;
    if (!n) return;
    out[0] = '[';
    for (int i = 0; i < n; i++) out[1 + i] = i < k ? '#' : '.';
    memcpy(out + n + 1, "] ", 3);
}

static void show_progress(view *v, const moa_train_event *e) {
    double now = moa_now();
    bool last = e->step == e->n_step;
    if (!last && now - v->last < (v->tty ? 0.1 : 5.0)) return;
    v->last = now;
    const char *name = e->recipe->stages[e->stage].name;
    char bar[24] = "", eta[32], line[256];
    if (v->tty) draw_bar(bar, e->done, moa_term_width());
    duration(eta, sizeof eta, e->eta);
    if (e->kind == MOA_TRAIN_ITEMS)
        snprintf(line, sizeof line, "%s %sitem %lld/%lld  correct %.1f %%", name, bar, (long long)e->step, (long long)e->n_step, 100 * e->loss);
    else
        snprintf(line, sizeof line, "%.16s %sloss %.4f  eta %s  step %lld/%lld  %.0f tok/s  lr %.2e", name, bar, e->loss_avg, eta, (long long)e->step,
                 (long long)e->n_step, e->tokens_per_s, e->lr); /* what matters most first: a narrow terminal cuts the end */
    if (v->tty) moa_term_status(line);
    if (!v->tty || last) fprintf(stderr, "%s\n", v->tty ? "" : line);
    v->bar = v->tty && !last;
}

static void report(void *ctx, const moa_train_event *e) {
    view *v = ctx;
    switch (e->kind) {
    case MOA_TRAIN_STEP:
    case MOA_TRAIN_ITEMS: show_progress(v, e); return;
    case MOA_TRAIN_BEGIN: fprintf(stderr, "%s: %.2f M weights, %s\n", e->recipe->name, (double)e->n_step / 1e6, e->text); return;
    case MOA_TRAIN_WARN:
    case MOA_TRAIN_NOTE:
        clear_bar(v);
        fprintf(stderr, "%s%s\n", e->kind == MOA_TRAIN_WARN ? "warning: " : "", e->text);
        return;
    case MOA_TRAIN_STAGE:
    case MOA_TRAIN_END: return;
    }
}

static void describe(const moa_recipe *r) {
    printf("%s: %u stage%s, %.1f M tokens\n", r->name, r->stages_count, r->stages_count == 1 ? "" : "s", (double)moa_recipe_total_tokens(r) / 1e6);
    for (unsigned i = 0; i < r->stages_count; i++) {
        const moa_recipe_stage *s = &r->stages[i];
        if (s->kind == MOA_STAGE_TRAIN)
            printf("  %-12s train   %lld steps of %lld tokens, %s, lr %g to %g (%s), %s\n", s->name, (long long)s->steps,
                   (long long)s->batch_tokens, s->optimizer, s->lr, s->min_lr, s->schedule, s->dtype);
        else printf("  %-12s sample  %d items, %d samples each, temperature %g\n", s->name, s->items, s->samples, s->temperature);
    }
}

static int run(int argc, char **argv) {
    moa_optval v[sizeof opts / sizeof *opts];
    const char *pos[1] = {0};
    int n_pos;
    int rc = moa_opt_parse(&moa_command_train, argc, argv, v, pos, 1, &n_pos);
    if (rc) return rc < 0 ? 2 : 0;
    if (n_pos == 0) return moa_cli_usage(&moa_command_train, "the recipe is missing");
    moa_err err = {0};
    moa_recipe *r;
    if (moa_recipe_load(&r, pos[0], &err) < 0) return moa_cli_fail(&err);
    if (v[O_CHECK].set) {
        describe(r);
        moa_recipe_free(r);
        return 0;
    }
    catch_signals();
    view shown = {.tty = isatty(2)};
    moa_train_cfg cfg = {.dir = v[O_OUT].s, .resume = v[O_RESUME].set, .fresh = v[O_FRESH].set, .n_threads = (int)v[O_THREADS].i,
                         .stop = &stop_flag, .report = report, .ctx = &shown};
    moa_train_result res;
    rc = moa_train_run(&res, r, &cfg, &err);
    clear_bar(&shown);
    int code = 0;
    if (rc < 0) code = moa_cli_fail(&err);
    else printf("%s\n", res.model_path);
    moa_recipe_free(r);
    return code;
}
