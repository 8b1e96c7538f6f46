/* hf_tokenizer.c - the tokenizer of a folder as the keys tokenizer.* of GGUF: tokens out of tokenizer.json (hf_tok_json.c), of a
 * SentencePiece model (hf_tok_spm.c), of vocab.txt (hf_tok_words.c) or of vocab.json with merges.txt (hf_tok_pair.c), tokens that stand beside the vocabulary
 * (hf_tok_beside.c), ids of special tokens out of tokenizer_config.json,
 * special_tokens_map.json, generation_config.json and config.json, the chat template.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "format/hf_tok.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- small things ---- */

const char *hf_tok_text(const json_t *o, const char *key) {
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

bool hf_tok_is(const json_t *o, const char *type) { return strcmp(hf_tok_text(o, "type"), type) == 0; }

bool hf_tok_flag(const json_t *o, const char *key, bool dflt) {
    const json_t *v = json_object_get(o, key);
    return json_is_boolean(v) ? json_is_true(v) : dflt;
}

int hf_tok_refuse(const hf_tok *t, const char *what, const json_t *part) {
    char *s = json_dumps(part, JSON_COMPACT | JSON_ENCODE_ANY);
    moa_fail(t->err, MOA_EUNSUPPORTED, "%s: %s is not supported: %.120s", t->path, what, s ? s : "?");
    free(s);
    return MOA_EUNSUPPORTED;
}

static bool begins(const char *s, const char *with) { return strncmp(s, with, strlen(with)) == 0; }
static bool ends(const char *s, const char *with) {
    const size_t n = strlen(s), k = strlen(with);
    return n >= k && strcmp(s + n - k, with) == 0;
}

static int no_memory(const hf_tok *t) { return moa_fail(t->err, MOA_ENOMEM, "%s: no memory for %d tokens", t->path, t->n); }

char *hf_tok_strndup(hf_tok *t, const char *s, size_t n) {
    char *p = moa_arena_strndup(t->arena, s, n);
    if (!p) no_memory(t);
    return p;
}

/* ---- tokens ---- */

static int make_tables(hf_tok *t, int n) {
    const size_t k = (size_t)n + 1;
    t->n = n;
    t->name = moa_arena_calloc(t->arena, k * sizeof *t->name);
    t->text = moa_arena_calloc(t->arena, k * sizeof *t->text);
    t->type = moa_arena_calloc(t->arena, k * sizeof *t->type);
    t->score = moa_arena_calloc(t->arena, k * sizeof *t->score);
    t->flag = moa_arena_calloc(t->arena, k);
    return t->name && t->text && t->type && t->score && t->flag ? 0 : no_memory(t);
}

int hf_tok_set(hf_tok *t, const char *s, json_int_t id, int type) {
    const size_t n = strlen(s);
    if (id < 0 || id >= t->n)
        return moa_fail(t->err, MOA_EFORMAT, "%s: token '%.40s' has id %lld, vocab_size in config.json is %d", t->path, s, (long long)id, t->n);
    if (n > MOA_TOKEN_MAX)
        return moa_fail(t->err, MOA_ELIMIT, "%s: token %lld has %zu bytes, at most %d are read", t->path, (long long)id, n, MOA_TOKEN_MAX);
    const moa_str old = t->name[id];
    if (old.p && (old.n != n || memcmp(old.p, s, n) != 0))
        return moa_fail(t->err, MOA_EFORMAT, "%s: tokens '%.40s' and '%.40s' both have id %lld", t->path, old.p, s, (long long)id);
    t->name[id] = t->text[id] = (moa_str){s, n};
    t->type[id] = type;
    return 0;
}

/* Some added tokens that begin a turn or mark a place are not called special; text of users must not make them either. */
static bool looks_special(const char *s) {
    return (begins(s, "<|") && ends(s, "|>")) || (begins(s, "<\xef\xbd\x9c") && ends(s, "\xef\xbd\x9c>")) || (begins(s, "<unused") && ends(s, ">")) ||
           strcmp(s, "<pad>") == 0 || strcmp(s, "<mask>") == 0 || strcmp(s, "<2mass>") == 0 || strcmp(s, "[@BOS@]") == 0;
}

/* A user-defined token is looked for in text, where the mark is a space. */
static int with_spaces(hf_tok *t, moa_str *text) {
    char *out = hf_tok_strndup(t, text->p, text->n), *o = out;
    if (!out) return MOA_ENOMEM;
    for (const char *s = text->p; *s;) {
        const bool mark = begins(s, MOA_TOK_MARK);
        *o++ = mark ? ' ' : *s;
        s += mark ? 3 : 1;
    }
    *o = 0;
    *text = (moa_str){out, (size_t)(o - out)};
    return 0;
}

int hf_tok_add(hf_tok *t, const hf_added *a) {
    const bool known = a->id >= 0 && a->id < t->n && t->name[a->id].p;
    const int was = known ? t->type[a->id] : MOA_TOKEN_NORMAL;
    const bool keeps = was == MOA_TOKEN_UNKNOWN || was == MOA_TOKEN_BYTE || was == MOA_TOKEN_CONTROL;
    MOA_TRY(hf_tok_set(t, a->content, a->id, keeps ? was : a->special || looks_special(a->content) ? MOA_TOKEN_CONTROL : MOA_TOKEN_USER));
    t->flag[a->id] = a->flags;
    return 0;
}

hf_added hf_tok_added_of(const json_t *o) {
    static const struct { const char *key; uint8_t flag; } FLAGS[] = {
        {"lstrip", HF_ADDED_LSTRIP}, {"rstrip", HF_ADDED_RSTRIP}, {"single_word", HF_ADDED_WORD}, {"normalized", HF_ADDED_NORMALIZED}};
    hf_added a = {.content = hf_tok_text(o, "content"), .id = -1, .special = hf_tok_flag(o, "special", false)};
    for (size_t i = 0; i < sizeof FLAGS / sizeof *FLAGS; i++)
        if (hf_tok_flag(o, FLAGS[i].key, false)) a.flags |= FLAGS[i].flag;
    return a;
}

int32_t hf_tok_find(const hf_tok *t, const char *name) {
    const size_t n = strlen(name);
    for (int i = 0; n && i < t->n; i++)
        if (t->name[i].p && t->name[i].n == n && memcmp(t->name[i].p, name, n) == 0) return i;
    return -1;
}

/* Rows of the embedding that no token uses. */
static int fill_up(hf_tok *t) {
    for (int i = 0; i < t->n; i++) {
        char s[20];
        if (t->text[i].p) continue;
        const size_t n = (size_t)snprintf(s, sizeof s, "[PAD%d]", i);
        if (!(t->text[i].p = hf_tok_strndup(t, s, n))) return MOA_ENOMEM;
        t->text[i].n = n;
        t->type[i] = MOA_TOKEN_UNUSED;
    }
    return 0;
}

static int put_tokens(hf_tok *t) {
    moa_gguf_out *o = t->m->keys;
    MOA_TRY(fill_up(t));
    for (int i = 0; i < t->n; i++)
        if (t->type[i] == MOA_TOKEN_USER) MOA_TRY(with_spaces(t, &t->text[i]));
    moa_gguf_put_strs(o, "tokenizer.ggml.tokens", t->text, (uint64_t)t->n);
    if (t->scored) moa_gguf_put_arr(o, "tokenizer.ggml.scores", MOA_GGUF_F32, t->score, (uint64_t)t->n);
    moa_gguf_put_arr(o, "tokenizer.ggml.token_type", MOA_GGUF_I32, t->type, (uint64_t)t->n);
    return 0;
}

/* The first is written though it be empty: it says that nothing is to be guessed from the model's name. Control tokens stand where
 * templates put them, so they are found in the text as it is whatever `normalized` says. */
static int put_flags(hf_tok *t) {
    static const struct { uint8_t flag; const char *key; bool always; } LISTS[] = {{HF_ADDED_LSTRIP, MOA_TOK_KEY_LSTRIP, true},
        {HF_ADDED_RSTRIP, MOA_TOK_KEY_RSTRIP, false}, {HF_ADDED_WORD, MOA_TOK_KEY_WORD, false}, {HF_ADDED_NORMALIZED, MOA_TOK_KEY_NORMALIZED, false}};
    int32_t *ids = moa_arena_alloc(t->arena, ((size_t)t->n + 1) * sizeof *ids);
    if (!ids) return no_memory(t);
    for (size_t k = 0; k < sizeof LISTS / sizeof *LISTS; k++) {
        uint64_t n = 0;
        for (int i = 0; i < t->n; i++)
            if (t->flag[i] & LISTS[k].flag && (LISTS[k].flag != HF_ADDED_NORMALIZED || t->type[i] == MOA_TOKEN_USER)) ids[n++] = i;
        if (n || LISTS[k].always) moa_gguf_put_arr(t->m->keys, LISTS[k].key, MOA_GGUF_I32, ids, n);
    }
    return 0;
}

void hf_tok_put_kind(hf_tok *t, const char *kind, const char *pre) {
    moa_gguf_put_str(t->m->keys, "tokenizer.ggml.model", kind, strlen(kind));
    moa_gguf_put_str(t->m->keys, "tokenizer.ggml.pre", pre, strlen(pre));
}

/* ---- the normal form ---- */

int hf_tok_step(hf_tok *t, const char *step, const char *from, const char *to) {
    moa_buf b;
    if (t->n_step == HF_MAX_STEPS) return moa_fail(t->err, MOA_ELIMIT, "%s: more than %d normalizers", t->path, HF_MAX_STEPS);
    if (from && (strstr(from, MOA_TOK_BETWEEN) || strstr(to, MOA_TOK_BETWEEN)))
        return moa_fail(t->err, MOA_EUNSUPPORTED, "%s: a normalizer replaces U+001F", t->path);
    moa_buf_init(&b, MOA_TOKEN_MAX);
    moa_buf_adds(&b, step);
    if (from) moa_buf_addf(&b, MOA_TOK_BETWEEN "%s" MOA_TOK_BETWEEN "%s", from, to);
    char *s = b.failed ? NULL : hf_tok_strndup(t, b.data, b.len);
    const int rc = s ? 0 : b.failed ? moa_fail(t->err, b.failed, "%s: a normalizer replaces too long a text", t->path) : MOA_ENOMEM;
    if (s) t->step[t->n_step++] = (moa_str){s, b.len};
    moa_buf_deinit(&b);
    return rc;
}

/* A map of characters alone is known by its key. */
static void put_steps(const hf_tok *t) {
    if (t->n_step && !(t->n_step == 1 && strcmp(t->step[0].p, "charsmap") == 0))
        moa_gguf_put_strs(t->m->keys, MOA_TOK_KEY_NORMAL, t->step, (uint64_t)t->n_step);
}

/* ---- special tokens ---- */

/* A number, or the first of a list. */
static json_int_t first_id(const json_t *v) {
    if (json_is_array(v)) v = json_array_get(v, 0);
    return json_is_integer(v) ? json_integer_value(v) : -1;
}

static int put_id(hf_tok *t, const char *key, json_int_t id) {
    char k[64];
    if (id >= t->n) return moa_fail(t->err, MOA_EFORMAT, "%s: %s is %lld, vocab_size is %d", t->m->folder, key, (long long)id, t->n);
    snprintf(k, sizeof k, "tokenizer.ggml.%s", key);
    if (id >= 0) moa_gguf_put_u32(t->m->keys, k, (uint32_t)id);
    return 0;
}

static int32_t id_by_name(const hf_tok *t, const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    return hf_tok_find(t, json_is_object(v) ? hf_tok_text(v, "content") : hf_tok_text(o, key));
}

/* By its text in tokenizer_config.json or special_tokens_map.json, else as the tokenizer's file has it, else by its number in
 * generation_config.json or config.json. */
static json_int_t special_id(const hf_tok *t, const char *name, const char *key, int own) {
    json_int_t id = id_by_name(t, t->m->tokenizer_config, name);
    if (id < 0) id = id_by_name(t, t->m->special_map, name);
    if (id < 0 && own >= 0) id = t->own[own];
    if (id < 0) id = first_id(json_object_get(t->m->generation, key));
    return id >= 0 ? id : first_id(hf_get(t->m, key));
}

/* Further ends of a generation: GGUF has places for two. Those that have a usual spelling are known by it anyway. */
static int put_ends(hf_tok *t, json_int_t eos) {
    static const char *const KEYS[] = {"eot_token_id", "eom_token_id"};
    const json_t *list = json_object_get(t->m->generation, "eos_token_id");
    size_t i, used = 0;
    json_t *v;
    if (!json_is_array(list)) list = hf_get(t->m, "eos_token_id");
    json_array_foreach((json_t *)(uintptr_t)list, i, v)
        if (used < 2 && json_is_integer(v) && json_integer_value(v) != eos) MOA_TRY(put_id(t, KEYS[used++], json_integer_value(v)));
    return 0;
}

static int put_specials(hf_tok *t) {
    static const struct { const char *name, *key, *gguf; int own; bool dflt; } NAMES[] = {
        {"eos_token", "eos_token_id", "eos_token_id", HF_EOS, true},       {"bos_token", "bos_token_id", "bos_token_id", HF_BOS, true},
        {"unk_token", "unk_token_id", "unknown_token_id", HF_UNK, true},   {"pad_token", "pad_token_id", "padding_token_id", HF_PAD, false},
        {"sep_token", "sep_token_id", "seperator_token_id", -1, false}, /* sic */
        {"cls_token", "cls_token_id", "cls_token_id", -1, false},          {"mask_token", "mask_token_id", "mask_token_id", -1, false},
    };
    json_int_t eos = -1;
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        char k[64];
        json_int_t id = special_id(t, NAMES[i].name, NAMES[i].key, NAMES[i].own);
        if (id < 0 && NAMES[i].own == HF_UNK) id = hf_tok_find(t, hf_tok_text(json_object_get(t->m->tokenizer, "model"), "unk_token"));
        MOA_TRY(put_id(t, NAMES[i].gguf, id));
        snprintf(k, sizeof k, "tokenizer.ggml.%s", NAMES[i].gguf);
        if (id < 0 && NAMES[i].dflt && t->ids_have_defaults) moa_gguf_put_u32(t->m->keys, k, UINT32_MAX);
        if (!i) eos = id;
    }
    moa_gguf_put_bool(t->m->keys, "tokenizer.ggml.add_bos_token", hf_tok_flag(t->m->tokenizer_config, "add_bos_token", t->add_bos));
    const bool end = hf_tok_flag(t->m->tokenizer_config, "add_eos_token", t->add_eos);
    moa_gguf_put_bool(t->m->keys, "tokenizer.ggml.add_eos_token", end);
    moa_gguf_put_bool(t->m->keys, "tokenizer.ggml.add_sep_token", end); /* stands in where there is no EOS */
    return put_ends(t, eos);
}

