/* hparams.c - hyper-parameters: from GGUF keys "<arch>.*", to GGUF keys, and whether the numbers fit each other.
 *
 * Keys: the GGUF specification, section "LLM"; those that are one number with a default are the table below, used for
 * both directions. Layers of unequal width (arrays of head or feed-forward counts) and unknown rope scalings are refused
 * by name, never approximated.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "model/model.h"

#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* Far above anything published; keeps every product of two of them inside int64. */
enum { MAX_DIM = 1 << 24, MAX_LAYER = 1 << 14, MAX_EXPERT = 1 << 14 };

typedef struct reader {
    const moa_gguf *g;
    const moa_arch *arch;
    moa_err *err;
    char key[128];
} reader;

static const char *key_of(reader *r, const char *suffix) {
    snprintf(r->key, sizeof r->key, "%s.%s", r->arch->name, suffix);
    return r->key;
}

/* A count: a number, or an array (one per layer) whose entries are all equal. dflt < 0: needed. */
static int count(int *out, reader *r, const char *suffix, int dflt) {
    const char *key = key_of(r, suffix);
    const moa_gguf_kv *kv = moa_gguf_find(r->g, key);
    uint32_t v = dflt < 0 ? 0 : (uint32_t)dflt;
    if (kv && kv->type == MOA_GGUF_ARR && kv->count > 0 && kv->elem != MOA_GGUF_STR && kv->elem != MOA_GGUF_F32 &&
        kv->elem != MOA_GGUF_F64 && kv->elem != MOA_GGUF_ARR) {
        const int64_t first = moa_gguf_arr_int(kv, 0);
        for (uint64_t i = 1; i < kv->count; i++)
            if (moa_gguf_arr_int(kv, i) != first)
                return moa_fail(r->err, MOA_EUNSUPPORTED, "%s: %s: layer 0 has %lld, layer %llu has %lld; expected equal layers",
                                moa_gguf_path(r->g), key, (long long)first, (unsigned long long)i,
                                (long long)moa_gguf_arr_int(kv, i));
        v = first < 0 || first > UINT32_MAX ? UINT32_MAX : (uint32_t)first;
    } else if (dflt < 0) {
        MOA_TRY(moa_gguf_need_u32(&v, r->g, key, r->err));
    } else {
        MOA_TRY(moa_gguf_u32(&v, r->g, key, v, r->err));
    }
    if (v > MAX_DIM)
        return moa_fail(r->err, MOA_EFORMAT, "%s: %s = %u, expected at most %d", moa_gguf_path(r->g), key, v, MAX_DIM);
    *out = (int)v;
    return 0;
}

static int real(float *out, reader *r, const char *suffix, float dflt) {
    return moa_gguf_f32(out, r->g, key_of(r, suffix), dflt, r->err);
}

static bool has(reader *r, const char *suffix) { return moa_gguf_find(r->g, key_of(r, suffix)) != NULL; }

