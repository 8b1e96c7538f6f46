/* gguf_adapter.c - adapters as GGUF files. Layout (llama.cpp's adapter format):
 *     general.type "adapter", general.architecture of the base, adapter.type "lora", adapter.lora.alpha f32
 *     NAME.lora_a, NAME.lora_b for the base's tensor NAME: [r, n_in] and [n_out, r]; of merged experts one more axis before them;
 *     of token_embd.weight A lies the other way round: [n_vocab, r]
 *     NAME_norm.weight [n]: a norm in place of the base's, which tools that take adapters out of whole models write
 * The scale is alpha / r, or 1 where alpha is 0.
 * SPDX-License-Identifier: Apache-2.0 */
#include "adapt/adapt_impl.h"
#include "base/arena.h"
#include "base/err.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int expect(const moa_gguf *g, const char *key, const char *want, moa_err *err) {
    moa_str s;
    MOA_TRY(moa_gguf_str(&s, g, key, "", err));
    if (s.n == strlen(want) && memcmp(s.p, want, s.n) == 0) return 0;
    moa_fail(err, MOA_EFORMAT, "%s: %s is '%.*s', expected '%s'", moa_gguf_path(g), key, (int)(s.n < 64 ? s.n : 64), s.p, want);
    return moa_gguf_tensor(g, "token_embd.weight") ? moa_hint(err, MOA_EFORMAT, "this file is a model, not an adapter: -m takes it") : MOA_EFORMAT;
}

static int read_alpha(float *alpha, const moa_gguf *g, moa_err *err) {
    if (!moa_gguf_find(g, "adapter.lora.alpha")) {
        moa_fail(err, MOA_ENOTFOUND, "%s: key adapter.lora.alpha is missing, so the scale is not known", moa_gguf_path(g));
        return moa_hint(err, MOA_ENOTFOUND, "0 says that the matrices are to be taken as they are");
    }
    MOA_TRY(moa_gguf_f32(alpha, g, "adapter.lora.alpha", 0, err));
    if (!isfinite(*alpha)) return moa_fail(err, MOA_EFORMAT, "%s: adapter.lora.alpha is %f, expected a finite number", moa_gguf_path(g), (double)*alpha);
    return moa_gguf_find(g, "adapter.alora.invocation_tokens")
               ? moa_fail(err, MOA_EUNSUPPORTED, "%s: adapter.alora.invocation_tokens: adapters that begin at a token are not supported", moa_gguf_path(g))
               : 0;
}

static int bad_shape(const moa_gguf *g, const moa_tensor *a, const moa_tensor *b, moa_err *err) {
    return moa_fail(err, MOA_EFORMAT, "%s: tensors '%.100s' [%lld, %lld] and '%.100s' [%lld, %lld] do not fit: expected [r, n_in] and [n_out, r], r from 1 to %d",
                    moa_gguf_path(g), a->name, (long long)a->shape[a->n_dim > 1 ? a->n_dim - 2 : 0], (long long)moa_cols(a), b->name,
                    (long long)b->shape[b->n_dim > 1 ? b->n_dim - 2 : 0], (long long)moa_cols(b), MOA_ADAPT_MAX_RANK);
}

/* Matrix e of a tensor: 16-bit floats as they are, others as f32. */
static int matrix(moa_tensor *out, moa_adapter *ad, const moa_tensor *t, int64_t e, moa_err *err) {
    const int64_t rows = t->shape[t->n_dim - 2], cols = moa_cols(t);
    const moa_type *type = moa_type_get(t->dtype);
    if (!type || !type->dequantize)
        return moa_fail(err, MOA_EUNSUPPORTED, "%s: tensor '%.100s' has type %d, expected a type for weights", ad->path, t->name, (int)t->dtype);
    const bool keep = t->dtype == MOA_F16 || t->dtype == MOA_BF16;
    const char *from = (const char *)t->data + (size_t)e * moa_row_bytes(t->dtype, rows * cols);
    MOA_TRY(adapter_matrix(out, ad, keep ? t->dtype : MOA_F32, rows, cols, t->name, err));
    if (keep) memcpy(out->data, from, moa_tensor_bytes(out));
    else type->dequantize(out->data, from, rows * cols);
    return 0;
}

static int take(moa_adapter *ad, const moa_gguf *g, const moa_tensor *a, const moa_tensor *b, float alpha, moa_err *err) {
    const size_t n = strlen(a->name) - strlen(".lora_a");
    const char *name = moa_arena_strndup(ad->arena, a->name, n);
    if (!name) return moa_fail(err, MOA_ENOMEM, "%s: no memory", ad->path);
    const bool embedding = strcmp(name, "token_embd.weight") == 0;
    if (a->n_dim < 2 || a->n_dim > 3 || a->n_dim != b->n_dim || (a->n_dim == 3 && a->shape[0] != b->shape[0])) return bad_shape(g, a, b, err);
    const int64_t rows_a = a->shape[a->n_dim - 2], rank = moa_cols(b);
    if (rank < 1 || rank > MOA_ADAPT_MAX_RANK || rank != (embedding ? moa_cols(a) : rows_a)) return bad_shape(g, a, b, err);
    for (int64_t e = 0; e < (a->n_dim == 3 ? a->shape[0] : 1); e++) {
        moa_lora *l = &ad->lora[ad->n];
        *l = (moa_lora){.name = name, .expert = a->n_dim == 3 ? (int)e : -1, .embedding = embedding, .n_in = embedding ? rows_a : moa_cols(a),
                        .n_out = b->shape[b->n_dim - 2], .rank = (int)rank, .scale = alpha != 0 ? alpha / (float)rank : 1};
        MOA_TRY(matrix(&l->a, ad, a, e, err));
        MOA_TRY(matrix(&l->b, ad, b, e, err));
        ad->n++;
    }
    return 0;
}

