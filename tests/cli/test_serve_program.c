/* test_serve_program.c - moa serve as a service runs it: a port that is free, a reply, moa ps, SIGHUP, SIGTERM, and what it says when it cannot.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/client.h"
#include "support/mock.h"
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

/* Options end with NULL. */
static void start(service *s, const char *const *option) {
    int fd[2], n = 6;
    char *argv[32] = {getenv("MOA"), "serve", "-m", (char *)(uintptr_t)program_model(), "--port", "0"};
    for (; option && *option && n < 30; option++) argv[n++] = (char *)(uintptr_t)*option;
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
    start(&s, (const char *const[]){"--config", path_of("moa.yaml"), NULL});
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

/* moa run and moa chat with the models of a server that runs. */
static void test_asked_from_the_command_line(void **state) {
    service s;
    char args[300];
    (void)state;
    need_program();
    start(&s, NULL);
    snprintf(args, sizeof args, "run --server http://127.0.0.1:%d/v1 --mix vote -n 3 --max-tokens 8 --json hello", s.port);
    assert_int_equal(moa(args), 0);
    json_t *v = parsed();
    const json_t *calls = json_object_get(v, "calls");
    assert_int_equal(json_array_size(calls), 3);
    for (size_t i = 0; i < 3; i++) assert_true(json_integer_value(json_object_get(json_array_get(calls, i), "completion_tokens")) > 0);
    json_decref(v);
    snprintf(args, sizeof args, "run -q --server http://127.0.0.1:%d/v1 -m nowhere --mix single hello", s.port);
    moa_expect(1, args);
    assert_non_null(strstr(err_text, "no model 'nowhere'"));
    snprintf(args, sizeof args, "run --server http://127.0.0.1:%d/v1 --threads 2 hello", s.port);
    moa_expect(2, args);
    assert_non_null(strstr(err_text, "--threads"));
    snprintf(args, sizeof args, "chat -q --server http://127.0.0.1:%d/v1 --mix single --max-tokens 8 < %s", s.port, path_of("said"));
    put_file("said", "hello\nand again\n");
    assert_int_equal(moa(args), 0);
    assert_true(out[0] != 0);
    assert_int_equal(stop(&s, SIGTERM), 0);
    moa_expect(2, "run -q --server 127.0.0.1:1/v1 --mix single hello");
    assert_non_null(strstr(err_text, "http://"));
}

/* ---- killed at any moment ---- */

enum { ASKS = 6, KILLS = 8 };

static void ask_only(int fd[ASKS], int port) {
    for (int i = 0; i < ASKS; i++) {
        char body[200], head[300];
        snprintf(body, sizeof body, "{\"model\":\"council\",\"messages\":[{\"role\":\"user\",\"content\":\"question %d\"}]}", i);
        const int n = snprintf(head, sizeof head, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", strlen(body));
        fd[i] = client_connect(port);
        client_send(fd[i], head, (size_t)n);
        client_send(fd[i], body, strlen(body));
    }
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Calls of a journal; none may be there twice, since it would have been paid twice. */
static int count_calls(const char *path) {
    char *line = NULL, *key[4096];
    size_t cap = 0;
    int n = 0;
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (getline(&line, &cap, f) > 0)
        if (strncmp(line, "{\"key\":\"", 8) == 0 && n < 4096) key[n++] = strndup(line + 8, 32);
    free(line);
    fclose(f);
    qsort(key, (size_t)n, sizeof *key, by_text);
    for (int i = 1; i < n; i++)
        if (strcmp(key[i], key[i - 1]) == 0) fail_msg("call %s was paid twice", key[i]);
    for (int i = 0; i < n; i++) free(key[i]);
    return n;
}

/* Under load, again and again; each time the clients ask the same again. In the end all have their replies, no finished call was asked a second
 * time, and the journal replays. */
static void test_killed(void **state) {
    (void)state;
    need_program();
    mock *m;
    moa_err err = {0};
    char config[300], journal[300], yaml[300], args[400];
    service s;
    int fd[ASKS];
    if (mock_start(&m, "{\"ttft\":0.06,\"jitter\":0.9,\"chunks\":4,\"gap\":0.01,\"bytes\":30}\n", 3, 0, &err) < 0) fail_msg("%s", err.text);
    snprintf(config, sizeof config, "%s", path_of("council.yaml"));
    snprintf(journal, sizeof journal, "%s", path_of("journal.jsonl"));
    snprintf(yaml, sizeof yaml, "backends:\n  - {id: far, url: \"http://127.0.0.1:%d/v1\", hedge: 0, max_concurrent: 100}\nmixes:\n  - {id: council, mix: \"moa:n=3\", proposers: [far]}\n",
             mock_port(m));
    put_file("council.yaml", yaml);
    const char *const option[] = {"--config", config, "--journal", journal, NULL};
    uint64_t draw = 11;
    for (int k = 0; k < KILLS; k++) {
        start(&s, option);
        ask_only(fd, s.port);
        draw = draw * 6364136223846793005u + 1442695040888963407u;
        usleep((useconds_t)(10000 + (draw >> 40) % 140000));
        stop(&s, SIGKILL);
        for (int i = 0; i < ASKS; i++) close(fd[i]);
        count_calls(journal);
    }
    const long before = mock_count(m).done;
    start(&s, option);
    ask_only(fd, s.port);
    for (int i = 0; i < ASKS; i++) {
        reply r = {0};
        assert_true(client_read(fd[i], &r));
        if (r.status != 200) fail_msg("%d: %s", r.status, moa_buf_str(&r.body));
        reply_deinit(&r);
        close(fd[i]);
    }
    assert_int_equal(stop(&s, SIGTERM), 0);
    assert_true(count_calls(journal) >= ASKS * 7); /* two layers of three and the answer; more where a request had ended and began anew */
    printf("   %d kills: %ld calls ended before the last start, %ld after\n", KILLS, before, mock_count(m).done - before);
    snprintf(args, sizeof args, "replay -q %s", journal);
    assert_int_equal(moa(args), 0);
    mock_stop(m);
}

/* Journals that an earlier moa wrote, which knew half of the settings: what it decided then comes out now. */
static void test_earlier_journals(void **state) {
    (void)state;
    need_program();
    /* Not seq: the windows of self-moa-seq have other names since then. */
    static const char *const names[] = {"deadline", "local", "merge", "quorum", "single", "vote"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(moaf("replay tests/fuzz/corpus/ledger/%s", names[i]), 0);
        assert_non_null(strstr(out, "1 of 1 equal"));
        assert_non_null(strstr(err_text, "have their defaults: "));
        assert_non_null(strstr(err_text, "budget-cost"));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_earlier_journals), cmocka_unit_test(test_life), cmocka_unit_test(test_configured), cmocka_unit_test(test_asked_from_the_command_line), cmocka_unit_test(test_killed)};
    return cmocka_run_group_tests(tests, program_setup, program_teardown);
}
