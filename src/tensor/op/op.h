/* op.h - what op files share: checks of shapes, with both shapes in the error, and short names.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_OP_OP_H
#define MOA_TENSOR_OP_OP_H

#include "base/err.h"
#include "tensor/exec.h"
#include "tensor/kernels/body/train.h"

#include <string.h>

/* "[4096, 256] F32" in the caller's buffer. */
typedef struct moa_shape_text { char s[120]; } moa_shape_text;
const char *moa_shape_str(moa_shape_text *buf, const moa_tensor *t);
#define SHAPE(t) moa_shape_str(&(moa_shape_text){{0}}, (t))

/* n->in[i] must be there and of this type; role is its name in errors. */
int moa_op_need(const moa_node *n, int i, const char *role, moa_dtype dtype, moa_err *err);
int moa_op_same_shape(const moa_node *n, int i, int j, moa_err *err);
/* Vector of `len` elements; a missing optional input is fine. */
int moa_op_vector(const moa_node *n, int i, const char *role, moa_dtype dtype, int64_t len, bool optional, moa_err *err);
/* out has the shape of t, f32. */
void moa_op_like(moa_tensor *out, const moa_tensor *t);
/* Every id in [0, n), else a sticky error. */
bool moa_op_ids_ok(moa_exec *x, const moa_node *n, const moa_tensor *ids, int64_t limit);
/* Memory in the arena that lives as long as the node; NULL with a sticky error. */
void *moa_op_alloc(moa_exec *x, const moa_node *n, int64_t count, size_t size);
/* Give n->out a bf16 copy for dense products, when they will want one; NULL otherwise. */
uint16_t *moa_op_half_out(moa_exec *x, moa_node *n);
/* dst[d] += sum over chunks of part [n_chunk, d], in the order of chunks. */
void moa_op_sum_parts(float *dst, const float *part, int64_t n_chunk, int64_t d);

static inline const moa_train_kernels *moa_train_of(const moa_exec *x) { return x->k->slot[MOA_K_TRAIN][MOA_F32]->fn.train; }
static inline int64_t moa_n_chunk(int64_t rows) { return (rows + MOA_CHUNK - 1) / MOA_CHUNK; }
/* Training with bf16 products? */
bool moa_op_bf16(const moa_exec *x);

#define PARAM(type, n) ((const type *)(const void *)(n)->param)

#endif
