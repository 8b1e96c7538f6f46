/* hf_config.c - config.json to GGUF's keys: a table of fields for what is one number with another name, a short function for
 * what is not. The names of both sides are those of the published models' config.json and of the GGUF specification.
 *
 * A field that would change results and that moa has no counterpart for is refused with its value, never dropped.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/file.h"
#include "format/hf_impl.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEED NAN
#define MAY (-INFINITY) /* absent: no key */

/* ---- reading ---- */

const json_t *hf_get(const hf_model *m, const char *key) {
    const json_t *v = json_object_get(m->text, key);
    return json_is_null(v) ? NULL : v;
}

static int missing(const hf_model *m, const char *key, moa_err *err) {
    return moa_fail(err, MOA_ENOTFOUND, "%s: '%s' is missing", m->config_path, key);
}

int hf_num(double *out, const hf_model *m, const char *key, double dflt, moa_err *err) {
    const json_t *v = hf_get(m, key);
    *out = dflt;
    if (!v) return isnan(dflt) ? missing(m, key, err) : 0;
    if (!json_is_number(v) || !isfinite(json_number_value(v)))
        return moa_fail(err, MOA_EFORMAT, "%s: '%s' is not a number", m->config_path, key);
    *out = json_number_value(v);
    return 0;
}

int hf_count(int *out, const hf_model *m, const char *key, int dflt, moa_err *err) {
    double v;
    MOA_TRY(hf_num(&v, m, key, dflt < 0 ? (double)NEED : (double)dflt, err));
    if (!(v >= 0 && v <= 1 << 24) || v != floor(v))
        return moa_fail(err, MOA_EFORMAT, "%s: '%s' = %g, expected a whole number from 0 to 2^24", m->config_path, key, v);
    *out = (int)v;
    return 0;
}

static const char *key_of(char *buf, size_t n, const hf_model *m, const char *key) {
    snprintf(buf, n, "%s.%s", m->type->arch, key);
    return buf;
}

void hf_put_u32(hf_model *m, const char *key, uint32_t v) {
    char k[96];
    moa_gguf_put_u32(m->keys, key_of(k, sizeof k, m, key), v);
}

void hf_put_f32(hf_model *m, const char *key, double v) {
    char k[96];
    moa_gguf_put_f32(m->keys, key_of(k, sizeof k, m, key), (float)v);
}

void hf_put_bool(hf_model *m, const char *key, bool v) {
    char k[96];
    moa_gguf_put_bool(m->keys, key_of(k, sizeof k, m, key), v);
}

static bool truth(const hf_model *m, const char *key, bool dflt) {
    const json_t *v = hf_get(m, key);
    return v ? json_is_true(v) : dflt;
}

/* A switch that is neither would be taken for one of them. */
static int check_switch(const hf_model *m, const char *key, moa_err *err) {
    const json_t *v = hf_get(m, key);
    return !v || json_is_boolean(v) ? 0 : moa_fail(err, MOA_EFORMAT, "%s: '%s' is neither true nor false", m->config_path, key);
}

static int check_switches(const hf_model *m, moa_err *err) {
    static const char *const KEYS[] = {"tie_word_embeddings", "norm_topk_prob", "use_sliding_window"};
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) MOA_TRY(check_switch(m, KEYS[i], err));
    return 0;
}

static int field(hf_model *m, const hf_field *f, moa_err *err) {
    double v;
    int n;
    if (!hf_get(m, f->from) && f->dflt == MAY) return 0;
    if (f->kind == 'b') {
        MOA_TRY(check_switch(m, f->from, err));
        hf_put_bool(m, f->to, truth(m, f->from, f->dflt > 0));
    } else if (f->kind == 'u') {
        MOA_TRY(hf_count(&n, m, f->from, isnan(f->dflt) ? -1 : (int)(f->dflt > 0 ? f->dflt : 0), err));
        hf_put_u32(m, f->to, (uint32_t)n);
    } else {
        MOA_TRY(hf_num(&v, m, f->from, f->dflt, err));
        hf_put_f32(m, f->to, v);
    }
    return 0;
}

static int fields(hf_model *m, const hf_field *f, moa_err *err) {
    for (; f && f->from; f++) MOA_TRY(field(m, f, err));
    return 0;
}

