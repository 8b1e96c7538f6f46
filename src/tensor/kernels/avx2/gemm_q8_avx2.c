/* gemm_q8_avx2.c - gemm_q8.h for 8 lanes.
 * SPDX-License-Identifier: Apache-2.0 */
#define ISA_LEVEL MOA_ISA_AVX2
#define MOA_ROW(name) moa_kernel_##name##_avx2
#define MOA_NAME(name) #name "_avx2"
#include "tensor/kernels/avx2/bytes_avx2.h"

#include "tensor/kernels/panel.h"
#include "tensor/kernels/avx2/tiles_avx2.h"
#include "tensor/kernels/gemm_q8.h"
