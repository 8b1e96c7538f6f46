/* explain_lab.h - where moa explain measures: the works of a layer, done by the functions that the graph calls, on made-up weights.
 *
 * Weights come from a ring of memory beyond the caches, the next ones for every call, since a step finds none of a large model's in a cache; of
 * a model that is smaller than the ring, so much of it is used. The ring lies on small pages, as a mapped file does, or on large ones, as packed weights do (tensor/pack.h).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_EXPLAIN_LAB_H
#define MOA_MODEL_EXPLAIN_LAB_H

#include "model/explain.h"

typedef enum moa_work_kind { MOA_WORK_LINEAR /* of 1 to 3 weights together */, MOA_WORK_GATED /* gate and up */, MOA_WORK_EXPERTS /* gate, up, down of all */ } moa_work_kind;

typedef struct moa_work {
    moa_work_kind kind;
    moa_part part;
    int n_w;
    moa_tensor w[3];   /* as the model's, but for data */
    double count;      /* how many of it the model has */
} moa_work;

typedef struct moa_lab {
    moa_exec x;
    const moa_model *m;
    char *ring;
    size_t size, at;   /* bytes that are used, where the next weights begin */
    float *rows;       /* [MOA_LAB_ROWS, widest] */
    int64_t widest;
} moa_lab;

enum { MOA_LAB_ROWS = 512 };

/* repack: products read packed weights. step_bytes: of the weights that a large step reads. */
int moa_lab_open(moa_lab *b, const moa_model *m, int threads, bool repack, double step_bytes, int64_t widest, moa_err *err);
void moa_lab_close(moa_lab *b);

/* Seconds, or a code below 0 with err filled. n rows; profile [n_profile, n_expert]: rows of the experts, whose sum is about n * used; the
 * mean of all profiles counts. */
int moa_lab_work(double *s, moa_lab *b, const moa_work *w, int n, const double *profile, int n_profile, int runs, moa_err *err);
/* Attention of all layers: n rows of sequences that share `at` positions, or a prefill (at 0). */
int moa_lab_attention(double *s, moa_lab *b, int n, int at, int runs, moa_err *err);
/* Of one layer, what lies between: norms, rotations, sums. */
int moa_lab_small(double *s, moa_lab *b, int n, int runs, moa_err *err);

#endif
