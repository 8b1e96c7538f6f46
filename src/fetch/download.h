/* download.h - one file from one URL to one place on the disk: resumed, checked, put in place at once.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FETCH_DOWNLOAD_H
#define MOA_FETCH_DOWNLOAD_H

#include "fetch/part.h"
#include "fetch/retry.h"

typedef struct moa_download {
    const char *url, *target, *part; /* part: on target's filesystem */
    const char *name;                /* in events */
    int file, n_file;
    int64_t size;                    /* expected bytes, -1: whatever the server says */
    const char *sha256;              /* expected, "" or NULL: none */
    bool replace;                    /* a target that differs may be replaced */
    const char *have_sha256, *have_etag; /* of the target, as noted when it was fetched; NULL or "": unknown */
    int retries;                     /* failed attempts in a row, without progress */
    double backoff_s;                /* first pause */
    const moa_fetch_watch *watch;
} moa_download;

typedef struct moa_downloaded {
    int64_t size, resumed_from; /* resumed_from: bytes that were here from an earlier run */
    char sha256[MOA_SHA256_HEX], etag[256];
    bool checked;               /* against a checksum that was given or published */
    bool was_there;             /* nothing was fetched */
    int failures;               /* attempts that had to be repeated */
} moa_downloaded;

/* On failure the part stays for the next call, except where its content was proved wrong. */
int moa_download_run(moa_downloaded *out, moa_http *h, const moa_download *d, moa_err *err);

#endif
