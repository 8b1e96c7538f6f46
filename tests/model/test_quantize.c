/* test_quantize.c - files of other types: which weight gets which, how far the model is from its source, importance;
 * perplexity and KL divergence against plain sums; the collection of importance, with experts that a text never chooses.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/collect.h"
#include "model/perplexity.h"
#include "model/quantize.h"
#include "model/support.h"

#include <signal.h>
#include <sys/resource.h>

static char source[256], words[256]; /* a dense model with a tokenizer; the file of the tokenizer */
static const char text[] = "Tom has 12 apples. He buys 9 more and gives 4 to Anna. How many apples does Tom have now? Tom has 12 + 9 - 4 = 17 "
                           "apples. Answer: 17\nAnna has 5 boxes with 8 pens each. She loses 3 pens. How many pens are left? 5 x 8 = 40, and "
                           "40 - 3 = 37. Answer: 37\nA train goes 60 miles an hour for 3 hours. How far does it go? 60 x 3 = 180. Answer: 180";

static moa_hparams hparams(void) {
    return (moa_hparams){.n_vocab = 384, .n_ctx = 512, .d_model = 256, .n_layer = 8, .n_head = 4, .n_kv = 2, .head_dim = 64, .d_ff = 256};
}

static void write_model(const char *path, moa_hparams h, void (*change)(moa_model *m)) {
    moa_err err = {0};
    moa_gguf *meta = NULL;
    OK(moa_gguf_open(&meta, words, &err));
    moa_model *m = tiny_model(h, meta, 5);
    if (change) change(m);
    OK(moa_model_save(m, path, MOA_F32, NULL, &err));
    moa_model_close(m);
    moa_gguf_close(meta);
}

/* Large weights make a random model chaotic: the least error grows from layer to layer as it does in no trained one. */
static void calm(moa_model *m) { grow_weights(m, 0.4f); }

/* A tokenizer of single bytes: what is measured must not depend on what else the tree holds. */
static void write_words(void) {
    static const char *const special[] = {"<|endoftext|>"}, *const texts[] = {text};
    static const size_t len[] = {sizeof text - 1};
    const moa_bpe_train cfg = {.n_vocab = 257, .pre = "moa", .special = special, .n_special = 1, .bos = -1, .eos = 0, .pad = -1};
    moa_err err = {0};
    temp_path(words, sizeof words, "words.gguf");
    moa_gguf_out *o = moa_gguf_out_new();
    OK(moa_bpe_train_run(o, &cfg, texts, len, 1, &err));
    OK(moa_gguf_write(o, words, &err));
    moa_gguf_out_free(o);
}

static int setup(void **state) {
    (void)state;
    write_words();
    temp_path(source, sizeof source, "source.gguf");
    write_model(source, hparams(), calm);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    unlink(source), unlink(words);
    return 0;
}

/* ---- which type ---- */

static moa_dtype type_of(const char *scheme, const char *name, int64_t rows, int64_t cols, bool tied, bool experts) {
    moa_tensor t = {.dtype = MOA_F16, .n_dim = rows > 1 ? 2 : 1, .shape = {rows > 1 ? rows : cols, cols, 1, 1}, .name = name};
    return moa_scheme_type(moa_scheme_find(scheme), &t, 32, tied, experts, NULL);
}

