/* guard.h - proves that a phase makes no heap call: between enter and leave, a test build (which links
 * tests/guard_malloc.c over malloc) aborts with the phase's name on any allocation by this thread or
 * another. In the product the two calls are two stores.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_BASE_GUARD_H
#define MOA_BASE_GUARD_H

#include <stdatomic.h>

extern _Atomic(const char *) moa_guard_phase; /* NULL: allocation is allowed */

static inline void moa_guard_enter(const char *phase) { atomic_store(&moa_guard_phase, phase); }
static inline void moa_guard_leave(void) { atomic_store(&moa_guard_phase, (const char *)0); }

#endif
