/* test_attend.c - the kernels of paged attention against plain sums in double: every ISA of this CPU, f32 and f16 keys and
 * values, odd head sizes, any number of heads that share a key head, partly filled blocks.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/support.h"

enum { B = MOA_KV_BLOCK, MAX_HD = 136, MAX_Q = 9 };

static float q[MAX_Q * MAX_HD], p[MAX_Q * B], o[MAX_Q * MAX_HD], s[MAX_Q * B], wide[MAX_HD * B];
static uint16_t half[MAX_HD * B];

static void fill(float *v, int n, moa_rng *r) {
    for (int i = 0; i < n; i++) v[i] = (float)moa_rng_normal(r);
}

/* Numbers that f16 holds exactly, in both forms. */
static const void *store(moa_dtype type, int n, moa_rng *r) {
    fill(wide, n, r);
    for (int i = 0; i < n; i++) wide[i] = moa_f16_to_f32(half[i] = moa_f32_to_f16(wide[i]));
    return type == MOA_F16 ? (const void *)half : wide;
}

static void check_shape(const moa_kernels *k, moa_dtype type, int hd, int n_q, int n_pos, moa_rng *r) {
    const void *key = store(type, hd * B, r);
    fill(q, n_q * hd, r);
    k->slot[MOA_K_ATTN_SCORE][type]->fn.attn_score(s, q, key, n_q, hd, 0.25f);
    for (int j = 0; j < n_q; j++)
        for (int t = 0; t < B; t++) {
            double want = 0;
            for (int d = 0; d < hd; d++) want += (double)q[j * hd + d] * (double)wide[d * B + t];
            assert_true(fabs(want * 0.25 - (double)s[j * B + t]) < 1e-4);
        }
    const void *val = store(type, hd * B, r);
    fill(p, n_q * B, r);
    fill(o, n_q * hd, r);
    o[n_q * hd] = 77; /* one beyond */
    float before[MAX_Q * MAX_HD];
    memcpy(before, o, sizeof before);
    k->slot[MOA_K_ATTN_MIX][type]->fn.attn_mix(o, p, val, n_q, n_pos, hd);
    assert_true(o[n_q * hd] == 77);
    for (int j = 0; j < n_q; j++)
        for (int d = 0; d < hd; d++) {
            double want = (double)before[j * hd + d];
            for (int t = 0; t < n_pos; t++) want += (double)p[j * B + t] * (double)wide[t * hd + d];
            assert_true(fabs(want - (double)o[j * hd + d]) < 1e-4);
        }
}

static void test_kernels(void **state) {
    (void)state;
    static const int dims[] = {2, 8, 17, 64, 100, 128}, heads[] = {1, 2, 3, 4, 7, 8}, fills[] = {1, 13, 32};
    moa_rng r;
    moa_rng_seed(&r, 1);
    for (int isa = MOA_ISA_REF; isa <= (int)moa_isa_best(); isa++) {
        const moa_kernels *k;
        assert_int_equal(moa_kernels_get(&k, (moa_isa)isa, NULL), 0);
        for (size_t d = 0; d < sizeof dims / sizeof *dims; d++)
            for (size_t h = 0; h < sizeof heads / sizeof *heads; h++)
                for (size_t f = 0; f < sizeof fills / sizeof *fills; f++) {
                    check_shape(k, MOA_F32, dims[d], heads[h], fills[f], &r);
                    check_shape(k, MOA_F16, dims[d], heads[h], fills[f], &r);
                }
    }
}

/* All ISAs give nearly the same logits; f16 keys and values cost little. */
static void test_isas_agree(void **state) {
    (void)state;
    moa_model *m = tiny_model(tiny_hparams(), NULL, 3);
    int32_t tok[70];
    for (int i = 0; i < 70; i++) tok[i] = i * 37 % 320;
    moa_session_cfg cfg = moa_session_defaults();
    cfg.exact = true;
    cfg.isa = MOA_ISA_REF;
    float *want = logits_of(m, tok, 70, 70, cfg);
    for (int isa = MOA_ISA_REF; isa <= (int)moa_isa_best(); isa++)
        for (int f16 = 0; f16 < 2; f16++) {
            cfg.isa = (moa_isa)isa;
            cfg.kv_type = f16 ? MOA_F16 : MOA_F32;
            float *got = logits_of(m, tok, 70, 33, cfg);
            assert_true(max_difference(got, want, 70 * 320) < (f16 ? 0.05 : 1e-3));
            free(got);
        }
    free(want);
    moa_model_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kernels), cmocka_unit_test(test_isas_agree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
