/* safetensors.c - reads .safetensors files out of a read-only mapping.
 *
 *   u64 n (little-endian) | n bytes of JSON, an object, spaces at its end allowed | data
 *   {"__metadata__": {"key": "text"}, "NAME": {"dtype": "F16", "shape": [2, 3], "data_offsets": [begin, end]}, ...}
 *
 * Offsets count from the end of the header. A file comes from strangers: all that could lead an access out of the mapping is
 * refused at open, and so is what two readers could understand differently (duplicate names, overlaps, gaps, bytes behind the
 * last tensor). Published files keep every tensor aligned to its element, old ones not always; data is therefore handed out
 * as bytes, and who needs alignment looks.
 *
 * Source: the format section of huggingface/safetensors' README.
 * SPDX-License-Identifier: Apache-2.0 */
#include "format/safetensors.h"

#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_HEADER = 32 << 20, /* bytes; one file with 200,000 tensors has about 20 MB */
    MAX_TENSOR = 1 << 18,
};

struct moa_safetensors {
    char *path;
    moa_map map; /* data NULL when the memory is the caller's */
    const uint8_t *data;
    size_t size; /* of the data */
    json_t *head;
    int n;
    moa_st_tensor *tensor;  /* by offset */
    const moa_st_tensor **by_name;
};

typedef struct dtype_row { const char *name; int bits; int id; } dtype_row; /* id -1: moa has no such weights */
static const dtype_row DTYPES[] = {
    {"F32", 32, MOA_F32}, {"F16", 16, MOA_F16}, {"BF16", 16, MOA_BF16}, {"F64", 64, MOA_F64}, {"I64", 64, MOA_I64},
    {"I32", 32, MOA_I32}, {"I16", 16, MOA_I16}, {"I8", 8, MOA_I8},      {"U8", 8, -1},        {"BOOL", 8, -1},
    {"U16", 16, -1},      {"U32", 32, -1},      {"U64", 64, -1},        {"F8_E4M3", 8, -1},   {"F8_E5M2", 8, -1},
    {"F8_E8M0", 8, -1},   {"C64", 64, -1},      {"F4", 4, -1},          {"F6_E2M3", 6, -1},   {"F6_E3M2", 6, -1},
};

static const dtype_row *dtype_find(const char *name) {
    for (size_t i = 0; i < sizeof DTYPES / sizeof *DTYPES; i++)
        if (strcmp(DTYPES[i].name, name) == 0) return &DTYPES[i];
    return NULL;
}

typedef struct shown { char s[68]; } shown;

/* A name for an error text: short, and without anything that could drive a terminal. */
static shown show(const char *p) {
    shown o;
    size_t n = strlen(p), k = n < 64 ? n : 61;
    for (size_t i = 0; i < k; i++) o.s[i] = p[i] >= 32 && p[i] < 127 ? p[i] : '?';
    memcpy(o.s + k, n < 64 ? "" : "...", n < 64 ? 1 : 4);
    return o;
}

/* ---- one row ---- */

static int read_count(uint64_t *out, const json_t *v, const moa_safetensors *s, const char *name, const char *what, moa_err *err) {
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return moa_fail(err, MOA_EFORMAT, "%s: tensor '%s': %s is not a number from 0", s->path, show(name).s, what);
    *out = (uint64_t)json_integer_value(v);
    return 0;
}

