/* mix.h - mixes by name: "self-moa", "self-moa:n=4,temperature=0.9", "moa:proposers=a.gguf+b.gguf,aggregator=b.gguf".
 * The name is a strategy's, parameters override its numbers, models come from a pool that opens each once.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_MIX_H
#define MOA_AGENT_MIX_H

#include "agent/run.h"

/* Models by name, opened on first use; BASE@ADAPTER: with an adapter of its own (pool.c). path (NULL: names are not files) turns a name into that of a file; names that lead to
 * one file, however they are spelled, give one backend. */
typedef int (*moa_path_fn)(char *out, size_t n, const char *name /* NULL: the default model */, moa_err *err);
typedef int (*moa_open_fn)(void *ctx, moa_backend **out, const char *name /* as path gave it */, moa_err *err);
typedef struct moa_pool moa_pool;
int moa_pool_new(moa_pool **out, moa_path_fn path, moa_open_fn open, void *ctx, moa_err *err);
int moa_pool_get(moa_backend **out, moa_pool *p, const char *name, moa_err *err); /* the pool's */
/* All its models work with these adapters from now on; n 0: none. On failure every one keeps what it had. */
int moa_pool_adapt(moa_pool *p, const char *const *spec, int n, int n_threads, moa_err *err);
/* What its mixes keep in this file (moa_store_open), the pool's; NULL: in memory, as long as the pool lives. Once each. */
int moa_pool_store(moa_store **out, moa_pool *p, const char *path, moa_err *err);
/* No further store is opened: what clients write into requests names no files, and any thread may ask for those that are open. */
int moa_pool_seal(moa_pool *p, moa_err *err);
void moa_pool_borrow(moa_pool *p); /* what open gives is somebody else's: it is not closed */
void moa_pool_free(moa_pool *p); /* closes the models */
/* A pool's way to open local models (PATH, or PATH@ADAPTER), with the threads, the context and the adapters of options: a const moa_mix_options. */
int moa_open_local(void *options, moa_backend **out, const char *path, moa_err *err);

enum { MOA_MAX_PROPOSERS = 16 };
typedef struct moa_mix_spec {
    moa_mix_cfg cfg;
    const moa_strategy *strategy;
    char *label;                              /* the text it was made from */
    char *proposer_name[MOA_MAX_PROPOSERS]; int n_proposer_name;
    char *aggregator_name, *judge_name;       /* NULL: as in cfg */
    char *store_name;                         /* a file; NULL: the pool's memory */
    char *word[MOA_MAX_ARG];                  /* cfg.word */
    moa_backend *bound[MOA_MAX_PROPOSERS];    /* after bind; cfg points here, so do not copy the struct then */
} moa_mix_spec;
/* Zero-initialised s -> parsed. An unknown name lists the known ones and hints at the nearest. */
int moa_mix_spec_parse(moa_mix_spec *s, const char *text, moa_err *err);
/* One parameter, as on the command line; '_' and '-' are the same in keys. Checks ranges. */
int moa_mix_spec_set(moa_mix_spec *s, const char *key, const char *value, moa_err *err);
/* Models: those named, else dflt (NULL: the pool's default model). */
int moa_mix_spec_bind(moa_mix_spec *s, moa_pool *p, const char *dflt, moa_err *err);
void moa_mix_spec_deinit(moa_mix_spec *s);

#endif
