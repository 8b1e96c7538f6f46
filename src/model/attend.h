/* attend.h - attention of a step's rows over the paged KV.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_ATTEND_H
#define MOA_MODEL_ATTEND_H

#include "model/kv.h"

typedef struct moa_attend_rows {
    const moa_kv *kv;
    const int32_t *seq, *pos; /* [n] of each row */
    const int32_t *order;     /* [n] rows so that those which share blocks are neighbours */
    float *scratch;           /* [n_threads][scratch_floats] */
    size_t scratch_floats;
    float *parts;             /* [part_floats] states of spans, where one long sequence is cut for the threads */
    size_t part_floats;
} moa_attend_rows;

size_t moa_attend_scratch(const moa_hparams *h); /* floats a thread */
size_t moa_attend_parts(const moa_hparams *h);   /* floats of parts */
/* Sorts order [n] (a permutation) by block list, then position. No heap call. */
void moa_attend_order(int32_t *order, const moa_attend_rows *r, int n);
/* A moa_attend_fn; ctx is a moa_attend_rows. Writes k and v of all rows into the store, then attends. */
moa_tensor *moa_attend_paged(moa_exec *x, void *ctx, const moa_model *m, int layer, moa_tensor *q, moa_tensor *k, moa_tensor *v);

#endif
