/* cmd_list.c - moa list KIND: what is built in, read from the registries themselves.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/mix.h"
#include "base/err.h"
#include "base/nearest.h"
#include "cli/bench.h"
#include "cli/cli.h"
#include "cli/models.h"
#include "format/tokenizer/pretokenize.h"
#include "mix/route.h"
#include "model/model.h"
#include "serve/endpoint.h"
#include "task/format.h"
#include "tensor/exec.h"
#include "tensor/probe.h"
#include "train/optim.h"
#include "train/schedule.h"

#include <string.h>

static void line(const char *name, const char *help) { printf(help && *help ? "%-24s %s\n" : "%s\n", name, help); }

/* A registry whose rows have a name and a help text. */
#define LIST(fn, type, get)                                                                                                       \
    static void fn(void) {                                                                                                         \
        int n;                                                                                                                     \
        const type *const *row = get(&n);                                                                                          \
        for (int i = 0; i < n; i++) line(row[i]->name, row[i]->help);                                                              \
    }
LIST(list_strategies, moa_strategy, moa_strategies)
LIST(list_routers, moa_router, moa_routers)
LIST(list_combiners, moa_combiner, moa_combiners)
LIST(list_archs, moa_arch, moa_archs)
LIST(list_ops, moa_op, moa_ops)
LIST(list_optimizers, moa_optimizer, moa_optimizers)
LIST(list_schedules, moa_schedule, moa_schedules)
LIST(list_backends, moa_backend_ops, moa_backends)
LIST(list_formats, moa_task_format, moa_task_formats)
LIST(list_commands, moa_command, moa_commands)
LIST(list_benches, moa_bench, moa_benches)

static void list_types(void) {
    int n;
    const moa_type *const *t = moa_types(&n);
    for (int i = 0; i < n; i++)
        printf("%-10s %6.3f bits  %-12s %s\n", t[i]->name, 8.0 * t[i]->bytes / t[i]->block, t[i]->quantize ? "read, write" : "read",
               t[i]->help ? t[i]->help : "");
}

static void list_kernels(void) {
    int n;
    const moa_kernel *const *k = moa_kernel_list(&n);
    moa_isa best = moa_isa_best();
    for (int i = 0; i < n; i++) {
        bool ok = k[i]->isa <= best && (!k[i]->usable || k[i]->usable());
        printf("%-32s %-7s %s%s\n", k[i]->name, moa_isa_name(k[i]->isa), k[i]->help ? k[i]->help : "", ok ? "" : "  (not on this CPU)");
    }
}

static void list_probes(void) {
    int n;
    const moa_probe *const *p = moa_probes(&n);
    for (int i = 0; i < n; i++) printf("%-14s %-7s %s%s\n", p[i]->name, moa_isa_name(p[i]->isa), p[i]->help, moa_probe_usable(p[i]) ? "" : "  (not on this CPU)");
}

static void list_tasks(void) {
    int n;
    const moa_family *const *f = moa_families(&n);
    line("microworld", "all families below that are scored");
    for (int i = 0; i < n; i++) {
        char name[64];
        if (!f[i]->scored) continue;
        snprintf(name, sizeof name, "microworld/%s", f[i]->name);
        printf("%-24s %s (%d levels)\n", name, f[i]->help, f[i]->n_level);
    }
}

static void list_tokenizers(void) {
    const char *name, *help;
    for (int i = 0; moa_tokenizer_row(&name, &help, i); i++) line(name, help);
}

static void list_pretokenizers(void) {
    const char *name, *same_as;
    for (int i = 0; moa_pre_row(&name, &same_as, i); i++) {
        if (name == same_as) line(name, "");
        else printf("%-24s as %s\n", name, same_as);
    }
}

static void list_models(void) {
    moa_err err = {0};
    if (moa_cli_list_models(false, &err) < 0) moa_cli_fail(&err);
}

static void list_endpoints(void) {
    int n;
    const moa_endpoint *const *e = moa_endpoints(&n);
    for (int i = 0; i < n; i++) {
        char help[160];
        snprintf(help, sizeof help, "%s %s%s: %s", e[i]->method, e[i]->path, e[i]->path[strlen(e[i]->path) - 1] == '/' && e[i]->path[1] ? "ID" : "", e[i]->help);
        line(e[i]->name, help);
    }
}

static const struct { const char *name, *help; void (*list)(void); } kinds[] = {
    {"models", "model files in the folders that are searched", list_models},
    {"mixes", "ways to answer with several calls, by name", list_strategies},
    {"strategies", "the same: each strategy is a mix of its name", list_strategies},
    {"backends", "places that answer calls", list_backends},
    {"routers", "who works on a token", list_routers},
    {"combiners", "how expert outputs become one", list_combiners},
    {"archs", "model architectures", list_archs},
    {"types", "element types and block formats, bits per weight", list_types},
    {"kernels", "inner loops by instruction set", list_kernels},
    {"probes", "loops that measure what the machine can do at most", list_probes},
    {"ops", "operations with gradients", list_ops},
    {"formats", "files of tasks that moa eval reads", list_formats},
    {"tokenizers", "kinds of vocabulary: tokenizer.ggml.model of a file", list_tokenizers},
    {"pretokenizers", "rules that cut text into words: tokenizer.ggml.pre of a file", list_pretokenizers},
    {"optimizers", "for training", list_optimizers},
    {"schedules", "of the learning rate", list_schedules},
    {"tasks", "what moa eval measures with", list_tasks},
    {"benches", "what moa bench measures", list_benches},
    {"endpoints", "of moa serve, each with and without /v1 before it", list_endpoints},
    {"commands", "of this program", list_commands},
};
enum { N_KIND = sizeof kinds / sizeof *kinds };

static int run(int argc, char **argv);
static const moa_opt opts[] = {MOA_ROWS_END};
const moa_command moa_command_list = {
    .name = "list", .usage = "[KIND]", .help = "list models, mixes and everything else that is built in",
    .more = "moa list alone shows the kinds.", .opts = opts, .run = run};

static int run(int argc, char **argv) {
    moa_optval v[1];
    const char *kind = NULL, *names[N_KIND];
    int n_pos, rc = moa_opt_parse(&moa_command_list, argc, argv, v, &kind, 1, &n_pos);
    if (rc) return rc < 0 ? 2 : 0;
    for (int i = 0; i < N_KIND; i++) {
        names[i] = kinds[i].name;
        if (n_pos && !strcmp(kinds[i].name, kind)) return kinds[i].list(), 0;
        if (!n_pos) line(kinds[i].name, kinds[i].help);
    }
    if (!n_pos) return 0;
    const char *near = moa_nearest(kind, names, N_KIND);
    return moa_cli_usage(&moa_command_list, "no list '%s'%s%s%s", kind, near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
}
