/* encoder.h - the graph of encoders (BERT and relatives): whole texts in, a vector for each of their tokens out.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_ENCODER_H
#define MOA_MODEL_ENCODER_H

#include "model/model.h"

typedef struct moa_texts {
    moa_tensor *ids, *pos;   /* i32 [n]: the texts one after another; a text's positions count from 0 */
    const int32_t *start;    /* [n_text + 1] rows where texts begin; start[n_text] = n */
    int n_text;
} moa_texts;

/* -> f32 [n, d_model] in x->arena; NULL with x->err on failure. A row depends on its own text only. */
moa_tensor *moa_encoder_forward(moa_exec *x, const moa_model *m, const moa_texts *t);

#endif
