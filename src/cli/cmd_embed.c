/* cmd_embed.c - moa embed MODEL TEXT...: a vector of length 1 for each text.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/file.h"
#include "cli/cli.h"
#include "model/embed.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_FILE = 1 << 28 };

enum { O_FILE, O_POOLING, O_DIM, O_JSON, O_EXACT, O_ISA, O_THREADS };
static const moa_opt opts[] = {
    {"--file", "-f", MOA_OPT_STR, "FILE", "one text a line, empty lines are none (\"-\": standard input)", 0, 0},
    {"--pooling", "-p", MOA_OPT_STR, "NAME", "mean, cls or last (default: what the file says; else mean for encoders, last for decoders)", 0, 0},
    {"--dimensions", NULL, MOA_OPT_INT, "N", "the first N numbers alone, at length 1 again: for models trained for it (Matryoshka)", 1, 1 << 24},
    MOA_ROW_JSON(": model, dimensions, pooling, texts with their tokens and vectors"),
    MOA_ROW_EXACT,
    MOA_ROW_ISA,
    MOA_ROW_THREADS,
    MOA_ROWS_END,
};

static int run(int argc, char **argv);
const moa_command moa_command_embed = {
    .name = "embed", .usage = "MODEL [TEXT...] [--file FILE] [--pooling NAME] [--dimensions N] [--json]", .help = "text to vectors, from encoders and decoders",
    .more = "Vectors have length 1, so that the product of two is their cosine. Without --json: one line a text, numbers separated by spaces.\n"
            "Many models want a prefix in the text (\"search_query: ...\"): their card says which.",
    .opts = opts, .run = run,
};

typedef struct texts {
    char *file;           /* what list points into, for lines */
    const char **text;
    size_t *len;
    int *line;            /* in the file; 0: an argument */
    moa_ids *ids;
    int n, cap;
} texts;

static int add(texts *t, const char *s, size_t n, int line, moa_err *err) {
    if (t->n == t->cap) {
        const int cap = t->cap ? t->cap * 2 : 64;
        const char **text = realloc(t->text, (size_t)cap * sizeof *text);
        if (text) t->text = text;
        size_t *len = text ? realloc(t->len, (size_t)cap * sizeof *len) : NULL;
        if (len) t->len = len;
        int *lines = len ? realloc(t->line, (size_t)cap * sizeof *lines) : NULL;
        if (!lines) return moa_fail(err, MOA_ENOMEM, "no memory for %d texts", cap);
        t->line = lines;
        t->cap = cap;
    }
    t->text[t->n] = s;
    t->line[t->n] = line;
    t->len[t->n++] = n;
    return 0;
}

/* Lines of a file; one that is empty is no text. */
static int add_lines(texts *t, const char *path, moa_err *err) {
    size_t n;
    int line = 0;
    MOA_TRY(moa_read_file(&t->file, &n, path, MAX_FILE, err));
    for (const char *s = t->file, *end = s + n; s < end;) {
        const char *stop = memchr(s, '\n', (size_t)(end - s));
        size_t len = (size_t)((stop ? stop : end) - s);
        const size_t skip = len + (stop != NULL);
        if (len && s[len - 1] == '\r') len--;
        line++;
        if (len) MOA_TRY(add(t, s, len, line, err));
        s += skip;
    }
    return 0;
}

static void deinit(texts *t) {
    for (int i = 0; t->ids && i < t->n; i++) moa_ids_deinit(&t->ids[i]);
    free(t->ids);
    free(t->text);
    free(t->len);
    free(t->line);
    free(t->file);
}

