/* perplexity.h - how well a model predicts a text, and how far its next-token distributions are from another's.
 *
 * The text is cut into chunks of n_ctx tokens, each starts anew (with BOS where the model has one), and the second half of
 * each is scored: the way llama.cpp's perplexity tool counts, so that numbers can be compared.
 *     perplexity = exp(mean of -log p(token));      KL(P || Q) = sum over the vocabulary of p (log p - log q)
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_PERPLEXITY_H
#define MOA_MODEL_PERPLEXITY_H

#include "model/session.h"

typedef struct moa_ppl {
    int64_t n;                /* tokens scored */
    int chunk, n_chunk;       /* done, of */
    double nll, nll_error;    /* mean -log p(token), and the standard error of that mean */
    /* Against a reference P (this model is Q); valid when against is set: */
    bool against;
    double ref_nll;           /* of the reference */
    double diff_error;        /* standard error of nll - ref_nll, which is smaller than theirs: the tokens are the same */
    double kl, kl_error;      /* mean KL(P || Q) in nats, its standard error */
    double kl_median, kl_99, kl_max; /* valid in the result; 0 in progress */
    double same_top;          /* share of tokens where both find the same one most likely */
} moa_ppl;

typedef struct moa_ppl_cfg {
    int n_ctx;                /* tokens of a chunk; 0: 512, or the model's context when that is shorter */
    int max_chunks;           /* 0: all */
    int n_threads;
    bool exact;               /* reference mode for both models */
    const char *kv_type;      /* of the model's cache, as moa_session_kv_type reads it; NULL: f32, as the reference's always is */
    bool (*progress)(void *ctx, const moa_ppl *so_far); /* after each chunk; false: MOA_ECANCELED, with what was measured in out. NULL: none */
    void *ctx;
} moa_ppl_cfg;

/* ref NULL: the perplexity alone. Both must have the same tokens. */
int moa_perplexity(moa_ppl *out, const moa_model *m, const moa_model *ref, const char *text, size_t n, const moa_ppl_cfg *cfg, moa_err *err);

/* The chunks of a text, for everything that feeds a text through a model: ids, and whether each chunk begins with BOS. */
typedef struct moa_chunks { moa_ids ids; int n_ctx, n_chunk; int32_t bos; /* -1: none */ } moa_chunks;
int moa_chunks_make(moa_chunks *c, const moa_model *m, const char *text, size_t n, int n_ctx, int max_chunks, moa_err *err);
int moa_chunk_tokens(int32_t *out /* [n_ctx] */, const moa_chunks *c, int i); /* how many: n_ctx but for a text shorter than one */

#endif
