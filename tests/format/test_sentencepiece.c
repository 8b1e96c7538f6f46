/* test_sentencepiece.c - folders whose tokenizer is a SentencePiece model: ids against SentencePiece's own (golden/spm), what stands
 * beside it, wrong files. The models of the other tests are written here, field by field.
 * With MOA_CORPUS=FOLDER they are written there, as seeds for fuzz_sentencepiece.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "support/scratch.h"
#include "support/tokfolder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define W "\xe2\x96\x81"

/* ---- SentencePiece's own ids ---- */

static void same_ids(const tok_loaded *l, const json_t *row, const char *how) {
    moa_ids ids = {0};
    moa_err err = {0};
    const json_t *want = json_object_get(row, "ids"), *text = json_object_get(row, "text");
    if (moa_tokenize(&ids, l->t, json_string_value(text), json_string_length(text), 0, &err) < 0) fail_msg("%s", err.text);
    bool same = ids.n == (int64_t)json_array_size(want);
    for (int64_t i = 0; same && i < ids.n; i++) same = ids.v[i] == json_integer_value(json_array_get(want, (size_t)i));
    if (!same) {
        char *s = json_dumps(row, JSON_COMPACT);
        for (int64_t i = 0; i < ids.n; i++) printf(" %d", ids.v[i]);
        fail_msg("%s: got the above, expected %s", how, s);
    }
    moa_ids_deinit(&ids);
}

static int check_model(const char *name) {
    char path[200];
    char *model;
    size_t n;
    moa_err err = {0};
    moa_jsonl r;
    json_t *row;
    int count = 0, rc;
    snprintf(path, sizeof path, "tests/golden/spm/%s.model", name);
    if (moa_read_file(&model, &n, path, 1 << 20, &err) < 0) fail_msg("%s", err.text);
    tokfolder_clean(700);
    tokfolder_put("tokenizer.model", model, n);
    free(model);
    tok_loaded folder = tokfolder_open(), file = tokfolder_converted();
    if (moa_jsonl_open(&r, "tests/golden/spm/golden.jsonl", 1 << 22, &err) < 0) fail_msg("%s", err.text);
    while ((rc = moa_jsonl_next(&row, &r, &err)) > 0) {
        if (strcmp(json_string_value(json_object_get(row, "model")), name) == 0) {
            same_ids(&folder, row, "folder");
            same_ids(&file, row, "converted");
            count++;
        }
        json_decref(row);
    }
    if (rc < 0) fail_msg("%s", err.text);
    moa_jsonl_close(&r);
    tok_unload(folder);
    tok_unload(file);
    return count;
}

static void golden(void **state) {
    (void)state;
    static const char *const NAMES[] = {"bpe-bytes", "bpe-no-prefix", "bpe-map", "unigram-map", "unigram-bytes"};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        const int n = check_model(NAMES[i]);
        printf("   %-14s %d texts\n", NAMES[i], n);
        assert_true(n > 100);
    }
}

/* ---- a writer ---- */

enum { VARINT, F64, BYTES, F32 = 5 };

static void put_varint(moa_buf *b, uint64_t v) {
    for (; v >= 0x80; v >>= 7) moa_buf_add(b, &(char){(char)(v | 0x80)}, 1);
    moa_buf_add(b, &(char){(char)v}, 1);
}

static void put_number(moa_buf *b, int field, uint64_t v) {
    put_varint(b, (uint64_t)field << 3 | VARINT);
    put_varint(b, v);
}

static void put_string(moa_buf *b, int field, const char *p, size_t n) {
    put_varint(b, (uint64_t)field << 3 | BYTES);
    put_varint(b, n);
    moa_buf_add(b, p, n);
}

static void put_float(moa_buf *b, int field, float v) {
    put_varint(b, (uint64_t)field << 3 | F32);
    moa_buf_add(b, &v, 4);
}

typedef struct piece { const char *text; float score; int type; } piece;
enum { P_UNK, P_BOS, P_EOS, P_MARK, P_A, P_B, P_AB, P_MAB, P_SEP, N_P };
static const piece PIECES[N_P] = {{"<unk>", 0, 2}, {"<s>", 0, 3}, {"</s>", 0, 3}, {W, -3, 1}, {"a", -4, 1}, {"b", -5, 1}, {"ab", -1, 1}, {W "ab", -2, 1}, {"<sep>", 0, 4}};

