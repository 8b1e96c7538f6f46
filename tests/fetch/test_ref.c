/* test_ref.c - what may be asked for and what may stand on the disk; redirects' rules; header lines.
 * SPDX-License-Identifier: Apache-2.0 */
#include "fetch/http.h"
#include "fetch/ref.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define HUB "https://hub.example"

static void references(void **state) {
    (void)state;
    static const struct { const char *text, *owner, *repo, *what, *rev; } hub[] = {
        {"hf:own/rep", "own", "rep", "", "main"},
        {"HF:own/rep-1.5_B", "own", "rep-1.5_B", "", "main"},
        {"hf:own/rep:Q4_K_M", "own", "rep", "Q4_K_M", "main"},
        {"hf:own/rep:dir/a-00001-of-00002.gguf@refs/pr/7", "own", "rep", "dir/a-00001-of-00002.gguf", "refs/pr/7"},
        {"hf:own/rep@v1.0", "own", "rep", "", "v1.0"},
        {"hf:own/rep:big/*Q?_K*@v1.0", "own", "rep", "big/*Q?_K*", "v1.0"},
        {HUB "/own/rep", "own", "rep", "", "main"},
        {HUB "/own/rep?library=x", "own", "rep", "", "main"},
        {HUB "/own/rep/blob/main/a.gguf", "own", "rep", "a.gguf", "main"},
        {HUB "/own/rep/tree/v2", "own", "rep", "", "v2"},
        {HUB "/own/rep/tree/main/", "own", "rep", "", "main"},
        {HUB "/own/rep/tree/main/Q8_0/x?y#z", "own", "rep", "Q8_0/x/*", "main"},
        {HUB "/own/rep/resolve/0123abc/dir/a.gguf?download=true", "own", "rep", "dir/a.gguf", "0123abc"},
    };
    moa_ref r;
    moa_err err;
    for (size_t i = 0; i < sizeof hub / sizeof *hub; i++) {
        err = (moa_err){0};
        if (moa_ref_parse(&r, hub[i].text, HUB, &err) < 0) fail_msg("%s: %s", hub[i].text, err.text);
        assert_true(r.hub);
        assert_string_equal(r.owner, hub[i].owner);
        assert_string_equal(r.repo, hub[i].repo);
        assert_string_equal(r.what, hub[i].what);
        assert_string_equal(r.rev, hub[i].rev);
    }
    static const char *const urls[] = {"http://h/a.gguf", "HTTPS://user:pw@h:8080/x/a.gguf?sig=1", HUB "/datasets/own/rep", HUB "/own/rep/tree/", HUB "/own/rep/tree/main/a/../b", HUB "/own/rep/discussions/main", HUB "/api/models"};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        assert_int_equal(moa_ref_parse(&r, urls[i], HUB, NULL), 0);
        assert_false(r.hub);
        assert_string_equal(r.url, urls[i]);
    }
    static const char *const bad[] = {
        "", "a.gguf", "ftp://h/a", "file:///etc/passwd", "http://", "https:///x", "http://?x", "hf:", "hf:own", "hf:own/", "hf:/rep", "hf:own/rep/a.gguf", "hf:../rep",
        "hf:own/..", "hf:own/rep:", "hf:own/rep:../a", "hf:own/rep:/etc/passwd", "hf:own/rep:a//b", "hf:own/rep:a/../../b", "hf:own/rep:.hidden", "hf:own/rep:-x",
        "hf:own/rep@", "hf:own/rep@..", "hf:own/rep@a/../b", "hf:own/re p", "hf:own/rep:a\nb", "hf:own/rep:*/../b", "hf:own/rep:*/", "hf:own/rep:[a]", "hf:own/*", "hf:own/rep:a#b", "hf:own/rep:a%2fb", "hf:own/rep@x?y"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        err = (moa_err){0};
        if (moa_ref_parse(&r, bad[i], HUB, &err) != MOA_EUSAGE || !err.hint[0]) fail_msg("'%s' was taken", bad[i]);
    }
    assert_int_equal(moa_ref_parse(&r, "own/rep-GGUF", HUB, &err), MOA_EUSAGE); /* what other tools call a repository */
    assert_non_null(strstr(err.hint, "moa pull hf:own/rep-GGUF "));
}

