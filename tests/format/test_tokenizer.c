/* test_tokenizer.c - rules that the published vectors do not show: special tokens and trust, bos, ends, words of each
 * pre-tokenizer, any bytes there and back, long hostile texts in time, hostile vocabularies refused with clear words.
 * With MOA_CORPUS=FOLDER the vocabularies are written there, as seeds for fuzz_tokenizer.
 * SPDX-License-Identifier: Apache-2.0 */
#include "format/tokenizer.h"

#include "base/clock.h"
#include "base/rng.h"
#include "format/tokenizer/pretokenize.h"
#include "format/tokenizer/vocab.h"
#include "support/tokens.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- small vocabularies ---- */

enum { MAX_TOKENS = 400 };

typedef struct vocab {
    const char *model, *pre, *name;
    char text[MAX_TOKENS][24];
    int32_t type[MAX_TOKENS];
    float score[MAX_TOKENS];
    int n, n_type, n_score; /* lengths written, so that they can disagree */
    const char *merge[32];
    int n_merge;
    int64_t bos, eos, unk;  /* -1: key absent */
    int add_bos;            /* -1: key absent */
    bool no_tokens, no_merges, no_scores, ints_as_tokens;
} vocab;

static void token(vocab *v, const char *text, int type, float score) {
    snprintf(v->text[v->n], sizeof v->text[0], "%s", text);
    v->type[v->n] = type;
    v->score[v->n++] = score;
    v->n_type = v->n_score = v->n;
}

/* 0..255 bytes; 256 "he", 257 "ll", 258 "hell", 259 " w" (stored as G with a dot), 260.. special */
static void bpe(vocab *v) {
    *v = (vocab){.model = "gpt2", .pre = "gpt-2", .bos = 260, .eos = 261, .unk = -1, .add_bos = -1, .no_scores = true};
    for (int b = 0; b < 256; b++) {
        char s[3] = {0};
        moa_byte_char(s, (uint8_t)b);
        token(v, s, MOA_TOKEN_NORMAL, 0);
    }
    token(v, "he", MOA_TOKEN_NORMAL, 0);
    token(v, "ll", MOA_TOKEN_NORMAL, 0);
    token(v, "hell", MOA_TOKEN_NORMAL, 0);
    token(v, "\xc4\xa0w", MOA_TOKEN_NORMAL, 0);
    token(v, "<|bos|>", MOA_TOKEN_CONTROL, 0);
    token(v, "<|im_end|>", MOA_TOKEN_CONTROL, 0);
    token(v, "::", MOA_TOKEN_USER, 0);
    token(v, ":::", MOA_TOKEN_USER, 0);
    token(v, "<|im_", MOA_TOKEN_CONTROL, 0);
    v->merge[0] = "h e", v->merge[1] = "l l", v->merge[2] = "he ll", v->merge[3] = "\xc4\xa0 w";
    v->n_merge = 4;
}

/* 0 <unk>, 1 <s>, 2 </s>, 3..258 bytes, then pieces */
static void spm(vocab *v) {
    *v = (vocab){.model = "llama", .bos = 1, .eos = 2, .unk = 0, .add_bos = -1, .no_merges = true};
    token(v, "<unk>", MOA_TOKEN_UNKNOWN, 0);
    token(v, "<s>", MOA_TOKEN_CONTROL, 0);
    token(v, "</s>", MOA_TOKEN_CONTROL, 0);
    for (int b = 0; b < 256; b++) {
        char s[8];
        snprintf(s, sizeof s, "<0x%02X>", b);
        token(v, s, MOA_TOKEN_BYTE, 0);
    }
    static const char *const PIECE[] = {"\xe2\x96\x81", "a", "b", "<", "s", ">", "<s", "\xe2\x96\x81""a", "ab", "\xe2\x96\x81""ab", "\xc3\xa9"};
    for (size_t i = 0; i < sizeof PIECE / sizeof *PIECE; i++) token(v, PIECE[i], MOA_TOKEN_NORMAL, -(float)i);
}

