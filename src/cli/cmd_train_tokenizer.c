/* cmd_train_tokenizer.c - moa train-tokenizer -o OUT.gguf --vocab N FILE...: learns a byte-level BPE from text files
 * and writes it as a GGUF file without tensors.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "format/tokenizer.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_FILES = 1024, MAX_TEXT = 1 << 30 };

enum { O_OUT, O_VOCAB, O_SPECIAL, O_BOS, O_EOS, O_PAD, O_PRE };
static const moa_opt opts[] = {
    {"--out", "-o", MOA_OPT_STR, "OUT.gguf", "file to write", 0, 0},
    {"--vocab", NULL, MOA_OPT_INT, "N", "tokens in all, with the 256 bytes and the special ones", 256, 1 << 22},
    {"--special", NULL, MOA_OPT_STRS, "TOKEN", "a control token, such as \"<|im_end|>\"; may be repeated; ids 0, 1, ...", 0, 0},
    {"--bos", NULL, MOA_OPT_STR, "TOKEN", "the special token that begins every text", 0, 0},
    {"--eos", NULL, MOA_OPT_STR, "TOKEN", "the special token that ends an answer", 0, 0},
    {"--pad", NULL, MOA_OPT_STR, "TOKEN", "the special token that fills up", 0, 0},
    {"--pre", NULL, MOA_OPT_STR, "NAME", "rule that cuts text into words, as in tokenizer.ggml.pre (default: moa)", 0, 0},
    MOA_ROWS_END,
};

static int run(int argc, char **argv);
const moa_command moa_command_train_tokenizer = {
    .name = "train-tokenizer", .usage = "-o OUT.gguf --vocab N [--special TOKEN ...] FILE...",
    .help = "learn a byte-level BPE from text files",
    .more = "Equal files and options give an equal tokenizer. Special tokens are cut out of the texts.", .opts = opts, .run = run,
};

static int role(const moa_optval *v, int opt, int *index, moa_err *err) {
    *index = -1;
    if (!v[opt].set) return 0;
    for (int i = 0; i < v[O_SPECIAL].n_list; i++)
        if (strcmp(v[O_SPECIAL].list[i], v[opt].s) == 0) *index = i;
    if (*index >= 0) return 0;
    return moa_fail(err, MOA_EUSAGE, "%s '%s' is not among the --special tokens", opts[opt].name, v[opt].s);
}

static int train(const moa_optval *v, const char *const *path, int n, moa_err *err) {
    moa_bpe_train cfg = {.n_vocab = (int)v[O_VOCAB].i, .pre = v[O_PRE].set ? v[O_PRE].s : NULL, .special = v[O_SPECIAL].list,
                         .n_special = v[O_SPECIAL].n_list};
    MOA_TRY(role(v, O_BOS, &cfg.bos, err));
    MOA_TRY(role(v, O_EOS, &cfg.eos, err));
    MOA_TRY(role(v, O_PAD, &cfg.pad, err));
    char **text = calloc((size_t)n, sizeof *text);
    size_t *len = calloc((size_t)n, sizeof *len), bytes = 0;
    moa_gguf_out *o = moa_gguf_out_new();
    int rc = text && len && o ? 0 : moa_fail(err, MOA_ENOMEM, "no memory");
    for (int i = 0; rc == 0 && i < n; i++) {
        rc = moa_read_file(&text[i], &len[i], path[i], MAX_TEXT, err);
        bytes += len[i];
    }
    double t0 = moa_now();
    if (rc == 0) {
        moa_gguf_put_str(o, "general.type", "vocab", 5);
        rc = moa_bpe_train_run(o, &cfg, (const char *const *)text, len, n, err);
    }
    if (rc == 0) rc = moa_gguf_write(o, v[O_OUT].s, err);
    if (rc == 0) fprintf(stderr, "%s: learned from %zu bytes in %.1f s\n", v[O_OUT].s, bytes, moa_now() - t0);
    for (int i = 0; text && i < n; i++) free(text[i]);
    free(text);
    free(len);
    moa_gguf_out_free(o);
    return rc;
}

static int run(int argc, char **argv) {
    moa_optval v[sizeof opts / sizeof *opts];
    static const char *pos[MAX_FILES];
    int n_pos;
    moa_err err = {0};
    int rc = moa_opt_parse(&moa_command_train_tokenizer, argc, argv, v, pos, MAX_FILES, &n_pos);
    if (rc) return rc < 0 ? 2 : 0;
    if (!v[O_OUT].set || !v[O_VOCAB].set) return moa_cli_usage(&moa_command_train_tokenizer, "-o OUT.gguf and --vocab N are needed");
    if (n_pos == 0) return moa_cli_usage(&moa_command_train_tokenizer, "which text files?");
    return train(v, pos, n_pos, &err) < 0 ? moa_cli_fail(&err) : 0;
}
