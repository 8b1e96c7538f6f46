/* tokenlog.h - the tokens of a reply while it grows, with their probabilities under the model itself: each with the most probable ones at
 * its place. A model of this process tells ids; another server tells bytes, and ids are places in the log's own list of these. One writer (a
 * generator's thread, or that of all URLs) and one reader at a time. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_TOKENLOG_H
#define MOA_MODEL_TOKENLOG_H

#include "moa.h"

#include "format/gguf.h"

#include <pthread.h>
#include <stdbool.h>

enum { MOA_TOP_MAX = 20 };
typedef struct moa_token_prob { int32_t id; float logprob; } moa_token_prob;
typedef struct moa_token_log {
    pthread_mutex_t lock;
    int top;              /* most probable ones beside the chosen token, 0 to MOA_TOP_MAX */
    int64_t n, cap;
    moa_token_prob *v;    /* [cap][1 + top]: the chosen, then the top, most probable first */
    struct moa_arena *arena; /* of tokens told by their bytes; NULL: none was */
    moa_str *told; int32_t n_told, cap_told;
} moa_token_log;
typedef struct moa_token_told { moa_str bytes; float logprob; } moa_token_told;

int moa_token_log_new(moa_token_log **out, int top, moa_err *err);
void moa_token_log_free(moa_token_log *l);
int moa_token_log_reserve(moa_token_log *l, int64_t n, moa_err *err); /* room for n tokens, so that adding makes no heap call */
void moa_token_log_add(moa_token_log *l, const moa_token_prob *row);  /* [1 + top] */
/* row [n], n >= 1: the chosen token, then the most probable ones, as far as there are any; those over `top` are left out. Makes room by itself. */
int moa_token_log_tell(moa_token_log *l, const moa_token_told *row, int n, moa_err *err);
/* A token by its bytes, where it was told so (valid as long as the log); false: its id is the model's. */
bool moa_token_log_bytes(moa_str *out, moa_token_log *l, int32_t id);
int64_t moa_token_log_count(moa_token_log *l);
/* Copies row i (< count) to row [1 + top]. */
void moa_token_log_get(moa_token_log *l, int64_t i, moa_token_prob *row);

#endif
