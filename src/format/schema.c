/* schema.c - JSON schema -> rules (drafts 4 to 2020-12, as far as a grammar can say them).
 *
 * The texts that the grammar allows are valid against the schema, always. Where a schema leaves open what no model should
 * fill in, the narrower reading is taken: an object that lists properties has no others unless additionalProperties says
 * so, properties come in the schema's order, an array with prefixItems ends with them unless items says more, and keywords of one
 * type imply that type (docs/structured.md lists these). What cannot be said is an error that names the keyword and its JSON
 * pointer; nothing is passed over in silence but annotations.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "base/utf8.h"
#include "format/schema_impl.h"
#include "format/schema_merge.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 100, MAX_NAME = 1000 /* bytes; names are read recursively */, MAX_WORK = 100000, MAX_ITEMS = 100000 };

int moa_schema_fail(moa_schema *s, int code, const char *keyword, const char *fmt, ...) {
    char what[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return moa_fail(s->err, code, "%s: %s%s%s: %s", s->name, moa_buf_str(&s->at), keyword ? "/" : "", keyword ? keyword : "", what);
}

/* The pointer of a part: keyword, then a key or an index. Returns what to go back to. */
static size_t enter(moa_schema *s, const char *keyword, const char *key) {
    const size_t back = s->at.len;
    moa_buf_addf(&s->at, "/%s", keyword);
    if (key) moa_buf_adds(&s->at, "/");
    for (; key && *key; key++) {
        if (*key == '~') moa_buf_adds(&s->at, "~0");
        else if (*key == '/') moa_buf_adds(&s->at, "~1");
        else moa_buf_add(&s->at, key, 1);
    }
    return back;
}

static size_t enter_index(moa_schema *s, const char *keyword, size_t i) {
    char n[24];
    snprintf(n, sizeof n, "%zu", i);
    return enter(s, keyword, n);
}

static int leave(moa_schema *s, size_t back, int rc) {
    if (rc >= 0 && s->at.data) s->at.len = back, s->at.data[back] = 0;
    return rc;
}

static int value(uint32_t *x, moa_schema *s, const json_t *v);
static int fixed(uint32_t *x, moa_schema *s, const json_t *v);

static uint32_t text(moa_schema *s, const char *t) { return moa_rx_text(&s->r, t, strlen(t)); }

/* An expression as a rule: a container starts afresh, so that depth of nesting is no depth of expressions. */
static uint32_t as_rule(moa_schema *s, uint32_t x) {
    const uint32_t rule = moa_rules_anon(&s->r, moa_buf_str(&s->at));
    moa_rules_define(&s->r, rule, x);
    return moa_rx_call(&s->r, rule);
}

static int whole_number(int64_t *out, moa_schema *s, const json_t *v, const char *key, int64_t dflt) {
    const json_t *n = json_object_get(v, key);
    *out = dflt;
    if (!n) return 0;
    const double d = json_number_value(n);
    if (!json_is_number(n) || d < 0 || d != floor(d)) return moa_schema_fail(s, MOA_EFORMAT, key, "expected a whole number from 0");
    if (d > MAX_ITEMS) return moa_schema_fail(s, MOA_ELIMIT, key, "%g is more than %d", d, MAX_ITEMS);
    *out = (int64_t)d;
    return 0;
}

static uint32_t upper(int64_t n) { return n < 0 ? UINT32_MAX : (uint32_t)n; }

/* ---- strings ---- */

static int string_text(uint32_t *x, moa_schema *s, const json_t *v) {
    int64_t least, most;
    MOA_TRY(whole_number(&least, s, v, "minLength", 0));
    MOA_TRY(whole_number(&most, s, v, "maxLength", -1));
    if (most >= 0 && most < least) return moa_schema_fail(s, MOA_EFORMAT, "maxLength", "%lld is less than minLength %lld", (long long)most, (long long)least);
    const json_t *pattern = json_object_get(v, "pattern"), *format = json_object_get(v, "format");
    if (pattern && !json_is_string(pattern)) return moa_schema_fail(s, MOA_EFORMAT, "pattern", "expected a string");
    if (format && !json_is_string(format)) return moa_schema_fail(s, MOA_EFORMAT, "format", "expected a string");
    const char *free_form = format ? moa_schema_format(json_string_value(format)) : NULL;
    if (free_form && !*free_form) format = NULL; /* it says nothing about the text */
    if (pattern && format) return moa_schema_fail(s, MOA_EUNSUPPORTED, "format", "together with pattern is not supported");
    if (!pattern && !format) {
        *x = moa_rx_repeat(&s->r, s->character, (uint32_t)least, upper(most));
        return 0;
    }
    const char *keyword = pattern ? "pattern" : "format", *regex = json_string_value(pattern ? pattern : format);
    if (format && !(regex = moa_schema_format(regex)))
        return moa_schema_fail(s, MOA_EUNSUPPORTED, "format", "'%.60s' is not supported; there are %s", json_string_value(format), moa_schema_formats);
    moa_schema_text t;
    MOA_TRY(moa_schema_pattern(&t, s, keyword, regex));
    *x = t.x;
    if (t.least >= (uint64_t)least && (most < 0 || t.most <= (uint64_t)most)) return 0; /* it keeps to them by itself */
    return moa_schema_length(x, s, most >= 0 ? "maxLength" : "minLength", (uint32_t)least, upper(most));
}

static int string(uint32_t *x, moa_schema *s, const json_t *v) {
    if (!json_object_get(v, "minLength") && !json_object_get(v, "maxLength") && !json_object_get(v, "pattern") && !json_object_get(v, "format"))
        return *x = s->string, 0;
    MOA_TRY(string_text(x, s, v));
    *x = MOA_RX_SEQ_OF(&s->r, text(s, "\""), *x, text(s, "\""));
    return 0;
}

/* ---- objects ---- */

static uint32_t key_text(moa_schema *s, const char *name) {
    moa_buf b;
    moa_buf_init(&b, 1 << 20);
    moa_json_add_str(&b, name, strlen(name));
    const uint32_t x = text(s, moa_buf_str(&b));
    moa_buf_deinit(&b);
    return x;
}

static uint32_t member(moa_schema *s, uint32_t key, uint32_t val) { return MOA_RX_SEQ_OF(&s->r, key, text(s, ":"), s->ws, val); }

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* Any key but the n given ones, which are sorted and have `at` bytes in common; after the opening quote. The tree of the names, left
 * at some point. Keys are compared by bytes, so this works within characters too: a byte that leads away from all
 * names is part of a whole character only where it began one. Therefore names are compared by characters here. */
static uint32_t other_key(moa_schema *s, const char *const *name, size_t n, size_t at) {
    static const moa_span special[] = {{0, 0x1F}, {'"', '"'}, {'\\', '\\'}};
    moa_rules *r = &s->r;
    moa_span *next = malloc((n + 3) * sizeof *next);
    uint32_t *x = malloc((n + 3) * sizeof *x), n_next = 0, n_x = 0;
    bool ends = false;
    if (!next || !x) r->failed = MOA_ENOMEM, n = 0;
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        const char *c = name[i] + at;
        if (!*c) {
            ends = true, i++;
            continue;
        }
        const size_t len = (size_t)moa_utf8_next(&cp, c, strlen(c));
        size_t k = i + 1;
        while (k < n && !strncmp(name[k] + at, c, len)) k++;
        if (cp >= 0x20 && cp != '"' && cp != '\\') { /* a name with an escape cannot be met: these keys have none */
            next[n_next++] = (moa_span){cp, cp};
            x[n_x++] = MOA_RX_SEQ_OF(r, moa_rx_text(r, c, len), other_key(s, name + i, k - i, at + len));
        }
        i = k;
    }
    uint32_t out = 0;
    if (next && x) {
        memcpy(next + n_next, special, sizeof special);
        const uint32_t plain = moa_rx_class(r, special, 3, true);
        x[n_x++] = MOA_RX_SEQ_OF(r, moa_rx_class(r, next, n_next + 3, true), moa_rx_repeat(r, plain, 0, UINT32_MAX), text(s, "\""));
        if (!ends) x[n_x++] = text(s, "\"");
        out = as_rule(s, moa_rx_alt(r, x, n_x));
    }
    free(next);
    free(x);
    return out;
}

