/* peft.c - the weights of PEFT and MLX adapters: a .safetensors file whose tensors are
 *     base_model.model.MODULE.lora_A.weight [r, n_in], .lora_B.weight [n_out, r], .lora_B.bias [n_out]      PEFT
 *     base_model.model.MODULE.lora_embedding_A [r, n_vocab], .lora_embedding_B [d, r]
 *     base_model.model.MODULE.lora_magnitude_vector [n_out]                                                DoRA
 *     base_model.model.MODULE.weight, .bias, .base_layer.weight                        in place of the base's: modules_to_save ...
 *     base_model.model.MODULE[.base_layer ...].lora_A.weight [experts r, n_in], .lora_B.weight [n_out, r experts]     target_parameters:
 *         expert e has rows e r to (e + 1) r of A, columns e, experts + e, ... of B
 *     MODULE.lora_a [n_in, r], .lora_b [r, n_out]                                                          MLX
 * SPDX-License-Identifier: Apache-2.0 */
#include "adapt/adapt_impl.h"
#include "base/arena.h"
#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum part { A, B, BIAS, EMBEDDING_A, EMBEDDING_B, MAGNITUDE, WEIGHT, OWN_BIAS /* of the module itself, in place of the base's */, N_PART } part;

static const struct { const char *suffix; part part; bool mlx; } SUFFIX[] = {
    {".lora_A.weight", A, false}, {".lora_A.default.weight", A, false}, {".lora_B.weight", B, false}, {".lora_B.default.weight", B, false},
    {".lora_B.bias", BIAS, false}, {".lora_B.default.bias", BIAS, false},
    {".lora_embedding_A", EMBEDDING_A, false}, {".lora_embedding_A.default", EMBEDDING_A, false},
    {".lora_embedding_B", EMBEDDING_B, false}, {".lora_embedding_B.default", EMBEDDING_B, false},
    {".lora_magnitude_vector", MAGNITUDE, false}, {".lora_magnitude_vector.weight", MAGNITUDE, false},
    {".lora_magnitude_vector.default.weight", MAGNITUDE, false}, {".lora_a", A, true}, {".lora_b", B, true},
    {".base_layer.weight", WEIGHT, false}, {".base_layer.bias", OWN_BIAS, false}, {".weight", WEIGHT, false}, {".bias", OWN_BIAS, false}};

const char *peft_strip(const char *name) {
    static const char prefix[] = "base_model.model.";
    return strncmp(name, prefix, sizeof prefix - 1) == 0 ? name + sizeof prefix - 1 : name;
}

/* A tensor and what its name says. */
typedef struct item { const moa_st_tensor *t; const char *module; part part; } item;

static int by_module(const void *pa, const void *pb) {
    const item *a = pa, *b = pb;
    const int c = strcmp(a->module, b->module);
    return c ? c : (a->part > b->part) - (a->part < b->part);
}

static int read_name(item *it, moa_adapter *a, const moa_st_tensor *t, bool mlx, moa_err *err) {
    const size_t n = strlen(t->name);
    if (n > 400) return moa_fail(err, MOA_ELIMIT, "%s: tensor '%.60s...' has a name of %zu bytes", a->path, t->name, n);
    for (size_t i = 0; i < sizeof SUFFIX / sizeof *SUFFIX; i++) {
        const size_t k = strlen(SUFFIX[i].suffix);
        if (SUFFIX[i].mlx != mlx || k >= n || strcmp(t->name + n - k, SUFFIX[i].suffix) != 0) continue;
        *it = (item){t, moa_arena_strndup(a->arena, t->name, n - k), SUFFIX[i].part};
        return it->module ? 0 : moa_fail(err, MOA_ENOMEM, "%s: no memory", a->path);
    }
    return moa_fail(err, MOA_EUNSUPPORTED, "%s: tensor '%.120s' is no part of a low-rank adapter", a->path, t->name);
}

