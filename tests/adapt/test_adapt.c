/* test_adapt.c - adapters against merged weights of an independent implementation (lora_make.py, numpy; skipped without it), sets,
 * independence of batch and threads, KV of different sets, both forms written and read back, and what is broken is named.
 * SPDX-License-Identifier: Apache-2.0 */
#include "adapt/adapt.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/rng.h"
#include "model/generate.h"
#include "support/safetensors.h"
#include "support/scratch.h"

#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void ok(int rc, const moa_err *err) {
    if (rc < 0) fail_msg("%s", err->text);
}

/* ---- logits ---- */

typedef struct how { int batch, threads; bool exact; } how;

/* [n][n_vocab]; free it. */
static float *logits(const moa_model *m, const moa_sites *sites, const int32_t *ids, int n, how h) {
    moa_err err = {0};
    moa_session *s;
    moa_session_cfg cfg = moa_session_defaults();
    cfg.exact = h.exact, cfg.n_threads = h.threads, cfg.n_ctx = 128, cfg.n_seq = 1;
    ok(moa_session_new(&s, m, &cfg, &err), &err);
    ok(moa_session_adapt(s, sites, &err), &err);
    const int seq = moa_seq_new(s, &err), v = m->h.n_vocab;
    float *out = malloc((size_t)(n * v) * sizeof *out);
    assert_non_null(out);
    for (int at = 0; at < n; at += h.batch) {
        moa_row row[64];
        const int k = n - at < h.batch ? n - at : h.batch;
        for (int i = 0; i < k; i++) row[i] = (moa_row){seq, ids[at + i], true};
        ok(moa_session_step(s, row, k, &err), &err);
        for (int i = 0; i < k; i++) memcpy(out + (at + i) * v, moa_session_logits(s, i), (size_t)v * sizeof *out);
    }
    moa_session_free(s);
    return out;
}

static void compare(const char *name, const float *got, const float *want, int n, double tol) {
    double worst = 0, top = 1;
    for (int i = 0; i < n; i++) {
        top = fmax(top, fabs((double)want[i]));
        worst = fmax(worst, fabs((double)got[i] - (double)want[i]));
    }
    if (!(worst <= tol * top)) fail_msg("%s: logits differ by %g, the largest is %g", name, worst, top);
}

static void *read_all(const char *path) {
    char *p;
    size_t n;
    moa_err err = {0};
    ok(moa_read_file(&p, &n, path, 64 << 20, &err), &err);
    return p;
}

/* ---- merged weights ---- */

static bool made;
static void make_cases(void) {
    if (!made) run_numpy("tests/adapt/lora_make.py '%s'", scratch_dir());
    made = true;
}

typedef struct loaded { moa_model *m; moa_adapter *a; moa_adapter_set *set; } loaded;

static loaded load(const char *model, const char *adapter, float scale) {
    loaded l;
    moa_err err = {0};
    ok(moa_model_open(&l.m, scratch_path(model, ".gguf"), &err), &err);
    ok(moa_adapter_open(&l.a, scratch_path(adapter, ""), &err), &err);
    ok(moa_adapter_set_new(&l.set, l.m, &(moa_adapter_use){l.a, scale}, 1, 2, &err), &err);
    return l;
}

static void unload(loaded *l) {
    moa_adapter_set_free(l->set);
    moa_adapter_close(l->a);
    moa_model_close(l->m);
}

static void test_merged(void **state) {
    (void)state;
    char name[64];
    int n, v, cases = 0;
    make_cases();
    FILE *f = fopen(scratch_path("cases", ".txt"), "r");
    assert_non_null(f);
    while (fscanf(f, "%63s %d %d", name, &n, &v) == 3) {
        loaded l = load(name, name, 1);
        int32_t *ids = read_all(scratch_path(name, ".ids"));
        float *want = read_all(scratch_path(name, ".want")), *got = logits(l.m, moa_adapter_set_sites(l.set), ids, n, (how){16, 2, true});
        float *base = logits(l.m, NULL, ids, n, (how){16, 2, true});
        assert_int_equal(l.m->h.n_vocab, v);
        compare(name, got, want, n * v, 1e-4);
        assert_memory_not_equal(got, base, (size_t)(n * v) * sizeof *got);
        free(ids), free(want), free(got), free(base);
        unload(&l);
        cases++;
    }
    fclose(f);
    assert_int_equal(cases, 23);
}

/* ---- batches, threads ---- */

