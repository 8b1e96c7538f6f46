/* test_replies.c - what servers say of a file and how they say it: lengths, parts, silence, pages without end; and which bytes of an
 * earlier run may be gone on with. SPDX-License-Identifier: Apache-2.0 */
#include "fetch/one_file.h"

#include "base/clock.h"

static void cut_at(httpd_route *r, int64_t at, moa_download d) {
    httpd_fail(r, HTTPD_CUT, at, 1);
    refused(httpd_url(server, r->path), d, MOA_EIO, "");
    assert_int_equal(file_size(part), at);
    atomic_store(&server->n_log, 0);
}

/* Where a body ends with its connection, a broken one looks like a whole one: only a checksum or a known size tells. */
static void no_end(void **state) {
    (void)state;
    char sum[65];
    httpd_route *r = httpd_add(server, "/m.gguf", 30, SIZE);
    httpd_sha256(sum, 30, SIZE);
    httpd_fail(r, HTTPD_OPEN, SIZE, -1);
    refused(httpd_url(server, "/m.gguf"), (moa_download){.retries = 3}, MOA_EFORMAT, "--sha256");
    assert_int_equal(server->n_log, 1);
    assert_int_equal(n_files(folder), 0);
    fetched(httpd_url(server, "/m.gguf"), (moa_download){.sha256 = sum}, 30);
    unlink(target);
    httpd_fail(r, HTTPD_OPEN, 1000, -1);
    refused(httpd_url(server, "/m.gguf"), (moa_download){.sha256 = sum}, MOA_EFORMAT, "checksum is wrong");
    refused(httpd_url(server, "/m.gguf"), (moa_download){.size = SIZE}, MOA_EIO, "ended after 1000 of 300000");
}

/* A server may send less than was asked for (RFC 9110, 15.3.7): the next part is asked for at once, and nothing counts as a failure. */
static void parts_of_parts(void **state) {
    (void)state;
    moa_downloaded out;
    httpd_route *r = httpd_add(server, "/m.gguf", 31, SIZE);
    cut_at(r, 30000, (moa_download){0});
    httpd_fail(r, HTTPD_HALF, 70000, -1);
    assert_int_equal(fetch(&out, httpd_url(server, "/m.gguf"), (moa_download){0}, NULL), 0);
    assert_int_equal(out.failures, 0);
    assert_int_equal(server->n_log, 4);
    holds(target, 31, SIZE);
    unlink(target);
    cut_at(r, 30000, (moa_download){0});
    httpd_fail(r, HTTPD_HALF, 10, -1); /* this would take a day */
    refused(httpd_url(server, "/m.gguf"), (moa_download){.retries = 2}, MOA_EIO, "3 attempts failed");
    assert_int_equal(server->n_log, 3);
}

/* Of a part of something of unknown length nobody knows whether it is the last. */
static void unknown_total(void **state) {
    (void)state;
    httpd_route *r = httpd_add(server, "/m.gguf", 32, SIZE);
    r->chunked = true;
    cut_at(r, 100000, (moa_download){0});
    httpd_fail(r, HTTPD_STAR, 70000, 1);
    fetched(httpd_url(server, "/m.gguf"), (moa_download){0}, 32);
    assert_int_equal(server->n_log, 2);
    assert_string_equal(server->log[1].range, "");
}

/* Nothing at all, header lines without end, a page of an error without end: each ends, and says what it was. */
static void silence_and_noise(void **state) {
    (void)state;
    const double from = moa_now();
    httpd_route *r = httpd_add(server, "/m.gguf", 33, SIZE);
    http_cfg.stall_s = 1;
    httpd_fail(r, HTTPD_MUTE, 0, 1);
    fetched(httpd_url(server, "/m.gguf"), (moa_download){.retries = 1}, 33);
    unlink(target);
    httpd_fail(r, HTTPD_HEADERS, 0, -1);
    refused(httpd_url(server, "/m.gguf"), (moa_download){.retries = 3}, MOA_ELIMIT, "256 kB of headers");
    httpd_fail(r, HTTPD_PAGE, 0, -1);
    r->status = 404;
    refused(httpd_url(server, "/m.gguf"), (moa_download){0}, MOA_ENOTFOUND, "404");
    r->status = 503;
    refused(httpd_url(server, "/m.gguf"), (moa_download){.retries = 1}, MOA_EIO, "2 attempts failed");
    if (moa_now() - from > 60) fail_msg("%.1f s", moa_now() - from); /* seconds; without these limits it would never end */
}

