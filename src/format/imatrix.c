/* imatrix.c - importance matrices in two formats, from strangers like every file.
 *
 *   GGUF   general.type "imatrix"; imatrix.datasets [str], imatrix.chunk_count u32, imatrix.chunk_size u32;
 *          NAME.in_sum2 f32 [n_mat, n_in] sums of squares, NAME.counts f32 [n_mat, 1] rows
 *   .dat   i32 n_entry; each: i32 length and name, i32 calls, i32 n_value, f32 value[n_value] = mean square * calls;
 *          then, or the end of the file: i32 chunks, i32 length and name of the text
 * Sources: imatrix tools of the llama.cpp and ik_llama.cpp projects (formats, not code).
 * SPDX-License-Identifier: Apache-2.0 */
#include "format/imatrix.h"

#include "base/err.h"
#include "base/file.h"
#include "format/gguf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ENTRY = 1 << 20, MAX_NAME = 1024 };

moa_imatrix *moa_imatrix_new(void) { return calloc(1, sizeof(moa_imatrix)); }

void moa_imatrix_free(moa_imatrix *m) {
    if (!m) return;
    for (int i = 0; i < m->n_entry; i++) free(m->entry[i].name), free(m->entry[i].sum), free(m->entry[i].count);
    free(m->entry);
    free(m->text);
    free(m->model);
    free(m);
}

/* Entries are few hundreds and kept in order of names: reading adds in order mostly, looking up is a bisection. */
static int place(const moa_imatrix *m, const char *name, bool *found) {
    int lo = 0, hi = m->n_entry;
    while (lo < hi) {
        const int mid = (lo + hi) / 2;
        if (strcmp(m->entry[mid].name, name) < 0) lo = mid + 1;
        else hi = mid;
    }
    *found = lo < m->n_entry && !strcmp(m->entry[lo].name, name);
    return lo;
}

const moa_imatrix_entry *moa_imatrix_find(const moa_imatrix *m, const char *name) {
    bool found;
    const int at = place(m, name, &found);
    return found ? &m->entry[at] : NULL;
}

moa_imatrix_entry *moa_imatrix_add(moa_imatrix *m, const char *name, int64_t n_mat, int64_t n_in) {
    bool found;
    const int at = place(m, name, &found);
    if (found) {
        moa_imatrix_entry *e = &m->entry[at];
        return e->n_mat == n_mat && e->n_in == n_in ? e : NULL;
    }
    if ((m->n_entry & (m->n_entry - 1)) == 0) { /* room doubles at powers of two */
        moa_imatrix_entry *more = realloc(m->entry, (m->n_entry ? (size_t)m->n_entry * 2 : 1) * sizeof *more);
        if (!more) return NULL;
        m->entry = more;
    }
    moa_imatrix_entry e = {strdup(name), n_in, n_mat, calloc((size_t)(n_mat * n_in), sizeof(double)), calloc((size_t)n_mat, sizeof(double))};
    if (!e.name || !e.sum || !e.count) {
        free(e.name), free(e.sum), free(e.count);
        return NULL;
    }
    memmove(m->entry + at + 1, m->entry + at, (size_t)(m->n_entry - at) * sizeof e);
    m->entry[at] = e;
    m->n_entry++;
    return &m->entry[at];
}

static bool mean_of(float *out, const moa_imatrix_entry *e, int64_t mat) {
    const int64_t first = e->count[mat] > 0 ? mat : 0, end = e->count[mat] > 0 ? mat + 1 : e->n_mat;
    double rows = 0;
    for (int64_t k = first; k < end; k++) rows += e->count[k];
    if (!(rows > 0)) return false;
    for (int64_t j = 0; j < e->n_in; j++) {
        double sum = 0;
        for (int64_t k = first; k < end; k++) sum += e->sum[k * e->n_in + j];
        out[j] = (float)(sum / rows);
    }
    return true;
}

bool moa_imatrix_mean(float *out, const moa_imatrix_entry *e, int64_t n_mat, int64_t n_in, int64_t mat) {
    if (e->n_mat == n_mat && e->n_in == n_in) return mean_of(out, e, mat);
    if (e->n_mat != 1 || e->n_in != n_mat * n_in || !(e->count[0] > 0)) return false;
    for (int64_t j = 0; j < n_in; j++) out[j] = (float)(e->sum[mat * n_in + j] / e->count[0]); /* from a .dat: all experts in one row */
    return true;
}

/* ---- GGUF ---- */

static bool ends(const char *s, const char *with) {
    const size_t n = strlen(s), k = strlen(with);
    return n > k && !strcmp(s + n - k, with);
}

