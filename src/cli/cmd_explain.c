/* cmd_explain.c - moa explain [MODEL]: what a model will cost on this machine, from its header and a few seconds of measuring
 * (model/explain.h); with --measure, what it does cost, and where the difference to the limits lies.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "agent/stats.h"
#include "base/clock.h"
#include "base/json.h"
#include "cli/bench.h"
#include "model/explain.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { O_CTX, O_THREADS, O_REPACK, O_MEASURE, O_JSON };
static const moa_opt opts[] = {
    {"--ctx", "-c", MOA_OPT_INT, "N", "positions before the decoded ones (default 512)", 1, 1 << 20},
    MOA_ROW_THREADS,
    MOA_ROW_REPACK,
    {"--measure", NULL, MOA_OPT_FLAG, NULL, "run the model too: how well the prediction holds, and the share of each limit", 0, 0},
    MOA_ROW_JSON(""),
    MOA_ROWS_END,
};

static int run(int argc, char **argv);
const moa_command moa_command_explain = {
    .name = "explain", .usage = "[MODEL] [--measure]", .help = "what a model will cost on this machine, before it is loaded",
    .more = "Reads the header only. The machine's limits are measured once and kept (moa bench machine); how far the model's products stay from them is\n"
            "measured in a few seconds, on made-up weights of its kinds. Decoding is predicted for sequences over one shared prefix, as samples of a\n"
            "mixture are. Experts are taken as routed at random, which is the most of them that a step needs; with --measure those that random\n"
            "tokens really take are counted first. --measure then predicts and runs by turns, and says what keeps each step from the\n"
            "limits of reading and of multiplying.",
    .opts = opts, .run = run,
};

enum { N_B = MOA_EXPLAIN_BATCHES, PREFILL = MOA_EXPLAIN_PREFILL, POINTS = MOA_EXPLAIN_POINTS, MAX_B = 32, STEPS = 4, ROUNDS = 3 };

/* ---- the model itself, step by step ---- */

typedef struct running {
    const moa_model *m;
    moa_session *s;
    moa_steps t;
    int context, prompt, parent;
    moa_repack repack;
} running;

static void stop_running(running *r) {
    moa_steps_deinit(&r->t);
    moa_session_free(r->s);
}

static int start_running(running *r, int threads, moa_err *err) {
    moa_session_cfg cfg = moa_session_defaults();
    MOA_TRY(moa_session_kv_type(&cfg, NULL, err)); /* the model's usual one */
    cfg.repack = r->repack, cfg.n_threads = threads, cfg.n_seq = MAX_B + 2, cfg.n_batch = 512, cfg.n_ctx = r->context + r->prompt + (MAX_B + 2) * 2 * MOA_KV_BLOCK;
    MOA_TRY(moa_session_new(&r->s, r->m, &cfg, err));
    MOA_TRY(moa_steps_init(&r->t, r->s, 512, 1, err));
    return r->parent = moa_steps_prefill(&r->t, r->context, err);
}

/* n forks of the context, which take a token each, 1 + `steps` times; the middle of the later ones in seconds. */
static int decode(double *seconds, running *r, int n, int steps, moa_err *err) {
    int seq[MAX_B], have = 0, rc = 0;
    double took[STEPS];
    for (; rc >= 0 && have < n; have++)
        if ((rc = seq[have] = moa_seq_fork(r->s, r->parent, moa_seq_len(r->s, r->parent), err)) < 0) break;
    for (int k = -1; rc >= 0 && k < steps; k++) { /* the first copies the last block of the context */
        for (int i = 0; i < n; i++) r->t.row[i] = (moa_row){seq[i], (int32_t)moa_rng_below(&r->t.rng, (uint32_t)r->t.n_vocab), true};
        const double t0 = moa_now();
        rc = moa_session_step(r->s, r->t.row, n, err);
        if (k >= 0) took[k] = moa_now() - t0;
    }
    for (int i = 0; i < have; i++) moa_seq_free(r->s, seq[i]);
    if (rc >= 0 && steps) *seconds = moa_median(took, steps);
    return rc;
}