/* What the file says; unset: the field is left out. */
typedef struct written {
    const piece *piece;
    int n;
    int model;                              /* 0: unset */
    int prefix, one_space, marks, suffix, bytes; /* -1: unset */
    const char *map, *back, *bos;           /* NULL: unset */
    const char *more;                       /* appended as it is, more_n bytes */
    size_t more_n;
} written;

static written bpe(void) {
    return (written){.piece = PIECES, .n = N_P, .model = 2, .prefix = -1, .one_space = 0, .marks = -1, .suffix = -1, .bytes = -1};
}

static void put_flag(moa_buf *b, int field, int v) {
    if (v >= 0) put_number(b, field, (uint64_t)v);
}

static void write_model(moa_buf *b, const written *w) {
    moa_buf in;
    moa_buf_init(b, 1 << 20);
    moa_buf_init(&in, 1 << 20);
    for (int i = 0; i < w->n; i++) {
        moa_buf_clear(&in);
        if (w->piece[i].text) put_string(&in, 1, w->piece[i].text, strlen(w->piece[i].text));
        put_float(&in, 2, w->piece[i].score);
        if (w->piece[i].type != 1) put_number(&in, 3, (uint64_t)w->piece[i].type);
        put_string(b, 1, moa_buf_str(&in), in.len);
    }
    moa_buf_clear(&in);
    put_string(&in, 2, "some prefix", 11); /* a field that is not looked at */
    if (w->model) put_number(&in, 3, (uint64_t)w->model);
    put_flag(&in, 24, w->suffix);
    put_flag(&in, 35, w->bytes);
    put_number(&in, 41, UINT64_MAX); /* -1 */
    if (w->bos) put_string(&in, 46, w->bos, strlen(w->bos));
    put_string(b, 2, in.data, in.len);
    moa_buf_clear(&in);
    if (w->map) put_string(&in, 2, w->map, strlen(w->map));
    put_flag(&in, 3, w->prefix);
    put_flag(&in, 4, w->one_space);
    put_flag(&in, 5, w->marks);
    put_string(b, 3, moa_buf_str(&in), in.len);
    moa_buf_clear(&in);
    if (w->back) {
        put_string(&in, 2, w->back, strlen(w->back));
        put_string(b, 5, in.data, in.len);
    }
    put_varint(b, 200 << 3 | F64); /* an extension */
    moa_buf_add(b, "12345678", 8);
    if (w->more) moa_buf_add(b, w->more, w->more_n);
    moa_buf_deinit(&in);
}

static void put_pieces(const char *name, const written *w) {
    moa_buf b;
    const char *corpus = getenv("MOA_CORPUS");
    static int count;
    write_model(&b, w);
    tokfolder_put(name, b.data, b.len);
    if (corpus) {
        char path[1024];
        snprintf(path, sizeof path, "%s/written-%02d", corpus, count++);
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        fputs("{}", f); /* a tokenizer_config.json and a zero byte before it */
        fputc(0, f);
        assert_int_equal(fwrite(b.data, 1, b.len, f), b.len);
        fclose(f);
    }
    moa_buf_deinit(&b);
}

/* ---- a published vocabulary ---- */

/* LLaMA's pieces, as its GGUF file has them, in a file of their own: the same ids for every published text. The file is checked against
 * those ids by test_tokenizer_golden.c. */