static int bad_value(const char *path, const char *name, moa_err *err) {
    return moa_fail(err, MOA_EFORMAT, "%s: '%s' holds a value that is negative or no number", path, name);
}

/* NAME.in_sum2 and the NAME.counts that belongs to it. */
static int read_pair(moa_imatrix *m, const moa_gguf *g, const moa_tensor *sums, moa_err *err) {
    char name[MAX_NAME + 1], other[MAX_NAME + 16];
    const char *path = moa_gguf_path(g);
    const size_t n = strlen(sums->name) - strlen(".in_sum2");
    if (n > MAX_NAME) return moa_fail(err, MOA_ELIMIT, "%s: a name of %zu bytes, at most %d are read", path, n, MAX_NAME);
    snprintf(name, sizeof name, "%.*s", (int)n, sums->name);
    snprintf(other, sizeof other, "%s.counts", name);
    const moa_tensor *counts = moa_gguf_tensor(g, other);
    if (!counts) return moa_fail(err, MOA_ENOTFOUND, "%s: tensor '%s' is missing", path, other);
    const int64_t n_in = moa_cols(sums), n_mat = moa_rows(sums);
    if (sums->dtype != MOA_F32 || counts->dtype != MOA_F32 || moa_tensor_count(counts) != n_mat)
        return moa_fail(err, MOA_EFORMAT, "%s: '%s' has %lld counts for %lld matrices, expected F32 and as many", path, name,
                        (long long)moa_tensor_count(counts), (long long)n_mat);
    moa_imatrix_entry *e = moa_imatrix_add(m, name, n_mat, n_in);
    if (!e) return moa_fail(err, MOA_ENOMEM, "%s: no memory for '%s'", path, name);
    const float *s = sums->data, *c = counts->data;
    for (int64_t i = 0; i < n_mat * n_in; i++) {
        if (!(s[i] >= 0 && isfinite(s[i]))) return bad_value(path, sums->name, err);
        e->sum[i] = s[i];
    }
    for (int64_t i = 0; i < n_mat; i++) {
        if (!(c[i] >= 0 && isfinite(c[i]))) return bad_value(path, other, err);
        e->count[i] = c[i];
    }
    return 0;
}

static int copy_str(char **out, moa_str s, moa_err *err) {
    *out = malloc(s.n + 1);
    if (!*out) return moa_fail(err, MOA_ENOMEM, "no memory for a name");
    memcpy(*out, s.p, s.n);
    (*out)[s.n] = 0;
    return 0;
}

static int read_gguf(moa_imatrix *m, const moa_gguf *g, moa_err *err) {
    moa_str type, model;
    uint32_t chunks, size;
    MOA_TRY(moa_gguf_str(&type, g, "general.type", "", err));
    if (type.n != 7 || memcmp(type.p, "imatrix", 7)) {
        moa_fail(err, MOA_EFORMAT, "%s: general.type is '%.*s', expected 'imatrix'", moa_gguf_path(g), (int)(type.n < 40 ? type.n : 40), type.p);
        return moa_hint(err, MOA_EFORMAT, "moa imatrix MODEL TEXT -o FILE makes one");
    }
    MOA_TRY(moa_gguf_u32(&chunks, g, "imatrix.chunk_count", 0, err));
    MOA_TRY(moa_gguf_u32(&size, g, "imatrix.chunk_size", 0, err));
    if (chunks > INT32_MAX || size > INT32_MAX) return moa_fail(err, MOA_EFORMAT, "%s: %u chunks of %u tokens", moa_gguf_path(g), chunks, size);
    m->chunks = (int)chunks, m->chunk_size = (int)size;
    const moa_gguf_kv *texts = moa_gguf_find(g, "imatrix.datasets"), *hash = moa_gguf_find(g, "moa.imatrix.text_hash");
    if (texts && texts->type == MOA_GGUF_ARR && texts->elem == MOA_GGUF_STR && texts->count)
        MOA_TRY(copy_str(&m->text, moa_gguf_arr_str(texts, 0), err));
    if (hash && hash->type == MOA_GGUF_U64) m->text_hash = (uint64_t)moa_gguf_arr_int(hash, 0);
    MOA_TRY(moa_gguf_str(&model, g, "moa.imatrix.model", "", err));
    if (model.n) MOA_TRY(copy_str(&m->model, model, err));
    for (int i = 0; i < moa_gguf_n_tensor(g); i++) {
        const moa_tensor *t = moa_gguf_tensor_at(g, i);
        if (ends(t->name, ".in_sum2")) MOA_TRY(read_pair(m, g, t, err));
    }
    return 0;
}