/* Keys of one number. Those of some architectures only are in use by their trait. */
typedef enum key_use { ANY, DECODERS /* needed */, SCALES /* needed, more than 0 */, LATENT } key_use;
static const struct plain_key { const char *name; size_t at; bool real; float dflt; key_use use; } plain_keys[] = {
#define COUNT(field, name, use) {name, offsetof(moa_hparams, field), false, 0, use}
#define REAL(field, name, dflt, use) {name, offsetof(moa_hparams, field), true, dflt, use}
    REAL(norm_eps, "attention.layer_norm_rms_epsilon", 0, DECODERS), /* 1e-5 or 1e-6: a guess would be a little wrong everywhere */
    REAL(attn_scale, "attention.scale", 0, ANY),
    REAL(attn_cap, "attn_logit_softcapping", 0, ANY),
    REAL(logit_cap, "final_logit_softcapping", 0, ANY),
    REAL(embd_scale, "embedding_scale", 0, SCALES),
    REAL(residual_scale, "residual_scale", 0, SCALES),
    REAL(logit_div, "logit_scale", 0, SCALES),
    REAL(gate_scale, "expert_weights_scale", 1, ANY),
    REAL(rope_base, "rope.freq_base", 10000, ANY),
    REAL(rope_local_base, "rope.freq_base_swa", 0, ANY),
    REAL(rope_magnitude, "rope.scaling.attn_factor", 1, ANY),
    REAL(yarn_log_mul, "rope.scaling.yarn_log_multiplier", 0, ANY),
    REAL(yarn_fast, "rope.scaling.yarn_beta_fast", 32, ANY),
    REAL(yarn_slow, "rope.scaling.yarn_beta_slow", 1, ANY),
    COUNT(n_ctx_orig, "rope.scaling.original_context_length", ANY),
    COUNT(n_dense, "leading_dense_block_count", ANY),
    COUNT(d_shared, "expert_shared_feed_forward_length", ANY),
    COUNT(n_group, "expert_group_count", ANY),
    COUNT(n_group_used, "expert_group_used_count", ANY),
    COUNT(kv_rank, "attention.kv_lora_rank", LATENT),
    COUNT(q_rank, "attention.q_lora_rank", LATENT),
#undef COUNT
#undef REAL
};
enum { N_PLAIN = sizeof plain_keys / sizeof *plain_keys };

static bool in_use(const struct plain_key *k, const moa_arch *a) {
    return k->use == ANY || (k->use == DECODERS && !a->encoder) || (k->use == SCALES && a->scales) || (k->use == LATENT && a->latent);
}

static int read_plain(moa_hparams *h, reader *r) {
    for (int i = 0; i < N_PLAIN; i++) {
        const struct plain_key *k = &plain_keys[i];
        void *at = (char *)h + k->at;
        if (!in_use(k, r->arch)) continue;
        if ((k->use == SCALES || k->use == DECODERS) && !has(r, k->name))
            return moa_fail(r->err, MOA_ENOTFOUND, "%s: key %s is missing", moa_gguf_path(r->g), r->key);
        if (k->real) MOA_TRY(real(at, r, k->name, k->dflt));
        else MOA_TRY(count(at, r, k->name, 0));
        if (k->use == SCALES && *(const float *)at == 0) /* in moa_hparams 0 stands for "not scaled" */
            return moa_fail(r->err, MOA_EFORMAT, "%s: %s = 0, expected a positive number", moa_gguf_path(r->g), key_of(r, k->name));
    }
    return 0;
}

static bool is(moa_str s, const char *text) { return s.n == strlen(text) && !memcmp(s.p, text, s.n); }

static int read_rope(moa_hparams *h, reader *r) {
    moa_str type;
    float factor, legacy;
    MOA_TRY(count(&h->n_rot, r, "rope.dimension_count", h->head_dim));
    MOA_TRY(real(&legacy, r, "rope.scale_linear", 1.0f)); /* files before 2023-10 */
    MOA_TRY(real(&factor, r, "rope.scaling.factor", legacy));
    MOA_TRY(moa_gguf_str(&type, r->g, key_of(r, "rope.scaling.type"), factor != 1.0f ? "linear" : "none", r->err));
    /* longrope: its factors are tensors. */
    const bool none = is(type, "none") || is(type, "longrope");
    h->yarn = is(type, "yarn");
    if (!none && !h->yarn && !is(type, "linear"))
        return moa_fail(r->err, MOA_EUNSUPPORTED, "%s: %s = \"%.*s\", expected \"none\", \"linear\", \"yarn\" or \"longrope\"",
                        moa_gguf_path(r->g), r->key, (int)(type.n < 32 ? type.n : 32), type.p);
    if (has(r, "rope.scaling.yarn_truncate")) { /* moa's own key: GGUF has none for what config.json calls "truncate" */
        bool whole;
        MOA_TRY(moa_gguf_bool(&whole, r->g, r->key, true, r->err));
        h->yarn_ramp = whole ? 1 : -1;
    }
    if (!none && !(factor > 0 && isfinite(factor)))
        return moa_fail(r->err, MOA_EFORMAT, "%s: %s.rope.scaling.factor = %g, expected a positive number", moa_gguf_path(r->g),
                        r->arch->name, (double)factor);
    h->rope_freq_scale = none ? 1.0f : 1.0f / factor;
    return 0;
}

