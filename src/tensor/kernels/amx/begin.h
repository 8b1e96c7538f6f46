/* begin.h - what the products of AMX include first. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_KERNELS_AMX_BEGIN_H
#define MOA_TENSOR_KERNELS_AMX_BEGIN_H

#include "tensor/kernels/amx/tiles.h"
#ifndef MOA_ROW /* else: the test that has its own tiles */
#define ISA_LEVEL MOA_ISA_AMX
#define MOA_ROW(name) moa_kernel_##name##_amx
#define MOA_NAME(name) #name "_amx"
#endif
#define MIN_ROWS 16
#include "tensor/kernels/avx512/lanes16.h"

#endif
