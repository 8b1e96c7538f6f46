/* test_arch.c - every architecture against an independent definition: reference/arch_ref.py, float64 in numpy, on seeded
 * random weights in the true relations of shapes (reference/make_arch.py). Reference mode within 1e-4 of logits that reach
 * about 4; the prompt in one step, in steps of 7 and token by token gives the same bits; Q8_0 weights and int8 activations
 * within their own, stated tolerances.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/reference.h"

static const double exact_tolerance = 1e-4; /* measured, float32 against float64: 6e-7 to 2e-5 */
/* 46 layers without a norm of q and k multiply what rounding does in the first: 2e-4 to 5e-4, by instruction set. */
static const double deep_tolerance = 1e-3;

static double tolerance_of(const ref_case *c) { return strcmp(c->name, "gemma2-27b") == 0 ? deep_tolerance : exact_tolerance; }
/* Root mean square of differences; logits have one of 1. Q8_0 keeps a weight to 0.4 % of its block's largest: measured 0.03 to
 * 0.042 away from f32, and as much again where activations are int8 too. */
static const double q8_tolerance = 0.06, fast_tolerance = 0.09;

static double rms_difference(const float *a, const float *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sqrt(sum / (double)n);
}

/* Largest (or root mean square) difference to the reference; infinity, and a line why, when the model does not open. */
typedef double (*measure)(const float *a, const float *b, size_t n);
static double difference(const ref_case *c, const float *want, bool exact, measure how) {
    moa_model *m = NULL;
    moa_err err = {0};
    char path[PATH_MAX];
    ref_path(path, sizeof path, c->name, ".gguf");
    if (moa_model_open(&m, path, &err) < 0) {
        printf("   %-20s %s\n", c->name, err.text);
        return INFINITY;
    }
    moa_session_cfg cfg = moa_session_defaults();
    cfg.exact = exact;
    cfg.n_ctx = c->n_ctx;
    float *got = logits_of(m, c->ids, c->n, c->n, cfg);
    const double d = how(got, want, (size_t)c->rows * (size_t)c->cols);
    free(got);
    moa_model_close(m);
    return d;
}

static void test_architectures(void **state) {
    (void)state;
    int failed = 0;
    for (int i = 0; i < ref_n(); i++) {
        const ref_case *c = ref_at(i);
        const double d = difference(c, c->want, true, max_difference);
        printf("   %-20s %2d tokens  largest difference %.2e%s\n", c->name, c->n, d, d <= tolerance_of(c) ? "" : "  TOO LARGE");
        failed += !(d <= tolerance_of(c));
    }
    if (failed) fail_msg("%d of %d models differ from the reference by more than they may", failed, ref_n());
}

/* A window, a cache that evicts and a graph that skips rows must not show in how the prompt was cut. */
static void test_steps(void **state) {
    (void)state;
    for (int i = 0; i < ref_n(); i++) {
        const ref_case *c = ref_at(i);
        for (int exact = 0; exact < 2; exact++) {
            moa_model *m = NULL;
            moa_err err = {0};
            char path[PATH_MAX];
            ref_path(path, sizeof path, c->name, ".gguf");
            OK(moa_model_open(&m, path, &err));
            moa_session_cfg cfg = moa_session_defaults();
            cfg.exact = exact;
            cfg.n_ctx = c->n_ctx;
            float *whole = logits_of(m, c->ids, c->n, c->n, cfg), *part = logits_of(m, c->ids, c->n, 7, cfg);
            float *each = logits_of(m, c->ids, c->n, 1, cfg);
            const size_t bytes = (size_t)c->n * (size_t)c->cols * sizeof(float);
            if (memcmp(whole, part, bytes) != 0) fail_msg("%s: steps of 7 differ from one step", c->name);
            if (memcmp(whole, each, bytes) != 0) fail_msg("%s: token by token differs from one step", c->name);
            free(whole);
            free(part);
            free(each);
            moa_model_close(m);
        }
    }
}

