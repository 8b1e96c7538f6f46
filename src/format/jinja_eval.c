/* jinja_eval.c - walks the nodes. One charge of a step and one level of depth for each of them: the two counters
 * that keep a hostile template from running or recursing without end. Scopes follow Jinja: for, macro, call, with and
 * block set open one, if does not; an inner set never changes an outer name (that is what namespace is for).
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"
#include "format/jinja_impl.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { LEAVE_BREAK = 1, LEAVE_CONTINUE = 2 }; /* positive results of exec */

/* ---- memory, limits, errors ---- */

int jinja_fail(jctx *c, int code, const char *fmt, ...) {
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return moa_fail(c->err, code, "%s:%d: %s", c->t->name, c->line, text);
}

int jinja_nomem(jctx *c) { return jinja_fail(c, MOA_ELIMIT, "the template needs more than its memory limit"); }

int jinja_charge(jctx *c, size_t work) {
    uint64_t cost = 1 + work / 32;
    if (c->steps < cost) {
        c->steps = 0;
        return jinja_fail(c, MOA_ELIMIT, "the template takes more than its limit of steps");
    }
    c->steps -= cost;
    return 0;
}

/* The arena gives 64-byte pieces; values are mostly smaller, so they share pieces of 16 KiB. */
void *jinja_alloc(jctx *c, size_t n) {
    enum { PIECE = 16384 };
    if (n > PIECE / 4) return moa_arena_alloc(c->arena, n);
    n = (n + 15) & ~(size_t)15;
    if (n > c->bump_left) {
        c->bump = moa_arena_alloc(c->arena, PIECE);
        c->bump_left = c->bump ? PIECE : 0;
        if (!c->bump) return NULL;
    }
    void *p = c->bump;
    c->bump += n;
    c->bump_left -= n;
    return p;
}

int jinja_add(jctx *c, jbuf *b, const void *p, size_t n) {
    if (n > b->cap - b->n) {
        size_t cap = b->cap ? b->cap * 2 : 64;
        if (cap < b->n + n) cap = b->n + n;
        char *q = cap < UINT32_MAX ? jinja_alloc(c, cap) : NULL;
        if (!q) return jinja_nomem(c);
        if (b->n) memcpy(q, b->p, b->n);
        b->p = q, b->cap = cap;
    }
    if (n) memcpy(b->p + b->n, p, n);
    b->n += n;
    return 0;
}

int jinja_adds(jctx *c, jbuf *b, const char *s) { return jinja_add(c, b, s, strlen(s)); }

int jinja_add_cp(jctx *c, jbuf *b, uint32_t cp) {
    char mem[8];
    moa_buf t = {.data = mem, .cap = sizeof mem, .max = sizeof mem - 1}; /* at most 4 bytes: never grows */
    moa_utf8_add(&t, cp);
    return jinja_add(c, b, mem, t.len);
}

/* ---- scopes ---- */

static jv *scope_find(const jscope *s, int sym) {
    for (int i = 0; i < s->n; i++)
        if (s->var[i].sym == sym) return &s->var[i].v;
    return NULL;
}

static int scope_set(jctx *c, jscope *s, int sym, jv v) {
    jv *old = scope_find(s, sym);
    if (old) return *old = v, 0;
    MOA_TRY(jinja_charge(c, (size_t)s->n));
    if (s->n == s->cap) {
        int cap = s->cap ? s->cap * 2 : 4;
        jvar *p = jinja_alloc(c, (size_t)cap * sizeof *p);
        if (!p) return jinja_nomem(c);
        if (s->n) memcpy(p, s->var, (size_t)s->n * sizeof *p);
        s->var = p, s->cap = cap;
    }
    s->var[s->n++] = (jvar){sym, v};
    return 0;
}

static jscope *scope_new(jctx *c, jscope *up) {
    jscope *s = jinja_alloc(c, sizeof *s);
    if (s) *s = (jscope){.up = up};
    return s;
}

static int name(jctx *c, jv *out, const jnode *n) {
    size_t seen = 0;
    for (const jscope *s = c->scope; s; seen += (size_t)s->n, s = s->up) {
        const jv *v = scope_find(s, n->sym);
        if (v) return *out = *v, jinja_charge(c, seen);
    }
    const jrow *g = jinja_global_find(c->t->sym[n->sym]);
    *out = g ? (jv){.type = JT_FUNC, .u.fn = g} : (jv){.type = JT_UNDEF, .n = n->val.n, .u.s = n->val.u.s};
    return jinja_charge(c, seen);
}

static int exec(jctx *c, const jnode *n);

/* Run a body and keep what it prints as a string. */
static int capture(jctx *c, jv *out, const jnode *body) {
    jbuf b = {0}, *old = c->out;
    c->out = &b;
    int rc = exec(c, body);
    c->out = old;
    *out = jv_buf(&b);
    return rc;
}

