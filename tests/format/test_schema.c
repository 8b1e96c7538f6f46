/* test_schema.c - JSON schemas as grammars: what they allow and refuse, errors with their pointers; random schemas with instances
 * and a validator of another make (schema_ref.py), and texts drawn at random from the masks.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "format/grammar.h"
#include "support/vocab.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define OK(expr)                                                                                                       \
    do {                                                                                                               \
        const int ok_rc_ = (expr);                                                                                     \
        if (ok_rc_ < 0) fail_msg("%s: %d %s (%s)", #expr, ok_rc_, err.text, err.hint);                                 \
    } while (0)

static moa_matcher *matcher_of(const char *schema, const moa_token_tree *tree) {
    moa_grammar *g = NULL;
    moa_matcher *m = NULL;
    moa_err err = {0};
    if (moa_grammar_from_schema(&g, schema, strlen(schema), "s", &err) < 0) fail_msg("%s (%s)\n%s", err.text, err.hint, schema);
    OK(moa_matcher_new(&m, g, tree, &err));
    moa_grammar_free(g); /* the matcher keeps it */
    return m;
}

static bool allows(moa_matcher *m, const char *text) {
    moa_err err = {0};
    const int s = moa_matcher_open(m, &err);
    assert_true(s >= 0);
    const int rc = moa_matcher_feed(m, s, text, strlen(text), &err);
    if (rc < 0) fail_msg("%s: %s", text, err.text);
    const bool ok = rc == 1 && moa_matcher_complete(m, s);
    moa_matcher_close(m, s);
    return ok;
}

