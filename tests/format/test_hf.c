/* test_hf.c - Hugging Face folders against GGUF files of the same model: every tensor has the same numbers and every key of the
 * architecture the same value, read in place and converted; tokenizers give the published ids; what is broken is named.
 * Folders are made by hf_make.py (numpy; skipped without it), whose way to a checkpoint is its own.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "format/hf.h"
#include "format/hf_impl.h"
#include "format/tokenizer.h"
#include "support/scratch.h"

#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- the same model ---- */

static float *numbers(const moa_tensor *t) {
    const int64_t n = moa_tensor_count(t);
    float *v = malloc((size_t)n * sizeof *v);
    assert_non_null(v);
    moa_type_get(t->dtype)->dequantize(v, t->data, n);
    return v;
}

/* As numbers: MXFP4 has a zero of either sign. */
static bool same_numbers(const float *a, const float *b, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (!(a[i] == b[i])) return false;
    return true;
}

/* The tensor, or the one expert of it under its own name. */
static void same_tensor(const char *model, const moa_gguf *got, const moa_tensor *want) {
    const moa_tensor *t = moa_gguf_tensor(got, want->name);
    char name[160];
    const char *exps = strstr(want->name, "_exps");
    const int64_t each = want->n_dim == 3 ? want->shape[1] * want->shape[2] : 0;
    float *a = numbers(want);
    const int64_t n = t ? 1 : want->shape[0], part = t ? moa_tensor_count(want) : each;
    if (!t && !exps) fail_msg("%s: tensor '%s' is missing", model, want->name);
    for (int64_t e = 0; e < n; e++) {
        if (exps && n > 1) {
            snprintf(name, sizeof name, "%.*s.%d.weight", (int)(exps - want->name), want->name, (int)e);
            t = moa_gguf_tensor(got, name);
        }
        if (!t || moa_tensor_count(t) != part || moa_cols(t) != moa_cols(want)) fail_msg("%s: tensor '%s' is missing or has another shape", model, want->name);
        float *b = numbers(t);
        if (!same_numbers(a + e * part, b, part)) fail_msg("%s: tensor '%s' has other numbers (part %d)", model, want->name, (int)e);
        free(b);
    }
    free(a);
}

static void same_key(const char *model, const moa_gguf *got, const moa_gguf_kv *want) {
    char key[128];
    snprintf(key, sizeof key, "%.*s", (int)want->key.n, want->key.p);
    const moa_gguf_kv *kv = moa_gguf_find(got, key);
    if (!kv) fail_msg("%s: key %s is missing", model, key);
    if (want->type == MOA_GGUF_STR) {
        const moa_str a = moa_gguf_arr_str(want, 0), b = moa_gguf_arr_str(kv, 0);
        if (a.n != b.n || memcmp(a.p, b.p, a.n) != 0) fail_msg("%s: key %s is '%.*s'", model, key, (int)b.n, b.p);
        return;
    }
    const double a = (double)moa_gguf_arr_f32(want, 0), b = (double)moa_gguf_arr_f32(kv, 0);
    if (!(fabs(a - b) <= 1e-6 * fabs(a))) fail_msg("%s: key %s is %g, expected %g", model, key, b, a);
}

static void same_model(const char *model, const moa_gguf *got, const moa_gguf *want) {
    for (int i = 0; i < moa_gguf_n_tensor(want); i++) same_tensor(model, got, moa_gguf_tensor_at(want, i));
    for (int i = 0; i < moa_gguf_n_kv(want); i++) {
        const moa_gguf_kv *kv = moa_gguf_kv_at(want, i);
        if (kv->key.n < 9 || memcmp(kv->key.p, "tokenizer", 9) != 0) same_key(model, got, kv);
    }
}

