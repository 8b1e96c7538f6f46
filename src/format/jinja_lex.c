/* jinja_lex.c - template text to tokens. All of Jinja's whitespace rules are here: line ends become \n, one line end
 * at the end of the text is dropped, "-" strips to the next or last visible character, a block or comment tag takes
 * the line end after it (trim_blocks) and the blanks before it on its line (lstrip_blocks) unless it says "+".
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"
#include "format/jinja_impl.h"

#include <stdlib.h>

typedef struct lexer {
    jctx *c;
    const char *s;
    size_t n, i;
    int line;
    bool line_start; /* the text so far ends with a line end, or is empty */
    jtoken *tok;
    size_t n_tok, cap;
} lexer;

static int fail_at(lexer *x, const char *what) {
    x->c->line = x->line;
    return jinja_fail(x->c, MOA_EFORMAT, "%s", what);
}

static int push(lexer *x, jtok type, jv val, const char *op) {
    if (x->n_tok == x->cap) {
        size_t cap = x->cap ? x->cap * 2 : 256;
        jtoken *t = jinja_alloc(x->c, cap * sizeof *t);
        if (!t) return jinja_nomem(x->c);
        if (x->n_tok) memcpy(t, x->tok, x->n_tok * sizeof *t);
        x->tok = t, x->cap = cap;
    }
    jtoken *t = &x->tok[x->n_tok++];
    *t = (jtoken){.type = (uint8_t)type, .line = x->line, .val = val};
    for (int k = 0; op && op[k] && k < 2; k++) t->op[k] = op[k];
    return 0;
}

/* Move to `to`, counting lines. */
static void go(lexer *x, size_t to) {
    for (; x->i < to; x->i++) x->line += x->s[x->i] == '\n';
}

static bool at(const lexer *x, const char *word) {
    size_t n = strlen(word);
    return n <= x->n - x->i && !memcmp(x->s + x->i, word, n);
}

static size_t skip_space(const lexer *x, size_t i) {
    uint32_t cp;
    while (i < x->n) {
        int k = moa_utf8_next(&cp, x->s + i, x->n - i);
        if (!jinja_space(cp)) break;
        i += (size_t)k;
    }
    return i;
}

/* Text before a tag: "-" strips all white space, else lstrip the blanks of the tag's line. */
static int push_text(lexer *x, size_t from, size_t to, char sign, bool is_block) {
    jv s = jv_strn(x->s + from, to - from);
    if (sign == '-') {
        s = jinja_strip(s, jv_undef(), 2);
    } else if (is_block && sign != '+') {
        size_t l = s.n;
        while (l > 0 && s.u.s[l - 1] != '\n') l--;
        jv rest = jinja_sub(s, l, s.n);
        if ((l > 0 || x->line_start) && jinja_strip(rest, jv_undef(), 2).n == 0) s.n = (uint32_t)l;
    }
    return s.n ? push(x, T_TEXT, s, NULL) : 0;
}

/* After a tag's closing brackets (x->i is behind them). */
static void after_tag(lexer *x, char sign, bool is_block) {
    x->line_start = false;
    size_t to = x->i;
    if (sign == '-') to = skip_space(x, x->i);
    else if (is_block && sign != '+' && x->i < x->n && x->s[x->i] == '\n') to = x->i + 1;
    x->line_start = to > x->i && x->s[to - 1] == '\n';
    go(x, to);
}

static int hex(const char *s, size_t left, int digits, uint32_t *out) {
    if (left < (size_t)digits) return 0;
    *out = 0;
    for (int i = 0; i < digits; i++) {
        char ch = s[i];
        int d = ch >= '0' && ch <= '9' ? ch - '0' : (ch | 32) >= 'a' && (ch | 32) <= 'f' ? (ch | 32) - 'a' + 10 : -1;
        if (d < 0) return 0;
        *out = *out << 4 | (uint32_t)d;
    }
    return 1;
}

/* One escape at s (after the backslash); bytes used. Unknown ones keep their backslash, as in Python. */
static int escape(lexer *x, jbuf *b, const char *s, size_t left, size_t *used) {
    static const char from[] = "abfnrtv\\'\"", to[] = "\a\b\f\n\r\t\v\\'\"";
    uint32_t cp;
    const char *p = *s ? strchr(from, *s) : NULL;
    *used = 1;
    if (p) return jinja_add(x->c, b, &to[p - from], 1);
    if (*s == '\n') return 0;
    int digits = *s == 'x' ? 2 : *s == 'u' ? 4 : *s == 'U' ? 8 : 0;
    if (digits) {
        if (!hex(s + 1, left - 1, digits, &cp)) return fail_at(x, "string: a \\x, \\u or \\U escape without its hexadecimal digits");
        *used = 1 + (size_t)digits;
        return jinja_add_cp(x->c, b, cp);
    }
    if (*s >= '0' && *s <= '7') {
        size_t k = 0;
        for (cp = 0; k < 3 && k < left && s[k] >= '0' && s[k] <= '7'; k++) cp = cp * 8 + (uint32_t)(s[k] - '0');
        *used = k;
        return jinja_add_cp(x->c, b, cp);
    }
    *used = 0;
    return jinja_add(x->c, b, "\\", 1);
}

