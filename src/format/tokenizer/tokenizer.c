/* tokenizer.c - what all kinds share: reading the token table out of a GGUF file, cutting special tokens out of a
 * text, bos, the tokens that end a generation, and the way back from ids to bytes. The kinds (tokenizers.def)
 * only turn plain text into ids.
 *
 * Safety: a control token comes out of text only where the caller says that the text is trusted
 * (MOA_TOK_SPECIAL); user-defined tokens are ordinary words and come out always.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/err.h"
#include "base/utf8.h"
#include "format/tokenizer/vocab.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <utf8proc.h>

#define TOKENIZER(x) extern const moa_tokenizer_model moa_tokenizer_model_##x;
#include "format/tokenizer/tokenizers.def"
#undef TOKENIZER

static const moa_tokenizer_model *const MODELS[] = {
#define TOKENIZER(x) &moa_tokenizer_model_##x,
#include "format/tokenizer/tokenizers.def"
#undef TOKENIZER
};
enum { N_MODELS = sizeof MODELS / sizeof *MODELS };

const moa_tokenizer_model *const *moa_tokenizer_models(int *n) {
    *n = N_MODELS;
    return MODELS;
}

bool moa_tokenizer_row(const char **name, const char **help, int i) {
    if (i < 0 || i >= N_MODELS) return false;
    *name = MODELS[i]->name;
    *help = MODELS[i]->help;
    return true;
}

/* ---- ids ---- */

void moa_ids_deinit(moa_ids *ids) {
    free(ids->v);
    *ids = (moa_ids){0};
}

int moa_ids_add(moa_ids *ids, int32_t id) {
    if (ids->n == ids->cap) {
        int64_t cap = ids->cap ? ids->cap * 2 : 64;
        void *p = realloc(ids->v, (size_t)cap * sizeof *ids->v);
        if (!p) return MOA_ENOMEM;
        ids->v = p;
        ids->cap = cap;
    }
    ids->v[ids->n++] = id;
    return 0;
}

/* ---- open ---- */

static int find_model(moa_tokenizer *t, const moa_gguf *g, moa_err *err) {
    moa_str name;
    if (!moa_gguf_find(g, "tokenizer.ggml.model"))
        return moa_fail(err, MOA_ENOTFOUND, "%s: key 'tokenizer.ggml.model' is missing: the file has no tokenizer", t->path);
    MOA_TRY(moa_gguf_str(&name, g, "tokenizer.ggml.model", NULL, err));
    for (int i = 0; i < N_MODELS; i++)
        if (strlen(MODELS[i]->name) == name.n && memcmp(MODELS[i]->name, name.p, name.n) == 0) t->model = MODELS[i];
    if (t->model) return 0;
    moa_buf b;
    moa_buf_init(&b, 256);
    for (int i = 0; i < N_MODELS; i++) moa_buf_addf(&b, "%s%s", i ? ", " : "known: ", MODELS[i]->name);
    moa_fail(err, MOA_EUNSUPPORTED, "%s: tokenizer.ggml.model '%.*s' is not supported", t->path, name.n < 64 ? (int)name.n : 64, name.p);
    moa_hint(err, MOA_EUNSUPPORTED, "%s", moa_buf_str(&b));
    moa_buf_deinit(&b);
    return MOA_EUNSUPPORTED;
}

static int read_types(moa_tokenizer *t, const moa_gguf *g, moa_err *err) {
    const moa_gguf_kv *kv = moa_gguf_find(g, "tokenizer.ggml.token_type");
    memset(t->type, MOA_TOKEN_NORMAL, (size_t)t->n_vocab);
    if (!kv) return 0;
    bool ints = kv->type == MOA_GGUF_ARR && (kv->elem == MOA_GGUF_I32 || kv->elem == MOA_GGUF_U32);
    if (!ints || kv->count != (uint64_t)t->n_vocab)
        return moa_fail(err, MOA_EFORMAT, "%s: tokenizer.ggml.token_type: %llu %s, expected %d i32", t->path,
                        (unsigned long long)kv->count, moa_gguf_type_name(kv->elem), t->n_vocab);
    for (int i = 0; i < t->n_vocab; i++) {
        int64_t v = moa_gguf_arr_int(kv, (uint64_t)i);
        if (v < MOA_TOKEN_NORMAL || v > MOA_TOKEN_BYTE)
            return moa_fail(err, MOA_EFORMAT, "%s: tokenizer.ggml.token_type[%d] is %lld, expected 1 to 6", t->path, i, (long long)v);
        t->type[i] = (uint8_t)v;
    }
    return 0;
}

