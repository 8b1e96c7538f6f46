/* muon.c - momentum, orthogonalised by Newton-Schulz (Keller Jordan, "Muon: an optimizer for hidden layers in neural
 * networks", 2024). For a hidden matrix:
 *   m = mu m + g,   u = g + mu m (Nesterov),   w -= lr * (orth(u) * sqrt(max(1, rows / cols)) + decay * w)
 * orth(u) pushes all singular values of u to about 1: X = u / |u|, five times X = a X + (b A + c A A) X, A = X X^T,
 * (a, b, c) = (3.4445, -4.7750, 2.0315). Embedding, output and norms are left to AdamW at lr * ADAM_SHARE: muon's
 * rate is one of unit-norm updates and far too big for them.
 *
 * In a stage that computes in bf16 the products take bf16 operands, as the published method does, and give f32 sums; X itself
 * stays f32. The iteration drives singular values to between 0.7 and 1.2 only, so a rounding of 2^-9 is lost in it. In an f32
 * stage, or where the CPU has no bf16 products, the operands are f32.
 * A tall matrix is multiplied from its other side (A = X^T X, X = a X + X (b A + c A A)): the same iteration on the
 * transpose, with the smaller square and without turning anything round.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "tensor/dense.h"
#include "train/optim.h"

#include <math.h>
#include <string.h>

enum { ROUNDS = 5, SERIAL = 16384 /* fewer elements are not worth waking threads */ };
static const float ADAM_SHARE = 0.15f;

static bool is_matrix(const moa_optim_param *p) { return p->hidden && p->w->n_dim == 2; }
static int n_state(const moa_optim_param *p) { return is_matrix(p) ? 1 : 2; }

typedef struct work {
    int64_t rows, cols, r; /* r: the smaller of both */
    moa_dtype dtype;       /* of the operands */
    int n_threads;
    float *x;              /* [rows, cols] */
    float *a, *b;          /* [r, r] A, and b A + c A A */
    void *xh, *sh;         /* operands: X [rows, cols], and one square [r, r] */
} work;

static int work_init(work *q, const moa_tensor *w, moa_exec *x, int n_threads, moa_err *err) {
    const int64_t rows = w->shape[0], cols = w->shape[1], r = rows < cols ? rows : cols;
    *q = (work){.rows = rows, .cols = cols, .r = r, .n_threads = n_threads};
    q->dtype = x->compute == MOA_BF16 && moa_dense_has_bf16() ? MOA_BF16 : MOA_F32;
    const size_t full = (size_t)(rows * cols), square = (size_t)(r * r), bytes = q->dtype == MOA_BF16 ? 2 : 4;
    q->x = moa_arena_alloc(x->arena, full * sizeof *q->x);
    q->a = moa_arena_alloc(x->arena, square * sizeof *q->a);
    q->b = moa_arena_alloc(x->arena, square * sizeof *q->b);
    q->xh = moa_arena_alloc(x->arena, full * bytes);
    q->sh = moa_arena_alloc(x->arena, square * bytes);
    if (q->x && q->a && q->b && q->xh && q->sh) return 0;
    return moa_fail(err, MOA_ENOMEM, "muon: no memory for scratch of [%lld, %lld]", (long long)rows, (long long)cols);
}

static void operand(void *dst, const float *src, int64_t n, const work *q) {
    uint16_t *h = dst;
    if (q->dtype == MOA_F32) {
        memcpy(dst, src, (size_t)n * sizeof *src);
        return;
    }
#pragma omp parallel for simd schedule(static) num_threads(q->n_threads) if (n > SERIAL)
    for (int64_t i = 0; i < n; i++) h[i] = moa_f32_to_bf16(src[i]);
}

static void scale(float *v, int64_t n, float s, int n_threads) {
#pragma omp parallel for simd schedule(static) num_threads(n_threads) if (n > SERIAL)
    for (int64_t i = 0; i < n; i++) v[i] *= s;
}

