/* train.h - running a recipe: stages of training and sampling, checkpoints, log, exported models.
 *
 * The run folder holds: tokenizer.gguf (and chat template), checkpoint-{0,1}.moa, log.jsonl, loss.svg, samples-STAGE.jsonl,
 * NAME-STAGE-PERCENT.gguf (snapshots), and NAME.gguf unless the recipe says where the model goes.
 *
 * A run is a function of its recipe, its number of threads and the instruction set: the same bits come out, stopped
 * and resumed or not.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TRAIN_TRAIN_H
#define MOA_TRAIN_TRAIN_H

#include "train/recipe.h"

#include <signal.h>

typedef enum moa_train_kind {
    MOA_TRAIN_BEGIN,      /* text: "new run" or where it goes on; n_step: weights of the model */
    MOA_TRAIN_STAGE,      /* a stage begins: stage, n_step */
    MOA_TRAIN_STEP,       /* a step is done */
    MOA_TRAIN_ITEMS,      /* sampling: step of n_step items done; loss: share of correct candidates so far */
    MOA_TRAIN_NOTE,       /* text: a checkpoint, an exported model */
    MOA_TRAIN_WARN,       /* text: a skipped step, a checkpoint that could not be written */
    MOA_TRAIN_END
} moa_train_kind;

typedef struct moa_train_event {
    moa_train_kind kind;
    const moa_recipe *recipe;
    int stage;
    int64_t step, n_step;         /* of the stage; step counts from 1 */
    double loss, loss_avg, lr, grad_norm;
    double tokens_per_s, eta;     /* eta: seconds to the end of all train stages, < 0 when unknown */
    double done;                  /* share of the stage, 0..1 */
    const char *text;
} moa_train_event;

typedef struct moa_train_cfg {
    const char *dir;              /* run folder; NULL: runs/NAME */
    bool resume;                  /* go on from the newest checkpoint; an error when there is none */
    bool fresh;                   /* start over though a run of this or of another recipe lies there */
    int n_threads;                /* 0: all cores */
    const volatile sig_atomic_t *stop; /* not 0: finish the step, write the checkpoint, return MOA_ECANCELED */
    void (*report)(void *ctx, const moa_train_event *e); /* may be NULL */
    void *ctx;
} moa_train_cfg;

enum { MOA_OUTPUT_PATH = 4200 };  /* bytes; a recipe's strings are shorter */
typedef struct moa_train_result {
    int64_t steps, tokens, skipped;
    double loss, seconds;         /* smoothed loss at the end */
    char model_path[MOA_OUTPUT_PATH]; /* what was exported last */
} moa_train_result;

/* Where neither resume nor fresh is asked for and the folder holds the finished run of this recipe with its model, nothing is done:
 * a note says so, the result names the model, and 0 is returned. */
int moa_train_run(moa_train_result *res, const moa_recipe *r, const moa_train_cfg *cfg, moa_err *err);

#endif
