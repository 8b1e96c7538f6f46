/* cmd_explain.c - moa explain [MODEL]: what a model will cost on this machine, from its header and a few seconds of measuring
 * (model/explain.h); with --measure, what it does cost, and where the difference to the limits lies.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "agent/stats.h"
#include "base/clock.h"
#include "base/json.h"
#include "cli/bench.h"
#include "model/explain.h"

#include <string.h>

enum { O_CTX, O_THREADS, O_MEASURE, O_JSON };
static const moa_opt opts[] = {
    {"--ctx", "-c", MOA_OPT_INT, "N", "positions before the decoded ones (default 512)", 1, 1 << 20},
    MOA_ROW_THREADS,
    {"--measure", NULL, MOA_OPT_FLAG, NULL, "run the model too: how well the prediction holds, and the share of each limit", 0, 0},
    MOA_ROW_JSON(""),
    MOA_ROWS_END,
};

static int run(int argc, char **argv);
const moa_command moa_command_explain = {
    .name = "explain", .usage = "[MODEL] [--measure]", .help = "what a model will cost on this machine, before it is loaded",
    .more = "Reads the header only; the machine's rates are measured in a few seconds, on weights of the model's kinds that are made up. Decoding is\n"
            "predicted for sequences over one shared prefix, as samples of a mixture are. Experts are taken as routed at random; with --measure\n"
            "those that random tokens really take are counted first, and the prediction is made for them.",
    .opts = opts, .run = run,
};

enum { N_B = MOA_EXPLAIN_BATCHES };
typedef struct measured { double decode[N_B], prefill; } measured; /* seconds of a step; 0: not measured */

static int measure(measured *o, const moa_model *m, const moa_explained *e, moa_err *err) {
    moa_session *s = NULL;
    moa_steps t = {0};
    moa_session_cfg cfg = moa_session_defaults();
    cfg.n_threads = e->threads, cfg.n_seq = 40, cfg.n_batch = 512, cfg.n_ctx = e->context + e->prompt + 40 * 2 * MOA_KV_BLOCK;
    int rc = moa_session_new(&s, m, &cfg, err), parent = 0;
    if (rc >= 0) rc = moa_steps_init(&t, s, 512, 3, err);
    double took[3];
    for (int i = -1; rc >= 0 && i < 3; i++) {
        const double t0 = moa_now();
        rc = parent = moa_steps_prefill(&t, e->prompt, err);
        if (i >= 0) took[i] = moa_now() - t0;
        if (rc >= 0) moa_seq_free(s, parent);
    }
    if (rc >= 0) o->prefill = moa_median(took, 3);
    if (rc >= 0) rc = parent = moa_steps_prefill(&t, e->context, err);
    for (int i = 0; rc >= 0 && i < N_B; i++) rc = moa_steps_decode(&o->decode[i], &t, parent, moa_explain_batch[i], err);
    moa_steps_deinit(&t);
    moa_session_free(s);
    return rc;
}

/* Experts that steps of random tokens take, counted by their last products. */
typedef struct counting { const moa_model *m; long n; } counting;
static void count_products(void *ctx, const moa_tensor *w, const moa_tensor *in, moa_tensor *out) {
    counting *c = ctx;
    (void)in, (void)out;
    for (int i = 0; i < c->m->h.n_layer; i++)
        for (int x = 0; c->m->layer[i].router.w && x < c->m->h.n_expert; x++) c->n += w == c->m->layer[i].e_down[x].w;
}

