/* bench_speed.c - moa bench speed [PARTS]: what a model costs on this machine: prefill, decode, batched decode over one shared prefix,
 * and a whole self-moa answer against a single one. PARTS, with commas between: prefill, decode, mix; prefill:N and decode:N have
 * prompts of N tokens, mix:N replies of at most N. All of them without it.
 *
 * Decode is bound by reading the weights once a step; n rows of one step read them once for all, so n samples cost far
 * less than n answers. `cost` is the time of a step with n rows over that of a step with one. The self-moa part runs the
 * real executor on real questions: drafts of their own length, aggregator prompt, prefix reuse and all.
 * Every figure is the median of several runs. Peak memory is taken before the bandwidth test, whose array is not moa's.
 * benches.def: BENCH(speed)
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/mix.h"
#include "agent/stats.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/json.h"
#include "cli/bench.h"
#include "task/task.h"
#include "tensor/machine.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { N_BATCH = 7, N_QUESTION = 4, SAMPLES = 6 };
static const int batch_n[N_BATCH] = {1, 2, 4, 6, 8, 16, 32};

typedef struct speed {
    bool prefill, decode, mix;   /* what is measured */
    int prompt, shared, reply;   /* tokens of the prefilled prompt, of the prefix that a batch shares, of a reply at most */
    double prefill_tps, tps[N_BATCH], cost[N_BATCH];
    int n_batch;                 /* batch sizes that fit */
    double single_s, mixed_s, samples_s, read_s; /* read_s: until the aggregator's first token, of mixed_s */
    double reply_tokens, sample_tokens, merge_tokens, prompt_tokens, reused_tokens; /* means: of one reply, a sample, the aggregator's, its prompt */
    double single_plain_s, mixed_plain_s; /* without drafts (model/generate.h) */
    int64_t drafted, accepted;   /* tokens of the self-moa passes */
    double peak_rss_mb, model_mb, packed_mb, kv_mb, read_gbps;
    int threads;
    const char *type, *isa;
} speed;

/* ---- prefill and decode, on the session itself ---- */

static int measure_prefill(speed *o, moa_steps *t, moa_err *err) {
    double took[MOA_BENCH_RUNS];
    for (int i = -1; i < t->runs; i++) { /* run -1 warms up */
        const double t0 = moa_now();
        const int seq = moa_steps_prefill(t, o->prompt, err);
        if (seq < 0) return seq;
        if (i >= 0) took[i] = moa_now() - t0;
        moa_seq_free(t->s, seq);
    }
    o->prefill_tps = o->prompt / moa_median(took, t->runs);
    return 0;
}

static int measure_decode(speed *o, moa_steps *t, moa_err *err) {
    const int parent = moa_steps_prefill(t, o->shared, err);
    for (int i = 0; i < N_BATCH; i++) {
        double step = 0;
        if (parent < 0) return parent;
        MOA_TRY(moa_steps_decode(&step, t, parent, batch_n[i], err));
        o->tps[i] = batch_n[i] / step;
        o->cost[i] = step / (i ? 1 / o->tps[0] : step);
        o->n_batch = i + 1;
    }
    return 0;
}

static int measure_session(speed *o, const moa_model *m, const moa_bench_opt *opt, int runs, moa_err *err) {
    moa_session *s = NULL;
    moa_steps t = {0};
    const int longest = o->prompt > o->shared ? o->prompt : o->shared;
    moa_session_cfg cfg = moa_session_defaults();
    cfg.n_threads = opt->threads;
    MOA_TRY(moa_session_kv_type(&cfg, opt->kv, err));
    MOA_TRY(moa_repack_parse(&cfg.repack, opt->repack, err));
    cfg.n_ctx = longest + 40 * 2 * MOA_KV_BLOCK;
    cfg.n_seq = 40;
    cfg.n_batch = longest < 512 ? 512 : longest < 2048 ? longest : 2048;
    int rc = moa_session_new(&s, m, &cfg, err);
    if (rc >= 0) rc = moa_steps_init(&t, s, cfg.n_batch, runs, err);
    if (rc >= 0 && o->prefill) rc = measure_prefill(o, &t, err);
    if (rc >= 0 && o->decode) rc = measure_decode(o, &t, err);
    if (s) o->kv_mb = (double)moa_session_kv_bytes(s) / 1e6, o->packed_mb = (double)moa_packs_made(m->packs) / 1e6;
    moa_steps_deinit(&t);
    moa_session_free(s);
    return rc;
}

/* ---- one answer, mixed and single ---- */

