/* minipy.c - see minipy.h. Evaluates the text directly, line by line, with recursive descent: programs have a few
 * lines and run once, so a syntax tree would only be thrown away. A value is 0-terminated text or numbers in fixed
 * room, so there is no heap.
 *
 * The trace shows what a reader would write down: each operation with the values put in for the names, each assignment,
 * each test with its outcome, each turn of a for loop. "3+4=7, y=7" rather than "y=3+4=7": a later look for the value of
 * y finds it right behind its name, wherever it stands, which is the easiest of all looks for a small transformer.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "task/minipy.h"

#include <string.h>

enum { MAX_LINE = 64, MAX_NAME = 12, MAX_VAR = 16, MAX_ITEM = 12, MAX_STR = 48, MAX_STEP = 400, MAX_DEPTH = 16, MAX_INT = 1000000000 };

typedef enum kind { INT, BOOL, STR, LIST } kind;
typedef struct scalar { kind kind; long long i; char s[MAX_STR]; } scalar;
typedef struct value { kind kind; scalar one; int n; scalar item[MAX_ITEM]; } value;

typedef struct py {
    struct { const char *p; int len, indent; } line[MAX_LINE];
    int n_line, at, steps, depth;
    struct { char name[MAX_NAME]; value v; } var[MAX_VAR];
    int n_var;
    const char *s, *end; /* cursor in the line at hand */
    moa_buf *out;
    const moa_py_trace *trace;
    moa_buf shown;       /* the expression at hand with values for names and for what was computed */
    bool compared;       /* a comparison is in it */
    bool first_entry;
    moa_err *err;
    int rc;
} py;

static int bad(py *p, int code, const char *what) {
    if (!p->rc) p->rc = moa_fail(p->err, code, "program, line %d: %s", p->at + 1, what);
    return p->rc;
}

/* ---- reading the line at hand ------------------------------------------------------------------- */

static bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
static bool digit(char c) { return c >= '0' && c <= '9'; }

static void skip(py *p) {
    while (p->s < p->end && *p->s == ' ') p->s++;
}

static bool take(py *p, const char *word) {
    skip(p);
    size_t n = strlen(word);
    if ((size_t)(p->end - p->s) < n || memcmp(p->s, word, n) != 0) return false;
    if (letter(word[n - 1]) && p->s + n < p->end && (letter(p->s[n]) || digit(p->s[n]))) return false;
    p->s += n;
    return true;
}

static int need(py *p, const char *word) { return take(p, word) ? 0 : bad(p, MOA_EFORMAT, word); }

static bool read_name(py *p, char *name) {
    skip(p);
    int n = 0;
    const char *q = p->s;
    if (q == p->end || !letter(*q)) return false;
    while (q < p->end && (letter(*q) || digit(*q)) && n < MAX_NAME - 1) name[n++] = *q++;
    if (q < p->end && (letter(*q) || digit(*q))) return false;
    name[n] = 0;
    p->s = q;
    return true;
}

/* ---- values ------------------------------------------------------------------------------------- */

static value of_int(long long i) { return (value){.kind = INT, .one = {.kind = INT, .i = i}}; }
static value of_bool(bool b) { return (value){.kind = BOOL, .one = {.kind = BOOL, .i = b}}; }

static void write_scalar(moa_buf *b, const scalar *s, bool quoted) {
    if (s->kind == INT) moa_buf_addf(b, "%lld", s->i);
    else if (s->kind == BOOL) moa_buf_adds(b, s->i ? "True" : "False");
    else moa_buf_addf(b, quoted ? "'%s'" : "%s", s->s);
}

static void write_value(moa_buf *b, const value *v, bool quoted) {
    if (v->kind != LIST) {
        write_scalar(b, &v->one, quoted);
        return;
    }
    moa_buf_adds(b, "[");
    for (int i = 0; i < v->n; i++) {
        if (i) moa_buf_adds(b, ", ");
        write_scalar(b, &v->item[i], true);
    }
    moa_buf_adds(b, "]");
}

static bool truth(const value *v) { return v->kind == STR ? v->one.s[0] != 0 : v->kind == LIST ? v->n > 0 : v->one.i != 0; }
static bool numeric(const value *v) { return v->kind == INT || v->kind == BOOL; }

static value *find(py *p, const char *name) {
    for (int i = 0; i < p->n_var; i++)
        if (strcmp(p->var[i].name, name) == 0) return &p->var[i].v;
    return NULL;
}

