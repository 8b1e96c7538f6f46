/* jinja_method.c - methods of strings, lists, dicts and loops, and the global functions. A method that changes its list
 * or dict is allowed: values belong to one rendering, nothing outside can see it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"
#include "format/jinja_impl.h"

#include <stdlib.h>
#include <time.h>
#include <utf8proc.h>

#define METHOD(name) static int m_##name(jctx *c, jv *out, jv self, const jcall *a)
#define UNUSED ((void)c, (void)a)

static int str_arg(jctx *c, jv *out, const jcall *a, int pos, const char *name) {
    const jv *v = jinja_arg(a, pos, name);
    if (!v) return jinja_fail(c, MOA_EINVAL, "an argument is missing: a string");
    if (v->type == JT_UNDEF) return jinja_undefined(c, *v);
    if (v->type != JT_STR) return jinja_fail(c, MOA_EINVAL, "a string is needed as argument, got '%s'", jinja_type_name(*v));
    *out = *v;
    return 0;
}

static jv opt(const jcall *a, int pos, const char *name) {
    const jv *v = jinja_arg(a, pos, name);
    return v ? *v : jv_none();
}

/* ---- strings ---- */

METHOD(upper) { UNUSED; return jinja_case(c, out, self, JC_UPPER); }
METHOD(lower) { UNUSED; return jinja_case(c, out, self, JC_LOWER); }
METHOD(title) { UNUSED; return jinja_case(c, out, self, JC_TITLE); }
METHOD(capitalize) { UNUSED; return jinja_case(c, out, self, JC_CAPITAL); }
METHOD(swapcase) { UNUSED; return jinja_case(c, out, self, JC_SWAP); }

static int strip(jctx *c, jv *out, jv self, const jcall *a, int sides) {
    jv chars = opt(a, 0, "chars");
    MOA_TRY(jinja_charge(c, self.n * (1 + (chars.type == JT_STR ? (size_t)chars.n : 0))));
    *out = jinja_strip(self, chars, sides);
    return 0;
}
METHOD(strip) { return strip(c, out, self, a, 3); }
METHOD(lstrip) { return strip(c, out, self, a, 1); }
METHOD(rstrip) { return strip(c, out, self, a, 2); }

/* s[start:end] of the arguments behind the first, counted as Python counts. *from: its first byte; *outside: nothing, not even "", is found there. */
static int window(jctx *c, jv *s, size_t *from, bool *outside, const jcall *a) {
    int64_t n, lo, hi;
    *from = 0, *outside = false;
    if (a->n < 2) return 0;
    MOA_TRY(jinja_charge(c, s->n));
    MOA_TRY(jinja_length(c, &n, *s));
    MOA_TRY(jinja_arg_int(c, &lo, a, 1, "start", 0));
    MOA_TRY(jinja_arg_int(c, &hi, a, 2, "end", n));
    if (lo < 0) lo = lo < -n ? 0 : lo + n;
    if (hi < 0) hi = hi < -n ? 0 : hi + n;
    if (hi > n) hi = n;
    *outside = lo > hi;
    if (*outside) return 0;
    *from = jinja_offset(*s, (size_t)lo);
    *s = jinja_sub(*s, *from, jinja_offset(*s, (size_t)hi));
    return 0;
}

static int has_end(jctx *c, bool *out, jv s, jv part, bool end) {
    *out = part.n <= s.n && !memcmp(s.u.s + (end ? s.n - part.n : 0), part.u.s, part.n);
    return jinja_charge(c, part.n);
}

/* The affix is a string or a tuple of them. */
static int affix(jctx *c, jv *out, jv self, const jcall *a, bool end) {
    jv v = opt(a, 0, NULL);
    size_t from;
    bool outside;
    MOA_TRY(jinja_charge(c, 0));
    MOA_TRY(window(c, &self, &from, &outside, a));
    *out = jv_bool(false);
    if (outside) return 0;
    if (v.type != JT_TUPLE) {
        MOA_TRY(str_arg(c, &v, a, 0, NULL));
        return has_end(c, &out->u.b, self, v, end);
    }
    for (size_t i = 0; i < v.u.l->n; i++) {
        if (v.u.l->v[i].type != JT_STR) return jinja_fail(c, MOA_EINVAL, "a tuple of strings is needed, with '%s' in it", jinja_type_name(v.u.l->v[i]));
        bool has;
        MOA_TRY(has_end(c, &has, self, v.u.l->v[i], end));
        out->u.b |= has;
    }
    return 0;
}
METHOD(startswith) { return affix(c, out, self, a, false); }
METHOD(endswith) { return affix(c, out, self, a, true); }

