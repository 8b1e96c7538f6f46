/* weights.h - the list of an architecture's weights, once: open looks each up, make creates each, save writes each.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_WEIGHTS_H
#define MOA_MODEL_WEIGHTS_H

#include "model/model.h"

typedef enum moa_init { MOA_INIT_NORMAL, MOA_INIT_RESIDUAL /* normal, smaller by sqrt(2 n_layer) */, MOA_INIT_ONES, MOA_INIT_ZEROS } moa_init;

/* A tensor of a file is one of the model, or several that lie side by side in it: the experts of a layer, the rows of a
 * fused projection. */
typedef struct moa_part {
    moa_tensor **at;        /* where the model keeps it */
    int64_t rows;           /* of the whole tensor seen as rows; of vectors: elements */
} moa_part;

typedef struct moa_weight {
    const char *name;       /* "blk.3.attn_q.weight"; lives during the call */
    const char *each;       /* experts: name of one in files before 2024, "blk.3.ffn_gate.%d.weight"; else NULL */
    const moa_part *part;   /* [n_part] in order; rows add up to the whole */
    int n_part;
    int part_dim;           /* axes of a part: 1 (in memory always f32), 2, 3 */
    int n_dim;
    int64_t shape[3];
    bool optional;          /* a file may lack it; a made model does */
    bool router;            /* stays F32 in save: a routing error is not a rounding error */
    moa_init init;
} moa_weight;

typedef int (*moa_weight_fn)(void *ctx, moa_model *m, const moa_weight *w, moa_err *err);
/* Calls fn for every weight in file order; m->layer is allocated. Stops at the first failure. */
int moa_weights_each(moa_model *m, moa_weight_fn fn, void *ctx, moa_err *err);

/* The shell of a model: arena, hyper-parameters, layer and expert arrays, room for max_param parameters. */
int moa_model_shell(moa_model **out, const moa_arch *a, const moa_hparams *h, int max_param, moa_err *err);
/* What is worked out from weights and numbers: windows, ways to rotate. Once all weights are bound. */
int moa_model_derive(moa_model *m, moa_err *err);
int moa_rope_forms_make(moa_model *m, moa_err *err);
void moa_model_number_sites(moa_model *m);
/* Tokenizer and chat template from m->meta (NULL: none). */
int moa_model_text_parts(moa_model *m, moa_err *err);

#endif
