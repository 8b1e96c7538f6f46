/* run.h - a mixture of agents is a graph of model calls; the executor runs any such graph.
 *
 * A node is one call: role, backend, messages, sampling, and the earlier nodes whose texts it reads. Strategies
 * (strategy/, strategies.def) only build graphs. The executor gives every node that is ready to its backend at
 * once; the local backend decodes all of them as one batch that shares prefixes. Concurrency, events, failures,
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

#include "base/arena.h"
#include "base/err.h"
#include "format/chat.h"
#include "model/generate.h"

typedef struct moa_run moa_run;
typedef struct moa_agent_node moa_agent_node;

/* A place that completes conversations. One row per kind in backends.def (local now; openai, replay later). */
typedef struct moa_backend moa_backend;
/* What few calls have: what a client of the server asks of the reply. */
typedef struct moa_call_extra {
    const char *const *stop; int n_stop; /* stop strings beside the model's own */
    const int32_t *ids; int64_t n_ids;   /* the prompt as tokens, in place of the messages; NULL: none */
    const json_t *messages, *tools;      /* the conversation with tool calls and results; NULL: what messages say is all. Tools: NULL: none */
    const moa_bias *bias; int n_bias;
    const json_t *schema;                /* what the grammar was made from; NULL: none, or no schema */
    bool logprobs; int top_logprobs;     /* tell of each token of the reply (node->log), with so many of the most probable ones */
    bool partial;                        /* a reply that ends before its grammar is complete is a reply */
} moa_call_extra;
typedef struct moa_call {             /* one request to a backend, and its reply */
    const moa_message *msg; int n_msg;
    moa_sampling sampling; int max_tokens;
    const moa_grammar *grammar;       /* what the reply may be; NULL: anything */
    const moa_call_extra *extra;      /* NULL: nothing */
    const _Atomic bool *cancel;       /* NULL, or: once it is true, the call ends as canceled */
    moa_token_log *log;               /* NULL, or where to tell of each token; the run's */
    moa_gen_res res;
    int rc; moa_err err;
    double share_s;                   /* this call's part of the batch's time, by tokens computed: adds up over calls */
    void *node;                       /* executor's */
} moa_call;
typedef struct moa_backend_ops {
    const char *name, *help;
    /* Runs all calls to their end; text arrives through cb(ctx, index of call, ...). A backend that knows when a call has
     * ended fills it (res, share_s, rc) and says so with cb(ctx, index, NULL, 0); res is the caller's from then on. Between
     * the chunks of a long prompt it calls cb(ctx, index, "", 0), so that one can cancel. */
    int (*complete)(moa_backend *b, moa_call *call, int n, moa_gen_cb cb, void *ctx, moa_err *err);
    void (*close)(moa_backend *b);
    /* Prompt tokens of a conversation, or a negative code. NULL: unknown, no limit is applied. */
    int64_t (*measure)(moa_backend *b, const moa_message *msg, int n_msg, moa_err *err);
    bool apart; /* computes elsewhere: its calls run beside those of other backends */
} moa_backend_ops;
struct moa_backend {
    const moa_backend_ops *ops;
    const char *id;                   /* model name shown */
    uint64_t fingerprint;             /* of the model's weights; 0: unknown */
    int n_ctx;                        /* tokens of one conversation with its reply; 0: unknown */
    int n_ctx_most;                   /* what n_ctx could be: the model reads so much; 0: unknown */
};
const moa_backend_ops *const *moa_backends(int *n);
/* Every fallible part of complete goes through here: a call without its own code gets the backend's. Sets share_s. */
int moa_backend_complete(moa_backend *b, moa_call *call, int n, moa_gen_cb cb, void *ctx, moa_err *err);
/* Hint for a prompt of n tokens that b has no room for: `first`, and a longer context where the model reads that much. */
int moa_backend_ctx_hint(moa_err *err, int rc, const moa_backend *b, int64_t n, const char *first);
/* cfg NULL: all cores, and a context of moa_backend_local_ctx. cfg->max_len: tokens of one conversation. KV (cfg->n_ctx 0) then is
 * for about 32 conversations within 1 GiB or a quarter of the memory, and for one of max_len whatever it takes; memory is used as far as it fills. */
uint64_t moa_backend_local_kv_bytes(void); /* 1 GiB, or a quarter of the memory that the machine or its control group has */
int moa_backend_local_ctx(const moa_hparams *h); /* the model's, or what that much KV (f32) holds */
int moa_backend_local_open(moa_backend **out, const char *path, const moa_session_cfg *cfg, moa_err *err);
void moa_backend_close(moa_backend *b);
/* Variables of the model's chat template as JSON text, before the first call; NULL: none. And does a variable of this name occur in it? */
int moa_backend_local_vars(moa_backend *b, const char *json, moa_err *err);
bool moa_backend_local_names(const moa_backend *b, const char *name);
/* Adapters for the model of a local backend (moa_adapters_open); n 0: NULL. */
int moa_backend_local_adapters(moa_adapters **out, const moa_backend *b, const char *const *spec, int n, int n_threads, moa_err *err);
/* It works with these from now on and closes them; those it had are closed. NULL: none. Its fingerprint changes with them. On
 * failure it keeps what it had, and a stays the caller's. */
