/* tinyfolder.c - the small model in the forms of Hugging Face (tinymodel.h). The way from GGUF back to a checkpoint is written down here
 * once more: what moa does to names and rows is not checked against itself.
 * SPDX-License-Identifier: Apache-2.0 */
#include "support/tinymodel.h"

#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "format/gguf.h"
#include "support/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TENSOR = 64, RANK = 4 };

static int put_file(const char *folder, const char *name, const moa_buf *b, moa_err *err) {
    char path[4096];
    moa_writer *w;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (b->failed) return moa_fail(err, b->failed, "%s: no memory", path);
    MOA_TRY(moa_writer_open(&w, path, err));
    moa_writer_add(w, b->data, b->len);
    return moa_writer_commit(w, err);
}

static int number(const moa_gguf *g, const char *key) {
    uint32_t v = 0;
    (void)moa_gguf_u32(&v, g, key, 0, NULL);
    return (int)v;
}

/* Name in the checkpoint; heads: of a matrix whose rotated rows are neighbours in GGUF and halves there, else 0. */
static void checkpoint_name(char out[96], int *heads, const moa_gguf *g, const char *name) {
    static const struct { const char *from, *to; } map[] = {
        {"attn_norm", "input_layernorm"}, {"attn_q", "self_attn.q_proj"}, {"attn_k", "self_attn.k_proj"}, {"attn_v", "self_attn.v_proj"},
        {"attn_output", "self_attn.o_proj"}, {"ffn_norm", "post_attention_layernorm"}, {"ffn_gate", "mlp.gate_proj"}, {"ffn_up", "mlp.up_proj"},
        {"ffn_down", "mlp.down_proj"}};
    int layer;
    char part[64];
    *heads = 0;
    snprintf(out, 96, "%s", !strcmp(name, "token_embd.weight") ? "model.embed_tokens.weight" : !strcmp(name, "output_norm.weight") ? "model.norm.weight" : "lm_head.weight");
    if (sscanf(name, "blk.%d.%63[a-z_].weight", &layer, part) != 2) return;
    for (size_t i = 0; i < sizeof map / sizeof *map; i++)
        if (!strcmp(map[i].from, part)) snprintf(out, 96, "model.layers.%d.%s.weight", layer, map[i].to);
    if (!strcmp(part, "attn_q")) *heads = number(g, "llama.attention.head_count");
    if (!strcmp(part, "attn_k")) *heads = number(g, "llama.attention.head_count_kv");
}

/* Row 2j + s of a head is row j + s * half of it in the checkpoint. */
static void move_rows(float *to, const float *from, int rows, int cols, int heads) {
    const int each = heads ? rows / heads : 0;
    for (int r = 0; r < rows; r++) {
        const int at = each ? r % each : 0, row = each ? r - at + at / 2 + at % 2 * (each / 2) : r;
        memcpy(to + (size_t)row * (size_t)cols, from + (size_t)r * (size_t)cols, (size_t)cols * sizeof *to);
    }
}

static int write_weights(const char *folder, const moa_gguf *g, moa_err *err) {
    test_tensor t[MAX_TENSOR];
    char name[MAX_TENSOR][96];
    float *data[MAX_TENSOR] = {0};
    const int n = moa_gguf_n_tensor(g) < MAX_TENSOR ? moa_gguf_n_tensor(g) : MAX_TENSOR;
    int heads;
    moa_buf b;
    moa_buf_init(&b, 16 << 20);
    for (int i = 0; i < n; i++) {
        const moa_tensor *from = moa_gguf_tensor_at(g, i);
        const int cols = (int)moa_cols(from), rows = from->n_dim > 1 ? (int)moa_rows(from) : 1;
        data[i] = malloc((size_t)rows * (size_t)cols * sizeof(float));
        if (!data[i]) b.failed = MOA_ENOMEM;
        checkpoint_name(name[i], &heads, g, from->name);
        if (data[i]) move_rows(data[i], from->data, rows, cols, heads);
        t[i] = from->n_dim > 1 ? (test_tensor){name[i], rows, cols, data[i], 0} : (test_tensor){name[i], cols, 0, data[i], 0};
    }
    if (!b.failed) test_safetensors(&b, t, n);
    const int rc = put_file(folder, "model.safetensors", &b, err);
    for (int i = 0; i < n; i++) free(data[i]);
    moa_buf_deinit(&b);
    return rc;
}

static int write_config(const char *folder, const moa_gguf *g, moa_err *err) {
    float eps = 0, base = 0;
    moa_buf b;
    moa_buf_init(&b, 1 << 16);
    MOA_TRY(moa_gguf_f32(&eps, g, "llama.attention.layer_norm_rms_epsilon", 1e-5f, err));
    MOA_TRY(moa_gguf_f32(&base, g, "llama.rope.freq_base", 10000, err));
    moa_buf_addf(&b, "{\"model_type\":\"llama\",\"hidden_act\":\"silu\",\"hidden_size\":%d,\"num_hidden_layers\":%d,\"num_attention_heads\":%d,\"num_key_value_heads\":%d,",
                 number(g, "llama.embedding_length"), number(g, "llama.block_count"), number(g, "llama.attention.head_count"), number(g, "llama.attention.head_count_kv"));
    moa_buf_addf(&b, "\"intermediate_size\":%d,\"max_position_embeddings\":%d,\"vocab_size\":%d,\"rms_norm_eps\":%.9g,\"rope_theta\":%.9g,\"tie_word_embeddings\":%s}",
                 number(g, "llama.feed_forward_length"), number(g, "llama.context_length"), (int)moa_rows(moa_gguf_tensor(g, "token_embd.weight")), (double)eps, (double)base,
                 moa_gguf_tensor(g, "output.weight") ? "false" : "true");
    const int rc = put_file(folder, "config.json", &b, err);
    moa_buf_deinit(&b);
    return rc;
}

