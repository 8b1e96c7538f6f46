/* cmd_verify.c - moa verify [MODEL]: are logits the same bits in any batch and on every instruction set of this machine, with this model? model/verify.h says what is
 * promised; exit code 1 when it does not hold.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/live.h"
#include "model/verify.h"

#include <string.h>

enum { O_QUICK, O_SECONDS, O_THREADS, O_SEED, O_JSON, O_QUIET };
static const moa_opt opts[] = {
    {"--quick", NULL, MOA_OPT_FLAG, NULL, "shorter sequences and fewer batches", 0, 0},
    {"--seconds", NULL, MOA_OPT_FLOAT, "S", "stop after S seconds and say how many of the checks were done", 0.001, 1e6},
    {"--threads", "-t", MOA_OPT_INT, "N", "most threads (default: all cores; one more is tried too)", 1, 255},
    MOA_ROW_SEED("of tokens and mixes (default 1)"),
    MOA_ROW_JSON(""),
    MOA_ROW_QUIET,
    MOA_ROWS_END,
};

static int run(int argc, char **argv);
const moa_command moa_command_verify = {
    .name = "verify", .usage = "[MODEL] [--quick] [--seconds S]", .help = "prove on this machine that logits do not depend on batch, chunks, threads, forks or instructions",
    .more = "Sequences are computed alone, one row a step and one thread, and then beside up to 63 neighbours chosen to disturb them: every row's\n"
            "logits must be the same bits. So must be those of a short sequence on every instruction set that this machine has, plain C among\n"
            "them. The first difference is shown with its row and the first product that differs.\n"
            "Exit code 1: something does not hold, or no check was done in time.",
    .opts = opts, .run = run,
};

typedef struct out { const char *path, *arch; bool json, quiet; double shown; int n, bad, planned; bool tried[MOA_ISA_COUNT], differs[MOA_ISA_COUNT]; } out;

static void json_check(const moa_verify_check *c, bool first) {
    moa_buf b;
    moa_buf_init(&b, 1 << 16);
    moa_buf_adds(&b, first ? "{\"what\":" : ",\n{\"what\":");
    moa_json_add_str(&b, c->what, strlen(c->what));
    moa_buf_addf(&b, ",\"rows\":%lld,\"exact\":%s,\"first\":", (long long)c->rows, c->exact ? "true" : "false");
    moa_json_add_str(&b, c->first, strlen(c->first));
    moa_buf_adds(&b, "}");
    fwrite(moa_buf_str(&b), 1, b.len, stdout);
    moa_buf_deinit(&b);
}

static void progress(void *ctx, const char *what, int64_t rows, int done, int planned) {
    out *o = ctx;
    const double now = moa_now();
    o->planned = planned;
    if (now < o->shown + 0.1) return;
    o->shown = now;
    moa_progress_line(o->quiet, "%d of %d checks; %s: %lld rows", done, planned, what, (long long)rows);
}

static void show(void *ctx, const moa_verify_check *c) {
    out *o = ctx;
    moa_progress_line(o->quiet, NULL);
    if (!o->n && o->json) printf("{\"checks\":[\n");
    if (!o->n && !o->json) printf("%s: %s on %s\n", o->path, o->arch, moa_isa_name(moa_isa_best()));
    o->bad += !c->exact;
    if (c->isa < MOA_ISA_COUNT) o->tried[c->isa] = true, o->differs[c->isa] |= !c->exact;
    if (o->json) json_check(c, !o->n);
    else printf("%-52s %8lld rows  %s\n", c->what, (long long)c->rows, c->exact ? "exact" : "DIFFERENT");
    if (!o->json && c->first[0]) printf("    %s\n", c->first);
    o->n++;
    fflush(stdout);
}

/* Which instruction sets give the bits of the best one. */
static void show_isas(const out *o) {
    for (int differ = 0; differ < 2; differ++) {
        int n = 0;
        for (int i = 0; i < MOA_ISA_COUNT; i++)
            if (o->tried[i] && o->differs[i] == differ) printf("%s%s", n++ ? ", " : differ ? "OTHER BITS with " : "the same bits with ", moa_isa_name((moa_isa)i));
        if (n) printf("%s\n", differ ? "" : " as with the best instruction set");
    }
}

static int run(int argc, char **argv) {
    moa_optval v[sizeof opts / sizeof *opts];
    const char *pos[1] = {0};
    char path[4096];
    int n_pos;
    int rc = moa_opt_parse(&moa_command_verify, argc, argv, v, pos, 1, &n_pos);
    if (rc) return rc < 0 ? 2 : 0;
    moa_err err = {0};
    moa_model *m;
    if (moa_cli_model_path(path, sizeof path, pos[0], &err) < 0 || moa_model_open(&m, path, &err) < 0) return moa_cli_fail(&err);
    const moa_verify_cfg cfg = {.n_threads = (int)v[O_THREADS].i, .quick = v[O_QUICK].set, .seed = v[O_SEED].set ? (uint64_t)v[O_SEED].i : 1,
                                .seconds = v[O_SECONDS].f, .progress = progress};
    out o = {.path = path, .arch = m->arch->name, .json = v[O_JSON].set, .quiet = v[O_QUIET].set};
    const double t0 = moa_now();
    rc = moa_verify(m, &cfg, show, &o, &err);
    moa_progress_line(o.quiet, NULL);
    if (o.json && o.n) printf("],\"exact\":%s,\"done\":%d,\"planned\":%d,\"seconds\":%.2f}\n", rc < 0 || o.bad ? "false" : "true", o.n, o.planned, moa_now() - t0);
    if (!o.json && rc >= 0) {
        show_isas(&o);
        if (o.n < o.planned) printf("stopped after %.1f s: %d of %d checks, %d that do not hold\n", moa_now() - t0, o.n, o.planned, o.bad);
        else printf("%d checks, %d that do not hold, %.1f s\n", o.n, o.bad, moa_now() - t0);
    }
    moa_model_close(m);
    return rc < 0 ? moa_cli_fail(&err) : o.bad > 0;
}