static int read_heads(moa_hparams *h, reader *r) {
    MOA_TRY(count(&h->n_head, r, "attention.head_count", -1));
    MOA_TRY(count(&h->n_kv, r, "attention.head_count_kv", h->n_head));
    MOA_TRY(count(&h->head_dim, r, "attention.key_length", h->n_head ? h->d_model / h->n_head : 0));
    MOA_TRY(count(&h->d_value, r, "attention.value_length", h->head_dim));
    if (!r->arch->latent) return 0;
    /* Newer files of latent attention give the absorbed sizes there, and the model's own under other names. */
    MOA_TRY(count(&h->head_dim, r, "attention.key_length_mla", h->head_dim));
    MOA_TRY(count(&h->d_value, r, "attention.value_length_mla", h->d_value));
    h->n_kv = h->n_head;
    return 0;
}

/* A number n of layers: each n-th is global; or a list of which are local. */
static int read_pattern(moa_hparams *h, reader *r) {
    const moa_gguf_kv *kv = moa_gguf_find(r->g, key_of(r, "attention.sliding_window_pattern"));
    if (!kv) return 0;
    if (kv->type != MOA_GGUF_ARR) return count(&h->window_period, r, "attention.sliding_window_pattern", 0);
    if (kv->elem == MOA_GGUF_STR || kv->elem == MOA_GGUF_ARR || kv->elem == MOA_GGUF_F32 || kv->elem == MOA_GGUF_F64)
        return moa_fail(r->err, MOA_EFORMAT, "%s: %s is a list of %s, expected whole numbers", moa_gguf_path(r->g), r->key,
                        moa_gguf_type_name(kv->elem));
    uint64_t period = 1;
    while (period <= kv->count && moa_gguf_arr_int(kv, period - 1)) period++;
    h->window_period = period > kv->count ? -1 : (int)period;
    for (uint64_t i = 0; i < kv->count; i++)
        if ((moa_gguf_arr_int(kv, i) != 0) != (h->window_period < 0 || (i + 1) % period != 0))
            return moa_fail(r->err, MOA_EUNSUPPORTED, "%s: %s: layer %llu breaks the pattern of %llu layers", moa_gguf_path(r->g), r->key,
                            (unsigned long long)i, (unsigned long long)period);
    return 0;
}

static int read_window(moa_hparams *h, reader *r) {
    if (!r->arch->window_period) return 0;
    h->window_period = r->arch->window_period;
    if (h->rope_local_base == 0) h->rope_local_base = r->arch->rope_local_base;
    MOA_TRY(count(&h->n_window, r, "attention.sliding_window", r->arch->n_window));
    return read_pattern(h, r);
}

static int read_gate(moa_hparams *h, reader *r) {
    const moa_gate_norm usual = r->arch->gate_norm;
    const bool sigmoid = usual == MOA_GATE_SIGMOID || usual == MOA_GATE_SIGMOID_RENORM;
    int fn;
    bool norm;
    MOA_TRY(count(&fn, r, "expert_gating_func", 0));
    MOA_TRY(moa_gguf_bool(&norm, r->g, key_of(r, "expert_weights_norm"),
                          usual == MOA_GATE_SOFTMAX_RENORM || usual == MOA_GATE_SIGMOID_RENORM, r->err));
    if (!fn) fn = usual == MOA_GATE_SOFTMAX_SELECTED ? 3 : sigmoid ? 2 : 1;
    if (fn > 3)
        return moa_fail(r->err, MOA_EUNSUPPORTED, "%s: %s.expert_gating_func = %d, expected 1 (softmax), 2 (sigmoid) or 3 (softmax of the chosen)",
                        moa_gguf_path(r->g), r->arch->name, fn);
    h->gate_norm = fn == 3   ? MOA_GATE_SOFTMAX_SELECTED
                   : fn == 2 ? (norm ? MOA_GATE_SIGMOID_RENORM : MOA_GATE_SIGMOID)
                             : (norm ? MOA_GATE_SOFTMAX_RENORM : MOA_GATE_SOFTMAX);
    return 0;
}

