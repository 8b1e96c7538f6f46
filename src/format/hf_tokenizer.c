/* hf_tokenizer.c - tokenizer.json, tokenizer_config.json, generation_config.json and chat_template.jinja to the keys
 * tokenizer.* of GGUF.
 *
 *   BPE, byte-level              "gpt2": tokens, merges, name of the pre-tokenizer
 *   BPE with byte_fallback       "llama": SentencePiece's BPE, which joins the neighbours whose text has the best score. A checkpoint
 *                                lists merges by rank instead; a token's score is minus the rank of the first merge that makes it
 *   WordPiece                    "bert": beginnings of words are marked instead of their continuations
 *   Unigram                      "t5": tokens with their log probabilities
 *
 * What changes text before that (normalizers, prefixes) must be what the kind does in moa, else it is refused by its name.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "format/hf_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER = 4, UNUSED = 5, BYTE = 6, MAX_TOKEN = 4096 };
#define MARK "\xe2\x96\x81"
#define NO_MERGE (-1e9f)

typedef struct tok {
    hf_model *m;
    moa_arena *arena; /* until the keys have their copies */
    char path[4200];
    const json_t *model, *vocab; /* vocab: object, or array for Unigram */
    moa_str *text; /* [n] p NULL: no token has this id */
    int32_t *type;
    float *score;
    int n;
    bool scored;
    moa_err *err;
} tok;

