/* weights.h - the list of an architecture's weights, once: open looks each up, make creates each, save writes each.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_WEIGHTS_H
#define MOA_MODEL_WEIGHTS_H

#include "model/model.h"

typedef enum moa_init { MOA_INIT_NORMAL, MOA_INIT_RESIDUAL /* normal, smaller by sqrt(2 n_layer) */, MOA_INIT_ONES } moa_init;

typedef struct moa_weight {
    const char *name;       /* "blk.3.attn_q.weight"; lives during the call */
    moa_tensor **at;        /* where the model keeps it */
    moa_linear_w *expert;   /* or: [n_expert] matrices that a file keeps as one 3-D tensor; then at is NULL */
    const char *each;       /* experts: name of one in files before 2024, "blk.3.ffn_gate.%d.weight" */
    int n_dim;
    int64_t shape[3];
    bool optional;          /* a file may lack it */
    bool router;            /* stays F32 in save: a routing error is not a rounding error */
    moa_init init;
} moa_weight;

typedef int (*moa_weight_fn)(void *ctx, moa_model *m, const moa_weight *w, moa_err *err);
/* Calls fn for every weight in file order; m->layer is allocated. Stops at the first failure. */
int moa_weights_each(moa_model *m, moa_weight_fn fn, void *ctx, moa_err *err);

/* The shell of a model: arena, hyper-parameters, layer and expert arrays, room for max_param parameters. */
int moa_model_shell(moa_model **out, const moa_arch *a, const moa_hparams *h, int max_param, moa_err *err);
/* Tokenizer and chat template from m->meta (NULL: none). */
int moa_model_text_parts(moa_model *m, moa_err *err);

#endif
