/* test_train.c - whole runs of a very small model: the loss falls, runs repeat, resume bit for bit, survive a full disk, a
 * stop, a broken checkpoint; what cannot work is refused.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "train/train.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static char root[64];
#define HEAD "name: t\nmodel: {n_layer: 1, d_model: 32, n_head: 2, n_kv: 1, d_ff: 64, n_ctx: 256}\ntokenizer: {n_vocab: 300, items: 100}\n" \
             "output: {type: F32}\n"
#define DATA "data: [{family: arithmetic, levels: [1]}]"

static moa_recipe *parse(const char *text) {
    moa_err err = {0};
    moa_recipe *r;
    if (moa_recipe_parse(&r, text, strlen(text), "t.yaml", &err) < 0) fail_msg("%s", err.text);
    return r;
}

/* What the report callback does at a step, and what it has seen. */
typedef struct probe {
    sig_atomic_t stop;
    int64_t stop_at, limit_at; /* total steps; 0: never */
    int64_t steps;
    int warnings;
    double first, last;        /* losses */
    char warning[512];
} probe;

static void set_limit(rlim_t n) {
    struct rlimit l;
    getrlimit(RLIMIT_FSIZE, &l);
    l.rlim_cur = n;
    setrlimit(RLIMIT_FSIZE, &l);
}

static void watch(void *ctx, const moa_train_event *e) {
    probe *p = ctx;
    if (e->kind == MOA_TRAIN_WARN) p->warnings++, snprintf(p->warning, sizeof p->warning, "%s", e->text);
    if (e->kind != MOA_TRAIN_STEP) return;
    if (p->steps++ == 0) p->first = e->loss;
    p->last = e->loss_avg;
    if (p->steps == p->stop_at) p->stop = 1;
    if (p->steps == p->limit_at) set_limit(16384);
}

static int run_in(const char *name, const char *recipe, probe *p, bool resume, int threads, moa_err *err) {
    char dir[128];
    snprintf(dir, sizeof dir, "%s/%s", root, name);
    moa_recipe *r = parse(recipe);
    moa_train_result res;
    const moa_train_cfg cfg = {.dir = dir, .resume = resume, .n_threads = threads, .stop = &p->stop, .report = watch, .ctx = p};
    *err = (moa_err){0};
    int rc = moa_train_run(&res, r, &cfg, err);
    moa_recipe_free(r);
    return rc;
}

static void run_ok(const char *name, const char *recipe, bool resume, probe *p) {
    moa_err err;
    if (run_in(name, recipe, p, resume, 1, &err) < 0) fail_msg("%s: %s", name, err.text);
}

static char *content(const char *name, const char *file, size_t *n) {
    char path[256], *s;
    moa_err err = {0};
    snprintf(path, sizeof path, "%s/%s/%s", root, name, file);
    if (moa_read_file(&s, n, path, 1 << 26, &err) < 0) fail_msg("%s", err.text);
    return s;
}

static void assert_same_file(const char *a, const char *b, const char *file) {
    size_t na, nb;
    char *x = content(a, file, &na), *y = content(b, file, &nb);
    assert_int_equal(na, nb);
    assert_memory_equal(x, y, na);
    free(x);
    free(y);
}

/* The log up to the times of each line. */
static char *log_of(const char *name) {
    size_t n;
    char *s = content(name, "log.jsonl", &n), *to = s;
    for (char *line = s; *line;) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        char *cut = strstr(line, ",\"seconds\"");
        size_t len = (size_t)((cut && cut < end ? cut : end) - line);
        memmove(to, line, len);
        to += len;
        *to++ = '\n';
        line = end + 1;
    }
    *to = 0;
    return s;
}

static void assert_same_log(const char *a, const char *b) {
    char *x = log_of(a), *y = log_of(b);
    assert_string_equal(x, y);
    free(x);
    free(y);
}

