/* test_pull_tls.c - moa pull through TLS, from a server of this machine with certificates made in the test run: who is trusted, what is said of
 * who is not, and where tokens and headers go. Needs openssl and python3.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/httpd.h"
#include "support/program.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SIZE = 300000 };
static httpd *server;
static int good, other, old, proxy; /* ports; 0: there is none */
static pid_t tls;

/* ---- certificates and servers ---- */

static bool made(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static bool made(const char *fmt, ...) {
    char cmd[2048], line[2400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(cmd, sizeof cmd, fmt, ap);
    va_end(ap);
    snprintf(line, sizeof line, "cd '%s' && { %s; } >tls.log 2>&1", program_dir, cmd);
    return system(line) == 0;
}

#define NEW_KEY "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=moa-test"
static bool certificate(const char *name, const char *hosts) {
    return made("openssl req -x509 " NEW_KEY " -addext subjectAltName=%s -days 2 -keyout %s.key -out %s.pem", hosts, name, name);
}

/* Of yesterday. */
static bool old_certificate(void) {
    return made("openssl req -new " NEW_KEY " -addext subjectAltName=IP:127.0.0.1 -keyout old.key -out old.csr && "
                "openssl x509 -req -in old.csr -signkey old.key -copy_extensions copy -days -1 -out old.pem && ! openssl x509 -in old.pem -noout -checkend 0");
}

static bool start_tls(bool with_old) {
    int fd[2];
    char target[16], log[128], pair[3][300], line[128] = "";
    static const char *const name[] = {"good", "other", "old"};
    snprintf(target, sizeof target, "%d", server->port);
    snprintf(log, sizeof log, "%s", path_of("proxy.log"));
    for (int i = 0; i < 3; i++) snprintf(pair[i], sizeof pair[i], "%s/%s.pem:%s/%s.key", program_dir, name[i], program_dir, name[i]);
    if (pipe(fd) < 0 || (tls = fork()) < 0) return false;
    if (tls == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(fd[1], 1);
        execlp("python3", "python3", "tests/support/tls.py", target, log, pair[0], pair[1], with_old ? pair[2] : (char *)NULL, (char *)NULL);
        _exit(3);
    }
    close(fd[1]);
    FILE *f = fdopen(fd[0], "r");
    const bool ok = f && fgets(line, sizeof line, f) && sscanf(line, with_old ? "%d %d %d %d" : "%d %d %d", &good, &other, with_old ? &old : &proxy, &proxy) == (with_old ? 4 : 3);
    if (f) fclose(f);
    return ok;
}

static void clear_env(void) {
    static const char *const vars[] = {"http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY", "HF_TOKEN",
                                       "HF_ENDPOINT", "SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE"};
    for (size_t i = 0; i < sizeof vars / sizeof *vars; i++) unsetenv(vars[i]);
}

static int group_setup(void **state) {
    server = httpd_start();
    if (!server || program_setup(state) < 0) return -1;
    setenv("MOA_MODELS", program_dir, 1);
    clear_env();
    if (!made("openssl version && python3 -c 'import ssl'")) return 0;
    const bool with_old = old_certificate();
    if (!certificate("good", "IP:127.0.0.1,IP:127.0.0.2,DNS:models.test") || !certificate("other", "DNS:other.test") ||
        !made("cat good.pem other.pem old.pem >all.pem; mkdir hashed && cp good.pem hashed/ && openssl rehash hashed && echo nothing >empty.pem") || !start_tls(with_old)) {
        char log[4096];
        slurp(log, sizeof log, path_of("tls.log"));
        fprintf(stderr, "no TLS server: %s\n", log);
        return -1;
    }
    return 0;
}

static int group_teardown(void **state) {
    if (tls > 0) kill(tls, SIGKILL), waitpid(tls, NULL, 0);
    httpd_stop(server);
    return program_teardown(state);
}

static int fresh(void **state) {
    (void)state;
    httpd_clear(server);
    clear_env();
    return 0;
}

static void need_tls(void) {
    need_program();
    if (tls > 0) return;
    printf("skip: no openssl, or no python3 with ssl, to make a TLS server\n");
    skip();
}

static void trust(const char *variable, const char *file) { setenv(variable, path_of(file), 1); }

static const char *url(int port, const char *path) {
    static char text[4][256];
    static int i;
    snprintf(text[i = (i + 1) % 4], sizeof text[0], "https://127.0.0.1:%d%s", port, path);
    return text[i];
}

/* The file came whole, and is taken away again. */
static void came(const char *name) {
    char file[64];
    struct stat st;
    snprintf(file, sizeof file, "%s.gguf", name);
    assert_int_equal(stat(path_of(file), &st), 0);
    assert_int_equal(st.st_size, SIZE);
    moaf("models rm -y %s", name);
}

static void fails(const char *from, const char *text, const char *hint) {
    assert_int_equal(moaf("pull -q --retries 3 %s", from), 1);
    if (!strstr(err_text, text) || !strstr(err_text, hint)) fail_msg("%s\nexpected '%s', '%s'", err_text, text, hint);
    assert_null(strstr(err_text, "attempts")); /* trying again would not help */
    assert_int_equal(access(path_of("m.gguf"), F_OK), -1);
}

/* ---- tests ---- */

static void trusted(void **state) {
    (void)state;
    need_tls();
    static const struct { const char *variable, *file; } ways[] = {{"SSL_CERT_FILE", "good.pem"}, {"CURL_CA_BUNDLE", "all.pem"}, {"SSL_CERT_DIR", "hashed"}};
    httpd_add(server, "/m.gguf", 1, SIZE);
    for (size_t i = 0; i < 3; i++) {
        clear_env();
        trust(ways[i].variable, ways[i].file);
        if (moaf("pull -q %s", url(good, "/m.gguf"))) fail_msg("%s: %s", ways[i].variable, err_text);
        came("m");
    }
    trust("CURL_CA_BUNDLE", "good.pem"); /* goes first, as with the curl program */
    trust("SSL_CERT_FILE", "empty.pem");
    assert_int_equal(moaf("pull -q %s", url(good, "/m.gguf")), 0);
    came("m");
}

static void not_trusted(void **state) {
    (void)state;
    need_tls();
    httpd_add(server, "/m.gguf", 1, SIZE);
    fails(url(good, "/m.gguf"), "certificate", "vouches for the server");
    trust("SSL_CERT_FILE", "all.pem");
    fails(url(other, "/m.gguf"), "127.0.0.1", "certificate of another host");
    if (old) fails(url(old, "/m.gguf"), "expired", "clock");
    else printf("     no certificate of yesterday: this openssl makes none\n");
    trust("SSL_CERT_FILE", "empty.pem");
    fails(url(good, "/m.gguf"), "empty.pem", "SSL_CERT_FILE");
    trust("SSL_CERT_FILE", "absent.pem");
    fails(url(good, "/m.gguf"), "absent.pem", "SSL_CERT_FILE");
    assert_int_equal(server->n_log, 0); /* nothing was asked, so no token was told */
}

/* A connection that is cut, also one without a length, is no end of the file. */
static void cut(void **state) {
    (void)state;
    need_tls();
    trust("SSL_CERT_FILE", "good.pem");
    httpd_route *r = httpd_add(server, "/m.gguf", 2, SIZE);
    for (int chunked = 0; chunked < 2; chunked++) {
        atomic_store(&server->n_log, 0);
        r->chunked = chunked;
        httpd_fail(r, HTTPD_CUT, 100000, 1);
        assert_int_equal(moaf("pull -q --retries 1 %s", url(good, "/m.gguf")), 0);
        assert_string_equal(server->log[1].range, "bytes=100000-");
        came("m");
    }
}

static void redirects(void **state) {
    (void)state;
    need_tls();
    trust("SSL_CERT_FILE", "good.pem");
    httpd_route *a = httpd_add(server, "/a.gguf", 0, 0);
    httpd_add(server, "/m.gguf", 3, SIZE);
    httpd_fail(a, HTTPD_REDIRECT, 0, -1);
    /* Down to http: refused, and the other server is not asked. */
    snprintf(a->to, sizeof a->to, "%s", httpd_url(server, "/m.gguf"));
    fails(url(good, "/a.gguf"), "redirected from https down to", "");
    assert_int_equal(server->n_log, 1);
    /* The same host: with the header. Another one, and back: without it. */
    snprintf(a->to, sizeof a->to, "/m.gguf");
    atomic_store(&server->n_log, 0);
    assert_int_equal(moaf("pull -q -H 'X-Secret: 7' %s", url(good, "/a.gguf")), 0);
    assert_string_equal(server->log[0].secret, "7");
    assert_string_equal(server->log[1].secret, "7");
    came("a");
    httpd_route *c = httpd_add(server, "/c", 0, 0);
    httpd_fail(c, HTTPD_REDIRECT, 0, -1);
    snprintf(a->to, sizeof a->to, "https://127.0.0.2:%d/c", good);
    snprintf(c->to, sizeof c->to, "%s", url(good, "/m.gguf"));
    atomic_store(&server->n_log, 0);
    assert_int_equal(moaf("pull -q -H 'X-Secret: 7' %s", url(good, "/a.gguf")), 0);
    assert_string_equal(server->log[0].secret, "7");
    assert_memory_equal(server->log[1].host, "127.0.0.2", 9);
    for (int i = 1; i < 3; i++) assert_string_equal(server->log[i].secret, "");
    came("a");
    /* Up from http to https: another origin. */
    snprintf(a->to, sizeof a->to, "%s", url(good, "/m.gguf"));
    atomic_store(&server->n_log, 0);
    assert_int_equal(moaf("pull -q -H 'X-Secret: 7' %s", httpd_url(server, "/a.gguf")), 0);
    assert_string_equal(server->log[0].secret, "7");
    assert_string_equal(server->log[1].secret, "");
    came("a");
}

#define COMMIT "0123456789abcdef0123456789abcdef01234567"
static void hub(void **state) {
    (void)state;
    need_tls();
    char sum[65];
    httpd_route *api = httpd_add(server, "/api/models/own/rep/revision/main", 0, 0), *file = httpd_add(server, "/own/rep/resolve/" COMMIT "/m.gguf", 0, 0);
    httpd_add(server, "/storage", 4, SIZE);
    httpd_sha256(sum, 4, SIZE);
    snprintf(api->text, sizeof api->text, "{\"sha\":\"" COMMIT "\",\"siblings\":[{\"rfilename\":\"m.gguf\",\"lfs\":{\"sha256\":\"%s\",\"size\":%d}}]}", sum, SIZE);
    httpd_fail(file, HTTPD_REDIRECT, 0, -1);
    snprintf(file->to, sizeof file->to, "https://127.0.0.2:%d/storage", good);
    trust("SSL_CERT_FILE", "good.pem");
    setenv("HF_ENDPOINT", url(good, ""), 1);
    setenv("HF_TOKEN", "tok", 1);
    moa_expect(0, "pull hf:own/rep");
    assert_non_null(strstr(out, "checksum right"));
    assert_int_equal(server->n_log, 3);
    assert_string_equal(server->log[0].auth, "Bearer tok");
    assert_string_equal(server->log[1].auth, "Bearer tok");
    assert_string_equal(server->log[2].auth, ""); /* of the storage */
    came("m");
}

static void through_a_proxy(void **state) {
    (void)state;
    need_tls();
    char from[128], text[128], log[4096];
    httpd_add(server, "/m.gguf", 5, SIZE);
    trust("SSL_CERT_FILE", "good.pem");
    snprintf(from, sizeof from, "https://models.test:%d/m.gguf", good); /* a name that the proxy alone can know */
    snprintf(text, sizeof text, "http://127.0.0.1:%d", proxy);
    setenv("https_proxy", text, 1);
    fails(from, "the proxy answered 407", "NAME:PASSWORD");
    assert_int_equal(server->n_log, 0);
    snprintf(text, sizeof text, "http://me:word@127.0.0.1:%d", proxy);
    setenv("https_proxy", text, 1);
    assert_int_equal(moaf("pull -q -H 'X-Secret: 7' %s", from), 0);
    came("m");
    slurp(log, sizeof log, path_of("proxy.log"));
    assert_non_null(strstr(log, "CONNECT models.test:"));
    assert_null(strstr(log, "X-Secret")); /* for the server, inside the tunnel */
    assert_string_equal(server->log[0].secret, "7");
    /* This machine itself is not asked for elsewhere. */
    setenv("https_proxy", "http://127.0.0.1:9", 1);
    assert_int_equal(moaf("pull -q %s", url(good, "/m.gguf")), 0);
    came("m");
}

#define T(fn) cmocka_unit_test_setup(fn, fresh)
int main(void) {
    const struct CMUnitTest tests[] = {T(trusted), T(not_trusted), T(cut), T(redirects), T(hub), T(through_a_proxy)};
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
