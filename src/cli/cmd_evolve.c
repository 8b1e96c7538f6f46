/* cmd_evolve.c - moa evolve: a program that meets examples, searched for. SPDX-License-Identifier: Apache-2.0 */
#include "agent/evolve.h"
#include "agent/mix.h"
#include "agent/stats.h"
#include "base/json.h"
#include "base/nearest.h"
#include "cli/live.h"
#include "cli/mixopt.h"

#include <stdlib.h>
#include <string.h>

enum { O_MUTATOR, O_START, O_EVAL, O_ARCHIVE, O_ISLANDS, O_MIGRATE, O_NOVELTY, O_UNIFORM, O_EXPLORE, O_EPSILON, O_SEED, O_MEASURE, O_MAX, O_SERVER, O_JSON };
static const moa_opt opts[] = {
    {"--mutator", NULL, MOA_OPT_STRS, "NAME", "edit, noise or model:MODEL; several: a bandit chooses (default: edit and noise)", 0, 0},
    {"--start", NULL, MOA_OPT_STR, "TEXT", "the first program (default: print(x))", 0, 0},
    {"--evaluations", NULL, MOA_OPT_INT, "N", "programs run at most (default 3000)", 1, 1e7},
    {"--archive", NULL, MOA_OPT_INT, "N", "programs that an island keeps (default 30)", 1, 256},
    {"--islands", NULL, MOA_OPT_INT, "N", "archives side by side (default 1)", 1, 8},
    {"--migrate", NULL, MOA_OPT_INT, "N", "programs run between two migrations of each island's best (default 100)", 1, 1e7},
    {"--novelty", NULL, MOA_OPT_FLOAT, "S", "children more alike than this to a program of their island are not run (default 0.98; 1: all are)", 0, 1},
    {"--uniform", NULL, MOA_OPT_FLAG, NULL, "mutators are drawn evenly", 0, 0},
    {"--explore", NULL, MOA_OPT_FLOAT, "C", "weight of what is not known yet in the bandit (default 0.3)", 0, 10},
    {"--epsilon", NULL, MOA_OPT_FLOAT, "P", "share of mutations for which any mutator is drawn (default 0.2)", 0, 1},
    MOA_ROW_SEED("equal seeds, equal searches (default 1)"),
    {"--measure", NULL, MOA_OPT_INT, "K", "K searches with seeds of their own, each beside one with --uniform --novelty 1", 2, 10000},
    MOA_ROW_MAX_TOKENS,
    {"--server", NULL, MOA_OPT_STR, "URL", "models are those of a server that runs; its key: $MOA_API_KEY", 0, 0},
    MOA_ROW_JSON(""),
    MOA_ROWS_END,
};

static int run(int argc, char **argv);
const moa_command moa_command_evolve = {
    .name = "evolve",
    .usage = "EXAMPLES.jsonl [--mutator NAME ...] [--measure K]",
    .help = "search for a program that meets examples",
    .more = "EXAMPLES: one {\"x\": 3, \"y\": 10} a line. Programs are of the language of microworld's programs, whose every run is bounded; they read x and print a number.\n"
            "example: moa evolve examples.jsonl --measure 40",
    .opts = opts,
    .run = run,
};

static int read_examples(moa_example *v, int *n, const char *path, moa_err *err) {
    moa_jsonl r;
    json_t *o;
    int rc;
    char where[4200];
    MOA_TRY(moa_jsonl_open(&r, path, 1 << 20, err));
    for (*n = 0; (rc = moa_jsonl_next(&o, &r, err)) > 0; ++*n) {
        snprintf(where, sizeof where, "%s:%zu", path, r.line);
        const json_t *x = json_object_get(o, "x"), *y = json_object_get(o, "y");
        if (!json_is_integer(x) || !json_is_integer(y)) rc = moa_fail(err, MOA_EFORMAT, "%s: expected an object with the whole numbers \"x\" and \"y\"", where);
        else if (*n == MOA_EVOLVE_EXAMPLES) rc = moa_fail(err, MOA_ELIMIT, "%s: more than %d examples", where, (int)MOA_EVOLVE_EXAMPLES);
        else v[*n] = (moa_example){json_integer_value(x), json_integer_value(y)};
        json_decref(o);
        if (rc < 0) break;
    }
    moa_jsonl_close(&r);
    return rc < 0 ? rc : *n ? 0 : moa_fail(err, MOA_EFORMAT, "%s: no examples", path);
}

