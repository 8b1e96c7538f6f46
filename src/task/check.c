/* check.c - see check.h. Replies and files are hostile: every check is one or two passes over the bytes, and nothing of them is ever run.
 * SPDX-License-Identifier: Apache-2.0 */
#include "task/check.h"

#include <ctype.h>
#include <string.h>

enum { TEXT_MAX = 1 << 16 };

static bool same(const moa_item *it, const moa_buf *got) { return got->len == it->answer.len && memcmp(moa_buf_str(got), moa_buf_str(&it->answer), got->len) == 0; }

/* What the reply ends with, or all of it where it names no answer. */
static void last_words(const char **s, size_t *n) {
    const char *a;
    size_t len;
    if (moa_answer_find(&a, &len, *s, *n)) *s = a, *n = len;
}

/* ---- answer ---- */

static bool answer_right(const moa_item *it, const char *reply, size_t n) {
    moa_buf got;
    moa_buf_init(&got, MOA_ANSWER_MAX + 1);
    const bool right = moa_answer_extract(&got, reply, n) && same(it, &got);
    moa_buf_deinit(&got);
    return right;
}

/* "4", or a reply's own "Answer: 4"; "the answer,: 4" would be read as 4, so it can be nobody's answer. */
static bool answer_gold(moa_item *it, const char *s, size_t n) {
    moa_buf reply;
    if (!moa_answer_extract(&it->answer, s, n) && !moa_answer_canon(&it->answer, s, n)) return false;
    moa_buf_init(&reply, 2 * MOA_ANSWER_MAX);
    moa_buf_addf(&reply, "Answer: %s", moa_buf_str(&it->answer));
    const bool can = answer_right(it, moa_buf_str(&reply), reply.len);
    moa_buf_deinit(&reply);
    return can;
}

/* ---- number ---- */

static bool digit(char c) { return c >= '0' && c <= '9'; }
static size_t digits_before(const char *s, size_t at) {
    size_t n = 0;
    while (n < at && n < 64 && digit(s[at - 1 - n])) n++;
    return n;
}

/* Digits, before them a point with more, before these groups of three behind commas. */
bool moa_number_last(moa_buf *out, const char *s, size_t n) {
    size_t end = n, lead;
    moa_buf_clear(out);
    while (end > 0 && !digit(s[end - 1])) end--;
    if (!end) return false;
    size_t at = end - (lead = digits_before(s, end));
    if (at > 1 && s[at - 1] == '.' && digit(s[at - 2])) at -= 1 + (lead = digits_before(s, at - 1));
    for (int groups = 0; groups < 8 && lead == 3 && at > 1 && s[at - 1] == ',' && digit(s[at - 2]); groups++) {
        lead = digits_before(s, at - 1);
        if (lead > 3) break; /* a list, not thousands */
        at -= 1 + lead;
    }
    const bool sign = at > 0 && s[at - 1] == '-' && (at < 2 || !isalnum((unsigned char)s[at - 2]));
    at -= sign;
    return moa_answer_canon(out, s + at, end - at);
}

static bool number_gold(moa_item *it, const char *s, size_t n) {
    last_words(&s, &n);
    return moa_number_last(&it->answer, s, n);
}

static bool number_right(const moa_item *it, const char *reply, size_t n) {
    moa_buf got;
    moa_buf_init(&got, MOA_ANSWER_MAX + 1);
    last_words(&reply, &n);
    const bool right = moa_number_last(&got, reply, n) && same(it, &got);
    moa_buf_deinit(&got);
    return right;
}

/* ---- choice ---- */

static bool letter_at(char *out, const char *s, size_t n) {
    size_t i = 0;
    while (i < n && strchr(" \t\r\n*(\"'", s[i])) i++;
    if (i == n || !isalpha((unsigned char)s[i]) || (unsigned char)s[i] > 127) return false;
    if (i + 1 < n && (isalnum((unsigned char)s[i + 1]) || (unsigned char)s[i + 1] > 127)) return false;
    *out = (char)tolower((unsigned char)s[i]);
    return true;
}

