/* arithmetic.c - sums, differences, products and small expressions with brackets, solved with steps.
 *
 * Levels: 1 two digits and the small tables; 2 three digits, two digits times one; 3 four digits, three digits times
 * one, two operations; 4 two digits times two, three operations; 5 three digits times two, four operations.
 * No number on the way is negative, so that steps need no signs.
 * SPDX-License-Identifier: Apache-2.0 */
#include "task/steps.h"

/* ---- one operation ------------------------------------------------------------------------------ */

static int up_to(moa_rng *r, int digits) {
    static const int limit[] = {1, 10, 100, 1000, 10000};
    return moa_rng_range(r, digits > 1 ? limit[digits - 1] : 0, limit[digits] - 1);
}

static void ask_operation(moa_buf *q, int a, char op, int b, moa_rng *r) {
    static const char *const add[] = {"What is $0 plus $1?", "Add $0 and $1.", "What is the sum of $0 and $1?", "How much is $0 plus $1?"};
    static const char *const sub[] = {"What is $0 minus $1?", "Subtract $1 from $0.", "Take $1 away from $0. What is left?", "How much is $0 minus $1?"};
    static const char *const mul[] = {"What is $0 times $1?", "Multiply $0 by $1.", "What is the product of $0 and $1?", "How much is $0 times $1?"};
    static const char *const any[] = {"What is $0 $2 $1?", "Compute $0 $2 $1.", "Work out $0 $2 $1.", "$0 $2 $1 = ?", "Calculate $0 $2 $1.", "Please solve $0 $2 $1."};
    char x[24], y[24], o[2] = {op, 0};
    const char *const arg[] = {moa_gen_dec(x, a), moa_gen_dec(y, b), o};
    const char *p = moa_gen_chance(r, 60) ? MOA_PICK(r, any) : op == '+' ? MOA_PICK(r, add) : op == '-' ? MOA_PICK(r, sub) : MOA_PICK(r, mul);
    moa_gen_fill(q, p, arg, 3);
}

static int make_operation(moa_item *it, int level, moa_rng *r) {
    static const struct { char op; int da, db; } form[5][6] = {
        {{'+', 2, 2}, {'+', 2, 1}, {'-', 2, 2}, {'-', 2, 1}, {'*', 1, 1}, {'+', 2, 2}},
        {{'+', 3, 3}, {'+', 3, 2}, {'-', 3, 3}, {'-', 3, 2}, {'*', 2, 1}, {'*', 2, 1}},
        {{'+', 4, 4}, {'+', 4, 3}, {'-', 4, 4}, {'-', 4, 3}, {'*', 3, 1}, {'*', 3, 1}},
        {{'*', 2, 2}, {'*', 2, 2}, {'*', 2, 2}, {'*', 2, 2}, {'+', 4, 4}, {'-', 4, 4}},
        {{'*', 3, 2}, {'*', 3, 2}, {'*', 3, 2}, {'*', 3, 2}, {'*', 3, 2}, {'*', 2, 2}},
    };
    int k = (int)moa_rng_below(r, 6), a = up_to(r, form[level - 1][k].da), b = up_to(r, form[level - 1][k].db), c;
    char op = form[level - 1][k].op;
    if ((op != '-' && moa_gen_chance(r, 50)) || (op == '-' && b > a)) {
        int t = a;
        a = b;
        b = t;
    }
    ask_operation(&it->question, a, op, b, r);
    bool other_way = op != '-' && b > a; /* 3+8 and 8+3 are one item to the split */
    moa_gen_int(&it->key, other_way ? b : a);
    moa_buf_add(&it->key, &op, 1);
    moa_gen_int(&it->key, other_way ? a : b);
    if (op == '+') moa_steps_add(&it->solution, a, b, r), c = a + b;
    else if (op == '-') moa_steps_sub(&it->solution, a, b, r), c = a - b;
    else moa_steps_mul(&it->solution, a, b, r), c = a * b;
    moa_gen_int(&it->answer, c);
    return MOA_OK;
}

/* ---- expressions -------------------------------------------------------------------------------- */

enum { MAX_NODE = 12 };
typedef struct expr {
    struct { char op; int l, r, value; } node[MAX_NODE]; /* op 0: a number */
    int n;
} expr;

static int leaf(expr *e, int value) {
    e->node[e->n].op = 0;
    e->node[e->n].value = value;
    return e->n++;
}

