/* answer.c - finding the answer in a reply and writing it in one form, so that equal answers are equal bytes.
 *
 * A reply is hostile: any bytes, any length, no answer or thousands. One pass from the end finds the last
 * "Answer:", one more the other ways to name an answer; the rest looks at no more than MOA_ANSWER_MAX bytes.
 * SPDX-License-Identifier: Apache-2.0 */
#include "task/task.h"

#include <ctype.h>
#include <string.h>

static bool blank(char c) { return (unsigned char)c <= ' ' || c == 0x7f; }
static bool line_end(char c) { return c == '\n' || c == '\r'; }
static bool digit(char c) { return c >= '0' && c <= '9'; }
static bool alnum(char c) { return (unsigned char)c < 0x80 && isalnum((unsigned char)c); }

/* Length of "Answer", blanks or emphasis, ":" at p; 0 when it is not there. */
static size_t marker(const char *p, const char *end) {
    static const char word[] = "answer";
    size_t w = sizeof word - 1, i = w;
    if ((size_t)(end - p) <= w) return 0;
    for (size_t k = 0; k < w; k++)
        if ((p[k] | 0x20) != word[k]) return 0;
    while (p + i < end && i < w + 8 && (p[i] == ' ' || p[i] == '*')) i++;
    return p + i < end && p[i] == ':' ? i + 1 : 0;
}

static void take_line(const char **answer, size_t *len, const char *s, const char *end) {
    const char *e = s;
    while (e < end && !line_end(*e)) e++;
    while (e > s && blank(e[-1])) e--;
    *answer = s;
    *len = (size_t)(e - s);
}

static bool starts(const char *p, const char *end, const char *word) {
    const size_t n = strlen(word);
    return (size_t)(end - p) > n && memcmp(p, word, n) == 0;
}

/* \boxed{...}: up to the bracket that closes it. */
static bool take_boxed(const char **answer, size_t *len, const char *s, const char *end) {
    int open = 1;
    const char *e = s;
    for (; e < end && open && e - s <= MOA_ANSWER_MAX; e++) open += (*e == '{') - (*e == '}');
    *answer = s;
    *len = open ? 0 : (size_t)(e - s) - 1;
    return !open;
}

/* The other ways to name an answer (task.h): the last of them counts. */
static bool find_otherwise(const char **answer, size_t *len, const char *reply, const char *end) {
    bool last = true; /* no line end has been passed yet */
    for (const char *p = end; p-- > reply;) {
        const bool line = p == reply || line_end(p[-1]);
        const char *s = NULL;
        if (*p == '\\' && starts(p, end, "\\boxed{") && take_boxed(answer, len, p + 7, end)) return true;
        if (line && (starts(p, end, "#### "))) s = p + 5;
        else if (line && last && starts(p, end, "A: ")) s = p + 3;
        else if ((*p | 0x20) == 'a' && (p == reply || !alnum(p[-1])) && starts(p + 1, end, "nswer is ")) s = p + 10;
        while (s && s < end && (*s == ' ' || *s == '*')) s++;
        if (s) take_line(answer, len, s, end);
        if (s && *len) return true;
        if (line && !blank(*p)) last = false;
    }
    return false;
}

bool moa_answer_find(const char **answer, size_t *len, const char *reply, size_t n) {
    const char *end = reply + n;
    for (size_t i = n; i-- > 0;) {
        if ((reply[i] | 0x20) != 'a' || (i > 0 && alnum(reply[i - 1]))) continue;
        size_t m = marker(reply + i, end);
        if (!m) continue;
        const char *s = reply + i + m;
        while (s < end && (blank(*s) || *s == '*')) s++;
        take_line(answer, len, s, end);
        return true;
    }
    return find_otherwise(answer, len, reply, end);
}

bool moa_answer_extract(moa_buf *out, const char *reply, size_t n) {
    const char *s;
    size_t len;
    return moa_answer_find(&s, &len, reply, n) && moa_answer_canon(out, s, len);
}

/* Quotes, emphasis and full stops around an answer say nothing. */
static bool shell(const char *s, size_t n, size_t *used) {
    static const char *const wide[] = {"\xe2\x80\x9c", "\xe2\x80\x9d", "\xe2\x80\x98", "\xe2\x80\x99"};
    *used = 1;
    if (*s == '"' || *s == '\'' || *s == '`' || *s == '*') return true;
    *used = 3;
    for (int i = 0; n >= 3 && i < 4; i++)
        if (memcmp(s, wide[i], 3) == 0) return true;
    return false;
}

