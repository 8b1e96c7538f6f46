/* exec.h - running ops: one graph definition for inference and training.
 *
 * An op call computes at once. With a tape, the call is also recorded, and moa_tape_backward runs the
 * recorded nodes in reverse. Without a tape nothing is recorded and nothing extra is paid.
 *
 * Errors are sticky: the first failure (a shape that does not fit, no memory) is kept in x->err, the call
 * returns NULL, and every later call with a NULL input returns NULL at once. A graph is therefore written
 * without checks and the caller looks at x->err.code once.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_EXEC_H
#define MOA_TENSOR_EXEC_H

#include "base/arena.h"
#include "base/team.h"
#include "tensor/kernel.h"
#include "tensor/tensor.h"

typedef struct moa_tape moa_tape;

typedef struct moa_exec {
    moa_arena *arena;     /* outputs and scratch live here until its reset */
    moa_tape *tape;       /* NULL: inference */
    const moa_kernels *k;
    int n_threads;
    moa_team *team;       /* inference: this session's threads. NULL: libgomp's, which training shares with oneDNN */
    moa_dtype compute;    /* training: MOA_F32 or MOA_BF16 dense products; inference ignores it */
    bool repack;          /* inference: products read packed weights, where there are such (pack.h) */
    bool exact;           /* inference: dequantise weights and keep f32 activations ("reference mode") */
    /* Inference: sees every product of linear, in the calling thread: weight [n_out, n_in], input [n, n_in], result [n, n_out],
     * which it may change. NULL: none. */
    void (*watch)(void *ctx, const moa_tensor *w, const moa_tensor *in, moa_tensor *out);
    void *watch_ctx;
    const struct moa_sites *sites; /* inference: what adapters add to products (model/model.h). NULL: none */
    moa_err err;
} moa_exec;

enum { MOA_OP_MAX_IN = 8, MOA_OP_PARAM_BYTES = 96 };

typedef struct moa_node {
    const struct moa_op *op;
    int n_in;
    moa_tensor *in[MOA_OP_MAX_IN];   /* optional inputs may be NULL where the op says so */
    moa_tensor *out;
    void *saved;                     /* what forward keeps for backward, in the arena */
    _Alignas(8) unsigned char param[MOA_OP_PARAM_BYTES]; /* the op's own struct, plain data */
    /* Of the tape: */
    int n_use;                       /* how many recorded inputs are this node's output */
    struct moa_grad *grad;           /* gradient of out while backward needs it, then NULL */
} moa_node;

/* One row of ops.def; one file in op/. */
typedef struct moa_op {
    const char *name, *help;
    /* Check inputs and params; set out->dtype, n_dim, shape (not strides or data). Uses moa_fail. */
    int (*shape)(const moa_node *n, moa_tensor *out, moa_err *err);
    void (*forward)(moa_exec *x, moa_node *n);
    /* Add to n->in[i]->grad for each input that needs_grad. NULL: no gradient (top-k ids, argmax). */
    void (*backward)(moa_exec *x, moa_node *n);
    bool view;  /* out is another view of in[0]: it gets no memory of its own, forward sets data */
    /* May the gradient of out come as bf16 only (see moa_grad_in_half)? NULL: no. */
    bool (*half_grad)(const moa_exec *x, const moa_node *n);
} moa_op;

const moa_op *const *moa_ops(int *n);
const moa_op *moa_op_find(const char *name);

/* The generic call behind the typed ones below. param may be NULL. */
moa_tensor *moa_apply(moa_exec *x, const moa_op *op, moa_tensor *const *in, int n_in, const void *param, size_t param_bytes);

/* Tensor in the arena; NULL and sticky error when memory ends. */
moa_tensor *moa_new_tensor(moa_exec *x, moa_dtype dtype, int n_dim, const int64_t *shape);

/* ---- work over rows ----
 * fn does items [i0, i1) (base/team.h); what it computes for an item may not depend on the split. thread < x->n_threads names scratch.
 * cost: about how many nanoseconds one item takes; small work stays in the calling thread, without a heap call. */
void moa_parallel(const moa_exec *x, int64_t n, int64_t align, double cost, moa_range_fn fn, const void *args);
/* Items of uneven cost, handed out one by one. */
void moa_parallel_each(const moa_exec *x, int64_t n, double cost, moa_range_fn fn, const void *args);

/* ---- for backward functions ---- */
static inline bool moa_grad_wanted(const moa_node *n, int i) { return n->in[i] && n->in[i]->needs_grad; }
const float *moa_grad_out(moa_exec *x, moa_node *n);       /* d loss / d out, f32; NULL and sticky error without memory */
const uint16_t *moa_grad_out_half(const moa_node *n);      /* the same as bf16 when it came so (half_grad), else NULL */
/* Where d loss / d in[i] goes: f32, contiguous. *add: it holds a sum to add to; else it is uninitialised and every
 * element must be written. NULL with a sticky error when memory ends. Only when moa_grad_wanted. */
