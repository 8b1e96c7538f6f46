/* logprobs.h - what is told of each token of a reply, in the shapes of chats and of completions.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_SERVE_LOGPROBS_H
#define MOA_SERVE_LOGPROBS_H

#include "serve/turn.h"

/* Appends the tokens of choice k that were not told yet: {"content": [...]}, or null where nobody asked or a vote chose the reply. */
void moa_logprobs_chat(moa_buf *b, moa_turn *t, int k);
/* {"tokens", "token_logprobs", "top_logprobs", "text_offset"} */
void moa_logprobs_text(moa_buf *b, moa_turn *t, int k);
/* The same as a value: of two tokens with one text in a completion's list of the most probable, the last. */
json_t *moa_logprobs_value(void (*write)(moa_buf *b, moa_turn *t, int k), moa_turn *t, int k);

#endif
