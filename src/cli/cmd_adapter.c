/* cmd_adapter.c - moa adapter export: a LoRA in the other format, with every scale folded in. The written file is read back and put on
 * the base before the command says that it is done.
 * SPDX-License-Identifier: Apache-2.0 */
#include "adapt/adapt.h"
#include "base/err.h"
#include "cli/cli.h"

#include <string.h>

enum { O_MODEL };
static const moa_opt opts[] = {
    MOA_ROW_MODEL,
    MOA_ROWS_END,
};

static int run(int argc, char **argv);
const moa_command moa_command_adapter = {
    .name = "adapter", .usage = "export ADAPTER OUT -m MODEL", .help = "write a LoRA adapter as GGUF or PEFT", .opts = opts, .run = run,
    .more = "OUT ends in .gguf: a GGUF adapter; else a folder with adapter_config.json and adapter_model.safetensors.\n"
            "MODEL is the base: names and the order of rows depend on it. Scales (alpha, rsLoRA, patterns) are folded into B, so that\n"
            "every reader gets the same product. moa info ADAPTER shows what an adapter holds.",
};

static int check(const char *out, const moa_model *m, moa_err *err) {
    moa_adapter *a;
    moa_adapter_set *set = NULL;
    MOA_TRY(moa_adapter_open(&a, out, err));
    const int rc = moa_adapter_set_new(&set, m, &(moa_adapter_use){a, 1}, 1, 0, err);
    if (rc >= 0) printf("%s: %s, %d matrices\n", out, moa_adapter_form_name(a->form), a->n);
    moa_adapter_set_free(set);
    moa_adapter_close(a);
    return rc;
}

static int export_to(const char *from, const char *out, const char *model, moa_err *err) {
    char path[4096];
    moa_model *m = NULL;
    moa_adapter *a = NULL;
    const size_t n = strlen(out);
    const bool gguf = n > 5 && strcmp(out + n - 5, ".gguf") == 0;
    int rc = moa_cli_model_path(path, sizeof path, model, err);
    if (rc >= 0) rc = moa_cli_two_files(from, out, err);
    if (rc >= 0) rc = moa_model_open(&m, path, err);
    if (rc >= 0) rc = moa_adapter_open(&a, from, err);
    if (rc >= 0) rc = gguf ? moa_adapter_write_gguf(a, m, out, err) : moa_adapter_write_peft(a, m, out, err);
    if (rc >= 0 && (rc = check(out, m, err)) < 0) moa_wrap(err, rc, "written, but cannot be used");
    moa_adapter_close(a);
    moa_model_close(m);
    return rc;
}

static int run(int argc, char **argv) {
    moa_optval v[sizeof opts / sizeof *opts];
    const char *pos[3] = {0};
    int n_pos;
    const int rc = moa_opt_parse(&moa_command_adapter, argc, argv, v, pos, 3, &n_pos);
    if (rc) return rc < 0 ? 2 : 0;
    if (n_pos < 1 || strcmp(pos[0], "export") != 0) return moa_cli_usage(&moa_command_adapter, "expected: export");
    if (n_pos < 3) return moa_cli_usage(&moa_command_adapter, "ADAPTER and OUT are needed");
    moa_err err = {0};
    return export_to(pos[1], pos[2], v[O_MODEL].s, &err) < 0 ? moa_cli_fail(&err) : 0;
}
