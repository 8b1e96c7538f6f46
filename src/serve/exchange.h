/* exchange.h - one request and its reply, shared by threads: the event thread reads and writes the socket, those of the server's loop make the reply.
 * Bytes pass through a bounded buffer under a lock; a client that is gone sets `gone`, and cancels what runs for it.
 *
 * A reply is either whole (moa_reply_*: once, with its status) or a stream of server-sent events (moa_sse_*: begun, fed, ended).
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_SERVE_EXCHANGE_H
#define MOA_SERVE_EXCHANGE_H

#include "agent/run.h"
#include "serve/fault.h"

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

struct MHD_Connection;
typedef struct moa_server moa_server;
typedef struct moa_endpoint moa_endpoint;

typedef struct moa_head { const char *name, *value; } moa_head; /* a header of a reply */

typedef struct moa_exchange {
    moa_task task;               /* first: its turn of work */
    moa_server *server;
    const moa_endpoint *endpoint;
    struct moa_catalog *catalog; /* who can be asked, as of when the request came */
    char id[40];                 /* "req-..." : x-request-id, traces, moa ps */
    char rest[256];              /* of the path, behind the endpoint's own */
    moa_buf body;                /* of the request, whole once a handler has it */
    uint64_t caller;             /* hash of the bearer key */
    bool shared;                 /* nothing tells this caller from others: no keys, and reached from elsewhere */
    int retries;                 /* x-stainless-retry-count */
    uint64_t named;              /* hash of its Idempotency-Key; 0: it has none */
    double came;
    _Atomic bool gone;           /* the client left, or the server stops */

    pthread_mutex_t lock;        /* over all of this */
    int refs;
    int status;                  /* 0: no reply has begun */
    const char *type;            /* of its content */
    const moa_head *head;        /* further headers, up to one without a name; outlives the request. NULL: none */
    int retry_after;
    bool no_retry;               /* work was paid for: SDKs shall not repeat it by themselves */
    bool streaming, done, mailed;
    moa_buf out;
    size_t sent;                 /* of out */
    double touched;              /* when bytes were last added: heartbeats */
    double started;              /* to be worked at; 0: it waits */
    double first_text;           /* of the reply; 0: none yet */
    moa_run *run;                /* that makes the reply; NULL: none does now */
    char what[96];               /* model or mix that works, for moa ps and metrics */
    struct moa_exchange *next_mail;

    /* the event thread's */
    struct MHD_Connection *conn; /* NULL: it is closed */
    bool suspended, watched, queued;
    int fd;
    size_t swallowed;            /* bytes of a refused body */
    struct moa_exchange *prev, *next; /* of all that are open */
    /* the queue's */
    struct moa_exchange *next_waiting;
    _Atomic int64_t n_tokens;    /* written so far */
} moa_exchange;

int moa_exchange_new(moa_exchange **out, moa_server *s, const moa_endpoint *e);
void moa_exchange_ref(moa_exchange *x);
void moa_exchange_unref(moa_exchange *x);
static inline bool moa_exchange_gone(const moa_exchange *x) { return atomic_load(&x->gone); }
void moa_exchange_leave(moa_exchange *x); /* nobody listens any more: what runs for it is canceled */
void moa_exchange_rest(moa_exchange *x);  /* its run has ended */

/* From any thread. Each wakes the event thread. */
void moa_reply_text(moa_exchange *x, int status, const char *type, const char *text, size_t n);
void moa_reply_json(moa_exchange *x, int status, json_t *body); /* takes body; NULL: no memory */
/* Before a stream has begun: the error's status; behind it: an event with the error, and the end. */
void moa_reply_fault(moa_exchange *x, const moa_fault *f);

void moa_sse_begin(moa_exchange *x);
/* One event: "data: TEXT\n\n", with an "event: NAME" line before it where name is not NULL. Negative: nobody listens any more. */
int moa_sse_event(moa_exchange *x, const char *name, const char *text, size_t n);
int moa_sse_json(moa_exchange *x, const char *name, json_t *event); /* takes event */
void moa_sse_end(moa_exchange *x, bool say_done);
void moa_sse_beat(moa_exchange *x); /* a comment line: the connection lives */

/* For the event thread: up to max bytes that wait to be written. 0 with *end: that was all. */
size_t moa_exchange_take(moa_exchange *x, char *to, size_t max, bool *end);

#endif