static void schemes(void **state) {
    (void)state;
    static const struct { const char *scheme, *name; int64_t rows, cols; bool tied, experts; moa_dtype type; } want[] = {
        {"Q4_K_M", "blk.0.attn_q.weight", 64, 256, false, false, MOA_Q4_K},
        {"Q4_K_M", "blk.3.attn_v.weight", 64, 256, false, false, MOA_Q6_K},   /* the first eighth */
        {"Q4_K_M", "blk.4.attn_v.weight", 64, 256, false, false, MOA_Q4_K},
        {"Q4_K_M", "blk.6.attn_v.weight", 64, 256, false, false, MOA_Q6_K},   /* every third */
        {"Q4_K_M", "blk.28.ffn_down.weight", 64, 256, false, false, MOA_Q6_K}, /* the last eighth */
        {"q4_k_m", "blk.28.ffn_down_exps.weight", 64, 256, false, true, MOA_Q6_K},
        {"Q4_K_M", "blk.4.attn_v.weight", 64, 256, false, true, MOA_Q8_0},    /* with experts */
        {"Q4_K_M", "output.weight", 64, 256, false, false, MOA_Q6_K},
        {"Q4_K_M", "token_embd.weight", 64, 256, false, false, MOA_Q4_K},
        {"Q4_K_M", "token_embd.weight", 64, 256, true, false, MOA_Q6_K},      /* it is the output */
        {"Q4_K_M", "blk.0.ffn_gate_inp.weight", 64, 256, false, true, MOA_F16}, /* routers and vectors stay */
        {"Q4_K_M", "blk.0.attn_norm.weight", 1, 256, false, false, MOA_F16},
        {"Q4_K_M", "blk.0.attn_q.bias", 1, 256, false, false, MOA_F16},
        {"Q4_K_M", "blk.0.attn_q.weight", 64, 96, false, false, MOA_Q5_0},    /* 256 does not divide 96 */
        {"Q4_K_M", "output.weight", 64, 96, false, false, MOA_Q8_0},
        {"Q4_K_M", "blk.0.attn_q.weight", 64, 100, false, false, MOA_F16},    /* nor does 32 divide 100 */
        {"Q5_K_M", "blk.0.attn_q.weight", 64, 96, false, false, MOA_Q5_1},
        {"IQ4_XS", "blk.0.attn_q.weight", 64, 96, false, false, MOA_IQ4_NL},
        {"Q4_K_S", "blk.3.ffn_down.weight", 64, 256, false, false, MOA_Q5_K},
        {"Q4_K_S", "blk.4.ffn_down.weight", 64, 256, false, false, MOA_Q4_K},
        {"Q4_0", "blk.9.attn_v.weight", 64, 256, false, false, MOA_Q4_0},
        {"Q4_K", "output.weight", 64, 256, false, false, MOA_Q4_K},           /* plain: the same everywhere */
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        const moa_dtype got = type_of(want[i].scheme, want[i].name, want[i].rows, want[i].cols, want[i].tied, want[i].experts);
        if (got != want[i].type)
            fail_msg("%s %s: %s, expected %s", want[i].scheme, want[i].name, moa_type_get(got)->name, moa_type_get(want[i].type)->name);
    }
    int half = 0, n;
    char name[64];
    for (int i = 0; i < 32; i++) {
        snprintf(name, sizeof name, "blk.%d.ffn_down.weight", i);
        half += type_of("Q5_K_M", name, 64, 256, false, false) == MOA_Q6_K;
    }
    assert_int_equal(half, 16);
    const moa_scheme *s = moa_schemes(&n);
    for (int i = 0; i < n; i++) {
        assert_ptr_equal(moa_scheme_find(s[i].name), &s[i]);
        assert_non_null(moa_type_get(s[i].type)->quantize);
        for (const moa_scheme_rule *r = s[i].rule; r->piece; r++) assert_non_null(moa_type_get(r->type)->quantize);
    }
    assert_null(moa_scheme_find("Q9_K"));
}

/* ---- distance from the source ---- */

static moa_ppl distance(const char *path, const char *from) {
    moa_model *m = NULL, *ref = NULL;
    moa_err err = {0};
    moa_ppl p;
    OK(moa_model_open(&m, path, &err));
    OK(moa_model_open(&ref, from, &err));
    const moa_ppl_cfg cfg = {.n_ctx = 64, .n_threads = 1, .exact = true};
    OK(moa_perplexity(&p, m, ref, text, sizeof text - 1, &cfg, &err));
    moa_model_close(m), moa_model_close(ref);
    return p;
}

