/* test_hf_tokenizer.c - what a tokenizer.json says beyond its vocabulary, from the file to the ids: normalizers, spaces in front,
 * flags of added tokens, cased WordPiece, what stands around a text; the rest is refused by its name.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "format/tokenizer/vocab.h"
#include "support/scratch.h"
#include "support/tokfolder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define W MOA_TOK_MARK
enum { N_VOCAB = 300 };

/* A tokenizer.json of these parts, opened; or refused, where says is given. */
static tok_loaded with(const char *model, const char *more, int code, const char *says) {
    moa_buf b;
    moa_buf_init(&b, 1 << 20);
    moa_buf_addf(&b, "{\"model\":%s%s%s}", model, *more ? "," : "", more);
    tokfolder_text("tokenizer.json", moa_buf_str(&b));
    moa_buf_deinit(&b);
    if (!says) return tokfolder_open();
    tokfolder_refused(code, says);
    return (tok_loaded){NULL, NULL};
}

/* ---- byte-level BPE ---- */

enum { EACUTE = 256, SP_A, AB, BE };

/* 0 to 255 bytes, then four tokens, the third of which no merge makes. */
static const char *byte_model(const char *options) {
    static moa_buf b;
    static const char *const MORE[] = {"\xc3\x83\xc2\xa9", "\xc4\xa0\x61", "ab", "be"};
    moa_buf_deinit(&b);
    moa_buf_init(&b, 1 << 16);
    moa_buf_adds(&b, "{\"type\":\"BPE\",\"vocab\":{");
    for (int i = 0; i < 256 + 4; i++) {
        char s[8] = {0};
        if (i < 256) moa_byte_char(s, (uint8_t)i);
        else snprintf(s, sizeof s, "%s", MORE[i - 256]);
        moa_buf_adds(&b, i ? "," : "");
        moa_json_add_str(&b, s, strlen(s));
        moa_buf_addf(&b, ":%d", i);
    }
    moa_buf_addf(&b, "},\"merges\":[\"\xc3\x83 \xc2\xa9\",\"\xc4\xa0 a\",\"b e\"]%s}", options);
    return moa_buf_str(&b);
}

#define BYTE_LEVEL "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"
#define NORMALIZER(...) BYTE_LEVEL ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[" __VA_ARGS__ "]}"

static void byte_level_normalizers(void **state) {
    (void)state;
    const char *model = byte_model("");
    tokfolder_clean(N_VOCAB);
    tok_loaded l = with(model, BYTE_LEVEL, 0, NULL);
    EXPECT(l.t, "e\xcc\x81", 0, 'e', 0xcc, 0x81);
    tok_unload(l);
    l = with(model, BYTE_LEVEL ",\"normalizer\":{\"type\":\"NFC\"}", 0, NULL);
    EXPECT(l.t, "e\xcc\x81 be\xcc\x81", 0, EACUTE, ' ', 'b', EACUTE);
    EXPECT(l.t, "\xff""e\xcc\x81\xc3", 0, 0xff, EACUTE, 0xc3); /* bytes that are no characters stay */
    tok_unload(l);
    l = with(model, NORMALIZER("{\"type\":\"NFD\"},{\"type\":\"StripAccents\"},{\"type\":\"Lowercase\"}"), 0, NULL);
    EXPECT(l.t, "B\xc3\x89", 0, BE);
    tok_unload(l);
    l = with(model, NORMALIZER("{\"type\":\"Replace\",\"pattern\":{\"String\":\"``\"},\"content\":\"\\\"\"},{\"type\":\"Strip\",\"strip_left\":true,\"strip_right\":false}"), 0, NULL);
    EXPECT(l.t, "\xe3\x80\x80``b ", 0, '"', 'b', ' ');
    tok_unload(l);
    with(model, NORMALIZER("{\"type\":\"ByteLevel\"}"), MOA_EUNSUPPORTED, "normalizer is not supported: {\"type\":\"ByteLevel\"}");
    with(model, NORMALIZER("{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"x+\"},\"content\":\"x\"}"), MOA_EUNSUPPORTED, "\"Regex\":\"x+\"");
    with(model, NORMALIZER("{\"type\":\"Prepend\",\"prepend\":\"_\"}"), MOA_EUNSUPPORTED, "\"Prepend\"");
    with(model, NORMALIZER("{\"type\":\"BertNormalizer\"}"), MOA_EUNSUPPORTED, "\"BertNormalizer\"");
    with(model, NORMALIZER("{\"type\":\"Replace\",\"pattern\":{\"String\":\"\\u001f\"},\"content\":\"x\"}"), MOA_EUNSUPPORTED, "replaces U+001F");
}

