/* jinja_value.c - values with Python's semantics: what is true, equal, less; repr and JSON text; lists and dicts.
 * Recursion over values is bounded (a list can be appended to itself), and so is their work.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "base/utf8.h"
#include "format/jinja_impl.h"

#include <math.h>
#include <stdlib.h>
#include <utf8proc.h>

const char *jinja_type_name(jv v) {
    static const char *const names[] = {"undefined", "NoneType", "bool", "int", "float", "str", "list", "tuple", "dict",
                                        "namespace", "range", "macro", "loop", "method", "function"};
    return v.type == JT_LIST && v.flag == JF_LAZY ? "generator" : names[v.type];
}

int jinja_undefined(jctx *c, jv v) {
    int n = v.n < 100 ? (int)v.n : 100;
    if (!v.n) return jinja_fail(c, MOA_EINVAL, "a value that is undefined is used");
    if (!v.flag) return jinja_fail(c, MOA_EINVAL, "'%.*s' is undefined", n, v.u.s);
    return jinja_fail(c, MOA_EINVAL, "'%s' has no attribute '%.*s'", jinja_type_name((jv){.type = v.flag - 1}), n, v.u.s);
}

bool jinja_truth(jv v) {
    switch ((jtype)v.type) {
    case JT_UNDEF:
    case JT_NONE: return false;
    case JT_BOOL: return v.u.b;
    case JT_INT: return v.u.i != 0;
    case JT_FLOAT: return v.u.f != 0;
    case JT_STR: return v.n != 0;
    case JT_LIST: return v.flag == JF_LAZY || v.u.l->n;
    case JT_TUPLE: return v.u.l->n;
    case JT_DICT: return v.u.d->live;
    case JT_RANGE: return v.u.r->n;
    default: return true;
    }
}

static bool is_num(jv v) { return v.type == JT_BOOL || v.type == JT_INT || v.type == JT_FLOAT; }
static double num(jv v) { return v.type == JT_BOOL ? v.u.b : v.type == JT_INT ? (double)v.u.i : v.u.f; }
static int64_t integer(jv v) { return v.type == JT_BOOL ? v.u.b : v.u.i; }
static bool is_seq(jv v) { return v.type == JT_LIST || v.type == JT_TUPLE; }

/* Is f exactly an int64? */
static bool whole(double f, int64_t *i) {
    if (!(f >= -0x1p63 && f < 0x1p63) || f != floor(f)) return false;
    *i = (int64_t)f;
    return true;
}

static int order_num(jv a, jv b) {
    if (a.type != JT_FLOAT && b.type != JT_FLOAT) return integer(a) < integer(b) ? -1 : integer(a) > integer(b);
    int64_t i;
    if (a.type == JT_FLOAT && b.type != JT_FLOAT && whole(a.u.f, &i)) return i < integer(b) ? -1 : i > integer(b);
    if (b.type == JT_FLOAT && a.type != JT_FLOAT && whole(b.u.f, &i)) return integer(a) < i ? -1 : integer(a) > i;
    return num(a) < num(b) ? -1 : num(a) > num(b);
}

static int too_deep(jctx *c) { return jinja_fail(c, MOA_ELIMIT, "a value nested more than %d levels deep", JINJA_MAX_NEST); }

static int equal_dict(jctx *c, bool *out, const jdict *a, const jdict *b, int depth) {
    *out = a->live == b->live;
    for (size_t i = 0; *out && i < a->n; i++) {
        if (!jinja_live(&a->e[i])) continue;
        jentry *e;
        MOA_TRY(jinja_dict_find(c, &e, b, a->e[i].k));
        if (!e) *out = false;
        else MOA_TRY(jinja_equal(c, out, a->e[i].v, e->v, depth + 1));
    }
    return 0;
}

