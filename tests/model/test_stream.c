/* test_stream.c - what may be shown of a text while its bytes come one token at a time: tokens of single bytes (byte fall-back, byte-level
 * BPE) that end inside a character just where a stop string begins. Nothing half is ever sent, nothing that a stop string takes back.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"
#include "format/grammar.h"
#include "model/generating.h"
#include "model/stream.h"

/* ---- vocabularies of bytes ---- */

enum { N_BPE = 300, SPM_BYTE = 3, N_SPM = SPM_BYTE + 256 + 1 };

static moa_gguf *meta;        /* byte-level BPE: the token of a byte is 1 + the byte */
static moa_gguf *pieces;      /* SentencePiece: <0xNN> at 3 + the byte, and a piece of a space, which vocabularies have */
static moa_tokenizer *spm, *bpe;

static moa_gguf *open_bpe(void) {
    static const char *const special[] = {"<eos>"}, *const text[] = {"ab"};
    static const size_t len[] = {2};
    moa_gguf_out *o = moa_gguf_out_new();
    moa_err err = {0};
    const moa_bpe_train cfg = {.n_vocab = 257, .pre = "moa", .special = special, .n_special = 1, .bos = -1, .eos = 0, .pad = -1};
    OK(moa_bpe_train_run(o, &cfg, text, len, 1, &err));
    return keys_of(o, "stream-bpe.gguf");
}

static moa_gguf *open_spm(void) {
    static char names[256][8];
    moa_str text[N_SPM] = {{"<unk>", 5}, {"<s>", 3}, {"</s>", 4}};
    int32_t type[N_SPM] = {2, 3, 3};
    float score[N_SPM] = {0};
    moa_gguf_out *o = moa_gguf_out_new();
    for (int b = 0; b < 256; b++) {
        snprintf(names[b], sizeof names[b], "<0x%02X>", b);
        text[SPM_BYTE + b] = (moa_str){names[b], 6};
        type[SPM_BYTE + b] = 6;
    }
    text[N_SPM - 1] = (moa_str){"\xe2\x96\x81", 3};
    type[N_SPM - 1] = 1;
    moa_gguf_put_str(o, "tokenizer.ggml.model", "llama", 5);
    moa_gguf_put_strs(o, "tokenizer.ggml.tokens", text, N_SPM);
    moa_gguf_put_arr(o, "tokenizer.ggml.token_type", MOA_GGUF_I32, type, N_SPM);
    moa_gguf_put_arr(o, "tokenizer.ggml.scores", MOA_GGUF_F32, score, N_SPM);
    return keys_of(o, "stream-spm.gguf");
}

static int setup(void **state) {
    (void)state;
    moa_err err = {0};
    meta = open_bpe();
    pieces = open_spm();
    OK(moa_tokenizer_open(&bpe, meta, &err));
    OK(moa_tokenizer_open(&spm, pieces, &err));
    return 0;
}

static int teardown(void **state) {
    (void)state;
    moa_tokenizer_close(bpe);
    moa_tokenizer_close(spm);
    moa_gguf_close(meta);
    moa_gguf_close(pieces);
    return 0;
}

/* Through the token, as the generator does it. */
static moa_str byte_of(bool fall_back, uint8_t byte) {
    const moa_str s = fall_back ? moa_token_bytes(spm, SPM_BYTE + byte, false) : moa_token_bytes(bpe, 1 + byte, false);
    if (s.n != 1 || (uint8_t)*s.p != byte) fail_msg("the token of byte %02X is another", byte);
    return s;
}

/* ---- what must come out ---- */

/* Bytes to which the text is cut: it ends before the stop string that is whole first; at the same byte, before the longer one. */
static size_t cut_of(const char *p, size_t n, const char *const *stop, int n_stop, bool *stopped) {
    size_t cut = n;
    *stopped = false;
    for (size_t end = 1; end <= n && !*stopped; end++)
        for (int i = 0; i < n_stop; i++) {
            const size_t k = strlen(stop[i]);
            if (k > end || memcmp(p + end - k, stop[i], k) != 0) continue;
            if (!*stopped || end - k < cut) cut = end - k;
            *stopped = true;
        }
    return cut;
}

