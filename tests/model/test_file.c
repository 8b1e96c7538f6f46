/* test_file.c - models to and from files: round trips of every type, missing and mis-shaped tensors, keys that do not
 * fit each other; training and inference give the same logits.
 * SPDX-License-Identifier: Apache-2.0 */
#include "model/support.h"

static const int32_t tokens[12] = {1, 5, 300, 7, 7, 260, 19, 4, 2, 100, 33, 8};

static moa_hparams wide(void) {
    moa_hparams h = tiny_hparams();
    h.d_model = 256;
    h.head_dim = 32;
    h.d_ff = 512;
    h.n_layer = 1;
    return h;
}

static float *exact_logits(const moa_model *m) {
    moa_session_cfg cfg = moa_session_defaults();
    cfg.exact = true;
    return logits_of(m, tokens, 12, 12, cfg);
}

static void round_trip(moa_hparams h, bool tied, moa_dtype type, double tolerance) {
    char path[4096], second[4096];
    moa_err err = {0};
    moa_model *m = NULL;
    h.tied = tied;
    moa_model *made = tiny_model(h, NULL, 5);
    temp_path(path, sizeof path, "a.gguf");
    temp_path(second, sizeof second, "b.gguf");
    OK(moa_model_save(made, path, type, NULL, &err));
    OK(moa_model_open(&m, path, &err));
    assert_int_equal(m->h.tied, tied);
    assert_int_equal(moa_model_n_weights(m), moa_model_n_weights(made));
    float *a = exact_logits(made), *b = exact_logits(m);
    const double d = max_difference(a, b, 12 * 320);
    printf("   %-5s largest difference of a logit %.4f\n", moa_type_get(type)->name, d);
    if (!(d <= tolerance)) fail_msg("%s: logits differ by %g, allowed %g", moa_type_get(type)->name, d, tolerance);
    /* Saving what was opened changes nothing. */
    moa_map one, two;
    OK(moa_model_save(m, second, type, NULL, &err));
    OK(moa_map_open(&one, path, &err));
    OK(moa_map_open(&two, second, &err));
    assert_int_equal(one.size, two.size);
    moa_map_close(&one);
    moa_map_close(&two);
    moa_model *m2 = NULL;
    OK(moa_model_open(&m2, second, &err));
    float *c = exact_logits(m2);
    assert_memory_equal(b, c, 12 * 320 * sizeof *b);
    free(a);
    free(b);
    free(c);
    moa_model_close(m);
    moa_model_close(m2);
    moa_model_close(made);
    unlink(path);
    unlink(second);
}

static void test_round_trip(void **state) {
    (void)state;
    /* Logits reach about 10 here; what a type loses grows as its bits shrink. */
    const struct { moa_dtype t; double tol; } types[] = {{MOA_F32, 0}, {MOA_F16, 0.05}, {MOA_BF16, 0.4}, {MOA_Q8_0, 0.5}, {MOA_Q6_K, 1.5}, {MOA_Q4_K, 5}, {MOA_Q4_0, 7}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) round_trip(wide(), i & 1, types[i].t, types[i].tol);
    round_trip(tiny_hparams(), true, MOA_Q4_K, 0.02); /* rows of 64 and 96: falls back to F16 */
    round_trip(tiny_moe_hparams(), false, MOA_F32, 0);
    round_trip(tiny_moe_hparams(), false, MOA_Q8_0, 0.3);
}

/* Every architecture: what was made, saved and opened gives the same bits. */
static void test_round_trip_architectures(void **state) {
    (void)state;
    char path[4096];
    int n;
    const moa_arch *const *all = moa_archs(&n);
    temp_path(path, sizeof path, "arch.gguf");
    for (int i = 0; i < n; i++) {
        if (all[i]->encoder) continue;
        moa_err err = {0};
        moa_model *made = arch_model(all[i], 7), *m = NULL;
        OK(moa_model_save(made, path, MOA_F32, NULL, &err));
        OK(moa_model_open(&m, path, &err));
        assert_ptr_equal(m->arch, all[i]);
        assert_int_equal(moa_model_n_weights(m), moa_model_n_weights(made));
        float *a = exact_logits(made), *b = exact_logits(m);
        if (memcmp(a, b, 12 * 320 * sizeof *a) != 0) fail_msg("%s: logits differ by %g", all[i]->name, max_difference(a, b, 12 * 320));
        free(a);
        free(b);
        moa_model_close(m);
        moa_model_close(made);
    }
    unlink(path);
}

