/* gemm_f32_avx2.c - gemm_f32.h with the vectors of avx2. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/kernels/avx2/simd.h"

#include "tensor/kernels/gemm_f32.h"
