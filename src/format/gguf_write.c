/* gguf_write.c - writes GGUF version 3. Header and metadata are small and made in memory; tensor data goes
 * from where it lies to the file. Rows keep the order they were put in and tensors are packed with only the
 * padding that alignment asks for, so that reading a normal file and putting everything back gives the same bytes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "format/gguf.h"

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN_DEFAULT = 32, ALIGN_LEAST = 8 };

typedef struct out_kv { moa_str key; moa_gguf_type type, elem; uint64_t count; moa_buf val; } out_kv;

struct moa_gguf_out {
    out_kv *kv;
    moa_tensor *tensor; /* names are ours */
    int n_kv, cap_kv, n_tensor, cap_tensor;
    int failed;         /* sticky */
    moa_err err;
};

moa_gguf_out *moa_gguf_out_new(void) { return calloc(1, sizeof(moa_gguf_out)); }

static void kv_deinit(out_kv *kv) {
    free((void *)(uintptr_t)kv->key.p);
    moa_buf_deinit(&kv->val);
}

void moa_gguf_out_free(moa_gguf_out *o) {
    if (!o) return;
    for (int i = 0; i < o->n_kv; i++) kv_deinit(&o->kv[i]);
    for (int i = 0; i < o->n_tensor; i++) free((void *)(uintptr_t)o->tensor[i].name);
    free(o->kv);
    free(o->tensor);
    free(o);
}

static void fail_memory(moa_gguf_out *o) {
    if (!o->failed) o->failed = moa_fail(&o->err, MOA_ENOMEM, "no memory for the file's header");
}

static int grow(void **v, int *cap, int n, size_t row) {
    if (n < *cap) return 0;
    int more = *cap ? *cap * 2 : 32;
    void *p = n < INT_MAX / 4 ? realloc(*v, (size_t)more * row) : NULL;
    if (!p) return MOA_ENOMEM;
    *v = p;
    *cap = more;
    return 0;
}

/* The row of a key, emptied: the present one or a new one at the end. NULL once something has failed. */
static out_kv *row_of(moa_gguf_out *o, moa_str key, moa_gguf_type type, moa_gguf_type elem, uint64_t count) {
    if (o->failed) return NULL;
    out_kv *kv = NULL;
    for (int i = 0; i < o->n_kv && !kv; i++)
        if (o->kv[i].key.n == key.n && memcmp(o->kv[i].key.p, key.p, key.n) == 0) kv = &o->kv[i];
    if (kv) {
        moa_buf_deinit(&kv->val);
    } else {
        char *copy = malloc(key.n + 1);
        if (!copy || grow((void **)&o->kv, &o->cap_kv, o->n_kv, sizeof *o->kv) < 0) {
            free(copy);
            fail_memory(o);
            return NULL;
        }
        memcpy(copy, key.p, key.n);
        kv = &o->kv[o->n_kv++];
        kv->key = (moa_str){copy, key.n};
    }
    moa_buf_init(&kv->val, SIZE_MAX / 2);
    kv->type = type;
    kv->elem = elem;
    kv->count = count;
    return kv;
}

static void add(moa_gguf_out *o, out_kv *kv, const void *p, size_t n) {
    if (kv && n && moa_buf_add(&kv->val, p, n) < 0) fail_memory(o);
}

static moa_str str_of(const char *s) { return (moa_str){s, strlen(s)}; }

static void put_plain(moa_gguf_out *o, const char *key, moa_gguf_type type, const void *v) {
    add(o, row_of(o, str_of(key), type, type, 1), v, moa_gguf_type_bytes(type));
}

void moa_gguf_put_u32(moa_gguf_out *o, const char *key, uint32_t v) { put_plain(o, key, MOA_GGUF_U32, &v); }
void moa_gguf_put_u64(moa_gguf_out *o, const char *key, uint64_t v) { put_plain(o, key, MOA_GGUF_U64, &v); }
void moa_gguf_put_f32(moa_gguf_out *o, const char *key, float v) { put_plain(o, key, MOA_GGUF_F32, &v); }
void moa_gguf_put_bool(moa_gguf_out *o, const char *key, bool v) { put_plain(o, key, MOA_GGUF_BOOL, &(uint8_t){v}); }

static void add_str(moa_gguf_out *o, out_kv *kv, const char *p, size_t n) {
    add(o, kv, &(uint64_t){n}, 8);
    add(o, kv, p, n);
}

void moa_gguf_put_str(moa_gguf_out *o, const char *key, const char *v, size_t n) {
    add_str(o, row_of(o, str_of(key), MOA_GGUF_STR, MOA_GGUF_STR, 1), v, n);
}

