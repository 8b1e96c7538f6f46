/* cmd_quantize.c - moa quantize IN OUT TYPE: the same model with weights of another type.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "cli/cli.h"
#include "model/model.h"

#include <string.h>
#include <sys/stat.h>

static const moa_opt opts[] = {{NULL, NULL, 0, NULL, NULL, 0, 0}};

static int run(int argc, char **argv);
const moa_command moa_command_quantize = {
    .name = "quantize", .usage = "IN OUT TYPE", .help = "write a model's weights as another type",
    .more = "TYPE is one of those that `moa list types` shows as writable: F32, F16, BF16, Q8_0, Q4_K ...\n"
            "Norms and routers stay F32; matrices whose rows the type's block does not divide become F16.",
    .opts = opts, .run = run,
};

static int types_hint(moa_err *err, const char *name) {
    char list[200] = "";
    int n;
    const moa_type *const *t = moa_types(&n);
    for (int i = 0; i < n; i++)
        if (t[i]->quantize && (t[i]->block > 1 || t[i]->id == MOA_F32 || t[i]->id == MOA_F16 || t[i]->id == MOA_BF16)) {
            const size_t at = strlen(list);
            snprintf(list + at, sizeof list - at, "%s%s", at ? " " : "", t[i]->name);
        }
    moa_fail(err, MOA_EUSAGE, "type '%s' is not known", name);
    return moa_hint(err, MOA_EUSAGE, "types: %s", list);
}

static int quantize(const char *in, const char *out, const char *name, moa_err *err) {
    char path[4096];
    moa_model *m;
    struct stat a, b;
    const moa_type *type = moa_type_find(name);
    if (!type) return types_hint(err, name);
    MOA_TRY(moa_cli_model_path(path, sizeof path, in, err));
    MOA_TRY(moa_model_open(&m, path, err));
    const int rc = moa_model_save(m, out, type->id, NULL, err);
    const long long n = moa_model_n_weights(m);
    moa_model_close(m);
    if (rc < 0) return rc;
    if (!stat(path, &a) && !stat(out, &b))
        printf("%s: %lld weights, %.2f MB -> %s: %.2f MB, %.2f bits a weight\n", path, n, (double)a.st_size / 1e6, out, (double)b.st_size / 1e6,
               8.0 * (double)b.st_size / (double)n);
    return 0;
}

static int run(int argc, char **argv) {
    moa_optval v[1];
    const char *pos[3] = {0};
    int n_pos;
    const int rc = moa_opt_parse(&moa_command_quantize, argc, argv, v, pos, 3, &n_pos);
    if (rc) return rc < 0 ? 2 : 0;
    if (n_pos < 3) return moa_cli_usage(&moa_command_quantize, "IN, OUT and TYPE are needed");
    moa_err err = {0};
    return quantize(pos[0], pos[1], pos[2], &err) < 0 ? moa_cli_fail(&err) : 0;
}
