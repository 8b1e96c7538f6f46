/* open.c - a model from a GGUF file: weights stay in the mapping, only vectors that are not f32 (norms and biases of
 * some converters) are widened into the arena.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "format/hf.h"
#include "model/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct shape_text { char s[64]; } shape_text;

static shape_text shape_str(int n_dim, const int64_t *shape) {
    shape_text t;
    size_t n = 0;
    for (int i = 0; i < n_dim && n < sizeof t.s - 1; i++)
        n += (size_t)snprintf(t.s + n, sizeof t.s - n, "%s%lld", i ? ", " : "", (long long)shape[i]);
    return t;
}

static bool same_shape(const moa_tensor *t, int n_dim, const int64_t *shape) {
    /* Matrices of heads also come as one below the other. */
    if (n_dim == 3 && t->n_dim == 2) return t->shape[0] == shape[0] * shape[1] && t->shape[1] == shape[2];
    bool same = t->n_dim == n_dim;
    for (int i = 0; same && i < n_dim; i++) same = t->shape[i] == shape[i];
    return same;
}

static int check_tensor(const moa_model *m, const moa_tensor *t, const char *name, int n_dim, const int64_t *shape, moa_err *err) {
    if (!same_shape(t, n_dim, shape))
        return moa_fail(err, MOA_EFORMAT, "%s: tensor '%s' has shape [%s], expected [%s]", moa_gguf_path(m->file), name,
                        shape_str(t->n_dim, t->shape).s, shape_str(n_dim, shape).s);
    const moa_type *type = moa_type_get(t->dtype);
    const bool real = t->dtype == MOA_F32 || t->dtype == MOA_F16 || t->dtype == MOA_BF16 || (type && type->block > 1);
    if (!type || !type->dequantize || !real)
        return moa_fail(err, MOA_EUNSUPPORTED, "%s: tensor '%s' has type %s (%d), expected a type for weights (see: moa list types)",
                        moa_gguf_path(m->file), name, type ? type->name : "unknown", (int)t->dtype);
    return 0;
}

static int missing(const moa_model *m, const char *name, int n_dim, const int64_t *shape, moa_err *err) {
    return moa_fail(err, MOA_ENOTFOUND, "%s: tensor '%s' is missing, expected with shape [%s]", moa_gguf_path(m->file), name,
                    shape_str(n_dim, shape).s);
}

static int no_memory(const moa_model *m, const char *name, moa_err *err) {
    return moa_fail(err, MOA_ENOMEM, "%s: no memory for tensor '%s'", moa_gguf_path(m->file), name);
}

/* A struct of our own for a tensor of the file: the graph wants it writable, and vectors as f32. read: [tensors of the file]. */
static moa_tensor *adopt(moa_model *m, bool *read, const moa_tensor *t, bool vectors) {
    moa_tensor *own = moa_arena_alloc(m->arena, sizeof *own);
    const int64_t n = moa_tensor_count(t);
    if (!own) return NULL;
    read[t - moa_gguf_tensor_at(m->file, 0)] = true;
    *own = *t;
    if (vectors && t->dtype != MOA_F32) {
        void *wide = moa_arena_alloc(m->arena, (size_t)n * sizeof(float));
        if (!wide) return NULL;
        moa_type_get(t->dtype)->dequantize(wide, t->data, n);
        *own = moa_view(MOA_F32, wide, t->n_dim, t->shape);
        own->name = t->name;
    }
    return m->param[m->n_param++] = own;
}

/* The parts of a tensor as views into it. */
static int bind_parts(moa_model *m, bool *read, const moa_weight *w, const moa_tensor *t, moa_err *err) {
    MOA_TRY(check_tensor(m, t, w->name, w->n_dim, w->shape, err));
    const moa_tensor *all = adopt(m, read, t, w->part_dim == 1);
    moa_tensor *view = moa_arena_alloc(m->arena, (size_t)w->n_part * sizeof *view);
    if (!all || !view) return no_memory(m, w->name, err);
    const int64_t cols = w->part_dim > 1 ? w->shape[w->n_dim - 1] : 1;
    char *at = all->data;
    for (int i = 0; i < w->n_part; i++) {
        const int64_t rows = w->part[i].rows;
        view[i] = w->part_dim == 1 ? moa_view1(all->dtype, at, rows) : moa_view2(all->dtype, at, rows, cols);
        view[i].name = t->name;
        if (!moa_packs_offer(m->packs, m->arena, &view[i])) return no_memory(m, w->name, err);
        *w->part[i].at = &view[i];
        at += moa_row_bytes(all->dtype, rows * cols);
    }
    return 0;
}

