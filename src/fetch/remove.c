/* remove.c - taking a model away (see store.h). Files are found by reading the folder, not by trusting a note; every
 * step opens folders without following links and unlinks names inside them, so that what a link points to stays.
 * SPDX-License-Identifier: Apache-2.0 */
#include "fetch/store.h"

#include "base/err.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define POOLING "1_Pooling" /* the one folder inside a model's folder that a pull makes */
enum { FOLDER_ONLY = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };

static int failed(const char *path, const char *doing, moa_err *err) { return moa_fail(err, MOA_EIO, "%s: cannot %s: %s", path, doing, strerror(errno)); }

static int add(moa_store_files *f, const char *dir, const char *name, bool model, int64_t bytes, moa_err *err) {
    char(*p)[MOA_REF_PATH_MAX] = realloc(f->file, (size_t)(f->n + 1) * sizeof *p);
    if (!p) return moa_fail(err, MOA_ENOMEM, "no memory for a list of files");
    f->file = p;
    if (snprintf(f->file[f->n], sizeof *p, "%s%s%s", dir, *dir ? "/" : "", name) >= (int)sizeof *p) return moa_fail(err, MOA_ELIMIT, "%s: the name is too long", name);
    f->n++;
    f->n_model += model;
    f->bytes += bytes;
    return 0;
}

/* Calls `each` for every entry of folder/dir; a folder that is not there has none. */
typedef int each_fn(moa_store_files *f, const char *dir, const char *entry, const struct stat *st, const char *name, moa_err *err);
static int scan(moa_store_files *f, const char *folder, const char *dir, const char *name, each_fn *each, moa_err *err) {
    char path[4096];
    struct stat st;
    struct dirent *e;
    int rc = 0;
    if (snprintf(path, sizeof path, "%s/%s", folder, dir) >= (int)sizeof path) return moa_fail(err, MOA_ELIMIT, "%s: the path is too long", folder);
    const int fd = open(path, *dir ? FOLDER_ONLY : FOLDER_ONLY & ~O_NOFOLLOW);
    if (fd < 0) return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? 0 : failed(path, "open the folder", err);
    DIR *d = fdopendir(fd);
    if (!d) {
        close(fd);
        return failed(path, "open the folder", err);
    }
    while (rc == 0 && (e = readdir(d)))
        if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            rc = each(f, dir, e->d_name, &st, name, err);
    closedir(d);
    return rc;
}

static bool is_of(const char *file, const char *name) {
    char model[MOA_REF_NAME_MAX];
    moa_store_name(model, file);
    return !strcmp(model, name);
}

static int top(moa_store_files *f, const char *dir, const char *entry, const struct stat *st, const char *name, moa_err *err) {
    if (S_ISDIR(st->st_mode)) {
        if (!strcmp(entry, name)) f->folder = true;
        return 0;
    }
    if (!moa_ref_ends(entry, ".gguf") || !is_of(entry, name)) return 0;
    return add(f, dir, entry, true, S_ISREG(st->st_mode) ? st->st_size : 0, err);
}

static int inside(moa_store_files *f, const char *dir, const char *entry, const struct stat *st, const char *name, moa_err *err) {
    if (S_ISDIR(st->st_mode) && !strcmp(dir, name) && !strcmp(entry, POOLING)) return f->pooling = true, 0;
    if (!S_ISDIR(st->st_mode)) return add(f, dir, entry, true, S_ISREG(st->st_mode) ? st->st_size : 0, err);
    moa_fail(err, MOA_EIO, "%s/%s: a folder that moa did not make; nothing was removed", dir, entry);
    return moa_hint(err, MOA_EIO, "look what is in it and remove it yourself");
}

/* NAME.origin, and FILE.part, FILE.part.json and temporary files of a note where FILE is of this model. */
static int pulls(moa_store_files *f, const char *dir, const char *entry, const struct stat *st, const char *name, moa_err *err) {
    char file[MOA_REF_PATH_MAX];
    const char *part = strstr(entry, ".part");
    while (part && part[5] && strncmp(part + 5, ".json", 5)) part = strstr(part + 1, ".part");
    const size_t n = strlen(entry), n_name = strlen(name);
    bool mine = n > n_name && !strncmp(entry, name, n_name) && !strncmp(entry + n_name, ".origin", 7) && (!entry[n_name + 7] || !strncmp(entry + n_name + 7, ".tmp.", 5));
    if (!mine && part && (size_t)(part - entry) < sizeof file) {
        memcpy(file, entry, (size_t)(part - entry));
        file[part - entry] = 0;
        for (char *s = file; *s; s++)
            if (*s == '%') *s = '/';
        mine = moa_ref_path_ok(file) && is_of(file, name);
    }
    return mine && S_ISREG(st->st_mode) ? add(f, dir, entry, false, part && !part[5] ? st->st_size : 0, err) : 0;
}

