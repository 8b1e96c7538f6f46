/* test_optim.c - optimisers against naive references in f64, repeatable and (but for muon's products) independent of the
 * number of threads; norms, schedules.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tensor/dense.h"
#include "train/optim.h"
#include "train/schedule.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 24, COLS = 40, N = ROWS * COLS };

typedef struct fixture {
    float w[N], g[N], s0[N], s1[N];
    uint16_t h[N];
    moa_tensor tw, tg, th;
    moa_optim_param p;
} fixture;

static void fill(fixture *f, int n_dim, bool hidden, bool tall) {
    moa_rng r;
    moa_rng_seed(&r, 7);
    memset(f, 0, sizeof *f);
    for (int i = 0; i < N; i++) f->w[i] = (float)moa_rng_normal(&r);
    int64_t shape[2] = {n_dim == 1 ? N : tall ? COLS : ROWS, tall ? ROWS : COLS};
    f->tw = moa_view(MOA_F32, f->w, n_dim, shape);
    f->tg = moa_view(MOA_F32, f->g, n_dim, shape);
    f->th = moa_view(MOA_BF16, f->h, n_dim, shape);
    f->tw.grad = &f->tg;
    f->tw.half = &f->th;
    f->p = (moa_optim_param){.w = &f->tw, .hidden = hidden, .state = {f->s0, f->s1}};
}

static void new_grad(fixture *f, uint64_t step) {
    moa_rng r;
    moa_rng_seed(&r, 100 + step);
    for (int i = 0; i < N; i++) f->g[i] = (float)moa_rng_normal(&r) * 0.1f;
}

static const moa_optim_cfg base = {.lr = 0.01, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .momentum = 0.95, .weight_decay = 0.1,
                                   .grad_scale = 0.5, .n_threads = 1};

static void adamw_naive(double *w, double *m, double *v, const float *g, const moa_optim_cfg *c, bool decay) {
    for (int i = 0; i < N; i++) {
        double gi = (double)g[i] * c->grad_scale;
        m[i] = c->beta1 * m[i] + (1 - c->beta1) * gi;
        v[i] = c->beta2 * v[i] + (1 - c->beta2) * gi * gi;
        double mh = m[i] / (1 - pow(c->beta1, (double)c->step)), vh = v[i] / (1 - pow(c->beta2, (double)c->step));
        w[i] -= c->lr * (mh / (sqrt(vh) + c->eps) + (decay ? c->weight_decay * w[i] : 0));
    }
}

static void check_adamw(int n_dim) {
    static fixture f;
    static double w[N], m[N], v[N];
    fill(&f, n_dim, true, false);
    memset(m, 0, sizeof m);
    memset(v, 0, sizeof v);
    for (int i = 0; i < N; i++) w[i] = (double)f.w[i];
    for (int step = 1; step <= 10; step++) {
        moa_optim_cfg c = base;
        c.step = step;
        new_grad(&f, (uint64_t)step);
        assert_int_equal(moa_optimizer_find("adamw")->update(&f.p, &c, NULL, NULL), 0);
        adamw_naive(w, m, v, f.g, &c, n_dim > 1);
    }
    for (int i = 0; i < N; i++) {
        assert_true(fabs((double)f.w[i] - w[i]) < 2e-6 * (1 + fabs(w[i])));
        assert_int_equal(f.h[i], moa_f32_to_bf16(f.w[i]));
    }
}

static void test_adamw(void **state) {
    (void)state;
    check_adamw(2);
    check_adamw(1); /* no decay */
}

static void matmul(double *c, const double *a, const double *b, int n, int k, int m, bool tb) {
    for (int i = 0; i < n; i++)
        for (int j = 0; j < m; j++) {
            double s = 0;
            for (int l = 0; l < k; l++) s += a[i * k + l] * (tb ? b[j * k + l] : b[l * m + j]);
            c[i * m + j] = s;
        }
}

static double rounded(double v, bool bf16) { return bf16 ? (double)moa_bf16_to_f32(moa_f32_to_bf16((float)v)) : v; }

/* bf16: X, A and b A + c A A are rounded where they become operands of a product, and nowhere else; sums are f64. */
static void orth_naive(double *x /* [r, c], r <= c */, int r, int c, bool bf16) {
    static double xh[N], a[N * 2], ah[N * 2], aa[N * 2], y[N * 2];
    double norm = 0;
    for (int i = 0; i < r * c; i++) norm += x[i] * x[i];
    for (int i = 0; i < r * c; i++) x[i] /= sqrt(norm + 1e-7);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < r * c; i++) xh[i] = rounded(x[i], bf16);
        matmul(a, xh, xh, r, c, r, true);
        for (int i = 0; i < r * r; i++) ah[i] = rounded(a[i], bf16);
        matmul(aa, ah, ah, r, r, r, false);
        for (int i = 0; i < r * r; i++) aa[i] = rounded(-4.7750 * a[i] + 2.0315 * aa[i], bf16);
        matmul(y, aa, xh, r, r, c, false);
        for (int i = 0; i < r * c; i++) x[i] = 3.4445 * x[i] + y[i];
    }
}