static bool choice_gold(moa_item *it, const char *s, size_t n) {
    char c;
    moa_buf_clear(&it->answer);
    return letter_at(&c, s, n) && moa_buf_add(&it->answer, &c, 1) == 0;
}

static bool choice_right(const moa_item *it, const char *reply, size_t n) {
    char c;
    last_words(&reply, &n);
    return it->answer.len == 1 && letter_at(&c, reply, n) && c == it->answer.data[0];
}

/* ---- literal ---- */

typedef struct literal { moa_buf *out; const char *at, *end; int depth; } literal;

static void skip(literal *l) {
    while (l->at < l->end && strchr(" \t\r\n", *l->at) && *l->at) l->at++;
}

static int hex(literal *l, int digits) {
    int v = 0;
    for (int i = 0; i < digits; i++, l->at++) {
        if (l->at == l->end || !isxdigit((unsigned char)*l->at)) return -1;
        v = v * 16 + (digit(*l->at) ? *l->at - '0' : tolower((unsigned char)*l->at) - 'a' + 10);
    }
    return v;
}

static bool put_escape(literal *l) {
    static const char from[] = "nrtabfv0", to[] = "\n\r\t\a\b\f\v";
    if (l->at == l->end) return false;
    const char c = *l->at++, *p = strchr(from, c);
    if (c == 'x' || c == 'u' || c == 'U') {
        const int v = hex(l, c == 'x' ? 2 : c == 'u' ? 4 : 8);
        return v >= 0 && moa_buf_addf(l->out, v < 0x80 && isprint(v) && v != '"' && v != '\\' ? "%c" : "\\u%x;", v) == 0;
    }
    if (p && c) return moa_buf_addf(l->out, "\\u%x;", (unsigned)to[p - from]) == 0;
    if (c == '\n') return true;
    if (c == '"' || c == '\\') return moa_buf_addf(l->out, "\\%c", c) == 0;
    if (c == '\'') return moa_buf_add(l->out, "'", 1) == 0;
    return moa_buf_addf(l->out, "\\\\%c", c) == 0; /* Python keeps both */
}

static bool string(literal *l) {
    const char quote = *l->at++;
    moa_buf_add(l->out, "\"", 1);
    while (l->at < l->end && *l->at != quote) {
        const char c = *l->at++;
        if (c == '\n') return false;
        if (c == '\\' ? !put_escape(l) : c == '"' ? moa_buf_adds(l->out, "\\\"") < 0 : (unsigned char)c < ' ' ? moa_buf_addf(l->out, "\\u%x;", (unsigned)c) < 0 : moa_buf_add(l->out, &c, 1) < 0) return false;
    }
    return l->at++ < l->end && moa_buf_add(l->out, "\"", 1) == 0;
}

static bool word(literal *l) {
    static const char *const known[] = {"True", "False", "None", "inf", "nan"};
    const char *s = l->at;
    while (l->at < l->end && (isalnum((unsigned char)*l->at) || *l->at == '_' || *l->at == '.' || (l->at > s && strchr("+-", *l->at) && (l->at[-1] | 0x20) == 'e' && digit(*s)))) l->at++;
    const size_t n = (size_t)(l->at - s);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strlen(known[i]) == n && memcmp(known[i], s, n) == 0) return moa_buf_add(l->out, s, n) == 0;
    return n && (digit(*s) || *s == '.') && moa_buf_add(l->out, s, n) == 0;
}

static bool value(literal *l);

static bool group(literal *l, char close) {
    int n = 0;
    bool comma = false;
    moa_buf_add(l->out, l->at++, 1);
    for (;; n++) {
        skip(l);
        if (l->at == l->end) return false;
        if (*l->at == close) break;
        if (n && !comma) return false;
        if (n) moa_buf_add(l->out, ",", 1);
        if (!value(l)) return false;
        skip(l);
        if (close == '}' && l->at < l->end && *l->at == ':') {
            l->at++;
            moa_buf_add(l->out, ":", 1);
            if (!value(l)) return false;
            skip(l);
        }
        comma = l->at < l->end && *l->at == ',';
        l->at += comma;
    }
    if (close == ')' && n == 1 && comma) moa_buf_add(l->out, ",", 1); /* (1,) is a tuple, (1) is not */
    return moa_buf_add(l->out, l->at++, 1) == 0;
}