static int print_json(const moa_embedder *e, const char *model, const texts *t, const float *v, moa_err *err) {
    const int d = moa_embedder_dim(e);
    json_t *list = json_array();
    for (int i = 0; i < t->n; i++) {
        json_t *vector = json_array();
        for (int c = 0; c < d; c++) json_array_append_new(vector, json_real((double)v[(int64_t)i * d + c]));
        json_array_append_new(list, json_pack("{s:i, s:I, s:o}", "index", i, "tokens", (json_int_t)t->ids[i].n, "embedding", vector));
    }
    json_t *all = json_pack("{s:s, s:i, s:s, s:o}", "model", model, "dimensions", d, "pooling", moa_pooling_name(moa_embedder_pooling(e)), "data", list);
    if (!all) return moa_fail(err, MOA_ENOMEM, "no memory for the answer, or the model's path is not UTF-8");
    json_dumpf(all, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(all);
    return 0;
}

static int print(const moa_embedder *e, const texts *t, const float *v) {
    const int d = moa_embedder_dim(e);
    for (int64_t i = 0; i < (int64_t)t->n * d; i++) printf("%.9g%c", (double)v[i], (i + 1) % d ? ' ' : '\n');
    return 0;
}

/* Which text it is that an error is about. */
static int tokenize(texts *t, const moa_embedder *e, int i, const char *file, moa_err *err) {
    int rc = moa_embed_tokenize(&t->ids[i], e, t->text[i], t->len[i], err);
    if (rc >= 0) rc = moa_embed_check(e, &t->ids[i], err);
    if (rc >= 0) return 0;
    return t->line[i] ? moa_wrap(err, rc, "%s:%d", file, t->line[i]) : moa_wrap(err, rc, "text %d", i + 1);
}

static int embed(const char *path, texts *t, const char *file, const moa_embed_cfg *cfg, bool json, moa_err *err) {
    moa_model *m = NULL;
    moa_embedder *e = NULL;
    float *v = NULL;
    int rc = moa_model_open(&m, path, err);
    if (rc >= 0) rc = moa_embedder_new(&e, m, cfg, err);
    if (rc >= 0 && !((t->ids = calloc((size_t)t->n, sizeof *t->ids)) && (v = malloc((size_t)t->n * (size_t)moa_embedder_dim(e) * sizeof *v))))
        rc = moa_fail(err, MOA_ENOMEM, "no memory for %d vectors", t->n);
    for (int i = 0; rc >= 0 && i < t->n; i++) rc = tokenize(t, e, i, file, err);
    if (rc >= 0) rc = moa_embed_ids(e, v, t->ids, t->n, err);
    if (rc >= 0) rc = json ? print_json(e, path, t, v, err) : print(e, t, v);
    free(v);
    moa_embedder_free(e);
    moa_model_close(m);
    return rc;
}

static int work(const moa_optval *v, const char *const *pos, int n_pos, texts *t, moa_err *err) {
    char path[4096];
    moa_embed_cfg cfg = moa_embed_defaults();
    cfg.exact = v[O_EXACT].set;
    cfg.n_threads = (int)v[O_THREADS].i;
    cfg.dim = (int)v[O_DIM].i;
    if (v[O_POOLING].set) MOA_TRY(moa_pooling_parse(&cfg.pooling, v[O_POOLING].s, err));
    if (v[O_ISA].set) MOA_TRY(moa_isa_parse(&cfg.isa, v[O_ISA].s, err));
    for (int i = 1; i < n_pos; i++) MOA_TRY(add(t, pos[i], strlen(pos[i]), 0, err));
    if (v[O_FILE].set) MOA_TRY(add_lines(t, v[O_FILE].s, err));
    if (!t->n) return moa_fail(err, MOA_EUSAGE, "no text: give it as an argument, or one a line with --file");
    MOA_TRY(moa_cli_model_path(path, sizeof path, pos[0], err));
    return embed(path, t, v[O_FILE].s, &cfg, v[O_JSON].set, err);
}

static int run(int argc, char **argv) {
    moa_optval v[sizeof opts / sizeof *opts];
    const char **pos = calloc((size_t)argc + 1, sizeof *pos);
    int n_pos, rc;
    moa_err err = {0};
    texts t = {0};
    if (!pos) moa_fail(&err, MOA_ENOMEM, "no memory for %d arguments", argc), rc = moa_cli_fail(&err);
    else if ((rc = moa_opt_parse(&moa_command_embed, argc, argv, v, pos, argc, &n_pos))) rc = rc < 0 ? 2 : 0;
    else if (n_pos < 1) rc = moa_cli_usage(&moa_command_embed, "MODEL is missing");
    else rc = work(v, pos, n_pos, &t, &err) < 0 ? moa_cli_fail(&err) : 0;
    deinit(&t);
    free(pos);
    return rc;
}