static int muon_run(fixture *f, bool tall, moa_dtype compute, int n_threads, int steps) {
    moa_exec x = {.arena = moa_arena_new(0, 0), .n_threads = n_threads, .compute = compute};
    assert_non_null(x.arena);
    fill(f, 2, true, tall);
    int rc = 0;
    for (int step = 1; step <= steps && rc == 0; step++) {
        moa_optim_cfg c = base;
        c.step = step;
        c.n_threads = n_threads;
        new_grad(f, (uint64_t)step);
        moa_arena_reset(x.arena);
        rc = moa_optimizer_find("muon")->update(&f->p, &c, &x, NULL);
    }
    moa_arena_free(x.arena);
    return rc;
}

/* Three steps in f64: weights w, momentum m, and what was moved. */
typedef struct muon_naive { double w[N], m[N], moved[N]; } muon_naive;

static void muon_reference(muon_naive *q, bool tall, bool bf16) {
    static fixture f;
    static double u[N], t[N];
    const int rows = tall ? COLS : ROWS, cols = tall ? ROWS : COLS;
    fill(&f, 2, true, tall);
    for (int i = 0; i < N; i++) q->w[i] = (double)f.w[i], q->m[i] = q->moved[i] = 0;
    for (int step = 1; step <= 3; step++) {
        new_grad(&f, (uint64_t)step);
        for (int i = 0; i < N; i++) {
            double g = (double)f.g[i] * base.grad_scale;
            q->m[i] = base.momentum * q->m[i] + g;
            u[i] = g + base.momentum * q->m[i];
        }
        for (int i = 0; i < rows && tall; i++)
            for (int j = 0; j < cols; j++) t[j * rows + i] = u[i * cols + j];
        orth_naive(tall ? t : u, ROWS, COLS, bf16);
        for (int i = 0; i < rows && tall; i++)
            for (int j = 0; j < cols; j++) u[i * cols + j] = t[j * rows + i];
        double scale = rows > cols ? sqrt((double)rows / cols) : 1;
        for (int i = 0; i < N; i++) {
            q->w[i] = q->w[i] * (1 - base.lr * base.weight_decay) - base.lr * scale * u[i];
            q->moved[i] -= base.lr * scale * u[i];
        }
    }
}

/* |got - want| over |moved|, all of N elements: an error as a share of what the optimiser did. */
static double share_of_move(const double *got, const double *want, const double *moved) {
    double e = 0, d = 0;
    for (int i = 0; i < N; i++) e += (got[i] - want[i]) * (got[i] - want[i]), d += moved[i] * moved[i];
    return sqrt(e / d);
}

/* What may be lost, as a share of the move.
 * f32: weights of size 1 move by about 0.005 in three steps and are rounded twice a step, which is at worst 6 * 2^-24 / 0.005, 7e-5;
 * the products add less. So 1e-4.
 * bf16: the rounding of operands (2^-9) is the method's own error, and its size is measured here, by the reference with and without it: 2
 * percent. A worst-case bound says nothing (the iteration may stretch an error by 3.44 a round, and five rounds of that are more than
 * the whole). Nor can moa and the reference agree bit by bit: a sum that differs in its last f32 bit tips an operand over to the
 * next bf16 now and then. But the error is the sum of some ten thousand such roundings, so its size hardly depends on which way they
 * fall: moa's must be that of the reference. More would be a rounding too many; much less, products that are not bf16 at all. */
static void check_muon(bool tall, moa_dtype compute) {
    const bool bf16 = compute == MOA_BF16 && moa_dense_has_bf16();
    static fixture f;
    static muon_naive half, exact;
    static double w[N];
    muon_reference(&exact, tall, false);
    assert_int_equal(muon_run(&f, tall, compute, 1, 3), 0);
    for (int i = 0; i < N; i++) w[i] = (double)f.w[i];
    const double share = share_of_move(w, exact.w, exact.moved);
    double least = 0, most = 1e-4;
    if (bf16) {
        muon_reference(&half, tall, true);
        const double cost = share_of_move(half.w, exact.w, exact.moved);
        if (!(cost < 0.03)) fail_msg("the method itself loses %.3g of the move by bf16", cost);
        least = 0.8 * cost, most = 1.25 * cost;
    }
    if (!(share >= least && share <= most)) fail_msg("%s matrix, %s: off by %.3g of the move, expected %.3g to %.3g", tall ? "tall" : "wide",
                                                     bf16 ? "bf16" : "f32", share, least, most);
    for (int i = 0; i < N; i++) {
        assert_true(fabs((double)f.s0[i] - exact.m[i]) < 1e-6); /* momentum is f32 throughout */
        assert_int_equal(f.h[i], moa_f32_to_bf16(f.w[i]));
    }
}

