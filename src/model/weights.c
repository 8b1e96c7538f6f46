/* weights.c - names and shapes of all weights, as GGUF has them, and the parts that open and make share.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/weights.h"
#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct walk {
    moa_model *m;
    moa_weight_fn fn;
    void *ctx;
    moa_err *err;
    int layer;      /* -1: outside of the blocks */
    moa_part *part; /* scratch: [2 * n_expert], at least 3 */
    char name[96], each[96];
} walk;

static const char *full_name(walk *w, const char *name, const char *suffix) {
    if (w->layer < 0) snprintf(w->name, sizeof w->name, "%s%s", name, suffix);
    else snprintf(w->name, sizeof w->name, "blk.%d.%s%s", w->layer, name, suffix);
    return w->name;
}

/* Does the file have this tensor? A made model has no file, then: dflt. */
static bool has(walk *w, const char *name, bool dflt) {
    return w->m->file ? moa_gguf_tensor(w->m->file, full_name(w, name, ".weight")) != NULL : dflt;
}

static int64_t count(const moa_weight *x) {
    int64_t n = 1;
    for (int i = 0; i < x->n_dim - (x->part_dim > 1); i++) n *= x->shape[i];
    return n;
}

/* A tensor that is one of the model's. */
static int whole(walk *w, moa_weight x, moa_tensor **at) {
    x.part_dim = x.n_dim;
    const moa_part one = {at, count(&x)};
    x.part = &one;
    x.n_part = 1;
    return w->fn(w->ctx, w->m, &x, w->err);
}

static int vector(walk *w, const char *name, const char *suffix, moa_tensor **at, int64_t n, moa_init init, bool optional) {
    return whole(w, (moa_weight){.name = full_name(w, name, suffix), .n_dim = 1, .shape = {n}, .optional = optional, .init = init}, at);
}

static int norm(walk *w, const char *name, moa_tensor **at, int64_t n) { return vector(w, name, ".weight", at, n, MOA_INIT_ONES, false); }

/* name.weight, and name.bias: a must or a may. */
static int linear(walk *w, const char *name, moa_linear_w *l, int64_t n_out, int64_t n_in, moa_init init, bool bias) {
    MOA_TRY(whole(w, (moa_weight){.name = full_name(w, name, ".weight"), .n_dim = 2, .shape = {n_out, n_in}, .init = init}, &l->w));
    return vector(w, name, ".bias", &l->b, n_out, MOA_INIT_ZEROS, !bias);
}

/* Several projections of one input as the rows of one tensor. */
static int fused(walk *w, const char *name, moa_linear_w *const *l, const int64_t *rows, int n, int64_t n_in, bool bias) {
    moa_weight x = {.name = full_name(w, name, ".weight"), .part = w->part, .n_part = n, .part_dim = 2, .n_dim = 2, .shape = {0, n_in}};
    for (int i = 0; i < n; i++) w->part[i] = (moa_part){&l[i]->w, rows[i]}, x.shape[0] += rows[i];
    MOA_TRY(w->fn(w->ctx, w->m, &x, w->err));
    for (int i = 0; i < n; i++) w->part[i].at = &l[i]->b;
    x = (moa_weight){.name = full_name(w, name, ".bias"), .part = w->part, .n_part = n, .part_dim = 1, .n_dim = 1, .shape = {x.shape[0]},
                     .optional = !bias, .init = MOA_INIT_ZEROS};
    return w->fn(w->ctx, w->m, &x, w->err);
}

/* ---- attention ---- */