/* What moa computes one way only. */
static int must_be(const hf_model *m, const char *key, double want, moa_err *err) {
    double v;
    const json_t *j = hf_get(m, key);
    if (json_is_boolean(j)) v = json_is_true(j);
    else MOA_TRY(hf_num(&v, m, key, want, err));
    if (v == want) return 0;
    return moa_fail(err, MOA_EUNSUPPORTED, "%s: '%s' = %g, only %g can be run", m->config_path, key, v, want);
}

/* ---- parts that several types share ---- */

static int experts(hf_model *m, const char *count, const char *size, moa_err *err) {
    int used, f;
    MOA_TRY(hf_count(&m->n_expert, m, count, -1, err));
    MOA_TRY(hf_count(&used, m, hf_get(m, "num_experts_per_tok") ? "num_experts_per_tok" : "experts_per_token", -1, err));
    MOA_TRY(hf_count(&f, m, size, -1, err));
    if (m->n_expert < 1 || m->n_expert > 1 << 14 || used < 1 || used > m->n_expert)
        return moa_fail(err, MOA_EFORMAT, "%s: %d experts a token of %s = %d, expected 1 to that and at most 16384", m->config_path, used, count,
                        m->n_expert);
    hf_put_u32(m, "expert_count", (uint32_t)m->n_expert);
    hf_put_u32(m, "expert_used_count", (uint32_t)used);
    hf_put_u32(m, "expert_feed_forward_length", (uint32_t)f);
    return 0;
}

/* true for each layer that sees a window only. */
static int layer_types(hf_model *m, moa_err *err) {
    char k[96];
    int period;
    const json_t *a = hf_get(m, "layer_types");
    MOA_TRY(hf_count(&period, m, "sliding_window_pattern", 0, err));
    if (!a && period) hf_put_u32(m, "attention.sliding_window_pattern", (uint32_t)period);
    if (!a) return 0;
    if (json_array_size(a) != (size_t)m->n_layer)
        return moa_fail(err, MOA_EFORMAT, "%s: layer_types has %zu entries, num_hidden_layers = %d", m->config_path, json_array_size(a), m->n_layer);
    uint8_t *local = moa_arena_alloc(m->arena, (size_t)m->n_layer);
    if (!local) return moa_fail(err, MOA_ENOMEM, "%s: no memory", m->config_path);
    for (int i = 0; i < m->n_layer; i++) {
        const char *s = json_string_value(json_array_get(a, (size_t)i));
        local[i] = s && strcmp(s, "sliding_attention") == 0;
        if (!s || (!local[i] && strcmp(s, "full_attention") != 0))
            return moa_fail(err, MOA_EUNSUPPORTED, "%s: layer_types[%d] is '%.40s', expected full_attention or sliding_attention", m->config_path, i,
                            s ? s : "?");
    }
    moa_gguf_put_arr(m->keys, key_of(k, sizeof k, m, "attention.sliding_window_pattern"), MOA_GGUF_BOOL, local, (uint64_t)m->n_layer);
    return 0;
}

/* Queries are scaled by 1/sqrt(query_pre_attn_scalar), whatever the number of layers says in a file without the key. */
static int query_scale(hf_model *m, moa_err *err) {
    double v;
    MOA_TRY(hf_num(&v, m, "query_pre_attn_scalar", m->head_dim, err));
    if (!(v > 0)) return moa_fail(err, MOA_EFORMAT, "%s: query_pre_attn_scalar = %g, expected a positive number", m->config_path, v);
    hf_put_f32(m, "attention.scale", 1 / sqrt(v));
    return 0;
}

/* ---- types ---- */

static int mixtral(hf_model *m, moa_err *err) { return experts(m, "num_local_experts", "intermediate_size", err); }

static int qwen_moe(hf_model *m, moa_err *err) {
    MOA_TRY(must_be(m, "decoder_sparse_step", 1, err));
    if (json_array_size(hf_get(m, "mlp_only_layers")))
        return moa_fail(err, MOA_EUNSUPPORTED, "%s: mlp_only_layers has %zu entries, only models with experts in each layer can be run",
                        m->config_path, json_array_size(hf_get(m, "mlp_only_layers")));
    hf_put_bool(m, "expert_weights_norm", truth(m, "norm_topk_prob", false));
    return experts(m, "num_experts", "moe_intermediate_size", err);
}

static int olmoe(hf_model *m, moa_err *err) {
    if (hf_get(m, "clip_qkv")) return moa_fail(err, MOA_EUNSUPPORTED, "%s: clip_qkv is set, only null can be run", m->config_path);
    hf_put_bool(m, "expert_weights_norm", truth(m, "norm_topk_prob", false));
    return experts(m, "num_experts", "intermediate_size", err);
}

