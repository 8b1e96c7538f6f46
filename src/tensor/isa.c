/* isa.c - which instruction sets this CPU has and the system has enabled, read from cpuid and xgetbv.
 *
 * The levels are those of real machines: avx2 is every x86-64 CPU since about 2013 (Haswell, Zen); avx512 here
 * means the foundation, byte, double-word and vector-length parts plus the int8 dot product VNNI (Ice Lake,
 * Zen 4 and later); amx adds tiles for int8 and bf16 (Sapphire Rapids and later).
 * Sources: Intel SDM volume 1 chapters 13 to 18; Linux Documentation/arch/x86/xstate.rst.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "tensor/kernel.h"

#include <cpuid.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *const names[MOA_ISA_COUNT] = {"ref", "avx2", "avx512", "amx"};

typedef struct feature {
    const char *name;
    int leaf, reg, bit;
    moa_isa isa;
} feature; /* reg: 0 a, 1 b, 2 c, 3 d */
static const feature features[] = {
    {"FMA", 1, 2, 12, MOA_ISA_AVX2},        {"F16C", 1, 2, 29, MOA_ISA_AVX2},          {"AVX2", 7, 1, 5, MOA_ISA_AVX2},
    {"AVX512F", 7, 1, 16, MOA_ISA_AVX512},  {"AVX512DQ", 7, 1, 17, MOA_ISA_AVX512},    {"AVX512BW", 7, 1, 30, MOA_ISA_AVX512},
    {"AVX512VL", 7, 1, 31, MOA_ISA_AVX512}, {"AVX512_VNNI", 7, 2, 11, MOA_ISA_AVX512}, {"AMX-BF16", 7, 3, 22, MOA_ISA_AMX},
    {"AMX-TILE", 7, 3, 24, MOA_ISA_AMX},    {"AMX-INT8", 7, 3, 25, MOA_ISA_AMX},
};

/* Register state that the system saves on a context switch: without it an ISA must not be used. */
static const struct {
    const char *name;
    uint64_t mask;
    moa_isa isa;
} states[] = {
    {"ymm registers enabled by the system", 0x6, MOA_ISA_AVX2},
    {"zmm registers enabled by the system", 0xe6, MOA_ISA_AVX512},
    {"tile registers enabled by the system", 0x60000, MOA_ISA_AMX},
};

static struct {
    moa_isa best;
    const char *missing;
    bool avx_vnni, avx512_bf16;
} found; /* missing: the first thing that the next level lacks */

static uint64_t enabled_state(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & (1u << 27))) return 0; /* OSXSAVE */
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

/* Linux gives tile data only to a process that asks. */
static bool tiles_granted(void) {
#ifdef SYS_arch_prctl
    enum { REQ_XCOMP_PERM = 0x1023, XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, REQ_XCOMP_PERM, XTILEDATA) == 0;
#else
    return false;
#endif
}

static const char *missing_for(moa_isa isa) {
    unsigned r[8][4] = {{0}};
    __get_cpuid(1, &r[1][0], &r[1][1], &r[1][2], &r[1][3]);
    __get_cpuid_count(7, 0, &r[7][0], &r[7][1], &r[7][2], &r[7][3]);
    for (size_t i = 0; i < sizeof features / sizeof *features; i++)
        if (features[i].isa == isa && !(r[features[i].leaf][features[i].reg] >> features[i].bit & 1)) return features[i].name;
    const uint64_t on = enabled_state();
    for (size_t i = 0; i < sizeof states / sizeof *states; i++)
        if (states[i].isa == isa && (on & states[i].mask) != states[i].mask) return states[i].name;
    if (isa == MOA_ISA_AMX && !tiles_granted()) return "permission of the system to use tiles";
    return NULL;
}

static void detect(void) {
    unsigned a = 0, b, c, d;
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d)) a = 0;
    found.avx_vnni = a >> 4 & 1, found.avx512_bf16 = a >> 5 & 1;
    for (int isa = MOA_ISA_AVX2; isa < MOA_ISA_COUNT; isa++) {
        if ((found.missing = missing_for((moa_isa)isa))) return;
        found.best = (moa_isa)isa;
    }
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

moa_isa moa_isa_best(void) {
    pthread_once(&once, detect);
    return found.best;
}

bool moa_cpu_has_avx_vnni(void) {
    pthread_once(&once, detect);
    return found.avx_vnni && found.best >= MOA_ISA_AVX2;
}

bool moa_cpu_has_avx512_bf16(void) {
    pthread_once(&once, detect);
    return found.avx512_bf16 && found.best >= MOA_ISA_AVX512;
}

void moa_cpu_name(char out[MOA_CPU_NAME]) {
    unsigned r[12] = {0}, top = 0, b, c, d;
    if (__get_cpuid(0x80000000u, &top, &b, &c, &d) && top >= 0x80000004u)
        for (unsigned i = 0; i < 3; i++) __get_cpuid(0x80000002u + i, &r[4 * i], &r[4 * i + 1], &r[4 * i + 2], &r[4 * i + 3]);
    char brand[sizeof r + 1] = {0};
    memcpy(brand, r, sizeof r);
    for (char *p = brand; *p; p++)
        if (*p < ' ' || *p > '~') *p = '?';
    unsigned signature = 0;
    __get_cpuid(1, &signature, &b, &c, &d);
    const char *from = brand + strspn(brand, " ");
    int n = (int)strlen(from);
    while (n && from[n - 1] == ' ') n--;
    snprintf(out, MOA_CPU_NAME, "%.*s (%08x)", n, from, signature);
}

const char *moa_isa_missing(void) {
    pthread_once(&once, detect);
    return found.missing;
}

const char *moa_isa_name(moa_isa isa) { return isa >= 0 && isa < MOA_ISA_COUNT ? names[isa] : "unknown"; }

int moa_isa_parse(moa_isa *out, const char *name, moa_err *err) {
    for (int i = 0; i < MOA_ISA_COUNT; i++)
        if (!strcasecmp(name, names[i])) {
            *out = (moa_isa)i;
            return MOA_OK;
        }
    moa_fail(err, MOA_EUSAGE, "unknown instruction set '%.32s'", name);
    return moa_hint(err, MOA_EUSAGE, "choose one of: ref avx2 avx512 amx");
}