static void test_table(void **state) {
    (void)state;
    static const struct { const char *schema, *yes[8], *no[8]; } t[] = {
        {"{\"type\":\"integer\",\"minimum\":3,\"maximum\":120}", {"3", "9", "10", "99", "100", "120"}, {"2", "121", "03", "1", "1000", "-3", "3.0"}},
        {"{\"type\":\"integer\",\"minimum\":-15,\"exclusiveMaximum\":-7}", {"-15", "-8", "-10"}, {"-7", "-16", "8", "-150", "0"}},
        {"{\"type\":\"integer\",\"exclusiveMinimum\":0}", {"1", "999999999999999999"}, {"0", "-1", "01"}},
        {"{\"type\":\"integer\",\"minimum\":5,\"exclusiveMinimum\":true}", {"6", "50"}, {"5"}},
        {"{\"type\":\"number\",\"minimum\":-1.25,\"exclusiveMaximum\":3.5}", {"-1.25", "-1.2500", "3.49999", "0", "3", "-0.001"}, {"-1.26", "-1.2501", "3.5", "3.50", "4", "-2", "1e1"}},
        {"{\"type\":\"number\",\"exclusiveMinimum\":0.125,\"maximum\":0.13}", {"0.1251", "0.126", "0.13", "0.1300", "0.129"}, {"0.125", "0.12", "0.1250", "0.131", "0", "1"}},
        {"{\"type\":\"number\"}", {"0", "-1.5e-7", "12E+3", "0.001"}, {"01", ".5", "1.", "+1", "NaN"}},
        {"{\"type\":\"string\",\"minLength\":1,\"maxLength\":2}", {"\"a\"", "\"\xC3\xA9\xF0\x9F\x98\x80\"", "\"\\ud83d\\ude00b\"", "\"\\n\\\"\""}, {"\"\"", "\"abc\"", "\"\\ud83d\"", "\"\\u0000\"", "\"\n\""}},
        {"{\"type\":\"string\",\"pattern\":\"^a+$|^b\"}", {"\"aa\"", "\"bzz\"", "\"b\\u00e9\""}, {"\"ab\"", "\"\""}},
        {"{\"type\":\"string\",\"pattern\":\"[0-9]{3}\"}", {"\"x123y\"", "\"123\""}, {"\"12\"", "\"1x23\""}},
        {"{\"type\":\"string\",\"pattern\":\"^(?:\\\\w|[^a-z]){2}$\",\"minLength\":2}", {"\"aB\"", "\"_\\\"\""}, {"\"a\"", "\"abc\""}},
        {"{\"format\":\"date\"}", {"\"2024-02-29\"", "\"2000-02-29\"", "\"1999-12-31\""}, {"\"2023-02-29\"", "\"0000-01-01\"", "\"0000-02-29\"", "\"1900-02-29\"", "\"2023-04-31\"", "\"2023-13-01\""}},
        {"{\"format\":\"date-time\"}", {"\"2024-02-29T23:59:59Z\"", "\"2024-01-01T00:00:00.25+01:30\""}, {"\"2024-01-01 00:00:00Z\"", "\"2024-01-01T24:00:00Z\"", "\"2024-01-01T00:00:00\""}},
        {"{\"format\":\"uuid\"}", {"\"123e4567-e89b-12d3-a456-426614174000\""}, {"\"123e4567e89b12d3a456426614174000\""}},
        {"{\"format\":\"ipv4\"}", {"\"255.0.19.200\""}, {"\"256.0.0.1\"", "\"1.2.3\"", "\"01.2.3.4\""}},
        {"{\"format\":\"email\"}", {"\"a.b+c@x-y.example.org\""}, {"\"a@b\"", "\"@x.org\"", "\"a b@x.org\""}},
        {"{\"properties\":{\"a\":{\"type\":\"null\"},\"b\":{\"type\":\"boolean\"},\"c\":{\"const\":1}},\"required\":[\"b\"]}",
         {"{\"b\":true}", "{\"a\":null,\"b\":false}", "{\"b\":true,\"c\":1}", "{ \"a\": null,\n  \"b\": true, \"c\": 1\n}"}, {"{}", "{\"a\":null}", "{\"b\":true,\"a\":null}", "{\"b\":true,}", "{,\"b\":true}", "{\"b\":true,\"d\":1}", "{\"b\":true \"c\":1}"}},
        {"{\"type\":\"object\",\"properties\":{\"ab\":true,\"ac\":{\"type\":\"null\"}},\"additionalProperties\":{\"type\":\"integer\"}}",
         {"{}", "{\"ab\":[1,{\"x\":\"\\u00e9\"}],\"ac\":null,\"ad\":4,\"\":3}", "{\"a\":1}", "{\"abc\":7,\"b\":2}"}, {"{\"ac\":1}", "{\"ab\":1,\"ab\":1}", "{\"x\":\"1\"}", "{\"a\\u0062\":1}"}},
        {"{\"type\":\"object\",\"patternProperties\":{\"^[a-z]{1,2}$\":{\"type\":\"null\"}},\"minProperties\":1,\"maxProperties\":2}", {"{\"a\":null}", "{\"a\":null,\"bc\":null}"}, {"{}", "{\"abc\":null}", "{\"a\":null,\"b\":null,\"c\":null}"}},
        {"{\"type\":\"object\",\"propertyNames\":{\"maxLength\":2},\"additionalProperties\":{\"enum\":[1,2]}}", {"{}", "{\"ab\":2}"}, {"{\"abc\":1}", "{\"a\":3}"}},
        {"{\"required\":[\"z\"],\"properties\":{\"a\":false}}", {"{\"z\":[]}"}, {"{}", "{\"a\":1,\"z\":1}"}},
        {"{\"items\":{\"type\":\"boolean\"},\"minItems\":1,\"maxItems\":3}", {"[true]", "[true, false,true]", "[ true ]"}, {"[]", "[true,true,true,true]", "[1]", "[true,]"}},
        {"{\"type\":\"array\",\"prefixItems\":[{\"type\":\"null\"},{\"const\":\"x\"}],\"minItems\":1}", {"[null]", "[null,\"x\"]"}, {"[]", "[\"x\"]", "[null,\"x\",1]"}},
        {"{\"type\":\"array\",\"items\":[{\"type\":\"null\"}],\"additionalItems\":{\"type\":\"integer\"},\"maxItems\":3}", {"[]", "[null,1,2]"}, {"[1]", "[null,1,2,3]"}},
        {"{\"type\":\"array\",\"items\":false}", {"[]"}, {"[1]"}}, {"{\"items\":{\"not\":{}}}", {"[]"}, {"[1]"}}, {"{\"type\":\"array\",\"maxItems\":0}", {"[]"}, {"[1]"}},
        {"{\"enum\":[\"a\",1,null,{\"k\":[1]}],\"type\":[\"string\",\"object\"]}", {"\"a\"", "{\"k\":[1]}"}, {"1", "null"}},
        {"{\"allOf\":[{\"$ref\":\"#/$defs/a\"},{\"properties\":{\"y\":{\"maximum\":5,\"minimum\":1}}}],\"$defs\":{\"a\":{\"type\":\"object\",\"properties\":{\"y\":{\"type\":\"integer\",\"minimum\":3}},\"required\":[\"y\"]}}}", {"{\"y\":3}", "{\"y\":5}"}, {"{\"y\":2}", "{\"y\":6}", "{}"}},
        {"{\"type\":\"object\",\"required\":[\"k\"],\"properties\":{\"k\":{\"type\":\"string\"}},\"anyOf\":[{\"properties\":{\"k\":{\"const\":\"p\"},\"v\":{\"type\":\"null\"}}},{\"properties\":{\"k\":{\"const\":\"q\"},\"w\":{\"type\":\"null\"}}}]}",
         {"{\"k\":\"p\",\"v\":null}", "{\"k\":\"q\"}"}, {"{\"k\":\"q\",\"v\":null}", "{\"k\":\"r\"}"}},
        {"{\"oneOf\":[{\"type\":\"object\",\"properties\":{\"t\":{\"const\":1}},\"required\":[\"t\"]},{\"type\":\"object\",\"properties\":{\"t\":{\"const\":2},\"u\":{}},\"required\":[\"t\"]}]}", {"{\"t\":1}", "{\"t\":2,\"u\":[]}"}, {"{\"t\":1,\"u\":1}", "{}"}},
        {"{\"$ref\":\"#/$defs/t\",\"$defs\":{\"t\":{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/t\"}}}}", {"[]", "[[[]],[]]"}, {"[[]", "[1]"}},
        {"{\"properties\":{\"a/b~c\":{\"type\":\"null\"},\"d\":{\"$ref\":\"#/properties/a~1b~0c\"}}}", {"{\"a/b~c\":null,\"d\":null}"}, {"{\"d\":1}"}},
        {"{\"type\":\"integer\",\"multipleOf\":3}", {"0", "3", "-9", "123456789012345678"}, {"1", "-2", "10", "-0", "123456789012345679"}},
        {"{\"type\":\"integer\",\"multipleOf\":2.5}", {"0", "5", "-10"}, {"2", "3", "4", "2.5"}},
        {"{\"type\":\"integer\",\"multipleOf\":10000,\"exclusiveMinimum\":0}", {"10000", "999999999999990000"}, {"0", "5000", "100", "-10000"}},
        {"{\"type\":\"number\",\"multipleOf\":0.1}", {"0.3", "-1.1", "7", "123456789012345", "12345678901234.5"}, {"0.05", "0.30", "1e1", "123456789012345.1", "1234567890123456"}},
        {"{\"type\":\"number\",\"multipleOf\":0.25,\"minimum\":0.3,\"maximum\":1}", {"0.5", "0.75", "1", "1.00", "0.50"}, {"0.25", "0.6", "1.25", "0.500", "0"}},
        {"{\"type\":\"integer\",\"minimum\":9007199254740993,\"maximum\":9007199254740994}", {"9007199254740993", "9007199254740994"}, {"9007199254740992", "9007199254740995"}},
        {"{\"type\":\"number\",\"exclusiveMinimum\":0.1}", {"0.100000000000001", "0.11", "100000"}, {"0.1", "0.10", "0.1000000000000001", "0.09"}},
        {"{\"type\":\"number\",\"minimum\":1e-20,\"maximum\":1e300}", {"0.000000000000001", "999999999999999"}, {"0", "0.0", "0.0000000000000001"}},
        {"{\"enum\":[0.1,100.0,-2.5,1e300,{\"k\":[1e-7]}]}", {"0.1", "100", "-2.5", "1e+300", "{\"k\":[1e-07]}"}, {"0.10000000000000001", "1e+02"}},
        {"{\"pattern\":\"^[a-z]+$\",\"maxLength\":3}", {"\"a\"", "\"abc\""}, {"\"\"", "\"abcd\"", "\"aB\""}},
        {"{\"pattern\":\"b\",\"minLength\":3,\"maxLength\":4}", {"\"abc\"", "\"bbbb\"", "\"\\u00e9b\\n\""}, {"\"b\"", "\"abcde\"", "\"aaa\""}},
        {"{\"pattern\":\"^(ab|c)*$\",\"minLength\":2}", {"\"ab\"", "\"cc\"", "\"ababababab\""}, {"\"c\"", "\"\"", "\"aba\""}},
        {"{\"pattern\":\"^(ab|c)*$\",\"minLength\":2,\"maxLength\":5}", {"\"ab\"", "\"ababc\""}, {"\"c\"", "\"ababab\"", "\"aba\""}},
        {"{\"pattern\":\"^a*$|^[\\\\s\\\\S]{6,}$\",\"maxLength\":7}", {"\"\"", "\"aaa\"", "\"bbbbbb\"", "\"\\n\\n\\n\\n\\n\\n\\n\""}, {"\"bbbbb\"", "\"aaaaaaaa\""}},
        {"{\"format\":\"email\",\"maxLength\":8}", {"\"a@b.cd\"", "\"ab@c.def\""}, {"\"abc@b.cde\"", "\"a@b\""}},
        {"{\"format\":\"ipv6\"}", {"\"::\"", "\"::1\"", "\"1:2:3:4:5:6:7:8\"", "\"fe80::1:2\"", "\"::ffff:1.2.3.4\"", "\"1:2:3:4:5:6:7::\"", "\"1:2:3:4:5:6:1.2.3.4\"", "\"1::3:4:5:6:7:8\""},
         {"\"1:2:3:4:5:6:7\"", "\"1::2::3\"", "\"12345::\"", "\":1\"", "\"1:2:3:4:5:6:7:8:9\"", "\"::1.2.3\"", "\"1:2:3:4:5:6:7:8::\"", "\"::g\""}},
        {"{\"format\":\"uri\"}", {"\"https://a.org/x?y=1#z\"", "\"mailto:a@b.c\"", "\"http://h:80\"", "\"urn:a:b%20c\""}, {"\"a b:c\"", "\"//x\"", "\"http://a b\"", "\"x\"", "\"http://h/%2\"", "\"1a:b\""}},
        {"{\"pattern\":\"^\\\\ud83d\\\\ude00+$\"}", {"\"\xF0\x9F\x98\x80\xF0\x9F\x98\x80\""}, {"\"\xF0\x9F\x98\x81\"", "\"\""}},
        {"{\"$ref\":\"#/$defs/n\",\"$defs\":{\"n\":{\"type\":\"object\",\"properties\":{\"c\":{\"allOf\":[{\"$ref\":\"#/$defs/n\"}],\"description\":\"d\",\"default\":null}}}}}", {"{}", "{\"c\":{\"c\":{}}}"}, {"{\"c\":1}"}},
        {"{\"$ref\":\"#/$defs/e\",\"$defs\":{\"e\":{\"oneOf\":[{\"$ref\":\"#/$defs/l\"},{\"$ref\":\"#/$defs/a\"}],\"discriminator\":{\"propertyName\":\"k\"}},"
         "\"l\":{\"type\":\"object\",\"properties\":{\"k\":{\"const\":\"l\",\"default\":\"l\"},\"v\":{\"type\":\"integer\"}}},"
         "\"a\":{\"type\":\"object\",\"properties\":{\"k\":{\"const\":\"a\",\"default\":\"a\"},\"x\":{\"oneOf\":[{\"$ref\":\"#/$defs/l\"},{\"$ref\":\"#/$defs/a\"}],\"discriminator\":{\"propertyName\":\"k\"}}}}}}",
         {"{\"k\":\"l\",\"v\":1}", "{\"k\":\"a\",\"x\":{\"k\":\"a\",\"x\":{\"k\":\"l\"}}}"}, {"{\"v\":1}", "{}", "{\"k\":\"a\",\"x\":{}}", "{\"k\":\"l\",\"x\":{}}"}},
        {"{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/c\"},\"uniqueItems\":true,\"$defs\":{\"c\":{\"title\":\"C\",\"enum\":[\"a\",1,1.0,null],\"type\":[\"string\",\"integer\",\"null\"]}}}",
         {"[]", "[null, \"a\", 1]", "[1,null]", "[\n  \"a\"\n]"}, {"[1,1]", "[\"a\",null,\"a\"]", "[null,null]", "[,]", "[2]", "[1,\"a\",null,1]", "[1,]"}},
        {"{\"items\":{\"enum\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]},\"uniqueItems\":true,\"minItems\":2,\"maxItems\":3}", {"[15,1]", "[3,2,1]"}, {"[1]", "[]", "[1,2,1]", "[1,2,3,4]", "[1,1]"}},
        {"{\"items\":{\"type\":\"string\"},\"uniqueItems\":true,\"maxItems\":1}", {"[]", "[\"a\"]"}, {"[\"a\",\"b\"]"}},
        {"{\"anyOf\":[{\"not\":{}},{\"type\":\"string\"},false]}", {"\"a\""}, {"1"}}, {"{\"properties\":{\"a\":{\"not\":{}},\"b\":{}}}", {"{}", "{\"b\":1}"}, {"{\"a\":1}"}},
        {"{\"type\":\"string\",\"nullable\":true,\"maxLength\":1}", {"null", "\"a\""}, {"\"ab\"", "1"}}, {"{\"type\":\"string\",\"nullable\":false}", {"\"\""}, {"null"}},
        {"{\"type\":\"string\",\"nullable\":true,\"enum\":[\"a\",null]}", {"null", "\"a\""}, {"\"b\""}},
        {"{\"properties\":{\"a\":{\"const\":1},\"b\":{\"const\":2}},\"minProperties\":1}", {"{\"a\":1}", "{\"b\":2}", "{\"a\":1,\"b\":2}"}, {"{}", "{\"b\":2,\"a\":1}"}},
        {"{\"properties\":{\"a\":{\"const\":1}},\"additionalProperties\":{\"const\":3},\"minProperties\":1}", {"{\"a\":1}", "{\"x\":3}", "{\"a\":1,\"x\":3,\"y\":3}"}, {"{}", "{\"x\":3,\"a\":1}"}},
        {"{\"type\":[\"integer\",\"string\"],\"minimum\":3,\"format\":\"date\"}", {"3", "\"2024-01-01\""}, {"2", "\"x\""}}, {"{\"type\":[\"integer\",\"string\"],\"format\":\"int32\"}", {"2147483647", "\"x\""}, {"2147483648"}},
        {"{\"format\":\"uuid4\"}", {"\"123e4567-e89b-42d3-a456-426614174000\""}, {"\"123e4567-e89b-12d3-a456-426614174000\"", "\"123e4567-e89b-42d3-c456-426614174000\""}},
        {"{\"format\":\"password\",\"maxLength\":2}", {"\"\"", "\"ab\""}, {"\"abc\"", "1"}}, {"{\"format\":\"path\",\"pattern\":\"^/\"}", {"\"/a\""}, {"\"a\""}},
        {"{\"format\":\"json-pointer\"}", {"\"\"", "\"/a~1b/0\""}, {"\"a\"", "\"/~2\""}}, {"{\"pattern\":\"^(?P<n>a|b)$\"}", {"\"a\""}, {"\"c\""}},
        {"true", {"{}", "[1,{\"a\":\"b\"}]", "\"x\"", "-1.5", "null"}, {"", "{", "[1,]", "{\"a\"}", "nul"}},
        {"{\"type\":\"string\",\"title\":\"t\",\"description\":\"d\",\"default\":1,\"x-y\":2}", {"\"\""}, {"1"}},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        moa_matcher *m = matcher_of(t[i].schema, NULL);
        for (int k = 0; k < 8 && t[i].yes[k]; k++)
            if (!allows(m, t[i].yes[k])) fail_msg("%s should allow %s", t[i].schema, t[i].yes[k]);
        for (int k = 0; k < 8 && t[i].no[k]; k++)
            if (allows(m, t[i].no[k])) fail_msg("%s should not allow %s", t[i].schema, t[i].no[k]);
        moa_matcher_free(m);
    }
}