int jinja_equal(jctx *c, bool *out, jv a, jv b, int depth) {
    if (depth > JINJA_MAX_NEST) return too_deep(c);
    MOA_TRY(jinja_charge(c, a.type == JT_STR ? a.n : 0));
    *out = false;
    if (is_num(a) && is_num(b)) {
        bool nan = (a.type == JT_FLOAT && isnan(a.u.f)) || (b.type == JT_FLOAT && isnan(b.u.f));
        *out = !nan && order_num(a, b) == 0;
        return 0;
    }
    if (a.type != b.type) return 0;
    switch ((jtype)a.type) {
    case JT_UNDEF:
    case JT_NONE: *out = true; return 0;
    case JT_STR: *out = a.n == b.n && !memcmp(a.u.s, b.u.s, a.n); return 0;
    case JT_LIST:
    case JT_TUPLE:
        *out = a.u.l->n == b.u.l->n;
        for (size_t i = 0; *out && i < a.u.l->n && i < b.u.l->n; i++) MOA_TRY(jinja_equal(c, out, a.u.l->v[i], b.u.l->v[i], depth + 1));
        return 0;
    case JT_DICT: return equal_dict(c, out, a.u.d, b.u.d, depth);
    case JT_RANGE: *out = a.u.r->n == b.u.r->n && (!a.u.r->n || (a.u.r->start == b.u.r->start && (a.u.r->n == 1 || a.u.r->step == b.u.r->step))); return 0;
    case JT_METHOD: *out = a.u.me->row == b.u.me->row && a.u.me->self.u.s == b.u.me->self.u.s; return 0;
    default: *out = a.u.s == b.u.s; return 0; /* identity */
    }
}

int jinja_order(jctx *c, int *out, jv a, jv b, int depth) {
    if (depth > JINJA_MAX_NEST) return too_deep(c);
    MOA_TRY(jinja_charge(c, a.type == JT_STR && b.type == JT_STR ? (a.n < b.n ? a.n : b.n) : 0));
    if (is_num(a) && is_num(b)) return *out = order_num(a, b), 0;
    if (a.type == JT_STR && b.type == JT_STR) { /* byte order of UTF-8 is code point order */
        int r = memcmp(a.u.s, b.u.s, a.n < b.n ? a.n : b.n);
        *out = r ? r : a.n < b.n ? -1 : a.n > b.n;
        return 0;
    }
    if (is_seq(a) && a.type == b.type) {
        for (size_t i = 0; i < a.u.l->n && i < b.u.l->n; i++) {
            bool same;
            MOA_TRY(jinja_equal(c, &same, a.u.l->v[i], b.u.l->v[i], depth + 1));
            if (!same) return jinja_order(c, out, a.u.l->v[i], b.u.l->v[i], depth + 1);
        }
        *out = a.u.l->n < b.u.l->n ? -1 : a.u.l->n > b.u.l->n;
        return 0;
    }
    if (a.type == JT_UNDEF) return jinja_undefined(c, a);
    if (b.type == JT_UNDEF) return jinja_undefined(c, b);
    return jinja_fail(c, MOA_EINVAL, "'%s' and '%s' have no order", jinja_type_name(a), jinja_type_name(b));
}

/* ---- lists and dicts ---- */

int jinja_list_new(jctx *c, jv *out, size_t cap) {
    jlist *l = jinja_alloc(c, sizeof *l);
    if (!l) return jinja_nomem(c);
    *l = (jlist){.cap = cap};
    if (cap > SIZE_MAX / sizeof(jv) || (cap && !(l->v = jinja_alloc(c, cap * sizeof(jv))))) return jinja_nomem(c);
    *out = (jv){.type = JT_LIST, .u.l = l};
    return 0;
}

int jinja_list_add(jctx *c, jlist *l, jv v) {
    if (l->n >= l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 4;
        jv *p = jinja_alloc(c, cap * sizeof *p);
        if (!p) return jinja_nomem(c);
        if (l->n) memcpy(p, l->v, l->n * sizeof *p);
        l->v = p, l->cap = cap;
    }
    l->v[l->n++] = v;
    return 0;
}

