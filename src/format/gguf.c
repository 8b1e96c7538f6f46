/* gguf.c - reads GGUF files (versions 2 and 3, little-endian) out of a read-only mapping.
 *
 * A model file comes from strangers, so open() walks the whole header once and refuses whatever could make
 * a later access leave the mapping; after it, nothing is checked again. No memory is taken before the bytes
 * that justify it have been seen: every table is bounded by a count times the fewest bytes such a row takes.
 *
 *   header   u32 magic "GGUF" | u32 version | u64 n_tensor | u64 n_kv
 *   kv       str key | u32 type | value          str: u64 n, n bytes    arr: u32 elem type, u64 n, n values
 *   tensor   str name | u32 n_dim | u64 size[n_dim], contiguous axis first | u32 dtype | u64 offset
 *   data     starts at the next multiple of general.alignment (32 unless given); offsets count from there
 *
 * Source: the GGUF specification (ggml, docs/gguf.md). Version 1 (32-bit lengths) is refused with a hint.
 * SPDX-License-Identifier: Apache-2.0 */
#include "format/gguf_impl.h"

#include "base/err.h"
#include "base/rng.h"
#include "base/utf8.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    ALIGN_DEFAULT = 32,
    ALIGN_LEAST = 8,      /* the specification's; also what loads of 8-byte elements need */
    MAX_KEY = 65535,      /* specification */
    MAX_NEST = 4,         /* arrays of arrays of ...: far beyond anything published */
    MAX_KV = 1 << 16,     /* so too; writers look keys up one by one */
    MIN_KV = 8 + 1 + 4 + 1,
    MIN_TENSOR = 8 + 1 + 4 + 8 + 4 + 8,
};

typedef moa_gguf_table table;

typedef struct cursor { const moa_gguf *g; size_t pos; moa_err *err; } cursor;

typedef struct shown { char s[68]; } shown;

/* A name for an error text: short, and without anything that could drive a terminal. */
static shown show(moa_str s) {
    shown o;
    size_t n = s.n < 64 ? s.n : 61;
    for (size_t i = 0; i < n; i++) o.s[i] = s.p[i] >= 32 && s.p[i] < 127 ? s.p[i] : '?';
    if (s.n >= 64) memcpy(o.s + n, "...", 3), n += 3;
    o.s[n] = 0;
    return o;
}

/* Names go to terminals too, in listings. */
static bool is_plain(moa_str s) { return s.n > 0 && moa_utf8_plain(s.p, s.n); }

static const struct { const char *name; uint8_t bytes; } TYPES[] = {
    [MOA_GGUF_U8] = {"u8", 1},   [MOA_GGUF_I8] = {"i8", 1},     [MOA_GGUF_U16] = {"u16", 2}, [MOA_GGUF_I16] = {"i16", 2},
    [MOA_GGUF_U32] = {"u32", 4}, [MOA_GGUF_I32] = {"i32", 4},   [MOA_GGUF_F32] = {"f32", 4}, [MOA_GGUF_BOOL] = {"bool", 1},
    [MOA_GGUF_STR] = {"str", 0}, [MOA_GGUF_ARR] = {"arr", 0},   [MOA_GGUF_U64] = {"u64", 8}, [MOA_GGUF_I64] = {"i64", 8},
    [MOA_GGUF_F64] = {"f64", 8},
};
enum { N_TYPE = sizeof TYPES / sizeof *TYPES };

const char *moa_gguf_type_name(moa_gguf_type t) { return (unsigned)t < N_TYPE ? TYPES[t].name : "?"; }
size_t moa_gguf_type_bytes(moa_gguf_type t) { return (unsigned)t < N_TYPE ? TYPES[t].bytes : 0; }

/* ---- reading bytes ---- */

#define LLU(x) ((unsigned long long)(x))

static uint32_t le32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static uint64_t le64(const uint8_t *p) { return (uint64_t)le32(p) | (uint64_t)le32(p + 4) << 32; }

static size_t left(const cursor *c) { return c->g->size - c->pos; }

static int need(const cursor *c, uint64_t n, const char *what) {
    if (n <= left(c)) return 0;
    moa_fail(c->err, MOA_EFORMAT, "%s: offset %zu: %s takes %llu bytes, the file has %zu left", c->g->path, c->pos, what,
             LLU(n), left(c));
    return moa_hint(c->err, MOA_EFORMAT, "the file is cut off or damaged; fetch it again");
}

