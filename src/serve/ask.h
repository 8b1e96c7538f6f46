/* ask.h - what a client asks, checked: the conversation, who shall answer it, how the reply is drawn. All endpoints that generate text
 * make one of these out of their body. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_SERVE_ASK_H
#define MOA_SERVE_ASK_H

#include "base/arena.h"
#include "serve/catalog.h"
#include "serve/param.h"
#include "serve/tools.h"

enum { MOA_ASK_STOPS = 16, MOA_ASK_CHOICES = 32, MOA_ASK_MESSAGES = 4096 };

typedef enum moa_show { MOA_SHOW_ANSWER, MOA_SHOW_THOUGHTS /* proposals one after the other */, MOA_SHOW_ALL /* as they come, each tagged */ } moa_show;

typedef struct moa_ask {
    json_t *body;                     /* what the texts below point into */
    moa_arena *arena;                 /* and this */
    const char *model, *user;
    moa_num temperature, top_p, top_k, min_p, repeat_penalty, presence_penalty, frequency_penalty, n, max_tokens, max_completion_tokens, seed, stream;
    bool include_usage;
    moa_show show;
    bool events;                      /* of the graph, in a stream */
    const char *request_id;           /* moa.request_id: the same body with the same name is the same request; NULL: it has none */
    moa_message *msg; int n_msg;      /* the conversation as texts: calls of tools and their results in words */
    json_t *talk;                     /* the same as a chat template reads it, where there are any, or images; NULL otherwise */
    char image[100];                  /* where the first image stands; "": there is none */
    moa_call_extra seen;              /* of the calls before the reply, where there are images */
    bool after_tool;                  /* it ends with a tool's result */
    moa_tools tools;
    const char *stop[MOA_ASK_STOPS];
    moa_call_extra extra;             /* of the calls that make the reply */
    moa_grammar *grammar;
    json_t *schema;                   /* that it was made from */
    const moa_catalog_row *row;       /* that the id led to */
    moa_mix_spec spec;                /* bound: its cfg is ready to run */
    uint64_t run_seed;
    time_t created;
} moa_ask;

/* Zero-initialised a. Deinit in any case. */
int moa_ask_body(moa_ask *a, const char *text, size_t n, moa_fault *f); /* parses, reads what all endpoints share */
int moa_ask_messages(moa_ask *a, const json_t *messages, moa_fault *f); /* OpenAI's messages -> msg */
int moa_ask_format(moa_ask *a, const json_t *format, const char *param, moa_fault *f); /* response_format, or text.format */
int moa_ask_logprobs(moa_ask *a, moa_fault *f);      /* logprobs and top_logprobs of a chat */
int moa_ask_logprobs_text(moa_ask *a, moa_fault *f); /* logprobs of a completion: how many of the most probable tokens */
int moa_ask_bind(moa_ask *a, const moa_catalog *c, moa_fault *f);       /* who answers, with which numbers */
void moa_ask_deinit(moa_ask *a);
static inline int moa_ask_n(const moa_ask *a) { return a->n.set ? (int)a->n.v : 1; }

#endif
