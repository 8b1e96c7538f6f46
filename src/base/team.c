/* team.c - see team.h.
 *
 * One word, the gate, says all: [number of the region : 16][open : 1][the owner waits : 1][threads inside : 14]. The owner writes
 * a new number with the gate open; a thread enters by a compare-and-swap that counts it in, and counts itself out when
 * no pieces are left. The owner, when it finds none left, shuts the gate and waits for the count to be zero. So the region's fields
 * are read only by threads that are counted, and a thread that is not there is not waited for.
 * A number that comes round again does no harm: whoever takes the region for one that it has done sits it out.
 *
 * Sleeping: futex on the gate. A thread counts itself as a sleeper before it looks at the gate for the last time, the owner looks for
 * sleepers after it has opened the gate (both in the one order of sequentially consistent operations), so no wake-up is lost.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/team.h"

#include "base/clock.h"
#include "base/cpu.h"

#include <linux/futex.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { INSIDE = 0x3fff, WAITS = 0x4000, OPEN = 0x8000, ONE_REGION = 0x10000 };
enum { FOR_WORKERS = 1, FOR_OWNER = 2 }; /* who sleeps on the gate */
enum { STACK = 1 << 20, LINE = 64, PIECES = 8 /* a share is handed out in about so many pieces */ };
#define SPIN_S 40e-6 /* longer than the parts of a step that one thread does alone, much shorter than a time slice */

typedef struct share { _Alignas(LINE) _Atomic int64_t next; int64_t end; } share; /* in units of a piece */
typedef struct worker { moa_team *team; pthread_t thread; int index; } worker;

struct moa_team {
    _Alignas(LINE) _Atomic uint32_t gate;
    /* The region: */
    _Atomic int want;      /* threads that may enter: read before the gate by those who need not */
    int64_t n, piece, step; /* items; items of a unit; units claimed at once */
    moa_range_fn fn;
    const void *args;
    _Alignas(LINE) _Atomic int sleepers;
    _Atomic bool stop;
    _Alignas(LINE) int n_threads;
    bool busy, crowded;    /* the owner's: inside a region; more threads than processors */
    uint32_t family;       /* forks before it was made */
    worker *worker;        /* [n_threads - 1] */
    share share[];         /* [n_threads] */
};

static _Atomic uint32_t forks; /* of this process since its first team, counted in the child */
static void count_fork(void) { atomic_fetch_add(&forks, 1); }
static void watch_forks(void) { (void)pthread_atfork(NULL, NULL, count_fork); }

/* The region that this thread works in, and as which thread of it. */
static _Thread_local struct { const moa_team *team; int index; } self;

static void futex_wait(_Atomic uint32_t *word, uint32_t seen, int who) {
    syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, seen, NULL, NULL, who);
}
static void futex_wake(_Atomic uint32_t *word, int who) { syscall(SYS_futex, word, FUTEX_WAKE_BITSET_PRIVATE, INT_MAX, NULL, NULL, who); }

static inline void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Pieces of one share after the other, from the thread's own on. */
static void work(moa_team *p, int index) {
    const int want = atomic_load_explicit(&p->want, memory_order_relaxed);
    const int64_t step = p->step;
    const moa_team *was = self.team; /* a session within another's region has a team of its own */
    const int was_index = self.index;
    self.team = p, self.index = index;
    for (int k = 0; k < want; k++) {
        share *s = &p->share[index + k < want ? index + k : index + k - want];
        while (atomic_load_explicit(&s->next, memory_order_relaxed) < s->end) {
            const int64_t u0 = atomic_fetch_add_explicit(&s->next, step, memory_order_relaxed);
            if (u0 >= s->end) break;
            const int64_t u1 = u0 + step < s->end ? u0 + step : s->end, i1 = u1 * p->piece;
            p->fn(p->args, u0 * p->piece, i1 < p->n ? i1 : p->n, index);
        }
    }
    self.team = was, self.index = was_index;
}

/* ---- workers ---- */

/* Into the region of gate g, unless it is over. */
static bool enter(moa_team *p, uint32_t g) {
    const uint32_t region = g / ONE_REGION;
    while (g & OPEN && g / ONE_REGION == region)
        if (atomic_compare_exchange_weak(&p->gate, &g, g + 1)) return true;
    return false;
}

static void leave(moa_team *p) {
    const uint32_t g = atomic_fetch_sub(&p->gate, 1);
    if ((g & (WAITS | INSIDE)) == (WAITS | 1)) futex_wake(&p->gate, FOR_OWNER);
}

/* Until the gate has another region than the one done, or the team stops: -> the gate. */
static uint32_t next_region(moa_team *p, uint32_t done) {
    double end = 0;
    for (;;) {
        uint32_t g = 0;
        for (int i = 0; i < 64; i++) {
            g = atomic_load_explicit(&p->gate, memory_order_acquire);
            if (g / ONE_REGION != done || atomic_load_explicit(&p->stop, memory_order_relaxed)) return g;
            if (p->crowded) break;
            relax();
        }
        const double now = moa_now();
        if (end == 0) end = now + SPIN_S;
        if (now < end && !p->crowded) continue;
        atomic_fetch_add(&p->sleepers, 1);
        g = atomic_load(&p->gate);
        if (g / ONE_REGION == done && !atomic_load(&p->stop)) futex_wait(&p->gate, g, FOR_WORKERS);
        atomic_fetch_sub(&p->sleepers, 1);
        end = 0;
    }
}