static int count_experts(double unique[N_B + 1], const moa_model *m, moa_err *err) {
    moa_session *s = NULL;
    moa_steps t = {0};
    counting c = {.m = m};
    moa_session_cfg cfg = moa_session_defaults();
    int routed = 0, parent = 0, seq[32];
    for (int i = 0; i < m->h.n_layer; i++) routed += m->layer[i].router.w != NULL;
    cfg.n_seq = 40, cfg.n_batch = 512, cfg.n_ctx = 512 + 40 * 2 * MOA_KV_BLOCK;
    int rc = moa_session_new(&s, m, &cfg, err);
    if (rc >= 0) rc = moa_steps_init(&t, s, 512, 1, err);
    if (rc >= 0) moa_session_watch(s, count_products, &c);
    if (rc >= 0) rc = parent = moa_steps_prefill(&t, m->h.n_ctx < 512 ? m->h.n_ctx : 512, err);
    unique[N_B] = (double)c.n / routed;
    if (rc >= 0 && m->h.n_ctx <= 512) moa_seq_truncate(s, parent, m->h.n_ctx / 2);
    for (int i = 0; rc >= 0 && i < N_B; i++) {
        const int n = moa_explain_batch[i];
        c.n = 0;
        for (int k = 0; rc >= 0 && k < n; k++) {
            rc = seq[k] = moa_seq_fork(s, parent, moa_seq_len(s, parent), err);
            t.row[k] = (moa_row){seq[k], (int32_t)moa_rng_below(&t.rng, (uint32_t)t.n_vocab), true};
        }
        if (rc >= 0) rc = moa_session_step(s, t.row, n, err);
        for (int k = 0; rc >= 0 && k < n; k++) moa_seq_free(s, seq[k]);
        unique[i] = (double)c.n / routed;
    }
    moa_steps_deinit(&t);
    moa_session_free(s);
    return rc;
}

/* What keeps a step from the limit of reading. */
static const char *reason(const moa_explained *e, const measured *r, int i) {
    const moa_explain_cost *c = &e->decode[i];
    const double reads = e->step_bytes[i] / (e->read_gbps * 1e9), rest = r->decode[i] - c->total, arithmetic = c->products - reads;
    if (rest > arithmetic && rest > c->attention && rest > c->small) return "what is not in the prediction: a busy machine, waiting of threads, routing";
    if (arithmetic >= c->attention && arithmetic >= c->small) return "products take longer than reading their weights";
    return c->attention >= c->small ? "attention" : "small work between products";
}

static void print_text(const moa_explained *e, const measured *r, const moa_model *m, const char *path) {
    double weights = 0;
    for (int p = 0; p < MOA_PARTS; p++) weights += e->weights[p];
    printf("%s: %s, %d layers, %.0f M weights\n", path, m->arch->name, m->h.n_layer, weights / 1e6);
    printf("  %-16s %12s %12s %16s\n", "part", "M weights", "MB", "MB a token");
    for (int p = 0; p < MOA_PARTS; p++)
        if (e->weights[p] > 0) printf("  %-16s %12.1f %12.1f %16.1f\n", moa_part_name((moa_part)p), e->weights[p] / 1e6, e->bytes[p] / 1e6, e->active[p] / 1e6);
    printf("  %-16s %12s %12s %16.1f   (%.1f kB a position in f32, half in f16)\n", "KV", "", "", e->kv_bytes * e->context / 1e6, e->kv_bytes / 1e3);
    printf("machine, measured in %.1f s:", e->seconds);
    for (int i = 0; i < e->n_tried; i++) printf("%s %d thread%s read %.1f GB/s, %.1f in products", i ? ";" : "", e->tried[i].threads, e->tried[i].threads > 1 ? "s" : "", e->tried[i].read_gbps, e->tried[i].product_gbps);
    printf("; best: %d\n", e->threads);
    printf("  %-22s %9s %9s %9s %9s %9s %9s%s\n", "step", "tokens/s", "ms", "products", "attention", "small", "of reads", r ? "   measured  predicted/measured" : "");
    for (int i = 0; i < N_B; i++) {
        const moa_explain_cost *c = &e->decode[i];
        const double limit = e->step_bytes[i] / (e->read_gbps * 1e9), real = r && r->decode[i] > 0 ? r->decode[i] : c->total;
        char what[64];
        if (e->n_expert) snprintf(what, sizeof what, "decode %d (%.1f experts)", moa_explain_batch[i], e->unique[i]);
        else snprintf(what, sizeof what, "decode %d", moa_explain_batch[i]);
        printf("  %-22s %9.1f %9.2f %9.2f %9.2f %9.2f %8.0f%%", what, moa_explain_batch[i] / c->total, c->total * 1e3, c->products * 1e3,
               c->attention * 1e3, c->small * 1e3, 100 * limit / real);
        if (r) printf(" %9.1f  %6.2f  %s", moa_explain_batch[i] / real, real / c->total, reason(e, r, i));
        printf("\n");
    }
    printf("  prefill %-14d %9.1f %9.1f %9.1f %9.1f %9.1f %9s", e->prompt, e->prompt / e->prefill.total, e->prefill.total * 1e3,
           e->prefill.products * 1e3, e->prefill.attention * 1e3, e->prefill.small * 1e3, "");
    if (r) printf(" %9.1f  %6.2f", e->prompt / r->prefill, r->prefill / e->prefill.total);
    printf("\n");
}

