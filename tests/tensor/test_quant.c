/* test_quant.c - block formats: floats of golden blocks bit for bit, round trips within stated bounds, hostile
 * inputs, importance weights.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/rng.h"
#include "tensor/quant/block.h"
#include "tensor/quant/grid.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const moa_type *const *types;
static int n_types;

static uint64_t fnv(const void *p, size_t n) {
    const uint8_t *b = p;
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++) h = (h ^ b[i]) * 0x100000001b3u;
    return h;
}

static void same_floats(const char *name, const float *got, const char *want, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        float w;
        memcpy(&w, want + i * 4, 4);
        if (memcmp(&w, &got[i], 4)) printf("%s element %u: %.9g, expected %.9g\n", name, i, (double)got[i], (double)w);
        assert_memory_equal(&w, &got[i], 4);
    }
}

/* tests/golden/make_quant.py describes the file: a second implementation's floats of random blocks, and the hash of its
 * floats over every entry of every codebook. */
static void golden_blocks(void **state) {
    (void)state;
    enum { HEAD = 20 };
    char *file;
    size_t len, at = 0;
    moa_err err = {0};
    assert_int_equal(moa_read_file(&file, &len, "tests/golden/quant.golden", 1 << 20, &err), MOA_OK);
    int seen[2] = {0};
    while (at < len) {
        char name[9] = {0};
        uint32_t n, bytes, hashed;
        memcpy(name, file + at, 8), memcpy(&n, file + at + 8, 4), memcpy(&bytes, file + at + 12, 4), memcpy(&hashed, file + at + 16, 4);
        const moa_type *t = moa_type_find(name);
        assert_non_null(t);
        assert_int_equal(moa_row_bytes(t->id, n), bytes);
        float *got = malloc(n * sizeof *got);
        t->dequantize(got, file + at + HEAD, n);
        if (hashed) {
            const uint64_t h = fnv(got, n * sizeof *got);
            if (memcmp(&h, file + at + HEAD + bytes, 8)) printf("%s: the sweep over %u elements differs\n", name, n);
            assert_memory_equal(&h, file + at + HEAD + bytes, 8);
        } else {
            same_floats(name, got, file + at + HEAD + bytes, n);
        }
        free(got);
        at += HEAD + bytes + (hashed ? 8 : n * 4);
        seen[hashed]++;
    }
    free(file);
    int blocks = 0;
    for (int i = 0; i < n_types; i++) blocks += types[i]->block > 1;
    assert_int_equal(seen[0], blocks); /* every block format has its records */
    assert_int_equal(seen[1], blocks);
}

/* The codebooks: what their heads say, and a sum over them that was taken from the published tables. */
static void codebooks(void **state) {
    (void)state;
    static const struct {
        const char *name;
        const uint16_t *code;
        int n, bits, top; /* digits of this many bits, none above top */
        bool even;        /* the sum of the digits of every entry */
        uint64_t sum;
    } book[] = {
        {"iq1", moa_grid_iq1, 2048, 2, 2, false, 0x03f1880817eeffa4u},    {"iq2_xxs", moa_grid_iq2_xxs, 256, 2, 2, true, 0x6fca17f5c451905du},
        {"iq2_xs", moa_grid_iq2_xs, 512, 2, 2, true, 0x29d6ac8e0e6b14e3u}, {"iq2_s", moa_grid_iq2_s, 1024, 2, 2, true, 0x641f9aa3fbd98694u},
        {"iq3_xxs", moa_grid_iq3_xxs, 256, 4, 7, true, 0xa3a695908a710942u}, {"iq3_s", moa_grid_iq3_s, 512, 4, 7, false, 0xde38cc0714d23202u},
    };
    for (size_t i = 0; i < sizeof book / sizeof *book; i++) {
        for (int e = 0; e < book[i].n; e++) {
            int sum = 0;
            for (int j = 0; j < 16; j += book[i].bits) {
                const int digit = book[i].code[e] >> j & ((1 << book[i].bits) - 1);
                assert_true(digit <= book[i].top);
                sum += digit;
            }
            assert_true(!book[i].even || sum % 2 == 0);
            assert_true(e == 0 || book[i].code[e - 1] < book[i].code[e]); /* none twice */
        }
        const uint64_t h = fnv(book[i].code, (size_t)book[i].n * 2);
        if (h != book[i].sum) printf("codebook %s: %016llx\n", book[i].name, (unsigned long long)h);
        assert_true(h == book[i].sum);
    }
}

