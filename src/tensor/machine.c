/* machine.c - see machine.h. The best of several short runs counts: a limit is what can be reached, and neighbours only take from it. So
 * does a clock that rises late: every loop runs before it is timed.
 *
 * Reads go through memory of at least four times the last cache, on large pages, filled by the threads that read it (which places it near
 * them where a machine has several memory nodes). SPDX-License-Identifier: Apache-2.0 */
#include "tensor/machine.h"

#include "base/clock.h"
#include "base/cpu.h"
#include "base/err.h"
#include "base/pages.h"
#include "base/team.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { UNIT = 2 << 20, LEAST = 64 << 20, MOST = 1 << 30, MAX_THREADS = 1024, LINE = 8 /* words of 8 bytes */ };
#define READ_S 0.05   /* at most, for one number of threads, after the first two passes */
#define PEAK_S 1.5e-3 /* one run of a loop */

typedef struct room {
    void *given;
    char *p; /* on a border of UNIT */
    size_t size;
} room;

static int room_new(room *r, moa_err *err) {
    const long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE);
    const uint64_t most = moa_cpu_memory() / 8;
    r->size = l3 > LEAST / 4 ? l3 < MOST / 4 ? 4 * (size_t)l3 : MOST : LEAST;
    if (r->size > most) r->size = (size_t)most;
    r->size = r->size / UNIT * UNIT;
    r->given = r->size ? malloc(r->size + UNIT) : NULL;
    if (!r->given) return moa_fail(err, MOA_ENOMEM, "no memory of %zu bytes to measure reads with", r->size);
    r->p = (char *)(((uintptr_t)r->given + UNIT - 1) / UNIT * UNIT);
    moa_pages_huge(r->p, r->size);
    return 0;
}

typedef struct job { /* range: units of memory, or runs of a loop */
    const moa_probe *probe;
    char *memory;
    int64_t turns;
    uint64_t *seen; /* [threads * LINE] what the loops computed, so that it is computed */
} job;

static void fill_range(const void *args, int64_t i0, int64_t i1, int thread) {
    const job *j = args;
    (void)thread;
    memset(j->memory + i0 * UNIT, 1, (size_t)(i1 - i0) * UNIT);
}

static void read_range(const void *args, int64_t i0, int64_t i1, int thread) {
    const job *j = args;
    j->seen[thread * LINE] += j->probe->run(j->memory + i0 * UNIT, (i1 - i0) * UNIT);
}

static void peak_range(const void *args, int64_t i0, int64_t i1, int thread) {
    const job *j = args;
    for (int64_t i = i0; i < i1; i++) j->seen[thread * LINE] += j->probe->run(NULL, j->turns);
}

typedef struct lab {
    moa_team *team;
    room r;
    uint64_t *seen;
    int threads;
} lab;

static void lab_free(lab *b) {
    moa_team_free(b->team);
    free(b->r.given), free(b->seen);
}

static int lab_new(lab *b, int threads, bool memory, moa_err *err) {
    *b = (lab){.threads = threads};
    MOA_TRY(moa_team_new(&b->team, threads, err));
    b->seen = calloc((size_t)threads * LINE, sizeof *b->seen);
    int rc = b->seen ? 0 : moa_fail(err, MOA_ENOMEM, "no memory to measure with");
    if (rc >= 0 && memory) rc = room_new(&b->r, err);
    if (rc >= 0 && memory) moa_team_run(b->team, threads, (int64_t)(b->r.size / UNIT), 1, fill_range, &(job){.memory = b->r.p});
    if (rc < 0) lab_free(b);
    return rc;
}

/* Seconds of one pass through the memory. */
static double pass(lab *b, int threads, const moa_probe *p) {
    const job j = {p, b->r.p, 0, b->seen};
    const double t0 = moa_now();
    moa_team_run(b->team, threads, (int64_t)(b->r.size / UNIT), 1, read_range, &j);
    return moa_now() - t0;
}

static const moa_probe *reader(void) {
    int n;
    return moa_probes(&n)[moa_probe_best(MOA_LIMIT_READ, moa_isa_best())];
}

