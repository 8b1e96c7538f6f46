/* test_download.c - one file against a server that does everything wrong: what arrives is either the right file or none,
 * and no byte is fetched twice without need. SPDX-License-Identifier: Apache-2.0 */
#include "fetch/one_file.h"

#include "base/clock.h"

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

static void whole(void **state) {
    (void)state;
    char sum[65];
    moa_downloaded out;
    httpd_route *r = httpd_add(server, "/m.gguf", 1, SIZE);
    httpd_sha256(sum, 1, SIZE);
    fetched(httpd_url(server, "/m.gguf"), (moa_download){0}, 1);
    assert_int_equal(server->n_log, 1);
    assert_string_equal(server->log[0].range, "");
    unlink(target);
    fetched(httpd_url(server, "/m.gguf"), (moa_download){.size = SIZE, .sha256 = sum}, 1);
    unlink(target);
    r->chunked = true; /* no length is told */
    assert_int_equal(fetch(&out, httpd_url(server, "/m.gguf"), (moa_download){.sha256 = sum}, NULL), 0);
    assert_true(out.checked && !out.was_there && out.resumed_from == 0 && out.failures == 0);
    assert_string_equal(out.etag, r->etag);
    holds(target, 1, SIZE);
    unlink(target);
    httpd_add(server, "/empty", 1, 0);
    refused(httpd_url(server, "/empty"), (moa_download){0}, MOA_EFORMAT, "no GGUF file: 0 bytes");
    target = in_folder("notes.txt"); /* another file may be empty */
    assert_int_equal(fetch(&out, httpd_url(server, "/empty"), (moa_download){0}, NULL), 0);
    assert_int_equal(file_size(target), 0);
}

/* Connections end at random places, with and without a length; each time the rest alone is asked for. */
static void cut_everywhere(void **state) {
    (void)state;
    for (int chunked = 0; chunked < 2; chunked++) {
        httpd_clear(server);
        httpd_route *r = httpd_add(server, "/m.gguf", 2, SIZE);
        r->chunked = chunked;
        httpd_fail(r, HTTPD_CUT_RANDOM, 40000, -1);
        fetched(httpd_url(server, "/m.gguf"), (moa_download){.retries = 100, .backoff_s = 1e-6}, 2); /* pauses double with every cut */
        assert_true(server->n_log > 8);
        int64_t before = 0;
        for (int i = 1; i < server->n_log; i++) {
            const int64_t from = strtoll(server->log[i].range + 6, NULL, 10);
            assert_memory_equal(server->log[i].range, "bytes=", 6);
            assert_string_equal(server->log[i].if_range, r->etag);
            assert_true(from > before && from < SIZE);
            before = from;
        }
        unlink(target);
    }
}

static void resumes_in_another_run(void **state) {
    (void)state;
    moa_downloaded out;
    moa_err err = {0};
    httpd_route *r = httpd_add(server, "/m.gguf", 3, SIZE);
    httpd_fail(r, HTTPD_CUT, 100000, 1);
    refused(httpd_url(server, "/m.gguf"), (moa_download){0}, MOA_EIO, "");
    assert_int_equal(file_size(part), 100000);
    assert_int_equal(fetch(&out, httpd_url(server, "/m.gguf"), (moa_download){0}, &err), 0);
    assert_int_equal(out.resumed_from, 100000);
    assert_string_equal(server->log[1].range, "bytes=100000-");
    holds(target, 3, SIZE);
    unlink(target);
    /* By its date where there is no ETag; a weak ETag does not promise equal bytes, so all is fetched again. */
    static const struct { const char *etag, *date, *range, *if_range; } cases[] = {
        {"", "Sat, 01 Nov 2025 10:00:00 GMT", "bytes=100000-", "Sat, 01 Nov 2025 10:00:00 GMT"},
        {"W/\"x\"", "Sat, 01 Nov 2025 10:00:00 GMT", "", ""},
        {"", "", "", ""},
    };
    for (size_t i = 0; i < 3; i++) {
        httpd_clear(server);
        r = httpd_add(server, "/m.gguf", 3, SIZE);
        snprintf(r->etag, sizeof r->etag, "%s", cases[i].etag);
        snprintf(r->last_modified, sizeof r->last_modified, "%s", cases[i].date);
        httpd_fail(r, HTTPD_CUT, 100000, 1);
        refused(httpd_url(server, "/m.gguf"), (moa_download){0}, MOA_EIO, "");
        fetched(httpd_url(server, "/m.gguf"), (moa_download){0}, 3);
        assert_string_equal(server->log[1].range, cases[i].range);
        assert_string_equal(server->log[1].if_range, cases[i].if_range);
        unlink(target);
    }
    /* With a checksum the rest is asked for without a condition: the sum will prove the whole. */
    char sum[65];
    httpd_sha256(sum, 3, SIZE);
    httpd_fail(r, HTTPD_CUT, 100000, 1);
    refused(httpd_url(server, "/m.gguf"), (moa_download){.sha256 = sum}, MOA_EIO, "");
    httpd_clear(server);
    httpd_add(server, "/m.gguf", 3, SIZE);
    fetched(httpd_url(server, "/m.gguf"), (moa_download){.sha256 = sum}, 3);
    assert_string_equal(server->log[0].range, "bytes=100000-");
    assert_string_equal(server->log[0].if_range, "");
}

