/* linear.c - a straight line to min_lr (Defazio et al., "Optimal linear decay learning rate schedules", 2023: hard to
 * beat when the length of the run is known). SPDX-License-Identifier: Apache-2.0 */
#include "train/schedule.h"

static double shape(double t) { return 1.0 - t; }
const moa_schedule moa_schedule_linear = {.name = "linear", .help = "a straight line from lr to min_lr", .shape = shape};
