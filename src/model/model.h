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
#include "tensor/pack.h"

/* Numbers of a model, as its file gives them. 0 means "not so" or "the usual" wherever that makes sense. */
typedef struct moa_hparams {
    int n_vocab, n_ctx, d_model, n_layer, n_head, n_kv, head_dim, n_rot, d_ff;
    int d_value;                               /* head size of values; 0: head_dim */
    int n_expert, n_expert_used, d_expert;     /* n_expert 0: dense */
    int n_dense;                               /* leading layers without experts */
    int d_shared;                              /* width of the expert that every row goes through; 0: none */
    int n_group, n_group_used;                 /* experts come from the best groups only; 0: from all */
    moa_gate_norm gate_norm;
    float gate_scale;                          /* multiplies gate values */
    int n_window, window_period;               /* local layers see n_window positions; layer i is global when period divides i + 1 */
    int kv_rank, q_rank;                       /* latent attention: rank of keys and values (0: ordinary attention), of queries (0: full) */
    bool absorbed;                             /* latent attention with attn_k_b and attn_v_b: the cache holds the latent */
    float norm_eps, rope_base, rope_freq_scale;
    float rope_local_base;                     /* of local layers, then without scaling; 0: as everywhere */
    moa_rope_pairs rope_pairs;
    bool yarn;                                 /* rope_freq_scale is stretched by YaRN, not evenly */
    int n_ctx_orig;                            /* context before stretching; 0: n_ctx */
    int yarn_ramp;                             /* YaRN's ramp is between whole dimensions (1) or fractional ones (-1); 0: as the architecture's */
    float yarn_fast, yarn_slow, yarn_log_mul, rope_magnitude; /* magnitude of rotated queries and keys; 0: 1 */
    float attn_scale;                          /* of scores; 0: 1 / sqrt(head_dim) */
    float attn_cap, logit_cap;                 /* soft caps; 0: none */
    float embd_scale, residual_scale, logit_div; /* 0: 1 */
    bool tied;                                 /* the output matrix is the token embedding */
} moa_hparams;

/* y = W x + b, and the place where an adapter mixture can sit. */
typedef struct moa_linear_w {
    moa_tensor *w;        /* [n_out, n_in] */
    moa_tensor *b;        /* [n_out] or NULL */
    int site;             /* its number among the places of a model where adapters can sit; 0: none */
} moa_linear_w;

/* What a set of adapters adds, place by place: made for one model by adapt/, handed to its sessions (moa_exec.sites). A place
 * without an entry costs one pointer test, a session without a set another. */
typedef struct moa_site_delta moa_site_delta;
typedef struct moa_swap { moa_tensor *const *slot; moa_tensor *w; } moa_swap; /* w stands in for the weight that the model keeps at slot */
typedef struct moa_sites {
    const moa_site_delta *const *at; /* [n_site] */
    int n_site;                      /* of the model it was made for */
    /* y += the sum of deltas of in, in place -> y. in [n, n_in], y [n, n_out]; at MOA_SITE_EMBEDDING i32 ids [n] instead of in. */
    moa_tensor *(*add)(moa_exec *x, const moa_site_delta *d, moa_tensor *in, const moa_linear_w *l, moa_tensor *y);
    const moa_swap *swap;            /* [n_swap], by slot */
    int n_swap;
    uint64_t key;                    /* of contents and scales, never 0: KV of one set is of no use to another */
} moa_sites;
enum { MOA_SITE_EMBEDDING = 1 };     /* the token embedding's; linears follow */

/* The weight that the model keeps at slot, or what an adapter has in its place; NULL where there is neither. */
static inline moa_tensor *moa_weight_at(const moa_exec *x, moa_tensor *const *slot) {
    int lo = 0, hi = x->sites ? x->sites->n_swap : 0;
    while (lo < hi) {
        const int mid = lo + (hi - lo) / 2;
        if (x->sites->swap[mid].slot == slot) return x->sites->swap[mid].w;
        if ((uintptr_t)x->sites->swap[mid].slot < (uintptr_t)slot) lo = mid + 1;
        else hi = mid;
    }
    return *slot;
}
/* The one place where a graph multiplies by a weight. */
moa_tensor *moa_linear_apply(moa_exec *x, const moa_linear_w *l, moa_tensor *in /* [n, n_in] */); /* -> [n, n_out] */

