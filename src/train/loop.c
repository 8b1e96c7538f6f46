/* loop.c - a run from its first stage to the exported model; where checkpoints are written and read.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/cpu.h"
#include "base/err.h"
#include "tensor/dense.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- checkpoints ---- */
static int save(moa_trainer *t, moa_err *err) {
    moa_progress p;
    moa_log_sync(t);
    p = t->at;
    p.seconds += moa_now() - t->t0;
    return moa_checkpoint_save(t->dir, t->r, &p, &t->in, t->param, t->n_param, err);
}

/* In the middle of a run a full disk is no reason to throw away hours: the old checkpoint is whole, and there may be
 * room at the next one. */
static void save_or_warn(moa_trainer *t) {
    moa_err e = {0};
    if (save(t, &e) < 0) moa_trainer_say(t, MOA_TRAIN_WARN, "%s; training goes on; an earlier checkpoint, where there is one, is whole", e.text);
    else moa_trainer_say(t, MOA_TRAIN_NOTE, "checkpoint at step %lld", (long long)t->at.total_step);
}

static int hint_resume(const moa_trainer *t, int rc, const char *does, moa_err *err) {
    return moa_hint(err, rc, "moa train %s --resume%s%s %s", t->r->path, t->cfg->dir ? " --out " : "", t->cfg->dir ? t->dir : "", does);
}

static int stopped(moa_trainer *t, moa_err *err) {
    MOA_TRY(save(t, err));
    moa_fail(err, MOA_ECANCELED, "stopped at step %lld of stage '%s'; the checkpoint is in %s", (long long)t->at.step,
             t->r->stages[t->at.stage].name, t->dir);
    return hint_resume(t, MOA_ECANCELED, "goes on from here", err);
}

/* ---- one stage of training ---- */
static void report_step(moa_trainer *t, const moa_recipe_stage *s, const moa_step_stats *st) {
    if (!t->cfg->report) return;
    double left = (double)moa_recipe_total_tokens(t->r) - (double)t->at.tokens;
    moa_train_event e = {.kind = MOA_TRAIN_STEP, .recipe = t->r, .stage = (int)t->at.stage, .step = t->at.step, .n_step = s->steps,
                         .loss = st->loss, .loss_avg = t->at.loss_avg, .lr = st->lr, .grad_norm = st->grad_norm, .tokens_per_s = t->rate,
                         .eta = t->rate > 0 ? left / t->rate : -1, .done = (double)t->at.step / (double)s->steps};
    t->cfg->report(t->cfg->ctx, &e);
}

static int count_step(moa_trainer *t, const moa_recipe_stage *s, const moa_step_stats *st, const moa_train_batch *b, double seconds, moa_err *err) {
    moa_progress *a = &t->at;
    a->step++;
    a->total_step++;
    a->tokens += b->n;
    a->learned += b->n_learned;
    a->pack = b->after;
    double rate = (double)b->n / (seconds > 1e-9 ? seconds : 1e-9);
    t->rate = t->rate > 0 ? 0.9 * t->rate + 0.1 * rate : rate;
    if (!st->skipped) a->loss_avg = a->loss_avg > 0 ? 0.95 * a->loss_avg + 0.05 * st->loss : st->loss;
    a->skipped += st->skipped;
    a->skipped_in_row = st->skipped ? a->skipped_in_row + 1 : 0;
    moa_log_step(t, s, st, b);
    report_step(t, s, st);
    if (!st->skipped) return 0;
    moa_trainer_say(t, MOA_TRAIN_WARN, "step %lld skipped: loss %g, gradient norm %g", (long long)a->total_step, st->loss, st->grad_norm);
    if (a->skipped_in_row < MOA_SKIPS_MAX) return 0;
    moa_fail(err, MOA_ELIMIT, "stage '%s', step %lld: %d steps in a row without a finite loss and gradient", s->name, (long long)a->step,
             MOA_SKIPS_MAX);
    return moa_hint(err, MOA_ELIMIT, "lower lr or clip, or lengthen warmup, and train again");
}

