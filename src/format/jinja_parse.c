/* jinja_parse.c - tokens to nodes, by recursive descent along Jinja's own grammar (loosest binding first):
 * x if c else y, or, and, not, comparisons, + -, ~, * / // %, **, unary signs, then postfix . [] () and | is.
 * Depth of recursion is bounded, so that brackets in a hostile template cannot exhaust the C stack.
 * SPDX-License-Identifier: Apache-2.0 */
#include "format/jinja_impl.h"

#include <stdlib.h>

typedef struct parser {
    jctx *c;
    moa_jinja *t;
    const jtoken *k; /* current token; the last one is T_EOF */
    int depth, loops, cap_sym;
    uint8_t macro_reads; /* JM_ bits of the macro being parsed */
} parser;

static int expr(parser *p, jnode **out);
static int unary(parser *p, jnode **out, bool with_filter);
static int body(parser *p, jnode **out, const char *const *ends);

static int fail(parser *p, const char *expected) {
    const jtoken *k = p->k;
    p->c->line = k->line;
    switch (k->type) {
    case T_NAME: return jinja_fail(p->c, MOA_EFORMAT, "got '%.*s', expected %s", (int)(k->val.n < 60 ? k->val.n : 60), k->val.u.s, expected);
    case T_OP: return jinja_fail(p->c, MOA_EFORMAT, "got '%s', expected %s", k->op, expected);
    default: {
        static const char *const names[] = {"text", "{%", "%}", "{{", "}}", "", "a string", "a number", "a number", "", "the end of the template"};
        return jinja_fail(p->c, MOA_EFORMAT, "got %s, expected %s", names[k->type], expected);
    }
    }
}

static jnode *node(parser *p, jkind kind) {
    jnode *n = jinja_alloc(p->c, sizeof *n);
    if (!n) return NULL;
    *n = (jnode){.kind = (uint8_t)kind, .line = p->k->line, .sym = -1};
    return n;
}
#define NODE(var, kind)                  \
    jnode *var = node(p, kind);          \
    if (!var) return jinja_nomem(p->c)

static int add_kid(parser *p, jnode *n, jnode *kid) {
    if ((n->n & (n->n - 1)) == 0) { /* capacity is the next power of two */
        jnode **v = jinja_alloc(p->c, (size_t)(n->n ? n->n * 2 : 1) * sizeof(jnode *));
        if (!v) return jinja_nomem(p->c);
        if (n->n) memcpy(v, n->kid, (size_t)n->n * sizeof(jnode *));
        n->kid = v;
    }
    n->kid[n->n++] = kid;
    return 0;
}

static int add_arg(parser *p, jnode *n, jarg a) {
    if ((n->n_arg & (n->n_arg - 1)) == 0) {
        jarg *v = jinja_alloc(p->c, (size_t)(n->n_arg ? n->n_arg * 2 : 1) * sizeof *v);
        if (!v) return jinja_nomem(p->c);
        if (n->n_arg) memcpy(v, n->arg, (size_t)n->n_arg * sizeof *v);
        n->arg = v;
    }
    n->arg[n->n_arg++] = a;
    return 0;
}

static int symbol(parser *p, int *out, const char *s, size_t n) {
    moa_jinja *t = p->t;
    MOA_TRY(jinja_charge(p->c, (size_t)t->n_sym * 8)); /* a linear search must not make parsing quadratic for free */
    for (int i = 0; i < t->n_sym; i++)
        if (strlen(t->sym[i]) == n && !memcmp(t->sym[i], s, n)) return *out = i, 0;
    if (t->n_sym == p->cap_sym) {
        int cap = p->cap_sym ? p->cap_sym * 2 : 64;
        const char **v = jinja_alloc(p->c, (size_t)cap * sizeof *v);
        if (!v) return jinja_nomem(p->c);
        if (t->n_sym) memcpy(v, t->sym, (size_t)t->n_sym * sizeof *v);
        t->sym = v, p->cap_sym = cap;
    }
    char *copy = jinja_alloc(p->c, n + 1);
    if (!copy) return jinja_nomem(p->c);
    memcpy(copy, s, n);
    copy[n] = 0;
    t->sym[t->n_sym] = copy;
    *out = t->n_sym++;
    return 0;
}