float *moa_grad_in(moa_exec *x, moa_node *n, int i, bool *add);
float *moa_grad_in_zeroed(moa_exec *x, moa_node *n, int i); /* always to add to */
/* Where this gradient is the only one that in[i] gets and the op that made it reads bf16 (half_grad): write that, with
 * half the memory traffic. NULL: not so, use moa_grad_in. */
uint16_t *moa_grad_in_half(moa_exec *x, moa_node *n, int i);
/* d in[i] is d out itself: shares the buffer where that is possible, else copies or adds. */
void moa_grad_pass(moa_exec *x, moa_node *n, int i);
/* Memory that is recycled during one backward. */
void *moa_tape_scratch(moa_exec *x, size_t bytes);
void moa_tape_unscratch(moa_exec *x, void *p);

/* ---- tape ---- */
moa_tape *moa_tape_new(void);
void moa_tape_free(moa_tape *t);
void moa_tape_reset(moa_tape *t);            /* forget the nodes (before the arena is reset) */
/* d loss / d everything: loss is a scalar; gradients of intermediates live in x->arena; gradients of
 * parameters (tensors with needs_grad whose grad is already set) are added to. scale multiplies d loss. */
int moa_tape_backward(moa_exec *x, moa_tensor *loss, float scale, moa_err *err);
int moa_tape_length(const moa_tape *t);
/* Between backward and reset, gradients of leaves stay readable in leaf->grad (a leaf is a tensor that no recorded
 * op made; one that has needs_grad but no grad gets a zeroed one in the arena, and reset sets it to NULL again).
 * Gradients of intermediates are recycled as soon as they are used up. */

/* ---- ops, typed. Shapes: [rows, cols]; outputs are f32 unless said otherwise. ---- */
moa_tensor *moa_linear(moa_exec *x, moa_tensor *in /* [n, n_in] */, moa_tensor *w /* [n_out, n_in] any dtype */,
                       moa_tensor *bias /* [n_out] or NULL */);                              /* -> [n, n_out] */
/* Each head by its own matrix: in [n, n_head * a], w [n_head, b, a] any dtype -> [n, n_head * b]. No gradient. */
moa_tensor *moa_head_linear(moa_exec *x, moa_tensor *in, moa_tensor *w);
moa_tensor *moa_embedding(moa_exec *x, moa_tensor *table /* [n_vocab, d] any dtype */, moa_tensor *ids /* i32 [n] */);
moa_tensor *moa_rms_norm(moa_exec *x, moa_tensor *in, moa_tensor *w /* [d] or NULL */, float eps);
moa_tensor *moa_layer_norm(moa_exec *x, moa_tensor *in, moa_tensor *w, moa_tensor *b /* or NULL */, float eps);
typedef enum moa_rope_pairs {
    MOA_ROPE_NORM, /* pairs (2i, 2i+1): GGUF "llama" layout */
    MOA_ROPE_NEOX  /* pairs (i, i + n_rot/2) */
} moa_rope_pairs;
/* in [n, n_head * head_dim]; pos i32 [n]; rotates the first n_rot of each head by pos * base^(-2i/n_rot) * freq_scale;
 * factors f32 [n_rot/2] or NULL divides the frequencies (llama 3.1 rope factors). */
moa_tensor *moa_rope(moa_exec *x, moa_tensor *in, moa_tensor *pos, int head_dim, int n_rot, float base,
                     float freq_scale, moa_tensor *factors, moa_rope_pairs pairs);
typedef struct moa_rope_spec {
    int head_dim, first, n_rot; /* of each head, [first, first + n_rot) is rotated */
    float base, freq_scale;
    float magnitude;            /* multiplies what was rotated (YaRN, long-rope); else 1 */
    moa_rope_pairs pairs;
} moa_rope_spec;
/* which i32 [n]: row i takes list which[i] of factors [lists, n_rot/2]; NULL: factors are one list, or none. */
moa_tensor *moa_rope_as(moa_exec *x, moa_tensor *in, moa_tensor *pos, const moa_rope_spec *spec, moa_tensor *factors, moa_tensor *which);
moa_tensor *moa_softmax(moa_exec *x, moa_tensor *in);                       /* over the last axis */
/* Causal attention over packed documents: row i of q sees rows doc_start[i]..i of k, v.
 * q [n, n_head * hd], k, v [n, n_kv * hd], doc_start i32 [n], n_head % n_kv == 0; scale is usually 1/sqrt(hd). -> [n, n_head * hd] */
moa_tensor *moa_attention(moa_exec *x, moa_tensor *q, moa_tensor *k, moa_tensor *v, moa_tensor *doc_start,
                          int n_head, int n_kv, float scale);