static int write_gguf(const moa_imatrix *m, const char *path, moa_err *err) {
    moa_gguf_out *o = moa_gguf_out_new();
    float **data = calloc((size_t)m->n_entry * 2 + 1, sizeof *data);
    int rc = o && data ? 0 : moa_fail(err, MOA_ENOMEM, "%s: no memory", path);
    if (rc >= 0) {
        moa_gguf_put_str(o, "general.type", "imatrix", 7);
        moa_gguf_put_strs(o, "imatrix.datasets", &(moa_str){m->text ? m->text : "", m->text ? strlen(m->text) : 0}, 1);
        moa_gguf_put_u32(o, "imatrix.chunk_count", (uint32_t)m->chunks);
        moa_gguf_put_u32(o, "imatrix.chunk_size", (uint32_t)m->chunk_size);
        moa_gguf_put_u64(o, "moa.imatrix.text_hash", m->text_hash);
        if (m->model) moa_gguf_put_str(o, "moa.imatrix.model", m->model, strlen(m->model));
    }
    for (int i = 0; rc >= 0 && i < m->n_entry; i++) {
        const moa_imatrix_entry *e = &m->entry[i];
        char name[MAX_NAME + 16];
        const int64_t n = e->n_mat * e->n_in;
        float *s = data[2 * i] = malloc((size_t)n * sizeof *s), *c = data[2 * i + 1] = malloc((size_t)e->n_mat * sizeof *c);
        if (!s || !c) {
            rc = moa_fail(err, MOA_ENOMEM, "%s: no memory for '%s'", path, e->name);
            break;
        }
        for (int64_t k = 0; k < n; k++) s[k] = (float)e->sum[k];
        for (int64_t k = 0; k < e->n_mat; k++) c[k] = (float)e->count[k];
        const moa_tensor ts = moa_view2(MOA_F32, s, e->n_mat, e->n_in), tc = moa_view2(MOA_F32, c, e->n_mat, 1);
        snprintf(name, sizeof name, "%.*s.in_sum2", MAX_NAME, e->name);
        moa_gguf_put_tensor(o, name, &ts);
        snprintf(name, sizeof name, "%.*s.counts", MAX_NAME, e->name);
        moa_gguf_put_tensor(o, name, &tc);
    }
    if (rc >= 0) rc = moa_gguf_write(o, path, err);
    for (int i = 0; data && i < 2 * m->n_entry; i++) free(data[i]);
    free(data);
    moa_gguf_out_free(o);
    return rc;
}

/* ---- .dat ---- */

typedef struct reader { const uint8_t *p, *end; const char *name; moa_err *err; } reader;

static int cut(const reader *r, const char *what) {
    moa_fail(r->err, MOA_EFORMAT, "%s: %s is cut off or out of range", r->name, what);
    return moa_hint(r->err, MOA_EFORMAT, "expected an importance matrix: GGUF (general.type imatrix) or the older .dat");
}

static int get_i32(reader *r, int32_t *v, int32_t lo, int32_t hi, const char *what) {
    if (r->end - r->p < 4) return cut(r, what);
    memcpy(v, r->p, 4);
    r->p += 4;
    return *v >= lo && *v <= hi ? 0 : cut(r, what);
}

static int get_name(reader *r, char out[MAX_NAME + 1], const char *what) {
    int32_t n;
    MOA_TRY(get_i32(r, &n, 0, MAX_NAME, what));
    if (r->end - r->p < n || memchr(r->p, 0, (size_t)n)) return cut(r, what);
    memcpy(out, r->p, (size_t)n);
    out[n] = 0;
    r->p += n;
    return 0;
}

/* The format does not say how many experts an entry has: n_mat stays 1 and the user of the entry divides. */
static int read_dat_entry(moa_imatrix *m, reader *r) {
    char name[MAX_NAME + 1];
    int32_t calls, n;
    MOA_TRY(get_name(r, name, "a name"));
    MOA_TRY(get_i32(r, &calls, 0, INT32_MAX, "a number of calls"));
    MOA_TRY(get_i32(r, &n, 1, INT32_MAX, "a number of values"));
    if ((r->end - r->p) / 4 < n) return cut(r, name);
    bool found;
    place(m, name, &found);
    if (found) return moa_fail(r->err, MOA_EFORMAT, "%s: '%s' given twice", r->name, name);
    moa_imatrix_entry *e = moa_imatrix_add(m, name, 1, n);
    if (!e) return moa_fail(r->err, MOA_ENOMEM, "%s: no memory for '%s'", r->name, name);
    e->count[0] = calls ? calls : 1;
    for (int32_t i = 0; i < n; i++, r->p += 4) {
        float v;
        memcpy(&v, r->p, 4);
        if (!(v >= 0 && isfinite(v))) return bad_value(r->name, name, r->err);
        e->sum[i] = v;
    }
    return 0;
}