static int wrong_shape(const moa_adapter *a, const moa_st_tensor *t, const char *want, moa_err *err) {
    return moa_fail(err, MOA_EFORMAT, "%s: tensor '%.120s' has %d axes, [%lld, %lld], expected %s", a->path, t->name, t->n_dim,
                    (long long)(t->n_dim > 0 ? t->shape[0] : 0), (long long)(t->n_dim > 1 ? t->shape[1] : 0), want);
}

/* dst [cols, rows] = src [rows, cols]^T, of elements of 2 or 4 bytes. */
static void turn(char *dst, const char *src, int64_t rows, int64_t cols, size_t elem) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) memcpy(dst + (size_t)(j * rows + i) * elem, src + (size_t)(i * cols + j) * elem, elem);
}

/* 16-bit floats stay as they are, others become f32; turned if asked for. */
static int matrix(moa_tensor *out, moa_adapter *a, const moa_safetensors *s, const moa_st_tensor *t, bool turned, moa_err *err) {
    const int64_t rows = t->shape[0], cols = t->shape[1];
    moa_dtype type;
    MOA_TRY(moa_st_dtype(&type, s, t, err));
    const bool keep = type == MOA_F16 || type == MOA_BF16;
    MOA_TRY(adapter_matrix(out, a, keep ? type : MOA_F32, turned ? cols : rows, turned ? rows : cols, t->name, err));
    if (!turned && !keep) return moa_st_floats(out->data, s, t, err);
    float *wide = keep ? NULL : malloc((size_t)(rows * cols) * sizeof *wide);
    int rc = keep || wide ? 0 : moa_fail(err, MOA_ENOMEM, "%s: no memory", a->path);
    if (wide) rc = moa_st_floats(wide, s, t, err);
    const char *from = keep ? (const char *)t->data : (const char *)wide;
    if (rc >= 0 && turned) turn(out->data, from, rows, cols, keep ? 2 : 4);
    else if (rc >= 0) memcpy(out->data, from, t->size);
    free(wide);
    return rc;
}

static int vector(float **out, moa_adapter *a, const moa_safetensors *s, const moa_lora *l, const moa_st_tensor *t, moa_err *err) {
    if (!t) return 0;
    int64_t n = 1;
    for (int i = 0; i < t->n_dim; i++) n = t->shape[i] > 1 ? n == 1 ? t->shape[i] : -1 : t->shape[i] == 1 ? n : -1;
    if (t->n_dim < 1 || n != l->n_out) {
        return moa_fail(err, MOA_EFORMAT, "%s: tensor '%.120s' has %d axes, the last of %lld, expected [%lld] as B has rows", a->path, t->name, t->n_dim,
                        (long long)(t->n_dim ? t->shape[t->n_dim - 1] : 0), (long long)l->n_out);
    }
    moa_tensor v;
    MOA_TRY(adapter_matrix(&v, a, MOA_F32, 1, n, t->name, err));
    return moa_st_floats(*out = v.data, s, t, err);
}

static int half_missing(const moa_adapter *a, const moa_st_tensor *t, const char *other, moa_err *err) {
    return moa_fail(err, MOA_ENOTFOUND, "%s: tensor '%.120s' is there, its other half (%s) is missing", a->path, t->name, other);
}

/* A matrix keeps its type; a vector becomes f32, as the model's own. */
static int take_whole(moa_adapter *a, const peft_config *c, const moa_safetensors *s, const char *module, const moa_st_tensor *t, bool bias, int *hit, moa_err *err) {
    moa_whole *w = &a->whole[a->n_whole];
    char name[512];
    MOA_TRY(peft_config_whole(c, peft_strip(module), bias, hit, err));
    if (t->n_dim < 1 || t->n_dim > (bias ? 1 : 2) || !t->size) return wrong_shape(a, t, bias ? "1 axis" : "1 or 2 axes", err);
    snprintf(name, sizeof name, "%s%s", module, bias ? ".bias" : ".weight"); /* read_name bounds it */
    if (!(w->name = moa_arena_strndup(a->arena, name, strlen(name)))) return moa_fail(err, MOA_ENOMEM, "%s: no memory", a->path);
    if (t->n_dim == 2) {
        MOA_TRY(matrix(&w->w, a, s, t, false, err));
    } else {
        MOA_TRY(adapter_matrix(&w->w, a, MOA_F32, 1, t->shape[0], t->name, err));
        MOA_TRY(moa_st_floats(w->w.data, s, t, err));
        w->w = moa_view1(MOA_F32, w->w.data, t->shape[0]);
    }
    w->w.name = w->name;
    a->n_whole++;
    return 0;
}