static int read_u32(cursor *c, uint32_t *v, const char *what) {
    MOA_TRY(need(c, 4, what));
    *v = le32(c->g->base + c->pos);
    c->pos += 4;
    return 0;
}

static int read_u64(cursor *c, uint64_t *v, const char *what) {
    MOA_TRY(need(c, 8, what));
    *v = le64(c->g->base + c->pos);
    c->pos += 8;
    return 0;
}

static int read_str(cursor *c, moa_str *s, const char *what) {
    uint64_t n;
    MOA_TRY(read_u64(c, &n, what));
    MOA_TRY(need(c, n, what));
    *s = (moa_str){(const char *)c->g->base + c->pos, (size_t)n};
    c->pos += (size_t)n;
    return 0;
}

/* ---- lookup ---- */

static int table_new(table *t, uint64_t rows) {
    uint64_t n = 8;
    while (n < rows * 2) n *= 2;
    t->slot = calloc(n, sizeof *t->slot);
    t->mask = n - 1;
    return t->slot ? 0 : MOA_ENOMEM;
}

static moa_str kv_key(const moa_gguf *g, uint32_t row) { return g->kv[row].key; }
static moa_str tensor_key(const moa_gguf *g, uint32_t row) {
    return (moa_str){g->tensor[row].name, strlen(g->tensor[row].name)};
}

/* The slot that holds s, or the free one where it belongs. */
static uint32_t *table_slot(const moa_gguf *g, const table *t, moa_str (*key)(const moa_gguf *, uint32_t), moa_str s) {
    for (uint64_t h = moa_hash64(s.p, s.n, g->seed);; h++) {
        uint32_t *e = &t->slot[h & t->mask];
        if (!*e) return e;
        moa_str k = key(g, *e - 1);
        if (k.n == s.n && memcmp(k.p, s.p, s.n) == 0) return e;
    }
}

/* ---- header ---- */

static int read_magic(moa_gguf *g, cursor *c) {
    if (g->size == 0) return moa_fail(c->err, MOA_EFORMAT, "%s: the file is empty", g->path);
    if (g->size < 4 || memcmp(g->base, "GGUF", 4) != 0) {
        shown head = show((moa_str){(const char *)g->base, g->size < 4 ? g->size : 4});
        moa_fail(c->err, MOA_EFORMAT, "%s: offset 0: magic is '%s', expected 'GGUF'", g->path, head.s);
        return moa_hint(c->err, MOA_EFORMAT, "only GGUF files can be opened as a model");
    }
    c->pos = 4;
    uint32_t v;
    MOA_TRY(read_u32(c, &v, "version"));
    if (v == 2 || v == 3) {
        g->version = v;
        return 0;
    }
    if (v == 0x02000000 || v == 0x03000000) {
        moa_fail(c->err, MOA_EUNSUPPORTED, "%s: offset 4: big-endian GGUF, expected little-endian", g->path);
        return moa_hint(c->err, MOA_EUNSUPPORTED, "convert it on a little-endian machine");
    }
    moa_fail(c->err, MOA_EUNSUPPORTED, "%s: offset 4: GGUF version %u, expected 2 or 3", g->path, v);
    return moa_hint(c->err, MOA_EUNSUPPORTED, v == 1 ? "convert the model again with a current tool" : "a newer moa may read it");
}

static int read_count(cursor *c, int *n, const char *what, size_t least) {
    uint64_t v;
    size_t at = c->pos;
    MOA_TRY(read_u64(c, &v, what));
    if (v > c->g->size / least || v > INT_MAX)
        return moa_fail(c->err, MOA_EFORMAT, "%s: offset %zu: %s is %llu, a file of %zu bytes holds at most %zu", c->g->path, at,
                        what, LLU(v), c->g->size, c->g->size / least);
    *n = (int)v;
    return 0;
}

/* ---- metadata ---- */

static int check_bools(const cursor *c, uint64_t n, moa_str key) {
    const uint8_t *p = c->g->base + c->pos;
    for (uint64_t i = 0; i < n; i++)
        if (p[i] > 1)
            return moa_fail(c->err, MOA_EFORMAT, "%s: offset %llu: key '%s': bool is %u, expected 0 or 1", c->g->path,
                            LLU(c->pos + i), show(key).s, p[i]);
    return 0;
}