static int assign(jctx *c, const jnode *target, jv v) {
    if (target->kind == N_NAME) return scope_set(c, c->scope, target->sym, v);
    if (target->kind == N_ATTR) {
        jv ns;
        MOA_TRY(jinja_eval(c, &ns, target->a));
        if (ns.type != JT_NS) return jinja_fail(c, MOA_EINVAL, "only a namespace has attributes that can be set, got '%s'", jinja_type_name(ns));
        return jinja_dict_set(c, ns.u.d, target->val, v);
    }
    jlist l;
    MOA_TRY(jinja_items(c, &l, v));
    if (l.n != (size_t)target->n) return jinja_fail(c, MOA_EINVAL, "%zu values to unpack, expected %d", l.n, target->n);
    for (int i = 0; i < target->n; i++) MOA_TRY(assign(c, target->kid[i], l.v[i]));
    return 0;
}

/* ---- operators ---- */

static bool is_num(jv v) { return v.type == JT_BOOL || v.type == JT_INT || v.type == JT_FLOAT; }
static int64_t integer(jv v) { return v.type == JT_BOOL ? v.u.b : v.u.i; }
static double real(jv v) { return v.type == JT_FLOAT ? v.u.f : (double)integer(v); }

static int overflow(jctx *c) { return jinja_fail(c, MOA_ELIMIT, "an integer of more than 64 bits"); }
static int by_zero(jctx *c) { return jinja_fail(c, MOA_EINVAL, "division by zero"); }

static int int_pow(jctx *c, jv *out, int64_t a, int64_t e) {
    int64_t r = 1;
    if (e < 0) return *out = jv_float(pow((double)a, (double)e)), a ? 0 : by_zero(c);
    for (; e; e >>= 1) {
        if ((e & 1) && __builtin_mul_overflow(r, a, &r)) return overflow(c);
        if (e > 1 && __builtin_mul_overflow(a, a, &a)) return overflow(c);
    }
    return *out = jv_int(r), 0;
}

static int int_op(jctx *c, jv *out, jop op, int64_t a, int64_t b) {
    int64_t r = 0;
    bool bad = false;
    switch (op) {
    case O_ADD: bad = __builtin_add_overflow(a, b, &r); break;
    case O_SUB: bad = __builtin_sub_overflow(a, b, &r); break;
    case O_MUL: bad = __builtin_mul_overflow(a, b, &r); break;
    case O_DIV: return *out = jv_float((double)a / (double)b), b ? 0 : by_zero(c);
    case O_POW: return int_pow(c, out, a, b);
    default: /* floor and modulo: rounded down, as in Python */
        if (b == 0) return by_zero(c);
        if (b == -1) {
            if (op == O_FLOOR) bad = __builtin_sub_overflow((int64_t)0, a, &r);
            break;
        }
        r = op == O_FLOOR ? a / b - (a % b != 0 && (a < 0) != (b < 0)) : a % b + (a % b != 0 && (a < 0) != (b < 0) ? b : 0);
    }
    return *out = jv_int(r), bad ? overflow(c) : 0;
}

static int float_op(jctx *c, jv *out, jop op, double a, double b) {
    double m = fmod(a, b);
    if (b == 0 && (op == O_DIV || op == O_FLOOR || op == O_MOD)) return by_zero(c);
    if (m != 0 && (m < 0) != (b < 0)) m += b;
    *out = jv_float(op == O_ADD ? a + b : op == O_SUB ? a - b : op == O_MUL ? a * b : op == O_DIV ? a / b
                    : op == O_FLOOR ? floor((a - m) / b + 0.5) : op == O_MOD ? m : pow(a, b));
    return 0;
}

static int join_strings(jctx *c, jv *out, jv a, jv b) {
    if ((a.flag | b.flag) & JF_SAFE) {
        MOA_TRY(jinja_escape(c, &a, a));
        MOA_TRY(jinja_escape(c, &b, b));
    }
    jbuf t = {0};
    MOA_TRY(jinja_charge(c, (size_t)a.n + b.n));
    MOA_TRY(jinja_add(c, &t, a.u.s, a.n));
    MOA_TRY(jinja_add(c, &t, b.u.s, b.n));
    *out = jv_buf(&t);
    out->flag = (a.flag | b.flag) & JF_SAFE;
    return 0;
}

static int join_lists(jctx *c, jv *out, jv a, jv b) {
    jlist *x = a.u.l, *y = b.u.l;
    size_t nx = x->n, ny = y->n;
    MOA_TRY(jinja_list_new(c, out, nx + ny));
    MOA_TRY(jinja_charge(c, nx + ny));
    if (nx) memcpy(out->u.l->v, x->v, nx * sizeof(jv));
    if (ny) memcpy(out->u.l->v + nx, y->v, ny * sizeof(jv));
    out->u.l->n = nx + ny;
    out->type = a.type;
    return 0;
}

static int repeat(jctx *c, jv *out, jv v, int64_t times) {
    if (times < 0) times = 0;
    size_t one = v.type == JT_STR ? v.n : v.u.l->n;
    if (one && (uint64_t)times > UINT32_MAX / one) return jinja_nomem(c);
    MOA_TRY(jinja_charge(c, one * (size_t)times));
    if (v.type != JT_STR) {
        MOA_TRY(jinja_list_new(c, out, one * (size_t)times));
        out->type = v.type;
        for (int64_t i = 0; one && i < times; i++)
            for (size_t k = 0; k < one; k++) MOA_TRY(jinja_list_add(c, out->u.l, v.u.l->v[k]));
        return 0;
    }
    jbuf b = {0};
    for (int64_t i = 0; one && i < times; i++) MOA_TRY(jinja_add(c, &b, v.u.s, v.n));
    *out = jv_buf(&b);
    out->flag = v.flag;
    return 0;
}

