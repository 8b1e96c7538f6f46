/* test_interrupt.c - Ctrl-C in `moa train`: the step is finished, the checkpoint is kept, the message says how to go on; and
 * the run goes on. Runs the program named by MOA in the environment.
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

static void test_interrupt(void **state) {
    (void)state;
    const char *moa = getenv("MOA");
    if (!moa || access(moa, X_OK) != 0) {
        printf("skip: MOA does not name the program\n");
        skip();
    }
    static const int signals[] = {SIGINT, SIGTERM};
    for (int i = 0; i < 2; i++) {
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

static int setup(void **state) {
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/moa-test-XXXXXX");
    if (!mkdtemp(dir)) return -1;
    snprintf(recipe, sizeof recipe, "%s/r.yaml", dir);
    snprintf(out, sizeof out, "%s/run", dir);
    snprintf(errors, sizeof errors, "%s/stderr", dir);
    FILE *f = fopen(recipe, "w");
    if (!f) return -1;
    fprintf(f, "name: r\nmodel: {n_layer: 1, d_model: 32, n_head: 2, d_ff: 64, n_ctx: 256}\ntokenizer: {n_vocab: 300, items: 50}\n"
               "stages: [{name: a, steps: 1000000, batch_tokens: 512, seq_len: 256, data: [{family: arithmetic, levels: [1]}]}]\n");
    return fclose(f);
}

static int teardown(void **state) {
    (void)state;
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", dir);
    return system(cmd);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_interrupt)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
