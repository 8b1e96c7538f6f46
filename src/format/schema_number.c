/* schema_number.c - numbers of a schema: bounds and multipleOf become one automaton over decimal digits, exact for every digit.
 *
 * A number is read from the left, before anybody knows how many digits it will have. So a state holds, of each bound, how the digits
 * so far compare with as many of its own. The number of digits before the point then decides (there are no needless zeros), and where
 * it is the same, that comparison, which goes on behind the point; what a number leaves out there is zeros.
 *
 * multipleOf = m / 10^f, m a whole number: N, the digits as one number with f of them behind the point, must be 0 modulo m. Of the
 * remainder r so far only this counts: what may still follow. After j more digits, those of s < 10^j, all is well when
 * r 10^j + s = 0 (mod m). So two remainders are alike when, for every j, -r 10^j mod m is the same or in both cases not below 10^j;
 * the first j with 10^j >= m says it for all that come after. This leaves m states of most m, and k + 1 of 10^k.
 *
 * Integers have at most 18 digits and are never written as 1.0 or 1e3. Numbers with bounds or multipleOf have no exponent and at
 * most 15 digits, a 0 before the point not counted: two of them that differ are different doubles, in the same order, so that
 * a reader who turns texts into doubles finds them within the bounds too.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "format/schema_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INTEGER_DIGITS = 18, NUMBER_DIGITS = 15, MAX_FACTOR = 100000, MAX_CLASS = 4096, MAX_PLACE = 60000, SLOTS = 1 << 17,
       WORK = 16 /* remainders, or places, that cost as much as a schema */ };

/* ---- decimals and bounds ---- */

/* 0.d1 d2 ... dn times 10^e, d1 and dn not 0; n = 0: zero. */
typedef struct decimal { char digit[24]; int n, e; bool negative; } decimal;

static decimal parse_decimal(const char *text) {
    decimal d = {.n = 0};
    const char *exponent = strchr(text, 'e');
    int length = 0; /* digits before the exponent, without needless zeros */
    for (const char *s = text; *s && *s != 'e'; s++) {
        if (*s < '0' || *s > '9' || (*s == '0' && !length)) continue;
        if (d.n < (int)sizeof d.digit) d.digit[d.n++] = *s;
        length++;
    }
    d.e = exponent ? 1 + (int)strtol(exponent + 1, NULL, 10) : length;
    while (d.n && d.digit[d.n - 1] == '0') d.n--;
    d.negative = d.n && *text == '-';
    return d;
}

/* An integer's own digits, or the shortest ones that are this double. */
static decimal to_decimal(const json_t *v) {
    char text[64];
    if (json_is_integer(v)) snprintf(text, sizeof text, "%lld", (long long)json_integer_value(v));
    for (int more = 0; json_is_real(v) && more < 17; more++) {
        snprintf(text, sizeof text, "%.*e", more, json_real_value(v));
        if (strtod(text, NULL) == json_real_value(v)) break;
    }
    return parse_decimal(text);
}

static int compare(const decimal *a, const decimal *b) {
    if (a->negative != b->negative) return a->negative ? -1 : 1;
    const int up = a->negative ? -1 : 1;
    if (!a->n || !b->n) return a->n ? 1 : b->n ? -1 : 0; /* neither is negative */
    if (a->e != b->e) return a->e > b->e ? up : -up;
    const int d = memcmp(a->digit, b->digit, (size_t)(a->n < b->n ? a->n : b->n));
    if (d) return d > 0 ? up : -up;
    return a->n == b->n ? 0 : a->n > b->n ? up : -up;
}

typedef struct bound { bool set, open; decimal v; const char *keyword; } bound;

/* sign 1: of two upper bounds the lower one counts; -1: of two lower bounds the upper one. */
static void tighten(bound *b, bound other, int sign) {
    const int c = b->set ? sign * compare(&other.v, &b->v) : -1;
    if (c < 0 || (c == 0 && other.open)) *b = other;
}

bool moa_schema_number_format(const char *name) { return !strcmp(name, "int32") || !strcmp(name, "int64") || !strcmp(name, "float") || !strcmp(name, "double"); }