/* Passes over n values of one type. Recursion is bounded by MAX_NEST. */
static int skip_values(cursor *c, moa_gguf_type type, uint64_t n, moa_str key, uint64_t *start, int depth) {
    size_t bytes = moa_gguf_type_bytes(type), first = c->pos;
    if (bytes) {
        if (n > left(c) / bytes)
            return moa_fail(c->err, MOA_EFORMAT, "%s: offset %zu: key '%s': %llu values of type %s, the file has %zu bytes left",
                            c->g->path, c->pos, show(key).s, LLU(n), moa_gguf_type_name(type), left(c));
        if (type == MOA_GGUF_BOOL) MOA_TRY(check_bools(c, n, key));
        c->pos += (size_t)n * bytes;
        return 0;
    }
    if (type == MOA_GGUF_STR) {
        for (uint64_t i = 0; i < n; i++) {
            moa_str s;
            if (start) start[i] = c->pos - first;
            int rc = read_str(c, &s, "string");
            if (rc < 0) return moa_wrap(c->err, rc, "key '%s', element %llu", show(key).s, LLU(i));
        }
        return 0;
    }
    if (type != MOA_GGUF_ARR)
        return moa_fail(c->err, MOA_EFORMAT, "%s: offset %zu: key '%s': value type %u, expected 0 to %d", c->g->path, c->pos - 4,
                        show(key).s, (unsigned)type, N_TYPE - 1);
    if (depth == MAX_NEST)
        return moa_fail(c->err, MOA_ELIMIT, "%s: offset %zu: key '%s': arrays nested more than %d deep", c->g->path, c->pos,
                        show(key).s, MAX_NEST);
    for (uint64_t i = 0; i < n; i++) {
        uint32_t elem;
        uint64_t count;
        MOA_TRY(read_u32(c, &elem, "element type"));
        MOA_TRY(read_u64(c, &count, "array length"));
        MOA_TRY(skip_values(c, (moa_gguf_type)elem, count, key, NULL, depth + 1));
    }
    return 0;
}

static int read_array_head(cursor *c, moa_gguf_kv *kv) {
    uint32_t elem;
    MOA_TRY(read_u32(c, &elem, "element type"));
    if (elem >= N_TYPE)
        return moa_fail(c->err, MOA_EFORMAT, "%s: offset %zu: key '%s': element type %u, expected 0 to %d", c->g->path, c->pos - 4,
                        show(kv->key).s, elem, N_TYPE - 1);
    size_t at = c->pos, bytes = moa_gguf_type_bytes((moa_gguf_type)elem);
    size_t least = bytes ? bytes : elem == MOA_GGUF_STR ? 8 : 12;
    MOA_TRY(read_u64(c, &kv->count, "array length"));
    if (kv->count > left(c) / least)
        return moa_fail(c->err, MOA_EFORMAT, "%s: offset %zu: key '%s': array of %llu %s, the file has %zu bytes left", c->g->path,
                        at, show(kv->key).s, LLU(kv->count), moa_gguf_type_name((moa_gguf_type)elem), left(c));
    kv->elem = (moa_gguf_type)elem;
    return 0;
}

