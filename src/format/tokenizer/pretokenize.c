/* pretokenize.c - rules of the published byte-level tokenizers as regular expressions for PCRE2 (UTF, UCP, JIT).
 *
 * A rule is a list of expressions applied one after the other: each cuts the pieces that the one before left into
 * matches and what lies between them. Which name means which expressions follows llama.cpp's table of pre-tokenizers,
 * since GGUF files are made for it ("default" is its fall-back rule and no model's own). Two expressions are written
 * differently with the same meaning: (?i:'s) as ['sS], since case folding must not take U+017F for an s, and
 * \s+$ as (?<!\s)\s+$, which does not try every start inside a long run of spaces (quadratic).
 *
 * PCRE2 never sees invalid UTF-8: such bytes are cut out first, so each match call can skip its own check of the
 * whole text, which would make the loop quadratic.
 * SPDX-License-Identifier: Apache-2.0 */
#include "format/tokenizer/pretokenize.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include "base/err.h"
#include "base/utf8.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { WHOLE = 1, BOS = 2, SEP = 4, MAX_STAGE = 6, JIT_STACK_FIRST = 32 * 1024, JIT_STACK_MOST = 4 << 20 };

/* Parts that several rules share. */
#define SHORT_FORMS "'s|'t|'re|'ve|'m|'ll|'d"
#define SHORT_FORMS_ANY_CASE "'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])"
#define GPT2_RE SHORT_FORMS "| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define SPACES_RE "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define PLAIN_RE(number) "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" number "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES_RE
#define MODERN_RE(number) SHORT_FORMS_ANY_CASE "|" PLAIN_RE(number)
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(upper, lower, tail, number, line)                                                                                           \
    "[^\\r\\n\\p{L}\\p{N}]?" upper "*" lower "+" tail "|[^\\r\\n\\p{L}\\p{N}]?" upper "+" lower "*" tail "|" number                           \
    "| ?[^\\s\\p{L}\\p{N}]+[" line "]*|" SPACES_RE
#define CASED_RE(tail, number) CASED(UPPER, LOWER, tail, number, "\\r\\n/")
#define NOT_HAN "\\p{N}\\p{P}\\p{S}\\p{Z}\\p{C}\\p{Han}]" /* with the other case: letters and marks of other scripts */
#define PUNCTUATED(rest)                                                                                                     \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"                          \
    " ?[\\p{P}\\p{S}]+" rest
#define PUNCTUATED_RE PUNCTUATED("[\\r\\n]*|" SPACES_RE)
#define KANA_HAN_RE "[一-龥぀-ゟ゠-ヿ]+"
/* Behind a space that is no line end no line end was found, so it is not looked for again (quadratic). */
#define SPACE_STEPS_RE "(?<![^\\S\\r\\n])\\s*[\\r\\n]+|\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)|\\s{64}(?!\\S)|\\s{32}(?!\\S)|\\s{16}(?!\\S)|\\s{8}(?!\\S)|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s"

/* Stages that are no expressions: digits in threes counted from the right, for which an expression would look to the end of the
 * run from every group (quadratic). GROUPS: every run of numbers. WORDS: runs of digits that no letter follows, as
 * \d{1,3}(?=(?:\d{3})*\b). BETWEEN: cuts between groups only, as (?=(\d{3})+(?!\d)). */
#define GROUPS "\1"
#define GROUPS_OF_WORDS "\2"
#define GROUPS_BETWEEN "\3"

