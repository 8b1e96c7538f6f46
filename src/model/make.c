/* make.c - a model made anew, to be trained: f32 weights and gradients in the model's arena.
 *
 * Init as in GPT-2 and Llama practice: normal with deviation 0.02; matrices that write into the residual stream
 * 0.02 / sqrt(2 n_layer), so that its variance does not grow with depth; norms 1. Each parameter draws from its own
 * stream of the seed, so that adding a layer does not change the others.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/rng.h"
#include "model/weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void init_data(const moa_model *m, float *p, int64_t n, moa_init init, uint64_t seed) {
    const double dev = init == MOA_INIT_RESIDUAL ? 0.02 / sqrt(2.0 * m->h.n_layer) : 0.02;
    moa_rng r;
    moa_rng_seed2(&r, seed, (uint64_t)m->n_param);
    for (int64_t i = 0; i < n; i++) p[i] = init == MOA_INIT_ONES ? 1.0f : (float)(dev * moa_rng_normal(&r));
}

/* A parameter on data and gradient memory that the caller has. */
static moa_tensor *add_param(moa_model *m, const char *name, int n_dim, const int64_t *shape, float *data, float *grad) {
    moa_tensor *t = moa_arena_alloc(m->arena, 2 * sizeof *t);
    char *own = moa_arena_strndup(m->arena, name, strlen(name));
    if (!t || !own) return NULL;
    t[0] = moa_view(MOA_F32, data, n_dim, shape);
    t[1] = moa_view(MOA_F32, grad, n_dim, shape);
    t[0].name = own;
    t[0].grad = &t[1];
    t[0].needs_grad = true;
    return m->param[m->n_param++] = &t[0];
}

typedef struct make_ctx { uint64_t seed; } make_ctx;

static int create(void *ctx, moa_model *m, const moa_weight *w, moa_err *err) {
    const uint64_t seed = ((make_ctx *)ctx)->seed;
    if (w->optional) return 0;
    const int64_t n_each = w->expert ? w->shape[0] : 1, first = w->expert ? 1 : 0;
    int64_t n = 1;
    for (int i = (int)first; i < w->n_dim; i++) n *= w->shape[i];
    float *data = moa_arena_alloc(m->arena, (size_t)(n * n_each) * sizeof *data);
    float *grad = moa_arena_calloc(m->arena, (size_t)(n * n_each) * sizeof *grad);
    for (int64_t e = 0; data && grad && e < n_each; e++) {
        char name[96];
        if (w->expert) snprintf(name, sizeof name, "%s.%lld", w->name, (long long)e);
        init_data(m, data + e * n, n, w->init, seed);
        moa_tensor *t = add_param(m, w->expert ? name : w->name, w->n_dim - (int)first, w->shape + first, data + e * n, grad + e * n);
        if (!t) data = NULL;
        else if (w->expert) w->expert[e].w = t;
        else *w->at = t;
    }
    return data && grad ? 0 : moa_fail(err, MOA_ENOMEM, "no memory for tensor '%s' of %lld weights", w->name, (long long)(n * n_each));
}

int moa_model_make(moa_model **out, const char *arch, const moa_hparams *hp, const moa_gguf *meta, uint64_t seed, moa_err *err) {
    const moa_arch *a = moa_arch_find(arch, strlen(arch));
    moa_hparams h = *hp;
    moa_model *m;
    if (!a) {
        moa_fail(err, MOA_EUNSUPPORTED, "architecture '%s' is not known", arch);
        return moa_hint(err, MOA_EUNSUPPORTED, "moa list archs shows the known ones");
    }
    MOA_TRY(moa_hparams_check(&h, err));
    h.rope_pairs = a->rope_pairs;
    const long long n_param = (long long)h.n_layer * (16 + 3LL * h.n_expert) + 8;
    if (n_param > 1 << 22) return moa_fail(err, MOA_ELIMIT, "%lld tensors in a model, expected at most %d", n_param, 1 << 22);
    MOA_TRY(moa_model_shell(&m, a, &h, (int)n_param, err));
    m->meta = meta;
    int rc = moa_weights_each(m, create, &(make_ctx){seed}, err);
    if (rc >= 0) rc = moa_model_text_parts(m, err);
    if (rc < 0) {
        moa_model_close(m);
        return rc;
    }
    if (h.tied) m->out.w = m->tok_embd;
    *out = m;
    return 0;
}