static void byte_level_options(void **state) {
    (void)state;
    tokfolder_clean(N_VOCAB);
    tok_loaded l = with(byte_model(""), "\"pre_tokenizer\":{\"type\":\"ByteLevel\"}", 0, NULL); /* a space in front is what it does by itself */
    EXPECT(l.t, "a", 0, SP_A);
    EXPECT(l.t, " a", 0, SP_A);
    EXPECT(l.t, "ab", 0, SP_A, 'b');
    char *s;
    size_t n;
    moa_err err;
    assert_int_equal(moa_detokenize(&s, &n, l.t, (int32_t[]){SP_A, 'b'}, 2, false, &err), 0);
    assert_string_equal(s, "ab");
    free(s);
    tok_unload(l);
    l = with(byte_model(",\"ignore_merges\":true"), BYTE_LEVEL, 0, NULL);
    EXPECT(l.t, "ab", 0, AB);
    tok_unload(l);
    l = with(byte_model(",\"ignore_merges\":false"), BYTE_LEVEL, 0, NULL);
    EXPECT(l.t, "ab", 0, 'a', 'b');
    tok_unload(l);
    with(byte_model(",\"end_of_word_suffix\":\"</w>\""), BYTE_LEVEL, MOA_EUNSUPPORTED, "model.end_of_word_suffix is '</w>', only none can be run");
    with(byte_model(",\"continuing_subword_prefix\":\"##\""), BYTE_LEVEL, MOA_EUNSUPPORTED, "model.continuing_subword_prefix is '##'");
    with(byte_model(""), "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true},{\"type\":\"ByteLevel\"}]}",
         MOA_EUNSUPPORTED, "pre_tokenizer is not known: digits;add_prefix_space");
}

/* ---- added tokens ---- */

#define ADDED(...) ",\"added_tokens\":[" __VA_ARGS__ "]"

static void flags(void **state) {
    (void)state;
    tokfolder_clean(N_VOCAB);
    tok_loaded l = with(byte_model(""), BYTE_LEVEL ADDED("{\"id\":270,\"content\":\"cat\",\"single_word\":true},{\"id\":271,\"content\":\"<l>\",\"lstrip\":true},"
                        "{\"id\":272,\"content\":\"<r>\",\"rstrip\":true},{\"id\":273,\"content\":\"<c>\",\"special\":true,\"lstrip\":true,\"rstrip\":true}"), 0, NULL);
    EXPECT(l.t, "cat", 0, 270);
    EXPECT(l.t, "(cat)", 0, '(', 270, ')');
    EXPECT(l.t, "acat", 0, 'a', 'c', 'a', 't'); /* a word goes on beside it */
    EXPECT(l.t, "cats", 0, 'c', 'a', 't', 's');
    EXPECT(l.t, "cat1", 0, 'c', 'a', 't', '1');
    EXPECT(l.t, "cat_", 0, 'c', 'a', 't', '_');
    EXPECT(l.t, "\xc3\xa9" "cat cat", 0, EACUTE, 'c', 'a', 't', ' ', 270);
    EXPECT(l.t, "b \t\xc2\xa0<l> b", 0, 'b', 271, ' ', 'b');
    EXPECT(l.t, "b <r>\xe3\x80\x80\n b", 0, 'b', ' ', 272, 'b');
    EXPECT(l.t, "<r>  <l>", 0, 272, 271);
    EXPECT(l.t, "b <c> b", MOA_TOK_SPECIAL, 'b', 273, 'b');
    EXPECT(l.t, "b<c", MOA_TOK_SPECIAL, 'b', '<', 'c');
    tok_unload(l);
}