static int read_kv(moa_gguf *g, cursor *c, int row) {
    moa_gguf_kv *kv = &g->kv[row];
    size_t at = c->pos;
    uint32_t type;
    int rc = read_str(c, &kv->key, "key");
    if (rc < 0) return moa_wrap(c->err, rc, "key %d of %d", row, g->n_kv);
    if (kv->key.n > MAX_KEY || !is_plain(kv->key))
        return moa_fail(c->err, MOA_EFORMAT, "%s: offset %zu: key %d '%s' has %zu bytes, expected 1 to %d and no control characters", g->path,
                        at, row, show(kv->key).s, kv->key.n, MAX_KEY);
    rc = read_u32(c, &type, "value type");
    if (rc < 0) return moa_wrap(c->err, rc, "key '%s'", show(kv->key).s);
    kv->type = kv->elem = (moa_gguf_type)type;
    kv->count = 1;
    uint64_t *start = NULL;
    if (type == MOA_GGUF_ARR) {
        rc = read_array_head(c, kv);
        if (rc < 0) return rc;
        if (kv->elem == MOA_GGUF_STR && kv->count) {
            kv->start = start = malloc((size_t)kv->count * sizeof *start);
            if (!start) return moa_fail(c->err, MOA_ENOMEM, "%s: no memory for key '%s'", g->path, show(kv->key).s);
        }
    }
    kv->data = g->base + c->pos;
    rc = skip_values(c, kv->elem, kv->count, kv->key, start, 1);
    if (rc < 0) return rc;
    kv->size = (size_t)(g->base + c->pos - kv->data);
    uint32_t *slot = table_slot(g, &g->by_key, kv_key, kv->key);
    if (*slot)
        return moa_fail(c->err, MOA_EFORMAT, "%s: offset %zu: key '%s' given twice, first as key %u", g->path, at, show(kv->key).s,
                        *slot - 1);
    *slot = (uint32_t)row + 1;
    return 0;
}

static int read_alignment(moa_gguf *g, moa_err *err) {
    const moa_gguf_kv *kv = moa_gguf_find(g, "general.alignment");
    if (kv && kv->type != MOA_GGUF_U32)
        return moa_fail(err, MOA_EFORMAT, "%s: key 'general.alignment' is %s, expected u32", g->path, moa_gguf_type_name(kv->type));
    g->align = kv ? le32(kv->data) : ALIGN_DEFAULT;
    if (g->align >= ALIGN_LEAST && (g->align & (g->align - 1)) == 0) return 0;
    return moa_fail(err, MOA_EFORMAT, "%s: key 'general.alignment' is %u, expected a power of two from %d", g->path, g->align,
                    ALIGN_LEAST);
}

/* ---- tensors ---- */

static int read_shape(cursor *c, moa_tensor *t, uint64_t *count, shown name) {
    uint32_t n_dim;
    size_t at = c->pos;
    MOA_TRY(read_u32(c, &n_dim, "number of dimensions"));
    if (n_dim < 1 || n_dim > MOA_MAX_DIM)
        return moa_fail(c->err, MOA_EFORMAT, "%s: offset %zu: tensor '%s' has %u dimensions, expected 1 to %d", c->g->path, at,
                        name.s, n_dim, MOA_MAX_DIM);
    t->n_dim = (int)n_dim;
    *count = 1;
    for (int i = 0; i < MOA_MAX_DIM; i++) t->shape[i] = 1;
    for (int i = 0; i < t->n_dim; i++) {
        uint64_t v, all;
        MOA_TRY(read_u64(c, &v, "dimension"));
        if (v == 0 || v > INT64_MAX || __builtin_mul_overflow(*count, v, &all) || all > INT64_MAX)
            return moa_fail(c->err, MOA_EFORMAT, "%s: offset %zu: tensor '%s': dimension %d is %llu, expected 1 or more and less "
                            "than 2^63 elements in all", c->g->path, c->pos - 8, name.s, i, LLU(v));
        *count = all;
        t->shape[t->n_dim - 1 - i] = (int64_t)v;
    }
    return 0;
}

static int read_dtype(cursor *c, moa_tensor *t, uint64_t count, uint64_t *bytes, shown name) {
    uint32_t id;
    MOA_TRY(read_u32(c, &id, "tensor type"));
    const moa_type *type = id < MOA_DTYPE_MAX ? moa_type_get((moa_dtype)id) : NULL;
    if (!type) {
        const char *other = moa_type_other(id);
        moa_fail(c->err, MOA_EUNSUPPORTED, "%s: offset %zu: tensor '%s': type number %u is %s", c->g->path, c->pos - 4, name.s, id,
                 other ? other : "not known");
        return moa_hint(c->err, MOA_EUNSUPPORTED, other ? "take a file of the model in another type; 'moa list types' names those that can be read"
                                                        : "'moa list types' names the types that can be read");
    }
    if (moa_cols(t) % type->block)
        return moa_fail(c->err, MOA_EFORMAT, "%s: offset %zu: tensor '%s': rows of %lld elements, %s needs a multiple of %d",
                        c->g->path, c->pos - 4, name.s, (long long)moa_cols(t), type->name, type->block);
    if (__builtin_mul_overflow(count / (uint64_t)type->block, (uint64_t)type->bytes, bytes) || *bytes > c->g->size) {
        moa_fail(c->err, MOA_EFORMAT, "%s: offset %zu: tensor '%s': %llu elements of %s, the file has %zu bytes in all",
                 c->g->path, c->pos - 4, name.s, LLU(count), type->name, c->g->size);
        return moa_hint(c->err, MOA_EFORMAT, "the file is cut off or damaged; fetch it again");
    }
    t->dtype = type->id;
    return 0;
}