static int read_bound(bound *b, moa_schema *s, const json_t *v, const char *inside, const char *outside, int sign) {
    const json_t *in = json_object_get(v, inside), *out = json_object_get(v, outside);
    *b = (bound){0};
    if (in && !json_is_number(in)) return moa_schema_fail(s, MOA_EFORMAT, inside, "expected a number");
    if (out && !json_is_number(out) && !json_is_boolean(out)) return moa_schema_fail(s, MOA_EFORMAT, outside, "expected a number");
    if (in) *b = (bound){true, json_is_true(out), to_decimal(in), inside}; /* drafts up to 4: a flag beside the bound */
    if (json_is_number(out)) tighten(b, (bound){true, true, to_decimal(out), outside}, sign);
    return 0;
}

static int read_bounds(bound *lo, bound *hi, moa_schema *s, const json_t *v) {
    MOA_TRY(read_bound(lo, s, v, "minimum", "exclusiveMinimum", -1));
    MOA_TRY(read_bound(hi, s, v, "maximum", "exclusiveMaximum", 1));
    const char *format = json_string_value(json_object_get(v, "format"));
    if (format && !strcmp(format, "int32")) {
        tighten(lo, (bound){true, false, parse_decimal("-2147483648"), "format"}, -1);
        tighten(hi, (bound){true, false, parse_decimal("2147483647"), "format"}, 1);
    } else if (format && !moa_schema_number_format(format)) {
        return moa_schema_fail(s, MOA_EUNSUPPORTED, "format", "'%.60s' of a number is not supported; there are int32, int64, float, double", format);
    }
    return 0;
}

/* ---- multipleOf ---- */

typedef struct factor {
    int m, f;           /* multipleOf is m / 10^f */
    int n_class, *of;   /* [m] class of a remainder */
    int *one;           /* [n_class] a remainder of it */
} factor;

/* What r lets follow at j digits, as one number; -1: nothing. */
static int64_t follower(int r, int64_t power, int m) {
    const int64_t s = ((int64_t)m - r * (power % m) % m) % m;
    return s < power ? s : -1;
}

static bool alike(int x, int y, int m) {
    for (int64_t power = 1;; power *= 10) {
        if (follower(x, power, m) != follower(y, power, m)) return false;
        if (power >= m) return true;
    }
}

typedef struct remainder { uint64_t key; int r; } remainder; /* key: hash of all that may follow */

static int by_key(const void *a, const void *b) {
    const uint64_t x = ((const remainder *)a)->key, y = ((const remainder *)b)->key;
    return x < y ? -1 : x > y;
}

static int find_classes(factor *k, moa_schema *s) {
    int least = k->m; /* remainders by what is left without twos and fives are all different */
    while (least % 2 == 0) least /= 2;
    while (least % 5 == 0) least /= 5;
    if (least > MAX_CLASS) return moa_schema_fail(s, MOA_EUNSUPPORTED, "multipleOf", "needs %d states or more to follow, at most %d are made", least, MAX_CLASS);
    remainder *order = malloc((size_t)k->m * sizeof *order);
    k->of = malloc((size_t)k->m * sizeof *k->of);
    k->one = malloc((size_t)k->m * sizeof *k->one);
    if (!order || !k->of || !k->one) {
        free(order);
        return moa_schema_fail(s, MOA_ENOMEM, "multipleOf", "no memory");
    }
    for (int r = 0; r < k->m; r++) {
        order[r] = (remainder){0, r};
        for (int64_t power = 1;; power *= 10) {
            order[r].key = moa_mix64(order[r].key + (uint64_t)follower(r, power, k->m));
            if (power >= k->m) break;
        }
    }
    qsort(order, (size_t)k->m, sizeof *order, by_key);
    for (int i = 0; i < k->m; i++) { /* two kinds of one key would make a class or two more, no wrong one */
        if (i == 0 || order[i].key != order[i - 1].key || !alike(order[i].r, order[i - 1].r, k->m)) k->one[k->n_class++] = order[i].r;
        k->of[order[i].r] = k->n_class - 1;
    }
    free(order);
    return k->n_class <= MAX_CLASS ? 0 : moa_schema_fail(s, MOA_EUNSUPPORTED, "multipleOf", "needs %d states to follow, at most %d are made", k->n_class, MAX_CLASS);
}

