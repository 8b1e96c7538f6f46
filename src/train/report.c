/* report.c - what a run leaves behind: one JSON line a step, the plot of the loss, events to the caller.
 * A line's "seconds" and "tokens_per_s" come last; all before them is the same in every run of the recipe.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/plot.h"
#include "train/trainer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void moa_trainer_say(moa_trainer *t, moa_train_kind kind, const char *fmt, ...) {
    if (!t->cfg->report) return;
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    moa_train_event e = {.kind = kind, .recipe = t->r, .stage = (int)t->at.stage, .step = t->at.step, .text = text, .eta = -1};
    if (t->m) e.n_step = moa_model_n_weights(t->m);
    t->cfg->report(t->cfg->ctx, &e);
}

static void log_path(char *out, size_t n, const moa_trainer *t) { snprintf(out, n, "%s/log.jsonl", t->dir); }

int moa_log_open(moa_trainer *t, moa_err *err) {
    char path[1200];
    log_path(path, sizeof path, t);
    t->log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (t->cfg->resume ? 0 : O_TRUNC), 0644);
    if (t->log < 0) return moa_fail(err, MOA_EIO, "%s: cannot write the log: %s", path, strerror(errno));
    /* Lines after the checkpoint will be written again. */
    if (t->cfg->resume && lseek(t->log, 0, SEEK_END) > t->at.log_bytes && ftruncate(t->log, t->at.log_bytes) != 0)
        return moa_fail(err, MOA_EIO, "%s: cannot cut the log to the checkpoint: %s", path, strerror(errno));
    return 0;
}

/* A line at once, so that others can follow. A lost line is no reason to stop; half a line is cut off, since it would spoil the next. */
void moa_log_line(moa_trainer *t, const char *line) {
    if (t->log < 0) return;
    off_t end = lseek(t->log, 0, SEEK_END);
    if (dprintf(t->log, "%s\n", line) < 0 && end >= 0 && ftruncate(t->log, end) != 0) return;
}

/* On the disk before the checkpoint that counts its bytes. */
void moa_log_sync(moa_trainer *t) {
    if (t->log < 0) return;
    (void)fdatasync(t->log);
    t->at.log_bytes = lseek(t->log, 0, SEEK_END);
}

void moa_log_step(moa_trainer *t, const moa_recipe_stage *s, const moa_step_stats *st, const moa_train_batch *b) {
    char line[512];
    snprintf(line, sizeof line,
             "{\"step\":%lld,\"stage\":\"%s\",\"stage_step\":%lld,\"loss\":%.6f,\"loss_avg\":%.6f,\"lr\":%.6g,\"grad_norm\":%.5g,"
             "\"tokens\":%lld,\"learned\":%lld,\"used\":%.4f,\"skipped\":%s,\"seconds\":%.3f,\"tokens_per_s\":%.0f}",
             (long long)t->at.total_step, s->name, (long long)t->at.step, st->skipped ? 0.0 : st->loss, t->at.loss_avg, st->lr,
             st->skipped ? 0.0 : st->grad_norm, (long long)t->at.tokens, (long long)b->n_learned, (double)b->n_used / (double)b->n,
             st->skipped ? "true" : "false", t->at.seconds + moa_now() - t->t0, t->rate);
    moa_log_line(t, line);
}

/* ---- plot ---- */
typedef struct points { moa_plot_point *v; size_t n, cap; } points;

static int add_point(points *p, double x, double y) {
    if (p->n == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 1024;
        moa_plot_point *v = realloc(p->v, cap * sizeof *v);
        if (!v) return MOA_ENOMEM;
        p->v = v;
        p->cap = cap;
    }
    p->v[p->n++] = (moa_plot_point){.x = x, .y = y};
    return 0;
}

static int read_points(points *raw, points *avg, const char *path, moa_err *err) {
    moa_jsonl r;
    json_t *o;
    int rc;
    MOA_TRY(moa_jsonl_open(&r, path, (size_t)1 << 30, err));
    while ((rc = moa_jsonl_next(&o, &r, err)) > 0) {
        double step = json_number_value(json_object_get(o, "step"));
        const json_t *loss = json_object_get(o, "loss");
        if (loss && !json_is_true(json_object_get(o, "skipped")) &&
            (add_point(raw, step, json_number_value(loss)) < 0 || add_point(avg, step, json_number_value(json_object_get(o, "loss_avg"))) < 0))
            rc = moa_fail(err, MOA_ENOMEM, "%s: no memory for the plot", path);
        json_decref(o);
        if (rc < 0) break;
    }
    moa_jsonl_close(&r);
    return rc;
}

/* At most about 1500 points: every k-th. */
static void thin(points *p) {
    size_t k = (p->n + 1499) / 1500, m = 0;
    for (size_t i = 0; k > 1 && i < p->n; i += k) p->v[m++] = p->v[i];
    if (k > 1) p->n = m;
}

int moa_log_plot(moa_trainer *t, moa_err *err) {
    char path[1200];
    points raw = {0}, avg = {0};
    moa_buf svg;
    moa_buf_init(&svg, 1 << 24);
    log_path(path, sizeof path, t);
    int rc = read_points(&raw, &avg, path, err);
    thin(&raw);
    thin(&avg);
    const moa_plot_series s[] = {{.name = "loss", .point = raw.v, .n_point = raw.n, .no_marker = true, .faint = true},
                                 {.name = "smoothed", .point = avg.v, .n_point = avg.n, .no_marker = true}};
    const moa_plot p = {.title = t->r->name, .x_label = "step", .y_label = "loss (nats a token)", .series = s, .n_series = 2};
    if (rc == 0 && (rc = moa_plot_svg(&svg, &p)) < 0) moa_fail(err, rc, "%s: cannot draw the loss", path);
    snprintf(path, sizeof path, "%s/loss.svg", t->dir);
    moa_writer *w = NULL;
    if (rc == 0) rc = moa_writer_open(&w, path, err);
    if (rc == 0) {
        moa_writer_add(w, moa_buf_str(&svg), svg.len);
        rc = moa_writer_commit(w, err);
    }
    moa_buf_deinit(&svg);
    free(raw.v);
    free(avg.v);
    return rc;
}
