/* schema_merge.c - see schema_merge.h. allOf is a merge: of two bounds the narrower, of two lists of types or values what both
 * have, of required names all; the schemas of one property, or of all items, become an allOf of their own. Two values
 * of a keyword that has no such rule must be equal.
 * SPDX-License-Identifier: Apache-2.0 */
#include "format/schema_merge.h"
#include "base/nearest.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_MERGE = 64, MAX_COPIES = 20000 };

/* ---- keywords ---- */

typedef enum rule { NOTE, SAME, LARGEST, SMALLEST, COMMON, UNION, PROPERTIES, BOTH, VALUES, ONCE, REFERS, NEVER } rule;

/* How two of a keyword become one; NEVER: cannot be expressed. type: what it is about. */
static const struct keyword { const char *name, *type; rule how; } table[] = {
    {"$ref", NULL, REFERS}, {"allOf", NULL, REFERS}, {"anyOf", NULL, ONCE}, {"oneOf", NULL, ONCE}, {"type", NULL, COMMON}, {"enum", NULL, VALUES}, {"const", NULL, SAME},
    {"properties", "object", PROPERTIES}, {"required", "object", UNION}, {"additionalProperties", "object", SAME}, {"patternProperties", "object", SAME},
    {"propertyNames", "object", BOTH}, {"minProperties", "object", LARGEST}, {"maxProperties", "object", SMALLEST},
    {"items", "array", BOTH}, {"prefixItems", "array", SAME}, {"additionalItems", "array", SAME}, {"minItems", "array", LARGEST}, {"maxItems", "array", SMALLEST},
    {"minLength", "string", LARGEST}, {"maxLength", "string", SMALLEST}, {"pattern", "string", SAME}, {"format", NULL, SAME},
    {"minimum", "number", LARGEST}, {"maximum", "number", SMALLEST}, {"exclusiveMinimum", "number", LARGEST}, {"exclusiveMaximum", "number", SMALLEST}, {"multipleOf", "number", SAME},
    {"$schema", NULL, NOTE}, {"$id", NULL, NOTE}, {"id", NULL, NOTE}, {"$comment", NULL, NOTE}, {"$defs", NULL, NOTE}, {"definitions", NULL, NOTE}, {"title", NULL, NOTE},
    {"description", NULL, NOTE}, {"default", NULL, NOTE}, {"example", NULL, NOTE}, {"examples", NULL, NOTE}, {"deprecated", NULL, NOTE}, {"readOnly", NULL, NOTE},
    {"writeOnly", NULL, NOTE}, {"uniqueItems", "array", SAME}, {"not", NULL, NEVER}, {"if", NULL, NEVER}, {"then", NULL, NEVER}, {"else", NULL, NEVER}, {"contains", "array", NEVER},
    {"minContains", "array", NEVER}, {"maxContains", "array", NEVER}, {"unevaluatedItems", "array", NEVER}, {"unevaluatedProperties", "object", NEVER},
    {"dependencies", "object", NEVER}, {"dependentRequired", "object", NEVER}, {"dependentSchemas", "object", NEVER}, {"contentEncoding", NULL, NOTE},
    {"contentMediaType", NULL, NOTE}, {"contentSchema", NULL, NOTE}, {"discriminator", NULL, NOTE}, {"$anchor", NULL, NEVER}, {"$dynamicRef", NULL, NEVER}, {"$dynamicAnchor", NULL, NEVER},
    {"$recursiveRef", NULL, NEVER}, {"$recursiveAnchor", NULL, NEVER}, {"$vocabulary", NULL, NEVER}, {"nullable", NULL, NEVER},
};
enum { N_KEYWORD = sizeof table / sizeof *table };

static const struct keyword *find(const char *name) {
    for (size_t i = 0; i < N_KEYWORD; i++)
        if (!strcmp(table[i].name, name)) return &table[i];
    return NULL;
}

static bool is_note(const char *name) {
    const struct keyword *k = find(name);
    return k ? k->how == NOTE : !strncmp(name, "x-", 2);
}

static json_t *mutable(const json_t *v) { return (json_t *)(uintptr_t)v; }