static bool is_op(const parser *p, const char *op) { return p->k->type == T_OP && !strcmp(p->k->op, op); }
static bool is_name(const parser *p, const char *name) { return p->k->type == T_NAME && jv_is(p->k->val, name); }
static bool take_op(parser *p, const char *op) { return is_op(p, op) ? p->k++, true : false; }
static bool take_name(parser *p, const char *name) { return is_name(p, name) ? p->k++, true : false; }
static int need_op(parser *p, const char *op, const char *expected) { return take_op(p, op) ? 0 : fail(p, expected); }

static int down(parser *p) {
    if (++p->depth > JINJA_MAX_PARSE) return fail(p, "less deep nesting (at most 200 levels)");
    return 0;
}

/* ---- expressions ---- */

static int name_node(parser *p, jnode **out) {
    NODE(n, N_NAME);
    MOA_TRY(symbol(p, &n->sym, p->k->val.u.s, p->k->val.n));
    n->val = p->k->val;
    if (n->sym == p->t->s_varargs) p->macro_reads |= JM_VARARGS;
    if (n->sym == p->t->s_kwargs) p->macro_reads |= JM_KWARGS;
    if (n->sym == p->t->s_caller) p->macro_reads |= JM_CALLER;
    p->k++;
    *out = n;
    return 0;
}

/* After "(": arguments up to and with ")". */
static int call_args(parser *p, jnode *n) {
    while (!take_op(p, ")")) {
        jarg a = {0};
        if (take_op(p, "**")) a.star = 2;
        else if (take_op(p, "*")) a.star = 1;
        else if (p->k->type == T_NAME && p->k[1].type == T_OP && !strcmp(p->k[1].op, "=")) a.name = p->k->val, p->k += 2;
        MOA_TRY(expr(p, &a.value));
        MOA_TRY(add_arg(p, n, a));
        if (!is_op(p, ")")) MOA_TRY(need_op(p, ",", "',' or ')' in the arguments"));
    }
    return 0;
}

static bool tuple_end(const parser *p) {
    return p->k->type == T_VAR_END || p->k->type == T_BLOCK_END || is_op(p, ")") || is_name(p, "in") || is_name(p, "recursive");
}

static int or_(parser *p, jnode **out);

/* a or a, b, ...: how = 0 full expressions, 1 without "x if c else y", 2 only names (targets). */
static int tuple(parser *p, jnode **out, int how, bool parens) {
    NODE(t, N_TUPLE);
    jnode *first = NULL;
    bool comma = false;
    while (!tuple_end(p)) {
        jnode *e;
        if (how == 2 && p->k->type != T_NAME && !is_op(p, "(")) return fail(p, "a name to assign to");
        if (how == 2 && take_op(p, "(")) {
            MOA_TRY(down(p));
            MOA_TRY(tuple(p, &e, 2, true));
            p->depth--;
            MOA_TRY(need_op(p, ")", "')'"));
        } else if (how == 2) {
            MOA_TRY(name_node(p, &e));
        } else {
            MOA_TRY(how == 1 ? or_(p, &e) : expr(p, &e));
        }
        if (!first) first = e;
        MOA_TRY(add_kid(p, t, e));
        if (!take_op(p, ",")) break;
        comma = true;
    }
    if (!first && !parens) return fail(p, "an expression");
    *out = first && !comma ? first : t;
    return 0;
}

static int list_node(parser *p, jnode **out) {
    NODE(n, N_LIST);
    while (!take_op(p, "]")) {
        jnode *e;
        MOA_TRY(expr(p, &e));
        MOA_TRY(add_kid(p, n, e));
        if (!is_op(p, "]")) MOA_TRY(need_op(p, ",", "',' or ']' in the list"));
    }
    *out = n;
    return 0;
}

static int dict_node(parser *p, jnode **out) {
    NODE(n, N_DICT);
    while (!take_op(p, "}")) {
        jnode *k, *v;
        MOA_TRY(expr(p, &k));
        MOA_TRY(need_op(p, ":", "':' after a key"));
        MOA_TRY(expr(p, &v));
        MOA_TRY(add_kid(p, n, k));
        MOA_TRY(add_kid(p, n, v));
        if (!is_op(p, "}")) MOA_TRY(need_op(p, ",", "',' or '}' in the dict"));
    }
    *out = n;
    return 0;
}

