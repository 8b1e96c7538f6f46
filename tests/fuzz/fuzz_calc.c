/* fuzz_calc.c - any bytes as a reply whose equations are worked out, and as what an identifier says: what is found lies in the text, is finite, and
 * comes out the same when it is worked out alone. SPDX-License-Identifier: Apache-2.0 */
#include "agent/calc.h"
#include "agent/repair.h"
#include "base/err.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { MOST = 64 };
    char *text = malloc(size + 1);
    moa_equation e[MOST], first;
    moa_fault f;
    double v;
    moa_assert(text != NULL);
    if (size) memcpy(text, data, size);
    text[size] = 0;
    const int n = moa_calc_find(e, MOST, text, size);
    moa_assert(n >= 0 && n <= MOST);
    for (int i = 0; i < n; i++) {
        moa_assert(e[i].expr >= text && e[i].expr + e[i].n_expr < text + size && e[i].n_expr <= MOA_CALC_EXPR_MAX);
        moa_assert(e[i].result > e[i].expr && e[i].result + e[i].n_result <= text + size);
        moa_assert(isfinite(e[i].value) && isfinite(e[i].said));
        if (!e[i].right) moa_assert(moa_calc_wrong(&first, text, size));
        moa_assert(moa_calc(&v, e[i].expr, e[i].n_expr) && !(v < e[i].value) && !(v > e[i].value));
    }
    if (moa_calc(&v, text, size)) moa_assert(isfinite(v));
    if (moa_fault_parse(&f, text, size)) moa_assert(f >= MOA_FAULT_MISREAD && f <= MOA_FAULT_NONE);
    moa_buf b;
    moa_buf_init(&b, 1 << 24);
    moa_repair_facts(&b, text);
    moa_repair_identify(&b, "?", text);
    moa_assert(!b.failed || size > 1 << 20);
    moa_buf_deinit(&b);
    free(text);
    return 0;
}