#define SHORT HEAD "checkpoint: {steps: 5}\nstages:\n" \
    " - {name: a, steps: 12, batch_tokens: 512, seq_len: 128, lr: 3e-3, " DATA "}\n" \
    " - {name: b, steps: 8, batch_tokens: 512, seq_len: 128, lr: 1e-2, optimizer: muon, " DATA "}\n"

static void test_loss_falls(void **state) {
    (void)state;
    probe a = {0}, b = {0};
    run_ok("fall", HEAD "stages: [{name: a, steps: 60, batch_tokens: 2048, seq_len: 256, lr: 1e-2, snapshots: [0.5], " DATA "}]\n", false, &a);
    assert_true(a.last < 0.75 * a.first);
    run_ok("fall-muon", HEAD "stages: [{name: a, steps: 60, batch_tokens: 2048, seq_len: 256, lr: 3e-2, optimizer: muon, dtype: f32, " DATA "}]\n",
           false, &b);
    assert_true(b.last < 0.75 * b.first);
    assert_int_equal(a.steps, 60);
    static const char *const files[] = {"log.jsonl", "loss.svg", "tokenizer.gguf", "t.gguf", "t-a-50.gguf", "checkpoint-0.moa"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        size_t n;
        free(content("fall", files[i], &n));
        assert_true(n > 0);
    }
}

static void test_repeats(void **state) {
    (void)state;
    probe p = {0}, q = {0};
    run_ok("one", SHORT, false, &p);
    run_ok("two", SHORT, false, &q);
    assert_same_log("one", "two");
    assert_same_file("one", "two", "t.gguf");
    probe s = {0};
    run_ok("seed", "seed: 2\n" SHORT, false, &s);
    assert_true(s.last != p.last);
}

/* Stopped in the first stage and in the second; "one" is the run that never stopped. */
static void test_resume(void **state) {
    (void)state;
    moa_err err;
    probe p = {.stop_at = 7}, q = {.stop_at = 8}, r = {0};
    assert_int_equal(run_in("res", SHORT, &p, false, 1, &err), MOA_ECANCELED);
    assert_non_null(strstr(err.text, "step 7 of stage 'a'"));
    assert_non_null(strstr(err.hint, "moa train t.yaml --resume --out "));
    assert_int_equal(run_in("res", SHORT, &q, false, 1, &err), MOA_EUSAGE); /* would throw the run away */
    assert_non_null(strstr(err.text, "unfinished run"));
    assert_int_equal(run_in("res", SHORT, &q, true, 1, &err), MOA_ECANCELED);
    assert_non_null(strstr(err.text, "step 3 of stage 'b'"));
    run_ok("res", SHORT, true, &r);
    assert_int_equal(p.steps + q.steps + r.steps, 20);
    assert_same_log("one", "res");
    assert_same_file("one", "res", "t.gguf");
}

/* Killed between checkpoints: the log has lines of steps that will be done again. */
static void test_resume_after_crash(void **state) {
    (void)state;
    moa_err err;
    probe p = {.stop_at = 10}, r = {0};
    assert_int_equal(run_in("crash", SHORT, &p, false, 1, &err), MOA_ECANCELED);
    char path[256];
    snprintf(path, sizeof path, "%s/crash/log.jsonl", root);
    FILE *f = fopen(path, "a");
    fprintf(f, "{\"step\":11,\"loss\":9}\n{\"step\":12,\"lo");
    fclose(f);
    run_ok("crash", SHORT, true, &r);
    assert_same_log("one", "crash");
    assert_same_file("one", "crash", "t.gguf");
}

static void spoil(const char *name, int slot, bool cut) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s/checkpoint-%d.moa", root, name, slot);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    long n = ftell(f);
    if (cut) assert_int_equal(ftruncate(fileno(f), n / 2), 0);
    else {
        fseek(f, n / 2, SEEK_SET);
        int c = fgetc(f);
        fseek(f, n / 2, SEEK_SET);
        fputc(c ^ 1, f);
    }
    fclose(f);
}

