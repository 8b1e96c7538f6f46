/* tokenize.c - POST /tokenize: the tokens of a text (content, or prompt as vLLM calls it) or of a conversation (messages).
 * endpoints.def: ENDPOINT(tokenize)
 * SPDX-License-Identifier: Apache-2.0 */
#include "serve/endpoint.h"
#include "serve/server.h"

#include "base/json.h"
#include "serve/ask.h"
#include "serve/tokens.h"

#include <string.h>

typedef struct wanted {
    const char *content, *prompt;
    moa_num add_special, add_special_tokens, parse_special, with_pieces;
} wanted;
static const moa_param fields[] = {
    {"content", MOA_PARAM_TEXT, offsetof(wanted, content), 0, 0},
    {"prompt", MOA_PARAM_TEXT, offsetof(wanted, prompt), 0, 0},
    {"add_special", MOA_PARAM_FLAG, offsetof(wanted, add_special), 0, 0},
    {"add_special_tokens", MOA_PARAM_FLAG, offsetof(wanted, add_special_tokens), 0, 0},
    {"parse_special", MOA_PARAM_FLAG, offsetof(wanted, parse_special), 0, 0},
    {"with_pieces", MOA_PARAM_FLAG, offsetof(wanted, with_pieces), 0, 0},
};

/* llama-server adds no special tokens unless asked, vLLM (whose field is prompt) adds them unless told not to. */
static int flags_of(const wanted *w) {
    const bool add = w->add_special.set ? w->add_special.v != 0 : w->add_special_tokens.set ? w->add_special_tokens.v != 0 : w->prompt != NULL;
    const bool parse = !w->parse_special.set || w->parse_special.v != 0;
    return (add ? MOA_TOK_BOS : 0) | (parse ? MOA_TOK_SPECIAL : 0);
}

static int tokens_of(moa_ids *ids, moa_ask *a, const wanted *w, const moa_catalog_model *m, moa_fault *f) {
    const char *text = w->content ? w->content : w->prompt;
    moa_err err = {0};
    if (json_object_get(a->body, "messages") && m->backend) {
        MOA_TRY(moa_ask_messages(a, json_object_get(a->body, "messages"), f));
        return moa_backend_local_ids(ids, m->backend, a->msg, a->n_msg, &a->extra, &err) < 0 ? moa_fault_from(f, "messages", &err) : 0;
    }
    if (!text) return moa_fault_set(f, 400, "missing_value", "content", "expected content or prompt with a text, or messages");
    return moa_tokenize(ids, moa_catalog_tokenizer(m), text, strlen(text), flags_of(w), &err) < 0 ? moa_fault_from(f, "content", &err) : 0;
}

static json_t *describe(const moa_ids *ids, const moa_tokenizer *t, bool pieces) {
    json_t *list = json_array();
    for (int64_t i = 0; i < ids->n; i++) {
        const moa_str s = moa_token_bytes(t, ids->v[i], true);
        json_t *id = json_integer(ids->v[i]);
        json_array_append_new(list, pieces ? json_pack("{s:o, s:o}", "id", id, "piece", moa_json_str(s.p, s.n)) : id);
    }
    return list;
}

static void handle(moa_exchange *x) {
    moa_ask a = {0};
    moa_fault f = {0};
    wanted w = {0};
    moa_ids ids = {0};
    moa_catalog_model *m = NULL;
    int rc = moa_ask_body(&a, moa_buf_str(&x->body), x->body.len, &f);
    if (rc >= 0) rc = moa_params_read(&w, a.body, fields, sizeof fields / sizeof *fields, &f);
    if (rc >= 0) rc = (m = moa_catalog_one(x->catalog, a.model, &f)) ? 0 : -1;
    if (rc >= 0) rc = tokens_of(&ids, &a, &w, m, &f);
    if (rc < 0) moa_reply_fault(x, &f);
    else
        moa_reply_json(x, 200, json_pack("{s:o, s:I, s:i}", "tokens", describe(&ids, moa_catalog_tokenizer(m), w.with_pieces.v != 0), "count", (json_int_t)ids.n,
                                         "max_model_len", m->backend ? m->backend->n_ctx : m->encoder->h.n_ctx));
    moa_ids_deinit(&ids);
    moa_ask_deinit(&a);
}

const moa_endpoint moa_endpoint_tokenize = {.name = "tokenize", .help = "tokens of a text or a conversation", .method = "POST", .path = "/tokenize", .handle = handle};