/* ---- chat template ---- */

static void put_named(hf_model *m, const json_t *list) {
    size_t i;
    json_t *v;
    json_array_foreach((json_t *)(uintptr_t)list, i, v) {
        const char *name = hf_tok_text(v, "name"), *s = hf_tok_text(v, "template");
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

static bool is_from(const hf_model *m, const char *name) { return !m->tokenizer && m->pieces_name && strcmp(m->pieces_name, name) == 0; }

static int read_tokens(hf_tok *t) {
    if (t->m->tokenizer) return hf_tok_read_json(t);
    if (is_from(t->m, "vocab.json")) return hf_tok_read_pair(t);
    return is_from(t->m, "vocab.txt") ? hf_tok_read_words(t) : hf_tok_read_sentencepiece(t);
}

/* sentence-transformers can make a text small before its tokenizer sees it, whatever that does. A decoder's prompts are no such texts. */
static int read_sentence(hf_tok *t) {
    if (!hf_tok_flag(t->m->sentence, "do_lower_case", false)) return 0;
    if (t->m->type->traits & HF_ENCODER) return hf_tok_step(t, "lowercase", NULL, NULL);
    return moa_fail(t->err, MOA_EUNSUPPORTED, "%s/sentence_bert_config.json: do_lower_case is set, only encoders can be run with that", t->m->folder);
}

static int read_all(hf_tok *t) {
    for (int i = 0; i < HF_N_OWN; i++) t->own[i] = -1;
    MOA_TRY(make_tables(t, t->m->n_vocab));
    MOA_TRY(read_sentence(t));
    MOA_TRY(read_tokens(t));
    MOA_TRY(put_tokens(t));
    MOA_TRY(put_flags(t));
    put_steps(t);
    return put_specials(t);
}

int hf_tokenizer_read(hf_model *m, moa_err *err) {
    put_template(m);
    if (!m->tokenizer && !m->pieces_name) return 0; /* a model that is given token ids */
    if (is_from(m, "vocab.txt") && !(m->type->traits & HF_ENCODER)) return 0;
    hf_tok t = {.m = m, .err = err, .arena = moa_arena_new(0, 0)};
    snprintf(t.path, sizeof t.path, "%.4000s/%s", m->folder, m->tokenizer ? "tokenizer.json" : m->pieces_name);
    const int rc = t.arena ? read_all(&t) : moa_fail(err, MOA_ENOMEM, "%s: no memory", t.path);
    moa_arena_free(t.arena);
    return rc;
}