static void test_bits(void **state) {
    (void)state;
    static const char *const names[] = {"dora", "mixtral", "embedding", "q8", "whole"};
    make_cases();
    for (size_t c = 0; c < 5; c++) {
        loaded l = load(names[c], names[c], 0.7f);
        int32_t *ids = read_all(scratch_path(names[c], ".ids"));
        const size_t bytes = (size_t)(40 * l.m->h.n_vocab) * sizeof(float);
        for (int exact = 0; exact < 2; exact++) {
            float *want = logits(l.m, moa_adapter_set_sites(l.set), ids, 40, (how){40, 1, exact});
            static const how other[] = {{1, 1, 0}, {7, 2, 0}, {40, 3, 0}};
            for (size_t i = 0; i < 3; i++) {
                float *got = logits(l.m, moa_adapter_set_sites(l.set), ids, 40, (how){other[i].batch, other[i].threads, exact});
                assert_memory_equal(got, want, bytes);
                free(got);
            }
            free(want);
        }
        free(ids);
        unload(&l);
    }
}

/* ---- several, scales ---- */

static void test_sets(void **state) {
    (void)state;
    moa_err err = {0};
    make_cases();
    loaded l = load("llama", "llama", 1);
    moa_adapter *b;
    moa_adapter_set *two, *half, *none;
    ok(moa_adapter_open(&b, scratch_path("llama", ""), &err), &err);
    ok(moa_adapter_set_new(&two, l.m, (moa_adapter_use[]){{l.a, 0.5f}, {b, 0.5f}}, 2, 1, &err), &err);
    ok(moa_adapter_set_new(&half, l.m, &(moa_adapter_use){l.a, 0.5f}, 1, 1, &err), &err);
    ok(moa_adapter_set_new(&none, l.m, &(moa_adapter_use){l.a, 0}, 1, 1, &err), &err);
    int32_t *ids = read_all(scratch_path("llama", ".ids"));
    const int n = 40 * l.m->h.n_vocab;
    const how h = {40, 1, true};
    float *one = logits(l.m, moa_adapter_set_sites(l.set), ids, 40, h), *sum = logits(l.m, moa_adapter_set_sites(two), ids, 40, h);
    float *weak = logits(l.m, moa_adapter_set_sites(half), ids, 40, h), *zero = logits(l.m, moa_adapter_set_sites(none), ids, 40, h);
    float *base = logits(l.m, NULL, ids, 40, h);
    compare("two halves", sum, one, n, 1e-5);
    assert_memory_equal(zero, base, (size_t)n * sizeof *base);
    assert_memory_not_equal(weak, one, (size_t)n * sizeof *base);
    assert_true(moa_adapter_set_sites(two)->key != moa_adapter_set_sites(l.set)->key);
    assert_true(moa_adapter_set_sites(half)->key != moa_adapter_set_sites(l.set)->key);
    free(one), free(sum), free(weak), free(zero), free(base), free(ids);
    moa_adapter_set_free(two), moa_adapter_set_free(half), moa_adapter_set_free(none);
    moa_adapter_close(b);
    unload(&l);
}

/* What stands in for the base's can do so once; an adapter that is off replaces nothing. */
static void test_replaced_once(void **state) {
    (void)state;
    moa_err err = {0};
    make_cases();
    loaded l = load("whole", "whole", 1);
    moa_adapter_set *set;
    assert_int_equal(l.a->n_whole, 6);
    assert_int_equal(moa_adapter_set_new(&set, l.m, (moa_adapter_use[]){{l.a, 1}, {l.a, 1}}, 2, 1, &err), MOA_EINVAL);
    assert_non_null(strstr(err.text, "another adapter replaces"));
    ok(moa_adapter_set_new(&set, l.m, (moa_adapter_use[]){{l.a, 1}, {l.a, 0}}, 2, 1, &err), &err);
    moa_adapter_set_free(set);
    ok(moa_adapter_set_new(&set, l.m, &(moa_adapter_use){l.a, 0}, 1, 1, &err), &err);
    int32_t *ids = read_all(scratch_path("whole", ".ids"));
    const how h = {40, 1, true};
    float *off = logits(l.m, moa_adapter_set_sites(set), ids, 40, h), *base = logits(l.m, NULL, ids, 40, h);
    assert_memory_equal(off, base, (size_t)(40 * l.m->h.n_vocab) * sizeof *base);
    free(off), free(base), free(ids);
    moa_adapter_set_free(set);
    assert_int_equal(moa_adapter_write_gguf(l.a, l.m, scratch_path("whole-out", ".gguf"), &err), MOA_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "GGUF adapters have no place"));
    unload(&l);
}