void moa_gguf_put_arr(moa_gguf_out *o, const char *key, moa_gguf_type elem, const void *v, uint64_t n) {
    size_t bytes = moa_gguf_type_bytes(elem);
    moa_assert(bytes != 0);
    add(o, row_of(o, str_of(key), MOA_GGUF_ARR, elem, n), v, (size_t)n * bytes);
}

void moa_gguf_put_strs(moa_gguf_out *o, const char *key, const moa_str *v, uint64_t n) {
    out_kv *kv = row_of(o, str_of(key), MOA_GGUF_ARR, MOA_GGUF_STR, n);
    for (uint64_t i = 0; i < n; i++) add_str(o, kv, v[i].p, v[i].n);
}

void moa_gguf_put_kv(moa_gguf_out *o, const moa_gguf_kv *kv) {
    add(o, row_of(o, kv->key, kv->type, kv->elem, kv->count), kv->data, kv->size);
}

void moa_gguf_put_out(moa_gguf_out *o, const moa_gguf_out *from) {
    if (from->failed) o->failed = o->failed ? o->failed : moa_fail(&o->err, from->failed, "%s", from->err.text);
    for (int i = 0; i < from->n_kv; i++) {
        const out_kv *kv = &from->kv[i];
        add(o, row_of(o, kv->key, kv->type, kv->elem, kv->count), kv->val.data, kv->val.len);
    }
}

void moa_gguf_put_later(moa_gguf_out *o, const char *name, const moa_tensor *t) {
    if (o->failed) return;
    if (!*name || !moa_type_get(t->dtype) || t->n_dim < 1 || t->n_dim > MOA_MAX_DIM || !moa_tensor_contiguous(t) ||
        moa_tensor_count(t) <= 0) {
        o->failed = moa_fail(&o->err, MOA_EINVAL, "tensor '%s': only named, contiguous, non-empty tensors of a known type can be "
                             "written", name);
        return;
    }
    char *copy = strdup(name);
    if (!copy || grow((void **)&o->tensor, &o->cap_tensor, o->n_tensor, sizeof *o->tensor) < 0) {
        free(copy);
        fail_memory(o);
        return;
    }
    o->tensor[o->n_tensor] = *t;
    o->tensor[o->n_tensor++].name = copy;
}

void moa_gguf_put_tensor(moa_gguf_out *o, const char *name, const moa_tensor *t) {
    if (!o->failed && !t->data) o->failed = moa_fail(&o->err, MOA_EINVAL, "tensor '%s' has no data", name);
    else moa_gguf_put_later(o, name, t);
}

/* ---- write ---- */

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static int check_names(const moa_gguf_out *o, const char *path, moa_err *err) {
    if (o->n_tensor < 2) return 0;
    const char **name = malloc((size_t)o->n_tensor * sizeof *name);
    if (!name) return moa_fail(err, MOA_ENOMEM, "%s: no memory to write it", path);
    for (int i = 0; i < o->n_tensor; i++) name[i] = o->tensor[i].name;
    qsort(name, (size_t)o->n_tensor, sizeof *name, by_name);
    int rc = 0;
    for (int i = 1; rc == 0 && i < o->n_tensor; i++)
        if (strcmp(name[i - 1], name[i]) == 0) rc = moa_fail(err, MOA_EINVAL, "%s: tensor '%s' put twice", path, name[i]);
    free(name);
    return rc;
}

static int alignment_of(const moa_gguf_out *o, uint32_t *align, const char *path, moa_err *err) {
    *align = ALIGN_DEFAULT;
    for (int i = 0; i < o->n_kv; i++) {
        const out_kv *kv = &o->kv[i];
        if (kv->key.n != 17 || memcmp(kv->key.p, "general.alignment", 17) != 0) continue;
        if (kv->type != MOA_GGUF_U32) return moa_fail(err, MOA_EINVAL, "%s: general.alignment must be a u32", path);
        memcpy(align, kv->val.data, 4);
        if (*align < ALIGN_LEAST || (*align & (*align - 1)))
            return moa_fail(err, MOA_EINVAL, "%s: general.alignment is %u, expected a power of two from %d", path, *align, ALIGN_LEAST);
    }
    return 0;
}

static void put32(moa_buf *b, uint32_t v) { moa_buf_add(b, &v, 4); }
static void put64(moa_buf *b, uint64_t v) { moa_buf_add(b, &v, 8); }
static void put_string(moa_buf *b, const char *p, size_t n) {
    put64(b, n);
    moa_buf_add(b, p, n);
}