/* All bytes of an entry at once against one digit at a time. */
static void digits_of_entries(void **state) {
    (void)state;
    static const int x3[8] = {4, 12, 20, 28, 36, 44, 52, 62};
    for (unsigned code = 0; code < 65536; code++) {
        bool pairs = true, octal = true;
        for (int j = 0; j < 16; j += 2) pairs &= (code >> j & 3) < 3;
        for (int j = 0; j < 16; j += 4) octal &= (code >> j & 15) < 8;
        for (int minus = 0; minus < 2 && pairs; minus++) {
            const uint64_t a = moa_grid_iq2((uint16_t)code), b = moa_grid_iq1_plus((uint16_t)code, minus ? -1 : 1);
            for (int j = 0; j < 8; j++) {
                const int digit = code >> 2 * j & 3;
                assert_int_equal((int8_t)(a >> 8 * j), digit == 0 ? 8 : digit == 1 ? 25 : 43);
                assert_int_equal((int8_t)(b >> 8 * j), 8 * (digit - 1) + (minus ? -1 : 1));
            }
        }
        for (int j = 0; j < 4 && octal; j++) {
            const int digit = code >> 4 * j & 15;
            assert_int_equal(moa_grid_iq3_x((uint16_t)code) >> 8 * j & 255, x3[digit]);
            assert_int_equal(moa_grid_iq3_odd((uint16_t)code) >> 8 * j & 255, 2 * digit + 1);
        }
    }
    for (unsigned s = 0; s < 256; s++) {
        const uint64_t v = moa_grid_signed(0x3e2b190f0807017fu, s);
        for (int j = 0; j < 8; j++) {
            const int plain = (int)(0x3e2b190f0807017fu >> 8 * j & 255);
            assert_int_equal((int8_t)(v >> 8 * j), s >> j & 1 ? -plain : plain);
        }
        if (s < 128) assert_true(__builtin_popcount(moa_grid_eight_signs(s)) % 2 == 0 && moa_grid_eight_signs(s) % 128 == s);
    }
}

static void normals(float *x, int n, uint64_t seed, float scale) {
    moa_rng r;
    moa_rng_seed(&r, seed);
    for (int i = 0; i < n; i++) x[i] = scale * (float)moa_rng_normal(&r);
}

/* Relative root mean square error of a round trip, weighted. */
static double round_trip(const moa_type *t, const float *x, const float *w, int n, bool use) {
    uint8_t *q = malloc(moa_row_bytes(t->id, n));
    float *y = malloc((size_t)n * sizeof *y);
    t->quantize(q, x, use ? w : NULL, n);
    t->dequantize(y, q, n);
    double e = 0, s = 0;
    for (int i = 0; i < n; i++) {
        assert_true(isfinite(y[i]));
        const double d = (double)x[i] - (double)y[i], wi = w ? (double)w[i] : 1.0;
        e += wi * d * d, s += wi * (double)x[i] * (double)x[i];
    }
    free(q), free(y);
    return sqrt(e / s);
}

/* Bounds for normally distributed weights. An even grid of step s has the error s / sqrt(12). With the largest of 32
 * normals near 2.1 sigma that is 0.5 / (2^bits - 1) * 4.2 / sqrt(3): 0.081 for 4 bits; the fit gets below it. */
static const struct {
    moa_dtype id;
    double bound;
} bounds[] = {{MOA_F32, 0},      {MOA_F16, 3e-4},    {MOA_BF16, 2e-3},  {MOA_Q4_0, 0.088}, {MOA_Q4_1, 0.076}, {MOA_Q5_0, 0.044},
              {MOA_Q5_1, 0.038}, {MOA_Q8_0, 0.0056}, {MOA_Q4_K, 0.078}, {MOA_Q5_K, 0.039}, {MOA_Q6_K, 0.019},
              {MOA_IQ4_NL, 0.08}, {MOA_IQ4_XS, 0.08}};

static void round_trips(void **state) {
    (void)state;
    enum { N = 256 * 64 };
    static float x[N];
    int checked = 0;
    for (int i = 0; i < n_types; i++) {
        const moa_type *t = types[i];
        if (!t->quantize) continue;
        double bound = -1;
        for (size_t b = 0; b < sizeof bounds / sizeof *bounds; b++)
            if (bounds[b].id == t->id) bound = bounds[b].bound;
        assert_true(bound >= 0);
        for (int s = 0; s < 3; s++) {
            normals(x, N, 7, s == 0 ? 1.0f : s == 1 ? 0.02f : 300.0f);
            const double e = round_trip(t, x, NULL, N, false);
            if (s == 0 || e > bound) printf("%-6s round trip error %.5f, bound %.5f\n", t->name, e, bound);
            assert_true(e <= bound);
        }
        checked++;
    }
    assert_int_equal(checked, sizeof bounds / sizeof *bounds);
}

