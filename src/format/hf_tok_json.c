/* hf_tok_json.c - tokenizer.json.
 *
 *   BPE, byte-level              "gpt2": tokens, merges, name of the pre-tokenizer
 *   BPE in SentencePiece's       "llama": SentencePiece's BPE, which joins the neighbours whose text has the best score. A file
 *   spelling                     lists merges by rank instead; a token's score is minus the rank of the first merge that makes it
 *   WordPiece                    "bert" (hf_tok_words.c)
 *   Unigram                      "t5": tokens with their log probabilities
 *
 * What none of these does in moa is refused by its name.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "format/hf_tok.h"

#include <math.h>
#include <string.h>

#define NO_MERGE (-1e9f)
enum { WORD_CHARS = 100 /* max_input_chars_per_word of the WordPiece that moa has, and of every published one */ };

typedef struct source { hf_tok *t; const json_t *file, *model, *vocab; } source; /* vocab: object, or array for Unigram */

static int read_vocab(const source *s) {
    const char *name;
    json_t *v;
    hf_tok *t = s->t;
    if (!json_object_size(s->vocab)) return moa_fail(t->err, MOA_EFORMAT, "%s: model.vocab is missing or empty", t->path);
    json_object_foreach((json_t *)(uintptr_t)s->vocab, name, v) {
        if (!json_is_integer(v)) return moa_fail(t->err, MOA_EFORMAT, "%s: model.vocab: token '%.40s' has no whole number as id", t->path, name);
        MOA_TRY(hf_tok_set(t, name, json_integer_value(v), MOA_TOKEN_NORMAL));
    }
    return 0;
}

static int read_added(const source *s) {
    size_t i;
    json_t *o;
    json_array_foreach((json_t *)(uintptr_t)json_object_get(s->file, "added_tokens"), i, o) {
        const json_t *id = json_object_get(o, "id");
        hf_added a = hf_tok_added_of(o);
        if (!*a.content || !json_is_integer(id))
            return moa_fail(s->t->err, MOA_EFORMAT, "%s: added_tokens[%zu] has no content or no id", s->t->path, i);
        a.id = json_integer_value(id);
        MOA_TRY(hf_tok_add(s->t, &a));
    }
    return 0;
}

static int check_empty(const source *s, const char *key) {
    const json_t *v = json_object_get(s->model, key);
    if (!v || json_is_null(v) || (json_is_string(v) && !*json_string_value(v))) return 0;
    return moa_fail(s->t->err, MOA_EUNSUPPORTED, "%s: model.%s is '%.20s', only none can be run", s->t->path, key, hf_tok_text(s->model, key));
}

/* ---- BPE ---- */

/* The two sides of merge i, as "a b" or ["a", "b"]. */
static int merge_at(const source *s, const json_t *merges, size_t i, moa_str *a, moa_str *b) {
    const json_t *v = json_array_get(merges, i);
    const char *both = json_string_value(v), *space = both && *both ? strchr(both + 1, ' ') : NULL;
    if (space) {
        *a = (moa_str){both, (size_t)(space - both)};
        *b = (moa_str){space + 1, strlen(space + 1)};
    } else {
        const char *l = json_string_value(json_array_get(v, 0)), *r = json_string_value(json_array_get(v, 1));
        *a = (moa_str){l, l ? strlen(l) : 0};
        *b = (moa_str){r, r ? strlen(r) : 0};
        if (json_array_size(v) != 2) a->n = 0;
    }
    if (a->n && b->n && a->n + b->n < MOA_TOKEN_MAX) return 0;
    return moa_fail(s->t->err, MOA_EFORMAT, "%s: model.merges[%zu] is not a pair of texts", s->t->path, i);
}