static int64_t gcd(int64_t a, int64_t b) { return b ? gcd(b, a % b) : a; }

static int read_factor(factor *k, moa_schema *s, const json_t *v, bool integer) {
    const json_t *step = json_object_get(v, "multipleOf");
    *k = (factor){.m = 1, .f = integer ? 0 : NUMBER_DIGITS};
    if (step && !(json_is_number(step) && json_number_value(step) > 0)) return moa_schema_fail(s, MOA_EFORMAT, "multipleOf", "expected a number above 0");
    if (step) {
        const decimal d = to_decimal(step);
        int64_t m = 0, power = 1;
        k->f = d.n > d.e ? d.n - d.e : 0;
        for (int i = 0; (i < d.n || i < d.e) && m <= MAX_FACTOR; i++) m = m * 10 + (i < d.n ? d.digit[i] - '0' : 0);
        for (int i = 0; i < k->f && k->f <= NUMBER_DIGITS; i++) power *= 10;
        if (integer) m /= gcd(m, power), k->f = 0; /* n 10^f is a multiple of m */
        if (m > MAX_FACTOR || k->f > NUMBER_DIGITS)
            return moa_schema_fail(s, MOA_EUNSUPPORTED, "multipleOf", "%.15g is not supported; m / 10^f is, m up to %d and f up to %d", json_number_value(step), MAX_FACTOR, NUMBER_DIGITS);
        s->work += m / WORK;
        k->m = (int)m;
    }
    return find_classes(k, s);
}

/* ---- the automaton ---- */

typedef enum part { START, ZERO, WHOLE, POINT, FRACTION } part;
/* lo, hi: digits so far against the bound's, -1 below, 0 the same, 1 above. k: digits before the point, or places that may still come
 * behind it; j: places so far. */
typedef struct place { uint8_t part, k, j; int8_t lo, hi; uint16_t cls; } place;

typedef struct maker {
    moa_schema *s;
    bound lo, hi;         /* of the number without its sign */
    const factor *k;
    int digits;
    place v[MAX_PLACE]; int n;
    uint64_t key[MAX_PLACE];
    int32_t slot[SLOTS], home[MAX_PLACE]; /* a place and its slot name each other; what earlier numbers left does not */
    moa_rx_step *step; uint32_t n_step, cap_step;
    uint32_t digit[10][10]; /* classes; 0: not made yet */
    bool any;             /* a number can end somewhere */
    int failed;
} maker;

static int digit_at(const decimal *d, int i) { return i >= 0 && i < d->n ? d->digit[i] - '0' : 0; }
static int whole_digits(const decimal *d) { return d->e > 0 ? d->e : 1; }

/* One more digit before the point, the k-th from 0. */
static int read_whole(int so_far, const bound *b, int k, int digit) {
    if (b->set && k >= whole_digits(&b->v)) return 1;
    if (!b->set || so_far) return so_far;
    const int have = digit_at(&b->v, b->v.e > 0 ? k : -1);
    return (digit > have) - (digit < have);
}

/* k digits before the point are all. */
static int end_whole(int so_far, const bound *b, int k) { return b->set && k < whole_digits(&b->v) ? -1 : so_far; }

static int read_place(int so_far, const bound *b, int j, int digit) {
    if (!b->set || so_far) return so_far;
    const int have = digit_at(&b->v, b->v.e + j);
    return (digit > have) - (digit < have);
}

/* Nothing but zeros comes after j places. */
static int end_places(int so_far, const bound *b, int j) { return b->set && !so_far && b->v.e + j < b->v.n ? -1 : so_far; }

