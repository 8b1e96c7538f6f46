/* hf_pre.c - the name that GGUF has for a pre_tokenizer of tokenizer.json.
 *
 * tokenizer.json spells out how text is cut into words; GGUF files say a name (tokenizer.ggml.pre) and the reader knows the rule.
 * The parts are written as one text, brought to one spelling where published files differ without meaning something else, and
 * looked up. What is not in the table is refused with that text: a guess would give other tokens without a word.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "format/hf_impl.h"

#include <string.h>

#define SHORT "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define REST "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define WORDS(number) SHORT "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" number "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" REST
#define UP "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOW "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(tail, number) "[^\\r\\n\\p{L}\\p{N}]?" UP "*" LOW "+" tail "|[^\\r\\n\\p{L}\\p{N}]?" UP "+" LOW "*" tail "|" number "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" REST
#define BYTES "bytes\n"        /* ByteLevel without its own pattern */
#define GPT2 "bytes-words\n"   /* ByteLevel with it */
#define SPLIT(re) "split " re "\n"
#define DIGITS "digits\n"      /* one by one */
#define CJK "[\xe4\xb8\x80-\xe9\xbe\xa5\xe0\xa0\x80-\xe4\xb8\x80\xea\xb0\x80-\xed\x9f\xbf]+"
#define BLOOM " ?[^(\\s|[.,!?\xe2\x80\xa6\xe3\x80\x82\xef\xbc\x8c\xe3\x80\x81\xe0\xa5\xa4\xdb\x94\xd8\x8c])]+"
#define LETTERS "LETTERS"      /* DeepSeek's list of cased letters */

/* whole: the name for models that take a word that is a token without merging (ignore_merges); NULL: the same. */
static const struct { const char *parts, *name, *whole; } KNOWN[] = {
    {GPT2, "gpt-2", NULL},
    {SPLIT("'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+") BYTES, "gpt-2", NULL},
    {DIGITS GPT2, "smollm", NULL},
    {"punctuation Contiguous\n" GPT2 "number\n" SPLIT("[0-9][0-9][0-9]"), "falcon", NULL},
    {SPLIT(WORDS("\\p{N}{1,3}")) BYTES, "smaug-bpe", "llama-bpe"},
    {SPLIT(WORDS("\\p{N}")) BYTES, "qwen2", NULL},
    {SPLIT("\\p{N}{1,3}") SPLIT(WORDS("\\p{N}+")) BYTES, "minicpm5", NULL},
    {SPLIT(SHORT "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" REST) BYTES, "qwen35", NULL},
    {SPLIT(SHORT "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+") BYTES, "bailingmoe", NULL},
    {SPLIT(SHORT "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" REST) BYTES, "seed-coder", NULL},
    {SPLIT(CASED("", "\\p{N}")) BYTES, "tekken", NULL},
    {SPLIT(CASED(SHORT "?", "\\p{N}{1,3}")) BYTES, "gpt-4o", NULL},
    {SPLIT("[\\r\\n]") SPLIT("\\s?\\p{L}+") SPLIT("\\s?\\p{P}+") SPLIT(CJK) DIGITS BYTES, "deepseek-coder", NULL},
    {SPLIT("[\\r\\n]") SPLIT(LETTERS)
     SPLIT("\\s?[!-/:-~\xef\xbc\x81-\xef\xbc\x8f\xef\xbc\x9a-\xef\xbd\x9e\xe2\x80\x98-\xe2\x80\x9f\xe3\x80\x80-\xe3\x80\x82]+")
     SPLIT("\\s+$") SPLIT(CJK) DIGITS BYTES, "deepseek-llm", NULL},
    {SPLIT("\\p{N}{1,3}") SPLIT("[\xe4\xb8\x80-\xe9\xbe\xa5\xe3\x81\x80-\xe3\x82\x9f\xe3\x82\xa0-\xe3\x83\xbf]+")
     SPLIT("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" REST)
     BYTES, "deepseek-v3", NULL},
    {SPLIT(BLOOM) BYTES, "bloom", NULL},
    {SPLIT(BLOOM) DIGITS BYTES, "viking", NULL},
};

static bool begins(const char *s, const char *with) { return strncmp(s, with, strlen(with)) == 0; }