static void check_one(moa_matcher *m, const char *schema, const char *text, bool want) {
    if (allows(m, text) != want) fail_msg("%s should %sallow %s", schema, want ? "" : "not ", text);
}

/* All integers near the bounds: exact for every digit. */
static void test_integers(void **state) {
    (void)state;
    static const int64_t edge[] = {-1001, -1000, -999, -100, -99, -12, -10, -9, -1, 0, 1, 5, 9, 10, 11, 19, 99, 100, 109, 1000, 1234}, step[] = {1, 1, 2, 3, 4, 7, 10, 25, 60, 96, 100, 125};
    enum { N = sizeof edge / sizeof *edge, STEPS = sizeof step / sizeof *step };
    int n = 0;
    for (int i = 0; i < N; i++)
        for (int k = i; k < N; k += 3, n++) {
            char schema[120], text[24];
            const int64_t by = step[n % STEPS];
            snprintf(schema, sizeof schema, "{\"type\":\"integer\",\"minimum\":%lld,\"maximum\":%lld,\"multipleOf\":%lld}", (long long)edge[i], (long long)edge[k], (long long)by);
            bool some = false;
            for (int64_t v = edge[i]; v <= edge[k]; v++) some |= v % by == 0;
            moa_grammar *g = NULL;
            moa_err err = {0};
            assert_int_equal(moa_grammar_from_schema(&g, schema, strlen(schema), "s", &err) >= 0, some); /* none between the bounds is told */
            moa_grammar_free(g);
            if (!some) continue;
            moa_matcher *m = matcher_of(schema, NULL);
            for (int64_t v = -1100; v <= 1300; v++) {
                snprintf(text, sizeof text, "%lld", (long long)v);
                check_one(m, schema, text, v >= edge[i] && v <= edge[k] && v % by == 0);
            }
            moa_matcher_free(m);
        }
}

