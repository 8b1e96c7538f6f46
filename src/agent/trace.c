/* trace.c - see trace.h. SPDX-License-Identifier: Apache-2.0 */
#include "agent/trace.h"

#include "agent/stair.h"
#include "agent/strategy.h"
#include "base/json.h"
#include "base/rng.h"

#include <stdio.h>
#include <string.h>

static json_t *text_of(const char *s, size_t n, bool redact) {
    char line[80];
    if (!redact) return moa_json_str(s, n);
    snprintf(line, sizeof line, "(%zu bytes, %016llx)", n, (unsigned long long)moa_hash64(s, n, 0));
    return json_string(line);
}

static json_t *big(uint64_t v) { /* JSON's numbers lose bits in most readers */
    char line[24];
    snprintf(line, sizeof line, "%llu", (unsigned long long)v);
    return json_string(line);
}

/* ---- nodes ---- */

json_t *moa_trace_node(const moa_run *r, int node) {
    const moa_agent_node *n = &r->node[node];
    json_t *in = json_array(), *o = json_pack("{s:s, s:s, s:s?, s:o}", "node", n->name, "role", n->role, "model", n->backend ? n->backend->id : NULL, "in", in);
    for (int i = 0; o && i < n->n_in; i++) json_array_append_new(in, json_string(r->node[n->in[i]].name));
    if (moa_run_is_answer(r, node)) json_object_set_new(o, "answer", json_true());
    return o;
}

static json_t *vote_of(const moa_run *r, const moa_agent_node *n) {
    const moa_vote_told *v = n->vote;
    json_t *members = json_array();
    for (int i = 0; i < n->n_in; i++) json_array_append_new(members, json_integer(v->cluster[i]));
    return json_pack("{s:i, s:i, s:i, s:s, s:o}", "size", v->vote.size, "clusters", v->vote.n_cluster, "votes", v->vote.n_vote, "winner", r->node[n->in[v->vote.winner]].name,
                     "members", members);
}

static void add_outcome(json_t *o, const moa_run *r, int node, bool redact) {
    static const char *const state[] = {"waiting", "running", "done", "failed"}, *const finish[] = {"stop", "stop", "length", "context", "canceled", "error"};
    const moa_agent_node *n = &r->node[node];
    json_object_set_new(o, "state", json_string(state[n->state]));
    json_object_set_new(o, "started", json_real(n->started));
    json_object_set_new(o, "ended", json_real(n->ended));
    json_object_set_new(o, "replaced", json_boolean(n->replaced));
    json_object_set_new(o, "note", n->note ? text_of(n->note, strlen(n->note), redact) : json_null());
    if (n->vote) json_object_set_new(o, "vote", vote_of(r, n));
    if (!n->backend) return;
    json_object_set_new(o, "finish", json_string(n->rc < 0 ? "error" : finish[n->why]));
    json_object_set_new(o, "prompt_tokens", json_integer(n->prompt_tokens));
    json_object_set_new(o, "completion_tokens", json_integer(n->completion_tokens));
    json_object_set_new(o, "reused_tokens", json_integer(n->reused_tokens));
    json_object_set_new(o, "seconds", json_real(n->seconds));
    json_object_set_new(o, "first_s", json_real(n->first_s));
    json_object_set_new(o, "sum_logprob", json_real(n->sum_logprob));
    if (n->cost > 0) json_object_set_new(o, "cost", json_real(n->cost));
    if (n->found) json_object_set_new(o, "found", json_true());
    if (n->late) json_object_set_new(o, "late", json_string(moa_late_name(n->late)));
    if (n->asked) json_object_set_new(o, "asked", json_true());
    if (n->trimmed) json_object_set_new(o, "trimmed", json_integer(n->trimmed));
    if (n->spared) json_object_set_new(o, "spared", json_true());
}

void moa_trace_outcome(json_t *o, const moa_run *r, int node) { add_outcome(o, r, node, false); }

static json_t *messages_of(const moa_message *msg, int n, bool redact) {
    json_t *list = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(list, json_pack("{s:s, s:o}", "role", msg[i].role, "content", text_of(msg[i].content, strlen(msg[i].content), redact)));
    return list;
}

