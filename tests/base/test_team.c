/* test_team.c - every item is done once, whatever the split; nested and concurrent use; fork; limits of the machine.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/cpu.h"
#include "base/guard.h"
#include "base/team.h"
#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { N = 3000 };

typedef struct job {
    int *done;             /* [n] how often an item was done: plain, so that a sanitizer sees two threads at one */
    int64_t n, piece;
    int n_threads;
    _Atomic int *in_use;   /* [n_threads] calls that have this number now */
    _Atomic int bad;
} job;

static void mark(const void *args, int64_t i0, int64_t i1, int thread) {
    job *j = (job *)(uintptr_t)args;
    if (i0 % j->piece || (i1 % j->piece && i1 != j->n) || i0 >= i1 || i1 > j->n || thread < 0 || thread >= j->n_threads) atomic_fetch_add(&j->bad, 1);
    else if (atomic_fetch_add(&j->in_use[thread], 1)) atomic_fetch_add(&j->bad, 1);
    for (int64_t i = i0; i < i1; i++) j->done[i]++;
    if (thread >= 0 && thread < j->n_threads) atomic_fetch_sub(&j->in_use[thread], 1);
}

static moa_team *team_of(int n) {
    moa_team *p;
    moa_err err = {0};
    if (moa_team_new(&p, n, &err) < 0) fail_msg("%s", err.text);
    return p;
}

static void run_once(moa_team *p, int threads, int64_t n, int64_t piece) {
    static int done[N];
    static _Atomic int in_use[64];
    job j = {.done = done, .n = n, .piece = piece, .n_threads = threads, .in_use = in_use};
    memset(done, 0, sizeof done);
    moa_team_run(p, threads, n, piece, mark, &j);
    assert_int_equal(j.bad, 0);
    for (int64_t i = 0; i < N; i++) assert_int_equal(done[i], i < n);
}

static void test_every_item_once(void **state) {
    (void)state;
    for (int t = 1; t <= 9; t += t < 3 ? 1 : 3) { /* also more threads than this machine has */
        moa_team *p = team_of(t);
        moa_rng r;
        moa_rng_seed(&r, 5);
        for (int i = 0; i < 400; i++) {
            const int64_t n = moa_rng_below(&r, i % 2 ? 20 : N), piece = 1 + moa_rng_below(&r, i % 3 ? 8 : 40);
            run_once(p, 1 + (int)moa_rng_below(&r, (uint32_t)t), n, piece);
            if (i % 100 == 0) nanosleep(&(struct timespec){.tv_nsec = 300000}, NULL); /* threads have gone to sleep */
        }
        moa_team_free(p);
    }
    moa_team_free(NULL);
    run_once(NULL, 1, 7, 2);
}

/* Two threads must meet inside one region: it was not done by the owner alone. Threads that sleep are woken. */
typedef struct meeting { _Atomic int here; _Atomic bool late; } meeting;
static void meet(const void *args, int64_t i0, int64_t i1, int thread) {
    meeting *m = (meeting *)(uintptr_t)args;
    (void)i0, (void)i1, (void)thread;
    atomic_fetch_add(&m->here, 1);
    for (const double end = moa_now() + 20; atomic_load(&m->here) < 2;) {
        if (moa_now() > end) {
            atomic_store(&m->late, true);
            return;
        }
        sched_yield();
    }
}
static void test_threads_take_part(void **state) {
    (void)state;
    for (int crowd = 0; crowd < 2; crowd++) {
        moa_team *p = team_of(crowd ? moa_cpu_count() + 3 : 2);
        for (int i = 0; i < 20; i++) {
            meeting m = {0};
            moa_team_run(p, 2, 2, 1, meet, &m);
            assert_false(m.late);
            if (i % 4 == 0) nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
        }
        moa_team_free(p);
    }
}

/* A region inside a region is done where it is, under the number of the thread that is there. */
typedef struct nest { moa_team *p, *other; _Atomic int sum, bad; } nest;
typedef struct inner { nest *n; int outer; } inner;
static void inner_range(const void *args, int64_t i0, int64_t i1, int thread) {
    const inner *in = args;
    if (thread != in->outer) atomic_fetch_add(&in->n->bad, 1);
    atomic_fetch_add(&in->n->sum, (int)(i1 - i0));
}
static void other_range(const void *args, int64_t i0, int64_t i1, int thread) { /* of a team of one thread: whose number is 0 */
    nest *n = (nest *)(uintptr_t)args;
    if (thread) atomic_fetch_add(&n->bad, 1);
    atomic_fetch_add(&n->sum, (int)(i1 - i0));
}
static void outer_range(const void *args, int64_t i0, int64_t i1, int thread) {
    nest *n = (nest *)(uintptr_t)args;
    for (int64_t i = i0; i < i1; i++) {
        const inner in = {n, thread};
        moa_team_run(n->p, 4, 10, 3, inner_range, &in);
        if (thread == 1) moa_team_run(n->other, 1, 5, 1, other_range, n);
        else atomic_fetch_add(&n->sum, 5);
        moa_team_run(n->p, 1, 2, 1, inner_range, &in);
    }
}
static void test_nested(void **state) {
    (void)state;
    nest n = {.p = team_of(4), .other = team_of(1)};
    for (int i = 0; i < 50; i++) {
        n.sum = 0;
        moa_team_run(n.p, 4, 40, 1, outer_range, &n);
        assert_int_equal(n.sum, 40 * 17);
        assert_int_equal(n.bad, 0);
    }
    moa_team_free(n.p), moa_team_free(n.other);
}