/* A number of thousandths in as many places as asked for. */
static void spell(char out[32], int v, int places) {
    static const int power[] = {1, 10, 100, 1000};
    const int n = abs(v) / power[3 - places];
    char *end = out + snprintf(out, 32 - 4, places ? "%s%d." : "%s%d", v < 0 ? "-" : "", n / power[places]);
    for (int k = places; k-- > 0;) *end++ = (char)('0' + n / power[k] % 10);
    *end = 0;
}

/* The same with places behind the point, with open and closed bounds, in every spelling. */
static void test_decimals(void **state) {
    (void)state;
    static const int edge[] = {-1250, -1000, -125, -1, 0, 1, 5, 999, 1000, 1001, 1250, 2500}, step[] = {0, 1, 0, 10, 250, 1000, 0, 1500, 300, 7};
    enum { N = sizeof edge / sizeof *edge, STEPS = sizeof step / sizeof *step };
    int n = 0;
    for (int i = 0; i < N; i++)
        for (int k = i + 1; k < N; k += 2, n++) {
            char schema[200], lo[32], hi[32], by[32], text[32];
            const int s = step[n % STEPS], most = s == 0 || s % 10 ? 3 : s % 100 ? 2 : s % 1000 ? 1 : 0;
            const bool open_lo = n % 3 == 0, open_hi = n % 4 == 1;
            spell(lo, edge[i], 3), spell(hi, edge[k], 3), spell(by, s, 3);
            const int len = snprintf(schema, sizeof schema, "{\"type\":\"number\",\"%s\":%s,\"%s\":%s", open_lo ? "exclusiveMinimum" : "minimum", lo, open_hi ? "exclusiveMaximum" : "maximum", hi);
            snprintf(schema + len, sizeof schema - (size_t)len, s ? ",\"multipleOf\":%s}" : "}", by);
            bool some = s == 0;
            for (int v = edge[i] + open_lo; v <= edge[k] - open_hi && s; v++) some |= v % s == 0;
            if (!some) continue;
            moa_matcher *m = matcher_of(schema, NULL);
            for (int v = -1300; v <= 2600; v++) {
                const bool in = v >= edge[i] + open_lo && v <= edge[k] - open_hi && (!s || v % s == 0);
                static const int power[] = {1, 10, 100, 1000};
                for (int places = 0; places <= 3; places++) {
                    if (v % power[3 - places]) continue;
                    spell(text, v, places);
                    check_one(m, schema, text, in && places <= most);
                }
            }
            check_one(m, schema, "-0", false);
            check_one(m, schema, "-0.0", false);
            moa_matcher_free(m);
        }
}