static int gemma2(hf_model *m, moa_err *err) {
    MOA_TRY(layer_types(m, err));
    return query_scale(m, err);
}

static int granitemoe(hf_model *m, moa_err *err) {
    int shared;
    MOA_TRY(hf_count(&shared, m, "shared_intermediate_size", 0, err));
    if (shared) hf_put_u32(m, "expert_shared_feed_forward_length", (uint32_t)shared);
    return experts(m, "num_local_experts", "intermediate_size", err);
}

static int deepseek(hf_model *m, moa_err *err) {
    int nope, rot, value, q_rank, n_group;
    const json_t *fn = hf_get(m, "scoring_func");
    const char *score = fn ? json_string_value(fn) : strcmp(m->type->model_type, "deepseek_v3") == 0 ? "sigmoid" : "softmax";
    const bool sigmoid = score && strcmp(score, "sigmoid") == 0;
    if (!sigmoid && (!score || strcmp(score, "softmax") != 0))
        return moa_fail(err, MOA_EUNSUPPORTED, "%s: scoring_func is '%.40s', expected softmax or sigmoid", m->config_path, score ? score : "?");
    MOA_TRY(hf_count(&nope, m, "qk_nope_head_dim", -1, err));
    MOA_TRY(hf_count(&rot, m, "qk_rope_head_dim", -1, err));
    MOA_TRY(hf_count(&value, m, "v_head_dim", -1, err));
    MOA_TRY(hf_count(&q_rank, m, "q_lora_rank", 0, err));
    MOA_TRY(hf_count(&n_group, m, "n_group", 0, err));
    MOA_TRY(must_be(m, "moe_layer_freq", 1, err));
    hf_put_u32(m, "attention.key_length", (uint32_t)(nope + rot));
    hf_put_u32(m, "attention.value_length", (uint32_t)value);
    if (q_rank) hf_put_u32(m, "attention.q_lora_rank", (uint32_t)q_rank);
    hf_put_u32(m, "expert_gating_func", sigmoid ? 2 : 1);
    hf_put_bool(m, "expert_weights_norm", truth(m, "norm_topk_prob", sigmoid));
    const json_t *method = hf_get(m, "topk_method");
    if (n_group > 1 && !(json_is_string(method) && strcmp(json_string_value(method), "greedy") == 0)) {
        int chosen;
        MOA_TRY(hf_count(&chosen, m, "topk_group", -1, err));
        hf_put_u32(m, "expert_group_count", (uint32_t)n_group);
        hf_put_u32(m, "expert_group_used_count", (uint32_t)chosen);
    }
    return experts(m, "n_routed_experts", "moe_intermediate_size", err);
}

static int gpt_oss(hf_model *m, moa_err *err) {
    MOA_TRY(must_be(m, "swiglu_limit", 7, err));
    MOA_TRY(layer_types(m, err));
    return experts(m, "num_local_experts", "intermediate_size", err);
}

static int bert(hf_model *m, moa_err *err) {
    hf_put_bool(m, "attention.causal", false);
    const json_t *kind = hf_get(m, "position_embedding_type");
    if (kind && (!json_is_string(kind) || strcmp(json_string_value(kind), "absolute") != 0))
        return moa_fail(err, MOA_EUNSUPPORTED, "%s: position_embedding_type is not 'absolute'", m->config_path);
    return 0;
}

static int nomic(hf_model *m, moa_err *err) {
    static const char *const FALSE[] = {"causal", "qkv_proj_bias", "mlp_fc1_bias", "mlp_fc2_bias", "prenorm", "rotary_emb_interleaved",
                                        "rotary_emb_scale_base", "use_rms_norm", "parallel_block"};
    for (size_t i = 0; i < sizeof FALSE / sizeof *FALSE; i++) MOA_TRY(must_be(m, FALSE[i], 0, err));
    MOA_TRY(must_be(m, "rotary_emb_fraction", 1, err));
    double base;
    MOA_TRY(hf_num(&base, m, "rotary_emb_base", 10000, err));
    hf_put_f32(m, "rope.freq_base", base);
    hf_put_bool(m, "attention.causal", false);
    return 0;
}

