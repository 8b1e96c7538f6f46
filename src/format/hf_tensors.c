/* hf_tensors.c - which tensor of a checkpoint becomes which of GGUF. One table of names for all decoders, since published
 * checkpoints share most of them, and one for encoders. '#' stands for a layer's number, '@' for an expert's.
 *
 * Every tensor of the files must be known: a weight that nobody asks for would be a model that computes something else.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/rng.h"
#include "format/hf_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum act {
    PLAIN, NORM /* + 1 for Gemma */, Q, K /* rows in pairs for llama */, FLAT /* [1, n] -> [n] */, SKIP,
    HALVES,     /* [n, 2 f, d] or [2 f, d]: first half to `to`, second to `also` */
    TURNS,      /* gpt-oss: rows of gate and up in turn */
    OUTPUT,     /* left out where it is the embedding once more */
    PRE, POST   /* a norm whose place depends on the family: only for pre-norm families, only for the others */
} act;

typedef struct rule { const char *from, *to; act act; const char *also; } rule;

static const rule DECODER[] = {
    {"embed_tokens.weight", "token_embd.weight", PLAIN, NULL},
    {"norm.weight", "output_norm.weight", NORM, NULL},
    {"lm_head.weight", "output.weight", OUTPUT, NULL},
    {"layers.#.input_layernorm.weight", "blk.#.attn_norm.weight", NORM, NULL},
    {"layers.#.post_attention_layernorm.weight", "blk.#.ffn_norm.weight", PRE, NULL},
    {"layers.#.post_attention_layernorm.weight", "blk.#.post_attention_norm.weight", POST, NULL},
    {"layers.#.pre_feedforward_layernorm.weight", "blk.#.ffn_norm.weight", NORM, NULL},
    {"layers.#.post_feedforward_layernorm.weight", "blk.#.post_ffw_norm.weight", NORM, NULL},
    {"layers.#.self_attn.q_proj.*", "blk.#.attn_q.*", Q, NULL},
    {"layers.#.self_attn.k_proj.*", "blk.#.attn_k.*", K, NULL},
    {"layers.#.self_attn.v_proj.*", "blk.#.attn_v.*", PLAIN, NULL},
    {"layers.#.self_attn.o_proj.*", "blk.#.attn_output.*", PLAIN, NULL},
    {"layers.#.self_attn.qkv_proj.*", "blk.#.attn_qkv.*", PLAIN, NULL},
    {"layers.#.self_attn.q_norm.weight", "blk.#.attn_q_norm.weight", NORM, NULL},
    {"layers.#.self_attn.k_norm.weight", "blk.#.attn_k_norm.weight", NORM, NULL},
    {"layers.#.self_attn.sinks", "blk.#.attn_sinks.weight", PLAIN, NULL},
    {"layers.#.self_attn.q_a_proj.weight", "blk.#.attn_q_a.weight", PLAIN, NULL},
    {"layers.#.self_attn.q_a_layernorm.weight", "blk.#.attn_q_a_norm.weight", PLAIN, NULL},
    {"layers.#.self_attn.q_b_proj.weight", "blk.#.attn_q_b.weight", PLAIN, NULL},
    {"layers.#.self_attn.kv_a_proj_with_mqa.weight", "blk.#.attn_kv_a_mqa.weight", PLAIN, NULL},
    {"layers.#.self_attn.kv_a_layernorm.weight", "blk.#.attn_kv_a_norm.weight", PLAIN, NULL},
    {"layers.#.self_attn.kv_b_proj.weight", "blk.#.attn_kv_b.weight", PLAIN, NULL},
    {"layers.#.mlp.gate_proj.*", "blk.#.ffn_gate.*", PLAIN, NULL},
    {"layers.#.mlp.up_proj.*", "blk.#.ffn_up.*", PLAIN, NULL},
    {"layers.#.mlp.down_proj.*", "blk.#.ffn_down.*", PLAIN, NULL},
    {"layers.#.mlp.gate_up_proj.weight", "blk.#.ffn_up.weight", PLAIN, NULL},
    {"layers.#.mlp.gate.weight", "blk.#.ffn_gate_inp.weight", PLAIN, NULL},
    {"layers.#.mlp.gate.e_score_correction_bias", "blk.#.exp_probs_b.bias", PLAIN, NULL},
    {"layers.#.mlp.router.*", "blk.#.ffn_gate_inp.*", PLAIN, NULL},
    {"layers.#.mlp.experts.@.gate_proj.weight", "blk.#.ffn_gate_exps.weight", PLAIN, NULL},
    {"layers.#.mlp.experts.@.up_proj.weight", "blk.#.ffn_up_exps.weight", PLAIN, NULL},
    {"layers.#.mlp.experts.@.down_proj.weight", "blk.#.ffn_down_exps.weight", PLAIN, NULL},
    {"layers.#.mlp.shared_expert.gate_proj.weight", "blk.#.ffn_gate_shexp.weight", PLAIN, NULL},
    {"layers.#.mlp.shared_expert.up_proj.weight", "blk.#.ffn_up_shexp.weight", PLAIN, NULL},
    {"layers.#.mlp.shared_expert.down_proj.weight", "blk.#.ffn_down_shexp.weight", PLAIN, NULL},
    {"layers.#.mlp.shared_experts.gate_proj.weight", "blk.#.ffn_gate_shexp.weight", PLAIN, NULL},
    {"layers.#.mlp.shared_experts.up_proj.weight", "blk.#.ffn_up_shexp.weight", PLAIN, NULL},
    {"layers.#.mlp.shared_experts.down_proj.weight", "blk.#.ffn_down_shexp.weight", PLAIN, NULL},
    {"layers.#.mlp.shared_expert_gate.weight", "blk.#.ffn_gate_inp_shexp.weight", FLAT, NULL},
    {"layers.#.block_sparse_moe.gate.weight", "blk.#.ffn_gate_inp.weight", PLAIN, NULL},
    {"layers.#.block_sparse_moe.experts.@.w1.weight", "blk.#.ffn_gate_exps.weight", PLAIN, NULL},
    {"layers.#.block_sparse_moe.experts.@.w2.weight", "blk.#.ffn_down_exps.weight", PLAIN, NULL},
    {"layers.#.block_sparse_moe.experts.@.w3.weight", "blk.#.ffn_up_exps.weight", PLAIN, NULL},
    {"layers.#.block_sparse_moe.router.layer.weight", "blk.#.ffn_gate_inp.weight", PLAIN, NULL},
    {"layers.#.block_sparse_moe.input_linear.weight", "blk.#.ffn_gate_exps.weight", HALVES, "blk.#.ffn_up_exps.weight"},
    {"layers.#.block_sparse_moe.output_linear.weight", "blk.#.ffn_down_exps.weight", PLAIN, NULL},
    {"layers.#.shared_mlp.input_linear.weight", "blk.#.ffn_gate_shexp.weight", HALVES, "blk.#.ffn_up_shexp.weight"},
    {"layers.#.shared_mlp.output_linear.weight", "blk.#.ffn_down_shexp.weight", PLAIN, NULL},
    {"layers.#.mlp.experts.gate_up_proj_blocks", "blk.#.ffn_gate_exps.weight", TURNS, "blk.#.ffn_up_exps.weight"},
    {"layers.#.mlp.experts.gate_up_proj_bias", "blk.#.ffn_gate_exps.bias", TURNS, "blk.#.ffn_up_exps.bias"},
    {"layers.#.mlp.experts.gate_up_proj", "blk.#.ffn_gate_exps.weight", TURNS, "blk.#.ffn_up_exps.weight"},
    {"layers.#.mlp.experts.down_proj_blocks", "blk.#.ffn_down_exps.weight", PLAIN, NULL},
    {"layers.#.mlp.experts.down_proj_bias", "blk.#.ffn_down_exps.bias", PLAIN, NULL},
    {"layers.#.mlp.experts.down_proj", "blk.#.ffn_down_exps.weight", PLAIN, NULL},
    {"layers.#.mlp.experts.gate_up_proj_scales", "", SKIP, NULL}, /* taken with the blocks */
    {"layers.#.mlp.experts.down_proj_scales", "", SKIP, NULL},
    {"layers.#.self_attn.rotary_emb.inv_freq", "", SKIP, NULL},
    {"rotary_emb.inv_freq", "", SKIP, NULL},
    {NULL, NULL, PLAIN, NULL},
};