static void check_model(const char *model) {
    moa_gguf *want = NULL, *got = NULL;
    moa_err err = {0};
    const moa_hf_convert how = {0};
    if (moa_gguf_open(&want, scratch_path(model, ".gguf"), &err) < 0) fail_msg("%s", err.text);
    if (moa_hf_open(&got, scratch_path(model, ""), 0, &err) < 0) fail_msg("%s: %s", model, err.text);
    same_model(model, got, want);
    /* Nothing more than asked for, but experts one by one and factors that GGUF's side leaves out. */
    moa_gguf_close(got);
    if (moa_hf_write(scratch_path(model, ""), scratch_path(model, ".out.gguf"), &how, &err) < 0) fail_msg("%s: %s", model, err.text);
    if (moa_gguf_open(&got, scratch_path(model, ".out.gguf"), &err) < 0) fail_msg("%s: %s", model, err.text);
    same_model(model, got, want);
    if (moa_gguf_n_tensor(got) != moa_gguf_n_tensor(want))
        fail_msg("%s: %d tensors were written, expected %d", model, moa_gguf_n_tensor(got), moa_gguf_n_tensor(want));
    moa_gguf_close(got);
    moa_gguf_close(want);
}

static void test_models(void **state) {
    (void)state;
    char name[64];
    int n = 0;
    run_numpy("tests/format/hf_make.py arch '%s'", scratch_dir());
    FILE *f = fopen(scratch_path("cases.txt", ""), "r");
    assert_non_null(f);
    for (; fscanf(f, "%63s", name) == 1; n++) check_model(name);
    fclose(f);
    printf("   %d models\n", n);
    assert_true(n > 20);
}

/* ---- types of the written file ---- */

static void test_types(void **state) {
    (void)state;
    static const struct { const char *name; moa_dtype matrix; } CASES[] = {{"F32", MOA_F32}, {"F16", MOA_F16}, {"BF16", MOA_BF16}, {"Q8_0", MOA_Q8_0}};
    if (access(scratch_path("gpt-oss-mx", ""), R_OK) != 0) skip();
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        moa_gguf *g = NULL;
        moa_err err = {0};
        const moa_hf_convert how = {.type = CASES[i].name};
        if (moa_hf_write(scratch_path("gpt-oss-mx", ""), scratch_path("typed", ".gguf"), &how, &err) < 0) fail_msg("%s", err.text);
        if (moa_gguf_open(&g, scratch_path("typed", ".gguf"), &err) < 0) fail_msg("%s", err.text);
        assert_int_equal(moa_gguf_tensor(g, "blk.0.attn_q.weight")->dtype, CASES[i].matrix);
        assert_int_equal(moa_gguf_tensor(g, "blk.0.attn_q.bias")->dtype, MOA_F32);
        assert_int_equal(moa_gguf_tensor(g, "blk.0.ffn_gate_inp.weight")->dtype, MOA_F32);
        assert_int_equal(moa_gguf_tensor(g, "blk.0.ffn_up_exps.weight")->dtype, MOA_MXFP4);
        assert_int_equal(moa_gguf_tensor(g, "blk.0.ffn_up_exps.bias")->dtype, MOA_F32);
        moa_gguf_close(g);
    }
    moa_err err = {0};
    const moa_hf_convert bad = {.type = "Q99"};
    assert_int_equal(moa_hf_write(scratch_path("gpt-oss-mx", ""), scratch_path("typed", ".gguf"), &bad, &err), MOA_EUSAGE);
}

/* Keys and shapes only: derived tensors are there, their numbers are not made. */
static void test_head(void **state) {
    (void)state;
    moa_gguf *g = NULL;
    moa_err err = {0};
    if (access(scratch_path("llama-bias", ""), R_OK) != 0) skip();
    if (moa_gguf_open_any(&g, scratch_path("llama-bias", ""), MOA_HF_HEAD, &err) < 0) fail_msg("%s", err.text);
    const moa_tensor *q = moa_gguf_tensor(g, "blk.0.attn_q.weight"), *v = moa_gguf_tensor(g, "blk.0.attn_v.weight");
    assert_int_equal(moa_cols(q), 72);
    assert_true(((const float *)q->data)[0] == 0);
    assert_true(((const float *)v->data)[0] != 0);
    moa_gguf_close(g);
    if (moa_gguf_open_any(&g, scratch_path("llama-bias.gguf", ""), 0, &err) < 0) fail_msg("%s", err.text);
    moa_gguf_close(g);
}

