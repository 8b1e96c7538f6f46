/* test_numbers.c - answers of arithmetic, word_problem and program worked out once more, by other means: sums by a
 * parser of the question, every equation of a solution by itself, programs by python3 (where there is one).
 * SPDX-License-Identifier: Apache-2.0 */
#include "task/minipy.h"
#include "task/task.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { N = 500 };

static void make(moa_item *it, const char *family, uint64_t i, int level) {
    moa_err err = {0};
    if (moa_item_make(it, moa_family_find(family), i % 2 ? MOA_HELDOUT : MOA_TRAIN, 21, i, level, &err) < 0) fail_msg("%s", err.text);
}

/* ---- sums --------------------------------------------------------------------------------------- */

static const char *cursor;
static long long sum(void);

static long long factor(void) {
    while (*cursor == ' ') cursor++;
    if (*cursor == '(') {
        cursor++;
        long long v = sum();
        assert_int_equal(*cursor, ')');
        cursor++;
        return v;
    }
    assert_true(isdigit((unsigned char)*cursor));
    return strtoll(cursor, (char **)&cursor, 10);
}

static long long product(void) {
    long long v = factor();
    for (;;) {
        while (*cursor == ' ') cursor++;
        if (*cursor != '*') return v;
        cursor++;
        v *= factor();
    }
}

static long long sum(void) {
    long long v = product();
    for (;;) {
        while (*cursor == ' ') cursor++;
        if (*cursor != '+' && *cursor != '-') return v;
        v = *cursor++ == '+' ? v + product() : v - product();
    }
}

static bool has(const char *s, const char *word) { return strstr(s, word) != NULL; }

/* What the question asks, from its words. */
static long long asked(const char *q) {
    const char *first = strpbrk(q, "(0123456789");
    assert_non_null(first);
    if (strpbrk(q, "+-*")) {
        cursor = first;
        long long v = sum();
        assert_true(strspn(cursor, " =?.") == strlen(cursor));
        return v;
    }
    char *rest;
    long long a = strtoll(first, &rest, 10);
    const char *second = strpbrk(rest, "0123456789");
    assert_non_null(second);
    long long b = strtoll(second, NULL, 10);
    if (has(q, "plus") || has(q, "Add") || has(q, "sum")) return a + b;
    if (has(q, "times") || has(q, "Multiply") || has(q, "product")) return a * b;
    if (has(q, "Subtract") || has(q, "Take")) return b - a;
    assert_true(has(q, "minus"));
    return a - b;
}

/* Every "x=y=z" in the text holds, where the sides are expressions of numbers. */
static int check_equations(const char *s) {
    int n = 0;
    for (const char *p = s; *p;) {
        size_t len = strspn(p, "0123456789+-*()=");
        const char *eq = memchr(p, '=', len);
        if (!eq || !isdigit((unsigned char)p[len - 1])) {
            p += len ? len : 1;
            continue;
        }
        cursor = p;
        long long v = sum();
        while (*cursor == '=') {
            cursor++;
            if (sum() != v) fail_msg("wrong equation in: %s", s);
            n++;
        }
        assert_true(cursor == p + len);
        p += len;
    }
    return n;
}

/* What is written down column by column, from the units, is the answer: carried and borrowed ones are not lost. */
static void check_columns(const moa_item *it) {
    const char *s = it->solution.data;
    bool named = strncmp(s, "Units: ", 7) == 0;
    if (!named && !strstr(s, ", write ")) return;
    long long v = 0, scale = 1, last = 0;
    for (const char *p = s; (p = strstr(p, named ? "=" : ", write ")); scale *= 10) {
        p = strpbrk(p, "0123456789");
        assert_non_null(p);
        last = strtoll(p, (char **)&p, 10);
        v += last % 10 * scale;
    }
    v += last / 10 * scale; /* the leftmost column keeps what it would carry */
    if (v != strtoll(it->answer.data, NULL, 10)) fail_msg("columns of %s: %s", it->question.data, s);
}

static void test_arithmetic(void **state) {
    (void)state;
    moa_item it;
    moa_item_init(&it);
    for (int level = 1; level <= 5; level++)
        for (uint64_t i = 0; i < N; i++) {
            make(&it, "arithmetic", i, level);
            if (asked(it.question.data) != strtoll(it.answer.data, NULL, 10)) fail_msg("%s -> %s", it.question.data, it.answer.data);
            assert_true(check_equations(it.solution.data) > 0);
            check_columns(&it);
        }
    moa_item_deinit(&it);
}

/* ---- stories: each step's numbers are told or worked out, the last is the answer ------------------- */

static long long value(const char **p) { /* a number, or a clock time in minutes */
    long long v = strtoll(*p, (char **)p, 10);
    if (**p == ':' && isdigit((unsigned char)(*p)[1])) v = v * 60 + strtoll(*p + 1, (char **)p, 10);
    return v;
}

