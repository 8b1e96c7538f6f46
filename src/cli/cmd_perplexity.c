/* cmd_perplexity.c - moa perplexity MODEL TEXT [--against MODEL2]: how well a model predicts a text, and how far its
 * distributions are from another's, for example from those of the model it was quantised from.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/pplreport.h"

#include <string.h>

enum { O_AGAINST, O_CTX, O_CHUNKS, O_EXACT, O_KV, O_THREADS, O_JSON, O_QUIET };
static const moa_opt opts[] = {
    {"--against", "-a", MOA_OPT_STR, "MODEL2", "reference: KL divergence from its distributions, change of perplexity", 0, 0},
    MOA_ROW_CHUNK(""),
    MOA_ROW_CHUNKS(""),
    MOA_ROW_EXACT,
    {"--kv", NULL, MOA_OPT_STR, "TYPE", "MODEL's KV cache in f32, f16, bf16 or q8_0 (default: f32)", 0, 0},
    MOA_ROW_THREADS,
    MOA_ROW_JSON(""),
    MOA_ROW_QUIET,
    MOA_ROWS_END,
};

static int run(int argc, char **argv);
const moa_command moa_command_perplexity = {
    .name = "perplexity", .usage = "MODEL TEXT [--against MODEL2]", .help = "how well a model predicts a text; how far it is from another",
    .more = "TEXT is a file, or - for standard input. It is cut into chunks that start anew; the second half of each is scored, as\n"
            "llama.cpp's perplexity tool does. With --against, MODEL2 is the reference P and MODEL is Q of KL(P || Q), in nats a token.\n"
            "--kv is of MODEL: with --against the same model it shows what a smaller cache costs.",
    .opts = opts, .run = run,
};

static int perplexity(const char *model, const char *text, const moa_optval *v, moa_err *err) {
    char path[4096], ref[4096];
    moa_ppl p;
    MOA_TRY(moa_cli_model_path(path, sizeof path, model, err));
    if (v[O_AGAINST].set) MOA_TRY(moa_cli_model_path(ref, sizeof ref, v[O_AGAINST].s, err));
    moa_ppl_ask ask = {.model = path, .against = v[O_AGAINST].set ? ref : NULL, .text = text, .quiet = v[O_QUIET].set};
    ask.cfg = (moa_ppl_cfg){.n_ctx = (int)v[O_CTX].i, .max_chunks = (int)v[O_CHUNKS].i, .n_threads = (int)v[O_THREADS].i, .exact = v[O_EXACT].set,
                             .kv_type = v[O_KV].s};
    MOA_TRY(moa_ppl_measure(&p, &ask, err));
    if (!v[O_JSON].set) {
        moa_ppl_show(&p);
        return 0;
    }
    moa_buf b;
    moa_buf_init(&b, 1 << 20);
    moa_buf_adds(&b, "{\"model\":");
    moa_json_add_str(&b, path, strlen(path));
    if (ask.against) {
        moa_buf_adds(&b, ",\"against\":");
        moa_json_add_str(&b, ref, strlen(ref));
    }
    moa_buf_adds(&b, ",\"result\":");
    moa_ppl_json(&b, &p);
    moa_buf_adds(&b, "}");
    const int rc = b.failed ? moa_fail(err, b.failed, "no memory for the report") : 0;
    if (rc >= 0) puts(moa_buf_str(&b));
    moa_buf_deinit(&b);
    return rc;
}

static int run(int argc, char **argv) {
    moa_optval v[sizeof opts / sizeof *opts];
    const char *pos[2] = {0};
    int n_pos;
    const int rc = moa_opt_parse(&moa_command_perplexity, argc, argv, v, pos, 2, &n_pos);
    if (rc) return rc < 0 ? 2 : 0;
    if (n_pos < 2) return moa_cli_usage(&moa_command_perplexity, "MODEL and TEXT are needed");
    moa_err err = {0};
    return perplexity(pos[0], pos[1], v, &err) < 0 ? moa_cli_fail(&err) : 0;
}
