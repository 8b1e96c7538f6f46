/* test_quant_files.c - block formats as other software writes them: one model stored in every type. Each tensor must
 * be that of the Q8_0 file but for the error of its type, which a wrong bit in a layout exceeds at once.
 * SPDX-License-Identifier: Apache-2.0 */
#include "format/gguf.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

/* Largest relative root mean square difference to the Q8_0 file. */
static const struct {
    moa_dtype id;
    double bound;
} bounds[] = {{MOA_F32, 0},     {MOA_F16, 0.001},  {MOA_Q4_0, 0.11},  {MOA_Q4_1, 0.1},  {MOA_Q5_0, 0.055},
              {MOA_Q5_1, 0.05}, {MOA_Q8_0, 0},     {MOA_Q2_K, 0.4},   {MOA_Q3_K, 0.22}, {MOA_Q4_K, 0.1},
              {MOA_Q5_K, 0.05}, {MOA_Q6_K, 0.025}, {MOA_IQ4_NL, 0.1}, {MOA_IQ4_XS, 0.1}};

static moa_gguf *open_shared(const char *name) {
    const char *shared = getenv("MOA_SHARED");
    char path[512];
    moa_err err = {0};
    moa_gguf *g = NULL;
    snprintf(path, sizeof path, "%s/goldens/quant/%s.gguf", shared ? shared : "../shared", name);
    if (moa_gguf_open(&g, path, &err) < 0) assert_int_equal(err.code, MOA_ENOTFOUND);
    return g;
}

static float *floats(const moa_tensor *t) {
    float *x = malloc((size_t)moa_tensor_count(t) * sizeof *x);
    moa_type_get(t->dtype)->dequantize(x, t->data, moa_tensor_count(t));
    return x;
}

static double difference(const moa_tensor *a, const moa_tensor *b) {
    float *x = floats(a), *y = floats(b);
    double e = 0, s = 1e-30;
    for (int64_t i = 0; i < moa_tensor_count(a); i++) {
        const double d = (double)x[i] - (double)y[i];
        e += d * d, s += (double)y[i] * (double)y[i];
    }
    free(x), free(y);
    return sqrt(e / s);
}

static void one_model_in_every_type(void **state) {
    (void)state;
    static const char *const names[] = {"Q4_0",   "Q4_1",   "Q5_0",   "Q5_1", "Q8_0",   "Q2_K",
                                        "Q3_K_S", "Q4_K_S", "Q5_K_S", "Q6_K", "IQ4_NL", "IQ4_XS"};
    moa_gguf *base = open_shared("Q8_0");
    if (!base) {
        printf("skip: no model files (MOA_SHARED/goldens/quant)\n");
        skip();
    }
    double worst[MOA_DTYPE_MAX] = {0};
    bool seen[MOA_DTYPE_MAX] = {false};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        moa_gguf *g = open_shared(names[i]);
        assert_non_null(g);
        for (int k = 0; k < moa_gguf_n_tensor(g); k++) {
            const moa_tensor *t = moa_gguf_tensor_at(g, k), *b = moa_gguf_tensor(base, t->name);
            assert_non_null(b);
            const double d = difference(t, b);
            assert_true(d == d);
            if (b->dtype != MOA_Q8_0 && t->dtype != b->dtype) continue; /* the base itself is coarser there */
            seen[t->dtype] = true;
            worst[t->dtype] = d > worst[t->dtype] ? d : worst[t->dtype];
        }
        moa_gguf_close(g);
    }
    moa_gguf_close(base);
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
        const moa_dtype id = bounds[i].id;
        printf("%-6s %s %.4f (bound %.3f)\n", moa_type_get(id)->name, seen[id] ? "differs by" : "not in these files", worst[id],
               bounds[i].bound);
        assert_true(worst[id] <= bounds[i].bound);
        assert_true(seen[id] || moa_type_get(id)->block == 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_model_in_every_type)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