METHOD(removeprefix) {
    jv p;
    MOA_TRY(str_arg(c, &p, a, 0, NULL));
    bool has;
    MOA_TRY(has_end(c, &has, self, p, false));
    *out = has ? jinja_sub(self, p.n, self.n) : self;
    return 0;
}
METHOD(removesuffix) {
    jv p;
    MOA_TRY(str_arg(c, &p, a, 0, NULL));
    bool has;
    MOA_TRY(has_end(c, &has, self, p, true));
    *out = has ? jinja_sub(self, 0, self.n - p.n) : self;
    return 0;
}

METHOD(replace) {
    jv old, with;
    int64_t count;
    MOA_TRY(str_arg(c, &old, a, 0, "old"));
    MOA_TRY(str_arg(c, &with, a, 1, "new"));
    MOA_TRY(jinja_arg_int(c, &count, a, 2, "count", -1));
    return jinja_replace(c, out, self, old, with, count);
}

/* Last occurrence of part in s[0, end), or NULL */
static const char *find_last(jv s, jv part, size_t end) {
    if (part.n > end) return NULL;
    for (size_t i = end - part.n + 1; i-- > 0;)
        if (!memcmp(s.u.s + i, part.u.s, part.n)) return s.u.s + i;
    return NULL;
}

static int where(jctx *c, jv *out, jv self, const jcall *a, bool last, bool must) {
    jv part, in = self;
    size_t from;
    bool outside;
    MOA_TRY(str_arg(c, &part, a, 0, NULL));
    MOA_TRY(window(c, &in, &from, &outside, a));
    MOA_TRY(jinja_charge(c, last ? in.n + (size_t)in.n * (part.n / 8) : in.n));
    const char *p = outside ? NULL : last ? find_last(in, part, in.n) : jinja_find(in, part);
    if (!p && must) return jinja_fail(c, MOA_EINVAL, "index: the part is not in the string");
    *out = jv_int(p ? (int64_t)moa_utf8_count(self.u.s, (size_t)(p - self.u.s)) : -1);
    return 0;
}
METHOD(find) { return where(c, out, self, a, false, false); }
METHOD(rfind) { return where(c, out, self, a, true, false); }
METHOD(index) { return where(c, out, self, a, false, true); }
METHOD(rindex) { return where(c, out, self, a, true, true); }

METHOD(count) {
    jv part;
    int64_t n = 0;
    size_t from;
    bool outside;
    MOA_TRY(str_arg(c, &part, a, 0, NULL));
    MOA_TRY(window(c, &self, &from, &outside, a));
    if (outside) return *out = jv_int(0), 0;
    MOA_TRY(jinja_charge(c, self.n));
    if (!part.n) return *out = jv_int((int64_t)jinja_chars(self) + 1), 0;
    for (const char *p; (p = jinja_find(self, part)); n++) self = jinja_sub(self, (size_t)(p - self.u.s) + part.n, self.n);
    *out = jv_int(n);
    return 0;
}

static int add_part(jctx *c, jv *list, jv s, size_t from, size_t to) {
    MOA_TRY(jinja_charge(c, 0));
    return jinja_list_add(c, list->u.l, jinja_sub(s, from, to));
}

/* split() by white space: runs count as one, none at the ends */
static int split_space(jctx *c, jv *list, jv s, int64_t max) {
    uint32_t cp;
    for (s = jinja_strip(s, jv_undef(), 1); s.n; s = jinja_strip(s, jv_undef(), 1)) {
        size_t i = 0;
        if (max == 0) return add_part(c, list, s, 0, s.n);
        while (i < s.n) {
            size_t k = (size_t)moa_utf8_next(&cp, s.u.s + i, s.n - i);
            if (jinja_space(cp)) break;
            i += k;
        }
        MOA_TRY(add_part(c, list, s, 0, i));
        s = jinja_sub(s, i, s.n);
        max--;
    }
    return 0;
}

