/* run.h - a mixture of agents is a graph of model calls; the executor runs any such graph.
 *
 * A node is one call: role, backend, messages, sampling, and the earlier nodes whose texts it reads. Strategies
 * (strategy/, strategies.def) only build graphs. The executor gives every node to its backend as soon as what it reads is there;
 * the local backend decodes all that runs as one batch that shares prefixes. A run is a task of a loop (base/loop.h): it moves when
 * something has happened to one of its calls, and holds no thread while it waits. Concurrency, events, failures,
 * cancellation and accounting are here, once for all strategies.
 *
 * Seeds: a node's seed is a hash of the run's seed and the node's index, so sample i is the same text in every
 * strategy and for every n that puts its samples first: comparisons of mixes are paired, and a journal computes
 * equal calls once.
 * Failures: a node whose inputs are partly failed works with those that are left (at least `need`); a failed node
 * with a fallback takes its text from there, and so does an aggregator that lost the answer or made one up. Whatever happened is told in node->note, never in silence.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_RUN_H
#define MOA_AGENT_RUN_H

#include "agent/backend.h"
#include "base/arena.h"
#include "base/loop.h"

typedef struct moa_run moa_run;
typedef struct moa_agent_node moa_agent_node;

/* How a node turns the replies of its inputs into messages (n->msg, n->n_msg). May add nodes to the run: n moves then. */
typedef int (*moa_compose_fn)(moa_run *r, moa_agent_node *n, moa_err *err);
/* May the reply of a call stand (n->text)? If not, the node takes its fallback's text where it has one. */
typedef const char *(*moa_refuse_fn)(const moa_run *r, const moa_agent_node *n); /* why not, or NULL */
/* A node without a backend computes its text itself (vote, pick). */
typedef int (*moa_reduce_fn)(moa_run *r, moa_agent_node *n, moa_err *err);

typedef enum moa_late { MOA_LATE_NOT, MOA_LATE_UNASKED, MOA_LATE_CUT } moa_late;