static void wrong_ranges(void **state) {
    (void)state;
    static const httpd_fault faults[] = {HTTPD_NO_RANGE, HTTPD_SHIFT, HTTPD_NO_NUMBERS};
    for (size_t i = 0; i < 3; i++) {
        httpd_clear(server);
        httpd_route *r = httpd_add(server, "/m.gguf", 4, SIZE);
        httpd_fail(r, HTTPD_CUT, 100000, 1);
        refused(httpd_url(server, "/m.gguf"), (moa_download){0}, MOA_EIO, "");
        httpd_fail(r, faults[i], 7, -1);
        fetched(httpd_url(server, "/m.gguf"), (moa_download){0}, 4); /* no retry is needed: the whole is asked for at once */
        unlink(target);
    }
    /* Less than was asked for is no error: it goes on behind it. */
    httpd_route *r = &server->route[0];
    httpd_fail(r, HTTPD_CUT, 100000, 1);
    refused(httpd_url(server, "/m.gguf"), (moa_download){0}, MOA_EIO, "");
    httpd_fail(r, HTTPD_HALF, 90000, -1);
    fetched(httpd_url(server, "/m.gguf"), (moa_download){.retries = 5}, 4);
    unlink(target);
    /* A part of the file as the answer to a request for all of it. */
    httpd_fail(r, HTTPD_ALWAYS_206, 10, -1);
    refused(httpd_url(server, "/m.gguf"), (moa_download){0}, MOA_EFORMAT, "all of it was asked for");
}

/* Right numbers, wrong bytes: only the checksum can tell, and then all is fetched anew, once. */
static void lying_range(void **state) {
    (void)state;
    char sum[65];
    httpd_route *r = httpd_add(server, "/m.gguf", 5, SIZE);
    httpd_sha256(sum, 5, SIZE);
    httpd_fail(r, HTTPD_CUT, 100000, 1);
    refused(httpd_url(server, "/m.gguf"), (moa_download){.sha256 = sum}, MOA_EIO, "");
    httpd_fail(r, HTTPD_LIE, 9, -1);
    fetched(httpd_url(server, "/m.gguf"), (moa_download){.sha256 = sum}, 5);
    assert_int_equal(server->n_log, 3);
    assert_string_equal(server->log[2].range, "");
}

static void the_file_changes(void **state) {
    (void)state;
    for (int ignores_if_range = 0; ignores_if_range < 2; ignores_if_range++) {
        httpd_clear(server);
        httpd_route *r = httpd_add(server, "/m.gguf", 6, SIZE);
        httpd_fail(r, HTTPD_CUT, 100000, 1);
        refused(httpd_url(server, "/m.gguf"), (moa_download){0}, MOA_EIO, "");
        /* The server may go by the condition, or send a range of the new file all the same. */
        if (ignores_if_range) memcpy(r->last_modified, r->etag, sizeof r->last_modified);
        snprintf(r->etag, sizeof r->etag, "\"new\"");
        r->seed = 7;
        fetched(httpd_url(server, "/m.gguf"), (moa_download){0}, 7);
        assert_int_equal(server->n_log, ignores_if_range ? 3 : 2);
        unlink(target);
        /* A new length under the old ETag. */
        httpd_fail(r, HTTPD_CUT, 100000, 1);
        r->size = SIZE - 1;
        refused(httpd_url(server, "/m.gguf"), (moa_download){0}, MOA_EIO, "");
        r->size = SIZE;
        fetched(httpd_url(server, "/m.gguf"), (moa_download){0}, 7);
        unlink(target);
        /* What is expected differs from what the part was the beginning of. */
        char sum[65];
        httpd_fail(r, HTTPD_CUT, 100000, 1);
        refused(httpd_url(server, "/m.gguf"), (moa_download){0}, MOA_EIO, "");
        httpd_sha256(sum, 7, SIZE);
        fetched(httpd_url(server, "/m.gguf"), (moa_download){.size = SIZE, .sha256 = sum}, 7);
        unlink(target);
    }
}

