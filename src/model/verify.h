/* verify.h - does the promise of exact logits hold for this model on this machine? (moa verify)
 *
 * What is promised (session.h): a row's logits are the same bits alone and in any batch, for any chunks of a prefill, any forks of the
 * KV, any number of threads, by packed weights or those of the file, and on every instruction set that the machine has, plain C among them (kernels/sum.h).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_VERIFY_H
#define MOA_MODEL_VERIFY_H

#include "model/session.h"

typedef struct moa_verify_cfg {
    int n_threads;     /* most threads; 0: all cores, and one more */
    bool quick;        /* shorter sequences, fewer batches */
    uint64_t seed;     /* of tokens and mixes */
    double seconds;    /* then it stops, after the step at hand; 0: when all is done */
    /* Called before every step, with the ctx of done: what is being computed, rows so far; checks done and planned. NULL: nobody looks. */
    void (*progress)(void *ctx, const char *what, int64_t rows, int done, int planned);
    /* What spoils products, so that a test sees the difference found; NULL: nothing. */
    void (*spoil)(void *ctx, const moa_tensor *w, const moa_tensor *in, moa_tensor *out);
    void *spoil_ctx;
} moa_verify_cfg;

typedef struct moa_verify_check {
    char what[96];      /* "batches of 16" */
    int64_t rows;       /* rows compared */
    bool exact;         /* all the same bits */
    moa_isa isa;        /* compared with the best one; MOA_ISA_COUNT: none was */
    char first[256];    /* the first difference; empty where there is none */
} moa_verify_check;

/* Calls done after every check; -> 0, 1 when a check failed, MOA_VERIFY_STOPPED when none did but time was up before all were done, or
 * an error (MOA_ELIMIT: time was up before the first). */
enum { MOA_VERIFY_STOPPED = 2 };
int moa_verify(const moa_model *m, const moa_verify_cfg *cfg, void (*done)(void *ctx, const moa_verify_check *c), void *ctx, moa_err *err);

#endif