static moa_gguf_out *keys_of(const vocab *v) {
    moa_gguf_out *o = moa_gguf_out_new();
    moa_str s[MAX_TOKENS];
    if (v->model) moa_gguf_put_str(o, "tokenizer.ggml.model", v->model, strlen(v->model));
    if (v->pre) moa_gguf_put_str(o, "tokenizer.ggml.pre", v->pre, strlen(v->pre));
    if (v->name) moa_gguf_put_str(o, "general.name", v->name, strlen(v->name));
    for (int i = 0; i < v->n; i++) s[i] = (moa_str){v->text[i], strlen(v->text[i])};
    if (v->ints_as_tokens) moa_gguf_put_arr(o, "tokenizer.ggml.tokens", MOA_GGUF_I32, v->type, (uint64_t)v->n);
    else if (!v->no_tokens) moa_gguf_put_strs(o, "tokenizer.ggml.tokens", s, (uint64_t)v->n);
    moa_gguf_put_arr(o, "tokenizer.ggml.token_type", MOA_GGUF_I32, v->type, (uint64_t)v->n_type);
    if (!v->no_scores) moa_gguf_put_arr(o, "tokenizer.ggml.scores", MOA_GGUF_F32, v->score, (uint64_t)v->n_score);
    for (int i = 0; i < v->n_merge; i++) s[i] = (moa_str){v->merge[i], strlen(v->merge[i])};
    if (!v->no_merges) moa_gguf_put_strs(o, "tokenizer.ggml.merges", s, (uint64_t)v->n_merge);
    if (v->bos >= 0) moa_gguf_put_u32(o, "tokenizer.ggml.bos_token_id", (uint32_t)v->bos);
    if (v->eos >= 0) moa_gguf_put_u32(o, "tokenizer.ggml.eos_token_id", (uint32_t)v->eos);
    if (v->unk >= 0) moa_gguf_put_u32(o, "tokenizer.ggml.unknown_token_id", (uint32_t)v->unk);
    if (v->add_bos >= 0) moa_gguf_put_bool(o, "tokenizer.ggml.add_bos_token", v->add_bos);
    return o;
}

static int try_load(tok_loaded *l, const vocab *v, const char *label, moa_err *err) { return tok_try_load(l, keys_of(v), label, err); }

static tok_loaded load(void (*make)(vocab *)) {
    static vocab v;
    make(&v);
    return tok_load(keys_of(&v), make == bpe ? "bpe" : "spm");
}

/* ---- rules ---- */

static void bpe_rules(void **state) {
    (void)state;
    tok_loaded l = load(bpe);
    EXPECT(l.t, "hello", 0, 258, 'o');
    EXPECT(l.t, "hehe wl", 0, 256, 256, 259, 'l');
    EXPECT(l.t, "<|bos|>", MOA_TOK_SPECIAL, 260);
    EXPECT(l.t, "<|bos|>", 0, '<', '|', 'b', 'o', 's', '|', '>'); /* a user cannot write control tokens */
    EXPECT(l.t, "<|im_end|>", MOA_TOK_SPECIAL, 261);              /* the longest one */
    EXPECT(l.t, "<|im_x", MOA_TOK_SPECIAL, 264, 'x');
    EXPECT(l.t, "a::::b", 0, 'a', 263, ':', 'b');                  /* user-defined: always, leftmost, longest */
    EXPECT(l.t, "a:: w", 0, 'a', 262, 259);
    EXPECT(l.t, "h<|bos|>e", MOA_TOK_SPECIAL, 'h', 260, 'e');
    EXPECT(l.t, "h", MOA_TOK_BOS, 'h');                            /* gpt2: no bos unless the file asks */
    tok_expect(l.t, "", MOA_TOK_SPECIAL | MOA_TOK_BOS, NULL, 0);
    assert_int_equal(moa_tokenizer_find(l.t, "hell"), 258);
    assert_int_equal(moa_tokenizer_find(l.t, "hel"), -1);
    assert_true(moa_tokenizer_is_eog(l.t, 261));
    assert_false(moa_tokenizer_is_eog(l.t, 260));
    assert_true(moa_tokenizer_is_control(l.t, 260));
    assert_false(moa_tokenizer_is_eog(l.t, -1));
    assert_false(moa_tokenizer_is_eog(l.t, 1 << 30));
    assert_int_equal(moa_token_bytes(l.t, 260, false).n, 0);
    assert_int_equal(moa_token_bytes(l.t, 260, true).n, 7);
    assert_int_equal(moa_token_bytes(l.t, 259, false).n, 2);
    assert_memory_equal(moa_token_bytes(l.t, 259, false).p, " w", 2);
    assert_int_equal(moa_token_bytes(l.t, 9999, true).n, 0);
    tok_unload(l);
}