/* Mean KL divergence in nats, at most a third above what was found (the same to six digits with the kernels of each instruction set); more
 * bits are closer. */
static void every_scheme_stays_close(void **state) {
    (void)state;
    static const struct { const char *name; double kl; } bound[] = {
        {"F32", 0},         {"F16", 1e-6},      {"BF16", 3e-5},    {"Q8_0", 1.4e-4}, {"Q6_K", 0.0017},  {"Q5_K_S", 0.0043},
        {"Q5_K_M", 0.0033}, {"Q4_K_S", 0.0147}, {"Q4_K_M", 0.0122}, {"IQ4_NL", 0.0118}, {"IQ4_XS", 0.0117}, {"Q4_0", 0.02},
    };
    enum { Q5_S = 5, Q5_M, Q4_S, Q4_M, NL, XS, Q4_0 };
    double kl[sizeof bound / sizeof *bound];
    char out[256];
    temp_path(out, sizeof out, "quantised.gguf");
    for (size_t i = 0; i < sizeof bound / sizeof *bound; i++) {
        moa_gguf *g = NULL;
        moa_err err = {0};
        uint32_t type;
        const moa_quantize_cfg cfg = {.scheme = moa_scheme_find(bound[i].name)};
        OK(moa_gguf_open(&g, source, &err));
        OK(moa_quantize_file(g, out, &cfg, &err));
        moa_gguf_close(g);
        OK(moa_gguf_open(&g, out, &err));
        OK(moa_gguf_need_u32(&type, g, "general.file_type", &err));
        assert_int_equal(type, cfg.scheme->file_type);
        assert_int_equal(moa_gguf_tensor(g, "blk.5.attn_q.weight")->dtype, cfg.scheme->type);
        assert_int_equal(moa_gguf_tensor(g, "output_norm.weight")->dtype, MOA_F32);
        moa_gguf_close(g);
        const moa_ppl p = distance(out, source);
        printf("%-6s KL %.6f, median %.6f, 99 %% %.6f, perplexity %.3f -> %.3f, same best token %.1f %%\n", bound[i].name, p.kl, p.kl_median,
               p.kl_99, exp(p.ref_nll), exp(p.nll), 100 * p.same_top);
        assert_true(p.kl >= 0 && p.kl <= bound[i].kl);
        assert_true(p.kl_median <= p.kl_99 && p.kl_99 <= p.kl_max);
        if (i == 0) assert_true(p.same_top == 1 && p.nll == p.ref_nll);
        else assert_true(p.kl > 0);
        kl[i] = p.kl;
    }
    assert_true(kl[Q5_M] < kl[Q5_S] && kl[Q5_S] < kl[Q4_M] && kl[Q4_M] < kl[Q4_S] && kl[Q4_S] < kl[Q4_0] && kl[NL] < kl[Q4_0] && kl[XS] < kl[Q4_0]);
    unlink(out);
}

/* ---- perplexity ---- */

/* One chunk by hand. */
static void perplexity_by_hand(void **state) {
    (void)state;
    moa_model *m = NULL;
    moa_err err = {0};
    moa_ppl p;
    enum { N = 48 };
    OK(moa_model_open(&m, source, &err));
    const moa_ppl_cfg cfg = {.n_ctx = N, .max_chunks = 1, .n_threads = 1, .exact = true};
    OK(moa_perplexity(&p, m, NULL, text, sizeof text - 1, &cfg, &err));
    moa_chunks c;
    int32_t tok[N];
    OK(moa_chunks_make(&c, m, text, sizeof text - 1, N, 1, &err));
    assert_int_equal(moa_chunk_tokens(tok, &c, 0), N);
    moa_session_cfg sc = moa_session_defaults();
    sc.exact = true;
    float *l = logits_of(m, tok, N, 7, sc);
    double sum = 0;
    for (int i = N / 2; i < N - 1; i++) {
        double z = 0;
        for (int v = 0; v < m->h.n_vocab; v++) z += exp((double)l[i * m->h.n_vocab + v]);
        sum += log(z) - (double)l[i * m->h.n_vocab + tok[i + 1]];
    }
    assert_int_equal(p.n, N / 2 - 1);
    assert_true(fabs(p.nll - sum / (N / 2 - 1)) < 1e-9);
    assert_true(!p.against && p.kl == 0);
    moa_ids_deinit(&c.ids);
    free(l);
    moa_model_close(m);
}

