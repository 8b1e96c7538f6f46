/* lora.c - training low-rank matrices beside a model whose weights stay (Hu et al. 2021, arXiv:2106.09685).
 *
 *     y = W x + s B (A x),   A [rank, n_in], B [n_out, rank],   s = alpha / rank
 * at each linear of a layer (attention, dense feed-forward). A is drawn uniformly from +-1 / sqrt(n_in), as PEFT does, B is 0: the
 * first step starts from the model itself. The graph asks a set of sites for what is added to a product (model/model.h), and the set of a
 * training adds ops, which the tape records; that is all there is to it. Tensors that need no gradient get none.
 * SPDX-License-Identifier: Apache-2.0 */
#include "adapt/adapt.h"
#include "base/arena.h"
#include "base/err.h"
#include "base/rng.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct pair { moa_tensor *a, *b; float scale; const char *base; } pair; /* base: the tensor's name in the file */

struct moa_low_rank {
    moa_arena *arena;
    moa_sites sites;
    const moa_site_delta **at; /* [n_site] each a pair, or NULL */
    pair *pair; int n;
};

static moa_tensor *add(moa_exec *x, const moa_site_delta *d, moa_tensor *in, const moa_linear_w *l, moa_tensor *y) {
    const pair *p = (const void *)d;
    (void)l;
    return moa_add(x, y, moa_linear(x, moa_scale(x, moa_linear(x, in, p->a, NULL), p->scale), p->b, NULL));
}

static moa_tensor *matrix(moa_arena *a, const char *base, const char *half, int64_t rows, int64_t cols) {
    moa_tensor *t = moa_arena_alloc(a, 2 * sizeof *t);
    const size_t n = strlen(base) + strlen(half) + 1;
    char *name = moa_arena_alloc(a, n);
    float *data = moa_arena_calloc(a, (size_t)(rows * cols) * sizeof *data), *grad = moa_arena_calloc(a, (size_t)(rows * cols) * sizeof *grad);
    if (!t || !name || !data || !grad) return NULL;
    snprintf(name, n, "%s%s", base, half);
    t[0] = moa_view2(MOA_F32, data, rows, cols);
    t[1] = moa_view2(MOA_F32, grad, rows, cols);
    t[0].name = name;
    t[0].grad = &t[1];
    t[0].needs_grad = true;
    return t;
}

static int adapt(moa_trainer *t, const moa_linear_w *l, moa_err *err) {
    struct moa_low_rank *s = t->low;
    const int64_t rank = t->r->lora.rank, n_in = moa_cols(l->w), n_out = moa_rows(l->w);
    const size_t len = strlen(l->w->name);
    pair *p = &s->pair[s->n];
    moa_rng rng;
    if (len < 7 || strcmp(l->w->name + len - 7, ".weight") != 0) /* a part of what is one tensor in the file */
        return moa_fail(err, MOA_EUNSUPPORTED, "%s: lora: '%s' is no tensor of its own in files of %s", t->r->path, l->w->name, t->m->arch->name);
    *p = (pair){.a = matrix(s->arena, l->w->name, ".lora_a", rank, n_in), .b = matrix(s->arena, l->w->name, ".lora_b", n_out, rank),
                .scale = (float)(t->r->lora.alpha / (double)rank), .base = l->w->name};
    if (!p->a || !p->b) return moa_fail(err, MOA_ENOMEM, "no memory for low-rank matrices");
    moa_rng_seed2(&rng, (uint64_t)t->r->seed, (uint64_t)l->site);
    for (int64_t i = 0; i < rank * n_in; i++) ((float *)p->a->data)[i] = (float)((2 * moa_rng_f64(&rng) - 1) / sqrt((double)n_in));
    s->at[l->site] = (const void *)p;
    t->param[t->n_param++] = (moa_optim_param){.w = p->a, .hidden = true};
    t->param[t->n_param++] = (moa_optim_param){.w = p->b, .hidden = true};
    s->n++;
    return 0;
}