int moa_schema_check_keywords(moa_schema *s, const json_t *v) {
    const char *name;
    json_t *val;
    json_object_foreach(mutable(v), name, val) {
        const struct keyword *k = find(name);
        if (k && k->how != NEVER) {
            if (!strcmp(name, "uniqueItems") && !json_is_boolean(val)) return moa_schema_fail(s, MOA_EFORMAT, name, "expected true or false");
            continue;
        }
        if (!strncmp(name, "x-", 2) || (!strcmp(name, "nullable") && json_is_false(val))) continue;
        if (!strcmp(name, "nullable")) return moa_hint(s->err, moa_schema_fail(s, MOA_EUNSUPPORTED, name, "is supported beside a type only"), "write anyOf: [..., {\"type\": \"null\"}]");
        if (k) return moa_schema_fail(s, MOA_EUNSUPPORTED, name, "this keyword cannot be expressed as a grammar");
        const char *names[N_KEYWORD];
        for (size_t i = 0; i < N_KEYWORD; i++) names[i] = table[i].name;
        const char *near = moa_nearest(name, names, N_KEYWORD);
        const int rc = moa_schema_fail(s, MOA_EUNSUPPORTED, name, "unknown keyword");
        return near ? moa_hint(s->err, rc, "did you mean '%s'?", near) : rc;
    }
    return 0;
}

const char *const *moa_schema_implied_types(const json_t *v) {
    static const char *const none[] = {NULL}, *const object[] = {"object", NULL}, *const array[] = {"array", NULL}, *const string[] = {"string", NULL},
                             *const number[] = {"number", NULL};
    const char *name;
    json_t *val;
    json_object_foreach(mutable(v), name, val) {
        const struct keyword *k = find(name);
        const char *type = k && k->how != NOTE ? k->type : NULL;
        if (!strcmp(name, "format")) return string;
        if (type) return *type == 'o' ? object : *type == 'a' ? array : *type == 's' ? string : number;
    }
    return none;
}

const char *moa_schema_beside_values(const json_t *v) {
    const char *name;
    json_t *val;
    json_object_foreach(mutable(v), name, val)
        if (!is_note(name) && strcmp(name, "enum") && strcmp(name, "const") && strcmp(name, "type")) return name;
    return NULL;
}

static bool alone(const json_t *v, const char *keyword) {
    const char *name;
    json_t *val;
    json_object_foreach(mutable(v), name, val)
        if (!is_note(name) && strcmp(name, keyword)) return false;
    return true;
}

bool moa_schema_only_ref(const json_t *v) { return alone(v, "$ref"); }

/* Generators write a reference so, to give it a description; merging it would copy a recursive schema without end. */
const json_t *moa_schema_only_part(const json_t *v) {
    const json_t *list = json_object_get(v, "allOf");
    return json_array_size(list) == 1 && alone(v, "allOf") ? json_array_get(list, 0) : NULL;
}

bool moa_schema_is_never(const json_t *v) {
    const json_t *not = json_object_get(v, "not");
    return json_is_false(v) || json_is_true(not) || (json_is_object(not) && !json_object_size(not));
}

bool moa_schema_has_string(const json_t *list, const char *text) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *t = json_string_value(json_array_get(list, i));
        if (t && !strcmp(t, text)) return true;
    }
    return false;
}

static bool is_a(const char *type, const json_t *v) {
    if (!type) return false;
    switch (json_typeof(v)) {
    case JSON_OBJECT: return !strcmp(type, "object");
    case JSON_ARRAY: return !strcmp(type, "array");
    case JSON_STRING: return !strcmp(type, "string");
    case JSON_INTEGER: return !strcmp(type, "integer") || !strcmp(type, "number");
    case JSON_REAL: return !strcmp(type, "number") || (!strcmp(type, "integer") && json_real_value(v) == floor(json_real_value(v)));
    case JSON_TRUE:
    case JSON_FALSE: return !strcmp(type, "boolean");
    case JSON_NULL: return !strcmp(type, "null");
    }
    return false;
}

bool moa_schema_has_type(const json_t *type, const json_t *value) {
    if (json_is_string(type)) return is_a(json_string_value(type), value);
    for (size_t i = 0; i < json_array_size(type); i++)
        if (is_a(json_string_value(json_array_get(type, i)), value)) return true;
    return false;
}

/* ---- references ---- */