static int put_merges(const source *s, const json_t *merges) {
    hf_tok *t = s->t;
    const size_t n = json_array_size(merges);
    moa_str *v = moa_arena_alloc(t->arena, (n + 1) * sizeof *v), a, b;
    if (!v) return moa_fail(t->err, MOA_ENOMEM, "%s: no memory for %zu merges", t->path, n);
    for (size_t i = 0; i < n; i++) {
        MOA_TRY(merge_at(s, merges, i, &a, &b));
        if (memchr(a.p, ' ', a.n) || memchr(b.p, ' ', b.n))
            return moa_fail(t->err, MOA_EFORMAT, "%s: model.merges[%zu] has a space in one of its texts, which no byte-level token has", t->path, i);
        char *p = moa_arena_alloc(t->arena, a.n + b.n + 1);
        if (!p) return moa_fail(t->err, MOA_ENOMEM, "%s: no memory for %zu merges", t->path, n);
        memcpy(p, a.p, a.n);
        p[a.n] = ' ';
        memcpy(p + a.n + 1, b.p, b.n);
        v[i] = (moa_str){p, a.n + b.n + 1};
    }
    moa_gguf_put_strs(t->m->keys, "tokenizer.ggml.merges", v, n);
    return 0;
}

static int read_byte_level(const source *s) {
    const char *pre;
    bool prefix;
    hf_tok *t = s->t;
    hf_form form = {0};
    const json_t *merges = json_object_get(s->model, "merges"), *normalizer = json_object_get(s->file, "normalizer");
    const bool whole = json_is_true(json_object_get(s->model, "ignore_merges"));
    MOA_TRY(read_vocab(s));
    MOA_TRY(read_added(s));
    MOA_TRY(hf_form_normalizer(t, &form, normalizer));
    if (form.bert) return hf_tok_refuse(t, "normalizer", form.bert);
    MOA_TRY(hf_pre_name(&pre, &prefix, json_object_get(s->file, "pre_tokenizer"), whole, t->path, t->err));
    if (!json_is_array(merges)) return moa_fail(t->err, MOA_EFORMAT, "%s: model.merges is missing", t->path);
    hf_tok_put_kind(t, "gpt2", pre);
    moa_gguf_put_bool(t->m->keys, MOA_TOK_KEY_WHOLE, whole);
    if (prefix) moa_gguf_put_bool(t->m->keys, MOA_TOK_KEY_PREFIX_MISSING, true);
    return put_merges(s, merges);
}

static bool byte_token(const moa_str *s) { return s->n == 6 && memcmp(s->p, "<0x", 3) == 0 && s->p[5] == '>'; }

/* Score of each token: minus the rank of the first merge that makes it. */
static int rank_tokens(const source *s, const json_t *merges) {
    char both[MOA_TOKEN_MAX + 1];
    moa_str a, b;
    hf_tok *t = s->t;
    t->scored = true;
    for (int i = 0; i < t->n; i++) t->score[i] = t->type[i] == MOA_TOKEN_NORMAL ? NO_MERGE : 0;
    for (size_t i = 0; i < json_array_size(merges); i++) {
        MOA_TRY(merge_at(s, merges, i, &a, &b));
        memcpy(both, a.p, a.n);
        memcpy(both + a.n, b.p, b.n);
        both[a.n + b.n] = 0;
        const json_t *id = json_object_get(s->vocab, both);
        if (!id) return moa_fail(t->err, MOA_EFORMAT, "%s: model.merges[%zu] makes '%.40s', which is not in the vocabulary", t->path, i, both);
        float *score = &t->score[json_integer_value(id)];
        if (*score == NO_MERGE) *score = -(float)(i + 1);
    }
    return 0;
}