static const rule ENCODER[] = {
    {"embeddings.word_embeddings.weight", "token_embd.weight", PLAIN, NULL},
    {"embeddings.position_embeddings.weight", "position_embd.weight", PLAIN, NULL},
    {"embeddings.token_type_embeddings.weight", "token_types.weight", PLAIN, NULL},
    {"embeddings.LayerNorm.*", "token_embd_norm.*", PLAIN, NULL},
    {"encoder.layer.#.attention.self.query.*", "blk.#.attn_q.*", PLAIN, NULL},
    {"encoder.layer.#.attention.self.key.*", "blk.#.attn_k.*", PLAIN, NULL},
    {"encoder.layer.#.attention.self.value.*", "blk.#.attn_v.*", PLAIN, NULL},
    {"encoder.layer.#.attention.output.dense.*", "blk.#.attn_output.*", PLAIN, NULL},
    {"encoder.layer.#.attention.output.LayerNorm.*", "blk.#.attn_output_norm.*", PLAIN, NULL},
    {"encoder.layer.#.intermediate.dense.*", "blk.#.ffn_up.*", PLAIN, NULL},
    {"encoder.layer.#.output.dense.*", "blk.#.ffn_down.*", PLAIN, NULL},
    {"encoder.layer.#.output.LayerNorm.*", "blk.#.layer_output_norm.*", PLAIN, NULL},
    {"embeddings.position_ids", "", SKIP, NULL},
    {"pooler.dense.*", "", SKIP, NULL},
    {"emb_ln.*", "token_embd_norm.*", PLAIN, NULL}, /* nomic */
    {"encoder.layers.#.attn.Wqkv.weight", "blk.#.attn_qkv.weight", PLAIN, NULL},
    {"encoder.layers.#.attn.out_proj.weight", "blk.#.attn_output.weight", PLAIN, NULL},
    {"encoder.layers.#.norm1.*", "blk.#.attn_output_norm.*", PLAIN, NULL},
    {"encoder.layers.#.mlp.fc11.weight", "blk.#.ffn_up.weight", PLAIN, NULL},
    {"encoder.layers.#.mlp.fc12.weight", "blk.#.ffn_gate.weight", PLAIN, NULL},
    {"encoder.layers.#.mlp.fc2.weight", "blk.#.ffn_down.weight", PLAIN, NULL},
    {"encoder.layers.#.norm2.*", "blk.#.layer_output_norm.*", PLAIN, NULL},
    {NULL, NULL, PLAIN, NULL},
};