static void test_muon(void **state) {
    (void)state;
    for (int tall = 0; tall < 2; tall++) check_muon(tall, MOA_F32), check_muon(tall, MOA_BF16);
    static fixture a, b;
    for (int n_threads = 1; n_threads <= 2; n_threads++) {
        assert_int_equal(muon_run(&a, false, MOA_BF16, n_threads, 3), 0);
        assert_int_equal(muon_run(&b, false, MOA_BF16, n_threads, 3), 0);
        assert_memory_equal(a.w, b.w, sizeof a.w);
        assert_memory_equal(a.s0, b.s0, sizeof a.s0);
    }
}

static void test_norm_and_threads(void **state) {
    (void)state;
    enum { BIG = 100003 };
    float *g = malloc(BIG * sizeof *g), *w = calloc(BIG, sizeof *w);
    assert_true(g && w);
    moa_rng r;
    moa_rng_seed(&r, 3);
    double want = 0;
    for (int i = 0; i < BIG; i++) g[i] = (float)moa_rng_normal(&r), want += (double)g[i] * (double)g[i];
    moa_tensor tg = moa_view1(MOA_F32, g, BIG), tw = moa_view1(MOA_F32, w, BIG);
    tw.grad = &tg;
    moa_optim_param p = {.w = &tw};
    double one = moa_grad_norm(&p, 1, 1);
    assert_true(one == moa_grad_norm(&p, 1, 2) && one == moa_grad_norm(&p, 1, 3));
    assert_true(fabs(one - sqrt(want)) < 1e-9 * one);
    g[BIG - 1] = NAN;
    assert_false(isfinite(moa_grad_norm(&p, 1, 2)));
    free(g);
    free(w);
}

static void test_registries(void **state) {
    (void)state;
    int n;
    const moa_optimizer *const *o = moa_optimizers(&n);
    for (int i = 0; i < n; i++) {
        assert_true(o[i]->name && o[i]->help && o[i]->n_state && o[i]->update);
        assert_ptr_equal(moa_optimizer_find(o[i]->name), o[i]);
    }
    assert_null(moa_optimizer_find("sgd"));
    const moa_schedule *const *s = moa_schedules(&n);
    for (int i = 0; i < n; i++) {
        assert_ptr_equal(moa_schedule_find(s[i]->name), s[i]);
        double last = s[i]->shape(0);
        assert_true(last == 1.0);
        for (double t = 0; t <= 1; t += 0.01) {
            assert_true(s[i]->shape(t) <= last + 1e-12 && s[i]->shape(t) >= -1e-12); /* never rises */
            last = s[i]->shape(t);
        }
    }
}

static void test_schedule_values(void **state) {
    (void)state;
    const moa_schedule *cosine = moa_schedule_find("cosine"), *linear = moa_schedule_find("linear"), *constant = moa_schedule_find("constant");
    assert_true(fabs(moa_schedule_lr(cosine, 0, 111, 10, 1, 0.1) - 0.1) < 1e-12);
    assert_true(fabs(moa_schedule_lr(cosine, 9, 111, 10, 1, 0.1) - 1) < 1e-12);
    assert_true(fabs(moa_schedule_lr(cosine, 10, 111, 10, 1, 0.1) - 1) < 1e-12);
    assert_true(fabs(moa_schedule_lr(cosine, 60, 111, 10, 1, 0.1) - 0.55) < 1e-12); /* half way */
    assert_true(fabs(moa_schedule_lr(cosine, 110, 111, 10, 1, 0.1) - 0.1) < 1e-12);
    assert_true(fabs(moa_schedule_lr(linear, 35, 111, 10, 1, 0.1) - (0.1 + 0.9 * 0.75)) < 1e-12);
    assert_true(moa_schedule_lr(constant, 110, 111, 10, 1, 0.1) == 1);
    assert_true(moa_schedule_lr(linear, 0, 1, 0, 1, 0.1) == 0.1); /* a stage of one step */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adamw),      cmocka_unit_test(test_muon),           cmocka_unit_test(test_norm_and_threads),
        cmocka_unit_test(test_registries), cmocka_unit_test(test_schedule_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