static int rsplit_space(jctx *c, jv *list, jv s, int64_t max) {
    for (s = jinja_strip(s, jv_undef(), 2); s.n; s = jinja_strip(s, jv_undef(), 2)) {
        size_t i = s.n;
        if (max == 0) return add_part(c, list, s, 0, s.n);
        while (i > 0 && jinja_strip(jinja_sub(s, i - 1, s.n), jv_undef(), 1).n == s.n - i + 1) i--;
        while (i > 0 && i < s.n && (s.u.s[i] & 0xC0) == 0x80) i++; /* a wide blank's own tail */
        MOA_TRY(jinja_charge(c, (s.n - i) * 8));
        MOA_TRY(add_part(c, list, s, i, s.n));
        s = jinja_sub(s, 0, i);
        max--;
    }
    return 0;
}

METHOD(split) {
    jv sep = opt(a, 0, "sep");
    int64_t max;
    MOA_TRY(jinja_arg_int(c, &max, a, 1, "maxsplit", -1));
    MOA_TRY(jinja_list_new(c, out, 0));
    MOA_TRY(jinja_charge(c, self.n));
    if (sep.type == JT_NONE) return split_space(c, out, self, max);
    MOA_TRY(str_arg(c, &sep, a, 0, "sep"));
    if (!sep.n) return jinja_fail(c, MOA_EINVAL, "split: an empty separator");
    for (const char *p; max-- != 0 && (p = jinja_find(self, sep));) {
        MOA_TRY(add_part(c, out, self, 0, (size_t)(p - self.u.s)));
        self = jinja_sub(self, (size_t)(p - self.u.s) + sep.n, self.n);
    }
    return add_part(c, out, self, 0, self.n);
}

METHOD(rsplit) {
    jv sep = opt(a, 0, "sep");
    int64_t max;
    MOA_TRY(jinja_arg_int(c, &max, a, 1, "maxsplit", -1));
    MOA_TRY(jinja_list_new(c, out, 0));
    if (sep.type == JT_NONE) {
        MOA_TRY(rsplit_space(c, out, self, max));
    } else {
        MOA_TRY(str_arg(c, &sep, a, 0, "sep"));
        if (!sep.n) return jinja_fail(c, MOA_EINVAL, "rsplit: an empty separator");
        MOA_TRY(jinja_charge(c, self.n + (size_t)self.n * (sep.n / 8)));
        for (const char *p; max-- != 0 && (p = find_last(self, sep, self.n));) {
            MOA_TRY(add_part(c, out, self, (size_t)(p - self.u.s) + sep.n, self.n));
            self = jinja_sub(self, 0, (size_t)(p - self.u.s));
        }
        MOA_TRY(add_part(c, out, self, 0, self.n));
    }
    jlist *l = out->u.l;
    for (size_t i = 0, k = l->n; i + 1 < k; i++, k--) {
        jv t = l->v[i];
        l->v[i] = l->v[k - 1], l->v[k - 1] = t;
    }
    return 0;
}

METHOD(splitlines) {
    bool keep = jinja_arg_true(a, 0, "keepends", false);
    MOA_TRY(jinja_list_new(c, out, 0));
    MOA_TRY(jinja_charge(c, self.n));
    for (size_t i = 0, k; i < self.n; i = k) {
        size_t end = i;
        while (end < self.n && self.u.s[end] != '\n' && self.u.s[end] != '\r') end++;
        k = end + (end < self.n) + (end + 1 < self.n && self.u.s[end] == '\r' && self.u.s[end + 1] == '\n');
        MOA_TRY(add_part(c, out, self, i, keep ? k : end));
    }
    return 0;
}