static bool has_config(const char *folder, const char *name) {
    char path[4096];
    return snprintf(path, sizeof path, "%s/%s/config.json", folder, name) < (int)sizeof path && access(path, F_OK) == 0;
}

int moa_store_find(moa_store_files *out, const char *folder, const char *name, moa_err *err) {
    *out = (moa_store_files){0};
    if (!moa_ref_name_ok(name)) return moa_fail(err, MOA_EUSAGE, "'%.200s' is no name of a model in %s", name, folder);
    char sub[MOA_REF_NAME_MAX + 16];
    int rc = scan(out, folder, "", name, top, err);
    if (out->n && !has_config(folder, name)) out->folder = false; /* beside NAME.gguf it is no model: the adapter that the file was made from, notes */
    if (rc == 0 && out->folder) rc = scan(out, folder, name, name, inside, err);
    snprintf(sub, sizeof sub, "%s/" POOLING, name);
    if (rc == 0 && out->pooling) rc = scan(out, folder, sub, name, inside, err);
    if (rc == 0) rc = scan(out, folder, ".pull", name, pulls, err);
    if (rc == 0 && out->n == 0 && !out->folder) {
        moa_fail(err, MOA_ENOTFOUND, "no model '%s' in %s", name, folder);
        rc = moa_hint(err, MOA_ENOTFOUND, "moa models lists what is there; models in other folders are yours to remove");
    }
    if (rc < 0) moa_store_files_free(out);
    return rc;
}

void moa_store_files_free(moa_store_files *f) {
    free(f->file);
    *f = (moa_store_files){0};
}

/* A part that is being written stays: its writer would put a file in place that has lost its note. */
static int check_unlocked(int dir, const char *entry, moa_err *err) {
    if (!moa_ref_ends(entry, ".part")) return 0;
    const int fd = openat(dir, entry, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return 0;
    const bool busy = flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
    close(fd);
    return busy ? moa_fail(err, MOA_EIO, "%s: a moa pull is at work on it; stop that first", entry) : 0;
}

typedef int do_fn(int dir, const char *entry, moa_err *err);
static int unlink_one(int dir, const char *entry, moa_err *err) {
    return unlinkat(dir, entry, 0) == 0 || errno == ENOENT ? 0 : failed(entry, "remove", err);
}

/* The folder that holds `file`, opened step by step, so that no link on the way is followed. */
static int open_folder_of(int root, const char *file) {
    int fd = dup(root);
    for (const char *s = file, *slash; fd >= 0 && (slash = strchr(s, '/')); s = slash + 1) {
        char dir[MOA_REF_PATH_MAX];
        snprintf(dir, sizeof dir, "%.*s", (int)(slash - s), s);
        const int next = openat(fd, dir, FOLDER_ONLY);
        close(fd);
        fd = next;
    }
    return fd;
}

static int at(int root, const char *file, do_fn *fn, moa_err *err) {
    const char *slash = strrchr(file, '/');
    const int fd = open_folder_of(root, file);
    if (fd < 0) return failed(file, "open its folder", err);
    const int rc = fn(fd, slash ? slash + 1 : file, err);
    close(fd);
    return rc;
}

static int rmdir_one(int dir, const char *entry, moa_err *err) {
    return unlinkat(dir, entry, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : failed(entry, "remove the folder", err);
}

static int remove_all(const moa_store_files *f, int root, const char *name, moa_err *err) {
    char sub[MOA_REF_NAME_MAX + 16];
    for (int i = 0; i < f->n; i++) MOA_TRY(at(root, f->file[i], check_unlocked, err));
    for (int i = 0; i < f->n; i++) MOA_TRY(at(root, f->file[i], unlink_one, err));
    snprintf(sub, sizeof sub, "%s/" POOLING, name);
    if (f->pooling) MOA_TRY(at(root, sub, rmdir_one, err));
    return f->folder ? at(root, name, rmdir_one, err) : 0;
}

int moa_store_remove(const moa_store_files *f, const char *folder, const char *name, moa_err *err) {
    const int root = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) return failed(folder, "open the folder", err);
    const int rc = remove_all(f, root, name, err);
    close(root);
    return rc;
}