/* A sequence belongs to the set that it was begun with. */
static void test_sequences(void **state) {
    (void)state;
    moa_err err = {0};
    make_cases();
    loaded l = load("llama", "llama", 1);
    moa_session *s;
    moa_session_cfg cfg = moa_session_defaults();
    cfg.n_ctx = 64, cfg.n_threads = 1;
    ok(moa_session_new(&s, l.m, &cfg, &err), &err);
    const int plain = moa_seq_new(s, &err);
    ok(moa_session_step(s, &(moa_row){plain, 5, true}, 1, &err), &err);
    ok(moa_session_adapt(s, moa_adapter_set_sites(l.set), &err), &err);
    assert_int_equal(moa_session_step(s, &(moa_row){plain, 6, true}, 1, &err), MOA_EINVAL);
    assert_non_null(strstr(err.text, "other adapters"));
    const int tuned = moa_seq_new(s, &err);
    ok(moa_session_step(s, &(moa_row){tuned, 5, true}, 1, &err), &err);
    ok(moa_session_adapt(s, NULL, &err), &err);
    ok(moa_session_step(s, &(moa_row){plain, 6, true}, 1, &err), &err);
    const int copy = moa_seq_fork(s, tuned, 1, &err);
    assert_int_equal(moa_session_step(s, &(moa_row){copy, 6, true}, 1, &err), MOA_EINVAL);
    moa_session_free(s);
    unload(&l);
}

/* ---- what is broken ---- */

static void refused(const char *model, const char *adapter, const char *const *words, int n) {
    moa_model *m;
    moa_adapter *a = NULL;
    moa_adapter_set *set = NULL;
    moa_err err = {0};
    ok(moa_model_open(&m, scratch_path(model, ".gguf"), &err), &err);
    int rc = moa_adapter_open(&a, scratch_path(adapter, ""), &err);
    if (rc >= 0) rc = moa_adapter_set_new(&set, m, &(moa_adapter_use){a, 1}, 1, 1, &err);
    assert_true(rc < 0);
    assert_null(set);
    for (int i = 0; i < n; i++)
        if (!strstr(err.text, words[i])) fail_msg("%s on %s: '%s' does not say '%s'", adapter, model, err.text, words[i]);
    moa_adapter_close(a);
    moa_model_close(m);
}

static void test_wrong_base(void **state) {
    (void)state;
    make_cases();
    refused("mixtral", "qwen2", (const char *[]){"mlp", "no such matrix", "mixtral.gguf"}, 3);
    refused("gemma2", "qwen2", (const char *[]){"self_attn", "[", "gemma2.gguf"}, 3);
    refused("llama", "resized", (const char *[]){"embed_tokens.weight", "[5, 64]", "token_embd.weight", "llama.gguf"}, 4);
    refused("parameters-old", "square", (const char *[]){"down_proj", "[72, 72]", "which of its axes"}, 3);
    refused("parameters", "parameters-old", (const char *[]){"down_proj", "[72, 72]", "[72, 56]", "parameters.gguf"}, 4);
    refused("llama", "whole-qwen2", (const char *[]){"q_proj.bias", "llama.gguf"}, 2);
}

/* Some tensors of one value and a configuration, from memory. */
typedef struct piece { const char *name; int rows, cols; } piece;
static int open_small(moa_adapter **a, const char *config, const piece *p, int n, float value, moa_err *err) {
    test_tensor t[4] = {0};
    moa_buf all;
    moa_buf_init(&all, 1 << 20);
    for (int i = 0; i < n; i++) t[i] = (test_tensor){p[i].name, p[i].rows, p[i].cols, NULL, value};
    test_safetensors(&all, t, n);
    const int rc = moa_adapter_open_peft(a, config, strlen(config), all.data, all.len, "small", err);
    moa_buf_deinit(&all);
    return rc;
}

#define CONFIG(more) "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4,\"target_modules\":[\"q_proj\"]" more "}"
#define PARAMETERS "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":4,\"target_parameters\":[\"down_proj\"]}"
#define X "base_model.model.model.layers.0.mlp.experts."
#define Q "base_model.model.model.layers.0.self_attn.q_proj.lora_"