static void published(void **state) {
    (void)state;
    static const char MARK[] = "\n__ggml_vocab_test__\n";
    static piece p[1000];
    static char names[1000][64];
    moa_err err = {0};
    tok_loaded want = {NULL, NULL};
    char *text;
    if (moa_gguf_open(&want.g, "tests/golden/vocab-llama-spm.gguf", &err) < 0 || moa_tokenizer_open(&want.t, want.g, &err) < 0) fail_msg("%s", err.text);
    if (moa_read_file(&text, NULL, "tests/golden/vocab-llama-spm.gguf.inp", 1 << 20, &err) < 0) fail_msg("%s", err.text);
    const moa_gguf_kv *tokens = moa_gguf_find(want.g, "tokenizer.ggml.tokens"), *scores = moa_gguf_find(want.g, "tokenizer.ggml.scores"),
                      *types = moa_gguf_find(want.g, "tokenizer.ggml.token_type");
    written w = bpe();
    w.piece = p, w.n = (int)tokens->count, w.bytes = 1;
    for (uint64_t i = 0; i < tokens->count; i++) {
        const moa_str s = moa_gguf_arr_str(tokens, i);
        assert_true(i < 1000 && s.n < sizeof names[0]);
        snprintf(names[i], sizeof names[0], "%.*s", (int)s.n, s.p);
        p[i] = (piece){names[i], moa_gguf_arr_f32(scores, i), (int)moa_gguf_arr_int(types, i)};
    }
    tokfolder_clean(700);
    put_pieces("tokenizer.model", &w);
    tok_loaded got = tokfolder_open();
    int n = 0;
    for (const char *at = text, *end; at; at = end ? end + strlen(MARK) : NULL, n++) {
        moa_ids a = {0};
        end = strstr(at, MARK);
        char *one = end ? strndup(at, (size_t)(end - at)) : strdup(at);
        if (moa_tokenize(&a, want.t, one, strlen(one), MOA_TOK_BOS, &err) < 0) fail_msg("%s", err.text);
        tok_expect(got.t, one, MOA_TOK_BOS, a.v, a.n);
        moa_ids_deinit(&a);
        free(one);
    }
    assert_true(n > 40);
    free(text);
    tok_unload(got);
    tok_unload(want);
}

static void is_number(const moa_gguf *g, const char *key, uint64_t i, int64_t want) {
    const moa_gguf_kv *kv = moa_gguf_find(g, key);
    if (!kv || i >= kv->count) fail_msg("%s is missing", key);
    if (moa_gguf_arr_int(kv, i) != want) fail_msg("%s[%d] is %lld, expected %lld", key, (int)i, (long long)moa_gguf_arr_int(kv, i), (long long)want);
}

/* ---- what the file says ---- */

static void keys_of_file(void **state) {
    (void)state;
    written w = bpe();
    tokfolder_clean(20);
    put_pieces("tokenizer.model", &w);
    tok_loaded l = tokfolder_open();
    EXPECT(l.t, "ab", MOA_TOK_BOS | MOA_TOK_EOS, P_BOS, P_MAB);
    EXPECT(l.t, "a  b", 0, P_MARK, P_A, P_MARK, P_MARK, P_B);
    EXPECT(l.t, "<s>", 0, P_MARK, P_UNK);          /* a run of unknown characters; s, < and > have no piece */
    EXPECT(l.t, "ab<sep>ab", 0, P_MAB, P_SEP, P_MAB);
    is_number(l.g, "tokenizer.ggml.bos_token_id", 0, P_BOS); /* the file's own, not config.json's 7 */
    is_number(l.g, "tokenizer.ggml.eos_token_id", 0, P_EOS);
    is_number(l.g, "tokenizer.ggml.unknown_token_id", 0, P_UNK);
    is_number(l.g, "tokenizer.ggml.add_bos_token", 0, 1);
    is_number(l.g, "tokenizer.ggml.add_eos_token", 0, 0);
    is_number(l.g, "tokenizer.ggml.token_type", N_P, 5); /* the model's vocabulary is larger */
    tok_unload(l);
    w.prefix = 0, w.one_space = 1;
    put_pieces("tokenizer.model", &w);
    l = tokfolder_open();
    EXPECT(l.t, "  a   b  ", 0, P_A, P_MARK, P_B);
    tok_unload(l);
    w = bpe();
    w.model = 0; /* unigram, where the file does not say */
    w.bos = "</s>";
    put_pieces("tokenizer.model", &w);
    l = tokfolder_open();
    is_number(l.g, "tokenizer.ggml.bos_token_id", 0, P_EOS);
    is_number(l.g, "tokenizer.ggml.add_bos_token", 0, 0);
    EXPECT(l.t, "ab", MOA_TOK_BOS | MOA_TOK_EOS, P_MAB, P_EOS);
    tok_unload(l);
}