/* ---- parameters of PEFT's target_parameters ---- */

/* The module without the wrappers of its parameters, whose number it returns. */
static int unwrap(char out[512], const char *module) {
    static const char wrapper[] = ".base_layer";
    size_t n = strlen(module);
    int inner = 0;
    for (; n >= sizeof wrapper && strncmp(module + n - (sizeof wrapper - 1), wrapper, sizeof wrapper - 1) == 0; n -= sizeof wrapper - 1) inner++;
    snprintf(out, 512, "%.*s", (int)(n < 511 ? n : 511), module); /* read_name bounds it */
    return inner;
}

/* Columns e, n + e, 2 n + e, ... of all [n_out, rank n] as b [n_out, rank]. */
static void columns(const moa_tensor *b, const moa_tensor *all, int64_t e, int64_t n) {
    const int64_t rank = moa_cols(b), rows = moa_rows(b);
    const size_t size = moa_row_bytes(b->dtype, 1);
    for (int64_t o = 0; o < rows; o++)
        for (int64_t k = 0; k < rank; k++)
            memcpy((char *)b->data + (size_t)(o * rank + k) * size, (const char *)all->data + (size_t)((o * rank + k) * n + e) * size, size);
}

/* One matrix an expert. key: module and parameter. */
static int take_parameter(moa_adapter *a, const moa_safetensors *s, const char *key, int inner, int rank, float scale, const moa_st_tensor *ta, const moa_st_tensor *tb, moa_err *err) {
    moa_tensor all_a, all_b;
    const int64_t wide = ta->shape[0], n = wide / rank;
    if (wide % rank || tb->shape[1] != wide || n > MOA_ADAPT_MAX_EXPERT)
        return moa_fail(err, MOA_EFORMAT, "%s: tensors '%.100s' [%lld, %lld] and '%.100s' [%lld, %lld] do not fit: expected [experts x %d, n] and [m, experts x %d], up to %d experts", a->path,
                        ta->name, (long long)ta->shape[0], (long long)ta->shape[1], tb->name, (long long)tb->shape[0], (long long)tb->shape[1], rank, rank, MOA_ADAPT_MAX_EXPERT);
    const char *name = moa_arena_strndup(a->arena, key, strlen(key));
    if (!name) return moa_fail(err, MOA_ENOMEM, "%s: no memory", a->path);
    MOA_TRY(adapter_room(a, n, err));
    MOA_TRY(matrix(&all_a, a, s, ta, false, err));
    const size_t bytes = moa_row_bytes(all_a.dtype, rank * ta->shape[1]);
    moa_dtype type;
    MOA_TRY(moa_st_dtype(&type, s, tb, err));
    if (type != MOA_F16 && type != MOA_BF16) type = MOA_F32;
    for (int64_t e = 0; e < n; e++) {
        moa_lora *l = &a->lora[a->n + e];
        *l = (moa_lora){.name = name, .expert = (int)e, .parameter = true, .inner = inner, .n_in = ta->shape[1], .n_out = tb->shape[0], .rank = rank, .scale = scale};
        l->a = moa_view2(all_a.dtype, (char *)all_a.data + (size_t)e * bytes, rank, l->n_in);
        MOA_TRY(adapter_matrix(&l->b, a, type, l->n_out, rank, tb->name, err));
    }
    const moa_arena_mark mark = moa_arena_save(a->arena); /* the file's order is not kept */
    MOA_TRY(matrix(&all_b, a, s, tb, false, err));
    for (int64_t e = 0; e < n; e++) columns(&a->lora[a->n + e].b, &all_b, e, n);
    moa_arena_restore(a->arena, mark);
    a->n += (int)n;
    return 0;
}

