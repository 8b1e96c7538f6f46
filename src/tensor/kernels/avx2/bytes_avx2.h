/* bytes_avx2.h - products of bytes without VNNI. vpmaddubsw multiplies unsigned by signed bytes and adds pairs into 16 bits
 * with saturation, which must never happen. A pair is at most 2 * top * 127, so with bytes up to top
 *   - 16, 32 or 64: the products of 8, 4 or 2 vectors are added in 16 bits (a group) and then widened once:
 *     8 * 2 * 16 * 127 = 32512;
 *   - more: bytes are signed, magnitudes times activations that carry the sign of the weight; a pair is at most
 *     2 * 128 * 127 = 32512, and each is widened alone.
 * SPDX-License-Identifier: Apache-2.0 */
#define SIGNED_BYTES 1
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