static bool may_end(const maker *m, const place *p) {
    if (p->part == START || p->part == POINT) return false;
    const bool whole = p->part != FRACTION;
    int lo = whole ? end_whole(p->lo, &m->lo, p->k) : p->lo, hi = whole ? end_whole(p->hi, &m->hi, p->k) : p->hi, cls = p->cls;
    lo = end_places(lo, &m->lo, p->j), hi = end_places(hi, &m->hi, p->j);
    for (int j = p->j; j < m->k->f && m->k->m > 1; j++) cls = m->k->of[m->k->one[cls] * 10 % m->k->m];
    return cls == m->k->of[0] && (!m->lo.set || lo > 0 || (lo == 0 && !m->lo.open)) && (!m->hi.set || hi < 0 || (hi == 0 && !m->hi.open));
}

static bool hopeless(const maker *m, const place *p) {
    if (p->part == POINT || p->part == FRACTION) return (m->lo.set && p->lo < 0) || (m->hi.set && p->hi > 0);
    return m->hi.set && p->hi > 0 && p->k >= whole_digits(&m->hi.v);
}

static bool next_place(place *to, const maker *m, const place *from, int digit) {
    *to = *from;
    if (from->part == START || from->part == WHOLE) {
        if (from->k == m->digits) return false;
        to->part = from->part == WHOLE || digit ? WHOLE : ZERO;
        to->lo = (int8_t)read_whole(from->lo, &m->lo, from->k, digit), to->hi = (int8_t)read_whole(from->hi, &m->hi, from->k, digit);
        to->k++;
    } else {
        if (from->part == ZERO || from->k == 0) return false;
        to->part = FRACTION;
        to->lo = (int8_t)read_place(from->lo, &m->lo, from->j, digit), to->hi = (int8_t)read_place(from->hi, &m->hi, from->j, digit);
        to->k--, to->j++;
    }
    to->cls = (uint16_t)m->k->of[(m->k->one[from->cls] * 10 + digit) % m->k->m];
    return !hopeless(m, to);
}

static bool place_of_point(place *to, const maker *m, const place *from) {
    if (from->part != ZERO && from->part != WHOLE) return false;
    const int room = m->digits - (from->part == ZERO ? 0 : from->k);
    *to = (place){.part = POINT, .k = (uint8_t)(room < m->k->f ? room : m->k->f), .cls = from->cls,
                  .lo = (int8_t)end_whole(from->lo, &m->lo, from->k), .hi = (int8_t)end_whole(from->hi, &m->hi, from->k)};
    return to->k > 0 && !hopeless(m, to);
}

/* The number of a place in the graph, where 0 is the beginning and 1 the end. */
static uint32_t number_of(maker *m, const place *p) {
    const uint64_t key = (uint64_t)p->part | (uint64_t)p->k << 8 | (uint64_t)p->j << 16 | (uint64_t)(p->lo + 1) << 24 | (uint64_t)(p->hi + 1) << 26 | (uint64_t)p->cls << 32;
    int32_t i = (int32_t)(moa_mix64(key) % SLOTS);
    for (; m->slot[i] < m->n && m->home[m->slot[i]] == i; i = (i + 1) % SLOTS)
        if (m->key[m->slot[i]] == key) return (uint32_t)m->slot[i] + 1;
    if (m->n == MAX_PLACE) return m->failed = MOA_ELIMIT, 0;
    m->v[m->n] = *p, m->key[m->n] = key, m->home[m->n] = i, m->slot[i] = m->n;
    return (uint32_t)++m->n;
}

static void connect(maker *m, uint32_t from, uint32_t to, uint32_t x) {
    if (m->n_step == m->cap_step) {
        const uint32_t cap = m->cap_step ? m->cap_step * 2 : 1024;
        moa_rx_step *p = realloc(m->step, cap * sizeof *p);
        if (!p) m->failed = MOA_ENOMEM;
        if (!p) return;
        m->step = p, m->cap_step = cap;
    }
    m->step[m->n_step++] = (moa_rx_step){from, to, x};
}

/* Digits that lead to one place share an edge. */
static void connect_digits(maker *m, uint32_t from, const place *p) {
    uint32_t to[11] = {0};
    for (int d = 0; d < 10; d++) {
        place q;
        to[d] = next_place(&q, m, p, d) ? number_of(m, &q) : 0;
    }
    for (int lo = 0, hi; lo < 10; lo = hi + 1) {
        for (hi = lo; hi < 9 && to[hi + 1] == to[lo]; hi++) {}
        if (!to[lo]) continue;
        uint32_t *x = &m->digit[lo][hi];
        if (!*x) *x = moa_rx_class(&m->s->r, &(moa_span){(uint32_t)('0' + lo), (uint32_t)('0' + hi)}, 1, false);
        connect(m, from, to[lo], *x);
    }
}