typedef struct object {
    const json_t *v, *props;
    uint32_t more;        /* a further member; UINT32_MAX: none may come */
    uint32_t least, most; /* of further members; most UINT32_MAX: no end. Beside properties least is of all: 0 or 1 */
} object;

static int more_value(uint32_t *x, moa_schema *s, const char *keyword, const json_t *v) {
    const size_t back = enter(s, keyword, NULL);
    return leave(s, back, value(x, s, v));
}

static int key_pattern(uint32_t *x, moa_schema *s, const char *keyword, const char *regex) {
    moa_schema_text t;
    MOA_TRY(moa_schema_pattern(&t, s, keyword, regex));
    *x = MOA_RX_SEQ_OF(&s->r, text(s, "\""), t.x, text(s, "\""));
    return 0;
}

/* Keys of a map: what patternProperties or propertyNames say. */
static int map_member(object *o, moa_schema *s, const json_t *extra) {
    const json_t *patterns = json_object_get(o->v, "patternProperties"), *names = json_object_get(o->v, "propertyNames");
    uint32_t key, val = s->any;
    if (json_object_size(o->props)) return moa_schema_fail(s, MOA_EUNSUPPORTED, patterns ? "patternProperties" : "propertyNames", "together with properties is not supported");
    if (patterns) {
        void *it = json_object_iter((json_t *)(uintptr_t)patterns);
        if (json_object_size(patterns) != 1 || names || (extra && !json_is_false(extra)))
            return moa_schema_fail(s, MOA_EUNSUPPORTED, "patternProperties", "only one pattern, without further properties, is supported");
        MOA_TRY(key_pattern(&key, s, "patternProperties", json_object_iter_key(it)));
        const size_t back = enter(s, "patternProperties", json_object_iter_key(it));
        MOA_TRY(leave(s, back, value(&val, s, json_object_iter_value(it))));
    } else {
        const size_t back = enter(s, "propertyNames", NULL);
        json_t *copy = json_is_object(names) ? json_copy((json_t *)(uintptr_t)names) : NULL;
        if (!copy) return moa_schema_fail(s, MOA_EFORMAT, NULL, "expected a schema");
        json_array_append_new(s->made, copy);
        if (!json_object_get(copy, "type")) json_object_set_new(copy, "type", json_string("string"));
        MOA_TRY(leave(s, back, value(&key, s, copy)));
        if (json_is_false(extra)) return o->more = UINT32_MAX, 0;
        if (extra) MOA_TRY(more_value(&val, s, "additionalProperties", extra));
    }
    o->more = member(s, key, val);
    return 0;
}