static const char *text_of(const json_t *o, const char *key) {
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static bool is(const json_t *o, const char *type) { return strcmp(text_of(o, "type"), type) == 0; }

static bool begins(const char *s, const char *with) { return strncmp(s, with, strlen(with)) == 0; }
static bool ends(const char *s, const char *with) {
    const size_t n = strlen(s), k = strlen(with);
    return n >= k && strcmp(s + n - k, with) == 0;
}

/* ---- tokens ---- */

static int set_token(tok *t, const char *s, json_int_t id, int type) {
    const size_t n = strlen(s);
    if (id < 0 || id >= t->n)
        return moa_fail(t->err, MOA_EFORMAT, "%s: token '%.40s' has id %lld, vocab_size in config.json is %d", t->path, s, (long long)id, t->n);
    if (n > MAX_TOKEN) return moa_fail(t->err, MOA_ELIMIT, "%s: token %lld has %zu bytes, at most %d are read", t->path, (long long)id, n, MAX_TOKEN);
    moa_str *at = &t->text[id];
    if (at->p && (at->n != n || memcmp(at->p, s, n) != 0))
        return moa_fail(t->err, MOA_EFORMAT, "%s: tokens '%.40s' and '%.40s' both have id %lld", t->path, at->p, s, (long long)id);
    *at = (moa_str){s, n};
    t->type[id] = type;
    return 0;
}

static int make_tables(tok *t, int n) {
    const size_t k = (size_t)n + 1;
    t->n = n;
    t->text = moa_arena_calloc(t->arena, k * sizeof *t->text);
    t->type = moa_arena_calloc(t->arena, k * sizeof *t->type);
    t->score = moa_arena_calloc(t->arena, k * sizeof *t->score);
    return t->text && t->type && t->score ? 0 : moa_fail(t->err, MOA_ENOMEM, "%s: no memory for %d tokens", t->path, n);
}

static int read_vocab(tok *t) {
    const char *s;
    json_t *v;
    if (!json_object_size(t->vocab)) return moa_fail(t->err, MOA_EFORMAT, "%s: model.vocab is missing or empty", t->path);
    json_object_foreach((json_t *)(uintptr_t)t->vocab, s, v) {
        if (!json_is_integer(v)) return moa_fail(t->err, MOA_EFORMAT, "%s: model.vocab: token '%.40s' has no whole number as id", t->path, s);
        MOA_TRY(set_token(t, s, json_integer_value(v), NORMAL));
    }
    return 0;
}

/* Some added tokens that begin a turn or mark a place are not called special; text of users must not make them either. */
static bool looks_special(const char *s) {
    return (begins(s, "<|") && ends(s, "|>")) || (begins(s, "<\xef\xbd\x9c") && ends(s, "\xef\xbd\x9c>")) || (begins(s, "<unused") && ends(s, ">")) ||
           strcmp(s, "<pad>") == 0 || strcmp(s, "<mask>") == 0 || strcmp(s, "<2mass>") == 0 || strcmp(s, "[@BOS@]") == 0;
}

/* A user-defined token is looked for in text, where the mark is a space. */
static char *with_spaces(tok *t, const char *s) {
    char *out = moa_arena_alloc(t->arena, strlen(s) + 1), *o = out;
    if (!out) return NULL;
    while (*s) {
        if (begins(s, MARK)) *o++ = ' ', s += 3;
        else *o++ = *s++;
    }
    *o = 0;
    return out;
}

/* Tokens that swallow the white space before or behind them: GGUF has no key for it, the tokenizers of moa know these two. */
static int put_strips(tok *t, const json_t *list, const char *flag, const char *key) {
    size_t i, n = 0;
    json_t *a;
    int32_t *ids = moa_arena_alloc(t->arena, (json_array_size(list) + 1) * sizeof *ids);
    if (!ids) return moa_fail(t->err, MOA_ENOMEM, "%s: no memory", t->path);
    json_array_foreach((json_t *)(uintptr_t)list, i, a)
        if (json_is_true(json_object_get(a, flag))) ids[n++] = (int32_t)json_integer_value(json_object_get(a, "id"));
    if (n) moa_gguf_put_arr(t->m->keys, key, MOA_GGUF_I32, ids, n);
    return 0;
}

static int read_added(tok *t) {
    const json_t *list = json_object_get(t->m->tokenizer, "added_tokens");
    size_t i;
    json_t *a;
    json_array_foreach((json_t *)(uintptr_t)list, i, a) {
        const char *s = json_string_value(json_object_get(a, "content"));
        const json_t *id = json_object_get(a, "id");
        if (!s || !*s || !json_is_integer(id)) return moa_fail(t->err, MOA_EFORMAT, "%s: added_tokens[%zu] has no content or no id", t->path, i);
        const bool control = json_is_true(json_object_get(a, "special")) || looks_special(s);
        MOA_TRY(set_token(t, s, json_integer_value(id), control ? CONTROL : USER));
        if (control) continue;
        char *plain = with_spaces(t, s);
        if (!plain) return moa_fail(t->err, MOA_ENOMEM, "%s: no memory", t->path);
        t->text[json_integer_value(id)] = (moa_str){plain, strlen(plain)};
    }
    MOA_TRY(put_strips(t, list, "lstrip", "moa.tokenizer.lstrip"));
    return put_strips(t, list, "rstrip", "moa.tokenizer.rstrip");
}

/* Rows of the embedding that no token uses. */
static int fill_up(tok *t) {
    for (int i = 0; i < t->n; i++) {
        if (t->text[i].p) continue;
        char *s = moa_arena_alloc(t->arena, 20);
        if (!s) return moa_fail(t->err, MOA_ENOMEM, "%s: no memory", t->path);
        t->text[i] = (moa_str){s, (size_t)snprintf(s, 20, "[PAD%d]", i)};
        t->type[i] = UNUSED;
        t->score[i] = NO_MERGE;
    }
    return 0;
}

static int32_t id_of(const tok *t, const char *s) {
    const json_t *v = json_is_object(t->vocab) ? json_object_get(t->vocab, s) : NULL, *a;
    size_t i;
    if (json_is_integer(v)) return (int32_t)json_integer_value(v); /* checked when it was read */
    json_array_foreach((json_t *)(uintptr_t)json_object_get(t->m->tokenizer, "added_tokens"), i, a)
        if (strcmp(text_of(a, "content"), s) == 0) return (int32_t)json_integer_value(json_object_get(a, "id"));
    for (i = 0; json_is_array(t->vocab) && i < (size_t)t->n; i++)
        if (t->text[i].p && strcmp(t->text[i].p, s) == 0) return (int32_t)i;
    return -1;
}

/* ---- what comes before ---- */

/* Calls see for each part of a normalizer or pre-tokenizer. */
static int each_part(tok *t, const json_t *o, const char *list, int (*see)(tok *t, const json_t *part, void *ctx), void *ctx) {
    if (!o || json_is_null(o)) return 0;
    if (!is(o, "Sequence")) return see(t, o, ctx);
    size_t i;
    json_t *part;
    json_array_foreach((json_t *)(uintptr_t)json_object_get(o, list), i, part) MOA_TRY(see(t, part, ctx));
    return 0;
}

static int refuse(tok *t, const char *what, const json_t *part) {
    char *s = json_dumps(part, JSON_COMPACT | JSON_ENCODE_ANY);
    moa_fail(t->err, MOA_EUNSUPPORTED, "%s: %s is not supported: %.120s", t->path, what, s ? s : "?");
    free(s);
    return MOA_EUNSUPPORTED;
}

typedef struct spm_form { bool prefix, remove_spaces; const char *charsmap; } spm_form;

static bool space_to_mark(const json_t *part) {
    const json_t *p = json_object_get(part, "pattern");
    return is(part, "Replace") && strcmp(text_of(p, "String"), " ") == 0 && strcmp(text_of(part, "content"), MARK) == 0;
}

static int see_spm_normalizer(tok *t, const json_t *part, void *ctx) {
    spm_form *f = ctx;
    const json_t *p = json_object_get(part, "pattern");
    const bool runs = is(part, "Replace") && strcmp(text_of(p, "Regex"), " {2,}") == 0;
    if (is(part, "Prepend") && strcmp(text_of(part, "prepend"), MARK) == 0) return f->prefix = true, 0;
    if (space_to_mark(part)) return 0;
    if (is(t->model, "Unigram")) {
        if (is(part, "Precompiled")) return f->charsmap = text_of(part, "precompiled_charsmap"), 0;
        if (runs) return f->remove_spaces = true, 0;
        if (is(part, "Strip") || is(part, "Nmt")) return 0; /* in the map of characters already */
    }
    return refuse(t, "normalizer", part);
}

static int see_spm_pre(tok *t, const json_t *part, void *ctx) {
    spm_form *f = ctx;
    const json_t *scheme = json_object_get(part, "prepend_scheme"), *old = json_object_get(part, "add_prefix_space");
    const json_t *p = json_object_get(part, "pattern");
    if (is(part, "Metaspace")) {
        f->prefix = scheme ? strcmp(text_of(part, "prepend_scheme"), "never") != 0 : !json_is_false(old);
        return 0;
    }
    if (is(part, "Split") && strcmp(text_of(p, "String"), " ") == 0) return 0; /* spaces are marks by then */
    if (is(part, "WhitespaceSplit") && is(t->model, "Unigram")) return f->remove_spaces = true, 0;
    return refuse(t, "pre_tokenizer", part);
}

static int read_spm_form(tok *t, spm_form *f) {
    *f = (spm_form){0};
    MOA_TRY(each_part(t, json_object_get(t->m->tokenizer, "normalizer"), "normalizers", see_spm_normalizer, f));
    MOA_TRY(each_part(t, json_object_get(t->m->tokenizer, "pre_tokenizer"), "pretokenizers", see_spm_pre, f));
    moa_gguf_put_bool(t->m->keys, "tokenizer.ggml.add_space_prefix", f->prefix);
    return 0;
}

/* ---- BPE ---- */

/* The two sides of merge i, as "a b" or ["a", "b"]. */
static int merge_at(tok *t, const json_t *merges, size_t i, moa_str *a, moa_str *b) {
    const json_t *v = json_array_get(merges, i);
    const char *s = json_string_value(v), *space = s && *s ? strchr(s + 1, ' ') : NULL;
    if (space) {
        *a = (moa_str){s, (size_t)(space - s)};
        *b = (moa_str){space + 1, strlen(space + 1)};
    } else {
        const char *l = json_string_value(json_array_get(v, 0)), *r = json_string_value(json_array_get(v, 1));
        *a = (moa_str){l, l ? strlen(l) : 0};
        *b = (moa_str){r, r ? strlen(r) : 0};
        if (json_array_size(v) != 2) a->n = 0;
    }
    if (a->n && b->n && a->n + b->n < MAX_TOKEN) return 0;
    return moa_fail(t->err, MOA_EFORMAT, "%s: model.merges[%zu] is not a pair of texts", t->path, i);
}

static int put_merges(tok *t, const json_t *merges) {
    const size_t n = json_array_size(merges);
    moa_str *v = moa_arena_alloc(t->arena, (n + 1) * sizeof *v), a, b;
    if (!v) return moa_fail(t->err, MOA_ENOMEM, "%s: no memory for %zu merges", t->path, n);
    for (size_t i = 0; i < n; i++) {
        MOA_TRY(merge_at(t, merges, i, &a, &b));
        if (memchr(a.p, ' ', a.n) || memchr(b.p, ' ', b.n))
            return moa_fail(t->err, MOA_EFORMAT, "%s: model.merges[%zu] has a space in one of its texts, which no byte-level token has", t->path, i);
        char *s = moa_arena_alloc(t->arena, a.n + b.n + 1);
        if (!s) return moa_fail(t->err, MOA_ENOMEM, "%s: no memory for %zu merges", t->path, n);
        memcpy(s, a.p, a.n);
        s[a.n] = ' ';
        memcpy(s + a.n + 1, b.p, b.n);
        v[i] = (moa_str){s, a.n + b.n + 1};
    }
    moa_gguf_put_strs(t->m->keys, "tokenizer.ggml.merges", v, n);
    return 0;
}

static int see_nfc(tok *t, const json_t *part, void *ctx) {
    (void)ctx; /* NFC: text is nearly always composed already; GGUF readers leave it as it is */
    return is(part, "NFC") ? 0 : refuse(t, "normalizer", part);
}

static int read_byte_level(tok *t) {
    const char *pre;
    const json_t *merges = json_object_get(t->model, "merges");
    MOA_TRY(read_vocab(t));
    MOA_TRY(read_added(t));
    MOA_TRY(each_part(t, json_object_get(t->m->tokenizer, "normalizer"), "normalizers", see_nfc, NULL));
    MOA_TRY(hf_pre_name(&pre, json_object_get(t->m->tokenizer, "pre_tokenizer"), json_is_true(json_object_get(t->model, "ignore_merges")),
                        t->path, t->err));
    if (!json_is_array(merges)) return moa_fail(t->err, MOA_EFORMAT, "%s: model.merges is missing", t->path);
    moa_gguf_put_str(t->m->keys, "tokenizer.ggml.model", "gpt2", 4);
    moa_gguf_put_str(t->m->keys, "tokenizer.ggml.pre", pre, strlen(pre));
    return put_merges(t, merges);
}

static bool byte_token(const moa_str *s) { return s->n == 6 && memcmp(s->p, "<0x", 3) == 0 && s->p[5] == '>'; }

/* Score of each token: minus the rank of the first merge that makes it. */
static int rank_tokens(tok *t, const json_t *merges) {
    char both[MAX_TOKEN + 1];
    moa_str a, b;
    t->scored = true;
    for (int i = 0; i < t->n; i++) t->score[i] = t->type[i] == NORMAL ? NO_MERGE : 0;
    for (size_t i = 0; i < json_array_size(merges); i++) {
        MOA_TRY(merge_at(t, merges, i, &a, &b));
        memcpy(both, a.p, a.n);
        memcpy(both + a.n, b.p, b.n);
        both[a.n + b.n] = 0;
        const json_t *id = json_object_get(t->vocab, both);
        if (!id) return moa_fail(t->err, MOA_EFORMAT, "%s: model.merges[%zu] makes '%.40s', which is not in the vocabulary", t->path, i, both);
        float *s = &t->score[json_integer_value(id)];
        if (*s == NO_MERGE) *s = -(float)(i + 1);
    }
    return 0;
}

static int read_byte_fallback(tok *t) {
    spm_form form;
    MOA_TRY(read_vocab(t));
    for (int i = 0; i < t->n; i++)
        if (t->text[i].p && byte_token(&t->text[i])) t->type[i] = BYTE;
    MOA_TRY(read_added(t));
    const int32_t unk = id_of(t, text_of(t->model, "unk_token"));
    if (unk >= 0) t->type[unk] = UNKNOWN;
    MOA_TRY(read_spm_form(t, &form));
    MOA_TRY(rank_tokens(t, json_object_get(t->model, "merges")));
    moa_gguf_put_str(t->m->keys, "tokenizer.ggml.model", "llama", 5);
    moa_gguf_put_str(t->m->keys, "tokenizer.ggml.pre", "default", 7);
    return 0;
}

static int read_bpe(tok *t) { return json_is_true(json_object_get(t->model, "byte_fallback")) ? read_byte_fallback(t) : read_byte_level(t); }

/* ---- WordPiece ---- */

static int read_wordpiece(tok *t) {
    const char *more = text_of(t->model, "continuing_subword_prefix");
    const json_t *norm = json_object_get(t->m->tokenizer, "normalizer"), *pre = json_object_get(t->m->tokenizer, "pre_tokenizer");
    MOA_TRY(read_vocab(t));
    MOA_TRY(read_added(t));
    if (strcmp(more, "##") != 0) return moa_fail(t->err, MOA_EUNSUPPORTED, "%s: continuing_subword_prefix is '%.20s', expected '##'", t->path, more);
    if (!is(norm, "BertNormalizer")) return refuse(t, "normalizer", norm ? norm : json_null());
    if (!is(pre, "BertPreTokenizer")) return refuse(t, "pre_tokenizer", pre ? pre : json_null());
    for (int i = 0; i < t->n; i++) {
        moa_str *s = &t->text[i];
        if (!s->p || (s->n > 1 && s->p[0] == '[' && s->p[s->n - 1] == ']')) continue;
        if (s->n >= 2 && memcmp(s->p, "##", 2) == 0) {
            s->p += 2, s->n -= 2;
            continue;
        }
        char *p = moa_arena_alloc(t->arena, s->n + 4);
        if (!p) return moa_fail(t->err, MOA_ENOMEM, "%s: no memory", t->path);
        memcpy(p, MARK, 3);
        memcpy(p + 3, s->p, s->n + 1);
        *s = (moa_str){p, s->n + 3};
    }
    const json_t *accents = json_object_get(norm, "strip_accents");
    const bool lower = !json_is_false(json_object_get(norm, "lowercase"));
    moa_gguf_put_bool(t->m->keys, "tokenizer.ggml.normalizer.lowercase", lower);
    moa_gguf_put_bool(t->m->keys, "tokenizer.ggml.normalizer.strip_accents", json_is_boolean(accents) ? json_is_true(accents) : lower);
    moa_gguf_put_str(t->m->keys, "tokenizer.ggml.model", "bert", 4);
    moa_gguf_put_str(t->m->keys, "tokenizer.ggml.pre", "default", 7);
    return 0;
}

/* ---- Unigram ---- */

static int base64(uint8_t *out, size_t *len, const char *s) {
    static const char CHARS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t bits = 0;
    int have = 0;
    size_t n = 0;
    for (; *s && *s != '='; s++) {
        const char *c = strchr(CHARS, *s);
        if (!c) return -1;
        bits = bits << 6 | (uint32_t)(c - CHARS);
        if ((have += 6) >= 8) out[n++] = (uint8_t)(bits >> (have -= 8));
    }
    *len = n;
    return 0;
}

static int put_charsmap(tok *t, const char *s) {
    size_t n = strlen(s);
    uint8_t *map = moa_arena_alloc(t->arena, n + 4);
    if (!map) return moa_fail(t->err, MOA_ENOMEM, "%s: no memory", t->path);
    if (base64(map, &n, s) < 0) return moa_fail(t->err, MOA_EFORMAT, "%s: precompiled_charsmap is not base64", t->path);
    moa_gguf_put_arr(t->m->keys, "tokenizer.ggml.precompiled_charsmap", MOA_GGUF_U8, map, n);
    return 0;
}

static int read_unigram(tok *t) {
    spm_form form;
    size_t i;
    json_t *v;
    t->scored = true;
    json_array_foreach((json_t *)(uintptr_t)t->vocab, i, v) {
        const char *s = json_string_value(json_array_get(v, 0));
        const json_t *score = json_array_get(v, 1);
        if (!s || !json_is_number(score)) return moa_fail(t->err, MOA_EFORMAT, "%s: model.vocab[%zu] is not a text with its score", t->path, i);
        MOA_TRY(set_token(t, s, (json_int_t)i, NORMAL));
        if (byte_token(&t->text[i]) && json_is_true(json_object_get(t->model, "byte_fallback"))) t->type[i] = BYTE;
        t->score[i] = (float)json_number_value(score);
        if (!isfinite(t->score[i])) return moa_fail(t->err, MOA_EFORMAT, "%s: model.vocab[%zu] has no finite score", t->path, i);
    }
    MOA_TRY(read_added(t));
    const json_t *unk = json_object_get(t->model, "unk_id");
    if (json_is_integer(unk)) {
        const json_int_t id = json_integer_value(unk);
        if (id < 0 || id >= t->n || !t->text[id].p)
            return moa_fail(t->err, MOA_EFORMAT, "%s: unk_id is %lld, vocab_size is %d", t->path, (long long)id, t->n);
        t->type[id] = UNKNOWN;
        moa_gguf_put_u32(t->m->keys, "tokenizer.ggml.unknown_token_id", (uint32_t)id);
    }
    MOA_TRY(read_spm_form(t, &form));
    moa_gguf_put_bool(t->m->keys, "tokenizer.ggml.remove_extra_whitespaces", form.remove_spaces);
    moa_gguf_put_str(t->m->keys, "tokenizer.ggml.model", "t5", 2);
    moa_gguf_put_str(t->m->keys, "tokenizer.ggml.pre", "default", 7);
    return form.charsmap ? put_charsmap(t, form.charsmap) : 0;
}

/* ---- special tokens ---- */

/* A number, or the first of a list. */
static json_int_t first_id(const json_t *v) {
    if (json_is_array(v)) v = json_array_get(v, 0);
    return json_is_integer(v) ? json_integer_value(v) : -1;
}

static int put_id(tok *t, const char *key, json_int_t id) {
    if (id < 0) return 0;
    if (id >= t->n) return moa_fail(t->err, MOA_EFORMAT, "%s: %s is %lld, vocab_size is %d", t->m->folder, key, (long long)id, t->n);
    char k[64];
    snprintf(k, sizeof k, "tokenizer.ggml.%s", key);
    moa_gguf_put_u32(t->m->keys, k, (uint32_t)id);
    return 0;
}

/* By its text in tokenizer_config.json, else by its number in generation_config.json or config.json. */
static json_int_t special_id(const tok *t, const char *name, const char *key) {
    const json_t *v = json_object_get(t->m->tokenizer_config, name);
    const char *s = json_is_object(v) ? text_of(v, "content") : json_string_value(v);
    int32_t id = s && *s ? id_of(t, s) : -1;
    if (id >= 0) return id;
    const json_int_t gen = first_id(json_object_get(t->m->generation, key));
    return gen >= 0 ? gen : first_id(hf_get(t->m, key));
}

/* Further ends of a generation: GGUF has places for two. Those that have a usual spelling are known by it anyway. */
static int put_ends(tok *t, json_int_t eos) {
    static const char *const KEYS[] = {"eot_token_id", "eom_token_id"};
    const json_t *list = json_object_get(t->m->generation, "eos_token_id");
    size_t i, used = 0;
    json_t *v;
    if (!json_is_array(list)) list = hf_get(t->m, "eos_token_id");
    json_array_foreach((json_t *)(uintptr_t)list, i, v)
        if (used < 2 && json_is_integer(v) && json_integer_value(v) != eos) MOA_TRY(put_id(t, KEYS[used++], json_integer_value(v)));
    return 0;
}

static const json_t *template_of(const json_t *post) {
    size_t i;
    json_t *p;
    if (is(post, "TemplateProcessing")) return json_object_get(post, "single");
    json_array_foreach((json_t *)(uintptr_t)json_object_get(post, "processors"), i, p)
        if (is(p, "TemplateProcessing")) return json_object_get(p, "single");
    return NULL;
}

static bool is_special(const json_t *part) { return json_object_get(part, "SpecialToken") != NULL; }

/* What stands around a text: a flag of the configuration, else the template of the post-processor. */
static void put_around(tok *t) {
    const json_t *single = template_of(json_object_get(t->m->tokenizer, "post_processor"));
    const json_t *bos = json_object_get(t->m->tokenizer_config, "add_bos_token"), *eos = json_object_get(t->m->tokenizer_config, "add_eos_token");
    const size_t n = json_array_size(single);
    const bool cls = is(json_object_get(t->m->tokenizer, "post_processor"), "BertProcessing");
    moa_gguf_put_bool(t->m->keys, "tokenizer.ggml.add_bos_token",
                      json_is_boolean(bos) ? json_is_true(bos) : cls || (n && is_special(json_array_get(single, 0))));
    moa_gguf_put_bool(t->m->keys, "tokenizer.ggml.add_eos_token",
                      json_is_boolean(eos) ? json_is_true(eos) : cls || (n > 1 && is_special(json_array_get(single, n - 1))));
}

static int put_specials(tok *t) {
    static const char *const NAMES[][3] = {
        {"bos_token", "bos_token_id", "bos_token_id"},     {"unk_token", "unk_token_id", "unknown_token_id"},
        {"pad_token", "pad_token_id", "padding_token_id"}, {"sep_token", "sep_token_id", "seperator_token_id"}, /* sic */
        {"cls_token", "cls_token_id", "cls_token_id"},     {"mask_token", "mask_token_id", "mask_token_id"},
    };
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        json_int_t id = special_id(t, NAMES[i][0], NAMES[i][1]);
        if (id < 0 && i == 1) id = id_of(t, text_of(t->model, "unk_token"));
        MOA_TRY(put_id(t, NAMES[i][2], id));
    }
    const json_int_t eos = special_id(t, "eos_token", "eos_token_id");
    MOA_TRY(put_id(t, "eos_token_id", eos));
    put_around(t);
    return put_ends(t, eos);
}

