/* gemm_q8_avxvnni.c - gemm_q8.h for 8 lanes where AVX2 comes with VNNI (vpdpbusd of 256 bits in the VEX encoding: Alder Lake,
 * Zen 5 and later). A row of level avx2 that takes the place of gemm_q8_avx2.c on such machines.
 * SPDX-License-Identifier: Apache-2.0 */
#define SIGNED_BYTES 0
#define ISA_LEVEL MOA_ISA_AVX2
#define MOA_ROW(name) moa_kernel_##name##_avxvnni
#define MOA_NAME(name) #name "_avxvnni"
#define USABLE moa_cpu_has_avx_vnni
#include "tensor/kernels/avx2/lanes8.h"

static inline void mul_quad(VI *s, VI *sixteen, VI w, VI x, int group) {
    (void)sixteen, (void)group;
    *s = _mm256_dpbusd_avx_epi32(*s, w, x);
}
static inline void fold(VI *s, VI *sixteen, int group) { (void)s, (void)sixteen, (void)group; }

#define group_of(f) 0
#include "tensor/kernels/panel.h"
#include "tensor/kernels/tile.h"

enum { TILE_TOKENS = 4 };
#define KIND(NAME, MIN, RUN16)                                                                                                   \
    TILE(NAME##_1, EACH1, MIN, RUN16, 0)                                                                                         \
    TILE(NAME##_2, EACH2, MIN, RUN16, 0)                                                                                         \
    TILE(NAME##_3, EACH3, MIN, RUN16, 0)                                                                                         \
    TILE(NAME##_4, EACH4, MIN, RUN16, 0)                                                                                         \
    static tile_fn *const NAME[TILE_TOKENS + 1] = {NULL, NAME##_1, NAME##_2, NAME##_3, NAME##_4};
KIND(tile32, false, false)
KIND(tile32m, true, false)
KIND(tile16, false, true)
KIND(tile16m, true, true)

static inline tile_fn *const *tiles_for(const format f) {
    return f.run16 ? f.has_min ? tile16m : tile16 : f.has_min ? tile32m : tile32;
}

#include "tensor/kernels/gemm_q8.h"