static void test_broken_checkpoint(void **state) {
    (void)state;
    moa_err err;
    probe p = {.stop_at = 7}, q = {.stop_at = 1}, r = {0};
    assert_int_equal(run_in("broken", SHORT, &p, false, 1, &err), MOA_ECANCELED); /* slot 0: step 5, slot 1: step 7 */
    spoil("broken", 1, false);
    assert_int_equal(run_in("broken", SHORT, &q, true, 1, &err), MOA_ECANCELED);
    assert_int_equal(q.warnings, 1);
    assert_non_null(strstr(q.warning, "checkpoint-1.moa: corrupt"));
    assert_non_null(strstr(err.text, "step 6 of stage 'a'")); /* 5 + 1, written over the broken one */
    spoil("broken", 0, true);
    run_ok("broken", SHORT, true, &r);
    assert_non_null(strstr(r.warning, "checkpoint-0.moa: truncated"));
    assert_same_log("one", "broken");
    assert_same_file("one", "broken", "t.gguf");
    spoil("broken", 0, false);
    spoil("broken", 1, true);
    probe s = {0};
    assert_true(run_in("broken", SHORT, &s, true, 1, &err) < 0);
    assert_non_null(strstr(err.hint, "no sound checkpoint"));
    assert_int_equal(run_in("broken", SHORT, &s, false, 1, &err), MOA_EFORMAT); /* and nothing is removed unasked */
    assert_non_null(strstr(err.hint, "--fresh"));
}

static void test_other_recipe(void **state) {
    (void)state;
    moa_err err;
    probe p = {.stop_at = 2}, q = {0};
    assert_int_equal(run_in("other", SHORT, &p, false, 1, &err), MOA_ECANCELED);
    static const char changed[] = "seed: 5\n" SHORT;
    assert_int_equal(run_in("other", changed, &q, true, 1, &err), MOA_EINVAL);
    assert_non_null(strstr(err.text, "is of recipe 't' ("));
    assert_non_null(strstr(err.text, "not of 't' ("));
    assert_int_equal(run_in("nothing", SHORT, &q, true, 1, &err), MOA_ENOTFOUND);
}

