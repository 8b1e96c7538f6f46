/* worklog.c - see worklog.h. SPDX-License-Identifier: Apache-2.0 */
#include "agent/worklog.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { MAX_FILE = 1 << 30, MAX_LINE = 64 << 20, PATH_BYTES = 4200 };
struct moa_worklog { char path[PATH_BYTES], work[PATH_BYTES]; int fd; };

static int write_all(const moa_worklog *w, const char *s, size_t n, moa_err *err) {
    while (n) {
        const ssize_t k = write(w->fd, s, n);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return moa_fail(err, MOA_EIO, "%s: cannot write: %s", w->work, strerror(errno));
        s += k, n -= (size_t)k;
    }
    return 0;
}

int moa_worklog_add(moa_worklog *w, const json_t *piece, moa_err *err) {
    moa_buf b;
    moa_buf_init(&b, MAX_LINE);
    moa_json_add(&b, piece);
    moa_buf_adds(&b, "\n");
    const int rc = b.failed ? moa_fail(err, b.failed, "%s: a line", w->work) : write_all(w, moa_buf_str(&b), b.len, err);
    moa_buf_deinit(&b);
    return rc;
}

static int write_head(moa_worklog *w, const char *what, moa_err *err) {
    json_t *head = json_pack("{s:s}", "work", what);
    if (!head) return moa_fail(err, MOA_ENOMEM, "%s", w->work);
    const int rc = moa_worklog_add(w, head, err);
    json_decref(head);
    return rc;
}

static int check_head(const json_t *head, const moa_worklog *w, const char *what, moa_err *err) {
    const char *was = json_string_value(json_object_get(head, "work"));
    if (!was) return moa_fail(err, MOA_EFORMAT, "%s:1: this is no work that moa began", w->work);
    if (!strcmp(was, what)) return 0;
    const int rc = moa_fail(err, MOA_EINVAL, "%s was begun as '%s', not as '%s'", w->work, was, what);
    return moa_hint(err, rc, "say the same again, choose another file, or throw it away with --fresh");
}

/* Pieces that are there; *end: bytes of whole lines. */
static int read_work(const moa_worklog *w, const char *what, moa_worklog_fn each, void *ctx, int64_t *end, moa_err *err) {
    char *text, where[PATH_BYTES + 32];
    size_t n;
    moa_jsonl r;
    json_t *o;
    int rc;
    MOA_TRY(moa_read_file(&text, &n, w->work, MAX_FILE, err));
    while (n && text[n - 1] != '\n') n--;
    *end = (int64_t)n;
    moa_jsonl_text(&r, text, n, w->work);
    for (int first = 1; (rc = moa_jsonl_next(&o, &r, err)) > 0; first = 0) {
        snprintf(where, sizeof where, "%s:%zu", w->work, r.line);
        rc = first ? check_head(o, w, what, err) : each(ctx, o, where, err);
        json_decref(o);
        if (rc < 0) break;
    }
    moa_jsonl_close(&r);
    free(text);
    return rc;
}

static int begin(moa_worklog *w, const char *what, bool fresh, moa_worklog_fn each, void *ctx, moa_err *err) {
    int64_t end = 0;
    w->fd = open(w->work, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (w->fd < 0) return moa_fail(err, MOA_EIO, "%s: cannot write: %s", w->work, strerror(errno));
    if (flock(w->fd, LOCK_EX | LOCK_NB) != 0) return moa_fail(err, MOA_EINVAL, "%s: another process works on it", w->work);
    if (!fresh) MOA_TRY(read_work(w, what, each, ctx, &end, err));
    if (ftruncate(w->fd, end) != 0) return moa_fail(err, MOA_EIO, "%s: cannot cut its unfinished line: %s", w->work, strerror(errno));
    if (end) return 0;
    if (!fresh && access(w->path, F_OK) == 0) {
        unlink(w->work);
        const int rc = moa_fail(err, MOA_EINVAL, "%s is there already, and finished", w->path);
        return moa_hint(err, rc, "choose another file, or make it anew with --fresh");
    }
    return write_head(w, what, err);
}

int moa_worklog_open(moa_worklog **out, const char *path, const char *what, bool fresh, moa_worklog_fn each, void *ctx, moa_err *err) {
    moa_worklog *w = *out = calloc(1, sizeof *w);
    if (!w) return moa_fail(err, MOA_ENOMEM, "the work on %s", path);
    w->fd = -1;
    const int n = snprintf(w->work, sizeof w->work, "%s.work", path);
    int rc = n < (int)sizeof w->work ? 0 : moa_fail(err, MOA_EINVAL, "the file's name is too long");
    snprintf(w->path, sizeof w->path, "%s", path);
    if (rc >= 0) rc = begin(w, what, fresh, each, ctx, err);
    if (rc >= 0) return 0;
    moa_worklog_close(w);
    *out = NULL;
    return rc;
}

void moa_worklog_close(moa_worklog *w) {
    if (!w) return;
    if (w->fd >= 0) close(w->fd);
    free(w);
}

typedef struct finishing { moa_writer *w; moa_buf b; } finishing;

static int write_line(void *ctx, const json_t *piece, const char *where, moa_err *err) {
    finishing *f = ctx;
    const json_t *line = json_object_get(piece, "line");
    if (!line) return 0;
    moa_buf_clear(&f->b);
    moa_json_add(&f->b, line);
    moa_buf_adds(&f->b, "\n");
    if (f->b.failed) return moa_fail(err, f->b.failed, "%s", where);
    moa_writer_add(f->w, moa_buf_str(&f->b), f->b.len);
    return 0;
}

int moa_worklog_finish(moa_worklog *w, moa_err *err) {
    finishing f = {0};
    moa_jsonl r;
    json_t *o;
    char *text = NULL;
    size_t n = 0;
    moa_buf_init(&f.b, MAX_LINE);
    int rc = fsync(w->fd) == 0 ? moa_read_file(&text, &n, w->work, MAX_FILE, err) : moa_fail(err, MOA_EIO, "%s: %s", w->work, strerror(errno));
    if (rc >= 0) rc = moa_writer_open(&f.w, w->path, err);
    if (rc >= 0) {
        moa_jsonl_text(&r, text, n, w->work);
        while ((rc = moa_jsonl_next(&o, &r, err)) > 0) {
            rc = write_line(&f, o, w->work, err);
            json_decref(o);
            if (rc < 0) break;
        }
        moa_jsonl_close(&r);
        if (rc >= 0) rc = moa_writer_commit(f.w, err);
        else moa_writer_abort(f.w);
    }
    if (rc >= 0) unlink(w->work);
    free(text);
    moa_buf_deinit(&f.b);
    moa_worklog_close(w);
    return rc;
}
