/* mul.c - a * b element by element; b may be one row (a weight per column) or one column (a weight per row, as gates are).
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/op/op.h"

typedef enum kind { SAME, ROW, COLUMN, NEITHER } kind;

static kind kind_of(const moa_node *n) {
    const moa_tensor *a = n->in[0], *b = n->in[1];
    if (a->n_dim == b->n_dim && !memcmp(a->shape, b->shape, sizeof a->shape)) return SAME;
    if (moa_cols(b) == moa_cols(a) && moa_rows(b) == 1) return ROW;
    if (moa_tensor_count(b) == moa_rows(a) && (moa_cols(b) == 1 || b->n_dim == 1)) return COLUMN;
    return NEITHER;
}

static int shape(const moa_node *n, moa_tensor *out, moa_err *err) {
    MOA_TRY(moa_op_need(n, 0, "a", MOA_F32, err));
    MOA_TRY(moa_op_need(n, 1, "b", MOA_F32, err));
    if (kind_of(n) == NEITHER)
        return moa_fail(err, MOA_EINVAL, "mul: a is %s, b is %s, expected the same shape, one row or one column", SHAPE(n->in[0]), SHAPE(n->in[1]));
    moa_op_like(out, n->in[0]);
    return MOA_OK;
}

typedef struct product { /* range: rows */
    float *y;            /* (+)= a * b */
    const float *a, *b;
    int64_t d;
    kind kind;
    bool add;
} product;

static void product_range(const void *args, int64_t i0, int64_t i1, int thread) {
    const product *p = args;
    (void)thread;
    for (int64_t i = i0; i < i1; i++) {
        const float *a = p->a + i * p->d, *b = p->kind == SAME ? p->b + i * p->d : p->b;
        float *y = p->y + i * p->d;
        if (!p->add) memset(y, 0, (size_t)p->d * sizeof *y);
        if (p->kind == COLUMN) {
            const float s = p->b[i];
#pragma omp simd
            for (int64_t j = 0; j < p->d; j++) y[j] += a[j] * s;
        } else {
#pragma omp simd
            for (int64_t j = 0; j < p->d; j++) y[j] += a[j] * b[j];
        }
    }
}

static void forward(moa_exec *x, moa_node *n) {
    const product p = {n->out->data, n->in[0]->data, n->in[1]->data, moa_cols(n->out), kind_of(n), false};
    moa_parallel(x, moa_rows(n->out), 1, 0.3 * (double)p.d, product_range, &p);
}

/* db of a row: sums over rows, in their order. */
static void back_row(float *db, const float *a, const float *dy, int64_t rows, int64_t d) {
    for (int64_t i = 0; i < rows; i++) {
#pragma omp simd
        for (int64_t j = 0; j < d; j++) db[j] += a[i * d + j] * dy[i * d + j];
    }
}

/* db of a column: dot products of rows. */
static void back_column(float *db, const float *a, const float *dy, int64_t rows, int64_t d) {
    for (int64_t i = 0; i < rows; i++) {
        float s = 0;
#pragma omp simd reduction(+ : s)
        for (int64_t j = 0; j < d; j++) s += a[i * d + j] * dy[i * d + j];
        db[i] += s;
    }
}

static void backward(moa_exec *x, moa_node *n) {
    product p = {.d = moa_cols(n->out), .kind = kind_of(n)};
    const int64_t rows = moa_rows(n->out);
    const float *dy = moa_grad_out(x, n);
    if (dy && moa_grad_wanted(n, 0)) {
        p.a = dy, p.b = n->in[1]->data, p.y = moa_grad_in(x, n, 0, &p.add);
        if (p.y) moa_parallel(x, rows, 1, 0.3 * (double)p.d, product_range, &p);
    }
    if (!dy || !moa_grad_wanted(n, 1)) return;
    if (p.kind == SAME) {
        p.a = dy, p.b = n->in[0]->data, p.y = moa_grad_in(x, n, 1, &p.add);
        if (p.y) moa_parallel(x, rows, 1, 0.3 * (double)p.d, product_range, &p);
        return;
    }
    float *db = moa_grad_in_zeroed(x, n, 1);
    if (db) (p.kind == ROW ? back_row : back_column)(db, n->in[0]->data, dy, rows, p.d);
}

const moa_op moa_op_mul = {.name = "mul", .help = "a * b, b may be one row or one column", .shape = shape, .forward = forward, .backward = backward};

moa_tensor *moa_mul(moa_exec *x, moa_tensor *a, moa_tensor *b) {
    return moa_apply(x, &moa_op_mul, (moa_tensor *[]){a, b}, 2, NULL, 0);
}
