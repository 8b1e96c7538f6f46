/* turn.h - a request at work: its run, what of it goes to the client as it comes, and what it used. What a client sees of a reply is decided
 * here, once for all endpoints: the line of what the replies say is held back, a merge that was refused is followed by what replaced it,
 * proposals are shown where the client asked for them. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_SERVE_TURN_H
#define MOA_SERVE_TURN_H

#include "serve/ask.h"
#include "serve/exchange.h"

typedef struct moa_turn moa_turn;
/* How an endpoint shows a reply that streams; Negative: nobody listens, the run is canceled. */
typedef struct moa_turn_sink {
    int (*text)(void *ctx, moa_turn *t, int choice, const char *s, size_t n);
    /* What a proposer writes, or (thinks) what a call's model thought before it wrote. n 0: that call has ended. */
    int (*thought)(void *ctx, moa_turn *t, const moa_agent_node *node, const char *s, size_t n, bool thinks);
    int (*calls)(void *ctx, moa_turn *t, int choice, const json_t *calls); /* NULL where no tools are offered */
    int (*end)(void *ctx, moa_turn *t, int choice);
    int (*event)(void *ctx, moa_turn *t, json_t *event); /* of the graph, where the client asked for them (takes event); NULL: never shown */
} moa_turn_sink;

typedef struct moa_choice {
    moa_buf text;              /* the reply so far; in the end, what stands before calls */
    size_t shown;              /* of it: the rest may become a call */
    json_t *calls;             /* of tools; NULL: none */
    moa_buf held;              /* what may still turn out to be the line of what the replies say */
    bool open, ended;          /* past that line */
    int64_t told;              /* tokens whose probabilities were sent */
    size_t offset;             /* bytes of these */
    const char *finish;        /* "stop", "length", "tool_calls" */
} moa_choice;

/* What a call said beside the reply. */
typedef struct moa_aside {
    moa_buf waits;             /* for its turn to be shown */
    moa_buf thoughts;          /* of its model, where its server tells of them */
    bool writes;               /* it has begun to write */
} moa_aside;

struct moa_turn {
    moa_exchange *x;
    moa_ask *ask;
    moa_run *run;
    const moa_turn_sink *sink; void *ctx;
    moa_choice choice[MOA_ASK_CHOICES]; int n_choice;
    void (*done)(void *ctx, moa_turn *t, int rc, const moa_fault *f);
    int thinking;              /* node whose text is shown as thoughts now; -1: none */
    moa_aside *aside; int n_aside; /* by node, as far as there are any */
    int part;                  /* which turn of its exchange, where there are several */
    int n_told;                /* nodes that the client knows of, where it asked for events */
};

/* The prompt fits into its model's context, as far as that can be known beforehand. */
int moa_turn_check(const moa_ask *a, moa_fault *f);
/* Begins, and returns. What the reply says goes to sink (NULL: nothing is shown before its end); then done, once and last: rc 0, or negative
 * with f (MOA_ECANCELED: the client is gone). All of them are called with ctx in threads of the server's loop, one at a time. Negative, with f:
 * it did not begin, and nobody is called. */
int moa_turn_start(moa_turn *t, moa_exchange *x, moa_ask *a, const moa_turn_sink *sink, void (*done)(void *ctx, moa_turn *t, int rc, const moa_fault *f), void *ctx,
                   moa_fault *f);
void moa_turn_deinit(moa_turn *t);
const moa_buf *moa_turn_thoughts(const moa_turn *t, int node); /* NULL: none were told */

/* OpenAI's usage object with `moa` in it, as JSON. */
json_t *moa_turn_usage(const moa_turn *t);
const char *moa_turn_fingerprint(char out[32], const moa_ask *a);

#endif
