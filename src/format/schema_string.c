/* schema_string.c - strings of a schema: characters as JSON spells them, patterns, formats.
 *
 * A pattern is a regular expression of ECMA 262 as far as it is regular and needs no context: characters, escapes, classes, groups,
 * alternatives, repetitions. ^ and $ may stand at the two ends of a top-level alternative; without them the pattern may lie
 * anywhere in the string, as JSON Schema says. Lookaround, back references and word boundaries are errors.
 * A pattern's characters are turned into what JSON writes for them: a quote becomes \" and so on. Formats are such patterns.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"
#include "format/schema_impl.h"

#include <string.h>

enum { MAX_NEST = 40, MAX_COUNT = 100000, MAX_SPANS = 512 };

/* ---- characters ---- */

static uint32_t class_of(moa_rules *r, const char *ascii) {
    moa_span s[64];
    uint32_t n = 0;
    for (; *ascii; ascii += ascii[1] == '-' && ascii[2] ? 3 : 1, n++)
        s[n] = (moa_span){(uint8_t)ascii[0], (uint8_t)(ascii[1] == '-' && ascii[2] ? ascii[2] : ascii[0])};
    return moa_rx_class(r, s, n, false);
}

/* \uXXXX of one character: no zero (many readers stop there), no half of a pair, or both halves. */
static uint32_t spelled(moa_rules *r) {
    const uint32_t x = class_of(r, "0-9a-fA-F"), x1 = class_of(r, "1-9a-fA-F"), zero = moa_rx_text(r, "0", 1), d = class_of(r, "dD");
    const uint32_t plain = MOA_RX_ALT_OF(r, MOA_RX_SEQ_OF(r, class_of(r, "1-9a-cA-CefEF"), x, x, x), MOA_RX_SEQ_OF(r, d, class_of(r, "0-7"), x, x),
                                         MOA_RX_SEQ_OF(r, zero, x1, x, x), MOA_RX_SEQ_OF(r, zero, zero, x1, x), MOA_RX_SEQ_OF(r, zero, zero, zero, x1));
    const uint32_t pair = MOA_RX_SEQ_OF(r, d, class_of(r, "89abAB"), x, x, moa_rx_text(r, "\\u", 2), d, class_of(r, "c-fC-F"), x, x);
    return MOA_RX_SEQ_OF(r, moa_rx_text(r, "u", 1), MOA_RX_ALT_OF(r, plain, pair));
}

static const moa_span special[] = {{0, 0x1F}, {'"', '"'}, {'\\', '\\'}};

uint32_t moa_schema_character(moa_rules *r) {
    const uint32_t plain = moa_rx_class(r, special, 3, true);
    return MOA_RX_ALT_OF(r, plain, MOA_RX_SEQ_OF(r, moa_rx_text(r, "\\", 1), MOA_RX_ALT_OF(r, class_of(r, "\"\\/bfnrt"), spelled(r))));
}

/* ---- sets of characters ---- */

typedef struct set { moa_span v[MAX_SPANS]; uint32_t n; } set;

static void add(set *s, uint32_t lo, uint32_t hi) {
    if (s->n < MAX_SPANS) s->v[s->n++] = (moa_span){lo, hi};
}

static void sort(set *s) {
    for (uint32_t i = 1; i < s->n; i++)
        for (uint32_t k = i; k && s->v[k].lo < s->v[k - 1].lo; k--) {
            const moa_span t = s->v[k];
            s->v[k] = s->v[k - 1], s->v[k - 1] = t;
        }
}

static void add_others(set *s, const moa_span *v, uint32_t n) { /* v is sorted */
    uint32_t from = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (v[i].lo > from) add(s, from, v[i].lo - 1);
        if (v[i].hi + 1 > from) from = v[i].hi + 1;
    }
    if (from <= 0x10FFFF) add(s, from, 0x10FFFF);
}