static void bos_rules(void **state) {
    (void)state;
    static vocab v;
    bpe(&v);
    v.add_bos = 1;
    tok_loaded l;
    moa_err err = {0};
    assert_int_equal(try_load(&l, &v, "bpe_bos", &err), 0);
    EXPECT(l.t, "h", MOA_TOK_BOS, 260, 'h');
    EXPECT(l.t, "", MOA_TOK_BOS, 260);
    EXPECT(l.t, "h", 0, 'h');
    EXPECT(l.t, "<|bos|>h", MOA_TOK_BOS | MOA_TOK_SPECIAL, 260, 'h'); /* one is enough */
    EXPECT(l.t, "<|bos|><|bos|>", MOA_TOK_BOS | MOA_TOK_SPECIAL, 260, 260);
    tok_unload(l);
    v.pre = "llama-bpe", v.add_bos = -1; /* a rule that comes with a bos, and takes whole words */
    v.n_merge = 1;
    v.merge[0] = "h e";
    assert_int_equal(try_load(&l, &v, "bpe_whole", &err), 0);
    EXPECT(l.t, "hell", MOA_TOK_BOS, 260, 258);
    tok_unload(l);
    spm(&v);
    v.add_bos = 0;
    assert_int_equal(try_load(&l, &v, "spm_no_bos", &err), 0);
    EXPECT(l.t, "a", MOA_TOK_BOS, 266);
    tok_unload(l);
}

static void spm_rules(void **state) {
    (void)state;
    enum { SP = 259, A, B, LT, S, GT, LTS, SPA, AB, SPAB, EACUTE };
    tok_loaded l = load(spm);
    EXPECT(l.t, "ab", MOA_TOK_BOS, 1, SPAB);
    EXPECT(l.t, "  ab", 0, SP, SP, SPAB);
    EXPECT(l.t, "aab", 0, SPA, AB);
    EXPECT(l.t, "<s>", 0, SP, LTS, GT);                         /* never the control token */
    EXPECT(l.t, "<s>", MOA_TOK_SPECIAL, 1);
    EXPECT(l.t, "a<s>a", MOA_TOK_SPECIAL, SPA, 1, SPA);          /* a new beginning behind a special token */
    EXPECT(l.t, "\xc3\xa9", 0, SP, EACUTE);
    EXPECT(l.t, "\xe2\x82\xac", 0, SP, 3 + 0xe2, 3 + 0x82, 3 + 0xac); /* bytes of a character without a piece */
    EXPECT(l.t, "\xff", 0, SP, 3 + 0xff);
    tok_expect(l.t, "", 0, NULL, 0);
    assert_true(moa_tokenizer_is_eog(l.t, 2));
    char *s;
    size_t n;
    moa_err err;
    assert_int_equal(moa_detokenize(&s, &n, l.t, (int32_t[]){1, SPA, SP, B}, 4, false, &err), 0);
    assert_string_equal(s, "a b");
    free(s);
    tok_unload(l);
}

static void phi3_rule(void **state) {
    (void)state;
    static vocab v;
    bpe(&v);
    v.name = "Phi-3-mini";
    tok_loaded l;
    moa_err err = {0};
    assert_int_equal(try_load(&l, &v, "bpe_phi3", &err), 0);
    EXPECT(l.t, "<|im_end|> \n h", MOA_TOK_SPECIAL, 261, 'h');
    tok_unload(l);
}

/* ---- words ---- */

typedef struct collected { char s[512]; } collected;
static int collect(void *ctx, const char *p, size_t n) {
    collected *c = ctx;
    size_t k = strlen(c->s);
    snprintf(c->s + k, sizeof c->s - k, "[%.*s]", (int)n, p);
    return 0;
}