/* Which members may come beside the listed ones. */
static int read_more(object *o, moa_schema *s) {
    const json_t *extra = json_object_get(o->v, "additionalProperties");
    const size_t n = json_object_size(o->props);
    o->more = UINT32_MAX;
    if (json_object_get(o->v, "patternProperties") || json_object_get(o->v, "propertyNames")) return map_member(o, s, extra);
    if (json_is_false(extra) || (!extra && n)) return 0;
    uint32_t val = s->any, key = s->string;
    if (extra) MOA_TRY(more_value(&val, s, "additionalProperties", extra));
    if (n) {
        const char **name = malloc(n * sizeof *name), *k;
        json_t *unused;
        size_t i = 0;
        if (!name) return moa_schema_fail(s, MOA_ENOMEM, NULL, "no memory");
        size_t longest = 0;
        json_object_foreach((json_t *)(uintptr_t)o->props, k, unused) {
            name[i++] = k;
            if (strlen(k) > longest) longest = strlen(k);
        }
        qsort(name, n, sizeof *name, by_name);
        if (longest <= MAX_NAME) key = MOA_RX_SEQ_OF(&s->r, text(s, "\""), other_key(s, name, n, 0));
        free(name);
        if (longest > MAX_NAME) return moa_schema_fail(s, MOA_ELIMIT, "properties", "a name of %zu bytes: beside further properties at most %d", longest, MAX_NAME);
    }
    o->more = member(s, key, val);
    return 0;
}

static int read_counts(object *o, moa_schema *s, size_t n_required) {
    int64_t least, most;
    MOA_TRY(whole_number(&least, s, o->v, "minProperties", 0));
    MOA_TRY(whole_number(&most, s, o->v, "maxProperties", -1));
    const size_t n = json_object_size(o->props);
    o->least = 0, o->most = UINT32_MAX;
    if (most >= 0 && (int64_t)n_required > most) return moa_schema_fail(s, MOA_EFORMAT, "maxProperties", "more properties are required");
    if (n == 0) { /* a map: members are counted */
        if (least > 1) return moa_schema_fail(s, MOA_EUNSUPPORTED, "minProperties", "more than 1, of keys that are not listed, is not supported: a grammar cannot remember the keys before");
        o->least = (uint32_t)least, o->most = upper(most);
        if (o->least > o->most || (o->least && o->more == UINT32_MAX)) return moa_schema_fail(s, MOA_EFORMAT, "minProperties", "no object has that many properties");
        return 0;
    }
    if (least > (int64_t)n_required && least > 1) return moa_schema_fail(s, MOA_EUNSUPPORTED, "minProperties", "more than are required and more than 1, beside properties, is not supported");
    o->least = least > (int64_t)n_required;
    if (most >= 0 && (o->more != UINT32_MAX || most < (int64_t)n)) return moa_schema_fail(s, MOA_EUNSUPPORTED, "maxProperties", "fewer than there may be, beside properties, is not supported");
    return 0;
}

enum { NOTHING = UINT32_MAX }; /* no text at all, not even the empty one */