static bool ends(const char *s, const char *with) {
    const size_t n = strlen(s), k = strlen(with);
    return n > k && strcmp(s + n - k, with) == 0;
}

/* A norm as a whole. Readers that pass over it get another model. */
static int take_norm(moa_adapter *ad, const moa_tensor *t, moa_err *err) {
    const moa_type *type = moa_type_get(t->dtype);
    moa_whole *w = &ad->whole[ad->n_whole];
    if (t->n_dim != 1 || !type || !type->dequantize)
        return moa_fail(err, MOA_EFORMAT, "%s: tensor '%.100s' has %d axes and type %d, expected a norm of 1 axis", ad->path, t->name, t->n_dim, (int)t->dtype);
    if (!(w->name = moa_arena_strndup(ad->arena, t->name, strlen(t->name)))) return moa_fail(err, MOA_ENOMEM, "%s: no memory", ad->path);
    MOA_TRY(adapter_matrix(&w->w, ad, MOA_F32, 1, t->shape[0], t->name, err));
    type->dequantize(w->w.data, t->data, t->shape[0]);
    w->w = moa_view1(MOA_F32, w->w.data, t->shape[0]);
    w->w.name = w->name;
    ad->n_whole++;
    return 0;
}

/* The other half's name. */
static int other_half(const moa_tensor **out, const moa_gguf *g, const moa_tensor *t, char half, moa_err *err) {
    char name[160];
    const int n = snprintf(name, sizeof name, "%s", t->name);
    if (n < 1 || n >= (int)sizeof name) return moa_fail(err, MOA_ELIMIT, "%s: tensor '%.60s...' has a name of %zu bytes", moa_gguf_path(g), t->name, strlen(t->name));
    name[n - 1] = half;
    *out = moa_gguf_tensor(g, name);
    return *out ? 0 : moa_fail(err, MOA_ENOTFOUND, "%s: tensor '%s' is missing, '%s' is there", moa_gguf_path(g), name, t->name);
}

/* Matrices and norms. */
static int count(int *n, const moa_gguf *g, moa_err *err) {
    int64_t all = 0;
    for (int i = 0; i < moa_gguf_n_tensor(g); i++) {
        const moa_tensor *t = moa_gguf_tensor_at(g, i), *other;
        const bool a = ends(t->name, ".lora_a");
        if (ends(t->name, "_norm.weight") && ++all) continue;
        if (!a && !ends(t->name, ".lora_b"))
            return moa_fail(err, MOA_EUNSUPPORTED, "%s: tensor '%.120s' is neither .lora_a nor .lora_b of a tensor of the base, nor a norm", moa_gguf_path(g), t->name);
        MOA_TRY(other_half(&other, g, t, a ? 'b' : 'a', err));
        if (a) all += t->n_dim == 3 ? t->shape[0] : 1;
    }
    if (all > 1 << 22) return moa_fail(err, MOA_ELIMIT, "%s: %lld adapted matrices, expected at most %d", moa_gguf_path(g), (long long)all, 1 << 22);
    *n = (int)all;
    return 0;
}

static const char *text_of(moa_adapter *a, const moa_gguf *g, const char *key) {
    moa_str s;
    const char *p = moa_gguf_str(&s, g, key, "", NULL) == 0 ? moa_arena_strndup(a->arena, s.p, s.n < 200 ? s.n : 200) : NULL;
    return p ? p : "";
}

int moa_adapter_open_gguf(moa_adapter **out, const moa_gguf *g, moa_err *err) {
    int n = 0;
    float alpha = 0;
    moa_adapter *a;
    const moa_tensor *b = NULL;
    *out = NULL;
    MOA_TRY(expect(g, "general.type", "adapter", err));
    MOA_TRY(expect(g, "adapter.type", "lora", err));
    MOA_TRY(read_alpha(&alpha, g, err));
    MOA_TRY(count(&n, g, err));
    MOA_TRY(adapter_new(&a, MOA_ADAPTER_GGUF, moa_gguf_path(g), n, err));
    a->arch = text_of(a, g, "general.architecture");
    a->base = text_of(a, g, "general.base_model.0.name");
    int rc = *a->arch ? 0 : moa_fail(err, MOA_ENOTFOUND, "%s: key general.architecture is missing", a->path);
    for (int i = 0; rc >= 0 && i < moa_gguf_n_tensor(g); i++) {
        const moa_tensor *t = moa_gguf_tensor_at(g, i);
        if (ends(t->name, "_norm.weight")) rc = take_norm(a, t, err);
        if (!ends(t->name, ".lora_a")) continue;
        rc = other_half(&b, g, t, 'b', err);
        if (rc >= 0) rc = take(a, g, t, b, alpha, err);
    }
    if (rc >= 0) rc = adapter_finish(a, err);
    if (rc < 0) {
        moa_adapter_close(a);
        return rc;
    }
    *out = a;
    return 0;
}