/* No piece for the beginning of a text: then there is none, whatever a reader would take. */
static void no_bos(void **state) {
    (void)state;
    static const piece P[] = {{"<unk>", 0, 2}, {"a", -1, 1}, {"b", -2, 1}, {W, -3, 1}};
    written w = bpe();
    w.piece = P, w.n = 4;
    tokfolder_clean(20);
    tokfolder_text("config.json", "{\"model_type\":\"llama\",\"hidden_size\":2,\"num_hidden_layers\":1,\"intermediate_size\":4,\"max_position_embeddings\":16,"
             "\"rms_norm_eps\":1e-5,\"num_attention_heads\":1,\"vocab_size\":20}");
    put_pieces("tokenizer.model", &w);
    tok_loaded l = tokfolder_open();
    assert_int_equal(moa_tokenizer_bos(l.t), -1);
    assert_int_equal(moa_tokenizer_eos(l.t), -1);
    EXPECT(l.t, "a", MOA_TOK_BOS | MOA_TOK_EOS, 3, 1);
    tok_unload(l);
}

/* ---- what stands beside it ---- */

static void beside(void **state) {
    (void)state;
    written w = bpe();
    tokfolder_clean(20);
    put_pieces("tokenizer.model", &w);
    tokfolder_text("added_tokens.json", "{\"<|turn|>\":9,\"[PAD]\":10,\"foo\":11}");
    tokfolder_text("special_tokens_map.json", "{\"pad_token\":\"[PAD]\",\"eos_token\":{\"content\":\"<|turn|>\"},\"additional_special_tokens\":[\"<x>\"]}");
    tokfolder_text("tokenizer_config.json", "{\"tokenizer_class\":\"LlamaTokenizer\",\"add_eos_token\":true,\"bos_token\":\"<s>\",\"added_tokens_decoder\":{"
             "\"12\":{\"content\":\" <y> \",\"special\":false,\"lstrip\":true,\"rstrip\":true,\"normalized\":false},"
             "\"5\":{\"content\":\"renamed\",\"special\":true},\"0\":{\"content\":\"<unk>\",\"special\":true}}}");
    tok_loaded l = tokfolder_open();
    is_number(l.g, "tokenizer.ggml.token_type", 0, 2);  /* unknown stays unknown */
    is_number(l.g, "tokenizer.ggml.token_type", 5, 3);
    is_number(l.g, "tokenizer.ggml.token_type", 9, 3);
    is_number(l.g, "tokenizer.ggml.token_type", 10, 3);
    is_number(l.g, "tokenizer.ggml.token_type", 11, 4);
    is_number(l.g, "tokenizer.ggml.token_type", 12, 4);
    is_number(l.g, "tokenizer.ggml.eos_token_id", 0, 9);
    is_number(l.g, "tokenizer.ggml.padding_token_id", 0, 10);
    is_number(l.g, MOA_TOK_KEY_LSTRIP, 0, 12);
    is_number(l.g, MOA_TOK_KEY_RSTRIP, 0, 12);
    assert_int_equal(moa_tokenizer_find(l.t, "renamed"), 5);
    EXPECT(l.t, "ab<|turn|>", MOA_TOK_SPECIAL, P_MAB, 9);
    EXPECT(l.t, "abfooab", 0, P_MAB, 11, P_MAB);
    EXPECT(l.t, "ab   <y>   ab", 0, P_MAB, 12, P_MAB);
    EXPECT(l.t, "ab", MOA_TOK_BOS | MOA_TOK_EOS, P_BOS, P_MAB, 9);
    tok_unload(l);
    /* A space of the tokenizer's own: behind special tokens too, or not; nowhere. */
    tokfolder_text("tokenizer_config.json", "{\"tokenizer_class\":\"LlamaTokenizer\",\"legacy\":false}");
    l = tokfolder_open();
    EXPECT(l.t, "abfooab", 0, P_MAB, 11, P_AB);
    EXPECT(l.t, " ab", 0, P_MARK, P_MAB);
    EXPECT(l.t, "fooab", 0, 11, P_AB);
    tok_unload(l);
    tokfolder_text("tokenizer_config.json", "{\"tokenizer_class\":\"LlamaTokenizerFast\",\"add_prefix_space\":false}");
    l = tokfolder_open();
    EXPECT(l.t, "abfooab", 0, P_AB, 11, P_AB);
    tok_unload(l);
}