static void normalized(void **state) {
    (void)state;
    tokfolder_clean(N_VOCAB);
    tok_loaded l = with(byte_model(""), NORMALIZER("{\"type\":\"Lowercase\"}") ADDED("{\"id\":270,\"content\":\"FOO\",\"normalized\":true},"
                        "{\"id\":271,\"content\":\"BAR\",\"normalized\":false},{\"id\":272,\"content\":\"<S>\",\"normalized\":true,\"special\":true}"), 0, NULL);
    EXPECT(l.t, "FOO", 0, 270);
    EXPECT(l.t, "afooBe", 0, 'a', 270, BE);
    EXPECT(l.t, "BAR", 0, 271);
    EXPECT(l.t, "bar", 0, 'b', 'a', 'r');
    EXPECT(l.t, "<S>", MOA_TOK_SPECIAL, 272); /* templates write control tokens as they are */
    EXPECT(l.t, "<s>", MOA_TOK_SPECIAL, '<', 's', '>');
    EXPECT(l.t, "fooBARfoo", 0, 270, 271, 270);
    tok_unload(l);
}

/* ---- SentencePiece's spelling ---- */

enum { UNK, MARK, A, B, MARK_A, A_B, A_MARK, MARK_MARK };
#define SPM_VOCAB "{\"<unk>\":0,\"" W "\":1,\"a\":2,\"b\":3,\"" W "a\":4,\"ab\":5,\"a" W "\":6,\"" W W "\":7}"
static const char SPM[] = "{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"vocab\":" SPM_VOCAB ",\"merges\":[[\"" W "\",\"a\"],[\"a\",\"b\"],[\"a\",\"" W "\"],[\"" W "\",\"" W "\"]]}";
#define METASPACE(more) "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"" W "\"" more "}"
#define X ",\"added_tokens\":[{\"id\":9,\"content\":\"<x>\"}]"

static void metaspace(void **state) {
    (void)state;
    tokfolder_clean(N_VOCAB);
    tok_loaded l = with(SPM, METASPACE(",\"prepend_scheme\":\"always\",\"split\":false") X, 0, NULL);
    EXPECT(l.t, "a", 0, MARK_A);
    EXPECT(l.t, " a", 0, MARK_A); /* a space that is there is the one in front */
    EXPECT(l.t, "  a", 0, MARK, MARK_A);
    EXPECT(l.t, "b<x>a", 0, MARK, B, 9, MARK_A);
    EXPECT(l.t, "ba b", 0, MARK, B, A_MARK, B);
    EXPECT(l.t, "qq b", 0, MARK, UNK, MARK, B); /* one unknown token for a run */
    tok_unload(l);
    l = with(SPM, METASPACE(",\"prepend_scheme\":\"first\",\"split\":false") X, 0, NULL);
    EXPECT(l.t, "a<x>a", 0, MARK_A, 9, A);
    EXPECT(l.t, "<x>a", 0, 9, A);
    tok_unload(l);
    l = with(SPM, METASPACE(",\"prepend_scheme\":\"never\",\"split\":false"), 0, NULL);
    EXPECT(l.t, "a a", 0, A, MARK_A);
    tok_unload(l);
    l = with(SPM, METASPACE(",\"add_prefix_space\":true"), 0, NULL); /* as older files say it; words are cut at every mark */
    EXPECT(l.t, "ba b", 0, MARK, B, A, MARK, B);
    EXPECT(l.t, "  a", 0, MARK, MARK_A);
    tok_unload(l);
    with(SPM, METASPACE(",\"prepend_scheme\":\"sometimes\""), MOA_EUNSUPPORTED, "\"sometimes\"");
    with(SPM, "\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\"}", MOA_EUNSUPPORTED, "\"replacement\":\"_\"");
}

