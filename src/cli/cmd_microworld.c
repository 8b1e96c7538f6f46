/* cmd_microworld.c - moa microworld: print items of the task families, as a person reads them or as JSON lines.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include "base/err.h"
#include "base/nearest.h"
#include "task/task.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { O_FAMILY, O_LEVEL, O_SPLIT, O_SEED, O_N, O_JSON, O_LIST };
static const moa_opt opts[] = {
    {"--family", "-f", MOA_OPT_STR, "FAMILY", "only this family (default: all, in turn)", 0, 0},
    {"--level", "-l", MOA_OPT_INT, "L", "only this level, from 1; of all families: the last one of those with fewer (default: drawn)", 1, 99},
    {"--split", NULL, MOA_OPT_STR, "SPLIT", "train (default) or heldout", 0, 0},
    MOA_ROW_SEED("seed of the items (default 1)"),
    {"-n", NULL, MOA_OPT_INT, "N", "number of items (default: one for each family)", 1, 1e9},
    {"--json", NULL, MOA_OPT_FLAG, NULL, "one JSON object a line: a task file for moa eval (without -f: of the families that are scored)", 0, 0},
    {"--list", NULL, MOA_OPT_FLAG, NULL, "list the families", 0, 0},
    MOA_ROWS_END,
};

static int run(int argc, char **argv);
const moa_command moa_command_microworld = {
    .name = "microworld",
    .usage = "[--family F] [--level L] [--split train|heldout] [--seed S] [-n N] [--json]",
    .help = "print tasks of the microworld: question, worked solution, answer",
    .more = "The same seed prints the same items on every machine. Held-out items are never trained on.",
    .opts = opts,
    .run = run,
};

static int list(void) {
    int n;
    const moa_family *const *f = moa_families(&n);
    for (int i = 0; i < n; i++)
        printf("%-13s %d level%s  %s%s\n", f[i]->name, f[i]->n_level, f[i]->n_level == 1 ? " " : "s", f[i]->help, f[i]->scored ? "" : " (talk, not scored)");
    return 0;
}

static int print_json(const moa_item *it) {
    json_t *o = json_pack("{s:s, s:i, s:s, s:s, s:s}", "family", it->family->name, "level", it->level, "question", moa_buf_str(&it->question),
                          "solution", moa_buf_str(&it->solution), "answer", moa_buf_str(&it->answer));
    char *s = o ? json_dumps(o, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
    json_decref(o);
    if (!s) return MOA_ENOMEM;
    puts(s);
    free(s);
    return MOA_OK;
}

static void print_plain(const moa_item *it) {
    printf("[%s, level %d]\n%s\n\n%s\n\n", it->family->name, it->level, moa_buf_str(&it->question), moa_buf_str(&it->solution));
}

static int unknown_family(const char *name) {
    int n;
    const moa_family *const *f = moa_families(&n);
    const char *names[32] = {0};
    for (int i = 0; i < n && i < 32; i++) names[i] = f[i]->name;
    const char *near = moa_nearest(name, names, n);
    moa_cli_usage(&moa_command_microworld, "unknown family '%s'", name);
    if (near) fprintf(stderr, "  hint: did you mean '%s'?\n", near);
    return 2;
}

static int most_levels(void) {
    int n, most = 0;
    const moa_family *const *f = moa_families(&n);
    for (int i = 0; i < n; i++) most = f[i]->n_level > most ? f[i]->n_level : most;
    return most;
}

static int print_items(const moa_family *one, moa_split split, uint64_t seed, long long n, int level, bool json) {
    int n_all, n_family = 0, rc = MOA_OK;
    const moa_family *const *all = moa_families(&n_all), *f[64];
    moa_err err = {0};
    moa_item it;
    for (int i = 0; i < n_all && n_family < 64; i++)
        if (!json || all[i]->scored) f[n_family++] = all[i]; /* talk has no answers: a task file is without it */
    moa_item_init(&it);
    for (long long i = 0; i < n && rc == MOA_OK && !ferror(stdout); i++) {
        const moa_family *x = one ? one : f[i % n_family];
        rc = moa_item_make(&it, x, split, seed, (uint64_t)(one ? i : i / n_family), level < x->n_level ? level : x->n_level, &err);
        if (rc == MOA_OK && !json) print_plain(&it);
        else if (rc == MOA_OK && (rc = print_json(&it)) < 0) moa_fail(&err, rc, "no memory for a line of JSON");
    }
    moa_item_deinit(&it);
    if (rc == MOA_OK && (fflush(stdout) != 0 || ferror(stdout))) rc = moa_fail(&err, MOA_EIO, "standard output: cannot write");
    return rc < 0 ? moa_cli_fail(&err) : 0;
}

static int run(int argc, char **argv) {
    moa_optval v[sizeof opts / sizeof *opts];
    int n_pos, n_family;
    int rc = moa_opt_parse(&moa_command_microworld, argc, argv, v, NULL, 0, &n_pos);
    if (rc) return rc < 0 ? 2 : 0;
    if (v[O_LIST].set) return list();
    moa_families(&n_family);
    const moa_family *one = v[O_FAMILY].set ? moa_family_find(v[O_FAMILY].s) : NULL;
    if (v[O_FAMILY].set && !one) return unknown_family(v[O_FAMILY].s);
    const char *split = v[O_SPLIT].set ? v[O_SPLIT].s : "train";
    if (strcmp(split, "train") != 0 && strcmp(split, "heldout") != 0)
        return moa_cli_usage(&moa_command_microworld, "--split '%s', expected train or heldout", split);
    int level = v[O_LEVEL].set ? (int)v[O_LEVEL].i : 0;
    int most = one ? one->n_level : most_levels();
    if (level > most)
        return moa_cli_usage(&moa_command_microworld, "--level %d, expected 1 to %d%s%s", level, most, one ? ", the levels of " : "", one ? one->name : "");
    return print_items(one, strcmp(split, "heldout") == 0 ? MOA_HELDOUT : MOA_TRAIN, v[O_SEED].set ? (uint64_t)v[O_SEED].i : 1,
                       v[O_N].set ? v[O_N].i : one ? 3 : n_family, level, v[O_JSON].set);
}
