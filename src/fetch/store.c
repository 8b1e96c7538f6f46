/* store.c - see store.h. SPDX-License-Identifier: Apache-2.0 */
#include "fetch/store.h"

#include "base/err.h"
#include "base/json.h"
#include "base/utf8.h"
#include "format/gguf.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CONFIG_MAX = 4 << 20 };

void moa_store_name(char out[MOA_REF_NAME_MAX], const char *file) {
    size_t stem;
    int i, n;
    size_t k = strcspn(file, "/");
    if (!file[k]) {
        if (moa_ref_split(file, &stem, &i, &n)) k = stem;
        else if (moa_ref_ends(file, ".gguf") && k > 5) k -= 5;
    }
    if (k >= MOA_REF_NAME_MAX) k = MOA_REF_NAME_MAX - 1;
    memcpy(out, file, k);
    out[k] = 0;
}

bool moa_store_part(char *out, size_t n, const char *folder, const char *file) {
    const int k = snprintf(out, n, "%s/.pull/", folder);
    if (k < 0 || (size_t)k >= n || snprintf(out + k, n - (size_t)k, "%s.part", file) >= (int)(n - (size_t)k)) return false;
    for (char *s = out + k; *s; s++)
        if (*s == '/') *s = '%';
    return true;
}

/* ---- what a model is ---- */

static void describe_gguf(moa_stored *s, const char *path) {
    moa_gguf *g;
    moa_str arch;
    moa_err err = {0};
    uint64_t bytes[MOA_DTYPE_MAX] = {0};
    if (moa_gguf_open(&g, path, &err) < 0) {
        const size_t n = strlen(path);
        snprintf(s->problem, sizeof s->problem, "%.300s", !strncmp(err.text, path, n) && err.text[n] == ':' ? err.text + n + 2 : err.text);
        return;
    }
    moa_dtype most = 0;
    for (int i = 0; i < moa_gguf_n_tensor(g); i++) {
        const moa_tensor *t = moa_gguf_tensor_at(g, i);
        bytes[t->dtype] += moa_tensor_bytes(t);
        if (bytes[t->dtype] > bytes[most]) most = t->dtype;
    }
    const moa_type *type = moa_type_get(most);
    moa_str kind = {0};
    snprintf(s->type, sizeof s->type, "%s", type && moa_gguf_n_tensor(g) ? type->name : "");
    if (moa_gguf_str(&kind, g, "general.type", "model", NULL) >= 0 && (kind.n != 5 || memcmp(kind.p, "model", 5)))
        snprintf(s->type, sizeof s->type, "%.*s", kind.n < 20 ? (int)kind.n : 20, kind.p); /* "adapter", "imatrix", "mmproj" */
    if (moa_gguf_str(&arch, g, "general.architecture", "", NULL) >= 0) snprintf(s->arch, sizeof s->arch, "%.*s", (int)(arch.n < 60 ? arch.n : 60), arch.p);
    moa_gguf_close(g);
}

/* dir/name, where that is a file. */
static bool is_in(char file[4096], const char *dir, const char *name) {
    struct stat st;
    return snprintf(file, 4096, "%s/%s", dir, name) < 4096 && stat(file, &st) == 0 && S_ISREG(st.st_mode);
}

static void describe_folder(moa_stored *s, const char *path) {
    char file[4096];
    json_t *v;
    const char *arch = "", *type = "";
    moa_err err = {0};
    if (!is_in(file, path, "config.json")) {
        snprintf(s->type, sizeof s->type, "adapter");
        return;
    }
    if (moa_json_read(&v, file, CONFIG_MAX, &err) < 0) {
        snprintf(s->problem, sizeof s->problem, "%.300s", err.text);
        return;
    }
    if (moa_json_get_str(&arch, v, "model_type", "", file, NULL) < 0) arch = "";
    if (moa_json_get_str(&type, v, "torch_dtype", "", file, NULL) < 0) type = "";
    if (!*type && moa_json_get_str(&type, v, "dtype", "", file, NULL) < 0) type = "";
    snprintf(s->arch, sizeof s->arch, "%.60s", arch);
    snprintf(s->type, sizeof s->type, "%.20s", !strcmp(type, "bfloat16") ? "BF16" : !strcmp(type, "float16") ? "F16" : !strcmp(type, "float32") ? "F32" : type);
    json_decref(v);
}