/* dst [r, r] = b A + c (what is in dst) */
static void polynomial(float *dst, const float *A, int64_t n, float b, float c, int n_threads) {
#pragma omp parallel for simd schedule(static) num_threads(n_threads) if (n > SERIAL)
    for (int64_t i = 0; i < n; i++) dst[i] = b * A[i] + c * dst[i];
}

static int newton_schulz(work *q, moa_err *err) {
    static const float a = 3.4445f, b = -4.7750f, c = 2.0315f;
    const bool tall = q->rows > q->cols;
    const int64_t full = q->rows * q->cols, square = q->r * q->r;
    const moa_dense gram = {.m = q->r, .n = q->r, .k = tall ? q->rows : q->cols, .dtype = q->dtype, .a_t = tall, .b_t = !tall,
                            .n_threads = q->n_threads};
    const moa_dense twice = {.m = q->r, .n = q->r, .k = q->r, .dtype = q->dtype, .n_threads = q->n_threads};
    const moa_dense apply = {.m = q->rows, .n = q->cols, .k = q->r, .dtype = q->dtype, .add = true, .n_threads = q->n_threads};
    operand(q->xh, q->x, full, q);
    MOA_TRY(moa_dense_run(&gram, q->a, q->xh, q->xh, NULL, err));
    operand(q->sh, q->a, square, q);
    MOA_TRY(moa_dense_run(&twice, q->b, q->sh, q->sh, NULL, err));
    polynomial(q->b, q->a, square, b, c, q->n_threads);
    operand(q->sh, q->b, square, q);
    scale(q->x, full, a, q->n_threads);
    return moa_dense_run(&apply, q->x, tall ? q->xh : q->sh, tall ? q->sh : q->xh, NULL, err);
}

static void momentum(float *u, float *m, const float *g, int64_t n, const moa_optim_cfg *cfg) {
    const float mu = (float)cfg->momentum, gs = (float)cfg->grad_scale;
#pragma omp parallel for simd schedule(static) num_threads(cfg->n_threads) if (n > SERIAL)
    for (int64_t i = 0; i < n; i++) {
        float gi = g[i] * gs;
        m[i] = mu * m[i] + gi;
        u[i] = gi + mu * m[i];
    }
}

static void move(float *w, const float *u, int64_t n, float keep, float step, int n_threads) {
#pragma omp parallel for simd schedule(static) num_threads(n_threads) if (n > SERIAL)
    for (int64_t i = 0; i < n; i++) w[i] = w[i] * keep - step * u[i];
}

static int update(const moa_optim_param *p, const moa_optim_cfg *cfg, moa_exec *x, moa_err *err) {
    if (!is_matrix(p)) {
        moa_optim_cfg adam = *cfg;
        adam.lr *= (double)ADAM_SHARE;
        moa_adamw_update(p, &adam);
        return 0;
    }
    work q;
    MOA_TRY(work_init(&q, p->w, x, cfg->n_threads, err));
    const int64_t n = q.rows * q.cols;
    momentum(q.x, p->state[0], p->w->grad->data, n, cfg);
    scale(q.x, n, (float)(1.0 / sqrt(1e-7 + moa_sum_squares(q.x, n, cfg->n_threads))), cfg->n_threads);
    for (int i = 0; i < ROUNDS; i++) {
        int rc = newton_schulz(&q, err);
        if (rc < 0) return moa_wrap(err, rc, "muon: tensor '%s'", p->w->name ? p->w->name : "");
    }
    const double step = cfg->lr * sqrt(q.rows > q.cols ? (double)q.rows / (double)q.cols : 1.0);
    move(p->w->data, q.x, n, (float)(1.0 - cfg->lr * cfg->weight_decay), (float)step, cfg->n_threads);
    moa_optim_refresh_half(p->w, cfg->n_threads);
    return 0;
}

const moa_optimizer moa_optimizer_muon = {
    .name = "muon", .help = "orthogonalised momentum for hidden matrices, AdamW for the rest", .has_momentum = true, .n_state = n_state, .update = update};
