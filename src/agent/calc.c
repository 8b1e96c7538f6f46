/* calc.c - see calc.h. SPDX-License-Identifier: Apache-2.0 */
#include "agent/calc.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST 1e15 /* beyond, doubles are no whole numbers any more */

typedef struct reader { const char *at, *end; int depth; bool bad; int ops; } reader;

static bool digit(char c) { return c >= '0' && c <= '9'; }
static void blanks(reader *r) {
    while (r->at < r->end && *r->at == ' ') r->at++;
}

/* Signs of more than one byte: U+00D7, U+00F7, U+2212. */
static const struct { const char *text; char op; } signs[] = {{"+", '+'}, {"-", '-'}, {"*", '*'}, {"/", '/'}, {"%", '%'}, {"^", '^'}, {"\xC3\x97", '*'}, {"\xC3\xB7", '/'}, {"\xE2\x88\x92", '-'}};

static char operator_at(const char *p, const char *end, size_t *len) {
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        *len = strlen(signs[i].text);
        if ((size_t)(end - p) >= *len && !memcmp(p, signs[i].text, *len)) return signs[i].op;
    }
    return *len = 0, 0;
}

static bool take(reader *r, const char *which, char *op) {
    size_t len;
    blanks(r);
    *op = operator_at(r->at, r->end, &len);
    if (!*op || !strchr(which, *op)) return false;
    r->at += len;
    r->ops++;
    return true;
}

/* Digits with thousands commas, then decimals. Returns its end; p: none. decimals: how many there are. */
static const char *number(double *v, int *decimals, const char *p, const char *end) {
    const char *from = p;
    double scale = 1;
    *v = 0, *decimals = 0;
    while (p < end && (digit(*p) || (*p == ',' && p > from && end - p > 3 && digit(p[1]) && digit(p[2]) && digit(p[3]) && (end - p == 4 || !digit(p[4])))))
        if (digit(*p++) && *v <= MOST) *v = 10 * *v + (p[-1] - '0');
    if (p > from && end - p > 1 && *p == '.' && digit(p[1]))
        for (p++; p < end && digit(*p); p++)
            if (*decimals < 12) *v += (*p - '0') * (scale /= 10), ++*decimals;
    return p;
}

static double sum(reader *r);

static double primary(reader *r) {
    double v = 0;
    int decimals;
    blanks(r);
    if (r->bad || r->depth >= MOA_CALC_DEPTH_MAX) return r->bad = true, 0;
    if (r->at < r->end && *r->at == '(') {
        r->at++;
        r->depth++;
        v = sum(r);
        r->depth--;
        blanks(r);
        if (r->at == r->end || *r->at != ')') return r->bad = true, 0;
        r->at++;
        return v;
    }
    const char *to = number(&v, &decimals, r->at, r->end);
    if (to == r->at) r->bad = true;
    r->at = to;
    return v;
}

static double factor(reader *r);

static double power(reader *r) { /* binds to the right */
    const double base = primary(r);
    char op;
    if (r->bad || !take(r, "^", &op)) return base;
    if (++r->depth > MOA_CALC_DEPTH_MAX) return r->bad = true, 0;
    const double e = factor(r);
    r->depth--;
    return pow(base, e);
}

static double factor(reader *r) { /* a sign binds less than a power: -2^2 is -4 */
    char op;
    if (r->bad || !take(r, "-", &op)) return power(r);
    r->ops--;
    if (++r->depth > MOA_CALC_DEPTH_MAX) return r->bad = true, 0;
    const double v = -factor(r);
    r->depth--;
    return v;
}

static double product(reader *r) {
    double v = factor(r);
    char op;
    while (!r->bad && take(r, "*/%", &op)) {
        const double w = factor(r);
        if (op != '*' && !(fabs(w) > 0)) r->bad = true;
        else if (op == '*') v *= w;
        else if (op == '/') v /= w;
        else v -= w * floor(v / w); /* as Python has it */
    }
    return v;
}

static double sum(reader *r) {
    double v = product(r);
    char op;
    while (!r->bad && take(r, "+-", &op)) {
        const double w = product(r);
        v += op == '+' ? w : -w;
    }
    return v;
}

static bool work_out(double *value, int *ops, const char *s, size_t n) {
    reader r = {.at = s, .end = s + n};
    if (n > MOA_CALC_EXPR_MAX) return false;
    *value = sum(&r);
    blanks(&r);
    *ops = r.ops;
    return !r.bad && r.at == r.end && fabs(*value) <= MOST; /* a NaN is not */
}

bool moa_calc(double *value, const char *s, size_t n) {
    int ops;
    return work_out(value, &ops, s, n);
}

/* ---- equations in a text ---- */

static bool letter(char c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; }
static bool in_word(char c) { return digit(c) || letter(c); }
static bool blank(char c) { return c == ' ' || c == '\t'; }

static const char *back_over_blanks(const char *p, const char *text) {
    while (p > text && blank(p[-1])) p--;
    return p;
}

static const char *over_blanks(const char *p, const char *end) {
    while (p < end && blank(*p)) p++;
    return p;
}

static bool operator_before(const char *p, const char *text) {
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        const size_t n = strlen(signs[i].text);
        if ((size_t)(p - text) >= n && !memcmp(p - n, signs[i].text, n)) return true;
    }
    return false;
}

static bool line_begins(const char *p, const char *text) { return p == text || p[-1] == '\n' || p[-1] == '\r'; }