static int read_experts(moa_hparams *h, reader *r) {
    int n_shared;
    MOA_TRY(count(&h->n_expert, r, "expert_count", 0));
    if (!h->n_expert) return 0;
    MOA_TRY(count(&h->n_expert_used, r, "expert_used_count", -1));
    MOA_TRY(count(&h->d_expert, r, "expert_feed_forward_length", h->d_ff));
    MOA_TRY(count(&n_shared, r, "expert_shared_count", 0));
    const long long wide = (long long)n_shared * h->d_expert;
    if (wide > MAX_DIM)
        return moa_fail(r->err, MOA_EFORMAT, "%s: %s.expert_shared_count = %d experts of %d", moa_gguf_path(r->g), r->arch->name, n_shared,
                        h->d_expert);
    if (!h->d_shared) h->d_shared = (int)wide;
    return read_gate(h, r);
}

/* Its attention has a key head for each query head. */
static int check_encoder(const moa_hparams *h, const reader *r) {
    if (h->n_kv == h->n_head && h->d_value == h->head_dim && !h->n_expert) return 0;
    return moa_fail(r->err, MOA_EUNSUPPORTED, "%s: head_count_kv = %d, value_length = %d, expert_count = %d; expected %d, %d and 0 of architecture '%s'",
                    moa_gguf_path(r->g), h->n_kv, h->d_value, h->n_expert, h->n_head, h->head_dim, r->arch->name);
}

/* What tensors say. */
static void read_tensors(moa_hparams *h, const moa_gguf *g) {
    /* The embedding's rows are the vocabulary: a file may pad it beyond the tokenizer's list. */
    const moa_tensor *embd = moa_gguf_tensor(g, "token_embd.weight");
    if (embd && embd->n_dim == 2 && embd->shape[0] > 0 && embd->shape[0] <= 1 << 24) h->n_vocab = (int)embd->shape[0];
    h->tied = moa_gguf_tensor(g, "output.weight") == NULL;
    h->absorbed = h->kv_rank && moa_gguf_tensor(g, "blk.0.attn_k_b.weight") != NULL;
}

int moa_hparams_read(moa_hparams *h, const moa_arch *a, const moa_gguf *g, moa_err *err) {
    reader r = {.g = g, .arch = a, .err = err};
    *h = (moa_hparams){.rope_pairs = a->rope_pairs, .gate_norm = a->gate_norm};
    const moa_gguf_kv *tokens = moa_gguf_find(g, "tokenizer.ggml.tokens");
    if (tokens && tokens->type == MOA_GGUF_ARR && tokens->count <= INT_MAX) h->n_vocab = (int)tokens->count;
    else MOA_TRY(count(&h->n_vocab, &r, "vocab_size", 0));
    MOA_TRY(count(&h->n_ctx, &r, "context_length", -1));
    MOA_TRY(count(&h->d_model, &r, "embedding_length", -1));
    MOA_TRY(count(&h->n_layer, &r, "block_count", -1));
    MOA_TRY(count(&h->d_ff, &r, "feed_forward_length", has(&r, "expert_feed_forward_length") ? 0 : -1));
    MOA_TRY(read_heads(h, &r));
    MOA_TRY(read_plain(h, &r));
    MOA_TRY(read_rope(h, &r));
    MOA_TRY(read_window(h, &r));
    MOA_TRY(read_experts(h, &r));
    /* 0 means "not given" to moa_hparams_check; a file that says 0 must not get a default. */
    if (a->encoder) MOA_TRY(real(&h->norm_eps, &r, "attention.layer_norm_epsilon", 1e-12f));
    if (h->n_head < 1 || h->n_kv < 1 || h->head_dim < 1 || h->d_value < 1 || h->n_rot < 1 || !(h->norm_eps > 0) || !(h->rope_base > 0))
        return moa_fail(err, MOA_EFORMAT,
                        "%s: head_count = %d, head_count_kv = %d, key_length = %d, value_length = %d, rope.dimension_count = %d, epsilon of "
                        "norms = %g, freq_base = %g; expected positive numbers", moa_gguf_path(g), h->n_head, h->n_kv, h->head_dim, h->d_value,
                        h->n_rot, (double)h->norm_eps, (double)h->rope_base);
    if (a->encoder) MOA_TRY(check_encoder(h, &r));
    if (a->latent && !h->kv_rank)
        return moa_fail(err, MOA_EFORMAT, "%s: %s = 0, expected the rank of keys and values", moa_gguf_path(g),
                        key_of(&r, "attention.kv_lora_rank"));
    read_tensors(h, g);
    return a->hparams ? a->hparams(h, g, err) : 0;
}

