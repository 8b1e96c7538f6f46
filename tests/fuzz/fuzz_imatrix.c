/* fuzz_imatrix.c - any bytes as an importance matrix: refused, or every mean can be read. SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "format/imatrix.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    moa_imatrix *m;
    moa_err err = {0};
    if (moa_imatrix_read_memory(&m, data, size, "input", &err) < 0) {
        moa_assert(err.code < 0 && err.text[0] && m == NULL);
        return 0;
    }
    for (int i = 0; i < m->n_entry; i++) {
        const moa_imatrix_entry *e = &m->entry[i];
        moa_assert(moa_imatrix_find(m, e->name) == e);
        float *mean = malloc((size_t)e->n_in * sizeof *mean);
        moa_assert(mean != NULL);
        for (int64_t k = 0; k < e->n_mat; k++)
            if (moa_imatrix_mean(mean, e, e->n_mat, e->n_in, k))
                for (int64_t j = 0; j < e->n_in; j++) moa_assert(mean[j] >= 0);
        free(mean);
    }
    moa_imatrix_free(m);
    return 0;
}