/* May an expression begin at p? Not behind an operation whose left side cannot be read ("x - 3 + 5"); the mark of a list and that of bold text are none. */
static bool begins(const char *p, const char *text) {
    const char *q = back_over_blanks(p, text);
    if (p > text && (in_word(p[-1]) || strchr(":._)", p[-1]) || (unsigned char)p[-1] >= 0x80)) return false;
    if (p > text + 1 && p[-1] == ',' && digit(p[-2])) return false;
    if (*p == '-' && (blank(p[1]) || (q > text && (in_word(q[-1]) || q[-1] == ')')))) return false;
    if (!operator_before(q, text)) return true;
    const char *mark = q - 1;
    if (q < p && strchr("-*+", *mark)) return line_begins(back_over_blanks(mark, text), text);
    if (*mark != '*') return false;
    if (mark > text && mark[-1] == '*') mark--;
    mark = back_over_blanks(mark, text);
    return mark == text || !(in_word(mark[-1]) || mark[-1] == ')');
}

/* Words behind a number with which it is another one. */
static bool scales(const char *p, const char *end) {
    static const char *const word[] = {"percent", "dozen", "hundred", "thousand", "million", "billion", "trillion", "remainder"}, *const between[] = {"with ", "a ", "and "};
    for (size_t i = 0; i < sizeof between / sizeof *between; i++) {
        const size_t n = strlen(between[i]);
        while (p < end && (blank(*p) || *p == ',')) p++;
        if ((size_t)(end - p) >= n && !memcmp(p, between[i], n)) p += n;
    }
    for (size_t i = 0; i < sizeof word / sizeof *word; i++)
        if ((size_t)(end - p) >= strlen(word[i]) && !memcmp(p, word[i], strlen(word[i]))) return true;
    if (p == end || (*p | 32) != 'r') return false;
    p = over_blanks(p + 1, end);
    return p < end && digit(*p);
}

/* Is the number that ends at p all of the right side? Not in "1/2", "3 1/2", "15%", "10 - x", "3 remainder 1". */
static bool ends(const char *p, const char *end) {
    const char *q = over_blanks(p, end);
    size_t len;
    if (p < end && *p && (in_word(*p) || strchr(":_", *p))) return false;
    const char op = operator_at(q, end, &len);
    if (op == '%') return false;
    if (op) {
        const char *next = over_blanks(q + len, end);
        if (next == end) return true;
        if (letter(*next)) return next > q + len && next + 1 < end && letter(next[1]); /* a dash and a word, not a name */
        return !digit(*next) && !strchr("($", *next);
    }
    if (q < end && *q == '(') return q > p; /* "2(3)" */
    if (q > p && q < end && digit(*q)) {
        while (q < end && digit(*q)) q++;
        return q == end || *q != '/';
    }
    return !scales(q, end);
}

/* May p belong to the expression that ends before an equals sign? */
static bool belongs(const char *p, const char *end) {
    size_t len;
    if (digit(*p) || strchr(" .,()", *p)) return *p != 0;
    if (operator_at(p, end, &len)) return true;
    return (unsigned char)*p >= 0x80 && (unsigned char)*p < 0xC0; /* the rest of a sign; where it is none, nothing parses */
}

/* The longest expression with an operation that ends at `end`; NULL: none. Not from within a number, a name or a time. */
static const char *expression(double *v, const char *text, const char *end) {
    const char *low = end;
    while (low > text && end - low < MOA_CALC_EXPR_MAX && belongs(low - 1, end)) low--;
    while (low > text && (unsigned char)*low >= 0x80 && (unsigned char)*low < 0xC0) low++;
    for (const char *p = low; p < end; p++) {
        int ops;
        if (!digit(*p) && *p != '(' && *p != '-') continue;
        if (!begins(p, text)) continue;
        if (work_out(v, &ops, p, (size_t)(end - p)) && ops > 0) return p;
    }
    return NULL;
}

static bool equation(moa_equation *e, const char *text, const char *equals, const char *end) {
    int decimals;
    const char *p = equals + 1, *from;
    if (equals > text && strchr("=<>!", equals[-1])) return false;
    if (!(e->expr = expression(&e->value, text, equals))) return false;
    while (p < end && *p == ' ') p++;
    from = p;
    size_t len;
    const bool minus = operator_at(p, end, &len) == '-';
    if (minus) p += len;
    const char *to = number(&e->said, &decimals, p, end);
    if (to == p || e->said > MOST || !ends(to, end)) return false;
    if (minus) e->said = -e->said;
    e->n_expr = (size_t)(equals - e->expr);
    while (e->n_expr && e->expr[e->n_expr - 1] == ' ') e->n_expr--;
    e->result = from, e->n_result = (size_t)(to - from);
    e->right = fabs(e->value - e->said) <= 0.5 * pow(10, -decimals) * (decimals ? 1.0000001 : 0) + 1e-9 * fabs(e->value);
    return true;
}

bool moa_calc_wrong(moa_equation *out, const char *text, size_t n) {
    const char *end = text + n;
    for (const char *p = text; p < end && (p = memchr(p, '=', (size_t)(end - p))); p++)
        if (equation(out, text, p, end) && !out->right) return true;
    return false;
}

int moa_calc_find(moa_equation *out, int most, const char *text, size_t n) {
    const char *end = text + n;
    int k = 0;
    for (const char *p = text; k < most && p < end && (p = memchr(p, '=', (size_t)(end - p))); p++) k += equation(&out[k], text, p, end);
    return k;
}