static int partition(jctx *c, jv *out, jv self, const jcall *a, bool last) {
    jv sep;
    MOA_TRY(str_arg(c, &sep, a, 0, NULL));
    if (!sep.n) return jinja_fail(c, MOA_EINVAL, "partition: an empty separator");
    MOA_TRY(jinja_charge(c, last ? self.n + (size_t)self.n * (sep.n / 8) : self.n));
    const char *p = last ? find_last(self, sep, self.n) : jinja_find(self, sep);
    size_t at = p ? (size_t)(p - self.u.s) : last ? 0 : self.n, after = p ? at + sep.n : at;
    MOA_TRY(jinja_list_new(c, out, 3));
    out->type = JT_TUPLE;
    MOA_TRY(add_part(c, out, self, 0, at));
    MOA_TRY(add_part(c, out, self, at, after));
    return add_part(c, out, self, after, self.n);
}
METHOD(partition) { return partition(c, out, self, a, false); }
METHOD(rpartition) { return partition(c, out, self, a, true); }

METHOD(join) {
    jlist l;
    jbuf b = {0};
    if (a->n != 1) return jinja_fail(c, MOA_EINVAL, "join needs one argument");
    MOA_TRY(jinja_items(c, &l, a->v[0]));
    for (size_t i = 0; i < l.n; i++) {
        if (l.v[i].type != JT_STR) return jinja_fail(c, MOA_EINVAL, "join: item %zu is a '%s', expected a string", i, jinja_type_name(l.v[i]));
        MOA_TRY(jinja_charge(c, (size_t)self.n + l.v[i].n));
        if (i) MOA_TRY(jinja_add(c, &b, self.u.s, self.n));
        MOA_TRY(jinja_add(c, &b, l.v[i].u.s, l.v[i].n));
    }
    *out = jv_buf(&b);
    return 0;
}

METHOD(format) { return jinja_format(c, out, self, a); }

static int justify(jctx *c, jv *out, jv self, const jcall *a, int where_, char zero) {
    int64_t width, n = (int64_t)jinja_chars(self);
    jv fill = jv_str(zero ? "0" : " ");
    jbuf b = {0};
    if (jinja_arg(a, 1, "fillchar")) MOA_TRY(str_arg(c, &fill, a, 1, "fillchar"));
    MOA_TRY(jinja_arg_int(c, &width, a, 0, "width", 0));
    int64_t room = width > n ? width - n : 0, left = where_ == 0 ? 0 : where_ == 1 ? room : room / 2 + (room & width & 1);
    if (room > 100000) return jinja_fail(c, MOA_ELIMIT, "a field of more than 100000 characters");
    if (zero && self.n && (self.u.s[0] == '-' || self.u.s[0] == '+')) {
        MOA_TRY(jinja_add(c, &b, self.u.s, 1));
        self = jinja_sub(self, 1, self.n);
    }
    for (int64_t i = 0; i < left; i++) MOA_TRY(jinja_add(c, &b, fill.u.s, fill.n));
    MOA_TRY(jinja_add(c, &b, self.u.s, self.n));
    for (int64_t i = left; i < room; i++) MOA_TRY(jinja_add(c, &b, fill.u.s, fill.n));
    *out = jv_buf(&b);
    return 0;
}
METHOD(ljust) { return justify(c, out, self, a, 0, 0); }
METHOD(rjust) { return justify(c, out, self, a, 1, 0); }
METHOD(center) { return justify(c, out, self, a, 2, 0); }
METHOD(zfill) { return justify(c, out, self, a, 1, 1); }

enum { KIND_ALPHA = 1, KIND_DIGIT = 2, KIND_SPACE = 4, KIND_ASCII = 8 };

static int all_of(jctx *c, jv *out, jv self, int kinds) {
    uint32_t cp;
    bool yes = self.n > 0 || kinds == KIND_ASCII;
    MOA_TRY(jinja_charge(c, self.n));
    for (size_t i = 0; i < self.n && yes;) {
        i += (size_t)moa_utf8_next(&cp, self.u.s + i, self.n - i);
        utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)cp);
        yes = ((kinds & KIND_ALPHA) && k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO) ||
              ((kinds & KIND_DIGIT) && k == UTF8PROC_CATEGORY_ND) || ((kinds & KIND_SPACE) && jinja_space(cp)) || ((kinds & KIND_ASCII) && cp < 0x80);
    }
    *out = jv_bool(yes);
    return 0;
}
METHOD(isalpha) { UNUSED; return all_of(c, out, self, KIND_ALPHA); }
METHOD(isdigit) { UNUSED; return all_of(c, out, self, KIND_DIGIT); }
METHOD(isalnum) { UNUSED; return all_of(c, out, self, KIND_ALPHA | KIND_DIGIT); }
METHOD(isspace) { UNUSED; return all_of(c, out, self, KIND_SPACE); }
METHOD(isascii) { UNUSED; return all_of(c, out, self, KIND_ASCII); }
METHOD(isupper) { return jinja_test_find(jv_str("upper"))->fn(c, out, self, a); }
METHOD(islower) { return jinja_test_find(jv_str("lower"))->fn(c, out, self, a); }

