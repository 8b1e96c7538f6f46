/* cmd_info.c - moa info MODEL: what is in a model file and what it costs to run. Works on any GGUF; the numbers of a run
 * are shown when the architecture is known. Of a LoRA adapter: its matrices.
 * SPDX-License-Identifier: Apache-2.0 */
#include "adapt/adapt.h"
#include "agent/run.h"
#include "base/err.h"
#include "base/json.h"
#include "cli/adapterinfo.h"
#include "cli/cli.h"
#include "cli/live.h"
#include "format/hf.h"
#include "model/model.h"
#include "model/session.h"

#include <inttypes.h>
#include <string.h>

enum { O_JSON, O_TENSORS };
static const moa_opt opts[] = {
    MOA_ROW_JSON(""),
    {"--tensors", NULL, MOA_OPT_FLAG, NULL, "list every tensor (always in --json)", 0, 0},
    MOA_ROWS_END,
};

static int run(int argc, char **argv);
const moa_command moa_command_info = {
    .name = "info", .usage = "[MODEL] [--tensors] [--json]", .help = "metadata, tensors, bytes by part, what it costs to run", .opts = opts, .run = run,
};

/* Where bytes go, by a piece of the tensor's name; the first match counts. */
static const struct { const char *part, *piece; } parts[] = {
    {"experts", "_exps"}, {"router", "ffn_gate_inp"}, {"norms", "norm"},   {"attention", "attn_"},
    {"feed-forward", "ffn_"}, {"embedding", "token_embd"}, {"output", "output"}, {"other", ""},
};
enum { N_PART = sizeof parts / sizeof *parts };

typedef struct summary {
    int64_t weights;
    uint64_t bytes, part[N_PART];
    uint64_t type_bytes[MOA_DTYPE_MAX];
    moa_dtype main_type;
    const moa_arch *arch; /* NULL: unknown */
    moa_hparams h;
    moa_err why;          /* why there are no hyper-parameters */
} summary;

static void summarise(summary *s, const moa_gguf *g) {
    moa_str name;
    *s = (summary){0};
    for (int i = 0; i < moa_gguf_n_tensor(g); i++) {
        const moa_tensor *t = moa_gguf_tensor_at(g, i);
        const uint64_t bytes = moa_tensor_bytes(t);
        int p = 0;
        while (!strstr(t->name, parts[p].piece)) p++;
        s->part[p] += bytes;
        s->bytes += bytes;
        s->weights += moa_tensor_count(t);
        s->type_bytes[t->dtype] += bytes;
        if (s->type_bytes[t->dtype] > s->type_bytes[s->main_type]) s->main_type = t->dtype;
    }
    if (moa_gguf_str(&name, g, "general.architecture", "", &s->why) < 0) return;
    const moa_arch *a = moa_arch_find(name.p, name.n);
    if (!a) {
        moa_fail(&s->why, MOA_EUNSUPPORTED, "architecture '%.*s' is not known", (int)(name.n < 64 ? name.n : 64), name.p);
        return;
    }
    if (moa_hparams_read(&s->h, a, g, &s->why) < 0) return;
    const moa_tensor *embd = moa_gguf_tensor(g, "token_embd.weight"); /* its rows are the vocabulary; a list of tokens may be missing */
    if (embd && embd->n_dim == 2 && embd->shape[0] > 0 && embd->shape[0] <= 1 << 24) s->h.n_vocab = (int)embd->shape[0];
    if (moa_hparams_check(&s->h, &s->why) >= 0) s->arch = a;
}

static uint64_t kv_bytes(const moa_hparams *h) { return (uint64_t)moa_kv_numbers(h) * (moa_kv_usual(h) == MOA_F16 ? 2 : 4); }

static void put_value(moa_buf *b, const moa_gguf_kv *kv) {
    moa_str s;
    if (kv->type == MOA_GGUF_ARR) {
        moa_buf_addf(b, "\"array of %" PRIu64 "\"", kv->count);
    } else if (kv->type == MOA_GGUF_STR) {
        s = moa_gguf_arr_str(kv, 0);
        moa_json_add_str(b, s.p, s.n);
    } else if (kv->type == MOA_GGUF_F32 || kv->type == MOA_GGUF_F64) {
        moa_buf_addf(b, "%.9g", (double)moa_gguf_arr_f32(kv, 0));
    } else if (kv->type == MOA_GGUF_BOOL) {
        moa_buf_adds(b, moa_gguf_arr_int(kv, 0) ? "true" : "false");
    } else {
        moa_buf_addf(b, "%" PRId64, moa_gguf_arr_int(kv, 0));
    }
}