static void describe(moa_stored *s, const char *folder) {
    char path[4096];
    moa_origin o;
    struct stat st;
    if (snprintf(path, sizeof path, "%s/%s", folder, s->file) >= (int)sizeof path) return;
    if (s->n_split > 1 && s->n_file < s->n_split) snprintf(s->problem, sizeof s->problem, "%d of %d parts are here", s->n_file, s->n_split);
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) describe_folder(s, path);
    else if (!s->problem[0]) describe_gguf(s, path);
    if (moa_ref_name_ok(s->name) && moa_origin_read(&o, folder, s->name, NULL) >= 0) {
        memcpy(s->source, o.source, sizeof s->source);
        memcpy(s->revision, o.revision, sizeof s->revision);
        moa_origin_free(&o);
    }
    char *const text[] = {s->name, s->file, s->type, s->arch, s->problem, s->source, s->revision};
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) moa_utf8_tame(text[i], false); /* they go to terminals */
}

/* ---- the list ---- */

typedef struct rows { moa_stored *row; int n, cap; } rows;

static moa_stored *new_row(rows *r) {
    if (r->n == r->cap) {
        const int cap = r->cap ? 2 * r->cap : 16;
        moa_stored *p = realloc(r->row, (size_t)cap * sizeof *p);
        if (!p) return NULL;
        r->row = p, r->cap = cap;
    }
    moa_stored *s = &r->row[r->n++];
    *s = (moa_stored){.total = -1, .n_split = 1};
    return s;
}

static int no_memory(moa_err *err) { return moa_fail(err, MOA_ENOMEM, "no memory for the list of models"); }

/* A .gguf file: a model, or one more part of a split one that is listed by its first name in order. */
static int add_gguf(rows *r, const char *name, int64_t bytes, moa_err *err) {
    size_t stem = 0;
    int i = 1, n = 1;
    char model[MOA_REF_NAME_MAX];
    const bool split = moa_ref_split(name, &stem, &i, &n);
    moa_store_name(model, name);
    moa_stored *s = NULL;
    for (int k = r->n - 1; split && k >= 0 && !s; k--)
        if (!r->row[k].partial && r->row[k].n_split == n && n > 1 && !strcmp(r->row[k].name, model)) s = &r->row[k];
    if (!s) {
        if (!(s = new_row(r))) return no_memory(err);
        memcpy(s->name, model, sizeof model);
        snprintf(s->file, sizeof s->file, "%s", name);
        s->n_split = n;
    }
    s->bytes += bytes;
    s->n_file++;
    return 0;
}

/* A folder counts when it holds a configuration, of a model or of an adapter. Sizes: of the files in it, one level, as pull makes them. */
static int add_folder(rows *r, const char *folder, const char *name, moa_err *err) {
    char path[4096], file[4096];
    struct stat st;
    struct dirent *e;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) return 0;
    if (!is_in(file, path, "config.json") && !is_in(file, path, "adapter_config.json")) return 0;
    DIR *d = opendir(path);
    moa_stored *s = d ? new_row(r) : NULL;
    if (!s) {
        if (d) closedir(d);
        return d ? no_memory(err) : 0;
    }
    snprintf(s->name, sizeof s->name, "%.*s", MOA_REF_NAME_MAX - 1, name);
    snprintf(s->file, sizeof s->file, "%s", name);
    while ((e = readdir(d)))
        if (e->d_name[0] != '.' && fstatat(dirfd(d), e->d_name, &st, 0) == 0 && S_ISREG(st.st_mode)) s->bytes += st.st_size, s->n_file++;
    closedir(d);
    return 0;
}

