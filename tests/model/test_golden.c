/* test_golden.c - logits of an independent engine on seeded random weights: every architecture and every block type
 * within 5e-3 in reference mode; the int8 path within its own, stated tolerance.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/support.h"

static const int32_t tokens[34] = {1,   300, 301, 302, 17,  450, 33,  500, 2,   1,   259, 260, 270, 280, 290, 295, 310,
                                   320, 330, 340, 350, 360, 370, 380, 390, 400, 410, 420, 430, 440, 455, 465, 475, 485};

/* Root mean square of logits of these models is about 1. int8 activations and int8 x block products: measured 0.03 to 0.05. */
static const double fast_tolerance = 0.15;

static double largest_difference(const char *path, const char *want_path, const int32_t *token, int n_vocab, bool exact, double tolerance, int skip_row) {
    moa_model *m = NULL;
    moa_map want;
    moa_err err = {0};
    OK(moa_model_open(&m, path, &err));
    OK(moa_map_open(&want, want_path, &err));
    assert_int_equal(want.size, 34 * (size_t)n_vocab * sizeof(float));
    moa_session_cfg cfg = moa_session_defaults();
    cfg.exact = exact;
    float *got = logits_of(m, token, 34, 34, cfg);
    double d = 0;
    for (int i = 0; i < 34; i++) {
        const double row = max_difference(got + i * n_vocab, (const float *)want.data + i * n_vocab, (size_t)n_vocab);
        if (i != skip_row && !(row <= tolerance)) fail_msg("%s: row %d differs by %g, expected at most %g", path, i, row, tolerance);
        if (i != skip_row && row > d) d = row;
    }
    free(got);
    moa_map_close(&want);
    moa_model_close(m);
    return d;
}

/* skip_row: where two experts at the border of the choice are closer than the vectors' own error of 1e-3 (f16 KV), either choice
 * is right. */
static void compare(const char *stem, bool exact, double tolerance, int skip_row) {
    char path[4096], want_path[4200];
    shared_path(path, sizeof path, "goldens/README.md");
    path[strlen(path) - strlen("README.md")] = 0;
    snprintf(want_path, sizeof want_path, "%s%s.logits", path, stem);
    snprintf(path + strlen(path), sizeof path - strlen(path), "%s.gguf", stem);
    const double d = largest_difference(path, want_path, tokens, 512, exact, tolerance, skip_row);
    printf("   %-16s %-5s largest difference %.6f\n", stem, exact ? "exact" : "int8", d);
}

/* The Q2_K file with its vocabulary cut to these tokens (tests/golden/README.md): there in every clone. */
static void test_cut(void **state) {
    (void)state;
    int32_t id[34];
    int n = 0;
    for (int i = 0; i < 34; i++) {
        int k = 0;
        while (k < i && tokens[k] != tokens[i]) k++;
        id[i] = k < i ? id[k] : n++;
    }
    for (int exact = 0; exact < 2; exact++) {
        const double d = largest_difference("tests/golden/llama-Q2_K.gguf", "tests/golden/llama-Q2_K.logits", id, n, exact, exact ? 5e-3 : fast_tolerance, -1);
        printf("   llama-Q2_K, cut  %-5s largest difference %.6f\n", exact ? "exact" : "int8", d);
    }
}

/* There are vectors of Mixtral too, and moa does not agree with them: their engine adds the experts' result to the normed input,
 * x' = f + moe(f) with f = ffn_norm(x), where the published model (arXiv:2401.04088) has x' = x + moe(f). The second implementation in
 * reference/arch_ref.py agrees with the vectors to 2e-3 with that fault and is 1.1 away without it; reference/check_ref.py
 * shows both, and test_arch.c holds moa's Mixtral to the reference as published. */
static void test_architectures(void **state) {
    (void)state;
    compare("arch/llama", true, 5e-3, -1);
    compare("arch/qwen2", true, 5e-3, -1);
    /* Row 19, layer 1: experts 1 and 15 are 0.03 % apart, less than the vectors' f16 KV keeps; with the other one it agrees. */
    compare("arch/qwen3moe", true, 5e-3, 19);
}

static const char *const types[] = {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K_S", "Q4_K_S", "Q5_K_S", "Q6_K", "IQ4_NL", "IQ4_XS"};

static void test_types(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char stem[64];
        snprintf(stem, sizeof stem, "quant/%s", types[i]);
        compare(stem, true, 5e-3, -1);
    }
}

static void test_types_int8(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char stem[64];
        snprintf(stem, sizeof stem, "quant/%s", types[i]);
        compare(stem, false, fast_tolerance, -1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_architectures),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_types_int8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
