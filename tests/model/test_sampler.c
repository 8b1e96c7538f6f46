/* test_sampler.c - each cut against a plain definition by full sort, distributions, odd logits, the penalty, seeds.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/sampler.h"
#include "model/support.h"

enum { N = 50, DRAWS = 20000 };

static moa_sampler *make(moa_sampling c, int n) {
    moa_sampler *s = NULL;
    moa_err err = {0};
    OK(moa_sampler_new(&s, &c, n, &err));
    return s;
}

/* Probabilities after temperature, top-k, top-p, min-p by a full sort. */
static void define(double *p, const float *l, int n, const moa_sampling *c) {
    int id[N];
    double w[N], total = 0, sum = 0;
    for (int i = 0; i < n; i++) id[i] = i, p[i] = 0;
    for (int i = 0; i < n; i++)
        for (int j = i + 1; j < n; j++)
            if (l[id[j]] > l[id[i]] || (l[id[j]] == l[id[i]] && id[j] < id[i])) { const int t = id[i]; id[i] = id[j]; id[j] = t; }
    const int k = c->top_k ? c->top_k : n;
    for (int i = 0; i < k; i++) total += w[i] = exp((double)(l[id[i]] - l[id[0]]) / (double)c->temperature);
    int kept = 0;
    for (; kept < k; kept++) {
        if (kept && c->top_p < 1 && sum >= (double)c->top_p * total) break;
        if (kept && w[kept] < (double)c->min_p * w[0]) break;
        sum += w[kept];
    }
    for (int i = 0; i < kept; i++) p[id[i]] = w[i] / sum;
}

static void test_distribution(void **state) {
    (void)state;
    static const moa_sampling cfg[] = {
        {.temperature = 1, .top_p = 1, .repeat_penalty = 1, .seed = 1}, {.temperature = 0.5f, .top_p = 1, .repeat_penalty = 1, .seed = 2},
        {.temperature = 1, .top_k = 5, .top_p = 1, .repeat_penalty = 1, .seed = 3}, {.temperature = 1, .top_p = 0.6f, .repeat_penalty = 1, .seed = 4},
        {.temperature = 1, .top_p = 1, .min_p = 0.2f, .repeat_penalty = 1, .seed = 5},
        {.temperature = 1.5f, .top_k = 20, .top_p = 0.8f, .min_p = 0.1f, .repeat_penalty = 1, .seed = 6},
    };
    float l[N];
    moa_rng r;
    moa_rng_seed(&r, 5);
    for (int i = 0; i < N; i++) l[i] = (float)moa_rng_normal(&r) * 2;
    l[7] = l[9]; /* a tie */
    for (size_t c = 0; c < sizeof cfg / sizeof *cfg; c++) {
        double p[N];
        int seen[N] = {0};
        define(p, l, N, &cfg[c]);
        moa_sampler *s = make(cfg[c], N);
        for (int i = 0; i < DRAWS; i++) seen[moa_sampler_next(s, l, NULL)]++;
        for (int i = 0; i < N; i++) {
            if (p[i] == 0) assert_int_equal(seen[i], 0);
            assert_true(fabs(seen[i] / (double)DRAWS - p[i]) <= 5 * sqrt(p[i] * (1 - p[i]) / DRAWS) + 1e-4);
        }
        moa_sampler_free(s);
    }
}

static void test_greedy_and_logprob(void **state) {
    (void)state;
    const float l[4] = {1, 3, 3, 2};
    float lp;
    moa_sampling c = moa_sampling_defaults();
    c.temperature = 0;
    moa_sampler *s = make(c, 4);
    assert_int_equal(moa_sampler_next(s, l, &lp), 1); /* tie: the lower id */
    assert_true(fabs((double)lp - (3 - log(exp(1) + 2 * exp(3) + exp(2)))) < 1e-5);
    moa_sampler_free(s);
}

static void test_penalty(void **state) {
    (void)state;
    const float l[3] = {2, 1.5f, -1}, both[3] = {-1, -1.5f, -3};
    moa_sampling c = {.top_p = 1, .repeat_penalty = 2, .repeat_last = 2, .seed = 1};
    moa_sampler *s = make(c, 3);
    moa_sampler_accept(s, 0);
    moa_sampler_accept(s, 0); /* once for each distinct token: 2 / 2, not 2 / 4 */
    assert_int_equal(moa_sampler_next(s, l, NULL), 1);
    assert_int_equal(moa_sampler_next(s, both, NULL), 1); /* -1 * 2 < -1.5 */
    moa_sampler_accept(s, 2);
    moa_sampler_accept(s, 2); /* 0 has left the window */
    assert_int_equal(moa_sampler_next(s, l, NULL), 0);
    moa_sampler_accept(s, -5);
    moa_sampler_accept(s, 99); /* foreign ids are ignored */
    assert_int_equal(moa_sampler_next(s, l, NULL), 0);
    moa_sampler_free(s);
}

