/* gemm_packed_amx.c - gemm_packed.h with the tile registers of AMX: panels alone. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/kernels/amx/begin.h"

#include "tensor/kernels/packed.h"
#include "tensor/kernels/amx/multiply_tile.h"

#define PANELS_FROM(f) 0
#define ONE_GROUP_TO(f) 0
#define TILES_OF(NAME, ...) static const packed_tiles NAME;
#include "tensor/kernels/gemm_packed.h"
