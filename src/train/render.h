/* render.h - a conversation or a text -> token ids, with a mark on each token that is learned.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TRAIN_RENDER_H
#define MOA_TRAIN_RENDER_H

#include "format/chat.h"
#include "format/tokenizer.h"

typedef struct moa_doc {
    int32_t *id;
    unsigned char *learn; /* 1: the loss counts the prediction of this token */
    int64_t n, cap;
    int64_t split;        /* two documents in one: where the second begins; 0: it is one */
    int32_t pair;         /* of preferences: 1 + its number in the stage's data; chosen first. 0: none */
} moa_doc;
void moa_doc_deinit(moa_doc *d);
int moa_doc_add_ids(moa_doc *d, const int32_t *id, int64_t n, moa_err *err); /* appends, all learned */
static inline void moa_doc_clear(moa_doc *d) { d->n = d->split = d->pair = 0; }
/* Places in a row: nothing is predicted from the last token of a document. */
static inline int64_t moa_doc_places(const moa_doc *d) { return d->n - 1 - (d->split > 0); }

typedef struct moa_render {
    const moa_tokenizer *tok;
    const moa_chat_template *chat; /* may be NULL when only texts are rendered */
    char *bos, *eos;               /* their texts, "" for none */
    moa_ids scratch;
} moa_render;
int moa_render_init(moa_render *r, const moa_tokenizer *tok, const moa_chat_template *chat, moa_err *err);
void moa_render_deinit(moa_render *r);

/* Replaces d. What an assistant says is learned, with the token that ends its turn and nothing after it. What belongs to
 * it is found by rendering: the text up to the open turn, and the text with the turn in it, must agree so far. The two
 * parts are tokenised apart, since at inference the prompt ends there. */
int moa_render_conversation(moa_doc *d, moa_render *r, const moa_message *msg, int n_msg, moa_err *err);

#endif