static void put_hparams(moa_buf *b, const summary *s) {
    const moa_hparams *h = &s->h;
    if (!s->arch) {
        moa_buf_adds(b, "null");
        return;
    }
    moa_buf_addf(b,
                 "{\"n_vocab\":%d,\"n_ctx\":%d,\"d_model\":%d,\"n_layer\":%d,\"n_head\":%d,\"n_kv\":%d,\"head_dim\":%d,\"n_rot\":%d,"
                 "\"d_ff\":%d,\"n_expert\":%d,\"n_expert_used\":%d,\"d_expert\":%d,\"gate\":\"%s\",\"norm_eps\":%.9g,\"rope_base\":%.9g}",
                 h->n_vocab, h->n_ctx, h->d_model, h->n_layer, h->n_head, h->n_kv, h->head_dim, h->n_rot, h->d_ff, h->n_expert,
                 h->n_expert_used, h->d_expert, moa_gate_name(h->gate_norm), (double)h->norm_eps, (double)h->rope_base);
}

static void put_tensors(moa_buf *b, const moa_gguf *g) {
    for (int i = 0; i < moa_gguf_n_tensor(g); i++) {
        const moa_tensor *t = moa_gguf_tensor_at(g, i);
        const moa_type *type = moa_type_get(t->dtype);
        moa_buf_adds(b, i ? ",{\"name\":" : "{\"name\":");
        moa_json_add_str(b, t->name, strlen(t->name));
        moa_buf_addf(b, ",\"type\":\"%s\",\"shape\":[", type ? type->name : "?");
        for (int d = 0; d < t->n_dim; d++) moa_buf_addf(b, d ? ",%lld" : "%lld", (long long)t->shape[d]);
        moa_buf_addf(b, "],\"bytes\":%zu}", moa_tensor_bytes(t));
    }
}

static int show_json(const moa_gguf *g, const summary *s, const char *path, moa_err *err) {
    moa_buf b;
    moa_buf_init(&b, 1u << 30);
    moa_buf_adds(&b, "{\"path\":");
    moa_json_add_str(&b, path, strlen(path));
    moa_buf_addf(&b, ",\"files\":%d", moa_gguf_n_part(g));
    moa_buf_addf(&b, ",\"type\":\"%s\",\"weights\":%" PRId64 ",\"bytes\":%" PRIu64 ",\"parts\":{", moa_type_get(s->main_type)->name, s->weights,
                 s->bytes);
    for (int p = 0, first = 1; p < N_PART; p++)
        if (s->part[p]) moa_buf_addf(&b, "%s\"%s\":%" PRIu64, first ? "" : ",", parts[p].part, s->part[p]), first = 0;
    moa_buf_adds(&b, "},\"hparams\":");
    put_hparams(&b, s);
    if (s->arch)
        moa_buf_addf(&b, ",\"kv_bytes_per_token\":%" PRIu64 ",\"kv_bytes_full_context\":%" PRIu64 ",\"default_ctx\":%d", kv_bytes(&s->h),
                     kv_bytes(&s->h) * (uint64_t)s->h.n_ctx, moa_backend_local_ctx(&s->h));
    moa_buf_adds(&b, ",\"metadata\":{");
    for (int i = 0; i < moa_gguf_n_kv(g); i++) {
        const moa_gguf_kv *kv = moa_gguf_kv_at(g, i);
        if (i) moa_buf_adds(&b, ",");
        moa_json_add_str(&b, kv->key.p, kv->key.n);
        moa_buf_adds(&b, ":");
        put_value(&b, kv);
    }
    moa_buf_adds(&b, "},\"tensors\":[");
    put_tensors(&b, g);
    moa_buf_adds(&b, "]}");
    const int rc = b.failed ? moa_fail(err, b.failed, "%s: the listing is too long", path) : 0;
    if (rc >= 0) puts(moa_buf_str(&b));
    moa_buf_deinit(&b);
    return rc;
}