static int fits(const char *what, long long v, long long lo, long long hi, moa_err *err) {
    if (v >= lo && v <= hi) return 0;
    return moa_fail(err, MOA_EFORMAT, "hyper-parameters: %s = %lld, expected %lld to %lld", what, v, lo, hi);
}

static int fits_real(const char *what, float v, float lo, float hi, moa_err *err) {
    if (v > lo && v < hi) return 0;
    return moa_fail(err, MOA_EFORMAT, "hyper-parameters: %s = %g, expected more than %g and less than %g", what, (double)v, (double)lo, (double)hi);
}

static void fill_defaults(moa_hparams *h) {
    if (!h->n_kv) h->n_kv = h->n_head;
    if (!h->head_dim && h->n_head > 0) h->head_dim = h->d_model / h->n_head;
    if (!h->n_rot) h->n_rot = h->head_dim;
    if (!h->d_value) h->d_value = h->head_dim;
    if (h->n_expert && !h->d_expert) h->d_expert = h->d_ff;
    if (h->gate_scale == 0) h->gate_scale = 1.0f;
    if (h->norm_eps == 0) h->norm_eps = 1e-5f;
    if (h->rope_base == 0) h->rope_base = 10000.0f;
    if (h->rope_freq_scale == 0) h->rope_freq_scale = 1.0f;
    if (h->rope_magnitude == 0) h->rope_magnitude = 1.0f;
    if (!h->n_ctx_orig) h->n_ctx_orig = h->n_ctx;
    if (h->yarn_fast == 0) h->yarn_fast = 32.0f;
    if (h->yarn_slow == 0) h->yarn_slow = 1.0f;
}

static int check_heads(const moa_hparams *h, moa_err *err) {
    MOA_TRY(fits("head_count", h->n_head, 1, 1 << 16, err));
    MOA_TRY(fits("head_count_kv", h->n_kv, 1, h->n_head, err));
    if (h->n_head % h->n_kv)
        return moa_fail(err, MOA_EFORMAT, "hyper-parameters: head_count = %d is no multiple of head_count_kv = %d", h->n_head, h->n_kv);
    MOA_TRY(fits("head size (key_length, or embedding_length / head_count)", h->head_dim, 1, 4096, err));
    MOA_TRY(fits("value_length", h->d_value, 1, 4096, err));
    MOA_TRY(fits("rope.dimension_count (at most the head size)", h->n_rot, 2, h->head_dim, err));
    if (h->n_rot % 2) return moa_fail(err, MOA_EFORMAT, "hyper-parameters: rope.dimension_count = %d, expected an even number", h->n_rot);
    MOA_TRY(fits("attention.sliding_window", h->n_window, 0, MAX_DIM, err));
    if (!h->kv_rank) return 0;
    MOA_TRY(fits("attention.kv_lora_rank", h->kv_rank, 1, 1 << 16, err));
    MOA_TRY(fits("attention.q_lora_rank", h->q_rank, 0, 1 << 16, err));
    MOA_TRY(fits("rope.dimension_count (less than the head size)", h->n_rot, 2, h->head_dim - 1, err));
    return fits("head_count_kv of latent attention (as many as heads)", h->n_kv, h->n_head, h->n_head, err);
}

