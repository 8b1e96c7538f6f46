/* training.h - whole runs of very small models in a temporary folder: recipes from text, what a run reports, what it leaves behind.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TEST_TRAINING_H
#define MOA_TEST_TRAINING_H

#include "train/train.h"

#include <sys/resource.h>

/* A model that takes a second for a hundred steps; keys of a stage follow. */
#define TRAIN_MODEL "model: {n_layer: 1, d_model: 32, n_head: 2, n_kv: 1, d_ff: 64, n_ctx: 256}\n"
#define TRAIN_HEAD "name: t\n" TRAIN_MODEL "tokenizer: {n_vocab: 300, items: 100}\noutput: {type: F32}\n"
#define TRAIN_DATA "data: [{family: arithmetic, levels: [1]}]"

/* For cmocka_run_group_tests: a folder for the runs, removed at the end. */
extern char train_root[64];
int train_setup(void **state);
int train_teardown(void **state);
const char *train_path(const char *run, const char *file); /* in it; good for the next few calls */

/* What the report callback does at a step of this call (0: never), and what it has seen. */
typedef struct train_probe {
    sig_atomic_t stop;
    bool fresh;
    int64_t stop_at, limit_at, free_at;  /* stop the run; limit the size of files; lift the limit */
    rlim_t limit;                        /* bytes; 0: 16384 */
    void (*at_stage)(void *ctx, int stage); /* called when a stage begins; NULL: nobody */
    void (*at_step)(void *ctx, int64_t step);
    void *ctx;
    int64_t steps;
    int warnings, f32_notes;             /* the latter: that bf16 has become f32 */
    double first, last;                  /* losses: of the first step, smoothed of the last */
    char warning[512], note[512], f32_note[512];
} train_probe;

moa_recipe *train_parse(const char *recipe); /* as t.yaml; fails the test where it is refused */
/* Runs a recipe in the folder's run `name`. */
int train_in(const char *name, const char *recipe, train_probe *p, bool resume, int threads, moa_err *err);
void train_ok(const char *name, const char *recipe, bool resume, train_probe *p); /* on one thread; fails the test where it fails */

char *train_content(const char *name, const char *file, size_t *n); /* of a file of a run */
void train_same_file(const char *a, const char *b, const char *file);
void train_same_log(const char *a, const char *b); /* but for the times of each line */

#endif
