/* rope.c - the ways in which a model rotates, made once: global layers, local layers.
 *
 * All of them are one rotation by pos * base^(-2i/n) * freq_scale / factor_i, times a magnitude. YaRN (Peng et al. 2023,
 * arXiv:2309.00071) turns fast dimensions as before and slow ones by freq_scale, with a ramp between them:
 *     1 / factor_i = r_i + (1 - r_i) freq_scale,   r_i = 1 - (i - lo) / (hi - lo), cut to 0..1
 * where a dimension that makes b turns within the original context is n ln(n_ctx / (2 pi b)) / (2 ln base), lo for b =
 * yarn_fast and hi for yarn_slow, rounded outwards unless the model says otherwise; the magnitude is 1 + 0.1 ln(1 / freq_scale).
 *
 * LongRoPE (Ding et al. 2024, arXiv:2402.13753) has two lists of factors, for sequences within the original context and for longer
 * ones. A sequence is rotated by one of them from its first position on (session.h).
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "model/weights.h"

#include <math.h>
#include <string.h>

static double turns_at(const moa_hparams *h, float turns) {
    const double two_pi = 6.283185307179586;
    return h->n_rot * log(h->n_ctx_orig / (two_pi * (double)turns)) / (2 * log((double)h->rope_base));
}

static moa_tensor *yarn_factors(moa_model *m, const moa_tensor *given) {
    const moa_hparams *h = &m->h;
    const int64_t n = h->n_rot / 2;
    float *f = moa_arena_alloc(m->arena, (size_t)n * sizeof *f);
    moa_tensor *t = moa_arena_alloc(m->arena, sizeof *t);
    if (!f || !t) return NULL;
    double lo = turns_at(h, h->yarn_fast), hi = turns_at(h, h->yarn_slow);
    if (h->yarn_ramp ? h->yarn_ramp > 0 : !m->arch->exact_ramp) lo = floor(lo), hi = ceil(hi);
    if (lo < 0) lo = 0;
    if (hi > h->n_rot - 1) hi = h->n_rot - 1;
    for (int64_t i = 0; i < n; i++) {
        const double at = ((double)i - lo) / (hi - lo > 0.001 ? hi - lo : 0.001), r = 1 - (at < 0 ? 0 : at > 1 ? 1 : at);
        f[i] = (float)((given ? (double)((const float *)given->data)[i] : 1) / (r + (1 - r) * (double)h->rope_freq_scale));
    }
    *t = moa_view1(MOA_F32, f, n);
    return t;
}

/* Short factors, then long ones: [2, n_rot / 2]. */
static moa_tensor *two_lists(moa_model *m) {
    const int64_t n = m->h.n_rot / 2;
    float *f = moa_arena_alloc(m->arena, 2 * (size_t)n * sizeof *f);
    moa_tensor *t = moa_arena_alloc(m->arena, sizeof *t);
    if (!f || !t) return NULL;
    memcpy(f, m->rope_short->data, (size_t)n * sizeof *f);
    memcpy(f + n, m->rope_long->data, (size_t)n * sizeof *f);
    *t = moa_view2(MOA_F32, f, 2, n);
    return t;
}

static int no_memory(const moa_model *m, moa_err *err) { return moa_fail(err, MOA_ENOMEM, "rope: no memory for %d factors", m->h.n_rot); }

/* Which tensors of factors may be there together. */
static int check_lists(const moa_model *m, moa_err *err) {
    if (!m->rope_short && !m->rope_long) return 0;
    if (!m->rope_short || !m->rope_long)
        return moa_fail(err, MOA_ENOTFOUND, "%s: tensor 'rope_factors_%s.weight' is missing, 'rope_factors_%s.weight' is there", m->path,
                        m->rope_short ? "long" : "short", m->rope_short ? "short" : "long");
    if (!m->h.yarn && !m->rope_factors) return 0;
    return moa_fail(err, MOA_EUNSUPPORTED, "%s: factors for short and long contexts and %s; expected one of them", m->path,
                    m->h.yarn ? "rope.scaling.type = \"yarn\"" : "tensor 'rope_freqs.weight'");
}

static int check_factors(const moa_model *m, const moa_tensor *t, moa_err *err) {
    for (int i = 0; t && i < m->h.n_rot / 2; i++) {
        const float f = ((const float *)t->data)[i];
        if (!(f > 0 && isfinite(f)))
            return moa_fail(err, MOA_EFORMAT, "%s: %s[%d] = %g, expected a positive number", m->path, t->name, i, (double)f);
    }
    return 0;
}

int moa_rope_forms_make(moa_model *m, moa_err *err) {
    const moa_hparams *h = &m->h;
    MOA_TRY(check_factors(m, m->rope_factors, err));
    MOA_TRY(check_factors(m, m->rope_short, err));
    MOA_TRY(check_factors(m, m->rope_long, err));
    MOA_TRY(check_lists(m, err));
    moa_rope_form all = {.base = h->rope_base, .freq_scale = h->rope_freq_scale, .magnitude = h->rope_magnitude};
    all.factors = m->rope_long ? two_lists(m) : m->rope_factors;
    if (m->rope_long && !all.factors) return no_memory(m, err);
    m->rope[MOA_ROPE_GLOBAL] = all;
    if (h->yarn) {
        moa_rope_form *g = &m->rope[MOA_ROPE_GLOBAL];
        if (!(g->factors = yarn_factors(m, g->factors))) return no_memory(m, err);
        g->freq_scale = 1;
        /* Latent attention puts the whole magnitude into the scale of its scores, since most of a head is not rotated. */
        g->magnitude = h->kv_rank ? 1.0f : h->rope_magnitude * (1 - 0.1f * logf(h->rope_freq_scale));
    }
    if (h->rope_local_base > 0) m->rope[MOA_ROPE_LOCAL] = (moa_rope_form){.base = h->rope_local_base, .freq_scale = 1, .magnitude = 1};
    return 0;
}

moa_tensor *moa_rope_heads(moa_exec *x, const moa_model *m, const moa_rope_form *f, moa_tensor *in, int head_dim, int first, moa_tensor *pos,
                           moa_tensor *list) {
    const moa_rope_spec spec = {.head_dim = head_dim, .first = first, .n_rot = m->h.n_rot, .base = f->base, .freq_scale = f->freq_scale,
                                .magnitude = f->magnitude, .pairs = m->h.rope_pairs};
    const bool two = f->factors && f->factors->n_dim == 2;
    return moa_rope_as(x, in, pos, &spec, two && !list ? m->rope_short : f->factors, two ? list : NULL);
}