static int string(lexer *x) {
    char quote = x->s[x->i];
    jbuf b = {0};
    size_t i = x->i + 1;
    int line = x->line;
    for (;;) {
        size_t from = i, used;
        while (i < x->n && x->s[i] != quote && x->s[i] != '\\') i++;
        MOA_TRY(jinja_add(x->c, &b, x->s + from, i - from));
        if (i >= x->n || (x->s[i] == '\\' && i + 1 >= x->n)) return fail_at(x, "a string without its closing quote");
        if (x->s[i] == quote) break;
        MOA_TRY(escape(x, &b, x->s + i + 1, x->n - i - 1, &used));
        i += 1 + used;
    }
    MOA_TRY(push(x, T_STR, jv_buf(&b), NULL));
    x->tok[x->n_tok - 1].line = line;
    go(x, i + 1);
    return 0;
}

static bool digit(char ch) { return ch >= '0' && ch <= '9'; }

static size_t digits(const lexer *x, size_t i) {
    while (i < x->n && (digit(x->s[i]) || (x->s[i] == '_' && i + 1 < x->n && digit(x->s[i + 1])))) i++;
    return i;
}

static int number(lexer *x) {
    size_t from = x->i, to = digits(x, from);
    bool is_float = false;
    jv s;
    if (x->s[from] == '0' && from + 2 < x->n && strchr("bBoOxX", x->s[from + 1]) && x->s[from + 1]) {
        uint32_t d;
        for (to = from + 2; to < x->n && (x->s[to] == '_' || hex(x->s + to, 1, 1, &d)); to++) {}
        s = jv_strn(x->s + from, to - from);
        int64_t v;
        if (!jinja_parse_int(&v, s, 0)) return fail_at(x, "a number that is no valid integer of 64 bits");
        x->i = to;
        return push(x, T_INT, jv_int(v), NULL);
    }
    if (to + 1 < x->n && x->s[to] == '.' && digit(x->s[to + 1])) is_float = true, to = digits(x, to + 1);
    if (to < x->n && (x->s[to] | 32) == 'e') {
        size_t k = to + 1;
        if (k < x->n && (x->s[k] == '+' || x->s[k] == '-')) k++;
        if (k < x->n && digit(x->s[k])) is_float = true, to = digits(x, k);
    }
    s = jv_strn(x->s + from, to - from);
    int64_t v;
    double f;
    x->i = to;
    if (is_float) return jinja_parse_float(&f, s) ? push(x, T_FLOAT, jv_float(f), NULL) : fail_at(x, "not a number");
    return jinja_parse_int(&v, s, 10) ? push(x, T_INT, jv_int(v), NULL) : fail_at(x, "an integer of more than 64 bits");
}

static bool name_char(char ch, bool first) {
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || ch == '_' || (unsigned char)ch >= 0x80 || (!first && digit(ch));
}

static int operator_(lexer *x, char *open, int *n_open) {
    static const char *const two[] = {"==", "!=", ">=", "<=", "//", "**"};
    char op[3] = {x->s[x->i], 0, 0};
    for (size_t k = 0; k < sizeof two / sizeof *two; k++)
        if (at(x, two[k])) op[1] = two[k][1];
    if (!strchr("+-/*%~[](){}=!<>.:|,;", op[0]) || (op[0] == '!' && !op[1])) return fail_at(x, "a character that no expression can hold");
    if (strchr("([{", op[0])) {
        if (*n_open >= JINJA_MAX_PARSE) return fail_at(x, "brackets nested too deeply");
        open[(*n_open)++] = op[0] == '(' ? ')' : op[0] == '[' ? ']' : '}';
    } else if (strchr(")]}", op[0])) {
        if (*n_open == 0 || open[--*n_open] != op[0]) return fail_at(x, "a closing bracket without its opening one");
    }
    MOA_TRY(push(x, T_OP, jv_undef(), op));
    x->i += op[1] ? 2 : 1;
    return 0;
}

