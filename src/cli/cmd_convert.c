/* cmd_convert.c - moa convert FOLDER OUT.gguf: a Hugging Face folder as one GGUF file. The written file is opened before the
 * command says that it is done, so that what cannot be run is known now and not on another machine.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "cli/cli.h"
#include "cli/live.h"
#include "format/hf.h"
#include "model/model.h"

#include <string.h>
#include <sys/stat.h>

enum { O_TYPE, O_QUIET };
static const moa_opt opts[] = {
    {"--type", NULL, MOA_OPT_STR, "TYPE", "type of matrices: BF16, F16, F32, Q8_0 ... (default: as they are)", 0, 0},
    MOA_ROW_QUIET,
    MOA_ROWS_END,
};

static int run(int argc, char **argv);
const moa_command moa_command_convert = {
    .name = "convert", .usage = "FOLDER OUT.gguf [--type TYPE]", .help = "a Hugging Face folder (safetensors) as one GGUF file", .opts = opts,
    .more = "FOLDER has config.json, model.safetensors (or its shards) and tokenizer.json or tokenizer.model. It can also be run as it is: -m FOLDER.\n"
            "Vectors and routers become F32, MXFP4 experts stay; for mixed types with an importance matrix use moa quantize after it.",
    .run = run,
};

static bool show(void *ctx, uint64_t done, uint64_t bytes, const char *tensor) {
    const bool *quiet = ctx;
    moa_progress_line(*quiet, "%3.0f %%  %.2f of %.2f GB  %s", bytes ? 100.0 * (double)done / (double)bytes : 100.0, (double)done / 1e9, (double)bytes / 1e9, tensor);
    return !moa_interrupted();
}

static int convert(const char *name, const char *to, const moa_optval *v, moa_err *err) {
    char from[4096];
    bool quiet = v[O_QUIET].set;
    moa_model *m;
    struct stat st;
    const moa_hf_convert how = {.type = v[O_TYPE].s, .progress = show, .ctx = &quiet};
    MOA_TRY(moa_cli_model_path(from, sizeof from, name, err));
    if (!moa_hf_is(from)) {
        moa_fail(err, MOA_EUSAGE, "%s: no folder with config.json, no .safetensors file", from);
        return moa_hint(err, MOA_EUSAGE, "a GGUF file is changed with moa quantize");
    }
    MOA_TRY(moa_cli_two_files(from, to, err));
    MOA_TRY(moa_cli_can_write(to, err));
    moa_interrupt_catch();
    int rc = moa_hf_write(from, to, &how, err);
    moa_progress_line(quiet, NULL);
    if (rc < 0) return rc;
    if ((rc = moa_model_open(&m, to, err)) < 0) return moa_wrap(err, rc, "written, but cannot be run");
    if (!m->tok && !quiet) fprintf(stderr, "note: %s has no tokenizer that is read, so the file has none: moa logits is all that it is good for\n", from);
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
