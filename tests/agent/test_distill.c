/* test_distill.c - data from mixtures on scripted models: answers, consensus, preferences with a judge in both orders; a work that dies anywhere goes on and
 * comes to the same file, and pays for nothing twice.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/scripted.h"

#include "agent/distill.h"
#include "base/file.h"
#include "base/json.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct bench {
    scripted s[3]; moa_journal *journal; moa_backend *b[3];
    moa_mix_spec mix[3], judge, agree;
    moa_taskset *t;
    char dir[32], out[64], journal_path[80], work[80];
    moa_distill d;
} bench;

static void bind(bench *w, moa_mix_spec *s, const char *text, int model) {
    moa_err err = {0};
    *s = (moa_mix_spec){0};
    if (moa_mix_spec_parse(s, text, &err) < 0) fail_msg("%s", err.text);
    s->bound[0] = w->b[model], s->cfg.proposer = s->bound, s->cfg.n_proposer = 1;
}

static void bench_new(bench *w, const char *prompts, const scripted_fn fn[3]) {
    moa_err err = {0};
    static const char *const id[3] = {"a", "b", "c"};
    *w = (bench){0};
    strncpy(w->dir, "/tmp/moa-distill-XXXXXX", sizeof w->dir - 1);
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->out, sizeof w->out, "%s/out.jsonl", w->dir);
    snprintf(w->work, sizeof w->work, "%s.work", w->out);
    snprintf(w->journal_path, sizeof w->journal_path, "%s.journal", w->out);
    if (moa_taskset_text(&w->t, prompts, strlen(prompts), "prompts", NULL, &err) < 0) fail_msg("%s", err.text);
    if (moa_journal_open(&w->journal, w->journal_path, &err) < 0) fail_msg("%s", err.text);
    for (int i = 0; i < 3; i++) {
        scripted_init(&w->s[i], id[i], fn[i]);
        w->s[i].base.fingerprint = 100 + (uint64_t)i;
        assert_int_equal(moa_backend_journal_open(&w->b[i], w->journal, &w->s[i].base, &err), 0);
    }
    w->d = (moa_distill){.prompts = w->t, .mix = w->mix, .n_mix = 1, .samples = 3, .min_rouge = 1, .seed = 1, .chunk = 2, .out = w->out, .what = "a test"};
}

static void bench_end(bench *w) {
    for (int i = 0; i < 3; i++) moa_mix_spec_deinit(&w->mix[i]), moa_backend_close(w->b[i]), scripted_deinit(&w->s[i]);
    moa_mix_spec_deinit(&w->judge);
    moa_mix_spec_deinit(&w->agree);
    moa_journal_close(w->journal);
    moa_taskset_free(w->t);
    unlink(w->out), unlink(w->work), unlink(w->journal_path);
    rmdir(w->dir);
}

static char *run_it(bench *w, moa_distill_cb cb, void *ctx, int want) {
    moa_err err = {0};
    char *text = NULL;
    size_t n;
    const int rc = moa_distill_run(&w->d, cb, ctx, &err);
    if (rc != want) fail_msg("%d: %s", rc, err.text);
    if (rc == 0 && moa_read_file(&text, &n, w->out, 1 << 24, &err) < 0) fail_msg("%s", err.text);
    return text;
}

static const char *asked(const moa_call *c) { return c->msg[c->n_msg - 1].content; }

/* The answer to "qN" is N; b errs on even ones, c on multiples of three. */
static int say(char *out, size_t n, const moa_call *c, int wrong_every) {
    const int q = (int)strtol(asked(c) + 1, NULL, 10);
    snprintf(out, n, "Let me see.\nAnswer: %d", wrong_every && q % wrong_every == 0 ? q + 100 * wrong_every : q);
    return 0;
}
static int say_a(scripted *s, int i, const moa_call *c, char *out, size_t n) { return (void)s, (void)i, say(out, n, c, 0); }
static int say_b(scripted *s, int i, const moa_call *c, char *out, size_t n) { return (void)s, (void)i, say(out, n, c, 2); }
static int say_c(scripted *s, int i, const moa_call *c, char *out, size_t n) { return (void)s, (void)i, say(out, n, c, 3); }
static const scripted_fn three[3] = {say_a, say_b, say_c};
static const char prompts[] = "{\"question\": \"q1\", \"answer\": \"1\"}\n{\"question\": \"q2\", \"answer\": \"2\"}\n{\"prompt\": \"Q1 \"}\n{\"question\": \"q6\", \"answer\": \"6\"}\n"
                              "{\"question\": \"q3\", \"answer\": \"3\"}\n{\"question\": \"q5\", \"answer\": \"5\"}\n";