static int read_spm_bpe(const source *s) {
    hf_form form = {.spm = true};
    hf_tok *t = s->t;
    const bool bytes = json_is_true(json_object_get(s->model, "byte_fallback"));
    if (json_is_true(json_object_get(s->model, "ignore_merges")))
        return moa_fail(t->err, MOA_EUNSUPPORTED, "%s: model.ignore_merges is true, which only byte-level BPE can be run with", t->path);
    MOA_TRY(read_vocab(s));
    for (int i = 0; i < t->n; i++)
        if (bytes && t->name[i].p && byte_token(&t->name[i])) t->type[i] = MOA_TOKEN_BYTE;
    MOA_TRY(read_added(s));
    const int32_t unk = hf_tok_find(t, hf_tok_text(s->model, "unk_token"));
    if (unk >= 0) t->type[unk] = MOA_TOKEN_UNKNOWN;
    MOA_TRY(hf_form_normalizer(t, &form, json_object_get(s->file, "normalizer")));
    MOA_TRY(hf_form_spm_pre(t, &form, json_object_get(s->file, "pre_tokenizer")));
    MOA_TRY(rank_tokens(s, json_object_get(s->model, "merges")));
    hf_form_put_spaces(t, &form);
    t->ids_have_defaults = true;
    hf_tok_put_kind(t, "llama", "default");
    return 0;
}

/* Only SentencePiece's vocabularies have tokens of bytes, or marks for spaces. */
static int read_bpe(const source *s) {
    const json_t *pre = json_object_get(s->file, "pre_tokenizer"), *first = json_array_get(json_object_get(pre, "pretokenizers"), 0);
    MOA_TRY(check_empty(s, "continuing_subword_prefix"));
    MOA_TRY(check_empty(s, "end_of_word_suffix"));
    const bool marks = hf_tok_is(pre, "Metaspace") || hf_tok_is(first, "Metaspace");
    return marks || json_is_true(json_object_get(s->model, "byte_fallback")) ? read_spm_bpe(s) : read_byte_level(s);
}

/* ---- WordPiece ---- */

static int check_word_piece(const source *s) {
    const char *more = hf_tok_text(s->model, "continuing_subword_prefix");
    const json_t *most = json_object_get(s->model, "max_input_chars_per_word"), *pre = json_object_get(s->file, "pre_tokenizer");
    if (strcmp(more, "##") != 0)
        return moa_fail(s->t->err, MOA_EUNSUPPORTED, "%s: continuing_subword_prefix is '%.20s', expected '##'", s->t->path, more);
    if (json_is_integer(most) && json_integer_value(most) != WORD_CHARS)
        return moa_fail(s->t->err, MOA_EUNSUPPORTED, "%s: max_input_chars_per_word is %lld, expected %d", s->t->path,
                        (long long)json_integer_value(most), WORD_CHARS);
    return hf_tok_is(pre, "BertPreTokenizer") ? 0 : hf_tok_refuse(s->t, "pre_tokenizer", pre ? pre : json_null());
}

static int read_word_piece(const source *s) {
    hf_tok *t = s->t;
    hf_form form = {0};
    MOA_TRY(check_word_piece(s));
    MOA_TRY(read_vocab(s));
    MOA_TRY(read_added(s));
    MOA_TRY(hf_form_normalizer(t, &form, json_object_get(s->file, "normalizer")));
    if (!form.bert) return hf_words_put(t, &(hf_words){0});
    const bool lower = hf_tok_flag(form.bert, "lowercase", true);
    return hf_words_put(t, &(hf_words){.lower = lower, .strip = hf_tok_flag(form.bert, "strip_accents", lower),
                                       .clean = hf_tok_flag(form.bert, "clean_text", true), .han = hf_tok_flag(form.bert, "handle_chinese_chars", true)});
}

/* ---- Unigram ---- */

static int read_scored_vocab(const source *s) {
    size_t i;
    json_t *v;
    hf_tok *t = s->t;
    const bool bytes = json_is_true(json_object_get(s->model, "byte_fallback"));
    t->scored = true;
    json_array_foreach((json_t *)(uintptr_t)s->vocab, i, v) {
        const char *name = json_string_value(json_array_get(v, 0));
        const json_t *score = json_array_get(v, 1);
        if (!name || !json_is_number(score)) return moa_fail(t->err, MOA_EFORMAT, "%s: model.vocab[%zu] is not a text with its score", t->path, i);
        MOA_TRY(hf_tok_set(t, name, (json_int_t)i, MOA_TOKEN_NORMAL));
        if (bytes && byte_token(&t->name[i])) t->type[i] = MOA_TOKEN_BYTE;
        t->score[i] = (float)json_number_value(score);
        if (!isfinite(t->score[i])) return moa_fail(t->err, MOA_EFORMAT, "%s: model.vocab[%zu] has no finite score", t->path, i);
    }
    return 0;
}

