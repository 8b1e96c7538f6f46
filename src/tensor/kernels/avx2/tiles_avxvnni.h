/* tiles_avxvnni.h - the tiles of panels that there are.
 * SPDX-License-Identifier: Apache-2.0 */
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