/* ---- lists ---- */

static int one(jctx *c, jv *out, const jcall *a) {
    if (a->n < 1) return jinja_fail(c, MOA_EINVAL, "this method needs an argument");
    *out = a->v[0];
    return 0;
}

METHOD(append) {
    jv v;
    MOA_TRY(one(c, &v, a));
    *out = jv_none();
    return jinja_list_add(c, self.u.l, v);
}

METHOD(extend) {
    jv v;
    jlist l;
    MOA_TRY(one(c, &v, a));
    MOA_TRY(jinja_items(c, &l, v));
    for (size_t i = 0; i < l.n; i++) MOA_TRY(jinja_list_add(c, self.u.l, l.v[i]));
    *out = jv_none();
    return jinja_charge(c, l.n);
}

METHOD(insert) {
    int64_t at, n = (int64_t)self.u.l->n;
    if (a->n != 2) return jinja_fail(c, MOA_EINVAL, "insert needs a position and a value");
    MOA_TRY(jinja_arg_int(c, &at, a, 0, "index", 0));
    if (at < 0) at = at < -n ? 0 : at + n;
    if (at > n) at = n;
    MOA_TRY(jinja_charge(c, (size_t)n));
    MOA_TRY(jinja_list_add(c, self.u.l, jv_none()));
    jv *v = self.u.l->v;
    memmove(v + at + 1, v + at, (size_t)(n - at) * sizeof *v);
    v[at] = a->v[1];
    *out = jv_none();
    return 0;
}

static void take_at(jlist *l, size_t i) {
    memmove(l->v + i, l->v + i + 1, (l->n - i - 1) * sizeof *l->v);
    l->n--;
}

METHOD(list_pop) {
    int64_t at, n = (int64_t)self.u.l->n;
    MOA_TRY(jinja_arg_int(c, &at, a, 0, "index", -1));
    if (at < 0) at += n;
    if (at < 0 || at >= n) return jinja_fail(c, MOA_EINVAL, "pop: no item at this position of %lld", (long long)n);
    MOA_TRY(jinja_charge(c, (size_t)(n - at)));
    *out = self.u.l->v[at];
    take_at(self.u.l, (size_t)at);
    return 0;
}

static int position(jctx *c, int64_t *out, int64_t *count, jv self, const jcall *a) {
    jv v;
    *out = -1, *count = 0;
    MOA_TRY(one(c, &v, a));
    for (size_t i = 0; i < self.u.l->n; i++) {
        bool same;
        MOA_TRY(jinja_equal(c, &same, self.u.l->v[i], v, 0));
        if (same && (*count)++ == 0) *out = (int64_t)i;
    }
    return 0;
}

METHOD(list_index) {
    int64_t at, n;
    MOA_TRY(position(c, &at, &n, self, a));
    if (at < 0) return jinja_fail(c, MOA_EINVAL, "index: the value is not in the list");
    *out = jv_int(at);
    return 0;
}
METHOD(list_count) {
    int64_t at, n;
    MOA_TRY(position(c, &at, &n, self, a));
    *out = jv_int(n);
    return 0;
}
METHOD(remove) {
    int64_t at, n;
    MOA_TRY(position(c, &at, &n, self, a));
    if (at < 0) return jinja_fail(c, MOA_EINVAL, "remove: the value is not in the list");
    take_at(self.u.l, (size_t)at);
    *out = jv_none();
    return 0;
}

