/* origin.c - where a model came from: one small JSON file a model, so that no two pulls write the same one (see store.h).
 * SPDX-License-Identifier: Apache-2.0 */
#include "fetch/store.h"

#include "base/err.h"
#include "base/file.h"
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ORIGIN_MAX = 4 << 20 };

static int path_of(char *out, size_t n, const char *folder, const char *name, moa_err *err) {
    if (!moa_ref_name_ok(name)) return moa_fail(err, MOA_EUSAGE, "'%.200s' is no name of a model", name);
    if (snprintf(out, n, "%s/.pull/%s.origin", folder, name) >= (int)n) return moa_fail(err, MOA_ELIMIT, "%s: the path is too long", folder);
    return 0;
}

static int take(char *out, size_t n, const json_t *v, const char *key, const char *where, moa_err *err) {
    const char *s;
    MOA_TRY(moa_json_get_str(&s, v, key, "", where, err));
    if (strlen(s) >= n) return moa_fail(err, MOA_EFORMAT, "%s: \"%s\" is longer than %zu bytes", where, key, n - 1);
    memcpy(out, s, strlen(s) + 1);
    return 0;
}

static int read_file(moa_origin_file *f, const json_t *v, const char *where, moa_err *err) {
    long long size;
    MOA_TRY(take(f->name, sizeof f->name, v, "name", where, err));
    MOA_TRY(take(f->sha256, sizeof f->sha256, v, "sha256", where, err));
    MOA_TRY(take(f->etag, sizeof f->etag, v, "etag", where, err));
    MOA_TRY(moa_json_get_int(&size, v, "size", -1, where, err));
    f->size = size;
    return moa_ref_path_ok(f->name) ? 0 : moa_fail(err, MOA_EFORMAT, "%s: '%s' is no name of a file", where, f->name);
}

static int read_all(moa_origin *o, const json_t *v, const char *where, moa_err *err) {
    MOA_TRY(take(o->source, sizeof o->source, v, "source", where, err));
    MOA_TRY(take(o->revision, sizeof o->revision, v, "revision", where, err));
    MOA_TRY(take(o->date, sizeof o->date, v, "date", where, err));
    const json_t *list = json_object_get(v, "files");
    const size_t n = json_array_size(list);
    o->file = calloc(n ? n : 1, sizeof *o->file);
    if (!o->file) return moa_fail(err, MOA_ENOMEM, "%s: no memory", where);
    for (size_t i = 0; i < n; i++, o->n_file++) MOA_TRY(read_file(&o->file[i], json_array_get(list, i), where, err));
    return 0;
}

int moa_origin_read(moa_origin *out, const char *folder, const char *name, moa_err *err) {
    char path[4096];
    json_t *v;
    *out = (moa_origin){0};
    MOA_TRY(path_of(path, sizeof path, folder, name, err));
    MOA_TRY(moa_json_read(&v, path, ORIGIN_MAX, err));
    const int rc = read_all(out, v, path, err);
    json_decref(v);
    if (rc < 0) moa_origin_free(out);
    return rc;
}

static void put(moa_buf *b, const char *key, const char *value) {
    moa_buf_addf(b, "\"%s\":", key);
    moa_json_add_str(b, value, strlen(value));
}

int moa_origin_write(const moa_origin *o, const char *folder, const char *name, moa_err *err) {
    char path[4096];
    moa_writer *w;
    moa_buf b;
    MOA_TRY(path_of(path, sizeof path, folder, name, err));
    moa_buf_init(&b, ORIGIN_MAX);
    moa_buf_adds(&b, "{");
    put(&b, "source", o->source);
    moa_buf_adds(&b, ",");
    put(&b, "revision", o->revision);
    moa_buf_adds(&b, ",");
    put(&b, "date", o->date);
    moa_buf_adds(&b, ",\"files\":[");
    for (int i = 0; i < o->n_file; i++) {
        moa_buf_adds(&b, i ? ",\n{" : "\n{");
        put(&b, "name", o->file[i].name);
        moa_buf_addf(&b, ",\"size\":%lld,", (long long)o->file[i].size);
        put(&b, "sha256", o->file[i].sha256);
        moa_buf_adds(&b, ",");
        put(&b, "etag", o->file[i].etag);
        moa_buf_adds(&b, "}");
    }
    moa_buf_adds(&b, "]}\n");
    int rc = b.failed ? moa_fail(err, b.failed, "%s: cannot be written", path) : moa_writer_open(&w, path, err);
    if (rc == 0) {
        moa_writer_add(w, b.data, b.len);
        rc = moa_writer_commit(w, err);
    }
    moa_buf_deinit(&b);
    return rc;
}

const moa_origin_file *moa_origin_find(const moa_origin *o, const char *file) {
    for (int i = 0; i < o->n_file; i++)
        if (!strcmp(o->file[i].name, file)) return &o->file[i];
    return NULL;
}

void moa_origin_free(moa_origin *o) {
    free(o->file);
    *o = (moa_origin){0};
}