int jinja_binary(jctx *c, jv *out, jop op, jv a, jv b) {
    static const char *const names[] = {"+", "-", "*", "/", "//", "%", "**"};
    bool seq_a = a.type == JT_STR || a.type == JT_LIST || a.type == JT_TUPLE, seq_b = b.type == JT_STR || b.type == JT_LIST || b.type == JT_TUPLE;
    if (a.type == JT_STR && op == O_MOD) {
        if (b.type == JT_TUPLE) return jinja_percent(c, out, a, b.u.l->v, b.u.l->n, jv_undef());
        return jinja_percent(c, out, a, &b, 1, b);
    }
    if (a.type == JT_UNDEF) return jinja_undefined(c, a);
    if (b.type == JT_UNDEF) return jinja_undefined(c, b);
    if (is_num(a) && is_num(b)) {
        if (a.type == JT_FLOAT || b.type == JT_FLOAT) return float_op(c, out, op, real(a), real(b));
        return int_op(c, out, op, integer(a), integer(b));
    }
    if (op == O_ADD && a.type == JT_STR && b.type == JT_STR) return join_strings(c, out, a, b);
    if (op == O_ADD && a.type == b.type && seq_a) return join_lists(c, out, a, b);
    if (op == O_MUL && seq_a && (b.type == JT_INT || b.type == JT_BOOL)) return repeat(c, out, a, integer(b));
    if (op == O_MUL && seq_b && (a.type == JT_INT || a.type == JT_BOOL)) return repeat(c, out, b, integer(a));
    return jinja_fail(c, MOA_EINVAL, "'%s' %s '%s' is not possible%s", jinja_type_name(a), names[op], jinja_type_name(b),
                      op == O_ADD && (a.type == JT_STR || b.type == JT_STR) ? " (~ joins values as text)" : "");
}

static int compare_one(jctx *c, bool *out, jop op, jv a, jv b) {
    int r;
    switch (op) {
    case O_EQ: return jinja_equal(c, out, a, b, 0);
    case O_NE: MOA_TRY(jinja_equal(c, out, a, b, 0)); return *out = !*out, 0;
    case O_IN: return jinja_contains(c, out, b, a);
    case O_NOT_IN: MOA_TRY(jinja_contains(c, out, b, a)); return *out = !*out, 0;
    default: break;
    }
    MOA_TRY(jinja_order(c, &r, a, b, 0));
    *out = op == O_LT ? r < 0 : op == O_LE ? r <= 0 : op == O_GT ? r > 0 : r >= 0;
    if ((a.type == JT_FLOAT && isnan(a.u.f)) || (b.type == JT_FLOAT && isnan(b.u.f))) *out = false;
    return 0;
}

static int compare(jctx *c, jv *out, const jnode *n) {
    jv a, b;
    bool yes = true;
    MOA_TRY(jinja_eval(c, &a, n->a));
    for (int i = 0; i < n->n && yes; i++, a = b) {
        MOA_TRY(jinja_eval(c, &b, n->kid[i]->b));
        c->line = n->line;
        MOA_TRY(compare_one(c, &yes, (jop)n->kid[i]->op, a, b));
    }
    *out = jv_bool(yes);
    return 0;
}

/* Stable merge sort of indices, then one permutation: the order function may fail at any time. */
int jinja_sort(jctx *c, jv *v, const jv *key, size_t n, bool reverse) {
    size_t *a = jinja_alloc(c, n * sizeof *a), *b = jinja_alloc(c, n * sizeof *b);
    jv *t = jinja_alloc(c, n * sizeof *t);
    if (!a || !b || !t) return jinja_nomem(c);
    for (size_t i = 0; i < n; i++) a[i] = i;
    for (size_t w = 1; w < n; w *= 2) {
        for (size_t lo = 0; lo < n; lo += 2 * w) {
            size_t mid = lo + w < n ? lo + w : n, hi = mid + w < n ? mid + w : n, i = lo, j = mid;
            for (size_t k = lo; k < hi; k++) {
                int r = i < mid ? 0 : reverse ? -1 : 1; /* equal ones from the left half first */
                if (i < mid && j < hi) MOA_TRY(jinja_order(c, &r, key[a[i]], key[a[j]], 0));
                b[k] = (reverse ? r >= 0 : r <= 0) ? a[i++] : a[j++];
            }
        }
        size_t *s = a;
        a = b, b = s;
    }
    for (size_t i = 0; i < n; i++) t[i] = v[a[i]];
    if (n) memcpy(v, t, n * sizeof *t);
    return 0;
}

/* ---- slices ---- */