METHOD(list_reverse) {
    UNUSED;
    jlist *l = self.u.l;
    for (size_t i = 0, k = l->n; i + 1 < k; i++, k--) {
        jv t = l->v[i];
        l->v[i] = l->v[k - 1], l->v[k - 1] = t;
    }
    *out = jv_none();
    return jinja_charge(c, l->n);
}

METHOD(list_sort) {
    *out = jv_none();
    return jinja_sort(c, self.u.l->v, self.u.l->v, self.u.l->n, jinja_arg_true(a, -1, "reverse", false));
}

METHOD(list_copy) {
    UNUSED;
    MOA_TRY(jinja_charge(c, self.u.l->n));
    MOA_TRY(jinja_list_new(c, out, self.u.l->n));
    for (size_t i = 0; i < self.u.l->n; i++) MOA_TRY(jinja_list_add(c, out->u.l, self.u.l->v[i]));
    return 0;
}

METHOD(clear) {
    UNUSED;
    if (self.type == JT_DICT) *self.u.d = (jdict){0};
    else self.u.l->n = 0;
    *out = jv_none();
    return 0;
}

/* ---- dicts ---- */

METHOD(get) {
    jv k;
    jentry *e;
    MOA_TRY(one(c, &k, a));
    MOA_TRY(jinja_dict_find(c, &e, self.u.d, k));
    *out = e ? e->v : opt(a, 1, "default");
    return 0;
}

METHOD(setdefault) {
    jv k;
    jentry *e;
    MOA_TRY(one(c, &k, a));
    MOA_TRY(jinja_dict_find(c, &e, self.u.d, k));
    *out = e ? e->v : opt(a, 1, "default");
    return e ? 0 : jinja_dict_set(c, self.u.d, k, *out);
}

METHOD(dict_pop) {
    jv k;
    jentry *e;
    MOA_TRY(one(c, &k, a));
    MOA_TRY(jinja_dict_find(c, &e, self.u.d, k));
    if (!e && !jinja_arg(a, 1, "default")) return jinja_fail(c, MOA_EINVAL, "pop: no such key");
    *out = e ? e->v : opt(a, 1, "default");
    if (e) jinja_dict_remove(self.u.d, e);
    return 0;
}

static int update(jctx *c, jdict *d, const jcall *a) {
    if (a->n > 0) {
        jlist l;
        if (a->v[0].type == JT_DICT || a->v[0].type == JT_NS) {
            const jdict *s = a->v[0].u.d;
            size_t n = s->n;
            for (size_t i = 0; i < n; i++)
                if (jinja_live(&s->e[i])) MOA_TRY(jinja_dict_set(c, d, s->e[i].k, s->e[i].v));
        } else {
            MOA_TRY(jinja_items(c, &l, a->v[0]));
            for (size_t i = 0; i < l.n; i++) {
                jlist pair;
                MOA_TRY(jinja_items(c, &pair, l.v[i]));
                if (pair.n != 2) return jinja_fail(c, MOA_EINVAL, "a dict is made of pairs, got %zu values", pair.n);
                MOA_TRY(jinja_dict_set(c, d, pair.v[0], pair.v[1]));
            }
        }
    }
    for (int i = 0; i < a->n_key; i++) MOA_TRY(jinja_dict_set(c, d, a->key[i], a->v[a->n + i]));
    return 0;
}

METHOD(update) {
    *out = jv_none();
    return update(c, self.u.d, a);
}

METHOD(dict_copy) {
    (void)a;
    MOA_TRY(jinja_dict_new(c, out));
    return update(c, out->u.d, &(jcall){.n = 1, .v = &self});
}

/* what: 1 keys, 2 values, 3 pairs */
static int parts(jctx *c, jv *out, jv self, int what) {
    MOA_TRY(jinja_list_new(c, out, self.u.d->live));
    for (size_t i = 0; i < self.u.d->n; i++) {
        const jentry *e = &self.u.d->e[i];
        jv v = what == 1 ? e->k : e->v;
        if (!jinja_live(e)) continue;
        if (what == 3) {
            MOA_TRY(jinja_list_new(c, &v, 2));
            v.type = JT_TUPLE;
            MOA_TRY(jinja_list_add(c, v.u.l, e->k));
            MOA_TRY(jinja_list_add(c, v.u.l, e->v));
        }
        MOA_TRY(jinja_list_add(c, out->u.l, v));
    }
    return jinja_charge(c, self.u.d->n);
}
METHOD(keys) { UNUSED; return parts(c, out, self, 1); }
METHOD(values) { UNUSED; return parts(c, out, self, 2); }
METHOD(items) { UNUSED; return parts(c, out, self, 3); }