/* What the named server says of checksum and length binds the one that it sends us to. */
static void published_elsewhere(void **state) {
    (void)state;
    char sum[65], new_sum[65], origin[128];
    httpd_route *a = httpd_add(server, "/m.gguf", 0, 0), *b = httpd_add(server, "/storage", 34, SIZE);
    snprintf(origin, sizeof origin, "%s", httpd_url(server, "/"));
    http_cfg.origin = origin;
    httpd_sha256(sum, 34, SIZE);
    httpd_fail(a, HTTPD_REDIRECT, 0, -1);
    snprintf(a->to, sizeof a->to, "%s", httpd_other_url(server, "/storage"));
    snprintf(a->extra, sizeof a->extra, "X-Linked-Size: %d\r\nX-Linked-Etag: \"%s\"\r\n", SIZE + 1, sum);
    refused(httpd_url(server, "/m.gguf"), (moa_download){0}, MOA_EFORMAT, "sends 300000 bytes, expected 300001");
    snprintf(a->extra, sizeof a->extra, "X-Linked-Size: %d\r\nX-Linked-Etag: \"%s\"\r\n", SIZE, sum);
    b->chunked = true; /* its length is known all the same */
    httpd_fail(b, HTTPD_CUT, 100000, 1);
    refused(httpd_url(server, "/m.gguf"), (moa_download){0}, MOA_EIO, "");
    fetched(httpd_url(server, "/m.gguf"), (moa_download){0}, 34);
    unlink(target);
    /* Another checksum than the one that is wanted is no reason to fetch 300 kB first. */
    httpd_sha256(new_sum, 35, SIZE);
    refused(httpd_url(server, "/m.gguf"), (moa_download){.sha256 = new_sum}, MOA_EFORMAT, "the server says its checksum is");
    assert_int_equal(n_files(folder), 0);
    /* A new file behind the same name, of the same length: what is here of the old one is not gone on with. */
    httpd_fail(b, HTTPD_CUT, 100000, 1);
    refused(httpd_url(server, "/m.gguf"), (moa_download){0}, MOA_EIO, "");
    b->seed = 35;
    snprintf(a->extra, sizeof a->extra, "X-Linked-Size: %d\r\nX-Linked-Etag: \"%s\"\r\n", SIZE, new_sum);
    fetched(httpd_url(server, "/m.gguf"), (moa_download){0}, 35);
}

/* Bytes of one server are not gone on with by another one, whose ETag may be equal by chance, unless a checksum will prove the whole. */
static void another_server(void **state) {
    (void)state;
    char sum[65];
    httpd_route *a = httpd_add(server, "/a/m.gguf", 36, SIZE), *b = httpd_add(server, "/b/m.gguf", 37, SIZE);
    memcpy(b->etag, a->etag, sizeof b->etag);
    cut_at(a, 100000, (moa_download){0});
    fetched(httpd_url(server, "/b/m.gguf"), (moa_download){0}, 37);
    assert_string_equal(server->log[0].range, "");
    unlink(target);
    httpd_sha256(sum, 36, SIZE);
    cut_at(a, 100000, (moa_download){.sha256 = sum});
    b->seed = 36;
    fetched(httpd_url(server, "/b/m.gguf"), (moa_download){.sha256 = sum}, 36);
    assert_string_equal(server->log[0].range, "bytes=100000-");
}

/* A run that was killed between putting the file in place and noting it leaves the part's note: it is known by that. */
static void killed_at_the_end(void **state) {
    (void)state;
    char note[1024], sum[65];
    moa_downloaded out;
    moa_err err = {0};
    httpd_route *r = httpd_add(server, "/m.gguf", 38, SIZE);
    const char *const url = httpd_url(server, "/m.gguf");
    httpd_sha256(sum, 38, SIZE);
    fetched(url, (moa_download){0}, 38);
    snprintf(note, sizeof note, "{\"size\":%d,\"url\":\"%s\",\"etag\":\"\\\"%s\\\"\"}", SIZE, url, "26-300000");
    assert_string_equal(r->etag, "\"26-300000\"");
    atomic_store(&server->n_log, 0);
    assert_int_equal(fetch(&out, url, (moa_download){0}, &err), MOA_EIO); /* without it the file could be anyone's */
    write_file(in_folder("m.gguf.part.json"), note, strlen(note));
    if (fetch(&out, url, (moa_download){0}, &err) < 0) fail_msg("%s", err.text);
    assert_true(out.was_there && server->n_log == 1);
    assert_string_equal(out.sha256, sum);
    assert_string_equal(out.etag, r->etag);
    assert_int_equal(n_files(folder), 1);
    /* The server has another one by now: it takes the old one's place. */
    write_file(in_folder("m.gguf.part.json"), note, strlen(note));
    r->seed = 39;
    snprintf(r->etag, sizeof r->etag, "\"new\"");
    fetched(url, (moa_download){0}, 39);
}

/* A token goes to other machines through TLS only; and the reply to what was asked without it says so. */
static void tokens_and_proxies(void **state) {
    (void)state;
    static const char *const header[] = {"X-Secret: 42"};
    http_cfg.header = header, http_cfg.n_header = 1;
    http_cfg.token = "tok";
    http_cfg.origin = "http://models.invalid/";
    httpd_route *r = httpd_add(server, "/m.gguf", 40, SIZE);
    setenv("http_proxy", httpd_url(server, ""), 1);
    httpd_fail(r, HTTPD_STATUS, 0, -1);
    r->status = 401;
    refused("http://models.invalid/m.gguf", (moa_download){0}, MOA_EIO, "was not sent");
    assert_string_equal(server->log[0].auth, "");
    assert_string_equal(server->log[0].secret, "42");
    /* This machine itself is not asked for through a proxy, which would have seen the token. */
    setenv("http_proxy", "http://127.0.0.1:9", 1);
    http_cfg.origin = httpd_url(server, "/");
    r->fault = HTTPD_FINE;
    fetched(httpd_url(server, "/m.gguf"), (moa_download){0}, 40);
    assert_string_equal(server->log[1].auth, "Bearer tok");
    unsetenv("http_proxy");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        T(no_end), T(parts_of_parts), T(unknown_total), T(silence_and_noise), T(published_elsewhere), T(another_server), T(killed_at_the_end), T(tokens_and_proxies),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
