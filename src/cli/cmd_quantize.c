/* cmd_quantize.c - moa quantize IN OUT TYPE: the same model with weights of other types; with a text, what that costs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/live.h"
#include "cli/pplreport.h"
#include "format/hf.h"
#include "model/quantize.h"

#include <string.h>

enum { O_IMATRIX, O_TEXT, O_CTX, O_CHUNKS, O_THREADS, O_JSON, O_QUIET };
static const moa_opt opts[] = {
    {"--imatrix", "-i", MOA_OPT_STR, "FILE", "weigh errors by importance (moa imatrix makes the file)", 0, 0},
    {"--text", NULL, MOA_OPT_STR, "FILE", "then measure on this text: change of perplexity, KL divergence from IN", 0, 0},
    MOA_ROW_CHUNK("with --text: "),
    MOA_ROW_CHUNKS("with --text: "),
    MOA_ROW_THREADS,
    MOA_ROW_JSON(""),
    MOA_ROW_QUIET,
    MOA_ROWS_END,
};

static int run(int argc, char **argv);
const moa_command moa_command_quantize = {
    .name = "quantize", .usage = "IN OUT TYPE", .help = "write a model's weights as other types",
    .more = "TYPE: Q8_0, Q6_K, Q5_K_M, Q5_K_S, Q4_K_M, Q4_K_S, IQ4_XS, IQ4_NL, Q4_0 give weights that matter more a few bits more\n"
            "(docs/models.md has the rules); F32, F16, BF16, Q4_K, Q5_K, Q4_1, Q5_0, Q5_1 are the same for every matrix.\n"
            "Vectors and routers stay as they are. Rows that a type's block does not divide take a type with smaller blocks, and\n"
            "that is said. OUT is one file, also when IN is split.",
    .opts = opts, .run = run,
};

enum { MAX_NOTE = 16 };
typedef struct note { moa_dtype wanted, to; int n; char first[96]; } note;
typedef struct report {
    bool quiet;
    note fallback[MAX_NOTE];
    int n_fallback, n_no_importance;
    char first_no_importance[96];
    int64_t weights;
    uint64_t bytes_in, bytes_out, type_bytes[MOA_DTYPE_MAX], requantised;
} report;

static int types_hint(moa_err *err, const char *name) {
    char list[300] = "";
    int n;
    const moa_scheme *s = moa_schemes(&n);
    for (int i = 0; i < n; i++) {
        const size_t at = strlen(list);
        snprintf(list + at, sizeof list - at, "%s%s", at ? " " : "", s[i].name);
    }
    const moa_type *t = moa_type_find(name);
    if (t) moa_fail(err, MOA_EUSAGE, "type %s can be read, not written", t->name);
    else moa_fail(err, MOA_EUSAGE, "type '%s' is not known", name);
    return moa_hint(err, MOA_EUSAGE, "types: %s", list);
}

static void add_fallback(report *r, const moa_quantize_event *e) {
    for (int i = 0; i < r->n_fallback; i++)
        if (r->fallback[i].wanted == e->wanted && r->fallback[i].to == e->to) {
            r->fallback[i].n++;
            return;
        }
    if (r->n_fallback == MAX_NOTE) return;
    note *f = &r->fallback[r->n_fallback++];
    *f = (note){e->wanted, e->to, 1, ""};
    snprintf(f->first, sizeof f->first, "%s", e->from->name);
}

static bool event(void *ctx, const moa_quantize_event *e) {
    report *r = ctx;
    const int64_t n = moa_tensor_count(e->from);
    const uint64_t bytes = moa_row_bytes(e->to, n);
    r->weights += n;
    r->bytes_in += moa_tensor_bytes(e->from);
    r->bytes_out += bytes;
    r->type_bytes[e->to] += bytes;
    if (!e->kept && moa_type_get(e->from->dtype)->block > 1) r->requantised += bytes;
    if (e->wanted != e->to) add_fallback(r, e);
    if (e->no_importance && r->n_no_importance++ == 0) snprintf(r->first_no_importance, sizeof r->first_no_importance, "%s", e->from->name);
    moa_progress_line(r->quiet, "%d of %d: %s %s -> %s", e->i + 1, e->n, e->from->name, moa_type_get(e->from->dtype)->name,
                      moa_type_get(e->to)->name);
    return !moa_interrupted();
}

static void show_notes(const report *r) {
    for (int i = 0; i < r->n_fallback; i++) {
        const note *f = &r->fallback[i];
        fprintf(stderr, "note: %d tensor%s %s instead of %s, whose blocks of %d do not divide the rows (%s%s)\n", f->n, f->n == 1 ? " is" : "s are",
                moa_type_get(f->to)->name, moa_type_get(f->wanted)->name, moa_type_get(f->wanted)->block, f->first, f->n > 1 ? " ..." : "");
    }
    if (r->n_no_importance)
        fprintf(stderr, "note: the importance matrix says nothing about %d tensor%s (%s%s)\n", r->n_no_importance, r->n_no_importance > 1 ? "s" : "",
                r->first_no_importance, r->n_no_importance > 1 ? " ..." : "");
    if (r->requantised) fprintf(stderr, "note: weights of the source are quantised already: errors add up\n");
}

static void show_text(const report *r, const char *in, const char *out) {
    printf("%s: %lld weights, %.2f MB -> %s: %.2f MB, %.2f bits a weight\n", in, (long long)r->weights, (double)r->bytes_in / 1e6, out,
           (double)r->bytes_out / 1e6, r->weights ? 8.0 * (double)r->bytes_out / (double)r->weights : 0.0);
    for (int t = 0; t < MOA_DTYPE_MAX; t++)
        if (r->type_bytes[t]) printf("  %-8s %10.2f MB\n", moa_type_get((moa_dtype)t)->name, (double)r->type_bytes[t] / 1e6);
}

static int show_json(const report *r, const char *in, const char *out, const moa_scheme *s, const moa_ppl *p, moa_err *err) {
    moa_buf b;
    moa_buf_init(&b, 1 << 24);
    moa_buf_adds(&b, "{\"in\":");
    moa_json_add_str(&b, in, strlen(in));
    moa_buf_adds(&b, ",\"out\":");
    moa_json_add_str(&b, out, strlen(out));
    moa_buf_addf(&b, ",\"type\":\"%s\",\"weights\":%lld,\"bytes_in\":%llu,\"bytes_out\":%llu,\"types\":{", s->name, (long long)r->weights,
                 (unsigned long long)r->bytes_in, (unsigned long long)r->bytes_out);
    for (int t = 0, first = 1; t < MOA_DTYPE_MAX; t++)
        if (r->type_bytes[t])
            moa_buf_addf(&b, "%s\"%s\":%llu", first ? "" : ",", moa_type_get((moa_dtype)t)->name, (unsigned long long)r->type_bytes[t]), first = 0;
    moa_buf_adds(&b, "},\"fallbacks\":[");
    for (int i = 0; i < r->n_fallback; i++) {
        const note *f = &r->fallback[i];
        moa_buf_addf(&b, "%s{\"wanted\":\"%s\",\"got\":\"%s\",\"tensors\":%d,\"first\":", i ? "," : "", moa_type_get(f->wanted)->name,
                     moa_type_get(f->to)->name, f->n);
        moa_json_add_str(&b, f->first, strlen(f->first));
        moa_buf_adds(&b, "}");
    }
    moa_buf_addf(&b, "],\"without_importance\":%d", r->n_no_importance);
    if (p) {
        moa_buf_adds(&b, ",\"against_source\":");
        moa_ppl_json(&b, p);
    }
    moa_buf_adds(&b, "}");
    const int rc = b.failed ? moa_fail(err, b.failed, "no memory for the report") : 0;
    if (rc >= 0) puts(moa_buf_str(&b));
    moa_buf_deinit(&b);
    return rc;
}

static int write_out(report *r, const char *in, const char *out, const moa_scheme *s, const moa_optval *v, moa_err *err) {
    moa_gguf *g = NULL;
    moa_imatrix *im = NULL;
    int rc = moa_gguf_open_any(&g, in, 0, err);
    if (rc >= 0 && v[O_IMATRIX].set) rc = moa_imatrix_read(&im, v[O_IMATRIX].s, err);
    const moa_quantize_cfg cfg = {.scheme = s, .imatrix = im, .event = event, .ctx = r, .n_threads = (int)v[O_THREADS].i};
    if (rc >= 0) rc = moa_quantize_file(g, out, &cfg, err);
    moa_progress_line(r->quiet, NULL);
    if (rc >= 0 && !r->quiet) show_notes(r);
    if (rc >= 0 && !v[O_JSON].set) show_text(r, in, out);
    moa_imatrix_free(im);
    moa_gguf_close(g);
    return rc;
}

static int quantize(const char *in, const char *out, const char *name, const moa_optval *v, moa_err *err) {
    char path[4096];
    report r = {.quiet = v[O_QUIET].set};
    moa_ppl p;
    const moa_scheme *s = moa_scheme_find(name);
    if (!s) return types_hint(err, name);
    MOA_TRY(moa_cli_model_path(path, sizeof path, in, err));
    MOA_TRY(moa_cli_two_files(path, out, err)); /* a coarser file cannot be turned back into the finer one */
    MOA_TRY(moa_cli_can_write(out, err));
    if (v[O_TEXT].set) MOA_TRY(moa_cli_can_read(v[O_TEXT].s, err));
    moa_interrupt_catch();
    MOA_TRY(write_out(&r, path, out, s, v, err));
    if (v[O_TEXT].set) {
        moa_ppl_ask ask = {.model = out, .against = path, .text = v[O_TEXT].s, .quiet = r.quiet};
        ask.cfg = (moa_ppl_cfg){.n_ctx = (int)v[O_CTX].i, .max_chunks = (int)v[O_CHUNKS].i, .n_threads = (int)v[O_THREADS].i};
        const int rc = moa_ppl_measure(&p, &ask, err);
        if (rc < 0) return moa_hint(err, rc, "%s is written and whole; moa perplexity %s TEXT --against %s measures it", out, out, path);
        if (!v[O_JSON].set) moa_ppl_show(&p);
    }
    return v[O_JSON].set ? show_json(&r, path, out, s, v[O_TEXT].set ? &p : NULL, err) : 0;
}

static int run(int argc, char **argv) {
    moa_optval v[sizeof opts / sizeof *opts];
    const char *pos[3] = {0};
    int n_pos;
    const int rc = moa_opt_parse(&moa_command_quantize, argc, argv, v, pos, 3, &n_pos);
    if (rc) return rc < 0 ? 2 : 0;
    if (n_pos < 3) return moa_cli_usage(&moa_command_quantize, "IN, OUT and TYPE are needed");
    moa_err err = {0};
    return quantize(pos[0], pos[1], pos[2], v, &err) < 0 ? moa_cli_fail(&err) : 0;
}
