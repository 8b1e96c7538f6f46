/* training.c - see training.h. SPDX-License-Identifier: Apache-2.0 */
#include "support/training.h"

#include "base/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

char train_root[64];

int train_setup(void **state) {
    (void)state;
    snprintf(train_root, sizeof train_root, "/tmp/moa-test-XXXXXX");
    return mkdtemp(train_root) ? 0 : -1;
}

int train_teardown(void **state) {
    (void)state;
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", train_root);
    return system(cmd);
}

const char *train_path(const char *run, const char *file) {
    static char path[4][256];
    static int i;
    i = (i + 1) % 4;
    snprintf(path[i], sizeof path[i], "%s/%s%s%s", train_root, run, *file ? "/" : "", file);
    return path[i];
}

static void set_limit(rlim_t n) {
    struct rlimit l;
    getrlimit(RLIMIT_FSIZE, &l);
    l.rlim_cur = n;
    setrlimit(RLIMIT_FSIZE, &l);
}

static void note(train_probe *p, const char *text) {
    snprintf(p->note, sizeof p->note, "%s", text);
    if (!strstr(text, "no bf16 products")) return;
    p->f32_notes++;
    snprintf(p->f32_note, sizeof p->f32_note, "%s", text);
}

static void watch(void *ctx, const moa_train_event *e) {
    train_probe *p = ctx;
    if (e->kind == MOA_TRAIN_WARN) p->warnings++, snprintf(p->warning, sizeof p->warning, "%s", e->text);
    if (e->kind == MOA_TRAIN_NOTE) note(p, e->text);
    if (e->kind == MOA_TRAIN_STAGE && p->at_stage) p->at_stage(p->ctx, e->stage);
    if (e->kind != MOA_TRAIN_STEP) return;
    if (p->steps++ == 0) p->first = e->loss;
    p->last = e->loss_avg;
    if (p->at_step) p->at_step(p->ctx, p->steps);
    if (p->steps == p->stop_at) p->stop = 1;
    if (p->steps == p->limit_at) set_limit(p->limit ? p->limit : 16384);
    if (p->steps == p->free_at) set_limit(RLIM_INFINITY);
}

moa_recipe *train_parse(const char *recipe) {
    moa_err err = {0};
    moa_recipe *r;
    if (moa_recipe_parse(&r, recipe, strlen(recipe), "t.yaml", &err) < 0) fail_msg("%s", err.text);
    return r;
}

int train_in(const char *name, const char *recipe, train_probe *p, bool resume, int threads, moa_err *err) {
    moa_recipe *r = train_parse(recipe);
    moa_train_result res;
    const moa_train_cfg cfg = {.dir = train_path(name, ""), .resume = resume, .fresh = p->fresh, .n_threads = threads, .stop = &p->stop,
                               .report = watch, .ctx = p};
    *err = (moa_err){0};
    int rc = moa_train_run(&res, r, &cfg, err);
    moa_recipe_free(r);
    return rc;
}

void train_ok(const char *name, const char *recipe, bool resume, train_probe *p) {
    moa_err err;
    if (train_in(name, recipe, p, resume, 1, &err) < 0) fail_msg("%s: %s", name, err.text);
}

char *train_content(const char *name, const char *file, size_t *n) {
    char *s;
    moa_err err = {0};
    if (moa_read_file(&s, n, train_path(name, file), 1 << 26, &err) < 0) fail_msg("%s", err.text);
    return s;
}

void train_same_file(const char *a, const char *b, const char *file) {
    size_t na, nb;
    char *x = train_content(a, file, &na), *y = train_content(b, file, &nb);
    assert_int_equal(na, nb);
    assert_memory_equal(x, y, na);
    free(x);
    free(y);
}

/* The log up to the times of each line. */
static char *log_of(const char *name) {
    size_t n;
    char *s = train_content(name, "log.jsonl", &n), *to = s;
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

void train_same_log(const char *a, const char *b) {
    char *x = log_of(a), *y = log_of(b);
    assert_string_equal(x, y);
    free(x);
    free(y);
}
