/* cpu.h - how much of the machine this process may use. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_BASE_CPU_H
#define MOA_BASE_CPU_H

#include <stdint.h>

/* Processors that the affinity mask and the control groups (cpu.max, rounded up) leave to this process; at least 1. */
int moa_cpu_count(void);
/* Threads that work gets where nobody says: OMP_NUM_THREADS, the custom of clusters and schedulers, else all of those processors. */
int moa_cpu_threads(void);
/* Bytes of memory that this process may have at most: the machine's, the smallest memory.max over it, its limits (ulimit -v and -d). */
uint64_t moa_cpu_memory(void);
/* Bytes of the machine's that nobody uses now; files in the page cache give way. UINT64_MAX where the system does not tell. */
uint64_t moa_cpu_memory_free(void);

/* For tests: the same from a folder in place of /sys/fs/cgroup and a file in place of /proc/self/cgroup. 0: no limit there. */
double moa_cgroup_cpus(const char *root, const char *self);
uint64_t moa_cgroup_memory(const char *root, const char *self);

#endif
