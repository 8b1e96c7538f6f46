/* pages.c - see pages.h. SPDX-License-Identifier: Apache-2.0 */
#include "base/pages.h"

#include <stdint.h>
#include <sys/mman.h>

void moa_pages_huge(void *p, size_t bytes) {
    const uintptr_t first = ((uintptr_t)p + MOA_HUGE_PAGE - 1) / MOA_HUGE_PAGE * MOA_HUGE_PAGE;
    const uintptr_t end = ((uintptr_t)p + bytes) / MOA_HUGE_PAGE * MOA_HUGE_PAGE; /* whole pages only: what lies beside is not ours */
    if (first < end) (void)madvise((void *)first, end - first, MADV_HUGEPAGE);
}
