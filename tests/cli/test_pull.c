/* test_pull.c - moa pull and moa models as scripts and users call them; the line of progress; how -m finds what was pulled.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "cli/cli.h"
#include "cli/models.h"
#include "support/httpd.h"
#include "support/program.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static httpd *server;

static int setup(void **state) {
    static const char *const vars[] = {"http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "HF_TOKEN", "XDG_DATA_HOME"};
    for (size_t i = 0; i < sizeof vars / sizeof *vars; i++) unsetenv(vars[i]);
    server = httpd_start();
    if (!server || program_setup(state) < 0) return -1;
    setenv("MOA_MODELS", program_dir, 1);
    setenv("HF_ENDPOINT", httpd_url(server, "/"), 1);
    return 0;
}

static int teardown(void **state) {
    httpd_stop(server);
    return program_teardown(state);
}

/* What is served only begins like a model. */
static void pulls_lists_removes(void **state) {
    (void)state;
    need_program();
    char sum[65];
    httpd_clear(server);
    httpd_route *r = httpd_add(server, "/m.gguf", 1, 300000);
    httpd_sha256(sum, 1, 300000);
    httpd_fail(r, HTTPD_CUT, 100000, -1);
    assert_int_equal(moaf("pull %s --retries 0 --sha256 %s", httpd_url(server, "/m.gguf"), sum), 1);
    assert_non_null(strstr(err_text, "moa: "));
    assert_null(strchr(err_text, '\x1b'));
    assert_string_equal(out, "");
    assert_int_equal(moa("models"), 0);
    assert_non_null(strstr(out, "not whole: m.gguf"));
    assert_non_null(strstr(out, "100 kB of 300 kB"));
    r->fault = HTTPD_FINE;
    assert_int_equal(moaf("pull --json %s --sha256 %s -H 'X-Secret: 7'", httpd_url(server, "/m.gguf"), sum), 0);
    assert_non_null(strstr(err_text, "goes on at 100 kB of 300 kB"));
    json_t *v = parsed(), *file = json_array_get(json_object_get(v, "files"), 0);
    assert_string_equal(string(v, "name"), "m");
    assert_string_equal(string(v, "path"), path_of("m.gguf"));
    assert_string_equal(string(file, "sha256"), sum);
    assert_true(json_is_true(json_object_get(file, "checked")));
    assert_int_equal(json_integer_value(json_object_get(file, "resumed_from")), 100000);
    assert_string_equal(server->log[1].secret, "7");
    json_decref(v);
    assert_int_equal(moaf("pull -q %s", httpd_url(server, "/m.gguf")), 0);
    assert_non_null(strstr(out, "was here already"));
    assert_string_equal(err_text, "");
    assert_int_equal(moa("models --json"), 0);
    v = parsed();
    assert_string_equal(string(v, "folder"), program_dir);
    json_t *first = json_array_get(json_object_get(v, "models"), 0);
    assert_string_equal(string(first, "source"), httpd_url(server, "/m.gguf"));
    assert_true(strlen(string(first, "problem")) > 0); /* it only begins like a model */
    json_decref(v);
    assert_int_equal(moa("models verify m"), 0);
    assert_non_null(strstr(out, "m.gguf: right"));
    FILE *f = fopen(path_of("m.gguf"), "r+b");
    assert_non_null(f);
    fputc('X', f);
    fclose(f);
    assert_int_equal(moa("models verify m"), 1);
    assert_non_null(strstr(out, "m.gguf: WRONG"));
    assert_int_equal(moa("models rm m"), 2); /* nobody to ask */
    assert_non_null(strstr(err_text, "-y"));
    assert_int_equal(access(path_of("m.gguf"), F_OK), 0);
    assert_int_equal(moa("models rm -y m"), 0);
    assert_int_equal(access(path_of("m.gguf"), F_OK), -1);
    assert_int_equal(moa("models rm -y m"), 1);
    assert_non_null(strstr(err_text, "no model 'm'"));
}