/* Error of one run with the best of many scales, kept in full precision: what a plain search finds. level NULL: even
 * levels lo .. hi, and with offset the minimum of the run (but not above 0) is taken off first. */
static double plain_search(const float *x, int n, const int8_t *level, int lo, int hi, bool offset) {
    float big = 0, least = 0;
    for (int i = 0; i < n; i++) big = fmaxf(big, fabsf(x[i])), least = fminf(least, x[i]);
    double best = INFINITY;
    for (int c = -40; c <= 40; c++) {
        float d = big * (float)c / (20.0f * (float)(level ? 127 : -lo > hi ? -lo : hi));
        if (offset) {
            float top = least;
            for (int i = 0; i < n; i++) top = fmaxf(top, x[i]);
            d = (top - least) / (float)hi * (0.7f + 0.01f * (float)(c + 40));
        }
        double e = 0;
        for (int i = 0; i < n && d != 0; i++) {
            const float m = offset ? least : 0;
            const float q = level ? (float)level[moa_fit_level(x[i], d, level)] : (float)moa_fit_round(x[i], d, m, lo, hi);
            const double r = (double)x[i] - (double)(d * q) - (double)m;
            e += r * r;
        }
        if (d != 0 && e < best) best = e;
    }
    return best;
}

/* No quantiser is worse than a plain search over scales, though some must say theirs in six bits: at 5 bits a weight that
 * costs up to a hundredth. */
static void better_than_plain_search(void **state) {
    (void)state;
    enum { N = 256 * 16 };
    static float x[N], y[N];
    static uint8_t q[N * 2];
    static const struct { moa_dtype id; int run, lo, hi; bool levels, offset; } type[] = {
        {MOA_Q4_0, 32, -8, 7, false, false},   {MOA_Q5_0, 32, -16, 15, false, false}, {MOA_Q6_K, 16, -32, 31, false, false},
        {MOA_Q4_1, 32, 0, 15, false, true},    {MOA_Q4_K, 32, 0, 15, false, true},    {MOA_Q5_K, 32, 0, 31, false, true},
        {MOA_IQ4_NL, 32, 0, 0, true, false},   {MOA_IQ4_XS, 32, 0, 0, true, false},
    };
    for (size_t k = 0; k < sizeof type / sizeof *type; k++)
        for (int shape = 0; shape < 2; shape++) {
            normals(x, N, 11, 0.1f);
            for (int i = 0; i < N && shape; i++) x[i] *= fabsf(x[i]) * 10; /* heavy tails, as weights have */
            const moa_type *t = moa_type_get(type[k].id);
            t->quantize(q, x, NULL, N);
            t->dequantize(y, q, N);
            double ours = 0, plain = 0;
            for (int i = 0; i < N; i++) ours += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
            for (int i = 0; i < N; i += type[k].run)
                plain += plain_search(x + i, type[k].run, type[k].levels ? moa_iq4_levels : NULL, type[k].lo, type[k].hi, type[k].offset);
            printf("%-6s error %.5g, of a plain search with exact scales %.5g\n", t->name, ours, plain);
            assert_true(ours <= plain * (type[k].id == MOA_Q5_K ? 1.01 : 1.0));
        }
}

/* Weights where few elements matter: the weighted error must fall when the quantiser is told. */
static void importance_helps(void **state) {
    (void)state;
    enum { N = 256 * 32 };
    static float x[N], w[N];
    normals(x, N, 8, 1.0f);
    for (int i = 0; i < N; i++) w[i] = i % 7 == 0 ? 50.0f : 0.5f;
    for (int i = 0; i < n_types; i++) {
        const moa_type *t = types[i];
        if (!t->quantize || t->block == 1 || t->id == MOA_Q8_0) continue;
        const double with = round_trip(t, x, w, N, true), without = round_trip(t, x, w, N, false);
        if (with >= without) printf("%s: weighted error %.5f with importance, %.5f without\n", t->name, with, without);
        assert_true(with < without);
    }
    for (int i = 0; i < N; i++) w[i] = i % 3 == 0 ? NAN : i % 3 == 1 ? -1.0f : 0.0f; /* useless: taken as ones */
    for (int i = 0; i < n_types; i++)
        if (types[i]->quantize && types[i]->block > 1) {
            uint8_t a[256], b[256];
            const int n = 256 / types[i]->block * types[i]->block, bytes = (int)moa_row_bytes(types[i]->id, n);
            if (bytes > 256) continue;
            types[i]->quantize(a, x, w, n);
            types[i]->quantize(b, x, NULL, n);
            assert_memory_equal(a, b, (size_t)bytes);
        }
}