static void words(void **state) {
    (void)state;
    static const struct { const char *pre, *text, *words; } CASE[] = {
        {"gpt-2", "I'll say  it's 12345, OK?\n\n x", "[I]['ll][ say][ ][ it]['s][ 12345][,][ OK][?][\n\n][ x]"},
        {"llama-bpe", "I'LL say  it 12345, OK?\n\n x", "[I]['LL][ say][ ][ it][ ][123][45][,][ OK][?\n\n][ x]"},
        {"qwen2", "a 12 b\r\n  c", "[a][ ][1][2][ b][\r\n][ ][ c]"},
        {"starcoder", "a 12 b", "[a][ ][1][2][ b]"},
        {"falcon", "x=1234 'ok'", "[x][=][123][4][ ]['][ok][']"},
        {"deepseek-llm", "ab 12\n c  ", "[ab][ ][12][\n][ c][  ]"},
        {"deepseek-v3", "f(x1234) \xe6\xbc\xa2\xe5\xad\x97", "[f][(x][123][4][)][ ][\xe6\xbc\xa2\xe5\xad\x97]"},
        {"tekken", "camelCase 12 XML/\n", "[camel][Case][ ][1][2][ XML][/\n]"},
        {"gpt-4o", "don't HTTPServer 1234", "[don't][ HTTPServer][ ][123][4]"},
        {"bloom", "a, b(c)", "[a][,][ b][(][c][)]"},
        {"moa", "What is 12+3?\n\n Yes,  no\n", "[What][ is][ ][1][2][+][3][?][\n\n][ Yes][,][ ][ no][\n]"},
        {"moa", "x \xff\xfe y", "[x][ ][\xff\xfe][ y]"},
        {"default", "a=1234 b", "[a][=][123][4][ b]"},
        {"deepseek-coder", "ab, 12\n c", "[ab][,][ ][1][2][\n][ c]"},
        {"seed-coder", "a!\n\n1", "[a][!][\n\n][1]"},
        {"bailingmoe", "a\n\nb 12", "[a][\n\n][b][ ][1][2]"},
        {"qwen35", "a\xcc\x81""b 1", "[a\xcc\x81""b][ ][1]"},
        {"viking", "a, b12", "[a][,][ b][1][2]"},
        {"jais-2", "a     b\n  c", "[a][    ][ b][\n][ ][ c]"},
        {"youtu", "Foo12 \xea\xb0\x80\xe2\x80\x94""x\xe6\xbc\xa2", "[Foo][1][2][ ][\xea\xb0\x80][\xe2\x80\x94][x][\xe6\xbc\xa2]"},
        {"chameleon", "<sentinel:12>IMGIMGABZ a1-b\t    c", "[<][sentinel][:][1][2][>][IMGIMGABZ][ a][1][-][b][\t][    ][c]"},
        {"tiny_aya", "1234567 x12345 12345x 1.2345", "[1][234][567][ x][12][345][ ][123][45][x][ ][1][.][2][345]"},
        {"superbpe", "of the 1234567, 12", "[of the ][1][234][567][, ][12]"},
        {"superbpe", "123\xc2\xbd 4567", "[123\xc2\xbd][ ][4][567]"},
        {"afmoe", "n 1234567a \xe6\xbc\xa2\xea\xb0\x80.", "[n][ ][1][234][567][a][ ][\xe6\xbc\xa2\xea\xb0\x80][.]"},
        {"kimi-k2", "HTTPServer's 1234\xe6\xbc\xa2\xe5\xad\x97""ab  \xe6\xbc\xa2 x/\n", "[HTTPServer's][ ][123][4][\xe6\xbc\xa2\xe5\xad\x97][ab][ ][ ][\xe6\xbc\xa2][ x][/\n]"},
        {"exaone-moe", "hello big world, it's 12", "[hello big world][,][ it]['s][ ][1][2]"},
        {"minimax-m2", "don't HTTPServer 1234", "[don't][ HTTPServer][ ][123][4]"},
        {"laguna", "OK 123  \n\n x!\n", "[OK][ ][1][2][3][  ][\n\n][ x][!][\n]"}, /* qwen2 would join "  \n\n", and "!\n" */
        {"minicpm5", "I'LL say 12345, OK?\n", "[I]['LL][ say][ ][123][45][,][ OK][?\n]"},
        {"spark2_5", "f(x 12) ok.\n\n \xe6\xbc\xa2", "[f][(x][ ][1][2][)][ ok][.][\n][\n][ ][\xe6\xbc\xa2]"},
        {"ufakzeka", "Ankara'da it's 12\n", "[Ankara]['da][ it]['s][ ][1][2][\n]"},
        {"ufakzeka", "Ali'den ID'di", "[Ali]['den][ ID]['di]"}, /* qwen2 cuts 'd off */
        {"cohere2moe", "1234567 x12345", "[1][234][567][ x][12][345]"},
        {"granite-embed-multi-97m", "a\xcc\x81""B 1234", "[a\xcc\x81][B][ ][123][4]"},
        {"hy_v4", "f(x1234)", "[f][(x][123][4][)]"},
        {"solar-open", "OK 12", "[OK][ ][1][2]"},
        {"mellum2", "a 12 b", "[a][ ][1][2][ b]"},
    };
    for (size_t i = 0; i < sizeof CASE / sizeof *CASE; i++) {
        moa_pre *p;
        moa_err err = {0};
        collected c = {""};
        if (moa_pre_open(&p, CASE[i].pre, strlen(CASE[i].pre), &err) < 0) fail_msg("%s", err.text);
        assert_int_equal(moa_pre_split(p, CASE[i].text, strlen(CASE[i].text), collect, &c, &err), 0);
        if (strcmp(c.s, CASE[i].words) != 0) fail_msg("%s: got %s expected %s", CASE[i].pre, c.s, CASE[i].words);
        moa_pre_close(p);
    }
    moa_pre *p;
    moa_err err = {0};
    assert_int_equal(moa_pre_open(&p, "gpt-9", 5, &err), MOA_EUNSUPPORTED);
    assert_non_null(strstr(err.hint, "moa list pretokenizers shows"));
    assert_non_null(strstr(err.hint, "gpt-4o")); /* the whole hint has room */
}