static void *run_worker(void *arg) {
    const worker *w = arg;
    moa_team *p = w->team;
    uint32_t done = 0;
    for (;;) {
        const uint32_t g = next_region(p, done);
        if (atomic_load(&p->stop)) return NULL;
        done = g / ONE_REGION;
        if (w->index >= atomic_load_explicit(&p->want, memory_order_relaxed) || !enter(p, g)) continue;
        if (w->index < atomic_load_explicit(&p->want, memory_order_relaxed)) work(p, w->index); /* what was read before may be of another region */
        leave(p);
    }
}

/* ---- the owner ---- */

/* Shuts the gate and waits until nobody is inside. */
static void wait_inside(moa_team *p) {
    uint32_t g = atomic_fetch_and(&p->gate, ~(uint32_t)OPEN);
    const double end = g & INSIDE && !p->crowded ? moa_now() + SPIN_S : 0;
    for (bool sleep = p->crowded; g & INSIDE; sleep = sleep || moa_now() > end) {
        for (int i = 0; i < 64 && g & INSIDE && !sleep; i++) {
            relax();
            g = atomic_load_explicit(&p->gate, memory_order_acquire);
        }
        if (!(g & INSIDE) || !sleep) continue;
        g = atomic_fetch_or(&p->gate, WAITS) | WAITS;
        if (g & INSIDE) futex_wait(&p->gate, g, FOR_OWNER);
        g = atomic_load_explicit(&p->gate, memory_order_acquire);
    }
}

static void open_gate(moa_team *p) {
    const uint32_t region = atomic_load_explicit(&p->gate, memory_order_relaxed) / ONE_REGION + 1;
    atomic_exchange(&p->gate, region * ONE_REGION | OPEN);
    if (atomic_load(&p->sleepers)) futex_wake(&p->gate, FOR_WORKERS);
}

void moa_team_run(moa_team *p, int n_threads, int64_t n, int64_t piece, moa_range_fn fn, const void *args) {
    const int64_t units = piece > 1 ? (n + piece - 1) / piece : n;
    int want = !p ? 1 : n_threads < p->n_threads ? n_threads : p->n_threads;
    if (units < want) want = (int)units;
    if (n <= 0) return;
    if (want < 2 || p->busy || p->family != atomic_load_explicit(&forks, memory_order_relaxed)) {
        fn(args, 0, n, p && self.team == p ? self.index : 0);
        return;
    }
    p->busy = true;
    p->n = n, p->piece = piece > 1 ? piece : 1, p->fn = fn, p->args = args;
    p->step = units / ((int64_t)want * PIECES) > 1 ? units / ((int64_t)want * PIECES) : 1;
    for (int t = 0; t < want; t++) {
        atomic_store_explicit(&p->share[t].next, units * t / want, memory_order_relaxed);
        p->share[t].end = units * (t + 1) / want;
    }
    atomic_store_explicit(&p->want, want, memory_order_relaxed);
    open_gate(p);
    work(p, 0);
    wait_inside(p);
    p->busy = false;
}

/* ---- life ---- */

static bool start_worker(worker *w) {
    pthread_attr_t attr;
    sigset_t all, was;
    if (pthread_attr_init(&attr)) return false;
    pthread_attr_setstacksize(&attr, STACK);
    /* Signals are the owner's, but for those that a thread's own instruction raises. */
    sigfillset(&all);
    sigdelset(&all, SIGBUS), sigdelset(&all, SIGSEGV), sigdelset(&all, SIGFPE), sigdelset(&all, SIGILL), sigdelset(&all, SIGTRAP);
    pthread_sigmask(SIG_SETMASK, &all, &was);
    const bool ok = pthread_create(&w->thread, &attr, run_worker, w) == 0;
    pthread_sigmask(SIG_SETMASK, &was, NULL);
    pthread_attr_destroy(&attr);
    return ok;
}

int moa_team_new(moa_team **out, int n_threads, moa_err *err) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    *out = NULL;
    if (n_threads < 1 || n_threads > INSIDE) return moa_fail(err, MOA_EINVAL, "threads: %d, expected 1 to %d", n_threads, INSIDE);
    pthread_once(&once, watch_forks);
    const size_t bytes = (sizeof(moa_team) + (size_t)n_threads * sizeof(share) + LINE - 1) / LINE * LINE;
    moa_team *p = aligned_alloc(LINE, bytes);
    worker *w = calloc((size_t)n_threads, sizeof *w);
    if (!p || !w) {
        free(p), free(w);
        return moa_fail(err, MOA_ENOMEM, "no memory for %d threads", n_threads);
    }
    *p = (moa_team){.n_threads = n_threads, .worker = w, .crowded = n_threads > moa_cpu_count()};
    p->family = atomic_load(&forks);
    for (int i = 1; i < n_threads; i++) {
        w[i - 1] = (worker){.team = p, .index = i};
        if (start_worker(&w[i - 1])) continue;
        p->n_threads = i; /* slower, but as right */
        break;
    }
    *out = p;
    return 0;
}

void moa_team_free(moa_team *p) {
    if (!p) return;
    if (p->family == atomic_load(&forks)) {
        atomic_store(&p->stop, true);
        atomic_fetch_add(&p->gate, ONE_REGION);
        futex_wake(&p->gate, FOR_WORKERS);
        for (int i = 1; i < p->n_threads; i++) pthread_join(p->worker[i - 1].thread, NULL);
    }
    free(p->worker);
    free(p);
}
