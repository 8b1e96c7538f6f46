/* strategy.h - the parts that graphs are built of: proposers, an aggregator over nodes, a vote over nodes.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_STRATEGY_H
#define MOA_AGENT_STRATEGY_H

#include "agent/run.h"
#include "task/task.h"

/* n samples named "<prefix>1" ...; sample i asks proposer i mod n_proposer. With inputs (n_in > 0) they see those
 * replies as references. Indices go to out[n]. */
int moa_add_proposers(int *out, moa_run *r, const moa_mix_cfg *c, const char *prefix, int n, const int *in, int n_in, moa_err *err);
/* The i-th of them, without a name and without inputs. */
moa_agent_node moa_proposer(const moa_mix_cfg *c, int i);
/* n proposals of a first layer, at once or in waves as the mix says, and what finish adds behind those that were asked: it returns the node whose text
 * is the answer. prefix lives as long as the run. */
typedef int (*moa_finish_fn)(moa_run *r, const int *in, int n_in, moa_err *err);
int moa_add_sampled(moa_run *r, const moa_mix_cfg *c, const char *prefix, int n, moa_finish_fn finish, moa_err *err);
moa_enough_fn moa_enough_of(const moa_mix_cfg *c); /* of a node that reads proposals; NULL: it waits for all */
/* One call that reads the replies of in[]. Falls back to the vote over them when it fails or loses the answer. Returns its index. */
int moa_add_aggregator(moa_run *r, const moa_mix_cfg *c, const char *name, const int *in, int n_in, moa_err *err);
int moa_add_merge(moa_run *r, const moa_mix_cfg *c, const char *name, const int *in, int n_in, moa_err *err); /* the same, of one call whatever the screen */
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
/* The conversation with references, as the mix lays them out (reference.h): replies of n's inputs that worked and no screen leaves out, in order. Too long
 * for the backend's context: shortened evenly (fit.h), or, where n is the run's answer and the mix says so, read in windows (window.h); noted. */
int moa_compose_aggregate(moa_run *r, moa_agent_node *n, moa_err *err);
int moa_compose_aggregate_as(moa_run *r, moa_agent_node *n, const char *system, moa_err *err); /* with this system message in place of the role's */
/* Some nodes that worked, and their replies. */
typedef struct moa_panel { int *id; const char **text; int n; } moa_panel;
/* Those inputs of n that no screen leaves out, with their replies as n reads them. */
int moa_read_references(moa_panel *p, moa_run *r, moa_agent_node *n, moa_err *err);
/* The reply of a node as another one reads it. Notes what was changed. */
const char *moa_reply_as_read(moa_run *r, moa_agent_node *reader, const moa_agent_node *from);
/* The same for references given as texts. */
int moa_compose_references(moa_run *r, moa_agent_node *n, const char *const *ref, int n_ref, moa_err *err);
/* Do these references fit uncut? Sets *fits. n as above. */
int moa_references_fit(bool *fits, moa_run *r, moa_agent_node *n, const char *const *ref, int n_ref, moa_err *err);

/* ---- judge.c: asking a judge about candidates, and what its replies come to ---- */
/* The proposals that n reads and that worked, without those that the mix's checker and screen leave out (n's notes say so). */
int moa_panel_of(moa_panel *p, moa_run *r, moa_agent_node *n, moa_err *err);
/* The same where n's inputs are of such a panel already: nothing is left out a second time, so places in it stay what they were. */
int moa_panel_again(moa_panel *p, moa_run *r, const moa_agent_node *n, moa_err *err);
/* The conversation whose last user turn asks `ask` of these candidates (task/task.h); k as there. Too long for the judge's context: the
 * candidates are shortened (fit.h), and that is noted. */
int moa_compose_judge(moa_run *r, moa_agent_node *n, moa_judging ask, const char *const *cand, int n_cand, int k, moa_err *err);
/* One rating of candidate node `of`, 0 to 10. */
int moa_add_rating(moa_run *r, const moa_mix_cfg *c, const char *name, int of, moa_err *err);
/* Judges that answer the question in place of judging ("Answer: 12", as small ones do) are taken at their word: a candidate is right where its
 * answer is theirs. The places of those in p, in their order; -1: the judge gave no answer. */
int moa_answers_like(int *out, const moa_agent_node *judge, const moa_panel *p);
/* What a judge asked to choose came to: how many of p, their places in out [p->n]; 0: nothing that can be read. *end: it says that it is enough, or
 * at least half of all have its answer. *answered: it chose by its answer. */
int moa_choice(int *out, bool *end, bool *answered, const moa_agent_node *judge, const moa_panel *p);
/* What a node of moa_add_rating came to; -1: it failed, or said neither score nor answer. doubt: a score is moved to the middle by how unsure the judge was
 * of its words, p s + (1 - p) 5 with p the probability of its whole reply; of use where that is the one line asked for. */
double moa_rating(const moa_run *r, const moa_agent_node *n, bool doubt);
/* Both orders of a and b: two calls, to id[2]. */
int moa_add_comparison(int id[2], moa_run *r, const moa_mix_cfg *c, int a, int b, moa_err *err);
/* Which of its two inputs a comparison prefers, 0 or 1; -1: it failed, or does not say. */
int moa_preferred(const moa_run *r, const moa_agent_node *n);
/* Points of a and b: a call's winner gets 1; one that failed or said nothing gives both a half. */
void moa_comparison(double *a, double *b, const moa_run *r, const int id[2]);
/* Proposers, and behind them a node without a call, `draw_up`, which is the answer until it adds what decides among them. */
int moa_add_drawn(moa_run *r, const moa_mix_cfg *c, moa_reduce_fn draw_up, moa_err *err);
/* Comparisons of all pairs of p whose texts differ, and behind them the node `name`, which is the answer from now on; its reduce asks
 * moa_pairs_rank for the candidates, their points out of 2 (n - 1) and their order. */
int moa_add_pairs(moa_run *r, const moa_panel *p, const char *name, moa_reduce_fn reduce, moa_err *err);
int moa_pairs_rank(moa_panel *p, double **points, int **order, moa_run *r, moa_agent_node *n, moa_err *err);
/* How likely a reply is under its own model: the mean log-probability of its tokens. */
static inline double moa_likelihood(const moa_agent_node *n) { return n->completion_tokens > 0 ? n->sum_logprob / (double)n->completion_tokens : n->sum_logprob; }
/* The order of n candidates, best first: by points, then by what their model finds most probable, then as they came. */
void moa_rank(int *order, const moa_run *r, const moa_panel *p, const double *points);
/* The text of node `from` becomes that of n, a node without a call. */
void moa_take_text(moa_run *r, moa_agent_node *n, int from);
/* A fallback for nodes whose input 0 is what a judge said: the vote over the others. */
int moa_reduce_vote_rest(moa_run *r, moa_agent_node *n, moa_err *err);

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
/* The same by what the mix says is the same: answers, texts, or texts whose embeddings are alike. */
int moa_cluster(moa_vote *out, int *cluster, moa_run *r, const int *in, int n_in, moa_err *err);
/* Why n's reply is no merge of those it read, NULL where it is one: it is blank (behind its line of what the replies say); it has no answer
 * although most of those have one (it lost the thread, or its tokens ran out); it lists answers where none of those has one (a small
 * aggregator that learned to list does so with greetings too). */
const char *moa_refuse_merge(const moa_run *r, const moa_agent_node *n);
int moa_reduce_vote(moa_run *r, moa_agent_node *n, moa_err *err);

#endif