static void spm_normalizers(void **state) {
    (void)state;
    static const char UNI[] = "{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"<unk>\",0],[\"" W "\",-1],[\"a\",-2],[\"b\",-2],[\"" W "a\",-1.5]]}";
    static const char BYTES[] = "{\"type\":\"BPE\",\"byte_fallback\":true,\"vocab\":" SPM_VOCAB ",\"merges\":[]}";
    tokfolder_clean(N_VOCAB);
    tok_loaded l = with(UNI, METASPACE("") ",\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Nmt\"},{\"type\":\"NFKC\"},"
                        "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" {2,}\"},\"content\":\" \"}]}", 0, NULL);
    EXPECT(l.t, "\x01" "a\t\n \xe2\x80\x8b" "b", 0, MARK_A, MARK, B);
    EXPECT(l.t, "\xef\xbd\x81", 0, MARK_A); /* U+FF41, a wide a */
    tok_unload(l);
    l = with(UNI, "\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"WhitespaceSplit\"},{\"type\":\"Metaspace\"}]}", 0, NULL);
    EXPECT(l.t, "  a  b ", 0, MARK_A, MARK, B);
    tok_unload(l);
    with(BYTES, "\"normalizer\":{\"type\":\"NFC\"}", MOA_EUNSUPPORTED, "writes spaces as U+2581");
    with(UNI, METASPACE("") ",\"normalizer\":{\"type\":\"BertNormalizer\"}", MOA_EUNSUPPORTED, "BertNormalizer");
    with("{\"type\":\"BPE\",\"byte_fallback\":true,\"ignore_merges\":true,\"vocab\":" SPM_VOCAB ",\"merges\":[]}", METASPACE(""), MOA_EUNSUPPORTED, "ignore_merges");
}

/* ---- WordPiece ---- */

enum { PAD, W_UNK, CLS, SEP, HE, BIG_HE, LLO, CAFE, CAFE_ACCENT, HAN2, HAN, D_HAN, Q };
#define WORDS(options) \
    "{\"type\":\"WordPiece\",\"continuing_subword_prefix\":\"##\",\"unk_token\":\"[UNK]\",\"vocab\":{\"[PAD]\":0,\"[UNK]\":1,\"[CLS]\":2,\"[SEP]\":3,\"he\":4," \
    "\"He\":5,\"##llo\":6,\"cafe\":7,\"caf\xc3\xa9\":8,\"\xe6\xbc\xa2\xe5\xad\x97\":9,\"\xe6\xbc\xa2\":10,\"##\xe5\xad\x97\":11,\"q\":12}" options "}"
#define BERT(options) "\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},\"normalizer\":{\"type\":\"BertNormalizer\"" options "}"

