/* jinja_str.c - strings as Python has them: indexed by characters, stripped by Unicode white space, floats
 * in their shortest form, % and format. Case maps are the simple ones of Unicode (utf8proc), with the one
 * growing letter that texts have (sharp s).
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"
#include "format/jinja_impl.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <utf8proc.h>

bool jinja_space(uint32_t cp) {
    return (cp >= 9 && cp <= 13) || (cp >= 28 && cp <= 32) || cp == 0x85 || cp == 0xA0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) ||
           cp == 0x2028 || cp == 0x2029 || cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

size_t jinja_chars(jv s) { return moa_utf8_count(s.u.s, s.n); }

size_t jinja_offset(jv s, size_t chars) {
    size_t i = 0;
    uint32_t cp;
    while (chars-- && i < s.n) i += (size_t)moa_utf8_next(&cp, s.u.s + i, s.n - i);
    return i;
}

jv jinja_sub(jv s, size_t from, size_t to) {
    s.u.s += from;
    s.n = (uint32_t)(to - from);
    return s;
}

static bool strippable(uint32_t cp, jv chars) {
    if (chars.type != JT_STR) return jinja_space(cp);
    uint32_t k;
    for (size_t i = 0; i < chars.n;) {
        i += (size_t)moa_utf8_next(&k, chars.u.s + i, chars.n - i);
        if (k == cp) return true;
    }
    return false;
}

/* Start of the character that ends at s.u.s + end. */
static size_t char_before(jv s, size_t end) {
    uint32_t cp;
    for (size_t back = 4; back > 1; back--)
        if (back <= end && (size_t)moa_utf8_next(&cp, s.u.s + end - back, back) == back) return end - back;
    return end - 1;
}

jv jinja_strip(jv s, jv chars, int sides) {
    size_t from = 0, to = s.n;
    uint32_t cp;
    while ((sides & 1) && from < to) {
        size_t k = (size_t)moa_utf8_next(&cp, s.u.s + from, to - from);
        if (!strippable(cp, chars)) break;
        from += k;
    }
    while ((sides & 2) && to > from) {
        size_t k = char_before(s, to);
        if (k < from) k = from;
        moa_utf8_next(&cp, s.u.s + k, to - k);
        if (!strippable(cp, chars)) break;
        to = k;
    }
    return jinja_sub(s, from, to);
}

const char *jinja_find(jv s, jv part) {
    if (!part.n) return s.u.s;
    return s.n ? memmem(s.u.s, s.n, part.u.s, part.n) : NULL;
}

static bool is_letter(uint32_t cp) {
    if (cp < 0x80) return (cp | 32) >= 'a' && (cp | 32) <= 'z';
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
    return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT;
}

static int add_case(jctx *c, jbuf *b, uint32_t cp, bool upper, bool whole_word) {
    if (upper && cp == 0xDF) return jinja_adds(c, b, whole_word ? "SS" : "Ss");
    utf8proc_int32_t k = (utf8proc_int32_t)cp;
    return jinja_add_cp(c, b, (uint32_t)(upper ? utf8proc_toupper(k) : utf8proc_tolower(k)));
}

int jinja_case(jctx *c, jv *out, jv s, int how) {
    jbuf b = {0};
    uint32_t cp;
    bool start = true; /* of a word, or of the text */
    MOA_TRY(jinja_charge(c, s.n * (size_t)8));
    for (size_t i = 0, k; i < s.n; i += k) {
        k = (size_t)moa_utf8_next(&cp, s.u.s + i, s.n - i);
        bool upper = how == JC_UPPER || (how != JC_LOWER && start);
        if (how == JC_SWAP) upper = (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp) == cp;
        MOA_TRY(add_case(c, &b, cp, upper, how == JC_UPPER || how == JC_SWAP));
        if (how == JC_TITLE) start = !is_letter(cp);
        else if (how == JC_FILTER_TITLE) start = cp == '-' || cp == '(' || cp == '{' || cp == '[' || cp == '<' || jinja_space(cp);
        else start = false;
    }
    *out = jv_buf(&b);
    out->flag = s.flag;
    return 0;
}