/* ---- tokenizers ---- */

static void add_line(moa_buf *b, moa_tokenizer *t, const char *p, size_t n) {
    moa_ids ids = {0};
    moa_err err = {0};
    if (moa_tokenize(&ids, t, p, n, 0, &err) < 0) fail_msg("%s", err.text);
    for (int64_t i = 0; i < ids.n; i++) moa_buf_addf(b, " %d", ids.v[i]);
    moa_buf_adds(b, "\n");
    moa_ids_deinit(&ids);
}

static void check_tokenizer(const char *vocab, const char *how) {
    char folder[64];
    static const char MARK[] = "\n__ggml_vocab_test__\n";
    char from[PATH_MAX], file[PATH_MAX + 8];
    char *text = NULL, *want = NULL;
    moa_gguf *g = NULL;
    moa_tokenizer *t = NULL;
    moa_err err = {0};
    moa_buf b;
    const char *root = getenv("MOA_SHARED");
    snprintf(from, sizeof from, "%s/goldens/tokenizer/ggml-vocab-%s.gguf", root ? root : "../shared", vocab);
    if (access(from, R_OK) != 0) {
        printf("skip: %s is not here\n", from);
        skip();
    }
    snprintf(folder, sizeof folder, "%s-%s", how, vocab);
    run_numpy("tests/format/hf_make.py %s '%s' '%s'", how, from, scratch_path(folder, ""));
    if (moa_hf_open(&g, scratch_path(folder, ""), 0, &err) < 0 || moa_tokenizer_open(&t, g, &err) < 0) fail_msg("%s: %s", vocab, err.text);
    snprintf(file, sizeof file, "%s.inp", from);
    if (moa_read_file(&text, NULL, file, 1 << 20, &err) < 0) fail_msg("%s", err.text);
    snprintf(file, sizeof file, "%s.out", from);
    if (moa_read_file(&want, NULL, file, 1 << 20, &err) < 0) fail_msg("%s", err.text);
    moa_buf_init(&b, 1 << 24);
    for (const char *p = text, *end; p; p = end ? end + strlen(MARK) : NULL) {
        end = strstr(p, MARK);
        if (end || *p) add_line(&b, t, p, end ? (size_t)(end - p) : strlen(p));
    }
    /* Lines may end in spaces. */
    const char *w = want, *h = moa_buf_str(&b);
    for (int line = 0; *w || *h; line++) {
        size_t a = strcspn(w, "\n"), c = strcspn(h, "\n"), k = a;
        while (k && w[k - 1] == ' ') k--;
        if (k != c || memcmp(w, h, k) != 0) fail_msg("%s: text %d: got '%.*s', expected '%.*s'", vocab, line, (int)c, h, (int)k, w);
        w += a + (w[a] != 0);
        h += c + (h[c] != 0);
    }
    moa_buf_deinit(&b);
    free(text);
    free(want);
    moa_tokenizer_close(t);
    moa_gguf_close(g);
}

static void test_tokenizers(void **state) {
    (void)state;
    static const char *const VOCABS[] = {"llama-spm", "phi-3", "gpt-2", "falcon", "deepseek-coder"};
    for (size_t i = 0; i < sizeof VOCABS / sizeof *VOCABS; i++) check_tokenizer(VOCABS[i], "tokenizer");
    check_tokenizer("gpt-2", "pair");
}

/* ---- broken folders ---- */

static void put_file(const char *name, const char *text) {
    moa_writer *w = NULL;
    moa_err err = {0};
    if (moa_writer_open(&w, scratch_path("bad/", name), &err) < 0) fail_msg("%s", err.text);
    moa_writer_add(w, text, strlen(text));
    if (moa_writer_commit(w, &err) < 0) fail_msg("%s", err.text);
}