/* "REPO%FILE.part" -> "REPO/FILE"; false: it is no part. */
static bool part_file(char out[MOA_REF_PATH_MAX], const char *name) {
    const size_t n = strlen(name);
    if (n <= 5 || n - 5 >= MOA_REF_PATH_MAX || strcmp(name + n - 5, ".part")) return false;
    memcpy(out, name, n - 5);
    out[n - 5] = 0;
    for (char *s = out; *s; s++)
        if (*s == '%') *s = '/';
    return moa_ref_path_ok(out);
}

static int add_parts(rows *r, const char *folder, moa_err *err) {
    char path[4096], file[MOA_REF_PATH_MAX];
    struct stat st;
    struct dirent *e;
    json_t *v;
    int rc = 0;
    if (snprintf(path, sizeof path, "%s/.pull", folder) >= (int)sizeof path) return 0;
    DIR *d = opendir(path);
    while (rc == 0 && d && (e = readdir(d))) {
        if (!part_file(file, e->d_name) || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode)) continue;
        moa_stored *s = new_row(r);
        if (!s) {
            rc = no_memory(err);
            break;
        }
        moa_store_name(s->name, file);
        memcpy(s->file, file, sizeof file);
        s->partial = true;
        s->bytes = st.st_size;
        s->n_file = 1;
        if (snprintf(path, sizeof path, "%s/.pull/%s.json", folder, e->d_name) < (int)sizeof path && moa_json_read(&v, path, 64 << 10, NULL) >= 0) {
            long long total;
            const char *url;
            if (moa_json_get_int(&total, v, "size", -1, path, NULL) >= 0 && total >= 0) s->total = total;
            if (moa_json_get_str(&url, v, "url", "", path, NULL) >= 0) snprintf(s->source, sizeof s->source, "%s", url);
            json_decref(v);
        }
        moa_utf8_tame(s->source, false);
    }
    if (d) closedir(d);
    return rc;
}

static int by_name(const void *a, const void *b) {
    const moa_stored *x = a, *y = b;
    const int c = strcmp(x->name, y->name);
    return c ? c : x->partial != y->partial ? x->partial - y->partial : strcmp(x->file, y->file);
}

static int entry(const struct dirent *e) { return e->d_name[0] != '.' && strlen(e->d_name) < MOA_REF_NAME_MAX; }

int moa_store_list(moa_stored **out, int *n, const char *folder, moa_err *err) {
    struct dirent **e;
    char path[4096];
    struct stat st;
    rows r = {0};
    int rc = 0;
    *out = NULL, *n = 0;
    const int n_entry = scandir(folder, &e, entry, alphasort);
    if (n_entry < 0 && errno != ENOENT && errno != ENOTDIR) return moa_fail(err, MOA_EIO, "%s: cannot read the folder: %s", folder, strerror(errno));
    for (int i = 0; i < n_entry; i++) {
        const char *name = e[i]->d_name;
        if (rc == 0 && snprintf(path, sizeof path, "%s/%s", folder, name) < (int)sizeof path && stat(path, &st) == 0) {
            if (S_ISDIR(st.st_mode)) rc = add_folder(&r, folder, name, err);
            else if (S_ISREG(st.st_mode) && moa_ref_ends(name, ".gguf")) rc = add_gguf(&r, name, st.st_size, err);
        }
        free(e[i]);
    }
    if (n_entry >= 0) free(e);
    for (int i = 0; i < r.n; i++) describe(&r.row[i], folder);
    if (rc == 0) rc = add_parts(&r, folder, err);
    if (rc < 0) {
        free(r.row);
        return rc;
    }
    if (r.n) qsort(r.row, (size_t)r.n, sizeof *r.row, by_name);
    *out = r.row, *n = r.n;
    return 0;
}