static void round_trip(const moa_tokenizer *t, const char *p, size_t n, const char *what) {
    moa_ids ids = {0};
    moa_err err = {0};
    char *back;
    size_t len;
    if (moa_tokenize(&ids, t, p, n, 0, &err) < 0) fail_msg("%s: %s", what, err.text);
    assert_int_equal(moa_detokenize(&back, &len, t, ids.v, ids.n, false, &err), 0);
    if (len != n || memcmp(back, p, n) != 0) fail_msg("%s: %zu bytes became %zu", what, n, len);
    free(back);
    moa_ids_deinit(&ids);
}

/* Bytes, half characters, spaces, letters of many scripts in random order. */
static size_t random_text(char *out, size_t max, moa_rng *r) {
    static const char *const PART[] = {" ", "  ", "\n", "\r\n", "\t", "hell", "He", "'s", "12", "\xc3\xa9", "\xe6\xbc\xa2", "\xf0\x9f\xa6\x99", "\xff",
                                       "\xe6\xbc", "\xc3", "\xed\xa0\x80", "\xf5", "::", "<|im_end|>", "\xe2\x80\xa8", "\xc2\xa0", "\xcc\x81", ".", "\0x"};
    size_t n = 0;
    while (n + 16 < max) {
        if (moa_rng_below(r, 4) == 0) {
            out[n++] = (char)moa_rng_below(r, 256);
            continue;
        }
        const char *p = PART[moa_rng_below(r, sizeof PART / sizeof *PART)];
        size_t k = strlen(p) + (*p == 0);
        memcpy(out + n, p, k);
        n += k;
    }
    return n;
}

static void any_bytes(void **state) {
    (void)state;
    static const char *const PRE[] = {
#define PRE(name, rule, flags) name,
#include "format/tokenizer/pretokenizers.def"
#undef PRE
    };
    static vocab v;
    static char text[4000];
    for (size_t i = 0; i < sizeof PRE / sizeof *PRE; i++) {
        bpe(&v);
        v.pre = PRE[i];
        tok_loaded l;
        moa_err err = {0};
        if (try_load(&l, &v, "bpe_any", &err) < 0) fail_msg("%s", err.text);
        for (uint64_t seed = 0; seed < 20; seed++) {
            moa_rng r;
            moa_rng_seed2(&r, 7, seed);
            round_trip(l.t, text, random_text(text, sizeof text, &r), PRE[i]);
        }
        tok_unload(l);
    }
}

static void any_bytes_spm(void **state) {
    (void)state;
    tok_loaded l = load(spm);
    static char text[4000];
    for (uint64_t seed = 0; seed < 100; seed++) {
        moa_rng r;
        moa_rng_seed2(&r, 8, seed);
        round_trip(l.t, text, random_text(text, sizeof text, &r), "spm");
    }
    tok_unload(l);
}

/* Long texts that have no words, are all spaces, or change kind at each byte: every rule in time. */
static void long_texts(void **state) {
    (void)state;
    static const char *const UNIT[] = {"h", " ", "\n", " \n", "1", "he", "'", ".", "\xff", "\xe6\xbc\xa2", ":", "<|", "a ", "  x"};
    static const char *const PRE[] = {"gpt-2", "llama-bpe", "deepseek-llm", "deepseek-v3", "falcon", "tekken", "gpt-4o", "moa", "bloom", "default"};
    enum { N = 1 << 20 };
    static vocab v;
    char *text = malloc(N);
    assert_non_null(text);
    for (size_t i = 0; i <= sizeof PRE / sizeof *PRE; i++) {
        if (i < sizeof PRE / sizeof *PRE) bpe(&v), v.pre = PRE[i];
        else spm(&v);
        tok_loaded l;
        moa_err err = {0};
        assert_int_equal(try_load(&l, &v, "bpe_any", &err), 0);
        for (size_t u = 0; u < sizeof UNIT / sizeof *UNIT; u++) {
            size_t k = strlen(UNIT[u]), n = u < 2 ? N : N / 8;
            for (size_t j = 0; j < n; j++) text[j] = UNIT[u][j % k];
            text[n - 1] = 'x'; /* so that a run does not end the text */
            double t0 = moa_now();
            round_trip(l.t, text, n, v.pre ? v.pre : "spm");
            if (moa_now() - t0 > 20) fail_msg("%s: much of '%s' took %.1f s", v.pre ? v.pre : "spm", UNIT[u], moa_now() - t0);
        }
        tok_unload(l);
    }
    free(text);
}

