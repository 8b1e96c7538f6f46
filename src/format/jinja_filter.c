/* jinja_filter.c - the filters, one function each, and the table by which templates name them. Meaning and defaults
 * are those of the Jinja documentation's list of builtin filters; tojson is Hugging Face's (plain JSON, unescaped).
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"
#include "format/jinja_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

jv *jinja_arg(const jcall *a, int pos, const char *name) {
    if (pos >= 0 && pos < a->n) return &a->v[pos];
    for (int i = 0; name && i < a->n_key; i++)
        if (jv_is(a->key[i], name)) return &a->v[a->n + i];
    return NULL;
}

int jinja_arg_int(jctx *c, int64_t *out, const jcall *a, int pos, const char *name, int64_t dflt) {
    const jv *v = jinja_arg(a, pos, name);
    *out = dflt;
    if (!v || v->type == JT_NONE) return 0;
    if (v->type != JT_INT && v->type != JT_BOOL) return jinja_fail(c, MOA_EINVAL, "'%s' must be an integer, got '%s'", name, jinja_type_name(*v));
    *out = v->type == JT_INT ? v->u.i : v->u.b;
    return 0;
}

bool jinja_arg_true(const jcall *a, int pos, const char *name, bool dflt) {
    const jv *v = jinja_arg(a, pos, name);
    return v ? jinja_truth(*v) : dflt;
}

static int arg_str(jctx *c, jv *out, const jcall *a, int pos, const char *name, const char *dflt) {
    const jv *v = jinja_arg(a, pos, name);
    if (!v) return *out = jv_str(dflt), 0;
    return jinja_str(c, out, *v);
}

static int need(jctx *c, const jcall *a, int n, const char *filter) {
    return a->n + a->n_key >= n ? 0 : jinja_fail(c, MOA_EINVAL, "%s needs %d argument%s", filter, n, n == 1 ? "" : "s");
}

#define FILTER(name) static int f_##name(jctx *c, jv *out, jv self, const jcall *a)
#define UNUSED ((void)a)

/* ---- text ---- */

static int cased(jctx *c, jv *out, jv self, int how) {
    MOA_TRY(jinja_str(c, &self, self));
    return jinja_case(c, out, self, how);
}
FILTER(upper) { UNUSED; return cased(c, out, self, JC_UPPER); }
FILTER(lower) { UNUSED; return cased(c, out, self, JC_LOWER); }
FILTER(title) { UNUSED; return cased(c, out, self, JC_FILTER_TITLE); }
FILTER(capitalize) { UNUSED; return cased(c, out, self, JC_CAPITAL); }
FILTER(string) { UNUSED; return jinja_str(c, out, self); }

FILTER(trim) {
    const jv *chars = jinja_arg(a, 0, "chars");
    MOA_TRY(jinja_str(c, &self, self));
    MOA_TRY(jinja_charge(c, self.n * (1 + (chars && chars->type == JT_STR ? (size_t)chars->n : 0))));
    *out = jinja_strip(self, chars ? *chars : jv_undef(), 3);
    return 0;
}

FILTER(safe) {
    UNUSED;
    MOA_TRY(jinja_str(c, out, self));
    out->flag |= JF_SAFE;
    return 0;
}

FILTER(escape) {
    UNUSED;
    MOA_TRY(jinja_str(c, &self, self));
    return jinja_escape(c, out, self);
}

FILTER(forceescape) {
    UNUSED;
    MOA_TRY(jinja_str(c, &self, self));
    self.flag = 0;
    return jinja_escape(c, out, self);
}

FILTER(replace) {
    jv old, with;
    int64_t count;
    MOA_TRY(need(c, a, 2, "replace"));
    MOA_TRY(jinja_str(c, &self, self));
    MOA_TRY(arg_str(c, &old, a, 0, "old", ""));
    MOA_TRY(arg_str(c, &with, a, 1, "new", ""));
    MOA_TRY(jinja_arg_int(c, &count, a, 2, "count", -1));
    self.flag = 0;
    return jinja_replace(c, out, self, old, with, count);
}

