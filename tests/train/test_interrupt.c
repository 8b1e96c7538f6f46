/* test_interrupt.c - `moa train` from outside. Ctrl-C: the step is finished, the checkpoint is kept, the message says how to go
 * on; and the run goes on, also after a second Ctrl-C or a kill in the middle of anything. A finished run that is started again.
 * Runs the program named by MOA in the environment.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[64], recipe[128], out[128], errors[128];

static pid_t start(const char *moa, const char *extra) {
    unlink(errors);
    pid_t pid = fork();
    if (pid != 0) return pid;
    int fd = open(errors, O_WRONLY | O_CREAT | O_TRUNC, 0644), nul = open("/dev/null", O_WRONLY);
    signal(SIGHUP, SIG_DFL); /* whatever these tests run under */
    dup2(nul, 1);
    dup2(fd, 2);
    execl(moa, "moa", "train", recipe, "--out", out, "--threads", "1", extra, (char *)NULL);
    _exit(127);
}

static int wait_code(pid_t pid) {
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void assert_says(const char *want) {
    char *s;
    assert_int_equal(moa_read_file(&s, NULL, errors, 1 << 20, NULL), 0);
    if (!strstr(s, want)) fail_msg("got '%s', expected '%s'", s, want);
    free(s);
}

/* Until it has said hello, which is after it listens for signals. */
static void wait_for_begin(pid_t pid) {
    for (int i = 0; i < 3000; i++, usleep(20000)) {
        char *s = NULL;
        bool begun = moa_read_file(&s, NULL, errors, 1 << 20, NULL) == 0 && strstr(s, "weights");
        free(s);
        if (begun) return;
        if (waitpid(pid, NULL, WNOHANG) == pid) fail_msg("the run ended early");
    }
    fail_msg("no sign of life in a minute");
}

static const char *program(void) {
    const char *moa = getenv("MOA");
    if (moa && access(moa, X_OK) == 0) return moa;
    printf("skip: MOA does not name the program\n");
    skip();
    return NULL;
}

static void write_recipe(const char *steps) {
    FILE *f = fopen(recipe, "w");
    assert_non_null(f);
    fprintf(f, "name: r\nmodel: {n_layer: 1, d_model: 32, n_head: 2, d_ff: 64, n_ctx: 256}\ntokenizer: {n_vocab: 300, items: 50}\ncheckpoint: {steps: 1}\n"
               "stages: [{name: a, steps: %s, batch_tokens: 512, seq_len: 256, data: [{family: arithmetic, levels: [1]}]}]\n", steps);
    assert_int_equal(fclose(f), 0);
}

static void test_interrupt(void **state) {
    (void)state;
    const char *moa = program();
    write_recipe("1000000");
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    for (int i = 0; i < 3; i++) {
        pid_t pid = start(moa, i ? "--resume" : NULL);
        wait_for_begin(pid);
        kill(pid, signals[i]);
        assert_int_equal(wait_code(pid), 1);
        assert_says("stopped at step");
        assert_says("--resume");
    }
    assert_int_equal(wait_code(start(moa, NULL)), 2); /* an unfinished run is not thrown away */
    assert_says("--fresh starts over");
}

/* A checkpoint is written after every step, so that some of these fall into the writing of one: whatever they meet, the next run
 * goes on. The second Ctrl-C ends the program at once, unless the first one already has, or both came as one. */
static void test_kill(void **state) {
    (void)state;
    const char *moa = program();
    for (int i = 0; i < 4; i++) {
        int status;
        pid_t pid = start(moa, "--resume");
        wait_for_begin(pid);
        usleep((useconds_t)(7000 * i));
        kill(pid, i % 2 ? SIGKILL : SIGINT);
        if (i % 2 == 0) kill(pid, SIGINT);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) ? WTERMSIG(status) == (i % 2 ? SIGKILL : SIGINT) : WEXITSTATUS(status) == 1);
    }
    pid_t pid = start(moa, "--resume");
    wait_for_begin(pid);
    kill(pid, SIGINT);
    assert_int_equal(wait_code(pid), 1);
    assert_says("stopped at step");
}

static void test_finished(void **state) {
    (void)state;
    const char *moa = program();
    char model[160];
    write_recipe("2");
    snprintf(model, sizeof model, "%s/r.gguf", out);
    assert_int_equal(wait_code(start(moa, "--fresh")), 0);
    assert_int_equal(access(model, R_OK), 0);
    assert_int_equal(wait_code(start(moa, NULL)), 0); /* asked for the model, it is there */
    assert_says("nothing to do; --fresh trains it anew");
    unlink(model);
    assert_int_equal(wait_code(start(moa, NULL)), 2);
    assert_says("--resume writes the model again");
}

/* Whoever read the progress is gone (| head -1): as if Ctrl-C had been pressed, though nobody hears of it. */
static void test_closed_pipe(void **state) {
    (void)state;
    const char *moa = program();
    char text[1 << 16] = "";
    size_t n = 0;
    int p[2];
    write_recipe("1000000");
    assert_int_equal(pipe(p), 0);
    const pid_t pid = fork();
    if (pid == 0) {
        signal(SIGPIPE, SIG_DFL);
        dup2(p[1], 2);
        close(p[0]);
        close(p[1]);
        execl(moa, "moa", "train", recipe, "--out", out, "--threads", "1", "--fresh", (char *)NULL);
        _exit(127);
    }
    close(p[1]);
    for (ssize_t k = 1; k > 0 && n + 1 < sizeof text && !strstr(text, "weights"); text[n] = 0)
        if ((k = read(p[0], text + n, sizeof text - 1 - n)) > 0) n += (size_t)k;
    close(p[0]);
    assert_int_equal(wait_code(pid), 1);
    const pid_t next = start(moa, "--resume");
    wait_for_begin(next);
    kill(next, SIGINT);
    assert_int_equal(wait_code(next), 1);
    assert_says("going on after step");
}

static int setup(void **state) {
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/moa-test-XXXXXX");
    if (!mkdtemp(dir)) return -1;
    snprintf(recipe, sizeof recipe, "%s/r.yaml", dir);
    snprintf(out, sizeof out, "%s/run", dir);
    snprintf(errors, sizeof errors, "%s/stderr", dir);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", dir);
    return system(cmd);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_interrupt), cmocka_unit_test(test_kill), cmocka_unit_test(test_finished), cmocka_unit_test(test_closed_pipe)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
