/* gemm_q8_amx.c - gemm_q8.h with the tile registers of AMX. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/kernels/amx/begin.h"

#include "tensor/kernels/panel.h"
#include "tensor/kernels/amx/multiply_tile.h"
#include "tensor/kernels/gemm_q8.h"