static void measure_reads(moa_machine *m, lab *b) {
    const moa_probe *p = reader();
    for (int t = 1; m->n_read < MOA_READS; t = 2 * t < b->threads ? 2 * t : b->threads) {
        double best = pass(b, t, p), sum = 0;
        for (int k = 0; k < 2 || sum < READ_S; k++) {
            const double s = pass(b, t, p);
            best = s < best ? s : best;
            sum += s;
        }
        m->read[m->n_read].threads = t;
        m->read[m->n_read++].rate = (double)b->r.size / best;
        if (t == b->threads) break;
    }
}

/* Operations a second with a number of threads: each thread has four runs, the others help out. */
static double peak(lab *b, int threads, const moa_probe *p) {
    job j = {p, NULL, 256, b->seen};
    double best = 0, s;
    while (s = moa_now(), p->run(NULL, j.turns), s = moa_now() - s, s < PEAK_S / 4 && j.turns < INT64_C(1) << 40) j.turns *= 2;
    const int64_t runs = threads > 1 ? 4 * threads : 1;
    for (int k = 0; k < 5; k++) {
        const double t0 = moa_now();
        moa_team_run(b->team, threads, runs, 1, peak_range, &j);
        const double rate = (double)runs * (double)j.turns * p->per_turn / (moa_now() - t0);
        best = rate > best ? rate : best;
    }
    return best;
}

int moa_machine_measure(moa_machine *m, moa_err *err) {
    const double t0 = moa_now();
    lab b;
    int n;
    *m = (moa_machine){.n_cpu = moa_cpu_count(), .isa = moa_isa_best()};
    moa_cpu_name(m->cpu);
    MOA_TRY(lab_new(&b, m->n_cpu < MAX_THREADS ? m->n_cpu : MAX_THREADS, true, err));
    measure_reads(m, &b);
    const moa_probe *const *p = moa_probes(&n);
    for (int i = 0; i < n && i < MOA_PROBES; i++) {
        if (p[i]->kind == MOA_LIMIT_READ || !moa_probe_usable(p[i])) continue;
        m->peak[i].one = peak(&b, 1, p[i]);
        m->peak[i].all = b.threads > 1 ? peak(&b, b.threads, p[i]) : m->peak[i].one;
    }
    lab_free(&b);
    m->seconds = moa_now() - t0;
    return 0;
}

int moa_machine_get(moa_machine *m, moa_err *note, moa_err *err) {
    *note = (moa_err){0};
    const int rc = moa_machine_load(m, note);
    if (rc >= 0) return 0;
    if (rc == MOA_ENOTFOUND) *note = (moa_err){0};
    else moa_hint(note, rc, "the machine's limits were measured again");
    MOA_TRY(moa_machine_measure(m, err));
    moa_err why = {0};
    const int saved = moa_machine_save(m, &why);
    if (saved >= 0) return 0;
    *note = why;
    moa_hint(note, saved, "the machine's limits are measured each time; XDG_CACHE_HOME=/path names a folder to keep them in");
    return 0;
}

double moa_machine_read(const moa_machine *m, int threads) {
    if (!m->n_read) return 0;
    int i = 0;
    while (i + 1 < m->n_read && m->read[i].threads < threads) i++;
    if (!i || m->read[i].threads <= threads) return m->read[i].rate;
    const double f = (double)(threads - m->read[i - 1].threads) / (m->read[i].threads - m->read[i - 1].threads);
    return m->read[i - 1].rate + f * (m->read[i].rate - m->read[i - 1].rate);
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double moa_machine_read_now(int threads, int runs) {
    enum { MAX_RUNS = 101 };
    double took[MAX_RUNS];
    lab b;
    if (runs < 1) runs = 1;
    if (runs > MAX_RUNS) runs = MAX_RUNS;
    if (lab_new(&b, threads, true, NULL) < 0) return 0;
    pass(&b, threads, reader());
    for (int i = 0; i < runs; i++) took[i] = pass(&b, threads, reader());
    qsort(took, (size_t)runs, sizeof *took, ascending);
    const double rate = (double)b.r.size / took[runs / 2];
    lab_free(&b);
    return rate;
}