/* Numbers that are equal hash alike, whatever their type. */
static int hash(jctx *c, uint64_t *out, jv k, int depth) {
    if (depth > JINJA_MAX_NEST) return too_deep(c);
    MOA_TRY(jinja_charge(c, k.type == JT_STR ? k.n : 0)); /* a tuple may hold itself twice over, again and again */
    int64_t i;
    switch ((jtype)k.type) {
    case JT_BOOL:
    case JT_INT: *out = moa_mix64((uint64_t)integer(k)); return 0;
    case JT_FLOAT: *out = whole(k.u.f, &i) ? moa_mix64((uint64_t)i) : moa_hash64(&k.u.f, sizeof k.u.f, 1); return 0;
    case JT_STR: *out = moa_hash64(k.u.s, k.n, 2); return 0;
    case JT_NONE: *out = 3; return 0;
    case JT_UNDEF: *out = 4; return 0;
    case JT_TUPLE:
        *out = 5;
        for (size_t j = 0; j < k.u.l->n; j++) {
            uint64_t h;
            MOA_TRY(hash(c, &h, k.u.l->v[j], depth + 1));
            *out = moa_mix64(*out ^ h) + j;
        }
        return 0;
    default: return jinja_fail(c, MOA_EINVAL, "a '%s' cannot be the key of a dict", jinja_type_name(k));
    }
}

int jinja_dict_new(jctx *c, jv *out) {
    jdict *d = jinja_alloc(c, sizeof *d);
    if (!d) return jinja_nomem(c);
    *d = (jdict){0};
    *out = (jv){.type = JT_DICT, .u.d = d};
    return 0;
}

static int find(jctx *c, jentry **out, const jdict *d, jv k, uint64_t h) {
    *out = NULL;
    bool same = false;
    if (!d->slot) {
        for (size_t i = 0; i < d->n; i++) {
            if (d->e[i].hash != h || !jinja_live(&d->e[i])) continue;
            MOA_TRY(jinja_equal(c, &same, d->e[i].k, k, 0));
            if (same) return *out = &d->e[i], 0;
        }
        return 0;
    }
    for (size_t s = h & (d->n_slot - 1); d->slot[s]; s = (s + 1) & (d->n_slot - 1)) {
        MOA_TRY(jinja_charge(c, 0));
        jentry *e = &d->e[d->slot[s] - 1];
        if (e->hash != h || !jinja_live(e)) continue;
        MOA_TRY(jinja_equal(c, &same, e->k, k, 0));
        if (same) return *out = e, 0;
    }
    return 0;
}

int jinja_dict_find(jctx *c, jentry **out, const jdict *d, jv k) {
    uint64_t h;
    MOA_TRY(hash(c, &h, k, 0));
    return find(c, out, d, k, h);
}

/* Small dicts are searched one by one; from 16 entries an open-addressed index at most half full helps. */
static int grow(jctx *c, jdict *d) {
    size_t cap = d->cap ? d->cap * 2 : 4;
    if (cap > UINT32_MAX / 4) return jinja_nomem(c);
    jentry *e = jinja_alloc(c, cap * sizeof *e);
    if (!e) return jinja_nomem(c);
    if (d->n) memcpy(e, d->e, d->n * sizeof *e);
    d->e = e, d->cap = cap;
    if (cap < 32) return 0;
    d->n_slot = cap * 2;
    d->slot = jinja_alloc(c, d->n_slot * sizeof *d->slot);
    if (!d->slot) return jinja_nomem(c);
    memset(d->slot, 0, d->n_slot * sizeof *d->slot);
    for (size_t i = 0; i < d->n; i++) {
        size_t s = e[i].hash & (d->n_slot - 1);
        while (d->slot[s]) s = (s + 1) & (d->n_slot - 1);
        d->slot[s] = (uint32_t)i + 1;
    }
    return 0;
}

int jinja_dict_set(jctx *c, jdict *d, jv k, jv v) {
    uint64_t h;
    jentry *e;
    MOA_TRY(hash(c, &h, k, 0));
    MOA_TRY(find(c, &e, d, k, h));
    if (e) return e->v = v, 0;
    if (d->n == d->cap) MOA_TRY(grow(c, d));
    if (d->slot) {
        size_t s = h & (d->n_slot - 1);
        while (d->slot[s]) s = (s + 1) & (d->n_slot - 1);
        d->slot[s] = (uint32_t)d->n + 1;
    }
    d->e[d->n++] = (jentry){.k = k, .v = v, .hash = h};
    d->live++;
    return 0;
}

void jinja_dict_remove(jdict *d, jentry *e) {
    e->k = (jv){.type = JT_UNDEF, .flag = 255};
    d->live--;
}

/* ---- iteration ---- */