FILTER(indent) {
    jv s, pad;
    jbuf b = {0};
    const jv *w = jinja_arg(a, 0, "width");
    bool first = jinja_arg_true(a, 1, "first", false), blank = jinja_arg_true(a, 2, "blank", false);
    int64_t width;
    MOA_TRY(jinja_str(c, &s, self));
    if (w && w->type == JT_STR) {
        pad = *w;
    } else {
        MOA_TRY(jinja_arg_int(c, &width, a, 0, "width", 4));
        MOA_TRY(jinja_binary(c, &pad, O_MUL, jv_str(" "), jv_int(width)));
    }
    for (size_t i = 0, k; i <= s.n; i = k + 1) {
        for (k = i; k < s.n && s.u.s[k] != '\n'; k++) {}
        MOA_TRY(jinja_charge(c, k - i + pad.n));
        if (i ? (k > i || blank) : first) MOA_TRY(jinja_add(c, &b, pad.u.s, pad.n));
        MOA_TRY(jinja_add(c, &b, s.u.s + i, k - i));
        if (k < s.n) MOA_TRY(jinja_adds(c, &b, "\n"));
    }
    *out = jv_buf(&b);
    return 0;
}

FILTER(truncate) {
    jv s, end;
    int64_t length, leeway, n;
    bool kill = jinja_arg_true(a, 1, "killwords", false);
    MOA_TRY(jinja_str(c, &s, self));
    MOA_TRY(jinja_arg_int(c, &length, a, 0, "length", 255));
    MOA_TRY(arg_str(c, &end, a, 2, "end", "..."));
    MOA_TRY(jinja_arg_int(c, &leeway, a, 3, "leeway", 5));
    MOA_TRY(jinja_length(c, &n, s));
    int64_t keep = length - (int64_t)jinja_chars(end);
    if (keep < 0 || leeway < 0) return jinja_fail(c, MOA_EINVAL, "truncate: a length of %lld is less than its end", (long long)length);
    if (n <= length || n - length <= leeway) return *out = s, 0;
    jv cut = jinja_sub(s, 0, jinja_offset(s, (size_t)keep));
    for (size_t i = cut.n; !kill && i > 0; i--)
        if (cut.u.s[i - 1] == ' ') {
            cut.n = (uint32_t)i - 1;
            break;
        }
    return jinja_binary(c, out, O_ADD, cut, end);
}

FILTER(center) {
    int64_t width, n;
    jbuf b = {0};
    MOA_TRY(jinja_str(c, &self, self));
    MOA_TRY(jinja_arg_int(c, &width, a, 0, "width", 80));
    MOA_TRY(jinja_length(c, &n, self));
    int64_t room = width > n ? width - n : 0, left = room / 2 + (room & width & 1); /* CPython gives the odd blank to the left for odd widths */
    if (room > 100000) return jinja_fail(c, MOA_ELIMIT, "center: more than 100000 blanks");
    for (int64_t i = 0; i < left; i++) MOA_TRY(jinja_adds(c, &b, " "));
    MOA_TRY(jinja_add(c, &b, self.u.s, self.n));
    for (int64_t i = left; i < room; i++) MOA_TRY(jinja_adds(c, &b, " "));
    *out = jv_buf(&b);
    return 0;
}

FILTER(wordcount) {
    UNUSED;
    int64_t n = 0;
    bool in = false;
    uint32_t cp;
    MOA_TRY(jinja_str(c, &self, self));
    MOA_TRY(jinja_charge(c, self.n));
    for (size_t i = 0; i < self.n;) {
        i += (size_t)moa_utf8_next(&cp, self.u.s + i, self.n - i);
        bool word = cp == '_' || (cp >= '0' && cp <= '9') || ((cp | 32) >= 'a' && (cp | 32) <= 'z') || (cp >= 0xAA && !jinja_space(cp));
        n += word && !in;
        in = word;
    }
    *out = jv_int(n);
    return 0;
}