/* Cased letters as DeepSeek lists them; by number, since editors normalise some of them away. */
#define DEEPSEEK_LETTERS \
    "A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}\\x{1C4}-\\x{293}" \
    "\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}\\x{37F}\\x{386}\\x{388}-\\x{38A}\\x{38C}" \
    "\\x{38E}-\\x{3A1}\\x{3A3}-\\x{3F5}\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}\\x{531}-\\x{556}\\x{10A0}-\\x{10C5}" \
    "\\x{13A0}-\\x{13F5}\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}\\x{1D00}-\\x{1D2B}" \
    "\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}\\x{1F18}-\\x{1F1D}\\x{1F20}-\\x{1F45}" \
    "\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}\\x{1F5B}\\x{1F5D}\\x{1F5F}-\\x{1F7D}\\x{1F80}-\\x{1FB4}" \
    "\\x{1FB6}-\\x{1FBC}\\x{1FBE}\\x{1FC2}-\\x{1FC4}\\x{1FC6}-\\x{1FCC}\\x{1FD0}-\\x{1FD3}\\x{1FD6}-\\x{1FDB}" \
    "\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}\\x{1FF6}-\\x{1FFC}\\x{2102}\\x{2107}\\x{210A}-\\x{2113}\\x{2115}" \
    "\\x{2119}-\\x{211D}\\x{2124}\\x{2126}\\x{2128}\\x{212A}-\\x{212D}\\x{212F}-\\x{2134}\\x{2139}" \
    "\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}\\x{214E}\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}" \
    "\\x{2CEB}-\\x{2CEE}\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}" \
    "\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}\\x{FB00}-\\x{FB06}\\x{FB13}-\\x{FB17}" \
    "\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}\\x{10400}-\\x{1044F}\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}" \
    "\\x{10C80}-\\x{10CB2}\\x{10CC0}-\\x{10CF2}\\x{118A0}-\\x{118DF}\\x{1E900}-\\x{1E943}"

typedef enum rule_id {
    DEFAULT, MOA, GPT2, DIGIT_GPT2, FALCON, LLAMA3, QWEN2, QWEN35, BAILING, SEED_CODER, DEEPSEEK_LLM, DEEPSEEK_CODER, DEEPSEEK_V3,
    TEKKEN, O200K, BLOOM, VIKING, JAIS2, YOUTU, CHAMELEON, TINY_AYA, KIMI_K2, SUPERBPE, AFMOE, EXAONE_MOE, LAGUNA, MINICPM5, SPARK25, UFAKZEKA
} rule_id;