static void wrong_checksum(void **state) {
    (void)state;
    char sum[65], other[65];
    httpd_route *r = httpd_add(server, "/m.gguf", 8, SIZE);
    httpd_sha256(sum, 8, SIZE);
    httpd_sha256(other, 9, SIZE);
    httpd_fail(r, HTTPD_CORRUPT, 150000, -1);
    refused(httpd_url(server, "/m.gguf"), (moa_download){.sha256 = sum}, MOA_EFORMAT, sum);
    assert_int_equal(n_files(folder), 0); /* nothing wrong is kept */
    assert_int_equal(server->n_log, 1);   /* and it is not fetched again and again */
    r->fault = HTTPD_FINE;
    refused(httpd_url(server, "/m.gguf"), (moa_download){.sha256 = other}, MOA_EFORMAT, sum);
    /* What the server says in X-Linked-Etag counts when nothing else is known. */
    snprintf(r->extra, sizeof r->extra, "X-Linked-Etag: \"%s\"\r\n", other);
    http_cfg.origin = httpd_url(server, "/");
    refused(httpd_url(server, "/m.gguf"), (moa_download){0}, MOA_EFORMAT, other);
    http_cfg.origin = NULL; /* a server that is not the one that was named has no say in it */
    fetched(httpd_url(server, "/m.gguf"), (moa_download){0}, 8);
    unlink(target);
    /* A part that was damaged on the disk. */
    httpd_fail(r, HTTPD_CUT, 100000, 1);
    refused(httpd_url(server, "/m.gguf"), (moa_download){.sha256 = sum}, MOA_EIO, "");
    FILE *f = fopen(part, "r+b");
    fseek(f, 5000, SEEK_SET);
    fputc('x', f);
    fclose(f);
    fetched(httpd_url(server, "/m.gguf"), (moa_download){.sha256 = sum}, 8);
}

static void wrong_sizes(void **state) {
    (void)state;
    httpd_route *r = httpd_add(server, "/m.gguf", 10, SIZE);
    refused(httpd_url(server, "/m.gguf"), (moa_download){.size = SIZE + 1}, MOA_EFORMAT, "expected 300001");
    httpd_fail(r, HTTPD_MORE, 5, -1);
    refused(httpd_url(server, "/m.gguf"), (moa_download){.size = SIZE}, MOA_EFORMAT, "more than");
    r->fault = HTTPD_FINE;
    r->chunked = true;
    refused(httpd_url(server, "/m.gguf"), (moa_download){.size = SIZE + 5}, MOA_EIO, "ended after");
    snprintf(r->extra, sizeof r->extra, "Content-Encoding: gzip\r\n");
    refused(httpd_url(server, "/m.gguf"), (moa_download){0}, MOA_EUNSUPPORTED, "Content-Encoding");
    r = httpd_add(server, "/page", 0, 0);
    snprintf(r->text, sizeof r->text, "<html>please log in</html>");
    snprintf(r->type, sizeof r->type, "text/html");
    refused(httpd_url(server, "/page"), (moa_download){0}, MOA_EFORMAT, "web page");
    assert_int_equal(file_size(part), -1);
}