FILTER(urlencode) {
    UNUSED;
    jbuf b = {0};
    if (self.type == JT_DICT || self.type == JT_LIST || self.type == JT_TUPLE)
        return jinja_fail(c, MOA_EUNSUPPORTED, "urlencode of a '%s'; only text can be encoded", jinja_type_name(self));
    MOA_TRY(jinja_str(c, &self, self));
    MOA_TRY(jinja_charge(c, self.n));
    for (size_t i = 0; i < self.n; i++) {
        unsigned char ch = (unsigned char)self.u.s[i];
        bool plain = (ch >= '0' && ch <= '9') || ((ch | 32) >= 'a' && (ch | 32) <= 'z') || (ch && strchr("-._~/", ch));
        if (plain) MOA_TRY(jinja_add(c, &b, &ch, 1));
        else MOA_TRY(jinja_add(c, &b, (char[]){'%', "0123456789ABCDEF"[ch >> 4], "0123456789ABCDEF"[ch & 15]}, 3));
    }
    *out = jv_buf(&b);
    return 0;
}

FILTER(format) {
    MOA_TRY(jinja_str(c, &self, self));
    jv map = jv_undef();
    if (a->n_key) {
        MOA_TRY(jinja_dict_new(c, &map));
        for (int i = 0; i < a->n_key; i++) MOA_TRY(jinja_dict_set(c, map.u.d, a->key[i], a->v[a->n + i]));
    }
    return jinja_percent(c, out, self, a->v, (size_t)a->n, map);
}

FILTER(pprint) {
    UNUSED;
    jbuf b = {0};
    MOA_TRY(jinja_repr(c, &b, self, 0));
    *out = jv_buf(&b);
    return 0;
}

FILTER(tojson) {
    const jv *ind = jinja_arg(a, 1, "indent"), *sep = jinja_arg(a, 2, "separators");
    jjson o = {.ascii = jinja_arg_true(a, 0, "ensure_ascii", false), .sort = jinja_arg_true(a, 3, "sort_keys", false), .item_sep = jv_str(", "), .key_sep = jv_str(": ")};
    jbuf b = {0};
    if (ind && ind->type == JT_STR) o.indent = *ind;
    else if (ind && ind->type == JT_INT) MOA_TRY(jinja_binary(c, &o.indent, O_MUL, jv_str(" "), *ind));
    if (o.indent.type == JT_STR) o.item_sep = jv_str(",");
    if (sep && (sep->type == JT_LIST || sep->type == JT_TUPLE) && sep->u.l->n == 2) {
        MOA_TRY(jinja_str(c, &o.item_sep, sep->u.l->v[0]));
        MOA_TRY(jinja_str(c, &o.key_sep, sep->u.l->v[1]));
    }
    MOA_TRY(jinja_json(c, &b, self, &o, 0));
    MOA_TRY(jinja_charge(c, b.n));
    *out = jv_buf(&b);
    return 0;
}

/* ---- numbers ---- */

static bool to_float(double *out, jv v) {
    if (v.type == JT_STR) return jinja_parse_float(out, v);
    if (v.type != JT_INT && v.type != JT_BOOL && v.type != JT_FLOAT) return false;
    *out = v.type == JT_INT ? (double)v.u.i : v.type == JT_BOOL ? v.u.b : v.u.f;
    return true;
}

FILTER(int) {
    const jv *dflt = jinja_arg(a, 0, "default");
    int64_t base, i;
    double f;
    if (self.type == JT_UNDEF) return jinja_undefined(c, self);
    MOA_TRY(jinja_arg_int(c, &base, a, 1, "base", 10));
    if (self.type == JT_INT || self.type == JT_BOOL) *out = jv_int(self.type == JT_INT ? self.u.i : self.u.b);
    else if (self.type == JT_STR && base >= 0 && base <= 36 && jinja_parse_int(&i, self, (int)base)) *out = jv_int(i);
    else if (to_float(&f, self) && fabs(f) < 0x1p63) *out = jv_int((int64_t)f);
    else *out = dflt ? *dflt : jv_int(0);
    return 0;
}

FILTER(float) {
    const jv *dflt = jinja_arg(a, 0, "default");
    double f;
    if (self.type == JT_UNDEF) return jinja_undefined(c, self);
    *out = to_float(&f, self) ? jv_float(f) : dflt ? *dflt : jv_float(0);
    return 0;
}

FILTER(abs) {
    UNUSED;
    if (self.type == JT_FLOAT) return *out = jv_float(fabs(self.u.f)), 0;
    if (self.type == JT_BOOL) return *out = jv_int(self.u.b), 0;
    if (self.type == JT_UNDEF) return jinja_undefined(c, self);
    if (self.type != JT_INT || self.u.i == INT64_MIN) return jinja_fail(c, MOA_EINVAL, "abs needs a number, got '%s'", jinja_type_name(self));
    *out = jv_int(self.u.i < 0 ? -self.u.i : self.u.i);
    return 0;
}