/* Parameters of all experts as modules of transformers name them, which is not always how checkpoints do. Gate and up are halves,
 * except for gpt-oss, where their rows are in turn. */
static const rule PARAMETER[] = {
    {"layers.#.mlp.experts.gate_up_proj", "blk.#.ffn_gate_exps.weight", HALVES, "blk.#.ffn_up_exps.weight"},
    {"layers.#.mlp.experts.down_proj", "blk.#.ffn_down_exps.weight", PLAIN, NULL},
    {"layers.#.mlp.experts.gate_up_projs.@.weight", "blk.#.ffn_gate_exps.weight", HALVES, "blk.#.ffn_up_exps.weight"}, /* gpt-oss with a linear an expert */
    {"layers.#.mlp.experts.down_projs.@.weight", "blk.#.ffn_down_exps.weight", PLAIN, NULL},
    {"layers.#.block_sparse_moe.experts.gate_up_proj", "blk.#.ffn_gate_exps.weight", HALVES, "blk.#.ffn_up_exps.weight"},
    {"layers.#.block_sparse_moe.experts.down_proj", "blk.#.ffn_down_exps.weight", PLAIN, NULL},
    {"layers.#.block_sparse_moe.input_linear.weight", "blk.#.ffn_gate_exps.weight", HALVES, "blk.#.ffn_up_exps.weight"},
    {"layers.#.block_sparse_moe.output_linear.weight", "blk.#.ffn_down_exps.weight", PLAIN, NULL},
    {NULL, NULL, PLAIN, NULL},
};

/* ---- names ---- */

typedef struct match { int layer, expert; const char *tail; } match; /* tail: what '*' took: "weight" or "bias" */

static const char *number(int *out, const char *s) {
    int v = 0, n = 0;
    for (; *s >= '0' && *s <= '9' && n < 6; s++, n++) v = v * 10 + (*s - '0');
    *out = v;
    return n && n < 6 ? s : NULL;
}

static bool matches(match *w, const char *pattern, const char *s) {
    *w = (match){-1, -1, NULL};
    for (; *pattern; pattern++) {
        if (*pattern == '#' || *pattern == '@') {
            if (!(s = number(*pattern == '#' ? &w->layer : &w->expert, s))) return false;
        } else if (*pattern == '*') {
            static const char *const TAILS[][2] = {{"weight", "weight"}, {"bias", "bias"}, {"gamma", "weight"}, {"beta", "bias"}};
            for (size_t i = 0; i < sizeof TAILS / sizeof *TAILS; i++)
                if (strcmp(s, TAILS[i][0]) == 0) w->tail = TAILS[i][1];
            return w->tail != NULL;
        } else if (*pattern != *s++) {
            return false;
        }
    }
    return *s == 0;
}

static void fill(char out[HF_MAX_NAME], const char *to, const match *w) {
    size_t n = 0;
    for (; *to && n + 12 < HF_MAX_NAME; to++) {
        if (*to == '#') n += (size_t)snprintf(out + n, HF_MAX_NAME - n, "%d", w->layer);
        else if (*to == '*') n += (size_t)snprintf(out + n, HF_MAX_NAME - n, "%s", w->tail);
        else out[n++] = *to;
    }
    out[n] = 0;
}

/* Names begin with the module that holds the model; which, depends on the class that saved it. */
static const char *short_name(const char *s) {
    static const char *const PREFIXES[] = {"model.language_model.", "language_model.model.", "language_model.", "model.", "bert."};
    for (size_t i = 0; i < sizeof PREFIXES / sizeof *PREFIXES; i++)
        if (strncmp(s, PREFIXES[i], strlen(PREFIXES[i])) == 0) return s + strlen(PREFIXES[i]);
    return s;
}

