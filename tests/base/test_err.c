/* test_err.c - error texts: in order, cut and never overflowing, without anything that could drive a terminal.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void test_texts(void **state) {
    (void)state;
    moa_err e = {0};
    assert_int_equal(moa_fail(&e, MOA_EFORMAT, "tensor '%s'", "a"), MOA_EFORMAT);
    assert_int_equal(moa_hint(&e, MOA_EFORMAT, "fetch %s", "it"), MOA_EFORMAT);
    assert_int_equal(moa_wrap(&e, MOA_EFORMAT, "%s", "file"), MOA_EFORMAT);
    assert_string_equal(e.text, "file: tensor 'a'");
    assert_string_equal(e.hint, "fetch it");
    assert_int_equal(moa_fail(NULL, MOA_EFORMAT, "x"), MOA_EFORMAT);
    char longer[2 * sizeof e.text];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    moa_fail(&e, MOA_EFORMAT, "%s", longer);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
    moa_wrap(&e, MOA_EFORMAT, "file");
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
}

static void test_controls(void **state) {
    (void)state;
    static const char hostile[] = "a\x1b[31m\x07\x7f\r\xc2\x9b" "2J \xc3\xa4\tb\nc";
    static const char tame[] = "a?[31m??\?\?\?" "2J \xc3\xa4\tb\nc";
    moa_err e = {0};
    moa_fail(&e, MOA_EFORMAT, "%s", hostile);
    assert_string_equal(e.text, tame);
    moa_hint(&e, MOA_EFORMAT, "%s", hostile);
    assert_string_equal(e.hint, tame);
    moa_wrap(&e, MOA_EFORMAT, "\x1b]0;x");
    assert_memory_equal(e.text, "?]0;x: a?[31m", 13);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_texts), cmocka_unit_test(test_controls)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