typedef struct span { uint64_t at, bytes; uint32_t row; } span;

static int read_tensor(moa_gguf *g, cursor *c, int row, span *sp) {
    moa_tensor *t = &g->tensor[row];
    moa_str name;
    uint64_t count = 0;
    size_t at = c->pos;
    int rc = read_str(c, &name, "tensor name");
    if (rc < 0) return moa_wrap(c->err, rc, "tensor %d of %d", row, g->n_tensor);
    shown sh = show(name);
    if (!is_plain(name))
        return moa_fail(c->err, MOA_EFORMAT, "%s: offset %zu: name of tensor %d '%s' is empty or holds control characters", g->path, at, row,
                        sh.s);
    uint32_t *slot = table_slot(g, &g->by_name, tensor_key, name);
    if (*slot)
        return moa_fail(c->err, MOA_EFORMAT, "%s: offset %zu: tensor '%s' given twice, first as tensor %u", g->path, at, sh.s,
                        *slot - 1);
    t->name = moa_arena_strndup(g->names, name.p, name.n);
    if (!t->name) return moa_fail(c->err, MOA_ENOMEM, "%s: no memory for tensor %d", g->path, row);
    *slot = (uint32_t)row + 1;
    if ((rc = read_shape(c, t, &count, sh)) < 0 || (rc = read_dtype(c, t, count, &sp->bytes, sh)) < 0 ||
        (rc = read_u64(c, &sp->at, "tensor offset")) < 0)
        return rc;
    if (sp->at % g->align)
        return moa_fail(c->err, MOA_EFORMAT, "%s: offset %zu: tensor '%s' lies at %llu, expected a multiple of %u", g->path,
                        c->pos - 8, sh.s, LLU(sp->at), g->align);
    sp->row = (uint32_t)row;
    return 0;
}

static int by_offset(const void *pa, const void *pb) {
    const span *a = pa, *b = pb;
    if (a->at != b->at) return a->at < b->at ? -1 : 1;
    return a->row < b->row ? -1 : 1;
}

/* Sorted by offset: each inside the file, none over another. Then the views can be made. */
static int place_tensors(moa_gguf *g, span *sp, size_t head_end, moa_err *err) {
    uint64_t data = ((uint64_t)head_end + g->align - 1) / g->align * g->align;
    uint64_t room = data <= g->size ? g->size - data : 0, end = 0;
    qsort(sp, (size_t)g->n_tensor, sizeof *sp, by_offset);
    for (int i = 0; i < g->n_tensor; i++) {
        moa_tensor *t = &g->tensor[sp[i].row];
        shown sh = show(tensor_key(g, sp[i].row));
        if (sp[i].at > room || sp[i].bytes > room - sp[i].at) {
            moa_fail(err, MOA_EFORMAT, "%s: tensor '%s' takes %llu bytes at offset %llu of the data, which has %llu", g->path, sh.s,
                     LLU(sp[i].bytes), LLU(sp[i].at), LLU(room));
            return moa_hint(err, MOA_EFORMAT, "the file is cut off or damaged; fetch it again");
        }
        if (sp[i].at < end)
            return moa_fail(err, MOA_EFORMAT, "%s: tensor '%s' at offset %llu of the data overlaps '%s', which ends at %llu", g->path,
                            sh.s, LLU(sp[i].at), show(tensor_key(g, sp[i - 1].row)).s, LLU(end));
        end = sp[i].at + sp[i].bytes;
        const char *name = t->name;
        *t = moa_view(t->dtype, (void *)(uintptr_t)(g->base + data + sp[i].at), t->n_dim, t->shape);
        t->name = name;
    }
    return 0;
}