/* What the passes over all questions took, and what was guessed in them. */
typedef struct passes { double single, mixed, samples, read; int64_t drafted, accepted; } passes;
/* Of all calls of a role: how many, and their tokens. */
typedef struct lengths { double calls, reply, prompt, reused; } lengths;

static int answer(double *all, passes *p, lengths *sample, lengths *last, const moa_mix_cfg *cfg, const char *question, uint64_t seed, moa_err *err) {
    moa_message msg = {"user", question};
    moa_run *r;
    MOA_TRY(moa_run_new(&r, cfg, &msg, 1, seed, err));
    int rc = moa_run_execute(r, NULL, NULL, err);
    *all += r->seconds;
    p->drafted += r->usage.drafted_tokens;
    p->accepted += r->usage.accepted_tokens;
    double drafts = 0;
    for (int i = 0; i < r->n_node; i++) {
        const moa_agent_node *n = &r->node[i];
        const bool answers = i == r->answer;
        lengths *l = answers ? last : sample;
        l->calls++, l->reply += (double)n->completion_tokens, l->prompt += (double)n->prompt_tokens, l->reused += (double)n->reused_tokens;
        if (answers) p->read += n->first_s;
        else if (n->seconds > drafts) drafts = n->seconds;
    }
    p->samples += drafts;
    moa_run_free(r);
    return rc;
}

/* One pass over all questions; pass -1 warms up. The same seeds: the single reply is the first draft. */
static int one_pass(passes *p, lengths l[3] /* a reply alone, samples, the aggregator's */, moa_backend *be, const moa_item *item, int reply, uint64_t seed, bool guess,
                    moa_err *err) {
    moa_mix_cfg one = moa_mix_defaults("single"), many = moa_mix_defaults("self-moa");
    one.proposer = many.proposer = &be;
    one.n_proposer = many.n_proposer = 1;
    one.max_tokens = many.max_tokens = reply;
    many.n = SAMPLES;
    passes other = {0};
    *p = other;
    MOA_TRY(moa_generator_set(moa_backend_local_generator(be), &(moa_gen_cfg){.drafts = guess ? 0 : -1}, err));
    for (int q = 0; q < N_QUESTION; q++) {
        MOA_TRY(answer(&p->single, &other, NULL, &l[0], &one, moa_buf_str(&item[q].question), seed, err));
        MOA_TRY(answer(&p->mixed, p, &l[1], &l[2], &many, moa_buf_str(&item[q].question), seed, err));
    }
    return 0;
}

static int measure_mix(speed *o, moa_backend *be, int runs, moa_err *err) {
    moa_item item[N_QUESTION];
    int n_family, rc = 0;
    const moa_family *const *f = moa_families(&n_family);
    for (int i = 0; i < N_QUESTION; i++) moa_item_init(&item[i]);
    for (int i = 0, k = 0; rc >= 0 && i < N_QUESTION; k++)
        if (f[k % n_family]->scored) rc = moa_item_make(&item[i++], f[k % n_family], MOA_HELDOUT, 1, (uint64_t)k, 0, err);
    double s[2][MOA_BENCH_RUNS], m[2][MOA_BENCH_RUNS], d[MOA_BENCH_RUNS], read[MOA_BENCH_RUNS];
    lengths l[3] = {0};
    for (int i = -1; rc >= 0 && i < runs; i++) /* run -1 warms up */
        for (int guess = 0; rc >= 0 && guess < 2; guess++) {
            passes p;
            rc = one_pass(&p, l, be, item, o->reply, (uint64_t)i + 2, guess, err);
            if (i < 0) continue;
            s[guess][i] = p.single, m[guess][i] = p.mixed, d[i] = p.samples, read[i] = p.read;
            o->drafted += p.drafted;
            o->accepted += p.accepted;
        }
    for (int i = 0; i < N_QUESTION; i++) moa_item_deinit(&item[i]);
    if (rc < 0) return rc;
    o->single_s = moa_median(s[1], runs) / N_QUESTION;
    o->mixed_s = moa_median(m[1], runs) / N_QUESTION;
    o->single_plain_s = moa_median(s[0], runs) / N_QUESTION;
    o->mixed_plain_s = moa_median(m[0], runs) / N_QUESTION;
    o->samples_s = moa_median(d, runs) / N_QUESTION;
    o->read_s = moa_median(read, runs) / N_QUESTION;
    o->reply_tokens = l[0].reply / l[0].calls, o->sample_tokens = l[1].reply / l[1].calls, o->merge_tokens = l[2].reply / l[2].calls;
    o->prompt_tokens = l[2].prompt / l[2].calls, o->reused_tokens = l[2].reused / l[2].calls;
    return 0;
}

