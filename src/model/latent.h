/* latent.h - latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_LATENT_H
#define MOA_MODEL_LATENT_H

#include "model/model.h"

/* Queries, keys and values of normed rows in [n, d_model], rotated, in the shapes of moa_kv_shape_of. */
void moa_latent_heads(moa_tensor *qkv[3], moa_exec *x, const moa_model *m, const moa_layer *l, moa_tensor *in, const moa_rows_in *rows);
/* What attention gave -> [n, n_head * d_value]. */
moa_tensor *moa_latent_values(moa_exec *x, const moa_model *m, const moa_layer *l, moa_tensor *attended);

#endif