static int chars_of(jctx *c, jlist *out, jv s) {
    uint32_t cp;
    for (size_t i = 0; i < s.n;) {
        size_t k = (size_t)moa_utf8_next(&cp, s.u.s + i, s.n - i);
        MOA_TRY(jinja_list_add(c, out, jinja_sub(s, i, i + k)));
        i += k;
    }
    return 0;
}

int jinja_items(jctx *c, jlist *out, jv v) {
    *out = (jlist){0};
    switch ((jtype)v.type) {
    case JT_UNDEF: return 0;
    case JT_LIST:
    case JT_TUPLE: *out = *v.u.l; return 0;
    case JT_STR: MOA_TRY(jinja_charge(c, v.n)); return chars_of(c, out, v);
    case JT_DICT:
        for (size_t i = 0; i < v.u.d->n; i++)
            if (jinja_live(&v.u.d->e[i])) MOA_TRY(jinja_list_add(c, out, v.u.d->e[i].k));
        return jinja_charge(c, v.u.d->n);
    case JT_RANGE:
        MOA_TRY(jinja_charge(c, v.u.r->n));
        for (size_t i = 0; i < v.u.r->n; i++) MOA_TRY(jinja_list_add(c, out, jv_int(v.u.r->start + (int64_t)i * v.u.r->step)));
        return 0;
    case JT_LOOP: *out = v.u.loop->items; return 0;
    default: return jinja_fail(c, MOA_EINVAL, "a '%s' cannot be iterated over", jinja_type_name(v));
    }
}

int jinja_length(jctx *c, int64_t *out, jv v) {
    switch ((jtype)v.type) {
    case JT_UNDEF: *out = 0; return 0;
    case JT_STR: *out = (int64_t)jinja_chars(v); return jinja_charge(c, v.n);
    case JT_LIST:
    case JT_TUPLE: *out = (int64_t)v.u.l->n; return 0;
    case JT_DICT: *out = (int64_t)v.u.d->live; return 0;
    case JT_RANGE: *out = (int64_t)v.u.r->n; return 0;
    case JT_LOOP: *out = (int64_t)v.u.loop->items.n; return 0;
    default: return jinja_fail(c, MOA_EINVAL, "a '%s' has no length", jinja_type_name(v));
    }
}

int jinja_contains(jctx *c, bool *out, jv box, jv item) {
    *out = false;
    if (box.type == JT_STR) {
        if (item.type == JT_UNDEF) return jinja_undefined(c, item);
        if (item.type != JT_STR) return jinja_fail(c, MOA_EINVAL, "'in' a string needs a string on its left, got '%s'", jinja_type_name(item));
        *out = jinja_find(box, item) != NULL;
        return jinja_charge(c, box.n);
    }
    if (box.type == JT_DICT) {
        jentry *e;
        MOA_TRY(jinja_dict_find(c, &e, box.u.d, item));
        *out = e != NULL;
        return 0;
    }
    jlist l;
    MOA_TRY(jinja_items(c, &l, box));
    for (size_t i = 0; i < l.n && !*out; i++) MOA_TRY(jinja_equal(c, out, l.v[i], item, 0));
    return 0;
}

/* ---- text ---- */

static bool printable(uint32_t cp) {
    if (cp < 0x7F) return cp >= 0x20;
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_CC: case UTF8PROC_CATEGORY_CF: case UTF8PROC_CATEGORY_CS: case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN: case UTF8PROC_CATEGORY_ZL: case UTF8PROC_CATEGORY_ZP: case UTF8PROC_CATEGORY_ZS: return false;
    default: return true;
    }
}

static int add_hex(jctx *c, jbuf *b, const char *lead, uint32_t v, int digits) {
    MOA_TRY(jinja_adds(c, b, lead));
    for (int i = digits - 1; i >= 0; i--) MOA_TRY(jinja_add(c, b, &"0123456789abcdef"[v >> (4 * i) & 15], 1));
    return 0;
}

