/* vector_avx512.c - vector.h with the vectors of avx512. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/kernels/avx512/simd.h"

#include "tensor/kernels/vector.h"
