/* clock.c - see clock.h. SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

double (*moa_clock)(void);