/* Parts of a checkpoint that do not make text. */
static bool other_part(const hf_model *m, const char *s) {
    static const char *const PARTS[] = {"vision_tower.", "vision_model.", "multi_modal_projector.", "model.vision_tower.",
                                        "model.multi_modal_projector.", "mtp.", "cls."};
    for (size_t i = 0; i < sizeof PARTS / sizeof *PARTS; i++)
        if (strncmp(s, PARTS[i], strlen(PARTS[i])) == 0) return true;
    int layer;
    const char *name = short_name(s);
    return m->type->traits & HF_EXTRA_LAYERS && strncmp(name, "layers.", 7) == 0 && number(&layer, name + 7) && layer >= m->n_layer;
}

/* ---- the plan ---- */

/* Open addressing: slot 0 is free, else number + 1. The seed is an address, so that a file cannot aim at collisions. */
static uint32_t *slot_of(const hf_model *m, const char *name) {
    for (uint64_t h = moa_hash64(name, strlen(name), (uintptr_t)m);; h++) {
        uint32_t *e = &m->slot[h & m->slot_mask];
        if (!*e || strcmp(m->tensor[*e - 1].name, name) == 0) return e;
    }
}

static hf_tensor *find(const hf_model *m, const char *name) {
    const uint32_t *e = m->n_tensor ? slot_of(m, name) : NULL;
    return e && *e ? &m->tensor[*e - 1] : NULL;
}

static int grow(hf_model *m, moa_err *err) {
    const int cap = m->cap_tensor ? m->cap_tensor * 2 : 256;
    uint32_t *slot = calloc((size_t)cap * 2, sizeof *slot);
    void *p = slot ? realloc(m->tensor, (size_t)cap * sizeof *m->tensor) : NULL;
    if (!p) {
        free(slot);
        return moa_fail(err, MOA_ENOMEM, "%s: no memory for the list of tensors", m->folder);
    }
    free(m->slot);
    m->slot = slot;
    m->slot_mask = (uint64_t)cap * 2 - 1;
    m->tensor = p;
    m->cap_tensor = cap;
    for (int i = 0; i < m->n_tensor; i++) *slot_of(m, m->tensor[i].name) = (uint32_t)i + 1;
    return 0;
}

static hf_tensor *append(hf_model *m, const char *name, moa_err *err) {
    if (m->n_tensor == m->cap_tensor && grow(m, err) < 0) return NULL;
    *slot_of(m, name) = (uint32_t)m->n_tensor + 1;
    hf_tensor *t = &m->tensor[m->n_tensor++];
    *t = (hf_tensor){.heads = 1};
    snprintf(t->name, sizeof t->name, "%s", name);
    return t;
}

hf_tensor *hf_tensor_add(hf_model *m, const char *name, moa_err *err) {
    if (find(m, name)) return moa_fail(err, MOA_EFORMAT, "%s: two tensors of the files are '%s'", m->folder, name), NULL;
    return append(m, name, err);
}

int hf_add_values(hf_model *m, const char *name, const float *v, int64_t n, moa_err *err) {
    hf_tensor *t = hf_tensor_add(m, name, err);
    if (!t) return err ? err->code : MOA_ENOMEM;
    t->op = HF_VALUES;
    t->small = true;
    t->dtype = t->from = MOA_F32;
    t->n_dim = 1;
    t->shape[0] = n;
    t->values = v;
    return 0;
}

/* Small tensors are f32 in both forms, so that a folder and its GGUF file give the same bits. */
static bool small(const hf_tensor *t) {
    return t->n_dim == 1 || strstr(t->name, ".bias") || strstr(t->name, "ffn_gate_inp") || strstr(t->name, "_norm.") ||
           strcmp(t->name, "position_embd.weight") == 0 || strcmp(t->name, "token_types.weight") == 0;
}

typedef struct source { const moa_safetensors *file; const moa_st_tensor *t; const char *name; } source;

static int set_type(const hf_model *m, hf_tensor *t, const source *s, moa_err *err) {
    if (t->op == HF_MXFP4) {
        if (!moa_type_get(t->dtype)) return moa_fail(err, MOA_EUNSUPPORTED, "%s: tensor '%s' is MXFP4, which is not known", m->folder, s->name);
        return 0;
    }
    MOA_TRY(moa_st_dtype(&t->from, s->file, s->t, err));
    if (t->from != MOA_F32 && t->from != MOA_F16 && t->from != MOA_BF16)
        return moa_fail(err, MOA_EUNSUPPORTED, "%s: tensor '%.100s' has dtype %s, expected F32, F16 or BF16", moa_safetensors_path(s->file), s->name,
                        s->t->dtype);
    t->small = small(t);
    t->dtype = t->small ? MOA_F32 : t->from;
    return 0;
}