/* One step of a JSON pointer: ~0 and ~1, and what a URI writes with %. */
static bool unescape(char *out, size_t max, const char *p, size_t n) {
    size_t k = 0;
    for (size_t i = 0; i < n; i++, k++) {
        if (k + 1 >= max) return false;
        unsigned hi, lo;
        out[k] = p[i];
        if (p[i] == '~' && i + 1 < n && (p[i + 1] == '0' || p[i + 1] == '1')) out[k] = p[++i] == '0' ? '~' : '/';
        else if (p[i] == '%' && i + 2 < n && sscanf(p + i + 1, "%1x%1x", &hi, &lo) == 2) out[k] = (char)(hi << 4 | lo), i += 2;
    }
    out[k] = 0;
    return true;
}

static const json_t *member_of(const json_t *v, const char *key) {
    if (json_is_object(v)) return json_object_get(v, key);
    char *end;
    const unsigned long i = strtoul(key, &end, 10);
    return json_is_array(v) && *key >= '0' && *key <= '9' && !*end ? json_array_get(v, i) : NULL;
}

int moa_schema_resolve(const json_t **to, moa_schema *s, const json_t *v) {
    const char *ref = json_string_value(json_object_get(v, "$ref")), *p = ref;
    if (!ref) return moa_schema_fail(s, MOA_EFORMAT, "$ref", "expected a string");
    if (*ref != '#' || (ref[1] && ref[1] != '/'))
        return moa_schema_fail(s, MOA_EUNSUPPORTED, "$ref", "'%.80s': only places in the same document are supported, as #/$defs/NAME", ref);
    const json_t *at = s->doc;
    for (p++; at && *p == '/';) {
        char key[1024];
        const size_t n = strcspn(++p, "/");
        at = unescape(key, sizeof key, p, n) ? member_of(at, key) : NULL;
        p += n;
    }
    if (!at) return moa_schema_fail(s, MOA_ENOTFOUND, "$ref", "'%.80s' is not in the document", ref);
    *to = at;
    return 0;
}

/* ---- merging ---- */

static int made(json_t **out, moa_schema *s, json_t *v) {
    *out = v;
    if (json_array_size(s->made) > MAX_COPIES) {
        json_decref(v);
        return moa_schema_fail(s, MOA_ELIMIT, NULL, "allOf, anyOf and $ref make more than %d schemas", MAX_COPIES);
    }
    return v && json_array_append_new(s->made, v) == 0 ? 0 : moa_schema_fail(s, MOA_ENOMEM, NULL, "no memory");
}

static int both(json_t **out, moa_schema *s, json_t *a, json_t *b) {
    if (json_equal(a, b) || json_is_true(b)) return *out = json_incref(a), 0;
    if (json_is_true(a)) return *out = json_incref(b), 0;
    if (json_is_false(a) || json_is_false(b)) return *out = json_false(), 0;
    *out = json_pack("{s:[O,O]}", "allOf", a, b);
    return *out ? 0 : moa_schema_fail(s, MOA_ENOMEM, NULL, "no memory");
}

static json_t *as_list(json_t *v) { return json_is_array(v) ? json_incref(v) : json_pack("[O]", v); }

static bool in_list(const json_t *list, const json_t *v) {
    for (size_t i = 0; i < json_array_size(list); i++)
        if (json_equal(json_array_get(list, i), mutable(v))) return true;
    return false;
}

/* What is in both; of types, integer is in number too. */
static json_t *common(json_t *a, json_t *b, bool types) {
    json_t *x = as_list(a), *y = as_list(b), *out = json_array(), *e;
    size_t i;
    json_array_foreach(x, i, e) {
        const char *t = types ? json_string_value(e) : NULL;
        if (in_list(y, e) || (t && !strcmp(t, "integer") && moa_schema_has_string(y, "number"))) json_array_append(out, e);
        else if (t && !strcmp(t, "number") && moa_schema_has_string(y, "integer") && !moa_schema_has_string(x, "integer")) json_array_append_new(out, json_string("integer"));
    }
    json_decref(x);
    json_decref(y);
    return out;
}

static json_t *all_of(json_t *a, json_t *b) {
    json_t *out = json_copy(a), *e;
    size_t i;
    json_array_foreach(b, i, e)
        if (!in_list(out, e)) json_array_append(out, e);
    return out;
}