/* Text of the file, at least `width` columns: what could steer a terminal is left out. */
static void show(const char *s, size_t n, int width) {
    moa_term_write(stdout, s, n);
    printf("%*s", n < (size_t)width ? (int)((size_t)width - n) : 0, "");
}

static void show_text(const moa_gguf *g, const summary *s, const char *path, bool tensors) {
    moa_buf b;
    if (moa_gguf_n_part(g) > 1) printf("%s and %d more parts\n", path, moa_gguf_n_part(g) - 1);
    else printf("%s\n", path);
    printf("  %d tensors, %" PRId64 " weights, %.2f MB, mostly %s, %.2f bits a weight\n", moa_gguf_n_tensor(g), s->weights,
           (double)s->bytes / 1e6, moa_type_get(s->main_type)->name, s->weights ? 8.0 * (double)s->bytes / (double)s->weights : 0.0);
    for (int p = 0; p < N_PART; p++)
        if (s->part[p]) printf("  %-14s %10.3f MB  %5.1f %%\n", parts[p].part, (double)s->part[p] / 1e6, 100.0 * (double)s->part[p] / (double)s->bytes);
    if (s->arch) {
        const moa_hparams *h = &s->h;
        printf("to run\n  context %d tokens, vocabulary %d, %d layers of %d, %d heads (%d for keys) of %d\n", h->n_ctx, h->n_vocab, h->n_layer,
               h->d_model, h->n_head, h->n_kv, h->head_dim);
        if (h->n_expert) printf("  %d experts, %d a token, gate %s\n", h->n_expert, h->n_expert_used, moa_gate_name(h->gate_norm));
        printf("  KV cache %" PRIu64 " bytes a token, %.2f MB for the whole context, in %s\n", kv_bytes(h),
               (double)kv_bytes(h) * h->n_ctx / 1e6, moa_type_get(moa_kv_usual(h))->name);
        const int ctx = moa_backend_local_ctx(h);
        if (ctx < h->n_ctx) printf("  moa run takes conversations of %d tokens (%.3g GiB of KV); --ctx N allows longer ones\n", ctx,
                                     (double)moa_backend_local_kv_bytes() / (1 << 30));
    } else {
        printf("to run\n  not possible: %s\n", s->why.text);
    }
    printf("metadata\n");
    for (int i = 0; i < moa_gguf_n_kv(g); i++) {
        const moa_gguf_kv *kv = moa_gguf_kv_at(g, i);
        moa_buf_init(&b, 1 << 24);
        put_value(&b, kv);
        fputs("  ", stdout), show(kv->key.p, kv->key.n, 41);
        show(moa_buf_str(&b), b.len > 100 ? 100 : b.len, 0), puts(b.len > 100 ? " ..." : "");
        moa_buf_deinit(&b);
    }
    for (int i = 0; tensors && i < moa_gguf_n_tensor(g); i++) {
        const moa_tensor *t = moa_gguf_tensor_at(g, i);
        fputs("  ", stdout), show(t->name, strlen(t->name), 36);
        printf(" %-6s %zu bytes [", moa_type_get(t->dtype)->name, moa_tensor_bytes(t));
        for (int d = 0; d < t->n_dim; d++) printf(d ? ", %lld" : "%lld", (long long)t->shape[d]);
        printf("]\n");
    }
}

static int info(const char *model, bool json, bool tensors, moa_err *err) {
    char path[4096];
    moa_gguf *g;
    summary s;
    if (model && moa_adapter_is(model)) return moa_cli_adapter_info(model, json, tensors, err);
    MOA_TRY(moa_cli_model_path(path, sizeof path, model, err));
    MOA_TRY(moa_gguf_open_any(&g, path, MOA_HF_HEAD, err));
    summarise(&s, g);
    int rc = 0;
    if (json) rc = show_json(g, &s, path, err);
    else show_text(g, &s, path, tensors);
    moa_gguf_close(g);
    return rc;
}

static int run(int argc, char **argv) {
    moa_optval v[sizeof opts / sizeof *opts];
    const char *pos[1] = {0};
    int n_pos;
    const int rc = moa_opt_parse(&moa_command_info, argc, argv, v, pos, 1, &n_pos);
    if (rc) return rc < 0 ? 2 : 0;
    moa_err err = {0};
    return info(n_pos ? pos[0] : NULL, v[O_JSON].set, v[O_TENSORS].set, &err) < 0 ? moa_cli_fail(&err) : 0;
}