static bool value(literal *l) {
    bool ok = false;
    skip(l);
    if (l->at == l->end || ++l->depth > 64) return false;
    if (*l->at == '-' || *l->at == '+') {
        if (*l->at++ == '-') moa_buf_add(l->out, "-", 1);
        ok = word(l);
    } else if (*l->at == '\'' || *l->at == '"') {
        ok = string(l);
    } else {
        ok = *l->at == '[' ? group(l, ']') : *l->at == '(' ? group(l, ')') : *l->at == '{' ? group(l, '}') : word(l);
    }
    l->depth--;
    return ok;
}

bool moa_literal_canon(moa_buf *out, const char *s, size_t n) {
    literal l = {.out = out, .at = s, .end = s + n};
    moa_buf_clear(out);
    if (!value(&l)) return false;
    skip(&l);
    return l.at == l.end && !out->failed;
}

static bool literal_gold(moa_item *it, const char *s, size_t n) { return moa_literal_canon(&it->answer, s, n); }

static bool literal_right(const moa_item *it, const char *reply, size_t n) {
    moa_buf got;
    moa_buf_init(&got, TEXT_MAX);
    bool right = moa_literal_canon(&got, reply, n) && same(it, &got);
    last_words(&reply, &n);
    right = right || (moa_literal_canon(&got, reply, n) && same(it, &got));
    moa_buf_deinit(&got);
    return right;
}

/* ---- text, contains ---- */

/* Spaces folded, ASCII in lower case. */
static bool fold(moa_buf *out, const char *s, size_t n) {
    bool gap = false;
    moa_buf_clear(out);
    for (size_t i = 0; i < n; i++) {
        const char c = (char)tolower((unsigned char)s[i]);
        if (c == ' ' || (c >= '\t' && c <= '\r')) {
            gap = out->len > 0;
            continue;
        }
        if (gap) moa_buf_add(out, " ", 1);
        gap = false;
        if (moa_buf_add(out, &c, 1) < 0) return false;
    }
    return out->len > 0;
}

static bool text_gold(moa_item *it, const char *s, size_t n) { return fold(&it->answer, s, n); }

static bool folded(const moa_item *it, const char *reply, size_t n, bool part) {
    moa_buf got;
    moa_buf_init(&got, 1 << 26);
    const bool right = fold(&got, reply, n) && (part ? memmem(got.data, got.len, moa_buf_str(&it->answer), it->answer.len) != NULL : same(it, &got));
    moa_buf_deinit(&got);
    return right;
}

static bool text_right(const moa_item *it, const char *reply, size_t n) { return folded(it, reply, n, false); }
static bool contains_right(const moa_item *it, const char *reply, size_t n) { return folded(it, reply, n, true); }

/* ---- the table ---- */

static const moa_checker table[] = {
    {"answer", "what follows the last \"Answer:\" is the answer, in one canonical form (the default)", answer_gold, answer_right},
    {"number", "the number in the reply's answer, or its last number, is the same number", number_gold, number_right},
    {"choice", "the reply's answer, or the reply, begins with the letter", choice_gold, choice_right},
    {"literal", "the same Python literal, however its quotes and spaces are written; nothing is evaluated", literal_gold, literal_right},
    {"text", "the whole reply is the text; spaces are folded, case is ignored", text_gold, text_right},
    {"contains", "the text is somewhere in the reply; spaces are folded, case is ignored", text_gold, contains_right},
};

const moa_checker *moa_checkers(int *n) {
    *n = (int)(sizeof table / sizeof *table);
    return table;
}

const moa_checker *moa_checker_find(const char *name) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].name, name) == 0) return &table[i];
    return NULL;
}

bool moa_item_gold(moa_item *it, const moa_checker *c, const char *s, size_t n) {
    it->checker = c ? c : &table[0];
    return it->checker->gold(it, s, n);
}

bool moa_item_check(const moa_item *it, const char *reply, size_t n) {
    const moa_checker *c = it->checker ? it->checker : &table[0];
    return moa_item_scored(it) && c->right(it, reply, n);
}
