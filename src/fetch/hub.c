/* hub.c - see hub.h: the listing of a repository. One request tells everything: GET /api/models/OWNER/REPO/revision/REV
 * with blobs=true answers {"sha": commit, "siblings": [{"rfilename", "size", "lfs": {"sha256" (or "oid"), "size"}}]}.
 * SPDX-License-Identifier: Apache-2.0 */
#include "fetch/hub.h"

#include "base/err.h"
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_path(const void *a, const void *b) { return strcmp(((const moa_hub_file *)a)->path, ((const moa_hub_file *)b)->path); }

/* 1: kept in *f; 0: a name that is refused. */
static int read_file(moa_hub_file *f, const json_t *v, const char *name, moa_err *err) {
    const char *path, *sum;
    long long size, big;
    if (!json_is_object(v)) return moa_fail(err, MOA_EFORMAT, "%s: an entry of \"siblings\" is no object", name);
    MOA_TRY(moa_json_get_str(&path, v, "rfilename", NULL, name, err));
    if (!path) return moa_fail(err, MOA_EFORMAT, "%s: an entry of \"siblings\" has no \"rfilename\"", name);
    if (!moa_ref_path_ok(path)) return 0;
    *f = (moa_hub_file){.size = -1};
    memcpy(f->path, path, strlen(path) + 1);
    const json_t *lfs = json_object_get(v, "lfs");
    if (!json_is_null(json_object_get(v, "size"))) {
        MOA_TRY(moa_json_get_int(&size, v, "size", -1, name, err));
        if (size >= -1) f->size = size;
    }
    if (json_is_object(lfs)) {
        MOA_TRY(moa_json_get_int(&big, lfs, "size", -1, name, err));
        MOA_TRY(moa_json_get_str(&sum, lfs, "sha256", NULL, name, err));
        if (!sum) MOA_TRY(moa_json_get_str(&sum, lfs, "oid", "", name, err));
        if (big >= 0) f->size = big;
        if (!moa_sha256_parse(f->sha256, sum)) f->sha256[0] = 0;
    }
    return 1;
}

static int read_repo(moa_hub_repo *out, const json_t *v, const char *name, moa_err *err) {
    const char *commit;
    if (!json_is_object(v)) return moa_fail(err, MOA_EFORMAT, "%s: the answer is no JSON object", name);
    MOA_TRY(moa_json_get_str(&commit, v, "sha", NULL, name, err));
    if (!commit || strlen(commit) >= sizeof out->commit || !moa_ref_name_ok(commit)) return moa_fail(err, MOA_EFORMAT, "%s: no \"sha\" of the revision", name);
    memcpy(out->commit, commit, strlen(commit) + 1);
    const json_t *list = json_object_get(v, "siblings");
    if (!json_is_array(list)) return moa_fail(err, MOA_EFORMAT, "%s: no \"siblings\", the list of files", name);
    const size_t n = json_array_size(list);
    if (n > MOA_HUB_FILES_MAX) return moa_fail(err, MOA_ELIMIT, "%s: %zu files, at most %d are read", name, n, MOA_HUB_FILES_MAX);
    out->file = calloc(n ? n : 1, sizeof *out->file);
    if (!out->file) return moa_fail(err, MOA_ENOMEM, "%s: no memory for its list of files", name);
    for (size_t i = 0; i < n; i++) {
        const int rc = read_file(&out->file[out->n_file], json_array_get(list, i), name, err);
        if (rc < 0) return rc;
        if (rc) out->n_file++;
        else out->n_refused++;
    }
    qsort(out->file, (size_t)out->n_file, sizeof *out->file, by_path);
    for (int i = 1; i < out->n_file; i++)
        if (!strcmp(out->file[i - 1].path, out->file[i].path)) return moa_fail(err, MOA_EFORMAT, "%s: '%s' is listed twice", name, out->file[i].path);
    return 0;
}

int moa_hub_parse(moa_hub_repo *out, const char *json, size_t n, const char *name, moa_err *err) {
    json_t *v;
    *out = (moa_hub_repo){0};
    MOA_TRY(moa_json_parse(&v, json, n, MOA_HUB_LIST_BYTES, name, err));
    const int rc = read_repo(out, v, name, err);
    json_decref(v);
    if (rc < 0) moa_hub_free(out);
    return rc;
}

void moa_hub_free(moa_hub_repo *r) {
    free(r->file);
    *r = (moa_hub_repo){0};
}

static int collect(void *ctx, const void *p, size_t n, moa_err *err) {
    moa_buf *b = ctx;
    const int rc = moa_buf_add(b, p, n);
    return rc < 0 ? moa_fail(err, rc, "the list of files is longer than %d MB", MOA_HUB_LIST_BYTES >> 20) : 0;
}

int moa_hub_list(moa_hub_repo *out, moa_http *h, const char *endpoint, const moa_ref *ref, moa_retry *retry, const moa_fetch_watch *w, moa_err *err) {
    char url[MOA_REF_URL_MAX], rev[3 * MOA_REF_NAME_MAX + 1], name[2 * MOA_REF_NAME_MAX + 8];
    *out = (moa_hub_repo){0};
    if (!moa_ref_escape(rev, sizeof rev, ref->rev, false)) return moa_fail(err, MOA_ELIMIT, "the revision's name is too long");
    snprintf(name, sizeof name, "%s/%s", ref->owner, ref->repo);
    if (snprintf(url, sizeof url, "%s/api/models/%s/revision/%s?blobs=true", endpoint, name, rev) >= (int)sizeof url)
        return moa_fail(err, MOA_ELIMIT, "%s: the URL is too long", name);
    moa_buf b;
    moa_buf_init(&b, MOA_HUB_LIST_BYTES);
    const moa_http_sink sink = {.data = collect, .ctx = &b};
    moa_http_reply r;
    moa_err own = {0};
    int rc;
    while ((rc = moa_http_get(h, &r, url, 0, NULL, &sink, &own)) < 0 && rc != MOA_ECANCELED) {
        moa_buf_clear(&b);
        if ((rc = moa_retry_wait(retry, &r, w, &own)) < 0) break;
    }
    if (rc == 0) rc = moa_hub_parse(out, moa_buf_str(&b), b.len, name, &own);
    moa_buf_deinit(&b);
    if (rc < 0 && err) *err = own;
    return rc;
}

int moa_hub_url(char out[MOA_REF_URL_MAX], const char *endpoint, const moa_ref *ref, const char *commit, const char *path, moa_err *err) {
    char file[3 * MOA_REF_PATH_MAX + 1];
    if (!moa_ref_escape(file, sizeof file, path, true) ||
        snprintf(out, MOA_REF_URL_MAX, "%s/%s/%s/resolve/%s/%s", endpoint, ref->owner, ref->repo, commit, file) >= MOA_REF_URL_MAX)
        return moa_fail(err, MOA_ELIMIT, "%s: the URL is too long", path);
    return 0;
}
