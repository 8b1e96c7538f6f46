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
#include "agent/store.h"
#include "base/arena.h"
#include "base/loop.h"

typedef struct moa_run moa_run;
typedef struct moa_agent_node moa_agent_node;

/* How a node turns the replies of its inputs into messages (n->msg, n->n_msg). May add nodes to the run: n moves then. */
typedef int (*moa_compose_fn)(moa_run *r, moa_agent_node *n, moa_err *err);
/* May the reply of a call stand (n->text)? If not, the node takes its fallback's text where it has one. */
typedef const char *(*moa_refuse_fn)(const moa_run *r, const moa_agent_node *n); /* why not, or NULL */
/* With the inputs that have ended by now: is it clear what the others could still do? Why (a note's words), or NULL. Asked after each arrival; depends on
 * nothing but which of them worked and what they said, so that a replay decides alike. */
typedef const char *(*moa_enough_fn)(moa_run *r, const moa_agent_node *n);
/* A node without a backend computes its text itself (vote, pick). */
typedef int (*moa_reduce_fn)(moa_run *r, moa_agent_node *n, moa_err *err);

/* What time or money did to a node: not asked, or cut off, since the deadline had passed; not asked, since the budget was spent; left behind by one
 * that read it, whose grace was over. */
typedef enum moa_late { MOA_LATE_NOT, MOA_LATE_UNASKED, MOA_LATE_CUT, MOA_LATE_BUDGET, MOA_LATE_LEFT } moa_late;
const char *moa_late_name(moa_late l); /* NULL: MOA_LATE_NOT */

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
    moa_enough_fn enough;             /* then the others are canceled and left out; NULL: all are waited for */
    bool seeded;                      /* sampling.seed is meant as it is */
    int staircase; bool even_steps;   /* it begins on parts of its inputs (stair.h): tokens that its first step waits for; 0: it does not */
    /* filled while running */
    int state;
    double started, ended;            /* seconds since the run began */
    moa_message *msg; int n_msg;      /* in the run's arena */
    char *text; size_t text_len;
    bool replaced;                    /* text is the fallback's */
    int64_t prompt_tokens, completion_tokens, reused_tokens, drafted_tokens, accepted_tokens, thought_tokens; /* thought: of completion_tokens */
    double seconds, first_s, share_s; moa_stop why; /* first_s: to the first token */
    double sum_logprob, cost;         /* cost: dollars, by the prices of its backend */
    bool found;                       /* a journal knew the reply */
    moa_late late;
    bool asked;                       /* its call began */
    int trimmed;                      /* max_tokens as the budget left it; 0: as it was */
    int n_read, n_dropped;            /* replies that it had to merge or count, and those of them that its screen left out */
    bool spared;                      /* cut off because enough others were there */
    int n_spared, spared_like;        /* proposals that were not asked because of what it read, and the node whose like they are */
    moa_token_log *log;               /* the run's; NULL: not asked for */
    int rc;                           /* of the call, also where a fallback made up for it */
    const char *note;                 /* what went otherwise than planned; NULL: nothing */
    const char *error;                /* of its call; NULL: none */
    const char *said;                 /* what its model wrote, where text is the fallback's; NULL: that is text */
    const struct moa_vote_told *vote; /* where text was voted for; NULL */
    void *own;                        /* the strategy's */
    struct moa_stair *stair;          /* where it has begun on parts: its steps; NULL */
    struct moa_buf *heard;            /* what it has said while it is not done, where one reads that; NULL */
    /* the executor's */
    struct moa_edge *out, *out_end;   /* to nodes that read this one */
    int n_wait;                       /* inputs that have not ended */
    double cut_at;                    /* when those that are late are cut off; 0: nobody is late yet */
    struct moa_letter *call;          /* that runs; NULL: none */
    int64_t held_tokens; double held_cost; /* what it may still take of the budget */
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
    int64_t spared_tokens;            /* not generated, since enough was there (node->spared): each as long as the mean of its like that ended, about */
    int calls;
    double cost;                      /* dollars */
} moa_usage;

/* A setting of a mix by its name: "key=value". */
typedef struct moa_setting {
    const char *key, *help;
    double lo, hi, dflt;
    bool whole;                       /* a whole number */
    const char *words;                /* "none|answer|text": the value is the place of the word; NULL: a number */
    bool text;                        /* any text, in cfg->word; NULL where it is not given */
} moa_setting;
enum { MOA_MAX_ARG = 12 };