/* Members from the last to the first: `first` is what may come when nothing has been written yet, `next` after something. */
static int members(uint32_t *out, moa_schema *s, const object *o, const json_t *required) {
    moa_rules *r = &s->r;
    const size_t n = json_object_size(o->props);
    const char **name = malloc((n + 1) * sizeof *name), *k;
    json_t *unused;
    size_t i = 0;
    int rc = name ? 0 : moa_schema_fail(s, MOA_ENOMEM, NULL, "no memory");
    if (rc < 0) return rc;
    json_object_foreach((json_t *)(uintptr_t)o->props, k, unused) name[i++] = k;
    const uint32_t comma = MOA_RX_SEQ_OF(r, text(s, ","), s->ws);
    uint32_t next = 0, first = o->least ? NOTHING : 0;
    if (o->more != UINT32_MAX && o->most) {
        const uint32_t tail = MOA_RX_SEQ_OF(r, comma, o->more), lo = o->least ? o->least - 1 : 0, hi = o->most == UINT32_MAX ? o->most : o->most - 1;
        next = moa_rx_repeat(r, tail, n ? 0 : lo, n ? UINT32_MAX : hi);
        first = MOA_RX_SEQ_OF(r, o->more, next);
        if (!o->least) first = moa_rx_repeat(r, first, 0, 1);
        next = as_rule(s, next), first = as_rule(s, first);
    }
    while (rc >= 0 && i-- > 0) {
        const bool must = moa_schema_has_string(required, name[i]);
        const json_t *v = json_object_get(o->props, name[i]);
        uint32_t val;
        const size_t back = enter(s, "properties", name[i]);
        if (moa_schema_is_never(v) && !must) {
            leave(s, back, 0);
            continue;
        }
        rc = leave(s, back, value(&val, s, v));
        if (rc < 0) break;
        const uint32_t m = as_rule(s, member(s, key_text(s, name[i]), val));
        const uint32_t with = MOA_RX_SEQ_OF(r, m, next), with_comma = MOA_RX_SEQ_OF(r, comma, m, next);
        first = as_rule(s, must || first == NOTHING ? with : MOA_RX_ALT_OF(r, with, first));
        next = as_rule(s, must ? with_comma : MOA_RX_ALT_OF(r, with_comma, next));
    }
    free(name);
    if (rc >= 0 && first == NOTHING) rc = moa_schema_fail(s, MOA_EFORMAT, "minProperties", "no object has that many properties");
    *out = first;
    return rc;
}

/* Required names that properties does not list get any value, or that of further properties. */
static int add_required(json_t **props, moa_schema *s, const json_t *v, const json_t *required) {
    const json_t *extra = json_object_get(v, "additionalProperties");
    json_t *k;
    size_t i;
    if (required && !json_is_array(required)) return moa_schema_fail(s, MOA_EFORMAT, "required", "expected a list of names");
    json_array_foreach((json_t *)(uintptr_t)required, i, k) {
        if (!json_is_string(k)) return moa_schema_fail(s, MOA_EFORMAT, "required", "expected a list of names");
        if (json_object_get(*props, json_string_value(k))) continue;
        if (json_is_false(extra)) return moa_schema_fail(s, MOA_EFORMAT, "required", "'%.80s' is required, but additionalProperties forbids it", json_string_value(k));
        if (json_object_get(v, "patternProperties") || json_object_get(v, "propertyNames"))
            return moa_schema_fail(s, MOA_EUNSUPPORTED, "required", "names together with patterns of names are not supported");
        json_object_set(*props, json_string_value(k), extra && json_is_object(extra) ? (json_t *)(uintptr_t)extra : json_true());
    }
    return 0;
}

static int object_of(uint32_t *x, moa_schema *s, const json_t *v) {
    const json_t *listed = json_object_get(v, "properties"), *required = json_object_get(v, "required");
    if (listed && !json_is_object(listed)) return moa_schema_fail(s, MOA_EFORMAT, "properties", "expected an object of schemas");
    json_t *props = listed ? json_copy((json_t *)(uintptr_t)listed) : json_object();
    if (!props || json_array_append_new(s->made, props)) return moa_schema_fail(s, MOA_ENOMEM, NULL, "no memory");
    MOA_TRY(add_required(&props, s, v, required));
    object o = {.v = v, .props = props};
    MOA_TRY(read_more(&o, s));
    MOA_TRY(read_counts(&o, s, json_array_size(required)));
    uint32_t all;
    MOA_TRY(members(&all, s, &o, required));
    /* White space before the closing brace only where something stands before it: "{" ws "}" has it already. */
    *x = as_rule(s, MOA_RX_SEQ_OF(&s->r, text(s, "{"), s->ws, all, s->ws, text(s, "}")));
    return 0;
}

/* ---- arrays ---- */

typedef struct array { const json_t *prefix, *items; int64_t least, most; uint32_t item; } array;

static int read_array(array *a, moa_schema *s, const json_t *v) {
    *a = (array){.prefix = json_object_get(v, "prefixItems"), .items = json_object_get(v, "items")};
    const char *rest = "items";
    if (json_is_array(a->items)) { /* drafts up to 2019-09 */
        a->prefix = a->items;
        a->items = json_object_get(v, rest = "additionalItems");
    }
    if (a->prefix && !json_is_array(a->prefix)) return moa_schema_fail(s, MOA_EFORMAT, "prefixItems", "expected a list of schemas");
    MOA_TRY(whole_number(&a->least, s, v, "minItems", 0));
    MOA_TRY(whole_number(&a->most, s, v, "maxItems", -1));
    const int64_t n = (int64_t)json_array_size(a->prefix);
    const bool closed = (a->items && moa_schema_is_never(a->items)) || (a->prefix && !a->items);
    if (closed && (a->most < 0 || a->most > n)) a->most = n;
    if (a->most >= 0 && a->most < a->least) return moa_schema_fail(s, MOA_EFORMAT, "minItems", "no array has that many items");
    a->item = s->any;
    if (a->items && !closed) {
        const size_t back = enter(s, rest, NULL);
        MOA_TRY(leave(s, back, value(&a->item, s, a->items)));
    }
    return 0;
}

