/* sampler.h - logits -> token. Order: repetition penalty, temperature, top-k, top-p, min-p, draw.
 * temperature 0 is greedy (ties to the lower id). Each sequence has its own seed, so its tokens do not
 * depend on its neighbours. No heap calls after new.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_SAMPLER_H
#define MOA_MODEL_SAMPLER_H

#include "moa.h"

enum { MOA_REPEAT_MAX = 4096 };

typedef struct moa_sampling {
    float temperature; /* 0: greedy */
    int top_k;         /* 0: off */
    float top_p;       /* 1: off */
    float min_p;       /* 0: off; keep p >= min_p * p_max */
    float repeat_penalty; /* 1: off; divides positive and multiplies negative logits of recent tokens */
    int repeat_last;   /* window of recent tokens, 0 to MOA_REPEAT_MAX */
    uint64_t seed;
} moa_sampling;
moa_sampling moa_sampling_defaults(void); /* temperature 0.7, the rest off, seed 1 */
int moa_sampling_check(const moa_sampling *s, moa_err *err); /* ranges; names the field */

typedef struct moa_sampler moa_sampler;
int moa_sampler_new(moa_sampler **out, const moa_sampling *cfg, int n_vocab, moa_err *err);
void moa_sampler_free(moa_sampler *s);
void moa_sampler_reset(moa_sampler *s, const moa_sampling *cfg); /* reuse without a heap call */
/* NaN and -inf are never chosen, +inf counts as the largest finite number; -1 when no logit is left. logprob: log of the
 * chosen token's probability under the model itself (softmax of the logits as they came). */
int32_t moa_sampler_next(moa_sampler *s, const float *logits, float *logprob /* or NULL */);
void moa_sampler_accept(moa_sampler *s, int32_t token); /* feed the penalty window (prompt tokens too) */

#endif
