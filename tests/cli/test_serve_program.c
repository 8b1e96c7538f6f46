/* test_serve_program.c - moa serve as a service runs it: a port that is free, a reply, moa ps, SIGHUP, SIGTERM, and what it says when it cannot.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/client.h"
#include "support/program.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct service { pid_t pid; int port; FILE *says; char line[1000]; } service;

/* Reads what it says up to a line with `word`. */
static void await_line(service *s, const char *word) {
    while (fgets(s->line, sizeof s->line, s->says))
        if (strstr(s->line, word)) return;
    fail_msg("it ended without saying '%s'", word);
}

static void start(service *s, const char *config) {
    int fd[2];
    char *argv[] = {getenv("MOA"), "serve", "-m", (char *)(uintptr_t)program_model(), "--port", "0", config ? "--config" : NULL, (char *)(uintptr_t)config, NULL};
    assert_int_equal(pipe(fd), 0);
    fflush(NULL);
    s->pid = fork();
    if (s->pid == 0) {
        dup2(fd[1], STDERR_FILENO);
        close(fd[0]);
        execv(argv[0], argv);
        _exit(127);
    }
    assert_true(s->pid > 0);
    close(fd[1]);
    s->says = fdopen(fd[0], "r");
    await_line(s, "serving");
    const char *at = strstr(s->line, "http://127.0.0.1:");
    assert_non_null(at);
    s->port = (int)strtol(at + strlen("http://127.0.0.1:"), NULL, 10);
    assert_true(s->port > 0);
}

static int stop(service *s, int sig) {
    int status = -1;
    kill(s->pid, sig);
    waitpid(s->pid, &status, 0);
    fclose(s->says);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_life(void **state) {
    service s;
    char args[100];
    (void)state;
    need_program();
    start(&s, NULL);
    reply r = client_post(s.port, "/v1/chat/completions", "{\"max_tokens\":3,\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}");
    assert_int_equal(r.status, 200);
    reply_deinit(&r);
    snprintf(args, sizeof args, "ps --json --url http://127.0.0.1:%d/", s.port);
    assert_int_equal(moa(args), 0);
    json_t *v = parsed();
    assert_int_equal(json_array_size(json_object_get(v, "data")), 0);
    json_decref(v);
    snprintf(args, sizeof args, "ps --url http://127.0.0.1:%d", s.port);
    assert_int_equal(moa(args), 0);
    assert_non_null(strstr(out, "(none)"));
    snprintf(args, sizeof args, "serve -m %%M --port %d", s.port);
    moa_expect(1, args); /* the port is taken */
    assert_non_null(strstr(err_text, "--port"));
    assert_int_equal(stop(&s, SIGTERM), 0);
    snprintf(args, sizeof args, "ps --url http://127.0.0.1:%d", s.port);
    moa_expect(1, args);
    assert_non_null(strstr(err_text, "moa serve"));
}

static void test_configured(void **state) {
    service s;
    (void)state;
    need_program();
    put_file("moa.yaml", "mixes:\n  - {id: pair, mix: 'vote:n=2'}\n");
    start(&s, path_of("moa.yaml"));
    put_file("moa.yaml", "mixes:\n  - {id: trio, mixx: 'vote:n=3'}\n");
    kill(s.pid, SIGHUP);
    await_line(&s, "moa.yaml:2: unknown key 'mixx'");
    put_file("moa.yaml", "mixes:\n  - {id: trio, mix: 'vote:n=3'}\n");
    kill(s.pid, SIGHUP);
    await_line(&s, "a new configuration");
    reply r = client_ask(s.port, "GET", "/v1/models/trio", NULL, NULL);
    assert_int_equal(r.status, 200);
    reply_deinit(&r);
    assert_int_equal(stop(&s, SIGINT), 0);
    put_file("bad.yaml", "mixes:\n  - {id: a, mix: none}\n");
    moa_expect(1, "serve -m %M --port 0 --config %D/bad.yaml");
    assert_non_null(strstr(err_text, "bad.yaml:2: unknown mix 'none'"));
    moa_expect(1, "serve -m %M --port 0 --config %D/nowhere.yaml");
    moa_expect(2, "serve -m %M --port 70000");
    moa_expect(2, "serve --nonsense");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_life), cmocka_unit_test(test_configured)};
    return cmocka_run_group_tests(tests, program_setup, program_teardown);
}