static void test_broken(void **state) {
    (void)state;
    static const piece good[] = {{Q "A.weight", 2, 8}, {Q "B.weight", 8, 2}};
    static const struct { const char *config; piece p[3]; int n; float value; const char *word[3]; } bad[] = {
        {CONFIG(""), {{Q "A.weight", 2, 8}}, 1, 1, {"q_proj.lora_A", "lora_B", "missing"}},
        {CONFIG(""), {{Q "B.weight", 8, 2}}, 1, 1, {"q_proj.lora_B", "lora_A", "missing"}},
        {CONFIG(""), {{Q "A.weight", 3, 8}, {Q "B.weight", 8, 3}}, 2, 1, {"[3, 8]", "[8, 3]", "2"}},
        {CONFIG(""), {{Q "A.weight", 2, 8}, {Q "B.weight", 8, 2}}, 2, NAN, {"nan", "q_proj", "finite"}},
        {CONFIG(""), {{Q "A.weight", 2, 8}, {Q "B.weight", 8, 2}, {"base_model.model.model.norm.weight", 1, 8}}, 3, 1, {"model.norm", "modules_to_save", "no place"}},
        {CONFIG(""), {{Q "A.weight", 2, 8}, {Q "B.weight", 8, 2}, {"base_model.model.model.norm.bias", 1, 8}}, 3, 1, {"model.norm", "bias", "no place"}},
        {CONFIG(""), {{Q "A.weight", 2, 8}, {Q "B.weight", 8, 2}, {Q "C", 1, 8}}, 3, 1, {"lora_C", "no part", ""}},
        {CONFIG(",\"modules_to_save\":\"norm\""), {{Q "A.weight", 2, 8}, {Q "B.weight", 8, 2}}, 2, 1, {"modules_to_save", "list", ""}},
        {"{\"peft_type\":\"LORA\",\"r\":0,\"lora_alpha\":4,\"target_modules\":[\"q_proj\"]}", {{Q "A.weight", 2, 8}, {Q "B.weight", 8, 2}}, 2, 1, {"r is 0", "1 to", ""}},
        {"{\"peft_type\":\"LORA\",\"r\":2,\"target_modules\":[\"q_proj\"]}", {{Q "A.weight", 2, 8}, {Q "B.weight", 8, 2}}, 2, 1, {"lora_alpha", "missing", ""}},
        {"{\"peft_type\":\"XLORA\",\"r\":2}", {{Q "A.weight", 2, 8}, {Q "B.weight", 8, 2}}, 2, 1, {"XLORA", "LORA", ""}},
        {CONFIG(",\"modules_to_save\":[\"lm_head\"]"), {{Q "A.weight", 2, 8}, {Q "B.weight", 8, 2}}, 2, 1, {"modules_to_save", "lm_head", "no tensor"}},
        {CONFIG(",\"init_lora_weights\":\"pissa_niter_4\""), {{Q "A.weight", 2, 8}, {Q "B.weight", 8, 2}}, 2, 1, {"pissa", "base", ""}},
        {CONFIG(",\"use_dora\":true"), {{Q "A.weight", 2, 8}, {Q "B.weight", 8, 2}}, 2, 1, {"magnitude", "q_proj", ""}},
        {CONFIG(",\"layers_to_transform\":[1]"), {{Q "A.weight", 2, 8}, {Q "B.weight", 8, 2}}, 2, 1, {"layers_to_transform", "layers.0", ""}},
        {CONFIG(",\"rank_pattern\":{\"(q\":2}"), {{Q "A.weight", 2, 8}, {Q "B.weight", 8, 2}}, 2, 1, {"rank_pattern", "(q", ""}},
        {CONFIG(",\"target_parameters\":\"down_proj\""), {{Q "A.weight", 2, 8}, {Q "B.weight", 8, 2}}, 2, 1, {"target_parameters", "list", ""}},
        {PARAMETERS, {{X "lora_A.weight", 5, 8}, {X "lora_B.weight", 8, 5}}, 2, 1, {"[5, 8]", "experts x 2", ""}},
        {PARAMETERS, {{X "lora_A.weight", 4, 8}, {X "lora_B.weight", 8, 6}}, 2, 1, {"[4, 8]", "[8, 6]", ""}},
        {PARAMETERS, {{X "base_layer.lora_A.weight", 4, 8}, {X "base_layer.lora_B.weight", 8, 4}}, 2, 1, {"1 parameters", "wrappers of 2", "experts"}},
        {PARAMETERS, {{X "lora_A.weight", 4, 8}, {X "lora_B.weight", 8, 4}, {X "lora_B.bias", 1, 8}}, 3, 1, {"lora_B.bias", "parameter", ""}},
        {PARAMETERS, {{"m.shared_expert.lora_A.weight", 2, 8}, {"m.shared_expert.lora_B.weight", 8, 2}}, 2, 1, {"shared_expert", "no place", ""}},
        {CONFIG(",\"kasa_config\":{\"beta\":1}"), {{Q "A.weight", 2, 8}, {Q "B.weight", 8, 2}}, 2, 1, {"kasa_config", "base", ""}},
        {CONFIG(",\"ensure_weight_tying\":true,\"modules_to_save\":[\"embed_tokens\"]"), {{"base_model.model.model.embed_tokens.weight", 8, 8}}, 1, 1, {"ensure_weight_tying", "embed_tokens", "output"}},
        {CONFIG(",\"rank_pattern\":{\"q_proj\":0}"), {{Q "A.weight", 2, 8}, {Q "B.weight", 8, 2}}, 2, 1, {"rank", "0", ""}},
    };
    moa_adapter *a;
    moa_err err = {0};
    ok(open_small(&a, CONFIG(""), good, 2, 1, &err), &err);
    assert_int_equal(a->n, 1);
    assert_true(a->lora[0].rank == 2 && a->lora[0].scale == 2 && a->lora[0].n_in == 8);
    moa_adapter_close(a);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        err = (moa_err){0};
        if (open_small(&a, bad[i].config, bad[i].p, bad[i].n, bad[i].value, &err) >= 0) fail_msg("case %zu is accepted", i);
        assert_null(a);
        for (int k = 0; k < 3; k++)
            if (!strstr(err.text, bad[i].word[k])) fail_msg("case %zu: '%s' does not say '%s'", i, err.text, bad[i].word[k]);
    }
}

