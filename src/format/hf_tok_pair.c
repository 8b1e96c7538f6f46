/* hf_tok_pair.c - vocab.json with merges.txt, which is all that folders written before tokenizer.json have: byte-level BPE.
 *
 * Neither file says how text is cut into words; the class in tokenizer_config.json does (else what the published models of the type
 * have). Out of both the tokenizer.json is made that transformers' converters make of the class (GPT2Converter, Qwen2Converter of its
 * convert_slow_tokenizer.py), and hf_tok_json.c reads that. A class that has another rule is refused by its name.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "format/hf_tok.h"

#include <string.h>

enum { MAX_MERGES = 4 << 20 };

#define END_OF_TEXT "<|endoftext|>" /* of both classes, where no file names another */

static const struct { const char *class, *type, *form; } CLASSES[] = {
    {"GPT2Tokenizer", NULL, "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}}"},
    {"Qwen2Tokenizer", "qwen",
     "{\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":"
     "\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}},"
     "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}}"},
};
enum { N_CLASS = sizeof CLASSES / sizeof *CLASSES };

/* "GPT2Tokenizer" and "GPT2TokenizerFast" are one. */
static bool is_class(const char *class, const char *name) {
    const size_t n = strlen(name);
    return strncmp(class, name, n) == 0 && (!class[n] || strcmp(class + n, "Fast") == 0);
}

static int find_class(size_t *at, const hf_tok *t) {
    const char *class = hf_tok_text(t->m->tokenizer_config, "tokenizer_class"), *type = hf_tok_text(t->m->config, "model_type");
    for (*at = 0; *at < N_CLASS; ++*at) {
        const char *begin = CLASSES[*at].type;
        if (*class ? is_class(class, CLASSES[*at].class) : begin && strncmp(type, begin, strlen(begin)) == 0) return 0;
    }
    moa_fail(t->err, MOA_EUNSUPPORTED, "%s: how text is cut into words is not known: tokenizer_class is '%.60s', expected GPT2Tokenizer or Qwen2Tokenizer", t->path,
             *class ? class : "(none)");
    return moa_hint(t->err, MOA_EUNSUPPORTED, "a tokenizer.json says it: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER) writes one");
}

/* A line: two texts without spaces in them. */
static int read_merge(const hf_tok *t, json_t *list, const char *p, size_t n, int line) {
    const char *space = memchr(p, ' ', n);
    const size_t left = space ? (size_t)(space - p) : 0;
    if (!space || !left || left + 1 == n || memchr(space + 1, ' ', n - left - 1))
        return moa_fail(t->err, MOA_EFORMAT, "%s/merges.txt: line %d is '%.*s', expected two texts with one space between", t->m->folder, line, n < 60 ? (int)n : 60, p);
    json_t *v = json_stringn(p, n);
    if (!v) return moa_fail(t->err, MOA_EFORMAT, "%s/merges.txt: line %d is no text in UTF-8", t->m->folder, line);
    return json_array_append_new(list, v) < 0 ? moa_fail(t->err, MOA_ENOMEM, "%s: no memory for its merges", t->m->folder) : 0;
}

static int read_merges(const hf_tok *t, json_t *list) {
    const char *p = t->m->merges;
    if (memchr(p, 0, t->m->n_merges)) return moa_fail(t->err, MOA_EFORMAT, "%s/merges.txt: a zero byte, expected text", t->m->folder);
    for (int line = 1; *p; line++) {
        const size_t all = strcspn(p, "\n"), n = all - (all && p[all - 1] == '\r');
        if (line > MAX_MERGES) return moa_fail(t->err, MOA_ELIMIT, "%s/merges.txt: more than %d lines", t->m->folder, MAX_MERGES);
        const bool version = line == 1 && strncmp(p, "#version", 8) == 0;
        if (n && !version) MOA_TRY(read_merge(t, list, p, n, line));
        p += all + (p[all] != 0);
    }
    return 0;
}

/* file: the form of the class, to which the model goes. */
static int fill_in(const hf_tok *t, json_t *file) {
    json_t *vocab = NULL, *model = json_pack("{s:s, s:[]}", "type", "BPE", "merges");
    int rc = model ? moa_json_parse(&vocab, (const char *)t->m->pieces, t->m->n_pieces, HF_MAX_TOKENIZER, t->path, t->err)
                   : moa_fail(t->err, MOA_ENOMEM, "%s: no memory", t->path);
    if (rc >= 0 && !json_is_object(vocab)) rc = moa_fail(t->err, MOA_EFORMAT, "%s: expected a JSON object", t->path);
    if (rc >= 0) rc = read_merges(t, json_object_get(model, "merges"));
    if (rc >= 0 && (json_object_set(model, "vocab", vocab) < 0 || json_object_set(file, "model", model) < 0)) rc = moa_fail(t->err, MOA_ENOMEM, "%s: no memory", t->path);
    json_decref(vocab);
    json_decref(model);
    return rc;
}

/* GPT2Tokenizer alone heeds it. */
static void put_prefix(const hf_tok *t, json_t *file, size_t class) {
    if (!class && hf_tok_flag(t->m->tokenizer_config, "add_prefix_space", false))
        json_object_set_new(json_object_get(file, "pre_tokenizer"), "add_prefix_space", json_true());
}

/* The class's own end, where no configuration has a number. */
static void find_end(hf_tok *t) {
    if (!json_object_get(t->m->generation, "eos_token_id") && !hf_get(t->m, "eos_token_id")) t->own[HF_EOS] = hf_tok_find(t, END_OF_TEXT);
}

int hf_tok_read_pair(hf_tok *t) {
    size_t class;
    MOA_TRY(find_class(&class, t));
    json_t *file = json_loads(CLASSES[class].form, 0, NULL);
    if (!file) return moa_fail(t->err, MOA_ENOMEM, "%s: no memory", t->path);
    t->m->tokenizer = file; /* its texts must live until the keys are written */
    put_prefix(t, file, class);
    MOA_TRY(fill_in(t, file));
    MOA_TRY(hf_tok_read_json(t));
    MOA_TRY(hf_tok_read_beside(t));
    MOA_TRY(hf_tok_mark_named(t));
    MOA_TRY(hf_tok_mark_special(t, END_OF_TEXT));
    find_end(t);
    return 0;
}