static int slice_bound(jctx *c, int64_t *out, const jnode *n, int64_t len, int64_t step, int64_t dflt) {
    jv v = jv_none();
    if (n) MOA_TRY(jinja_eval(c, &v, n));
    if (v.type == JT_NONE) return *out = dflt, 0;
    if (v.type != JT_INT && v.type != JT_BOOL) return jinja_fail(c, MOA_EINVAL, "a slice needs integers, got '%s'", jinja_type_name(v));
    int64_t i = integer(v), lo = step < 0 ? -1 : 0, hi = step < 0 ? len - 1 : len;
    if (i < 0) i = i < -len ? lo : i + len;
    *out = i < lo ? lo : i > hi ? hi : i;
    return 0;
}

static int slice(jctx *c, jv *out, jv v, const jnode *n) {
    int64_t len, step = 1, from, to;
    jv s = jv_none();
    if (v.type == JT_UNDEF) return jinja_undefined(c, v);
    if (v.type != JT_STR && v.type != JT_LIST && v.type != JT_TUPLE && v.type != JT_RANGE) return *out = jv_undef(), 0;
    MOA_TRY(jinja_length(c, &len, v));
    if (n->c) MOA_TRY(jinja_eval(c, &s, n->c));
    if (s.type == JT_INT) step = s.u.i;
    if (step == 0 || (s.type != JT_NONE && s.type != JT_INT)) return jinja_fail(c, MOA_EINVAL, "the step of a slice must be an integer but 0");
    if (step > len) step = len + 1;
    if (step < -len) step = -len - 1;
    MOA_TRY(slice_bound(c, &from, n->a, len, step, step < 0 ? len - 1 : 0));
    MOA_TRY(slice_bound(c, &to, n->b, len, step, step < 0 ? -1 : len));
    if (v.type == JT_STR && step == 1) {
        size_t a = jinja_offset(v, (size_t)from), b = to > from ? a + jinja_offset(jinja_sub(v, a, v.n), (size_t)(to - from)) : a;
        return *out = jinja_sub(v, a, b), jinja_charge(c, v.n);
    }
    jlist l;
    jbuf b = {0};
    MOA_TRY(jinja_items(c, &l, v));
    MOA_TRY(jinja_list_new(c, out, 0));
    out->type = v.type == JT_TUPLE ? JT_TUPLE : JT_LIST;
    for (int64_t i = from; step > 0 ? i < to : i > to; i += step) {
        if (v.type == JT_STR) MOA_TRY(jinja_add(c, &b, l.v[i].u.s, l.v[i].n));
        else MOA_TRY(jinja_list_add(c, out->u.l, l.v[i]));
        MOA_TRY(jinja_charge(c, 0));
    }
    if (v.type == JT_STR) *out = jv_buf(&b), out->flag = v.flag;
    return 0;
}

/* ---- calls ---- */

enum { N_LOCAL = 4 };

/* Positional arguments first, then the named ones; *x and **x are spread. `caller` is the macro of a call block. */
static int call_args(jctx *c, jcall *out, const jnode *n, jv *local, const jv *caller) {
    jlist pos = {.v = local, .cap = N_LOCAL}, key = {.v = local + N_LOCAL, .cap = N_LOCAL}, val = {.v = local + 2 * N_LOCAL, .cap = N_LOCAL};
    jv v;
    for (int i = 0; i < n->n_arg; i++) {
        const jarg *a = &n->arg[i];
        MOA_TRY(jinja_eval(c, &v, a->value));
        if (a->star == 1) {
            jlist l;
            MOA_TRY(jinja_items(c, &l, v));
            for (size_t k = 0; k < l.n; k++) MOA_TRY(jinja_list_add(c, &pos, l.v[k]));
        } else if (a->star == 2) {
            if (v.type != JT_DICT) return jinja_fail(c, MOA_EINVAL, "** needs a dict, got '%s'", jinja_type_name(v));
            for (size_t k = 0; k < v.u.d->n; k++) {
                if (!jinja_live(&v.u.d->e[k])) continue;
                if (v.u.d->e[k].k.type != JT_STR) return jinja_fail(c, MOA_EINVAL, "** needs a dict whose keys are strings");
                MOA_TRY(jinja_list_add(c, &key, v.u.d->e[k].k));
                MOA_TRY(jinja_list_add(c, &val, v.u.d->e[k].v));
            }
        } else if (a->name.type == JT_STR) {
            MOA_TRY(jinja_list_add(c, &key, a->name));
            MOA_TRY(jinja_list_add(c, &val, v));
        } else {
            MOA_TRY(jinja_list_add(c, &pos, v));
        }
    }
    if (caller) {
        MOA_TRY(jinja_list_add(c, &key, jv_str("caller")));
        MOA_TRY(jinja_list_add(c, &val, *caller));
    }
    *out = (jcall){.n = (int)pos.n, .n_key = (int)key.n, .key = key.v};
    for (size_t i = 0; i < val.n; i++) MOA_TRY(jinja_list_add(c, &pos, val.v[i]));
    out->v = pos.v;
    return 0;
}

