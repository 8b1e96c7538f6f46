/* adapter.c - an adapter in memory: which form a path has, what every form must fulfil.
 * SPDX-License-Identifier: Apache-2.0 */
#include "adapt/adapt_impl.h"
#include "base/arena.h"
#include "base/err.h"
#include "base/file.h"
#include "base/rng.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const char *moa_adapter_form_name(moa_adapter_form f) {
    return f == MOA_ADAPTER_PEFT ? "PEFT" : f == MOA_ADAPTER_MLX ? "MLX" : "GGUF";
}

int adapter_new(moa_adapter **out, moa_adapter_form form, const char *path, int cap, moa_err *err) {
    moa_adapter *a = calloc(1, sizeof *a);
    *out = NULL;
    if (a) {
        *a = (moa_adapter){.form = form, .cap = cap ? cap : 1, .path = strdup(path), .arch = "", .base = "", .arena = moa_arena_new(0, 0)};
        a->lora = a->arena ? moa_arena_calloc(a->arena, (size_t)(cap ? cap : 1) * sizeof *a->lora) : NULL;
        a->whole = a->lora ? moa_arena_calloc(a->arena, (size_t)(cap ? cap : 1) * sizeof *a->whole) : NULL;
    }
    if (!a || !a->path || !a->whole) {
        moa_adapter_close(a);
        return moa_fail(err, MOA_ENOMEM, "%s: no memory for an adapter of %d matrices", path, cap);
    }
    *out = a;
    return 0;
}

int adapter_room(moa_adapter *a, int64_t more, moa_err *err) {
    if (a->n + more <= a->cap) return 0;
    const int64_t cap = 2 * (a->n + more);
    moa_lora *v = cap < 1 << 23 ? moa_arena_calloc(a->arena, (size_t)cap * sizeof *v) : NULL;
    if (!v) return moa_fail(err, MOA_ENOMEM, "%s: no memory for an adapter of %lld matrices", a->path, (long long)(a->n + more));
    memcpy(v, a->lora, (size_t)a->n * sizeof *v);
    a->lora = v;
    a->cap = (int)cap;
    return 0;
}

void moa_adapter_close(moa_adapter *a) {
    if (!a) return;
    moa_arena_free(a->arena);
    free(a->path);
    free(a);
}

int adapter_matrix(moa_tensor *out, moa_adapter *a, moa_dtype type, int64_t rows, int64_t cols, const char *tensor, moa_err *err) {
    int64_t n;
    const bool fits = !__builtin_mul_overflow(rows, cols, &n) && n <= INT64_MAX / 64;
    void *p = fits ? moa_arena_alloc(a->arena, moa_row_bytes(type, n)) : NULL;
    if (!p)
        return moa_fail(err, MOA_ENOMEM, "%s: tensor '%.120s': no memory for %lld x %lld numbers", a->path, tensor, (long long)rows, (long long)cols);
    *out = moa_view2(type, p, rows, cols);
    return 0;
}

float *adapter_wide(moa_arena *ar, const moa_tensor *t) {
    if (t->dtype == MOA_F32) return t->data;
    float *v = moa_arena_alloc(ar, (size_t)moa_tensor_count(t) * sizeof *v);
    if (v) moa_type_get(t->dtype)->dequantize(v, t->data, moa_tensor_count(t));
    return v;
}

static int by_name(const void *pa, const void *pb) {
    const moa_lora *a = pa, *b = pb;
    const int c = strcmp(a->name, b->name);
    return c ? c : (a->expert > b->expert) - (a->expert < b->expert);
}

/* Row by row, so that nothing is held twice. what: "A of", or "". */
static int check_finite(const moa_adapter *a, const char *what, const char *name, const moa_tensor *t, moa_err *err) {
    const int64_t cols = moa_cols(t), rows = moa_rows(t);
    const size_t bytes = moa_row_bytes(t->dtype, cols);
    float *row = malloc((size_t)cols * sizeof *row);
    int rc = row ? 0 : moa_fail(err, MOA_ENOMEM, "%s: no memory", a->path);
    for (int64_t r = 0; rc >= 0 && r < rows; r++) {
        moa_type_get(t->dtype)->dequantize(row, (const char *)t->data + (size_t)r * bytes, cols);
        for (int64_t i = 0; rc >= 0 && i < cols; i++)
            if (!isfinite(row[i]))
                rc = moa_fail(err, MOA_EFORMAT, "%s: %s'%.120s' has %f at number %lld, expected finite numbers", a->path, what, name, (double)row[i],
                              (long long)(r * cols + i));
    }
    free(row);
    return rc;
}

