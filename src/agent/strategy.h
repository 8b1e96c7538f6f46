/* strategy.h - the parts that graphs are built of: proposers, an aggregator over nodes, a vote over nodes.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_STRATEGY_H
#define MOA_AGENT_STRATEGY_H

#include "agent/run.h"

/* n samples named "<prefix>1" ...; sample i asks proposer i mod n_proposer. With inputs (n_in > 0) they see those
 * replies as references. Indices go to out[n]. */
int moa_add_proposers(int *out, moa_run *r, const moa_mix_cfg *c, const char *prefix, int n, const int *in, int n_in, moa_err *err);
/* One call that reads the replies of in[]. Falls back to the vote over them when it fails or loses the answer. Returns its index. */
int moa_add_aggregator(moa_run *r, const moa_mix_cfg *c, const char *name, const int *in, int n_in, moa_err *err);
/* A node without a call: the vote over in[]. */
int moa_add_vote(moa_run *r, const moa_mix_cfg *c, const char *name, const int *in, int n_in, moa_err *err);
/* One call of another role (judge, critic, repairer): the judge's model, greedy, judge_max_tokens, reading all of in[] that worked (need: one).
 * It has no fallback: give it one (r->node[id]) where the run can go on without it. Returns its index. */
int moa_add_judge(moa_run *r, const moa_mix_cfg *c, const char *name, const char *role, const int *in, int n_in, moa_compose_fn compose, moa_err *err);
static inline moa_backend *moa_aggregator_of(const moa_mix_cfg *c) { return c->aggregator ? c->aggregator : c->proposer[0]; }
static inline moa_backend *moa_judge_of(const moa_mix_cfg *c) { return c->judge ? c->judge : moa_aggregator_of(c); }

/* ---- compose.c: messages of a role ---- */
/* The conversation, with the role's system message. */
/* The conversation, system (NULL: none) behind the user's own, and, unless user is NULL, user in place of the last user turn; both are copied. */
int moa_compose_ask(moa_run *r, moa_agent_node *n, const char *system, const char *user, moa_err *err);
static inline const char *moa_question(const moa_run *r) { return r->conv[r->n_conv - 1].content; } /* the last user turn */
int moa_compose_proposer(moa_run *r, moa_agent_node *n, moa_err *err);
/* The conversation whose last user turn is question, references, task. References: replies of n's inputs that
 * worked, in order. Too long for the backend's context: shortened evenly, and noted. */
int moa_compose_aggregate(moa_run *r, moa_agent_node *n, moa_err *err);
/* The same for references given as texts. */
int moa_compose_references(moa_run *r, moa_agent_node *n, const char *const *ref, int n_ref, moa_err *err);
/* Do these references fit uncut? Sets *fits. n as above. */
int moa_references_fit(bool *fits, moa_run *r, moa_agent_node *n, const char *const *ref, int n_ref, moa_err *err);

/* ---- cluster.c: which replies say the same ---- */
typedef struct moa_ballot {
    const char *text; size_t n;
    double sum_logprob;
    bool absent;       /* failed: takes no part */
} moa_ballot;
typedef struct moa_vote {
    int winner;        /* the most probable member of the largest cluster; -1: no ballot at all */
    int size;          /* of that cluster */
    int n_cluster;     /* distinct answers */
    int n_vote;        /* ballots that counted */
    bool by_text;      /* no reply had an answer line: equal texts were counted */
} moa_vote;
typedef struct moa_vote_told { moa_vote vote; const int *cluster; /* [n_in]; -1: did not count */ } moa_vote_told; /* node->vote */
/* Clusters by moa_answer_extract; replies without an answer abstain unless none has one, then whole texts are compared
 * (spaces folded, case ignored). Ties between clusters go to the one that came first. cluster (may be NULL) receives
 * each ballot's cluster, -1 for those that did not count. */
int moa_vote_count(moa_vote *out, int *cluster, const moa_ballot *b, int n, moa_err *err);
/* Why n's reply is no merge of those it read, NULL where it is one: it is blank (behind its line of what the replies say); it has no answer
 * although most of those have one (it lost the thread, or its tokens ran out); it lists answers where none of those has one (a small
 * aggregator that learned to list does so with greetings too). */
const char *moa_refuse_merge(const moa_run *r, const moa_agent_node *n);
int moa_reduce_vote(moa_run *r, moa_agent_node *n, moa_err *err);

#endif
