/* hf_convert.c - a Hugging Face folder written as one GGUF file. Tensors are made while the file is written, some rows at a time,
 * so that memory does not grow with the model; experts that lie apart in the checkpoint become the one 3-D tensor that other
 * readers of GGUF expect.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/file.h"
#include "format/hf_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

enum { STRIP = 4 << 20 /* bytes made at once */ };

/* general.file_type: the numbers of the GGUF specification for a file of mostly one type. */
static const struct { moa_dtype type; uint32_t number; } file_types[] = {
    {MOA_F32, 0},   {MOA_F16, 1},   {MOA_Q4_0, 2},  {MOA_Q4_1, 3},  {MOA_Q8_0, 7},    {MOA_Q5_0, 8},    {MOA_Q5_1, 9}, {MOA_Q2_K, 10},
    {MOA_Q3_K, 11}, {MOA_Q4_K, 14}, {MOA_Q5_K, 16}, {MOA_Q6_K, 18}, {MOA_IQ4_NL, 25}, {MOA_IQ4_XS, 30}, {MOA_BF16, 32}};

static const moa_type *find_type(const char *name, moa_err *err) {
    const moa_type *type = moa_type_find(name);
    for (size_t i = 0; type && type->quantize && i < sizeof file_types / sizeof *file_types; i++)
        if (file_types[i].type == type->id) return type;
    moa_fail(err, MOA_EUSAGE, "type '%.40s' cannot be written", name);
    moa_hint(err, MOA_EUSAGE, "BF16, F16, F32, Q8_0 ...: moa list types shows them");
    return NULL;
}

static moa_dtype target(const hf_tensor *t, const moa_type *type) {
    if (!type || t->small || t->op == HF_MXFP4) return t->dtype;
    return t->shape[t->n_dim - 1] % type->block ? MOA_F16 : type->id;
}

typedef struct work {
    hf_model *m;
    const moa_hf_convert *how;
    uint64_t done, bytes;
    uint8_t *strip;
    size_t strip_bytes;
} work;

static int emit(void *ctx, int i, const moa_tensor *out, struct moa_writer *w, moa_err *err) {
    work *k = ctx;
    const hf_tensor *t = &k->m->tensor[i];
    const size_t row = moa_row_bytes(out->dtype, moa_cols(out));
    const int64_t rows = moa_rows(out);
    int64_t n = (int64_t)(STRIP / row ? STRIP / row : 1);
    if (n > rows) n = rows;
    if ((size_t)n * row > k->strip_bytes) {
        uint8_t *p = realloc(k->strip, (size_t)n * row);
        if (!p) return moa_fail(err, MOA_ENOMEM, "tensor '%s': no memory for %lld rows", t->name, (long long)n);
        k->strip = p;
        k->strip_bytes = (size_t)n * row;
    }
    for (int64_t at = 0; at < rows; at += n) {
        if (k->how->progress && !k->how->progress(k->how->ctx, k->done, k->bytes, t->name)) return moa_fail(err, MOA_ECANCELED, "stopped");
        const int64_t some = rows - at < n ? rows - at : n;
        MOA_TRY(hf_rows(k->strip, out->dtype, t, at, some, err));
        MOA_TRY(moa_writer_add(w, k->strip, (size_t)some * row));
        k->done += (uint64_t)some * row;
    }
    return 0;
}

static int check_room(const char *out, uint64_t bytes, moa_err *err) {
    struct statvfs v;
    const char *slash = strrchr(out, '/');
    char *folder = slash ? strndup(out, slash == out ? 1 : (size_t)(slash - out)) : strdup(".");
    const bool known = folder && statvfs(folder, &v) == 0;
    free(folder);
    const uint64_t room = known ? (uint64_t)v.f_bavail * v.f_frsize : 0;
    if (!known || room >= bytes) return 0; /* a folder that is not there: the writer says so */
    moa_fail(err, MOA_EIO, "%s: the file takes %.2f GB, the disk has room for %.2f GB", out, (double)bytes / 1e9, (double)room / 1e9);
    return moa_hint(err, MOA_EIO, "make room, or choose a smaller --type");
}

static void put_file_type(hf_model *m, const moa_type *type) {
    moa_dtype main = type ? type->id : MOA_F32;
    for (int i = 0; !type && i < m->n_tensor; i++)
        if (strstr(m->tensor[i].name, "token_embd.weight")) main = m->tensor[i].dtype;
    for (size_t i = 0; i < sizeof file_types / sizeof *file_types; i++)
        if (file_types[i].type == main) moa_gguf_put_u32(m->keys, "general.file_type", file_types[i].number);
    moa_gguf_put_u32(m->keys, "general.quantization_version", 2);
}

int moa_hf_write(const char *path, const char *out, const moa_hf_convert *how, moa_err *err) {
    const moa_type *type = how->type ? find_type(how->type, err) : NULL;
    if (how->type && !type) return MOA_EUSAGE;
    work k = {.how = how};
    MOA_TRY(hf_model_open(&k.m, path, err));
    put_file_type(k.m, type);
    for (int i = 0; i < k.m->n_tensor; i++) {
        const hf_tensor *t = &k.m->tensor[i];
        const moa_tensor v = moa_view(target(t, type), NULL, t->n_dim, t->shape);
        moa_gguf_put_later(k.m->keys, t->name, &v);
    }
    k.bytes = moa_gguf_out_bytes(k.m->keys);
    int rc = check_room(out, k.bytes, err);
    if (rc >= 0) rc = moa_gguf_write_with(k.m->keys, out, emit, &k, err);
    free(k.strip);
    hf_model_free(k.m);
    return rc;
}
