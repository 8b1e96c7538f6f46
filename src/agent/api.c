/* api.c - the public way in to mixtures (moa.h, sections 2 and 4): a mix with its models behind one handle.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/mix.h"
#include "format/grammar.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct moa_mix {
    moa_mix_spec spec;
    moa_pool *pool;
    int n_threads;
};

static int path_of(char *out, size_t n, const char *name, moa_err *err) {
    if (!name) return moa_fail(err, MOA_EINVAL, "no model is named");
    const int len = snprintf(out, n, "%s", name);
    return len >= 0 && (size_t)len < n ? 0 : moa_fail(err, MOA_ELIMIT, "a model's path has %d bytes, at most %zu are allowed", len, n - 1);
}

int moa_mix_open(moa_mix **out, const char *spec, const moa_mix_options *opt, moa_err *err) {
    *out = NULL;
    if (opt->n_threads < 0 || opt->n_threads > 1024) return moa_fail(err, MOA_EINVAL, "n_threads %d: expected 0 to 1024", opt->n_threads);
    if (opt->n_ctx < 0 || opt->n_ctx > 1 << 28) return moa_fail(err, MOA_EINVAL, "n_ctx %d: expected 0 to %d", opt->n_ctx, 1 << 28);
    if (opt->n_adapter < 0) return moa_fail(err, MOA_EINVAL, "n_adapter %d: expected 0 or more", opt->n_adapter);
    moa_mix *m = calloc(1, sizeof *m);
    if (!m) return moa_fail(err, MOA_ENOMEM, "a mix");
    m->n_threads = opt->n_threads;
    int rc = moa_pool_new(&m->pool, path_of, moa_open_local, (void *)(uintptr_t)opt, err); /* every model is opened by the binding below */
    if (rc >= 0) rc = moa_mix_spec_parse(&m->spec, spec ? spec : "self-moa", err);
    if (rc >= 0) rc = moa_mix_spec_bind(&m->spec, m->pool, opt->model, err);
    if (rc < 0) {
        moa_mix_close(m);
        return rc;
    }
    *out = m;
    return 0;
}

void moa_mix_close(moa_mix *m) {
    if (!m) return;
    moa_mix_constrain(m, NULL, NULL);
    moa_mix_spec_deinit(&m->spec);
    moa_pool_free(m->pool);
    free(m);
}

void moa_mix_constrain(moa_mix *m, const moa_grammar *drafts, const moa_grammar *answer) {
    moa_mix_cfg *c = &m->spec.cfg;
    moa_grammar_free((moa_grammar *)(uintptr_t)c->propose_grammar);
    moa_grammar_free((moa_grammar *)(uintptr_t)c->aggregate_grammar);
    c->propose_grammar = moa_grammar_ref(drafts);
    c->aggregate_grammar = moa_grammar_ref(answer);
}

int moa_mix_adapt(moa_mix *m, const char *const *adapter, int n, moa_err *err) {
    if (n < 0) return moa_fail(err, MOA_EINVAL, "%d adapters: expected 0 or more", n);
    return moa_pool_adapt(m->pool, adapter, n, m->n_threads, err);
}

typedef struct relay { moa_mix_cb cb; void *ctx; } relay;

static bool on_event(void *ctx, moa_run *r, const moa_event *e) {
    const relay *t = ctx;
    const moa_agent_node *n = &r->node[e->node];
    moa_mix_event m = {.call = e->node, .name = n->name, .role = n->role, .is_answer = e->node == r->answer, .text = e->text, .n = e->n};
    if (e->kind == MOA_EV_START) m.kind = MOA_MIX_CALL_START;
    else if (e->kind == MOA_EV_TEXT) m.kind = MOA_MIX_CALL_TEXT;
    else m.kind = MOA_MIX_CALL_END;
    return t->cb(t->ctx, &m);
}

int moa_mix_reply(char **answer, moa_mix *m, const moa_message *msg, int n_msg, uint64_t seed, moa_mix_cb cb, void *ctx,
                  moa_mix_usage *usage, moa_err *err) {
    *answer = NULL;
    if (usage) *usage = (moa_mix_usage){0};
    for (int i = 0; i < n_msg; i++)
        if (!msg[i].role || !msg[i].content) return moa_fail(err, MOA_EINVAL, "message %d has no role or no content", i);
    moa_run *r;
    MOA_TRY(moa_run_new(&r, &m->spec.cfg, msg, n_msg, seed, err));
    relay t = {cb, ctx};
    int rc = moa_run_execute(r, cb ? on_event : NULL, &t, err);
    if (usage)
        *usage = (moa_mix_usage){r->usage.calls, r->usage.prompt_tokens, r->usage.completion_tokens, r->usage.reused_prefix_tokens, r->seconds};
    if (rc >= 0 && !(*answer = strdup(moa_run_answer(r)))) rc = moa_fail(err, MOA_ENOMEM, "the answer");
    moa_run_free(r);
    return rc;
}

int moa_answer(char **answer, const char *model, const char *mix, const char *question, moa_err *err) {
    *answer = NULL;
    if (!model || !question) return moa_fail(err, MOA_EINVAL, "moa_answer needs a model and a question");
    moa_mix *m;
    MOA_TRY(moa_mix_open(&m, mix, &(moa_mix_options){.model = model}, err));
    const moa_message msg = {"user", question};
    int rc = moa_mix_reply(answer, m, &msg, 1, 1, NULL, NULL, NULL, err);
    moa_mix_close(m);
    return rc;
}