moa_tensor *moa_silu(moa_exec *x, moa_tensor *in);
moa_tensor *moa_gelu(moa_exec *x, moa_tensor *in);                          /* tanh form, as GPT-2 */
moa_tensor *moa_silu_mul(moa_exec *x, moa_tensor *gate, moa_tensor *up);    /* silu(gate) * up */
moa_tensor *moa_gelu_mul(moa_exec *x, moa_tensor *gate, moa_tensor *up);
/* g sigmoid(1.702 g) (u + 1) with g = min(gate, 7), u = up cut to -7..7: the gated unit of gpt-oss. */
moa_tensor *moa_clamped_mul(moa_exec *x, moa_tensor *gate, moa_tensor *up);
/* n elements of one of the three, where an op does more than that in a region of work: the same bits. y overlaps neither input. */
typedef void (*moa_gated_fn)(const moa_exec *x, float *y, const float *gate, const float *up, int64_t n);
void moa_silu_mul_row(const moa_exec *x, float *y, const float *gate, const float *up, int64_t n);
void moa_gelu_mul_row(const moa_exec *x, float *y, const float *gate, const float *up, int64_t n);
void moa_clamped_mul_row(const moa_exec *x, float *y, const float *gate, const float *up, int64_t n);
typedef struct moa_gated_unit { moa_tensor *(*op)(moa_exec *x, moa_tensor *gate, moa_tensor *up); moa_gated_fn row; } moa_gated_unit;
enum { MOA_GATED_SILU, MOA_GATED_GELU, MOA_GATED_CLAMPED };
extern const moa_gated_unit moa_gated_units[];
/* What the ops give one by one, to the bit, and what is recorded; at inference without a watcher one region of work (together.c).
 * n linears of one input (b[i] NULL: no bias), and unit(gate in, up in). */
enum { MOA_LINEAR_MANY = 4 };
void moa_linear_many(moa_exec *x, moa_tensor **out, moa_tensor *in, moa_tensor *const *w, moa_tensor *const *b, int n);
moa_tensor *moa_gated_linear(moa_exec *x, moa_tensor *in, moa_tensor *gate, moa_tensor *gate_b, moa_tensor *up, moa_tensor *up_b,
                             const moa_gated_unit *unit);
moa_tensor *moa_softcap(moa_exec *x, moa_tensor *in, float cap);            /* cap tanh(in / cap) */
moa_tensor *moa_add(moa_exec *x, moa_tensor *a, moa_tensor *b);             /* same shape, or b is one row */
moa_tensor *moa_mul(moa_exec *x, moa_tensor *a, moa_tensor *b);             /* same shape, or b is one row, or b is one column */
moa_tensor *moa_scale(moa_exec *x, moa_tensor *a, float s);
/* Mean over rows with weight > 0 of weight * -log softmax(logits)[target]; weight f32 [n]; divided by norm
 * (0: by the sum of weights). -> scalar [1] */
moa_tensor *moa_cross_entropy(moa_exec *x, moa_tensor *logits, moa_tensor *target /* i32 [n] */, moa_tensor *weight, float norm);
/* Mean over norm pairs of -log sigmoid(beta (chosen - rejected)): sums of log softmax(logits)[target] over the rows of a pair, less the reference's. pair i32 [n]:
 * k for a chosen row of pair k = 1 .. n_pair, -k for a rejected one, 0: the row does not count. reference f32 [n_pair, 2]: its sums. -> scalar [1] */
moa_tensor *moa_dpo(moa_exec *x, moa_tensor *logits, moa_tensor *target /* i32 [n] */, moa_tensor *pair, moa_tensor *reference, float beta, float norm);
moa_tensor *moa_topk(moa_exec *x, moa_tensor *in, int k);                   /* i32 ids [n, k], best first, ties to the lower id */
moa_tensor *moa_gather_cols(moa_exec *x, moa_tensor *in, moa_tensor *ids /* i32 [n, k] */); /* out[i][j] = in[i][ids[i][j]] */
moa_tensor *moa_gather_rows(moa_exec *x, moa_tensor *in, moa_tensor *ids /* i32 [m] */);    /* out[j] = in[ids[j]] */
moa_tensor *moa_scatter_rows(moa_exec *x, moa_tensor *in /* [m, d] */, moa_tensor *ids /* i32 [m] */, int64_t n_rows); /* out[ids[j]] += in[j] */
moa_tensor *moa_reshape(moa_exec *x, moa_tensor *in, int n_dim, const int64_t *shape);
moa_tensor *moa_concat_cols(moa_exec *x, moa_tensor *a, moa_tensor *b);
moa_tensor *moa_slice_cols(moa_exec *x, moa_tensor *in, int64_t c0, int64_t c1);

#endif