static void word_piece(void **state) {
    (void)state;
    static const struct { const char *more, *text; int32_t ids[6]; int n; } CASES[] = {
        {BERT(""), "Hello CAF\xc3\x89", {HE, LLO, CAFE}, 3},
        {BERT(",\"lowercase\":false"), "Hello hello caf\xc3\xa9 cafe HE", {BIG_HE, LLO, HE, LLO, CAFE_ACCENT, CAFE}, -6},
        {BERT(",\"lowercase\":false,\"strip_accents\":true"), "caf\xc3\xa9", {CAFE}, 1},
        {BERT(",\"lowercase\":true,\"strip_accents\":false"), "Caf\xc3\xa9", {CAFE_ACCENT}, 1},
        {BERT(""), "\xe6\xbc\xa2\xe5\xad\x97", {HAN, W_UNK}, 2},
        {BERT(",\"handle_chinese_chars\":false"), "\xe6\xbc\xa2\xe5\xad\x97", {HAN2}, 1},
        {BERT(""), "h\x01""e", {HE}, 1},
        {BERT(",\"clean_text\":false"), "h\x01""e q", {W_UNK, Q}, 2},
        {"\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"}", "He he", {BIG_HE, HE}, 2}, /* no normalizer at all */
        {"\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFKC\"},"
         "{\"type\":\"BertNormalizer\",\"lowercase\":false}]}", "\xef\xbc\xa8""e", {BIG_HE}, 1},
    };
    tokfolder_clean(N_VOCAB);
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        tok_loaded l = with(WORDS(""), CASES[i].more, 0, NULL);
        int32_t want[8];
        int n = CASES[i].n < 0 ? -CASES[i].n : CASES[i].n;
        memcpy(want, CASES[i].ids, sizeof CASES[i].ids);
        if (CASES[i].n < 0) want[n++] = W_UNK; /* HE: its letters have no tokens */
        tok_expect(l.t, CASES[i].text, 0, want, n);
        tok_unload(l);
    }
    tok_loaded l = with(WORDS(""), BERT("") ADDED("{\"id\":20,\"content\":\"[Q] \",\"normalized\":true},{\"id\":21,\"content\":\"[D]\",\"normalized\":false},"
                        "{\"id\":2,\"content\":\"[CLS]\",\"special\":true},{\"id\":22,\"content\":\"<doc>\",\"special\":true}"), 0, NULL);
    EXPECT(l.t, "[q] he[D]He", 0, 20, HE, 21, HE);
    EXPECT(l.t, "<doc>he", MOA_TOK_SPECIAL, 22, HE);
    tok_unload(l);
    with(WORDS(",\"max_input_chars_per_word\":50"), BERT(""), MOA_EUNSUPPORTED, "max_input_chars_per_word is 50, expected 100");
    with(WORDS(""), "\"pre_tokenizer\":{\"type\":\"Whitespace\"},\"normalizer\":{\"type\":\"BertNormalizer\"}", MOA_EUNSUPPORTED, "\"Whitespace\"");
    with(WORDS(""), "\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"},\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"BertNormalizer\"},{\"type\":\"NFC\"}]}",
         MOA_EUNSUPPORTED, "normalizer behind BertNormalizer is not supported");
}

/* ---- around a text ---- */

static void around(void **state) {
    (void)state;
    static const char CLS_SEP[] = ADDED("{\"id\":2,\"content\":\"[CLS]\",\"special\":true},{\"id\":3,\"content\":\"[SEP]\",\"special\":true}");
    static const char *const POST[] = {
        ",\"post_processor\":{\"type\":\"BertProcessing\",\"sep\":[\"[SEP]\",3],\"cls\":[\"[CLS]\",2]}",
        ",\"post_processor\":{\"type\":\"RobertaProcessing\",\"sep\":[\"[SEP]\",3],\"cls\":[\"[CLS]\",2]}",
        ",\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"[CLS]\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},"
        "{\"SpecialToken\":{\"id\":\"[SEP]\",\"type_id\":0}}]}",
        ",\"post_processor\":{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"},{\"type\":\"TemplateProcessing\",\"single\":["
        "{\"SpecialToken\":{\"id\":\"[CLS]\"}},{\"Sequence\":{\"id\":\"A\"}},{\"SpecialToken\":{\"id\":\"[SEP]\"}}]}]}",
    };
    tokfolder_clean(N_VOCAB);
    tokfolder_text("tokenizer_config.json", "{\"cls_token\":\"[CLS]\",\"sep_token\":\"[SEP]\",\"bos_token\":\"[CLS]\",\"eos_token\":\"[SEP]\"}");
    for (size_t i = 0; i < sizeof POST / sizeof *POST; i++) {
        char more[2048];
        snprintf(more, sizeof more, "%s%s%s", BERT(""), CLS_SEP, POST[i]);
        tok_loaded l = with(WORDS(""), more, 0, NULL);
        EXPECT(l.t, "he", MOA_TOK_BOS | MOA_TOK_EOS, CLS, HE, SEP);
        tok_unload(l);
    }
    char more[2048];
    snprintf(more, sizeof more, "%s%s", BERT(""), CLS_SEP);
    tok_loaded l = with(WORDS(""), more, 0, NULL); /* nothing puts them there */
    EXPECT(l.t, "he", MOA_TOK_BOS | MOA_TOK_EOS, HE);
    tok_unload(l);
}