static int merge_properties(json_t **out, moa_schema *s, json_t *a, json_t *b) {
    const char *name;
    json_t *v;
    if (!json_is_object(a) || !json_is_object(b) || !(*out = json_copy(a))) return moa_schema_fail(s, MOA_EFORMAT, "properties", "expected an object of schemas");
    json_object_foreach(b, name, v) {
        json_t *have = json_object_get(a, name), *one = NULL;
        int rc = 0;
        if (have) rc = both(&one, s, have, v);
        else one = json_incref(v);
        if (rc < 0 || json_object_set_new(*out, name, one)) return json_decref(*out), rc < 0 ? rc : MOA_ENOMEM;
    }
    return 0;
}

/* 64 bits of mantissa hold every integer and every double. */
static long double exactly(const json_t *v) { return json_is_integer(v) ? (long double)json_integer_value(v) : (long double)json_real_value(v); }

static int merge_keyword(json_t **out, moa_schema *s, const char *name, json_t *a, json_t *b) {
    const struct keyword *k = find(name);
    const rule how = k ? k->how : SAME;
    *out = NULL;
    switch (how) {
    case NOTE: return *out = json_incref(a), 0;
    case LARGEST:
    case SMALLEST:
        if (!json_is_number(a) || !json_is_number(b)) break;
        return *out = json_incref((exactly(a) > exactly(b)) == (how == LARGEST) ? a : b), 0;
    case COMMON:
    case VALUES:
        *out = common(a, b, how == COMMON);
        if (json_array_size(*out)) return 0;
        json_decref(*out);
        return moa_schema_fail(s, MOA_EFORMAT, name, "schemas that must all match have none in common");
    case UNION: return (*out = all_of(a, b)) ? 0 : moa_schema_fail(s, MOA_ENOMEM, NULL, "no memory");
    case PROPERTIES: return merge_properties(out, s, a, b);
    case BOTH:
        if (!json_is_array(a) && !json_is_array(b)) return both(out, s, a, b);
        break;
    case ONCE: return moa_schema_fail(s, MOA_EUNSUPPORTED, name, "two of it that must both match are not supported");
    case SAME:
    case REFERS:
    case NEVER: break;
    }
    if (json_equal(a, b)) return *out = json_incref(a), 0;
    return moa_schema_fail(s, MOA_EUNSUPPORTED, name, "two different ones that must both match are not supported");
}

/* A closed object and one with other properties: what the closed one does not list is forbidden. */
static int check_closed(moa_schema *s, const json_t *closed, const json_t *other) {
    const char *name;
    json_t *v;
    if (!json_object_get(closed, "additionalProperties") || json_is_true(json_object_get(closed, "additionalProperties"))) return 0;
    json_object_foreach(json_object_get(other, "properties"), name, v)
        if (!json_object_get(json_object_get(closed, "properties"), name))
            return moa_schema_fail(s, MOA_EUNSUPPORTED, "additionalProperties", "together with a schema that adds property '%.80s' is not supported", name);
    return 0;
}

static int merge_into(json_t *into, moa_schema *s, const json_t *from, int depth);

/* The schemas that `from` refers to, then its own keywords. */
static int merge_parts(json_t *into, moa_schema *s, const json_t *from, int depth) {
    json_t *list = json_object_get(from, "allOf"), *e;
    size_t i;
    if (json_object_get(from, "$ref")) {
        const json_t *to;
        MOA_TRY(moa_schema_resolve(&to, s, from));
        MOA_TRY(merge_into(into, s, to, depth + 1));
    }
    if (list && !json_is_array(list)) return moa_schema_fail(s, MOA_EFORMAT, "allOf", "expected a list of schemas");
    json_array_foreach(list, i, e) MOA_TRY(merge_into(into, s, e, depth + 1));
    return 0;
}

static int merge_into(json_t *into, moa_schema *s, const json_t *from, int depth) {
    const char *name;
    json_t *v;
    if (depth > MAX_MERGE || ++s->work > MAX_COPIES) return moa_schema_fail(s, MOA_ELIMIT, NULL, "allOf and $ref go deeper than %d schemas, or round in a circle", MAX_MERGE);
    if (json_is_true(from)) return 0;
    if (!json_is_object(from)) return moa_schema_fail(s, MOA_EFORMAT, NULL, "a part of it is no schema that a value could match");
    MOA_TRY(moa_schema_check_keywords(s, from));
    MOA_TRY(merge_parts(into, s, from, depth));
    MOA_TRY(check_closed(s, into, from));
    MOA_TRY(check_closed(s, from, into));
    json_object_foreach(mutable(from), name, v) {
        json_t *have = json_object_get(into, name), *one = NULL;
        if (!strcmp(name, "$ref") || !strcmp(name, "allOf") || is_note(name)) continue;
        if (have) MOA_TRY(merge_keyword(&one, s, name, have, v));
        else one = json_incref(v);
        if (json_object_set_new(into, name, one)) return moa_schema_fail(s, MOA_ENOMEM, NULL, "no memory");
    }
    return 0;
}