static value *set(py *p, const char *name, const value *v) {
    value *slot = find(p, name);
    if (!slot) {
        if (p->n_var == MAX_VAR) return bad(p, MOA_ELIMIT, "too many names"), NULL;
        memcpy(p->var[p->n_var].name, name, MAX_NAME);
        slot = &p->var[p->n_var++].v;
    }
    *slot = *v;
    return slot;
}

/* ---- expressions: each function parses, computes and writes what it saw into p->shown ------------- */

static value expression(py *p);

static value arith(py *p, value a, char op, const value *b) {
    if (a.kind == LIST && b->kind == LIST && op == '+') {
        if (a.n + b->n > MAX_ITEM) return bad(p, MOA_ELIMIT, "a list is too long"), a;
        for (int i = 0; i < b->n; i++) a.item[a.n++] = b->item[i];
        return a;
    }
    if (a.kind == STR && b->kind == STR && op == '+') {
        size_t n = strlen(a.one.s), m = strlen(b->one.s);
        if (n + m >= MAX_STR) return bad(p, MOA_ELIMIT, "a string is too long"), a;
        memcpy(a.one.s + n, b->one.s, m + 1);
        return a;
    }
    if (a.kind == STR && numeric(b) && op == '*') {
        size_t n = strlen(a.one.s), w = 0;
        scalar s = {.kind = STR};
        for (long long i = 0; i < b->one.i && n; i++, w += n) {
            if (w + n >= MAX_STR) return bad(p, MOA_ELIMIT, "a string is too long"), a;
            memcpy(s.s + w, a.one.s, n);
        }
        a.one = s;
        return a;
    }
    if (!numeric(&a) || !numeric(b)) return bad(p, MOA_EFORMAT, "these two cannot be combined"), a;
    long long x = a.one.i, y = b->one.i, v = 0;
    if ((op == '/' || op == '%') && y == 0) return bad(p, MOA_EFORMAT, "division by zero"), a;
    if (op == '+') v = x + y;
    else if (op == '-') v = x - y;
    else if (op == '*') v = x * y;
    else {
        long long q = x / y - (x % y != 0 && (x < 0) != (y < 0)); /* Python rounds down */
        v = op == '/' ? q : x - q * y;
    }
    if (v > MAX_INT || v < -MAX_INT) return bad(p, MOA_ELIMIT, "a number is too large"), a;
    return of_int(v);
}

static value list(py *p) {
    value v = {.kind = LIST};
    while (!p->rc && !take(p, "]")) {
        value x = expression(p);
        if (x.kind == LIST) return bad(p, MOA_EUNSUPPORTED, "a list inside a list"), v;
        if (v.n == MAX_ITEM) return bad(p, MOA_ELIMIT, "a list is too long"), v;
        v.item[v.n++] = x.one;
        if (!take(p, ",") && !(skip(p), p->s < p->end && *p->s == ']')) return bad(p, MOA_EFORMAT, "expected ] or ,"), v;
    }
    return v;
}

static value string(py *p) {
    value v = {.kind = STR, .one = {.kind = STR}};
    char quote = *p->s++;
    size_t n = 0;
    while (p->s < p->end && *p->s != quote && n < MAX_STR - 1) v.one.s[n++] = *p->s++;
    if (p->s == p->end || *p->s != quote) bad(p, MOA_EFORMAT, "a string without end");
    else p->s++;
    return v;
}

static value call_len(py *p) {
    value v = expression(p);
    need(p, ")");
    if (v.kind != LIST && v.kind != STR) bad(p, MOA_EFORMAT, "len() of a number");
    return of_int(v.kind == LIST ? v.n : (long long)strlen(v.one.s));
}

static value call_range(py *p) {
    value a = of_int(0), b = expression(p), v = {.kind = LIST};
    if (take(p, ",")) a = b, b = expression(p);
    need(p, ")");
    if (!numeric(&a) || !numeric(&b)) bad(p, MOA_EFORMAT, "range() of no number");
    for (long long i = a.one.i; i < b.one.i && !p->rc; i++) {
        if (v.n == MAX_ITEM) bad(p, MOA_ELIMIT, "range() is too long");
        else v.item[v.n++] = (scalar){.kind = INT, .i = i};
    }
    return v;
}

static value index_of(py *p, const value *v) {
    value i = expression(p);
    need(p, "]");
    int n = v->kind == LIST ? v->n : v->kind == STR ? (int)strlen(v->one.s) : 0;
    long long k = i.one.i < 0 ? i.one.i + n : i.one.i;
    if (!numeric(&i) || k < 0 || k >= n) return bad(p, MOA_EFORMAT, "index out of range"), i;
    if (v->kind == STR) return (value){.kind = STR, .one = {.kind = STR, .s = {v->one.s[k]}}};
    return (value){.kind = v->item[k].kind, .one = v->item[k]};
}