/* 'common' rounds halves of the stored binary value to even, as Python's round. */
FILTER(round) {
    int64_t p;
    double f;
    jv how;
    MOA_TRY(jinja_arg_int(c, &p, a, 0, "precision", 0));
    MOA_TRY(arg_str(c, &how, a, 1, "method", "common"));
    if (self.type == JT_UNDEF) return jinja_undefined(c, self);
    if (!to_float(&f, self) || self.type == JT_STR) return jinja_fail(c, MOA_EINVAL, "round needs a number, got '%s'", jinja_type_name(self));
    if (p < -300 || p > 300) return jinja_fail(c, MOA_EINVAL, "round: a precision of %lld", (long long)p);
    if (jv_is(how, "ceil") || jv_is(how, "floor")) {
        double k = pow(10, (double)p);
        *out = jv_float((jv_is(how, "ceil") ? ceil(f * k) : floor(f * k)) / k);
        return 0;
    }
    if (!jv_is(how, "common")) return jinja_fail(c, MOA_EINVAL, "round: the method is common, ceil or floor");
    if (self.type != JT_FLOAT && p >= 0) return *out = jv_int(self.type == JT_INT ? self.u.i : self.u.b), 0;
    if (p < 0 || p > 25 || !(fabs(f) < 1e25)) {
        double k = pow(10, (double)p);
        double r = isfinite(f * k) ? nearbyint(f * k) / k : f;
        if (self.type != JT_FLOAT && !(fabs(r) < 0x1p63)) return jinja_fail(c, MOA_ELIMIT, "an integer of more than 64 bits");
        *out = self.type == JT_FLOAT ? jv_float(r) : jv_int((int64_t)r);
        return 0;
    }
    char t[64];
    snprintf(t, sizeof t, "%.*f", (int)p, f);
    *out = jv_float(strtod(t, NULL));
    return 0;
}

/* ---- sequences ---- */

FILTER(length) {
    UNUSED;
    int64_t n;
    MOA_TRY(jinja_length(c, &n, self));
    *out = jv_int(n);
    return 0;
}

static int list_of(jctx *c, jv *out, const jlist *l) {
    MOA_TRY(jinja_charge(c, l->n * 4));
    MOA_TRY(jinja_list_new(c, out, l->n));
    if (l->n) memcpy(out->u.l->v, l->v, l->n * sizeof(jv));
    out->u.l->n = l->n;
    return 0;
}

FILTER(list) {
    UNUSED;
    jlist l;
    MOA_TRY(jinja_items(c, &l, self));
    return list_of(c, out, &l);
}

FILTER(first) {
    UNUSED;
    jlist l;
    MOA_TRY(jinja_items(c, &l, self));
    *out = l.n ? l.v[0] : jv_undef();
    return 0;
}

FILTER(last) {
    UNUSED;
    jlist l;
    MOA_TRY(jinja_items(c, &l, self));
    *out = l.n ? l.v[l.n - 1] : jv_undef();
    return 0;
}

FILTER(reverse) {
    UNUSED;
    jlist l;
    MOA_TRY(jinja_items(c, &l, self));
    MOA_TRY(list_of(c, out, &l));
    for (size_t i = 0; i < l.n; i++) out->u.l->v[i] = l.v[l.n - 1 - i];
    if (self.type != JT_STR) return out->flag = JF_LAZY, 0;
    jbuf b = {0};
    for (size_t i = 0; i < l.n; i++) MOA_TRY(jinja_add(c, &b, out->u.l->v[i].u.s, out->u.l->v[i].n));
    *out = jv_buf(&b);
    return 0;
}

