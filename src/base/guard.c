/* guard.c - see guard.h. SPDX-License-Identifier: Apache-2.0 */
#include "base/guard.h"

_Atomic(const char *) moa_guard_phase;