/* PEFT's rules of names. */
static void test_patterns(void **state) {
    (void)state;
    static const piece p[] = {{Q "A.weight", 3, 8}, {Q "B.weight", 8, 3}};
    static const struct { const char *config; double scale; } good[] = {
        {"{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":6,\"target_modules\":[\"q_proj\"],\"rank_pattern\":{\"_proj\":9,\"q_proj\":3}}", 2},
        {"{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":6,\"target_modules\":\".*q_proj\",\"rank_pattern\":{\"layers\\\\.[01]\\\\..*\":3,\"q_proj\":5}}", 2},
        {"{\"peft_type\":\"LORA\",\"r\":3,\"lora_alpha\":6,\"target_modules\":\"all-linear\",\"alpha_pattern\":{\"self_attn.q_proj\":12}}", 4},
        {"{\"peft_type\":\"LORA\",\"r\":3,\"lora_alpha\":6,\"target_modules\":[\"q_proj\"],\"use_rslora\":true,\"layers_to_transform\":0}", 3.4641016},
        {"{\"peft_type\":\"LORA\",\"r\":3,\"lora_alpha\":6,\"target_modules\":[\"q_proj\"],\"layers_to_transform\":[1,0],\"layers_pattern\":\"layers\"}", 2},
        {"{\"lora_parameters\":{\"rank\":3,\"scale\":20.0}}", 0},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        moa_adapter *a;
        moa_err err = {0};
        const piece mlx[] = {{"model.layers.0.self_attn.q_proj.lora_a", 8, 3}, {"model.layers.0.self_attn.q_proj.lora_b", 3, 8}};
        ok(open_small(&a, good[i].config, good[i].scale > 0 ? p : mlx, 2, 1, &err), &err);
        assert_true(fabs((double)a->lora[0].scale - (good[i].scale > 0 ? good[i].scale : 20)) < 1e-6);
        assert_int_equal(a->lora[0].n_in, 8);
        moa_adapter_close(a);
    }
}

/* Layers are the first numbers in a name: that of an expert is not meant. */
static void test_layer_of_expert(void **state) {
    (void)state;
    static const char config[] = "{\"peft_type\":\"LORA\",\"r\":2,\"lora_alpha\":2,\"target_modules\":[\"up_proj\"],\"layers_to_transform\":[3]}";
    static const piece p[] = {{"base_model.model.model.layers.3.mlp.experts.0.up_proj.lora_A.weight", 2, 8}, {"base_model.model.model.layers.3.mlp.experts.0.up_proj.lora_B.weight", 8, 2}};
    static const piece other[] = {{"base_model.model.model.layers.0.mlp.experts.3.up_proj.lora_A.weight", 2, 8}, {"base_model.model.model.layers.0.mlp.experts.3.up_proj.lora_B.weight", 8, 2}};
    moa_adapter *a;
    moa_err err = {0};
    ok(open_small(&a, config, p, 2, 1, &err), &err);
    moa_adapter_close(a);
    assert_true(open_small(&a, config, other, 2, 1, &err) < 0);
}

/* ---- export ---- */

static float *wide(const moa_tensor *t) {
    float *v = malloc((size_t)moa_tensor_count(t) * sizeof *v);
    assert_non_null(v);
    moa_type_get(t->dtype)->dequantize(v, t->data, moa_tensor_count(t));
    return v;
}

/* Bit for bit: B holds the scale now. */
static void same_folded(const moa_adapter *a, const moa_adapter *b) {
    assert_int_equal(a->n, b->n);
    for (int i = 0; i < a->n; i++) {
        const moa_lora *x = &a->lora[i], *y = &b->lora[i];
        assert_string_equal(x->name, y->name);
        assert_int_equal(x->rank, y->rank);
        assert_true(y->scale == 1);
        float *xa = wide(&x->a), *ya = wide(&y->a), *xb = wide(&x->b), *yb = wide(&y->b);
        assert_memory_equal(xa, ya, (size_t)(x->rank * x->n_in) * sizeof *xa);
        for (int64_t k = 0; k < x->rank * x->n_out; k++) assert_true(yb[k] == x->scale * xb[k]);
        free(xa), free(ya), free(xb), free(yb);
    }
}

