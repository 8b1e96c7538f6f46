/* test_normal_forms.c - the tokenizers that bring text to a normal form first, WordPiece and unigram: ids worked out by hand, what
 * the files say and what is seen from the tokens, maps of characters that are damaged; the steps of normal forms by themselves.
 * SPDX-License-Identifier: Apache-2.0 */
#include "format/tokenizer.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "format/tokenizer/normal.h"
#include "support/tokens.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include <cmocka.h>

static moa_gguf_out *keys(const char *model, const char *const *token, const int32_t *type, const float *score, uint64_t n) {
    moa_gguf_out *o = moa_gguf_out_new();
    moa_str s[64];
    for (uint64_t i = 0; i < n; i++) s[i] = (moa_str){token[i], strlen(token[i])};
    moa_gguf_put_str(o, "tokenizer.ggml.model", model, strlen(model));
    moa_gguf_put_strs(o, "tokenizer.ggml.tokens", s, n);
    moa_gguf_put_arr(o, "tokenizer.ggml.token_type", MOA_GGUF_I32, type, n);
    if (score) moa_gguf_put_arr(o, "tokenizer.ggml.scores", MOA_GGUF_F32, score, n);
    return o;
}

/* ---- WordPiece ---- */

#define W "\xe2\x96\x81"
enum { PAD, UNK, CLS, SEP, UN, AFF, ABLE, HELLO, COMMA, E, HAN, IN_AFF, IN_ABLE, IN_S, CAFE, BRACKET, N_WP };
static const char *const MARKED[N_WP] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", W "un", W "aff", W "able", W "hello", W ",", W "e", W "\xe6\xbc\xa2", "aff", "able", "s", W "cafe", "[unused1]"};
static const char *const HASHED[N_WP] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "aff", "able", "hello", ",", "e", "\xe6\xbc\xa2", "##aff", "##able", "##s", "cafe", "[unused1]"};
static const int32_t WP_TYPE[N_WP] = {3, 3, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

static void word_piece_rules(const moa_tokenizer *t) {
    EXPECT(t, "unaffable", 0, UN, IN_AFF, IN_ABLE);
    EXPECT(t, "Hello, UNAFFABLEs", MOA_TOK_BOS | MOA_TOK_EOS, CLS, HELLO, COMMA, UN, IN_AFF, IN_ABLE, IN_S, SEP);
    EXPECT(t, "hello,hello", 0, HELLO, COMMA, HELLO);
    EXPECT(t, "hellox unx", 0, UNK, UNK);                                 /* a whole word, not a part of it */
    EXPECT(t, "caf\xc3\xa9 CAFE\xcc\x81 \xc3\x89", 0, CAFE, CAFE, E);     /* composed, taken apart, capital */
    EXPECT(t, "e\xe6\xbc\xa2""e", 0, E, HAN, E);                          /* Han characters are words */
    EXPECT(t, "\xe2\x80\x83hello\xc2\xa0hello\t\nhello", 0, HELLO, HELLO, HELLO);
    EXPECT(t, "he\xe2\x80\x8bl\x01lo\xff", 0, HELLO);                     /* control and format characters are dropped */
    EXPECT(t, "[CLS]", 0, UNK, UNK, UNK);                                 /* text of users: brackets and letters */
    EXPECT(t, "[CLS] hello [SEP]", MOA_TOK_BOS | MOA_TOK_SPECIAL | MOA_TOK_EOS, CLS, HELLO, SEP); /* each once */
    EXPECT(t, "", MOA_TOK_BOS | MOA_TOK_EOS, CLS, SEP);
    EXPECT(t, "hello", MOA_TOK_BOS, CLS, HELLO);
    char *s, word[300] = "un";
    size_t n;
    moa_err err;
    assert_int_equal(moa_detokenize(&s, &n, t, (int32_t[]){CLS, HELLO, COMMA, UN, IN_AFF, SEP}, 6, false, &err), 0);
    assert_string_equal(s, "hello , unaff");
    free(s);
    memset(word + 2, 's', 98);
    moa_ids ids = {0};
    assert_int_equal(moa_tokenize(&ids, t, word, 100, 0, &err), 0);
    assert_int_equal(ids.n, 99); /* a hundred characters are a word, one more is unknown */
    word[100] = 's';
    EXPECT(t, word, 0, UNK);
    moa_ids_deinit(&ids);
}

static void word_piece(void **state) {
    (void)state;
    tok_loaded l = tok_load(keys("bert", MARKED, WP_TYPE, NULL, N_WP), "bert");
    word_piece_rules(l.t);
    tok_unload(l);
    l = tok_load(keys("bert", HASHED, WP_TYPE, NULL, N_WP), "bert");
    word_piece_rules(l.t);
    tok_unload(l);
    moa_gguf_out *o = keys("bert", MARKED, WP_TYPE, NULL, N_WP);
    moa_gguf_put_bool(o, "tokenizer.ggml.add_bos_token", false);
    moa_gguf_put_bool(o, "tokenizer.ggml.add_sep_token", false);
    l = tok_load(o, "keys");
    EXPECT(l.t, "hello", MOA_TOK_BOS | MOA_TOK_EOS, HELLO);
    tok_unload(l);
}

static void word_piece_forms(void **state) {
    (void)state;
    static const char *const CASED[] = {"[UNK]", W "Hello", W "hello", W "caf\xc3\xa9", W "cafe"};
    static const int32_t type[] = {3, 1, 1, 1, 1};
    tok_loaded l = tok_load(keys("bert", CASED, type, NULL, 5), "bert"); /* capitals and accents are kept where tokens have them */
    EXPECT(l.t, "Hello hello caf\xc3\xa9 cafe HELLO", 0, 1, 2, 3, 4, 0);
    tok_unload(l);
    moa_gguf_out *o = keys("bert", CASED, type, NULL, 5); /* a key says otherwise */
    moa_gguf_put_bool(o, "tokenizer.ggml.normalizer.lowercase", true);
    moa_gguf_put_bool(o, "tokenizer.ggml.normalizer.strip_accents", true);
    l = tok_load(o, "keys");
    EXPECT(l.t, "Hello caf\xc3\xa9", 0, 2, 4);
    tok_unload(l);
    moa_err err = {0};
    assert_int_equal(tok_try_load(&l, keys("bert", CASED + 1, type + 1, NULL, 4), "refused", &err), MOA_EFORMAT);
    assert_non_null(strstr(err.text, "unknown_token_id"));
    moa_gguf_close(l.g);
}

/* ---- WordPiece against wordpiece_ref.py ---- */

enum { N_SPECIAL = 5 };

static moa_str unhex(moa_arena *a, const char *s, const char *before) {
    const size_t lead = strlen(before), n = strlen(s) / 2;
    char *p = moa_arena_alloc(a, lead + n + 1);
    assert_non_null(p);
    memcpy(p, before, lead);
    for (size_t i = 0; i < n; i++) {
        unsigned v = 0;
        assert_int_equal(sscanf(s + 2 * i, "%2x", &v), 1);
        p[lead + i] = (char)v;
    }
    p[lead + n] = 0;
    return (moa_str){p, lead + n};
}

/* The vocabulary of a line as published files spell it, or with beginnings marked, as GGUF files do. */
static tok_loaded reference_vocab(moa_arena *a, const json_t *line, bool marked) {
    static const char *const FLAGS[][2] = {{"lower", "tokenizer.ggml.normalizer.lowercase"}, {"strip", "tokenizer.ggml.normalizer.strip_accents"},
                                           {"clean", MOA_TOK_KEY_CLEAN}, {"han", MOA_TOK_KEY_HAN}};
    const json_t *list = json_object_get(line, "tokens");
    const size_t n = json_array_size(list);
    moa_str *s = moa_arena_alloc(a, n * sizeof *s);
    int32_t *type = moa_arena_alloc(a, n * sizeof *type);
    moa_gguf_out *o = moa_gguf_out_new();
    assert_true(s && type && o);
    for (size_t i = 0; i < n; i++) {
        const char *hex = json_string_value(json_array_get(list, i));
        const bool more = strncmp(hex, "2323", 4) == 0 && hex[4];
        s[i] = unhex(a, marked && more ? hex + 4 : hex, marked && !more && i >= N_SPECIAL ? W : "");
        type[i] = i < N_SPECIAL ? MOA_TOKEN_CONTROL : MOA_TOKEN_NORMAL;
    }
    moa_gguf_put_str(o, "tokenizer.ggml.model", "bert", 4);
    moa_gguf_put_strs(o, "tokenizer.ggml.tokens", s, n);
    moa_gguf_put_arr(o, "tokenizer.ggml.token_type", MOA_GGUF_I32, type, n);
    for (size_t i = 0; i < 4; i++) moa_gguf_put_bool(o, FLAGS[i][1], json_is_true(json_object_get(line, FLAGS[i][0])));
    return tok_load(o, "keys");
}

static int compare_line(const json_t *line, bool marked) {
    moa_arena *a = moa_arena_new(0, 0);
    tok_loaded l = reference_vocab(a, line, marked);
    size_t i, k;
    json_t *c, *id;
    json_array_foreach(json_object_get(line, "cases"), i, c) {
        const moa_str text = unhex(a, json_string_value(json_array_get(c, 0)), "");
        moa_ids ids = {0};
        moa_err err = {0};
        if (moa_tokenize(&ids, l.t, text.p, text.n, 0, &err) < 0) fail_msg("%s", err.text);
        bool same = (size_t)ids.n == json_array_size(json_array_get(c, 1));
        json_array_foreach(json_array_get(c, 1), k, id) same = same && ids.v[k] == json_integer_value(id);
        if (!same) fail_msg("'%s' (%s): %lld tokens, expected %zu, or others", text.p, json_string_value(json_array_get(c, 0)), (long long)ids.n, json_array_size(json_array_get(c, 1)));
        moa_ids_deinit(&ids);
    }
    tok_unload(l);
    moa_arena_free(a);
    return (int)i;
}

static void word_piece_reference(void **state) {
    (void)state;
    moa_buf b;
    moa_jsonl r;
    json_t *line;
    moa_err err = {0};
    char part[65536];
    int n = 0, rc;
    moa_buf_init(&b, 16 << 20);
    FILE *f = popen("python3 tests/format/wordpiece_ref.py", "r");
    for (size_t k; f && (k = fread(part, 1, sizeof part, f)) > 0;) moa_buf_add(&b, part, k);
    if (!f || pclose(f) != 0) {
        if (system("python3 -c ''") == 0) fail_msg("wordpiece_ref.py failed");
        printf("skip: no python3\n");
        moa_buf_deinit(&b);
        skip();
    }
    moa_jsonl_text(&r, b.data, b.len, "wordpiece_ref.py");
    while ((rc = moa_jsonl_next(&line, &r, &err)) == 1) {
        for (int marked = 0; marked < 2; marked++) n += compare_line(line, marked);
        json_decref(line);
    }
    if (rc < 0) fail_msg("%s", err.text);
    printf("   %d texts\n", n);
    assert_true(n > 1000);
    moa_buf_deinit(&b);
}

/* ---- unigram ---- */

enum { U_PAD, U_EOS, U_UNK, U_M, U_A, U_B, U_AB, U_MA, U_MAB, U_BA, U_FI, N_U };
static const char *const UNI[N_U] = {"<pad>", "</s>", "<unk>", W, "a", "b", "ab", W "a", W "ab", "ba", "fi"};
static const int32_t U_TYPE[N_U] = {3, 3, 2, 1, 1, 1, 1, 1, 1, 1, 1};
static const float U_SCORE[N_U] = {0, 0, 0, -2, -3, -3, -4, -4, -8, -1, -5};

static void unigram(void **state) {
    (void)state;
    tok_loaded l = tok_load(keys("t5", UNI, U_TYPE, U_SCORE, N_U), "t5");
    EXPECT(l.t, "ab", 0, U_M, U_AB);                  /* -2 -4 = -6 beats -4 -3 and -8 */
    EXPECT(l.t, "aba", 0, U_MA, U_BA);                /* -5 beats -2 -4 -3 */
    EXPECT(l.t, "  a   b  ", MOA_TOK_BOS | MOA_TOK_EOS, U_MA, U_M, U_B, U_EOS); /* spaces as one; the end, no beginning */
    EXPECT(l.t, "xyzb", 0, U_M, U_UNK, U_B);          /* a run of unknown characters is one token */
    EXPECT(l.t, "\xff", 0, U_M, U_UNK);
    EXPECT(l.t, "a</s>", MOA_TOK_SPECIAL | MOA_TOK_EOS, U_MA, U_EOS);
    tok_expect(l.t, "   ", 0, NULL, 0);
    char *s;
    size_t n;
    moa_err err;
    assert_int_equal(moa_detokenize(&s, &n, l.t, (int32_t[]){U_MA, U_BA, U_M, U_B, U_EOS}, 5, false, &err), 0);
    assert_string_equal(s, "aba b");
    free(s);
    tok_unload(l);
    moa_gguf_out *o = keys("t5", UNI, U_TYPE, U_SCORE, N_U);
    moa_gguf_put_bool(o, "tokenizer.ggml.remove_extra_whitespaces", false);
    moa_gguf_put_bool(o, "tokenizer.ggml.add_space_prefix", false);
    moa_gguf_put_bool(o, "tokenizer.ggml.add_eos_token", false);
    l = tok_load(o, "keys");
    EXPECT(l.t, " a  b ", MOA_TOK_EOS, U_MA, U_M, U_M, U_B, U_M);
    tok_unload(l);
    moa_err none = {0};
    assert_int_equal(tok_try_load(&l, keys("t5", UNI, U_TYPE, NULL, N_U), "refused", &none), MOA_ENOTFOUND);
    assert_non_null(strstr(none.text, "tokenizer.ggml.scores"));
    moa_gguf_close(l.g);
}

/* A double array of the map "X" -> "ab", "Y" -> " ", U+FB01 -> "fi". Offsets are chosen by hand: the root's children lie at 256 ^ c, and so
 * on; a node's value lies at the node's offset itself. */
static void put_unit(uint8_t *map, uint32_t at, uint32_t offset, uint32_t label, uint32_t value) {
    const uint32_t u = offset << 10 | value << 8 | label;
    for (int i = 0; i < 4; i++) map[4 + 4 * at + (uint32_t)i] = (uint8_t)(u >> 8 * i);
}

enum { UNITS = 2048, MAP_TEXT = 4 + 4 * UNITS, MAP = MAP_TEXT + 8 };
static void make_map(uint8_t *map) {
    memset(map, 0, MAP);
    map[0] = 0, map[1] = UNITS * 4 >> 8; /* bytes of the array, little-endian */
    put_unit(map, 0, 256, 0, 0);
    /* node at 256 ^ c with offset (node ^ base): base is where its children begin */
    put_unit(map, 256 ^ 'X', (256 ^ 'X') ^ 512, 'X', 1);
    put_unit(map, 256 ^ 'Y', (256 ^ 'Y') ^ 768, 'Y', 1);
    put_unit(map, 256 ^ 0xef, (256 ^ 0xef) ^ 1024, 0xef, 0);
    put_unit(map, 1024 ^ 0xac, (1024 ^ 0xac) ^ 1280, 0xac, 0);
    put_unit(map, 1280 ^ 0x81, (1280 ^ 0x81) ^ 1536, 0x81, 1);
    static const struct { uint32_t at, value; } to[] = {{512, 0}, {768, 3}, {1536, 5}};
    for (size_t i = 0; i < 3; i++) {
        uint8_t *u = map + 4 + 4 * to[i].at;
        u[0] = (uint8_t)to[i].value, u[3] = 0x80;
    }
    memcpy(map + MAP_TEXT, "ab\0 \0fi", 8);
}

static int load_map(tok_loaded *l, const uint8_t *map, uint64_t n, moa_err *err) {
    moa_gguf_out *o = keys("t5", UNI, U_TYPE, U_SCORE, N_U);
    moa_gguf_put_arr(o, "tokenizer.ggml.precompiled_charsmap", MOA_GGUF_U8, map, n);
    return tok_try_load(l, o, "map", err);
}

static void character_map(void **state) {
    (void)state;
    static uint8_t map[MAP];
    tok_loaded l;
    moa_err err = {0};
    make_map(map);
    if (load_map(&l, map, MAP, &err) < 0) fail_msg("%s", err.text);
    EXPECT(l.t, "XY\xef\xac\x81", 0, U_M, U_AB, U_M, U_FI);
    EXPECT(l.t, "\xef\xac", 0, U_M, U_UNK); /* half of it is none of it */
    tok_unload(l);
}

static void refuse_map(uint8_t *map, uint64_t n, const char *says) {
    tok_loaded l;
    moa_err err = {0};
    const int rc = load_map(&l, map, n, &err);
    if (rc >= 0 || !strstr(err.text, says)) fail_msg("%d '%s', expected '%s'", rc, err.text, says);
    assert_null(l.t);
    moa_gguf_close(l.g);
    make_map(map);
}

static void damaged_maps(void **state) {
    (void)state;
    static uint8_t map[MAP];
    make_map(map);
    refuse_map(map, 3, "an array of 0 bytes in 3");
    refuse_map(map, MAP_TEXT, "replacements behind it");
    map[0] = 2;
    refuse_map(map, MAP, "expected a multiple of 4");
    put_unit(map, 256 ^ 'X', 1 << 20, 'X', 1);
    refuse_map(map, MAP, "the file is damaged");
    map[4 + 4 * 768] = 200; /* a replacement behind the end */
    refuse_map(map, MAP, "the file is damaged");
    map[MAP - 1] = 'x'; /* a replacement without its end */
    refuse_map(map, MAP, "the file is damaged");
}

/* ---- steps ---- */

static int try_normal(moa_buf *out, const char *const *step, uint64_t n, const char *text, size_t len, moa_err *err) {
    moa_gguf_out *o = moa_gguf_out_new();
    moa_gguf *g = NULL;
    moa_normal m;
    moa_buf head;
    moa_str s[40];
    moa_buf_init(&head, 1 << 20);
    for (uint64_t i = 0; i < n; i++) s[i] = (moa_str){step[i], strlen(step[i])};
    moa_gguf_put_strs(o, MOA_TOK_KEY_NORMAL, s, n);
    if (moa_gguf_head(&head, o, err) < 0 || moa_gguf_open_memory(&g, head.data, head.len, "keys", err) < 0) fail_msg("%s", err->text);
    int rc = moa_normal_open(&m, g, err);
    if (rc == 0) rc = moa_normal_run(out, &m, text, len);
    moa_normal_close(&m);
    moa_gguf_close(g);
    moa_gguf_out_free(o);
    moa_buf_deinit(&head);
    return rc;
}

static void is_normal(const char *step, const char *text, const char *want) {
    moa_buf b;
    moa_err err = {0};
    moa_buf_init(&b, 1 << 20);
    if (try_normal(&b, &step, 1, text, strlen(text), &err) < 0) fail_msg("%s: %s", step, err.text);
    if (strcmp(moa_buf_str(&b), want) != 0) fail_msg("%s of '%s' is '%s', expected '%s'", step, text, moa_buf_str(&b), want);
    moa_buf_deinit(&b);
}

static void steps(void **state) {
    (void)state;
    is_normal("nfc", "e\xcc\x81", "\xc3\xa9");
    is_normal("nfc", "\xc3\xa9\xcc\xa3 e\xcc\x81\xcc\xa3", "\xe1\xba\xb9\xcc\x81 \xe1\xba\xb9\xcc\x81"); /* the mark below comes first */
    is_normal("nfc", "\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab", "\xed\x95\x9c");                      /* Hangul by rule */
    is_normal("nfc", "\xe0\xa5\x98 \xef\xac\x81 \xe2\x84\xab", "\xe0\xa4\x95\xe0\xa4\xbc \xef\xac\x81 \xc3\x85"); /* never composed; compatibility; another name */
    is_normal("nfd", "\xc3\xa9\xed\x95\x9c", "e\xcc\x81\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab");
    is_normal("nfkc", "\xef\xac\x81\xc2\xa0\xef\xbc\xa1", "fi A");
    is_normal("nfkd", "\xc3\xa9\xc2\xbd", "e\xcc\x81" "1\xe2\x81\x84" "2");
    is_normal("nfc", "a\xff\xcc\x81\xc3", "a\xff\xcc\x81\xc3"); /* bytes that are no characters stay, and nothing meets across them */
    is_normal("lowercase", "\xc3\x84X\xc4\xb0\xff", "\xc3\xa4xi\xcc\x87\xff");
    is_normal("strip_accents", "e\xcc\x81\xe0\xa4\xbf\xe2\x83\x9d", "e");
    is_normal("nmt", "a\x01\t\x0b\xe2\x80\x8b\x7f\xef\xbb\xbf", "a   ");
    is_normal("strip_left", " \t\xc2\xa0x ", "x ");
    is_normal("strip_right", " x\xe3\x80\x80\xe2\x80\xaf\n", " x");
    is_normal("strip_right", "\xe3\x80", "\xe3\x80");
    is_normal("replace" MOA_TOK_BETWEEN "aa" MOA_TOK_BETWEEN "b", "aaaaa", "bba");
    is_normal("replace" MOA_TOK_BETWEEN "a" MOA_TOK_BETWEEN, "banana", "bnn");
}

static void wrong_steps(void **state) {
    (void)state;
    static const char *const WRONG[] = {"", "nfx", "nfc" MOA_TOK_BETWEEN, "replace", "replace" MOA_TOK_BETWEEN "a", "replace" MOA_TOK_BETWEEN MOA_TOK_BETWEEN "b", "charsmap"};
    const char *many[33], *twice[32];
    moa_buf b;
    moa_err err = {0};
    moa_buf_init(&b, SIZE_MAX / 2);
    for (size_t i = 0; i < sizeof WRONG / sizeof *WRONG; i++) {
        assert_int_equal(try_normal(&b, &WRONG[i], 1, "a", 1, &err), MOA_EUNSUPPORTED);
        assert_non_null(strstr(err.text, "moa.tokenizer.normalizer[0]"));
    }
    for (int i = 0; i < 33; i++) many[i] = "nfc";
    assert_int_equal(try_normal(&b, many, 33, "a", 1, &err), MOA_EFORMAT);
    for (int i = 0; i < 32; i++) twice[i] = "replace" MOA_TOK_BETWEEN "a" MOA_TOK_BETWEEN "aa"; /* 2^32 letters */
    assert_int_equal(try_normal(&b, twice, 32, "a", 1, &err), MOA_ELIMIT);
    moa_buf_deinit(&b);
}

/* Against utf8proc's own, which sorts marks in another way. */
static void forms_at_random(void **state) {
    (void)state;
    static const char *const FORM[] = {"nfc", "nfd", "nfkc", "nfkd"};
    static const utf8proc_option_t OPTION[] = {UTF8PROC_COMPOSE, UTF8PROC_DECOMPOSE, UTF8PROC_COMPOSE | UTF8PROC_COMPAT, UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT};
    static const uint32_t FROM[] = {'a', 0xC0, 0x300, 0x300, 0x330, 0x900, 0xB00, 0x1100, 0x1160, 0x1E00, 0xAC00, 0xF900, 0xFB00, 0xFF00, 0x1D150, 0x2F800};
    moa_rng r;
    moa_rng_seed(&r, 3);
    for (int i = 0; i < 4000; i++) {
        moa_buf text, got;
        moa_err err = {0};
        utf8proc_uint8_t *want = NULL;
        moa_buf_init(&text, 4096);
        moa_buf_init(&got, 1 << 16);
        for (uint32_t n = 1 + moa_rng_below(&r, 20); n > 0; n--) moa_utf8_add(&text, FROM[moa_rng_below(&r, sizeof FROM / sizeof *FROM)] + moa_rng_below(&r, 0x70));
        if (try_normal(&got, &FORM[i % 4], 1, text.data, text.len, &err) < 0) fail_msg("%s", err.text);
        const utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text.data, (utf8proc_ssize_t)text.len, &want, UTF8PROC_STABLE | OPTION[i % 4]);
        assert_true(n >= 0);
        if (got.len != (size_t)n || memcmp(got.data, want, got.len) != 0) fail_msg("%s of '%s' is '%s', expected '%s'", FORM[i % 4], text.data, got.data, want);
        free(want);
        moa_buf_deinit(&text);
        moa_buf_deinit(&got);
    }
}

