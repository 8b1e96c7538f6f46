/* mixopt.c - see mixopt.h. Options become parameters of the mix's text form, so that ranges and "mix single has no
 * parameter n" are said in one place (agent/mix.c).
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/mixopt.h"

#include "format/chat.h"
#include "serve/upstream.h"

#include <stdlib.h>
#include <string.h>

moa_mix_options moa_cli_models(const moa_optval *threads, const moa_optval *ctx, const moa_optval *adapter, const moa_optval *vars,
                               const moa_optval *kv, const moa_optval *repack, const moa_optval *draft) {
    return (moa_mix_options){.n_threads = (int)threads->i, .n_ctx = (int)ctx->i, .adapter = adapter->list, .n_adapter = adapter->n_list,
                             .template_vars = vars->s, .kv_type = kv->s, .repack = repack->s, .draft = draft->s};
}

/* A misspelt name would change nothing without a word; another model of the mix may read what this one does not. */
static void note_unread(const moa_backend *b, const char *text) {
    json_t *vars = NULL, *v;
    const char *name;
    if (!text || moa_chat_vars_parse(&vars, text, NULL) < 0) return;
    json_object_foreach(vars, name, v)
        if (!moa_backend_local_names(b, name)) fprintf(stderr, "moa: --chat-template-kwargs: the chat template of %s does not read '%s'\n", b->id, name);
    json_decref(vars);
}

int moa_cli_open_model(void *options, moa_backend **out, const char *path, moa_err *err) {
    moa_mix_options named = *(const moa_mix_options *)options, *o = &named;
    char draft[4096];
    if (o->draft) MOA_TRY(moa_cli_model_path(draft, sizeof draft, o->draft, err));
    if (o->draft) o->draft = draft;
    MOA_TRY(moa_open_local(o, out, path, err));
    const moa_backend *b = *out;
    if (o->n_ctx > b->n_ctx_most) fprintf(stderr, "moa: --ctx %d: %s reads no more than %d tokens\n", o->n_ctx, b->id, b->n_ctx_most);
    note_unread(b, o->template_vars);
    return 0;
}

/* Its samples are calls of their own there: a moa decodes them as one batch that shares the prompt. */
int moa_cli_open_server(moa_backend **out, const char *url, const char *name, moa_err *err) {
    enum { AT_A_TIME = 256 };
    const char *key = getenv("MOA_API_KEY");
    const moa_upstream_cfg cfg = {.id = name ? name : "the server's model", .url = url, .model = name ? name : "", .key = key && *key ? key : NULL, .max_concurrent = AT_A_TIME};
    const int rc = moa_upstream_open(out, &cfg, err);
    return rc < 0 ? moa_hint(err, rc, "--server takes what stands before /chat/completions, such as http://127.0.0.1:8080/v1") : rc;
}

int moa_cli_open_from(void *source, moa_backend **out, const char *name, moa_err *err) {
    moa_model_source *s = source;
    return s->server ? moa_cli_open_server(out, s->server, name, err) : moa_cli_open_model(&s->models, out, name, err);
}

static int open_remembered(void *ctx, moa_backend **out, const char *name, moa_err *err) {
    const moa_remembering *m = ctx;
    moa_backend *inner;
    MOA_TRY(moa_pool_get(&inner, m->asked, name, err));
    return moa_backend_journal_open(out, m->journal, inner, err);
}

int moa_remembering_open(moa_remembering *m, const moa_journal_cfg *cfg, moa_path_fn path, moa_open_fn open, void *ctx, moa_err *err) {
    MOA_TRY(moa_journal_open_with(&m->journal, cfg, err));
    MOA_TRY(moa_pool_new(&m->asked, path, open, ctx, err));
    return moa_pool_new(&m->pool, path, open_remembered, m, err);
}

void moa_remembering_close(moa_remembering *m) {
    moa_pool_free(m->pool);
    moa_pool_free(m->asked);
    moa_journal_close(m->journal);
    *m = (moa_remembering){0};
}

static int open_remote(void *ctx, moa_backend **out, const char *name, moa_err *err) {
    const moa_optval *v = ctx;
    return moa_cli_open_server(out, v[MIXO_SERVER].s, name, err);
}

int moa_mixopt_pool(moa_pool **out, const moa_optval *v, moa_mix_options *models, moa_err *err) {
    static const struct { int opt; const char *name; } local[] = {{MIXO_CTX, "--ctx"}, {MIXO_THREADS, "--threads"}, {MIXO_ADAPTER, "--adapter"}, {MIXO_TEMPLATE, "--chat-template-kwargs"},
                                                                   {MIXO_KV, "--kv"}, {MIXO_REPACK, "--repack"}, {MIXO_DRAFT, "--draft"}};
    if (!v[MIXO_SERVER].set) return moa_pool_new(out, moa_cli_model_path, moa_cli_open_model, models, err);
    for (size_t i = 0; i < sizeof local / sizeof *local; i++)
        if (v[local[i].opt].set) return moa_fail(err, MOA_EUSAGE, "%s is for models of this machine; with --server the server decides it", local[i].name);
    return moa_pool_new(out, NULL, open_remote, (void *)(uintptr_t)v, err);
}

int moa_mixopt_spec(moa_mix_spec *s, const moa_optval *v, const char *dflt, moa_err *err) {
    static const struct { int opt; const char *key; } map[] = {
        {MIXO_N, "n"}, {MIXO_LAYERS, "layers"}, {MIXO_WINDOW, "window"}, {MIXO_TEMP, "temperature"},
        {MIXO_AGG_TEMP, "aggregate-temperature"}, {MIXO_MAX, "max-tokens"}, {MIXO_AGG, "aggregator"},
    };
    MOA_TRY(moa_mix_spec_parse(s, v[MIXO_MIX].set ? v[MIXO_MIX].s : dflt, err));
    int rc = 0;
    for (size_t i = 0; rc >= 0 && i < sizeof map / sizeof *map; i++)
        if (v[map[i].opt].set) rc = moa_mix_spec_set(s, map[i].key, v[map[i].opt].s, err);
    for (int i = 0; rc >= 0 && i < v[MIXO_PROPOSER].n_list; i++) rc = moa_mix_spec_set(s, "proposer", v[MIXO_PROPOSER].list[i], err);
    if (rc < 0) moa_mix_spec_deinit(s);
    return rc;
}