static int check_vector(const moa_adapter *a, const char *what, const moa_lora *l, float *v, moa_err *err) {
    const moa_tensor t = moa_view1(MOA_F32, v, l->n_out);
    return v ? check_finite(a, what, l->name, &t, err) : 0;
}

static void add_hash(uint64_t *h, const void *p, int64_t n, size_t size) { *h = p ? moa_hash64(p, (uint64_t)n * size, *h) : moa_mix64(*h); }

static int check_one(moa_adapter *a, const moa_lora *l, moa_err *err) {
    MOA_TRY(check_finite(a, "A of ", l->name, &l->a, err));
    MOA_TRY(check_finite(a, "B of ", l->name, &l->b, err));
    MOA_TRY(check_vector(a, "the bias of ", l, l->bias, err));
    MOA_TRY(check_vector(a, "the magnitude of ", l, l->magnitude, err));
    const struct { int64_t n_in, n_out; int rank, expert; float scale; uint32_t embedding; } shape = {l->n_in, l->n_out, l->rank, l->expert, l->scale, l->embedding};
    add_hash(&a->key, l->name, (int64_t)strlen(l->name) + 1, 1);
    add_hash(&a->key, &shape, 1, sizeof shape);
    add_hash(&a->key, l->a.data, (int64_t)moa_tensor_bytes(&l->a), 1);
    add_hash(&a->key, l->b.data, (int64_t)moa_tensor_bytes(&l->b), 1);
    add_hash(&a->key, l->bias, l->n_out, sizeof *l->bias);
    add_hash(&a->key, l->magnitude, l->n_out, sizeof *l->magnitude);
    return 0;
}

static int check_whole(moa_adapter *a, const moa_whole *w, moa_err *err) {
    const int64_t shape[2] = {moa_rows(&w->w), moa_cols(&w->w)};
    add_hash(&a->key, w->name, (int64_t)strlen(w->name) + 1, 1);
    add_hash(&a->key, shape, 2, sizeof *shape);
    add_hash(&a->key, w->w.data, (int64_t)moa_tensor_bytes(&w->w), 1);
    return check_finite(a, "tensor ", w->name, &w->w, err);
}

static int whole_by_name(const void *pa, const void *pb) { return strcmp(((const moa_whole *)pa)->name, ((const moa_whole *)pb)->name); }

int adapter_finish(moa_adapter *a, moa_err *err) {
    qsort(a->whole, (size_t)a->n_whole, sizeof *a->whole, whole_by_name);
    for (int i = 0; i < a->n_whole; i++) {
        if (i && whole_by_name(&a->whole[i - 1], &a->whole[i]) == 0)
            return moa_fail(err, MOA_EFORMAT, "%s: tensor '%.120s' is there twice", a->path, a->whole[i].name);
        MOA_TRY(check_whole(a, &a->whole[i], err));
    }
    if (!a->n && a->n_whole) return 0;
    if (!a->n) return moa_fail(err, MOA_EFORMAT, "%s: the adapter has no matrices", a->path);
    qsort(a->lora, (size_t)a->n, sizeof *a->lora, by_name);
    for (int i = 0; i < a->n; i++) {
        if (i && by_name(&a->lora[i - 1], &a->lora[i]) == 0) return moa_fail(err, MOA_EFORMAT, "%s: '%.120s' is adapted twice", a->path, a->lora[i].name);
        MOA_TRY(check_one(a, &a->lora[i], err));
    }
    return 0;
}

/* ---- paths ---- */

static bool is_kind(const char *path, mode_t kind) {
    struct stat st;
    return stat(path, &st) == 0 && (st.st_mode & S_IFMT) == kind;
}

static bool ends(const char *s, const char *with) {
    const size_t n = strlen(s), k = strlen(with);
    return n >= k && strcmp(s + n - k, with) == 0;
}

/* The folder of a path, and "/name" behind it. */
static bool beside(char out[4096], const char *path, const char *name) {
    const char *slash = strrchr(path, '/');
    const int dir = is_kind(path, S_IFDIR) ? (int)strlen(path) : slash ? (int)(slash - path) : -1;
    const int n = dir < 0 ? snprintf(out, 4096, "%s", name) : snprintf(out, 4096, "%.*s/%s", dir, path, name);
    return n > 0 && n < 4096 && is_kind(out, S_IFREG);
}