/* Bytes at the end of p[0 .. n) that begin a character and do not end it. By the table of well-formed sequences, written down once more. */
static size_t half_at_end(const char *s, size_t n) {
    const uint8_t *p = (const uint8_t *)s;
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        const uint8_t c = p[n - back], second = back > 1 ? p[n - back + 1] : 0;
        if (c >= 0x80 && c < 0xC0) continue;
        const size_t want = c >= 0xF0 && c <= 0xF4 ? 4 : c >= 0xE0 && c < 0xF0 ? 3 : c >= 0xC2 && c < 0xE0 ? 2 : 1;
        if (back >= want) return 0;
        const bool never = back > 1 && ((c == 0xE0 && second < 0xA0) || (c == 0xED && second > 0x9F) || (c == 0xF0 && second < 0x90) || (c == 0xF4 && second > 0x8F));
        return never ? 0 : back;
    }
    return 0;
}

/* Of what is there, n bytes, `ready` are sent: do they end inside a character? Not if what follows has made it none. */
static bool sends_half(const char *p, size_t ready, size_t n) {
    return half_at_end(p, ready) && (ready == n || ((uint8_t)p[ready] & 0xC0) == 0x80);
}

/* One text, byte by byte, by tokens of either kind. */
static void check(const char *text, size_t n, const char *const *stop, int n_stop) {
    bool stopped;
    const size_t cut = cut_of(text, n, stop, n_stop, &stopped), all = cut - half_at_end(text, cut);
    for (int kind = 0; kind < 2; kind++) {
        moa_stream s;
        moa_err err = {0};
        OK(moa_stream_init(&s, stop, n_stop, &err));
        for (size_t i = 0; i < n && !s.stopped; i++) {
            const moa_str b = byte_of(kind == 1, (uint8_t)text[i]);
            OK(moa_stream_add(&s, b.p, b.n, &err));
            const size_t ready = moa_stream_ready(&s);
            if (ready < s.sent || ready > all) fail_msg("%zu bytes of '%s' are sent, %zu will stand", ready, text, all);
            if (sends_half(text, ready, i + 1)) fail_msg("'%.*s' ends inside a character", (int)ready, text);
            s.sent = ready;
        }
        if (s.stopped != stopped) fail_msg("'%.*s' %s stopped at '%s'", (int)n, text, stopped ? "is not" : "is", n_stop ? stop[0] : "nothing");
        moa_stream_end(&s);
        assert_int_equal(moa_stream_ready(&s), all); /* and nothing is lost */
        assert_int_equal(s.len, all);
        assert_memory_equal(s.text, text, all);
        moa_stream_deinit(&s);
    }
}
#define CHECK(text, ...) check(text, sizeof text - 1, (const char *const[]){__VA_ARGS__}, (int)(sizeof(const char *const[]){__VA_ARGS__} / sizeof(char *)))

static void by_hand(void **state) {
    (void)state;
    CHECK("ab\xe2\x82###", "###");                   /* half a character, then the stop string */
    CHECK("ab\xe2\x82\xac###", "###");               /* a whole one */
    CHECK("ab\xe2\x82\xac", "\xe2\x82\xad!");         /* two bytes of the character are two of a stop string */
    CHECK("ab\xe2\x82\xad!", "\xe2\x82\xad!");
    CHECK("ab\xe2\x82\xad?", "\xe2\x82\xad!");
    CHECK("ab\xe2\x82\xe2\x82\xad!", "\xe2\x82\xad!"); /* half a character where the stop string's own begins */
    CHECK("\xf0\x9f\xa6\x99\xf0\x9f\xa6", "\xf0\x9f\xa6\x99\xf0\x9f\xa6\x99");
    CHECK("\xf0\x9f\xa6\x99\xf0\x9f\xa6\x99", "\xf0\x9f\xa6\x99\xf0\x9f\xa6\x99");
    CHECK("\xf0\x9f\xa6\x99x", "\xf0\x9f\xa6\x99\xf0\x9f\xa6\x99");
    CHECK("a\xf0\x9f", "\xf0\x9f\xa6\x99");            /* the end of all */
    CHECK("a\xc3", "\xc3\xa9", "a\xc3\xa9");
    CHECK("xa\xc3\xa9", "\xc3\xa9", "a\xc3\xa9");      /* two at once: the longer takes more */
    CHECK("a\xe2\x82x", "y");                        /* never a character: sent as it came */
    CHECK("a\xe2\x82\xc3\xa9", "y");
    CHECK("a\xe2\x82\xc3", "y");                    /* the second half goes at the end, the first had become none before */
    CHECK("\xe2\xc3", "\xc3\xa9");                   /* the same, while the second may begin a stop string */
    CHECK("\xed\xa0\x80###", "###");                 /* half a surrogate pair is no character either */
}

