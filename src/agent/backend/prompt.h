/* prompt.h - a conversation as the ids that a local model reads.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_BACKEND_PROMPT_H
#define MOA_AGENT_BACKEND_PROMPT_H

#include "agent/backend.h"
#include "model/model.h"

typedef struct moa_prompter moa_prompter;
int moa_prompter_new(moa_prompter **out, const moa_model *m, moa_err *err); /* borrows m */
void moa_prompter_free(moa_prompter *p);
/* Variables of the model's chat template as JSON text; NULL: none. */
int moa_prompter_vars(moa_prompter *p, const char *json, moa_err *err);
/* Appends to ids. A control token's text inside a message stays text: a user cannot end a turn. */
int moa_prompter_ids(moa_ids *ids, const moa_prompter *p, const moa_message *msg, int n_msg, moa_err *err);
/* The same for messages as an OpenAI client sends them, with tool_calls and tool results, and tools (NULL: none). */
int moa_prompter_request(moa_ids *ids, const moa_prompter *p, const json_t *messages, const json_t *tools, moa_err *err);
/* The prompt of a call: extra's ids in place of all, or its messages with what the mix put into the system message and the last turn, or msg. */
int moa_prompter_call(moa_ids *ids, const moa_prompter *p, const moa_message *msg, int n_msg, const moa_call_extra *extra, moa_err *err);
/* Appends the beginning of a reply, as plain text, to the ids of its prompt. */
int moa_prompter_go_on(moa_ids *ids, const moa_prompter *p, const char *reply, moa_err *err);
/* Strings that end a reply, for a model without a template; NULL and 0 otherwise. */
const char *const *moa_prompter_stop(const moa_prompter *p, int *n);

#endif
