/* test_recorded.c - recorded replies as models: who answers what, samples in turn, what is said where nothing is recorded; evaluations over them.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/scripted.h"

#include "agent/backend/recorded.h"
#include "agent/eval.h"
#include "agent/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void write_file(char path[32], const char *text) {
    strncpy(path, "/tmp/moa-recorded-XXXXXX", 32);
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static moa_taskset *tasks_of(const char *text) {
    moa_err err = {0};
    moa_taskset *t;
    if (moa_taskset_text(&t, text, strlen(text), "tasks", NULL, &err) < 0) fail_msg("%s", err.text);
    return t;
}

static moa_recorded *recorded_of(const moa_taskset *t, const char *model, const char *text) {
    moa_err err = {0};
    moa_recorded *r;
    char path[32], spec[64];
    write_file(path, text);
    snprintf(spec, sizeof spec, "%s%s%s", model ? model : "", model ? "=" : "", path);
    assert_int_equal(moa_recorded_new(&r, t, &err), 0);
    if (moa_recorded_add(r, spec, &err) < 0) fail_msg("%s", err.text);
    unlink(path);
    return r;
}

/* What the backend says to call number `sample`. NULL: it fails. */
static const char *said(char out[256], moa_backend *b, const char *question, int sample) {
    const moa_message m = {"user", question};
    moa_call c = {.msg = &m, .n_msg = 1, .sample = sample, .sampling = moa_sampling_defaults(), .max_tokens = 9};
    moa_err err = {0};
    assert_int_equal(moa_backend_complete(b, &c, 1, NULL, NULL, &err), 0);
    snprintf(out, 256, "%.255s", c.rc < 0 ? c.err.text : c.res.text);
    const bool ok = c.rc >= 0;
    moa_gen_res_deinit(&c.res);
    return ok ? out : NULL;
}

static void test_forms(void **state) {
    (void)state;
    char text[256];
    moa_err err = {0};
    moa_backend *b, *none;
    moa_taskset *t = tasks_of("{\"prompt\": \"one?\", \"id\": \"q1\"}\n{\"prompt\": \"two?\", \"id\": \"q2\"}");
    moa_recorded *r = recorded_of(t, NULL, "{\"model\": \"m\", \"question\": \"one?\", \"replies\": [\"a\", \"b\", \"c\"]}\n{\"model\": \"n\", \"id\": \"q2\", \"replies\": \"z\"}");
    assert_int_equal(moa_backend_recorded_open(&b, r, NULL, &err), 0);
    assert_string_equal(b->id, "m");
    char three[3][256];
    for (int i = 0; i < 3; i++) assert_non_null(said(three[i], b, "one?", i));
    assert_true(three[0][0] + three[1][0] + three[2][0] == 'a' + 'b' + 'c' && strcmp(three[0], three[1]) && strcmp(three[1], three[2])); /* each once */
    assert_string_equal(said(text, b, "one?", 4), three[1]); /* from the front again */
    assert_null(said(text, b, "two?", 0));
    assert_non_null(strstr(text, "no reply to 'two?'"));
    moa_backend_close(b);
    assert_int_equal(moa_backend_recorded_open(&b, r, "n", &err), 0);
    assert_string_equal(said(text, b, "two?", 7), "z");
    moa_backend_close(b);
    assert_int_equal(moa_backend_recorded_open(&none, r, "nn", &err), MOA_ENOTFOUND);
    assert_non_null(strstr(err.text, "there are those of m, n"));
    moa_recorded_free(r);
    r = recorded_of(t, "coder", "{\"q1\": [\"x\", \"y\"], \"q2\": \"w\", \"q9\": [\"-\"]}");
    assert_int_equal(moa_recorded_count(r), 3); /* q9 is asked by nobody */
    assert_int_equal(moa_backend_recorded_open(&b, r, "coder", &err), 0);
    assert_string_not_equal(said(text, b, "one?", 1), "w");
    moa_backend_close(b);
    moa_recorded_free(r);
    moa_taskset_free(t);
}

