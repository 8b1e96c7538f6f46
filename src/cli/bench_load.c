/* bench_load.c - moa bench load: how long until a model answers. Its file is first read once, so that it lies in the page cache where that has
 * room; then, on fresh mappings: opening, the session, the first step of one row (which maps what it reads and packs it, without --repack off) and a later one.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/stats.h"
#include "base/clock.h"
#include "base/err.h"
#include "cli/bench.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>


typedef struct load { double open_s, session_s, first_s, later_s; } load;

/* Into the page cache; -> its size. A folder is read by opening it. */
static double read_once(const char *path) {
    static char part[1 << 20];
    double n = 0;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    for (ssize_t k; fd >= 0 && (k = read(fd, part, sizeof part)) > 0;) n += (double)k;
    if (fd >= 0) close(fd);
    return n;
}

static int measure(load *o, const char *path, const moa_bench_opt *opt, moa_err *err) {
    moa_model *m = NULL;
    moa_session *s = NULL;
    moa_session_cfg cfg = moa_session_defaults();
    cfg.n_threads = opt->threads, cfg.n_seq = 1, cfg.n_ctx = 256, cfg.n_batch = 32;
    MOA_TRY(moa_repack_parse(&cfg.repack, opt->repack, err));
    const double t0 = moa_now();
    int rc = moa_model_open(&m, path, err), seq = 0;
    const double t1 = moa_now();
    if (rc >= 0) rc = moa_session_new(&s, m, &cfg, err);
    const double t2 = moa_now();
    if (rc >= 0) rc = seq = moa_seq_new(s, err);
    const moa_row row = {seq, 1, true};
    if (rc >= 0) rc = moa_session_step(s, &row, 1, err);
    const double t3 = moa_now();
    for (int i = 0; rc >= 0 && i < 8; i++) rc = moa_session_step(s, &row, 1, err);
    *o = (load){t1 - t0, t2 - t1, t3 - t2, (moa_now() - t3) / 8};
    moa_session_free(s);
    moa_model_close(m);
    return rc;
}

static int run(const moa_bench_opt *opt, moa_err *err) {
    char path[4096];
    double v[4][MOA_BENCH_RUNS], median[4];
    const int runs = opt->runs ? opt->runs : 5;
    MOA_TRY(moa_cli_model_path(path, sizeof path, opt->model, err));
    const double gb = read_once(path) / 1e9;
    for (int i = 0; i < runs; i++) {
        load o;
        MOA_TRY(measure(&o, path, opt, err));
        v[0][i] = o.open_s, v[1][i] = o.session_s, v[2][i] = o.first_s, v[3][i] = o.later_s;
    }
    for (int k = 0; k < 4; k++) median[k] = moa_median(v[k], runs) * 1e3;
    const double load_ms = median[0] + median[1] + (median[2] > median[3] ? median[2] - median[3] : 0);
    if (opt->json)
        printf("{\"file_gb\":%.4f,\"open_ms\":%.3f,\"session_ms\":%.3f,\"first_step_ms\":%.3f,\"later_step_ms\":%.3f,\"load_ms\":%.3f}\n", gb, median[0],
               median[1], median[2], median[3], load_ms);
    else
        printf("%s: %.3f GB\n  open %8.1f ms\n  session %5.1f ms\n  first step %6.1f ms, a later one %.1f ms\n  to load: %.1f ms%s\n", path, gb, median[0],
               median[1], median[2], median[3], load_ms, gb > 0 ? "" : " (a folder)");
    return 0;
}

const moa_bench moa_bench_load = {.name = "load", .help = "time until a model in the page cache answers", .run = run};
