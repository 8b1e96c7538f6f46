/* muon.c - momentum, orthogonalised by Newton-Schulz (Keller Jordan, "Muon: an optimizer for hidden layers in neural
 * networks", 2024). For a hidden matrix:
 *   m = mu m + g,   u = g + mu m (Nesterov),   w -= lr * (orth(u) * sqrt(max(1, rows / cols)) + decay * w)
 * orth(u) pushes all singular values of u to about 1: X = u / |u|, five times X = a X + (b A + c A A) X, A = X X^T,
 * (a, b, c) = (3.4445, -4.7750, 2.0315). Embedding, output and norms are left to AdamW at lr * ADAM_SHARE: muon's
 * rate is one of unit-norm updates and far too big for them.
 *
 * A A = A A^T since A is symmetric, so every product here is the "rows by rows" product of moa_linear.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "train/optim.h"

#include <math.h>
#include <string.h>

enum { ROUNDS = 5 };
static const float ADAM_SHARE = 0.15f;

static bool is_matrix(const moa_optim_param *p) { return p->hidden && p->w->n_dim == 2; }
static int n_state(const moa_optim_param *p) { return is_matrix(p) ? 1 : 2; }

static void transpose(float *dst /* [cols, rows] */, const float *src /* [rows, cols] */, int64_t rows, int64_t cols) {
    enum { T = 16 };
    for (int64_t i0 = 0; i0 < rows; i0 += T)
        for (int64_t j0 = 0; j0 < cols; j0 += T)
            for (int64_t i = i0; i < rows && i < i0 + T; i++)
                for (int64_t j = j0; j < cols && j < j0 + T; j++) dst[j * rows + i] = src[i * cols + j];
}

/* One round on X [r, c], r <= c, in place. */
static int newton_schulz(moa_exec *x, moa_tensor *X, moa_err *err) {
    static const float a = 3.4445f, b = -4.7750f, c = 2.0315f;
    int64_t r = X->shape[0], n = X->shape[1];
    moa_arena_mark mark = moa_arena_save(x->arena);
    moa_tensor *A = moa_linear(x, X, X, NULL);      /* [r, r] */
    moa_tensor *B = A ? moa_linear(x, A, A, NULL) : NULL;
    moa_tensor *Xt = moa_new_tensor(x, MOA_F32, 2, (const int64_t[]){n, r});
    if (!B || !Xt) return moa_fail(err, x->err.code ? x->err.code : MOA_ENOMEM, "muon: %s", x->err.text);
    const float *pa = A->data;
    float *pb = B->data, *px = X->data;
    for (int64_t i = 0; i < r * r; i++) pb[i] = b * pa[i] + c * pb[i];
    transpose(Xt->data, px, r, n);
    moa_tensor *Y = moa_linear(x, B, Xt, NULL);     /* B X: [r, n] */
    if (!Y) return moa_fail(err, x->err.code ? x->err.code : MOA_ENOMEM, "muon: %s", x->err.text);
    const float *py = Y->data;
    for (int64_t i = 0; i < r * n; i++) px[i] = a * px[i] + py[i];
    moa_arena_restore(x->arena, mark);
    return 0;
}

static void momentum(float *u, float *m, const float *g, int64_t n, float mu, float gs) {
    for (int64_t i = 0; i < n; i++) {
        float gi = g[i] * gs;
        m[i] = mu * m[i] + gi;
        u[i] = gi + mu * m[i];
    }
}

static int update(const moa_optim_param *p, const moa_optim_cfg *cfg, moa_exec *x, moa_err *err) {
    if (!is_matrix(p)) {
        moa_optim_cfg adam = *cfg;
        adam.lr *= (double)ADAM_SHARE;
        moa_adamw_update(p, &adam);
        return 0;
    }
    int64_t rows = p->w->shape[0], cols = p->w->shape[1], n = rows * cols;
    bool tall = rows > cols; /* work on the wide form, so that A is the smaller square */
    int64_t r = tall ? cols : rows, c = tall ? rows : cols;
    moa_tensor *X = moa_new_tensor(x, MOA_F32, 2, (const int64_t[]){r, c});
    moa_tensor *U = moa_new_tensor(x, MOA_F32, 2, (const int64_t[]){rows, cols});
    if (!X || !U) return moa_fail(err, MOA_ENOMEM, "muon: no memory for scratch");
    float *u = U->data;
    momentum(u, p->state[0], p->w->grad->data, n, (float)cfg->momentum, (float)cfg->grad_scale);
    double norm = 1e-7;
    for (int64_t i = 0; i < n; i++) norm += (double)u[i] * (double)u[i];
    const float inv = (float)(1.0 / sqrt(norm));
    for (int64_t i = 0; i < n; i++) u[i] *= inv;
    if (tall) transpose(X->data, u, rows, cols);
    else memcpy(X->data, u, (size_t)n * sizeof *u);
    for (int i = 0; i < ROUNDS; i++) MOA_TRY(newton_schulz(x, X, err));
    if (tall) transpose(u, X->data, cols, rows);
    else memcpy(u, X->data, (size_t)n * sizeof *u);
    const float step = (float)(cfg->lr * sqrt(rows > cols ? (double)rows / (double)cols : 1.0));
    const float keep = (float)(1.0 - cfg->lr * cfg->weight_decay);
    float *w = p->w->data;
    for (int64_t i = 0; i < n; i++) w[i] = w[i] * keep - step * u[i];
    moa_optim_refresh_half(p->w, cfg->n_threads);
    return 0;
}

const moa_optimizer moa_optimizer_muon = {
    .name = "muon", .help = "orthogonalised momentum for hidden matrices, AdamW for the rest", .n_state = n_state, .update = update};
