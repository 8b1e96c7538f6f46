/* part.c - see part.h.
 *
 * After a power failure the part may be shorter than what was received, which costs a little; it is not longer, since
 * the usual filesystems write a file's new length after its data. Where a checksum is known the end proves it anyway.
 * SPDX-License-Identifier: Apache-2.0 */
#include "fetch/part.h"

#include "base/err.h"
#include "base/file.h"
#include "base/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 20, NOTE_MAX = 64 << 10 };

static int failed(const char *path, const char *doing, moa_err *err) {
    const int e = errno;
    moa_fail(err, MOA_EIO, "%s: cannot %s: %s", path, doing, strerror(e));
    if (e == ENOSPC || e == EDQUOT || e == EFBIG)
        moa_hint(err, MOA_EIO, "what has come is kept: make room and run the same command again, it goes on from there");
    return MOA_EIO;
}

/* 0: open, locked, and still what stands under its name; 1: it was renamed or removed in between, look again. */
static int lock(moa_part *p, moa_err *err) {
    struct stat a, b;
    p->fd = open(p->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (p->fd < 0) return failed(p->path, "create", err);
    if (flock(p->fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK) return failed(p->path, "lock", err);
        moa_fail(err, MOA_EIO, "%s: another moa pull is at work on this file", p->path);
        return moa_hint(err, MOA_EIO, "wait for it, or stop it and run this again: it goes on from where that one was");
    }
    if (fstat(p->fd, &a) < 0) return failed(p->path, "stat", err);
    if (!S_ISREG(a.st_mode)) return moa_fail(err, MOA_EIO, "%s: not a regular file", p->path);
    p->n = a.st_size;
    if (stat(p->path, &b) == 0 && a.st_ino == b.st_ino && a.st_dev == b.st_dev) return 0;
    close(p->fd);
    p->fd = -1;
    return 1;
}

static void keep(char *out, size_t n, const char *s) {
    if (s && strlen(s) < n) memcpy(out, s, strlen(s) + 1);
}

/* False: there is no note, or none that can be understood. */
static bool read_note(moa_part *p) {
    json_t *v;
    const char *url, *etag, *date, *sum;
    long long size;
    if (moa_json_read(&v, p->note, NOTE_MAX, NULL) < 0) return false;
    const bool ok = json_is_object(v) && !moa_json_get_str(&url, v, "url", "", "", NULL) && !moa_json_get_str(&etag, v, "etag", "", "", NULL) &&
                    !moa_json_get_str(&date, v, "last_modified", "", "", NULL) && !moa_json_get_str(&sum, v, "sha256", "", "", NULL) &&
                    !moa_json_get_int(&size, v, "size", -1, "", NULL) && size >= -1;
    if (ok) {
        keep(p->url, sizeof p->url, url);
        keep(p->etag, sizeof p->etag, etag);
        keep(p->last_modified, sizeof p->last_modified, date);
        if (!moa_sha256_parse(p->sha256, sum)) p->sha256[0] = 0;
        p->size = size;
    }
    json_decref(v);
    return ok;
}

int moa_part_open(moa_part *p, const char *path, moa_err *err) {
    *p = (moa_part){.fd = -1, .size = -1};
    moa_sha256_init(&p->sum);
    p->path = strdup(path);
    int rc = asprintf(&p->note, "%s.json", path);
    if (rc < 0) p->note = NULL;
    rc = p->path && p->note ? 1 : moa_fail(err, MOA_ENOMEM, "%s: no memory", path);
    for (int i = 0; rc == 1 && i < 100; i++) rc = lock(p, err);
    if (rc == 1) rc = moa_fail(err, MOA_EIO, "%s: it changes all the time", path);
    if (rc == 0 && !read_note(p) && p->n > 0) rc = moa_part_restart(p, err);
    if (rc < 0) {
        if (p->fd >= 0) close(p->fd);
        p->fd = -1;
        moa_part_close(p);
    }
    return rc;
}

static int sum_of(moa_sha256 *s, int fd, int64_t n, const char *path, moa_fetch_event e, const moa_fetch_watch *w, moa_err *err) {
    uint8_t *b = malloc(READ_BYTES);
    int rc = b ? 0 : moa_fail(err, MOA_ENOMEM, "%s: no memory to read it", path);
    moa_sha256_init(s);
    e.kind = MOA_FETCH_CHECK, e.total = n;
    for (int64_t at = 0; rc == 0 && at < n;) {
        const size_t want = n - at < READ_BYTES ? (size_t)(n - at) : READ_BYTES;
        const ssize_t k = pread(fd, b, want, at);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) {
            rc = k ? failed(path, "read", err) : moa_fail(err, MOA_EIO, "%s: became shorter while it was read", path);
            break;
        }
        moa_sha256_add(s, b, (size_t)k);
        at += k;
        e.done = at;
        if (!moa_fetch_tell(w, &e)) rc = moa_fail(err, MOA_ECANCELED, "stopped");
    }
    free(b);
    return rc;
}

