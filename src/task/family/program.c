/* program.c - read a small program in a Python subset and say what it prints.
 *
 * Levels: 1 assignments; 2 if/else, // and %, strings; 3 for over range, lists; 4 while, for with if; 5 longer mixes.
 * The program is written line by line from patterns, then really run (minipy.h): the solution is the run's trace,
 * the answer is what it printed. The key is the program text.
 * SPDX-License-Identifier: Apache-2.0 */
#include "task/gen.h"
#include "task/minipy.h"

#include <string.h>

typedef struct prog {
    moa_buf *b;
    moa_rng *r;
    const char *x, *y, *z, *list, *i; /* names used by this program */
} prog;

static void line(prog *p, int indent, const char *pattern, int n1, int n2, int n3) {
    char a[24], b[24], c[24];
    const char *arg[] = {p->x, p->y, p->z, p->list, p->i, moa_gen_dec(a, n1), moa_gen_dec(b, n2), moa_gen_dec(c, n3)};
    for (int k = 0; k < indent; k++) moa_buf_adds(p->b, "    ");
    moa_gen_fill(p->b, pattern, arg, 8);
    moa_buf_adds(p->b, "\n");
}

static int num(prog *p, int lo, int hi) { return moa_rng_range(p->r, lo, hi); }

/* In patterns: $0 x, $1 y, $2 z, $3 list, $4 loop name, $5 $6 $7 numbers. */
static void line1(prog *p, int indent, const char *pattern) {
    int a = num(p, 2, 9), b = num(p, 2, 9), c = num(p, 2, 5); /* one after the other: C does not order arguments */
    line(p, indent, pattern, a, b, c);
}
#define ONE_OF(p, indent, ...)                                                                     \
    do {                                                                                           \
        static const char *const any_[] = {__VA_ARGS__};                                           \
        line1(p, indent, MOA_PICK((p)->r, any_));                                                  \
    } while (0)

static void straight(prog *p) {
    line(p, 0, "$0 = $5", num(p, 1, 12), 0, 0);
    ONE_OF(p, 0, "$1 = $5", "$1 = $0 + $5", "$1 = $0 * $7", "$1 = $0 - $7", "$1 = $5 - $0", "$1 = $7 * $0 + $5");
    if (moa_gen_chance(p->r, 60))
        ONE_OF(p, 0, "$2 = $0 + $1", "$2 = $0 * $1", "$2 = $1 - $0", "$2 = $1 + $5", "$2 = $0 * $7 + $1", "$0 = $0 + $1",
               "$0 += $5", "$1 = $1 * $7", "$0 = $1 - $7");
    if (moa_gen_chance(p->r, 30)) ONE_OF(p, 0, "$1 = $0 + $5", "$0 = $0 + $7", "$1 = $1 + $0", "$0 = $1 * $7");
}

static void print_numbers(prog *p, bool z) {
    if (z) ONE_OF(p, 0, "print($2)", "print($2 + $0)", "print($2, $0)", "print($2 - $5)", "print($2 * $7)");
    else ONE_OF(p, 0, "print($0 + $1)", "print($1)", "print($0, $1)", "print($1 - $0)", "print($0 * $7)", "print($1 + $5)");
}

static void level1(prog *p) {
    straight(p);
    bool z = strstr(moa_buf_str(p->b), p->z) != NULL;
    print_numbers(p, z);
}

static void branches(prog *p, int big) {
    line(p, 0, "$0 = $5", num(p, 2, 9 * big), 0, 0);
    ONE_OF(p, 0, "$1 = $5", "$1 = $0 + $5", "$1 = $0 * $7", "$1 = $0 % $7", "$1 = $0 // $7");
    ONE_OF(p, 0, "if $0 > $1:", "if $0 < $1:", "if $1 > $5:", "if $0 % 2 == 0:", "if $1 % 2 == 1:", "if $0 == $1:", "if $0 + $1 > $5:");
    ONE_OF(p, 1, "$2 = $0 - $1", "$2 = $0 + $1", "$2 = $0 * $7", "$2 = $1 + $5", "$2 = $0 % $7");
    line1(p, 0, "else:");
    ONE_OF(p, 1, "$2 = $1 - $0", "$2 = $0 * $1", "$2 = $1 + $5", "$2 = $1 // $7", "$2 = $0 + $5");
    print_numbers(p, true);
}

static void division(prog *p, int big) {
    line(p, 0, "$0 = $5", num(p, 10, 30 * big), 0, 0);
    ONE_OF(p, 0, "$1 = $0 // $7", "$1 = $0 % $7", "$1 = $0 // $5");
    ONE_OF(p, 0, "$2 = $0 % $7", "$2 = $0 - $1", "$2 = $1 * $7", "$2 = $0 // $7 + $1", "$2 = $1 + $5");
    print_numbers(p, true);
}

static void write_string(prog *p, const char *name, int longest) {
    const char *w;
    do w = moa_words[moa_rng_below(p->r, (uint32_t)moa_n_words)];
    while ((int)strlen(w) > longest);
    moa_buf_addf(p->b, "%s = \"%s\"\n", name, w);
}