static int count(void *ctx, const char *p, size_t n) {
    (void)p;
    *(size_t *)ctx += n;
    return 0;
}

/* Every rule cuts such texts in time, and the words cover them. */
static void long_words(void **state) {
    (void)state;
    static const char *const UNIT[] = {"h", "H", " ", "\n", " \n", "1", "'", ".", "\xe6\xbc\xa2", "a ", "  x", "A\xcc\x81", "\xd9\xa0"};
    enum { N = 1 << 18 };
    char *text = malloc(N);
    const char *name, *same_as;
    assert_non_null(text);
    for (int i = 0; moa_pre_row(&name, &same_as, i); i++) {
        moa_pre *p;
        moa_err err = {0};
        if (name != same_as) continue;
        if (moa_pre_open(&p, name, strlen(name), &err) < 0) fail_msg("%s", err.text);
        for (size_t u = 0; u < sizeof UNIT / sizeof *UNIT; u++) {
            const size_t k = strlen(UNIT[u]), n = N / k * k;
            size_t sum = 0;
            for (size_t j = 0; j < n; j++) text[j] = UNIT[u][j % k];
            const double t0 = moa_now();
            if (moa_pre_split(p, text, n, count, &sum, &err) < 0) fail_msg("%s: much of '%s': %s", name, UNIT[u], err.text);
            assert_int_equal(sum, n);
            if (moa_now() - t0 > 5) fail_msg("%s: much of '%s' took %.1f s", name, UNIT[u], moa_now() - t0);
        }
        moa_pre_close(p);
    }
    free(text);
}

/* ---- hostile vocabularies ---- */

static void h_no_model(vocab *v) { v->model = NULL; }
static void h_model(vocab *v) { v->model = "rwkv"; }
static void h_pre(vocab *v) { v->pre = "gpt-9"; }
static void h_no_tokens(vocab *v) { v->no_tokens = true; }
static void h_int_tokens(vocab *v) { v->ints_as_tokens = true; }
static void h_zero_tokens(vocab *v) { v->n = v->n_type = v->n_score = 0; }
static void h_types_short(vocab *v) { v->n_type = 5; }
static void h_type_9(vocab *v) { v->type[7] = 9; }
static void h_twice(vocab *v) { memcpy(v->text[258], "he", 3); }
static void h_byte_missing(vocab *v) { memcpy(v->text['q'], "qq", 3); }
static void h_bos(vocab *v) { v->bos = 400; }
static void h_eos(vocab *v) { v->eos = 4000000000; }
static void h_no_merges(vocab *v) { v->no_merges = true; }
static void h_merge_shape(vocab *v) { v->merge[1] = "ll"; }
static void h_merge_space(vocab *v) { v->merge[1] = "l "; }
static void h_merge_left(vocab *v) { v->merge[2] = "xy l"; }
static void h_merge_right(vocab *v) { v->merge[2] = "l xy"; }
static void h_merge_result(vocab *v) { v->merge[3] = "l h"; }
static void s_no_scores(vocab *v) { v->no_scores = true; }
static void s_scores_short(vocab *v) { v->n_score = 3; }
static void s_score_nan(vocab *v) { v->score[9] = __builtin_nanf(""); }
static void s_byte_text(vocab *v) { memcpy(v->text[10], "<0xZZ>", 7); }