/* Spellings of one meaning: line ends raw or escaped; possessive quantifiers before what they cannot give back; short forms. */
static void add_regex(moa_buf *b, const char *s) {
    static const struct { const char *from, *to; } SAME[] = {
        {"'(?i:[sdmt]|ll|ve|re)", SHORT}, {"(?:" SHORT ")?", SHORT "?"}, {"?+", "?"}, {"++", "+"}, {"\r", "\\r"}, {"\n", "\\n"}, {"\t", "\\t"},
    };
    const size_t n = strlen(s);
    if (begins(s, "\\s?[A-Za-z\xc2\xb5") && n > 2 && strcmp(s + n - 2, "]+") == 0) {
        moa_buf_adds(b, LETTERS);
        return;
    }
    while (*s) {
        size_t i = 0;
        while (i < sizeof SAME / sizeof *SAME && !begins(s, SAME[i].from)) i++;
        if (i < sizeof SAME / sizeof *SAME) {
            moa_buf_adds(b, SAME[i].to);
            s += strlen(SAME[i].from);
        } else {
            moa_buf_add(b, s++, 1);
        }
    }
}

static const char *text(const json_t *o, const char *key) {
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static bool flag(const json_t *o, const char *key, bool dflt) {
    const json_t *v = json_object_get(o, key);
    return json_is_boolean(v) ? json_is_true(v) : dflt;
}

static void add_split(moa_buf *b, const json_t *pre) {
    const json_t *p = json_object_get(pre, "pattern");
    const char *how = text(pre, "behavior");
    const bool invert = flag(pre, "invert", false);
    /* What matches stands alone; where only matches are kept, published patterns match everything. */
    const bool usual = (strcmp(how, "Isolated") == 0 && !invert) || (strcmp(how, "Removed") == 0 && invert);
    moa_buf_addf(b, "split %s", usual ? "" : how);
    add_regex(b, text(p, json_object_get(p, "Regex") ? "Regex" : "String"));
    moa_buf_adds(b, "\n");
}

static void describe(moa_buf *b, bool *prefix, const json_t *pre, int depth) {
    const char *type = text(pre, "type");
    const json_t *list = json_object_get(pre, "pretokenizers");
    if (strcmp(type, "Sequence") == 0 && json_is_array(list) && depth < 4) {
        for (size_t i = 0; i < json_array_size(list) && i < 32; i++) describe(b, prefix, json_array_get(list, i), depth + 1);
    } else if (strcmp(type, "Split") == 0) {
        add_split(b, pre);
    } else if (strcmp(type, "ByteLevel") == 0) {
        const bool space = flag(pre, "add_prefix_space", true);
        if (space && b->len) moa_buf_adds(b, "add_prefix_space\n"); /* one for every part that the rules before have cut */
        *prefix = *prefix || space;
        moa_buf_adds(b, flag(pre, "use_regex", true) ? GPT2 : BYTES);
    } else if (strcmp(type, "Digits") == 0) {
        moa_buf_adds(b, flag(pre, "individual_digits", false) ? DIGITS : "number\n");
    } else if (strcmp(type, "Punctuation") == 0) {
        moa_buf_addf(b, "punctuation %s\n", text(pre, "behavior"));
    } else {
        moa_buf_addf(b, "%s\n", *type ? type : "none");
    }
}

static int unknown(const char *parts, const char *path, moa_err *err) {
    char shown[260];
    size_t n = 0;
    for (; parts[n] && n < sizeof shown - 1; n++) shown[n] = parts[n] == '\n' ? ';' : (uint8_t)parts[n] < 32 ? '?' : parts[n];
    shown[n] = 0;
    moa_fail(err, MOA_EUNSUPPORTED, "%s: pre_tokenizer is not known: %s", path, shown);
    return moa_hint(err, MOA_EUNSUPPORTED, "a GGUF file of the model says the rule's name; known rules: src/format/hf_pre.c");
}

int hf_pre_name(const char **out, bool *prefix, const json_t *pre, bool whole, const char *path, moa_err *err) {
    moa_buf b;
    moa_buf_init(&b, 1 << 20);
    *out = NULL;
    *prefix = false;
    describe(&b, prefix, pre, 0);
    for (size_t i = 0; !b.failed && !*out && i < sizeof KNOWN / sizeof *KNOWN; i++)
        if (strcmp(moa_buf_str(&b), KNOWN[i].parts) == 0) *out = whole && KNOWN[i].whole ? KNOWN[i].whole : KNOWN[i].name;
    const int rc = *out ? 0 : unknown(moa_buf_str(&b), path, err);
    moa_buf_deinit(&b);
    return rc;
}
