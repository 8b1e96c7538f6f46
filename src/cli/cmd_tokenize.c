/* cmd_tokenize.c - moa tokenize MODEL < text: the ids a model sees, on one line; or each token with its bytes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include "base/file.h"
#include "format/hf.h"
#include "format/tokenizer.h"

#include <stdlib.h>

enum { MAX_TEXT = 1 << 30 };

enum { O_IDS, O_PIECES, O_COUNT, O_SPECIAL, O_NO_BOS, O_EOS };
static const moa_opt opts[] = {
    {"--ids", NULL, MOA_OPT_FLAG, NULL, "ids on one line (the default)", 0, 0},
    {"--pieces", NULL, MOA_OPT_FLAG, NULL, "one token a line: id, tab, its bytes as a JSON-like string", 0, 0},
    {"--count", NULL, MOA_OPT_FLAG, NULL, "only how many tokens", 0, 0},
    {"--special", NULL, MOA_OPT_FLAG, NULL, "control tokens written in the text become ids", 0, 0},
    {"--no-bos", NULL, MOA_OPT_FLAG, NULL, "without the token that begins a text", 0, 0},
    {"--eos", NULL, MOA_OPT_FLAG, NULL, "with the token that ends a text, where the model has one (as in moa embed)", 0, 0},
    MOA_ROWS_END,
};

static int run(int argc, char **argv);
const moa_command moa_command_tokenize = {
    .name = "tokenize", .usage = "[MODEL] [--ids|--pieces|--count] [--special] [--no-bos] [--eos] < TEXT",
    .help = "text on standard input to token ids on one line",
    .more = "The text is taken byte by byte: a line end at its end is part of it.", .opts = opts, .run = run,
};

/* Printable ASCII as it is; other bytes as \xNN, so that half characters show. */
static void print_piece(const moa_tokenizer *t, int32_t id) {
    moa_str s = moa_token_bytes(t, id, true);
    printf("%d\t\"", id);
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\') printf("\\%c", c);
        else if (c == '\n') printf("\\n");
        else if (c < 32 || c > 126) printf("\\x%02x", c);
        else putchar(c);
    }
    printf("\"\n");
}

static void print(const moa_tokenizer *t, const moa_ids *ids, const moa_optval *v) {
    if (v[O_COUNT].set) {
        printf("%lld\n", (long long)ids->n);
    } else if (v[O_PIECES].set) {
        for (int64_t i = 0; i < ids->n; i++) print_piece(t, ids->v[i]);
    } else {
        for (int64_t i = 0; i < ids->n; i++) printf(i ? " %d" : "%d", ids->v[i]);
        printf("\n");
    }
}

static int run(int argc, char **argv) {
    moa_optval v[sizeof opts / sizeof *opts];
    const char *pos[1] = {NULL};
    int n_pos;
    int rc = moa_opt_parse(&moa_command_tokenize, argc, argv, v, pos, 1, &n_pos);
    if (rc) return rc < 0 ? 2 : 0;
    if (v[O_IDS].set + v[O_PIECES].set + v[O_COUNT].set > 1)
        return moa_cli_usage(&moa_command_tokenize, "--ids, --pieces and --count exclude each other");
    char path[4096];
    moa_err err = {0};
    moa_gguf *g = NULL;
    moa_tokenizer *t = NULL;
    char *text = NULL;
    size_t n;
    moa_ids ids = {0};
    int flags = (v[O_NO_BOS].set ? 0 : MOA_TOK_BOS) | (v[O_SPECIAL].set ? MOA_TOK_SPECIAL : 0) | (v[O_EOS].set ? MOA_TOK_EOS : 0);
    if ((rc = moa_cli_model_path(path, sizeof path, pos[0], &err)) == 0 && (rc = moa_gguf_open_any(&g, path, MOA_HF_HEAD, &err)) == 0 &&
        (rc = moa_tokenizer_open(&t, g, &err)) == 0 && (rc = moa_read_file(&text, &n, "-", MAX_TEXT, &err)) == 0)
        rc = moa_tokenize(&ids, t, text, n, flags, &err);
    if (rc == 0) print(t, &ids, v);
    moa_ids_deinit(&ids);
    free(text);
    moa_tokenizer_close(t);
    moa_gguf_close(g);
    return rc < 0 ? moa_cli_fail(&err) : 0;
}
