/* make.c - a model made anew, to be trained: f32 weights and gradients in the model's arena.
 *
 * Init as in GPT-2 and Llama practice: normal with deviation 0.02; matrices that write into the residual stream
 * 0.02 / sqrt(2 n_layer), so that its variance does not grow with depth; norms 1, biases 0. Each parameter draws from its
 * own stream of the seed, so that adding a layer does not change the others. What lies side by side in a file (experts,
 * fused projections) does so here, as one parameter each.
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
    for (int64_t i = 0; i < n; i++)
        p[i] = init == MOA_INIT_ONES ? 1.0f : init == MOA_INIT_ZEROS ? 0.0f : (float)(dev * moa_rng_normal(&r));
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
    const int64_t cols = w->part_dim > 1 ? w->shape[w->n_dim - 1] : 1;
    int64_t n = cols;
    for (int i = 0; i < w->n_dim - (w->part_dim > 1); i++) n *= w->shape[i];
    float *data = moa_arena_alloc(m->arena, (size_t)n * sizeof *data), *grad = moa_arena_calloc(m->arena, (size_t)n * sizeof *grad);
    int64_t at = 0;
    for (int i = 0; data && grad && i < w->n_part; i++) {
        const int64_t shape[2] = {w->part[i].rows, cols}, size = w->part[i].rows * cols;
        char name[112];
        snprintf(name, sizeof name, "%s.%d", w->name, i);
        init_data(m, data + at, size, w->init, seed);
        moa_tensor *t = w->n_part > 1 ? add_param(m, name, w->part_dim, shape, data + at, grad + at)
                                      : add_param(m, w->name, w->n_dim, w->shape, data, grad);
        if (!t) data = NULL;
        *w->part[i].at = t;
        at += size;
    }
    return data && grad ? 0 : moa_fail(err, MOA_ENOMEM, "no memory for tensor '%s' of %lld weights", w->name, (long long)n);
}

/* What an architecture says of every model of its kind. */
static void apply_traits(moa_hparams *h, const moa_arch *a) {
    h->rope_pairs = a->rope_pairs;
    h->absorbed = false; /* the expanded form is the one that trains */
    if (!a->window_period) h->n_window = 0;
    if (!h->window_period) h->window_period = a->window_period;
    if (h->rope_local_base == 0) h->rope_local_base = a->rope_local_base;
    if (!a->latent) h->kv_rank = h->q_rank = 0;
}

int moa_model_make(moa_model **out, const char *arch, const moa_hparams *hp, const moa_gguf *meta, uint64_t seed, moa_err *err) {
    const moa_arch *a = moa_arch_find(arch, strlen(arch));
    moa_hparams h = *hp;
    moa_model *m;
    if (!a) return moa_arch_unknown(arch, strlen(arch), err);
    if (a->encoder) return moa_fail(err, MOA_EUNSUPPORTED, "architecture '%s' is an encoder: it cannot be trained", arch);
    apply_traits(&h, a);
    MOA_TRY(moa_hparams_check(&h, err));
    if (a->latent && !h.kv_rank) return moa_fail(err, MOA_EINVAL, "%s: attention.kv_lora_rank = 0, expected the rank of keys and values", arch);
    const long long n_param = (long long)h.n_layer * (32 + 6LL * h.n_expert) + 8;
    if (n_param > 1 << 22) return moa_fail(err, MOA_ELIMIT, "%lld tensors in a model, expected at most %d", n_param, 1 << 22);
    MOA_TRY(moa_model_shell(&m, a, &h, (int)n_param, err));
    m->meta = meta;
    int rc = moa_weights_each(m, create, &(make_ctx){seed}, err);
    if (rc >= 0) rc = moa_model_derive(m, err);
    if (rc >= 0) rc = moa_model_text_parts(m, err);
    if (rc < 0) {
        moa_model_close(m);
        return rc;
    }
    *out = m;
    return 0;
}