static const char *const RULES[][MAX_STAGE] = {
    [DEFAULT] = {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2_RE, "\\p{N}+", "[0-9][0-9][0-9]"},
    /* moa's own: a word with the space before it, digits one by one without it (so that equal digits are equal tokens
     * wherever they stand), each other sign apart, line ends apart from spaces. */
    [MOA] = {" ?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]|[\\r\\n]+|[^\\S\\r\\n]+(?!\\S)|\\s"},
    [GPT2] = {GPT2_RE},
    [DIGIT_GPT2] = {"\\p{N}", GPT2_RE},
    [FALCON] = {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2_RE, "[0-9][0-9][0-9]"},
    [LLAMA3] = {MODERN_RE("\\p{N}{1,3}")},
    [QWEN2] = {MODERN_RE("\\p{N}")},
    [QWEN35] = {SHORT_FORMS_ANY_CASE "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACES_RE},
    [BAILING] = {SHORT_FORMS_ANY_CASE "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|"
                                      "\\s+"},
    [SEED_CODER] = {SHORT_FORMS_ANY_CASE "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" SPACES_RE},
    [DEEPSEEK_LLM] = {"[\\r\\n]", "\\s?[" DEEPSEEK_LETTERS "]+",
                      "\\s?[!-/:-~！-／：-～‘-‟　-。]+", "(?<!\\s)\\s+$", "[一-龥ࠀ-一가-퟿]+", "\\p{N}+"},
    [DEEPSEEK_CODER] = {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[一-龥ࠀ-一가-퟿]+", "\\p{N}"},
    [DEEPSEEK_V3] = {"\\p{N}{1,3}", KANA_HAN_RE, PUNCTUATED_RE},
    [TEKKEN] = {CASED_RE("", "\\p{N}")},
    [O200K] = {CASED_RE("(?:" SHORT_FORMS_ANY_CASE ")?", "\\p{N}{1,3}")},
    [BLOOM] = {" ?[^(\\s|.,!?…。，、।۔،)]+"},
    [VIKING] = {" ?[^(\\s|.,!?…。，、।۔،)]+", "\\p{N}"},
    [JAIS2] = {SHORT_FORMS_ANY_CASE "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACE_STEPS_RE},
    [YOUTU] = {"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+", CASED_RE("(?:" SHORT_FORMS_ANY_CASE ")?", "\\p{N}")},
    [CHAMELEON] = {"<sentinel:[0-9]+>", "IMGIMG[A-I]{1,4}Z", "[\\t\\n]|    |  ", "\\p{N}", "[\\p{P}!-/:-@\\[-`{-~]", GPT2_RE},
    [TINY_AYA] = {GROUPS_OF_WORDS, CASED_RE("(?:" SHORT_FORMS_ANY_CASE ")?", "\\p{N}{1,3}")},
    [KIMI_K2] = {"\\p{Han}+|" CASED("[^\\p{Ll}" NOT_HAN, "[^\\p{Lu}\\p{Lt}" NOT_HAN, "(?:" SHORT_FORMS_ANY_CASE ")?", "\\p{N}{1,3}", "\\r\\n")},
    [SUPERBPE] = {"\\p{N}+", GROUPS_BETWEEN},
    [AFMOE] = {GROUPS, "[一-鿿㐀-䶿豈-\\x{FAFF}぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-\\x{E7F}\\x{E80}-\\x{EFF}ក-\\x{17FF}က-႟ꩠ-\\x{AA7F}ꧠ-\\x{A9FF}가-\\x{D7AF}ᄀ-ᇿ]+",
               PUNCTUATED_RE},
    /* A whole line can be one match: what cannot be given back is not remembered. */
    [EXAONE_MOE] = {SHORT_FORMS_ANY_CASE "|[^\\r\\n\\p{L}\\p{N}]?(?:\\p{L}\\p{M}*+(?: \\p{L}\\p{M}*+)*+)++|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|"
                                         "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+"},
    [LAGUNA] = {"[^\\n]+|\\n+", MODERN_RE("\\p{N}")},
    [MINICPM5] = {"\\p{N}{1,3}", MODERN_RE("\\p{N}+")},
    [SPARK25] = {"\\p{N}{1,3}", KANA_HAN_RE, PUNCTUATED("|[\\r\\n]|\\s+(?!\\S)|\\s+"), "\\p{N}"},
    [UFAKZEKA] = {PLAIN_RE("\\p{N}")},
};

static const struct { const char *name; rule_id rule; int flags; } NAMES[] = {
#define PRE(name, rule, flags) {name, rule, flags},
#include "format/tokenizer/pretokenizers.def"
#undef PRE
};
enum { N_NAMES = sizeof NAMES / sizeof *NAMES };

struct moa_pre {
    int flags, n_stage;
    pcre2_code *code[MAX_STAGE]; /* NULL: groups of digits */
    char groups[MAX_STAGE];
};

bool moa_pre_row(const char **name, const char **same_as, int i) {
    if (i < 0 || i >= N_NAMES) return false;
    int first = 0;
    while (NAMES[first].rule != NAMES[i].rule) first++;
    *name = NAMES[i].name;
    *same_as = NAMES[first].name;
    return true;
}

static int unknown_name(const char *name, size_t n, moa_err *err) {
    moa_fail(err, MOA_EUNSUPPORTED, "tokenizer.ggml.pre '%.*s' is not known", n < 64 ? (int)n : 64, name);
    return moa_hint(err, MOA_EUNSUPPORTED, "another rule would give other tokens; moa list pretokenizers shows the %d names that are known, such as gpt-2, llama-bpe, qwen2, tekken, gpt-4o", N_NAMES);
}

static int compile(moa_pre *p, const char *re, moa_err *err) {
    int rc;
    if (*re <= *GROUPS_BETWEEN) {
        p->groups[p->n_stage++] = *re;
        return 0;
    }
    PCRE2_SIZE at;
    pcre2_code *c = pcre2_compile((PCRE2_SPTR)re, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &rc, &at, NULL);
    if (!c) return moa_fail(err, MOA_ENOMEM, "regular expression '%.40s': PCRE2 error %d at %zu", re, rc, (size_t)at);
    (void)pcre2_jit_compile(c, PCRE2_JIT_COMPLETE); /* where there is no JIT, the interpreter does the same */
    p->code[p->n_stage++] = c;
    return 0;
}

int moa_pre_open(moa_pre **out, const char *name, size_t n, moa_err *err) {
    *out = NULL;
    int row = 0;
    while (row < N_NAMES && (strlen(NAMES[row].name) != n || memcmp(NAMES[row].name, name, n) != 0)) row++;
    if (row == N_NAMES) return unknown_name(name, n, err);
    moa_pre *p = calloc(1, sizeof *p);
    if (!p) return moa_fail(err, MOA_ENOMEM, "no memory for the pre-tokenizer");
    p->flags = NAMES[row].flags;
    const char *const *re = RULES[NAMES[row].rule];
    int rc = 0;
    for (int i = 0; rc == 0 && i < MAX_STAGE && re[i]; i++) rc = compile(p, re[i], err);
    if (rc < 0) moa_pre_close(p);
    else *out = p;
    return rc;
}

void moa_pre_close(moa_pre *p) {
    if (!p) return;
    for (int i = 0; i < p->n_stage; i++) pcre2_code_free(p->code[i]);
    free(p);
}

bool moa_pre_whole(const moa_pre *p) { return p->flags & WHOLE; }
bool moa_pre_bos(const moa_pre *p) { return p->flags & BOS; }
bool moa_pre_sep(const moa_pre *p) { return p->flags & SEP; }

typedef struct splitter {
    const moa_pre *p;
    pcre2_match_data *match[MAX_STAGE];
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
    moa_word_fn word;
    void *ctx;
    moa_err *err;
} splitter;

/* The machine's own stack is enough for nearly every text; a stack for the rest costs a mapping, so it is made on demand. */
static int match(splitter *s, int i, const char *text, size_t n, size_t at) {
    const uint32_t flags = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
    int rc = pcre2_match(s->p->code[i], (PCRE2_SPTR)text, n, at, flags, s->match[i], s->context);
    if (rc != PCRE2_ERROR_JIT_STACKLIMIT || s->stack) return rc;
    s->stack = pcre2_jit_stack_create(JIT_STACK_FIRST, JIT_STACK_MOST, NULL);
    if (!s->stack) return PCRE2_ERROR_NOMEMORY;
    pcre2_jit_stack_assign(s->context, NULL, s->stack);
    return pcre2_match(s->p->code[i], (PCRE2_SPTR)text, n, at, flags, s->match[i], s->context);
}

static int stage(splitter *s, int i, const char *text, size_t n);

static bool in_category(uint32_t cp, utf8proc_category_t from, utf8proc_category_t to) {
    const utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
    return k >= from && k <= to;
}

/* End of the run of digits (of numbers, when all) that begins at `at`, and how many there are. */
static size_t digits_end(size_t *count, const char *text, size_t n, size_t at, bool all) {
    uint32_t cp;
    for (*count = 0; at < n; ++*count) {
        const size_t w = (size_t)moa_utf8_next(&cp, text + at, n - at);
        const bool digit = cp < 0x80 ? cp >= '0' && cp <= '9' : in_category(cp, UTF8PROC_CATEGORY_ND, all ? UTF8PROC_CATEGORY_NO : UTF8PROC_CATEGORY_ND);
        if (!digit) break;
        at += w;
    }
    return at;
}

static bool word_goes_on(const char *text, size_t n, size_t at) {
    uint32_t cp;
    if (at == n) return false;
    (void)moa_utf8_next(&cp, text + at, n - at);
    return in_category(cp, UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_PC); /* letters, marks, numbers, _ and its kin */
}

/* Cuts [*from, end) where groups of three begin, counted from the end; the first of n_digit digits is at `at`. */
static int cut_groups(splitter *s, int i, const char *text, size_t *from, size_t at, size_t n_digit) {
    for (uint32_t cp; n_digit; n_digit--) {
        if (n_digit % 3 == 0) {
            MOA_TRY(stage(s, i + 1, text + *from, at - *from));
            *from = at;
        }
        at += (size_t)moa_utf8_next(&cp, text + at, 4); /* whole characters, as digits_end found them */
    }
    return 0;
}

static int group_stage(splitter *s, int i, const char *text, size_t n) {
    const char how = s->p->groups[i];
    size_t from = 0;
    for (size_t at = 0, end, count; at < n; at = end) {
        uint32_t cp;
        end = digits_end(&count, text, n, at, how == *GROUPS);
        if (!count) {
            end = at + (size_t)moa_utf8_next(&cp, text + at, n - at);
            continue;
        }
        if (how == *GROUPS_OF_WORDS && word_goes_on(text, n, end)) continue;
        if (how != *GROUPS_BETWEEN) {
            MOA_TRY(stage(s, i + 1, text + from, at - from));
            from = at;
        }
        MOA_TRY(cut_groups(s, i, text, &from, at, count));
        if (how == *GROUPS_BETWEEN) continue;
        MOA_TRY(stage(s, i + 1, text + from, end - from));
        from = end;
    }
    return stage(s, i + 1, text + from, n - from);
}

/* Pieces of stage s go to stage s + 1, pieces of the last one are words. */
static int stage(splitter *s, int i, const char *text, size_t n) {
    if (n == 0) return 0;
    if (i == s->p->n_stage) return s->word(s->ctx, text, n);
    if (!s->p->code[i]) return group_stage(s, i, text, n);
    size_t at = 0;
    while (at < n) {
        int rc = match(s, i, text, n, at);
        if (rc == PCRE2_ERROR_NOMATCH) break;
        if (rc < 0) return moa_fail(s->err, MOA_ELIMIT, "cutting text of %zu bytes into words: PCRE2 error %d", n, rc);
        const PCRE2_SIZE *v = pcre2_get_ovector_pointer(s->match[i]);
        size_t from = v[0], to = v[1];
        MOA_TRY(stage(s, i + 1, text + at, from - at));
        MOA_TRY(stage(s, i + 1, text + from, to - from));
        at = to;
    }
    return stage(s, i + 1, text + at, n - at);
}

static int splitter_init(splitter *s) {
    s->context = pcre2_match_context_create(NULL);
    bool ok = s->context != NULL;
    for (int i = 0; ok && i < s->p->n_stage; i++)
        ok = !s->p->code[i] || (s->match[i] = pcre2_match_data_create_from_pattern(s->p->code[i], NULL)) != NULL;
    return ok ? 0 : moa_fail(s->err, MOA_ENOMEM, "no memory to cut text into words");
}

static void splitter_deinit(splitter *s) {
    for (int i = 0; i < s->p->n_stage; i++) pcre2_match_data_free(s->match[i]);
    pcre2_match_context_free(s->context);
    pcre2_jit_stack_free(s->stack);
}

/* End of the run of characters, or of bytes that are none, that begins at i. */
static size_t run_end(const char *text, size_t n, size_t i, bool *valid) {
    *valid = true;
    for (bool first = true; i < n; first = false) {
        if ((uint8_t)text[i] < 0x80) {
            if (!*valid) return i;
            i++;
            continue;
        }
        uint32_t cp;
        int w = moa_utf8_next(&cp, text + i, n - i);
        bool ok = w > 1;
        if (first) *valid = ok;
        else if (ok != *valid) return i;
        i += (size_t)w;
    }
    return i;
}

int moa_pre_split(const moa_pre *p, const char *text, size_t n, moa_word_fn word, void *ctx, moa_err *err) {
    splitter s = {.p = p, .word = word, .ctx = ctx, .err = err};
    int rc = splitter_init(&s);
    for (size_t at = 0; rc >= 0 && at < n;) {
        bool valid;
        size_t end = run_end(text, n, at, &valid);
        rc = valid ? stage(&s, 0, text + at, end - at) : word(ctx, text + at, end - at);
        at = end;
    }
    splitter_deinit(&s);
    return rc < 0 ? rc : 0;
}
