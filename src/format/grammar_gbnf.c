/* grammar_gbnf.c - GBNF text -> rules.
 *
 *     grammar  = { name "::=" choice newline }          the rule "root" is where it begins
 *     choice   = sequence { "|" sequence }
 *     sequence = { item [ "?" | "*" | "+" | "{m}" | "{m,}" | "{,n}" | "{m,n}" ] }
 *     item     = "literal" | [class] | [^class] | . | name | ( choice )
 *
 * Escapes in literals and classes: \n \r \t \\ \" \' \[ \] \- \^ \. and \xHH \uHHHH \UHHHHHHHH, which are code points. A rule
 * ends with its line, except inside parentheses and after "::=" or "|"; a line that begins with "|" goes on too. "#" begins a
 * comment. Text is UTF-8; characters are code points. A postfix applies to the whole item before it, a literal as a whole.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "base/utf8.h"
#include "format/grammar_impl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NEST = 100, MAX_COUNT = 1000000 };

typedef struct reader {
    const char *name, *text, *at, *end;
    moa_rules *r;
    moa_err *err;
    uint32_t *stack; /* expressions of open sequences and choices */
    size_t n_stack, cap_stack;
    int nest;
} reader;

static void place(const reader *p, const char *at, uint32_t *line, uint32_t *column) {
    const char *start = p->text;
    *line = 1;
    for (const char *c = p->text; c < at; c++)
        if (*c == '\n') ++*line, start = c + 1;
    *column = (uint32_t)moa_utf8_count(start, (size_t)(at - start)) + 1;
}

