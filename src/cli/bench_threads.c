/* bench_threads.c - moa bench threads: what it costs to share work, and what other work on the machine costs.
 *
 *   region   what a region of one piece of about 2 us a thread takes longer than such a piece: threads awake, and after a pause in which
 *            they have gone to sleep
 *   decode   steps of one sequence, alone and beside one process a processor that only loops. Means, since what counts here are the steps
 *            in which a thread had lost its core. With a fair share of every core a step takes twice as long.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/stats.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/err.h"
#include "base/team.h"
#include "cli/bench.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { REGIONS = 2000, SLEEPS = 50, PROMPT = 64, MAX_LOOPS = 256 };

typedef struct threads { int n; double awake_us, asleep_us, quiet_tps, busy_tps; } threads;

static void pieces(const void *args, int64_t i0, int64_t i1, int thread) {
    (void)args, (void)thread;
    for (int64_t n = (i1 - i0) * 2000, i = 0; i < n; i++) __asm__ volatile("" ::"r"(i));
}

static int compare(const void *a, const void *b) { return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b); }

/* Median microseconds of a region of n pieces on a team of n threads, after `pause` ns. */
static int measure_region(double *us, int n, int runs, long pause, moa_err *err) {
    moa_team *t;
    double took[REGIONS];
    MOA_TRY(moa_team_new(&t, n, err));
    for (int i = 0; i < runs; i++) {
        if (pause) nanosleep(&(struct timespec){.tv_nsec = pause}, NULL);
        const double t0 = moa_now();
        moa_team_run(t, n, n, 1, pieces, NULL);
        took[i] = moa_now() - t0;
    }
    qsort(took, (size_t)runs, sizeof *took, compare);
    *us = took[runs / 2] * 1e6;
    moa_team_free(t);
    return 0;
}

static int measure_regions(threads *o, moa_err *err) {
    double piece;
    MOA_TRY(measure_region(&piece, 1, REGIONS, 0, err));
    MOA_TRY(measure_region(&o->awake_us, o->n, REGIONS, 0, err));
    MOA_TRY(measure_region(&o->asleep_us, o->n, SLEEPS, 1000000, err));
    o->awake_us -= piece, o->asleep_us -= piece;
    return 0;
}

/* Tokens a second of one sequence, over `seconds` and at least 8 steps. */
static int decode(double *tps, moa_session *s, int seq, double seconds, moa_err *err) {
    const double t0 = moa_now();
    int n = 0;
    for (double now = t0; n < 8 || now - t0 < seconds; n++, now = moa_now()) {
        if (moa_seq_len(s, seq) == moa_session_max_len(s)) moa_seq_truncate(s, seq, PROMPT);
        const moa_row row = {seq, 1, true};
        MOA_TRY(moa_session_step(s, &row, 1, err));
    }
    *tps = n / (moa_now() - t0);
    return 0;
}

/* A process that loops until it is killed or this one ends. */
static pid_t start_loop(void) {
    const pid_t parent = getpid(), child = fork();
    if (child) return child;
    signal(SIGINT, SIG_DFL), signal(SIGTERM, SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(0);
    for (volatile uint64_t i = 0;; i++) continue;
}

static int measure_decode(threads *o, moa_session *s, double seconds, moa_err *err) {
    moa_steps t;
    pid_t loop[MAX_LOOPS];
    int n = moa_cpu_count(), have = 0, rc = moa_steps_init(&t, s, PROMPT, 1, err), seq = rc < 0 ? rc : moa_steps_prefill(&t, PROMPT, err);
    if (n > MAX_LOOPS) n = MAX_LOOPS;
    rc = seq < 0 ? seq : decode(&o->quiet_tps, s, seq, seconds, err); /* once to warm up */
    if (rc >= 0) rc = decode(&o->quiet_tps, s, seq, seconds, err);
    while (rc >= 0 && have < n && (loop[have] = start_loop()) > 0) have++;
    if (rc >= 0 && have < n) rc = moa_fail(err, MOA_EIO, "cannot start %d processes", n);
    if (rc >= 0) rc = decode(&o->busy_tps, s, seq, seconds * 2, err);
    for (int i = 0; i < have; i++) kill(loop[i], SIGKILL);
    for (int i = 0; i < have; i++) waitpid(loop[i], NULL, 0);
    moa_steps_deinit(&t);
    return rc;
}

static int run(const moa_bench_opt *opt, moa_err *err) {
    char path[4096];
    moa_model *m = NULL;
    moa_session *s = NULL;
    moa_session_cfg cfg = moa_session_defaults();
    threads o = {.n = opt->threads ? opt->threads : moa_cpu_threads()};
    cfg.n_threads = o.n, cfg.n_seq = 1, cfg.n_batch = PROMPT, cfg.n_ctx = 1024;
    int rc = moa_cli_model_path(path, sizeof path, opt->model, err);
    if (rc >= 0) rc = moa_model_open(&m, path, err);
    if (rc >= 0) rc = measure_regions(&o, err);
    if (rc >= 0) rc = moa_session_new(&s, m, &cfg, err);
    if (rc >= 0) rc = measure_decode(&o, s, opt->runs ? 0.2 * opt->runs : 1, err);
    moa_session_free(s);
    moa_model_close(m);
    if (rc < 0) return rc;
    if (opt->json) {
        printf("{\"threads\":%d,\"processors\":%d,\"region_us\":%.3f,\"region_asleep_us\":%.3f,\"decode_tps\":%.2f,\"busy_tps\":%.2f,\"busy_factor\":%.2f}\n", o.n,
               moa_cpu_count(), o.awake_us, o.asleep_us, o.quiet_tps, o.busy_tps, o.quiet_tps / o.busy_tps);
        return 0;
    }
    printf("%d threads on %d processors\n", o.n, moa_cpu_count());
    printf("  a region of work, threads awake   %8.2f us\n  a region of work, threads asleep  %8.2f us\n", o.awake_us, o.asleep_us);
    printf("  decode                            %8.1f tokens/s\n", o.quiet_tps);
    printf("  decode beside %3d busy loops      %8.1f tokens/s, %.1f times less\n", moa_cpu_count(), o.busy_tps, o.quiet_tps / o.busy_tps);
    return 0;
}

const moa_bench moa_bench_threads = {
    .name = "threads", .help = "cost of sharing work among threads; decode beside other work", .run = run};
