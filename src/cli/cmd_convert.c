/* cmd_convert.c - moa convert FOLDER OUT.gguf: a Hugging Face folder as one GGUF file. The written file is opened before the
 * command says that it is done, so that what cannot be run is known now and not on another machine.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "cli/cli.h"
#include "format/hf.h"
#include "model/model.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { O_TYPE, O_QUIET };
static const moa_opt opts[] = {
    {"--type", NULL, MOA_OPT_STR, "TYPE", "type of matrices: BF16, F16, F32, Q8_0 ... (default: as they are)", 0, 0},
    {"--quiet", "-q", MOA_OPT_FLAG, NULL, "no progress", 0, 0},
    MOA_ROWS_END,
};

static int run(int argc, char **argv);
const moa_command moa_command_convert = {
    .name = "convert", .usage = "FOLDER OUT.gguf [--type TYPE]", .help = "a Hugging Face folder (safetensors) as one GGUF file", .opts = opts,
    .more = "FOLDER has config.json, model.safetensors (or its shards) and tokenizer.json or tokenizer.model. It can also be run as it is: -m FOLDER.\n"
            "Vectors and routers become F32, MXFP4 experts stay; for mixed types with an importance matrix use moa quantize after it.",
    .run = run,
};

static void show(void *ctx, int tensor, int n_tensor, uint64_t done, uint64_t bytes, const char *name) {
    const bool *quiet = ctx;
    if (*quiet) return;
    if (tensor == n_tensor) fprintf(stderr, "\r\033[K");
    else fprintf(stderr, "\r\033[K%3.0f %%  %.2f of %.2f GB  %s", bytes ? 100.0 * (double)done / (double)bytes : 100.0, (double)done / 1e9, (double)bytes / 1e9, name);
    fflush(stderr);
}

static int convert(const char *from, const char *to, const moa_optval *v, moa_err *err) {
    bool quiet = v[O_QUIET].set || !isatty(2);
    moa_model *m;
    struct stat st;
    const moa_hf_convert how = {.type = v[O_TYPE].set ? v[O_TYPE].s : NULL, .progress = show, .ctx = &quiet};
    if (!moa_hf_is(from)) {
        moa_fail(err, MOA_ENOTFOUND, "%s: no folder with config.json, no .safetensors file", from);
        return moa_hint(err, MOA_ENOTFOUND, "a GGUF file is changed with moa quantize");
    }
    MOA_TRY(moa_hf_write(from, to, &how, err));
    int rc = moa_model_open(&m, to, err);
    if (rc < 0) return moa_wrap(err, rc, "written, but cannot be run");
    if (stat(to, &st) == 0)
        printf("%s: %s, %lld weights, %.2f MB\n", to, m->arch->name, (long long)moa_model_n_weights(m), (double)st.st_size / 1e6);
    moa_model_close(m);
    return 0;
}

static int run(int argc, char **argv) {
    moa_optval v[sizeof opts / sizeof *opts];
    const char *pos[2] = {0};
    int n_pos;
    const int rc = moa_opt_parse(&moa_command_convert, argc, argv, v, pos, 2, &n_pos);
    if (rc) return rc < 0 ? 2 : 0;
    if (n_pos < 2) return moa_cli_usage(&moa_command_convert, "FOLDER and OUT.gguf are needed");
    moa_err err = {0};
    return convert(pos[0], pos[1], v, &err) < 0 ? moa_cli_fail(&err) : 0;
}