static int fail(const reader *p, const char *at, int code, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static int fail(const reader *p, const char *at, int code, const char *fmt, ...) {
    char what[400];
    uint32_t line, column;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    place(p, at, &line, &column);
    return moa_fail(p->err, code, "%s:%u:%u: %s", p->name, line, column, what);
}

static bool is_name(int c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_'; }

/* White space and comments; newlines only where the rule cannot end. */
static void skip(reader *p, bool newlines) {
    for (; p->at < p->end; p->at++) {
        if (*p->at == '#') {
            while (p->at < p->end && *p->at != '\n' && *p->at != '\r') p->at++;
            if (p->at == p->end) return;
        }
        if (*p->at == ' ' || *p->at == '\t') continue;
        if (newlines && (*p->at == '\n' || *p->at == '\r')) continue;
        return;
    }
}

/* Between rules' parts a newline ends the rule, unless the next line begins with "|". */
static void skip_in_rule(reader *p) {
    skip(p, p->nest > 0);
    const char *here = p->at;
    skip(p, true);
    if (p->at == p->end || *p->at != '|') p->at = here;
}

static int push(reader *p, uint32_t x) {
    if (p->n_stack == p->cap_stack) {
        const size_t cap = p->cap_stack ? p->cap_stack * 2 : 256;
        uint32_t *v = realloc(p->stack, cap * sizeof *v);
        if (!v) return moa_fail(p->err, MOA_ENOMEM, "grammar: no memory to read it");
        p->stack = v, p->cap_stack = cap;
    }
    p->stack[p->n_stack++] = x;
    return 0;
}

/* ---- characters ---- */

static int hex(reader *p, uint32_t *cp, int digits, const char *from) {
    *cp = 0;
    for (int i = 0; i < digits; i++, p->at++) {
        const int c = p->at < p->end ? *p->at : 0;
        const int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (v < 0) return fail(p, from, MOA_EFORMAT, "escape \\%c: expected %d hexadecimal digits", from[1], digits);
        *cp = *cp << 4 | (uint32_t)v;
    }
    if (*cp > 0x10FFFF || (*cp >= 0xD800 && *cp <= 0xDFFF))
        return fail(p, from, MOA_EFORMAT, "escape of U+%04X, which is no character", *cp);
    return 0;
}

/* One character of a literal or a class, escaped or not. */
static int character(reader *p, uint32_t *cp) {
    const char *from = p->at;
    const size_t left = (size_t)(p->end - p->at);
    if (*from != '\\') {
        const int n = moa_utf8_next(cp, from, left);
        if (*cp == MOA_UTF8_BAD && n == 1) return fail(p, from, MOA_EFORMAT, "byte 0x%02x is not UTF-8", (unsigned char)*from);
        p->at += n;
        return 0;
    }
    if (left < 2) return fail(p, from, MOA_EFORMAT, "the text ends inside an escape");
    p->at += 2;
    switch (from[1]) {
    case 'n': *cp = '\n'; return 0;
    case 'r': *cp = '\r'; return 0;
    case 't': *cp = '\t'; return 0;
    case 'x': return hex(p, cp, 2, from);
    case 'u': return hex(p, cp, 4, from);
    case 'U': return hex(p, cp, 8, from);
    }
    if (!strchr("\\\"'[]-^.", from[1]) || !from[1])
        return fail(p, from, MOA_EFORMAT, "unknown escape '\\%.1s'; there are \\n \\r \\t \\\\ \\\" \\' \\[ \\] \\- \\^ \\. \\xHH \\uHHHH \\UHHHHHHHH",
                    (unsigned char)from[1] < 0x80 ? from + 1 : "?");
    *cp = (uint32_t)(unsigned char)from[1];
    return 0;
}

static int literal(reader *p, uint32_t *x) {
    const char *from = p->at++;
    moa_buf b;
    moa_buf_init(&b, MOA_GRAMMAR_TEXT);
    int rc = 0;
    while (rc >= 0 && p->at < p->end && *p->at != '"') {
        uint32_t cp;
        if ((rc = character(p, &cp)) >= 0) rc = moa_utf8_add(&b, cp);
    }
    if (rc >= 0 && p->at == p->end) rc = fail(p, from, MOA_EFORMAT, "this literal has no closing '\"'");
    p->at++;
    if (rc >= 0) *x = moa_rx_text(p->r, moa_buf_str(&b), b.len);
    moa_buf_deinit(&b);
    return rc;
}

typedef struct spans { moa_span *v; uint32_t n, cap; } spans;

static int add_span(reader *p, spans *s, moa_span v) {
    if (s->n == s->cap) {
        const uint32_t cap = s->cap ? s->cap * 2 : 32;
        moa_span *grown = realloc(s->v, cap * sizeof *grown);
        if (!grown) return moa_fail(p->err, MOA_ENOMEM, "grammar: no memory for a class");
        s->v = grown, s->cap = cap;
    }
    s->v[s->n++] = v;
    return 0;
}

static int class_parts(reader *p, spans *s, const char *from) {
    while (p->at < p->end && *p->at != ']') {
        const char *start = p->at;
        moa_span v;
        MOA_TRY(character(p, &v.lo));
        v.hi = v.lo;
        if (p->end - p->at >= 2 && p->at[0] == '-' && p->at[1] != ']') {
            p->at++;
            MOA_TRY(character(p, &v.hi));
            if (v.hi < v.lo) return fail(p, start, MOA_EFORMAT, "a range from U+%04X down to U+%04X", v.lo, v.hi);
        }
        MOA_TRY(add_span(p, s, v));
    }
    if (p->at == p->end) return fail(p, from, MOA_EFORMAT, "this class has no closing ']'");
    p->at++;
    return 0;
}

static int class_of(reader *p, uint32_t *x) {
    const char *from = p->at++;
    const bool negated = p->at < p->end && *p->at == '^';
    p->at += negated;
    spans s = {0};
    int rc = class_parts(p, &s, from);
    if (rc >= 0 && !s.n && !negated) rc = fail(p, from, MOA_EFORMAT, "an empty class: no character is in it");
    if (rc >= 0) *x = moa_rx_class(p->r, s.v, s.n, negated);
    free(s.v);
    return rc;
}

/* ---- items ---- */

static int choice(reader *p, uint32_t *x);

static int number(reader *p, uint32_t *out, uint32_t dflt) {
    *out = dflt;
    if (p->at == p->end || *p->at < '0' || *p->at > '9') return 0;
    const char *from = p->at;
    uint32_t v = 0;
    for (; p->at < p->end && *p->at >= '0' && *p->at <= '9'; p->at++) {
        v = v * 10 + (uint32_t)(*p->at - '0');
        if (v > MAX_COUNT) return fail(p, from, MOA_ELIMIT, "repeated more than %d times", MAX_COUNT);
    }
    *out = v;
    return 0;
}

static int braces(reader *p, uint32_t *min, uint32_t *max) {
    const char *from = p->at++;
    skip(p, true);
    const char *first = p->at;
    MOA_TRY(number(p, min, 0));
    bool given = p->at > first;
    *max = *min;
    skip(p, true);
    if (p->at < p->end && *p->at == ',') {
        p->at++;
        skip(p, true);
        const char *second = p->at;
        MOA_TRY(number(p, max, UINT32_MAX));
        given |= p->at > second;
        skip(p, true);
    }
    if (!given || p->at == p->end || *p->at != '}')
        return fail(p, from, MOA_EFORMAT, "expected {m}, {m,}, {,n} or {m,n}");
    p->at++;
    if (*max < *min) return fail(p, from, MOA_EFORMAT, "{%u,%u}: the second number is smaller than the first", *min, *max);
    return 0;
}

static int postfixes(reader *p, uint32_t *x) {
    for (;;) {
        skip_in_rule(p);
        uint32_t min = 0, max = UINT32_MAX;
        const char c = p->at < p->end ? *p->at : 0;
        if (c == '{') {
            MOA_TRY(braces(p, &min, &max));
        } else if (c == '?' || c == '*' || c == '+') {
            min = c == '+';
            max = c == '?' ? 1 : UINT32_MAX;
            p->at++;
        } else {
            return 0;
        }
        *x = moa_rx_repeat(p->r, *x, min, max);
    }
}

static int group(reader *p, uint32_t *x) {
    const char *from = p->at++;
    if (++p->nest > MAX_NEST) return fail(p, from, MOA_ELIMIT, "more than %d nested parentheses", MAX_NEST);
    MOA_TRY(choice(p, x));
    skip(p, true);
    if (p->at == p->end) return fail(p, from, MOA_EFORMAT, "this '(' is never closed");
    if (*p->at != ')') return fail(p, p->at, MOA_EFORMAT, "expected ')' or another part of the rule");
    p->at++;
    p->nest--;
    return 0;
}

static uint32_t reference(reader *p) {
    const char *from = p->at;
    while (p->at < p->end && is_name(*p->at)) p->at++;
    const uint32_t rule = moa_rules_name(p->r, from, (size_t)(p->at - from));
    if (!p->r->failed && !p->r->rule[rule].seen) p->r->rule[rule].seen = (uint32_t)(from - p->text) + 1;
    return moa_rx_call(p->r, rule);
}

/* 1: an item; 0: none here. */
static int item(reader *p, uint32_t *x) {
    if (p->at == p->end) return 0;
    const char c = *p->at;
    int rc;
    if (c == '"') rc = literal(p, x);
    else if (c == '[') rc = class_of(p, x);
    else if (c == '(') rc = group(p, x);
    else if (c == '.') p->at++, *x = moa_rx_class(p->r, NULL, 0, true), rc = 0;
    else if (is_name(c)) *x = reference(p), rc = 0;
    else return 0;
    return rc < 0 ? rc : 1;
}

static int sequence(reader *p, uint32_t *x) {
    const size_t base = p->n_stack;
    for (;;) {
        uint32_t y = 0;
        skip_in_rule(p);
        const int rc = item(p, &y);
        if (rc < 0) return rc;
        if (rc == 0) break;
        MOA_TRY(postfixes(p, &y));
        MOA_TRY(push(p, y));
    }
    const uint32_t n = (uint32_t)(p->n_stack - base);
    *x = moa_rx_seq(p->r, n ? p->stack + base : NULL, n); /* nothing was ever pushed: there is no stack */
    p->n_stack = base;
    return 0;
}

static int choice(reader *p, uint32_t *x) {
    const size_t base = p->n_stack;
    for (;;) {
        uint32_t y = 0;
        skip(p, true);
        MOA_TRY(sequence(p, &y));
        MOA_TRY(push(p, y));
        skip_in_rule(p);
        if (p->at == p->end || *p->at != '|') break;
        p->at++;
    }
    *x = moa_rx_alt(p->r, p->stack + base, (uint32_t)(p->n_stack - base));
    p->n_stack = base;
    return 0;
}

/* ---- rules ---- */

static int rule(reader *p) {
    const char *from = p->at;
    while (p->at < p->end && is_name(*p->at)) p->at++;
    const size_t n = (size_t)(p->at - from);
    if (!n) return fail(p, from, MOA_EFORMAT, "expected the name of a rule (letters, digits, '-', '_')");
    const uint32_t id = moa_rules_name(p->r, from, n);
    MOA_TRY(moa_rules_check(p->r, p->err));
    if (p->r->rule[id].defined) return fail(p, from, MOA_EFORMAT, "rule '%.*s' is defined twice", (int)(n < 80 ? n : 80), from);
    skip(p, false);
    if (p->end - p->at < 3 || memcmp(p->at, "::=", 3)) return fail(p, p->at, MOA_EFORMAT, "expected '::=' after the rule's name");
    p->at += 3;
    uint32_t x = 0;
    p->nest = 0;
    MOA_TRY(choice(p, &x));
    skip(p, false);
    if (p->at < p->end && *p->at != '\n' && *p->at != '\r') {
        if (*p->at == '<' || *p->at == '!') return fail(p, p->at, MOA_EUNSUPPORTED, "tokens by name or number are not supported: a grammar here is about text");
        return fail(p, p->at, MOA_EFORMAT, "expected a literal, a class, a rule, '(' or the end of the line");
    }
    moa_rules_define(p->r, id, x);
    return moa_rules_check(p->r, p->err);
}

static int read_rules(reader *p) {
    for (skip(p, true); p->at < p->end; skip(p, true)) MOA_TRY(rule(p));
    for (uint32_t i = 0; i < p->r->n_rule; i++)
        if (!p->r->rule[i].defined)
            return fail(p, p->text + p->r->rule[i].seen - 1, MOA_EFORMAT, "rule '%.80s' is not defined", p->r->rule[i].name);
    return 0;
}

int moa_grammar_parse(moa_grammar **out, const char *text, size_t n, const char *name, moa_err *err) {
    *out = NULL;
    if (n > MOA_GRAMMAR_TEXT) return moa_fail(err, MOA_ELIMIT, "%s: %zu bytes of grammar, at most %d are allowed", name, n, MOA_GRAMMAR_TEXT);
    moa_rules r;
    reader p = {.name = name, .text = text, .at = text, .end = text + n, .r = &r, .err = err};
    int rc = moa_rules_init(&r, err);
    if (rc >= 0) rc = read_rules(&p);
    if (rc >= 0) {
        const uint32_t n_rule = r.n_rule, root = moa_rules_name(&r, "root", 4);
        rc = moa_rules_check(&r, err);
        if (rc >= 0 && root == n_rule) {
            rc = moa_fail(err, MOA_EFORMAT, "%s: no rule 'root': that is where a grammar begins", name);
            moa_hint(err, rc, n_rule ? "name the rule of whole replies root" : "a rule looks like: root ::= \"yes\" | \"no\"");
        }
        if (rc >= 0 && (rc = moa_grammar_compile(out, &r, root, moa_hash64(text, n, 1), err)) < 0) moa_wrap(err, rc, "%s", name);
    }
    moa_rules_deinit(&r);
    free(p.stack);
    return rc;
}
