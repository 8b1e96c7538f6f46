/* hf_rope.c - how positions are rotated: rope_theta and rope_scaling (before transformers 5) or rope_parameters (since) to
 * GGUF's keys and factor tensors.
 *
 * llama3: the published piecewise rule is not a kind of scaling in GGUF but its result, one divisor a frequency, in the tensor
 * rope_freqs.weight. longrope: two such tensors, for short and for long contexts. dynamic: nothing changes up to
 * max_position_embeddings, which is the context that moa offers.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "format/hf_impl.h"

#include <math.h>
#include <string.h>

typedef struct rope {
    hf_model *m;
    const json_t *o; /* the scaling's object */
    int n_rot, n_ctx;
    double theta;
    moa_err *err;
} rope;

static int number(double *out, const rope *r, const char *key, double dflt) {
    const json_t *v = json_object_get(r->o, key);
    *out = dflt;
    if (!v || json_is_null(v)) {
        if (!isnan(dflt)) return 0;
        return moa_fail(r->err, MOA_ENOTFOUND, "%s: rope scaling: '%s' is missing", r->m->config_path, key);
    }
    if (!json_is_number(v) || !(json_number_value(v) > 0) || !(json_number_value(v) < 1e12))
        return moa_fail(r->err, MOA_EFORMAT, "%s: rope scaling: '%s' is not a positive number", r->m->config_path, key);
    *out = json_number_value(v);
    return 0;
}

/* The context of the first training, beyond which scaling serves. */
static int original(double *out, const rope *r) {
    double top;
    MOA_TRY(hf_num(&top, r->m, "original_max_position_embeddings", r->n_ctx, r->err));
    MOA_TRY(number(out, r, "original_max_position_embeddings", top));
    if (*out >= 2 && *out <= 1 << 24) return 0;
    return moa_fail(r->err, MOA_EFORMAT, "%s: original_max_position_embeddings = %g, expected 2 to 2^24", r->m->config_path, *out);
}

static void put_type(const rope *r, const char *type, double factor) {
    char key[64] = "";
    strncat(key, r->m->type->arch, 40);
    strncat(key, ".rope.scaling.type", sizeof key - strlen(key) - 1);
    moa_gguf_put_str(r->m->keys, key, type, strlen(type));
    if (factor > 0) hf_put_f32(r->m, "rope.scaling.factor", factor);
}

/* Llama 3.1: wavelengths longer than orig / low are stretched by factor, shorter than orig / high not at all. */
static int llama3(const rope *r) {
    double factor, low, high, orig;
    MOA_TRY(number(&factor, r, "factor", 8));
    MOA_TRY(number(&low, r, "low_freq_factor", 1));
    MOA_TRY(number(&high, r, "high_freq_factor", 4));
    MOA_TRY(number(&orig, r, "original_max_position_embeddings", 8192));
    if (!(high > low))
        return moa_fail(r->err, MOA_EFORMAT, "%s: rope scaling: high_freq_factor = %g, expected more than low_freq_factor = %g",
                        r->m->config_path, high, low);
    float *v = moa_arena_alloc(r->m->arena, (size_t)(r->n_rot / 2) * sizeof *v);
    if (!v) return moa_fail(r->err, MOA_ENOMEM, "%s: no memory", r->m->config_path);
    for (int i = 0; i < r->n_rot / 2; i++) {
        const double wave = 2 * M_PI * pow(r->theta, 2.0 * i / r->n_rot), smooth = (orig / wave - low) / (high - low);
        v[i] = (float)(wave < orig / high ? 1 : wave > orig / low ? factor : 1 / ((1 - smooth) / factor + smooth));
    }
    return hf_add_values(r->m, "rope_freqs.weight", v, r->n_rot / 2, r->err);
}

/* YaRN's ramp runs between whole dimensions unless "truncate" is false, which GGUF has no key for: gpt-oss' files are taken to be so,
 * all others to be whole (Hugging Face transformers, modeling_rope_utils; model.py of openai/gpt-oss). What differs is said by moa's own key. */
static int ramp(const rope *r) {
    const json_t *v = json_object_get(r->o, "truncate");
    if (v && !json_is_boolean(v))
        return moa_fail(r->err, MOA_EFORMAT, "%s: rope scaling: 'truncate' is neither true nor false", r->m->config_path);
    const bool whole = !json_is_false(v), usual = strcmp(r->m->type->arch, "gpt-oss") != 0;
    if (whole != usual) hf_put_bool(r->m, "rope.scaling.yarn_truncate", whole);
    return 0;
}

/* Peng et al. 2023. The magnitude is 1 + 0.1 ln(factor) times GGUF's attn_factor; DeepSeek instead gives mscale and
 * mscale_all_dim, whose effects on the rotated parts cancel when they are equal, and the second scales all scores. */