/* ---- chat template ---- */

static void put_named(hf_model *m, const json_t *list) {
    size_t i;
    json_t *v;
    json_array_foreach((json_t *)(uintptr_t)list, i, v) {
        const char *name = text_of(v, "name"), *s = text_of(v, "template");
        char key[96];
        if (!*name || !*s || strlen(name) > 40 || i >= 16) continue;
        if (strcmp(name, "default") == 0) snprintf(key, sizeof key, "tokenizer.chat_template");
        else snprintf(key, sizeof key, "tokenizer.chat_template.%s", name);
        moa_gguf_put_str(m->keys, key, s, strlen(s));
    }
}

static void put_template(hf_model *m) {
    const json_t *v = json_object_get(m->tokenizer_config, "chat_template");
    const char *s = m->chat_template ? m->chat_template : json_string_value(v);
    if (s) moa_gguf_put_str(m->keys, "tokenizer.chat_template", s, strlen(s));
    else if (json_is_array(v)) put_named(m, v);
}

/* ---- all ---- */

static const struct { const char *type, *sign; int (*read)(tok *t); } KINDS[] = {
    {"WordPiece", "continuing_subword_prefix", read_wordpiece}, /* old files have no type: a field says it */
    {"Unigram", "unk_id", read_unigram},
    {"BPE", "merges", read_bpe},
};