/* The same tokens each time: the experts that they take were packed in the first, which does not count. */
static int run_point(void *ctx, double *seconds, int point, int threads, moa_err *err) {
    running *r = ctx;
    if (!r->s) MOA_TRY(start_running(r, threads, err));
    moa_rng_seed(&r->t.rng, 1 + (uint64_t)point);
    if (point != PREFILL) return decode(seconds, r, moa_explain_batch[point], STEPS, err);
    const double t0 = moa_now();
    const int seq = moa_steps_prefill(&r->t, r->prompt, err);
    if (seq < 0) return seq;
    *seconds = moa_now() - t0;
    moa_seq_free(r->s, seq);
    return 0;
}

/* ---- which experts steps take ---- */

typedef struct counting { const moa_model *m; double *rows; } counting; /* [n_layer, n_expert] of the last products */
static void count_products(void *ctx, const moa_tensor *w, const moa_tensor *in, moa_tensor *out) {
    counting *c = ctx;
    (void)out;
    for (int i = 0; i < c->m->h.n_layer; i++)
        for (int x = 0; c->m->layer[i].router.w && x < c->m->h.n_expert; x++)
            if (w == c->m->layer[i].e_down[x].w) c->rows[i * c->m->h.n_expert + x] += (double)moa_rows(in);
}