/* varargs and kwargs of a macro: what its parameters did not take */
static int bind_rest(jctx *c, const jmacro *m, const jcall *a, const bool *used) {
    const jnode *n = m->node;
    jv rest, kw;
    if (a->n > n->n_arg && !(n->flag & JM_VARARGS))
        return jinja_fail(c, MOA_EINVAL, "macro '%.*s' takes %d arguments, got %d", (int)n->val.n, n->val.u.s, n->n_arg, a->n);
    if (n->flag & JM_VARARGS) {
        MOA_TRY(jinja_list_new(c, &rest, 0));
        for (int i = n->n_arg; i < a->n; i++) MOA_TRY(jinja_list_add(c, rest.u.l, a->v[i]));
        rest.type = JT_TUPLE;
        MOA_TRY(scope_set(c, c->scope, c->t->s_varargs, rest));
    }
    MOA_TRY(jinja_dict_new(c, &kw));
    bool has_caller = false;
    for (int i = 0; i < a->n_key; i++) {
        if (used[i]) continue;
        if (jv_is(a->key[i], "caller") && (n->flag & JM_CALLER)) {
            has_caller = true;
            MOA_TRY(scope_set(c, c->scope, c->t->s_caller, a->v[a->n + i]));
        } else if (n->flag & JM_KWARGS) {
            MOA_TRY(jinja_dict_set(c, kw.u.d, a->key[i], a->v[a->n + i]));
        } else {
            return jinja_fail(c, MOA_EINVAL, "macro '%.*s' has no parameter '%.*s'", (int)n->val.n, n->val.u.s, (int)a->key[i].n, a->key[i].u.s);
        }
    }
    if ((n->flag & JM_CALLER) && !has_caller) /* hides the caller of an outer macro */
        MOA_TRY(scope_set(c, c->scope, c->t->s_caller, (jv){.type = JT_UNDEF, .n = 6, .u.s = "caller"}));
    return n->flag & JM_KWARGS ? scope_set(c, c->scope, c->t->s_kwargs, kw) : 0;
}

static int call_macro(jctx *c, jv *out, const jmacro *m, const jcall *a) {
    const jnode *n = m->node;
    jscope *old = c->scope;
    bool *used = jinja_alloc(c, (size_t)a->n_key + 1);
    if (!used || !(c->scope = scope_new(c, m->scope))) return jinja_nomem(c);
    memset(used, 0, (size_t)a->n_key + 1);
    MOA_TRY(jinja_charge(c, (size_t)n->n_arg * (size_t)a->n_key)); /* each name is looked for among the others */
    for (int i = 0; i < n->n_arg; i++) {
        const jarg *p = &n->arg[i];
        jv v = {.type = JT_UNDEF, .n = p->name.n, .u.s = p->name.u.s};
        bool given = i < a->n;
        if (given) v = a->v[i];
        for (int k = 0; k < a->n_key; k++) {
            if (a->key[k].n != p->name.n || memcmp(a->key[k].u.s, p->name.u.s, p->name.n)) continue;
            if (given) return jinja_fail(c, MOA_EINVAL, "macro '%.*s' got two values for '%.*s'", (int)n->val.n, n->val.u.s, (int)p->name.n, p->name.u.s);
            v = a->v[a->n + k];
            given = used[k] = true;
        }
        if (!given && p->value) MOA_TRY(jinja_eval(c, &v, p->value));
        MOA_TRY(scope_set(c, c->scope, p->star, v)); /* star holds a parameter's symbol */
    }
    MOA_TRY(bind_rest(c, m, a, used));
    int rc = capture(c, out, n->b);
    c->scope = old;
    return rc < 0 ? rc : 0;
}

static int run_for(jctx *c, const jnode *n, jscope *up, jlist items, int depth);

int jinja_call(jctx *c, jv *out, jv f, const jcall *a) {
    switch ((jtype)f.type) {
    case JT_FUNC: return f.u.fn->fn(c, out, jv_undef(), a);
    case JT_METHOD: return f.u.me->row->fn(c, out, f.u.me->self, a);
    case JT_MACRO: return call_macro(c, out, f.u.m, a);
    case JT_LOOP: {
        jlist l;
        if (!f.u.loop->node->flag || a->n != 1) return jinja_fail(c, MOA_EINVAL, "loop(items) needs a loop marked 'recursive' and one argument");
        MOA_TRY(jinja_items(c, &l, a->v[0]));
        jbuf b = {0}, *old = c->out;
        c->out = &b;
        MOA_TRY(run_for(c, f.u.loop->node, f.u.loop->scope, l, f.u.loop->depth + 1));
        c->out = old;
        *out = jv_buf(&b);
        return 0;
    }
    case JT_UNDEF: return jinja_undefined(c, f);
    default: return jinja_fail(c, MOA_EINVAL, "a '%s' cannot be called", jinja_type_name(f));
    }
}

static int call(jctx *c, jv *out, const jnode *n, const jv *caller) {
    jv local[3 * N_LOCAL], f, obj = jv_undef();
    const jrow *row = NULL;
    jcall a;
    if (n->a->kind == N_ATTR) { /* a method is called without becoming a value first */
        MOA_TRY(jinja_eval(c, &obj, n->a->a));
        row = jinja_method_find(obj, n->a->val);
        if (!row) MOA_TRY(jinja_getattr(c, &f, obj, n->a->val));
    } else {
        MOA_TRY(jinja_eval(c, &f, n->a));
    }
    MOA_TRY(call_args(c, &a, n, local, caller));
    c->line = n->line;
    MOA_TRY(row ? row->fn(c, out, obj, &a) : jinja_call(c, out, f, &a));
    c->line = n->line;
    return 0;
}

