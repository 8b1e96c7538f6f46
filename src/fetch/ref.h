/* ref.h - what `moa pull` is asked for, and which names may stand in the models folder. All text here comes from
 * users and servers, so every name is checked against one short list of characters before it touches the disk.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FETCH_REF_H
#define MOA_FETCH_REF_H

#include "moa.h"

enum { MOA_REF_URL_MAX = 4096, MOA_REF_NAME_MAX = 200, MOA_REF_PATH_MAX = 512 };

typedef struct moa_ref {
    bool hub;                       /* a repository of a hub; else one URL */
    char url[MOA_REF_URL_MAX];      /* !hub: http or https */
    char owner[MOA_REF_NAME_MAX], repo[MOA_REF_NAME_MAX];
    char what[MOA_REF_PATH_MAX];    /* file, pattern of one with * and ?, tag such as Q4_K_M, or "" */
    char rev[MOA_REF_NAME_MAX];     /* branch, tag or commit; "main" unless given */
} moa_ref;

/* "http(s)://...", "hf:OWNER/REPO[:FILE or TAG][@REV]", or a page of the hub at `endpoint` (OWNER/REPO, .../blob/REV/FILE,
 * .../resolve/REV/FILE, .../tree/REV[/FOLDER]), which becomes the hub form. Anything else: MOA_EUSAGE. */
int moa_ref_parse(moa_ref *out, const char *text, const char *endpoint, moa_err *err);

/* One name in the models folder: letters, digits and ._+=,@()-, not beginning with '.' or '-', at most MOA_REF_NAME_MAX - 1. */
bool moa_ref_name_ok(const char *name);
/* A relative path of such names joined by '/': no "..", no empty piece, not absolute. */
bool moa_ref_path_ok(const char *path);
/* Last piece of a URL's path, %XX decoded: the file's name. Fails when that is no allowed name. */
int moa_ref_url_name(char out[MOA_REF_NAME_MAX], const char *url, moa_err *err);
/* A URL for eyes and records: without user, password, query and fragment, where secrets stand. */
void moa_ref_show(char *out, size_t n, const char *url);
/* %XX for everything but letters, digits, "-._~" and, where slash is set, '/'. False: out is too small. */
bool moa_ref_escape(char *out, size_t n, const char *text, bool slash);

/* "NAME-00002-of-00005.gguf": a part of a split model. *stem: bytes of NAME; *i from 1 to *n. */
bool moa_ref_split(const char *name, size_t *stem, int *i, int *n);
bool moa_ref_ends(const char *name, const char *ext); /* without regard to case */

#endif