/* ---- vocab.json and merges.txt ---- */

/* The vocabulary of byte_model with the published end of text behind it. */
static void put_pair(const char *merges) {
    moa_buf b;
    const char *model = byte_model(""), *from = strchr(strstr(model, "\"vocab\":"), '{'), *to = strchr(strstr(from, "\"be\":"), '}');
    moa_buf_init(&b, 1 << 16);
    moa_buf_add(&b, from, (size_t)(to - from));
    moa_buf_adds(&b, ",\"<|endoftext|>\":260}");
    tokfolder_text("vocab.json", moa_buf_str(&b));
    moa_buf_deinit(&b);
    tokfolder_text("merges.txt", merges);
}

enum { EOT = 260 };
static const char MERGES[] = "#version: 0.2\n\xc3\x83 \xc2\xa9\r\n\xc4\xa0 a\nb e\n";

static void pair(void **state) {
    (void)state;
    tokfolder_clean(N_VOCAB);
    put_pair(MERGES);
    tokfolder_text("tokenizer_config.json", "{\"tokenizer_class\":\"GPT2Tokenizer\",\"bos_token\":\"<|endoftext|>\",\"eos_token\":{\"content\":\"<e>\"}}");
    tokfolder_text("added_tokens.json", "{\"<e>\":261,\"<user>\":262}");
    tok_loaded l = tokfolder_open();
    EXPECT(l.t, "e\xcc\x81 a be", MOA_TOK_BOS, 'e', 0xcc, 0x81, SP_A, ' ', BE); /* GPT-2 has no normal form and no BOS by itself */
    EXPECT(l.t, "12<user>", 0, '1', '2', 262);
    EXPECT(l.t, "<|endoftext|>", MOA_TOK_SPECIAL, EOT);
    EXPECT(l.t, "<e>", 0, '<', 'e', '>'); /* named as special: not out of a user's text */
    assert_int_equal(moa_tokenizer_eos(l.t), 261);
    assert_int_equal(moa_tokenizer_bos(l.t), EOT);
    tok_unload(l);
    l = tokfolder_converted();
    EXPECT(l.t, "a be<user>", 0, 'a', ' ', BE, 262);
    tok_unload(l);
    tokfolder_text("added_tokens.json", NULL);
    tokfolder_text("tokenizer_config.json", "{\"tokenizer_class\":\"GPT2TokenizerFast\",\"add_prefix_space\":true,\"add_bos_token\":true,\"bos_token\":\"<|endoftext|>\"}");
    l = tokfolder_open();
    EXPECT(l.t, "a", MOA_TOK_BOS, EOT, SP_A);
    tok_unload(l);
    tokfolder_text("tokenizer_config.json", "{\"tokenizer_class\":\"Qwen2Tokenizer\",\"add_prefix_space\":true,\"added_tokens_decoder\":{\"261\":{\"content\":\"<|im_end|>\","
                   "\"special\":true},\"262\":{\"content\":\"<tool>\",\"special\":false,\"lstrip\":true}},\"eos_token\":\"<|im_end|>\"}");
    l = tokfolder_open();
    EXPECT(l.t, "a e\xcc\x81 'S  <tool>", 0, 'a', ' ', EACUTE, ' ', '\'', 'S', 262); /* NFC, no space in front */
    EXPECT(l.t, "a<|im_end|>", MOA_TOK_SPECIAL, 'a', 261);
    assert_int_equal(moa_tokenizer_eos(l.t), 261);
    tok_unload(l);
}