/* item.a.b or item[3], by "a.b" or 3; missing gives the default where there is one */
static int path(jctx *c, jv *out, jv item, jv attr, const jv *dflt) {
    *out = item;
    if (attr.type != JT_STR) {
        MOA_TRY(jinja_getitem(c, out, item, attr));
    } else {
        for (size_t i = 0, k; i <= attr.n; i = k + 1) {
            for (k = i; k < attr.n && attr.u.s[k] != '.'; k++) {}
            jv part = jinja_sub(attr, i, k);
            int64_t n;
            bool digits = part.n > 0;
            for (uint32_t d = 0; d < part.n; d++) digits &= part.u.s[d] >= '0' && part.u.s[d] <= '9';
            MOA_TRY(jinja_charge(c, 0));
            MOA_TRY(jinja_getitem(c, out, *out, digits && jinja_parse_int(&n, part, 10) ? jv_int(n) : part));
            if (out->type == JT_UNDEF && dflt) break;
        }
    }
    if (out->type == JT_UNDEF && dflt) *out = *dflt;
    return 0;
}

/* What items are compared by: an attribute ("a,b": several) and, unless case matters, in lower case. */
static int sort_key(jctx *c, jv *out, jv item, const jv *attr, bool case_sensitive) {
    if (attr && attr->type == JT_STR && memchr(attr->u.s, ',', attr->n)) {
        MOA_TRY(jinja_list_new(c, out, 2));
        for (size_t i = 0, k; i <= attr->n; i = k + 1) {
            jv part;
            for (k = i; k < attr->n && attr->u.s[k] != ','; k++) {}
            jv sub = jinja_strip(jinja_sub(*attr, i, k), jv_undef(), 3);
            MOA_TRY(sort_key(c, &part, item, &sub, case_sensitive));
            MOA_TRY(jinja_list_add(c, out->u.l, part));
        }
        return 0;
    }
    *out = item;
    if (attr && attr->type != JT_NONE) MOA_TRY(path(c, out, item, *attr, NULL));
    return out->type == JT_STR && !case_sensitive ? jinja_case(c, out, *out, JC_LOWER) : 0;
}

static int sorted(jctx *c, jv *out, const jlist *l, const jv *attr, bool case_sensitive, bool reverse) {
    jv keys;
    MOA_TRY(list_of(c, out, l));
    MOA_TRY(jinja_list_new(c, &keys, l->n));
    for (size_t i = 0; i < l->n; i++) {
        jv k;
        MOA_TRY(sort_key(c, &k, l->v[i], attr, case_sensitive));
        MOA_TRY(jinja_list_add(c, keys.u.l, k));
    }
    return jinja_sort(c, out->u.l->v, keys.u.l->v, l->n, reverse);
}

FILTER(sort) {
    jlist l;
    MOA_TRY(jinja_items(c, &l, self));
    return sorted(c, out, &l, jinja_arg(a, 2, "attribute"), jinja_arg_true(a, 1, "case_sensitive", false), jinja_arg_true(a, 0, "reverse", false));
}

static int pairs(jctx *c, jv *out, jv self) {
    MOA_TRY(jinja_list_new(c, out, 0));
    if (self.type == JT_UNDEF) return 0;
    if (self.type != JT_DICT) return jinja_fail(c, MOA_EINVAL, "a dict is needed, got '%s'", jinja_type_name(self));
    for (size_t i = 0; i < self.u.d->n; i++) {
        jv t;
        if (!jinja_live(&self.u.d->e[i])) continue;
        MOA_TRY(jinja_charge(c, 0));
        MOA_TRY(jinja_list_new(c, &t, 2));
        t.type = JT_TUPLE;
        MOA_TRY(jinja_list_add(c, t.u.l, self.u.d->e[i].k));
        MOA_TRY(jinja_list_add(c, t.u.l, self.u.d->e[i].v));
        MOA_TRY(jinja_list_add(c, out->u.l, t));
    }
    return 0;
}

FILTER(items) {
    UNUSED;
    MOA_TRY(pairs(c, out, self));
    out->flag = JF_LAZY;
    return 0;
}

FILTER(dictsort) {
    jv by, list;
    if (self.type == JT_UNDEF) return jinja_undefined(c, self);
    MOA_TRY(arg_str(c, &by, a, 1, "by", "key"));
    MOA_TRY(pairs(c, &list, self));
    jv at = jv_int(jv_is(by, "value"));
    return sorted(c, out, list.u.l, &at, jinja_arg_true(a, 0, "case_sensitive", false), jinja_arg_true(a, 2, "reverse", false));
}

