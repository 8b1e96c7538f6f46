/* file.c - see file.h. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include "base/buf.h"
#include "base/err.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail_errno(moa_err *err, const char *path, const char *doing) {
    int e = errno;
    int code = e == ENOENT ? MOA_ENOTFOUND : e == ENOMEM ? MOA_ENOMEM : MOA_EIO;
    moa_fail(err, code, "%s: cannot %s: %s", path, doing, strerror(e));
    if (e == ENOSPC || e == EDQUOT || e == EFBIG)
        moa_hint(err, code, "make room on the disk and run the same command again");
    return code;
}

/* ---- who is mapped where ---- */

/* A row is taken by a compare-and-swap of its state, so that a signal's handler can read the table at any time. */
enum { FREE, BEING_FILLED, NAMED };
static struct named { _Atomic int state; _Atomic uintptr_t first, end; char path[256]; } named[256];

static void name_map(const moa_map *m, const char *path) {
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        int was = FREE;
        if (!atomic_compare_exchange_strong(&named[i].state, &was, BEING_FILLED)) continue;
        snprintf(named[i].path, sizeof named[i].path, "%s", path);
        atomic_store(&named[i].first, (uintptr_t)m->data);
        atomic_store(&named[i].end, (uintptr_t)m->data + m->size);
        atomic_store(&named[i].state, NAMED);
        return;
    }
}

static void forget_map(const moa_map *m) {
    for (size_t i = 0; i < sizeof named / sizeof *named; i++)
        if (atomic_load(&named[i].state) == NAMED && atomic_load(&named[i].first) == (uintptr_t)m->data) {
            atomic_store(&named[i].state, FREE);
            return;
        }
}

const char *moa_map_name(const void *addr) {
    for (size_t i = 0; i < sizeof named / sizeof *named; i++)
        if (atomic_load(&named[i].state) == NAMED && (uintptr_t)addr >= atomic_load(&named[i].first) &&
            (uintptr_t)addr < (atomic_load(&named[i].end) + 4095) / 4096 * 4096)
            return named[i].path;
    return NULL;
}

void moa_map_done(const void *p, size_t n) {
    const uintptr_t first = ((uintptr_t)p + 4095) / 4096 * 4096, end = ((uintptr_t)p + n) / 4096 * 4096;
    if (first >= end || !moa_map_name((const void *)first) || moa_map_name((const void *)first) != moa_map_name((const void *)(end - 1))) return;
    (void)madvise((void *)first, end - first, MADV_DONTNEED);
}

int moa_map_open(moa_map *out, const char *path, moa_err *err) {
    *out = (moa_map){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe without a writer must not block here */
    if (fd < 0) return fail_errno(err, path, "open");
    struct stat st;
    int rc = 0;
    if (fstat(fd, &st) < 0) {
        rc = fail_errno(err, path, "stat");
    } else if (!S_ISREG(st.st_mode)) {
        rc = moa_fail(err, MOA_EINVAL, "%s: not a regular file", path);
    } else if (st.st_size > 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED) rc = fail_errno(err, path, "map");
        else *out = (moa_map){p, (size_t)st.st_size}, name_map(out, path);
    }
    close(fd);
    return rc;
}

void moa_map_close(moa_map *m) {
    if (m->data) forget_map(m);
    if (m->data) munmap((void *)(uintptr_t)m->data, m->size);
    *m = (moa_map){0};
}

int moa_read_file(char **out, size_t *len, const char *path, size_t max, moa_err *err) {
    *out = NULL;
    bool in = strcmp(path, "-") == 0;
    int fd = in ? 0 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail_errno(err, path, "open");
    if (in) path = "standard input";
    moa_buf b;
    moa_buf_init(&b, max);
    char part[1 << 16];
    ssize_t n = 0;
    int rc = 0;
    while (rc == 0 && (n = read(fd, part, sizeof part)) != 0) {
        if (n > 0) rc = moa_buf_add(&b, part, (size_t)n);
        else if (errno != EINTR) rc = fail_errno(err, path, "read");
    }
    if (!in) close(fd);
    if (b.failed == MOA_ELIMIT) rc = moa_fail(err, MOA_ELIMIT, "%s: longer than %zu bytes", path, max);
    if (b.failed == MOA_ENOMEM) rc = moa_fail(err, MOA_ENOMEM, "%s: no memory to read it", path);
    if (rc == 0) {
        if (len) *len = b.len;
        *out = moa_buf_take(&b);
        if (!*out) rc = moa_fail(err, MOA_ENOMEM, "%s: no memory to read it", path);
    }
    moa_buf_deinit(&b);
    return rc;
}

/* ---- writing ---- */

struct moa_writer {
    char *path, *tmp;
    int fd, failed; /* errno of the first failed write */
    uint64_t pos;
    size_t used;
    char part[1 << 16];
};

/* FILE.tmp.PID belongs to a writer as long as somebody holds its lock: the kernel lets go of it when a process dies, whatever killed it,
 * and a number that was given to another process later does not mislead. */
static bool left_behind(const char *path) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat st;
    if (fd < 0) return false;
    const bool free_now = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && flock(fd, LOCK_EX | LOCK_NB) == 0;
    close(fd);
    return free_now;
}

