/* tokenlog.h - the tokens of a reply while it grows, with their probabilities under the model itself: each with the most probable ones at
 * its place. One writer (a generator's thread) and one reader at a time. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_TOKENLOG_H
#define MOA_MODEL_TOKENLOG_H

#include "moa.h"

#include <pthread.h>

enum { MOA_TOP_MAX = 20 };
typedef struct moa_token_prob { int32_t id; float logprob; } moa_token_prob;
typedef struct moa_token_log {
    pthread_mutex_t lock;
    int top;              /* most probable ones beside the chosen token, 0 to MOA_TOP_MAX */
    int64_t n, cap;
    moa_token_prob *v;    /* [cap][1 + top]: the chosen, then the top, most probable first */
} moa_token_log;

int moa_token_log_new(moa_token_log **out, int top, moa_err *err);
void moa_token_log_free(moa_token_log *l);
int moa_token_log_reserve(moa_token_log *l, int64_t n, moa_err *err); /* room for n tokens, so that adding makes no heap call */
void moa_token_log_add(moa_token_log *l, const moa_token_prob *row);  /* [1 + top] */
int64_t moa_token_log_count(moa_token_log *l);
/* Copies row i (< count) to row [1 + top]. */
void moa_token_log_get(moa_token_log *l, int64_t i, moa_token_prob *row);

#endif
