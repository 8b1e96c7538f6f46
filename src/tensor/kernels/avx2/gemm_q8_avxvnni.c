/* gemm_q8_avxvnni.c - gemm_q8.h for 8 lanes with VNNI.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/kernels/avx2/bytes_avxvnni.h"

#include "tensor/kernels/panel.h"
#include "tensor/kernels/avx2/tiles_avxvnni.h"
#include "tensor/kernels/gemm_q8.h"