/* Texts are unique, except of unused tokens, which converters fill up with anything. */
static int read_token(moa_tokenizer *t, int i, moa_err *err) {
    moa_str s = t->text[i];
    if (s.n > MOA_TOKEN_MAX)
        return moa_fail(err, MOA_ELIMIT, "%s: tokenizer.ggml.tokens[%d] has %zu bytes, at most %d are allowed", t->path, i, s.n,
                        MOA_TOKEN_MAX);
    t->piece[i] = s;
    if (s.n == 0) return 0;
    int32_t old = moa_strtab_add(&t->by_text, s.p, s.n, i);
    if (old >= 0 && t->type[i] != MOA_TOKEN_UNUSED)
        return moa_fail(err, MOA_EFORMAT, "%s: tokenizer.ggml.tokens[%d] '%.*s' is the text of token %d too", t->path, i,
                        s.n < 48 ? (int)s.n : 48, s.p, old);
    return 0;
}

static int read_tokens(moa_tokenizer *t, const moa_gguf *g, moa_err *err) {
    const moa_gguf_kv *kv = moa_gguf_find(g, "tokenizer.ggml.tokens");
    if (!kv) return moa_fail(err, MOA_ENOTFOUND, "%s: key 'tokenizer.ggml.tokens' is missing", t->path);
    if (kv->type != MOA_GGUF_ARR || kv->elem != MOA_GGUF_STR || kv->count == 0 || kv->count > INT_MAX / 2)
        return moa_fail(err, MOA_EFORMAT, "%s: tokenizer.ggml.tokens: %llu %s, expected an array of strings", t->path,
                        (unsigned long long)kv->count, moa_gguf_type_name(kv->elem));
    size_t n = (size_t)kv->count;
    t->n_vocab = (int)n;
    t->text = calloc(n, sizeof *t->text);
    t->piece = calloc(n, sizeof *t->piece);
    t->type = calloc(n, 1);
    t->flag = calloc(n, 1);
    t->arena = moa_arena_new(0, 0);
    if (!t->text || !t->piece || !t->type || !t->flag || !t->arena || moa_strtab_init(&t->by_text, n) < 0)
        return moa_fail(err, MOA_ENOMEM, "%s: no memory for %zu tokens", t->path, n);
    MOA_TRY(read_types(t, g, err));
    /* Used tokens first, so that an unused double never hides one. */
    for (size_t i = 0; i < n; i++) t->text[i] = moa_gguf_arr_str(kv, i);
    for (int i = 0; i < t->n_vocab; i++)
        if (t->type[i] != MOA_TOKEN_UNUSED) MOA_TRY(read_token(t, i, err));
    for (int i = 0; i < t->n_vocab; i++)
        if (t->type[i] == MOA_TOKEN_UNUSED) MOA_TRY(read_token(t, i, err));
    return 0;
}

/* An id of the vocabulary; 2^32 - 1 is how some converters write "none". */
int moa_tok_read_id(int32_t *id, const moa_tokenizer *t, const moa_gguf *g, const char *key, int32_t dflt, moa_err *err) {
    *id = dflt >= 0 && dflt < t->n_vocab ? dflt : -1;
    const moa_gguf_kv *kv = moa_gguf_find(g, key);
    if (!kv) return 0;
    if (kv->type == MOA_GGUF_I32 && moa_gguf_arr_int(kv, 0) == -1) return *id = -1, 0;
    uint32_t v;
    MOA_TRY(moa_gguf_u32(&v, g, key, 0, err));
    if (v == UINT32_MAX) return *id = -1, 0;
    if (v >= (uint32_t)t->n_vocab)
        return moa_fail(err, MOA_EFORMAT, "%s: %s is %u, the vocabulary has %d tokens", t->path, key, v, t->n_vocab);
    *id = (int32_t)v;
    return 0;
}

/* How published models spell the ends of a turn or a text. */
static const char *const ENDS[] = {
    "<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<|endoftext|>", "<|end_of_text|>", "<|return|>", "<|call|>", "<|eot|>",
    "<end_of_turn>", "<|end_of_turn|>", "<|END_OF_TURN_TOKEN|>", "<EOT>", "_<EOT>", "< EOT >", "<｜end▁of▁sentence｜>",
    "[EOT]", "<end_of_utterance>", "<|flush|>", "<|calls|>",
};

