/* tiles_avx2.h - the tiles of panels that there are.
 * SPDX-License-Identifier: Apache-2.0 */
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
