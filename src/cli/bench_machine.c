/* bench_machine.c - moa bench machine: what this machine can do at most (tensor/machine.h), measured anew and kept for moa explain and
 * moa bench kernels. Kernels chosen by moa bench kernels --tune stay chosen.
 * benches.def: BENCH(machine). SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/json.h"
#include "cli/bench.h"
#include "tensor/machine.h"

#include <stdlib.h>
#include <string.h>

static void print_text(const moa_machine *m) {
    int n;
    const moa_probe *const *p = moa_probes(&n);
    printf("%s, %d processors, %s; measured in %.2f s\n  reads", m->cpu, m->n_cpu, moa_isa_name(m->isa), m->seconds);
    for (int i = 0; i < m->n_read; i++) printf("%s %.1f GB/s with %d thread%s", i ? "," : "", m->read[i].rate * 1e-9, m->read[i].threads, m->read[i].threads > 1 ? "s" : "");
    printf("\n  %-14s %14s %14s\n", "GFLOP/s", "one core", "all");
    for (int i = 0; i < n && i < MOA_PROBES; i++)
        if (m->peak[i].one > 0) printf("  %-14s %14.0f %14.0f   %s\n", p[i]->name, m->peak[i].one * 1e-9, m->peak[i].all * 1e-9, p[i]->help);
}

static void print_json(const moa_machine *m) {
    int n;
    const moa_probe *const *p = moa_probes(&n);
    moa_buf b;
    moa_buf_init(&b, 1 << 16);
    moa_buf_adds(&b, "{\"cpu\":");
    moa_json_add_str(&b, m->cpu, strlen(m->cpu));
    moa_buf_addf(&b, ",\"processors\":%d,\"isa\":\"%s\",\"seconds\":%.3f,\"read\":[", m->n_cpu, moa_isa_name(m->isa), m->seconds);
    for (int i = 0; i < m->n_read; i++) moa_buf_addf(&b, "%s{\"threads\":%d,\"gb_per_s\":%.4g}", i ? "," : "", m->read[i].threads, m->read[i].rate * 1e-9);
    moa_buf_adds(&b, "],\"peak\":[");
    const char *comma = "";
    for (int i = 0; i < n && i < MOA_PROBES; i++)
        if (m->peak[i].one > 0) {
            moa_buf_addf(&b, "%s{\"name\":\"%s\",\"gflop_per_s\":%.5g,\"gflop_per_s_all\":%.5g}", comma, p[i]->name, m->peak[i].one * 1e-9, m->peak[i].all * 1e-9);
            comma = ",";
        }
    moa_buf_adds(&b, "]}\n");
    fwrite(moa_buf_str(&b), 1, b.len, stdout);
    moa_buf_deinit(&b);
}

static int run(const moa_bench_opt *o, moa_err *err) {
    moa_machine *old = calloc(2, sizeof *old), *m = old ? old + 1 : NULL;
    moa_err why = {0};
    int rc = m ? 0 : moa_fail(err, MOA_ENOMEM, "no memory");
    if (rc >= 0) {
        const bool had = moa_machine_load(old, NULL) >= 0;
        rc = moa_machine_measure(m, err);
        if (had) m->tuned = old->tuned;
    }
    if (rc >= 0 && moa_machine_save(m, &why) < 0) fprintf(stderr, "moa: note: %s\n", why.text);
    if (rc >= 0) (o->json ? print_json : print_text)(m);
    free(old);
    return rc;
}

const moa_bench moa_bench_machine = {.name = "machine", .help = "what this machine can do at most: reading, products by instruction; kept for explain", .run = run};