static void trim(const char **s, size_t *n) {
    for (size_t before = *n + 1, u; before != *n;) {
        before = *n;
        while (*n && (blank((*s)[*n - 1]) || (*s)[*n - 1] == ',')) --*n;
        while (*n && (blank(**s) || **s == ',')) ++*s, --*n;
        if (*n > 1 && (*s)[*n - 1] == '.') --*n;
        if (*n && shell(*s, *n, &u)) *s += u, *n -= u;
        if (*n && (shell(*s + *n - 1, 1, &u) || (*n >= 3 && shell(*s + *n - 3, 3, &u) && u == 3))) *n -= u;
    }
}

/* "b)", "(b)", "b) the baker", "b: the baker" or "b. the baker": the letter of a choice. */
static char choice(const char *s, size_t n) {
    bool open = n > 0 && *s == '(';
    if (open) s++, n--;
    if (n < 2 || (s[0] | 0x20) < 'a' || (s[0] | 0x20) > 'h') return 0;
    bool closed = open ? s[1] == ')' : s[1] == ')' || s[1] == ':' || s[1] == '.';
    return closed && (n == 2 || blank(s[2])) ? (char)(s[0] | 0x20) : 0;
}

/* A number with optional sign, thousands in groups of three, fraction: written into out in one form. */
static bool number(char *out, size_t *len, const char *s, size_t n) {
    size_t i = 0, w = 0, lead = 0, frac = 0;
    bool neg = n && *s == '-';
    if (n && (*s == '-' || *s == '+')) i++;
    size_t first = i;
    while (i < n && digit(s[i])) i++;
    lead = i - first;
    if (!lead) return false;
    for (; i + 3 < n && lead <= 3 && s[i] == ',' && digit(s[i + 1]) && digit(s[i + 2]) && digit(s[i + 3]); i += 4) {}
    size_t whole_end = i;
    if (i < n && s[i] == '.') {
        for (i++; i < n && digit(s[i]); i++) frac++;
        if (!frac) return false;
    }
    if (i != n) return false;
    while (frac && s[whole_end + frac] == '0') frac--;
    size_t p = first;
    while (p + 1 < whole_end && (s[p] == '0' || s[p] == ',')) p++;
    bool zero = !frac && p + 1 == whole_end && s[p] == '0';
    if (neg && !zero) out[w++] = '-';
    for (; p < whole_end; p++)
        if (s[p] != ',') out[w++] = s[p];
    if (frac) out[w++] = '.';
    for (size_t k = 0; k < frac; k++) out[w++] = s[whole_end + 1 + k];
    *len = w;
    return true;
}

/* Lower case; runs of blanks and commas become one blank, none next to brackets or a colon's left side. */
static size_t fold(char *out, const char *s, size_t n) {
    size_t w = 0;
    bool gap = false;
    for (size_t i = 0; i < n; i++) {
        if (blank(s[i]) || s[i] == ',') {
            gap = w > 0;
            continue;
        }
        bool closing = s[i] == ']' || s[i] == ')', opened = w && (out[w - 1] == '[' || out[w - 1] == '(');
        if (gap && !closing && !opened) out[w++] = ' ';
        gap = false;
        out[w++] = (unsigned char)s[i] < 0x80 ? (char)tolower((unsigned char)s[i]) : s[i];
    }
    return w;
}

static size_t canon_once(char *out, const char *s, size_t n) {
    size_t len = 0;
    trim(&s, &n);
    if (n == 0 || n > MOA_ANSWER_MAX) return 0;
    out[0] = choice(s, n);
    if (out[0]) return 1;
    return number(out, &len, s, n) ? len : fold(out, s, n);
}

/* Taking one shell off may bare another ('"5,".'), so until nothing changes; every turn but the last shortens it or
 * makes it lower case, so the turns are few. */
bool moa_answer_canon(moa_buf *out, const char *answer, size_t n) {
    char a[MOA_ANSWER_MAX + 2], b[MOA_ANSWER_MAX + 2];
    moa_buf_clear(out);
    size_t len = canon_once(a, answer, n);
    for (size_t m; len && ((m = canon_once(b, a, len)) != len || memcmp(a, b, len) != 0); len = m) memcpy(a, b, m);
    return len > 0 && moa_buf_add(out, a, len) == 0;
}
