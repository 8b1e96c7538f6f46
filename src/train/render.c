/* render.c - see render.h. SPDX-License-Identifier: Apache-2.0 */
#include "train/render.h"

#include "base/err.h"

#include <stdlib.h>
#include <string.h>

void moa_doc_deinit(moa_doc *d) {
    free(d->id);
    free(d->learn);
    *d = (moa_doc){0};
}

static int doc_add(moa_doc *d, int32_t id, bool learn) {
    if (d->n == d->cap) {
        int64_t cap = d->cap ? d->cap * 2 : 256;
        int32_t *p = realloc(d->id, (size_t)cap * sizeof *p);
        if (p) d->id = p;
        unsigned char *q = p ? realloc(d->learn, (size_t)cap) : NULL;
        if (q) d->learn = q;
        if (!p || !q) return MOA_ENOMEM;
        d->cap = cap;
    }
    d->id[d->n] = id;
    d->learn[d->n++] = learn;
    return 0;
}

int moa_doc_add_ids(moa_doc *d, const int32_t *id, int64_t n, moa_err *err) {
    for (int64_t i = 0; i < n; i++)
        if (doc_add(d, id[i], true) < 0) return moa_fail(err, MOA_ENOMEM, "no memory for a document");
    return 0;
}

static char *token_text(const moa_tokenizer *t, int32_t id) {
    moa_str s = id >= 0 ? moa_token_bytes(t, id, true) : (moa_str){"", 0};
    return strndup(s.p ? s.p : "", s.n);
}

int moa_render_init(moa_render *r, const moa_tokenizer *tok, const moa_chat_template *chat, moa_err *err) {
    *r = (moa_render){.tok = tok, .chat = chat};
    r->bos = token_text(tok, moa_tokenizer_bos(tok));
    r->eos = token_text(tok, moa_tokenizer_eos(tok));
    if (r->bos && r->eos) return 0;
    moa_render_deinit(r);
    return moa_fail(err, MOA_ENOMEM, "no memory to render documents");
}

void moa_render_deinit(moa_render *r) {
    free(r->bos);
    free(r->eos);
    moa_ids_deinit(&r->scratch);
    *r = (moa_render){0};
}

/* Tokenise a part of the text. learned: all tokens up to the first that ends a turn; then *ended is set. */
static int add_part(moa_doc *d, moa_render *r, const char *text, size_t n, bool learned, bool *ended, moa_err *err) {
    r->scratch.n = 0;
    MOA_TRY(moa_tokenize(&r->scratch, r->tok, text, n, MOA_TOK_SPECIAL | (d->n == 0 ? MOA_TOK_BOS : 0), err));
    bool open = learned;
    for (int64_t i = 0; i < r->scratch.n; i++) {
        int32_t id = r->scratch.v[i];
        if (doc_add(d, id, open) < 0) return moa_fail(err, MOA_ENOMEM, "no memory for a document");
        if (open && moa_tokenizer_is_eog(r->tok, id)) open = false;
    }
    if (ended) *ended = learned && !open;
    return 0;
}

static bool begins_with(const char *s, size_t n, const char *head, size_t n_head) {
    return n >= n_head && !memcmp(s, head, n_head);
}

/* One assistant turn: conversation up to message j, of which `done` bytes (equal to `before`) are in d already. */
static int add_turn(moa_doc *d, moa_render *r, const moa_message *msg, int j, char **before, size_t *done, moa_err *err) {
    char *prompt = NULL, *full = NULL;
    size_t n_prompt, n_full;
    bool ended = false;
    int rc = moa_chat_render(&prompt, &n_prompt, r->chat, msg, j, r->bos, r->eos, true, err);
    if (rc == 0) rc = moa_chat_render(&full, &n_full, r->chat, msg, j + 1, r->bos, r->eos, false, err);
    if (rc == 0 && (!begins_with(full, n_full, prompt, n_prompt) || (*before && !begins_with(full, n_full, *before, *done)) || n_prompt < *done)) {
        moa_fail(err, MOA_EUNSUPPORTED, "the chat template does not continue its own prompt at message %d", j + 1);
        rc = moa_hint(err, MOA_EUNSUPPORTED, "a template to train with must only append as the conversation grows");
    }
    if (rc == 0) rc = add_part(d, r, prompt + *done, n_prompt - *done, false, NULL, err);
    if (rc == 0) rc = add_part(d, r, full + n_prompt, n_full - n_prompt, true, &ended, err);
    int32_t eos = moa_tokenizer_eos(r->tok);
    if (rc == 0 && !ended && eos >= 0 && doc_add(d, eos, true) < 0) rc = moa_fail(err, MOA_ENOMEM, "no memory for a document");
    free(prompt);
    if (rc < 0) {
        free(full);
        return rc;
    }
    free(*before);
    *before = full;
    *done = n_full;
    return 0;
}

int moa_render_conversation(moa_doc *d, moa_render *r, const moa_message *msg, int n_msg, moa_err *err) {
    moa_doc_clear(d);
    if (!r->chat) return moa_fail(err, MOA_EINVAL, "conversations need a chat template");
    char *before = NULL;
    size_t done = 0;
    int rc = 0;
    for (int j = 0; j < n_msg && rc == 0; j++)
        if (!strcmp(msg[j].role, "assistant")) rc = add_turn(d, r, msg, j, &before, &done, err);
    free(before);
    return rc;
}
