/* cmd_logits.c - moa logits MODEL --tokens "1 2 3" --out F: what the model says after each token, for parity checks.
 *
 * Reference mode is the default (weights dequantised to f32, f32 activations), since the point is to compare engines;
 * --fast shows what `moa run` computes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/file.h"
#include "cli/cli.h"
#include "model/session.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { O_TOKENS, O_TEXT, O_OUT, O_ISA, O_FAST, O_THREADS, O_BATCH, O_KV_F16, O_ADAPTER };
static const moa_opt opts[] = {
    {"--tokens", NULL, MOA_OPT_STR, "IDS", "token ids, separated by spaces or commas", 0, 0},
    {"--text", NULL, MOA_OPT_STR, "TEXT", "text to tokenize instead (with BOS where the model wants it)", 0, 0},
    {"--out", "-o", MOA_OPT_STR, "FILE", "where to write f32 little-endian [n_tokens][n_vocab]; without it, the best token of each row is shown", 0, 0},
    MOA_ROW_ISA,
    {"--fast", NULL, MOA_OPT_FLAG, NULL, "int8 activations, as `moa run` computes (default: reference mode)", 0, 0},
    MOA_ROW_THREADS,
    {"--batch", "-b", MOA_OPT_INT, "N", "rows a step (default 256); the result does not depend on it", 1, 65536},
    {"--kv-f16", NULL, MOA_OPT_FLAG, NULL, "keep keys and values in f16", 0, 0},
    MOA_ROW_ADAPTER,
    MOA_ROWS_END,
};

static int run(int argc, char **argv);
const moa_command moa_command_logits = {
    .name = "logits", .usage = "MODEL --tokens \"1 2 3\" --out FILE", .help = "logits after each token, for parity checks", .opts = opts,
    .run = run,
};

static int parse_ids(moa_ids *ids, const char *s, moa_err *err) {
    for (;;) {
        s += strspn(s, " ,\t\n");
        if (!*s) return ids->n ? 0 : moa_fail(err, MOA_EUSAGE, "--tokens has no token");
        char *end;
        errno = 0;
        const long v = strtol(s, &end, 10);
        if (end == s || errno || v < INT_MIN || v > INT_MAX || !strchr(" ,\t\n", *end))
            return moa_fail(err, MOA_EUSAGE, "--tokens: '%.20s' is no token id", s);
        if (moa_ids_add(ids, (int32_t)v) < 0) return moa_fail(err, MOA_ENOMEM, "no memory for tokens");
        s = end;
    }
}

static void show_best(const float *l, int n_vocab, int64_t row) {
    int best = 0;
    for (int i = 1; i < n_vocab; i++)
        if (l[i] > l[best]) best = i;
    printf("%lld: token %d, logit %.5f\n", (long long)row, best, (double)l[best]);
}

static int emit(moa_session *s, const moa_ids *ids, int batch, const char *out, moa_err *err) {
    const int n_vocab = moa_session_model(s)->h.n_vocab, seq = moa_seq_begin(s, ids->n, err);
    moa_writer *w = NULL;
    if (seq < 0) return seq;
    if (out) MOA_TRY(moa_writer_open(&w, out, err));
    moa_row *row = calloc((size_t)batch, sizeof *row);
    int rc = row ? 0 : moa_fail(err, MOA_ENOMEM, "no memory for a step");
    for (int64_t at = 0; rc >= 0 && at < ids->n; at += batch) {
        const int n = ids->n - at < batch ? (int)(ids->n - at) : batch;
        for (int i = 0; i < n; i++) row[i] = (moa_row){seq, ids->v[at + i], true};
        rc = moa_session_step(s, row, n, err);
        for (int i = 0; rc >= 0 && i < n; i++) {
            if (w) moa_writer_add(w, moa_session_logits(s, i), (size_t)n_vocab * sizeof(float));
            else show_best(moa_session_logits(s, i), n_vocab, at + i);
        }
    }
    free(row);
    if (rc < 0) moa_writer_abort(w);
    else if (w) rc = moa_writer_commit(w, err);
    return rc;
}

static int logits(const char *model, const moa_optval *v, moa_err *err) {
    char path[4096];
    moa_model *m = NULL;
    moa_session *s = NULL;
    moa_ids ids = {0};
    moa_adapters *adapters = NULL;
    moa_session_cfg cfg = moa_session_defaults();
    cfg.exact = !v[O_FAST].set;
    cfg.n_threads = (int)v[O_THREADS].i;
    cfg.n_batch = v[O_BATCH].set ? (int)v[O_BATCH].i : 256;
    cfg.n_seq = 1;
    if (v[O_KV_F16].set) cfg.kv_type = MOA_F16;
    int rc = v[O_ISA].set ? moa_isa_parse(&cfg.isa, v[O_ISA].s, err) : 0;
    if (rc >= 0) rc = moa_cli_model_path(path, sizeof path, model, err);
    if (rc >= 0) rc = moa_model_open(&m, path, err);
    if (rc >= 0 && v[O_TEXT].set)
        rc = m->tok ? moa_tokenize(&ids, m->tok, v[O_TEXT].s, strlen(v[O_TEXT].s), MOA_TOK_BOS, err)
                    : moa_fail(err, MOA_EUNSUPPORTED, "%s has no tokenizer", path);
    else if (rc >= 0) rc = parse_ids(&ids, v[O_TOKENS].s, err);
    if (rc >= 0 && !ids.n) rc = moa_fail(err, MOA_EUSAGE, "--text gives no token");
    if (rc >= 0) {
        cfg.n_ctx = ids.n < m->h.n_ctx ? (int)ids.n : m->h.n_ctx;
        rc = moa_session_new(&s, m, &cfg, err);
    }
    if (rc >= 0 && v[O_ADAPTER].set) rc = moa_adapters_open(&adapters, m, v[O_ADAPTER].list, v[O_ADAPTER].n_list, cfg.n_threads, err);
    if (rc >= 0) rc = moa_session_use(s, adapters, err);
    if (rc >= 0) rc = emit(s, &ids, cfg.n_batch, v[O_OUT].s, err);
    moa_session_free(s);
    moa_adapters_close(adapters);
    moa_model_close(m);
    moa_ids_deinit(&ids);
    return rc;
}

static int run(int argc, char **argv) {
    moa_optval v[sizeof opts / sizeof *opts];
    const char *pos[1] = {0};
    int n_pos;
    const int rc = moa_opt_parse(&moa_command_logits, argc, argv, v, pos, 1, &n_pos);
    if (rc) return rc < 0 ? 2 : 0;
    if (n_pos < 1) return moa_cli_usage(&moa_command_logits, "MODEL is missing");
    if (v[O_TOKENS].set == v[O_TEXT].set) return moa_cli_usage(&moa_command_logits, "one of --tokens and --text is needed");
    moa_err err = {0};
    return logits(pos[0], v, &err) < 0 ? moa_cli_fail(&err) : 0;
}
