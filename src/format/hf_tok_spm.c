/* hf_tok_spm.c - a SentencePiece model (tokenizer.model, spiece.model): a message of protocol buffers whose fields are, after
 * sentencepiece_model.proto of SentencePiece:
 *
 *   1  piece, any number, ids in order    1 text   2 score (float)   3 type: the numbers of moa_tok_type, 1 where there is none
 *   2  how it was trained                 3 model: 1 unigram (where there is none), 2 BPE, 3 words, 4 characters   24 spaces end words
 *                                         35 bytes stand for unknown characters   46-48 texts of BOS, EOS, PAD (<s>, </s>, <pad>)
 *   3  normal form                        2 map of characters   3 a space before the text   4 runs of spaces as one
 *                                         5 spaces as U+2581 (the three: yes, where there is none)
 *   5  normal form of the way back        2 map of characters
 *
 * Tokens beside it come from added_tokens.json, the added_tokens_decoder of tokenizer_config.json and, for T5, from a rule.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/utf8.h"
#include "format/hf_tok.h"
#include "format/protobuf.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum model { UNIGRAM = 1, BPE = 2 } model;

typedef struct spm {
    hf_tok *t;
    int n, n_byte; /* pieces; those of bytes */
    uint64_t model;
    bool bytes, suffix, prefix, one_space, marks, other_way_back;
    moa_str map, own[HF_N_OWN]; /* own: texts of special tokens */
} spm;

/* ---- the file ---- */

static int flag(bool *out, const moa_pb_field *f, const moa_pb *r, moa_err *err) {
    MOA_TRY(moa_pb_want(f, MOA_PB_VARINT, r, err));
    *out = f->v != 0;
    return 0;
}

static int check_text(const spm *s, const moa_pb_field *f) {
    uint32_t c;
    for (size_t i = 0, w; i < f->n; i += w) {
        w = (size_t)moa_utf8_next(&c, (const char *)f->p + i, f->n - i);
        if (!c || (w == 1 && c == MOA_UTF8_BAD)) return moa_fail(s->t->err, MOA_EFORMAT, "%s: piece %d is no text in UTF-8", s->t->path, s->n);
    }
    return f->n ? 0 : moa_fail(s->t->err, MOA_EFORMAT, "%s: piece %d has no text", s->t->path, s->n);
}

static int read_piece(spm *s, moa_pb r) {
    moa_pb_field f, text = {0};
    uint64_t type = MOA_TOKEN_NORMAL;
    float score = 0;
    hf_tok *t = s->t;
    int rc;
    while ((rc = moa_pb_next(&f, &r, t->err)) > 0) {
        if (f.number > 3) continue;
        MOA_TRY(moa_pb_want(&f, f.number == 1 ? MOA_PB_BYTES : f.number == 2 ? MOA_PB_F32 : MOA_PB_VARINT, &r, t->err));
        if (f.number == 1) text = f;
        else if (f.number == 2) score = moa_pb_f32(&f);
        else type = f.v;
    }
    MOA_TRY(rc);
    MOA_TRY(check_text(s, &text));
    if (type < MOA_TOKEN_NORMAL || type > MOA_TOKEN_BYTE)
        return moa_fail(t->err, MOA_EFORMAT, "%s: piece %d is of type %llu, expected 1 to 6", t->path, s->n, (unsigned long long)type);
    if (!isfinite(score)) return moa_fail(t->err, MOA_EFORMAT, "%s: piece %d has no finite score", t->path, s->n);
    char *name = hf_tok_strndup(t, (const char *)text.p, text.n);
    if (!name) return MOA_ENOMEM;
    MOA_TRY(hf_tok_set(t, name, s->n, (int)type));
    t->score[s->n] = score;
    s->n_byte += type == MOA_TOKEN_BYTE;
    s->n++;
    return 0;
}

static int read_training(spm *s, moa_pb r) {
    static const hf_own OWN[] = {HF_BOS, HF_EOS, HF_PAD}; /* fields 46 to 48 */
    moa_pb_field f;
    moa_err *err = s->t->err;
    int rc;
    while ((rc = moa_pb_next(&f, &r, err)) > 0) {
        if (f.number == 24) MOA_TRY(flag(&s->suffix, &f, &r, err));
        if (f.number == 35) MOA_TRY(flag(&s->bytes, &f, &r, err));
        if (f.number == 3) {
            MOA_TRY(moa_pb_want(&f, MOA_PB_VARINT, &r, err));
            s->model = f.v;
        } else if (f.number >= 46 && f.number <= 48) {
            MOA_TRY(moa_pb_want(&f, MOA_PB_BYTES, &r, err));
            s->own[OWN[f.number - 46]] = (moa_str){(const char *)f.p, f.n};
        }
    }
    return rc;
}