static int read_kind(tok *t) {
    const char *type = text_of(t->model, "type");
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++)
        if (*type ? strcmp(type, KINDS[i].type) == 0 : json_object_get(t->model, KINDS[i].sign) && (i < 2 || json_object_get(t->model, "vocab")))
            return KINDS[i].read(t);
    return moa_fail(t->err, MOA_EUNSUPPORTED, "%s: model.type is '%.40s', expected BPE, WordPiece or Unigram", t->path, type);
}

static int read_all(tok *t) {
    if (!json_is_object(t->model)) return moa_fail(t->err, MOA_EFORMAT, "%s: 'model' is missing", t->path);
    MOA_TRY(make_tables(t, t->m->n_vocab));
    MOA_TRY(read_kind(t));
    MOA_TRY(fill_up(t));
    moa_gguf_put_strs(t->m->keys, "tokenizer.ggml.tokens", t->text, (uint64_t)t->n);
    if (t->scored) moa_gguf_put_arr(t->m->keys, "tokenizer.ggml.scores", MOA_GGUF_F32, t->score, (uint64_t)t->n);
    moa_gguf_put_arr(t->m->keys, "tokenizer.ggml.token_type", MOA_GGUF_I32, t->type, (uint64_t)t->n);
    return put_specials(t);
}

int hf_tokenizer_read(hf_model *m, moa_err *err) {
    put_template(m);
    if (!m->tokenizer) return 0; /* a model that is given token ids */
    tok t = {.m = m, .err = err, .model = json_object_get(m->tokenizer, "model"), .arena = moa_arena_new(0, 0)};
    snprintf(t.path, sizeof t.path, "%.4000s/tokenizer.json", m->folder);
    t.vocab = json_object_get(t.model, "vocab");
    const int rc = t.arena ? read_all(&t) : moa_fail(err, MOA_ENOMEM, "%s: no memory", t.path);
    moa_arena_free(t.arena);
    return rc;
}