/* ---- the machine ---- */

/* The type that most of the weights' bytes have. */
static const char *weight_type(const moa_model *m) {
    size_t bytes[MOA_DTYPE_MAX] = {0};
    int best = m->n_param ? (int)m->param[0]->dtype : 0;
    for (int i = 0; i < m->n_param; i++) bytes[m->param[i]->dtype] += moa_tensor_bytes(m->param[i]);
    for (int d = 0; d < MOA_DTYPE_MAX; d++)
        if (bytes[d] > bytes[best]) best = d;
    return moa_type_get((moa_dtype)best)->name;
}

/* ---- results ---- */

static void print_json(const speed *o, const char *model) {
    moa_buf b;
    moa_buf_init(&b, 1 << 16);
    moa_buf_adds(&b, "{\"model\":");
    moa_json_add_str(&b, model, strlen(model));
    moa_buf_addf(&b, ",\"type\":\"%s\",\"threads\":%d,\"isa\":\"%s\"", o->type, o->threads, o->isa);
    if (o->prefill) moa_buf_addf(&b, ",\"prompt_tokens\":%d,\"prefill_tps\":%.2f", o->prompt, o->prefill_tps);
    if (o->decode) moa_buf_addf(&b, ",\"shared_tokens\":%d,\"decode_tps\":%.2f,\"batch\":[", o->shared, o->tps[0]);
    for (int i = 0; i < o->n_batch; i++)
        moa_buf_addf(&b, "%s{\"n\":%d,\"tps\":%.2f,\"cost\":%.3f}", i ? "," : "", batch_n[i], o->tps[i], o->cost[i]);
    if (o->decode) moa_buf_adds(&b, "]");
    if (o->mix)
        moa_buf_addf(&b, ",\"self_moa\":{\"n\":%d,\"single_s\":%.5f,\"mixed_s\":%.5f,\"ratio\":%.3f,\"samples_ratio\":%.3f,\"samples_s\":%.5f,"
                     "\"read_s\":%.5f,\"write_s\":%.5f,\"single_tokens\":%.1f,\"sample_tokens\":%.1f,\"merge_tokens\":%.1f,\"merge_prompt_tokens\":%.1f,"
                     "\"merge_reused_tokens\":%.1f}"
                     ",\"guesses\":{\"drafted\":%lld,\"accepted\":%lld,\"single_without_s\":%.5f,\"mixed_without_s\":%.5f}", SAMPLES,
                     o->single_s, o->mixed_s, o->mixed_s / o->single_s, o->samples_s / o->single_s, o->samples_s, o->read_s,
                     o->mixed_s - o->samples_s - o->read_s, o->reply_tokens, o->sample_tokens, o->merge_tokens, o->prompt_tokens, o->reused_tokens,
                     (long long)o->drafted, (long long)o->accepted,
                     o->single_plain_s, o->mixed_plain_s);
    moa_buf_addf(&b, ",\"peak_rss_mb\":%.1f,\"model_mb\":%.1f,\"kv_mb\":%.1f,\"packed_mb\":%.1f,\"read_gbps\":%.2f}\n", o->peak_rss_mb, o->model_mb, o->kv_mb,
                 o->packed_mb, o->read_gbps);
    fwrite(moa_buf_str(&b), 1, b.len, stdout);
    moa_buf_deinit(&b);
}

static void print_text(const speed *o, const char *model) {
    printf("%s  %s  %d threads  %s\n", model, o->type, o->threads, o->isa);
    if (o->prefill) printf("  prefill        %10.1f tokens/s   (%d tokens)\n", o->prefill_tps, o->prompt);
    if (o->decode) printf("  decode         %10.1f tokens/s   (after %d tokens)\n  batched decode over that prefix\n", o->tps[0], o->shared);
    for (int i = 0; i < o->n_batch; i++)
        printf("    n = %-2d       %10.1f tokens/s   a step costs %.2f of one\n", batch_n[i], o->tps[i], o->cost[i]);
    if (o->mix)
        printf("  self-moa       %10.3f s for %d drafts and the merge, one reply %.3f s: %.2f times (drafts alone %.2f)\n", o->mixed_s, SAMPLES,
               o->single_s, o->mixed_s / o->single_s, o->samples_s / o->single_s);
    if (o->mix)
        printf("  of it             drafts %.3f s (%.0f tokens each; the reply alone has %.0f), reading them %.3f s (%.0f tokens, %.0f known before), the merge %.3f s (%.0f)\n",
               o->samples_s, o->sample_tokens, o->reply_tokens, o->read_s, o->prompt_tokens, o->reused_tokens, o->mixed_s - o->samples_s - o->read_s, o->merge_tokens);
    if (o->mix)
        printf("  guesses        %10.0f %% of %lld came true; without them self-moa %.3f s (%.2f times as long), one reply %.3f s (%.2f)\n",
               o->drafted ? 100.0 * (double)o->accepted / (double)o->drafted : 0, (long long)o->drafted, o->mixed_plain_s, o->mixed_plain_s / o->mixed_s,
               o->single_plain_s, o->single_plain_s / o->single_s);
    printf("  memory         %10.1f MB at most: model %.1f MB, packed weights %.1f MB, KV %.1f MB\n", o->peak_rss_mb, o->model_mb, o->packed_mb, o->kv_mb);
    printf("  machine reads  %10.2f GB/s\n", o->read_gbps);
}