/* Sessions in several threads: a team each. */
static void *session(void *arg) {
    int done[100];
    _Atomic int in_use[3] = {0};
    moa_team *p;
    if (moa_team_new(&p, 3, NULL) < 0) return NULL;
    for (int i = 0; i < 300; i++) {
        job j = {.done = done, .n = 100, .piece = 1 + i % 7, .n_threads = 3, .in_use = in_use};
        memset(done, 0, sizeof done);
        moa_team_run(p, 3, 100, j.piece, mark, &j);
        for (int k = 0; k < 100; k++) *(int *)arg += done[k] != 1;
        *(int *)arg += j.bad;
    }
    moa_team_free(p);
    return arg;
}
static void test_several_owners(void **state) {
    (void)state;
    pthread_t t[4];
    int bad[4] = {0};
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&t[i], NULL, session, &bad[i]), 0);
    for (int i = 0; i < 4; i++) {
        void *ended;
        pthread_join(t[i], &ended);
        assert_non_null(ended);
        assert_int_equal(bad[i], 0);
    }
}

/* A child has the memory of a team, but not its threads: it works alone, frees it, and makes one of its own. */
static void test_fork(void **state) {
    (void)state;
    moa_team *p = team_of(3);
    run_once(p, 3, 500, 1);
    fflush(stdout);
    const pid_t child = fork();
    if (!child) {
#ifdef __SANITIZE_THREAD__
        _exit(0); /* it refuses threads in a child of a process with threads */
#endif
        alarm(20);
        int done[50] = {0}, bad = 0;
        _Atomic int in_use[3] = {0};
        job j = {.done = done, .n = 50, .piece = 1, .n_threads = 3, .in_use = in_use};
        moa_team_run(p, 3, 50, 1, mark, &j);
        moa_team_free(p);
        if (moa_team_new(&p, 2, NULL) < 0) _exit(2);
        moa_team_run(p, 2, 50, 1, mark, &j);
        moa_team_free(p);
        for (int i = 0; i < 50; i++) bad += done[i] != 2;
        _exit(bad || j.bad);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    run_once(p, 3, 500, 1);
    moa_team_free(p);
}

/* Waiting costs nothing: after the spin, threads sleep. */
static void test_idle(void **state) {
    (void)state;
    moa_team *p = team_of(2);
    run_once(p, 2, 100, 1);
    struct timespec t0, t1;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t0);
    nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t1);
    assert_true((double)(t1.tv_sec - t0.tv_sec) + 1e-9 * (double)(t1.tv_nsec - t0.tv_nsec) < 0.02);
    moa_team_free(p);
}

bool moa_guard_works(void);
static void test_no_heap(void **state) {
    (void)state;
    if (!moa_guard_works()) {
        printf("skip: a sanitizer brings its own allocator\n");
        skip();
    }
    moa_team *p = team_of(3);
    static int done[100];
    _Atomic int in_use[3] = {0};
    job j = {.done = done, .n = 100, .piece = 1, .n_threads = 3, .in_use = in_use};
    moa_guard_enter("a region");
    for (int i = 0; i < 100; i++) moa_team_run(p, 3, 100, 1, mark, &j);
    moa_guard_leave();
    assert_int_equal(done[99], 100);
    moa_team_free(p);
}