static int read_shape(moa_st_tensor *t, const json_t *shape, int bits, const moa_safetensors *s, moa_err *err) {
    const size_t n = json_array_size(shape);
    if (!json_is_array(shape) || n > MOA_ST_MAX_DIM)
        return moa_fail(err, MOA_EFORMAT, "%s: tensor '%s': shape has %zu dimensions, expected an array of at most %d", s->path,
                        show(t->name).s, n, MOA_ST_MAX_DIM);
    uint64_t total = (uint64_t)bits; /* bits first, so that no product of dimensions and bits can overflow unseen */
    bool over = false, empty = false;
    t->n_dim = (int)n;
    for (size_t i = 0; i < n; i++) {
        uint64_t v;
        MOA_TRY(read_count(&v, json_array_get(shape, i), s, t->name, "a dimension", err));
        t->shape[i] = (int64_t)v;
        empty = empty || v == 0;
        over = over || __builtin_mul_overflow(total, v ? v : 1, &total);
    }
    if (over || total % 8)
        return moa_fail(err, MOA_EFORMAT, "%s: tensor '%s': its shape needs %s bytes of %s", s->path, show(t->name).s,
                        over ? "more than 2^61" : "a fraction of", t->dtype);
    t->size = empty ? 0 : (size_t)(total / 8);
    return 0;
}

static int read_tensor(moa_st_tensor *t, const char *name, const json_t *v, const moa_safetensors *s, moa_err *err) {
    uint64_t from, to;
    const json_t *dtype = json_object_get(v, "dtype"), *at = json_object_get(v, "data_offsets");
    t->name = name;
    if (!json_is_object(v) || !json_is_string(dtype) || json_array_size(at) != 2)
        return moa_fail(err, MOA_EFORMAT, "%s: tensor '%s': expected an object with dtype, shape and two data_offsets", s->path,
                        show(name).s);
    t->dtype = json_string_value(dtype);
    const dtype_row *d = dtype_find(t->dtype);
    if (!d)
        return moa_fail(err, MOA_EUNSUPPORTED, "%s: tensor '%s': dtype '%s' is not known", s->path, show(name).s, show(t->dtype).s);
    MOA_TRY(read_shape(t, json_object_get(v, "shape"), d->bits, s, err));
    MOA_TRY(read_count(&from, json_array_get(at, 0), s, name, "data_offsets[0]", err));
    MOA_TRY(read_count(&to, json_array_get(at, 1), s, name, "data_offsets[1]", err));
    if (from > to || to > s->size) {
        moa_fail(err, MOA_EFORMAT, "%s: tensor '%s': data_offsets %llu to %llu, the data has %zu bytes", s->path, show(name).s,
                 (unsigned long long)from, (unsigned long long)to, s->size);
        return moa_hint(err, MOA_EFORMAT, "the file is cut off or damaged; fetch it again");
    }
    if (to - from != t->size)
        return moa_fail(err, MOA_EFORMAT, "%s: tensor '%s': data_offsets span %llu bytes, dtype %s and shape need %zu", s->path,
                        show(name).s, (unsigned long long)(to - from), t->dtype, t->size);
    t->data = s->data + from;
    return 0;
}

/* ---- the whole header ---- */

static int by_place(const void *pa, const void *pb) {
    const moa_st_tensor *a = pa, *b = pb;
    if (a->data != b->data) return a->data < b->data ? -1 : 1;
    if (a->size != b->size) return a->size < b->size ? -1 : 1; /* empty ones first */
    return strcmp(a->name, b->name);
}

static int by_name(const void *a, const void *b) { return strcmp((*(moa_st_tensor *const *)a)->name, (*(moa_st_tensor *const *)b)->name); }

/* Every byte of the data belongs to exactly one tensor. */
static int check_cover(const moa_safetensors *s, moa_err *err) {
    const uint8_t *end = s->data;
    for (int i = 0; i < s->n; i++) {
        const moa_st_tensor *t = &s->tensor[i];
        if (t->data < end)
            return moa_fail(err, MOA_EFORMAT, "%s: tensor '%s' at offset %zu overlaps '%s', which ends at %zu", s->path, show(t->name).s,
                            (size_t)(t->data - s->data), show(s->tensor[i - 1].name).s, (size_t)(end - s->data));
        if (t->data > end)
            return moa_fail(err, MOA_EFORMAT, "%s: a gap of %zu bytes before tensor '%s' at offset %zu", s->path,
                            (size_t)(t->data - end), show(t->name).s, (size_t)(t->data - s->data));
        end = t->data + t->size;
    }
    if ((size_t)(end - s->data) != s->size)
        return moa_fail(err, MOA_EFORMAT, "%s: tensors end at %zu, the data has %zu bytes", s->path, (size_t)(end - s->data), s->size);
    return 0;
}