int moa_low_rank_new(moa_trainer *t, moa_err *err) {
    enum { LINEARS = 7 };
    const int most = LINEARS * t->m->h.n_layer;
    struct moa_low_rank *s = t->low = calloc(1, sizeof *s);
    if (s) s->arena = moa_arena_new(0, 0);
    t->param = calloc(2 * (size_t)most, sizeof *t->param);
    if (!s || !s->arena || !t->param) return moa_fail(err, MOA_ENOMEM, "no memory for low-rank matrices");
    s->at = moa_arena_calloc(s->arena, (size_t)t->m->n_site * sizeof *s->at);
    s->pair = moa_arena_calloc(s->arena, (size_t)most * sizeof *s->pair);
    if (!s->at || !s->pair) return moa_fail(err, MOA_ENOMEM, "no memory for low-rank matrices");
    for (int i = 0; i < t->m->n_param; i++) t->m->param[i]->needs_grad = false;
    for (int i = 0; i < t->m->h.n_layer; i++) {
        const moa_layer *l = &t->m->layer[i];
        const moa_linear_w *const one[LINEARS] = {&l->q, &l->k, &l->v, &l->o, &l->gate, &l->up, &l->down};
        for (int k = 0; k < LINEARS; k++)
            if (one[k]->w) MOA_TRY(adapt(t, one[k], err));
    }
    s->sites = (moa_sites){.at = s->at, .n_site = t->m->n_site, .add = add, .key = 1};
    t->x.sites = &s->sites;
    return 0;
}

void moa_low_rank_free(moa_trainer *t) {
    if (!t->low) return;
    moa_arena_free(t->low->arena);
    free(t->low);
    t->low = NULL;
}

static int put(moa_gguf_out *o, moa_arena *ar, const moa_tensor *w, moa_dtype type, moa_err *err) {
    const moa_type *row = moa_type_get(type);
    moa_tensor *t = moa_arena_alloc(ar, sizeof *t);
    void *data = moa_arena_alloc(ar, moa_row_bytes(type, moa_tensor_count(w)));
    if (!t || !data) return moa_fail(err, MOA_ENOMEM, "no memory to write '%s'", w->name);
    if (type == MOA_F32) memcpy(data, w->data, moa_tensor_bytes(w));
    else row->quantize(data, w->data, NULL, moa_tensor_count(w));
    *t = moa_view(type, data, w->n_dim, w->shape);
    moa_gguf_put_tensor(o, w->name, t);
    return 0;
}

int moa_low_rank_export(const moa_trainer *t, const char *path, moa_err *err) {
    const struct moa_low_rank *s = t->low;
    moa_gguf_out *o = moa_gguf_out_new();
    moa_arena *ar = moa_arena_new(0, 0);
    int rc = o && ar ? 0 : moa_fail(err, MOA_ENOMEM, "%s: no memory", path);
    if (rc == 0) {
        const char *arch = t->m->arch->name;
        moa_gguf_put_str(o, "general.type", "adapter", 7);
        moa_gguf_put_str(o, "general.architecture", arch, strlen(arch));
        moa_gguf_put_str(o, "general.name", t->r->name, strlen(t->r->name));
        if (t->r->about) moa_gguf_put_str(o, "general.description", t->r->about, strlen(t->r->about));
        if (t->r->license) moa_gguf_put_str(o, "general.license", t->r->license, strlen(t->r->license));
        moa_gguf_put_str(o, "adapter.type", "lora", 4);
        moa_gguf_put_f32(o, "adapter.lora.alpha", (float)t->r->lora.alpha);
        moa_gguf_put_str(o, "moa.train.recipe", t->r->name, strlen(t->r->name));
        moa_gguf_put_u64(o, "moa.train.recipe_hash", t->r->hash);
        moa_gguf_put_u64(o, "moa.train.steps", (uint64_t)t->at.total_step);
    }
    for (int i = 0; rc == 0 && i < s->n; i++) {
        rc = put(o, ar, s->pair[i].a, moa_type_find(t->r->output.type)->id, err);
        if (rc == 0) rc = put(o, ar, s->pair[i].b, moa_type_find(t->r->output.type)->id, err);
    }
    if (rc == 0) rc = moa_gguf_write(o, path, err);
    moa_arena_free(ar);
    moa_gguf_out_free(o);
    return rc;
}