int moa_backend_local_adapt(moa_backend *b, moa_adapters *a, moa_err *err);
/* The model at path guesses for it (moa_generator_draft), and is closed with it. */
int moa_backend_local_draft(moa_backend *b, const char *path, moa_err *err);
/* Gives a local backend's generator a thread (moa_generator_start): from then on moa_backend_complete may be called by any number of
 * threads at a time, and their calls are decoded together. Adapters can be changed no more. */
int moa_backend_local_start(moa_backend *b, moa_err *err);
moa_generator *moa_backend_local_generator(moa_backend *b); /* for measurements; NULL for other kinds */
/* Tokens of a conversation, appended; extra (NULL: nothing) as in a call. */
int moa_backend_local_ids(moa_ids *ids, const moa_backend *b, const moa_message *msg, int n_msg, const moa_call_extra *extra, moa_err *err);
const moa_model *moa_backend_local_model(const moa_backend *b); /* NULL for other kinds */

/* A journal of finished calls: equal calls (model, messages, sampling, max_tokens) are answered from it. With a path it
 * is a JSONL file, to which every call is written when it ends, so that killed work resumes; NULL: in memory. */
typedef struct moa_journal moa_journal;
int moa_journal_open(moa_journal **out, const char *path, moa_err *err);
void moa_journal_close(moa_journal *j);
/* The first line that could not be written (a full disk): its code, with err filled; 0: none. */
int moa_journal_failure(const moa_journal *j, moa_err *err);
void moa_journal_stats(const moa_journal *j, int64_t *computed, int64_t *found);
/* A backend that looks into the journal before it asks inner; borrows both. */
int moa_backend_journal_open(moa_backend **out, moa_journal *j, moa_backend *inner, moa_err *err);

/* How a node turns the replies of its inputs into messages (n->msg, n->n_msg). May add nodes to the run: n moves then. */
typedef int (*moa_compose_fn)(moa_run *r, moa_agent_node *n, moa_err *err);
/* May the reply of a call stand (n->text)? If not, the node takes its fallback's text where it has one. */
typedef const char *(*moa_refuse_fn)(const moa_run *r, const moa_agent_node *n); /* why not, or NULL */
/* A node without a backend computes its text itself (vote, pick). */
typedef int (*moa_reduce_fn)(moa_run *r, moa_agent_node *n, moa_err *err);

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
    bool seeded;                      /* sampling.seed is meant as it is */
    /* filled while running */
    int state;                        /* 0 waiting, 1 running, 2 done, 3 failed */
    moa_message *msg; int n_msg;      /* in the run's arena */
    char *text; size_t text_len;
    bool replaced;                    /* text is the fallback's */
    int64_t prompt_tokens, completion_tokens, reused_tokens, drafted_tokens, accepted_tokens;
    double seconds, first_s, share_s; moa_stop why; /* first_s: to the first token */
    double sum_logprob;
    moa_token_log *log;               /* the run's; NULL: not asked for */
    int rc;                           /* of the call, also where a fallback made up for it */
    const char *note;                 /* what went otherwise than planned; NULL: nothing */
};
enum { MOA_NODE_WAITING, MOA_NODE_RUNNING, MOA_NODE_DONE, MOA_NODE_FAILED }; /* node.state */
/* Adds a sentence to the node's note. */
void moa_node_note(moa_run *r, moa_agent_node *n, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

typedef struct moa_event { enum { MOA_EV_START, MOA_EV_TEXT, MOA_EV_DONE } kind; int node; const char *text; size_t n; } moa_event;
typedef bool (*moa_event_cb)(void *ctx, moa_run *r, const moa_event *e); /* false cancels */

/* drafted: fed as guesses of what comes (model/generate.h); accepted: of these, those that came. Each saved its reply a step. */
typedef struct moa_usage {
    int64_t prompt_tokens, completion_tokens, total_tokens, reused_prefix_tokens, drafted_tokens, accepted_tokens;
    int calls;
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

struct moa_run {
    moa_arena *arena;
    const moa_message *conv; int n_conv;  /* the user's conversation */
    moa_agent_node *node; int n_node, cap;
    int answer, n_answer;                 /* node whose text is the answer; further answers are the nodes behind it */
    const _Atomic bool *cancel;           /* borrowed; NULL, or: once it is true, the run ends as canceled */
    moa_usage usage; double seconds;
    const moa_mix_cfg *cfg;
    uint64_t seed;
    int rc; moa_err err;                  /* of this run */
    moa_err cause;                        /* of the first node that failed: its hint is the one that helps */
};
int moa_run_new(moa_run **out, const moa_mix_cfg *cfg, const moa_message *conv, int n_conv, uint64_t seed, moa_err *err);
int moa_run_add(moa_run *r, const moa_agent_node *n, moa_err *err); /* index; inputs must be earlier nodes */
static inline bool moa_run_is_answer(const moa_run *r, int node) { return node >= r->answer && node < r->answer + r->n_answer; }
/* Several runs advance together, so that a local backend sees all their ready calls as one batch (evaluation). A run
 * that fails does not stop the others: its code is in rc. */
int moa_run_execute_many(moa_run **r, int n, moa_event_cb cb, void *ctx, moa_err *err);
int moa_run_execute(moa_run *r, moa_event_cb cb, void *ctx, moa_err *err);
/* What a node said, without the line of what the replies say with which one that reads references may begin: the line is in
 * node->text, and no part of an answer or of a reference. */
const char *moa_node_reply(const moa_agent_node *n);
const char *moa_run_answer(const moa_run *r); /* the reply of the answer's node; "" when there is none */
void moa_run_free(moa_run *r);

#endif