/* Tensors "NAME rows cols;..." (cols 0: a vector) as zeros. */
static void put_weights(const char *name, const char *list) {
    moa_buf head;
    moa_writer *w = NULL;
    moa_err err = {0};
    uint64_t at = 0;
    moa_buf_init(&head, 1 << 20);
    moa_buf_adds(&head, "{");
    for (const char *p = list; *p; p += strcspn(p, ";"), p += *p == ';') {
        char tensor[128];
        int rows, cols;
        assert_int_equal(sscanf(p, "%127s %d %d", tensor, &rows, &cols), 3);
        const uint64_t bytes = (uint64_t)rows * (uint64_t)(cols ? cols : 1) * 4;
        moa_buf_addf(&head, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%d", at ? "," : "", tensor, rows);
        if (cols) moa_buf_addf(&head, ",%d", cols);
        moa_buf_addf(&head, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at, (unsigned long long)(at + bytes));
        at += bytes;
    }
    moa_buf_adds(&head, "}");
    const uint64_t n = head.len;
    if (moa_writer_open(&w, scratch_path("bad/", name), &err) < 0) fail_msg("%s", err.text);
    moa_writer_add(w, &n, 8);
    moa_writer_add(w, head.data, head.len);
    for (; at; at--) moa_writer_add(w, "", 1);
    if (moa_writer_commit(w, &err) < 0) fail_msg("%s", err.text);
    moa_buf_deinit(&head);
}

#define LLAMA "\"model_type\":\"llama\",\"hidden_size\":4,\"num_hidden_layers\":1,\"intermediate_size\":4,\"max_position_embeddings\":16,\"rms_norm_eps\":1e-5"
#define GOOD "{" LLAMA ",\"num_attention_heads\":2,\"vocab_size\":3,\"tie_word_embeddings\":true}"
#define EMBD "model.embed_tokens.weight 3 4;"

static void new_folder(void) {
    char cmd[PATH_MAX + 64];
    snprintf(cmd, sizeof cmd, "rm -rf '%s/bad' && mkdir '%s/bad'", scratch_dir(), scratch_dir());
    if (system(cmd) != 0) fail_msg("%s", cmd);
}

static void expect(int code, const char *text) {
    moa_gguf *g = NULL;
    moa_err err = {0};
    const int rc = moa_hf_open(&g, scratch_path("bad", ""), 0, &err);
    if (rc != code || (code && !strstr(err.text, text))) fail_msg("got %d '%s', expected %d with '%s'", rc, err.text, code, text);
    moa_gguf_close(g);
}

static void bad_config(const char *config, int code, const char *text) {
    new_folder();
    put_file("config.json", config);
    put_weights("model.safetensors", EMBD "model.layers.0.self_attn.q_proj.weight 4 4");
    expect(code, text);
}

static void test_bad_config(void **state) {
    (void)state;
    bad_config(GOOD, 0, "");
    bad_config("{}", MOA_ENOTFOUND, "'model_type' is missing");
    bad_config("[]", MOA_EFORMAT, "expected a JSON object");
    bad_config("{\"model_type\":\"zebra\"}", MOA_EUNSUPPORTED, "model_type 'zebra' is not known");
    bad_config("{" LLAMA ",\"vocab_size\":3}", MOA_ENOTFOUND, "'num_attention_heads' is missing");
    bad_config("{" LLAMA ",\"num_attention_heads\":2.5,\"vocab_size\":3}", MOA_EFORMAT, "'num_attention_heads' = 2.5");
    bad_config("{" LLAMA ",\"num_attention_heads\":1e30,\"vocab_size\":3}", MOA_EFORMAT, "'num_attention_heads' = 1e+30");
    bad_config("{" LLAMA ",\"num_attention_heads\":\"2\",\"vocab_size\":3}", MOA_EFORMAT, "'num_attention_heads' is not a number");
    bad_config("{" LLAMA ",\"num_attention_heads\":3,\"vocab_size\":3}", MOA_EFORMAT, "hidden_size = 4 is no multiple of num_attention_heads = 3");
    bad_config("{" LLAMA ",\"num_attention_heads\":4,\"num_key_value_heads\":3,\"vocab_size\":3}", MOA_EFORMAT, "4 heads, 3 for keys");
    bad_config("{" LLAMA ",\"num_attention_heads\":2,\"vocab_size\":7}", MOA_EFORMAT, "vocab_size = 7, the embedding has 3 rows");
    bad_config("{" LLAMA ",\"num_attention_heads\":2,\"vocab_size\":3,\"tie_word_embeddings\":false}", MOA_ENOTFOUND, "lm_head.weight");
    bad_config("{" LLAMA ",\"num_attention_heads\":2,\"vocab_size\":3,\"hidden_act\":\"relu\"}", MOA_EUNSUPPORTED, "hidden_act is 'relu', expected 'silu'");
    bad_config("{" LLAMA ",\"tie_word_embeddings\":7}", MOA_EFORMAT, "'tie_word_embeddings' is neither true nor false");
    bad_config("{\"model_type\":\"qwen3_moe\",\"norm_topk_prob\":\"true\"}", MOA_EFORMAT, "'norm_topk_prob' is neither true nor false");
    bad_config("{\"model_type\":\"bert\",\"hidden_act\":\"gelu_new\"}", MOA_EUNSUPPORTED, "hidden_act is 'gelu_new', expected 'gelu'");
    bad_config("{" LLAMA ",\"num_attention_heads\":2,\"vocab_size\":3,\"quantization_config\":{\"quant_method\":\"awq\"}}", MOA_EUNSUPPORTED, "quantised by 'awq'");
    bad_config("{" LLAMA ",\"num_attention_heads\":2,\"vocab_size\":3,\"rope_scaling\":{\"type\":\"spiral\"}}", MOA_EUNSUPPORTED, "'spiral' is not known");
    bad_config("{" LLAMA ",\"num_attention_heads\":2,\"vocab_size\":3,\"rope_scaling\":{\"type\":\"yarn\"}}", MOA_ENOTFOUND, "'factor' is missing");
    bad_config("{" LLAMA ",\"num_attention_heads\":2,\"vocab_size\":3,\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4,\"truncate\":\"no\"}}", MOA_EFORMAT, "'truncate'");
    bad_config("{" LLAMA ",\"num_attention_heads\":2,\"vocab_size\":3,\"rope_scaling\":{\"type\":\"longrope\",\"long_factor\":[1,2,3]}}", MOA_EFORMAT,
               "'long_factor' has 3 numbers, expected 1: half of the 2");
    bad_config("{" LLAMA ",\"num_attention_heads\":4,\"vocab_size\":3}", MOA_EFORMAT, "1 dimensions of a head are rotated");
}

static void bad_weights(const char *list, int code, const char *text) {
    new_folder();
    put_file("config.json", GOOD);
    put_weights("model.safetensors", list);
    expect(code, text);
}

static void test_bad_weights(void **state) {
    (void)state;
    bad_weights("model.norm.weight 4 0", MOA_ENOTFOUND, "'model.embed_tokens.weight'");
    bad_weights(EMBD "model.layers.0.self_attn.w_proj.weight 4 4", MOA_EUNSUPPORTED, "'model.layers.0.self_attn.w_proj.weight' is not known");
    bad_weights(EMBD "model.layers.1.self_attn.q_proj.weight 4 4", MOA_EFORMAT, "is of layer 1, config.json has 1 layers");
    bad_weights(EMBD "model.layers.0.self_attn.q_proj.weight 6 4", MOA_EFORMAT, "has 6 rows, expected a multiple of 2 x 2 heads");
    bad_weights(EMBD "embed_tokens.weight 3 4", MOA_EFORMAT, "two tensors of the files are 'token_embd.weight'");
    bad_weights(EMBD "model.layers.0.mlp.experts.0.up_proj.weight 4 4", MOA_EFORMAT, "is of expert 0, config.json has 0");
    bad_weights(EMBD "model.layers.0.block_sparse_moe.input_linear.weight 3 4", MOA_EFORMAT, "3 in two parts");
    new_folder();
    put_file("config.json", GOOD);
    expect(MOA_ENOTFOUND, "neither model.safetensors nor model.safetensors.index.json");
}

static void bad_index(const char *index, int code, const char *text) {
    new_folder();
    put_file("config.json", GOOD);
    put_weights("a.safetensors", EMBD);
    put_file("model.safetensors.index.json", index);
    expect(code, text);
}

static void test_bad_index(void **state) {
    (void)state;
    static const char *const ELSEWHERE[] = {"../x.safetensors", "/etc/x.safetensors", "sub/x.safetensors", "..", "", ".x.safetensors", "passwd"};
    bad_index("{\"weight_map\":{\"model.embed_tokens.weight\":\"a.safetensors\"}}", 0, "");
    for (size_t i = 0; i < sizeof ELSEWHERE / sizeof *ELSEWHERE; i++) {
        char index[200];
        snprintf(index, sizeof index, "{\"weight_map\":{\"t\":\"%s\"}}", ELSEWHERE[i]);
        bad_index(index, MOA_EFORMAT, "expected a .safetensors file of the same folder");
    }
    bad_index("{}", MOA_EFORMAT, "weight_map is missing or empty");
    bad_index("{\"weight_map\":{\"t\":7}}", MOA_EFORMAT, "'t' has no file name");
    bad_index("{\"weight_map\":{\"t\":\"b.safetensors\"}}", MOA_ENOTFOUND, "b.safetensors");
    bad_index("{\"weight_map\":{\"lm_head.weight\":\"a.safetensors\"}}", MOA_EFORMAT, "'lm_head.weight' is said to be in a.safetensors, which has no such tensor");
}

/* Experts: all of them, of one shape. */
static void test_bad_experts(void **state) {
    (void)state;
    static const struct { const char *list, *text; int code; } CASES[] = {
        {EMBD "model.layers.0.block_sparse_moe.experts.0.w1.weight 4 4", "expert 1 of 'blk.0.ffn_gate_exps.weight' is missing", MOA_ENOTFOUND},
        {EMBD "model.layers.0.block_sparse_moe.experts.0.w1.weight 4 4;model.layers.0.block_sparse_moe.experts.1.w1.weight 2 4",
         "is F32 [2, 4], other experts are F32 [4, 4]", MOA_EFORMAT},
        {EMBD "model.layers.0.block_sparse_moe.experts.2.w1.weight 4 4", "is of expert 2, config.json has 2", MOA_EFORMAT},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        new_folder();
        put_file("config.json", "{\"model_type\":\"mixtral\",\"hidden_size\":4,\"num_hidden_layers\":1,\"intermediate_size\":4,\"max_position_embeddings\":16,"
                 "\"rms_norm_eps\":1e-5,\"num_attention_heads\":2,\"vocab_size\":3,\"num_local_experts\":2,\"num_experts_per_tok\":2}");
        put_weights("model.safetensors", CASES[i].list);
        expect(CASES[i].code, CASES[i].text);
    }
}

static void bad_tokenizer(const char *json, int code, const char *text) {
    new_folder();
    put_file("config.json", GOOD);
    put_weights("model.safetensors", EMBD);
    put_file("tokenizer.json", json);
    expect(code, text);
}

#define BYTES "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"
static void test_bad_tokenizer(void **state) {
    (void)state;
    bad_tokenizer("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}," BYTES "}", 0, "");
    bad_tokenizer("{}", MOA_EFORMAT, "'model' is missing");
    bad_tokenizer("{\"model\":{\"type\":\"Magic\"}}", MOA_EUNSUPPORTED, "model.type is 'Magic'");
    bad_tokenizer("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":3},\"merges\":[]}," BYTES "}", MOA_EFORMAT, "'a' has id 3, vocab_size in config.json is 3");
    bad_tokenizer("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1,\"b\":1},\"merges\":[]}," BYTES "}", MOA_EFORMAT, "both have id 1");
    bad_tokenizer("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a\"]}," BYTES "}", MOA_EFORMAT, "merges[0] is not a pair");
    bad_tokenizer("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[[\"a\",\"b\",\"c\"]]}," BYTES "}", MOA_EFORMAT, "merges[0] is not a pair");
    bad_tokenizer("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"byte_fallback\":true},\"normalizer\":{\"type\":\"Shout\"}}",
                  MOA_EUNSUPPORTED, "normalizer is not supported: {\"type\":\"Shout\"}");
    bad_tokenizer("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]},\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"q+\"},"
                  "\"behavior\":\"Isolated\"}}", MOA_EUNSUPPORTED, "pre_tokenizer is not known: split q+");
    bad_tokenizer("{\"added_tokens\":[{\"id\":9,\"content\":\"<x>\",\"special\":true}],\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}," BYTES "}",
                  MOA_EFORMAT, "'<x>' has id 9, vocab_size in config.json is 3");
}

