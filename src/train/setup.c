/* setup.c - from a recipe to a model that can be trained: tokenizer, weights, states, bf16 copies; and back to a file.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/rng.h"
#include "format/hf.h"
#include "tensor/dense.h"
#include "train/trainer.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- tokenizer and chat template: one GGUF without tensors ---- */
typedef struct corpus { char **text; size_t *len; int64_t n, cap; } corpus;

static int corpus_add(void *ctx, const char *text, size_t n) {
    corpus *c = ctx;
    if (c->n == c->cap) {
        int64_t cap = c->cap ? c->cap * 2 : 4096;
        char **p = realloc(c->text, (size_t)cap * sizeof *p);
        if (p) c->text = p;
        size_t *q = p ? realloc(c->len, (size_t)cap * sizeof *q) : NULL;
        if (q) c->len = q;
        if (!p || !q) return MOA_ENOMEM;
        c->cap = cap;
    }
    char *s = malloc(n + 1);
    if (!s) return MOA_ENOMEM;
    memcpy(s, text, n);
    s[n] = 0;
    c->text[c->n] = s;
    c->len[c->n++] = n;
    return 0;
}

static void corpus_deinit(corpus *c) {
    for (int64_t i = 0; i < c->n; i++) free(c->text[i]);
    free(c->text);
    free(c->len);
}

static int index_of(const char *const *special, int n, const char *name) {
    for (int i = 0; i < n; i++)
        if (!strcmp(special[i], name)) return i;
    return -1;
}

