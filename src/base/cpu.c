/* cpu.c - see cpu.h. A container of two processors on a machine of 64 has an affinity mask of 64 and a quota of two: 64 threads
 * there would be stopped together for most of every period. Version 2 of control groups has one tree ("0::/path", cpu.max is
 * "quota period" or "max period"); version 1 a tree a controller (cpu.cfs_quota_us, -1 for none). A limit of a parent holds for its
 * children. Inside a container the tree often begins at the container's own group, while /proc still tells the outer path, so the root counts too.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/cpu.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Two numbers at most of a small file; how many there were. "max" is none. */
static int read_numbers(double v[2], const char *folder, const char *name) {
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) return 0;
    FILE *f = fopen(path, "re");
    if (!f) return 0;
    const int n = fscanf(f, "%lf %lf", &v[0], &v[1]);
    fclose(f);
    return n > 0 ? n : 0;
}

/* What a group says itself; 0: nothing. */
static double cpus_of(const char *folder) {
    double v[2], period[2];
    if (read_numbers(v, folder, "cpu.max") == 2) return v[0] > 0 && v[1] > 0 ? v[0] / v[1] : 0;
    if (read_numbers(v, folder, "cpu.cfs_quota_us") && v[0] > 0 && read_numbers(period, folder, "cpu.cfs_period_us") && period[0] > 0) return v[0] / period[0];
    return 0;
}

static double memory_of(const char *folder) {
    double v[2];
    if (read_numbers(v, folder, "memory.max") && v[0] > 0) return v[0];
    /* Version 1 says "none" by a number near 2^63. */
    return read_numbers(v, folder, "memory.limit_in_bytes") && v[0] > 0 && v[0] < 4e18 ? v[0] : 0;
}

static double least(double a, double b) { return a > 0 && (b <= 0 || a < b) ? a : b; }

/* The smallest limit from a group up to the root of its tree. */
static double walk(const char *root, const char *tree, const char *group, double (*limit_of)(const char *folder)) {
    char path[PATH_MAX];
    const int base = snprintf(path, sizeof path, "%s%s", root, tree);
    if (base < 0 || base >= (int)sizeof path) return 0;
    double limit = 0;
    if (strstr(group, "..") || snprintf(path + base, sizeof path - (size_t)base, "%s", group) >= (int)sizeof path - base) path[base] = 0;
    for (;;) {
        limit = least(limit_of(path), limit);
        char *slash = strrchr(path + base, '/');
        if (!slash) return limit;
        *slash = 0;
    }
}

/* Is `name` one of the controllers in "cpu,cpuacct"? */
static bool lists(const char *controllers, const char *name) {
    const size_t n = strlen(name);
    for (const char *p = controllers; *p; p += strcspn(p, ","), p += *p == ',')
        if (strcspn(p, ",") == n && !memcmp(p, name, n)) return true;
    return false;
}

static double limit(const char *root, const char *self, const char *controller, double (*limit_of)(const char *folder)) {
    FILE *f = fopen(self, "re");
    char line[PATH_MAX], tree[64];
    double all = 0;
    if (!f) return 0;
    while (fgets(line, sizeof line, f)) { /* "4:cpu,cpuacct:/docker/1f" or "0::/user.slice" */
        char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) continue;
        *group++ = 0, controllers++;
        group[strcspn(group, "\n")] = 0;
        if (*controllers && !lists(controllers, controller)) continue;
        snprintf(tree, sizeof tree, "%s%s", *controllers ? "/" : "", *controllers ? controller : "");
        all = least(walk(root, tree, group, limit_of), all);
    }
    fclose(f);
    return all;
}

double moa_cgroup_cpus(const char *root, const char *self) { return limit(root, self, "cpu", cpus_of); }
uint64_t moa_cgroup_memory(const char *root, const char *self) { return (uint64_t)limit(root, self, "memory", memory_of); }

static int affinity(void) {
    for (int n = 1024; n <= 1 << 16; n *= 4) { /* the kernel refuses a mask that is shorter than its own */
        cpu_set_t *set = CPU_ALLOC((size_t)n);
        const size_t bytes = CPU_ALLOC_SIZE((size_t)n);
        const int got = set && sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
        CPU_FREE(set);
        if (got) return got;
    }
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

int moa_cpu_count(void) {
    const int all = affinity();
    const double quota = moa_cgroup_cpus("/sys/fs/cgroup", "/proc/self/cgroup");
    return quota > 0 && ceil(quota) < all ? (int)ceil(quota) : all;
}

int moa_cpu_threads(void) {
    const char *s = getenv("OMP_NUM_THREADS");
    const long n = s ? strtol(s, NULL, 10) : 0;
    return n >= 1 && n <= 1024 ? (int)n : moa_cpu_count();
}

uint64_t moa_cpu_memory(void) {
    const long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
    uint64_t all = pages > 0 && bytes > 0 ? (uint64_t)pages * (uint64_t)bytes : UINT64_MAX;
    const uint64_t most = moa_cgroup_memory("/sys/fs/cgroup", "/proc/self/cgroup");
    if (most && most < all) all = most;
    struct rlimit r;
    if (!getrlimit(RLIMIT_AS, &r) && r.rlim_cur < all) all = r.rlim_cur; /* "no limit" is the largest number */
    if (!getrlimit(RLIMIT_DATA, &r) && r.rlim_cur < all) all = r.rlim_cur;
    return all;
}

uint64_t moa_cpu_memory_free(void) {
    FILE *f = fopen("/proc/meminfo", "re");
    char line[256];
    uint64_t kb, bytes = UINT64_MAX;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %" SCNu64, &kb) == 1) bytes = kb * 1024;
    if (f) fclose(f);
    return bytes;
}