static int check_heads(const hf_model *m, const hf_tensor *t, const source *s, moa_err *err) {
    if (t->op != HF_PAIRS || t->shape[0] % (2 * t->heads) == 0) return 0;
    return moa_fail(err, MOA_EFORMAT, "%s: tensor '%.100s' has %lld rows, expected a multiple of 2 x %d heads", m->folder, s->name,
                    (long long)t->shape[0], t->heads);
}

static hf_piece *pieces(hf_model *m, hf_tensor *t, int n, moa_err *err) {
    t->piece = moa_arena_calloc(m->arena, (size_t)n * sizeof *t->piece);
    if (!t->piece) moa_fail(err, MOA_ENOMEM, "%s: no memory for the parts of '%s'", m->folder, t->name);
    t->n_piece = n;
    return t->piece;
}

/* MXFP4 as [..., rows, blocks, 16 bytes] with [..., rows, blocks] scales. */
static int take_blocks(hf_model *m, hf_tensor *t, hf_piece *p, const source *s, moa_err *err) {
    char name[256];
    const int n = (int)strlen(s->name) - 6;
    snprintf(name, sizeof name, "%.*sscales", n, s->name);
    p->scales = moa_safetensors_find(s->file, name);
    for (int i = 0; !p->scales && i < m->n_shard; i++) p->scales = moa_safetensors_find(m->shard[i], name);
    if (!p->scales) return moa_fail(err, MOA_ENOTFOUND, "%s: tensor '%.100s' is missing", m->folder, name);
    if (s->t->n_dim != 4 || s->t->shape[3] != 16 || s->t->size == 0 || p->scales->size * 16 != s->t->size ||
        strcmp(s->t->dtype, "U8") != 0 || strcmp(p->scales->dtype, "U8") != 0)
        return moa_fail(err, MOA_EFORMAT, "%s: tensor '%.100s' is %s of %zu bytes, '%.100s' %s of %zu; expected U8 [experts, rows, blocks, 16] and "
                        "a scale for each 16 bytes", m->folder, s->name, s->t->dtype, s->t->size, name, p->scales->dtype, p->scales->size);
    t->op = HF_MXFP4;
    t->dtype = t->from = MOA_MXFP4;
    t->n_dim = 3;
    memcpy(t->shape, (int64_t[]){s->t->shape[0], s->t->shape[1], s->t->shape[2] * 32, 1}, sizeof t->shape);
    return 0;
}

static bool ends(const char *s, const char *with) {
    const size_t n = strlen(s), k = strlen(with);
    return n >= k && strcmp(s + n - k, with) == 0;
}

/* A tensor with all rows of the source. */
static int whole(hf_model *m, hf_tensor *t, const source *s, moa_err *err) {
    hf_piece *p = pieces(m, t, 1, err);
    if (!p) return MOA_ENOMEM;
    *p = (hf_piece){.file = s->file, .t = s->t, .step = 1};
    if (ends(s->name, "_blocks")) {
        MOA_TRY(take_blocks(m, t, p, s, err));
    } else {
        if (s->t->n_dim < 1 || s->t->n_dim > MOA_MAX_DIM || s->t->size == 0)
            return moa_fail(err, MOA_EFORMAT, "%s: tensor '%.100s' has %d dimensions and %zu bytes, expected 1 to %d and some", m->folder, s->name,
                            s->t->n_dim, s->t->size, MOA_MAX_DIM);
        t->n_dim = s->t->n_dim;
        for (int i = 0; i < MOA_MAX_DIM; i++) t->shape[i] = i < t->n_dim ? s->t->shape[i] : 1;
    }
    p->n = 1;
    for (int i = 0; i < t->n_dim - 1; i++) p->n *= t->shape[i];
    return 0;
}

/* Rows become single numbers: a bias whose numbers are taken as rows of one. */
static void as_column(hf_tensor *t, hf_piece *p) { p->n *= t->shape[t->n_dim - 1]; }

