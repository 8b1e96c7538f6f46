/* mixopt.c - see mixopt.h. Options become parameters of the mix's text form, so that ranges and "mix single has no
 * parameter n" are said in one place (agent/mix.c).
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/mixopt.h"

#include "format/chat.h"

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
