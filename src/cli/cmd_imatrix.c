/* cmd_imatrix.c - moa imatrix MODEL TEXT -o FILE: what the inputs of each weight matrix look like on a text, so that
 * `moa quantize --imatrix FILE` knows which weights matter.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/file.h"
#include "cli/cli.h"
#include "cli/live.h"
#include "cli/pplreport.h"
#include "model/collect.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { O_OUT, O_CTX, O_CHUNKS, O_THREADS, O_QUIET };
static const moa_opt opts[] = {
    {"--out", "-o", MOA_OPT_STR, "FILE", "where to write it; GGUF, or the older format when the name ends with .dat", 0, 0},
    MOA_ROW_CHUNK(""),
    MOA_ROW_CHUNKS(""),
    MOA_ROW_THREADS,
    MOA_ROW_QUIET,
    MOA_ROWS_END,
};

static int run(int argc, char **argv);
const moa_command moa_command_imatrix = {
    .name = "imatrix", .usage = "MODEL TEXT -o FILE", .help = "collect an importance matrix for quantize",
    .more = "TEXT is a file, or - for standard input: some 100 KB to 1 MB of what the model will be used for. An unfinished FILE of the\n"
            "same model and text is continued. Experts that the text never chose are named and then chosen by force, so that each has data.\n"
            "The GGUF form is read by llama.cpp since 2025, .dat by ik_llama.cpp and older tools. moa quantize reads both.",
    .opts = opts, .run = run,
};

typedef struct seen { bool quiet; int named; } seen;

static bool event(void *ctx, const moa_collect_event *e) {
    seen *s = ctx;
    if (e->name) {
        moa_progress_line(s->quiet, NULL);
        if (!s->quiet && s->named++ == 0)
            fprintf(stderr, "%d experts %s:\n", e->n_starved, e->given_up ? "cannot be reached; they get the mean of the others" : "were never chosen; now they are, by force");
        if (!s->quiet) fprintf(stderr, "  %s: expert %d\n", e->name, e->expert);
    } else {
        s->named = 0;
        moa_progress_line(s->quiet, "%s %d of %d", e->forcing ? "forcing experts: chunk" : "chunk", e->chunk, e->n_chunk);
    }
    return !moa_interrupted();
}

/* What is in FILE already, or an empty one. */
static int begin(moa_imatrix **im, const moa_model *m, const char *text, size_t n, const moa_collect_cfg *cfg, bool quiet, moa_err *err) {
    int rc = access(cfg->path, F_OK) ? 0 : moa_imatrix_read(im, cfg->path, err);
    if (rc >= 0 && !*im && !(*im = moa_imatrix_new())) rc = moa_fail(err, MOA_ENOMEM, "no memory");
    if (rc >= 0 && (rc = moa_collect_fits(*im, m, text, n, cfg, err)) < 0) moa_wrap(err, rc, "%s", cfg->path);
    if (rc < 0) return rc == MOA_ENOMEM ? rc : moa_hint(err, rc, "it would be overwritten: remove it or give another name");
    if ((*im)->chunks && !quiet) fprintf(stderr, "%s: goes on after chunk %d\n", cfg->path, (*im)->chunks);
    return 0;
}

static int imatrix(const char *model, const char *text_path, const moa_optval *v, moa_err *err) {
    char path[4096], *text = NULL;
    size_t n = 0;
    moa_model *m = NULL;
    moa_imatrix *im = NULL;
    seen s = {.quiet = v[O_QUIET].set};
    const char *slash = strrchr(text_path, '/');
    const moa_collect_cfg cfg = {.path = v[O_OUT].s, .text_name = slash ? slash + 1 : text_path, .n_ctx = (int)v[O_CTX].i,
                                 .max_chunks = (int)v[O_CHUNKS].i, .n_threads = (int)v[O_THREADS].i,
                                 .event = event, .ctx = &s};
    MOA_TRY(moa_cli_model_path(path, sizeof path, model, err));
    MOA_TRY(moa_cli_can_write(cfg.path, err));
    moa_interrupt_catch();
    int rc = moa_read_file(&text, &n, text_path, (size_t)1 << 30, err);
    if (rc >= 0) rc = moa_model_open(&m, path, err);
    if (rc >= 0) rc = begin(&im, m, text, n, &cfg, s.quiet, err);
    if (rc >= 0) rc = moa_collect(im, m, text, n, &cfg, err);
    moa_progress_line(s.quiet, NULL);
    if (rc == MOA_ECANCELED) moa_hint(err, rc, "what was collected is in %s; the same command goes on", cfg.path);
    if (rc >= 0) printf("%s: %d weights, %d chunks of %d tokens\n", cfg.path, im->n_entry, im->chunks, im->chunk_size);
    moa_imatrix_free(im);
    moa_model_close(m);
    free(text);
    return rc;
}

static int run(int argc, char **argv) {
    moa_optval v[sizeof opts / sizeof *opts];
    const char *pos[2] = {0};
    int n_pos;
    const int rc = moa_opt_parse(&moa_command_imatrix, argc, argv, v, pos, 2, &n_pos);
    if (rc) return rc < 0 ? 2 : 0;
    if (n_pos < 2) return moa_cli_usage(&moa_command_imatrix, "MODEL and TEXT are needed");
    if (!v[O_OUT].set) return moa_cli_usage(&moa_command_imatrix, "-o FILE is needed");
    moa_err err = {0};
    return imatrix(pos[0], pos[1], v, &err) < 0 ? moa_cli_fail(&err) : 0;
}
