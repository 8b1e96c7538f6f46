/* test_isa.c - logits are the same bits on every instruction set of this machine: every architecture (windows, sinks, caps, experts, latent
 * attention), weights of every kind of product, reference mode and int8 activations, every type of cache. (Encoders: test_embed.c.)
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/support.h"

enum { N = 45 }; /* past a window of 40 and a block of 32 */

static const moa_dtype caches[] = {MOA_F32, MOA_F16, MOA_BF16, MOA_Q8_0};
enum { N_CACHE = sizeof caches / sizeof *caches };

static void check_model(const moa_model *m, const char *what, moa_dtype cache, bool exact) {
    int32_t tok[N];
    for (int i = 0; i < N; i++) tok[i] = i * 37 % m->h.n_vocab;
    const size_t nv = (size_t)m->h.n_vocab;
    moa_session_cfg cfg = moa_session_defaults();
    cfg.n_ctx = 64, cfg.n_threads = 1, cfg.kv_type = cache, cfg.exact = exact, cfg.isa = MOA_ISA_REF;
    float *want = logits_of(m, tok, N, N, cfg);
    for (size_t i = 0; i < N * nv; i++) assert_true(isfinite(want[i]));
    for (int isa = MOA_ISA_REF + 1; isa <= (int)moa_isa_best(); isa++) {
        cfg.isa = (moa_isa)isa;
        float *got = logits_of(m, tok, N, 21, cfg);
        for (int i = 0; i < N; i++)
            if (memcmp(got + (size_t)i * nv, want + (size_t)i * nv, nv * sizeof *got))
                fail_msg("%s, cache in %s, %s: row %d differs between %s and ref by %g", what, moa_type_get(cache)->name,
                         exact ? "reference mode" : "int8 activations", i, moa_isa_name((moa_isa)isa),
                         max_difference(got + (size_t)i * nv, want + (size_t)i * nv, nv));
        free(got);
    }
    free(want);
}

/* The model in a file with weights of a type, opened. */
static moa_model *as_type(const moa_model *made, moa_dtype type) {
    char path[4096];
    moa_err err = {0};
    moa_model *m = NULL;
    temp_path(path, sizeof path, "isa.gguf");
    OK(moa_model_save(made, path, type, NULL, &err));
    OK(moa_model_open(&m, path, &err));
    unlink(path);
    return m;
}

static void test_architectures(void **state) {
    (void)state;
    static const moa_dtype types[] = {MOA_F16, MOA_Q8_0};
    int n, done = 0;
    const moa_arch *const *all = moa_archs(&n);
    for (int i = 0; i < n; i++) {
        if (all[i]->encoder) continue;
        moa_model *made = arch_model(all[i], 40 + (uint64_t)i);
        for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
            moa_model *m = as_type(made, types[t]);
            check_model(m, all[i]->name, caches[(i + (int)t) % N_CACHE], false);
            moa_model_close(m);
        }
        moa_model_close(made);
        done++;
    }
    assert_true(done > 10);
    printf("%d architectures, best instruction set %s\n", done, moa_isa_name(moa_isa_best()));
}

/* Rows of 256, so that every block format fits; experts' routers stay in f32. */
static void test_types(void **state) {
    (void)state;
    static const moa_dtype types[] = {MOA_F32, MOA_F16, MOA_BF16, MOA_Q8_0, MOA_Q4_0, MOA_Q4_K, MOA_Q6_K};
    moa_hparams h = tiny_moe_hparams();
    h.d_model = 256, h.head_dim = 32, h.d_expert = 256, h.n_layer = 1, h.n_expert = 3;
    moa_model *made = tiny_model(h, NULL, 9);
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        moa_model *m = as_type(made, types[t]);
        check_model(m, moa_type_get(types[t])->name, caches[t % N_CACHE], false);
        check_model(m, moa_type_get(types[t])->name, caches[(t + 1) % N_CACHE], true);
        moa_model_close(m);
    }
    moa_model_close(made);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_architectures), cmocka_unit_test(test_types)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