static void redirects(void **state) {
    (void)state;
    static const char *const header[] = {"X-Secret: 42"};
    http_cfg.header = header, http_cfg.n_header = 1;
    http_cfg.token = "tok";
    http_cfg.origin = httpd_url(server, "/");
    httpd_route *a = httpd_add(server, "/a", 0, 0), *b = httpd_add(server, "/dir/b", 0, 0), *c = httpd_add(server, "/c", 0, 0);
    httpd_add(server, "/m.gguf", 11, SIZE);
    httpd_fail(a, HTTPD_REDIRECT, 0, -1);
    httpd_fail(b, HTTPD_REDIRECT, 0, -1);
    httpd_fail(c, HTTPD_REDIRECT, 0, -1);
    snprintf(a->to, sizeof a->to, "dir/b"); /* relative, as RFC 9110 allows */
    snprintf(b->to, sizeof b->to, "../m.gguf");
    b->status = 307;
    fetched(httpd_url(server, "/a"), (moa_download){0}, 11);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(server->log[i].auth, "Bearer tok");
        assert_string_equal(server->log[i].secret, "42");
    }
    unlink(target);
    /* To another host, and back: what was meant for the first stays there, and is not sent again. */
    atomic_store(&server->n_log, 0);
    snprintf(a->to, sizeof a->to, "%s", httpd_other_url(server, "/c"));
    snprintf(c->to, sizeof c->to, "%s", httpd_url(server, "/m.gguf"));
    fetched(httpd_url(server, "/a"), (moa_download){0}, 11);
    assert_string_equal(server->log[0].auth, "Bearer tok");
    for (int i = 1; i < 3; i++) {
        assert_string_equal(server->log[i].auth, "");
        assert_string_equal(server->log[i].secret, "");
    }
    assert_memory_equal(server->log[1].host, "127.0.0.2", 9);
    unlink(target);
    /* Resuming goes through the redirect too. */
    httpd_fail(&server->route[3], HTTPD_CUT, 100000, 1);
    atomic_store(&server->n_log, 0);
    fetched(httpd_url(server, "/a"), (moa_download){.retries = 1}, 11);
    assert_int_equal(server->n_log, 6);
    assert_string_equal(server->log[5].range, "bytes=100000-");
    unlink(target);
    /* Round and round; to where no http is; nowhere. */
    atomic_store(&server->n_log, 0);
    snprintf(a->to, sizeof a->to, "/a");
    refused(httpd_url(server, "/a"), (moa_download){.retries = 3}, MOA_EFORMAT, "more than 10 redirects");
    assert_int_equal(server->n_log, 11);
    snprintf(a->to, sizeof a->to, "file:///etc/passwd");
    refused(httpd_url(server, "/a"), (moa_download){0}, MOA_EFORMAT, "no http or https URL");
    snprintf(a->to, sizeof a->to, "ftp://127.0.0.1/m.gguf");
    refused(httpd_url(server, "/a"), (moa_download){0}, MOA_EFORMAT, "no http or https URL");
    a->status = 304;
    refused(httpd_url(server, "/a"), (moa_download){0}, MOA_EFORMAT, "without saying where");
}

static void statuses(void **state) {
    (void)state;
    httpd_route *r = httpd_add(server, "/m.gguf", 12, SIZE);
    static const struct { int status, code; const char *text; } final[] = {
        {404, MOA_ENOTFOUND, "404"}, {401, MOA_EIO, "HF_TOKEN"}, {403, MOA_EIO, "HF_TOKEN"}, {410, MOA_ENOTFOUND, "410"}, {501, MOA_EIO, "501"}};
    for (size_t i = 0; i < sizeof final / sizeof *final; i++) {
        httpd_fail(r, HTTPD_STATUS, 0, -1);
        r->status = final[i].status;
        atomic_store(&server->n_log, 0);
        refused(httpd_url(server, "/m.gguf"), (moa_download){.retries = 3}, final[i].code, final[i].text);
        assert_int_equal(server->n_log, 1); /* asking again would not help */
    }
    snprintf(r->extra, sizeof r->extra, "X-Error-Message: gated\r\n");
    r->status = 403;
    refused(httpd_url(server, "/m.gguf"), (moa_download){0}, MOA_EIO, "gated");
    static const int passing[] = {408, 429, 500, 502, 503, 504};
    for (size_t i = 0; i < sizeof passing / sizeof *passing; i++) {
        httpd_fail(r, HTTPD_STATUS, 0, 2);
        r->status = passing[i];
        atomic_store(&server->n_log, 0);
        fetched(httpd_url(server, "/m.gguf"), (moa_download){.retries = 2}, 12);
        assert_int_equal(server->n_log, 3);
        unlink(target);
    }
    httpd_fail(r, HTTPD_DROP, 0, 2);
    fetched(httpd_url(server, "/m.gguf"), (moa_download){.retries = 2}, 12);
    unlink(target);
    httpd_fail(r, HTTPD_STATUS, 0, -1);
    refused(httpd_url(server, "/m.gguf"), (moa_download){.retries = 2}, MOA_EIO, "3 attempts failed");
    assert_int_equal(n_files(folder), 0);
}