static bool known(const long long *v, int n, long long x, char op) {
    if ((x == 2 && (op == '*' || op == '/')) || (x == 3 && op == '/')) return true; /* twice, half, three children: told in words */
    for (int i = 0; i < n; i++)
        if (v[i] == x) return true;
    return false;
}

static void check_story(const moa_item *it) {
    long long v[32], last = -1;
    int n = 0, told, used[32] = {0};
    for (const char *p = it->question.data; *p;)
        if (isdigit((unsigned char)*p)) v[n++] = value(&p);
        else p++;
    told = n;
    for (const char *p = it->solution.data; (p = strchr(p, '='));) {
        const char *s = p++;
        while (s > it->solution.data && (isdigit((unsigned char)s[-1]) || strchr("+-*/:", s[-1]))) s--;
        while (!isdigit((unsigned char)*s)) s++;
        long long a = value(&s);
        char op = *s++;
        long long b = value(&s), want = op == '+' ? a + b : op == '-' ? a - b : op == '*' ? a * b : a / b;
        assert_int_equal(*s, '=');
        last = value(&p);
        if (last != want || (op == '/' && a % b)) fail_msg("wrong step in: %s", it->solution.data);
        if (!known(v, n, a, op) || !known(v, n, b, op)) fail_msg("a number from nowhere: %s >>> %s", it->question.data, it->solution.data);
        for (int i = 0; i < n; i++) used[i] |= v[i] == a || v[i] == b;
        v[n++] = last;
    }
    for (int i = 0; i + 1 < n; i++)
        if (!used[i]) fail_msg("%lld is %s and not used: %s >>> %s", v[i], i < told ? "told" : "worked out", it->question.data, it->solution.data);
    const char *answer = it->answer.data;
    assert_int_equal(value(&answer), last);
}

static void test_stories(void **state) {
    (void)state;
    moa_item it;
    moa_item_init(&it);
    for (int level = 1; level <= 5; level++)
        for (uint64_t i = 0; i < 4 * N; i++) {
            make(&it, "word_problem", i, level);
            check_story(&it);
        }
    moa_item_deinit(&it);
}

/* ---- programs ----------------------------------------------------------------------------------- */

static void add_python_string(moa_buf *b, const char *s) {
    moa_buf_adds(b, "'");
    for (; *s; s++) {
        if (*s == '\n') moa_buf_adds(b, "\\n");
        else if (*s == '\'' || *s == '\\') moa_buf_addf(b, "\\%c", *s);
        else moa_buf_add(b, s, 1);
    }
    moa_buf_adds(b, "'");
}

static void test_programs(void **state) {
    (void)state;
    if (system("python3 -c 'import sys' >/dev/null 2>&1") != 0) {
        print_message("skip: no python3 to run the programs once more\n");
        skip();
    }
    moa_item it;
    moa_buf script;
    moa_item_init(&it);
    moa_buf_init(&script, 1 << 24);
    moa_buf_adds(&script, "import io, contextlib, re\ndef fold(s): return re.sub(r'[\\s,]+', ' ', s).strip().lower()\nbad = 0\nfor p, want in [\n");
    for (int level = 1; level <= 5; level++)
        for (uint64_t i = 0; i < N; i++) {
            make(&it, "program", i, level);
            const char *code = strchr(it.question.data, '\n');
            assert_non_null(code);
            moa_buf_adds(&script, "(");
            add_python_string(&script, code + 1);
            moa_buf_adds(&script, ", ");
            add_python_string(&script, it.answer.data);
            moa_buf_adds(&script, "),\n");
        }
    moa_buf_adds(&script, "]:\n    out = io.StringIO()\n    with contextlib.redirect_stdout(out): exec(p, {})\n"
                          "    if fold(out.getvalue()) != want: bad = 1; print(p, out.getvalue(), want)\nraise SystemExit(bad)\n");
    assert_int_equal(script.failed, 0);
    FILE *f = popen("python3 -", "w");
    assert_non_null(f);
    assert_int_equal(fwrite(script.data, 1, script.len, f), script.len);
    assert_int_equal(pclose(f), 0);
    moa_buf_deinit(&script);
    moa_item_deinit(&it);
}

static int run(moa_buf *out, const char *program, moa_err *err) {
    moa_buf_clear(out);
    return moa_py_run(out, program, NULL, NULL, err);
}

