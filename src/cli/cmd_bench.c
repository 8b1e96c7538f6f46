/* cmd_bench.c - moa bench NAME: options shared by all measurements; what is measured is in bench_*.c (benches.def).
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench.h"

#include "base/nearest.h"

#include <string.h>

enum { O_MODEL, O_THREADS, O_RUNS, O_KV, O_REPACK, O_DRAFT, O_TUNE, O_JSON };
static const moa_opt opts[] = {
    MOA_ROW_MODEL,
    MOA_ROW_THREADS,
    {"--runs", "-r", MOA_OPT_INT, "N", "repeats of each measurement; the median counts", 1, MOA_BENCH_RUNS},
    MOA_ROW_KV,
    MOA_ROW_REPACK,
    MOA_ROW_DRAFT,
    {"--tune", NULL, MOA_OPT_FLAG, NULL, "kernels: measure which of those with the same bits are fastest here, and use them from then on", 0, 0},
    MOA_ROW_JSON(""),
    MOA_ROWS_END,
};

static int run(int argc, char **argv);
const moa_command moa_command_bench = {
    .name = "bench", .usage = "NAME [-m MODEL] [-t THREADS] [--json] [ARG]", .help = "measure speed on this machine",
    .more = "NAME is speed (prefill, decode, batches, self-moa), or another of `moa bench list`.", .opts = opts, .run = run,
};

static int run(int argc, char **argv) {
    moa_optval v[sizeof opts / sizeof *opts];
    const char *pos[2] = {0};
    int n_pos, n;
    int rc = moa_opt_parse(&moa_command_bench, argc, argv, v, pos, 2, &n_pos);
    if (rc) return rc < 0 ? 2 : 0;
    const moa_bench *const *b = moa_benches(&n);
    const char *names[64] = {0};
    for (int i = 0; i < n && i < 64; i++) names[i] = b[i]->name;
    if (n_pos == 0) return moa_cli_usage(&moa_command_bench, "what to measure is missing");
    if (!strcmp(pos[0], "list")) {
        for (int i = 0; i < n; i++) printf("%-10s %s\n", b[i]->name, b[i]->help);
        return 0;
    }
    moa_bench_opt o = {v[O_JSON].set, v[O_MODEL].s, (int)v[O_THREADS].i, (int)v[O_RUNS].i, v[O_KV].s, v[O_REPACK].s, v[O_DRAFT].s, v[O_TUNE].set, n_pos > 1 ? pos[1] : NULL};
    for (int i = 0; i < n; i++)
        if (!strcmp(b[i]->name, pos[0])) {
            if (o.tune && strcmp(pos[0], "kernels")) return moa_cli_usage(&moa_command_bench, "--tune belongs to moa bench kernels");
            if (o.tune && o.arg) return moa_cli_usage(&moa_command_bench, "--tune measures all kernels: '%s' is one argument too many", o.arg);
            moa_err err = {0};
            return b[i]->run(&o, &err) < 0 ? moa_cli_fail(&err) : 0;
        }
    const char *near = moa_nearest(pos[0], names, n < 64 ? n : 64);
    return moa_cli_usage(&moa_command_bench, "no measurement '%s'%s%s%s", pos[0], near ? " (did you mean " : "", near ? near : "",
                         near ? "?)" : "");
}