static void wrong_use(void **state) {
    (void)state;
    need_program();
    static const program_case cases[] = {
        {"pull", 2, "missing"},
        {"pull x.gguf", 2, "neither a URL"},
        {"pull hf:a", 2, "no OWNER/REPO"},
        {"pull http://127.0.0.1:9/a/", 2, "--name"},
        {"pull http://127.0.0.1:9/a.gguf --sha256 12", 2, "64 hex digits"},
        {"pull http://127.0.0.1:9/a.gguf -H nothing", 2, "NAME: VALUE"},
        {"pull http://127.0.0.1:9/a.gguf --name ../b", 2, "no name"},
        {"pull --list http://127.0.0.1:9/a.gguf", 2, "has a list"},
        {"models x", 2, "expected rm"},
        {"models rm", 2, "name is missing"},
        {"models rm -y ../x", 2, "no name of a model"},
        {"models verify none", 1, "nothing is noted"},
    };
    moa_expect_errors(cases, sizeof cases / sizeof *cases);
    setenv("HF_ENDPOINT", "ftp://x", 1);
    assert_int_equal(moa("pull hf:a/b"), 2);
    assert_non_null(strstr(err_text, "HF_ENDPOINT"));
    setenv("HF_ENDPOINT", httpd_url(server, "/"), 1);
    setenv("HF_TOKEN", "a\nb", 1);
    assert_int_equal(moa("pull hf:a/b"), 2);
    assert_non_null(strstr(err_text, "HF_TOKEN"));
    unsetenv("HF_TOKEN");
}

static void shows_choices(void **state) {
    (void)state;
    need_program();
    httpd_clear(server);
    httpd_route *api = httpd_add(server, "/api/models/own/rep/revision/main", 0, 0);
    snprintf(api->text, sizeof api->text, "{\"sha\":\"abc\",\"siblings\":[{\"rfilename\":\"m-Q4_K_M.gguf\",\"size\":1500000000},{\"rfilename\":\"m-Q8_0.gguf\",\"size\":3000000000},"
                                          "{\"rfilename\":\"../x\",\"size\":1}]}");
    assert_int_equal(moa("pull hf:own/rep"), 2);
    assert_non_null(strstr(err_text, "1.50 GB  m-Q4_K_M.gguf"));
    assert_non_null(strstr(err_text, "several models"));
    assert_int_equal(moa("pull hf:own/rep:Q5_0"), 1);
    assert_non_null(strstr(err_text, "m-Q8_0.gguf"));
    assert_int_equal(moa("pull --list hf:own/rep"), 0);
    assert_non_null(strstr(out, "3.00 GB  m-Q8_0.gguf"));
    assert_non_null(strstr(out, "and 1 that has a name that cannot be kept"));
    assert_int_equal(moa("pull hf:own/none"), 1);
    assert_non_null(strstr(err_text, "404"));
}

/* A file alone is looked at, listed and removed as a GGUF file, whatever its URL is called; a page is not kept. */
static void by_content(void **state) {
    (void)state;
    need_program();
    httpd_clear(server);
    httpd_add(server, "/download", 5, 3000);
    httpd_route *page = httpd_add(server, "/page", 0, 0);
    snprintf(page->text, sizeof page->text, "<!doctype html><title>Log in</title>");
    assert_int_equal(moaf("pull -q %s", httpd_url(server, "/page")), 1);
    assert_non_null(strstr(err_text, "web page"));
    assert_int_equal(moaf("pull -q %s", httpd_url(server, "/download?id=7")), 0);
    assert_non_null(strstr(out, "moa cannot open it: ")); /* it only begins like one */
    assert_int_equal(moa("models"), 0);
    assert_non_null(strstr(out, "download"));
    assert_null(strstr(out, "page"));
    assert_int_equal(moa("models rm -y download"), 0);
    assert_int_equal(access(path_of("download.gguf"), F_OK), -1);
    assert_int_equal(access(path_of("page.gguf"), F_OK), -1);
}