static void perplexity_refuses(void **state) {
    (void)state;
    moa_model *m = NULL, *other = NULL;
    moa_err err = {0};
    moa_ppl p;
    moa_ppl_cfg cfg = {.n_ctx = 64};
    OK(moa_model_open(&m, source, &err));
    assert_int_equal(moa_perplexity(&p, m, NULL, "Hi", 2, &cfg, &err), MOA_EINVAL);
    assert_non_null(strstr(err.text, "tokens, at least"));
    cfg.n_ctx = 1024;
    assert_int_equal(moa_perplexity(&p, m, NULL, text, sizeof text - 1, &cfg, &err), MOA_EINVAL);
    assert_non_null(strstr(err.text, "the model reads 512"));
    cfg.n_ctx = 64;
    moa_hparams h = hparams();
    h.n_vocab = 400, h.n_layer = 1;
    char path[256];
    temp_path(path, sizeof path, "other.gguf");
    write_model(path, h, NULL);
    OK(moa_model_open(&other, path, &err));
    assert_int_equal(moa_perplexity(&p, m, other, text, sizeof text - 1, &cfg, &err), MOA_EINVAL);
    assert_non_null(strstr(err.text, "384 and 400"));
    moa_model_close(m), moa_model_close(other);
    unlink(path);
}

/* ---- importance ---- */

enum { N_EXPERT = 6, STARVED = 2 };

/* Experts from 3 on have the router of expert 0: the first two of equals are chosen at most, so 4 and 5 never are. */
static void starve(moa_model *m) {
    for (int i = 0; i < m->h.n_layer; i++) {
        float *w = m->layer[i].router.w->data;
        for (int e = 3; e < N_EXPERT; e++) memcpy(w + e * m->h.d_model, w, (size_t)m->h.d_model * sizeof *w);
    }
}

typedef struct told { int n_named, given_up, stop_after; bool stop_forced; } told;
static bool on_event(void *ctx, const moa_collect_event *e) {
    told *t = ctx;
    if (e->name && e->given_up) t->given_up++;
    else if (e->name) {
        assert_true(e->forcing && e->expert >= N_EXPERT - STARVED && e->n_starved == 2 * STARVED);
        t->n_named++;
    }
    if (t->stop_forced) return !e->forcing || e->name;
    return !t->stop_after || e->name || e->chunk < t->stop_after;
}

static moa_imatrix *collect(const char *model, const char *path, moa_imatrix *im, told *t, int want) {
    moa_model *m = NULL;
    moa_err err = {0};
    OK(moa_model_open(&m, model, &err));
    const moa_collect_cfg cfg = {.path = path, .text_name = "text", .n_ctx = 32, .n_threads = 1, .save_every = 100, .event = on_event, .ctx = t};
    if (!im) im = moa_imatrix_new();
    const int rc = moa_collect(im, m, text, sizeof text - 1, &cfg, &err);
    if (rc != want) fail_msg("collect: %d %s", rc, err.text);
    moa_model_close(m);
    return im;
}

