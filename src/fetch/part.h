/* part.h - a file on its way: NAME.part grows, NAME.part.json says what it will become (size, checksum, validators of
 * the server), both kept until the file is whole. The part's length is the progress: there is no counter that could
 * disagree with it. An exclusive lock on the part keeps two downloads of one file apart, and dies with its process.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FETCH_PART_H
#define MOA_FETCH_PART_H

#include "base/sha256.h"
#include "fetch/event.h"

typedef struct moa_part {
    int fd;
    char *path, *note;  /* NAME.part, NAME.part.json */
    int64_t n;          /* bytes in the file */
    moa_sha256 sum;     /* of these n bytes */
    /* from NAME.part.json, kept in step with what the server says */
    char url[512];      /* shown form, for lists */
    char etag[256], last_modified[64];
    char sha256[MOA_SHA256_HEX]; /* what the whole file must have; "" unknown */
    int64_t size;       /* of the whole file; -1 unknown */
} moa_part;

/* Opens and locks NAME.part (path). Another process at work on it: MOA_EIO. Bytes without a readable note are dropped,
 * since nobody knows of what they are the beginning. sum is not yet that of the bytes: moa_part_sum. */
int moa_part_open(moa_part *p, const char *path, moa_err *err);
int moa_part_sum(moa_part *p, const moa_fetch_event *like, const moa_fetch_watch *w, moa_err *err); /* reads what is there */
int moa_part_write_note(const moa_part *p, moa_err *err);
int moa_part_restart(moa_part *p, moa_err *err);                                                      /* from byte 0 */
int moa_part_add(moa_part *p, const void *data, size_t n, moa_err *err);
int moa_part_peek(const moa_part *p, void *out, size_t n); /* its first n bytes; -1 when it has fewer */
/* To disk, then under its name; the note goes. The part stays open and locked until close. */
int moa_part_commit(moa_part *p, const char *target, moa_err *err);
void moa_part_discard(moa_part *p); /* part and note are removed */
void moa_part_close(moa_part *p);   /* and keeps what is there; a part of no bytes leaves nothing behind */

/* The sum of a finished file. */
int moa_file_sum(char out[MOA_SHA256_HEX], const char *path, const moa_fetch_event *like, const moa_fetch_watch *w, moa_err *err);
/* Bytes that a user may still write into the filesystem of folder; -1: unknown. */
int64_t moa_disk_free(const char *folder);

#endif