/* What may come after n_prefix items and more: from the end to the beginning. */
static int array_of(uint32_t *x, moa_schema *s, const json_t *v) {
    moa_rules *r = &s->r;
    array a;
    MOA_TRY(read_array(&a, s, v));
    const bool unique = json_is_true(json_object_get(v, "uniqueItems")) && (a.most < 0 || a.most > 1);
    int64_t n = (int64_t)json_array_size(a.prefix);
    if (a.most >= 0 && n > a.most) n = a.most;
    const uint32_t comma = MOA_RX_SEQ_OF(r, text(s, ","), s->ws);
    const int64_t lo = a.least > n ? a.least - n : 0, hi = a.most < 0 ? -1 : a.most - n;
    uint32_t rest; /* with its commas; n == 0: without the first */
    if (unique) {
        MOA_TRY(moa_schema_unique(&rest, s, a.prefix ? NULL : a.items, a.least, a.most, comma, fixed));
        n = 0;
    } else if (n > 0 || hi == 0) {
        rest = moa_rx_repeat(r, MOA_RX_SEQ_OF(r, comma, a.item), (uint32_t)lo, upper(hi));
    } else {
        rest = MOA_RX_SEQ_OF(r, a.item, moa_rx_repeat(r, MOA_RX_SEQ_OF(r, comma, a.item), (uint32_t)(lo ? lo - 1 : 0), upper(hi < 0 ? -1 : hi - 1)));
        if (!lo) rest = moa_rx_repeat(r, rest, 0, 1);
    }
    for (int64_t i = n; i-- > 0;) {
        uint32_t item;
        const size_t back = enter_index(s, json_object_get(v, "prefixItems") ? "prefixItems" : "items", (size_t)i);
        MOA_TRY(leave(s, back, value(&item, s, json_array_get(a.prefix, (size_t)i))));
        rest = i ? MOA_RX_SEQ_OF(r, comma, item, rest) : MOA_RX_SEQ_OF(r, item, rest);
        if (i >= a.least) rest = moa_rx_repeat(r, rest, 0, 1);
        rest = as_rule(s, rest);
    }
    *x = as_rule(s, MOA_RX_SEQ_OF(r, text(s, "["), s->ws, rest, s->ws, text(s, "]")));
    return 0;
}

/* ---- fixed values ---- */

/* As few digits as this double needs. */
static void add_real(moa_buf *b, double v) {
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v) break;
    }
    if (v == floor(v) && fabs(v) < 1e15) snprintf(text, sizeof text, "%.0f", v); /* 100 rather than 1e+02 */
    moa_buf_adds(b, text);
}

static void add_value(moa_buf *b, const json_t *v) {
    const char *key;
    json_t *e;
    size_t i;
    if (json_is_real(v)) {
        add_real(b, json_real_value(v));
    } else if (json_is_array(v)) {
        moa_buf_adds(b, "[");
        json_array_foreach((json_t *)(uintptr_t)v, i, e) {
            if (i) moa_buf_adds(b, ",");
            add_value(b, e);
        }
        moa_buf_adds(b, "]");
    } else if (json_is_object(v)) {
        const char *before = "{";
        json_object_foreach((json_t *)(uintptr_t)v, key, e) {
            moa_buf_adds(b, before);
            moa_json_add_str(b, key, strlen(key));
            moa_buf_adds(b, ":");
            add_value(b, e);
            before = ",";
        }
        moa_buf_adds(b, *before == '{' ? "{}" : "}");
    } else {
        moa_json_add(b, v);
    }
}

static int fixed(uint32_t *x, moa_schema *s, const json_t *v) {
    moa_buf b;
    moa_buf_init(&b, 1 << 20);
    add_value(&b, v);
    *x = text(s, moa_buf_str(&b));
    const int failed = b.failed;
    moa_buf_deinit(&b);
    return failed ? moa_schema_fail(s, failed, NULL, "a value of more than 1 MiB") : 0;
}

static int fixed_values(uint32_t *x, moa_schema *s, const json_t *v) {
    const json_t *values = json_object_get(v, "enum"), *one = json_object_get(v, "const"), *type = json_object_get(v, "type");
    const char *beside = moa_schema_beside_values(v);
    if (beside) return moa_schema_fail(s, MOA_EUNSUPPORTED, beside, "together with %s is not supported", values ? "enum" : "const");
    if (values && (!json_is_array(values) || !json_array_size(values))) return moa_schema_fail(s, MOA_EFORMAT, "enum", "expected a list of values");
    const size_t n = values ? json_array_size(values) : 1;
    uint32_t *alt = malloc(n * sizeof *alt), m = 0;
    int rc = alt ? 0 : moa_schema_fail(s, MOA_ENOMEM, NULL, "no memory");
    for (size_t i = 0; rc >= 0 && i < n; i++) {
        const json_t *e = values ? json_array_get(values, i) : one;
        if (values && one && !json_equal((json_t *)(uintptr_t)e, (json_t *)(uintptr_t)one)) continue;
        if (type && !moa_schema_has_type(type, e)) continue;
        rc = fixed(&alt[m++], s, e);
    }
    if (rc >= 0 && !m) rc = moa_schema_fail(s, MOA_EFORMAT, values ? "enum" : "const", "none of its values is allowed by the keywords beside it");
    if (rc >= 0) *x = moa_rx_alt(&s->r, alt, m);
    free(alt);
    return rc;
}

