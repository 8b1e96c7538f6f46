/* fit.h - texts of others in a prompt that has to leave the reply its room.
 *
 * They are counted before anything is sent, by the tokenizer of the model that reads them. What does not fit is shortened evenly: one limit for all, so that
 * shorter ones stay whole, found by bisection on the real count; head and tail are kept, since the answer stands at the end. The node's note says so.
 * Reading them one part after the other instead: window.h.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_FIT_H
#define MOA_AGENT_FIT_H

#include "agent/run.h"

/* What the texts are, for notes ("references"), and how they become the messages of n. */
typedef struct moa_fitting {
    const char *what;
    int (*set)(moa_run *r, moa_agent_node *n, const char *const *text, int n_text, const void *ctx, moa_err *err);
    const void *ctx;
} moa_fitting;
/* Tokens of a prompt: the context less the reply's, of which a quarter of the context is kept at most. INT64_MAX: nobody can count, or nobody knows the context. */
int64_t moa_prompt_room(const moa_agent_node *n);
/* Would these fit as they are? n has no messages then. One that no context could hold is not tokenized whole. */
int moa_fits(bool *fits, moa_run *r, moa_agent_node *n, const moa_fitting *f, const char *const *text, int n_text, moa_err *err);
/* The messages of n, with texts cut as far as they must be. */
int moa_fit(moa_run *r, moa_agent_node *n, const moa_fitting *f, const char *const *text, int n_text, moa_err *err);
/* At most about `limit` bytes of s: head, mark, tail; cut between characters. NULL: no memory. */
const char *moa_shorten(moa_arena *a, const char *s, size_t limit);

#endif