/* Each expert's rows in two parts: halves one behind the other, or in turn. */
static int split(hf_model *m, const rule *r, const match *w, const source *s, moa_err *err) {
    for (int part = 0; part < 2; part++) {
        char name[HF_MAX_NAME];
        fill(name, part ? r->also : r->to, w);
        hf_tensor *t = hf_tensor_add(m, name, err);
        if (!t) return MOA_EFORMAT;
        MOA_TRY(whole(m, t, s, err));
        const bool bias = ends(name, ".bias"), columns = r->act == TURNS && !bias && t->op != HF_MXFP4;
        const int64_t n_each = t->n_dim == 3 || bias ? t->shape[0] : 1;
        int64_t *wide = columns || bias ? &t->shape[t->n_dim - 1] : &t->shape[t->n_dim > 1 ? t->n_dim - 2 : 0];
        if (t->n_dim < 2 || t->n_dim > 3 || (bias && t->n_dim != 2) || (columns && t->n_dim != 3) || *wide % 2 || n_each > 1 << 14)
            return moa_fail(err, MOA_EFORMAT, "%s: tensor '%.100s' cannot be divided into gate and up: shape of %d dimensions, %lld in two parts",
                            m->folder, s->name, t->n_dim, (long long)*wide);
        const hf_piece all = *t->piece;
        const int64_t f = *wide / 2, full = *wide;
        if (columns) { /* [experts, d, 2 f] -> [experts, f, d] */
            t->op = HF_COLUMNS;
            t->shape[2] = t->shape[1];
            t->shape[1] = f;
        } else {
            *wide = f;
        }
        hf_piece *p = pieces(m, t, (int)n_each, err);
        if (!p) return MOA_ENOMEM;
        for (int64_t e = 0; e < n_each; e++) {
            p[e] = all;
            p[e].first = e * (columns ? t->shape[2] * full : full) + (r->act == TURNS ? part : part * f);
            p[e].step = r->act == TURNS ? 2 : 1;
            p[e].n = f;
        }
        MOA_TRY(set_type(m, t, s, err));
        if (n_each > 1 && !bias && t->op == HF_ROWS) /* may stay apart */
            snprintf(t->each, sizeof t->each, "blk.%d.%s.%%d.weight", w->layer, part ? "ffn_up" : "ffn_gate");
    }
    return 0;
}

/* One expert's matrix: a piece of the tensor of all. */
static int expert(hf_model *m, const rule *r, const match *w, const source *s, moa_err *err) {
    char name[HF_MAX_NAME];
    fill(name, r->to, w);
    hf_tensor *t = find(m, name);
    if (w->expert >= m->n_expert)
        return moa_fail(err, MOA_EFORMAT, "%s: tensor '%.100s' is of expert %d, config.json has %d", m->folder, s->name, w->expert, m->n_expert);
    if (s->t->size == 0) return moa_fail(err, MOA_EFORMAT, "%s: tensor '%.100s' is empty", m->folder, s->name);
    if (!t) {
        if (!(t = append(m, name, err)) || !pieces(m, t, m->n_expert, err)) return MOA_ENOMEM;
        t->n_dim = 3;
        memcpy(t->shape, (int64_t[]){m->n_expert, s->t->shape[0], s->t->shape[1], 1}, sizeof t->shape);
        snprintf(t->each, sizeof t->each, "%.*s.%%d.weight", (int)(strstr(name, "_exps") - name), name);
        MOA_TRY(set_type(m, t, s, err));
    }
    moa_dtype type;
    hf_piece *p = &t->piece[w->expert];
    MOA_TRY(moa_st_dtype(&type, s->file, s->t, err));
    if (s->t->n_dim != 2 || s->t->shape[0] != t->shape[1] || s->t->shape[1] != t->shape[2] || type != t->from)
        return moa_fail(err, MOA_EFORMAT, "%s: tensor '%.100s' is %s [%lld, %lld], other experts are %s [%lld, %lld]", m->folder, s->name,
                        s->t->dtype, (long long)s->t->shape[0], (long long)s->t->shape[1], moa_type_get(t->from)->name, (long long)t->shape[1],
                        (long long)t->shape[2]);
    if (p->t) return moa_fail(err, MOA_EFORMAT, "%s: two tensors of the files are expert %d of '%s'", m->folder, w->expert, name);
    *p = (hf_piece){.file = s->file, .t = s->t, .step = 1, .n = t->shape[1]};
    return 0;
}

static bool is_norm(const rule *r) { return r->act == NORM || r->act == PRE || r->act == POST; }

static int one(hf_model *m, const rule *r, const match *w, const source *s, moa_err *err) {
    char name[HF_MAX_NAME];
    fill(name, r->to, w);
    hf_tensor *t = hf_tensor_add(m, name, err);
    if (!t) return MOA_EFORMAT;
    MOA_TRY(whole(m, t, s, err));
    const bool columns = ends(s->name, "experts.down_proj"); /* [experts, f, d] -> [experts, d, f] */
    if (columns) {
        const int64_t d = t->shape[2], f = t->shape[1], n = t->shape[0];
        if (t->n_dim != 3 || n > 1 << 14) return moa_fail(err, MOA_EFORMAT, "%s: tensor '%.100s' has %d dimensions, expected 3", m->folder, s->name, t->n_dim);
        hf_piece all = *t->piece, *p = pieces(m, t, (int)n, err);
        if (!p) return MOA_ENOMEM;
        t->op = HF_COLUMNS;
        t->shape[1] = d;
        t->shape[2] = f;
        for (int64_t e = 0; e < n; e++) p[e] = all, p[e].first = e * f * d, p[e].n = d;
    }
    if (r->act == FLAT) {
        t->n_dim = 1;
        t->shape[0] = t->piece->n * t->shape[1];
        t->shape[1] = 1;
        t->piece->n = 1;
    }
    const unsigned traits = m->type->traits;
    if (is_norm(r) && traits & HF_NORM_PLUS1) t->op = HF_PLUS1;
    if ((r->act == Q || r->act == K) && traits & HF_ROPE_PAIRS) {
        t->op = HF_PAIRS;
        t->heads = r->act == Q ? m->n_head : m->n_kv;
        if (t->n_dim == 1) as_column(t, t->piece);
    }
    MOA_TRY(check_heads(m, t, s, err));
    return set_type(m, t, s, err);
}