/* What a layer lacks is NULL. */
typedef struct moa_layer {
    moa_tensor *attn_norm, *attn_post_norm, *ffn_norm, *ffn_post_norm; /* [d_model] before and after a part */
    moa_tensor *attn_post_bias, *ffn_post_bias; /* of encoders, whose norms are layer norms */
    moa_tensor *q_norm, *k_norm;         /* before rope: [head_dim], each head on its own, or the length of the whole vector */
    moa_linear_w q, k, v, o;
    moa_tensor *sinks;                   /* [n_head] a score that takes its share of attention and gives nothing */
    int window;                          /* positions that a row sees, its own included; 0: all before it */
    /* Latent attention; q is the last projection of queries. */
    moa_linear_w q_a, kv_a;              /* [q_rank, d_model], [kv_rank + n_rot, d_model] */
    moa_linear_w kv_b;                   /* expanded: [n_head * (head_dim - n_rot + d_value), kv_rank] */
    moa_tensor *q_a_norm, *kv_a_norm;    /* [q_rank], [kv_rank] */
    moa_tensor *k_b, *v_b;               /* absorbed: [n_head, kv_rank, head_dim - n_rot], [n_head, d_value, kv_rank] */
    moa_linear_w gate, up, down;         /* dense FFN */
    moa_linear_w router;                 /* [n_expert, d_model]; w NULL: dense */
    moa_tensor *select_bias;             /* [n_expert] for the choice only */
    moa_linear_w *e_gate, *e_up, *e_down; /* [n_expert] each; views into 3-D tensors or own tensors */
    moa_linear_w s_gate, s_up, s_down;   /* the shared expert */
    moa_tensor *s_router;                /* [d_model]: its gate is the sigmoid of this product; NULL: 1 */
    int s_router_site;                   /* as of a moa_linear_w */
} moa_layer;

typedef enum moa_ffn_act { MOA_FFN_SILU, MOA_FFN_GELU, MOA_FFN_CLAMPED } moa_ffn_act;
typedef enum moa_qk_norm { MOA_QK_NONE, MOA_QK_HEAD /* each head on its own */, MOA_QK_WHOLE /* all heads as one vector */ } moa_qk_norm;
typedef enum moa_norms { MOA_NORMS_PRE, MOA_NORMS_POST, MOA_NORMS_SANDWICH /* before and after */ } moa_norms;

/* One row of archs.def: what differs from Llama. */
typedef struct moa_arch {
    const char *name, *help;
    moa_rope_pairs rope_pairs;
    moa_gate_norm gate_norm;             /* of its mixture-of-experts form, where no key says otherwise */
    moa_ffn_act act;
    moa_qk_norm qk_norm;
    moa_norms norms;
    const char *ffn_norm;                /* tensor before the feed-forward part; NULL: "ffn_norm" */
    bool qkv_bias;                       /* q, k and v have biases */
    bool all_bias;                       /* so have the output projection, the router and the experts */
    bool sinks;
    bool fused;                          /* files have attn_qkv and ffn_up = [gate; up] */
    bool encoder;                        /* sees whole texts and gives vectors, not logits (encoder.h); fused: attn_qkv alone */
    bool positions;                      /* of encoders: learned positions and a plain GELU instead of rope and a gated unit */
    bool latent;                         /* latent attention */
    bool shared_router;                  /* the shared expert has a gate */
    bool embd_sqrt;                      /* embeddings times sqrt(d_model) */
    bool scales;                         /* embedding_scale, residual_scale and logit_scale count */
    bool exact_ramp;                     /* YaRN's ramp is between fractional dimensions; elsewhere between whole ones */
    int window_period;                   /* of local layers (see moa_hparams); 1 would be all global, -1 is all local, 0: no windows */
    int n_window;                        /* where the file gives none */
    float rope_local_base;               /* of local layers, where the file gives none; 0: as everywhere */
    /* What else differs from the common keys "<arch>.block_count" ...; NULL: nothing. */
    int (*hparams)(moa_hparams *h, const moa_gguf *g, moa_err *err);
} moa_arch;
const moa_arch *const *moa_archs(int *n);
const moa_arch *moa_arch_find(const char *name, size_t n); /* name need not be 0-terminated */
/* The error for a name that no row has; its hint lists those that are. */
int moa_arch_unknown(const char *name, size_t n, moa_err *err);

/* Common keys of g, then the arch's own; checked. n_vocab is what the tokenizer's list says (0: no list). */
int moa_hparams_read(moa_hparams *h, const moa_arch *a, const moa_gguf *g, moa_err *err);
/* Do the numbers fit each other? Fills what may be left 0: n_kv, head_dim, n_rot, d_value, d_expert, gate_scale, norm_eps
 * (1e-5), rope_base (10000), rope_freq_scale (1), n_ctx_orig, yarn_fast (32), yarn_slow (1), rope_magnitude (1). */
int moa_hparams_check(moa_hparams *h, moa_err *err);
void moa_hparams_put(moa_gguf_out *o, const moa_arch *a, const moa_hparams *h);

/* What attention computes on and the KV cache holds: of latent attention in its absorbed form, one head of latents, whose values are
 * the first numbers of its keys and are not kept twice. */