/* In the formats of gpt-oss and Solar an <|end|> closes a part of a reply, and the next part follows. */
static void unmark_part_ends(moa_tokenizer *t) {
    const int32_t end = moa_tokenizer_find(t, "<|end|>"), ret = moa_tokenizer_find(t, "<|return|>"), call = moa_tokenizer_find(t, "<|call|>");
    const int32_t flush = moa_tokenizer_find(t, "<|flush|>"), calls = moa_tokenizer_find(t, "<|calls|>");
    if (end >= 0 && end != t->eos && ((ret >= 0 && call >= 0) || (flush >= 0 && calls >= 0))) t->flag[end] &= (uint8_t)~MOA_TOKEN_EOG;
}

static int mark_ends(moa_tokenizer *t, const moa_gguf *g, moa_err *err) {
    static const char *const KEYS[] = {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"};
    if (t->eos >= 0) t->flag[t->eos] |= MOA_TOKEN_EOG;
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) {
        int32_t id;
        MOA_TRY(moa_tok_read_id(&id, t, g, KEYS[i], -1, err));
        if (id >= 0) t->flag[id] |= MOA_TOKEN_EOG;
    }
    for (size_t i = 0; i < sizeof ENDS / sizeof *ENDS; i++) {
        int32_t id = moa_tokenizer_find(t, ENDS[i]);
        if (id < 0 || (t->type[id] != MOA_TOKEN_CONTROL && t->type[id] != MOA_TOKEN_USER)) continue;
        t->type[id] = MOA_TOKEN_CONTROL; /* some files call them user-defined: then users could end a turn */
        t->flag[id] |= MOA_TOKEN_EOG;
    }
    unmark_part_ends(t);
    return 0;
}

static bool contains(moa_str s, const char *word) {
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= s.n; i++)
        if (strncasecmp(s.p + i, word, n) == 0) return true;
    return false;
}

static void set_flag(moa_tokenizer *t, const char *token, uint8_t flag, bool on) {
    const int32_t id = moa_tokenizer_find(t, token);
    if (id >= 0) t->flag[id] = (uint8_t)(on ? t->flag[id] | flag : t->flag[id] & ~flag);
}

/* Ids listed under a key of moa's own. */
static int mark_listed(bool *listed, moa_tokenizer *t, const moa_gguf *g, const char *key, uint8_t flag, moa_err *err) {
    const moa_gguf_kv *kv = moa_gguf_find(g, key);
    if (!kv) return 0;
    if (kv->type != MOA_GGUF_ARR || kv->elem != MOA_GGUF_I32) return moa_fail(err, MOA_EFORMAT, "%s: %s: expected an array of i32", t->path, key);
    *listed = true;
    for (uint64_t i = 0; i < kv->count; i++) {
        const int64_t id = moa_gguf_arr_int(kv, i);
        if (id < 0 || id >= t->n_vocab)
            return moa_fail(err, MOA_EFORMAT, "%s: %s[%llu] is %lld, the vocabulary has %d tokens", t->path, key, (unsigned long long)i, (long long)id, t->n_vocab);
        t->flag[id] |= flag;
    }
    return 0;
}

/* Tokens that swallow the white space beside them. Files of other converters do not say so; then it is known by the model: Phi-3's
 * special tokens take what is behind them, the mask of some encoders what is before it. */
static int mark_strips(moa_tokenizer *t, const moa_gguf *g, moa_err *err) {
    moa_str name, pre;
    bool listed = false;
    MOA_TRY(mark_listed(&listed, t, g, MOA_TOK_KEY_LSTRIP, MOA_TOKEN_LSTRIP, err));
    MOA_TRY(mark_listed(&listed, t, g, MOA_TOK_KEY_RSTRIP, MOA_TOKEN_RSTRIP, err));
    MOA_TRY(mark_listed(&listed, t, g, MOA_TOK_KEY_WORD, MOA_TOKEN_WORD, err));
    if (listed) return 0;
    MOA_TRY(moa_gguf_str(&name, g, "general.name", "", err));
    MOA_TRY(moa_gguf_str(&pre, g, "tokenizer.ggml.pre", "", err));
    if (contains(pre, "jina-v2-")) set_flag(t, "<mask>", MOA_TOKEN_LSTRIP, true);
    if (contains(name, "modern-bert") || contains(pre, "modern-bert")) set_flag(t, "[MASK]", MOA_TOKEN_LSTRIP, true);
    if (!contains(name, "phi-3") && !contains(name, "phi3")) return 0;
    for (int i = 0; i < t->all.n; i++) t->flag[t->all.v[i].id] |= MOA_TOKEN_RSTRIP;
    set_flag(t, "<unk>", MOA_TOKEN_RSTRIP, false);
    set_flag(t, "<s>", MOA_TOKEN_RSTRIP, false);
    set_flag(t, "<|endoftext|>", MOA_TOKEN_RSTRIP, false);
    return 0;
}

