/* upstream.h - a model behind a URL: any server with OpenAI's /chat/completions, as a backend.
 *
 * The calls of a batch are asked at once (up to max_concurrent over all batches; the others wait for their turn), each as a stream. A call
 * that fails before its first text (no connection, 408, 429, 5xx) is tried again after what Retry-After says, or a time that doubles with jitter;
 * one that fails later is a failed call: a mixture goes on with the others. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_SERVE_UPSTREAM_H
#define MOA_SERVE_UPSTREAM_H

#include "agent/run.h"

typedef struct moa_upstream_cfg { /* texts are copied */
    const char *id;        /* how it is called here */
    const char *url;       /* up to /chat/completions: "https://host/v1" */
    const char *model;     /* its name there; NULL: id */
    const char *key;       /* bearer key; NULL: none */
    int max_concurrent;    /* calls at a time; 0: 8 */
    int timeout_s;         /* without a byte; 0: 120 */
    int retries;           /* 0: 2; negative: none */
    int n_ctx;             /* tokens of a conversation with its reply; 0: unknown */
} moa_upstream_cfg;
int moa_upstream_open(moa_backend **out, const moa_upstream_cfg *cfg, moa_err *err);

#endif