/* ---- loops and joiners ---- */

METHOD(cycle) {
    if (!a->n) return jinja_fail(c, MOA_EINVAL, "loop.cycle needs values");
    *out = a->v[self.u.loop->i % (size_t)a->n];
    return 0;
}

METHOD(changed) {
    jv now;
    jloop *l = self.u.loop;
    bool same = false;
    MOA_TRY(jinja_list_new(c, &now, (size_t)a->n));
    for (int i = 0; i < a->n; i++) MOA_TRY(jinja_list_add(c, now.u.l, a->v[i]));
    if (l->any_changed) MOA_TRY(jinja_equal(c, &same, now, l->changed, 0));
    l->any_changed = true;
    l->changed = now;
    *out = jv_bool(!same);
    return 0;
}

/* self: [separator, true once it has been called] */
METHOD(joiner) {
    UNUSED;
    jv *state = self.u.l->v;
    *out = jinja_truth(state[1]) ? state[0] : jv_str("");
    state[1] = jv_bool(true);
    return 0;
}

enum { S = 1 << JT_STR, L = 1 << JT_LIST, LT = 1 << JT_LIST | 1 << JT_TUPLE, D = 1 << JT_DICT, LD = 1 << JT_LIST | 1 << JT_DICT, LO = 1 << JT_LOOP };

