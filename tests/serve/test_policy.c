/* test_policy.c - patience with other servers: limits in any minute, the breaker's three states, Retry-After in its three forms, quantiles.
 * SPDX-License-Identifier: Apache-2.0 */
#include "serve/upstream/policy.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Whoever always asks gets the limit in every minute, no more, and no less by long. */
static void test_bucket(void **state) {
    static const double limits[] = {1, 5, 7, 60, 600, 12345};
    static double at[200000];
    (void)state;
    for (size_t k = 0; k < sizeof limits / sizeof *limits; k++) {
        moa_bucket b;
        int n = 0, first = 0;
        moa_bucket_init(&b, limits[k], 1000);
        for (double now = 1000; now < 1600 && n < 200000;) {
            const double wait = moa_bucket_wait(&b, 1, now);
            if (wait > 0) {
                now += wait;
                continue;
            }
            moa_bucket_take(&b, 1);
            at[n++] = now;
        }
        for (int i = 0; i < n; i++) {
            while (at[first] <= at[i] - 60) first++;
            if (i - first + 1 > limits[k] + 1e-9) fail_msg("limit %g: %d in the minute before %g", limits[k], i - first + 1, at[i]);
        }
        if (n < 0.8 * 10 * limits[k]) fail_msg("limit %g: %d in ten minutes", limits[k], n);
    }
}

static void test_bucket_costs(void **state) {
    moa_bucket b;
    (void)state;
    moa_bucket_init(&b, 0, 0);
    assert_true(moa_bucket_wait(&b, 1e9, 0) == 0); /* no limit */
    moa_bucket_init(&b, 6000, 0);                  /* 1000 at once, then 83.35 a second */
    assert_true(moa_bucket_wait(&b, 700, 0) == 0);
    moa_bucket_take(&b, 700);
    assert_float_equal(moa_bucket_wait(&b, 700, 0), 400 / (5001 / 60.0F), 1e-4);
    moa_bucket_take(&b, -600); /* it was 100 after all */
    assert_true(moa_bucket_wait(&b, 700, 0) == 0);
    moa_bucket_init(&b, 6000, 0);
    assert_true(moa_bucket_wait(&b, 5000, 0) == 0); /* more than the bucket holds: when it is full */
    moa_bucket_take(&b, 5000);
    assert_float_equal(moa_bucket_wait(&b, 1, 0), 4001 / (5001 / 60.0F), 1e-3);
}

static void test_breaker(void **state) {
    moa_breaker b = {.most = 3, .cool_s = 10};
    (void)state;
    for (int i = 0; i < 2; i++) moa_breaker_tell(&b, false, 100);
    moa_breaker_tell(&b, true, 100); /* in a row */
    for (int i = 0; i < 2; i++) moa_breaker_tell(&b, false, 100);
    assert_true(moa_breaker_wait(&b, 100) == 0);
    assert_false(moa_breaker_go(&b));
    moa_breaker_tell(&b, false, 100);
    assert_int_equal(b.state, MOA_BREAKER_OPEN);
    assert_float_equal(moa_breaker_wait(&b, 103), 7, 1e-9);
    moa_breaker_tell(&b, false, 104); /* one that was under way */
    assert_float_equal(moa_breaker_wait(&b, 104), 6, 1e-9);
    assert_true(moa_breaker_wait(&b, 110) == 0);
    assert_true(moa_breaker_go(&b));
    assert_true(moa_breaker_wait(&b, 111) > 0); /* one probe at a time */
    moa_breaker_tell(&b, false, 112);
    assert_float_equal(moa_breaker_wait(&b, 112), 10, 1e-9);
    assert_true(moa_breaker_go(&b));
    moa_breaker_withdraw(&b, 123);
    assert_true(moa_breaker_wait(&b, 123) == 0);
    assert_true(moa_breaker_go(&b));
    moa_breaker_tell(&b, true, 124);
    assert_int_equal(b.state, MOA_BREAKER_CLOSED);
    moa_breaker never = {.most = 0, .cool_s = 10};
    for (int i = 0; i < 1000; i++) moa_breaker_tell(&never, false, i);
    assert_true(moa_breaker_wait(&never, 1000) == 0);
}

static void test_retry_after(void **state) {
    static const struct { const char *line; double wait; } cases[] = {
        {"Retry-After: 7\r\n", 7}, {"retry-after:0.5\r\n", 0.5}, {"RETRY-AFTER-MS: 1500\r\n", 1.5}, {"Retry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 37},
        {"Retry-After: Sun, 06 Nov 1994 08:00:00 GMT\r\n", 0}, {"Retry-After: soon\r\n", -1}, {"Retry-After: -3\r\n", -1}, {"Retry-After: inf\r\n", -1},
        {"Retry-After:\r\n", -1}, {"X-Retry-After: 3\r\n", -1}, {"", -1}, {"retry-after-ms: Sun, 06 Nov 1994 08:49:37 GMT\r\n", -1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) /* 784111740 is Sun, 06 Nov 1994 08:49:00 GMT */
        if (fabs(moa_retry_after(cases[i].line, strlen(cases[i].line), 784111740) - cases[i].wait) > 1e-6)
            fail_msg("%s: %g", cases[i].line, moa_retry_after(cases[i].line, strlen(cases[i].line), 784111740));
}

static void test_backoff_and_quantiles(void **state) {
    moa_latency l = {0};
    (void)state;
    for (int t = 0; t < 40; t++) {
        const double mean = fmin(0.25 * pow(2, t), 20);
        assert_float_equal(moa_backoff(0.25, t, 0), mean / 2, 1e-9);
        assert_true(moa_backoff(0.25, t, UINT64_MAX) <= mean * 1.5 && moa_backoff(0.25, t, UINT64_MAX) > mean * 1.49);
    }
    for (int i = 1; i < MOA_LATENCIES_MIN; i++) moa_latency_add(&l, i);
    assert_true(moa_latency_quantile(&l, 0.95) < 0);
    moa_latency_add(&l, MOA_LATENCIES_MIN);
    assert_float_equal(moa_latency_quantile(&l, 0.95), 19, 1e-6); /* nearest rank of 1 to 20 */
    assert_float_equal(moa_latency_quantile(&l, 0.5), 10, 1e-6);
    for (int i = 0; i < MOA_LATENCIES; i++) moa_latency_add(&l, 3);
    assert_float_equal(moa_latency_quantile(&l, 1), 3, 1e-6); /* old ones are forgotten */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bucket), cmocka_unit_test(test_bucket_costs), cmocka_unit_test(test_breaker), cmocka_unit_test(test_retry_after),
                                       cmocka_unit_test(test_backoff_and_quantiles)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
