/* bench.h - the measurements of `moa bench NAME`: one file each (bench_*.c), registry benches.def. A file exports
 * `const moa_bench moa_bench_NAME`; cmd_bench.c parses the options all of them share.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_CLI_BENCH_H
#define MOA_CLI_BENCH_H

#include "cli/cli.h"

typedef struct moa_bench_opt {
    bool json;
    const char *model; /* -m as given; NULL: bundled */
    int threads;       /* 0: all cores */
    int runs;          /* repeats of every measurement, the median is kept; 0: the bench's own choice */
    const char *arg;   /* second positional argument (a recipe, a name to filter by); NULL: none */
} moa_bench_opt;

typedef struct moa_bench {
    const char *name, *help;
    int (*run)(const moa_bench_opt *o, moa_err *err); /* prints its results on stdout; 0 or a code with err filled */
} moa_bench;

const moa_bench *const *moa_benches(int *n);

#endif