static int constant(parser *p, jnode **out, jv v) {
    NODE(n, N_CONST);
    n->val = v;
    p->k++;
    *out = n;
    return 0;
}

static int strings(parser *p, jnode **out) {
    jbuf b = {0};
    NODE(n, N_CONST);
    n->val = p->k->val;
    if (p->k[1].type == T_STR) {
        for (; p->k->type == T_STR; p->k++) MOA_TRY(jinja_add(p->c, &b, p->k->val.u.s, p->k->val.n));
        n->val = jv_buf(&b);
    } else {
        p->k++;
    }
    *out = n;
    return 0;
}

static int primary(parser *p, jnode **out) {
    static const struct { const char *name; jv v; } words[] = {
        {"true", {.type = JT_BOOL, .u.b = true}}, {"True", {.type = JT_BOOL, .u.b = true}}, {"false", {.type = JT_BOOL}},
        {"False", {.type = JT_BOOL}}, {"none", {.type = JT_NONE}}, {"None", {.type = JT_NONE}}};
    switch (p->k->type) {
    case T_NAME:
        for (size_t i = 0; i < sizeof words / sizeof *words; i++)
            if (is_name(p, words[i].name)) return constant(p, out, words[i].v);
        return name_node(p, out);
    case T_STR: return strings(p, out);
    case T_INT:
    case T_FLOAT: return constant(p, out, p->k->val);
    case T_OP:
        if (take_op(p, "[")) return list_node(p, out);
        if (take_op(p, "{")) return dict_node(p, out);
        if (take_op(p, "(")) {
            MOA_TRY(tuple(p, out, 0, true));
            return need_op(p, ")", "')'");
        }
        return fail(p, "an expression");
    default: return fail(p, "an expression");
    }
}

/* Inside [ ]: one expression, a slice, or several of them as a tuple. */
static int subscript_part(parser *p, jnode **out) {
    jnode *part[3] = {0};
    int n = 0;
    NODE(s, N_SLICE);
    for (; n < 3; n++) {
        if (!is_op(p, ":") && !is_op(p, "]") && !is_op(p, ",")) MOA_TRY(expr(p, &part[n]));
        if (!take_op(p, ":")) break;
    }
    if (n == 0) return *out = part[0], 0;
    if (n == 3) return fail(p, "']' after start:stop:step");
    s->a = part[0], s->b = part[1], s->c = part[2];
    *out = s;
    return 0;
}

static int subscript(parser *p, jnode **out, jnode *obj) {
    NODE(n, N_ITEM);
    NODE(t, N_TUPLE);
    n->a = obj;
    while (!take_op(p, "]")) {
        jnode *e = NULL;
        MOA_TRY(subscript_part(p, &e));
        if (!e) return fail(p, "an expression");
        MOA_TRY(add_kid(p, t, e));
        if (!is_op(p, "]")) MOA_TRY(need_op(p, ",", "']'"));
    }
    n->b = t->n == 1 ? t->kid[0] : t;
    *out = n;
    return 0;
}

static int postfix(parser *p, jnode **out) {
    for (;;) {
        if (take_op(p, ".")) {
            NODE(n, p->k->type == T_INT ? N_ITEM : N_ATTR);
            n->a = *out;
            n->val = p->k->val;
            if (p->k->type == T_INT) MOA_TRY(constant(p, &n->b, p->k->val));
            else if (p->k->type == T_NAME) p->k++;
            else return fail(p, "a name after '.'");
            *out = n;
        } else if (take_op(p, "[")) {
            MOA_TRY(subscript(p, out, *out));
        } else if (take_op(p, "(")) {
            NODE(n, N_CALL);
            n->a = *out;
            MOA_TRY(call_args(p, n));
            *out = n;
        } else {
            return 0;
        }
    }
}

/* "a.b.c" names of filters and tests are possible in the grammar; no published one has a dot. */
static int filter(parser *p, jnode **out, jnode *input) {
    if (p->k->type != T_NAME) return fail(p, "the name of a filter");
    NODE(n, N_FILTER);
    n->a = input;
    n->val = p->k->val;
    n->row = jinja_filter_find(n->val);
    p->k++;
    if (take_op(p, "(")) MOA_TRY(call_args(p, n));
    *out = n;
    return 0;
}