typedef struct opener { moa_mix_options models; const char *server; } opener;

static int open_model(void *ctx, moa_backend **out, const char *name, moa_err *err) {
    opener *o = ctx;
    return o->server ? moa_cli_open_server(out, o->server, name, err) : moa_cli_open_model(&o->models, out, name, err);
}

typedef struct searching { moa_example example[MOA_EVOLVE_EXAMPLES]; moa_mutator mutator[MOA_EVOLVE_MUTATORS]; moa_model_mutator model[MOA_EVOLVE_MUTATORS]; } searching;

static int add_mutator(searching *s, moa_evolve *e, const char *name, moa_pool *pool, int max_tokens, moa_err *err) {
    int n;
    const moa_mutator *own = moa_mutators(&n);
    if (e->n_mutator == MOA_EVOLVE_MUTATORS) return moa_fail(err, MOA_EUSAGE, "more than %d mutators", (int)MOA_EVOLVE_MUTATORS);
    moa_mutator *to = &s->mutator[e->n_mutator];
    if (!strncmp(name, "model:", 6)) {
        moa_model_mutator *m = &s->model[e->n_mutator];
        *m = (moa_model_mutator){.example = s->example, .n_example = e->n_example, .max_tokens = max_tokens};
        MOA_TRY(moa_pool_get(&m->backend, pool, name + 6, err));
        *to = moa_mutator_model(m);
        return e->n_mutator++, 0;
    }
    for (int i = 0; i < n; i++)
        if (!strcmp(own[i].name, name)) return *to = own[i], e->n_mutator++, 0;
    return moa_fail(err, MOA_EUSAGE, "unknown mutator '%s', expected edit, noise or model:MODEL", name);
}

static bool go_on(void *ctx, const moa_evolve *e) { return (void)ctx, (void)e, !moa_interrupted(); }

static void tell(const moa_evolve *e, bool json) {
    moa_buf b;
    moa_buf_init(&b, 1 << 16);
    if (json) {
        moa_buf_addf(&b, "{\"found\":%s,\"fitness\":%.6f,\"evaluations\":%d,\"rejected\":%d,\"program\":", e->found ? "true" : "false", e->fitness, e->run, e->rejected);
        moa_json_add_str(&b, e->best, strlen(e->best));
        moa_buf_adds(&b, ",\"calls\":{");
        for (int i = 0; i < e->n_mutator; i++) {
            moa_buf_adds(&b, i ? "," : "");
            moa_json_add_str(&b, e->mutator[i].name, strlen(e->mutator[i].name));
            moa_buf_addf(&b, ":%d", e->calls[i]);
        }
        moa_buf_adds(&b, "}}\n");
    } else {
        moa_buf_addf(&b, "%s\n\n%s, fitness %.3f, after %d programs (%d more were nearly known, and not run)\n", e->best, e->found ? "meets all examples" : "not found", e->fitness, e->run, e->rejected);
        for (int i = 0; i < e->n_mutator; i++) moa_buf_addf(&b, "  %-12s asked %d times\n", e->mutator[i].name, e->calls[i]);
    }
    fwrite(moa_buf_str(&b), 1, b.len, stdout);
    moa_buf_deinit(&b);
}

/* The search as it is told against one with even draws and without rejection, seed by seed. A search that found nothing counts all its evaluations: the
 * difference is then at least as large as told. */