/* The most probable tokens by a plain search, ties to the lower id, more than there are; their probabilities sum to one. */
static void test_top(void **state) {
    float l[N], lp;
    moa_rng r;
    moa_token_prob top[MOA_TOP_MAX], all[N];
    (void)state;
    moa_rng_seed(&r, 11);
    for (int i = 0; i < N; i++) l[i] = (float)moa_rng_below(&r, 20) / 4;
    l[3] = NAN;
    moa_sampler *s = make((moa_sampling){.top_p = 1, .repeat_penalty = 1}, N);
    moa_sampler_top(s, l, top, MOA_TOP_MAX);
    moa_sampler_top(s, l, all, N);
    double sum = 0;
    for (int i = 0; i < N; i++) sum += exp((double)all[i].logprob);
    assert_float_equal(sum, 1, 1e-5);
    for (int i = 0; i < MOA_TOP_MAX; i++) {
        assert_int_equal(top[i].id, all[i].id);
        for (int j = 0; j < N; j++) /* nobody outside is before it */
            if (l[j] > l[top[i].id] || (l[j] == l[top[i].id] && j < top[i].id)) {
                bool in = false;
                for (int k = 0; k < i; k++) in |= top[k].id == j;
                assert_true(in);
            }
    }
    assert_int_equal(moa_sampler_next(s, l, &lp), top[0].id); /* greedy */
    assert_float_equal(lp, top[0].logprob, 1e-5);
    moa_sampler_free(s);
}

/* l + bias - presence [count > 0] - frequency count, counted from the reply's beginning. */
static void test_bias_and_reply_penalties(void **state) {
    const moa_bias bias[] = {{2, 3}, {4, -100}, {N + 5, 7}};
    float l[N] = {0};
    (void)state;
    l[1] = 2.5f, l[4] = 50;
    moa_sampler *s = make((moa_sampling){.top_p = 1, .repeat_penalty = 1, .presence_penalty = 0.2f, .frequency_penalty = 0.2f}, N);
    for (int i = 0; i < 30; i++) moa_sampler_accept(s, 2); /* the prompt's */
    moa_sampler_begin(s);
    moa_sampler_bias(s, bias, 3);
    /* 2 has 3 - 0.2 - 0.2 k after k times, 1 has 2.5 - ...: 3, 2.6 | 2.5: 2 again, then 2.4 < 2.5: 1, then 2.1 < 2.4: 2 */
    static const int want[] = {2, 2, 1, 2, 2, 1};
    for (int i = 0; i < 6; i++) {
        const int32_t t = moa_sampler_next(s, l, NULL);
        assert_int_equal(t, want[i]);
        moa_sampler_accept(s, t);
    }
    moa_sampler_free(s);
}

static void test_odd_logits(void **state) {
    (void)state;
    static const float temps[] = {0, 1e-38f, 0.7f, 100};
    for (size_t i = 0; i < sizeof temps / sizeof *temps; i++) {
        moa_sampling c = {.temperature = temps[i], .top_p = 0.9f, .top_k = 3, .repeat_penalty = 1, .seed = 3};
        moa_sampler *s = make(c, 4);
        float lp;
        for (int k = 0; k < 50; k++) {
            assert_int_equal(moa_sampler_next(s, (float[]){NAN, -INFINITY, 1, -INFINITY}, &lp), 2);
            const int32_t t = moa_sampler_next(s, (float[]){NAN, INFINITY, 1e30f, INFINITY}, &lp);
            assert_true(t == 1 || t == 3);
            assert_int_equal(moa_sampler_next(s, (float[]){NAN, NAN, -INFINITY, NAN}, &lp), -1);
        }
        moa_sampler_free(s);
    }
    /* A penalty below 1 may raise a logit beyond what a float holds. */
    moa_sampling c = {.temperature = 1, .top_p = 1, .repeat_penalty = 0.1f, .repeat_last = 8, .seed = 3};
    moa_sampler *s = make(c, 4);
    moa_sampler_accept(s, 1);
    for (int k = 0; k < 20; k++) assert_int_equal(moa_sampler_next(s, (float[]){0, 3e38f, -1, 0}, NULL), 1);
    moa_sampler_free(s);
}