typedef struct moa_strategy moa_strategy;
/* What a mix is: strategy + roles + numbers. */
typedef struct moa_mix_cfg {
    const char *name, *strategy;
    moa_backend *const *proposer; int n_proposer;  /* strategies that take several: several models; others: the first */
    moa_backend *aggregator;                       /* NULL: the first proposer */
    moa_backend *judge;                            /* who rates, chooses, criticises; NULL: the aggregator */
    int n;                                         /* samples (self-moa, vote, seq) or per layer (moa: n_proposer unless n is set) */
    double arg[MOA_MAX_ARG]; const char *word[MOA_MAX_ARG]; /* what the strategy's own settings say, by their place in strategy->setting; borrowed */
    moa_sampling propose, aggregate;               /* seeds are ignored: the executor sets them */
    int max_tokens, aggregate_max_tokens, judge_max_tokens; /* the second 0: like the first */
    const moa_grammar *propose_grammar, *aggregate_grammar; /* borrowed; NULL: free. A draft stands in for a merge that fails */
    const moa_call_extra *propose_extra, *aggregate_extra; /* borrowed; NULL: nothing */
    int n_answer;                                  /* 0: 1. More: so many answers out of the same inputs, each with a seed of its own */
    const char *propose_system, *aggregate_system; /* NULL, or a system message put before the conversation for that role */
    const char *aggregate_text;                    /* NULL: moa_aggregate_prompt; else this follows question and references */
    int need;                                      /* replies that an aggregator or a vote must have; 0: one */
    double deadline_s;                             /* 0: none. Then what runs is cut off, nothing new is asked, and what is there must do */
    double grace_s;                                /* with so many, how long it waits for the others; 0: until they end */
    int until;                                     /* MOA_UNTIL_*: proposals are asked for until all are there, or until those that are there agree */
    double error;                                  /* MOA_UNTIL_AGREE: how probable another most frequent answer may still be (agree.h) */
    int wave;                                      /* so many proposals are asked at a time; 0: all */
    int same; double alike;                        /* MOA_SAME_*: which replies say the same; cosine from which on two do */
    int checker;                                   /* MOA_CHECKER_*: what proves replies wrong, which are then left out (screen.h) */
    int screen; double screen_at; int subsets;     /* MOA_SCREEN_*: which replies are left out before they are merged or counted (screen.h); subsets of dropout */
    int most_of_one, duplicates;                   /* replies of one model that are read, 0: all; MOA_DUPLICATES_* */
    int staircase, stair_steps;                    /* tokens of each proposal with which the aggregator begins (stair.h), 0: it waits for all; MOA_STEPS_* */
    int layout, fence;                             /* MOA_LAYOUT_*, MOA_FENCE_*: references in a prompt (reference.h) */
    int fit;                                       /* MOA_FIT_*: references that the context does not hold (fit.h, window.h) */
    int tool_turns;                                /* MOA_TURNS_*: who answers a turn that ends with a tool's result; who builds the run decides by it */
    bool aggregate_acts;                           /* the aggregator may call tools: a reply of its own kind is none that lost the answer */
    int budget_tokens; double budget_cost;         /* 0: none. Generated tokens, dollars of all calls: no call begins that could go beyond */
    moa_store *store;                              /* what the mix has learnt; NULL: nothing, and it keeps nothing */
} moa_mix_cfg;
enum { MOA_UNTIL_ALL, MOA_UNTIL_AGREE };
enum { MOA_STEPS_DOUBLE, MOA_STEPS_EVEN };
enum { MOA_LAYOUT_AFTER, MOA_LAYOUT_SYSTEM };
enum { MOA_FIT_SHORTEN, MOA_FIT_WINDOW };
enum { MOA_FENCE_PLAIN, MOA_FENCE_NONCE };
enum { MOA_TURNS_SKIP, MOA_TURNS_ALL };
enum { MOA_CHECKER_NONE, MOA_CHECKER_CALCULATOR };
enum { MOA_SCREEN_NONE, MOA_SCREEN_THRESHOLD, MOA_SCREEN_CLUSTER, MOA_SCREEN_DROPOUT_VOTE, MOA_SCREEN_DROPOUT_CLUSTER };
enum { MOA_DUPLICATES_KEEP, MOA_DUPLICATES_MERGE };
enum { MOA_SAME_ANSWER, MOA_SAME_TEXT, MOA_SAME_EMBEDDING };
moa_mix_cfg moa_mix_defaults(const char *strategy);
/* One number or word, as on the command line; '_' and '-' are the same in keys. Ranges are checked, and that the strategy has it. A text is borrowed. */
int moa_mix_set(moa_mix_cfg *c, const char *key, const char *value, moa_err *err);