static int check_meta(const moa_safetensors *s, const json_t *meta, moa_err *err) {
    const char *key;
    json_t *v;
    if (meta && !json_is_object(meta) && !json_is_null(meta)) return moa_fail(err, MOA_EFORMAT, "%s: __metadata__ is not an object", s->path);
    json_object_foreach((json_t *)(uintptr_t)meta, key, v)
        if (!json_is_string(v)) return moa_fail(err, MOA_EFORMAT, "%s: __metadata__: '%s' is not a string", s->path, show(key).s);
    return 0;
}

static int read_rows(moa_safetensors *s, moa_err *err) {
    const size_t all = json_object_size(s->head);
    if (all > MAX_TENSOR) return moa_fail(err, MOA_ELIMIT, "%s: %zu tensors, at most %d are read", s->path, all, MAX_TENSOR);
    s->tensor = calloc(all + 1, sizeof *s->tensor);
    s->by_name = calloc(all + 1, sizeof *s->by_name);
    if (!s->tensor || !s->by_name) return moa_fail(err, MOA_ENOMEM, "%s: no memory for %zu tensors", s->path, all);
    const char *key;
    json_t *v;
    json_object_foreach(s->head, key, v) {
        if (strcmp(key, "__metadata__") == 0) continue;
        if (!*key) return moa_fail(err, MOA_EFORMAT, "%s: a tensor has an empty name", s->path);
        if (!moa_utf8_plain(key, strlen(key))) /* names go to terminals too, in listings */
            return moa_fail(err, MOA_EFORMAT, "%s: the name of tensor '%s' holds control characters", s->path, show(key).s);
        MOA_TRY(read_tensor(&s->tensor[s->n], key, v, s, err));
        s->n++;
    }
    qsort(s->tensor, (size_t)s->n, sizeof *s->tensor, by_place);
    for (int i = 0; i < s->n; i++) s->by_name[i] = &s->tensor[i];
    qsort(s->by_name, (size_t)s->n, sizeof *s->by_name, by_name);
    return check_cover(s, err);
}

static int read_all(moa_safetensors *s, const uint8_t *p, size_t size, moa_err *err) {
    uint64_t n = 0;
    if (size < 8) return moa_fail(err, MOA_EFORMAT, "%s: %zu bytes, expected 8 for the header's length", s->path, size);
    for (int i = 7; i >= 0; i--) n = n << 8 | p[i];
    if (n > size - 8) {
        moa_fail(err, MOA_EFORMAT, "%s: header of %llu bytes, the file has %zu left", s->path, (unsigned long long)n, size - 8);
        return moa_hint(err, MOA_EFORMAT, "the file is cut off, or is no safetensors file");
    }
    if (n > MAX_HEADER)
        return moa_fail(err, MOA_ELIMIT, "%s: header of %llu bytes, at most %d are read", s->path, (unsigned long long)n, MAX_HEADER);
    if (n == 0 || p[8] != '{') return moa_fail(err, MOA_EFORMAT, "%s: offset 8: the header does not begin with '{'", s->path);
    s->data = p + 8 + n;
    s->size = size - 8 - (size_t)n;
    MOA_TRY(moa_json_parse(&s->head, (const char *)p + 8, (size_t)n, MAX_HEADER, s->path, err));
    if (!json_is_object(s->head)) return moa_fail(err, MOA_EFORMAT, "%s: the header is not an object", s->path);
    MOA_TRY(check_meta(s, json_object_get(s->head, "__metadata__"), err));
    return read_rows(s, err);
}

/* ---- open and close ---- */

