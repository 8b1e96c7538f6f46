/* imatrix.h - importance matrices: for each weight matrix the mean square of each of its inputs over a text. The error of a
 * quantised weight w_ij shows in the output as (x_j dw_ij)^2, so E[x_j^2] is the weight of that error.
 *
 * Two file formats, both read: GGUF (tensors NAME.in_sum2 and NAME.counts; what llama.cpp writes since 2025), and the
 * older .dat, which ik_llama.cpp and older tools read. Which one is written goes by the ending of the name.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FORMAT_IMATRIX_H
#define MOA_FORMAT_IMATRIX_H

#include "moa.h"

typedef struct moa_imatrix_entry {
    char *name;     /* of the weight: "blk.0.ffn_down_exps.weight" */
    int64_t n_in;
    int64_t n_mat;  /* 1, or experts of a 3-D weight */
    double *sum;    /* [n_mat, n_in] of squares */
    double *count;  /* [n_mat] rows that were seen */
} moa_imatrix_entry;

typedef struct moa_imatrix {
    moa_imatrix_entry *entry;
    int n_entry;
    char *text, *model;   /* where it was collected; model NULL in files of other tools */
    uint64_t text_hash;   /* 0: unknown */
    int chunks, chunk_size;
} moa_imatrix;

int moa_imatrix_read(moa_imatrix **out, const char *path, moa_err *err);
int moa_imatrix_read_memory(moa_imatrix **out, const void *data, size_t n, const char *name, moa_err *err); /* 8-byte aligned */
int moa_imatrix_write(const moa_imatrix *m, const char *path, moa_err *err); /* atomic */
moa_imatrix *moa_imatrix_new(void);
void moa_imatrix_free(moa_imatrix *m);

/* The entry of that name, made when absent; NULL without memory. What comes from the same name has the same sizes. */
moa_imatrix_entry *moa_imatrix_add(moa_imatrix *m, const char *name, int64_t n_mat, int64_t n_in);
const moa_imatrix_entry *moa_imatrix_find(const moa_imatrix *m, const char *name); /* NULL when absent */
/* Mean squares of the inputs of matrix `mat` of a weight of n_mat matrices with n_in columns, to out [n_in]. An expert without
 * data gets the mean over the others. False when there is no data or the sizes are others. */
bool moa_imatrix_mean(float *out, const moa_imatrix_entry *e, int64_t n_mat, int64_t n_in, int64_t mat);

#endif