static void collects_experts(void **state) {
    (void)state;
    char model[256], path[256], name[64];
    moa_err err = {0};
    told t = {0};
    moa_hparams h = hparams();
    h.n_layer = 2, h.d_model = 64, h.head_dim = 16, h.n_expert = N_EXPERT, h.n_expert_used = 2, h.d_expert = 32, h.gate_norm = MOA_GATE_SOFTMAX_RENORM;
    temp_path(model, sizeof model, "moe.gguf"), temp_path(path, sizeof path, "moe.imatrix.gguf");
    write_model(model, h, starve);
    moa_imatrix *a = collect(model, path, NULL, &t, 0);
    assert_int_equal(t.n_named, 2 * STARVED);
    assert_int_equal(t.given_up, 0);
    for (int l = 0; l < 2; l++) {
        static const char *const part[] = {"gate", "up", "down"};
        for (int k = 0; k < 3; k++) {
            snprintf(name, sizeof name, "blk.%d.ffn_%s_exps.weight", l, part[k]);
            const moa_imatrix_entry *e = moa_imatrix_find(a, name);
            double chosen = 0;
            assert_non_null(e);
            assert_true(e->n_mat == N_EXPERT && e->n_in == (k == 2 ? 32 : 64));
            for (int x = 0; x < N_EXPERT; x++) {
                double sum = 0;
                for (int64_t j = 0; j < e->n_in; j++) sum += e->sum[x * e->n_in + j];
                assert_true(e->count[x] > 0 && sum > 0);
                if (x < N_EXPERT - STARVED) chosen += e->count[x];
            }
            assert_true(chosen == 2.0 * a->chunks * 32); /* two a token: forcing has added nothing to these */
        }
    }
    /* Killed and continued: the same numbers, but for the rounding to f32 in the file. */
    told stop = {.stop_after = 2}, go_on = {0};
    moa_imatrix *b = collect(model, path, NULL, &stop, MOA_ECANCELED);
    moa_imatrix_free(b);
    b = NULL;
    OK(moa_imatrix_read(&b, path, &err));
    assert_int_equal(b->chunks, 2);
    b = collect(model, path, b, &go_on, 0);
    assert_int_equal(a->n_entry, b->n_entry);
    for (int i = 0; i < a->n_entry; i++) {
        assert_string_equal(a->entry[i].name, b->entry[i].name);
        for (int64_t j = 0; j < a->entry[i].n_in * a->entry[i].n_mat; j++)
            assert_true(fabs(a->entry[i].sum[j] - b->entry[i].sum[j]) <= 1e-5 * (1e-6 + a->entry[i].sum[j]));
    }
    /* Stopped while experts are forced: all that the text gave is kept, and the rest is made up for. */
    told forced = {.stop_forced = true}, rest = {0};
    moa_imatrix *f = collect(model, path, NULL, &forced, MOA_ECANCELED);
    moa_imatrix_free(f);
    f = NULL;
    OK(moa_imatrix_read(&f, path, &err));
    assert_int_equal(f->chunks, a->chunks);
    f = collect(model, path, f, &rest, 0);
    assert_true(rest.n_named < 2 * STARVED); /* the one chunk that was forced has reached some */
    assert_int_equal(rest.given_up, 0);
    moa_imatrix_free(f);
    /* Not with another text. */
    moa_model *m = NULL;
    OK(moa_model_open(&m, model, &err));
    const moa_collect_cfg cfg = {.path = path, .n_ctx = 32};
    assert_int_equal(moa_collect(b, m, text, sizeof text - 9, &cfg, &err), MOA_EINVAL);
    assert_non_null(strstr(err.text, "another text"));
    moa_model_close(m);
    moa_imatrix_free(a), moa_imatrix_free(b);
    unlink(model), unlink(path);
}