static void strings(prog *p) {
    write_string(p, p->x, 4);
    write_string(p, p->y, 4);
    ONE_OF(p, 0, "$2 = $0 + $1", "$2 = $1 + $0", "$2 = $0 + \"-\" + $1", "$2 = $0 * 2", "$2 = $1 + \"s\"", "$2 = $0[0] + $1");
    ONE_OF(p, 0, "print($2)", "print($2 + $0)", "print(len($2))", "print($2[0])", "print($2, $1)", "print($2 + \"!\")");
}

static void level2(prog *p) {
    uint32_t k = moa_rng_below(p->r, 4);
    if (k == 0) division(p, 1);
    else if (k == 1) strings(p);
    else branches(p, 1);
}

static void write_list(prog *p, int n, int lo, int hi) {
    moa_buf_addf(p->b, "%s = [", p->list);
    for (int i = 0; i < n; i++) {
        if (i) moa_buf_adds(p->b, ", ");
        moa_gen_int(p->b, num(p, lo, hi));
    }
    moa_buf_adds(p->b, "]\n");
}

static void range_loop(prog *p, int most) {
    line(p, 0, "$0 = $5", num(p, 0, 9), 0, 0);
    if (moa_gen_chance(p->r, 60)) line(p, 0, "for $4 in range($5):", num(p, 2, most), 0, 0);
    else {
        int from = num(p, 1, 4);
        line(p, 0, "for $4 in range($5, $6):", from, from + num(p, 2, most), 0);
    }
    ONE_OF(p, 1, "$0 = $0 + $4", "$0 += $4", "$0 = $0 + $7", "$0 = $0 * 2", "$0 += 2 * $4", "$0 = $0 + $4 + 1", "$0 = $0 + $4 * $4");
    if (moa_gen_chance(p->r, 30)) ONE_OF(p, 0, "print($0 + $5)", "print($0 * 2)", "print($0 - $7)");
    else line1(p, 0, "print($0)");
}

static void list_steps(prog *p) {
    int n = num(p, 2, 4);
    write_list(p, n, 1, 12);
    bool two = moa_gen_chance(p->r, 50);
    if (two) line(p, 0, "$3.append($5)", num(p, 1, 12), 0, 0), n++;
    if (moa_gen_chance(p->r, 50)) {
        int i = num(p, 0, n - 1), j = num(p, 0, n - 1);
        line(p, 0, "$0 = $3[$5] + $3[$6]", i, j, 0);
        if (moa_gen_chance(p->r, 40)) line1(p, 0, "$3.append($0)");
        ONE_OF(p, 0, "print($0)", "print($0 + $5)", "print($3[0] + $0)", "print($0 * len($3))", "print($3)");
    } else {
        line(p, 0, "$0 = $3[$5]", num(p, 0, n - 1), 0, 0);
        ONE_OF(p, 0, "$3.append($0 + $5)", "$0 = $0 + len($3)", "$3.append($0)", "$0 = $0 * $7");
        ONE_OF(p, 0, "print($3)", "print(len($3), $0)", "print($0)", "print($3[-1] + $0)", "print($3[0], $0)");
    }
}

static void level3(prog *p) {
    if (moa_gen_chance(p->r, 50)) range_loop(p, 4);
    else list_steps(p);
}

static void while_loop(prog *p) {
    if (moa_gen_chance(p->r, 50)) {
        line(p, 0, "$0 = $5", num(p, 1, 6), 0, 0);
        line(p, 0, "$1 = $5", num(p, 0, 4), 0, 0);
        line(p, 0, "while $0 < $5:", num(p, 8, 24), 0, 0);
        ONE_OF(p, 1, "$0 = $0 * 2", "$0 = $0 + $5", "$0 += $5", "$0 = $0 * 2 + 1", "$0 = $0 + $1 + 2");
        ONE_OF(p, 1, "$1 = $1 + 1", "$1 += 2", "$1 = $1 + 1", "$1 += $0");
    } else {
        line(p, 0, "$0 = $5", num(p, 8, 40), 0, 0);
        line(p, 0, "$1 = 0", 0, 0, 0);
        line(p, 0, "while $0 > $5:", num(p, 1, 5), 0, 0);
        ONE_OF(p, 1, "$0 = $0 // 2", "$0 = $0 - $5", "$0 -= $5", "$0 = $0 // 3");
        ONE_OF(p, 1, "$1 = $1 + 1", "$1 += 2", "$1 = $1 + $0");
    }
    ONE_OF(p, 0, "print($0)", "print($1)", "print($0, $1)", "print($0 + $1)");
}

static void filter_loop(prog *p, int n) {
    write_list(p, n, 1, 12);
    line(p, 0, "$0 = $5", num(p, 0, 3), 0, 0);
    line1(p, 0, "for $4 in $3:");
    ONE_OF(p, 1, "if $4 > $5:", "if $4 % 2 == 0:", "if $4 < $5:", "if $4 % 2 == 1:", "if $4 > $0:");
    ONE_OF(p, 2, "$0 = $0 + $4", "$0 += 1", "$0 = $4", "$0 += 2 * $4", "$0 = $0 + $4");
}