FILTER(unique) {
    jlist l;
    jv seen;
    const jv *attr = jinja_arg(a, 1, "attribute");
    MOA_TRY(jinja_items(c, &l, self));
    MOA_TRY(jinja_list_new(c, out, 0));
    MOA_TRY(jinja_dict_new(c, &seen));
    for (size_t i = 0; i < l.n; i++) {
        jv k;
        jentry *e;
        MOA_TRY(sort_key(c, &k, l.v[i], attr, jinja_arg_true(a, 0, "case_sensitive", false)));
        if (k.type == JT_LIST) k.type = JT_TUPLE;
        MOA_TRY(jinja_dict_find(c, &e, seen.u.d, k));
        if (e) continue;
        MOA_TRY(jinja_dict_set(c, seen.u.d, k, jv_none()));
        MOA_TRY(jinja_list_add(c, out->u.l, l.v[i]));
    }
    out->flag = JF_LAZY;
    return 0;
}

static int extreme(jctx *c, jv *out, jv self, const jcall *a, int want) {
    jlist l;
    jv best = jv_undef();
    const jv *attr = jinja_arg(a, 1, "attribute");
    MOA_TRY(jinja_items(c, &l, self));
    *out = jv_undef();
    for (size_t i = 0; i < l.n; i++) {
        jv k;
        int r = want;
        MOA_TRY(sort_key(c, &k, l.v[i], attr, jinja_arg_true(a, 0, "case_sensitive", false)));
        if (i) MOA_TRY(jinja_order(c, &r, k, best, 0));
        if (want < 0 ? r < 0 : r > 0) best = k, *out = l.v[i];
    }
    return 0;
}
FILTER(min) { return extreme(c, out, self, a, -1); }
FILTER(max) { return extreme(c, out, self, a, 1); }

FILTER(sum) {
    jlist l;
    const jv *attr = jinja_arg(a, 0, "attribute"), *start = jinja_arg(a, 1, "start");
    MOA_TRY(jinja_items(c, &l, self));
    *out = start ? *start : jv_int(0);
    for (size_t i = 0; i < l.n; i++) {
        jv v = l.v[i];
        if (attr && attr->type != JT_NONE) MOA_TRY(path(c, &v, v, *attr, NULL));
        MOA_TRY(jinja_binary(c, out, O_ADD, *out, v));
    }
    return 0;
}

FILTER(join) {
    jlist l;
    jv sep;
    jbuf b = {0};
    const jv *attr = jinja_arg(a, 1, "attribute");
    MOA_TRY(arg_str(c, &sep, a, 0, "d", ""));
    MOA_TRY(jinja_items(c, &l, self));
    for (size_t i = 0; i < l.n; i++) {
        jv v = l.v[i];
        if (attr && attr->type != JT_NONE) MOA_TRY(path(c, &v, v, *attr, NULL));
        MOA_TRY(jinja_str(c, &v, v));
        MOA_TRY(jinja_charge(c, (size_t)v.n + sep.n));
        if (i) MOA_TRY(jinja_add(c, &b, sep.u.s, sep.n));
        MOA_TRY(jinja_add(c, &b, v.u.s, v.n));
    }
    *out = jv_buf(&b);
    return 0;
}

/* Arguments after the first `skip`, for a filter or test that is called by name. */
static jcall rest_of(const jcall *a, int skip) {
    jcall r = *a;
    r.n = a->n > skip ? a->n - skip : 0;
    r.v = a->v + (a->n - r.n);
    return r;
}

FILTER(map) {
    jlist l;
    const jv *attr = jinja_arg(a, -1, "attribute"), *dflt = jinja_arg(a, -1, "default");
    const jrow *row = NULL;
    if (!attr) {
        if (a->n < 1 || a->v[0].type != JT_STR) return jinja_fail(c, MOA_EINVAL, "map needs the name of a filter or attribute=");
        row = jinja_filter_find(a->v[0]);
        if (!row) return jinja_fail(c, MOA_EUNSUPPORTED, "no filter named '%.*s'", (int)a->v[0].n, a->v[0].u.s);
    }
    jcall rest = rest_of(a, 1);
    MOA_TRY(jinja_items(c, &l, self));
    MOA_TRY(jinja_list_new(c, out, l.n));
    out->flag = JF_LAZY;
    for (size_t i = 0; i < l.n; i++) {
        jv v;
        MOA_TRY(jinja_charge(c, (size_t)rest.n_key * 64)); /* a filter looks for each of its names among them */
        MOA_TRY(attr ? path(c, &v, l.v[i], *attr, dflt) : row->fn(c, &v, l.v[i], &rest));
        MOA_TRY(jinja_list_add(c, out->u.l, v));
    }
    return 0;
}

