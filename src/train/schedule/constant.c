/* constant.c - stays at lr; for short stages and for snapshots that are compared with each other.
 * SPDX-License-Identifier: Apache-2.0 */
#include "train/schedule.h"

static double shape(double t) {
    (void)t;
    return 1.0;
}
const moa_schedule moa_schedule_constant = {.name = "constant", .help = "lr all the way", .shape = shape};