/* 16-bit matrices stay so in memory, from either form. */
static void test_types(void **state) {
    (void)state;
    moa_err err = {0};
    make_cases();
    loaded l = load("rslora", "rslora", 1);
    moa_adapter *g;
    moa_gguf_out *o = moa_gguf_out_new();
    const moa_lora *v = NULL;
    for (int i = 0; i < l.a->n; i++) {
        assert_true(l.a->lora[i].a.dtype == MOA_F16 && l.a->lora[i].b.dtype == MOA_F16);
        if (strstr(l.a->lora[i].name, "layers.0.self_attn.v_proj")) v = &l.a->lora[i];
    }
    assert_non_null(v);
    moa_gguf_put_str(o, "general.type", "adapter", 7);
    moa_gguf_put_str(o, "general.architecture", "llama", 5);
    moa_gguf_put_str(o, "adapter.type", "lora", 4);
    moa_gguf_put_f32(o, "adapter.lora.alpha", v->scale * (float)v->rank);
    moa_gguf_put_tensor(o, "blk.0.attn_v.weight.lora_a", &v->a);
    moa_gguf_put_tensor(o, "blk.0.attn_v.weight.lora_b", &v->b);
    ok(moa_gguf_write(o, scratch_path("half", ".gguf"), &err), &err);
    ok(moa_adapter_open(&g, scratch_path("half", ".gguf"), &err), &err);
    assert_true(g->n == 1 && g->lora->a.dtype == MOA_F16 && g->lora->b.dtype == MOA_F16);
    assert_memory_equal(g->lora->a.data, v->a.data, moa_tensor_bytes(&v->a));
    assert_memory_equal(g->lora->b.data, v->b.data, moa_tensor_bytes(&v->b));
    moa_gguf_out_free(o);
    moa_adapter_close(g);
    unload(&l);
}

static float *logits_of(const moa_model *m, const moa_adapter *a, const int32_t *ids) {
    moa_err err = {0};
    moa_adapter_set *set;
    ok(moa_adapter_set_new(&set, m, &(moa_adapter_use){a, 1}, 1, 1, &err), &err);
    float *v = logits(m, moa_adapter_set_sites(set), ids, 40, (how){40, 1, true});
    moa_adapter_set_free(set);
    return v;
}

/* Both forms hold the same matrices with the same scale, 1: the same logits to the bit; those of the source but for the rounding of s B.
 * turned: the file's B is the input's side, so that the scale is in another factor. */
static void same_logits(const char *name, const loaded *l, const moa_adapter *peft, const moa_adapter *gguf, bool turned) {
    int32_t *ids = read_all(scratch_path(name, ".ids"));
    const int n = 40 * l->m->h.n_vocab;
    float *want = logits_of(l->m, l->a, ids), *got = logits_of(l->m, peft, ids), *other = logits_of(l->m, gguf, ids);
    /* The scale is folded into a factor: another rounding, which the gpt-oss model makes 6e-6 of its logits even with sums in double. */
    compare(name, got, want, n, 2e-5);
    compare(name, other, want, n, 2e-5);
    if (!turned) assert_memory_equal(got, other, (size_t)n * sizeof *got);
    free(ids), free(want), free(got), free(other);
}

/* Parameters of all experts keep their form in PEFT; in GGUF they are tensors of all experts. */
static void test_export_parameters(void **state) {
    (void)state;
    static const struct { const char *name; bool modules, turned; } t[] = {
        {"parameters", true, false}, {"parameters-old", true, true}, {"parameters-turns", false, false}, {"parameters-weight", false, false}};
    moa_err err = {0};
    make_cases();
    for (size_t c = 0; c < sizeof t / sizeof *t; c++) {
        loaded l = load(t[c].name, t[c].name, 1);
        moa_adapter *peft, *gguf, *back;
        char out[PATH_MAX];
        int parameters = 0;
        for (int i = 0; i < l.a->n; i++) parameters += l.a->lora[i].parameter;
        assert_true(parameters > 0 && parameters < l.a->n);
        snprintf(out, sizeof out, "%s", scratch_path(t[c].name, "-peft"));
        ok(moa_adapter_write_peft(l.a, l.m, out, &err), &err);
        ok(moa_adapter_open(&peft, out, &err), &err);
        same_folded(l.a, peft);
        snprintf(out, sizeof out, "%s", scratch_path(t[c].name, "-lora.gguf"));
        ok(moa_adapter_write_gguf(l.a, l.m, out, &err), &err);
        ok(moa_adapter_open(&gguf, out, &err), &err);
        same_logits(t[c].name, &l, peft, gguf, t[c].turned);
        snprintf(out, sizeof out, "%s", scratch_path(t[c].name, "-back"));
        const int rc = moa_adapter_write_peft(gguf, l.m, out, &err); /* a module an expert, where checkpoints have them */
        assert_int_equal(rc, t[c].modules ? 0 : MOA_EUNSUPPORTED);
        if (rc == 0) {
            ok(moa_adapter_open(&back, out, &err), &err);
            same_logits(t[c].name, &l, back, gguf, false);
            moa_adapter_close(back);
        }
        moa_adapter_close(peft), moa_adapter_close(gguf);
        unload(&l);
    }
}

