/* test_store.c - what mixes keep: values by kind and key, whole writes, files of others, runs that recall. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/scripted.h"

#include "agent/run.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[] = "/tmp/moa-test-store-XXXXXX";

static void expect(moa_store *s, const char *kind, const char *key, const char *value) {
    char *got;
    assert_int_equal(moa_store_get(&got, s, kind, key, NULL), 0);
    if (value) assert_string_equal(got, value);
    else assert_null(got);
    free(got);
}

static int join(void *ctx, const char *key, const char *value, moa_err *err) {
    (void)err;
    char *all = ctx;
    const size_t n = strlen(all);
    snprintf(all + n, 200 - n, "%s=%s;", key, value);
    return !strcmp(key, "stop") ? -7 : 0;
}

static void test_values(void **state) {
    (void)state;
    moa_store *s;
    for (int on_disk = 0; on_disk < 2; on_disk++) {
        char all[200] = "";
        assert_int_equal(moa_store_open(&s, on_disk ? path : NULL, NULL), 0);
        expect(s, "a", "k", NULL);
        assert_int_equal(moa_store_put(s, "a", "k", "1", NULL), 0);
        assert_int_equal(moa_store_put(s, "a", "k", "it's; \"two\"", NULL), 0);
        assert_int_equal(moa_store_put(s, "b", "k", "3", NULL), 0);
        assert_int_equal(moa_store_put(s, "a", "j", "", NULL), 0);
        expect(s, "a", "k", "it's; \"two\"");
        expect(s, "a", "j", "");
        assert_int_equal(moa_store_each(s, "a", join, all, NULL), 0);
        assert_string_equal(all, "j=;k=it's; \"two\";");
        assert_int_equal(moa_store_put(s, "a", "stop", "", NULL), 0);
        assert_int_equal(moa_store_each(s, "a", join, all, NULL), -7);
        moa_store_close(s);
    }
    assert_int_equal(moa_store_open(&s, path, NULL), 0); /* it was kept */
    expect(s, "b", "k", "3");
    moa_store_close(s);
}

typedef struct adder { moa_store *s; int rc; } adder;
static int add_one(void *ctx, moa_err *err) {
    const adder *a = ctx;
    char *was, now[24];
    MOA_TRY(moa_store_get(&was, a->s, "n", "n", err));
    snprintf(now, sizeof now, "%d", (was ? (int)strtol(was, NULL, 10) : 0) + 1);
    free(was);
    MOA_TRY(moa_store_put(a->s, "n", "n", now, err));
    return a->rc;
}
static void *add_many(void *ctx) {
    adder *a = ctx;
    for (int i = 0; i < 50; i++) assert_int_equal(moa_store_write(a->s, add_one, a, NULL), 0);
    return NULL;
}

/* Two handles of a file in two threads: no count is lost, and a write that fails leaves nothing. */
static void test_whole_writes(void **state) {
    (void)state;
    adder a[2] = {0};
    pthread_t t[2];
    for (int i = 0; i < 2; i++) assert_int_equal(moa_store_open(&a[i].s, path, NULL), 0);
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&t[i], NULL, add_many, &a[i]), 0);
    for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
    expect(a[0].s, "n", "n", "100");
    a[1].rc = -7;
    assert_int_equal(moa_store_write(a[1].s, add_one, &a[1], NULL), -7);
    expect(a[0].s, "n", "n", "100");
    for (int i = 0; i < 2; i++) moa_store_close(a[i].s);
}

static void test_bad_files(void **state) {
    (void)state;
    moa_store *s;
    moa_err err = {0};
    char other[] = "/tmp/moa-test-store-XXXXXX";
    const int fd = mkstemp(other);
    for (int i = 0; i < 400; i++) assert_int_equal(write(fd, "no database here", 16), 16);
    close(fd);
    assert_int_equal(moa_store_open(&s, other, &err), MOA_EFORMAT);
    assert_null(s);
    assert_non_null(strstr(err.text, other));
    assert_true(err.hint[0] != 0);
    unlink(other);
    assert_true(moa_store_open(&s, "/nowhere/at/all", &err) < 0);
    assert_non_null(strstr(err.text, "/nowhere/at/all"));
}

static int any(scripted *s, int i, const moa_call *c, char *out, size_t n) { (void)s, (void)i, (void)c; return snprintf(out, n, "yes") < 0; }

/* A run sees one state; what it writes is there for the next. */
static void test_run(void **state) {
    (void)state;
    scripted b;
    scripted_init(&b, "m", any);
    moa_backend *be = &b.base;
    moa_mix_cfg cfg = moa_mix_defaults("single");
    const moa_message msg = {"user", "?"};
    const char *v;
    moa_run *r;
    cfg.proposer = &be, cfg.n_proposer = 1;
    assert_int_equal(moa_run_new(&r, &cfg, &msg, 1, 1, NULL), 0); /* no store: nothing is known, nothing is kept */
    assert_int_equal(moa_run_keep(r, "k", "a", "1", NULL), 0);
    assert_int_equal(moa_run_recall(&v, r, "k", "a", NULL), 0);
    assert_null(v);
    moa_run_free(r);
    assert_int_equal(moa_store_open(&cfg.store, NULL, NULL), 0);
    assert_int_equal(moa_run_new(&r, &cfg, &msg, 1, 1, NULL), 0);
    assert_int_equal(moa_run_recall(&v, r, "k", "a", NULL), 0);
    assert_null(v);
    assert_int_equal(moa_run_keep(r, "k", "a", "1", NULL), 0);
    assert_int_equal(moa_store_put(cfg.store, "k", "a", "2", NULL), 0);
    assert_int_equal(moa_run_recall(&v, r, "k", "a", NULL), 0);
    assert_null(v); /* as first read */
    moa_run_free(r);
    assert_int_equal(moa_run_new(&r, &cfg, &msg, 1, 1, NULL), 0);
    assert_int_equal(moa_run_recall(&v, r, "k", "a", NULL), 0);
    assert_string_equal(v, "2");
    moa_run_free(r);
    moa_store_close(cfg.store);
    scripted_deinit(&b);
}

static int make_path(void **state) { (void)state; const int fd = mkstemp(path); return close(fd); }
static int remove_path(void **state) {
    (void)state;
    char side[64];
    for (int i = 0; i < 3; i++) {
        snprintf(side, sizeof side, "%s%s", path, i == 0 ? "" : i == 1 ? "-wal" : "-shm");
        unlink(side);
    }
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values), cmocka_unit_test(test_whole_writes), cmocka_unit_test(test_bad_files), cmocka_unit_test(test_run)};
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
