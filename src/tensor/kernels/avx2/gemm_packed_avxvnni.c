/* gemm_packed_avxvnni.c - gemm_packed.h for 8 lanes, see bytes_avxvnni.h.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/kernels/avx2/bytes_avxvnni.h"

#include "tensor/kernels/packed.h"
#include "tensor/kernels/avx2/tiles_avxvnni.h"

/* Measured with moa bench kernels: what is plainly there is taken apart as fast as a panel is read. */
#define PANELS_FROM(f) ((f).fill == FILL_NIBBLES || (f).fill == FILL_BYTES ? INT64_MAX : 5)
#define ONE_GROUP_TO(f) INT64_MAX
#define TILES_OF(NAME, ...)                                                                                                      \
    PACKED_TILE(NAME##_1, EACH1, 1, true, __VA_ARGS__)                                                                           \
    PACKED_TILE(NAME##_2, EACH2, 2, true, __VA_ARGS__)                                                                           \
    PACKED_TILE(NAME##_3, EACH3, 3, true, __VA_ARGS__)                                                                           \
    PACKED_TILE(NAME##_4, EACH4, 4, true, __VA_ARGS__)                                                                           \
    static const packed_tiles NAME = {.two = {NULL, NAME##_1, NAME##_2, NAME##_3, NAME##_4}};
#include "tensor/kernels/gemm_packed.h"