/* Models of this stage at given shares of it: NAME-STAGE-PERCENT.gguf. */
static int snapshots(moa_trainer *t, const moa_recipe_stage *s, moa_err *err) {
    for (unsigned i = 0; i < s->snapshots_count; i++) {
        int64_t at = (int64_t)llround(s->snapshots[i] * (double)s->steps);
        if ((at < 1 ? 1 : at) != t->at.step) continue;
        char path[1300];
        snprintf(path, sizeof path, "%s/%s-%s-%g.gguf", t->dir, t->r->name, s->name, s->snapshots[i] * 100);
        MOA_TRY(moa_trainer_export(t, path, err));
        moa_trainer_say(t, MOA_TRAIN_NOTE, "model at %g %% of '%s': %s", s->snapshots[i] * 100, s->name, path);
    }
    return 0;
}

/* Not while steps are skipped: if the weights are what has gone wrong, the checkpoints from before are all there is. */
static bool checkpoint_due(const moa_trainer *t, double last) {
    if (t->at.skipped_in_row) return false;
    if (t->r->checkpoint.steps > 0 && t->at.total_step % t->r->checkpoint.steps == 0) return true;
    return moa_now() - last >= t->r->checkpoint.minutes * 60;
}

static int train_steps(moa_trainer *t, const moa_recipe_stage *s, moa_feed *feed, moa_err *err) {
    double last = moa_now();
    while (t->at.step < s->steps) {
        if (moa_trainer_stopped(t)) return stopped(t, err);
        const moa_train_batch *b;
        moa_step_stats st;
        double from = moa_now();
        MOA_TRY(moa_feed_take(&b, feed, err));
        MOA_TRY(moa_trainer_step(&st, t, s, b, err));
        MOA_TRY(count_step(t, s, &st, b, moa_now() - from, err));
        MOA_TRY(snapshots(t, s, err));
        if (t->at.step < s->steps && checkpoint_due(t, last)) {
            save_or_warn(t);
            last = moa_now();
        }
    }
    return 0;
}

static int train_stage(moa_trainer *t, const moa_recipe_stage *s, moa_err *err) {
    moa_data *d = NULL;
    moa_feed *feed = NULL;
    int rc = moa_inputs_check(&t->in, t->r, t->dir, (int)t->at.stage, err);
    if (rc == 0) rc = moa_data_open(&d, t->r, (int)t->at.stage, t->m->tok, t->m->chat, t->dir, err);
    if (rc == 0) rc = moa_reference_open(t, s, d, err);
    if (rc == 0) rc = moa_feed_start(&feed, d, s, &t->at.pack, s->steps - t->at.step, err);
    if (rc == 0) rc = train_steps(t, s, feed, err);
    moa_feed_stop(feed);
    moa_reference_close(t);
    moa_data_close(d);
    return rc;
}

/* ---- the run ---- */
static int run_stages(moa_trainer *t, moa_err *err) {
    while (t->at.stage < t->r->stages_count) {
        const moa_recipe_stage *s = &t->r->stages[t->at.stage];
        moa_train_event e = {.kind = MOA_TRAIN_STAGE, .recipe = t->r, .stage = (int)t->at.stage, .step = t->at.step,
                             .n_step = s->kind == MOA_STAGE_TRAIN ? s->steps : s->items, .eta = -1};
        if (t->cfg->report) t->cfg->report(t->cfg->ctx, &e);
        bool train = s->kind == MOA_STAGE_TRAIN;
        if (train && t->at.step == 0) MOA_TRY(moa_trainer_begin_stage(t, s, err));
        if (train)
            for (int i = 0; i < t->n_param; i++) moa_optim_refresh_half(t->param[i].w, t->n_threads);
        int rc = train ? train_stage(t, s, err) : moa_trainer_sample(t, (int)t->at.stage, err);
        if (rc == MOA_ECANCELED && !train) rc = stopped(t, err);
        MOA_TRY(rc);
        t->at.stage++;
        t->at.step = t->at.updates = t->at.skipped_in_row = 0;
        t->at.loss_avg = t->at.stage < t->r->stages_count && train ? 0 : t->at.loss_avg;
        t->at.pack = (moa_pack_state){0};
        if (t->at.stage < t->r->stages_count) save_or_warn(t);
    }
    return 0;
}