int jinja_replace(jctx *c, jv *out, jv s, jv old, jv with, int64_t count) {
    jbuf b = {0};
    size_t i = 0;
    MOA_TRY(jinja_charge(c, s.n));
    for (; count != 0; count--) {
        const char *p = old.n ? jinja_find(jinja_sub(s, i, s.n), old) : s.u.s + i;
        if (!p) break;
        MOA_TRY(jinja_charge(c, 0));
        MOA_TRY(jinja_add(c, &b, s.u.s + i, (size_t)(p - (s.u.s + i))));
        MOA_TRY(jinja_add(c, &b, with.u.s, with.n));
        i = (size_t)(p - s.u.s) + old.n;
        if (old.n) continue;
        if (i >= s.n) break; /* an empty old stands between all characters and at both ends */
        uint32_t cp;
        size_t k = (size_t)moa_utf8_next(&cp, s.u.s + i, s.n - i);
        MOA_TRY(jinja_add(c, &b, s.u.s + i, k));
        i += k;
    }
    if (i < s.n) MOA_TRY(jinja_add(c, &b, s.u.s + i, s.n - i));
    *out = jv_buf(&b);
    out->flag = s.flag;
    return 0;
}

int jinja_escape(jctx *c, jv *out, jv s) {
    jbuf b = {0};
    MOA_TRY(jinja_charge(c, s.n));
    if (s.flag & JF_SAFE) return *out = s, 0;
    for (size_t i = 0; i < s.n; i++) {
        const char *e = s.u.s[i] == '&' ? "&amp;" : s.u.s[i] == '<' ? "&lt;" : s.u.s[i] == '>' ? "&gt;" : s.u.s[i] == '"' ? "&#34;" : s.u.s[i] == '\'' ? "&#39;" : NULL;
        if (e) MOA_TRY(jinja_adds(c, &b, e));
        else MOA_TRY(jinja_add(c, &b, s.u.s + i, 1));
    }
    *out = jv_buf(&b);
    out->flag = JF_SAFE;
    return 0;
}

/* ---- numbers ---- */

/* repr(float): the fewest digits that read back as f; exponents below -4 and from 16 on. */
int jinja_add_float(jctx *c, jbuf *b, double f) {
    if (isnan(f)) return jinja_adds(c, b, "nan");
    if (isinf(f)) return jinja_adds(c, b, f < 0 ? "-inf" : "inf");
    char t[40], d[20];
    int p = 0, n = 0;
    do snprintf(t, sizeof t, "%.*e", p, f);
    while (strtod(t, NULL) != f && ++p < 17);
    const char *e = strchr(t, 'e');
    for (const char *s = t; s < e; s++)
        if (*s >= '0' && *s <= '9') d[n++] = *s;
    int x = (int)strtol(e + 1, NULL, 10);
    if (signbit(f)) MOA_TRY(jinja_adds(c, b, "-"));
    if (x < -4 || x >= 16) {
        MOA_TRY(jinja_add(c, b, d, 1));
        if (n > 1) MOA_TRY(jinja_adds(c, b, "."));
        MOA_TRY(jinja_add(c, b, d + 1, (size_t)n - 1));
        snprintf(t, sizeof t, "e%c%02d", x < 0 ? '-' : '+', abs(x));
        return jinja_adds(c, b, t);
    }
    if (x < 0) {
        MOA_TRY(jinja_adds(c, b, "0."));
        for (int i = -1; i > x; i--) MOA_TRY(jinja_adds(c, b, "0"));
        return jinja_add(c, b, d, (size_t)n);
    }
    for (int i = 0; i <= x || i < n; i++) {
        if (i == x + 1) MOA_TRY(jinja_adds(c, b, "."));
        MOA_TRY(jinja_add(c, b, i < n ? &d[i] : "0", 1));
    }
    return x + 1 >= n ? jinja_adds(c, b, ".0") : 0;
}