/* A part that shows as its value: what was written since `from` is taken back. */
static value shown_as_value(py *p, size_t from, value v) {
    p->shown.len = from;
    write_value(&p->shown, &v, true);
    return v;
}

/* A new entry of the trace begins. NULL: there is none. */
static moa_buf *entry(py *p) {
    if (!p->trace || !p->trace->out) return NULL;
    if (!p->first_entry) moa_buf_adds(p->trace->out, p->trace->between);
    p->first_entry = false;
    return p->trace->out;
}

/* "3+4=7"; the operation then shows as its value. */
static value compute(py *p, size_t from, value a, char op, const value *b) {
    value v = arith(p, a, op, b);
    moa_buf *out = p->rc ? NULL : entry(p);
    if (out) {
        write_value(out, &a, true);
        moa_buf_addf(out, "%s", op == '/' ? "//" : (char[]){op, 0});
        write_value(out, b, true);
        moa_buf_adds(out, "=");
        write_value(out, &v, true);
    }
    return shown_as_value(p, from, v);
}

static value atom(py *p) {
    char name[MAX_NAME];
    const size_t from = p->shown.len;
    skip(p);
    if (p->s == p->end) return bad(p, MOA_EFORMAT, "something is missing at the end"), of_int(0);
    if (digit(*p->s)) {
        long long i = 0;
        while (p->s < p->end && digit(*p->s) && i <= MAX_INT) i = i * 10 + (*p->s++ - '0');
        if (i > MAX_INT) bad(p, MOA_ELIMIT, "a number is too large");
        return shown_as_value(p, from, of_int(i));
    }
    if (*p->s == '"' || *p->s == '\'') return shown_as_value(p, from, string(p));
    if (take(p, "[")) return shown_as_value(p, from, list(p));
    if (take(p, "(")) {
        value v = expression(p);
        need(p, ")");
        return shown_as_value(p, from, v);
    }
    if (take(p, "True")) return shown_as_value(p, from, of_bool(true));
    if (take(p, "False")) return shown_as_value(p, from, of_bool(false));
    if (take(p, "len(")) return shown_as_value(p, from, call_len(p));
    if (take(p, "range(")) return shown_as_value(p, from, call_range(p));
    if (!read_name(p, name)) return bad(p, MOA_EFORMAT, "expected a value"), of_int(0);
    value *v = find(p, name);
    if (!v) return bad(p, MOA_EFORMAT, "a name without a value"), of_int(0);
    return shown_as_value(p, from, *v);
}

static value postfix(py *p) {
    const size_t from = p->shown.len;
    value v = atom(p);
    while (!p->rc && take(p, "[")) v = shown_as_value(p, from, index_of(p, &v));
    return v;
}

static value unary(py *p) {
    if (++p->depth > MAX_DEPTH) return bad(p, MOA_ELIMIT, "nested too deep"), of_int(0);
    const size_t from = p->shown.len;
    value v;
    if (take(p, "-")) {
        v = unary(p);
        value zero = of_int(0);
        v = shown_as_value(p, from, arith(p, zero, '-', &v));
    } else {
        v = postfix(p);
    }
    p->depth--;
    return v;
}

static char operator(py *p, int strength) {
    if (strength == 2) return take(p, "*") ? '*' : take(p, "//") ? '/' : take(p, "%") ? '%' : 0;
    return take(p, "+") ? '+' : take(p, "-") ? '-' : 0;
}

static value binary(py *p, int strength) {
    const size_t from = p->shown.len;
    value a = strength == 2 ? unary(p) : binary(p, 2);
    for (char op; !p->rc && (op = operator(p, strength));) {
        value b = strength == 2 ? unary(p) : binary(p, 2);
        if (!p->rc) a = compute(p, from, a, op, &b);
    }
    return a;
}

static value comparison(py *p) {
    static const char *const sign[] = {"==", "!=", "<=", ">=", "<", ">"};
    value a = binary(p, 1);
    for (int k = 0; k < 6 && !p->rc; k++) {
        if (!take(p, sign[k])) continue;
        moa_buf_adds(&p->shown, sign[k]);
        value b = binary(p, 1);
        if (p->rc) return a;
        p->compared = true;
        int c = 0;
        if (numeric(&a) && numeric(&b)) c = (a.one.i > b.one.i) - (a.one.i < b.one.i);
        else if (a.kind == STR && b.kind == STR) c = strcmp(a.one.s, b.one.s);
        else return bad(p, MOA_EFORMAT, "these two cannot be compared"), a;
        return of_bool(k == 0 ? c == 0 : k == 1 ? c != 0 : k == 2 ? c <= 0 : k == 3 ? c >= 0 : k == 4 ? c < 0 : c > 0);
    }
    return a;
}