/* Absorbed latent attention keeps one vector a position and layer, the latent with the rotated part; halves of it in f16. */
static void test_latents_once(void **state) {
    (void)state;
    int n = 0;
    for (int i = 0; i < ref_n(); i++) {
        const ref_case *c = ref_at(i);
        moa_model *m = NULL;
        moa_session *s = NULL;
        moa_err err = {0};
        char path[PATH_MAX];
        ref_path(path, sizeof path, c->name, ".gguf");
        OK(moa_model_open(&m, path, &err));
        for (int half = 0; m->h.absorbed && half < 2; half++) {
            moa_session_cfg cfg = moa_session_defaults();
            cfg.kv_type = half ? MOA_F16 : MOA_F32;
            OK(moa_session_new(&s, m, &cfg, &err));
            moa_row *row = calloc((size_t)c->n, sizeof *row);
            for (int k = 0, seq = moa_seq_new(s, &err); k < c->n; k++) row[k] = (moa_row){seq, c->ids[k], false};
            OK(moa_session_step(s, row, c->n, &err));
            const int64_t each = (int64_t)m->h.n_layer * (m->h.kv_rank + m->h.n_rot);
            const int blocks = (c->n + MOA_KV_BLOCK - 1) / MOA_KV_BLOCK;
            assert_int_equal(moa_kv_numbers(&m->h), each);
            assert_int_equal(moa_session_kv_bytes(s), (size_t)(blocks * MOA_KV_BLOCK * each * (half ? 2 : 4)));
            free(row);
            moa_session_free(s);
            cfg.exact = true, cfg.n_ctx = c->n_ctx;
            float *got = logits_of(m, c->ids, c->n, 5, cfg);
            const double d = max_difference(got, c->want, (size_t)c->n * (size_t)c->cols);
            printf("   %-20s KV in %s: %lld numbers a position, largest difference %.2e\n", c->name, half ? "f16" : "f32", (long long)each, d);
            assert_true(d <= (half ? 0.02 : exact_tolerance));
            free(got);
            n++;
        }
        moa_model_close(m);
    }
    assert_true(n > 0);
}

/* NAME.q8 has NAME.f32's weights as Q8_0: exact against what the blocks stand for, near to what they came from. */
static void test_q8(void **state) {
    (void)state;
    int n = 0;
    for (int i = 0; i < ref_n(); i++) {
        const ref_case *c = ref_at(i);
        const size_t len = strlen(c->name);
        if (len < 3 || strcmp(c->name + len - 3, ".q8") != 0) continue;
        char name[sizeof c->name];
        snprintf(name, sizeof name, "%.*s.f32", (int)(len - 3), c->name);
        const ref_case *f = ref_find(name);
        assert_non_null(f);
        const double block = difference(c, c->want, true, max_difference), origin = difference(c, f->want, true, rms_difference);
        const double fast = difference(c, c->want, false, rms_difference), both = difference(c, f->want, false, rms_difference);
        printf("   %-20s exact %.2e; root mean square to f32 %.4f, of int8 activations %.4f, of both %.4f\n", c->name, block, origin,
               fast, both);
        assert_true(block <= exact_tolerance && origin <= q8_tolerance && fast <= q8_tolerance && both <= fast_tolerance);
        assert_true(origin > 0 && fast > 0);
        n++;
    }
    assert_true(n > 0);
}

/* The references themselves: vectors of another engine, and what OLMo's own code recorded of a model (that one through moa too). */
static void test_recorded(void **state) {
    (void)state;
    char root[PATH_MAX / 4], out[PATH_MAX], cmd[PATH_MAX];
    shared_path(root, sizeof root, "goldens/README.md");
    root[strlen(root) - strlen("goldens/README.md")] = 0;
    ref_path(out, sizeof out, "recorded", "");
    snprintf(cmd, sizeof cmd, "PYTHONDONTWRITEBYTECODE=1 %s tests/model/reference/check_ref.py %s %.1024s", python_with("numpy"), root, out);
    fflush(stdout);
    assert_int_equal(system(cmd), 0);
    ref_case c = {.name = "recorded", .n = 128, .rows = 128, .cols = 128};
    ref_load(&c);
    const double d = difference(&c, c.want, true, max_difference);
    printf("   olmo-xtiny through moa: largest difference %.2e\n", d);
    ref_unload(&c);
    assert_true(d <= 1e-4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_architectures, ref_or_skip),
        cmocka_unit_test_setup(test_steps, ref_or_skip),
        cmocka_unit_test_setup(test_latents_once, ref_or_skip),
        cmocka_unit_test_setup(test_q8, ref_or_skip),
        cmocka_unit_test_setup(test_recorded, ref_or_skip),
    };
    ref_make("make_arch.py");
    const int rc = cmocka_run_group_tests(tests, NULL, NULL);
    ref_remove();
    return rc;
}