struct moa_agent_node {
    const char *name;                 /* "p1.3", "agg" */
    const char *role;                 /* "proposer", "aggregator", "vote" */
    moa_backend *backend;             /* NULL: reduce */
    moa_sampling sampling; int max_tokens;
    const moa_grammar *grammar;       /* what its text may be; NULL: anything */
    const moa_call_extra *extra;      /* NULL: nothing */
    const int *in; int n_in;          /* earlier nodes */
    moa_compose_fn compose;           /* NULL: the conversation as it is */
    moa_reduce_fn reduce;
    moa_reduce_fn fallback;           /* NULL, or makes the text when the call failed or its reply was refused */
    moa_refuse_fn refuse;             /* NULL: any reply will do */
    int need;                         /* inputs that must have worked; 0: one, if there are inputs */
    double grace_s;                   /* with so many, the others get this long, then they are canceled and left out; 0: as long as they take */
    bool seeded;                      /* sampling.seed is meant as it is */
    /* filled while running */
    int state;
    double started, ended;            /* seconds since the run began */
    moa_message *msg; int n_msg;      /* in the run's arena */
    char *text; size_t text_len;
    bool replaced;                    /* text is the fallback's */
    int64_t prompt_tokens, completion_tokens, reused_tokens, drafted_tokens, accepted_tokens;
    double seconds, first_s, share_s; moa_stop why; /* first_s: to the first token */
    double sum_logprob, cost;         /* cost: dollars, by the prices of its backend */
    bool found;                       /* a journal knew the reply */
    moa_late late;                    /* what the deadline did to it */
    moa_token_log *log;               /* the run's; NULL: not asked for */
    int rc;                           /* of the call, also where a fallback made up for it */
    const char *note;                 /* what went otherwise than planned; NULL: nothing */
    const char *error;                /* of its call; NULL: none */
    const char *said;                 /* what its model wrote, where text is the fallback's; NULL: that is text */
    const struct moa_vote_told *vote; /* where text was voted for; NULL */
    /* the executor's */
    struct moa_edge *out, *out_end;   /* to nodes that read this one */
    int n_wait;                       /* inputs that have not ended */
    double cut_at;                    /* when those that are late are cut off; 0: nobody is late yet */
    struct moa_letter *call;          /* that runs; NULL: none */
};
enum { MOA_NODE_WAITING, MOA_NODE_RUNNING, MOA_NODE_DONE, MOA_NODE_FAILED }; /* node.state */
/* Adds a sentence to the node's note. */
void moa_node_note(moa_run *r, moa_agent_node *n, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

typedef struct moa_event { enum { MOA_EV_START, MOA_EV_TEXT, MOA_EV_DONE } kind; int node; const char *text; size_t n; } moa_event;
typedef bool (*moa_event_cb)(void *ctx, moa_run *r, const moa_event *e); /* false cancels */

/* drafted: fed as guesses of what comes (model/generate.h); accepted: of these, those that came. Each saved its reply a step. */
typedef struct moa_usage {
    int64_t prompt_tokens, completion_tokens, total_tokens, reused_prefix_tokens, drafted_tokens, accepted_tokens;
    int64_t found_tokens;             /* of completion_tokens, those that a journal knew */
    int calls;
    double cost;                      /* dollars */
} moa_usage;

/* What a mix is: strategy + roles + numbers. */
typedef struct moa_mix_cfg {
    const char *name, *strategy;
    moa_backend *const *proposer; int n_proposer;  /* moa: several models; others: the first */
    moa_backend *aggregator;                       /* NULL: the first proposer */
    int n;                                         /* samples (self-moa, vote, seq) or per layer (moa: n_proposer unless n is set) */
    int layers;                                    /* moa: layers of proposers before the aggregator, 1.. */
    int window, repeat_best;                       /* seq: references a window; copies of the current best in it, 0: two if there is room */
    moa_sampling propose, aggregate;               /* seeds are ignored: the executor sets them */
    int max_tokens, aggregate_max_tokens;          /* the second 0: like the first */
    const moa_grammar *propose_grammar, *aggregate_grammar; /* borrowed; NULL: free. A draft stands in for a merge that fails */
    const moa_call_extra *propose_extra, *aggregate_extra; /* borrowed; NULL: nothing */
    int n_answer;                                  /* 0: 1. More: so many answers out of the same inputs, each with a seed of its own */
    const char *propose_system, *aggregate_system; /* NULL, or a system message put before the conversation for that role */
    const char *aggregate_text;                    /* NULL: moa_aggregate_prompt; else this follows question and references */
    int need;                                      /* replies that an aggregator or a vote must have; 0: one */
    double deadline_s;                             /* 0: none. Then what runs is cut off, nothing new is asked, and what is there must do */
    double grace_s;                                /* with so many, how long it waits for the others; 0: until they end */
} moa_mix_cfg;
moa_mix_cfg moa_mix_defaults(const char *strategy);

/* One row of strategies.def: builds the graph; the last node added is the answer unless r->answer is set. */
typedef struct moa_strategy {
    const char *name, *help;
    /* Do the numbers of cfg fit each other? Models are not looked at, but n_proposer is set. NULL: any do. */
    int (*check)(const moa_mix_cfg *cfg, moa_err *err);
    int (*build)(moa_run *r, const moa_mix_cfg *cfg, moa_err *err);
} moa_strategy;
const moa_strategy *const *moa_strategies(int *n);
const moa_strategy *moa_strategy_find(const char *name);

/* What a conversation was measured to have: replay asks no tokenizer. */
typedef struct moa_measured { uint64_t key; int64_t n; struct moa_measured *next; } moa_measured;

struct moa_run {
    moa_arena *arena;
    const moa_message *conv; int n_conv;  /* the user's conversation */
    moa_agent_node *node; int n_node, cap;
    int answer, n_answer;                 /* node whose text is the answer; further answers are the nodes behind it */
    moa_usage usage; double seconds;
    const moa_mix_cfg *cfg;
    uint64_t seed, scope;                 /* scope: of its calls (backend.h) */
    int rc; moa_err err;                  /* of this run */
    moa_err cause; int cause_node;        /* of the first node in the graph that failed, whichever failed first: its hint is the one that helps */
    moa_measured *measured;               /* by moa_run_measure */
    const moa_late *late_then; int n_late_then; /* replay: what the deadline did, by node, in place of the clock; NULL: the clock says */
    struct moa_execution *_Atomic x;      /* while it is executed */
};
int moa_run_new(moa_run **out, const moa_mix_cfg *cfg, const moa_message *conv, int n_conv, uint64_t seed, moa_err *err);
int moa_run_add(moa_run *r, const moa_agent_node *n, moa_err *err); /* index; inputs must be earlier nodes */
/* Prompt tokens of a conversation, as b measures them; 0: it does not. */
int64_t moa_run_measure(moa_run *r, moa_backend *b, const moa_message *msg, int n_msg, moa_err *err);
uint64_t moa_measured_key(const moa_backend *b, const moa_message *msg, int n_msg);
static inline bool moa_run_is_answer(const moa_run *r, int node) { return node >= r->answer && node < r->answer + r->n_answer; }
/* Begins to execute r in the threads of loop, and returns. There cb (NULL: nobody listens) hears what happens, one event at a time, and
 * ended, once and last, that r has ended: r->rc and r->err say how, and r is the caller's again. */
typedef void (*moa_ended_fn)(void *ctx, moa_run *r);
int moa_run_start(moa_run *r, moa_loop *loop, moa_event_cb cb, moa_ended_fn ended, void *ctx, moa_err *err);
/* From any thread, between moa_run_start and `ended`: it ends soon, as MOA_ECANCELED. */
void moa_run_cancel(moa_run *r);
/* Executes runs side by side and waits for them; cb is called in the calling thread, and now and then with a text of no bytes, so that one can
 * cancel at any time. A run that fails does not stop the others: its code is in rc. MOA_ECANCELED: cb said so. */
int moa_run_execute_many(moa_run **r, int n, moa_event_cb cb, void *ctx, moa_err *err);
int moa_run_execute(moa_run *r, moa_event_cb cb, void *ctx, moa_err *err);
/* What a node said, without the line of what the replies say with which one that reads references may begin: the line is in
 * node->text, and no part of an answer or of a reference. */
const char *moa_node_reply(const moa_agent_node *n);
const char *moa_run_answer(const moa_run *r); /* the reply of the answer's node; "" when there is none */
void moa_run_free(moa_run *r);

#endif