/* ---- in time ---- */

/* Marks in falling order, which an exchange of neighbours sorts in the square of their number. */
static void long_marks(void **state) {
    (void)state;
    enum { N = 1 << 20 };
    static const char *const STEP[] = {"nfc", "nfkd"};
    moa_buf text, out;
    moa_err err = {0};
    moa_buf_init(&text, 4 * N);
    moa_buf_init(&out, SIZE_MAX / 2);
    moa_buf_adds(&text, "a");
    for (int i = 0; i < N / 4; i++) moa_buf_adds(&text, i < N / 8 ? "\xcc\x81" : "\xcc\xa3"); /* classes 230, 220 */
    const double t0 = moa_now();
    if (try_normal(&out, STEP, 2, text.data, text.len, &err) < 0) fail_msg("%s", err.text);
    if (moa_now() - t0 > 10) fail_msg("%zu bytes of marks took %.1f s", text.len, moa_now() - t0);
    assert_int_equal(out.len, text.len);
    assert_memory_equal(out.data, "a\xcc\xa3", 3);
    moa_buf_deinit(&text);
    moa_buf_deinit(&out);
}

static void long_texts(void **state) {
    (void)state;
    static const char *const UNIT[] = {"a", " ", "ab ", ",", "\xe6\xbc\xa2", "\xcc\x81\xcc\xa3", "x", "s"};
    enum { N = 1 << 19 };
    char *text = malloc(N + 1);
    assert_non_null(text);
    tok_loaded l[] = {tok_load(keys("bert", MARKED, WP_TYPE, NULL, N_WP), "bert"), tok_load(keys("t5", UNI, U_TYPE, U_SCORE, N_U), "t5")};
    for (size_t k = 0; k < 2; k++)
        for (size_t u = 0; u < sizeof UNIT / sizeof *UNIT; u++) {
            const size_t w = strlen(UNIT[u]);
            for (size_t i = 0; i < N; i++) text[i] = UNIT[u][i % w];
            moa_ids ids = {0};
            moa_err err = {0};
            const double t0 = moa_now();
            if (moa_tokenize(&ids, l[k].t, text, N, 0, &err) < 0) fail_msg("%s", err.text);
            if (moa_now() - t0 > 10) fail_msg("much of '%s' took %.1f s", UNIT[u], moa_now() - t0);
            moa_ids_deinit(&ids);
        }
    tok_unload(l[0]);
    tok_unload(l[1]);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(word_piece),    cmocka_unit_test(word_piece_forms), cmocka_unit_test(word_piece_reference), cmocka_unit_test(unigram),
        cmocka_unit_test(character_map), cmocka_unit_test(damaged_maps),     cmocka_unit_test(long_texts),
        cmocka_unit_test(steps),         cmocka_unit_test(wrong_steps),      cmocka_unit_test(forms_at_random), cmocka_unit_test(long_marks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
