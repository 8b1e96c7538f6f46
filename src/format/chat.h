/* chat.h - conversations to prompt text, through the model's own template (Jinja, tokenizer.chat_template).
 * The interpreter is jinja.h; it has bounds on steps, depth, memory and output.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FORMAT_CHAT_H
#define MOA_FORMAT_CHAT_H

#include "moa.h"

#include <jansson.h>

typedef struct moa_chat_template moa_chat_template;

int moa_chat_template_parse(moa_chat_template **out, const char *text, size_t n, moa_err *err); /* copies text */
void moa_chat_template_free(moa_chat_template *t);
/* false: the template drops or refuses a first system message; moa_chat_render then puts its text in front of the first
 * user message, so that instructions never get lost. */
bool moa_chat_takes_system(const moa_chat_template *t);
/* Is a variable of this name in the template? */
bool moa_chat_names(const moa_chat_template *t, const char *name);
/* Variables for one template beside the conversation, as JSON text: an object; what moa itself gives (messages, bos_token, eos_token,
 * add_generation_prompt) is refused. json_decref(*out). */
int moa_chat_vars_parse(json_t **out, const char *text, moa_err *err);
/* free(*out). bos/eos: text of those tokens ("" for none). add_generation_prompt opens the assistant's turn. extra: an object of further
 * variables, or NULL. */
int moa_chat_render_with(char **out, size_t *len, const moa_chat_template *t, const moa_message *msg, int n_msg,
                         const char *bos, const char *eos, bool add_generation_prompt, const json_t *extra, moa_err *err);
int moa_chat_render(char **out, size_t *len, const moa_chat_template *t, const moa_message *msg, int n_msg,
                    const char *bos, const char *eos, bool add_generation_prompt, moa_err *err);
/* A conversation as JSON, as an OpenAI client sends it: messages may have tool_calls, tool_call_id, reasoning_content, parts of content. */
typedef struct moa_chat_request {
    const json_t *messages;    /* array of objects with a role */
    const json_t *tools;       /* array, or NULL */
    const json_t *extra;       /* object of further variables (enable_thinking ...), or NULL; the others go first */
    const char *bos, *eos;
    bool add_generation_prompt;
} moa_chat_request;
/* Arguments of calls that are JSON text become what they say, since templates print them as values; a message without content has none. */
int moa_chat_render_request(char **out, size_t *len, const moa_chat_template *t, const moa_chat_request *r, moa_err *err);
/* The same with every variable given: an object with messages, tools, bos_token, ... (for tools, parts of content, and
 * settings of one template such as enable_thinking). */
int moa_chat_render_vars(char **out, size_t *len, const moa_chat_template *t, const json_t *vars, moa_err *err);

#endif
