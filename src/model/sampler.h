/* sampler.h - logits -> token; struct moa_sampling and the calls of a decode loop are public (include/moa.h). Each
 * sequence has its own seed, so its tokens do not depend on its neighbours. No heap calls after new.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_SAMPLER_H
#define MOA_MODEL_SAMPLER_H

#include "model/tokenlog.h"

int moa_sampling_check(const moa_sampling *s, moa_err *err); /* ranges; names the field */
/* The prompt is accepted: tokens from now on are the reply's, which is what presence and frequency penalties count. */
void moa_sampler_begin(moa_sampler *s);
/* Added to logits before anything but masks; -100 or less bans a token. Borrowed until the next reset. */
typedef struct moa_bias { int32_t token; float bias; } moa_bias;
void moa_sampler_bias(moa_sampler *s, const moa_bias *bias, int n);
/* The k most probable tokens under the model itself, the lower id first on ties. */
void moa_sampler_top(moa_sampler *s, const float *logits, moa_token_prob *top, int k);
void moa_sampler_reset(moa_sampler *s, const moa_sampling *cfg); /* reuse without a heap call */
void moa_sampler_copy(moa_sampler *to, const moa_sampler *from); /* of one vocabulary: `to` will pick as `from` would */
/* moa_sampler_next with a bit set of the tokens that may be chosen (format/grammar.h; NULL: all). They are masked before anything
 * else; logprob stays that of the model itself. */
int32_t moa_sampler_pick(moa_sampler *s, const float *logits, const uint64_t *mask, float *logprob);

#endif
