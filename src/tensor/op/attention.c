/* attention.c - causal attention over packed documents (kernels/body/attention.h). Work is split by document and kv head.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/op/op.h"

enum { Q, K, V, DOC };
typedef struct param { int n_head, n_kv; float scale; } param;
typedef struct saved { moa_attn_doc *doc; int64_t n_doc, max_doc; float *lse; } saved;

static int shape(const moa_node *n, moa_tensor *out, moa_err *err) {
    const param *p = PARAM(param, n);
    MOA_TRY(moa_op_need(n, Q, "q", MOA_F32, err));
    MOA_TRY(moa_op_need(n, K, "k", MOA_F32, err));
    MOA_TRY(moa_op_need(n, V, "v", MOA_F32, err));
    const moa_tensor *q = n->in[Q], *k = n->in[K];
    if (p->n_head <= 0 || p->n_kv <= 0 || p->n_head % p->n_kv)
        return moa_fail(err, MOA_EINVAL, "attention: %d heads over %d kv heads, expected a multiple", p->n_head, p->n_kv);
    if (moa_cols(q) % p->n_head || moa_cols(k) != moa_cols(q) / p->n_head * p->n_kv || moa_rows(k) != moa_rows(q))
        return moa_fail(err, MOA_EINVAL, "attention: q %s and k %s do not fit %d heads over %d kv heads", SHAPE(q), SHAPE(k), p->n_head, p->n_kv);
    MOA_TRY(moa_op_same_shape(n, K, V, err));
    MOA_TRY(moa_op_vector(n, DOC, "doc_start", MOA_I32, moa_rows(q), false, err));
    moa_op_like(out, q);
    return MOA_OK;
}

/* doc_start -> list of documents. */
static saved *find_docs(moa_exec *x, const moa_node *n) {
    const int32_t *start = n->in[DOC]->data;
    const int64_t rows = moa_rows(n->out);
    saved *s = moa_op_alloc(x, n, 1, sizeof *s);
    if (!s) return NULL;
    *s = (saved){0};
    for (int64_t i = 0; i < rows; i++) {
        if (start[i] == i) s->n_doc++;
        else if (i == 0 || start[i] != start[i - 1]) {
            moa_fail(&x->err, MOA_EINVAL, "attention: doc_start[%lld] is %d, expected %lld (a new document) or what the row before has",
                     (long long)i, (int)start[i], (long long)i);
            return NULL;
        }
    }
    s->doc = moa_op_alloc(x, n, s->n_doc, sizeof *s->doc);
    if (!s->doc) return NULL;
    int64_t at = -1;
    for (int64_t i = 0; i < rows; i++) {
        if (start[i] == i) s->doc[++at] = (moa_attn_doc){i, 0};
        if (++s->doc[at].n > s->max_doc) s->max_doc = s->doc[at].n;
    }
    return s;
}

static void run(moa_exec *x, moa_node *n, moa_attn_args *a, const saved *s, bool back) {
    const param *p = PARAM(param, n);
    const moa_train_kernels *t = moa_train_of(x);
    a->doc = s->doc, a->lse = s->lse, a->max_doc = s->max_doc;
    a->q = n->in[Q]->data, a->k = n->in[K]->data, a->v = n->in[V]->data, a->out = n->out->data;
    a->n_head = p->n_head, a->n_kv = p->n_kv, a->hd = (int)(moa_cols(n->out) / p->n_head), a->scale = p->scale;
    if (!s->n_doc) return;
    const moa_arena_mark mark = moa_arena_save(x->arena);
    a->scratch_floats = (t->attention_scratch(s->max_doc, a->hd, back) + 15) / 16 * 16;
    a->scratch = moa_op_alloc(x, n, a->scratch_floats * (x->n_threads > 1 ? x->n_threads : 1), sizeof(float));
    const double mean = (double)moa_rows(n->out) / (double)s->n_doc;
    if (a->scratch)
        moa_parallel_each(x, s->n_doc * p->n_kv, 0.02 * (back ? 3 : 1) * mean * mean * a->hd * p->n_head / p->n_kv,
                          back ? t->attention_back : t->attention, a);
    moa_arena_restore(x->arena, mark);
}

static void forward(moa_exec *x, moa_node *n) {
    saved *s = find_docs(x, n);
    if (!s) return;
    if (n->out->needs_grad && !(s->lse = moa_op_alloc(x, n, moa_rows(n->out) * PARAM(param, n)->n_head, sizeof(float)))) return;
    n->saved = s;
    moa_attn_args a = {.half = moa_op_half_out(x, n)};
    if (!x->err.code) run(x, n, &a, s, false);
}

static void backward(moa_exec *x, moa_node *n) {
    moa_attn_args a = {.dout = moa_grad_out(x, n)};
    /* One tensor may be two of the inputs: then the later one adds to the earlier one's sum, which is why the kernel may
     * not overwrite; zero it first and add always. */
    const bool twice = n->in[Q] == n->in[K] || n->in[K] == n->in[V] || n->in[Q] == n->in[V];
    if (twice) {
        for (int i = Q; i <= V; i++)
            if (moa_grad_wanted(n, i)) moa_grad_in_zeroed(x, n, i);
    }
    if (moa_grad_wanted(n, Q)) a.dq = moa_grad_in(x, n, Q, &a.add_q);
    if (moa_grad_wanted(n, K)) a.dk = moa_grad_in(x, n, K, &a.add_k);
    if (moa_grad_wanted(n, V)) a.dv = moa_grad_in(x, n, V, &a.add_v);
    if (!x->err.code) run(x, n, &a, n->saved, true);
}

const moa_op moa_op_attention = {.name = "attention", .help = "causal, over packed documents, grouped queries", .shape = shape, .forward = forward, .backward = backward};

moa_tensor *moa_attention(moa_exec *x, moa_tensor *q, moa_tensor *k, moa_tensor *v, moa_tensor *doc_start, int n_head, int n_kv, float scale) {
    const param p = {n_head, n_kv, scale};
    return moa_apply(x, &moa_op_attention, (moa_tensor *[]){q, k, v, doc_start}, 4, &p, sizeof p);
}
