/* test_faults.c - what happens around the program: a model's file that is cut while it is in use, little memory, other instruction sets,
 * more threads than processors, busy processors.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/program.h"

#include "base/clock.h"
#include "base/cpu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static off_t size_of(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 ? st.st_size : 0;
}

/* A conversation: one answer, then the file loses its weights, then one more question. */
static void test_file_cut(void **state) {
    (void)state;
    need_program();
    char cmd[1024], model[128], answer[128], said[128];
    int to[2], status;
    snprintf(model, sizeof model, "%s", path_of("cut.gguf"));
    snprintf(answer, sizeof answer, "%s", path_of("cut.out"));
    snprintf(said, sizeof said, "%s", path_of("cut.err"));
    snprintf(cmd, sizeof cmd, "cp '%s' '%s'", program_model(), model);
    assert_int_equal(system(cmd), 0);
    for (int threads = 1; threads <= 2; threads++) {
        char t[8];
        snprintf(t, sizeof t, "%d", threads);
        snprintf(cmd, sizeof cmd, "cp '%s' '%s.new' && mv '%s.new' '%s'", program_model(), model, model, model);
        assert_int_equal(system(cmd), 0);
        assert_int_equal(pipe2(to, O_CLOEXEC), 0);
        unlink(answer);
        fflush(NULL);
        const pid_t child = fork();
        if (!child) {
            dup2(to[0], 0);
            if (dup2(open(answer, O_WRONLY | O_CREAT | O_TRUNC, 0600), 1) != 1 || dup2(open(said, O_WRONLY | O_CREAT | O_TRUNC, 0600), 2) != 2) _exit(126);
            execl(getenv("MOA"), "moa", "chat", "-q", "-m", model, "--mix", "single", "--max-tokens", "5", "-t", t, (char *)NULL);
            _exit(127);
        }
        close(to[0]);
        assert_int_equal(write(to[1], "one\n", 4), 4);
        for (const double end = moa_now() + 30; size_of(answer) == 0 && moa_now() < end;) nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
        assert_true(size_of(answer) > 0);
        assert_int_equal(truncate(model, 4096), 0);
        assert_int_equal(write(to[1], "two\n", 4), 4);
        close(to[1]);
        assert_int_equal(waitpid(child, &status, 0), child);
        slurp(err_text, sizeof err_text, said);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 1) fail_msg("status %x: %s", (unsigned)status, err_text);
        if (!strstr(err_text, "cut.gguf: cannot be read any more") || !strstr(err_text, "hint: ")) fail_msg("'%s'", err_text);
    }
}

/* An address space that is too small: words, not a crash. The limits go from where the libraries hardly fit to where all does. */
static void test_little_memory(void **state) {
    (void)state;
    need_program();
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    printf("skip: a sanitizer reserves more address space than the limits leave\n");
    skip();
#endif
    int failed = 0, went = 0;
    for (int mib = 56; mib <= 1024; mib += mib < 128 ? 4 : mib) {
        char args[256];
        snprintf(args, sizeof args, "run -q -m %%M --mix single --max-tokens 3 -t 4 hi");
        struct rlimit old, low;
        program_model();
        assert_int_equal(getrlimit(RLIMIT_AS, &old), 0);
        low = (struct rlimit){(rlim_t)mib << 20, old.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_AS, &low), 0);
        const int rc = moa(args);
        assert_int_equal(setrlimit(RLIMIT_AS, &old), 0);
        if (rc == 127) continue; /* not even the libraries */
        if (rc != 0 && (rc != 1 || !strstr(err_text, "memory"))) fail_msg("%d MiB: exit code %d: %s", mib, rc, err_text);
        failed += rc == 1, went += rc == 0;
    }
    printf("   %d limits said so, %d were enough\n", failed, went);
    assert_true(went > 0);
}

/* The same answer whatever the number of threads; more than there are processors is slower at most. */
static void test_many_threads(void **state) {
    (void)state;
    need_program();
    static char first[sizeof out];
    for (int t = 1; t <= 64; t *= 4) {
        char args[256];
        snprintf(args, sizeof args, "run -q -m %%M --mix single --max-tokens 20 -t %d hello", t);
        assert_int_equal(moa(args), 0);
        if (t == 1) memcpy(first, out, sizeof out);
        assert_string_equal(first, out);
    }
}

/* Without AVX-512, or without anything but plain C: the program runs. An instruction set that the machine lacks is named. */
static void test_instruction_sets(void **state) {
    (void)state;
    need_program();
    static const char *const isa[] = {"ref", "avx2", "avx512", "amx"};
    int ran = 0;
    for (size_t i = 0; i < sizeof isa / sizeof *isa; i++) {
        setenv("MOA_ISA", isa[i], 1);
        const int rc = moa("run -q -m %M --mix single --max-tokens 3 hi");
        unsetenv("MOA_ISA");
        if (rc != 0 && (rc == -1 || !strstr(err_text, isa[i]) || !strstr(err_text, "lacks"))) fail_msg("%s: exit code %d: %s", isa[i], rc, err_text);
        ran += rc == 0;
    }
    assert_true(ran > 0);
}

/* Beside a busy loop on every processor. A fair share of each is half of it; what was measured is 1.9 to 3.6 times slower, and a machine that
 * runs other tests at the same time is busy before, so the bound is wide: threads that spin for each other take 10 times and more. */
static void test_busy(void **state) {
    (void)state;
    need_program();
    int n = 0;
    for (double factor = 100; factor > 8 && n < 3; n++) { /* the best of three */
        assert_int_equal(moa("bench threads -m %M -t 2 -r 1 --json"), 0);
        json_t *o = parsed();
        factor = number(o, "busy_factor");
        printf("   decode is %.1f times slower beside busy loops; a region costs %.2f us\n", factor, number(o, "region_us"));
        assert_int_equal(integer(o, "processors"), moa_cpu_count());
        json_decref(o);
        if (factor <= 8) return;
    }
    fail_msg("decode beside busy loops is more than 8 times slower");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_file_cut), cmocka_unit_test(test_little_memory), cmocka_unit_test(test_many_threads),
                                       cmocka_unit_test(test_instruction_sets), cmocka_unit_test(test_busy)};
    return cmocka_run_group_tests(tests, program_setup, program_teardown);
}