static const hf_field NO_FIELDS[] = {{NULL, NULL, 0, 0}};
static const hf_field WINDOW[] = {{"sliding_window", "attention.sliding_window", 'u', MAY}, {NULL, NULL, 0, 0}};
static const hf_field GEMMA[] = {
    {"sliding_window", "attention.sliding_window", 'u', 4096},
    {"attn_logit_softcapping", "attn_logit_softcapping", 'f', MAY},
    {"final_logit_softcapping", "final_logit_softcapping", 'f', MAY},
    {NULL, NULL, 0, 0}};
static const hf_field QWEN2_MOE[] = {{"shared_expert_intermediate_size", "expert_shared_feed_forward_length", 'u', NEED}, {NULL, NULL, 0, 0}};
static const hf_field GRANITE[] = {
    {"attention_multiplier", "attention.scale", 'f', 1},
    {"embedding_multiplier", "embedding_scale", 'f', 1},
    {"residual_multiplier", "residual_scale", 'f', 1},
    {"logits_scaling", "logit_scale", 'f', 1},
    {NULL, NULL, 0, 0}};
static const hf_field DEEPSEEK[] = {
    {"first_k_dense_replace", "leading_dense_block_count", 'u', 0},
    {"kv_lora_rank", "attention.kv_lora_rank", 'u', NEED},
    {"n_shared_experts", "expert_shared_count", 'u', 0},
    {"routed_scaling_factor", "expert_weights_scale", 'f', 1},
    {NULL, NULL, 0, 0}};

static const hf_type TYPES[] = {
    {"llama", "llama", HF_ROPE_PAIRS, "silu", 1e4, NO_FIELDS, NULL},
    {"mistral", "llama", HF_ROPE_PAIRS | HF_NO_WINDOW, "silu", 1e4, NO_FIELDS, NULL},
    {"mixtral", "llama", HF_ROPE_PAIRS | HF_NO_WINDOW, "silu", 1e6, NO_FIELDS, mixtral},
    {"qwen2", "qwen2", HF_NO_WINDOW, "silu", 1e4, NO_FIELDS, NULL},
    {"qwen3", "qwen3", HF_NO_WINDOW, "silu", 1e4, NO_FIELDS, NULL},
    {"qwen2_moe", "qwen2moe", HF_NO_WINDOW, "silu", 1e4, QWEN2_MOE, qwen_moe},
    {"qwen3_moe", "qwen3moe", HF_NO_WINDOW, "silu", 1e4, NO_FIELDS, qwen_moe},
    {"olmo2", "olmo2", HF_SANDWICH, "silu", 1e4, NO_FIELDS, NULL},
    {"olmoe", "olmoe", 0, "silu", 1e4, NO_FIELDS, olmoe},
    {"phi3", "phi3", 0, "silu", 1e4, WINDOW, NULL},
    {"gemma2", "gemma2", HF_NORM_PLUS1 | HF_SANDWICH, "gelu_pytorch_tanh", 1e4, GEMMA, gemma2},
    {"gemma3", "gemma3", HF_NORM_PLUS1 | HF_SANDWICH, "gelu_pytorch_tanh", 1e6, GEMMA, gemma2},
    {"gemma3_text", "gemma3", HF_NORM_PLUS1 | HF_SANDWICH, "gelu_pytorch_tanh", 1e6, GEMMA, gemma2},
    {"granite", "granite", HF_ROPE_PAIRS, "silu", 1e4, GRANITE, NULL},
    {"granitemoe", "granitemoe", HF_ROPE_PAIRS, "silu", 1e4, GRANITE, granitemoe},
    {"granitemoeshared", "granitemoe", HF_ROPE_PAIRS, "silu", 1e4, GRANITE, granitemoe},
    {"deepseek_v2", "deepseek2", HF_EXTRA_LAYERS, "silu", 1e4, DEEPSEEK, deepseek},
    {"deepseek_v3", "deepseek2", HF_EXTRA_LAYERS, "silu", 1e4, DEEPSEEK, deepseek},
    {"gpt_oss", "gpt-oss", HF_SANDWICH, "silu", 150000, WINDOW, gpt_oss},
    {"bert", "bert", HF_ENCODER, "gelu", 0, NO_FIELDS, bert},
    {"nomic_bert", "nomic-bert", HF_ENCODER, "swiglu", 0, NO_FIELDS, nomic},
};

const hf_type *hf_type_of_arch(const char *arch) {
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++)
        if (strcmp(TYPES[i].arch, arch) == 0) return &TYPES[i];
    return NULL;
}