static void names(void **state) {
    (void)state;
    static const char *const good[] = {"a", "a.gguf", "Model-1.5B_Q4.gguf", "a+b=c,d@e(f)", "model..gguf"};
    static const char *const bad[] = {"", ".", "..", ".a", "-a", "a b", "a/b", "a\\b", "a%2f", "a:b", "a*b", "a\x01", "\xc3\xa4", "a'b", "a\"b", "~a", "$x", "a|b"};
    char big[MOA_REF_NAME_MAX + 1];
    memset(big, 'a', sizeof big);
    big[MOA_REF_NAME_MAX] = 0;
    assert_false(moa_ref_name_ok(big));
    big[MOA_REF_NAME_MAX - 1] = 0;
    assert_true(moa_ref_name_ok(big));
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_true(moa_ref_name_ok(good[i]) && moa_ref_path_ok(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (moa_ref_name_ok(bad[i])) fail_msg("'%s' was taken", bad[i]);
        if (strcmp(bad[i], "a/b") && moa_ref_path_ok(bad[i])) fail_msg("path '%s' was taken", bad[i]);
    }
    assert_true(moa_ref_path_ok("a/b/c.json"));
    static const char *const paths[] = {"/a", "a/", "a//b", "a/../b", "../a", "a/.b", "a/./b"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) assert_false(moa_ref_path_ok(paths[i]));
}

static void names_of_urls(void **state) {
    (void)state;
    static const struct { const char *url, *name; } cases[] = {
        {"https://h/x/a.gguf", "a.gguf"}, {"https://h/x/a.gguf?download=true#f", "a.gguf"}, {"https://h/x/a%2Db%2egguf", "a-b.gguf"},
        {"https://h/a%20b.gguf", NULL}, {"https://h/..%2fpasswd", NULL}, {"https://h/%2e%2e", NULL}, {"https://h/a%00.gguf", NULL}, {"https://h/a%2", NULL},
        {"https://h/a%zz", NULL}, {"https://h/x/", NULL}, {"https://h", NULL}, {"https://h?a.gguf", NULL}, {"https://h/?a.gguf", NULL}, {"nothing", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[MOA_REF_NAME_MAX];
        moa_err err = {0};
        const int rc = moa_ref_url_name(name, cases[i].url, &err);
        if (!cases[i].name != (rc == MOA_EUSAGE)) fail_msg("%s: %d '%s'", cases[i].url, rc, name);
        if (cases[i].name) assert_string_equal(name, cases[i].name);
    }
    char show[64];
    moa_ref_show(show, sizeof show, "https://user:p@ss@h:1/x?token=1#f");
    assert_string_equal(show, "https://h:1/x");
    moa_ref_show(show, sizeof show, "https://h/a@b\x1b[2J?x=a@b");
    assert_string_equal(show, "https://h/a@b?[2J");
    moa_ref_show(show, 8, "https://h/abc");
    assert_string_equal(show, "https:/");
    assert_true(moa_ref_escape(show, sizeof show, "a/b c+", true));
    assert_string_equal(show, "a/b%20c%2B");
    assert_true(moa_ref_escape(show, sizeof show, "refs/pr/1", false));
    assert_string_equal(show, "refs%2Fpr%2F1");
    assert_false(moa_ref_escape(show, 4, "abcd", true));
}

static void parts(void **state) {
    (void)state;
    size_t stem;
    int i, n;
    assert_true(moa_ref_split("m-Q4-00002-of-00010.gguf", &stem, &i, &n));
    assert_true(stem == 4 && i == 2 && n == 10);
    assert_true(moa_ref_split("a-00001-of-00001.GGUF", &stem, &i, &n));
    static const char *const no[] = {"m.gguf", "-00001-of-00002.gguf", "m-00000-of-00002.gguf", "m-00003-of-00002.gguf", "m-0001-of-00002.gguf",
                                     "m-00001-of-0000x.gguf", "m-00001of-00002.gguf", "m-00001-of-00002.bin", "m00001-of-00002.gguf", ""};
    for (size_t k = 0; k < sizeof no / sizeof *no; k++)
        if (moa_ref_split(no[k], &stem, &i, &n)) fail_msg("'%s' is no part", no[k]);
}

static void redirect_rules(void **state) {
    (void)state;
    moa_err err = {0};
    assert_int_equal(moa_http_may_go("http://a/x", "http://b/y", &err), 0);
    assert_int_equal(moa_http_may_go("http://a/x", "https://a/x", &err), 0);
    assert_int_equal(moa_http_may_go("https://a/x", "https://b/x", &err), 0);
    assert_int_equal(moa_http_may_go("https://a/x", "http://a/x", &err), MOA_EFORMAT);
    assert_non_null(strstr(err.text, "https down"));
    assert_int_equal(moa_http_may_go("https://a/x", "HTTP://a:443/x", &err), MOA_EFORMAT);
    assert_int_equal(moa_http_may_go("http://a/x", "file:///etc/passwd", &err), MOA_EFORMAT);
    assert_int_equal(moa_http_may_go("http://a/x", "gopher://a/", &err), MOA_EFORMAT);
    assert_int_equal(moa_http_may_go("http://a/x", "", &err), MOA_EFORMAT);
    assert_true(moa_http_same_origin("https://a/x", "https://A:443/y?z"));
    assert_true(moa_http_same_origin("http://a:80", "http://user@a/y"));
    static const char *const other[] = {"http://a/", "https://a:444/", "https://b/", "https://a.b/", "https://a@b/", "a", ""};
    for (size_t k = 0; k < sizeof other / sizeof *other; k++) assert_false(moa_http_same_origin("https://a/", other[k]));
}

static void header(moa_http_reply *r, const char *line) { moa_http_header(r, line, strlen(line)); }

static void headers(void **state) {
    (void)state;
    static const char sum[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    moa_http_reply r = {0};
    char line[512];
    header(&r, "HTTP/1.1 206 Partial\r\n");
    header(&r, "content-RANGE:bytes 5-9/10\r\n");
    header(&r, "Content-Length: 5 \r\n");
    header(&r, "ETag: \"x y\"\r\n");
    assert_true(r.from == 5 && r.to == 9 && r.total == 10 && r.length == 5);
    assert_string_equal(r.etag, "\"x y\"");
    header(&r, "Content-Encoding: identity\r\n");
    assert_false(r.encoded);
    header(&r, "Content-Encoding: br\r\n");
    assert_true(r.encoded);
    header(&r, "HTTP/2 200\r\n"); /* the reply after a 100 Continue: what stood before is gone */
    assert_true(r.from == -1 && r.length == -1 && !r.etag[0] && !r.encoded);
    header(&r, "Content-Range: bytes */77\r\n");
    assert_true(r.from == -1 && r.to == -1 && r.total == 77);
    header(&r, "Content-Range: bytes 0-4/*\r\n");
    assert_true(r.from == 0 && r.to == 4 && r.total == -1);
    static const char *const ranges[] = {"bytes 5-4/10", "bytes 5-10/10", "bytes -1-4/10", "bytes 0-4", "bytes 0-4/", "bytes 0-4/1x", "items 0-4/10", "bytes=0-4/10",
                                         "bytes 99999999999999999999-4/10", "bytes 0-99999999999999999999/*", "bytes", ""};
    for (size_t k = 0; k < sizeof ranges / sizeof *ranges; k++) {
        header(&r, "HTTP/1.1 206 x\r\n");
        snprintf(line, sizeof line, "Content-Range: %s\r\n", ranges[k]);
        header(&r, line);
        if (r.from != -1 || r.to != -1) fail_msg("'%s' was taken", ranges[k]);
    }
    static const char *const lengths[] = {"-1", "1 2", "0x10", "99999999999999999999", ""};
    for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
        snprintf(line, sizeof line, "Content-Length: %s\r\n", lengths[k]);
        header(&r, line);
        assert_int_equal(r.length, -1);
    }
    snprintf(line, sizeof line, "X-Linked-Etag: \"%s\"\r\n", sum);
    header(&r, line);
    assert_string_equal(r.linked_sha256, sum);
    header(&r, "X-Linked-Etag: \"abc\"\r\n");
    assert_string_equal(r.linked_sha256, "");
    header(&r, "ETag: \"a\x1b[2J\"\r\n"); /* control characters: as if there were none */
    assert_string_equal(r.etag, "");
    memset(line, 'a', sizeof line);
    memcpy(line, "ETag: ", 6);
    moa_http_header(&r, line, sizeof line);
    assert_string_equal(r.etag, "");
    header(&r, "ETagx: \"a\"\r\n");
    header(&r, "ETag");
    header(&r, "");
    assert_string_equal(r.etag, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(references), cmocka_unit_test(names), cmocka_unit_test(names_of_urls), cmocka_unit_test(parts),
                                       cmocka_unit_test(redirect_rules), cmocka_unit_test(headers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
