/* pull.h - from what the user names to files in the models folder: the plan (which files, from where), then one download
 * after the other, then the note where it all came from.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FETCH_PULL_H
#define MOA_FETCH_PULL_H

#include "fetch/download.h"
#include "fetch/hub.h"
#include "fetch/store.h"

#define MOA_HUB_ENDPOINT "https://huggingface.co"

typedef struct moa_pull_cfg {
    const char *folder;         /* models folder; made where it is missing */
    const char *endpoint;       /* of the hub, without a '/' at its end */
    const char *token;          /* for the hub alone; NULL: none */
    const char *const *header; int n_header; /* for the server that the user named alone */
    const char *name;           /* in the folder; NULL: the file's or the repository's */
    const char *sha256;         /* of a single file; NULL: what the hub says */
    bool replace;
    int retries, connect_s, stall_s;
    double backoff_s;
    moa_fetch_watch watch;
} moa_pull_cfg;
moa_pull_cfg moa_pull_defaults(void); /* all but folder */

typedef struct moa_pulled {
    char name[MOA_REF_NAME_MAX]; /* for -m */
    char path[4096];             /* the file to open, or the folder */
    char source[1024], revision[65];
    struct moa_pulled_file { char file[MOA_REF_PATH_MAX], url[1024] /* without secrets */; moa_downloaded done; } *file;
    int n_file;
    bool no_choice; /* of a call that failed: the repository was listed, and what was asked for is not one model in it */
} moa_pulled;
int moa_pull(moa_pulled *out, const moa_ref *ref, const moa_pull_cfg *cfg, moa_err *err);
void moa_pulled_free(moa_pulled *p);

/* The listing alone, of a hub reference. */
int moa_pull_list(moa_hub_repo *out, const moa_ref *ref, const moa_pull_cfg *cfg, moa_err *err);

#endif