/* The inputs of the first layer's attn_q are RMS norms of embeddings: they can be worked out. */
static void collects_what_is_there(void **state) {
    (void)state;
    char path[256];
    moa_err err = {0};
    told t = {0};
    temp_path(path, sizeof path, "dense.imatrix.gguf");
    moa_imatrix *im = collect(source, path, NULL, &t, 0);
    moa_model *m = NULL;
    OK(moa_model_open(&m, source, &err));
    moa_chunks c;
    int32_t tok[32];
    double want[256] = {0};
    OK(moa_chunks_make(&c, m, text, sizeof text - 1, 32, 0, &err));
    for (int k = 0; k < c.n_chunk; k++) {
        moa_chunk_tokens(tok, &c, k);
        for (int i = 0; i < 32; i++) {
            const float *x = (const float *)m->tok_embd->data + (int64_t)tok[i] * 256;
            double ss = 0;
            for (int j = 0; j < 256; j++) ss += (double)x[j] * (double)x[j];
            for (int j = 0; j < 256; j++) want[j] += (double)x[j] * (double)x[j] / (ss / 256 + (double)m->h.norm_eps);
        }
    }
    const moa_imatrix_entry *q = moa_imatrix_find(im, "blk.0.attn_q.weight");
    assert_non_null(q);
    assert_true(q->count[0] == 32.0 * c.n_chunk);
    for (int j = 0; j < 256; j++) assert_true(fabs(q->sum[j] - want[j]) <= 1e-4 * want[j]);
    assert_non_null(moa_imatrix_find(im, "output.weight"));
    moa_ids_deinit(&c.ids);
    moa_model_close(m);
    moa_imatrix_free(im);
    unlink(path);
}

/* Weighted error of a tensor of a file against its source. */
static double weighted_error(const char *from, const char *path, const char *name, const float *weight) {
    moa_gguf *a = NULL, *b = NULL;
    moa_err err = {0};
    OK(moa_gguf_open(&a, from, &err));
    OK(moa_gguf_open(&b, path, &err));
    const moa_tensor *x = moa_gguf_tensor(a, name), *y = moa_gguf_tensor(b, name);
    const int64_t n = moa_tensor_count(x), cols = moa_cols(x);
    float *q = malloc((size_t)n * sizeof *q);
    moa_type_get(y->dtype)->dequantize(q, y->data, n);
    double e = 0;
    for (int64_t i = 0; i < n; i++) {
        const double d = (double)((const float *)x->data)[i] - (double)q[i];
        e += (double)weight[i % cols] * d * d;
    }
    free(q);
    moa_gguf_close(a), moa_gguf_close(b);
    return e;
}

static int unweighted;
static bool count_unweighted(void *ctx, const moa_quantize_event *e) {
    (void)ctx;
    unweighted += e->no_importance;
    return true;
}

static void importance_is_used(void **state) {
    (void)state;
    char small[256], plain[256], weighted[256];
    moa_err err = {0};
    float mean[256];
    moa_hparams h = hparams();
    h.n_layer = 1;
    moa_imatrix *im = moa_imatrix_new();
    moa_imatrix_entry *e = moa_imatrix_add(im, "blk.0.attn_q.weight", 1, 256);
    for (int j = 0; j < 256; j++) e->sum[j] = j % 9 == 0 ? 100 : 0.1;
    e->count[0] = 1;
    assert_true(moa_imatrix_mean(mean, e, 1, 256, 0));
    temp_path(small, sizeof small, "small.gguf"), temp_path(plain, sizeof plain, "plain.gguf"), temp_path(weighted, sizeof weighted, "weighted.gguf");
    write_model(small, h, calm);
    moa_gguf *g = NULL;
    OK(moa_gguf_open(&g, small, &err));
    static const char *const names[] = {"Q4_K_M", "Q6_K", "IQ4_XS", "IQ4_NL", "Q4_0", "Q5_K_S"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        moa_quantize_cfg cfg = {.scheme = moa_scheme_find(names[i])};
        OK(moa_quantize_file(g, plain, &cfg, &err));
        cfg.imatrix = im, cfg.event = count_unweighted, unweighted = 0;
        OK(moa_quantize_file(g, weighted, &cfg, &err));
        assert_int_equal(unweighted, 1 + 7 - 1 + 1); /* embedding, output, all matrices but one */
        const double with = weighted_error(small, weighted, "blk.0.attn_q.weight", mean);
        const double without = weighted_error(small, plain, "blk.0.attn_q.weight", mean);
        if (with >= without) printf("%s: %g with importance, %g without\n", names[i], with, without);
        assert_true(with < 0.9 * without);
        assert_true(weighted_error(small, weighted, "blk.0.attn_k.weight", mean) == weighted_error(small, plain, "blk.0.attn_k.weight", mean));
    }
    moa_imatrix_add(im, "blk.0.attn_k.weight", 1, 128)->count[0] = 1; /* of another model */
    const moa_quantize_cfg cfg = {.scheme = moa_scheme_find("Q4_K_M"), .imatrix = im};
    unlink(plain);
    assert_int_equal(moa_quantize_file(g, plain, &cfg, &err), MOA_EFORMAT);
    assert_non_null(strstr(err.text, "'blk.0.attn_k.weight' is for 1 x 128"));
    assert_int_not_equal(access(plain, F_OK), 0); /* nothing was left */
    moa_gguf_close(g);
    moa_imatrix_free(im);
    unlink(weighted), unlink(small);
}

