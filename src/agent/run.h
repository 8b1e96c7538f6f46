/* run.h - a mixture of agents is a graph of model calls; the executor runs any such graph.
 *
 * A node is one call: role, backend, messages, sampling, and the earlier nodes whose texts it reads. Strategies
 * (strategy/, strategies.def) only build graphs. The executor gives every node that is ready to its backend at
 * once; the local backend decodes all of them as one batch that shares prefixes. Concurrency, events, budgets,
 * cancellation and accounting are here, once for all strategies.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_RUN_H
#define MOA_AGENT_RUN_H

#include "base/arena.h"
#include "format/chat.h"
#include "model/generate.h"

typedef struct moa_run moa_run;
typedef struct moa_agent_node moa_agent_node;

/* A place that completes conversations. One row per kind in backends.def (local now; openai, replay later). */
typedef struct moa_backend moa_backend;
typedef struct moa_call {             /* one request to a backend, and its reply */
    const moa_message *msg; int n_msg;
    moa_sampling sampling; int max_tokens;
    moa_gen_res res;
    int rc; moa_err err;
    void *node;                       /* executor's */
} moa_call;
typedef struct moa_backend_ops {
    const char *name, *help;
    /* Runs all calls to their end; text arrives through cb(ctx, index of call, ...). */
    int (*complete)(moa_backend *b, moa_call *call, int n, moa_gen_cb cb, void *ctx, moa_err *err);
    void (*close)(moa_backend *b);
} moa_backend_ops;
struct moa_backend { const moa_backend_ops *ops; const char *id; /* model name shown */ };
int moa_backend_local_open(moa_backend **out, const char *path, const moa_session_cfg *cfg, moa_err *err);
void moa_backend_close(moa_backend *b);

/* How a node turns the replies of its inputs into messages. */
typedef int (*moa_compose_fn)(moa_run *r, moa_agent_node *n, moa_err *err);
/* A node without a backend computes its text itself (vote, pick). */
typedef int (*moa_reduce_fn)(moa_run *r, moa_agent_node *n, moa_err *err);

struct moa_agent_node {
    const char *name;                 /* "p1.3", "agg" */
    const char *role;                 /* "proposer", "aggregator", "vote" */
    moa_backend *backend;             /* NULL: reduce */
    moa_sampling sampling; int max_tokens;
    const int *in; int n_in;          /* earlier nodes */
    moa_compose_fn compose;           /* NULL: the conversation as it is */
    moa_reduce_fn reduce;
    /* filled while running */
    int state;                        /* 0 waiting, 1 running, 2 done, 3 failed */
    moa_message *msg; int n_msg;      /* in the run's arena */
    char *text; size_t text_len;
    int64_t prompt_tokens, completion_tokens, reused_tokens;
    double seconds; moa_stop why;
};

typedef struct moa_event { enum { MOA_EV_START, MOA_EV_TEXT, MOA_EV_DONE } kind; int node; const char *text; size_t n; } moa_event;
typedef bool (*moa_event_cb)(void *ctx, moa_run *r, const moa_event *e); /* false cancels */

typedef struct moa_usage { int64_t prompt_tokens, completion_tokens, total_tokens, reused_prefix_tokens; int calls; } moa_usage;

/* What a mix is: strategy + roles + numbers. */
typedef struct moa_mix_cfg {
    const char *name, *strategy;
    moa_backend *const *proposer; int n_proposer;  /* moa: several models; others: the first */
    moa_backend *aggregator;                       /* NULL: the first proposer */
    int n;                                         /* samples (self-moa, vote, seq) or per layer (moa: n_proposer unless n is set) */
    int layers;                                    /* moa: layers of proposers before the aggregator, 1.. */
    int window, repeat_best;                       /* seq: references a window; copies of the current best in it */
    moa_sampling propose, aggregate;
    int max_tokens;
} moa_mix_cfg;
moa_mix_cfg moa_mix_defaults(const char *strategy);

/* One row of strategies.def: builds the graph; the last node added is the answer unless r->answer is set. */
typedef struct moa_strategy {
    const char *name, *help;
    int (*build)(moa_run *r, const moa_mix_cfg *cfg, moa_err *err);
} moa_strategy;
const moa_strategy *const *moa_strategies(int *n);
const moa_strategy *moa_strategy_find(const char *name);

struct moa_run {
    moa_arena *arena;
    const moa_message *conv; int n_conv;  /* the user's conversation */
    moa_agent_node *node; int n_node, cap;
    int answer;                           /* node whose text is the answer */
    moa_usage usage; double seconds;
    const moa_mix_cfg *cfg;
    uint64_t seed;
    int rc; moa_err err;                  /* of this run */
};
int moa_run_new(moa_run **out, const moa_mix_cfg *cfg, const moa_message *conv, int n_conv, uint64_t seed, moa_err *err);
int moa_run_add(moa_run *r, const moa_agent_node *n, moa_err *err); /* index; inputs must be earlier nodes */
/* Several runs advance together, so that a local backend sees all their ready calls as one batch (evaluation). A run
 * that fails does not stop the others: its code is in rc. */
int moa_run_execute_many(moa_run **r, int n, moa_event_cb cb, void *ctx, moa_err *err);
int moa_run_execute(moa_run *r, moa_event_cb cb, void *ctx, moa_err *err);
const char *moa_run_answer(const moa_run *r);
void moa_run_free(moa_run *r);

#endif