int moa_schema_merge_all(const json_t **out, moa_schema *s, const json_t *v) {
    json_t *m;
    MOA_TRY(made(&m, s, json_object()));
    *out = m;
    return merge_into(m, s, v, 0);
}

int moa_schema_with_base(const json_t **out, moa_schema *s, const json_t *v, const char *keyword, const json_t *branch) {
    json_t *base;
    *out = branch;
    if (alone(v, keyword)) return 0;
    MOA_TRY(made(&base, s, json_copy(mutable(v))));
    json_object_del(base, keyword);
    MOA_TRY(merge_into(base, s, branch, 0));
    *out = base;
    return 0;
}

/* ---- oneOf ---- */

const json_t *moa_schema_look(moa_schema *s, const json_t *v) {
    for (int i = 0; i < MAX_MERGE && json_is_object(v); i++) {
        if (!json_object_get(v, "$ref")) return v;
        if (moa_schema_resolve(&v, s, v) < 0) return NULL;
    }
    return NULL;
}

/* The values that a schema lists; NULL: none. new reference */
static json_t *listed(const json_t *v) {
    json_t *one = json_object_get(v, "const"), *many = json_object_get(v, "enum");
    return one ? json_pack("[O]", one) : many ? json_incref(many) : NULL;
}

static bool types_differ(const json_t *a, const json_t *b) {
    json_t *x = json_object_get(a, "type"), *y = json_object_get(b, "type"), *c;
    if (!x || !y) return false;
    c = common(x, y, true);
    const bool none = json_array_size(c) == 0;
    json_decref(c);
    return none;
}

static bool values_differ(const json_t *a, const json_t *b) {
    json_t *x = listed(a), *y = listed(b), *c = x && y ? common(x, y, false) : NULL, *e;
    size_t i;
    bool none = c && json_array_size(c) == 0;
    json_t *values = x ? x : y;
    const json_t *type = json_object_get(x ? b : a, "type");
    if (!c && values && type) {
        none = true;
        json_array_foreach(values, i, e) none &= !moa_schema_has_type(type, e);
    }
    json_decref(x);
    json_decref(y);
    json_decref(c);
    return none;
}

const char *moa_schema_tag(const json_t *v) { return json_string_value(json_object_get(json_object_get(v, "discriminator"), "propertyName")); }

/* tag: a property that both will have, or NULL. */
static bool disjoint(moa_schema *s, const json_t *a, const json_t *b, const char *tag, int depth) {
    const char *name;
    json_t *v;
    if (moa_schema_is_never(a) || moa_schema_is_never(b)) return true;
    a = moa_schema_look(s, a), b = moa_schema_look(s, b);
    if (!a || !b || depth > 4) return false;
    if (types_differ(a, b) || values_differ(a, b)) return true;
    /* Objects that both must have a property whose values cannot be equal; or one forbids what the other wants. */
    const json_t *ra = json_object_get(a, "required"), *rb = json_object_get(b, "required");
    json_object_foreach(json_object_get(a, "properties"), name, v) {
        const json_t *other = json_object_get(json_object_get(b, "properties"), name);
        const bool must = (tag && !strcmp(tag, name)) || (moa_schema_has_string(ra, name) && moa_schema_has_string(rb, name));
        if (other && must && disjoint(s, v, other, NULL, depth + 1)) return true;
    }
    return false;
}

int moa_schema_check_disjoint(moa_schema *s, const json_t *v) {
    const json_t *list = json_object_get(v, "oneOf");
    const size_t n = json_array_size(list);
    if (n > 300) return moa_schema_fail(s, MOA_ELIMIT, "oneOf", "more than 300 branches");
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            if (!disjoint(s, json_array_get(list, k), json_array_get(list, i), moa_schema_tag(v), 0)) {
                const int rc = moa_schema_fail(s, MOA_EUNSUPPORTED, "oneOf", "branches %zu and %zu may match the same value, and a grammar cannot tell", k, i);
                return moa_hint(s->err, rc, "use anyOf, or give both a required property with different const values");
            }
    return 0;
}
