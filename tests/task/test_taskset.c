/* test_taskset.c - task sets: the built-in one and JSONL files, good and bad.
 * SPDX-License-Identifier: Apache-2.0 */
#include "task/taskset.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static void test_builtin(void **state) {
    (void)state;
    moa_err err = {0};
    moa_taskset *a, *b;
    assert_int_equal(moa_taskset_open(&a, "microworld", 3, 60, &err), 0);
    assert_int_equal(moa_taskset_open(&b, "microworld", 3, 60, &err), 0);
    assert_int_equal(moa_taskset_group_count(a), 6);
    assert_int_equal(moa_taskset_count(a), 6 * 60);
    int levels = 0;
    for (int i = 0; i < moa_taskset_count(a); i++) {
        const moa_item *x = moa_taskset_item(a, i), *y = moa_taskset_item(b, i);
        assert_string_equal(x->question.data, y->question.data);
        assert_int_equal(x->id % 8, 0);
        assert_true(x->family->scored);
        assert_string_equal(moa_taskset_group_name(a, moa_taskset_group(a, i)), x->family->name);
        levels |= 1 << x->level;
        for (int j = i / 60 * 60; j < i; j++) assert_true(moa_taskset_item(a, j)->id != x->id);
    }
    assert_int_equal(levels, 2 + 4 + 8 + 16 + 32);
    moa_taskset_free(b);
    assert_int_equal(moa_taskset_open(&b, "microworld", 4, 60, &err), 0);
    assert_string_not_equal(moa_taskset_item(a, 0)->question.data, moa_taskset_item(b, 0)->question.data);
    moa_taskset_free(a);
    moa_taskset_free(b);
}

static void test_parts(void **state) {
    (void)state;
    moa_err err = {0};
    moa_taskset *t;
    assert_int_equal(moa_taskset_open(&t, "microworld/text", 1, 10, &err), 0);
    assert_int_equal(moa_taskset_count(t), 10);
    moa_taskset_free(t);
    assert_int_equal(moa_taskset_open(&t, "microworld/world/2", 1, 10, &err), 0);
    for (int i = 0; i < 10; i++) assert_int_equal(moa_taskset_item(t, i)->level, 2);
    moa_taskset_free(t);
    static const struct { const char *name; int n, code; } bad[] = {
        {"microworld/about", 5, MOA_ENOTFOUND}, {"microworld/texts", 5, MOA_ENOTFOUND}, {"microworld/text/9", 5, MOA_EINVAL}, {"microworld/text/x", 5, MOA_EINVAL},
        {"microworld/text/0", 5, MOA_EINVAL},   {"microworld", -1, MOA_EINVAL},          {"microworld/world/1", 5000, MOA_ELIMIT}, {"no-such-file.jsonl", 5, MOA_EIO},
        {"microworlds", 5, MOA_EIO}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int rc = moa_taskset_open(&t, bad[i].name, 1, bad[i].n, &err);
        if (rc != bad[i].code && !(bad[i].code == MOA_EIO && rc == MOA_ENOTFOUND)) fail_msg("%s: %d %s", bad[i].name, rc, err.text);
        assert_null(t);
        assert_true(strlen(err.text) > 5);
    }
}

static int open_first(moa_taskset **t, const char *text, size_t n, int most, moa_err *err) {
    char path[] = "/tmp/moa-taskset-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, n), n);
    close(fd);
    int rc = moa_taskset_open(t, path, 1, most, err);
    unlink(path);
    return rc;
}

static int open_text(moa_taskset **t, const char *text, size_t n, moa_err *err) { return open_first(t, text, n, 0, err); }

