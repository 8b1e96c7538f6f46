/* test_compare.c - judges whose taste is known: one that likes the first reply, one that likes the longer one, one that likes the right one. The controls must
 * show which is which.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/scripted.h"

#include "agent/compare.h"

#include <stdlib.h>
#include <string.h>

enum { N = 120 };

static int number(const char *s) { return (int)strtol(s + 1, NULL, 10); }
static const char *asked(const moa_call *c) { return c->msg[c->n_msg - 1].content; }

/* Short and right two times in three. */
static int terse(scripted *s, int i, const moa_call *c, char *out, size_t n) {
    (void)s, (void)i;
    snprintf(out, n, "%s%.*s", number(asked(c)) % 3 ? "right" : "wrong", number(asked(c)) % 5, ".....");
    return 0;
}
/* Longer by a varying amount, now and then shorter; right one time in three. */
static int wordy(scripted *s, int i, const moa_call *c, char *out, size_t n) {
    (void)s, (void)i;
    const int q = number(asked(c)), pad = q % 4 == 1 ? 0 : (q * 37) % 200;
    snprintf(out, n, "%s%*s", q % 3 == 0 ? "right" : "wrong", pad + 1, "!");
    return 0;
}

static void sides(const moa_call *c, const char **a, size_t *n_a, const char **b, size_t *n_b) {
    *a = strstr(asked(c), "== A ==\n") + 8, *b = strstr(asked(c), "== B ==\n") + 8;
    *n_a = strcspn(*a, "\n"), *n_b = strcspn(*b, "\n");
}
static int likes_first(scripted *s, int i, const moa_call *c, char *out, size_t n) { return (void)s, (void)i, (void)c, snprintf(out, n, "Better: A"), 0; }
static int likes_long(scripted *s, int i, const moa_call *c, char *out, size_t n) {
    const char *a, *b;
    size_t n_a, n_b;
    (void)s, (void)i;
    sides(c, &a, &n_a, &b, &n_b);
    return snprintf(out, n, "Better: %s", n_a > n_b ? "A" : n_b > n_a ? "B" : "tie"), 0;
}
static int likes_right(scripted *s, int i, const moa_call *c, char *out, size_t n) {
    const char *a, *b;
    size_t n_a, n_b;
    (void)s, (void)i;
    sides(c, &a, &n_a, &b, &n_b);
    return snprintf(out, n, "I see.\nBetter: %s", *a == *b ? "tie" : *a == 'r' ? "A" : "B"), 0;
}
static int says_nothing(scripted *s, int i, const moa_call *c, char *out, size_t n) { return (void)s, (void)i, (void)c, snprintf(out, n, "Both have their merits."), 0; }
static int is_dead(scripted *s, int i, const moa_call *c, char *out, size_t n) { return (void)s, (void)i, (void)c, (void)out, (void)n, MOA_EIO; }

typedef struct bench { scripted s[2], judge; moa_mix_spec mix[2]; moa_taskset *t; moa_eval e; } bench;

static void bench_new(bench *w, scripted_fn judge) {
    moa_err err = {0};
    moa_buf b;
    *w = (bench){0};
    moa_buf_init(&b, 1 << 20);
    for (int i = 1; i <= N; i++) moa_buf_addf(&b, "{\"instruction\": \"q%d\", \"output\": \"right or not\"}\n", i);
    assert_int_equal(moa_taskset_text(&w->t, moa_buf_str(&b), b.len, "tasks", NULL, &err), 0);
    moa_buf_deinit(&b);
    scripted_init(&w->s[0], "terse", terse), scripted_init(&w->s[1], "wordy", wordy), scripted_init(&w->judge, "judge", judge);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(moa_mix_spec_parse(&w->mix[i], "greedy", &err), 0);
        w->mix[i].bound[0] = &w->s[i].base, w->mix[i].cfg.proposer = w->mix[i].bound, w->mix[i].cfg.n_proposer = 1;
    }
    w->e = (moa_eval){.tasks = w->t, .mix = w->mix, .n_mix = 2, .n_seed = 1, .seed = 1, .keep = true};
    assert_int_equal(moa_eval_run(&w->e, NULL, NULL, &err), 0);
}

static void bench_end(bench *w) {
    moa_eval_deinit(&w->e);
    for (int i = 0; i < 2; i++) moa_mix_spec_deinit(&w->mix[i]), scripted_deinit(&w->s[i]);
    scripted_deinit(&w->judge);
    moa_taskset_free(w->t);
}

static moa_compare judged(scripted_fn judge, int against) {
    bench w;
    moa_compare c;
    moa_err err = {0};
    bench_new(&w, judge);
    if (moa_compare_run(&c, &w.e, 1, against, &w.judge.base, 64, NULL, NULL, &err) < 0) fail_msg("%s", err.text);
    assert_int_equal(w.judge.calls, 2 * N);
    assert_int_equal(c.won + c.lost + c.tied, N);
    bench_end(&w);
    return c;
}

static void test_first(void **state) {
    (void)state;
    const moa_compare c = judged(likes_first, 0);
    assert_true(c.won == 0 && c.lost == 0 && c.tied == N && c.by_order == N && c.first == 2 * N && c.said == 2 * N); /* all of it by order: nothing won */
    assert_true(c.p.win > 0.499 && c.p.win < 0.501);
}

static void test_long(void **state) {
    (void)state;
    const moa_compare c = judged(likes_long, 0);
    assert_true(c.by_order == 0 && c.longer == c.said);
    assert_true(c.p.win > 0.7 && c.p.win_ci[0] > 0.6 && c.p.length > 1); /* raw, the wordy one is better */
    assert_true(c.p.even < c.p.win - 0.1); /* at equal length much less of it is left */
}

static void test_right(void **state) {
    (void)state;
    const moa_compare c = judged(likes_right, 0);
    assert_true(c.won == N / 3 && c.lost == N - N / 3 && c.by_order == 0);
    assert_true(c.p.win < 0.4 && c.p.even_ci[1] < 0.5);
    const moa_compare r = judged(likes_right, MOA_AGAINST_REFERENCE);
    assert_true(r.lost == N - N / 3 && r.tied == N / 3);
}

static void test_nothing(void **state) {
    (void)state;
    const moa_compare c = judged(says_nothing, 0);
    assert_true(c.tied == N && c.none == 2 * N && c.said == 0 && c.by_order == 0);
    bench w;
    moa_compare d;
    moa_err err = {0};
    bench_new(&w, is_dead);
    assert_int_equal(moa_compare_run(&d, &w.e, 1, 0, &w.judge.base, 64, NULL, NULL, &err), MOA_EIO); /* nobody judged: no result */
    free(w.e.answer[N + 3]), w.e.answer[N + 3] = NULL;
    w.judge.reply = likes_first;
    assert_int_equal(moa_compare_run(&d, &w.e, 1, 0, &w.judge.base, 64, NULL, NULL, &err), 0);
    assert_true(d.skipped == 1 && d.p.n == N - 1);
    bench_end(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_first), cmocka_unit_test(test_long), cmocka_unit_test(test_right), cmocka_unit_test(test_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