/* The steps of an aggregator that began on parts of proposals: how many bytes of each a step read, -1 for one that it left out. */
static json_t *steps_of(const moa_agent_node *n, bool redact) {
    json_t *list = json_array();
    for (const moa_step *t = n->stair->first; t; t = t->next) {
        json_t *read = json_array(), *o = json_pack("{s:b, s:o, s:o, s:i, s:o, s:o, s:I, s:I, s:I, s:i, s:i, s:f, s:f, s:f, s:f, s:f}", "last", t->last, "read", read, "seed", big(t->seed),
                     "max_tokens", t->max_tokens, "messages", messages_of(t->msg, t->n_msg, redact), "text", text_of(t->text ? t->text : "", t->text ? strlen(t->text) : 0, redact),
                     "prompt_tokens", (json_int_t)t->prompt_tokens, "completion_tokens", (json_int_t)t->completion_tokens, "reused_tokens", (json_int_t)t->reused_tokens, "why", (int)t->why,
                     "rc", t->rc, "sum_logprob", t->sum_logprob, "started", t->started, "ended", t->ended, "seconds", t->seconds, "first_s", t->first_s);
        for (int k = 0; o && k < n->n_in; k++) json_array_append_new(read, json_integer((json_int_t)t->read[k]));
        if (t->prefix) json_object_set_new(o, "prefix", text_of(t->prefix, strlen(t->prefix), redact));
        if (t->error) json_object_set_new(o, "error", text_of(t->error, strlen(t->error), redact));
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *node_of(const moa_run *r, int i, bool redact) {
    const moa_agent_node *n = &r->node[i];
    json_t *o = moa_trace_node(r, i);
    add_outcome(o, r, i, redact);
    if (n->backend) {
        json_object_set_new(o, "seed", big(n->sampling.seed));
        json_object_set_new(o, "rc", json_integer(n->rc));
        json_object_set_new(o, "why", json_integer(n->why));
        json_object_set_new(o, "messages", messages_of(n->msg, n->asked && !n->stair ? n->n_msg : 0, redact));
        if (n->stair) json_object_set_new(o, "steps", steps_of(n, redact));
        if (n->heard && (n->state != MOA_NODE_DONE || n->rc < 0) && n->heard->len) json_object_set_new(o, "heard", text_of(moa_buf_str(n->heard), strlen(moa_buf_str(n->heard)), redact));
        if (n->error) json_object_set_new(o, "error", text_of(n->error, strlen(n->error), redact));
        if (n->said) json_object_set_new(o, "said", text_of(n->said, strlen(n->said), redact)); /* what its model wrote, where something else stands for it */
    }
    json_object_set_new(o, "text", text_of(n->text ? n->text : "", n->text_len, redact));
    return o;
}

/* ---- the store ---- */

/* Kind -> key -> value. */
static json_t *store_of(const moa_recalled *m, bool redact) {
    json_t *all = json_object();
    for (; m; m = m->next) {
        json_t *kind = json_object_get(all, m->kind);
        if (!kind) json_object_set_new(all, m->kind, kind = json_object());
        if (!json_object_get(kind, m->key)) json_object_set_new(kind, m->key, m->value ? text_of(m->value, strlen(m->value), redact) : json_null()); /* the last word */
    }
    return all;
}

/* ---- the mix ---- */

/* All settings of the strategy, by name. */
json_t *moa_trace_settings(const moa_mix_cfg *c) {
    const moa_strategy *s = moa_strategy_find(c->strategy);
    const moa_setting *p;
    json_t *o = json_object();
    for (int i = 0; s && (p = moa_strategy_setting(s, i)); i++) {
        const char *text;
        const double v = moa_mix_get(c, p, &text);
        json_object_set_new(o, p->key, p->text ? text ? json_string(text) : json_null() : p->whole ? json_integer((json_int_t)v) : json_real(v));
    }
    return o;
}

static json_t *sampling_of(const moa_sampling *s) {
    return json_pack("{s:f, s:i, s:f, s:f, s:f, s:i, s:f, s:f}", "temperature", (double)s->temperature, "top_k", s->top_k, "top_p", (double)s->top_p, "min_p", (double)s->min_p,
                     "repeat_penalty", (double)s->repeat_penalty, "repeat_last", s->repeat_last, "presence_penalty", (double)s->presence_penalty, "frequency_penalty",
                     (double)s->frequency_penalty);
}

static json_t *backend_of(const moa_backend *b) {
    json_t *o = json_pack("{s:s, s:o, s:i, s:i, s:b}", "model", b->id, "fingerprint", big(b->fingerprint), "n_ctx", b->n_ctx, "n_ctx_most", b->n_ctx_most, "measures", b->ops->measure != NULL);
    if (b->goes_on) json_object_set_new(o, "goes_on", json_true());
    if (b->price_prompt > 0 || b->price_completion > 0) json_object_set_new(o, "prices", json_pack("[f, f]", b->price_prompt, b->price_completion));
    return o;
}

static json_t *mix_of(const moa_run *r, bool redact) {
    const moa_mix_cfg *c = r->cfg;
    json_t *proposers = json_array();
    for (int i = 0; i < c->n_proposer; i++) json_array_append_new(proposers, backend_of(c->proposer[i]));
    json_t *o = json_pack("{s:s, s:s, s:o, s:o*, s:o*, s:o, s:i, s:o, s:o}", "name", c->name, "strategy", c->strategy, "proposers", proposers, "aggregator",
                          c->aggregator ? backend_of(c->aggregator) : NULL, "judge", c->judge ? backend_of(c->judge) : NULL, "settings", moa_trace_settings(c), "n_answer", c->n_answer,
                          "propose", sampling_of(&c->propose), "aggregate", sampling_of(&c->aggregate));
    if (c->propose_system) json_object_set_new(o, "propose_system", text_of(c->propose_system, strlen(c->propose_system), redact));
    if (c->aggregate_system) json_object_set_new(o, "aggregate_system", text_of(c->aggregate_system, strlen(c->aggregate_system), redact));
    if (c->aggregate_text) json_object_set_new(o, "aggregate_text", text_of(c->aggregate_text, strlen(c->aggregate_text), redact));
    json_object_set_new(o, "propose_grammar", json_boolean(c->propose_grammar != NULL));
    if (c->aggregate_acts) json_object_set_new(o, "aggregate_acts", json_true());
    if (c->aggregate_extra && c->aggregate_extra->logprobs) json_object_set_new(o, "aggregate_logprobs", json_true());
    json_object_set_new(o, "aggregate_grammar", json_boolean(c->aggregate_grammar != NULL));
    return o;
}

/* Calls and tokens of each role: what a judge costs beside those it judges. */
static json_t *roles_of(const moa_run *r) {
    static const char *const keys[] = {"calls", "prompt_tokens", "completion_tokens"};
    json_t *all = json_object();
    for (int i = 0; i < r->n_node; i++) {
        const moa_agent_node *n = &r->node[i];
        if (!n->backend || n->state < MOA_NODE_DONE || n->late == MOA_LATE_UNASKED) continue;
        const json_int_t add[] = {n->stair ? n->stair->n_step : 1, (json_int_t)n->prompt_tokens, (json_int_t)n->completion_tokens};
        json_t *o = json_object_get(all, n->role);
        if (!o) json_object_set_new(all, n->role, o = json_object());
        for (int k = 0; k < 3; k++) json_object_set_new(o, keys[k], json_integer(json_integer_value(json_object_get(o, keys[k])) + add[k]));
    }
    return all;
}

json_t *moa_trace_run(const moa_run *r, bool redact) {
    const moa_usage *u = &r->usage;
    json_t *nodes = json_array(), *answers = json_array(), *measured = json_object();
    for (int i = 0; i < r->n_node; i++) json_array_append_new(nodes, node_of(r, i, redact));
    for (int k = 0; k < r->n_answer; k++) json_array_append_new(answers, json_string(r->node[r->answer + k].name));
    for (const moa_measured *m = r->measured; m; m = m->next) {
        char key[24];
        snprintf(key, sizeof key, "%016llx", (unsigned long long)m->key);
        json_object_set_new(measured, key, json_integer(m->n));
    }
    json_t *o = json_pack("{s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:o?, s:f, s:{s:i, s:I, s:I, s:I, s:I}}", "redacted", redact, "mix", mix_of(r, redact), "seed", big(r->seed), "messages",
                     messages_of(r->conv, r->n_conv, redact), "nodes", nodes, "answers", answers, "measured", measured, "rc", r->rc, "error",
                     r->rc < 0 ? text_of(r->err.text, strlen(r->err.text), redact) : NULL, "seconds", r->seconds, "usage", "calls", u->calls, "prompt_tokens",
                     (json_int_t)u->prompt_tokens, "completion_tokens", (json_int_t)u->completion_tokens, "total_tokens", (json_int_t)u->total_tokens, "reused_prefix_tokens",
                     (json_int_t)u->reused_prefix_tokens);
    json_object_set_new(json_object_get(o, "usage"), "roles", roles_of(r));
    if (r->first_s > 0) json_object_set_new(o, "first_text_seconds", json_real(r->first_s));
    if (r->recalled) json_object_set_new(o, "recalled", store_of(r->recalled, redact));
    if (r->kept) json_object_set_new(o, "kept", store_of(r->kept, redact));
    if (r->learnt) json_object_set_new(o, "learnt", store_of(r->learnt, redact));
    return o;
}

void moa_trace_thoughts(json_t *trace, int node, const char *s, size_t n, bool redact) {
    json_t *o = json_array_get(json_object_get(trace, "nodes"), (size_t)node);
    if (o) json_object_set_new(o, "thoughts", text_of(s, n, redact));
}

json_t *moa_trace_canonical(json_t *v) {
    static const char *const of_then[] = {"started", "ended", "seconds", "first_s", "reused_tokens", "cost", "found", "thoughts"};
    json_t *n, *step;
    size_t i, j;
    json_array_foreach(json_object_get(v, "nodes"), i, n)
        for (size_t k = 0; k < sizeof of_then / sizeof *of_then; k++) {
            json_object_del(n, of_then[k]);
            json_array_foreach(json_object_get(n, "steps"), j, step) json_object_del(step, of_then[k]);
        }
    static const char *const about[] = {"id", "label", "created", "seconds", "first_text_seconds", "measured", "recalled", "learnt"}; /* what was measured and read depends on how often one asks; a replay learns nothing */
    for (size_t k = 0; k < sizeof about / sizeof *about; k++) json_object_del(v, about[k]);
    json_object_del(json_object_get(v, "usage"), "reused_prefix_tokens");
    json_object_del(json_object_get(v, "usage"), "roles"); /* a sum over nodes, which are compared; earlier traces have none */
    return v;
}