static int read_unigram(const source *s) {
    hf_form form = {.spm = true};
    hf_tok *t = s->t;
    MOA_TRY(read_scored_vocab(s));
    MOA_TRY(read_added(s));
    const json_t *unk = json_object_get(s->model, "unk_id");
    if (json_is_integer(unk)) {
        const json_int_t id = json_integer_value(unk);
        if (id < 0 || id >= t->n || !t->name[id].p)
            return moa_fail(t->err, MOA_EFORMAT, "%s: unk_id is %lld, vocab_size is %d", t->path, (long long)id, t->n);
        t->type[id] = MOA_TOKEN_UNKNOWN;
        t->own[HF_UNK] = (int32_t)id;
    }
    MOA_TRY(hf_form_normalizer(t, &form, json_object_get(s->file, "normalizer")));
    MOA_TRY(hf_form_spm_pre(t, &form, json_object_get(s->file, "pre_tokenizer")));
    hf_form_put_spaces(t, &form);
    t->ids_have_defaults = true;
    hf_tok_put_kind(t, "t5", "default");
    return 0;
}

/* ---- what stands around a text ---- */

static int32_t special_at(const source *s, const json_t *template, size_t i) {
    return hf_tok_find(s->t, hf_tok_text(json_object_get(json_array_get(template, i), "SpecialToken"), "id"));
}

static void read_post(const source *s, const json_t *post) {
    size_t i;
    json_t *each;
    json_array_foreach((json_t *)(uintptr_t)json_object_get(post, "processors"), i, each) read_post(s, each);
    if (hf_tok_is(post, "BertProcessing") || hf_tok_is(post, "RobertaProcessing")) s->t->add_bos = s->t->add_eos = true;
    if (!hf_tok_is(post, "TemplateProcessing")) return;
    const json_t *single = json_object_get(post, "single");
    const size_t n = json_array_size(single);
    s->t->own[HF_BOS] = special_at(s, single, 0);
    s->t->own[HF_EOS] = n > 1 ? special_at(s, single, n - 1) : -1;
    s->t->add_bos = s->t->own[HF_BOS] >= 0;
    s->t->add_eos = s->t->own[HF_EOS] >= 0;
}

/* ---- all ---- */

static const struct { const char *type, *sign; int (*read)(const source *s); } KINDS[] = {
    {"WordPiece", "continuing_subword_prefix", read_word_piece}, /* old files have no type: a field says it */
    {"Unigram", "unk_id", read_unigram},
    {"BPE", "merges", read_bpe},
};

int hf_tok_read_json(hf_tok *t) {
    source s = {.t = t, .file = t->m->tokenizer, .model = json_object_get(t->m->tokenizer, "model")};
    s.vocab = json_object_get(s.model, "vocab");
    if (!json_is_object(s.model)) return moa_fail(t->err, MOA_EFORMAT, "%s: 'model' is missing", t->path);
    const char *type = hf_tok_text(s.model, "type");
    const bool merges = json_object_get(s.model, "merges") != NULL; /* a BPE may have an empty continuing_subword_prefix */
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) {
        const bool fits = *type ? strcmp(type, KINDS[i].type) == 0 : json_object_get(s.model, KINDS[i].sign) && (KINDS[i].read == read_bpe || !merges);
        if (!fits) continue;
        MOA_TRY(KINDS[i].read(&s));
        read_post(&s, json_object_get(s.file, "post_processor"));
        return 0;
    }
    return moa_fail(t->err, MOA_EUNSUPPORTED, "%s: model.type is '%.40s', expected BPE, WordPiece or Unigram", t->path, type);
}
