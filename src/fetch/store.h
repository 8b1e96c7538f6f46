/* store.h - the models folder: what lies in it, where it came from, taking it away.
 *
 *     FOLDER/NAME.gguf                       a model; NAME-00001-of-0000N.gguf: one in parts
 *     FOLDER/NAME/config.json, *.safetensors a model as a folder (and 1_Pooling/ in it)
 *     FOLDER/.pull/NAME.origin               where it came from, with the checksum of each file (JSON)
 *     FOLDER/.pull/FILE.part, .part.json     files on their way ('/' in FILE is '%')
 *
 * Everything works on names that moa_ref_path_ok allows, so that nothing outside the folder can be meant.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FETCH_STORE_H
#define MOA_FETCH_STORE_H

#include "fetch/event.h"
#include "fetch/part.h"
#include "fetch/ref.h"

typedef struct moa_origin_file { char name[MOA_REF_PATH_MAX]; int64_t size; char sha256[MOA_SHA256_HEX], etag[256]; } moa_origin_file;
typedef struct moa_origin {
    char source[1024];  /* "hf:OWNER/REPO" or a URL without its secrets */
    char revision[65];  /* commit, or "" */
    char date[24];      /* UTC, 2026-01-31T12:00:00Z */
    moa_origin_file *file; int n_file;
} moa_origin;
/* MOA_ENOTFOUND: nothing is noted about this name. */
int moa_origin_read(moa_origin *out, const char *folder, const char *name, moa_err *err);
int moa_origin_write(const moa_origin *o, const char *folder, const char *name, moa_err *err);
const moa_origin_file *moa_origin_find(const moa_origin *o, const char *file); /* NULL: not in it */
void moa_origin_free(moa_origin *o);

/* Path of the part of a file; false: too long. */
bool moa_store_part(char *out, size_t n, const char *folder, const char *file);
/* The model that a file belongs to: without ".gguf", without its part's number, or the name of its folder. */
void moa_store_name(char out[MOA_REF_NAME_MAX], const char *file);

typedef struct moa_stored {
    char name[MOA_REF_NAME_MAX], file[MOA_REF_PATH_MAX]; /* file: the one to open, or the folder, in FOLDER */
    bool partial;       /* a file on its way: bytes of total */
    int64_t bytes, total;
    int n_file, n_split; /* files that are here; parts that belong together, or 1 */
    char type[24], arch[64]; /* type: of most weights; of a file that is no model what it is: "adapter" ... */
    char problem[320];  /* why it cannot be used; "" */
    char source[1024], revision[65];
} moa_stored;
/* Sorted by name. A folder that is not there is empty. free() *out. */
int moa_store_list(moa_stored **out, int *n, const char *folder, moa_err *err);

/* The files of one model, for taking away: relative to folder, parts and notes included; bytes of all. */
typedef struct moa_store_files { char (*file)[MOA_REF_PATH_MAX]; int n, n_model; int64_t bytes; bool folder, pooling; } moa_store_files;
int moa_store_find(moa_store_files *out, const char *folder, const char *name, moa_err *err);
/* Removes them, never following a link. A part that a moa pull is writing: refused. */
int moa_store_remove(const moa_store_files *f, const char *folder, const char *name, moa_err *err);
void moa_store_files_free(moa_store_files *f);

#endif
