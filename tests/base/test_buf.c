/* test_buf.c - the growing string and its maximum; errors' text; UTF-8. SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include "base/err.h"
#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void appends(void **state) {
    (void)state;
    moa_buf b;
    moa_buf_init(&b, 1000);
    assert_string_equal(moa_buf_str(&b), "");
    assert_int_equal(moa_buf_adds(&b, "ab"), 0);
    assert_int_equal(moa_buf_add(&b, "c\0d", 3), 0);
    assert_int_equal(moa_buf_addf(&b, "%d-%s", 42, "x"), 0);
    assert_int_equal(b.len, 9);
    assert_memory_equal(b.data, "abc\0d42-x", 10);
    moa_buf_clear(&b);
    assert_int_equal(moa_buf_addf(&b, "%0500d", 7), 0);
    assert_int_equal(strlen(b.data), 500);
    char *s = moa_buf_take(&b);
    assert_int_equal(strlen(s), 500);
    free(s);
    assert_null(b.data);
    s = moa_buf_take(&b); /* never NULL for an empty one */
    assert_string_equal(s, "");
    free(s);
    moa_buf_deinit(&b);
}

static void maximum_is_kept(void **state) {
    (void)state;
    moa_buf b;
    moa_buf_init(&b, 10);
    assert_int_equal(moa_buf_add(&b, "0123456789", 10), 0);
    assert_int_equal(moa_buf_add(&b, "", 0), 0);
    assert_int_equal(moa_buf_add(&b, "x", 1), MOA_ELIMIT);
    assert_string_equal(b.data, "0123456789");              /* all or nothing */
    assert_int_equal(moa_buf_add(&b, "", 0), MOA_ELIMIT);   /* sticky */
    assert_int_equal(moa_buf_addf(&b, "y"), MOA_ELIMIT);
    assert_null(moa_buf_take(&b));
    assert_int_equal(moa_buf_addf(&b, "%s", "01234567890"), MOA_ELIMIT);
    assert_int_equal(b.len, 0);
    moa_buf_clear(&b);
    assert_int_equal(moa_buf_adds(&b, "again"), 0);
    moa_buf_deinit(&b);
    moa_buf_init(&b, SIZE_MAX);
    assert_int_equal(moa_buf_adds(&b, "a"), 0);
    assert_int_equal(moa_buf_add(&b, "a", SIZE_MAX - 1), MOA_ENOMEM); /* no wrapped size */
    moa_buf_deinit(&b);
    moa_buf_init(&b, 0);
    assert_int_equal(moa_buf_add(&b, "", 0), 0);
    assert_int_equal(moa_buf_adds(&b, "a"), MOA_ELIMIT);
    moa_buf_deinit(&b);
}

static void utf8(void **state) {
    (void)state;
    static const struct { const char *s; size_t n, chars; const char *clean; size_t ready; } c[] = {
        {"", 0, 0, "", 0},
        {"aé€😀", 10, 4, "aé€😀", 10},
        {"\xc3", 1, 1, "\xef\xbf\xbd", 0},                                     /* may still become é */
        {"a\xe2\x82", 3, 3, "a\xef\xbf\xbd\xef\xbf\xbd", 1},
        {"\xf0\x9f\x98", 3, 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 0},
        {"\xff", 1, 1, "\xef\xbf\xbd", 1},                                     /* bad already: sent */
        {"\xc0\xaf", 2, 2, "\xef\xbf\xbd\xef\xbf\xbd", 2},                     /* overlong */
        {"\xed\xa0\x80", 3, 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 3},     /* surrogate */
        {"\xf4\x90\x80\x80", 4, 4, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 4},
        {"\x80\x80\x80\x80", 4, 4, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", 4},
        {"\xe2\x28\xa1", 3, 3, "\xef\xbf\xbd(\xef\xbf\xbd", 3}};
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        moa_buf b;
        moa_buf_init(&b, 100);
        assert_int_equal(moa_utf8_count(c[i].s, c[i].n), c[i].chars);
        assert_int_equal(moa_utf8_ready(c[i].s, c[i].n), c[i].ready);
        assert_int_equal(moa_utf8_add_clean(&b, c[i].s, c[i].n), 0);
        assert_string_equal(moa_buf_str(&b), c[i].clean);
        moa_buf_deinit(&b);
    }
    for (uint32_t cp = 0; cp < 0x110800; cp += 7) { /* every seventh code point there and back */
        moa_buf b;
        uint32_t back;
        moa_buf_init(&b, 4);
        assert_int_equal(moa_utf8_add(&b, cp), 0);
        assert_int_equal(moa_utf8_next(&back, b.data, b.len), b.len);
        assert_int_equal(back, cp > 0x10FFFF || (cp >= 0xD800 && cp <= 0xDFFF) ? MOA_UTF8_BAD : cp);
        moa_buf_deinit(&b);
    }
}

static void errors(void **state) {
    (void)state;
    moa_err e;
    char big[2000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    assert_int_equal(moa_fail(&e, MOA_EFORMAT, "%s: got %d", "f", 3), MOA_EFORMAT);
    assert_string_equal(e.text, "f: got 3");
    assert_int_equal(moa_hint(&e, MOA_EIO, "try %s", "again"), MOA_EFORMAT);
    assert_string_equal(e.hint, "try again");
    assert_int_equal(moa_wrap(&e, MOA_EFORMAT, "layer %d", 2), MOA_EFORMAT);
    assert_string_equal(e.text, "layer 2: f: got 3");
    assert_int_equal(moa_fail(&e, MOA_EIO, "%s", big), MOA_EIO); /* too long: cut, terminated, the old hint gone */
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
    assert_string_equal(e.hint, "");
    for (int n = 500; n < 520; n++) {
        moa_fail(&e, MOA_EIO, "old");
        moa_wrap(&e, MOA_EIO, "%.*s", n, big);
        assert_true(strlen(e.text) < sizeof e.text && strlen(e.text) >= 500);
    }
    moa_fail(&e, MOA_EIO, "%s", big);
    moa_wrap(&e, MOA_EIO, "where");
    assert_memory_equal(e.text, "where: xxx", 10);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
    moa_fail(&e, MOA_EIO, "\x1b[2J%s\x7f\n\t", "\xc2\x9b\a\xc3\xa9"); /* what a file is called must not steer a terminal */
    moa_hint(&e, MOA_EIO, "\r\b%s", "\xc2");
    assert_string_equal(e.text, "?[2J???\xc3\xa9?\n\t");
    assert_string_equal(e.hint, "??\xc2");
    moa_wrap(&e, MOA_EIO, "\x1b");
    assert_memory_equal(e.text, "?: ?[2J", 7);
    assert_int_equal(moa_fail(NULL, MOA_EIO, "x") + moa_hint(NULL, MOA_EIO, "x") + moa_wrap(NULL, MOA_EIO, "x"), 3 * MOA_EIO);
    assert_string_equal(moa_strerror(MOA_ELIMIT), "limit exceeded");
    assert_string_equal(moa_strerror(0), "ok");
    assert_string_equal(moa_strerror(12345), "unknown error");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(appends), cmocka_unit_test(maximum_is_kept), cmocka_unit_test(utf8), cmocka_unit_test(errors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