/* The inside of {{ }} or {% %}, up to and with its end. Inside brackets "}}" closes two brackets. */
static int inside(lexer *x, bool is_block) {
    const char *end = is_block ? "%}" : "}}";
    char open[JINJA_MAX_PARSE];
    int n_open = 0;
    for (;;) {
        go(x, skip_space(x, x->i));
        if (x->i >= x->n) return fail_at(x, is_block ? "a block tag without its %}" : "an expression without its }}");
        char ch = x->s[x->i], sign = 0;
        if (n_open == 0) {
            if ((ch == '-' || (ch == '+' && is_block)) && x->i + 2 < x->n && !memcmp(x->s + x->i + 1, end, 2)) sign = ch;
            if (sign || at(x, end)) {
                MOA_TRY(push(x, is_block ? T_BLOCK_END : T_VAR_END, jv_undef(), NULL));
                x->i += sign ? 3 : 2;
                after_tag(x, sign, is_block);
                return 0;
            }
        }
        if (ch == '"' || ch == '\'') {
            MOA_TRY(string(x));
        } else if (digit(ch)) {
            MOA_TRY(number(x));
        } else if (name_char(ch, true)) {
            size_t to = x->i + 1;
            while (to < x->n && name_char(x->s[to], false)) to++;
            MOA_TRY(push(x, T_NAME, jv_strn(x->s + x->i, to - x->i), NULL));
            x->i = to;
        } else {
            MOA_TRY(operator_(x, open, &n_open));
        }
    }
}

static int comment(lexer *x, size_t body) {
    for (go(x, body); x->i < x->n; go(x, x->i + 1)) {
        if (!at(x, "#}")) continue;
        char sign = x->i > body && (x->s[x->i - 1] == '-' || x->s[x->i - 1] == '+') ? x->s[x->i - 1] : 0;
        x->i += 2;
        after_tag(x, sign, true);
        return 0;
    }
    return fail_at(x, "a comment without its #}");
}

/* Is there "{% word %}" at i? Its end in *to, its signs in *left and *right. */
static bool tag_is(const lexer *x, size_t i, const char *word, size_t *to, char *left, char *right) {
    size_t n = strlen(word);
    if (i + 2 > x->n || memcmp(x->s + i, "{%", 2)) return false;
    i += 2;
    *left = i < x->n && (x->s[i] == '-' || x->s[i] == '+') ? x->s[i++] : 0;
    i = skip_space(x, i);
    if (n > x->n - i || memcmp(x->s + i, word, n)) return false;
    i = skip_space(x, i + n);
    *right = i < x->n && (x->s[i] == '-' || x->s[i] == '+') ? x->s[i++] : 0;
    if (i + 2 > x->n || memcmp(x->s + i, "%}", 2)) return false;
    *to = i + 2;
    return true;
}

static int raw(lexer *x, size_t body, char sign) {
    go(x, body);
    x->line_start = false;
    if (sign == '-') go(x, skip_space(x, x->i));
    size_t from = x->i, to;
    char left, right;
    for (size_t k = from; k < x->n; k++) {
        if (x->s[k] != '{' || !tag_is(x, k, "endraw", &to, &left, &right)) continue;
        MOA_TRY(push_text(x, from, k, left, true));
        go(x, to);
        after_tag(x, right, true);
        return 0;
    }
    return fail_at(x, "raw without its endraw");
}

static int tag(lexer *x, size_t from) {
    char kind = x->s[x->i + 1], sign = x->i + 2 < x->n ? x->s[x->i + 2] : 0, right;
    if (sign != '-' && sign != '+') sign = 0;
    MOA_TRY(push_text(x, from, x->i, sign, kind != '{'));
    size_t to;
    if (kind == '#') return comment(x, x->i + (sign ? 3 : 2));
    if (kind == '%' && tag_is(x, x->i, "raw", &to, &sign, &right)) return raw(x, to, right);
    MOA_TRY(push(x, kind == '%' ? T_BLOCK : T_VAR, jv_undef(), NULL));
    x->i += sign ? 3 : 2;
    return inside(x, kind == '%');
}

static int normalise(jctx *c, jv *out, const char *text, size_t len) {
    jbuf b = {0};
    for (size_t i = 0, k; i < len; i = k) {
        for (k = i; k < len && text[k] != '\r'; k++) {}
        MOA_TRY(jinja_add(c, &b, text + i, k - i));
        if (k == len) break;
        MOA_TRY(jinja_add(c, &b, "\n", 1));
        k += k + 1 < len && text[k + 1] == '\n' ? 2 : 1;
    }
    if (b.n && b.p[b.n - 1] == '\n') b.n--;
    *out = jv_buf(&b);
    return 0;
}

int jinja_lex(jctx *c, jtoken **out, size_t *n, const char *text, size_t len) {
    jv s;
    MOA_TRY(normalise(c, &s, text, len));
    lexer x = {.c = c, .s = s.u.s, .n = s.n, .line = 1, .line_start = true};
    size_t from = 0;
    while (x.i < x.n) {
        if (x.s[x.i] == '{' && x.i + 1 < x.n && (x.s[x.i + 1] == '{' || x.s[x.i + 1] == '%' || x.s[x.i + 1] == '#')) {
            MOA_TRY(tag(&x, from));
            from = x.i;
        } else {
            go(&x, x.i + 1);
        }
    }
    if (x.n > from) MOA_TRY(push(&x, T_TEXT, jv_strn(x.s + from, x.n - from), NULL));
    MOA_TRY(push(&x, T_EOF, jv_undef(), NULL));
    *out = x.tok;
    *n = x.n_tok;
    return 0;
}