static void add_list(moa_buf *b, const moa_gguf_kv *kv, bool with_ids) {
    for (uint64_t i = 0; i < kv->count; i++) {
        const moa_str s = moa_gguf_arr_str(kv, i);
        if (i) moa_buf_adds(b, ",");
        moa_json_add_str(b, s.p, s.n);
        if (with_ids) moa_buf_addf(b, ":%d", (int)i);
    }
}

/* Byte-level BPE whose numbers are single digits; control tokens are added tokens, the last of them ends a turn. */
static int write_tokenizer(const char *folder, const moa_gguf *g, moa_err *err) {
    const moa_gguf_kv *tokens = moa_gguf_find(g, "tokenizer.ggml.tokens"), *types = moa_gguf_find(g, "tokenizer.ggml.token_type");
    const moa_gguf_kv *merges = moa_gguf_find(g, "tokenizer.ggml.merges");
    moa_str text = {0};
    moa_buf b, c;
    moa_buf_init(&b, 1 << 20);
    moa_buf_init(&c, 1 << 16);
    moa_buf_adds(&c, "{\"eos_token\":");
    moa_buf_adds(&b, "{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true},"
                     "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}]},\"added_tokens\":[");
    const int eos = number(g, "tokenizer.ggml.eos_token_id");
    for (uint64_t i = 0, n = 0; i < tokens->count; i++) {
        const moa_str s = moa_gguf_arr_str(tokens, i);
        if ((int)i == eos) moa_json_add_str(&c, s.p, s.n);
        if (moa_gguf_arr_int(types, i) != 3) continue;
        moa_buf_addf(&b, "%s{\"id\":%d,\"special\":true,\"content\":", n++ ? "," : "", (int)i);
        moa_json_add_str(&b, s.p, s.n);
        moa_buf_adds(&b, "}");
    }
    moa_buf_adds(&b, "],\"model\":{\"type\":\"BPE\",\"vocab\":{");
    add_list(&b, tokens, true);
    moa_buf_adds(&b, "},\"merges\":[");
    add_list(&b, merges, false);
    moa_buf_adds(&b, "]}}");
    int rc = moa_gguf_str(&text, g, "tokenizer.chat_template", "", err);
    moa_buf_adds(&c, ",\"chat_template\":");
    moa_json_add_str(&c, text.p, text.n);
    moa_buf_adds(&c, "}");
    if (rc >= 0) rc = put_file(folder, "tokenizer.json", &b, err);
    if (rc >= 0) rc = put_file(folder, "tokenizer_config.json", &c, err);
    moa_buf_deinit(&b);
    moa_buf_deinit(&c);
    return rc;
}

int tinymodel_write_folder(const char *folder, const char *gguf, moa_err *err) {
    moa_gguf *g;
    MOA_TRY(moa_mkdirs(folder, err));
    MOA_TRY(moa_gguf_open(&g, gguf, err));
    int rc = write_config(folder, g, err);
    if (rc >= 0) rc = write_weights(folder, g, err);
    if (rc >= 0) rc = write_tokenizer(folder, g, err);
    moa_gguf_close(g);
    return rc;
}

int tinymodel_write_lora(const char *folder, uint64_t seed, moa_err *err) {
    static const char config[] = "{\"peft_type\":\"LORA\",\"base_model_name_or_path\":\"tiny\",\"r\":4,\"lora_alpha\":8,\"target_modules\":[\"q_proj\",\"down_proj\"]}";
    static const struct { const char *module; int n_in, n_out; } part[] = {{"self_attn.q_proj", 64, 64}, {"mlp.down_proj", 96, 64}};
    enum { N = 8, MOST = 96 * RANK };
    float data[N][MOST];
    char name[N][96];
    test_tensor t[N];
    moa_rng r;
    moa_buf b;
    moa_rng_seed(&r, seed);
    for (int i = 0; i < N; i++) { /* layer, module, half */
        const int p = i / 2 % 2;
        const bool down = i % 2 == 0;
        snprintf(name[i], sizeof name[i], "base_model.model.model.layers.%d.%s.lora_%s.weight", i / 4, part[p].module, down ? "A" : "B");
        t[i] = (test_tensor){name[i], down ? RANK : part[p].n_out, down ? part[p].n_in : RANK, data[i], 0};
        for (int k = 0; k < t[i].rows * t[i].cols; k++) data[i][k] = 0.3f * (float)moa_rng_normal(&r);
    }
    MOA_TRY(moa_mkdirs(folder, err));
    moa_buf_init(&b, 1 << 20);
    moa_buf_adds(&b, config);
    int rc = put_file(folder, "adapter_config.json", &b, err);
    moa_buf_clear(&b);
    test_safetensors(&b, t, N);
    if (rc >= 0) rc = put_file(folder, "adapter_model.safetensors", &b, err);
    moa_buf_deinit(&b);
    return rc;
}
