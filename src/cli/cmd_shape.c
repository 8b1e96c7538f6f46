/* cmd_shape.c - moa shape NAME FILE [TYPE]: a model with random weights in the shape of a published one, to measure speed on.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "cli/cli.h"
#include "model/shape.h"

#include <string.h>

enum { O_SEED };
static const moa_opt opts[] = {
    MOA_ROW_SEED("of the weights (default 1): the same seed gives the same file"),
    MOA_ROWS_END,
};

static int run(int argc, char **argv);
const moa_command moa_command_shape = {
    .name = "shape", .usage = "NAME FILE [TYPE]", .help = "write a model of random weights in a published shape, to measure speed on",
    .more = "TYPE is that of the matrices, Q4_0 when it is not given (`moa list types`). `moa shape list` shows the names. The file works\n"
            "everywhere a model does; what it writes is noise.",
    .opts = opts, .run = run,
};

static int list_names(void) {
    int n;
    const moa_shape *s = moa_shapes(&n);
    for (int i = 0; i < n; i++) printf("%-12s %s\n", s[i].name, s[i].help);
    return 0;
}

static int run(int argc, char **argv) {
    moa_optval v[sizeof opts / sizeof *opts];
    const char *pos[3] = {0};
    int n_pos;
    const int rc = moa_opt_parse(&moa_command_shape, argc, argv, v, pos, 3, &n_pos);
    if (rc) return rc < 0 ? 2 : 0;
    if (n_pos && !strcmp(pos[0], "list")) return list_names();
    if (n_pos < 2) return moa_cli_usage(&moa_command_shape, n_pos ? "the file to write is missing" : "the shape is missing");
    const moa_shape *s = moa_shape_find(pos[0]);
    if (!s) return moa_cli_usage(&moa_command_shape, "no shape '%s' (moa shape list shows them)", pos[0]);
    const moa_type *t = moa_type_find(pos[2] ? pos[2] : "Q4_0");
    if (!t) return moa_cli_usage(&moa_command_shape, "no type '%s' (moa list types shows them)", pos[2]);
    moa_err err = {0};
    return moa_shape_write(s, t->id, v[O_SEED].set ? (uint64_t)v[O_SEED].i : 1, pos[1], &err) < 0 ? moa_cli_fail(&err) : 0;
}