static int read_tensors(moa_gguf *g, cursor *c) {
    if (g->n_tensor == 0) return 0;
    if ((uintptr_t)g->base % ALIGN_LEAST)
        return moa_fail(c->err, MOA_EINVAL, "%s: memory of a file must be aligned to %d bytes", g->path, ALIGN_LEAST);
    size_t n = (size_t)g->n_tensor;
    span *sp = calloc(n, sizeof *sp);
    g->tensor = calloc(n, sizeof *g->tensor);
    g->names = moa_arena_new(0, 0);
    int rc = 0;
    if (!sp || !g->tensor || !g->names || table_new(&g->by_name, n) < 0)
        rc = moa_fail(c->err, MOA_ENOMEM, "%s: no memory for %zu tensors", g->path, n);
    for (int i = 0; rc == 0 && i < g->n_tensor; i++) rc = read_tensor(g, c, i, &sp[i]);
    if (rc == 0) rc = place_tensors(g, sp, c->pos, c->err);
    free(sp);
    return rc;
}

/* ---- open and close ---- */

static int read_all(moa_gguf *g, moa_err *err) {
    cursor c = {g, 0, err};
    MOA_TRY(read_magic(g, &c));
    MOA_TRY(read_count(&c, &g->n_tensor, "number of tensors", MIN_TENSOR));
    int n_kv;
    MOA_TRY(read_count(&c, &n_kv, "number of keys", MIN_KV));
    if (n_kv > MAX_KV)
        return moa_fail(err, MOA_ELIMIT, "%s: offset 16: number of keys is %d, at most %d are read", g->path, n_kv, MAX_KV);
    g->kv = calloc((size_t)n_kv + 1, sizeof *g->kv);
    if (!g->kv || table_new(&g->by_key, (uint64_t)n_kv) < 0)
        return moa_fail(err, MOA_ENOMEM, "%s: no memory for %d keys", g->path, n_kv);
    g->n_kv = n_kv;
    for (int i = 0; i < n_kv; i++) MOA_TRY(read_kv(g, &c, i));
    MOA_TRY(read_alignment(g, err));
    return read_tensors(g, &c);
}

static int open_any(moa_gguf **out, moa_gguf *g, const char *name, moa_err *err) {
    g->path = strdup(name);
    g->seed = (uintptr_t)g;
    int rc = g->path ? read_all(g, err) : moa_fail(err, MOA_ENOMEM, "%s: no memory", name);
    if (rc < 0) moa_gguf_close(g);
    else *out = g;
    return rc;
}

int moa_gguf_open(moa_gguf **out, const char *path, moa_err *err) {
    moa_gguf *g = NULL;
    *out = NULL;
    MOA_TRY(moa_gguf_open_one(&g, path, err));
    const int rc = moa_gguf_open_rest(g, err);
    if (rc < 0) moa_gguf_close(g);
    else *out = g;
    return rc;
}

int moa_gguf_open_one(moa_gguf **out, const char *path, moa_err *err) {
    *out = NULL;
    moa_gguf *g = calloc(1, sizeof *g);
    if (!g) return moa_fail(err, MOA_ENOMEM, "%s: no memory for handle", path);
    int rc = moa_map_open(&g->map, path, err);
    if (rc < 0) {
        free(g);
        return rc;
    }
    g->base = g->map.data;
    g->size = g->map.size;
    return open_any(out, g, path, err);
}

int moa_gguf_open_memory(moa_gguf **out, const void *data, size_t size, const char *name, moa_err *err) {
    *out = NULL;
    moa_gguf *g = calloc(1, sizeof *g);
    if (!g) return moa_fail(err, MOA_ENOMEM, "%s: no memory for handle", name);
    g->base = data;
    g->size = size;
    return open_any(out, g, name, err);
}

static void drop_tensors(moa_gguf *g) {
    free(g->tensor);
    moa_arena_free(g->names);
    free(g->by_name.slot);
}