static int normal_form(moa_buf *out, const moa_tokenizer *t, const char *p, size_t n) {
    moa_buf first;
    int rc = 0;
    moa_buf_init(&first, SIZE_MAX / 2);
    if (t->normal.n) {
        rc = moa_normal_run(&first, &t->normal, p, n);
        p = moa_buf_str(&first);
        n = first.len;
    }
    if (rc == 0) rc = t->model->normal ? t->model->normal(out, t, p, n) : moa_buf_add(out, p, n);
    moa_buf_deinit(&first);
    return rc;
}

static bool has_normal_form(const moa_tokenizer *t) { return t->normal.n || t->model->normal; }

/* A token that is looked for in the normal form is looked for as its own normal form. */
static int add_late(moa_tokenizer *t, int i) {
    moa_buf b;
    moa_buf_init(&b, MOA_TOKEN_MAX);
    int rc = normal_form(&b, t, t->text[i].p, t->text[i].n);
    char *p = rc == 0 ? moa_arena_strndup(t->arena, moa_buf_str(&b), b.len) : NULL;
    if (rc == 0) rc = !p ? MOA_ENOMEM : b.len ? moa_specials_add(&t->late, (moa_str){p, b.len}, i) : 0;
    moa_buf_deinit(&b);
    return rc;
}

static int collect_specials(moa_tokenizer *t, moa_err *err) {
    int rc = 0;
    for (int i = 0; rc == 0 && i < t->n_vocab; i++) {
        const bool user = t->type[i] == MOA_TOKEN_USER;
        if (!t->text[i].n || !(user || t->type[i] == MOA_TOKEN_CONTROL || t->type[i] == MOA_TOKEN_UNKNOWN)) continue;
        if (user && t->flag[i] & MOA_TOKEN_LATE && has_normal_form(t)) {
            rc = add_late(t, i);
            continue;
        }
        rc = moa_specials_add(&t->all, t->text[i], i);
        if (rc == 0 && user) rc = moa_specials_add(&t->user, t->text[i], i);
    }
    moa_specials_sort(&t->all);
    moa_specials_sort(&t->user);
    moa_specials_sort(&t->late);
    return rc < 0 ? moa_fail(err, rc, "%s: no memory for the special tokens", t->path) : 0;
}

/* What stands around a text. The second spelling of the separator's key is the one that converters write. */
static int read_around(moa_tokenizer *t, const moa_gguf *g, moa_err *err) {
    const bool add_bos = t->add_bos, add_sep = t->add_sep;
    bool add_eos;
    MOA_TRY(moa_gguf_bool(&t->add_bos, g, "tokenizer.ggml.add_bos_token", add_bos, err));
    MOA_TRY(moa_gguf_bool(&add_eos, g, "tokenizer.ggml.add_eos_token", t->model->add_eos, err));
    MOA_TRY(moa_gguf_bool(&t->add_sep, g, "tokenizer.ggml.add_sep_token", add_sep, err));
    t->end = add_eos && t->eos >= 0 ? t->eos : t->add_sep || add_eos ? t->sep : -1;
    return 0;
}

/* Before the kind is opened. */
static int read_forms(moa_tokenizer *t, const moa_gguf *g, moa_err *err) {
    bool ignored;
    const int rc = moa_normal_open(&t->normal, g, err);
    if (rc < 0) return moa_wrap(err, rc, "%s", t->path);
    MOA_TRY(moa_gguf_bool(&t->prefix_missing, g, MOA_TOK_KEY_PREFIX_MISSING, false, err));
    MOA_TRY(moa_gguf_bool(&t->prefix_once, g, MOA_TOK_KEY_PREFIX_ONCE, false, err));
    return mark_listed(&ignored, t, g, MOA_TOK_KEY_NORMALIZED, MOA_TOKEN_LATE, err);
}