/* Copy of a file without tensor number skip. */
static void write_without(const char *to, const moa_gguf *g, int skip_at) {
    moa_err err = {0};
    moa_gguf_out *o = moa_gguf_out_new();
    for (int i = 0; i < moa_gguf_n_kv(g); i++) moa_gguf_put_kv(o, moa_gguf_kv_at(g, i));
    for (int i = 0; i < moa_gguf_n_tensor(g); i++)
        if (i != skip_at) moa_gguf_put_tensor(o, moa_gguf_tensor_at(g, i)->name, moa_gguf_tensor_at(g, i));
    OK(moa_gguf_write(o, to, &err));
    moa_gguf_out_free(o);
}

/* Every tensor of the first two layers of every architecture: without it the error names it. */
static void test_missing_tensors(void **state) {
    (void)state;
    char path[4096], less[4096];
    int n;
    const moa_arch *const *all = moa_archs(&n);
    temp_path(path, sizeof path, "whole.gguf");
    temp_path(less, sizeof less, "less.gguf");
    for (int i = 0; i < n; i++) {
        if (all[i]->encoder) continue;
        moa_err err = {0};
        moa_model *made = arch_model(all[i], 7);
        moa_gguf *g = NULL;
        OK(moa_model_save(made, path, MOA_F32, NULL, &err));
        OK(moa_gguf_open(&g, path, &err));
        for (int k = 0; k < moa_gguf_n_tensor(g); k++) {
            const char *name = moa_gguf_tensor_at(g, k)->name;
            if (!strcmp(name, "output.weight") || !strncmp(name, "blk.2.", 6)) continue; /* the first may be tied */
            moa_model *m = NULL;
            moa_err why = {0};
            write_without(less, g, k);
            const int rc = moa_model_open(&m, less, &why);
            if (rc != MOA_ENOTFOUND || !strstr(why.text, name)) fail_msg("%s without %s: %d %s", all[i]->name, name, rc, why.text);
        }
        moa_gguf_close(g);
        moa_model_close(made);
    }
    unlink(path);
    unlink(less);
}

/* Write a variant of a good file: one key or tensor changed or left out. */
typedef struct change { const char *tensor, *key, *text /* of the key, else value */, *add /* a tensor of 8 numbers */, *arch /* NULL: llama */; uint32_t value; bool drop; int64_t rows; } change;

