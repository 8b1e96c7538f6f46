/* sketch.c - one run of a mix over placeholders; see sketch.h. SPDX-License-Identifier: Apache-2.0 */
#include "agent/sketch.h"

#include "base/json.h"

#include <stdlib.h>
#include <string.h>

enum { MODELS = 3 }; /* of mixes of several models where none is named */

/* A model that says what its role is asked for. */
typedef struct stage stage;
typedef struct puppet { moa_backend base; stage *all; } puppet;
struct stage {
    puppet model[MOA_MAX_PROPOSERS + 2]; int n_model;
    moa_backend *proposer[MOA_MAX_PROPOSERS];
    moa_run *r;
    int n_built, n_seen;    /* nodes when the run began, and those whose origin is known */
    int *by, cap;
    int n_fault;            /* faults that were named */
    bool failed;            /* no memory */
};

/* ---- what is said ---- */

/* How many a judge is to choose: what a setting of that name says. */
static int to_choose(const moa_mix_cfg *c) {
    const moa_setting *p;
    const char *text;
    for (int i = 0; (p = moa_strategy_setting(moa_strategy_find(c->strategy), i)); i++)
        if (!strcmp(p->key, "select")) return (int)moa_mix_get(c, p, &text);
    return 1;
}

/* Drafts all differ, so that nothing ends because they agree, and hold a sum that is wrong, so that who looks for faults finds one. Judges rate, choose the
 * first, and never call it enough. A fault is found once. */
static void speak(moa_buf *b, stage *s, int node) {
    const char *role = s->r->node[node].role;
    if (!strcmp(role, "judge")) {
        moa_buf_adds(b, "Score: 7\nEnd: no\nBetter: A\nChoice: 1");
        for (int i = 2, k = to_choose(s->r->cfg); i <= k && i <= s->r->cfg->n; i++) moa_buf_addf(b, ", %d", i);
    }
    else if (!strcmp(role, "identifier")) moa_buf_adds(b, s->n_fault++ ? "Error: none" : "Error: computation");
    else if (!strcmp(role, "critic")) moa_buf_adds(b, "1: right.\n2: wrong.");
    else if (!strcmp(role, "tagger")) moa_buf_adds(b, "words, numbers");
    else if (!strcmp(role, "user")) moa_buf_adds(b, "And then?");
    else if (!strcmp(role, "role-maker"))
        for (int i = 1; i <= s->r->cfg->n; i++) moa_buf_addf(b, "%d: You are reader %d.\n", i, i);
    else if (!strcmp(role, "repairer")) moa_buf_adds(b, "1 + 1 = 2\nAnswer: 2");
    else moa_buf_addf(b, "1 + 1 = 3\nAnswer: %d", node + 1);
}

static void start(moa_backend *m, moa_call *const *call, int n) {
    stage *s = ((puppet *)m)->all;
    for (int i = 0; i < n; i++) {
        moa_call *c = call[i];
        moa_buf b;
        moa_buf_init(&b, 1 << 16);
        speak(&b, s, c->sample); /* the seed is small: it is the node's number */
        c->res = (moa_gen_res){.n_prompt = 1, .n_ids = 1, .why = MOA_STOP_EOS, .text_len = b.len};
        c->res.text = moa_buf_take(&b);
        if (!c->res.text) c->rc = moa_fail(&c->err, MOA_ENOMEM, "a placeholder");
        else c->on_text(c, c->res.text, c->res.text_len);
        c->on_end(c);
    }
}

static void stir(moa_backend *b) { (void)b; }
static void close_it(moa_backend *b) { (void)b; }
static const moa_backend_ops ops = {.name = "sketch", .help = "placeholders", .start = start, .stir = stir, .close = close_it};

/* ---- who decided that a node is needed: the one that works while it is added ---- */

static void origin(stage *s, int by) {
    for (; s->n_seen < s->r->n_node && !s->failed; s->n_seen++) {
        if (s->n_seen >= s->cap) {
            const int cap = s->cap ? 2 * s->cap : 64;
            int *v = realloc(s->by, (size_t)cap * sizeof *v);
            if (!v) {
                s->failed = true;
                return;
            }
            s->by = v, s->cap = cap;
        }
        s->by[s->n_seen] = s->n_seen < s->n_built ? -1 : by;
    }
}

static bool on_event(void *ctx, moa_run *r, const moa_event *e) {
    stage *s = ctx;
    (void)r;
    if (e->kind != MOA_EV_TEXT) origin(s, e->node);
    return !s->failed;
}

/* ---- the cast ---- */

static moa_backend *cast(stage *s, const char *name) {
    for (int i = 0; i < s->n_model; i++)
        if (!strcmp(s->model[i].base.id, name)) return &s->model[i].base;
    puppet *p = &s->model[s->n_model++];
    *p = (puppet){{.ops = &ops, .id = name}, s};
    return &p->base;
}

