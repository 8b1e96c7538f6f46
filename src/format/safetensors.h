/* safetensors.h - one mapped .safetensors file: names, types, shapes and where the bytes lie.
 * Format: u64 length of the header, a JSON header, then the data (README of huggingface/safetensors).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FORMAT_SAFETENSORS_H
#define MOA_FORMAT_SAFETENSORS_H

#include "tensor/tensor.h"

enum { MOA_ST_MAX_DIM = 8 };

typedef struct moa_st_tensor {
    const char *name;   /* 0-terminated, lives as long as the file */
    const char *dtype;  /* as the file spells it: "BF16" */
    int n_dim;          /* 0: a scalar */
    int64_t shape[MOA_ST_MAX_DIM];
    const uint8_t *data; /* in the mapping; may be unaligned; size bytes */
    size_t size;        /* shape x dtype, checked; 0 for an empty tensor */
} moa_st_tensor;

typedef struct moa_safetensors moa_safetensors;

/* Checks everything before it returns: header length, JSON (depth, duplicates), dtype x shape = bytes, offsets inside the
 * file, no overlap and no gap. Errors name the file and the tensor, got and expected. */
int moa_safetensors_open(moa_safetensors **out, const char *path, moa_err *err);
int moa_safetensors_open_memory(moa_safetensors **out, const void *data, size_t size, const char *name, moa_err *err); /* borrows */
void moa_safetensors_close(moa_safetensors *s);

const char *moa_safetensors_path(const moa_safetensors *s);
int moa_safetensors_n(const moa_safetensors *s);
const moa_st_tensor *moa_safetensors_at(const moa_safetensors *s, int i); /* in the order of the data */
const moa_st_tensor *moa_safetensors_find(const moa_safetensors *s, const char *name); /* NULL: none; binary search */
const char *moa_safetensors_meta(const moa_safetensors *s, const char *key); /* of "__metadata__"; NULL: none */

/* The type as moa has it, or MOA_EUNSUPPORTED naming file, tensor and the type that was found. */
int moa_st_dtype(moa_dtype *out, const moa_safetensors *s, const moa_st_tensor *t, moa_err *err);
/* The values of a float tensor as f32 (F32, F16, BF16, F64): out has room for all. */
int moa_st_floats(float *out, const moa_safetensors *s, const moa_st_tensor *t, moa_err *err);

#endif
