/* trainer.h - what the files of a run share (loop.c, folder.c, setup.c, step.c, sample.c, report.c). Not for other folders.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TRAIN_TRAINER_H
#define MOA_TRAIN_TRAINER_H

#include "train/checkpoint.h"
#include "train/train.h"

enum { MOA_SKIPS_MAX = 20 }; /* steps in a row without a finite gradient: the run has failed */

typedef struct moa_trainer {
    const moa_recipe *r;
    const moa_train_cfg *cfg;
    char dir[1024];
    int n_threads;
    moa_gguf *meta;            /* tokenizer and chat template */
    moa_model *m;
    moa_optim_param *param; int n_param; /* what is trained: the model's parameters, or a recipe's low-rank matrices */
    struct moa_low_rank *low;  /* NULL: the whole model is trained */
    float *states;             /* of this stage, one block */
    uint16_t *halves;          /* bf16 copies, one block; NULL when the stage computes in f32 */
    moa_tensor *half;          /* their tensors: of the model's parameters, then of what else is trained */
    moa_exec x;                /* training graph */
    moa_exec scratch;          /* the optimiser's memory, reset for each parameter */
    moa_progress at;
    moa_inputs in;             /* what the recipe's files held when the run began */
    int log;                   /* log.jsonl; -1: not open */
    int lock;                  /* the run folder; -1: not open */
    double t0, rate;           /* start of this call; smoothed tokens/s */
    moa_train_result *res;
    float *reference; int64_t n_reference; /* of a dpo stage: [n_reference][2] log-probabilities of chosen and rejected, as it began */
} moa_trainer;

/* folder.c */
int moa_folder_open(moa_trainer *t, moa_err *err);              /* makes it, locks it, removes what a killed run left behind */
/* Sets t->at to go on from there (resume). *over: the run is finished, its model is there and nothing is to do. An error where an
 * unfinished run, or one of another recipe, would be lost. */
int moa_folder_look(bool *over, moa_trainer *t, moa_err *err);
void moa_folder_wipe(const moa_trainer *t);                     /* checkpoints and samples of the run before */
int moa_folder_sources(const moa_trainer *t, moa_err *err);     /* can all files be read that the stages ahead name? */
void moa_output_path(char *path, size_t n, const moa_trainer *t); /* of the finished model */

/* setup.c */
int moa_trainer_init(moa_trainer *t, moa_err *err);
void moa_trainer_deinit(moa_trainer *t);
int moa_trainer_begin_stage(moa_trainer *t, const moa_recipe_stage *s, moa_err *err); /* states to zero, bf16 copies made */
int moa_trainer_export(moa_trainer *t, const char *path, moa_err *err);

/* lora.c: low-rank matrices beside the linears of t->m, whose own weights stay; they are t->param from then on. */
int moa_low_rank_new(moa_trainer *t, moa_err *err);
void moa_low_rank_free(moa_trainer *t);
int moa_low_rank_export(const moa_trainer *t, const char *path, moa_err *err); /* as an adapter (adapt/) */

/* step.c: forward, backward, clip, update of one batch */
typedef struct moa_step_stats { double loss, grad_norm, lr; bool skipped; } moa_step_stats;
int moa_trainer_step(moa_step_stats *out, moa_trainer *t, const moa_recipe_stage *s, const moa_train_batch *b, moa_err *err);

/* Adds each pair's sums of log-probabilities, of the model as it is, to of[n_pair][2]. */
int moa_trainer_log_probs(double *of, int64_t n_pair, moa_trainer *t, const moa_recipe_stage *s, const moa_train_batch *b, moa_err *err);

/* reference.c: t->reference of a dpo stage, computed where the stage begins, read where it goes on */
int moa_reference_open(moa_trainer *t, const moa_recipe_stage *s, moa_data *d, moa_err *err);
void moa_reference_close(moa_trainer *t);

/* sample.c */
int moa_trainer_sample(moa_trainer *t, int stage, moa_err *err);

/* report.c */
int moa_log_open(moa_trainer *t, moa_err *err);   /* cut to what belongs to t->at */
void moa_log_step(moa_trainer *t, const moa_recipe_stage *s, const moa_step_stats *st, const moa_train_batch *b);
void moa_log_line(moa_trainer *t, const char *line);
void moa_log_sync(moa_trainer *t);                /* sets at.log_bytes */
int moa_log_plot(moa_trainer *t, moa_err *err);   /* loss.svg from the log */
void moa_trainer_say(moa_trainer *t, moa_train_kind kind, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static inline bool moa_trainer_stopped(const moa_trainer *t) { return t->cfg->stop && *t->cfg->stop; }

#endif
