/* sample.c - a stage that lets the model answer: candidates for the aggregator to learn from, as really sampled.
 *
 * The model is exported as it will be shipped and sampled from there, so that the candidates have the quantised model's
 * mistakes. Items come from the train split. The file is its own progress: a resumed run counts the whole lines and goes
 * on; each sample's seed follows from (recipe seed, item, sample).
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/file.h"
#include "base/rng.h"
#include "model/generate.h"
#include "train/samples.h"
#include "train/trainer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WAVE = 64 }; /* requests in one call, at least one item */

typedef struct sampler_run {
    moa_trainer *t;
    const moa_recipe_stage *s;
    int stage, per_wave;       /* items */
    moa_model *m;
    moa_adapters *adapters;    /* of a recipe that trains them; NULL */
    moa_generator *g;
    moa_render render;
    moa_item *item;            /* [per_wave] */
    moa_ids *prompt;           /* [per_wave] */
    moa_gen_req *req;          /* [per_wave x samples] */
    moa_gen_res *res;
    FILE *out;
    int64_t done, n_cand, n_correct; /* the last two: of this call, for the progress line */
} sampler_run;

/* Whole lines of the file; what follows the last newline is cut off. */
static int count_lines(int64_t *n, const char *path, moa_err *err) {
    moa_map m;
    int64_t end = 0;
    *n = 0;
    if (access(path, F_OK) != 0) return 0;
    MOA_TRY(moa_map_open(&m, path, err));
    for (size_t i = 0; i < m.size; i++)
        if (m.data[i] == '\n') end = (int64_t)i + 1, ++*n;
    bool cut = (size_t)end != m.size;
    moa_map_close(&m);
    if (cut && truncate(path, end) != 0) return moa_fail(err, MOA_EIO, "%s: cannot cut its unfinished line: %s", path, strerror(errno));
    return 0;
}

static int make_prompt(sampler_run *q, int i, uint64_t index, moa_err *err) {
    MOA_TRY(moa_data_item(&q->item[i], q->t->r, q->stage, index, err));
    const moa_message msg = {"user", moa_buf_str(&q->item[i].question)};
    char *text;
    size_t n;
    MOA_TRY(moa_chat_render(&text, &n, q->m->chat, &msg, 1, q->render.bos, q->render.eos, true, err));
    q->prompt[i].n = 0;
    int rc = moa_tokenize(&q->prompt[i], q->m->tok, text, n, MOA_TOK_SPECIAL | MOA_TOK_BOS, err);
    free(text);
    return rc;
}

static void make_requests(sampler_run *q, int i, uint64_t index) {
    for (int j = 0; j < q->s->samples; j++) {
        moa_sampling sm = moa_sampling_defaults();
        sm.temperature = (float)q->s->temperature;
        sm.top_p = (float)q->s->top_p;
        sm.seed = moa_mix64(moa_mix64((uint64_t)q->t->r->seed ^ 0x73616d70u) + index * MOA_CANDIDATES_MAX + (uint64_t)j);
        q->req[i * q->s->samples + j] = (moa_gen_req){.prompt = q->prompt[i].v, .n_prompt = q->prompt[i].n, .sampling = sm,
                                                      .max_tokens = q->s->max_tokens};
    }
}

static int write_item(sampler_run *q, int i, uint64_t index, moa_err *err) {
    const char *cand[MOA_CANDIDATES_MAX];
    bool correct[MOA_CANDIDATES_MAX];
    int n = q->s->samples, good = 0;
    for (int j = 0; j < n; j++) {
        const moa_gen_res *r = &q->res[i * n + j];
        cand[j] = r->text ? r->text : "";
        correct[j] = moa_item_check(&q->item[i], cand[j], strlen(cand[j]));
        good += correct[j];
    }
    q->n_cand += n;
    q->n_correct += good;
    moa_buf b;
    moa_buf_init(&b, 1 << 26);
    int rc = moa_samples_line(&b, &q->item[i], index, cand, correct, n);
    if (rc == 0 && (fwrite(b.data, 1, b.len, q->out) != b.len)) rc = MOA_EIO;
    moa_buf_deinit(&b);
    return rc < 0 ? moa_fail(err, rc, "cannot write the samples of stage '%s'", q->s->name) : 0;
}

static int wave(sampler_run *q, moa_err *err) {
    int64_t left = q->s->items - q->done;
    int n = (int)(left < q->per_wave ? left : q->per_wave);
    for (int i = 0; i < n; i++) {
        MOA_TRY(make_prompt(q, i, (uint64_t)(q->done + i), err));
        make_requests(q, i, (uint64_t)(q->done + i));
    }
    int n_req = n * q->s->samples;
    int rc = moa_generate(q->g, q->res, q->req, n_req, NULL, NULL, err);
    for (int i = 0; i < n_req && rc == 0; i++)
        if ((rc = q->res[i].rc) < 0 && err) *err = q->res[i].err; /* a model that cannot go on is no source of candidates */
    for (int i = 0; i < n && rc == 0; i++) rc = write_item(q, i, (uint64_t)(q->done + i), err);
    for (int i = 0; i < n_req; i++) moa_gen_res_deinit(&q->res[i]);
    if (rc == 0 && fflush(q->out) != 0) rc = moa_fail(err, MOA_EIO, "cannot write the samples of stage '%s': %s", q->s->name, strerror(errno));
    if (rc == 0) q->done += n;
    return rc;
}