static int test(parser *p, jnode **out) {
    bool negated = take_name(p, "not");
    if (p->k->type != T_NAME) return fail(p, "the name of a test");
    NODE(n, N_TEST);
    n->a = *out;
    n->val = p->k->val;
    n->row = jinja_test_find(n->val);
    p->k++;
    bool starts = p->k->type == T_STR || p->k->type == T_INT || p->k->type == T_FLOAT || is_op(p, "[") || is_op(p, "{") ||
                  (p->k->type == T_NAME && !is_name(p, "else") && !is_name(p, "or") && !is_name(p, "and") && !is_name(p, "if"));
    if (take_op(p, "(")) {
        MOA_TRY(call_args(p, n));
    } else if (starts) {
        if (is_name(p, "is")) return fail(p, "no second test (join them with 'and')");
        jarg a = {0};
        MOA_TRY(primary(p, &a.value));
        MOA_TRY(postfix(p, &a.value));
        MOA_TRY(add_arg(p, n, a));
    }
    *out = n;
    if (negated) {
        NODE(inv, N_NOT);
        inv->a = n;
        *out = inv;
    }
    return 0;
}

static int filters_and_tests(parser *p, jnode **out) {
    for (;;) {
        if (take_op(p, "|")) {
            MOA_TRY(filter(p, out, *out));
        } else if (take_name(p, "is")) {
            MOA_TRY(test(p, out));
        } else if (take_op(p, "(")) { /* the result of a filter called */
            NODE(n, N_CALL);
            n->a = *out;
            MOA_TRY(call_args(p, n));
            *out = n;
        } else {
            return 0;
        }
    }
}

static int unary(parser *p, jnode **out, bool with_filter) {
    MOA_TRY(down(p));
    if (is_op(p, "-") || is_op(p, "+")) {
        NODE(n, is_op(p, "-") ? N_NEG : N_POS);
        p->k++;
        MOA_TRY(unary(p, &n->a, false));
        *out = n;
    } else {
        MOA_TRY(primary(p, out));
    }
    MOA_TRY(postfix(p, out));
    if (with_filter) MOA_TRY(filters_and_tests(p, out));
    p->depth--;
    return 0;
}

static int bin(parser *p, jnode **out, jop op, jnode *a, jnode *b) {
    NODE(n, N_BIN);
    n->op = (uint8_t)op;
    n->a = a, n->b = b;
    *out = n;
    return 0;
}

typedef int (*level)(parser *, jnode **);

/* left (op right)*, for the operators listed */
static int left_assoc(parser *p, jnode **out, level next, const char *const *ops, const jop *codes, int n) {
    MOA_TRY(next(p, out));
    for (;;) {
        int i = 0;
        while (i < n && !is_op(p, ops[i])) i++;
        if (i == n) return 0;
        p->k++;
        jnode *right;
        MOA_TRY(next(p, &right));
        MOA_TRY(bin(p, out, codes[i], *out, right));
    }
}

static int unary_full(parser *p, jnode **out) { return unary(p, out, true); }

static int power(parser *p, jnode **out) {
    return left_assoc(p, out, unary_full, (const char *const[]){"**"}, (const jop[]){O_POW}, 1);
}

static int product(parser *p, jnode **out) {
    return left_assoc(p, out, power, (const char *const[]){"*", "/", "//", "%"}, (const jop[]){O_MUL, O_DIV, O_FLOOR, O_MOD}, 4);
}

static int concat(parser *p, jnode **out) {
    MOA_TRY(product(p, out));
    if (!is_op(p, "~")) return 0;
    NODE(n, N_CONCAT);
    MOA_TRY(add_kid(p, n, *out));
    while (take_op(p, "~")) {
        jnode *e;
        MOA_TRY(product(p, &e));
        MOA_TRY(add_kid(p, n, e));
    }
    *out = n;
    return 0;
}

static int sum(parser *p, jnode **out) {
    return left_assoc(p, out, concat, (const char *const[]){"+", "-"}, (const jop[]){O_ADD, O_SUB}, 2);
}