/* Experts one by one. */
static int bind_each(moa_model *m, bool *read, const moa_weight *w, moa_err *err) {
    for (int e = 0; e < w->n_part; e++) {
        char name[96];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(name, sizeof name, w->each, e);
#pragma GCC diagnostic pop
        const moa_tensor *t = moa_gguf_tensor(m->file, name);
        if (!t) return e ? missing(m, name, 2, w->shape + 1, err) : missing(m, w->name, 3, w->shape, err);
        MOA_TRY(check_tensor(m, t, name, 2, w->shape + 1, err));
        moa_tensor *own = adopt(m, read, t, false);
        if (!own || !moa_packs_offer(m->packs, m->arena, own)) return no_memory(m, name, err);
        *w->part[e].at = own;
    }
    return 0;
}

/* A weight that a model may have or not (a bias, of a choice of experts) and the first layer that was asked for it. */
typedef struct may { char piece[64], first[96]; bool there; } may;
enum { MAX_MAY = 32 }; /* more than weights.c knows */
typedef struct binding { bool *read; may may[MAX_MAY]; int n_may; } binding;

/* What one layer has and another lacks is missing there. */
static int check_layers_alike(binding *b, const moa_model *m, const char *name, bool there, moa_err *err) {
    const char *piece = strncmp(name, "blk.", 4) ? NULL : strchr(name + 4, '.');
    if (!piece) return 0;
    for (int i = 0; i < b->n_may; i++) {
        const may *k = &b->may[i];
        if (strcmp(k->piece, piece) != 0) continue;
        if (k->there == there) return 0;
        return moa_fail(err, MOA_ENOTFOUND, "%s: tensor '%s' is missing, '%s' is there", moa_gguf_path(m->file), there ? k->first : name,
                        there ? name : k->first);
    }
    moa_assert(b->n_may < MAX_MAY);
    may *k = &b->may[b->n_may++];
    snprintf(k->piece, sizeof k->piece, "%s", piece);
    snprintf(k->first, sizeof k->first, "%s", name);
    k->there = there;
    return 0;
}

static int bind(void *ctx, moa_model *m, const moa_weight *w, moa_err *err) {
    binding *b = ctx;
    bool *read = b->read;
    const moa_tensor *t = moa_gguf_tensor(m->file, w->name);
    if (w->optional) MOA_TRY(check_layers_alike(b, m, w->name, t != NULL, err));
    if (!t && w->optional) return 0;
    if (!t) return w->each ? bind_each(m, read, w, err) : missing(m, w->name, w->n_dim, w->shape, err);
    if (w->n_part > 1) return bind_parts(m, read, w, t, err);
    MOA_TRY(check_tensor(m, t, w->name, w->n_dim, w->shape, err));
    moa_tensor *own = adopt(m, read, t, w->part_dim == 1);
    if (!own) return no_memory(m, w->name, err);
    if (own->n_dim != w->n_dim) {
        const char *name = own->name;
        *own = moa_view(own->dtype, own->data, w->n_dim, w->shape);
        own->name = name;
    }
    if (!moa_packs_offer(m->packs, m->arena, own)) return no_memory(m, w->name, err);
    *w->part->at = own;
    return 0;
}

/* What a file may hold besides the weights of the graph, without a difference to text or vectors: the eyes of a model that also reads
 * images, what ranks texts behind an embedding, factors of activations for engines that round them. */
static bool is_beside(const char *name) {
    const size_t n = strlen(name), tail = strlen(".input_scale");
    return !strncmp(name, "v.", 2) || !strncmp(name, "mm.", 3) || !strncmp(name, "cls.", 4) || (n > tail && !strcmp(name + n - tail, ".input_scale"));
}

/* A weight that the graph has no place for (a norm, a further layer, a factor of NVFP4) would be missing from every result. */
static int check_all_read(const moa_model *m, const bool *read, moa_err *err) {
    const char *first = NULL;
    int n = 0;
    for (int i = 0; i < moa_gguf_n_tensor(m->file); i++) {
        const char *name = moa_gguf_tensor_at(m->file, i)->name;
        if (read[i] || is_beside(name)) continue;
        if (!n++) first = name;
    }
    if (!n) return 0;
    moa_fail(err, MOA_EUNSUPPORTED, "%s: tensor '%s' has no place in architecture '%s' of %d layers (%d such tensors)", moa_gguf_path(m->file),
             first, m->arch->name, m->h.n_layer, n);
    return moa_hint(err, MOA_EUNSUPPORTED, "without it the results would not be the model's; moa info --tensors lists what the file holds");
}