/* What a grammar does not allow is never chosen, however likely; where nothing that it allows has a finite logit, nothing is. */
static void test_mask(void **state) {
    (void)state;
    enum { MANY = 130 }; /* three words of mask, the last one in part */
    float l[MANY], lp;
    moa_rng r;
    moa_rng_seed(&r, 9);
    for (int i = 0; i < MANY; i++) l[i] = (float)moa_rng_normal(&r) * 3;
    static const float temps[] = {0, 1};
    for (size_t t = 0; t < 2; t++) {
        moa_sampling c = {.temperature = temps[t], .top_p = 1, .repeat_penalty = 1, .seed = 3};
        moa_sampler *s = make(c, MANY);
        for (int k = 0; k < 500; k++) {
            uint64_t mask[3] = {moa_rng_u64(&r) & moa_rng_u64(&r), 0, moa_rng_u64(&r)}; /* bits beyond the vocabulary mean nothing */
            const int32_t got = moa_sampler_pick(s, l, mask, &lp);
            assert_true(got >= 0 && got < MANY && mask[got / 64] >> (got % 64) & 1);
            if (t == 0) /* greedy: the best of those allowed */
                for (int i = 0; i < MANY; i++) assert_false((mask[i / 64] >> (i % 64) & 1) && (l[i] > l[got] || (l[i] == l[got] && i < got)));
        }
        const uint64_t none[3] = {0}, one[3] = {0, 1, 0};
        assert_int_equal(moa_sampler_pick(s, l, none, &lp), -1);
        assert_true(isinf(lp) && lp < 0);
        const float kept = l[64];
        for (int i = 0; i < 2; i++) {
            l[64] = i ? NAN : -INFINITY;
            assert_int_equal(moa_sampler_pick(s, l, one, NULL), -1);
        }
        l[64] = kept;
        assert_int_equal(moa_sampler_pick(s, l, one, NULL), 64);
        moa_sampler_free(s);
    }
}

static void test_seeds(void **state) {
    (void)state;
    float l[N] = {0};
    moa_sampling c = moa_sampling_defaults();
    moa_sampler *a = make(c, N), *b = make(c, N);
    int32_t first[20];
    int differ = 0;
    for (int i = 0; i < 20; i++) {
        first[i] = moa_sampler_next(a, l, NULL);
        assert_int_equal(first[i], moa_sampler_next(b, l, NULL));
    }
    moa_sampler_reset(a, &c);
    c.seed = 2;
    moa_sampler_reset(b, &c);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(moa_sampler_next(a, l, NULL), first[i]);
        differ += moa_sampler_next(b, l, NULL) != first[i];
    }
    assert_true(differ > 10);
    moa_sampler_free(a);
    moa_sampler_free(b);
}

static void test_ranges(void **state) {
    (void)state;
    static const struct { moa_sampling c; const char *field; } bad[] = {
        {{.temperature = -1, .top_p = 1, .repeat_penalty = 1}, "temperature"}, {{.temperature = NAN, .top_p = 1, .repeat_penalty = 1}, "temperature"},
        {{.top_k = -1, .top_p = 1, .repeat_penalty = 1}, "top_k"},             {{.top_p = 0, .repeat_penalty = 1}, "top_p"},
        {{.top_p = 1.1f, .repeat_penalty = 1}, "top_p"},                       {{.top_p = 1, .min_p = 2, .repeat_penalty = 1}, "min_p"},
        {{.top_p = 1, .repeat_penalty = 0}, "repeat_penalty"},                 {{.top_p = 1, .repeat_penalty = 1, .repeat_last = 5000}, "repeat_last"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        moa_err err = {0};
        assert_int_equal(moa_sampling_check(&bad[i].c, &err), MOA_EINVAL);
        assert_non_null(strstr(err.text, bad[i].field));
    }
    const moa_sampling good = moa_sampling_defaults();
    assert_int_equal(moa_sampling_check(&good, NULL), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_distribution), cmocka_unit_test(test_greedy_and_logprob), cmocka_unit_test(test_penalty), cmocka_unit_test(test_top), cmocka_unit_test(test_bias_and_reply_penalties),
        cmocka_unit_test(test_odd_logits),   cmocka_unit_test(test_mask), cmocka_unit_test(test_seeds),              cmocka_unit_test(test_ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