static void cast_all(stage *s, moa_mix_cfg *c, const moa_mix_spec *m) {
    static const char *const names[MODELS] = {"model 1", "model 2", "model 3"};
    const bool several = m->strategy->has & MOA_SEVERAL;
    const int n = m->n_proposer_name ? m->n_proposer_name : !several ? 1 : c->n > 0 && c->n < MODELS ? c->n : MODELS;
    for (int i = 0; i < n; i++) s->proposer[i] = cast(s, m->n_proposer_name ? m->proposer_name[i] : names[i]);
    c->proposer = s->proposer, c->n_proposer = n;
    if (m->aggregator_name) c->aggregator = cast(s, m->aggregator_name);
    if (m->judge_name) c->judge = cast(s, m->judge_name);
}

static int copy(moa_sketch *g, const stage *s, moa_err *err) {
    const moa_run *r = s->r;
    g->n = r->n_node;
    g->node = moa_arena_calloc(g->arena, (size_t)g->n * sizeof *g->node);
    for (int i = 0; i < g->n && g->node; i++) {
        const moa_agent_node *n = &r->node[i];
        int *in = moa_arena_alloc(g->arena, ((size_t)n->n_in + 1) * sizeof *in);
        moa_sketch_node *to = &g->node[i];
        *to = (moa_sketch_node){.name = moa_arena_strndup(g->arena, n->name, strlen(n->name)), .role = n->role, .in = in, .n_in = n->n_in, .by = s->by[i], .answer = moa_run_is_answer(r, i)};
        if (n->backend) to->model = moa_arena_strndup(g->arena, n->backend->id, strlen(n->backend->id));
        if (!in || !to->name || (n->backend && !to->model)) return moa_fail(err, MOA_ENOMEM, "a graph of %d nodes", g->n);
        if (n->n_in) memcpy(in, n->in, (size_t)n->n_in * sizeof *in);
        g->n_call += n->backend != NULL;
        g->n_grown += to->by >= 0;
    }
    return g->node ? 0 : moa_fail(err, MOA_ENOMEM, "a graph of %d nodes", g->n);
}

static int play(moa_sketch *g, stage *s, const moa_mix_cfg *c, moa_err *err) {
    static const moa_message conv[] = {{"user", "a question"}};
    const uint64_t seed = 1;
    MOA_TRY(moa_run_new(&s->r, c, conv, 1, seed, err));
    s->n_built = s->r->n_node;
    origin(s, -1);
    int rc = moa_run_execute(s->r, on_event, s, err);
    if (rc >= 0) rc = s->r->rc < 0 ? (*err = s->r->err, s->r->rc) : 0;
    origin(s, s->r->n_node - 1);
    if (s->failed) rc = moa_fail(err, MOA_ENOMEM, "a graph of %d nodes", s->r->n_node);
    return rc < 0 ? rc : copy(g, s, err);
}

int moa_sketch_make(moa_sketch *g, const moa_mix_spec *m, moa_err *err) {
    enum { GRAPH_BYTES = 256 << 20 };
    *g = (moa_sketch){.arena = moa_arena_new(0, GRAPH_BYTES), .named = m->n_proposer_name > 0 || m->aggregator_name || m->judge_name};
    stage *s = calloc(1, sizeof *s);
    moa_mix_cfg c = m->cfg;
    int rc = g->arena && s ? 0 : moa_fail(err, MOA_ENOMEM, "a graph");
    c.deadline_s = c.grace_s = 0, c.budget_tokens = 0, c.budget_cost = 0;
    c.store = NULL;
    if (rc >= 0 && m->n_proposer_name > 1 && !(m->strategy->has & MOA_SEVERAL)) rc = moa_fail(err, MOA_EUSAGE, "mix %s takes one proposer, got %d", m->strategy->name, m->n_proposer_name);
    if (rc >= 0) cast_all(s, &c, m);
    if (rc >= 0) rc = play(g, s, &c, err);
    if (s) moa_run_free(s->r);
    if (s) free(s->by);
    free(s);
    if (rc < 0) moa_sketch_deinit(g);
    return rc;
}

void moa_sketch_deinit(moa_sketch *g) {
    moa_arena_free(g->arena);
    *g = (moa_sketch){0};
}

json_t *moa_sketch_json(const moa_sketch *g) {
    json_t *nodes = json_array(), *o;
    int answer = -1;
    for (int i = 0; i < g->n; i++) {
        const moa_sketch_node *n = &g->node[i];
        json_t *in = json_array(), *v = json_pack("{s:i, s:o, s:s, s:o, s:o}", "id", i, "node", moa_json_str(n->name, strlen(n->name)), "role", n->role, "model",
                                                n->model ? moa_json_str(n->model, strlen(n->model)) : json_null(), "reads", in);
        for (int k = 0; k < n->n_in; k++) json_array_append_new(in, json_integer(n->in[k]));
        if (n->by >= 0) json_object_set_new(v, "added_by", json_integer(n->by));
        if (n->answer && answer < 0) answer = i;
        json_array_append_new(nodes, v);
    }
    o = json_pack("{s:s, s:o, s:i, s:i, s:i}", "of", g->n_grown ? "one run with placeholder replies" : "every run", "nodes", nodes, "calls", g->n_call, "added", g->n_grown, "answer", answer);
    return o;
}