int moa_part_sum(moa_part *p, const moa_fetch_event *like, const moa_fetch_watch *w, moa_err *err) {
    return sum_of(&p->sum, p->fd, p->n, p->path, *like, w, err);
}

int moa_file_sum(char out[MOA_SHA256_HEX], const char *path, const moa_fetch_event *like, const moa_fetch_watch *w, moa_err *err) {
    struct stat st;
    moa_sha256 s;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return failed(path, "open", err);
    int rc = fstat(fd, &st) < 0 ? failed(path, "stat", err) : S_ISREG(st.st_mode) ? 0 : moa_fail(err, MOA_EIO, "%s: not a regular file", path);
    if (rc == 0) rc = sum_of(&s, fd, st.st_size, path, *like, w, err);
    close(fd);
    if (rc == 0) moa_sha256_hex(out, &s);
    return rc;
}

int moa_part_write_note(const moa_part *p, moa_err *err) {
    moa_writer *w;
    moa_buf b;
    moa_buf_init(&b, NOTE_MAX);
    moa_buf_addf(&b, "{\"size\":%lld,\"url\":", (long long)p->size);
    moa_json_add_str(&b, p->url, strlen(p->url));
    moa_buf_adds(&b, ",\"etag\":");
    moa_json_add_str(&b, p->etag, strlen(p->etag));
    moa_buf_adds(&b, ",\"last_modified\":");
    moa_json_add_str(&b, p->last_modified, strlen(p->last_modified));
    moa_buf_addf(&b, ",\"sha256\":\"%s\"}\n", p->sha256);
    int rc = b.failed ? moa_fail(err, b.failed, "%s: cannot be written", p->note) : moa_writer_open(&w, p->note, err);
    if (rc == 0) {
        moa_writer_add(w, b.data, b.len);
        rc = moa_writer_commit(w, err);
    }
    moa_buf_deinit(&b);
    return rc;
}

int moa_part_restart(moa_part *p, moa_err *err) {
    if (p->n > 0 && ftruncate(p->fd, 0) < 0) return failed(p->path, "shorten", err);
    p->n = 0;
    moa_sha256_init(&p->sum);
    return 0;
}

int moa_part_add(moa_part *p, const void *data, size_t n, moa_err *err) {
    const uint8_t *at = data;
    while (n) {
        const ssize_t k = pwrite(p->fd, at, n, p->n);
        if (k < 0 && errno == EINTR) continue;
        if (k == 0) errno = ENOSPC;
        if (k <= 0) return failed(p->path, "write", err);
        moa_sha256_add(&p->sum, at, (size_t)k);
        at += k, n -= (size_t)k, p->n += k;
    }
    return 0;
}

int moa_part_peek(const moa_part *p, void *out, size_t n) { return pread(p->fd, out, n, 0) == (ssize_t)n ? 0 : -1; }

int moa_part_commit(moa_part *p, const char *target, moa_err *err) {
    if (fsync(p->fd) < 0 && errno != EINVAL) return failed(p->path, "flush to the disk", err);
    if (rename(p->path, target) < 0) return failed(target, "put it in place", err);
    moa_sync_folder(target);
    unlink(p->note);
    p->n = -1; /* nothing left under the part's name */
    return 0;
}

void moa_part_discard(moa_part *p) {
    unlink(p->path);
    unlink(p->note);
    p->n = -1;
}

void moa_part_close(moa_part *p) {
    if (p->fd >= 0) {
        if (p->n == 0) moa_part_discard(p);
        close(p->fd);
    }
    free(p->path);
    free(p->note);
    *p = (moa_part){.fd = -1};
}

int64_t moa_disk_free(const char *folder) {
    struct statvfs v;
    if (statvfs(folder, &v) < 0 || v.f_frsize == 0 || v.f_bavail > (uint64_t)INT64_MAX / v.f_frsize) return -1;
    return (int64_t)(v.f_bavail * v.f_frsize);
}
