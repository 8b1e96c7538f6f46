/* upstream.h - inside of serve/upstream.h: backends, their calls (jobs), and requests under way (attempts).
 *
 *     backend.c   opening, starting, closing: the side of the callers, in any thread
 *     job.c       a call's life: waits, runs, rests, ends                        } in the thread of net.c, which alone
 *     attempt.c   one request to the server                                      } touches jobs and what a backend
 *     net.c       the thread: epoll, libcurl's multi handle, time                } knows of its server
 *     request.c, reply.c, probs.c, policy.c   plain functions: bodies, replies, probabilities of tokens, patience
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_SERVE_UPSTREAM_UPSTREAM_H
#define MOA_SERVE_UPSTREAM_UPSTREAM_H

#include "serve/upstream.h"
#include "serve/upstream/policy.h"
#include "serve/upstream/reply.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>

typedef struct upstream upstream;
typedef struct job job;
typedef struct moa_net moa_net;

/* A request under way. */
typedef struct attempt {
    job *j;
    CURL *easy;
    moa_reply reply;
    double began, heard;          /* heard: the last byte; 0: none yet */
    long status;
    double retry_after;           /* seconds; negative: not told */
    bool hedge, probe, headed, streamed, lost; /* headed: status and type are known; lost: the other one spoke first, it goes */
    char why[CURL_ERROR_SIZE];
    struct attempt *next_lost;
} attempt;

/* A call. */
struct job {
    upstream *u;
    moa_call *call;
    moa_buf body;
    double cost;                  /* tokens that it may take */
    enum { JOB_WAITS, JOB_RUNS, JOB_RESTS } state;
    int rank;                     /* its place among those that came with it */
    uint64_t round;               /* its turn */
    double came, again, first;    /* again: rests until then; first: its first text */
    int tries;
    attempt *try[2], *speaker;
    size_t told;                  /* bytes of the text */
    job *next;                    /* in the queue, or on its way to the thread */
    job *newer, *older;           /* all of a backend */
};

struct upstream {
    moa_backend base;
    char *id, *url, *model;
    struct curl_slist *header;
    moa_upstream_cfg cfg;         /* numbers, with defaults filled in; no texts */
    moa_net *net;
    atomic_bool stirred;
    /* the thread's */
    moa_bucket requests, tokens;
    moa_breaker breaker;
    char last_failure[200];
    _Atomic double mean_tokens;   /* of a reply: written by the thread of the net, read by all that start calls */
    double pause;                 /* the server asked for silence until then */
    uint64_t round;
    job *queue, *jobs;
    int n_running, n_jobs, n_active; /* requests; calls; of these, such with a request */
    double p95; bool p95_known;
    upstream *next, *next_leaving; /* all of the thread; those that close */
    bool gone;                    /* the thread knows it no more */
    /* anybody's */
    pthread_mutex_t lock;
    moa_latency first;
    moa_upstream_stats stats;     /* but for the quantiles */
};

enum { MOA_UPSTREAM_BODY_MAX = 64 << 20 };

/* ---- request.c ---- */
int moa_upstream_body(moa_buf *out, const upstream *u, const moa_call *c, moa_err *err);
double moa_upstream_cost(const upstream *u, const moa_call *c, size_t body); /* tokens, guessed: four bytes each, and the reply's maximum */

/* ---- probs.c ---- */
void moa_upstream_probs(moa_token_log *to, json_t *rows); /* logprobs.content -> the log; rows are cleared. NULL: nobody asked */

/* ---- net.c ---- */
int moa_net_join(upstream *u, moa_err *err);     /* the thread begins with the first backend */
void moa_net_leave(upstream *u);                 /* and ends with the last; the thread knows u no more, and u is freed. Waits for the thread, so not from a call's end */
void moa_net_send(moa_net *n, job *list);        /* linked by next */
void moa_net_wake(moa_net *n);
/* for the thread */
double moa_net_time(const moa_net *n);           /* of this turn */
void moa_net_look(moa_net *n, double at);        /* jobs are looked at then */
CURLM *moa_net_multi(moa_net *n);
void moa_net_lose(moa_net *n, attempt *a);       /* it ends as soon as libcurl allows */

/* ---- job.c, in the thread ---- */
void moa_upstream_job_take(job *j);                       /* one that comes */
void moa_upstream_admit(upstream *u);            /* whoever may go goes */
void moa_upstream_look(upstream *u, bool stirred); /* times, and with stirred, cancels */
void moa_upstream_job_heard(job *j, attempt *a);          /* a has more text */
bool moa_upstream_job_ended(job *j, attempt *a, CURLcode code, const char *silence); /* false: so has j, and is gone. a has come to its end; silence: what it kept still for too long, or NULL */
void moa_upstream_job_free(job *j);
/* A request is given up without a word; its job goes on. */
void moa_upstream_job_drop(job *j, attempt *a);

/* ---- attempt.c, in the thread ---- */
int moa_attempt_new(attempt **out, job *j, bool hedge, moa_err *err); /* and begins */
void moa_attempt_free(attempt *a);
/* What came of it: 0, or an error; *passing: another try may help; *alive: the server did its part. */
int moa_attempt_result(attempt *a, CURLcode code, const char *silence, bool *passing, bool *alive, moa_err *err);
double moa_attempt_due(const attempt *a, const char **silence); /* until when it must say something */

/* ---- backend.c ---- */
void moa_upstream_free(upstream *u);

#endif