/* What killed writers of the same file left beside it. */
static void clear_left_behind(const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const size_t n_dir = slash ? (size_t)(slash - path) + 1 : 0, n_name = strlen(name);
    char old[4096];
    if (n_dir >= sizeof old) return;
    snprintf(old, sizeof old, "%.*s", n_dir ? (int)n_dir : 1, n_dir ? path : ".");
    DIR *d = opendir(old);
    for (const struct dirent *e; d && (e = readdir(d));) {
        const char *tail = e->d_name + n_name;
        if (strncmp(e->d_name, name, n_name) != 0 || strncmp(tail, ".tmp.", 5) != 0 || !tail[5] || tail[5 + strspn(tail + 5, "0123456789")]) continue;
        if (snprintf(old, sizeof old, "%.*s%s", (int)n_dir, path, e->d_name) < (int)sizeof old && left_behind(old)) unlink(old);
    }
    if (d) closedir(d);
}

/* A file of our own with its lock; another writer may have taken it for one left behind between the two steps. */
static int create_locked(const char *path) {
    for (;;) {
        struct stat st;
        const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 || fstat(fd, &st) < 0 || st.st_nlink > 0) return fd;
        close(fd);
    }
}

int moa_writer_open(moa_writer **out, const char *path, moa_err *err) {
    *out = NULL;
    struct stat st; /* a rename over a device or a pipe would put a plain file in its place, for root even over /dev/null */
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) return moa_fail(err, MOA_EIO, "%s: cannot write: not a regular file", path);
    moa_writer *w = calloc(1, sizeof *w);
    size_t n = strlen(path) + 32;
    if (w) {
        w->fd = -1;
        w->path = strdup(path);
        w->tmp = malloc(n);
    }
    if (!w || !w->path || !w->tmp) {
        moa_writer_abort(w);
        return moa_fail(err, MOA_ENOMEM, "%s: no memory to write it", path);
    }
    snprintf(w->tmp, n, "%s.tmp.%ld", path, (long)getpid());
    clear_left_behind(path);
    w->fd = create_locked(w->tmp);
    if (w->fd < 0) {
        int rc = fail_errno(err, path, "create"); /* the user's name, not that of the temporary file */
        free(w->tmp);
        w->tmp = NULL;
        moa_writer_abort(w);
        return rc;
    }
    *out = w;
    return 0;
}

static int put(moa_writer *w, const char *p, size_t n) {
    while (n && !w->failed) {
        ssize_t k = write(w->fd, p, n);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) w->failed = k < 0 ? errno : ENOSPC;
        else p += k, n -= (size_t)k;
    }
    return w->failed ? MOA_EIO : 0;
}

static int flush(moa_writer *w) {
    size_t n = w->used;
    w->used = 0;
    return put(w, w->part, n);
}

int moa_writer_add(moa_writer *w, const void *p, size_t n) {
    w->pos += n;
    if (n > sizeof w->part - w->used && flush(w) < 0) return MOA_EIO;
    if (n >= sizeof w->part) return put(w, p, n);
    if (n) memcpy(w->part + w->used, p, n);
    w->used += n;
    return w->failed ? MOA_EIO : 0;
}

uint64_t moa_writer_pos(const moa_writer *w) { return w->pos; }

void moa_sync_folder(const char *path) {
    const char *slash = strrchr(path, '/');
    char *dir = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        (void)fsync(fd); /* best effort: some filesystems refuse it, the rename itself was checked */
        close(fd);
    }
    free(dir);
}

int moa_writer_commit(moa_writer *w, moa_err *err) {
    flush(w);
    if (!w->failed && fsync(w->fd) < 0 && errno != EINVAL) w->failed = errno;
    if (close(w->fd) < 0 && !w->failed) w->failed = errno;
    w->fd = -1;
    if (!w->failed && rename(w->tmp, w->path) < 0) w->failed = errno;
    int rc = 0;
    if (w->failed) {
        errno = w->failed;
        rc = fail_errno(err, w->path, "write");
    } else {
        moa_sync_folder(w->path);
        free(w->tmp);
        w->tmp = NULL;
    }
    moa_writer_abort(w);
    return rc;
}

void moa_writer_abort(moa_writer *w) {
    if (!w) return;
    if (w->tmp) {
        if (w->fd >= 0) close(w->fd);
        unlink(w->tmp);
    }
    free(w->tmp);
    free(w->path);
    free(w);
}

int moa_mkdirs(const char *path, moa_err *err) {
    if (!*path) return moa_fail(err, MOA_EINVAL, "an empty path of a folder to create");
    char *p = strdup(path);
    if (!p) return moa_fail(err, MOA_ENOMEM, "%s: no memory", path);
    int rc = 0;
    for (char *s = p + 1; rc == 0; s++) {
        if (*s != '/' && *s != 0) continue;
        char c = *s;
        *s = 0;
        struct stat st;
        if (mkdir(p, 0755) < 0) {
            int e = errno;
            bool there = e == EEXIST && stat(p, &st) == 0;
            errno = there ? ENOTDIR : e;
            if (!there || !S_ISDIR(st.st_mode)) rc = fail_errno(err, p, "create folder");
        }
        *s = c;
        if (!c) break;
    }
    free(p);
    return rc;
}
