/* gemm_packed_avx512.c - gemm_packed.h for 16 lanes, see gemm_q8_avx512.c.
 * SPDX-License-Identifier: Apache-2.0 */
#define ISA_LEVEL MOA_ISA_AVX512
#define MOA_ROW(name) moa_kernel_##name##_avx512
#define MOA_NAME(name) #name "_avx512"
#include "tensor/kernels/avx512/lanes16.h"

#include "tensor/kernels/packed.h"
#include "tensor/kernels/avx512/tiles_avx512.h"

/* Measured with moa bench kernels: what is plainly there is taken apart as fast as a panel is read. */
#define PANELS_FROM(f) ((f).fill == FILL_NIBBLES || (f).fill == FILL_BYTES || (f).fill == FILL_Q4_K ? INT64_MAX : 25)
#define BITS(f) ((f).bytes * 8 / (f).block)
#define ONE_GROUP_TO(f) (BITS(f) >= 6 ? 8 : BITS(f) >= 4 ? 2 : 0)
#define TILES_OF(NAME, ...)                                                                                                      \
    TILES(NAME##_one, false, __VA_ARGS__)                                                                                        \
    TILES(NAME##_two, true, __VA_ARGS__)                                                                                         \
    static const packed_tiles NAME = {LIST_OF(NAME##_one), LIST_OF(NAME##_two)};
#define TILES(NAME, ...)                                                                                                         \
    PACKED_TILE(NAME##_1, EACH1, 1, __VA_ARGS__)                                                                                 \
    PACKED_TILE(NAME##_2, EACH2, 2, __VA_ARGS__)                                                                                 \
    PACKED_TILE(NAME##_3, EACH3, 3, __VA_ARGS__)                                                                                 \
    PACKED_TILE(NAME##_4, EACH4, 4, __VA_ARGS__)                                                                                 \
    PACKED_TILE(NAME##_5, EACH5, 5, __VA_ARGS__)                                                                                 \
    PACKED_TILE(NAME##_6, EACH6, 6, __VA_ARGS__)
#define LIST_OF(NAME) {NULL, NAME##_1, NAME##_2, NAME##_3, NAME##_4, NAME##_5, NAME##_6}
#include "tensor/kernels/gemm_packed.h"