/* ---- references ---- */

/* v, with one more required property. */
static int require(const json_t **out, moa_schema *s, const json_t *v, const char *name) {
    json_t *copy = json_is_object(v) ? json_copy((json_t *)(uintptr_t)v) : NULL;
    *out = v;
    if (!copy || json_array_append_new(s->made, copy)) return copy ? moa_schema_fail(s, MOA_ENOMEM, NULL, "no memory") : 0;
    const json_t *have = json_object_get(v, "required");
    if (moa_schema_has_string(have, name) || (have && !json_is_array(have))) return 0;
    json_t *list = have ? json_copy((json_t *)(uintptr_t)have) : json_array();
    *out = copy;
    return list && !json_array_append_new(list, json_string(name)) && !json_object_set_new(copy, "required", list) ? 0 : moa_schema_fail(s, MOA_ENOMEM, NULL, "no memory");
}

static uint32_t new_reference(moa_schema *s, const json_t *to, const char *tag, const char *name) {
    if (s->n_ref == s->cap_ref) {
        const size_t cap = s->cap_ref ? s->cap_ref * 2 : 32;
        struct moa_schema_ref *p = realloc(s->ref, cap * sizeof *p);
        if (!p) return s->r.failed = MOA_ENOMEM, 0;
        s->ref = p, s->cap_ref = cap;
    }
    const uint32_t rule = moa_rules_anon(&s->r, name);
    s->ref[s->n_ref++] = (struct moa_schema_ref){to, tag, rule};
    return rule;
}

/* The rule of a schema that is referred to: made on the first use, so that recursion is a call. tag: a property that it must have, or NULL. */
static int reference(uint32_t *x, moa_schema *s, const json_t *v, const char *tag) {
    const char *name = json_string_value(json_object_get(v, "$ref"));
    const json_t *to;
    MOA_TRY(moa_schema_resolve(&to, s, v));
    for (size_t i = 0; i < s->n_ref; i++)
        if (s->ref[i].target == to && s->ref[i].tag == tag) return *x = moa_rx_call(&s->r, s->ref[i].rule), 0;
    const uint32_t rule = new_reference(s, to, tag, name);
    moa_buf kept = s->at; /* errors inside name the place of the definition */
    moa_buf_init(&s->at, 1 << 16);
    moa_buf_adds(&s->at, name);
    uint32_t body;
    int rc = moa_rules_check(&s->r, s->err);
    if (rc >= 0 && tag) rc = require(&to, s, to, tag);
    if (rc >= 0) rc = value(&body, s, to);
    if (rc < 0) {
        moa_buf_deinit(&kept);
        return rc;
    }
    moa_buf_deinit(&s->at);
    s->at = kept;
    moa_rules_define(&s->r, rule, body);
    *x = moa_rx_call(&s->r, rule);
    return 0;
}

/* ---- alternatives ---- */

/* One branch of anyOf or oneOf. */
static int branch_of(uint32_t *x, moa_schema *s, const json_t *v, const char *keyword, const json_t *branch, const char *tag) {
    MOA_TRY(moa_schema_with_base(&branch, s, v, keyword, branch));
    if (tag && json_object_get(branch, "$ref") && moa_schema_only_ref(branch)) return reference(x, s, branch, tag);
    if (tag) MOA_TRY(require(&branch, s, branch, tag));
    return value(x, s, branch);
}

/* Where a discriminator (OpenAPI) names the property that tells the branches of oneOf apart, each must have it: generators leave a constant
 * with a default out of "required", and without it two branches could match. */
static int alternatives(uint32_t *x, moa_schema *s, const json_t *v, const char *keyword) {
    const json_t *list = json_object_get(v, keyword);
    const size_t n = json_array_size(list);
    uint32_t m = 0;
    if (!n) return moa_schema_fail(s, MOA_EFORMAT, keyword, "expected a list of schemas");
    const char *tag = strcmp(keyword, "oneOf") ? NULL : moa_schema_tag(v);
    if (!strcmp(keyword, "oneOf")) MOA_TRY(moa_schema_check_disjoint(s, v));
    uint32_t *alt = malloc(n * sizeof *alt);
    int rc = alt ? 0 : moa_schema_fail(s, MOA_ENOMEM, NULL, "no memory");
    for (size_t i = 0; rc >= 0 && i < n; i++) {
        if (moa_schema_is_never(json_array_get(list, i))) continue; /* as generators write what may be left out */
        const size_t back = enter_index(s, keyword, i);
        rc = leave(s, back, branch_of(&alt[m++], s, v, keyword, json_array_get(list, i), tag));
    }
    if (rc >= 0 && !m) rc = moa_schema_fail(s, MOA_EFORMAT, keyword, "none of its branches allows a value");
    if (rc >= 0) *x = moa_rx_alt(&s->r, alt, m);
    free(alt);
    return rc;
}