/* Any bytes of a small set that makes such meetings frequent. */
static void at_random(void **state) {
    (void)state;
    static const char *const STOP[] = {"###", "\xe2\x82\xad!", "\xc3\xa9", "#\xe2\x82\xac", "\xf0\x9f\xa6\x99#", "a\xc3\xa9\x61", "\xe2\x82\xac\xe2\x82\xac"};
    static const char *const PART[] = {"\xe2", "\x82", "\xac", "\xad", "!", "#", "a", "\xc3", "\xa9", "\xf0\x9f", "\xa6", "\x99", "\xe2\x82\xac", "\xc3\xa9"};
    moa_rng r;
    moa_rng_seed(&r, 12);
    for (int i = 0; i < 20000; i++) {
        char text[64];
        size_t n = 0;
        const char *stop[3];
        const int n_stop = (int)moa_rng_below(&r, 4);
        for (int k = 0; k < n_stop; k++) stop[k] = STOP[moa_rng_below(&r, sizeof STOP / sizeof *STOP)];
        for (uint32_t k = 1 + moa_rng_below(&r, 14); k > 0; k--) {
            const char *p = PART[moa_rng_below(&r, sizeof PART / sizeof *PART)];
            memcpy(text + n, p, strlen(p));
            n += strlen(p);
        }
        text[n] = 0;
        check(text, n, stop, n_stop);
    }
}

/* ---- a whole generator ---- */

typedef struct heard { char text[256]; size_t n; } heard;

static bool hear(void *ctx, int req, const char *text, size_t n) {
    heard *h = ctx;
    (void)req;
    if (!text) return true;
    assert_true(h->n + n < sizeof h->text);
    memcpy(h->text + h->n, text, n);
    h->n += n;
    if (half_at_end(h->text, h->n)) fail_msg("'%.*s' was sent, which ends inside a character", (int)h->n, h->text);
    return true;
}

/* A grammar leaves the model one text; its vocabulary has nothing but bytes. */
static void generated(const char *forced, const char *const *stop, int n_stop, const char *want) {
    char rule[200];
    moa_grammar *g;
    moa_generator *gen;
    moa_gen_res res;
    moa_err err = {0};
    heard h = {.n = 0};
    moa_hparams hp = tiny_hparams();
    hp.n_vocab = 257;
    moa_model *model = tiny_model(hp, meta, 5);
    const moa_session_cfg cfg = {.n_ctx = 128, .n_seq = 1, .n_batch = 16, .isa = MOA_ISA_COUNT, .kv_type = MOA_F32};
    snprintf(rule, sizeof rule, "root ::= \"%s\"\n", forced);
    OK(moa_grammar_parse(&g, rule, strlen(rule), "test", &err));
    OK(moa_generator_new(&gen, model, &cfg, &err));
    moa_gen_req q = {.prompt = (const int32_t[]){66, 67}, .n_prompt = 2, .sampling = moa_sampling_defaults(), .max_tokens = 60, .grammar = g, .stop = stop, .n_stop = n_stop};
    OK(moa_generate(gen, &res, &q, 1, hear, &h, &err));
    if (h.n != strlen(want) || memcmp(h.text, want, h.n) != 0) fail_msg("'%.*s' was sent, expected '%s'", (int)h.n, h.text, want);
    assert_string_equal(res.text, want);
    moa_gen_res_deinit(&res);
    moa_generator_free(gen);
    moa_grammar_free(g);
    moa_model_close(model);
}

static void by_generator(void **state) {
    (void)state;
    generated("x\xe2\x82\xac y\xe2\x82\xad! z", (const char *const[]){"\xe2\x82\xad!"}, 1, "x\xe2\x82\xac y");
    generated("x\xe2\x82\xac", (const char *const[]){"\xe2\x82\xad!", "\xe2\x82\xac\xe2"}, 2, "x\xe2\x82\xac");
    generated("\xf0\x9f\xa6\x99\xf0\x9f\xa6\x99.", (const char *const[]){"\xf0\x9f\xa6\x99."}, 1, "\xf0\x9f\xa6\x99");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(by_hand), cmocka_unit_test(at_random), cmocka_unit_test(by_generator)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
