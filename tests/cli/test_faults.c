/* test_faults.c - what happens around the program: a model's file that is cut while it is in use, little memory, other instruction sets,
 * more threads than processors, busy processors.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/program.h"

#include "base/clock.h"
#include "base/cpu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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

/* ---- a system that refuses ---- */

/* A system call that the kernel answers with an error, where (the low word of argument arg & mask) == value. */
typedef struct refusal { int nr, arg; uint32_t mask, value; int error; } refusal;
enum { MOST_REFUSALS = 8 };

static bool install(const refusal *r, int n) {
    struct sock_filter f[3 + 6 * MOST_REFUSALS + 1] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    unsigned short k = 3;
    for (int i = 0; i < n; i++) {
        f[k++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
        f[k++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)r[i].nr, 0, 4);
        f[k++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offsetof(struct seccomp_data, args) + 8 * (size_t)r[i].arg));
        f[k++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, r[i].mask);
        f[k++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, r[i].value, 0, 1);
        f[k++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)r[i].error);
    }
    f[k++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &(struct sock_fprog){k, f}) == 0;
}

/* moa(args) in a process of its own whose system refuses; -> its exit code with out and err_text filled. pages: may have large ones. */
static int moa_refused(const refusal *r, int n, bool pages, const char *args) {
    char o[128], e[128];
    int status;
    snprintf(o, sizeof o, "%s", path_of("refused.out"));
    snprintf(e, sizeof e, "%s", path_of("refused.err"));
    program_model();
    fflush(NULL);
    const pid_t child = fork();
    if (!child) {
        if ((!pages && prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0) || (n && !install(r, n))) _exit(125);
        for (int i = 0; i < n; i++)
            if (syscall(r[i].nr, r[i].value, r[i].value, 0, 0, 0) != -1 || errno != r[i].error) _exit(124); /* it is refused indeed */
        const int rc = moa(args);
        put_file("refused.out", out);
        put_file("refused.err", err_text);
        _exit(rc < 0 ? 126 : rc);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 125) {
        printf("skip: no filters of system calls here\n");
        skip();
    }
    slurp(out, sizeof out, o);
    slurp(err_text, sizeof err_text, e);
    return WEXITSTATUS(status);
}

/* Slower at most: no large pages, no processor mask, no size of the memory. The answer is the same. */
static void test_refusals(void **state) {
    (void)state;
    need_program();
    static const char args[] = "run -q -m %M --mix self-moa -n 3 --max-tokens 20 -t 2 hello";
    static const struct { const char *what; bool pages; int n; refusal r[2]; } c[] = {
        {"large pages switched off", false, 0, {{0}}},
        {"madvise refused", true, 1, {{SYS_madvise, 0, 0, 0, EINVAL}}},
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* a sanitizer ends a program that cannot ask for it */
        {"no affinity", true, 2, {{SYS_sched_getaffinity, 0, 0, 0, EPERM}, {SYS_sched_setaffinity, 0, 0, 0, EPERM}}},
#endif
        {"no size of the memory", true, 1, {{SYS_sysinfo, 0, 0, 0, EPERM}}},
        {"no futex of priorities, no rseq, no membarrier", true, 2, {{SYS_rseq, 0, 0, 0, ENOSYS}, {SYS_membarrier, 0, 0, 0, ENOSYS}}},
    };
    static char want[sizeof out];
    assert_int_equal(moa(args), 0);
    memcpy(want, out, sizeof out);
    assert_true(strlen(want) > 5);
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        const int rc = moa_refused(c[i].r, c[i].n, c[i].pages, args);
        if (rc != 0 || strcmp(out, want)) fail_msg("%s: exit code %d: %s", c[i].what, rc, err_text);
    }
}

/* The system has tile registers and does not give them: the next best kernels do the work; who asks for tiles is told. On a machine without
 * tiles the same words name what is lacking. */
static void test_tiles_refused(void **state) {
    (void)state;
    need_program();
    static const char args[] = "run -q -m %M --mix single --max-tokens 20 hello";
    const refusal r = {SYS_arch_prctl, 0, ~0u, 0x1023, EPERM}; /* ARCH_REQ_XCOMP_PERM */
    static char want[sizeof out];
    assert_int_equal(moa(args), 0);
    memcpy(want, out, sizeof out);
    if (moa_refused(&r, 1, true, args) != 0 || strcmp(out, want)) fail_msg("%s", err_text);
    setenv("MOA_ISA", "amx", 1);
    const int rc = moa_refused(&r, 1, true, args);
    unsetenv("MOA_ISA");
    if (rc != 1 || !strstr(err_text, "amx") || !strstr(err_text, "lacks")) fail_msg("exit code %d: %s", rc, err_text);
}

/* No further thread (a limit of processes): words, or the work of one. */
static void test_no_threads(void **state) {
    (void)state;
    need_program();
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    printf("skip: a sanitizer starts threads of its own\n");
    skip();
#endif
    static const refusal r[] = {{SYS_clone, 0, 0x10000, 0x10000, EAGAIN}, {SYS_clone3, 0, 0, 0, ENOSYS}}; /* CLONE_THREAD */
    const int rc = moa_refused(r, 2, true, "run -q -m %M --mix single --max-tokens 20 -t 4 hello");
    if (rc != 0 && (rc != 1 || !strstr(err_text, "thread"))) fail_msg("exit code %d: %s", rc, err_text);
    printf("   without threads: %s", rc ? err_text : "one does the work\n");
}

/* Beside a busy loop on every processor decode is at most 4 times slower. A fair share of each is half of it; in 40 runs it was 1.0 to 3.0 times
 * (docs/performance.md). Threads that spin for each other take 10 times and more. */
static void test_busy(void **state) {
    (void)state;
    need_program();
    for (int n = 0; n < 3; n++) { /* the best of three: others may have begun to work between the two halves of a round */
        assert_int_equal(moa("bench threads -m %M -t 2 -r 1 --json"), 0);
        json_t *o = parsed();
        const double factor = number(o, "busy_factor");
        printf("   decode is %.1f times slower beside busy loops; a region costs %.2f us\n", factor, number(o, "region_us"));
        assert_int_equal(integer(o, "processors"), moa_cpu_count());
        json_decref(o);
        if (factor <= 4) return;
    }
    fail_msg("decode beside busy loops is more than 4 times slower");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_file_cut), cmocka_unit_test(test_little_memory), cmocka_unit_test(test_many_threads),
                                       cmocka_unit_test(test_instruction_sets), cmocka_unit_test(test_refusals), cmocka_unit_test(test_tiles_refused),
                                       cmocka_unit_test(test_no_threads), cmocka_unit_test(test_busy)};
    return cmocka_run_group_tests(tests, program_setup, program_teardown);
}
