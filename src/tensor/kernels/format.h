/* format.h - what differs between types of weights, for products with int8 activations: panel.h and packed.h.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_KERNELS_FORMAT_H
#define MOA_TENSOR_KERNELS_FORMAT_H

#include "tensor/kernel.h"
#include "tensor/kernels/unpack.h"

/* How a panel is filled when there are LANES rows: in general row by row through unpack.h; where bytes or nibbles lie
 * plainly in the file, words go to their lanes first and are taken apart there, for all rows at once. */
typedef enum fill {
    FILL_ROWS,
    FILL_BYTES,
    FILL_NIBBLES,
    FILL_NIBBLES_1,
    FILL_LEVELS,
    FILL_FP4,
    FILL_LEVELS_XS,
    FILL_TQ2_0, /* from here on: 256 elements a block */
    FILL_Q2_K,
    FILL_Q3_K,
    FILL_Q4_K,
    FILL_Q5_K,
    FILL_Q6_K
} fill;

/* What differs between formats, constant in every instance (but for unpack in shared ones). */
typedef void unpack_fn(unpacked *u, const void *src, int n_run);
typedef struct format {
    unpack_fn *unpack;
    int block, bytes; /* elements and bytes of a block */
    int offset;       /* unsigned byte = value + offset */
    int top;          /* largest unsigned byte */
    bool has_min, run16;
    fill fill;
    int q_at;    /* not FILL_ROWS: where the elements begin in a block; d of small ones is at 0 (a byte in FILL_FP4), m at 2 */
    int high_at; /* where further bits of theirs begin */
} format;

/* The types whose bits lie plainly in the file: X(NAME, type, block, offset, top, has_min, run16, fill, q_at, high_at). */
#define FORMATS(X)                                                                                                               \
    X(Q4_0, q4_0, 32, 8, 15, false, false, FILL_NIBBLES, 2, 0)                                                                   \
    X(Q4_1, q4_1, 32, 0, 15, true, false, FILL_NIBBLES, 4, 0)                                                                    \
    X(Q5_0, q5_0, 32, 16, 31, false, false, FILL_NIBBLES_1, 6, 2)                                                                \
    X(Q5_1, q5_1, 32, 0, 31, true, false, FILL_NIBBLES_1, 8, 4)                                                                  \
    X(Q8_0, q8_0, 32, 128, 255, false, false, FILL_BYTES, 2, 0)                                                                  \
    X(Q2_K, q2_k, 256, 0, 3, true, true, FILL_Q2_K, 16, 0)                                                                       \
    X(Q3_K, q3_k, 256, 4, 7, false, true, FILL_Q3_K, 32, 0)                                                                      \
    X(Q4_K, q4_k, 256, 0, 15, true, false, FILL_Q4_K, 16, 0)                                                                     \
    X(Q5_K, q5_k, 256, 0, 31, true, false, FILL_Q5_K, 48, 16)                                                                    \
    X(Q6_K, q6_k, 256, 32, 63, false, true, FILL_Q6_K, 0, 128)                                                                   \
    X(IQ4_NL, iq4_nl, 32, 128, 255, false, false, FILL_LEVELS, 2, 0)                                                             \
    X(IQ4_XS, iq4_xs, 256, 128, 255, false, false, FILL_LEVELS_XS, 8, 0)                                                         \
    X(TQ2_0, tq2_0, 256, 1, 3, false, false, FILL_TQ2_0, 0, 0)                                                                   \
    X(MXFP4, mxfp4, 32, 12, 24, false, false, FILL_FP4, 1, 0)
#define FORMAT_OF(type, block_, offset_, top_, min_, run16_, fill_, q_at_, high_at_)                                             \
    {                                                                                                                            \
        .unpack = unpack_##type, .block = block_, .bytes = sizeof(moa_block_##type),                                             \
        .offset = SIGNED_BYTES && top_ > 127 ? 0 : offset_, .top = top_, .has_min = min_, .run16 = run16_, .fill = fill_,        \
        .q_at = q_at_, .high_at = high_at_                                                                                       \
    }

#endif