static int apply(jctx *c, jv *out, const jnode *n, jv in) {
    jv local[3 * N_LOCAL];
    jcall a;
    if (!n->row) return jinja_fail(c, MOA_EUNSUPPORTED, "no %s named '%.*s'", n->kind == N_TEST ? "test" : "filter", (int)n->val.n, n->val.u.s);
    MOA_TRY(call_args(c, &a, n, local, NULL));
    c->line = n->line;
    return n->row->fn(c, out, in, &a);
}

/* ---- expressions ---- */

static int sequence(jctx *c, jv *out, const jnode *n) {
    MOA_TRY(jinja_list_new(c, out, (size_t)n->n));
    for (int i = 0; i < n->n; i++) {
        jv v;
        MOA_TRY(jinja_eval(c, &v, n->kid[i]));
        MOA_TRY(jinja_list_add(c, out->u.l, v));
    }
    if (n->kind == N_TUPLE) out->type = JT_TUPLE;
    return 0;
}

static int dict(jctx *c, jv *out, const jnode *n) {
    MOA_TRY(jinja_dict_new(c, out));
    for (int i = 0; i + 1 < n->n; i += 2) {
        jv k, v;
        MOA_TRY(jinja_eval(c, &k, n->kid[i]));
        MOA_TRY(jinja_eval(c, &v, n->kid[i + 1]));
        MOA_TRY(jinja_dict_set(c, out->u.d, k, v));
    }
    return 0;
}

static int concat(jctx *c, jv *out, const jnode *n) {
    jbuf b = {0};
    for (int i = 0; i < n->n; i++) {
        jv v;
        MOA_TRY(jinja_eval(c, &v, n->kid[i]));
        MOA_TRY(jinja_str(c, &v, v));
        MOA_TRY(jinja_charge(c, v.n));
        MOA_TRY(jinja_add(c, &b, v.u.s, v.n));
    }
    *out = jv_buf(&b);
    return 0;
}

static int negate(jctx *c, jv *out, const jnode *n) {
    jv v;
    MOA_TRY(jinja_eval(c, &v, n->a));
    if (v.type == JT_UNDEF) return jinja_undefined(c, v);
    if (!is_num(v)) return jinja_fail(c, MOA_EINVAL, "a sign needs a number, got '%s'", jinja_type_name(v));
    if (v.type == JT_FLOAT) return *out = n->kind == N_NEG ? jv_float(-v.u.f) : v, 0;
    return int_op(c, out, n->kind == N_NEG ? O_SUB : O_ADD, 0, integer(v));
}

static int item(jctx *c, jv *out, const jnode *n) {
    jv obj, key;
    MOA_TRY(jinja_eval(c, &obj, n->a));
    if (n->b->kind == N_SLICE) return slice(c, out, obj, n->b);
    MOA_TRY(jinja_eval(c, &key, n->b));
    c->line = n->line;
    MOA_TRY(jinja_charge(c, obj.type == JT_STR ? obj.n : 0));
    return jinja_getitem(c, out, obj, key);
}

static int binary(jctx *c, jv *out, const jnode *n) {
    jv a, b;
    MOA_TRY(jinja_eval(c, &a, n->a));
    MOA_TRY(jinja_eval(c, &b, n->b));
    c->line = n->line;
    return jinja_binary(c, out, (jop)n->op, a, b);
}

static int logic(jctx *c, jv *out, const jnode *n) {
    MOA_TRY(jinja_eval(c, out, n->a));
    switch (n->kind) {
    case N_NOT: *out = jv_bool(!jinja_truth(*out)); return 0;
    case N_AND: return jinja_truth(*out) ? jinja_eval(c, out, n->b) : 0;
    case N_OR: return jinja_truth(*out) ? 0 : jinja_eval(c, out, n->b);
    default: /* N_COND */
        if (jinja_truth(*out)) return jinja_eval(c, out, n->b);
        return n->c ? jinja_eval(c, out, n->c) : (*out = jv_undef(), 0);
    }
}

static int eval(jctx *c, jv *out, const jnode *n) {
    switch ((jkind)n->kind) {
    case N_CONST: *out = n->val; return 0;
    case N_NAME: return name(c, out, n);
    case N_LIST:
    case N_TUPLE: return sequence(c, out, n);
    case N_DICT: return dict(c, out, n);
    case N_ATTR:
        MOA_TRY(jinja_eval(c, out, n->a));
        return jinja_getattr(c, out, *out, n->val);
    case N_ITEM: return item(c, out, n);
    case N_CALL: return call(c, out, n, NULL);
    case N_FILTER:
    case N_TEST:
        MOA_TRY(jinja_eval(c, out, n->a));
        return apply(c, out, n, *out);
    case N_NOT:
    case N_AND:
    case N_OR:
    case N_COND: return logic(c, out, n);
    case N_NEG:
    case N_POS: return negate(c, out, n);
    case N_BIN: return binary(c, out, n);
    case N_CONCAT: return concat(c, out, n);
    case N_COMPARE: return compare(c, out, n);
    default: return jinja_fail(c, MOA_EINVAL, "a slice outside of [ ]");
    }
}

