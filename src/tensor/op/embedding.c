/* embedding.c - rows of a table by id. Backward adds rows to the table's gradient; threads split the columns, so rows with
 * the same id are added in the order of positions. SPDX-License-Identifier: Apache-2.0 */
#include "tensor/op/op.h"

static int shape(const moa_node *n, moa_tensor *out, moa_err *err) {
    const moa_tensor *t = n->in[0];
    if (!t || t->n_dim != 2) return moa_fail(err, MOA_EINVAL, "embedding: table is %s, expected [n_vocab, d]", SHAPE(t));
    MOA_TRY(moa_op_need(n, 1, "ids", MOA_I32, err));
    out->n_dim = 2;
    out->shape[0] = moa_tensor_count(n->in[1]);
    out->shape[1] = t->shape[1];
    return MOA_OK;
}

typedef struct look { float *y; const moa_tensor *table; const int32_t *id; } look; /* range: positions */
static void look_range(const void *args, int64_t i0, int64_t i1, int thread) {
    const look *p = args;
    const moa_type *type = moa_type_get(p->table->dtype);
    const int64_t d = moa_cols(p->table);
    (void)thread;
    for (int64_t i = i0; i < i1; i++)
        type->dequantize(p->y + i * d, (const char *)p->table->data + p->id[i] * p->table->stride[0], d);
}

static void forward(moa_exec *x, moa_node *n) {
    if (!moa_op_ids_ok(x, n, n->in[1], n->in[0]->shape[0])) return;
    const look p = {n->out->data, n->in[0], n->in[1]->data};
    moa_parallel(x, moa_rows(n->out), 1, 0.3 * (double)moa_cols(n->out), look_range, &p);
}

typedef struct spread { float *dt; const float *dy; const int32_t *id; int64_t n, d; } spread; /* range: columns */
static void spread_range(const void *args, int64_t c0, int64_t c1, int thread) {
    const spread *p = args;
    (void)thread;
    for (int64_t i = 0; i < p->n; i++) {
        float *t = p->dt + p->id[i] * p->d;
        const float *dy = p->dy + i * p->d;
#pragma omp simd
        for (int64_t c = c0; c < c1; c++) t[c] += dy[c];
    }
}

static void backward(moa_exec *x, moa_node *n) {
    const spread p = {moa_grad_in_zeroed(x, n, 0), moa_grad_out(x, n), n->in[1]->data, moa_rows(n->out), moa_cols(n->out)};
    if (p.dt && p.dy) moa_parallel(x, p.d, 16, 0.2 * (double)p.n, spread_range, &p);
}

const moa_op moa_op_embedding = {.name = "embedding", .help = "rows of a table by id", .shape = shape, .forward = forward, .backward = backward};

moa_tensor *moa_embedding(moa_exec *x, moa_tensor *table, moa_tensor *ids) {
    return moa_apply(x, &moa_op_embedding, (moa_tensor *[]){table, ids}, 2, NULL, 0);
}
