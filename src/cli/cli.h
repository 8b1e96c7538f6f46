/* cli.h - commands of the program: one file each (cmd_*.c), registry commands.def.
 * Exit codes: 0 done, 1 the work failed, 2 wrong use. Only this folder prints.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_CLI_CLI_H
#define MOA_CLI_CLI_H

#include "moa.h"

#include <stdio.h>

typedef struct moa_command {
    const char *name;
    const char *usage; /* one line after the name: "[-m MODEL] PROMPT" */
    const char *help;  /* one line for the list of commands */
    const char *more;  /* text of --help after the options; may be NULL */
    const struct moa_opt *opts; /* ends with a row whose name is NULL */
    int (*run)(int argc, char **argv); /* argv[0] is the command's name; returns the exit code */
} moa_command;
const moa_command *const *moa_commands(int *n);

/* Options of a command: parsed in one place, so that --help, errors and types are alike everywhere. */
typedef enum moa_opt_kind { MOA_OPT_FLAG, MOA_OPT_INT, MOA_OPT_FLOAT, MOA_OPT_STR, MOA_OPT_STRS } moa_opt_kind;
typedef struct moa_opt {
    const char *name;  /* "--mix"; short form in alt ("-m") or NULL */
    const char *alt;
    moa_opt_kind kind;
    const char *arg;   /* shown in help: "N", "MODEL" */
    const char *help;
    double lo, hi;     /* INT and FLOAT: allowed range when lo < hi */
} moa_opt;
typedef struct moa_optval { bool set; long long i; double f; const char *s; const char *list[64]; int n_list; } moa_optval;
/* Rows that several commands have: one spelling, one help text, one range. */
#define MOA_ROW_MODEL {"--model", "-m", MOA_OPT_STR, "MODEL", "model file or name (default: the bundled one)", 0, 0}
#define MOA_ROW_CTX {"--ctx", "-c", MOA_OPT_INT, "N", "tokens of a conversation with its reply (default: the model's, within 1 GiB of KV or a quarter of the memory)", 16, 1 << 28}
#define MOA_ROW_KV {"--kv", NULL, MOA_OPT_STR, "TYPE", "KV cache in f32, f16, bf16 or q8_0 (default: f16, or f32 where the model's whole context takes 64 MiB at most)", 0, 0}
#define MOA_ROW_REPACK {"--repack", NULL, MOA_OPT_STR, "WHEN", "weights in the order that products read, in memory of their own: auto (default: where there is enough), on, off; the same replies", 0, 0}
#define MOA_ROW_DRAFT {"--draft", NULL, MOA_OPT_STR, "MODEL", "a smaller model with the same tokens guesses ahead: the same replies, sooner", 0, 0}
#define MOA_ROW_MAX_TOKENS {"--max-tokens", NULL, MOA_OPT_INT, "N", "most tokens of one reply (default 256)", 1, 1000000}
#define MOA_ROW_SEED(help) {"--seed", "-s", MOA_OPT_INT, "S", help, 0, 9.2e18}
#define MOA_ROW_CHUNK(when) {"--ctx", "-c", MOA_OPT_INT, "N", when "tokens of a chunk (default 512)", 8, 1 << 24}
#define MOA_ROW_CHUNKS(when) {"--chunks", NULL, MOA_OPT_INT, "N", when "stop after N chunks (default: the whole text)", 1, 1 << 30}
#define MOA_ROW_ADAPTER {"--adapter", NULL, MOA_OPT_STRS, "FILE[:SCALE]", "add a LoRA: a PEFT folder, a .safetensors or a GGUF file", 0, 0}
#define MOA_ROW_TEMPLATE \
    {"--chat-template-kwargs", NULL, MOA_OPT_STR, "JSON", "variables of the chat template, such as {\"enable_thinking\": false}", 0, 0}
#define MOA_ROW_ISA {"--isa", NULL, MOA_OPT_STR, "NAME", "use kernels of at most ref, avx2, avx512 or amx", 0, 0}
#define MOA_ROW_THREADS {"--threads", "-t", MOA_OPT_INT, "N", "threads (default: one a processor that affinity and control groups leave)", 1, 1024}
#define MOA_ROW_JSON(help) {"--json", NULL, MOA_OPT_FLAG, NULL, "one JSON object on stdout" help, 0, 0}
#define MOA_ROW_EXACT {"--exact", NULL, MOA_OPT_FLAG, NULL, "reference mode: dequantised weights, f32 activations (default: as `moa run` computes)", 0, 0}
#define MOA_ROW_QUIET {"--quiet", "-q", MOA_OPT_FLAG, NULL, "no progress and no notes on stderr", 0, 0}
#define MOA_ROWS_END {NULL, NULL, 0, NULL, NULL, 0, 0}

/* val has one entry per row of c->opts. Positional arguments go to pos (at most max_pos). Handles --help (returns 1 after
 * printing). Wrong use: prints what and the usage, returns -1 (exit 2). */
int moa_opt_parse(const moa_command *c, int argc, char **argv, moa_optval *val, const char **pos, int max_pos, int *n_pos);

void moa_cli_polite_threads(char **argv); /* first thing in main: see threads.c */
void moa_cli_watch_files(void); /* a mapped file that becomes unreadable ends the program with words: see fault.c */
int moa_cli_fail(const moa_err *err); /* prints "moa: text" and "  hint: ...", returns 1 (2 for MOA_EUSAGE) */
/* MODEL argument -> path of a GGUF file (of one in parts: the first) or of a folder with a config.json: as it is; else NAME, NAME.gguf
 * in $MOA_MODELS, ./models, the installed models, the user's data folder (~/.local/share/moa/models). NULL: bundled. */
int moa_cli_model_path(char *out, size_t n, const char *arg, moa_err *err);

/* Every folder that is searched, in order; returns how many. */
int moa_cli_model_dirs(char dir[][4096], int max);

/* Files of the command line that work will need in the end: better known before it than after it. */
int moa_cli_can_read(const char *path, moa_err *err); /* "-" is always fine */
int moa_cli_can_write(const char *path, moa_err *err);
int moa_cli_two_files(const char *in, const char *out, moa_err *err); /* wrong use where one would overwrite the other */

/* Wrong use: prints "moa COMMAND: ..." and the usage line; returns 2, so that `return moa_cli_usage(...)` reads well. */
int moa_cli_usage(const moa_command *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void moa_cli_help(const moa_command *c, FILE *f); /* what --help prints */

#endif
