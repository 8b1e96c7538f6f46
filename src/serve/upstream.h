/* upstream.h - a model behind a URL: any server with OpenAI's /chat/completions, as a backend.
 *
 * All such backends of a process share one thread with one libcurl multi handle (upstream/net.c). Calls go out as streams, at most max_concurrent
 * at a time, in a fair order, within the limits of requests and tokens a minute. A call that fails before its first text (no connection, 408, 429,
 * 5xx, silence) is tried again after what Retry-After says, or a time that doubles with jitter; one that fails later is a failed call: a mixture goes
 * on with the others. After `breaker` failures in a row calls fail at once, until one that tries after `cooldown` gets through. A call that
 * has said nothing after the time within which 95 % of the last ones had may be asked once more, beside itself; who speaks first wins.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_SERVE_UPSTREAM_H
#define MOA_SERVE_UPSTREAM_H

#include "agent/backend.h"

typedef struct moa_upstream_cfg { /* texts are copied; 0 is the default of every number */
    const char *id;        /* how it is called here */
    const char *url;       /* up to /chat/completions: "https://host/v1" */
    const char *model;     /* its name there; NULL: id */
    const char *key;       /* bearer key; NULL: none */
    int max_concurrent;    /* calls at a time; 0: 8 */
    int retries;           /* of one call; 0: 2; negative: none */
    int n_ctx;             /* tokens of a conversation with its reply; 0: unknown */
    double connect_s;      /* to a connection; 0: 10 */
    double first_s;        /* to the first byte of a reply; 0: as timeout_s */
    double timeout_s;      /* between two bytes; 0: 120 */
    double whole_s;        /* of a call with its retries and its wait for its turn; 0: any */
    int requests_per_minute, tokens_per_minute; /* 0: any */
    double hedge;          /* share of the calls that may be asked twice, 0 to 1; 0: none */
    int breaker;           /* failures in a row that open it; 0: 10; negative: never */
    double cooldown_s;     /* 0: 15 */
    bool tools_in_words;   /* tools are told in a system message, not in the field for them */
    bool images;           /* it reads images: parts of type image_url are passed on */
} moa_upstream_cfg;
int moa_upstream_open(moa_backend **out, const moa_upstream_cfg *cfg, moa_err *err);
bool moa_upstream_takes_tools(const moa_backend *b); /* natively; false for other kinds of backends */
bool moa_upstream_takes_images(const moa_backend *b); /* likewise */

typedef struct moa_upstream_stats {
    int64_t calls;                     /* that have ended */
    int64_t requests, retries, failures; /* requests made, also again and beside each other; failures: of requests */
    int64_t refused;                   /* calls that found the breaker open */
    int64_t hedges, hedges_won, canceled;
    int running, waiting;              /* requests at work; calls that wait for their turn or rest */
    int breaker;                       /* 0 closed, 1 open, 2 half open */
    double p50, p95;                   /* seconds to the first word, of the last 200 that had one; negative: fewer than 20 */
} moa_upstream_stats;
bool moa_upstream_stats_of(moa_upstream_stats *out, const moa_backend *b); /* from any thread; false: another kind of backend */

#endif
