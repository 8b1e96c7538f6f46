/* verify.h - does the promise of exact logits hold for this model on this machine? (moa verify)
 *
 * What is promised (session.h): a row's logits are the same bits alone and in any batch, for any chunks of a prefill, any forks of the
 * KV and any number of threads, on one instruction set.
 *
 * Between instruction sets sums of integers are the same bits (the conformance tests of kernels) and sums of floats differ in their last
 * ones. The measure is the largest difference of a row's logits in units of the row's largest logit. In reference mode it is at most 1e-3.
 * With int8 activations a last bit can carry an activation over the border between two integers, a step of 1/127 of the largest of its
 * 32, and no bound follows from that: differences of about 1e-2 occur (docs/performance.md). 0.1 is refused as gross.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_VERIFY_H
#define MOA_MODEL_VERIFY_H

#include "model/session.h"

typedef struct moa_verify_cfg {
    int n_threads;     /* most threads; 0: all cores, and one more */
    bool quick;        /* shorter sequences, fewer batches */
    uint64_t seed;     /* of tokens and mixes */
    /* What spoils products, so that a test sees the difference found; NULL: nothing. */
    void (*spoil)(void *ctx, const moa_tensor *w, const moa_tensor *in, moa_tensor *out);
    void *spoil_ctx;
} moa_verify_cfg;

typedef struct moa_verify_check {
    char what[96];      /* "batches of 16" */
    int64_t rows;       /* rows compared */
    bool exact;         /* bits: all the same; between instruction sets: within the bound */
    double difference, bound; /* between instruction sets: the largest, and what is allowed; else 0 */
    char first[256];    /* the first difference; empty where there is none */
} moa_verify_check;

/* Calls done after every check; -> 0, 1 when a check failed, or an error. */
int moa_verify(const moa_model *m, const moa_verify_cfg *cfg, void (*done)(void *ctx, const moa_verify_check *c), void *ctx, moa_err *err);

#endif