static int yarn(const rope *r) {
    double factor, orig, fast, slow, all, one, magnitude;
    MOA_TRY(number(&factor, r, "factor", NAN));
    MOA_TRY(original(&orig, r));
    MOA_TRY(number(&fast, r, "beta_fast", 32));
    MOA_TRY(number(&slow, r, "beta_slow", 1));
    MOA_TRY(number(&all, r, "mscale_all_dim", -1));
    MOA_TRY(number(&one, r, "mscale", -1));
    MOA_TRY(number(&magnitude, r, "attention_factor", -1));
    put_type(r, "yarn", factor);
    hf_put_u32(r->m, "rope.scaling.original_context_length", (uint32_t)orig);
    MOA_TRY(ramp(r));
    if (fast != 32) hf_put_f32(r->m, "rope.scaling.yarn_beta_fast", fast);
    if (slow != 1) hf_put_f32(r->m, "rope.scaling.yarn_beta_slow", slow);
    if (all > 0) {
        if (one != all)
            return moa_fail(r->err, MOA_EUNSUPPORTED, "%s: rope scaling: mscale = %g, mscale_all_dim = %g, expected equal ones",
                            r->m->config_path, one, all);
        hf_put_f32(r->m, "rope.scaling.yarn_log_multiplier", 0.1 * all);
    } else if (magnitude > 0) {
        hf_put_f32(r->m, "rope.scaling.attn_factor", magnitude / (factor > 1 ? 1 + 0.1 * log(factor) : 1));
    }
    return 0;
}

static int factors(const rope *r, const char *key, const char *name) {
    const json_t *a = json_object_get(r->o, key);
    const size_t n = json_array_size(a);
    if (n != (size_t)(r->n_rot / 2))
        return moa_fail(r->err, MOA_EFORMAT, "%s: rope scaling: '%s' has %zu numbers, expected %d: half of the %d rotated dimensions",
                        r->m->config_path, key, n, r->n_rot / 2, r->n_rot);
    float *v = moa_arena_alloc(r->m->arena, n * sizeof *v);
    if (!v) return moa_fail(r->err, MOA_ENOMEM, "%s: no memory", r->m->config_path);
    for (size_t i = 0; i < n; i++) {
        v[i] = (float)json_number_value(json_array_get(a, i));
        if (!(v[i] > 0 && isfinite(v[i])))
            return moa_fail(r->err, MOA_EFORMAT, "%s: rope scaling: %s[%zu] is not a positive number", r->m->config_path, key, i);
    }
    return hf_add_values(r->m, name, v, (int64_t)n, r->err);
}

/* Ding et al. 2024 */
static int longrope(const rope *r) {
    double orig, magnitude;
    MOA_TRY(original(&orig, r));
    const double scale = r->n_ctx / orig;
    MOA_TRY(number(&magnitude, r, "attention_factor", scale > 1 ? sqrt(1 + log(scale) / log(orig)) : 1));
    MOA_TRY(factors(r, "long_factor", "rope_factors_long.weight"));
    MOA_TRY(factors(r, "short_factor", "rope_factors_short.weight"));
    put_type(r, "longrope", 0);
    hf_put_u32(r->m, "rope.scaling.original_context_length", (uint32_t)orig);
    hf_put_f32(r->m, "rope.scaling.attn_factor", magnitude);
    return 0;
}

static int linear(const rope *r) {
    double factor;
    MOA_TRY(number(&factor, r, "factor", NAN));
    put_type(r, "linear", factor);
    return 0;
}

static int plain(const rope *r) { return (void)r, 0; }

static const struct { const char *name; int (*read)(const rope *r); } KINDS[] = {
    {"default", plain}, {"dynamic", plain}, {"linear", linear}, {"llama3", llama3}, {"yarn", yarn}, {"longrope", longrope}, {"su", longrope},
};

static int scaling(const rope *r) {
    const json_t *v = json_object_get(r->o, "rope_type");
    if (!v) v = json_object_get(r->o, "type");
    const char *kind = v ? json_string_value(v) : "default";
    for (size_t i = 0; kind && i < sizeof KINDS / sizeof *KINDS; i++)
        if (strcmp(KINDS[i].name, kind) == 0) return KINDS[i].read(r);
    moa_fail(r->err, MOA_EUNSUPPORTED, "%s: rope scaling of type '%.40s' is not known", r->m->config_path, kind ? kind : "?");
    return moa_hint(r->err, MOA_EUNSUPPORTED, "known: default, dynamic, linear, llama3, yarn, longrope");
}

int hf_rope_read(hf_model *m, int n_rot, int n_ctx, moa_err *err) {
    rope r = {.m = m, .n_rot = n_rot, .n_ctx = n_ctx, .err = err};
    double theta;
    const json_t *now = hf_get(m, "rope_parameters"), *local = json_object_get(now, "sliding_attention"), *global = json_object_get(now, "full_attention");
    r.o = now ? (global ? global : now) : hf_get(m, "rope_scaling");
    if (r.o && !json_is_object(r.o)) return moa_fail(err, MOA_EFORMAT, "%s: rope_scaling is not an object", m->config_path);
    MOA_TRY(hf_num(&theta, m, "rope_theta", m->type->rope_theta, err));
    MOA_TRY(number(&r.theta, &r, "rope_theta", theta));
    if (!(r.theta > 1)) return moa_fail(err, MOA_EFORMAT, "%s: rope_theta = %g, expected more than 1", m->config_path, r.theta);
    hf_put_f32(m, "rope.freq_base", r.theta);
    hf_put_u32(m, "rope.dimension_count", (uint32_t)n_rot);
    double swa;
    MOA_TRY(hf_num(&swa, m, "rope_local_base_freq", 0, err));
    if (json_is_number(json_object_get(local, "rope_theta"))) swa = json_number_value(json_object_get(local, "rope_theta"));
    if (swa > 0) hf_put_f32(m, "rope.freq_base_swa", swa);
    return r.o ? scaling(&r) : 0;
}