static value expression(py *p) {
    if (++p->depth > MAX_DEPTH) return bad(p, MOA_ELIMIT, "nested too deep"), of_int(0);
    value a = comparison(p);
    for (; !p->rc;) {
        bool both = take(p, "and");
        if (!both && !take(p, "or")) break;
        moa_buf_adds(&p->shown, both ? " and " : " or ");
        value b = comparison(p);
        a = of_bool(both ? truth(&a) && truth(&b) : truth(&a) || truth(&b));
    }
    p->depth--;
    return a;
}

static value whole_expression(py *p) {
    moa_buf_clear(&p->shown);
    p->compared = false;
    return expression(p);
}

static void note_test(py *p, bool yes) {
    moa_buf *b = entry(p);
    if (b) moa_buf_addf(b, "%s is %s", moa_buf_str(&p->shown), yes ? "true" : "false");
}

/* The right side of an assignment or what is printed: a comparison is noted as a test. */
static value whole_value(py *p) {
    value v = whole_expression(p);
    if (!p->rc && p->compared) note_test(p, truth(&v));
    return v;
}

/* ---- statements --------------------------------------------------------------------------------- */

static void note_value(py *p, const char *name, const value *v) {
    moa_buf *b = entry(p);
    if (!b) return;
    moa_buf_addf(b, "%s=", name);
    write_value(b, v, true);
}

static void block(py *p, int indent, bool run);

static void print(py *p) {
    moa_buf line;
    moa_buf_init(&line, 4096);
    for (int k = 0; !p->rc && !take(p, ")"); k++) {
        if (k && need(p, ",")) break;
        value v = whole_value(p);
        if (p->rc) break;
        if (k) moa_buf_adds(&line, " ");
        write_value(&line, &v, false);
    }
    moa_buf_adds(p->out, moa_buf_str(&line));
    moa_buf_adds(p->out, "\n");
    moa_buf_deinit(&line);
}

static void append(py *p, const char *name) {
    value *list_value = find(p, name), v = whole_value(p);
    if (p->rc || need(p, ")")) return;
    if (!list_value || list_value->kind != LIST || v.kind == LIST) bad(p, MOA_EFORMAT, "append() of this is not possible");
    else if (list_value->n == MAX_ITEM) bad(p, MOA_ELIMIT, "a list is too long");
    else {
        list_value->item[list_value->n++] = v.one;
        note_value(p, name, list_value);
    }
}

static void assign(py *p) {
    char name[MAX_NAME];
    static const char *const sign[] = {"+=", "-=", "*=", "="};
    if (!read_name(p, name)) {
        bad(p, MOA_EFORMAT, "expected a statement");
        return;
    }
    if (take(p, ".append(")) {
        append(p, name);
        return;
    }
    for (int k = 0; k < 4; k++) {
        if (!take(p, sign[k])) continue;
        value v = whole_value(p), *old = k < 3 ? find(p, name) : NULL;
        if (!p->rc && k < 3 && !old) bad(p, MOA_EFORMAT, "a name without a value");
        if (p->rc) return;
        if (old) v = compute(p, 0, *old, sign[k][0], &v);
        if (p->rc || !set(p, name, &v)) return;
        note_value(p, name, &v);
        return;
    }
    bad(p, MOA_EFORMAT, "expected =");
}

static void open_line(py *p) {
    p->s = p->line[p->at].p;
    p->end = p->s + p->line[p->at].len;
}

static void end_line(py *p) {
    skip(p);
    if (!p->rc && p->s != p->end) bad(p, MOA_EFORMAT, "more than expected");
}

/* The cursor is after the colon: run or skip the indented lines that follow. */
static void body(py *p, int indent, bool run) {
    end_line(p);
    p->at++;
    if (!p->rc && (p->at >= p->n_line || p->line[p->at].indent <= indent)) bad(p, MOA_EFORMAT, "expected an indented line");
    if (!p->rc) block(p, p->line[p->at].indent, run);
}

