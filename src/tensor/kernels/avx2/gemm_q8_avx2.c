/* gemm_q8_avx2.c - gemm_q8.h for 8 lanes. vpmaddubsw multiplies unsigned by signed bytes and adds pairs into 16 bits
 * with saturation, which must never happen. A pair is at most 2 * top * 127, so with bytes up to top
 *   - 16, 32 or 64: the products of 8, 4 or 2 vectors are added in 16 bits (a group) and then widened once:
 *     8 * 2 * 16 * 127 = 32512;
 *   - more: bytes are signed, magnitudes times activations that carry the sign of the weight; a pair is at most
 *     2 * 128 * 127 = 32512, and each is widened alone.
 * SPDX-License-Identifier: Apache-2.0 */
#define SIGNED_BYTES 1
#define ISA_LEVEL MOA_ISA_AVX2
#define MOA_ROW(name) moa_kernel_##name##_avx2
#define MOA_NAME(name) #name "_avx2"
#include "tensor/kernels/avx2/lanes8.h"

#define widened(v) _mm256_madd_epi16(v, _mm256_set1_epi16(1))

/* Sums of integers may be taken in any order, and gcc then keeps all products for the end, in memory: pin holds a sum where it
 * is. */
#define pin(v) __asm__("" : "+x"(v))

static inline void mul_quad(VI *s, VI *sixteen, VI w, VI x, int group) {
    if (group) {
        *sixteen = _mm256_add_epi16(*sixteen, _mm256_maddubs_epi16(w, x));
        pin(*sixteen);
    } else {
        *s = _mm256_add_epi32(*s, widened(_mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w))));
        pin(*s);
    }
}
static inline void fold(VI *s, VI *sixteen, int group) {
    (void)group;
    *s = _mm256_add_epi32(*s, widened(*sixteen));
    *sixteen = _mm256_setzero_si256();
}

/* Vectors whose products fit into 16 bits together; 0: none. */
#define group_of(f) ((f).top <= 32 ? 4 : (f).top <= 64 ? 2 : 0)
#include "tensor/kernels/panel.h"
#include "tensor/kernels/tile.h"

enum { TILE_TOKENS = 4 };
#define KIND(NAME, MIN, RUN16, GROUP)                                                                                            \
    TILE(NAME##_1, EACH1, MIN, RUN16, GROUP)                                                                                     \
    TILE(NAME##_2, EACH2, MIN, RUN16, GROUP)                                                                                     \
    TILE(NAME##_3, EACH3, MIN, RUN16, GROUP)                                                                                     \
    TILE(NAME##_4, EACH4, MIN, RUN16, GROUP)                                                                                     \
    static tile_fn *const NAME[TILE_TOKENS + 1] = {NULL, NAME##_1, NAME##_2, NAME##_3, NAME##_4};
KIND(tile32, false, false, 0)
KIND(tile32_32, false, false, 4)
KIND(tile32_16, false, false, 8)
KIND(tile32m_32, true, false, 4)
KIND(tile32m_16, true, false, 8)
KIND(tile16, false, true, 0)
KIND(tile16_64, false, true, 2)
KIND(tile16_32, false, true, 4)
KIND(tile16m_32, true, true, 4)

static inline tile_fn *const *tiles_for(const format f) {
    if (f.run16 && f.has_min) return tile16m_32;
    if (f.run16) return f.top <= 32 ? tile16_32 : f.top <= 64 ? tile16_64 : tile16;
    if (f.has_min) return f.top <= 16 ? tile32m_16 : tile32m_32;
    return f.top <= 16 ? tile32_16 : f.top <= 32 ? tile32_32 : tile32;
}

#include "tensor/kernels/gemm_q8.h"
