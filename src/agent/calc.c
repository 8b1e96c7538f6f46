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
    char op;
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
    if (take(r, "-", &op)) {
        r->ops--;
        r->depth++;
        v = -primary(r);
        r->depth--;
        return v;
    }
    const char *to = number(&v, &decimals, r->at, r->end);
    if (to == r->at) r->bad = true;
    r->at = to;
    return v;
}

static double power(reader *r) { /* binds to the right */
    const double base = primary(r);
    char op;
    if (r->bad || !take(r, "^", &op)) return base;
    if (++r->depth > MOA_CALC_DEPTH_MAX) return r->bad = true, 0;
    const double e = power(r);
    r->depth--;
    return pow(base, e);
}

static double product(reader *r) {
    double v = power(r);
    char op;
    while (!r->bad && take(r, "*/%", &op)) {
        const double w = power(r);
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

static bool in_word(char c) { return digit(c) || ((c | 32) >= 'a' && (c | 32) <= 'z'); }

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
        if (p > text && (in_word(p[-1]) || strchr(":._", p[-1]) || (unsigned char)p[-1] >= 0x80)) continue;
        if (p > text && p[-1] == ',' && p > text + 1 && digit(p[-2])) continue;
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
    if (to == p || e->said > MOST || (to < end && (in_word(*to) || strchr(":_", *to)) && *to)) return false;
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
