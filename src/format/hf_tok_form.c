/* hf_tok_form.c - normalizers of tokenizer.json, and the pre_tokenizers that SentencePiece's models have: steps of the normal form by
 * name (tokenizer/normal.c), what becomes of spaces, or a refusal that shows the part.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "format/hf_tok.h"

#include <string.h>

enum { MAX_DEPTH = 4 };

static bool is_string(const json_t *part, const char *pattern) {
    return strcmp(hf_tok_text(json_object_get(part, "pattern"), "String"), pattern) == 0;
}

/* ---- normalizers ---- */

static int strip(hf_tok *t, hf_form *f, const json_t *part) {
    (void)f;
    if (hf_tok_flag(part, "strip_left", true)) MOA_TRY(hf_tok_step(t, "strip_left", NULL, NULL));
    return hf_tok_flag(part, "strip_right", true) ? hf_tok_step(t, "strip_right", NULL, NULL) : 0;
}

static int replace(hf_tok *t, hf_form *f, const json_t *part) {
    const json_t *pattern = json_object_get(part, "pattern");
    const char *from = hf_tok_text(pattern, "String"), *to = hf_tok_text(part, "content");
    const bool mark = strcmp(to, MOA_TOK_MARK) == 0;
    if (f->spm && mark && strcmp(from, " ") == 0) return f->marks = true, 0;
    if (f->spm && (mark || strcmp(to, " ") == 0) && strcmp(hf_tok_text(pattern, "Regex"), " {2,}") == 0) return f->one_space = true, 0;
    return *from ? hf_tok_step(t, "replace", from, to) : hf_tok_refuse(t, "normalizer", part);
}

static int prepend(hf_tok *t, hf_form *f, const json_t *part) {
    if (!f->spm || strcmp(hf_tok_text(part, "prepend"), MOA_TOK_MARK) != 0) return hf_tok_refuse(t, "normalizer", part);
    f->prefix = true;
    return 0;
}

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

static int precompiled(hf_tok *t, hf_form *f, const json_t *part) {
    (void)f;
    const char *s = hf_tok_text(part, "precompiled_charsmap");
    size_t n = strlen(s);
    uint8_t *map = moa_arena_alloc(t->arena, n + 4);
    if (!map) return moa_fail(t->err, MOA_ENOMEM, "%s: no memory", t->path);
    if (base64(map, &n, s) < 0) return moa_fail(t->err, MOA_EFORMAT, "%s: precompiled_charsmap is not base64", t->path);
    if (!n) return 0;
    moa_gguf_put_arr(t->m->keys, "tokenizer.ggml.precompiled_charsmap", MOA_GGUF_U8, map, n);
    return hf_tok_step(t, "charsmap", NULL, NULL);
}

static int bert(hf_tok *t, hf_form *f, const json_t *part) {
    if (f->spm) return hf_tok_refuse(t, "normalizer", part);
    f->bert = part;
    return 0;
}

static const struct { const char *type, *step; int (*see)(hf_tok *t, hf_form *f, const json_t *part); } NORMALIZERS[] = {
    {"NFC", "nfc", NULL},           {"NFD", "nfd", NULL},          {"NFKC", "nfkc", NULL},
    {"NFKD", "nfkd", NULL},         {"Lowercase", "lowercase", NULL}, {"StripAccents", "strip_accents", NULL},
    {"Nmt", "nmt", NULL},           {"Strip", NULL, strip},        {"Replace", NULL, replace},
    {"Prepend", NULL, prepend},     {"Precompiled", NULL, precompiled}, {"BertNormalizer", NULL, bert},
};

static int normalizer(hf_tok *t, hf_form *f, const json_t *part, int depth) {
    size_t i;
    json_t *each;
    if (!part || json_is_null(part)) return 0;
    if (hf_tok_is(part, "Sequence") && depth < MAX_DEPTH) {
        json_array_foreach((json_t *)(uintptr_t)json_object_get(part, "normalizers"), i, each) MOA_TRY(normalizer(t, f, each, depth + 1));
        return 0;
    }
    if (f->bert) return hf_tok_refuse(t, "normalizer behind BertNormalizer", part);
    for (i = 0; i < sizeof NORMALIZERS / sizeof *NORMALIZERS; i++) {
        if (!hf_tok_is(part, NORMALIZERS[i].type)) continue;
        return NORMALIZERS[i].see ? NORMALIZERS[i].see(t, f, part) : hf_tok_step(t, NORMALIZERS[i].step, NULL, NULL);
    }
    return hf_tok_refuse(t, "normalizer", part);
}

int hf_form_normalizer(hf_tok *t, hf_form *f, const json_t *part) { return normalizer(t, f, part, 0); }

/* ---- pre_tokenizers in SentencePiece's spelling ---- */

/* A mark for every space, and one in front where there is none; words are cut at the marks. */
static int metaspace(hf_tok *t, hf_form *f, const json_t *part) {
    const json_t *scheme = json_object_get(part, "prepend_scheme"), *mark = json_object_get(part, "replacement");
    if (mark && strcmp(hf_tok_text(part, "replacement"), MOA_TOK_MARK) != 0) return hf_tok_refuse(t, "pre_tokenizer", part);
    const char *when = scheme ? hf_tok_text(part, "prepend_scheme") : hf_tok_flag(part, "add_prefix_space", true) ? "always" : "never";
    f->once = strcmp(when, "first") == 0;
    f->prefix = f->missing = f->once || strcmp(when, "always") == 0;
    f->split = hf_tok_flag(part, "split", true);
    f->marks = true;
    return f->prefix || strcmp(when, "never") == 0 ? 0 : hf_tok_refuse(t, "pre_tokenizer", part);
}

static int spm_pre(hf_tok *t, hf_form *f, const json_t *part, int depth) {
    size_t i;
    json_t *each;
    if (!part || json_is_null(part)) return 0;
    if (hf_tok_is(part, "Sequence") && depth < MAX_DEPTH) {
        json_array_foreach((json_t *)(uintptr_t)json_object_get(part, "pretokenizers"), i, each) MOA_TRY(spm_pre(t, f, each, depth + 1));
        return 0;
    }
    if (hf_tok_is(part, "Metaspace")) return metaspace(t, f, part);
    if (hf_tok_is(part, "Split") && is_string(part, " ") && f->marks) return 0; /* no space is left */
    if (hf_tok_is(part, "WhitespaceSplit")) return f->one_space = true, 0;
    return hf_tok_refuse(t, "pre_tokenizer", part);
}

int hf_form_spm_pre(hf_tok *t, hf_form *f, const json_t *part) {
    MOA_TRY(spm_pre(t, f, part, 0));
    if (f->marks) return 0;
    return moa_fail(t->err, MOA_EUNSUPPORTED, "%s: neither the normalizer nor the pre_tokenizer writes spaces as U+2581", t->path);
}

void hf_form_put_spaces(hf_tok *t, const hf_form *f) {
    moa_gguf_put_bool(t->m->keys, "tokenizer.ggml.add_space_prefix", f->prefix);
    moa_gguf_put_bool(t->m->keys, "tokenizer.ggml.remove_extra_whitespaces", f->one_space);
    if (f->prefix && f->missing) moa_gguf_put_bool(t->m->keys, MOA_TOK_KEY_PREFIX_MISSING, true);
    if (f->prefix && f->once) moa_gguf_put_bool(t->m->keys, MOA_TOK_KEY_PREFIX_ONCE, true);
    if (f->split) moa_gguf_put_bool(t->m->keys, MOA_TOK_KEY_SPLIT_SPACES, true);
}