static int ordinary(walk *w, moa_layer *l) {
    const moa_hparams *h = &w->m->h;
    const moa_arch *a = w->m->arch;
    const int64_t d = h->d_model, rows[] = {(int64_t)h->n_head * h->head_dim, (int64_t)h->n_kv * h->head_dim, (int64_t)h->n_kv * h->d_value};
    moa_linear_w *const qkv[] = {&l->q, &l->k, &l->v};
    if (has(w, "attn_qkv", a->fused) || (a->fused && !has(w, "attn_q", false))) {
        MOA_TRY(fused(w, "attn_qkv", qkv, rows, 3, d, a->qkv_bias));
    } else {
        MOA_TRY(linear(w, "attn_q", &l->q, rows[0], d, MOA_INIT_NORMAL, a->qkv_bias));
        MOA_TRY(linear(w, "attn_k", &l->k, rows[1], d, MOA_INIT_NORMAL, a->qkv_bias));
        MOA_TRY(linear(w, "attn_v", &l->v, rows[2], d, MOA_INIT_NORMAL, a->qkv_bias));
    }
    if (a->qk_norm) {
        MOA_TRY(norm(w, "attn_q_norm", &l->q_norm, a->qk_norm == MOA_QK_WHOLE ? rows[0] : h->head_dim));
        MOA_TRY(norm(w, "attn_k_norm", &l->k_norm, a->qk_norm == MOA_QK_WHOLE ? rows[1] : h->head_dim));
    }
    return a->sinks ? vector(w, "attn_sinks", ".weight", &l->sinks, h->n_head, MOA_INIT_ZEROS, false) : 0;
}

/* One matrix a head. */
static int per_head(walk *w, const char *name, moa_tensor **at, int64_t n_out, int64_t n_in) {
    return whole(w, (moa_weight){.name = full_name(w, name, ".weight"), .n_dim = 3, .shape = {w->m->h.n_head, n_out, n_in}}, at);
}

static int latent(walk *w, moa_layer *l) {
    const moa_hparams *h = &w->m->h;
    const int64_t d = h->d_model, d_q = (int64_t)h->n_head * h->head_dim, plain = h->head_dim - h->n_rot;
    if (h->q_rank) {
        MOA_TRY(linear(w, "attn_q_a", &l->q_a, h->q_rank, d, MOA_INIT_NORMAL, false));
        MOA_TRY(norm(w, "attn_q_a_norm", &l->q_a_norm, h->q_rank));
    }
    MOA_TRY(linear(w, h->q_rank ? "attn_q_b" : "attn_q", &l->q, d_q, h->q_rank ? h->q_rank : d, MOA_INIT_NORMAL, false));
    MOA_TRY(linear(w, "attn_kv_a_mqa", &l->kv_a, h->kv_rank + h->n_rot, d, MOA_INIT_NORMAL, false));
    MOA_TRY(norm(w, "attn_kv_a_norm", &l->kv_a_norm, h->kv_rank));
    if (!h->absorbed) return linear(w, "attn_kv_b", &l->kv_b, h->n_head * (plain + h->d_value), h->kv_rank, MOA_INIT_NORMAL, false);
    MOA_TRY(per_head(w, "attn_k_b", &l->k_b, h->kv_rank, plain));
    return per_head(w, "attn_v_b", &l->v_b, h->d_value, h->kv_rank);
}

/* ---- feed-forward ---- */

/* name: "ffn_up". b NULL: one matrix an expert, else two: rows of a, then of b. */
static int experts(walk *w, const char *name, moa_linear_w *a, moa_linear_w *b, int64_t n_out, int64_t n_in, moa_init init) {
    const int n = w->m->h.n_expert, k = b ? 2 : 1;
    const int64_t rows = n_out / k;
    for (int e = 0; e < n; e++)
        for (int i = 0; i < k; i++) w->part[e * k + i] = (moa_part){i ? &b[e].w : &a[e].w, rows};
    snprintf(w->each, sizeof w->each, "blk.%d.%s.%%d.weight", w->layer, name);
    moa_weight x = {.name = full_name(w, name, "_exps.weight"), .each = b ? NULL : w->each, .part = w->part, .n_part = n * k, .part_dim = 2,
                    .n_dim = 3, .shape = {n, n_out, n_in}, .init = init};
    MOA_TRY(w->fn(w->ctx, w->m, &x, w->err));
    for (int e = 0; e < n; e++)
        for (int i = 0; i < k; i++) w->part[e * k + i].at = i ? &b[e].b : &a[e].b;
    x = (moa_weight){.name = full_name(w, name, "_exps.bias"), .part = w->part, .n_part = n * k, .part_dim = 1, .n_dim = 2, .shape = {n, n_out},
                     .optional = !w->m->arch->all_bias, .init = MOA_INIT_ZEROS};
    return w->fn(w->ctx, w->m, &x, w->err);
}

