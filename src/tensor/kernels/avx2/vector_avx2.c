/* vector_avx2.c - vector.h with the vectors of avx2. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/kernels/avx2/simd.h"

#include "tensor/kernels/vector.h"