static void extra_ids(void **state) {
    (void)state;
    written w = bpe();
    w.model = 1;
    tokfolder_clean(20);
    put_pieces("spiece.model", &w); /* the other name */
    tokfolder_text("tokenizer_config.json", "{\"tokenizer_class\":\"T5Tokenizer\",\"extra_ids\":3}");
    tok_loaded l = tokfolder_open();
    assert_int_equal(moa_tokenizer_find(l.t, "<extra_id_0>"), N_P + 2);
    assert_int_equal(moa_tokenizer_find(l.t, "<extra_id_2>"), N_P);
    EXPECT(l.t, "ab <extra_id_0> ab", MOA_TOK_SPECIAL | MOA_TOK_EOS, P_MAB, N_P + 2, P_MAB, P_EOS);
    tok_unload(l);
    tokfolder_text("tokenizer_config.json", "{\"tokenizer_class\":\"T5Tokenizer\",\"extra_ids\":9223372036854775807}"); /* more than there is room for: none */
    l = tokfolder_open();
    assert_int_equal(moa_tokenizer_find(l.t, "<extra_id_0>"), -1);
    tok_unload(l);
}

/* tokenizer.json comes first where there are both. */
static void both(void **state) {
    (void)state;
    written w = bpe();
    tokfolder_clean(20);
    put_pieces("tokenizer.model", &w);
    tokfolder_text("tokenizer.json", "{\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"u\",0],[\"" W "\",-1],[\"z\",-2]]},\"pre_tokenizer\":{\"type\":\"Metaspace\"}}");
    tok_loaded l = tokfolder_open();
    EXPECT(l.t, "z", 0, 1, 2);
    tok_unload(l);
}

/* ---- wrong files ---- */

static void refused_model(written w, int code, const char *says) {
    put_pieces("tokenizer.model", &w);
    tokfolder_refused(code, says);
}

static void wrong_models(void **state) {
    (void)state;
    static const piece NO_TEXT[] = {{"<unk>", 0, 2}, {NULL, 0, 1}}, EMPTY[] = {{"<unk>", 0, 2}, {"", 0, 1}}, BAD[] = {{"<unk>", 0, 2}, {"a\xff", 0, 1}};
    static const piece TYPE[] = {{"<unk>", 0, 2}, {"a", 0, 9}}, TWICE[] = {{"<unk>", 0, 2}, {"a", 0, 1}, {"a", 0, 1}}, NONE[] = {{"a", 0, 1}};
    static const piece INF[] = {{"<unk>", 0, 2}, {"a", __builtin_inff(), 1}}, BYTE[] = {{"<unk>", 0, 2}, {"<0x0G>", 0, 6}};
    static const struct { const piece *p; int n; const char *says; } CASES[] = {
        {NO_TEXT, 2, "piece 1 has no text"}, {EMPTY, 2, "piece 1 has no text"}, {BAD, 2, "piece 1 is no text in UTF-8"}, {TYPE, 2, "piece 1 is of type 9, expected 1 to 6"},
        {TWICE, 3, "tokens[2] 'a' is the text of token 1 too"}, {INF, 2, "piece 1 has no finite score"}, {NONE, 1, "none of 1 pieces is of type 2, unknown"},
        {BYTE, 2, "byte_fallback is not set, 1 pieces are of bytes, expected 0"}};
    tokfolder_clean(20);
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        written w = bpe();
        w.piece = CASES[i].p, w.n = CASES[i].n;
        refused_model(w, MOA_EFORMAT, CASES[i].says);
    }
    written w = bpe();
    w.model = 3;
    refused_model(w, MOA_EUNSUPPORTED, "model_type is 3, expected 1 (unigram) or 2 (BPE)");
    w = bpe(), w.suffix = 1;
    refused_model(w, MOA_EUNSUPPORTED, "treat_whitespace_as_suffix is set");
    w = bpe(), w.marks = 0;
    refused_model(w, MOA_EUNSUPPORTED, "escape_whitespaces is not set");
    w = bpe(), w.back = "map";
    refused_model(w, MOA_EUNSUPPORTED, "denormalizer_spec has a map");
    w = bpe(), w.bytes = 1;
    refused_model(w, MOA_EFORMAT, "byte_fallback is set, 0 pieces are of bytes, expected 256");
    w = bpe(), w.map = "no map at all";
    refused_model(w, MOA_EFORMAT, "precompiled_charsmap");
    tokfolder_clean(5);
    refused_model(bpe(), MOA_EFORMAT, "token 'b' has id 5, vocab_size in config.json is 5");
}