/* Tensors of one module, by part. */
static int take(moa_adapter *a, const peft_config *c, const moa_safetensors *s, const char *module, const moa_st_tensor *const t[N_PART], moa_err *err) {
    const bool mlx = a->form == MOA_ADAPTER_MLX, embedding = t[EMBEDDING_A] || t[EMBEDDING_B];
    const moa_st_tensor *ta = embedding ? t[EMBEDDING_A] : t[A], *tb = embedding ? t[EMBEDDING_B] : t[B];
    const moa_st_tensor *any = ta ? ta : tb ? tb : t[BIAS] ? t[BIAS] : t[MAGNITUDE];
    int rank;
    if (!ta || !tb) return half_missing(a, any, ta ? embedding ? "lora_embedding_B" : mlx ? "lora_b" : "lora_B" : embedding ? "lora_embedding_A" : mlx ? "lora_a" : "lora_A", err);
    if (ta->n_dim != 2 || !ta->shape[0] || !ta->shape[1]) return wrong_shape(a, ta, "2 axes, a rank and a width of at least 1", err);
    if (tb->n_dim != 2 || !tb->shape[0] || !tb->shape[1]) return wrong_shape(a, tb, "2 axes, a rank and a width of at least 1", err);
    char bare[512], key[560];
    const char *parameter = "";
    const int inner = unwrap(bare, module), hit = mlx || embedding ? 0 : peft_config_parameter(&parameter, c, peft_strip(bare), inner, err);
    if (hit < 0) return hit;
    if (hit && (t[BIAS] || t[MAGNITUDE]))
        return moa_fail(err, MOA_EUNSUPPORTED, "%s: tensor '%.120s': a parameter has neither a bias nor a magnitude", a->path, (t[BIAS] ? t[BIAS] : t[MAGNITUDE])->name);
    snprintf(key, sizeof key, "%s.%s", bare, parameter);
    float scale;
    MOA_TRY(hit ? peft_config_rank(&rank, &scale, c, peft_strip(key), err) : peft_config_module(&rank, &scale, c, peft_strip(module), err));
    /* The weight of an ordinary module, a router say, may be named as a parameter too. */
    if (hit && (strcmp(parameter, "weight") != 0 || ta->shape[0] != rank)) return take_parameter(a, s, key, inner, rank, scale, ta, tb, err);
    MOA_TRY(adapter_room(a, 1, err));
    moa_lora *l = &a->lora[a->n];
    *l = (moa_lora){.name = module, .expert = -1, .rank = rank, .scale = scale, .embedding = embedding, .n_in = ta->shape[!mlx], .n_out = tb->shape[mlx]};
    if (ta->shape[mlx] != rank || tb->shape[!mlx] != rank)
        return moa_fail(err, MOA_EFORMAT, "%s: tensors '%.100s' [%lld, %lld] and '%.100s' [%lld, %lld] do not fit the rank of their configuration, %d", a->path, ta->name,
                        (long long)ta->shape[0], (long long)ta->shape[1], tb->name, (long long)tb->shape[0], (long long)tb->shape[1], rank);
    if (peft_config_dora(c) && !t[MAGNITUDE]) return half_missing(a, any, "use_dora is true: lora_magnitude_vector", err);
    if (t[MAGNITUDE] && (!peft_config_dora(c) || embedding))
        return moa_fail(err, MOA_EUNSUPPORTED, "%s: tensor '%.120s': %s", a->path, t[MAGNITUDE]->name,
                        embedding ? "DoRA of an embedding is not supported" : "a magnitude, but use_dora is not true");
    MOA_TRY(matrix(&l->a, a, s, ta, mlx || embedding, err));
    MOA_TRY(matrix(&l->b, a, s, tb, mlx, err));
    MOA_TRY(vector(&l->bias, a, s, l, t[BIAS], err));
    MOA_TRY(vector(&l->magnitude, a, s, l, t[MAGNITUDE], err));
    a->n++;
    return 0;
}

