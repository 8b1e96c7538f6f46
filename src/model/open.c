/* open.c - a model from a GGUF file: weights stay in the mapping, only vectors that are not f32 (norms and biases of
 * some converters) are widened into the arena.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "model/weights.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct shape_text { char s[64]; } shape_text;

static shape_text shape_str(int n_dim, const int64_t *shape) {
    shape_text t;
    size_t n = 0;
    for (int i = 0; i < n_dim && n < sizeof t.s - 1; i++)
        n += (size_t)snprintf(t.s + n, sizeof t.s - n, "%s%lld", i ? ", " : "", (long long)shape[i]);
    return t;
}

static int check_tensor(const moa_model *m, const moa_tensor *t, const char *name, int n_dim, const int64_t *shape, moa_err *err) {
    bool same = t->n_dim == n_dim;
    for (int i = 0; same && i < n_dim; i++) same = t->shape[i] == shape[i];
    if (!same)
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

/* A struct of our own for a tensor of the file: the graph wants it writable and vectors want f32. */
static moa_tensor *adopt(moa_model *m, const moa_tensor *t, moa_err *err) {
    moa_tensor *own = moa_arena_alloc(m->arena, sizeof *own);
    void *wide = NULL;
    const int64_t n = moa_tensor_count(t);
    if (own && t->n_dim == 1 && t->dtype != MOA_F32) wide = moa_arena_alloc(m->arena, (size_t)n * sizeof(float));
    if (!own || (t->n_dim == 1 && t->dtype != MOA_F32 && !wide))
        return moa_fail(err, MOA_ENOMEM, "%s: no memory for tensor '%s'", moa_gguf_path(m->file), t->name), NULL;
    *own = *t;
    if (wide) {
        moa_type_get(t->dtype)->dequantize(wide, t->data, n);
        *own = moa_view1(MOA_F32, wide, n);
        own->name = t->name;
    }
    m->param[m->n_param++] = own;
    return own;
}

/* Experts as views into one 3-D tensor. */
static int bind_merged(moa_model *m, const moa_weight *w, const moa_tensor *t, moa_err *err) {
    MOA_TRY(check_tensor(m, t, w->name, 3, w->shape, err));
    moa_tensor *all = adopt(m, t, err);
    moa_tensor *view = moa_arena_alloc(m->arena, (size_t)w->shape[0] * sizeof *view);
    if (!all || !view) return moa_fail(err, MOA_ENOMEM, "%s: no memory for tensor '%s'", moa_gguf_path(m->file), w->name);
    for (int64_t e = 0; e < w->shape[0]; e++) {
        view[e] = moa_view2(t->dtype, (char *)t->data + e * t->stride[0], w->shape[1], w->shape[2]);
        view[e].name = t->name;
        w->expert[e].w = &view[e];
    }
    return 0;
}

static int bind_each(moa_model *m, const moa_weight *w, moa_err *err) {
    for (int e = 0; e < (int)w->shape[0]; e++) {
        char name[96];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(name, sizeof name, w->each, e);
#pragma GCC diagnostic pop
        const moa_tensor *t = moa_gguf_tensor(m->file, name);
        if (!t) return e ? missing(m, name, 2, w->shape + 1, err) : missing(m, w->name, 3, w->shape, err);
        MOA_TRY(check_tensor(m, t, name, 2, w->shape + 1, err));
        if (!(w->expert[e].w = adopt(m, t, err))) return MOA_ENOMEM;
    }
    return 0;
}

static int bind(void *ctx, moa_model *m, const moa_weight *w, moa_err *err) {
    (void)ctx;
    const moa_tensor *t = moa_gguf_tensor(m->file, w->name);
    if (w->expert) return t ? bind_merged(m, w, t, err) : bind_each(m, w, err);
    if (!t) return w->optional ? 0 : missing(m, w->name, w->n_dim, w->shape, err);
    MOA_TRY(check_tensor(m, t, w->name, w->n_dim, w->shape, err));
    return (*w->at = adopt(m, t, err)) ? 0 : MOA_ENOMEM;
}

static int read_shape(moa_hparams *h, const moa_arch **arch, const moa_gguf *g, moa_err *err) {
    moa_str name;
    MOA_TRY(moa_gguf_str(&name, g, "general.architecture", "", err));
    if (!name.n) return moa_fail(err, MOA_ENOTFOUND, "%s: key general.architecture is missing", moa_gguf_path(g));
    if (!(*arch = moa_arch_find(name.p, name.n))) {
        moa_fail(err, MOA_EUNSUPPORTED, "%s: architecture '%.*s' is not known", moa_gguf_path(g), (int)(name.n < 64 ? name.n : 64), name.p);
        return moa_hint(err, MOA_EUNSUPPORTED, "moa list archs shows the known ones");
    }
    MOA_TRY(moa_hparams_read(h, *arch, g, err));
    /* The embedding's rows are the vocabulary: a file may pad it beyond the tokenizer's list. */
    const moa_tensor *embd = moa_gguf_tensor(g, "token_embd.weight");
    if (embd && embd->n_dim == 2 && embd->shape[0] > 0 && embd->shape[0] <= 1 << 24) h->n_vocab = (int)embd->shape[0];
    h->tied = moa_gguf_tensor(g, "output.weight") == NULL;
    int rc = moa_hparams_check(h, err);
    if (rc < 0) return moa_wrap(err, rc, "%s", moa_gguf_path(g));
    /* Before tables of that length are allocated. */
    const long long per_layer = h->n_expert ? (long long)h->n_expert : 1;
    if (h->n_layer > moa_gguf_n_tensor(g) || (h->n_expert && per_layer * h->n_layer > (1 << 22)))
        return moa_fail(err, MOA_EFORMAT, "%s: block_count = %d, expert_count = %d, but the file has %d tensors", moa_gguf_path(g),
                        h->n_layer, h->n_expert, moa_gguf_n_tensor(g));
    return 0;
}

static int check_factors(const moa_model *m, moa_err *err) {
    for (int i = 0; m->rope_factors && i < m->h.n_rot / 2; i++) {
        const float f = ((const float *)m->rope_factors->data)[i];
        if (!(f > 0 && isfinite(f)))
            return moa_fail(err, MOA_EFORMAT, "%s: rope_freqs.weight[%d] = %g, expected a positive number", m->path, i, (double)f);
    }
    return 0;
}

int moa_model_open(moa_model **out, const char *path, moa_err *err) {
    moa_gguf *g = NULL;
    moa_model *m = NULL;
    const moa_arch *arch = NULL;
    moa_hparams h;
    MOA_TRY(moa_gguf_open(&g, path, err));
    int rc = read_shape(&h, &arch, g, err);
    if (rc >= 0) rc = moa_model_shell(&m, arch, &h, moa_gguf_n_tensor(g) + 1, err);
    if (rc < 0) {
        moa_gguf_close(g);
        return rc;
    }
    m->file = g;
    m->meta = g;
    if (!(m->path = strdup(path))) rc = moa_fail(err, MOA_ENOMEM, "%s: no memory", path);
    if (rc >= 0) rc = moa_weights_each(m, bind, NULL, err);
    if (rc >= 0) rc = check_factors(m, err);
    if (rc >= 0) rc = moa_model_text_parts(m, err);
    if (rc < 0) {
        moa_model_close(m);
        return rc;
    }
    if (h.tied) m->out.w = m->tok_embd;
    *out = m;
    return 0;
}