int jinja_eval(jctx *c, jv *out, const jnode *n) {
    MOA_TRY(jinja_charge(c, 0));
    c->line = n->line;
    if (++c->depth > JINJA_MAX_DEPTH) return jinja_fail(c, MOA_ELIMIT, "calls and expressions nested more than %d levels deep", JINJA_MAX_DEPTH);
    int rc = eval(c, out, n);
    c->depth--;
    return rc;
}

/* ---- statements ---- */

static int emit(jctx *c, const char *s, size_t n) {
    MOA_TRY(jinja_charge(c, n));
    if (c->out == c->main && n > c->max_out - c->out->n) return jinja_fail(c, MOA_ELIMIT, "the template prints more than %zu bytes", c->max_out);
    return jinja_add(c, c->out, s, n);
}

static int keep_if(jctx *c, jlist *out, const jnode *n, jlist in, jscope *up) {
    jscope *old = c->scope;
    if (!(c->scope = scope_new(c, up))) return jinja_nomem(c);
    *out = (jlist){0};
    for (size_t i = 0; i < in.n; i++) {
        jv yes;
        MOA_TRY(assign(c, n->a, in.v[i]));
        MOA_TRY(jinja_eval(c, &yes, n->c));
        if (jinja_truth(yes)) MOA_TRY(jinja_list_add(c, out, in.v[i]));
    }
    c->scope = old;
    return 0;
}

static int run_for(jctx *c, const jnode *n, jscope *up, jlist items, int depth) {
    jscope *old = c->scope, *s = NULL;
    if (n->c) MOA_TRY(keep_if(c, &items, n, items, up));
    jloop *l = jinja_alloc(c, sizeof *l);
    if (!l) return jinja_nomem(c);
    *l = (jloop){.node = n, .scope = up, .items = items, .depth = depth};
    for (size_t i = 0; i < items.n; i++) {
        if (!s || s->kept) s = scope_new(c, up);
        if (!s) return jinja_nomem(c);
        s->n = 0;
        c->scope = s;
        l->i = i;
        MOA_TRY(scope_set(c, s, c->t->s_loop, (jv){.type = JT_LOOP, .u.loop = l}));
        MOA_TRY(assign(c, n->a, items.v[i]));
        int rc = exec(c, n->kid[0]);
        if (rc < 0) return rc;
        if (rc == LEAVE_BREAK) break;
    }
    c->scope = up;
    int rc = items.n == 0 && n->n > 1 ? exec(c, n->kid[1]) : 0;
    c->scope = old;
    return rc;
}

static int for_(jctx *c, const jnode *n) {
    jv v;
    jlist l;
    MOA_TRY(jinja_eval(c, &v, n->b));
    c->line = n->line;
    MOA_TRY(jinja_items(c, &l, v));
    return run_for(c, n, c->scope, l, 1);
}

static int if_(jctx *c, const jnode *n) {
    int i = 0;
    for (; i + 1 < n->n; i += 2) {
        jv v;
        MOA_TRY(jinja_eval(c, &v, n->kid[i]));
        if (jinja_truth(v)) return exec(c, n->kid[i + 1]);
    }
    return i < n->n ? exec(c, n->kid[i]) : 0;
}

/* A body with a scope of its own, captured and sent through filters. */
static int filtered(jctx *c, jv *out, const jnode *n) {
    jscope *old = c->scope;
    if (!(c->scope = scope_new(c, old))) return jinja_nomem(c);
    int rc = capture(c, out, n->b);
    c->scope = old;
    if (rc < 0) return rc;
    for (int i = 0; i < n->n; i++) MOA_TRY(apply(c, out, n->kid[i], *out));
    return rc;
}

static int make_macro(jctx *c, jv *out, const jnode *n) {
    jmacro *m = jinja_alloc(c, sizeof *m);
    if (!m) return jinja_nomem(c);
    *m = (jmacro){n, c->scope};
    for (jscope *s = c->scope; s && !s->kept; s = s->up) s->kept = true;
    *out = (jv){.type = JT_MACRO, .u.m = m};
    return 0;
}

static int with_(jctx *c, const jnode *n) {
    jscope *old = c->scope, *s = scope_new(c, old);
    if (!s) return jinja_nomem(c);
    for (int i = 0; i + 1 < n->n; i += 2) {
        jv v;
        c->scope = old; /* values see the outer names only */
        MOA_TRY(jinja_eval(c, &v, n->kid[i + 1]));
        c->scope = s;
        MOA_TRY(assign(c, n->kid[i], v));
    }
    c->scope = s;
    int rc = exec(c, n->b);
    c->scope = old;
    return rc;
}

static int print(jctx *c, jv v) {
    MOA_TRY(jinja_str(c, &v, v));
    return emit(c, v.u.s, v.n);
}