/* The file does not depend on the threads; a disk that is full ends the work at once, not after it. */
static int events;
static bool count_events(void *ctx, const moa_quantize_event *e) { return (void)ctx, (void)e, ++events; }

static void threads_and_room(void **state) {
    (void)state;
    char out[2][256];
    char *bytes[2];
    size_t n[2];
    moa_gguf *g = NULL;
    moa_err err = {0};
    struct rlimit old, low;
    OK(moa_gguf_open(&g, source, &err));
    for (int i = 0; i < 2; i++) {
        const moa_quantize_cfg cfg = {.scheme = moa_scheme_find("Q4_K_M"), .n_threads = 1 + 2 * i};
        temp_path(out[i], sizeof out[i], i ? "three-threads.gguf" : "one-thread.gguf");
        OK(moa_quantize_file(g, out[i], &cfg, &err));
        OK(moa_read_file(&bytes[i], &n[i], out[i], 64 << 20, &err));
        unlink(out[i]);
    }
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(bytes[0], bytes[1], n[0]);
    free(bytes[0]), free(bytes[1]);
    const moa_quantize_cfg cfg = {.scheme = moa_scheme_find("F32"), .event = count_events};
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    low = (struct rlimit){(rlim_t)n[0] / 4, old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    const int rc = moa_quantize_file(g, out[0], &cfg, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, before);
    assert_int_equal(rc, MOA_EIO);
    assert_non_null(strstr(err.text, out[0]));
    assert_non_null(strstr(err.hint, "make room"));
    assert_true(events > 0 && events < moa_gguf_n_tensor(g));
    assert_int_not_equal(access(out[0], F_OK), 0);
    moa_gguf_close(g);
}

static bool stop_at_3(void *ctx, const moa_quantize_event *e) {
    (void)ctx;
    return e->i < 3;
}
static void stops_and_leaves_nothing(void **state) {
    (void)state;
    char out[256];
    moa_gguf *g = NULL;
    moa_err err = {0};
    temp_path(out, sizeof out, "stopped.gguf");
    OK(moa_gguf_open(&g, source, &err));
    const moa_quantize_cfg cfg = {.scheme = moa_scheme_find("Q8_0"), .event = stop_at_3};
    assert_int_equal(moa_quantize_file(g, out, &cfg, &err), MOA_ECANCELED);
    assert_int_not_equal(access(out, F_OK), 0);
    moa_gguf_close(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schemes),          cmocka_unit_test(every_scheme_stays_close), cmocka_unit_test(stops_and_leaves_nothing),
        cmocka_unit_test(perplexity_by_hand), cmocka_unit_test(perplexity_refuses),     cmocka_unit_test(collects_experts),
        cmocka_unit_test(collects_what_is_there), cmocka_unit_test(importance_is_used),       cmocka_unit_test(threads_and_room),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