static int compare_op(parser *p) {
    static const char *const ops[] = {"==", "!=", "<", "<=", ">", ">="};
    for (int i = 0; i < 6; i++)
        if (take_op(p, ops[i])) return O_EQ + i;
    if (take_name(p, "in")) return O_IN;
    if (is_name(p, "not") && p->k[1].type == T_NAME && jv_is(p->k[1].val, "in")) return p->k += 2, O_NOT_IN;
    return -1;
}

static int compare(parser *p, jnode **out) {
    MOA_TRY(sum(p, out));
    jnode *first = *out, *chain = NULL;
    for (int op; (op = compare_op(p)) >= 0;) {
        if (!chain) {
            NODE(n, N_COMPARE);
            n->a = first;
            chain = n;
        }
        jnode *right, *step = NULL;
        MOA_TRY(sum(p, &right));
        MOA_TRY(bin(p, &step, (jop)op, NULL, right));
        MOA_TRY(add_kid(p, chain, step));
    }
    if (chain) *out = chain;
    return 0;
}

static int not_(parser *p, jnode **out) {
    if (!is_name(p, "not")) return compare(p, out);
    MOA_TRY(down(p));
    NODE(n, N_NOT);
    p->k++;
    MOA_TRY(not_(p, &n->a));
    *out = n;
    p->depth--;
    return 0;
}

static int logic(parser *p, jnode **out, level next, const char *word, jkind kind) {
    MOA_TRY(next(p, out));
    while (take_name(p, word)) {
        NODE(n, kind);
        n->a = *out;
        MOA_TRY(next(p, &n->b));
        *out = n;
    }
    return 0;
}

static int and_(parser *p, jnode **out) { return logic(p, out, not_, "and", N_AND); }
static int or_(parser *p, jnode **out) { return logic(p, out, and_, "or", N_OR); }

static int expr(parser *p, jnode **out) {
    MOA_TRY(down(p));
    MOA_TRY(or_(p, out));
    while (take_name(p, "if")) {
        NODE(n, N_COND);
        n->b = *out;
        MOA_TRY(or_(p, &n->a));
        if (take_name(p, "else")) MOA_TRY(expr(p, &n->c));
        *out = n;
    }
    p->depth--;
    return 0;
}

/* ---- statements ---- */

static int block_end(parser *p) {
    if (p->k->type != T_BLOCK_END) return fail(p, "%}");
    p->k++;
    return 0;
}

/* The end tag just reached ("{%" and its name are current): step over it. */
static int end_tag(parser *p) {
    p->k += 2;
    return block_end(p);
}

/* x, ns.x or a tuple of names */
static int target(parser *p, jnode **out, bool with_attr) {
    if (with_attr && p->k->type == T_NAME && p->k[1].type == T_OP && !strcmp(p->k[1].op, ".") && p->k[2].type == T_NAME) {
        NODE(n, N_ATTR);
        MOA_TRY(name_node(p, &n->a));
        n->val = p->k[1].val;
        p->k += 2;
        *out = n;
        return 0;
    }
    return tuple(p, out, 2, false);
}

static const char *const end_if[] = {"elif", "else", "endif", NULL};

static int if_(parser *p, jnode **out) {
    NODE(n, N_IF);
    for (;;) {
        jnode *e;
        MOA_TRY(tuple(p, &e, 1, false));
        MOA_TRY(block_end(p));
        MOA_TRY(add_kid(p, n, e));
        MOA_TRY(body(p, &e, end_if));
        MOA_TRY(add_kid(p, n, e));
        if (!jv_is(p->k[1].val, "elif")) break;
        p->k += 2;
    }
    if (jv_is(p->k[1].val, "else")) {
        jnode *e;
        MOA_TRY(end_tag(p));
        MOA_TRY(body(p, &e, (const char *const[]){"endif", NULL}));
        MOA_TRY(add_kid(p, n, e));
    }
    *out = n;
    return end_tag(p);
}