static int repr_str(jctx *c, jbuf *b, jv s) {
    bool has_single = s.n && memchr(s.u.s, '\'', s.n), has_double = s.n && memchr(s.u.s, '"', s.n);
    char quote = has_single && !has_double ? '"' : '\'';
    uint32_t cp;
    MOA_TRY(jinja_charge(c, s.n));
    MOA_TRY(jinja_add(c, b, &quote, 1));
    for (size_t i = 0, k; i < s.n; i += k) {
        k = (size_t)moa_utf8_next(&cp, s.u.s + i, s.n - i);
        if (cp == '\n') MOA_TRY(jinja_adds(c, b, "\\n"));
        else if (cp == '\r') MOA_TRY(jinja_adds(c, b, "\\r"));
        else if (cp == '\t') MOA_TRY(jinja_adds(c, b, "\\t"));
        else if (cp == '\\') MOA_TRY(jinja_adds(c, b, "\\\\"));
        else if (cp == (uint32_t)quote) MOA_TRY(jinja_add(c, b, quote == '"' ? "\\\"" : "\\'", 2));
        else if (printable(cp)) MOA_TRY(jinja_add(c, b, s.u.s + i, k));
        else if (cp < 0x100) MOA_TRY(add_hex(c, b, "\\x", cp, 2));
        else if (cp < 0x10000) MOA_TRY(add_hex(c, b, "\\u", cp, 4));
        else MOA_TRY(add_hex(c, b, "\\U", cp, 8));
    }
    return jinja_add(c, b, &quote, 1);
}

static int add_int(jctx *c, jbuf *b, int64_t v) {
    char t[24];
    char *p = t + sizeof t;
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    do *--p = (char)('0' + u % 10);
    while (u /= 10);
    if (v < 0) *--p = '-';
    return jinja_add(c, b, p, (size_t)(t + sizeof t - p));
}

static int repr_seq(jctx *c, jbuf *b, const jlist *l, bool is_tuple, int depth) {
    MOA_TRY(jinja_adds(c, b, is_tuple ? "(" : "["));
    for (size_t i = 0; i < l->n; i++) {
        if (i) MOA_TRY(jinja_adds(c, b, ", "));
        MOA_TRY(jinja_repr(c, b, l->v[i], depth + 1));
    }
    if (is_tuple && l->n == 1) MOA_TRY(jinja_adds(c, b, ","));
    return jinja_adds(c, b, is_tuple ? ")" : "]");
}

static int repr_dict(jctx *c, jbuf *b, const jdict *d, int depth) {
    bool first = true;
    MOA_TRY(jinja_adds(c, b, "{"));
    for (size_t i = 0; i < d->n; i++) {
        if (!jinja_live(&d->e[i])) continue;
        if (!first) MOA_TRY(jinja_adds(c, b, ", "));
        first = false;
        MOA_TRY(jinja_repr(c, b, d->e[i].k, depth + 1));
        MOA_TRY(jinja_adds(c, b, ": "));
        MOA_TRY(jinja_repr(c, b, d->e[i].v, depth + 1));
    }
    return jinja_adds(c, b, "}");
}

static int repr_range(jctx *c, jbuf *b, const jrange *r) {
    MOA_TRY(jinja_adds(c, b, "range("));
    MOA_TRY(add_int(c, b, r->start));
    MOA_TRY(jinja_adds(c, b, ", "));
    MOA_TRY(add_int(c, b, r->stop));
    if (r->step != 1) {
        MOA_TRY(jinja_adds(c, b, ", "));
        MOA_TRY(add_int(c, b, r->step));
    }
    return jinja_adds(c, b, ")");
}

int jinja_repr(jctx *c, jbuf *b, jv v, int depth) {
    if (depth > JINJA_MAX_NEST) return too_deep(c);
    MOA_TRY(jinja_charge(c, 0));
    switch ((jtype)v.type) {
    case JT_UNDEF: return jinja_adds(c, b, "Undefined");
    case JT_NONE: return jinja_adds(c, b, "None");
    case JT_BOOL: return jinja_adds(c, b, v.u.b ? "True" : "False");
    case JT_INT: return add_int(c, b, v.u.i);
    case JT_FLOAT: return jinja_add_float(c, b, v.u.f);
    case JT_STR:
        if (v.flag & JF_SAFE) MOA_TRY(jinja_adds(c, b, "Markup("));
        MOA_TRY(repr_str(c, b, v));
        return v.flag & JF_SAFE ? jinja_adds(c, b, ")") : 0;
    case JT_LIST:
        if (v.flag == JF_LAZY) return jinja_adds(c, b, "<generator>");
        return repr_seq(c, b, v.u.l, false, depth);
    case JT_TUPLE: return repr_seq(c, b, v.u.l, true, depth);
    case JT_DICT: return repr_dict(c, b, v.u.d, depth);
    case JT_NS:
        MOA_TRY(jinja_adds(c, b, "<Namespace "));
        MOA_TRY(repr_dict(c, b, v.u.d, depth));
        return jinja_adds(c, b, ">");
    case JT_RANGE: return repr_range(c, b, v.u.r);
    default:
        MOA_TRY(jinja_adds(c, b, "<"));
        MOA_TRY(jinja_adds(c, b, jinja_type_name(v)));
        return jinja_adds(c, b, ">");
    }
}