static int select_(jctx *c, jv *out, jv self, const jcall *a, bool by_attr, bool keep) {
    jlist l;
    const jrow *row = NULL;
    int at = by_attr;
    if (by_attr) MOA_TRY(need(c, a, 1, "selectattr"));
    if (a->n > at) {
        jv name = a->v[at];
        if (name.type == JT_STR) row = jinja_test_find(name);
        if (!row) return jinja_fail(c, MOA_EUNSUPPORTED, "no test named '%.*s'", name.type == JT_STR ? (int)name.n : 1, name.type == JT_STR ? name.u.s : "?");
    }
    jcall rest = rest_of(a, at + 1);
    MOA_TRY(jinja_items(c, &l, self));
    MOA_TRY(jinja_list_new(c, out, 0));
    out->flag = JF_LAZY;
    for (size_t i = 0; i < l.n; i++) {
        jv v = l.v[i];
        MOA_TRY(jinja_charge(c, (size_t)rest.n_key * 64));
        if (by_attr) MOA_TRY(path(c, &v, v, a->v[0], NULL));
        if (row) MOA_TRY(row->fn(c, &v, v, &rest));
        if (jinja_truth(v) == keep) MOA_TRY(jinja_list_add(c, out->u.l, l.v[i]));
    }
    return 0;
}
FILTER(select) { return select_(c, out, self, a, false, true); }
FILTER(reject) { return select_(c, out, self, a, false, false); }
FILTER(selectattr) { return select_(c, out, self, a, true, true); }
FILTER(rejectattr) { return select_(c, out, self, a, true, false); }

static int part_of(jctx *c, jv *out, const jlist *l, size_t from, size_t to) {
    jlist sub = {.v = l->v + from, .n = to - from};
    return list_of(c, out, &sub);
}

FILTER(batch) {
    jlist l;
    int64_t n;
    const jv *fill = jinja_arg(a, 1, "fill_with");
    MOA_TRY(jinja_arg_int(c, &n, a, 0, "linecount", 0));
    if (n < 1 || n > JINJA_MAX_RANGE) return jinja_fail(c, MOA_EINVAL, "batch needs a positive number of items");
    MOA_TRY(jinja_items(c, &l, self));
    MOA_TRY(jinja_list_new(c, out, 0));
    out->flag = JF_LAZY;
    for (size_t i = 0; i < l.n; i += (size_t)n) {
        jv part;
        MOA_TRY(part_of(c, &part, &l, i, i + (size_t)n < l.n ? i + (size_t)n : l.n));
        while (fill && fill->type != JT_NONE && part.u.l->n < (size_t)n) MOA_TRY(jinja_list_add(c, part.u.l, *fill));
        MOA_TRY(jinja_list_add(c, out->u.l, part));
    }
    return 0;
}

FILTER(slice) {
    jlist l;
    int64_t n;
    const jv *fill = jinja_arg(a, 1, "fill_with");
    MOA_TRY(jinja_arg_int(c, &n, a, 0, "slices", 0));
    if (n < 1 || n > JINJA_MAX_RANGE) return jinja_fail(c, MOA_EINVAL, "slice needs a positive number of parts");
    MOA_TRY(jinja_items(c, &l, self));
    MOA_TRY(jinja_list_new(c, out, 0));
    out->flag = JF_LAZY;
    size_t each = l.n / (size_t)n, more = l.n % (size_t)n, from = 0;
    for (size_t i = 0; i < (size_t)n; i++) {
        jv part;
        size_t to = from + each + (i < more);
        MOA_TRY(part_of(c, &part, &l, from, to));
        if (fill && fill->type != JT_NONE && more && i >= more) MOA_TRY(jinja_list_add(c, part.u.l, *fill));
        MOA_TRY(jinja_list_add(c, out->u.l, part));
        from = to;
    }
    return 0;
}