const jrow *jinja_method_find(jv obj, jv name) {
    static const jrow rows[] = {
        {"upper", m_upper, S}, {"lower", m_lower, S}, {"casefold", m_lower, S}, {"title", m_title, S}, {"capitalize", m_capitalize, S},
        {"swapcase", m_swapcase, S}, {"strip", m_strip, S}, {"lstrip", m_lstrip, S}, {"rstrip", m_rstrip, S}, {"startswith", m_startswith, S},
        {"endswith", m_endswith, S}, {"removeprefix", m_removeprefix, S}, {"removesuffix", m_removesuffix, S}, {"replace", m_replace, S},
        {"find", m_find, S}, {"rfind", m_rfind, S}, {"index", m_index, S}, {"rindex", m_rindex, S}, {"count", m_count, S}, {"split", m_split, S},
        {"rsplit", m_rsplit, S}, {"splitlines", m_splitlines, S}, {"partition", m_partition, S}, {"rpartition", m_rpartition, S}, {"join", m_join, S},
        {"format", m_format, S}, {"ljust", m_ljust, S}, {"rjust", m_rjust, S}, {"center", m_center, S}, {"zfill", m_zfill, S},
        {"isalpha", m_isalpha, S}, {"isdigit", m_isdigit, S}, {"isdecimal", m_isdigit, S}, {"isnumeric", m_isdigit, S}, {"isalnum", m_isalnum, S},
        {"isspace", m_isspace, S}, {"isascii", m_isascii, S}, {"isupper", m_isupper, S}, {"islower", m_islower, S},
        {"append", m_append, L}, {"extend", m_extend, L}, {"insert", m_insert, L}, {"pop", m_list_pop, L}, {"index", m_list_index, LT},
        {"count", m_list_count, LT}, {"remove", m_remove, L}, {"reverse", m_list_reverse, L}, {"sort", m_list_sort, L}, {"copy", m_list_copy, L},
        {"clear", m_clear, LD}, {"get", m_get, D}, {"setdefault", m_setdefault, D}, {"pop", m_dict_pop, D}, {"update", m_update, D},
        {"copy", m_dict_copy, D}, {"keys", m_keys, D}, {"values", m_values, D}, {"items", m_items, D}, {"cycle", m_cycle, LO}, {"changed", m_changed, LO}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if ((rows[i].types >> obj.type & 1) && jv_is(name, rows[i].name)) return &rows[i];
    return NULL;
}

/* ---- global functions ---- */

#define GLOBAL(name) static int g_##name(jctx *c, jv *out, jv self, const jcall *a)

GLOBAL(range) {
    int64_t v[3] = {0, 0, 1}, n = 0;
    (void)self;
    if (a->n < 1 || a->n > 3) return jinja_fail(c, MOA_EINVAL, "range needs one to three integers");
    for (int i = 0; i < a->n; i++) {
        if (a->v[i].type == JT_UNDEF) return jinja_undefined(c, a->v[i]);
        if (a->v[i].type == JT_NONE) return jinja_fail(c, MOA_EINVAL, "range needs integers, got none");
        MOA_TRY(jinja_arg_int(c, &v[a->n == 1 ? 1 : i], a, i, "range", 0));
    }
    if (v[2] == 0) return jinja_fail(c, MOA_EINVAL, "range: a step of 0");
    __int128 span = v[2] > 0 ? (__int128)v[1] - v[0] : (__int128)v[0] - v[1], step = v[2] > 0 ? (__int128)v[2] : -(__int128)v[2];
    __int128 count = span > 0 ? (span + step - 1) / step : 0;
    if (count > JINJA_MAX_RANGE) return jinja_fail(c, MOA_ELIMIT, "a range of more than %d items", JINJA_MAX_RANGE);
    n = (int64_t)count;
    jrange *r = jinja_alloc(c, sizeof *r);
    if (!r) return jinja_nomem(c);
    *r = (jrange){v[0], v[1], v[2], (size_t)n};
    *out = (jv){.type = JT_RANGE, .u.r = r};
    return 0;
}

GLOBAL(dict) {
    (void)self;
    MOA_TRY(jinja_dict_new(c, out));
    return update(c, out->u.d, a);
}

GLOBAL(namespace) {
    MOA_TRY(g_dict(c, out, self, a));
    out->type = JT_NS;
    return 0;
}

GLOBAL(joiner) {
    static const jrow row = {"joiner", m_joiner, 0};
    jv state;
    (void)self;
    MOA_TRY(jinja_list_new(c, &state, 2));
    MOA_TRY(jinja_list_add(c, state.u.l, jinja_arg(a, 0, "sep") ? *jinja_arg(a, 0, "sep") : jv_str(", ")));
    MOA_TRY(jinja_list_add(c, state.u.l, jv_bool(false)));
    jmethod *m = jinja_alloc(c, sizeof *m);
    if (!m) return jinja_nomem(c);
    *m = (jmethod){state, &row};
    *out = (jv){.type = JT_METHOD, .u.me = m};
    return 0;
}

GLOBAL(raise_exception) {
    jv s = jv_str("");
    (void)self;
    (void)out;
    if (a->n) MOA_TRY(jinja_str(c, &s, a->v[0]));
    return jinja_fail(c, MOA_EINVAL, "the template refuses this conversation: %.*s", s.n < 300 ? (int)s.n : 300, s.u.s);
}

GLOBAL(strftime_now) {
    jv fmt;
    char form[256], text[512];
    (void)self;
    MOA_TRY(str_arg(c, &fmt, a, 0, "format"));
    if (fmt.n >= sizeof form) return jinja_fail(c, MOA_ELIMIT, "strftime_now: a format of more than 255 bytes");
    memcpy(form, fmt.u.s, fmt.n);
    form[fmt.n] = 0;
    time_t now = c->now ? (time_t)c->now : time(NULL);
    struct tm tm;
    if (!localtime_r(&now, &tm)) return jinja_fail(c, MOA_EINVAL, "strftime_now: the clock has no date");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    size_t n = strftime(text, sizeof text, form, &tm);
#pragma GCC diagnostic pop
    jbuf b = {0};
    MOA_TRY(jinja_add(c, &b, text, n));
    *out = jv_buf(&b);
    return 0;
}

const jrow *jinja_global_find(const char *name) {
    static const jrow rows[] = {{"range", g_range, 0}, {"dict", g_dict, 0}, {"namespace", g_namespace, 0}, {"joiner", g_joiner, 0},
                                {"raise_exception", g_raise_exception, 0}, {"strftime_now", g_strftime_now, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!strcmp(rows[i].name, name)) return &rows[i];
    return NULL;
}
