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
    char name[96], each[96];
} walk;

static const char *full_name(walk *w, const char *name) {
    if (w->layer < 0) snprintf(w->name, sizeof w->name, "%s", name);
    else snprintf(w->name, sizeof w->name, "blk.%d.%s", w->layer, name);
    return w->name;
}

static int vector(walk *w, const char *name, moa_tensor **at, int64_t n, bool optional) {
    const moa_weight x = {.name = full_name(w, name), .at = at, .n_dim = 1, .shape = {n}, .optional = optional, .init = MOA_INIT_ONES};
    return w->fn(w->ctx, w->m, &x, w->err);
}

static int matrix(walk *w, const char *name, moa_tensor **at, int64_t n_out, int64_t n_in, moa_init init, bool optional) {
    const moa_weight x = {.name = full_name(w, name), .at = at, .n_dim = 2, .shape = {n_out, n_in}, .optional = optional,
                          .init = init};
    return w->fn(w->ctx, w->m, &x, w->err);
}

/* name.weight, and name.bias where a file has it. */
static int linear(walk *w, const char *name, moa_linear_w *l, int64_t n_out, int64_t n_in, moa_init init) {
    char part[64];
    snprintf(part, sizeof part, "%s.weight", name);
    MOA_TRY(matrix(w, part, &l->w, n_out, n_in, init, false));
    snprintf(part, sizeof part, "%s.bias", name);
    return vector(w, part, &l->b, n_out, true);
}

static int experts(walk *w, const char *name, moa_linear_w *e, int64_t n_out, int64_t n_in, moa_init init) {
    char part[64];
    snprintf(part, sizeof part, "%s_exps.weight", name);
    snprintf(w->each, sizeof w->each, "blk.%d.%s.%%d.weight", w->layer, name);
    const moa_weight x = {.name = full_name(w, part), .expert = e, .each = w->each, .n_dim = 3,
                          .shape = {w->m->h.n_expert, n_out, n_in}, .init = init};
    return w->fn(w->ctx, w->m, &x, w->err);
}

static int moe(walk *w, moa_layer *l) {
    const moa_hparams *h = &w->m->h;
    const moa_weight router = {.name = full_name(w, "ffn_gate_inp.weight"), .at = &l->router.w, .n_dim = 2,
                               .shape = {h->n_expert, h->d_model}, .router = true, .init = MOA_INIT_NORMAL};
    MOA_TRY(w->fn(w->ctx, w->m, &router, w->err));
    MOA_TRY(experts(w, "ffn_gate", l->e_gate, h->d_expert, h->d_model, MOA_INIT_NORMAL));
    MOA_TRY(experts(w, "ffn_up", l->e_up, h->d_expert, h->d_model, MOA_INIT_NORMAL));
    return experts(w, "ffn_down", l->e_down, h->d_model, h->d_expert, MOA_INIT_RESIDUAL);
}

static int block(walk *w, moa_layer *l) {
    const moa_hparams *h = &w->m->h;
    const int64_t d = h->d_model, d_q = (int64_t)h->n_head * h->head_dim, d_kv = (int64_t)h->n_kv * h->head_dim;
    MOA_TRY(vector(w, "attn_norm.weight", &l->attn_norm, d, false));
    MOA_TRY(linear(w, "attn_q", &l->q, d_q, d, MOA_INIT_NORMAL));
    MOA_TRY(linear(w, "attn_k", &l->k, d_kv, d, MOA_INIT_NORMAL));
    MOA_TRY(linear(w, "attn_v", &l->v, d_kv, d, MOA_INIT_NORMAL));
    if (w->m->arch->qk_norm) {
        MOA_TRY(vector(w, "attn_q_norm.weight", &l->q_norm, h->head_dim, false));
        MOA_TRY(vector(w, "attn_k_norm.weight", &l->k_norm, h->head_dim, false));
    }
    MOA_TRY(linear(w, "attn_output", &l->o, d, d_q, MOA_INIT_RESIDUAL));
    MOA_TRY(vector(w, "ffn_norm.weight", &l->ffn_norm, d, false));
    if (h->n_expert) return moe(w, l);
    MOA_TRY(linear(w, "ffn_gate", &l->gate, h->d_ff, d, MOA_INIT_NORMAL));
    MOA_TRY(linear(w, "ffn_up", &l->up, h->d_ff, d, MOA_INIT_NORMAL));
    return linear(w, "ffn_down", &l->down, d, h->d_ff, MOA_INIT_RESIDUAL);
}

int moa_weights_each(moa_model *m, moa_weight_fn fn, void *ctx, moa_err *err) {
    walk w = {.m = m, .fn = fn, .ctx = ctx, .err = err, .layer = -1};
    const moa_hparams *h = &m->h;
    MOA_TRY(matrix(&w, "token_embd.weight", &m->tok_embd, h->n_vocab, h->d_model, MOA_INIT_NORMAL, false));
    for (w.layer = 0; w.layer < h->n_layer; w.layer++) MOA_TRY(block(&w, &m->layer[w.layer]));
    w.layer = -1;
    MOA_TRY(vector(&w, "output_norm.weight", &m->out_norm, h->d_model, false));
    if (!h->tied) MOA_TRY(matrix(&w, "output.weight", &m->out.w, h->n_vocab, h->d_model, MOA_INIT_NORMAL, false));
    return vector(&w, "rope_freqs.weight", &m->rope_factors, h->n_rot / 2, true);
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