static int exec_one(jctx *c, const jnode *n) {
    jv v;
    int rc;
    switch ((jkind)n->kind) {
    case N_BODY:
        for (int i = 0; i < n->n; i++)
            if ((rc = exec(c, n->kid[i])) != 0) return rc;
        return 0;
    case N_TEXT: return emit(c, n->val.u.s, n->val.n);
    case N_PRINT: MOA_TRY(jinja_eval(c, &v, n->a)); return print(c, v);
    case N_IF: return if_(c, n);
    case N_FOR: return for_(c, n);
    case N_SET: MOA_TRY(jinja_eval(c, &v, n->b)); return assign(c, n->a, v);
    case N_SET_BLOCK:
        rc = filtered(c, &v, n);
        if (rc < 0) return rc;
        MOA_TRY(assign(c, n->a, v));
        return rc;
    case N_FILTER_BLOCK:
        rc = filtered(c, &v, n);
        if (rc < 0) return rc;
        MOA_TRY(print(c, v));
        return rc;
    case N_MACRO: MOA_TRY(make_macro(c, &v, n)); return scope_set(c, c->scope, n->sym, v);
    case N_CALL_BLOCK: {
        jv caller;
        MOA_TRY(make_macro(c, &caller, n->b));
        MOA_TRY(call(c, &v, n->a, &caller));
        return print(c, v);
    }
    case N_WITH: return with_(c, n);
    case N_BREAK: return LEAVE_BREAK;
    case N_CONTINUE: return LEAVE_CONTINUE;
    default: return jinja_fail(c, MOA_EINVAL, "an expression where a statement belongs");
    }
}

static int exec(jctx *c, const jnode *n) {
    MOA_TRY(jinja_charge(c, 0));
    c->line = n->line;
    if (++c->depth > JINJA_MAX_DEPTH) return jinja_fail(c, MOA_ELIMIT, "statements nested more than %d levels deep", JINJA_MAX_DEPTH);
    int rc = exec_one(c, n);
    c->depth--;
    return rc;
}

/* ---- the public functions ---- */

int moa_jinja_parse(moa_jinja **out, const char *text, size_t n, const char *name_, moa_err *err) {
    enum { MAX_TEXT = 4 << 20, MAX_MEMORY = 1 << 30 };
    *out = NULL;
    if (n > MAX_TEXT) return moa_fail(err, MOA_ELIMIT, "%s: a template of %zu bytes, at most %d are allowed", name_, n, MAX_TEXT);
    moa_jinja *t = calloc(1, sizeof *t);
    if (!t) return moa_fail(err, MOA_ENOMEM, "%s: no memory for the template", name_);
    t->arena = moa_arena_new(0, MAX_MEMORY);
    t->name = strndup(name_, 100);
    int rc = t->arena && t->name ? 0 : moa_fail(err, MOA_ENOMEM, "%s: no memory for the template", name_);
    jctx c = {.t = t, .arena = t->arena, .steps = 100000000, .err = err, .line = 1};
    jtoken *tok = NULL;
    size_t n_tok = 0;
    if (rc == 0) rc = jinja_lex(&c, &tok, &n_tok, text, n);
    if (rc == 0) rc = jinja_parse_tokens(&c, t, tok, n_tok);
    if (rc < 0) {
        moa_jinja_free(t);
        return rc;
    }
    *out = t;
    return 0;
}

void moa_jinja_free(moa_jinja *t) {
    if (!t) return;
    moa_arena_free(t->arena);
    free(t->name);
    free(t);
}

bool moa_jinja_names(const moa_jinja *t, const char *name_) {
    for (int i = 0; i < t->n_sym; i++)
        if (strcmp(t->sym[i], name_) == 0) return true;
    return false;
}

/* Only the variables that the template names are converted. */
static int bind_vars(jctx *c, const json_t *vars) {
    for (int i = 0; i < c->t->n_sym; i++) {
        const json_t *j = json_object_get(vars, c->t->sym[i]);
        jv v;
        if (!j) continue;
        MOA_TRY(jinja_from_json(c, &v, j, 0));
        MOA_TRY(scope_set(c, c->scope, i, v));
    }
    return 0;
}

int moa_jinja_render(char **out, size_t *len, const moa_jinja *t, const json_t *vars, const moa_jinja_limits *lim, moa_err *err) {
    moa_jinja_limits l = lim ? *lim : (moa_jinja_limits){0};
    *out = NULL;
    jbuf text = {0};
    jscope base = {.kept = true};
    jctx c = {.t = t, .err = err, .out = &text, .main = &text, .scope = &base, .line = 1, .now = l.now, .steps = l.steps ? l.steps : 20000000,
              .max_out = l.output ? l.output : (size_t)64 << 20, .arena = moa_arena_new(0, l.memory ? l.memory : (size_t)256 << 20)};
    int rc = c.arena ? bind_vars(&c, vars) : moa_fail(err, MOA_ENOMEM, "%s: no memory to render", t->name);
    if (rc == 0) rc = exec(&c, t->body);
    if (rc >= 0) {
        rc = 0;
        *out = malloc(text.n + 1);
        if (!*out) rc = moa_fail(err, MOA_ENOMEM, "%s: no memory for the result", t->name);
    }
    if (rc == 0) {
        if (text.n) memcpy(*out, text.p, text.n);
        (*out)[text.n] = 0;
        if (len) *len = text.n;
    }
    moa_arena_free(c.arena);
    return rc;
}