static const struct hostile { const char *name; void (*base)(vocab *), (*spoil)(vocab *); int code; const char *says; } HOSTILE[] = {
#define H(fn, base, code, says) {#fn, base, fn, code, says}
    H(h_no_model, bpe, MOA_ENOTFOUND, "'tokenizer.ggml.model' is missing"),
    H(h_model, bpe, MOA_EUNSUPPORTED, "tokenizer.ggml.model 'rwkv' is not supported"),
    H(h_pre, bpe, MOA_EUNSUPPORTED, "tokenizer.ggml.pre 'gpt-9' is not known"),
    H(h_no_tokens, bpe, MOA_ENOTFOUND, "'tokenizer.ggml.tokens' is missing"),
    H(h_int_tokens, bpe, MOA_EFORMAT, "expected an array of strings"),
    H(h_zero_tokens, bpe, MOA_EFORMAT, "expected an array of strings"),
    H(h_types_short, bpe, MOA_EFORMAT, "tokenizer.ggml.token_type: 5 i32, expected 265 i32"),
    H(h_type_9, bpe, MOA_EFORMAT, "token_type[7] is 9, expected 1 to 6"),
    H(h_twice, bpe, MOA_EFORMAT, "tokens[258] 'he' is the text of token 256 too"),
    H(h_byte_missing, bpe, MOA_EFORMAT, "no token for byte 0x71 'q'"),
    H(h_bos, bpe, MOA_EFORMAT, "bos_token_id is 400, the vocabulary has 265 tokens"),
    H(h_eos, bpe, MOA_EFORMAT, "eos_token_id is 4000000000"),
    H(h_no_merges, bpe, MOA_ENOTFOUND, "'tokenizer.ggml.merges' is missing"),
    H(h_merge_shape, bpe, MOA_EFORMAT, "merges[1] is 'll', expected two texts"),
    H(h_merge_space, bpe, MOA_EFORMAT, "merges[1] is 'l ', expected two texts"),
    H(h_merge_left, bpe, MOA_EFORMAT, "merges[2] 'xy l': left part is not in the vocabulary"),
    H(h_merge_right, bpe, MOA_EFORMAT, "right part is not in the vocabulary"),
    H(h_merge_result, bpe, MOA_EFORMAT, "what it makes is not in the vocabulary"),
    H(s_no_scores, spm, MOA_ENOTFOUND, "'tokenizer.ggml.scores' is missing"),
    H(s_scores_short, spm, MOA_EFORMAT, "tokenizer.ggml.scores: 3 f32, expected 270 f32"),
    H(s_score_nan, spm, MOA_EFORMAT, "scores[9] is not a number"),
    H(s_byte_text, spm, MOA_EFORMAT, "tokens[10] is '<0xZZ>', expected <0xNN>"),
#undef H
};

static void hostile(void **state) {
    (void)state;
    static vocab v;
    for (size_t i = 0; i < sizeof HOSTILE / sizeof *HOSTILE; i++) {
        HOSTILE[i].base(&v);
        HOSTILE[i].spoil(&v);
        tok_loaded l;
        moa_err err = {0};
        int rc = try_load(&l, &v, HOSTILE[i].name, &err);
        if (rc != HOSTILE[i].code || !strstr(err.text, HOSTILE[i].says) || !strstr(err.text, ".gguf") != !!getenv("MOA_CORPUS"))
            fail_msg("%s: %d '%s', expected %d '%s'", HOSTILE[i].name, rc, err.text, HOSTILE[i].code, HOSTILE[i].says);
        assert_null(l.t);
        if (HOSTILE[i].spoil == h_pre) assert_non_null(strstr(err.hint, "llama-bpe"));
        if (HOSTILE[i].spoil == h_model) assert_non_null(strstr(err.hint, "gpt2"));
        moa_gguf_close(l.g);
    }
}

/* ---- keys of moa's own ---- */

static void put_texts(moa_gguf_out *o, const char *key, const char *const *text, uint64_t n) {
    moa_str s[8];
    for (uint64_t i = 0; i < n; i++) s[i] = (moa_str){text[i], strlen(text[i])};
    moa_gguf_put_strs(o, key, s, n);
}

static moa_gguf_out *bpe_keys(void) {
    static vocab v;
    bpe(&v);
    return keys_of(&v);
}

static void own_keys(void **state) {
    (void)state;
    static const char *const STEPS[] = {"nfc", "lowercase", "replace" MOA_TOK_BETWEEN "--" MOA_TOK_BETWEEN "::"};
    moa_gguf_out *o = bpe_keys();
    put_texts(o, MOA_TOK_KEY_NORMAL, STEPS, 3);
    moa_gguf_put_arr(o, MOA_TOK_KEY_LSTRIP, MOA_GGUF_I32, (const int32_t[]){261}, 1);
    moa_gguf_put_arr(o, MOA_TOK_KEY_RSTRIP, MOA_GGUF_I32, (const int32_t[]){260}, 1);
    moa_gguf_put_arr(o, MOA_TOK_KEY_WORD, MOA_GGUF_I32, (const int32_t[]){264}, 1);
    moa_gguf_put_arr(o, MOA_TOK_KEY_NORMALIZED, MOA_GGUF_I32, (const int32_t[]){262, 261}, 2); /* the second is a control token: found as it is */
    tok_loaded l = tok_load(o, "own_keys");
    EXPECT(l.t, "HE--he::He", 0, 256, 262, 256, 262, 256);
    EXPECT(l.t, "he:::he", 0, 256, 263, 256);   /* found in the text as it is, before */
    EXPECT(l.t, "h---e", 0, 'h', 262, '-', 'e');
    EXPECT(l.t, "H \xc2\xa0<|im_end|> h<|bos|>\n H", MOA_TOK_SPECIAL, 'h', 261, ' ', 'h', 260, 'h');
    EXPECT(l.t, "<|IM_END|>", MOA_TOK_SPECIAL, '<', '|', 'i', 'm', '_', 'e', 'n', 'd', '|', '>');
    EXPECT(l.t, "<|im_.<|im_x", MOA_TOK_SPECIAL, 264, '.', '<', '|', 'i', 'm', '_', 'x');
    tok_unload(l);
    o = bpe_keys();
    moa_gguf_put_bool(o, MOA_TOK_KEY_PREFIX_MISSING, true);
    moa_gguf_put_bool(o, MOA_TOK_KEY_PREFIX_ONCE, true);
    moa_gguf_put_bool(o, MOA_TOK_KEY_WHOLE, true);
    l = tok_load(o, "own_prefix");
    EXPECT(l.t, "w::w", 0, 259, 262, 'w');
    EXPECT(l.t, " w", 0, 259);
    EXPECT(l.t, "::w", 0, 262, 'w');
    tok_unload(l);
}