/* "prefill:2048,decode" to what is measured; a part's number goes to *at. */
static int parse_parts(speed *o, const char *arg, int n_ctx, moa_err *err) {
    const struct { const char *name; bool *on; int *at; } part[] = {
        {"prefill", &o->prefill, &o->prompt}, {"decode", &o->decode, &o->shared}, {"mix", &o->mix, &o->reply}};
    o->prefill = o->decode = o->mix = !arg;
    for (const char *p = arg; p && *p;) {
        const size_t len = strcspn(p, ",:");
        bool known = false;
        for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
            if (strlen(part[i].name) != len || memcmp(part[i].name, p, len)) continue;
            known = *part[i].on = true;
            if (p[len] != ':') continue;
            char *end;
            const long n = strtol(p + len + 1, &end, 10);
            if (n < 1 || n >= n_ctx || (*end && *end != ','))
                return moa_fail(err, MOA_EUSAGE, "'%s': expected a number of tokens, 1 to %d (the model's context less one)", p, n_ctx - 1);
            *part[i].at = (int)n;
        }
        if (!known) {
            moa_fail(err, MOA_EUSAGE, "'%.*s' is not measured", (int)len, p);
            return moa_hint(err, MOA_EUSAGE, "parts: prefill[:N],decode[:N],mix[:N]");
        }
        p += strcspn(p, ",");
        p += *p == ',';
    }
    return 0;
}

static int measure(speed *o, moa_backend *be, const moa_bench_opt *opt, const char *path, moa_err *err) {
    moa_session *s = moa_generator_session(moa_backend_local_generator(be));
    const moa_model *m = moa_session_model(s);
    const int runs = opt->runs ? opt->runs : 5, usual = m->h.n_ctx / 2 < 512 ? m->h.n_ctx / 2 : 512;
    const moa_kernels *k;
    o->prompt = o->shared = usual, o->reply = 96;
    MOA_TRY(parse_parts(o, opt->arg, m->h.n_ctx, err));
    MOA_TRY(moa_kernels_default(&k, err));
    if (usual < 1) return moa_fail(err, MOA_EUNSUPPORTED, "a context of %d tokens is too short to measure", m->h.n_ctx);
    if (o->prefill || o->decode) MOA_TRY(measure_session(o, m, opt, runs, err));
    if (o->mix) MOA_TRY(measure_mix(o, be, runs, err));
    struct rusage u;
    struct stat st;
    getrusage(RUSAGE_SELF, &u);
    o->peak_rss_mb = (double)u.ru_maxrss / 1000 * 1.024;
    o->model_mb = stat(path, &st) == 0 ? (double)st.st_size / 1e6 : 0;
    const double kv = (double)moa_session_kv_bytes(s) / 1e6; /* the two sessions are filled one after the other */
    if (kv > o->kv_mb) o->kv_mb = kv;
    o->type = weight_type(m);
    o->isa = moa_isa_name(k->isa);
    o->read_gbps = moa_machine_read_now(o->threads, runs) * 1e-9;
    return 0;
}

static int run(const moa_bench_opt *opt, moa_err *err) {
    char path[4096];
    moa_backend *be;
    speed o = {.threads = opt->threads ? opt->threads : moa_cpu_threads()};
    MOA_TRY(moa_bench_open(&be, path, opt, err));
    const int rc = measure(&o, be, opt, path, err);
    if (rc >= 0) (opt->json ? print_json : print_text)(&o, be->id);
    moa_backend_close(be);
    return rc;
}

const moa_bench moa_bench_speed = {
    .name = "speed", .help = "prefill, decode, batched decode, a self-moa answer; memory", .run = run};