static void test_errors(void **state) {
    (void)state;
    static const struct { const char *schema, *want; } bad[] = {
        {"{", "s:1:"}, {"3", "s: #: expected a schema"}, {"false", "false allows no value"}, {"{\"type\":\"objekt\"}", "s: #/type: 'objekt'"}, {"{\"propertis\":{}}", "s: #/propertis: unknown keyword"},
        {"{\"properties\":{\"a\":{\"items\":{\"not\":{\"type\":\"null\"}}}}}", "s: #/properties/a/items/not: this keyword cannot"}, {"{\"properties\":{\"a/b~\":{\"uniqueItems\":true}}}", "s: #/properties/a~1b~0/uniqueItems"},
        {"{\"anyOf\":[{\"type\":\"null\"},{\"if\":{}}]}", "s: #/anyOf/1/if"}, {"{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"number\"}]}", "s: #/oneOf: branches 0 and 1"},
        {"{\"$ref\":\"other.json\"}", "s: #/$ref: 'other.json'"}, {"{\"$ref\":\"#/$defs/no\"}", "is not in the document"}, {"{\"$ref\":\"#\"}", "never comes to an end"},
        {"{\"$ref\":\"#/$defs/t\",\"$defs\":{\"t\":{\"properties\":{\"n\":{\"$ref\":\"#/$defs/t\"}},\"required\":[\"n\"]}}}", "never comes to an end"},
        {"{\"$ref\":\"#/$defs/t\",\"$defs\":{\"t\":{\"items\":{\"contains\":{}}}}}", "s: #/$defs/t/items/contains"}, {"{\"allOf\":[{\"$ref\":\"#\"}]}", "never comes to an end"}, {"{\"allOf\":[{\"$ref\":\"#\"},{}]}", "round in a circle"},
        {"{\"type\":\"integer\",\"minimum\":5,\"maximum\":4}", "s: #/maximum: no integer"}, {"{\"type\":\"number\",\"minimum\":5,\"exclusiveMaximum\":5}", "no number"}, {"{\"type\":\"integer\",\"multipleOf\":0}", "#/multipleOf: expected a number above 0"},
        {"{\"multipleOf\":123457}", "#/multipleOf: 123457 is not supported"}, {"{\"multipleOf\":99991}", "#/multipleOf: needs 99991 states"}, {"{\"multipleOf\":7,\"minimum\":1,\"maximum\":6}", "no number"},
        {"{\"type\":\"integer\",\"minimum\":1e18}", "#/minimum: no integer of at most 18 digits"}, {"{\"minLength\":1e300}", "#/minLength: 1e+300 is more"},
        {"{\"additionalProperties\":true,\"minProperties\":2}", "#/minProperties: more than 1"}, {"{\"pattern\":\"^a{5}$\",\"maxLength\":3}", "#/maxLength: no string of that length"},
        {"{\"pattern\":\"^(a{1000}b{1000}){9}a*$\",\"minLength\":2,\"maxLength\":50000}", "#/maxLength: together with"}, {"{\"pattern\":\"\\\\ud83d\"}", "#/pattern: at 0: half of a character"},
        {"{\"oneOf\":[{\"properties\":{\"k\":{\"const\":1}}},{\"properties\":{\"k\":{\"const\":2}}}]}", "#/oneOf: branches 0 and 1"},
        {"{\"minLength\":4,\"maxLength\":3}", "#/maxLength: 3 is less"}, {"{\"minLength\":-1}", "#/minLength: expected a whole number"}, {"{\"pattern\":\"^a(?=b)\"}", "#/pattern: at 2: lookaround"},
        {"{\"pattern\":\"(a)\\\\1\"}", "back references"}, {"{\"pattern\":\"\\\\bx\"}", "word boundaries"}, {"{\"pattern\":\"(\"}", "never closed"}, {"{\"pattern\":\"a)\"}", "unexpected ')'"}, {"{\"pattern\":\"[z-a]\"}", "goes down"},
        {"{\"format\":\"iban\"}", "#/format: 'iban' is not supported; there are date"}, {"{\"enum\":[]}", "#/enum"},
        {"{\"enum\":[1],\"type\":\"string\"}", "#/enum: none"}, {"{\"enum\":[1],\"minimum\":2}", "#/minimum: together with enum"}, {"{\"properties\":{\"a\":{},\"b\":{}},\"minProperties\":2}", "#/minProperties"}, {"{\"properties\":{\"a\":false},\"minProperties\":1}", "#/minProperties: no object"},
        {"{\"not\":{}}", "#/not: allows no value"}, {"{\"anyOf\":[false,{\"not\":true}]}", "#/anyOf: none of its branches"}, {"{\"$ref\":\"#/$defs/a\",\"nullable\":true,\"$defs\":{\"a\":{}}}", "#/nullable: is supported beside a type"},
        {"{\"items\":{\"type\":\"string\"},\"uniqueItems\":true}", "#/uniqueItems: a grammar cannot remember"}, {"{\"items\":{\"enum\":[1,[2]]},\"uniqueItems\":true}", "#/uniqueItems: a grammar cannot remember"},
        {"{\"items\":{\"enum\":[1,1.0,2]},\"minItems\":3,\"uniqueItems\":true}", "#/minItems: no array has that many different"},
        {"{\"items\":{\"enum\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]},\"uniqueItems\":true}", "#/uniqueItems: more than 8192 sets of 15 values"}, {"{\"uniqueItems\":1}", "#/uniqueItems: expected true or false"},
        {"{\"pattern\":\"^(?i)a\"}", "#/pattern: at 1: flags inside"}, {"{\"type\":[\"string\",\"integer\"],\"format\":\"iban\"}", "#/format: 'iban'"},
        {"{\"required\":[\"b\"],\"additionalProperties\":false}", "#/required: 'b'"}, {"{\"allOf\":[{\"type\":\"string\"},{\"type\":\"null\"}]}", "none in common"}, {"{\"allOf\":[{\"pattern\":\"a\"},{\"pattern\":\"b\"}]}", "#/pattern: two different"},
        {"{\"minItems\":2,\"maxItems\":1}", "#/minItems"}, {"{\"type\":[]}", "#/type"}, {"{\"const\":\"a\",\"const\":\"b\"}", "s:1:"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        moa_grammar *g;
        moa_err err = {0};
        if (moa_grammar_from_schema(&g, bad[i].schema, strlen(bad[i].schema), "s", &err) >= 0) fail_msg("accepted: %s", bad[i].schema);
        assert_null(g);
        if (!strstr(err.text, bad[i].want)) fail_msg("%s\n  got      %s\n  expected %s", bad[i].schema, err.text, bad[i].want);
    }
}

/* Schemas that expand without end are stopped by their count. */
static void test_explosion(void **state) {
    (void)state;
    moa_buf b;
    moa_grammar *g;
    moa_err err = {0};
    moa_buf_init(&b, 1 << 20);
    moa_buf_adds(&b, "{\"$defs\":{\"a\":{\"type\":\"object\",\"anyOf\":[{\"title\":\"x\",\"$ref\":\"#/$defs/a\",\"minProperties\":0},{\"$ref\":\"#/$defs/a\",\"minProperties\":0}]}},\"$ref\":\"#/$defs/a\"}");
    assert_true(moa_grammar_from_schema(&g, moa_buf_str(&b), b.len, "s", &err) < 0);
    moa_buf_clear(&b); /* a thousand optional properties: linear, not 2^1000 */
    moa_buf_adds(&b, "{\"properties\":{");
    for (int i = 0; i < 1000; i++) moa_buf_addf(&b, "%s\"p%d\":{\"type\":\"integer\",\"minimum\":%d}", i ? "," : "", i, i);
    moa_buf_adds(&b, "}}");
    moa_matcher *m = matcher_of(moa_buf_str(&b), NULL);
    assert_true(allows(m, "{}") && allows(m, "{\"p3\":3,\"p999\":1000}") && !allows(m, "{\"p3\":2}") && !allows(m, "{\"p4\":5,\"p3\":3}"));
    moa_matcher_free(m);
    /* A long name beside further ones: every character is a place to turn off. */
    for (int n = 1000; n <= 1001; n++) {
        moa_buf_clear(&b);
        moa_buf_addf(&b, "{\"properties\":{\"%0*d\":{\"type\":\"null\"}},\"additionalProperties\":{\"type\":\"integer\"}}", n, 0);
        err = (moa_err){0};
        const int rc = moa_grammar_from_schema(&g, moa_buf_str(&b), b.len, "s", &err);
        assert_int_equal(rc >= 0, n == 1000);
        if (rc < 0) assert_non_null(strstr(err.text, "#/properties: a name of 1001 bytes"));
        else moa_grammar_free(g);
    }
    moa_buf_deinit(&b);
}

/* ---- against the other validator ---- */

static void path_of(char *out, const char *name) {
    snprintf(out, PATH_MAX, "%s/moa-test-%d-%s", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (int)getpid(), name);
}

static void need_python(void) {
    if (system("python3 -c 'import json, re' >/dev/null 2>&1") == 0) return;
    printf("skip: no python3\n");
    skip();
}

/* A text drawn from the masks: any allowed token, all alike. */
static void draw(moa_buf *out, moa_matcher *m, const test_vocab *v, moa_rng *r) {
    moa_err err = {0};
    const int s = moa_matcher_open(m, &err), n = moa_tokenizer_n_vocab(v->tok);
    moa_buf_clear(out);
    for (int budget = 20 + (int)moa_rng_below(r, 100);; budget--) {
        const uint64_t *mask;
        int32_t t = (int32_t)moa_rng_below(r, (uint32_t)n);
        OK(moa_matcher_mask(&mask, m, s, budget > 1 ? budget : 1, &err));
        while (!(mask[t / 64] >> (t % 64) & 1)) t = (t + 1) % n;
        OK(moa_matcher_accept(m, s, t, &err));
        if (t == 0) break;
        const moa_str b = moa_token_bytes(v->tok, t, false);
        moa_buf_add(out, b.p, b.n);
        assert_true(out->len < 1 << 20);
        if (moa_matcher_finished(m, s)) break;
    }
    moa_matcher_close(m, s);
}

static void one_schema(FILE *out, const json_t *c, const test_vocab *v, const moa_token_tree *tree, uint64_t seed) {
    json_t *e;
    size_t i;
    char *schema = json_dumps(json_object_get(c, "schema"), JSON_COMPACT | JSON_REAL_PRECISION(15));
    moa_matcher *m = matcher_of(schema, tree);
    json_array_foreach(json_object_get(c, "yes"), i, e)
        if (!allows(m, json_string_value(e))) fail_msg("%s\nshould allow %s", schema, json_string_value(e));
    json_array_foreach(json_object_get(c, "maybe"), i, e)
        if (allows(m, json_string_value(json_array_get(e, 0))) && !json_is_true(json_array_get(e, 1))) fail_msg("%s\nshould not allow %s", schema, json_string_value(json_array_get(e, 0)));
    moa_rng r;
    moa_buf text, line;
    moa_rng_seed(&r, seed);
    moa_buf_init(&text, 1 << 20);
    moa_buf_init(&line, 1 << 22);
    for (int k = 0; k < 4; k++) {
        draw(&text, m, v, &r);
        moa_buf_clear(&line);
        moa_buf_addf(&line, "{\"schema\":%s,\"text\":", schema);
        moa_json_add_str(&line, moa_buf_str(&text), text.len);
        fprintf(out, "%s}\n", moa_buf_str(&line));
    }
    moa_buf_deinit(&text);
    moa_buf_deinit(&line);
    moa_matcher_free(m);
    free(schema);
}

static void test_random_schemas(void **state) {
    (void)state;
    char in[PATH_MAX], out[PATH_MAX], cmd[3 * PATH_MAX];
    test_vocab v;
    moa_token_tree *tree = NULL;
    moa_err err = {0};
    moa_jsonl cases;
    json_t *c;
    int rc;
    need_python();
    path_of(in, "schemas.jsonl");
    path_of(out, "texts.jsonl");
    snprintf(cmd, sizeof cmd, "python3 tests/format/schema_ref.py make 250 > '%s'", in);
    assert_int_equal(system(cmd), 0);
    OK(test_vocab_open(&v, 3000, 5, &err));
    OK(moa_token_tree_new(&tree, v.tok, &err));
    FILE *f = fopen(out, "w");
    assert_non_null(f);
    OK(moa_jsonl_open(&cases, in, 64 << 20, &err));
    int n = 0;
    for (; (rc = moa_jsonl_next(&c, &cases, &err)) > 0; n++) {
        one_schema(f, c, &v, tree, (uint64_t)n);
        json_decref(c);
    }
    OK(rc);
    assert_int_equal(n, 250);
    moa_jsonl_close(&cases);
    fclose(f);
    moa_token_tree_free(tree);
    test_vocab_close(&v);
    snprintf(cmd, sizeof cmd, "python3 tests/format/schema_ref.py check < '%s'", out);
    assert_int_equal(system(cmd), 0);
    unlink(in);
    unlink(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table), cmocka_unit_test(test_integers), cmocka_unit_test(test_decimals), cmocka_unit_test(test_errors), cmocka_unit_test(test_explosion),
        cmocka_unit_test(test_random_schemas),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
