/* server.h - the server: sockets and their requests in one event thread, work in the few threads of a loop, decoding in the models' own threads.
 *
 * moa_server_run is the event thread: an epoll of its own over libmicrohttpd's, a mailbox (eventfd) and the sockets of requests that
 * wait, since a suspended connection is watched by nobody else. All that belongs to connections is touched by this thread alone;
 * others put bytes into an exchange and mail it. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_SERVE_SERVER_H
#define MOA_SERVE_SERVER_H

#include "serve/endpoint.h"
#include "serve/metrics.h"
#include "serve/queue.h"
#include "serve/traces.h"

#include "base/sha256.h"

#include "serve/ledger.h"

struct moa_catalog;

typedef struct moa_server_cfg {       /* zero is a good value of every field; texts are borrowed */
    const char *host;                 /* NULL: 127.0.0.1 */
    int port;                         /* 0: one that is free */
    const char *const *key; int n_key; /* bearer keys; none: everybody may ask */
    const char *const *origin; int n_origin; /* of web pages that may ask beside those of this machine; "*": all */
    size_t max_body;                  /* bytes of a request; 0: 32 MiB */
    int max_running, max_queue;       /* requests at work, and waiting; 0: 1024, 512 */
    int beat_s;                       /* seconds of silence before a stream's heartbeat; 0: 15 */
    moa_ledger *ledger;               /* what is kept of requests; NULL: nothing */
    int drain_s;                      /* most seconds that running requests get after the first stop; 0: 30 */
    void (*log)(void *ctx, const moa_exchange *x, int status, double seconds); /* a request has ended; NULL: nobody listens */
    /* A new catalog out of the configuration as it is now; NULL: there is nothing to read again. In a thread of its own. */
    int (*reload)(void *ctx, struct moa_catalog **out, const struct moa_catalog *was, moa_err *err);
    void (*say)(void *ctx, const char *text);        /* of a reload: what came of it; NULL: nobody listens */
    void *ctx;                        /* of all three */
} moa_server_cfg;

struct moa_server {
    moa_server_cfg cfg;
    struct MHD_Daemon *daemon;
    int port, epoll, wake, listener;
    bool local;                       /* bound to this machine alone */
    char (*key_hash)[MOA_SHA256_HEX];
    moa_loop *loop, *computing;       /* all that is done for requests; of it, what computes in its own thread */
    moa_queue queue;
    moa_metrics metrics;
    moa_traces traces;
    /* the event thread's */
    moa_exchange *open;
    int n_open;
    uint64_t n_request, nonce;
    bool draining;
    double drain_end;
    /* shared */
    pthread_mutex_t lock;
    moa_exchange *mail;
    struct moa_catalog *catalog;      /* who can be asked */
    atomic_int stops, reloads;
    atomic_bool reloading;
    pthread_t reloader; bool has_reloader; /* the event thread's */
};

/* Takes over the catalog when it succeeds. */
int moa_server_open(moa_server **out, const moa_server_cfg *cfg, struct moa_catalog *catalog, moa_err *err);
struct moa_catalog *moa_server_catalog(moa_server *s); /* as it is now; moa_catalog_unref it */
int moa_server_run(moa_server *s, moa_err *err); /* until it is stopped */
void moa_server_stop(moa_server *s);             /* from any thread or signal handler. First: no new requests, running ones end; second: now */
void moa_server_reload(moa_server *s);           /* from any thread or signal handler: reads the configuration again; requests that run keep what they began with */
void moa_server_close(moa_server *s);

void moa_server_mail(moa_server *s, moa_exchange *x); /* x has news for its connection */

/* http.c: the daemon that talks to sockets */
int moa_http_start(moa_server *s, moa_err *err);
const char *moa_request_header(moa_exchange *x, const char *name); /* of the request; for quick endpoints. NULL: it has none */
void moa_http_left(moa_exchange *x); /* in the event thread: its client has closed the connection, or its writing side */
void moa_http_wake(moa_exchange *x); /* in the event thread: goes on with a connection that waits */

#endif
