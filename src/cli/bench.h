/* bench.h - the measurements of `moa bench NAME`: one file each (bench_*.c), registry benches.def. A file exports
 * `const moa_bench moa_bench_NAME`; cmd_bench.c parses the options all of them share, bench.c has what several need.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_CLI_BENCH_H
#define MOA_CLI_BENCH_H

#include "agent/run.h"
#include "base/rng.h"
#include "cli/cli.h"

enum { MOA_BENCH_RUNS = 101 }; /* most repeats */

typedef struct moa_bench_opt {
    bool json;
    const char *model; /* -m as given; NULL: bundled */
    int threads;       /* 0: all cores */
    int runs;          /* repeats of every measurement, 1 to MOA_BENCH_RUNS; 0: the bench's own choice */
    const char *kv;    /* --kv as given; NULL: the model's usual one */
    const char *repack; /* --repack as given; NULL: auto */
    const char *draft; /* --draft as given */
    bool tune;         /* --tune: choose kernels by the measurement */
    const char *arg;   /* second positional argument (a recipe, a name to filter by); NULL: none */
} moa_bench_opt;

typedef struct moa_bench {
    const char *name, *help;
    int (*run)(const moa_bench_opt *o, moa_err *err); /* prints its results on stdout; 0 or a code with err filled */
} moa_bench;

const moa_bench *const *moa_benches(int *n);

/* The model of -m, with as many threads as -t says; path gets where it lies. */
int moa_bench_open(moa_backend **out, char path[4096], const moa_bench_opt *o, moa_err *err);

/* Steps of a session on random tokens. */
typedef struct moa_steps { moa_session *s; int n_vocab, max_row, runs; moa_rng rng; moa_row *row; } moa_steps;
int moa_steps_init(moa_steps *t, moa_session *s, int max_row /* 64 or more */, int runs, moa_err *err); /* borrows s */
void moa_steps_deinit(moa_steps *t);
/* A new sequence of n tokens, in steps of max_row rows. */
int moa_steps_prefill(moa_steps *t, int n, moa_err *err);
/* Seconds of one step with n rows (at most 64), each the next token of a fork of `parent`, 16 steps long: the median over all steps of
 * all runs, since one step is short enough that a neighbour on the machine shows. */
int moa_steps_decode(double *step_s, moa_steps *t, int parent, int n, moa_err *err);

#endif
