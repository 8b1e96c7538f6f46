/* tools.h - functions that a client offers, and the calls of them in what a model writes.
 *
 * A model whose chat template knows `tools` is told of them there, any other by a system message. Its reply is read in the ways that models have
 * been taught to call (a table in tools.c), and only names that were offered are calls. Where a call is demanded (tool_choice "required", or one
 * function), a grammar leaves nothing else to write, whatever the model was taught.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_SERVE_TOOLS_H
#define MOA_SERVE_TOOLS_H

#include "base/buf.h"
#include "serve/fault.h"

#include <jansson.h>

enum { MOA_TOOLS_MAX = 128 };
typedef struct moa_tools {
    json_t *list;             /* [{"type": "function", "function": {...}}]; NULL: none */
    enum { MOA_TOOLS_AUTO, MOA_TOOLS_NONE, MOA_TOOLS_REQUIRED } choice;
    const char *only;         /* the one that must be called; borrowed from the body */
    bool one;                 /* parallel_tool_calls: false */
} moa_tools;

/* tools, tool_choice, parallel_tool_calls of a chat; flat: of /v1/responses, where a function's fields stand beside its type. */
int moa_tools_read(moa_tools *t, const json_t *body, bool flat, moa_fault *f);
void moa_tools_deinit(moa_tools *t);
static inline bool moa_tools_any(const moa_tools *t) { return t->list && t->choice != MOA_TOOLS_NONE; }

/* The schema of a demanded call: {"name", "arguments"} (json_decref it). NULL: none is demanded, or no memory. */
json_t *moa_tools_schema(const moa_tools *t);
/* For models whose template does not know tools: what they are and how to call them. */
int moa_tools_tell(moa_buf *out, const moa_tools *t);
/* For models that draft a reply which another one writes: what they are, and that they are not to be called here. */
int moa_tools_mention(moa_buf *out, const moa_tools *t);

/* How much of a growing text can be shown: what may become a call is held back. begins: text is the reply's from its first byte on. */
size_t moa_tools_ready(const char *text, size_t n, bool begins);
/* A whole text -> calls [{"id", "type", "function": {"name", "arguments": TEXT}}] (json_decref it) and the bytes of text before them. NULL: it
 * calls nothing. id: for ids of calls. */
json_t *moa_tools_calls(size_t *before, const moa_tools *t, const char *text, size_t n, const char *id);

#endif