/* config.json of the folder says eos 8; a folder that says nothing has the class's own. */
static void pair_without_ids(void **state) {
    (void)state;
    tokfolder_clean(N_VOCAB);
    put_pair(MERGES);
    tokfolder_text("tokenizer_config.json", "{\"tokenizer_class\":\"GPT2Tokenizer\"}");
    tok_loaded l = tokfolder_open();
    assert_int_equal(moa_tokenizer_eos(l.t), 8);
    tok_unload(l);
    tokfolder_text("config.json", "{\"model_type\":\"qwen2\",\"hidden_size\":2,\"num_hidden_layers\":1,\"intermediate_size\":4,\"max_position_embeddings\":16,"
                   "\"rms_norm_eps\":1e-5,\"num_attention_heads\":1,\"vocab_size\":300}");
    tokfolder_text("tokenizer_config.json", NULL); /* the type's tokenizer */
    l = tokfolder_open();
    EXPECT(l.t, "e\xcc\x81", 0, EACUTE);
    assert_int_equal(moa_tokenizer_eos(l.t), EOT);
    tok_unload(l);
}

static void pair_refused(void **state) {
    (void)state;
    tokfolder_clean(N_VOCAB);
    put_pair(MERGES);
    tokfolder_refused(MOA_EUNSUPPORTED, "how text is cut into words is not known: tokenizer_class is '(none)', expected GPT2Tokenizer or Qwen2Tokenizer");
    tokfolder_text("tokenizer_config.json", "{\"tokenizer_class\":\"GPT2TokenizerX\"}");
    tokfolder_refused(MOA_EUNSUPPORTED, "tokenizer_class is 'GPT2TokenizerX'");
    tokfolder_text("tokenizer_config.json", "{\"tokenizer_class\":\"GPT2Tokenizer\"}");
    put_pair("b e\nbe\n");
    tokfolder_refused(MOA_EFORMAT, "merges.txt: line 2 is 'be', expected two texts with one space between");
    put_pair("b e c\n");
    tokfolder_refused(MOA_EFORMAT, "merges.txt: line 1 is 'b e c'");
    put_pair("b \xff\n");
    tokfolder_refused(MOA_EFORMAT, "merges.txt: line 1 is no text in UTF-8");
    tokfolder_put("merges.txt", "b e\0c d\n", 8);
    tokfolder_refused(MOA_EFORMAT, "merges.txt: a zero byte");
    tokfolder_text("merges.txt", NULL);
    tokfolder_refused(MOA_ENOTFOUND, "merges.txt");
    put_pair(MERGES);
    tokfolder_text("vocab.json", "[]");
    tokfolder_refused(MOA_EFORMAT, "vocab.json: expected a JSON object");
    tokfolder_text("vocab.json", "{\"a\":300}");
    tokfolder_refused(MOA_EFORMAT, "vocab.json: token 'a' has id 300, vocab_size in config.json is 300");
}

/* sentence_bert_config.json: small letters before everything else, of encoders. */
static void small_letters_first(void **state) {
    (void)state;
    tokfolder_clean(N_VOCAB);
    tokfolder_text("sentence_bert_config.json", "{\"max_seq_length\":512,\"do_lower_case\":true}");
    with(WORDS(""), BERT(",\"lowercase\":false"), MOA_EUNSUPPORTED, "sentence_bert_config.json: do_lower_case is set, only encoders can be run with that");
    tokfolder_text("sentence_bert_config.json", "{\"max_seq_length\":512,\"do_lower_case\":false}");
    tok_loaded l = with(WORDS(""), BERT(",\"lowercase\":false"), 0, NULL);
    EXPECT(l.t, "He", 0, BIG_HE);
    tok_unload(l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(byte_level_normalizers), cmocka_unit_test(byte_level_options), cmocka_unit_test(flags), cmocka_unit_test(normalized),
        cmocka_unit_test(metaspace), cmocka_unit_test(spm_normalizers), cmocka_unit_test(word_piece), cmocka_unit_test(around),
        cmocka_unit_test(pair), cmocka_unit_test(pair_without_ids), cmocka_unit_test(pair_refused), cmocka_unit_test(small_letters_first),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