/* Names go to our arena, the table is that of a file; views stay where they point. */
static int take_tensors(moa_gguf *g, const moa_tensor *t, int n, moa_err *err) {
    g->tensor = calloc((size_t)n + 1, sizeof *g->tensor);
    g->names = moa_arena_new(0, 0);
    if (!g->tensor || !g->names || table_new(&g->by_name, (uint64_t)n) < 0)
        return moa_fail(err, MOA_ENOMEM, "%s: no memory for %d tensors", g->path, n);
    for (int i = 0; i < n; i++) {
        const moa_str name = {t[i].name, strlen(t[i].name)};
        uint32_t *slot = table_slot(g, &g->by_name, tensor_key, name);
        if (*slot) return moa_fail(err, MOA_EFORMAT, "%s: tensor '%s' given twice", g->path, show(name).s);
        g->tensor[i] = t[i];
        g->n_tensor = i + 1;
        if (!(g->tensor[i].name = moa_arena_strndup(g->names, name.p, name.n)))
            return moa_fail(err, MOA_ENOMEM, "%s: no memory for tensor %d", g->path, i);
        *slot = (uint32_t)i + 1;
    }
    return 0;
}

int moa_gguf_set_tensors(moa_gguf *g, const moa_tensor *t, int n, moa_err *err) {
    moa_gguf next = *g;
    next.tensor = NULL, next.names = NULL, next.by_name = (table){0}, next.n_tensor = 0;
    const int rc = take_tensors(&next, t, n, err);
    drop_tensors(rc < 0 ? &next : g);
    if (rc >= 0) *g = next;
    return rc;
}

int moa_gguf_open_parts(moa_gguf **out, const void *head, size_t size, const moa_tensor *t, int n, const char *name, void *owner,
                        void (*owner_free)(void *), moa_err *err) {
    moa_gguf *g = NULL;
    int rc = moa_gguf_open_memory(&g, head, size, name, err);
    if (rc >= 0) rc = moa_gguf_set_tensors(g, t, n, err);
    if (rc < 0) {
        moa_gguf_close(g);
        return rc;
    }
    g->owner = owner;
    g->owner_free = owner_free;
    *out = g;
    return 0;
}

void moa_gguf_close(moa_gguf *g) {
    if (!g) return;
    if (g->owner_free) g->owner_free(g->owner);
    for (int i = 0; i < g->n_kv; i++) free((void *)(uintptr_t)g->kv[i].start);
    free(g->kv);
    drop_tensors(g);
    free(g->by_key.slot);
    free(g->path);
    moa_map_close(&g->map);
    free(g);
}

const char *moa_gguf_path(const moa_gguf *g) { return g->path; }
int moa_gguf_n_part(const moa_gguf *g) { return g->n_part ? g->n_part : 1; }
uint32_t moa_gguf_version(const moa_gguf *g) { return g->version; }
uint32_t moa_gguf_alignment(const moa_gguf *g) { return g->align; }
int moa_gguf_n_kv(const moa_gguf *g) { return g->n_kv; }
const moa_gguf_kv *moa_gguf_kv_at(const moa_gguf *g, int i) { return i >= 0 && i < g->n_kv ? &g->kv[i] : NULL; }
int moa_gguf_n_tensor(const moa_gguf *g) { return g->n_tensor; }
const moa_tensor *moa_gguf_tensor_at(const moa_gguf *g, int i) { return i >= 0 && i < g->n_tensor ? &g->tensor[i] : NULL; }

const moa_gguf_kv *moa_gguf_find(const moa_gguf *g, const char *key) {
    uint32_t row = *table_slot(g, &g->by_key, kv_key, (moa_str){key, strlen(key)});
    return row ? &g->kv[row - 1] : NULL;
}

const moa_tensor *moa_gguf_tensor(const moa_gguf *g, const char *name) {
    if (!g->n_tensor) return NULL;
    uint32_t row = *table_slot(g, &g->by_name, tensor_key, (moa_str){name, strlen(name)});
    return row ? &g->tensor[row - 1] : NULL;
}

/* ---- typed reads ---- */

static int wrong(const moa_gguf *g, const moa_gguf_kv *kv, const char *expected, moa_err *err) {
    bool arr = kv->type == MOA_GGUF_ARR;
    return moa_fail(err, MOA_EFORMAT, "%s: key '%s' is %s%s, expected %s", g->path, show(kv->key).s, arr ? "an array of " : "",
                    moa_gguf_type_name(kv->elem), expected);
}

static bool is_int(moa_gguf_type t) { return moa_gguf_type_bytes(t) && t != MOA_GGUF_F32 && t != MOA_GGUF_F64 && t != MOA_GGUF_BOOL; }
static bool is_float(moa_gguf_type t) { return t == MOA_GGUF_F32 || t == MOA_GGUF_F64; }

