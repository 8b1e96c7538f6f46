/* gemm_q8_avx512.c - gemm_q8.h for 16 lanes: VNNI multiplies 4 unsigned by 4 signed bytes and adds them to a lane
 * without saturation.
 * SPDX-License-Identifier: Apache-2.0 */
#define ISA_LEVEL MOA_ISA_AVX512
#define MOA_ROW(name) moa_kernel_##name##_avx512
#define MOA_NAME(name) #name "_avx512"
#include "tensor/kernels/avx512/lanes16.h"

#include "tensor/kernels/panel.h"
#include "tensor/kernels/avx512/tiles_avx512.h"
#include "tensor/kernels/gemm_q8.h"