static int moe(walk *w, moa_layer *l) {
    const moa_hparams *h = &w->m->h;
    const moa_arch *a = w->m->arch;
    const int64_t d = h->d_model, f = h->d_expert;
    const moa_weight router = {.name = full_name(w, "ffn_gate_inp", ".weight"), .n_dim = 2, .shape = {h->n_expert, d}, .router = true};
    MOA_TRY(whole(w, router, &l->router.w));
    MOA_TRY(vector(w, "ffn_gate_inp", ".bias", &l->router.b, h->n_expert, MOA_INIT_ZEROS, !a->all_bias));
    MOA_TRY(vector(w, "exp_probs_b", ".bias", &l->select_bias, h->n_expert, MOA_INIT_ZEROS, true));
    if (has(w, "ffn_gate_up_exps", false)) {
        MOA_TRY(experts(w, "ffn_gate_up", l->e_gate, l->e_up, 2 * f, d, MOA_INIT_NORMAL));
    } else {
        MOA_TRY(experts(w, "ffn_gate", l->e_gate, NULL, f, d, MOA_INIT_NORMAL));
        MOA_TRY(experts(w, "ffn_up", l->e_up, NULL, f, d, MOA_INIT_NORMAL));
    }
    MOA_TRY(experts(w, "ffn_down", l->e_down, NULL, d, f, MOA_INIT_RESIDUAL));
    if (!h->d_shared) return 0;
    if (a->shared_router) MOA_TRY(vector(w, "ffn_gate_inp_shexp", ".weight", &l->s_router, d, MOA_INIT_ZEROS, false));
    MOA_TRY(linear(w, "ffn_gate_shexp", &l->s_gate, h->d_shared, d, MOA_INIT_NORMAL, false));
    MOA_TRY(linear(w, "ffn_up_shexp", &l->s_up, h->d_shared, d, MOA_INIT_NORMAL, false));
    return linear(w, "ffn_down_shexp", &l->s_down, d, h->d_shared, MOA_INIT_RESIDUAL, false);
}

static int dense(walk *w, moa_layer *l) {
    const moa_hparams *h = &w->m->h;
    const int64_t d = h->d_model, rows[] = {h->d_ff, h->d_ff};
    moa_linear_w *const gate_up[] = {&l->gate, &l->up};
    if (w->m->arch->fused && !(w->m->file && has(w, "ffn_gate", false))) {
        MOA_TRY(fused(w, "ffn_up", gate_up, rows, 2, d, false));
    } else {
        MOA_TRY(linear(w, "ffn_gate", &l->gate, h->d_ff, d, MOA_INIT_NORMAL, false));
        MOA_TRY(linear(w, "ffn_up", &l->up, h->d_ff, d, MOA_INIT_NORMAL, false));
    }
    return linear(w, "ffn_down", &l->down, d, h->d_ff, MOA_INIT_RESIDUAL, false);
}

static int block(walk *w, moa_layer *l) {
    const moa_hparams *h = &w->m->h;
    const moa_arch *a = w->m->arch;
    const int64_t d = h->d_model;
    if (a->norms != MOA_NORMS_POST) MOA_TRY(norm(w, "attn_norm", &l->attn_norm, d));
    MOA_TRY(h->kv_rank ? latent(w, l) : ordinary(w, l));
    MOA_TRY(linear(w, "attn_output", &l->o, d, (int64_t)h->n_head * h->d_value, MOA_INIT_RESIDUAL, a->all_bias));
    if (a->norms != MOA_NORMS_PRE) MOA_TRY(norm(w, "post_attention_norm", &l->attn_post_norm, d));
    if (a->norms != MOA_NORMS_POST) MOA_TRY(norm(w, a->ffn_norm ? a->ffn_norm : "ffn_norm", &l->ffn_norm, d));
    MOA_TRY(h->n_expert && w->layer >= h->n_dense ? moe(w, l) : dense(w, l));
    return a->norms != MOA_NORMS_PRE ? norm(w, "post_ffw_norm", &l->ffn_post_norm, d) : 0;
}

/* ---- encoders ---- */