FILTER(groupby) {
    jlist l;
    jv list, last = jv_undef();
    const jv *attr = jinja_arg(a, 0, "attribute"), *dflt = jinja_arg(a, 1, "default");
    bool cs = jinja_arg_true(a, 2, "case_sensitive", false);
    if (!attr) return jinja_fail(c, MOA_EINVAL, "groupby needs an attribute");
    MOA_TRY(jinja_items(c, &l, self));
    MOA_TRY(sorted(c, &list, &l, attr, cs, false));
    MOA_TRY(jinja_list_new(c, out, 0));
    for (size_t i = 0; i < l.n; i++) {
        jv key, real, group, items;
        bool same = false;
        MOA_TRY(path(c, &real, list.u.l->v[i], *attr, dflt));
        key = real;
        if (key.type == JT_STR && !cs) MOA_TRY(jinja_case(c, &key, key, JC_LOWER));
        if (i) MOA_TRY(jinja_equal(c, &same, key, last, 0));
        if (!same) {
            MOA_TRY(jinja_list_new(c, &items, 0));
            MOA_TRY(jinja_list_new(c, &group, 2));
            group.type = JT_TUPLE, group.flag = JF_GROUP;
            MOA_TRY(jinja_list_add(c, group.u.l, real));
            MOA_TRY(jinja_list_add(c, group.u.l, items));
            MOA_TRY(jinja_list_add(c, out->u.l, group));
            last = key;
        }
        jv current = out->u.l->v[out->u.l->n - 1].u.l->v[1];
        MOA_TRY(jinja_list_add(c, current.u.l, list.u.l->v[i]));
    }
    return 0;
}

/* ---- values ---- */

FILTER(default) {
    const jv *d = jinja_arg(a, 0, "default_value");
    bool use = self.type == JT_UNDEF || (jinja_arg_true(a, 1, "boolean", false) && !jinja_truth(self));
    (void)c;
    *out = !use ? self : d ? *d : jv_str("");
    return 0;
}

FILTER(attr) {
    MOA_TRY(need(c, a, 1, "attr"));
    if (self.type == JT_DICT) return *out = jv_undef(), 0; /* attributes of the object, never its keys */
    return jinja_getattr(c, out, self, a->v[0]);
}

const jrow *jinja_filter_find(jv name) {
    static const jrow rows[] = {
        {"abs", f_abs, 0}, {"attr", f_attr, 0}, {"batch", f_batch, 0}, {"capitalize", f_capitalize, 0}, {"center", f_center, 0},
        {"count", f_length, 0}, {"d", f_default, 0}, {"default", f_default, 0}, {"dictsort", f_dictsort, 0}, {"e", f_escape, 0},
        {"escape", f_escape, 0}, {"first", f_first, 0}, {"float", f_float, 0}, {"forceescape", f_forceescape, 0}, {"format", f_format, 0},
        {"groupby", f_groupby, 0}, {"indent", f_indent, 0}, {"int", f_int, 0}, {"items", f_items, 0}, {"join", f_join, 0},
        {"last", f_last, 0}, {"length", f_length, 0}, {"list", f_list, 0}, {"lower", f_lower, 0}, {"map", f_map, 0},
        {"max", f_max, 0}, {"min", f_min, 0}, {"pprint", f_pprint, 0}, {"reject", f_reject, 0}, {"rejectattr", f_rejectattr, 0},
        {"replace", f_replace, 0}, {"reverse", f_reverse, 0}, {"round", f_round, 0}, {"safe", f_safe, 0}, {"select", f_select, 0},
        {"selectattr", f_selectattr, 0}, {"slice", f_slice, 0}, {"sort", f_sort, 0}, {"string", f_string, 0}, {"sum", f_sum, 0},
        {"title", f_title, 0}, {"tojson", f_tojson, 0}, {"trim", f_trim, 0}, {"truncate", f_truncate, 0}, {"unique", f_unique, 0},
        {"upper", f_upper, 0}, {"urlencode", f_urlencode, 0}, {"wordcount", f_wordcount, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (jv_is(name, rows[i].name)) return &rows[i];
    return NULL;
}
