/* scripted.h - a backend for tests: replies come from a function of the call, every call is written down.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TEST_SCRIPTED_H
#define MOA_TEST_SCRIPTED_H

#include "agent/run.h"
#include "base/buf.h"

#include <stdio.h>

typedef struct scripted scripted;
/* Write the reply of call number `index` (over the backend's life) to out; a negative code fails the call. */
typedef int (*scripted_fn)(scripted *s, int index, const moa_call *c, char *out, size_t n);
struct scripted {
    moa_backend base;
    scripted_fn reply;
    int calls, batches, largest;     /* seen so far */
    moa_buf log;                     /* every call: messages as "role: content" lines, then "---" */
    double logprob;                  /* of every reply */
    moa_stop why;                    /* how every reply ends: EOS unless set */
    int dead;                        /* nonzero: complete fails as a whole with this code */
};
void scripted_init(scripted *s, const char *id, scripted_fn reply);
void scripted_deinit(scripted *s);
/* Words of all messages: the token count of this backend, in measure and in results. */
int64_t scripted_words(const moa_message *msg, int n_msg);

#endif
