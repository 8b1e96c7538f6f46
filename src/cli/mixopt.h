/* mixopt.h - the options that say which mix of which models works: the same for run and chat; and how commands open models.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_CLI_MIXOPT_H
#define MOA_CLI_MIXOPT_H

#include "agent/mix.h"
#include "cli/cli.h"

enum {
    MIXO_MODEL, MIXO_MIX, MIXO_N, MIXO_LAYERS, MIXO_WINDOW, MIXO_TEMP, MIXO_AGG_TEMP, MIXO_MAX, MIXO_PROPOSER, MIXO_AGG,
    MIXO_SYSTEM, MIXO_SEED, MIXO_CTX, MIXO_THREADS, MIXO_ADAPTER, MIXO_TEMPLATE, MIXO_KV, MIXO_REPACK, MIXO_DRAFT, MIXO_SERVER, MIXO_COUNT
};
/* First rows of a command's options, in the order of the enum. */
#define MOA_MIX_OPTS                                                                                                              \
    MOA_ROW_MODEL,                                                                                                               \
        {"--mix", NULL, MOA_OPT_STR, "NAME", "NAME or NAME:KEY=VALUE,... (default: self-moa; moa list mixes)", 0, 0},            \
        {"-n", NULL, MOA_OPT_INT, "N", "samples, or proposers of a layer", 1, 256},                                              \
        {"--layers", NULL, MOA_OPT_INT, "L", "moa: layers of proposers before the aggregator", 1, 16},                           \
        {"--window", NULL, MOA_OPT_INT, "W", "self-moa-seq: references in one window", 2, 64},                                   \
        {"--temperature", NULL, MOA_OPT_FLOAT, "T", "of proposals; 0 is greedy", 0, 5},                                          \
        {"--aggregate-temperature", NULL, MOA_OPT_FLOAT, "T", "of the aggregator (default 0)", 0, 5},                            \
        MOA_ROW_MAX_TOKENS,                                                                                                      \
        {"--proposer", NULL, MOA_OPT_STRS, "MODEL", "a model that proposes (default: --model)", 0, 0},                           \
        {"--aggregator", NULL, MOA_OPT_STR, "MODEL", "the model that merges (default: the first proposer)", 0, 0},               \
        {"--system", NULL, MOA_OPT_STR, "TEXT", "system message of the conversation", 0, 0},                                     \
        MOA_ROW_SEED("equal seeds, equal answers (default 1)"), MOA_ROW_CTX, MOA_ROW_THREADS, MOA_ROW_ADAPTER, MOA_ROW_TEMPLATE, MOA_ROW_KV, MOA_ROW_REPACK, MOA_ROW_DRAFT, \
        {"--server", NULL, MOA_OPT_STR, "URL", "models are those of a server that runs, moa serve or another (http://127.0.0.1:8080/v1); its key: $MOA_API_KEY", 0, 0}

/* How --threads, --ctx, --adapter and --chat-template-kwargs want models to be opened; every model gets all of them. Borrows the options' values. */
moa_mix_options moa_cli_models(const moa_optval *threads, const moa_optval *ctx, const moa_optval *adapter, const moa_optval *vars, const moa_optval *kv,
                               const moa_optval *repack, const moa_optval *draft);
/* A pool's way to open the model at path; moa_cli_model_path is its way from a name to it. moa_open_local, but says on stderr where
 * --ctx asks for more than the model reads, and which variables its template does not read. */
int moa_cli_open_model(void *options, moa_backend **out, const char *path, moa_err *err);
/* A model of the server at url; name NULL: its first. */
int moa_cli_open_server(moa_backend **out, const char *url, const char *name, moa_err *err);
/* Where a command's models are: on this machine, or (server not NULL) behind a URL. A pool's way to open them, with a moa_model_source. */
typedef struct moa_model_source { moa_mix_options models; const char *server; } moa_model_source;
int moa_cli_open_from(void *source, moa_backend **out, const char *name, moa_err *err);
/* Models that remember: those of `pool` look into the journal before they ask their own, which `asked` holds, so that work that was killed goes on and
 * equal calls are paid for once. Zero-initialised; close it also where open failed. open opens a model itself (path, ctx: as for moa_pool_new). */
typedef struct moa_remembering { moa_journal *journal; moa_pool *pool, *asked; } moa_remembering;
int moa_remembering_open(moa_remembering *m, const moa_journal_cfg *cfg, moa_path_fn path, moa_open_fn open, void *ctx, moa_err *err);
void moa_remembering_close(moa_remembering *m);
/* The pool of a command with MOA_MIX_OPTS: models of this machine, opened as `models` says, or those of --server. Both are borrowed. */
int moa_mixopt_pool(moa_pool **out, const moa_optval *v, moa_mix_options *models, moa_err *err);
/* Mix from --mix (dflt where absent) and the options that override its parameters. */
int moa_mixopt_spec(moa_mix_spec *s, const moa_optval *v, const char *dflt, moa_err *err);

#endif