static int read_normal_form(spm *s, moa_pb r) {
    moa_pb_field f;
    int rc;
    while ((rc = moa_pb_next(&f, &r, s->t->err)) > 0) {
        if (f.number == 3) MOA_TRY(flag(&s->prefix, &f, &r, s->t->err));
        if (f.number == 4) MOA_TRY(flag(&s->one_space, &f, &r, s->t->err));
        if (f.number == 5) MOA_TRY(flag(&s->marks, &f, &r, s->t->err));
        if (f.number != 2) continue;
        MOA_TRY(moa_pb_want(&f, MOA_PB_BYTES, &r, s->t->err));
        s->map = (moa_str){(const char *)f.p, f.n};
    }
    return rc;
}

static int read_way_back(spm *s, moa_pb r) {
    moa_pb_field f;
    int rc;
    while ((rc = moa_pb_next(&f, &r, s->t->err)) > 0) s->other_way_back = s->other_way_back || (f.number == 2 && f.n);
    return rc;
}

static int read_model(spm *s) {
    const hf_model *m = s->t->m;
    moa_pb r = moa_pb_over(m->pieces, m->n_pieces, s->t->path);
    moa_pb_field f;
    int rc;
    while ((rc = moa_pb_next(&f, &r, s->t->err)) > 0) {
        if (f.number > 3 && f.number != 5) continue;
        MOA_TRY(moa_pb_want(&f, MOA_PB_BYTES, &r, s->t->err));
        const moa_pb in = moa_pb_inside(&f, &r);
        MOA_TRY(f.number == 1 ? read_piece(s, in) : f.number == 2 ? read_training(s, in) : f.number == 3 ? read_normal_form(s, in) : read_way_back(s, in));
    }
    return rc;
}

/* Files of the same name that are something else. */
static int check_kind(const spm *s) {
    static const char LFS[] = "version https://git-lfs";
    const hf_model *m = s->t->m;
    const char *p = (const char *)m->pieces;
    if (m->n_pieces && *m->pieces == 0x0A) return 0; /* the first piece */
    moa_fail(s->t->err, MOA_EFORMAT, "%s: %zu bytes, not a SentencePiece model", s->t->path, m->n_pieces);
    if (m->n_pieces > sizeof LFS && memcmp(p, LFS, sizeof LFS - 1) == 0)
        return moa_hint(s->t->err, MOA_EFORMAT, "a pointer of Git LFS: fetch the file itself");
    const char *space = m->n_pieces ? memchr(p, ' ', m->n_pieces < 256 ? m->n_pieces : 256) : NULL;
    if (space && space + 1 < p + m->n_pieces && isdigit((uint8_t)space[1]))
        return moa_hint(s->t->err, MOA_EFORMAT, "a list of tiktoken, which has no rule for words: fetch the tokenizer.json of the model");
    return MOA_EFORMAT;
}

/* The unknown piece is known by its type; the others by their text, if they are control tokens. */
static int find_own(const spm *s) {
    hf_tok *t = s->t;
    for (int i = 0; i < s->n; i++) {
        if (t->type[i] == MOA_TOKEN_UNKNOWN && t->own[HF_UNK] < 0) t->own[HF_UNK] = i;
        if (t->type[i] != MOA_TOKEN_CONTROL) continue;
        for (int k = 0; k < HF_N_OWN; k++)
            if (k != HF_UNK && t->own[k] < 0 && t->name[i].n == s->own[k].n && memcmp(t->name[i].p, s->own[k].p, s->own[k].n) == 0) t->own[k] = i;
    }
    return t->own[HF_UNK] >= 0 ? 0 : moa_fail(t->err, MOA_EFORMAT, "%s: none of %d pieces is of type 2, unknown", t->path, s->n);
}

static int check_model(const spm *s) {
    const hf_tok *t = s->t;
    if (!s->n) return moa_fail(t->err, MOA_EFORMAT, "%s: no pieces", t->path);
    if (s->model != UNIGRAM && s->model != BPE)
        return moa_fail(t->err, MOA_EUNSUPPORTED, "%s: model_type is %llu, expected 1 (unigram) or 2 (BPE)", t->path, (unsigned long long)s->model);
    if (s->suffix) return moa_fail(t->err, MOA_EUNSUPPORTED, "%s: treat_whitespace_as_suffix is set, only false can be run", t->path);
    if (!s->marks) return moa_fail(t->err, MOA_EUNSUPPORTED, "%s: escape_whitespaces is not set, only true can be run", t->path);
    if (s->other_way_back) return moa_fail(t->err, MOA_EUNSUPPORTED, "%s: denormalizer_spec has a map of characters, only none can be run", t->path);
    if (s->n_byte != (s->bytes ? 256 : 0))
        return moa_fail(t->err, MOA_EFORMAT, "%s: byte_fallback is %s, %d pieces are of bytes, expected %d", t->path, s->bytes ? "set" : "not set",
                        s->n_byte, s->bytes ? 256 : 0);
    return 0;
}

