/* self_consistency.c - self-consistency with what the model itself says of its samples (Wang et al., arXiv 2203.11171, section 3.1): n samples of one
 * model, and the answer a with the greatest weight. What is wanted is P(a | prompt) = sum over the ways r to it of P(r, a | prompt).
 *   paths       the sum over the *different* samples that end with a, each once, of their probability: from below, P(a | prompt). More samples bring it
 *               nearer; a sample drawn twice tells nothing new.
 *   probability the paper's unnormalised sum: the same with repeats, so that a likely way counts nearly by its square
 *   normalised  the paper's normalised sum: of the geometric means of their tokens' probabilities
 * Counting alone is the mix `vote`; it is also what is done where a model does not tell probabilities (upstreams). The text kept is the winner's most
 * probable one. No aggregator call.
 * strategies.def: STRATEGY(self_consistency)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/strategy.h"

#include <math.h>
#include <string.h>

enum { WEIGH, N_SETTING };
enum { PATHS, PROBABILITY, NORMALISED };
static const moa_setting settings[N_SETTING] = {
    [WEIGH] = {"weigh", "a sample counts by its probability, once (paths) or as often as it was drawn (probability), or by the mean probability of its tokens (normalised)",
               0, 2, PATHS, true, "paths|probability|normalised", false}};

static double weight(const moa_agent_node *s, int by) {
    return exp(by == NORMALISED && s->completion_tokens > 0 ? s->sum_logprob / (double)s->completion_tokens : s->sum_logprob);
}

/* Input i says to the letter what an earlier one that counts said. */
static bool again(const moa_run *r, const moa_agent_node *n, int i) {
    const moa_agent_node *a = &r->node[n->in[i]];
    for (int j = 0; j < i; j++) {
        const moa_agent_node *b = &r->node[n->in[j]];
        if (n->vote->cluster[j] >= 0 && b->text_len == a->text_len && !memcmp(a->text, b->text, a->text_len)) return true;
    }
    return false;
}

/* sum[cluster]; false: the probability of a sample that counts is not known. */
static bool add_up(double *sum, const moa_run *r, const moa_agent_node *n) {
    const int by = (int)r->cfg->arg[WEIGH];
    for (int i = 0; i < n->n_in; i++) {
        const moa_agent_node *s = &r->node[n->in[i]];
        if (n->vote->cluster[i] < 0) continue;
        if (!(s->sum_logprob < 0)) return false;
        if (by != PATHS || !again(r, n, i)) sum[n->vote->cluster[i]] += weight(s, by);
    }
    return true;
}

static int weigh(moa_run *r, moa_agent_node *n, moa_err *err) {
    MOA_TRY(moa_reduce_vote(r, n, err)); /* screens, clusters, and the text by count */
    const moa_vote *v = &n->vote->vote;
    double *sum = moa_arena_calloc(r->arena, (size_t)(v->n_cluster + 1) * sizeof *sum), all = 0;
    int best = 0, win = -1;
    if (!sum) return moa_fail(err, MOA_ENOMEM, "%d answers", v->n_cluster);
    if (!add_up(sum, r, n)) return moa_node_note(r, n, "the model does not tell how probable its samples are: they were counted"), 0;
    for (int k = 0; k < v->n_cluster; k++) {
        all += sum[k];
        if (sum[k] > sum[best]) best = k; /* a strict >: the first of equals */
    }
    for (int i = 0; i < n->n_in; i++)
        if (n->vote->cluster[i] == best && (win < 0 || r->node[n->in[i]].sum_logprob > r->node[n->in[win]].sum_logprob)) win = i;
    const moa_agent_node *s = &r->node[n->in[win]];
    moa_node_note(r, n, "by weight %s: its answer has %.3g of %.3g", s->name, sum[best], all);
    n->text = s->text, n->text_len = s->text_len;
    return 0;
}

static int finish(moa_run *r, const int *in, int n_in, moa_err *err) {
    const int id = moa_add_vote(r, r->cfg, "vote", in, n_in, err);
    if (id >= 0) r->node[id].reduce = weigh;
    return id;
}

static int check(const moa_mix_cfg *c, moa_err *err) {
    if (c->until != MOA_UNTIL_AGREE) return 0;
    return moa_fail(err, MOA_EUSAGE, "mix self-consistency: until=agree counts replies, but here they have weights: take the mix vote, or all samples");
}

static int build(moa_run *r, const moa_mix_cfg *c, moa_err *err) { return moa_add_sampled(r, c, "p", c->n, finish, err); }

const moa_strategy moa_strategy_self_consistency = {
    .name = "self-consistency", .help = "12 samples of one model, the answer that it finds most probable over all ways to it", .has = MOA_HAS_N | MOA_GATHERS, .n = 12,
    .temperature = 0.7f, .setting = settings, .n_setting = N_SETTING, .check = check, .build = build};