/* Numbers from lo to hi, none of them negative. *x stays as it is where there is none. */
static int make(int64_t *x, maker *m, bound lo, bound hi) {
    const uint32_t point = moa_rx_text(&m->s->r, ".", 1);
    m->lo = lo, m->hi = hi;
    m->n = 1, m->n_step = 0, m->any = false;
    m->v[0] = (place){.part = START, .cls = (uint16_t)m->k->of[0]}; /* nothing leads to it, so that it needs no key */
    m->home[0] = -1;
    for (int i = 0; i < m->n && !m->failed; i++) {
        const place p = m->v[i];
        place q;
        const uint32_t from = (uint32_t)i + (i > 0);
        connect_digits(m, from, &p);
        if (place_of_point(&q, m, &p)) connect(m, from, number_of(m, &q), point);
        if (may_end(m, &p)) connect(m, from, 1, 0), m->any = true;
    }
    m->s->work += m->n / WORK;
    if (m->failed == MOA_ELIMIT) return moa_schema_fail(m->s, MOA_EUNSUPPORTED, "multipleOf", "with these bounds needs more than %d states", MAX_PLACE);
    if (m->failed) return moa_schema_fail(m->s, m->failed, NULL, "no memory");
    if (m->any) *x = moa_rx_graph(&m->s->r, (uint32_t)m->n + 1, m->step, m->n_step);
    return 0;
}

/* Numbers below 0 are a sign and the number without it; -0 is left out. */
static int make_both(uint32_t *x, maker *m, const bound *lo, const bound *hi) {
    const bound none = {.set = false}, above_zero = {.set = true, .open = true};
    int64_t up = -1, down = -1;
    if (!hi->set || !hi->v.negative) MOA_TRY(make(&up, m, lo->set && !lo->v.negative ? *lo : none, *hi));
    if (!lo->set || lo->v.negative) MOA_TRY(make(&down, m, hi->set && hi->v.negative ? *hi : above_zero, *lo));
    if (down >= 0) down = MOA_RX_SEQ_OF(&m->s->r, moa_rx_text(&m->s->r, "-", 1), (uint32_t)down);
    if (up >= 0 && down >= 0) up = MOA_RX_ALT_OF(&m->s->r, (uint32_t)up, (uint32_t)down);
    *x = (uint32_t)(up >= 0 ? up : down);
    return up >= 0 || down >= 0;
}

static int number(uint32_t *x, moa_schema *s, const json_t *v, bool integer) {
    bound lo, hi;
    factor k;
    MOA_TRY(read_bounds(&lo, &hi, s, v));
    if (!integer && !lo.set && !hi.set && !json_object_get(v, "multipleOf")) return *x = s->number, 0;
    const int digits = integer ? INTEGER_DIGITS : NUMBER_DIGITS;
    maker *m = calloc(1, sizeof *m);
    int rc = m ? read_factor(&k, s, v, integer) : moa_schema_fail(s, MOA_ENOMEM, NULL, "no memory");
    if (m && rc >= 0) {
        m->s = s, m->k = &k, m->digits = digits;
        rc = make_both(x, m, &lo, &hi);
        free(m->step);
    }
    if (m) free(k.of), free(k.one);
    free(m);
    if (rc) return rc < 0 ? rc : 0;
    const char *keyword = hi.keyword ? hi.keyword : lo.keyword ? lo.keyword : "multipleOf";
    return moa_schema_fail(s, MOA_EFORMAT, keyword, "no %s of at most %d digits lies between the bounds", integer ? "integer" : "number", digits);
}

int moa_schema_integer(uint32_t *x, moa_schema *s, const json_t *v) { return number(x, s, v, true); }
int moa_schema_number(uint32_t *x, moa_schema *s, const json_t *v) { return number(x, s, v, false); }