static int for_(parser *p, jnode **out) {
    NODE(n, N_FOR);
    jnode *e;
    MOA_TRY(target(p, &n->a, false));
    if (!take_name(p, "in")) return fail(p, "'in'");
    MOA_TRY(tuple(p, &n->b, 1, false));
    if (take_name(p, "if")) MOA_TRY(expr(p, &n->c));
    n->flag = take_name(p, "recursive");
    MOA_TRY(block_end(p));
    p->loops++;
    MOA_TRY(body(p, &e, (const char *const[]){"else", "endfor", NULL}));
    p->loops--;
    MOA_TRY(add_kid(p, n, e));
    if (jv_is(p->k[1].val, "else")) {
        MOA_TRY(end_tag(p));
        MOA_TRY(body(p, &e, (const char *const[]){"endfor", NULL}));
        MOA_TRY(add_kid(p, n, e));
    }
    *out = n;
    return end_tag(p);
}

static int set_(parser *p, jnode **out) {
    NODE(n, N_SET);
    MOA_TRY(target(p, &n->a, true));
    *out = n;
    if (take_op(p, "=")) {
        MOA_TRY(tuple(p, &n->b, 0, false));
        return block_end(p);
    }
    n->kind = N_SET_BLOCK;
    while (take_op(p, "|")) {
        jnode *f;
        MOA_TRY(filter(p, &f, NULL));
        MOA_TRY(add_kid(p, n, f));
    }
    MOA_TRY(block_end(p));
    MOA_TRY(body(p, &n->b, (const char *const[]){"endset", NULL}));
    return end_tag(p);
}

/* After "(": parameters with defaults. */
static int params(parser *p, jnode *n) {
    while (!take_op(p, ")")) {
        if (p->k->type != T_NAME) return fail(p, "the name of a parameter");
        int sym;
        jarg a = {.name = p->k->val};
        MOA_TRY(symbol(p, &sym, a.name.u.s, a.name.n));
        a.star = sym; /* a parameter has no star: the field holds its symbol */
        p->k++;
        if (take_op(p, "=")) MOA_TRY(expr(p, &a.value));
        MOA_TRY(add_arg(p, n, a));
        if (!is_op(p, ")")) MOA_TRY(need_op(p, ",", "',' or ')' in the parameters"));
    }
    return 0;
}

static int macro_body(parser *p, jnode *n, const char *end) {
    uint8_t reads = p->macro_reads;
    int loops = p->loops;
    p->macro_reads = 0;
    p->loops = 0;
    MOA_TRY(block_end(p));
    MOA_TRY(body(p, &n->b, (const char *const[]){end, NULL}));
    n->flag = p->macro_reads;
    p->macro_reads = reads;
    p->loops = loops;
    return end_tag(p);
}

static int macro(parser *p, jnode **out) {
    NODE(n, N_MACRO);
    if (p->k->type != T_NAME) return fail(p, "the name of the macro");
    n->val = p->k->val;
    MOA_TRY(symbol(p, &n->sym, n->val.u.s, n->val.n));
    p->k++;
    MOA_TRY(need_op(p, "(", "'(' with the parameters"));
    MOA_TRY(params(p, n));
    *out = n;
    return macro_body(p, n, "endmacro");
}

static int call_block(parser *p, jnode **out) {
    NODE(n, N_CALL_BLOCK);
    NODE(m, N_MACRO);
    m->val = jv_str("caller");
    if (take_op(p, "(")) MOA_TRY(params(p, m));
    MOA_TRY(expr(p, &n->a));
    if (n->a->kind != N_CALL) return fail(p, "a call of a macro");
    n->b = m;
    *out = n;
    return macro_body(p, m, "endcall");
}

static int filter_block(parser *p, jnode **out) {
    NODE(n, N_FILTER_BLOCK);
    do {
        jnode *f;
        MOA_TRY(filter(p, &f, NULL));
        MOA_TRY(add_kid(p, n, f));
    } while (take_op(p, "|"));
    MOA_TRY(block_end(p));
    MOA_TRY(body(p, &n->b, (const char *const[]){"endfilter", NULL}));
    *out = n;
    return end_tag(p);
}

