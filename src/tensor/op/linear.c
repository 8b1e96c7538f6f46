/* linear.c - y = x W^T + b: every matrix product of a model.
 *
 * Inference (no tape): the kernel table, so that a row's bits do not depend on its neighbours or on the threads. Weights of
 * types with an int8 kernel multiply activations quantised once per tensor (q, k and v share it); others, `exact` mode and
 * widths that 32 does not divide dequantise the weights and keep f32 activations.
 * Training: oneDNN; with compute = bf16 the operands are bf16 (the weight's own copy `half`, the input converted once and
 * kept for backward) and all sums f32.    dX = dY W,  dW += dY^T X,  db += column sums of dY.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/dense.h"
#include "tensor/op/op.h"
#include "tensor/op/product.h"
#include "tensor/pack.h"

enum { X, W, B };

static int shape(const moa_node *n, moa_tensor *out, moa_err *err) {
    MOA_TRY(moa_op_need(n, X, "input", MOA_F32, err));
    const moa_tensor *x = n->in[X], *w = n->in[W];
    if (!w) return moa_fail(err, MOA_EINVAL, "linear: weight is missing");
    if (w->n_dim != 2 || moa_cols(w) != moa_cols(x))
        return moa_fail(err, MOA_EINVAL, "linear: input %s and weight %s do not fit, expected weight [n_out, %lld]", SHAPE(x), SHAPE(w),
                        (long long)moa_cols(x));
    MOA_TRY(moa_op_vector(n, B, "bias", MOA_F32, w->shape[0], true, err));
    moa_op_like(out, x);
    out->shape[x->n_dim - 1] = w->shape[0];
    return MOA_OK;
}

/* ---- inference ---- */

int moa_product_pick(moa_exec *x, moa_product *p, const moa_tensor *w, const moa_tensor *bias) {
    const moa_kernel *q8 = x->exact || moa_cols(w) % 32 ? NULL : x->k->slot[MOA_K_GEMM_Q8][w->dtype];
    const moa_kernel *kernel = q8 ? q8 : x->k->slot[MOA_K_GEMM][w->dtype];
    if (!kernel)
        return moa_fail(&x->err, MOA_EUNSUPPORTED, "linear: no product for weights of type %s", moa_type_get(w->dtype)->name), -1;
    *p = (moa_product){.w = w, .bias = bias ? bias->data : NULL, .fn = kernel->fn, .int8 = q8 ? x->k : NULL,
                       .packed = q8 && x->k->slot[MOA_K_GEMM_PACKED][w->dtype] ? moa_packed(x, w) : NULL};
    return 0;
}

void moa_product_tile(const moa_product *p, float *y, int64_t ldy, const moa_act_rows *a, int64_t r0, int64_t n, int64_t o0, int64_t o1) {
    const size_t stride = (size_t)p->w->stride[0];
    const char *w = (const char *)p->w->data + (size_t)o0 * stride;
    if (p->int8) {
        const int64_t at = r0 * a->n_in;
        const moa_q8_act q = {n, a->n_in, a->q.q + at, a->q.scale + at / 32, a->q.sum + at / 16};
        const int64_t groups = p->packed ? (o1 - o0) / MOA_PACK_ROWS * MOA_PACK_ROWS : 0; /* the rest: a weight's last rows */
        const int c = moa_row_class(n);
        moa_assert(!groups || o0 % MOA_PACK_ROWS == 0);
        if (groups) p->int8->gemm_packed[c][p->w->dtype]->fn.gemm_q8(y, ldy, &q, p->packed + (size_t)o0 * stride, stride, 0, groups);
        if (groups < o1 - o0) p->int8->gemm_q8[c][p->w->dtype]->fn.gemm_q8(y, ldy, &q, w, stride, groups, o1 - o0);
    } else {
        p->fn.gemm_f32(y, ldy, a->x + r0 * a->n_in, a->n_in, w, stride, n, 0, o1 - o0, a->n_in);
    }
    if (!p->bias) return;
    for (int64_t i = 0; i < n; i++)
        for (int64_t o = o0; o < o1; o++) y[i * ldy + o - o0] += p->bias[o];
}

typedef struct product { /* range: rows of w */
    const moa_product *p;
    float *y;            /* [n, n_out] */
    const moa_act_rows *a;
    int64_t n, n_out;
} product;

static void product_range(const void *args, int64_t o0, int64_t o1, int thread) {
    const product *p = args;
    (void)thread;
    moa_product_tile(p->p, p->y + o0, p->n_out, p->a, 0, p->n, o0, o1);
}

typedef struct quantise { moa_q8_act *dst; const float *x; moa_kernel_fn fn; } quantise; /* range: rows */
static void quantise_range(const void *args, int64_t r0, int64_t r1, int thread) {
    const quantise *p = args;
    (void)thread;
    p->fn.quant_q8(p->dst, p->x, p->dst->n, r0, r1);
}