static const char *hub_of(const char *const *name, const char *const *text, int n) {
    httpd_clear(server);
    httpd_route *api = httpd_add(server, "/api/models/own/rep/revision/main", 0, 0);
    size_t k = (size_t)snprintf(api->text, sizeof api->text, "{\"sha\":\"abc\",\"siblings\":[");
    for (int i = 0; i < n; i++) {
        char path[128];
        snprintf(path, sizeof path, "/own/rep/resolve/abc/%s", name[i]);
        httpd_route *r = httpd_add(server, path, 0, 0);
        snprintf(r->text, sizeof r->text, "%s", text[i]);
        k += (size_t)snprintf(api->text + k, sizeof api->text - k, "%s{\"rfilename\":\"%s\"}", i ? "," : "", name[i]);
    }
    snprintf(api->text + k, sizeof api->text - k, "]}");
    return "hf:own/rep";
}

/* What a model is decides what the user is told to do with it; an adapter is in the list, too. */
static void tells_its_use(void **state) {
    (void)state;
    need_program();
    static const char *const adapter[] = {"adapter_config.json", "adapter_model.safetensors"}, *const text[] = {"{}", "x"};
    assert_int_equal(moaf("pull -q %s", hub_of(adapter, text, 2)), 0);
    assert_non_null(strstr(out, "no checksums published"));
    assert_non_null(strstr(out, "--adapter"));
    assert_int_equal(moa("models"), 0);
    assert_non_null(strstr(out, "adapter"));
    assert_int_equal(moa("models rm -y rep"), 0);
    assert_int_equal(access(path_of("rep"), F_OK), -1);
    static const char *const model[] = {"config.json", "model.safetensors"}, *const unknown[] = {"{\"model_type\":\"rwkv\x1b[2J\"}", "x"};
    assert_int_equal(moaf("pull -q %s", hub_of(model, unknown, 2)), 0);
    assert_non_null(strstr(out, "moa cannot open it: "));
    assert_null(strchr(out, '\x1b'));
    assert_int_equal(moa("models rm -y rep"), 0);
}

/* Ctrl-C keeps what has come and says how to go on. */
static void interrupted(void **state) {
    (void)state;
    need_program();
    httpd_clear(server);
    httpd_fail(httpd_add(server, "/i.gguf", 3, 300000), HTTPD_SLOW, 500, -1);
    char url[128], log[128];
    snprintf(url, sizeof url, "%s", httpd_url(server, "/i.gguf"));
    snprintf(log, sizeof log, "%s", path_of(".err"));
    const pid_t pid = fork();
    if (pid == 0) {
        if (!freopen(log, "w", stderr)) _exit(3);
        execl(getenv("MOA"), "moa", "pull", url, (char *)NULL);
        _exit(3);
    }
    struct stat st = {0};
    for (int i = 0; i < 3000 && (stat(path_of(".pull/i.gguf.part"), &st) < 0 || st.st_size < 5000); i++) usleep(10000);
    assert_true(st.st_size >= 5000);
    kill(pid, SIGINT);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 1);
    slurp(err_text, sizeof err_text, log);
    assert_non_null(strstr(err_text, "are kept"));
    assert_non_null(strstr(err_text, "goes on from there"));
    assert_int_equal(stat(path_of(".pull/i.gguf.part"), &st), 0);
    server->route[0].fault = HTTPD_FINE;
    assert_int_equal(moaf("pull -q %s", url), 0);
    assert_int_equal(stat(path_of("i.gguf"), &st), 0);
    assert_int_equal(st.st_size, 300000);
    assert_int_equal(moa("models rm -y i.gguf"), 0); /* the file's name will do */
}

