/* gemm_f32_avx512.c - gemm_f32.h with the vectors of avx512. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/kernels/avx512/simd.h"

#include "tensor/kernels/gemm_f32.h"