static int open_run(sampler_run *q, const char *path, moa_err *err) {
    moa_trainer *t = q->t;
    char model[1300];
    const char *adapter = model;
    snprintf(model, sizeof model, "%s/%s-%s.gguf", t->dir, t->r->name, q->s->name);
    MOA_TRY(moa_trainer_export(t, model, err));
    MOA_TRY(moa_model_open(&q->m, t->low ? t->r->init.gguf : model, err));
    if (t->low) MOA_TRY(moa_adapters_open(&q->adapters, q->m, &adapter, 1, t->n_threads, err));
    MOA_TRY(moa_render_init(&q->render, q->m->tok, q->m->chat, err));
    moa_session_cfg cfg = moa_session_defaults();
    int n_req = q->per_wave * q->s->samples;
    cfg.n_threads = t->n_threads;
    cfg.n_seq = n_req + q->per_wave;
    int64_t ctx = (int64_t)n_req * (q->s->max_tokens + 2 * MOA_KV_BLOCK) + (int64_t)q->per_wave * q->m->h.n_ctx;
    cfg.n_ctx = (int)(ctx < (1 << 18) ? ctx : 1 << 18);
    MOA_TRY(moa_generator_new(&q->g, q->m, &cfg, err));
    if (t->low) MOA_TRY(moa_session_use(moa_generator_session(q->g), q->adapters, err));
    q->item = calloc((size_t)q->per_wave, sizeof *q->item);
    q->prompt = calloc((size_t)q->per_wave, sizeof *q->prompt);
    q->req = calloc((size_t)n_req, sizeof *q->req);
    q->res = calloc((size_t)n_req, sizeof *q->res);
    if (!q->item || !q->prompt || !q->req || !q->res) return moa_fail(err, MOA_ENOMEM, "no memory to sample");
    for (int i = 0; i < q->per_wave; i++) moa_item_init(&q->item[i]);
    q->out = fopen(path, "ab");
    return q->out ? 0 : moa_fail(err, MOA_EIO, "%s: cannot write: %s", path, strerror(errno));
}

static int close_run(sampler_run *q, const char *path, int rc, moa_err *err) {
    if (q->out && fclose(q->out) != 0 && rc == 0) rc = moa_fail(err, MOA_EIO, "%s: cannot write: %s", path, strerror(errno));
    for (int i = 0; i < q->per_wave; i++) {
        if (q->item) moa_item_deinit(&q->item[i]);
        if (q->prompt) moa_ids_deinit(&q->prompt[i]);
    }
    free(q->item);
    free(q->prompt);
    free(q->req);
    free(q->res);
    moa_render_deinit(&q->render);
    moa_generator_free(q->g);
    moa_adapters_close(q->adapters);
    moa_model_close(q->m);
    return rc;
}

static void report_items(const sampler_run *q) {
    if (!q->t->cfg->report) return;
    moa_train_event e = {.kind = MOA_TRAIN_ITEMS, .recipe = q->t->r, .stage = q->stage, .step = q->done, .n_step = q->s->items, .eta = -1,
                         .loss = q->n_cand ? (double)q->n_correct / (double)q->n_cand : 0, .done = (double)q->done / q->s->items};
    q->t->cfg->report(q->t->cfg->ctx, &e);
}

/* Counted from the file, so that a resumed run logs what an unbroken one does. */
static int log_summary(moa_trainer *t, const moa_recipe_stage *s, const char *path, moa_err *err) {
    moa_samples *all;
    char line[256];
    int64_t n_cand = 0, n_correct = 0;
    MOA_TRY(moa_samples_load(&all, path, err));
    for (int64_t i = 0; i < all->n; i++) n_cand += all->item[i].n, n_correct += all->item[i].n_correct;
    snprintf(line, sizeof line, "{\"stage\":\"%s\",\"items\":%lld,\"samples\":%d,\"correct\":%.4f,\"mixed\":%.4f}", s->name, (long long)all->n,
             s->samples, (double)n_correct / (double)n_cand, (double)all->n_mixed / (double)all->n);
    moa_samples_free(all);
    moa_log_line(t, line);
    moa_trainer_say(t, MOA_TRAIN_NOTE, "%s", line);
    return 0;
}

int moa_trainer_sample(moa_trainer *t, int stage, moa_err *err) {
    const moa_recipe_stage *s = &t->r->stages[stage];
    sampler_run q = {.t = t, .s = s, .stage = stage, .per_wave = s->samples < WAVE ? WAVE / s->samples : 1};
    char path[1200];
    moa_samples_path(path, sizeof path, t->dir, s->name);
    MOA_TRY(count_lines(&q.done, path, err));
    int rc = q.done < s->items ? open_run(&q, path, err) : 0;
    while (rc == 0 && q.done < s->items) {
        if (moa_trainer_stopped(t)) rc = moa_fail(err, MOA_ECANCELED, "stopped");
        else if ((rc = wave(&q, err)) == 0) report_items(&q);
    }
    rc = close_run(&q, path, rc, err);
    return rc < 0 ? rc : log_summary(t, s, path, err);
}