static int bind_all(moa_model *m, moa_err *err) {
    binding b = {.read = calloc((size_t)moa_gguf_n_tensor(m->file) + 1, sizeof *b.read)};
    if (!b.read) return moa_fail(err, MOA_ENOMEM, "%s: no memory for a list of %d tensors", moa_gguf_path(m->file), moa_gguf_n_tensor(m->file));
    int rc = moa_weights_each(m, bind, &b, err);
    if (rc >= 0) rc = check_all_read(m, b.read, err);
    free(b.read);
    return rc;
}

static int read_shape(moa_hparams *h, const moa_arch **arch, const moa_gguf *g, moa_err *err) {
    moa_str name, type;
    MOA_TRY(moa_gguf_str(&type, g, "general.type", "model", err));
    if (type.n != 5 || memcmp(type.p, "model", 5) != 0) {
        const bool adapter = type.n == 7 && memcmp(type.p, "adapter", 7) == 0;
        moa_fail(err, MOA_EUNSUPPORTED, "%s: general.type is '%.*s', expected 'model'", moa_gguf_path(g), type.n < 40 ? (int)type.n : 40, type.p);
        if (adapter) return moa_hint(err, MOA_EUNSUPPORTED, "name the model it was made for, and this file with --adapter");
        if (type.n == 6 && memcmp(type.p, "mmproj", 6) == 0) return moa_hint(err, MOA_EUNSUPPORTED, "these are its eyes: name the file of the text model");
        return MOA_EUNSUPPORTED;
    }
    MOA_TRY(moa_gguf_str(&name, g, "general.architecture", "", err));
    if (!name.n) return moa_fail(err, MOA_ENOTFOUND, "%s: key general.architecture is missing", moa_gguf_path(g));
    if (!(*arch = moa_arch_find(name.p, name.n))) {
        const int unknown = moa_arch_unknown(name.p, name.n, err);
        return moa_wrap(err, unknown, "%s", moa_gguf_path(g));
    }
    MOA_TRY(moa_hparams_read(h, *arch, g, err));
    int rc = moa_hparams_check(h, err);
    if (rc < 0) return moa_wrap(err, rc, "%s", moa_gguf_path(g));
    /* Before tables of that length are allocated. */
    const long long per_layer = h->n_expert ? (long long)h->n_expert : 1;
    if (h->n_layer > moa_gguf_n_tensor(g) || (h->n_expert && per_layer * h->n_layer > (1 << 22)))
        return moa_fail(err, MOA_EFORMAT, "%s: block_count = %d, expert_count = %d, but the file has %d tensors", moa_gguf_path(g),
                        h->n_layer, h->n_expert, moa_gguf_n_tensor(g));
    return 0;
}

int moa_model_open_gguf(moa_model **out, moa_gguf *g, moa_err *err) {
    moa_model *m = NULL;
    const moa_arch *arch = NULL;
    moa_hparams h;
    int rc = read_shape(&h, &arch, g, err);
    if (rc >= 0) rc = moa_model_shell(&m, arch, &h, moa_gguf_n_tensor(g) + 1, err);
    if (rc < 0) {
        moa_gguf_close(g);
        return rc;
    }
    m->file = g;
    m->meta = g;
    if (!(m->path = strdup(moa_gguf_path(g))) || !(m->packs = moa_packs_new())) rc = moa_fail(err, MOA_ENOMEM, "%s: no memory", moa_gguf_path(g));
    if (rc >= 0) rc = bind_all(m, err);
    if (rc >= 0) rc = moa_model_derive(m, err);
    if (rc >= 0) rc = moa_model_text_parts(m, err);
    if (rc < 0) {
        moa_model_close(m);
        return rc;
    }
    *out = m;
    return 0;
}

int moa_model_open(moa_model **out, const char *path, moa_err *err) {
    moa_gguf *g = NULL;
    MOA_TRY(moa_gguf_open_any(&g, path, 0, err));
    return moa_model_open_gguf(out, g, err);
}
