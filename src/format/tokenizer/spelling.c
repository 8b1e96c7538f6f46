/* spelling.c - what the two models of SentencePiece share: how pieces write spaces and bytes, how a text is brought to that form,
 * and what stands for a character that has no token (Kudo and Richardson 2018).
 *
 * Pieces are kept with real spaces. A U+2581 in a text counts as a space, as it does in SentencePiece, but is not one of a run.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/utf8.h"
#include "format/tokenizer/vocab.h"

#include <stdlib.h>

static int hex(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; }

/* "<0xNN>" -> NN, -1 for any other text */
static int byte_token(moa_str s) {
    if (s.n != 6 || memcmp(s.p, "<0x", 3) != 0 || s.p[5] != '>' || hex(s.p[3]) < 0 || hex(s.p[4]) < 0) return -1;
    return hex(s.p[3]) << 4 | hex(s.p[4]);
}

static int read_byte(moa_tokenizer *t, char *p, int i, moa_err *err) {
    const moa_str s = t->text[i];
    const int b = byte_token(s);
    if (b < 0)
        return moa_fail(err, MOA_EFORMAT, "%s: tokenizer.ggml.tokens[%d] is '%.*s', expected <0xNN> for a byte token", t->path, i,
                        s.n < 48 ? (int)s.n : 48, s.p);
    *p = (char)b;
    if (t->byte_id[b] < 0) t->byte_id[b] = i;
    t->piece[i] = (moa_str){p, 1};
    return 0;
}

static size_t without_marks(char *out, moa_str s) {
    size_t n = 0;
    for (size_t k = 0; k < s.n; n++) {
        const bool mark = moa_tok_is_mark(s.p + k, s.n - k);
        out[n] = mark ? ' ' : s.p[k];
        k += mark ? 3 : 1;
    }
    return n;
}

static int read_pieces(moa_tokenizer *t, moa_err *err) {
    for (int i = 0; i < t->n_vocab; i++) {
        const uint8_t type = t->type[i];
        if (type != MOA_TOKEN_BYTE && type != MOA_TOKEN_NORMAL && type != MOA_TOKEN_USER) continue;
        char *p = moa_arena_alloc(t->arena, t->text[i].n);
        if (!p) return moa_fail(err, MOA_ENOMEM, "%s: no memory for the vocabulary", t->path);
        if (type == MOA_TOKEN_BYTE) MOA_TRY(read_byte(t, p, i, err));
        else t->piece[i] = (moa_str){p, without_marks(p, t->text[i])};
    }
    return 0;
}

int moa_tok_read_spelling(moa_tokenizer *t, const moa_gguf *g, moa_err *err) {
    MOA_TRY(read_pieces(t, err));
    t->space_prefix = true;
    MOA_TRY(moa_gguf_bool(&t->space_prefix, g, "tokenizer.ggml.add_space_prefix", true, err));
    MOA_TRY(moa_gguf_bool(&t->split_spaces, g, MOA_TOK_KEY_SPLIT_SPACES, false, err));
    return moa_gguf_bool(&t->one_space, g, "tokenizer.ggml.remove_extra_whitespaces", t->model->one_space, err);
}

int moa_tok_scores(const moa_gguf_kv **scores, const moa_tokenizer *t, const moa_gguf *g, moa_err *err) {
    const moa_gguf_kv *kv = *scores = moa_gguf_find(g, "tokenizer.ggml.scores");
    if (!kv) return moa_fail(err, MOA_ENOTFOUND, "%s: key 'tokenizer.ggml.scores' is missing", t->path);
    if (kv->type == MOA_GGUF_ARR && kv->elem == MOA_GGUF_F32 && kv->count == (uint64_t)t->n_vocab) return 0;
    return moa_fail(err, MOA_EFORMAT, "%s: tokenizer.ggml.scores: %llu %s, expected %d f32", t->path, (unsigned long long)kv->count,
                    moa_gguf_type_name(kv->elem), t->n_vocab);
}

/* The text as the pieces write it, into out [n + 1]; returns its length. */
static size_t spaces(char *out, const moa_tokenizer *t, const char *p, size_t n, bool prefix) {
    while (t->one_space && n && *p == ' ') p++, n--;
    if (!n) return 0;
    size_t k = 0;
    const bool begins = *p == ' ' || moa_tok_is_mark(p, n);
    if (prefix && t->space_prefix && !(begins && t->prefix_missing)) out[k++] = ' ';
    for (size_t i = 0; i < n;) {
        const bool mark = moa_tok_is_mark(p + i, n - i), again = t->one_space && p[i] == ' ' && i && p[i - 1] == ' ';
        if (!again) out[k++] = mark ? ' ' : p[i];
        i += mark ? 3 : 1;
    }
    while (t->one_space && k && out[k - 1] == ' ') k--;
    return k;
}

void moa_tok_note_inner(bool inner[256], moa_str piece) {
    for (size_t k = 1; k < piece.n; k++)
        if (piece.p[k] == ' ') inner[(uint8_t)piece.p[k - 1]] = true;
}

/* Bytes of the first part. */
static size_t part_of(const moa_tokenizer *t, const bool inner[256], const char *p, size_t n) {
    size_t end = 1;
    while (end < n && !(p[end] == ' ' && (t->split_spaces || !inner[(uint8_t)p[end - 1]]))) end++;
    return end;
}

static bool has_bytes(const moa_tokenizer *t, const char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (t->byte_id[(uint8_t)p[i]] < 0) return false;
    return true;
}

int moa_tok_unknown(moa_ids *ids, const moa_tokenizer *t, const char *p, size_t n, bool *run, moa_err *err) {
    const bool before = *run;
    *run = !has_bytes(t, p, n);
    if (*run && t->unk >= 0) return before ? 0 : moa_tok_put(ids, t->unk, err);
    for (size_t i = 0; i < n; i++) MOA_TRY(moa_tok_byte(ids, t, (uint8_t)p[i], err)); /* no unknown token: says which byte */
    return 0;
}

int moa_tok_by_parts(const moa_tokenizer *t, const bool inner[256], const char *p, size_t n, bool prefix,
                     int (*encode)(void *ctx, const char *p, size_t n), void *ctx, moa_err *err) {
    if (n > INT32_MAX / 4) return moa_fail(err, MOA_ELIMIT, "text of %zu bytes in one piece", n);
    char *text = malloc(n + 1);
    if (!text) return moa_fail(err, MOA_ENOMEM, "no memory to tokenize %zu bytes", n);
    int rc = 0;
    const size_t all = spaces(text, t, p, n, prefix);
    for (size_t at = 0, part; rc == 0 && at < all; at += part) {
        part = part_of(t, inner, text + at, all - at);
        rc = encode(ctx, text + at, part);
    }
    free(text);
    return rc;
}
