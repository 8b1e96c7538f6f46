/* test_rng.c - published vectors, uniformity, streams. SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"

#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* splitmix64 of 1234567 and xoshiro256++ from the state 1, 2, 3, 4: the values that other implementations
 * of Vigna's reference code publish in their tests. */
static void published_vectors(void **state) {
    (void)state;
    static const uint64_t mix[] = {6457827717110365317u, 3203168211198807973u, 9817491932198370423u, 4593380528125082431u};
    static const uint64_t xo[] = {41943041u, 58720359u, 3588806011781223u, 3591011842654386u, 9228616714210784205u, 9973669472204895162u};
    moa_rng r;
    moa_rng_seed(&r, 1234567);
    for (int i = 0; i < 4; i++) assert_true(r.s[i] == mix[i]);
    r = (moa_rng){{1, 2, 3, 4}};
    for (int i = 0; i < 6; i++) assert_true(moa_rng_u64(&r) == xo[i]);
}

static void below_is_uniform(void **state) {
    (void)state;
    moa_rng r;
    moa_rng_seed(&r, 7);
    static const uint32_t sizes[] = {1, 2, 3, 7, 10, 64};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        uint32_t n = sizes[k];
        int count[64] = {0};
        double chi = 0, each = 60000.0 / n;
        for (int i = 0; i < 60000; i++) {
            uint32_t v = moa_rng_below(&r, n);
            assert_true(v < n);
            count[v]++;
        }
        for (uint32_t v = 0; v < n; v++) chi += (count[v] - each) * (count[v] - each) / each;
        assert_true(chi < n - 1 + 5 * sqrt(2.0 * n)); /* mean n - 1, variance 2 (n - 1) */
    }
    for (int i = 0; i < 1000; i++) assert_true(moa_rng_below(&r, 0xFFFFFFFFu) < 0xFFFFFFFFu);
    int above = 0; /* 3 * 2^30 is where a modulo would show its bias: values below 2^30 twice as often */
    for (int i = 0; i < 30000; i++) above += moa_rng_below(&r, 3u << 30) >= 1u << 30;
    assert_true(abs(above - 20000) < 500);
}

static void ranges(void **state) {
    (void)state;
    moa_rng r;
    moa_rng_seed(&r, 3);
    int seen = 0;
    for (int i = 0; i < 1000; i++) {
        int v = moa_rng_range(&r, -2, 2);
        assert_in_range(v + 2, 0, 4);
        seen |= 1 << (v + 2);
    }
    assert_int_equal(seen, 31);
    assert_int_equal(moa_rng_range(&r, 5, 5), 5);
    int neg = 0;
    for (int i = 0; i < 1000; i++) neg += moa_rng_range(&r, INT_MIN, INT_MAX) < 0;
    assert_in_range(neg, 400, 600);
    for (int i = 0; i < 1000; i++) assert_true(moa_rng_range(&r, -2000000000, 2000000000) <= 2000000000);
}

static void reals(void **state) {
    (void)state;
    moa_rng r;
    moa_rng_seed(&r, 11);
    double sum = 0, n1 = 0, n2 = 0, n4 = 0;
    enum { N = 100000 };
    for (int i = 0; i < N; i++) {
        double u = moa_rng_f64(&r), z = moa_rng_normal(&r);
        float f = moa_rng_f32(&r);
        assert_true(u >= 0 && u < 1 && f >= 0 && f < 1 && isfinite(z));
        sum += u, n1 += z, n2 += z * z, n4 += z * z * z * z;
    }
    assert_true(fabs(sum / N - 0.5) < 0.005 && fabs(n1 / N) < 0.02 && fabs(n2 / N - 1) < 0.03 && fabs(n4 / N - 3) < 0.2);
}

static void streams_and_hashes(void **state) {
    (void)state;
    moa_rng a, b;
    moa_rng_seed2(&a, 1, 0);
    moa_rng_seed2(&b, 1, 0);
    for (int i = 0; i < 10; i++) assert_true(moa_rng_u64(&a) == moa_rng_u64(&b));
    uint64_t first[64];
    for (int i = 0; i < 64; i++) { /* 8 seeds x 8 streams start differently */
        moa_rng_seed2(&a, (uint64_t)i / 8, (uint64_t)i % 8);
        first[i] = moa_rng_u64(&a);
        for (int k = 0; k < i; k++) assert_true(first[k] != first[i]);
    }
    char text[40] = {0};
    uint64_t h[40];
    for (int n = 0; n < 40; n++) { /* zeros of each length differ, and so do seeds and single bits */
        h[n] = moa_hash64(text, (uint64_t)n, 5);
        for (int k = 0; k < n; k++) assert_true(h[k] != h[n]);
        assert_true(h[n] != moa_hash64(text, (uint64_t)n, 6));
    }
    for (int bit = 0; bit < 320; bit++) {
        text[bit / 8] ^= (char)(1 << bit % 8);
        assert_true(moa_hash64(text, 40, 5) != moa_hash64("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 40, 5));
        text[bit / 8] ^= (char)(1 << bit % 8);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(published_vectors), cmocka_unit_test(below_is_uniform), cmocka_unit_test(ranges), cmocka_unit_test(reals), cmocka_unit_test(streams_and_hashes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