typedef struct moa_kv_shape { int n_kv, key, value; bool inside; } moa_kv_shape;
static inline moa_kv_shape moa_kv_shape_of(const moa_hparams *h) {
    if (h->kv_rank && h->absorbed) return (moa_kv_shape){1, h->kv_rank + h->n_rot, h->kv_rank, true};
    return (moa_kv_shape){h->n_kv, h->head_dim, h->d_value ? h->d_value : h->head_dim, false};
}
/* Numbers that the cache holds for one position of all layers that see everything; layers with a window hold at most it. */
static inline int64_t moa_kv_numbers(const moa_hparams *h) {
    const moa_kv_shape s = moa_kv_shape_of(h);
    return (int64_t)h->n_layer * s.n_kv * (s.key + (s.inside ? 0 : s.value));
}
/* The cache's type where nobody chose one: f16 for models whose whole context would take more than 64 MiB in f32 (which no longer stays in
 * the processor's caches: steps over long contexts take 1.1 to 1.4 times as long), f32 below that. A function of the model alone, so that a
 * reply never depends on the machine, on --ctx or on what else runs. */
static inline moa_dtype moa_kv_usual(const moa_hparams *h) { return moa_kv_numbers(h) * h->n_ctx > (16 << 20) ? MOA_F16 : MOA_F32; }
/* Positions that layer i sees; 0: all before it. */
static inline int moa_layer_window(const moa_hparams *h, int i) {
    return h->n_window && (h->window_period < 1 || (i + 1) % h->window_period) ? h->n_window : 0;
}

/* One way to rotate. */
typedef struct moa_rope_form {
    float base, freq_scale, magnitude;
    moa_tensor *factors;                /* [n_rot / 2] divide frequencies; of long-rope [2, n_rot / 2]: short, long; NULL: none */
} moa_rope_form;

/* Local: layers with a window, where they have a base of their own. */
enum { MOA_ROPE_GLOBAL, MOA_ROPE_LOCAL, MOA_ROPE_FORMS };

struct moa_model {
    const moa_arch *arch;
    moa_hparams h;
    moa_tensor *tok_embd, *out_norm;
    moa_tensor *type_embd, *pos_embd, *embd_norm, *embd_norm_bias; /* encoders: [types, d_model], [n_ctx, d_model] or NULL, [d_model] */
    moa_tensor *rope_factors, *rope_short, *rope_long; /* [n_rot / 2] of the file, each may be NULL */
    moa_rope_form rope[MOA_ROPE_FORMS];
    moa_linear_w out;                               /* out.w == tok_embd when tied */
    moa_layer *layer;                               /* [n_layer] */
    int n_site;                                     /* sites are 1 .. n_site - 1 */
    moa_tensor **param;                             /* every weight once, in file order */
    int n_param;
    moa_tokenizer *tok;
    moa_chat_template *chat;                        /* NULL: the file has none, or chat_err says why it is unusable */
    moa_err chat_err;
    moa_packs *packs;                               /* packed forms of a file's weights; NULL for a made model */
    moa_gguf *file;                                 /* NULL for a made model */
    const moa_gguf *meta;                           /* keys to keep in save: file, or what make was given; may be NULL */
    moa_arena *arena;                               /* owns structs, and the data of a made model */
    char *path;
};

/* Every weight of the graph is looked up and its shape checked; a file without tokenizer.ggml.model opens with tok NULL. */
int moa_model_open(moa_model **out, const char *path, moa_err *err);
int moa_model_open_gguf(moa_model **out, moa_gguf *g, moa_err *err); /* takes g over, also on failure */
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
                                     moa_tensor *q /* [n, n_head*key], rotated */, moa_tensor *k /* [n, n_kv*key], rotated */,
                                     moa_tensor *v /* [n, n_kv*value] */); /* sizes: moa_kv_shape -> [n, n_head*value] */
static inline float moa_attention_scale(const moa_hparams *h) {
    return h->attn_scale > 0 ? h->attn_scale : 1.0f / __builtin_sqrtf((float)h->head_dim);
}
/* The attend of training: causal attention over packed documents; ctx is the i32 tensor doc_start [n]. Layers with windows, soft caps,
 * sinks or values of another size are refused. */
moa_tensor *moa_attend_packed(moa_exec *x, void *ctx, const moa_model *m, int layer, moa_tensor *q, moa_tensor *k, moa_tensor *v);

typedef struct moa_rows_in {
    moa_tensor *ids, *pos;  /* i32 [n] */
    moa_tensor *out_rows;   /* i32 [m]: rows that get logits; NULL: all */
    moa_attend_fn attend;   /* training: packed documents; session: paged KV */
    void *attend_ctx;
    moa_route *trace;       /* NULL, or [n_layer] to receive routes of MoE layers */
    bool hidden;            /* stop before the output matrix: -> the last norm's rows, f32 [m, d_model] */
    moa_tensor *rope_list;  /* i32 [n]: each row's list of factors, where the model has two; NULL: the first */
} moa_rows_in;
/* Heads of in [n, heads * head_dim], each rotated from element `first` on by one of the model's forms; list as rope_list. */
moa_tensor *moa_rope_heads(moa_exec *x, const moa_model *m, const moa_rope_form *f, moa_tensor *in, int head_dim, int first, moa_tensor *pos,
                           moa_tensor *list);
/* -> logits f32 [m, n_vocab] in x->arena; NULL with x->err on failure. */
moa_tensor *moa_model_forward(moa_exec *x, const moa_model *m, const moa_rows_in *in);

#endif
