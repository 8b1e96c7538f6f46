/* samples.h - candidates that a model really gave: one JSON object a line, written by a sample stage, read by the
 * aggregate source. {"family", "level", "index", "question", "answer", "solution", "candidates": [..], "correct": [..]}
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TRAIN_SAMPLES_H
#define MOA_TRAIN_SAMPLES_H

#include "base/arena.h"
#include "task/task.h"

enum { MOA_CANDIDATES_MAX = 64 };
typedef struct moa_sampled {
    const char *question, *solution, *answer;
    const char **cand;
    const unsigned char *correct;
    int n, n_correct;
} moa_sampled;

typedef struct moa_samples {
    moa_arena *arena;
    moa_sampled *item;
    int64_t n;
    int64_t *mixed;  /* items with right and wrong candidates */
    int64_t n_mixed;
} moa_samples;

int moa_samples_load(moa_samples **out, const char *path, moa_err *err);
void moa_samples_free(moa_samples *s);
/* One line (with its newline) for an item and its candidates. */
int moa_samples_line(moa_buf *out, const moa_item *it, uint64_t index, const char *const *cand, const bool *correct, int n);

#endif