static int falling(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

enum { REPEAT = 3, LAYERS = MOA_EXPLAIN_LAYERS };

/* A step was counted: how many experts a layer took, and the rows of those of some layers. A prefill's last layer has only the rows that
 * want logits. */
static void keep(moa_explain_routes *out, const counting *c, int point, int steps) {
    const int n_e = c->m->h.n_expert, n_l = c->m->h.n_layer - (point == PREFILL && c->m->h.n_layer > 1);
    int layer[1024], routed = 0;
    for (int i = 0; i < n_l && routed < 1024; i++)
        if (c->m->layer[i].router.w) layer[routed++] = i;
    for (int i = 0; i < routed; i++) {
        double *rows = c->rows + layer[i] * n_e;
        qsort(rows, (size_t)n_e, sizeof *rows, falling);
        for (int x = 0; x < n_e; x++) out->unique[point] += rows[x] > 0 ? 1.0 / routed / steps : 0;
    }
    for (int k = 0; k < LAYERS && routed; k++) /* evenly over the layers; of several steps the last stays */
        memcpy(out->rows + (point * LAYERS + k) * n_e, c->rows + layer[(2 * k + 1) * routed / (2 * LAYERS)] * n_e, (size_t)n_e * sizeof(double));
}

/* By random tokens. */
static int count_experts(moa_explain_routes *out, running *r, moa_err *err) {
    const size_t n = (size_t)r->m->h.n_layer * (size_t)r->m->h.n_expert;
    counting c = {r->m, calloc(n, sizeof *c.rows)};
    *out = (moa_explain_routes){.n_layer = LAYERS, .rows = calloc((size_t)POINTS * LAYERS * (size_t)r->m->h.n_expert, sizeof *out->rows)};
    int rc = c.rows && out->rows ? start_running(r, 0, err) : moa_fail(err, MOA_ENOMEM, "no memory to count experts");
    if (rc >= 0) moa_session_watch(r->s, count_products, &c);
    for (int p = 0; rc >= 0 && p < POINTS; p++)
        for (int k = 0; rc >= 0 && k < (p == PREFILL ? 1 : REPEAT); k++) {
            double unused;
            memset(c.rows, 0, n * sizeof *c.rows);
            rc = p == PREFILL ? run_point(r, &unused, p, 0, err) : decode(&unused, r, moa_explain_batch[p], 0, err);
            if (rc >= 0) keep(out, &c, p, p == PREFILL ? 1 : REPEAT);
        }
    free(c.rows);
    stop_running(r);
    *r = (running){.m = r->m, .context = r->context, .prompt = r->prompt, .repack = r->repack};
    return rc;
}

/* ---- results ---- */

static void print_text(const moa_explained *e, const moa_model *m, const char *path) {
    double weights = 0;
    for (int p = 0; p < MOA_PARTS; p++) weights += e->weights[p];
    printf("%s: %s, %d layers, %.0f M weights\n", path, m->arch->name, m->h.n_layer, weights / 1e6);
    printf("  %-16s %12s %12s %16s\n", "part", "M weights", "MB", "MB a token");
    for (int p = 0; p < MOA_PARTS; p++)
        if (e->weights[p] > 0) printf("  %-16s %12.1f %12.1f %16.1f\n", moa_part_name((moa_part)p), e->weights[p] / 1e6, e->bytes[p] / 1e6, e->active[p] / 1e6);
    printf("  %-16s %12s %12s %16.1f   (%.1f kB a position)\n", "KV", "", "", e->kv_bytes * e->context / 1e6, e->kv_bytes / 1e3);
    if (e->packed_bytes > 0) printf("  %-16s %12s %12.1f %16s   (of the file's, in memory of their own: --repack)\n", "packed weights", "", e->packed_bytes / 1e6, "");
    printf("threads, measured in %.1f s with all below:", e->seconds);
    for (int i = 0; i < e->n_tried; i++) printf("%s %d read%s %.1f GB/s at most, %.1f in products", i ? ";" : "", e->tried[i].threads, e->tried[i].threads > 1 ? "" : "s", e->tried[i].read_gbps, e->tried[i].product_gbps);
    printf("; best: %d\n", e->threads);
    const bool real = e->point[0].real > 0;
    printf("  %-34s %9s %9s %9s %9s %9s %9s %9s%s\n", "step", "tokens/s", "ms", "products", "attention", "small", "of reads", "of work", real ? "  measured  predicted/measured; largest gap to the limits" : "");
    for (int i = 0; i < POINTS; i++) {
        const moa_explain_point *p = &e->point[i];
        const double s = p->real > 0 ? p->real : p->cost.total;
        char what[64], experts[48] = "";
        if (e->n_expert) snprintf(experts, sizeof experts, " (%s%.1f experts)", e->counted ? "" : "at most ", p->unique);
        snprintf(what, sizeof what, "%s %d%s", i == PREFILL ? "prefill" : "decode", p->rows, experts);
        printf("  %-34s %9.1f %9.2f %9.2f %9.2f %9.2f %8.0f%% %8.0f%%", what, p->rows / p->cost.total, p->cost.total * 1e3, p->cost.products * 1e3, p->cost.attention * 1e3,
               p->cost.small * 1e3, 100 * p->read_s / s, 100 * p->work_s / s);
        if (real) printf(" %9.1f  %6.2f  %s", p->rows / p->real, p->ratio, moa_gap_name(p->gap));
        printf("\n");
    }
}

static void add_point(moa_buf *b, const char *name, const moa_explain_point *p) {
    const moa_explain_cost *c = &p->cost;
    moa_buf_addf(b, "{\"%s\":%d,\"tps\":%.3f,\"s\":%.6g,\"products_s\":%.6g,\"attention_s\":%.6g,\"small_s\":%.6g,\"bytes\":%.0f,\"read_limit_s\":%.6g,\"work_limit_s\":%.6g", name,
                 p->rows, p->rows / c->total, c->total, c->products, c->attention, c->small, p->bytes, p->read_s, p->work_s);
    if (p->real > 0) moa_buf_addf(b, ",\"measured_tps\":%.3f,\"predicted_over_measured\":%.4f,\"gap\":\"%s\"", p->rows / p->real, p->ratio, moa_gap_name(p->gap));
    moa_buf_adds(b, "}");
}

static void print_json(const moa_explained *e, const char *path) {
    moa_buf b;
    moa_buf_init(&b, 1 << 16);
    moa_buf_adds(&b, "{\"model\":");
    moa_json_add_str(&b, path, strlen(path));
    moa_buf_addf(&b, ",\"threads\":%d,\"read_gbps\":%.3f,\"context\":%d,\"kv_bytes\":%.0f,\"packed_bytes\":%.0f,\"measuring_s\":%.2f,\"parts\":[", e->threads, e->read_gbps, e->context,
                 e->kv_bytes, e->packed_bytes, e->seconds);
    for (int p = 0; p < MOA_PARTS; p++)
        moa_buf_addf(&b, "%s{\"name\":\"%s\",\"weights\":%.0f,\"bytes\":%.0f,\"bytes_a_token\":%.0f}", p ? "," : "", moa_part_name((moa_part)p), e->weights[p],
                     e->bytes[p], e->active[p]);
    moa_buf_adds(&b, "],\"decode\":[");
    for (int i = 0; i < N_B; i++) {
        if (i) moa_buf_adds(&b, ",");
        add_point(&b, "n", &e->point[i]);
    }
    moa_buf_adds(&b, "],\"unique_experts\":[");
    for (int i = 0; i < N_B; i++) moa_buf_addf(&b, "%s%.3f", i ? "," : "", e->point[i].unique);
    moa_buf_addf(&b, "],\"experts_counted\":%s,\"prefill\":", e->counted ? "true" : "false");
    add_point(&b, "tokens", &e->point[PREFILL]);
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
    moa_err err = {0}, note;
    moa_model *m;
    moa_explained e;
    moa_machine *limits = calloc(1, sizeof *limits);
    if (!limits || moa_machine_get(limits, &note, &err) < 0 || moa_cli_model_path(path, sizeof path, pos[0], &err) < 0 || moa_model_open(&m, path, &err) < 0) {
        free(limits);
        return moa_cli_fail(&err);
    }
    if (note.code) fprintf(stderr, "moa: note: %s\n", note.text);
    running r = {.m = m, .context = v[O_CTX].set ? (int)v[O_CTX].i : 512, .prompt = 512};
    if (r.context > m->h.n_ctx - STEPS - 1) r.context = m->h.n_ctx - STEPS - 1; /* room for the steps after it */
    if (r.context < 1) r.context = 1;
    if (r.prompt > m->h.n_ctx) r.prompt = m->h.n_ctx;
    rc = moa_repack_parse(&r.repack, v[O_REPACK].s, &err);
    moa_explain_routes routes = {0};
    const bool count = v[O_MEASURE].set && m->h.n_expert && !m->arch->encoder;
    if (rc >= 0 && count) rc = count_experts(&routes, &r, &err);
    const moa_explain_cfg cfg = {.context = r.context, .prompt = r.prompt, .threads = (int)v[O_THREADS].i, .repack = r.repack, .routes = count ? &routes : NULL, .run = v[O_MEASURE].set ? run_point : NULL, .ctx = &r, .rounds = ROUNDS};
    if (rc >= 0) rc = moa_explain(&e, m, limits, &cfg, &err);
    bool beyond = false;
    for (int i = 0; rc >= 0 && i < POINTS; i++) beyond |= e.point[i].real > 0 && fmax(e.point[i].read_s * (i == PREFILL ? 0 : 1), e.point[i].work_s) > 1.1 * e.point[i].real;
    if (beyond) fprintf(stderr, "moa: note: the model does more than the machine's limits, which were measured on a busy machine or are beyond its caches: moa bench machine measures them again\n");
    if (rc >= 0) {
        if (v[O_JSON].set) print_json(&e, path);
        else print_text(&e, m, path);
    }
    stop_running(&r);
    moa_model_close(m);
    free(routes.rows), free(limits);
    return rc < 0 ? moa_cli_fail(&err) : 0;
}