static void test_bad(void **state) {
    (void)state;
    static const struct { const char *tasks, *text, *want; } bad[] = {
        {"{\"prompt\": \"a\"}", "{\"q1\": [\"x\"]}", "have no ids"},
        {"{\"prompt\": \"a\", \"id\": \"q\"}", "{\"q1\": [\"x\"]}", "no reply to a question of the tasks"},
        {"{\"prompt\": \"a\", \"id\": \"q\"}", "{\"q\": [5]}", "reply 0 is no string"},
        {"{\"prompt\": \"a\", \"id\": \"q\"}", "{\"q\": 5}", "expected a reply or a list"},
        {"{\"prompt\": \"a\"}", "{\"replies\": [\"x\"]}", "expected an object with \"model\", \"question\""},
        {"{\"prompt\": \"a\"}", "{\"question\": \"a\", \"replies\": []}", "expected a reply"},
        {"{\"prompt\": \"a\"}", "{\"question\": \"a\", \"replies\": [\"x\"]}\n[", ":2"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        moa_err err = {0};
        moa_recorded *r;
        char path[32];
        moa_taskset *t = tasks_of(bad[i].tasks);
        write_file(path, bad[i].text);
        assert_int_equal(moa_recorded_new(&r, t, &err), 0);
        assert_true(moa_recorded_add(r, path, &err) < 0);
        if (!strstr(err.text, bad[i].want)) fail_msg("'%s' does not say '%s'", err.text, bad[i].want);
        unlink(path);
        moa_recorded_free(r);
        moa_taskset_free(t);
    }
}

/* ---- evaluations ---- */

typedef struct bench { moa_taskset *t; moa_recorded *r; moa_backend *b[8]; moa_mix_spec mix[8]; moa_eval e; } bench;

/* Mixes over the recorded models, whose replies lie in the file of the tasks. */
static void bench_run(bench *w, const char *path, const char *const *mix, int n_mix) {
    moa_err err = {0};
    *w = (bench){.e = {.n_seed = 1, .seed = 1, .mix = w->mix, .n_mix = n_mix}};
    if (moa_taskset_open(&w->t, path, 1, 0, &err) < 0 || moa_recorded_new(&w->r, w->t, &err) < 0 || moa_recorded_add(w->r, path, &err) < 0) fail_msg("%s", err.text);
    for (int i = 0; moa_recorded_model(w->r, i); i++) assert_int_equal(moa_backend_recorded_open(&w->b[i], w->r, moa_recorded_model(w->r, i), &err), 0);
    for (int m = 0; m < n_mix; m++) {
        if (moa_mix_spec_parse(&w->mix[m], mix[m], &err) < 0) fail_msg("%s", err.text);
        for (int k = 0; k < w->mix[m].n_proposer_name; k++)
            for (int i = 0; w->b[i]; i++)
                if (!strcmp(w->b[i]->id, w->mix[m].proposer_name[k])) w->mix[m].bound[k] = w->b[i];
        w->mix[m].cfg.proposer = w->mix[m].bound, w->mix[m].cfg.n_proposer = w->mix[m].n_proposer_name;
    }
    w->e.tasks = w->t;
    if (moa_eval_run(&w->e, NULL, NULL, &err) < 0) fail_msg("%s", err.text);
}

static void bench_end(bench *w) {
    moa_eval_deinit(&w->e);
    for (int m = 0; m < w->e.n_mix; m++) moa_mix_spec_deinit(&w->mix[m]);
    for (int i = 0; w->b[i]; i++) moa_backend_close(w->b[i]);
    moa_recorded_free(w->r);
    moa_taskset_free(w->t);
}

static void test_vote(void **state) {
    (void)state;
    char path[32];
    write_file(path, "{\"question\": \"q1\", \"ground_truth\": \"A: 5\", \"a\": {\"solution\": \"A: 4\"}, \"b\": {\"solution\": \"A: 5\"}, \"c\": {\"solution\": \"A: 5.0\"}}\n"
                     "{\"question\": \"q2\", \"ground_truth\": \"A: 7\", \"a\": {\"solution\": \"A: 7\"}, \"b\": {\"solution\": \"A: 8\"}, \"c\": {\"solution\": \"none\"}}\n"
                     "{\"question\": \"q3\", \"ground_truth\": \"A: 1\", \"a\": {\"solution\": \"A: 2\"}, \"b\": {\"solution\": \"A: 2\"}, \"c\": {\"solution\": \"A: 2\"}}\n");
    static const char *const mix[] = {"vote:n=3,proposers=a+b+c", "single:proposers=b"};
    bench w;
    bench_run(&w, path, mix, 2);
    moa_eval_cell c;
    double score[3];
    assert_int_equal(moa_eval_sum(&c, score, &w.e, 0, -1), 3);
    assert_int_equal(c.correct, 2); /* q2: a tie, which goes to the first */
    assert_true(score[0] == 1 && score[1] == 1 && score[2] == 0);
    assert_true(c.agree[1] == 1 && c.agree[2] == 1 && c.agree[3] == 1);
    assert_true(c.agree_right[1] == 1 && c.agree_right[2] == 1 && c.agree_right[3] == 0);
    assert_int_equal(moa_eval_sum(&c, score, &w.e, 1, -1), 3);
    assert_int_equal(c.correct, 1);
    bench_end(&w);
    unlink(path);
}

/* A mix whose aggregator nobody has recorded falls back to the vote, and the evaluation counts it. */
static void test_no_merge(void **state) {
    (void)state;
    char path[32];
    write_file(path, "{\"question\": \"q1\", \"ground_truth\": \"A: 5\", \"a\": {\"solution\": \"A: 5\"}, \"b\": {\"solution\": \"A: 5\"}}\n");
    static const char *const mix[] = {"moa:layers=1,n=2,proposers=a+b"};
    bench w;
    bench_run(&w, path, mix, 1);
    moa_eval_cell c;
    moa_eval_sum(&c, NULL, &w.e, 0, -1);
    assert_true(c.replaced == 1 && c.correct == 1);
    bench_end(&w);
    unlink(path);
}

/* ---- the recorded models of GSM8K: baselines computed by another program (docs/agents/recorded.md) ---- */

static void test_gsm8k(void **state) {
    (void)state;
    const char *dir = getenv("MOA_SHARED");
    char path[1024];
    snprintf(path, sizeof path, "%s/data/replay/gsm8k/solutions.even.jsonl", dir ? dir : "../shared");
    if (access(path, R_OK) != 0) {
        printf("  %s is not here: skipped\n", path);
        return;
    }
    static const char *const mix[] = {"single:proposers=175b_verification", "vote:n=4,proposers=175b_verification+6b_verification+175b_finetuning+6b_finetuning",
                                      "vote:n=2,proposers=175b_verification+6b_verification"};
    bench w;
    bench_run(&w, path, mix, 3);
    moa_eval_cell c[3];
    for (int m = 0; m < 3; m++) moa_eval_sum(&c[m], NULL, &w.e, m, -1);
    printf("  best of four %d, majority %d, any right %d of %d; the two verifiers agree on %d, right there %d\n", c[0].correct, c[1].correct, c[1].any_right, c[0].runs, c[2].agree[2],
           c[2].agree_right[2]);
    assert_int_equal(c[0].runs, 660);
    assert_true(abs(c[0].correct - c[1].correct) < 13); /* voting over unequal models gains nothing: within two points */
    assert_true(c[2].agree_right[2] > 0.75 * c[2].agree[2] && c[2].agree[2] > 660 / 3);
    bench_end(&w);
}

/* ---- second turns, latency ---- */

static int echo(scripted *s, int index, const moa_call *c, char *out, size_t n) {
    (void)s, (void)index;
    snprintf(out, n, "re: %s", c->msg[c->n_msg - 1].content);
    return 0;
}

static void test_two_turns(void **state) {
    (void)state;
    moa_err err = {0};
    scripted s;
    moa_mix_spec mix = {0};
    moa_taskset *t = tasks_of("{\"turns\": [\"a?\", \"b?\"]}\n{\"turns\": [\"only?\"]}\n{\"turns\": [\"c?\", \"d?\"]}");
    scripted_init(&s, "m", echo);
    assert_int_equal(moa_mix_spec_parse(&mix, "greedy", &err), 0);
    mix.bound[0] = &s.base, mix.cfg.proposer = mix.bound, mix.cfg.n_proposer = 1;
    moa_eval e = {.tasks = t, .mix = &mix, .n_mix = 1, .n_seed = 1, .seed = 1, .keep = true};
    if (moa_eval_run(&e, NULL, NULL, &err) < 0) fail_msg("%s", err.text);
    moa_eval_cell c;
    assert_int_equal(moa_eval_sum(&c, NULL, &e, 0, -1), 0); /* nothing is scored */
    assert_true(c.runs == 3 && c.calls == 5 && c.scored == 0);
    assert_non_null(strstr(moa_buf_str(&s.log), "user: a?\nassistant: re: a?\nuser: b?\n"));
    assert_non_null(strstr(moa_buf_str(&s.log), "user: c?\nassistant: re: c?\nuser: d?\n"));
    assert_string_equal(e.answer[0], "re: a?\n\nre: b?");
    assert_string_equal(e.answer[1], "re: only?");
    moa_eval_deinit(&e);
    moa_mix_spec_deinit(&mix);
    scripted_deinit(&s);
    moa_taskset_free(t);
}

static void test_mcnemar(void **state) {
    (void)state;
    assert_true(moa_mcnemar(0, 0) == 1 && moa_mcnemar(5, 5) == 1);
    assert_true(fabs(moa_mcnemar(0, 5) - 2.0 / 32) < 1e-12 && fabs(moa_mcnemar(5, 0) - 2.0 / 32) < 1e-12);
    assert_true(fabs(moa_mcnemar(1, 9) - 2 * 11.0 / 1024) < 1e-12);
    assert_true(moa_mcnemar(400, 600) < 1e-9 && moa_mcnemar(400, 600) > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms), cmocka_unit_test(test_bad), cmocka_unit_test(test_vote), cmocka_unit_test(test_no_merge), cmocka_unit_test(test_gsm8k),
                                       cmocka_unit_test(test_two_turns), cmocka_unit_test(test_mcnemar)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