/* ---- tokens beside it ---- */

/* These tokenizers number the pieces in another way than the file does. */
static int check_class(const hf_tok *t, const char *class) {
    static const char *const OTHER[] = {"XLMRoberta", "Camembert", "MBart", "Nllb", "XGLM", "Barthez", "Bartpho", "PLBart", "Pegasus", "M2M100",
                                        "SeamlessM4T", "Speech2Text", "Marian", "XLMProphetNet", "BigBirdPegasus"};
    for (size_t i = 0; i < sizeof OTHER / sizeof *OTHER; i++) {
        if (strncmp(class, OTHER[i], strlen(OTHER[i])) != 0) continue;
        moa_fail(t->err, MOA_EUNSUPPORTED, "%s: tokenizer_class %.60s numbers the pieces in an order of its own", t->path, class);
        return moa_hint(t->err, MOA_EUNSUPPORTED, "a tokenizer.json has the order: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes one");
    }
    return 0;
}

/* T5's places for what was left out: <extra_id_0> is the last of them. They take the white space around them. */
static int add_extra_ids(spm *s) {
    hf_tok *t = s->t;
    const json_t *count = json_object_get(t->m->tokenizer_config, "extra_ids");
    const json_int_t n = json_is_integer(count) ? json_integer_value(count) : 100, places = t->n - s->n;
    for (json_int_t i = 0; i < n && n <= places; i++) {
        char name[40];
        const json_int_t id = s->n + n - 1 - i;
        const int len = snprintf(name, sizeof name, "<extra_id_%lld>", (long long)i);
        if (t->name[id].p) continue;
        const hf_added a = {.content = hf_tok_strndup(t, name, (size_t)len), .id = id, .special = true, .flags = HF_ADDED_LSTRIP | HF_ADDED_RSTRIP};
        if (!a.content) return MOA_ENOMEM;
        MOA_TRY(hf_tok_add(t, &a));
    }
    return 0;
}

/* ---- all ---- */

static int put_all(const spm *s, const char *class) {
    hf_tok *t = s->t;
    moa_gguf_out *o = t->m->keys;
    const bool llama = strncmp(class, "Llama", 5) == 0, t5 = strncmp(class, "T5", 2) == 0;
    hf_tok_put_kind(t, s->model == BPE ? "llama" : "t5", "default");
    const json_t *config = t->m->tokenizer_config;
    moa_gguf_put_bool(o, "tokenizer.ggml.add_space_prefix", llama ? hf_tok_flag(config, "add_prefix_space", s->prefix) : s->prefix);
    moa_gguf_put_bool(o, "tokenizer.ggml.remove_extra_whitespaces", s->one_space);
    /* These two classes put a space behind every special token, as they always did, unless they are told not to. */
    if ((llama || t5) && !hf_tok_flag(config, "legacy", true)) moa_gguf_put_bool(o, MOA_TOK_KEY_PREFIX_ONCE, true);
    t->scored = true;
    t->ids_have_defaults = true;
    t->add_bos = llama || s->model == BPE;
    t->add_eos = !t->add_bos;
    if (!s->map.n) return 0;
    moa_gguf_put_arr(o, "tokenizer.ggml.precompiled_charsmap", MOA_GGUF_U8, s->map.p, s->map.n);
    return hf_tok_step(t, "charsmap", NULL, NULL);
}

int hf_tok_read_sentencepiece(hf_tok *t) {
    spm s = {.t = t, .model = UNIGRAM, .prefix = true, .one_space = true, .marks = true,
             .own = {[HF_BOS] = {"<s>", 3}, [HF_EOS] = {"</s>", 4}, [HF_PAD] = {"<pad>", 5}}};
    const char *class = hf_tok_text(t->m->tokenizer_config, "tokenizer_class");
    MOA_TRY(check_kind(&s));
    MOA_TRY(check_class(t, class));
    MOA_TRY(read_model(&s));
    MOA_TRY(check_model(&s));
    MOA_TRY(find_own(&s));
    MOA_TRY(hf_tok_read_beside(t));
    if (strncmp(class, "T5", 2) == 0) MOA_TRY(add_extra_ids(&s));
    return put_all(&s, class);
}
