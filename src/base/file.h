/* file.h - files: mapped for reading, written so that a crash or a full disk never leaves half a file.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_BASE_FILE_H
#define MOA_BASE_FILE_H

#include "moa.h"

/* A whole file, read-only. An empty file maps to data = NULL, size = 0. */
typedef struct moa_map { const uint8_t *data; size_t size; } moa_map;
int moa_map_open(moa_map *out, const char *path, moa_err *err);
void moa_map_close(moa_map *m);
/* The mapped file that addr lies in, NULL: none. For a handler of SIGBUS, which is what reading a file that has become shorter raises:
 * takes no lock and calls nothing. Names are cut after 255 bytes; files beyond the first 256 have none. */
const char *moa_map_name(const void *addr);
/* The n bytes at p will hardly be read again: whole pages of mapped files leave this process's memory (and come back when they are read
 * after all). Other memory is left as it is. */
void moa_map_done(const void *p, size_t n);

/* A whole small file into heap memory, 0-terminated. path "-" is standard input.
 * MOA_ELIMIT when it is longer than max. */
int moa_read_file(char **out, size_t *len, const char *path, size_t max, moa_err *err);

/* Writes go to PATH.tmp.PID; commit flushes them to the disk and renames over PATH. Without a commit
 * (an error, a crash) PATH keeps its old content. A folder, a device or a pipe is refused. Errors are sticky: check the commit. */
typedef struct moa_writer moa_writer;
int moa_writer_open(moa_writer **out, const char *path, moa_err *err);
int moa_writer_add(moa_writer *w, const void *p, size_t n);
uint64_t moa_writer_pos(const moa_writer *w);
int moa_writer_commit(moa_writer *w, moa_err *err); /* frees w in every case */
void moa_writer_abort(moa_writer *w);               /* removes the temporary file; NULL is fine */

int moa_mkdirs(const char *path, moa_err *err); /* like mkdir -p */
void moa_sync_folder(const char *path);         /* of a file: a rename in it lasts. Best effort: some filesystems refuse it */

#endif
