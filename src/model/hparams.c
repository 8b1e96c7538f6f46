/* hparams.c - hyper-parameters: from GGUF keys "<arch>.*", to GGUF keys, and whether the numbers fit each other.
 *
 * Keys: the GGUF specification, section "LLM". Layers of unequal width (arrays of head or feed-forward counts) and rope
 * scalings other than "linear" are refused by name, never approximated.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "model/model.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Far above anything published; keeps every product of two of them inside int64. */
enum { MAX_DIM = 1 << 24, MAX_LAYER = 1 << 14, MAX_EXPERT = 1 << 14 };

typedef struct reader {
    const moa_gguf *g;
    const char *arch;
    moa_err *err;
    char key[128];
} reader;

static const char *key_of(reader *r, const char *suffix) {
    snprintf(r->key, sizeof r->key, "%s.%s", r->arch, suffix);
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

static int read_rope(moa_hparams *h, reader *r) {
    moa_str type;
    float factor, legacy;
    MOA_TRY(count(&h->n_rot, r, "rope.dimension_count", h->head_dim));
    MOA_TRY(real(&h->rope_base, r, "rope.freq_base", 10000.0f));
    MOA_TRY(real(&legacy, r, "rope.scale_linear", 1.0f)); /* files before 2023-10 */
    MOA_TRY(real(&factor, r, "rope.scaling.factor", legacy));
    MOA_TRY(moa_gguf_str(&type, r->g, key_of(r, "rope.scaling.type"), factor != 1.0f ? "linear" : "none", r->err));
    const bool none = type.n == 4 && !memcmp(type.p, "none", 4), linear = type.n == 6 && !memcmp(type.p, "linear", 6);
    if (!none && !linear)
        return moa_fail(r->err, MOA_EUNSUPPORTED, "%s: %s = \"%.*s\", expected \"none\" or \"linear\"", moa_gguf_path(r->g), r->key,
                        (int)(type.n < 32 ? type.n : 32), type.p);
    if (linear && !(factor > 0 && isfinite(factor)))
        return moa_fail(r->err, MOA_EFORMAT, "%s: %s.rope.scaling.factor = %g, expected a positive number", moa_gguf_path(r->g),
                        r->arch, (double)factor);
    h->rope_freq_scale = linear ? 1.0f / factor : 1.0f;
    return 0;
}

static int read_heads(moa_hparams *h, reader *r) {
    int value_length;
    MOA_TRY(count(&h->n_head, r, "attention.head_count", -1));
    MOA_TRY(count(&h->n_kv, r, "attention.head_count_kv", h->n_head));
    MOA_TRY(count(&h->head_dim, r, "attention.key_length", h->n_head ? h->d_model / h->n_head : 0));
    MOA_TRY(count(&value_length, r, "attention.value_length", h->head_dim));
    if (value_length != h->head_dim)
        return moa_fail(r->err, MOA_EUNSUPPORTED, "%s: attention.key_length = %d, value_length = %d; expected equal",
                        moa_gguf_path(r->g), h->head_dim, value_length);
    return real(&h->norm_eps, r, "attention.layer_norm_rms_epsilon", 1e-5f);
}

static int read_experts(moa_hparams *h, reader *r) {
    MOA_TRY(count(&h->n_expert, r, "expert_count", 0));
    if (!h->n_expert) return 0;
    MOA_TRY(count(&h->n_expert_used, r, "expert_used_count", -1));
    MOA_TRY(count(&h->d_expert, r, "expert_feed_forward_length", h->d_ff));
    MOA_TRY(real(&h->gate_scale, r, "expert_weights_scale", 1.0f));
    return 0;
}

int moa_hparams_read(moa_hparams *h, const moa_arch *a, const moa_gguf *g, moa_err *err) {
    reader r = {.g = g, .arch = a->name, .err = err};
    *h = (moa_hparams){.rope_pairs = a->rope_pairs, .gate_norm = a->gate_norm};
    const moa_gguf_kv *tokens = moa_gguf_find(g, "tokenizer.ggml.tokens");
    if (tokens && tokens->type == MOA_GGUF_ARR && tokens->count <= INT_MAX) h->n_vocab = (int)tokens->count;
    MOA_TRY(count(&h->n_ctx, &r, "context_length", -1));
    MOA_TRY(count(&h->d_model, &r, "embedding_length", -1));
    MOA_TRY(count(&h->n_layer, &r, "block_count", -1));
    MOA_TRY(count(&h->d_ff, &r, "feed_forward_length", moa_gguf_find(g, key_of(&r, "expert_feed_forward_length")) ? 0 : -1));
    MOA_TRY(read_heads(h, &r));
    MOA_TRY(read_rope(h, &r));
    MOA_TRY(read_experts(h, &r));
    /* 0 means "not given" to moa_hparams_check; a file that says 0 must not get a default. */
    if (h->n_kv < 1 || h->head_dim < 1 || h->n_rot < 1 || !(h->norm_eps > 0) || !(h->rope_base > 0))
        return moa_fail(err, MOA_EFORMAT,
                        "%s: head_count_kv = %d, key_length = %d, rope.dimension_count = %d, rms_epsilon = %g, freq_base = %g; "
                        "expected positive numbers", moa_gguf_path(g), h->n_kv, h->head_dim, h->n_rot, (double)h->norm_eps,
                        (double)h->rope_base);
    return a->hparams ? a->hparams(h, g, err) : 0;
}

static int fits(const char *what, long long v, long long lo, long long hi, moa_err *err) {
    if (v >= lo && v <= hi) return 0;
    return moa_fail(err, MOA_EFORMAT, "hyper-parameters: %s = %lld, expected %lld to %lld", what, v, lo, hi);
}

static void fill_defaults(moa_hparams *h) {
    if (!h->n_kv) h->n_kv = h->n_head;
    if (!h->head_dim && h->n_head > 0) h->head_dim = h->d_model / h->n_head;
    if (!h->n_rot) h->n_rot = h->head_dim;
    if (h->n_expert && !h->d_expert) h->d_expert = h->d_ff;
    if (h->gate_scale == 0) h->gate_scale = 1.0f;
    if (h->norm_eps == 0) h->norm_eps = 1e-5f;
    if (h->rope_base == 0) h->rope_base = 10000.0f;
    if (h->rope_freq_scale == 0) h->rope_freq_scale = 1.0f;
}

int moa_hparams_check(moa_hparams *h, moa_err *err) {
    fill_defaults(h);
    MOA_TRY(fits("n_vocab", h->n_vocab, 1, MAX_DIM, err));
    MOA_TRY(fits("context_length", h->n_ctx, 1, MAX_DIM, err));
    MOA_TRY(fits("embedding_length", h->d_model, 1, MAX_DIM, err));
    MOA_TRY(fits("block_count", h->n_layer, 1, MAX_LAYER, err));
    MOA_TRY(fits("head_count", h->n_head, 1, 1 << 16, err));
    MOA_TRY(fits("head_count_kv", h->n_kv, 1, h->n_head, err));
    if (h->n_head % h->n_kv)
        return moa_fail(err, MOA_EFORMAT, "hyper-parameters: head_count = %d is no multiple of head_count_kv = %d", h->n_head, h->n_kv);
    MOA_TRY(fits("head size (key_length, or embedding_length / head_count)", h->head_dim, 1, 4096, err));
    MOA_TRY(fits("rope.dimension_count (at most the head size)", h->n_rot, 2, h->head_dim, err));
    if (h->n_rot % 2) return moa_fail(err, MOA_EFORMAT, "hyper-parameters: rope.dimension_count = %d, expected an even number", h->n_rot);
    if (h->n_expert) {
        MOA_TRY(fits("expert_count", h->n_expert, 1, MAX_EXPERT, err));
        MOA_TRY(fits("expert_used_count (at most expert_count)", h->n_expert_used, 1, h->n_expert, err));
        MOA_TRY(fits("expert_feed_forward_length", h->d_expert, 1, MAX_DIM, err));
    } else {
        MOA_TRY(fits("feed_forward_length", h->d_ff, 1, MAX_DIM, err));
    }
    if (!(h->norm_eps > 0 && h->norm_eps < 1))
        return moa_fail(err, MOA_EFORMAT, "hyper-parameters: layer_norm_rms_epsilon = %g, expected between 0 and 1", (double)h->norm_eps);
    if (!(h->rope_base > 1 && isfinite(h->rope_base)))
        return moa_fail(err, MOA_EFORMAT, "hyper-parameters: rope.freq_base = %g, expected more than 1", (double)h->rope_base);
    if (!(h->rope_freq_scale > 0 && isfinite(h->rope_freq_scale)))
        return moa_fail(err, MOA_EFORMAT, "hyper-parameters: rope frequency scale = %g, expected a positive number", (double)h->rope_freq_scale);
    if (!isfinite(h->gate_scale))
        return moa_fail(err, MOA_EFORMAT, "hyper-parameters: expert_weights_scale = %g, expected a number", (double)h->gate_scale);
    return 0;
}

void moa_hparams_put(moa_gguf_out *o, const moa_arch *a, const moa_hparams *h) {
    const struct { const char *key; int v; bool on; } counts[] = {
        {"vocab_size", h->n_vocab, true},
        {"context_length", h->n_ctx, true},
        {"embedding_length", h->d_model, true},
        {"block_count", h->n_layer, true},
        {"feed_forward_length", h->d_ff ? h->d_ff : h->d_expert, true},
        {"attention.head_count", h->n_head, true},
        {"attention.head_count_kv", h->n_kv, true},
        {"attention.key_length", h->head_dim, true},
        {"attention.value_length", h->head_dim, true},
        {"rope.dimension_count", h->n_rot, true},
        {"expert_count", h->n_expert, h->n_expert > 0},
        {"expert_used_count", h->n_expert_used, h->n_expert > 0},
        {"expert_feed_forward_length", h->d_expert, h->n_expert > 0 && h->d_expert != h->d_ff},
    };
    char key[128];
#define KEY(suffix) (snprintf(key, sizeof key, "%s.%s", a->name, suffix), key)
    moa_gguf_put_str(o, "general.architecture", a->name, strlen(a->name));
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        if (counts[i].on) moa_gguf_put_u32(o, KEY(counts[i].key), (uint32_t)counts[i].v);
    moa_gguf_put_f32(o, KEY("attention.layer_norm_rms_epsilon"), h->norm_eps);
    moa_gguf_put_f32(o, KEY("rope.freq_base"), h->rope_base);
    if (h->n_expert && h->gate_scale != 1.0f) moa_gguf_put_f32(o, KEY("expert_weights_scale"), h->gate_scale);
    if (h->rope_freq_scale != 1.0f) {
        moa_gguf_put_str(o, KEY("rope.scaling.type"), "linear", 6);
        moa_gguf_put_f32(o, KEY("rope.scaling.factor"), 1.0f / h->rope_freq_scale);
    }
#undef KEY
}