moa_q8_act moa_act_new(moa_exec *x, int64_t n, int64_t cols) {
    moa_q8_act a = {.n_tok = n, .n = cols};
    const size_t count = (size_t)(n * cols); /* fewer than elements of a tensor */
    a.scale = moa_arena_alloc(x->arena, count / 32 * sizeof *a.scale);
    a.sum = moa_arena_alloc(x->arena, count / 16 * sizeof *a.sum);
    a.q = a.scale && a.sum ? moa_arena_alloc(x->arena, count) : NULL;
    if (!a.q) moa_fail(&x->err, MOA_ENOMEM, "linear: no memory for %lld activations", (long long)count);
    return a;
}

void moa_act_copy_row(moa_q8_act *dst, int64_t i, const moa_q8_act *src, int64_t j) {
    const int64_t n = dst->n;
    memcpy(dst->q + i * n, src->q + j * n, (size_t)n);
    memcpy(dst->scale + i * (n / 32), src->scale + j * (n / 32), (size_t)(n / 32) * sizeof *dst->scale);
    memcpy(dst->sum + i * (n / 16), src->sum + j * (n / 16), (size_t)(n / 16) * sizeof *dst->sum);
}

const moa_q8_act *moa_act_of(moa_exec *x, moa_tensor *in) {
    if (in->act) return in->act;
    const int64_t rows = moa_rows(in), cols = moa_cols(in);
    moa_q8_act *a = moa_arena_alloc(x->arena, sizeof *a);
    if (!a) return moa_fail(&x->err, MOA_ENOMEM, "linear: no memory"), NULL;
    *a = moa_act_new(x, rows, cols);
    if (!a->q) return NULL;
    const quantise p = {a, in->data, x->k->slot[MOA_K_QUANT_Q8][MOA_F32]->fn};
    moa_parallel(x, rows, 1, 0.3 * (double)cols, quantise_range, &p);
    if (in->arena == x->arena) in->act = a;
    return a;
}

static void infer(moa_exec *x, moa_node *n) {
    moa_tensor *in = n->in[X], *w = n->in[W];
    moa_product one;
    moa_act_rows a = {.x = in->data, .n_in = moa_cols(in)};
    const product p = {&one, n->out->data, &a, moa_rows(in), w->shape[0]};
    if (!p.n || moa_product_pick(x, &one, w, n->in[B]) < 0) return;
    if (one.int8) {
        const moa_q8_act *q = moa_act_of(x, in);
        if (!q) return;
        a.q = *q;
    }
    /* One output row reads n_in weights from memory once and multiplies them n times. */
    moa_parallel(x, p.n_out, 16, moa_product_cost(&one, (double)p.n), product_range, &p);
    if (x->watch) x->watch(x->watch_ctx, w, in, n->out);
}

/* ---- training ---- */

typedef struct unpack { /* range: rows of w */
    uint16_t *half;     /* [n_out, n_in], or NULL and */
    float *full;
    const moa_tensor *w;
    const moa_train_kernels *k;
    float *row;         /* [n_thread, n_in] */
} unpack;

static void unpack_range(const void *args, int64_t o0, int64_t o1, int thread) {
    const unpack *p = args;
    const int64_t d = moa_cols(p->w);
    for (int64_t o = o0; o < o1; o++) {
        float *row = p->half ? p->row + thread * d : p->full + o * d;
        moa_type_get(p->w->dtype)->dequantize(row, (const char *)p->w->data + o * p->w->stride[0], d);
        const moa_cast_args c = {p->half ? p->half + o * d : NULL, row};
        if (p->half) p->k->to_bf16(&c, 0, d, thread);
    }
}

/* The weight as a dense operand; what has to be converted lives in the arena until the caller's mark. */
static const void *weight_operand(moa_exec *x, const moa_node *n, bool bf16) {
    const moa_tensor *w = n->in[W];
    if (w->dtype == (bf16 ? MOA_BF16 : MOA_F32)) return w->data;
    if (bf16 && w->half) return w->half->data;
    unpack p = {.w = w, .k = moa_train_of(x)};
    void *out = moa_op_alloc(x, n, moa_tensor_count(w), bf16 ? sizeof *p.half : sizeof *p.full);
    p.row = out ? moa_op_alloc(x, n, (x->n_threads > 1 ? x->n_threads : 1) * moa_cols(w), sizeof *p.row) : NULL;
    if (!p.row) return NULL;
    if (bf16) p.half = out;
    else p.full = out;
    moa_parallel(x, w->shape[0], 1, (double)moa_cols(w), unpack_range, &p);
    return out;
}

/* The input as bf16, made once for all products that read it. */
static const void *input_half(moa_exec *x, moa_tensor *in) {
    if (in->half) return in->half->data;
    moa_tensor *h = moa_new_tensor(x, MOA_BF16, in->n_dim, in->shape);
    if (!h) return NULL;
    const moa_cast_args a = {h->data, in->data};
    moa_parallel(x, moa_tensor_count(in), 64, 0.1, moa_train_of(x)->to_bf16, &a);
    if (in->arena == x->arena) in->half = h;
    return h->data;
}