static int find_type(hf_model *m, moa_err *err) {
    moa_buf b;
    const char *name = json_string_value(json_object_get(m->config, "model_type"));
    m->text = m->config;
    if (json_is_object(json_object_get(m->config, "text_config"))) m->text = json_object_get(m->config, "text_config");
    if (!name) return moa_fail(err, MOA_ENOTFOUND, "%s: 'model_type' is missing", m->config_path);
    for (size_t i = 0; !m->type && i < sizeof TYPES / sizeof *TYPES; i++)
        if (strcmp(TYPES[i].model_type, name) == 0) m->type = &TYPES[i];
    if (m->type) return 0;
    moa_buf_init(&b, 1024);
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++) moa_buf_addf(&b, "%s%s", i ? ", " : "known: ", TYPES[i].model_type);
    moa_fail(err, MOA_EUNSUPPORTED, "%s: model_type '%.60s' is not known", m->config_path, name);
    moa_hint(err, MOA_EUNSUPPORTED, "%s", moa_buf_str(&b));
    moa_buf_deinit(&b);
    return MOA_EUNSUPPORTED;
}

/* Weights that are stored quantised have other tensors; of these only gpt-oss' own are read. */
static int check_quantized(const hf_model *m, moa_err *err) {
    const json_t *q = json_object_get(m->config, "quantization_config");
    const char *how = json_string_value(json_object_get(q, "quant_method"));
    if (!json_is_object(q) || (how && strcmp(how, "mxfp4") == 0)) return 0;
    moa_fail(err, MOA_EUNSUPPORTED, "%s: weights are quantised by '%.40s', which is not read", m->config_path, how ? how : "?");
    return moa_hint(err, MOA_EUNSUPPORTED, "use the model's BF16 folder, or a GGUF file of it");
}

static int check_act(const hf_model *m, moa_err *err) {
    static const char *const KEYS[] = {"hidden_activation", "hidden_act", "activation_function"};
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) {
        const json_t *v = hf_get(m, KEYS[i]);
        if (!v) continue;
        if (json_is_string(v) && strcmp(json_string_value(v), m->type->act) == 0) return 0;
        return moa_fail(err, MOA_EUNSUPPORTED, "%s: %s is '%.40s', expected '%s' for model_type %s", m->config_path, KEYS[i],
                        json_is_string(v) ? json_string_value(v) : "?", m->type->act, m->type->model_type);
    }
    return 0;
}

/* Names as in GPT-2's time, of nomic_bert. */
static const char *first_of(const hf_model *m, const char *a, const char *b) { return hf_get(m, a) || !hf_get(m, b) ? a : b; }

