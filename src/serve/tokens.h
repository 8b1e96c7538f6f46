/* tokens.h - lists of tokens in requests. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_SERVE_TOKENS_H
#define MOA_SERVE_TOKENS_H

#include "serve/catalog.h"

#include <jansson.h>

/* Appends an array of integers; any other content is a fault at param. Whether a model has such tokens is not checked here. */
int moa_tokens_read(moa_ids *ids, const json_t *list, const char *param, moa_fault *f);
int moa_tokens_check(const moa_ids *ids, const moa_tokenizer *t, const char *param, moa_fault *f);
/* Of the model that an id leads to: what it reads and writes. */
static inline const moa_tokenizer *moa_catalog_tokenizer(const moa_catalog_model *m) { return m->encoder ? m->encoder->tok : moa_backend_local_model(m->backend)->tok; }

#endif
