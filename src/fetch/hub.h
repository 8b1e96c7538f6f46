/* hub.h - repositories of a model hub (the API of huggingface.co and its mirrors): which files there are, and which of
 * them a model needs. A listing is input from a server: names are checked before anything is made of them.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FETCH_HUB_H
#define MOA_FETCH_HUB_H

#include "base/buf.h"
#include "fetch/http.h"
#include "fetch/retry.h"

enum { MOA_HUB_FILES_MAX = 100000, MOA_HUB_LIST_BYTES = 32 << 20 };

typedef struct moa_hub_file {
    char path[MOA_REF_PATH_MAX]; /* in the repository */
    int64_t size;                /* -1: not told */
    char sha256[MOA_SHA256_HEX]; /* "" for small files, which the hub keeps in git */
} moa_hub_file;

typedef struct moa_hub_repo {
    char commit[65]; /* what the revision stood for: files are fetched from this, so that they fit each other */
    moa_hub_file *file; int n_file; /* sorted by path; only names that may stand in the models folder */
    int n_refused;                  /* files with other names: "..", absolute, odd characters */
} moa_hub_repo;

int moa_hub_parse(moa_hub_repo *out, const char *json, size_t n, const char *name, moa_err *err);
int moa_hub_list(moa_hub_repo *out, moa_http *h, const char *endpoint, const moa_ref *ref, moa_retry *retry, const moa_fetch_watch *w, moa_err *err);
void moa_hub_free(moa_hub_repo *r);
/* URL of a file of this commit. */
int moa_hub_url(char out[MOA_REF_URL_MAX], const char *endpoint, const moa_ref *ref, const char *commit, const char *path, moa_err *err);

/* What there is to choose from: a GGUF file or all parts of a split one, named by its first file. */
typedef struct moa_hub_model { int first, n_part; int64_t bytes /* -1: unknown */; bool extra; /* no model by itself: projector, importance matrix */ } moa_hub_model;
int moa_hub_models(moa_hub_model **out, int *n, const moa_hub_repo *r, moa_err *err); /* free() it */

/* Chosen files, as indices into r->file. folder: they belong together in a folder named after the repository. */
typedef struct moa_hub_pick { int *file; int n_file; bool folder; } moa_hub_pick;
/* what: a path or file name; "safetensors" (the folder); a tag such as Q4_K_M, met whole in the file's name, or a pattern with * and ? of
 * its path or name, whatever their case; "": the only model there is. Several: MOA_EUSAGE (ask moa_hub_models for the list). */
int moa_hub_choose(moa_hub_pick *out, const moa_hub_repo *r, const char *what, moa_err *err);
bool moa_hub_has_tag(const char *path, const char *tag);

#endif