static int read_all(moa_tokenizer *t, const moa_gguf *g, moa_err *err) {
    MOA_TRY(find_model(t, g, err));
    MOA_TRY(read_tokens(t, g, err));
    t->add_bos = t->model->add_bos;
    t->add_sep = t->model->add_sep;
    memset(t->byte_id, -1, sizeof t->byte_id);
    MOA_TRY(moa_tok_read_id(&t->bos, t, g, "tokenizer.ggml.bos_token_id", t->model->bos, err));
    MOA_TRY(moa_tok_read_id(&t->eos, t, g, "tokenizer.ggml.eos_token_id", t->model->eos, err));
    MOA_TRY(moa_tok_read_id(&t->unk, t, g, "tokenizer.ggml.unknown_token_id", t->model->unk, err));
    MOA_TRY(moa_tok_read_id(&t->sep, t, g, "tokenizer.ggml.separator_token_id", -1, err));
    MOA_TRY(moa_tok_read_id(&t->sep, t, g, "tokenizer.ggml.seperator_token_id", t->sep, err));
    MOA_TRY(mark_ends(t, g, err)); /* before the kind looks at types */
    MOA_TRY(read_forms(t, g, err));
    MOA_TRY(t->model->open(t, g, err));
    MOA_TRY(read_around(t, g, err));
    MOA_TRY(collect_specials(t, err));
    return mark_strips(t, g, err);
}

int moa_tokenizer_open(moa_tokenizer **out, const moa_gguf *g, moa_err *err) {
    *out = NULL;
    moa_tokenizer *t = calloc(1, sizeof *t);
    if (!t) return moa_fail(err, MOA_ENOMEM, "%s: no memory for the tokenizer", moa_gguf_path(g));
    t->path = moa_gguf_path(g);
    int rc = read_all(t, g, err);
    if (rc < 0) moa_tokenizer_close(t);
    else *out = t;
    return rc;
}

void moa_tokenizer_close(moa_tokenizer *t) {
    if (!t) return;
    if (t->model) t->model->close(t);
    moa_specials_deinit(&t->all);
    moa_specials_deinit(&t->user);
    moa_specials_deinit(&t->late);
    moa_normal_close(&t->normal);
    moa_strtab_deinit(&t->by_text);
    free(t->text);
    free(t->piece);
    free(t->type);
    free(t->flag);
    moa_arena_free(t->arena);
    free(t);
}

/* ---- text to ids ---- */

/* A text and the tokens that are cut out of it; plain gets what lies between them. */
typedef struct cutter {
    moa_ids *ids;
    const moa_tokenizer *t;
    const moa_specials *set;
    int (*plain)(const struct cutter *c, const char *p, size_t n, bool prefix);
    moa_err *err;
} cutter;

/* Letters, marks, numbers and joining punctuation. */
static bool is_word(uint32_t cp) {
    const utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_PC && k != UTF8PROC_CATEGORY_NO;
}

static bool word_before(const char *text, size_t at) {
    uint32_t cp;
    size_t w = 1;
    while (w < 4 && w < at && ((uint8_t)text[at - w] & 0xC0) == 0x80) w++;
    return at && (size_t)moa_utf8_next(&cp, text + at - w, w) == w && is_word(cp);
}

static bool word_behind(const char *text, size_t n, size_t at) {
    uint32_t cp;
    return at < n && (moa_utf8_next(&cp, text + at, n - at), is_word(cp));
}

/* As moa_specials_next, without those that only count as a word of their own and are none here. */
static size_t next_token(int32_t *id, size_t *len, const cutter *c, const char *text, size_t n, size_t at) {
    for (size_t from = at;; from += *len) {
        *id = -1;
        *len = 0;
        from = moa_specials_next(id, len, c->set, text, n, from);
        if (*id < 0 || !(c->t->flag[*id] & MOA_TOKEN_WORD)) return from;
        if (!word_before(text, from) && !word_behind(text, n, from + *len)) return from;
    }
}

static int cut(const cutter *c, const char *text, size_t n, bool prefix) {
    const moa_tokenizer *t = c->t;
    for (size_t at = 0, w; at < n;) {
        int32_t id;
        size_t len, to = next_token(&id, &len, c, text, n, at), end = to;
        if (id >= 0 && t->flag[id] & MOA_TOKEN_LSTRIP)
            while (end > at && (w = moa_space_before(text + at, end - at))) end -= w;
        if (end > at) MOA_TRY(c->plain(c, text + at, end - at, prefix && !(t->prefix_once && at)));
        if (id < 0) break;
        at = to + len;
        if (t->flag[id] & MOA_TOKEN_RSTRIP)
            while (at < n && (w = moa_space_at(text + at, n - at))) at += w;
        MOA_TRY(moa_tok_put(c->ids, id, c->err));
    }
    return 0;
}

