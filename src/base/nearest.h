/* nearest.h - "did you mean": the name most like a mistyped one. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_BASE_NEAREST_H
#define MOA_BASE_NEAREST_H

/* The one of n names within a few slips of `name` (more in long names), or NULL. */
const char *moa_nearest(const char *name, const char *const *names, int n);

#endif