static int layer_norm(walk *w, const char *name, moa_tensor **weight, moa_tensor **bias) {
    MOA_TRY(norm(w, name, weight, w->m->h.d_model));
    return vector(w, name, ".bias", bias, w->m->h.d_model, MOA_INIT_ZEROS, false);
}

static int encoder_block(walk *w, moa_layer *l) {
    const moa_hparams *h = &w->m->h;
    const moa_arch *a = w->m->arch;
    const int64_t d = h->d_model;
    MOA_TRY(ordinary(w, l));
    MOA_TRY(linear(w, "attn_output", &l->o, d, (int64_t)h->n_head * h->d_value, MOA_INIT_RESIDUAL, a->all_bias));
    MOA_TRY(layer_norm(w, "attn_output_norm", &l->attn_post_norm, &l->attn_post_bias));
    MOA_TRY(linear(w, "ffn_up", &l->up, h->d_ff, d, MOA_INIT_NORMAL, a->all_bias));
    if (!a->positions) MOA_TRY(linear(w, "ffn_gate", &l->gate, h->d_ff, d, MOA_INIT_NORMAL, a->all_bias));
    MOA_TRY(linear(w, "ffn_down", &l->down, d, h->d_ff, MOA_INIT_RESIDUAL, a->all_bias));
    return layer_norm(w, "layer_output_norm", &l->ffn_post_norm, &l->ffn_post_bias);
}

/* Of the token types the first alone is read, however many there are. */
static int encoder(walk *w) {
    moa_model *m = w->m;
    const moa_hparams *h = &m->h;
    const moa_tensor *types = moa_gguf_tensor(m->file, "token_types.weight");
    const int64_t n_type = types && types->n_dim == 2 ? types->shape[0] : 1;
    MOA_TRY(whole(w, (moa_weight){.name = "token_embd.weight", .n_dim = 2, .shape = {h->n_vocab, h->d_model}}, &m->tok_embd));
    MOA_TRY(whole(w, (moa_weight){.name = "token_types.weight", .n_dim = 2, .shape = {n_type, h->d_model}}, &m->type_embd));
    if (m->arch->positions)
        MOA_TRY(whole(w, (moa_weight){.name = "position_embd.weight", .n_dim = 2, .shape = {h->n_ctx, h->d_model}}, &m->pos_embd));
    MOA_TRY(layer_norm(w, "token_embd_norm", &m->embd_norm, &m->embd_norm_bias));
    for (w->layer = 0; w->layer < h->n_layer; w->layer++) MOA_TRY(encoder_block(w, &m->layer[w->layer]));
    return 0;
}

static int all(walk *w) {
    moa_model *m = w->m;
    const moa_hparams *h = &m->h;
    if (m->arch->encoder) return encoder(w);
    MOA_TRY(whole(w, (moa_weight){.name = "token_embd.weight", .n_dim = 2, .shape = {h->n_vocab, h->d_model}}, &m->tok_embd));
    for (w->layer = 0; w->layer < h->n_layer; w->layer++) MOA_TRY(block(w, &m->layer[w->layer]));
    w->layer = -1;
    MOA_TRY(norm(w, "output_norm", &m->out_norm, h->d_model));
    if (!h->tied) MOA_TRY(linear(w, "output", &m->out, h->n_vocab, h->d_model, MOA_INIT_NORMAL, false));
    MOA_TRY(vector(w, "rope_freqs", ".weight", &m->rope_factors, h->n_rot / 2, MOA_INIT_ONES, true));
    MOA_TRY(vector(w, "rope_factors_short", ".weight", &m->rope_short, h->n_rot / 2, MOA_INIT_ONES, true));
    return vector(w, "rope_factors_long", ".weight", &m->rope_long, h->n_rot / 2, MOA_INIT_ONES, true);
}

int moa_weights_each(moa_model *m, moa_weight_fn fn, void *ctx, moa_err *err) {
    walk w = {.m = m, .fn = fn, .ctx = ctx, .err = err, .layer = -1};
    w.part = calloc(2 * (size_t)m->h.n_expert + 3, sizeof *w.part);
    const int rc = w.part ? all(&w) : moa_fail(err, MOA_ENOMEM, "model: no memory for a list of %d experts", m->h.n_expert);
    free(w.part);
    return rc;
}

