/* model.h - a language model: hyper-parameters, weights, tokenizer, chat template.
 *
 * Two ways to get one: mapped from a GGUF file (read-only, shared by any number of sessions), or made anew
 * from hyper-parameters with trainable f32 weights (train/). Both run through the one graph of graph.c; an
 * architecture (arch/, archs.def) says by a table what differs.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_MODEL_MODEL_H
#define MOA_MODEL_MODEL_H

#include "format/chat.h"
#include "format/gguf.h"
#include "format/tokenizer.h"
#include "mix/route.h"
#include "tensor/exec.h"

typedef struct moa_hparams {
    int n_vocab, n_ctx, d_model, n_layer, n_head, n_kv, head_dim, n_rot, d_ff;
    int n_expert, n_expert_used, d_expert; /* n_expert 0: dense */
    moa_gate_norm gate_norm;
    float gate_scale;     /* multiplies gate values */
    float norm_eps, rope_base, rope_freq_scale;
    moa_rope_pairs rope_pairs;
    bool tied;            /* the output matrix is the token embedding */
} moa_hparams;

/* y = W x + b, and the place where an adapter mixture can sit. */
typedef struct moa_linear_w {
    moa_tensor *w;        /* [n_out, n_in] */
    moa_tensor *b;        /* [n_out] or NULL */
    struct moa_site *site; /* NULL: none, no cost */
} moa_linear_w;

/* The one place where a graph multiplies by a weight. */
moa_tensor *moa_linear_apply(moa_exec *x, const moa_linear_w *l, moa_tensor *in /* [n, n_in] */); /* -> [n, n_out] */

typedef struct moa_layer {
    moa_tensor *attn_norm, *ffn_norm;
    moa_tensor *q_norm, *k_norm;         /* [head_dim]: RMS norm of each head before rope; NULL: none */
    moa_linear_w q, k, v, o;
    moa_linear_w gate, up, down;         /* dense FFN */
    moa_linear_w router;                 /* [n_expert, d_model]; w NULL: dense */
    moa_linear_w *e_gate, *e_up, *e_down; /* [n_expert] each; views into 3-D tensors or own tensors */
} moa_layer;

/* One row of archs.def. */
typedef struct moa_arch {
    const char *name, *help;
    const char *activation;              /* "silu" */
    moa_rope_pairs rope_pairs;
    moa_gate_norm gate_norm;             /* of its mixture-of-experts form */
    bool qk_norm;                        /* layers have q_norm and k_norm */
    /* Read what differs from the common keys "<arch>.block_count" ...; NULL: nothing. */
    int (*hparams)(moa_hparams *h, const moa_gguf *g, moa_err *err);
} moa_arch;
const moa_arch *const *moa_archs(int *n);
const moa_arch *moa_arch_find(const char *name, size_t n); /* name need not be 0-terminated */

/* Common keys of g, then the arch's own; checked. n_vocab is what the tokenizer's list says (0: no list). */
int moa_hparams_read(moa_hparams *h, const moa_arch *a, const moa_gguf *g, moa_err *err);
/* Do the numbers fit each other? Fills what may be left 0: n_kv, head_dim, n_rot, d_expert, gate_scale,
 * norm_eps (1e-5), rope_base (10000), rope_freq_scale (1). */
int moa_hparams_check(moa_hparams *h, moa_err *err);
void moa_hparams_put(moa_gguf_out *o, const moa_arch *a, const moa_hparams *h);

struct moa_model {
    const moa_arch *arch;
    moa_hparams h;
    moa_tensor *tok_embd, *out_norm, *rope_factors; /* rope_factors may be NULL */
    moa_linear_w out;                               /* out.w == tok_embd when tied */
    moa_layer *layer;                               /* [n_layer] */
    moa_tensor **param;                             /* every weight once, in file order */
    int n_param;
    moa_tokenizer *tok;
    moa_chat_template *chat;                        /* NULL: the file has none, or chat_err says why it is unusable */
    moa_err chat_err;
    moa_gguf *file;                                 /* NULL for a made model */
    const moa_gguf *meta;                           /* keys to keep in save: file, or what make was given; may be NULL */
    moa_arena *arena;                               /* owns structs, and the data of a made model */
    char *path;
};

/* Every weight of the graph is looked up and its shape checked; a file without tokenizer.ggml.model opens with tok NULL. */
int moa_model_open(moa_model **out, const char *path, moa_err *err);
/* Trainable: f32 weights, normal init (0.02, output projections by 1/sqrt(2 n_layer)), needs_grad and f32 grad
 * set on every parameter; meta gives the tokenizer and the chat template (a GGUF without tensors; borrowed as long as the
 * model lives; NULL: neither). Experts are one parameter each, side by side in memory. */
int moa_model_make(moa_model **out, const char *arch, const moa_hparams *h, const moa_gguf *meta, uint64_t seed, moa_err *err);
void moa_model_close(moa_model *m);
/* Write weights as `type` (norms and other 1-D tensors stay F32; a row that the type's block does not divide falls
 * back to F16; routers stay F32) with m's metadata, plus extra keys from `extra` (may be NULL). Atomic. */
int moa_model_save(const moa_model *m, const char *path, moa_dtype type, const moa_gguf_out *extra, moa_err *err);
int64_t moa_model_n_weights(const moa_model *m);

/* ---- the graph ---- */
typedef moa_tensor *(*moa_attend_fn)(moa_exec *x, void *ctx, const moa_model *m, int layer,
                                     moa_tensor *q /* [n, n_head*hd], rotated */, moa_tensor *k /* [n, n_kv*hd], rotated */, moa_tensor *v);
static inline float moa_attention_scale(const moa_hparams *h) { return 1.0f / __builtin_sqrtf((float)h->head_dim); }
/* The attend of training: causal attention over packed documents; ctx is the i32 tensor doc_start [n]. */
moa_tensor *moa_attend_packed(moa_exec *x, void *ctx, const moa_model *m, int layer, moa_tensor *q, moa_tensor *k, moa_tensor *v);

typedef struct moa_rows_in {
    moa_tensor *ids, *pos;  /* i32 [n] */
    moa_tensor *out_rows;   /* i32 [m]: rows that get logits; NULL: all */
    moa_attend_fn attend;   /* training: packed documents; session: paged KV */
    void *attend_ctx;
    moa_route *trace;       /* NULL, or [n_layer] to receive routes of MoE layers */
} moa_rows_in;
/* -> logits f32 [m, n_vocab] in x->arena; NULL with x->err on failure. */
moa_tensor *moa_model_forward(moa_exec *x, const moa_model *m, const moa_rows_in *in);

#endif
