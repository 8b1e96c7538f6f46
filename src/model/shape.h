/* shape.h - models in the shapes of published ones, with random weights: what speed is measured on where the real file is not at
 * hand. Time depends on shapes and types, not on what the weights say.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_SHAPE_H
#define MOA_MODEL_SHAPE_H

#include "model/model.h"

typedef struct moa_shape {
    const char *name, *help;
    const char *arch;
    moa_hparams h;
} moa_shape;
const moa_shape *moa_shapes(int *n);
const moa_shape *moa_shape_find(const char *name);

/* A GGUF file of this shape: matrices of `type`, vectors and routers f32, a made-up SentencePiece vocabulary of single bytes and
 * random words. The same seed gives the same file. */
int moa_shape_write(const moa_shape *s, moa_dtype type, uint64_t seed, const char *path, moa_err *err);

#endif