int jinja_str(jctx *c, jv *out, jv v) {
    jbuf b = {0};
    if (v.type == JT_STR) return *out = v, 0;
    if (v.type == JT_UNDEF) return *out = jv_strn("", 0), 0;
    MOA_TRY(jinja_repr(c, &b, v, 0));
    *out = jv_buf(&b);
    return 0;
}

/* ---- JSON, as Python's json.dumps writes it ---- */

static int json_str(jctx *c, jbuf *b, jv s, bool ascii) {
    uint32_t cp;
    MOA_TRY(jinja_charge(c, s.n));
    MOA_TRY(jinja_adds(c, b, "\""));
    for (size_t i = 0, k; i < s.n; i += k) {
        static const char names[] = "btn\0fr";
        k = (size_t)moa_utf8_next(&cp, s.u.s + i, s.n - i);
        if (cp == '"' || cp == '\\') {
            MOA_TRY(jinja_add(c, b, (char[]){'\\', (char)cp}, 2));
        } else if (cp >= 8 && cp <= 13 && names[cp - 8]) {
            MOA_TRY(jinja_add(c, b, (char[]){'\\', names[cp - 8]}, 2));
        } else if (cp < 0x20 || (ascii && cp > 0x7E && cp < 0x10000)) {
            MOA_TRY(add_hex(c, b, "\\u", cp, 4));
        } else if (ascii && cp >= 0x10000) {
            MOA_TRY(add_hex(c, b, "\\u", 0xD800 + ((cp - 0x10000) >> 10), 4));
            MOA_TRY(add_hex(c, b, "\\u", 0xDC00 + ((cp - 0x10000) & 0x3FF), 4));
        } else {
            MOA_TRY(jinja_add(c, b, s.u.s + i, k));
        }
    }
    return jinja_adds(c, b, "\"");
}

static int json_break(jctx *c, jbuf *b, const jjson *o, int depth) {
    if (o->indent.type != JT_STR) return 0;
    MOA_TRY(jinja_adds(c, b, "\n"));
    for (int i = 0; i < depth; i++) MOA_TRY(jinja_add(c, b, o->indent.u.s, o->indent.n));
    return 0;
}

static int json_key(jctx *c, jbuf *b, jv k, const jjson *o) {
    if (k.type == JT_STR) return json_str(c, b, k, o->ascii);
    if (k.type != JT_INT && k.type != JT_BOOL && k.type != JT_FLOAT && k.type != JT_NONE)
        return jinja_fail(c, MOA_EINVAL, "tojson: a key must be a string, number, boolean or none, got '%s'", jinja_type_name(k));
    MOA_TRY(jinja_adds(c, b, "\""));
    MOA_TRY(jinja_json(c, b, k, o, 0));
    return jinja_adds(c, b, "\"");
}