static void test_interpreter(void **state) {
    (void)state;
    static const struct { const char *program, *out; } good[] = {
        {"print(7 // 2, -7 // 2, 7 % 3, -7 % 3)", "3 -4 1 2\n"},
        {"x = [1, 2]\nx.append(3)\nprint(x, len(x), x[-1], x[0] + x[1])", "[1, 2, 3] 3 3 3\n"},
        {"s = \"ab\"\nprint(s + 'c', s * 2, s[1], [s])", "abc abab b ['ab']\n"},
        {"if 1 > 2:\n    print(1)\nelif 2 > 1:\n    print(2)\nelse:\n    print(3)", "2\n"},
        {"n = 0\nwhile n < 3:\n    n += 1\n    if n == 2:\n        print(n)\nprint(n)", "2\n3\n"},
        {"for i in range(0):\n    print(i)\nprint(9)", "9\n"},
        {"x = 10\nx -= 2 + 3\nx *= 2\nprint(x, (1 + 2) * 3, 2 + 2 * 2)", "10 9 6\n"},
        {"print(True and False, 1 == 1 or 2 == 3, \"a\" < \"b\")", "False True True\n"},
        {"for c in \"ab\":\n    for i in range(1, 3):\n        print(c, i)", "a 1\na 2\nb 1\nb 2\n"},
    };
    moa_buf out;
    moa_buf_init(&out, 1 << 16);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        moa_err err = {0};
        if (run(&out, good[i].program, &err) < 0) fail_msg("%s\n%s", good[i].program, err.text);
        assert_string_equal(moa_buf_str(&out), good[i].out);
    }
    static const char *const bad[] = {"x", "x =", "print(y)", "print(1", "print(1 // 0)", "print([1][1])", "if 1:\nprint(1)", "  x = 1", "x = \"a", "x = [[1]]", "for i in 3:\n    x = i",
                                      "while 1 == 1:\n    x = 1", "x = 9\nwhile x > 0:\n    x = x * x", "x = ((((((((((((((((((1))))))))))))))))))", "print(1) 2", "x = 1 +", "1 = x", "x = [1, 2", "x.append(1)",
                                      "x = 99999999999999999999", "x = \"a\" * 999999999", "for i in range(999999999):\n    x = i", "x = 1\n    y = 2", "else:\n    x = 1", "print(\"a\" - 1)", "s = \"\"\nprint(s[0])"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        moa_err err = {0};
        if (run(&out, bad[i], &err) >= 0) fail_msg("ran: %s", bad[i]);
        assert_non_null(strstr(err.text, "line "));
    }
    moa_buf_deinit(&out);
}

static void test_trace(void **state) {
    (void)state;
    static const struct { const char *program, *trace; } cases[] = {
        {"x = 3\ny = x + 4\nprint(y * 2 + x)", "x=3; 3+4=7; y=7; 7*2=14; 14+3=17"},
        {"x = 5\nx -= 2 * 2\nprint(x)", "x=5; 2*2=4; 5-4=1; x=1"},
        {"x = (1 + 2) * (3 - 1)\nprint(x > 5)", "1+2=3; 3-1=2; 3*2=6; x=6; 6>5 is true"},
        {"s = \"ab\"\nprint(s + \"c\", s[0], len(s))", "s='ab'; 'ab'+'c'='abc'"},
        {"l = [4, 5]\nl.append(l[0] + 1)\nfor i in l:\n    if i // 2 > 2:\n        print(i)", "l=[4, 5]; 4+1=5; l=[4, 5, 5]; i=4; 4//2=2; 2>2 is false; i=5; 5//2=2; 2>2 is false; i=5; 5//2=2; 2>2 is false"},
    };
    moa_buf out, trace;
    moa_buf_init(&out, 1 << 16);
    moa_buf_init(&trace, 1 << 16);
    const moa_py_trace t = {.out = &trace, .between = "; "};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        moa_buf_clear(&out);
        moa_buf_clear(&trace);
        assert_int_equal(moa_py_run(&out, cases[i].program, &t, NULL, NULL), 0);
        assert_string_equal(moa_buf_str(&trace), cases[i].trace);
    }
    moa_buf_deinit(&out);
    moa_buf_deinit(&trace);
}

/* Any text ends soon, with an error or not. */
static void test_interpreter_hostile(void **state) {
    (void)state;
    static const char *const piece[] = {"x", "y", "=", "+=", " ", "    ", "\n", "\n    ", "if ", "while ", "for ", " in ", "range(", "len(", "print(", ")", "(", "[", "]", ",", ":", "\"", "9", "0", "-", "*", "//", "%", "<", "==", "else", "elif ", ".append(", "\xff", "and ", "not "};
    moa_rng r;
    moa_rng_seed(&r, 9);
    moa_buf p, out, trace;
    moa_buf_init(&p, 1 << 16);
    moa_buf_init(&out, 1 << 20);
    moa_buf_init(&trace, 1 << 20);
    moa_py_trace t = {.out = &trace, .between = "; "};
    for (int i = 0; i < 20000; i++) {
        moa_buf_clear(&p);
        moa_buf_clear(&out);
        moa_buf_clear(&trace);
        for (uint32_t n = moa_rng_below(&r, 40); n-- > 0;) moa_buf_adds(&p, piece[moa_rng_below(&r, sizeof piece / sizeof *piece)]);
        moa_py_run(&out, moa_buf_str(&p), &t, NULL, NULL);
    }
    moa_buf_deinit(&p);
    moa_buf_deinit(&out);
    moa_buf_deinit(&trace);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_arithmetic), cmocka_unit_test(test_stories), cmocka_unit_test(test_programs), cmocka_unit_test(test_interpreter), cmocka_unit_test(test_trace), cmocka_unit_test(test_interpreter_hostile)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