static int check_experts(const moa_hparams *h, moa_err *err) {
    if (!h->n_expert || h->n_dense) MOA_TRY(fits("feed_forward_length", h->d_ff, 1, MAX_DIM, err));
    if (!h->n_expert) return 0;
    MOA_TRY(fits("expert_count", h->n_expert, 1, MAX_EXPERT, err));
    MOA_TRY(fits("expert_used_count (at most expert_count)", h->n_expert_used, 1, h->n_expert, err));
    MOA_TRY(fits("expert_feed_forward_length", h->d_expert, 1, MAX_DIM, err));
    MOA_TRY(fits("expert_shared_feed_forward_length", h->d_shared, 0, MAX_DIM, err));
    MOA_TRY(fits("leading_dense_block_count (at most block_count)", h->n_dense, 0, h->n_layer, err));
    if (!isfinite(h->gate_scale))
        return moa_fail(err, MOA_EFORMAT, "hyper-parameters: expert_weights_scale = %g, expected a number", (double)h->gate_scale);
    if (h->n_group < 2) return fits("expert_group_count", h->n_group, 0, 1, err);
    if (h->n_expert % h->n_group)
        return moa_fail(err, MOA_EFORMAT, "hyper-parameters: expert_count = %d is no multiple of expert_group_count = %d", h->n_expert, h->n_group);
    MOA_TRY(fits("expert_group_used_count (at most expert_group_count)", h->n_group_used, 1, h->n_group, err));
    return fits("expert_used_count (at most the experts of the groups in use)", h->n_expert_used, 1,
                (long long)h->n_group_used * (h->n_expert / h->n_group), err);
}

static int check_reals(const moa_hparams *h, moa_err *err) {
    if (!(h->norm_eps > 0 && h->norm_eps < 1))
        return moa_fail(err, MOA_EFORMAT, "hyper-parameters: layer_norm_rms_epsilon = %g, expected between 0 and 1", (double)h->norm_eps);
    if (!(h->rope_base > 1 && isfinite(h->rope_base)))
        return moa_fail(err, MOA_EFORMAT, "hyper-parameters: rope.freq_base = %g, expected more than 1", (double)h->rope_base);
    if (!(h->rope_freq_scale > 0 && isfinite(h->rope_freq_scale)))
        return moa_fail(err, MOA_EFORMAT, "hyper-parameters: rope frequency scale = %g, expected a positive number", (double)h->rope_freq_scale);
    if (h->rope_local_base != 0) MOA_TRY(fits_real("rope.freq_base_swa", h->rope_local_base, 1, INFINITY, err));
    MOA_TRY(fits_real("rope.scaling.attn_factor", h->rope_magnitude, 0, 1e6f, err));
    MOA_TRY(fits_real("rope.scaling.yarn_beta_fast", h->yarn_fast, 0, 1e6f, err));
    MOA_TRY(fits_real("rope.scaling.yarn_beta_slow", h->yarn_slow, 0, 1e6f, err));
    MOA_TRY(fits_real("rope.scaling.yarn_log_multiplier", h->yarn_log_mul, -1e3f, 1e3f, err));
    const struct { const char *what; float v; } scales[] = {
        {"attention.scale", h->attn_scale}, {"attn_logit_softcapping", h->attn_cap}, {"final_logit_softcapping", h->logit_cap},
        {"embedding_scale", h->embd_scale}, {"residual_scale", h->residual_scale}, {"logit_scale", h->logit_div}};
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++)
        if (scales[i].v != 0) MOA_TRY(fits_real(scales[i].what, scales[i].v, 0, 1e6f, err));
    return 0;
}

int moa_hparams_check(moa_hparams *h, moa_err *err) {
    fill_defaults(h);
    MOA_TRY(fits("n_vocab", h->n_vocab, 1, MAX_DIM, err));
    MOA_TRY(fits("context_length", h->n_ctx, 1, MAX_DIM, err));
    MOA_TRY(fits("embedding_length", h->d_model, 1, MAX_DIM, err));
    MOA_TRY(fits("block_count", h->n_layer, 1, MAX_LAYER, err));
    MOA_TRY(check_heads(h, err));
    MOA_TRY(check_experts(h, err));
    return check_reals(h, err);
}