/* ---- other kinds ---- */

static moa_gguf *opened(const char *json, const char *config) {
    moa_gguf *g = NULL;
    moa_err err = {0};
    new_folder();
    put_file("config.json", GOOD);
    put_weights("model.safetensors", EMBD);
    put_file("tokenizer.json", json);
    put_file("tokenizer_config.json", config);
    if (moa_hf_open(&g, scratch_path("bad", ""), 0, &err) < 0) fail_msg("%s", err.text);
    return g;
}

static void is_text(const moa_gguf *g, const char *key, uint64_t i, const char *want) {
    const moa_gguf_kv *kv = moa_gguf_find(g, key);
    if (!kv || i >= kv->count) fail_msg("%s is missing", key);
    const moa_str s = moa_gguf_arr_str(kv, i);
    if (s.n != strlen(want) || memcmp(s.p, want, s.n) != 0) fail_msg("%s[%d] is '%.*s', expected '%s'", key, (int)i, (int)s.n, s.p, want);
}

static void is_number(const moa_gguf *g, const char *key, uint64_t i, int64_t want) {
    const moa_gguf_kv *kv = moa_gguf_find(g, key);
    if (!kv || i >= kv->count) fail_msg("%s is missing", key);
    assert_int_equal(moa_gguf_arr_int(kv, i), want);
}