static bool in_use(const hf_type *t, const rule *r) {
    const bool sandwich = t->traits & HF_SANDWICH;
    return !((r->act == PRE && sandwich) || (r->act == POST && !sandwich));
}

static int place(hf_model *m, const source *s, moa_err *err) {
    match w;
    const char *name = short_name(s->name);
    if (other_part(m, s->name)) return 0;
    for (const rule *r = m->type->traits & HF_ENCODER ? ENCODER : DECODER; r->from; r++) {
        if (!in_use(m->type, r) || !matches(&w, r->from, name) || r->act == SKIP) {
            if (r->act == SKIP && matches(&w, r->from, name)) return 0;
            continue;
        }
        if (w.layer >= m->n_layer)
            return moa_fail(err, MOA_EFORMAT, "%s: tensor '%.100s' is of layer %d, config.json has %d layers", m->folder, s->name, w.layer, m->n_layer);
        if (r->act == OUTPUT && json_is_true(json_object_get(m->config, "tie_word_embeddings"))) return 0;
        if (r->act == HALVES || r->act == TURNS) return split(m, r, &w, s, err);
        return w.expert >= 0 ? expert(m, r, &w, s, err) : one(m, r, &w, s, err);
    }
    return moa_fail(err, MOA_EUNSUPPORTED, "%s: tensor '%.100s' is not known in a model of type %s", moa_safetensors_path(s->file), s->name,
                    m->type->model_type);
}

static int check_complete(const hf_model *m, moa_err *err) {
    const hf_tensor *embd = find(m, "token_embd.weight");
    if (!embd) return moa_fail(err, MOA_ENOTFOUND, "%s: the files have no tensor 'model.embed_tokens.weight'", m->folder);
    if (embd->shape[0] != m->n_vocab)
        return moa_fail(err, MOA_EFORMAT, "%s: vocab_size = %d, the embedding has %lld rows", m->config_path, m->n_vocab, (long long)embd->shape[0]);
    if (!(m->type->traits & HF_ENCODER) && json_is_false(json_object_get(m->config, "tie_word_embeddings")) && !find(m, "output.weight"))
        return moa_fail(err, MOA_ENOTFOUND, "%s: tie_word_embeddings is false, but the files have no tensor 'lm_head.weight'", m->folder);
    for (int i = 0; i < m->n_tensor; i++)
        for (int e = 0; m->tensor[i].op != HF_VALUES && e < m->tensor[i].n_piece; e++)
            if (!m->tensor[i].piece[e].t)
                return moa_fail(err, MOA_ENOTFOUND, "%s: expert %d of '%s' is missing, config.json has %d experts", m->folder, e, m->tensor[i].name,
                                m->n_expert);
    return 0;
}

static int layer_of(const char *name) {
    int v;
    return strncmp(name, "blk.", 4) == 0 && number(&v, name + 4) ? v : strncmp(name, "output", 6) == 0 ? 1 << 20 : -1;
}

/* Embedding, blocks, output: neighbours in time are neighbours in the file. */
static int by_layer(const void *pa, const void *pb) {
    const hf_tensor *a = pa, *b = pb;
    const int la = layer_of(a->name), lb = layer_of(b->name);
    return la != lb ? (la > lb) - (la < lb) : strcmp(a->name, b->name);
}

/* config.json says that there are biases: a checkpoint that lost them must not run without. (One that has more than it says has them read.) */
static int check_biases(const hf_model *m, moa_err *err) {
    static const struct { const char *key, *any[3]; } SAID[] = {
        {"attention_bias", {"blk.0.attn_q.bias", "blk.0.attn_qkv.bias", "blk.0.attn_q_a.bias"}},
        {"mlp_bias", {"blk.0.ffn_up.bias", NULL, NULL}},
    };
    for (size_t i = 0; i < sizeof SAID / sizeof *SAID; i++) {
        bool there = !json_is_true(hf_get(m, SAID[i].key));
        for (int k = 0; k < 3 && SAID[i].any[k]; k++) there |= find(m, SAID[i].any[k]) != NULL;
        if (!there)
            return moa_fail(err, MOA_ENOTFOUND, "%s: '%s' is true, but tensor '%s' is missing", m->config_path, SAID[i].key, SAID[i].any[0]);
    }
    return 0;
}