/* Tensors in place of the base's go from PEFT to PEFT as they are. */
static void test_export_whole(void **state) {
    (void)state;
    static const char *const names[] = {"whole", "whole-gemma2", "whole-qwen2", "whole-phi3"};
    moa_err err = {0};
    make_cases();
    for (size_t c = 0; c < sizeof names / sizeof *names; c++) {
        loaded l = load(names[c], names[c], 1);
        moa_adapter *peft, *again;
        char out[PATH_MAX];
        snprintf(out, sizeof out, "%s", scratch_path(names[c], "-peft"));
        ok(moa_adapter_write_peft(l.a, l.m, out, &err), &err);
        ok(moa_adapter_open(&peft, out, &err), &err);
        same_folded(l.a, peft);
        assert_int_equal(peft->n_whole, l.a->n_whole);
        for (int i = 0; i < peft->n_whole; i++) {
            const moa_whole *x = &l.a->whole[i], *y = &peft->whole[i];
            assert_string_equal(x->name, y->name);
            assert_true(x->w.dtype == y->w.dtype && moa_tensor_count(&x->w) == moa_tensor_count(&y->w));
            assert_memory_equal(x->w.data, y->w.data, moa_tensor_bytes(&x->w));
        }
        snprintf(out, sizeof out, "%s", scratch_path(names[c], "-again"));
        ok(moa_adapter_write_peft(peft, l.m, out, &err), &err);
        ok(moa_adapter_open(&again, out, &err), &err);
        same_logits(names[c], &l, peft, again, false);
        moa_adapter_close(peft), moa_adapter_close(again);
        unload(&l);
    }
}

/* Norms in GGUF adapters stand in for the base's, as those of modules_to_save do. */
static void test_gguf_norm(void **state) {
    (void)state;
    moa_err err = {0};
    make_cases();
    loaded l = load("llama", "llama", 0);
    moa_adapter *g;
    moa_adapter_set *set;
    const int64_t d = l.m->h.d_model;
    float *twice = malloc((size_t)d * sizeof *twice);
    const float *own = l.m->out_norm->data;
    for (int64_t i = 0; i < d; i++) twice[i] = 2 * own[i];
    const moa_tensor norm = moa_view1(MOA_F32, twice, d);
    moa_gguf_out *o = moa_gguf_out_new();
    moa_gguf_put_str(o, "general.type", "adapter", 7);
    moa_gguf_put_str(o, "general.architecture", "llama", 5);
    moa_gguf_put_str(o, "adapter.type", "lora", 4);
    moa_gguf_put_f32(o, "adapter.lora.alpha", 1);
    moa_gguf_put_tensor(o, "output_norm.weight", &norm);
    ok(moa_gguf_write(o, scratch_path("norm", ".gguf"), &err), &err);
    ok(moa_adapter_open(&g, scratch_path("norm", ".gguf"), &err), &err);
    assert_true(g->n == 0 && g->n_whole == 1);
    ok(moa_adapter_set_new(&set, l.m, &(moa_adapter_use){g, 1}, 1, 1, &err), &err);
    int32_t *ids = read_all(scratch_path("llama", ".ids"));
    float *base = logits(l.m, NULL, ids, 40, (how){40, 1, true}), *got = logits(l.m, moa_adapter_set_sites(set), ids, 40, (how){40, 1, true});
    for (int i = 0; i < 40 * l.m->h.n_vocab; i++) assert_true(got[i] == 2 * base[i]); /* a power of two goes through every product */
    moa_adapter_set_free(set);
    moa_adapter_close(g);
    loaded other = load("qwen2", "qwen2", 0);
    ok(moa_adapter_open(&g, scratch_path("norm", ".gguf"), &err), &err);
    assert_true(moa_adapter_set_new(&set, other.m, &(moa_adapter_use){g, 1}, 1, 1, &err) < 0);
    assert_non_null(strstr(err.text, "architecture 'llama'"));
    moa_adapter_close(g);
    free(twice), free(ids), free(base), free(got);
    moa_gguf_out_free(o);
    unload(&l), unload(&other);
}

static int places_in_use(const moa_sites *s) {
    int n = 0;
    for (int i = 0; i < s->n_site; i++) n += s->at[i] != NULL;
    return n;
}

