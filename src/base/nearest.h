/* nearest.h - "did you mean": the name most like a mistyped one. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_BASE_NEAREST_H
#define MOA_BASE_NEAREST_H

/* The one of n names that is nearest to `name`, within a slip for each three letters of the longer one, or NULL. */
const char *moa_nearest(const char *name, const char *const *names, int n);

#endif