static void test_word_piece(void **state) {
    (void)state;
    moa_gguf *g = opened("{\"added_tokens\":[{\"id\":0,\"content\":\"[UNK]\",\"special\":true,\"lstrip\":true}],\"normalizer\":{\"type\":\"BertNormalizer\","
                         "\"lowercase\":false,\"strip_accents\":null},\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},\"model\":{\"type\":\"WordPiece\","
                         "\"continuing_subword_prefix\":\"##\",\"unk_token\":\"[UNK]\",\"vocab\":{\"[UNK]\":0,\"he\":1,\"##llo\":2}}}",
                         "{\"unk_token\":\"[UNK]\",\"sep_token\":{\"content\":\"he\"}}");
    is_text(g, "tokenizer.ggml.model", 0, "bert");
    is_text(g, "tokenizer.ggml.tokens", 1, "\xe2\x96\x81he");
    is_text(g, "tokenizer.ggml.tokens", 2, "llo");
    is_number(g, "tokenizer.ggml.normalizer.lowercase", 0, 0);
    is_number(g, "tokenizer.ggml.normalizer.strip_accents", 0, 0);
    is_number(g, "tokenizer.ggml.seperator_token_id", 0, 1);
    is_number(g, "tokenizer.ggml.unknown_token_id", 0, 0);
    is_number(g, "moa.tokenizer.lstrip", 0, 0);
    assert_null(moa_gguf_find(g, "moa.tokenizer.rstrip"));
    moa_gguf_close(g);
}