static moa_safetensors *new_handle(const char *name) {
    moa_safetensors *s = calloc(1, sizeof *s);
    if (s && !(s->path = strdup(name))) {
        free(s);
        return NULL;
    }
    return s;
}

int moa_safetensors_open(moa_safetensors **out, const char *path, moa_err *err) {
    *out = NULL;
    moa_safetensors *s = new_handle(path);
    if (!s) return moa_fail(err, MOA_ENOMEM, "%s: no memory for handle", path);
    int rc = moa_map_open(&s->map, path, err);
    if (rc >= 0) rc = read_all(s, s->map.data, s->map.size, err);
    if (rc < 0) moa_safetensors_close(s);
    else *out = s;
    return rc;
}

int moa_safetensors_open_memory(moa_safetensors **out, const void *data, size_t size, const char *name, moa_err *err) {
    *out = NULL;
    moa_safetensors *s = new_handle(name);
    if (!s) return moa_fail(err, MOA_ENOMEM, "%s: no memory for handle", name);
    int rc = read_all(s, data, size, err);
    if (rc < 0) moa_safetensors_close(s);
    else *out = s;
    return rc;
}

void moa_safetensors_close(moa_safetensors *s) {
    if (!s) return;
    free(s->tensor);
    free(s->by_name);
    json_decref(s->head);
    moa_map_close(&s->map);
    free(s->path);
    free(s);
}

const char *moa_safetensors_path(const moa_safetensors *s) { return s->path; }
int moa_safetensors_n(const moa_safetensors *s) { return s->n; }
const moa_st_tensor *moa_safetensors_at(const moa_safetensors *s, int i) { return i >= 0 && i < s->n ? &s->tensor[i] : NULL; }

const moa_st_tensor *moa_safetensors_find(const moa_safetensors *s, const char *name) {
    for (int lo = 0, hi = s->n; lo < hi;) {
        const int mid = lo + (hi - lo) / 2, c = strcmp(s->by_name[mid]->name, name);
        if (c == 0) return s->by_name[mid];
        if (c < 0) lo = mid + 1;
        else hi = mid;
    }
    return NULL;
}

const char *moa_safetensors_meta(const moa_safetensors *s, const char *key) {
    return json_string_value(json_object_get(json_object_get(s->head, "__metadata__"), key));
}

int moa_st_dtype(moa_dtype *out, const moa_safetensors *s, const moa_st_tensor *t, moa_err *err) {
    const dtype_row *d = dtype_find(t->dtype);
    if (d && d->id >= 0) {
        *out = (moa_dtype)d->id;
        return 0;
    }
    moa_fail(err, MOA_EUNSUPPORTED, "%s: tensor '%s' has dtype %s, expected F32, F16 or BF16", s->path, show(t->name).s, t->dtype);
    return moa_hint(err, MOA_EUNSUPPORTED, "a quantised checkpoint: use the model's BF16 folder, or a GGUF file of it");
}

int moa_st_floats(float *out, const moa_safetensors *s, const moa_st_tensor *t, moa_err *err) {
    moa_dtype type;
    MOA_TRY(moa_st_dtype(&type, s, t, err));
    const size_t bytes = type == MOA_F64 ? 8 : type == MOA_F32 ? 4 : 2, n = t->size / bytes;
    if (type != MOA_F32 && type != MOA_F16 && type != MOA_BF16 && type != MOA_F64)
        return moa_fail(err, MOA_EUNSUPPORTED, "%s: tensor '%s' has dtype %s, expected a float type", s->path, show(t->name).s, t->dtype);
    if (type == MOA_F32) {
        if (n) memcpy(out, t->data, t->size);
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        double d;
        uint16_t h;
        memcpy(type == MOA_F64 ? (void *)&d : (void *)&h, t->data + i * bytes, bytes);
        out[i] = type == MOA_F64 ? (float)d : type == MOA_F16 ? moa_f16_to_f32(h) : moa_bf16_to_f32(h);
    }
    return 0;
}