/* In an order that depends on the architecture's numbers alone. */
void moa_model_number_sites(moa_model *m) {
    m->n_site = MOA_SITE_EMBEDDING + 1;
    m->out.site = m->n_site++;
    for (int i = 0; i < m->h.n_layer; i++) {
        moa_layer *l = &m->layer[i];
        moa_linear_w *const one[] = {&l->q, &l->k, &l->v, &l->o, &l->q_a, &l->kv_a, &l->kv_b, &l->gate, &l->up, &l->down,
                                     &l->router, &l->s_gate, &l->s_up, &l->s_down};
        for (size_t k = 0; k < sizeof one / sizeof *one; k++)
            if (one[k]->w) one[k]->site = m->n_site++;
        if (l->s_router) l->s_router_site = m->n_site++;
        for (int e = 0; l->router.w && e < m->h.n_expert; e++) {
            l->e_gate[e].site = m->n_site++;
            l->e_up[e].site = m->n_site++;
            l->e_down[e].site = m->n_site++;
        }
    }
}

int moa_model_derive(moa_model *m, moa_err *err) {
    if (m->h.tied) m->out.w = m->tok_embd;
    moa_model_number_sites(m);
    for (int i = 0; i < m->h.n_layer; i++) m->layer[i].window = moa_layer_window(&m->h, i);
    return moa_rope_forms_make(m, err);
}

int moa_model_shell(moa_model **out, const moa_arch *a, const moa_hparams *h, int max_param, moa_err *err) {
    moa_model *m = calloc(1, sizeof *m);
    if (!m) return moa_fail(err, MOA_ENOMEM, "model: no memory");
    m->arch = a;
    m->h = *h;
    m->arena = moa_arena_new(0, 0);
    if (m->arena) m->layer = moa_arena_calloc(m->arena, (size_t)h->n_layer * sizeof *m->layer);
    if (m->layer) m->param = moa_arena_calloc(m->arena, (size_t)max_param * sizeof(moa_tensor *));
    bool ok = m->param != NULL;
    for (int i = 0; ok && h->n_expert && i < h->n_layer; i++) {
        moa_linear_w *e = moa_arena_calloc(m->arena, 3 * (size_t)h->n_expert * sizeof *e);
        m->layer[i].e_gate = e;
        m->layer[i].e_up = e ? e + h->n_expert : NULL;
        m->layer[i].e_down = e ? e + 2 * h->n_expert : NULL;
        ok = e != NULL;
    }
    if (!ok) {
        moa_model_close(m);
        return moa_fail(err, MOA_ENOMEM, "model: no memory for the tables of %d layers", h->n_layer);
    }
    *out = m;
    return 0;
}

int moa_model_text_parts(moa_model *m, moa_err *err) {
    moa_str chat;
    if (!m->meta) return 0;
    if (moa_gguf_find(m->meta, "tokenizer.ggml.model")) {
        MOA_TRY(moa_tokenizer_open(&m->tok, m->meta, err));
        if (moa_tokenizer_n_vocab(m->tok) > m->h.n_vocab)
            return moa_fail(err, MOA_EFORMAT, "%s: the tokenizer has %d tokens, token_embd.weight has rows for %d", moa_gguf_path(m->meta),
                            moa_tokenizer_n_vocab(m->tok), m->h.n_vocab);
    }
    MOA_TRY(moa_gguf_str(&chat, m->meta, "tokenizer.chat_template", "", err));
    /* A template beyond our interpreter does not make the model useless: the reason is kept for who asks for chat. */
    if (chat.n && moa_chat_template_parse(&m->chat, chat.p, chat.n, &m->chat_err) < 0) m->chat = NULL;
    return 0;
}

void moa_model_close(moa_model *m) {
    if (!m) return;
    moa_tokenizer_close(m->tok);
    moa_chat_template_free(m->chat);
    moa_packs_free(m->packs);
    moa_gguf_close(m->file);
    moa_arena_free(m->arena);
    free(m->path);
    free(m);
}

int64_t moa_model_n_weights(const moa_model *m) {
    int64_t n = 0;
    for (int i = 0; i < m->n_param; i++) n += moa_tensor_count(m->param[i]);
    return n;
}
