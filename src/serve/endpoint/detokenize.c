/* detokenize.c - POST /detokenize: the text of tokens, as content (llama-server) and prompt (vLLM). endpoints.def: ENDPOINT(detokenize)
 * SPDX-License-Identifier: Apache-2.0 */
#include "serve/endpoint.h"
#include "serve/server.h"

#include "base/json.h"
#include "serve/ask.h"
#include "serve/tokens.h"

#include <stdlib.h>

static void handle(moa_exchange *x) {
    moa_ask a = {0};
    moa_fault f = {0};
    moa_err err = {0};
    moa_ids ids = {0};
    char *text = NULL;
    size_t n = 0;
    moa_catalog_model *m = NULL;
    int rc = moa_ask_body(&a, moa_buf_str(&x->body), x->body.len, &f);
    if (rc >= 0) rc = (m = moa_catalog_one(x->catalog, a.model, &f)) ? 0 : -1;
    if (rc >= 0) rc = moa_tokens_read(&ids, json_object_get(a.body, "tokens"), "tokens", &f);
    if (rc >= 0) rc = moa_tokens_check(&ids, moa_catalog_tokenizer(m), "tokens", &f);
    if (rc >= 0 && moa_detokenize(&text, &n, moa_catalog_tokenizer(m), ids.v, ids.n, true, &err) < 0) rc = moa_fault_from(&f, "tokens", &err);
    if (rc < 0) moa_reply_fault(x, &f);
    else moa_reply_json(x, 200, json_pack("{s:o, s:o}", "content", moa_json_str(text, n), "prompt", moa_json_str(text, n)));
    free(text);
    moa_ids_deinit(&ids);
    moa_ask_deinit(&a);
}

const moa_endpoint moa_endpoint_detokenize = {.name = "detokenize", .help = "text of tokens", .method = "POST", .path = "/detokenize", .handle = handle};