static void put_gate(moa_gguf_out *o, const moa_arch *a, const moa_hparams *h, char *key, size_t n) {
    const bool sigmoid = h->gate_norm == MOA_GATE_SIGMOID || h->gate_norm == MOA_GATE_SIGMOID_RENORM;
    if (!h->n_expert || h->gate_norm == a->gate_norm) return;
    snprintf(key, n, "%s.expert_gating_func", a->name);
    moa_gguf_put_u32(o, key, h->gate_norm == MOA_GATE_SOFTMAX_SELECTED ? 3 : sigmoid ? 2 : 1);
    snprintf(key, n, "%s.expert_weights_norm", a->name);
    moa_gguf_put_bool(o, key, h->gate_norm == MOA_GATE_SOFTMAX_RENORM || h->gate_norm == MOA_GATE_SIGMOID_RENORM);
}

void moa_hparams_put(moa_gguf_out *o, const moa_arch *a, const moa_hparams *h) {
    const moa_kv_shape kv = moa_kv_shape_of(h); /* of ordinary attention: the model's own */
    const struct { const char *key; int v; bool on; } counts[] = {
        {"vocab_size", h->n_vocab, true},
        {"context_length", h->n_ctx, true},
        {"embedding_length", h->d_model, true},
        {"block_count", h->n_layer, true},
        {"feed_forward_length", h->d_ff ? h->d_ff : h->d_expert, true},
        {"attention.head_count", h->n_head, true},
        {"attention.head_count_kv", kv.n_kv, true},
        {"attention.key_length", kv.key, true},
        {"attention.value_length", kv.value, true},
        {"attention.key_length_mla", h->head_dim, h->absorbed},
        {"attention.value_length_mla", h->d_value, h->absorbed},
        {"rope.dimension_count", h->n_rot, true},
        {"expert_count", h->n_expert, h->n_expert > 0},
        {"expert_used_count", h->n_expert_used, h->n_expert > 0},
        {"expert_feed_forward_length", h->d_expert, h->n_expert > 0 && h->d_expert != h->d_ff},
        {"attention.sliding_window", h->n_window, a->window_period != 0},
        {"attention.sliding_window_pattern", h->window_period, h->window_period != a->window_period && h->window_period > 0},
    };
    char key[128];
#define KEY(suffix) (snprintf(key, sizeof key, "%s.%s", a->name, suffix), key)
    moa_gguf_put_str(o, "general.architecture", a->name, strlen(a->name));
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (counts[i].on) moa_gguf_put_u32(o, KEY(counts[i].key), (uint32_t)counts[i].v);
    for (int i = 0; i < N_PLAIN; i++) {
        const struct plain_key *k = &plain_keys[i];
        const void *at = (const char *)h + k->at;
        int n = 0;
        float v = 0;
        if (k->real) memcpy(&v, at, sizeof v);
        else memcpy(&n, at, sizeof n);
        if (!in_use(k, a) || (k->at == offsetof(moa_hparams, n_ctx_orig) && n == h->n_ctx)) continue;
        if (k->use == SCALES) moa_gguf_put_f32(o, KEY(k->name), v != 0 ? v : 1.0f);
        else if (k->real && (v != k->dflt || i == 0 || k->at == offsetof(moa_hparams, rope_base))) moa_gguf_put_f32(o, KEY(k->name), v);
        if (!k->real && n) moa_gguf_put_u32(o, KEY(k->name), (uint32_t)n);
    }
    put_gate(o, a, h, key, sizeof key);
    if (h->rope_freq_scale != 1.0f) {
        moa_gguf_put_str(o, KEY("rope.scaling.type"), h->yarn ? "yarn" : "linear", h->yarn ? 4 : 6);
        moa_gguf_put_f32(o, KEY("rope.scaling.factor"), 1.0f / h->rope_freq_scale);
        if (h->yarn_ramp) moa_gguf_put_bool(o, KEY("rope.scaling.yarn_truncate"), h->yarn_ramp > 0);
    }
#undef KEY
}
