/* parse.c - see parse.h. SPDX-License-Identifier: Apache-2.0 */
#include "agent/parse.h"

#include <string.h>

static bool blank(char c) { return (unsigned char)c <= ' ' || c == 0x7f; }
static bool mark(char c) { return blank(c) || c == '*' || c == '_' || c == '`'; }
static bool lead(char c) { return mark(c) || c == '#' || c == '>' || c == '-'; } /* of a line */
static bool digit(char c) { return c >= '0' && c <= '9'; }
static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }
static bool letter(char c) { return lower(c) >= 'a' && lower(c) <= 'z'; }

static void trim(const char **s, size_t *n) {
    while (*n && mark(**s)) ++*s, --*n;
    while (*n && mark((*s)[*n - 1])) --*n;
}

/* The value behind the label at the beginning of this line. */
static bool labelled(const char **value, size_t *len, const char *s, size_t n, const char *label) {
    const size_t n_label = strlen(label);
    while (n && lead(*s)) s++, n--;
    if (n <= n_label) return false;
    for (size_t i = 0; i < n_label; i++)
        if (lower(s[i]) != lower(label[i])) return false;
    s += n_label, n -= n_label;
    while (n && mark(*s)) s++, n--;
    if (!n || *s != ':') return false;
    *value = s + 1, *len = n - 1;
    trim(value, len);
    return *len > 0;
}

bool moa_parse_label(const char **value, size_t *len, const char *s, size_t n, const char *label) {
    size_t end = n;
    while (end > 0) {
        size_t from = end;
        while (from > 0 && s[from - 1] != '\n' && s[from - 1] != '\r') from--;
        if (labelled(value, len, s + from, end - from, label)) return true;
        end = from ? from - 1 : 0;
    }
    return false;
}

/* Digits and at most one point, fewer than 10 of them; what follows is no letter, digit or point. Moves on behind it. */
static bool number(double *out, const char **s, size_t *n) {
    double v = 0, place = 0;
    size_t i = 0;
    int digits = 0;
    for (; i < *n && (digit((*s)[i]) || ((*s)[i] == '.' && !(place > 0) && i + 1 < *n && digit((*s)[i + 1]))); i++) {
        if ((*s)[i] == '.') {
            place = 1;
            continue;
        }
        if (++digits > 9) return false;
        v = 10 * v + ((*s)[i] - '0');
        place *= 10;
    }
    if (!digits || (i < *n && letter((*s)[i]))) return false;
    *out = place > 0 ? v / place : v;
    *s += i, *n -= i;
    return true;
}

static bool whole_number(int *out, const char **s, size_t *n) {
    int v = 0, digits = 0;
    while (*n && digit(**s)) {
        if (++digits <= 9) v = 10 * v + (**s - '0');
        ++*s, --*n;
    }
    *out = v;
    return digits > 0 && digits <= 9;
}

bool moa_parse_score(double *out, const char *s, size_t n, double top) {
    const char *v = s;
    size_t len = n;
    double score, of;
    const bool labels = moa_parse_label(&v, &len, s, n, "score") || moa_parse_label(&v, &len, s, n, "rating");
    if (!labels) v = s, len = n;
    trim(&v, &len);
    if (!number(&score, &v, &len)) return false;
    while (len && blank(*v)) v++, len--;
    if (len && *v == '/') { /* of how many */
        v++, len--;
        while (len && blank(*v)) v++, len--;
        if (!number(&of, &v, &len) || !(of > 0)) return false;
        score *= top / of;
    }
    if (!labels) { /* then nothing else may stand there but a full stop */
        while (len && (mark(*v) || *v == '.')) v++, len--;
        if (len) return false;
    }
    if (!(score >= 0 && score <= top)) return false;
    *out = score;
    return true;
}

/* Only what lists of numbers are made of. */
static bool only_numbers(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!digit(s[i]) && !blank(s[i]) && !strchr(",;.&[]()#*", s[i])) return false;
    return true;
}

int moa_parse_choice(int *out, bool *strange, const char *s, size_t n, int n_cand) {
    const char *v;
    size_t len;
    int k = 0, number;
    *strange = false;
    if (!moa_parse_label(&v, &len, s, n, "choice") && !moa_parse_label(&v, &len, s, n, "choices")) {
        if (n > 4096 || !only_numbers(s, n)) return 0;
        v = s, len = n;
    }
    while (len) {
        if (!digit(*v)) {
            if (*v == '-' && len > 1 && digit(v[1])) return *strange = true, k; /* -2 is no 2 */
            v++, len--;
            continue;
        }
        if (!whole_number(&number, &v, &len) || number < 1 || number > n_cand) return *strange = true, k;
        bool known = false;
        for (int i = 0; i < k; i++) known = known || out[i] == number - 1;
        if (!known) out[k++] = number - 1;
    }
    return k;
}

static bool word_is(const char *v, size_t n, const char *word) {
    const size_t k = strlen(word);
    if (n < k || (n > k && letter(v[k]))) return false;
    for (size_t i = 0; i < k; i++)
        if (lower(v[i]) != word[i]) return false;
    return true;
}

bool moa_parse_yes(bool *out, const char *s, size_t n, const char *label) {
    const char *v;
    size_t len;
    if (!moa_parse_label(&v, &len, s, n, label)) return false;
    const bool yes = word_is(v, len, "yes") || word_is(v, len, "true"), no = word_is(v, len, "no") || word_is(v, len, "false");
    *out = yes;
    return yes || no;
}

bool moa_parse_letter(int *out, const char *s, size_t n, const char *label, const char *letters) {
    const char *v = s;
    size_t len = n;
    const bool labels = moa_parse_label(&v, &len, s, n, label);
    if (!labels) v = s, len = n;
    trim(&v, &len);
    while (labels && len && (*v == '(' || *v == '"' || *v == '[')) v++, len--;
    if (!len || (len > 1 && (letter(v[1]) || digit(v[1]))) || (!labels && len > 1 && (len > 2 || v[1] != '.'))) return false;
    for (int i = 0; letters[i]; i++)
        if (lower(*v) == lower(letters[i])) return *out = i, true;
    return false;
}

int moa_parse_lines(const char **text, size_t *len, int n_line, const char *s, size_t n) {
    int found = 0;
    for (int i = 0; i < n_line; i++) text[i] = NULL, len[i] = 0;
    for (size_t at = 0; at < n;) {
        const char *v = s + at, *nl = memchr(v, '\n', n - at);
        size_t k = nl ? (size_t)(nl - v) : n - at;
        int number;
        at += k + 1;
        while (k && lead(*v)) v++, k--;
        if (!k || !digit(*v) || !whole_number(&number, &v, &k) || !k || !strchr(":.)", *v) || !*v) continue;
        v++, k--;
        trim(&v, &k);
        if (!k || number < 1 || number > n_line || text[number - 1]) continue;
        text[number - 1] = v, len[number - 1] = k;
        found++;
    }
    return found;
}