static int sizes(hf_model *m, int *n_ctx, int *d, moa_err *err) {
    int ff;
    double eps;
    const bool gemma3 = strncmp(m->type->model_type, "gemma3", 6) == 0; /* its text_config leaves out what is usual */
    MOA_TRY(hf_count(n_ctx, m, first_of(m, "max_position_embeddings", "n_positions"), gemma3 ? 131072 : -1, err));
    MOA_TRY(hf_count(d, m, first_of(m, "hidden_size", "n_embd"), -1, err));
    MOA_TRY(hf_count(&m->n_layer, m, first_of(m, "num_hidden_layers", "n_layer"), -1, err));
    MOA_TRY(hf_count(&m->n_head, m, first_of(m, "num_attention_heads", "n_head"), gemma3 ? 8 : -1, err));
    MOA_TRY(hf_count(&m->n_kv, m, "num_key_value_heads", gemma3 ? 4 : m->n_head, err));
    MOA_TRY(hf_count(&ff, m, first_of(m, "intermediate_size", "n_inner"), -1, err));
    MOA_TRY(hf_count(&m->n_vocab, m, "vocab_size", gemma3 ? 262208 : -1, err));
    if (m->n_layer < 1 || m->n_layer > 1 << 14 || m->n_head < 1 || m->n_kv < 1 || m->n_head % m->n_kv || *d < 1 || *n_ctx < 1)
        return moa_fail(err, MOA_EFORMAT, "%s: %d layers of %d, %d heads, %d for keys, context %d: expected positive numbers, heads a multiple of "
                        "those for keys", m->config_path, m->n_layer, *d, m->n_head, m->n_kv, *n_ctx);
    MOA_TRY(hf_count(&m->head_dim, m, "head_dim", gemma3 ? 256 : 0, err));
    if (!m->head_dim && *d % m->n_head)
        return moa_fail(err, MOA_EFORMAT, "%s: hidden_size = %d is no multiple of num_attention_heads = %d, and there is no head_dim",
                        m->config_path, *d, m->n_head);
    if (!m->head_dim) m->head_dim = *d / m->n_head;
    const char *key = hf_get(m, "layer_norm_epsilon") ? "layer_norm_epsilon" : m->type->traits & HF_ENCODER ? "layer_norm_eps" : "rms_norm_eps";
    const double usual = m->type->traits & HF_ENCODER ? 1e-12 : gemma3 ? 1e-6 : NEED; /* BERT's first folders leave it out */
    MOA_TRY(hf_num(&eps, m, key, usual, err));
    hf_put_u32(m, "embedding_length", (uint32_t)*d);
    hf_put_u32(m, "block_count", (uint32_t)m->n_layer);
    hf_put_u32(m, "feed_forward_length", (uint32_t)ff);
    hf_put_u32(m, "attention.head_count", (uint32_t)m->n_head);
    hf_put_f32(m, m->type->traits & HF_ENCODER ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", eps);
    hf_put_u32(m, "vocab_size", (uint32_t)m->n_vocab);
    return 0;
}

/* Where the architecture sees everything, the context ends where the checkpoint would begin to forget. */
static int cut_context(const hf_model *m, int *n_ctx, moa_err *err) {
    int window, from;
    MOA_TRY(hf_count(&from, m, "max_trained_positions", 0, err)); /* nomic: beyond it the rotation changes with the text's length */
    if (from && from < *n_ctx) *n_ctx = from;
    if (!(m->type->traits & HF_NO_WINDOW)) return 0;
    MOA_TRY(hf_count(&window, m, "sliding_window", 0, err));
    MOA_TRY(hf_count(&from, m, "max_window_layers", 0, err));
    const bool unless_said = strncmp(m->type->model_type, "qwen", 4) != 0; /* Qwen's switch is off where it is not given */
    if (window && window < *n_ctx && truth(m, "use_sliding_window", unless_said) && from < m->n_layer) *n_ctx = window;
    return 0;
}

static int heads(hf_model *m, moa_err *err) {
    double part;
    MOA_TRY(hf_num(&part, m, "partial_rotary_factor", 1, err));
    if (!(part > 0 && part <= 1)) return moa_fail(err, MOA_EFORMAT, "%s: partial_rotary_factor = %g, expected 0 to 1", m->config_path, part);
    hf_put_u32(m, "attention.head_count_kv", (uint32_t)m->n_kv);
    hf_put_u32(m, "attention.key_length", (uint32_t)m->head_dim);
    hf_put_u32(m, "attention.value_length", (uint32_t)m->head_dim);
    int n_rot = (int)(m->head_dim * part), rope_dim;
    MOA_TRY(hf_count(&rope_dim, m, "qk_rope_head_dim", n_rot, err));
    if (rope_dim < 2 || rope_dim % 2)
        return moa_fail(err, MOA_EFORMAT, "%s: %d dimensions of a head are rotated, expected an even number from 2", m->config_path, rope_dim);
    return rope_dim;
}

int hf_config_read(hf_model *m, moa_err *err) {
    int n_ctx, d;
    MOA_TRY(find_type(m, err));
    MOA_TRY(check_quantized(m, err));
    MOA_TRY(check_act(m, err));
    MOA_TRY(check_switches(m, err));
    const char *arch = m->type->arch, *slash = strrchr(m->folder, '/'), *name = slash && slash[1] ? slash + 1 : m->folder;
    moa_gguf_put_str(m->keys, "general.architecture", arch, strlen(arch));
    moa_gguf_put_str(m->keys, "general.name", name, strlen(name));
    MOA_TRY(sizes(m, &n_ctx, &d, err));
    MOA_TRY(cut_context(m, &n_ctx, err));
    hf_put_u32(m, "context_length", (uint32_t)n_ctx);
    if (!(m->type->traits & HF_ENCODER)) {
        const int n_rot = heads(m, err);
        if (n_rot < 0) return n_rot;
        MOA_TRY(hf_rope_read(m, n_rot, n_ctx, err));
    }
    MOA_TRY(fields(m, m->type->fields, err));
    if (m->type->more) MOA_TRY(m->type->more(m, err));
    return hf_pooling_read(m, err);
}
