/* train.h - the inner loops of ops that are not products of big matrices: forward with what backward needs, and
 * backward. One body (the other headers of this folder) is compiled for every ISA by kernels/<isa>/train_<isa>.c,
 * since these loops gain from wide vectors but need no hand-written ones.
 *
 * Every function has the shape of moa_range_fn: an args struct, a range of rows (or of what the comment says), the
 * number of the thread for scratch. What it computes for a row does not depend on the range.
 * `half` outputs (may be NULL) are bf16 copies written in the same pass, for dense products.
 * `add`: the destination already holds a sum.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_KERNELS_BODY_TRAIN_H
#define MOA_TENSOR_KERNELS_BODY_TRAIN_H

#include <stdbool.h>
#include <stdint.h>

enum { MOA_CHUNK = 64 }; /* rows per partial sum of a weight gradient: fixed, so sums do not follow the threads */

typedef struct moa_cast_args { uint16_t *dst; const float *src; } moa_cast_args;         /* range: elements */
typedef struct moa_uncast_args { float *dst; const uint16_t *src; } moa_uncast_args;     /* range: elements */
typedef struct moa_add_args {                                                             /* range: rows */
    float *y;            /* [n, d] = a + b */
    const float *a, *b;  /* [n, d]; b [1, d] when row */
    int64_t d;
    bool row;
} moa_add_args;
typedef struct moa_colsum_args { /* range: chunks of MOA_CHUNK rows */
    float *part;                 /* [n_chunk, d] sums over the rows of a chunk */
    const float *x;              /* [n, d] */
    int64_t n, d;
} moa_colsum_args;
typedef struct moa_norm_args { /* forward: range rows; backward: range chunks */
    float *y, *inv, *mean;     /* [n, d], [n] 1/rms or 1/std, [n] (layer_norm only) */
    uint16_t *half;
    const float *x, *w, *b;    /* [n, d], [d] or NULL, [d] or NULL */
    int64_t n, d;
    float eps;
    float *dx, *dw_part, *db_part; /* [n, d] or NULL, [n_chunk, d] or NULL */
    const float *dy;
    bool add;                  /* to dx */
} moa_norm_args;
typedef struct moa_rope_args { /* range: rows */
    float *y;                  /* [n, n_head * hd] */
    const float *x;
    const int32_t *pos;        /* [n] */
    const double *freq;        /* [lists][n_rot / 2] radians per position */
    const int32_t *which;      /* [n] list of each row; NULL: the first */
    float *scratch;            /* [n_thread, n_rot] cos, sin */
    int64_t n_head, hd, first, n_rot; /* of each head, [first, first + n_rot) is rotated */
    float magnitude;           /* of what was rotated */
    bool neox, back, add;      /* back: rotate by -angle; add: to y */
} moa_rope_args;
typedef enum moa_act { MOA_ACT_SILU, MOA_ACT_GELU } moa_act;
typedef struct moa_act_args { /* range: elements. y = act(a) * b, or act(a) when b is NULL */
    float *y;
    uint16_t *half;
    const float *a, *b, *dy;
    float *da, *db;             /* each: NULL, or f32 ... */
    uint16_t *da_half, *db_half; /* ... or bf16, never added to */
    bool add_a, add_b;
    moa_act act;
} moa_act_args;
typedef struct moa_softmax_args { /* range: rows. dx (+)= y * (dy - sum(y dy)) */
    float *dx;
    const float *y, *dy;
    int64_t d;
    bool add;
} moa_softmax_args;
typedef struct moa_loss_args { /* range: rows */
    const float *x;            /* [n, d] logits */
    const int32_t *target;     /* [n] */
    const float *weight;       /* [n]; rows with weight <= 0 do not count */
    float *lse, *loss;         /* [n] log sum exp; weight * (lse - x[target]) */
    float *dx;                 /* [n, d], or NULL and */
    uint16_t *dx_half;
    float scale;               /* d loss / norm */
    bool add;
    int64_t d;
} moa_loss_args;
typedef struct moa_attn_doc { int64_t row, n; } moa_attn_doc;
typedef struct moa_attn_args { /* range: tasks; task t is document t / n_kv, kv head t % n_kv */
    const moa_attn_doc *doc;
    float *out;                /* [n, n_head * hd] */
    uint16_t *half;
    float *lse;                /* [n, n_head] */
    const float *q, *k, *v;    /* [n, n_head * hd], [n, n_kv * hd] */
    float *dq, *dk, *dv;       /* each may be NULL */
    const float *dout;
    bool add_q, add_k, add_v;
    int n_head, n_kv, hd;
    int64_t max_doc;           /* rows of the longest document */
    float scale;
    float *scratch;            /* [n_thread, attn_scratch(...)] */
    int64_t scratch_floats;
} moa_attn_args;

typedef void (*moa_train_fn)(const void *args, int64_t i0, int64_t i1, int thread);
typedef struct moa_train_kernels {
    moa_train_fn to_bf16, from_bf16, add, colsum;
    moa_train_fn rms_norm, rms_norm_back, layer_norm, layer_norm_back;
    moa_train_fn rope, act, act_back, softmax_back, cross_entropy, cross_entropy_back;
    moa_train_fn attention, attention_back;
    int64_t (*attention_scratch)(int64_t max_doc, int hd, bool back); /* floats per thread */
} moa_train_kernels;

#endif