static const moa_span digit[] = {{'0', '9'}}, word[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const moa_span space[] = {{9, 13}, {32, 32}, {0xA0, 0xA0}, {0x1680, 0x1680}, {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F},
                                 {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
static const moa_span line_end[] = {{10, 10}, {13, 13}, {0x2028, 0x2029}};
#define COUNT(v) (uint32_t)(sizeof(v) / sizeof *(v))

/* \d \w \s and their opposites. */
static bool add_named(set *s, char c) {
    const bool digits = c == 'd' || c == 'D', words = c == 'w' || c == 'W', spaces = c == 's' || c == 'S';
    const moa_span *v = digits ? digit : words ? word : space;
    const uint32_t n = digits ? COUNT(digit) : words ? COUNT(word) : COUNT(space);
    if (!digits && !words && !spaces) return false;
    if (c < 'a') add_others(s, v, n);
    else
        for (uint32_t i = 0; i < n; i++) add(s, v[i].lo, v[i].hi);
    return true;
}

static bool holds(const set *s, uint32_t c) {
    for (uint32_t i = 0; i < s->n; i++)
        if (s->v[i].lo <= c && c <= s->v[i].hi) return true;
    return false;
}

/* One character of s as JSON writes it. U+0000 is left out, as in moa_schema_character. */
static uint32_t written(moa_rules *r, set *s) {
    uint32_t x[40], n = 0;
    set plain = {.n = 0}, kept = {.n = 0};
    sort(s);
    add_others(&plain, special, 3);
    for (uint32_t i = 0; i < s->n; i++)
        for (uint32_t k = 0; k < plain.n; k++) {
            const uint32_t lo = s->v[i].lo > plain.v[k].lo ? s->v[i].lo : plain.v[k].lo, hi = s->v[i].hi < plain.v[k].hi ? s->v[i].hi : plain.v[k].hi;
            if (lo <= hi) add(&kept, lo, hi);
        }
    x[n++] = moa_rx_class(r, kept.v, kept.n, false);
    for (uint32_t c = 1; c < 128; c++) {
        if ((c >= 32 && c != '"' && c != '\\') || !holds(s, c)) continue;
        moa_buf b;
        moa_buf_init(&b, 16);
        const char byte = (char)c;
        moa_json_add_str(&b, &byte, 1);
        x[n++] = moa_rx_text(r, b.data + 1, b.len - 2);
        moa_buf_deinit(&b);
    }
    return moa_rx_alt(r, x, n);
}

/* ---- patterns ---- */

typedef struct reader {
    moa_schema *s;
    const char *keyword, *text, *at;
    int nest;
} reader;

#define WRONG(p, code, ...) moa_schema_fail((p)->s, code, (p)->keyword, __VA_ARGS__)

static moa_schema_text one(moa_rules *r, uint32_t x) {
    if (x) r->x[x].unit = true;
    return (moa_schema_text){x, 1, 1};
}

static uint64_t times(uint64_t a, uint64_t b) {
    if (!a || !b) return 0;
    return a >= UINT32_MAX || b >= UINT32_MAX || a * b >= UINT32_MAX ? UINT32_MAX : a * b;
}

static uint64_t plus(uint64_t a, uint64_t b) { return a + b < UINT32_MAX ? a + b : UINT32_MAX; }

static int hex(reader *p, uint32_t *cp, int n) {
    for (*cp = 0; n--; p->at++) {
        const char *all = "0123456789abcdef0123456789ABCDEF", *c = *p->at ? strchr(all, *p->at) : NULL;
        if (!c) return WRONG(p, MOA_EFORMAT, "at %d: expected a hexadecimal digit", (int)(p->at - p->text));
        *cp = *cp << 4 | (uint32_t)((c - all) & 15);
    }
    return 0;
}

/* Behind \u: four digits, twice for a character that UTF-16 writes as a pair. */
static int code_unit(reader *p, uint32_t *cp) {
    uint32_t low;
    const int from = (int)(p->at - p->text) - 2;
    MOA_TRY(hex(p, cp, 4));
    if (*cp < 0xD800 || *cp > 0xDFFF) return 0;
    if (*cp > 0xDBFF || p->at[0] != '\\' || p->at[1] != 'u') return WRONG(p, MOA_EUNSUPPORTED, "at %d: half of a character", from);
    p->at += 2;
    MOA_TRY(hex(p, &low, 4));
    if (low < 0xDC00 || low > 0xDFFF) return WRONG(p, MOA_EUNSUPPORTED, "at %d: half of a character", from);
    *cp = 0x10000 + ((*cp - 0xD800) << 10) + (low - 0xDC00);
    return 0;
}

/* Behind a backslash: one character, or 1 when a set was added. */
static int escape(reader *p, uint32_t *cp, set *s) {
    static const char from[] = "tnrfv0", to[] = "\t\n\r\f\v\0";
    const char c = *p->at;
    if (!c) return WRONG(p, MOA_EFORMAT, "ends with a backslash");
    if (add_named(s, c)) return p->at++, 1;
    const char *k = strchr(from, c);
    p->at++;
    if (k) return *cp = (uint8_t)to[k - from], 0;
    if (c == 'x') return hex(p, cp, 2);
    if (c == 'u') return code_unit(p, cp);
    if ((c >= '1' && c <= '9') || c == 'k') return WRONG(p, MOA_EUNSUPPORTED, "at %d: back references are not regular", (int)(p->at - p->text) - 2);
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & 0x80))
        return WRONG(p, MOA_EUNSUPPORTED, "at %d: escape '\\%c' is not supported", (int)(p->at - p->text) - 2, c & 0x80 ? '?' : c);
    return *cp = (uint8_t)c, 0;
}

static int character(reader *p, uint32_t *cp) {
    const int n = moa_utf8_next(cp, p->at, strlen(p->at));
    p->at += n;
    return 0;
}

static int class_item(reader *p, uint32_t *cp, set *s) {
    if (*p->at != '\\') return character(p, cp);
    p->at++;
    if (*p->at == 'b') return p->at++, *cp = 8, 0;
    return escape(p, cp, s);
}

static int class_parts(reader *p, set *s) {
    while (*p->at && *p->at != ']') {
        uint32_t lo, hi;
        int rc = class_item(p, &lo, s);
        if (rc < 0) return rc;
        if (rc == 1) continue;
        hi = lo;
        if (p->at[0] == '-' && p->at[1] && p->at[1] != ']') {
            p->at++;
            if ((rc = class_item(p, &hi, s)) < 0) return rc;
            if (rc == 1 || hi < lo) return WRONG(p, MOA_EFORMAT, "at %d: a range that goes down, or that ends in a class", (int)(p->at - p->text));
        }
        add(s, lo, hi);
    }
    if (!*p->at) return WRONG(p, MOA_EFORMAT, "a '[' is never closed");
    if (s->n > MAX_SPANS / 2) return WRONG(p, MOA_ELIMIT, "a class of more than %d ranges", MAX_SPANS / 2);
    p->at++;
    return 0;
}

static int class_text(reader *p, moa_schema_text *out) {
    set in = {.n = 0}, rest = {.n = 0};
    const bool negated = *++p->at == '^';
    p->at += negated;
    MOA_TRY(class_parts(p, &in));
    sort(&in);
    if (negated) add_others(&rest, in.v, in.n);
    *out = one(&p->s->r, written(&p->s->r, negated ? &rest : &in));
    return 0;
}

static int choice(reader *p, moa_schema_text *out);

static int group(reader *p, moa_schema_text *out) {
    const int from = (int)(p->at - p->text);
    if (++p->nest > MAX_NEST) return WRONG(p, MOA_ELIMIT, "more than %d nested groups", MAX_NEST);
    p->at++;
    if (p->at[0] == '?') {
        const char *open = p->at + (p->at[1] == 'P' ? 2 : 1); /* Python's named groups begin with (?P< */
        const char *name = open[0] == '<' && open[1] != '=' && open[1] != '!' ? strchr(open, '>') : NULL;
        if (p->at[1] == ':') p->at += 2;
        else if (name) p->at = name + 1;
        else if (p->at[1] && strchr("=!<", p->at[1])) return WRONG(p, MOA_EUNSUPPORTED, "at %d: lookaround is not supported", from);
        else return WRONG(p, MOA_EUNSUPPORTED, "at %d: flags inside a pattern are not supported", from);
    }
    MOA_TRY(choice(p, out));
    if (*p->at != ')') return WRONG(p, MOA_EFORMAT, "at %d: this '(' is never closed", from);
    p->at++;
    p->nest--;
    return 0;
}

static int atom(reader *p, moa_schema_text *out) {
    moa_rules *r = &p->s->r;
    set s = {.n = 0};
    uint32_t cp = 0;
    int rc = 0;
    switch (*p->at) {
    case '(': return group(p, out);
    case '[': return class_text(p, out);
    case '.':
        p->at++;
        add_others(&s, line_end, COUNT(line_end));
        return *out = one(r, written(r, &s)), 0;
    case '^':
    case '$': return WRONG(p, MOA_EUNSUPPORTED, "at %d: '%c' is supported at the two ends of the pattern only", (int)(p->at - p->text), *p->at);
    case '*':
    case '+':
    case '?':
    case '{': return WRONG(p, MOA_EFORMAT, "at %d: '%c' has nothing to repeat", (int)(p->at - p->text), *p->at);
    case '\\':
        if (p->at[1] == 'b' || p->at[1] == 'B') return WRONG(p, MOA_EUNSUPPORTED, "at %d: word boundaries are not supported", (int)(p->at - p->text));
        p->at++;
        rc = escape(p, &cp, &s);
        break;
    default: rc = character(p, &cp);
    }
    if (rc < 0) return rc;
    if (rc == 0 && cp == 0) return WRONG(p, MOA_EUNSUPPORTED, "U+0000 is not supported");
    if (rc == 0) add(&s, cp, cp);
    *out = one(r, written(r, &s));
    return 0;
}

static int count(reader *p, uint32_t *out) {
    uint32_t v = 0;
    if (*p->at < '0' || *p->at > '9') return WRONG(p, MOA_EFORMAT, "at %d: expected {m}, {m,} or {m,n}", (int)(p->at - p->text));
    for (; *p->at >= '0' && *p->at <= '9'; p->at++)
        if ((v = v * 10 + (uint32_t)(*p->at - '0')) > MAX_COUNT) return WRONG(p, MOA_ELIMIT, "repeats more than %d times", MAX_COUNT);
    *out = v;
    return 0;
}

static int repeats(reader *p, moa_schema_text *x) {
    uint32_t min = 0, max = UINT32_MAX;
    const char c = *p->at;
    if (c != '*' && c != '+' && c != '?' && c != '{') return 0;
    p->at++;
    if (c == '+') min = 1;
    if (c == '?') max = 1;
    if (c == '{') {
        MOA_TRY(count(p, &min));
        max = min;
        if (*p->at == ',' && *++p->at == '}') max = UINT32_MAX;
        else if (p->at[-1] == ',') MOA_TRY(count(p, &max));
        if (*p->at != '}' || max < min) return WRONG(p, MOA_EFORMAT, "at %d: expected {m}, {m,} or {m,n}", (int)(p->at - p->text));
        p->at++;
    }
    if (*p->at == '?') p->at++; /* lazy: the same strings */
    *x = (moa_schema_text){moa_rx_repeat(&p->s->r, x->x, min, max), times(x->least, min), times(x->most, max)};
    return 0;
}

static int sequence(reader *p, moa_schema_text *out) {
    *out = (moa_schema_text){0};
    while (*p->at && *p->at != '|' && *p->at != ')' && !(*p->at == '$' && p->nest == 0 && (p->at[1] == 0 || p->at[1] == '|'))) {
        moa_schema_text x;
        MOA_TRY(atom(p, &x));
        MOA_TRY(repeats(p, &x));
        *out = (moa_schema_text){MOA_RX_SEQ_OF(&p->s->r, out->x, x.x), plus(out->least, x.least), plus(out->most, x.most)};
        if (p->s->r.x[out->x].depth > MOA_RX_DEPTH / 2) { /* a long one: a rule of its own */
            const uint32_t rule = moa_rules_anon(&p->s->r, "pattern");
            moa_rules_define(&p->s->r, rule, out->x);
            out->x = moa_rx_call(&p->s->r, rule);
        }
    }
    return 0;
}

static void join(moa_rules *r, moa_schema_text *a, moa_schema_text b, bool first) {
    if (first) *a = b;
    else *a = (moa_schema_text){MOA_RX_ALT_OF(r, a->x, b.x), a->least < b.least ? a->least : b.least, a->most > b.most ? a->most : b.most};
}

static int choice(reader *p, moa_schema_text *out) {
    for (bool first = true;; first = false) {
        moa_schema_text x;
        MOA_TRY(sequence(p, &x));
        join(&p->s->r, out, x, first);
        if (*p->at != '|') return 0;
        p->at++;
    }
}

/* A top-level alternative: with its anchors, or with anything where one is missing. */
static int anchored(reader *p, moa_schema_text *out) {
    moa_rules *r = &p->s->r;
    const uint32_t anything = moa_rx_repeat(r, p->s->character, 0, UINT32_MAX);
    const bool begins = *p->at == '^';
    p->at += begins;
    MOA_TRY(sequence(p, out));
    const bool ends = *p->at == '$';
    p->at += ends;
    if (!begins) *out = (moa_schema_text){MOA_RX_SEQ_OF(r, anything, out->x), out->least, UINT32_MAX};
    if (!ends) *out = (moa_schema_text){MOA_RX_SEQ_OF(r, out->x, anything), out->least, UINT32_MAX};
    return 0;
}

int moa_schema_pattern(moa_schema_text *out, moa_schema *s, const char *keyword, const char *regex) {
    reader p = {.s = s, .keyword = keyword, .text = regex, .at = regex};
    for (bool first = true;; first = false) {
        moa_schema_text x;
        MOA_TRY(anchored(&p, &x));
        join(&s->r, out, x, first);
        if (!*p.at) return 0;
        if (*p.at != '|') return WRONG(&p, MOA_EFORMAT, "at %d: unexpected '%c'", (int)(p.at - regex), *p.at);
        p.at++;
    }
}

/* ---- formats ---- */

const char moa_schema_formats[] = "date, time, date-time, duration, email, hostname, ipv4, ipv6, json-pointer, uri, uuid, uuid1, uuid3 to uuid8, and binary, password, path, file-path, "
                                  "directory-path, which any string has";

#define YEAR "(000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})" /* readers that know no year 0 */
#define LEAP "([0-9]{2}(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)"
#define DATE "(" YEAR "-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))|" LEAP "-02-29)"
#define TIME "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
#define LABEL "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"

#define IPV4 "((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define H16 "[0-9A-Fa-f]{1,4}"
#define LS32 "(" H16 ":" H16 "|" IPV4 ")"
#define UUID(version, variant) "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-" version "[0-9a-fA-F]{3}-" variant "[0-9a-fA-F]{3}-[0-9a-fA-F]{12}$"
#define PATH_CHAR "([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"

const char *moa_schema_format(const char *name) {
    static const struct { const char *name, *pattern; } format[] = {
        {"date", "^" DATE "$"}, /* the days that months have, leap years too */
        {"time", "^" TIME "$"},
        {"date-time", "^" DATE "T" TIME "$"},
        {"duration", "^P([0-9]{1,4}W|([0-9]{1,4}Y([0-9]{1,4}M([0-9]{1,4}D)?)?|[0-9]{1,4}M([0-9]{1,4}D)?|[0-9]{1,4}D)"
                     "(T([0-9]{1,4}H([0-9]{1,4}M([0-9]{1,4}S)?)?|[0-9]{1,4}M([0-9]{1,4}S)?|[0-9]{1,4}S))?|"
                     "T([0-9]{1,4}H([0-9]{1,4}M([0-9]{1,4}S)?)?|[0-9]{1,4}M([0-9]{1,4}S)?|[0-9]{1,4}S))$"},
        {"email", "^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@" LABEL "(\\." LABEL ")+$"},
        {"hostname", "^" LABEL "(\\." LABEL ")*$"},
        {"ipv4", "^" IPV4 "$"},
        /* RFC 3986, 3.2.2: :: stands for one or more groups of zeros */
        {"ipv6", "^((" H16 ":){6}" LS32 "|::(" H16 ":){5}" LS32 "|(" H16 ")?::(" H16 ":){4}" LS32 "|((" H16 ":){0,1}" H16 ")?::(" H16 ":){3}" LS32
                 "|((" H16 ":){0,2}" H16 ")?::(" H16 ":){2}" LS32 "|((" H16 ":){0,3}" H16 ")?::" H16 ":" LS32 "|((" H16 ":){0,4}" H16 ")?::" LS32
                 "|((" H16 ":){0,5}" H16 ")?::" H16 "|((" H16 ":){0,6}" H16 ")?::)$"},
        /* RFC 3986, 3, of its hosts only names and IPv4 */
        {"uri", "^[A-Za-z][A-Za-z0-9+.-]*:(//[A-Za-z0-9.-]+(:[0-9]{1,5})?(/" PATH_CHAR "*)*|" PATH_CHAR "+(/" PATH_CHAR "*)*)"
                "(\\?(" PATH_CHAR "|[/?])*)?(#(" PATH_CHAR "|[/?])*)?$"},
        {"uuid", UUID("[0-9a-fA-F]", "[0-9a-fA-F]")},
        {"uuid1", UUID("1", "[89abAB]")}, /* RFC 9562, 4: version and variant */
        {"uuid3", UUID("3", "[89abAB]")},
        {"uuid4", UUID("4", "[89abAB]")},
        {"uuid5", UUID("5", "[89abAB]")},
        {"uuid6", UUID("6", "[89abAB]")},
        {"uuid7", UUID("7", "[89abAB]")},
        {"uuid8", UUID("8", "[89abAB]")},
        {"json-pointer", "^(/([^/~]|~[01])*)*$"},
        {"binary", ""}, /* notes for whoever shows or stores the string */
        {"password", ""},
        {"path", ""},
        {"file-path", ""},
        {"directory-path", ""},
    };
    for (size_t i = 0; i < sizeof format / sizeof *format; i++)
        if (!strcmp(format[i].name, name)) return format[i].pattern;
    return NULL;
}