int hf_tensors_plan(hf_model *m, moa_err *err) {
    for (int f = 0; f < m->n_shard; f++)
        for (int i = 0; i < moa_safetensors_n(m->shard[f]); i++) {
            const moa_st_tensor *t = moa_safetensors_at(m->shard[f], i);
            const source s = {m->shard[f], t, t->name};
            if (strlen(t->name) >= 200) return moa_fail(err, MOA_ELIMIT, "%s: tensor '%.60s...' has a name of %zu bytes", m->folder, t->name, strlen(t->name));
            const int rc = place(m, &s, err);
            if (rc < 0) return rc;
        }
    MOA_TRY(check_complete(m, err));
    MOA_TRY(check_biases(m, err));
    qsort(m->tensor, (size_t)m->n_tensor, sizeof *m->tensor, by_layer);
    return 0;
}

/* ---- modules by name, for adapters ---- */

static bool is_matrix(const rule *r) { return r->act == PLAIN || r->act == Q || r->act == K || r->act == HALVES || r->act == OUTPUT || r->act == FLAT; }
static const rule *rules_of(const hf_type *t) { return t->traits & HF_ENCODER ? ENCODER : DECODER; }

static bool place_of(moa_hf_place *p, const char *arch, const char *tensor, const rule *rules, bool norms) {
    const hf_type *type = hf_type_of_arch(arch);
    match w;
    for (const rule *r = !type ? NULL : rules ? rules : rules_of(type); r && r->from; r++) {
        if (!(is_matrix(r) || (norms && is_norm(r) && in_use(type, r))) || !matches(&w, r->from, short_name(tensor))) continue;
        *p = (moa_hf_place){.expert = w.expert, .plus1 = is_norm(r) && type->traits & HF_NORM_PLUS1};
        fill(p->to, r->to, &w);
        if (r->act == HALVES) fill(p->also, r->also, &w);
        if (type->traits & HF_ROPE_PAIRS) p->pairs = r->act == Q ? 1 : r->act == K ? 2 : 0;
        return true;
    }
    return false;
}

bool moa_hf_place_of(moa_hf_place *p, const char *arch, const char *module) {
    char name[512];
    return snprintf(name, sizeof name, "%s.weight", module) < (int)sizeof name && (place_of(p, arch, name, NULL, false) || moa_hf_parameter_of(p, arch, name));
}

bool moa_hf_parameter_of(moa_hf_place *p, const char *arch, const char *parameter) {
    if (!place_of(p, arch, parameter, PARAMETER, false)) return false;
    p->turns = *p->also && strcmp(arch, "gpt-oss") == 0;
    return true;
}

bool moa_hf_tensor_of(moa_hf_place *p, const char *arch, const char *tensor) { return place_of(p, arch, tensor, NULL, true) && !*p->also && p->expert < 0; }

/* Names of one table that another family has. */
static bool foreign(const char *arch, const char *from) {
    static const struct { const char *arch, *begin; } NOT[] = {
        {"llama", "layers.#.mlp.experts"}, {"llama", "layers.#.mlp.gate."}, {"deepseek2", "layers.#.mlp.shared_expert."},
        {"gpt-oss", "layers.#.mlp.gate."}, {"gpt-oss", "layers.#.mlp.experts.@."}, {"gpt-oss", "layers.#.block_sparse_moe."}, {"granitemoe", "layers.#.mlp."}, {"granitemoe", "layers.#.block_sparse_moe.gate."},
        {"granitemoe", "layers.#.block_sparse_moe.experts."}, {"phi3", "layers.#.mlp.up_proj"}, {"bert", "encoder.layers."}, {"nomic-bert", "encoder.layer."}};
    for (size_t i = 0; i < sizeof NOT / sizeof *NOT; i++)
        if (strcmp(NOT[i].arch, arch) == 0 && strncmp(NOT[i].begin, from, strlen(NOT[i].begin)) == 0) return true;
    return false;
}

bool moa_hf_module_of(char *out, size_t n, const char *arch, const char *tensor, int expert) {
    const hf_type *type = hf_type_of_arch(arch);
    match w;
    for (const rule *r = type ? rules_of(type) : NULL; r && r->from; r++) {
        if (!is_matrix(r) || r->act == HALVES || foreign(arch, r->from)) continue;
        if ((expert >= 0) != (strchr(r->from, '@') != NULL) || !matches(&w, r->to, tensor)) continue;
        size_t at = (size_t)snprintf(out, n, "%s", strncmp(r->from, "lm_head", 7) == 0 || type->traits & HF_ENCODER ? "" : "model.");
        for (const char *f = r->from; *f && at + 12 < n; f++) {
            if (*f == '#' || *f == '@') at += (size_t)snprintf(out + at, n - at, "%d", *f == '#' ? w.layer : expert);
            else if (strcmp(f, ".weight") == 0 || strcmp(f, ".*") == 0) break;
            else out[at++] = *f;
        }
        out[at] = 0;
        return true;
    }
    return false;
}
