/* gguf.h - reading (mapped) and writing GGUF files, versions 2 and 3, little-endian.
 * Format: the GGUF specification in ggml's docs/gguf.md.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FORMAT_GGUF_H
#define MOA_FORMAT_GGUF_H

#include "base/buf.h"
#include "tensor/tensor.h"

struct moa_writer;

typedef enum moa_gguf_type {
    MOA_GGUF_U8, MOA_GGUF_I8, MOA_GGUF_U16, MOA_GGUF_I16, MOA_GGUF_U32, MOA_GGUF_I32, MOA_GGUF_F32,
    MOA_GGUF_BOOL, MOA_GGUF_STR, MOA_GGUF_ARR, MOA_GGUF_U64, MOA_GGUF_I64, MOA_GGUF_F64
} moa_gguf_type;

typedef struct moa_str { const char *p; size_t n; } moa_str; /* not 0-terminated; borrowed from the mapping */

typedef struct moa_gguf_kv {
    moa_str key;
    moa_gguf_type type, elem;  /* elem: of an array, else equal to type */
    uint64_t count;            /* 1, or elements of an array */
    const uint8_t *data;       /* first value in the mapping, unaligned */
    size_t size;               /* bytes of all values at data */
    const uint64_t *start;     /* of a string array: where each element lies, from data; else NULL */
} moa_gguf_kv;

const char *moa_gguf_type_name(moa_gguf_type t); /* "u32", "str" ...; "?" for an unknown number */
size_t moa_gguf_type_bytes(moa_gguf_type t);     /* 0 for str, arr and unknown numbers */

typedef struct moa_gguf moa_gguf;

/* Checks everything before it returns: sizes, offsets, alignment, duplicates, types, overflow; so that no
 * later access can leave the mapping. Errors name the file, the key or tensor, got and expected. */
int moa_gguf_open(moa_gguf **out, const char *path, moa_err *err); /* of a split model the first part; opens all */
int moa_gguf_open_memory(moa_gguf **out, const void *data, size_t size, const char *name, moa_err *err); /* borrows data, 8-byte aligned */
/* A model of another format in this form: keys from the n_tensor = 0 header at head (moa_gguf_head), tensors as given, wherever
 * their data lies. On success owner_free(owner) is called at close, when neither is needed any more. */
int moa_gguf_open_parts(moa_gguf **out, const void *head, size_t size, const moa_tensor *t, int n, const char *name, void *owner,
                        void (*owner_free)(void *), moa_err *err);
/* The parts of a split model from memory: on success first has the tensors of all and closes the others with itself. */
int moa_gguf_join(moa_gguf *first, moa_gguf *const *more, int n_more, moa_err *err);
void moa_gguf_close(moa_gguf *g);

const char *moa_gguf_path(const moa_gguf *g);
int moa_gguf_n_part(const moa_gguf *g);         /* files */
uint32_t moa_gguf_version(const moa_gguf *g);   /* 2 or 3 */
uint32_t moa_gguf_alignment(const moa_gguf *g); /* bytes; of tensor data */
int moa_gguf_n_kv(const moa_gguf *g);
const moa_gguf_kv *moa_gguf_kv_at(const moa_gguf *g, int i);
const moa_gguf_kv *moa_gguf_find(const moa_gguf *g, const char *key); /* NULL when absent; hashed */
int moa_gguf_n_tensor(const moa_gguf *g);
const moa_tensor *moa_gguf_tensor_at(const moa_gguf *g, int i);       /* name, dtype, shape, data in the mapping */
const moa_tensor *moa_gguf_tensor(const moa_gguf *g, const char *name);

/* Typed reads. A present key of the wrong type or out of range is an error; an absent one gives dflt, or with
 * the _need form MOA_ENOTFOUND naming the key. Integers of any width convert when the value fits. */
int moa_gguf_u32(uint32_t *out, const moa_gguf *g, const char *key, uint32_t dflt, moa_err *err);
int moa_gguf_need_u32(uint32_t *out, const moa_gguf *g, const char *key, moa_err *err);
int moa_gguf_f32(float *out, const moa_gguf *g, const char *key, float dflt, moa_err *err);
int moa_gguf_bool(bool *out, const moa_gguf *g, const char *key, bool dflt, moa_err *err);
int moa_gguf_str(moa_str *out, const moa_gguf *g, const char *key, const char *dflt, moa_err *err);
/* Array access; the caller has checked type and index against kv->count. */
moa_str moa_gguf_arr_str(const moa_gguf_kv *kv, uint64_t i); /* O(1): offsets are indexed at open */
float moa_gguf_arr_f32(const moa_gguf_kv *kv, uint64_t i);
int64_t moa_gguf_arr_int(const moa_gguf_kv *kv, uint64_t i);

/* ---- writing ---- */
typedef struct moa_gguf_out moa_gguf_out;
moa_gguf_out *moa_gguf_out_new(void);
void moa_gguf_out_free(moa_gguf_out *o);
/* Values are copied; a repeated key replaces. Errors are sticky and come out of write. */
void moa_gguf_put_u32(moa_gguf_out *o, const char *key, uint32_t v);
void moa_gguf_put_u64(moa_gguf_out *o, const char *key, uint64_t v);
void moa_gguf_put_f32(moa_gguf_out *o, const char *key, float v);
void moa_gguf_put_bool(moa_gguf_out *o, const char *key, bool v);
void moa_gguf_put_str(moa_gguf_out *o, const char *key, const char *v, size_t n);
void moa_gguf_put_arr(moa_gguf_out *o, const char *key, moa_gguf_type elem, const void *v, uint64_t n); /* plain elements */
void moa_gguf_put_strs(moa_gguf_out *o, const char *key, const moa_str *v, uint64_t n);
void moa_gguf_put_kv(moa_gguf_out *o, const moa_gguf_kv *kv); /* copy from another file */
void moa_gguf_put_out(moa_gguf_out *o, const moa_gguf_out *from); /* all keys of another output, not its tensors */
/* data is borrowed until write. */
void moa_gguf_put_tensor(moa_gguf_out *o, const char *name, const moa_tensor *t);
/* data may be NULL where fn is given to write: fn adds exactly the tensor's bytes, so that a large file needs little memory. What
 * moa_writer_add refuses fn gives back as it is: the writer knows why. */
typedef int (*moa_gguf_make_fn)(void *ctx, int i, const moa_tensor *t, struct moa_writer *w, moa_err *err);
void moa_gguf_put_later(moa_gguf_out *o, const char *name, const moa_tensor *t);
int moa_gguf_write(moa_gguf_out *o, const char *path, moa_err *err); /* atomic (base/file.h) */
int moa_gguf_write_with(moa_gguf_out *o, const char *path, moa_gguf_make_fn fn, void *ctx, moa_err *err);
int moa_gguf_head(moa_buf *b, const moa_gguf_out *o, moa_err *err); /* the keys alone, as a file without tensors */
uint64_t moa_gguf_out_bytes(const moa_gguf_out *o); /* of the tensors' data with padding: what the disk must hold, less the keys */

#endif