static void level4(prog *p) {
    if (moa_gen_chance(p->r, 50)) {
        while_loop(p);
    } else {
        filter_loop(p, num(p, 3, 4));
        line1(p, 0, "print($0)");
    }
}

static void build_list(prog *p) {
    line1(p, 0, "$3 = []");
    line(p, 0, "$0 = $5", num(p, 1, 6), 0, 0);
    line(p, 0, "for $4 in range($5):", num(p, 3, 5), 0, 0);
    ONE_OF(p, 1, "$0 = $0 + $4", "$0 = $0 * 2", "$0 = $0 + $7", "$0 = $0 * 2 - $4");
    if (moa_gen_chance(p->r, 50)) {
        ONE_OF(p, 1, "if $0 % 2 == 0:", "if $0 > $5:", "if $0 % 3 != 0:", "if $4 != 1:");
        ONE_OF(p, 2, "$3.append($0)", "$3.append($4)", "$3.append($0 + $4)");
    } else {
        ONE_OF(p, 1, "$3.append($0)", "$3.append($0 - $4)", "$3.append($0 % 5)");
    }
    ONE_OF(p, 0, "print($3)", "print(len($3), $0)", "print($3)", "print($0)");
}

static void filter_else(prog *p) {
    filter_loop(p, num(p, 3, 5));
    line1(p, 1, "else:");
    ONE_OF(p, 2, "$0 = $0 - 1", "$0 += 3", "$0 = $0 * 2", "$0 = $0 + $5");
    ONE_OF(p, 0, "print($0)", "print($0 + len($3))", "print($0 % 10)");
}

static void spell(prog *p) {
    write_string(p, p->x, 6);
    line1(p, 0, "$1 = \"\"");
    line1(p, 0, "for $4 in $0:");
    ONE_OF(p, 1, "$1 = $4 + $1", "$1 = $1 + $4 + \"-\"", "$1 = $1 + $4 * 2", "$1 = $4 + $1 + \"o\"");
    ONE_OF(p, 0, "print($1)", "print($1 + $0)", "print(len($1))");
}

static void level5(prog *p) {
    uint32_t k = moa_rng_below(p->r, 4);
    if (k == 0) build_list(p);
    else if (k == 1) filter_else(p);
    else if (k == 2) spell(p);
    else range_loop(p, 6);
}

static void pick_names(prog *p, moa_rng *r) {
    static const char *const sets[][3] = {{"x", "y", "z"}, {"a", "b", "c"}, {"n", "m", "k"}, {"p", "q", "r"}, {"a", "n", "s"}, {"u", "v", "w"}, {"x", "t", "c"}};
    static const char *const lists[] = {"nums", "items", "data", "row"};
    static const char *const loops[] = {"i", "j", "e", "d"};
    const char *const *s = sets[moa_rng_below(r, MOA_COUNT(sets))];
    p->x = s[0], p->y = s[1], p->z = s[2];
    p->list = MOA_PICK(r, lists);
    p->i = MOA_PICK(r, loops);
}

static int finish(moa_item *it, moa_rng *r) {
    static const char *const between[] = {". ", "; ", ", ", "\n"};
    static const char *const last[] = {"\nIt prints $0.", "\nSo it prints $0.", "\nThe output is $0.", ""};
    moa_py_trace t = {.out = &it->solution};
    t.between = MOA_PICK(r, between);
    MOA_TRY(moa_py_run(&it->answer, moa_buf_str(&it->key), &t, NULL, NULL) < 0 ? MOA_EINVAL : MOA_OK);
    if (it->answer.len) it->answer.data[--it->answer.len] = 0; /* one line: its end is no part of the answer */
    if (it->answer.len == 0 || it->answer.len > 24 || it->solution.len > 140) return MOA_EINVAL;
    if (it->answer.data[0] == '-' && moa_gen_chance(r, 80)) return MOA_EINVAL;
    if (*t.between != '\n') moa_buf_adds(&it->solution, ".");
    const char *arg[] = {moa_buf_str(&it->answer)};
    moa_gen_fill(&it->solution, MOA_PICK(r, last), arg, 1);
    moa_buf_adds(&it->solution, "\nAnswer: ");
    moa_buf_adds(&it->solution, moa_buf_str(&it->answer));
    return MOA_OK;
}

static int make(moa_item *it, int level, moa_rng *r) {
    static const char *const ask[] = {"What does this program print?", "What is the output of this program?", "Read the program and say what it prints.",
                                      "What will be printed?", "Trace this program. What does it print?"};
    static void (*const by_level[])(prog *) = {level1, level2, level3, level4, level5};
    prog p = {.b = &it->key, .r = r};
    pick_names(&p, r);
    by_level[level - 1](&p);
    it->key.data[--it->key.len] = 0;
    moa_buf_adds(&it->question, MOA_PICK(r, ask));
    moa_buf_adds(&it->question, "\n");
    moa_buf_adds(&it->question, moa_buf_str(&it->key));
    return finish(it, r);
}

const moa_family moa_family_program = {
    .name = "program", .help = "say what a small Python program prints", .n_level = 5, .scored = true, .make = make};
