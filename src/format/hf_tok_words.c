/* hf_tok_words.c - WordPiece: a vocabulary as GGUF has it, and vocab.txt, a token a line, which is all that older folders of BERT have.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/utf8.h"
#include "format/hf_tok.h"

#include <string.h>

static bool in_brackets(moa_str s) { return s.n > 1 && s.p[0] == '[' && s.p[s.n - 1] == ']'; }

/* Published files mark what continues a word ("##llo"), GGUF what begins one. */
static int mark_beginnings(hf_tok *t) {
    for (int i = 0; i < t->n; i++) {
        moa_str *s = &t->text[i];
        if (!s->p || t->type[i] != MOA_TOKEN_NORMAL || in_brackets(*s)) continue;
        if (s->n >= 2 && memcmp(s->p, "##", 2) == 0) {
            s->p += 2, s->n -= 2;
            continue;
        }
        char *p = moa_arena_alloc(t->arena, s->n + 4);
        if (!p) return moa_fail(t->err, MOA_ENOMEM, "%s: no memory", t->path);
        memcpy(p, MOA_TOK_MARK, 3);
        memcpy(p + 3, s->p, s->n + 1);
        *s = (moa_str){p, s->n + 3};
    }
    return 0;
}

int hf_words_put(hf_tok *t, const hf_words *w) {
    moa_gguf_out *o = t->m->keys;
    moa_gguf_put_bool(o, "tokenizer.ggml.normalizer.lowercase", w->lower);
    moa_gguf_put_bool(o, "tokenizer.ggml.normalizer.strip_accents", w->strip);
    if (!w->clean) moa_gguf_put_bool(o, MOA_TOK_KEY_CLEAN, false);
    if (!w->han) moa_gguf_put_bool(o, MOA_TOK_KEY_HAN, false);
    hf_tok_put_kind(t, "bert", "default");
    return mark_beginnings(t);
}

static int read_line(hf_tok *t, const char *p, size_t n, int id) {
    uint32_t c;
    for (size_t i = 0, w; i < n; i += w) {
        w = (size_t)moa_utf8_next(&c, p + i, n - i);
        if (!c || (w == 1 && c == MOA_UTF8_BAD)) return moa_fail(t->err, MOA_EFORMAT, "%s: line %d is no text in UTF-8", t->path, id + 1);
    }
    char *name = hf_tok_strndup(t, p, n);
    return name ? hf_tok_set(t, name, id, MOA_TOKEN_NORMAL) : MOA_ENOMEM;
}

/* The tokens that stand for something else, as tokenizer_config.json or the published class names them. */
static void mark_special(hf_tok *t) {
    static const char *const NAMES[][2] = {{"unk_token", "[UNK]"}, {"sep_token", "[SEP]"}, {"pad_token", "[PAD]"}, {"cls_token", "[CLS]"}, {"mask_token", "[MASK]"}};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        const json_t *v = json_object_get(t->m->tokenizer_config, NAMES[i][0]);
        const char *named = json_is_object(v) ? hf_tok_text(v, "content") : hf_tok_text(t->m->tokenizer_config, NAMES[i][0]);
        const int32_t id = hf_tok_find(t, *named ? named : NAMES[i][1]);
        if (id >= 0) t->type[id] = MOA_TOKEN_CONTROL;
    }
    t->own[HF_UNK] = hf_tok_find(t, "[UNK]");
}

int hf_tok_read_words(hf_tok *t) {
    const hf_model *m = t->m;
    const char *p = (const char *)m->pieces, *end = p + m->n_pieces;
    if (!m->n_pieces) return moa_fail(t->err, MOA_EFORMAT, "%s: no tokens", t->path);
    for (int id = 0; p < end; id++) {
        const char *next = memchr(p, '\n', (size_t)(end - p)), *stop = next ? next : end;
        const size_t n = (size_t)(stop - p) - (stop > p && stop[-1] == '\r');
        if (n) MOA_TRY(read_line(t, p, n, id));
        p = next ? next + 1 : end;
    }
    mark_special(t);
    t->add_bos = t->add_eos = true;
    const json_t *c = m->tokenizer_config;
    const bool lower = hf_tok_flag(c, "do_lower_case", true);
    return hf_words_put(t, &(hf_words){.lower = lower, .strip = hf_tok_flag(c, "strip_accents", lower), .clean = true,
                                       .han = hf_tok_flag(c, "tokenize_chinese_chars", true)});
}