/* A tree of n_op operations over numbers up to `most`; -1 when a value went below 0 or above `cap`. */
static int grow(expr *e, int n_op, int most, int cap, moa_rng *r) {
    if (n_op == 0) return leaf(e, moa_rng_range(r, 2, most));
    int left = (int)moa_rng_below(r, (uint32_t)n_op), l = grow(e, left, most, cap, r);
    char op = "+-*+-"[moa_rng_below(r, 5)];
    int x = l < 0 ? -1 : grow(e, n_op - 1 - left, op == '*' && left ? 9 : most, cap, r);
    if (x < 0) return -1;
    int a = e->node[l].value, b = e->node[x].value, v = op == '+' ? a + b : op == '-' ? a - b : a * b;
    if (v < 0 || v > cap || (op == '*' && (a < 2 || b < 2 || (a > 12 && b > 12)))) return -1;
    int id = e->n++;
    e->node[id].op = op;
    e->node[id].l = l;
    e->node[id].r = x;
    e->node[id].value = v;
    return id;
}

static int strength(char op) { return op == 0 ? 3 : op == '*' ? 2 : 1; }

static void write_expr(moa_buf *b, const expr *e, int i, const char *blank) {
    char op = e->node[i].op;
    if (!op) {
        moa_gen_int(b, e->node[i].value);
        return;
    }
    int l = e->node[i].l, x = e->node[i].r;
    bool lb = strength(e->node[l].op) < strength(op);
    bool rb = strength(e->node[x].op) < strength(op) || (strength(e->node[x].op) == strength(op) && op == '-');
    if (lb) moa_buf_adds(b, "(");
    write_expr(b, e, l, blank);
    if (lb) moa_buf_adds(b, ")");
    moa_buf_adds(b, blank);
    moa_buf_add(b, &op, 1);
    moa_buf_adds(b, blank);
    if (rb) moa_buf_adds(b, "(");
    write_expr(b, e, x, blank);
    if (rb) moa_buf_adds(b, ")");
}

/* An operation whose two sides are numbers: the first or the last such, by `last`. -1: the tree is a number. */
static int ready(const expr *e, int i, bool last) {
    if (!e->node[i].op) return -1;
    int a = ready(e, last ? e->node[i].r : e->node[i].l, last);
    if (a >= 0) return a;
    a = ready(e, last ? e->node[i].l : e->node[i].r, last);
    return a >= 0 ? a : i;
}

/* Work the tree off, one operation after the other: as separate equations, or as the shrinking expression. */
static void solve_expr(moa_buf *out, expr *e, int root, moa_rng *r) {
    bool last = moa_gen_chance(r, 25), chain = moa_gen_chance(r, 40);
    if (chain) write_expr(out, e, root, "");
    for (int i, k = 0; (i = ready(e, root, last)) >= 0; k++) {
        if (!chain) {
            if (k) moa_buf_adds(out, " ");
            moa_steps_equation(out, e->node[e->node[i].l].value, e->node[i].op, e->node[e->node[i].r].value, e->node[i].value);
            moa_buf_adds(out, ".");
        }
        e->node[i].op = 0;
        if (chain) moa_buf_adds(out, "="), write_expr(out, e, root, "");
    }
    if (chain) moa_buf_adds(out, ".");
}

static int make_expression(moa_item *it, int level, moa_rng *r) {
    static const char *const ask[] = {"What is $0?", "Compute $0.", "Work out $0.", "$0 = ?", "Calculate $0.", "Find the value of $0."};
    static const int most[] = {0, 0, 0, 15, 20, 40}, cap[] = {0, 0, 0, 100, 200, 500};
    expr e = {.n = 0};
    int root = grow(&e, level - 1, most[level], cap[level], r);
    if (root < 0) return MOA_EINVAL;
    moa_gen_int(&it->answer, e.node[root].value);
    write_expr(&it->key, &e, root, " ");
    const char *arg[] = {moa_buf_str(&it->key)};
    moa_gen_fill(&it->question, MOA_PICK(r, ask), arg, 1);
    solve_expr(&it->solution, &e, root, r);
    return MOA_OK;
}

static int make(moa_item *it, int level, moa_rng *r) {
    MOA_TRY(level >= 3 && moa_gen_chance(r, 50) ? make_expression(it, level, r) : make_operation(it, level, r));
    moa_buf_adds(&it->solution, "\nAnswer: ");
    moa_buf_adds(&it->solution, moa_buf_str(&it->answer));
    return MOA_OK;
}

const moa_family moa_family_arithmetic = {
    .name = "arithmetic", .help = "sums, differences, products and brackets, with steps", .n_level = 5, .scored = true, .make = make};