static void if_chain(py *p, int indent, bool run) {
    for (bool done = false, more = true; more && !p->rc;) {
        value v = of_bool(false);
        if (run && !done) v = whole_expression(p);
        bool yes = run && !done && truth(&v);
        if (run && !done && !p->rc) note_test(p, yes);
        if (!run || done) p->s = p->end;
        else if (need(p, ":")) return;
        body(p, indent, yes);
        done |= yes;
        more = false;
        if (p->rc || p->at >= p->n_line || p->line[p->at].indent != indent) return;
        open_line(p);
        if (take(p, "elif")) {
            more = true;
        } else if (take(p, "else")) {
            if (need(p, ":")) return;
            body(p, indent, run && !done);
        }
    }
}

static void while_loop(py *p, int indent, bool run) {
    const char *cond = p->s;
    int head = p->at;
    for (;;) {
        value v = of_bool(false);
        if (run) v = whole_expression(p);
        if (p->rc) return;
        bool yes = run && truth(&v);
        if (run) note_test(p, yes);
        if (!run) p->s = p->end;
        else if (need(p, ":")) return;
        body(p, indent, yes);
        if (p->rc || !yes) return;
        if (++p->steps > MAX_STEP) {
            bad(p, MOA_ELIMIT, "the loop runs too long");
            return;
        }
        p->at = head;
        open_line(p);
        p->s = cond;
    }
}

static void for_loop(py *p, int indent, bool run) {
    char name[MAX_NAME];
    if (!read_name(p, name) || !take(p, "in")) {
        bad(p, MOA_EFORMAT, "expected for NAME in");
        return;
    }
    value over = {.kind = LIST};
    if (run) over = whole_expression(p);
    if (p->rc) return;
    if (over.kind == STR) {
        value text = over;
        over = (value){.kind = LIST};
        for (const char *c = text.one.s; *c && over.n < MAX_ITEM; c++) over.item[over.n++] = (scalar){.kind = STR, .s = {*c}};
    }
    if (over.kind != LIST) {
        bad(p, MOA_EFORMAT, "for needs a list");
        return;
    }
    if (!run) p->s = p->end;
    else if (need(p, ":")) return;
    end_line(p);
    int head = p->at;
    for (int i = 0; i < over.n && !p->rc; i++) {
        value v = {.kind = over.item[i].kind, .one = over.item[i]};
        if (++p->steps > MAX_STEP) bad(p, MOA_ELIMIT, "the loop runs too long");
        if (!set(p, name, &v)) return;
        note_value(p, name, &v);
        p->at = head;
        p->s = p->end;
        body(p, indent, true);
    }
    if (!over.n || !run) body(p, indent, false);
}

static void statement(py *p, int indent, bool run) {
    open_line(p);
    if (take(p, "if")) if_chain(p, indent, run);
    else if (take(p, "while")) while_loop(p, indent, run);
    else if (take(p, "for")) for_loop(p, indent, run);
    else {
        if (run) {
            if (take(p, "print(")) print(p);
            else assign(p);
            end_line(p);
        }
        p->at++;
    }
}

static void block(py *p, int indent, bool run) {
    if (++p->depth > MAX_DEPTH) bad(p, MOA_ELIMIT, "nested too deep");
    while (!p->rc && p->at < p->n_line && p->line[p->at].indent >= indent) {
        if (p->line[p->at].indent > indent) bad(p, MOA_EFORMAT, "unexpected indentation");
        else if (++p->steps > MAX_STEP) bad(p, MOA_ELIMIT, "the program runs too long");
        else statement(p, indent, run);
    }
    p->depth--;
}

static void split_lines(py *p, const char *s) {
    while (*s && !p->rc) {
        int n = (int)strcspn(s, "\n"), indent = 0;
        while (indent < n && s[indent] == ' ') indent++;
        if (indent < n) {
            if (p->n_line == MAX_LINE) bad(p, MOA_ELIMIT, "too many lines");
            else {
                p->line[p->n_line].p = s + indent;
                p->line[p->n_line].len = n - indent;
                p->line[p->n_line++].indent = indent;
            }
        }
        s += n + (s[n] == '\n');
    }
}

int moa_py_run(moa_buf *out, const char *program, const moa_py_trace *trace, int *steps, moa_err *err) {
    py p;
    /* The values are large and each is written before it is read: clear only the rest. */
    p.n_line = p.at = p.steps = p.depth = p.n_var = p.rc = 0;
    p.compared = false;
    p.first_entry = true;
    p.trace = trace;
    p.err = err;
    p.out = out;
    moa_buf_init(&p.shown, 4096);
    split_lines(&p, program);
    if (!p.rc) block(&p, 0, true);
    if (steps) *steps = p.steps;
    moa_buf_deinit(&p.shown);
    return p.rc;
}