static uint64_t padded(uint64_t n, uint32_t align) { return (n + align - 1) / align * align; }

static void build_keys(moa_buf *b, const moa_gguf_out *o, int n_tensor) {
    moa_buf_add(b, "GGUF", 4);
    put32(b, 3);
    put64(b, (uint64_t)n_tensor);
    put64(b, (uint64_t)o->n_kv);
    for (int i = 0; i < o->n_kv; i++) {
        const out_kv *kv = &o->kv[i];
        put_string(b, kv->key.p, kv->key.n);
        put32(b, kv->type);
        if (kv->type == MOA_GGUF_ARR) {
            put32(b, kv->elem);
            put64(b, kv->count);
        }
        if (kv->val.len) moa_buf_add(b, kv->val.data, kv->val.len);
    }
}

static void build_head(moa_buf *b, const moa_gguf_out *o, uint32_t align) {
    build_keys(b, o, o->n_tensor);
    uint64_t at = 0;
    for (int i = 0; i < o->n_tensor; i++) {
        const moa_tensor *t = &o->tensor[i];
        put_string(b, t->name, strlen(t->name));
        put32(b, (uint32_t)t->n_dim);
        for (int d = t->n_dim; d-- > 0;) put64(b, (uint64_t)t->shape[d]);
        put32(b, t->dtype);
        put64(b, at);
        at = padded(at + moa_tensor_bytes(t), align);
    }
}

static void pad(moa_writer *w, uint32_t align) {
    static const char zero[64];
    uint64_t n = padded(moa_writer_pos(w), align) - moa_writer_pos(w);
    for (; n > sizeof zero; n -= sizeof zero) moa_writer_add(w, zero, sizeof zero);
    moa_writer_add(w, zero, (size_t)n);
}

static int write_tensor(const moa_gguf_out *o, int i, moa_writer *w, moa_gguf_make_fn fn, void *ctx, moa_err *err) {
    const moa_tensor *t = &o->tensor[i];
    const uint64_t at = moa_writer_pos(w), bytes = moa_tensor_bytes(t);
    if (t->data) return moa_writer_add(w, t->data, bytes);
    MOA_TRY(fn(ctx, i, t, w, err));
    moa_assert_eq(moa_writer_pos(w) - at, bytes);
    return 0;
}

static int out_failed(const moa_gguf_out *o, const char *path, moa_err *err) {
    if (!o->failed) return 0;
    if (err) *err = o->err;
    return moa_wrap(err, o->failed, "%s", path);
}

int moa_gguf_write(moa_gguf_out *o, const char *path, moa_err *err) { return moa_gguf_write_with(o, path, NULL, NULL, err); }

int moa_gguf_write_with(moa_gguf_out *o, const char *path, moa_gguf_make_fn fn, void *ctx, moa_err *err) {
    uint32_t align;
    MOA_TRY(out_failed(o, path, err));
    MOA_TRY(check_names(o, path, err));
    MOA_TRY(alignment_of(o, &align, path, err));
    for (int i = 0; i < o->n_tensor && !fn; i++) moa_assert(o->tensor[i].data != NULL);
    moa_buf head;
    moa_buf_init(&head, SIZE_MAX / 2);
    build_head(&head, o, align);
    moa_writer *w = NULL;
    int rc = head.failed ? moa_fail(err, MOA_ENOMEM, "%s: no memory for the file's header", path) : moa_writer_open(&w, path, err);
    if (rc == 0) {
        moa_writer_add(w, head.data, head.len);
        if (o->n_tensor) pad(w, align);
        for (int i = 0; rc >= 0 && i < o->n_tensor; i++) {
            rc = write_tensor(o, i, w, fn, ctx, err);
            if (rc >= 0) pad(w, align);
        }
        /* A full disk ends the work where it is met; the commit tells why. */
        if (rc >= 0 || moa_writer_add(w, NULL, 0) < 0) rc = moa_writer_commit(w, err);
        else moa_writer_abort(w);
    }
    moa_buf_deinit(&head);
    return rc;
}

int moa_gguf_head(moa_buf *b, const moa_gguf_out *o, moa_err *err) {
    MOA_TRY(out_failed(o, "metadata", err));
    build_keys(b, o, 0);
    return b->failed ? moa_fail(err, MOA_ENOMEM, "no memory for the metadata") : 0;
}

uint64_t moa_gguf_out_bytes(const moa_gguf_out *o) {
    uint64_t n = 0;
    for (int i = 0; i < o->n_tensor; i++) n += padded(moa_tensor_bytes(&o->tensor[i]), ALIGN_DEFAULT);
    return n;
}
