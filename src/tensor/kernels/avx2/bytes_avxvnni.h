/* bytes_avxvnni.h - products of bytes where AVX2 comes with VNNI (vpdpbusd of 256 bits in the VEX encoding: Alder Lake, Zen 5 and
 * later). Its rows are of level avx2 and take the place of those of bytes_avx2.h on such machines.
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
