/* schema_number.c - numbers of a schema: bounds become automata over decimal digits, exact for every digit.
 *
 * A number is written without needless zeros before it, with at most 18 digits before the point and, where it is no integer,
 * at most 16 behind it. Integers are never written as 1.0 or 1e3; numbers with bounds have no exponent.
 * SPDX-License-Identifier: Apache-2.0 */
#include "format/schema_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIGITS = 18, FRACTION = 16, NEVER = -1 };
static const int64_t MOST = 999999999999999999; /* 18 digits */

/* Expressions that may not exist: NEVER. */
static int64_t digits(moa_rules *r, int lo, int hi) {
    return lo > hi ? NEVER : (int64_t)moa_rx_class(r, &(moa_span){(uint32_t)('0' + lo), (uint32_t)('0' + hi)}, 1, false);
}

static int64_t then(moa_rules *r, int64_t a, int64_t b) {
    return a < 0 || b < 0 ? NEVER : (int64_t)moa_rx_seq(r, (const uint32_t[]){(uint32_t)a, (uint32_t)b}, 2);
}

static int64_t either(moa_rules *r, int64_t a, int64_t b) {
    if (a < 0 || b < 0) return a < 0 ? b : a;
    return moa_rx_alt(r, (const uint32_t[]){(uint32_t)a, (uint32_t)b}, 2);
}

static int64_t some_digits(moa_rules *r, int from, int to) {
    return moa_rx_repeat(r, (uint32_t)digits(r, 0, 9), (uint32_t)from, (uint32_t)to);
}

/* ---- integers ---- */

/* The rest of numbers with as many digits as lo and hi, which are followed up to here where low and high say so. */
static int64_t between(moa_rules *r, const char *lo, const char *hi, bool low, bool high) {
    const int left = (int)strlen(lo);
    if (left == 0) return 0;
    if (!low && !high) return some_digits(r, left, left);
    const int a = low ? lo[0] - '0' : 0, b = high ? hi[0] - '0' : 9;
    if (a == b) return then(r, digits(r, a, a), between(r, lo + 1, hi + 1, low, high));
    int64_t x = then(r, digits(r, a + low, b - high), some_digits(r, left - 1, left - 1));
    if (low) x = either(r, x, then(r, digits(r, a, a), between(r, lo + 1, hi + 1, true, false)));
    if (high) x = either(r, x, then(r, digits(r, b, b), between(r, lo + 1, hi + 1, false, true)));
    return x;
}

/* Whole numbers 0 <= lo .. hi, by their length; lengths of which all numbers may come are one part. */
static int64_t whole(moa_rules *r, int64_t lo, int64_t hi) {
    int64_t x = NEVER, first = 0;
    int from = 0, to = 0; /* such lengths, from 2 on */
    for (int n = 1; n <= DIGITS; n++) {
        const int64_t last = n == 1 ? 9 : first * 10 - 1;
        const int64_t a = lo > first ? lo : first, b = hi < last ? hi : last;
        char low[24], high[24];
        snprintf(low, sizeof low, "%lld", (long long)a);
        snprintf(high, sizeof high, "%lld", (long long)b);
        if (n > 1 && a == first && b == last) from = from ? from : n, to = n;
        else if (a <= b) x = either(r, x, between(r, low, high, true, true));
        first = n == 1 ? 10 : first * 10;
    }
    return from ? either(r, x, then(r, digits(r, 1, 9), some_digits(r, from - 1, to - 1))) : x;
}

static int64_t integers(moa_rules *r, int64_t lo, int64_t hi) {
    int64_t x = hi < 0 ? NEVER : whole(r, lo < 0 ? 0 : lo, hi);
    if (lo < 0) x = either(r, x, then(r, moa_rx_text(r, "-", 1), whole(r, hi < 0 ? -hi : 1, -lo)));
    return x;
}

/* ---- bounds ---- */

typedef struct bound { bool set, open; double v; const char *keyword; } bound;

static int read_bound(bound *b, moa_schema *s, const json_t *v, const char *inside, const char *outside, int sign) {
    const json_t *in = json_object_get(v, inside), *out = json_object_get(v, outside);
    *b = (bound){0};
    if (in && !json_is_number(in)) return moa_schema_fail(s, MOA_EFORMAT, inside, "expected a number");
    if (in) *b = (bound){true, false, json_number_value(in), inside};
    if (out && json_is_boolean(out)) { /* drafts up to 4: a flag beside the bound */
        if (json_is_true(out)) b->open = true;
        return 0;
    }
    if (out && !json_is_number(out)) return moa_schema_fail(s, MOA_EFORMAT, outside, "expected a number");
    if (out && (!b->set || sign * json_number_value(out) <= sign * b->v)) *b = (bound){true, true, json_number_value(out), outside};
    return 0;
}