/* Fewer threads than asked for: slower, as right. */
static void test_threads_refused(void **state) {
    (void)state;
    moa_team *p;
    moa_err err = {0};
    assert_int_equal(moa_team_new(&p, 0, &err), MOA_EINVAL);
    assert_int_equal(moa_team_new(&p, 1 << 20, &err), MOA_EINVAL);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    printf("skip: a sanitizer needs more address space than the limit leaves\n");
    skip();
#endif
    fflush(stdout);
    const pid_t child = fork();
    if (!child) { /* room for a few stacks of the hundred */
        FILE *f = fopen("/proc/self/statm", "r");
        long pages = 0;
        if (!f || fscanf(f, "%ld", &pages) != 1) _exit(2);
        fclose(f);
        const struct rlimit lim = {(rlim_t)pages * 4096 + (20u << 20), (rlim_t)pages * 4096 + (20u << 20)};
        if (setrlimit(RLIMIT_AS, &lim) < 0 || moa_team_new(&p, 100, NULL) < 0) _exit(3);
        static int done[N];
        static _Atomic int in_use[100];
        job j = {.done = done, .n = N, .piece = 1, .n_threads = 100, .in_use = in_use};
        moa_team_run(p, 100, N, 1, mark, &j);
        int bad = j.bad;
        for (int i = 0; i < N; i++) bad += done[i] != 1;
        moa_team_free(p);
        _exit(bad != 0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- how many processors and bytes ---- */

static void put(const char *root, const char *folder, const char *name, const char *text) {
    char path[300];
    snprintf(path, sizeof path, "mkdir -p '%s/%s'", root, folder);
    assert_int_equal(system(path), 0);
    snprintf(path, sizeof path, "%s/%s/%s", root, folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void test_control_groups(void **state) {
    (void)state;
    char root[] = "/tmp/moa-test-cgroup-XXXXXX", self[64], cmd[64];
    assert_non_null(mkdtemp(root));
    snprintf(self, sizeof self, "%s/self", root);
    assert_true(moa_cgroup_cpus(root, self) == 0); /* no file at all */
    put(root, ".", "self", "0::/a/b\n");
    assert_true(moa_cgroup_cpus(root, self) == 0);
    put(root, "a/b", "cpu.max", "max 100000\n");
    put(root, "a/b", "memory.max", "max\n");
    assert_true(moa_cgroup_cpus(root, self) == 0);
    assert_int_equal(moa_cgroup_memory(root, self), 0);
    put(root, "a", "cpu.max", "250000 100000\n"); /* a parent's limit holds for its children */
    put(root, "a", "memory.max", "1073741824\n");
    assert_true(moa_cgroup_cpus(root, self) == 2.5);
    assert_int_equal(moa_cgroup_memory(root, self), 1 << 30);
    put(root, "a/b", "cpu.max", "50000 100000\n");
    assert_true(moa_cgroup_cpus(root, self) == 0.5);
    put(root, ".", "self", "0::/../outside\n"); /* as seen from a container: the root is its own */
    put(root, ".", "cpu.max", "150000 100000");
    assert_true(moa_cgroup_cpus(root, self) == 1.5);
    put(root, ".", "self", "3:memory:/m\n2:cpu,cpuacct:/v1\n");
    put(root, "cpu/v1", "cpu.cfs_quota_us", "-1\n");
    put(root, "cpu/v1", "cpu.cfs_period_us", "100000\n");
    put(root, "memory/m", "memory.limit_in_bytes", "9223372036854771712\n");
    assert_true(moa_cgroup_cpus(root, self) == 0);
    assert_int_equal(moa_cgroup_memory(root, self), 0);
    put(root, "cpu/v1", "cpu.cfs_quota_us", "300000\n");
    put(root, "memory/m", "memory.limit_in_bytes", "4096\n");
    assert_true(moa_cgroup_cpus(root, self) == 3);
    assert_int_equal(moa_cgroup_memory(root, self), 4096);
    snprintf(cmd, sizeof cmd, "rm -rf '%s'", root);
    assert_int_equal(system(cmd), 0);
}

static void test_affinity(void **state) {
    (void)state;
    cpu_set_t all, one;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    int first = 0;
    while (!CPU_ISSET(first, &all)) first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(moa_cpu_count(), 1);
    unsetenv("OMP_NUM_THREADS");
    assert_int_equal(moa_cpu_threads(), 1);
    setenv("OMP_NUM_THREADS", "5", 1);
    assert_int_equal(moa_cpu_threads(), 5);
    setenv("OMP_NUM_THREADS", "-5", 1);
    assert_int_equal(moa_cpu_threads(), 1);
    unsetenv("OMP_NUM_THREADS");
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
    assert_true(moa_cpu_count() <= CPU_COUNT(&all));
    const uint64_t most = moa_cpu_memory(), unused = moa_cpu_memory_free();
    assert_true(most > 1 << 20 && unused > 1 << 20);
    struct rlimit was, less; /* ulimit -d */
    assert_int_equal(getrlimit(RLIMIT_DATA, &was), 0);
    less = was;
    less.rlim_cur = 12345678;
    assert_int_equal(setrlimit(RLIMIT_DATA, &less), 0);
    assert_int_equal(moa_cpu_memory(), 12345678);
    assert_int_equal(setrlimit(RLIMIT_DATA, &was), 0);
    assert_int_equal(moa_cpu_memory(), most);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_item_once), cmocka_unit_test(test_threads_take_part), cmocka_unit_test(test_nested),
        cmocka_unit_test(test_several_owners),  cmocka_unit_test(test_fork),              cmocka_unit_test(test_idle),
        cmocka_unit_test(test_no_heap),         cmocka_unit_test(test_threads_refused),   cmocka_unit_test(test_control_groups),
        cmocka_unit_test(test_affinity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
