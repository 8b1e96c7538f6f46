/* tune.h - which of several kernels of the same bits is fastest on this machine, by type of weights and class of rows.
 *
 * A row of what is chosen is a ranking, so that a limit by --isa or MOA_ISA takes the fastest of those that it allows. Since all kernels of
 * an op and type give the same bits (tests/tensor/test_kernels.c), a wrong ranking costs time and nothing else.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_TUNE_H
#define MOA_TENSOR_TUNE_H

#include "tensor/kernel.h"

enum { MOA_ROW_OPS = 4 /* at most */, MOA_RANKS = 6 };

typedef struct moa_tuned {
    int n; /* rankings that are not empty */
    const moa_kernel *rank[MOA_ROW_OPS][MOA_DTYPE_MAX][MOA_ROW_CLASSES][MOA_RANKS]; /* fastest first, NULL behind the last */
} moa_tuned;

/* The ops whose kernels have the same bits, of which the table holds one for every class of rows. */
const moa_kernel_op *moa_row_ops(int *n);

/* The kernel that the table has for a class of rows on this CPU where nothing was measured. */
const moa_kernel *moa_kernel_usual(moa_kernel_op op, moa_dtype type, int row_class);

/* Kernels of an op and type that this CPU runs, plain C left out; returns how many of them are in list [MOA_RANKS]. */
int moa_tune_candidates(const moa_kernel *list[MOA_RANKS], moa_kernel_op op, moa_dtype type);

/* Measures all of them, one core. told may be NULL: called after each type. A kernel has to win by 3 % to go before the usual one. */
typedef void moa_tune_told(void *ctx, moa_kernel_op op, moa_dtype type, int row_class, const moa_kernel *const *rank, const double *seconds /* of each rank */);
int moa_tune(moa_tuned *out, moa_tune_told *told, void *ctx, moa_err *err);

/* The fastest that a table's instruction set allows in place of the usual ones: what moa_kernels_get does with the cached choice. */
void moa_tuned_apply(moa_kernels *t, const moa_tuned *tuned);

#endif