static void test_unigram(void **state) {
    (void)state;
    moa_gguf *g = opened("{\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"BAAAAAEC\"}]},"
                         "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"prepend_scheme\":\"always\"},\"model\":{\"type\":\"Unigram\",\"unk_id\":1,"
                         "\"vocab\":[[\"</s>\",0],[\"<unk>\",0],[\"\xe2\x96\x81he\",-1.5]]}}",
                         "{\"eos_token\":\"</s>\",\"add_eos_token\":true,\"chat_template\":[{\"name\":\"tool_use\",\"template\":\"t\"},"
                         "{\"name\":\"default\",\"template\":\"d\"}]}");
    is_text(g, "tokenizer.ggml.model", 0, "t5");
    is_number(g, "tokenizer.ggml.precompiled_charsmap", 0, 4);
    is_number(g, "tokenizer.ggml.precompiled_charsmap", 5, 2);
    is_number(g, "tokenizer.ggml.token_type", 1, 2);
    is_number(g, "tokenizer.ggml.add_space_prefix", 0, 1);
    is_number(g, "tokenizer.ggml.add_eos_token", 0, 1);
    is_number(g, "tokenizer.ggml.eos_token_id", 0, 0);
    assert_true(moa_gguf_arr_f32(moa_gguf_find(g, "tokenizer.ggml.scores"), 2) == -1.5f);
    is_text(g, "tokenizer.chat_template", 0, "d");
    is_text(g, "tokenizer.chat_template.tool_use", 0, "t");
    moa_gguf_close(g);
}