/* Strip blanks and underscores into a small C string. */
static bool plain(char *out, size_t max, jv s) {
    s = jinja_strip(s, jv_undef(), 3);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.u.s[i] == '_' && i > 0 && i + 1 < s.n && s.u.s[i - 1] != '_' && s.u.s[i + 1] != '_') continue;
        if (n + 1 >= max || s.u.s[i] == 0) return false;
        out[n++] = s.u.s[i];
    }
    out[n] = 0;
    return n > 0;
}

bool jinja_parse_int(int64_t *out, jv s, int base) {
    char t[128];
    if (!plain(t, sizeof t, s)) return false;
    char *p = t;
    bool neg = *p == '-';
    if (*p == '-' || *p == '+') p++;
    int prefix = p[0] == '0' && p[1] ? ((p[1] | 32) == 'x' ? 16 : (p[1] | 32) == 'o' ? 8 : (p[1] | 32) == 'b' ? 2 : 0) : 0;
    if (prefix && (base == prefix || base == 0)) p += 2, base = prefix;
    if (base == 0) base = 10;
    if (base < 2 || base > 36 || !*p) return false;
    uint64_t v = 0, max = (uint64_t)INT64_MAX + neg;
    for (; *p; p++) {
        int ch = *p | 32, d = *p >= '0' && *p <= '9' ? *p - '0' : ch >= 'a' && ch <= 'z' ? ch - 'a' + 10 : 99;
        if (d >= base || v > (max - (uint64_t)d) / (uint64_t)base) return false;
        v = v * (uint64_t)base + (uint64_t)d;
    }
    *out = neg ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

bool jinja_parse_float(double *out, jv s) {
    char t[512], *end;
    if (!plain(t, sizeof t, s)) return false;
    const char *p = t + (*t == '-' || *t == '+');
    if (*p != '.' && !(*p >= '0' && *p <= '9') && strcasecmp(p, "inf") && strcasecmp(p, "infinity") && strcasecmp(p, "nan")) return false;
    if (strpbrk(p, "xXpP")) return false;
    *out = strtod(t, &end);
    return !*end;
}

/* ---- % and format ---- */

typedef struct spec { bool left, zero, plus, blank, alt; uint32_t fill; char align, conv; int width, prec; bool comma; } spec;

static int pad(jctx *c, jbuf *b, jv s, const spec *f, size_t sign) {
    int64_t room = f->width - (int64_t)jinja_chars(s);
    if (room < 0) room = 0;
    if (room > 100000) return jinja_fail(c, MOA_ELIMIT, "a field of more than 100000 characters");
    int64_t before = f->align == '<' || f->align == '=' ? 0 : f->align == '^' ? room / 2 : room;
    if (f->align == '=') { /* padding between sign and digits */
        MOA_TRY(jinja_add(c, b, s.u.s, sign));
        s = jinja_sub(s, sign, s.n);
        before = room;
    }
    for (int64_t i = 0; i < before; i++) MOA_TRY(jinja_add_cp(c, b, f->fill));
    MOA_TRY(jinja_add(c, b, s.u.s, s.n));
    for (int64_t i = before; i < room; i++) MOA_TRY(jinja_add_cp(c, b, f->fill));
    return 0;
}

static int thousands(jctx *c, jv *s) {
    jbuf b = {0};
    size_t from = s->n && (s->u.s[0] == '-' || s->u.s[0] == '+'), to = from;
    while (to < s->n && s->u.s[to] >= '0' && s->u.s[to] <= '9') to++;
    for (size_t i = 0; i < s->n; i++) {
        if (i > from && i < to && (to - i) % 3 == 0) MOA_TRY(jinja_adds(c, &b, ","));
        MOA_TRY(jinja_add(c, &b, s->u.s + i, 1));
    }
    *s = jv_buf(&b);
    return 0;
}

static int number_text(jctx *c, jv *out, jv v, const spec *f) {
    char t[512], form[16];
    if (v.type != JT_FLOAT && v.type != JT_INT && v.type != JT_BOOL)
        return v.type == JT_UNDEF ? jinja_undefined(c, v) : jinja_fail(c, MOA_EINVAL, "format: a number is needed, got '%s'", jinja_type_name(v));
    double d = v.type == JT_FLOAT ? v.u.f : v.type == JT_INT ? (double)v.u.i : v.u.b;
    const char *sign = f->plus ? "+" : f->blank ? " " : "", *alt = f->alt && strchr("eEfFgGxX", f->conv) ? "#" : "";
    if (strchr("eEfFgG%", f->conv)) {
        int prec = f->prec < 0 ? 6 : f->prec > 100 ? 100 : f->prec;
        snprintf(form, sizeof form, "%%%s%s.*%c", sign, alt, f->conv == '%' ? 'f' : f->conv);
        snprintf(t, sizeof t, form, prec, f->conv == '%' ? d * 100 : d);
        size_t n = strlen(t);
        if (f->conv == '%' && n + 1 < sizeof t) t[n] = '%', t[n + 1] = 0;
    } else {
        if (v.type == JT_FLOAT && !(fabs(d) < 0x1p62)) return jinja_fail(c, MOA_EINVAL, "format: %g is no integer of 64 bits", d);
        long long i = v.type == JT_FLOAT ? (long long)d : v.type == JT_INT ? (long long)v.u.i : v.u.b;
        unsigned long long u = i < 0 ? 0 - (unsigned long long)i : (unsigned long long)i;
        snprintf(form, sizeof form, "%%s%s%%%s%c", f->alt && f->conv == 'o' ? "0o" : "", alt, 'l');
        size_t k = strlen(form);
        form[k++] = 'l';
        form[k++] = f->conv == 'd' || f->conv == 'i' ? 'u' : f->conv;
        form[k] = 0;
        snprintf(t, sizeof t, form, i < 0 ? "-" : sign, u);
    }
    char *copy = jinja_alloc(c, sizeof t);
    if (!copy) return jinja_nomem(c);
    memcpy(copy, t, sizeof t);
    *out = jv_str(copy);
    return f->comma ? thousands(c, out) : 0;
}

/* One value by its spec; numbers go right, text goes as `text_align` says. */
static int field(jctx *c, jbuf *b, jv v, spec f, char text_align) {
    jv s;
    if (strchr("sra", f.conv)) {
        jbuf r = {0};
        if (f.conv != 's') MOA_TRY(jinja_repr(c, &r, v, 0));
        s = jv_buf(&r);
        if (f.conv == 's') MOA_TRY(jinja_str(c, &s, v));
        if (f.prec >= 0) s = jinja_sub(s, 0, jinja_offset(s, (size_t)f.prec));
        if (!f.align) f.align = text_align;
    } else if (f.conv == 'c') {
        jbuf r = {0};
        if (v.type == JT_INT) MOA_TRY(jinja_add_cp(c, &r, (uint32_t)v.u.i));
        s = jv_buf(&r);
        if (v.type != JT_INT) MOA_TRY(jinja_str(c, &s, v));
        if (!f.align) f.align = text_align;
    } else {
        MOA_TRY(number_text(c, &s, v, &f));
        if (f.zero && !f.align) f.align = '=', f.fill = '0';
        if (!f.align) f.align = '>';
    }
    return pad(c, b, s, &f, s.n && (s.u.s[0] == '-' || s.u.s[0] == '+' || s.u.s[0] == ' '));
}

static int digits_of(const char *s, size_t n, size_t *i) {
    int v = 0;
    for (; *i < n && s[*i] >= '0' && s[*i] <= '9'; ++*i) v = v < 1000000 ? v * 10 + (s[*i] - '0') : v;
    return v;
}

int jinja_percent(jctx *c, jv *out, jv fmt, const jv *v, size_t n, jv map) {
    jbuf b = {0};
    const char *s = fmt.u.s;
    size_t used = 0;
    bool named = false;
    for (size_t i = 0; i < fmt.n; i++) {
        if (s[i] != '%') {
            MOA_TRY(jinja_add(c, &b, s + i, 1));
            continue;
        }
        spec f = {.fill = ' ', .prec = -1};
        jv arg = jv_undef();
        bool have = false;
        if (++i < fmt.n && s[i] == '(') {
            const char *end = memchr(s + i, ')', fmt.n - i);
            if (!end || map.type != JT_DICT) return jinja_fail(c, MOA_EINVAL, "format: %%(name) needs a dict");
            jv key = jv_strn(s + i + 1, (size_t)(end - (s + i + 1)));
            jentry *e;
            MOA_TRY(jinja_dict_find(c, &e, map.u.d, key));
            if (!e) return jinja_fail(c, MOA_EINVAL, "format: no value named '%.*s'", key.n < 60 ? (int)key.n : 60, key.u.s);
            arg = e->v, have = named = true;
            i = (size_t)(end - s) + 1;
        }
        for (; i < fmt.n && strchr("-0+ #", s[i]) && s[i]; i++) {
            if (s[i] == '-') f.align = '<';
            else if (s[i] == '0') f.zero = true;
            else if (s[i] == '+') f.plus = true;
            else if (s[i] == ' ') f.blank = true;
            else f.alt = true;
        }
        f.width = digits_of(s, fmt.n, &i);
        if (i < fmt.n && s[i] == '.') i++, f.prec = digits_of(s, fmt.n, &i);
        if (i >= fmt.n) return jinja_fail(c, MOA_EINVAL, "format: the text ends inside of a %% field");
        f.conv = s[i] == 'u' ? 'd' : s[i];
        if (f.conv == '%') {
            MOA_TRY(jinja_adds(c, &b, "%"));
            continue;
        }
        if (!strchr("sradiouxXeEfFgGc", f.conv) || !f.conv) return jinja_fail(c, MOA_EINVAL, "format: no such field as %%%c", f.conv);
        if (!have) {
            if (used >= n) return jinja_fail(c, MOA_EINVAL, "format: more %% fields than values");
            arg = v[used++];
        }
        MOA_TRY(field(c, &b, arg, f, '>'));
    }
    if (used < n && !named && !(n == 1 && map.type == JT_DICT)) return jinja_fail(c, MOA_EINVAL, "format: more values than %% fields");
    *out = jv_buf(&b);
    return 0;
}

static bool parse_spec(spec *f, jv s) {
    size_t i = 0;
    uint32_t cp;
    *f = (spec){.fill = ' ', .prec = -1, .conv = 's'};
    size_t k = s.n ? (size_t)moa_utf8_next(&cp, s.u.s, s.n) : 0;
    if (k < s.n && memchr("<>^=", s.u.s[k], 4)) f->fill = cp, f->align = s.u.s[k], i = k + 1;
    else if (s.n && memchr("<>^=", s.u.s[0], 4)) f->align = s.u.s[0], i = 1;
    for (; i < s.n && memchr("+- #", s.u.s[i], 4); i++) {
        if (s.u.s[i] == '+') f->plus = true;
        else if (s.u.s[i] == ' ') f->blank = true;
        else if (s.u.s[i] == '#') f->alt = true;
    }
    if (i < s.n && s.u.s[i] == '0') f->zero = true, i++;
    f->width = digits_of(s.u.s, s.n, &i);
    if (i < s.n && s.u.s[i] == ',') f->comma = true, i++;
    if (i < s.n && s.u.s[i] == '.') i++, f->prec = digits_of(s.u.s, s.n, &i);
    f->conv = 0;
    if (i < s.n && memchr("sdoxXeEfFgG%c", s.u.s[i], 13)) f->conv = s.u.s[i++];
    return i == s.n;
}

/* name or number, then .attr and [item] */
static int format_value(jctx *c, jv *out, jv path, const jcall *a, int *next) {
    size_t i = 0;
    while (i < path.n && path.u.s[i] != '.' && path.u.s[i] != '[') i++;
    jv head = jinja_sub(path, 0, i);
    int64_t at;
    if (!head.n) at = (*next)++;
    else if (!jinja_parse_int(&at, head, 10) || at < 0) {
        at = -1;
        for (int k = 0; k < a->n_key; k++)
            if (a->key[k].n == head.n && !memcmp(a->key[k].u.s, head.u.s, head.n)) *out = a->v[a->n + k], at = -2;
        if (at == -1) return jinja_fail(c, MOA_EINVAL, "format: no value named '%.*s'", head.n < 60 ? (int)head.n : 60, head.u.s);
    }
    if (at >= a->n || at == -1) return jinja_fail(c, MOA_EINVAL, "format: no value number %lld", (long long)at);
    if (at >= 0) *out = a->v[at];
    while (i < path.n) {
        bool item = path.u.s[i++] == '[';
        size_t from = i;
        while (i < path.n && (item ? path.u.s[i] != ']' : path.u.s[i] != '.' && path.u.s[i] != '[')) i++;
        jv key = jinja_sub(path, from, i);
        if (item && i < path.n) i++;
        int64_t n;
        if (item && jinja_parse_int(&n, key, 10)) MOA_TRY(jinja_getitem(c, out, *out, jv_int(n)));
        else MOA_TRY(item ? jinja_getitem(c, out, *out, key) : jinja_getattr(c, out, *out, key));
    }
    return 0;
}

int jinja_format(jctx *c, jv *out, jv fmt, const jcall *a) {
    jbuf b = {0};
    const char *s = fmt.u.s;
    int next = 0;
    for (size_t i = 0; i < fmt.n; i++) {
        if ((s[i] == '{' || s[i] == '}') && i + 1 < fmt.n && s[i + 1] == s[i]) {
            MOA_TRY(jinja_add(c, &b, s + i++, 1));
        } else if (s[i] == '{') {
            const char *end = memchr(s + i, '}', fmt.n - i);
            if (!end) return jinja_fail(c, MOA_EINVAL, "format: a '{' without its '}'");
            size_t from = i + 1, to = (size_t)(end - s), colon = from, bang;
            while (colon < to && s[colon] != ':') colon++;
            for (bang = from; bang < colon && s[bang] != '!';) bang++;
            spec f;
            jv v;
            if (!parse_spec(&f, colon < to ? jinja_sub(fmt, colon + 1, to) : jv_strn("", 0)))
                return jinja_fail(c, MOA_EINVAL, "format: '%.*s' is no format", (int)(to - from < 60 ? to - from : 60), s + from);
            MOA_TRY(format_value(c, &v, jinja_sub(fmt, from, bang), a, &next));
            if (bang + 1 < colon && s[bang + 1] == 'r') f.conv = 'r';
            bool number = v.type == JT_INT || v.type == JT_FLOAT;
            if (v.type == JT_FLOAT && f.conv && strchr("dxXoc", f.conv))
                return jinja_fail(c, MOA_EINVAL, "format: '%c' needs an integer, got 'float'", f.conv);
            if (!f.conv && number && v.type == JT_FLOAT && f.prec >= 0) f.conv = 'g';
            else if (!f.conv && number && v.type == JT_INT) f.conv = 'd';
            else if (!f.conv) f.conv = 's', f.align = f.align ? f.align : number ? '>' : '<';
            MOA_TRY(field(c, &b, v, f, '<'));
            i = to;
        } else if (s[i] == '}') {
            return jinja_fail(c, MOA_EINVAL, "format: a '}' without its '{'");
        } else {
            MOA_TRY(jinja_add(c, &b, s + i, 1));
        }
    }
    *out = jv_buf(&b);
    return 0;
}