static int train_tokenizer(moa_gguf_out *o, const moa_recipe *r, moa_err *err) {
    static const char *const bundled[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    const moa_recipe_tokenizer *tk = &r->tokenizer;
    moa_bpe_train cfg = {.n_vocab = tk->n_vocab, .pre = "moa", .special = bundled, .n_special = 3, .bos = -1};
    if (tk->special_count) {
        cfg.special = (const char *const *)tk->special;
        cfg.n_special = (int)tk->special_count;
    }
    cfg.eos = index_of(cfg.special, cfg.n_special, "<|im_end|>");
    if (cfg.eos < 0) cfg.eos = cfg.n_special - 1;
    cfg.pad = index_of(cfg.special, cfg.n_special, "<|endoftext|>");
    corpus c = {0};
    int rc = moa_data_texts(r, tk->items, corpus_add, &c, err);
    if (rc == 0) rc = moa_bpe_train_run(o, &cfg, (const char *const *)c.text, c.len, c.n, err);
    corpus_deinit(&c);
    return rc;
}

/* Copies tokenizer.* of a model; its chat template too, unless the recipe has one. */
static int copy_tokenizer(moa_gguf_out *o, const char *path, bool *has_chat, moa_err *err) {
    moa_gguf *g;
    MOA_TRY(moa_gguf_open_any(&g, path, MOA_HF_HEAD, err));
    int n = 0;
    for (int i = 0; i < moa_gguf_n_kv(g); i++) {
        const moa_gguf_kv *kv = moa_gguf_kv_at(g, i);
        if (kv->key.n < 10 || memcmp(kv->key.p, "tokenizer.", 10) != 0) continue;
        moa_gguf_put_kv(o, kv);
        n++;
    }
    *has_chat = moa_gguf_find(g, "tokenizer.chat_template") != NULL;
    moa_gguf_close(g);
    return n ? 0 : moa_fail(err, MOA_EFORMAT, "%s: has no tokenizer", path);
}

static int make_meta(const moa_trainer *t, const char *path, moa_err *err) {
    const moa_recipe *r = t->r;
    moa_gguf_out *o = moa_gguf_out_new();
    if (!o) return moa_fail(err, MOA_ENOMEM, "%s: no memory", path);
    char from[1200] = "";
    if (r->tokenizer.gguf) snprintf(from, sizeof from, "%s", r->tokenizer.gguf);
    else if (r->init.gguf) snprintf(from, sizeof from, "%s", r->init.gguf);
    else if (r->init.run) {
        moa_run_beside(from, sizeof from, t->dir, r->init.run);
        strncat(from, "/tokenizer.gguf", sizeof from - strlen(from) - 1);
    }
    bool has_chat = false;
    moa_gguf_put_str(o, "general.name", r->name, strlen(r->name));
    if (r->about) moa_gguf_put_str(o, "general.description", r->about, strlen(r->about));
    if (r->license) moa_gguf_put_str(o, "general.license", r->license, strlen(r->license));
    int rc = from[0] ? copy_tokenizer(o, from, &has_chat, err) : train_tokenizer(o, r, err);
    if (r->chat_template || !has_chat) {
        const char *text = r->chat_template ? r->chat_template : moa_recipe_chat_template;
        moa_gguf_put_str(o, "tokenizer.chat_template", text, strlen(text));
    }
    if (rc == 0) rc = moa_gguf_write(o, path, err);
    moa_gguf_out_free(o);
    return rc;
}

static int hash_file(uint64_t *out, const char *path, moa_err *err) {
    moa_map m;
    MOA_TRY(moa_map_open(&m, path, err));
    *out = moa_hash64(m.data, m.size, 1);
    moa_map_close(&m);
    return 0;
}

static int open_meta(moa_trainer *t, moa_err *err) {
    char path[1200];
    snprintf(path, sizeof path, "%s/tokenizer.gguf", t->dir);
    if (!t->cfg->resume) MOA_TRY(make_meta(t, path, err));
    uint64_t hash;
    MOA_TRY(hash_file(&hash, path, err));
    if (t->cfg->resume && hash != t->at.meta_hash)
        return moa_fail(err, MOA_EINVAL, "%s: not the tokenizer that this run was trained with", path);
    t->at.meta_hash = hash;
    return moa_gguf_open(&t->meta, path, err);
}

/* ---- the model ---- */
static int vocab_of(int *out, const moa_gguf *meta, moa_err *err) {
    moa_tokenizer *tok;
    MOA_TRY(moa_tokenizer_open(&tok, meta, err));
    *out = moa_tokenizer_n_vocab(tok);
    moa_tokenizer_close(tok);
    return 0;
}

static int copy_weights(moa_model *to, const moa_model *from, moa_err *err) {
    if (to->n_param != from->n_param)
        return moa_fail(err, MOA_EINVAL, "%s: %d tensors, the model to train has %d", from->path, from->n_param, to->n_param);
    for (int i = 0; i < to->n_param; i++) {
        const moa_tensor *a = from->param[i], *b = to->param[i];
        const moa_type *type = moa_type_get(a->dtype);
        int64_t n = moa_tensor_count(b);
        if (!type || moa_tensor_count(a) != n || moa_cols(a) != moa_cols(b))
            return moa_fail(err, MOA_EINVAL, "%s: tensor '%s' does not fit '%s'", from->path, a->name, b->name);
        type->dequantize(b->data, a->data, n);
    }
    return 0;
}

/* Numbers that an architecture may give to every file of its kind, though a recipe cannot name them. */
static const struct { const char *key; size_t at; bool real; } read_back[] = {
#define N(key, field, real) {key, offsetof(moa_hparams, field), real}
    N("attention.sliding_window", n_window, false),   N("attention.scale", attn_scale, true),
    N("attn_logit_softcapping", attn_cap, true),      N("final_logit_softcapping", logit_cap, true),
    N("rope.freq_base", rope_base, true),             N("rope.freq_base_swa", rope_local_base, true),
    N("attention.layer_norm_rms_epsilon", norm_eps, true), N("attention.head_count_kv", n_kv, false),
    N("attention.key_length", head_dim, false),       N("rope.dimension_count", n_rot, false),
#undef N
};

/* The model's file, as keys alone, read again: what would compute otherwise than what is trained must not be found out at its end. */
static int check_read_back(const moa_model *m, moa_err *err) {
    moa_gguf_out *o = moa_gguf_out_new();
    moa_gguf *g = NULL;
    moa_buf b;
    moa_hparams h;
    moa_buf_init(&b, 1 << 20);
    if (o) moa_hparams_put(o, m->arch, &m->h);
    int rc = o ? moa_gguf_head(&b, o, err) : moa_fail(err, MOA_ENOMEM, "no memory for the model's keys");
    if (rc == 0) rc = moa_gguf_open_memory(&g, moa_buf_str(&b), b.len, "the model's file", err);
    if (rc == 0) rc = moa_hparams_read(&h, m->arch, g, err);
    for (size_t i = 0; rc == 0 && i < sizeof read_back / sizeof *read_back; i++) {
        double v[2];
        for (int k = 0; k < 2; k++) {
            const char *at = (const char *)(k ? &h : &m->h) + read_back[i].at;
            v[k] = read_back[i].real ? (double)*(const float *)(const void *)at : *(const int *)(const void *)at;
        }
        if (v[0] != v[1]) rc = moa_fail(err, MOA_EUNSUPPORTED, "%s is %g in training and would be %g in its file", read_back[i].key, v[0], v[1]);
    }
    if (rc < 0) rc = moa_wrap(err, rc, "arch '%s' cannot be made by a recipe", m->arch->name);
    moa_gguf_close(g);
    moa_gguf_out_free(o);
    moa_buf_deinit(&b);
    return rc;
}

static int make_model(moa_trainer *t, moa_err *err) {
    const moa_recipe_model *c = &t->r->model;
    moa_model *from = NULL;
    const char *arch = c->arch;
    int rc = 0;
    moa_hparams h = {.n_ctx = c->n_ctx, .d_model = c->d_model, .n_layer = c->n_layer, .n_head = c->n_head, .n_kv = c->n_kv,
                     .head_dim = c->head_dim, .n_rot = c->head_dim, .d_ff = c->d_ff, .norm_eps = (float)c->norm_eps,
                     .rope_base = (float)c->rope_base, .rope_freq_scale = 1, .tied = c->tied};
    const moa_arch *row = moa_arch_find(arch, strlen(arch));
    if (row) h.rope_pairs = row->rope_pairs;
    MOA_TRY(vocab_of(&h.n_vocab, t->meta, err));
    if (t->r->init.gguf) {
        MOA_TRY(moa_model_open(&from, t->r->init.gguf, err));
        const int n_token = moa_tokenizer_n_vocab(from->tok);
        if (h.n_vocab != n_token)
            rc = moa_fail(err, MOA_EINVAL, "%s/tokenizer.gguf: %d tokens, but the weights of %s belong to %d", t->dir, h.n_vocab, t->r->init.gguf, n_token);
        h = from->h;
        arch = from->arch->name;
    }
    if (rc == 0) rc = moa_model_make(&t->m, arch, &h, t->meta, (uint64_t)t->r->seed, err);
    if (rc == 0) rc = check_read_back(t->m, err);
    if (rc == 0 && from) rc = copy_weights(t->m, from, err);
    moa_model_close(from);
    for (unsigned i = 0; rc == 0 && i < t->r->stages_count; i++)
        if (t->r->stages[i].kind == MOA_STAGE_TRAIN && t->r->stages[i].seq_len > t->m->h.n_ctx)
            rc = moa_fail(err, MOA_EINVAL, "%s:%d: seq_len %d is beyond the model's context of %d", t->r->path, t->r->stages[i].line,
                          t->r->stages[i].seq_len, t->m->h.n_ctx);
    return rc;
}

static int list_params(moa_trainer *t, moa_err *err) {
    moa_model *m = t->m;
    t->n_param = m->n_param;
    t->param = calloc((size_t)m->n_param, sizeof *t->param);
    if (!t->param) return moa_fail(err, MOA_ENOMEM, "no memory for the optimiser");
    for (int i = 0; i < m->n_param; i++) {
        moa_tensor *w = m->param[i];
        bool outer = w == m->tok_embd || w == m->out.w;
        t->param[i] = (moa_optim_param){.w = w, .hidden = w->n_dim == 2 && !outer};
    }
    return 0;
}

static int make_execs(moa_trainer *t, moa_err *err) {
    const moa_kernels *k;
    MOA_TRY(moa_kernels_default(&k, err));
    t->x = (moa_exec){.arena = moa_arena_new(0, 0), .tape = moa_tape_new(), .k = k, .n_threads = t->n_threads};
    t->scratch = (moa_exec){.arena = moa_arena_new(0, 0), .k = k, .n_threads = t->n_threads};
    return t->x.arena && t->x.tape && t->scratch.arena ? 0 : moa_fail(err, MOA_ENOMEM, "no memory for the graph");
}

int moa_trainer_init(moa_trainer *t, moa_err *err) {
    MOA_TRY(open_meta(t, err));
    MOA_TRY(make_model(t, err));
    MOA_TRY(make_execs(t, err));
    MOA_TRY(t->r->lora.rank ? moa_low_rank_new(t, err) : list_params(t, err));
    if (t->cfg->resume || !t->r->init.run) return 0;
    char dir[1200];
    moa_run_beside(dir, sizeof dir, t->dir, t->r->init.run);
    return moa_checkpoint_weights(dir, t->param, t->n_param, err);
}

void moa_trainer_deinit(moa_trainer *t) {
    if (t->log >= 0) close(t->log);
    if (t->lock >= 0) close(t->lock);
    moa_tape_free(t->x.tape);
    moa_arena_free(t->x.arena);
    moa_arena_free(t->scratch.arena);
    free(t->states);
    free(t->halves);
    free(t->half);
    free(t->param);
    moa_low_rank_free(t);
    moa_model_close(t->m);
    moa_gguf_close(t->meta);
}

/* ---- a stage ---- */
static int make_states(moa_trainer *t, const moa_optimizer *o, moa_err *err) {
    const int64_t total = moa_optim_states(o, t->param, t->n_param, NULL);
    free(t->states);
    t->states = calloc((size_t)total, sizeof *t->states);
    if (!t->states) return moa_fail(err, MOA_ENOMEM, "no memory for the optimiser's states");
    moa_optim_states(o, t->param, t->n_param, t->states);
    return 0;
}

/* Weights that products read: the model's, and what is trained beside them. */
static moa_tensor *weight(const moa_trainer *t, int i) { return i < t->m->n_param ? t->m->param[i] : t->param[i - t->m->n_param].w; }

static int make_halves(moa_trainer *t, bool bf16, moa_err *err) {
    const int n = t->m->n_param + (t->low ? t->n_param : 0);
    int64_t total = 0, used = 0;
    for (int i = 0; i < n; i++) {
        weight(t, i)->half = NULL;
        if (weight(t, i)->n_dim > 1) total += moa_tensor_count(weight(t, i));
    }
    if (!bf16) return 0;
    if (!t->half) t->half = calloc((size_t)n, sizeof *t->half);
    if (!t->halves) t->halves = aligned_alloc(64, ((size_t)total * 2 + 64 * (size_t)n + 63) / 64 * 64);
    if (!t->halves || !t->half) return moa_fail(err, MOA_ENOMEM, "no memory for bf16 weights");
    for (int i = 0; i < n; i++) {
        moa_tensor *w = weight(t, i);
        if (w->n_dim < 2) continue;
        t->half[i] = moa_view(MOA_BF16, t->halves + used, w->n_dim, w->shape);
        t->half[i].name = w->name;
        w->half = &t->half[i];
        used += (moa_tensor_count(w) + 31) / 32 * 32;
        if (t->low) moa_optim_refresh_half(w, t->n_threads); /* those that stay are copied here, once */
    }
    return 0;
}

int moa_trainer_begin_stage(moa_trainer *t, const moa_recipe_stage *s, moa_err *err) {
    bool bf16 = !strcmp(s->dtype, "bf16") && moa_dense_has_bf16();
    t->x.compute = t->scratch.compute = bf16 ? MOA_BF16 : MOA_F32;
    MOA_TRY(make_states(t, moa_optimizer_find(s->optimizer), err));
    return make_halves(t, bf16, err);
}

int moa_trainer_export(moa_trainer *t, const char *path, moa_err *err) {
    if (t->low) {
        MOA_TRY(moa_low_rank_export(t, path, err));
        snprintf(t->res->model_path, sizeof t->res->model_path, "%s", path);
        return 0;
    }
    moa_gguf_out *o = moa_gguf_out_new();
    if (!o) return moa_fail(err, MOA_ENOMEM, "%s: no memory", path);
    moa_gguf_put_str(o, "moa.train.recipe", t->r->name, strlen(t->r->name));
    moa_gguf_put_u64(o, "moa.train.recipe_hash", t->r->hash);
    moa_gguf_put_u64(o, "moa.train.steps", (uint64_t)t->at.total_step);
    moa_gguf_put_u64(o, "moa.train.tokens", (uint64_t)t->at.tokens);
    moa_gguf_put_f32(o, "moa.train.loss", (float)t->at.loss_avg);
    int rc = moa_model_save(t->m, path, moa_type_find(t->r->output.type)->id, o, err);
    moa_gguf_out_free(o);
    if (rc == 0) snprintf(t->res->model_path, sizeof t->res->model_path, "%s", path);
    return rc;
}
