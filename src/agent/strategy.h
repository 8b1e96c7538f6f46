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

/* ---- compose.c: messages of a role ---- */
/* The conversation, with the role's system message. */
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