static bool low_rank(const moa_st_tensor *const t[N_PART]) {
    for (int i = 0; i < WEIGHT; i++)
        if (t[i]) return true;
    return false;
}

/* With ensure_weight_tying PEFT gives the output what it gives the embedding, and the file may hold one of them only. */
static int check_tied(const moa_adapter *a, const peft_config *c, const item *it, int n, moa_err *err) {
    const char *in = NULL, *out = NULL;
    for (int i = 0; i < n; i++) {
        const size_t len = strlen(it[i].module);
        if (len >= 12 && strcmp(it[i].module + len - 12, "embed_tokens") == 0) in = it[i].module;
        if (len >= 7 && strcmp(it[i].module + len - 7, "lm_head") == 0) out = it[i].module;
    }
    if (!peft_config_ties(c) || !in == !out) return 0;
    return moa_fail(err, MOA_EUNSUPPORTED, "%s: ensure_weight_tying: the file has '%.100s', but nothing for the %s that is to follow it", a->path, in ? in : out, in ? "output" : "embedding");
}

static int take_all(moa_adapter *a, const peft_config *c, const moa_safetensors *s, item *it, int n, int *hit, moa_err *err) {
    for (int i = 0; i < n; i++) MOA_TRY(read_name(&it[i], a, moa_safetensors_at(s, i), a->form == MOA_ADAPTER_MLX, err));
    qsort(it, (size_t)n, sizeof *it, by_module);
    for (int i = 0, end; i < n; i = end) {
        const moa_st_tensor *t[N_PART] = {0};
        for (end = i; end < n && strcmp(it[end].module, it[i].module) == 0; end++) {
            if (t[it[end].part]) return moa_fail(err, MOA_EFORMAT, "%s: tensors '%.100s' and '%.100s' are the same half", a->path, t[it[end].part]->name, it[end].t->name);
            t[it[end].part] = it[end].t;
        }
        if (t[WEIGHT]) MOA_TRY(take_whole(a, c, s, it[i].module, t[WEIGHT], false, hit, err));
        if (t[OWN_BIAS]) MOA_TRY(take_whole(a, c, s, it[i].module, t[OWN_BIAS], true, hit, err));
        if (low_rank(t)) MOA_TRY(take(a, c, s, it[i].module, t, err));
    }
    MOA_TRY(check_tied(a, c, it, n, err));
    for (int i = 0; i < peft_config_n_saved(c); i++)
        if (!hit[i])
            return moa_fail(err, MOA_ENOTFOUND, "%s: modules_to_save names '%.120s', of which the file has no tensor", a->path, peft_config_saved(c, i));
    return 0;
}

int peft_read(moa_adapter **out, const peft_config *c, const moa_safetensors *s, moa_err *err) {
    moa_adapter *a;
    const int n = moa_safetensors_n(s);
    *out = NULL;
    MOA_TRY(adapter_new(&a, peft_config_mlx(c) ? MOA_ADAPTER_MLX : MOA_ADAPTER_PEFT, moa_safetensors_path(s), n, err));
    item *it = calloc((size_t)n + 1, sizeof *it);
    int *hit = calloc((size_t)peft_config_n_saved(c) + 1, sizeof *hit);
    const char *base = peft_config_base(c), *own = moa_arena_strndup(a->arena, base, strlen(base));
    int rc = it && hit && own ? 0 : moa_fail(err, MOA_ENOMEM, "%s: no memory", a->path);
    if (own) a->base = own;
    if (rc >= 0) rc = take_all(a, c, s, it, n, hit, err);
    if (rc >= 0) rc = adapter_finish(a, err);
    free(it);
    free(hit);
    if (rc < 0) {
        moa_adapter_close(a);
        return rc;
    }
    *out = a;
    return 0;
}
