/* reply.h - what a server behind a URL says, read as it comes: a stream of events or one JSON object, in pieces of any size. Nothing in it is
 * trusted: lines, texts and calls are bounded, and what is no reply is an error with words.
 *
 * The text is the answer alone. Reasoning, whether the server tells it apart (reasoning_content, reasoning) or writes it as a <think>...</think> at
 * the beginning, is kept beside it, and so are probabilities of tokens, where they were asked for. Calls of tools come behind the text, each as <tool_call>{"name", "arguments"}</tool_call>, which is one of
 * the forms that serve/tools.h reads. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_SERVE_UPSTREAM_REPLY_H
#define MOA_SERVE_UPSTREAM_REPLY_H

#include "base/buf.h"
#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { MOA_REPLY_LINE_MAX = 4 << 20, MOA_REPLY_TEXT_MAX = 64 << 20, MOA_REPLY_CALLS_MAX = 128 };

typedef struct moa_reply_call { moa_buf name, arguments; } moa_reply_call;
typedef struct moa_reply {
    const char *id;             /* whose, for errors; borrowed */
    moa_buf line;               /* of a stream: one that is not whole. Otherwise the body */
    moa_buf text;               /* the answer so far; only grows */
    moa_buf held;               /* its beginning, which may become <think> */
    moa_buf thought;            /* what it thought first; who has passed it on clears it. Over its maximum, the rest is lost */
    json_t *probs;              /* logprobs.content of the text's tokens, as it came; who has passed it on clears it. NULL: not asked for */
    enum { MOA_REPLY_BEGINS, MOA_REPLY_THINKS, MOA_REPLY_THOUGHT, MOA_REPLY_ANSWERS } part;
    moa_reply_call *call; int n_call;
    bool spoke;                 /* it has said anything: text, reasoning, a call */
    bool ended, cut, over;      /* it said that it is whole; cut: by the limit of tokens; over: nothing follows any more ([DONE]) */
    int64_t prompt_tokens, completion_tokens, cached_tokens, thought_tokens; /* thought: of completion_tokens */
    int64_t events;             /* with text or reasoning: tokens about, where the server counts none */
    moa_err err;
} moa_reply;

void moa_reply_init(moa_reply *r, const char *id);
void moa_reply_deinit(moa_reply *r);
void moa_reply_want_probs(moa_reply *r); /* before anything is read */
/* More of a stream. Negative: r->err says why; no more is read. */
int moa_reply_feed(moa_reply *r, const char *p, size_t n);
/* More of a body that is no stream (an error's too). */
int moa_reply_body(moa_reply *r, const char *p, size_t n);
/* No more comes. streamed: it was fed. Negative: it is no whole reply. */
int moa_reply_end(moa_reply *r, bool streamed);
/* What the body of an error says: {"error": {"message"}}, {"error": TEXT}, {"message"}, {"detail"}, or its beginning. */
void moa_reply_reason(const moa_reply *r, char *out, size_t n);

#endif
