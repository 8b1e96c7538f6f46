/* jinja_test.c - the tests of "x is test", and their table.
 * SPDX-License-Identifier: Apache-2.0 */
#include "format/jinja_impl.h"

#define TEST(name) static int t_##name(jctx *c, jv *out, jv self, const jcall *a)
/* A test of the value alone. */
#define PLAIN(name, cond) TEST(name) { (void)c; (void)a; *out = jv_bool(cond); return 0; }

static int one(jctx *c, jv *v, const jcall *a) {
    if (a->n < 1) return jinja_fail(c, MOA_EINVAL, "this test needs an argument");
    *v = a->v[0];
    return 0;
}

PLAIN(defined, self.type != JT_UNDEF)
PLAIN(undefined, self.type == JT_UNDEF)
PLAIN(none, self.type == JT_NONE)
PLAIN(string, self.type == JT_STR)
PLAIN(mapping, self.type == JT_DICT)
PLAIN(number, self.type == JT_INT || self.type == JT_FLOAT || self.type == JT_BOOL)
PLAIN(integer, self.type == JT_INT)
PLAIN(float, self.type == JT_FLOAT)
PLAIN(boolean, self.type == JT_BOOL)
PLAIN(yes, self.type == JT_BOOL && self.u.b)
PLAIN(no, self.type == JT_BOOL && !self.u.b)
PLAIN(callable, self.type == JT_MACRO || self.type == JT_METHOD || self.type == JT_FUNC || self.type == JT_LOOP || self.type == JT_UNDEF)
PLAIN(iterable, self.type == JT_STR || self.type == JT_LIST || self.type == JT_TUPLE || self.type == JT_DICT || self.type == JT_RANGE || self.type == JT_UNDEF || self.type == JT_LOOP)
PLAIN(sequence, self.type == JT_STR || (self.type == JT_LIST && self.flag != JF_LAZY) || self.type == JT_TUPLE || self.type == JT_DICT || self.type == JT_RANGE || self.type == JT_UNDEF)
PLAIN(escaped, self.type == JT_STR && (self.flag & JF_SAFE))

TEST(parity) {
    (void)a;
    if (self.type == JT_UNDEF) return jinja_undefined(c, self);
    return jinja_binary(c, out, O_MOD, self, jv_int(2));
}
TEST(odd) {
    MOA_TRY(t_parity(c, out, self, a));
    *out = jv_bool(out->type == JT_INT ? out->u.i == 1 : out->type == JT_FLOAT && out->u.f == 1);
    return 0;
}
TEST(even) {
    MOA_TRY(t_parity(c, out, self, a));
    *out = jv_bool(!jinja_truth(*out));
    return 0;
}
TEST(divisibleby) {
    jv v;
    MOA_TRY(one(c, &v, a));
    MOA_TRY(jinja_binary(c, out, O_MOD, self, v));
    *out = jv_bool(!jinja_truth(*out));
    return 0;
}

TEST(eq) {
    jv v;
    bool same;
    MOA_TRY(one(c, &v, a));
    MOA_TRY(jinja_equal(c, &same, self, v, 0));
    *out = jv_bool(same);
    return 0;
}
TEST(ne) {
    MOA_TRY(t_eq(c, out, self, a));
    out->u.b = !out->u.b;
    return 0;
}
TEST(in) {
    jv v;
    bool yes;
    MOA_TRY(one(c, &v, a));
    MOA_TRY(jinja_contains(c, &yes, v, self));
    *out = jv_bool(yes);
    return 0;
}
/* Identity: for values that Python shares (none, booleans, small integers), equality of the same type. */
TEST(sameas) {
    jv v;
    bool same = false;
    MOA_TRY(one(c, &v, a));
    if (v.type == self.type && v.type >= JT_LIST && v.type != JT_METHOD) same = v.u.s == self.u.s;
    else if (v.type == self.type) MOA_TRY(jinja_equal(c, &same, self, v, 0));
    *out = jv_bool(same);
    return 0;
}

static int ordered(jctx *c, int *r, jv self, const jcall *a) {
    jv v;
    MOA_TRY(one(c, &v, a));
    return jinja_order(c, r, self, v, 0);
}
#define ORDER(name, cond)                    \
    TEST(name) {                             \
        int r;                               \
        MOA_TRY(ordered(c, &r, self, a));    \
        *out = jv_bool(cond);                \
        return 0;                            \
    }
ORDER(lt, r < 0)
ORDER(le, r <= 0)
ORDER(gt, r > 0)
ORDER(ge, r >= 0)

/* At least one letter, and none of the other case. */
static int cased(jctx *c, jv *out, jv self, int how) {
    jv s, other, same;
    bool changed, kept;
    MOA_TRY(jinja_str(c, &s, self));
    MOA_TRY(jinja_case(c, &same, s, how));
    MOA_TRY(jinja_case(c, &other, s, how == JC_UPPER ? JC_LOWER : JC_UPPER));
    MOA_TRY(jinja_equal(c, &kept, s, same, 0));
    MOA_TRY(jinja_equal(c, &changed, s, other, 0));
    *out = jv_bool(kept && !changed);
    return 0;
}
TEST(lower) { (void)a; return cased(c, out, self, JC_LOWER); }
TEST(upper) { (void)a; return cased(c, out, self, JC_UPPER); }

PLAIN(filter, jinja_filter_find(self) != NULL)
PLAIN(test, jinja_test_find(self) != NULL)

const jrow *jinja_test_find(jv name) {
    static const jrow rows[] = {
        {"defined", t_defined, 0}, {"undefined", t_undefined, 0}, {"none", t_none, 0}, {"string", t_string, 0}, {"mapping", t_mapping, 0},
        {"number", t_number, 0}, {"integer", t_integer, 0}, {"float", t_float, 0}, {"boolean", t_boolean, 0}, {"true", t_yes, 0},
        {"false", t_no, 0}, {"callable", t_callable, 0}, {"iterable", t_iterable, 0}, {"sequence", t_sequence, 0}, {"escaped", t_escaped, 0},
        {"odd", t_odd, 0}, {"even", t_even, 0}, {"divisibleby", t_divisibleby, 0}, {"in", t_in, 0}, {"sameas", t_sameas, 0},
        {"eq", t_eq, 0}, {"equalto", t_eq, 0}, {"==", t_eq, 0}, {"ne", t_ne, 0}, {"!=", t_ne, 0},
        {"lt", t_lt, 0}, {"lessthan", t_lt, 0}, {"<", t_lt, 0}, {"le", t_le, 0}, {"<=", t_le, 0},
        {"gt", t_gt, 0}, {"greaterthan", t_gt, 0}, {">", t_gt, 0}, {"ge", t_ge, 0}, {">=", t_ge, 0},
        {"lower", t_lower, 0}, {"upper", t_upper, 0}, {"filter", t_filter, 0}, {"test", t_test, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (jv_is(name, rows[i].name)) return &rows[i];
    return NULL;
}