static int with_(parser *p, jnode **out) {
    NODE(n, N_WITH);
    while (p->k->type != T_BLOCK_END) {
        jnode *t, *e;
        MOA_TRY(target(p, &t, false));
        MOA_TRY(need_op(p, "=", "'='"));
        MOA_TRY(expr(p, &e));
        MOA_TRY(add_kid(p, n, t));
        MOA_TRY(add_kid(p, n, e));
        if (p->k->type != T_BLOCK_END) MOA_TRY(need_op(p, ",", "',' or %}"));
    }
    MOA_TRY(block_end(p));
    MOA_TRY(body(p, &n->b, (const char *const[]){"endwith", NULL}));
    *out = n;
    return end_tag(p);
}

static int leave(parser *p, jnode **out) {
    NODE(n, is_name(p, "break") ? N_BREAK : N_CONTINUE);
    if (p->loops == 0) return fail(p, "break and continue only inside of a for");
    p->k++;
    *out = n;
    return block_end(p);
}

static int print_(parser *p, jnode **out) {
    NODE(n, N_PRINT);
    MOA_TRY(tuple(p, &n->a, 0, false));
    *out = n;
    return block_end(p);
}

/* {% generation %} marks the assistant's text for training masks in Hugging Face's templates: it prints its body. */
static int generation(parser *p, jnode **out) {
    MOA_TRY(block_end(p));
    MOA_TRY(body(p, out, (const char *const[]){"endgeneration", NULL}));
    return end_tag(p);
}

static int statement(parser *p, jnode **out) {
    static const struct { const char *word; level fn; } table[] = {
        {"if", if_}, {"for", for_}, {"set", set_}, {"macro", macro}, {"call", call_block}, {"filter", filter_block},
        {"with", with_}, {"print", print_}, {"generation", generation}};
    if (p->k->type != T_NAME) return fail(p, "the name of a statement");
    if (is_name(p, "break") || is_name(p, "continue")) return leave(p, out);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (take_name(p, table[i].word)) return table[i].fn(p, out);
    static const char *const outside[] = {"include", "import", "from", "extends"};
    for (size_t i = 0; i < 4; i++)
        if (is_name(p, outside[i])) {
            p->c->line = p->k->line;
            return jinja_fail(p->c, MOA_EUNSUPPORTED, "'%s' reads other files, which a chat template may not", outside[i]);
        }
    return fail(p, "a statement (if, for, set, macro, call, filter, with, break, continue) or the end of the open one");
}

/* Up to one of the end words; "{%" is then the current token. ends NULL: up to the end of the template. */
static int body(parser *p, jnode **out, const char *const *ends) {
    MOA_TRY(down(p));
    NODE(list, N_BODY);
    for (;;) {
        jnode *n = NULL;
        if (p->k->type == T_EOF && !ends) break;
        if (p->k->type == T_EOF) {
            p->c->line = list->line;
            return jinja_fail(p->c, MOA_EFORMAT, "the template ends before '%s' of the statement that starts here", ends[ends[1] ? ends[2] ? 2 : 1 : 0]);
        }
        if (p->k->type == T_TEXT) {
            n = node(p, N_TEXT);
            if (!n) return jinja_nomem(p->c);
            n->val = p->k->val;
            p->k++;
        } else if (p->k->type == T_VAR) {
            p->k++;
            n = node(p, N_PRINT);
            if (!n) return jinja_nomem(p->c);
            MOA_TRY(tuple(p, &n->a, 0, false));
            if (p->k->type != T_VAR_END) return fail(p, "}}");
            p->k++;
        } else {
            for (int i = 0; ends && ends[i]; i++)
                if (p->k[1].type == T_NAME && jv_is(p->k[1].val, ends[i])) goto end;
            p->k++;
            MOA_TRY(statement(p, &n));
        }
        MOA_TRY(add_kid(p, list, n));
    }
end:
    p->depth--;
    *out = list;
    return 0;
}

int jinja_parse_tokens(jctx *c, moa_jinja *t, const jtoken *tok, size_t n) {
    parser p = {.c = c, .t = t, .k = tok};
    (void)n; /* the last token is T_EOF, and no rule steps over it */
    MOA_TRY(symbol(&p, &t->s_loop, "loop", 4));
    MOA_TRY(symbol(&p, &t->s_caller, "caller", 6));
    MOA_TRY(symbol(&p, &t->s_varargs, "varargs", 7));
    MOA_TRY(symbol(&p, &t->s_kwargs, "kwargs", 6));
    return body(&p, &t->body, NULL);
}
