/* test_page.c - the page and its files: whole, unchanged, by no name but their own, without a key, under a policy that lets no text become markup.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/client.h"
#include "support/serving.h"

#include "serve/ui.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static serving s;

static int setup(void **state) {
    static const char *const key[] = {"SECRET"};
    (void)state;
    serving_start(&s, &(moa_server_cfg){.key = key, .n_key = 1});
    return 0;
}

static int teardown(void **state) {
    serving_stop(&s);
    return serving_teardown(state);
}

static void assert_file(const char *path, const char *file, const char *type) {
    char at[200];
    static char disk[1 << 20];
    snprintf(at, sizeof at, "src/serve/ui/%s", file);
    FILE *f = fopen(at, "rb");
    assert_non_null(f);
    const size_t n = fread(disk, 1, sizeof disk, f);
    fclose(f);
    reply r = client_ask(s.port, "GET", path, NULL, NULL);
    assert_int_equal(r.status, 200);
    assert_string_equal(reply_header(&r, "Content-Type"), type);
    if (r.body.len != n || memcmp(moa_buf_str(&r.body), disk, n) != 0) fail_msg("%s is not %s", path, at);
    reply_deinit(&r);
}

static void test_files(void **state) {
    int n;
    char path[200];
    const moa_ui_file *f = moa_ui_files(&n);
    (void)state;
    assert_true(n > 1);
    assert_file("/", f[0].name, f[0].type);
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "/ui/%s", f[i].name);
        assert_file(path, f[i].name, f[i].type);
    }
}

static void test_policy(void **state) {
    (void)state;
    reply r = client_ask(s.port, "GET", "/", NULL, NULL);
    const char *policy = reply_header(&r, "Content-Security-Policy");
    assert_non_null(strstr(policy, "default-src 'none'"));
    assert_non_null(strstr(policy, "script-src 'self';"));
    assert_non_null(strstr(policy, "frame-ancestors 'none'"));
    assert_non_null(strstr(policy, "require-trusted-types-for 'script'"));
    assert_null(strstr(policy, "unsafe"));
    assert_null(strstr(policy, "http"));
    assert_string_equal(reply_header(&r, "X-Content-Type-Options"), "nosniff");
    reply_deinit(&r);
}

static void test_copy(void **state) {
    char have[100], etag[40];
    (void)state;
    reply r = client_ask(s.port, "GET", "/ui/main.js", NULL, NULL);
    snprintf(etag, sizeof etag, "%s", reply_header(&r, "ETag"));
    assert_string_equal(reply_header(&r, "Cache-Control"), "no-cache");
    reply_deinit(&r);
    snprintf(have, sizeof have, "If-None-Match: %s\r\n", etag);
    r = client_ask(s.port, "GET", "/ui/main.js", have, NULL);
    assert_int_equal(r.status, 304);
    assert_int_equal(r.body.len, 0);
    reply_deinit(&r);
    r = client_ask(s.port, "GET", "/ui/style.css", have, NULL); /* another file's */
    assert_int_equal(r.status, 200);
    reply_deinit(&r);
}

static void test_others(void **state) {
    static const char *const none[] = {"/ui/", "/ui/none.js", "/ui/../main.js", "/ui/..%2fserve.c", "/ui//etc/passwd", "/ui/index.html/"};
    (void)state;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        reply r = client_ask(s.port, "GET", none[i], NULL, NULL);
        assert_int_equal(r.status, 404);
        reply_deinit(&r);
    }
    reply r = client_ask(s.port, "POST", "/", "Content-Type: application/json\r\n", "{}");
    assert_int_equal(r.status, 405);
    reply_deinit(&r);
    r = client_ask(s.port, "GET", "/v1/models", NULL, NULL); /* what the page asks needs the key */
    assert_int_equal(r.status, 401);
    reply_deinit(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_files), cmocka_unit_test(test_policy), cmocka_unit_test(test_copy), cmocka_unit_test(test_others)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