static void train(moa_exec *x, moa_node *n) {
    moa_tensor *in = n->in[X], *w = n->in[W];
    const bool bf16 = moa_op_bf16(x);
    n->saved = bf16 ? (void *)(uintptr_t)input_half(x, in) : in->data;
    const moa_arena_mark mark = moa_arena_save(x->arena);
    const void *wd = n->saved ? weight_operand(x, n, bf16) : NULL;
    const moa_dense d = {.m = moa_rows(in), .n = w->shape[0], .k = moa_cols(in), .dtype = bf16 ? MOA_BF16 : MOA_F32, .b_t = true,
                         .bias = n->in[B] != NULL, .n_threads = x->n_threads > 1 ? x->n_threads : 1};
    if (wd) moa_dense_run(&d, n->out->data, n->saved, wd, n->in[B] ? n->in[B]->data : NULL, &x->err);
    moa_arena_restore(x->arena, mark);
}

static void forward(moa_exec *x, moa_node *n) {
    if (x->tape) train(x, n);
    else infer(x, n);
}

/* d loss / d y as a dense operand; *own: give it back to the tape. */
static const void *grad_operand(moa_exec *x, moa_node *n, bool bf16, bool *own) {
    *own = false;
    if (!bf16) return moa_grad_out(x, n);
    const uint16_t *h = moa_grad_out_half(n);
    if (h) return h;
    const int64_t count = moa_tensor_count(n->out);
    const moa_cast_args a = {moa_tape_scratch(x, (size_t)count * sizeof *h), moa_grad_out(x, n)};
    if (!a.dst || !a.src) return NULL;
    *own = true;
    moa_parallel(x, count, 64, 0.1, moa_train_of(x)->to_bf16, &a);
    return a.dst;
}

static void back_input(moa_exec *x, moa_node *n, moa_dense d, const void *dy) {
    float *dx = moa_grad_in(x, n, X, &d.add); /* before the mark: it stays */
    const moa_arena_mark mark = moa_arena_save(x->arena);
    const void *w = dx ? weight_operand(x, n, d.dtype == MOA_BF16) : NULL;
    d.m = moa_rows(n->in[X]), d.n = moa_cols(n->in[X]), d.k = n->in[W]->shape[0];
    if (w) moa_dense_run(&d, dx, dy, w, NULL, &x->err);
    moa_arena_restore(x->arena, mark);
}

static void back_weight(moa_exec *x, moa_node *n, moa_dense d, const void *dy) {
    float *dw = moa_grad_in(x, n, W, &d.add);
    d.m = n->in[W]->shape[0], d.n = moa_cols(n->in[X]), d.k = moa_rows(n->in[X]), d.a_t = true;
    if (dw) moa_dense_run(&d, dw, dy, n->saved, NULL, &x->err);
}

static void back_bias(moa_exec *x, moa_node *n) {
    const int64_t rows = moa_rows(n->out), d = moa_cols(n->out), chunks = moa_n_chunk(rows);
    float *db = moa_grad_in_zeroed(x, n, B);
    const float *dy = db ? moa_grad_out(x, n) : NULL;
    if (!dy) return;
    const moa_arena_mark mark = moa_arena_save(x->arena);
    const moa_colsum_args a = {moa_op_alloc(x, n, chunks * d, sizeof(float)), dy, rows, d};
    if (a.part) {
        moa_parallel(x, chunks, 1, 0.1 * MOA_CHUNK * (double)d, moa_train_of(x)->colsum, &a);
        moa_op_sum_parts(db, a.part, chunks, d);
    }
    moa_arena_restore(x->arena, mark);
}

static void backward(moa_exec *x, moa_node *n) {
    const bool bf16 = moa_op_bf16(x);
    bool own;
    const void *dy = grad_operand(x, n, bf16, &own);
    const moa_dense d = {.dtype = bf16 ? MOA_BF16 : MOA_F32, .n_threads = x->n_threads > 1 ? x->n_threads : 1};
    if (dy && moa_grad_wanted(n, X)) back_input(x, n, d, dy);
    if (dy && moa_grad_wanted(n, W)) back_weight(x, n, d, dy);
    if (dy && moa_grad_wanted(n, B)) back_bias(x, n);
    if (own) moa_tape_unscratch(x, (void *)(uintptr_t)dy);
}

/* The gradient is only read as bf16, except by the bias. */
static bool half_grad(const moa_exec *x, const moa_node *n) { return moa_op_bf16(x) && !moa_grad_wanted(n, B); }

const moa_op moa_op_linear = {.name = "linear", .help = "x W^T + b, weights of any type", .shape = shape, .forward = forward,
                              .backward = backward, .half_grad = half_grad};

moa_tensor *moa_linear(moa_exec *x, moa_tensor *in, moa_tensor *w, moa_tensor *bias) {
    return moa_apply(x, &moa_op_linear, (moa_tensor *[]){in, w, bias}, 3, NULL, 0);
}