static void test_file(void **state) {
    (void)state;
    moa_err err = {0};
    moa_taskset *t;
    static const char good[] = "{\"question\": \"1 + 1?\", \"answer\": \"2.0\", \"family\": \"sums\"}\n\n{\"question\":\"Say \\u00e9.\",\"answer\":\"\\u00e9\"}\r\n"
                               "{\"question\":\"2 + 2?\",\"answer\":\"4\",\"family\":\"sums\",\"level\":1}";
    if (open_text(&t, good, sizeof good - 1, &err) < 0) fail_msg("%s", err.text);
    assert_int_equal(moa_taskset_count(t), 3);
    assert_int_equal(moa_taskset_group_count(t), 2);
    assert_string_equal(moa_taskset_group_name(t, moa_taskset_group(t, 2)), "sums");
    assert_string_equal(moa_taskset_group_name(t, moa_taskset_group(t, 1)), "all");
    assert_true(moa_item_check(moa_taskset_item(t, 0), "Answer: 2", 9));
    assert_false(moa_item_check(moa_taskset_item(t, 0), "Answer: 3", 9));
    assert_null(moa_taskset_item(t, 0)->family);
    moa_taskset_free(t);
    if (open_first(&t, good, sizeof good - 1, 1, &err) < 0) fail_msg("%s", err.text); /* the first of each group */
    assert_int_equal(moa_taskset_count(t), 2);
    assert_string_equal(moa_taskset_item(t, 0)->question.data, "1 + 1?");
    assert_string_equal(moa_taskset_group_name(t, moa_taskset_group(t, 1)), "all");
    moa_taskset_free(t);
    static const char marked[] = "{\"question\": \"a\", \"answer\": \"It is so.\\nAnswer: 7\"}";
    assert_int_equal(open_text(&t, marked, sizeof marked - 1, &err), 0); /* written as a reply is */
    assert_true(moa_item_check(moa_taskset_item(t, 0), "Answer: 7", 9));
    moa_taskset_free(t);
    static const char bad_end[] = "{\"question\": \"a\", \"answer\": \"b\"}\n{\"question\": \"a\"}";
    assert_int_equal(open_first(&t, bad_end, sizeof bad_end - 1, 1, &err), MOA_EFORMAT); /* a bad line counts wherever it stands */
    assert_int_equal(moa_taskset_open(&t, "microworld/text", 1, 0, &err), 0);
    assert_int_equal(moa_taskset_count(t), MOA_TASKSET_USUAL);
    moa_taskset_free(t);
    static const struct { const char *text, *want; } bad[] = {
        {"", "no items"}, {"\n \n", "no items"}, {"{\"question\": \"a\"}", ":1:"}, {"{\"question\": \"a\", \"answer\": \"b\"}\nnonsense\n", ":2:"}, {"[1]", "item 1: "},
        {"{\"question\": \"a\", \"answer\": 3}", "answer"}, {"{\"question\": \"\", \"answer\": \"3\"}", "question"}, {"{\"question\": \"a\", \"answer\": \" \"}", "empty"},
        {"{\"question\": \"a\", \"answer\": \"b\", \"answer\": \"c\"}", ":1:"}, {"{\"question\": \"a\", \"answer\": \"the answer,: 4\"}", ":1: the answer 'the answer,: 4' is"}, {"{\"question\": \"a\\u0000b\", \"answer\": \"b\"}", ":1:"}, {"\xff\xfe", ":1:"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int rc = open_text(&t, bad[i].text, strlen(bad[i].text), &err);
        assert_int_equal(rc, MOA_EFORMAT);
        if (!strstr(err.text, bad[i].want)) fail_msg("'%s' does not say '%s'", err.text, bad[i].want);
        assert_null(t);
    }
}

static void test_large_file(void **state) {
    (void)state;
    moa_err err = {0};
    moa_taskset *t;
    moa_buf b;
    moa_buf_init(&b, 1 << 24);
    moa_buf_adds(&b, "{\"question\": \"");
    for (int i = 0; i < 100000; i++) moa_buf_adds(&b, "x");
    moa_buf_adds(&b, "\", \"answer\": \"y\"}");
    assert_int_equal(open_text(&t, b.data, b.len, &err), MOA_ELIMIT); /* a question has a maximum */
    moa_buf_clear(&b);
    for (int i = 0; i < 100; i++) moa_buf_addf(&b, "{\"question\": \"q%d\", \"answer\": \"y\", \"family\": \"f%d\"}\n", i, i);
    assert_int_equal(open_text(&t, b.data, b.len, &err), MOA_ELIMIT); /* and so have groups */
    moa_buf_deinit(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_builtin), cmocka_unit_test(test_parts), cmocka_unit_test(test_file), cmocka_unit_test(test_large_file)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