/* ---- any schema ---- */

static int of_type(uint32_t *x, moa_schema *s, const json_t *v, const char *type) {
    if (!strcmp(type, "object")) return object_of(x, s, v);
    if (!strcmp(type, "array")) return array_of(x, s, v);
    if (!strcmp(type, "string")) return string(x, s, v);
    if (!strcmp(type, "integer")) return moa_schema_integer(x, s, v);
    if (!strcmp(type, "number")) return moa_schema_number(x, s, v);
    if (!strcmp(type, "boolean")) return *x = MOA_RX_ALT_OF(&s->r, text(s, "true"), text(s, "false")), 0;
    if (!strcmp(type, "null")) return *x = text(s, "null"), 0;
    return moa_schema_fail(s, MOA_EFORMAT, "type", "'%.40s': expected object, array, string, number, integer, boolean or null", type);
}

/* v for one of several types, without a format that is about another of them. */
static int for_type(const json_t **out, moa_schema *s, const json_t *v, const char *type) {
    const char *format = json_string_value(json_object_get(v, "format"));
    const bool number = !strcmp(type, "integer") || !strcmp(type, "number");
    *out = v;
    if (!format || !(number ? moa_schema_format(format) : moa_schema_number_format(format) ? type : NULL)) return 0;
    json_t *copy = json_copy((json_t *)(uintptr_t)v);
    if (!copy || json_object_del(copy, "format") || json_array_append_new(s->made, copy)) return moa_schema_fail(s, MOA_ENOMEM, NULL, "no memory");
    return *out = copy, 0;
}

static int typed(uint32_t *x, moa_schema *s, const json_t *v) {
    const json_t *type = json_object_get(v, "type");
    uint32_t alt[8], n = 0;
    if (!type) {
        for (const char *const *t = moa_schema_implied_types(v); *t; t++) MOA_TRY(of_type(&alt[n++], s, v, *t));
        if (!n) return *x = s->any, 0;
    } else if (json_is_string(type)) {
        return of_type(x, s, v, json_string_value(type));
    } else {
        const size_t m = json_array_size(type);
        if (!m || m > 7) return moa_schema_fail(s, MOA_EFORMAT, "type", "expected a name or a list of names");
        for (size_t i = 0; i < m; i++) {
            const char *name = json_string_value(json_array_get(type, i));
            const json_t *own;
            MOA_TRY(for_type(&own, s, v, name ? name : ""));
            MOA_TRY(of_type(&alt[n++], s, own, name ? name : ""));
        }
    }
    *x = moa_rx_alt(&s->r, alt, n);
    return 0;
}

/* OpenAPI 3.0: nullable beside a type is one type more. NULL: it is not there, or not beside a type. */
static const json_t *with_null(moa_schema *s, const json_t *v) {
    static const char *const NOT[] = {"$ref", "allOf", "anyOf", "oneOf"};
    const json_t *type = json_object_get(v, "type");
    if (!json_is_true(json_object_get(v, "nullable")) || !json_is_string(type)) return NULL;
    for (size_t i = 0; i < sizeof NOT / sizeof *NOT; i++)
        if (json_object_get(v, NOT[i])) return NULL;
    json_t *copy = json_copy((json_t *)(uintptr_t)v);
    if (!copy || json_array_append_new(s->made, copy)) return NULL;
    const bool null = !strcmp(json_string_value(type), "null");
    if (!null) json_object_set_new(copy, "type", json_pack("[O, s]", type, "null"));
    json_object_del(copy, "nullable");
    return copy;
}

static int keywords(uint32_t *x, moa_schema *s, const json_t *v) {
    const json_t *wider = with_null(s, v);
    if (wider) return keywords(x, s, wider);
    if (moa_schema_is_never(v)) return moa_schema_fail(s, MOA_EFORMAT, "not", "allows no value");
    MOA_TRY(moa_schema_check_keywords(s, v));
    if (json_object_get(v, "$ref") && moa_schema_only_ref(v)) return reference(x, s, v, NULL);
    const json_t *only = moa_schema_only_part(v);
    if (only) {
        const size_t back = enter_index(s, "allOf", 0);
        return leave(s, back, value(x, s, only));
    }
    if (json_object_get(v, "$ref") || json_object_get(v, "allOf")) {
        const json_t *merged;
        MOA_TRY(moa_schema_merge_all(&merged, s, v));
        return value(x, s, merged);
    }
    if (json_object_get(v, "anyOf")) return alternatives(x, s, v, "anyOf");
    if (json_object_get(v, "oneOf")) return alternatives(x, s, v, "oneOf");
    if (json_object_get(v, "enum") || json_object_get(v, "const")) return fixed_values(x, s, v);
    return typed(x, s, v);
}