static void test_answers(void **state) {
    (void)state;
    bench w;
    bench_new(&w, prompts, three);
    bind(&w, &w.mix[0], "greedy", 1);
    char *text = run_it(&w, NULL, NULL, 0);
    static const char first[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"q1\"},{\"role\":\"assistant\",\"content\":\"Let me see.\\nAnswer: 1\"}],\"mix\":\"greedy\"}\n";
    assert_memory_equal(text, first, sizeof first - 1);
    const moa_distill_sum *s = &w.d.sum;
    assert_true(s->prompts == 5 && s->repeated == 1 && s->kept == 5 && s->calls == 5 && s->known == 5 && s->right == 3 && s->kept_right == 3);
    assert_int_equal(w.s[1].calls, 5);
    assert_int_equal(access(w.work, F_OK), -1);
    free(text);
    moa_err err = {0};
    assert_int_equal(moa_distill_run(&w.d, NULL, NULL, &err), MOA_EINVAL); /* finished */
    assert_non_null(strstr(err.hint, "--fresh"));
    bench_end(&w);
}

static void test_consensus(void **state) {
    (void)state;
    bench w;
    bench_new(&w, prompts, three);
    w.d.kind = MOA_DISTILL_CONSENSUS, w.d.n_mix = 3;
    for (int i = 0; i < 3; i++) bind(&w, &w.mix[i], "greedy", i);
    char *text = run_it(&w, NULL, NULL, 0);
    const moa_distill_sum *s = &w.d.sum;
    assert_true(s->prompts == 5 && s->kept == 4 && s->dropped == 1); /* q6: three answers */
    assert_true(s->kept_right == 4 && s->kept_known == 4 && s->known == 15 && s->right == 5 + 3 + 3);
    assert_null(strstr(text, "q6"));
    free(text);
    bench_end(&w);
}

/* Samples that differ by their length, and a judge that looks at the replies: the good one is the one that says so. */
static int sample(scripted *s, int i, const moa_call *c, char *out, size_t n) {
    (void)s, (void)c;
    static const char *const text[3] = {"poor", "good and sound", "fair enough"};
    snprintf(out, n, "%s", text[i % 3]);
    return 0;
}
static int rank_of(const char *s) { return !strncmp(s, "good", 4) ? 2 : !strncmp(s, "fair", 4) ? 1 : 0; }
static int judge_well(scripted *s, int i, const moa_call *c, char *out, size_t n) {
    (void)s, (void)i;
    const char *a = strstr(asked(c), "== A ==\n"), *b = strstr(asked(c), "== B ==\n");
    if (!a) return snprintf(out, n, "Answer: clarity, depth, relevance"), 0;
    snprintf(out, n, "Better: %s", rank_of(a + 8) > rank_of(b + 8) ? "A" : "B");
    return 0;
}
static int judge_first(scripted *s, int i, const moa_call *c, char *out, size_t n) { return (void)s, (void)i, (void)c, snprintf(out, n, "Answer: A"), 0; }

static void test_preferences(void **state) {
    (void)state;
    bench w;
    bench_new(&w, "{\"prompt\": \"one\"}\n{\"prompt\": \"two\"}", (const scripted_fn[3]){sample, judge_well, judge_first});
    w.d.kind = MOA_DISTILL_PREFERENCES, w.d.criteria = 3, w.d.judge = &w.judge;
    bind(&w, &w.mix[0], "single", 0);
    bind(&w, &w.judge, "greedy", 1);
    char *text = run_it(&w, NULL, NULL, 0);
    assert_non_null(strstr(text, "\"chosen\":[{\"role\":\"assistant\",\"content\":\"good and sound\"}],\"rejected\":[{\"role\":\"assistant\",\"content\":\"poor\"}]"));
    assert_non_null(strstr(text, "\"criteria\":\"clarity ("));
    assert_true(w.d.sum.kept == 2 && w.d.sum.calls == 2 * (3 + 1 + 6));
    assert_non_null(strstr(moa_buf_str(&w.s[1].log), "What counts: clarity"));
    free(text);
    moa_mix_spec_deinit(&w.judge);
    bind(&w, &w.judge, "greedy", 2); /* whoever stands first: all ties */
    w.d.fresh = true, w.d.criteria = 0;
    text = run_it(&w, NULL, NULL, 0);
    assert_true(w.d.sum.kept == 0 && w.d.sum.dropped == 2 && !*text);
    free(text);
    bench_end(&w);
}

static int vary(scripted *s, int i, const moa_call *c, char *out, size_t n) { return (void)s, (void)c, snprintf(out, n, "Answer: %d", i % 3 == 0 ? 9 : 4), 0; }
static int four(scripted *s, int i, const moa_call *c, char *out, size_t n) { return (void)s, (void)i, (void)c, snprintf(out, n, "So\nAnswer: 4.0"), 0; }

static void test_agree(void **state) {
    (void)state;
    bench w;
    bench_new(&w, "{\"prompt\": \"one\"}", (const scripted_fn[3]){vary, four, four});
    w.d.kind = MOA_DISTILL_PREFERENCES, w.d.agree = &w.agree;
    bind(&w, &w.mix[0], "single", 0);
    bind(&w, &w.agree, "greedy", 1);
    char *text = run_it(&w, NULL, NULL, 0);
    assert_non_null(strstr(text, "\"chosen\":[{\"role\":\"assistant\",\"content\":\"Answer: 4\"}],\"rejected\":[{\"role\":\"assistant\",\"content\":\"Answer: 9\"}]"));
    free(text);
    bench_end(&w);
}

/* ---- stopped and gone on ---- */

static bool stop_after(void *ctx, const moa_distill *d) {
    (void)d;
    return --*(int *)ctx >= 0;
}

static void test_resume(void **state) {
    (void)state;
    char *want = NULL;
    for (int stop = -1; stop < 40; stop++) { /* -1: not at all */
        bench w;
        bench_new(&w, prompts, three);
        w.d.kind = MOA_DISTILL_CONSENSUS, w.d.n_mix = 3;
        for (int i = 0; i < 3; i++) bind(&w, &w.mix[i], "greedy", i);
        int left = stop;
        moa_err err = {0};
        if (stop >= 0 && moa_distill_run(&w.d, stop_after, &left, &err) < 0) {
            assert_int_equal(err.code, MOA_ECANCELED);
            FILE *f = fopen(w.work, "ab"); /* and died while it wrote a line */
            fputs("{\"item\":4,\"ca", f);
            fclose(f);
            w.d.what = "another";
            assert_int_equal(moa_distill_run(&w.d, NULL, NULL, &err), MOA_EINVAL);
            w.d.what = "a test";
        } else if (stop >= 0) {
            bench_end(&w);
            break;
        }
        char *text = run_it(&w, NULL, NULL, 0);
        if (stop < 0) want = text;
        else {
            assert_string_equal(text, want);
            free(text);
        }
        assert_int_equal(w.s[0].calls + w.s[1].calls + w.s[2].calls, 15); /* nothing was asked twice */
        assert_true(w.d.sum.prompts == 5 && w.d.sum.kept == 4 && w.d.sum.repeated == 1 && w.d.sum.calls == 15);
        bench_end(&w);
    }
    free(want);
}

static int dies(scripted *s, int i, const moa_call *c, char *out, size_t n) { return i < 3 && s->logprob >= 0 ? MOA_EIO : say(out, n, c, 0); }

static void test_failures(void **state) {
    (void)state;
    bench w;
    bench_new(&w, prompts, (const scripted_fn[3]){dies, say_b, say_c});
    bind(&w, &w.mix[0], "greedy", 0);
    char *text = run_it(&w, NULL, NULL, 0);
    assert_true(w.d.sum.failed == 3 && w.d.sum.kept == 2 && w.d.first_error.code == MOA_EIO);
    free(text);
    bench_end(&w);
}

static void test_bad(void **state) {
    (void)state;
    static const struct { const char *work, *want; } bad[] = {
        {"{\"item\":0}\n", "no work that moa began"}, {"{\"work\":\"a test\"}\n{\"item\":77}\n", "item 77"}, {"{\"work\":\"a test\"}\n{\"item\":0,\"came\":\"kept\"}\n{\"item\":0,\"came\":\"kept\"}\n", "once more"},
        {"{\"work\":\"a test\"}\nnonsense\n", ":2"}, {"{\"work\":\"a test\"}\n{\"item\":\"x\"}\n", "item"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        bench w;
        moa_err err = {0};
        bench_new(&w, prompts, three);
        bind(&w, &w.mix[0], "greedy", 0);
        FILE *f = fopen(w.work, "wb");
        fputs(bad[i].work, f);
        fclose(f);
        assert_true(moa_distill_run(&w.d, NULL, NULL, &err) < 0);
        if (!strstr(err.text, bad[i].want)) fail_msg("'%s' does not say '%s'", err.text, bad[i].want);
        bench_end(&w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_answers), cmocka_unit_test(test_consensus), cmocka_unit_test(test_preferences), cmocka_unit_test(test_agree),
                                       cmocka_unit_test(test_resume), cmocka_unit_test(test_failures), cmocka_unit_test(test_bad)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