int moa_gguf_u32(uint32_t *out, const moa_gguf *g, const char *key, uint32_t dflt, moa_err *err) {
    const moa_gguf_kv *kv = moa_gguf_find(g, key);
    *out = dflt;
    if (!kv) return 0;
    if (!is_int(kv->type)) return wrong(g, kv, "an integer", err);
    int64_t v = moa_gguf_arr_int(kv, 0);
    if (v < 0 || v > UINT32_MAX)
        return moa_fail(err, MOA_EFORMAT, "%s: key '%s' is %lld, expected 0 to %u", g->path, show(kv->key).s, (long long)v, UINT32_MAX);
    *out = (uint32_t)v;
    return 0;
}

int moa_gguf_need_u32(uint32_t *out, const moa_gguf *g, const char *key, moa_err *err) {
    if (!moa_gguf_find(g, key)) return moa_fail(err, MOA_ENOTFOUND, "%s: key '%s' is missing", g->path, key);
    return moa_gguf_u32(out, g, key, 0, err);
}

int moa_gguf_f32(float *out, const moa_gguf *g, const char *key, float dflt, moa_err *err) {
    const moa_gguf_kv *kv = moa_gguf_find(g, key);
    *out = dflt;
    if (!kv) return 0;
    if (!is_int(kv->type) && !is_float(kv->type)) return wrong(g, kv, "a number", err);
    float v = moa_gguf_arr_f32(kv, 0);
    if (!isfinite(v)) return moa_fail(err, MOA_EFORMAT, "%s: key '%s' is not a finite number", g->path, show(kv->key).s);
    *out = v;
    return 0;
}

int moa_gguf_bool(bool *out, const moa_gguf *g, const char *key, bool dflt, moa_err *err) {
    const moa_gguf_kv *kv = moa_gguf_find(g, key);
    *out = dflt;
    if (!kv) return 0;
    if (kv->type != MOA_GGUF_BOOL) return wrong(g, kv, "a bool", err);
    *out = *kv->data != 0;
    return 0;
}

int moa_gguf_str(moa_str *out, const moa_gguf *g, const char *key, const char *dflt, moa_err *err) {
    const moa_gguf_kv *kv = moa_gguf_find(g, key);
    *out = (moa_str){dflt, dflt ? strlen(dflt) : 0};
    if (!kv) return 0;
    if (kv->type != MOA_GGUF_STR) return wrong(g, kv, "a string", err);
    *out = (moa_str){(const char *)kv->data + 8, kv->size - 8};
    return 0;
}

moa_str moa_gguf_arr_str(const moa_gguf_kv *kv, uint64_t i) {
    const uint8_t *p = kv->data + (kv->start ? kv->start[i] : 0);
    return (moa_str){(const char *)p + 8, (size_t)le64(p)};
}

int64_t moa_gguf_arr_int(const moa_gguf_kv *kv, uint64_t i) {
    const uint8_t *p = kv->data + i * moa_gguf_type_bytes(kv->elem);
    switch (kv->elem) {
    case MOA_GGUF_U8: case MOA_GGUF_BOOL: return *p;
    case MOA_GGUF_I8: return (int8_t)*p;
    case MOA_GGUF_U16: return (uint16_t)(p[0] | p[1] << 8);
    case MOA_GGUF_I16: return (int16_t)(p[0] | p[1] << 8);
    case MOA_GGUF_U32: return le32(p);
    case MOA_GGUF_I32: return (int32_t)le32(p);
    case MOA_GGUF_U64: case MOA_GGUF_I64: return (int64_t)le64(p);
    default: return 0;
    }
}

float moa_gguf_arr_f32(const moa_gguf_kv *kv, uint64_t i) {
    const uint8_t *p = kv->data + i * moa_gguf_type_bytes(kv->elem);
    union { uint32_t u; float f; } a = {0};
    union { uint64_t u; double f; } b = {0};
    if (kv->elem == MOA_GGUF_F32) return a.u = le32(p), a.f;
    if (kv->elem == MOA_GGUF_F64) return b.u = le64(p), (float)b.f;
    return (float)moa_gguf_arr_int(kv, i);
}
