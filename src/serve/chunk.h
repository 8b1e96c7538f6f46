/* chunk.h - the parts of OpenAI's stream of a reply: objects that share id, time and model, written as text without building a tree, since there
 * is one a token. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_SERVE_CHUNK_H
#define MOA_SERVE_CHUNK_H

#include "serve/turn.h"

typedef struct moa_chunks {
    moa_exchange *x;
    moa_buf head;          /* {"id":...,"model":..., up to the choices */
    moa_buf line;          /* the one that is made */
    bool usage_null;       /* every chunk but the last says usage: null */
} moa_chunks;

/* object: "chat.completion.chunk" or "text_completion"; id: "chatcmpl-..." */
void moa_chunks_init(moa_chunks *c, moa_exchange *x, const moa_ask *a, const char *object, const char *id);
void moa_chunks_deinit(moa_chunks *c);
/* A chunk with one choice: `body` is its members behind the index, such as "\"delta\":{},\"finish_reason\":\"stop\"". */
int moa_chunk_send(moa_chunks *c, int choice, const char *body, size_t n);
/* {"FIELD":"text"} of s into b: for deltas. */
void moa_chunk_delta(moa_buf *b, const char *field, const char *s, size_t n);
int moa_chunk_event(moa_chunks *c, json_t *event); /* takes event: a chunk without choices, with a member `moa` */
int moa_chunk_usage(moa_chunks *c, json_t *usage); /* takes usage: the chunk without choices */

/* Ids of replies: "chatcmpl-" and the number of the request. */
void moa_chunk_id(char out[64], const char *prefix, const moa_exchange *x);

#endif
