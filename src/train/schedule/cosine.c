/* cosine.c - half a cosine: slow, fast, slow (Loshchilov and Hutter, "SGDR", 2017, without restarts).
 * SPDX-License-Identifier: Apache-2.0 */
#include "train/schedule.h"

#include <math.h>

static double shape(double t) { return 0.5 * (1.0 + cos(3.14159265358979323846 * t)); }
const moa_schedule moa_schedule_cosine = {.name = "cosine", .help = "half a cosine from lr to min_lr", .shape = shape};
