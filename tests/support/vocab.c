/* vocab.c - see vocab.h. SPDX-License-Identifier: Apache-2.0 */
#include "support/vocab.h"
#include "base/err.h"
#include "base/rng.h"
#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The visible character that stands for a byte in byte-level vocabularies. */
static void add_byte(moa_buf *b, uint8_t byte) {
    uint32_t cp = byte, hidden = 0;
    for (int i = 0; i < 256; i++) {
        const bool shown = (i >= '!' && i <= '~') || (i >= 0xA1 && i <= 0xAC) || i >= 0xAE;
        if (i == byte && !shown) cp = 256 + hidden;
        hidden += !shown;
    }
    moa_utf8_add(b, cp);
}

static void make(moa_buf *b, int i, moa_rng *r) {
    static const char *const piece[] = {"\"", "\":", "\": \"", "\",", "\", \"", "{", "{\"", "}", "}}", "]", "],", "[", "[\"", "\\", "\\n", "\\\"", "\\u00", "true", "fals",
                                        "null", "\n", "\n  ", " ", "  ", "12", "345", "-1", "0.5", "e10", "\xC3\xA9", "\xE2\x82", "\xAC", "\xF0\x9F", "\x98\x80", "name", "age", "abc", "aaaaaaaaaaaaaaaa"};
    if (i < 256) {
        add_byte(b, (uint8_t)i);
        return;
    }
    for (int k = 1 + (int)moa_rng_below(r, 4); k > 0; k--) {
        if (moa_rng_below(r, 4) == 0) {
            const char *p = piece[moa_rng_below(r, sizeof piece / sizeof *piece)];
            for (; *p; p++) add_byte(b, (uint8_t)*p);
        } else {
            for (int n = 1 + (int)moa_rng_below(r, 5); n > 0; n--) add_byte(b, (uint8_t)('a' + (int)moa_rng_below(r, 26)));
        }
    }
}

/* A vocabulary names each text once. */
static bool is_new(uint64_t *seen, uint64_t mask, const char *p, size_t n) {
    const uint64_t h = moa_hash64(p, n, 0) | 1;
    uint64_t i = h & mask;
    while (seen[i] && seen[i] != h) i = (i + 1) & mask;
    if (seen[i] == h) return false;
    seen[i] = h;
    return true;
}

static int write_vocab(const char *path, int n, uint64_t seed, moa_err *err) {
    moa_str *text = calloc((size_t)n + 1, sizeof *text);
    int32_t *type = malloc(((size_t)n + 1) * sizeof *type);
    moa_gguf_out *o = moa_gguf_out_new();
    moa_rng r;
    moa_rng_seed(&r, seed);
    uint64_t *seen = calloc(1 << 18, sizeof *seen);
    if (!text || !type || !o || !seen || n > 1 << 17) return MOA_ENOMEM;
    text[0] = (moa_str){"<eos>", 5};
    type[0] = 3;
    for (int i = 0; i < n; i++) {
        moa_buf b;
        moa_buf_init(&b, 1 << 12);
        do {
            moa_buf_clear(&b);
            make(&b, i, &r);
        } while (!is_new(seen, (1 << 18) - 1, b.data, b.len));
        text[i + 1].n = b.len;
        text[i + 1].p = moa_buf_take(&b);
        type[i + 1] = 1;
    }
    const moa_str none = {"a b", 3};
    moa_gguf_put_str(o, "tokenizer.ggml.model", "gpt2", 4);
    moa_gguf_put_str(o, "tokenizer.ggml.pre", "gpt-2", 5);
    moa_gguf_put_strs(o, "tokenizer.ggml.tokens", text, (uint64_t)n + 1);
    moa_gguf_put_arr(o, "tokenizer.ggml.token_type", MOA_GGUF_I32, type, (uint64_t)n + 1);
    moa_gguf_put_strs(o, "tokenizer.ggml.merges", &none, 0);
    moa_gguf_put_u32(o, "tokenizer.ggml.eos_token_id", 0);
    const int rc = moa_gguf_write(o, path, err);
    for (int i = 1; i <= n; i++) free((char *)(uintptr_t)text[i].p);
    free(text);
    free(type);
    free(seen);
    moa_gguf_out_free(o);
    return rc;
}

int test_vocab_open(test_vocab *v, int n, uint64_t seed, moa_err *err) {
    char path[256];
    snprintf(path, sizeof path, "%s/moa-test-%d-vocab.gguf", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (int)getpid());
    *v = (test_vocab){0};
    MOA_TRY(write_vocab(path, n, seed, err));
    int rc = moa_gguf_open(&v->file, path, err);
    unlink(path);
    if (rc >= 0) rc = moa_tokenizer_open(&v->tok, v->file, err);
    return rc;
}

void test_vocab_close(test_vocab *v) {
    moa_tokenizer_close(v->tok);
    moa_gguf_close(v->file);
}
