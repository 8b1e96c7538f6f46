/* machine.h - what this machine can do at most, measured once and kept: bytes read a second with 1 to n threads, operations a second of
 * every probe (probe.h) on one core and on all; and which of the kernels of equal bits are fastest here (tune.h).
 *
 * All of it is kept in $XDG_CACHE_HOME/moa/machine.json, else ~/.cache/moa/machine.json. What is in the file is a claim about speed and never
 * one about results: figures are taken within bounds, kernels by name out of the registry and only if this CPU runs them. A file of
 * another CPU, number of processors, instruction set or version of moa, a damaged one, one that is no plain file: measured again, with a
 * word why. Without a folder, or one that cannot be written to: the same, each time.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TENSOR_MACHINE_H
#define MOA_TENSOR_MACHINE_H

#include "tensor/probe.h"
#include "tensor/tune.h"

enum { MOA_READS = 11 /* 1, 2, 4 .. 1024 threads */, MOA_PROBES = 16 };

typedef struct moa_machine {
    char cpu[MOA_CPU_NAME];
    int n_cpu;             /* processors that this process may use */
    moa_isa isa;
    struct { int threads; double rate; } read[MOA_READS]; /* bytes a second, by threads */
    int n_read;
    struct { double one, all; } peak[MOA_PROBES]; /* operations a second of moa_probes' rows, of one core and of all; 0: not on this CPU; reads: 0 */
    moa_tuned tuned;
    bool cached;           /* read from the file */
    double seconds;        /* that measuring took */
} moa_machine;

/* What the file has, else measured now and written there. note: about a file that was not taken or could not be written; code 0: nothing
 * to say. Fails without memory or threads only. */
int moa_machine_get(moa_machine *m, moa_err *note, moa_err *err);
/* Measured now, whatever the file says; nothing is written, and the choice of kernels is empty. About half a second. */
int moa_machine_measure(moa_machine *m, moa_err *err);

/* The file alone: MOA_OK, or a code with err saying why it is not taken (MOA_ENOTFOUND: there is none). */
int moa_machine_load(moa_machine *m, moa_err *err);
int moa_machine_parse(moa_machine *m, const char *text, size_t n, const char *name, moa_err *err); /* its content */
int moa_machine_save(const moa_machine *m, moa_err *err);
int moa_machine_path(char out[4096], moa_err *err);

/* Bytes a second read with a number of threads: between measured numbers a straight line. */
double moa_machine_read(const moa_machine *m, int threads);
/* The same measured now, median of `runs`; 0 without memory. */
double moa_machine_read_now(int threads, int runs);

#endif