/* Places that no adapter of a set needs are NULL, and those are passed by: an adapter that is off leaves nothing to compute. */
static void test_unused(void **state) {
    (void)state;
    moa_err err = {0};
    make_cases();
    loaded l = load("llama", "llama", 1), e = load("embedding", "embedding", 1);
    moa_adapter_set *off, *pair;
    moa_adapter *one;
    assert_int_equal(places_in_use(moa_adapter_set_sites(l.set)), 7 * l.m->h.n_layer);
    ok(moa_adapter_set_new(&off, l.m, &(moa_adapter_use){l.a, 0}, 1, 1, &err), &err);
    assert_int_equal(places_in_use(moa_adapter_set_sites(off)), 0);
    assert_int_equal(moa_adapter_set_sites(off)->n_swap, 0);
    const piece q[] = {{Q "A.weight", 2, (int)l.m->h.d_model}, {Q "B.weight", (int)moa_rows(l.m->layer[0].q.w), 2}};
    ok(open_small(&one, CONFIG(""), q, 2, 1, &err), &err);
    ok(moa_adapter_set_new(&pair, l.m, (moa_adapter_use[]){{one, 1}, {l.a, 0}}, 2, 1, &err), &err);
    assert_int_equal(places_in_use(moa_adapter_set_sites(pair)), 1);
    moa_adapter_set_free(off), moa_adapter_set_free(pair);
    moa_adapter_close(one);
    unload(&l), unload(&e);
}

static void test_export(void **state) {
    (void)state;
    static const char *const names[] = {"llama", "rslora", "patterns", "embedding", "mixtral", "qwen2moe", "phi3", "granite", "deepseek2"};
    moa_err err = {0};
    make_cases();
    for (size_t c = 0; c < sizeof names / sizeof *names; c++) {
        loaded l = load(names[c], names[c], 1);
        moa_adapter *peft, *gguf, *back;
        char out[PATH_MAX];
        snprintf(out, sizeof out, "%s", scratch_path(names[c], "-peft"));
        ok(moa_adapter_write_peft(l.a, l.m, out, &err), &err);
        ok(moa_adapter_open(&peft, out, &err), &err);
        same_folded(l.a, peft);
        snprintf(out, sizeof out, "%s", scratch_path(names[c], "-lora.gguf"));
        ok(moa_adapter_write_gguf(l.a, l.m, out, &err), &err);
        assert_true(moa_adapter_is(out));
        ok(moa_adapter_open(&gguf, out, &err), &err);
        same_logits(names[c], &l, peft, gguf, false);
        snprintf(out, sizeof out, "%s", scratch_path(names[c], "-back"));
        ok(moa_adapter_write_peft(gguf, l.m, out, &err), &err);
        ok(moa_adapter_open(&back, out, &err), &err);
        same_folded(l.a, back);
        moa_adapter_close(peft), moa_adapter_close(gguf), moa_adapter_close(back);
        unload(&l);
    }
}

static void test_export_refused(void **state) {
    (void)state;
    moa_err err = {0};
    make_cases();
    loaded l = load("dora", "dora", 1);
    assert_int_equal(moa_adapter_write_gguf(l.a, l.m, scratch_path("dora", "-lora.gguf"), &err), MOA_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "DoRA"));
    assert_int_not_equal(access(scratch_path("dora", "-lora.gguf"), F_OK), 0);
    unload(&l);
}

static void test_spec(void **state) {
    (void)state;
    char path[64];
    float scale;
    moa_err err = {0};
    ok(moa_adapter_spec(path, sizeof path, &scale, "a/b.gguf:0.5", &err), &err);
    assert_string_equal(path, "a/b.gguf");
    assert_true(scale == 0.5f);
    ok(moa_adapter_spec(path, sizeof path, &scale, "x", &err), &err);
    assert_true(scale == 1);
    assert_int_equal(moa_adapter_spec(path, sizeof path, &scale, "x:big", &err), MOA_EUSAGE);
    assert_int_equal(moa_adapter_spec(path, sizeof path, &scale, ":2", &err), MOA_EUSAGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merged), cmocka_unit_test(test_bits),     cmocka_unit_test(test_sets),   cmocka_unit_test(test_sequences),
        cmocka_unit_test(test_replaced_once), cmocka_unit_test(test_types),
        cmocka_unit_test(test_wrong_base), cmocka_unit_test(test_broken), cmocka_unit_test(test_patterns), cmocka_unit_test(test_layer_of_expert), cmocka_unit_test(test_export),
        cmocka_unit_test(test_export_parameters), cmocka_unit_test(test_export_whole), cmocka_unit_test(test_gguf_norm), cmocka_unit_test(test_unused), cmocka_unit_test(test_export_refused), cmocka_unit_test(test_spec),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