static int json_dict(jctx *c, jbuf *b, const jdict *d, const jjson *o, int depth) {
    if (!d->live) return jinja_adds(c, b, "{}");
    jv keys, vals;
    MOA_TRY(jinja_list_new(c, &keys, d->live));
    MOA_TRY(jinja_list_new(c, &vals, d->live));
    for (size_t i = 0; i < d->n; i++) {
        if (!jinja_live(&d->e[i])) continue;
        MOA_TRY(jinja_list_add(c, keys.u.l, d->e[i].k));
        MOA_TRY(jinja_list_add(c, vals.u.l, d->e[i].v));
    }
    if (o->sort) {
        MOA_TRY(jinja_sort(c, vals.u.l->v, keys.u.l->v, d->live, false));
        MOA_TRY(jinja_sort(c, keys.u.l->v, keys.u.l->v, d->live, false));
    }
    MOA_TRY(jinja_adds(c, b, "{"));
    for (size_t i = 0; i < keys.u.l->n; i++) {
        if (i) MOA_TRY(jinja_add(c, b, o->item_sep.u.s, o->item_sep.n));
        MOA_TRY(json_break(c, b, o, depth + 1));
        MOA_TRY(json_key(c, b, keys.u.l->v[i], o));
        MOA_TRY(jinja_add(c, b, o->key_sep.u.s, o->key_sep.n));
        MOA_TRY(jinja_json(c, b, vals.u.l->v[i], o, depth + 1));
    }
    MOA_TRY(json_break(c, b, o, depth));
    return jinja_adds(c, b, "}");
}

int jinja_json(jctx *c, jbuf *b, jv v, const jjson *o, int depth) {
    if (depth > JINJA_MAX_NEST) return too_deep(c);
    MOA_TRY(jinja_charge(c, 0));
    switch ((jtype)v.type) {
    case JT_NONE: return jinja_adds(c, b, "null");
    case JT_BOOL: return jinja_adds(c, b, v.u.b ? "true" : "false");
    case JT_INT: return add_int(c, b, v.u.i);
    case JT_FLOAT:
        if (isnan(v.u.f)) return jinja_adds(c, b, "NaN");
        if (isinf(v.u.f)) return jinja_adds(c, b, v.u.f < 0 ? "-Infinity" : "Infinity");
        return jinja_add_float(c, b, v.u.f);
    case JT_STR: return json_str(c, b, v, o->ascii);
    case JT_LIST:
    case JT_TUPLE:
        if (!v.u.l->n) return jinja_adds(c, b, "[]");
        MOA_TRY(jinja_adds(c, b, "["));
        for (size_t i = 0; i < v.u.l->n; i++) {
            if (i) MOA_TRY(jinja_add(c, b, o->item_sep.u.s, o->item_sep.n));
            MOA_TRY(json_break(c, b, o, depth + 1));
            MOA_TRY(jinja_json(c, b, v.u.l->v[i], o, depth + 1));
        }
        MOA_TRY(json_break(c, b, o, depth));
        return jinja_adds(c, b, "]");
    case JT_DICT: return json_dict(c, b, v.u.d, o, depth);
    case JT_UNDEF: return jinja_undefined(c, v);
    default: return jinja_fail(c, MOA_EINVAL, "tojson: a '%s' has no JSON form", jinja_type_name(v));
    }
}

int jinja_from_json(jctx *c, jv *out, const json_t *j, int depth) {
    if (depth > JINJA_MAX_NEST) return too_deep(c);
    MOA_TRY(jinja_charge(c, 0));
    switch (json_typeof(j)) {
    case JSON_NULL: *out = jv_none(); return 0;
    case JSON_TRUE: *out = jv_bool(true); return 0;
    case JSON_FALSE: *out = jv_bool(false); return 0;
    case JSON_INTEGER: *out = jv_int(json_integer_value(j)); return 0;
    case JSON_REAL: *out = jv_float(json_real_value(j)); return 0;
    case JSON_STRING:
        if (json_string_length(j) > UINT32_MAX) return jinja_nomem(c);
        *out = jv_strn(json_string_value(j), json_string_length(j)); /* borrowed: it outlives the rendering */
        return 0;
    case JSON_ARRAY: {
        size_t n = json_array_size(j);
        MOA_TRY(jinja_list_new(c, out, n));
        for (size_t i = 0; i < n; i++) {
            jv v;
            MOA_TRY(jinja_from_json(c, &v, json_array_get(j, i), depth + 1));
            MOA_TRY(jinja_list_add(c, out->u.l, v));
        }
        return 0;
    }
    case JSON_OBJECT: {
        const char *key;
        json_t *val;
        MOA_TRY(jinja_dict_new(c, out));
        json_object_foreach((json_t *)(uintptr_t)j, key, val) {
            jv v;
            MOA_TRY(jinja_from_json(c, &v, val, depth + 1));
            MOA_TRY(jinja_dict_set(c, out->u.d, jv_str(key), v));
        }
        return 0;
    }
    }
    return 0;
}