static int read_bounds(bound *lo, bound *hi, moa_schema *s, const json_t *v) {
    MOA_TRY(read_bound(lo, s, v, "minimum", "exclusiveMinimum", -1));
    MOA_TRY(read_bound(hi, s, v, "maximum", "exclusiveMaximum", 1));
    const char *format = json_string_value(json_object_get(v, "format"));
    if (format && !strcmp(format, "int32")) {
        if (!lo->set || lo->v < INT32_MIN) *lo = (bound){true, false, INT32_MIN, "format"};
        if (!hi->set || hi->v > INT32_MAX) *hi = (bound){true, false, INT32_MAX, "format"};
    } else if (format && strcmp(format, "int64") && strcmp(format, "float") && strcmp(format, "double")) {
        return moa_schema_fail(s, MOA_EUNSUPPORTED, "format", "'%.60s' of a number is not supported; there are int32, int64, float, double", format);
    }
    return 0;
}

int moa_schema_integer(uint32_t *x, moa_schema *s, const json_t *v) {
    bound lo, hi;
    MOA_TRY(read_bounds(&lo, &hi, s, v));
    const json_t *step = json_object_get(v, "multipleOf");
    if (step && json_number_value(step) != 1) return moa_schema_fail(s, MOA_EUNSUPPORTED, "multipleOf", "of integers only 1 can be expressed");
    int64_t a = -MOST, b = MOST;
    if (lo.set && lo.v > (double)-MOST) {
        if (lo.v >= 1e18) return moa_schema_fail(s, MOA_EUNSUPPORTED, lo.keyword, "integers have at most %d digits", DIGITS);
        a = (int64_t)ceil(lo.v);
        a += lo.open && (double)a == lo.v;
    }
    if (hi.set && hi.v < (double)MOST) {
        if (hi.v <= -1e18) return moa_schema_fail(s, MOA_EUNSUPPORTED, hi.keyword, "integers have at most %d digits", DIGITS);
        b = (int64_t)floor(hi.v);
        b -= hi.open && (double)b == hi.v;
    }
    const int64_t e = a > b ? NEVER : integers(&s->r, a, b);
    if (e < 0) return moa_schema_fail(s, MOA_EFORMAT, hi.keyword ? hi.keyword : lo.keyword, "no integer lies between the bounds");
    *x = (uint32_t)e;
    return 0;
}

/* ---- numbers ---- */

/* A bound 0 <= whole.fraction; the fraction has no zeros at its end. */
typedef struct decimal { int64_t whole; char fraction[FRACTION + 1]; bool open; } decimal;

static bool to_decimal(decimal *d, double v, bool open) {
    char text[64];
    *d = (decimal){.open = open};
    if (!(v >= 0 && v < 1e15)) return false;
    for (int digits_shown = 0; digits_shown <= FRACTION; digits_shown++) { /* the shortest text that is this number */
        snprintf(text, sizeof text, "%.*f", digits_shown, v);
        if (strtod(text, NULL) == v) break;
    }
    if (strtod(text, NULL) != v) return false;
    d->whole = strtoll(text, NULL, 10);
    const char *point = strchr(text, '.');
    if (point) snprintf(d->fraction, sizeof d->fraction, "%s", point + 1);
    for (size_t n = strlen(d->fraction); n && d->fraction[n - 1] == '0'; n--) d->fraction[n - 1] = 0;
    return true;
}

static bool zeros(const char *s) { return strspn(s, "0") == strlen(s); }

/* The rest of fractions between those of lo and hi (equally long: k digits), of which i are written and followed where low and
 * high say so. May be empty where the number can end. */
static int64_t fraction(moa_rules *r, const char *lo, const char *hi, bool low, bool high, bool lo_open, bool hi_open, int i) {
    const int left = FRACTION - i;
    if (!low && !high) return some_digits(r, 0, left);
    if (!*lo && high) return hi_open || (low && lo_open) ? NEVER : (int64_t)moa_rx_repeat(r, (uint32_t)digits(r, 0, 0), 0, (uint32_t)left);
    if (!*lo && !lo_open) return some_digits(r, 0, left);
    if (!*lo) return then(r, moa_rx_repeat(r, (uint32_t)digits(r, 0, 0), 0, 4), then(r, digits(r, 1, 9), some_digits(r, 0, left > 5 ? left - 5 : 0)));
    const int a = low ? *lo - '0' : 0, b = high ? *hi - '0' : 9;
    int64_t x = NEVER;
    if (a == b) {
        x = then(r, digits(r, a, a), fraction(r, lo + 1, hi + 1, low, high, lo_open, hi_open, i + 1));
    } else {
        x = then(r, digits(r, a + low, b - high), some_digits(r, 0, left - 1));
        if (low) x = either(r, x, then(r, digits(r, a, a), fraction(r, lo + 1, hi + 1, true, false, lo_open, hi_open, i + 1)));
        if (high) x = either(r, x, then(r, digits(r, b, b), fraction(r, lo + 1, hi + 1, false, true, lo_open, hi_open, i + 1)));
    }
    const bool may_end = (!low || (zeros(lo) && !lo_open)) && (!high || !zeros(hi) || !hi_open);
    return i && may_end ? either(r, x, 0) : x;
}