static void finds(void **state) {
    (void)state;
    char path[4096];
    moa_err err = {0};
    put_file("s-00001-of-00002.gguf", "");
    put_file("s-00002-of-00002.gguf", "");
    put_file("one.gguf", "");
    assert_int_equal(mkdir(path_of("folder"), 0700), 0);
    assert_int_equal(moa_cli_model_path(path, sizeof path, "folder", &err), MOA_ENOTFOUND); /* nothing says it is a model */
    put_file("folder/config.json", "");
    assert_int_equal(moa_cli_model_path(path, sizeof path, "folder", &err), 0);
    assert_string_equal(path, path_of("folder"));
    assert_int_equal(moa_cli_model_path(path, sizeof path, "s", &err), 0);
    assert_string_equal(path, path_of("s-00001-of-00002.gguf"));
    assert_int_equal(moa_cli_model_path(path, sizeof path, "one", &err), 0);
    assert_string_equal(path, path_of("one.gguf"));
    assert_int_equal(moa_cli_model_path(path, sizeof path, "[s]", &err), MOA_ENOTFOUND);
    assert_int_equal(moa_cli_model_path(path, sizeof path, "two", &err), MOA_ENOTFOUND);
    assert_non_null(strstr(err.text, program_dir));
    assert_int_equal(moa_cli_pull_dir(path, &err), 0);
    assert_string_equal(path, program_dir);
    unsetenv("MOA_MODELS");
    setenv("XDG_DATA_HOME", "/x/data", 1);
    assert_int_equal(moa_cli_pull_dir(path, &err), 0);
    assert_string_equal(path, "/x/data/moa/models");
    setenv("XDG_DATA_HOME", "relative", 1); /* the specification has such a value ignored */
    setenv("HOME", "/home/u", 1);
    assert_int_equal(moa_cli_pull_dir(path, &err), 0);
    assert_string_equal(path, "/home/u/.local/share/moa/models");
    unsetenv("HOME");
    assert_int_equal(moa_cli_pull_dir(path, &err), MOA_ENOTFOUND);
    setenv("MOA_MODELS", program_dir, 1);
}

static void lines(void **state) {
    (void)state;
    char line[1024], size[24];
    static const struct { int64_t n; const char *text; } sizes[] = {{0, "0 B"}, {999, "999 B"}, {1000, "1.00 kB"}, {12345, "12.3 kB"}, {999999, "1.00 MB"},
                                                                    {4200000000, "4.20 GB"}, {123456789012345, "123 TB"}, {-1, "?"}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        moa_cli_bytes(size, sizes[i].n);
        assert_string_equal(size, sizes[i].text);
    }
    moa_fetch_event e = {.kind = MOA_FETCH_DATA, .name = "model-Q4_K_M.gguf", .n_file = 1, .done = 500000000, .total = 2000000000};
    moa_pull_line(line, sizeof line, &e, 5e7, 100, false);
    assert_string_equal(line, "model-Q4_K_M.gguf  #####---------------   25%  500 MB of 2.00 GB  50.0 MB/s  0:30");
    e.file = 1, e.n_file = 3;
    moa_pull_line(line, sizeof line, &e, 5e7, 60, false);
    assert_string_equal(line, "(2/3) -Q4_K_M.gguf   25%  500 MB of 2.00 GB  50.0 MB/s  0:30");
    moa_pull_line(line, sizeof line, &e, 5e7, 39, false); /* where all of it leaves no room for the name */
    assert_string_equal(line, "(2/3) model-Q4_K_M.gguf   25%  0:30");
    for (int width = 0; width < 120; width++) {
        moa_pull_line(line, sizeof line, &e, 5e7, width, false);
        if ((int)strlen(line) > (width > 6 ? width : 6)) fail_msg("%d columns: '%s'", width, line);
    }
    e.total = -1;
    moa_pull_line(line, sizeof line, &e, 0, 100, true);
    assert_string_equal(line, "(2/3) model-Q4_K_M.gguf  500 MB  0 B/s");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(pulls_lists_removes), cmocka_unit_test(wrong_use), cmocka_unit_test(shows_choices),
                                       cmocka_unit_test(by_content), cmocka_unit_test(tells_its_use), cmocka_unit_test(interrupted),
                                       cmocka_unit_test(finds), cmocka_unit_test(lines)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