static void retry_after(void **state) {
    (void)state;
    httpd_route *r = httpd_add(server, "/m.gguf", 13, SIZE);
    httpd_fail(r, HTTPD_STATUS, 0, 1);
    r->status = 429;
    snprintf(r->retry_after, sizeof r->retry_after, "1");
    const double from = moa_now();
    fetched(httpd_url(server, "/m.gguf"), (moa_download){.retries = 2}, 13);
    assert_true(moa_now() - from >= 1);
    unlink(target);
    httpd_fail(r, HTTPD_STATUS, 0, -1);
    snprintf(r->retry_after, sizeof r->retry_after, "4000");
    atomic_store(&server->n_log, 0);
    refused(httpd_url(server, "/m.gguf"), (moa_download){.retries = 5}, MOA_EIO, "come back in 67 minutes");
    assert_int_equal(server->n_log, 1);
}

static void slow_and_stalled(void **state) {
    (void)state;
    httpd_route *r = httpd_add(server, "/m.gguf", 14, SIZE);
    httpd_fail(r, HTTPD_SLOW, 4000, -1); /* 75 pieces: slow, but it moves */
    fetched(httpd_url(server, "/m.gguf"), (moa_download){0}, 14);
    assert_int_equal(server->n_log, 1);
    unlink(target);
    httpd_fail(r, HTTPD_STALL, 200000, 1);
    http_cfg.stall_s = 1;
    atomic_store(&server->n_log, 0);
    fetched(httpd_url(server, "/m.gguf"), (moa_download){.retries = 9}, 14);
    assert_true(server->n_log >= 2);
    assert_string_equal(server->log[1].range, "bytes=200000-");
}

static void nobody_there(void **state) {
    (void)state;
    moa_downloaded out;
    moa_err err = {0};
    httpd *gone = httpd_start();
    assert_non_null(gone);
    char url[128];
    snprintf(url, sizeof url, "%s", httpd_url(gone, "/m.gguf"));
    httpd_stop(gone);
    assert_int_equal(fetch(&out, url, (moa_download){.retries = 50}, &err), MOA_EIO);
    assert_non_null(strstr(err.text, "4 attempts failed")); /* not 50: it never answered */
}

/* ---- the disk ---- */

static int in_child(int (*fn)(void)) {
    const pid_t pid = fork();
    if (pid == 0) _exit(fn());
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int limited(void) {
    const struct rlimit lim = {120000, 120000};
    moa_downloaded out;
    moa_err err = {0};
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &lim) < 0) return 2;
    if (fetch(&out, httpd_url(server, "/m.gguf"), (moa_download){.retries = 5}, &err) != MOA_EIO) return 3;
    return strstr(err.text, "cannot write") && strstr(err.hint, "what has come is kept") ? 0 : 4;
}

static void full_disk(void **state) {
    (void)state;
    httpd_add(server, "/m.gguf", 15, SIZE);
    assert_int_equal(in_child(limited), 0);
    assert_int_equal(server->n_log, 1); /* a full disk is not tried again */
    assert_int_equal(file_size(part), 120000);
    fetched(httpd_url(server, "/m.gguf"), (moa_download){0}, 15);
    assert_string_equal(server->log[1].range, "bytes=120000-");
}

