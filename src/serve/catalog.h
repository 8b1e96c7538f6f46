/* catalog.h - who can be asked: models by id, and mixes of them by id. All models are open, with a thread of their own that decodes what
 * many requests ask at once. Nothing of a catalog changes while it is used, so any thread reads it without a lock; a new configuration is a new
 * catalog, which shares the models that stay, and a request keeps the one that it began with.
 *
 * The id of a request is a model's ("moa-tiny": one reply of it), a mix's ("self-moa"), or a mix's with numbers of its own
 * ("self-moa:n=4,temperature=0.9"). Names within it are ids too: no path that a client names is ever opened.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_SERVE_CATALOG_H
#define MOA_SERVE_CATALOG_H

#include "agent/mix.h"
#include "model/embed.h"
#include "serve/config.h"
#include "serve/fault.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

typedef struct moa_catalog_model {
    atomic_int refs;          /* catalogs that have it */
    char *id, *key;           /* key: file and options: equal keys are one model */
    moa_backend *kept;        /* what runs ask: backend, behind the journal where there is one */
    moa_backend *backend;     /* NULL: an encoder, which gives vectors alone */
    moa_model *encoder;       /* NULL: a model that writes */
    pthread_mutex_t lock;     /* over the embedder, which is made on first use */
    moa_embedder *embedder;
    int n_threads;            /* of it; 0: all cores */
} moa_catalog_model;

typedef struct moa_catalog_row {
    char *id, *help;
    char *spec;               /* text form of the mix (agent/mix.h); NULL: an encoder */
    char *model;              /* id for the roles that the mix names no model for */
    const char *propose_system, *aggregate_system; /* the configuration's */
} moa_catalog_row;

typedef struct moa_catalog {
    atomic_int refs;
    moa_catalog_model **model; int n_model;
    moa_catalog_row *row; int n_row;
    moa_pool *pool;           /* of the models' backends */
    moa_config *config;       /* NULL: none */
    time_t made;
} moa_catalog;

typedef struct moa_catalog_cfg {
    const char *const *model; int n_model; /* as on a command line; none, and none in file: the bundled one */
    moa_journal *journal;                  /* remembers calls; NULL: nothing does */
    const char *file;                      /* moa.yaml; NULL: none */
    moa_path_fn path;
    moa_open_fn open; const moa_mix_options *options; /* open gets options like these */
} moa_catalog_cfg;

/* was (NULL: none): models that it has with the same file and options are shared. */
int moa_catalog_open(moa_catalog **out, const moa_catalog_cfg *cfg, const moa_catalog *was, moa_err *err);
moa_catalog *moa_catalog_ref(moa_catalog *c);
void moa_catalog_unref(moa_catalog *c); /* the last one closes its models, unless another catalog has them */

const moa_catalog_row *moa_catalog_row_of(const moa_catalog *c, const char *id); /* NULL: none has exactly this id */
moa_catalog_model *moa_catalog_model_of(const moa_catalog *c, const char *id);
/* The model behind an id, for what concerns one model alone (tokens, vectors): of a mix, the one for roles that name none. NULL with f. */
moa_catalog_model *moa_catalog_one(const moa_catalog *c, const char *id, moa_fault *f);
/* id (NULL or "": the first) -> s, parsed, not bound yet. */
int moa_catalog_spec(moa_mix_spec *s, const moa_catalog_row **row, const moa_catalog *c, const char *id, moa_fault *f);

#endif