static int read_dat(moa_imatrix *m, const uint8_t *data, size_t n, const char *name, moa_err *err) {
    reader r = {data, data + n, name, err};
    int32_t entries, chunks;
    char text[MAX_NAME + 1];
    MOA_TRY(get_i32(&r, &entries, 1, MAX_ENTRY, "the number of entries"));
    for (int32_t i = 0; i < entries; i++) MOA_TRY(read_dat_entry(m, &r));
    if (r.p == r.end) return 0;
    MOA_TRY(get_i32(&r, &chunks, 0, INT32_MAX, "the number of chunks"));
    MOA_TRY(get_name(&r, text, "the name of the text"));
    m->chunks = chunks;
    return copy_str(&m->text, (moa_str){text, strlen(text)}, err);
}

static void add_i32(moa_writer *w, int64_t v) { moa_writer_add(w, &(int32_t){(int32_t)v}, 4); }

/* mean: room for one row. */
static void write_dat_entry(moa_writer *w, const moa_imatrix *m, const moa_imatrix_entry *e, float *mean) {
    const int calls = m->chunks ? m->chunks : 1;
    const size_t len = strlen(e->name);
    add_i32(w, (int64_t)len);
    moa_writer_add(w, e->name, len);
    add_i32(w, calls);
    add_i32(w, e->n_mat * e->n_in);
    for (int64_t k = 0; k < e->n_mat; k++) {
        const bool any = mean_of(mean, e, k);
        for (int64_t j = 0; j < e->n_in; j++) mean[j] = (any ? mean[j] : 1.0f) * (float)calls;
        moa_writer_add(w, mean, (size_t)e->n_in * sizeof *mean);
    }
}

static int write_dat(const moa_imatrix *m, const char *path, moa_err *err) {
    moa_writer *w;
    int64_t longest = 1;
    for (int i = 0; i < m->n_entry; i++) {
        const moa_imatrix_entry *e = &m->entry[i];
        if (e->n_mat * e->n_in > INT32_MAX)
            return moa_fail(err, MOA_ELIMIT, "%s: '%s' is too large for the .dat format; give the file another ending", path, e->name);
        if (e->n_in > longest) longest = e->n_in;
    }
    float *mean = malloc((size_t)longest * sizeof *mean);
    int rc = mean ? moa_writer_open(&w, path, err) : moa_fail(err, MOA_ENOMEM, "%s: no memory for a row", path);
    if (rc >= 0) {
        const char *text = m->text ? m->text : "";
        add_i32(w, m->n_entry);
        for (int i = 0; i < m->n_entry; i++) write_dat_entry(w, m, &m->entry[i], mean);
        add_i32(w, m->chunks);
        add_i32(w, (int64_t)strlen(text));
        moa_writer_add(w, text, strlen(text));
        rc = moa_writer_commit(w, err);
    }
    free(mean);
    return rc;
}

/* ---- both ---- */

int moa_imatrix_read_memory(moa_imatrix **out, const void *data, size_t n, const char *name, moa_err *err) {
    moa_gguf *g = NULL;
    moa_imatrix *m = moa_imatrix_new();
    *out = NULL;
    int rc = m ? 0 : moa_fail(err, MOA_ENOMEM, "%s: no memory", name);
    if (rc >= 0 && n >= 4 && !memcmp(data, "GGUF", 4)) {
        rc = moa_gguf_open_memory(&g, data, n, name, err);
        if (rc >= 0) rc = read_gguf(m, g, err);
        moa_gguf_close(g);
    } else if (rc >= 0) {
        rc = read_dat(m, data, n, name, err);
    }
    if (rc >= 0 && !m->n_entry) rc = moa_fail(err, MOA_EFORMAT, "%s: holds no entry of an importance matrix", name);
    if (rc < 0) moa_imatrix_free(m);
    else *out = m;
    return rc;
}

int moa_imatrix_read(moa_imatrix **out, const char *path, moa_err *err) {
    moa_map map;
    *out = NULL;
    MOA_TRY(moa_map_open(&map, path, err));
    const int rc = moa_imatrix_read_memory(out, map.data, map.size, path, err);
    moa_map_close(&map);
    return rc;
}

int moa_imatrix_write(const moa_imatrix *m, const char *path, moa_err *err) {
    return ends(path, ".dat") ? write_dat(m, path, err) : write_gguf(m, path, err);
}