static int open_changed(const change *c, moa_err *err) {
    char good[4096], bad[4096];
    moa_gguf *g = NULL;
    moa_model *m = NULL, *made = c->arch ? arch_model(moa_arch_find(c->arch, strlen(c->arch)), 5) : tiny_model(tiny_hparams(), NULL, 5);
    temp_path(good, sizeof good, "good.gguf");
    temp_path(bad, sizeof bad, "bad.gguf");
    assert_int_equal(moa_model_save(made, good, MOA_F32, NULL, err), 0);
    moa_model_close(made);
    assert_int_equal(moa_gguf_open(&g, good, err), 0);
    moa_gguf_out *o = moa_gguf_out_new();
    for (int i = 0; i < moa_gguf_n_kv(g); i++) {
        const moa_gguf_kv *kv = moa_gguf_kv_at(g, i);
        if (!(c->drop && c->key && strlen(c->key) == kv->key.n && !memcmp(c->key, kv->key.p, kv->key.n))) moa_gguf_put_kv(o, kv);
    }
    if (c->key && c->text) moa_gguf_put_str(o, c->key, c->text, strlen(c->text));
    else if (c->key && !c->drop) moa_gguf_put_u32(o, c->key, c->value);
    for (int i = 0; i < moa_gguf_n_tensor(g); i++) {
        moa_tensor t = *moa_gguf_tensor_at(g, i);
        const bool hit = c->tensor && !strcmp(c->tensor, t.name);
        const char *name = t.name;
        if (hit && c->drop) continue;
        if (hit) t = moa_view2(MOA_F32, t.data, c->rows, t.shape[1]);
        moa_gguf_put_tensor(o, name, &t);
    }
    const float eight[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    const moa_tensor more = moa_view1(MOA_F32, (void *)(uintptr_t)eight, 8);
    if (c->add) moa_gguf_put_tensor(o, c->add, &more);
    assert_int_equal(moa_gguf_write(o, bad, err), 0);
    moa_gguf_out_free(o);
    moa_gguf_close(g);
    const int rc = moa_model_open(&m, bad, err);
    moa_model_close(m);
    unlink(good);
    unlink(bad);
    return rc;
}

static void test_hostile(void **state) {
    (void)state;
    const struct { change c; int code; const char *says[3]; } cases[] = {
        {{.tensor = "blk.1.attn_k.weight", .drop = true}, MOA_ENOTFOUND, {"blk.1.attn_k.weight", "missing", "[16, 64]"}},
        {{.tensor = "blk.2.ffn_up.weight", .rows = 95}, MOA_EFORMAT, {"blk.2.ffn_up.weight", "[95, 64]", "[96, 64]"}},
        {{.tensor = "output_norm.weight", .drop = true}, MOA_ENOTFOUND, {"output_norm.weight", "missing", "[64]"}},
        {{.key = "general.architecture", .drop = true}, MOA_ENOTFOUND, {"general.architecture"}},
        {{.key = "llama.block_count", .drop = true}, MOA_ENOTFOUND, {"llama.block_count"}},
        {{.key = "llama.block_count", .value = 4000000000u}, MOA_EFORMAT, {"llama.block_count"}},
        {{.key = "llama.block_count", .value = 9999}, MOA_EFORMAT, {"9999", "tensors"}},
        {{.key = "llama.block_count", .value = 4}, MOA_ENOTFOUND, {"blk.3.attn_norm.weight"}},
        {{.key = "llama.block_count", .value = 2}, MOA_EUNSUPPORTED, {"blk.2.attn_norm.weight", "of 2 layers", "9 such tensors"}},
        {{.add = "blk.1.attn_q_norm.weight"}, MOA_EUNSUPPORTED, {"'blk.1.attn_q_norm.weight' has no place", "'llama'", "1 such tensor"}},
        {{.add = "blk.1.attn_q.scale"}, MOA_EUNSUPPORTED, {"blk.1.attn_q.scale"}},
        {{.add = "blk.1.attn_q.input_scale"}, 0, {0}}, /* these change no result */
        {{.add = "v.patch_embd.weight"}, 0, {0}},
        {{.add = "mm.0.weight"}, 0, {0}},
        {{.add = "cls.output.weight"}, 0, {0}},
        {{.key = "llama.attention.head_count_kv", .value = 3}, MOA_EFORMAT, {"head_count = 8", "head_count_kv = 3"}},
        {{.key = "llama.attention.head_count_kv", .value = 0}, MOA_EFORMAT, {"head_count_kv = 0"}},
        {{.key = "llama.attention.head_count", .value = 0}, MOA_EFORMAT, {"head"}},
        {{.key = "llama.rope.dimension_count", .value = 7}, MOA_EFORMAT, {"rope.dimension_count = 7"}},
        {{.key = "llama.rope.dimension_count", .value = 16}, MOA_EFORMAT, {"rope.dimension_count", "16", "8"}},
        {{.key = "llama.attention.value_length", .value = 4}, MOA_EFORMAT, {"attn_v.weight", "[16, 64]", "[8, 64]"}},
        {{.key = "llama.embedding_length", .value = 128}, MOA_EFORMAT, {"token_embd.weight", "[320, 64]", "[320, 128]"}},
        {{.key = "llama.expert_count", .value = 4}, MOA_ENOTFOUND, {"expert_used_count"}},
        {{.key = "llama.context_length", .value = 0}, MOA_EFORMAT, {"context_length = 0"}},
        {{.key = "llama.attention.layer_norm_rms_epsilon", .value = 0}, MOA_EFORMAT, {"epsilon of norms = 0"}},
        {{.key = "llama.attention.layer_norm_rms_epsilon", .drop = true}, MOA_ENOTFOUND, {"layer_norm_rms_epsilon", "missing"}},
        {{.key = "llama.rope.scaling.type", .text = "ntk"}, MOA_EUNSUPPORTED, {"llama.rope.scaling.type = \"ntk\"", "yarn"}},
        {{.key = "granite.logit_scale", .arch = "granite", .value = 0}, MOA_EFORMAT, {"granite.logit_scale = 0"}},
        {{.key = "granite.logit_scale", .arch = "granite", .drop = true}, MOA_ENOTFOUND, {"granite.logit_scale", "missing"}},
        {{.add = "blk.0.attn_q.bias"}, MOA_EFORMAT, {"'blk.0.attn_q.bias' has shape [8]", "[64]"}},
        {{.add = "blk.1.attn_q.bias"}, MOA_ENOTFOUND, {"'blk.0.attn_q.bias' is missing", "'blk.1.attn_q.bias' is there"}}, /* in all layers or in none */
        {{.key = "general.type", .text = "mmproj"}, MOA_EUNSUPPORTED, {"general.type is 'mmproj'"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        moa_err err = {0};
        const int rc = open_changed(&cases[i].c, &err);
        if (rc != cases[i].code) fail_msg("case %zu: %d, expected %d: %s", i, rc, cases[i].code, err.text);
        for (int k = 0; k < 3 && cases[i].says[k]; k++)
            if (!strstr(err.text, cases[i].says[k])) fail_msg("case %zu: '%s' does not say '%s'", i, err.text, cases[i].says[k]);
    }
    moa_err err = {0};
    moa_model *made = tiny_model(tiny_hparams(), NULL, 1), *none = NULL;
    assert_true(moa_model_save(made, "/nonexistent/x.gguf", MOA_F32, NULL, &err) < 0);
    assert_non_null(strstr(err.text, "/nonexistent/x.gguf"));
    assert_int_equal(moa_model_save(made, "/tmp/x.gguf", MOA_I32, NULL, &err), MOA_EUNSUPPORTED);
    assert_int_equal(moa_model_open(&none, "/nonexistent.gguf", &err) < 0, 1);
    moa_hparams h = tiny_hparams();
    h.n_kv = 3;
    assert_int_equal(moa_model_make(&none, "llama", &h, NULL, 1, &err), MOA_EFORMAT);
    assert_int_equal(moa_model_make(&none, "nope", &h, NULL, 1, &err), MOA_EUNSUPPORTED);
    moa_model_close(made);
}

/* The graph with a tape and packed attention against a session, two documents in one pack: Llama, Mixtral, and every architecture
 * whose attention packed documents have; the others say that they cannot. */
static void test_training_graph(void **state) {
    (void)state;
    int n_arch;
    const moa_arch *const *all = moa_archs(&n_arch);
    for (int k = 0; k < n_arch + 2; k++) {
        const moa_arch *arch = k < 2 ? all[0] : all[k - 2];
        if (arch->encoder) continue;
        moa_model *m = k < 2 ? tiny_model(k ? tiny_moe_hparams() : tiny_hparams(), NULL, 6) : arch_model(arch, 6);
        const bool packs = !arch->window_period && !arch->sinks && !arch->latent && !(m->h.attn_cap > 0);
        moa_exec x = {.arena = moa_arena_new(0, 0), .tape = moa_tape_new(), .n_threads = 1, .compute = MOA_F32};
        assert_int_equal(moa_kernels_default(&x.k, NULL), 0);
        int32_t ids[24], pos[24], start[24];
        for (int i = 0; i < 24; i++) ids[i] = tokens[i % 12], pos[i] = i % 12, start[i] = i / 12 * 12;
        moa_tensor tid = moa_view1(MOA_I32, ids, 24), tpos = moa_view1(MOA_I32, pos, 24), tstart = moa_view1(MOA_I32, start, 24);
        const moa_rows_in in = {.ids = &tid, .pos = &tpos, .attend = moa_attend_packed, .attend_ctx = &tstart};
        moa_tensor *logits = moa_model_forward(&x, m, &in);
        if (!packs) {
            assert_null(logits);
            assert_int_equal(x.err.code, MOA_EUNSUPPORTED);
            assert_non_null(strstr(x.err.text, arch->name));
            moa_tape_reset(x.tape);
            moa_tape_free(x.tape);
            moa_arena_free(x.arena);
            moa_model_close(m);
            continue;
        }
        if (!logits) fail_msg("%s", x.err.text);
        float *want = exact_logits(m);
        assert_true(max_difference(logits->data, want, 12 * 320) < 1e-3);
        assert_true(max_difference((float *)logits->data + 12 * 320, want, 12 * 320) < 1e-3);
        /* The gradient reaches every parameter that has worked. */
        int32_t target[24] = {0};
        float weight[24];
        for (int i = 0; i < 24; i++) weight[i] = 1;
        moa_tensor tt = moa_view1(MOA_I32, target, 24), tw = moa_view1(MOA_F32, weight, 24);
        moa_err err = {0};
        OK(moa_tape_backward(&x, moa_cross_entropy(&x, logits, &tt, &tw, 0), 1.0f, &err));
        int silent = 0;
        for (int i = 0; i < m->n_param; i++) {
            const float *g = m->param[i]->grad->data;
            double sum = 0;
            for (int64_t j = 0, n = moa_tensor_count(m->param[i]); j < n; j++) sum += fabs((double)g[j]);
            silent += sum == 0;
            assert_true(isfinite(sum));
        }
        /* An expert that no token chose stays silent; a made model without experts has no silent weight. */
        assert_true(silent <= (m->h.n_expert ? 9 * 3 : 0));
        moa_tape_reset(x.tape);
        moa_tape_free(x.tape);
        moa_arena_free(x.arena);
        free(want);
        moa_model_close(m);
    }
}

/* ---- Mixtral from its definition, in double, one token at position 0: attention is then the value itself ---- */

static void times(double *y, const moa_tensor *w, const double *x) {
    const int64_t n = moa_cols(w);
    for (int64_t o = 0; o < moa_rows(w); o++) {
        y[o] = 0;
        for (int64_t i = 0; i < n; i++) y[o] += (double)((const float *)w->data)[o * n + i] * x[i];
    }
}

static void normed(double *y, const double *x, const moa_tensor *w, double eps) {
    const int64_t n = moa_cols(w);
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] * x[i];
    for (int64_t i = 0; i < n; i++) y[i] = x[i] / sqrt(sum / (double)n + eps) * (double)((const float *)w->data)[i];
}

static void mixtral_ffn(double *x, const moa_hparams *h, const moa_layer *l) {
    double f[64], score[6], g[32], u[32], y[64], total = 0;
    int id[2] = {-1, -1};
    normed(f, x, l->ffn_norm, (double)h->norm_eps);
    times(score, l->router.w, f);
    for (int j = 0; j < 2; j++)
        for (int e = 0; e < 6; e++)
            if (e != id[0] && (id[j] < 0 || score[e] > score[id[j]])) id[j] = e;
    for (int j = 0; j < 2; j++) total += exp(score[id[j]]);
    for (int j = 0; j < 2; j++) {
        times(g, l->e_gate[id[j]].w, f);
        times(u, l->e_up[id[j]].w, f);
        for (int i = 0; i < 32; i++) g[i] = g[i] / (1 + exp(-g[i])) * u[i];
        times(y, l->e_down[id[j]].w, g);
        for (int i = 0; i < 64; i++) x[i] += exp(score[id[j]]) / total * y[i];
    }
}

static void test_mixtral_definition(void **state) {
    (void)state;
    moa_model *m = tiny_model(tiny_moe_hparams(), NULL, 9);
    moa_session_cfg cfg = moa_session_defaults();
    cfg.exact = true;
    for (int32_t token = 0; token < 320; token += 7) {
        double x[64], a[64], v[16], heads[64], want[320];
        for (int i = 0; i < 64; i++) x[i] = (double)((const float *)m->tok_embd->data)[token * 64 + i];
        for (int l = 0; l < m->h.n_layer; l++) {
            normed(a, x, m->layer[l].attn_norm, (double)m->h.norm_eps);
            times(v, m->layer[l].v.w, a);
            for (int i = 0; i < 64; i++) heads[i] = v[i / 32 * 8 + i % 8]; /* 4 heads of 8 share a value */
            times(a, m->layer[l].o.w, heads);
            for (int i = 0; i < 64; i++) x[i] += a[i];
            mixtral_ffn(x, &m->h, &m->layer[l]);
        }
        normed(a, x, m->out_norm, (double)m->h.norm_eps);
        times(want, m->out.w, a);
        float *got = logits_of(m, &token, 1, 1, cfg);
        for (int i = 0; i < 320; i++) assert_true(fabs(want[i] - (double)got[i]) < 1e-3);
        free(got);
    }
    moa_model_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_round_trip_architectures),
                                       cmocka_unit_test(test_missing_tensors), cmocka_unit_test(test_hostile), cmocka_unit_test(test_training_graph),
                                       cmocka_unit_test(test_mixtral_definition)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