static void wrong_bytes(void **state) {
    (void)state;
    static const struct { const char *p; size_t n; const char *says; } TAILS[] = {
        {"\x0a", 1, "the file ends inside a number"}, {"\x0a\x80", 2, "the file ends inside a number"}, {"\x0a\x05""abc", 5, "field 1 has 5 bytes, 3 are left"},
        {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11, "field 1 has 18446744073709551615 bytes, 0 are left"},
        {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11, "a number of more than 64 bits"}, {"\x02\x00", 2, "no field has this number"},
        {"\x0b", 1, "a field of a kind that is not in use"}, {"\x0f", 1, "a field of a kind that is not in use"}, {"\x08\x01", 2, "field 1 is of kind 0, expected 2"},
        {"\x0a\x02\x08\x01", 4, "field 1 is of kind 0, expected 2"}, {"\x1a\x02\x1a\x00", 4, "field 3 is of kind 2, expected 0"}, {"\x15\x01", 2, "the file ends inside a number"}};
    tokfolder_clean(20);
    for (size_t i = 0; i < sizeof TAILS / sizeof *TAILS; i++) {
        written w = bpe();
        w.more = TAILS[i].p, w.more_n = TAILS[i].n;
        refused_model(w, MOA_EFORMAT, TAILS[i].says);
    }
    tokfolder_text("tokenizer.model", "");
    tokfolder_refused(MOA_EFORMAT, "0 bytes, not a SentencePiece model");
    tokfolder_text("tokenizer.model", "IQ== 0\nIg== 1\n");
    tokfolder_refused(MOA_EFORMAT, "not a SentencePiece model");
    tokfolder_text("tokenizer.model", "version https://git-lfs.github.com/spec/v1\noid sha256:00\n");
    tokfolder_refused(MOA_EFORMAT, "not a SentencePiece model");
}

static void wrong_company(void **state) {
    (void)state;
    written w = bpe();
    tokfolder_clean(20);
    put_pieces("tokenizer.model", &w);
    tokfolder_text("tokenizer_config.json", "{\"tokenizer_class\":\"XLMRobertaTokenizer\"}");
    tokfolder_refused(MOA_EUNSUPPORTED, "tokenizer_class XLMRobertaTokenizer numbers the pieces in an order of its own");
    tokfolder_text("tokenizer_config.json", "{\"added_tokens_decoder\":{\"x1\":{\"content\":\"a\"}}}");
    tokfolder_refused(MOA_EFORMAT, "added_tokens_decoder: 'x1' is no id");
    tokfolder_text("tokenizer_config.json", "{\"added_tokens_decoder\":{\"99\":{\"content\":\"a9\"}}}");
    tokfolder_refused(MOA_EFORMAT, "token 'a9' has id 99, vocab_size in config.json is 20");
    tokfolder_text("tokenizer_config.json", NULL);
    tokfolder_text("added_tokens.json", "{\"q\":\"9\"}");
    tokfolder_refused(MOA_EFORMAT, "token 'q' has no text or no whole number as id");
    tokfolder_text("added_tokens.json", "{\"q\":-1}");
    tokfolder_refused(MOA_EFORMAT, "token 'q' has id -1");
    tokfolder_text("added_tokens.json", "{\"q\":4}");
    tokfolder_refused(MOA_EFORMAT, "tokens 'a' and 'q' both have id 4");
    tokfolder_text("added_tokens.json", "[]");
    tokfolder_refused(MOA_EFORMAT, "expected a JSON object");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden), cmocka_unit_test(published), cmocka_unit_test(keys_of_file), cmocka_unit_test(no_bos), cmocka_unit_test(beside), cmocka_unit_test(extra_ids),
        cmocka_unit_test(both), cmocka_unit_test(wrong_models), cmocka_unit_test(wrong_bytes), cmocka_unit_test(wrong_company),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