/* The optimiser's states are as many as the stage in work needs; then the file fills weights and states. */
static int resume(moa_trainer *t, moa_err *err) {
    if (t->at.stage < t->r->stages_count && t->at.step > 0)
        MOA_TRY(moa_trainer_begin_stage(t, &t->r->stages[t->at.stage], err));
    return moa_checkpoint_load(&t->at, t->dir, t->r, t->param, t->n_param, err);
}

/* First the checkpoint, then the model: where that cannot be written no training is lost. */
static int finish(moa_trainer *t, moa_err *err) {
    char path[MOA_OUTPUT_PATH];
    moa_err e = {0}, unsaved = {0};
    if (save(t, &unsaved) < 0) moa_trainer_say(t, MOA_TRAIN_WARN, "%s; this is the end of the run, its model comes next", unsaved.text);
    moa_output_path(path, sizeof path, t);
    int rc = moa_trainer_export(t, path, err);
    if (rc < 0) return unsaved.code ? rc : hint_resume(t, rc, "writes the model", err);
    if (moa_log_plot(t, &e) < 0) moa_trainer_say(t, MOA_TRAIN_WARN, "%s", e.text);
    moa_trainer_say(t, MOA_TRAIN_NOTE, "model: %s", path);
    return 0;
}

/* bf16 is what a recipe gets if it says nothing; other products than it asked for must not be a secret. */
static void say_without_bf16(moa_trainer *t) {
    bool wanted = false;
    for (unsigned i = (unsigned)t->at.stage; i < t->r->stages_count; i++)
        wanted |= t->r->stages[i].kind == MOA_STAGE_TRAIN && !strcmp(t->r->stages[i].dtype, "bf16");
    if (wanted && !moa_dense_has_bf16())
        moa_trainer_say(t, MOA_TRAIN_NOTE, "dtype bf16: this CPU has no bf16 products (AVX512-BF16), so all of them are done in f32: slower, and the "
                                           "weights will differ slightly from those of a CPU that has them");
}

static int run(moa_trainer *t, moa_err *err) {
    bool over;
    MOA_TRY(moa_folder_open(t, err));
    MOA_TRY(moa_folder_look(&over, t, err));
    if (over) return 0;
    MOA_TRY(moa_folder_sources(t, err));
    if (!t->cfg->resume) MOA_TRY(moa_inputs_read(&t->in, t->r, t->dir, err));
    MOA_TRY(moa_trainer_init(t, err));
    if (t->cfg->resume) MOA_TRY(resume(t, err));
    else moa_folder_wipe(t);
    MOA_TRY(moa_log_open(t, err));
    if (t->cfg->resume) moa_trainer_say(t, MOA_TRAIN_BEGIN, "going on after step %lld", (long long)t->at.total_step);
    else moa_trainer_say(t, MOA_TRAIN_BEGIN, "new run in %s", t->dir);
    say_without_bf16(t);
    t->t0 = moa_now();
    MOA_TRY(run_stages(t, err));
    MOA_TRY(finish(t, err));
    moa_trainer_say(t, MOA_TRAIN_END, "done");
    return 0;
}

int moa_train_run(moa_train_result *res, const moa_recipe *r, const moa_train_cfg *cfg, moa_err *err) {
    moa_trainer t = {.r = r, .cfg = cfg, .res = res, .log = -1, .lock = -1};
    *res = (moa_train_result){0};
    if (cfg->resume && cfg->fresh) return moa_fail(err, MOA_EUSAGE, "resume and fresh exclude each other");
    int n = cfg->dir ? snprintf(t.dir, sizeof t.dir, "%s", cfg->dir) : snprintf(t.dir, sizeof t.dir, "runs/%s", r->name);
    if (n < 0 || (size_t)n >= sizeof t.dir) return moa_fail(err, MOA_ELIMIT, "the name of the run folder is too long");
    while (n > 1 && t.dir[n - 1] == '/') t.dir[--n] = 0;
    t.n_threads = cfg->n_threads > 0 ? cfg->n_threads : moa_cpu_threads();
    t.t0 = moa_now();
    int rc = run(&t, err);
    res->steps = t.at.total_step;
    res->tokens = t.at.tokens;
    res->skipped = t.at.skipped;
    res->loss = t.at.loss_avg;
    res->seconds = t.at.seconds + moa_now() - t.t0;
    moa_trainer_deinit(&t);
    return rc;
}