/* A filesystem of 200 kB: seen before the first byte where the size is known, else when it is full. 77: not permitted here. */
static int on_tmpfs(void) {
    moa_downloaded out;
    moa_err err = {0};
    if ((unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", folder, "tmpfs", 0, "size=200k") < 0)
        return 77;
    if (fetch(&out, httpd_url(server, "/m.gguf"), (moa_download){.retries = 5}, &err) != MOA_EIO) return 2;
    if (!strstr(err.text, "needs 0.3 MB") || file_size(part) != -1) return 3;
    server->route[0].chunked = true;
    if (fetch(&out, httpd_url(server, "/m.gguf"), (moa_download){.retries = 5}, &err) != MOA_EIO) return 4;
    if (!strstr(err.text, "No space left")) return 5;
    const int64_t kept = file_size(part);
    if (kept < 100000) return 6;
    if (mount("tmpfs", folder, "tmpfs", MS_REMOUNT, "size=4m") < 0) return 77;
    if (fetch(&out, httpd_url(server, "/m.gguf"), (moa_download){0}, &err) < 0 || out.resumed_from != kept) return 7;
    char sum[65];
    httpd_sha256(sum, 16, SIZE);
    return strcmp(sum, out.sha256) ? 8 : 0;
}

static void small_filesystem(void **state) {
    (void)state;
    httpd_add(server, "/m.gguf", 16, SIZE);
    const int rc = in_child(on_tmpfs);
    if (rc == 77) {
        printf("skip: a tmpfs may not be mounted here\n");
        skip();
    }
    assert_int_equal(rc, 0);
}

/* ---- more than one process ---- */

static pid_t in_background(void) {
    const pid_t pid = fork();
    if (pid) return pid;
    moa_downloaded out;
    _exit(fetch(&out, httpd_url(server, "/m.gguf"), (moa_download){0}, NULL) < 0);
}

static void wait_for_part(int64_t bytes) {
    for (int i = 0; i < 2000 && file_size(part) < bytes; i++) usleep(10000);
    assert_true(file_size(part) >= bytes);
}

static void killed_and_gone_on_with(void **state) {
    (void)state;
    httpd_route *r = httpd_add(server, "/m.gguf", 17, SIZE);
    moa_downloaded out;
    moa_err err = {0};
    for (int64_t bytes = 50000; bytes <= 150000; bytes += 50000) {
        httpd_fail(r, HTTPD_SLOW, 2000, -1);
        const pid_t pid = in_background();
        wait_for_part(bytes);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    r->fault = HTTPD_FINE;
    const int64_t kept = file_size(part);
    atomic_store(&server->n_log, 0);
    assert_int_equal(fetch(&out, httpd_url(server, "/m.gguf"), (moa_download){0}, &err), 0);
    assert_int_equal(out.resumed_from, kept);
    assert_string_equal(server->log[0].if_range, r->etag);
    holds(target, 17, SIZE);
}

static void two_at_once(void **state) {
    (void)state;
    httpd_route *r = httpd_add(server, "/m.gguf", 18, SIZE);
    httpd_fail(r, HTTPD_SLOW, 2000, -1);
    const pid_t pid = in_background();
    wait_for_part(10000);
    refused(httpd_url(server, "/m.gguf"), (moa_download){0}, MOA_EIO, "another moa pull");
    r->at = 4000;
    int status;
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    holds(target, 18, SIZE);
    assert_int_equal(server->n_log, 1); /* the second did not even ask */
}

/* ---- what is there ---- */

static void target_is_there(void **state) {
    (void)state;
    char sum[65];
    moa_downloaded out;
    moa_err err = {0};
    httpd_route *r = httpd_add(server, "/m.gguf", 19, SIZE);
    httpd_sha256(sum, 19, SIZE);
    write_file(target, "GGUF mine", 9);
    assert_int_equal(fetch(&out, httpd_url(server, "/m.gguf"), (moa_download){0}, &err), MOA_EIO);
    assert_non_null(strstr(err.text, "is there already"));
    assert_int_equal(fetch(&out, httpd_url(server, "/m.gguf"), (moa_download){.sha256 = sum}, &err), MOA_EIO);
    assert_int_equal(file_size(target), 9);
    assert_int_equal(server->n_log, 0);
    fetched(httpd_url(server, "/m.gguf"), (moa_download){.replace = true}, 19);
    /* The same by its checksum: nothing is asked. */
    atomic_store(&server->n_log, 0);
    assert_int_equal(fetch(&out, httpd_url(server, "/m.gguf"), (moa_download){.sha256 = sum, .size = SIZE}, &err), 0);
    assert_true(out.was_there && out.checked && server->n_log == 0);
    /* The same by its ETag: one question, no bytes. */
    assert_int_equal(fetch(&out, httpd_url(server, "/m.gguf"), (moa_download){.replace = true, .have_etag = r->etag, .have_sha256 = sum}, &err), 0);
    assert_true(out.was_there && server->n_log == 1);
    assert_string_equal(out.sha256, sum);
    assert_int_equal(n_files(folder), 1);
    r->seed = 20;
    snprintf(r->etag, sizeof r->etag, "\"20\"");
    fetched(httpd_url(server, "/m.gguf"), (moa_download){.replace = true, .have_etag = "\"19\"", .have_sha256 = sum}, 20);
    /* While the new one is not whole, the old one stays. */
    httpd_fail(r, HTTPD_CUT, 1000, -1);
    assert_int_equal(fetch(&out, httpd_url(server, "/m.gguf"), (moa_download){.replace = true}, &err), MOA_EIO);
    holds(target, 20, SIZE);
}

static void odd_parts(void **state) {
    (void)state;
    char note[160];
    snprintf(note, sizeof note, "%s.json", part);
    httpd_add(server, "/m.gguf", 21, SIZE);
    static const char *const notes[] = {"", "{", "[]", "{\"size\":-7}", "{\"size\":\"x\"}", "{\"size\":300000,\"etag\":7}", "{\"size\":10,\"etag\":\"\\\"a\\\"\"}"};
    for (size_t i = 0; i < sizeof notes / sizeof *notes; i++) { /* bytes of who knows what */
        write_file(part, "something else", 14);
        write_file(note, notes[i], strlen(notes[i]));
        fetched(httpd_url(server, "/m.gguf"), (moa_download){0}, 21);
        unlink(target);
    }
    unlink(note);
    assert_int_equal(symlink("/etc/passwd", part), 0);
    refused(httpd_url(server, "/m.gguf"), (moa_download){0}, MOA_EIO, "cannot create");
    unlink(part);
    assert_int_equal(mkdir(part, 0700), 0);
    refused(httpd_url(server, "/m.gguf"), (moa_download){0}, MOA_EIO, "m.gguf.part");
}

typedef struct watch { int64_t stop_at; int begin, data, end, notes; } watch;
static bool on_event(void *ctx, const moa_fetch_event *e) {
    watch *w = ctx;
    w->begin += e->kind == MOA_FETCH_BEGIN;
    w->data += e->kind == MOA_FETCH_DATA;
    w->end += e->kind == MOA_FETCH_END;
    w->notes += e->kind == MOA_FETCH_NOTE;
    return !(e->kind == MOA_FETCH_DATA && e->done >= w->stop_at);
}

static void stopped_by_the_user(void **state) {
    (void)state;
    watch w = {.stop_at = 100000};
    const moa_fetch_watch fw = {.fn = on_event, .ctx = &w};
    httpd_add(server, "/m.gguf", 22, SIZE);
    refused(httpd_url(server, "/m.gguf"), (moa_download){.retries = 5, .watch = &fw}, MOA_ECANCELED, "stopped");
    const int64_t kept = file_size(part);
    assert_true(kept >= 100000 && kept < SIZE && w.begin == 1 && w.end == 0);
    w.stop_at = SIZE + 1;
    moa_downloaded out;
    assert_int_equal(fetch(&out, httpd_url(server, "/m.gguf"), (moa_download){.watch = &fw}, NULL), 0);
    assert_true(out.resumed_from == kept && w.begin == 2 && w.end == 1 && w.notes == 0);
    holds(target, 22, SIZE);
}

static void through_a_proxy(void **state) {
    (void)state;
    httpd_add(server, "/m.gguf", 23, SIZE);
    setenv("http_proxy", httpd_url(server, ""), 1);
    fetched("http://models.invalid/m.gguf", (moa_download){0}, 23);
    unsetenv("http_proxy");
    assert_memory_equal(server->log[0].line, "GET http://models.invalid/m.gguf HTTP/1.1", 41);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        T(whole), T(cut_everywhere), T(resumes_in_another_run), T(wrong_ranges), T(lying_range), T(the_file_changes), T(wrong_checksum),
        T(wrong_sizes), T(redirects), T(statuses), T(retry_after), T(slow_and_stalled), T(nobody_there), T(full_disk), T(small_filesystem),
        T(killed_and_gone_on_with), T(two_at_once), T(target_is_there), T(odd_parts), T(stopped_by_the_user), T(through_a_proxy),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