/* A fraction with its point, or none where that is between the bounds. */
static int64_t pointed(moa_rules *r, const decimal *lo, const decimal *hi) {
    char a[FRACTION + 1], b[FRACTION + 1];
    const int n = (int)strlen(lo ? lo->fraction : ""), m = (int)strlen(hi ? hi->fraction : ""), k = n > m ? n : m;
    memset(a, '0', sizeof a), memset(b, '0', sizeof b);
    if (lo) memcpy(a, lo->fraction, (size_t)n);
    if (hi) memcpy(b, hi->fraction, (size_t)m);
    a[k] = b[k] = 0;
    const bool lo_open = lo && lo->open, hi_open = hi && hi->open;
    int64_t rest = !lo && !hi ? some_digits(r, 1, FRACTION) : fraction(r, a, b, lo != NULL, hi != NULL, lo_open, hi_open, 0);
    if (k == 0 && rest >= 0 && (lo || hi)) rest = hi ? (int64_t)moa_rx_repeat(r, (uint32_t)digits(r, 0, 0), 1, FRACTION) : lo_open ? rest : some_digits(r, 1, FRACTION);
    const bool none = (!lo || (zeros(a) && !lo_open)) && (!hi || !zeros(b) || !hi_open);
    const int64_t with = then(r, moa_rx_text(r, ".", 1), rest);
    return none ? either(r, with, 0) : with;
}

static int64_t text_of(moa_rules *r, int64_t v) {
    char t[24];
    const int n = snprintf(t, sizeof t, "%lld", (long long)v);
    return moa_rx_text(r, t, (size_t)n);
}

static int64_t decimals(moa_rules *r, const decimal *lo, const decimal *hi) {
    if (lo->whole > hi->whole) return NEVER;
    if (lo->whole == hi->whole) return then(r, text_of(r, lo->whole), pointed(r, lo, hi));
    int64_t x = either(r, then(r, text_of(r, lo->whole), pointed(r, lo, NULL)), then(r, text_of(r, hi->whole), pointed(r, NULL, hi)));
    if (lo->whole + 1 < hi->whole) x = either(r, x, then(r, whole(r, lo->whole + 1, hi->whole - 1), pointed(r, NULL, NULL)));
    return x;
}

static int bounded(uint32_t *x, moa_schema *s, const bound *lo, const bound *hi) {
    moa_rules *r = &s->r;
    const double a = lo->set ? lo->v : -1e15, b = hi->set ? hi->v : 1e15;
    decimal from, to;
    int64_t e = NEVER;
    const decimal far = {.whole = 999999999999999, .fraction = "9999999999999999"};
    if (b >= 0) { /* 0 and above */
        if (!to_decimal(&from, a > 0 ? a : 0, a >= 0 && lo->set && lo->open)) goto cannot;
        if (!hi->set) to = far;
        else if (!to_decimal(&to, b, hi->open)) goto cannot;
        e = decimals(r, &from, &to);
    }
    if (a < 0) { /* below 0, and not the 0 that is written -0 */
        if (!to_decimal(&from, b < 0 ? -b : 0, b >= 0 || hi->open)) goto cannot;
        if (!lo->set) to = far;
        else if (!to_decimal(&to, -a, lo->open)) goto cannot;
        e = either(r, e, then(r, moa_rx_text(r, "-", 1), decimals(r, &from, &to)));
    }
    if (e < 0 || a > b) return moa_schema_fail(s, MOA_EFORMAT, hi->keyword ? hi->keyword : lo->keyword, "no number lies between the bounds");
    *x = (uint32_t)e;
    return 0;
cannot:
    return moa_schema_fail(s, MOA_EUNSUPPORTED, lo->keyword ? lo->keyword : hi->keyword, "a bound of a number has at most 15 digits before the point and %d behind it", FRACTION);
}

int moa_schema_number(uint32_t *x, moa_schema *s, const json_t *v) {
    bound lo, hi;
    MOA_TRY(read_bounds(&lo, &hi, s, v));
    const json_t *step = json_object_get(v, "multipleOf");
    if (step && json_number_value(step) == 1) return moa_schema_integer(x, s, v);
    if (step) return moa_schema_fail(s, MOA_EUNSUPPORTED, "multipleOf", "only 1 can be expressed");
    if (lo.set || hi.set) return bounded(x, s, &lo, &hi);
    *x = s->number;
    return 0;
}
