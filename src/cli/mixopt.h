/* mixopt.h - the options that say which mix of which models works: the same for run and chat.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_CLI_MIXOPT_H
#define MOA_CLI_MIXOPT_H

#include "agent/mix.h"
#include "cli/cli.h"

enum {
    MIXO_MODEL, MIXO_MIX, MIXO_N, MIXO_LAYERS, MIXO_WINDOW, MIXO_TEMP, MIXO_AGG_TEMP, MIXO_MAX, MIXO_PROPOSER, MIXO_AGG,
    MIXO_SYSTEM, MIXO_SEED, MIXO_THREADS, MIXO_COUNT
};
/* First rows of a command's options, in the order of the enum. */
#define MOA_MIX_OPTS                                                                                                              \
    {"--model", "-m", MOA_OPT_STR, "MODEL", "model file or name (default: the bundled one)", 0, 0},                              \
        {"--mix", NULL, MOA_OPT_STR, "NAME", "NAME or NAME:KEY=VALUE,... (default: self-moa; moa list mixes)", 0, 0},            \
        {"-n", NULL, MOA_OPT_INT, "N", "samples, or proposers of a layer", 1, 256},                                              \
        {"--layers", NULL, MOA_OPT_INT, "L", "moa: layers of proposers before the aggregator", 1, 16},                           \
        {"--window", NULL, MOA_OPT_INT, "W", "self-moa-seq: references in one window", 2, 64},                                   \
        {"--temperature", NULL, MOA_OPT_FLOAT, "T", "of proposals; 0 is greedy", 0, 5},                                          \
        {"--aggregate-temperature", NULL, MOA_OPT_FLOAT, "T", "of the aggregator (default 0)", 0, 5},                            \
        {"--max-tokens", NULL, MOA_OPT_INT, "N", "most tokens of one reply (default 256)", 1, 1000000},                          \
        {"--proposer", NULL, MOA_OPT_STRS, "MODEL", "a model that proposes (default: --model)", 0, 0},                           \
        {"--aggregator", NULL, MOA_OPT_STR, "MODEL", "the model that merges (default: the first proposer)", 0, 0},               \
        {"--system", NULL, MOA_OPT_STR, "TEXT", "system message of the conversation", 0, 0},                                     \
        {"--seed", NULL, MOA_OPT_INT, "S", "equal seeds, equal answers (default 1)", 0, 9.2e18},                                 \
        {"--threads", "-t", MOA_OPT_INT, "T", "threads (default: all cores)", 1, 1024}

/* Opens models by the search order of cli.h. ctx: int *threads. */
int moa_cli_open_model(void *ctx, moa_backend **out, const char *name, moa_err *err);
/* Mix from --mix (dflt where absent) and the options that override its parameters. */
int moa_mixopt_spec(moa_mix_spec *s, const moa_optval *v, const char *dflt, moa_err *err);

#endif
