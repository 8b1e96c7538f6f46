/* pages.h - large pages for large memory. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_BASE_PAGES_H
#define MOA_BASE_PAGES_H

#include <stddef.h>

enum { MOA_HUGE_PAGE = 2 << 20 };

/* Asks for pages of 2 MiB in [p, p + bytes): a step of a large batch then takes one fault where it took 512, and its reads find their
 * addresses in fewer entries. Advice: where the system has none, or has them switched off, nothing changes but the speed. */
void moa_pages_huge(void *p, size_t bytes);

#endif
