/* types.h - one line for each weight type that matrix products read: X(NAME of the enum, name of the registry).
 * The kernel files make one row of each from it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_KERNELS_TYPES_H
#define MOA_TENSOR_KERNELS_TYPES_H

#define MOA_BLOCK_TYPES(X)                                                                                                       \
    X(Q4_0, q4_0)                                                                                                                \
    X(Q4_1, q4_1)                                                                                                                \
    X(Q5_0, q5_0)                                                                                                                \
    X(Q5_1, q5_1)                                                                                                                \
    X(Q8_0, q8_0)                                                                                                                \
    X(Q2_K, q2_k)                                                                                                                \
    X(Q3_K, q3_k)                                                                                                                \
    X(Q4_K, q4_k)                                                                                                                \
    X(Q5_K, q5_k)                                                                                                                \
    X(Q6_K, q6_k)                                                                                                                \
    X(IQ4_NL, iq4_nl)                                                                                                            \
    X(IQ4_XS, iq4_xs)

#define MOA_GEMM_TYPES(X)                                                                                                        \
    X(F32, f32)                                                                                                                  \
    X(F16, f16)                                                                                                                  \
    X(BF16, bf16)                                                                                                                \
    MOA_BLOCK_TYPES(X)

#endif