/* ---- pre-tokenizers ---- */

static const char *pre_of(const char *regex, bool whole) {
    json_t *o = json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, {s:s, s:b, s:b}]}", "type", "Sequence", "pretokenizers", "type", "Split", "pattern",
                          "Regex", regex, "behavior", "Isolated", "invert", 0, "type", "ByteLevel", "add_prefix_space", 0, "use_regex", 0);
    const char *name = NULL;
    moa_err err = {0};
    assert_non_null(o);
    bool prefix;
    (void)hf_pre_name(&name, &prefix, o, whole, "tokenizer.json", &err);
    json_decref(o);
    return name ? name : "";
}

static void test_pre(void **state) {
    (void)state;
    static const char LLAMA3[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    assert_string_equal(pre_of(LLAMA3, true), "llama-bpe");
    assert_string_equal(pre_of(LLAMA3, false), "smaug-bpe");
    /* the same rule in the spelling of GPT-4 */
    assert_string_equal(pre_of("'(?i:[sdmt]|ll|ve|re)|[^\r\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]++[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+", false), "smaug-bpe");
    assert_string_equal(pre_of("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", false), "qwen2");
    assert_string_equal(pre_of("[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
                               "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}|"
                               " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", false), "gpt-4o");
    assert_string_equal(pre_of("[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|"
                               "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}|"
                               " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", true), "tekken");
    assert_string_equal(pre_of("x+", false), "");
    /* two parts before the bytes */
#define PARTS(a, b) "{\"type\":\"Sequence\",\"pretokenizers\":[" a "," b ",{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}"
#define ONE(re) "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" re "\"},\"behavior\":\"Isolated\",\"invert\":false}"
    static const char *const TWO[][2] = {
        {"minicpm5", PARTS(ONE("\\\\p{N}{1,3}"), ONE("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}+| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|"
                               "\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"))},
        {"viking", PARTS(ONE(" ?[^(\\\\s|[.,!?\xe2\x80\xa6\xe3\x80\x82\xef\xbc\x8c\xe3\x80\x81\xe0\xa5\xa4\xdb\x94\xd8\x8c])]+"), "{\"type\":\"Digits\",\"individual_digits\":true}")},
    };
    for (size_t i = 0; i < 2; i++) {
        json_t *o = json_loads(TWO[i][1], 0, NULL);
        const char *name;
        bool prefix;
        moa_err err = {0};
        assert_non_null(o);
        if (hf_pre_name(&name, &prefix, o, false, "tokenizer.json", &err) < 0) fail_msg("%s", err.text);
        assert_string_equal(name, TWO[i][0]);
        json_decref(o);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_models),      cmocka_unit_test(test_types),       cmocka_unit_test(test_head),      cmocka_unit_test(test_tokenizers),
        cmocka_unit_test(test_bad_config),  cmocka_unit_test(test_bad_weights), cmocka_unit_test(test_bad_index), cmocka_unit_test(test_bad_experts),
        cmocka_unit_test(test_bad_tokenizer), cmocka_unit_test(test_word_piece), cmocka_unit_test(test_unigram), cmocka_unit_test(test_pre),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