/* How good is a reply, 0 to 1? */
typedef double (*moa_score_fn)(void *ctx, const char *reply, size_t n);
/* What a strategy has beside the settings of sampling, max-tokens and deadline, which all have. */
enum {
    MOA_HAS_N = 1,          /* n proposals: n */
    MOA_GATHERS = 2,        /* some node waits for several proposals: quorum, grace */
    MOA_AGGREGATES = 4,     /* an aggregator: aggregator, aggregate-temperature, aggregate-max-tokens */
    MOA_JUDGES = 8,         /* a judge: judge, judge-max-tokens */
    MOA_SEVERAL = 16,       /* several models propose */
    MOA_LEARNS = 32,        /* it keeps what it learns: store */
    MOA_PLAIN = 64,         /* one call of one model */
    MOA_CLIMBS = 256,       /* one aggregator at its end that reads proposals which are asked before it: staircase */
    MOA_ONLINE = 128,       /* what it learns of one question decides the next: they come one after the other */
};
/* One row of strategies.def, and a mix of that name. */
struct moa_strategy {
    const char *name, *help;
    unsigned has;
    int n;                            /* proposals unless the mix says otherwise */
    float temperature;                /* of proposers */
    int judge_max_tokens;             /* unless the mix says otherwise; 0: 128 */
    const moa_setting *setting; int n_setting; /* its own settings: their values are cfg->arg and cfg->word */
    /* Do the numbers of cfg fit each other? Models are not looked at, but n_proposer is set. NULL: any do. */
    int (*check)(const moa_mix_cfg *cfg, moa_err *err);
    /* Builds the graph; the last node added is the answer unless r->answer is set. A graph that grows while it runs moves r->answer. */
    int (*build)(moa_run *r, const moa_mix_cfg *cfg, moa_err *err);
    /* r has ended: keep what it teaches (moa_run_keep). NULL: it learns nothing. score NULL: nobody knows how good replies are. */
    int (*learn)(moa_run *r, moa_score_fn score, void *ctx, moa_err *err);
};
const moa_strategy *const *moa_strategies(int *n);
const moa_strategy *moa_strategy_find(const char *name);
/* All settings of a strategy, own and common, one after the other; NULL: there is no i-th. */
const moa_setting *moa_strategy_setting(const moa_strategy *s, int i);
/* The value that cfg has for that one: a number, or *text where it is a text. */
double moa_mix_get(const moa_mix_cfg *c, const moa_setting *p, const char **text);
void moa_mix_put(moa_mix_cfg *c, const moa_setting *p, double v, const char *text); /* as it is: nothing is checked */

/* What a conversation was measured to have: replay asks no tokenizer. */
typedef struct moa_measured { uint64_t key; int64_t n; struct moa_measured *next; } moa_measured;

/* What a trace tells of a node that another order of events would change. */
typedef struct moa_then { moa_late late; bool asked, spared, ended; int trimmed; const json_t *steps; } moa_then;
/* A value of the store that a run read or wrote; value NULL: there was none. */
typedef struct moa_recalled { const char *kind, *key, *value; struct moa_recalled *next; } moa_recalled;

struct moa_run {
    moa_arena *arena;
    const moa_message *conv; int n_conv;  /* the user's conversation */
    moa_agent_node *node; int n_node, cap;
    int answer, n_answer;                 /* node whose text is the answer; further answers are the nodes behind it */
    moa_usage usage; double seconds;
    double first_s;                       /* from its beginning to the first text of an answer that was told; 0: none was */
    const moa_mix_cfg *cfg;
    uint64_t seed, scope;                 /* scope: of its calls (backend.h) */
    int rc; moa_err err;                  /* of this run */
    moa_err cause; int cause_node;        /* of the first node in the graph that failed, whichever failed first: its hint is the one that helps */
    moa_measured *measured;               /* by moa_run_measure */
    void *own;                            /* the strategy's, in the arena */
    moa_recalled *recalled, *kept, *learnt; /* what was read of the store, what was written while it ran and after: the last first */
    bool learning;                        /* within moa_run_learn */
    const json_t *recall_then;            /* replay: what the store said, in place of it; NULL: it is asked */
    const moa_then *then; int n_then;     /* replay: what time and money did, by node, in place of clock and budget; NULL: those say */
    struct moa_execution *_Atomic x;      /* while it is executed */
};
int moa_run_new(moa_run **out, const moa_mix_cfg *cfg, const moa_message *conv, int n_conv, uint64_t seed, moa_err *err);
int moa_run_add(moa_run *r, const moa_agent_node *n, moa_err *err); /* index; inputs must be earlier nodes */
/* Prompt tokens of a conversation, as b measures them; 0: it does not. */
int64_t moa_run_measure(moa_run *r, moa_backend *b, const moa_message *msg, int n_msg, const moa_call_extra *extra, moa_err *err);
uint64_t moa_measured_key(const moa_backend *b, const moa_message *msg, int n_msg);
/* *value (the run's) of a key in the mix's store; NULL where there is none, or no store. Is part of the trace, so that a replay decides alike. */
int moa_run_recall(const char **value, moa_run *r, const char *kind, const char *key, moa_err *err);
/* Write it there: for strategy->learn, and for what a run has paid for. */
int moa_run_keep(moa_run *r, const char *kind, const char *key, const char *value, moa_err *err);
/* r has ended and its strategy may learn of it; score as in moa_strategy. */
/* A number that depends on more than the run (what a model measures): taken once, told in the trace, taken from there in a replay. */
typedef int (*moa_observe_fn)(double *out, void *ctx, moa_err *err);
int moa_run_observe(double *out, moa_run *r, const char *kind, const char *key, moa_observe_fn fn, void *ctx, moa_err *err);
int moa_run_learn(moa_run *r, moa_score_fn score, void *ctx, moa_err *err);
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