static void add_cost(moa_buf *b, const char *name, int n, const moa_explain_cost *c, double real) {
    moa_buf_addf(b, "{\"%s\":%d,\"tps\":%.3f,\"s\":%.6g,\"products_s\":%.6g,\"attention_s\":%.6g,\"small_s\":%.6g", name, n, n / c->total, c->total, c->products,
                 c->attention, c->small);
    if (real > 0) moa_buf_addf(b, ",\"measured_tps\":%.3f", n / real);
    moa_buf_adds(b, "}");
}

static void print_json(const moa_explained *e, const measured *r, const char *path) {
    moa_buf b;
    moa_buf_init(&b, 1 << 16);
    moa_buf_adds(&b, "{\"model\":");
    moa_json_add_str(&b, path, strlen(path));
    moa_buf_addf(&b, ",\"threads\":%d,\"read_gbps\":%.3f,\"context\":%d,\"kv_bytes\":%.0f,\"measuring_s\":%.2f,\"parts\":[", e->threads, e->read_gbps, e->context,
                 e->kv_bytes, e->seconds);
    for (int p = 0; p < MOA_PARTS; p++)
        moa_buf_addf(&b, "%s{\"name\":\"%s\",\"weights\":%.0f,\"bytes\":%.0f,\"bytes_a_token\":%.0f}", p ? "," : "", moa_part_name((moa_part)p), e->weights[p],
                     e->bytes[p], e->active[p]);
    moa_buf_adds(&b, "],\"decode\":[");
    for (int i = 0; i < N_B; i++) {
        if (i) moa_buf_adds(&b, ",");
        add_cost(&b, "n", moa_explain_batch[i], &e->decode[i], r ? r->decode[i] : 0);
    }
    moa_buf_adds(&b, "],\"unique_experts\":[");
    for (int i = 0; i < N_B; i++) moa_buf_addf(&b, "%s%.3f", i ? "," : "", e->unique[i]);
    moa_buf_adds(&b, "],\"prefill\":");
    add_cost(&b, "tokens", e->prompt, &e->prefill, r ? r->prefill : 0);
    moa_buf_adds(&b, "}\n");
    fwrite(moa_buf_str(&b), 1, b.len, stdout);
    moa_buf_deinit(&b);
}

static int run(int argc, char **argv) {
    moa_optval v[sizeof opts / sizeof *opts];
    const char *pos[1] = {0};
    char path[4096];
    int n_pos;
    int rc = moa_opt_parse(&moa_command_explain, argc, argv, v, pos, 1, &n_pos);
    if (rc) return rc < 0 ? 2 : 0;
    moa_err err = {0};
    moa_model *m;
    moa_explained e;
    measured r = {0};
    if (moa_cli_model_path(path, sizeof path, pos[0], &err) < 0 || moa_model_open(&m, path, &err) < 0) return moa_cli_fail(&err);
    double unique[N_B + 1];
    const bool count = v[O_MEASURE].set && m->h.n_expert && !m->arch->encoder;
    rc = count ? count_experts(unique, m, &err) : 0;
    if (rc >= 0) rc = moa_explain(&e, m, v[O_CTX].set ? (int)v[O_CTX].i : 512, 512, (int)v[O_THREADS].i, count ? unique : NULL, &err);
    if (rc >= 0 && v[O_MEASURE].set) rc = measure(&r, m, &e, &err);
    const measured *real = v[O_MEASURE].set ? &r : NULL;
    if (rc >= 0 && v[O_JSON].set) print_json(&e, real, path);
    else if (rc >= 0) print_text(&e, real, m, path);
    moa_model_close(m);
    return rc < 0 ? moa_cli_fail(&err) : 0;
}