static bool is_gguf(const char *path) {
    moa_gguf *g;
    moa_str type;
    char magic[4] = "";
    FILE *f = is_kind(path, S_IFREG) ? fopen(path, "rb") : NULL;
    const bool may = f && fread(magic, 1, 4, f) == 4 && memcmp(magic, "GGUF", 4) == 0;
    if (f) fclose(f);
    if (!may || moa_gguf_open(&g, path, NULL) < 0) return false;
    const bool yes = moa_gguf_str(&type, g, "general.type", "", NULL) == 0 && type.n == 7 && memcmp(type.p, "adapter", 7) == 0;
    moa_gguf_close(g);
    return yes;
}

bool moa_adapter_is(const char *path) {
    char config[4096];
    if (is_kind(path, S_IFDIR) || ends(path, ".safetensors")) return beside(config, path, "adapter_config.json");
    return is_gguf(path);
}

/* ---- opening ---- */

static int find_weights(char out[4096], const char *path, moa_err *err) {
    static const char *const NAMES[] = {"adapter_model.safetensors", "adapters.safetensors"};
    if (ends(path, ".safetensors") && is_kind(path, S_IFREG)) return snprintf(out, 4096, "%s", path) < 4096 ? 0 : moa_fail(err, MOA_ELIMIT, "%.80s...: a path of over 4095 bytes", path);
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (beside(out, path, NAMES[i])) return 0;
    moa_fail(err, MOA_ENOTFOUND, "%s: neither adapter_model.safetensors nor adapters.safetensors is there", path);
    return beside(out, path, "adapter_model.bin") ? moa_hint(err, MOA_ENOTFOUND, "only safetensors are read: adapter_model.bin can run code when it is loaded")
                                                  : MOA_ENOTFOUND;
}

static int open_folder(moa_adapter **out, const char *path, moa_err *err) {
    char config[4096], weights[4096], *text = NULL;
    size_t len = 0;
    peft_config *c = NULL;
    moa_safetensors *s = NULL;
    if (!beside(config, path, "adapter_config.json")) return moa_fail(err, MOA_ENOTFOUND, "%s: adapter_config.json is not there", path);
    MOA_TRY(find_weights(weights, path, err));
    int rc = moa_read_file(&text, &len, config, MOA_ADAPT_MAX_CONFIG, err);
    if (rc >= 0) rc = peft_config_new(&c, text, len, config, err);
    if (rc >= 0) rc = moa_safetensors_open(&s, weights, err);
    if (rc >= 0) rc = peft_read(out, c, s, err);
    moa_safetensors_close(s);
    peft_config_free(c);
    free(text);
    return rc;
}

int moa_adapter_open_peft(moa_adapter **out, const char *config, size_t n_config, const void *data, size_t n_data, const char *name, moa_err *err) {
    peft_config *c = NULL;
    moa_safetensors *s = NULL;
    *out = NULL;
    int rc = peft_config_new(&c, config, n_config, name, err);
    if (rc >= 0) rc = moa_safetensors_open_memory(&s, data, n_data, name, err);
    if (rc >= 0) rc = peft_read(out, c, s, err);
    moa_safetensors_close(s);
    peft_config_free(c);
    return rc;
}

int moa_adapter_open(moa_adapter **out, const char *path, moa_err *err) {
    moa_gguf *g;
    *out = NULL;
    if (is_kind(path, S_IFDIR) || ends(path, ".safetensors")) return open_folder(out, path, err);
    MOA_TRY(moa_gguf_open(&g, path, err));
    const int rc = moa_adapter_open_gguf(out, g, err);
    moa_gguf_close(g);
    return rc;
}

int moa_adapter_spec(char *path, size_t n, float *scale, const char *spec, moa_err *err) {
    const char *colon = strrchr(spec, ':');
    size_t len = strlen(spec);
    *scale = 1;
    if (colon && !strchr(colon, '/')) {
        char *end;
        const double v = strtod(colon + 1, &end);
        if (end == colon + 1 || *end || !isfinite(v) || fabs(v) > 1e6)
            return moa_fail(err, MOA_EUSAGE, "adapter '%s': '%s' is no scale, expected a number", spec, colon + 1);
        *scale = (float)v;
        len = (size_t)(colon - spec);
    }
    if (!len || len >= n) return moa_fail(err, MOA_EUSAGE, "adapter '%s': expected FILE or FILE:SCALE", spec);
    memcpy(path, spec, len);
    path[len] = 0;
    return 0;
}
