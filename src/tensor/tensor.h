/* tensor.h - element types and tensors.
 *
 * A tensor is a view: shape, strides, data. It never owns its data (an arena, a mapped file or a model does).
 * Shapes are row-major: shape[0] is the outermost axis, shape[n_dim - 1] the contiguous one. (GGUF stores
 * the same numbers in the opposite order; format/gguf.c turns them round and nobody else needs to know.)
 * Rows of block types are whole blocks.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_TENSOR_H
#define MOA_TENSOR_TENSOR_H

#include "moa.h"

/* Numbers are those of the GGUF specification, since they are stored in files. */
typedef enum moa_dtype {
    MOA_F32 = 0, MOA_F16 = 1, MOA_Q4_0 = 2, MOA_Q4_1 = 3, MOA_Q5_0 = 6, MOA_Q5_1 = 7, MOA_Q8_0 = 8,
    MOA_Q2_K = 10, MOA_Q3_K = 11, MOA_Q4_K = 12, MOA_Q5_K = 13, MOA_Q6_K = 14, MOA_IQ2_XXS = 16, MOA_IQ2_XS = 17,
    MOA_IQ3_XXS = 18, MOA_IQ1_S = 19, MOA_IQ4_NL = 20, MOA_IQ3_S = 21, MOA_IQ2_S = 22, MOA_IQ4_XS = 23, MOA_I8 = 24,
    MOA_I16 = 25, MOA_I32 = 26, MOA_I64 = 27, MOA_F64 = 28, MOA_IQ1_M = 29, MOA_BF16 = 30, MOA_TQ1_0 = 34, MOA_TQ2_0 = 35,
    MOA_MXFP4 = 39, MOA_NVFP4 = 40, MOA_Q1_0 = 41, MOA_Q2_0 = 42,
    MOA_DTYPE_MAX = 64
} moa_dtype;

struct moa_ints;

/* One row of the type registry (quant/quants.def); one file per type family in quant/. */
typedef struct moa_type {
    moa_dtype id;
    const char *name;    /* as GGUF tools spell it: "F32", "Q4_K" */
    const char *help;
    int block;           /* elements per block, 1 for plain types */
    int bytes;           /* bytes per block */
    /* Plain C, the definition. n is a multiple of block. quantize may be NULL (read-only type);
     * importance is NULL or n weights. */
    void (*dequantize)(float *dst, const void *src, int64_t n);
    void (*quantize)(void *dst, const float *src, const float *importance, int64_t n);
    /* Block types, else NULL: integers and scales of n <= 256 elements (whole blocks), as gemm_q8 wants them
     * (quant/block.h). Element i is d[i/16] * q[i], plus m[i/16] when has_min. */
    void (*unpack)(struct moa_ints *dst, const void *src, int n);
    bool has_min;
    int run;             /* elements that share one d and m: 32 or 16 */
} moa_type;

const moa_type *moa_type_get(moa_dtype id);           /* NULL for an unknown number */
const moa_type *moa_type_find(const char *name);      /* case-insensitive; NULL when unknown */
const char *moa_type_other(uint32_t id);              /* name of a number that moa does not read; NULL when it means nothing */
const moa_type *const *moa_types(int *n);             /* the registry, for lists and tests */
size_t moa_row_bytes(moa_dtype id, int64_t n);        /* bytes of n contiguous elements; n % block == 0 */

enum { MOA_MAX_DIM = 4 };

typedef struct moa_tensor {
    moa_dtype dtype;
    int n_dim;
    int64_t shape[MOA_MAX_DIM];  /* unused axes are 1 */
    int64_t stride[MOA_MAX_DIM]; /* bytes from one index to the next on that axis (last axis: bytes of one block) */
    void *data;
    /* Training only; NULL/false at inference. */
    struct moa_tensor *grad;     /* f32, same shape; filled by the tape */
    bool needs_grad;             /* a parameter, or depends on one */
    struct moa_tensor *half;     /* parameters: bf16 copy that dense products read, refreshed by the optimiser */
    const char *name;            /* borrowed; parameters and file tensors */
    void *act;                   /* inference: this tensor's int8 form (moa_q8_act), made once, shared by q, k, v ... */
    struct moa_pack *pack;       /* inference, weights: the place of its packed form (pack.h); NULL: it has none */
    struct moa_arena *arena;     /* exec: the arena that holds it, so that act and half may be cached on it; else NULL */
    struct moa_node *node;       /* training: the recorded op call that made it; NULL: a leaf */
} moa_tensor;

/* A contiguous view on data. Missing trailing sizes of shape are given as n_dim < MOA_MAX_DIM. */
moa_tensor moa_view(moa_dtype dtype, void *data, int n_dim, const int64_t *shape);
#define moa_view1(dt, p, a) moa_view(dt, p, 1, (const int64_t[]){a})
#define moa_view2(dt, p, a, b) moa_view(dt, p, 2, (const int64_t[]){a, b})
#define moa_view3(dt, p, a, b, c) moa_view(dt, p, 3, (const int64_t[]){a, b, c})

int64_t moa_tensor_count(const moa_tensor *t);        /* elements */
size_t moa_tensor_bytes(const moa_tensor *t);         /* of a contiguous tensor */
bool moa_tensor_contiguous(const moa_tensor *t);
static inline int64_t moa_cols(const moa_tensor *t) { return t->shape[t->n_dim - 1]; }
static inline int64_t moa_rows(const moa_tensor *t) { return moa_cols(t) ? moa_tensor_count(t) / moa_cols(t) : 0; }

/* bf16 and f16 <-> f32, round to nearest even. */
static inline float moa_bf16_to_f32(uint16_t h) {
    union { uint32_t u; float f; } v = {(uint32_t)h << 16};
    return v.f;
}
static inline uint16_t moa_f32_to_bf16(float f) {
    union { float f; uint32_t u; } v = {f};
    if ((v.u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((v.u >> 16) | 64u); /* NaN stays NaN */
    return (uint16_t)((v.u + 0x7fffu + ((v.u >> 16) & 1u)) >> 16);
}
float moa_f16_to_f32(uint16_t h);
uint16_t moa_f32_to_f16(float f);

#endif
