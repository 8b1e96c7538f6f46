/* test_kernels_vmath.c - the vector elementary functions against libm in double precision: a walk over the
 * whole useful range, and the limits. Multiply-adds are calls of fmaf here; test_kernels.c compares the bits of
 * expv and softmax with those of instructions.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/kernels/vmath.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static float call(int f, float x) {
    switch (f) {
    case 0: return moa_vexpf(x);
    case 1: return moa_vlogf(x);
    case 2: return moa_vtanhf(x);
    default: return moa_vsigmoidf(x);
    }
}

static void accuracy(void **state) {
    (void)state;
    static const struct {
        double lo, hi, bound;
        double (*f)(double);
        const char *name;
    } row[] = {
        {-87.3, 88.7, 1.2e-7, exp, "exp"},
        {0x1p-126, 3e38, 1.5e-7, log, "log"},
        {-12, 12, 3e-7, tanh, "tanh"},
        {-87, 20, 2.5e-7, sigmoid, "sigmoid"},
    };
    for (int f = 0; f < 4; f++) {
        double worst = 0, at = 0;
        for (int i = 0; i < 2000000; i++) {
            const double u = i / 2e6;
            /* log: an even walk over exponents, and around 1 where the result is small */
            float x = (float)(row[f].lo + u * (row[f].hi - row[f].lo));
            if (f == 1) x = (float)(i % 2 ? exp2(-126 + u * 253.9) : 0.5 + u);
            const double want = row[f].f(x), err = fabs(call(f, x) - want) / fabs(want);
            if (err > worst) worst = err, at = x;
        }
        printf("%-8s largest relative error %.3g at %.9g (bound %.2g)\n", row[f].name, worst, at, row[f].bound);
        assert_true(worst <= row[f].bound);
    }
}

static void limits(void **state) {
    (void)state;
    const float inf = INFINITY;
    assert_true(moa_vexpf(inf) == inf && moa_vexpf(89.5f) == inf && moa_vexpf(88.8f) == inf && moa_vexpf(3e38f) == inf);
    assert_true(moa_vexpf(-inf) == 0 && moa_vexpf(-104.5f) == 0 && moa_vexpf(-3e38f) == 0);
    assert_true(moa_vexpf(0) == 1 && moa_vexpf(-0.0f) == 1 && moa_vexpf(1e-40f) == 1);
    assert_true(fabs(moa_vexpf(-100) - exp(-100)) <= 0x1p-149); /* denormal result */
    assert_true(isnan(moa_vexpf(NAN)) && isnan(moa_vlogf(NAN)) && isnan(moa_vtanhf(NAN)) && isnan(moa_vsigmoidf(NAN)));
    assert_true(moa_vlogf(0) == -inf && moa_vlogf(inf) == inf && isnan(moa_vlogf(-1)) && moa_vlogf(1) == 0);
    assert_true(fabs(moa_vlogf(1e-40f) / log((double)1e-40f) - 1) < 2e-7);
    assert_true(moa_vtanhf(inf) == 1 && moa_vtanhf(-inf) == -1 && moa_vtanhf(0) == 0 && moa_vtanhf(1e-30f) == 1e-30f);
    assert_true(moa_vsigmoidf(inf) == 1 && moa_vsigmoidf(-inf) == 0 && moa_vsigmoidf(0) == 0.5f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(accuracy), cmocka_unit_test(limits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