static int measure(moa_evolve *e, int k, moa_err *err) {
    double *v = malloc(4 * (size_t)k * sizeof *v), *plain = v ? v + k : NULL, *diff = v ? v + 2 * k : NULL, *share = v ? v + 3 * k : NULL, ci[4][2];
    int found[2] = {0}, rc = v ? 0 : moa_fail(err, MOA_ENOMEM, "%d searches", k);
    for (int i = 0; rc >= 0 && i < k; i++) {
        e->seed++;
        rc = moa_evolve_run(e, go_on, NULL, err);
        v[i] = e->run, found[0] += e->found;
        double all = 0, most = 0;
        for (int m = 0; m < e->n_mutator; m++) all += e->calls[m];
        most = e->calls[0];
        share[i] = all > 0 ? most / all : 0;
        moa_evolve even = *e;
        even.uniform = true, even.novelty = 1;
        if (rc >= 0) rc = moa_evolve_run(&even, go_on, NULL, err);
        plain[i] = even.run, found[1] += even.found;
        diff[i] = plain[i] - v[i];
    }
    if (rc >= 0) {
        double *const of[4] = {v, plain, diff, share};
        for (int i = 0; i < 4; i++) moa_bootstrap_ci(ci[i], of[i], k, 1);
        printf("%d searches of at most %d programs; means, 95 %% bootstrap intervals over seeds\n", k, e->evaluations);
        printf("  bandit, novelty rejection     %7.0f programs (%.0f .. %.0f)   found %d/%d\n", moa_mean(v, k), ci[0][0], ci[0][1], found[0], k);
        printf("  even draws, no rejection      %7.0f programs (%.0f .. %.0f)   found %d/%d\n", moa_mean(plain, k), ci[1][0], ci[1][1], found[1], k);
        printf("  fewer                         %7.0f programs (%.0f .. %.0f)\n", moa_mean(diff, k), ci[2][0], ci[2][1]);
        printf("  calls that go to %-12s %6.1f %% (%.1f .. %.1f)\n", e->mutator[0].name, 100 * moa_mean(share, k), 100 * ci[3][0], 100 * ci[3][1]);
    }
    free(v);
    return rc;
}

static int run(int argc, char **argv) {
    static searching s;
    static const char *const dflt[] = {"edit", "noise"};
    moa_optval v[sizeof opts / sizeof *opts];
    const moa_optval none = {0};
    const char *path = NULL;
    int n_pos, rc = moa_opt_parse(&moa_command_evolve, argc, argv, v, &path, 1, &n_pos);
    if (rc) return rc < 0 ? 2 : 0;
    if (!n_pos) return moa_cli_usage(&moa_command_evolve, "the examples are missing (a JSONL file)");
    moa_err err = {0};
    moa_pool *pool = NULL;
    opener o = {.models = moa_cli_models(&none, &none, &none, &none, &none, &none, &none), .server = v[O_SERVER].s};
    moa_evolve e = {.example = s.example, .mutator = s.mutator, .start = v[O_START].s, .evaluations = v[O_EVAL].set ? (int)v[O_EVAL].i : 3000, .archive = v[O_ARCHIVE].set ? (int)v[O_ARCHIVE].i : 30,
                    .islands = v[O_ISLANDS].set ? (int)v[O_ISLANDS].i : 1, .migrate = v[O_MIGRATE].set ? (int)v[O_MIGRATE].i : 100, .novelty = v[O_NOVELTY].set ? v[O_NOVELTY].f : 0.98,
                    .uniform = v[O_UNIFORM].set, .explore = v[O_EXPLORE].set ? v[O_EXPLORE].f : 0.3,
                    .epsilon = v[O_EPSILON].set ? v[O_EPSILON].f : 0.2, .seed = v[O_SEED].set ? (uint64_t)v[O_SEED].i : 1};
    rc = read_examples(s.example, &e.n_example, path, &err);
    if (rc >= 0) rc = moa_pool_new(&pool, o.server ? NULL : moa_cli_model_path, open_model, &o, &err);
    const int n = v[O_MUTATOR].n_list ? v[O_MUTATOR].n_list : 2;
    for (int i = 0; rc >= 0 && i < n; i++) rc = add_mutator(&s, &e, v[O_MUTATOR].n_list ? v[O_MUTATOR].list[i] : dflt[i], pool, v[O_MAX].set ? (int)v[O_MAX].i : 256, &err);
    moa_interrupt_catch();
    if (rc >= 0 && v[O_MEASURE].set) rc = measure(&e, (int)v[O_MEASURE].i, &err);
    else if (rc >= 0 && (rc = moa_evolve_run(&e, go_on, NULL, &err)) >= 0) tell(&e, v[O_JSON].set);
    moa_pool_free(pool);
    return rc < 0 ? moa_cli_fail(&err) : 0;
}