static int value(uint32_t *x, moa_schema *s, const json_t *v) {
    *x = s->any;
    if (json_is_true(v)) return 0;
    if (json_is_false(v)) return moa_schema_fail(s, MOA_EFORMAT, NULL, "false allows no value");
    if (!json_is_object(v)) return moa_schema_fail(s, MOA_EFORMAT, NULL, "expected a schema: an object, true or false");
    if (++s->work > MAX_WORK) return moa_schema_fail(s, MOA_ELIMIT, NULL, "more than %d schemas, with those that allOf, anyOf and $ref make", MAX_WORK);
    if (++s->depth > MAX_DEPTH) return moa_schema_fail(s, MOA_ELIMIT, NULL, "more than %d schemas inside each other", MAX_DEPTH);
    const int rc = keywords(x, s, v);
    s->depth--;
    if (rc >= 0) return moa_rules_check(&s->r, s->err);
    return rc;
}

/* ---- what all schemas share ---- */

static void define_common(moa_schema *s) {
    moa_rules *r = &s->r;
    const uint32_t digit = moa_rx_class(r, &(moa_span){'0', '9'}, 1, false), first = moa_rx_class(r, &(moa_span){'1', '9'}, 1, false);
    const uint32_t quote = text(s, "\""), any = moa_rules_name(r, "any value", 9);
    const moa_span blank[] = {{' ', ' '}, {'\t', '\t'}};
    /* What models write between values: nothing, a space, or a new line with its indentation. Bounded, so that none goes on for ever. */
    s->ws = moa_rx_repeat(r, MOA_RX_ALT_OF(r, text(s, " "), MOA_RX_SEQ_OF(r, text(s, "\n"), moa_rx_repeat(r, moa_rx_class(r, blank, 2, false), 0, 20))), 0, 1);
    s->character = as_rule(s, moa_schema_character(r));
    if (s->character) r->x[s->character].unit = true;
    s->string = as_rule(s, MOA_RX_SEQ_OF(r, quote, moa_rx_repeat(r, s->character, 0, UINT32_MAX), quote));
    s->number = as_rule(s, MOA_RX_SEQ_OF(r, moa_rx_repeat(r, text(s, "-"), 0, 1), MOA_RX_ALT_OF(r, text(s, "0"), MOA_RX_SEQ_OF(r, first, moa_rx_repeat(r, digit, 0, 17))),
        moa_rx_repeat(r, MOA_RX_SEQ_OF(r, text(s, "."), moa_rx_repeat(r, digit, 1, 16)), 0, 1),
        moa_rx_repeat(r, MOA_RX_SEQ_OF(r, moa_rx_class(r, (const moa_span[]){{'e', 'e'}, {'E', 'E'}}, 2, false), moa_rx_repeat(r, moa_rx_class(r, (const moa_span[]){{'+', '+'}, {'-', '-'}}, 2, false), 0, 1), moa_rx_repeat(r, digit, 1, 2)), 0, 1)));
    s->any = moa_rx_call(r, any);
    const uint32_t comma = MOA_RX_SEQ_OF(r, text(s, ","), s->ws), pair = member(s, s->string, s->any);
    const uint32_t pairs = MOA_RX_SEQ_OF(r, pair, moa_rx_repeat(r, MOA_RX_SEQ_OF(r, comma, pair), 0, UINT32_MAX), s->ws);
    const uint32_t values = MOA_RX_SEQ_OF(r, s->any, moa_rx_repeat(r, MOA_RX_SEQ_OF(r, comma, s->any), 0, UINT32_MAX), s->ws);
    moa_rules_define(r, any, MOA_RX_ALT_OF(r, s->string, s->number, text(s, "true"), text(s, "false"), text(s, "null"),
        MOA_RX_SEQ_OF(r, text(s, "{"), s->ws, moa_rx_repeat(r, pairs, 0, 1), text(s, "}")),
        MOA_RX_SEQ_OF(r, text(s, "["), s->ws, moa_rx_repeat(r, values, 0, 1), text(s, "]"))));
}

int moa_grammar_from_schema(moa_grammar **out, const char *json, size_t n, const char *name, moa_err *err) {
    moa_schema s = {.name = name, .err = err};
    *out = NULL;
    MOA_TRY(moa_json_parse(&s.doc, json, n, MOA_GRAMMAR_TEXT, name, err));
    moa_buf_init(&s.at, 1 << 16);
    moa_buf_adds(&s.at, "#");
    s.made = json_array();
    int rc = s.made ? moa_rules_init(&s.r, err) : moa_fail(err, MOA_ENOMEM, "%s: no memory", name);
    if (rc >= 0) {
        uint32_t x;
        const uint32_t root = moa_rules_name(&s.r, "root", 4);
        define_common(&s);
        rc = value(&x, &s, s.doc);
        if (rc >= 0) moa_rules_define(&s.r, root, x);
        if (rc >= 0 && (rc = moa_grammar_compile(out, &s.r, root, moa_hash64(json, n, 2), err)) < 0) moa_wrap(err, rc, "%s", name);
    }
    moa_rules_deinit(&s.r);
    moa_buf_deinit(&s.at);
    json_decref(s.made);
    json_decref(s.doc);
    free(s.ref);
    return rc;
}