/* ---- attributes and items ---- */

static jv missing(jv obj, jv name) {
    return (jv){.type = JT_UNDEF, .flag = (uint8_t)(obj.type + 1), .n = name.type == JT_STR ? name.n : 0, .u.s = name.type == JT_STR ? name.u.s : ""};
}

static int method_or_missing(jctx *c, jv *out, jv obj, jv name) {
    const jrow *row = jinja_method_find(obj, name);
    *out = missing(obj, name);
    if (!row) return 0;
    jmethod *m = jinja_alloc(c, sizeof *m);
    if (!m) return jinja_nomem(c);
    *m = (jmethod){obj, row};
    *out = (jv){.type = JT_METHOD, .u.me = m};
    return 0;
}

static bool loop_attr(jv *out, const jloop *l, jv name) {
    int64_t i = (int64_t)l->i, n = (int64_t)l->items.n;
    if (jv_is(name, "index")) *out = jv_int(i + 1);
    else if (jv_is(name, "index0")) *out = jv_int(i);
    else if (jv_is(name, "revindex")) *out = jv_int(n - i);
    else if (jv_is(name, "revindex0")) *out = jv_int(n - i - 1);
    else if (jv_is(name, "first")) *out = jv_bool(i == 0);
    else if (jv_is(name, "last")) *out = jv_bool(i + 1 == n);
    else if (jv_is(name, "length")) *out = jv_int(n);
    else if (jv_is(name, "depth")) *out = jv_int(l->depth);
    else if (jv_is(name, "depth0")) *out = jv_int(l->depth - 1);
    else if (jv_is(name, "previtem")) *out = i > 0 ? l->items.v[i - 1] : jv_undef();
    else if (jv_is(name, "nextitem")) *out = i + 1 < n ? l->items.v[i + 1] : jv_undef();
    else return false;
    return true;
}

int jinja_getattr(jctx *c, jv *out, jv obj, jv name) {
    if (obj.type == JT_UNDEF) return jinja_undefined(c, obj);
    if (obj.type == JT_LOOP && loop_attr(out, obj.u.loop, name)) return 0;
    if (obj.type == JT_MACRO && jv_is(name, "name")) return *out = obj.u.m->node->val, 0;
    if (obj.type == JT_TUPLE && (obj.flag & JF_GROUP) && (jv_is(name, "grouper") || jv_is(name, "list"))) return *out = obj.u.l->v[jv_is(name, "list")], 0;
    MOA_TRY(method_or_missing(c, out, obj, name));
    if (out->type != JT_UNDEF || (obj.type != JT_DICT && obj.type != JT_NS)) return 0;
    jentry *e;
    MOA_TRY(jinja_dict_find(c, &e, obj.u.d, name));
    if (e) *out = e->v;
    return 0;
}

int jinja_getitem(jctx *c, jv *out, jv obj, jv key) {
    if (obj.type == JT_UNDEF) return jinja_undefined(c, obj);
    *out = missing(obj, key);
    if (obj.type == JT_DICT) {
        if (key.type != JT_LIST && key.type != JT_DICT) {
            jentry *e;
            MOA_TRY(jinja_dict_find(c, &e, obj.u.d, key));
            if (e) return *out = e->v, 0;
        }
    } else if (key.type == JT_INT || key.type == JT_BOOL) {
        int64_t i = integer(key), n;
        if (!is_seq(obj) && obj.type != JT_STR && obj.type != JT_RANGE) return 0;
        MOA_TRY(jinja_length(c, &n, obj));
        if (i < 0) i += n;
        if (i < 0 || i >= n) return 0;
        if (is_seq(obj)) return *out = obj.u.l->v[i], 0;
        if (obj.type == JT_RANGE) return *out = jv_int(obj.u.r->start + i * obj.u.r->step), 0;
        size_t from = jinja_offset(obj, (size_t)i);
        uint32_t cp;
        *out = jinja_sub(obj, from, from + (size_t)moa_utf8_next(&cp, obj.u.s + from, obj.n - from));
        return 0;
    }
    return key.type == JT_STR ? jinja_getattr(c, out, obj, key) : 0;
}