static int encode(const cutter *c, const char *p, size_t n, bool prefix) { return c->t->model->encode(c->ids, c->t, p, n, prefix, c->err); }

/* What lies between tokens, as it came. */
static int section(const cutter *c, const char *p, size_t n, bool prefix) {
    const moa_tokenizer *t = c->t;
    if (!has_normal_form(t)) return encode(c, p, n, prefix);
    moa_buf b;
    moa_buf_init(&b, SIZE_MAX / 2);
    const cutter late = {c->ids, t, &t->late, encode, c->err};
    int rc = normal_form(&b, t, p, n);
    if (rc < 0) moa_fail(c->err, rc, "the normal form of %zu bytes of text %s", n, rc == MOA_ENOMEM ? "needs more memory than there is" : "is too long");
    else rc = cut(&late, moa_buf_str(&b), b.len, prefix);
    moa_buf_deinit(&b);
    return rc;
}

int moa_tokenize(moa_ids *ids, const moa_tokenizer *t, const char *text, size_t n, int flags, moa_err *err) {
    const cutter c = {ids, t, flags & MOA_TOK_SPECIAL ? &t->all : &t->user, section, err};
    const int64_t first = ids->n;
    const bool bos = flags & MOA_TOK_BOS && t->add_bos && t->bos >= 0;
    if (bos) MOA_TRY(moa_tok_put(ids, t->bos, err));
    MOA_TRY(cut(&c, text, n, !(flags & MOA_TOK_GOES_ON)));
    if (bos && ids->n > first + 1 && ids->v[first + 1] == t->bos) { /* the text brought its own */
        ids->n--;
        memmove(ids->v + first + 1, ids->v + first + 2, (size_t)(ids->n - first - 1) * sizeof *ids->v);
    }
    if (!(flags & MOA_TOK_EOS) || t->end < 0 || (ids->n > first && ids->v[ids->n - 1] == t->end)) return 0;
    return moa_tok_put(ids, t->end, err);
}

/* ---- ids to text ---- */

static bool known(const moa_tokenizer *t, int32_t id) { return id >= 0 && id < t->n_vocab; }

moa_str moa_token_bytes(const moa_tokenizer *t, int32_t id, bool special) {
    if (!known(t, id)) return (moa_str){"", 0};
    bool hidden = t->type[id] == MOA_TOKEN_CONTROL || t->type[id] == MOA_TOKEN_UNKNOWN;
    return hidden && !special ? (moa_str){"", 0} : t->piece[id];
}

int moa_detokenize(char **out, size_t *len, const moa_tokenizer *t, const int32_t *ids, int64_t n, bool special, moa_err *err) {
    moa_buf b;
    moa_buf_init(&b, SIZE_MAX / 2);
    bool first = t->space_prefix; /* nothing but control tokens so far: a space here is the tokenizer's own */
    for (int64_t i = 0; i < n; i++) {
        moa_str s = moa_token_bytes(t, ids[i], special);
        if (first && known(t, ids[i]) && t->type[ids[i]] != MOA_TOKEN_CONTROL) {
            first = false;
            if (s.n && *s.p == ' ') s.p++, s.n--;
        }
        if (s.n) moa_buf_add(&b, s.p, s.n);
    }
    if (len) *len = b.len;
    *out = moa_buf_take(&b);
    moa_buf_deinit(&b);
    return *out ? 0 : moa_fail(err, MOA_ENOMEM, "no memory for the text of %lld tokens", (long long)n);
}

/* ---- questions ---- */

int moa_tokenizer_n_vocab(const moa_tokenizer *t) { return t->n_vocab; }
int32_t moa_tokenizer_bos(const moa_tokenizer *t) { return t->bos; }
int32_t moa_tokenizer_eos(const moa_tokenizer *t) { return t->eos; }
bool moa_tokenizer_is_eog(const moa_tokenizer *t, int32_t id) { return known(t, id) && t->flag[id] & MOA_TOKEN_EOG; }
bool moa_tokenizer_is_control(const moa_tokenizer *t, int32_t id) { return known(t, id) && t->type[id] == MOA_TOKEN_CONTROL; }

int32_t moa_tokenizer_find(const moa_tokenizer *t, const char *token_text) {
    return moa_strtab_find(&t->by_text, token_text, strlen(token_text));
}