/* A file size limit stands for a full disk: the checkpoint at 5 is whole, the one at 10 cannot be written. */
static void test_full_disk(void **state) {
    (void)state;
    moa_err err;
    probe p = {.limit_at = 7, .stop_at = 11}, r = {0};
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit old;
    getrlimit(RLIMIT_FSIZE, &old);
    int rc = run_in("full", SHORT, &p, false, 1, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(rc, MOA_EIO); /* the checkpoint of the stop */
    assert_int_equal(p.steps, 11);
    assert_int_equal(p.warnings, 1);
    assert_non_null(strstr(p.warning, strerror(EFBIG)));
    run_ok("full", SHORT, true, &r);
    assert_int_equal(r.steps, 15);
    assert_same_file("one", "full", "t.gguf");
}

static void test_accumulate(void **state) {
    (void)state;
    probe p = {0}, q = {0};
    run_ok("acc1", HEAD "stages: [{name: a, steps: 5, batch_tokens: 1024, seq_len: 128, dtype: f32, accumulate: 1, " DATA "}]\n", false, &p);
    run_ok("acc4", HEAD "stages: [{name: a, steps: 5, batch_tokens: 1024, seq_len: 128, dtype: f32, accumulate: 4, " DATA "}]\n", false, &q);
    assert_true(fabs(p.first - q.first) < 1e-5);
    assert_true(fabs(p.last - q.last) < 1e-4);
}

#define SAMPLE HEAD "stages:\n - {name: a, steps: 6, batch_tokens: 512, seq_len: 256, " DATA "}\n" \
    " - {name: s, kind: sample, items: 5, samples: 3, max_tokens: 12, " DATA "}\n" \
    " - {name: g, steps: 3, batch_tokens: 512, seq_len: 256, data: [{aggregate: s, k_max: 3}]}\n"

static void test_sample_stage(void **state) {
    (void)state;
    probe p = {0}, q = {.stop_at = 8}, r = {0};
    run_ok("sample", SAMPLE, false, &p);
    moa_err err;
    assert_int_equal(run_in("sample2", SAMPLE, &q, false, 1, &err), MOA_ECANCELED); /* in the stage after it */
    size_t n, lines = 0;
    char *s = content("sample", "samples-s.jsonl", &n);
    for (size_t i = 0; i < n; i++) lines += s[i] == '\n';
    assert_int_equal(lines, 5);
    free(s);
    assert_same_file("sample", "sample2", "samples-s.jsonl");
    run_ok("sample2", SAMPLE, true, &r);
    assert_same_file("sample", "sample2", "t.gguf");
    assert_same_log("sample", "sample2");
}

static void test_sample_resumes(void **state) {
    (void)state;
    probe p = {.stop_at = 6}, q = {0};
    moa_err err;
    char path[256];
    assert_int_equal(run_in("cut", SAMPLE, &p, false, 1, &err), MOA_ECANCELED); /* the stage is over: stops in sampling */
    size_t n;
    char *s = content("sample", "samples-s.jsonl", &n);
    snprintf(path, sizeof path, "%s/cut/samples-s.jsonl", root);
    FILE *f = fopen(path, "w"); /* two lines and a piece, as a killed run leaves them */
    size_t two = (size_t)(strchr(strchr(s, '\n') + 1, '\n') + 1 - s);
    fwrite(s, 1, two + 20, f);
    fclose(f);
    free(s);
    run_ok("cut", SAMPLE, true, &q);
    assert_same_file("sample", "cut", "samples-s.jsonl");
    assert_same_file("sample", "cut", "t.gguf");
    assert_same_log("sample", "cut");
}

static void test_init(void **state) {
    (void)state;
    char text[2048];
    probe p = {0}, q = {0};
    snprintf(text, sizeof text, "name: u\noutput: {type: F32}\ninit: {gguf: %s/fall/t.gguf}\nstages: [{name: a, steps: 3, batch_tokens: 1024, seq_len: 128, %s}]\n",
             root, DATA);
    run_ok("init", text, false, &p);
    snprintf(text, sizeof text, HEAD "init: {run: fall}\nstages: [{name: a, steps: 3, batch_tokens: 1024, seq_len: 128, %s}]\n", DATA);
    run_ok("init2", text, false, &q);
    assert_true(p.first < 4 && fabs(p.first - q.first) < 1e-6); /* a new model begins at ln 300 = 5.7 */
}

/* Weights that are not finite: no step is done, and after MOA_SKIPS_MAX the run says so. */
static void test_not_finite(void **state) {
    (void)state;
    size_t n;
    char *s = content("fall", "t.gguf", &n), path[256], text[1024];
    memset(s + n - 4, 0xff, 4); /* the last weight of the last tensor */
    snprintf(path, sizeof path, "%s/nan.gguf", root);
    FILE *f = fopen(path, "wb");
    fwrite(s, 1, n, f);
    fclose(f);
    free(s);
    snprintf(text, sizeof text, "name: u\ninit: {gguf: %s}\nstages: [{name: a, steps: 50, batch_tokens: 512, seq_len: 128, %s}]\n", path, DATA);
    moa_err err;
    probe p = {0};
    assert_int_equal(run_in("nan", text, &p, false, 1, &err), MOA_ELIMIT);
    assert_int_equal(p.steps, 20);
    assert_int_equal(p.warnings, 20);
    assert_non_null(strstr(err.text, "20 steps in a row"));
}

static int setup(void **state) {
    (void)state;
    snprintf(root, sizeof root, "/tmp/moa-test-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", root);
    return system(cmd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loss_falls),   cmocka_unit_test(test_repeats),      cmocka_unit_test(test_resume),
        cmocka_unit_test(test_resume_after_crash), cmocka_unit_test(test_broken_checkpoint), cmocka_unit_test(test_other_recipe),
        cmocka_unit_test(test_full_disk),    cmocka_unit_test(test_accumulate),   cmocka_unit_test(test_sample_stage),
        cmocka_unit_test(test_sample_resumes), cmocka_unit_test(test_init),       cmocka_unit_test(test_not_finite),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