static void hostile_inputs(void **state) {
    (void)state;
    enum { N = 512 };
    static float x[N], y[N];
    static uint8_t q[N * 4];
    static const float specials[] = {0.0f,     -0.0f,     1e-45f, -1e-40f, 1e-38f,   1e-8f,
                                     65504.0f, -65520.0f, 1e9f,   3e38f,   -FLT_MAX, FLT_MAX};
    for (int i = 0; i < n_types; i++) {
        const moa_type *t = types[i];
        if (!t->quantize) continue;
        for (size_t s = 0; s < sizeof specials / sizeof *specials; s++)
            for (int mix = 0; mix < 3; mix++) { /* all equal; alternating signs; one among normals */
                normals(x, N, s, 1.0f);
                for (int j = 0; j < N; j++)
                    if (mix < 2 || j % 100 == 3) x[j] = mix == 1 && j % 2 ? -specials[s] : specials[s];
                t->quantize(q, x, NULL, N);
                t->dequantize(y, q, N);
                for (int j = 0; j < N; j++) assert_true(isfinite(y[j]));
                for (int j = 0; j < N && mix < 2; j++) {
                    if (fabsf(x[j]) < 1e-37f) assert_true(fabsf(y[j]) < 1e-37f);
                    /* A constant block of an ordinary size is kept well: within half a step. */
                    if (fabsf(x[j]) == 65504.0f) assert_true(fabsf(y[j] - x[j]) < 0.07f * fabsf(x[j]));
                }
            }
        if (t->block == 1) continue;
        for (int j = 0; j < N; j++) x[j] = j % 5 == 0 ? NAN : j % 5 == 1 ? INFINITY : 1.0f;
        t->quantize(q, x, NULL, N);
        t->dequantize(y, q, N);
        for (int j = 0; j < N; j++) assert_true(isfinite(y[j]));
        normals(x, N, 4, 1.0f);
        x[7] = NAN; /* one NaN counts as 0 and does not hurt its neighbours */
        t->quantize(q, x, NULL, N);
        t->dequantize(y, q, N);
        for (int j = 0; j < N; j++) assert_true(j == 7 ? fabsf(y[j]) < 0.2f : fabsf(x[j] - y[j]) < 0.35f);
    }
}

/* Random bytes are a legal block of any format: no index may leave its table. Scales may be anything then. */
static void random_bytes(void **state) {
    (void)state;
    uint8_t q[1024 + 1];
    float y[512], z[512];
    moa_rng r;
    moa_rng_seed(&r, 3);
    for (int round = 0; round < 200; round++)
        for (int i = 0; i < n_types; i++) {
            const moa_type *t = types[i];
            const int n = 512 / t->block * t->block;
            const size_t bytes = moa_row_bytes(t->id, n);
            if (t->block == 1) continue;
            for (size_t b = 0; b < bytes; b++) q[b + 1] = (uint8_t)moa_rng_u64(&r);
            t->dequantize(y, q + 1, n); /* odd address */
            moa_ints u;
            for (int k = 0; k < n; k += 256) {
                t->unpack(&u, q + 1 + (size_t)(k / t->block * t->bytes), 256);
                for (int j = 0; j < 256; j++) {
                    const float v = u.d[j / 16] * u.q[j];
                    z[k + j] = t->has_min ? v + u.m[j / 16] : v;
                }
            }
            for (int j = 0; j < 512; j++) /* which NaN comes out of two is the compiler's choice */
                if (!(isnan(y[j]) && isnan(z[j]))) assert_memory_equal(&y[j], &z[j], sizeof *y);
        }
}

int main(void) {
    types = moa_types(&n_types);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_blocks),  cmocka_unit_test(codebooks),    cmocka_unit_test(digits_of_entries),
        cmocka_unit_test(round_trips),  cmocka_unit_test(better_than_plain_search), cmocka_unit_test(importance_helps),
        cmocka_unit_test(hostile_inputs), cmocka_unit_test(random_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
