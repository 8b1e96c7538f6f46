/* save.c - write a model as GGUF in any type that can be written.
 *
 * Matrices take the asked type; vectors and routers stay F32; a matrix whose rows the type's block does not divide
 * becomes F16. Keys of the source are kept, hyper-parameters are written anew, so that a made model and an opened one
 * give the same complete header. Tensors that already have the right type are not copied.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "model/weights.h"

#include <stdlib.h>
#include <string.h>

/* general.file_type: the numbers of the GGUF specification for a file of mostly one type. */
static const struct { moa_dtype type; uint32_t number; } file_types[] = {
    {MOA_F32, 0},   {MOA_F16, 1},   {MOA_Q4_0, 2},  {MOA_Q4_1, 3},    {MOA_Q8_0, 7},    {MOA_Q5_0, 8},  {MOA_Q5_1, 9},
    {MOA_Q2_K, 10}, {MOA_Q3_K, 11}, {MOA_Q4_K, 14}, {MOA_Q5_K, 16},   {MOA_Q6_K, 18},   {MOA_IQ4_NL, 25}, {MOA_IQ4_XS, 30},
    {MOA_BF16, 32},
};

typedef struct save_ctx {
    moa_gguf_out *o;
    moa_dtype type;
    void **buf; /* converted data, freed after the write */
    int n_buf;
} save_ctx;

static moa_dtype target(const save_ctx *s, const moa_weight *w) {
    if (w->part_dim == 1 || w->router) return MOA_F32;
    const int64_t cols = w->shape[w->n_dim - 1];
    return cols % moa_type_get(s->type)->block ? MOA_F16 : s->type;
}

/* Rows of t -> rows of type `to` at dst. */
static int convert(void *dst, moa_dtype to, const moa_tensor *t, moa_err *err) {
    const int64_t cols = moa_cols(t), rows = moa_rows(t);
    const moa_type *from = moa_type_get(t->dtype), *type = moa_type_get(to);
    const size_t in_bytes = moa_row_bytes(t->dtype, cols), out_bytes = moa_row_bytes(to, cols);
    int failed = 0;
#pragma omp parallel reduction(+ : failed) if (rows * cols > 1 << 16)
    {
        float *wide = malloc((size_t)cols * sizeof *wide);
        if (!wide) failed++;
#pragma omp for
        for (int64_t i = 0; i < rows; i++) {
            if (!wide) continue;
            from->dequantize(wide, (const char *)t->data + (size_t)i * in_bytes, cols);
            type->quantize((char *)dst + (size_t)i * out_bytes, wide, NULL, cols);
        }
        free(wide);
    }
    return failed ? moa_fail(err, MOA_ENOMEM, "no memory for a row of %lld weights", (long long)cols) : 0;
}

/* Are the parts already one block of memory of this type? */
static bool side_by_side(const moa_weight *w, moa_dtype type) {
    const char *next = (*w->part[0].at)->data;
    for (int i = 0; i < w->n_part; i++) {
        const moa_tensor *t = *w->part[i].at;
        if (t->dtype != type || (const char *)t->data != next) return false;
        next += moa_tensor_bytes(t);
    }
    return true;
}

static int put(void *ctx, moa_model *m, const moa_weight *w, moa_err *err) {
    save_ctx *s = ctx;
    (void)m;
    if (!*w->part[0].at) return 0; /* optional and absent */
    const moa_dtype type = target(s, w);
    if (side_by_side(w, type)) {
        const moa_tensor t = moa_view(type, (*w->part[0].at)->data, w->n_dim, w->shape);
        moa_gguf_put_tensor(s->o, w->name, &t);
        return 0;
    }
    int64_t n = 1;
    for (int i = 0; i < w->n_dim; i++) n *= w->shape[i];
    const size_t bytes = moa_row_bytes(type, n);
    char *dst = malloc(bytes), *at = dst;
    if (!dst) return moa_fail(err, MOA_ENOMEM, "tensor '%s': no memory for %zu bytes", w->name, bytes);
    s->buf[s->n_buf++] = dst;
    for (int i = 0; i < w->n_part; i++) {
        const moa_tensor *t = *w->part[i].at;
        MOA_TRY(convert(at, type, t, err));
        at += moa_row_bytes(type, moa_tensor_count(t));
    }
    const moa_tensor t = moa_view(type, dst, w->n_dim, w->shape);
    moa_gguf_put_tensor(s->o, w->name, &t);
    return 0;
}

static int check_type(moa_dtype type, moa_err *err) {
    const moa_type *t = moa_type_get(type);
    for (size_t i = 0; t && t->quantize && i < sizeof file_types / sizeof *file_types; i++)
        if (file_types[i].type == type) return 0;
    moa_fail(err, MOA_EUNSUPPORTED, "weights cannot be written as %s", t ? t->name : "an unknown type");
    return moa_hint(err, MOA_EUNSUPPORTED, "moa list types shows the types that can be written");
}

static bool starts(moa_str s, const char *with) { return s.n >= strlen(with) && !memcmp(s.p, with, strlen(with)); }

static void put_keys(moa_gguf_out *o, const moa_model *m, moa_dtype type, const moa_gguf_out *extra) {
    uint32_t number = 0;
    for (size_t i = 0; i < sizeof file_types / sizeof *file_types; i++)
        if (file_types[i].type == type) number = file_types[i].number;
    moa_gguf_put_str(o, "general.architecture", m->arch->name, strlen(m->arch->name)); /* first, as readers like it */
    moa_gguf_put_str(o, "general.name", m->arch->name, strlen(m->arch->name));
    for (int i = 0; m->meta && i < moa_gguf_n_kv(m->meta); i++) {
        const moa_gguf_kv *kv = moa_gguf_kv_at(m->meta, i);
        if (!starts(kv->key, "split.")) moa_gguf_put_kv(o, kv); /* the new file is whole */
    }
    moa_hparams_put(o, m->arch, &m->h);
    moa_gguf_put_u32(o, "general.file_type", number);
    moa_gguf_put_u32(o, "general.quantization_version", 2);
    if (extra) moa_gguf_put_out(o, extra);
}

int moa_model_save(const moa_model *cm, const char *path, moa_dtype type, const moa_gguf_out *extra, moa_err *err) {
    MOA_TRY(check_type(type, err));
    moa_model m = *cm; /* the walk hands out pointers into the model; put only reads through them */
    save_ctx s = {.o = moa_gguf_out_new(), .type = type, .buf = calloc((size_t)cm->n_param + 1, sizeof(void *))};
    int rc = s.o && s.buf ? 0 : moa_fail(err, MOA_ENOMEM, "%s: no memory", path);
    if (rc >= 0) {
        put_keys(s.o, &m, type, extra);
        rc = moa_weights_each(&m, put, &s, err);
    }
    if (rc >= 0) rc = moa_gguf_write(s.o, path, err);
    for (int i = 0; i < s.n_buf; i++) free(s.buf[i]);
    free(s.buf);
    moa_gguf_out_free(s.o);
    return rc;
}