static void own_keys_hostile(void **state) {
    (void)state;
    static const char *const LISTS[] = {MOA_TOK_KEY_LSTRIP, MOA_TOK_KEY_RSTRIP, MOA_TOK_KEY_WORD, MOA_TOK_KEY_NORMALIZED};
    static const char *const FLAGS[] = {MOA_TOK_KEY_PREFIX_MISSING, MOA_TOK_KEY_PREFIX_ONCE, MOA_TOK_KEY_WHOLE};
    static const int32_t FAR[] = {3, 265}, LOW[] = {-1};
    tok_loaded l;
    moa_err err = {0};
#define REFUSED(says)                                                                                                                                    \
    do {                                                                                                                                                 \
        assert_int_equal(tok_try_load(&l, o, "own_refused", &err), MOA_EFORMAT);                                                                         \
        if (!strstr(err.text, says)) fail_msg("'%s' does not say '%s'", err.text, says);                                                                 \
        moa_gguf_close(l.g);                                                                                                                             \
    } while (0)
    for (size_t i = 0; i < sizeof LISTS / sizeof *LISTS; i++) {
        moa_gguf_out *o = bpe_keys();
        moa_gguf_put_arr(o, LISTS[i], MOA_GGUF_I32, FAR, 2);
        REFUSED("[1] is 265, the vocabulary has 265 tokens");
        o = bpe_keys();
        moa_gguf_put_arr(o, LISTS[i], MOA_GGUF_I32, LOW, 1);
        REFUSED("[0] is -1");
        o = bpe_keys();
        moa_gguf_put_u32(o, LISTS[i], 3);
        REFUSED("expected an array of i32");
    }
    for (size_t i = 0; i < sizeof FLAGS / sizeof *FLAGS; i++) {
        moa_gguf_out *o = bpe_keys();
        moa_gguf_put_str(o, FLAGS[i], "yes", 3);
        REFUSED(FLAGS[i]);
    }
    moa_gguf_out *o = bpe_keys();
    moa_gguf_put_str(o, MOA_TOK_KEY_NORMAL, "nfc", 3);
    REFUSED("expected an array of at most 32 texts");
#undef REFUSED
}

/* A byte that the vocabulary has no token for: the unknown token where there is one, else an error that names it. */
static void byte_without_token(void **state) {
    (void)state;
    static vocab v;
    bpe(&v);
    memcpy(v.text[0xff], "qq", 3);
    tok_loaded l;
    moa_err err = {0};
    assert_int_equal(try_load(&l, &v, "bpe_no_ff", &err), 0);
    moa_ids ids = {0};
    assert_int_equal(moa_tokenize(&ids, l.t, "a\xff", 2, 0, &err), MOA_EFORMAT);
    assert_non_null(strstr(err.text, "0xFF"));
    moa_ids_deinit(&ids);
    tok_unload(l);
    v.unk = 264;
    assert_int_equal(try_load(&l, &v, "bpe_unk", &err), 0);
    EXPECT(l.t, "a\xff", 0, 'a', 264);
    tok_unload(l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bpe_rules), cmocka_unit_test(bos_rules), cmocka_unit_test(spm_rules), cmocka_unit_test(phi3_rule),
        cmocka_unit_test(words), cmocka_unit_test(any_bytes), cmocka_unit_test(any_bytes_spm), cmocka_unit_test(long_words), cmocka_unit_test(long_texts),
        cmocka_unit_test(hostile), cmocka_unit_test(byte_without_token), cmocka_unit_test(own_keys), cmocka_unit_test(own_keys_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
